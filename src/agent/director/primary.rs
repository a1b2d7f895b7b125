//! What the Primary is: an OSTree system, or with `pacman.type = none` a file, as a virtual Secondary is one. Such a device has
//! no sysroot, and no bootloader is told anything.

use super::super::AgentError;
use super::report::shipped_name;
use super::secondaries::{Firmware, NOTHING, Secondary};
use super::session::Session;
use crate::config::{Settings, VirtualSecondary};
use crate::device::stored_key;
use crate::gateway::events::Kind;
use crate::store::{Assigned, DirectorState, EcuRecord, FileEcu, TargetRecord, atomic};
use crate::tuf::{Hashes, from_hex};
use crate::uptane::{Ecu, Installed};

/// The name of what nobody here or at the server has named.
const UNKNOWN: &str = "unknown";

/// The Primary that is a file, with the key of this device; none where it is an OSTree system.
pub fn as_file(settings: &Settings, record: &EcuRecord) -> Result<Option<Secondary>, AgentError> {
    if !settings.primary_is_file() {
        return Ok(None);
    }
    let Some((key, _)) = stored_key(settings)? else { return Ok(None) };
    let images = &settings.director.images;
    let config = VirtualSecondary {
        serial: Some(record.serial.clone()),
        hardware_id: record.hardware_id.clone(),
        private_key: settings.state.join("ecu-key.pem"),
        public_key: None,
        key_type: settings.director.key_type,
        firmware: images.join("primary.bin"),
        target_name: images.join("primary.name"),
    };
    Secondary::of(config, key).map(Some)
}

/// SHA-256 of the file that the Primary is, and of the one that waits for a reboot.
pub fn known_file(settings: &Settings) -> Result<(Option<String>, Option<String>), AgentError> {
    let Some(record) = EcuRecord::load(&settings.state)? else { return Ok((None, None)) };
    let Some(mut primary) = as_file(settings, &record)? else { return Ok((None, None)) };
    primary.look(&mut None)?;
    let remembered = DirectorState::load(&settings.state)?.files.remove(&record.serial);
    let waits = remembered.and_then(|file| file.installing).map(|assigned| assigned.target.commit);
    Ok((primary.firmware.map(|file| file.sha256), waits))
}

impl Session<'_> {
    /// Its place among the ECUs that are files: the last, so that it comes after the Secondaries. None where it is an OSTree
    /// system.
    pub fn file_primary(&self) -> Option<usize> {
        let own = |ecu: &Secondary| ecu.serial == self.identity.record.serial;
        self.file_ecus.iter().position(own)
    }

    /// All but the Primary.
    pub fn secondaries(&self) -> impl Iterator<Item = &Secondary> {
        self.file_ecus.iter().filter(|ecu| ecu.serial != self.identity.record.serial)
    }

    /// What runs; none where no deployment does.
    pub fn image(&self) -> Result<Option<Firmware>, AgentError> {
        if let Some(index) = self.file_primary() {
            let file = self.file_ecus.get(index).and_then(|ecu| ecu.firmware.clone());
            let nothing = || Firmware { name: UNKNOWN.to_string(), length: 0, sha256: NOTHING.to_string() };
            return Ok(Some(file.unwrap_or_else(nothing)));
        }
        let Some(commit) = self.agent.content()?.current_commit()? else { return Ok(None) };
        let named = self.agent.facts(&[])?.current.map(|current| current.name);
        let name = named.or_else(|| shipped_name(&self.agent.settings.director, &commit));
        let name = name.unwrap_or_else(|| UNKNOWN.to_string());
        Ok(Some(Firmware { name, length: 0, sha256: commit }))
    }

    /// What an OSTree Primary is, for the checks of an assignment.
    pub fn ostree_ecu(&self) -> Result<Ecu, AgentError> {
        let facts = self.agent.facts(&[])?;
        Ok(ostree_ecu(&self.identity.record, &self.state, facts.current.as_ref()))
    }

    /// What is remembered of an ECU that is a file.
    pub fn file_of(&mut self, index: usize) -> &mut FileEcu {
        let serial = self.file_ecus.get(index).map(|ecu| ecu.serial.clone()).unwrap_or_default();
        self.state.files.entry(serial).or_default()
    }

    /// Whether what is assigned to it takes effect with a reboot only.
    pub fn needs_reboot(&self, index: usize) -> bool {
        self.agent.settings.director.file_needs_reboot && self.file_primary() == Some(index)
    }

    /// Whether something does, and that reboot has not happened. The mark names the boot that it was made in: one that is
    /// not on a tmpfs would be awaited for ever, by a daemon that may reboot by itself.
    pub fn awaits_reboot(&self, index: usize) -> bool {
        let mark = std::fs::read(&self.agent.settings.reboot_sentinel);
        self.needs_reboot(index) && mark.is_ok_and(|boot| boot == this_boot())
    }

    /// What the Primary that is a file waits with.
    pub fn awaiting_file(&self) -> Option<&Assigned> {
        let ecu = self.file_ecus.get(self.file_primary()?)?;
        self.state.files.get(&ecu.serial)?.installing.as_ref()
    }

    /// After [`Self::settle_files`]. A mark with nothing that waits is what a cut left.
    pub fn settle_file_primary(&mut self) -> Result<Option<TargetRecord>, AgentError> {
        let waits = self.awaiting_file().map(|assigned| assigned.target.clone());
        if waits.is_none() {
            atomic::remove(&self.agent.settings.reboot_sentinel)?;
        }
        Ok(waits)
    }

    /// Its file stays where it is until then. The mark comes first: a note without it would read as a reboot.
    pub fn leave_to_reboot(&mut self, index: usize, assigned: Assigned) -> Result<(), AgentError> {
        atomic::write(&self.agent.settings.reboot_sentinel, &this_boot())?;
        self.file_event(index, Kind::EcuInstallationApplied, &assigned, None, "");
        self.file_of(index).installing = Some(assigned);
        self.save()
    }
}

/// What an OSTree Primary is, for the checks of an assignment.
pub fn ostree_ecu(record: &EcuRecord, state: &DirectorState, current: Option<&TargetRecord>) -> Ecu {
    let installed = current.map(|current| Installed {
        name: current.name.clone(),
        length: 0,
        hashes: Hashes {
            sha256: from_hex(&current.commit).and_then(|bytes| bytes.try_into().ok()),
            sha512: None,
            other: Vec::new(),
        },
    });
    let serial = record.serial.clone();
    let release_counter = state.release_counters.get(&serial).copied().unwrap_or_default();
    Ecu { serial, hardware_id: record.hardware_id.clone(), installed, release_counter }
}

/// The kernel's id of this boot; empty where it gives none, and then the mark alone counts.
fn this_boot() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
