//! A golden output for each reason: `tests/golden/explain-NAME.txt`, written by `UPDATE_GOLDEN=1`.

use super::*;
use crate::decide::{Facts, Policy, Target, reason, visible};
use crate::store::{Installed, KnownBad, Pending};
use crate::tuf::Time;

const NOW: Time = Time(1_800_000_000);

fn target(version: i64) -> Target {
    Target {
        name: format!("board-{version}"),
        version,
        commit: format!("{version:064x}"),
        hardware_ids: vec!["board".into()],
        tags: vec!["main".into()],
        apps: Default::default(),
        delta_stats: None,
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
        let answer = reason(&facts, &policy.decide(&facts, &offered, request));
        golden(name, &text(&answer, &evidence(facts, &offered, request)));
    }
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
