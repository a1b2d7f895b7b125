//! What a signer, a server or a boot environment says is shown, and moves no cursor, forges no line and hides nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "common/python.rs"]
mod python;

mod lite_common;

use std::fs;

use lite_common::{HARDWARE_ID, Run, World, as_lite, lite};
use serde_json::{Value, json};

/// Clears the screen, forges a line, turns the text round, hides a letter, starts a sequence by one byte, goes back.
const EVIL: &str = "\u{1b}[2J\nKnown bad:    nothing\u{202e}\u{2066}\u{200b}\u{9b}31m\r\u{8}\u{7f}";

fn world() -> World {
    let world = World::without_server("terminal");
    fs::create_dir_all(world.path("ota")).unwrap();
    world.run("ostree", &["init", "--mode=archive", &format!("--repo={}", world.path("ota/treehub"))]);
    world.commit(2, &[]);
    let target = |version: u32| {
        let branch = format!("test/{version}");
        let repo = format!("--repo={}", world.path("ota/treehub"));
        world.run("ostree", &[&repo, "pull-local", &world.path("build"), &branch]);
        let commit = world.run("ostree", &[&repo, "rev-parse", &branch]);
        let apps =
            json!({format!("web{EVIL}"): {"uri": format!("hub.example/f/web{EVIL}@sha256:{version:064}")}});
        json!({"commit": commit.trim(), "custom": {
            "name": format!("test-board{EVIL}"), "version": version.to_string(), "hardwareIds": [HARDWARE_ID],
            "tags": ["main"], "targetFormat": "OSTREE", "docker_compose_apps": apps}})
    };
    let targets = json!({format!("board{EVIL}-1"): target(1), format!("board{EVIL}-2"): target(2)});
    let step = json!({"version": 1, "targets": targets});
    python::run("sign.py", &[&world.path("ota/repo"), &world.path("signer"), &step.to_string()]);
    as_lite(world.serving())
}

#[track_caller]
fn harmless(run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        let bad = text
            .chars()
            .find(|c| c.is_control() && !"\n\t".contains(*c) || "\u{202e}\u{2066}\u{200b}".contains(*c));
        assert_eq!(bad, None, "{text:?}");
        let forged = text.lines().any(|line| line.starts_with("Known bad:    nothing"));
        assert!(!forged, "{text}");
    }
}

/// The texts of a JSON, with the names of members.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|v| texts(v, found)),
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            found.push(name.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

#[test]
fn whatever_a_name_has_in_it() {
    let world = world();
    world.fw_setenv("upgrade_available", "\u{1b}[2J0");
    let lines = |run: Run| {
        harmless(&run);
        run
    };
    lines(world.ota(&["check"])).expect(16).says("Known bad:    nothing");
    for command in ["list", "status", "explain"] {
        lines(world.ota(&[command]));
        lines(lite(&world, &[command]));
    }
    lines(world.ota(&["download", "--dry-run"])).expect(0).says("board");
    lines(world.ota(&["explain", &format!("board{EVIL}-1")])).says("board");
    lines(world.ota(&["explain", &format!("none{EVIL}")])).says("none");
    lines(world.ota(&["download", &format!("none{EVIL}")])).expect(20);
    lines(lite(&world, &["pull", &format!("none{EVIL}")]));
    // JSON is exact, and as harmless.
    for run in [world.ota(&["list", "--json"]), lite(&world, &["list", "--json", "1"])] {
        harmless(&run);
        let mut found = Vec::new();
        texts(&run.json(), &mut found);
        let exact = |text: &str| found.iter().any(|f| f == text);
        assert!(exact(&format!("board{EVIL}-2")) && exact(&format!("web{EVIL}")), "{found:?}");
    }
    for run in [world.ota(&["status", "--json"]), lite(&world, &["status", "--json", "1"])] {
        harmless(&run);
        run.json();
    }
    // Installed, and in the state.
    lines(world.ota(&["--loglevel=0", "update"])).says("board");
    for command in ["list", "status", "explain"] {
        lines(world.ota(&[command]));
        lines(lite(&world, &[command]));
    }
    lines(world.ota(&["finalize", "--json"]));
}
