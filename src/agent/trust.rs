//! The trusted metadata of this device: where it is kept, where it comes from, and which Targets it names.

use std::path::PathBuf;

use super::AgentError;
use super::bundle::Bundle;
use super::refresh::{Fetch, FetchError, Fetched, Persist, Refresh, RefreshError, init, load, restore};
use crate::cli::exit;
use crate::config::{Metadata, Settings};
use crate::decide::Target;
use crate::gateway::Http;
use crate::store::{StoreError, atomic};
use crate::tuf::{Class, Limits, Profile, Request, TargetInfo, Time, TrustedMetadata};

/// Brings the trusted metadata up to date and gives the Targets that it names, and what is new in words.
pub fn refresh(
    settings: &Settings,
    fetch: &mut dyn Fetch,
    now: i64,
) -> Result<(Vec<Target>, Option<String>), AgentError> {
    let mut folder = Folder::of(settings);
    let mut trusted = start(settings, &mut folder)?;
    let root = trusted.root().role.header.version;
    let changes = Refresh::new(&mut trusted, fetch, &mut folder, Time(now)).refresh()?;
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

/// The stored root, or on the first run the one that the image ships. There is no trust on first use.
fn start(settings: &Settings, folder: &mut Folder) -> Result<TrustedMetadata, AgentError> {
    if folder.read("root.json")?.is_some() {
        return Ok(load(folder, profile(settings), Limits::default())?);
    }
    let shipped = atomic::read(&settings.root)?;
    let shipped = shipped.ok_or_else(|| AgentError::NoRoot { path: settings.root.clone() })?;
    Ok(init(folder, shipped, profile(settings), Limits::default())?)
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
