//! The network cut inside each stage, at points spread over all that the server sends in it: the exit code is a documented
//! one, the next run goes on, and the end is the same as without a cut.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use aktualizr_common::again::{copy, ended_well, restore, still_running};
use aktualizr_common::line::Line;
use aktualizr_common::{World, aktualizr, assign, client, device, events, received, release};

/// Cuts in each stage.
const POINTS: i64 = 10;
const PLENTY: i64 = 1 << 40;

/// An assignment that waits, a line that can be cut, and a copy of this state.
fn waiting(name: &str, before: &[&str]) -> (World, Line, String) {
    let world = device(name);
    let line = Line::of(&world);
    aktualizr(&world, &["check"]).expect(0);
    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    for mode in before {
        aktualizr(&world, &[mode]).expect(0);
    }
    copy(&world, ".", "saved");
    (world, line, commit)
}

/// Bytes that a mode needs, from the saved state.
fn bytes_of(world: &World, line: &Line, mode: &str) -> i64 {
    line.cut_after(PLENTY);
    still_running(world);
    aktualizr(world, &[mode]).expect(0);
    let bytes = line.used_of(PLENTY);
    restore(world);
    assert!(bytes > 1000, "{bytes}");
    bytes
}

/// One mode with the line cut at each point, then the rest of an update.
fn each_cut(name: &str, before: &[&str], mode: &str, codes: &[i32], rest: &[&str]) {
    let (world, line, commit) = waiting(name, before);
    let all = bytes_of(&world, &line, mode);
    let mut seen = Vec::new();
    for point in 0..POINTS {
        let budget = all * point / POINTS;
        let what = format!("{mode}, cut after {budget} of {all} bytes");
        line.cut_after(budget);
        still_running(&world);
        let run = aktualizr(&world, &[mode, "--exit-codes"]);
        assert!(line.is_cut() && codes.contains(&run.code), "{what}: {}\n{}", run.code, run.stdout);
        seen.push(run.code);
        line.mend();
        for mode in rest {
            still_running(&world);
            aktualizr(&world, &[mode]).expect(0);
        }
        world.reboot_into(0);
        aktualizr(&world, &["once"]).expect(0);
        ended_well(&world, &commit, &what);
        restore(&world);
    }
    println!("{mode}: {seen:?}");
    // The last one is of a cut in reporting alone, which is a matter of a few bytes.
    let (_, needed) = codes.split_last().unwrap();
    assert!(needed.iter().all(|code| seen.contains(code)), "{codes:?} were expected, {seen:?} came");
}

#[test]
fn cut_in_check() {
    each_cut("ak-net-check", &[], "check", &[13, 16], &["check", "download", "install"]);
}

#[test]
fn cut_in_download() {
    each_cut("ak-net-download", &[], "download", &[13, 50, 0], &["download", "install"]);
}

#[test]
fn cut_in_once() {
    each_cut("ak-net-once", &[], "once", &[13, 50, 100], &["once"]);
}

/// Installing sends what it can and needs nothing.
#[test]
fn cut_in_install() {
    let (world, line, commit) = waiting("ak-net-install", &["download"]);
    for budget in [0, 300, 1000, 2000, 3000] {
        line.cut_after(budget);
        still_running(&world);
        aktualizr(&world, &["install", "--exit-codes"]).expect(100);
        world.reboot_into(0);
        // The report of the new boot is cut too: it is judged all the same, and told by the next one.
        aktualizr(&world, &["once", "--exit-codes"]).expect(13);
        assert_eq!(world.boot_variable("upgrade_available"), "0");
        line.mend();
        aktualizr(&world, &["once", "--exit-codes"]).expect(0);
        ended_well(&world, &commit, &format!("install, cut after {budget}"));
        restore(&world);
    }
}

#[test]
fn cut_in_the_first_run() {
    let world = device("ak-net-first");
    let line = Line::of(&world);
    copy(&world, ".", "saved");
    let all = bytes_of(&world, &line, "check");
    for point in 0..POINTS {
        line.cut_after(all * point / POINTS);
        let run = aktualizr(&world, &["check", "--exit-codes"]);
        assert!([0, 13].contains(&run.code), "point {point}: {}\n{}", run.code, run.stdout);
        line.mend();
        aktualizr(&world, &["check", "--exit-codes"]).expect(0);
        assert!(received(&world, "ecus.json").is_some() && received(&world, "manifest.json").is_some());
        restore(&world);
    }
}

/// The mode that stays goes on by itself when the line is mended.
#[test]
fn cut_in_full() {
    let (world, line, commit) = waiting("ak-net-full", &[]);
    world.fragment("70-polling", "[uptane]\npolling_sec = 1\n");
    let all = bytes_of(&world, &line, "once");
    for point in [1, POINTS / 2, POINTS - 1] {
        line.cut_after(all * point / POINTS);
        world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
        let mut child = client(&world, "aktualizr", &["full"]).stdout(Stdio::null()).spawn().unwrap();
        until("the cut", || line.is_cut());
        std::thread::sleep(Duration::from_millis(500));
        line.mend();
        until("the installation", || world.deployments().len() == 2);
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        world.reboot_into(0);
        aktualizr(&world, &["once", "--exit-codes"]).expect(0);
        ended_well(&world, &commit, &format!("full, cut at {point} of {POINTS}"));
        restore(&world);
    }
}

#[test]
fn cut_in_the_campaign_modes() {
    let world = device("ak-net-campaign");
    let list = r#"[{"id":"c-1","name":"Winter","size":1,"autoAccept":false,"metadata":[]}]"#;
    fs::write(world.dir.join("ota/campaigns.json"), list).unwrap();
    let line = Line::of(&world);
    line.cut_after(PLENTY);
    aktualizr(&world, &["campaign_check"]).expect(0).says("Campaign: Winter");
    let all = line.used_of(PLENTY);
    for point in 0..POINTS {
        line.cut_after(all * point / POINTS);
        let run = aktualizr(&world, &["campaign_check", "--exit-codes"]);
        assert!([0, 13].contains(&run.code), "point {point}: {}\n{}", run.code, run.stdout);
        line.mend();
        aktualizr(&world, &["campaign_check", "--exit-codes"]).expect(0).says("Campaign id: c-1");
    }
    // An answer is kept, whatever becomes of the line, and the server has each of them once in the end.
    for point in 0..POINTS {
        line.cut_after(all * point / POINTS);
        aktualizr(&world, &["campaign_accept", "--campaign-id", "c-1", "--exit-codes"]).expect(0);
        line.mend();
        aktualizr(&world, &["check", "--exit-codes"]).expect(0);
        assert_eq!(events(&world).len() as i64, point + 1, "{:?}", events(&world));
    }
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
