//! The cycle: check, download, install, finalize. The only room that drives the others.

mod content;
pub mod daemon;
mod error;
mod finalize;
mod outcome;
mod progress;
pub mod refresh;
pub(crate) mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use content::Transfer;
pub use error::AgentError;
pub use outcome::Outcome;
pub use progress::Progress;

use crate::boot::{BootState, Bootloader, bootloader};
use crate::config::Settings;
use crate::decide::{Facts, Plan, Request, Target, decide, reason, visible};
use crate::store::{Installed, Lock, Pending, atomic};
use content::Content;

/// This release is from then: no clock that shows less is right.
const RELEASED: i64 = 1_795_478_400;

/// A device's client. Looking needs no lock; working does.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    bootloader: Box<dyn Bootloader>,
    stop: Arc<AtomicBool>,
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
}

/// What `status` tells.
#[derive(Debug)]
pub struct Status {
    /// What this device is and remembers.
    pub facts: Facts,
    /// Name of the rollback mode.
    pub bootloader: &'static str,
    /// What the bootloader keeps.
    pub boot: BootState,
    /// Why that could not be read.
    pub boot_problem: Option<String>,
}

impl Agent {
    /// Makes a client from settings; touches nothing.
    pub fn new(settings: Settings) -> Agent {
        Agent { bootloader: bootloader(&settings), settings, stop: Arc::default() }
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends a transfer soon after it is set.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether it was told to stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes the lock; says who holds it otherwise.
    pub fn locked(&self, command: &str) -> Result<Working<'_>, AgentError> {
        let holder = format!("rust-ota {command}");
        Ok(Working { agent: self, _lock: Lock::take(&self.settings.lock, &holder)? })
    }

    /// What the metadata of the last check offers.
    pub fn stored(&self) -> Result<Found, AgentError> {
        let offered = trust::stored(&self.settings, self.now()?)?;
        self.found(&offered, Request::Latest)
    }

    /// What a download would fetch, in a sentence; fetches only what describes it.
    pub fn plan_download(&self, request: Request<'_>) -> Result<String, AgentError> {
        let offered = trust::stored(&self.settings, self.now()?)?;
        let found = self.found(&offered, request)?;
        match found.plan {
            Plan::Stay(_) => Ok(found.reason),
            Plan::Update(target) => {
                let needed = self.content()?.plan(self, &target.commit)?;
                Ok(format!("{}: {needed}", found.reason))
            }
        }
    }

    /// What runs, is pending, and is known to be bad.
    pub fn status(&self) -> Result<Status, AgentError> {
        // Old metadata is good enough to call things by their names; none is no reason to say nothing.
        let facts = self.facts(&trust::names(&self.settings))?;
        let (boot, boot_problem) = match self.bootloader.state() {
            Ok(state) => (state, None),
            Err(error) => (BootState::default(), Some(error.to_string())),
        };
        Ok(Status { facts, bootloader: self.bootloader.name(), boot, boot_problem })
    }

    fn facts(&self, offered: &[Target]) -> Result<Facts, AgentError> {
        let mut facts = Facts {
            hardware_id: self.settings.hardware_id.clone(),
            tags: self.settings.tags.clone(),
            booted: self.content()?.current_commit()?,
            current: None,
            installed: Installed::load(&self.settings.state)?,
        };
        facts.recognise(offered);
        Ok(facts)
    }

    fn found(&self, offered: &[Target], request: Request<'_>) -> Result<Found, AgentError> {
        let facts = self.facts(offered)?;
        let plan = decide(&facts, offered, request);
        let reason = reason(&facts, &plan);
        let visible = visible(&facts, offered).into_iter().cloned().collect();
        Ok(Found { facts, visible, plan, reason })
    }

    fn content(&self) -> Result<Content, AgentError> {
        Content::open(&self.settings)
    }

    /// Unix seconds, never before this release or the newest metadata that was trusted (a device may have no clock).
    fn now(&self) -> Result<i64, AgentError> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        Ok(clock.max(RELEASED))
    }
}

impl Working<'_> {
    /// Refreshes the trusted metadata and decides.
    pub fn check(&self) -> Result<Found, AgentError> {
        let offered = trust::refresh(&self.agent.settings, self.agent.now()?)?;
        self.agent.found(&offered, Request::Latest)
    }

    /// Carries out one stage.
    pub fn step(
        &self,
        step: Step,
        request: Request<'_>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<Outcome, AgentError> {
        let now = self.agent.now()?;
        let offered = match step {
            Step::Update => trust::refresh(&self.agent.settings, now)?,
            Step::Download | Step::Install => trust::stored(&self.agent.settings, now)?,
        };
        let found = self.agent.found(&offered, request)?;
        let target = match found.plan {
            Plan::Stay(plan) => return Ok(Outcome::Stayed { plan, reason: found.reason }),
            Plan::Update(target) => target,
        };
        log::info!("{}", found.reason);
        let content = self.agent.content()?;
        if step != Step::Install {
            content.fetch(self.agent, &target.commit, progress)?;
        }
        match step {
            Step::Download => Ok(Outcome::Downloaded(target.record())),
            Step::Install | Step::Update => self.deploy(&content, &target, now),
        }
    }

    /// Forgets known-bad Targets; gives how many.
    pub fn clear_failed(&self, name: Option<&str>) -> Result<usize, AgentError> {
        let mut installed = Installed::load(&self.agent.settings.state)?;
        let before = installed.known_bad.len();
        installed.known_bad.retain(|b| name.is_some_and(|n| n != b.target.name));
        let cleared = before - installed.known_bad.len();
        if cleared > 0 {
            installed.save(&self.agent.settings.state)?;
        }
        Ok(cleared)
    }

    /// In this order, so that a power cut between any two steps is told apart after the boot: pending without a
    /// deployment was cut; pending with one was tried.
    fn deploy(&self, content: &Content, target: &Target, now: i64) -> Result<Outcome, AgentError> {
        let state = &self.agent.settings.state;
        content.must_have(target)?;
        let mut installed = Installed::load(state)?;
        installed.current = self.agent.facts(&trust::names(&self.agent.settings))?.current;
        let correlation_id = format!("{}-{}", target.version, random_id());
        installed.pending = Some(Pending { target: target.record(), since: now, correlation_id });
        installed.save(state)?;
        self.agent.bootloader.arm()?;
        content.deploy(target)?;
        atomic::write(&self.agent.settings.reboot_sentinel, b"")?;
        Ok(Outcome::Installed(target.record()))
    }
}

/// Unique enough to tell two updates apart; the kernel's own generator.
fn random_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_string()
}
