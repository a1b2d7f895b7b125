//! What lies in the published folder is checked before it is signed again.
//!
//! The folder is often on a web server, where others may write. Whoever could change `targets.json` there would else
//! have their Target signed by the next `refresh`. The private folder remembers the root and the timestamp that were
//! published last, and what is published must follow from them by the rules that devices use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rust_ota::tuf::{Limits, Profile, Rejection, TOP, Time, TrustedMetadata, listed_name};

use crate::delegated;
use crate::error::Error;
use crate::files;
use crate::metadata::Role;
use crate::repository::{file_name, metadata_folder};

const ROOT: &str = "root.json";
const TIMESTAMP: &str = "timestamp.json";
/// Expired metadata may be renewed: for this check it is always 1970.
const BEFORE_ALL: Time = Time(0);

/// The bytes that were checked. They are not read again: the files may change meanwhile.
#[derive(Debug)]
pub struct Trusted {
    pub root: Vec<u8>,
    pub timestamp: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub targets: Vec<u8>,
    /// The roles of tags by name.
    pub roles: BTreeMap<String, Vec<u8>>,
}

/// Checks the published set; keeps the newest root in the private folder.
pub fn verify(dir: &Path, private: &Path, profile: Profile) -> Result<Trusted, Error> {
    let folder = metadata_folder(dir);
    let rejected = |file: PathBuf| move |rejection: Rejection| untrusted(&file, &rejection);
    let pinned = private.join(ROOT);
    // No server sends these files, so their size is no danger.
    let limits =
        Limits { targets_bytes: 1 << 30, snapshot_bytes: 1 << 30, visited_roles: 1024, ..Limits::default() };
    let bytes = files::read(&pinned)?;
    let mut trusted = TrustedMetadata::new(bytes, profile, limits).map_err(rejected(pinned.clone()))?;
    check_same(&folder.join(root_name(trusted.root().role.header.version)), &trusted.root().bytes)?;
    let last_timestamp = private.join(TIMESTAMP);
    if last_timestamp.exists() {
        trusted.restore_timestamp(files::read(&last_timestamp)?).map_err(rejected(last_timestamp))?;
    }
    walk_roots(&folder, &pinned, &mut trusted)?;

    let root = trusted.root().bytes.clone();
    let consistent = trusted.root().role.consistent_snapshot;
    let path = folder.join(TIMESTAMP);
    let timestamp = files::read(&path)?;
    trusted.update_timestamp(timestamp.clone(), BEFORE_ALL).map_err(rejected(path))?;

    let version = trusted.timestamp().map_or(0, |timestamp| timestamp.role.snapshot.version);
    let path = folder.join(file_name(consistent, Role::Snapshot, version));
    let snapshot = files::read(&path)?;
    trusted.update_snapshot(snapshot.clone(), BEFORE_ALL).map_err(rejected(path))?;

    let listed = trusted.snapshot().and_then(|snapshot| snapshot.role.meta.get("targets.json"));
    let path = folder.join(file_name(consistent, Role::Targets, listed.map_or(0, |meta| meta.version)));
    let targets = files::read(&path)?;
    trusted.update_targets(targets.clone(), BEFORE_ALL).map_err(rejected(path))?;
    let roles = verify_roles(&folder, &mut trusted)?;
    Ok(Trusted { root, timestamp, snapshot, targets, roles })
}

fn verify_roles(folder: &Path, trusted: &mut TrustedMetadata) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let names = trusted.tagged_roles(&[]).map_err(|rejection| untrusted(folder, &rejection))?;
    let mut roles = BTreeMap::new();
    for name in names {
        let listed = trusted.snapshot().and_then(|snapshot| snapshot.role.meta.get(&listed_name(&name)));
        let version = listed.map_or(0, |meta| meta.version);
        let consistent = trusted.root().role.consistent_snapshot;
        let path = folder.join(delegated::file_name(trusted.profile(), consistent, &name, version));
        let bytes = files::read(&path)?;
        let taken = trusted.update_delegated(TOP, &name, bytes.clone(), BEFORE_ALL);
        taken.map_err(|rejection| untrusted(&path, &rejection))?;
        roles.insert(name, bytes);
    }
    Ok(roles)
}

/// Remembers the first root, before it is published.
pub fn remember_root(private: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::replace(&private.join(ROOT), bytes, files::SECRET)
}

/// Remembers what was published: from now on nothing older is taken for it.
pub fn remember_timestamp(dir: &Path, private: &Path) -> Result<(), Error> {
    let bytes = files::read(&metadata_folder(dir).join(TIMESTAMP))?;
    files::replace(&private.join(TIMESTAMP), &bytes, files::SECRET)
}

fn walk_roots(folder: &Path, pinned: &Path, trusted: &mut TrustedMetadata) -> Result<(), Error> {
    let mut moved = false;
    loop {
        let path = folder.join(root_name(trusted.next_root_version()));
        if !path.exists() {
            break;
        }
        trusted.update_root(files::read(&path)?).map_err(|rejection| untrusted(&path, &rejection))?;
        moved = true;
    }
    if moved {
        files::replace(pinned, &trusted.root().bytes, files::SECRET)?;
    }
    Ok(())
}

fn check_same(path: &Path, expected: &[u8]) -> Result<(), Error> {
    if path.exists() && files::read(path)? == expected {
        return Ok(());
    }
    let detail = "is not the root that was published last".to_string();
    Err(Error::Untrusted { path: path.to_path_buf(), detail })
}

fn root_name(version: u64) -> String {
    file_name(true, Role::Root, version)
}

fn untrusted(path: &Path, rejection: &Rejection) -> Error {
    Error::Untrusted { path: path.to_path_buf(), detail: rejection.reason.to_string() }
}
