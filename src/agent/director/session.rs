//! One run under the lock: who this device is, what is on disk, and the connection.

use super::super::{Agent, AgentError, Outcome, Working};
use super::primary;
use super::secondaries::{self, Secondary};
use crate::device::{self, Identity};
use crate::gateway::Http;
use crate::store::{Assigned, DirectorState, EcuResult, Installed, TargetRecord};

/// The state of a run.
#[derive(Debug)]
pub struct Session<'a> {
    pub agent: &'a Agent,
    pub working: Working<'a>,
    pub identity: Identity,
    /// ECUs that are files: the Secondaries, and behind them the Primary where it is one.
    pub file_ecus: Vec<Secondary>,
    pub state: DirectorState,
}

impl<'a> Session<'a> {
    /// Takes the lock and reads what is there; makes the identity on the first run.
    pub fn open(agent: &'a Agent, name: &str) -> Result<Session<'a>, AgentError> {
        let working = agent.locked(name)?;
        let settings = &agent.settings;
        let configured = secondaries::configured(settings)?;
        let mut file_ecus = secondaries::open(configured)?;
        let identity = device::identity(settings)?;
        secondaries::check_serials(settings, &identity.record.serial, &file_ecus)?;
        file_ecus.extend(primary::as_file(settings, &identity.record)?);
        Ok(Session { file_ecus, identity, state: DirectorState::load(&settings.state)?, working, agent })
    }

    /// The connection; certificates are read when it is first needed, since installing needs none.
    pub fn http(&self) -> Result<Http, AgentError> {
        self.agent.memory.http(&self.agent.settings)
    }

    /// What this boot came to, and what became of an installation. Gives the Target whose reboot is still awaited.
    ///
    /// Who finalizes may be another: the unit at boot, or `rust-ota finalize`. So the verdict is read from what is
    /// remembered, and a power cut between the two changes nothing.
    pub fn settle(&mut self) -> Result<Option<TargetRecord>, AgentError> {
        self.settle_files()?;
        let awaiting = match self.file_primary() {
            Some(_) => self.settle_file_primary()?,
            None => self.settle_primary()?,
        };
        self.conclude_and_save()?;
        Ok(awaiting)
    }

    fn settle_primary(&mut self) -> Result<Option<TargetRecord>, AgentError> {
        match self.working.finalize()? {
            Outcome::RebootNeeded(target) => return Ok(Some(target)),
            Outcome::NothingPending => {}
            outcome => log::info!("{outcome}"),
        }
        let Some(assigned) = self.state.installing.take() else { return Ok(None) };
        let installed = Installed::load(&self.agent.settings.state)?;
        let commit = &assigned.target.commit;
        if installed.current.as_ref().is_some_and(|current| current.commit == *commit) {
            self.succeeded(assigned, "Successfully booted on new version");
        } else if let Some(bad) = installed.bad(commit).filter(|bad| bad.count > assigned.failures) {
            let reason = format!("Wrong version booted: {}", bad.reason);
            self.failed(assigned, "INSTALL_FAILED", &reason);
        }
        // Otherwise it was cut before it was whole, and can be repeated; or it was taken back, and that is noted.
        self.save()?;
        Ok(None)
    }

    /// An assignment runs.
    pub fn succeeded(&mut self, assigned: Assigned, description: &str) {
        let counter = self.state.release_counters.entry(self.identity.record.serial.clone()).or_default();
        *counter = assigned.release_counter.max(*counter);
        self.state.failed.retain(|f| f.target.commit != assigned.target.commit);
        self.result(assigned.correlation_id.as_deref(), true, "OK", description);
    }

    /// An assignment came to nothing, and is not tried again.
    pub fn failed(&mut self, assigned: Assigned, code: &str, description: &str) {
        self.result(assigned.correlation_id.as_deref(), false, code, description);
        self.state.fail(assigned);
    }

    /// Makes what the Director is to hear. An assignment without an id has an empty one.
    pub fn result(&mut self, correlation_id: Option<&str>, success: bool, code: &str, description: &str) {
        let id = correlation_id.unwrap_or_default();
        self.note(id, success, code, description);
        self.state.conclude(id);
    }

    /// Keeps what the Primary came to; the last word about an assignment counts.
    pub fn note(&mut self, id: &str, success: bool, code: &str, description: &str) {
        let record = &self.identity.record;
        let own = EcuResult {
            serial: record.serial.clone(),
            hardware_id: record.hardware_id.clone(),
            correlation_id: id.to_string(),
            success,
            code: code.to_string(),
            description: description.to_string(),
        };
        self.state
            .ecu_results
            .retain(|ecu| ecu.serial != own.serial || ecu.correlation_id != own.correlation_id);
        self.state.ecu_results.push(own);
    }

    /// Makes the result of what no ECU is on its way to any more.
    pub fn conclude(&mut self) {
        // An ECU that is not here any more ends nothing; nobody waits for it.
        let here = |serial: &str| self.file_ecus.iter().any(|ecu| ecu.serial == serial);
        let files = self.state.files.iter().filter(|(serial, _)| here(serial));
        let files = files.filter_map(|(_, file)| file.installing.as_ref());
        let begun = self.state.installing.iter().chain(files);
        let waiting: Vec<String> = begun.map(|a| a.correlation_id.clone().unwrap_or_default()).collect();
        let done = |ecu: &&EcuResult| !waiting.contains(&ecu.correlation_id);
        while let Some(id) = self.state.ecu_results.iter().find(done).map(|e| e.correlation_id.clone()) {
            self.state.conclude(&id);
        }
    }

    /// Writes what changed.
    pub fn save(&mut self) -> Result<(), AgentError> {
        Ok(self.state.save(&self.agent.settings.state)?)
    }
}
