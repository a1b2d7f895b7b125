//! Going back because a person says so.

use super::report::Report;
use super::{AgentError, Outcome, Transfer, Working};
use crate::store::{Installed, KnownBad, Stage, TargetRecord};

const REASON: &str = "rolled back by hand";

impl Working<'_> {
    /// Takes the pending Target back, or goes to the one that ran before. What is left behind is known to be bad.
    /// None where there is nothing to go back to.
    pub fn roll_back(&self, progress: &mut dyn FnMut(Transfer)) -> Result<Option<Outcome>, AgentError> {
        self.agent.reaches(Stage::Install, None);
        match self.unrecorded_rollback(progress).transpose() {
            Some(outcome) => self.agent.recorded(outcome).map(Some),
            None => Ok(None),
        }
    }

    fn unrecorded_rollback(&self, progress: &mut dyn FnMut(Transfer)) -> Result<Option<Outcome>, AgentError> {
        let agent = self.agent;
        let current = agent.facts(&agent.names())?.current;
        let mut installed = Installed::load(&agent.settings.state)?;
        if let Some(pending) = installed.pending.clone() {
            // What is pending may have booted already; then the one before it is meant.
            let running = [current.as_ref(), installed.current.as_ref(), installed.previous.as_ref()];
            let back = running.into_iter().flatten().find(|t| t.commit != pending.target.commit).cloned();
            let Some(back) = back else { return Ok(None) };
            Report::of_pending(agent, &pending, current.as_ref()).completed(false, REASON);
            installed.reject(REASON, agent.now()?);
            installed.save(&agent.settings.state)?;
            return self.go_back(back, current.as_ref()).map(Some);
        }
        let known_good = |t: &TargetRecord| installed.bad(&t.commit).is_none();
        let (Some(bad), Some(back)) = (current, installed.previous.clone().filter(known_good)) else {
            return Ok(None);
        };
        // Fetched first: without it there is no way back, and nothing has changed.
        self.fetch(&agent.link()?, &back, progress)?;
        let since = agent.now()?;
        if back.commit == bad.commit {
            // Only the apps differ: the system that both have is not to blame.
            installed.reject_apps(&bad, REASON, since);
        } else {
            installed.known_bad.retain(|b| b.target.commit != bad.commit);
            installed.known_bad.push(KnownBad {
                target: bad.clone(),
                reason: REASON.into(),
                since,
                count: 1,
            });
        }
        installed.save(&agent.settings.state)?;
        self.go_back(back, Some(&bad)).map(Some)
    }

    fn go_back(&self, back: TargetRecord, current: Option<&TargetRecord>) -> Result<Outcome, AgentError> {
        let report = Report::new(self.agent, back.clone(), current);
        self.install(&back, &report)
    }
}
