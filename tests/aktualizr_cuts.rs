//! A kill before and after each change on disk, one after the other, of each stage of a Director's update: whatever is left,
//! the same steps again end in the same state as no kill.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::process::ExitStatusExt;

use aktualizr_common::again::{copy, ended_well, read, restore, still_running};
use aktualizr_common::{World, aktualizr, assign, client, device, release};

/// Runs a mode that dies at the point of this number; false when it lived to its end.
fn cut(world: &World, mode: &str, number: u32) -> bool {
    let mut command = client(world, "aktualizr", &[mode]);
    let output = command.env("RUST_OTA_CUT_AT", number.to_string()).output().unwrap();
    match output.status.signal() {
        Some(signal) => assert_eq!(signal, 9),
        None => assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout)),
    }
    output.status.signal().is_some()
}

/// Goes through all numbers of one stage.
fn each_cut(name: &str, before: &[&str], stage: &str, rest: &[&str]) {
    let world = device(name);
    aktualizr(&world, &["check"]).expect(0);
    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    for mode in before {
        match *mode {
            "reboot" => world.reboot_into(0),
            mode => drop(aktualizr(&world, &[mode]).expect(0)),
        }
    }
    copy(&world, ".", "saved");
    let booted = before.contains(&"reboot");
    let mut number = 1;
    loop {
        if !booted {
            still_running(&world);
        }
        let killed = cut(&world, stage, number);
        if !booted {
            still_running(&world);
        }
        finish(&world, &commit, booted, rest, &format!("{stage}, cut at point {number}"));
        if !killed {
            break;
        }
        restore(&world);
        number += 1;
        assert!(number < 100, "it never ends");
    }
    assert!(number > 2, "nothing was cut");
    println!("{stage}: {} points", number - 1);
}

/// The rest of the update.
fn finish(world: &World, commit: &str, booted: bool, rest: &[&str], stage: &str) {
    for mode in rest {
        if *mode == "reboot" {
            world.reboot_into(0);
            break;
        }
        if !booted {
            still_running(world);
        }
        aktualizr(world, &[mode]).expect(0);
    }
    aktualizr(world, &["once"]).expect(0);
    ended_well(world, commit, stage);
}

#[test]
fn cut_in_download() {
    each_cut("ak-cut-download", &[], "download", &["download", "install", "reboot"]);
}

#[test]
fn cut_in_install() {
    each_cut("ak-cut-install", &["download"], "install", &["install", "reboot"]);
}

#[test]
fn cut_in_the_report_after_the_boot() {
    each_cut("ak-cut-report", &["once", "reboot"], "once", &["once"]);
}

/// Registration, with the server's memory of it: from nothing to known.
#[test]
fn cut_in_the_first_run() {
    let world = device("ak-cut-first");
    copy(&world, ".", "saved");
    let mut number = 1;
    while cut(&world, "check", number) {
        aktualizr(&world, &["check"]).expect(0);
        assert!(read(&world, "ecu.json")["registered"].is_string(), "point {number}");
        let key = fs::metadata(world.dir.join("sota/rust-ota/ecu-key.pem")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
        aktualizr(&world, &["check"]).expect(0);
        restore(&world);
        number += 1;
        assert!(number < 100, "it never ends");
    }
    assert!(number > 5, "{number}");
}
