//! `init`: keys, the first root, and an empty repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use serde_json::Map;

use crate::error::Error;
use crate::files;
use crate::keys::{Key, Keyring};
use crate::metadata::{Head, Role, RoleKeys, Root};
use crate::publish::{Signing, first};
use crate::repository::{Settings, lock, metadata_folder, private_folders};
use crate::treehub;

/// What a new repository shall be.
#[derive(Debug)]
pub struct Plan {
    pub dir: PathBuf,
    pub keys: Option<PathBuf>,
    pub settings: Settings,
    pub threshold: BTreeMap<Role, u64>,
    /// Keys that the user brings, by role; the other roles get fresh Ed25519 keys.
    pub given: Vec<(Role, PathBuf)>,
    /// Seconds since 1970.
    pub now: u64,
}

/// Makes the repository; returns the private folder.
pub fn init(plan: &Plan) -> Result<PathBuf, Error> {
    let given: Vec<_> = plan.keys.iter().cloned().collect();
    files::create_folder(&plan.dir)?;
    let private = private_folders(&plan.dir, &given)?.remove(0);
    check_free(&plan.dir, &private)?;
    let _lock = lock(&plan.dir)?;
    let loaded = load_given(plan)?;

    files::create_private_folder(&private)?;
    let (keyring, root) = make_root(plan, loaded, &private)?;
    plan.settings.save(&private)?;
    treehub::create(&plan.dir)?;
    let signing = Signing { settings: &plan.settings, keyring: &keyring, now: plan.now };
    first(&plan.dir, &private, &signing, &root)?;
    Ok(private)
}

fn check_free(dir: &Path, private: &Path) -> Result<(), Error> {
    let published = metadata_folder(dir);
    if published.exists() {
        return Err(Error::Exists {
            path: published,
            advice: "a repository is made once; give another DIR, or remove this one",
        });
    }
    let occupied = fs::read_dir(private).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(Error::Exists {
            path: private.to_path_buf(),
            advice: "keys of another repository are never mixed in; give an empty folder with --keys",
        });
    }
    let inside = |outer: &Path| private.starts_with(outer);
    let absolute = dir.canonicalize().map_err(Error::io("resolve", dir))?;
    if inside(dir) || inside(&absolute) {
        return Err(Error::option(
            "--keys",
            format!("{} would be published: put it outside {}", private.display(), dir.display()),
        ));
    }
    Ok(())
}

fn load_given(plan: &Plan) -> Result<Vec<(Role, Key)>, Error> {
    plan.given.iter().map(|(role, path)| Ok((*role, Key::load(path)?))).collect()
}

/// Makes the keys of all roles and the root that lists them.
pub fn make_root(plan: &Plan, given: Vec<(Role, Key)>, private: &Path) -> Result<(Keyring, Root), Error> {
    let profile = plan.settings.profile;
    let mut root = Root {
        head: Head::new(profile, Role::Root),
        consistent_snapshot: profile == Profile::Tuf,
        keys: BTreeMap::new(),
        roles: BTreeMap::new(),
        other: Map::new(),
    };
    root.head.version = 1;
    let mut keyring = Keyring::load(profile, &[private.to_path_buf()])?;
    let mut by_role: BTreeMap<Role, Vec<Key>> = BTreeMap::new();
    for (role, key) in given {
        by_role.entry(role).or_default().push(key);
    }
    for role in Role::ALL {
        let threshold = plan.threshold.get(&role).copied().unwrap_or(1);
        let mut keys = by_role.remove(&role).unwrap_or_default();
        while (keys.len() as u64) < threshold {
            keys.push(Key::generate()?);
        }
        let mut role_keys = RoleKeys { keyids: Vec::new(), threshold };
        for mut key in keys {
            key.save(private, role, profile)?;
            let public = key.public(profile);
            let id = keyring.add(key)?;
            root.keys.insert(id.clone(), public);
            if !role_keys.keyids.contains(&id) {
                role_keys.keyids.push(id);
            }
        }
        root.roles.insert(role, role_keys);
    }
    Ok((keyring, root))
}
