//! Carries out one Uptane cycle: the Director's metadata, the Image repository's, both against each other, and
//! then the download of what both agree on.
//!
//! The judging is in [`crate::uptane`] and [`crate::tuf`]. Here is the order of things and what is stored when.

use std::fmt;
use std::path::Path;

use super::refresh::{self, Fetch, Fetched, Persist, Refresh, RefreshError};
use crate::gateway::Http;
use crate::payload::file::{self, FileError};
use crate::store::StoreError;
use crate::tuf::{Limits, Profile, Reason, Request, Time, TrustedMetadata, quote_path};
use crate::uptane::{
    Assignment, Class, Directed, Ecu, Fault, Floor, Mode, Repository, Verified, assignments, cross_check,
    take_targets,
};

/// One of the two repositories: where it comes from and where its trusted metadata is kept.
pub struct Source<'s> {
    /// The server.
    pub fetch: &'s mut dyn Fetch,
    /// The folder.
    pub persist: &'s mut dyn Persist,
    /// Trust the first root on the server's word alone if none is stored. For debugging only: a device has
    /// its first roots from its image.
    pub trust_first_root: bool,
}

/// What both repositories agree on, for all ECUs at once: there is no such value if one Target is refused.
#[derive(Debug)]
pub struct Bundle<'e> {
    /// Whether the Director served a timestamp and a snapshot.
    pub mode: Mode,
    /// Version of the Director's targets.
    pub version: u64,
    /// What reports about this assignment are to carry.
    pub correlation_id: Option<String>,
    /// The Targets. None: nothing is assigned that does not run, and the Image repository was not asked.
    pub targets: Vec<Verified<'e>>,
    /// What is assigned and runs, if it was not asked for that reason: serial, and name of the Target.
    pub runs: Vec<(String, String)>,
}

/// Why a cycle failed. What was trusted before still is, and nothing unverified was kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum UptaneError {
    /// A rule was broken.
    Fault(Fault),
    /// Metadata did not come, or could not be stored.
    Refresh {
        /// Which of the two repositories.
        repository: Repository,
        /// What went wrong.
        error: RefreshError,
    },
    /// The content of a Target did not come, or is not what was signed.
    Download {
        /// The Target's name.
        target: String,
        /// What went wrong.
        error: FileError,
    },
}

/// Verifies everything, in the order of the standard. The time is fixed at the start.
pub fn verify<'e>(
    director: &mut Source<'_>,
    image: &mut Source<'_>,
    ecus: &'e [Ecu],
    now: Time,
) -> Result<Bundle<'e>, UptaneError> {
    verify_noting(director, image, ecus, now, &mut Noted { correlation_id: None, is_settled: &|_| false })
}

/// What goes along with a verification.
pub(crate) struct Noted<'n> {
    /// The correlation id, as soon as the Director's word is verified; the outer one is none before.
    pub correlation_id: Option<Option<String>>,
    /// Whether this assignment was reported as fulfilled. If it runs too, the Image repository has nothing to say about it.
    pub is_settled: &'n dyn Fn(Option<&str>) -> bool,
}

/// The same, and notes the correlation id as soon as the Director's word is verified, so that a report of what went
/// wrong after that can carry it.
pub(crate) fn verify_noting<'e>(
    director: &mut Source<'_>,
    image: &mut Source<'_>,
    ecus: &'e [Ecu],
    now: Time,
    noted: &mut Noted<'_>,
) -> Result<Bundle<'e>, UptaneError> {
    let (mode, directed) = ask_director(director, now)?;
    noted.correlation_id = Some(directed.correlation_id.clone());
    let wanted = assignments(&directed.targets, ecus)?;
    let version = directed.targets.header.version;
    let settled = (noted.is_settled)(directed.correlation_id.as_deref());
    let mut bundle = Bundle {
        mode,
        version,
        correlation_id: directed.correlation_id,
        targets: Vec::new(),
        runs: Vec::new(),
    };
    if settled && wanted.iter().all(Assignment::is_fulfilled) {
        let pairs =
            wanted.iter().flat_map(|a| a.ecus.iter().map(|ecu| (ecu.serial.clone(), a.target.clone())));
        bundle.runs = pairs.collect();
    } else if !wanted.is_empty() {
        bundle.targets = ask_image(image, &wanted, now)?;
    }
    Ok(bundle)
}

/// The root that this device trusts; every other one follows from it.
fn start(source: &mut Source<'_>, limits: Limits) -> Result<TrustedMetadata, RefreshError> {
    if !source.trust_first_root || source.persist.read("root.json")?.is_some() {
        return refresh::load(source.persist, Profile::Ats, limits);
    }
    let request = Request { path: "1.root.json".to_owned(), limit: limits.root_bytes };
    let root = get(source.fetch, &request)?;
    let trusted = TrustedMetadata::new(root.clone(), Profile::Ats, limits.clone())?;
    match trusted.root().role.header.version {
        1 => refresh::init(source.persist, root, Profile::Ats, limits),
        got => Err(Reason::RootVersion { expected: 1, got }.of(request.path).into()),
    }
}

fn ask_director(source: &mut Source<'_>, now: Time) -> Result<(Mode, Directed), UptaneError> {
    let fail = |error| UptaneError::refresh(Repository::Director, error);
    let mut trusted = start(source, limits(Repository::Director)).map_err(fail)?;
    let mut floor = read_floor(source.persist).map_err(|e| fail(e.into()))?;
    let mut run = Refresh::new(&mut trusted, source.fetch, source.persist, now);
    run.update_roots().map_err(fail)?;
    if floor.is_none() {
        floor = floor_of_stored(source.persist, &trusted).map_err(|e| fail(e.into()))?;
    }
    let mut run = Refresh::new(&mut trusted, source.fetch, source.persist, now);
    let mode = refresh_director(&mut run, floor.as_ref()).map_err(fail)?;
    // The snapshot says whether the stored targets are the newest; without one they have to be asked for.
    if mode == Mode::Full
        && let Some(bytes) = source.persist.read("targets.json").map_err(|e| fail(e.into()))?
        && let Ok(directed) = take_targets(&mut trusted, bytes, mode, floor.as_ref(), now)
    {
        store_floor(source.persist, &directed.floor, floor.as_ref()).map_err(|e| fail(e.into()))?;
        return Ok((mode, directed));
    }
    let request = match mode {
        Mode::Full => trusted.targets_request().map_err(|rejection| fail(rejection.into()))?,
        Mode::Reduced => Request { path: "targets.json".to_owned(), limit: trusted.limits().targets_bytes },
    };
    let bytes = get(source.fetch, &request).map_err(fail)?;
    let directed = take_targets(&mut trusted, bytes.clone(), mode, floor.as_ref(), now)?;
    // The floor first: a power cut between must not leave targets that nobody would miss.
    let stored = store_floor(source.persist, &directed.floor, floor.as_ref())
        .and_then(|()| store_targets(source.persist, &bytes));
    stored.map_err(|e| fail(e.into()))?;
    Ok((mode, directed))
}

/// Timestamp and snapshot where they are served, after the roots.
fn refresh_director(run: &mut Refresh<'_>, floor: Option<&Floor>) -> Result<Mode, RefreshError> {
    if run.trusted().root().role.timestamp.distinct_keys().is_empty() {
        return Ok(Mode::Reduced);
    }
    match run.update_timestamp() {
        Ok(_) => run.update_snapshot().map(|_| Mode::Full),
        // A Director that served one has to go on: who can drop a reply could take the freshness away.
        Err(RefreshError::Absent { .. })
            if run.trusted().timestamp().is_none() && !floor.is_some_and(Floor::is_full) =>
        {
            Ok(Mode::Reduced)
        }
        Err(error) => Err(error),
    }
}

const FLOOR: &str = "floor.json";

fn read_floor(persist: &mut dyn Persist) -> Result<Option<Floor>, StoreError> {
    let Some(bytes) = persist.read(FLOOR)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(floor) => Ok(Some(floor)),
        Err(error) => persist.set_aside(FLOOR, &error.to_string()).map(|()| None),
    }
}

/// Where the floor was damaged, what is stored is as good: it was accepted, and a Director that served the timestamp
/// that is there has to go on.
fn floor_of_stored(
    persist: &mut dyn Persist,
    trusted: &TrustedMetadata,
) -> Result<Option<Floor>, StoreError> {
    let Some(bytes) = persist.read("targets.json")? else { return Ok(None) };
    let full = persist.read("timestamp.json")?.is_some();
    let mode = if full { Mode::Full } else { Mode::Reduced };
    let floor = Floor::of_stored(trusted, &bytes, mode);
    floor.iter().try_for_each(|floor| store_floor(persist, floor, None))?;
    Ok(floor)
}

/// A poll with nothing new writes nothing.
fn store_floor(persist: &mut dyn Persist, floor: &Floor, old: Option<&Floor>) -> Result<(), StoreError> {
    if old == Some(floor) {
        return Ok(());
    }
    persist.write(FLOOR, &serde_json::to_vec(floor).unwrap_or_default())
}

fn store_targets(persist: &mut dyn Persist, bytes: &[u8]) -> Result<(), StoreError> {
    if persist.read("targets.json")?.as_deref() == Some(bytes) {
        return Ok(());
    }
    persist.write("targets.json", bytes)
}

fn ask_image<'e>(
    source: &mut Source<'_>,
    wanted: &[Assignment<'e>],
    now: Time,
) -> Result<Vec<Verified<'e>>, UptaneError> {
    let fail = |error| UptaneError::refresh(Repository::Image, error);
    let mut trusted = start(source, limits(Repository::Image)).map_err(fail)?;
    let mut run = Refresh::new(&mut trusted, source.fetch, source.persist, now);
    run.refresh().map_err(fail)?;
    let mut verified = Vec::new();
    for assignment in wanted {
        let found = run.find_target(&assignment.target).map_err(fail)?;
        verified.push(cross_check(assignment, found.as_ref().map(|(_, info)| info))?);
    }
    Ok(verified)
}

/// Fetches a Target's content and puts it at `path` once it is verified. A refused or partial file leaves nothing.
pub fn download(
    http: &Http,
    image_url: &str,
    verified: &Verified<'_>,
    path: &Path,
) -> Result<file::Fetched, UptaneError> {
    let url = content_url(image_url, &verified.target, verified.uri.as_deref());
    let fetched = file::fetch(http, &url, &verified.info, path);
    fetched.map_err(|error| UptaneError::Download { target: verified.target.clone(), error })
}

/// Where a Target's file is: at the URI that the metadata gives, or in the Image repository.
pub fn content_url(image_url: &str, target: &str, uri: Option<&str>) -> String {
    let own = || format!("{}/targets/{}", image_url.trim_end_matches('/'), quote_path(target));
    uri.map_or_else(own, str::to_owned)
}

/// A Director's targets name one vehicle's Targets, so they are short.
fn limits(repository: Repository) -> Limits {
    match repository {
        Repository::Director => Limits { targets_bytes: 1024 * 1024, ..Limits::default() },
        Repository::Image => Limits::default(),
    }
}

fn get(fetch: &mut dyn Fetch, request: &Request) -> Result<Vec<u8>, RefreshError> {
    let path = || request.path.clone();
    match fetch.fetch(request).map_err(|source| RefreshError::Fetch { path: path(), source })? {
        Fetched::Body(bytes) => Ok(bytes),
        Fetched::Absent => Err(RefreshError::Absent { path: path() }),
        Fetched::NotModified => Err(RefreshError::Unasked { path: path() }),
    }
}

impl UptaneError {
    /// The error class.
    pub fn class(&self) -> Class {
        match self {
            UptaneError::Fault(fault) => fault.class(),
            UptaneError::Refresh { error, .. } => refresh_class(error),
            UptaneError::Download { error, .. } => download_class(error),
        }
    }

    fn refresh(repository: Repository, error: RefreshError) -> UptaneError {
        match error {
            RefreshError::Rejected(rejection) => Fault::Rejected { repository, rejection }.into(),
            error => UptaneError::Refresh { repository, error },
        }
    }
}

fn refresh_class(error: &RefreshError) -> Class {
    match error {
        RefreshError::Rejected(rejection) => Class::of(rejection),
        RefreshError::Fetch { path, .. } | RefreshError::Absent { path } | RefreshError::Unasked { path } => {
            if path.starts_with("delegations/") {
                Class::DelegationMissing
            } else {
                Class::MetadataFetchFailure
            }
        }
        RefreshError::RootRollback { .. } => Class::SecurityException,
        RefreshError::NoRoot | RefreshError::Store(_) => Class::LocalFailure,
    }
}

fn download_class(error: &FileError) -> Class {
    match error {
        FileError::Length { expected, got, .. } if got > expected => Class::OversizedTarget,
        FileError::Length { .. } | FileError::Hash { .. } => Class::TargetHashMismatch,
        FileError::NoHash => Class::TargetMismatch,
        FileError::Http(_) | FileError::Status { .. } | FileError::Cut { .. } => Class::TargetFetchFailure,
        FileError::NoSpace { .. } | FileError::Store(_) => Class::LocalFailure,
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl From<Fault> for UptaneError {
    fn from(fault: Fault) -> UptaneError {
        UptaneError::Fault(fault)
    }
}

impl std::error::Error for UptaneError {}

impl fmt::Display for UptaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UptaneError::Fault(fault) => fault.fmt(f),
            UptaneError::Refresh { repository, error } => write!(f, "{repository}: {error}"),
            UptaneError::Download { target, error } => write!(f, "{target:?}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
