//! aktualizr-get: one GET as this device, for scripts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;

use aktualizr_common::{Run, World, by_name, device};

fn get(world: &World, args: &[&str]) -> Run {
    by_name(world, "aktualizr-get", args)
}

#[test]
fn a_body_and_nothing_else_by_the_devices_certificate() {
    let world = device("ak-get");
    let url = format!("{}/director/1.root.json", world.address);
    let root = fs::read_to_string(world.dir.join("ota/director/1.root.json")).unwrap();
    for args in [&["-u", &url][..], &["--url", &url], &[&format!("--url={url}"), "-s", "Uptane"]] {
        assert_eq!(get(&world, args).expect(0).stdout, root, "{args:?}");
    }
    // The header arrives: a part of the file is not the file.
    let part = get(&world, &["-u", &url, "-H", "Range: bytes=0-3"]).expect(1);
    assert!(part.stdout.is_empty() && part.stderr.contains("answered 206"), "{part:?}");
    let absent = get(&world, &["-u", &format!("{url}.not")]).expect(1);
    assert!(absent.stdout.is_empty() && absent.stderr.contains("answered 404"), "{absent:?}");

    // The server has nothing for strangers.
    world.fragment("80-stranger", "[import]\nbase_path = /nonexistent\n[storage]\npath = /nonexistent\n");
    let stranger = get(&world, &["-u", &url]);
    assert!(stranger.code == 1 && stranger.stdout.is_empty(), "{stranger:?}");
}

#[test]
fn what_it_cannot_do_is_said() {
    let world = device("ak-get-wrong");
    for (args, problem) in [
        (&[][..], "name it with --url"),
        (&["-u", "http://127.0.0.1:1/"], "https"),
        (&["-u", "https://127.0.0.1:1/"], "https://127.0.0.1:1/"),
        (&["-u", "https://127.0.0.1:1/", "-H", "nothing"], "is not NAME: VALUE"),
        (&["-u", "https://127.0.0.1:1/", "-H", "a b: c"], "header"),
        (&["--nonsense"], "aktualizr-get --help"),
    ] {
        let run = get(&world, args).expect(1);
        assert!(run.stdout.is_empty() && run.stderr.contains(problem), "{args:?}: {run:?}");
    }
    get(&world, &["-h"]).expect(0).says("aktualizr-get");
    get(&world, &["--version"]).expect(0).says("Current aktualizr-get version is: ");
}
