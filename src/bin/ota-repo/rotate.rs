//! `rotate` and `keys`: changes which keys sign a role, by a new root that the old keys and the new ones sign.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::keys::{Key, Keyring};
use crate::metadata::{Role, Root};
use crate::publish::{Change, Signing, publish};
use crate::repository::Repository;
use crate::time;

/// A change of one role's keys.
#[derive(Debug)]
pub struct Rotation {
    pub role: Role,
    /// Keys that the user brings.
    pub given: Vec<PathBuf>,
    /// How many keys to make when none is brought; as many as must sign when nothing is said.
    pub fresh: Option<u64>,
    pub threshold: Option<u64>,
    /// Take away all keys that the role had.
    pub remove_old: bool,
    /// Take away these, by the beginning of their ids.
    pub remove: Vec<String>,
}

/// What became of it.
#[derive(Debug)]
pub struct Rotated {
    pub root_version: u64,
    /// Ids of the role's new keys.
    pub added: Vec<String>,
    /// Ids that do not sign for the role any more.
    pub removed: Vec<String>,
}

/// Makes and publishes root N+1, and signs again what the old keys had signed.
pub fn rotate(dir: &Path, keys: &[PathBuf], rotation: &Rotation) -> Result<Rotated, Error> {
    let repository = Repository::open(dir, keys)?;
    let published = repository.published()?;
    let mut keyring = repository.keyring()?;
    let mut root = published.root.clone();
    root.head.version += 1;

    let removed = take_away(&mut root, rotation)?;
    let added = bring_in(&mut root, &mut keyring, &repository, rotation)?;
    set_threshold(&mut root, rotation)?;
    forget_unused(&mut root);

    let root_version = root.head.version;
    let change = Change {
        root: Some(root),
        // What the old keys signed is signed again; a root-only change needs no other key than root's.
        targets: (rotation.role == Role::Targets).then(|| published.targets.clone()),
        snapshot: rotation.role == Role::Snapshot,
        timestamp: rotation.role == Role::Timestamp,
        ..Change::default()
    };
    let signing = Signing { settings: &repository.settings, keyring: &keyring, now: time::now() };
    publish(&repository, &signing, &published, change)?;
    Ok(Rotated { root_version, added, removed })
}

fn take_away(root: &mut Root, rotation: &Rotation) -> Result<Vec<String>, Error> {
    let role_keys = root.roles.entry(rotation.role).or_default();
    let mut removed = Vec::new();
    for prefix in &rotation.remove {
        let found: Vec<_> = role_keys.keyids.iter().filter(|id| id.starts_with(prefix.as_str())).collect();
        match found.as_slice() {
            [id] => removed.push((*id).clone()),
            [] => {
                return Err(Error::option("KEYID", format!("no key {prefix} signs for {}", rotation.role)));
            }
            _ => return Err(Error::option("KEYID", format!("{prefix} is the beginning of several ids"))),
        }
    }
    if rotation.remove_old {
        removed = role_keys.keyids.clone();
    }
    role_keys.keyids.retain(|id| !removed.contains(id));
    Ok(removed)
}

fn bring_in(
    root: &mut Root,
    keyring: &mut Keyring,
    repository: &Repository,
    rotation: &Rotation,
) -> Result<Vec<String>, Error> {
    let profile = repository.settings.profile;
    let mut new = rotation.given.iter().map(|path| Key::load(path)).collect::<Result<Vec<_>, _>>()?;
    if new.is_empty() {
        let must_sign = root.roles.get(&rotation.role).map_or(1, |keys| keys.threshold);
        new = (0..rotation.fresh.unwrap_or(must_sign)).map(|_| Key::generate()).collect::<Result<_, _>>()?;
    }
    let mut added = Vec::new();
    for mut key in new {
        key.save(&repository.private[0], rotation.role, profile)?;
        let public = key.public(profile);
        let id = keyring.add(key)?;
        root.keys.insert(id.clone(), public);
        let role_keys = root.roles.entry(rotation.role).or_default();
        if !role_keys.keyids.contains(&id) {
            role_keys.keyids.push(id.clone());
            added.push(id);
        }
    }
    Ok(added)
}

fn set_threshold(root: &mut Root, rotation: &Rotation) -> Result<(), Error> {
    let role_keys = root.roles.entry(rotation.role).or_default();
    if let Some(threshold) = rotation.threshold {
        role_keys.threshold = threshold;
    }
    let count = role_keys.keyids.len() as u64;
    if count < role_keys.threshold {
        let detail = format!(
            "{} would have {count} keys and need {} signatures: add keys or lower --threshold",
            rotation.role, role_keys.threshold
        );
        return Err(Error::option(rotation.role.name(), detail));
    }
    Ok(())
}

fn forget_unused(root: &mut Root) {
    let used: Vec<_> = root.roles.values().flat_map(|keys| keys.keyids.clone()).collect();
    root.keys.retain(|id, _| used.contains(id));
}
