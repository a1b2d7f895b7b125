//! Devices that have nothing but the credential of their fleet: how each gets a certificate of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod aktualizr_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use aktualizr_common::{Run, World, aktualizr, by_name, client, device, release};
use serde_json::Value;

const ZIP: &str = "sota/sota_provisioning_credentials.zip";
const CREDENTIAL: &str = "autoprov_credentials.p12";

/// A device that has a zip as `ota-repo tls --shared` makes it, and its image's first roots.
fn unprovisioned(name: &str) -> World {
    let world = device(name);
    fs::remove_dir_all(world.dir.join("sota/import")).unwrap();
    fs::remove_file(world.dir.join("conf.d/10-server.toml")).unwrap();
    world.ota_repo(&["tls", &world.path("ota"), "--shared", &world.address]);
    fs::copy(world.dir.join("ota.keys/tls/credentials.zip"), world.dir.join(ZIP)).unwrap();
    setting(&world, "");
    world
}

fn setting(world: &World, more: &str) {
    world.fragment("80-shared", &format!("[provision]\nprovision_path = {}\n{more}", world.path(ZIP)));
}

/// A zip with these members, deflated.
fn zip(world: &World, members: &[(&str, &Path)]) {
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:\n    \
            [z.write(path, name) for name, path in zip(sys.argv[2::2], sys.argv[3::2])]\n";
    let path = world.path(ZIP);
    let mut args = vec!["-c", script, &path];
    for (name, member) in members {
        args.extend([name, member.to_str().unwrap()]);
    }
    world.run("python3", &args);
}

fn members(world: &World) -> Vec<String> {
    let script = "import sys, zipfile\nprint('\\n'.join(zipfile.ZipFile(sys.argv[1]).namelist()))";
    world.run("python3", &["-c", script, &world.path(ZIP)]).lines().map(str::to_string).collect()
}

/// A fleet's credential made with OpenSSL, signed by the server's authority or by another one.
fn by_openssl(world: &World, subject: &str, authority: &str, how: &str) {
    let openssl = |args: &str| world.run("openssl", &args.split(' ').collect::<Vec<_>>());
    fs::write(world.dir.join("v3"), "basicConstraints=CA:FALSE\n").unwrap();
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let subject = format!("/CN={subject}");
    let mut request: Vec<&str> = "req -keyout shared.key -out shared.csr".split(' ').collect();
    request.extend(ec.split(' '));
    request.extend(["-subj", &subject]);
    world.run("openssl", &request);
    openssl(&format!(
        "x509 -req -in shared.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -out shared.crt -days 9 -extfile v3"
    ));
    openssl(&format!(
        "pkcs12 -export -inkey shared.key -in shared.crt -certfile ota.keys/tls/root.crt -out shared.p12 {how}"
    ));
    fs::write(world.dir.join("autoprov.url"), format!("{}/\n", world.address)).unwrap();
    fs::write(world.dir.join("treehub.json"), "{\"oauth2\": \"for hosts\"}").unwrap();
    let path = |name| world.dir.join(name);
    zip(
        world,
        &[
            (CREDENTIAL, &path("shared.p12")),
            ("autoprov.url", &path("autoprov.url")),
            ("treehub.json", &path("treehub.json")),
            ("root.json", &path("ota/repo/1.root.json")),
        ],
    );
}

const SERVERS_OWN: &str = "ota.keys/tls/root";

fn mode(world: &World, name: &str) -> u32 {
    fs::metadata(world.dir.join(name)).unwrap().permissions().mode() & 0o777
}

/// The devices that the server gave a certificate, but for the one that `World` has anyway.
fn devices(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.dir.join("ota.keys/tls/devices")).unwrap().flatten();
    let mut names: Vec<_> = names.map(|e| e.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "device-1");
    names
}

fn id(world: &World) -> String {
    by_name(world, "aktualizr-info", &["--name-only"]).expect(0).stdout.trim().to_string()
}

#[track_caller]
fn is_provisioned(world: &World) {
    let id = id(world);
    assert!(devices(world).contains(&id), "{id}");
    assert!(world.dir.join("ota.received").join(&id).join("ecus.json").exists(), "{id} is registered");
    for name in ["sota/pkey.pem", "sota/client.pem"] {
        assert_eq!(mode(world, name), 0o600, "{name}");
    }
    assert!(fs::read_to_string(world.dir.join("sota/root.crt")).unwrap().contains("BEGIN CERTIFICATE"));
    let left: Vec<_> = fs::read_dir(world.dir.join("sota/rust-ota"))
        .unwrap()
        .chain(fs::read_dir(world.dir.join("sota")).unwrap())
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".p12") || name.ends_with(".tmp") || name.ends_with(".damaged"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_device_gets_its_certificate_and_is_updated() {
    let world = unprovisioned("ak-provision");
    aktualizr(&world, &["check"]).says("a certificate of its own now").expect(0);
    is_provisioned(&world);
    assert_eq!(members(&world), ["autoprov.url", "root.json"], "the credential is gone");
    assert_eq!(mode(&world, ZIP), 0o600);
    by_name(&world, "aktualizr-info", &[]).expect(0).says("Provisioned on server: yes");

    let id = id(&world);
    release(&world, 2);
    world.ota_repo(&["director", "assign", &world.path("ota"), "test-board-2", "--device", &id]);
    aktualizr(&world, &["once", "--exit-codes"]).expect(100);
    let asked = world.requests().iter().filter(|path| *path == "/devices").count();
    assert_eq!(asked, 1, "it has a certificate");
    assert_eq!(devices(&world), [id]);
}

#[test]
fn one_process_goes_on_with_what_it_got() {
    let world = unprovisioned("ak-provision-once");
    // All of it in one run, the events and the network's facts too.
    let run = aktualizr(&world, &["once", "--loglevel", "0"]).expect(0);
    is_provisioned(&world);
    assert!(world.dir.join("ota.received").join(id(&world)).join("network.json").exists(), "{}", run.stdout);
}

#[test]
fn a_listing_of_campaigns_is_a_first_contact_too() {
    let world = unprovisioned("ak-provision-campaign");
    aktualizr(&world, &["campaign_check"]).expect(0);
    aktualizr(&world, &["check"]).expect(0);
    is_provisioned(&world);
    assert_eq!(devices(&world).len(), 1);
}

#[test]
fn credentials_as_openssl_makes_them() {
    let world = unprovisioned("ak-provision-openssl");
    for (how, password) in [
        ("-passout pass:hush-word", "hush-word"),
        ("-passout pass:hush-word -legacy", "hush-word"),
        ("-passout pass:", ""),
    ] {
        let _ = fs::remove_dir_all(world.dir.join("sota"));
        fs::create_dir_all(world.dir.join("sota")).unwrap();
        by_openssl(&world, "shared credential", SERVERS_OWN, how);
        setting(&world, &format!("p12_password = {password}\nexpiry_days = 30\n"));
        let run = aktualizr(&world, &["check", "--loglevel", "0"]).expect(0);
        is_provisioned(&world);
        assert_eq!(members(&world), ["autoprov.url", "root.json"]);
        tells_no_secret(&world, &run, &["hush-word"]);
    }
    assert_eq!(devices(&world).len(), 3);
}

/// Neither in the log nor at the server.
fn tells_no_secret(world: &World, run: &Run, words: &[&str]) {
    let mut secrets: Vec<String> = words.iter().map(|w| w.to_string()).collect();
    for name in ["sota/pkey.pem", "shared.key"] {
        let key = fs::read_to_string(world.dir.join(name)).unwrap();
        secrets.push(key.lines().nth(1).unwrap().to_string());
    }
    let mut places = vec![format!("{}{}", run.stdout, run.stderr)];
    places
        .extend(world.snapshot("ota.received").iter().map(|(_, b)| String::from_utf8_lossy(b).into_owned()));
    for (place, secret) in places.iter().flat_map(|place| secrets.iter().map(move |s| (place, s))) {
        assert!(!place.contains(secret), "{secret} is in {place}");
    }
}

#[test]
fn a_credential_that_cannot_be_used() {
    let world = unprovisioned("ak-provision-bad");
    by_openssl(&world, "shared credential", SERVERS_OWN, "-passout pass:hush-word");
    let good = fs::read(world.dir.join(ZIP)).unwrap();
    let refused = |says: &str| {
        let run = aktualizr(&world, &["once"]).expect(1).says(says).says(ZIP);
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("hush"), "{run:?}");
        assert!(!world.dir.join("sota/client.pem").exists());
        assert!(devices(&world).is_empty());
    };
    setting(&world, "p12_password = hush-wrong\n");
    refused("the password is wrong");
    assert_eq!(fs::read(world.dir.join(ZIP)).unwrap(), good, "nothing was changed");
    setting(&world, "p12_password = hush-word\n");

    // What else needs no server works, whatever is wrong with the zip.
    fs::write(world.dir.join(ZIP), &good[..good.len() / 2]).unwrap();
    refused("not a zip file");
    world.ota(&["status"]).expect(0);
    fs::write(world.dir.join(ZIP), b"").unwrap();
    refused("not a zip file");
    fs::remove_file(world.dir.join(ZIP)).unwrap();
    refused("it is not there");
    zip(&world, &[("autoprov.url", &world.dir.join("autoprov.url"))]);
    refused("there is no autoprov_credentials.p12 in it");
    fs::write(world.dir.join("junk"), "not a PKCS#12 file").unwrap();
    zip(&world, &[(CREDENTIAL, &world.dir.join("junk")), ("autoprov.url", &world.dir.join("autoprov.url"))]);
    refused("not a PKCS#12 file, or a damaged one");

    // Put right, it goes on.
    fs::write(world.dir.join(ZIP), &good).unwrap();
    aktualizr(&world, &["check"]).expect(0);
    is_provisioned(&world);
}

#[test]
fn a_server_that_refuses() {
    let world = unprovisioned("ak-provision-refused");
    // The server knows the credential, and it is none of a fleet.
    by_openssl(&world, "somebody else", SERVERS_OWN, "-passout pass:");
    aktualizr(&world, &["check"])
        .expect(1)
        .says("/devices")
        .says("the server answered 403")
        .says("no_device");
    // A device is not a fleet.
    by_openssl(&world, "device-1", SERVERS_OWN, "-passout pass:");
    aktualizr(&world, &["check"]).expect(1).says("the server answered 404");
    // Of another authority.
    let ec = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.crt -subj /CN=other";
    world.run("openssl", &ec.split(' ').collect::<Vec<_>>());
    by_openssl(&world, "shared credential", "other", "-passout pass:");
    aktualizr(&world, &["check", "--exit-codes"]).expect(13).says("/devices");
    assert!(devices(&world).is_empty());
    assert!(members(&world).contains(&CREDENTIAL.to_string()), "it is still needed");
    assert!(!world.dir.join("sota/client.pem").exists());
}

/// The server's side of it: who has the credential of a fleet is no device.
#[test]
fn the_credential_of_a_fleet_opens_one_door() {
    let world = unprovisioned("ak-provision-door");
    by_openssl(&world, "shared credential", SERVERS_OWN, "-passout pass:");
    fs::create_dir_all(world.dir.join("sota/import")).unwrap();
    for (from, to) in [
        ("shared.crt", "client.pem"),
        ("shared.key", "pkey.pem"),
        (&format!("{SERVERS_OWN}.crt"), "root.crt"),
    ] {
        fs::copy(world.dir.join(from), world.dir.join("sota/import").join(to)).unwrap();
    }
    aktualizr(&world, &["check"]).expect(1).says("/director/ecus").says("the server answered 403");
}

#[test]
fn a_device_id_that_is_taken() {
    let world = unprovisioned("ak-provision-taken");
    let zip = fs::read(world.dir.join(ZIP)).unwrap();
    // Configured: a person has to decide.
    setting(&world, "device_id = device-1\n");
    aktualizr(&world, &["check"]).expect(1).says("device_already_registered").says("provision.device_id");
    assert_eq!(fs::read(world.dir.join(ZIP)).unwrap(), zip);
    // Made up here: another is as good.
    setting(&world, "");
    let path = world.dir.join("sota/rust-ota/ecu.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["device_id"] = "device-1".into();
    fs::write(&path, record.to_string()).unwrap();
    aktualizr(&world, &["check"]).expect(0).says("asking with another id");
    is_provisioned(&world);
    assert_ne!(id(&world), "device-1");
}

#[test]
fn the_configured_device_id_and_a_credential_that_stays() {
    let world = unprovisioned("ak-provision-reuse");
    let zip = fs::read(world.dir.join(ZIP)).unwrap();
    setting(&world, "device_id = device-7\nmode = SharedCredReuse\n");
    aktualizr(&world, &["check"]).expect(0);
    is_provisioned(&world);
    assert_eq!(id(&world), "device-7");
    assert_eq!(fs::read(world.dir.join(ZIP)).unwrap(), zip);
}

/// An image without any root of the Image repository: the one beside the credential is its first.
#[test]
fn the_root_beside_the_credential() {
    let world = unprovisioned("ak-provision-root");
    world.fragment("90-root", "[rust_ota]\nroot = /nonexistent/root.json\n");
    aktualizr(&world, &["check"]).expect(0);
    is_provisioned(&world);
    let trusted = fs::read(world.dir.join("sota/rust-ota/trust/image/root.json")).unwrap();
    assert_eq!(trusted, fs::read(world.dir.join("ota/repo/1.root.json")).unwrap());
}

/// What ota-repo packs, another program opens.
#[test]
fn openssl_reads_what_the_server_makes() {
    let world = unprovisioned("ak-provision-read");
    let script = "import sys, zipfile\nzipfile.ZipFile(sys.argv[1]).extractall('unpacked')";
    world.run("python3", &["-c", script, &world.path(ZIP)]);
    let file = format!("unpacked/{CREDENTIAL}");
    let out = world.run("openssl", &["pkcs12", "-in", &file, "-passin", "pass:", "-nodes", "-info"]);
    assert_eq!(out.matches("BEGIN CERTIFICATE").count(), 2, "{out}");
    assert_eq!(out.matches("BEGIN PRIVATE KEY").count(), 1, "{out}");
}

/// A kill before and after each change on disk: the next run ends provisioned, as without one.
#[test]
fn cut_in_provisioning() {
    let lost = each_cut("ak-provision-cut", "");
    assert_eq!(lost, 0, "another id is as good");
}

/// With an id that is configured there is one point that a device cannot come back from by itself: the server gave out a
/// certificate, and nothing of it was kept yet.
#[test]
fn cut_in_provisioning_of_a_device_with_a_name() {
    let lost = each_cut("ak-provision-cut-name", "device_id = device-7\n");
    assert_eq!(lost, 1);
}

/// Goes through all points; at how many a person had to help.
fn each_cut(name: &str, setting_more: &str) -> usize {
    let world = unprovisioned(name);
    setting(&world, setting_more);
    let saved = world.dir.join("saved");
    copy(&world, &world.dir, &saved);
    let (mut number, mut lost) = (1, 0);
    loop {
        let mut command = client(&world, "aktualizr", &["campaign_check"]);
        let output = command.env("RUST_OTA_CUT_AT", number.to_string()).output().unwrap();
        // Nothing secret is ever there for others, not even where it was cut.
        for name in [
            "sota/pkey.pem",
            "sota/pkey.pem.tmp",
            "sota/client.pem",
            "sota/client.pem.tmp",
            "sota/rust-ota/provisioned.p12",
            "sota/rust-ota/provisioned.p12.tmp",
        ] {
            if world.dir.join(name).exists() {
                assert_eq!(mode(&world, name), 0o600, "{name}, point {number}");
            }
        }
        let killed = output.status.signal() == Some(9);
        if aktualizr(&world, &["check"]).code != 0 {
            lost += 1;
            aktualizr(&world, &["check"]).says("device_already_registered").expect(1);
            fs::remove_dir_all(world.dir.join("ota.keys/tls/devices/device-7")).unwrap();
            aktualizr(&world, &["check"]).expect(0);
        }
        is_provisioned(&world);
        assert_eq!(members(&world), ["autoprov.url", "root.json"], "point {number}");
        // An answer that was cut before it was kept leaves a device at the server that nobody is.
        assert!((1..=2).contains(&devices(&world).len()), "point {number}: {:?}", devices(&world));
        copy(&world, &saved, &world.dir);
        if !killed {
            break;
        }
        number += 1;
        assert!(number < 100, "it never ends");
    }
    println!("{} points", number - 1);
    assert!(number > 12, "{number}");
    lost
}

/// The device's state, and what the server knows of it.
fn copy(world: &World, from: &Path, to: &Path) {
    for name in ["sota", "ota.received", "ota.keys/tls/devices"] {
        let _ = fs::remove_dir_all(to.join(name));
        if from.join(name).exists() {
            fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
            world.run("cp", &["-a", from.join(name).to_str().unwrap(), to.join(name).to_str().unwrap()]);
        }
    }
}
