//! An update that waits for its reboot, and that the Director does not want any more, is taken back.

use super::super::AgentError;
use super::session::Session;
use crate::gateway::events::Kind;
use crate::store::{TargetRecord, atomic};
use crate::uptane::{DirectorPlan, FilePlan};

const CODE: &str = "OPERATION_CANCELLED";
const REASON: &str = "Withdrawn by the Director before the reboot";

impl Session<'_> {
    /// Whether the Director does not want what waits for its reboot any more. In doubt it does.
    pub fn is_withdrawn(&mut self, pending: &TargetRecord) -> bool {
        let file = self.file_primary();
        // What was not assigned cannot be withdrawn.
        if file.is_none() && self.state.installing.is_none() {
            return false;
        }
        let wanted = match self.verified(true) {
            Ok(plans) => match file {
                Some(index) => plans.files.into_iter().nth(index).and_then(commit_of_file),
                None => commit_of_system(plans.primary),
            },
            Err(error) => {
                log::warn!("{error}");
                return false;
            }
        };
        wanted.as_ref() != Some(&pending.commit)
    }

    /// Gives whether it could be done.
    pub fn take_back(&mut self, target: &TargetRecord) -> Result<bool, AgentError> {
        let taken = match self.file_primary() {
            Some(index) => self.take_file_back(index),
            None => self.take_system_back(),
        }?;
        if taken {
            log::info!("{} was withdrawn by the Director before its reboot, and is taken back", target.name);
        }
        Ok(taken)
    }

    /// What the Director is to hear is on disk first. It waits there for as long as the installation does, so that a cut
    /// after that loses nothing; what it comes to in place of this replaces it.
    fn take_system_back(&mut self) -> Result<bool, AgentError> {
        let before = self.state.ecu_results.clone();
        if let Some(assigned) = &self.state.installing {
            let id = assigned.correlation_id.clone().unwrap_or_default();
            self.note(&id, false, CODE, REASON);
        }
        if self.state.ecu_results != before {
            self.save()?;
        }
        if !self.working.undo_pending()? {
            return Ok(false);
        }
        self.state.installing = None;
        self.conclude();
        self.save()?;
        Ok(true)
    }

    /// Nothing is in place yet, so the note is all there is to undo. The mark goes after it: a note without a mark would
    /// read as a reboot.
    fn take_file_back(&mut self, index: usize) -> Result<bool, AgentError> {
        let Some(assigned) = self.file_of(index).installing.take() else { return Ok(false) };
        self.file_event(index, Kind::EcuInstallationCompleted, &assigned, Some(false), "withdrawn");
        self.file_result(index, &assigned, false, CODE, REASON);
        self.conclude();
        self.save()?;
        atomic::remove(&self.agent.settings.reboot_sentinel)?;
        Ok(true)
    }
}

fn commit_of_system(plan: DirectorPlan) -> Option<String> {
    match plan {
        DirectorPlan::Stay => None,
        DirectorPlan::Failed(assigned) => Some(assigned.target.commit),
        DirectorPlan::NotOstree(assigned) | DirectorPlan::Update { assigned, .. } => {
            Some(assigned.target.commit)
        }
    }
}

fn commit_of_file(plan: FilePlan) -> Option<String> {
    match plan {
        FilePlan::Stay | FilePlan::NotAFile(_) => None,
        FilePlan::Failed(assigned) => Some(assigned.target.commit),
        FilePlan::Update(update) => Some(update.assigned.target.commit),
    }
}
