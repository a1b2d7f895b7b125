//! The old client's trusted metadata goes through the same checks as a server's, from the image's root where it ships one, else
//! from the root that the old client trusted. What does not pass is left to the first check; nobody waits for it here.

use super::super::director::trust as director_trust;
use super::super::refresh::{self, Fetch, FetchError, Fetched, Persist, Refresh};
use super::super::trust::Folder;
use super::super::uptane::{Source, verify};
use super::super::{AgentError, roots};
use crate::config::{Metadata, Settings, Trust};
use crate::device::old::{OldMetadata, OldState};
use crate::tuf::{Limits, Profile, Request, Time, TrustedMetadata};
use crate::uptane::Repository;

/// What has expired is still what this device has seen: it must not go back behind it.
const WHENEVER: Time = Time(0);

/// Brings the metadata of each repository in.
pub(super) fn import(settings: &Settings, old: &OldState) {
    let tell = |name: &str, result: Result<(), AgentError>| {
        if let Err(error) = result {
            log::info!("the old client's metadata of {name} is not taken over: {error}");
        }
    };
    if settings.director.trust == Trust::Director {
        tell("the Director", director(settings, old));
        tell("the Image repository", image(settings, old));
    } else if settings.metadata == Metadata::Ats {
        tell("the repository", latest(settings, old));
    }
}

fn director(settings: &Settings, old: &OldState) -> Result<(), AgentError> {
    let mut folder = director_trust::folder(settings, Repository::Director);
    let mut fetch = Stored { old, director: true };
    first_root(&mut folder, &fetch, director_trust::prepare(settings, Repository::Director))?;
    let mut image = Stored { old, director: false };
    let mut image_folder = director_trust::folder(settings, Repository::Image);
    let mut source = Source { fetch: &mut fetch, persist: &mut folder, trust_first_root: false };
    let mut image = Source { fetch: &mut image, persist: &mut image_folder, trust_first_root: false };
    // No ECU is asked about, so the assignments do not count here; what was verified is kept all the same.
    Ok(verify(&mut source, &mut image, &[], WHENEVER).map(|_| ())?)
}

fn image(settings: &Settings, old: &OldState) -> Result<(), AgentError> {
    let mut folder = director_trust::folder(settings, Repository::Image);
    let mut fetch = Stored { old, director: false };
    first_root(&mut folder, &fetch, director_trust::prepare(settings, Repository::Image))?;
    let mut trusted = refresh::load(&mut folder, Profile::Ats, Limits::default())?;
    walk(&mut trusted, &mut fetch, &mut folder)
}

fn latest(settings: &Settings, old: &OldState) -> Result<(), AgentError> {
    let mut folder = Folder::of(settings);
    let mut fetch = Stored { old, director: false };
    let shipped = roots::start(settings, &mut folder, None, Profile::Ats, Limits::default());
    first_root(&mut folder, &fetch, shipped.map(|_| ()))?;
    let mut trusted = refresh::load(&mut folder, Profile::Ats, Limits::default())?;
    walk(&mut trusted, &mut fetch, &mut folder)
}

fn walk(
    trusted: &mut TrustedMetadata,
    fetch: &mut Stored<'_>,
    folder: &mut Folder,
) -> Result<(), AgentError> {
    Refresh::new(trusted, fetch, folder, WHENEVER).refresh()?;
    Ok(())
}

/// The newest root of the old client, where there is none of the image.
fn first_root(
    folder: &mut Folder,
    fetch: &Stored<'_>,
    shipped: Result<(), AgentError>,
) -> Result<(), AgentError> {
    if folder.read("root.json")?.is_some() {
        return Ok(());
    }
    let Some(newest) = fetch.files("root").last() else { return shipped };
    refresh::init(folder, newest.bytes.clone(), Profile::Ats, Limits::default())?;
    Ok(())
}

/// The old client's files of one repository, as a server would give them.
struct Stored<'o> {
    old: &'o OldState,
    director: bool,
}

impl<'o> Stored<'o> {
    fn files(&self, role: &str) -> impl DoubleEndedIterator<Item = &'o OldMetadata> {
        let of = self.old.metadata.iter().filter(|file| file.director == self.director);
        of.filter(move |file| file.role == role)
    }
}

impl Fetch for Stored<'_> {
    fn fetch(&mut self, request: &Request) -> Result<Fetched, FetchError> {
        let name = request.path.strip_suffix(".json").unwrap_or_default();
        let found = match name.strip_suffix(".root") {
            Some(version) => {
                let version = version.parse().ok();
                self.files("root").find(|file| version_of(&file.bytes) == version)
            }
            None => self.files(name).next_back(),
        };
        let small = found.filter(|file| file.bytes.len() as u64 <= request.limit);
        Ok(small.map_or(Fetched::Absent, |file| Fetched::Body(file.bytes.clone())))
    }
}

/// The number beside it in the table is -1 after some migrations.
fn version_of(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(bytes).ok()?["signed"]["version"].as_u64()
}
