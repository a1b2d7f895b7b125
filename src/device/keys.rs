//! The key that signs what an ECU reports. ring makes Ed25519 keys and signs with both kinds; it makes no RSA keys.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PSS_SHA256};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::DeviceError;
use crate::config::{KeyType, Settings};
use crate::store::atomic;
use crate::tuf::canonical::{Canonical, Form};
use crate::tuf::{from_hex, to_hex};
use crate::uptane::Signature;

/// The private key of an ECU.
pub struct EcuKey {
    private: Private,
    public: String,
}

enum Private {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// PKCS#8 of an Ed25519 key without its public half, up to the seed: OpenSSL 3.0 reads no other.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// `SEQUENCE { OID rsaEncryption, NULL }`, what stands before the key in the usual PEM of a public RSA key.
const RSA_ALGORITHM: [u8; 15] = [0x30, 0x0D, 6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];

/// The key of this device: the stored one, one that was brought, or a new one.
pub(super) fn load_or_make(settings: &Settings) -> Result<EcuKey, DeviceError> {
    if let Some((key, _)) = load(settings)? {
        return Ok(key);
    }
    let path = path(settings);
    let pem = match &settings.director.imported_key {
        Some(brought) => {
            let missing =
                || DeviceError::Key { path: brought.clone(), reason: "it is not there".to_string() };
            let bytes = atomic::read(brought)?.ok_or_else(missing)?;
            EcuKey::read(brought, &bytes)?;
            Zeroizing::new(bytes)
        }
        None if settings.director.key_type == KeyType::Rsa => return Err(DeviceError::NoRsaKey),
        None => new_ed25519()?,
    };
    // Kept before anybody sees the public half: what is registered must be there after a power cut.
    atomic::create_secret(&path, &pem)?;
    EcuKey::read(&path, &pem)
}

/// The stored key and the text of its file.
pub(super) fn load(settings: &Settings) -> Result<Option<(EcuKey, Zeroizing<String>)>, DeviceError> {
    let path = path(settings);
    let Some(bytes) = atomic::read(&path)?.map(Zeroizing::new) else { return Ok(None) };
    Ok(Some((EcuKey::read(&path, &bytes)?, Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))))
}

fn path(settings: &Settings) -> PathBuf {
    settings.state.join("ecu-key.pem")
}

fn new_ed25519() -> Result<Zeroizing<Vec<u8>>, DeviceError> {
    let mut der = Zeroizing::new([0; ED25519_PKCS8.len() + 32]);
    let (head, seed) = der.split_at_mut(ED25519_PKCS8.len());
    head.copy_from_slice(&ED25519_PKCS8);
    SystemRandom::new().fill(seed).map_err(|_| DeviceError::Random)?;
    Ok(Zeroizing::new(pem("PRIVATE KEY", der.as_slice()).into_bytes()))
}

impl EcuKey {
    /// The key in a file, if there is one.
    pub fn at(path: &Path) -> Result<Option<EcuKey>, DeviceError> {
        atomic::read(path)?.map(|bytes| EcuKey::read(path, &Zeroizing::new(bytes))).transpose()
    }

    /// A new Ed25519 key, in a file that only this user reads.
    pub fn make_at(path: &Path) -> Result<EcuKey, DeviceError> {
        let pem = new_ed25519()?;
        atomic::create_secret(path, &pem)?;
        EcuKey::read(path, &pem)
    }

    /// The key in the text of a file; the path is for messages.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<EcuKey, DeviceError> {
        parse(bytes).map_err(|reason| DeviceError::Key { path: path.to_path_buf(), reason })
    }

    /// `ED25519` or `RSA`.
    pub fn kind(&self) -> &'static str {
        match self.private {
            Private::Ed25519(_) => "ED25519",
            Private::Rsa(_) => "RSA",
        }
    }

    /// The public half as it is registered: upper-case hex of an Ed25519 key, PEM of an RSA key.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// SHA-256 over the JSON string of the public text without the newlines at its end.
    pub fn id(&self) -> String {
        let text = serde_json::to_vec(self.public.trim_end_matches('\n')).unwrap_or_default();
        let canonical = Canonical::new(&text, Form::Ascii).map(|c| c.document().to_vec()).unwrap_or_default();
        to_hex(ring::digest::digest(&ring::digest::SHA256, &canonical).as_ref())
    }

    /// Signs what a report says.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, DeviceError> {
        let (method, signature) = match &self.private {
            Private::Ed25519(key) => ("ed25519", key.sign(message).as_ref().to_vec()),
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| DeviceError::Sign)?;
                ("rsassa-pss", signature)
            }
        };
        Ok(Signature { keyid: self.id(), method, sig: STANDARD.encode(signature) })
    }

    fn ed25519(key: Ed25519KeyPair) -> EcuKey {
        let public = to_hex(key.public_key().as_ref()).to_ascii_uppercase();
        EcuKey { private: Private::Ed25519(key), public }
    }

    fn rsa(key: RsaKeyPair) -> EcuKey {
        let public = pem("PUBLIC KEY", &rsa_public(key.public().as_ref()));
        EcuKey { private: Private::Rsa(Box::new(key)), public }
    }
}

/// PEM of either kind, or the 64 bytes in hex that aktualizr keeps of an Ed25519 key.
fn parse(bytes: &[u8]) -> Result<EcuKey, String> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let hex = Zeroizing::new(text.to_ascii_lowercase());
    if let Some(raw) = from_hex(&hex).map(Zeroizing::new).filter(|raw| raw.len() == 64) {
        let (seed, public) = raw.split_at(32);
        let key = Ed25519KeyPair::from_seed_and_public_key(seed, public);
        return key.map(EcuKey::ed25519).map_err(|e| e.to_string());
    }
    let der = PrivateKeyDer::from_pem_slice(bytes)
        .map_err(|_| "neither PEM nor hex of a private key".to_string())?;
    match &der {
        PrivateKeyDer::Pkcs1(der) => {
            RsaKeyPair::from_der(der.secret_pkcs1_der()).map(EcuKey::rsa).map_err(|e| e.to_string())
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(EcuKey::ed25519);
            ed25519
                .or_else(|_| RsaKeyPair::from_pkcs8(der).map(EcuKey::rsa))
                .map_err(|e| format!("neither Ed25519 nor RSA of 2048 to 4096 bits ({e})"))
        }
        _ => Err("an elliptic curve key; servers of this protocol know Ed25519 and RSA".to_string()),
    }
}

fn rsa_public(key: &[u8]) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend(key);
    let mut content = RSA_ALGORITHM.to_vec();
    content.extend(element(0x03, &bits));
    element(0x30, &content)
}

/// A DER element of less than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend(content);
    out
}

/// DER as text.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    // It may be a private key, so that no copy stays: the one here is wiped, and the result never grows.
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut out = String::with_capacity(2 * text.len() + 2 * label.len() + 64);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// The private half is never shown.
impl fmt::Debug for EcuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcuKey").field("public", &self.public).finish_non_exhaustive()
    }
}
