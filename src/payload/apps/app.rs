//! What an app consists of, found by following digests from the one that was signed.

use std::collections::BTreeMap;
use std::path::Path;

use super::archive;
use super::asks::not_allowed;
use super::compose::{COMPOSE_FILE, COMPOSE_LIMIT, Compose};
use super::error::AppsError;
use super::manifest::{Blob, MANIFEST_LIMIT, Manifest, Platform, Usage, choose};
use super::reference::{Digest, Reference};
use super::store::Store;
use super::{Apps, is_app_name};

/// An app that was read whole: each part by the digest that the part before it names.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name, which is its project's.
    pub name: String,
    /// Where it is and what it is.
    pub uri: Reference,
    /// The archive of its project folder.
    pub archive: Blob,
    /// Its other layers.
    pub extra: Vec<Blob>,
    /// What layers of its images take on a disk, where one of the others says so.
    pub usage: BTreeMap<Digest, u64>,
    /// Its Compose file.
    pub compose: Compose,
    /// Its images, for this device's platform.
    pub images: Vec<Image>,
    /// Manifests and indexes on the way.
    pub manifests: Vec<Digest>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As the Compose file names it.
    pub reference: Reference,
    /// Its manifest: what is named, or the entry of an index.
    pub manifest: Digest,
    /// Its configuration; engines name an image by this digest.
    pub config: Blob,
    /// Its layers.
    pub layers: Vec<Blob>,
}

/// What is asked for on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A manifest of unknown length.
    Manifest,
    /// A blob of this length.
    Blob(u64),
}

/// Brings a part to the store, or says that it is not there.
pub type Bring<'a> = dyn FnMut(&Reference, Part) -> Result<(), AppsError> + 'a;

impl App {
    /// Follows the digests; `bring` is called for each part before it is read.
    pub fn resolve(
        name: &str,
        uri: &str,
        store: &Store,
        platform: &Platform,
        bring: &mut Bring<'_>,
    ) -> Result<App, AppsError> {
        if !is_app_name(name) {
            return Err(AppsError::Name { app: name.to_string() });
        }
        let uri = Reference::parse(uri).map_err(|reason| AppsError::Uri {
            app: name.to_string(),
            uri: uri.to_string(),
            reason,
        })?;
        let mut manifests = Vec::new();
        let Manifest::Single { mut layers, usage, .. } = manifest(&uri, store, bring, &mut manifests)? else {
            return Err(AppsError::Manifest {
                name: uri.to_string(),
                reason: "is an index, not an app".to_string(),
            });
        };
        if layers.is_empty() {
            return Err(AppsError::Manifest { name: uri.to_string(), reason: "has no archive".to_string() });
        }
        let archive = layers.remove(0);
        bring(&uri.with(&archive.digest), Part::Blob(archive.size))?;
        let usage = match usage {
            Some(blob) if blob.size <= MANIFEST_LIMIT => {
                bring(&uri.with(&blob.digest), Part::Blob(blob.size))?;
                disk_usage(&uri, store, &blob, platform)?
            }
            _ => BTreeMap::new(),
        };
        let compose = compose(name, store, &archive)?;
        let pinned = compose.images().map_err(|error| AppsError::Compose { app: name.to_string(), error })?;
        let images = pinned
            .iter()
            .map(|reference| image(reference, store, platform, bring, &mut manifests))
            .collect::<Result<_, _>>()?;
        Ok(App { name: name.to_string(), uri, archive, extra: layers, usage, compose, images, manifests })
    }

    /// As it lies in the store; an error where a part that leads on is missing.
    pub fn stored(name: &str, uri: &str, store: &Store, platform: &Platform) -> Result<App, AppsError> {
        App::resolve(name, uri, store, platform, &mut |reference, part| {
            let there = match part {
                Part::Manifest => store.has(&reference.digest, None),
                Part::Blob(size) => store.has(&reference.digest, Some(size)),
            };
            if there { Ok(()) } else { Err(AppsError::NotFetched { app: name.to_string() }) }
        })
    }

    /// Everything that must be fetched, with the repository that has it.
    pub fn blobs(&self) -> Vec<(Reference, u64)> {
        let own =
            std::iter::once(&self.archive).chain(&self.extra).map(|b| (self.uri.with(&b.digest), b.size));
        let images = self.images.iter().flat_map(|i| {
            std::iter::once(&i.config).chain(&i.layers).map(|b| (i.reference.with(&b.digest), b.size))
        });
        own.chain(images).collect()
    }

    /// Whether all of it is in the store.
    pub fn is_whole(&self, store: &Store) -> bool {
        self.blobs().iter().all(|(reference, size)| store.has(&reference.digest, Some(*size)))
    }

    /// Refuses an app that asks the host for more than these words allow.
    pub fn is_allowed(&self, projects: &Path, may: &[String]) -> Result<(), AppsError> {
        let asks = self.compose.asks(&projects.join(&self.name));
        match not_allowed(&asks, may) {
            Some(ask) => Err(AppsError::NotAllowed { app: self.name.clone(), ask: ask.clone() }),
            None => Ok(()),
        }
    }

    /// The services that run without being asked for.
    pub fn expected(&self) -> Vec<&str> {
        self.compose.services.iter().filter(|s| !s.optional).map(|s| s.name.as_str()).collect()
    }

    /// Every digest that it needs.
    pub fn digests(&self) -> Vec<Digest> {
        let blobs = self.blobs().into_iter().map(|(reference, _)| reference.digest);
        blobs.chain(self.manifests.iter().cloned()).collect()
    }
}

/// All of these apps, each whole in the store.
pub fn whole(apps: &Apps, store: &Store, platform: &Platform) -> Result<Vec<App>, AppsError> {
    let read = |(name, uri): (&String, &String)| {
        let app = App::stored(name, uri, store, platform)?;
        if app.is_whole(store) { Ok(app) } else { Err(AppsError::NotFetched { app: name.clone() }) }
    };
    apps.iter().map(read).collect()
}

fn manifest(
    reference: &Reference,
    store: &Store,
    bring: &mut Bring<'_>,
    seen: &mut Vec<Digest>,
) -> Result<Manifest, AppsError> {
    bring(reference, Part::Manifest)?;
    seen.push(reference.digest.clone());
    let bytes = store.read(&reference.digest, MANIFEST_LIMIT)?;
    Manifest::parse(&bytes).map_err(|reason| AppsError::Manifest { name: reference.to_string(), reason })
}

fn image(
    reference: &Reference,
    store: &Store,
    platform: &Platform,
    bring: &mut Bring<'_>,
    seen: &mut Vec<Digest>,
) -> Result<Image, AppsError> {
    let mut found = (reference.digest.clone(), manifest(reference, store, bring, seen)?);
    if let Manifest::Index(index) = &found.1 {
        let chosen = choose(index, platform).ok_or_else(|| AppsError::Platform {
            image: reference.to_string(),
            platform: format!("{}/{}{}", platform.os, platform.architecture, platform.variant),
        })?;
        let digest = chosen.digest.clone();
        found = (digest.clone(), manifest(&reference.with(&digest), store, bring, seen)?);
    }
    match found {
        (manifest, Manifest::Single { config, layers, .. }) => {
            Ok(Image { reference: reference.clone(), manifest, config, layers })
        }
        (digest, Manifest::Index(_)) => Err(AppsError::Manifest {
            name: reference.with(&digest).to_string(),
            reason: "is an index in an index".to_string(),
        }),
    }
}

/// Only how much room is asked for depends on it: what cannot be read is passed over.
fn disk_usage(
    uri: &Reference,
    store: &Store,
    blob: &Blob,
    platform: &Platform,
) -> Result<BTreeMap<Digest, u64>, AppsError> {
    let bytes = store.read(&blob.digest, MANIFEST_LIMIT)?;
    Ok(serde_json::from_slice::<Usage>(&bytes).map(|usage| usage.on(platform)).unwrap_or_else(|error| {
        log::warn!("{uri}: what its layers take on a disk (layers-meta) is passed over: {error}");
        BTreeMap::new()
    }))
}

fn compose(app: &str, store: &Store, archive: &Blob) -> Result<Compose, AppsError> {
    let failed = |reason: String| AppsError::Archive { app: app.to_string(), reason };
    let path = store.verified(&archive.digest)?;
    let tar = archive::gunzip(&path).map_err(|e| failed(format!("cannot be opened: {e}")))?;
    let found = archive::find(tar, COMPOSE_FILE, COMPOSE_LIMIT).map_err(|e| failed(e.to_string()))?;
    let bytes = found.ok_or_else(|| failed(format!("has no {COMPOSE_FILE} at its top")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| failed(format!("has a {COMPOSE_FILE} that is no text")))?;
    Compose::read(&text).map_err(|error| AppsError::Compose { app: app.to_string(), error })
}
