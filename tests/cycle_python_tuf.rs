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
    let repo = format!("--repo={}", world.path("ota/treehub"));
    let mut targets = json!({});
    for v in 1..=version {
        let branch = format!("test/{v}");
        world.run("ostree", &[&repo, "pull-local", &world.path("build"), &branch]);
        let commit = world.run("ostree", &[&repo, "rev-parse", &branch]);
        targets[format!("test-board-{v}")] = json!({
            "commit": commit.trim(),
            "custom": {
                "name": "test-board", "version": v.to_string(), "hardwareIds": [HARDWARE_ID], "tags": ["main"],
                "targetFormat": "OSTREE",
            },
        });
    }
    let mut step = json!({"version": version, "targets": targets});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    python::run("sign.py", &[&world.path("ota/repo"), &world.path("signer"), &step.to_string()]);
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
