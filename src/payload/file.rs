//! A Target that is one file: fetched, compared with every hash that was signed, and only then put in its place.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::gateway::{Http, HttpError};
use crate::store::{StoreError, atomic};
use crate::tuf::{Checker, Mismatch, TargetInfo};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file was there already, with the signed content.
    Unchanged,
    /// It was fetched.
    New,
}

/// Why a file is not there. Nothing of it is left.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// The metadata lists no hash that this client knows.
    NoHash,
    /// The server did not give it.
    Http(HttpError),
    /// The server answered with another status than 200.
    Status {
        /// The URL that was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
    },
    /// The connection ended or stalled.
    Cut {
        /// The URL that was asked for.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// Not as many bytes as were signed.
    Length {
        /// The URL that was asked for.
        url: String,
        /// The signed length.
        expected: u64,
        /// What came; one byte more than signed is the most that is read.
        got: u64,
    },
    /// Not the bytes that were signed.
    Hash {
        /// The URL that was asked for.
        url: String,
        /// The hash that differs.
        mismatch: Mismatch,
    },
    /// The disk.
    Store(StoreError),
}

/// Puts the Target at `path`, unless it is there. A server that sends something else leaves no file behind,
/// and what was at `path` stays.
pub fn fetch(http: &Http, url: &str, info: &TargetInfo, path: &Path) -> Result<Fetched, FileError> {
    if !info.hashes.usable() {
        return Err(FileError::NoHash);
    }
    if is_there(info, path)? {
        return Ok(Fetched::Unchanged);
    }
    let partial = partial_path(path);
    let done = download(http, url, info, &partial).and_then(|()| Ok(atomic::rename(&partial, path)?));
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done.map(|()| Fetched::New)
}

/// Whether the file has the signed content: looked at each time, since a file that is there proves nothing.
fn is_there(info: &TargetInfo, path: &Path) -> Result<bool, FileError> {
    let read = |e| FileError::Store(StoreError::io("read", path, e));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(read(e)),
    };
    if file.metadata().map_err(read)?.len() != info.length {
        return Ok(false);
    }
    let mut checker = Checker::new(&info.hashes);
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).map_err(read)? {
            0 => return Ok(checker.finish().is_ok()),
            count => checker.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn download(http: &Http, url: &str, info: &TargetInfo, partial: &Path) -> Result<(), FileError> {
    let stream = http.open(url, 0).map_err(FileError::Http)?;
    if stream.status != 200 {
        return Err(FileError::Status { url: url.to_owned(), status: stream.status });
    }
    let write = |e| FileError::Store(StoreError::io("write", partial, e));
    atomic::make_parent(partial)?;
    let mut file = File::create(partial).map_err(write)?;
    let mut checker = Checker::new(&info.hashes);
    // One byte more than signed is asked for, so that an endless body is told apart from the right one.
    let mut body = stream.take(info.length.saturating_add(1));
    let mut buffer = vec![0; BUFFER];
    let mut got = 0;
    loop {
        let count = body
            .read(&mut buffer)
            .map_err(|e| FileError::Cut { url: url.to_owned(), reason: e.to_string() })?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        got += bytes.len() as u64;
        checker.update(bytes);
        file.write_all(bytes).map_err(write)?;
    }
    if got != info.length {
        return Err(FileError::Length { url: url.to_owned(), expected: info.length, got });
    }
    checker.finish().map_err(|mismatch| FileError::Hash { url: url.to_owned(), mismatch })?;
    file.sync_all().map_err(write)
}

const BUFFER: usize = 64 * 1024;

/// Beside the file, under a name that no Target's file has: those never begin with a point.
fn partial_path(path: &Path) -> PathBuf {
    path.with_file_name(".rust-ota-partial")
}

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> FileError {
        FileError::Store(error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NoHash => {
                f.write_str("a sha256 or sha512 expected in the metadata, got none; publish the Target again")
            }
            FileError::Http(error) => error.fmt(f),
            FileError::Status { url, status } => {
                write!(
                    f,
                    "{url}: the server answered {status}; check the URL and that the Target was uploaded"
                )
            }
            FileError::Cut { url, reason } => {
                write!(f, "{url}: the reply was cut: {reason}; it is safe to try again")
            }
            FileError::Length { url, expected, got } if got > expected => {
                write!(
                    f,
                    "{url}: {expected} bytes expected, got more; nothing was kept: upload the signed file"
                )
            }
            FileError::Length { url, expected, got } => {
                write!(
                    f,
                    "{url}: {expected} bytes expected, got {got}; nothing was kept: upload the signed file"
                )
            }
            FileError::Hash { url, mismatch: Mismatch { algorithm, expected, got } } => {
                write!(
                    f,
                    "{url}: {algorithm} {expected} expected, got {got}; nothing was kept: upload the signed file"
                )
            }
            FileError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FileError {}
