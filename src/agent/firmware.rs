//! Boot firmware that comes with a Target: told to the bootloader, which writes it and tries it.

use super::content::Content;
use super::{Agent, AgentError, Outcome, Working, atomic};
use crate::boot::firmware::{Firmware, VERSION_FILE, version_in};
use crate::store::{Installed, KnownBad, TargetRecord};

/// What a Target means for the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Another,
    /// An earlier one is not confirmed yet, so nothing is installed.
    Blocked,
}

impl Working<'_> {
    /// Looked at before anything is written. A Target that this board may never take is known to be bad at once.
    pub(super) fn firmware_of(&self, content: &Content, target: &TargetRecord) -> Result<Change, AgentError> {
        let agent = self.agent;
        let Some(running) = agent.firmware()? else { return Ok(Change::None) };
        if running.unconfirmed && agent.settings.firmware_blocks {
            return Ok(Change::Blocked);
        }
        let file = content.file_in(&target.commit, VERSION_FILE)?;
        let offered = file.and_then(|bytes| version_in(&String::from_utf8_lossy(&bytes)));
        match running.changes(offered.as_deref()) {
            Ok(true) => Ok(Change::Another),
            Ok(false) => Ok(Change::None),
            Err(fault) => {
                let mut installed = Installed::load(&agent.settings.state)?;
                let reason = fault.to_string();
                let count = installed.bad(&target.commit).map_or(0, |bad| bad.count).saturating_add(1);
                installed.known_bad.retain(|bad| bad.target.commit != target.commit);
                installed.known_bad.push(KnownBad {
                    target: target.clone(),
                    reason,
                    since: agent.now()?,
                    count,
                });
                installed.save(&agent.settings.state)?;
                Err(AgentError::Firmware { target: target.name.clone(), fault })
            }
        }
    }

    /// The boot is good; the firmware that it came with may need one more.
    pub(super) fn confirmed(&self, target: Option<TargetRecord>) -> Outcome {
        match (self.agent.firmware(), target) {
            (Ok(Some(Firmware { unconfirmed: true, .. })), Some(target)) => Outcome::FirmwareOnTrial(target),
            (_, target) => Outcome::Confirmed(target),
        }
    }
}

impl Agent {
    /// None where the bootloader writes no firmware.
    pub(super) fn firmware(&self) -> Result<Option<Firmware>, AgentError> {
        if !self.bootloader.writes_firmware() {
            return Ok(None);
        }
        Ok(Some(Firmware::of(&self.bootloader.state()?.variables)))
    }

    /// Whether the daemon reboots so that the bootloader confirms its firmware: once. A board whose firmware is never
    /// confirmed would reboot for ever otherwise.
    pub fn reboots_for_firmware(&self) -> Result<bool, AgentError> {
        let marker = self.settings.state.join("firmware-reboot");
        if !self.settings.auto_reboot || self.settings.booted_deployment.is_some() {
            return Ok(false);
        }
        if atomic::read(&marker)?.is_some() {
            log::error!("the boot firmware is still not confirmed after a reboot; look at the bootloader");
            return Ok(false);
        }
        atomic::write(&marker, b"")?;
        Ok(true)
    }

    /// The firmware is confirmed: the next one may have its reboot.
    pub(super) fn forget_firmware_reboot(&self) -> Result<(), AgentError> {
        let marker = self.settings.state.join("firmware-reboot");
        if marker.exists() && !self.firmware()?.is_some_and(|firmware| firmware.unconfirmed) {
            atomic::remove(&marker)?;
        }
        Ok(())
    }
}
