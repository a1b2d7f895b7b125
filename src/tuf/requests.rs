//! Which file to ask for next, under which name, and how many bytes of it to take.

use super::error::{Reason, Rejection};
use super::names::{listed_name, quote};
use super::profile::Profile;
use super::trusted::TrustedMetadata;

/// A metadata file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its path below the repository's metadata URL, percent-quoted.
    pub path: String,
    /// The most bytes to read.
    pub limit: u64,
}

impl TrustedMetadata {
    /// The next root (5.3.3).
    pub fn root_request(&self) -> Request {
        Request { path: format!("{}.root.json", self.next_root_version()), limit: self.limits().root_bytes }
    }

    /// The timestamp (5.4.1).
    pub fn timestamp_request(&self) -> Request {
        Request { path: "timestamp.json".to_owned(), limit: self.limits().timestamp_bytes }
    }

    /// The snapshot that the timestamp lists (5.5.1).
    pub fn snapshot_request(&self) -> Result<Request, Rejection> {
        let missing = || Reason::OutOfOrder { needed: "timestamp.json" }.of("snapshot.json");
        let listed = &self.timestamp().ok_or_else(missing)?.role.snapshot;
        let limit = self.limit(listed.length, self.limits().snapshot_bytes);
        Ok(Request { path: self.versioned(listed.version, "snapshot.json"), limit })
    }

    /// The top-level targets that the snapshot lists (5.6.1).
    pub fn targets_request(&self) -> Result<Request, Rejection> {
        self.targets_file("targets", "")
    }

    /// A delegated role that the snapshot lists (5.6.7).
    pub fn delegated_request(&self, role: &str) -> Result<Request, Rejection> {
        let folder = match self.profile() {
            Profile::Tuf => "",
            Profile::Ats => "delegations/",
        };
        self.targets_file(role, folder)
    }

    fn targets_file(&self, role: &str, folder: &str) -> Result<Request, Rejection> {
        let listed = self.listed(role).map_err(|reason| reason.of(listed_name(role)))?;
        let limit = self.limit(listed.length, self.limits().targets_bytes);
        let name = self.versioned(listed.version, &format!("{}.json", quote(role)));
        Ok(Request { path: format!("{folder}{name}"), limit })
    }

    /// 6.2: a version in front when the root says so. The ATS dialect never does.
    fn versioned(&self, version: u64, name: &str) -> String {
        let versioned = self.profile() == Profile::Tuf && self.root().role.consistent_snapshot;
        if versioned { format!("{version}.{name}") } else { name.to_owned() }
    }

    /// The listed length, if it is below the limit. In the ATS dialect it may be the canonical form's.
    fn limit(&self, listed: Option<u64>, limit: u64) -> u64 {
        match self.profile() {
            Profile::Tuf => listed.map_or(limit, |length| length.min(limit)),
            Profile::Ats => limit,
        }
    }
}
