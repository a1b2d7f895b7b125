//! Who has all keys of one of the two repositories.

use serde_json::{Value, json};

use super::super::world::{World, target};
use super::{two_ecus, warm};
use crate::tuf::testing::sha256;
use crate::uptane::{Class, Fault, Repository};

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
    let fault = spoil(&|app| app["hashes"] = json!({"md5": "00"}));
    assert_eq!(fault, Fault::NoSha256 { target: "app".into(), repository: Repository::Director });

    let mut world = warm();
    world.director.role("targets")["targets"] = json!({});
    world.assign_also("evil", b"evil", 1);
    assert_eq!(world.fault(), Fault::NotInImageRepository { target: "evil".into() });

    let mut world = warm();
    world.director.delegate("targets", "evil", &["*"], false);
    world.direct();
    assert_eq!(world.fault(), Fault::DirectorDelegation { role: "evil".into() });
    let bins = json!({"keyids": [], "threshold": 1, "bit_length": 1, "name_prefix": "bin"});
    world.director.role("targets")["delegations"] = json!({"keys": {}, "succinct_roles": bins});
    world.direct();
    assert_eq!(world.fault(), Fault::DirectorDelegation { role: "bin".into() });
}

/// Hashes that are all there is, and none of them the one that has to be.
#[test]
fn a_sha256_is_given_by_both() {
    for (director, image, missing) in [
        (true, false, Repository::Image),
        (false, true, Repository::Director),
        // They agree, on what nobody should rely on.
        (false, false, Repository::Director),
    ] {
        let mut world = World::new();
        world.assign("app", b"content", 1);
        for (repo, given) in [(&mut world.director, director), (&mut world.image, image)] {
            let hashes = &mut repo.role("targets")["targets"]["app"]["hashes"];
            hashes["md5"] = json!("00");
            if !given {
                hashes.as_object_mut().unwrap().remove("sha256");
            }
        }
        world.redo();
        assert_eq!(world.fault(), Fault::NoSha256 { target: "app".into(), repository: missing });
    }
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
    // Each ECU that is to have it, not the first one only.
    let mut world = two_ecus(json!(["H1", "H2"]));
    assert!(world.cycle().is_ok());
    world.ecus[1].release_counter = 5;
    assert_eq!(world.fault(), Fault::ReleaseCounter { target: "app".into(), installed: 5, got: 0 });
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
