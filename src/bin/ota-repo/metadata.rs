//! The shape of the four roles, and how a document is signed in each profile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rust_ota::tuf::canonical::{Canonical, Form};
use rust_ota::tuf::{Profile, to_hex};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::keys::Key;

/// A role of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Says which keys sign what.
    Root,
    /// Says which Targets there are.
    Targets,
    /// Says which version of the targets role belongs to this moment.
    Snapshot,
    /// Says that this is the newest.
    Timestamp,
}

impl Role {
    /// All roles, root first.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    fn type_name(self, profile: Profile) -> String {
        let name = self.name();
        match profile {
            Profile::Tuf => name.to_string(),
            Profile::Ats => name[..1].to_ascii_uppercase() + &name[1..],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("{text:?} is no role: use root, targets, snapshot or timestamp"))
    }
}

/// A signed document as it lies on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub signatures: Vec<Signature>,
    pub signed: T,
}

/// One key's signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signature {
    pub keyid: String,
    /// Only the ATS dialect has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    pub sig: String,
}

/// What every role begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    #[serde(rename = "_type")]
    pub type_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_version: Option<String>,
    pub version: u64,
    pub expires: String,
}

impl Head {
    /// The head of a role's first version.
    pub fn new(profile: Profile, role: Role) -> Self {
        Self {
            type_name: role.type_name(profile),
            // The newest version of the specification that this tool was written against.
            spec_version: (profile == Profile::Tuf).then(|| "1.0.31".to_string()),
            version: 0,
            expires: String::new(),
        }
    }
}

/// The root role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    #[serde(flatten)]
    pub head: Head,
    #[serde(default)]
    pub consistent_snapshot: bool,
    pub keys: BTreeMap<String, PublicKey>,
    pub roles: BTreeMap<Role, RoleKeys>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A public key as root lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    pub keytype: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    pub keyval: KeyValue,
}

/// The key itself: hex of an Ed25519 key, PEM of an RSA key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    pub public: String,
}

/// Which keys sign a role, and how many must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    pub keyids: Vec<String>,
    pub threshold: u64,
}

/// The targets role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    #[serde(flatten)]
    pub head: Head,
    pub targets: BTreeMap<String, Target>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One Target. An OSTree Target's sha256 is its commit, its length is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub length: u64,
    pub hashes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub custom: Map<String, Value>,
}

/// The snapshot and the timestamp role: what other files must be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listing {
    #[serde(flatten)]
    pub head: Head,
    pub meta: BTreeMap<String, MetaFile>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Version, length and hash of a metadata file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, String>,
}

impl MetaFile {
    /// What a file's bytes are.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: Some(bytes.len() as u64),
            hashes: BTreeMap::from([("sha256".to_string(), sha256_hex(bytes))]),
        }
    }
}

/// A signed document's bytes, ready to publish.
///
/// The ATS dialect computes hashes over the canonical form of the whole document. Its files are published in that
/// very form, so that a client that hashes bytes comes to the same sum.
pub fn sign(profile: Profile, signed: &impl Serialize, keys: &[&Key]) -> Result<Vec<u8>, Error> {
    let signed = to_value(signed)?;
    let message = canonical(profile, &signed)?;
    let mut signatures = Vec::new();
    for key in keys {
        signatures.push(key.sign(profile, &message)?);
    }
    let document = to_value(&Envelope { signatures, signed })?;
    match profile {
        Profile::Ats => canonical(profile, &document),
        Profile::Tuf => serde_json::to_vec(&document).map_err(no_json),
    }
}

/// The bytes that a signature or a key id of this profile is computed over.
pub fn canonical(profile: Profile, value: &Value) -> Result<Vec<u8>, Error> {
    let form = match profile {
        Profile::Tuf => Form::Olpc,
        Profile::Ats => Form::Ascii,
    };
    let document = serde_json::to_vec(value).map_err(no_json)?;
    Ok(Canonical::new(&document, form).map_err(no_json)?.document().to_vec())
}

/// A serialised value.
pub fn to_value(value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(no_json)
}

/// Lower-case hex of the SHA-256 of bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn no_json(error: serde_json::Error) -> Error {
    Error::Canonical { detail: error.to_string() }
}
