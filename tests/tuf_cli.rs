//! `rust-ota tuf` as a process, against servers that fail or lie in every way.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod tuf_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tuf_common::{Client, Server, Trouble, folder, python};

/// A repository by python-tuf, made once: two states of it, the second with new versions of all roles.
fn states() -> &'static Path {
    static STATES: OnceLock<PathBuf> = OnceLock::new();
    STATES.get_or_init(|| {
        // Some test runners give each test a process of its own, all at the same time.
        let out = folder(&format!("states-{}", std::process::id()));
        python::run("tuf_states.py", &[out.to_str().unwrap()]);
        out
    })
}

/// A server with a copy of one state, and a client that trusts the first root.
fn world(name: &str, state: &str) -> (Server, Client) {
    let states = states();
    let folder = folder(name);
    let server = Server::new(&folder.join("server"));
    serve(&server, state);
    let client = Client::new(&folder, &server);
    client.init(&states.join("one/metadata/1.root.json")).ok();
    assert_eq!(server.requests(), Vec::<String>::new());
    (server, client)
}

fn serve(server: &Server, state: &str) {
    let _ = fs::remove_dir_all(&server.folder);
    copy(&states().join(state), &server.folder);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn versions(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(name, version)| (format!("{name}.json"), *version)).collect()
}

const ONE: [(&str, u64); 4] = [("root", 1), ("timestamp", 1), ("snapshot", 1), ("targets", 1)];
const TWO: [(&str, u64); 4] = [("root", 2), ("timestamp", 2), ("snapshot", 2), ("targets", 2)];

#[test]
fn asks_in_order_and_only_for_what_changed() {
    let (server, client) = world("order", "one");
    client.refresh().ok();
    let first = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(server.requests(), first.map(|file| format!("/metadata/{file}")));
    client.refresh().ok();
    assert_eq!(server.requests(), ["/metadata/2.root.json", "/metadata/timestamp.json"]);
    serve(&server, "two");
    client.download(&["d/file"]).ok();
    let second =
        ["2.root.json", "3.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "2.d.json"];
    let requests = server.requests();
    assert_eq!(requests[..6], second.map(|file| format!("/metadata/{file}")));
    assert!(requests[6].starts_with("/targets/d/") && requests[6].ends_with(".file"), "{}", requests[6]);
    assert_eq!(requests.len(), 7);
    client.download(&["d/file"]).ok();
    assert_eq!(server.requests(), ["/metadata/3.root.json", "/metadata/timestamp.json"]);
    assert_eq!(client.trusted(), versions(&[&TWO[..], &[("d", 2)]].concat()));
    let received = fs::read(server.folder.join("metadata/2.targets.json")).unwrap();
    assert_eq!(fs::read(client.metadata_dir.join("targets.json")).unwrap(), received);
}

#[test]
fn options_stand_in_any_order_and_with_equals_signs() {
    let (server, client) = world("options", "one");
    let url = format!("--metadata-url={}/metadata/", server.url);
    client.run(&[&url, "refresh"]).ok();
    client.run(&["refresh"]).fails("--metadata-url");
    client.run(&[&url, "download"]).fails("--target-base-url");
    client.run(&[&url, "no-such-command"]).fails("no-such-command");
    client.run(&["--no-such-option", "refresh"]).fails("no-such-option");
    client.run(&["--metadata-url", "ftp://x", "refresh"]).fails("ftp://x");
    client.run(&["init", "/no/such/file"]).fails("/no/such/file");
}

#[test]
fn a_first_root_that_does_not_verify_is_not_taken() {
    let (_server, client) = world("first", "one");
    let root = fs::read_to_string(states().join("one/metadata/1.root.json")).unwrap();
    for (name, text) in [
        ("unsigned", root.replacen("\"sig\": \"", "\"sig\": \"00", 1)),
        ("spoiled", root.replacen("\"version\": 1", "\"version\": 2", 1)),
        ("cut", root[..root.len() - 2].to_owned()),
        ("empty", String::new()),
    ] {
        assert_ne!(text, root);
        let file = folder("first-roots").join(name);
        fs::write(&file, text).unwrap();
        fs::remove_dir_all(&client.metadata_dir).unwrap();
        client.init(&file).fails("root.json");
        assert!(!client.metadata_dir.join("root.json").exists());
        client.refresh().fails("root.json");
        client.init(&states().join("one/metadata/1.root.json")).ok();
    }
}

#[test]
fn every_trouble_with_every_metadata_file() {
    let files = [
        ("2.root.json", ONE),
        ("3.root.json", [("root", 2), ONE[1], ONE[2], ONE[3]]),
        ("timestamp.json", [("root", 2), ONE[1], ONE[2], ONE[3]]),
        ("2.snapshot.json", [("root", 2), ("timestamp", 2), ONE[2], ONE[3]]),
        ("2.targets.json", [("root", 2), ("timestamp", 2), ("snapshot", 2), ONE[3]]),
    ];
    let troubles = [
        Trouble::Status(500),
        Trouble::Status(503),
        Trouble::Status(302),
        Trouble::Status(429),
        Trouble::Status(204),
        Trouble::Cut(0),
        Trouble::Cut(100),
        Trouble::Reset,
        Trouble::Endless,
        Trouble::Bytes(b"<html>Welcome to the hotel</html>".to_vec()),
        Trouble::Bytes(b"{}".to_vec()),
        Trouble::Bytes(vec![b'['; 60_000]),
        Trouble::Bytes(Vec::new()),
        Trouble::Bytes(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
    ];
    let (server, client) = world("troubles", "one");
    let clean = client.metadata_dir.with_extension("clean");
    client.refresh().ok();
    copy(&client.metadata_dir, &clean);
    serve(&server, "two");
    for (file, trusted) in files {
        let served = server.folder.join("metadata").join(file);
        for trouble in &troubles {
            if file == "3.root.json" && matches!(trouble, Trouble::Endless | Trouble::Cut(_)) {
                // There is no such file to be sent in part.
                fs::copy(server.folder.join("metadata/2.root.json"), &served).unwrap();
            }
            fs::remove_dir_all(&client.metadata_dir).unwrap();
            copy(&clean, &client.metadata_dir);
            server.trouble(&format!("/metadata/{file}"), trouble.clone());
            client.refresh().fails(file.trim_start_matches("2."));
            assert_eq!(client.trusted(), versions(&trusted), "{file} {trouble:?}");
            if file == "3.root.json" {
                let _ = fs::remove_file(&served);
            }
            // No trouble lasts: the next honest run ends in the new state.
            server.honest();
            client.refresh().ok();
            assert_eq!(client.trusted(), versions(&TWO), "{file} {trouble:?}");
        }
    }
}

#[test]
fn only_403_and_404_end_the_walk_of_roots() {
    for status in [403, 404] {
        let (server, client) = world("walk", "one");
        server.trouble("/metadata/2.root.json", Trouble::Status(status));
        client.refresh().ok();
    }
    for status in [400, 401, 408, 410, 418, 500, 502, 503, 504] {
        let (server, client) = world("walk", "one");
        server.trouble("/metadata/2.root.json", Trouble::Status(status));
        client.refresh().fails("2.root.json");
        assert_eq!(server.requests(), ["/metadata/2.root.json"]);
    }
}

#[test]
fn an_older_state_is_refused() {
    let (server, client) = world("rollback", "two");
    client.refresh().ok();
    serve(&server, "one");
    client.refresh().fails("timestamp.json");
    assert_eq!(client.trusted(), versions(&TWO));
}

#[test]
fn every_trouble_with_a_target_leaves_no_file() {
    let (server, client) = world("target", "two");
    client.download(&["file"]).ok();
    let path = server.requests().pop().unwrap();
    let content = client.files();
    fs::remove_dir_all(&client.target_dir).unwrap();
    let mut other = content[0].clone();
    other[0] ^= 1;
    for trouble in [
        Trouble::Status(404),
        Trouble::Status(206),
        Trouble::Status(500),
        Trouble::Cut(0),
        Trouble::Cut(10),
        Trouble::Cut(content[0].len() - 1),
        Trouble::Reset,
        Trouble::Endless,
        Trouble::Bytes(Vec::new()),
        Trouble::Bytes(other),
        Trouble::Bytes([&content[0][..], b"x"].concat()),
        Trouble::Bytes(content[0][1..].to_vec()),
    ] {
        server.trouble(&path, trouble.clone());
        client.download(&["file"]).fails("file");
        assert_eq!(client.files(), Vec::<Vec<u8>>::new(), "{trouble:?}");
    }
    server.honest();
    client.download(&["file"]).ok();
    assert_eq!(client.files(), content);
    // What is there stays, whatever the server says; what was spoiled on disk is fetched again.
    server.trouble(&path, Trouble::Status(500));
    client.download(&["file"]).ok();
    let file = fs::read_dir(&client.target_dir).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, vec![b'x'; content[0].len()]).unwrap();
    client.download(&["file"]).fails("500");
    server.honest();
    client.download(&["file"]).ok();
    assert_eq!(client.files(), content);
}

#[test]
fn several_targets_stop_at_the_first_that_fails() {
    let (server, client) = world("several", "two");
    client.download(&["file", "file", "no such Target", "d/file"]).fails("no such Target");
    assert_eq!(client.files().len(), 1);
    let fetched: Vec<_> =
        server.requests().into_iter().filter(|path| path.starts_with("/targets/")).collect();
    assert_eq!(fetched.len(), 1);
    client.download(&["file", "d/file", "empty"]).ok();
    assert_eq!(client.files().len(), 3);
}

#[test]
fn a_target_name_never_leaves_the_folder() {
    let (_server, client) = world("names", "two");
    for name in ["../escape", "..", "/absolute", "a/../../b", ".hidden"] {
        client.download(&[name]).ok();
    }
    assert_eq!(client.files().len(), 5);
    let parent = client.target_dir.parent().unwrap();
    let names: Vec<_> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}
