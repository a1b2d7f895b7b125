//! The Director's targets by themselves: the rules hold also where the walk of roots or the transport saw to them before.

use serde_json::json;

use super::{Directed, Fault, Floor, Mode, take_targets};
use crate::tuf::testing::{BEFORE, Key, NOW, Repo};
use crate::tuf::{Limits, Profile, Reason, TrustedMetadata};

fn take(repo: &Repo, limits: Limits, floor: Option<&Floor>) -> Result<Directed, Fault> {
    let mut trusted = TrustedMetadata::new(repo.file("root"), Profile::Ats, limits).unwrap();
    take_targets(&mut trusted, repo.file("targets"), Mode::Reduced, floor, NOW)
}

#[track_caller]
fn rejected(result: Result<Directed, Fault>) -> (String, Reason) {
    match result {
        Err(Fault::Rejected { rejection, .. }) => (rejection.file, rejection.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_expired_root_vouches_for_no_targets() {
    let mut repo = Repo::new(Profile::Ats);
    assert!(take(&repo, Limits::default(), None).is_ok());
    repo.role("root")["expires"] = json!(BEFORE);
    let (file, reason) = rejected(take(&repo, Limits::default(), None));
    assert!(file == "root.json" && matches!(reason, Reason::Expired { .. }), "{file} {reason:?}");
}

#[test]
fn more_bytes_than_are_allowed_are_not_read() {
    let limits = Limits { targets_bytes: 10, ..Limits::default() };
    let (_, reason) = rejected(take(&Repo::new(Profile::Ats), limits, None));
    assert!(matches!(reason, Reason::TooLarge { limit: 10, .. }), "{reason:?}");
}

#[test]
fn versions_start_again_with_other_keys_or_another_threshold_only() {
    let mut repo = Repo::new(Profile::Ats);
    let keys = [Key::new(40, Profile::Ats), Key::new(41, Profile::Ats)];
    repo.signers.insert("targets".into(), keys.to_vec());
    repo.write_root();
    repo.role("targets")["version"] = json!(9);
    let floor = take(&repo, Limits::default(), None).unwrap().floor;
    repo.role("targets")["version"] = json!(3);
    let lower = take(&repo, Limits::default(), Some(&floor)).unwrap_err();
    assert_eq!(lower, Fault::DirectorRollback { trusted: 9, got: 3 });
    repo.role("root")["roles"]["targets"]["threshold"] = json!(2);
    assert!(take(&repo, Limits::default(), Some(&floor)).is_ok());
}

#[test]
fn a_floor_without_a_mode_is_read() {
    let floor: Floor = serde_json::from_value(json!({"version": 5, "authority": "1 of 0:aa"})).unwrap();
    assert!(!floor.is_full());
}
