//! The command blocks of the first pages that people read, run in their order on a device of the tests.
//!
//! What cannot run here is named in `SKIPPED` with its reason, which the test prints. Anything else has to work.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::World;

/// The beginning of a line, and why it is not run.
const SKIPPED: [(&str, &str); 18] = [
    ("./scripts/demo", "boots devices in QEMU"),
    ("./scripts/test", "runs all tests, and this is one of them"),
    ("python3 -m venv", "needs a package registry"),
    ("git clone", "needs the network"),
    ("cargo build --release --bin ota-repo", "the test has built it"),
    ("export KAS_PREMIRRORS", "is about checkouts of Yocto's layers"),
    ("kas build", "needs Yocto; the test publishes a commit in its place"),
    ("cd build/tmp/deploy", "needs the image that Yocto builds"),
    ("qemu-system-", "needs the image that Yocto builds; the test has a device on a sysroot"),
    ("rsync", "needs a second machine"),
    ("systemctl", "needs systemd"),
    ("journalctl", "needs systemd"),
    ("ostree static-delta generate --repo=DIR", "has placeholders"),
    ("ota-repo delta DIR", "has placeholders"),
    ("0 3 * * *", "is a line of a crontab"),
    ("server {", "is a configuration of nginx"),
    ("[", "is a configuration file"),
    ("{", "is JSON"),
];

#[test]
fn the_readme() {
    let mut world = World::new("walk-readme");
    world.release(2);
    let mut walk = Walk::new(&world, "README.md");
    // On the build machine: a build's repository.
    let build = walk.folder.join("build");
    fs::create_dir_all(&build).unwrap();
    walk.shell(&format!(
        "cp -r {} build/ostree_repo && ostree --repo=build/ostree_repo refs --create=main test/1",
        world.path("build")
    ));
    walk.run_page();
    walk.finished(12);
    drop(walk);
    world.stop_server();
    world.ota(&["status"]).expect(0).says("Running:      test-board-2 (version 2)");
}

#[test]
fn ota_repo() {
    let world = World::without_server("walk-ota-repo");
    let mut walk = Walk::new(&world, "docs/ota-repo.md");
    walk.shell(&format!(
        "mkdir build media && cp -r {} build/ostree_repo && ostree --repo=build/ostree_repo refs --create=main test/1",
        world.path("build")
    ));
    walk.run_page();
    walk.finished(10);
}

#[test]
fn the_quick_start_of_yocto() {
    let world = World::without_server("walk-quick-start");
    let mut walk = Walk::new(&world, "docs/yocto/quick-start.md");
    walk.run_page();
    walk.finished(10);
}

#[test]
fn the_key_ceremony() {
    keys_page("walk-ceremony", "docs/security/key-ceremony.md");
}

#[test]
fn the_runbook_of_keys() {
    keys_page("walk-keys", "docs/operations/keys.md");
}

fn keys_page(name: &str, page: &'static str) {
    let world = World::without_server(name);
    let mut walk = Walk::new(&world, page);
    walk.run_page();
    walk.finished(10);
}

#[test]
fn the_runbook_of_devices() {
    let mut world = World::new("walk-devices");
    world.release(2);
    world.ota(&["check"]).expect(16);
    let mut walk = Walk::new(&world, "docs/operations/devices.md");
    walk.run_page();
    walk.finished(8);
    drop(walk);
    world.stop_server();
}

/// One page on its way.
struct Walk<'w> {
    world: &'w World,
    page: &'static str,
    /// Where commands run; each `ota-repo init` of a page begins a new one.
    folder: PathBuf,
    chapter: u32,
    servers: Vec<Child>,
    port: u16,
    ran: u32,
    builds: u32,
}

impl<'w> Walk<'w> {
    fn new(world: &'w World, page: &'static str) -> Walk<'w> {
        let folder = world.dir.join("walk");
        fs::create_dir_all(folder.join("srv")).unwrap();
        let walk = Walk {
            world,
            page,
            folder,
            chapter: 0,
            servers: Vec::new(),
            port: free_port(),
            ran: 0,
            builds: 0,
        };
        walk.programs();
        walk
    }

    /// The programs of the page: ours, and stand-ins for what needs another machine.
    fn programs(&self) {
        let bin = self.world.dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let conf = self.world.path("conf.d");
        let reboot = format!(
            "printf '[rust_ota]\\nbooted_deployment = 0\\n' > {conf}/50-booted.toml; rm -rf {}",
            self.world.path("run")
        );
        for (name, script) in [
            ("rust-ota", format!("exec {} -c {conf} \"$@\"", env!("CARGO_BIN_EXE_rust-ota"))),
            ("ota-repo", format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_ota-repo"))),
            ("sudo", "exec \"$@\"".to_string()),
            ("reboot", reboot),
        ] {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn run_page(&mut self) {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(top.join(self.page)).unwrap();
        for block in blocks(&text) {
            match block {
                Block::Commands(lines) => lines.iter().for_each(|line| self.line(line)),
                Block::Yaml(text) => self.yaml(&text),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some((_, reason)) = SKIPPED.iter().find(|(start, _)| line.starts_with(start)) {
            println!("{}: not run, since it {reason}: {line}", self.page);
            if line.starts_with("kas build") {
                self.build();
            }
            return;
        }
        self.ran += 1;
        let line = self.here(line);
        if line.starts_with("ota-repo init") {
            self.begin_chapter();
        }
        if line.starts_with("ota-repo serve") {
            return self.serve(&line);
        }
        let (command, comment) = line.split_once(" #").unwrap_or((&line, ""));
        let output = self.command(command).output().unwrap();
        let code = output.status.code().unwrap_or(-1);
        // Codes that stand in the comment are what the page promises.
        let promised = comment.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let promised: Vec<i32> = promised.collect();
        let last = promised.last().copied().unwrap_or(0);
        let good = if command.trim() == "rust-ota check" {
            code == last
        } else {
            code == 0 || promised.contains(&code)
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(good, "{}: {line}\nended with {code}: {error}", self.page);
    }

    /// The same on this machine: folders below the test's, addresses of the test's server.
    fn here(&self, text: &str) -> String {
        let folder = self.world.path("walk");
        text.replace("/srv/", &format!("{folder}/srv/"))
            .replace("/media/safe", &format!("{folder}/media"))
            .replace("PATH=$PWD/target/release:", "PATH=")
            .replace("8443", &self.port.to_string())
            .replace("10.0.2.2", "127.0.0.1")
    }

    fn begin_chapter(&mut self) {
        self.chapter += 1;
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        self.servers.clear();
        self.port = free_port();
        for name in ["ota", "ota.keys", "ota.received"] {
            let _ = fs::rename(
                self.folder.join(name),
                self.folder.join(format!("{name}-before-{}", self.chapter)),
            );
        }
    }

    fn serve(&mut self, line: &str) {
        let mut child = self.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
        assert!(said.contains("://"), "{}: {line} does not serve: {said:?}", self.page);
        self.servers.push(child);
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:{}", self.world.path("bin"), std::env::var("PATH").unwrap());
        command.args(["-c", line]).current_dir(&self.folder).env("PATH", path).env("USER", "root");
        command.stdin(Stdio::null());
        command
    }

    fn shell(&self, line: &str) {
        assert!(self.command(line).status().unwrap().success(), "{line}");
    }

    /// `kas/local.yml`: what the layer makes of these variables is what the device has.
    fn yaml(&mut self, text: &str) {
        let text = self.here(text);
        let value = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name} =")));
            line.and_then(|line| line.split('"').nth(1)).map(str::to_string)
        };
        let server = value("RUST_OTA_SERVER").unwrap();
        let root = value("RUST_OTA_ROOT").unwrap();
        let ca = value("RUST_OTA_CA").unwrap();
        self.world.device_with(&server, Path::new(&root), Path::new(&ca));
    }

    /// What the end of a build does with `rust-ota-publish`.
    fn build(&mut self) {
        self.builds += 1;
        let version = self.builds.to_string();
        // The first one is what the device was flashed with.
        if self.builds > 1 {
            self.world.commit(self.builds, &[]);
        }
        let repository = self.world.path("walk/srv/ota");
        let branch = format!("test/{version}");
        let build = self.world.path("build");
        self.world.ota_repo(&[
            "target",
            "add",
            &repository,
            "--ostree-repo",
            &build,
            "--ref",
            &branch,
            "--name",
            "qemuarm64",
            "--version",
            &version,
            "--hardware-id",
            "test-board",
            "--tag",
            "main",
        ]);
    }

    fn finished(&self, least: u32) {
        assert!(self.ran >= least, "{}: only {} commands were run", self.page, self.ran);
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

enum Block {
    Commands(Vec<String>),
    Yaml(String),
}

/// Fenced blocks of shell, indented blocks, and the YAML of a page, in order. Continued lines are joined.
fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut kind, mut open) = (Vec::new(), None, Vec::new());
    for line in text.lines().chain([""]) {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            match kind.take() {
                Some("sh") => found.push(Block::Commands(joined(&open))),
                Some("yaml") => found.push(Block::Yaml(open.join("\n"))),
                Some(_) => {}
                None => kind = Some(if fence.is_empty() { "text" } else { leak(fence) }),
            }
            open.clear();
        } else if kind.is_some() {
            open.push(line.to_string());
        } else if let Some(code) =
            line.strip_prefix("    ").filter(|code| !open.is_empty() || !code.trim_start().starts_with('-'))
        {
            open.push(code.to_string());
        } else if !open.is_empty() {
            let lines = joined(&open);
            // The first line says what kind of block it is.
            let rest = SKIPPED.iter().any(|(start, _)| lines[0].starts_with(start));
            found.push(Block::Commands(if rest { lines[..1].to_vec() } else { lines }));
            open.clear();
        }
    }
    found
}

fn leak(text: &str) -> &'static str {
    match text.trim() {
        "sh" => "sh",
        "yaml" => "yaml",
        _ => "other",
    }
}

fn joined(lines: &[String]) -> Vec<String> {
    let text = lines.join("\n").replace("\\\n", " ");
    text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
