//! Files that are whole or absent: temporary file, fsync, rename, fsync of the folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::Error;

/// Mode of a file that web servers read.
pub const PUBLIC: u32 = 0o644;
/// Mode of a file that holds a secret.
pub const SECRET: u32 = 0o600;

/// Writes a file so that a reader, and a crash, see the old content or the new, nothing else.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    // A leftover of a crash may have the wrong mode: never write a secret into it.
    let _ = fs::remove_file(&temporary);
    create(&temporary, bytes, mode)?;
    fs::rename(&temporary, path).map_err(Error::io("write", path))?;
    sync_folder(folder)
}

/// Writes a secret that must not exist yet: mode 0600 from its first byte, whatever the umask.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create(path, bytes, SECRET)?;
    sync_folder(parent(path))
}

/// Makes a folder that only its owner can look into.
pub fn create_private_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(Error::io("restrict", path))
}

/// Makes a folder that web servers look into.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::io("read", path))
}

/// A JSON file's content.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::content(path, e))
}

/// Makes the names inside a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
