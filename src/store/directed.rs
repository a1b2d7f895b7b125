//! What a Director assigned, and what it has still to be told: `director.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, TargetRecord, atomic};

const VERSION: u32 = 1;
/// The result code of an installation that failed.
const INSTALL_FAILED: &str = "INSTALL_FAILED";
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
    /// Serials of the ECUs that it is about, where each came to the same as the whole.
    pub ecus: Vec<String>,
    /// What each ECU came to, where there are several.
    #[serde(default)]
    pub items: Vec<EcuResult>,
}

/// What one ECU came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuResult {
    /// Its serial.
    pub serial: String,
    /// Its hardware id.
    pub hardware_id: String,
    /// As the Director gave it.
    pub correlation_id: String,
    /// Whether it has what was assigned.
    pub success: bool,
    /// A result code.
    pub code: String,
    /// For a person.
    pub description: String,
}

/// An ECU that is a file: what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileEcu {
    /// Being put in place: its content may be there before its name is.
    pub installing: Option<Assigned>,
    /// Its content, hashed once for as long as the file stays the same.
    pub seen: Option<Seen>,
}

/// The content of a file, and by what to tell that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Inode, length, and times of the last changes of content and inode, in nanoseconds.
    pub stamp: (u64, u64, i64, i64),
    /// SHA-256 in hex.
    pub sha256: String,
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
    /// By serial, the ECUs that are files.
    pub files: BTreeMap<String, FileEcu>,
    /// What ECUs came to while another one of the same assignment is still on its way, or while it is taken back.
    pub ecu_results: Vec<EcuResult>,
    /// The correlation id of the last assignment that was reported as fulfilled.
    pub fulfilled: Option<String>,
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

    /// Whether the Director knows all that there is to know.
    pub fn has_nothing_to_tell(&self) -> bool {
        let settled = self.files.values().all(|file| file.installing.is_none());
        settled && self.installing.is_none() && self.result.is_none() && self.ecu_results.is_empty()
    }

    /// Makes one result of what the ECUs of an assignment came to. With several of them its code is each one's, by
    /// hardware id, as servers of this protocol know it.
    pub fn conclude(&mut self, correlation_id: &str) {
        let (mut items, others): (Vec<_>, Vec<_>) =
            self.ecu_results.drain(..).partition(|ecu| ecu.correlation_id == correlation_id);
        self.ecu_results = others;
        let Some(last) = items.pop() else { return };
        if last.success && items.iter().all(|ecu| ecu.success) {
            self.fulfilled = Some(correlation_id.to_string());
        }
        // An installation that failed names its ECUs even if there is one: servers split the code at the colon.
        if items.is_empty() && last.code != INSTALL_FAILED {
            self.result = Some(DeviceResult {
                correlation_id: last.correlation_id,
                success: last.success,
                code: last.code,
                description: last.description,
                ecus: vec![last.serial],
                items,
            });
            return;
        }
        items.push(last);
        let success = items.iter().all(|ecu| ecu.success);
        let codes: Vec<String> = items.iter().map(|e| format!("{}:{}", e.hardware_id, e.code)).collect();
        let (code, description) = match success {
            true => ("OK".to_string(), "Device has been successfully installed"),
            false => (codes.join("|"), "Installation failed on one or more ECUs"),
        };
        self.result = Some(DeviceResult {
            correlation_id: correlation_id.to_string(),
            success,
            code,
            description: description.to_string(),
            ecus: Vec::new(),
            items,
        });
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
