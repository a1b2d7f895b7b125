//! One metadata object, fetched by the thread that needs it before anything else can be known.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::fetcher::{LOOK_EVERY, expect, reading};
use super::retry::Retry;
use super::shared::{WRONG_AGAIN, part_path};
use super::{IN_MEMORY, PullOptions};
use crate::payload::ostree::error::OstreeError;
use crate::payload::ostree::object::ObjectId;
use crate::payload::ostree::parse;
use crate::payload::ostree::source::{ObjectSource, Opened, SourceError};
use crate::payload::ostree::space::Space;
use crate::payload::pace::{Pace, SLOWEST};

/// Where from, and within what.
#[derive(Clone, Copy)]
pub struct Alone<'a> {
    pub source: &'a dyn ObjectSource,
    pub options: &'a PullOptions,
    pub space: &'a Space,
    pub repo_path: &'a Path,
}

/// Why an attempt ended without the object.
enum Ended {
    /// It may pass.
    Again(OstreeError),
    /// It came, and is another one.
    Wrong(OstreeError),
    Failed(OstreeError),
}

impl Alone<'_> {
    /// Gives the object's bytes, with the right hash. Before that is known they lie in a file if they are many.
    pub fn fetch(&self, id: ObjectId) -> Result<Vec<u8>, OstreeError> {
        let (mut retry, mut wrong) = (Retry::new(self.options.retries), 0);
        loop {
            let (failed, pause) = match self.attempt(id) {
                Ok(bytes) => return Ok(bytes),
                Err(Ended::Failed(error)) => return Err(error),
                Err(Ended::Again(error)) => (error, retry.next(false)),
                Err(Ended::Wrong(error)) => {
                    wrong += 1;
                    (error, (wrong <= WRONG_AGAIN).then(|| Duration::from_millis(300) * wrong))
                }
            };
            match pause {
                _ if self.options.is_stopped() => return Err(OstreeError::Stopped),
                Some(pause) => thread::sleep(pause),
                None => return Err(failed),
            }
        }
    }

    /// How long a file is, by its head alone; none where the source does not tell.
    pub fn size(&self, id: ObjectId) -> Option<u64> {
        let mut body = self.source.open(&id.path(), 0).ok()?.body;
        let mut prefix = [0; parse::FILE_PREFIX];
        body.read_exact(&mut prefix).ok()?;
        let mut header = vec![0; parse::file_header_length(id, &prefix).ok()?];
        body.read_exact(&mut header).ok()?;
        parse::file_header(id, &header).ok().map(|header| header.size)
    }

    fn attempt(&self, id: ObjectId) -> Result<Vec<u8>, Ended> {
        let opened = match self.source.open(&id.path(), 0) {
            Ok(opened) => opened,
            Err(error @ SourceError::Transient { .. }) => return Err(Ended::Again(error.into())),
            Err(error) => return Err(Ended::Failed(error.into())),
        };
        let mut body = Body::new(part_path(self.repo_path, id));
        self.read(id, opened, &mut body)?;
        expect(id, body.hasher.clone().finalize().into()).map_err(Ended::Wrong)?;
        body.bytes().map_err(|e| Ended::Failed(reading(&body.path, e)))
    }

    fn read(&self, id: ObjectId, mut opened: Opened, body: &mut Body) -> Result<(), Ended> {
        let limit = self.options.limits.of(&id);
        let url = || self.source.name(&id.path());
        let cut = |reason| Ended::Again(OstreeError::Fetch { url: url(), reason });
        let (mut piece, mut pace) = (vec![0; 64 * 1024], Pace::new(self.options.stall));
        let mut looked = 0;
        loop {
            if self.options.is_stopped() {
                return Err(Ended::Failed(OstreeError::Stopped));
            }
            let read = match opened.body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cut(error.to_string())),
            };
            if body.length + read as u64 > limit {
                return Err(Ended::Failed(OstreeError::TooLarge { url: url(), limit }));
            }
            if pace.too_slow(read) {
                return Err(cut(format!("slower than {SLOWEST} bytes a second")));
            }
            if body.length >= looked + LOOK_EVERY {
                looked = body.length;
                self.space.require(LOOK_EVERY).map_err(Ended::Failed)?;
            }
            body.add(&piece[..read]).map_err(|error| Ended::Failed(self.unwritten(&body.path, error)))?;
        }
        match opened.length {
            Some(length) if length != body.length => {
                Err(cut(format!("it ended after {} bytes", body.length)))
            }
            _ => Ok(()),
        }
    }

    fn unwritten(&self, path: &Path, error: io::Error) -> OstreeError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.space.exhausted(None),
            _ => OstreeError::repo(format!("writing {}", path.display()), error),
        }
    }
}

/// What came, in memory while it is little. The file goes with it.
struct Body {
    path: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    hasher: Sha256,
}

impl Body {
    fn new(path: PathBuf) -> Body {
        Body { path, memory: Vec::new(), file: None, length: 0, hasher: Sha256::new() }
    }

    fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hasher.update(piece);
        self.length += piece.len() as u64;
        if self.file.is_none() && self.length > IN_MEMORY {
            let mut file = File::create(&self.path)?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(piece),
            None => {
                self.memory.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        if self.file.is_some() { fs::read(&self.path) } else { Ok(std::mem::take(&mut self.memory)) }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
