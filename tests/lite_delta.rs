//! Static deltas: a faster way to the same commit, and never a way around its hash.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;

use common::World;

/// Bytes that do not compress, and of which a later version changes a little.
fn noise(version: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::new();
    while bytes.len() < 1_500_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes[700_000..700_016].copy_from_slice(&[version as u8; 16]);
    bytes
}

fn release(world: &World, version: u32) -> String {
    let commit = world.commit(version, &[("usr/share/noise", &noise(version))]);
    world.publish(version, "main");
    commit
}

fn delta(world: &World, from: &str, to: &str) -> PathBuf {
    let repo = format!("--repo={}", world.path("ota/treehub"));
    let (from, to) = (format!("--from={from}"), format!("--to={to}"));
    world.run("ostree", &["static-delta", "generate", &repo, "--min-fallback-size=0", &from, &to]);
    let folder = world.dir.join("ota/treehub/deltas");
    let mut found: Vec<PathBuf> = Vec::new();
    for first in fs::read_dir(folder).unwrap() {
        found.extend(fs::read_dir(first.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    found.sort_by_key(|path| fs::metadata(path.join("superblock")).unwrap().modified().unwrap());
    found.pop().unwrap()
}

fn take(world: &World) -> (Vec<String>, common::Run) {
    let before = world.requests().len();
    world.ota(&["check"]).expect(16);
    let run = world.ota(&["--loglevel", "1", "update"]).expect(100);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    world.fsck();
    (world.requests().split_off(before), run)
}

fn count(requests: &[String], part: &str) -> usize {
    requests.iter().filter(|path| path.contains(part)).count()
}

#[test]
fn a_delta_is_taken_where_it_is_cheaper_and_objects_where_it_fails() {
    let world = World::new("deltas");
    let mut last = release(&world, 2);
    let (requests, _) = take(&world);
    assert_eq!(count(&requests, "/superblock"), 1, "asked for, and there is none");
    assert!(count(&requests, ".filez") > 0);

    // Cheaper.
    let next = release(&world, 3);
    delta(&world, &last, &next);
    let (requests, run) = take(&world);
    run.says("applied a static delta");
    assert_eq!(count(&requests, ".filez"), 0, "{requests:?}");
    assert_eq!(world.deployments()[0], next);
    last = next;

    // Broken: a part with another byte, one that is not there, one that never ends, another delta's superblock.
    for version in 4..8 {
        let next = release(&world, version);
        let folder = delta(&world, &last, &next);
        let part = folder.join("0");
        let mut bytes = fs::read(&part).unwrap();
        match version {
            4 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&part, &bytes).unwrap();
            }
            5 => fs::remove_file(&part).unwrap(),
            6 => fs::write(&part, [bytes, vec![0; 3_000_000]].concat()).unwrap(),
            _ => {
                let other = delta(&world, &next, &last);
                fs::copy(other.join("superblock"), folder.join("superblock")).unwrap();
            }
        }
        let (requests, run) = take(&world);
        run.says("; fetching the objects");
        assert!(count(&requests, ".filez") > 0, "{version}");
        assert_eq!(world.deployments()[0], next);
        assert!(!fs::exists(world.path("sysroot/ostree/repo/tmp/rust-ota-delta")).unwrap());
        last = next;
    }

    // Not cheaper: nothing but its superblock is fetched.
    let next = world.commit(8, &[("usr/share/noise", &noise(7)), ("usr/share/small", b"x")]);
    world.publish(8, "main");
    delta(&world, &last, &next);
    let (requests, run) = take(&world);
    if count(&requests, "/0") == 0 {
        run.says("it does not help");
    }
    last = next;

    // Not wanted.
    world.fragment("60-deltas", "[rust_ota]\nstatic_deltas = 0\n");
    let next = release(&world, 9);
    delta(&world, &last, &next);
    let (requests, _) = take(&world);
    assert_eq!(count(&requests, "/deltas/"), 0);
}
