//! `target`: adds, removes and lists the Targets that devices are offered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;
use serde_json::{Map, Value, json};

use crate::deltas;
use crate::error::Error;
use crate::files;
use crate::metadata::{Target, canonical};
use crate::publish::{Change, Signing, publish};
use crate::repository::{Published, Repository, metadata_folder};
use crate::time;
use crate::treehub::{self, Source, Wanted};

/// Members of `custom` that options of their own set.
const RESERVED: [&str; 6] = ["name", "version", "hardwareIds", "tags", "targetFormat", deltas::MEMBER];

/// What a Target brings.
#[derive(Debug)]
pub enum Content {
    /// A commit of an OSTree repository.
    Ostree { source: PathBuf, wanted: Wanted },
    /// One file.
    File(PathBuf),
}

/// A Target to add.
#[derive(Debug)]
pub struct Addition {
    pub content: Content,
    pub name: String,
    pub version: String,
    pub hardware_ids: Vec<String>,
    pub tags: Vec<String>,
    /// `KEY=JSON`, as given.
    pub custom: Vec<String>,
}

/// What became of a Target.
#[derive(Debug)]
pub struct Added {
    pub target: String,
    /// The commit, or the SHA-256 of the file.
    pub sha256: String,
    /// False when the very same Target was published before.
    pub changed: bool,
}

/// Copies the content, then publishes the Target: metadata never names what a device cannot fetch.
pub fn add(dir: &Path, keys: &[PathBuf], addition: &Addition) -> Result<Added, Error> {
    check(addition)?;
    let custom = custom(addition)?;
    let repository = Repository::open(dir, keys)?;
    let published = repository.published()?;
    let name = format!("{}-{}", addition.name, addition.version);
    let of = |length, sha256: &str| Target {
        length,
        hashes: BTreeMap::from([("sha256".to_string(), sha256.to_string())]),
        custom,
    };
    let known = published.targets.targets.get(&name);
    let refuse = |target: &Target| match known {
        Some(known) if !same_but_deltas(known, target) => Err(Error::TargetExists { name: name.clone() }),
        _ => Ok(()),
    };
    let target = match &addition.content {
        Content::Ostree { source, wanted } => {
            let source = Source::find(source, wanted)?;
            let mut target = of(0, &source.commit);
            refuse(&target)?;
            source.copy(dir, &name)?;
            deltas::name_in(dir, &source.commit, &mut target.custom)?;
            target
        }
        Content::File(path) => {
            let (length, sha256) = files::digest(path)?;
            let target = of(length, &sha256);
            refuse(&target)?;
            files::create_folder(&file_folder(dir))?;
            if files::copy(path, &file_folder(dir).join(&name))? != (length, sha256) {
                return Err(Error::content(path, "it changed while it was copied; try again"));
            }
            target
        }
    };
    // A delta that was made since is no other Target.
    let changed = known != Some(&target);
    let sha256 = target.hashes["sha256"].clone();
    if changed {
        let mut targets = published.targets.clone();
        targets.targets.insert(name.clone(), target);
        let change = Change { targets: Some(targets), ..Change::default() };
        sign_and_publish(&repository, &published, change)?;
    }
    Ok(Added { target: name, sha256, changed })
}

fn same_but_deltas(one: &Target, other: &Target) -> bool {
    let plain = |target: &Target| {
        let mut target = target.clone();
        target.custom.remove(deltas::MEMBER);
        target
    };
    plain(one) == plain(other)
}

/// Where devices look for the content of Targets that are files.
fn file_folder(dir: &Path) -> PathBuf {
    metadata_folder(dir).join("targets")
}

/// Takes Targets out of the metadata, by their full names.
pub fn remove(dir: &Path, keys: &[PathBuf], names: &[String]) -> Result<(), Error> {
    let repository = Repository::open(dir, keys)?;
    let published = repository.published()?;
    let mut targets = published.targets.clone();
    for name in names {
        if targets.targets.remove(name).is_none() {
            return Err(Error::NoTarget { name: name.clone() });
        }
    }
    let change = Change { targets: Some(targets), ..Change::default() };
    sign_and_publish(&repository, &published, change)?;
    names.iter().try_for_each(|name| {
        let file = file_folder(dir).join(name);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &file)(e)),
            _ => treehub::forget(dir, name),
        }
    })
}

/// Signs with the keys at hand, now, and publishes.
pub fn sign_and_publish(repository: &Repository, published: &Published, change: Change) -> Result<(), Error> {
    let keyring = repository.keyring()?;
    let signing = Signing { settings: &repository.settings, keyring: &keyring, now: time::now() };
    publish(repository, &signing, published, change)
}

fn check(addition: &Addition) -> Result<(), Error> {
    check_word("--name", &addition.name)?;
    // aktualizr-lite reads the version as a C integer: a leading zero would make it octal.
    let digits = addition.version.bytes().all(|byte| byte.is_ascii_digit());
    let number = addition.version.parse::<u32>().is_ok_and(|n| n > 0 && n < 1 << 31);
    if !digits || !number || addition.version.starts_with('0') {
        return Err(Error::option(
            "--version",
            format!(
                "{:?} is no whole number from 1 to 2147483647; devices compare versions as numbers",
                addition.version
            ),
        ));
    }
    if addition.hardware_ids.is_empty() {
        return Err(Error::option(
            "--hardware-id",
            "give at least one: a device takes only Targets for its own hardware id",
        ));
    }
    for id in &addition.hardware_ids {
        check_word("--hardware-id", id)?;
    }
    for tag in &addition.tags {
        check_word("--tag", tag)?;
    }
    if let Content::Ostree { wanted: Wanted::Commit(commit), .. } = &addition.content {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if commit.len() != 64 || !commit.bytes().all(hex) {
            return Err(Error::option(
                "--commit",
                format!("{commit:?} is no full commit: 64 hexadecimal digits in lower case"),
            ));
        }
    }
    Ok(())
}

/// Names become parts of file names, URLs and environment variables.
fn check_word(option: &str, word: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    if word.is_empty() || word.len() > 128 || word.starts_with(['.', '-']) || !word.bytes().all(fits) {
        return Err(Error::option(
            option,
            format!("{word:?}: use 1 to 128 letters, digits and ._+-, not beginning with . or -"),
        ));
    }
    Ok(())
}

fn custom(addition: &Addition) -> Result<Map<String, Value>, Error> {
    let mut custom = Map::new();
    for pair in &addition.custom {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| Error::option("--custom", format!("{pair:?} is not KEY=JSON")))?;
        if RESERVED.contains(&key) {
            return Err(Error::option("--custom", format!("{key} has an option of its own")));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| {
            Error::option(
                "--custom",
                format!("the value of {key} is no JSON ({e}); a text needs its quotes: '{key}=\"...\"'"),
            )
        })?;
        canonical(Profile::Tuf, &value)
            .map_err(|error| Error::option("--custom", format!("the value of {key} {error}")))?;
        custom.insert(key.to_string(), value);
    }
    let own = json!({
        "name": addition.name,
        "version": addition.version,
        "hardwareIds": addition.hardware_ids,
        "tags": addition.tags,
        "targetFormat": match addition.content {
            Content::Ostree { .. } => "OSTREE",
            Content::File(_) => "BINARY",
        },
    });
    if let Value::Object(own) = own {
        custom.extend(own);
    }
    Ok(custom)
}
