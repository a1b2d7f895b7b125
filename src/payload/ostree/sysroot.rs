//! The device's sysroot as it is: its stateroot, deployments and repository.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use ::ostree::prelude::{FileExt, FileExtManual};
use ::ostree::{gio, glib};

use super::ahead::{Room, room_below};
use super::error::OstreeError;
use super::heal::heal;
use super::loose::{self, Loose};
use super::object::{ObjectId, ObjectKind};
use super::plan::Walk;
use super::pull::remove_parts;
use super::space::{Space, repo_failed};

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
        match Sysroot::load(with_own_mounts(path)?, settings) {
            Err(_) if heal(path)? => Sysroot::load(with_own_mounts(path)?, settings),
            done => done,
        }
    }

    /// Opens and reads it, for what will write nothing either.
    pub fn open_to_look(settings: &OstreeSettings) -> Result<Sysroot, OstreeError> {
        keep_stdout_clean();
        Sysroot::load(::ostree::Sysroot::new(Some(&gio::File::for_path(&settings.path))), settings)
    }

    fn load(inner: ::ostree::Sysroot, settings: &OstreeSettings) -> Result<Sysroot, OstreeError> {
        inner.load(gio::Cancellable::NONE).map_err(|e| OstreeError::sysroot(&settings.path, e))?;
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
        let sound = matches!(loose::read(&self.repo_path()?, id)?, Loose::Sound(_));
        Ok(sound && !self.is_partial(commit)?)
    }

    /// Whether a pull of the commit began and did not end.
    pub(super) fn is_partial(&self, commit: &str) -> Result<bool, OstreeError> {
        Ok(self.repo_path()?.join(format!("state/{commit}.commitpartial")).exists())
    }

    /// Gives back what an earlier wanted commit brought, since another one is wanted now. Tells whether that helped.
    pub(super) fn make_room(&self, wanted: ObjectId) -> Result<bool, OstreeError> {
        let (before, _) = self.space()?;
        remove_parts(&self.repo_path()?);
        let here = loose::is_there(&self.repo_path()?, wanted);
        self.set_keep_ref(here.then(|| wanted.hex()).as_deref())?;
        self.cleanup()?;
        Ok(self.space()?.0 > before)
    }

    /// Reads all objects of a commit and checks their hashes, which takes as long as reading the whole system does. What
    /// is wrong is removed, and the commit is one that is to be pulled again. Gives how many objects that takes.
    pub fn mend(&self, commit: &str) -> Result<usize, OstreeError> {
        let id = ObjectId::commit(commit)?;
        self.make_writable()?;
        let repo_path = self.repo_path()?;
        let mut walk = Walk::default();
        let missing: HashSet<_> = walk.visit(&repo_path, vec![id])?.into_iter().collect();
        let is_here = |id: &&ObjectId| id.kind == ObjectKind::File && !missing.contains(id);
        let files: Vec<_> = walk.seen().filter(is_here).copied().collect();
        let wrong = loose::wrong_files(&repo_path, &files)?;
        for id in &wrong {
            loose::remove(&repo_path, *id)?;
        }
        let lost = missing.len() + wrong.len();
        if lost > 0 {
            self.mark_partial(commit, true)?;
        }
        Ok(lost)
    }

    /// Looks at the metadata of all commits that libostree reads when it writes deployments or removes objects, and
    /// removes what is damaged. Gives what deployments lost by that, now or earlier.
    pub(super) fn mend_deployed(&self) -> Result<Vec<ObjectId>, OstreeError> {
        let repo_path = self.repo_path()?;
        for commit in loose::refs(&repo_path) {
            self.mend_history(&repo_path, commit)?;
        }
        let mut lost = Vec::new();
        let mut seen = HashSet::new();
        for deployment in self.inner.deployments() {
            let commit = ObjectId::commit(&deployment.csum())?;
            if seen.insert(commit) {
                lost.extend(self.mend_history(&repo_path, commit)?);
            }
        }
        Ok(lost)
    }

    fn mend_history(&self, repo_path: &Path, commit: ObjectId) -> Result<Vec<ObjectId>, OstreeError> {
        let lost = Walk::default().visit(repo_path, vec![commit])?;
        let (hex, here) = (commit.hex(), loose::is_there(repo_path, commit));
        // An incomplete commit is one whose gaps libostree goes around.
        if here && lost.is_empty() == self.is_partial(&hex)? {
            self.mark_partial(&hex, !lost.is_empty())?;
        }
        Ok(lost.into_iter().filter(ObjectId::is_metadata).collect())
    }

    /// Marks a commit as one that is not, or is, wholly here. The marker is on the disk before the commit object can be:
    /// a transaction syncs the whole volume first.
    pub(super) fn mark_partial(&self, commit: &str, partial: bool) -> Result<(), OstreeError> {
        let doing = || format!("marking {commit} as {}", if partial { "incomplete" } else { "complete" });
        std::fs::create_dir_all(self.repo_path()?.join("state"))
            .map_err(|e| OstreeError::repo(doing(), e))?;
        self.repo().mark_commit_partial(commit, partial).map_err(|e| repo_failed(&self.repo(), doing(), e))
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
        // By libostree it is a file descriptor of this process, which tells a person nothing.
        Ok(self.settings.path.join("ostree/repo"))
    }

    /// Bytes that may be used on the repository's volume, and bytes that must stay free.
    pub fn space(&self) -> Result<(u64, u64), OstreeError> {
        let space = Space::new(&self.repo(), &self.repo_path()?, None)?;
        Ok((space.available()?, space.reserved()))
    }

    pub(super) fn boot(&self) -> PathBuf {
        self.settings.path.join("boot")
    }

    /// Room of kernels in /boot that go with the next deployment: all but those of the running system, of pinned
    /// deployments and of other stateroots.
    pub(super) fn boot_room_given_back(&self, boot: &Path) -> Room {
        let (current, os) = (self.current(), self.os().unwrap_or_default());
        let stays = |d: &::ostree::Deployment| {
            d.is_pinned() || d.osname() != os || current.as_ref().is_some_and(|c| c.equal(d))
        };
        let kept: Vec<_> = self.inner.deployments().into_iter().filter(stays).map(|d| d.bootcsum()).collect();
        let mut total = Room::default();
        for entry in std::fs::read_dir(boot.join("ostree")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !kept.iter().any(|csum| name.ends_with(csum.as_str())) {
                let room = room_below(&entry.path());
                total.bytes = total.bytes.saturating_add(room.bytes);
                total.files += room.files;
            }
        }
        total
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
        self.mend_deployed()?;
        self.unseal_unlisted();
        self.inner
            .cleanup(gio::Cancellable::NONE)
            .map_err(|e| repo_failed(&self.repo(), "cleaning up the sysroot", e))
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
            .map_err(|e| repo_failed(&self.repo(), format!("writing the ref {KEEP_REF}"), e))
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
        let _lock = self.lock()?;
        self.keep_healthy()
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

/// On a running device libostree makes /sysroot and /boot writable in a mount namespace of its own. It asks whether there is one
/// already by a file that only a process with all capabilities may see.
fn with_own_mounts(path: &Path) -> Result<::ostree::Sysroot, OstreeError> {
    let inner = ::ostree::Sysroot::new(Some(&gio::File::for_path(path)));
    if has_own_mounts() {
        inner.set_mount_namespace_in_use();
    } else {
        let entered = inner.initialize_with_mount_namespace(gio::Cancellable::NONE);
        entered.map_err(|e| OstreeError::sysroot(path, e))?;
    }
    Ok(inner)
}

/// Whether nobody outside sees what this process mounts, as in the sandbox of a service.
fn has_own_mounts() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_apart(&mounts))
}

/// The fifth word of a line is the place; from the seventh to a dash stands whose mounts it follows.
fn is_apart(mountinfo: &str) -> bool {
    let mut words = mountinfo.lines().map(|line| line.split(' ').collect::<Vec<&str>>());
    let root = words.rfind(|words| words.get(4) == Some(&"/")).unwrap_or_default();
    root.iter().skip(6).take_while(|word| **word != "-").any(|word| word.starts_with("master:"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_mounts_they_are() {
        let line = |fields: &str| {
            format!(
                "22 1 8:2 / /proc rw shared:9 - proc proc rw\n61 1 8:2 /ostree/x / rw,relatime{fields} - ext4 /dev/vda2 rw\n"
            )
        };
        let table = [
            ("", false),
            (" shared:1", false),
            (" master:1", true),
            (" shared:276 master:1", true),
            (" propagate_from:2", false),
        ];
        for (fields, expected) in table {
            assert_eq!(is_apart(&line(fields)), expected, "{fields}");
        }
        assert!(!is_apart("") && !is_apart("1 2 3"));
    }
}
