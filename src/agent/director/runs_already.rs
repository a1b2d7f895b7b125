//! An assignment of what runs already: the Director hears that it is fulfilled, once for each correlation id.

use super::super::AgentError;
use super::super::uptane::Bundle;
use super::cycle::Plans;
use super::session::Session;
use crate::store::{EcuResult, Installed, TargetRecord};
use crate::uptane::{DirectorPlan, FilePlan, Verified};

const DESCRIPTION: &str = "The assigned version runs already";

/// The ECUs that have what is assigned to them, and the name that the Primary's commit has there.
#[derive(Debug)]
pub struct Fulfilled {
    correlation_id: Option<String>,
    /// Serial and hardware id.
    ecus: Vec<(String, String)>,
    primary: Option<TargetRecord>,
}

/// None if nothing is assigned, or if something is still to be done.
pub fn fulfilled(bundle: &Bundle<'_>, plans: &Plans, primary: &str) -> Option<Fulfilled> {
    let files_stay = plans.files.iter().all(|plan| matches!(plan, FilePlan::Stay));
    if bundle.targets.is_empty() || plans.primary != DirectorPlan::Stay || !files_stay {
        return None;
    }
    let ecus = bundle.targets.iter().flat_map(|target| target.ecus.iter());
    let own = |verified: &&Verified<'_>| {
        verified.is_ostree && verified.ecus.iter().any(|ecu| ecu.serial == primary)
    };
    Some(Fulfilled {
        correlation_id: bundle.correlation_id.clone(),
        ecus: ecus.map(|ecu| (ecu.serial.clone(), ecu.hardware_id.clone())).collect(),
        primary: bundle.targets.iter().find(own).map(|verified| TargetRecord {
            name: verified.target.clone(),
            version: verified.version,
            commit: verified.info.hashes.sha256_hex().unwrap_or_default(),
            apps: Default::default(),
        }),
    })
}

impl Session<'_> {
    /// Takes the assigned name for a commit that nobody here has named, and makes the result. Without a correlation id
    /// there is no campaign that waits, and what runs is in each manifest.
    pub fn note_fulfilled(&mut self, fulfilled: Fulfilled) -> Result<(), AgentError> {
        if let Some(target) = fulfilled.primary {
            self.name_what_runs(target)?;
        }
        let Some(id) = fulfilled.correlation_id.filter(|id| self.state.fulfilled.as_ref() != Some(id)) else {
            return Ok(());
        };
        let result = |(serial, hardware_id): (String, String)| EcuResult {
            serial,
            hardware_id,
            correlation_id: id.clone(),
            success: true,
            code: "OK".to_string(),
            description: DESCRIPTION.to_string(),
        };
        self.state.ecu_results.retain(|ecu| ecu.correlation_id != id);
        self.state.ecu_results.extend(fulfilled.ecus.into_iter().map(result));
        self.state.conclude(&id);
        self.save()
    }

    fn name_what_runs(&self, target: TargetRecord) -> Result<(), AgentError> {
        let facts = self.agent.facts(&[])?;
        if facts.current.is_some() || facts.booted.as_ref() != Some(&target.commit) {
            return Ok(());
        }
        let mut installed = Installed::load(&self.agent.settings.state)?;
        installed.current = Some(target);
        Ok(installed.save(&self.agent.settings.state)?)
    }
}
