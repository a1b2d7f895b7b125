//! Static deltas that ended the process that applied them, so that they are not tried again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const FILE: &str = "deltas.json";
const VERSION: u32 = 1;
/// A device meets one or two of them in its life. The oldest is forgotten.
const MOST: usize = 32;
const LONGEST_REASON: usize = 300;
/// A power cut may end the first try.
const MOST_TRIES: u32 = 2;

/// What is remembered of one delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    delta: String,
    /// How often it was begun and not ended.
    tries: u32,
    /// Empty until its process was seen to end badly.
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    deltas: Vec<Tried>,
}

/// The deltas of one device. Written to only by the holder of the lock.
#[derive(Debug)]
pub struct TriedDeltas {
    path: PathBuf,
    deltas: Vec<Tried>,
}

impl TriedDeltas {
    /// Reads what is remembered.
    pub fn load(folder: &Path) -> Result<TriedDeltas, StoreError> {
        let path = folder.join(FILE);
        let stored: Option<Stored> = atomic::read_json(&path)?;
        match stored {
            Some(stored) if stored.version > VERSION => {
                Err(StoreError::Newer { path, version: stored.version })
            }
            stored => Ok(TriedDeltas { path, deltas: stored.map(|s| s.deltas).unwrap_or_default() }),
        }
    }

    /// Why this delta is not to be tried, if so.
    pub fn refuses(&self, delta: &str) -> Option<String> {
        let tried = self.deltas.iter().find(|tried| tried.delta == delta)?;
        match (tried.tries >= MOST_TRIES, tried.reason.is_empty()) {
            (_, false) => Some(tried.reason.clone()),
            (true, true) => Some(format!("the device or the client ended {} times during it", tried.tries)),
            (false, true) => None,
        }
    }

    /// It is about to be tried: what ends this client too must not be tried for ever.
    pub fn begin(&mut self, delta: &str) -> Result<(), StoreError> {
        let tries = self.take(delta).map_or(0, |tried| tried.tries);
        self.remember(delta, tries.saturating_add(1), "")
    }

    /// It ended, well or with an error of its own.
    pub fn ended(&mut self, delta: &str) -> Result<(), StoreError> {
        self.take(delta);
        self.save()
    }

    /// It ended its process.
    pub fn killed(&mut self, delta: &str, reason: &str) -> Result<(), StoreError> {
        let tries = self.take(delta).map_or(1, |tried| tried.tries);
        self.remember(delta, tries, reason)
    }

    fn take(&mut self, delta: &str) -> Option<Tried> {
        let index = self.deltas.iter().position(|tried| tried.delta == delta)?;
        Some(self.deltas.remove(index))
    }

    fn remember(&mut self, delta: &str, tries: u32, reason: &str) -> Result<(), StoreError> {
        let reason = reason.chars().take(LONGEST_REASON).collect();
        self.deltas.push(Tried { delta: delta.to_string(), tries, reason });
        let too_many = self.deltas.len().saturating_sub(MOST);
        self.deltas.drain(..too_many);
        self.save()
    }

    fn save(&self) -> Result<(), StoreError> {
        if self.deltas.is_empty() {
            return atomic::remove(&self.path);
        }
        atomic::write_json(&self.path, &Stored { version: VERSION, deltas: self.deltas.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rust-ota-deltas-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn one_try_may_be_cut_and_a_killed_process_is_remembered() {
        let folder = folder("tries");
        let load = || TriedDeltas::load(&folder).unwrap();
        load().begin("a").unwrap();
        assert_eq!(load().refuses("a"), None);
        load().begin("a").unwrap();
        assert!(load().refuses("a").unwrap().contains("2 times"));
        load().ended("a").unwrap();
        assert!(!folder.join(FILE).exists(), "nothing to remember is no file");
        load().killed("b", &"r".repeat(1000)).unwrap();
        assert_eq!(load().refuses("b").unwrap().len(), LONGEST_REASON);
        assert_eq!(load().refuses("c"), None);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_is_bounded_and_a_newer_one_is_left_alone() {
        let folder = folder("bounds");
        let mut tried = TriedDeltas::load(&folder).unwrap();
        for n in 0..MOST + 3 {
            tried.killed(&n.to_string(), "x").unwrap();
        }
        let tried = TriedDeltas::load(&folder).unwrap();
        assert_eq!(
            (tried.deltas.len(), tried.refuses("2"), tried.refuses("3").is_some()),
            (MOST, None, true)
        );
        std::fs::write(folder.join(FILE), b"{\"version\":2,\"deltas\":[]}").unwrap();
        assert!(matches!(TriedDeltas::load(&folder), Err(StoreError::Newer { version: 2, .. })));
        std::fs::write(folder.join(FILE), b"{").unwrap();
        assert!(matches!(TriedDeltas::load(&folder), Err(StoreError::Damaged { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
