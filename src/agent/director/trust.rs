//! Both repositories of a device: their first roots, where they are kept, and how they are asked without a network.

use super::super::AgentError;
use super::super::refresh::{Fetch, FetchError, Fetched, Persist};
use super::super::roots::stored_or;
use super::super::trust::Folder;
use std::path::PathBuf;

use crate::config::Settings;
use crate::store::atomic;
use crate::tuf::{Limits, Profile, Request};
use crate::uptane::Repository;

/// `<state>/trust/director` or `<state>/trust/image`.
pub fn folder(settings: &Settings, repository: Repository) -> Folder {
    let name = match repository {
        Repository::Director => "director",
        Repository::Image => "image",
    };
    Folder(settings.state.join("trust").join(name))
}

/// Puts in the first root that came with the image, where nothing is trusted yet or the stored one is damaged. Without
/// one, the first root that a server sends is taken only if that is configured, and never in place of a damaged one.
pub fn prepare(settings: &Settings, repository: Repository) -> Result<(), AgentError> {
    let mut folder = folder(settings, repository);
    let places = match repository {
        Repository::Director => &settings.director.director_roots,
        Repository::Image => &settings.director.image_roots,
    };
    let no_need = settings.director.trust_first_root || places.is_empty();
    if no_need && folder.read("root.json")?.is_none() && shipped(places)?.is_none() {
        return Ok(());
    }
    let none = || AgentError::NoRoot { path: places.first().cloned().unwrap_or_default() };
    let first = || shipped(places)?.ok_or_else(none);
    stored_or(&mut folder, Profile::Ats, Limits::default(), &first).map(|_| ())
}

fn shipped(places: &[PathBuf]) -> Result<Option<Vec<u8>>, AgentError> {
    for place in places {
        if let Some(root) = atomic::read(place)? {
            return Ok(Some(root));
        }
    }
    Ok(None)
}

/// The metadata of the last check in place of a server: it is verified again as if it had just come.
pub struct Stored(pub Folder);

impl Fetch for Stored {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        // No newer root is known.
        if request.path.ends_with(".root.json") {
            return Ok(Fetched::Absent);
        }
        let stored = self.0.read(&request.path)?;
        Ok(stored.map_or(Fetched::Absent, Fetched::Body))
    }
}
