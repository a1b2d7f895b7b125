//! Files that are whole or absent: temporary file, fsync, rename, fsync of the folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rust_ota::payload::file::describe;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Mode of a file that web servers read.
pub const PUBLIC: u32 = 0o644;
/// Mode of a file that holds a secret.
pub const SECRET: u32 = 0o600;

/// Writes a file so that a reader, and a crash, see the old content or the new, nothing else.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, mode)?;
    fs::rename(&temporary, path).map_err(Error::io("write", path))?;
    sync_folder(parent(path))
}

/// Writes a secret that must not exist yet: whole or not at all, mode 0600 from its first byte, whatever the umask.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, SECRET)?;
    renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE)
        .map_err(|error| Error::io("create", path)(error.into()))?;
    sync_folder(parent(path))
}

/// Copies a file of any size, whole or not at all; gives its length and SHA-256 in hex.
pub fn copy(from: &Path, to: &Path) -> Result<(u64, String), Error> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent(to).join(format!(".{name}.new"));
    let _ = fs::remove_file(&temporary);
    fs::copy(from, &temporary).map_err(Error::io("copy", from))?;
    let restrict = fs::set_permissions(&temporary, Permissions::from_mode(PUBLIC));
    restrict.and_then(|()| File::open(&temporary)?.sync_all()).map_err(Error::io("write", &temporary))?;
    // What was copied is what is signed, whatever becomes of the source.
    let described = digest(&temporary)?;
    fs::rename(&temporary, to).map_err(Error::io("write", to))?;
    sync_folder(parent(to))?;
    Ok(described)
}

/// Length and SHA-256 in hex.
pub fn digest(path: &Path) -> Result<(u64, String), Error> {
    let missing = || Error::io("read", path)(std::io::ErrorKind::NotFound.into());
    let found = describe(path).map_err(|e| Error::content(path, e))?.ok_or_else(missing)?;
    Ok((found.0, rust_ota::tuf::to_hex(&found.1)))
}

/// Removes what a crash left of [`replace`] in a folder.
pub fn sweep(folder: &Path) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".new") && path.is_file() {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
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

/// Writes the content beside its place, durable and with its mode.
fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent(path).join(format!(".{name}.new"));
    // A leftover of a crash may have another mode: a secret is never written into it.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", &temporary))?;
    Ok(temporary)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
