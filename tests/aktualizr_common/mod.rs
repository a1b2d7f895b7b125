//! A device with a Director: a real server over TLS with client certificates, a sysroot, and the client by its other name.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

pub mod again;
#[path = "../common/mod.rs"]
mod common;
pub mod line;
pub mod sensor;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

pub use common::{Run, World};

/// A device that runs version 1, and a Director that assigns nothing.
pub fn device(name: &str) -> World {
    let world = World::without_server(name);
    world.ota_repo(&["init", &world.path("ota"), "--profile", "ats"]);
    world.publish(1, "main");
    world.ota_repo(&["director", "init", &world.path("ota")]);
    let world = world.serving();
    fs::copy(world.dir.join("ota/director/1.root.json"), world.dir.join("director-root.json")).unwrap();
    world.fragment(
        "60-director",
        &format!(
            "[rust_ota]\ntrust = director\ndirector_root = {0}/director-root.json\n\
             [bootloader]\nreboot_command = /usr/bin/touch {0}/rebooted\n\
             [pacman]\npackages_file = {0}/package.manifest\n",
            world.dir.display()
        ),
    );
    fs::write(world.dir.join("package.manifest"), "busybox 1.36.1-r0\nglibc 2.39\n").unwrap();
    for name in ["aktualizr", "aktualizr-info", "aktualizr-get"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rust-ota"), world.path(name)).unwrap();
    }
    world
}

/// A new version, which nobody is assigned yet.
pub fn release(world: &World, version: u32) -> String {
    world.release(version)
}

/// Assigns a version to the device.
pub fn assign(world: &World, version: u32, id: &str) {
    let target = format!("test-board-{version}");
    world.ota_repo(&[
        "director",
        "assign",
        &world.path("ota"),
        &target,
        "--device",
        "device-1",
        "--correlation-id",
        id,
    ]);
}

/// Changes a file of the device's state.
pub fn edit_state(world: &World, name: &str, edit: impl Fn(&mut Value)) {
    let path = world.dir.join("sota/rust-ota").join(name);
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut state);
    fs::write(path, state.to_string()).unwrap();
}

/// Runs the client.
pub fn aktualizr(world: &World, args: &[&str]) -> Run {
    by_name(world, "aktualizr", args)
}

pub fn by_name(world: &World, name: &str, args: &[&str]) -> Run {
    let output = client(world, name, args).output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn client(world: &World, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(world.path(name));
    command.args(["-c", &world.path("conf.d")]).args(args).stdin(Stdio::null());
    command
}

/// After an installation the earlier deployment, the second now, is still the one that runs.
pub fn still_running_the_old_one(world: &World) {
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
}

/// A file that the server keeps of the device.
pub fn received(world: &World, name: &str) -> Option<Value> {
    let text = fs::read_to_string(world.dir.join("ota.received/device-1").join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// What the Primary said last.
pub fn last_word(world: &World) -> Value {
    let manifest = received(world, "manifest.json").expect("a manifest");
    let serial = manifest["signed"]["primary_ecu_serial"].as_str().unwrap().to_string();
    manifest["signed"]["ecu_version_manifests"][&serial]["signed"].clone()
}

/// The installation reports of all manifests, in order.
pub fn results(world: &World) -> Vec<Value> {
    let folder = world.dir.join("ota.received/device-1/manifests");
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let read = |path: std::path::PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let reports = files.into_iter().map(|f| read(f)["signed"]["installation_report"]["report"].clone());
    reports.filter(|report| !report.is_null()).collect()
}

/// Types of the events that the server has, in order.
pub fn events(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.dir.join("ota.received/device-1/events.jsonl")).unwrap_or_default();
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|l| read(l)["eventType"]["id"].as_str().unwrap().to_string()).collect()
}
