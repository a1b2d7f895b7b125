//! What the threads of one pull share.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::PullOptions;
use super::fetcher::Fetched;
use super::jobs::{Job, Jobs};
use super::queue::Queue;
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::ObjectId;
use crate::payload::ostree::parse::ObjectSize;
use crate::payload::ostree::plan::total;
use crate::payload::ostree::source::ObjectSource;
use crate::payload::ostree::space::Space;

/// How often an object that came wrong is asked for again.
pub const WRONG_AGAIN: u32 = 3;

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
    /// Held by the thread that has a metadata object above `IN_MEMORY` in memory: one at a time.
    pub heavy: Mutex<()>,
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
    /// An object was wrong: fetch it whole.
    Again(Job),
    /// The pull cannot succeed.
    Failed(OstreeError),
}

impl Shared<'_> {
    /// The leader may be gone already when the pull failed elsewhere; then nobody needs to know.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// An object that came and is wrong is asked for again: a cache or a proxy may have damaged it. Gives whether to go on.
    pub fn ask_again(&self, job: Job, error: OstreeError) -> bool {
        let wrong = match error {
            OstreeError::Checksum { .. } | OstreeError::Malformed { .. } => true,
            // Longer than it is signed to be: a page, or a packed copy, in its place.
            OstreeError::TooLarge { .. } => self.sizes.contains_key(&job.id),
            _ => false,
        };
        if wrong && job.wrong < WRONG_AGAIN {
            log::info!("{error}; asking for it again");
            self.retries.fetch_add(1, Ordering::Relaxed);
            self.send(Event::Again(Job { afresh: true, wrong: job.wrong + 1, ..job }));
            return true;
        }
        self.send(Event::Failed(error));
        false
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
        part_path(self.repo_path, id)
    }

    /// The longest body of an object.
    pub fn limit_of(&self, id: ObjectId) -> u64 {
        limit_of(self.options.limits.of(&id), self.sizes.get(&id))
    }

    pub fn part_length(&self, id: ObjectId) -> u64 {
        self.parts.found.get(&id).copied().unwrap_or(0)
    }
}

/// The longest body that is read of an object: what the signed commit says, where it does. Metadata is sent as it is.
/// A file may be packed anew by the server, into somewhat more bytes than when the commit was made.
pub fn limit_of(kind: u64, signed: Option<&ObjectSize>) -> u64 {
    const HEADER: u64 = 64 << 10;
    let Some(size) = signed else { return kind };
    if size.id.is_metadata() {
        return kind.min(size.archived);
    }
    // What deflate makes of bytes that do not pack, and extended attributes.
    let packed = size.unpacked.saturating_add(size.unpacked >> 9).saturating_add(HEADER);
    kind.min(size.archived.max(packed))
}

const PART_PREFIX: &str = "rust-ota-";

/// Where the bytes of an object lie until it is whole.
pub fn part_path(repo_path: &Path, id: ObjectId) -> PathBuf {
    repo_path.join("tmp").join(format!("{PART_PREFIX}{id}"))
}

/// Removes all of them: they can be fetched again.
pub fn remove_parts(repo_path: &Path) {
    Parts::find(repo_path).keep_only(|_| None);
}

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
            let id =
                name.to_str().and_then(|name| name.strip_prefix(PART_PREFIX)).and_then(ObjectId::from_name);
            if let (Some(id), Ok(meta)) = (id, entry.metadata()) {
                found.insert(id, meta.len());
            }
        }
        Parts { folder, found }
    }

    /// Removes the parts that nobody wants: `most` tells how long one can be, nothing for those that are not needed.
    pub fn keep_only(&mut self, most: impl Fn(&ObjectId) -> Option<u64>) {
        let folder = &self.folder;
        self.found.retain(|id, length| {
            // Metadata is soon fetched anew.
            let wanted = !id.is_metadata() && most(id).is_some_and(|most| *length <= most);
            if !wanted && let Err(error) = fs::remove_file(folder.join(format!("{PART_PREFIX}{id}"))) {
                log::warn!("removing what was fetched of {id}: {error}");
            }
            wanted
        });
    }

    /// Bytes that lie here already of these objects.
    pub fn bytes_of(&self, ids: impl Iterator<Item = ObjectId>) -> u64 {
        total(ids.filter_map(|id| self.found.get(&id)).copied())
    }
}
