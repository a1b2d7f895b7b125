//! A golden output for each reason: `tests/golden/explain-NAME.txt`, written by `UPDATE_GOLDEN=1`.

use super::*;
use crate::agent::AgentError;
use crate::agent::director::Assignment;
use crate::decide::{Facts, Plan, Policy, Target, reason, visible};
use crate::payload::ostree::OstreeError;
use crate::store::{Installed, KnownBad, Pending, Stage};

const NOW: Time = Time(1_800_000_000);

fn target(version: i64) -> Target {
    Target {
        name: format!("board-{version}"),
        version,
        commit: format!("{version:064x}"),
        hardware_ids: vec!["board".into()],
        tags: vec!["main".into()],
        apps: Default::default(),
        sources: Default::default(),
        delta_stats: None,
        deltas: Default::default(),
    }
}

fn facts(booted: i64) -> Facts {
    let current = Some(target(booted).record());
    Facts {
        hardware_id: "board".into(),
        tags: vec!["main".into()],
        booted: Some(target(booted).commit),
        current: current.clone(),
        installed: Installed { current, ..Installed::default() },
    }
}

fn bad(version: i64, count: u32) -> KnownBad {
    let reason = "the bootloader rolled back".into();
    KnownBad { target: target(version).record(), reason, since: 1_799_000_000, count }
}

fn evidence(facts: Facts, offered: &[Target], request: Request<'_>) -> Evidence {
    let day = 86_400;
    Evidence {
        visible: visible(&facts, offered).into_iter().cloned().collect(),
        hidden: crate::agent::hidden(&facts, offered, request),
        facts: Ok(facts),
        assigned: Ok(Vec::new()),
        last: None,
        roles: vec![
            ("root".into(), 1, Time(NOW.0 + 365 * day)),
            ("timestamp".into(), 7, Time(NOW.0 + 7 * day)),
        ],
        clock: NOW,
        now: NOW,
        space: Some((250_000_000, 30_000_000)),
    }
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/explain-{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{path}; UPDATE_GOLDEN=1 writes it");
}

#[test]
fn each_reason_has_its_golden_output() {
    let with_bad = |facts: Facts, bad: Vec<KnownBad>| Facts {
        installed: Installed { known_bad: bad, ..facts.installed.clone() },
        ..facts
    };
    let pending = |facts: Facts| {
        let pending = Pending {
            target: target(3).record(),
            since: 1_799_990_000,
            correlation_id: String::new(),
            passed_by: false,
        };
        Facts { installed: Installed { pending: Some(pending), ..facts.installed.clone() }, ..facts }
    };
    let back = |facts: Facts| Facts {
        installed: Installed { previous: Some(target(2).record()), ..facts.installed.clone() },
        ..facts
    };
    let unknown = Facts { booted: Some("f".repeat(64)), current: None, ..facts(2) };
    let other_board = Target { hardware_ids: vec!["other".into()], ..target(9) };
    let other_tag = Target { tags: vec!["test".into()], ..target(8) };
    let (native, lite) = (Policy::Native, Policy::Lite { by_hand: false });
    let newest = Request::Latest;
    let table = [
        ("update", native, facts(2), vec![target(2), target(3)], newest),
        ("update-unknown", native, unknown, vec![target(3)], newest),
        ("up-to-date", native, facts(3), vec![target(2), target(3)], newest),
        ("pending", native, pending(facts(2)), vec![target(3)], newest),
        ("known-bad", native, with_bad(facts(2), vec![bad(3, 2), bad(1, 1)]), vec![target(3)], newest),
        ("older", native, facts(5), vec![target(4)], newest),
        ("none-visible", native, facts(5), vec![other_board.clone(), other_tag], newest),
        ("not-found", native, facts(2), vec![target(3), other_board], Request::Named("9")),
        ("rollback", lite, back(with_bad(facts(3), vec![bad(3, 1)])), vec![target(3)], newest),
        ("no-rollback", lite, with_bad(facts(3), vec![bad(3, 1)]), vec![target(3)], newest),
    ];
    for (name, policy, facts, offered, request) in table {
        let plan = policy.decide(&facts, &offered, request);
        let evidence = evidence(facts, &offered, request);
        golden(name, &answered(&plan, &evidence, request).0);
    }
}

fn answered(plan: &Plan, evidence: &Evidence, request: Request<'_>) -> (String, u8) {
    let reason = reason(evidence.facts.as_ref().unwrap(), plan);
    let (sentence, code) = answer::latest(Ok((plan, &reason)), evidence, request);
    (text(&sentence, evidence), code)
}

fn failed(stage: Stage, target: Option<&str>, code: u8, error: &str, failures: u32) -> Last {
    Last {
        version: 1,
        stage,
        target: target.map(str::to_string),
        when: NOW.0 - 600,
        outcome: "error".into(),
        code,
        error: Some(error.into()),
        failures,
        next_try: Some(NOW.0 + 1200),
    }
}

#[test]
fn a_failure_of_the_last_run_has_its_golden_output() {
    let network = "https://ota.example/repo/timestamp.json: no route to host";
    let check = || failed(Stage::Check, None, 13, network, 10);
    let full =
        failed(Stage::Download, Some("board-3"), 60, "/sysroot: 90.0 MB are needed, 12.0 MB are free", 2);
    let content = failed(Stage::Download, Some("board-3"), 50, "the server answered 500", 1);
    let deploy = failed(Stage::Install, Some("board-3"), 1, "/boot: no space left on device", 10);
    let engine = failed(Stage::Install, Some("board-3"), 1, "the engine does not answer", 20);
    let etc =
        OstreeError::Etc { path: "/etc/app".into(), reason: "is a file here, and a folder there".into() };
    let etc = failed(Stage::Download, Some("board-3"), 1, &etc.to_string(), 2);
    let other = failed(Stage::Install, Some("board-1"), 1, "something of yesterday", 1);
    let table = [
        ("check-fails-up-to-date", facts(3), check(), 13),
        ("check-fails-update", facts(2), check(), 13),
        ("check-fails-older", facts(5), check(), 13),
        ("disk-full", facts(2), full, 60),
        ("download-fails", facts(2), content, 50),
        ("install-fails", facts(2), deploy, 1),
        ("etc-conflict", facts(2), etc, 1),
        ("engine-fails", facts(2), engine, 1),
        ("failure-of-another", facts(2), other, 0),
    ];
    for (name, facts, last, expected) in table {
        let offered = [target(2), target(3)];
        let plan = Policy::Native.decide(&facts, &offered, Request::Latest);
        let evidence = Evidence { last: Some(last), ..evidence(facts, &offered, Request::Latest) };
        let (text, code) = answered(&plan, &evidence, Request::Latest);
        golden(name, &text);
        assert_eq!(code, expected, "{name}");
        assert!(
            !text.starts_with("Up to date") && (expected == 0 || !text.starts_with("Updating")),
            "{name}"
        );
    }
}

#[test]
fn a_target_that_is_named_is_what_the_answer_is_about() {
    let offered =
        [target(1), target(2), target(3), Target { hardware_ids: vec!["other".into()], ..target(9) }];
    let with_bad = Installed { known_bad: vec![bad(3, 2)], ..facts(2).installed };
    let pending =
        Pending { target: target(3).record(), since: 0, correlation_id: String::new(), passed_by: false };
    let pending = Installed { pending: Some(pending), ..facts(2).installed };
    let of = |installed: Installed| Facts { installed, ..facts(2) };
    let table = [
        ("named-older", facts(2), "1", "board-1 is older than board-2"),
        ("named-runs", facts(2), "board-2", "board-2 runs"),
        ("named-newest", facts(2), "3", "Updating from board-2 to board-3"),
        ("named-not-newest", facts(1), "2", "board-2 is not the newest Target for this device, board-3 is"),
        ("named-other-board", facts(2), "9", "board-9 is not for this device: it is for hardware id other"),
        ("named-unknown", facts(2), "77", "No visible Target has the name or version 77"),
        ("named-bad", of(with_bad), "3", "board-3 is known to be bad"),
        ("named-beside-pending", of(pending.clone()), "1", "board-1 is not installed while board-3 waits"),
        ("named-pending", of(pending), "3", "board-3 is installed and waits"),
    ];
    for (name, facts, wanted, start) in table {
        let request = Request::Named(wanted);
        let plan = Policy::Native.decide(&facts, &offered, request);
        let (text, _) = answered(&plan, &evidence(facts, &offered, request), request);
        assert!(text.starts_with(start), "{name}: {text}");
        golden(name, &text);
    }
}

#[test]
fn with_a_director_it_speaks_of_the_assignment() {
    let record = target(3).record();
    let on = |assignment: Assignment| vec![("serial-1".to_string(), assignment)];
    let second = || {
        vec![
            ("serial-1".to_string(), Assignment::Nothing),
            ("lamp".to_string(), Assignment::Due(target(3).record())),
        ]
    };
    let check = || Some(failed(Stage::Check, None, 13, "https://ota.example/director: no route to host", 3));
    let full = Some(failed(Stage::Download, Some("board-3"), 60, "/sysroot: 90.0 MB are needed", 2));
    let deploy = Some(failed(Stage::Install, Some("board-3"), 1, "/boot: no space left on device", 10));
    let wrong = Some(failed(Stage::Install, Some("board-3"), 1, "Wrong version booted", 1));
    let newest = Request::Latest;
    let table = [
        ("nothing", on(Assignment::Nothing), None, newest),
        ("runs", on(Assignment::Runs(record.name.clone())), None, newest),
        ("due", on(Assignment::Due(record.clone())), None, newest),
        ("pending", on(Assignment::Pending(record.clone())), None, newest),
        ("failed", on(Assignment::Failed(record.clone())), wrong, newest),
        ("unfit", on(Assignment::Unfit(record.clone())), None, newest),
        ("check-fails", on(Assignment::Runs(record.name.clone())), check(), newest),
        ("disk-full", on(Assignment::Due(record.clone())), full, newest),
        ("install-fails", on(Assignment::Due(record.clone())), deploy, newest),
        ("secondary", second(), None, newest),
        ("named", on(Assignment::Due(record)), None, Request::Named("board-9")),
    ];
    for (name, assigned, last, request) in table {
        let evidence = Evidence { last, assigned: Ok(assigned), ..evidence(facts(2), &[], newest) };
        let (sentence, code) = answer::directed(evidence.assigned.as_deref(), &evidence, request);
        golden(&format!("director-{name}"), &text(&sentence, &evidence));
        let failing = ["check-fails", "disk-full", "install-fails"].contains(&name);
        assert_eq!(code != 0, failing, "{name}: {code}");
    }
    let unasked = Evidence { last: check(), ..evidence(facts(2), &[], newest) };
    let (sentence, code) = answer::directed(Err(&AgentError::NotChecked), &unasked, newest);
    golden("director-never-asked", &text(&sentence, &unasked));
    assert_eq!(code, 1);
}

#[test]
fn trouble_has_its_golden_output_too() {
    let early = Evidence {
        clock: Time(0),
        roles: vec![("timestamp".into(), 7, Time(NOW.0 - 1))],
        space: None,
        ..evidence(facts(2), &[target(2)], Request::Latest)
    };
    golden("expired", &text("timestamp.json has expired", &early));
    let nothing = Evidence {
        facts: Err("no sysroot".into()),
        roles: vec![],
        ..evidence(facts(2), &[], Request::Latest)
    };
    golden("nothing-known", &text("run check first", &nothing));
}
