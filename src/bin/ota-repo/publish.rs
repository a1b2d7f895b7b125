//! Signs a new set of metadata and puts it in place so that a reader, and a crash, find the old set or the new one.
//!
//! With versioned names (TUF profile) nothing that a reader may hold is overwritten but the timestamp, which is renamed
//! into place after all that it refers to. With plain names (ATS profile) three files change at once, so a complete
//! copy of the folder is made and exchanged with the old one in a single rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use rust_ota::tuf::Profile;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use serde_json::Map;

use crate::delegated::{self, Wishes};
use crate::error::Error;
use crate::files;
use crate::keys::{Key, Keyring};
use crate::metadata::{Head, Listing, MetaFile, Role, RoleKeys, Root, Targets, sign};
use crate::repository::{Published, Repository, Settings, file_name, metadata_folder};
use crate::tags;
use crate::time;
use crate::verify;

/// What is to be signed anew. A new snapshot follows from new targets, a new timestamp from a new snapshot.
#[derive(Debug, Default)]
pub struct Change {
    /// A new root, its version already counted up.
    pub root: Option<Root>,
    /// All Targets as they are to be.
    pub targets: Option<Targets>,
    /// Where Targets are shared out between roles: the roles to sign although nothing in them changed.
    pub again: BTreeSet<String>,
    /// What is wanted of single tags' roles.
    pub wishes: Wishes,
    /// Sign the snapshot although no Target changed.
    pub snapshot: bool,
    /// Sign the timestamp although the snapshot did not change.
    pub timestamp: bool,
}

/// Who signs.
#[derive(Debug)]
pub struct Signing<'a> {
    pub settings: &'a Settings,
    pub keyring: &'a Keyring,
    /// Seconds since 1970.
    pub now: u64,
}

/// A name in the metadata folder, and what is to be there.
pub type File = (String, Vec<u8>);

/// Signs the first version of every role and publishes it.
pub fn first(dir: &Path, private: &Path, signing: &Signing, root: &Root) -> Result<(), Error> {
    let profile = signing.settings.profile;
    let listing = |role| Listing { head: Head::new(profile, role), meta: BTreeMap::new(), other: Map::new() };
    let none =
        Targets { head: Head::new(profile, Role::Targets), targets: BTreeMap::new(), other: Map::new() };
    let before = Published {
        root: root.clone(),
        timestamp: listing(Role::Timestamp),
        snapshot: listing(Role::Snapshot),
        targets: none.clone(),
        top: none,
        roles: Vec::new(),
    };
    let change = Change { targets: Some(before.targets.clone()), ..Change::default() };
    let mut files = vec![signing.root(root, root)?];
    files.extend(signing.others(&before, root, change)?);
    let folder = metadata_folder(dir);
    verify::remember_root(private, &files[0].1)?;
    files::create_folder(&folder)?;
    write_in_order(&folder, &files)?;
    verify::remember_timestamp(dir, private)
}

/// Signs what changed, and publishes it.
pub fn publish(
    repository: &Repository,
    signing: &Signing,
    before: &Published,
    mut change: Change,
) -> Result<(), Error> {
    let dir = &repository.dir;
    let root = change.root.take();
    let mut files = signing.others(before, root.as_ref().unwrap_or(&before.root), change)?;
    // The others carry signatures of the old and of the new keys, so that they are in place before a reader may see
    // the root that asks for the new ones.
    if let Some(root) = root {
        files.push(signing.root(&before.root, &root)?);
    }
    let folder = metadata_folder(dir);
    match signing.settings.profile {
        Profile::Tuf => write_in_order(&folder, &files)?,
        Profile::Ats => write_by_exchange(dir, &folder, &files)?,
    }
    verify::remember_timestamp(dir, &repository.private[0])?;
    tags::follow(repository, signing)
}

impl<'a> Signing<'a> {
    /// A root, signed by enough of its own keys and of the one before.
    pub fn root(&self, old: &Root, new: &Root) -> Result<File, Error> {
        let mut root = new.clone();
        root.head.expires = self.expiry(Role::Root);
        let mut keys = self.keys(Role::Root, new)?;
        add_missing(&mut keys, self.keys(Role::Root, old)?);
        let bytes = sign(self.settings.profile, &root, &keys)?;
        Ok((file_name(true, Role::Root, root.head.version), bytes))
    }

    /// Targets, snapshot and timestamp, as far as they change, in the order of publication.
    pub fn others(&self, before: &Published, root: &Root, mut change: Change) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        let mut snapshot = before.snapshot.clone();
        let mut timestamp = before.timestamp.clone();
        if let Some(targets) = change.targets.take() {
            files = self.targets(before, root, targets, &change, &mut snapshot)?;
        }
        let again = change.snapshot || !files.is_empty();
        if again {
            self.renew(&mut snapshot.head, before.snapshot.head.version, Role::Snapshot);
            let file = self.signed(Role::Snapshot, &snapshot, before, root)?;
            let meta = MetaFile::of(snapshot.head.version, &file);
            timestamp.meta.insert("snapshot.json".to_string(), meta);
            files.push((file_name(root.consistent_snapshot, Role::Snapshot, snapshot.head.version), file));
        }
        if again || change.timestamp {
            self.renew(&mut timestamp.head, before.timestamp.head.version, Role::Timestamp);
            let file = self.signed(Role::Timestamp, &timestamp, before, root)?;
            files.push((file_name(root.consistent_snapshot, Role::Timestamp, 0), file));
        }
        Ok(files)
    }

    /// The top-level targets, and the roles of tags as far as they change.
    fn targets(
        &self,
        before: &Published,
        root: &Root,
        whole: Targets,
        change: &Change,
        snapshot: &mut Listing,
    ) -> Result<Vec<File>, Error> {
        let profile = self.settings.profile;
        let mut files = Vec::new();
        let shared = self.settings.delegated_tags || !before.roles.is_empty();
        let by_tag =
            |keys: &RoleKeys| delegated::share(self, whole.clone(), before, &root.keys, keys, &change.wishes);
        let keys = root.roles.get(&Role::Targets).cloned().unwrap_or_default();
        let (mut top, roles) = if shared { by_tag(&keys)? } else { (whole.clone(), Vec::new()) };
        let same = |role: &str, new: &Targets, old: &Targets| {
            new.targets == old.targets && new.other == old.other && !change.again.contains(role)
        };
        for (delegation, mut role) in roles {
            let name = &delegation.name;
            let old = before.roles.iter().find(|(own, _)| own.name == *name);
            if old.is_some_and(|(own, old)| own.keys == delegation.keys && same(name, &role, old)) {
                continue;
            }
            self.renew(&mut role.head, old.map_or(0, |(_, old)| old.head.version), Role::Targets);
            let file = sign(profile, &role, &self.keyring.signers(name, &delegation.keys)?)?;
            let version = role.head.version;
            snapshot.meta.insert(format!("{name}.json"), MetaFile::of(version, &file));
            files.push((delegated::file_name(profile, root.consistent_snapshot, name, version), file));
        }
        // Devices of all tags read it: only where it has to be new.
        let kept = shared && before.root.roles.get(&Role::Targets) == Some(&keys);
        if !kept || !same(Role::Targets.name(), &top, &before.top) {
            self.renew(&mut top.head, before.top.head.version, Role::Targets);
            let file = self.signed(Role::Targets, &top, before, root)?;
            let version = top.head.version;
            snapshot.meta.insert("targets.json".to_string(), MetaFile::of(version, &file));
            files.push((file_name(root.consistent_snapshot, Role::Targets, version), file));
        }
        Ok(files)
    }

    /// A role's document, signed by the keys of the new root, and by those of the old one where they are at hand.
    fn signed(
        &self,
        role: Role,
        value: &impl Serialize,
        before: &Published,
        root: &Root,
    ) -> Result<Vec<u8>, Error> {
        let mut keys = self.keys(role, root)?;
        if let Ok(old) = self.keys(role, &before.root) {
            add_missing(&mut keys, old);
        }
        sign(self.settings.profile, value, &keys)
    }

    fn renew(&self, head: &mut Head, before: u64, role: Role) {
        head.version = before + 1;
        head.expires = self.expiry(role);
    }

    fn expiry(&self, role: Role) -> String {
        time::format(self.now.saturating_add(self.settings.lifetime(role)))
    }

    /// Enough keys of a role, by a root.
    pub fn keys(&self, role: Role, root: &Root) -> Result<Vec<&'a Key>, Error> {
        let keys = root.roles.get(&role).cloned().unwrap_or_default();
        self.keyring.signers(role, &keys)
    }
}

fn add_missing<'a>(keys: &mut Vec<&'a Key>, more: Vec<&'a Key>) {
    for key in more {
        if !keys.iter().any(|own| std::ptr::eq(*own, key)) {
            keys.push(key);
        }
    }
}

/// Puts files into a folder, each whole, in this order.
pub fn write_in_order(folder: &Path, files: &[File]) -> Result<(), Error> {
    for (name, bytes) in files {
        let path = folder.join(name);
        files::create_folder(path.parent().unwrap_or(folder))?;
        files::replace(&path, bytes, files::PUBLIC)?;
    }
    Ok(())
}

fn link_all(folder: &Path, copy: &Path) -> Result<(), Error> {
    files::create_folder(copy)?;
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let (path, copy) = (entry.path(), copy.join(entry.file_name()));
        if path.is_dir() {
            link_all(&path, &copy)?;
        } else {
            fs::hard_link(&path, &copy).map_err(Error::io("link", &copy))?;
        }
    }
    Ok(())
}

/// Puts files into a folder, all at once for who reads it. `dir` is the folder above.
pub fn write_by_exchange(dir: &Path, folder: &Path, files: &[File]) -> Result<(), Error> {
    let next = dir.join(".repo.new");
    if next.exists() {
        fs::remove_dir_all(&next).map_err(Error::io("remove", &next))?;
    }
    link_all(folder, &next)?;
    write_in_order(&next, files)?;
    match renameat_with(CWD, &next, CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => files::sync_folder(dir)?,
        // A file system that cannot exchange (some network ones): file by file, the timestamp last, is the best there is.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => write_in_order(folder, files)?,
        Err(error) => return Err(Error::io("exchange", folder)(io::Error::from(error))),
    }
    fs::remove_dir_all(&next).map_err(Error::io("remove", &next))
}
