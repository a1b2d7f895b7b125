//! The trusted metadata of this device: where it is kept, where it comes from, and which Targets it names.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::AgentError;
use super::bundle::Bundle;
use super::refresh::{Fetch, FetchError, Fetched, Persist, Refresh, RefreshError, load, restore};
use super::roots::start;
use crate::cli::exit;
use crate::config::{Metadata, Settings};
use crate::decide::Target;
use crate::gateway::Http;
use crate::store::{StoreError, atomic};
use crate::tuf::{Class, Limits, Profile, Request, TargetInfo, Time, TrustedMetadata};

const TIMESTAMP: &str = "timestamp.json";

/// Brings the trusted metadata up to date and gives the Targets that it names, and what is new in words.
pub fn refresh(
    settings: &Settings,
    fetch: &mut dyn Fetch,
    now: i64,
) -> Result<(Vec<Target>, Option<String>), AgentError> {
    let mut folder = Folder::of(settings);
    let mut trusted = start(settings, &mut folder, profile(settings), Limits::default())?;
    let root = trusted.root().role.header.version;
    let changes = Refresh::new(&mut trusted, fetch, &mut folder, Time(now)).refresh()?;
    if changes.timestamp {
        mark_taken(settings, now);
    }
    let news = (changes.targets || changes.roots > 0).then(|| versions(&trusted, root));
    Ok((targets(&trusted), news))
}

fn versions(trusted: &TrustedMetadata, root_before: u64) -> String {
    let root = trusted.root().role.header.version;
    let mut text =
        if root == root_before { format!("root: {root}") } else { format!("root: {root_before} -> {root}") };
    let roles = [
        ("timestamp", trusted.timestamp().map(|d| d.role.header.version)),
        ("snapshot", trusted.snapshot().map(|d| d.role.header.version)),
        ("targets", trusted.top_targets().map(|d| d.role.header.version)),
    ];
    for (role, version) in roles {
        text.extend(version.map(|v| format!("; {role}: {v}")));
    }
    text
}

/// The Targets of the last check, verified again as if they had just come.
pub fn stored(settings: &Settings, now: i64) -> Result<Vec<Target>, AgentError> {
    let mut folder = Folder::of(settings);
    if folder.read("targets.json")?.is_none() {
        return Err(AgentError::NotChecked);
    }
    let mut trusted = load(&mut folder, profile(settings), Limits::default())?;
    restore(&mut trusted, &mut folder, Time(now))?;
    Ok(targets(&trusted))
}

/// What the stored metadata says, expired or not: its Targets, and each role's version and expiry. For a person.
pub fn overview(settings: &Settings) -> (Vec<Target>, Vec<(&'static str, u64, Time)>) {
    let mut folder = Folder::of(settings);
    let Ok(mut trusted) = load(&mut folder, profile(settings), Limits::default()) else {
        return Default::default();
    };
    // What is damaged is not shown; that it is damaged is said where it is used.
    let _ = restore(&mut trusted, &mut folder, Time(0));
    let roles = [
        ("root", Some(trusted.root().role.header)),
        ("timestamp", trusted.timestamp().map(|d| d.role.header)),
        ("snapshot", trusted.snapshot().map(|d| d.role.header)),
        ("targets", trusted.top_targets().map(|d| d.role.header)),
    ];
    let roles = roles.into_iter().filter_map(|(name, header)| header.map(|h| (name, h.version, h.expires)));
    (targets(&trusted), roles.collect())
}

/// Those of the Targets that an offline update is for and has the content of, by the keys of the trusted root.
pub fn in_bundle(
    settings: &Settings,
    bundle: &Bundle,
    offered: Vec<Target>,
    now: i64,
) -> Result<Vec<Target>, AgentError> {
    let trusted = load(&mut Folder::of(settings), profile(settings), Limits::default())?;
    let signers = &trusted.root().role.targets;
    Ok(bundle.restrict(settings, signers, profile(settings), Time(now), offered)?)
}

/// The Targets of the last check, only to call things by their names: signed, but perhaps expired, perhaps none.
pub fn names(settings: &Settings) -> Vec<Target> {
    stored(settings, 0).unwrap_or_default()
}

/// When the newest timestamp was taken: it had not expired then, so this is no later than its expiry, and no clock
/// that shows less is right. 0 where none is stored.
pub fn floor(settings: &Settings) -> i64 {
    let path = settings.state.join("trust").join(TIMESTAMP);
    let taken = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
    let taken = taken.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64);
    // A file's time is no signed fact: copying can change it. So it is never more than what was signed.
    let Some(expires) = std::fs::read(&path).ok().and_then(|bytes| expiry(&bytes)) else { return 0 };
    taken.min(expires.0 - 1)
}

fn expiry(bytes: &[u8]) -> Option<Time> {
    let file: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Time::parse(file["signed"]["expires"].as_str()?)
}

/// A file that was written by a clock that is behind bears the time that was known to be right.
fn mark_taken(settings: &Settings, now: i64) {
    let path = settings.state.join("trust").join(TIMESTAMP);
    let time = UNIX_EPOCH + Duration::from_secs(now.unsigned_abs());
    let late = std::fs::metadata(&path).and_then(|m| m.modified()).is_ok_and(|t| t < time);
    let marked = if late { std::fs::File::open(&path).and_then(|f| f.set_modified(time)) } else { Ok(()) };
    if let Err(error) = marked {
        log::debug!("{}: its time stays: {error}", path.display());
    }
}

fn profile(settings: &Settings) -> Profile {
    match settings.metadata {
        Metadata::Ats => Profile::Ats,
        Metadata::Tuf => Profile::Tuf,
    }
}

fn targets(trusted: &TrustedMetadata) -> Vec<Target> {
    let read = |(name, t): (&str, &TargetInfo)| {
        Target::from_entry(name, t.hashes.sha256_hex().as_deref(), t.custom.as_deref())
    };
    trusted.targets().filter_map(read).collect()
}

/// `<state>/trust`: each role as the bytes that came.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    fn of(settings: &Settings) -> Folder {
        Folder(settings.state.join("trust"))
    }
}

impl Persist for Folder {
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        atomic::read(&self.0.join(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        atomic::write(&self.0.join(name), bytes)
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        atomic::remove(&self.0.join(name))
    }

    fn set_aside(&mut self, name: &str, reason: &str) -> Result<(), StoreError> {
        match atomic::set_aside(&self.0.join(name), reason.to_string()) {
            error @ StoreError::Damaged { .. } => {
                log::warn!("{error}");
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// The metadata below `uptane.repo_server`.
pub(crate) struct Server {
    pub(crate) http: Http,
    pub(crate) base: String,
}

impl Fetch for Server {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        let url = format!("{}/{}", self.base, request.path);
        let reply = self.http.get(&url, request.limit)?;
        match reply.status {
            200 => Ok(Fetched::Body(reply.body)),
            304 => Ok(Fetched::NotModified),
            403 | 404 => Ok(Fetched::Absent),
            status => Err(format!("{url}: the server answered {status}").into()),
        }
    }
}

/// The exit code of a refresh that failed.
pub fn exit_code(error: &RefreshError) -> u8 {
    match error {
        RefreshError::Rejected(rejection) => match rejection.reason.class() {
            Class::Expired => exit::EXPIRED,
            _ => exit::SECURITY,
        },
        RefreshError::Fetch { .. } | RefreshError::Absent { .. } => exit::FETCH_FAILED,
        _ => exit::CHECK_FAILED,
    }
}
