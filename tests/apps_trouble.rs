//! Apps where something else is in trouble, or hostile: the engine, the disk, the project folder of an app that was taken over. A
//! stand-in plays Docker, since no real engine is away, full or mad on demand (tests/python/docker_standin.py).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod apps_common;

use apps_common::{Run, Shop};
use std::fs;
use std::path::{Path, PathBuf};

/// A device whose `docker` is the stand-in.
struct Device {
    shop: Shop,
    engine: PathBuf,
}

impl Device {
    fn new(name: &str) -> Option<Device> {
        let shop = Shop::new(name)?;
        let engine = shop.world.dir.join("docker");
        fs::create_dir_all(shop.world.dir.join("bin")).unwrap();
        fs::create_dir_all(&engine).unwrap();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/docker_standin.py");
        let docker = shop.world.dir.join("bin/docker");
        let _ = fs::remove_file(&docker);
        std::os::unix::fs::symlink(program, &docker).unwrap();
        let device = Device { shop, engine };
        device.settings("");
        Some(device)
    }

    fn settings(&self, more: &str) {
        let docker = self.shop.world.path("bin/docker");
        let text = format!(
            "[pacman]\ndocker_compose_bin = {docker}\n[rust_ota]\nengine = docker\napp_start_sec = 3\napp_settle_sec = 0\n{more}"
        );
        self.shop.world.fragment("70-docker", &text);
    }

    fn ota(&self, words: &[&str]) -> Run {
        let path = format!("{}:{}", self.shop.world.path("bin"), std::env::var("PATH").unwrap());
        let mut command = self.shop.world.client(words);
        command.env("PATH", path).env("DOCKER_STANDIN", &self.engine).env("LC_ALL", "C");
        let output = command.output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.engine.join(name), text).unwrap();
    }

    fn unset(&self, name: &str) {
        fs::remove_file(self.engine.join(name)).unwrap();
    }

    fn release(&self, version: u32, compose: &str) {
        let uri = self.shop.publish("web", compose);
        self.shop.target(1, version, &[("web", &uri)]);
    }

    fn known_bad(&self) -> usize {
        let text = fs::read(self.shop.world.dir.join("sota/rust-ota/installed.json")).unwrap_or_default();
        let installed: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let count = |list: &str| installed[list].as_array().map_or(0, Vec::len);
        count("known_bad") + count("bad_apps")
    }

    fn project(&self) -> PathBuf {
        self.shop.world.dir.join("compose-apps/web")
    }

    fn given(&self) -> PathBuf {
        self.shop.world.dir.join("compose-apps/engine.files/web/.rust-ota.compose.yml")
    }
}

fn web(image: &str) -> String {
    format!("services:\n  web:\n    image: {image}\n    volumes: ['.:/work']\n")
}

#[test]
fn the_devices_trouble_is_not_the_targets() {
    let Some(device) = Device::new("apps-trouble") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    for trouble in [
        "docker: 'compose' is not a docker command.\nSee 'docker --help'",
        "error during connect: Cannot connect to the Docker daemon. Is the docker daemon running?",
        "failed to register layer: write /var/lib/docker/overlay2/x: no space left on device",
        "Error response from daemon: Conflict. The container name \"/web-web-1\" is already in use",
        "error creating temporary lease: read-only file system",
        "failed to create network web_default: Pool overlaps with other one on this address space",
        "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated",
        "runc create failed: unable to start container process: unable to apply cgroup configuration",
        "iptables: can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
    ] {
        device.set("says", trouble);
        device.ota(&["update"]).expect(1).says(trouble.lines().next().unwrap());
        assert_eq!(device.known_bad(), 0, "{trouble}");
    }
    device.settings("[pacman]\ndocker_compose_bin = docker compose\n");
    device.ota(&["update"]).expect(1);
    device.settings("");
    device.unset("says");
    device.ota(&["update"]).expect(0).says("test-board-2 runs");

    // What is the Target's own is still known to be so.
    device.release(3, &format!("{}    tty: true\n", web(&image)));
    device.set(
        "says",
        "OCI runtime create failed: exec: \"/nope\": stat /nope: no such file or directory: unknown",
    );
    device.ota(&["update"]).expect(130);
    assert_eq!(device.known_bad(), 1);
}

#[test]
fn an_engine_that_is_away_after_the_reboot() {
    let Some(device) = Device::new("apps-engine-away") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    device.ota(&["update"]).expect(0);
    device.shop.world.commit(5, &[]);
    let uri = device.shop.publish("web", &format!("{}    tty: true\n", web(&image)));
    device.shop.target(5, 5, &[("web", &uri)]);
    device.ota(&["update"]).expect(100);
    device.set("down", "");
    device.shop.world.reboot_into(0);
    device.ota(&["finalize"]).expect(0).says("its boot is confirmed");
    assert_eq!(device.known_bad(), 0);
    device.ota(&["check"]).expect(17).says("web: not running");
    device.ota(&["update"]);
    assert_eq!(device.known_bad(), 0);
    device.unset("down");
    device.ota(&["update"]).expect(0).says("test-board-5 runs");
    device.ota(&["check"]).expect(0).says("Up to date");
}

#[test]
fn an_app_that_was_taken_over_leads_nobody_astray() {
    let Some(device) = Device::new("apps-links") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    device.ota(&["update"]).expect(0);
    let host = device.shop.world.dir.join("hosts-file");
    fs::write(&host, "the host's").unwrap();

    // What the engine is given is not in what the app mounts; and where it is, no link is followed.
    assert!(!device.project().join(".rust-ota.compose.yml").exists());
    for name in [
        ".rust-ota.compose.yml.tmp",
        ".rust-ota.compose.yml.new",
        "docker-compose.yml.new",
        "docker-compose.yml",
    ] {
        for folder in [device.project(), device.given().parent().unwrap().to_path_buf()] {
            let _ = fs::remove_file(folder.join(name));
            std::os::unix::fs::symlink(&host, folder.join(name)).unwrap();
        }
    }
    fs::write(device.project().join(".env"), "X=evil\n").unwrap();
    device.release(3, &format!("{}    tty: true\n", web(&image)));
    device.ota(&["update"]).expect(0);
    assert_eq!(fs::read_to_string(&host).unwrap(), "the host's");
    assert!(device.project().join("docker-compose.yml").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(device.given().with_file_name(".env")).unwrap(), b"");
    let log = fs::read_to_string(device.engine.join("log")).unwrap();
    assert!(log.contains("--env-file") && log.contains("engine.files/web/.env"), "{log}");

    // A folder of its own that the engine would mount has become a link.
    let mounts = |n: u32| {
        format!("services:\n  web:\n    image: {image}\n    volumes: ['./data:/data']\n    mem_limit: {n}m\n")
    };
    std::os::unix::fs::symlink("/etc", device.project().join("data")).unwrap();
    device.release(4, &mounts(4));
    device.ota(&["update"]).expect(1).says("leads out of the app's folder");
    assert_eq!(device.known_bad(), 0);
    fs::remove_file(device.project().join("data")).unwrap();
    device.ota(&["update"]).expect(0);
    // No engine has a folder of its own to begin a path from.
    let given = fs::read_to_string(device.engine.join("given.yml")).unwrap();
    assert!(given.contains(&format!("{}/data:/data", device.project().display())), "{given}");
}

#[test]
fn a_container_that_nobody_named_is_stopped() {
    let Some(device) = Device::new("apps-stranger") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    device.set("stranger", "evil");
    device.ota(&["update"]).expect(1).says("\"evil\", which the app does not have");
    let log = fs::read_to_string(device.engine.join("log")).unwrap();
    assert!(log.lines().any(|line| line == "stop c-web-evil"), "{log}");
    assert_eq!(device.known_bad(), 0);
    device.unset("stranger");
    device.set("meddles", "services: {}\n");
    device.ota(&["update"]).expect(1).says("somebody changed");
    device.unset("meddles");
    device.ota(&["update"]).expect(0);
    // It comes later.
    let good = fs::read_to_string(device.engine.join("c-web-web")).unwrap();
    device.set("c-web-evil", &good.replace("\"service\": \"web\"", "\"service\": \"evil\""));
    let status = device.ota(&["status", "--json"]).json();
    assert_eq!(status["apps"][0]["state"], "unhealthy");
    device.ota(&["check"]).expect(17).says("web: not running");
}

/// podman-compose since 1.1 takes variables from the `.env` of the folder that it is run in, and of that of the Compose file.
#[test]
fn no_engine_is_run_in_a_folder_that_an_app_may_write() {
    let Some(device) = Device::new("apps-folder") else { return };
    let bin = device.shop.world.dir.join("bin");
    let _ = fs::remove_file(bin.join("podman"));
    std::os::unix::fs::symlink(bin.join("docker"), bin.join("podman")).unwrap();
    let program = bin.join("compose");
    fs::write(&program, "#!/bin/sh\npwd >> \"$DOCKER_STANDIN/folders\"\nexec podman compose \"$@\"\n")
        .unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    for engine in ["podman", "docker"] {
        let program = program.display();
        let text = format!("engine = {engine}\napp_start_sec = 3\napp_settle_sec = 0\n");
        device
            .shop
            .world
            .fragment("70-docker", &format!("[pacman]\ndocker_compose_bin = {program}\n[rust_ota]\n{text}"));
        let _ = fs::remove_file(device.engine.join("c-web-web"));
        device.ota(&["update"]).expect(0);
        let folders = fs::read_to_string(device.engine.join("folders")).unwrap();
        let given = device.given().parent().unwrap().canonicalize().unwrap();
        assert!(folders.lines().all(|folder| Path::new(folder) == given), "{engine}: {folders}");
    }
}

#[test]
fn what_an_app_may_ask_for() {
    let Some(device) = Device::new("apps-rights") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &format!("{}    privileged: true\n    network_mode: host\n", web(&image)));
    device.settings("apps_may = host-namespaces\n");
    device.ota(&["update"]).expect(70).says("privileged of service web").says("rust_ota.apps_may");
    assert!(!device.given().exists() && device.known_bad() == 0);
    // By default what others let through.
    device.settings("");
    device.ota(&["update"]).expect(0);
    // What came in before the list was narrower is not started again.
    device.settings("apps_may = \"\"\n");
    fs::remove_file(device.engine.join("c-web-web")).unwrap();
    device.ota(&["update"]).expect(70);
}

#[test]
fn what_merges_bring_in_is_seen() {
    let Some(device) = Device::new("apps-merge") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    let hidden = format!(
        "services:\n  <<:\n    evil:\n      image: {image}\n      privileged: true\n  web:\n    image: {image}\n"
    );
    let uri = device.shop.publish_raw("web", &hidden);
    device.shop.target(1, 2, &[("web", &uri)]);
    device.ota(&["update"]).expect(70).says("<< brings in");
    // A common part is what it looks like, and the engine is given it without anything left to merge.
    let common = format!(
        "x-c: &c\n  image: {image}\nservices:\n  web:\n    <<: *c\n    environment: {{A: yes, B: 'yes'}}\n"
    );
    let uri = device.shop.publish_raw("web", &common);
    device.shop.target(1, 3, &[("web", &uri)]);
    device.ota(&["update"]).expect(0);
    let given = fs::read_to_string(device.engine.join("given.yml")).unwrap();
    assert!(!given.contains("<<") && !given.contains('&'), "{given}");
    assert!(given.contains("A: yes\n") && given.contains("B: \"yes\"\n"), "{given}");
}

#[test]
fn an_engine_gone_mad() {
    let Some(device) = Device::new("apps-mad") else { return };
    let image = device.shop.image("f/web:1", "one", 1000);
    device.release(2, &web(&image));
    for mode in ["endless ps", "junk container", "huge container", "endless compose"] {
        device.set("mode", mode);
        let run = device.ota(&["update"]);
        assert!(run.code == 1 || run.code == 80, "{mode}: {} {}", run.code, run.stderr);
        assert_eq!(device.known_bad(), 0, "{mode}");
    }
    device.unset("mode");
    device.ota(&["update"]).expect(0);
    assert!(Path::new(&device.given()).exists());
}
