//! One at a time. The file is never removed: who removes a locked file lets two in.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags};

use super::StoreError;

/// Held while its value lives; the kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock or says who holds it. `holder` is what others are told about us. Its folder is ours alone to write,
    /// and the file ours alone to open: whoever can open it could hold it, and boot confirmation would wait.
    pub fn take(path: &Path, holder: &str) -> Result<Lock, StoreError> {
        let mut file = private_folder(path).and_then(|()| open(path)).map_err(|e| of(path, e))?;
        let own = own(&file).and_then(|()| file.set_permissions(Permissions::from_mode(0o600)));
        own.map_err(|e| of(path, e))?;
        if let Some(other) = held(&file) {
            return Err(StoreError::Locked { path: path.to_path_buf(), holder: other });
        }
        let line = format!("{holder}, process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()))
            .map_err(|e| StoreError::io("write", path, e))?;
        Ok(Lock { _file: file })
    }

    /// Takes a lock that other programs know, wherever that is. Nothing is written to it. None where the file is another
    /// user's: that user could hold it for ever, and it keeps nobody apart.
    pub fn take_shared(path: &Path) -> Result<Option<Lock>, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
        }
        let opened = open(path).and_then(|file| own(&file).map(|()| file));
        match opened {
            Ok(file) => match held(&file) {
                Some(holder) => Err(StoreError::Locked { path: path.to_path_buf(), holder }),
                None => Ok(Some(Lock { _file: file })),
            },
            Err(error) => {
                log::warn!("{}: {error}; going on without this lock", path.display());
                Ok(None)
            }
        }
    }
}

fn of(path: &Path, error: io::Error) -> StoreError {
    StoreError::io("lock", path, error)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    options.open(path)
}

/// Makes the folder, or refuses one that another user could put files into.
fn private_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let about = std::fs::metadata(folder)?;
    if about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        let why = format!("{} can be written by other users; chown and chmod it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

fn own(file: &File) -> io::Result<()> {
    let about = file.metadata()?;
    if about.is_file() && about.uid() == rustix::process::geteuid().as_raw() && about.nlink() == 1 {
        return Ok(());
    }
    let why = format!("it is no plain file of this user's (it is user {}'s); remove it", about.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Who holds it, if not we now.
fn held(file: &File) -> Option<String> {
    if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return None;
    }
    let mut holder = String::new();
    let _ = file.take(256).read_to_string(&mut holder);
    Some(holder.trim().chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("rust-ota-lock-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn the_folder_and_the_file_are_ours_alone() {
        let folder = folder("own");
        let path = folder.join("run/x.lock");
        let lock = Lock::take(&path, "one").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!((mode(&folder.join("run")), mode(&path)), (0o700, 0o600));
        let error = Lock::take(&path, "two").unwrap_err().to_string();
        assert!(error.contains("one, process"), "{error}");
        drop(lock);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Lock::take(&path, "three").unwrap());
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(folder.join("run"), Permissions::from_mode(0o1777)).unwrap();
        assert!(Lock::take(&path, "four").unwrap_err().to_string().contains("other users"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn no_link_is_followed_and_no_other_file_is_cut() {
        let folder = folder("link");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        let (victim, path) = (folder.join("shadow"), folder.join("x.lock"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        assert!(Lock::take(&path, "x").is_err());
        assert!(Lock::take_shared(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        assert!(Lock::take(&path, "x").is_err());
        assert!(Lock::take_shared(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another program's").unwrap();
        let _lock = Lock::take_shared(&path).unwrap().unwrap();
        assert!(matches!(Lock::take_shared(&path), Err(StoreError::Locked { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "another program's");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::remove_dir_all(folder).unwrap();
    }
}
