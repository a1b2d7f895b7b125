//! What the Director assigns, by the metadata of the last check: for a person who asks. Takes no lock, writes nothing.

use super::super::refresh::Persist;
use super::super::trust::Folder;
use super::super::uptane::{Bundle, Noted, Source, verify_noting};
use super::super::{Agent, AgentError};
use super::secondaries::{Secondary, configured};
use super::trust::{Stored, folder};
use super::{ostree_ecu, primary};
use crate::config::Settings;
use crate::device::EcuKey;
use crate::store::{DirectorState, EcuRecord, StoreError, TargetRecord};
use crate::tuf::Time;
use crate::uptane::{DirectorPlan, Ecu, FilePlan, Primary, Repository, plan, plan_file};

/// What is assigned to one ECU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// Nothing.
    Nothing,
    /// What it has, by its name.
    Runs(String),
    /// What waits for its reboot.
    Pending(TargetRecord),
    /// What failed here.
    Failed(TargetRecord),
    /// What it can never be.
    Unfit(TargetRecord),
    /// Something new.
    Due(TargetRecord),
}

impl Assignment {
    /// The name of the Target, if there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Assignment::Nothing => None,
            Assignment::Runs(name) => Some(name),
            Assignment::Pending(t) | Assignment::Failed(t) | Assignment::Unfit(t) | Assignment::Due(t) => {
                Some(&t.name)
            }
        }
    }
}

/// Each ECU's serial and what is assigned to it, the Primary first.
pub fn assigned(agent: &Agent) -> Result<Vec<(String, Assignment)>, AgentError> {
    let settings = &agent.settings;
    if !settings.state.join("trust/director/targets.json").exists() {
        return Err(AgentError::NotChecked);
    }
    let Some(record) = EcuRecord::load(&settings.state)? else { return Err(AgentError::NotChecked) };
    let state = DirectorState::load(&settings.state)?;
    let facts = agent.facts(&[])?;
    let mut files = files(agent)?;
    let own = primary::as_file(settings, &record)?;
    let is_file = own.is_some();
    let mut ecus = Vec::new();
    match own {
        Some(file) => files.insert(0, file),
        None => ecus.push(ostree_ecu(&record, &state, facts.current.as_ref())),
    }
    for file in &mut files {
        file.look(&mut None)?;
        ecus.push(file.ecu(&state));
    }
    let now = Time(agent.now()?);
    let mut sources = [Repository::Director, Repository::Image]
        .map(|repository| (Stored(folder(settings, repository)), ReadOnly(folder(settings, repository))));
    let [director, image] = &mut sources;
    let mut director = Source { fetch: &mut director.0, persist: &mut director.1, trust_first_root: false };
    let mut image = Source { fetch: &mut image.0, persist: &mut image.1, trust_first_root: false };
    // What runs is not looked up in the Image repository by a poll either, so its metadata may have expired.
    let mut noted = Noted { correlation_id: None, is_settled: &|_| true };
    let bundle = verify_noting(&mut director, &mut image, &ecus, now, &mut noted)?;
    let about = |ecu: &Ecu| {
        let assignment = if ecu.serial == record.serial && !is_file {
            let current = facts.current.as_ref();
            of_primary(
                &bundle,
                &state,
                Primary { serial: &record.serial, booted: facts.booted.as_deref(), current },
            )
        } else {
            of_file(&bundle, &state, ecu)
        };
        (ecu.serial.clone(), assignment)
    };
    Ok(ecus.iter().map(about).collect())
}

/// The stored roles of both repositories: name, version, expiry. Only to be shown.
pub fn roles(settings: &Settings) -> Vec<(String, u64, Time)> {
    let mut roles = Vec::new();
    for (name, repository) in [("Director", Repository::Director), ("Image", Repository::Image)] {
        let mut folder = folder(settings, repository);
        for role in ["root", "timestamp", "snapshot", "targets"] {
            let bytes = folder.read(&format!("{role}.json")).ok().flatten().unwrap_or_default();
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let expires = value["signed"]["expires"].as_str().and_then(Time::parse);
            if let (Some(version), Some(expires)) = (value["signed"]["version"].as_u64(), expires) {
                roles.push((format!("{name} {role}"), version, expires));
            }
        }
    }
    roles
}

fn files(agent: &Agent) -> Result<Vec<Secondary>, AgentError> {
    let mut files = Vec::new();
    for config in configured(&agent.settings)? {
        if let Some(key) = EcuKey::at(&config.private_key)? {
            files.push(Secondary::of(config, key)?);
        }
    }
    Ok(files)
}

fn of_primary(bundle: &Bundle<'_>, state: &DirectorState, primary: Primary<'_>) -> Assignment {
    let assignment = (bundle.correlation_id.as_deref(), bundle.version);
    match plan(&bundle.targets, assignment, state, primary) {
        DirectorPlan::Stay => stays(bundle, primary.serial),
        DirectorPlan::Failed(assigned) => Assignment::Failed(assigned.target),
        DirectorPlan::NotOstree(assigned) => Assignment::Unfit(assigned.target),
        DirectorPlan::Update { assigned, .. } => match &state.installing {
            Some(pending) if pending.target.commit == assigned.target.commit => {
                Assignment::Pending(assigned.target)
            }
            _ => Assignment::Due(assigned.target),
        },
    }
}

fn of_file(bundle: &Bundle<'_>, state: &DirectorState, ecu: &Ecu) -> Assignment {
    let assignment = (bundle.correlation_id.as_deref(), bundle.version);
    let pending = state.files.get(&ecu.serial).and_then(|file| file.installing.as_ref());
    match plan_file(&bundle.targets, assignment, state, ecu) {
        FilePlan::Stay => stays(bundle, &ecu.serial),
        FilePlan::Failed(assigned) => Assignment::Failed(assigned.target),
        FilePlan::NotAFile(assigned) => Assignment::Unfit(assigned.target),
        FilePlan::Update(update) if pending.is_some_and(|p| p.target == update.assigned.target) => {
            Assignment::Pending(update.assigned.target)
        }
        FilePlan::Update(update) => Assignment::Due(update.assigned.target),
    }
}

/// Nothing is to be done: either nothing is assigned, or what the ECU has.
fn stays(bundle: &Bundle<'_>, serial: &str) -> Assignment {
    let verified = bundle.targets.iter().find(|v| v.ecus.iter().any(|ecu| ecu.serial == serial));
    let verified = verified.map(|verified| verified.target.as_str());
    let runs = bundle.runs.iter().find(|(ecu, _)| ecu == serial).map(|(_, target)| target.as_str());
    verified.or(runs).map_or(Assignment::Nothing, |target| Assignment::Runs(target.to_string()))
}

/// Who only looks leaves everything as it is.
struct ReadOnly(Folder);

impl Persist for ReadOnly {
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.read(name)
    }

    fn write(&mut self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_aside(&mut self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
