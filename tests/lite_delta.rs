//! Static deltas: a faster way to the same commit, and never a way around its hash.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
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

/// Makes a delta and signs its hashes: the very same Target is added again.
fn signed_delta(world: &World, from: &str, to: &str, version: u32) -> PathBuf {
    let folder = delta(world, from, to);
    world.publish(version, "main");
    folder
}

/// Publishes a commit whose Target names statistics of deltas, and none of them by hash; gives the file's path.
fn publish_with_stats(world: &World, version: u32, stats: &[u8], signed: &[u8]) -> PathBuf {
    let sha256 = rust_ota::tuf::sha256_hex(signed);
    let custom = format!("delta-stats={{\"sha256\":\"{sha256}\",\"size\":{}}}", signed.len());
    let (ota, build) = (world.path("ota"), world.path("build"));
    let words = format!(
        "--ref test/{version} --name test-board --version {version} --hardware-id test-board --tag main"
    );
    let mut args = vec!["target", "add", &ota, "--ostree-repo", &build, "--custom", &custom];
    args.extend(words.split(' '));
    // As a publisher does it who signs no hashes of deltas.
    let deltas = world.dir.join("ota/treehub/deltas");
    fs::rename(&deltas, world.dir.join("deltas")).unwrap();
    world.ota_repo(&args);
    fs::rename(world.dir.join("deltas"), deltas).unwrap();
    let folder = world.dir.join("ota/treehub/delta-stats");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&sha256), stats).unwrap();
    folder.join(sha256)
}

fn stats(from: &str, to: &str, size: u64, unpacked: u64) -> Vec<u8> {
    format!("{{\"{to}\":{{\"{from}\":{{\"size\":{size},\"u_size\":{unpacked}}}}}}}").into_bytes()
}

fn size_of_parts(delta: &std::path::Path) -> u64 {
    let files = fs::read_dir(delta).unwrap().map(Result::unwrap);
    files.filter(|f| f.file_name() != "superblock").map(|f| f.metadata().unwrap().len()).sum()
}

#[test]
fn signed_statistics_choose_before_anything_of_a_delta_is_fetched() {
    let world = World::new("delta-stats");
    world.fragment("60-deltas", "[rust_ota]\nunsigned_deltas = 1\n");
    let mut last = release(&world, 2);
    take(&world);
    for version in 3..9 {
        let next = world.commit(version, &[("usr/share/noise", &noise(version))]);
        let pull =
            ["pull-local", &format!("--repo={}", world.path("ota/treehub")), &world.path("build"), &next];
        world.run("ostree", &pull.map(String::from).each_ref().map(|s| s.as_str()));
        let size = size_of_parts(&delta(&world, &last, &next));
        // What is served, what was signed, and whether a delta is asked for and taken.
        let good = stats(&last, &next, size, 2 * size);
        let (served, signed, says, asked, taken) = match version {
            3 => (good.clone(), good, "applied a static delta", 1, true),
            4 => {
                let dear = stats(&last, &next, 3_000_000, 3_000_000);
                (dear.clone(), dear, "the static delta has 3000000 bytes", 0, false)
            }
            5 => (good, stats(&last, &next, size, 2 * size + 1), "sha256 ", 1, true),
            6 => (b"{}".to_vec(), b"{}".to_vec(), "applied a static delta", 1, true),
            7 => {
                let less = stats(&last, &next, size - 1, size);
                (less.clone(), less, "larger than its signed statistics say", 1, false)
            }
            _ => {
                let nonsense = b"no statistics".to_vec();
                (nonsense.clone(), nonsense, "no statistics of static deltas", 1, true)
            }
        };
        publish_with_stats(&world, version, &served, &signed);
        let (requests, run) = take(&world);
        run.says(says);
        assert_eq!(count(&requests, "/delta-stats/"), 1, "{version}");
        assert_eq!(count(&requests, "/superblock"), asked, "{version}");
        assert_eq!(count(&requests, ".filez") == 0, taken, "{version}: {requests:?}");
        assert_eq!(world.deployments()[0], next);
        last = next;
    }
}

#[test]
fn statistics_stand_in_for_sizes_that_the_commit_does_not_have() {
    let world = World::new("delta-stats-only");
    world.fragment("60-deltas", "[rust_ota]\nunsigned_deltas = 1\n");
    let mut last = release(&world, 2);
    take(&world);
    for version in 3..6 {
        world.commit(version, &[("usr/share/noise", &noise(version))]);
        let branch = format!("test/{version}");
        let repo = format!("--repo={}", world.path("build"));
        let tree = format!("--tree=ref={branch}");
        let next = world.run("ostree", &["commit", &repo, "-b", &branch, "-s", "no sizes", &tree]);
        let next = next.trim().to_string();
        world.run(
            "ostree",
            &["pull-local", &format!("--repo={}", world.path("ota/treehub")), &world.path("build"), &next],
        );
        let size = size_of_parts(&delta(&world, &last, &next));
        let (file, taken) = match version {
            // As many bytes as its objects take.
            3 => (stats(&last, &next, size, 2_000_000), true),
            4 => (stats(&next, &last, size, 2_000_000), false),
            _ => (stats(&last, &next, size, u64::MAX / 2), false),
        };
        let path = publish_with_stats(&world, version, &file, &file);
        if version == 5 {
            // There is no such room.
            world.ota(&["check"]).expect(16);
            world.ota(&["update"]).expect(60);
            fs::remove_file(path).unwrap();
        }
        let (requests, _) = take(&world);
        assert_eq!(count(&requests, "/superblock") > 0, taken, "{version}");
        assert_eq!(count(&requests, ".filez") == 0, taken, "{version}: {requests:?}");
        assert_eq!(world.deployments()[0], next);
        last = next;
    }
}

fn count(requests: &[String], part: &str) -> usize {
    requests.iter().filter(|path| path.contains(part)).count()
}

#[test]
fn a_delta_is_taken_where_it_is_cheaper_and_objects_where_it_fails() {
    let world = World::new("deltas");
    let mut last = release(&world, 2);
    let (requests, _) = take(&world);
    assert_eq!(count(&requests, "/deltas/"), 0, "none is signed");
    assert!(count(&requests, ".filez") > 0);

    // Cheaper, and signed.
    let next = release(&world, 3);
    signed_delta(&world, &last, &next, 3);
    let (requests, run) = take(&world);
    run.says("applied a static delta");
    assert_eq!(count(&requests, ".filez"), 0, "{requests:?}");
    assert_eq!(world.deployments()[0], next);
    last = next;

    // Broken: a part with another byte, one that is not there, one that never ends, another delta's superblock.
    for version in 4..8 {
        let next = release(&world, version);
        let folder = signed_delta(&world, &last, &next, version);
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
    signed_delta(&world, &last, &next, 8);
    let (requests, run) = take(&world);
    if count(&requests, "/0") == 0 {
        run.says("it does not help");
    }
    last = next;

    // Not signed: not asked for, unless it is allowed.
    for (version, allowed) in [(10, 0), (11, 1)] {
        world.fragment("60-deltas", &format!("[rust_ota]\nunsigned_deltas = {allowed}\n"));
        let next = release(&world, version);
        delta(&world, &last, &next);
        let (requests, _) = take(&world);
        assert_eq!(count(&requests, "/superblock"), allowed, "{version}");
        assert_eq!(count(&requests, ".filez") == 0, allowed == 1, "{version}");
        last = next;
    }

    // Not wanted.
    world.fragment("60-deltas", "[rust_ota]\nstatic_deltas = 0\n");
    let next = release(&world, 12);
    signed_delta(&world, &last, &next, 12);
    let (requests, _) = take(&world);
    assert_eq!(count(&requests, "/deltas/"), 0);
}

/// What a Target's custom object says of its deltas.
fn signed_of(world: &World, version: &str) -> serde_json::Value {
    let list = world.ota_repo(&["target", "list", &world.path("ota"), "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let target = list.as_array().unwrap().iter().find(|target| target["version"] == version).unwrap();
    target["static-deltas"].clone()
}

#[test]
fn the_host_tool_makes_and_signs_a_delta_and_finds_those_that_are_there() {
    let world = World::new("delta-made");
    let last = release(&world, 2);
    take(&world);
    let next = release(&world, 3);
    let made = world.ota_repo(&[
        "delta",
        &world.path("ota"),
        "--from",
        "test-board-2",
        "--to",
        "test-board-3",
        "--json",
    ]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!((made["from"].as_str(), made["to"].as_str()), (Some(last.as_str()), Some(next.as_str())));
    let signed = signed_of(&world, "3");
    assert_eq!(signed[&last]["parts"][0]["sha256"].as_str().unwrap().len(), 64, "{signed}");
    let (requests, run) = take(&world);
    run.says("applied a static delta");
    assert_eq!(count(&requests, ".filez"), 0, "{requests:?}");

    // In the build's own repository: it is published with the commit.
    let last = next;
    let next = world.commit(4, &[("usr/share/noise", &noise(4))]);
    let repo = format!("--repo={}", world.path("build"));
    let (from, to) = (format!("--from={last}"), format!("--to={next}"));
    world.run("ostree", &["static-delta", "generate", &repo, "--min-fallback-size=0", &from, &to]);
    world.publish(4, "main");
    let (requests, run) = take(&world);
    run.says("applied a static delta");
    assert_eq!(count(&requests, ".filez"), 0, "{requests:?}");

    // Added again, with what was made since and without what is gone: the same Target.
    let before = world.snapshot("ota/repo");
    world.publish(4, "main");
    assert_eq!(world.snapshot("ota/repo"), before, "nothing changed");
    fs::remove_dir_all(world.path("ota/treehub/deltas")).unwrap();
    fs::remove_dir_all(world.path("build/deltas")).unwrap();
    world.publish(4, "main");
    assert!(signed_of(&world, "4").is_null());
}

#[test]
fn a_part_that_is_not_the_superblocks_is_not_signed() {
    let world = World::new("delta-refused");
    let last = release(&world, 2);
    let next = release(&world, 3);
    let folder = delta(&world, &last, &next);
    fs::write(folder.join("0"), b"other").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ota-repo"))
        .args(["delta", &world.path("ota"), "--from", "test-board-2", "--to", "no-such-1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let args =
        ["target", "add", &world.path("ota"), "--ostree-repo", &world.path("build"), "--ref", "test/3"];
    let more = ["--name", "test-board", "--version", "3", "--hardware-id", "test-board", "--tag", "main"];
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_ota-repo")).args(args).args(more).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("make the delta again"), "{text}");
}

#[test]
fn a_delta_that_ends_its_process_is_told_to_the_server() {
    let mut world = World::new("delta-event");
    let last = release(&world, 2);
    take(&world);
    let next = release(&world, 3);
    signed_delta(&world, &last, &next, 3);
    // The same server, which takes events.
    world.stop_server();
    let (ota, received) = (world.path("ota"), world.path("received"));
    let listen = world.address.trim_start_matches("https://");
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_ota-repo"));
    let args = ["serve", &ota, "--listen", listen, "--tls", "--quiet", "--received", &received];
    let mut server = server.args(args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    world.ota(&["check"]).expect(16);
    let output = world.client(&["update"]).env("RUST_OTA_DELTA", "memory").output().unwrap();
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(output.status.code(), Some(100), "{output:?}");
    assert_eq!(world.deployments()[0], next);
    let events = fs::read_to_string(world.dir.join("received/device-1/events.jsonl")).unwrap();
    assert!(events.contains("its process ended by"), "{events}");
    let remembered = fs::read_to_string(world.path("sota/rust-ota/deltas.json")).unwrap();
    assert!(remembered.contains("signal"), "{remembered}");
}
