//! Reads `sql.db` where it lies, without a change to it or to what lies beside it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde::{Deserialize, Serialize};

use super::state::Unreadable;
use super::{OldState, OldStateError};
use crate::sqlite::{Database, Files, Source};

/// As long as the client itself waits for the end of a transaction.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// By what to tell that the old client wrote something since: each transaction counts one up in the header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(String);

impl Stamp {
    /// As it is kept.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// An open file, as long as it was when it was opened.
struct Opened(File, u64);

impl Source for Opened {
    fn length(&self) -> u64 {
        self.1
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }
}

/// What is in the database, and its stamp; none where there is no database, or nothing in it. Not while the client runs.
pub fn read(path: &Path) -> Result<Option<(OldState, Stamp)>, OldStateError> {
    if open(path)?.is_some() {
        not_running(&path.with_file_name("storage.lock"))?;
    }
    read_now(path)
}

/// The same, to look at while the client may run.
pub fn peek(path: &Path) -> Result<Option<OldState>, OldStateError> {
    Ok(read_now(path)?.map(|(state, _)| state))
}

fn read_now(path: &Path) -> Result<Option<(OldState, Stamp)>, OldStateError> {
    let Some(file) = open(path)? else { return Ok(None) };
    lock(&file.0, path)?;
    let before = stamp(path)?;
    let (journal, wal) = (open(&beside(path, "-journal"))?, open(&beside(path, "-wal"))?);
    let files = Files {
        database: &file,
        journal: journal.as_ref().map(|f| f as &dyn Source),
        wal: wal.as_ref().map(|f| f as &dyn Source),
    };
    let state = Database::open(files).map_err(Unreadable::from).and_then(|database| OldState::of(&database));
    // The lock keeps out those who write by the rules. A log is written without it.
    if stamp(path)? != before {
        return Err(OldStateError::Changing { path: path.to_path_buf() });
    }
    let state = state.map_err(|error| match error {
        Unreadable::Sqlite(source) => OldStateError::Sqlite { path: path.to_path_buf(), source },
        Unreadable::Schema(reason) => OldStateError::Schema { path: path.to_path_buf(), reason },
    })?;
    Ok(state.zip(before))
}

/// The stamp of the database; none where there is none.
pub fn stamp(path: &Path) -> Result<Option<Stamp>, OldStateError> {
    let Some(Opened(file, length)) = open(path)? else { return Ok(None) };
    // The change counter and the pages that it counts.
    let mut counters = [0; 8];
    if length >= 100 {
        file.read_exact_at(&mut counters, 24).map_err(|e| unreadable(path, e))?;
    }
    let mut text = format!("{length} {}", crate::tuf::to_hex(&counters));
    for suffix in ["-journal", "-wal"] {
        if let Ok(beside) = std::fs::metadata(beside(path, suffix)) {
            text.push_str(&format!(" {suffix} {} {}", beside.len(), beside.mtime_nsec()));
        }
    }
    Ok(Some(Stamp(text)))
}

fn open(path: &Path) -> Result<Option<Opened>, OldStateError> {
    let opened =
        File::open(path).and_then(|file| Ok((file.metadata()?.is_file(), file.metadata()?.len(), file)));
    match opened {
        Ok((true, length, file)) => Ok(Some(Opened(file, length))),
        Ok(_) => Err(unreadable(path, io::Error::other("it is not a file"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(path, e)),
    }
}

/// The daemon holds this lock for as long as it runs, and it would write behind our back.
fn not_running(path: &Path) -> Result<(), OldStateError> {
    let Some(Opened(file, _)) = open(path)? else { return Ok(()) };
    match fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)) {
        Ok(Some(held)) => Err(OldStateError::InUse {
            path: path.to_path_buf(),
            process: held.pid.map(|pid| pid.as_raw_nonzero().get()),
        }),
        Ok(None) => Ok(()),
        Err(e) => Err(unreadable(path, e.into())),
    }
}

/// SQLite locks bytes far behind the end of the file; this one is over all of them. The kernel drops it with the file.
fn lock(file: &File, path: &Path) -> Result<(), OldStateError> {
    for _ in 0..TRIES {
        match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => std::thread::sleep(PAUSE),
            Err(e) => return Err(unreadable(path, e.into())),
        }
    }
    let held = fcntl_getlk(file, &Flock::from(FlockType::ReadLock)).ok().flatten();
    let process = held.and_then(|held| held.pid).map(|pid| pid.as_raw_nonzero().get());
    Err(OldStateError::InUse { path: path.to_path_buf(), process })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn unreadable(path: &Path, source: io::Error) -> OldStateError {
    OldStateError::Io { path: path.to_path_buf(), source }
}
