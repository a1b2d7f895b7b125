//! What is signed and not for this vehicle, or not as it is expected.

use serde_json::json;

use super::super::world::{World, target};
use super::{two_ecus, warm};
use crate::tuf::{Hashes, Reason};
use crate::uptane::{Class, Fault, Installed, Repository};

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
    // Each ECU that is to have it, not the first one only.
    let (target, hardware_id, listed) = ("app".into(), "H2".into(), vec!["H1".into()]);
    let expected = Fault::HardwareNotListed { target, hardware_id, listed };
    assert_eq!(two_ecus(json!(["H1"])).fault(), expected);
}

/// The Director's list with the installed Target's name on other content.
#[test]
fn new_content_under_the_installed_name() {
    let mut world = warm();
    let info = world.cycle().unwrap().targets[0].info.clone();
    let right = Installed { name: "app".into(), length: info.length, hashes: info.hashes };
    let other = Hashes { sha256: Some([7; 32]), ..Hashes::default() };
    for wrong in [
        Installed { length: 8, ..right.clone() },
        Installed { hashes: other, ..right.clone() },
        // What nobody knows is not the same.
        Installed { hashes: Hashes::default(), ..right.clone() },
    ] {
        world.ecus[0].installed = Some(wrong);
        assert_eq!(world.fault().class(), Class::TargetContentMismatch);
    }
    world.ecus[0].installed = Some(right);
    assert!(world.cycle().is_ok());
    // Also if the Director does not know it either.
    world.ecus[0].installed = Some(Installed { name: "app".into(), length: 7, hashes: Hashes::default() });
    world.director.role("targets")["targets"]["app"]["hashes"] = json!({"md5": "00"});
    world.direct();
    assert_eq!(world.fault().class(), Class::TargetContentMismatch);
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
    world.publish("app", target(b"content", json!({"hardwareIds": "H1"})));
    assert!(matches!(world.fault(), Fault::Custom { repository: Repository::Image, .. }));
    let mut world = warm();
    world.director.role("targets")["custom"] = json!({"correlationId": 1});
    world.direct();
    let fault = world.fault();
    assert!(
        matches!(&fault, Fault::Rejected { rejection, .. } if matches!(rejection.reason, Reason::Shape { .. }))
    );
    assert_eq!(fault.class(), Class::InvalidMetadata);
}
