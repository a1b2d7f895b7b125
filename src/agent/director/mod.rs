//! A device that is what its Director says: check, download, install, finalize, report. Each mode takes the lock, goes
//! on from what is on disk, and leaves there what the next one needs.

mod campaign;
mod credential;
mod cycle;
mod files;
mod primary;
mod provision;
mod report;
mod secondaries;
mod session;
mod trust;
mod withdrawn;

use super::daemon::{self, Turn, notify};
use super::uptane::UptaneError;
use super::{Agent, AgentError, Progress, Transfer};
use crate::cli::exit;
use crate::payload::file::FileError;
use crate::store::{ReportCounter, TargetRecord};
use crate::uptane::Class;
pub use primary::known_file;
pub use secondaries::{Known, known};
use session::Session;

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
        Session::open(self.agent, name)?.online(&mut self.counter, depth, progress)
    }

    /// Installs what was downloaded, by the metadata of the last check. Needs no network; reports what it can.
    pub fn install(&mut self) -> Result<Answer, AgentError> {
        Session::open(self.agent, "install")?.install_stored(&mut self.counter)
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
            notify(&format!(
                "STATUS=Downloading: {} of {} objects",
                transfer.objects_done, transfer.objects_total
            ));
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
