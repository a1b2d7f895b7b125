//! The device of the black-box tests under the other client's name.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

use std::process::{Command, Stdio};

#[allow(unused_imports)]
pub use common::golden;
pub use common::{HARDWARE_ID, Run, World};

/// A device that runs version 1, provisioned as World does, with a symbolic link as its client.
pub fn device(name: &str) -> World {
    as_lite(World::new(name))
}

/// Makes any world a device with that client.
pub fn as_lite(world: World) -> World {
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rust-ota"), world.path("aktualizr-lite")).unwrap();
    let lock = world.path("run/aklite.lock");
    world.fragment(
        "30-lite",
        &format!("[rust_ota]\naklite_lock = {lock}\n[bootloader]\nreboot_command = /bin/true\n"),
    );
    world
}

/// Runs the client, by its link.
pub fn lite(world: &World, args: &[&str]) -> Run {
    run(client(world, args))
}

pub fn client(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(world.path("aktualizr-lite"));
    command.args(["-c", &world.path("conf.d")]).args(args).stdin(Stdio::null());
    command
}

pub fn run(mut command: Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// After an install: the deployment behind the new one still runs.
pub fn not_booted_yet(world: &World) {
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
}

/// Publishes a commit of this version with one Compose app.
pub fn release_with_app(world: &World, version: u32) -> String {
    let commit = world.commit(version, &[]);
    let apps = format!(
        "docker_compose_apps={{\"web\":{{\"uri\":\"hub.example/f/web@sha256:{version:064}\"}},\"db\":{{\"uri\":\"hub.example/f/db@sha256:{version:064}\"}}}}"
    );
    let (branch, version) = (format!("test/{version}"), version.to_string());
    world.ota_repo(&[
        "target",
        "add",
        &world.path("ota"),
        "--ostree-repo",
        &world.path("build"),
        "--ref",
        &branch,
        "--name",
        "test-board",
        "--version",
        &version,
        "--hardware-id",
        HARDWARE_ID,
        "--tag",
        "main",
        "--custom",
        &apps,
    ]);
    commit
}
