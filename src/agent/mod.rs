//! The cycle: check, download, install, finalize. The only room that drives the others.

mod apps;
mod bundle;
mod callback;
mod certificate;
mod content;
pub mod daemon;
mod deliver;
pub mod director;
mod error;
mod evidence;
mod exposed;
mod finalize;
mod firmware;
pub mod fitness;
mod last;
mod link;
mod memory;
mod outcome;
mod patience;
mod progress;
mod ready;
pub mod refresh;
mod report;
mod rollback;
mod root_floor;
mod roots;
mod takeover;
mod trial;
pub(crate) mod trust;
pub mod uptane;
mod working;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use apps::AppState;
pub use bundle::BundleError;
pub use content::Transfer;
pub use error::AgentError;
pub use evidence::Evidence;
#[cfg(test)]
pub(crate) use evidence::hidden;
pub use link::INITIAL_TARGET;
pub use outcome::{Back, Outcome};
pub use progress::{Progress, bytes};

use crate::boot::{BootState, Bootloader, bootloader, unused_record};
use crate::config::{ConfigError, Settings};
use crate::decide::{Facts, Plan, Policy, Request, Target, reason, visible};
use crate::gateway::device::{Device, device};
use crate::gateway::remotes::remotes;
use crate::payload::ostree::{FolderSource, HttpSource, ObjectSource, StatsFile};
use crate::store::{Etag, Installed, Last, Lock, Stage, TargetRecord, atomic};
use bundle::Bundle;
use callback::Callback;
use content::{Content, SignedDeltas};
use link::Link;
pub(crate) use memory::Memory;
use refresh::Fetch;

/// This release is from then: no clock that shows less is right.
const RELEASED: i64 = 1_795_478_400;

/// A device's client. Looking needs no lock; working does.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    bootloader: Box<dyn Bootloader>,
    callback: Callback,
    policy: Policy,
    bundle: Option<Bundle>,
    delay_apps: bool,
    stop: Arc<AtomicBool>,
    memory: Memory,
    report_hardware: Cell<bool>,
    hardware: Option<String>,
    /// Of the configuration, where a command works with any.
    passed_over: Vec<String>,
}

/// The right to change the device, held by one process at a time.
#[derive(Debug)]
pub struct Working<'a> {
    agent: &'a Agent,
    _lock: Lock,
}

/// The stages that bring a Target onto the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fetch its content.
    Download,
    /// Deploy it.
    Install,
    /// Check, fetch and deploy.
    Update,
}

impl Step {
    fn first_stage(self) -> Stage {
        match self {
            Step::Download => Stage::Download,
            Step::Install => Stage::Install,
            Step::Update => Stage::Check,
        }
    }

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Step::Download => "download",
            Step::Install => "install",
            Step::Update => "update",
        }
    }
}

/// What metadata offers and what is decided about it.
#[derive(Debug)]
pub struct Found {
    /// What this device is.
    pub facts: Facts,
    /// The Targets that it may see, oldest first.
    pub visible: Vec<Target>,
    /// What would be done.
    pub plan: Plan,
    /// Why.
    pub reason: String,
    /// Where the plan is about the apps of what runs only: the name of each, and why.
    pub sync: Vec<(String, String)>,
}

/// What `status` tells.
#[derive(Debug)]
pub struct Status {
    /// What this device is and remembers.
    pub facts: Facts,
    /// Compose apps of the Target that runs, where the metadata still names it: name to URI.
    pub apps: BTreeMap<String, String>,
    /// The apps that were started here, with their states.
    pub app_states: Vec<AppState>,
    /// Name of the rollback mode.
    pub bootloader: &'static str,
    /// What the bootloader keeps.
    pub boot: BootState,
    /// Why that could not be read.
    pub boot_problem: Option<String>,
    /// Why this boot is not confirmed by this client.
    pub lacks: Vec<String>,
    /// When the device's certificate ends to be valid.
    pub certificate_end: Option<crate::tuf::Time>,
    /// What to say of it.
    pub certificate_warning: Option<String>,
    /// What a person should change.
    pub warnings: Vec<String>,
    /// What happened last.
    pub last: Option<Last>,
}

impl Agent {
    /// Makes a client from settings; touches nothing.
    pub fn new(settings: Settings) -> Agent {
        if let Some(warning) = settings.network.warning() {
            log::warn!("{warning}");
        }
        Agent {
            bootloader: bootloader(&settings),
            callback: Callback::new(&settings),
            policy: Policy::Native,
            bundle: None,
            delay_apps: false,
            stop: Arc::default(),
            memory: Memory::default(),
            report_hardware: Cell::new(false),
            hardware: None,
            passed_over: Vec::new(),
            settings,
        }
    }

    /// The same client by other rules.
    pub fn with_policy(self, policy: Policy) -> Agent {
        Agent { policy, ..self }
    }

    /// The same client with an offline update in place of the servers: a folder with `tuf/` and `ostree_repo/`.
    pub fn with_bundle(self, bundle: Option<PathBuf>) -> Agent {
        Agent { bundle: bundle.map(Bundle), ..self }
    }

    /// The same client, which tells this in place of what `lshw` finds.
    pub fn with_hardware(self, hardware: Option<String>) -> Agent {
        Agent { hardware, ..self }
    }

    /// The same client, with what of its configuration could not be used.
    pub fn with_passed_over(self, passed_over: Vec<String>) -> Agent {
        Agent { passed_over, ..self }
    }

    /// The server is told this device's hardware at the next check. It takes seconds to find out.
    pub fn report_hardware(&self) {
        self.report_hardware.set(true);
    }

    /// The same client, which leaves the start of apps to `finalize`.
    pub fn with_delayed_apps(self, delay_apps: bool) -> Agent {
        Agent { delay_apps, ..self }
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends a transfer soon after it is set.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// A first Ctrl-C or SIGTERM ends a transfer soon, and what was fetched is kept; a second one ends the program. A
    /// deployment that is being written is finished.
    pub fn stop_on_signals(&self) -> Result<(), AgentError> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_default(signal, self.stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, self.stop.clone()))
                .map_err(AgentError::Signals)?;
        }
        Ok(())
    }

    /// Whether it was told to stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes the lock; says who holds it otherwise.
    pub fn locked(&self, command: &str) -> Result<Working<'_>, AgentError> {
        let holder = format!("rust-ota {command}");
        let working = Working { agent: self, _lock: Lock::take(&self.settings.lock, &holder)? };
        working.take_over()?;
        Ok(working)
    }

    /// What the metadata of the last check offers.
    pub fn stored(&self, request: Request<'_>) -> Result<Found, AgentError> {
        let offered = trust::stored(&self.settings, self.now()?)?;
        self.found(&offered, request)
    }

    /// What a download would fetch, in a sentence; fetches only what describes it.
    pub fn plan_download(&self, request: Request<'_>) -> Result<String, AgentError> {
        let offered = trust::stored(&self.settings, self.now()?)?;
        let found = self.found(&offered, request)?;
        match found.plan {
            Plan::Stay(_) => Ok(found.reason),
            Plan::Update(target) => {
                let link = self.link()?;
                let source = self.source(&link, &target.name)?;
                let needed = self.content()?.plan(self, source.as_ref(), &target.commit)?;
                Ok(format!("{}: {needed}", found.reason))
            }
        }
    }

    /// What runs, is pending, and is known to be bad.
    pub fn status(&self) -> Result<Status, AgentError> {
        // Old metadata is good enough to call things by their names; none is no reason to say nothing.
        let names = self.names();
        let facts = self.facts(&names)?;
        let (boot, boot_problem) = match self.bootloader.state() {
            Ok(state) => {
                let unsaved = self.bootloader.ready().err().map(|error| error.to_string());
                (state, unsaved.or_else(|| unused_record(&self.settings)))
            }
            Err(error) => (BootState::default(), Some(error.to_string())),
        };
        let current = facts.current.as_ref();
        let known = current.and_then(|c| names.iter().find(|t| t.name == c.name));
        let apps = known.map(|t| t.apps.clone()).unwrap_or_default();
        let app_states = self.app_states(&apps::apps_now(&facts));
        Ok(Status {
            facts,
            apps,
            app_states,
            bootloader: self.bootloader.name(),
            lacks: self.lacks(&boot),
            boot,
            boot_problem,
            certificate_end: self.certificate_end(),
            certificate_warning: self.certificate_warning(),
            warnings: self.warnings(),
            last: self.last(),
        })
    }

    fn facts(&self, offered: &[Target]) -> Result<Facts, AgentError> {
        let mut facts = Facts {
            hardware_id: self.settings.hardware_id.clone(),
            tags: self.settings.tags.clone(),
            booted: match self.settings.primary_is_file() {
                true => None,
                false => self.content()?.current_commit()?,
            },
            current: None,
            installed: Installed::load(&self.settings.state)?,
        };
        facts.recognise(offered);
        Ok(facts)
    }

    fn found(&self, offered: &[Target], request: Request<'_>) -> Result<Found, AgentError> {
        let facts = self.facts(offered)?;
        let plan = self.policy.decide(&facts, offered, request);
        let reason = reason(&facts, &plan);
        let visible = visible(&facts, offered).into_iter().cloned().collect();
        let mut found = Found { facts, visible, plan, reason, sync: Vec::new() };
        self.consider_apps(&mut found, request);
        Ok(found)
    }

    fn content(&self) -> Result<Content, AgentError> {
        Content::open(&self.settings)
    }

    /// The server's record of this device, or why there is none.
    pub fn device(&self) -> Result<Device, String> {
        let link = self.link().map_err(|e| e.to_string())?;
        let (http, server) = link.gateway().ok_or("tls.server is not set")?;
        device(&http, server)
    }

    fn link(&self) -> Result<Link<'_>, AgentError> {
        self.warn_of_certificate();
        let names = self.names();
        Link::new(&self.settings, self.memory.http(&self.settings)?, &self.facts(&names)?, &names)
    }

    /// Where metadata comes from.
    fn metadata(&self, link: &Link<'_>) -> Result<Box<dyn Fetch>, AgentError> {
        if let Some(bundle) = &self.bundle {
            return Ok(Box::new(bundle.metadata()));
        }
        let base = self.settings.repo_server.clone().ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where updates come from",
        }))?;
        let etag = Etag::of(&self.settings.state);
        let server = trust::Server { http: link.metadata(), base };
        Ok(Box::new(trust::Conditional { server, etag }))
    }

    /// From a folder: what it is for. From a server: everything.
    fn restricted(&self, offered: Vec<Target>) -> Result<Vec<Target>, AgentError> {
        match &self.bundle {
            Some(bundle) => trust::in_bundle(&self.settings, bundle, offered, self.now()?),
            None => Ok(offered),
        }
    }

    /// What the signed metadata say of static deltas to a Target that is fetched from a server.
    fn signed_deltas(&self, target: &TargetRecord) -> SignedDeltas {
        if self.bundle.is_some() || !self.settings.static_deltas {
            return SignedDeltas::default();
        }
        let named = self.names().into_iter().find(|t| t.name == target.name && t.commit == target.commit);
        let Some(named) = named else { return SignedDeltas::default() };
        let stats = named.delta_stats.map(|(sha256, size)| StatsFile { sha256, size });
        SignedDeltas { deltas: named.deltas, stats }
    }

    /// The Targets of the last check, only to call things by their names.
    fn names(&self) -> Vec<Target> {
        trust::names(&self.settings, &self.memory)
    }

    /// Where else the content of a Target is, in the order in which to ask. By aktualizr-lite's rules: a server of
    /// another kind is not asked for what it does not have.
    fn other_sources(&self, link: &Link<'_>, target: &str) -> Vec<Box<dyn ObjectSource>> {
        if self.policy == Policy::Native || self.bundle.is_some() {
            return Vec::new();
        }
        let Ok((http, server)) = link.content(target) else { return Vec::new() };
        let mut sources: Vec<Box<dyn ObjectSource>> = Vec::new();
        for remote in remotes(&http, server) {
            match remote.http(self.settings.authorities(), self.settings.pull_jobs) {
                Ok(http) => sources.push(Box::new(HttpSource::new(http, &remote.url))),
                Err(error) => log::warn!("{}: {error}", remote.url),
            }
        }
        sources
    }

    /// Where the content of a Target comes from.
    fn source(&self, link: &Link<'_>, target: &str) -> Result<Box<dyn ObjectSource>, AgentError> {
        if let Some(bundle) = &self.bundle {
            return Ok(Box::new(FolderSource::new(bundle.repository())));
        }
        let (http, server) = link.content(target)?;
        Ok(Box::new(HttpSource::new(http, server)))
    }

    /// Unix seconds, never before this release or the newest metadata that was trusted (a device may have no clock).
    fn now(&self) -> Result<i64, AgentError> {
        Ok(clock().max(RELEASED).max(trust::floor(&self.settings)))
    }
}

/// The system's clock in Unix seconds.
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

/// Unique enough to tell two updates apart; the kernel's own generator.
fn random_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_string()
}
