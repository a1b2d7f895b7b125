//! `device-config`: what a device needs to begin with: settings, the first root, and its certificate.

use std::path::{Path, PathBuf};

use rust_ota::tuf::Profile;

use crate::director;
use crate::error::Error;
use crate::files;
use crate::repository::{Published, file_name, metadata_folder, newest_root};
use crate::tls::Folder;

/// Where the fragment goes: after those of the image, so that it wins.
const FRAGMENT: &str = "etc/sota/conf.d/50-ota-repo.toml";
const ROOT: &str = "usr/lib/sota/tuf/root.json";
const DIRECTOR_ROOT: &str = "usr/lib/sota/tuf/director-root.json";
const STATE: &str = "var/sota";
const IMPORT: &str = "var/sota/import";

/// What is known about the device.
#[derive(Debug)]
pub struct Device {
    pub server: String,
    pub hardware_id: Option<String>,
    pub tags: Vec<String>,
    /// The id that its certificate was made for.
    pub id: Option<String>,
    pub polling_sec: Option<u64>,
}

/// One file of a device: where it goes, and what is in it.
#[derive(Debug)]
pub struct DeviceFile {
    /// Below the device's root folder.
    pub path: PathBuf,
    pub source: Source,
    pub mode: u32,
}

/// Where a device's file comes from.
#[derive(Debug)]
pub enum Source {
    Text(String),
    File(PathBuf),
}

/// The files that a device needs.
pub fn device_files(dir: &Path, tls: &Folder, device: &Device) -> Result<Vec<DeviceFile>, Error> {
    let https = device.server.strip_prefix("https://");
    if https.or(device.server.strip_prefix("http://")).is_none_or(str::is_empty) {
        let detail = format!("{:?} is no URL: https://HOST:PORT", device.server);
        return Err(Error::option("--server", detail));
    }
    let published = Published::load(dir)?;
    let profile = if published.root.consistent_snapshot { Profile::Tuf } else { Profile::Ats };
    let root = file_name(true, crate::metadata::Role::Root, published.root.head.version);
    let director = director::folder(dir);
    let director_root = newest_root(&director)?;
    let mut list = vec![
        DeviceFile {
            path: PathBuf::from(FRAGMENT),
            source: Source::Text(fragment(profile, device, director_root.is_some())),
            mode: files::PUBLIC,
        },
        DeviceFile {
            path: PathBuf::from(ROOT),
            source: Source::File(metadata_folder(dir).join(root)),
            mode: files::PUBLIC,
        },
    ];
    if let Some(version) = director_root {
        list.push(DeviceFile {
            path: PathBuf::from(DIRECTOR_ROOT),
            source: Source::File(director.join(format!("{version}.root.json"))),
            mode: files::PUBLIC,
        });
    }
    if let Some(id) = &device.id {
        list.extend(certificates(tls, id)?);
    }
    Ok(list)
}

/// Writes the files below a folder, which can then be copied over a device's root folder.
pub fn write(out: &Path, list: &[DeviceFile]) -> Result<(), Error> {
    if list.iter().any(|file| file.path.starts_with(STATE)) {
        // Copied with its mode, it must not open the device's folder to others.
        files::create_private_folder(&out.join(STATE))?;
    }
    for file in list {
        let path = out.join(&file.path);
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        let bytes = match &file.source {
            Source::Text(text) => text.clone().into_bytes(),
            Source::File(source) => files::read(source)?,
        };
        files::replace(&path, &bytes, file.mode)?;
    }
    Ok(())
}

/// The files for a person who puts them in place by hand.
pub fn text(list: &[DeviceFile]) -> String {
    let mut out = String::new();
    for file in list {
        match &file.source {
            Source::Text(text) => out.push_str(&format!("# /{}\n{text}\n", file.path.display())),
            Source::File(source) => {
                let (path, mode) = (file.path.display(), file.mode);
                out.push_str(&format!("# /{path}  (mode {mode:04o})  from {}\n", source.display()));
            }
        }
    }
    out
}

fn fragment(profile: Profile, device: &Device, directed: bool) -> String {
    let mut out = format!("[tls]\nserver = \"{}\"\n", device.server.trim_end_matches('/'));
    if let Some(seconds) = device.polling_sec {
        out.push_str(&format!("\n[uptane]\npolling_sec = {seconds}\n"));
    }
    if let Some(id) = &device.hardware_id {
        out.push_str(&format!("\n[provision]\nprimary_ecu_hardware_id = \"{id}\"\n"));
    }
    if !device.tags.is_empty() {
        out.push_str(&format!("\n[pacman]\ntags = \"{}\"\n", device.tags.join(",")));
    }
    let metadata = profile.name();
    let trust = if directed { "director" } else { "latest" };
    out.push_str(&format!(
        "\n[rust_ota]\ntrust = \"{trust}\"\nmetadata = \"{metadata}\"\nroot = \"/{ROOT}\"\n"
    ));
    if directed {
        out.push_str(&format!("director_root = \"/{DIRECTOR_ROOT}\"\n"));
    }
    out
}

fn certificates(tls: &Folder, id: &str) -> Result<Vec<DeviceFile>, Error> {
    let folder = tls.device(id);
    let names = [("root.crt", files::PUBLIC), ("client.pem", files::PUBLIC), ("pkey.pem", files::SECRET)];
    let mut list = Vec::new();
    for (name, mode) in names {
        let source = folder.join(name);
        if !source.exists() {
            let detail = format!("no {}: make it with `ota-repo tls DIR --device {id}`", source.display());
            return Err(Error::option("--device", detail));
        }
        list.push(DeviceFile { path: Path::new(IMPORT).join(name), source: Source::File(source), mode });
    }
    Ok(list)
}
