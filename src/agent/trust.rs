//! The trusted metadata of this device: where it is kept, where it comes from, and which Targets it names.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::AgentError;
use super::bundle::Bundle;
use super::memory::Memory;
use super::refresh::{
    Fetch, FetchError, Fetched, Persist, Refresh, RefreshError, load, restore, restore_tagged,
};
use super::roots::start;
use crate::cli::exit;
use crate::config::{Metadata, Settings};
use crate::decide::Target;
use crate::gateway::{Http, HttpError};
use crate::store::{Etag, StoreError, atomic};
use crate::tuf::{Class, Header, Limits, Profile, Request, TargetInfo, Time, TrustedMetadata};

const TIMESTAMP: &str = "timestamp.json";

/// Brings the trusted metadata up to date and gives the Targets that it names, and what is new in words.
pub fn refresh(
    settings: &Settings,
    memory: &Memory,
    fetch: &mut dyn Fetch,
    now: i64,
) -> Result<(Vec<Target>, Option<String>), AgentError> {
    let mut folder = Folder::of(settings);
    let kept = memory.take(&folder.0);
    let mut trusted = start(settings, &mut folder, kept, profile(settings), Limits::default())?;
    let root = trusted.root().role.header.version;
    let mut run = Refresh::new(&mut trusted, fetch, &mut folder, Time(now));
    let changes = run.refresh()?;
    let tagged = run.update_tagged(&settings.tags)?;
    if changes.timestamp {
        mark_taken(settings, now);
    }
    let news = (changes.targets || tagged || changes.roots > 0).then(|| versions(&trusted, root));
    let offered = targets(settings, &trusted, Time(now));
    memory.keep(&folder.0, trusted);
    Ok((offered, news))
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
    restore(&mut trusted, &mut folder, Time(now)).map_err(not_whole)?;
    match restore_tagged(&mut trusted, &mut folder, &settings.tags, Time(now)).map_err(not_whole)? {
        Some(_) => Err(AgentError::NotChecked),
        None => Ok(targets(settings, &trusted, Time(now))),
    }
}

/// What was stored is this device's own, and no fault of a server: the next check repairs it.
fn not_whole(error: RefreshError) -> AgentError {
    match error {
        RefreshError::Rejected(rejection) if rejection.reason.class() != Class::Expired => {
            log::warn!("the metadata that is stored on this device is not whole: {rejection}");
            AgentError::NotChecked
        }
        error => error.into(),
    }
}

/// What the stored metadata says, expired or not, for a person.
#[derive(Debug, Default)]
pub struct Overview {
    /// Its Targets.
    pub offered: Vec<Target>,
    /// What this client cannot use, and why.
    pub unusable: Vec<(String, String)>,
    /// Each role's version and expiry.
    pub roles: Vec<(String, u64, Time)>,
}

/// Reads it.
pub fn overview(settings: &Settings) -> Overview {
    let mut folder = Folder::of(settings);
    let Ok(mut trusted) = load(&mut folder, profile(settings), Limits::default()) else {
        return Default::default();
    };
    // What is damaged is not shown; that it is damaged is said where it is used.
    let _ = restore(&mut trusted, &mut folder, Time(0));
    let _ = restore_tagged(&mut trusted, &mut folder, &settings.tags, Time(0));
    let roles = [
        ("root", Some(trusted.root().role.header)),
        ("timestamp", trusted.timestamp().map(|d| d.role.header)),
        ("snapshot", trusted.snapshot().map(|d| d.role.header)),
        ("targets", trusted.top_targets().map(|d| d.role.header)),
    ];
    let tagged = trusted.tagged_roles(&settings.tags).unwrap_or_default();
    let tagged = tagged.iter().map(|name| (name.as_str(), trusted.targets_role(name).map(|d| d.role.header)));
    let roles = roles.into_iter().chain(tagged);
    let known =
        |(name, header): (&str, Option<Header>)| header.map(|h| (name.to_owned(), h.version, h.expires));
    Overview {
        offered: targets(settings, &trusted, Time(0)),
        unusable: unusable(&trusted),
        roles: roles.filter_map(known).collect(),
    }
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
pub fn names(settings: &Settings, memory: &Memory) -> Vec<Target> {
    let mut folder = Folder::of(settings);
    let trusted = memory.take(&folder.0).map_or_else(|| restored(settings, &mut folder), Ok);
    let Ok(trusted) = trusted else { return Vec::new() };
    let names = targets(settings, &trusted, Time(0));
    memory.keep(&folder.0, trusted);
    names
}

fn restored(settings: &Settings, folder: &mut Folder) -> Result<TrustedMetadata, RefreshError> {
    let mut trusted = load(folder, profile(settings), Limits::default())?;
    restore(&mut trusted, folder, Time(0))?;
    // Names are a help: those of the top-level role are better than none.
    let _ = restore_tagged(&mut trusted, folder, &settings.tags, Time(0));
    Ok(trusted)
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

/// The Targets of the top-level role, and those of the tags' roles that have a tag of their role.
fn targets(settings: &Settings, trusted: &TrustedMetadata, now: Time) -> Vec<Target> {
    let read = |name: &str, t: &TargetInfo| read(name, t).ok();
    let mut targets: Vec<Target> = trusted.targets().filter_map(|(name, t)| read(name, t)).collect();
    for (delegation, name, info) in trusted.tagged_targets(&settings.tags, now) {
        let target = read(name, info);
        // Who signs for one tag does not publish under another.
        targets.extend(target.filter(|t| t.tags.iter().any(|tag| delegation.tags.contains(tag))));
    }
    targets
}

/// Whether there is a root to start from; takes the image's where none is stored.
pub(super) fn anchor(settings: &Settings) -> Result<(), AgentError> {
    let mut folder = Folder::of(settings);
    super::roots::start(settings, &mut folder, None, profile(settings), Limits::default()).map(|_| ())
}

fn read(name: &str, info: &TargetInfo) -> Result<Target, String> {
    Target::from_entry(name, info.hashes.sha256_hex().as_deref(), info.custom.as_deref())
}

/// The Targets of the top-level role that this client cannot use, and why.
fn unusable(trusted: &TrustedMetadata) -> Vec<(String, String)> {
    let unread = trusted.top_targets().into_iter().flat_map(|document| &document.role.unread);
    let unread = unread.map(|(name, why)| (name.clone(), format!("it cannot be read: {why}")));
    let others =
        trusted.targets().filter_map(|(name, info)| Some((name.to_owned(), read(name, info).err()?)));
    unread.chain(others).collect()
}

/// `<state>/trust`: each role as the bytes that came.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(super) fn of(settings: &Settings) -> Folder {
        Folder(settings.state.join("trust"))
    }
}

impl Persist for Folder {
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.0.join(name);
        // A damaged file system can leave a folder where a file was.
        if path.is_dir() {
            return self.set_aside(name, "a folder is in its place").map(|()| None);
        }
        atomic::read(&path)
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

/// The same, asked only for what is new.
pub(super) struct Conditional {
    pub server: Server,
    pub etag: Etag,
}

impl Server {
    /// The reply, and the server's name for it.
    fn ask(&self, request: &Request, known: Option<&str>) -> Result<(Fetched, Option<String>), FetchError> {
        let url = format!("{}/{}", self.base, request.path);
        let reply = self.http.get_unless(&url, known, request.limit)?;
        let fetched = match reply.status {
            200 => Fetched::Body(reply.body),
            304 => Fetched::NotModified,
            403 | 404 => Fetched::Absent,
            301..=303 | 307 | 308 => return Err(Box::new(moved(url, reply.location.as_deref()))),
            status => return Err(Box::new(Answered { url, status, retry_after: reply.retry_after })),
        };
        Ok((fetched, reply.etag))
    }
}

impl Fetch for Server {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        Ok(self.ask(request, None)?.0)
    }
}

impl Fetch for Conditional {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        let known = self.etag.known(&request.path);
        let (fetched, etag) = self.server.ask(request, known.as_deref())?;
        self.etag.received(&request.path, etag);
        Ok(fetched)
    }

    fn kept(&mut self, path: &str, bytes: &[u8]) {
        self.etag.kept(path, bytes);
    }
}

fn moved(url: String, location: Option<&str>) -> HttpError {
    let reason = format!(
        "the server sends us to {}, and metadata is not redirected: is there a login page (captive portal) in this network? Else correct the server's address, or set network.redirect_metadata",
        location.unwrap_or("nowhere")
    );
    HttpError::Redirected { url, reason }
}

/// A status that says nothing about the file.
#[derive(Debug)]
struct Answered {
    url: String,
    status: u16,
    retry_after: Option<u64>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the server answered {}", self.url, self.status)?;
        let wish = self.retry_after.filter(|seconds| *seconds > 0);
        wish.map_or(Ok(()), |seconds| write!(f, " and wants to be left alone for {seconds} s"))
    }
}

impl std::error::Error for Answered {}

/// How long a server that refused wants to be left alone, where it said so.
pub fn retry_after(error: &AgentError) -> Option<Duration> {
    let AgentError::Trust(RefreshError::Fetch { source, .. }) = error else { return None };
    source.downcast_ref::<Answered>()?.retry_after.map(Duration::from_secs)
}

/// The exit code of a refresh that failed.
pub fn exit_code(error: &RefreshError) -> u8 {
    match error {
        RefreshError::Rejected(rejection) => match rejection.reason.class() {
            Class::Expired => exit::EXPIRED,
            _ => exit::SECURITY,
        },
        RefreshError::RootRollback { .. } => exit::SECURITY,
        RefreshError::Fetch { .. } | RefreshError::Absent { .. } => exit::FETCH_FAILED,
        _ => exit::CHECK_FAILED,
    }
}
