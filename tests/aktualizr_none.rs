//! `pacman.type = none`, black box: a device without OSTree and without a bootloader of ours, whose Primary is a file.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::process::ExitStatusExt;

use aktualizr_common::sensor::{give, noise, publish, publish_for, secondaries, sensor, word};
use aktualizr_common::{
    World, aktualizr, assign, by_name, client, device, events, last_word, received, results,
};
use serde_json::json;

const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// No sysroot, and a bootloader that cannot be asked: whoever does ends with an error.
fn without_ostree(name: &str, more: &str) -> World {
    let world = device(name);
    let sysroot = world.dir.join("sysroot");
    let _ = std::process::Command::new("chattr").args(["-R", "-f", "-i"]).arg(&sysroot).output();
    fs::remove_dir_all(sysroot).unwrap();
    fs::remove_file(world.dir.join("fw_env.config")).unwrap();
    world.fragment("70-none", &format!("[pacman]\ntype = none\n{more}"));
    world
}

fn withdraw(world: &World) {
    world.ota_repo(&["director", "withdraw", &world.path("ota"), "--device", "device-1"]);
}

/// What a reboot does: what is on tmpfs is gone.
fn reboot(world: &World) {
    let _ = fs::remove_dir_all(world.dir.join("run"));
}

fn file(world: &World) -> Option<Vec<u8>> {
    fs::read(world.dir.join("sota/images/primary.bin")).ok()
}

fn reported(world: &World) -> String {
    last_word(world)["installed_image"]["filepath"].as_str().unwrap().to_string()
}

/// Files that wait for their installation.
fn waiting(world: &World) -> usize {
    let names = fs::read_dir(world.dir.join("sota/images")).into_iter().flatten().flatten();
    names.filter(|entry| !entry.file_name().to_string_lossy().starts_with("primary.")).count()
}

fn codes(world: &World) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    results(world).iter().map(|r| (text(&r["correlation_id"]), text(&r["result"]["code"]))).collect()
}

fn pair(id: &str, code: &str) -> (String, String) {
    (id.to_string(), code.to_string())
}

#[test]
fn provisioned_polled_and_updated_by_a_file() {
    let world = without_ostree("ak-none", "");
    aktualizr(&world, &["check", "--exit-codes"]).expect(0).says("No new updates");
    let registered = received(&world, "ecus.json").unwrap();
    assert_eq!(registered["ecus"].as_array().unwrap().len(), 1, "{registered}");
    let image = last_word(&world)["installed_image"].clone();
    assert_eq!((&image["filepath"], &image["fileinfo"]["length"]), (&json!("unknown"), &json!(0)));
    assert_eq!(image["fileinfo"]["hashes"]["sha256"], NOTHING);
    by_name(&world, "aktualizr-info", &[]).expect(0).says("No currently running version");

    let content = noise(1, 300_000);
    publish_for(&world, "test-board", 2, &content);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["check", "--exit-codes"]).expect(16).says("test-board-2 is assigned");
    aktualizr(&world, &["install", "--exit-codes"]).expect(80);
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);
    assert_eq!((file(&world), waiting(&world)), (None, 1));
    aktualizr(&world, &["install", "--exit-codes"]).expect(0).says("no reboot is needed");
    assert_eq!((file(&world), waiting(&world)), (Some(content), 0));
    let image = last_word(&world)["installed_image"].clone();
    assert_eq!((&image["filepath"], &image["fileinfo"]["length"]), (&json!("test-board-2"), &json!(300_000)));
    let hash = image["fileinfo"]["hashes"]["sha256"].as_str().unwrap().to_string();
    by_name(&world, "aktualizr-info", &[]).expect(0).says(&format!("running version: {hash}\n"));
    assert_eq!(codes(&world), [pair("c-2", "OK")]);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("No new updates");
    assert_eq!(
        events(&world),
        ["EcuDownloadStarted", "EcuDownloadCompleted", "EcuInstallationStarted", "EcuInstallationCompleted"]
    );
    for word in ["finalize", "deadline"] {
        world.ota(&[word]).expect(40).says("Nothing is pending");
    }
    world.ota(&["status"]).expect(0).says("not an OSTree system").says("Bootloader:   none");
    assert!(!world.dir.join("sysroot").exists());
    assert!(!world.requests().iter().any(|path| path.contains("treehub")));
}

#[test]
fn what_is_wrong_is_not_installed() {
    let world = without_ostree("ak-none-wrong", "");
    aktualizr(&world, &["check"]).expect(0);
    publish_for(&world, "test-board", 2, b"right content");
    assign(&world, 2, "c-2");
    fs::write(world.path("ota/repo/targets/test-board-2"), b"wrong content").unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(70);
    assert_eq!((file(&world), codes(&world)), (None, vec![pair("c-2", "DOWNLOAD_FAILED")]));
    // aktualizr would do nothing with a commit, and say that it runs.
    world.commit(3, &[]);
    world.publish(3, "main");
    assign(&world, 3, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(1).says("takes files only");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    assert_eq!(codes(&world)[1..], [pair("c-3", "test-board:INSTALL_FAILED")]);
    assert_eq!(reported(&world), "unknown");
}

#[test]
fn a_file_that_takes_effect_with_a_reboot() {
    let world = without_ostree("ak-none-reboot", "fake_need_reboot = 1\n");
    aktualizr(&world, &["check"]).expect(0);
    publish_for(&world, "test-board", 2, b"two");
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100).says("NEED_COMPLETION");
    for mode in ["check", "download", "install", "once"] {
        aktualizr(&world, &[mode, "--exit-codes"]).expect(30);
    }
    assert!(world.dir.join("run/need_reboot").exists());
    by_name(&world, "aktualizr-info", &[]).expect(0).says("Pending Primary ECU version: ");
    assert_eq!((file(&world), reported(&world), codes(&world)), (None, "unknown".into(), vec![]));
    reboot(&world);
    aktualizr(&world, &["check", "--exit-codes"]).expect(0);
    assert_eq!((file(&world), waiting(&world)), (Some(b"two".to_vec()), 0));
    assert_eq!((reported(&world), codes(&world)), ("test-board-2".into(), vec![pair("c-2", "OK")]));
    assert_eq!(
        events(&world)[2..],
        ["EcuInstallationStarted", "EcuInstallationApplied", "EcuInstallationCompleted"]
    );

    // Withdrawn before the reboot.
    publish_for(&world, "test-board", 3, b"three");
    assign(&world, 3, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    withdraw(&world);
    aktualizr(&world, &["check", "--exit-codes"]).expect(30);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("was withdrawn");
    assert!(!world.dir.join("run/need_reboot").exists());
    assert_eq!((file(&world), waiting(&world)), (Some(b"two".to_vec()), 0));
    assert_eq!(codes(&world)[1..], [pair("c-3", "OPERATION_CANCELLED")]);
    // What is damaged while it waits does not take effect, and is fetched again.
    assign(&world, 3, "c-4");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    for entry in fs::read_dir(world.dir.join("sota/images")).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("primary.") {
            fs::write(entry.path(), b"threX").unwrap();
        }
    }
    reboot(&world);
    aktualizr(&world, &["check", "--exit-codes"]).expect(16);
    assert_eq!(file(&world), Some(b"two".to_vec()));
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    // A mark that outlived the reboot, since it is not on a tmpfs.
    fs::write(world.dir.join("run/need_reboot"), "another boot\n").unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert!(!world.dir.join("run/need_reboot").exists());
    assert_eq!((file(&world), codes(&world).pop()), (Some(b"three".to_vec()), Some(pair("c-4", "OK"))));
}

#[test]
fn beside_a_secondary_by_one_assignment() {
    let world = without_ostree("ak-none-sec", "fake_need_reboot = 1\n");
    secondaries(&world, &json!({"virtual": [sensor(&world, "sensor", "sensor-a")]}));
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(received(&world, "ecus.json").unwrap()["ecus"].as_array().unwrap().len(), 2);
    publish(&world, 1, b"of the sensor");
    publish_for(&world, "test-board", 2, b"of the board");
    give(&world, 1, "sensor-a", "c-2");
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    assert_eq!(fs::read(world.path("sensor/firmware.bin")).unwrap(), b"of the sensor");
    aktualizr(&world, &["check", "--exit-codes"]).expect(30);
    assert_eq!(word(&world, "sensor-a")["installed_image"]["filepath"], "sensor-1");
    assert_eq!(codes(&world), [], "not before all of it is done");
    reboot(&world);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!((file(&world), codes(&world)), (Some(b"of the board".to_vec()), vec![pair("c-2", "OK")]));
    assert_eq!(results(&world)[0]["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_kill_at_any_point_ends_in_the_same_state() {
    let world = without_ostree("ak-none-cuts", "fake_need_reboot = 1\n");
    aktualizr(&world, &["check"]).expect(0);
    let cut = |point: u32| {
        let mut command = client(&world, "aktualizr", &["once"]);
        let status = command.env("RUST_OTA_CUT_AT", point.to_string()).output().unwrap().status;
        status.signal().is_some()
    };
    // In the installation, after the reboot, and in taking back.
    for stage in ["install", "finalize", "withdraw"] {
        let mut point = 1;
        loop {
            let version = codes(&world).len() as u32 + 2;
            let (content, id) = (noise(version as u8, 10_000), format!("{stage}-{point}"));
            let before = file(&world);
            publish_for(&world, "test-board", version, &content);
            assign(&world, version, &id);
            if stage != "install" {
                aktualizr(&world, &["once", "--exit-codes"]).expect(100);
            }
            match stage {
                "finalize" => reboot(&world),
                "withdraw" => withdraw(&world),
                _ => {}
            }
            let killed = cut(point);
            aktualizr(&world, &["once"]).expect(0);
            if stage == "install" {
                assert!(world.dir.join("run/need_reboot").exists(), "{id}");
                reboot(&world);
                aktualizr(&world, &["once"]).expect(0);
            }
            let (expected, code) = match stage {
                "withdraw" => (before, "OPERATION_CANCELLED"),
                _ => (Some(content), "OK"),
            };
            assert_eq!((file(&world) == expected, waiting(&world)), (true, 0), "{id}");
            assert!(!world.dir.join("run/need_reboot").exists(), "{id}");
            let told: Vec<_> = codes(&world).into_iter().filter(|(of, _)| *of == id).collect();
            assert!((1..=2).contains(&told.len()) && told.iter().all(|t| t.1 == code), "{id}: {told:?}");
            if !killed {
                break;
            }
            point += 1;
            assert!(point < 100, "it never ends");
        }
        println!("{stage}: {} points", point - 1);
        assert!(point > 5, "{stage}: {point} points");
    }
}
