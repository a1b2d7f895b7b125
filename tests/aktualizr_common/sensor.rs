//! Virtual Secondaries of the hardware `sensor`, in folders of the world, and files for them.

use std::fs;

use serde_json::{Value, json};

use super::{World, device, received};

/// A device with one Secondary, the hardware `sensor`.
pub fn with_sensor(name: &str) -> World {
    let world = device(name);
    secondaries(&world, &json!({"virtual": [sensor(&world, "sensor", "")]}));
    world
}

pub fn secondaries(world: &World, file: &Value) {
    fs::write(world.path("secondaries.json"), file.to_string()).unwrap();
    let path = world.path("secondaries.json");
    world.fragment("70-secondaries", &format!("[uptane]\nsecondary_config_file = {path}\n"));
}

pub fn sensor(world: &World, folder: &str, serial: &str) -> Value {
    let place = |name: &str| world.path(&format!("{folder}/{name}"));
    json!({
        "partial_verifying": false,
        "ecu_serial": serial,
        "ecu_hardware_id": "sensor",
        "full_client_dir": world.path(folder),
        "ecu_private_key": "sec.private",
        "ecu_public_key": "sec.public",
        "firmware_path": place("firmware.bin"),
        "target_name_path": place("target_name"),
        "metadata_path": place("metadata"),
    })
}

/// Bytes that no part of itself repeats.
pub fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 0x9E37_79B9_7F4A_7C15;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| step()).collect()
}

/// Publishes a file as the Target `sensor-VERSION`.
pub fn publish(world: &World, version: u32, content: &[u8]) {
    publish_for(world, "sensor", version, content);
}

/// Publishes a file as the Target `NAME-VERSION` for hardware of that name.
pub fn publish_for(world: &World, name: &str, version: u32, content: &[u8]) {
    let (ota, file, version) = (world.path("ota"), world.path("upload.bin"), version.to_string());
    fs::write(&file, content).unwrap();
    let target = ["--name", name, "--version", &version, "--hardware-id", name];
    world.ota_repo(&[&["target", "add", &ota, "--file", &file], &target[..]].concat());
}

/// Serials of the registered Secondaries, in order.
pub fn serials(world: &World) -> Vec<String> {
    let ecus = received(world, "ecus.json").unwrap()["ecus"].as_array().unwrap().clone();
    ecus[1..].iter().map(|ecu| ecu["ecu_serial"].as_str().unwrap().to_string()).collect()
}

pub fn give(world: &World, version: u32, serial: &str, id: &str) {
    let target = format!("sensor-{version}");
    let ota = world.path("ota");
    world.ota_repo(&[
        "director",
        "assign",
        &ota,
        &target,
        "--device",
        "device-1",
        "--ecu",
        serial,
        "--correlation-id",
        id,
    ]);
}

/// What a Secondary said last.
pub fn word(world: &World, serial: &str) -> Value {
    received(world, "manifest.json").unwrap()["signed"]["ecu_version_manifests"][serial]["signed"].clone()
}

pub fn firmware(world: &World) -> Vec<u8> {
    fs::read(world.path("sensor/firmware.bin")).unwrap()
}

/// Nothing is left in the folder where files wait.
pub fn nothing_waits(world: &World) {
    let names: Vec<_> = fs::read_dir(world.path("sota/images")).into_iter().flatten().flatten().collect();
    assert!(names.is_empty(), "{names:?}");
}
