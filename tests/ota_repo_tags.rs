//! Sets of Targets by tag: a device reads what it is subscribed to and nothing else.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;

use common::World;
use serde_json::Value;

fn targets(world: &World, tag: &str) -> Vec<String> {
    let folder = world.dir.join("ota/tags").join(tag).join("repo");
    let versioned = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with("targets.json");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(versioned).collect();
    files.sort_by_key(|f| {
        f.file_name().to_string_lossy().split('.').next().and_then(|n| n.parse::<u64>().ok())
    });
    let newest: Value = serde_json::from_slice(&fs::read(files.pop().unwrap().path()).unwrap()).unwrap();
    newest["signed"]["targets"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn each_tag_has_a_set_that_follows_every_change() {
    for profile in ["tuf", "ats"] {
        let world = World::without_server(&format!("tags-{profile}"));
        world.ota_repo(&["init", &world.path("ota"), "--profile", profile]);
        world.publish(1, "main");
        world.commit(2, &[]);
        world.publish(2, "test");
        let world = world.serving();
        world.fragment("70-dialect", &format!("[rust_ota]\nmetadata = {profile}\n"));
        assert!(!fs::exists(world.path("ota/tags")).unwrap(), "only for who asks for it");
        let said = world.ota_repo(&["tags", &world.path("ota")]);
        assert!(said.contains("main  1 Target") && said.contains("tags/test/repo"), "{said}");
        assert_eq!(
            (targets(&world, "main"), targets(&world, "test")),
            (vec!["test-board-1".into()], vec!["test-board-2".into()])
        );
        let before = world.snapshot("ota/tags");
        world.ota_repo(&["tags", &world.path("ota")]);
        assert_eq!(world.snapshot("ota/tags"), before, "nothing changed");

        world.fragment("60-set", &format!("[uptane]\nrepo_server = {}/tags/main/repo\n", world.address));
        world.ota(&["check"]).expect(0).says("test-board-1");
        world.commit(3, &[]);
        world.publish(3, "main");
        world.ota(&["check"]).expect(16).says("test-board-3");
        world.ota(&["update"]).expect(100);
        world.reboot_into(0);
        world.ota(&["finalize"]).expect(0);
        let stored = fs::read_to_string(world.path("sota/rust-ota/trust/targets.json")).unwrap();
        assert!(!stored.contains("test-board-2"), "what is not for this device did not come to it");

        // A change of keys reaches the sets, and a device that goes to another one does not fall back.
        world.ota_repo(&["rotate", &world.path("ota"), "timestamp", "--remove-old"]);
        world.ota_repo(&["target", "remove", &world.path("ota"), "test-board-2"]);
        assert!(targets(&world, "test").is_empty(), "the set stays, and says that there is nothing");
        world.fragment(
            "60-set",
            &format!("[pacman]\ntags = test\n[uptane]\nrepo_server = {}/tags/test/repo\n", world.address),
        );
        world.ota(&["check"]).expect(6);
        world.fragment("60-set", "");
        world.ota_repo(&["refresh", &world.path("ota")]);
        world.ota(&["check"]).expect(0).says("test-board-3");
    }
}

#[test]
fn a_set_that_somebody_changed_is_signed_anew_from_the_whole_one() {
    let world = World::new("tags-changed");
    world.ota_repo(&["tags", &world.path("ota")]);
    let good = world.snapshot("ota/tags");
    let timestamp = world.path("ota/tags/main/repo/timestamp.json");
    fs::write(&timestamp, fs::read_to_string(&timestamp).unwrap().replace("\"version\":2", "\"version\":9"))
        .unwrap();
    world.fragment("60-set", &format!("[uptane]\nrepo_server = {}/tags/main/repo\n", world.address));
    world.ota(&["check"]).expect(11);
    world.ota_repo(&["tags", &world.path("ota")]);
    assert_eq!(world.snapshot("ota/tags"), good);
    world.ota(&["check"]).expect(0);
}
