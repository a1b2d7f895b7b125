//! Signs a new set of metadata and puts it in place so that a reader, and a crash, find the old set or the new one.
//!
//! With versioned names (TUF profile) nothing that a reader may hold is overwritten but the timestamp, which is renamed
//! into place after all that it refers to. With plain names (ATS profile) three files change at once, so a complete
//! copy of the folder is made and exchanged with the old one in a single rename.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Map;

use crate::error::Error;
use crate::files;
use crate::keys::{Key, Keyring};
use crate::metadata::{Head, Listing, MetaFile, Profile, Role, Root, Targets, sign};
use crate::repository::{Published, Settings, file_name, metadata_folder};
use crate::time;

/// What is to be signed anew. The timestamp always is.
#[derive(Debug, Default)]
pub struct Change {
    /// A new root, its version already counted up.
    pub root: Option<Root>,
    /// New content of the targets role.
    pub targets: Option<Targets>,
    /// Sign the snapshot although no Target changed.
    pub snapshot: bool,
}

/// Who signs.
#[derive(Debug)]
pub struct Signing<'a> {
    pub settings: &'a Settings,
    pub keyring: &'a Keyring,
    /// Seconds since 1970.
    pub now: u64,
}

type File = (String, Vec<u8>);

/// Signs the first version of every role and publishes it.
pub fn first(dir: &Path, signing: &Signing, root: &Root) -> Result<(), Error> {
    let profile = signing.settings.profile;
    let listing = |role| Listing { head: Head::new(profile, role), meta: BTreeMap::new(), other: Map::new() };
    let before = Published {
        root: root.clone(),
        timestamp: listing(Role::Timestamp),
        snapshot: listing(Role::Snapshot),
        targets: Targets {
            head: Head::new(profile, Role::Targets),
            targets: BTreeMap::new(),
            other: Map::new(),
        },
        targets_bytes: Vec::new(),
    };
    let mut files = vec![sign_root(signing, None, root)?];
    let change = Change { targets: Some(before.targets.clone()), ..Change::default() };
    files.extend(sign_others(signing, &before, change)?);
    let folder = metadata_folder(dir);
    files::create_folder(&folder)?;
    write_in_order(&folder, &files)
}

/// Signs what changed, and publishes it.
pub fn publish(dir: &Path, signing: &Signing, before: &Published, mut change: Change) -> Result<(), Error> {
    let root = change.root.take();
    let mut after = before.clone();
    let mut root_file = None;
    if let Some(root) = root {
        root_file = Some(sign_root(signing, Some(&before.root), &root)?);
        after.root = root;
    }
    let mut files = sign_others_with(signing, &after, &before.root, change)?;
    // The others carry signatures of the old and of the new keys, so that they are in place before a reader may see
    // the root that asks for the new ones.
    files.extend(root_file);
    let folder = metadata_folder(dir);
    match signing.settings.profile {
        Profile::Tuf => write_in_order(&folder, &files),
        Profile::Ats => write_by_exchange(dir, &folder, &files),
    }
}

fn sign_root(signing: &Signing, old: Option<&Root>, new: &Root) -> Result<File, Error> {
    let mut root = new.clone();
    root.head.expires = expiry(signing, Role::Root);
    let mut keys = signers(signing, Role::Root, new)?;
    if let Some(old) = old {
        add_missing(&mut keys, signers(signing, Role::Root, old)?);
    }
    let bytes = sign(signing.settings.profile, &root, &keys)?;
    Ok((file_name(true, Role::Root, root.head.version), bytes))
}

fn sign_others(signing: &Signing, before: &Published, change: Change) -> Result<Vec<File>, Error> {
    sign_others_with(signing, before, &before.root, change)
}

/// Targets, snapshot and timestamp, as far as they change, in the order of publication.
fn sign_others_with(
    signing: &Signing,
    before: &Published,
    old_root: &Root,
    change: Change,
) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    let again = change.snapshot || change.targets.is_some();
    let mut targets =
        (before.targets.head.version, MetaFile::of(before.targets.head.version, &before.targets_bytes));
    let consistent = before.root.consistent_snapshot;
    let mut add = |role: Role, head: &Head, bytes: Vec<u8>| {
        let meta = MetaFile::of(head.version, &bytes);
        files.push((file_name(consistent, role, head.version), bytes));
        meta
    };
    let sign_role = |role, value: &dyn Signable| {
        let mut keys = signers(signing, role, &before.root)?;
        if let Ok(old) = signers(signing, role, old_root) {
            add_missing(&mut keys, old);
        }
        value.sign(signing.settings.profile, &keys)
    };

    if let Some(mut new) = change.targets {
        renew(&mut new.head, before.targets.head.version, signing, Role::Targets);
        let bytes = sign_role(Role::Targets, &new)?;
        targets = (new.head.version, add(Role::Targets, &new.head, bytes));
    }
    let mut timestamp = before.timestamp.clone();
    if again {
        let mut snapshot = before.snapshot.clone();
        renew(&mut snapshot.head, before.snapshot.head.version, signing, Role::Snapshot);
        snapshot.meta.insert("targets.json".to_string(), targets.1);
        let bytes = sign_role(Role::Snapshot, &snapshot)?;
        let meta = add(Role::Snapshot, &snapshot.head, bytes);
        timestamp.meta.insert("snapshot.json".to_string(), meta);
    }
    renew(&mut timestamp.head, before.timestamp.head.version, signing, Role::Timestamp);
    let bytes = sign_role(Role::Timestamp, &timestamp)?;
    add(Role::Timestamp, &timestamp.head, bytes);
    Ok(files)
}

/// A role that can be signed whatever its type.
trait Signable {
    fn sign(&self, profile: Profile, keys: &[&Key]) -> Result<Vec<u8>, Error>;
}

impl<T: serde::Serialize> Signable for T {
    fn sign(&self, profile: Profile, keys: &[&Key]) -> Result<Vec<u8>, Error> {
        sign(profile, self, keys)
    }
}

fn renew(head: &mut Head, before: u64, signing: &Signing, role: Role) {
    head.version = before + 1;
    head.expires = expiry(signing, role);
}

fn expiry(signing: &Signing, role: Role) -> String {
    time::format(signing.now.saturating_add(signing.settings.lifetime(role)))
}

fn signers<'a>(signing: &Signing<'a>, role: Role, root: &Root) -> Result<Vec<&'a Key>, Error> {
    let keys = root.roles.get(&role).cloned().unwrap_or_default();
    signing.keyring.signers(role, &keys)
}

fn add_missing<'a>(keys: &mut Vec<&'a Key>, more: Vec<&'a Key>) {
    for key in more {
        if !keys.iter().any(|own| std::ptr::eq(*own, key)) {
            keys.push(key);
        }
    }
}

fn write_in_order(folder: &Path, files: &[File]) -> Result<(), Error> {
    for (name, bytes) in files {
        files::replace(&folder.join(name), bytes, files::PUBLIC)?;
    }
    Ok(())
}

fn write_by_exchange(dir: &Path, folder: &Path, files: &[File]) -> Result<(), Error> {
    let next = dir.join(".repo.new");
    if next.exists() {
        fs::remove_dir_all(&next).map_err(Error::io("remove", &next))?;
    }
    files::create_folder(&next)?;
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let copy = next.join(entry.file_name());
        fs::hard_link(entry.path(), &copy).map_err(Error::io("link", &copy))?;
    }
    write_in_order(&next, files)?;
    match renameat_with(CWD, &next, CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => files::sync_folder(dir)?,
        // A file system that cannot exchange (some network ones): file by file, the timestamp last, is the best there is.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => write_in_order(folder, files)?,
        Err(error) => return Err(Error::io("exchange", folder)(io::Error::from(error))),
    }
    fs::remove_dir_all(&next).map_err(Error::io("remove", &next))
}
