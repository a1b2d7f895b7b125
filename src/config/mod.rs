//! What the device is told to be: fragments on disk, merged with the file each value came from, then typed.

mod apps;
mod director;
mod fragments;
mod merged;
mod network;
mod reader;
pub(crate) mod report;
mod secondaries;
mod settings;
mod unknown;

pub use apps::{AppSettings, EngineKind};
pub use director::{DirectorSettings, KeyType, SharedCredential, Trust};
pub use fragments::{Fragment, Parsed, parse};
pub use merged::{Merged, Value};
pub use network::{NetworkSettings, without_login};
pub use secondaries::{VirtualSecondary, secondaries};
pub use settings::{Metadata, RollbackMode, Settings};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where fragments are looked for, later ones hiding earlier ones of the same name.
pub const DEFAULT_PATHS: [&str; 3] = ["/usr/lib/sota/conf.d", "/var/sota/sota.toml", "/etc/sota/conf.d"];

/// Where distributions keep the public authorities.
const PUBLIC_CA: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The public authorities of this machine, where it has any.
pub fn public_ca() -> Option<PathBuf> {
    PUBLIC_CA.iter().map(PathBuf::from).find(|path| path.exists())
}

/// The same where a file has to be named.
pub fn public_ca_file() -> PathBuf {
    public_ca().unwrap_or_else(|| PathBuf::from(PUBLIC_CA[0]))
}

/// Reads the given files and folders, or the default ones, into typed settings.
pub fn load(paths: &[PathBuf]) -> Result<(Merged, Settings), ConfigError> {
    let merged = Merged::read(&or_default(paths))?;
    let settings = Settings::from_merged(&merged)?;
    Ok((merged, settings))
}

/// The same for what has to work with any configuration: what cannot be read or used is passed over, and said.
pub fn load_leniently(paths: &[PathBuf]) -> Result<(Merged, Settings, Vec<ConfigError>), ConfigError> {
    let (mut merged, mut faults) = Merged::read_leniently(&or_default(paths));
    loop {
        match Settings::from_merged(&merged) {
            Ok(settings) => return Ok((merged, settings, faults)),
            Err(fault) if merged.is_empty() => return Err(fault),
            Err(fault) => {
                merged.forget(&fault);
                faults.push(fault);
            }
        }
    }
}

fn or_default(paths: &[PathBuf]) -> Vec<PathBuf> {
    if !paths.is_empty() {
        return paths.to_vec();
    }
    DEFAULT_PATHS.iter().map(PathBuf::from).filter(|p| p.exists()).collect()
}

/// The same of a device or an image that lies in a folder: its own paths are below it.
pub fn load_below(root: &Path, paths: &[PathBuf]) -> Result<(Merged, Settings), ConfigError> {
    let merged = Merged::read_below(root, paths)?;
    let settings = Settings::from_merged(&merged)?;
    Ok((merged, settings))
}

/// Why the configuration cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file or folder cannot be read.
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A line is neither a section, nor `key = value`, nor a comment.
    BadLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value is not of the kind that its key takes.
    BadValue {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// `section.key`.
        key: String,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// A key of our own section that there is not.
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// `section.key`.
        key: String,
        /// The nearest key that there is, in words; may be empty.
        hint: String,
    },
    /// Something that is needed is nowhere set.
    Missing {
        /// `section.key`.
        key: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
}

impl ConfigError {
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> ConfigError {
        ConfigError::Unreadable { path: path.to_path_buf(), source }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, source } => {
                write!(f, "cannot read the configuration {}: {source}", path.display())
            }
            ConfigError::BadLine { path, line, reason } => {
                write!(f, "{}:{line}: {reason}; correct the line", path.display())
            }
            ConfigError::BadValue { path, line, key, value, expected } => {
                write!(f, "{}:{line}: {key} = {value:?} is not {expected}", path.display())
            }
            ConfigError::UnknownKey { path, line, key, hint } => {
                write!(f, "{}:{line}: {key} is not known{hint}; correct or remove the line", path.display())
            }
            ConfigError::Missing { key, purpose } => {
                write!(f, "{key} is not set; it says {purpose}: put it into a file in /etc/sota/conf.d")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
