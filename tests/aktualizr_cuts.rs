//! A kill before and after each change on disk, one after the other, of each stage of a Director's update: whatever is left,
//! the same steps again end in the same state as no kill.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::process::ExitStatusExt;

use aktualizr_common::again::{copy, ended_back, ended_well, read, restore, still_running};
use aktualizr_common::{World, aktualizr, assign, client, device, events, release, results};

/// Runs a mode that dies at the point of this number; false when it lived to its end.
fn cut(world: &World, mode: &[&str], number: u32) -> bool {
    let mut command = client(world, "aktualizr", mode);
    let output = command.env("RUST_OTA_CUT_AT", number.to_string()).output().unwrap();
    match output.status.signal() {
        Some(signal) => assert_eq!(signal, 9),
        None => assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout)),
    }
    output.status.signal().is_some()
}

/// Goes through all numbers of one mode from the same state; gives how many points there are.
fn through_all(world: &World, mode: &[&str], running: impl Fn(&World), end: impl Fn(&World, &str)) -> u32 {
    copy(world, ".", "saved");
    let mut number = 1;
    loop {
        running(world);
        let killed = cut(world, mode, number);
        running(world);
        end(world, &format!("{}, cut at point {number}", mode[0]));
        if !killed {
            break;
        }
        restore(world);
        number += 1;
        assert!(number < 100, "it never ends");
    }
    assert!(number > 2, "nothing was cut");
    println!("{}: {} points", mode[0], number - 1);
    number - 1
}

/// A device that knows itself, and a Director that assigns version 2; then some modes.
fn assigned(name: &str, before: &[&str]) -> (World, String) {
    let world = device(name);
    aktualizr(&world, &["check"]).expect(0);
    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    for mode in before {
        match *mode {
            "reboot" => world.reboot_into(0),
            "roll back" => world.roll_back(),
            mode => drop(aktualizr(&world, &[mode]).expect(0)),
        }
    }
    (world, commit)
}

/// Goes through all numbers of one stage of an update that comes up.
fn each_cut(name: &str, before: &[&str], stage: &str, rest: &[&str]) {
    let (world, commit) = assigned(name, before);
    let booted = before.contains(&"reboot");
    let running = |world: &World| {
        if !booted {
            still_running(world);
        }
    };
    through_all(&world, &[stage], running, |world, stage| finish(world, &commit, booted, rest, stage));
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
    while cut(&world, &["check"], number) {
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

fn withdraw(world: &World) {
    world.ota_repo(&["director", "withdraw", &world.path("ota"), "--device", "device-1"]);
}

/// Runs a mode; the index of what runs may move in it, so the bed says it again.
fn again(world: &World, mode: &str) {
    still_running(world);
    aktualizr(world, &[mode]).expect(0);
    still_running(world);
}

#[test]
fn cut_in_what_was_withdrawn_after_its_download() {
    let (world, _) = assigned("ak-cut-withdrawn", &["download"]);
    let old = world.deployments()[0].clone();
    withdraw(&world);
    through_all(&world, &["once"], still_running, |world, stage| {
        again(world, "once");
        ended_back(world, &old, &[], stage);
    });
    assign(&world, 2, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
}

/// Whichever mode comes after the kill, the same is told: the update was taken back.
#[test]
fn cut_in_taking_back() {
    let (world, _) = assigned("ak-cut-taking-back", &["once"]);
    let old = world.deployments()[1].clone();
    still_running(&world);
    withdraw(&world);
    let cancelled = [("c-2", "OPERATION_CANCELLED")];
    for after in ["once", "check"] {
        through_all(&world, &["once"], still_running, |world, stage| {
            again(world, after);
            again(world, "once");
            again(world, "once");
            ended_back(world, &old, &cancelled, &format!("{stage}, then {after}"));
        });
        restore(&world);
    }
    again(&world, "once");
    again(&world, "once");
    assign(&world, 2, "c-3");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
}

/// The device is switched off and on by the kill, so that the mark of a reboot that is awaited is gone too.
#[test]
fn cut_in_taking_back_by_a_power_cut() {
    let (world, _) = assigned("ak-cut-taking-back-power", &["once"]);
    let old = world.deployments()[1].clone();
    still_running(&world);
    withdraw(&world);
    through_all(&world, &["once"], still_running, |world, stage| {
        // What the bootloader starts is what stands first: where that is the new system still, it came up before
        // anybody could take it back.
        world.reboot_into(0);
        let came_up = world.deployments()[0] != old;
        aktualizr(world, &["once"]).expect(0);
        aktualizr(world, &["once"]).expect(0);
        if came_up {
            // It is told what it came to, and not what was meant to become of it.
            let told = results(world);
            assert!(told.len() == 1 && told[0]["result"]["code"] == "OK", "{stage}: {told:?}");
            assert_eq!(read(world, "installed.json")["current"]["name"], "test-board-2", "{stage}");
            assert_eq!(world.boot_variable("upgrade_available"), "0", "{stage}");
        } else {
            ended_back(world, &old, &[("c-2", "OPERATION_CANCELLED")], stage);
        }
    });
}

/// Through the run after a boot that the new system did not survive.
fn each_cut_after_a_rollback(name: &str, mode: &str, roll_back: impl Fn(&World)) {
    let (world, _) = assigned(name, &["once"]);
    let old = world.deployments()[1].clone();
    roll_back(&world);
    through_all(&world, &[mode], still_running, |world, stage| {
        again(world, "check");
        again(world, "once");
        ended_back(world, &old, &[("c-2", "test-board:INSTALL_FAILED")], stage);
        let bad = read(world, "installed.json")["known_bad"][0].clone();
        assert_eq!((&bad["target"]["name"], &bad["count"]), (&"test-board-2".into(), &1.into()), "{stage}");
    });
}

#[test]
fn cut_in_the_report_of_a_rollback() {
    each_cut_after_a_rollback("ak-cut-rollback", "once", World::roll_back);
    each_cut_after_a_rollback("ak-cut-rollback-check", "check", World::roll_back);
}

/// Nobody but the deployments themselves says that the new system failed.
#[test]
fn cut_in_the_report_of_a_rollback_that_the_bootloader_has_no_record_of() {
    each_cut_after_a_rollback("ak-cut-passed-by", "once", |world| {
        world.pass_by();
        aktualizr(world, &["check"]).expect(0);
        world.pass_by();
    });
}

/// An answer is kept or it is not; one that is kept arrives.
#[test]
fn cut_in_an_answer_to_a_campaign() {
    let world = device("ak-cut-campaign");
    aktualizr(&world, &["check"]).expect(0);
    let answer = ["campaign_accept", "--campaign-id", "c-1"];
    through_all(
        &world,
        &answer,
        |_| {},
        |world, stage| {
            let kept = world.dir.join("sota/rust-ota/events.jsonl").exists();
            let told = events(world).len();
            if told == 0 && !kept {
                aktualizr(world, &answer).expect(0);
            }
            aktualizr(world, &["check"]).expect(0);
            assert!(!world.dir.join("sota/rust-ota/events.jsonl").exists(), "{stage}");
            let told = events(world);
            assert!(
                (1..=2).contains(&told.len()) && told.iter().all(|e| e == "campaign_accepted"),
                "{stage}: {told:?}"
            );
        },
    );
}
