//! PKCS#12 (RFC 7292): a key, its certificate and their authorities in one file, behind a password. Only read, and only what
//! such files hold in practice: what OpenSSL makes by itself and with `-legacy`, what Java and NSS make.

mod ber;
mod decrypt;
#[cfg(test)]
mod tests;

use std::fmt;

use ber::Reader;
use decrypt::Password;
use zeroize::Zeroizing;

use super::identity::is_self_issued;

/// 1.2.840.113549.1.7.1 and .6
const DATA: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 1];
const ENCRYPTED_DATA: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 6];
/// 1.2.840.113549.1.12.10.1: keys, locked keys and certificates are 1, 2 and 3 below it.
const BAG: [u8; 10] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 12, 10, 1];
/// 1.2.840.113549.1.9.22.1
const X509: [u8; 10] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 22, 1];
/// 1.2.840.113549.1.9.21
const LOCAL_KEY_ID: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 21];
const EXPLICIT: u8 = 0xA0;
const IMPLICIT: u8 = 0x80;
const SET: u8 = 0x31;
/// A key, its certificate and a chain of a few have a tenth of it.
const LARGEST: usize = 256 * 1024;

/// What such a file holds, each in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The private key, PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
    /// Its certificate, and what stands between it and its authority.
    pub chain: Vec<Vec<u8>>,
    /// Who signed.
    pub authorities: Vec<Vec<u8>>,
}

/// The private half is never shown.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (chain, authorities) = (self.chain.len(), self.authorities.len());
        write!(f, "Credential {{ {chain} certificates, {authorities} authorities, .. }}")
    }
}

/// Why such a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pkcs12Error {
    /// It has not the form of one, from this part on.
    Broken(&'static str),
    /// It was locked with another password, or what is locked was changed.
    Password,
    /// It is locked, or sealed, in a way that is not known here: an object identifier.
    Unsupported(String),
    /// There is no private key in it.
    NoKey,
    /// There is no certificate in it.
    NoCertificate,
}

impl fmt::Display for Pkcs12Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pkcs12Error::Broken(part) => write!(f, "not a PKCS#12 file, or a damaged one ({part})"),
            Pkcs12Error::Password => f.write_str("the password is wrong, or the PKCS#12 file is damaged"),
            Pkcs12Error::Unsupported(oid) => {
                write!(
                    f,
                    "a PKCS#12 file that uses {oid}, which is not supported; make it with OpenSSL's defaults"
                )
            }
            Pkcs12Error::NoKey => f.write_str("a PKCS#12 file without a private key"),
            Pkcs12Error::NoCertificate => f.write_str("a PKCS#12 file without a certificate"),
        }
    }
}

impl std::error::Error for Pkcs12Error {}

/// Opens a file with its password.
pub fn open(file: &[u8], password: &str) -> Result<Credential, Pkcs12Error> {
    let broken = || Pkcs12Error::Broken("its outermost part");
    if file.len() > LARGEST {
        return Err(Pkcs12Error::Broken("its size"));
    }
    let mut pfx = Reader(file).sequence().ok_or_else(broken)?;
    pfx.number().filter(|version| *version == 3).ok_or_else(broken)?;
    let mut safe = pfx.sequence().ok_or_else(broken)?;
    safe.oid().filter(|kind| *kind == DATA).ok_or_else(broken)?;
    let content = safe.expect(EXPLICIT).and_then(|e| Reader(e).octets()).ok_or_else(broken)?;
    let forms = Password::forms(password);
    let mut last = Pkcs12Error::Password;
    for password in &forms {
        let fits = if pfx.is_empty() {
            true
        } else {
            let mac = pfx.clone().sequence().ok_or_else(broken)?;
            password.fits(mac, &content)?
        };
        if fits {
            match Found::read(&content, password).and_then(Found::sorted) {
                Err(error @ Pkcs12Error::Password) => last = error,
                done => return done,
            }
        }
    }
    Err(last)
}

type Key = Zeroizing<Vec<u8>>;

/// What was found, with the mark that says what belongs together.
#[derive(Default)]
struct Found {
    keys: Vec<(Key, Option<Vec<u8>>)>,
    certificates: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Found {
    fn read(content: &[u8], password: &Password) -> Result<Found, Pkcs12Error> {
        let broken = || Pkcs12Error::Broken("its content");
        let mut found = Found::default();
        let mut parts = Reader(content).sequence().ok_or_else(broken)?;
        while !parts.is_empty() {
            let mut part = parts.sequence().ok_or_else(broken)?;
            let kind = part.oid().ok_or_else(broken)?;
            let mut part = Reader(part.expect(EXPLICIT).ok_or_else(broken)?);
            let bags = if kind == DATA {
                Zeroizing::new(part.octets().ok_or_else(broken)?)
            } else if kind == ENCRYPTED_DATA {
                decrypted(part, password)?
            } else {
                return Err(Pkcs12Error::Unsupported(oid_text(kind)));
            };
            found.bags(&bags, password)?;
        }
        Ok(found)
    }

    fn bags(&mut self, bags: &[u8], password: &Password) -> Result<(), Pkcs12Error> {
        let broken = || Pkcs12Error::Broken("a part of its content");
        let mut bags = Reader(bags).sequence().ok_or_else(broken)?;
        while !bags.is_empty() {
            let mut bag = bags.sequence().ok_or_else(broken)?;
            let kind = bag.oid().ok_or_else(broken)?;
            let value = bag.expect(EXPLICIT).ok_or_else(broken)?;
            let mark = bag.expect(SET).and_then(local_key_id);
            match kind.split_last() {
                Some((1, prefix)) if prefix == BAG => self.keys.push((value.to_vec().into(), mark)),
                Some((2, prefix)) if prefix == BAG => {
                    let mut locked = Reader(value).sequence().ok_or_else(broken)?;
                    let algorithm = locked.sequence().ok_or_else(broken)?;
                    let bytes = locked.octets().ok_or_else(broken)?;
                    self.keys.push((password.decrypt(algorithm, &bytes)?, mark));
                }
                Some((3, prefix)) if prefix == BAG => {
                    let mut certificate = Reader(value).sequence().ok_or_else(broken)?;
                    if certificate.oid().ok_or_else(broken)? == X509 {
                        let der = certificate.expect(EXPLICIT).and_then(|e| Reader(e).octets());
                        self.certificates.push((der.ok_or_else(broken)?, mark));
                    }
                }
                // Revocation lists and secrets of other kinds.
                _ => {}
            }
        }
        Ok(())
    }

    /// The first key; the certificate with its mark, or the first; and the others.
    fn sorted(mut self) -> Result<Credential, Pkcs12Error> {
        if self.keys.is_empty() {
            return Err(Pkcs12Error::NoKey);
        }
        if self.certificates.is_empty() {
            return Err(Pkcs12Error::NoCertificate);
        }
        let (key, mark) = self.keys.swap_remove(0);
        let own = self.certificates.iter().position(|(_, of)| mark.is_some() && *of == mark);
        let (own, _) = self.certificates.remove(own.unwrap_or(0));
        let others: Vec<Vec<u8>> = self.certificates.into_iter().map(|(der, _)| der).collect();
        let (roots, between): (Vec<_>, Vec<_>) = others.into_iter().partition(|der| is_self_issued(der));
        let authorities = if roots.is_empty() { between.clone() } else { roots };
        Ok(Credential { key, chain: [vec![own], between].concat(), authorities })
    }
}

/// `SEQUENCE { version, SEQUENCE { type, algorithm, [0] locked } }`
fn decrypted(mut part: Reader<'_>, password: &Password) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let broken = || Pkcs12Error::Broken("a locked part");
    let mut data = part.sequence().ok_or_else(broken)?;
    data.number().ok_or_else(broken)?;
    let mut content = data.sequence().ok_or_else(broken)?;
    content.oid().filter(|kind| *kind == DATA).ok_or_else(broken)?;
    let algorithm = content.sequence().ok_or_else(broken)?;
    let locked = content.octets_as(IMPLICIT).ok_or_else(broken)?;
    password.decrypt(algorithm, &locked)
}

fn local_key_id(attributes: &[u8]) -> Option<Vec<u8>> {
    let mut attributes = Reader(attributes);
    while let Some(mut attribute) = attributes.sequence() {
        if attribute.oid()? == LOCAL_KEY_ID {
            return attribute.expect(SET).and_then(|values| Reader(values).octets());
        }
    }
    None
}

/// `1.2.840.113549.1.5.13`, of its encoding.
fn oid_text(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut number: u64 = 0;
    for byte in oid {
        number = (number << 7 & u64::MAX >> 1) | u64::from(byte & 0x7F);
        if byte & 0x80 != 0 {
            continue;
        }
        match text.is_empty() {
            true => text = format!("{}.{}", (number / 40).min(2), number - (number / 40).min(2) * 40),
            false => text.push_str(&format!(".{number}")),
        }
        number = 0;
    }
    text
}
