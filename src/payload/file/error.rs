//! Why a file is not there, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use crate::gateway::HttpError;
use crate::store::StoreError;
use crate::tuf::Mismatch;

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
    /// The volume has no room for it.
    NoSpace {
        /// A folder on the volume.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
    },
    /// The disk.
    Store(StoreError),
}

impl FileError {
    /// What came is not what was signed.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, FileError::Length { .. } | FileError::Hash { .. })
    }

    /// Whether asking again can help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            FileError::Http(
                HttpError::Failed { .. }
                | HttpError::Cut { .. }
                | HttpError::Proxy { .. }
                | HttpError::Range { .. },
            )
            | FileError::Cut { .. } => true,
            FileError::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500..),
            error => error.is_refusal(),
        }
    }
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
            FileError::NoSpace { path, needed, available } => write!(
                f,
                "{}: {needed} bytes are needed and {available} are free; make room there",
                path.display()
            ),
            FileError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FileError {}
