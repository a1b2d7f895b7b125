//! A boot on trial: what its bootloader is told, first and whatever else fails. No lock, no state that can be read or written,
//! and no part of the configuration that does not parse may stand between a good boot and its confirmation.

use super::content::Content;
use super::finalize::Verdict;
use super::{Agent, AgentError, Outcome};
use crate::boot::BootState;
use crate::store::{Installed, TargetRecord};

/// What the deadline calls a system that no Target is known of.
const UNKNOWN: &str = "what runs";

impl Agent {
    /// Settles what this boot came to: the bootloader is told, then it is recorded, and then its apps are started.
    pub fn finalize(&self) -> Result<Outcome, AgentError> {
        let told = self.tell_bootloader()?;
        match self.locked("finalize").and_then(|working| working.finalize()) {
            Ok(Outcome::NothingPending) if told => Ok(Outcome::Confirmed(None)),
            Err(error) if told && !matches!(error, AgentError::Unrecorded(_)) => {
                Err(AgentError::Unrecorded(Box::new(error)))
            }
            settled => settled,
        }
    }

    /// Confirms a boot that came up. Takes no lock: who holds one must not undo a good update. Whether it was one.
    pub fn tell_bootloader(&self) -> Result<bool, AgentError> {
        if self.settings.primary_is_file() {
            return Ok(false);
        }
        let good = match Installed::load(&self.settings.state) {
            Ok(Installed { pending: Some(pending), .. }) => {
                let came_up = self.verdict(&self.content()?, &pending)? == Verdict::CameUp;
                if came_up {
                    self.must_be_able_again()?;
                }
                came_up
            }
            Ok(_) => self.is_unknown_trial(&self.bootloader.state()?)?,
            // What cannot be read says nothing against this boot.
            Err(error) => {
                log::error!("{error}");
                self.is_unknown_trial(&self.bootloader.state()?)?
            }
        };
        if good {
            self.bootloader.confirm()?;
        }
        Ok(good)
    }

    /// Whether an update that nothing is known of is on trial now.
    fn is_unknown_trial(&self, boot: &BootState) -> Result<bool, AgentError> {
        self.must_be_able(boot)?;
        Ok(boot.trial && boot.rolled_back != Some(true) && !self.settings.reboot_sentinel.exists())
    }

    /// Gives an unconfirmed trial boot up, so that the bootloader counts it. Changes nothing else. What no bootloader
    /// counts would be rebooted for ever: then nothing is done, whatever is recorded.
    pub fn deadline(&self) -> Result<Outcome, AgentError> {
        let boot = match self.bootloader.state() {
            Ok(boot) => boot,
            Err(error) => {
                log::error!("{error}; nobody knows whether this boot is on trial, so it stays");
                return Ok(Outcome::NothingPending);
            }
        };
        let Some(target) = self.on_trial(&boot) else { return Ok(Outcome::NothingPending) };
        log::error!(
            "{} booted, but nothing confirmed it in time: rebooting, so that the bootloader counts it",
            target.name
        );
        self.reboot()?;
        Ok(Outcome::RebootNeeded(target))
    }

    /// Whether the bootloader counts this boot and may still go back. What nobody can read holds nothing up.
    pub fn is_on_trial(&self) -> bool {
        match self.bootloader.state() {
            Ok(boot) => self.on_trial(&boot).is_some(),
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    /// What runs, where its bootloader counts this boot and may still go back.
    fn on_trial(&self, boot: &BootState) -> Option<TargetRecord> {
        if !boot.trial || boot.rolled_back == Some(true) {
            return None;
        }
        let installed = Installed::load(&self.settings.state);
        if let Err(error) = &installed {
            log::error!("{error}");
        }
        let awaited = self.settings.reboot_sentinel.exists();
        match installed.unwrap_or_default().pending {
            Some(pending) => match Content::look(&self.settings).and_then(|c| c.current_commit()) {
                Ok(Some(running)) => (running == pending.target.commit).then_some(pending.target),
                // Half of the system may be missing; who counts will end it.
                _ => (!awaited).then_some(pending.target),
            },
            // One of a client before this one, or of state that was lost. A bootloader that counts every boot says
            // nothing about updates.
            None if boot.is_announced() && !awaited => Some(unknown()),
            None => None,
        }
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

fn unknown() -> TargetRecord {
    TargetRecord { name: UNKNOWN.to_string(), version: -1, commit: String::new(), apps: Default::default() }
}
