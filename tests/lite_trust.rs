//! Where trust begins on a device, and the clock that expiry is judged by.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use lite_common::{World, device, lite};

fn root_version(world: &World) -> u64 {
    let root = fs::read(world.path("sota/rust-ota/trust/root.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&root).unwrap()["signed"]["version"].as_u64().unwrap()
}

/// A device whose image ships roots 1 to 3 for both kinds, and whose server has lost the second one.
fn shipped(name: &str) -> World {
    let world = device(name);
    for _ in 0..2 {
        world.ota_repo(&["rotate", &world.path("ota"), "root"]);
    }
    for kind in ["ci", "prod"] {
        fs::create_dir_all(world.path(&format!("roots/{kind}"))).unwrap();
        for version in 1..=3 {
            let name = format!("{version}.root.json");
            fs::copy(world.path(&format!("ota/repo/{name}")), world.path(&format!("roots/{kind}/{name}")))
                .unwrap();
        }
    }
    fs::remove_file(world.path("ota/repo/2.root.json")).unwrap();
    world.fragment("80-root", &format!("[rust_ota]\nroot = {}\n", world.path("roots")));
    world
}

#[test]
fn the_roots_of_the_image_are_walked_before_the_servers() {
    let world = shipped("trust-chain");
    lite(&world, &["check"]).expect(0);
    assert_eq!(root_version(&world), 3);
    assert!(
        !world.requests().iter().any(|path| path.contains("/1.root.json") || path.contains("/2.root.json"))
    );
}

#[test]
fn a_newer_image_brings_newer_roots_to_a_device_that_has_one() {
    let world = shipped("trust-newer");
    world.fragment("80-root", "");
    lite(&world, &["check"]).expect(0);
    assert_eq!(root_version(&world), 1, "the server has lost the next one");
    world.fragment(
        "80-root",
        &format!("[storage]\nuptane_metadata_path = {}\n[rust_ota]\nroot =\n", world.path("roots")),
    );
    lite(&world, &["check"]).expect(0);
    assert_eq!(root_version(&world), 3);
}

#[test]
fn a_shipped_root_that_is_refused_ends_only_the_shipped_walk() {
    let world = shipped("trust-refused");
    let third = world.path("roots/ci/3.root.json");
    fs::write(&third, fs::read_to_string(&third).unwrap().replace("\"version\":3", "\"version\":4")).unwrap();
    lite(&world, &["check"]).expect(0).says("roots/ci/3.root.json");
    assert_eq!(root_version(&world), 3, "the server's");
}

#[test]
fn the_kind_of_the_certificate_chooses_the_chain() {
    let world = shipped("trust-kind");
    fs::remove_dir_all(world.path("roots/prod")).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 15]), "production");
    fs::write(world.path("sota/import/client.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(world.path("sota/import/pkey.pem"), key.serialize_pem()).unwrap();
    lite(&world, &["check"]).expect(1).says("roots/prod/1.root.json: there is no trusted root");

    for file in ["client.pem", "pkey.pem"] {
        fs::remove_file(world.path(&format!("sota/import/{file}"))).unwrap();
    }
    // Without a certificate the server refuses the connection; trust has begun by then, with what both kinds share.
    lite(&world, &["check"]).expect(13);
    assert_eq!(root_version(&world), 2);
}

#[test]
fn time_never_goes_below_the_moment_of_the_newest_metadata() {
    let world = device("trust-clock");
    lite(&world, &["check"]).expect(0);
    let stored = world.path("sota/rust-ota/trust/timestamp.json");
    let later = SystemTime::now() + Duration::from_secs(3600);
    File::open(&stored).unwrap().set_modified(later).unwrap();
    lite(&world, &["explain"]).expect(0).says("which is too early; expiry is judged by");
    // No time of a file is later than what was signed: else a copied file would end all trust.
    let far = SystemTime::now() + Duration::from_secs(100 * 365 * 86_400);
    File::open(&stored).unwrap().set_modified(far).unwrap();
    lite(&world, &["list"]).expect(3);
    lite(&world, &["check"]).expect(0);
}

#[test]
fn a_damaged_root_is_the_devices_own_trouble_and_heals() {
    let world = device("trust-damaged");
    world.ota_repo(&["rotate", &world.path("ota"), "timestamp", "--remove-old"]);
    lite(&world, &["check"]).expect(0);
    let stored = world.path("sota/rust-ota/trust/root.json");
    let whole = fs::read(&stored).unwrap();
    for damage in [Vec::new(), whole[..whole.len() / 2].to_vec(), vec![0; whole.len()]] {
        fs::write(&stored, damage).unwrap();
        lite(&world, &["check"]).expect(0).says("root.json is damaged");
        assert_eq!(root_version(&world), 2);
        assert!(fs::exists(format!("{stored}.damaged")).unwrap());
    }
    // Whoever has the server gains nothing by it: the newer root was known.
    fs::write(&stored, "").unwrap();
    fs::remove_file(world.path("ota/repo/2.root.json")).unwrap();
    lite(&world, &["check"]).says("this device trusted version 2 before");
}

#[test]
fn an_old_state_is_not_taken_behind_a_root_that_adds_a_key() {
    for role in ["timestamp", "snapshot", "targets"] {
        let world = device(&format!("trust-added-{role}"));
        let repo = world.path("ota/repo");
        let old: Vec<_> = ["timestamp.json", "1.snapshot.json", "1.targets.json"]
            .into_iter()
            .filter_map(|name| Some((name, fs::read(format!("{repo}/{name}")).ok()?)))
            .collect();
        assert!(!old.is_empty());
        world.ota_repo(&["refresh", &world.path("ota")]);
        lite(&world, &["check"]).expect(0);
        let known = fs::read(world.path("sota/rust-ota/trust/timestamp.json")).unwrap();
        world.ota_repo(&["rotate", &world.path("ota"), role]);
        for (name, bytes) in &old {
            fs::write(format!("{repo}/{name}"), bytes).unwrap();
        }
        lite(&world, &["check"]).says("an older state is served");
        assert_eq!(fs::read(world.path("sota/rust-ota/trust/timestamp.json")).unwrap(), known, "{role}");
        assert_eq!(root_version(&world), 2);
    }
}
