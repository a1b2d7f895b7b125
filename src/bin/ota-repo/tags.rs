//! A set of Targets for each tag, beside the whole one: `tags/TAG/repo/`. A device that is subscribed to one tag of many
//! then reads what it may see and nothing else, from any static web server.
//!
//! A set has the roots, versions and expiry of the whole one and is signed by the same keys, so it needs no state of its
//! own, and a device may go from one to another without falling back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use serde_json::Value;

use crate::delegated::{Wishes, role_of};
use crate::error::Error;
use crate::files;
use crate::keys::Key;
use crate::metadata::{MetaFile, Role, Targets, sign};
use crate::publish::{Change, File, Signing, write_by_exchange, write_in_order};
use crate::repository::{Published, Repository, file_name, metadata_folder, newest_root};
use crate::time;

/// Makes the sets, or makes them anew; gives each tag and the number of its Targets.
pub fn publish(repository: &Repository, signing: &Signing) -> Result<Vec<(String, usize)>, Error> {
    let published = repository.published()?;
    let folder = folder(&repository.dir);
    if repository.settings.delegated_tags || !published.roles.is_empty() {
        return Err(Error::option(
            "DIR",
            "has delegated roles by tag already: devices with tags read those from repo/",
        ));
    }
    let mut made = Vec::new();
    for tag in tags(&published.targets, &folder)? {
        let targets = only(&published.targets, &tag);
        let count = targets.targets.len();
        let files = signed(signing, &published, targets)?;
        write(repository, &folder.join(&tag), files)?;
        made.push((tag, count));
    }
    Ok(made)
}

/// The same after each change, where the sets were asked for once.
pub fn follow(repository: &Repository, signing: &Signing) -> Result<(), Error> {
    if folder(&repository.dir).is_dir() {
        publish(repository, signing)?;
    }
    Ok(())
}

/// Shares the Targets out between one delegated role for each tag, now and at each change. Gives the roles and the
/// numbers of their Targets.
pub fn delegate(
    dir: &Path,
    keys: &[PathBuf],
    own: Vec<(String, Key)>,
    paths: BTreeMap<String, Vec<String>>,
) -> Result<Vec<(String, usize)>, Error> {
    let mut repository = Repository::open(dir, keys)?;
    let sets = folder(dir);
    if sets.is_dir() {
        return Err(Error::Exists {
            path: sets,
            advice: "its sets would not be kept up to date any more: point their devices to repo/, then remove it",
        });
    }
    let published = repository.published()?;
    let mut keyring = repository.keyring()?;
    let mut wishes = Wishes { paths, ..Wishes::default() };
    for (tag, mut key) in own {
        key.save(&repository.private[0], role_of(&tag), repository.settings.profile)?;
        wishes.keys.insert(tag, keyring.add(key)?);
    }
    repository.settings.delegated_tags = true;
    repository.settings.save(&repository.private[0])?;
    let change = Change { targets: Some(published.targets.clone()), wishes, ..Change::default() };
    let signing = Signing { settings: &repository.settings, keyring: &keyring, now: time::now() };
    crate::publish::publish(&repository, &signing, &published, change)?;
    let roles = repository.published()?.roles;
    Ok(roles.into_iter().map(|(role, targets)| (role.name, targets.targets.len())).collect())
}

/// Where the sets are.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join("tags")
}

/// Those of the Targets, and those that have a set already: a set whose last Target went becomes empty, so that its
/// devices are told so.
fn tags(targets: &Targets, folder: &Path) -> Result<BTreeSet<String>, Error> {
    let mut tags: BTreeSet<String> =
        targets.targets.values().flat_map(|t| tags_of(&t.custom)).map(str::to_string).collect();
    // Tags of Targets that other tools published may hold anything.
    tags.retain(|tag| fits(tag));
    if folder.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let name = entry.map_err(Error::io("list", folder))?.file_name();
            tags.extend(name.to_str().map(str::to_string));
        }
    }
    Ok(tags)
}

/// Whether a tag can be part of a name.
pub fn fits(tag: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    !tag.is_empty() && tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.bytes().all(fits)
}

/// The strings of `tags`.
pub fn tags_of(custom: &serde_json::Map<String, Value>) -> impl Iterator<Item = &str> {
    custom.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn only(whole: &Targets, tag: &str) -> Targets {
    let mut targets = whole.clone();
    targets.targets.retain(|_, target| tags_of(&target.custom).any(|own| own == tag));
    targets
}

/// Targets, snapshot and timestamp with the heads of the whole set.
fn signed(signing: &Signing, whole: &Published, targets: Targets) -> Result<Vec<File>, Error> {
    let root = &whole.root;
    let profile = signing.settings.profile;
    let name = |role, version| file_name(root.consistent_snapshot, role, version);
    let bytes = sign(profile, &targets, &signing.keys(Role::Targets, root)?)?;
    let mut snapshot = whole.snapshot.clone();
    snapshot.meta.insert("targets.json".to_string(), MetaFile::of(targets.head.version, &bytes));
    let mut files = vec![(name(Role::Targets, targets.head.version), bytes)];
    let bytes = sign(profile, &snapshot, &signing.keys(Role::Snapshot, root)?)?;
    let mut timestamp = whole.timestamp.clone();
    timestamp.meta.insert("snapshot.json".to_string(), MetaFile::of(snapshot.head.version, &bytes));
    files.push((name(Role::Snapshot, snapshot.head.version), bytes));
    let bytes = sign(profile, &timestamp, &signing.keys(Role::Timestamp, root)?)?;
    files.push((name(Role::Timestamp, 0), bytes));
    Ok(files)
}

/// The roots last: one that asks for new keys must not be seen before what these signed.
fn write(repository: &Repository, dir: &Path, mut files: Vec<File>) -> Result<(), Error> {
    let whole = metadata_folder(&repository.dir);
    let own = metadata_folder(dir);
    for version in 1..=newest_root(&whole)?.unwrap_or(0) {
        let name = file_name(true, Role::Root, version);
        if whole.join(&name).exists() && !own.join(&name).exists() {
            files.push((name.clone(), files::read(&whole.join(&name))?));
        }
    }
    let new = !own.is_dir();
    files::create_folder(&own)?;
    match repository.settings.profile {
        // Nothing changed: what has the right bytes is not written again.
        _ if files.iter().all(|(name, bytes)| fs::read(own.join(name)).is_ok_and(|old| old == *bytes)) => {
            Ok(())
        }
        Profile::Ats if !new => write_by_exchange(dir, &own, &files),
        _ => write_in_order(&own, &files),
    }
}
