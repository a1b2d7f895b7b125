//! Whole cycles against two repositories in memory: the honest ones, and each attack of docs/uptane.md.

#![allow(clippy::unwrap_used, clippy::panic)]

mod attacks;
mod world;

use serde_json::json;

use self::world::{World, target};
use crate::tuf::testing::Key;
use crate::tuf::{Profile, to_hex};
use crate::uptane::{Class, Fault, Mode};

#[test]
fn an_honest_pair_is_taken() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    let bundle = world.cycle().unwrap();
    assert_eq!((bundle.mode, bundle.version), (Mode::Reduced, 2));
    let [verified] = &bundle.targets[..] else { panic!("{bundle:?}") };
    assert_eq!((verified.target.as_str(), verified.info.length), ("app", 7));
    assert_eq!(verified.ecus[0].serial, "S1");
    // Once more, with nothing new: nothing is written.
    let written = world.writes();
    assert_eq!(world.cycle().unwrap().targets.len(), 1);
    assert_eq!(world.writes(), written);
}

#[test]
fn a_director_with_timestamp_and_snapshot_is_checked_in_full() {
    let mut world = World::new();
    world.full = true;
    world.assign("app", b"content", 1);
    assert_eq!(world.cycle().unwrap().mode, Mode::Full);
    world.assign("app-2", b"content 2", 1);
    assert_eq!(world.cycle().unwrap().targets[0].target, "app-2");
}

#[test]
fn a_directors_root_may_leave_out_timestamp_and_snapshot() {
    let mut world = World::new();
    let roles = world.director.role("root")["roles"].as_object_mut().unwrap();
    roles.remove("timestamp");
    roles.remove("snapshot");
    world.assign("app", b"content", 1);
    // It cannot have any then, whatever is served.
    world.full = true;
    assert_eq!(world.cycle().unwrap().mode, Mode::Reduced);
}

#[test]
fn an_image_repository_without_timestamp_key_is_refused() {
    let mut world = World::new();
    world.image.role("root")["roles"].as_object_mut().unwrap().remove("timestamp");
    world.assign("app", b"content", 1);
    assert_eq!(world.refused(), Class::BadKeyId);
}

#[test]
fn nothing_assigned_is_no_error_and_needs_no_image_repository() {
    let mut world = World::new();
    world.publish("app", target(b"content", json!({"hardwareIds": ["H1"]})));
    world.image_offline = true;
    world.direct();
    assert!(world.cycle().unwrap().targets.is_empty());
    // A Target that the Director lists for nobody is for nobody.
    world.director.role("targets")["targets"]["app"] = target(b"content", json!({"ecuIdentifiers": {}}));
    world.direct();
    assert!(world.cycle().unwrap().targets.is_empty());
}

#[test]
fn only_the_ecus_that_are_named_are_assigned() {
    let mut world = World::new();
    world.assign("app", b"content", 2);
    let bundle = world.cycle().unwrap();
    assert_eq!(bundle.targets.len(), 1);
    assert_eq!(bundle.targets[0].ecus[0].serial, "S2");
}

#[test]
fn a_correlation_id_comes_along() {
    let mut world = World::new();
    world.director.role("targets")["custom"] = json!({"correlationId": "urn:1"});
    world.assign("app", b"content", 1);
    assert_eq!(world.cycle().unwrap().correlation_id.as_deref(), Some("urn:1"));
    world.director.role("targets")["custom"] = json!(null);
    world.direct();
    assert_eq!(world.cycle().unwrap().correlation_id, None);
}

#[test]
fn the_directors_url_goes_before_the_image_repositorys() {
    for (director, image, expected) in [
        (json!("http://d/x"), json!("http://i/x"), Some("http://d/x")),
        (json!(null), json!("http://i/x"), Some("http://i/x")),
        (json!("https://example.com/"), json!("http://i/x"), Some("http://i/x")),
        (json!(""), json!(null), None),
    ] {
        let mut world = World::new();
        world.assign("app", b"content", 1);
        world.director.role("targets")["targets"]["app"]["custom"]["uri"] = director;
        world.image.role("targets")["targets"]["app"]["custom"]["uri"] = image;
        world.redo();
        assert_eq!(world.cycle().unwrap().targets[0].uri.as_deref(), expected);
    }
}

#[test]
fn an_ostree_target_is_told_by_its_format_or_by_its_length() {
    for (format, content, expected) in [
        (json!("OSTREE"), &b"x"[..], true),
        (json!(null), b"", true),
        (json!("BINARY"), b"", false),
        (json!(null), b"x", false),
    ] {
        let mut world = World::new();
        world.assign("app", content, 1);
        world.director.role("targets")["targets"]["app"]["custom"]["targetFormat"] = format;
        world.redo();
        assert_eq!(world.cycle().unwrap().targets[0].is_ostree, expected);
    }
}

#[test]
fn a_target_may_come_from_a_delegated_role() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    let info = world.image.role("targets")["targets"].as_object_mut().unwrap().remove("app").unwrap();
    world.image.delegate("targets", "team", &["ap*"], false);
    world.image.role("team")["targets"]["app"] = info;
    world.redo();
    assert_eq!(world.cycle().unwrap().targets.len(), 1);

    world.image.role("team")["expires"] = json!(crate::tuf::testing::BEFORE);
    world.image.update(&["team"]);
    assert_eq!(world.refused(), Class::TargetMismatch);
    world.image.role("team")["expires"] = json!(crate::tuf::testing::LATER);
    world.image.update(&["team"]);
    assert!(world.cycle().is_ok());

    world.image.update(&["team"]);
    world.absent.push("delegations/team.json".into());
    assert_eq!(world.refused(), Class::DelegationMissing);
}

#[test]
fn a_delegated_role_has_to_be_listed_with_its_hash() {
    let mut world = World::new();
    world.image.delegate("targets", "team", &["ap*"], false);
    world.assign("app", b"content", 1);
    world.image.role("targets")["targets"].as_object_mut().unwrap().remove("app");
    world.redo();
    // The same version with other content than the snapshot lists.
    world.image.role("team")["targets"]["app"] = target(b"content", json!({"hardwareIds": ["H1"]}));
    assert_eq!(world.refused(), Class::DelegationHashMismatch);
    world.image.update(&["targets"]);
    assert!(world.cycle().is_ok());
}

/// Servers in the field send indented text, list its length, and hash the canonical form.
#[test]
fn the_length_is_the_texts_and_the_hash_is_the_canonical_forms() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    let snapshot: serde_json::Value = serde_json::from_slice(&world.image.file("snapshot")).unwrap();
    let text = serde_json::to_vec_pretty(&snapshot).unwrap();
    world.image.role("timestamp")["meta"]["snapshot.json"]["length"] = json!(text.len());
    world.image_forged.insert("snapshot.json".into(), text);
    assert!(world.cycle().is_ok());
    world.image.role("timestamp")["meta"]["snapshot.json"]["length"] = json!(1);
    world.image.bump("timestamp");
    assert_eq!(world.refused(), Class::SecurityException);
}

#[test]
fn a_rotated_key_of_the_directors_targets_lets_versions_start_again() {
    let mut world = World::new();
    world.direct_as(i64::MAX as u64);
    assert!(world.cycle().is_ok());
    world.direct_as(7);
    let fault = world.fault();
    assert_eq!(fault, Fault::DirectorRollback { trusted: i64::MAX as u64, got: 7 });

    world.director.signers.insert("targets".into(), vec![Key::new(90, Profile::Ats)]);
    world.director.write_root();
    world.director.bump("root");
    assert_eq!(world.cycle().unwrap().version, 7);
    world.direct_as(6);
    assert_eq!(world.fault(), Fault::DirectorRollback { trusted: 7, got: 6 });
}

#[test]
fn an_added_key_of_the_directors_targets_lowers_no_version() {
    for full in [false, true] {
        let mut world = World::new();
        world.full = full;
        world.direct();
        assert!(world.cycle().is_ok());
        let old = world.director.clone();
        world.direct();
        let version = world.cycle().unwrap().version;
        let mut repo = world.director.clone();
        repo.signers.get_mut("targets").unwrap().push(Key::new(90, Profile::Ats));
        repo.write_root();
        repo.bump("root");
        // Whoever has the server sends the true new root, and behind it what the key that stayed signed before.
        for role in ["timestamp", "snapshot", "targets"] {
            repo.roles.insert(role.into(), old.roles[role].clone());
        }
        let added = repo.signers.get_mut("targets").unwrap().pop();
        world.director = repo;
        assert!(world.cycle().is_err(), "{full}");
        let floor: serde_json::Value =
            serde_json::from_slice(&world.director_store.files["floor.json"]).unwrap();
        assert_eq!(floor["version"], json!(version));
        drop(added);
    }
}

#[test]
fn first_roots_are_trusted_once() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.cycle().unwrap();
    // Another Director under the same URL: its first root is not asked for again.
    let mut other = World::new();
    for (role, number) in ["root", "timestamp", "snapshot", "targets"].iter().zip(200..) {
        other.director.signers.insert((*role).into(), vec![Key::new(number, Profile::Ats)]);
    }
    other.director.write_root();
    other.assign("app", b"content", 1);
    world.director = other.director;
    assert_eq!(world.refused(), Class::BadKeyId);
}

#[test]
fn without_a_first_root_there_is_no_trust() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.trust_first_roots = false;
    assert_eq!(world.refused(), Class::LocalFailure);
    world.trust_first_roots = true;
    world.cycle().unwrap();
    world.trust_first_roots = false;
    assert!(world.cycle().is_ok());
}

#[test]
fn the_first_root_has_to_be_the_first() {
    let mut world = World::new();
    world.director.bump("root");
    world.director_forged.insert("1.root.json".into(), world.director.file("root"));
    assert_eq!(world.refused(), Class::RootRotationError);
    assert!(world.director_store.files.is_empty());
}

#[test]
fn a_hash_of_either_repository_is_checked_in_the_download() {
    for image in [false, true] {
        let mut world = World::new();
        let sha512 = to_hex(&[7; 64]);
        world.assign("app", b"content", 1);
        let repo = if image { &mut world.image } else { &mut world.director };
        repo.role("targets")["targets"]["app"]["hashes"]["sha512"] = json!(sha512);
        world.redo();
        let bundle = world.cycle().unwrap();
        assert_eq!(bundle.targets[0].info.hashes.sha512_hex(), Some(sha512));
    }
}

#[test]
fn a_damaged_floor_is_made_again_from_the_stored_targets() {
    for damage in [&b""[..], b"{", b"\0\0\0"] {
        let mut world = World::new();
        world.direct();
        world.cycle().unwrap();
        let whole = world.director_store.files["floor.json"].clone();
        world.director_store.files.insert("floor.json".into(), damage.to_vec());
        world.direct_as(1);
        assert!(matches!(world.fault(), Fault::DirectorRollback { got: 1, .. }));
        world.direct_as(2);
        world.cycle().unwrap();
        assert_eq!(world.director_store.files["floor.json"], whole);
    }
}

#[test]
fn damaged_targets_do_not_lower_the_floor() {
    let mut world = World::new();
    world.direct();
    world.cycle().unwrap();
    world.director_store.files.insert("targets.json".into(), vec![0; 100]);
    world.direct_as(1);
    assert!(matches!(world.fault(), Fault::DirectorRollback { got: 1, .. }));
}
