//! A device as it was provisioned for aktualizr-lite: taken over with its own files, of which none changes.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use lite_common::{Run, World, device, run};
use serde_json::json;

const DATABASE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript('''CREATE TABLE version(version INTEGER); INSERT INTO version VALUES (25);
CREATE TABLE installed_versions(id INTEGER PRIMARY KEY, ecu_serial TEXT, sha256 TEXT, name TEXT, hashes TEXT, length INTEGER,
    correlation_id TEXT, is_current INTEGER, is_pending INTEGER, was_installed INTEGER, custom_meta TEXT);
CREATE TABLE need_reboot(unique_mark INTEGER PRIMARY KEY, flag INTEGER);''')
db.execute('INSERT INTO installed_versions VALUES (1, ?, ?, ?, ?, 0, ?, 1, 0, 1, ?)',
    ('s', sys.argv[2], 'test-board-1', 'sha256:' + sys.argv[2] + ';', '', '{}'))
db.commit()
";

/// The storage as lmp-device-register and the other client leave it, and nothing of ours.
fn provision(world: &World) {
    let sota = world.dir.join("sota");
    for file in ["root.crt", "client.pem", "pkey.pem"] {
        fs::rename(sota.join("import").join(file), sota.join(file)).unwrap();
    }
    fs::remove_dir(sota.join("import")).unwrap();
    for fragment in ["10-server", "40-hardware-id"] {
        fs::remove_file(world.path(&format!("conf.d/{fragment}.toml"))).unwrap();
    }
    let toml = format!(
        "[tls]\nserver = \"{0}\"\nca_source = \"file\"\n\n[provision]\nserver = \"{0}\"\nprimary_ecu_hardware_id = \"test-board\"\n\n\
         [uptane]\nrepo_server = \"{0}/repo\"\n\n[pacman]\nostree_server = \"{0}/treehub\"\ntags = \"main\"\n\n\
         [storage]\ntype = \"sqlite\"\npath = \"{1}/\"\n\n[import]\nbase_path = \"{1}\"\ntls_cacert_path = \"root.crt\"\n\
         tls_pkey_path = \"pkey.pem\"\ntls_clientcert_path = \"client.pem\"\n",
        world.address.trim_end_matches('/'),
        sota.display()
    );
    fs::write(sota.join("sota.toml"), toml).unwrap();
    world.run("/usr/bin/python3", &["-c", DATABASE, &world.path("sota/sql.db"), &world.deployments()[0]]);
}

fn client(world: &World, args: &[&str]) -> Run {
    let mut command = Command::new(world.path("aktualizr-lite"));
    command.args(["-c", &world.path("conf.d"), "-c", &world.path("sota/sota.toml")]).args(args);
    command.stdin(Stdio::null());
    run(command)
}

#[test]
fn nothing_of_the_other_client_is_touched() {
    let world = device("lite-takeover");
    provision(&world);
    let theirs = || {
        let entries = fs::read_dir(world.path("sota")).unwrap().map(|e| e.unwrap().path());
        let mut files: Vec<_> = entries
            .filter(|path| path.is_file() && !path.ends_with("current-target"))
            .map(|path| {
                let file = fs::metadata(&path).unwrap();
                (
                    path.clone(),
                    fs::read(path).unwrap(),
                    (file.ino(), file.mode(), file.mtime(), file.mtime_nsec()),
                )
            })
            .collect();
        files.sort();
        files
    };
    let before = theirs();
    assert_eq!(before.len(), 5, "{before:?}");

    client(&world, &["check"]).expect(0);
    let status = client(&world, &["status", "--json", "1"]).expect(0).json();
    assert_eq!((&status["applied_target"]["name"], &status["tag"]), (&"test-board-1".into(), &"main".into()));
    assert_eq!(status["device_uuid"], "device-1", "by its own certificate");
    let second = world.release(2);
    client(&world, &["update"]).expect(100);
    world.reboot_into(0);
    client(&world, &["finalize"]).expect(0);
    assert_eq!(world.deployments()[0], second);
    client(&world, &["rollback"]).expect(100);
    world.reboot_into(0);
    client(&world, &["finalize"]).expect(0);
    assert_eq!(theirs(), before);
    assert!(fs::exists(world.path("sota/rust-ota/installed.json")).unwrap(), "side by side");
}

/// The update that brought this client was installed by the other one: it is confirmed and reported under its id, the Target has
/// its name, and what was bad stays bad.
#[test]
fn its_log_goes_on() {
    let mut world = device("lite-takeover-log");
    provision(&world);
    let first = world.deployments()[0].clone();
    let second = world.release(2);
    client(&world, &["update"]).expect(100);
    let third = world.release(3);
    for path in ["sota/rust-ota", "sota/sql.db"] {
        let path = world.path(path);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }
    let facts = json!({
        "device_id": "device-1",
        "registered": 0,
        "ecus": [["serial-7", "test-board"]],
        "versions": [
            {"sha256": first, "name": "test-board-1", "is_current": 1, "was_installed": 1, "custom_meta": "{\"version\":\"1\"}"},
            {"sha256": third, "name": "test-board-3", "correlation_id": "3-x", "custom_meta": "{\"version\":\"3\"}"},
            {"sha256": second, "name": "test-board-2", "is_pending": 1, "correlation_id": "2-x", "custom_meta": "{\"version\":\"2\"}"},
        ],
        "metadata": [{"director": false, "role": "root", "version": 1, "content": format!("@{}", world.path("ota/repo/1.root.json"))}],
    });
    world.run(
        "python3",
        &[
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/old_client.py"),
            &world.path("sota/sql.db"),
            &facts.to_string(),
        ],
    );
    let before = fs::read(world.path("sota/sql.db")).unwrap();

    world.reboot_into(0);
    // Without a server, so that the event waits.
    let address = world.address.trim_start_matches("https://").trim_end_matches('/').to_string();
    world.stop_server();
    client(&world, &["finalize"]).expect(0);
    world.start_server(&address);
    let events = fs::read_to_string(world.path("sota/rust-ota/events.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(events.lines().next_back().unwrap()).unwrap();
    let event = &last["event"];
    assert_eq!(event["eventType"]["id"], "EcuInstallationCompleted", "{events}");
    let said = (&event["event"]["correlationId"], &event["event"]["ecu"], &event["event"]["success"]);
    assert_eq!(said, (&json!("2-x"), &json!("serial-7"), &json!(true)));
    client(&world, &["check"]).expect(0);
    let status = client(&world, &["status", "--json", "1"]).expect(0).json();
    assert_eq!(status["applied_target"]["name"], "test-board-2");
    client(&world, &["explain"]).says("test-board-3");
    // Three more updates, one of them bad; then back by hand.
    for (version, good) in [(4, true), (5, false), (6, true)] {
        world.release(version);
        client(&world, &["update"]).expect(100);
        if good {
            world.reboot_into(0)
        } else {
            world.roll_back()
        }
        client(&world, &["finalize"]).expect(if good { 0 } else { 110 });
    }
    assert!(fs::read(world.path("sota/sql.db")).unwrap() == before, "the way back is open");
}
