//! One fetching thread: takes a job, reads the body into memory or a part file, hands it to the writers.
//!
//! Nothing above `IN_MEMORY` is held in memory before its hash is right, whatever a server sends and does not say. What is
//! right was signed; of that one large metadata object is in memory at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::jobs::{Job, Permit};
use super::queue::lock;
use super::retry::Retry;
use super::shared::{Event, Shared};
use super::{IN_MEMORY, LARGE};
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::ObjectId;
use crate::payload::ostree::parse;
use crate::payload::ostree::source::{Opened, SourceError};
use crate::payload::pace::{Pace, SLOWEST};

/// Bytes of a part between two looks at the free space.
pub const LOOK_EVERY: u64 = 1 << 20;

/// A fetched object, not yet verified by libostree.
#[derive(Debug)]
pub struct Fetched {
    pub job: Job,
    pub body: Body,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum Body {
    Memory(Vec<u8>),
    Part {
        path: PathBuf,
        length: u64,
        /// Some of it comes from an earlier attempt, maybe from before a power cut.
        resumed: bool,
        /// Held until the object is written and the part removed.
        _permit: Option<Permit>,
    },
}

impl Body {
    pub fn length(&self) -> u64 {
        match self {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Part { length, .. } => *length,
        }
    }
}

/// Works until there are no jobs any more.
pub fn run(shared: &Shared<'_>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some((job, permit)) = shared.jobs.pop() {
        let begun = Instant::now();
        let pause = Duration::from_millis(300) * job.wrong;
        let fetched = shared.sleep(pause).and_then(|()| Fetch::new(shared, &mut buffer, &job, permit).run());
        match fetched {
            Ok(body) => {
                shared.fetch_time.add(begun.elapsed());
                if !hand_over(shared, job, body) {
                    return;
                }
            }
            Err(error) => {
                if !shared.ask_again(job, error) {
                    return;
                }
            }
        }
    }
}

/// Metadata is checked here already: what it names is asked for next, and only a true list is worth that.
fn hand_over(shared: &Shared<'_>, job: Job, body: Body) -> bool {
    if job.id.is_metadata() {
        match names(shared, job.id, &body) {
            Ok(names) => shared.send(Event::Named(names)),
            Err(error) => {
                if let Body::Part { path, .. } = &body {
                    let _ = fs::remove_file(path);
                }
                return shared.ask_again(job, error);
            }
        }
    }
    shared.fetched.push(Fetched { job, body }).is_ok()
}

fn names(shared: &Shared<'_>, id: ObjectId, body: &Body) -> Result<Vec<ObjectId>, OstreeError> {
    let Body::Part { path, .. } = body else {
        let Body::Memory(bytes) = body else { return Ok(Vec::new()) };
        return verified_names(id, bytes);
    };
    expect(id, hash_of(path).map_err(|e| reading(path, e))?)?;
    let _one_at_a_time = lock(&shared.heavy);
    parse::named_by(id, &fs::read(path).map_err(|e| reading(path, e))?)
}

/// The objects that a metadata object names, once its hash is right.
pub fn verified_names(id: ObjectId, bytes: &[u8]) -> Result<Vec<ObjectId>, OstreeError> {
    expect(id, Sha256::digest(bytes).into())?;
    parse::named_by(id, bytes)
}

/// Refuses bytes with another hash.
pub fn expect(id: ObjectId, hash: [u8; 32]) -> Result<(), OstreeError> {
    if hash == id.hash {
        return Ok(());
    }
    let actual = ObjectId::new(id.kind, hash).hex();
    Err(OstreeError::Checksum { object: id, reason: format!("its content has {actual}") })
}

/// The hash of a file, of which only a piece is in memory.
pub fn hash_of(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&piece[..read]),
        }
    }
}

pub fn reading(path: &Path, error: io::Error) -> OstreeError {
    OstreeError::repo(format!("reading {}", path.display()), error)
}

struct Fetch<'a, 'b> {
    shared: &'a Shared<'b>,
    buffer: &'a mut [u8],
    path: String,
    limit: u64,
    /// Bytes of this object that progress already counts. A repeated byte is not counted twice.
    counted: u64,
    part: Part,
    permit: Option<Permit>,
}

/// An object's bytes on disk so far. It lies in the repository's `tmp`, where libostree removes it after a day.
struct Part {
    path: PathBuf,
    length: u64,
    resumed: bool,
    /// The server told how long the object is, so that it is worth to go on with it in another pull.
    bounded: bool,
}

/// Why an attempt ended without the object.
enum Ended {
    Again(String),
    Failed(OstreeError),
}

impl<'a, 'b> Fetch<'a, 'b> {
    fn new(shared: &'a Shared<'b>, buffer: &'a mut [u8], job: &Job, permit: Option<Permit>) -> Self {
        let path = shared.part_path(job.id);
        let length = if job.afresh { 0 } else { shared.part_length(job.id) };
        Fetch {
            shared,
            buffer,
            path: job.id.path(),
            limit: shared.limit_of(job.id),
            counted: 0,
            part: Part { path, length, resumed: length > 0, bounded: length > 0 },
            permit,
        }
    }

    fn run(mut self) -> Result<Body, OstreeError> {
        let body = self.fetch();
        if body.is_err() && !self.part.bounded {
            let _ = fs::remove_file(&self.part.path);
        }
        body
    }

    fn fetch(&mut self) -> Result<Body, OstreeError> {
        let mut retry = Retry::new(self.shared.options.retries);
        loop {
            let before = self.counted;
            match self.attempt() {
                Ok(body) => return Ok(body),
                Err(Ended::Failed(error)) => return Err(error),
                Err(Ended::Again(reason)) => {
                    let url = self.url();
                    log::info!("{url}: {reason}");
                    self.shared.retries.fetch_add(1, Ordering::Relaxed);
                    let Some(pause) = retry.next(self.counted > before) else {
                        return Err(OstreeError::Fetch { url, reason });
                    };
                    self.shared.sleep(pause)?;
                }
            }
        }
    }

    fn attempt(&mut self) -> Result<Body, Ended> {
        self.shared.check_stop().map_err(Ended::Failed)?;
        let opened = match self.shared.source.open(&self.path, self.part.length) {
            Ok(opened) => opened,
            // The part is as long as the object: it was complete and only not yet written.
            Err(SourceError::Range { .. }) if self.part.length > 0 => return Ok(self.part_body()),
            Err(SourceError::Transient { reason, .. }) => return Err(Ended::Again(reason)),
            Err(error) => return Err(Ended::Failed(error.into())),
        };
        let whole = opened.length.map(|length| opened.from.saturating_add(length));
        if whole.is_some_and(|whole| whole > self.limit) {
            return Err(Ended::Failed(self.too_large()));
        }
        if self.part.length > 0 || whole.is_some_and(|whole| whole > IN_MEMORY) {
            self.read_into_part(opened, whole)
        } else {
            self.read_into_memory(opened)
        }
    }

    fn read_into_memory(&mut self, mut opened: Opened) -> Result<Body, Ended> {
        let mut bytes = Vec::with_capacity(opened.length.unwrap_or(0).min(IN_MEMORY) as usize);
        let mut pace = Pace::new(self.shared.options.stall);
        loop {
            let read = self.read(&mut opened, &mut pace)?;
            if read == 0 {
                break;
            }
            bytes.extend_from_slice(&self.buffer[..read]);
            self.count(bytes.len() as u64)?;
            if bytes.len() as u64 > IN_MEMORY {
                // Its length was not told. What is read so far becomes the beginning of a part.
                let whole = opened.length;
                return self.read_into_part(
                    Opened { body: Box::new(io::Cursor::new(bytes).chain(opened.body)), ..opened },
                    whole,
                );
            }
        }
        if opened.length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(Ended::Again(format!("it ended after {} bytes", bytes.len())));
        }
        Ok(Body::Memory(bytes))
    }

    fn read_into_part(&mut self, mut opened: Opened, whole: Option<u64>) -> Result<Body, Ended> {
        if whole.is_none_or(|whole| whole > LARGE) && self.permit.is_none() {
            self.permit = Some(self.shared.jobs.permit().ok_or(Ended::Failed(OstreeError::Stopped))?);
        }
        self.part.bounded = whole.is_some();
        let mut file = self.open_part(opened.from)?;
        if let Some(whole) = whole {
            let needed = whole.saturating_sub(self.part.length);
            self.shared.space.require(needed).map_err(|e| Ended::Failed(self.given_up(e)))?;
        }
        let mut pace = Pace::new(self.shared.options.stall);
        let mut unchecked = LOOK_EVERY;
        loop {
            let read = self.read(&mut opened, &mut pace)?;
            if read == 0 {
                break;
            }
            unchecked += read as u64;
            if unchecked >= LOOK_EVERY {
                unchecked = 0;
                self.shared.space.require(LOOK_EVERY).map_err(|e| Ended::Failed(self.given_up(e)))?;
            }
            file.write_all(&self.buffer[..read]).map_err(|e| Ended::Failed(self.part_error(e)))?;
            self.part.length += read as u64;
            self.count(self.part.length)?;
        }
        if whole.is_some_and(|whole| whole != self.part.length) {
            return Err(Ended::Again(format!("it ended after {} bytes", self.part.length)));
        }
        Ok(self.part_body())
    }

    /// Opens the part at the byte where the body begins.
    fn open_part(&mut self, from: u64) -> Result<File, Ended> {
        if from != self.part.length {
            // The source begins anew.
            self.part.length = from;
            self.part.resumed = false;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.part.path)
            .and_then(|file| file.set_len(self.part.length).map(|()| file))
            .map_err(|e| Ended::Failed(self.part_error(e)))
    }

    fn part_body(&mut self) -> Body {
        Body::Part {
            path: self.part.path.clone(),
            length: self.part.length,
            resumed: self.part.resumed,
            _permit: self.permit.take(),
        }
    }

    fn read(&mut self, opened: &mut Opened, pace: &mut Pace) -> Result<usize, Ended> {
        self.shared.check_stop().map_err(Ended::Failed)?;
        let read = loop {
            match opened.body.read(self.buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::Again(error.to_string())),
            }
        };
        if read > 0 && pace.too_slow(read) {
            return Err(Ended::Again(format!("slower than {SLOWEST} bytes a second")));
        }
        Ok(read)
    }

    /// Counts the object's bytes up to `position` and keeps the limits.
    fn count(&mut self, position: u64) -> Result<(), Ended> {
        if position > self.limit {
            return Err(Ended::Failed(self.too_large()));
        }
        let new = position.saturating_sub(self.counted);
        self.counted = self.counted.max(position);
        let total = self.shared.bytes.fetch_add(new, Ordering::Relaxed) + new;
        let limit = self.shared.options.limits.total;
        if total > limit {
            return Err(Ended::Failed(OstreeError::TotalTooLarge { limit }));
        }
        Ok(())
    }

    fn url(&self) -> String {
        self.shared.source.name(&self.path)
    }

    fn too_large(&self) -> OstreeError {
        self.given_up(OstreeError::TooLarge { url: self.url(), limit: self.limit })
    }

    fn part_error(&self, error: io::Error) -> OstreeError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.given_up(self.shared.space.exhausted(None))
            }
            _ => OstreeError::repo(format!("writing {}", self.part.path.display()), error),
        }
    }

    /// What is not to be gone on with must not keep the next run from its room.
    fn given_up(&self, error: OstreeError) -> OstreeError {
        let _ = fs::remove_file(&self.part.path);
        error
    }
}
