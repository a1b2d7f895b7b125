//! What a certificate says: who the device is, until when, and the kind of its key.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::tuf::Time;

/// Types of names as they stand in a certificate, tag and length included: 2.5.4.3 and 2.5.4.15.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
const BUSINESS_CATEGORY: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0F];
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
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

/// When the first certificate of a PEM file ends to be valid.
pub fn expiry(path: &Path) -> Option<Time> {
    not_after(&CertificateDer::from_pem_file(path).ok()?)
}

/// The same of a certificate in DER.
pub fn not_after(certificate: &[u8]) -> Option<Time> {
    let (tag, validity, _) = element(field(certificate, 3)?)?;
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    (tag == SEQUENCE).then_some(())?;
    let text = std::str::from_utf8(text).ok().filter(|t| t.is_ascii())?;
    let long = match kind {
        // RFC 5280, 4.1.2.5.1: 50 to 99 are of the last century.
        UTC_TIME if text.len() == 13 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME if text.len() == 15 => text.to_string(),
        _ => return None,
    };
    let digits = long.strip_suffix('Z').filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let part = |from: usize| &digits[from..from + 2];
    let (year, month, day) = (&digits[..4], part(4), part(6));
    Time::parse(&format!("{year}-{month}-{day}T{}:{}:{}Z", part(8), part(10), part(12)))
}

/// Whether a certificate in DER names itself as who signed it, as authorities do.
pub fn is_self_issued(certificate: &[u8]) -> bool {
    let name = |number| Some(element(field(certificate, number)?)?.1);
    name(2).is_some_and(|issuer| name(4) == Some(issuer))
}

/// The X.509 version of a certificate in DER: 1 to 3.
pub fn version(certificate: &[u8]) -> Option<u8> {
    let (_, certificate, _) = element(certificate)?;
    let (_, body, _) = element(certificate)?;
    match element(body)? {
        (VERSION, number, _) => Some(element(number)?.1.first()?.saturating_add(1)),
        _ => Some(1),
    }
}

/// Object identifiers: rsaEncryption, ecPublicKey, Ed25519, the curves P-256 and P-384.
const RSA: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const EC: [u8; 7] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const ED25519: [u8; 3] = [0x2B, 0x65, 0x70];
const CURVES: [&[u8]; 2] = [&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7], &[0x2B, 0x81, 4, 0, 0x22]];
/// The fewest bits of RSA that ring takes.
const RSA_BITS: usize = 2048;

/// Why the key of a certificate in DER cannot be used; none if it can.
pub fn key_trouble(certificate: &[u8]) -> Option<String> {
    const WORKING: &str = "RSA of 2048 bits or more, P-256, P-384 and Ed25519 work";
    match public_key(certificate) {
        Some(PublicKey::Rsa(bits)) if bits >= RSA_BITS => None,
        Some(PublicKey::Rsa(bits)) => Some(format!("its key is RSA of {bits} bits; {WORKING}")),
        Some(PublicKey::Works) => None,
        Some(PublicKey::Curve) => {
            Some(format!("its key is on a curve that is not supported, such as P-521; {WORKING}"))
        }
        _ => Some(format!("its key is of a kind that is not supported; {WORKING}")),
    }
}

enum PublicKey {
    Works,
    /// With so many bits.
    Rsa(usize),
    /// On a curve that ring does not have.
    Curve,
    Unknown,
}

fn public_key(certificate: &[u8]) -> Option<PublicKey> {
    let (_, info, _) = element(field(certificate, 5)?)?;
    let (_, algorithm, bits) = element(info)?;
    let (_, kind, parameters) = element(algorithm)?;
    Some(if kind == RSA {
        // A byte says how many bits at the end are unused; then a sequence that begins with the modulus.
        let (_, key, _) = element(element(bits)?.1.get(1..)?)?;
        let modulus = element(key)?.1;
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let first = modulus.get(zeros)?;
        PublicKey::Rsa((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
    } else if kind == EC && CURVES.contains(&element(parameters)?.1) || kind == ED25519 {
        PublicKey::Works
    } else if kind == EC {
        PublicKey::Curve
    } else {
        PublicKey::Unknown
    })
}

fn name_of(path: &Path, kind: &[u8]) -> Option<String> {
    name_in(&CertificateDer::from_pem_file(path).ok()?, kind)
}

/// A part of the subject of a certificate in DER, by the type of the name as it stands there.
fn name_in(certificate: &[u8], kind: &[u8]) -> Option<String> {
    let (tag, subject, _) = element(field(certificate, 4)?)?;
    (tag == SEQUENCE).then_some(())?;
    subject_name(subject, kind)
}

/// What begins with a field of the signed part. Before it stand, in this order: version (where it is not the first
/// one), serial, algorithm, issuer, validity, subject.
fn field(certificate: &[u8], number: usize) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut body, _) = element(certificate)?;
    if body.first() == Some(&VERSION) {
        body = element(body)?.2;
    }
    for _ in 0..number {
        body = element(body)?.2;
    }
    Some(body)
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

    /// Years on both sides of the two forms that X.509 has, as openssl writes them.
    #[test]
    fn the_end_of_what_openssl_makes() {
        let folder = std::env::temp_dir().join(format!("rust-ota-expiry-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("client.pem");
        for (end, moment) in [
            ("20491231235959Z", "2049-12-31T23:59:59Z"),
            ("20500101000000Z", "2050-01-01T00:00:00Z"),
            ("20280229120000Z", "2028-02-29T12:00:00Z"),
            ("99991231235959Z", "9999-12-31T23:59:59Z"),
        ] {
            made_by_openssl(&folder, &path, end);
            assert_eq!(expiry(&path).map(|t| t.to_string()).as_deref(), Some(moment));
            assert_eq!(common_name(&path).as_deref(), Some("device-9"));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn made_by_openssl(folder: &Path, path: &Path, end: &str) {
        let run = |args: &str| {
            let mut command = std::process::Command::new("openssl");
            let output = command.args(args.split(' ')).current_dir(folder).output().unwrap();
            assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        };
        std::fs::write(
            folder.join("ca.cnf"),
            "[ca]\ndefault_ca=a\n[a]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
             [p]\ncommonName=supplied\norganizationalUnitName=optional\n",
        )
        .unwrap();
        std::fs::write(folder.join("index"), "").unwrap();
        run(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout pkey.pem -out csr -subj /OU=f/CN=device-9",
        );
        run(&format!(
            "ca -batch -config ca.cnf -selfsign -keyfile pkey.pem -in csr -out client.pem -rand_serial -notext \
             -startdate 20200101000000Z -enddate {end}"
        ));
        assert!(path.exists());
    }

    #[test]
    fn a_date_that_is_none_is_no_end() {
        // A certificate of nothing but what stands before the end: serial, algorithm, issuer, validity.
        let with = |kind: u8, text: &str| {
            let time = [&[kind, text.len() as u8], text.as_bytes()].concat();
            let validity = [&[SEQUENCE, 2 + time.len() as u8, UTC_TIME, 0][..], &time].concat();
            let body = [&[2, 0, SEQUENCE, 0, SEQUENCE, 0][..], &validity].concat();
            let body = [&[SEQUENCE, body.len() as u8][..], &body].concat();
            not_after(&[&[SEQUENCE, body.len() as u8][..], &body].concat())
        };
        assert_eq!(
            with(UTC_TIME, "300101000000Z").map(|t| t.to_string()).as_deref(),
            Some("2030-01-01T00:00:00Z")
        );
        assert!(with(UTC_TIME, "500101000000Z").is_some_and(|t| t.0 < 0));
        for text in ["30010100000Z", "3001010000000", "301301000000Z", "30ä101000000", "", "+30101000000Z"] {
            assert_eq!(with(UTC_TIME, text), None, "{text}");
            assert_eq!(with(GENERALIZED_TIME, text), None, "{text}");
        }
        assert_eq!(with(4, "300101000000Z"), None);
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
