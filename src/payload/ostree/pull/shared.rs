//! What the threads of one pull share.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::PullOptions;
use super::fetcher::Fetched;
use super::jobs::{Job, Jobs};
use super::queue::Queue;
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::{ObjectId, ObjectKind, from_hex};
use crate::payload::ostree::parse::ObjectSize;
use crate::payload::ostree::source::ObjectSource;
use crate::payload::ostree::space::Space;

/// The threads hold this by reference.
pub struct Shared<'a> {
    pub source: &'a dyn ObjectSource,
    pub options: &'a PullOptions,
    pub repo_path: &'a Path,
    pub space: &'a Space,
    /// The missing objects, where the commit has sizes.
    pub sizes: &'a HashMap<ObjectId, ObjectSize>,
    pub parts: &'a Parts,
    pub jobs: Arc<Jobs>,
    pub fetched: Queue<Fetched>,
    pub events: Sender<Event>,
    /// Bytes that came, without repetitions.
    pub bytes: AtomicU64,
    pub retries: AtomicU64,
    pub fetch_time: Spent,
    pub write_time: Spent,
    /// Set when one thread failed.
    pub stop: AtomicBool,
}

/// Time that went into a number of objects.
#[derive(Debug, Default)]
pub struct Spent {
    objects: AtomicU64,
    nanos: AtomicU64,
}

impl Spent {
    pub fn add(&self, time: Duration) {
        self.nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> (u64, Duration) {
        let nanos = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        (self.objects.load(Ordering::Relaxed), nanos)
    }
}

/// What the threads tell the one that leads the pull.
#[derive(Debug)]
pub enum Event {
    /// A metadata object came and names these.
    Named(Vec<ObjectId>),
    /// An object is in the repository.
    Written,
    /// An object made from an old part was wrong: fetch it whole.
    Again(Job),
    /// The pull cannot succeed.
    Failed(OstreeError),
}

impl Shared<'_> {
    /// The leader may be gone already when the pull failed elsewhere; then nobody needs to know.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub fn check_stop(&self) -> Result<(), OstreeError> {
        if self.options.is_stopped() || self.stop.load(Ordering::Relaxed) {
            Err(OstreeError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Sleeps, but not past a stop.
    pub fn sleep(&self, pause: Duration) -> Result<(), OstreeError> {
        let end = Instant::now() + pause;
        loop {
            self.check_stop()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    pub fn part_path(&self, id: ObjectId) -> PathBuf {
        self.parts.folder.join(format!("{PART_PREFIX}{}{PART_SUFFIX}", id.hex()))
    }

    pub fn part_length(&self, id: ObjectId) -> u64 {
        self.parts.found.get(&id).copied().unwrap_or(0)
    }
}

const PART_PREFIX: &str = "rust-ota-";
const PART_SUFFIX: &str = ".filez";

/// Parts of large objects that an earlier pull left.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    found: HashMap<ObjectId, u64>,
}

impl Parts {
    /// Looks once: nearly all objects have no part.
    pub fn find(repo_path: &Path) -> Parts {
        let folder = repo_path.join("tmp");
        let mut found = HashMap::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let hash = name
                .to_str()
                .and_then(|name| name.strip_prefix(PART_PREFIX))
                .and_then(|name| name.strip_suffix(PART_SUFFIX))
                .and_then(from_hex);
            if let (Some(hash), Ok(meta)) = (hash, entry.metadata()) {
                found.insert(ObjectId::new(ObjectKind::File, hash), meta.len());
            }
        }
        Parts { folder, found }
    }

    /// Bytes that lie here already of these objects.
    pub fn bytes_of(&self, ids: impl Iterator<Item = ObjectId>) -> u64 {
        ids.filter_map(|id| self.found.get(&id)).sum()
    }
}
