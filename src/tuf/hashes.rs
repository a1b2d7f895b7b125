//! Hashes that metadata lists for metadata files and Targets.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use sha2::{Digest, Sha256, Sha512};

use super::error::Reason;

/// The hashes of one file. Algorithms that this client does not know are kept and not relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512.
    pub sha512: Option<Box<[u8; 64]>>,
    /// Other algorithms, as they were written.
    pub other: Vec<(Box<str>, Box<str>)>,
}

impl Hashes {
    /// Whether there is a hash that can be checked.
    pub fn usable(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }

    /// Whether nothing at all is listed.
    pub fn is_empty(&self) -> bool {
        !self.usable() && self.other.is_empty()
    }

    /// SHA-256 as 64 lower-case digits: the commit of an OSTree Target.
    pub fn sha256_hex(&self) -> Option<String> {
        self.sha256.as_ref().map(|hash| to_hex(hash))
    }

    /// SHA-512 as 128 lower-case digits.
    pub fn sha512_hex(&self) -> Option<String> {
        self.sha512.as_ref().map(|hash| to_hex(&hash[..]))
    }

    /// Checks every hash that is listed and known, not the first one only.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut checker = Checker::new(self);
        checker.update(bytes);
        checker.finish()
    }
}

/// Bytes that are not what their hash says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `sha256` or `sha512`.
    pub algorithm: &'static str,
    /// The listed hash in hex.
    pub expected: String,
    /// The hash of the bytes in hex.
    pub got: String,
}

impl Mismatch {
    pub(super) fn reason(self, parent: &'static str) -> Reason {
        let Mismatch { algorithm, expected, got } = self;
        Reason::HashMismatch { parent, algorithm, expected, got }
    }
}

/// Hashes bytes as they come, so that a Target never has to be in memory.
#[derive(Clone, Debug)]
pub struct Checker<'h> {
    expected: &'h Hashes,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl<'h> Checker<'h> {
    /// Starts with no bytes.
    pub fn new(expected: &'h Hashes) -> Checker<'h> {
        Checker {
            expected,
            sha256: expected.sha256.as_ref().map(|_| Sha256::new()),
            sha512: expected.sha512.as_ref().map(|_| Sha512::new()),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Compares all hashes. Whether there is one at all is [`Hashes::usable`].
    pub fn finish(self) -> Result<(), Mismatch> {
        if let (Some(expected), Some(sha256)) = (&self.expected.sha256, self.sha256) {
            compare("sha256", expected, &sha256.finalize())?;
        }
        if let (Some(expected), Some(sha512)) = (&self.expected.sha512, self.sha512) {
            compare("sha512", &expected[..], &sha512.finalize())?;
        }
        Ok(())
    }
}

fn compare(algorithm: &'static str, expected: &[u8], got: &[u8]) -> Result<(), Mismatch> {
    if expected == got {
        return Ok(());
    }
    Err(Mismatch { algorithm, expected: to_hex(expected), got: to_hex(got) })
}

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hashes, D::Error> {
        deserializer.deserialize_map(HashesVisitor)
    }
}

struct HashesVisitor;

impl<'de> Visitor<'de> for HashesVisitor {
    type Value = Hashes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hashes by algorithm")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hashes, A::Error> {
        let mut hashes = Hashes::default();
        while let Some((algorithm, hash)) = map.next_entry::<String, String>()? {
            match algorithm.as_str() {
                "sha256" => hashes.sha256 = Some(digest(&algorithm, &hash)?),
                "sha512" => hashes.sha512 = Some(Box::new(digest(&algorithm, &hash)?)),
                _ => hashes.other.push((algorithm.into(), hash.into())),
            }
        }
        Ok(hashes)
    }
}

fn digest<const N: usize, E: Error>(algorithm: &str, hash: &str) -> Result<[u8; N], E> {
    let bytes = from_hex(hash).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| E::custom(format_args!("{hash:?} is not a {algorithm} of {N} bytes in hex")))
}

/// SHA-256 in lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// Lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hex of either case; `None` if it is not hex or has an odd length.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_both_ways() {
        assert_eq!(from_hex("00fFa5"), Some(vec![0, 255, 165]));
        assert_eq!(to_hex(&[0, 255, 165]), "00ffa5");
        assert_eq!(from_hex(""), Some(vec![]));
        for text in ["0", "0g", "+1", " 00", "0x00", "éé"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn checks_every_known_hash() {
        let good256 = to_hex(&Sha256::digest(b"x"));
        let good512 = to_hex(&Sha512::digest(b"x"));
        let read = |a: &str, b: &str| {
            serde_json::from_str::<Hashes>(&format!(r#"{{"sha256":"{a}","sha512":"{b}","md5":"00"}}"#))
                .unwrap()
        };
        let hashes = read(&good256, &good512);
        assert_eq!(hashes.check(b"x"), Ok(()));
        assert_eq!(hashes.check(b"y").unwrap_err().algorithm, "sha256");
        assert_eq!(read(&good256, &"0".repeat(128)).check(b"x").unwrap_err().algorithm, "sha512");
        assert_eq!(hashes.sha256_hex(), Some(good256));
    }

    #[test]
    fn an_unknown_algorithm_is_no_check() {
        let hashes: Hashes = serde_json::from_str(r#"{"md5":"00"}"#).unwrap();
        assert!(!hashes.usable() && !hashes.is_empty());
    }

    #[test]
    fn refuses_a_malformed_hash() {
        for hash in ["", "00", "../../x", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            let text = format!(r#"{{"sha256":"{hash}"}}"#);
            assert!(serde_json::from_str::<Hashes>(&text).is_err(), "{hash}");
        }
    }
}
