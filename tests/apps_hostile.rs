//! A registry that means ill, by a table of answers: each ends in an error of its own, with little memory and nothing kept on the disk,
//! and the next honest run succeeds. `cargo test --test apps_hostile -- --nocapture` prints the table.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod apps_common;

use apps_common::{Shop, compose};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Runs a program and prints its peak memory in kB behind what it says.
const MEASURED: &str = "import resource, subprocess, sys\nr = subprocess.run(sys.argv[1:])\n\
    print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\nsys.exit(r.returncode)";

struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The registry, its port, and its modes.
fn hostile(shop: &Shop, mode: &str) -> (Registry, String, Vec<String>) {
    let tls = shop.world.path("ota.keys/tls");
    let mut child = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/hostile_registry.py"))
        .args([format!("{tls}/server.crt"), format!("{tls}/server.key"), mode.to_string(), shop.host.clone()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port = lines.next().unwrap();
    let modes = lines.take_while(|line| !line.is_empty()).collect();
    (Registry(child), format!("127.0.0.1:{port}"), modes)
}

fn kept(shop: &Shop) -> u64 {
    let blobs = fs::read_dir(shop.world.dir.join("reset-apps/blobs/sha256")).into_iter().flatten().flatten();
    blobs.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn whatever_a_registry_answers() {
    let Some(shop) = Shop::new("apps-hostile") else { return };
    let mode = shop.world.path("mode");
    let image = shop.image("f/web:1", "one", 1000);
    let uri = shop.publish("web", &compose(&image));
    let (_registry, host, modes) = hostile(&shop, &mode);
    shop.target(1, 2, &[("web", &uri.replace(&shop.host, &host))]);
    shop.world.ota(&["check"]).expect(17);
    let download = |name: &str| {
        fs::write(&mode, name).unwrap();
        let client = shop.world.client(&["download"]);
        let begun = Instant::now();
        let run = Command::new("python3")
            .args(["-c", MEASURED])
            .arg(client.get_program())
            .args(client.get_args())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let peak: u64 = said.rsplit("peak ").next().unwrap().trim().parse().unwrap();
        let error = said.lines().rev().nth(1).unwrap_or_default().to_string();
        let seconds = begun.elapsed().as_secs_f32();
        println!(
            "{name:26} exit {:3} {peak:6} kB {seconds:5.1} s {:7} kept  {error:.200}",
            run.status.code().unwrap_or(-1),
            kept(&shop)
        );
        (run.status.code(), peak, said)
    };
    for name in modes.iter().filter(|m| *m != "honest") {
        let (code, peak, said) = download(name);
        assert!([Some(50), Some(70), Some(1)].contains(&code), "{name}: {code:?} {said}");
        assert!(said.contains(&host), "{name}: the error does not name the registry: {said}");
        assert!(peak < 64 * 1024, "{name}: {peak} kB");
        assert!(kept(&shop) < 1024 * 1024, "{name}: {} bytes", kept(&shop));
    }
    assert_eq!(download("honest").0, Some(0));
}
