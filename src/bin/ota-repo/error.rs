//! What can go wrong in the host tool. Each text names the file or option, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a command stopped.
#[derive(Debug)]
pub enum Error {
    /// An operation on a file or folder failed.
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// An option's value cannot be used.
    Option { option: String, detail: String },
    /// A file does not hold what it must hold.
    Content { path: PathBuf, detail: String },
    /// The folder has no published repository.
    NotARepository { path: PathBuf },
    /// The private folder (settings and keys) is not where it was looked for.
    NoPrivateFolder { path: PathBuf },
    /// Something that would be overwritten is in the way.
    Exists { path: PathBuf, advice: &'static str },
    /// Another `ota-repo` works on this repository.
    Locked { path: PathBuf },
    /// A published file is not what was signed last.
    Untrusted { path: PathBuf, detail: String },
    /// A private key cannot be read or used.
    Key { path: PathBuf, detail: String },
    /// Too few keys of a role are at hand to reach its threshold.
    MissingKeys { role: String, threshold: u64, found: usize, folder: PathBuf },
    /// All else was refreshed, but a role expires soon and its keys are elsewhere.
    Overdue { role: String, expires: String },
    /// A value has no canonical form.
    Canonical { detail: String },
    /// A Target of that name is published with other content.
    TargetExists { name: String },
    /// No such Target is published.
    NoTarget { name: String },
    /// libostree refused.
    Ostree { operation: &'static str, path: PathBuf, detail: String },
    /// A certificate could not be made or used.
    Tls { operation: String, detail: String },
    /// A Compose app could not be published or fetched.
    App { detail: String },
    /// The server could not start.
    Listen { address: String, source: io::Error },
    /// The system gave no random bytes.
    Random,
}

impl Error {
    /// Wraps an [`io::Error`] with what was done to which path.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// An option's value that cannot be used.
    pub fn option(option: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Option { option: option.into(), detail: detail.into() }
    }

    /// A file whose content cannot be used.
    pub fn content(path: &Path, detail: impl fmt::Display) -> Self {
        Self::Content { path: path.to_path_buf(), detail: detail.to_string() }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { operation, path, source } => {
                write!(f, "cannot {operation} {}: {source}", path.display())
            }
            Self::Option { option, detail } => write!(f, "{option}: {detail}"),
            Self::Content { path, detail } => write!(f, "{}: {detail}", path.display()),
            Self::NotARepository { path } => write!(
                f,
                "{} holds no published repository: make one with `ota-repo init DIR`",
                path.display()
            ),
            Self::NoPrivateFolder { path } => write!(
                f,
                "no keys and settings in {}: give the folder that `init` used with --keys",
                path.display()
            ),
            Self::Exists { path, advice } => {
                write!(f, "{} exists already: {advice}", path.display())
            }
            Self::Locked { path } => {
                write!(f, "another ota-repo is changing {}: wait for it and try again", path.display())
            }
            Self::Untrusted { path, detail } => write!(
                f,
                "{}: {detail}. It is not signed again: put back what was published last",
                path.display()
            ),
            Self::Key { path, detail } => write!(f, "key {}: {detail}", path.display()),
            Self::MissingKeys { role, threshold, found, folder } => write!(
                f,
                "the {role} role needs signatures by {threshold} of its keys, {} has {found}: add the others with --keys FOLDER",
                folder.display()
            ),
            Self::Overdue { role, expires } => write!(
                f,
                "the {role} role expires on {expires} and its keys are not at hand: refresh again with --keys FOLDER"
            ),
            Self::Canonical { detail } => write!(f, "cannot be signed: {detail}"),
            Self::TargetExists { name } => write!(
                f,
                "Target {name} is published with other content: give a new --version, or remove it first (a device may have it already)"
            ),
            Self::NoTarget { name } => {
                write!(f, "no Target {name} is published: `ota-repo target list DIR` shows what is")
            }
            Self::Ostree { operation, path, detail } => {
                write!(f, "cannot {operation} ({}): {detail}", path.display())
            }
            Self::Tls { operation, detail } => write!(f, "cannot {operation}: {detail}"),
            Self::App { detail } => f.write_str(detail),
            Self::Listen { address, source } => {
                write!(f, "cannot listen on {address}: {source}")
            }
            Self::Random => write!(f, "the system gave no random bytes for a key"),
        }
    }
}
