//! Static deltas: made between two published Targets, and signed by the hash of each of their files. A device interprets
//! nothing of a delta that the signed metadata do not name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ostree::glib::{Variant, VariantDict};
use ostree::{StaticDeltaGenerateOpt, gio};
use rust_ota::decide::{SignedDelta, SignedFile};
use rust_ota::payload::ostree::Superblock;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::files;
use crate::publish::Change;
use crate::repository::{Published, Repository};
use crate::target::sign_and_publish;
use crate::treehub;

/// The member of a Target's custom object: by the commit that a delta starts from.
pub const MEMBER: &str = "static-deltas";
/// An object that is patched is in a device's memory as a whole, so larger ones are packed in another way. MiB.
const LARGEST_PATCHED: u32 = 16;

/// Makes the delta between two published Targets and signs it.
pub fn make(dir: &Path, keys: &[PathBuf], from: &str, to: &str) -> Result<Value, Error> {
    let repository = Repository::open(dir, keys)?;
    let published = repository.published()?;
    let (from, commit) = (commit_of(&published, from)?, commit_of(&published, to)?);
    let path = treehub::folder(dir);
    let repo = treehub::open(&path)?;
    let options = VariantDict::new(None);
    options.insert("min-fallback-size", 0u32);
    options.insert("max-bsdiff-size", LARGEST_PATCHED);
    repo.static_delta_generate(
        StaticDeltaGenerateOpt::Major,
        Some(&from),
        &commit,
        None::<&Variant>,
        Some(&options.end()),
        gio::Cancellable::NONE,
    )
    .map_err(treehub::failed("make the static delta", &path))?;
    sign(&repository, &published, to)?;
    let made = find(dir, &commit)?.remove(&from).ok_or_else(|| Error::content(&path, "no delta was made"))?;
    let size: u64 = made.parts.iter().fold(made.superblock.size, |sum, part| sum.saturating_add(part.size));
    Ok(json!({"from": from, "to": commit, "size": size, "parts": made.parts.len()}))
}

/// Signs the deltas to a published Target that are in the repository now.
fn sign(repository: &Repository, published: &Published, name: &str) -> Result<(), Error> {
    let mut targets = published.targets.clone();
    let target = targets.targets.get_mut(name).ok_or_else(|| Error::NoTarget { name: name.to_string() })?;
    let before = target.clone();
    name_in(&repository.dir, &commit_of(published, name)?, &mut target.custom)?;
    if *target == before {
        return Ok(());
    }
    let change = Change { targets: Some(targets), ..Change::default() };
    sign_and_publish(repository, published, change)
}

/// Puts the deltas to a commit that are in the repository into its Target's custom object.
pub fn name_in(dir: &Path, commit: &str, custom: &mut Map<String, Value>) -> Result<(), Error> {
    custom.remove(MEMBER);
    let found = find(dir, commit)?;
    if !found.is_empty() {
        custom.insert(MEMBER.to_string(), json!(found));
    }
    Ok(())
}

/// Copies the deltas to a commit from another repository, so that they are published with it.
pub fn copy(source: &Path, dir: &Path, commit: &str) -> Result<(), Error> {
    let to = treehub::folder(dir);
    for (folder, _) in folders(source, commit)? {
        let name = folder.strip_prefix(source).unwrap_or(&folder);
        let copy = to.join(name);
        files::create_folder(copy.parent().unwrap_or(&to))?;
        files::create_folder(&copy)?;
        for file in list(&folder)? {
            files::copy(&file, &copy.join(file.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// The deltas to a commit, by the commit that each starts from.
fn find(dir: &Path, commit: &str) -> Result<BTreeMap<String, SignedDelta>, Error> {
    let mut found = BTreeMap::new();
    for (folder, superblock) in folders(&treehub::folder(dir), commit)? {
        let file = folder.join("superblock");
        let (size, sha256) = files::digest(&file)?;
        for (number, part) in superblock.parts.iter().enumerate() {
            let file = folder.join(number.to_string());
            if files::digest(&file)? != (part.size, part.sha256.clone()) {
                return Err(Error::content(
                    &file,
                    "it is not the part that its superblock names: make the delta again",
                ));
            }
        }
        let delta = SignedDelta { superblock: SignedFile { sha256, size }, parts: superblock.parts };
        found.insert(superblock.from, delta);
    }
    Ok(found)
}

/// The folders of the deltas to a commit, each with what its superblock says. Deltas from nothing are none for a device.
fn folders(repository: &Path, commit: &str) -> Result<Vec<(PathBuf, Superblock)>, Error> {
    let mut found = Vec::new();
    for folder in
        list(&repository.join("deltas"))?.iter().map(|first| list(first)).collect::<Result<Vec<_>, _>>()?
    {
        for folder in folder {
            let file = folder.join("superblock");
            let Ok(bytes) = fs::read(&file) else { continue };
            match Superblock::read(&bytes) {
                Ok(superblock) if superblock.to == commit => found.push((folder, superblock)),
                Ok(_) => {}
                // Also one from nothing, and one that another tool signed.
                Err(reason) => eprintln!("ota-repo: {} is not published: {reason}", folder.display()),
            }
        }
    }
    Ok(found)
}

/// The entries of a folder, in order; none if it is not there.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder)(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::io("list", folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn commit_of(published: &Published, name: &str) -> Result<String, Error> {
    let target = published.targets.targets.get(name);
    let target = target.ok_or_else(|| Error::NoTarget { name: name.to_string() })?;
    if target.custom.get("targetFormat") != Some(&json!("OSTREE")) {
        return Err(Error::option(name, "is a file: static deltas are between OSTree commits"));
    }
    Ok(target.hashes.get("sha256").cloned().unwrap_or_default())
}
