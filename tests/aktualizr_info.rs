//! aktualizr-info: what scripts read, and that looking changes nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use aktualizr_common::{Run, World, aktualizr, assign, by_name, device, received, release};

fn info(world: &World, args: &[&str]) -> Run {
    by_name(world, "aktualizr-info", args)
}

#[test]
fn before_and_after_a_device_is_known() {
    let world = device("ak-info");
    let before = world.snapshot("sota");
    info(&world, &[])
        .expect(0)
        .says("Device ID: device-1\n")
        .says("Couldn't load ECU serials\nProvisioned on server: no\nFetched metadata: no\n");
    info(&world, &["--ecu-keys"]).expect(1).says("Failed to load Primary ECU keys!");
    info(&world, &["--director-root"]).expect(1).says("Metadata is not available");
    assert_eq!(world.snapshot("sota"), before, "no identity is made by looking");

    aktualizr(&world, &["check"]).expect(0);
    let registered = received(&world, "ecus.json").unwrap();
    let serial = registered["primary_ecu_serial"].as_str().unwrap();
    let commit = world.deployments()[0].clone();
    let run = info(&world, &[]).expect(0);
    assert_eq!(
        run.stdout,
        format!(
            "Device ID: device-1\nPrimary ECU serial ID: {serial}\nPrimary ECU hardware ID: test-board\n\
             Provisioned on server: yes\nFetched metadata: yes\nCurrent Primary ECU running version: {commit}\n"
        )
    );
    assert_eq!(info(&world, &["--name-only"]).expect(0).stdout, "device-1\n");
    assert_eq!(info(&world, &["--wait-until-provisioned", "--name-only"]).expect(0).stdout, "device-1\n");
    // An Ed25519 key, where the other client stops with an error about RSA.
    assert_eq!(info(&world, &["--ecu-keyid"]).expect(0).stdout.trim(), serial);
    let public = registered["ecus"][0]["clientKey"]["keyval"]["public"].as_str().unwrap();
    assert_eq!(info(&world, &["--ecu-pub-key"]).expect(0).stdout.trim(), public);
    info(&world, &["--ecu-keys"]).expect(0).says("Public key ID: ").says("-----BEGIN PRIVATE KEY-----");
    info(&world, &["--tls-creds"])
        .expect(0)
        .says("Root CA certificate:\n-----BEGIN")
        .says("Client private key:\n");
    for old in ["--director-target", "--director-targets"] {
        let run = info(&world, &[old]).expect(0);
        assert!(run.json()["signed"].is_object(), "as jq reads it");
    }
    assert!(info(&world, &["--director-root", "--root-version=1"]).expect(0).json()["signed"].is_object());
    info(&world, &["--director-root", "--root-version", "7"]).expect(1).says("Metadata is not available");
    info(&world, &["--nonsense"]).expect(1).says("aktualizr-info command line options");
}

#[test]
fn looking_confirms_no_boot() {
    let world = device("ak-info-boot");
    aktualizr(&world, &["once"]).expect(0);
    let commit = release(&world, 2);
    assign(&world, 2, "c-2");
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    world.reboot_into(0);
    let state = world.snapshot("sota");
    info(&world, &["--images-targets", "--image-root"]).expect(0).says("image targets.json content:");
    info(&world, &[]).expect(0).says(&format!("Pending Primary ECU version: {commit}"));
    assert_eq!(world.boot_variable("upgrade_available"), "1");
    assert_eq!(world.snapshot("sota"), state);
}
