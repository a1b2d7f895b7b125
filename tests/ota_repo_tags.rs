//! Sets of Targets by tag: a device reads what it is subscribed to and nothing else.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs;

use lite_common::World;
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

/// A repository with roles by tag, its first Target in `main`.
fn delegated(name: &str, profile: &str, options: &[&str]) -> World {
    let world = World::without_server(name);
    world.ota_repo(&["init", &world.path("ota"), "--profile", profile]);
    world.publish(1, "main");
    let ota = world.path("ota");
    let said = world.ota_repo(&[&["tags", ota.as_str(), "--delegated"], options].concat());
    assert!(said.contains("tag-main  1 Target\n"), "{said}");
    let world = world.serving();
    world.fragment("70-dialect", &format!("[rust_ota]\nmetadata = {profile}\ntrust = latest\n"));
    world
}

/// What was asked of `repo/` since the last call, without versions.
fn asked(world: &World, before: &mut usize) -> Vec<String> {
    let all = world.requests();
    let new = all[*before..].iter().filter_map(|path| path.strip_prefix("/repo/"));
    let plain = |path: &str| match path.split_once('.') {
        Some((number, rest)) if number.parse::<u64>().is_ok() => rest.to_string(),
        _ => path.rsplit('/').next().unwrap().to_string(),
    };
    let names = new.map(plain).collect();
    *before = all.len();
    names
}

fn role(world: &World, name: &str) -> Value {
    let folder = world.dir.join("ota/repo");
    let of_role = |path: &std::path::PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let rest = file.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('.');
        rest == format!("{name}.json")
    };
    let files =
        fs::read_dir(&folder).unwrap().chain(fs::read_dir(folder.join("delegations")).into_iter().flatten());
    let roles = files.map(|f| f.unwrap().path()).filter(of_role);
    let read =
        |path: std::path::PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    roles.map(read).max_by_key(|r| r["signed"]["version"].as_u64()).unwrap()["signed"].clone()
}

#[test]
fn a_device_reads_the_roles_of_its_tags_and_no_others() {
    for profile in ["tuf", "ats"] {
        let world = delegated(&format!("roles-{profile}"), profile, &[]);
        let mut at = 0;
        world.commit(2, &[]);
        world.publish(2, "test");
        assert_eq!(role(&world, "targets")["targets"], serde_json::json!({}), "only delegations");
        assert_eq!(role(&world, "tag-main")["version"], 1, "what did not change is not signed again");
        assert_eq!(role(&world, "targets")["version"], 4, "a new tag is a new delegation");

        world.ota(&["check"]).expect(0).says("test-board-1");
        let first = ["root.json", "timestamp.json", "snapshot.json", "targets.json", "tag-main.json"];
        assert_eq!(asked(&world, &mut at), first);
        let stored = world.snapshot("sota/rust-ota/trust");
        assert!(stored.iter().any(|(path, _)| path.ends_with("tag-main.json")));
        assert!(!stored.iter().any(|(path, _)| path.ends_with("tag-test.json")));

        // An idle poll of a new process: two requests, no byte written.
        let before = world.snapshot("sota");
        world.ota(&["check"]).expect(0);
        assert_eq!(asked(&world, &mut at), ["root.json", "timestamp.json"]);
        assert_eq!(world.snapshot("sota"), before);

        // News of another tag: that there are some is all that comes.
        world.commit(3, &[]);
        world.publish(3, "test");
        world.ota(&["check"]).expect(0);
        assert_eq!(asked(&world, &mut at), ["root.json", "timestamp.json", "snapshot.json"]);

        // Two tags, then all.
        world.fragment("60-tags", "[pacman]\ntags = \"main, test\"\n");
        world.ota(&["list"]).expect(1).says("run check first");
        world.ota(&["check"]).expect(16).says("test-board-3");
        assert_eq!(asked(&world, &mut at), ["root.json", "timestamp.json", "tag-test.json"]);
        world.fragment("60-tags", "[pacman]\ntags = \"\"\n");
        world.ota(&["check"]).expect(16).says("test-board-3");
        world.fragment("60-tags", "[pacman]\ntags = test\n");
        world.ota(&["update"]).expect(100);
        world.reboot_into(0);
        world.ota(&["finalize"]).expect(0);
    }
}

#[test]
fn a_target_moves_from_tag_to_tag_and_a_role_outlives_its_last_target() {
    let world = delegated("roles-move", "tuf", &[]);
    let ota = world.path("ota");
    world.commit(2, &[]);
    world.publish(2, "test");
    world.ota(&["check"]).expect(0);
    world.ota_repo(&["target", "remove", &ota, "test-board-2"]);
    world.publish(2, "main");
    assert_eq!(role(&world, "tag-test")["targets"], serde_json::json!({}));
    world.ota(&["check"]).expect(16).says("test-board-2");
    world.fragment("60-tags", "[pacman]\ntags = test\n");
    world.ota(&["check"]).expect(6);
    assert!(world.ota_repo(&["target", "list", &ota]).contains("test-board-2"));
    let shown = world.ota_repo(&["show", &ota]);
    assert!(shown.contains("2 Targets") && shown.contains("tag-test   version 2"), "{shown}");
}

#[test]
fn a_tag_may_have_its_own_key_and_paths() {
    let world = World::without_server("roles-key");
    let ota = world.path("ota");
    for key in ["a.pem", "b.pem"] {
        world.run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", key]);
    }
    world.ota_repo(&["init", &ota]);
    world.publish(1, "main");
    let paths = ["--path", "main=test-board-?", "--path", "main=other-*"];
    let options = [&["tags", ota.as_str(), "--delegated", "--key", "main=a.pem"], paths.as_slice()].concat();
    world.ota_repo(&options);
    let world = world.serving();
    world.ota(&["check"]).expect(0);
    let delegation = |world: &World| role(world, "targets")["delegations"]["roles"][0].clone();
    let first = delegation(&world);
    assert_eq!(first["paths"], serde_json::json!(["test-board-?", "other-*"]));
    assert!(world.ota_repo(&["keys", "list", &ota]).contains("tag-main"));

    // The keys of targets change, and this role's do not; then the other way about.
    world.ota_repo(&["rotate", &ota, "targets", "--remove-old"]);
    assert_eq!((delegation(&world), role(&world, "tag-main")["version"].as_u64()), (first.clone(), Some(1)));
    world.ota_repo(&["tags", &ota, "--delegated", "--key", "main=b.pem"]);
    assert_ne!(delegation(&world)["keyids"], first["keyids"]);
    assert_eq!(delegation(&world)["paths"], first["paths"]);
    world.ota(&["check"]).expect(0);

    // Whom the role may not speak of stays with the top-level role, where devices of all tags see it.
    world.commit(10, &[]);
    world.publish(10, "main");
    assert!(role(&world, "targets")["targets"]["test-board-10"].is_object());
    world.ota(&["check"]).expect(16).says("test-board-10");

    let twice = world.snapshot("ota/repo");
    world.ota_repo(&["tags", &ota, "--delegated"]);
    assert_eq!(world.snapshot("ota/repo"), twice, "nothing changed");
    world.ota_repo(&["refresh", &ota, "--all"]);
    assert_eq!(role(&world, "tag-main")["version"], 3);
    world.ota(&["check"]).expect(16);
}

#[test]
fn roles_that_follow_the_targets_keys_are_rotated_with_them() {
    for profile in ["tuf", "ats"] {
        let world = delegated(&format!("roles-rotate-{profile}"), profile, &[]);
        world.ota(&["check"]).expect(0);
        world.ota_repo(&["rotate", &world.path("ota"), "targets", "--remove-old"]);
        assert_eq!(role(&world, "tag-main")["version"], 2);
        world.ota(&["check"]).expect(0).says("test-board-1");
        world.ota_repo(&["rotate", &world.path("ota"), "snapshot", "--remove-old"]);
        world.ota(&["check"]).expect(0).says("test-board-1");
    }
}

#[test]
fn what_is_published_of_a_role_is_checked_before_anything_is_signed() {
    let world = delegated("roles-changed", "tuf", &[]);
    let path = world.path("ota/repo/1.tag-main.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, String::from_utf8_lossy(&good).replace("test-board-1", "test-board-7")).unwrap();
    let refused = world.dir.join("ota");
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_ota-repo")).arg("refresh").arg(&refused).output();
    let text = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(text.contains("1.tag-main.json") && text.contains("not signed again"), "{text}");
    world.ota(&["check"]).expect(11).says("tag-main.json");
    fs::write(&path, good).unwrap();
    world.ota(&["check"]).expect(0);
}

#[test]
fn a_role_that_goes_back_is_refused_and_trust_stays() {
    let world = delegated("roles-back", "tuf", &[]);
    for version in 2..6 {
        world.commit(version, &[]);
    }
    let old = [world.snapshot("ota/repo"), world.snapshot("ota.keys")].concat();
    world.publish(2, "main");
    world.ota(&["check"]).expect(16);
    let trusted = fs::read(world.path("sota/rust-ota/trust/tag-main.json")).unwrap();
    let newest = [world.snapshot("ota/repo"), world.snapshot("ota.keys")].concat();
    // The role of before, under a newer timestamp and snapshot, by whoever has their keys.
    put_back(&old);
    (3..6).for_each(|version| world.publish(version, "test"));
    world
        .ota(&["check"])
        .expect(11)
        .says("snapshot.json: version 2 or later expected in it for \"tag-main.json\"");
    assert_eq!(fs::read(world.path("sota/rust-ota/trust/tag-main.json")).unwrap(), trusted);
    // The honest state of today is taken again.
    put_back(&newest);
    (3..6).for_each(|version| world.publish(version, "test"));
    world.ota_repo(&["refresh", &world.path("ota")]);
    world.ota(&["check"]).expect(16).says("test-board-2");
}

#[test]
fn a_role_that_expires_is_refused_until_it_is_signed_again() {
    let world = delegated("roles-expire", "tuf", &[]);
    world.ota(&["check"]).expect(0);
    let path = world.dir.join("ota.keys/settings.json");
    let settings = fs::read(&path).unwrap();
    let mut short: Value = serde_json::from_slice(&settings).unwrap();
    short["expires"]["targets"] = 2.into();
    fs::write(&path, short.to_string()).unwrap();
    world.commit(2, &[]);
    world.publish(2, "main");
    fs::write(&path, settings).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.ota(&["check"]).expect(12).says("tag-main.json: a date after");
    world.ota(&["install"]).expect(1).says("run check first");
    let said = world.ota_repo(&["refresh", &world.path("ota")]);
    assert!(said.contains("tag-main") && !said.contains("targets"), "{said}");
    world.ota(&["check"]).expect(16).says("test-board-2");
    world.ota(&["explain"]).says("tag-main 3, good until");
}

fn put_back(files: &[(std::path::PathBuf, Vec<u8>)]) {
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

#[test]
fn an_offline_update_has_the_roles_too() {
    for profile in ["tuf", "ats"] {
        let world = lite_common::as_lite(delegated(&format!("roles-offline-{profile}"), profile, &[]));
        world.commit(2, &[]);
        world.publish(2, "ma+in");
        world.fragment("60-tags", "[pacman]\ntags = \"ma+in\"\n");
        fs::create_dir(world.dir.join("usb")).unwrap();
        world.run("cp", &["-r", "ota/repo", "usb/tuf"]);
        world.run("cp", &["-r", "ota/treehub", "usb/ostree_repo"]);
        let usb = world.path("usb");
        lite_common::lite(&world, &["check", "--src-dir", &usb]).expect(16).says("test-board-2");
        lite_common::lite(&world, &["update", "--src-dir", &usb]).expect(100);
        assert_eq!(asked(&world, &mut 0), Vec::<String>::new());
    }
}
