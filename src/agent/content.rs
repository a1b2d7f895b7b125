//! The content of a Target: the OSTree room with the agent's settings.

use std::path::PathBuf;

use crate::cli::exit;
use crate::config::Settings;
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

/// The device's sysroot.
#[derive(Debug)]
pub struct Content {
    sysroot: Sysroot,
}

impl Content {
    pub fn open(settings: &Settings) -> Result<Content, AgentError> {
        let booted = settings.booted_deployment.map_or(Booted::Running, Booted::Index);
        let settings = OstreeSettings { path: settings.sysroot.clone(), os: settings.os.clone(), booted };
        Ok(Content { sysroot: Sysroot::open(&settings)? })
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

    /// Brings what is missing of a commit.
    pub fn fetch(
        &self,
        agent: &Agent,
        source: &dyn ObjectSource,
        commit: &str,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        self.fetch_by(agent, source, commit, None, progress)
    }

    /// The same with statistics of static deltas, where the Target names them.
    pub fn fetch_by(
        &self,
        agent: &Agent,
        source: &dyn ObjectSource,
        commit: &str,
        stats: Option<&StatsFile>,
        progress: &mut dyn FnMut(Transfer),
    ) -> Result<(), AgentError> {
        if self.sysroot.repo_has(commit)? {
            return Ok(());
        }
        let options = PullOptions { delta_stats: stats.cloned(), ..options(agent) };
        let report = pull(&self.sysroot, source, commit, &options, &mut |p| {
            progress(Transfer {
                objects_done: p.objects_done,
                objects_total: p.objects_total,
                bytes_done: p.bytes_done,
                bytes_total: p.bytes_total,
            })
        })?;
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

fn options(agent: &Agent) -> PullOptions {
    PullOptions {
        jobs: agent.settings.pull_jobs,
        stop: Some(agent.stop_flag()),
        deltas: agent.settings.static_deltas,
        ..PullOptions::default()
    }
}

/// The exit code of an error of the OSTree room.
pub fn exit_code(error: &OstreeError) -> u8 {
    match error.class() {
        OstreeErrorClass::Download => exit::DOWNLOAD_FAILED,
        OstreeErrorClass::NoSpace => exit::NO_SPACE,
        OstreeErrorClass::Verification => exit::VERIFICATION_FAILED,
        OstreeErrorClass::Other => exit::ERROR,
    }
}
