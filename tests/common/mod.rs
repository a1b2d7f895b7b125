//! A whole small world for black-box tests: an OSTree build repository, a signed repository served over TLS with
//! client certificates, and a device's sysroot, state and boot environment in a folder.
#![allow(dead_code, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub const HARDWARE_ID: &str = "test-board";

pub struct World {
    pub dir: PathBuf,
    server: Option<Child>,
    pub address: String,
    /// Held: no other test has a world of this name.
    _own: fs::File,
}

/// What one run of the client came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    #[track_caller]
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "{text:?} is not in\n{all}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

impl World {
    /// A device that runs version 1, and a server that has nothing else yet.
    pub fn new(name: &str) -> World {
        let world = World::without_server(name);
        world.ota_repo(&["init", &world.path("ota")]);
        world.publish(1, "main");
        world.serving()
    }

    /// The same with metadata that somebody else signs: `ota/repo` is left to the caller.
    pub fn without_server(name: &str) -> World {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let own = fs::File::create(dir.with_extension("lock")).unwrap();
        own.try_lock().unwrap_or_else(|e| panic!("another test has a world with the name {name}: {e}"));
        make_mutable(&dir);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let world = World { dir, server: None, address: String::new(), _own: own };
        world.run("ostree", &["init", "--mode=archive", &world.repo_option()]);
        world.commit(1, &[]);
        world
    }

    /// Starts the server and provisions the device.
    pub fn serving(mut self) -> World {
        self.ota_repo(&["tls", &self.path("ota"), "--host", "127.0.0.1", "--device", "device-1"]);
        self.start_server("127.0.0.1:0");
        self.make_sysroot();
        self.provision();
        self
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_string()
    }

    fn repo_option(&self) -> String {
        format!("--repo={}", self.path("build"))
    }

    /// Makes an OSTree commit of a small bootable tree; `files` are added to it.
    pub fn commit(&self, version: u32, files: &[(&str, &[u8])]) -> String {
        let tree = self.dir.join("tree");
        let _ = fs::remove_dir_all(&tree);
        let modules = tree.join("usr/lib/modules/6.1.0");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir_all(tree.join("usr/etc")).unwrap();
        fs::write(modules.join("vmlinuz"), format!("kernel {version}")).unwrap();
        fs::write(modules.join("initramfs.img"), format!("initramfs {version}")).unwrap();
        fs::write(tree.join("usr/lib/os-release"), format!("NAME=Test\nVERSION={version}\nID=test\n"))
            .unwrap();
        fs::write(tree.join("usr/etc/version"), version.to_string()).unwrap();
        for (name, content) in files {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let tree = format!("--tree=dir={}", tree.display());
        let subject = format!("version {version}");
        let branch = format!("test/{version}");
        let out = self.run(
            "ostree",
            &[
                "commit",
                &self.repo_option(),
                "-b",
                &branch,
                "-s",
                &subject,
                "--generate-sizes",
                "--no-xattrs",
                "--owner-uid=0",
                "--owner-gid=0",
                &tree,
            ],
        );
        out.trim().to_string()
    }

    /// Publishes a commit as the Target `test-board-VERSION`.
    pub fn publish(&self, version: u32, tag: &str) {
        let version_text = version.to_string();
        let branch = format!("test/{version}");
        self.ota_repo(&[
            "target",
            "add",
            &self.path("ota"),
            "--ostree-repo",
            &self.path("build"),
            "--ref",
            &branch,
            "--name",
            "test-board",
            "--version",
            &version_text,
            "--hardware-id",
            HARDWARE_ID,
            "--tag",
            tag,
        ]);
    }

    /// A commit and its Target at once.
    pub fn release(&self, version: u32) -> String {
        let content = format!("data of {version}\n").repeat(1000);
        let commit = self.commit(version, &[("usr/share/data", content.as_bytes())]);
        self.publish(version, "main");
        commit
    }

    pub fn start_server(&mut self, listen: &str) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ota-repo"))
            .args(["serve", &self.path("ota"), "--listen", listen, "--tls", "--quiet", "--log"])
            .arg(self.path("requests.jsonl"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.address = line.split_whitespace().find(|w| w.starts_with("https://")).unwrap().to_string();
        self.server = Some(child);
    }

    pub fn stop_server(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The paths that were requested since the server started.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("requests.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["path"].as_str().unwrap().to_string()
            })
            .collect()
    }

    fn make_sysroot(&self) {
        let sysroot = format!("--sysroot={}", self.path("sysroot"));
        fs::create_dir_all(self.path("sysroot")).unwrap();
        self.run("ostree", &["admin", "init-fs", "--modern", &self.path("sysroot")]);
        self.run("ostree", &["admin", &sysroot, "os-init", "test"]);
        let repo = format!("--repo={}", self.path("sysroot/ostree/repo"));
        self.run("ostree", &[&repo, "pull-local", &self.path("build"), "test/1"]);
        self.run("ostree", &[&repo, "config", "set", "core.min-free-space-percent", "0"]);
        self.run(
            "ostree",
            &["admin", &sysroot, "deploy", "--os=test", "--karg=quiet", "--karg=board=7", "test/1"],
        );
        self.run("ostree", &[&repo, "refs", "--delete", "test/1"]);
    }

    /// A device that has these settings of an image, and no certificate of its own.
    pub fn device_with(&self, server: &str, root: &Path, ca: &Path) {
        self.make_sysroot();
        let import = self.dir.join("sota/import");
        fs::create_dir_all(&import).unwrap();
        fs::copy(ca, import.join("root.crt")).unwrap();
        fs::copy(root, self.dir.join("root.json")).unwrap();
        self.settings(server);
    }

    fn provision(&self) {
        let device = self.dir.join("ota.keys/tls/devices/device-1");
        let import = self.dir.join("sota/import");
        fs::create_dir_all(&import).unwrap();
        for file in ["root.crt", "client.pem", "pkey.pem"] {
            fs::copy(device.join(file), import.join(file)).unwrap();
        }
        fs::copy(self.dir.join("ota/repo/1.root.json"), self.dir.join("root.json")).unwrap();
        self.settings(&self.address);
    }

    fn settings(&self, server: &str) {
        self.fragment(
            "40-hardware-id",
            &format!("[provision]\nprimary_ecu_hardware_id = \"{HARDWARE_ID}\"\n"),
        );
        self.fragment("10-server", &format!("[tls]\nserver = \"{server}\"\n"));
        self.fragment(
            "20-test",
            &format!(
                "[pacman]\ntype = ostree\nsysroot = {0}/sysroot\nos = test\nbooted = 0\ntags = main\n\
                 [storage]\npath = {0}/sota\n[bootloader]\nrollback_mode = uboot_masked\nreboot_sentinel_dir = {0}/run\n\
                 [rust_ota]\nmetadata = tuf\nroot = {0}/root.json\nfw_env_config = {0}/fw_env.config\n",
                self.dir.display()
            ),
        );
        let env = self.dir.join("uboot.env");
        fs::write(self.dir.join("fw_env.config"), format!("{} 0x0 0x200\n", env.display())).unwrap();
        fs::write(
            env,
            boot_environment(&[
                ("bootcount", "0"),
                ("bootlimit", "3"),
                ("rollback", "0"),
                ("upgrade_available", "0"),
            ]),
        )
        .unwrap();
    }

    /// Writes a configuration fragment.
    pub fn fragment(&self, name: &str, text: &str) {
        let folder = self.dir.join("conf.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// Runs the client on the device.
    pub fn ota(&self, args: &[&str]) -> Run {
        let output = self.client(args).output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-ota"));
        command.args(["-c", &self.path("conf.d")]).args(args).stdin(Stdio::null());
        command
    }

    /// What a reboot does to the device: what is on tmpfs is gone, and the bootloader chose a deployment.
    pub fn reboot_into(&self, deployment: usize) {
        let _ = fs::remove_dir_all(self.dir.join("run"));
        self.fragment("50-booted", &format!("[rust_ota]\nbooted_deployment = {deployment}\n"));
    }

    /// What a bootloader does that gives a trial up.
    pub fn roll_back(&self) {
        self.fw_setenv("bootcount", "4");
        self.fw_setenv("rollback", "1");
        self.fw_setenv("upgrade_available", "0");
        self.reboot_into(1);
    }

    /// A boot of the earlier deployment that the bootloader counted, without giving the newest up.
    pub fn pass_by(&self) {
        self.fw_setenv("bootcount", "1");
        self.reboot_into(1);
    }

    pub fn fw_setenv(&self, name: &str, value: &str) {
        self.run("fw_setenv", &["-c", &self.path("fw_env.config"), name, value]);
    }

    pub fn boot_variable(&self, name: &str) -> String {
        let out = self.run("fw_printenv", &["-c", &self.path("fw_env.config"), name]);
        out.trim().split_once('=').map(|(_, v)| v.to_string()).unwrap_or_default()
    }

    pub fn deployments(&self) -> Vec<String> {
        let out = self.run("ostree", &["admin", &format!("--sysroot={}", self.path("sysroot")), "status"]);
        let words = out.lines().filter_map(|l| l.trim_start().trim_start_matches("* ").strip_prefix("test "));
        words.filter_map(|l| l.split(['.', ' ']).next()).map(str::to_string).collect()
    }

    pub fn fsck(&self) {
        self.run("ostree", &["fsck", &format!("--repo={}", self.path("sysroot/ostree/repo"))]);
    }

    /// All files of a folder with their bytes, to tell whether anything changed.
    pub fn snapshot(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.dir.join(name), &mut files);
        files.sort();
        files
    }

    #[track_caller]
    pub fn ota_repo(&self, args: &[&str]) -> String {
        self.run(env!("CARGO_BIN_EXE_ota-repo"), args)
    }

    /// Runs a program that must work.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output: Output = Command::new(program)
            .args(args)
            .current_dir(&self.dir)
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
            .output()
            .unwrap_or_else(|e| {
                panic!("{program}: {e}; `scripts/install-deps dev` installs what the tests need")
            });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}\n{text}{errors}", output.status);
        text
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_server();
        make_mutable(&self.dir);
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Deployments are immutable on file systems that know the flag.
fn make_mutable(dir: &Path) {
    if dir.exists() {
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(dir).output();
    }
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files);
        } else {
            files.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
}

/// Compares with `tests/golden/NAME`; commits change with the time of the test, so they have names there.
pub fn golden(name: &str, text: &str, commits: &[&str]) {
    let mut text = text.to_string();
    for (index, commit) in commits.iter().enumerate() {
        text = text.replace(commit, &format!("<commit {}>", index + 1));
    }
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{path}; UPDATE_GOLDEN=1 writes it");
}

/// The file that fw_printenv and U-Boot share: CRC-32 of what follows, then `name=value` ended by zeros.
pub fn boot_environment(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut data: Vec<u8> = variables.iter().flat_map(|(n, v)| format!("{n}={v}\0").into_bytes()).collect();
    data.resize(0x200 - 4, 0);
    let mut crc = u32::MAX;
    for byte in &data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut file = (!crc).to_le_bytes().to_vec();
    file.extend(data);
    file
}
