//! This device's connections: one client, and what it says of itself with each request.

use crate::config::{ConfigError, Settings};
use crate::decide::{Facts, Target};
use crate::gateway::{Http, HttpSettings, headers};
use crate::payload::apps::Proxy;
use crate::store::TargetRecord;

use super::AgentError;

/// The name of what runs on a device that nobody has updated yet.
pub const INITIAL_TARGET: &str = "Initial Target";

/// The connections of one command or one poll. All requests share them.
#[derive(Debug)]
pub struct Link<'a> {
    settings: &'a Settings,
    http: Http,
    current: Option<TargetRecord>,
    commit: String,
    apps: String,
}

impl<'a> Link<'a> {
    /// Connects to nothing. `names` are Targets to look the current one's apps up in.
    pub fn new(
        settings: &'a Settings,
        http: Http,
        facts: &Facts,
        names: &[Target],
    ) -> Result<Link<'a>, AgentError> {
        let commit = facts.booted.clone().unwrap_or_default();
        Ok(Link {
            settings,
            http,
            apps: enabled_apps(settings, facts, names),
            current: facts.current.clone(),
            commit,
        })
    }

    /// The Target that runs.
    pub fn current(&self) -> Option<&TargetRecord> {
        self.current.as_ref()
    }

    /// For registries of apps. They are other people's: the device's certificate and what it says of itself stay here.
    pub fn registries(&self) -> Result<Http, AgentError> {
        Ok(Http::new(&HttpSettings {
            ca: self.settings.apps.registry_ca.clone().or_else(|| self.settings.authorities()),
            ..HttpSettings::of(&self.settings.network)
        })?)
    }

    /// A place that has what all registries have, whose address is asked for here. It is one of the device's own servers; the
    /// token in the address, and no certificate, opens it.
    pub fn blobs_by(&self, ask: &str) -> Result<Proxy, AgentError> {
        let network = &self.settings.network;
        let ca = self.settings.authorities();
        let blobs = Http::new(&HttpSettings { ca, ..HttpSettings::of(network) })?;
        Ok(Proxy::new(self.ats(&self.settings.tags.join(",")), ask, blobs))
    }

    /// Who gives a login for a registry, and where: beside `uptane.repo_server`, as aktualizr-lite derives it.
    pub fn credentials(&self) -> Option<(Http, String)> {
        let server = self.settings.repo_server.as_deref()?;
        let (base, _) = server.rsplit_once('/')?;
        Some((self.ats(&self.settings.tags.join(",")), format!("{base}/hub-creds/")))
    }

    fn ats(&self, tags: &str) -> Http {
        let target = self.current.as_ref().map_or(INITIAL_TARGET, |t| t.name.as_str());
        self.http.with_headers(headers::ats(target, &self.commit, &self.apps, tags))
    }

    /// For `uptane.repo_server`: of the tags the first, since a server keeps one set of Targets for each tag.
    pub fn metadata(&self) -> Http {
        self.ats(self.settings.tags.first().map_or("", String::as_str))
    }

    /// For `tls.server`; none where it is not set.
    pub fn gateway(&self) -> Option<(Http, &str)> {
        Some((self.ats(&self.settings.tags.join(",")), self.settings.server.as_deref()?))
    }

    /// For `pacman.ostree_server`, for the content of a Target.
    pub fn content(&self, target: &str) -> Result<(Http, &str), AgentError> {
        let server = self.settings.ostree_server.as_deref();
        let server = server.ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where updates come from",
        }))?;
        Ok((self.http.with_headers(headers::correlation(target)), server))
    }
}

/// Names of the current Target's enabled apps, where this device runs apps at all.
fn enabled_apps(settings: &Settings, facts: &Facts, names: &[Target]) -> String {
    let Some(current) = facts.current.as_ref().filter(|_| settings.compose) else { return String::new() };
    let target = names.iter().find(|t| t.name == current.name && t.commit == current.commit);
    let apps = target.map(|t| t.apps.keys().filter(|a| settings.enables(a)).cloned().collect::<Vec<_>>());
    apps.unwrap_or_default().join(",")
}
