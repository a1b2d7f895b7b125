//! A boot on trial: what confirms it and what ends it, with a full disk, a held lock, any configuration.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Run, World};

/// A device that booted version 2 for the first time, and notes each reboot that is asked for.
fn on_trial(name: &str) -> World {
    let world = World::new(name);
    reboots_are_noted(&world);
    world.release(2);
    world.ota(&["update"]).expect(100);
    world.reboot_into(0);
    world
}

fn reboots_are_noted(world: &World) {
    let program = world.path("reboot");
    fs::write(&program, format!("#!/bin/sh\necho x >>{}\n", world.path("reboots"))).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    world.fragment("70-reboot", &format!("[bootloader]\nreboot_command = {program}\n"));
}

fn reboots(world: &World) -> usize {
    fs::read_to_string(world.path("reboots")).unwrap_or_default().lines().count()
}

fn finalize_and_deadline(world: &World) -> (Run, Run) {
    (world.ota(&["finalize"]), world.ota(&["deadline"]))
}

fn is_confirmed(world: &World, why: &str) {
    assert_eq!(world.boot_variable("upgrade_available"), "0", "{why}");
    assert_eq!(reboots(world), 0, "{why}");
}

/// No file of this name can be written any more: a folder is where its temporary file would be.
fn block(world: &World, name: &str) -> String {
    let path = world.path(&format!("sota/rust-ota/{name}.tmp"));
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_verdict_that_cannot_be_recorded_reboots_nothing_and_is_recorded_later() {
    let world = on_trial("unrecorded");
    let blocked = block(&world, "installed.json");
    for _ in 0..3 {
        let (finalize, deadline) = finalize_and_deadline(&world);
        finalize.expect(1).says("this boot is confirmed, but that is not recorded yet");
        deadline.expect(40);
        is_confirmed(&world, "unrecorded");
        world.reboot_into(0);
    }
    world.fragment("80-daemon", "[uptane]\npolling_sec = 1\n[rust_ota]\nauto_reboot = 1\n");
    let mut daemon = world.client(&["daemon"]).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(daemon.try_wait().unwrap().is_none(), "the daemon stays");
    end(&mut daemon);
    is_confirmed(&world, "the daemon has no reason to reboot");

    fs::remove_dir(blocked).unwrap();
    world.release(3);
    world.ota(&["update"]).expect(100).says("test-board-3");
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
    let status = world.ota(&["status", "--json"]).expect(0).json();
    assert_eq!(
        (&status["current"]["name"], &status["known_bad"]),
        (&"test-board-2".into(), &serde_json::json!([]))
    );
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_good_boot_from_its_confirmation() {
    for (content, code) in [("{\"version\": 1, \"curr", 1), ("{\"version\": 99}", 1)] {
        let world = on_trial("unread");
        fs::write(world.path("sota/rust-ota/installed.json"), content).unwrap();
        let (finalize, deadline) = finalize_and_deadline(&world);
        assert!([0, 40, code].contains(&finalize.code), "{}", finalize.stderr);
        deadline.expect(40);
        is_confirmed(&world, content);
    }
}

#[test]
fn a_lock_that_somebody_holds_does_not_stop_a_confirmation() {
    let world = on_trial("locked");
    let folder = world.path("run");
    fs::create_dir_all(&folder).unwrap();
    let lock = format!("{folder}/rust-ota.lock");
    let mut holder = Command::new("flock")
        .args(["-F", &lock, "sh", "-c", "echo held; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let (finalize, deadline) = finalize_and_deadline(&world);
    finalize.expect(1).says("this boot is confirmed").says("is locked");
    deadline.expect(40);
    is_confirmed(&world, "locked");
    end(&mut holder);
    fs::remove_file(lock).unwrap();
    world.ota(&["finalize"]).expect(0).says("test-board-2 runs");
}

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the device is in, and whether the deadline reboots it then.
type Deadline = (&'static str, fn(&World), bool);

#[test]
fn the_deadline_reboots_only_what_the_bootloader_counts() {
    let table: [Deadline; 12] = [
        ("a trial", |_| {}, true),
        ("confirmed", |w| w.fw_setenv("upgrade_available", "0"), false),
        ("given up by the bootloader", |w| w.fw_setenv("rollback", "1"), false),
        ("counted out", |w| w.fw_setenv("bootcount", "4"), false),
        ("the environment cannot be read", |w| fs::remove_file(w.path("uboot.env")).unwrap(), false),
        ("nothing counts here", |w| w.fragment("80-mode", "[bootloader]\nrollback_mode = none\n"), false),
        ("the earlier system runs", |w| w.reboot_into(1), false),
        ("state was lost", |w| fs::remove_dir_all(w.path("sota/rust-ota")).unwrap(), true),
        (
            "state was lost and a reboot is awaited",
            |w| {
                fs::remove_dir_all(w.path("sota/rust-ota")).unwrap();
                fs::create_dir_all(w.path("run")).unwrap();
                fs::write(w.path("run/need_reboot"), "").unwrap();
            },
            false,
        ),
        (
            "state was lost where every boot is counted",
            |w| {
                fs::remove_dir_all(w.path("sota/rust-ota")).unwrap();
                w.fragment("80-mode", "[bootloader]\nrollback_mode = uboot_generic\n");
                w.fw_setenv("upgrade_available", "0");
                w.fw_setenv("bootcount", "1");
            },
            false,
        ),
        ("nobody knows what runs", |w| w.reboot_into(9), true),
        (
            "nobody knows what runs and a reboot is awaited",
            |w| {
                w.reboot_into(9);
                fs::create_dir_all(w.path("run")).unwrap();
                fs::write(w.path("run/need_reboot"), "").unwrap();
            },
            false,
        ),
    ];
    let world = on_trial("deadline");
    let whole = world.path("whole");
    let parts = ["sota", "conf.d", "uboot.env"];
    fs::create_dir(&whole).unwrap();
    for part in parts {
        world.run("cp", &["-a", &world.path(part), &whole]);
    }
    for (title, change, reboots_then) in table {
        for part in parts {
            world.run("rm", &["-rf", &world.path(part)]);
            world.run("cp", &["-a", &format!("{whole}/{part}"), &world.path("")]);
        }
        let _ = fs::remove_dir_all(world.path("run"));
        let before = reboots(&world);
        change(&world);
        world.ota(&["deadline", "--check"]).expect(u8::from(reboots_then).into());
        assert_eq!(reboots(&world), before, "{title}: to look is not to act");
        let run = world.ota(&["deadline"]);
        assert_eq!(reboots(&world) > before, reboots_then, "{title}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.code, if reboots_then { 100 } else { 40 }, "{title}: {}", run.stderr);
    }
}

#[test]
fn any_configuration_lets_a_boot_be_confirmed_or_ended() {
    // What aktualizr reads too is a warning.
    let table: [(&str, &[u8], &str); 9] = [
        (
            "a remark behind a section",
            b"[uptane] # polling\npolling_sec = 300\n",
            ":1: the text after ] is ignored",
        ),
        ("no section's end", b"[uptane\npolling_sec = 300\n", ":1: a section has no closing ]"),
        ("no value", b"[uptane]\npolling_sec\n", ":2: neither a [section] nor key = value"),
        ("twice", b"[uptane]\npolling_sec = 1\npolling_sec = 2\n", ":3: the key is set twice"),
        ("True", b"[telemetry]\nreport_network = True\n", ":2: telemetry.report_network = True is not"),
        ("a number with a remark", b"[uptane]\npolling_sec = 300 # s\n", "uptane.polling_sec"),
        ("Latin-1", b"# Ger\xe4t\n[uptane]\npolling_sec = x\n", "uptane.polling_sec"),
        ("what counts boots is lost", b"[bootloader]\nrollback_mode = magic\n", "bootloader.rollback_mode"),
        ("no URL in the file", b"[tls]\nserver =\nserver_url_path = /dev/null\n", "tls.server_url_path"),
    ];
    let world = on_trial("any-configuration");
    for (title, text, said) in table {
        world.fw_setenv("upgrade_available", "1");
        fs::write(world.path("conf.d/60-x.toml"), text).unwrap();
        world.ota(&["deadline"]).expect(100).says(said);
        assert_eq!(reboots(&world), 1, "{title}");
        fs::remove_file(world.path("reboots")).unwrap();
        let finalize = world.ota(&["finalize"]).says(said);
        let is_fault = ["no section's end", "no value", "twice", "no URL in the file"].contains(&title);
        assert_eq!(finalize.stderr.contains("passed over"), is_fault, "{title}: {}", finalize.stderr);
        assert!([0, 40].contains(&finalize.code), "{title}: {}", finalize.stderr);
        is_confirmed(&world, title);
    }
}

#[test]
fn what_is_not_there_lets_a_boot_be_confirmed_too() {
    let world = on_trial("missing-things");
    for file in ["client.pem", "pkey.pem", "root.crt"] {
        fs::remove_file(world.path(&format!("sota/import/{file}"))).unwrap();
    }
    fs::remove_file(world.path("root.json")).unwrap();
    let more = world.path("not-there.toml");
    let mut command = world.client(&["finalize"]);
    command.args(["-c", &more]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("passed over: cannot read the configuration {more}")), "{said}");
    is_confirmed(&world, "missing things");
}

/// A service that ended would be started again only so often, and then never.
#[test]
fn a_daemon_stays_with_any_configuration_and_goes_on_when_that_is_corrected() {
    let world = on_trial("daemon-any-configuration");
    let bad = world.path("conf.d/60-x.toml");
    for (version, called) in [(3, "rust-ota"), (4, "aktualizr-lite"), (5, "aktualizr")] {
        fs::write(&bad, b"[tls\nserver = \xff\n").unwrap();
        world.fw_setenv("upgrade_available", "1");
        let program = world.path(called);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rust-ota"), &program).unwrap();
        let log = fs::File::create(world.path(&format!("{called}.log"))).unwrap();
        let mut command = Command::new(&program);
        command.args(["-c", &world.path("conf.d")]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if called != "aktualizr" {
            command.args(["daemon", "--interval", "1"]);
        }
        let mut daemon = command.spawn().unwrap();
        until(|| world.boot_variable("upgrade_available") == "0", "the boot is confirmed");
        assert!(daemon.try_wait().unwrap().is_none(), "{called} stays");
        let log = || fs::read_to_string(world.path(&format!("{called}.log"))).unwrap();
        until(|| log().contains("60-x.toml"), "the file is named");
        assert_eq!(reboots(&world), 0);
        if called != "aktualizr" {
            let next = world.release(version);
            fs::remove_file(&bad).unwrap();
            until(|| world.deployments()[0] == next, "it goes on");
            world.reboot_into(0);
        }
        end(&mut daemon);
    }
}

fn until(done: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// aktualizr-lite's command confirms with any configuration too.
#[test]
fn the_other_name_of_finalize_works_with_any_configuration() {
    let world = on_trial("lite-any-configuration");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rust-ota"), world.path("aktualizr-lite")).unwrap();
    fs::write(world.path("conf.d/60-x.toml"), b"[pacman]\ntype = debian\n[tls\n# Ger\xe4t\n").unwrap();
    for command in ["finalize", "run"] {
        world.fw_setenv("upgrade_available", "1");
        let output =
            Command::new(world.path("aktualizr-lite")).args(["-c", &world.path("conf.d"), command]).output();
        let said = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(said.contains("passed over") && said.contains("60-x.toml"), "{said}");
        is_confirmed(&world, command);
    }
}

/// It comes from elsewhere while the daemon runs.
#[test]
fn a_certificate_that_comes_late_is_used_without_a_restart() {
    let world = World::new("late-certificate");
    for file in ["client.pem", "pkey.pem"] {
        fs::rename(world.path(&format!("sota/import/{file}")), world.path(file)).unwrap();
    }
    let next = world.release(2);
    let mut daemon = world.client(&["daemon", "--interval", "1"]).stderr(Stdio::null()).spawn().unwrap();
    until(|| fs::read_to_string(world.path("sota/rust-ota/last.json")).is_ok(), "a check without it failed");
    for file in ["pkey.pem", "client.pem"] {
        fs::rename(world.path(file), world.path(&format!("sota/import/{file}"))).unwrap();
    }
    until(|| world.deployments()[0] == next, "the update came");
    end(&mut daemon);
}

/// A device that an older client updated to a system with this one, whose first start it is.
fn taken_over(name: &str) -> World {
    let world = World::new(name);
    reboots_are_noted(&world);
    fs::create_dir_all(world.path("sota")).unwrap();
    fs::write(world.path("sota/sql.db"), "").unwrap();
    world.fw_setenv("upgrade_available", "1");
    world
}

/// What is missing, and what is said of it.
type Lack = (&'static str, fn(&World), &'static str);

#[test]
fn a_client_that_cannot_act_does_not_confirm_its_first_start() {
    let table: [Lack; 7] = [
        (
            "a state that is no database",
            |w| fs::write(w.path("sota/sql.db"), "SQLite format 4").unwrap(),
            "sql.db: the old client's state cannot be read",
        ),
        (
            "no key",
            |w| fs::remove_file(w.path("sota/import/pkey.pem")).unwrap(),
            "no certificate of this device",
        ),
        (
            "a key of another kind",
            |w| fs::write(w.path("sota/import/pkey.pem"), "pkcs11:x").unwrap(),
            "pkey.pem",
        ),
        (
            "no authority",
            |w| w.fragment("80-ca", "[import]\ntls_cacert_path = /nowhere.crt\n"),
            "/nowhere.crt",
        ),
        ("no root", |w| fs::remove_file(w.path("root.json")).unwrap(), "there is no trusted root"),
        ("no server", |w| w.fragment("80-server", "[tls]\nserver = \"\"\n"), "tls.server is not set"),
        ("no configuration that parses", |w| w.fragment("80-x", "[tls]\nnonsense\n"), "80-x.toml:2: neither"),
    ];
    for (title, damage, said) in table {
        let world = taken_over("unable");
        damage(&world);
        for _ in 0..2 {
            world.ota(&["finalize"]).expect(1).says("this boot is not confirmed").says(said);
        }
        assert_eq!(world.boot_variable("upgrade_available"), "1", "{title}");
        if title != "no configuration that parses" {
            world.ota(&["status"]).expect(0).says("Not confirmed:").says(said);
        }
        world.ota(&["deadline"]).expect(100);
        assert_eq!(reboots(&world), 1, "{title}");
        // In the queue, or with the server already.
        let events = fs::read_to_string(world.path("sota/rust-ota/events.jsonl")).unwrap_or_default();
        let told = !events.is_empty() || world.requests().iter().any(|path| path == "/events");
        assert_eq!(told, title != "no server", "{title}: {events}");
    }
}

/// What another command takes over meanwhile is no word of a client that can act; and the state may lie elsewhere.
#[test]
fn a_first_start_stays_one_until_it_is_confirmed() {
    let world = World::new("unable-still");
    reboots_are_noted(&world);
    let first = world.deployments()[0].clone();
    let second = world.release(2);
    world.ota(&["update"]).expect(100);
    fs::remove_dir_all(world.path("sota/rust-ota")).unwrap();
    let facts = serde_json::json!({"device_id": "device-1", "registered": 0, "ecus": [["serial-7", "test-board"]], "versions": [
        {"sha256": first, "name": "test-board-1", "is_current": 1, "was_installed": 1},
        {"sha256": second, "name": "test-board-2", "is_pending": 1, "correlation_id": "2-x"},
    ]});
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/old_client.py");
    world.run("python3", &[script, &world.path("sota/old.db"), &facts.to_string()]);
    world.fragment("80-old", "[storage]\nsqldb_path = old.db\n");
    let (key, aside) = (world.path("sota/import/pkey.pem"), world.path("pkey.pem"));
    fs::rename(&key, &aside).unwrap();
    world.reboot_into(0);
    for command in ["check", "update", "report", "check"] {
        world.ota(&["finalize"]).expect(1).says("this boot is not confirmed");
        world.ota(&[command]);
        assert_eq!(world.boot_variable("upgrade_available"), "1", "{command}");
    }
    fs::rename(&aside, &key).unwrap();
    world.ota(&["finalize"]).expect(0);
    is_confirmed(&world, "the key is back");
}

#[test]
fn a_client_that_can_act_confirms_its_first_start() {
    let world = taken_over("able");
    world.ota(&["finalize"]).expect(0);
    is_confirmed(&world, "able");
    // What it lacks later is no reason any more to go back.
    world.fw_setenv("upgrade_available", "0");
    fs::remove_file(world.path("sota/import/pkey.pem")).unwrap();
    world.ota(&["finalize"]).expect(40);
}

#[test]
fn a_trial_that_has_not_begun_is_not_confirmed_by_a_state_that_was_lost() {
    let world = World::new("lost-before-its-reboot");
    world.release(2);
    world.ota(&["update"]).expect(100);
    fs::remove_dir_all(world.path("sota/rust-ota")).unwrap();
    world.ota(&["finalize"]).expect(40);
    assert_eq!(world.boot_variable("upgrade_available"), "1", "it boots on trial");
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    assert_eq!(world.boot_variable("upgrade_available"), "0");
}

/// /var was put back to what it held before the update that runs, as by a restored backup or a tmpfs that went.
#[test]
fn state_that_is_older_than_the_system_stops_nothing() {
    let world = World::new("older-state");
    world.release(2);
    let mut kept = Vec::new();
    for stage in ["check", "download", "install"] {
        let folder = world.path(&format!("before-{stage}"));
        world.run("cp", &["-a", &world.path("sota"), &folder]);
        kept.push(folder);
        world.ota(&[stage]);
    }
    kept.push(world.path("before-finalize"));
    world.run("cp", &["-a", &world.path("sota"), &world.path("before-finalize")]);
    world.reboot_into(0);
    world.ota(&["finalize"]).expect(0);
    for folder in kept {
        world.run("rm", &["-rf", &world.path("sota")]);
        world.run("cp", &["-a", &folder, &world.path("sota")]);
        let _ = fs::remove_dir_all(world.path("run"));
        world.ota(&["status"]).expect(0);
        let finalize = world.ota(&["finalize"]);
        assert!([0, 40].contains(&finalize.code), "{folder}: {}", finalize.stderr);
        world.ota(&["update"]).expect(0);
        let status = world.ota(&["status", "--json"]).expect(0).json();
        assert_eq!(status["current"]["name"], "test-board-2", "{folder}");
        assert_eq!(
            (&status["pending"], &status["known_bad"]),
            (&serde_json::Value::Null, &serde_json::json!([])),
            "{folder}"
        );
    }
}
