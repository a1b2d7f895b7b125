//! The whole cycle on a real sysroot, against a real server with TLS and client certificates.

#![allow(missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use common::World;

#[test]
fn a_device_updates_itself_and_confirms() {
    let world = World::new("updates");
    let first = world.deployments()[0].clone();
    let second = world.release(2);

    world.ota(&["check"]).expect(16).says("test-board-2 (selected)").says("Updating from");
    world.ota(&["download"]).expect(0).says("test-board-2 is on the device, whole");
    assert_eq!(world.deployments(), std::slice::from_ref(&first), "a download deploys nothing");
    world.ota(&["install"]).expect(100).says("reboot to start it");
    assert_eq!(world.deployments(), [second.clone(), first.clone()]);
    assert_eq!(world.boot_variable("upgrade_available"), "1");

    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0).says("test-board-2 runs and its boot is confirmed");
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    assert_eq!(world.ota(&["status", "--json"]).expect(0).json()["current"]["name"], "test-board-2");
    world.ota(&["finalize"]).expect(40);
    world.ota(&["check"]).expect(0).says("Up to date");

    let entry = fs::read_to_string(
        fs::read_dir(world.path("sysroot/boot/loader/entries")).unwrap().next().unwrap().unwrap().path(),
    )
    .unwrap();
    assert!(entry.contains("quiet") && entry.contains("board=7"), "kernel arguments are kept: {entry}");
    world.fsck();
}

/// What a person did to /etc is no reason to fail for ever without a word.
#[test]
fn a_file_against_a_folder_in_etc_is_told_until_it_is_moved_away() {
    let world = World::new("etc");
    let folder = Path::new(&world.path("sysroot/ostree/deploy/test/deploy"))
        .join(format!("{}.0", world.deployments()[0]));
    fs::write(folder.join("etc/app"), "a note\n").unwrap();
    world.run("mkfifo", &[folder.join("etc/pipe").to_str().unwrap()]);
    world.commit(2, &[("usr/etc/app/shipped.conf", b"1")]);
    world.publish(2, "main");
    for command in [&["update"][..], &["status"], &["explain"], &["status", "--json"]] {
        let code = i32::from(!command.contains(&"status"));
        world
            .ota(command)
            .expect(code)
            .says("/etc/app: it is a file or link of this device, and a folder")
            .says("Move it away");
    }
    let asked = world.requests();
    assert!(asked.iter().all(|path| !path.ends_with(".filez")), "no file was asked for: {asked:?}");
    fs::rename(folder.join("etc/app"), folder.join("etc/app.old")).unwrap();
    world
        .ota(&["update"])
        .expect(100)
        .says("/etc/pipe: no file, folder or link, so the new system does not get it");
    world.fsck();
}

#[test]
fn a_bad_target_is_rolled_back_remembered_and_not_tried_again() {
    let world = World::new("rolled-back");
    let first = world.deployments()[0].clone();
    world.release(2);
    world.ota(&["update"]).expect(100);
    world.roll_back();

    world.ota(&["finalize"]).expect(110).says("test-board-2 did not come up: the bootloader rolled back");
    assert_eq!(world.deployments(), [first], "the bad deployment is gone and the good one is first");
    assert_eq!((world.boot_variable("rollback"), world.boot_variable("bootcount")), ("0".into(), "0".into()));
    world.reboot_into(0);

    let status = world.ota(&["status", "--json"]).expect(0).json();
    assert_eq!(status["known_bad"][0]["target"]["name"], "test-board-2");
    assert_eq!(status["known_bad"][0]["count"], 1);
    assert_eq!(status["pending"], serde_json::Value::Null);
    world.ota(&["update"]).expect(0).says("known to be bad");

    let third = world.release(3);
    world.ota(&["update"]).expect(100);
    assert_eq!(world.deployments()[0], third, "a newer one is taken");
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);

    world.ota(&["clear-failed"]).expect(0).says("1 known-bad Target cleared");
    assert_eq!(world.ota(&["status", "--json"]).json()["known_bad"], serde_json::json!([]));
}

/// A power cut after the deployment emptied a file of it, so it did not come up: not the Target's fault. Once.
#[test]
fn a_target_that_was_damaged_on_the_device_is_not_bad() {
    let world = World::new("damaged-then-rolled-back");
    let second = world.release(2);
    let shared = |world: &World| {
        let data = world.path(&format!("sysroot/ostree/deploy/test/deploy/{second}.0/usr/share/data"));
        fs::File::options().write(true).open(data).unwrap().set_len(0).unwrap();
    };
    world.ota(&["update"]).expect(100);
    shared(&world);
    world.roll_back();
    world.ota(&["finalize"]).expect(110).says("objects of it were damaged on this device");
    world.reboot_into(0);
    let status = world.ota(&["status", "--json"]).expect(0).json();
    assert_eq!(
        (&status["known_bad"], &status["last"]["outcome"]),
        (&serde_json::json!([]), &"damaged".into())
    );
    world.ota(&["update"]).expect(100);
    world.fsck();
    // A medium that does so each time must not lead in circles.
    shared(&world);
    world.roll_back();
    world.ota(&["finalize"]).expect(110);
    let status = world.ota(&["status", "--json"]).json();
    assert_eq!(status["known_bad"][0]["target"]["name"], "test-board-2");
}

#[test]
fn what_was_damaged_after_its_download_is_not_installed() {
    let world = World::new("damaged-before-install");
    let second = world.release(2);
    world.ota(&["check"]).expect(16);
    world.ota(&["download"]).expect(0);
    let repo = world.path("sysroot/ostree/repo");
    let line = world.run("ostree", &["ls", "-C", "--repo", &repo, &second, "/usr/share/data"]);
    let hash = line.split_whitespace().find(|word| word.len() == 64).unwrap();
    let object = format!("{repo}/objects/{}/{}.file", &hash[..2], &hash[2..]);
    fs::File::options().write(true).open(object).unwrap().set_len(0).unwrap();
    world.ota(&["install"]).expect(80).says("download");
    assert!(!world.deployments().contains(&second));
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    world.ota(&["download"]).expect(0);
    world.ota(&["install"]).expect(100);
    world.fsck();
}

#[test]
fn a_program_reads_json_lines() {
    let world = World::new("json-lines");
    let lines = |args: &[&str], code: i32| -> Vec<serde_json::Value> {
        let run = world.ota(args);
        assert_eq!(run.code, code, "{}", run.stderr);
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let second = world.release(2);
    world.ota(&["check"]).expect(16);
    let said = lines(&["install", "--json"], 80);
    assert_eq!((said.len(), &said[0]["outcome"], &said[0]["code"]), (1, &"error".into(), &80.into()));
    assert!(said[0]["message"].as_str().unwrap().contains("run download first"));

    let said = lines(&["download", "--json"], 0);
    let (end, progress) = said.split_last().unwrap();
    let last = &progress.last().unwrap()["progress"];
    assert_eq!(last["objects_done"], last["objects_total"]);
    assert!(last["bytes_done"].as_u64().unwrap() > 0);
    assert_eq!((&end["outcome"], &end["target"]["commit"]), (&"downloaded".into(), &second.into()));

    let said = lines(&["install", "--json"], 100);
    assert_eq!((said.len(), &said[0]["outcome"], &said[0]["code"]), (1, &"installed".into(), &100.into()));
    world.reboot_into(0);
    assert_eq!(lines(&["finalize", "--json"], 0)[0]["outcome"], "confirmed");
    assert_eq!(lines(&["finalize", "--json"], 40)[0]["outcome"], "nothing-pending");
    assert_eq!(lines(&["update", "--json"], 0)[0]["outcome"], "up-to-date");
}

#[test]
fn a_deployment_that_the_bootloader_passed_by_is_booted_again_once() {
    let world = World::new("passed-by");
    let second = world.release(2);
    world.ota(&["update"]).expect(100);
    world.pass_by();
    world.ota(&["finalize"]).expect(100).says("test-board-2");
    assert_eq!(
        (world.boot_variable("upgrade_available"), world.boot_variable("bootcount")),
        ("1".into(), "0".into())
    );
    assert_eq!(world.deployments()[0], second, "it stays what is booted next");
    world.ota(&["update"]).expect(30).says("waits for its reboot");
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    assert_eq!(world.ota(&["status", "--json"]).json()["known_bad"], serde_json::json!([]));

    world.release(3);
    world.ota(&["update"]).expect(100);
    world.pass_by();
    world.ota(&["finalize"]).expect(100);
    world.pass_by();
    world.ota(&["finalize"]).expect(110).says("test-board-3 did not come up");
}

#[test]
fn where_every_boot_is_counted_every_boot_is_confirmed() {
    let world = World::new("every-boot");
    world.fragment("60-generic", "[bootloader]\nrollback_mode = uboot_generic\n");
    world.fw_setenv("bootcount", "2");
    world.ota(&["finalize"]).expect(0).says("confirmed");
    assert_eq!(world.boot_variable("bootcount"), "0");
    world.ota(&["finalize"]).expect(40);
}

#[test]
fn an_install_that_has_not_been_booted_is_not_a_rollback() {
    let world = World::new("not-booted");
    world.release(2);
    world.ota(&["update"]).expect(100);
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
    world.ota(&["finalize"]).expect(100).says("not booted yet");
    world.ota(&["update"]).expect(30).says("waits for its reboot");
    assert_eq!(world.ota(&["status", "--json"]).json()["known_bad"], serde_json::json!([]));
}

#[test]
fn a_cut_before_the_deployment_is_forgotten_and_repeated() {
    let world = World::new("cut");
    world.release(2);
    world.ota(&["download"]).expect(1).says("check");
    world.ota(&["check"]).expect(16);
    world.ota(&["install"]).expect(80).says("run download first");
    world.ota(&["update"]).expect(100);
    // The power went after the record and the boot environment were written, and before the deployment was.
    let sysroot = format!("--sysroot={}", world.path("sysroot"));
    world.run("ostree", &["admin", &sysroot, "undeploy", "0"]);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0).says("was cut before it was whole");
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    world.ota(&["update"]).expect(100);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0).says("is confirmed");
}

#[test]
fn only_what_is_meant_for_this_device_is_seen() {
    let world = World::new("tags");
    world.commit(2, &[]);
    world.publish(2, "test");
    world.ota(&["check"]).expect(0).says("Up to date: test-board-1");
    world.fragment("60-tags", "[pacman]\ntags = \"test, other\"\n");
    world.ota(&["list"]).expect(0).says("test-board-2 (selected)");
    world.fragment("60-tags", "[provision]\nprimary_ecu_hardware_id = something-else\n");
    world.ota(&["check"]).expect(6).says("No Target for hardware id something-else");
    world.ota(&["download", "no-such"]).expect(20);
}

#[test]
fn an_idle_check_writes_nothing() {
    let world = World::new("idle");
    world.ota(&["check"]).expect(0);
    let before = world.snapshot("sota");
    let times = |w: &World| -> Vec<_> {
        w.snapshot("sota").iter().map(|(p, _)| fs::metadata(p).unwrap().modified().unwrap()).collect()
    };
    let modified = times(&world);
    world.ota(&["check"]).expect(0);
    assert_eq!(world.snapshot("sota"), before);
    assert_eq!(times(&world), modified, "not even written again with the same bytes");
}

#[test]
fn two_at_a_time_are_refused_with_the_holders_name() {
    let world = World::new("locked");
    fs::create_dir_all(world.path("run")).unwrap();
    let ready = world.path("ready");
    let script = format!(
        "echo 'rust-ota daemon, process 77' > {0}; touch {ready}; sleep 60",
        world.path("run/rust-ota.lock")
    );
    let mut holder = std::process::Command::new("flock")
        .args([&world.path("run/rust-ota.lock"), "sh", "-c", &script])
        .spawn()
        .unwrap();
    while !std::path::Path::new(&ready).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.ota(&["update"]).expect(1).says("another rust-ota is at work (rust-ota daemon, process 77)");
    world.ota(&["status"]).expect(0);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let mut world = World::new("bad-input");
    let before = world.deployments();
    world.fragment("70-typo", "[uptane]\npolling_sec: 5\n");
    world.ota(&["check"]).expect(1).says("70-typo.toml:2: neither a [section] nor key = value");
    world.fragment("70-typo", "");

    fs::rename(world.path("root.json"), world.path("kept.json")).unwrap();
    world.ota(&["check"]).expect(1).says("there is no trusted root");
    fs::rename(world.path("kept.json"), world.path("root.json")).unwrap();

    fs::write(world.path("sota/import/client.pem"), "no certificate").unwrap();
    world.ota(&["check"]).expect(13).says("client.pem: has no PEM certificate in it");
    world.run(
        "cp",
        &[&world.path("ota.keys/tls/devices/device-1/client.pem"), &world.path("sota/import/client.pem")],
    );

    world.stop_server();
    world.ota(&["check"]).expect(13).says(&world.address.clone());
    let address = world.address.trim_start_matches("https://").trim_end_matches('/').to_string();
    world.start_server(&address);

    world.release(2);
    world.ota(&["check"]).expect(16);
    fs::write(world.path("sota/rust-ota/installed.json"), "{\"version\": 1, \"pend").unwrap();
    world.ota(&["status"]).expect(1).says("installed.json is damaged").says("installed.json.damaged");
    assert_eq!(world.deployments(), before);
    world.ota(&["update"]).expect(100);
}

#[test]
fn objects_that_are_not_what_was_signed_are_refused() {
    let world = World::new("bad-objects");
    let content: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let commit = world.commit(2, &[("usr/share/big", &content)]);
    world.publish(2, "main");
    let objects = world.snapshot("ota/treehub/objects");
    let (largest, bytes) = objects.iter().max_by_key(|(_, b)| b.len()).unwrap();
    let mut broken = bytes.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(largest, &broken).unwrap();
    world.ota(&["check"]).expect(16);
    world.ota(&["download"]).expect(70);
    world.ota(&["install"]).expect(80);

    fs::remove_file(largest).unwrap();
    world.ota(&["download"]).expect(50).says("objects/");

    fs::write(largest, bytes).unwrap();
    world.ota(&["download"]).expect(0);
    world.ota(&["install"]).expect(100);
    assert_eq!(world.deployments()[0], commit);
    world.fsck();
}

#[test]
fn expired_metadata_and_older_metadata_are_refused() {
    let world = World::new("stale");
    world.ota(&["check"]).expect(0);
    let old = fs::read(world.path("ota/repo/timestamp.json")).unwrap();
    world.release(2);
    world.ota(&["check"]).expect(16);
    let new = fs::read(world.path("ota/repo/timestamp.json")).unwrap();
    fs::write(world.path("ota/repo/timestamp.json"), old).unwrap();
    world.ota(&["check"]).expect(11).says("timestamp.json");
    let broken = String::from_utf8(new.clone()).unwrap().replace("\"version\":3", "\"version\":4");
    fs::write(world.path("ota/repo/timestamp.json"), broken).unwrap();
    world.ota(&["check"]).expect(11);
    fs::write(world.path("ota/repo/timestamp.json"), new).unwrap();
    world.ota(&["check"]).expect(16);
}

#[test]
fn a_key_that_others_can_read_is_a_warning_or_by_setting_an_error() {
    let world = World::new("exposed-key");
    let key = world.path("sota/import/pkey.pem");
    let mode = |mode: &str| world.run("chmod", &[mode, &key]);
    let strict = "[rust_ota]\nstrict_keys = 1\n";
    for (bits, setting, code, warned) in [
        ("0644", "", 0, true),
        ("0640", strict, 1, true),
        ("0602", strict, 1, true),
        ("0600", strict, 0, false),
    ] {
        mode(bits);
        world.fragment("60-keys", setting);
        let check = world.ota(&["check"]).expect(code);
        assert_eq!(check.stderr.contains("chmod it to 0600"), code != 0, "{bits}: {}", check.stderr);
        let status = world.ota(&["status"]);
        let said = format!("{}{}", status.stdout, status.stderr);
        assert_eq!(said.contains("other users may read or change this secret"), warned, "{bits}: {said}");
    }
}

#[test]
fn the_daemon_updates_and_ends_cleanly_when_told_to() {
    let world = World::new("daemon");
    let second = world.release(2);
    let mut daemon = world.client(&["daemon", "--interval", "1"]).spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while world.deployments()[0] != second {
        assert!(std::time::Instant::now() < until, "the daemon did not update");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    world.run("kill", &[&daemon.id().to_string()]);
    assert!(daemon.wait().unwrap().success());

    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
    let mut command = world.client(&["daemon", "--interval", "3600"]);
    let mut daemon = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("waits for a reboot")));
    world.run("kill", &[&daemon.id().to_string()]);
    assert!(daemon.wait().unwrap().success(), "SIGTERM ends the wait of an hour at once, with 0");
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
}

#[test]
fn what_happened_last_is_one_record() {
    let world = World::new("last");
    world.ota(&["check"]).expect(0);
    let last = || world.ota(&["status", "--json"]).expect(0).json()["last"].clone();
    assert_eq!((last()["outcome"].as_str(), last()["code"].as_u64()), (Some("up-to-date"), Some(0)));
    world.fragment("90-off", "[uptane]\nrepo_server = https://127.0.0.1:1/repo\n");
    for _ in 0..3 {
        world.ota(&["check"]).expect(13);
    }
    assert_eq!((last()["failures"].as_u64(), last()["stage"].as_str()), (Some(3), Some("check")));
    let explained =
        world.ota(&["explain"]).expect(13).says("The check for updates fails: ").says("failed 3 times");
    assert!(!explained.stdout.contains("Up to date"), "{}", explained.stdout);
    assert_eq!(world.ota(&["explain", "--json"]).expect(13).json()["last"]["failures"], 3);
    world
        .ota(&["status"])
        .expect(0)
        .says("Last run:     check: error, exit code 13, failed 3 times in a row");
    world.fragment("90-off", "");
    world.ota(&["check"]).expect(0);
    assert_eq!(last()["failures"], 0);
    world.ota(&["explain"]).expect(0).says("Up to date: ");
}

#[test]
fn settings_that_do_nothing_and_a_bootloader_that_is_not_told_are_warned_of() {
    let world = World::new("warnings");
    world.fragment("90-typo", "[pacman]\ntag = main\n[bootloader]\nrollback_mode = none\n");
    let warning = "pacman.tag is not known and has no effect, did you mean pacman.tags?";
    assert!(world.ota(&["check"]).expect(0).stderr.contains(warning));
    world.ota(&["config", "show"]).expect(0).says(warning);
    world
        .ota(&["status"])
        .expect(0)
        .says("bootloader.rollback_mode is none, but the bootloader of this device counts");
    world.fragment("90-typo", "[rust_ota]\nauto_rebot = 0\n");
    let error = "rust_ota.auto_rebot is not known, did you mean rust_ota.auto_reboot?";
    assert!(world.ota(&["check"]).expect(1).stderr.contains(error));
}
