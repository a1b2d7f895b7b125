//! What a device registers and reports, verified by securesystemslib: keys, ids, canonical form, signatures.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;
#[path = "common/python.rs"]
mod python;

use std::fs;

use aktualizr_common::{World, aktualizr, assign, device, received, release, results};
use serde_json::json;

/// Each ECU in one line; the script ends with an error where something does not verify.
fn verified(world: &World) -> Vec<Vec<String>> {
    let file = |name: &str| world.path(&format!("ota.received/device-1/{name}"));
    let lines = python::run("check_manifest.py", &[&file("ecus.json"), &file("manifest.json")]);
    lines.lines().map(|line| line.split(' ').map(str::to_string).collect()).collect()
}

#[test]
fn an_ed25519_primary_and_its_secondaries() {
    let world = device("ak-py-ed25519");
    // A name with what canonical forms differ in.
    let folder = world.dir.join("s\u{f6}nsor");
    fs::create_dir_all(&folder).unwrap();
    world.run(
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            folder.join("rsa.pem").to_str().unwrap(),
        ],
    );
    let sensor = |name: &str, key: &str| {
        json!({
            "ecu_serial": name,
            "ecu_hardware_id": "sensor",
            "full_client_dir": folder,
            "ecu_private_key": key,
            "firmware_path": folder.join(format!("{name}.bin")),
            "target_name_path": folder.join(format!("{name}.name")),
        })
    };
    let file = json!({"virtual": [sensor("with-rsa", "rsa.pem"), sensor("made-here", "own.pem")]});
    fs::write(world.path("secondaries.json"), file.to_string()).unwrap();
    let path = world.path("secondaries.json");
    world.fragment("70-secondaries", &format!("[uptane]\nsecondary_config_file = {path}\n"));
    fs::write(folder.join("with-rsa.bin"), "content").unwrap();
    fs::write(folder.join("with-rsa.name"), "f\u{f6}rst \"image\"\n\u{1F697}").unwrap();
    aktualizr(&world, &["check"]).expect(0);
    let ecus = verified(&world);
    assert_eq!(ecus.len(), 3, "{ecus:?}");
    let schemes: Vec<&str> = ecus.iter().map(|ecu| ecu[2].as_str()).collect();
    assert_eq!(schemes.iter().filter(|s| **s == "ed25519").count(), 2, "{ecus:?}");
    let primary = received(&world, "ecus.json").unwrap()["primary_ecu_serial"].clone();
    let own = ecus.iter().find(|ecu| ecu[0] == primary).unwrap();
    assert_eq!(own[0], own[3], "without a configured serial it is the key's id");

    // With a result in it.
    release(&world, 2);
    assign(&world, 2, "urn:f\u{f6}rst:2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.roll_back();
    aktualizr(&world, &["check"]).expect(0);
    world.fragment("50-booted", "[rust_ota]\nbooted_deployment = 0\n");
    aktualizr(&world, &["check"]).expect(0);
    assert_eq!(results(&world)[0]["correlation_id"], "urn:f\u{f6}rst:2");
    let last = fs::read_dir(world.path("ota.received/device-1/manifests")).unwrap().count();
    for number in 1..=last {
        let manifest = world.path(&format!("ota.received/device-1/manifests/{number:04}.json"));
        python::run("check_manifest.py", &[&world.path("ota.received/device-1/ecus.json"), &manifest]);
    }
}

#[test]
fn an_rsa_primary() {
    let world = device("ak-py-rsa");
    let key = world.path("sota/import/ecu.pem");
    world.run("openssl", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &key]);
    world.fragment(
        "70-key",
        "[uptane]\nkey_type = RSA2048\n[import]\nuptane_private_key_path = ecu.pem\n[provision]\nprimary_ecu_serial = S-1\n",
    );
    aktualizr(&world, &["check"]).expect(0);
    let ecus = verified(&world);
    assert_eq!(&ecus[0][..3], ["S-1", "rsa", "rsassa-pss-sha256"]);
}
