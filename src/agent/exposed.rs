//! Secrets of this device that other users of it can read: whoever has a key is the device, for its servers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::AgentError;
use crate::config::Settings;

/// Each of them, with what to do.
pub(super) fn exposed(settings: &Settings) -> Vec<(PathBuf, String)> {
    let pairs = settings.identity().into_iter().chain(settings.own_identity()).collect::<Vec<_>>();
    let mut keys: Vec<PathBuf> = pairs.into_iter().map(|(_, key)| key).collect();
    keys.push(settings.state.join("ecu-key.pem"));
    keys.push(settings.state.join("provisioned.p12"));
    keys.extend(settings.director.imported_key.clone());
    keys.extend(settings.director.shared.as_ref().map(|shared| shared.zip.clone()));
    keys.sort();
    keys.dedup();
    keys.into_iter().filter_map(|key| Some((key.clone(), fault(&key)?))).collect()
}

/// Refuses to use them, where that is configured.
pub(super) fn check(settings: &Settings) -> Result<(), AgentError> {
    match exposed(settings).into_iter().next().filter(|_| settings.strict_keys) {
        Some((path, reason)) => Err(AgentError::ExposedKey { path, reason }),
        None => Ok(()),
    }
}

/// A key that nobody can reach through its folders is no trouble, but folders change; the file's own mode counts.
fn fault(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    let others = mode & 0o077;
    (others != 0)
        .then(|| format!("other users may read or change this secret (mode {mode:04o}); chmod it to 0600"))
}
