//! Makes a commit the next system to boot, and puts the deployments in order after the bootloader went back.
//!
//! The list is written by us and not by libostree's helper: with U-Boot the second entry is what the bootloader
//! goes back to, so the running system has to stand right behind the new one, before pinned ones.

use std::path::PathBuf;

use ::ostree::gio;

use super::ahead::{boot_bytes, is_other_volume};
use super::error::{OstreeError, is_no_space};
use super::etc;
use super::loose::{self, Loose};
use super::object::ObjectId;
use super::parse;
use super::pull::Alone;
use super::shadow::Shadow;
use super::space::{self, Space};
use super::sysroot::Sysroot;
use crate::store::atomic::cut_here;

impl Sysroot {
    /// Deploys a commit that was pulled: kernel arguments of the running system, /etc merged from it, first in
    /// the list, the running system second. Pinned deployments and other stateroots stay; all others go.
    ///
    /// `name` becomes the origin's refspec. Does nothing where the commit is already first.
    pub fn deploy(&self, commit: &str, name: &str) -> Result<(), OstreeError> {
        if !self.repo_has(commit)? {
            return Err(OstreeError::NotPulled { commit: commit.to_string() });
        }
        let _lock = self.lock()?;
        self.mend_deployed()?;
        let os = self.os()?;
        let current = self.current();
        if let Some(first) = self.finished().first()
            && first.csum() == commit
            && first.osname() == os
        {
            return Ok(());
        }
        if current.as_ref().is_some_and(|c| c.csum() == commit && c.osname() == os) {
            // The running system is wanted while another one waits to be booted: the other one goes.
            return self.write_first(current, commit);
        }
        match self.deploy_new(commit, name, &os, current.clone()) {
            // A /boot that has room for two kernels and not for three: the system before the running one goes first.
            Err(OstreeError::NoSpace { .. } | OstreeError::NoInodes { .. })
                if self.give_way(current.as_ref(), commit)? =>
            {
                self.deploy_new(commit, name, &os, current)
            }
            done => done,
        }
    }

    /// After the bootloader went back: the running system becomes first again, and what stood before it goes,
    /// except where pinned. Does nothing where the running system is first.
    ///
    /// Only to be called when it is known that the bootloader went back: a new deployment that waits for its
    /// first boot looks the same.
    ///
    /// Returns the commits that were removed.
    pub fn put_in_order(&self) -> Result<Vec<String>, OstreeError> {
        let _lock = self.lock()?;
        self.mend_deployed()?;
        let Some(current) = self.current() else { return Ok(Vec::new()) };
        let before = self.finished();
        if before.first().is_some_and(|first| first.equal(&current)) {
            return Ok(Vec::new());
        }
        let commit = current.csum().to_string();
        self.write_first(Some(current), &commit)?;
        let after = self.finished();
        Ok(removed(&before, &after))
    }

    /// Removes the deployments of a known-bad commit, unless one of them runs or is pinned. The running system
    /// becomes first. Returns whether there were any.
    pub fn undeploy_bad(&self, commit: &str) -> Result<bool, OstreeError> {
        let _lock = self.lock()?;
        self.mend_deployed()?;
        let current = self.current();
        let before = self.finished();
        let bad = |d: &::ostree::Deployment| {
            d.csum() == commit && !d.is_pinned() && !current.as_ref().is_some_and(|c| c.equal(d))
        };
        if !before.iter().any(bad) {
            return Ok(false);
        }
        let mut list: Vec<_> = current.iter().cloned().collect();
        list.extend(
            before
                .iter()
                .filter(|d| !bad(d) && !list.iter().any(|l| l.equal(d)))
                .cloned()
                .collect::<Vec<_>>(),
        );
        self.write(&list, commit)?;
        Ok(true)
    }

    fn deploy_new(
        &self,
        commit: &str,
        name: &str,
        os: &str,
        current: Option<::ostree::Deployment>,
    ) -> Result<(), OstreeError> {
        // Folders of a deploy that was cut would only take space.
        self.unseal_unlisted();
        self.inner.prepare_cleanup(gio::Cancellable::NONE).map_err(|e| OstreeError::deploy(commit, e))?;
        let merge = self.merge_from(os, current.as_ref());
        let shadow = match &merge {
            Some(merge) => self.mergeable(merge, commit)?,
            None => None,
        };
        let etc_of = shadow.as_ref().map(|shadow| &shadow.deployment).or(merge.as_ref());
        let arguments = merge.as_ref().map(kernel_arguments).unwrap_or_default();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let origin = self.inner.origin_new_from_refspec(name);
        let new = self
            .inner
            .deploy_tree(Some(os), commit, Some(&origin), etc_of, &arguments, gio::Cancellable::NONE)
            .map_err(|e| self.explain(commit, e))?;
        drop(shadow);
        self.refuse_half_made(commit, &new, &arguments)?;
        let mut list = vec![new];
        list.extend(current.clone());
        list.extend(merge.filter(|m| !current.as_ref().is_some_and(|c| c.equal(m))));
        self.append_kept(&mut list, os);
        self.write(&list, commit)
    }

    /// The deployment whose /etc and kernel arguments a new one gets.
    fn merge_from(&self, os: &str, current: Option<&::ostree::Deployment>) -> Option<::ostree::Deployment> {
        let current = current.filter(|c| c.osname() == os).cloned();
        current.or_else(|| self.finished().into_iter().find(|d| d.osname() == os))
    }

    /// Refuses a commit whose /etc cannot be merged. Where libostree must not see all of the running one, gives what it may.
    fn mergeable(&self, merge: &::ostree::Deployment, commit: &str) -> Result<Option<Shadow>, OstreeError> {
        let local = etc::local(&self.folder_of(merge))?;
        let repo_path = self.repo_path()?;
        let id = ObjectId::commit(commit)?;
        let here = |id| {
            Ok(match loose::read(&repo_path, id)? {
                Loose::Sound(bytes) => Some(bytes),
                Loose::Absent | Loose::Damaged => None,
            })
        };
        if let Some(bytes) = here(id)? {
            local.require_merge(&mut etc::Tree::new(parse::commit(id, &bytes)?.root[0], &here)?)?;
        }
        if local.specials.is_empty() {
            return Ok(None);
        }
        const MOST_TOLD: usize = 8;
        for path in local.specials.iter().take(MOST_TOLD) {
            log::warn!("/etc/{}: no file, folder or link, so the new system does not get it", path.display());
        }
        Shadow::new(self, merge).map(Some)
    }

    /// The same before the download, as far as it can be known then.
    pub(super) fn require_mergeable(&self, alone: &Alone<'_>, root: ObjectId) -> Result<(), OstreeError> {
        let Ok(os) = self.os() else { return Ok(()) };
        let Some(merge) = self.merge_from(&os, self.current().as_ref()) else { return Ok(()) };
        let local = etc::local(&self.folder_of(&merge))?;
        // What does not come now is asked for by the walk, which tells why.
        let bytes = |id| match loose::read(alone.repo_path, id)? {
            Loose::Sound(bytes) => Ok(Some(bytes)),
            Loose::Absent | Loose::Damaged => Ok(alone.fetch(id).ok()),
        };
        if local.is_unchanged() { Ok(()) } else { local.require_merge(&mut etc::Tree::new(root, &bytes)?) }
    }

    pub(super) fn folder_of(&self, deployment: &::ostree::Deployment) -> PathBuf {
        self.settings.path.join(self.inner.deployment_dirpath(deployment).as_str())
    }

    /// Removes all deployments that the next one would push out anyway. Tells whether there was any.
    fn give_way(&self, current: Option<&::ostree::Deployment>, commit: &str) -> Result<bool, OstreeError> {
        let (os, before) = (self.os()?, self.finished());
        let mut list: Vec<_> = current.into_iter().cloned().collect();
        self.append_kept(&mut list, &os);
        if list.is_empty() || list.len() >= before.len() {
            return Ok(false);
        }
        log::warn!("there is no room for three systems: removing the one before the running one");
        self.write_list(&list, commit)?;
        self.clean();
        Ok(true)
    }

    fn write_first(&self, current: Option<::ostree::Deployment>, commit: &str) -> Result<(), OstreeError> {
        let os = self.os()?;
        let mut list: Vec<_> = current.into_iter().collect();
        self.append_kept(&mut list, &os);
        self.write(&list, commit)
    }

    /// Pinned deployments and those of other stateroots are not ours to remove; neither is one that runs.
    fn append_kept(&self, list: &mut Vec<::ostree::Deployment>, os: &str) {
        let running = self.inner.booted_deployment();
        for deployment in self.finished() {
            let keep = deployment.is_pinned()
                || deployment.osname() != os
                || running.as_ref().is_some_and(|r| r.equal(&deployment));
            if keep && !list.iter().any(|l| l.equal(&deployment)) {
                list.push(deployment);
            }
        }
    }

    fn write(&self, list: &[::ostree::Deployment], commit: &str) -> Result<(), OstreeError> {
        cut_here();
        self.write_list(list, commit)?;
        cut_here();
        // From here on the change stands. What follows only frees space, and is done again next time.
        if let Err(error) = self.release(commit) {
            log::warn!("{error}");
        }
        self.clean();
        rustix::fs::sync();
        Ok(())
    }

    fn write_list(&self, list: &[::ostree::Deployment], commit: &str) -> Result<(), OstreeError> {
        let options = ::ostree::SysrootWriteDeploymentsOpts { do_postclean: false };
        self.inner
            .write_deployments_with_options(list, &options, gio::Cancellable::NONE)
            .map_err(|e| self.explain(commit, e))
    }

    fn clean(&self) {
        self.unseal_unlisted();
        if let Err(error) = self.inner.cleanup(gio::Cancellable::NONE) {
            log::warn!("cleaning up after the deployments were written: {error}");
        }
    }

    /// Staged ones are left out: libostree itself drops or finishes them.
    fn finished(&self) -> Vec<::ostree::Deployment> {
        self.inner.deployments().into_iter().filter(|d| !d.is_staged()).collect()
    }

    fn explain(&self, commit: &str, error: ::ostree::glib::Error) -> OstreeError {
        if !is_no_space(&error) {
            return OstreeError::deploy(commit, error);
        }
        let (boot, repo) = (self.boot(), self.repo_path().unwrap_or_default());
        let full = |path| space::free_files(path).is_ok_and(|files| files == Some(0));
        let needed = ObjectId::commit(commit).and_then(|id| boot_bytes(&repo, id)).unwrap_or(0);
        if is_other_volume(&boot, &repo)
            && let (Ok(available), Ok(of_repo)) = (space::free(&boot), space::free(&repo))
            && (available < needed.min(of_repo) || full(&boot))
        {
            return space::no_room(&boot, Some(needed), available, 0);
        }
        match Space::new(&self.repo(), &repo, None) {
            Ok(space) => space.exhausted(None),
            Err(_) => OstreeError::deploy(commit, error),
        }
    }
}

/// The arguments of the deployment's boot entry, unchanged. `ostree=` is replaced by libostree.
fn kernel_arguments(deployment: &::ostree::Deployment) -> Vec<String> {
    let options = deployment.bootconfig().and_then(|config| config.get("options"));
    options.map(|o| split_arguments(&o)).unwrap_or_default()
}

/// Splits as the kernel does: a blank within double quotes separates nothing.
fn split_arguments(line: &str) -> Vec<String> {
    let mut quoted = false;
    let separates = |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    };
    line.split(separates).filter(|argument| !argument.is_empty()).map(str::to_string).collect()
}

fn removed(before: &[::ostree::Deployment], after: &[::ostree::Deployment]) -> Vec<String> {
    before.iter().filter(|b| !after.iter().any(|a| a.equal(b))).map(|b| b.csum().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_in_quotes_stay_whole() {
        let table = [
            ("", vec![]),
            ("  quiet  rw ", vec!["quiet", "rw"]),
            (r#"dyndbg="file a.c +p; file b.c +p" rw"#, vec![r#"dyndbg="file a.c +p; file b.c +p""#, "rw"]),
            (r#""opt=a b" x="" y"#, vec![r#""opt=a b""#, r#"x="""#, "y"]),
            // The kernel takes an open quote to the end too.
            (r#"a "b c"#, vec!["a", r#""b c"#]),
        ];
        for (line, arguments) in table {
            assert_eq!(split_arguments(line), arguments, "{line}");
        }
    }
}
