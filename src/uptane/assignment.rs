//! Which Target the Director gives to which ECU of this vehicle.

use std::collections::BTreeSet;

use super::custom::{DirectorCustom, read};
use super::fault::{Fault, Repository};
use crate::tuf::{Hashes, TargetInfo, Targets};

/// An ECU of this vehicle: what it is, not what somebody says of it.
#[derive(Clone, Debug, Default)]
pub struct Ecu {
    /// Its serial, as registered.
    pub serial: String,
    /// Its hardware id.
    pub hardware_id: String,
    /// What runs on it, where that is known.
    pub installed: Option<Installed>,
    /// The highest release counter that it ever had; 0 if it had none.
    pub release_counter: u64,
}

/// What runs on an ECU.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The Target's name.
    pub name: String,
    /// Its length.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
}

/// A Target for one ECU or more, as the Director says. Not yet what the Image repository says.
#[derive(Clone, Debug)]
pub struct Assignment<'e> {
    /// The Target's name.
    pub target: String,
    /// The ECUs that are to have it.
    pub ecus: Vec<&'e Ecu>,
    /// Length, hashes and `custom`.
    pub info: TargetInfo,
}

impl Assignment<'_> {
    /// Whether each of its ECUs has it already, by name and content.
    pub fn is_fulfilled(&self) -> bool {
        let has = |i: &Installed| i.name == self.target && same_content(i, &self.info);
        self.ecus.iter().all(|ecu| ecu.installed.as_ref().is_some_and(has))
    }
}

/// All assignments of the Director's list. ECUs that are not in it stay as they are; a serial that is not
/// this vehicle's refuses the whole list, since the list was made for somebody else.
pub fn assignments<'e>(targets: &Targets, ecus: &'e [Ecu]) -> Result<Vec<Assignment<'e>>, Fault> {
    let mut seen = BTreeSet::new();
    let mut listed = Vec::new();
    for (target, info) in &targets.targets {
        let custom: DirectorCustom = read(Repository::Director, target, info)?;
        for serial in custom.ecu_identifiers.keys() {
            if !seen.insert(serial.clone()) {
                return Err(Fault::RepeatedEcu { serial: serial.clone() });
            }
        }
        listed.push((target, info, custom));
    }
    // A Target that is assigned to nobody is no error: it is for nobody.
    let assigned = listed.into_iter().filter(|(_, _, custom)| !custom.ecu_identifiers.is_empty());
    assigned.map(|(target, info, custom)| find(target, info, &custom, ecus)).collect()
}

fn find<'e>(
    target: &str,
    info: &TargetInfo,
    custom: &DirectorCustom,
    ecus: &'e [Ecu],
) -> Result<Assignment<'e>, Fault> {
    let mut found = Vec::new();
    for (serial, assigned) in &custom.ecu_identifiers {
        let ecu = ecus.iter().find(|ecu| ecu.serial == *serial);
        let unknown = || Fault::UnknownEcu { target: target.to_owned(), serial: serial.clone() };
        let ecu = ecu.ok_or_else(unknown)?;
        check_ecu(target, info, ecu, &assigned.hardware_id)?;
        found.push(ecu);
    }
    Ok(Assignment { target: target.to_owned(), ecus: found, info: info.clone() })
}

fn check_ecu(target: &str, info: &TargetInfo, ecu: &Ecu, hardware_id: &str) -> Result<(), Fault> {
    if ecu.hardware_id != hardware_id {
        return Err(Fault::WrongHardware {
            target: target.to_owned(),
            serial: ecu.serial.clone(),
            expected: ecu.hardware_id.clone(),
            got: hardware_id.to_owned(),
        });
    }
    match &ecu.installed {
        Some(installed) if installed.name == target && !same_content(installed, info) => {
            Err(Fault::ContentChanged { target: target.to_owned() })
        }
        _ => Ok(()),
    }
}

fn same_content(installed: &Installed, info: &TargetInfo) -> bool {
    installed.length == info.length
        && installed.hashes.sha256.is_some()
        && installed.hashes.sha256 == info.hashes.sha256
}
