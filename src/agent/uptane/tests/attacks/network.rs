//! Who has the network and no key.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::json;

use super::super::super::UptaneError;
use super::super::world::{Slow, World, target};
use super::warm;
use crate::gateway::{Http, HttpSettings, PlainHttp};
use crate::payload::file::Download;
use crate::tuf::testing::{BEFORE, Key, LATER, NOW};
use crate::tuf::{Hashes, Profile, TargetInfo};
use crate::uptane::{Class, Fault, Mode};

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

/// The network and one of two keys: that is not a threshold, however often and under whatever id it signs.
#[test]
fn one_key_of_two() {
    for image in [false, true] {
        let mut world = warm();
        let one = Key::new(60, Profile::Ats);
        let mut twin = one.clone();
        twin.id = "ab".repeat(32);
        let other = Key::new(61, Profile::Ats);
        let keys = [one.clone(), twin.clone(), other.clone()];
        let repo = if image { &mut world.image } else { &mut world.director };
        repo.signers.insert("targets".into(), keys.to_vec());
        repo.write_root();
        repo.role("root")["roles"]["targets"]["threshold"] = json!(2);
        repo.bump("root");
        for (by, class) in [
            (vec![one.clone()], Some(Class::UnmetThreshold)),
            (vec![one.clone(), twin], Some(Class::UnmetThreshold)),
            (vec![one.clone(), one.clone()], Some(Class::NonUniqueSignatures)),
            (vec![one.clone(), Key::new(99, Profile::Ats)], Some(Class::UnmetThreshold)),
            // Who signs twice is refused although two others do.
            (vec![one.clone(), other.clone(), one.clone()], Some(Class::NonUniqueSignatures)),
            (vec![one, other], None),
        ] {
            let repo = if image { &mut world.image } else { &mut world.director };
            repo.signers.insert("targets".into(), by);
            repo.update(&["targets"]);
            assert_eq!(world.cycle().err().map(|error| error.class()), class, "{image}");
        }
    }
}

/// The network alone: a root that would make the stranger's keys the right ones.
#[test]
fn roots_by_a_stranger() {
    for image in [false, true] {
        let mut world = warm();
        let stranger = [Key::new(99, Profile::Ats)];
        let mut forged = if image { world.image.clone() } else { world.director.clone() };
        let old = forged.signers["root"].clone();
        forged.signers.insert("root".into(), stranger.to_vec());
        forged.write_root();
        forged.bump("root");
        let (of_stranger, of_old) = (forged.file("root"), forged.file_by("root", &old));
        forged.bump("root");
        let both = [old, stranger.to_vec()].concat();
        let skips_one = forged.file_by("root", &both);
        forged.role("root")["version"] = json!(1);
        let goes_back = forged.file_by("root", &both);
        for (root, class) in [
            (of_stranger, Class::BadKeyId),
            // The old keys for keys that did not agree.
            (of_old, Class::BadKeyId),
            (skips_one, Class::RootRotationError),
            (goes_back, Class::RootRotationError),
        ] {
            let before = (world.director_store.clone(), world.image_store.clone());
            let files = if image { &mut world.image_forged } else { &mut world.director_forged };
            files.insert("2.root.json".into(), root);
            assert_eq!(world.refused(), class, "{image}");
            assert_eq!((world.director_store.clone(), world.image_store.clone()), before);
        }
        world.director_forged.clear();
        world.image_forged.clear();
        assert!(world.cycle().is_ok());
    }
}

/// The network alone: one role's file in place of another's, whose keys are the same.
#[test]
fn another_roles_file() {
    let mut world = World::new();
    let key = world.director.signers["root"].clone();
    world.director.signers.insert("targets".into(), key);
    world.director.write_root();
    world.assign("app", b"content", 1);
    assert!(world.cycle().is_ok());
    world.director_forged.insert("targets.json".into(), world.director.file("root"));
    assert_eq!(world.refused(), Class::SecurityException);
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

/// A power cut between two writes leaves nothing that an older list could take the place of.
#[test]
fn rollback_after_a_power_cut() {
    let mut cuts = 0;
    for writes in 0.. {
        let mut world = warm();
        let old = world.director.clone();
        world.direct();
        world.director_store.writes_left = Some(writes);
        if world.cycle().is_ok() {
            break;
        }
        cuts += 1;
        world.director_store.writes_left = None;
        let new = world.director_store.files["targets.json"] == world.director.file("targets");
        let taken = std::mem::replace(&mut world.director, old);
        assert!(!new || world.cycle().is_err(), "{writes}");
        world.director = taken;
        assert!(world.cycle().is_ok(), "{writes}");
    }
    assert_eq!(cuts, 2);
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
    for role in ["timestamp", "snapshot"] {
        let mut world = warm();
        world.full = true;
        world.director.role(role)["expires"] = json!(BEFORE);
        world.director.update(&[role]);
        assert_eq!(world.refused(), Class::ExpiredMetadata, "{role}");
    }
    // The second of the expiry is too late already.
    let mut world = warm();
    world.director.role("targets")["expires"] = json!(NOW.to_string());
    world.direct();
    assert_eq!(world.refused(), Class::ExpiredMetadata);
    world.director.role("targets")["expires"] = json!("never");
    world.direct();
    assert_eq!(world.refused(), Class::InvalidMetadata);
}

/// The network alone: the Director's timestamp is taken away, so that only the targets' own expiry is left.
#[test]
fn freeze_by_a_missing_timestamp() {
    let mut world = warm();
    world.full = true;
    world.cycle().unwrap();
    world.full = false;
    assert_eq!(world.refused(), Class::MetadataFetchFailure);

    // New keys for it void the stored one, and that is no reason to do without.
    let mut world = warm();
    world.full = true;
    world.cycle().unwrap();
    world.director.signers.insert("timestamp".into(), vec![Key::new(70, Profile::Ats)]);
    world.director.write_root();
    world.director.bump("root");
    world.full = false;
    assert_eq!(world.refused(), Class::MetadataFetchFailure);
    assert_eq!(world.refused(), Class::MetadataFetchFailure);
    world.full = true;
    assert_eq!(world.cycle().unwrap().mode, Mode::Full);

    // The root alone may say that there is none any more.
    let roles = world.director.role("root")["roles"].as_object_mut().unwrap();
    roles.remove("timestamp");
    roles.remove("snapshot");
    world.director.bump("root");
    world.full = false;
    assert_eq!(world.cycle().unwrap().mode, Mode::Reduced);
}

/// The network alone: a revocation is held back by an error in place of the next root.
#[test]
fn freeze_of_roots() {
    let mut world = warm();
    world.failing.push("2.root.json".into());
    assert_eq!(world.refused(), Class::MetadataFetchFailure);

    // Or by a word about a file that was never sent.
    for path in ["2.root.json", "targets.json"] {
        let mut world = warm();
        world.unchanged.push(path.into());
        assert_eq!(world.refused(), Class::MetadataFetchFailure, "{path}");
    }

    // Or by a file that is no root at all.
    let mut world = warm();
    world.director_forged.insert("2.root.json".into(), b"<html>".to_vec());
    assert_eq!(world.refused(), Class::InvalidMetadata);
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
    // As many as a file may have are read, and one more is not.
    for (image, path, limit) in [
        (false, "2.root.json", 512 * 1024),
        (false, "timestamp.json", 64 * 1024),
        (false, "targets.json", 1024 * 1024),
        (true, "2.root.json", 512 * 1024),
        (true, "timestamp.json", 64 * 1024),
        (true, "snapshot.json", 2 * 1024 * 1024),
        (true, "targets.json", 8 * 1024 * 1024),
    ] {
        let mut world = warm();
        world.redo();
        for (length, refused_unread) in [(limit, false), (limit + 1, true)] {
            let files = if image { &mut world.image_forged } else { &mut world.director_forged };
            files.insert(path.into(), vec![b' '; length]);
            assert_eq!(world.refused() == Class::MetadataFetchFailure, refused_unread, "{path} {length}");
        }
    }
}

/// The network alone: a byte now and then, so that no silence ever ends the wait. Metadata has an end as a whole, content
/// a slowest pace; nothing is kept but the beginning of a file, which is verified with the rest.
#[test]
fn slow_retrieval() {
    let base = dripping_server();
    let settings = HttpSettings {
        plain_http: PlainHttp::Any,
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
    let info = TargetInfo { length: 1000, hashes, custom: None };
    let window = Duration::from_millis(200);
    let download = Download { window, ..Download::new(&http, &url, &info) };
    let error = download.resume(&path, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("slower than"), "{error}");
    let error = UptaneError::Download { target: "app".into(), error };
    assert_eq!(error.class(), Class::TargetFetchFailure);
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Answers everything with 1,000 bytes, one each hundredth of a second.
fn dripping_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
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
