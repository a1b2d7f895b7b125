//! The server's name for the timestamp that is stored, so that it need not send it again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};
use crate::tuf::sha256_hex;

const TIMESTAMP: &str = "timestamp.json";

/// Beside the trusted metadata. It is written with a new timestamp and at no other time: a server that names the same
/// file anew with each reply must not make a device write.
#[derive(Debug)]
pub struct Etag {
    file: PathBuf,
    timestamp: PathBuf,
    received: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    etag: String,
    /// Of the file that it names.
    sha256: String,
}

impl Etag {
    /// Of the metadata in this state folder.
    pub fn of(state: &Path) -> Etag {
        Etag {
            file: state.join("timestamp-etag.json"),
            timestamp: state.join("trust").join(TIMESTAMP),
            received: None,
        }
    }

    /// What to ask with, where the stored file is the one that was named. Anything else is asked for whole.
    pub fn known(&self, path: &str) -> Option<String> {
        if path != TIMESTAMP {
            return None;
        }
        let stored: Stored = serde_json::from_slice(&atomic::read(&self.file).ok()??).ok()?;
        let bytes = atomic::read(&self.timestamp).ok()??;
        (sha256_hex(&bytes) == stored.sha256).then_some(stored.etag)
    }

    /// What came with a reply.
    pub fn received(&mut self, path: &str, etag: Option<String>) {
        if path == TIMESTAMP {
            self.received = etag;
        }
    }

    /// The file that came last is trusted and stored.
    pub fn kept(&mut self, path: &str, bytes: &[u8]) {
        let Some(etag) = self.received.take().filter(|_| path == TIMESTAMP) else { return };
        let stored = Stored { etag, sha256: sha256_hex(bytes) };
        let written: Result<(), StoreError> = atomic::write_json(&self.file, &stored);
        if let Err(error) = written {
            log::debug!("{error}");
        }
    }
}
