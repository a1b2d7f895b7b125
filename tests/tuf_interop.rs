//! Against python-tuf, securesystemslib and openssl's RSA: metadata that others made is read as they meant it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod tuf_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rust_ota::tuf::canonical::{Canonical, Form};
use rust_ota::tuf::from_hex;
use serde::Deserialize;
use tuf_common::{Client, Server, folder, python};

#[derive(Deserialize)]
struct Expect {
    targets: BTreeMap<String, Option<String>>,
}

#[test]
fn canonical_forms_are_those_of_python() {
    for seed in 0..3 {
        let lines = python::run("canonical.py", &[&seed.to_string(), "2000"]);
        assert_eq!(lines.lines().count(), 2000);
        for line in lines.lines() {
            let fields: Vec<Vec<u8>> = line.split(' ').map(|hex| from_hex(hex).unwrap()).collect();
            for (form, expected) in [(Form::Olpc, &fields[1]), (Form::Ascii, &fields[2])] {
                let canonical = Canonical::new(&fields[0], form);
                let document = String::from_utf8_lossy(&fields[0]);
                let canonical = canonical.unwrap_or_else(|e| panic!("{document}: {e}"));
                assert_eq!(
                    String::from_utf8_lossy(canonical.document()),
                    String::from_utf8_lossy(expected),
                    "{document}"
                );
            }
        }
    }
}

#[test]
fn repositories_of_python_tuf() {
    let out = folder("interop");
    python::run("tuf_repositories.py", &[out.to_str().unwrap()]);
    let mut count = 0;
    for entry in fs::read_dir(&out).unwrap() {
        follow(&entry.unwrap().path(), "tuf");
        count += 1;
    }
    assert!(count >= 18, "{count}");
}

#[test]
fn repositories_of_the_ats_dialect() {
    let out = folder("interop-ats");
    python::run("ats_repositories.py", &[out.to_str().unwrap()]);
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        follow(&path, "ats");
        // A dialect is chosen, not guessed.
        let server = Server::new(&path);
        let mut client = Client::new(&folder("interop-other"), &server);
        client.profile = "tuf";
        client.init(&path.join("first-root.json")).fails("root.json");
    }
}

/// Follows one repository from its first root, and downloads all its Targets.
fn follow(repository: &Path, profile: &'static str) {
    let name = repository.file_name().unwrap().to_str().unwrap();
    let expect: Expect = serde_json::from_slice(&fs::read(repository.join("expect.json")).unwrap()).unwrap();
    let server = Server::new(repository);
    let mut client = Client::new(&folder(&format!("client-{name}")), &server);
    client.profile = profile;
    client.init(&repository.join("first-root.json")).ok();
    client.refresh().ok();
    for (target, role) in &expect.targets {
        match role {
            Some(_) => client.download(&[target]).ok(),
            None => client.download(&[target]).fails(target),
        }
    }
    let there: Vec<&str> =
        expect.targets.iter().filter(|(_, role)| role.is_some()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(client.files().len(), there.len(), "{name}");
    // All of it is there now: nothing but the two questions of every run.
    server.requests();
    client.download(&there).ok();
    assert_eq!(server.requests().len(), 2, "{name}");
}
