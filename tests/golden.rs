//! What the native commands print, as files in tests/golden.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{World, golden};
use serde_json::{Value, json};

/// The same JSON without what is new in each run.
fn settled(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    if value["pending"].is_object() {
        value["pending"]["since"] = json!(0);
        value["pending"]["correlation_id"] = json!("2-<id>");
    }
    if value["certificate_expires"].is_string() {
        value["certificate_expires"] = json!("<date>");
    }
    if value["last"].is_object() {
        value["last"]["when"] = json!(0);
    }
    for bad in value["known_bad"].as_array_mut().into_iter().flatten() {
        bad["since"] = json!(0);
    }
    format!("{value:#}\n")
}

/// The answer of `explain` and what is the same in each run.
fn answer(text: &str) -> String {
    let times = ["Metadata:", "Clock:", "Free space:"];
    let text = timeless(text);
    let lines = text.lines().filter(|l| !times.iter().any(|t| l.starts_with(t)));
    let line =
        |l: &str| l.split(" since 2").next().unwrap_or(l).split(", last 2").next().unwrap_or(l).to_string();
    lines.map(|l| format!("{}\n", line(l))).collect()
}

/// The same without the time of the last run.
fn timeless(text: &str) -> String {
    let since = |l: &str| l.split(" (since 2").next().unwrap_or(l).to_string();
    let last = |l: &str| match l
        .split_once(", last 2")
        .and_then(|(head, rest)| Some((head, rest.split_once(": ")?.1)))
    {
        Some((head, error)) if l.starts_with("Last run:") => format!("{head}: {error}"),
        _ => since(l),
    };
    text.lines().map(|l| format!("{}\n", last(l))).collect()
}

#[test]
fn from_check_to_a_rollback() {
    let world = World::new("golden");
    world.ota(&["explain"]).expect(1).says("run check first").says("Metadata:    none is stored");
    let first = world.deployments()[0].clone();
    let second = world.release(2);
    let commits = [first.as_str(), second.as_str()];
    for command in ["check", "list"] {
        let code = if command == "check" { 16 } else { 0 };
        golden("native-check.txt", &world.ota(&[command]).expect(code).stdout, &commits);
        golden("native-check.json", &world.ota(&[command, "--json"]).expect(code).stdout, &commits);
    }
    golden("native-status.txt", &timeless(&world.ota(&["status"]).expect(0).stdout), &commits);
    golden("native-status.json", &settled(&world.ota(&["status", "--json"]).expect(0).stdout), &commits);
    golden("native-explain.txt", &answer(&world.ota(&["explain"]).expect(0).stdout), &commits);

    world.ota(&["update"]).expect(100);
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 1\n");
    golden("native-status-pending.txt", &timeless(&world.ota(&["status"]).expect(0).stdout), &commits);
    let pending = settled(&world.ota(&["status", "--json"]).expect(0).stdout);
    golden("native-status-pending.json", &pending, &commits);
    golden("native-explain-pending.txt", &answer(&world.ota(&["explain"]).expect(0).stdout), &commits);

    world.roll_back();
    world.ota(&["finalize"]).expect(110);
    world.reboot_into(0);
    golden("native-status-bad.txt", &timeless(&world.ota(&["status"]).expect(0).stdout), &commits);
    golden("native-status-bad.json", &settled(&world.ota(&["status", "--json"]).expect(0).stdout), &commits);
    golden("native-explain-bad.txt", &answer(&world.ota(&["explain"]).expect(0).stdout), &commits);
    golden("native-list-bad.json", &world.ota(&["list", "--json"]).expect(0).stdout, &commits);
    world.ota(&["explain", "9"]).expect(0).says("No visible Target has the name or version 9");
    world.ota(&["explain", "2"]).expect(0).says("test-board-2 is known to be bad");
}

#[test]
fn metadata_that_has_expired_is_shown_with_the_clock() {
    let world = World::without_server("golden-expired");
    world.ota_repo(&["init", &world.path("ota"), "--expires", "timestamp=15s"]);
    world.publish(1, "main");
    let world = world.serving();
    world.ota(&["check"]).expect(0);
    let mut explained = world.ota(&["explain"]);
    for _ in 0..60 {
        if explained.code != 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        explained = world.ota(&["explain"]);
    }
    explained.expect(12).says("timestamp.json").says("timestamp 2, expired 2");
}
