//! Free space on the repository's volume, with the reserve that must stay.

use std::path::{Path, PathBuf};

use super::error::OstreeError;
use super::parse::ObjectSize;
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

    /// Refuses when fewer than `needed` bytes can be used.
    pub fn require(&self, needed: u64) -> Result<(), OstreeError> {
        if self.available()? >= needed {
            return Ok(());
        }
        Err(self.exhausted(Some(needed)))
    }

    /// The error that tells what is there now.
    pub fn exhausted(&self, needed: Option<u64>) -> OstreeError {
        OstreeError::NoSpace {
            path: self.path.clone(),
            needed,
            available: self.available().unwrap_or(0),
            reserved: self.reserved,
        }
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
        let unpacked: u64 = missing.iter().map(|o| o.unpacked.div_ceil(block).saturating_mul(block)).sum();
        let mut parts: Vec<u64> = missing.iter().map(|o| o.archived).filter(|n| *n > IN_MEMORY).collect();
        parts.sort_unstable_by(|a, b| b.cmp(a));
        let (many, few): (Vec<u64>, Vec<u64>) = parts.into_iter().partition(|n| *n <= large);
        let under_way: u64 = few.iter().take(large_at_once).chain(many.iter().take(jobs)).sum();
        Ok(unpacked.saturating_add(under_way))
    }
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
