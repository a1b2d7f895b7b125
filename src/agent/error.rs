//! Every way in which a command of the agent fails, with its exit code.

use std::fmt;
use std::path::PathBuf;

use crate::boot::BootError;
use crate::boot::firmware::FirmwareFault;
use crate::cli::exit;
use crate::config::ConfigError;
use crate::device::DeviceError;
use crate::device::old::OldStateError;
use crate::gateway::HttpError;
use crate::payload::apps::AppsError;
use crate::payload::ostree::OstreeError;
use crate::store::StoreError;

use super::bundle::BundleError;
use super::refresh::RefreshError;
use super::uptane::UptaneError;

/// Why a step ended without its outcome.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// State could not be read or written, or another process holds the lock.
    Store(StoreError),
    /// The bootloader could not be asked or told.
    Boot(BootError),
    /// A certificate or an address is wrong, or a server is out of reach.
    Http(HttpError),
    /// Metadata was not fetched, not trusted, or is not there.
    Trust(RefreshError),
    /// Content was not fetched, is not what was signed, or could not be deployed.
    Content(OstreeError),
    /// A Compose app was not fetched, is not to be run, or does not run.
    Apps(AppsError),
    /// The image ships no root and none is stored.
    NoRoot {
        /// Where it should be.
        path: PathBuf,
    },
    /// The stored root is damaged, and there is none to start again from.
    DamagedRoot {
        /// What is wrong with the stored one.
        damage: String,
        /// Why the first one cannot be used.
        reason: String,
    },
    /// A private key is readable by others, and `rust_ota.strict_keys` is on.
    ExposedKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// There is no metadata of an earlier check.
    NotChecked,
    /// `install` without the content.
    NotDownloaded {
        /// The Target.
        target: String,
    },
    /// An offline update was refused.
    Bundle(BundleError),
    /// A rule of the Uptane cycle was broken, or it could not be gone through.
    Uptane(Box<UptaneError>),
    /// This device cannot say who it is.
    Device(DeviceError),
    /// The state of the client that was here before cannot be taken over.
    OldState(OldStateError),
    /// A server of the Director's side answered what it should not have.
    Server {
        /// The URL that was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What the server said, and what to do.
        reason: String,
    },
    /// The Director assigned what an OSTree device cannot install.
    NotOstree {
        /// The Target.
        target: String,
    },
    /// The Director assigned an OSTree commit to an ECU that is a file.
    NotAFile {
        /// The Target.
        target: String,
        /// The ECU.
        serial: String,
    },
    /// The device has no certificate, and cannot get one with the credential that devices share.
    SharedCredential {
        /// Where the credential is.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A person named a Target on a device that has a Director.
    Directed {
        /// The Target.
        target: String,
    },
    /// The configuration names Secondaries that this client does not drive.
    Secondaries {
        /// The file.
        path: PathBuf,
        /// What it names.
        reason: String,
    },
    /// The board may never take the boot firmware of this Target.
    Firmware {
        /// The Target.
        target: String,
        /// Why.
        fault: FirmwareFault,
    },
    /// This client cannot update this device, so it does not confirm the boot that brought it.
    Unable {
        /// What it lacks.
        lacks: Vec<String>,
    },
    /// The bootloader knows that this boot is good, and what comes after that failed.
    Unrecorded(Box<AgentError>),
    /// The kernel did not let signals be caught.
    Signals(std::io::Error),
    /// The reboot command failed.
    Reboot {
        /// The command.
        command: String,
        /// What it said.
        reason: String,
    },
}

impl AgentError {
    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            AgentError::Trust(error) => super::trust::exit_code(error),
            AgentError::Http(_) | AgentError::Server { .. } => exit::FETCH_FAILED,
            AgentError::Uptane(error) => super::director::exit_code(error),
            AgentError::Content(error) => super::content::exit_code(error),
            AgentError::Apps(error) => super::apps::exit_code(error),
            AgentError::Bundle(BundleError::Refused { .. }) => exit::BAD_BUNDLE,
            AgentError::Bundle(BundleError::NoContent { .. }) => exit::NO_CONTENT,
            AgentError::NotDownloaded { .. } => exit::NOT_DOWNLOADED,
            AgentError::Unrecorded(error) => error.exit_code(),
            _ => exit::ERROR,
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentError::Config(e) => e.fmt(f),
            AgentError::Store(e) => e.fmt(f),
            AgentError::Boot(e) => e.fmt(f),
            AgentError::Http(e) => e.fmt(f),
            AgentError::Trust(e) => e.fmt(f),
            AgentError::Content(e) => e.fmt(f),
            AgentError::Apps(e) => e.fmt(f),
            AgentError::Bundle(e) => e.fmt(f),
            AgentError::NoRoot { path } => write!(
                f,
                "{}: there is no trusted root; put the repository's first root.json there, or set rust_ota.root",
                path.display()
            ),
            AgentError::ExposedKey { path, reason } => write!(f, "{}: {reason}", path.display()),
            AgentError::DamagedRoot { damage, reason } => write!(
                f,
                "root.json on this device is damaged ({damage}), and trust cannot start again from the first root: {reason}"
            ),
            AgentError::NotChecked => f.write_str("there is no metadata on this device yet: run check first"),
            AgentError::NotDownloaded { target } => {
                write!(f, "{target} is not on the device, or not all of it: run download first")
            }
            AgentError::Uptane(e) => e.fmt(f),
            AgentError::Device(e) => e.fmt(f),
            AgentError::OldState(e) => e.fmt(f),
            AgentError::Server { url, status, reason } => {
                write!(f, "{url}: the server answered {status}: {reason}")
            }
            AgentError::NotOstree { target } => write!(
                f,
                "{target} is not an OSTree commit, and this device can install nothing else; assign an OSTree Target"
            ),
            AgentError::NotAFile { target, serial } => write!(
                f,
                "{target} is an OSTree commit, and the ECU {serial} takes files only; assign a Target that is a file"
            ),
            AgentError::SharedCredential { path, reason } => write!(
                f,
                "this device has no certificate of its own, and cannot get one with {}: {reason}",
                path.display()
            ),
            AgentError::Directed { target } => write!(
                f,
                "{target} cannot be chosen here: the Director says what this device is to have; assign it there"
            ),
            AgentError::Secondaries { path, reason } => write!(
                f,
                "{}: {reason}; correct what uptane.secondary_config_file names (docs/aktualizr.md has what is supported)",
                path.display()
            ),
            AgentError::Firmware { target, fault } => write!(f, "{target} cannot be installed: {fault}"),
            AgentError::Unable { lacks } => write!(
                f,
                "this boot is not confirmed, for this client could not update the device: {}; \
                 the bootloader goes back to the client before it",
                lacks.join("; ")
            ),
            AgentError::Unrecorded(error) => write!(
                f,
                "this boot is confirmed, but that is not recorded yet: {error}; the next run of the client records it"
            ),
            AgentError::Signals(e) => write!(f, "cannot watch for SIGTERM: {e}"),
            AgentError::Reboot { command, reason } => {
                write!(f, "the reboot command {command:?} failed: {reason}; check bootloader.reboot_command")
            }
        }
    }
}

impl std::error::Error for AgentError {}

impl From<StoreError> for AgentError {
    fn from(e: StoreError) -> AgentError {
        AgentError::Store(e)
    }
}

impl From<BootError> for AgentError {
    fn from(e: BootError) -> AgentError {
        AgentError::Boot(e)
    }
}

impl From<HttpError> for AgentError {
    fn from(e: HttpError) -> AgentError {
        AgentError::Http(e)
    }
}

impl From<RefreshError> for AgentError {
    fn from(e: RefreshError) -> AgentError {
        AgentError::Trust(e)
    }
}

impl From<UptaneError> for AgentError {
    fn from(e: UptaneError) -> AgentError {
        AgentError::Uptane(Box::new(e))
    }
}

impl From<OldStateError> for AgentError {
    fn from(e: OldStateError) -> AgentError {
        AgentError::OldState(e)
    }
}

impl From<DeviceError> for AgentError {
    fn from(e: DeviceError) -> AgentError {
        AgentError::Device(e)
    }
}

impl From<BundleError> for AgentError {
    fn from(e: BundleError) -> AgentError {
        AgentError::Bundle(e)
    }
}

impl From<AppsError> for AgentError {
    fn from(e: AppsError) -> AgentError {
        AgentError::Apps(e)
    }
}

impl From<OstreeError> for AgentError {
    fn from(e: OstreeError) -> AgentError {
        AgentError::Content(e)
    }
}
