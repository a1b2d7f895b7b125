//! The device's sysroot as it is: its stateroot, deployments and repository.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use ::ostree::prelude::{FileExt, FileExtManual};
use ::ostree::{RepoCommitState, gio, glib};

use super::error::OstreeError;
use super::object::ObjectId;
use super::plan::Walk;
use super::space::Space;

/// Local ref that keeps a pulled commit from being pruned before it is deployed.
pub(super) const KEEP_REF: &str = "rust-ota/pulled";

/// Which sysroot, and whose.
#[derive(Debug, Clone)]
pub struct OstreeSettings {
    /// `/` on a device; a folder for preparing or testing one.
    pub path: PathBuf,
    /// The stateroot. Without it: the booted one, or the only one that there is.
    pub os: Option<String>,
    /// What counts as the running system.
    pub booted: Booted,
}

impl Default for OstreeSettings {
    fn default() -> Self {
        OstreeSettings { path: PathBuf::from("/"), os: None, booted: Booted::Running }
    }
}

/// What counts as the running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booted {
    /// The deployment that the kernel was told to boot (`ostree=`).
    Running,
    /// The deployment with this index, on a sysroot that nobody runs (`pacman.booted = 0`). Index 1 is what a
    /// device looks like after its bootloader went back.
    Index(usize),
}

/// One deployment, in the order of the bootloader's menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Place in the list; 0 is what the bootloader takes by itself.
    pub index: usize,
    /// Its commit.
    pub commit: String,
    /// Its stateroot.
    pub os: String,
    /// It is the running system (see [`Booted`]).
    pub booted: bool,
    /// An administrator wants it kept.
    pub pinned: bool,
    /// It becomes a real deployment only at shutdown.
    pub staged: bool,
    /// The refspec in its origin file: for our own deployments the Target's name.
    pub origin: Option<String>,
}

/// An open sysroot. It belongs to the thread that opened it.
pub struct Sysroot {
    pub(super) inner: ::ostree::Sysroot,
    pub(super) settings: OstreeSettings,
    os: RefCell<Option<String>>,
}

impl fmt::Debug for Sysroot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sysroot").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Sysroot {
    /// Opens and reads it. Nothing is written.
    pub fn open(settings: &OstreeSettings) -> Result<Sysroot, OstreeError> {
        keep_stdout_clean();
        let path = &settings.path;
        let inner = ::ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        // On a running device libostree makes /sysroot and /boot writable in a mount namespace of its own.
        inner
            .initialize_with_mount_namespace(gio::Cancellable::NONE)
            .map_err(|e| OstreeError::sysroot(path, e))?;
        inner.load(gio::Cancellable::NONE).map_err(|e| OstreeError::sysroot(path, e))?;
        Ok(Sysroot { inner, settings: settings.clone(), os: RefCell::new(None) })
    }

    /// All deployments of all stateroots, in the order of the bootloader's menu, as they are on disk now.
    pub fn deployments(&self) -> Result<Vec<Deployment>, OstreeError> {
        self.reload()?;
        let current = self.current();
        let all = self.inner.deployments();
        Ok(all.iter().enumerate().map(|(index, d)| describe(index, d, current.as_ref())).collect())
    }

    /// The commit of the running system, where there is one.
    pub fn booted_commit(&self) -> Result<Option<String>, OstreeError> {
        self.reload()?;
        Ok(self.current().map(|d| d.csum().to_string()))
    }

    /// The stateroot that new deployments go to.
    pub fn os(&self) -> Result<String, OstreeError> {
        if let Some(os) = self.settings.os.clone().or_else(|| self.os.borrow().clone()) {
            return Ok(os);
        }
        let os = match self.current() {
            Some(deployment) => deployment.osname().to_string(),
            None => self.only_stateroot()?,
        };
        *self.os.borrow_mut() = Some(os.clone());
        Ok(os)
    }

    /// Whether the whole commit is here. A commit object alone is not enough: while a pull is under way, or was
    /// cut, libostree's `state/HASH.commitpartial` lies beside it.
    pub fn repo_has(&self, commit: &str) -> Result<bool, OstreeError> {
        let id = ObjectId::commit(commit)?;
        let repo = self.repo();
        let doing = || format!("looking for commit {commit}");
        if !repo
            .has_object(id.ostree_type(), commit, gio::Cancellable::NONE)
            .map_err(|e| OstreeError::repo(doing(), e))?
        {
            return Ok(false);
        }
        let (_, state) = repo.load_commit(commit).map_err(|e| OstreeError::repo(doing(), e))?;
        Ok(state == RepoCommitState::NORMAL)
    }

    /// Reads all objects of a commit and checks their hashes. Takes as long as reading the whole system does.
    pub fn verify(&self, commit: &str) -> Result<(), OstreeError> {
        if !self.repo_has(commit)? {
            return Err(OstreeError::NotPulled { commit: commit.to_string() });
        }
        let repo = self.repo();
        let mut walk = Walk::default();
        if !walk.visit(&repo, vec![ObjectId::commit(commit)?])?.is_empty() {
            return Err(OstreeError::NotPulled { commit: commit.to_string() });
        }
        for id in walk.seen() {
            repo.fsck_object(id.ostree_type(), &id.hex(), gio::Cancellable::NONE)
                .map_err(|e| OstreeError::Checksum { object: *id, reason: e.message().to_string() })?;
        }
        Ok(())
    }

    /// A small file of a commit, before it is deployed; none where the commit has no such file.
    pub fn file_in(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, OstreeError> {
        let doing = || format!("reading {path} of commit {commit}");
        let read = self.repo().read_commit(commit, gio::Cancellable::NONE);
        let (root, _) = read.map_err(|e| OstreeError::repo(doing(), e))?;
        match root.resolve_relative_path(path).load_contents(gio::Cancellable::NONE) {
            Ok((bytes, _)) => Ok(Some(bytes.to_vec())),
            Err(e) if e.matches(gio::IOErrorEnum::NotFound) => Ok(None),
            Err(e) => Err(OstreeError::repo(doing(), e)),
        }
    }

    /// Where the tree of a deployed commit is; the sysroot itself where it is not deployed.
    pub fn deployment_folder(&self, commit: &str) -> Result<PathBuf, OstreeError> {
        self.reload()?;
        let found = self.inner.deployments().into_iter().find(|d| d.csum() == commit);
        let path = found.map(|d| self.inner.deployment_dirpath(&d).to_string()).unwrap_or_default();
        Ok(self.settings.path.join(path))
    }

    /// Where the repository is.
    pub fn repo_path(&self) -> Result<PathBuf, OstreeError> {
        let path = self.repo().path();
        path.path().ok_or_else(|| OstreeError::repo("opening the repository", "it has no local path"))
    }

    /// Bytes that may be used on the repository's volume, and bytes that must stay free.
    pub fn space(&self) -> Result<(u64, u64), OstreeError> {
        let space = Space::new(&self.repo(), &self.repo_path()?, None)?;
        Ok((space.available()?, space.reserved()))
    }

    /// Forgets a commit that was pulled, wholly or in part, and frees what only it needs.
    pub fn discard(&self, commit: &str) -> Result<(), OstreeError> {
        self.release(commit)?;
        self.cleanup()
    }

    /// Removes what a cut deploy left, and everything in the repository that no deployment or ref needs.
    /// A commit that was pulled and not yet deployed is kept.
    pub fn cleanup(&self) -> Result<(), OstreeError> {
        let _lock = self.lock()?;
        self.inner
            .cleanup(gio::Cancellable::NONE)
            .map_err(|e| OstreeError::repo("cleaning up the sysroot", e))
    }

    pub(super) fn repo(&self) -> ::ostree::Repo {
        self.inner.repo()
    }

    /// Protects a pulled commit from pruning until it is deployed or discarded; another one loses it.
    pub(super) fn keep(&self, commit: &str) -> Result<(), OstreeError> {
        self.set_keep_ref(Some(commit))
    }

    pub(super) fn release(&self, commit: &str) -> Result<(), OstreeError> {
        let kept = self
            .repo()
            .resolve_rev(KEEP_REF, true)
            .map_err(|e| OstreeError::repo(format!("reading the ref {KEEP_REF}"), e))?;
        if kept.is_some_and(|kept| kept == commit) { self.set_keep_ref(None) } else { Ok(()) }
    }

    fn set_keep_ref(&self, commit: Option<&str>) -> Result<(), OstreeError> {
        self.repo()
            .set_ref_immediate(None, KEEP_REF, commit, gio::Cancellable::NONE)
            .map_err(|e| OstreeError::repo(format!("writing the ref {KEEP_REF}"), e))
    }

    /// The deployment that counts as the running one.
    pub(super) fn current(&self) -> Option<::ostree::Deployment> {
        match self.settings.booted {
            Booted::Running => self.inner.booted_deployment(),
            Booted::Index(index) => self
                .inner
                .deployments()
                .into_iter()
                .filter(|d| self.settings.os.as_ref().is_none_or(|os| d.osname().as_str() == os))
                .nth(index),
        }
    }

    /// Takes the sysroot's lock for a change, and reads again what others may have changed before.
    pub(super) fn lock(&self) -> Result<SysrootLock<'_>, OstreeError> {
        let path = &self.settings.path;
        let taken = self.inner.try_lock().map_err(|e| OstreeError::sysroot(path, e))?;
        if !taken {
            return Err(OstreeError::Busy { path: path.clone() });
        }
        let lock = SysrootLock { sysroot: &self.inner };
        // Making it writable may have unloaded it, and others may have changed it before.
        self.reload()?;
        Ok(lock)
    }

    /// Makes the repository writable where the device mounts /sysroot read-only.
    pub(super) fn make_writable(&self) -> Result<(), OstreeError> {
        drop(self.lock()?);
        Ok(())
    }

    fn reload(&self) -> Result<(), OstreeError> {
        self.inner
            .load_if_changed(gio::Cancellable::NONE)
            .map(|_| ())
            .map_err(|e| OstreeError::sysroot(&self.settings.path, e))
    }

    fn only_stateroot(&self) -> Result<String, OstreeError> {
        let path = &self.settings.path;
        let mut found = Vec::new();
        let folder = path.join("ostree/deploy");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
        found.sort();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(OstreeError::NoStateroot { path: path.clone(), found }),
        }
    }
}

/// Holds the sysroot's lock for as long as it lives.
pub(super) struct SysrootLock<'a> {
    sysroot: &'a ::ostree::Sysroot,
}

impl Drop for SysrootLock<'_> {
    fn drop(&mut self) {
        self.sysroot.unlock();
    }
}

/// The repository of a sysroot by its path, for threads that cannot share libostree's object.
pub(super) fn open_repo(path: &Path) -> Result<::ostree::Repo, OstreeError> {
    let repo = ::ostree::Repo::new_for_path(path);
    repo.open(gio::Cancellable::NONE)
        .map_err(|e| OstreeError::repo(format!("opening the repository {}", path.display()), e))?;
    Ok(repo)
}

fn describe(
    index: usize,
    deployment: &::ostree::Deployment,
    current: Option<&::ostree::Deployment>,
) -> Deployment {
    let origin = deployment.origin().and_then(|o| o.string("origin", "refspec").ok());
    Deployment {
        index,
        commit: deployment.csum().to_string(),
        os: deployment.osname().to_string(),
        booted: current.is_some_and(|c| c.equal(deployment)),
        pinned: deployment.is_pinned(),
        staged: deployment.is_staged(),
        origin: origin.map(|o| o.to_string()),
    }
}

/// libostree prints "Freed objects" to stdout, where our own JSON goes.
fn keep_stdout_clean() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| glib::set_print_handler(|text| log::info!("libostree: {}", text.trim_end())));
}
