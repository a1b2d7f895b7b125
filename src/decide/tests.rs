//! The rules as tables.

use super::*;
use crate::store::{KnownBad, Pending};

fn commit(version: i64) -> String {
    format!("{version:064x}")
}

fn target(version: i64) -> Target {
    Target {
        name: format!("board-{version}"),
        version,
        commit: commit(version),
        hardware_ids: vec!["board".into()],
        tags: vec!["main".into()],
        apps: Default::default(),
        sources: Default::default(),
        delta_stats: None,
        deltas: Default::default(),
    }
}

fn facts(booted: i64) -> Facts {
    Facts {
        hardware_id: "board".into(),
        tags: vec!["main".into()],
        booted: Some(commit(booted)),
        current: Some(target(booted).record()),
        installed: Installed { current: Some(target(booted).record()), ..Installed::default() },
    }
}

fn bad(version: i64) -> KnownBad {
    KnownBad {
        target: target(version).record(),
        reason: "the bootloader rolled back".into(),
        since: 0,
        count: 1,
    }
}

fn updates_to(plan: Plan) -> Option<i64> {
    match plan {
        Plan::Update(target) => Some(target.version),
        Plan::Stay(_) => None,
    }
}

#[test]
fn the_latest_visible_target_is_taken() {
    let other_board = Target { hardware_ids: vec!["other".into()], ..target(9) };
    let two_boards = Target { hardware_ids: vec!["board".into(), "other".into()], ..target(8) };
    let other_tag = Target { tags: vec!["test".into()], ..target(7) };
    let no_tag = Target { tags: vec![], ..target(6) };
    let offered = [target(3), other_board, target(2), two_boards, other_tag, no_tag];
    assert_eq!(updates_to(decide(&facts(2), &offered, Request::Latest)), Some(3));

    let sees_all = Facts { tags: vec![], ..facts(2) };
    assert_eq!(updates_to(decide(&sees_all, &offered, Request::Latest)), Some(7));
}

#[test]
fn what_runs_is_not_installed_again_whatever_its_name() {
    let renamed = Target { name: "renamed".into(), version: 5, ..target(2) };
    let plan = decide(&facts(2), &[renamed], Request::Latest);
    assert!(matches!(plan, Plan::Stay(Stay::UpToDate(_))), "{plan:?}");
}

#[test]
fn a_known_bad_target_waits_for_a_newer_one_or_a_person() {
    let mut facts = facts(2);
    facts.installed.known_bad.push(bad(3));
    let plan = decide(&facts, &[target(2), target(3)], Request::Latest);
    assert!(matches!(plan, Plan::Stay(Stay::KnownBad { count: 1, .. })), "{plan:?}");
    assert_eq!(updates_to(decide(&facts, &[target(3), target(4)], Request::Latest)), Some(4));
    assert_eq!(updates_to(decide(&facts, &[target(3)], Request::Named("board-3"))), Some(3));
}

#[test]
fn an_older_target_needs_to_be_named() {
    let plan = decide(&facts(5), &[target(4)], Request::Latest);
    assert!(matches!(plan, Plan::Stay(Stay::Older { .. })), "{plan:?}");
    assert_eq!(updates_to(decide(&facts(5), &[target(4)], Request::Named("4"))), Some(4));
}

#[test]
fn an_unknown_booted_commit_is_updated_to_the_latest() {
    let mut unknown = Facts { booted: Some("f".repeat(64)), ..facts(9) };
    unknown.recognise(&[target(3)]);
    assert_eq!(unknown.current, None);
    assert_eq!(updates_to(decide(&unknown, &[target(3)], Request::Latest)), Some(3));
}

#[test]
fn a_flashed_device_is_recognised_by_what_the_metadata_calls_its_commit() {
    let mut flashed = Facts { installed: Installed::default(), current: None, ..facts(2) };
    flashed.recognise(&[target(1), target(2), target(3)]);
    assert_eq!(flashed.current, Some(target(2).record()));
}

#[test]
fn nothing_is_started_while_something_is_pending() {
    let mut facts = facts(2);
    facts.installed.pending = Some(Pending {
        target: target(3).record(),
        since: 0,
        correlation_id: String::new(),
        passed_by: false,
    });
    let plan = decide(&facts, &[target(4)], Request::Named("4"));
    assert!(matches!(plan, Plan::Stay(Stay::Pending(_))), "{plan:?}");
}

#[test]
fn what_is_not_there_is_said() {
    let plan = decide(&facts(2), &[], Request::Latest);
    assert_eq!(plan, Plan::Stay(Stay::NoneVisible { offered: 0 }));
    let plan = decide(&facts(2), &[target(2)], Request::Named("12abc"));
    assert_eq!(plan, Plan::Stay(Stay::NotFound("12abc".into())));
}

#[test]
fn each_reason_reads() {
    let mut with_bad = facts(2);
    with_bad.installed.known_bad.push(bad(3));
    let table: Vec<(Facts, Vec<Target>, Request<'_>, &str)> = vec![
        (facts(2), vec![target(3)], Request::Latest, "Updating from board-2 to board-3"),
        (facts(2), vec![target(2)], Request::Latest, "Up to date: board-2 is the newest Target and it runs"),
        (
            with_bad,
            vec![target(3)],
            Request::Latest,
            "board-3 is the newest Target, but it is known to be bad (the bootloader rolled back, 1 time); a newer one will be taken, or clear it with clear-failed",
        ),
        (
            facts(5),
            vec![target(4)],
            Request::Latest,
            "The newest visible Target board-4 is older than board-5, which runs; name it to go back",
        ),
        (
            facts(5),
            vec![],
            Request::Latest,
            "No Target for hardware id board and tags main among the 0 in the metadata",
        ),
        (facts(5), vec![], Request::Named("x"), "No visible Target has the name or version x"),
    ];
    for (facts, offered, request, text) in table {
        assert_eq!(reason(&facts, &decide(&facts, &offered, request)), text);
    }
}

#[test]
fn by_the_rules_of_aktualizr_lite() {
    let renamed = Target { name: "renamed".into(), version: 5, ..target(2) };
    let known_bad = |mut facts: Facts, version| {
        facts.installed.known_bad.push(bad(version));
        facts
    };
    let mut pending = facts(2);
    let record =
        Pending { target: target(3).record(), since: 0, correlation_id: String::new(), passed_by: false };
    pending.installed.pending = Some(record);
    let mut gone_bad = known_bad(facts(3), 3);
    let alone = gone_bad.clone();
    gone_bad.installed.previous = Some(target(2).record());
    let both_bad = known_bad(gone_bad.clone(), 2);
    let unknown = Facts { booted: Some("f".repeat(64)), current: None, ..facts(2) };
    let f = facts(2);
    let bad_newest = known_bad(facts(2), 3);
    let newest = Request::Latest;
    let named = Request::Named;
    // Facts, offered, request, by hand, the reason.
    let table: Vec<(&Facts, Vec<Target>, Request<'_>, bool, &str)> = vec![
        (&pending, vec![target(3)], newest, true, "board-3 is installed and waits"),
        (&pending, vec![], named("9"), true, "board-3 is installed and waits"),
        (&unknown, vec![], newest, true, "No Target for hardware id board and tags main"),
        (&unknown, vec![], named("2"), true, "No Target for hardware id"),
        (&unknown, vec![target(1)], newest, false, "Updating from an unknown Target to board-1"),
        (&unknown, vec![target(1)], named("4"), true, "No visible Target has the name or version 4"),
        (&f, vec![target(2), target(3)], newest, false, "Updating from board-2 to board-3"),
        (&f, vec![target(2)], newest, true, "Up to date: board-2"),
        (&f, vec![target(1)], newest, true, "The newest visible Target board-1 is older than board-2"),
        (&f, vec![target(1), target(2)], named("board-1"), true, "Updating from board-2 to board-1"),
        (&f, vec![renamed], newest, false, "Updating from board-2 to renamed"),
        (
            &bad_newest,
            vec![target(3)],
            newest,
            false,
            "board-3 is the newest Target, but it is known to be bad",
        ),
        (&bad_newest, vec![target(3)], newest, true, "Updating from board-2 to board-3"),
        (&bad_newest, vec![target(3)], named("3"), false, "Updating from board-2 to board-3"),
        (&gone_bad, vec![target(2), target(3)], newest, false, "Rolling back from board-3 to board-2"),
        (&gone_bad, vec![target(3)], newest, false, "Rolling back from board-3 to board-2"),
        (&gone_bad, vec![target(3), target(4)], newest, false, "Updating from board-3 to board-4"),
        (&alone, vec![target(3)], newest, false, "board-3 runs and is known to be bad, but no other"),
        (&both_bad, vec![target(3)], newest, false, "board-3 runs and is known to be bad, but no other"),
    ];
    for (facts, offered, request, by_hand, expected) in table {
        let plan = Policy::Lite { by_hand }.decide(facts, &offered, request);
        let said = reason(facts, &plan);
        assert!(said.starts_with(expected), "{said:?} is not {expected:?}");
    }
}
