//! The systemd units: no check before boot-complete.target makes an ordering cycle with them, and each is a sandbox.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of the units that every image takes.
const UNITS: &str = "meta-rust-ota/recipes-sota/rust-ota/files/systemd";
/// What images enable, by the target that wants it.
const ENABLED: [(&str, &str); 5] = [
    ("multi-user.target", "rust-ota-finalize.service"),
    ("multi-user.target", "rust-ota-report.service"),
    ("multi-user.target", "rust-ota.service"),
    ("sysinit.target", "rust-ota-deadline.timer"),
    ("timers.target", "rust-ota.timer"),
];
/// Checks that people put before boot-complete.target: what their `[Unit]` says beside `Before=boot-complete.target`.
const GATES: [(&str, &str); 10] = [
    ("no order", ""),
    ("after the product's service", "After=product.service\nRequires=product.service\n"),
    ("after multi-user.target", "After=multi-user.target\n"),
    ("after graphical.target", "After=graphical.target\n"),
    ("after default.target, as systemd's own", "After=default.target graphical.target multi-user.target\n"),
    ("after the network", "Wants=network-online.target\nAfter=network-online.target\n"),
    ("after Docker", "Wants=docker.service\nAfter=docker.service\n"),
    ("after Docker and multi-user.target", "After=docker.service multi-user.target\n"),
    ("greenboot's", "RequiresMountsFor=/boot /etc\n"),
    ("early", "DefaultDependencies=no\nAfter=local-fs.target\n"),
];
const DOCKER: &str =
    "[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/bin/true\n";
const PRODUCT: &str = "[Service]\nExecStart=/bin/true\n";

/// How exposed a service may be, in tenths of what `systemd-analyze security` counts up to ten.
const MOST_EXPOSED: u32 = 30;

/// Units in a folder of their own, beside the system's.
struct World(PathBuf);

impl World {
    fn new(name: &str) -> World {
        let world = World::without_ours(name);
        for (target, unit) in ENABLED {
            world.link(target, "wants", unit);
        }
        world
    }

    fn without_ours(name: &str) -> World {
        let folder = std::env::temp_dir().join(format!("rust-ota-units-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in units() {
            fs::write(folder.join(name), text.replace("/usr/bin/rust-ota ", "/bin/true ")).unwrap();
        }
        let world = World(folder);
        for (unit, text) in [("docker.service", DOCKER), ("product.service", PRODUCT)] {
            fs::write(world.0.join(unit), text).unwrap();
            world.link("multi-user.target", "wants", unit);
        }
        symlink("/lib/systemd/system/graphical.target", world.0.join("default.target")).unwrap();
        world
    }

    /// A check that boot-complete.target needs, and may be multi-user.target too.
    fn gate(&self, text: &str, wanted_too: bool) {
        fs::write(self.0.join("gate.service"), text).unwrap();
        self.link("boot-complete.target", "requires", "gate.service");
        if wanted_too {
            self.link("multi-user.target", "wants", "gate.service");
        }
    }

    fn link(&self, target: &str, kind: &str, unit: &str) {
        let folder = self.0.join(format!("{target}.{kind}"));
        fs::create_dir_all(&folder).unwrap();
        symlink(format!("../{unit}"), folder.join(unit)).unwrap();
    }

    /// What systemd finds circular in the order of a boot.
    fn cycles(&self) -> Vec<String> {
        let said = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--generators=no", "graphical.target"])
            .env("SYSTEMD_UNIT_PATH", format!("{}:/lib/systemd/system", self.0.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let bad =
            |line: &&str| line.contains("cycle") || line.contains("deleted") || line.contains("Refusing");
        said.lines().filter(bad).map(str::to_string).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn units() -> Vec<(String, String)> {
    let all = fs::read_dir(UNITS).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    all.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

fn has_systemd() -> bool {
    let found = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !found {
        eprintln!("NOT CHECKED: there is no systemd-analyze here");
    }
    found
}

/// Whole units that our own pages tell people to write.
fn gates_of_the_docs() -> Vec<(String, String)> {
    let mut gates = Vec::new();
    for page in ["quick-start", "production"].map(|name| format!("docs/yocto/{name}.md")) {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("ini\n"));
        let wanted = blocks.filter(|block| block.contains("RequiredBy=boot-complete.target"));
        gates.extend(wanted.map(|block| (page.clone(), block.to_string())));
    }
    gates
}

#[test]
fn no_check_before_boot_complete_makes_a_cycle() {
    if !has_systemd() {
        return;
    }
    let unit = |order: &str| {
        format!("[Unit]\nBefore=boot-complete.target\n{order}[Service]\nType=oneshot\nExecStart=/bin/true\n")
    };
    let mut gates: Vec<(String, String)> =
        GATES.iter().map(|(name, order)| (name.to_string(), unit(order))).collect();
    let of_docs = gates_of_the_docs();
    assert!(of_docs.len() >= 2, "{of_docs:?}");
    gates.extend(of_docs);
    let mut tried = 0;
    for (name, text) in gates {
        for wanted_too in [false, true] {
            let (without, world) = (World::without_ours("without"), World::new("gates"));
            without.gate(&text, wanted_too);
            world.gate(&text, wanted_too);
            // One that is a circle by itself is nobody else's doing.
            let cycles = if without.cycles().is_empty() { world.cycles() } else { continue };
            tried += 1;
            assert!(
                cycles.is_empty(),
                "a check {name}, wanted by multi-user.target {wanted_too}: {cycles:#?}"
            );
        }
    }
    assert!(tried > 20, "only {tried} of them were tried");
}

#[test]
fn systemds_own_check_keeps_its_job() {
    let own = "systemd-boot-check-no-failures.service";
    if !has_systemd() || !Path::new("/lib/systemd/system").join(own).exists() {
        return;
    }
    let world = World::new("own");
    let folder = world.0.join("boot-complete.target.requires");
    fs::create_dir_all(&folder).unwrap();
    symlink(Path::new("/lib/systemd/system").join(own), folder.join(own)).unwrap();
    assert_eq!(world.cycles(), Vec::<String>::new());
}

/// Sees that the test above can see a cycle at all.
#[test]
fn a_unit_that_multi_user_waits_for_would_make_one() {
    if !has_systemd() {
        return;
    }
    let world = World::new("red");
    let gate =
        "[Unit]\nBefore=boot-complete.target\nAfter=multi-user.target\n[Service]\nExecStart=/bin/true\n";
    world.gate(gate, false);
    let finalize = world.0.join("rust-ota-finalize.service");
    let text = fs::read_to_string(&finalize).unwrap();
    fs::write(&finalize, text.replace("DefaultDependencies=no\n", "")).unwrap();
    assert_ne!(world.cycles(), Vec::<String>::new());
}

#[test]
fn every_service_is_a_sandbox() {
    if !has_systemd() {
        return;
    }
    let services: Vec<_> = units().into_iter().filter(|(name, _)| name.ends_with(".service")).collect();
    assert_eq!(services.len(), 6);
    for (name, _) in services {
        let said = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=yes"])
            .arg(Path::new(UNITS).join(&name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let level = said.rsplit_once(&format!("level for {name}: ")).map_or("", |(_, rest)| rest);
        let tenths: String = level.split_whitespace().next().unwrap_or("").replace('.', "");
        let tenths: u32 = tenths.parse().unwrap_or_else(|_| panic!("{name}: {said}"));
        assert!(tenths <= MOST_EXPOSED, "{name} is exposed by {tenths} tenths:\n{said}");
    }
}

#[test]
fn every_service_has_limits_and_none_is_kept_from_the_oom_killer() {
    for (name, text) in units().into_iter().filter(|(name, _)| name.ends_with(".service")) {
        for key in
            ["UMask=0077", "MemoryHigh=", "MemoryMax=", "TasksMax=", "LimitCORE=0", "SystemCallFilter="]
        {
            assert!(text.lines().any(|line| line.starts_with(key)), "{name} has no {key}");
        }
        assert!(!text.contains("OOMScoreAdjust=-"), "{name} asks to be spared");
    }
}
