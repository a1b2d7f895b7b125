//! The same answers to requests for a static delta, which never keep an update from its objects; and what its process takes.

#![allow(missing_docs, clippy::unwrap_used)]

mod hostile_common;

use std::fs;
use std::process::Stdio;

use hostile_common::Case;
use hostile_common::answer::{ALL, MOST_MEMORY};
use hostile_common::common::World;

/// Bytes that do not compress, and of which a later version changes a little.
fn noise(seed: u64, length: usize, version: u8) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes[length / 2..length / 2 + 16].copy_from_slice(&[version; 16]);
    bytes
}

/// Version 2 runs, and 3 has a delta.
fn with_delta(name: &str, files: u64, length: usize) -> Case {
    let case = Case::with(name, &|world| {
        release(world, 2, files, length);
    });
    let world = &case.world;
    assert_eq!(case.run("update").0, 100);
    world.reboot_into(0);
    assert_eq!(case.run("finalize").0, 0);
    release(world, 3, files, length);
    world.ota_repo(&["delta", &world.path("ota"), "--from", "test-board-2", "--to", "test-board-3"]);
    assert_eq!(case.run("check").0, 16);
    let _ = fs::remove_dir_all(world.path("repo.saved"));
    world.run("cp", &["-a", &world.path("sysroot/ostree/repo"), &world.path("repo.saved")]);
    case
}

fn release(world: &World, version: u32, files: u64, length: usize) {
    let named: Vec<(String, Vec<u8>)> = (0..files)
        .map(|n| (format!("usr/share/noise-{n}"), noise(n * 77 + 5, length, version as u8)))
        .collect();
    let files: Vec<(&str, &[u8])> =
        named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    world.commit(version, &files);
    world.publish(version, "main");
}

#[test]
fn a_delta_is_never_in_the_way() {
    let case = with_delta("hostile-delta", 1, 400_000);
    let reset = || {
        let (saved, repo) = (case.world.path("repo.saved"), case.world.path("sysroot/ostree/repo"));
        fs::remove_dir_all(&repo).unwrap();
        case.world.run("cp", &["-a", &saved, &repo]);
    };
    for request in ["/superblock", "/0"] {
        case.table("download", request, &ALL, &[0], &reset);
    }
}

/// The process of the delta is told by its first argument.
fn peak_of_child(parent: u32) -> u64 {
    let of = |folder: std::path::PathBuf| {
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let line = fs::read_to_string(folder.join("cmdline")).ok()?;
        let ours = field("PPid:")? == parent.to_string() && line.contains("internal-apply");
        ours.then(|| field("VmHWM:").and_then(|high| high.trim_end_matches(" kB").parse().ok()).unwrap_or(0))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| of(entry.path())).max().unwrap_or(0)
}

#[test]
fn the_process_of_a_large_delta() {
    let case = with_delta("hostile-delta-memory", 6, 8_000_000);
    let mut child = case
        .world
        .client(&["--loglevel=1", "download"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut peak, mut own) = (0, 0);
    let status = format!("/proc/{}/status", child.id());
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        own = high.and_then(|h| h.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0).max(own);
        peak = peak_of_child(child.id()).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("48 MB in six files by a delta: client {own} kB, process of the delta {peak} kB");
    assert!(output.status.success() && said.contains("applied a static delta"), "{said}");
    assert!(peak > 0, "its process was not seen");
    assert!(
        peak + own <= 2 * MOST_MEMORY && peak <= MOST_MEMORY && own <= MOST_MEMORY,
        "{own} kB and {peak} kB"
    );
}
