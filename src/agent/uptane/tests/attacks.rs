//! The attacks, each by name. The attacker has what the comment says, and the device goes on with the next
//! honest state.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::UptaneError;
use super::world::{Slow, World, target};
use crate::gateway::{Http, HttpSettings};
use crate::payload::file::Download;
use crate::tuf::testing::{BEFORE, Key, LATER, sha256};
use crate::tuf::{Hashes, Profile, Reason, TargetInfo};
use crate::uptane::{Class, Fault, Installed};

/// A device that has seen an honest state, since a fresh one hides every rollback.
fn warm() -> World {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.cycle().unwrap();
    world
}

/// The network alone: arbitrary software.
#[test]
fn targets_by_a_stranger() {
    let mut world = warm();
    world.director.role("targets")["targets"] = json!({});
    world.direct();
    let stranger = [Key::new(99, Profile::Ats)];
    let before = world.director_store.clone();
    world.director_forged.insert("targets.json".into(), world.director.file_by("targets", &stranger));
    assert_eq!(world.refused(), Class::BadKeyId);
    world.director_forged.insert("targets.json".into(), world.director.file_by("targets", &[]));
    assert_eq!(world.refused(), Class::UnmetThreshold);
    // What the Image repository signed is not the Director's word.
    world.director_forged.insert("targets.json".into(), world.image.file("targets"));
    assert_eq!(world.refused(), Class::BadKeyId);
    assert_eq!(world.director_store, before);
    world.director_forged.clear();
    assert!(world.cycle().is_ok());
}

/// The network alone: an older list of the Director, or an older state of the Image repository.
#[test]
fn rollback() {
    for full in [false, true] {
        let mut world = warm();
        world.full = full;
        world.cycle().unwrap();
        let old = world.director.clone();
        world.assign("app-2", b"content 2", 1);
        world.cycle().unwrap();
        let new = std::mem::replace(&mut world.director, old);
        assert_eq!(world.refused(), Class::SecurityException);
        world.director = new;
        assert!(world.cycle().is_ok());
    }
    let mut world = warm();
    let old = world.image.clone();
    world.redo();
    world.cycle().unwrap();
    world.image = old;
    assert_eq!(world.refused(), Class::SecurityException);
}

/// The same with an empty list between, which is as much the Director's word as a full one.
#[test]
fn rollback_past_an_empty_list() {
    let mut world = warm();
    let old = world.director.clone();
    world.director.role("targets")["targets"] = json!({});
    world.direct();
    assert!(world.cycle().unwrap().targets.is_empty());
    world.director = old;
    assert_eq!(world.fault(), Fault::DirectorRollback { trusted: 3, got: 2 });
}

/// A timestamp and a snapshot that come only now do not let the targets go back either.
#[test]
fn rollback_at_the_change_to_full_mode() {
    let mut world = World::new();
    world.direct_as(9);
    world.cycle().unwrap();
    world.full = true;
    world.direct_as(8);
    assert_eq!(world.fault(), Fault::DirectorRollback { trusted: 9, got: 8 });
    world.direct_as(9);
    assert!(world.cycle().is_ok());
}

/// The network alone: the newest state, for ever.
#[test]
fn freeze() {
    for (image, role) in [
        (false, "root"),
        (false, "targets"),
        (true, "root"),
        (true, "timestamp"),
        (true, "snapshot"),
        (true, "targets"),
    ] {
        let mut world = warm();
        let repo = if image { &mut world.image } else { &mut world.director };
        repo.role(role)["expires"] = json!(BEFORE);
        repo.update(&[role]);
        assert_eq!(world.refused(), Class::ExpiredMetadata, "{image} {role}");
        let repo = if image { &mut world.image } else { &mut world.director };
        repo.role(role)["expires"] = json!(LATER);
        repo.update(&[role]);
        assert!(world.cycle().is_ok(), "{image} {role}");
    }
}

/// The network alone: the Director's timestamp is taken away, so that only the targets' own expiry is left.
#[test]
fn freeze_by_a_missing_timestamp() {
    let mut world = warm();
    world.full = true;
    world.cycle().unwrap();
    world.full = false;
    assert_eq!(world.refused(), Class::MetadataFetchFailure);
}

/// The network alone: a revocation is held back by an error in place of the next root.
#[test]
fn freeze_of_roots() {
    let mut world = warm();
    world.failing.push("2.root.json".into());
    assert_eq!(world.refused(), Class::MetadataFetchFailure);
}

/// The network alone: files that were never together.
#[test]
fn mix_and_match() {
    let mut world = warm();
    let old = world.image.clone();
    world.redo();
    world.image_forged.insert("snapshot.json".into(), old.file("snapshot"));
    assert_eq!(world.refused(), Class::SecurityException);
    world.image_forged.clear();
    world.image_forged.insert("targets.json".into(), old.file("targets"));
    assert!(matches!(world.refused(), Class::SecurityException | Class::VersionMismatch));

    let mut world = warm();
    world.full = true;
    world.cycle().unwrap();
    let old = world.director.file("targets");
    world.direct();
    world.director_forged.insert("targets.json".into(), old);
    assert!(matches!(world.refused(), Class::SecurityException | Class::VersionMismatch));
}

/// The network alone: replies without an end.
#[test]
fn endless_data() {
    let long = vec![b' '; 9 * 1024 * 1024];
    for path in ["2.root.json", "targets.json", "timestamp.json"] {
        let mut world = warm();
        world.redo();
        world.director_forged.insert(path.into(), long.clone());
        assert_eq!(world.refused(), Class::MetadataFetchFailure, "{path}");
    }
    for path in ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"] {
        let mut world = warm();
        world.redo();
        world.image_forged.insert(path.into(), long.clone());
        assert_eq!(world.refused(), Class::MetadataFetchFailure, "{path}");
    }
}

/// The network alone: a byte now and then, so that no silence ever ends the wait. Metadata has an end as a whole, content
/// a slowest pace; nothing is kept but the beginning of a file, which is verified with the rest.
#[test]
fn slow_retrieval() {
    let base = dripping_server();
    let settings = HttpSettings {
        plain_http: true,
        total_timeout: Duration::from_millis(300),
        ..HttpSettings::default()
    };
    let http = Http::new(&settings).unwrap();
    let mut world = warm();
    world.redo();
    // The smallest of them: one that may be longer may also take longer.
    world.slow = Some(Slow { path: "timestamp.json".into(), http: http.clone(), base: base.clone() });
    let before = (world.director_store.clone(), world.image_store.clone());
    assert_eq!(world.refused(), Class::MetadataFetchFailure);
    assert_eq!((world.director_store.clone(), world.image_store.clone()), before);
    world.slow = None;
    assert!(world.cycle().is_ok());

    let folder = std::env::temp_dir().join(format!("rust-ota-slow-{}", std::process::id()));
    let (url, path) = (format!("{base}/targets/app"), folder.join("app"));
    let hashes = Hashes { sha256: Some([7; 32]), sha512: None, other: Vec::new() };
    let info = TargetInfo { length: 100_000, hashes, custom: None };
    let window = Duration::from_millis(200);
    let download = Download { window, ..Download::new(&http, &url, &info) };
    let error = download.resume(&path, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("slower than"), "{error}");
    let error = UptaneError::Download { target: "app".into(), error };
    assert_eq!(error.class(), Class::TargetFetchFailure);
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Answers everything with 100,000 bytes, one each hundredth of a second.
fn dripping_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() {
                    std::thread::sleep(Duration::from_millis(10));
                    sent = stream.write_all(b"{");
                }
            });
        }
    });
    base
}

/// The network alone: one of two Targets of one list is kept away. There is no bundle of the other one.
#[test]
fn partial_bundle() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.assign_also("other", b"other", 2);
    assert_eq!(world.fault(), Fault::NotInImageRepository { target: "other".into() });
    world.publish("other", target(b"other", json!({"hardwareIds": ["H2"]})));
    assert_eq!(world.cycle().unwrap().targets.len(), 2);
}

/// Another vehicle's list.
#[test]
fn wrong_ecu() {
    let mut world = World::new();
    world.assign("app", b"content", 3);
    let expected = Fault::UnknownEcu { target: "app".into(), serial: "S3".into() };
    assert_eq!(world.fault(), expected);
    assert_eq!(expected.class(), Class::BadEcuId);
    // One that is here does not make up for it.
    world.assign("app", b"content", 1);
    world.assign_also("other", b"other", 3);
    assert_eq!(world.refused(), Class::BadEcuId);
}

#[test]
fn one_ecu_with_two_targets() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.assign_also("other", b"other", 1);
    assert_eq!(world.fault(), Fault::RepeatedEcu { serial: "S1".into() });
}

/// An image for other hardware, by the Director's mistake or the Image repository's word.
#[test]
fn wrong_hardware_id() {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    let custom = json!({"ecuIdentifiers": {"S1": {"hardwareId": "H2"}}});
    world.director.role("targets")["targets"]["app"]["custom"] = custom;
    world.direct();
    assert_eq!(world.refused(), Class::BadHardwareId);

    for (image, fits) in [
        (json!({"hardwareIds": ["H2"]}), false),
        (json!({"hardwareIds": []}), false),
        (json!({}), false),
        (json!({"hardwareIds": ["H2", "H1"]}), true),
        (json!({"ecuIdentifiers": {"S1": {"hardwareId": "H1"}}}), true),
        (json!({"ecuIdentifiers": {"S1": {"hardwareId": "H2"}}}), false),
        (json!({"ecuIdentifiers": {"S2": {"hardwareId": "H1"}}}), false),
    ] {
        let mut world = World::new();
        world.assign("app", b"content", 1);
        world.publish("app", target(b"content", image.clone()));
        match fits {
            true => assert!(world.cycle().is_ok(), "{image}"),
            false => assert!(matches!(world.fault(), Fault::HardwareNotListed { .. }), "{image}"),
        }
    }
}

/// All of the Director's keys: it can choose among what the Image repository has for this hardware, no more.
#[test]
fn compromised_director() {
    let spoil = |spoil: &dyn Fn(&mut Value)| {
        let mut world = warm();
        spoil(&mut world.director.role("targets")["targets"]["app"]);
        world.direct();
        let fault = world.fault();
        assert_eq!(fault.class(), Class::TargetMismatch, "{fault}");
        fault
    };
    let fault = spoil(&|app| app["length"] = json!(8));
    assert_eq!(fault, Fault::LengthDiffers { target: "app".into(), director: 8, image: 7 });
    let fault = spoil(&|app| app["hashes"]["sha256"] = json!(sha256(b"evil")));
    assert_eq!(fault, Fault::HashDiffers { target: "app".into(), algorithm: "sha256".into() });
    assert!(matches!(spoil(&|app| app["hashes"] = json!({"md5": "00"})), Fault::NoSha256 { .. }));

    let mut world = warm();
    world.director.role("targets")["targets"] = json!({});
    world.assign_also("evil", b"evil", 1);
    assert_eq!(world.fault(), Fault::NotInImageRepository { target: "evil".into() });

    let mut world = warm();
    world.director.delegate("targets", "evil", &["*"], false);
    world.direct();
    assert_eq!(world.fault(), Fault::DirectorDelegation { role: "evil".into() });
}

/// Every hash that both give is compared, not only the SHA-256.
#[test]
fn hashes_that_both_give_are_equal() {
    for (algorithm, one, other) in
        [("sha512", "00".repeat(64), "11".repeat(64)), ("blake2b", "00".to_owned(), "11".to_owned())]
    {
        let mut world = World::new();
        world.assign("app", b"content", 1);
        world.director.role("targets")["targets"]["app"]["hashes"][algorithm] = json!(one);
        world.redo();
        assert!(world.cycle().is_ok());
        world.image.role("targets")["targets"]["app"]["hashes"][algorithm] = json!(other);
        world.redo();
        let expected = Fault::HashDiffers { target: "app".into(), algorithm: algorithm.into() };
        assert_eq!(world.fault(), expected);
        world.image.role("targets")["targets"]["app"]["hashes"][algorithm] = json!(one);
        world.redo();
        assert!(world.cycle().is_ok());
    }
}

/// All of the Director's keys: an image that was good once.
#[test]
fn compromised_director_goes_back_to_an_older_image() {
    let mut world = World::new();
    world.ecus[0].release_counter = 5;
    for (director, image, expected) in [
        (json!(5), json!(5), None),
        (json!(null), json!(6), None),
        (json!(4), json!(4), Some(Class::SecurityException)),
        (json!(null), json!(4), Some(Class::SecurityException)),
        (json!(null), json!(null), Some(Class::SecurityException)),
        // Only what the Image repository says counts.
        (json!(9), json!(null), Some(Class::SecurityException)),
        (json!(9), json!(4), Some(Class::TargetMismatch)),
    ] {
        world.assign("app", b"content", 1);
        world.director.role("targets")["targets"]["app"]["custom"]["releaseCounter"] = director.clone();
        world.image.role("targets")["targets"]["app"]["custom"]["releaseCounter"] = image.clone();
        world.redo();
        let class = world.cycle().err().map(|error| error.class());
        assert_eq!(class, expected, "{director} {image}");
    }
}

/// All of the Image repository's keys: it can change what it has, and nobody asks for that.
#[test]
fn compromised_image_repository() {
    let mut world = warm();
    world.publish("app", target(b"evil...", json!({"hardwareIds": ["H1"]})));
    assert_eq!(world.fault(), Fault::HashDiffers { target: "app".into(), algorithm: "sha256".into() });
    world.publish("app", target(b"content", json!({"hardwareIds": ["H1"]})));
    world.publish("evil", target(b"evil", json!({"hardwareIds": ["H1"]})));
    let bundle = world.cycle().unwrap();
    assert_eq!(bundle.targets.len(), 1);
    assert_eq!(bundle.targets[0].target, "app");
}

/// The Director's list with the installed Target's name on other content.
#[test]
fn new_content_under_the_installed_name() {
    let mut world = warm();
    let info = world.cycle().unwrap().targets[0].info.clone();
    let installed = |length| Installed { name: "app".into(), length, hashes: info.hashes.clone() };
    world.ecus[0].installed = Some(installed(8));
    assert_eq!(world.fault().class(), Class::TargetContentMismatch);
    world.ecus[0].installed = Some(installed(7));
    assert!(world.cycle().is_ok());
}

/// Signed, and not of the form that this client can read: refused by name, not passed over.
#[test]
fn custom_of_another_form() {
    for custom in [
        json!({"ecuIdentifiers": ["S1"]}),
        json!({"ecuIdentifiers": {"S1": {}}}),
        json!({"ecuIdentifiers": {"S1": {"hardwareId": 1}}}),
        json!({"releaseCounter": -1}),
        json!("text"),
    ] {
        let mut world = warm();
        world.director.role("targets")["targets"]["app"]["custom"] = custom.clone();
        world.direct();
        assert!(matches!(world.fault(), Fault::Custom { .. }), "{custom}");
    }
    let mut world = warm();
    world.director.role("targets")["custom"] = json!({"correlationId": 1});
    world.direct();
    let fault = world.fault();
    assert!(
        matches!(&fault, Fault::Rejected { rejection, .. } if matches!(rejection.reason, Reason::Shape { .. }))
    );
    assert_eq!(fault.class(), Class::InvalidMetadata);
}
