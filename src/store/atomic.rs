//! Files that are either the old or the new content, never something between.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// Writes a file so that a power cut leaves the old content or the new one. Makes its folder if needed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let temporary = beside(path, ".tmp");
    let written = write_and_sync(&temporary, bytes).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a secret that was not there before: mode 0600 from its first byte, whatever the umask. A file that is there
/// already stays, and that is an error.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = private(path, bytes)?;
    cut_here();
    let link = || fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary));
    link().map_err(|e| StoreError::io("create", path, e))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Writes a secret in place of what may be there: mode 0600 from its first byte, the old content or the new one.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = private(path, bytes)?;
    let renamed = rename(&temporary, path);
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Writes a file beside `path` that is its owner's from its first byte.
fn private(path: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    make_parent(path)?;
    let temporary = beside(path, ".tmp");
    // What a cut left may have another mode.
    remove(&temporary)?;
    let create = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match create() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            // Half a secret is of no use to anybody.
            let _ = fs::remove_file(&temporary);
            Err(StoreError::io("create", path, error))
        }
    }
}

/// Makes the folder of a file, if it is not there.
pub fn make_parent(path: &Path) -> Result<(), StoreError> {
    make_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Puts a file that is written and synced in its place, so that it stays there.
pub fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    cut_here();
    fs::rename(from, to).map_err(|e| StoreError::io("rename to", to, e))?;
    let synced = sync_folder(to.parent().unwrap_or(Path::new(".")));
    cut_here();
    synced
}

/// Reads a file; none is not an error.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path, e)),
    }
}

/// Removes a file so that it stays removed; none is not an error.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => {
            cut_here();
            sync_folder(path.parent().unwrap_or(Path::new(".")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::io("remove", path, e)),
    }
}

/// Writes a value as JSON with a final newline, readable in the field.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::io("write", path, std::io::Error::other(e.to_string())))?;
    bytes.push(b'\n');
    write(path, &bytes)
}

/// Reads a JSON file. One that does not parse is set aside as `NAME.damaged` and named in the error.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read_whole(path)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(set_aside(path, e.to_string())),
    }
}

/// The same as [`read`] of a file of ours. One whose bytes cannot be had any more, or that became a folder, is set aside.
pub fn read_whole(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    use rustix::io::Errno;
    const DAMAGE: [Errno; 4] = [Errno::IO, Errno::ISDIR, Errno::UCLEAN, Errno::BADMSG];
    match read(path) {
        Err(StoreError::Io { source, .. })
            if Errno::from_io_error(&source).is_some_and(|error| DAMAGE.contains(&error)) =>
        {
            Err(set_aside(path, source.to_string()))
        }
        read => read,
    }
}

/// Moves a damaged file out of the way and says so.
pub fn set_aside(path: &Path, reason: String) -> StoreError {
    let target = beside(path, ".damaged");
    // Of two kinds, or of two folders, one does not take the other's place.
    let moved = fs::rename(path, &target).or_else(|error| {
        if target.is_dir() || path.is_dir() {
            let _ = fs::remove_file(&target).or_else(|_| fs::remove_dir_all(&target));
            return fs::rename(path, &target);
        }
        Err(error)
    });
    match moved {
        Ok(()) => StoreError::Damaged { path: path.to_path_buf(), set_aside: target, reason },
        Err(e) => StoreError::io("move aside", path, e),
    }
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // A link in its place is not ours.
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| StoreError::io("create", path, e))?;
    file.write_all(bytes).map_err(|e| StoreError::io("write", path, e))?;
    file.sync_all().map_err(|e| StoreError::io("sync", path, e))
}

fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
    sync_folder(folder.parent().unwrap_or(Path::new("/")))
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| StoreError::io("sync", folder, e))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Ends the process, as a kill would, at the point whose number `RUST_OTA_CUT_AT` names; there is one before and one after
/// each change, and tests go through all of them. Only in debug builds.
#[cfg(debug_assertions)]
pub(crate) fn cut_here() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static POINTS: AtomicU64 = AtomicU64::new(1);
    let Some(wanted) = std::env::var_os("RUST_OTA_CUT_AT") else { return };
    let number = POINTS.fetch_add(1, Ordering::Relaxed);
    if wanted.to_str().and_then(|n| n.parse().ok()) == Some(number) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn cut_here() {}
