//! Signing keys: made, read from PEM, and used. One file a key, mode 0600, in the private folder.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::RSA_PSS_SHA256;
use rust_ota::tuf::{Profile, to_hex};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::error::Error;
use crate::files;
use crate::metadata::{KeyValue, PublicKey, RoleKeys, Signature, canonical, sha256_hex, to_value};

/// How a user makes an RSA key: nothing that this tool links makes one.
pub const MAKE_RSA: &str = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out root-rsa.pem";

/// A private key and where it lies.
#[derive(Debug)]
pub struct Key {
    pub path: PathBuf,
    private: Private,
    /// Hex of an Ed25519 key, PEM of an RSA key.
    public: String,
    /// The text of the key's file.
    pem: String,
}

#[derive(Debug)]
enum Private {
    Ed25519(Box<SigningKey>),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    /// A fresh Ed25519 key, not on disk yet.
    pub fn generate() -> Result<Self, Error> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map_err(|_| Error::Random)?;
        // PKCS#8 version 1, without the public half: OpenSSL 3.0 reads no other.
        let bytes = KeypairBytes { secret_key: secret, public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|_| Error::Random)?.to_string();
        Self::parse(Path::new("a new key"), &pem)
    }

    /// A key from a PEM file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = String::from_utf8(files::read(path)?).map_err(|e| Error::content(path, e))?;
        Self::parse(path, &text)
    }

    /// Keeps the key in a folder, named after its role and id.
    pub fn save(&mut self, folder: &Path, role: impl Display, profile: Profile) -> Result<(), Error> {
        let id = self.id(profile)?;
        let path = folder.join(format!("{role}-{}.pem", &id[..8]));
        match fs::read_to_string(&path) {
            Ok(existing) if existing == self.pem => {}
            _ => files::create_secret(&path, self.pem.as_bytes())?,
        }
        self.path = path;
        Ok(())
    }

    /// `ed25519` or `rsa`.
    pub fn kind(&self) -> &'static str {
        match self.private {
            Private::Ed25519(_) => "ed25519",
            Private::Rsa(_) => "rsa",
        }
    }

    /// The public key as root lists it.
    pub fn public(&self, profile: Profile) -> PublicKey {
        let keyval = KeyValue { public: self.public.clone() };
        match profile {
            Profile::Tuf => PublicKey {
                keytype: self.kind().to_string(),
                scheme: Some(self.scheme().to_string()),
                keyval,
            },
            Profile::Ats => PublicKey { keytype: self.kind().to_ascii_uppercase(), scheme: None, keyval },
        }
    }

    /// The key's id: TUF hashes the key object, ATS the public string alone.
    pub fn id(&self, profile: Profile) -> Result<String, Error> {
        let identity = match profile {
            Profile::Tuf => to_value(&self.public(profile))?,
            Profile::Ats => Value::String(self.public.clone()),
        };
        Ok(sha256_hex(&canonical(profile, &identity)?))
    }

    /// This key's signature of a message.
    pub fn sign(&self, profile: Profile, message: &[u8]) -> Result<Signature, Error> {
        let signature = match &self.private {
            Private::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| self.unusable("signing failed"))?;
                signature
            }
        };
        let (method, sig) = match profile {
            Profile::Tuf => (None, to_hex(&signature)),
            Profile::Ats => (Some(self.scheme().to_string()), base64(&signature)),
        };
        Ok(Signature { keyid: self.id(profile)?, method, sig })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let bad = |detail: String| Error::Key { path: path.to_path_buf(), detail };
        let (private, public) = if let Ok(key) = SigningKey::from_pkcs8_pem(text) {
            let public = to_hex(key.verifying_key().as_bytes());
            (Private::Ed25519(Box::new(key)), public)
        } else {
            let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| bad(explain(text)))?;
            let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|e| {
                bad(format!(
                    "neither Ed25519 nor RSA of 2048 to 4096 bits ({e}); an RSA key is made with `{MAKE_RSA}`"
                ))
            })?;
            let public = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256)
                .map_err(|e| bad(e.to_string()))?
                .public_key_pem();
            (Private::Rsa(Box::new(pair)), public.trim_end().to_string())
        };
        Ok(Self { path: path.to_path_buf(), private, public, pem: text.to_string() })
    }

    /// TUF's scheme and the ATS method have the same names.
    fn scheme(&self) -> &'static str {
        match self.private {
            Private::Ed25519(_) => "ed25519",
            Private::Rsa(_) => "rsassa-pss-sha256",
        }
    }

    fn unusable(&self, detail: &str) -> Error {
        Error::Key { path: self.path.clone(), detail: detail.to_string() }
    }
}

/// All private keys at hand.
#[derive(Debug)]
pub struct Keyring {
    profile: Profile,
    folder: PathBuf,
    keys: Vec<(String, Key)>,
}

impl Keyring {
    /// Reads every `*.pem` of the folders.
    pub fn load(profile: Profile, folders: &[PathBuf]) -> Result<Self, Error> {
        let mut ring =
            Self { profile, folder: folders.first().cloned().unwrap_or_default(), keys: Vec::new() };
        for folder in folders {
            for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
                let path = entry.map_err(Error::io("list", folder))?.path();
                if path.extension().is_some_and(|extension| extension == "pem") {
                    ring.add(Key::load(&path)?)?;
                }
            }
        }
        // A folder's order is not stable, published bytes should be.
        ring.keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(ring)
    }

    /// Takes in one more key; the same key twice counts once.
    pub fn add(&mut self, key: Key) -> Result<String, Error> {
        let id = key.id(self.profile)?;
        if self.get(&id).is_none() {
            self.keys.push((id.clone(), key));
        }
        Ok(id)
    }

    /// The private key of an id.
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|(own, _)| own == id).map(|(_, key)| key)
    }

    /// Ids and keys, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.keys.iter().map(|(id, key)| (id.as_str(), key))
    }

    /// The keys at hand that sign for a role, at least as many as its threshold asks for.
    pub fn signers(&self, role: impl Display, keys: &RoleKeys) -> Result<Vec<&Key>, Error> {
        let found: Vec<_> = keys.keyids.iter().filter_map(|id| self.get(id)).collect();
        if (found.len() as u64) < keys.threshold {
            return Err(Error::MissingKeys {
                role: role.to_string(),
                threshold: keys.threshold,
                found: found.len(),
                folder: self.folder.clone(),
            });
        }
        Ok(found)
    }
}

/// What is wrong with a file that holds no PKCS#8 key.
fn explain(text: &str) -> String {
    if text.contains("ENCRYPTED") {
        "is encrypted: decrypt it into a folder of its own, give that with --keys, and remove it afterwards"
            .to_string()
    } else if text.contains("BEGIN RSA PRIVATE KEY") {
        "is in the old PKCS#1 form: convert it with `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW`"
            .to_string()
    } else {
        "holds no PEM block `PRIVATE KEY` (PKCS#8)".to_string()
    }
}

/// Base64 with padding, as the ATS dialect writes signatures.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                let index = word >> (18 - 6 * position) & 63;
                out.push(char::from(ALPHABET[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_key_survives_its_file_and_keeps_its_id() {
        let key = Key::generate().unwrap();
        let again = Key::parse(Path::new("x"), &key.pem).unwrap();
        for profile in [Profile::Tuf, Profile::Ats] {
            assert_eq!(key.id(profile).unwrap(), again.id(profile).unwrap());
        }
        assert_ne!(key.id(Profile::Tuf).unwrap(), key.id(Profile::Ats).unwrap());
    }
}
