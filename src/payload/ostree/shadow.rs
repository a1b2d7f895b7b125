//! A second look of the running system's deployment, without what libostree cannot merge: sockets, FIFOs and device nodes.
//!
//! It lies beside the deployments under a name that no commit has, so that libostree itself removes it if the power is cut.
//! Files are links to the same files: nothing is copied, and nothing of the running /etc is touched.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::error::OstreeError;
use super::sysroot::Sysroot;

/// Removed when it is no longer needed.
pub(super) struct Shadow {
    folder: PathBuf,
    pub deployment: ::ostree::Deployment,
}

impl Shadow {
    pub fn new(sysroot: &Sysroot, of: &::ostree::Deployment) -> Result<Shadow, OstreeError> {
        let deployment = ::ostree::Deployment::new(0, &of.osname(), &"0".repeat(64), 0, None, -1);
        let path = |d: &::ostree::Deployment| {
            sysroot.settings.path.join(sysroot.inner.deployment_dirpath(d).as_str())
        };
        let shadow = Shadow { folder: path(&deployment), deployment };
        shadow.fill(&path(of)).map_err(|(path, e)| {
            OstreeError::repo(format!("copying {} for the merge of /etc", path.display()), e)
        })?;
        Ok(shadow)
    }

    fn fill(&self, real: &Path) -> Result<(), (PathBuf, io::Error)> {
        let _ = fs::remove_dir_all(&self.folder);
        let failed = |e| (self.folder.clone(), e);
        fs::DirBuilder::new().mode(0o700).create(&self.folder).map_err(failed)?;
        symlink(real.join("usr").canonicalize().map_err(failed)?, self.folder.join("usr")).map_err(failed)?;
        let mut open = vec![(real.join("etc"), self.folder.join("etc"))];
        while let Some((from, to)) = open.pop() {
            copy_folder(&from, &to, &mut open).map_err(|e| (from, e))?;
        }
        Ok(())
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            log::warn!("{}: {error}; the next deployment removes it", self.folder.display());
        }
    }
}

/// Makes the folder and links the files in it; the folders in it are put on the list.
fn copy_folder(from: &Path, to: &Path, open: &mut Vec<(PathBuf, PathBuf)>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => open.push((here, there)),
            Ok(kind) if kind.is_file() || kind.is_symlink() => link_or_copy(&here, &there)?,
            _ => {}
        }
    }
    copy_attributes(from, to)
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // It went away since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // An immutable file, one with the most links, or one of another volume.
        Err(_) => copy(from, to),
        Ok(()) => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let file = fs::symlink_metadata(from)?;
    if file.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        return lchown(to, Some(file.uid()), Some(file.gid()));
    }
    fs::copy(from, to)?;
    copy_attributes(from, to)
}

/// Owner first: changing it takes the set-user-id bit and capabilities away.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let file = fs::symlink_metadata(from)?;
    chown(to, Some(file.uid()), Some(file.gid()))?;
    let mut names = vec![0; LONGEST];
    let length = rustix::fs::llistxattr(from, &mut names[..]).unwrap_or(0);
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; LONGEST];
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        // Some are the kernel's own, and no other program's to set.
        let _ = rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty());
    }
    fs::set_permissions(to, fs::Permissions::from_mode(file.mode() & 0o7777))
}

/// The kernel keeps no longer attributes, and no longer list of names.
const LONGEST: usize = 64 << 10;
