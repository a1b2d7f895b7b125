//! `apps`: packs a Compose project, pins its images, brings it to a registry; copies a published app into a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rust_ota::gateway::{Http, HttpSettings};
use rust_ota::payload::apps::{
    self, COMPOSE_FILE, Compose, Credentials, Login, Place, Platform, Reference, Registry, Room, Store,
    archive, this_platform,
};
use serde_json::json;

use crate::error::Error;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &[u8] = b"{}";

/// How to reach registries.
#[derive(Debug)]
pub struct Access {
    pub ca: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    pub uri: Reference,
    /// Each image as it was written, and as it is pinned now.
    pub images: BTreeMap<String, Reference>,
}

/// Packs the project and brings it to `to`.
pub fn publish(project: &Path, to: &str, access: &Access) -> Result<Published, Error> {
    let place = Place::parse(to).map_err(|reason| Error::option("--to", format!("{to:?} {reason}")))?;
    let registry = access.registry(&place.registry)?;
    let path = project.join(COMPOSE_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let compose = Compose::read(&text).map_err(|e| Error::content(&path, e))?;
    let mut images = BTreeMap::new();
    for service in &compose.services {
        if !images.contains_key(&service.image) {
            images.insert(service.image.clone(), pin(&service.image, &registry, &path)?);
        }
    }
    let pinned = compose.with_images(|s| images.get(&s.image).map(ToString::to_string).unwrap_or_default());
    let packed = pack(project, pinned.as_bytes())?;
    let app = |e: apps::AppsError| Error::App { detail: e.to_string() };
    let archive = registry.push_blob(&place, &packed).map_err(app)?;
    let config = registry.push_blob(&place, EMPTY).map_err(app)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/vnd.fio+compose-app",
        "annotations": {"compose-app": "v1"},
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config.to_string(), "size": EMPTY.len()},
        "layers": [{"mediaType": "application/octet-stream", "digest": archive.to_string(), "size": packed.len()}],
    });
    let uri = registry.push_manifest(&place, MANIFEST_TYPE, manifest.to_string().as_bytes()).map_err(app)?;
    Ok(Published { uri, images })
}

/// Copies a published app with its images into a folder, as devices and offline updates have it.
pub fn fetch(name: &str, uri: &str, out: &Path, arch: Option<&str>, access: &Access) -> Result<u64, Error> {
    let platform = match arch {
        None => this_platform(),
        Some(arch) => Platform { architecture: arch.to_string(), os: "linux".into(), variant: String::new() },
    };
    let parsed = Reference::parse(uri).map_err(|reason| Error::option("URI", format!("{uri:?} {reason}")))?;
    let wanted = [(name.to_string(), uri.to_string())].into();
    // The folder is not a device: it may be filled.
    let may = vec!["*".to_string()];
    let room = Room { images: out.to_path_buf(), watermark: 100, projects: out.to_path_buf(), may };
    let mut bytes = 0;
    apps::fetch(
        &wanted,
        &access.registry(&parsed.registry)?,
        &Store::at(out),
        &platform,
        &room,
        &AtomicBool::new(false),
        &mut |p| {
            bytes = p.bytes_done;
        },
    )
    .map_err(|e| Error::App { detail: e.to_string() })?;
    Ok(bytes)
}

/// `NAME=URI` of `target add --app`, as the member `docker_compose_apps`.
pub fn custom(pairs: &[String]) -> Result<Option<serde_json::Value>, Error> {
    let mut apps = serde_json::Map::new();
    for pair in pairs {
        let bad = |detail: String| Error::option(format!("--app {pair}"), detail);
        let (name, uri) = pair.split_once('=').ok_or_else(|| bad("is not NAME=URI".to_string()))?;
        if !apps::is_app_name(name) {
            return Err(bad("the name must be 1 to 63 lower-case letters, digits, - and _".to_string()));
        }
        Reference::parse(uri).map_err(|reason| bad(format!("the URI {reason}")))?;
        apps.insert(name.to_string(), json!({"uri": uri}));
    }
    Ok((!apps.is_empty()).then_some(serde_json::Value::Object(apps)))
}

impl Access {
    /// The login is for this registry: images may be in others.
    fn registry(&self, known: &str) -> Result<Registry, Error> {
        let ca = self.ca.clone().or_else(rust_ota::config::public_ca);
        let http = Http::new(&HttpSettings { ca, ..HttpSettings::default() })
            .map_err(|e| Error::App { detail: e.to_string() })?;
        let login = match (&self.user, &self.password_file) {
            (None, None) => Login::Nobody,
            (Some(user), Some(path)) => {
                let secret = fs::read_to_string(path).map_err(Error::io("read", path))?;
                Login::Known(Credentials { user: user.clone(), secret: secret.trim_end().to_string() })
            }
            _ => return Err(Error::option("--user", "needs --password-file, and that needs --user")),
        };
        Ok(Registry::new(http, login, [known.to_string()].into()))
    }
}

/// A tag is looked up once, here, and never again on a device.
fn pin(image: &str, registry: &Registry, path: &Path) -> Result<Reference, Error> {
    if image.contains('@') {
        let bad = |reason: String| Error::content(path, format!("the image {image:?} {reason}"));
        return Reference::parse(image).map_err(bad);
    }
    let place = Place::parse(image)
        .map_err(|reason| Error::content(path, format!("the image {image:?} {reason}")))?;
    registry.pin(&place).map_err(|e| Error::App { detail: e.to_string() })
}

/// The same files give the same bytes: names in order, no times, no owners.
fn pack(project: &Path, compose: &[u8]) -> Result<Vec<u8>, Error> {
    let mut names = Vec::new();
    walk(project, Path::new(""), &mut names)?;
    names.sort();
    let mut tar = Vec::new();
    for name in names {
        let path = project.join(&name);
        let word = name.to_str().ok_or_else(|| Error::content(&path, "its name is not UTF-8"))?;
        let written = if word == COMPOSE_FILE {
            archive::put(&mut tar, word, 0o644, compose.len() as u64, &mut &compose[..])
        } else {
            let meta = path.metadata().map_err(Error::io("look at", &path))?;
            let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            let mut file = File::open(&path).map_err(Error::io("open", &path))?;
            archive::put(&mut tar, word, mode, meta.len(), &mut file)
        };
        written.map_err(Error::io("pack", &path))?;
    }
    archive::end(&mut tar).and_then(|()| tar.flush()).map_err(Error::io("pack", project))?;
    archive::gzip(&tar).map_err(Error::io("compress", project))
}

fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let entry = entry.map_err(Error::io("read", &folder))?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::io("look at", &entry.path()))?;
        match () {
            () if entry.file_name() == ".git" => {}
            () if kind.is_dir() => walk(root, &name, found)?,
            () if kind.is_file() => found.push(name),
            () => {
                return Err(Error::content(
                    &entry.path(),
                    "only files and folders can be in an app's project",
                ));
            }
        }
    }
    Ok(())
}
