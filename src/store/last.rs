//! What happened last on this device: `last.json`, one record for `status`, `explain` and the service's state.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const FILE: &str = "last.json";
const VERSION: u32 = 1;
/// Longest error text that is kept, in characters.
const MOST_TEXT: usize = 1000;
/// After that the record on disk is this old at most, in seconds: flash wears out.
const OLDEST: i64 = 6 * 3600;

/// The stages of the cycle, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Asking what there is.
    #[default]
    Check,
    /// Fetching it.
    Download,
    /// Deploying it, and starting its apps.
    Install,
    /// Judging the boot.
    Finalize,
}

impl Stage {
    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Check => "check",
            Stage::Download => "download",
            Stage::Install => "install",
            Stage::Finalize => "finalize",
        }
    }
}

/// The content of `last.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    /// Of the file's form; [`Last::after`] sets it.
    pub version: u32,
    /// The stage that ended the run.
    pub stage: Stage,
    /// Name of the Target that it was about.
    pub target: Option<String>,
    /// Unix seconds. Of a success: when it was first so.
    pub when: i64,
    /// A word, as in the JSON of the commands.
    pub outcome: String,
    /// The exit code that goes with it.
    pub code: u8,
    /// What went wrong.
    pub error: Option<String>,
    /// Runs in a row that failed; after the first 16 it may be more than the file says.
    pub failures: u32,
    /// When the daemon tries again, in Unix seconds.
    pub next_try: Option<i64>,
}

impl Last {
    /// Up to this many failures in a row each one is written.
    pub const EACH: u32 = 16;

    /// Reads `FOLDER/last.json`; none is not an error.
    pub fn load(folder: &Path) -> Result<Option<Last>, StoreError> {
        let path = folder.join(FILE);
        match atomic::read_json::<Last>(&path)? {
            Some(last) if last.version > VERSION => Err(StoreError::Newer { path, version: last.version }),
            last => Ok(last),
        }
    }

    /// The record of a run that ended now, after `before`.
    pub fn after(self, before: Option<&Last>) -> Last {
        let error = self.error.map(|text| text.chars().take(MOST_TEXT).collect());
        let failures = match error {
            Some(_) => before.map_or(0, |b| b.failures).saturating_add(1),
            None => 0,
        };
        Last { version: VERSION, error, failures, ..self }
    }

    /// Whether a run that went well leaves this failure standing: a check that succeeds does not mend a deployment that
    /// fails.
    pub fn outlives(&self, run: &Last) -> bool {
        self.error.is_some() && run.error.is_none() && run.stage < self.stage && self.target == run.target
    }

    /// Whether the file has to be written. The same again is news only while failures are few, or the file is old.
    pub fn is_news(&self, stored: Option<&Last>) -> bool {
        let Some(stored) = stored else { return true };
        let key = |last: &Last| (last.stage, last.code, last.target.clone(), last.outcome.clone());
        key(self) != key(stored)
            || self.error.is_some() != stored.error.is_some()
            || (self.error.is_some()
                && (self.failures <= Last::EACH || self.when.saturating_sub(stored.when) >= OLDEST))
            // A clock that was set back must not keep an old record for ever.
            || self.when < stored.when
    }

    /// Writes `FOLDER/last.json`.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        atomic::write_json(&folder.join(FILE), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(when: i64) -> Last {
        Last { when, outcome: "error".into(), code: 13, error: Some("no route".into()), ..Last::default() }
    }

    #[test]
    fn version_1_of_the_file_reads_and_a_newer_one_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("rust-ota-last-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(Last::load(&folder).unwrap(), None);
        std::fs::copy("tests/fixtures/store/last.v1.json", folder.join(FILE)).unwrap();
        let last = Last::load(&folder).unwrap().unwrap();
        assert_eq!((last.stage, last.code, last.failures), (Stage::Download, 60, 10));
        std::fs::write(folder.join(FILE), r#"{"version": 2}"#).unwrap();
        assert!(matches!(Last::load(&folder), Err(StoreError::Newer { version: 2, .. })));
        std::fs::write(folder.join(FILE), "{").unwrap();
        assert!(matches!(Last::load(&folder), Err(StoreError::Damaged { .. })));
        assert!(folder.join("last.json.damaged").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_year_of_the_same_failure_is_some_hundred_writes_and_of_success_one() {
        let (mut stored, mut now, mut writes): (Option<Last>, Option<Last>, u32) = (None, None, 0);
        for poll in 0..100_000 {
            let last = failed(poll * 300).after(now.as_ref());
            if last.is_news(stored.as_ref()) {
                (stored, writes) = (Some(last.clone()), writes + 1);
            }
            now = Some(last);
        }
        assert_eq!(now.unwrap().failures, 100_000, "the process counts on");
        assert!((1000..1500).contains(&writes), "{writes} writes in a year");
        let lowest = Last { failures: 20, ..failed(i64::MIN) };
        assert!(failed(5).after(Some(&lowest)).is_news(Some(&lowest)), "whatever the file says");
        let good = |when| Last { when, outcome: "up-to-date".into(), ..Last::default() }.after(None);
        assert!(!good(10_000_000).is_news(Some(&good(0))));
        assert!(good(0).is_news(Some(&failed(0).after(None))), "the end of the trouble is news");
    }

    #[test]
    fn a_good_check_does_not_hide_an_installation_that_fails() {
        let target = Some("board-3".to_string());
        let installing = Last { stage: Stage::Install, target: target.clone(), ..failed(1) }.after(None);
        let check = Last { target, ..Last::default() };
        assert!(installing.outlives(&check));
        assert!(!installing.outlives(&Last { target: Some("board-4".into()), ..check.clone() }));
        assert!(!installing.outlives(&Last { stage: Stage::Install, ..check }));
        assert!(!installing.outlives(&failed(2)));
    }

    #[test]
    fn texts_are_bounded() {
        let last = Last { error: Some("é".repeat(5000)), ..Last::default() }.after(None);
        assert_eq!(last.error.unwrap().chars().count(), MOST_TEXT);
    }
}
