//! Why an app is not fetched, not taken, or does not run.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::asks::Ask;
use super::compose::ComposeError;
use crate::gateway::HttpError;
use crate::store::StoreError;

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppsError {
    /// A Target names an app in a way that cannot be a project's name.
    Name {
        /// The name.
        app: String,
    },
    /// A Target's URI of an app is not pinned.
    Uri {
        /// The app.
        app: String,
        /// Its URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registry or a folder did not give it.
    Fetch {
        /// What was asked for.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// A registry or a folder will not give it, however often it is asked.
    Refused {
        /// What was asked for.
        url: String,
        /// What it said.
        reason: String,
    },
    /// A client for the registry could not be made.
    Http(HttpError),
    /// Other bytes than were named.
    Digest {
        /// What was asked for.
        url: String,
        /// What was expected, and what came.
        reason: String,
    },
    /// A manifest makes no sense.
    Manifest {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An index has no image for this device.
    Platform {
        /// The image.
        image: String,
        /// What this device is.
        platform: String,
    },
    /// The app's archive cannot be read or unpacked.
    Archive {
        /// The app.
        app: String,
        /// What is wrong.
        reason: String,
    },
    /// The app's Compose file is refused.
    Compose {
        /// The app.
        app: String,
        /// What is wrong.
        error: ComposeError,
    },
    /// Too little room.
    NoSpace {
        /// On the volume of this folder.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
        /// `pacman.storage_watermark`.
        watermark: u64,
    },
    /// A part of an app is not on the device.
    NotFetched {
        /// The app.
        app: String,
    },
    /// A file could not be read or written.
    Io {
        /// What was done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// State could not be kept.
    Store(StoreError),
    /// The engine did not take an image.
    Load {
        /// The image.
        image: String,
        /// What it said.
        reason: String,
    },
    /// A program of the engine failed.
    Engine {
        /// The command.
        command: String,
        /// What it said.
        reason: String,
    },
    /// An app was started and did not come up.
    NotUp {
        /// The app.
        app: String,
        /// Of which service what.
        reason: String,
    },
    /// The engine did not start an app, which is not the app's fault as far as anybody saw.
    NotStarted {
        /// The app.
        app: String,
        /// What was seen.
        reason: String,
    },
    /// An app asks for more of the host than this device allows.
    NotAllowed {
        /// The app.
        app: String,
        /// For what.
        ask: Ask,
    },
    /// In an app's folder, something that the engine is to open leads out of it.
    Link {
        /// The app.
        app: String,
        /// What leads out.
        path: PathBuf,
    },
    /// Told to stop.
    Stopped,
}

/// What an error means for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppsErrorClass {
    /// Could not be fetched; may work later.
    Download,
    /// Too little room.
    NoSpace,
    /// What came, or what was signed, is not to be run.
    Verification,
    /// It is not on the device, or the engine does not take it.
    NotInstallable,
    /// The app itself does not run.
    App,
    /// Anything else.
    Other,
}

impl AppsError {
    /// What it means.
    pub fn class(&self) -> AppsErrorClass {
        match self {
            AppsError::Fetch { .. } | AppsError::Refused { .. } | AppsError::Stopped => {
                AppsErrorClass::Download
            }
            AppsError::NoSpace { .. } => AppsErrorClass::NoSpace,
            AppsError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                AppsErrorClass::NoSpace
            }
            AppsError::Name { .. }
            | AppsError::Uri { .. }
            | AppsError::Digest { .. }
            | AppsError::Manifest { .. }
            | AppsError::Platform { .. }
            | AppsError::Archive { .. }
            | AppsError::NotAllowed { .. }
            | AppsError::Compose { .. } => AppsErrorClass::Verification,
            AppsError::NotFetched { .. } | AppsError::Load { .. } => AppsErrorClass::NotInstallable,
            AppsError::NotUp { .. } => AppsErrorClass::App,
            AppsError::Engine { .. }
            | AppsError::NotStarted { .. }
            | AppsError::Link { .. }
            | AppsError::Http(_)
            | AppsError::Store(_)
            | AppsError::Io { .. } => AppsErrorClass::Other,
        }
    }

    /// Whether the app was seen to fail. All else is the trouble of the device, of its engine or of a server, and may pass.
    pub fn is_the_apps(&self) -> bool {
        matches!(self, AppsError::NotUp { .. })
    }

    /// Wraps what the system said.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AppsError {
        let path = path.to_path_buf();
        move |source| AppsError::Io { operation, path, source }
    }
}

impl fmt::Display for AppsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppsError::Name { app } => write!(
                f,
                "app {app:?}: the name must be lower-case letters, digits, - and _; publish the app under another name"
            ),
            AppsError::Uri { app, uri, reason } => {
                write!(f, "app {app}: its URI {uri:?} {reason}; publish the Target again with a pinned URI")
            }
            AppsError::Fetch { url, reason } => write!(f, "{url}: {reason}; it is safe to try again"),
            AppsError::Refused { url, reason } => write!(f, "{url}: {reason}"),
            AppsError::Http(e) => e.fmt(f),
            AppsError::Digest { url, reason } => {
                write!(
                    f,
                    "{url}: {reason}; nothing of it was kept. The registry, or something before it, is wrong"
                )
            }
            AppsError::Manifest { name, reason } => write!(f, "{name} {reason}; publish the app again"),
            AppsError::Platform { image, platform } => {
                write!(f, "{image} has no image for {platform}; publish the app with one")
            }
            AppsError::Archive { app, reason } => {
                write!(f, "app {app}: its archive {reason}; publish the app again")
            }
            AppsError::Compose { app, error } => {
                write!(
                    f,
                    "app {app}: docker-compose.yml is refused: {error}; correct it and publish the app again"
                )
            }
            AppsError::NoSpace { path, needed, available, watermark } => write!(
                f,
                "{}: {needed} bytes are needed for apps and {available} may be used (pacman.storage_watermark is {watermark} percent); make room",
                path.display()
            ),
            AppsError::NotFetched { app } => {
                write!(f, "app {app} is not on the device, or not all of it: run download first")
            }
            AppsError::Io { operation, path, source } => {
                write!(f, "cannot {operation} {}: {source}", path.display())
            }
            AppsError::Store(e) => e.fmt(f),
            AppsError::Load { image, reason } => {
                write!(f, "the engine did not take image {image}: {reason}; is it running?")
            }
            AppsError::Engine { command, reason } => write!(f, "{command}: {reason}"),
            AppsError::NotUp { app, reason } => write!(f, "app {app} did not come up: {reason}"),
            AppsError::NotStarted { app, reason } => {
                write!(f, "the engine did not start app {app}: {reason}; it is tried again")
            }
            AppsError::NotAllowed { app, ask } => write!(
                f,
                "app {app}: line {} of docker-compose.yml, {}, asks for {}, which rust_ota.apps_may does not allow; add it there or publish the app without it",
                ask.line, ask.setting, ask.right
            ),
            AppsError::Link { app, path } => write!(
                f,
                "app {app}: {} leads out of the app's folder, so the app is not started; look who made it, and remove it",
                path.display()
            ),
            AppsError::Stopped => f.write_str("told to stop; what was fetched is kept"),
        }
    }
}

impl std::error::Error for AppsError {}

impl From<StoreError> for AppsError {
    fn from(e: StoreError) -> AppsError {
        AppsError::Store(e)
    }
}
