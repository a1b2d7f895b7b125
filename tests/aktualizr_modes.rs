//! The running modes of aktualizr, black box: the binary by that name against a Director and an Image repository.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use aktualizr_common::{
    aktualizr, assign, device, events, last_word, received, release, results, still_running_the_old_one,
};

#[test]
fn check_download_install_reboot_check() {
    let world = device("ak-sequence");
    aktualizr(&world, &["check"]).expect(0).says("No new updates found");
    let registered = received(&world, "ecus.json").unwrap();
    assert_eq!(registered["ecus"][0]["hardware_identifier"], "test-board");
    assert_eq!(registered["primary_ecu_serial"], registered["ecus"][0]["ecu_serial"]);
    let first = last_word(&world);
    assert_eq!(first["installed_image"]["filepath"], "unknown", "nobody has named it yet");
    assert_eq!(first["installed_image"]["fileinfo"]["hashes"]["sha256"], world.deployments()[0].as_str());
    assert_eq!(received(&world, "installed.json").unwrap()[0]["name"], "busybox");

    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["check", "--exit-codes"]).expect(16).says("test-board-2 is assigned");
    assert_eq!(world.deployments().len(), 1, "a check fetches nothing");
    aktualizr(&world, &["--running-mode=download"])
        .expect(0)
        .says("AllDownloadsComplete event with status: SUCCESS");
    assert_eq!(world.deployments().len(), 1);
    let before = world.requests().len();
    aktualizr(&world, &["--run-mode", "install", "--exit-codes"]).expect(100).says("NEED_COMPLETION");
    assert_eq!(world.deployments()[0], commit);
    assert!(
        !world.requests()[before..].iter().any(|p| p.contains("/repo/") || p.contains("json")),
        "no metadata"
    );
    assert_eq!((world.boot_variable("upgrade_available").as_str(), results(&world).len()), ("1", 0));

    still_running_the_old_one(&world);
    // Until the reboot the server hears what runs, and nothing else is done.
    aktualizr(&world, &["check", "--exit-codes"]).expect(30).says("pending updates");
    assert_ne!(last_word(&world)["installed_image"]["fileinfo"]["hashes"]["sha256"], commit.as_str());
    assert_eq!(
        world.boot_variable("upgrade_available"),
        "1",
        "no mode confirms a boot that has not happened"
    );

    world.reboot_into(0);
    aktualizr(&world, &["check"]).expect(0).says("No new updates found");
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    let word = last_word(&world);
    assert_eq!(word["installed_image"]["filepath"], "test-board-2");
    assert_eq!(word["installed_image"]["fileinfo"]["hashes"]["sha256"], commit.as_str());
    let all = results(&world);
    assert_eq!(all.len(), 1, "told once: {all:?}");
    assert_eq!(
        (all[0]["correlation_id"].as_str(), all[0]["result"]["success"].as_bool()),
        (Some("c-2"), Some(true))
    );
    assert_eq!(
        events(&world),
        [
            "EcuDownloadStarted",
            "EcuDownloadCompleted",
            "EcuInstallationStarted",
            "EcuInstallationApplied",
            "EcuInstallationCompleted"
        ]
    );
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(results(&world).len(), 1);
}

#[test]
fn once_and_a_rollback_that_is_reported() {
    let world = device("ak-rollback");
    let old = world.deployments()[0].clone();
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.roll_back();
    aktualizr(&world, &["check", "--exit-codes"]).says("did not come up");
    // The running system is the first deployment again.
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    let all = results(&world);
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0]["result"]["code"].as_str(), all[0]["correlation_id"].as_str()),
        (Some("test-board:INSTALL_FAILED"), Some("c-2"))
    );
    assert_eq!(last_word(&world)["installed_image"]["fileinfo"]["hashes"]["sha256"], old.as_str());
    assert_eq!(world.deployments().len(), 1, "put in order");

    // The same assignment is not tried again, a new one of the same Target is.
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    assert_eq!((world.deployments().len(), results(&world).len()), (1, 1));
    assign(&world, 2, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(results(&world).len(), 2);
    assert_eq!(results(&world)[1]["result"]["code"], "OK");
}

#[test]
fn a_withdrawn_update_is_not_installed() {
    let world = device("ak-withdrawn");
    aktualizr(&world, &["check"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["check", "--exit-codes"]).expect(16);
    world.ota_repo(&["director", "withdraw", &world.path("ota"), "--device", "device-1"]);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("No new updates");
    aktualizr(&world, &["install", "--exit-codes"]).expect(0).says("Nothing to do");
    assert_eq!(world.deployments().len(), 1);
}

#[test]
fn a_network_that_is_away_loses_nothing() {
    let mut world = device("ak-offline");
    let address = world.address.trim_start_matches("https://").to_string();
    world.stop_server();
    let run = aktualizr(&world, &["check", "--exit-codes"]);
    assert_eq!(run.code, 13, "{run:?}");
    aktualizr(&world, &["check"]).expect(0);
    aktualizr(&world, &["install", "--exit-codes"]).expect(1).says("run check first");
    world.start_server(&address);
    aktualizr(&world, &["check"]).expect(0);
    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);

    world.stop_server();
    aktualizr(&world, &["install", "--exit-codes"]).expect(100);
    assert_eq!(world.deployments()[0], commit);
    world.reboot_into(0);
    // Judged and confirmed without a network; told when there is one.
    aktualizr(&world, &["once", "--exit-codes"]).expect(13);
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    assert!(results(&world).is_empty());
    world.start_server(&address);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(results(&world)[0]["result"]["code"], "OK");
    assert_eq!(events(&world).len(), 5, "{:?}", events(&world));
}

#[test]
fn finalized_by_another_and_reported_all_the_same() {
    let world = device("ak-finalize");
    aktualizr(&world, &["once"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(results(&world)[0]["result"]["code"], "OK");
}

#[test]
fn registration_that_was_cut_and_one_that_is_refused() {
    let world = device("ak-registration");
    aktualizr(&world, &["check"]).expect(0);
    // As if the answer had been lost: the note of what was sent is there, that of the answer is not.
    let path = world.dir.join("sota/rust-ota/ecu.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["sent"] = record["registered"].take();
    std::fs::write(&path, record.to_string()).unwrap();
    aktualizr(&world, &["check"]).expect(0);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(record["registered"].is_string() && record["sent"].is_null());

    // A device that lost its state is a stranger with the same certificate.
    std::fs::remove_dir_all(world.dir.join("sota/rust-ota")).unwrap();
    for _ in 0..2 {
        aktualizr(&world, &["check"]).expect(1).says("ecu_already_registered").says("bring back the state");
    }
}

#[test]
fn words_that_are_no_mode_and_other_lines() {
    let world = device("ak-lines");
    aktualizr(&world, &["chek"]).expect(1).says("no running mode");
    aktualizr(&world, &["--nonsense"]).expect(1).says("aktualizr command line options");
    aktualizr(&world, &["--help", "--nonsense"]).expect(0).says("aktualizr command line options");
    aktualizr(&world, &["--version"]).expect(0).says("Current aktualizr version is:");
    aktualizr(&world, &["-c", "/nonexistent", "check"])
        .expect(1)
        .says("Config directory /nonexistent does not exist.");
    assert!(world.requests().is_empty());
    world.fragment("70-mode", "[uptane]\nrunning_mode = check\n");
    aktualizr(&world, &["--primary-ecu-serial", "S-7"])
        .expect(0)
        .says("Primary ECU serial: S-7 with hardware ID: test-board");
    aktualizr(&world, &[]).expect(0).says("Device ID: device-1");
    std::fs::write(
        world.dir.join("secondaries.json"),
        r#"{"IP":{"secondaries":[{"addr":"10.0.3.2:9050"}]}}"#,
    )
    .unwrap();
    let file = world.path("secondaries.json");
    aktualizr(&world, &["--secondary-config-file", &file]).expect(1).says("names IP Secondaries");
}

#[test]
fn the_lock_names_its_holder() {
    let world = device("ak-lock");
    let lock = rust_ota::store::Lock::take(&world.dir.join("run/rust-ota.lock"), "a person").unwrap();
    aktualizr(&world, &["check"]).expect(1).says("a person");
    let waiting = std::thread::scope(|scope| {
        let run = scope.spawn(|| aktualizr(&world, &["check", "--lock-wait", "30"]));
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(lock);
        run.join().unwrap()
    });
    waiting.expect(0);
}

/// A Director that withdraws an update is obeyed also when only its reboot is missing.
#[test]
fn an_update_that_is_withdrawn_before_its_reboot_is_taken_back() {
    let world = device("ak-take-back");
    let old = world.deployments()[0].clone();
    aktualizr(&world, &["once"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    still_running_the_old_one(&world);
    // Still assigned: it waits. Nobody can be asked: it waits too.
    aktualizr(&world, &["once", "--exit-codes"]).expect(30);
    std::fs::rename(world.path("ota/director"), world.path("away")).unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(30);
    std::fs::rename(world.path("away"), world.path("ota/director")).unwrap();
    world.ota_repo(&["director", "withdraw", &world.path("ota"), "--device", "device-1"]);
    // A check only looks.
    aktualizr(&world, &["check", "--exit-codes"]).expect(30);
    assert_eq!((world.deployments().len(), world.boot_variable("upgrade_available").as_str()), (2, "1"));
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("was withdrawn");
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
    assert_eq!(world.deployments(), [old]);
    assert_eq!(world.boot_variable("upgrade_available"), "0");
    assert!(!world.dir.join("run/need_reboot").exists());
    // The next boot is of the old system and nothing went wrong: it can be assigned again.
    world.reboot_into(0);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("No new updates");
    let told = results(&world);
    assert_eq!((told.len(), told[0]["result"]["code"].as_str()), (1, Some("OPERATION_CANCELLED")));
    assign(&world, 2, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);

    // Another Target in its place is taken at once.
    still_running_the_old_one(&world);
    let third = release(&world, 3);
    assign(&world, 3, "c-4");
    aktualizr(&world, &["download", "--exit-codes"]).expect(30);
    let run = aktualizr(&world, &["once", "--exit-codes"]);
    world.reboot_into(0);
    // The index of what runs moved while that ran, so the bed may need a second run.
    if run.code != 100 {
        aktualizr(&world, &["once", "--exit-codes"]).expect(100);
        world.reboot_into(0);
    }
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(world.deployments()[0], third);
    assert_eq!(results(&world).last().unwrap()["result"]["code"], "OK");
}

#[test]
fn a_failed_assignment_is_cleared_by_hand() {
    let world = device("ak-clear");
    aktualizr(&world, &["once"]).expect(0);
    release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.roll_back();
    aktualizr(&world, &["check"]).expect(0);
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    world.ota(&["clear-failed", "test-board-7"]).expect(0).says("0 known-bad Targets cleared");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    world.ota(&["clear-failed"]).expect(0).says("1 known-bad Target cleared");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
}

#[test]
fn hardware_as_somebody_else_found_it_out() {
    let world = device("ak-hardware");
    let file = world.path("hardware.json");
    for bad in ["", "{\"id\": "] {
        std::fs::write(&file, bad).unwrap();
        aktualizr(&world, &["check", "--hwinfo-file", &file]).expect(1).says("hardware.json");
    }
    aktualizr(&world, &["check", "--hwinfo-file", "/nonexistent"]).expect(1).says("/nonexistent");
    assert!(world.requests().is_empty());
    std::fs::write(&file, r#"{"id": "board", "class": "system"}"#).unwrap();
    let sent = |world: &aktualizr_common::World| {
        world.requests().iter().filter(|path| *path == "/system_info").count()
    };
    for _ in 0..2 {
        aktualizr(&world, &["check", "--hwinfo-file", &file]).expect(0);
        assert_eq!(received(&world, "system_info.json").unwrap()["id"], "board");
        assert_eq!(sent(&world), 1, "told when it is new");
    }
    std::fs::write(&file, r#"{"id": "other"}"#).unwrap();
    aktualizr(&world, &["once", "--hwinfo-file", &file]).expect(0);
    assert_eq!(
        (sent(&world), received(&world, "system_info.json").unwrap()["id"].as_str()),
        (2, Some("other"))
    );
}
