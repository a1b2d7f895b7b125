//! What must survive a power cut: atomic files, the installed Targets, unsent events, the lock.

pub mod atomic;
mod backoff;
mod counter;
mod deltas;
mod directed;
mod ecu;
mod etag;
mod events;
mod installed;
mod last;
mod lock;
mod takeover;

pub use backoff::Backoff;
pub use counter::ReportCounter;
pub use deltas::TriedDeltas;
pub use directed::{Assigned, DeviceResult, DirectorState, EcuResult, FileEcu, Seen};
pub use ecu::EcuRecord;
pub use etag::Etag;
pub use events::EventQueue;
pub use installed::{Installed, KnownBad, Pending, TargetRecord};
pub use last::{Last, Stage};
pub use lock::Lock;
pub use takeover::TakeOver;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something stored could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Reading, writing, syncing or renaming failed.
    Io {
        /// What was being done, as a verb: "read", "write".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A state file does not parse. It was set aside, so that the next run starts without it.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it was moved to.
        set_aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A state file was written by a newer release. It was left alone.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that it carries.
        version: u32,
    },
    /// Another process is at work.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as that process wrote it.
        holder: String,
    },
}

impl StoreError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { operation, path: path.to_path_buf(), source }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io { operation, path, source } => {
                write!(f, "cannot {operation} {}: {source}", path.display())
            }
            StoreError::Damaged { path, set_aside, reason } => write!(
                f,
                "{} is damaged ({reason}); it was moved to {} and the next run starts without it",
                path.display(),
                set_aside.display()
            ),
            StoreError::Newer { path, version } => write!(
                f,
                "{} has version {version}, from a newer rust-ota; it was left alone: use that release, or move the file away",
                path.display()
            ),
            StoreError::Locked { path, holder } => {
                write!(
                    f,
                    "another rust-ota is at work ({holder}); {} is locked: wait for it to end",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for StoreError {}
