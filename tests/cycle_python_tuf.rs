//! The client against metadata that python-tuf and securesystemslib signed: an independent implementation, with all
//! three key types, thresholds above one, consistent snapshots and root rotation.
#![allow(missing_docs)]

mod common;
#[path = "common/python.rs"]
mod python;

use std::fs;

use common::{HARDWARE_ID, World};
use serde_json::{Value, json};

/// A device that runs version 1, and a repository that python-tuf signed.
fn world(name: &str) -> World {
    let world = World::without_server(name);
    fs::create_dir_all(world.path("ota")).unwrap();
    world.run("ostree", &["init", "--mode=archive", &format!("--repo={}", world.path("ota/treehub"))]);
    sign(&world, 1, json!({}));
    world.serving()
}

/// Commits and signs `version` as the newest of all that were made before; `more` goes into the step.
fn release(world: &World, version: u32, more: Value) -> String {
    let commit = world.commit(version, &[("usr/share/data", version.to_string().repeat(500).as_bytes())]);
    sign(world, version, more);
    commit
}

fn sign(world: &World, version: u32, more: Value) {
    let mut targets = json!({});
    for v in 1..=version {
        targets[format!("test-board-{v}")] = target(world, v, "main");
    }
    let mut step = json!({"version": version, "targets": targets});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    python::run("sign.py", &[&world.path("ota/repo"), &world.path("signer"), &step.to_string()]);
}

/// Publishes a commit; gives its Target.
fn target(world: &World, version: u32, tag: &str) -> Value {
    let repo = format!("--repo={}", world.path("ota/treehub"));
    let branch = format!("test/{version}");
    world.run("ostree", &[&repo, "pull-local", &world.path("build"), &branch]);
    let commit = world.run("ostree", &[&repo, "rev-parse", &branch]);
    json!({
        "commit": commit.trim(),
        "custom": {
            "name": "test-board", "version": version.to_string(), "hardwareIds": [HARDWARE_ID], "tags": [tag],
            "targetFormat": "OSTREE",
        },
    })
}

#[test]
fn a_role_of_a_tag_speaks_for_its_paths_and_its_tag() {
    let world = world("python-roles");
    for version in 2..5 {
        world.commit(version, &[]);
    }
    let (one, two, three) =
        (target(&world, 1, "main"), target(&world, 2, "main"), target(&world, 3, "devel"));
    // `devel` lists a Target of another tag, and one whose name is none of its business.
    let devel = json!({"test-board-2": two, "test-board-3": three, "other-4": target(&world, 4, "devel")});
    let step = json!({"version": 2, "targets": {}, "delegated": {
        "main": {"tags": ["main"], "paths": ["*"], "targets": {"test-board-1": one}},
        "devel": {"tags": ["devel"], "paths": ["test-board-*"], "targets": devel},
    }});
    python::run("sign.py", &[&world.path("ota/repo"), &world.path("signer"), &step.to_string()]);
    let offered = || {
        let shown = world.ota(&["list", "--json"]).json();
        let targets = shown.as_array().or(shown["targets"].as_array()).unwrap().clone();
        targets.iter().map(|t| t["name"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    for (tags, newest, expected) in [
        ("main", 0, vec!["test-board-1"]),
        ("devel", 16, vec!["test-board-3"]),
        ("main,devel", 16, vec!["test-board-1", "test-board-3"]),
        ("", 16, vec!["test-board-1", "test-board-3"]),
    ] {
        world.fragment("60-tags", &format!("[pacman]\ntags = \"{tags}\"\n"));
        world.ota(&["check"]).expect(newest);
        assert_eq!(offered(), expected, "{tags}");
    }
    // One that has expired is the trouble of those who read it.
    let mut expired = step.clone();
    expired["version"] = json!(3);
    expired["expired"] = json!("devel");
    python::run("sign.py", &[&world.path("ota/repo"), &world.path("signer"), &expired.to_string()]);
    world.ota(&["check"]).expect(12).says("devel.json: a date after");
    world.fragment("60-tags", "[pacman]\ntags = main\n");
    world.ota(&["check"]).expect(0);
}

#[test]
fn what_python_tuf_signed_is_installed() {
    let world = world("python-update");
    let second = release(&world, 2, json!({}));
    world.ota(&["check"]).expect(16).says("test-board-2 (selected)");
    world.ota(&["update"]).expect(100);
    assert_eq!(world.deployments()[0], second);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0).says("test-board-2 runs");
}

#[test]
fn roots_and_all_keys_are_rotated() {
    let world = world("python-rotation");
    world.ota(&["check"]).expect(0);
    release(&world, 2, json!({"root": 3, "rotate": ["root", "timestamp", "snapshot", "targets"]}));
    world.ota(&["check"]).expect(16);
    let trusted: Value =
        serde_json::from_slice(&fs::read(world.path("sota/rust-ota/trust/root.json")).unwrap()).unwrap();
    assert_eq!(trusted["signed"]["version"], 3);
}

#[test]
fn a_role_below_its_threshold_is_refused_and_named() {
    for role in ["targets", "snapshot", "timestamp"] {
        let world = world(&format!("python-unsigned-{role}"));
        world.ota(&["check"]).expect(0);
        let trusted = world.snapshot("sota/rust-ota/trust");
        release(&world, 2, json!({"unsigned": role}));
        world.ota(&["update"]).expect(11).says(&format!("{role}.json"));
        let kept = world.snapshot("sota/rust-ota/trust");
        let of = |files: &[(std::path::PathBuf, Vec<u8>)]| {
            files.iter().find(|(p, _)| p.ends_with(format!("{role}.json"))).cloned()
        };
        assert_eq!(of(&kept), of(&trusted), "the trusted {role} stays");
        sign(&world, 3 - 1, json!({"version": 3}));
        world.ota(&["check"]).expect(16);
    }
}

#[test]
fn a_root_that_the_old_keys_did_not_sign_is_refused() {
    let world = world("python-root");
    world.ota(&["check"]).expect(0);
    release(&world, 2, json!({"root": 2, "unsigned": "root"}));
    world.ota(&["check"]).expect(11).says("root.json");
}

#[test]
fn expired_roles_are_refused_and_named() {
    for role in ["root", "targets", "snapshot", "timestamp"] {
        let world = world(&format!("python-expired-{role}"));
        let more =
            if role == "root" { json!({"root": 2, "expired": role}) } else { json!({"expired": role}) };
        release(&world, 2, more);
        world.ota(&["check"]).expect(12).says(&format!("{role}.json")).says("expires");
    }
}
