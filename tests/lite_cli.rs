//! The personality of aktualizr-lite: exit codes, text and JSON, each provoked for real.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs;

use lite_common::{World, as_lite, client, device, golden, lite, not_booted_yet, release_with_app, run};

#[test]
fn the_command_line() {
    let world = device("lite-command-line");
    let bare = |args: &[&str]| {
        let mut command = std::process::Command::new(world.path("aktualizr-lite"));
        command.args(args);
        run(command)
    };
    bare(&[]).expect(0).says("aktualizr-lite [command] [target] [flags]");
    bare(&["--help"]).expect(0).says("--src-dir");
    bare(&["--version"]).expect(0).says("Current aktualizr version is: ");
    bare(&["check", "--nonsense"]).expect(1).says("Usage:");
    bare(&["check", "--json", "perhaps"]).expect(1).says("'perhaps'");
    bare(&["check", "-c", "/nonexistent"]).expect(1).says("/nonexistent");
    lite(&world, &["frobnicate"]).expect(1).says("Unsupported command: frobnicate");
    world.fragment("70-type", "[pacman]\ntype = debian\n");
    lite(&world, &["status"]).expect(1).says("pacman.type = \"debian\" is not ostree or ostree+compose_apps");
    assert!(!std::path::Path::new(&world.path("sota/rust-ota/installed.json")).exists());
}

#[test]
fn from_check_to_finalize() {
    let world = device("lite-updates");
    lite(&world, &["list"]).expect(11).says("run check first");
    lite(&world, &["pull"]).expect(11);
    lite(&world, &["install"]).expect(11);
    lite(&world, &["finalize"]).expect(40);
    lite(&world, &["check"]).expect(0);
    lite(&world, &["list"]).expect(3);
    let second = world.release(2);
    lite(&world, &["check"]).expect(16).says("test-board-2\n\tostree: ");
    lite(&world, &["list"]).expect(16);
    lite(&world, &["install"]).expect(80);
    lite(&world, &["pull", "9"]).expect(20);
    lite(&world, &["pull", "no-such-name"]).expect(20);
    lite(&world, &["pull", "2nd"]).expect(0);
    lite(&world, &["install", "--update-name", "test-board-2", "--install-mode", "odd"]).expect(100);
    assert_eq!(world.deployments()[0], second);
    not_booted_yet(&world);
    lite(&world, &["update"]).expect(30);
    lite(&world, &["check"]).expect(16);
    lite(&world, &["finalize"]).expect(100);
    world.reboot_into(0);
    lite(&world, &["run"]).expect(0);
    lite(&world, &["run"]).expect(40);
    lite(&world, &["update"]).expect(0);
    lite(&world, &["update", "1"]).expect(100);
    world.fsck();
}

#[test]
fn a_rollback_of_the_bootloader() {
    let world = device("lite-rolled-back");
    world.release(2);
    lite(&world, &["update"]).expect(100);
    world.roll_back();
    lite(&world, &["finalize"]).expect(110);
    world.reboot_into(0);
    let listed = lite(&world, &["check", "--json", "1"]).expect(0).json();
    assert_eq!((&listed[1]["failed"], &listed[1]["newer"]), (&true.into(), &true.into()));
    assert_eq!(listed[1].get("selected"), None);
    lite(&world, &["update"]).expect(100).says("Updating from test-board-1 to test-board-2");
}

#[test]
fn a_rollback_by_hand() {
    let world = device("lite-by-hand");
    let first = world.deployments()[0].clone();
    lite(&world, &["check"]).expect(0);
    lite(&world, &["rollback"]).expect(1).says("no Target is known to have run here before");
    let second = world.release(2);
    lite(&world, &["update"]).expect(100);
    not_booted_yet(&world);
    lite(&world, &["rollback"]).expect(0);
    assert_eq!(world.deployments(), std::slice::from_ref(&first), "what was pending is gone");
    world.reboot_into(0);
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    lite(&world, &["check"]).expect(0);

    lite(&world, &["update", "2"]).expect(100);
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    lite(&world, &["rollback"]).expect(100);
    assert_eq!(world.deployments(), [first, second]);
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    lite(&world, &["check"]).expect(0).says("test-board-2");
    lite(&world, &["rollback"]).expect(1);
}

#[test]
fn what_runs_is_bad() {
    let world = device("lite-bad-current");
    world.release(2);
    lite(&world, &["update"]).expect(100);
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    let path = world.path("sota/rust-ota/installed.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["known_bad"] =
        serde_json::json!([{"target": state["current"], "reason": "an app failed", "since": 1, "count": 1}]);
    fs::write(&path, state.to_string()).unwrap();
    let listed = lite(&world, &["check", "--json", "1"]).expect(18).json();
    assert_eq!(listed[0]["reason"], "Rolling back from test-board-2 to test-board-1");
    lite(&world, &["list"]).expect(18);
    state["previous"] = serde_json::Value::Null;
    fs::write(&path, state.to_string()).unwrap();
    lite(&world, &["check"]).expect(21);
}

#[test]
fn metadata_that_is_refused_and_what_is_trusted_already() {
    let mut world = device("lite-metadata");
    let timestamp = world.path("ota/repo/timestamp.json");
    let good = fs::read_to_string(&timestamp).unwrap();
    fs::write(&timestamp, good.replace("\"version\":2", "\"version\":7")).unwrap();
    lite(&world, &["check"]).expect(11);
    fs::write(&timestamp, &good).unwrap();
    world.fragment("80-board", "[provision]\nprimary_ecu_hardware_id = other\n");
    lite(&world, &["check"]).expect(6).says("No Targets found");
    assert_eq!(lite(&world, &["check", "--json", "1"]).expect(6).json(), serde_json::Value::Null);
    lite(&world, &["pull"]).expect(6);
    world.fragment("80-board", "");
    fs::write(&timestamp, good.replace("\"version\":2", "\"version\":7")).unwrap();
    lite(&world, &["check"]).expect(0).says("going on with the metadata of an earlier check");
    world.stop_server();
    lite(&world, &["check"]).expect(0).says("going on with the metadata of an earlier check");
    fs::remove_dir_all(world.path("sota/rust-ota/trust")).unwrap();
    lite(&world, &["check"]).expect(13);
    let address = world.address.trim_start_matches("https://").trim_end_matches('/').to_string();
    world.start_server(&address);
    fs::write(&timestamp, &good).unwrap();
    fs::create_dir_all(world.path("sota/rust-ota/trust/timestamp.json")).unwrap();
    lite(&world, &["check"]).expect(0).says("timestamp.json is damaged (a folder is in its place)");
    fs::remove_dir_all(world.path("sota/rust-ota/trust")).unwrap();
    let stored = world.path("sota/rust-ota/trust/targets.json");
    fs::create_dir_all(world.path("sota/rust-ota/trust")).unwrap();
    fs::write(&stored, "{}").unwrap();
    lite(&world, &["list"]).expect(11);
}

#[test]
fn metadata_that_has_expired() {
    let world = World::without_server("lite-expired");
    world.ota_repo(&["init", &world.path("ota"), "--expires", "timestamp=1s"]);
    world.publish(1, "main");
    let world = as_lite(world.serving());
    std::thread::sleep(std::time::Duration::from_secs(2));
    lite(&world, &["check"]).expect(12).says("timestamp.json");
}

#[test]
fn content_that_does_not_come_or_is_wrong() {
    let world = device("lite-content");
    let content: Vec<u8> = (0..100_000u32).flat_map(|n| n.to_le_bytes()).collect();
    world.commit(2, &[("usr/share/big", &content)]);
    world.publish(2, "main");
    let objects = world.snapshot("ota/treehub/objects");
    let (largest, bytes) = objects.iter().max_by_key(|(_, b)| b.len()).unwrap();
    let mut broken = bytes.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(largest, &broken).unwrap();
    lite(&world, &["update"]).expect(70);
    fs::remove_file(largest).unwrap();
    lite(&world, &["pull"]).expect(50);
    fs::write(largest, bytes).unwrap();
    let repo = format!("--repo={}", world.path("sysroot/ostree/repo"));
    world.run("ostree", &[&repo, "config", "set", "core.min-free-space-percent", "99"]);
    lite(&world, &["pull"]).expect(60);
    world.run("ostree", &[&repo, "config", "set", "core.min-free-space-percent", "0"]);
    lite(&world, &["pull"]).expect(0);
}

#[test]
fn the_lock_of_the_other_client_is_honoured_and_stays() {
    let world = device("lite-lock");
    let lock = world.path("run/aklite.lock");
    lite(&world, &["check"]).expect(0);
    let before = fs::metadata(&lock).unwrap();
    let holder = rust_ota::store::Lock::take(std::path::Path::new(&lock), "lmp-device-register").unwrap();
    let refused = lite(&world, &["update"]).expect(1);
    let message = "Failed to obtain the aklite lock, another instance must be running !!!";
    refused.says(message).says("lmp-device-register");
    lite(&world, &["list"]).expect(3);
    lite(&world, &["status"]).expect(0);
    drop(holder);
    lite(&world, &["update"]).expect(0);
    let same = std::os::unix::fs::MetadataExt::ino(&before);
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&lock).unwrap()), same, "never unlinked");
}

#[test]
fn the_daemon() {
    let world = device("lite-daemon");
    let daemon = || {
        let mut command = client(&world, &["daemon", "--interval", "1"]);
        command.env("AKLITE_TEST_RETURN_ON_SLEEP", "1");
        run(command)
    };
    daemon().expect(0);
    world.release(2);
    daemon().expect(0);
    not_booted_yet(&world);
    assert_eq!(lite(&world, &["status", "--json", "1"]).json()["pending_target"]["name"], "test-board-2");
    daemon().expect(1).says("not booted yet");
    world.reboot_into(0);
    daemon().expect(0).says("test-board-2 runs and its boot is confirmed");
    world.fragment("90-reboot", "[bootloader]\nreboot_command = /nonexistent/reboot\n");
    daemon().expect(1).says("/nonexistent/reboot");
}

#[test]
fn an_update_from_a_folder() {
    let mut world = device("lite-folder");
    lite(&world, &["check"]).expect(0);
    let second = world.release(2);
    world.stop_server();
    let bundle = world.path("usb");
    fs::create_dir_all(&bundle).unwrap();
    lite(&world, &["check", "--src-dir", &bundle]).expect(14).says("timestamp.json");
    world.run("cp", &["-r", &world.path("ota/repo"), &format!("{bundle}/tuf")]);
    lite(&world, &["check", "--src-dir", &bundle]).expect(8).says("usb/ostree_repo");
    world.run("cp", &["-r", &world.path("ota/treehub"), &format!("{bundle}/ostree_repo")]);
    let statement = format!("{bundle}/tuf/bundle-targets.json");
    let unsigned = serde_json::json!({"signatures": [], "signed": {"_type": "x", "expires": "2099-01-01T00:00:00Z",
        "version": 1, "x-fio-offline-bundle": {"type": "ci", "tag": "main", "targets": ["test-board-2"]}}});
    fs::write(&statement, unsigned.to_string()).unwrap();
    lite(&world, &["check", "--src-dir", &bundle]).expect(15).says("bundle-targets.json");
    fs::remove_file(&statement).unwrap();
    lite(&world, &["check", "--src-dir", &bundle]).expect(16);
    lite(&world, &["pull", "--src-dir", &bundle]).expect(0);
    lite(&world, &["install", "--src-dir", &bundle]).expect(100);
    assert_eq!(world.deployments()[0], second);
    world.reboot_into(0);
    lite(&world, &["run"]).expect(0);
    world.fsck();
}

#[test]
fn golden_outputs() {
    let world = as_lite(World::new("lite-golden"));
    world.fragment("60-apps", "[pacman]\ntype = ostree+compose_apps\ncompose_apps = \"web\"\n");
    let first = world.deployments()[0].clone();
    let second = release_with_app(&world, 2);
    let commits = [first.as_str(), second.as_str()];
    for command in ["check", "list"] {
        let text = lite(&world, &[command]).expect(16).stdout;
        golden("lite-check.txt", &text, &commits);
        let json = lite(&world, &[command, "--json", "1"]).expect(16);
        assert_eq!(json.stderr, "", "nothing but JSON");
        golden("lite-check.json", &json.stdout, &commits);
    }
    // The apps of these tests are in no registry, so they are looked at and not installed.
    world.fragment("61-apps", "[pacman]\ntype = ostree\n");
    lite(&world, &["update"]).expect(100);
    world.fragment("61-apps", "");
    not_booted_yet(&world);
    let without_reason = |text: String| {
        text.lines()
            .filter(|l| !l.starts_with("Failed to get a device info"))
            .map(|l| format!("{l}\n"))
            .collect::<String>()
    };
    golden("lite-status.txt", &without_reason(lite(&world, &["status"]).expect(0).stdout), &commits);
    golden("lite-status.json", &lite(&world, &["status", "--json", "1"]).expect(0).stdout, &commits);
    world.reboot_into(0);
    golden("lite-status-booted.txt", &without_reason(lite(&world, &["status"]).stdout), &commits);
    world.fragment("61-apps", "[pacman]\ntype = ostree\n");
    lite(&world, &["finalize"]).expect(0);
    world.fragment("61-apps", "");
    golden("lite-status-updated.txt", &without_reason(lite(&world, &["status"]).stdout), &commits);
    golden("lite-status-updated.json", &lite(&world, &["status", "--json", "1"]).stdout, &commits);
}
