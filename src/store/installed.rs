//! Which Targets this device has, had, waits for, and knows to be bad: one file, so that each step is one rename.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const VERSION: u32 = 1;

/// A Target as it was when it was chosen. Kept whole, since the server may drop it from its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// Key in the targets role, for example `raspberrypi4-93`.
    pub name: String,
    /// `custom.version` as an integer, -1 where it has none.
    pub version: i64,
    /// The OSTree commit: 64 lower-case hex digits.
    pub commit: String,
    /// The Compose apps that run with it on this device: name to URI. As they were chosen when it was installed, so that an
    /// app that is enabled between installation and reboot is not part of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, String>,
}

/// A Target that was deployed and has not been confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What was deployed.
    pub target: TargetRecord,
    /// Unix seconds of the deployment.
    pub since: i64,
    /// Identifies this update in events and logs.
    pub correlation_id: String,
    /// A boot came up with the earlier system although the bootloader had not given this one up.
    #[serde(default)]
    pub passed_by: bool,
}

/// A Target that was installed and did not come up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBad {
    /// What did not come up.
    pub target: TargetRecord,
    /// Why, for a person.
    pub reason: String,
    /// Unix seconds of the last failure.
    pub since: i64,
    /// How often it failed.
    pub count: u32,
}

/// The content of `installed.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    pub(crate) version: u32,
    /// The Target that was confirmed last.
    pub current: Option<TargetRecord>,
    /// The Target that was current before.
    pub previous: Option<TargetRecord>,
    /// The Target that waits for its boot confirmation.
    pub pending: Option<Pending>,
    /// Targets that are not tried again by themselves.
    pub known_bad: Vec<KnownBad>,
    /// Targets whose system is good and whose apps did not come up; they are not tried again by themselves either.
    pub bad_apps: Vec<KnownBad>,
    /// The commit whose objects were found damaged here after it did not come up: that excuses a Target once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

impl Installed {
    /// Reads `FOLDER/installed.json`; a device that never wrote one has none of it.
    pub fn load(folder: &Path) -> Result<Installed, StoreError> {
        let path = folder.join("installed.json");
        let Some(installed) = atomic::read_json::<Installed>(&path)? else {
            return Ok(Installed::default());
        };
        if installed.version > VERSION {
            return Err(StoreError::Newer { path, version: installed.version });
        }
        Ok(installed)
    }

    /// Writes `FOLDER/installed.json`.
    pub fn save(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.version = VERSION;
        atomic::write_json(&folder.join("installed.json"), self)
    }

    /// The record of a Target that is known to be bad: the same commit, whatever its name.
    pub fn bad(&self, commit: &str) -> Option<&KnownBad> {
        self.known_bad.iter().find(|b| b.target.commit == commit)
    }

    /// The record of a Target whose apps did not come up: the same commit and the same apps, whatever its name.
    pub fn bad_apps(&self, target: &TargetRecord) -> Option<&KnownBad> {
        self.bad_apps.iter().find(|b| b.target.commit == target.commit && b.target.apps == target.apps)
    }

    /// Its apps did not come up.
    pub fn reject_apps(&mut self, target: &TargetRecord, reason: &str, now: i64) -> KnownBad {
        let count = self.bad_apps(target).map_or(0, |b| b.count).saturating_add(1);
        let bad = KnownBad { target: target.clone(), reason: reason.to_string(), since: now, count };
        self.accept_apps(target);
        self.bad_apps.push(bad.clone());
        bad
    }

    /// Its apps came up after all.
    pub fn accept_apps(&mut self, target: &TargetRecord) {
        self.bad_apps.retain(|b| b.target.commit != target.commit || b.target.apps != target.apps);
    }

    /// The pending Target came up: it is current now, and what ran before is the rollback Target.
    pub fn confirm(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.known_bad.retain(|b| b.target.commit != pending.target.commit);
            self.accept_apps(&pending.target);
            self.damaged = None;
            let before = self.current.replace(pending.target);
            if before != self.current {
                self.previous = before;
            }
        }
    }

    /// The pending Target did not come up: it is remembered as bad.
    pub fn reject(&mut self, reason: &str, now: i64) -> Option<KnownBad> {
        let pending = self.pending.take()?;
        let count = self.bad(&pending.target.commit).map_or(0, |b| b.count).saturating_add(1);
        let bad = KnownBad { target: pending.target, reason: reason.to_string(), since: now, count };
        self.known_bad.retain(|b| b.target.commit != bad.target.commit);
        self.known_bad.push(bad.clone());
        Some(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> TargetRecord {
        TargetRecord {
            name: name.into(),
            version: 1,
            commit: format!("{name}-commit"),
            apps: BTreeMap::new(),
        }
    }

    fn with_pending(name: &str) -> Installed {
        let pending =
            Pending { target: target(name), since: 5, correlation_id: "c".into(), passed_by: false };
        Installed { current: Some(target("a")), pending: Some(pending), ..Installed::default() }
    }

    #[test]
    fn confirming_makes_the_pending_target_current_and_keeps_the_old_one_for_rollback() {
        let mut installed = with_pending("b");
        installed.confirm();
        assert_eq!(installed.current, Some(target("b")));
        assert_eq!(installed.previous, Some(target("a")));
        assert_eq!(installed.pending, None);
    }

    #[test]
    fn a_target_that_fails_again_is_one_record_with_a_higher_count() {
        let mut installed = with_pending("c");
        installed.reject("rolled back", 10);
        installed.pending = with_pending("c").pending;
        installed.reject("rolled back", 20);
        assert_eq!(installed.known_bad.len(), 1);
        assert_eq!((installed.known_bad[0].count, installed.known_bad[0].since), (2, 20));
        assert!(installed.bad("c-commit").is_some());
    }

    #[test]
    fn a_bad_target_that_comes_up_after_all_is_forgiven() {
        let mut installed = with_pending("c");
        installed.reject("rolled back", 10);
        installed.pending = with_pending("c").pending;
        installed.confirm();
        assert!(installed.known_bad.is_empty());
    }

    #[test]
    fn bad_apps_say_nothing_of_the_commit() {
        let with =
            |uri: &str| TargetRecord { apps: [("web".to_string(), uri.to_string())].into(), ..target("a") };
        let mut installed = Installed { current: Some(with("1")), ..Installed::default() };
        installed.reject_apps(&with("2"), "web is unhealthy", 10);
        assert_eq!(installed.reject_apps(&with("2"), "web is unhealthy", 20).count, 2);
        assert!(installed.bad("a-commit").is_none());
        let renamed = TargetRecord { name: "b".into(), ..with("2") };
        assert!(installed.bad_apps(&renamed).is_some());
        assert!(installed.bad_apps(&with("1")).is_none() && installed.bad_apps(&with("3")).is_none());
        installed.accept_apps(&renamed);
        assert!(installed.bad_apps.is_empty());
    }

    #[test]
    fn version_1_of_the_file_reads() {
        let folder = std::env::temp_dir().join(format!("rust-ota-installed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy("tests/fixtures/store/installed.v1.json", folder.join("installed.json")).unwrap();
        let installed = Installed::load(&folder).unwrap();
        assert_eq!(installed.current.unwrap().name, "board-2");
        assert_eq!(installed.known_bad[0].count, 3);

        std::fs::write(folder.join("installed.json"), "{\"version\": 2}").unwrap();
        assert!(matches!(Installed::load(&folder), Err(StoreError::Newer { version: 2, .. })));
        assert!(folder.join("installed.json").exists(), "a newer file is left alone");

        std::fs::write(folder.join("installed.json"), "{\"version\": 1, \"curr").unwrap();
        let error = Installed::load(&folder).unwrap_err();
        assert!(error.to_string().contains("installed.json is damaged"), "{error}");
        assert!(folder.join("installed.json.damaged").exists());
        assert_eq!(Installed::load(&folder).unwrap(), Installed::default(), "the next run starts without it");

        // What a repair of the file system makes of it, twice.
        for _ in 0..2 {
            std::fs::create_dir_all(folder.join("installed.json/lost")).unwrap();
            assert!(matches!(Installed::load(&folder), Err(StoreError::Damaged { .. })));
            assert!(folder.join("installed.json.damaged/lost").exists());
            assert_eq!(Installed::load(&folder).unwrap(), Installed::default());
        }
        std::fs::write(folder.join("installed.json"), "{").unwrap();
        assert!(matches!(Installed::load(&folder), Err(StoreError::Damaged { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
