//! What an engine is given of an app: its project folder, which the app may mount and write, and a folder of ours, which it may not,
//! with the Compose file and the variables.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use super::super::Reference;
use super::super::app::App;
use super::super::archive;
use super::super::compose::{COMPOSE_LIMIT, Service};
use super::super::error::AppsError;
use super::super::folder::Folder;
use super::super::store::Store;
use super::Engine;

/// Beside the project folders, which apps may write, a folder for each app with what the engine reads. No app has a name with a dot.
pub(super) const GIVEN: &str = "engine.files";
/// The Compose file that the engine reads, written from what was checked.
pub(super) const GIVEN_FILE: &str = ".rust-ota.compose.yml";
/// The variables of the app's archive. Where there are none it is empty, so that no other file counts.
pub(super) const VARIABLES: &str = ".env";

/// The Compose file that the engine is to read.
#[derive(Debug)]
pub struct Given(String);

impl Engine {
    /// Whether it still is what was written. Nobody but root can change it; this is for whoever found a way.
    pub(super) fn is_unchanged(&self, app: &App, given: &Given) -> bool {
        let found = std::fs::read_to_string(self.given_path(&app.name, GIVEN_FILE));
        found.is_ok_and(|text| text == given.0)
    }

    /// Unpacks an app's project and writes what the engine reads, where the app cannot change it.
    pub fn prepare(&self, app: &App, store: &Store) -> Result<Given, AppsError> {
        let folder = self.project(&app.name);
        let failed = |e: io::Error| AppsError::Archive { app: app.name.clone(), reason: e.to_string() };
        let packed = store.verified(&app.archive.digest)?;
        let tar = archive::gunzip(&packed).map_err(failed)?;
        archive::unpack(tar, &folder).map_err(AppsError::io("unpack into", &folder))?;
        self.keeps_to_itself(app)?;
        let tar = archive::gunzip(&packed).map_err(failed)?;
        let variables = archive::find(tar, VARIABLES, COMPOSE_LIMIT).map_err(failed)?.unwrap_or_default();
        self.give(app, VARIABLES, &variables)?;
        let text = self.given(app, store)?;
        self.give(app, GIVEN_FILE, text.as_bytes())?;
        Ok(Given(text))
    }

    /// The Compose file for the engine. Its paths are absolute: podman-compose knows no other folder than that of the file, and Docker
    /// leaves the device of a volume to its daemon, whose folder is `/`.
    fn given(&self, app: &App, store: &Store) -> Result<String, AppsError> {
        let mut names = Vec::new();
        for image in &app.images {
            names.push((image, self.local_name(image, store)?));
        }
        let name = |service: &Service| {
            let pinned = Reference::parse(&service.image).ok();
            let found = names.iter().find(|(image, _)| Some(&image.reference) == pinned.as_ref());
            found.map(|(_, name)| name.clone()).unwrap_or_default()
        };
        Ok(app.compose.with_images_in(&self.project(&app.name), name))
    }

    fn give(&self, app: &App, name: &str, bytes: &[u8]) -> Result<(), AppsError> {
        let path = self.given_path(&app.name, name);
        let folder = Folder::make(&self.projects.join(GIVEN)).and_then(|f| f.sub(OsStr::new(&app.name)));
        let written =
            folder.and_then(|f| f.write(OsStr::new(name), 0o600, &mut |file| file.write_all(bytes)));
        written.map_err(AppsError::io("write", &path))
    }

    /// What the engine is to open in the project's folder may have become a link, which it would follow as root.
    fn keeps_to_itself(&self, app: &App) -> Result<(), AppsError> {
        let path = self.project(&app.name);
        let folder = Folder::make(&path).map_err(AppsError::io("open", &path))?;
        // What earlier versions gave the engine.
        folder.remove(OsStr::new(GIVEN_FILE)).map_err(AppsError::io("remove an old file in", &path))?;
        match app.compose.own_paths(&path).iter().find(|own| !folder.keeps(own)) {
            Some(own) => Err(AppsError::Link { app: app.name.clone(), path: path.join(own) }),
            None => Ok(()),
        }
    }

    pub(super) fn given_path(&self, app: &str, name: &str) -> PathBuf {
        self.projects.join(GIVEN).join(app).join(name)
    }
}
