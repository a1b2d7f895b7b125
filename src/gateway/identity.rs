//! Who the device is: the common name of its certificate.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Types of names as they stand in a certificate, tag and length included: 2.5.4.3 and 2.5.4.15.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
const BUSINESS_CATEGORY: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0F];
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// The common name of the first certificate of a PEM file.
pub fn common_name(path: &Path) -> Option<String> {
    name_of(path, &COMMON_NAME)
}

/// The common name of a certificate in DER.
pub fn common_name_of(certificate: &[u8]) -> Option<String> {
    name_in(certificate, &COMMON_NAME)
}

/// Whether the certificate is one of a production device.
pub fn is_production(path: &Path) -> bool {
    name_of(path, &BUSINESS_CATEGORY).is_some_and(|category| category == "production")
}

fn name_of(path: &Path, kind: &[u8]) -> Option<String> {
    name_in(&CertificateDer::from_pem_file(path).ok()?, kind)
}

fn name_in(certificate: &[u8], kind: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(certificate)?;
    let (_, body, _) = element(certificate)?;
    subject_name(subject(body)?, kind)
}

/// Skips what stands before the subject: version, serial, algorithm, issuer, validity.
fn subject(mut body: &[u8]) -> Option<&[u8]> {
    if body.first() == Some(&VERSION) {
        body = element(body)?.2;
    }
    for _ in 0..4 {
        body = element(body)?.2;
    }
    let (tag, subject, _) = element(body)?;
    (tag == SEQUENCE).then_some(subject)
}

/// A name is a sequence of sets of (type, value).
fn subject_name(mut names: &[u8], kind: &[u8]) -> Option<String> {
    while !names.is_empty() {
        let (_, set, rest) = element(names)?;
        let (_, pair, _) = element(set)?;
        if let Some(value) = pair.strip_prefix(kind) {
            let (_, text, _) = element(value)?;
            return std::str::from_utf8(text).ok().map(str::to_string);
        }
        names = rest;
    }
    None
}

/// Splits the first DER element off: its tag, its content, what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_and_wrong_lengths_are_no_name() {
        assert_eq!(element(&[0x30]), None);
        assert_eq!(element(&[0x30, 0x82, 0x01]), None);
        assert_eq!(element(&[0x30, 0x05, 1]), None);
        assert_eq!(element(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
        assert_eq!(element(&[0x04, 0x81, 1, 7, 8]), Some((0x04, &[7][..], &[8][..])));
        let name = [0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 3, 0x0C, 3, b'd', b'-', b'1'];
        assert_eq!(subject_name(&name, &COMMON_NAME).as_deref(), Some("d-1"));
        assert_eq!(subject_name(&name[..9], &COMMON_NAME), None);
    }

    #[cfg(feature = "host")]
    #[test]
    fn of_a_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "factory");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "device-7");
        let category = rcgen::DnType::CustomDnType(vec![2, 5, 4, 15]);
        parameters.distinguished_name.push(category, "production");
        let pem = parameters.self_signed(&key).unwrap().pem();
        let path = std::env::temp_dir().join(format!("rust-ota-cn-{}", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        assert_eq!(common_name(&path).as_deref(), Some("device-7"));
        assert!(is_production(&path));
        std::fs::remove_file(path).unwrap();
        assert_eq!(common_name(Path::new("/nonexistent")), None);
    }
}
