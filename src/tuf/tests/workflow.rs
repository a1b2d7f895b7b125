//! 5.2 to 5.6.6: what may follow what.

use serde_json::json;

use super::assert_reason;
use crate::tuf::testing::{BEFORE, Key, NOW, Repo};
use crate::tuf::{Change, Profile, Reason, RootChange, Time, TrustedMetadata};

const PROFILES: [Profile; 2] = [Profile::Tuf, Profile::Ats];

/// A repository and a client that has seen its version 1: a fresh client hides every rollback.
fn warm(profile: Profile) -> (Repo, crate::tuf::TrustedMetadata) {
    let repo = Repo::new(profile);
    let trusted = repo.trust();
    (repo, trusted)
}

#[test]
fn takes_an_honest_repository() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        assert!(trusted.check(NOW).is_ok());
        let (name, info) = trusted.targets().next().unwrap();
        assert_eq!((name, info.length), ("file", 7));
        assert_eq!(info.custom.as_ref().unwrap().get(), r#"{"n":"file"}"#);
        repo.update(&["targets"]);
        repo.refresh(&mut trusted).unwrap();
        assert_eq!(trusted.top_targets().unwrap().role.header.version, 2);
        assert_eq!(trusted.top_targets().unwrap().bytes, repo.file("targets"));
    }
}

#[test]
fn root_needs_old_and_new_keys() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        let old = repo.signers["root"].clone();
        let new = vec![Key::new(9, profile)];
        repo.signers.insert("root".into(), new.clone());
        repo.write_root();
        repo.bump("root");
        assert_reason!(trusted.update_root(repo.file_by("root", &new)), Reason::Unsigned { valid: 0, .. });
        assert_reason!(trusted.update_root(repo.file_by("root", &old)), Reason::Unsigned { valid: 0, .. });
        let both = [old, new].concat();
        assert_eq!(trusted.update_root(repo.file_by("root", &both)).unwrap(), RootChange::default());
        assert_eq!(trusted.next_root_version(), 3);
    }
}

#[test]
fn root_version_is_the_next_one() {
    for version in [1, 3, 100] {
        let (mut repo, mut trusted) = warm(Profile::Tuf);
        repo.role("root")["version"] = json!(version);
        assert_reason!(trusted.update_root(repo.file("root")), Reason::RootVersion { expected: 2, .. });
        assert_eq!(trusted.root().role.header.version, 1);
    }
}

#[test]
fn intermediate_root_may_have_expired_the_last_may_not() {
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.role("root")["expires"] = json!(BEFORE);
    repo.bump("root");
    trusted.update_root(repo.file("root")).unwrap();
    assert_reason!(trusted.finish_root(NOW), Reason::Expired { .. });
    assert_reason!(trusted.update_timestamp(repo.file("timestamp"), NOW), Reason::Expired { .. });
    repo.role("root")["expires"] = json!("2030-01-01T00:00:00Z");
    repo.bump("root");
    trusted.update_root(repo.file("root")).unwrap();
    assert!(trusted.finish_root(NOW).is_ok());
}

#[test]
fn first_root_signs_itself() {
    let repo = Repo::new(Profile::Tuf);
    let other = [Key::new(50, Profile::Tuf)];
    let first = |bytes| crate::tuf::TrustedMetadata::new(bytes, Profile::Tuf, Default::default());
    assert_reason!(first(repo.file_by("root", &other)), Reason::Unsigned { .. });
    assert_reason!(first(repo.file_by("root", &[])), Reason::Unsigned { .. });
    assert!(first(repo.file("root")).is_ok());
}

#[test]
fn timestamp_version_never_falls() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        repo.update(&[]);
        repo.refresh(&mut trusted).unwrap();
        repo.role("timestamp")["version"] = json!(1);
        assert_reason!(
            trusted.update_timestamp(repo.file("timestamp"), NOW),
            Reason::TimestampRollback { trusted: 2, got: 1 }
        );
        assert_eq!(trusted.timestamp().unwrap().role.header.version, 2);
    }
}

#[test]
fn same_timestamp_version_with_other_content() {
    for (profile, taken) in [(Profile::Tuf, Change::Unchanged), (Profile::Ats, Change::Updated)] {
        let (mut repo, mut trusted) = warm(profile);
        repo.role("timestamp")["meta"]["snapshot.json"]["version"] = json!(100);
        assert_eq!(trusted.update_timestamp(repo.file("timestamp"), NOW), Ok(taken));
        let listed = trusted.timestamp().unwrap().role.snapshot.version;
        assert_eq!(listed, if profile == Profile::Tuf { 1 } else { 100 });
    }
}

#[test]
fn same_timestamp_bytes_are_unchanged_until_they_expire() {
    for profile in PROFILES {
        let (repo, mut trusted) = warm(profile);
        assert_eq!(trusted.update_timestamp(repo.file("timestamp"), NOW), Ok(Change::Unchanged));
        let mut repo = Repo::new(profile);
        repo.role("timestamp")["expires"] = json!("2027-01-01T00:00:00Z");
        let mut trusted = repo.trust();
        let later = Time::parse("2027-01-01T00:00:00Z").unwrap();
        assert_reason!(trusted.update_timestamp(repo.file("timestamp"), later), Reason::Expired { .. });
        assert!(trusted.update_timestamp(repo.file("timestamp"), Time(later.0 - 1)).is_ok());
    }
}

#[test]
fn of_two_timestamps_of_one_version_the_one_that_stays_must_be_fresh() {
    let mut repo = Repo::new(Profile::Tuf);
    repo.role("timestamp")["expires"] = json!("2027-01-01T00:00:00Z");
    let mut trusted = repo.trust();
    repo.role("timestamp")["expires"] = json!("2030-01-01T00:00:00Z");
    let later = Time::parse("2027-01-01T00:00:00Z").unwrap();
    assert_reason!(trusted.update_timestamp(repo.file("timestamp"), later), Reason::Expired { .. });
}

#[test]
fn listed_snapshot_version_never_falls() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        repo.update(&[]);
        repo.refresh(&mut trusted).unwrap();
        repo.role("snapshot")["version"] = json!(1);
        repo.bump("timestamp");
        repo.publish();
        assert_reason!(
            trusted.update_timestamp(repo.file("timestamp"), NOW),
            Reason::SnapshotRollback { trusted: 2, got: 1 }
        );
    }
}

#[test]
fn snapshot_has_the_listed_version() {
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.hashes = false;
    repo.update(&[]);
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    repo.bump("snapshot");
    assert_reason!(
        trusted.update_snapshot(repo.file("snapshot"), NOW),
        Reason::VersionMismatch { expected: 2, got: 3, .. }
    );
}

#[test]
fn snapshot_has_the_listed_hash_and_length() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        repo.update(&[]);
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        let mut other = repo.clone();
        other.role("snapshot")["x"] = json!(1);
        assert_reason!(trusted.update_snapshot(other.file("snapshot"), NOW), Reason::LengthMismatch { .. });
        repo.role("timestamp")["meta"]["snapshot.json"]["hashes"]["sha256"] = json!("0".repeat(64));
        repo.bump("timestamp");
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        assert_reason!(trusted.update_snapshot(repo.file("snapshot"), NOW), Reason::HashMismatch { .. });
        assert_eq!(trusted.snapshot().unwrap().role.header.version, 1);
    }
}

#[test]
fn no_listed_role_goes_back_or_away() {
    for profile in PROFILES {
        for hashes in [true, false] {
            let mut repo = Repo::new(profile);
            repo.hashes = hashes;
            repo.delegate("targets", "d", &["d/*"], false);
            repo.update(&["targets", "d"]);
            let mut trusted = repo.trust();
            // The stored snapshot no longer has the hash that the new timestamp lists; it counts all the same.
            for name in ["targets", "d"] {
                let (mut repo, mut trusted) = (repo.clone(), trusted.clone());
                repo.role(name)["version"] = json!(1);
                repo.update(&[]);
                trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
                assert_reason!(
                    trusted.update_snapshot(repo.file("snapshot"), NOW),
                    Reason::RoleRollback { trusted: 2, got: 1, .. }
                );
            }
            repo.roles.remove("d");
            repo.update(&[]);
            trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
            assert_reason!(trusted.update_snapshot(repo.file("snapshot"), NOW), Reason::RoleRemoved { .. });
            assert_eq!(trusted.snapshot().unwrap().role.header.version, 2);
        }
    }
}

#[test]
fn a_restored_snapshot_is_what_new_ones_are_compared_with() {
    for profile in PROFILES {
        let mut repo = Repo::new(profile);
        repo.update(&["targets"]);
        let mut trusted = repo.trust_root();
        trusted.restore_timestamp(repo.file("timestamp")).unwrap();
        let stored = repo.file("snapshot");
        repo.role("targets")["version"] = json!(1);
        repo.update(&[]);
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        trusted.restore_snapshot(stored).unwrap();
        assert!(!trusted.snapshot_is_current(NOW));
        assert_reason!(trusted.update_snapshot(repo.file("snapshot"), NOW), Reason::RoleRollback { .. });
    }
}

#[test]
fn targets_have_the_listed_version_hash_and_length() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        repo.update(&["targets"]);
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        trusted.update_snapshot(repo.file("snapshot"), NOW).unwrap();
        let mut other = repo.clone();
        other.role("targets")["x"] = json!(1);
        assert_reason!(trusted.update_targets(other.file("targets"), NOW), Reason::LengthMismatch { .. });
        let mut other = repo.clone();
        other.role("targets")["version"] = json!(3);
        assert_reason!(trusted.update_targets(other.file("targets"), NOW), Reason::HashMismatch { .. });
    }
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.hashes = false;
    repo.update(&["targets"]);
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    trusted.update_snapshot(repo.file("snapshot"), NOW).unwrap();
    repo.bump("targets");
    assert_reason!(trusted.update_targets(repo.file("targets"), NOW), Reason::VersionMismatch { .. });
    assert_eq!(trusted.top_targets().unwrap().role.header.version, 1);
}

#[test]
fn nothing_expired_is_taken() {
    for profile in PROFILES {
        for name in ["timestamp", "snapshot", "targets"] {
            let (mut repo, mut trusted) = warm(profile);
            repo.role(name)["expires"] = json!(BEFORE);
            repo.update(&["targets"]);
            let rejection = repo.refresh(&mut trusted).unwrap_err();
            assert_eq!(rejection.file, format!("{name}.json"));
            assert!(matches!(rejection.reason, Reason::Expired { .. }));
            let versions = [
                trusted.timestamp().unwrap().role.header.version,
                trusted.snapshot().unwrap().role.header.version,
                trusted.top_targets().unwrap().role.header.version,
            ];
            // What came before the expired file is taken, the file is not.
            let expected = match name {
                "timestamp" => [1, 1, 1],
                "snapshot" => [2, 1, 1],
                _ => [2, 2, 1],
            };
            assert_eq!(versions, expected, "{name}");
        }
    }
}

#[test]
fn expiry_is_checked_again_at_use() {
    for name in ["root", "timestamp", "snapshot", "targets"] {
        let mut repo = Repo::new(Profile::Tuf);
        repo.role(name)["expires"] = json!("2027-01-01T00:00:00Z");
        repo.publish();
        let trusted = repo.trust();
        let rejection = trusted.check(Time::parse("2027-01-01T00:00:00Z").unwrap()).unwrap_err();
        assert_eq!(rejection.file, format!("{name}.json"));
        assert!(matches!(rejection.reason, Reason::Expired { .. }));
        assert!(trusted.check(Time::parse("2026-12-31T23:59:59Z").unwrap()).is_ok());
    }
}

#[test]
fn a_replaced_key_starts_the_versions_of_its_role_again_and_no_others() {
    for profile in PROFILES {
        for name in ["timestamp", "snapshot"] {
            let mut repo = Repo::new(profile);
            // What a thief of the key signed last.
            repo.role(name)["version"] = json!(9_223_372_036_854_775_807u64);
            if name == "snapshot" {
                repo.role("targets")["version"] = json!(9_223_372_036_854_775_807u64);
            }
            repo.publish();
            let mut trusted = repo.trust();
            repo.signers.insert(name.into(), vec![Key::new(9, profile)]);
            repo.write_root();
            repo.bump("root");
            let void = trusted.update_root(repo.file("root")).unwrap();
            assert_eq!((void.timestamp, void.snapshot), (name == "timestamp", name == "snapshot"));
            for role in ["snapshot", "targets"] {
                repo.role(role)["version"] = json!(1);
            }
            repo.role("timestamp")["version"] = json!(if name == "timestamp" { 1 } else { 2 });
            repo.publish();
            repo.refresh(&mut trusted).unwrap();
            assert_eq!(trusted.top_targets().unwrap().role.header.version, 1);
            assert_eq!(trusted.snapshot().unwrap().role.header.version, 1);
        }
    }
}

#[test]
fn an_added_key_or_a_lower_threshold_lowers_no_version() {
    for profile in PROFILES {
        for name in ["timestamp", "snapshot", "targets"] {
            let mut old = Repo::new(profile);
            old.update(&["targets"]);
            let mut repo = old.clone();
            repo.update(&["targets"]);
            let mut trusted = repo.trust();
            repo.signers.get_mut(name).unwrap().push(Key::new(9, profile));
            repo.write_root();
            repo.bump("root");
            assert_eq!(trusted.update_root(repo.file("root")).unwrap(), RootChange::default(), "{name}");
            // Whoever has the server and no key sends what the key that stayed signed before.
            let replay = trusted.update_timestamp(old.file("timestamp"), NOW);
            assert_reason!(replay, Reason::TimestampRollback { trusted: 3, got: 2 });
            assert_eq!(trusted.top_targets().unwrap().role.header.version, 3);
        }
    }
}

#[test]
fn a_replaced_snapshot_key_lowers_no_timestamp() {
    for profile in PROFILES {
        let old = Repo::new(profile);
        let mut repo = old.clone();
        repo.update(&["targets"]);
        let mut trusted = repo.trust();
        repo.signers.insert("snapshot".into(), vec![Key::new(9, profile)]);
        repo.write_root();
        repo.bump("root");
        assert!(trusted.update_root(repo.file("root")).unwrap().snapshot);
        let replay = trusted.update_timestamp(old.file("timestamp"), NOW);
        assert_reason!(replay, Reason::TimestampRollback { trusted: 2, got: 1 });
    }
}

#[test]
fn a_stored_snapshot_is_void_by_its_keys_and_not_by_damage() {
    let (mut repo, before) = warm(Profile::Tuf);
    repo.update(&["targets"]);
    let (timestamp, snapshot) = (repo.file("timestamp"), repo.file("snapshot"));
    repo.signers.insert("snapshot".into(), vec![Key::new(9, Profile::Tuf)]);
    repo.write_root();
    repo.bump("root");
    let root = repo.file("root");
    repo.role("snapshot")["version"] = json!(1);
    repo.role("timestamp")["version"] = json!(3);
    repo.publish();
    let restored = |stored: Vec<u8>| {
        let mut trusted =
            TrustedMetadata::new(before.root().bytes.clone(), Profile::Tuf, Default::default()).unwrap();
        trusted.update_root(root.clone()).unwrap();
        trusted.restore_timestamp(timestamp.clone()).unwrap();
        assert!(trusted.restore_snapshot(stored).is_err());
        trusted
    };
    restored(snapshot.clone()).update_timestamp(repo.file("timestamp"), NOW).unwrap();
    for damage in [b"".to_vec(), snapshot[..snapshot.len() / 2].to_vec(), vec![0; snapshot.len()]] {
        let taken = restored(damage).update_timestamp(repo.file("timestamp"), NOW);
        assert_reason!(taken, Reason::SnapshotRollback { trusted: 2, got: 1 });
    }
}

#[test]
fn a_new_root_with_the_same_keys_lowers_nothing() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        repo.update(&["targets"]);
        repo.refresh(&mut trusted).unwrap();
        repo.bump("root");
        assert_eq!(trusted.update_root(repo.file("root")).unwrap(), RootChange::default());
        repo.role("timestamp")["version"] = json!(1);
        assert_reason!(
            trusted.update_timestamp(repo.file("timestamp"), NOW),
            Reason::TimestampRollback { .. }
        );
    }
}

#[test]
fn a_threshold_that_the_stored_file_does_not_meet_voids_it() {
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.signers.get_mut("timestamp").unwrap().push(Key::new(9, Profile::Tuf));
    repo.write_root();
    repo.bump("root");
    assert!(!trusted.update_root(repo.file("root")).unwrap().timestamp);
    repo.role("root")["roles"]["timestamp"]["threshold"] = json!(2);
    repo.bump("root");
    assert!(trusted.update_root(repo.file("root")).unwrap().timestamp);
}

#[test]
fn targets_of_replaced_keys_are_dropped() {
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.signers.insert("targets".into(), vec![Key::new(9, Profile::Tuf)]);
    repo.write_root();
    repo.bump("root");
    let void = trusted.update_root(repo.file("root")).unwrap();
    assert_eq!(void, RootChange { targets: true, ..RootChange::default() });
    assert!(trusted.top_targets().is_none());
    assert_reason!(trusted.check(NOW), Reason::OutOfOrder { .. });
}

#[test]
fn roles_come_in_order() {
    let repo = Repo::new(Profile::Tuf);
    let mut trusted = repo.trust_root();
    assert_reason!(trusted.update_snapshot(repo.file("snapshot"), NOW), Reason::OutOfOrder { .. });
    assert_reason!(trusted.update_targets(repo.file("targets"), NOW), Reason::OutOfOrder { .. });
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    assert_reason!(trusted.update_targets(repo.file("targets"), NOW), Reason::OutOfOrder { .. });
}

#[test]
fn a_snapshot_of_another_cycle_vouches_for_nothing() {
    let (mut repo, mut trusted) = warm(Profile::Tuf);
    repo.update(&["targets"]);
    trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
    // The snapshot is still version 1: its targets are not to be used, nor new ones to be taken.
    assert_reason!(trusted.check(NOW), Reason::VersionMismatch { .. });
    assert_reason!(trusted.update_targets(repo.file("targets"), NOW), Reason::VersionMismatch { .. });
}

#[test]
fn targets_of_the_listed_version_with_another_hash_are_not_current() {
    for profile in PROFILES {
        let (mut repo, mut trusted) = warm(profile);
        // The publisher signs other content under the same version, and lists its hash.
        repo.role("targets")["x"] = json!(1);
        repo.update(&[]);
        trusted.update_timestamp(repo.file("timestamp"), NOW).unwrap();
        trusted.update_snapshot(repo.file("snapshot"), NOW).unwrap();
        assert!(!trusted.targets_are_current(NOW));
        assert_reason!(trusted.check(NOW), Reason::LengthMismatch { .. });
        trusted.update_targets(repo.file("targets"), NOW).unwrap();
        assert!(trusted.targets_are_current(NOW));
    }
}

#[test]
fn sizes_are_limited() {
    let (mut repo, _) = warm(Profile::Tuf);
    let limits = crate::tuf::Limits { root_bytes: repo.file("root").len() as u64, ..Default::default() };
    let mut small = crate::tuf::TrustedMetadata::new(repo.file("root"), Profile::Tuf, limits).unwrap();
    let first = repo.clone();
    repo.bump("root");
    repo.role("root")["x"] = json!("more");
    assert_reason!(small.update_root(repo.file("root")), Reason::TooLarge { .. });
    let repo = first;
    let limits = crate::tuf::Limits { root_bytes: 10, ..Default::default() };
    let first = crate::tuf::TrustedMetadata::new(repo.file("root"), Profile::Tuf, limits);
    assert_reason!(first, Reason::TooLarge { limit: 10, .. });
    for name in ["timestamp", "snapshot", "targets"] {
        let mut limits = crate::tuf::Limits::default();
        match name {
            "timestamp" => limits.timestamp_bytes = 10,
            "snapshot" => limits.snapshot_bytes = 10,
            _ => limits.targets_bytes = 10,
        }
        let mut trusted = crate::tuf::TrustedMetadata::new(repo.file("root"), Profile::Tuf, limits).unwrap();
        let rejection = repo.refresh(&mut trusted).unwrap_err();
        assert_eq!(rejection.file, format!("{name}.json"));
        assert!(matches!(rejection.reason, Reason::TooLarge { limit: 10, .. }));
    }
}

#[test]
fn requests_are_named_and_limited() {
    for consistent in [true, false] {
        let mut repo = Repo::new(Profile::Tuf);
        repo.role("root")["consistent_snapshot"] = json!(consistent);
        repo.delegate("targets", "a/b", &["*"], false);
        repo.update(&["targets"]);
        let trusted = repo.trust();
        let prefix = |version: &str| if consistent { format!("{version}.") } else { String::new() };
        assert_eq!(trusted.root_request().path, "2.root.json");
        assert_eq!(trusted.timestamp_request().path, "timestamp.json");
        assert_eq!(trusted.snapshot_request().unwrap().path, prefix("2") + "snapshot.json");
        assert_eq!(trusted.targets_request().unwrap().path, prefix("2") + "targets.json");
        assert_eq!(trusted.delegated_request("a/b").unwrap().path, prefix("1") + "a%2Fb.json");
        assert_eq!(trusted.targets_request().unwrap().limit, repo.file("targets").len() as u64);
        assert_reason!(trusted.delegated_request("c"), Reason::NotListed { .. });
    }
    let mut repo = Repo::new(Profile::Ats);
    repo.role("root")["consistent_snapshot"] = json!(true);
    repo.delegate("targets", "d", &["*"], false);
    repo.update(&["targets"]);
    let trusted = repo.trust();
    assert_eq!(trusted.root_request().path, "2.root.json");
    assert_eq!(trusted.snapshot_request().unwrap().path, "snapshot.json");
    assert_eq!(trusted.delegated_request("d").unwrap().path, "delegations/d.json");
}
