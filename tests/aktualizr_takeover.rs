//! A device of aktualizr changes its client: the same device to its server, the update that brought the change is reported, and
//! what it leaves behind is as it was. Its state is made as its migrations leave it, with the keys that the server knows.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use aktualizr_common::{World, aktualizr, assign, by_name, device, last_word, release, results};
use serde_json::{Value, json};

/// The device as the other client leaves it: registered with an RSA key, version 2 deployed and pending, version 9 bad. All that
/// it knows is in `sql.db`, certificate and authorities too.
fn as_the_other_client(name: &str, facts: Value) -> World {
    let world = device(name);
    let bits = if name.ends_with("4096") { "4096" } else { "2048" };
    world.run("openssl", &["genrsa", "-traditional", "-out", &world.path("sota/import/ecu.pem"), bits]);
    world.fragment("70-key", "[uptane]\nkey_type = RSA2048\n[import]\nuptane_private_key_path = ecu.pem\n");
    aktualizr(&world, &["check"]).expect(0);
    let ecu: Value =
        serde_json::from_slice(&fs::read(world.dir.join("sota/rust-ota/ecu.json")).unwrap()).unwrap();
    let first = world.deployments()[0].clone();
    let second = release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);

    let file = |name: &str| format!("@{}", world.path(name));
    let mut all = json!({
        "device_id": "device-1",
        "ecus": [[ecu["serial"], ecu["hardware_id"]]],
        "key": file("sota/import/ecu.pem"),
        "tls": {"ca_cert": file("sota/import/root.crt"), "client_cert": file("sota/import/client.pem"), "client_pkey": file("sota/import/pkey.pem")},
        "versions": [
            {"sha256": first, "name": "test-board-1", "is_current": 1, "was_installed": 1},
            {"sha256": "9".repeat(64), "name": "test-board-9", "correlation_id": "c-9"},
            {"sha256": second, "name": "test-board-2", "is_pending": 1, "correlation_id": "c-2"},
        ],
        "metadata": [
            {"director": true, "role": "root", "version": 1, "content": file("ota/director/1.root.json")},
            {"director": false, "role": "root", "version": 1, "content": file("ota/repo/1.root.json")},
        ],
        "ecu_report_counter": [{"ecu_serial": ecu["serial"], "counter": 5000}],
        "device_installation_result": [{"unique_mark": 0, "result_code": "NEED_COMPLETION", "correlation_id": "c-2"}],
        "report_events": [{"json_string": "{\"id\": \"1\", \"eventType\": {\"id\": \"EcuInstallationApplied\", \"version\": 0}}"}],
    });
    all.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
    world.run(
        "python3",
        &[
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/old_client.py"),
            &world.path("sota/sql.db"),
            &all.to_string(),
        ],
    );
    for folder in ["sota/rust-ota", "sota/import"] {
        fs::remove_dir_all(world.dir.join(folder)).unwrap();
    }
    for file in ["conf.d/70-key.toml", "director-root.json"] {
        fs::remove_file(world.dir.join(file)).unwrap();
    }
    world
}

fn database(world: &World) -> Vec<u8> {
    fs::read(world.dir.join("sota/sql.db")).unwrap()
}

fn state(world: &World, name: &str) -> Value {
    serde_json::from_slice(&fs::read(world.dir.join("sota/rust-ota").join(name)).unwrap()).unwrap()
}

/// The code of what the Director was told of an assignment.
fn told(world: &World, id: &str) -> Vec<String> {
    let of = results(world).into_iter().filter(|report| report["correlation_id"] == id);
    of.map(|report| report["result"]["code"].as_str().unwrap().to_string()).collect()
}

fn registrations(world: &World) -> usize {
    world.requests().iter().filter(|path| *path == "/director/ecus").count()
}

fn three_updates_and_the_way_back(name: &str) {
    let world = as_the_other_client(name, json!({}));
    let before = (database(&world), registrations(&world));
    world.reboot_into(0);
    assert_eq!(world.boot_variable("upgrade_available"), "1");
    world.ota(&["finalize"]).expect(0).says("is taken over (schema 25, 3 installations)");
    assert_eq!(world.boot_variable("upgrade_available"), "0", "this client can act with what it took over");
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(registrations(&world), before.1, "no new registration");
    assert_eq!(told(&world, "c-2"), ["OK"]);
    assert_eq!(last_word(&world)["installed_image"]["filepath"], "test-board-2");
    assert!(last_word(&world)["report_counter"].as_str().unwrap().parse::<u64>().unwrap() > 5000);
    let events = fs::read_to_string(world.dir.join("ota.received/device-1/events.jsonl")).unwrap();
    assert!(events.lines().next_back().is_some() && events.contains("\"id\":\"1\""), "{events}");
    by_name(&world, "aktualizr-info", &[])
        .expect(0)
        .says("Device ID: device-1")
        .says("Provisioned on server: yes");
    let installed = state(&world, "installed.json");
    assert_eq!(installed["known_bad"][0]["target"]["name"], "test-board-9");
    assert_eq!(state(&world, "director.json")["failed"][0]["correlation_id"], "c-9");

    // Three more updates, one of them bad.
    for (version, code) in [(3, "OK"), (4, "INSTALL_FAILED"), (5, "OK")] {
        release(&world, version);
        let id = format!("c-{version}");
        assign(&world, version, &id);
        aktualizr(&world, &["once", "--exit-codes"]).expect(100);
        if code == "OK" {
            world.reboot_into(0);
        } else {
            world.roll_back();
            world.ota(&["finalize"]).expect(110);
            // The bad deployment is gone, so that what runs is the first one.
            world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
        }
        aktualizr(&world, &["check"]).expect(0);
        let hardware = if code == "OK" { "" } else { "test-board:" };
        assert_eq!(told(&world, &id), [format!("{hardware}{code}")]);
    }
    assert_eq!(registrations(&world), before.1);
    assert!(database(&world) == before.0, "the way back is open");
    for beside in ["sql.db-journal", "sql.db-wal", "sql.db-shm", "storage.lock"] {
        assert!(!world.dir.join("sota").join(beside).exists(), "{beside}");
    }
}

#[test]
fn a_device_with_a_key_of_2048_bits() {
    three_updates_and_the_way_back("ak-takeover");
}

#[test]
fn a_device_with_a_key_of_4096_bits() {
    let world = as_the_other_client("ak-takeover-4096", json!({"schema": 22}));
    world.reboot_into(0);
    let before = registrations(&world);
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(registrations(&world), before);
    assert_eq!(told(&world, "c-2"), ["OK"]);
}

#[test]
fn what_the_other_client_did_since_is_taken_over_too() {
    let world = as_the_other_client("ak-takeover-again", json!({}));
    let sql = |statement: &str| {
        let script =
            "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2])\nc.commit()";
        world.run("python3", &["-c", script, &world.path("sota/sql.db"), statement]);
    };
    let touch = |world: &World| drop(world.ota(&["clear-failed", "nothing"]).expect(0));
    touch(&world);
    assert_eq!(state(&world, "installed.json")["pending"]["correlation_id"], "c-2");
    // The bootloader went back to the other client's system; that client noted it, and was assigned something else.
    sql("UPDATE installed_versions SET is_pending = 0");
    let other = "3".repeat(64);
    sql(&format!(
        "INSERT INTO installed_versions(ecu_serial, sha256, name, hashes, is_pending, correlation_id) SELECT serial, '{other}', 'test-board-3', '', 1, 'c-3' FROM ecus"
    ));
    touch(&world);
    let installed = state(&world, "installed.json");
    assert_eq!(installed["pending"]["correlation_id"], "c-3");
    let bad: Vec<_> =
        installed["known_bad"].as_array().unwrap().iter().map(|b| &b["target"]["name"]).collect();
    assert_eq!(bad, ["test-board-9", "test-board-2"]);
    assert_eq!(state(&world, "director.json")["installing"]["correlation_id"], "c-3");
    // Once it is ours, a file that is damaged later does not keep a device from its updates.
    fs::write(world.dir.join("sota/sql.db"), vec![1; 4096]).unwrap();
    world.ota(&["clear-failed", "nothing"]).expect(0).says("it is not an SQLite database");
}

/// Each refusal comes before any change.
#[test]
fn what_cannot_be_taken_over_changes_nothing() {
    let world = as_the_other_client("ak-takeover-refused", json!({}));
    let good = database(&world);
    let refused = |reason: &str| {
        world.ota(&["clear-failed", "nothing"]).expect(1).says(reason).says("nothing was changed");
        assert!(!world.dir.join("sota/rust-ota").exists(), "{reason}");
    };
    fs::write(world.dir.join("sota/sql.db"), &good[..good.len() / 2]).unwrap();
    refused("it is cut");
    let mut changed = good.clone();
    changed[4096..8192].fill(0);
    fs::write(world.dir.join("sota/sql.db"), &changed).unwrap();
    refused("it is damaged");
    fs::write(world.dir.join("sota/sql.db"), &good).unwrap();
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('DELETE FROM primary_keys')\nc.commit()";
    world.run("python3", &["-c", script, &world.path("sota/sql.db")]);
    refused("its key is not in it");
    world.fragment("90-fresh", "[rust_ota]\ntake_over = 0\n");
    world.ota(&["clear-failed", "nothing"]).expect(0);
}

#[test]
fn a_kill_at_each_point_ends_in_the_same_state_as_none() {
    let world = as_the_other_client("ak-takeover-cut", json!({}));
    let folder = world.dir.join("sota/rust-ota");
    let files = || -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push((entry.path(), fs::read_to_string(entry.path()).unwrap())),
                }
            }
        }
        // When it was is another time in each run.
        let settled = |text: String| {
            let lines = text.lines().filter(|l| !l.contains("\"since\""));
            let lines = lines.map(|l| l.split_once("\"event\":").map_or(l, |(_, event)| event));
            lines.collect::<Vec<_>>().join("\n")
        };
        let mut files: Vec<_> = files.into_iter().map(|(path, text)| (path, settled(text))).collect();
        files.sort();
        files
    };
    let args = ["clear-failed", "nothing"];
    world.ota(&args).expect(0);
    let whole = files();
    assert!(whole.len() > 8, "{whole:?}");
    let mut points = 0;
    loop {
        fs::remove_dir_all(&folder).unwrap();
        points += 1;
        let mut command: Command = world.client(&args);
        let killed = command.env("RUST_OTA_CUT_AT", points.to_string()).output().unwrap();
        world.ota(&args).expect(0);
        assert_eq!(files(), whole, "cut at point {points}");
        if killed.status.signal().is_none() {
            break;
        }
        assert!(points < 100);
    }
    assert!(points > 15, "{points}");
}

#[test]
fn the_check_on_the_device_asks_all_and_changes_nothing() {
    let world = as_the_other_client("takeover-check", json!({}));
    let before = (world.snapshot("sota"), world.requests().len());
    let check = world.ota(&["takeover", "--check"]).expect(0);
    for line in [
        "ok       state: ",
        "warning  state: test-board-2 is pending; let it finish or fail before the change",
        "ok       certificate: ",
        "ok       identity: ",
        "ok       bootloader: ",
        "ok       system: OSTree commit ",
        "ok       server: https://",
        "a connection works",
        "this client will work here",
    ] {
        assert!(check.stdout.contains(line), "{line}: {}", check.stdout);
    }
    assert!(world.snapshot("sota") == before.0, "it only looks");
    world.ota(&["takeover", "--root", "/"]).expect(1).says("need --check");
    world.ota(&["takeover"]).expect(0);
    assert!(world.dir.join("sota/rust-ota/takeover.json").exists());
}
