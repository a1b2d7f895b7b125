//! After a reboot: is this the Target that was installed? Needs no network, no right clock and no D-Bus.

use super::content::Content;
use super::report::Report;
use super::{Agent, AgentError, Outcome, Working};
use crate::store::{DirectorState, EventQueue, Installed, Pending, Stage, TargetRecord, atomic};

/// What the facts after a boot say about a pending Target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    CameUp,
    NotRebooted,
    PassedBy,
    RolledBack,
    Cut,
}

/// What is known after a boot.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    /// The running commit is the pending one.
    booted: bool,
    /// The sysroot has a deployment of the pending commit.
    deployed: bool,
    /// There was no boot since it was deployed.
    reboot_awaited: bool,
    /// The bootloader's own record.
    given_up: Option<bool>,
    /// It was passed by before.
    passed_by: bool,
}

/// The rule.
fn judge(evidence: Evidence) -> Verdict {
    match evidence {
        Evidence { booted: true, .. } => Verdict::CameUp,
        Evidence { deployed: false, .. } => Verdict::Cut,
        Evidence { reboot_awaited: true, .. } => Verdict::NotRebooted,
        // A power cut as the deployment was written: Linux replays the journal of the file system and sees the new
        // boot entry, U-Boot does not and saw the old one. Once: a bootloader that goes back without a record of
        // it must not lead in circles.
        Evidence { given_up: Some(false), passed_by: false, .. } => Verdict::PassedBy,
        _ => Verdict::RolledBack,
    }
}

impl Working<'_> {
    /// Confirms the boot, or takes note that the bootloader went back. See [`Agent::finalize`].
    pub fn finalize(&self) -> Result<Outcome, AgentError> {
        let agent = self.agent;
        // A file that waits for a reboot is settled by the Director's cycle.
        if agent.settings.primary_is_file() {
            return Ok(Outcome::NothingPending);
        }
        let content = agent.content()?;
        agent.forget_firmware_reboot()?;
        let mut installed = Installed::load(&agent.settings.state)?;
        let Some(pending) = installed.pending.clone() else {
            return self.finalize_without_pending(&content, &installed);
        };
        let verdict = agent.verdict(&content, &pending)?;
        match verdict {
            Verdict::NotRebooted => return Ok(Outcome::RebootNeeded(pending.target)),
            Verdict::PassedBy => return self.boot_again(installed, pending),
            Verdict::CameUp => agent.must_be_able_again()?,
            _ => {}
        }
        let running =
            if verdict == Verdict::CameUp { Some(&pending.target) } else { installed.current.as_ref() };
        let report = Report::of_pending(agent, &pending, running);
        report.finalize_starts();
        let outcome = match verdict {
            Verdict::CameUp => self.confirm(&content, installed)?,
            Verdict::RolledBack => self.take_back(&content, installed)?,
            _ => {
                installed.pending = None;
                agent.bootloader.confirm()?;
                atomic::remove(&agent.settings.reboot_sentinel)?;
                installed.save(&agent.settings.state)?;
                Outcome::Cut(pending.target.clone())
            }
        };
        let runs = matches!(outcome, Outcome::Confirmed(_) | Outcome::FirmwareOnTrial(_));
        report.completed(runs, &outcome.to_string());
        agent.reaches(Stage::Finalize, None);
        agent.recorded(Ok(outcome))
    }

    /// The deployment is whole and was not tried: its trial begins with the next boot.
    fn boot_again(&self, mut installed: Installed, pending: Pending) -> Result<Outcome, AgentError> {
        let settings = &self.agent.settings;
        let name = &pending.target.name;
        log::warn!(
            "{name} is deployed, but this boot was of the earlier system, and not because {name} failed"
        );
        installed.pending = Some(Pending { passed_by: true, ..pending.clone() });
        installed.save(&settings.state)?;
        self.agent.bootloader.arm()?;
        atomic::write(&settings.reboot_sentinel, b"")?;
        Ok(Outcome::RebootNeeded(pending.target))
    }

    /// The bootloader is told first: if the power is cut before the record is written, the next run says it again.
    fn confirm(&self, content: &Content, mut installed: Installed) -> Result<Outcome, AgentError> {
        self.agent.bootloader.confirm()?;
        if let Some(failed) = self.finish_apps(content, &mut installed)? {
            return Ok(failed);
        }
        installed.confirm();
        // The next run, or the next start, records it.
        let unrecorded = |error| AgentError::Unrecorded(Box::new(AgentError::Store(error)));
        installed.save(&self.agent.settings.state).map_err(unrecorded)?;
        self.tidy_apps(&installed);
        Ok(self.confirmed(installed.current))
    }

    /// The record is written first, so that the bad Target is never forgotten; then the deployments are put in
    /// order while the bootloader still boots the good one; then the bootloader is told.
    fn take_back(&self, content: &Content, mut installed: Installed) -> Result<Outcome, AgentError> {
        if let Some(target) = self.excused(content, &mut installed) {
            installed.save(&self.agent.settings.state)?;
            content.keep_only_current()?;
            self.agent.bootloader.confirm()?;
            return Ok(self.apps_after_rollback(&target, &installed).unwrap_or(Outcome::Damaged(target)));
        }
        let rejected = installed.reject("the bootloader rolled back", self.agent.now()?);
        installed.save(&self.agent.settings.state)?;
        content.keep_only_current()?;
        self.agent.bootloader.confirm()?;
        let Some(rejected) = rejected else { return Ok(Outcome::NothingPending) };
        let apps = self.apps_after_rollback(&rejected.target, &installed);
        Ok(apps.unwrap_or(Outcome::RolledBack(rejected)))
    }

    /// A Target is bad only when it was seen to fail as it was published: where its objects were damaged on this device, they
    /// are gone now and it is fetched again. Once: a medium that does so each time must not lead in circles.
    fn excused(&self, content: &Content, installed: &mut Installed) -> Option<TargetRecord> {
        let commit = installed.pending.as_ref()?.target.commit.clone();
        if installed.damaged.as_ref() == Some(&commit) {
            return None;
        }
        match content.lost(&commit) {
            Ok(0) => return None,
            Ok(lost) => log::error!("{lost} objects of {commit} were damaged or lost on this device"),
            Err(error) => {
                log::error!("{error}");
                return None;
            }
        }
        installed.damaged = Some(commit);
        installed.pending.take().map(|pending| pending.target)
    }

    /// A cut in [`Self::take_back`] leaves nothing pending, and the bootloader still going back or, where that keeps no
    /// record, the bad Target still next; state that was lost leaves nothing pending and a boot on trial.
    fn finalize_without_pending(
        &self,
        content: &Content,
        installed: &Installed,
    ) -> Result<Outcome, AgentError> {
        let boot = self.agent.bootloader.state()?;
        self.agent.must_be_able(&boot)?;
        let bad_is_next = content.next_commit()?.is_some_and(|commit| installed.bad(&commit).is_some());
        let rolled_back = boot.rolled_back == Some(true) || bad_is_next;
        // A trial that begins with the next boot is not over, also where the state that knew of it is gone.
        let began = boot.trial && !self.agent.settings.reboot_sentinel.exists();
        if !began && !rolled_back {
            return Ok(Outcome::NothingPending);
        }
        if rolled_back {
            content.keep_only_current()?;
        }
        self.agent.bootloader.confirm()?;
        Ok(Outcome::Confirmed(None))
    }
}

impl Agent {
    pub(super) fn verdict(&self, content: &Content, pending: &Pending) -> Result<Verdict, AgentError> {
        let booted = content.current_commit()?;
        let commit = &pending.target.commit;
        let given_up = match self.bootloader.state() {
            Ok(boot) => boot.rolled_back,
            Err(error) => {
                log::error!("{error}");
                None
            }
        };
        Ok(judge(Evidence {
            booted: booted.as_ref() == Some(commit),
            deployed: content.has_deployment(commit)?,
            reboot_awaited: self.settings.reboot_sentinel.exists(),
            given_up,
            passed_by: pending.passed_by,
        }))
    }

    /// Whether this boot needs no judgement: nothing is pending.
    pub(super) fn is_judged(&self) -> bool {
        Installed::load(&self.settings.state).is_ok_and(|installed| installed.pending.is_none())
    }

    /// Whether no server waits to hear something of this device, as after an update that another program finalized.
    pub(super) fn has_nothing_to_tell(&self) -> bool {
        let state = &self.settings.state;
        let told = EventQueue::of(state).events().map_or(true, |events| events.is_empty());
        told && DirectorState::load(state).map_or(true, |director| director.has_nothing_to_tell())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_after_a_boot() {
        let (yes, no, unknown) = (Some(true), Some(false), None);
        let table = [
            // booted is pending, deployed, reboot awaited, the bootloader gave up, passed by before
            ((true, true, false, no, false), Verdict::CameUp),
            ((true, true, true, no, false), Verdict::CameUp),
            ((true, true, false, yes, false), Verdict::CameUp),
            ((true, true, false, no, true), Verdict::CameUp),
            ((false, true, true, no, false), Verdict::NotRebooted),
            ((false, true, true, no, true), Verdict::NotRebooted),
            ((false, true, false, yes, false), Verdict::RolledBack),
            ((false, true, false, unknown, false), Verdict::RolledBack),
            ((false, true, false, no, true), Verdict::RolledBack),
            ((false, true, false, no, false), Verdict::PassedBy),
            ((false, false, false, no, false), Verdict::Cut),
            ((false, false, false, yes, false), Verdict::Cut),
            ((false, false, true, unknown, false), Verdict::Cut),
        ];
        for (facts, verdict) in table {
            let (booted, deployed, reboot_awaited, given_up, passed_by) = facts;
            let evidence = Evidence { booted, deployed, reboot_awaited, given_up, passed_by };
            assert_eq!(judge(evidence), verdict, "{evidence:?}");
        }
    }
}
