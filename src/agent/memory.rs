//! What a process keeps between two polls, so that an idle one costs little: the connection's session, and the metadata
//! that was verified. Nothing here is needed; a process that starts has none of it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::last::Run;
use super::{AgentError, exposed};
use crate::config::Settings;
use crate::gateway::{ClientIdentity, Http, HttpSettings};
use crate::tuf::TrustedMetadata;

/// Targets roles that are larger together are read and verified again rather than kept.
const MOST_KEPT: usize = 1024 * 1024;

/// Which file this is: another one has another number, time or length.
type Stamp = Option<(u64, i64, i64, u64)>;

/// One for each agent.
#[derive(Debug, Default)]
pub struct Memory {
    http: RefCell<Option<(Vec<Stamp>, Http)>>,
    trusted: RefCell<Option<(Vec<Stamp>, TrustedMetadata)>>,
    /// The last refresh failed; how long the server wants to be left alone.
    pub trouble: Cell<Option<Duration>>,
    /// Why a static delta ended the process that applied it, until an event has said so.
    pub delta_trouble: RefCell<Option<String>>,
    /// The commit whose objects were all read and found right.
    whole: RefCell<Option<String>>,
    /// When the certificate was warned of, in Unix seconds.
    pub warned: Cell<Option<i64>>,
    /// What is known of the run that is under way.
    pub run: Run,
}

impl Memory {
    /// The client of this process: its TLS sessions are resumed. Certificates that were renewed make another one.
    pub fn http(&self, settings: &Settings) -> Result<Http, AgentError> {
        let (client, ca) = (settings.identity(), settings.authorities());
        let files = client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let stamps: Vec<Stamp> = files.chain(&ca).map(|path| stamp(path)).collect();
        if let Some((made, http)) = &*self.http.borrow()
            && *made == stamps
        {
            return Ok(http.clone());
        }
        exposed::check(settings)?;
        let http = Http::new(&HttpSettings {
            ca,
            client: client.map(|(certificate, key)| ClientIdentity { certificate, key }),
            idle_connections: settings.pull_jobs,
            ..HttpSettings::of(&settings.network)
        })?;
        *self.http.borrow_mut() = Some((stamps, http.clone()));
        Ok(http)
    }

    /// Whether this process read all objects of a commit and found them right.
    pub fn is_whole(&self, commit: &str) -> bool {
        self.whole.borrow().as_deref() == Some(commit)
    }

    pub fn set_whole(&self, commit: &str) {
        *self.whole.borrow_mut() = Some(commit.to_string());
    }

    /// What was verified, if the files below `folder` are those that it was verified from.
    pub fn take(&self, folder: &Path) -> Option<TrustedMetadata> {
        let (stamps, trusted) = self.trusted.take()?;
        (stamps == stamps_of(folder)).then_some(trusted)
    }

    /// Keeps what agrees with the files now.
    pub fn keep(&self, folder: &Path, trusted: TrustedMetadata) {
        if trusted.tagged_bytes() <= MOST_KEPT {
            *self.trusted.borrow_mut() = Some((stamps_of(folder), trusted));
        }
    }
}

/// Every role that is stored there, in the order of their names.
fn stamps_of(folder: &Path) -> Vec<Stamp> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut roles: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    roles.sort();
    roles.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}
