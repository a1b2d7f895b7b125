//! The attacks, each by name. The attacker has what the comment says, and the device goes on with the next
//! honest state.

mod ecus;
mod keys;
mod network;
mod roles;

use serde_json::{Value, json};

use super::world::{World, target};

/// A device that has seen an honest state, since a fresh one hides every rollback.
fn warm() -> World {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    world.cycle().unwrap();
    world
}

/// One Target for both ECUs, which the Image repository makes for this hardware.
fn two_ecus(hardware_ids: Value) -> World {
    let mut world = World::new();
    world.assign("app", b"content", 1);
    let both = json!({"S1": {"hardwareId": "H1"}, "S2": {"hardwareId": "H2"}});
    world.director.role("targets")["targets"]["app"]["custom"]["ecuIdentifiers"] = both;
    world.direct();
    world.publish("app", target(b"content", json!({"hardwareIds": hardware_ids})));
    world
}
