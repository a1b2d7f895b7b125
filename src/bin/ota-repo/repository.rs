//! Where everything lies: the published folder (`repo/`, `treehub/`), and the private folder beside it (settings, keys).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::delegated::{self, Delegation};
use crate::error::Error;
use crate::files;
use crate::keys::Keyring;
use crate::metadata::{Envelope, Listing, Role, Root, Targets};
use crate::verify::verify;

const SETTINGS: &str = "settings.json";
const SETTINGS_VERSION: u32 = 1;

/// What `init` was told and later commands need again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub version: u32,
    #[serde(with = "profile_name")]
    pub profile: Profile,
    /// Lifetime of each role in seconds.
    pub expires: BTreeMap<Role, u64>,
    /// Targets are listed by one delegated role for each tag.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delegated_tags: bool,
}

impl Settings {
    /// Settings of a new repository.
    pub fn new(profile: Profile, expires: BTreeMap<Role, u64>) -> Self {
        Self { version: SETTINGS_VERSION, profile, expires, delegated_tags: false }
    }

    /// Keeps the settings in the private folder.
    pub fn save(&self, private: &Path) -> Result<(), Error> {
        let path = private.join(SETTINGS);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::content(&path, e))?;
        files::replace(&path, &text, files::SECRET)
    }

    /// A role's lifetime.
    pub fn lifetime(&self, role: Role) -> u64 {
        self.expires.get(&role).copied().unwrap_or(0)
    }

    fn load(private: &Path) -> Result<Self, Error> {
        let path = private.join(SETTINGS);
        if !path.exists() {
            return Err(Error::NoPrivateFolder { path: private.to_path_buf() });
        }
        let settings: Self = files::read_json(&path)?;
        if settings.version != SETTINGS_VERSION {
            return Err(Error::content(
                &path,
                format!("version {} is of a newer ota-repo", settings.version),
            ));
        }
        Ok(settings)
    }
}

/// A repository that a command changes, locked against others.
#[derive(Debug)]
pub struct Repository {
    pub dir: PathBuf,
    /// The private folder, then any others that hold keys.
    pub private: Vec<PathBuf>,
    pub settings: Settings,
    _lock: File,
}

impl Repository {
    /// Opens and locks a repository. Without `keys` the private folder is `DIR.keys`.
    pub fn open(dir: &Path, keys: &[PathBuf]) -> Result<Self, Error> {
        if !metadata_folder(dir).is_dir() {
            return Err(Error::NotARepository { path: dir.to_path_buf() });
        }
        let lock = lock(dir)?;
        let private = private_folders(dir, keys)?;
        let settings = Settings::load(&private[0])?;
        for folder in [metadata_folder(dir), metadata_folder(dir).join("delegations")] {
            files::sweep(&folder)?;
        }
        files::sweep(&private[0])?;
        Ok(Self { dir: dir.to_path_buf(), settings, private, _lock: lock })
    }

    /// What is published, after a check that it is what was signed.
    pub fn published(&self) -> Result<Published, Error> {
        let trusted = verify(&self.dir, &self.private[0], self.settings.profile)?;
        let top: Targets = parse(&self.dir, &trusted.targets)?;
        let mut roles = Vec::new();
        for delegation in delegated::roles(&top)? {
            if let Some(bytes) = trusted.roles.get(&delegation.name) {
                roles.push((delegation, parse(&self.dir, bytes)?));
            }
        }
        Ok(Published {
            root: parse(&self.dir, &trusted.root)?,
            timestamp: parse(&self.dir, &trusted.timestamp)?,
            snapshot: parse(&self.dir, &trusted.snapshot)?,
            targets: delegated::together(&top, &roles),
            top,
            roles,
        })
    }

    /// Every private key at hand.
    pub fn keyring(&self) -> Result<Keyring, Error> {
        Keyring::load(self.settings.profile, &self.private)
    }
}

/// The newest published set, as the timestamp names it.
#[derive(Clone, Debug)]
pub struct Published {
    pub root: Root,
    pub timestamp: Listing,
    pub snapshot: Listing,
    /// All Targets, with the head of the top-level role.
    pub targets: Targets,
    /// The top-level role as it is.
    pub top: Targets,
    /// The roles of tags, in order.
    pub roles: Vec<(Delegation, Targets)>,
}

impl Published {
    /// Reads what is published, unchecked: root by its highest version, the others from the timestamp down.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let folder = metadata_folder(dir);
        let version =
            newest_root(&folder)?.ok_or_else(|| Error::NotARepository { path: dir.to_path_buf() })?;
        let root: Root = signed(&folder.join(format!("{version}.root.json")))?;
        let timestamp: Listing = signed(&folder.join("timestamp.json"))?;
        let name = |role, version| folder.join(file_name(root.consistent_snapshot, role, version));
        let snapshot_version = listed(&folder, &timestamp, Role::Snapshot)?;
        let snapshot: Listing = signed(&name(Role::Snapshot, snapshot_version))?;
        let targets_version = listed(&folder, &snapshot, Role::Targets)?;
        let top: Targets = signed(&name(Role::Targets, targets_version))?;
        let profile = if root.head.type_name == "root" { Profile::Tuf } else { Profile::Ats };
        let mut roles = Vec::new();
        for delegation in delegated::roles(&top)? {
            let version = listed(&folder, &snapshot, &delegation.name)?;
            let name = delegated::file_name(profile, root.consistent_snapshot, &delegation.name, version);
            let role = signed(&folder.join(name))?;
            roles.push((delegation, role));
        }
        Ok(Self { root, timestamp, snapshot, targets: delegated::together(&top, &roles), top, roles })
    }
}

/// The folder of the metadata.
pub fn metadata_folder(dir: &Path) -> PathBuf {
    dir.join("repo")
}

/// The name under which a role's version is published.
pub fn file_name(consistent_snapshot: bool, role: Role, version: u64) -> String {
    match role {
        Role::Root => format!("{version}.root.json"),
        Role::Timestamp => "timestamp.json".to_string(),
        _ if consistent_snapshot => format!("{version}.{role}.json"),
        _ => format!("{role}.json"),
    }
}

/// The private folders: those given, else `DIR.keys`.
pub fn private_folders(dir: &Path, given: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    // "." has no name of its own, so the whole path is asked for.
    let dir =
        if dir.exists() { dir.canonicalize().map_err(Error::io("resolve", dir))? } else { dir.to_path_buf() };
    let mut name = OsString::from(
        dir.file_name()
            .ok_or_else(|| Error::option("DIR", "has no name: give a folder, or its keys with --keys"))?,
    );
    name.push(".keys");
    Ok(vec![dir.with_file_name(name)])
}

/// Locks a published folder for as long as the file lives.
pub fn lock(dir: &Path) -> Result<File, Error> {
    let folder = File::open(dir).map_err(Error::io("open", dir))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::Locked { path: dir.to_path_buf() })?;
    Ok(folder)
}

/// The highest version of the roots in a folder.
pub fn newest_root(folder: &Path) -> Result<Option<u64>, Error> {
    let mut newest = None;
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    for entry in entries {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        let version = name
            .to_str()
            .and_then(|name| name.strip_suffix(".root.json"))
            .and_then(|version| version.parse::<u64>().ok());
        newest = newest.max(version);
    }
    Ok(newest)
}

fn listed(folder: &Path, listing: &Listing, role: impl std::fmt::Display) -> Result<u64, Error> {
    let name = format!("{role}.json");
    listing.meta.get(&name).map(|meta| meta.version).ok_or_else(|| {
        let lister = folder.join(format!("{}.json", listing.head.type_name.to_lowercase()));
        Error::content(&lister, format!("does not list {name}"))
    })
}

/// The signed part of a document, unchecked.
pub fn signed<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse(path, &files::read(path)?)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    let envelope: Envelope<T> = serde_json::from_slice(bytes).map_err(|e| Error::content(path, e))?;
    Ok(envelope.signed)
}

/// A profile by its name.
mod profile_name {
    use rust_ota::tuf::Profile;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(profile: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(profile.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Profile, D::Error> {
        let name = String::deserialize(deserializer)?;
        Profile::from_name(&name).ok_or_else(|| D::Error::custom(format!("profile {name:?} is not known")))
    }
}
