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

/// Publishes a commit whose Target names statistics of deltas; gives the file's path.
fn publish_with_stats(world: &World, version: u32, stats: &[u8], signed: &[u8]) -> PathBuf {
    let sha256 = rust_ota::tuf::sha256_hex(signed);
    let custom = format!("delta-stats={{\"sha256\":\"{sha256}\",\"size\":{}}}", signed.len());
    let (ota, build) = (world.path("ota"), world.path("build"));
    let words = format!(
        "--ref test/{version} --name test-board --version {version} --hardware-id test-board --tag main"
    );
    let mut args = vec!["target", "add", &ota, "--ostree-repo", &build, "--custom", &custom];
    args.extend(words.split(' '));
    world.ota_repo(&args);
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
            3 => (stats(&last, &next, size, 2 * size), true),
            4 => (stats(&next, &last, size, 2 * size), false),
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
