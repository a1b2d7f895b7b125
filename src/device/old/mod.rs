//! What aktualizr or aktualizr-lite knew of this device: their `sql.db`, which is only ever read.

mod file;
mod state;

pub use file::{Stamp, peek, read, stamp};
pub use state::{OldEcu, OldMetadata, OldResult, OldState, OldVersion};

use std::fmt;
use std::path::PathBuf;

use crate::sqlite::SqliteError;

/// The newest schema that either client has.
pub const NEWEST_SCHEMA: i64 = 25;

/// Why the old client's state cannot be taken over.
#[derive(Debug)]
#[non_exhaustive]
pub enum OldStateError {
    /// The kernel did not let it be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file itself is not what it should be.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SqliteError,
    },
    /// Its tables are not those of the client.
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// Another program uses it.
    InUse {
        /// The file that is locked.
        path: PathBuf,
        /// Who, where the kernel says it.
        process: Option<i32>,
    },
    /// It changed while it was read.
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for OldStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start_without =
            "put back a copy of it, or set rust_ota.take_over = 0 to start as a device without a past";
        match self {
            OldStateError::Io { path, source } => write!(
                f,
                "{}: the old client's state cannot be read: {source}; nothing was changed: {start_without}",
                path.display()
            ),
            OldStateError::Sqlite { path, source } => write!(
                f,
                "{}: the old client's state cannot be read: {source}; nothing was changed: {start_without}",
                path.display()
            ),
            OldStateError::Schema { path, reason } => write!(
                f,
                "{}: the old client's state is not understood: {reason}; nothing was changed: {start_without}",
                path.display()
            ),
            OldStateError::InUse { path, process } => {
                write!(f, "{}: the old client is using its state", path.display())?;
                if let Some(process) = process {
                    write!(f, " (process {process})")?;
                }
                f.write_str("; nothing was changed: stop it (systemctl stop aktualizr aktualizr-lite), then try again")
            }
            OldStateError::Changing { path } => write!(
                f,
                "{}: the old client's state changed while it was read; nothing was changed: stop that client, then try again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OldStateError {}

#[cfg(test)]
mod tests;
