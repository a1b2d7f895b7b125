//! Public keys of metadata, and which of them may sign for a role.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::spki::der::asn1::UintRef;
use ed25519_dalek::pkcs8::spki::der::{self, Decode, Reader, SliceReader};
use ed25519_dalek::pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::Reason;
use super::hashes::{from_hex, to_hex};
use super::profile::{Limits, Profile};

/// A public key, by value: two key ids for one key are one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublicKey {
    /// Ed25519, verified strictly (no small-order points, no malleable signatures).
    Ed25519([u8; 32]),
    /// RSA-PSS with SHA-256 and a salt of 32 bytes; 2048 to 8192 bits.
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: Vec<u8>,
        /// The exponent, likewise.
        e: Vec<u8>,
    },
    /// ECDSA over P-256 with SHA-256: the uncompressed point.
    EcdsaP256(Vec<u8>),
}

/// Why a key of a `keys` object cannot be used. It is passed over: a repository may list keys
/// that other clients understand (4.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFault {
    /// A key type and scheme that this client does not know.
    UnknownType(String),
    /// A known type whose value cannot be read.
    Malformed(&'static str),
}

/// The keys that may sign for a role, and how many of them have to.
#[derive(Debug, Clone)]
pub struct Signers {
    /// How many distinct keys must sign.
    pub threshold: u32,
    keys: BTreeMap<String, PublicKey>,
    faults: Vec<(String, KeyFault)>,
}

/// All keys of a `keys` object by key id.
#[derive(Debug)]
pub(super) struct KeyRing(BTreeMap<String, Result<PublicKey, KeyFault>>);

/// `keyids` and `threshold` as root and delegations write them.
#[derive(Debug, Deserialize)]
pub(super) struct RoleWire {
    pub keyids: Vec<String>,
    pub threshold: u64,
}

#[derive(Deserialize)]
struct KeyWire {
    keytype: String,
    scheme: Option<String>,
    keyval: KeyvalWire,
}

#[derive(Deserialize)]
struct KeyvalWire {
    public: Option<String>,
}

impl Signers {
    /// One key by itself, in the ATS dialect: who checks a report knows the key that the ECU registered.
    pub fn of_key(keyid: &str, key: &RawValue) -> Result<Signers, KeyFault> {
        let key = PublicKey::read(key, Profile::Ats)?;
        Ok(Signers { threshold: 1, keys: BTreeMap::from([(keyid.to_owned(), key)]), faults: Vec::new() })
    }

    /// The key with this id, if it may sign for the role and can be used.
    pub fn key(&self, keyid: &str) -> Option<&PublicKey> {
        self.keys.get(keyid)
    }

    /// Whether the same keys, by value, sign with the same threshold: if not, they were rotated (5.3.11).
    pub fn same_authority(&self, other: &Signers) -> bool {
        let values = |signers: &Signers| signers.keys.values().cloned().collect::<BTreeSet<_>>();
        self.threshold == other.threshold && values(self) == values(other)
    }

    /// A role that the root does not define: no file of it can ever be verified.
    pub(super) fn nobody() -> Signers {
        Signers { threshold: 1, keys: BTreeMap::new(), faults: Vec::new() }
    }

    /// The keys by value, each once, in a fixed order.
    pub(crate) fn distinct_keys(&self) -> BTreeSet<&PublicKey> {
        self.keys.values().collect()
    }

    /// A remark on keys that could not be used, for the message of an unmet threshold.
    pub(super) fn describe_faults(&self) -> String {
        self.faults.iter().map(|(keyid, fault)| format!("; key {keyid:?} {fault}")).collect()
    }
}

impl KeyRing {
    pub(super) fn new(
        keys: &BTreeMap<String, &RawValue>,
        profile: Profile,
        limits: &Limits,
    ) -> Result<KeyRing, Reason> {
        if keys.len() > limits.keys {
            return Err(Reason::TooManyKeys { limit: limits.keys, got: keys.len() });
        }
        let read = |(keyid, raw): (&String, &&RawValue)| (keyid.clone(), PublicKey::read(raw, profile));
        Ok(KeyRing(keys.iter().map(read).collect()))
    }

    /// The signers of a role. A key id without a key is passed over: it cannot sign.
    pub(super) fn signers(&self, role: &str, wire: &RoleWire, limits: &Limits) -> Result<Signers, Reason> {
        if wire.keyids.len() > limits.role_keys {
            return Err(Reason::TooManyKeys { limit: limits.role_keys, got: wire.keyids.len() });
        }
        let range = || Reason::ThresholdRange { role: role.to_owned(), got: wire.threshold };
        let threshold = u32::try_from(wire.threshold).map_err(|_| range())?;
        if !(1..=1000).contains(&threshold) {
            return Err(range());
        }
        let mut signers = Signers { threshold, keys: BTreeMap::new(), faults: Vec::new() };
        for keyid in &wire.keyids {
            match self.0.get(keyid) {
                Some(Ok(key)) => drop(signers.keys.insert(keyid.clone(), key.clone())),
                Some(Err(fault)) => signers.faults.push((keyid.clone(), fault.clone())),
                None => {}
            }
        }
        Ok(signers)
    }
}

impl PublicKey {
    /// What makes two keys the same signer. An RSA modulus has one owner whatever the exponent.
    pub fn identity(&self) -> (u8, &[u8]) {
        match self {
            PublicKey::Ed25519(bytes) => (0, bytes),
            PublicKey::Rsa { n, .. } => (1, n),
            PublicKey::EcdsaP256(point) => (2, point),
        }
    }

    /// Whether the signature is this key's over the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(bytes) => verify_ed25519(bytes, message, signature),
            PublicKey::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
            }
            PublicKey::EcdsaP256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
        }
    }

    /// Whether a signature's `method` (ATS dialect) is one of this key's type.
    pub fn allows_method(&self, method: &str) -> bool {
        let method = method.to_ascii_lowercase();
        match self {
            PublicKey::Ed25519(_) => method == "ed25519",
            PublicKey::Rsa { .. } => matches!(method.as_str(), "rsassa-pss" | "rsassa-pss-sha256"),
            PublicKey::EcdsaP256(_) => matches!(method.as_str(), "ecdsa-sha2-nistp256" | "ecprime256v1"),
        }
    }

    /// Reads a key object, in the dialect's rules for types and schemes. Its id is a label: python-tuf and go-tuf use keys
    /// whose id is not their hash, sigstore's root has one, and keys count by value, so nothing rests on it.
    pub(super) fn read(raw: &RawValue, profile: Profile) -> Result<PublicKey, KeyFault> {
        let unreadable = |_| KeyFault::Malformed("is not a key object");
        let wire: KeyWire = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let kind = KeyKind::of(&wire, profile)?;
        let public = wire.keyval.public.ok_or(KeyFault::Malformed("has no public value"))?;
        match kind {
            KeyKind::Ed25519 => read_ed25519(&public),
            KeyKind::Rsa => read_rsa(&public),
            KeyKind::EcdsaP256 => read_ecdsa(&public),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            PublicKey::Ed25519(_) => "ed25519",
            PublicKey::Rsa { .. } => "rsa",
            PublicKey::EcdsaP256(_) => "ecdsa",
        };
        let (_, bytes) = self.identity();
        write!(f, "{name}:{}", to_hex(bytes.get(..8).unwrap_or(bytes)))
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFault::UnknownType(name) => write!(f, "has the unknown type {name:?}"),
            KeyFault::Malformed(what) => f.write_str(what),
        }
    }
}

enum KeyKind {
    Ed25519,
    Rsa,
    EcdsaP256,
}

impl KeyKind {
    fn of(wire: &KeyWire, profile: Profile) -> Result<KeyKind, KeyFault> {
        let scheme = wire.scheme.as_deref().unwrap_or_default();
        let keytype = match profile {
            Profile::Tuf => wire.keytype.clone(),
            Profile::Ats => wire.keytype.to_ascii_lowercase(),
        };
        match (profile, keytype.as_str(), scheme) {
            (Profile::Tuf, "ed25519", "ed25519") | (Profile::Ats, "ed25519", _) => Ok(KeyKind::Ed25519),
            (Profile::Tuf, "rsa", "rsassa-pss-sha256") | (Profile::Ats, "rsa", _) => Ok(KeyKind::Rsa),
            // The second name of the type is what repositories before TUF 1.0.33 write.
            (Profile::Tuf, "ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256")
            | (Profile::Ats, "ecdsa" | "ecdsa-sha2-nistp256" | "ecprime256v1", _) => Ok(KeyKind::EcdsaP256),
            _ => Err(KeyFault::UnknownType(format!("{} {scheme}", wire.keytype))),
        }
    }
}

fn read_ed25519(public: &str) -> Result<PublicKey, KeyFault> {
    const FAULT: KeyFault = KeyFault::Malformed("is not 32 bytes in hex");
    let bytes = from_hex(public.trim()).ok_or(FAULT)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| FAULT)?;
    let key =
        VerifyingKey::from_bytes(&bytes).map_err(|_| KeyFault::Malformed("is not a point of Ed25519"))?;
    if key.is_weak() {
        return Err(KeyFault::Malformed("is a weak point of Ed25519"));
    }
    Ok(PublicKey::Ed25519(bytes))
}

fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let key = VerifyingKey::from_bytes(key);
    let signature = ed25519_dalek::Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_strict(message, &signature).is_ok())
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

fn read_rsa(pem: &str) -> Result<PublicKey, KeyFault> {
    const FAULT: KeyFault = KeyFault::Malformed("is not an RSA public key in PEM");
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| FAULT)?;
    let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| FAULT)?;
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Err(FAULT);
    }
    let key = info.subject_public_key.as_bytes().ok_or(FAULT)?;
    let (n, e) = rsa_components(key).map_err(|_| FAULT)?;
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyFault::Malformed("is an RSA key of less than 2048 or more than 8192 bits"));
    }
    Ok(PublicKey::Rsa { n, e })
}

/// RFC 8017 A.1.1: a sequence of modulus and exponent.
fn rsa_components(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let numbers = reader.sequence(|fields| {
        let n = UintRef::decode(fields)?.as_bytes().to_vec();
        let e = UintRef::decode(fields)?.as_bytes().to_vec();
        Ok::<_, der::Error>((n, e))
    })?;
    reader.finish()?;
    Ok(numbers)
}

/// PEM, or the bare point in hex that repositories before TUF 1.0.33 write.
fn read_ecdsa(public: &str) -> Result<PublicKey, KeyFault> {
    const FAULT: KeyFault = KeyFault::Malformed("is not an uncompressed P-256 public key in PEM or hex");
    let point = match from_hex(public.trim()) {
        Some(point) => point,
        None => ecdsa_point(public).ok_or(FAULT)?,
    };
    if point.len() == 65 && point.first() == Some(&4) { Ok(PublicKey::EcdsaP256(point)) } else { Err(FAULT) }
}

fn ecdsa_point(pem: &str) -> Option<Vec<u8>> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    let info = SubjectPublicKeyInfoRef::from_der(&der).ok()?;
    let curve = info.algorithm.parameters_oid().ok()?;
    (info.algorithm.oid == EC_PUBLIC_KEY && curve == P256).then_some(())?;
    info.subject_public_key.as_bytes().map(<[u8]>::to_vec)
}
