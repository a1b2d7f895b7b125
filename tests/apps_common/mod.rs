//! The device of the black-box tests with Compose apps: a real registry (Debian's docker-registry, over TLS), images made of
//! busybox, and Podman as the engine where this machine can run it.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use common::{HARDWARE_ID, Run, World};

/// A device, its server, and a registry.
pub struct Shop {
    pub world: World,
    pub host: String,
    registry: Option<Running>,
    /// Who may publish, where not everybody may.
    pub login: Option<String>,
    engine: Option<String>,
    /// Networks and control groups are the machine's: one test at a time has an engine.
    alone: Option<fs::File>,
}

impl Shop {
    /// A device that runs version 1 and has no apps. `None` where Debian's registry is not installed.
    pub fn new(name: &str) -> Option<Shop> {
        Shop::with_login(name, None)
    }

    /// The same, and the registry wants a login.
    pub fn with_login(name: &str, login: Option<&str>) -> Option<Shop> {
        if !there("docker-registry") || !Path::new("/bin/busybox").exists() {
            eprintln!(
                "left out: docker-registry or busybox-static is not installed (scripts/install-deps dev)"
            );
            return None;
        }
        let world = World::new(name);
        let mut shop = Shop {
            world,
            host: format!("127.0.0.1:{}", free_port()),
            registry: None,
            login: login.map(str::to_string),
            engine: None,
            alone: None,
        };
        let auth = shop.login.as_ref().map(|login| shop.basic(login)).unwrap_or_default();
        shop.configure(&auth);
        shop.start_registry();
        let root = shop.world.path("");
        shop.world.fragment(
            "60-apps",
            &format!(
                "[pacman]\ntype = ostree+compose_apps\ncompose_apps_root = {root}compose-apps\nreset_apps_root = {root}reset-apps\n\
                 images_data_root = {root}\nstorage_watermark = 95\n[rust_ota]\nengine = podman\nregistry_ca = {root}sota/import/root.crt\n\
                 app_start_sec = 30\napp_settle_sec = 2\n"
            ),
        );
        Some(shop)
    }

    /// The part of a registry's configuration that wants this login.
    pub fn basic(&self, login: &str) -> String {
        let (user, password) = login.split_once(':').unwrap();
        let line = self.world.run("htpasswd", &["-nbB", user, password]);
        fs::write(self.world.path("htpasswd"), line).unwrap();
        format!("auth:\n  htpasswd:\n    realm: shop\n    path: {}\n", self.world.path("htpasswd"))
    }

    /// What the registry does besides, from its next start on.
    pub fn configure(&self, more: &str) {
        self.write_configuration("registry", &self.host, more);
    }

    fn write_configuration(&self, name: &str, host: &str, more: &str) {
        let tls = self.world.path("ota.keys/tls");
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n  tls:\n    certificate: {tls}/server.crt\n    key: {tls}/server.key\n{more}",
            self.world.path("registry")
        );
        fs::write(self.world.path(&format!("{name}.yml")), text).unwrap();
    }

    pub fn start_registry(&mut self) {
        self.registry = None;
        self.registry = Some(self.run_registry("registry", &self.host));
    }

    fn run_registry(&self, name: &str, host: &str) -> Running {
        let log = fs::File::create(self.world.path(&format!("{name}.log"))).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &self.world.path(&format!("{name}.yml"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Running(child);
        for _ in 0..100 {
            if TcpStream::connect(host).is_ok() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs::read_to_string(self.world.path(&format!("{name}.log"))).unwrap());
    }

    pub fn free_port(&self) -> u16 {
        free_port()
    }

    /// Another registry with the same images, at an address of its own.
    pub fn another_registry(&self, more: &str) -> (String, Running) {
        let host = format!("127.0.0.1:{}", free_port());
        self.write_configuration("another", &host, more);
        let running = self.run_registry("another", &host);
        (host, running)
    }

    pub fn stop_registry(&mut self) {
        self.registry = None;
    }

    /// tests/python/registry_login.py with this login, as the server of the device's metadata: its address.
    pub fn gateway(&self, login: &str) -> (String, Running) {
        let key = self.world.path("token.key");
        let certificate = self.world.path("token.crt");
        let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tokens"];
        self.world.run("openssl", &[&new[..], &["-keyout", &key, "-out", &certificate]].concat());
        let tls = self.world.path("ota.keys/tls");
        let mut child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/registry_login.py"))
            .args([
                "--cert",
                &format!("{tls}/server.crt"),
                "--key",
                &format!("{tls}/server.key"),
                "--ca",
                &self.ca(),
            ])
            .args([
                "--site",
                &self.world.path("ota"),
                "--user",
                login,
                "--log",
                &self.world.path("gateway.jsonl"),
            ])
            .args([
                "--token-key",
                &key,
                "--token-cert",
                &certificate,
                "--blobs",
                &self.world.path("registry"),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_string();
        self.world.fragment("65-gateway", &format!("[uptane]\nrepo_server = {address}/repo\n"));
        (address, Running(child))
    }

    /// What the gateway was asked under this path: the scheme of each login, and whether the device's certificate was shown.
    pub fn asked(&self, path: &str) -> Vec<(String, bool)> {
        let log = fs::read_to_string(self.world.path("gateway.jsonl")).unwrap_or_default();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|l| l["path"].as_str().unwrap().starts_with(path))
            .map(|l| (l["authorization"].as_str().unwrap().to_string(), l["certificate"].as_bool().unwrap()))
            .collect()
    }

    pub fn ca(&self) -> String {
        self.world.path("sota/import/root.crt")
    }

    /// An image `NAME:TAG` in the registry; gives its pinned name.
    pub fn image(&self, place: &str, version: &str, random: usize) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oci_images.py");
        let (ca, random) = (self.ca(), random.to_string());
        let mut words = vec![script, "--registry", &self.host, "--ca", &ca, "--random", &random];
        if let Some(login) = &self.login {
            words.extend(["--login", login]);
        }
        words.extend([place, version]);
        self.world.run("python3", &words).trim().to_string()
    }

    /// Publishes a project with this Compose file; gives the app's URI.
    pub fn publish(&self, app: &str, compose: &str) -> String {
        let project = self.world.dir.join("projects").join(app);
        fs::create_dir_all(&project).unwrap();
        fs::write(project.join("docker-compose.yml"), compose).unwrap();
        let (project, to, ca) =
            (project.to_str().unwrap().to_string(), format!("{}/apps/{app}", self.host), self.ca());
        let mut words = vec!["apps", "publish", &project, "--to", &to, "--ca", &ca];
        let password = self.world.path("password");
        if let Some((user, secret)) = self.login.as_ref().and_then(|l| l.split_once(':')) {
            fs::write(&password, secret).unwrap();
            words.extend(["--user", user, "--password-file", &password]);
        }
        self.world.ota_repo(&words).trim().to_string()
    }

    /// The same by a tool that checks nothing.
    pub fn publish_raw(&self, app: &str, compose: &str) -> String {
        self.publish_measured(app, compose, None)
    }

    /// The same, with what a layer takes on a disk.
    pub fn publish_measured(&self, app: &str, compose: &str, usage: Option<(&str, u64)>) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oci_images.py");
        let file = self.world.path("raw.yml");
        fs::write(&file, compose).unwrap();
        let place = format!("apps/{app}:raw");
        let ca = self.ca();
        let usage = usage.map(|(layer, bytes)| format!("--usage=sha256:{layer}={bytes}"));
        let mut words = vec![script, "--registry", &self.host, "--ca", &ca, "--app", &file];
        words.extend(usage.as_deref());
        words.extend([place.as_str(), "raw"]);
        self.world.run("python3", &words).trim().to_string()
    }

    /// Publishes a Target of this system with these apps.
    pub fn target(&self, system: u32, version: u32, apps: &[(&str, &str)]) {
        let (branch, version) = (format!("test/{system}"), version.to_string());
        let (dir, build) = (self.world.path("ota"), self.world.path("build"));
        let mut words = vec!["target", "add", &dir, "--ostree-repo", &build, "--ref", &branch];
        words.extend([
            "--name",
            "test-board",
            "--version",
            &version,
            "--hardware-id",
            HARDWARE_ID,
            "--tag",
            "main",
        ]);
        let apps: Vec<String> = apps.iter().map(|(name, uri)| format!("{name}={uri}")).collect();
        apps.iter().for_each(|app| words.extend(["--app", app]));
        self.world.ota_repo(&words);
    }

    /// The upper layer of an image, as 64 digits.
    pub fn layer(&self, pinned: &str) -> String {
        let manifest = fs::read(self.blob(pinned.rsplit_once("sha256:").unwrap().1)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["layers"][1]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_string()
    }

    /// Podman with a store of its own, by settings that work in a container too. False, with the reason, where this machine
    /// cannot run containers: then only qemu-tests/tests/test_apps*.py tell.
    pub fn engine(&mut self) -> bool {
        if !there("podman") || !there("podman-compose") || !there("runc") {
            eprintln!("left out: podman, podman-compose or runc is not installed");
            return false;
        }
        let lock = fs::File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/engine.lock")).unwrap();
        lock.lock().unwrap();
        self.alone = Some(lock);
        let root = self.world.path("engine");
        fs::create_dir_all(&root).unwrap();
        fs::write(
            format!("{root}/containers.conf"),
            format!(
                "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\ntmp_dir = \"{root}/tmp\"\n\
                 [network]\nnetwork_config_dir = \"{root}/networks\"\n\
                 [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\nlog_driver = \"k8s-file\"\n"
            ),
        )
        .unwrap();
        fs::write(
            format!("{root}/storage.conf"),
            format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{root}/run\"\ngraphroot = \"{root}/graph\"\n"),
        )
        .unwrap();
        self.engine = Some(root);
        let image = self.image("probe:1", "probe", 0);
        let uri = image.replacen(&self.host, &format!("docker://{}", self.host), 1);
        let certificates = self.world.path("engine/certificates");
        fs::create_dir_all(&certificates).unwrap();
        fs::copy(self.ca(), format!("{certificates}/ca.crt")).unwrap();
        self.podman(&["pull", "--cert-dir", &certificates, &uri]).expect(0);
        let run = self.podman(&["run", "--rm", "--network=host", &image, "true"]);
        let works = run.code == 0;
        if !works {
            eprintln!("left out: podman cannot run containers here: {}", run.stderr);
        }
        works
    }

    pub fn podman(&self, words: &[&str]) -> Run {
        let mut command = Command::new("podman");
        command.args(words).stdin(Stdio::null());
        self.run(command)
    }

    /// Runs the client with this engine.
    pub fn ota(&self, words: &[&str]) -> Run {
        let mut command = self.world.client(words);
        command.env("LC_ALL", "C");
        self.run(command)
    }

    /// Runs the client by its other name.
    pub fn lite(&self, words: &[&str]) -> Run {
        let link = self.world.path("aktualizr-lite");
        if !Path::new(&link).exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rust-ota"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.args(["-c", &self.world.path("conf.d")]).args(words).stdin(Stdio::null());
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Run {
        if let Some(root) = &self.engine {
            command.env("CONTAINERS_CONF", format!("{root}/containers.conf"));
            command.env("CONTAINERS_STORAGE_CONF", format!("{root}/storage.conf"));
        }
        let output = command.output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `/version` as a running container of an app sees it; none where it does not run.
    pub fn version_of(&self, app: &str) -> Option<String> {
        let filter = format!("label=com.docker.compose.project={app}");
        let ids = self.podman(&["ps", "-q", "--filter", &filter]).expect(0).stdout;
        let id = ids.split_whitespace().next()?.to_string();
        Some(self.podman(&["exec", &id, "cat", "/version"]).expect(0).stdout.trim().to_string())
    }

    pub fn blob(&self, hex: &str) -> PathBuf {
        self.world.dir.join("registry/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop_registry();
        if self.engine.is_some() {
            self.podman(&["rm", "--all", "--force", "--time", "10"]);
            self.podman(&["system", "reset", "--force"]);
        }
    }
}

/// A process that ends with its test.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One service that runs until it is stopped.
pub fn compose(image: &str) -> String {
    format!(
        "services:\n  web:\n    image: {image}\n    command: [\"sh\", \"-c\", \"trap 'exit 0' TERM; while true; do sleep 1; done\"]\n"
    )
}

pub fn there(program: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    path.split(':').any(|folder| Path::new(folder).join(program).exists())
}
