//! The roots that an image ships: the anchor of all trust, and the steps after it, so that a device that was long
//! switched off, or has no network, needs no root from a server.

use std::path::{Path, PathBuf};

use super::AgentError;
use super::refresh::{Persist, init, take_root};
use crate::config::Settings;
use crate::gateway::identity::is_production;
use crate::store::{StoreError, atomic};
use crate::tuf::{Limits, Profile, TrustedMetadata};

/// A device without a certificate does not know its kind; up to this version both kinds have the same roots.
const COMMON: u64 = 2;

/// The stored root, or on the first run the one that the image ships, and every newer one that it ships. There is no
/// trust on first use. `kept` is what this process verified from the stored one.
pub fn start(
    settings: &Settings,
    folder: &mut dyn Persist,
    kept: Option<TrustedMetadata>,
    profile: Profile,
    limits: Limits,
) -> Result<TrustedMetadata, AgentError> {
    let shipped = Shipped::of(settings);
    let mut trusted = match kept {
        Some(kept) => kept,
        None => stored_or(folder, profile, limits, &|| shipped.first())?,
    };
    shipped.advance(&mut trusted, folder)?;
    Ok(trusted)
}

/// The stored root; the first one where none is stored, or where the stored one is damaged. That one is set aside only
/// when the first one is there and verifies.
pub(super) fn stored_or(
    folder: &mut dyn Persist,
    profile: Profile,
    limits: Limits,
    first: &dyn Fn() -> Result<Vec<u8>, AgentError>,
) -> Result<TrustedMetadata, AgentError> {
    let damage = match folder.read("root.json")? {
        None => return Ok(init(folder, first()?, profile, limits)?),
        Some(root) => match TrustedMetadata::new(root, profile, limits.clone()) {
            Ok(trusted) => return Ok(trusted),
            Err(rejection) => rejection.reason.to_string(),
        },
    };
    let lost = |reason: String| AgentError::DamagedRoot { damage: damage.clone(), reason };
    let first = first().map_err(|error| lost(error.to_string()))?;
    TrustedMetadata::new(first.clone(), profile, limits.clone()).map_err(|error| lost(error.to_string()))?;
    folder.set_aside("root.json", &damage)?;
    log::warn!("root.json: trust starts again from the root that came with the image");
    Ok(init(folder, first, profile, limits)?)
}

/// What the image ships.
enum Shipped {
    /// `rust_ota.root` is a file.
    One(PathBuf),
    /// A folder with `N.root.json`, used up to some version.
    Chain(PathBuf, u64),
}

impl Shipped {
    fn of(settings: &Settings) -> Shipped {
        let root = &settings.root;
        let certificate = settings.identity().map(|(certificate, _)| certificate);
        if !root.is_dir() {
            return Shipped::One(root.clone());
        }
        let has_kinds = ["ci", "prod"].iter().any(|kind| root.join(kind).is_dir());
        match certificate {
            _ if root.join("root.json").is_file() => Shipped::One(root.join("root.json")),
            _ if !has_kinds => Shipped::Chain(root.clone(), u64::MAX),
            // Never the other kind: its keys sign what was not released.
            Some(path) => Shipped::Chain(root.join(kind(&path)), u64::MAX),
            None => Shipped::Chain(root.join("ci"), COMMON),
        }
    }

    /// The first root; of a chain the one with the lowest version.
    fn first(&self) -> Result<Vec<u8>, AgentError> {
        let path = match self {
            Shipped::One(path) => path.clone(),
            Shipped::Chain(folder, _) => lowest(folder).unwrap_or_else(|| folder.join("1.root.json")),
        };
        let none = || AgentError::NoRoot { path: path.clone() };
        atomic::read(&path)?.ok_or_else(none)
    }

    /// Takes every next root of the chain. One that is refused is left to the server's walk, which is not ended by it.
    fn advance(&self, trusted: &mut TrustedMetadata, folder: &mut dyn Persist) -> Result<(), AgentError> {
        let Shipped::Chain(chain, last) = self else { return Ok(()) };
        while trusted.next_root_version() <= *last {
            let path = chain.join(format!("{}.root.json", trusted.next_root_version()));
            let bytes = match atomic::read(&path) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error @ StoreError::Io { .. }) => {
                    log::warn!("{error}");
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if let Err(error) = take_root(trusted, folder, bytes) {
                log::warn!("{}: {error}", path.display());
                break;
            }
        }
        Ok(())
    }
}

fn kind(certificate: &Path) -> &'static str {
    if is_production(certificate) { "prod" } else { "ci" }
}

fn lowest(folder: &Path) -> Option<PathBuf> {
    let version = |path: &PathBuf| -> Option<u64> {
        path.file_name()?.to_str()?.strip_suffix(".root.json")?.parse().ok()
    };
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let numbered = entries.filter_map(|path| Some((version(&path)?, path)));
    numbered.min_by_key(|(version, _)| *version).map(|(_, path)| path)
}
