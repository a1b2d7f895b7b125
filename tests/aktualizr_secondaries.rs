//! Virtual Secondaries, black box: registered, reported and updated beside the Primary.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use aktualizr_common::line::Line;
use aktualizr_common::sensor::{
    firmware, give, noise, nothing_waits, publish, publish_for, secondaries, sensor, serials, with_sensor,
    word,
};
use aktualizr_common::{
    aktualizr, assign, by_name, client, device, edit_state, events, received, release, results,
    still_running_the_old_one,
};
use serde_json::json;

#[test]
fn registered_reported_and_updated_without_a_reboot() {
    let world = with_sensor("ak-sec-update");
    aktualizr(&world, &["check"]).expect(0);
    let [serial] = &serials(&world)[..] else { panic!("one Secondary") };
    let registered = received(&world, "ecus.json").unwrap()["ecus"][1].clone();
    assert_eq!(registered["hardware_identifier"], "sensor");
    let key = &registered["clientKey"]["keyval"]["public"];
    assert_eq!(*key, fs::read_to_string(world.path("sensor/sec.public")).unwrap());
    assert_ne!(*key, received(&world, "ecus.json").unwrap()["ecus"][0]["clientKey"]["keyval"]["public"]);
    let mode = fs::metadata(world.path("sensor/sec.private")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(word(&world, serial)["installed_image"]["filepath"], "noimage");
    let lines = format!(
        "Secondaries:\n1) serial ID: {serial}\n   hardware ID: sensor\n   no details about installed nor pending images\nProvisioned"
    );
    by_name(&world, "aktualizr-info", &[]).expect(0).says(&lines);
    by_name(&world, "aktualizr-info", &["--secondary-keys"])
        .expect(0)
        .says(&format!("   public key ID: {serial}\n   public key:\n{}\n", key.as_str().unwrap()));

    let content = noise(1, 300_000);
    publish(&world, 1, &content);
    give(&world, 1, serial, "c-1");
    aktualizr(&world, &["check", "--exit-codes"]).expect(16).says("sensor-1 is assigned");
    aktualizr(&world, &["install", "--exit-codes"]).expect(80);
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);
    assert!(!world.dir.join("sensor/firmware.bin").exists());
    // Downloaded is downloaded: the next two need nothing of the content from the server.
    let before = world.requests().len();
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);
    aktualizr(&world, &["install", "--exit-codes"]).expect(0).says("no reboot is needed");
    assert!(!world.requests()[before..].iter().any(|p| p.contains("/targets/")));
    assert_eq!(firmware(&world), content);
    assert_eq!(fs::read_to_string(world.path("sensor/target_name")).unwrap(), "sensor-1");
    nothing_waits(&world);
    let told = results(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["correlation_id"], &told[0]["result"]["code"]), (&json!("c-1"), &json!("OK")));
    assert_eq!(told[0]["items"][0]["ecu"], serial.as_str());
    let image = word(&world, serial)["installed_image"].clone();
    assert_eq!(image["filepath"], "sensor-1");
    assert_eq!(image["fileinfo"]["length"], 300_000);
    by_name(&world, "aktualizr-info", &[]).expect(0).says("   installed image filename: sensor-1\n");
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(
        events(&world),
        [
            "EcuDownloadStarted",
            "EcuDownloadCompleted",
            "EcuDownloadStarted",
            "EcuDownloadCompleted",
            "EcuInstallationStarted",
            "EcuInstallationCompleted"
        ]
    );
    let log = fs::read_to_string(world.path("ota.received/device-1/events.jsonl")).unwrap();
    assert!(log.lines().all(|line| line.contains(serial.as_str())), "{log}");
    assert_eq!(world.deployments().len(), 1, "the Primary is as it was");
    // Nothing new: nothing is said, and nothing is written.
    let state = world.snapshot("sota");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("No new updates");
    let changed: Vec<_> = world.snapshot("sota").into_iter().filter(|f| !state.contains(f)).collect();
    assert!(changed.iter().all(|(path, _)| path.ends_with("report-counter.json")), "{changed:?}");
    assert_eq!(results(&world).len(), 1);
}

#[test]
fn a_primary_and_two_secondaries_by_one_assignment() {
    let world = device("ak-sec-bundle");
    let both = json!([sensor(&world, "sensor", "sensor-a"), sensor(&world, "other", "sensor-b")]);
    secondaries(&world, &json!({"virtual": both}));
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(serials(&world), ["sensor-a", "sensor-b"]);
    release(&world, 2);
    publish(&world, 1, b"the same for both");
    give(&world, 1, "sensor-a", "c-2");
    give(&world, 1, "sensor-b", "c-2");
    assign(&world, 2, "c-2");

    // Without the content of one, none is installed.
    fs::rename(world.path("ota/repo/targets"), world.path("away")).unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(50);
    assert_eq!(world.deployments().len(), 1);
    let failed = results(&world);
    assert_eq!(failed[0]["result"]["code"], "DOWNLOAD_FAILED");
    fs::rename(world.path("away"), world.path("ota/repo/targets")).unwrap();

    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    for folder in ["sensor", "other"] {
        assert_eq!(fs::read(world.path(&format!("{folder}/firmware.bin"))).unwrap(), b"the same for both");
    }
    still_running_the_old_one(&world);
    aktualizr(&world, &["check", "--exit-codes"]).expect(30);
    assert_eq!(results(&world).len(), 1, "not before all of it is done");
    world.reboot_into(0);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    let told = results(&world);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[1]["result"]["code"], told[1]["items"].as_array().unwrap().len()), (&json!("OK"), 3));
    nothing_waits(&world);
}

#[test]
fn one_that_fails_does_not_keep_the_others() {
    let world = device("ak-sec-failing");
    let both = json!([sensor(&world, "sensor", "sensor-a"), sensor(&world, "other", "sensor-b")]);
    secondaries(&world, &json!({"virtual": both}));
    aktualizr(&world, &["check"]).expect(0);
    publish(&world, 1, b"content");
    give(&world, 1, "sensor-a", "c-1");
    give(&world, 1, "sensor-b", "c-1");
    // In the way of the new file beside the old one.
    fs::create_dir(world.path("sensor/firmware.bin.rust-ota-new")).unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(1).says("firmware.bin.rust-ota-new");
    assert!(!world.dir.join("sensor/firmware.bin").exists() && world.dir.join("other/firmware.bin").exists());
    let told = results(&world);
    assert_eq!(told[0]["result"]["code"], "sensor:INSTALL_FAILED|sensor:OK");
    assert_eq!(told[0]["items"][0]["result"]["success"], false);
    // Not again by itself; again when it is assigned again.
    fs::remove_dir(world.path("sensor/firmware.bin.rust-ota-new")).unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    assert!(!world.dir.join("sensor/firmware.bin").exists());
    give(&world, 1, "sensor-a", "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(firmware(&world), b"content");
    assert_eq!(results(&world)[1]["result"]["code"], "OK");
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let world = with_sensor("ak-sec-resume");
    let line = Line::of(&world);
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    let content = noise(2, 3_000_000);
    publish(&world, 1, &content);
    give(&world, 1, &serial, "c-1");
    line.cut_after(1_500_000);
    aktualizr(&world, &["download", "--exit-codes"]).expect(50);
    let part = fs::read_dir(world.path("sota/images")).unwrap().next().unwrap().unwrap();
    let here = part.metadata().unwrap().len();
    assert!(here > 1_000_000, "{here}");
    line.cut_after(10_000_000);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(firmware(&world), content);
    let fetched = line.used_of(10_000_000);
    assert!(fetched < 2_100_000, "{fetched} bytes for the {} that were missing", 3_000_000 - here);
    nothing_waits(&world);

    // What is here of a withdrawn Target goes, and what is wrong in a part is fetched again.
    publish(&world, 2, &noise(3, 3_000_000));
    give(&world, 2, &serial, "c-2");
    line.cut_after(1_500_000);
    aktualizr(&world, &["download", "--exit-codes"]).expect(50);
    line.mend();
    let part = fs::read_dir(world.path("sota/images")).unwrap().next().unwrap().unwrap().path();
    let mut damaged = fs::read(&part).unwrap();
    damaged[17] ^= 1;
    fs::write(&part, damaged).unwrap();
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(firmware(&world), noise(3, 3_000_000));
    publish(&world, 3, &noise(4, 3_000_000));
    give(&world, 3, &serial, "c-3");
    line.cut_after(1_500_000);
    aktualizr(&world, &["download", "--exit-codes"]).expect(50);
    line.mend();
    publish(&world, 4, b"small");
    give(&world, 4, &serial, "c-4");
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);
    assert_eq!(fs::read_dir(world.path("sota/images")).unwrap().count(), 1);
}

#[test]
fn content_that_is_not_what_was_signed_is_not_installed() {
    let world = with_sensor("ak-sec-wrong");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    publish(&world, 1, b"right content");
    give(&world, 1, &serial, "c-1");
    let served = world.path("ota/repo/targets/sensor-1");
    for wrong in [&b"wrong content"[..], b"right content and more", b"right"] {
        fs::write(&served, wrong).unwrap();
        aktualizr(&world, &["once", "--exit-codes"]).expect(70);
        assert!(!world.dir.join("sensor/firmware.bin").exists());
        nothing_waits(&world);
    }
    fs::write(&served, b"right content").unwrap();
    aktualizr(&world, &["download", "--exit-codes"]).expect(0);
    // Damaged while it waited: seen before it is installed.
    let waiting = fs::read_dir(world.path("sota/images")).unwrap().next().unwrap().unwrap().path();
    fs::write(&waiting, b"rigth content").unwrap();
    aktualizr(&world, &["install", "--exit-codes"]).expect(80);
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(firmware(&world), b"right content");
}

/// A Target without a release counter is older than any that has one.
#[test]
fn a_secondary_does_not_go_below_its_release_counter() {
    let world = with_sensor("ak-sec-counter");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    publish(&world, 1, b"one");
    give(&world, 1, &serial, "c-1");
    edit_state(&world, "director.json", |state| state["release_counters"][&serial] = 5.into());
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert!(!world.dir.join("sensor/firmware.bin").exists());
    edit_state(&world, "director.json", |state| state["release_counters"][&serial] = 0.into());
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(firmware(&world), b"one");

    // One that was installed with a release counter, and cut before that was known.
    let commit = word(&world, &serial)["installed_image"]["fileinfo"]["hashes"]["sha256"].clone();
    let target = json!({"name": "sensor-1", "version": 1, "commit": commit, "apps": {}});
    let installing = json!({"target": target, "assignment": "c-1", "release_counter": 5, "failures": 0});
    edit_state(&world, "director.json", |state| state["files"][&serial]["installing"] = installing.clone());
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    publish(&world, 2, b"two");
    give(&world, 2, &serial, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(11);
    assert_eq!(firmware(&world), b"one");
}

#[test]
fn a_kill_at_any_point_ends_in_the_same_state() {
    let world = with_sensor("ak-sec-cuts");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    let mut version = 1;
    loop {
        let content = noise(version as u8, 10_000);
        publish(&world, version, &content);
        give(&world, version, &serial, &format!("c-{version}"));
        let mut command = client(&world, "aktualizr", &["once", "--exit-codes"]);
        let output = command.env("RUST_OTA_CUT_AT", version.to_string()).output().unwrap();
        let told = results(&world).len();
        aktualizr(&world, &["once", "--exit-codes"]).expect(0);
        assert_eq!(firmware(&world), content, "cut at point {version}");
        let word = word(&world, &serial)["installed_image"].clone();
        assert_eq!(word["filepath"], format!("sensor-{version}"));
        nothing_waits(&world);
        let last = results(&world).pop().unwrap();
        assert_eq!(
            last["correlation_id"],
            format!("c-{version}"),
            "cut at point {version}, told {told} before"
        );
        assert_eq!(last["result"]["code"], "OK");
        if output.status.code() == Some(0) {
            break;
        }
        version += 1;
        assert!(version < 100, "it never ends");
    }
    assert!(version > 12, "{version} points");
}

/// Its installation was cut, and then it was taken out of the configuration: what the others came to is told all the same.
#[test]
fn a_secondary_that_is_gone_holds_nothing_back() {
    let world = with_sensor("ak-sec-gone");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    let target = json!({"name": "sensor-1", "version": 1, "commit": "a".repeat(64)});
    let assigned = json!({"target": target, "assignment": "c-1", "correlation_id": "c-1"});
    edit_state(&world, "director.json", |state| state["files"]["gone"] = json!({"installing": assigned}));
    publish(&world, 1, b"one");
    give(&world, 1, &serial, "c-1");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    assert_eq!(results(&world).len(), 1);
}

/// What was downloaded and withdrawn is gone in the end, and what was there before stays.
#[test]
fn a_kill_after_a_file_was_withdrawn() {
    let world = with_sensor("ak-sec-withdrawn");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    publish(&world, 1, b"before");
    give(&world, 1, &serial, "c-1");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0);
    publish(&world, 2, b"withdrawn");
    let mut point = 1;
    loop {
        give(&world, 2, &serial, "c-2");
        aktualizr(&world, &["download", "--exit-codes"]).expect(0);
        world.ota_repo(&["director", "withdraw", &world.path("ota"), "--device", "device-1"]);
        let mut command = client(&world, "aktualizr", &["once", "--exit-codes"]);
        let output = command.env("RUST_OTA_CUT_AT", point.to_string()).output().unwrap();
        aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("No new updates");
        nothing_waits(&world);
        assert_eq!(firmware(&world), b"before", "cut at point {point}");
        assert_eq!(word(&world, &serial)["installed_image"]["filepath"], "sensor-1");
        assert_eq!(results(&world).len(), 1, "cut at point {point}");
        if output.status.code() == Some(0) {
            break;
        }
        point += 1;
        assert!(point < 100, "it never ends");
    }
    assert!(point > 5, "{point} points");
}

/// Content without its name, as a cut leaves it, must not pass for the Target that was there before.
#[test]
fn a_kill_and_then_the_earlier_target_again() {
    let world = with_sensor("ak-sec-back");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    let contents = [noise(1, 10_000), noise(2, 10_000)];
    publish(&world, 1, &contents[0]);
    publish(&world, 2, &contents[1]);
    let mut cut_in_place = 0;
    for point in 1..100 {
        give(&world, 1, &serial, &format!("c-{point}-before"));
        aktualizr(&world, &["once", "--exit-codes"]).expect(0);
        give(&world, 2, &serial, &format!("c-{point}"));
        let mut command = client(&world, "aktualizr", &["once", "--exit-codes"]);
        let output = command.env("RUST_OTA_CUT_AT", point.to_string()).output().unwrap();
        let name = fs::read_to_string(world.path("sensor/target_name")).unwrap();
        cut_in_place += usize::from(firmware(&world) == contents[1] && name == "sensor-1");
        give(&world, 1, &serial, &format!("c-{point}-after"));
        aktualizr(&world, &["once", "--exit-codes"]).expect(0);
        assert_eq!(firmware(&world), contents[0], "cut at point {point}");
        if output.status.code() == Some(0) {
            break;
        }
    }
    assert!(cut_in_place > 0, "no cut fell between the content and its name");
}

#[test]
fn an_ostree_commit_for_a_secondary_and_a_file_for_the_primary() {
    let world = with_sensor("ak-sec-kinds");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    world.commit(2, &[]);
    let (ota, build) = (world.path("ota"), world.path("build"));
    world.ota_repo(&[
        "target",
        "add",
        &ota,
        "--ostree-repo",
        &build,
        "--ref",
        "test/2",
        "--name",
        "sensor",
        "--version",
        "1",
        "--hardware-id",
        "sensor",
    ]);
    give(&world, 1, &serial, "c-1");
    aktualizr(&world, &["once", "--exit-codes"]).expect(1).says("takes files only");
    assert_eq!(results(&world)[0]["items"][0]["ecu"], serial.as_str());
    assert_eq!(results(&world)[0]["result"]["code"], "sensor:INSTALL_FAILED");
    aktualizr(&world, &["once", "--exit-codes"]).expect(0).says("failed here");
    assert_eq!(results(&world).len(), 1, "told once");

    world.ota_repo(&["director", "withdraw", &ota, "--device", "device-1"]);
    publish_for(&world, "test-board", 9, b"no system");
    assign(&world, 9, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(1).says("not an OSTree commit");
    assert_eq!(results(&world)[1]["result"]["code"], "test-board:INSTALL_FAILED");
    assert!(!world.requests().iter().any(|p| p.contains("/targets/")), "nothing was fetched");
}

#[test]
fn what_is_not_supported_is_named() {
    let world = device("ak-sec-refused");
    let one = sensor(&world, "sensor", "");
    secondaries(&world, &json!({"docker-compose": [one]}));
    aktualizr(&world, &["check"]).expect(1).says("secondaries.json").says("docker-compose");
    let mut rsa = sensor(&world, "sensor", "");
    rsa["key_type"] = json!("RSA2048");
    secondaries(&world, &json!({"virtual": [rsa]}));
    aktualizr(&world, &["check"]).expect(1).says("sec.private").says("key_type");
    let mut first = sensor(&world, "sensor", "same");
    first["ecu_serial"] = json!("P-1");
    secondaries(&world, &json!({"virtual": [first]}));
    aktualizr(&world, &["check", "--primary-ecu-serial", "P-1"]).expect(1).says("another ECU's serial");
    assert!(world.requests().is_empty());
}

/// With less memory than the file is long.
#[test]
fn the_size_of_a_file_costs_no_memory() {
    let world = with_sensor("ak-sec-memory");
    aktualizr(&world, &["check"]).expect(0);
    let serial = serials(&world)[0].clone();
    let content = noise(5, 96 << 20);
    publish(&world, 1, &content);
    give(&world, 1, &serial, "c-1");
    let limited = |kilobytes: &str, mode: &str| {
        let script = format!("ulimit -d {kilobytes}; exec \"$@\"");
        let (config, program) = (world.path("conf.d"), world.path("aktualizr"));
        let words = ["-c", &script, "sh", &program, "-c", &config, mode, "--exit-codes"];
        std::process::Command::new("sh").args(words).output().unwrap()
    };
    for mode in ["download", "install", "check"] {
        let run = limited("65536", mode);
        assert_eq!(run.status.code(), Some(0), "{mode}: {run:?}");
    }
    assert_eq!(firmware(&world), content);
}
