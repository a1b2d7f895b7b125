//! Who has the network and the keys of some roles of the Image repository, and none of the Director.

use serde_json::json;

use super::super::world::{World, target};
use super::warm;
use crate::tuf::Profile;
use crate::tuf::testing::Key;
use crate::uptane::{Class, Fault};

fn stranger() -> Vec<Key> {
    vec![Key::new(99, Profile::Ats)]
}

/// The timestamp's key: it can choose among snapshots, the newest one or later.
#[test]
fn stolen_timestamp_key() {
    let mut world = warm();
    world.image.signers.insert("snapshot".into(), stranger());
    world.redo();
    assert_eq!(world.refused(), Class::BadKeyId);

    // Twice, so that there is an older one of the same Targets.
    let mut world = warm();
    world.image.update(&[]);
    world.cycle().unwrap();
    world.image.role("snapshot")["version"] = json!(1);
    world.image.publish();
    world.image.bump("timestamp");
    assert_eq!(world.refused(), Class::SecurityException);
    // And without a version that is older, the timestamp's own.
    let mut world = warm();
    world.image.update(&[]);
    world.cycle().unwrap();
    world.image.role("timestamp")["version"] = json!(1);
    assert_eq!(world.refused(), Class::SecurityException);
    // A version that no newer one can follow.
    world.image.role("timestamp")["version"] = json!(u64::MAX);
    assert_eq!(world.refused(), Class::InvalidMetadata);
    // A snapshot that nothing but its version is known of.
    world.image.role("timestamp")["version"] = json!(9);
    world.image.role("timestamp")["meta"]["snapshot.json"] = json!({"version": 9});
    assert_eq!(world.refused(), Class::InvalidMetadata);
    // Other than it lists.
    world.image.publish();
    world.image.role("timestamp")["meta"]["snapshot.json"]["version"] = json!(9);
    assert_eq!(world.refused(), Class::VersionMismatch);
}

/// The keys of timestamp and snapshot: no role goes back or away, and there is no new content.
#[test]
fn stolen_timestamp_and_snapshot_keys() {
    let mut world = warm();
    world.image.signers.insert("targets".into(), stranger());
    world.redo();
    assert_eq!(world.refused(), Class::BadKeyId);

    let mut world = warm();
    world.redo();
    world.cycle().unwrap();
    world.image.role("targets")["version"] = json!(1);
    world.image.update(&[]);
    assert_eq!(world.refused(), Class::SecurityException);

    let mut world = World::new();
    world.image.delegate("targets", "team", &["other"], false);
    world.assign("app", b"content", 1);
    world.cycle().unwrap();
    world.image.roles.remove("team");
    world.image.update(&[]);
    assert_eq!(world.refused(), Class::SecurityException);
}

/// The key of the Image repository's targets alone: nothing that the snapshot does not list.
#[test]
fn stolen_targets_key() {
    for hashes in [true, false] {
        let mut world = World::new();
        world.image.hashes = hashes;
        world.assign("app", b"content", 1);
        world.redo();
        let mut forged = world.image.clone();
        forged.role("targets")["x"] = json!("other");
        forged.bump("targets");
        world.image_forged.insert("targets.json".into(), forged.file("targets"));
        let class = if hashes { Class::SecurityException } else { Class::VersionMismatch };
        assert_eq!(world.refused(), class);
        world.image_forged.clear();
        assert!(world.cycle().is_ok());
    }
}

/// A delegated role: its own Targets, while those before it say nothing, by a threshold of the keys that its delegator names.
#[test]
fn a_delegated_role_speaks_for_its_own() {
    let honest = || {
        let mut world = World::new();
        world.assign("app", b"content", 1);
        let info = world.image.role("targets")["targets"].as_object_mut().unwrap().remove("app").unwrap();
        world.image.delegate("targets", "first", &["fir*"], true);
        world.image.delegate("targets", "team", &["ap*"], false);
        world.image.role("team")["targets"]["app"] = info;
        world
    };
    let mut world = honest();
    world.redo();
    assert!(world.cycle().is_ok());
    let absent = Fault::NotInImageRepository { target: "app".into() };
    let delegation = |world: &mut World, index: usize, field: &str, value| {
        world.image.role("targets")["delegations"]["roles"][index][field] = value;
        world.redo();
    };
    // Not its Target.
    delegation(&mut world, 1, "paths", json!(["a/*"]));
    assert_eq!(world.fault(), absent);
    // One before it has the last word.
    let mut world = honest();
    delegation(&mut world, 0, "paths", json!(["*"]));
    assert_eq!(world.fault(), absent);
    // One before it says otherwise.
    let mut world = honest();
    world.image.role("first")["targets"]["app"] = target(b"other..", json!({"hardwareIds": ["H1"]}));
    delegation(&mut world, 0, "paths", json!(["*"]));
    assert_eq!(world.fault(), Fault::HashDiffers { target: "app".into(), algorithm: "sha256".into() });
    // One key of two.
    let mut world = honest();
    delegation(&mut world, 1, "threshold", json!(2));
    assert_eq!(world.refused(), Class::UnmetThreshold);
    // A name that is a top-level role's.
    let mut world = honest();
    delegation(&mut world, 0, "name", json!("targets"));
    assert_eq!(world.refused(), Class::InvalidMetadata);
    // One name twice.
    let mut world = honest();
    delegation(&mut world, 0, "name", json!("team"));
    assert_eq!(world.refused(), Class::InvalidMetadata);
}
