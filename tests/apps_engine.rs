//! Apps with a real engine on this machine (Podman): first installation, an update of one app without a reboot, with a reboot,
//! apps that do not come up, and the way back. With Docker the same is tested in qemu-tests/tests/test_apps_docker.py.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod apps_common;

use apps_common::{Shop, compose};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn from_the_first_installation_to_a_removed_app() {
    let Some(mut shop) = Shop::new("apps-life") else { return };
    if !shop.engine() {
        return;
    }
    let (one, two) = (shop.image("f/web:1", "one", 1000), shop.image("f/web:2", "two", 1000));
    let (web, db) = (shop.publish("web", &compose(&one)), shop.publish("db", &compose(&one)));
    shop.target(1, 2, &[("web", &web), ("db", &db)]);
    shop.ota(&["update"]).expect(0).says("test-board-2 runs");
    assert_eq!(shop.version_of("web").as_deref(), Some("one"));
    assert_eq!(shop.version_of("db").as_deref(), Some("one"));
    shop.ota(&["check"]).expect(0).says("Up to date");
    let status = shop.ota(&["status", "--json"]).expect(0).json();
    assert_eq!(status["apps"][0]["name"], "db");
    assert_eq!(status["apps"][0]["state"], "healthy");
    assert_eq!(status["apps"][0]["services"][0]["status"], "running");

    // One app changes: no reboot, and the other one is not touched.
    let id = |shop: &Shop, app: &str| {
        shop.podman(&["ps", "-q", "--filter", &format!("label=com.docker.compose.project={app}")]).stdout
    };
    let untouched = id(&shop, "db");
    let newer = shop.publish("web", &compose(&two));
    shop.target(1, 3, &[("web", &newer), ("db", &db)]);
    shop.ota(&["check"]).expect(17).says("web: new version in target");
    shop.ota(&["update"]).expect(0).says("test-board-3 runs");
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
    assert_eq!(id(&shop, "db"), untouched);

    // Somebody stopped it: it is started again.
    shop.podman(&["rm", "--all", "--force", "--time", "10"]).expect(0);
    shop.ota(&["check"]).expect(17).says("web: not running");
    shop.ota(&["update"]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));

    // An app leaves the list: it is stopped and removed, and so is what only it needed.
    shop.world.fragment("70-list", "[pacman]\ncompose_apps = db\n");
    shop.ota(&["check"]).expect(17).says("web: not wanted any more");
    shop.ota(&["update"]).expect(0);
    assert_eq!(shop.version_of("web"), None);
    assert_eq!(shop.version_of("db").as_deref(), Some("one"));
    assert!(!shop.world.dir.join("compose-apps/web").exists());
    // Back by hand: from the store, without the registry.
    shop.stop_registry();
    shop.world.fragment("70-list", "");
    shop.ota(&["update"]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
}

#[test]
fn an_app_that_does_not_come_up_brings_the_earlier_one_back() {
    let Some(mut shop) = Shop::new("apps-broken") else { return };
    if !shop.engine() {
        return;
    }
    let (one, two) = (shop.image("f/web:1", "one", 1000), shop.image("f/web:2", "two", 1000));
    let good = shop.publish("web", &compose(&one));
    shop.target(1, 2, &[("web", &good)]);
    shop.ota(&["update"]).expect(0);

    let exits = compose(&two).replace("trap 'exit 0' TERM; while true; do sleep 1; done", "sleep 1; exit 3");
    let uri = shop.publish("web", &exits);
    shop.target(1, 3, &[("web", &uri)]);
    shop.ota(&["check"]).expect(17);
    shop.ota(&["download"]).expect(0);
    // The way back needs no registry.
    shop.stop_registry();
    shop.ota(&["install"]).expect(110).says("ended with exit code 3").says("what ran before runs again");
    assert_eq!(shop.version_of("web").as_deref(), Some("one"));
    shop.ota(&["check"]).expect(0).says("test-board-3 is the newest Target, but it is known to be bad");
    shop.ota(&["status"]).expect(0).says("test-board-2 (version 2)");

    // The engine is gone, which is not the Target's fault.
    shop.start_registry();
    let uri = shop.publish("web", &format!("{exits}x-again: yes\n"));
    shop.target(1, 4, &[("web", &uri)]);
    shop.ota(&["check"]).expect(17);
    shop.ota(&["download"]).expect(0);
    shop.world.fragment("70-engine", "[pacman]\ndocker_compose_bin = /nonexistent/compose\n");
    shop.ota(&["install"]).expect(1).says("could not be brought back").says("/nonexistent/compose");
    shop.world.fragment("70-engine", "");
    shop.ota(&["check"]).expect(17).says("web: new version in target");
    // A person insists, and a newer Target is tried by itself.
    let uri = shop.publish("web", &compose(&two));
    shop.target(1, 5, &[("web", &uri)]);
    shop.ota(&["update"]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
}

#[test]
fn with_the_system_and_back_with_it() {
    let Some(mut shop) = Shop::new("apps-system") else { return };
    if !shop.engine() {
        return;
    }
    let (one, two) = (shop.image("f/web:1", "one", 1000), shop.image("f/web:2", "two", 1000));
    let good = shop.publish("web", &compose(&one));
    shop.target(1, 2, &[("web", &good)]);
    shop.ota(&["update"]).expect(0);

    // The system and the app together: the app waits for the boot.
    shop.world.commit(5, &[]);
    let newer = shop.publish("web", &compose(&two));
    shop.target(5, 5, &[("web", &newer)]);
    shop.ota(&["check"]).expect(16);
    shop.ota(&["update"]).expect(100);
    shop.stop_registry();
    shop.world.reboot_into(0);
    shop.ota(&["finalize"]).expect(0).says("test-board-5 runs");
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
    assert_eq!(shop.world.boot_variable("upgrade_available"), "0");

    // The system is good and its app is not: back to the Target before, by one more boot.
    shop.start_registry();
    shop.world.commit(6, &[]);
    let exits = compose(&one).replace("trap 'exit 0' TERM; while true; do sleep 1; done", "exit 4");
    let bad = shop.publish("web", &exits);
    shop.target(6, 6, &[("web", &bad)]);
    shop.ota(&["update"]).expect(100);
    shop.stop_registry();
    shop.world.reboot_into(0);
    shop.ota(&["finalize"]).expect(120).says("test-board-5 is deployed again; reboot");
    shop.world.reboot_into(0);
    shop.ota(&["finalize"]).expect(0).says("test-board-5 runs");
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
    shop.ota(&["list"]).expect(0).says("known to be bad");

    // The bootloader goes back: so does the app.
    shop.start_registry();
    shop.world.commit(7, &[]);
    shop.target(7, 7, &[("web", &good)]);
    shop.ota(&["update"]).expect(100);
    assert_eq!(shop.version_of("web"), None, "stopped, with the new one's containers made");
    shop.world.roll_back();
    shop.ota(&["finalize"]).expect(110).says("the bootloader rolled back");
    assert_eq!(shop.version_of("web").as_deref(), Some("two"));
}

#[test]
fn apps_are_staged_and_started_by_finalize() {
    let Some(mut shop) = Shop::new("apps-staged") else { return };
    if !shop.engine() {
        return;
    }
    let lock = shop.world.path("run/aklite.lock");
    shop.world.fragment("30-lite", &format!("[rust_ota]\naklite_lock = {lock}\n"));
    let image = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&image));
    shop.target(1, 2, &[("web", &uri)]);
    shop.lite(&["check"]).expect(17);
    shop.lite(&["pull"]).expect(0);
    shop.lite(&["install", "--install-mode", "delay-app-install"])
        .expect(10)
        .says("run finalize to start them");
    assert_eq!(shop.version_of("web"), None);
    shop.lite(&["install"]).expect(30);
    shop.lite(&["run"]).expect(0);
    assert_eq!(shop.version_of("web").as_deref(), Some("one"));
    let status = shop.lite(&["status", "--json", "1"]).expect(0).json();
    assert_eq!(status["applied_target"]["apps"][0]["running"], true);
}

/// A web server that ends at once when it is told to, as an app should.
fn served(image: &str, port: u16) -> String {
    format!(
        "services:\n  web:\n    image: {image}\n    command: [\"sh\", \"-c\", \"trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait\"]\n    \
         ports: [\"127.0.0.1:{port}:8080\"]\n"
    )
}

/// What a web server says; none where nobody answers.
fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    reply.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_string())
}

/// Seconds from the last answer of the old version to the first one of the new, while `update` runs.
fn away(port: u16, old: &str, new: &str, update: impl FnOnce()) -> f64 {
    let (done, seen) = (AtomicBool::new(false), Mutex::new((None, None)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let said = ask(port);
                let mut seen = seen.lock().unwrap();
                match said.as_deref() {
                    Some(text) if text == old => seen.0 = Some(Instant::now()),
                    Some(text) if text == new => drop(seen.1.get_or_insert_with(Instant::now)),
                    _ => {}
                }
                drop(seen);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        update();
        done.store(true, Ordering::Relaxed);
    });
    let (last, first) = seen.into_inner().unwrap();
    (first.expect("the new version answered") - last.expect("the old version answered")).as_secs_f64()
}

#[test]
fn how_long_an_app_is_away() {
    let Some(mut shop) = Shop::new("apps-away") else { return };
    if !shop.engine() {
        return;
    }
    let port = shop.free_port();
    let (one, two) = (shop.image("f/web:1", "one", 4_000_000), shop.image("f/web:2", "two", 4_000_000));
    let apps = [&one, &two].map(|image| shop.publish("web", &served(image, port)));
    let other = shop.publish("db", &compose(&one));
    shop.target(1, 2, &[("web", &apps[0]), ("db", &other)]);
    shop.ota(&["update"]).expect(0);
    assert_eq!(ask(port).as_deref(), Some("one"));
    let untouched = |shop: &Shop| {
        let filter = "label=com.docker.compose.project=db";
        shop.podman(&["ps", "--no-trunc", "--filter", filter, "--format", "{{.ID}} {{.StartedAt}}"]).stdout
    };
    let before = untouched(&shop);
    for (version, app, old, new, stop) in [(3, 1, "one", "two", "1"), (4, 0, "two", "one", "0")] {
        shop.world.fragment("70-stop", &format!("[pacman]\nstop_apps_before_update = {stop}\n"));
        shop.target(1, version, &[("web", &apps[app]), ("db", &other)]);
        shop.ota(&["check"]).expect(17);
        shop.ota(&["download"]).expect(0);
        let seconds = away(port, old, new, || drop(shop.ota(&["install"]).expect(0)));
        println!("stop_apps_before_update = {stop}: away for {seconds:.2} s");
        assert_eq!(untouched(&shop), before, "the other app runs on");
    }
}
