//! The same step again and again from the same state, and what must be true at the end.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{World, results};

/// All that an update changes, on the device and at the server.
const STATE: [&str; 5] = ["sota", "run", "uboot.env", "sysroot", "ota.received"];

pub fn copy(world: &World, from: &str, to: &str) {
    let target = world.dir.join(to);
    let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&target).output();
    let _ = fs::remove_dir_all(&target);
    fs::create_dir_all(&target).unwrap();
    for name in STATE {
        let (source, old) = (world.dir.join(from).join(name), target.join(name));
        if source.exists() {
            let status = Command::new("cp").arg("-a").arg(source).arg(old).status().unwrap();
            assert!(status.success());
        }
    }
}

pub fn restore(world: &World) {
    for name in STATE {
        let path = world.dir.join(name);
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&path).output();
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        let saved = world.dir.join("saved").join(name);
        if saved.exists() {
            let status = Command::new("cp").arg("-a").arg(saved).arg(&path).status().unwrap();
            assert!(status.success());
        }
    }
}

/// The running system did not change by a kill: it is the second deployment once there are two.
pub fn still_running(world: &World) {
    let index = world.deployments().len() - 1;
    world.fragment("50-booted", &format!("[rust_ota]\nbooted_deployment = {index}\n"));
}

pub fn read(world: &World, name: &str) -> Value {
    serde_json::from_slice(&fs::read(world.dir.join("sota/rust-ota").join(name)).unwrap()).unwrap()
}

/// What must be true at the end.
pub fn ended_well(world: &World, commit: &str, stage: &str) {
    assert_eq!(world.deployments()[0], commit, "{stage}");
    assert_eq!(world.boot_variable("upgrade_available"), "0", "{stage}");
    let installed = read(world, "installed.json");
    assert_eq!(installed["current"]["name"], "test-board-2", "{stage}");
    assert!(
        installed["pending"].is_null() && installed["known_bad"].as_array().unwrap().is_empty(),
        "{stage}"
    );
    let state = read(world, "director.json");
    assert!(state["installing"].is_null() && state["result"].is_null(), "{stage}: {state}");
    let told = results(world);
    // A download that was cut was told too. A kill between the server's answer and its note on disk tells twice, and
    // both times the same.
    assert!(told.iter().all(|r| r["correlation_id"] == "c-2"), "{stage}: {told:?}");
    let good: Vec<_> = told.iter().skip_while(|r| r["result"]["code"] == "DOWNLOAD_FAILED").collect();
    assert!((1..=2).contains(&good.len()), "{stage}: {told:?}");
    assert!(good.iter().all(|r| r["result"]["code"] == "OK"), "{stage}: {told:?}");
    nothing_is_left_over(world, stage);
}

/// What must be true where the earlier system runs in the end: it is the only one, nothing is under way, and the Director
/// was told this of each assignment.
pub fn ended_back(world: &World, commit: &str, expected: &[(&str, &str)], stage: &str) {
    assert_eq!(world.deployments(), [commit], "{stage}");
    for (variable, value) in [("upgrade_available", "0"), ("bootcount", "0"), ("rollback", "0")] {
        assert_eq!(world.boot_variable(variable), value, "{stage}: {variable}");
    }
    assert!(!world.dir.join("run/need_reboot").exists(), "{stage}: a reboot is awaited");
    let failed: Vec<_> = expected.iter().filter(|(_, code)| code.ends_with(":INSTALL_FAILED")).collect();
    if world.dir.join("sota/rust-ota/installed.json").exists() {
        let installed = read(world, "installed.json");
        assert!(installed["pending"].is_null(), "{stage}: {installed}");
        assert_eq!(installed["known_bad"].as_array().unwrap().len(), failed.len(), "{stage}: {installed}");
    }
    if world.dir.join("sota/rust-ota/director.json").exists() {
        let state = read(world, "director.json");
        assert!(state["installing"].is_null() && state["result"].is_null(), "{stage}: {state}");
        assert!(state["ecu_results"].as_array().unwrap().is_empty(), "{stage}: {state}");
        assert_eq!(state["failed"].as_array().unwrap().len(), failed.len(), "{stage}: {state}");
    }
    let told: Vec<(String, String)> = results(world)
        .iter()
        .map(|r| (&r["correlation_id"], &r["result"]["code"]))
        .map(|(id, code)| (id.as_str().unwrap().to_string(), code.as_str().unwrap().to_string()))
        .collect();
    // A kill between the server's answer and its note on disk tells twice, and both times the same.
    let mut once = told.clone();
    once.dedup();
    let expected: Vec<_> = expected.iter().map(|(id, code)| (id.to_string(), code.to_string())).collect();
    assert!(once == expected && told.len() <= expected.len() + 1, "{stage}: {told:?}");
    nothing_is_left_over(world, stage);
}

/// No damaged state, and no content that waits. A `NAME.tmp` is written over with the next change of `NAME`.
fn nothing_is_left_over(world: &World, stage: &str) {
    for folder in
        ["sota/rust-ota", "sota/rust-ota/trust/director", "sota/rust-ota/trust/image", "sota/images"]
    {
        for entry in fs::read_dir(world.dir.join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.ends_with(".damaged") && folder != "sota/images", "{stage}: {folder}/{name}");
        }
    }
}
