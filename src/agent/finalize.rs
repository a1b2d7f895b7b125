//! After a reboot: is this the Target that was installed? Needs no network, no right clock and no D-Bus.

use super::content::Content;
use super::report::Report;
use super::{Agent, AgentError, Outcome, Working};
use crate::store::{Installed, Pending};

/// What the facts after a boot say about a pending Target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    CameUp,
    NotRebooted,
    RolledBack,
    Cut,
}

/// The rule, as a table of facts. `deployed`: the sysroot has a deployment of the pending commit.
fn judge(booted_is_pending: bool, deployed: bool, reboot_awaited: bool) -> Verdict {
    match (booted_is_pending, deployed, reboot_awaited) {
        (true, _, _) => Verdict::CameUp,
        (false, false, _) => Verdict::Cut,
        (false, true, true) => Verdict::NotRebooted,
        (false, true, false) => Verdict::RolledBack,
    }
}

impl Working<'_> {
    /// Confirms the boot, or takes note that the bootloader went back.
    pub fn finalize(&self) -> Result<Outcome, AgentError> {
        let agent = self.agent;
        let content = agent.content()?;
        let mut installed = Installed::load(&agent.settings.state)?;
        let Some(pending) = installed.pending.clone() else {
            return self.finalize_without_pending(&content);
        };
        let verdict = agent.verdict(&content, &pending)?;
        if verdict == Verdict::NotRebooted {
            return Ok(Outcome::RebootNeeded(pending.target));
        }
        let running =
            if verdict == Verdict::CameUp { Some(&pending.target) } else { installed.current.as_ref() };
        let report = Report::of_pending(agent, &pending, running);
        report.finalize_starts();
        let outcome = match verdict {
            Verdict::CameUp => self.confirm(installed)?,
            Verdict::RolledBack => self.take_back(&content, installed)?,
            _ => {
                installed.pending = None;
                agent.bootloader.confirm()?;
                installed.save(&agent.settings.state)?;
                Outcome::Cut(pending.target.clone())
            }
        };
        report.completed(verdict == Verdict::CameUp, &outcome.to_string());
        Ok(outcome)
    }

    /// The bootloader is told first: if the power is cut before the record is written, the next run says it again.
    fn confirm(&self, mut installed: Installed) -> Result<Outcome, AgentError> {
        self.agent.bootloader.confirm()?;
        installed.confirm();
        installed.save(&self.agent.settings.state)?;
        Ok(Outcome::Confirmed(installed.current))
    }

    /// The record is written first, so that the bad Target is never forgotten; then the deployments are put in
    /// order while the bootloader still boots the good one; then the bootloader is told.
    fn take_back(&self, content: &Content, mut installed: Installed) -> Result<Outcome, AgentError> {
        let rejected = installed.reject("the bootloader rolled back", self.agent.now()?);
        installed.save(&self.agent.settings.state)?;
        content.keep_only_current()?;
        self.agent.bootloader.confirm()?;
        Ok(rejected.map_or(Outcome::NothingPending, Outcome::RolledBack))
    }

    /// A cut in [`Self::take_back`] leaves nothing pending and the bootloader still going back; state that was lost
    /// leaves nothing pending and a boot on trial.
    fn finalize_without_pending(&self, content: &Content) -> Result<Outcome, AgentError> {
        let boot = self.agent.bootloader.state()?;
        if !boot.trial && !boot.rolled_back {
            return Ok(Outcome::NothingPending);
        }
        if boot.rolled_back {
            content.keep_only_current()?;
        }
        self.agent.bootloader.confirm()?;
        Ok(Outcome::Confirmed(None))
    }
}

impl Agent {
    fn verdict(&self, content: &Content, pending: &Pending) -> Result<Verdict, AgentError> {
        let booted = content.current_commit()?;
        let commit = &pending.target.commit;
        let reboot_awaited = self.settings.reboot_sentinel.exists();
        Ok(judge(booted.as_ref() == Some(commit), content.has_deployment(commit)?, reboot_awaited))
    }

    /// Gives an unconfirmed trial boot up, so that the bootloader counts it. Changes nothing else.
    pub fn deadline(&self) -> Result<Outcome, AgentError> {
        let content = self.content()?;
        let installed = Installed::load(&self.settings.state)?;
        let Some(pending) = installed.pending else { return Ok(Outcome::NothingPending) };
        if self.verdict(&content, &pending)? != Verdict::CameUp {
            return Ok(Outcome::NothingPending);
        }
        log::error!(
            "{} booted, but nothing confirmed it in time: rebooting, so that the bootloader counts it",
            pending.target.name
        );
        self.reboot()?;
        Ok(Outcome::RebootNeeded(pending.target))
    }

    /// Reboots by the configured command.
    pub fn reboot(&self) -> Result<(), AgentError> {
        rustix::fs::sync();
        let words = &self.settings.reboot_command;
        let failed = |reason: String| AgentError::Reboot { command: words.join(" "), reason };
        let (program, arguments) = words.split_first().ok_or_else(|| failed("it is empty".to_string()))?;
        let status = std::process::Command::new(program)
            .args(arguments)
            .status()
            .map_err(|e| failed(e.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_after_a_boot() {
        let table = [
            // booted is pending, deployed, reboot awaited
            ((true, true, false), Verdict::CameUp),
            ((true, true, true), Verdict::CameUp),
            ((false, true, true), Verdict::NotRebooted),
            ((false, true, false), Verdict::RolledBack),
            ((false, false, false), Verdict::Cut),
            ((false, false, true), Verdict::Cut),
        ];
        for ((booted, deployed, awaited), verdict) in table {
            assert_eq!(judge(booted, deployed, awaited), verdict, "{booted} {deployed} {awaited}");
        }
    }
}
