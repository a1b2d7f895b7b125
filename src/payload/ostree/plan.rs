//! What a pull would bring, before its first object.

use std::collections::HashSet;

use ::ostree::gio;

use super::error::OstreeError;
use super::object::{ObjectId, ObjectKind};
use super::parse::{self, ObjectSize};
use super::pull::{LARGE, LARGE_AT_ONCE, PullOptions, fetch_commit};
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
    let space = Space::new(&repo, &sysroot.repo_path()?, options.reserved_percent)?;
    let present = read_commit(&repo, id)?;
    let bytes = match &present {
        Some(bytes) => bytes.clone(),
        None => fetch_commit(source, id, options)?,
    };
    let sizes = match parse::commit(id, &bytes)?.sizes {
        Some(listed) => {
            let missing = missing(&repo, listed)?;
            let mut sizes = figures(&missing, &space, options)?;
            if present.is_none() {
                sizes.objects += 1;
                sizes.download += bytes.len() as u64;
                sizes.unpacked += bytes.len() as u64;
            }
            Some(sizes)
        }
        None => None,
    };
    Ok(Plan { commit: commit.to_string(), complete: false, sizes })
}

/// The listed objects that the repository does not have.
pub(super) fn missing(
    repo: &::ostree::Repo,
    listed: Vec<ObjectSize>,
) -> Result<Vec<ObjectSize>, OstreeError> {
    let mut missing = Vec::new();
    for size in listed {
        if !has(repo, size.id)? {
            missing.push(size);
        }
    }
    Ok(missing)
}

pub(super) fn figures(
    missing: &[ObjectSize],
    space: &Space,
    options: &PullOptions,
) -> Result<Sizes, OstreeError> {
    Ok(Sizes {
        objects: missing.len() as u64,
        download: missing.iter().map(|o| o.archived).sum(),
        unpacked: missing.iter().map(|o| o.unpacked).sum(),
        needed: space.needed_for(missing, options.jobs, LARGE, LARGE_AT_ONCE)?,
    })
}

/// The bytes of a commit object in the repository.
pub(super) fn read_commit(repo: &::ostree::Repo, id: ObjectId) -> Result<Option<Vec<u8>>, OstreeError> {
    let variant = repo
        .load_variant_if_exists(id.ostree_type(), &id.hex())
        .map_err(|e| OstreeError::repo(format!("reading {id}"), e))?;
    Ok(variant.map(|v| v.data().to_vec()))
}

pub(super) fn has(repo: &::ostree::Repo, id: ObjectId) -> Result<bool, OstreeError> {
    repo.has_object(id.ostree_type(), &id.hex(), gio::Cancellable::NONE)
        .map_err(|e| OstreeError::repo(format!("looking for {id}"), e))
}

/// Goes from object to object and tells which are to be fetched. What is here already is read from here.
#[derive(Debug, Default)]
pub(super) struct Walk {
    seen: HashSet<ObjectId>,
}

impl Walk {
    /// All that was visited.
    pub fn seen(&self) -> impl Iterator<Item = &ObjectId> {
        self.seen.iter()
    }

    /// Visits objects, and all below those that are here. Returns the ones that are not here, each only once.
    pub fn visit(&mut self, repo: &::ostree::Repo, ids: Vec<ObjectId>) -> Result<Vec<ObjectId>, OstreeError> {
        let mut wanted = Vec::new();
        let mut open = ids;
        while let Some(id) = open.pop() {
            if !self.seen.insert(id) {
                continue;
            }
            if !has(repo, id)? {
                wanted.push(id);
            } else if matches!(id.kind, ObjectKind::DirTree | ObjectKind::Commit) {
                let variant = repo
                    .load_variant(id.ostree_type(), &id.hex())
                    .map_err(|e| OstreeError::repo(format!("reading {id}"), e))?;
                open.extend(parse::named_by(id, variant.data())?);
            }
        }
        Ok(wanted)
    }
}
