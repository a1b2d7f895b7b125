//! Carries out the TUF client workflow: asks for files in order, has them judged, stores what is trusted.
//!
//! The judging is in [`crate::tuf`]. Here is only the order of things, which is what a power cut and a
//! hostile server try: each file is stored as soon as it is trusted, and never before.

use std::collections::BTreeSet;
use std::fmt;

use super::root_floor;
use crate::store::StoreError;
use crate::tuf::{
    Change, Limits, Profile, Reason, Rejection, Request, Search, Step, TOP, TargetInfo, Time,
    TrustedMetadata, listed_name, stored_name,
};

/// Where metadata comes from: a server, or a folder of an offline update.
pub trait Fetch {
    /// Gets a file below the repository's metadata URL, reading no more than its limit.
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError>;
    /// The file that came last under this path is trusted and stored.
    fn kept(&mut self, _path: &str, _bytes: &[u8]) {}
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole file.
    Body(Vec<u8>),
    /// The file is the one that was stored last under this name (HTTP 304).
    NotModified,
    /// There is no such file: HTTP 403 or 404 and nothing else. Only this ends the walk of roots.
    Absent,
}

/// Why nothing came: any trouble but an honest "there is none".
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Where trusted metadata is kept. Names are single path components.
pub trait Persist {
    /// Reads a file; none is not an error.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes a file so that a power cut leaves the old one or the new one.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Removes a file; none is not an error.
    fn remove(&mut self, name: &str) -> Result<(), StoreError>;
    /// Moves a file out of the way that is not what was once stored.
    fn set_aside(&mut self, name: &str, reason: &str) -> Result<(), StoreError>;
}

/// Why the metadata could not be refreshed. What was trusted before still is.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshError {
    /// There is no root to start from.
    NoRoot,
    /// A file was refused.
    Rejected(Rejection),
    /// A file did not come.
    Fetch {
        /// Its path below the metadata URL.
        path: String,
        /// What the transport said.
        source: FetchError,
    },
    /// The server does not have a file that it must have.
    Absent {
        /// Its path below the metadata URL.
        path: String,
    },
    /// The server says that a file is unchanged which this device does not have.
    Unasked {
        /// Its path below the metadata URL.
        path: String,
    },
    /// This device trusted a newer root before its own file was damaged, and nobody offers that one any more.
    RootRollback {
        /// The version that was trusted.
        trusted: u64,
        /// The newest that is offered.
        got: u64,
    },
    /// The trusted metadata could not be read or stored.
    Store(StoreError),
}

/// Which roles changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New roots that were taken.
    pub roots: u32,
    /// A new timestamp.
    pub timestamp: bool,
    /// A new snapshot.
    pub snapshot: bool,
    /// New top-level targets.
    pub targets: bool,
}

/// Verifies a first root and stores it. Everything else that is trusted follows from it.
pub fn init(
    persist: &mut dyn Persist,
    root: Vec<u8>,
    profile: Profile,
    limits: Limits,
) -> Result<TrustedMetadata, RefreshError> {
    let trusted = TrustedMetadata::new(root, profile, limits)?;
    persist.write("root.json", &trusted.root().bytes)?;
    Ok(trusted)
}

/// Starts from the stored root (5.2). Other roles are read when they are needed.
pub fn load(
    persist: &mut dyn Persist,
    profile: Profile,
    limits: Limits,
) -> Result<TrustedMetadata, RefreshError> {
    let root = persist.read("root.json")?.ok_or(RefreshError::NoRoot)?;
    Ok(TrustedMetadata::new(root, profile, limits)?)
}

/// Takes back all four stored roles without a network, and checks them as if they had just come.
pub fn restore(
    trusted: &mut TrustedMetadata,
    persist: &mut dyn Persist,
    now: Time,
) -> Result<(), RefreshError> {
    if let Some(bytes) = persist.read("timestamp.json")? {
        trusted.restore_timestamp(bytes)?;
    }
    if let Some(bytes) = persist.read("snapshot.json")? {
        trusted.restore_snapshot(bytes)?;
    }
    if let Some(bytes) = persist.read("targets.json")? {
        trusted.update_targets(bytes, now)?;
    }
    Ok(trusted.check(now)?)
}

/// Takes back the stored delegated roles of these tags, after [`restore`]. Gives the first one that is not stored, if
/// any: the device was given a tag since it asked last.
pub fn restore_tagged(
    trusted: &mut TrustedMetadata,
    persist: &mut dyn Persist,
    tags: &[String],
    now: Time,
) -> Result<Option<String>, RefreshError> {
    let mut missing = None;
    for role in trusted.tagged_roles(tags)? {
        match persist.read(&stored_name(&role))? {
            Some(bytes) => trusted.update_delegated(TOP, &role, bytes, now)?,
            None => missing = missing.or(Some(role)),
        }
    }
    Ok(missing)
}

/// One run of the workflow over one repository. The time is fixed at its start (5.1).
pub struct Refresh<'r> {
    trusted: &'r mut TrustedMetadata,
    fetch: &'r mut dyn Fetch,
    persist: &'r mut dyn Persist,
    now: Time,
    requested: BTreeSet<String>,
}

impl<'r> Refresh<'r> {
    /// A run that starts now. `trusted` may be from [`load`] or from the run before.
    pub fn new(
        trusted: &'r mut TrustedMetadata,
        fetch: &'r mut dyn Fetch,
        persist: &'r mut dyn Persist,
        now: Time,
    ) -> Refresh<'r> {
        Refresh { trusted, fetch, persist, now, requested: BTreeSet::new() }
    }

    /// What is trusted.
    pub fn trusted(&self) -> &TrustedMetadata {
        self.trusted
    }

    /// Brings the four top-level roles up to date (5.3 to 5.6.6): roots, the timestamp, then only what changed.
    pub fn refresh(&mut self) -> Result<Changes, RefreshError> {
        Ok(Changes {
            roots: self.update_roots()?,
            timestamp: self.update_timestamp()?,
            snapshot: self.update_snapshot()?,
            targets: self.update_targets()?,
        })
    }

    /// Finds a Target through delegations (5.6.7), fetching the roles on the way and no others.
    pub fn find_target(&mut self, target: &str) -> Result<Option<(String, TargetInfo)>, RefreshError> {
        let mut search = Search::new(target, self.now);
        loop {
            let (role, delegator) = match search.step(self.trusted)? {
                Step::Found { role, info } => return Ok(Some((role, info.clone()))),
                Step::NotFound => return Ok(None),
                Step::Need { role, delegator } => (role, delegator),
            };
            self.update_delegated(&role, &delegator)?;
        }
    }

    /// The walk of roots (5.3). [`Self::refresh`] does it with all the others.
    pub(crate) fn update_roots(&mut self) -> Result<u32, RefreshError> {
        let mut roots = 0;
        // 5.3.3: more than the limit are left for the next run.
        while roots < self.trusted.limits().roots {
            let request = self.trusted.root_request();
            match self.get(&request)? {
                Fetched::Body(bytes) => take_root(self.trusted, self.persist, bytes)?,
                // Nothing else ends the walk: whoever can drop one reply could hold back a revocation.
                Fetched::Absent => break,
                Fetched::NotModified => return Err(RefreshError::Unasked { path: request.path }),
            }
            roots += 1;
        }
        root_floor::check(self.persist, self.trusted)?;
        self.trusted.finish_root(self.now)?;
        Ok(roots)
    }

    /// The timestamp (5.4), after the roots: what was stored is judged by the newest of them.
    pub(crate) fn update_timestamp(&mut self) -> Result<bool, RefreshError> {
        self.restore_floor()?;
        let request = self.trusted.timestamp_request();
        let change = match self.get(&request)? {
            Fetched::Body(bytes) => self.trusted.update_timestamp(bytes, self.now)?,
            Fetched::NotModified => self.trusted.check_timestamp(self.now).map(|_| Change::Unchanged)?,
            Fetched::Absent => return Err(RefreshError::Absent { path: request.path }),
        };
        let document = self.trusted.timestamp().filter(|_| change == Change::Updated);
        let Some(document) = document else { return Ok(false) };
        store(self.persist, "timestamp.json", &document.bytes)?;
        self.fetch.kept(&request.path, &document.bytes);
        Ok(true)
    }

    /// The snapshot (5.5), after the timestamp.
    pub(crate) fn update_snapshot(&mut self) -> Result<bool, RefreshError> {
        if self.trusted.snapshot_is_current(self.now) {
            return Ok(false);
        }
        let bytes = self.get_body(self.trusted.snapshot_request()?)?;
        self.trusted.update_snapshot(bytes, self.now)?;
        let document = self.trusted.snapshot();
        document.map_or(Ok(false), |document| store(self.persist, "snapshot.json", &document.bytes))
    }

    /// Takes back what new files are compared with.
    fn restore_floor(&mut self) -> Result<(), RefreshError> {
        if self.trusted.timestamp().is_none()
            && let Some(bytes) = self.persist.read("timestamp.json")?
            && let Err(rejection) = self.trusted.restore_timestamp(bytes)
        {
            self.not_restored("timestamp.json", &rejection)?;
        }
        if self.trusted.snapshot().is_none()
            && let Some(bytes) = self.persist.read("snapshot.json")?
            && let Err(rejection) = self.trusted.restore_snapshot(bytes)
        {
            self.not_restored("snapshot.json", &rejection)?;
        }
        Ok(())
    }

    /// A stored file that no longer verifies is void by a newer root and stays until another one takes its place.
    /// Anything else is damage.
    fn not_restored(&mut self, name: &str, rejection: &Rejection) -> Result<(), RefreshError> {
        if matches!(rejection.reason, Reason::Unsigned { .. }) {
            log::debug!("the stored {rejection}");
            return Ok(());
        }
        Ok(self.persist.set_aside(name, &rejection.reason.to_string())?)
    }

    fn update_targets(&mut self) -> Result<bool, RefreshError> {
        if self.trusted.top_targets().is_none()
            && let Some(bytes) = self.persist.read("targets.json")?
            && let Err(rejection) = self.trusted.update_targets(bytes, self.now)
        {
            // Mostly because the snapshot lists a newer one.
            log::debug!("the stored {rejection}");
        }
        if self.trusted.targets_are_current(self.now) {
            return Ok(false);
        }
        let bytes = self.get_body(self.trusted.targets_request()?)?;
        self.trusted.update_targets(bytes, self.now)?;
        let document = self.trusted.top_targets();
        document.map_or(Ok(false), |document| store(self.persist, "targets.json", &document.bytes))
    }

    /// Brings the delegated roles of these tags up to date, of all tags if none is given, after [`Self::refresh`]. Gives
    /// whether any of them is new.
    pub fn update_tagged(&mut self, tags: &[String]) -> Result<bool, RefreshError> {
        let mut changed = false;
        for role in self.trusted.tagged_roles(tags)? {
            if !self.trusted.delegated_is_current(TOP, &role, self.now) {
                changed |= self.update_delegated(&role, TOP)?;
            }
        }
        Ok(changed)
    }

    /// Gives whether the role had to be fetched.
    fn update_delegated(&mut self, role: &str, delegator: &str) -> Result<bool, RefreshError> {
        // 5.6.7: a role that the snapshot does not list is not asked for.
        let request = self.trusted.delegated_request(role)?;
        let name = stored_name(role);
        if let Some(bytes) = self.persist.read(&name)? {
            match self.trusted.update_delegated(delegator, role, bytes, self.now) {
                Ok(()) => return Ok(false),
                // It came in this run already, so it would come again as it is.
                Err(rejection) if self.requested.contains(&request.path) => return Err(rejection.into()),
                Err(rejection) => log::debug!("the stored {rejection}"),
            }
        }
        let bytes = self.get_body(request)?;
        self.trusted.update_delegated(delegator, role, bytes, self.now)?;
        let document = self.trusted.targets_role(role);
        document.map_or(Ok(()), |document| self.persist.write(&name, &document.bytes))?;
        log::debug!("{} is trusted for {delegator}", listed_name(role));
        Ok(true)
    }

    fn get_body(&mut self, request: Request) -> Result<Vec<u8>, RefreshError> {
        match self.get(&request)? {
            Fetched::Body(bytes) => Ok(bytes),
            Fetched::Absent => Err(RefreshError::Absent { path: request.path }),
            Fetched::NotModified => Err(RefreshError::Unasked { path: request.path }),
        }
    }

    fn get(&mut self, request: &Request) -> Result<Fetched, RefreshError> {
        self.requested.insert(request.path.clone());
        let fetched = self.fetch.fetch(request);
        fetched.map_err(|source| RefreshError::Fetch { path: request.path.clone(), source })
    }
}

/// Takes the next root, wherever it came from, and stores it. Nothing else changes on disk: which stored roles it makes
/// void is seen by their signatures, so a power cut can leave no root beside files that it would judge otherwise.
pub(super) fn take_root(
    trusted: &mut TrustedMetadata,
    persist: &mut dyn Persist,
    bytes: Vec<u8>,
) -> Result<(), RefreshError> {
    trusted.update_root(bytes)?;
    // 5.3.8.
    persist.write("root.json", &trusted.root().bytes)?;
    Ok(root_floor::raise(persist, trusted.root().role.header.version)?)
}

fn store(persist: &mut dyn Persist, name: &str, bytes: &[u8]) -> Result<bool, RefreshError> {
    persist.write(name, bytes)?;
    Ok(true)
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("now", &self.now).finish_non_exhaustive()
    }
}

impl From<Rejection> for RefreshError {
    fn from(rejection: Rejection) -> RefreshError {
        RefreshError::Rejected(rejection)
    }
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> RefreshError {
        RefreshError::Store(error)
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefreshError::NoRoot => {
                f.write_str("root.json: no trusted root is stored; put in the repository's first root")
            }
            RefreshError::Rejected(rejection) => rejection.fmt(f),
            RefreshError::Fetch { path, source } => write!(f, "{path}: not fetched: {source}"),
            RefreshError::Absent { path } => {
                write!(
                    f,
                    "{path}: the server does not have it; check the URL, or publish the repository again"
                )
            }
            RefreshError::Unasked { path } => {
                write!(
                    f,
                    "{path}: the server answers \"unchanged\" for a file that is not here; correct the server or its cache"
                )
            }
            RefreshError::RootRollback { trusted, got } => write!(
                f,
                "root.json: this device trusted version {trusted} before, and the newest one that is offered is {got}: an older state is served; restore the repository's newest root"
            ),
            RefreshError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RefreshError {}

#[cfg(test)]
mod tests;
