//! The content of a Target: the OSTree room with the agent's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::exit;
use crate::config::Settings;
use crate::decide::SignedDelta;
use crate::payload::ostree::{
    Booted, Deployment, ObjectSource, OstreeError, OstreeErrorClass, OstreeSettings, PullOptions, StatsFile,
    Sysroot, plan, pull,
};

use crate::store::TargetRecord;

use super::progress::bytes;
use super::{Agent, AgentError};

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Objects that are here now.
    pub objects_done: u64,
    /// Objects that are known to be needed; grows while folders are read.
    pub objects_total: u64,
    /// Bytes received.
    pub bytes_done: u64,
    /// Bytes needed, where the commit says so.
    pub bytes_total: Option<u64>,
}

/// What the signed metadata say of the static deltas to a Target.
#[derive(Debug, Clone, Default)]
pub struct SignedDeltas {
    pub deltas: BTreeMap<String, SignedDelta>,
    pub stats: Option<StatsFile>,
}

/// The device's sysroot.
#[derive(Debug)]
pub struct Content {
    sysroot: Sysroot,
}

impl Content {
    pub fn open(settings: &Settings) -> Result<Content, AgentError> {
        Ok(Content { sysroot: Sysroot::open(&place(settings))? })
    }

    /// Only to look: changes nothing, and needs no rights to.
    pub fn look(settings: &Settings) -> Result<Content, AgentError> {
        Ok(Content { sysroot: Sysroot::open_to_look(&place(settings))? })
    }

    pub fn current_commit(&self) -> Result<Option<String>, AgentError> {
        Ok(self.sysroot.booted_commit()?)
    }

    pub fn has_deployment(&self, commit: &str) -> Result<bool, AgentError> {
        Ok(self.sysroot.deployments()?.iter().any(|d: &Deployment| d.commit == commit))
    }

    /// What the next boot starts, where that is another system than the one that runs.
    pub fn next_commit(&self) -> Result<Option<String>, AgentError> {
        let first = self.sysroot.deployments()?.into_iter().next();
        Ok(first.filter(|d: &Deployment| !d.booted).map(|d| d.commit))
    }

    pub fn must_have(&self, target: &TargetRecord) -> Result<(), AgentError> {
        if self.sysroot.repo_has(&target.commit)? {
            return Ok(());
        }
        Err(AgentError::NotDownloaded { target: target.name.clone() })
    }

    /// A small file of a commit, where it has one.
    pub fn file_in(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, AgentError> {
        Ok(self.sysroot.file_in(commit, path)?)
    }

    /// Where the tree of a deployed commit is.
    pub fn deployment_folder(&self, commit: &str) -> Result<PathBuf, AgentError> {
        Ok(self.sysroot.deployment_folder(commit)?)
    }

    /// What a fetch would bring, in words.
    pub fn plan(&self, agent: &Agent, source: &dyn ObjectSource, commit: &str) -> Result<String, AgentError> {
        let plan = plan(&self.sysroot, source, commit, &options(agent))?;
        Ok(match plan.sizes {
            _ if plan.complete => "nothing to fetch".to_string(),
            None => "the commit does not tell how much is missing".to_string(),
            Some(sizes) => format!(
                "{} objects to fetch, {}; {} of free space needed",
                sizes.objects,
                bytes(sizes.download),
                bytes(sizes.needed)
            ),
        })
    }

    /// Brings what is missing of a commit, by a static delta that the signed metadata name if that is cheaper.
    pub fn fetch(
        &self,
        agent: &Agent,
        source: &dyn ObjectSource,
        commit: &str,
        signed: &SignedDeltas,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        // What was damaged on this device is removed and fetched again before any Target is blamed.
        const MOST_ROUNDS: usize = 3;
        for _ in 0..MOST_ROUNDS {
            if self.sysroot.repo_has(commit)? && agent.memory.is_whole(commit) {
                return Ok(());
            }
            self.pull(agent, source, commit, signed, progress)?;
            if self.is_whole(agent, commit)? {
                return Ok(());
            }
        }
        Err(OstreeError::Damaged { commit: commit.to_string() }.into())
    }

    /// Whether each object of the commit is what its hash says; once for each process, since that reads all of it. What
    /// is wrong is gone, and the commit is to be fetched again.
    pub fn is_whole(&self, agent: &Agent, commit: &str) -> Result<bool, AgentError> {
        if agent.memory.is_whole(commit) {
            return Ok(true);
        }
        let lost = self.lost(commit)?;
        if lost > 0 {
            log::error!("{lost} objects of {commit} were damaged or lost on this device");
            return Ok(false);
        }
        agent.memory.set_whole(commit);
        Ok(true)
    }

    /// How many objects of a commit are not here or were damaged; those are gone now.
    pub fn lost(&self, commit: &str) -> Result<usize, AgentError> {
        Ok(self.sysroot.mend(commit)?)
    }

    fn pull(
        &self,
        agent: &Agent,
        source: &dyn ObjectSource,
        commit: &str,
        signed: &SignedDeltas,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        let options = PullOptions {
            delta_stats: signed.stats.clone(),
            signed_deltas: signed.deltas.clone(),
            ..options(agent)
        };
        let report = pull(&self.sysroot, source, commit, &options, &mut |p| {
            progress(Transfer {
                objects_done: p.objects_done,
                objects_total: p.objects_total,
                bytes_done: p.bytes_done,
                bytes_total: p.bytes_total,
            })
        })?;
        if report.delta_trouble.is_some() {
            agent.memory.delta_trouble.replace(report.delta_trouble);
        }
        if report.delta_bytes > 0 {
            log::info!("applied a static delta of {}", bytes(report.delta_bytes));
        }
        log::info!("fetched {} objects, {}", report.objects, bytes(report.bytes));
        Ok(())
    }

    /// Bytes that may be used on the sysroot's volume, and bytes that must stay free.
    pub fn space(&self) -> Result<(u64, u64), AgentError> {
        Ok(self.sysroot.space()?)
    }

    pub fn deploy(&self, target: &TargetRecord) -> Result<(), AgentError> {
        Ok(self.sysroot.deploy(&target.commit, &target.name)?)
    }

    /// After a rollback: what runs is first, and what failed is gone.
    pub fn keep_only_current(&self) -> Result<(), AgentError> {
        for commit in self.sysroot.put_in_order()? {
            log::info!("removed the deployment of {commit}");
        }
        Ok(())
    }
}

fn place(settings: &Settings) -> OstreeSettings {
    let booted = settings.booted_deployment.map_or(Booted::Running, Booted::Index);
    OstreeSettings { path: settings.sysroot.clone(), os: settings.os.clone(), booted }
}

fn options(agent: &Agent) -> PullOptions {
    PullOptions {
        jobs: agent.settings.pull_jobs,
        stop: Some(agent.stop_flag()),
        stall: agent.settings.network.stall,
        deltas: agent.settings.static_deltas,
        unsigned_deltas: agent.settings.unsigned_deltas,
        state: Some(agent.settings.state.clone()),
        ..PullOptions::default()
    }
}

/// The exit code of an error of the OSTree room.
pub fn exit_code(error: &OstreeError) -> u8 {
    if matches!(error, OstreeError::Damaged { .. }) {
        return exit::NOT_DOWNLOADED;
    }
    match error.class() {
        OstreeErrorClass::Download => exit::DOWNLOAD_FAILED,
        OstreeErrorClass::NoSpace => exit::NO_SPACE,
        OstreeErrorClass::Verification => exit::VERIFICATION_FAILED,
        OstreeErrorClass::Other => exit::ERROR,
    }
}
