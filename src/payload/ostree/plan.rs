//! What a pull would bring, before its first object.

use std::collections::HashSet;
use std::path::Path;

use super::error::OstreeError;
use super::loose::{self, Loose};
use super::object::{ObjectId, ObjectKind};
use super::parse::{self, ObjectSize};
use super::pull::{Alone, LARGE, LARGE_AT_ONCE, PullOptions};
use super::source::ObjectSource;
use super::space::Space;
use super::sysroot::Sysroot;

/// What is missing of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The commit.
    pub commit: String,
    /// Nothing is missing.
    pub complete: bool,
    /// Objects and bytes, where the commit carries `ostree.sizes`; otherwise they are known when fetched.
    pub sizes: Option<Sizes>,
}

/// Exact figures of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Objects that are missing.
    pub objects: u64,
    /// Bytes that will be fetched.
    pub download: u64,
    /// Bytes of these objects when unpacked.
    pub unpacked: u64,
    /// Free bytes that the pull asks for, with rounding to blocks and room for large objects under way.
    pub needed: u64,
}

/// Tells what is missing. Only the commit object is fetched, and it is not kept.
pub fn plan(
    sysroot: &Sysroot,
    source: &dyn ObjectSource,
    commit: &str,
    options: &PullOptions,
) -> Result<Plan, OstreeError> {
    let id = ObjectId::commit(commit)?;
    if sysroot.repo_has(commit)? {
        let sizes = Some(Sizes { objects: 0, download: 0, unpacked: 0, needed: 0 });
        return Ok(Plan { commit: commit.to_string(), complete: true, sizes });
    }
    let repo = sysroot.repo();
    let repo_path = sysroot.repo_path()?;
    let space = Space::new(&repo, &repo_path, options.reserved_percent)?;
    let present = read_commit(&repo_path, id)?;
    let bytes = match &present {
        Some(bytes) => bytes.clone(),
        None => {
            // A long one passes through a file.
            sysroot.make_writable()?;
            Alone { source, options, space: &space, repo_path: &repo_path }.fetch(id)?
        }
    };
    let sizes = match parse::commit(id, &bytes)?.sizes {
        Some(listed) => {
            let missing = missing(&repo_path, listed);
            let mut sizes = figures(&missing, &space, options)?;
            if present.is_none() {
                sizes.objects += 1;
                sizes.download = sizes.download.saturating_add(bytes.len() as u64);
                sizes.unpacked = sizes.unpacked.saturating_add(bytes.len() as u64);
            }
            Some(sizes)
        }
        None => None,
    };
    Ok(Plan { commit: commit.to_string(), complete: false, sizes })
}

/// The listed objects that the repository does not have.
pub(super) fn missing(repo_path: &Path, listed: Vec<ObjectSize>) -> Vec<ObjectSize> {
    listed.into_iter().filter(|size| !loose::is_there(repo_path, size.id)).collect()
}

pub(super) fn figures(
    missing: &[ObjectSize],
    space: &Space,
    options: &PullOptions,
) -> Result<Sizes, OstreeError> {
    Ok(Sizes {
        objects: missing.len() as u64,
        download: total(missing.iter().map(|o| o.archived)),
        unpacked: total(missing.iter().map(|o| o.unpacked)),
        needed: space.needed_for(missing, options.jobs, LARGE, LARGE_AT_ONCE)?,
    })
}

/// A sum of numbers that others wrote.
pub(super) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// The bytes of a commit object in the repository, unless they are damaged.
pub(super) fn read_commit(repo_path: &Path, id: ObjectId) -> Result<Option<Vec<u8>>, OstreeError> {
    match loose::read(repo_path, id)? {
        Loose::Sound(bytes) => Ok(Some(bytes)),
        Loose::Absent | Loose::Damaged => Ok(None),
    }
}

/// Goes from object to object and tells which are to be fetched. What is here already is read from here.
#[derive(Debug, Default)]
pub(super) struct Walk {
    seen: HashSet<ObjectId>,
}

impl Walk {
    /// All that was visited, and is here or wanted.
    pub fn seen(&self) -> impl Iterator<Item = &ObjectId> {
        self.seen.iter()
    }

    /// Visits objects, and all below those that are here. Returns the ones that are not here, each only once.
    /// Metadata is here only with the right hash; what has another one is removed, or libostree would not write it.
    pub fn visit(&mut self, repo_path: &Path, ids: Vec<ObjectId>) -> Result<Vec<ObjectId>, OstreeError> {
        let mut wanted = Vec::new();
        let mut open = ids;
        while let Some(id) = open.pop() {
            if !self.seen.insert(id) {
                continue;
            }
            if id.kind == ObjectKind::File {
                if !loose::is_there(repo_path, id) {
                    loose::clear(repo_path, id)?;
                    wanted.push(id);
                }
                continue;
            }
            match loose::read(repo_path, id)? {
                Loose::Sound(bytes) => open.extend(parse::named_by(id, &bytes)?),
                Loose::Absent => wanted.push(id),
                Loose::Damaged => {
                    loose::remove(repo_path, id)?;
                    wanted.push(id);
                }
            }
        }
        Ok(wanted)
    }
}
