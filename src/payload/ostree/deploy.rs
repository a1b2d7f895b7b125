//! Makes a commit the next system to boot, and puts the deployments in order after the bootloader went back.
//!
//! The list is written by us and not by libostree's helper: with U-Boot the second entry is what the bootloader
//! goes back to, so the running system has to stand right behind the new one, before pinned ones.

use ::ostree::gio;

use super::error::{OstreeError, is_no_space};
use super::space::Space;
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
        self.deploy_new(commit, name, &os, current)
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
        self.inner.prepare_cleanup(gio::Cancellable::NONE).map_err(|e| OstreeError::deploy(commit, e))?;
        let merge = current
            .clone()
            .filter(|c| c.osname() == os)
            .or_else(|| self.finished().into_iter().find(|d| d.osname() == os));
        let arguments = merge.as_ref().map(kernel_arguments).unwrap_or_default();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let origin = self.inner.origin_new_from_refspec(name);
        let new = self
            .inner
            .deploy_tree(Some(os), commit, Some(&origin), merge.as_ref(), &arguments, gio::Cancellable::NONE)
            .map_err(|e| self.explain(commit, e))?;
        let mut list = vec![new];
        list.extend(current.clone());
        list.extend(merge.filter(|m| !current.as_ref().is_some_and(|c| c.equal(m))));
        self.append_kept(&mut list, os);
        self.write(&list, commit)
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
        let options = ::ostree::SysrootWriteDeploymentsOpts { do_postclean: false };
        cut_here();
        self.inner
            .write_deployments_with_options(list, &options, gio::Cancellable::NONE)
            .map_err(|e| self.explain(commit, e))?;
        cut_here();
        // From here on the change stands. What follows only frees space, and is done again next time.
        if let Err(error) = self.release(commit) {
            log::warn!("{error}");
        }
        if let Err(error) = self.inner.cleanup(gio::Cancellable::NONE) {
            log::warn!("cleaning up after the deployments were written: {error}");
        }
        rustix::fs::sync();
        Ok(())
    }

    /// Staged ones are left out: libostree itself drops or finishes them.
    fn finished(&self) -> Vec<::ostree::Deployment> {
        self.inner.deployments().into_iter().filter(|d| !d.is_staged()).collect()
    }

    fn explain(&self, commit: &str, error: ::ostree::glib::Error) -> OstreeError {
        if is_no_space(&error)
            && let Ok(path) = self.repo_path()
            && let Ok(space) = Space::new(&self.repo(), &path, None)
        {
            return space.exhausted(None);
        }
        OstreeError::deploy(commit, error)
    }
}

/// The arguments of the deployment's boot entry, unchanged. `ostree=` is replaced by libostree.
fn kernel_arguments(deployment: &::ostree::Deployment) -> Vec<String> {
    let options = deployment.bootconfig().and_then(|config| config.get("options"));
    options.map(|o| o.split_whitespace().map(str::to_string).collect()).unwrap_or_default()
}

fn removed(before: &[::ostree::Deployment], after: &[::ostree::Deployment]) -> Vec<String> {
    before.iter().filter(|b| !after.iter().any(|a| a.equal(b))).map(|b| b.csum().to_string()).collect()
}
