//! The device's own objects, looked at before libostree is.
//!
//! A power cut leaves files that are empty, cut or full of zeros. libostree maps a metadata object into memory as it is
//! and takes an object that is there for the right one; so what it gets is read and hashed here first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ::ostree::gio;
use sha2::{Digest, Sha256};

use super::error::OstreeError;
use super::object::{Limits, ObjectId, ObjectKind, from_hex};
use super::sysroot::open_repo;

/// What is there of a metadata object.
pub(super) enum Loose {
    Absent,
    /// Another content than its hash says, or none that can be read.
    Damaged,
    Sound(Vec<u8>),
}

/// Reads a metadata object and checks its hash.
pub(super) fn read(repo_path: &Path, id: ObjectId) -> Result<Loose, OstreeError> {
    let path = path_of(repo_path, id);
    let failed = |e: io::Error| OstreeError::repo(format!("reading {}", path.display()), e);
    match fs::symlink_metadata(&path) {
        Ok(file) if file.is_file() && file.len() <= Limits::default().of(&id) => {}
        Ok(_) => return Ok(Loose::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loose::Absent),
        Err(error) => return Err(failed(error)),
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // A block of the medium that cannot be read any more: another one will take its place.
        Err(error) if is_medium(&error) => return Ok(Loose::Damaged),
        Err(error) => return Err(failed(error)),
    };
    let right = Sha256::digest(&bytes).as_slice() == id.hash;
    Ok(if right { Loose::Sound(bytes) } else { Loose::Damaged })
}

/// Whether there is an object of this name, whatever is in it.
pub(super) fn is_there(repo_path: &Path, id: ObjectId) -> bool {
    let file = fs::symlink_metadata(path_of(repo_path, id));
    file.is_ok_and(|file| file.is_file() || (id.kind == ObjectKind::File && file.is_symlink()))
}

/// Removes what is no object and lies where one belongs: libostree would take it for one.
pub(super) fn clear(repo_path: &Path, id: ObjectId) -> Result<(), OstreeError> {
    match fs::symlink_metadata(path_of(repo_path, id)) {
        Ok(_) => remove(repo_path, id),
        Err(_) => Ok(()),
    }
}

/// Bytes of an object; of a file its content, as this kind of repository keeps it.
pub(super) fn length(repo_path: &Path, id: ObjectId) -> u64 {
    fs::symlink_metadata(path_of(repo_path, id)).map_or(0, |file| file.len())
}

/// Removes an object that is not what its name says.
pub(super) fn remove(repo_path: &Path, id: ObjectId) -> Result<(), OstreeError> {
    let path = path_of(repo_path, id);
    log::warn!("{}: damaged on this device, removing it", path.display());
    let is_folder = fs::symlink_metadata(&path).is_ok_and(|file| file.is_dir());
    match if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OstreeError::repo(format!("removing {}, which is damaged", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Of these file objects, the ones whose content has another hash. Each is read; all processors do it.
pub(super) fn wrong_files(repo_path: &Path, files: &[ObjectId]) -> Result<Vec<ObjectId>, OstreeError> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let look = || -> Result<(), OstreeError> {
        let repo = open_repo(repo_path)?;
        while let Some(id) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match repo.fsck_object(id.ostree_type(), &id.hex(), gio::Cancellable::NONE) {
                Ok(()) => {}
                Err(error) if error.matches(gio::IOErrorEnum::PermissionDenied) => {
                    return Err(OstreeError::repo(format!("reading {id}"), error));
                }
                Err(_) => {
                    wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(*id);
                }
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get()).clamp(1, 4);
    thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, look).ok()).collect();
        let mut result = look();
        for other in others {
            result = result.and(other.join().unwrap_or(Ok(())));
        }
        result
    })?;
    Ok(wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The commits that refs name. A ref that names none is removed: libostree could not read the others past it.
pub(super) fn refs(repo_path: &Path) -> Vec<ObjectId> {
    let mut found = Vec::new();
    let mut folders = vec![repo_path.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => found.extend(commit_of_ref(&path)),
                _ => {}
            }
        }
    }
    found
}

fn commit_of_ref(path: &Path) -> Option<ObjectId> {
    let text = fs::read_to_string(path).unwrap_or_default();
    if let Some(hash) = from_hex(text.trim_end()) {
        return Some(ObjectId::new(ObjectKind::Commit, hash));
    }
    log::warn!("{}: a ref that names no commit, removing it", path.display());
    if let Err(error) = fs::remove_file(path) {
        log::warn!("{}: {error}", path.display());
    }
    None
}

fn path_of(repo_path: &Path, id: ObjectId) -> PathBuf {
    let path = repo_path.join(id.path());
    if id.kind == ObjectKind::File { path.with_extension("file") } else { path }
}

fn is_medium(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}
