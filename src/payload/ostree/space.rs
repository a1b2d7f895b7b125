//! Free space on the repository's volume, with the reserve that must stay.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ::ostree::glib;
use ::ostree::prelude::FileExt;

use super::error::{OstreeError, is_no_space};
use super::parse::ObjectSize;
use super::plan::total;
use super::pull::IN_MEMORY;

/// Looks at the volume of one repository.
#[derive(Debug, Clone)]
pub(super) struct Space {
    path: PathBuf,
    reserved: u64,
}

impl Space {
    /// The reserve is the repository's `min-free-space-*`, unless a share of the volume is given.
    pub fn new(repo: &::ostree::Repo, path: &Path, percent: Option<u8>) -> Result<Space, OstreeError> {
        let reserved = match percent {
            Some(percent) => volume(path)?.total / 100 * u64::from(percent.min(99)),
            None => repo
                .min_free_space_bytes()
                .map_err(|e| OstreeError::repo(format!("min-free-space of {}", path.display()), e))?,
        };
        Ok(Space { path: path.to_path_buf(), reserved })
    }

    /// The repository.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses when fewer than `needed` bytes can be used.
    pub fn require(&self, needed: u64) -> Result<(), OstreeError> {
        if self.available()? >= needed {
            return Ok(());
        }
        Err(self.exhausted(Some(needed)))
    }

    /// Refuses when the volume has no room for so many more files. Not all file systems count them.
    pub fn require_files(&self, needed: u64) -> Result<(), OstreeError> {
        match free_files(&self.path)? {
            Some(available) if available < needed => {
                Err(OstreeError::NoInodes { path: mount_point(&self.path), needed, available })
            }
            _ => Ok(()),
        }
    }

    /// The error that tells what is there now.
    pub fn exhausted(&self, needed: Option<u64>) -> OstreeError {
        no_room(&self.path, needed, self.available().unwrap_or(0), self.reserved)
    }

    /// Bytes that may be used.
    pub fn available(&self) -> Result<u64, OstreeError> {
        Ok(volume(&self.path)?.free.saturating_sub(self.reserved))
    }

    /// Bytes that must stay free.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Bytes that the objects will take on the volume, and room for those under way at the same time, which lie
    /// there compressed until they are unpacked: at most `jobs`, and `large_at_once` of those above `large`.
    pub fn needed_for(
        &self,
        missing: &[ObjectSize],
        jobs: usize,
        large: u64,
        large_at_once: usize,
    ) -> Result<u64, OstreeError> {
        let block = volume(&self.path)?.block;
        let unpacked = total(missing.iter().map(|o| o.unpacked.div_ceil(block).saturating_mul(block)));
        let mut parts: Vec<u64> = missing.iter().map(|o| o.archived).filter(|n| *n > IN_MEMORY).collect();
        parts.sort_unstable_by(|a, b| b.cmp(a));
        let (many, few): (Vec<u64>, Vec<u64>) = parts.into_iter().partition(|n| *n <= large);
        let under_way = total(few.iter().take(large_at_once).chain(many.iter().take(jobs)).copied());
        Ok(unpacked.saturating_add(under_way))
    }
}

/// What libostree said of its own files in the repository: of a full volume, how full it is.
pub(super) fn repo_failed(
    repo: &::ostree::Repo,
    doing: impl Into<String>,
    error: glib::Error,
) -> OstreeError {
    let path = repo.path().path().filter(|_| is_no_space(&error));
    match path.and_then(|path| Space::new(repo, &path, None).ok()) {
        Some(space) => space.exhausted(None),
        None => OstreeError::repo(doing, error),
    }
}

/// The system said that a volume is full: of bytes, or of files.
pub(super) fn no_room(path: &Path, needed: Option<u64>, available: u64, reserved: u64) -> OstreeError {
    let path = &mount_point(path);
    match free_files(path) {
        Ok(Some(0)) => OstreeError::NoInodes { path: path.clone(), needed: 1, available: 0 },
        _ => OstreeError::NoSpace { path: path.clone(), needed, available, reserved },
    }
}

/// Where the volume of a path is mounted.
pub(super) fn mount_point(path: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).map(|file| file.dev()).ok();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let here = device(&path);
    path.ancestors().take_while(|up| device(up) == here).last().unwrap_or(&path).to_path_buf()
}

/// Free bytes of a path's volume.
pub(super) fn free(path: &Path) -> Result<u64, OstreeError> {
    Ok(volume(path)?.free)
}

/// How many more files a path's volume takes; none where it does not count them (FAT, btrfs).
pub(super) fn free_files(path: &Path) -> Result<Option<u64>, OstreeError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| OstreeError::repo(format!("free inodes of {}", path.display()), e))?;
    Ok((stat.f_files > 0).then_some(stat.f_favail))
}

struct Volume {
    total: u64,
    free: u64,
    block: u64,
}

fn volume(path: &Path) -> Result<Volume, OstreeError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| OstreeError::repo(format!("free space of {}", path.display()), e))?;
    // Root may use the blocks that a file system keeps for it, as libostree also counts.
    let blocks = if rustix::process::getuid().is_root() { stat.f_bfree } else { stat.f_bavail };
    Ok(Volume {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: blocks.saturating_mul(stat.f_frsize),
        block: stat.f_frsize.max(1),
    })
}
