//! What a Director assigned, and what it has still to be told: `director.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, TargetRecord, atomic};

const VERSION: u32 = 1;
/// Failed assignments that are remembered. Who assigns more different ones of the same commit tries on purpose.
const MOST_FAILED: usize = 32;

/// A Target as it was assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// What.
    pub target: TargetRecord,
    /// Which assignment: the same Target that is assigned again is tried again after a failure.
    pub assignment: String,
    /// What reports about it carry, where the Director gave something.
    pub correlation_id: Option<String>,
    /// The Target's release counter; 0 if it has none.
    #[serde(default)]
    pub release_counter: u64,
    /// How often the same commit had failed before this assignment was installed.
    #[serde(default)]
    pub failures: u32,
}

/// What became of an assignment, until the Director has heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceResult {
    /// As the Director gave it.
    pub correlation_id: String,
    /// Whether it came to what was assigned.
    pub success: bool,
    /// A result code.
    pub code: String,
    /// For a person.
    pub description: String,
    /// Serials of the ECUs that it is about.
    pub ecus: Vec<String>,
}

/// The content of `director.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectorState {
    version: u32,
    /// Being installed, or waiting for its boot.
    pub installing: Option<Assigned>,
    /// Assignments that failed here.
    pub failed: Vec<Assigned>,
    /// What the Director has not been told yet.
    pub result: Option<DeviceResult>,
    /// The last thing that was wrong with what the servers sent, until a check is good again.
    pub attack: Option<String>,
    /// By serial, the highest release counter that an ECU ever had.
    pub release_counters: BTreeMap<String, u64>,
}

impl DirectorState {
    /// Reads `FOLDER/director.json`.
    pub fn load(folder: &Path) -> Result<DirectorState, StoreError> {
        let path = folder.join("director.json");
        let state = atomic::read_json::<DirectorState>(&path)?.unwrap_or_default();
        if state.version > VERSION {
            return Err(StoreError::Newer { path, version: state.version });
        }
        Ok(state)
    }

    /// Writes `FOLDER/director.json`.
    pub fn save(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.version = VERSION;
        atomic::write_json(&folder.join("director.json"), self)
    }

    /// Remembers a failed assignment.
    pub fn fail(&mut self, assigned: Assigned) {
        self.failed.retain(|f| *f != assigned);
        self.failed.push(assigned);
        let surplus = self.failed.len().saturating_sub(MOST_FAILED);
        self.failed.drain(..surplus);
    }

    /// Whether this very assignment failed here.
    pub fn has_failed(&self, commit: &str, assignment: &str) -> bool {
        self.failed.iter().any(|f| f.target.commit == commit && f.assignment == assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_of_the_file_reads() {
        let folder = std::env::temp_dir().join(format!("rust-ota-directed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy("tests/fixtures/store/director.v1.json", folder.join("director.json")).unwrap();
        let mut state = DirectorState::load(&folder).unwrap();
        assert_eq!(state.installing.as_ref().unwrap().target.name, "board-2");
        assert!(state.has_failed("bad-commit", "c-0") && !state.has_failed("bad-commit", "c-1"));
        assert_eq!(state.result.as_ref().unwrap().code, "INSTALL_FAILED");
        assert_eq!(state.release_counters["serial-1"], 7);
        for n in 0..2 * MOST_FAILED {
            let again = Assigned { assignment: n.to_string(), ..state.failed[0].clone() };
            state.fail(again);
        }
        assert_eq!(state.failed.len(), MOST_FAILED);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
