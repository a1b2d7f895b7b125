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
fn versions_start_again_when_what_was_accepted_verifies_no_more() {
    let key = |number| Key::new(number, Profile::Ats);
    let mut repo = Repo::new(Profile::Ats);
    repo.signers.insert("targets".into(), vec![key(40)]);
    repo.write_root();
    repo.role("targets")["version"] = json!(9);
    let floor = take(&repo, Limits::default(), None).unwrap().floor;
    repo.role("targets")["version"] = json!(3);
    let rollback = Fault::DirectorRollback { trusted: 9, got: 3 };
    assert_eq!(take(&repo, Limits::default(), Some(&floor)).unwrap_err(), rollback);
    // A key that is added, or another that goes, lowers nothing; the one that signed has to go.
    repo.signers.insert("targets".into(), vec![key(40), key(41)]);
    repo.write_root();
    assert_eq!(take(&repo, Limits::default(), Some(&floor)).unwrap_err(), rollback);
    repo.role("root")["roles"]["targets"]["threshold"] = json!(2);
    assert!(take(&repo, Limits::default(), Some(&floor)).is_ok());
    repo.signers.insert("targets".into(), vec![key(41)]);
    repo.write_root();
    repo.role("root")["roles"]["targets"]["threshold"] = json!(1);
    assert!(take(&repo, Limits::default(), Some(&floor)).is_ok());
}

#[test]
fn a_floor_of_an_earlier_release_holds_as_long_as_its_keys_stay() {
    let mut repo = Repo::new(Profile::Ats);
    repo.role("targets")["version"] = json!(9);
    let floor = take(&repo, Limits::default(), None).unwrap().floor;
    let mut old = serde_json::to_value(&floor).unwrap();
    old.as_object_mut().unwrap().remove("signed_by");
    let old: Floor = serde_json::from_value(old).unwrap();
    repo.role("targets")["version"] = json!(3);
    repo.signers.get_mut("targets").unwrap().push(Key::new(41, Profile::Ats));
    repo.write_root();
    assert!(matches!(take(&repo, Limits::default(), Some(&old)), Err(Fault::DirectorRollback { .. })));
    repo.signers.insert("targets".into(), vec![Key::new(41, Profile::Ats)]);
    repo.write_root();
    assert!(take(&repo, Limits::default(), Some(&old)).is_ok());
}

#[test]
fn a_floor_without_a_mode_is_read() {
    let floor: Floor = serde_json::from_value(json!({"version": 5, "authority": "1 of 0:aa"})).unwrap();
    assert!(!floor.is_full());
}
