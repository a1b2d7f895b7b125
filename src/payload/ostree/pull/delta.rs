//! Static deltas: what changed between two commits in a few large files, instead of an object for each changed file.
//!
//! A delta is only a faster way to objects: its superblock and parts are not signed. What it may cost is bounded by what
//! the signed commit says that the objects cost, or signed statistics that the delta does, libostree verifies each object that it writes by the object's own hash,
//! and the walk that follows finds whatever is still missing. So a delta that is broken, or lies, costs bytes and nothing
//! else, and fewer of them than the objects do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ::ostree::glib::{Variant, VariantTy};
use ::ostree::{gio, glib};
use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};

use super::transaction::Transaction;
use super::{PullOptions, stats};
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::source::{ObjectSource, SourceError};
use crate::payload::ostree::space::Space;
use crate::payload::ostree::sysroot::Sysroot;
use crate::tuf::{from_hex, to_hex};

/// Standard base64 with `_` for `/`, which would be a folder.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";
/// Metadata, timestamp, from, to, the commit, recursion, parts (version, hash, size, unpacked size, objects), objects
/// that are not in the parts (type, hash, size, unpacked size).
const SUPERBLOCK: &str = "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))";
const SUPERBLOCK_LIMIT: u64 = 16 << 20;
const MOST_PARTS: usize = 4096;

/// From a commit that is here to one that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub from: &'a str,
    pub to: &'a str,
}

/// What a delta may cost. At least one of both is known.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// The bytes of the missing objects, by the commit: it has to be cheaper.
    objects: Option<u64>,
    /// The bytes of its parts, by signed statistics: it is another one if it has more.
    parts: Option<u64>,
}

/// What a delta costs.
struct Parts {
    sizes: Vec<u64>,
    /// Of all parts, and of the objects that have to be fetched besides.
    total: u64,
}

/// Takes a static delta from the running system, where it is cheaper than `objects`, the bytes of the missing objects if
/// the commit tells them. Gives the bytes of a delta that was applied. One that fails is no failure of the pull.
pub fn take(
    sysroot: &Sysroot,
    repo_path: &Path,
    source: &dyn ObjectSource,
    commit: &str,
    objects: Option<u64>,
    space: &Space,
    options: &PullOptions,
) -> Result<u64, OstreeError> {
    let Some(from) = sysroot.booted_commit()? else { return Ok(0) };
    if !sysroot.repo_has(&from)? {
        return Ok(0);
    }
    let step = Step { from: &from, to: commit };
    let Some(budget) = budget(source, step, objects, space, options)? else { return Ok(0) };
    match apply(&sysroot.repo(), repo_path, source, step, budget, space, options) {
        Ok(bytes) => Ok(bytes.unwrap_or(0)),
        Err(OstreeError::Stopped) => Err(OstreeError::Stopped),
        Err(error) => {
            log::warn!("{error}; fetching the objects");
            Ok(0)
        }
    }
}

/// What the delta may cost; nothing where it is known not to help, or nobody knows.
fn budget(
    source: &dyn ObjectSource,
    step: Step<'_>,
    objects: Option<u64>,
    space: &Space,
    options: &PullOptions,
) -> Result<Option<Budget>, OstreeError> {
    let known = match options.delta_stats.as_ref().map(|file| stats::of(source, file, step)) {
        Some(Ok(known)) => known,
        Some(Err(error)) => {
            log::warn!("{error}; deciding without the statistics of static deltas");
            None
        }
        None => None,
    };
    match (known, objects) {
        (None, None) => return Ok(None),
        (Some(known), Some(objects)) if known.size >= objects => {
            log::debug!(
                "the static delta has {} bytes and the objects {objects}: it does not help",
                known.size
            );
            return Ok(None);
        }
        // Without sizes in the commit nothing else tells how much room is needed.
        (Some(known), None) => space.require(known.unpacked)?,
        _ => {}
    }
    Ok(Some(Budget { objects, parts: known.map(|known| known.size) }))
}

/// Applies the delta, if there is one and it is within the budget. Gives the bytes that came, none where nothing was
/// applied.
fn apply(
    repo: &::ostree::Repo,
    repo_path: &Path,
    source: &dyn ObjectSource,
    step: Step<'_>,
    budget: Budget,
    space: &Space,
    options: &PullOptions,
) -> Result<Option<u64>, OstreeError> {
    let folder = folder(step)?;
    let objects = budget.objects.unwrap_or(u64::MAX);
    let Some(superblock) = fetch(source, &format!("{folder}/superblock"), objects.min(SUPERBLOCK_LIMIT))?
    else {
        return Ok(None);
    };
    let parts = read(&superblock, step)?;
    let came: u64 = parts.sizes.iter().copied().fold(0, u64::saturating_add);
    if budget.parts.is_some_and(|signed| came > signed) {
        return Err(broken(step, "it is larger than its signed statistics say"));
    }
    let cost = parts.total.saturating_add(superblock.len() as u64);
    if cost >= objects {
        log::debug!("the static delta has {cost} bytes and the objects {objects}: it does not help");
        return Ok(None);
    }
    space.require(came)?;
    let local = Scratch::new(repo_path)?;
    local.write("superblock", &superblock)?;
    for (number, size) in parts.sizes.iter().enumerate() {
        if options.is_stopped() {
            return Err(OstreeError::Stopped);
        }
        let bytes = fetch(source, &format!("{folder}/{number}"), *size)?;
        local.write(&number.to_string(), &bytes.ok_or_else(|| broken(step, "a part is missing"))?)?;
    }
    let transaction = Transaction::begin(repo)?;
    repo.static_delta_execute_offline(&gio::File::for_path(&local.0), false, gio::Cancellable::NONE)
        .map_err(|e: glib::Error| broken(step, e.message()))?;
    transaction.commit()?;
    Ok(Some(came + superblock.len() as u64))
}

/// `deltas/AB/CDEF...-TO`, of the hashes in base64.
fn folder(step: Step<'_>) -> Result<String, OstreeError> {
    let alphabet = Alphabet::new(ALPHABET).map_err(|e| OstreeError::repo("naming a static delta", e))?;
    let engine = GeneralPurpose::new(&alphabet, NO_PAD);
    let name = |commit: &str| from_hex(commit).map(|bytes| engine.encode(bytes));
    let (Some(from), Some(to)) = (name(step.from), name(step.to)) else {
        return Err(broken(step, "no commit hash"));
    };
    let (first, rest) = from.split_at(2);
    Ok(format!("deltas/{first}/{rest}-{to}"))
}

/// None where the source does not have it. No retries: there is another way to the objects.
pub(super) fn fetch(
    source: &dyn ObjectSource,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, OstreeError> {
    let opened = match source.open(path, 0) {
        Ok(opened) => opened,
        Err(SourceError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let failed = |e: std::io::Error| OstreeError::Fetch { url: source.name(path), reason: e.to_string() };
    opened.body.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(OstreeError::TooLarge { url: source.name(path), limit });
    }
    Ok(Some(bytes))
}

fn read(bytes: &[u8], step: Step<'_>) -> Result<Parts, OstreeError> {
    let kind = VariantTy::new(SUPERBLOCK).map_err(|e| broken(step, &e.to_string()))?;
    let superblock = Variant::from_data_with_type(bytes, kind);
    if !superblock.is_normal_form() {
        return Err(broken(step, "its superblock has another form"));
    }
    let hash = |index| to_hex(superblock.child_value(index).data());
    if hash(2) != step.from || hash(3) != step.to {
        return Err(broken(step, "it is one between other commits"));
    }
    let swap = swapped(&superblock.child_value(0));
    let number =
        |value: Variant| value.get::<u64>().map_or(u64::MAX, |n| if swap { n.swap_bytes() } else { n });
    let parts = superblock.child_value(6);
    if parts.n_children() > MOST_PARTS {
        return Err(broken(step, "it has too many parts"));
    }
    let sizes: Vec<u64> = parts.iter().map(|part| number(part.child_value(2))).collect();
    let besides = superblock.child_value(7);
    let besides = besides.iter().map(|object| number(object.child_value(2)));
    let total = sizes.iter().copied().chain(besides).fold(0, u64::saturating_add);
    Ok(Parts { sizes, total })
}

/// Numbers are written as the machine does that made the delta; it says which one that was.
fn swapped(metadata: &Variant) -> bool {
    let made = glib::VariantDict::new(Some(metadata)).lookup::<u8>("ostree.endianness").ok().flatten();
    match made {
        Some(b'l') => cfg!(target_endian = "big"),
        Some(b'B') => cfg!(target_endian = "little"),
        _ => false,
    }
}

fn broken(step: Step<'_>, reason: &str) -> OstreeError {
    OstreeError::repo(format!("taking the static delta from {} to {}", step.from, step.to), reason)
}

/// A folder that goes when it is no longer needed; what a killed pull left goes before.
struct Scratch(PathBuf);

impl Scratch {
    fn new(repo_path: &Path) -> Result<Scratch, OstreeError> {
        let path = repo_path.join("tmp/rust-ota-delta");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(|e| OstreeError::repo("keeping a static delta", e))?;
        Ok(Scratch(path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OstreeError> {
        File::create(self.0.join(name))
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|e| OstreeError::repo("keeping a static delta", e))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_named_by_both_commits() {
        let from = format!("{}ff", "00".repeat(31));
        let to = "ff".repeat(32);
        let name = folder(Step { from: &from, to: &to }).unwrap();
        assert_eq!(name, format!("deltas/AA/{}P8-{}8", "A".repeat(39), "_".repeat(42)));
    }

    #[test]
    fn what_is_no_superblock_is_refused() {
        let commit = "0".repeat(64);
        let step = Step { from: &commit, to: &commit };
        for bytes in [&b""[..], b"x", &[0xff; 100]] {
            assert!(read(bytes, step).is_err(), "{bytes:?}");
        }
    }
}
