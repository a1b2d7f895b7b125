//! A device that is what its Director says: check, download, install, finalize, report. Each mode takes the lock, goes
//! on from what is on disk, and leaves there what the next one needs.

mod campaign;
pub(super) mod credential;
mod cycle;
mod files;
mod look;
mod primary;
mod provision;
mod report;
mod runs_already;
mod secondaries;
mod session;
pub(super) mod trust;
mod withdrawn;

use super::daemon::{self, Turn, notify};
use super::uptane::UptaneError;
use super::{Agent, AgentError, Progress, Transfer};
use crate::cli::exit;
use crate::payload::file::FileError;
use crate::store::{ReportCounter, Stage, TargetRecord};
use crate::uptane::Class;
pub use look::{Assignment, assigned, roles};
pub use primary::known_file;
use primary::ostree_ecu;
pub use secondaries::{Known, known};
use session::Session;
pub(super) use trust::prepare as anchor;

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Ask what is assigned.
    Check,
    /// Fetch it.
    Download,
    /// Deploy it.
    Install,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is assigned that does not run already.
    NoUpdate,
    /// What is assigned failed here before.
    Failed(TargetRecord),
    /// This is assigned.
    Available(TargetRecord),
    /// Its content is here.
    Downloaded(TargetRecord),
    /// Deployed; a reboot is needed.
    Installed(TargetRecord),
    /// Deployed earlier; the reboot has not happened.
    Awaiting(TargetRecord),
    /// Files of ECUs are in place; no reboot is needed.
    Updated(TargetRecord),
    /// What ran already has the assigned name now.
    Adopted(TargetRecord),
    /// Not installed while the boot firmware of an earlier update is not confirmed.
    FirmwareUnconfirmed(TargetRecord),
}

/// The client of a Director, for one command or for as long as a daemon lives.
#[derive(Debug)]
pub struct Director<'a> {
    agent: &'a Agent,
    counter: ReportCounter,
}

impl<'a> Director<'a> {
    /// Touches nothing.
    pub fn new(agent: &'a Agent) -> Director<'a> {
        Director { counter: ReportCounter::of(&agent.settings.state), agent }
    }

    /// Asks the servers, and goes as far as it may: what was withdrawn meanwhile is neither fetched nor installed.
    pub fn online(&mut self, depth: Depth, progress: &mut dyn FnMut(Transfer)) -> Result<Answer, AgentError> {
        let name = ["check", "download", "update"][depth as usize];
        self.agent.reaches(Stage::Check, None);
        let session = Session::open(self.agent, name);
        let answer = session.and_then(|s| s.online(&mut self.counter, depth, progress));
        self.agent.recorded(answer)
    }

    /// Installs what was downloaded, by the metadata of the last check. Needs no network; reports what it can.
    pub fn install(&mut self) -> Result<Answer, AgentError> {
        self.agent.reaches(Stage::Install, None);
        let session = Session::open(self.agent, "install");
        let answer = session.and_then(|s| s.install_stored());
        let answer = self.agent.recorded(answer);
        self.agent.deliver_soon();
        answer
    }

    /// Tells what this boot came to, and what waits. Asks for nothing.
    pub fn report(&mut self) -> Result<(), AgentError> {
        let mut session = Session::open(self.agent, "report")?;
        // What waits for its boot is judged by `finalize` alone.
        if self.agent.is_judged() {
            session.settle()?;
        }
        session.send_manifest(&mut self.counter)?;
        session.send_device_data();
        Ok(())
    }

    /// Who this device is: serial and hardware id, made now if this is the first time.
    pub fn introduce(&self) -> Result<(String, String), AgentError> {
        let record = Session::open(self.agent, "start")?.identity.record;
        Ok((record.serial, record.hardware_id))
    }

    /// Polls until it is told to end.
    pub fn daemon(mut self) -> Result<u8, AgentError> {
        let agent = self.agent;
        agent.report_hardware();
        daemon::poll(agent, false, &mut || self.turn())
    }

    fn turn(&mut self) -> Result<Turn, AgentError> {
        notify("STATUS=Asking the Director");
        let mut progress = Progress::new();
        let answer = self.online(Depth::Install, &mut |transfer| {
            progress.tell_systemd(&transfer);
            progress.show(&transfer);
        })?;
        notify(&format!("STATUS={answer}"));
        let settings = &self.agent.settings;
        Ok(match &answer {
            Answer::Installed(_) | Answer::Awaiting(_)
                if settings.director.reboot && settings.booted_deployment.is_none() =>
            {
                log::info!("{answer}: rebooting");
                Turn::Reboot
            }
            Answer::FirmwareUnconfirmed(_)
                if settings.director.reboot && self.agent.reboots_for_firmware()? =>
            {
                log::warn!("{answer}");
                Turn::Reboot
            }
            Answer::NoUpdate => {
                log::debug!("{answer}");
                Turn::Stay
            }
            _ => {
                log::info!("{answer}");
                Turn::Stay
            }
        })
    }
}

impl Answer {
    /// The exit code of a command that ends with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Answer::NoUpdate
            | Answer::Downloaded(_)
            | Answer::Updated(_)
            | Answer::Adopted(_)
            | Answer::Failed(_) => exit::OK,
            Answer::Available(_) => exit::NEW_TARGET,
            Answer::Installed(_) => exit::REBOOT_NEEDED,
            Answer::Awaiting(_) => exit::PENDING,
            Answer::FirmwareUnconfirmed(_) => exit::FIRMWARE_UNCONFIRMED,
        }
    }

    /// Its word for programs, and the Target that it is about.
    pub fn word(&self) -> (&'static str, Option<&TargetRecord>) {
        match self {
            Answer::NoUpdate => ("no-update", None),
            Answer::Failed(target) => ("failed", Some(target)),
            Answer::Available(target) => ("available", Some(target)),
            Answer::Downloaded(target) => ("downloaded", Some(target)),
            Answer::Installed(target) => ("installed", Some(target)),
            Answer::Awaiting(target) => ("reboot-needed", Some(target)),
            Answer::Updated(target) => ("updated", Some(target)),
            Answer::Adopted(target) => ("adopted", Some(target)),
            Answer::FirmwareUnconfirmed(target) => ("firmware-unconfirmed", Some(target)),
        }
    }
}

/// The exit code of a cycle that failed.
pub fn exit_code(error: &UptaneError) -> u8 {
    if let UptaneError::Download { error: FileError::NoSpace { .. }, .. } = error {
        return exit::NO_SPACE;
    }
    match error.class() {
        Class::ExpiredMetadata => exit::EXPIRED,
        Class::MetadataFetchFailure | Class::DelegationMissing => exit::FETCH_FAILED,
        Class::TargetFetchFailure => exit::DOWNLOAD_FAILED,
        Class::TargetHashMismatch | Class::OversizedTarget => exit::VERIFICATION_FAILED,
        Class::LocalFailure => exit::ERROR,
        _ => exit::SECURITY,
    }
}

/// In a sentence that says what comes next.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::NoUpdate => f.write_str("The Director assigns nothing new"),
            Answer::Failed(t) => write!(
                f,
                "{} is assigned, but failed here; it is tried again when the Director assigns it again",
                t.name
            ),
            Answer::Available(t) => write!(f, "{} is assigned; download it when you like", t.name),
            Answer::Downloaded(t) => {
                write!(f, "{} is on the device, whole; install it when you like", t.name)
            }
            Answer::Installed(t) => write!(f, "{} is installed; reboot to start it", t.name),
            Answer::Awaiting(t) => {
                write!(f, "{} is installed and not booted yet; reboot to start it", t.name)
            }
            Answer::FirmwareUnconfirmed(t) => write!(
                f,
                "{} is not installed: the boot firmware of an earlier update is not confirmed yet; reboot and repeat",
                t.name
            ),
            Answer::Updated(t) => write!(f, "{} is installed; no reboot is needed", t.name),
            Answer::Adopted(t) => write!(f, "{} runs already", t.name),
        }
    }
}
