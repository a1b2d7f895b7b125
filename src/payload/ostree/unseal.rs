//! Files that nobody may remove (`chattr +i`, `+a`) in /etc of a deployment that is to go: an administrator locked them in the
//! system that ran, the merge copied them, and libostree would fail at the old ones with each update.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, OFlags, ioctl_getflags, ioctl_setflags};

use super::sysroot::Sysroot;

impl Sysroot {
    /// Takes the locks off what is in no list of deployments, so that it can be removed. What fails is told by the removal.
    pub(super) fn unseal_unlisted(&self) {
        let listed: Vec<PathBuf> = self.inner.deployments().iter().map(|d| self.folder_of(d)).collect();
        for os in folders(&self.settings.path.join("ostree/deploy")) {
            for deployment in folders(&os.join("deploy")) {
                if !listed.contains(&deployment) {
                    unseal(&deployment.join("etc"));
                }
            }
        }
    }
}

fn unseal(folder: &Path) {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        unlock(&folder);
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => unlock(&entry.path()),
                _ => {}
            }
        }
    }
}

fn unlock(path: &Path) {
    let locks = IFlags::IMMUTABLE | IFlags::APPEND;
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path);
    let unlocked = open.and_then(|file: File| {
        let flags = ioctl_getflags(&file)?;
        if flags.intersects(locks) {
            ioctl_setflags(&file, flags - locks)?;
        }
        Ok(())
    });
    if let Err(error) = unlocked {
        log::debug!("{}: {error}", path.display());
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}
