//! Fetches a commit: many objects at a time, verified by libostree as they are written, and from where an
//! earlier pull was cut.
//!
//! ```text
//! leader (this thread) --jobs--> fetchers --bodies--> writers
//!        ^------------- names, results --------------------'
//! ```
//!
//! Fetchers only move bytes, so there can be many of them: on a far server the time goes by in waiting for the
//! first byte. Writers unpack, hash and write; there is one for each processor. The leader walks the commit, and
//! starts fetchers for as long as the writers have nothing to do.
//!
//! What survives: a part of a large object, byte for byte; an object, once its transaction is committed (after
//! 128 MiB or a minute) or, when only the process was killed, at once. A commit is complete when its
//! `.commitpartial` marker is gone: it is made before the commit object, and removed after the last sync.
//!
//! A static delta comes before the walk (`delta`). The walk then finds nothing missing; after a delta that was broken
//! or did not help it finds what is missing, and that is the way back to objects.

mod alone;
pub mod apply;
mod child;
mod delta;
mod fetcher;
mod import;
mod jobs;
mod leader;
mod queue;
mod retry;
mod sandbox;
mod shared;
mod stats;
pub mod superblock;
mod transaction;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) use alone::Alone;
pub use leader::pull;
pub(super) use shared::remove_parts;
pub use stats::StatsFile;

use super::object::Limits;
use crate::decide::SignedDelta;

/// Up to this many bytes an object is kept in memory until it is written; longer ones become part files.
pub(super) const IN_MEMORY: u64 = 128 << 10;
/// Objects that may wait for a writer. With `jobs`, and the size above, this bounds the memory of a pull.
const QUEUED: usize = 16;
/// Objects over this size are fetched only a few at a time.
pub(super) const LARGE: u64 = 1 << 20;
/// How many.
pub(super) const LARGE_AT_ONCE: usize = 8;

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Most objects that are asked for at the same time.
    pub jobs: usize,
    /// Attempts for one object, one after the other, that bring nothing.
    pub retries: u32,
    /// A body that brings fewer than 1,000 bytes a second over this time is asked for again.
    pub stall: Duration,
    /// Longest bodies.
    pub limits: Limits,
    /// Share of the volume that stays free, in percent; without it the repository's own `min-free-space-*`.
    pub reserved_percent: Option<u8>,
    /// Static deltas from the running system are taken where they are cheaper.
    pub deltas: bool,
    /// Signed statistics of the deltas to this commit, where its Target names them.
    pub delta_stats: Option<StatsFile>,
    /// The deltas to this commit that the signed metadata name by hash, by the commit that each starts from.
    pub signed_deltas: BTreeMap<String, SignedDelta>,
    /// Also deltas that are not signed so.
    pub unsigned_deltas: bool,
    /// The folder of the state, where a delta that ended its process is remembered.
    pub state: Option<PathBuf>,
    /// This program, which applies a static delta in a process of its own.
    pub program: PathBuf,
    /// Seconds of a processor that applying any static delta may take; large ones may take more.
    pub delta_seconds: u64,
    /// Ends the pull soon after it becomes true.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for PullOptions {
    fn default() -> Self {
        PullOptions {
            jobs: 48,
            retries: 5,
            stall: Duration::from_secs(30),
            limits: Limits::default(),
            reserved_percent: None,
            deltas: false,
            delta_stats: None,
            signed_deltas: BTreeMap::new(),
            unsigned_deltas: false,
            state: None,
            // Also under another name, and after an update replaced the file.
            program: PathBuf::from("/proc/self/exe"),
            delta_seconds: 60,
            stop: None,
        }
    }
}

impl PullOptions {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// How far a pull is. No figure ever goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Objects in the repository.
    pub objects_done: u64,
    /// Objects that are needed; grows while the commit is walked, unless the commit has sizes.
    pub objects_total: u64,
    /// Bytes that came.
    pub bytes_done: u64,
    /// Bytes that are needed, where the commit has sizes.
    pub bytes_total: Option<u64>,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullReport {
    /// Objects that were fetched and written.
    pub objects: u64,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// Attempts that had to be repeated.
    pub retries: u64,
    /// Bytes of a static delta that was applied; they are not in `bytes`.
    pub delta_bytes: u64,
    /// Why a static delta ended the process that applied it.
    pub delta_trouble: Option<String>,
    /// Fetching threads at the end.
    pub fetchers: usize,
}
