//! Writes PKCS#12 (RFC 7292) with an empty password: a key, its certificate, their authority. What an empty password locks is open
//! to everybody, so nothing is encrypted; the code over it is there, since readers ask for it.

use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const EXPLICIT: u8 = 0xA0;
/// 1.2.840.113549.1: under it are PKCS#7, #9 and #12.
const PKCS: [u8; 7] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1];
const DATA: [u8; 2] = [7, 1];
const LOCAL_KEY_ID: [u8; 2] = [9, 21];
const X509: [u8; 3] = [9, 22, 1];
const KEY_BAG: [u8; 4] = [12, 10, 1, 1];
const CERTIFICATE_BAG: [u8; 4] = [12, 10, 1, 3];
/// 2.16.840.1.101.3.4.2.1, and no parameters
const SHA256_ALGORITHM: [u8; 13] = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];
const ITERATIONS: u16 = 2048;
/// Input block of SHA-256.
const BLOCK: usize = 64;
/// What the key of the code is made for (RFC 7292, B.3).
const FOR_MAC: u8 = 3;

/// Packs what is given in DER.
pub fn pack(key: &[u8], certificate: &[u8], authority: &[u8]) -> Result<Vec<u8>, Error> {
    let mark = digest(&SHA256, certificate);
    let marked = element(
        SET,
        &sequence(&[&oid(&LOCAL_KEY_ID), &element(SET, &element(OCTETS, &mark.as_ref()[..20]))]),
    );
    let bags = [
        bag(&KEY_BAG, key, &marked),
        bag(&CERTIFICATE_BAG, &x509(certificate), &marked),
        bag(&CERTIFICATE_BAG, &x509(authority), &[]),
    ];
    let content = sequence(&[&data(&sequence(&[&bags.concat()]))]);
    let mut salt = [0; 8];
    SystemRandom::new().fill(&mut salt).map_err(|_| Error::Random)?;
    let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac_key(&salt)), &content);
    let info = sequence(&[&element(SEQUENCE, &SHA256_ALGORITHM), &element(OCTETS, code.as_ref())]);
    let mac = sequence(&[&info, &element(OCTETS, &salt), &element(2, &ITERATIONS.to_be_bytes())]);
    Ok(sequence(&[&[2, 1, 3], &data(&content), &mac]))
}

fn bag(kind: &[u8], value: &[u8], attributes: &[u8]) -> Vec<u8> {
    sequence(&[&oid(kind), &element(EXPLICIT, value), attributes])
}

fn x509(certificate: &[u8]) -> Vec<u8> {
    sequence(&[&oid(&X509), &element(EXPLICIT, &element(OCTETS, certificate))])
}

fn data(content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(&DATA), &element(EXPLICIT, &element(OCTETS, content))])
}

/// RFC 7292, B.2, for an empty password: two zeros, as UTF-16 has its end.
fn mac_key(salt: &[u8; 8]) -> Vec<u8> {
    let input = [&[FOR_MAC; BLOCK][..], &salt.repeat(BLOCK / salt.len()), &[0; BLOCK]].concat();
    let mut sum = digest(&SHA256, &input);
    for _ in 1..ITERATIONS {
        sum = digest(&SHA256, sum.as_ref());
    }
    sum.as_ref().to_vec()
}

fn oid(last: &[u8]) -> Vec<u8> {
    element(6, &[&PKCS, last].concat())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., third, high, low] = content.len().to_be_bytes();
    let head = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        0x100..=0xFFFF => vec![tag, 0x82, high, low],
        _ => vec![tag, 0x83, third, high, low],
    };
    [head.as_slice(), content].concat()
}
