//! `takeover --check` on the folders of devices and images, and what each of them says.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::golden;
use serde_json::{Value, json};

struct Device(PathBuf);

impl Device {
    /// What an image of aktualizr has, with a certificate that works.
    fn new(name: &str) -> Device {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("check-{name}"));
        let _ = fs::remove_dir_all(&root);
        let device = Device(root);
        device.write("usr/lib/sota/conf.d/20-sota-device-cred.toml", "[tls]\nserver = \"https://ota.example\"\n[provision]\nprimary_ecu_hardware_id = board\n[import]\nbase_path = \"/var/sota/import\"\n");
        device.write("etc/sota/conf.d/30-director.toml", "[uptane]\ndirector_server = \"https://ota.example/director\"\n[bootloader]\nrollback_mode = \"uboot_masked\"\n");
        device.certificate("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 9000 -x509");
        device.run("openssl", "genrsa -traditional -out ecu.pem 2048");
        device
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, program: &str, args: &str) {
        let mut command = Command::new(program);
        let output = command.args(args.split(' ')).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn certificate(&self, how: &str) {
        fs::create_dir_all(self.0.join("var/sota/import")).unwrap();
        self.run("openssl", &format!("req {how} -nodes -subj /CN=device-1 -keyout var/sota/import/pkey.pem -out var/sota/import/client.pem"));
        fs::copy(self.0.join("var/sota/import/client.pem"), self.0.join("var/sota/import/root.crt")).unwrap();
    }

    /// `sql.db` with these facts besides the usual ones.
    fn database(&self, facts: Value) {
        let mut all = json!({
            "device_id": "device-1",
            "ecus": [["serial-1", "board"]],
            "key": format!("@{}", self.0.join("ecu.pem").display()),
            "versions": [{"sha256": "a".repeat(64), "name": "board-1", "is_current": 1, "was_installed": 1}],
            "metadata": [{"director": true, "role": "root", "content": "{}"}, {"director": false, "role": "root", "content": "{}"}],
        });
        all.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/old_client.py");
        let database = self.0.join("var/sota/sql.db");
        let made = Command::new("python3").arg(script).arg(database).arg(all.to_string()).status().unwrap();
        assert!(made.success());
    }

    /// What is said, and the exit code.
    fn printed(&self, more: &[&str]) -> (String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-ota"));
        command.args(["takeover", "--check", "--root"]).arg(&self.0).args(more);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().replace(self.0.to_str().unwrap(), "DIR");
        (text, output.status.code().unwrap())
    }

    fn works(&self) -> (Value, i32) {
        let (text, code) = self.printed(&["--json"]);
        (serde_json::from_str::<Value>(&text).unwrap()["works"].clone(), code)
    }

    /// Without what another run would not say again.
    fn check(&self) -> (String, i32) {
        let (text, code) = self.printed(&[]);
        let hidden = |line: &str| {
            let line = line.split(", id ").next().unwrap_or(line);
            format!("{}\n", line.split("valid until").next().unwrap_or(line).trim_end())
        };
        (text.lines().map(hidden).collect(), code)
    }

    fn expect(&self, name: &str, code: i32) {
        let (text, found) = self.check();
        golden(&format!("takeover-{name}.txt"), &text, &[]);
        assert_eq!(found, code, "{text}");
    }
}

#[test]
fn a_device_that_can_change_its_client() {
    let device = Device::new("good");
    device.database(json!({}));
    let before = fs::read(device.0.join("var/sota/sql.db")).unwrap();
    device.expect("good", 0);
    assert_eq!(device.works(), (json!(true), 0));
    assert!(fs::read(device.0.join("var/sota/sql.db")).unwrap() == before);
    assert!(!device.0.join("var/sota/rust-ota").exists(), "it only looks");
}

#[test]
fn a_device_that_has_everything_that_does_not_work() {
    let device = Device::new("troubled");
    device.database(json!({"ecus": [["serial-1", "board"], ["serial-2", "sensor"]]}));
    device.write("etc/sota/conf.d/40-lines.toml", b"# Ger\xe4t\n[telemetry] # what is told\nreport_network = True\n[logger]\nloglevel = 2 ; less\n[p11]\nmodule = /usr/lib/softhsm.so\n[tls]\npkey_source = pkcs11\n");
    device.write(
        "etc/sota/conf.d/50-secondaries.toml",
        "[uptane]\nsecondary_config_file = /etc/sota/secondaries.json\npolling_sec = \"60\"\n",
    );
    device.write(
        "etc/sota/secondaries.json",
        r#"{"IP": {"secondaries_wait_port": 9040, "secondaries": [{"addr": "10.0.3.2:9050"}]}}"#,
    );
    device.write(
        "etc/systemd/system/aktualizr.service.d/proxy.conf",
        "[Service]\nEnvironment=https_proxy=http://10.0.0.1:3128\n",
    );
    device.certificate("-newkey ec -pkeyopt ec_paramgen_curve:P-521 -days 9000 -x509");
    device.expect("troubled", 1);
    assert_eq!(device.works(), (json!(false), 1));
}

#[test]
fn a_certificate_that_only_openssl_takes() {
    let device = Device::new("v1");
    device.database(json!({}));
    device.run("openssl", "req -new -key var/sota/import/pkey.pem -subj /CN=device-1 -out csr");
    device.run(
        "openssl",
        "x509 -req -in csr -signkey var/sota/import/pkey.pem -out var/sota/import/client.pem -days 9000",
    );
    let (text, code) = device.check();
    assert!(
        code == 1
            && text.contains("PROBLEM  certificate: DIR/var/sota/import/client.pem: an X.509 v1 certificate"),
        "{text}"
    );
    for (name, how) in [
        ("RSA of 1024 bits", "-newkey rsa:1024 -days 9000 -x509"),
        ("on a curve that is not supported", "-newkey ec -pkeyopt ec_paramgen_curve:P-521 -days 9000 -x509"),
    ] {
        let device = Device::new("kinds");
        device.database(json!({}));
        device.certificate(how);
        let (text, code) = device.check();
        let line = text
            .lines()
            .find(|line| line.starts_with("PROBLEM  certificate: DIR/var/sota/import/client.pem: "));
        assert!(code == 1 && line.is_some_and(|line| line.contains(name)), "{name}: {text}");
    }
    let device = Device::new("expired");
    device.database(json!({}));
    device.run("openssl", "req -new -key var/sota/import/pkey.pem -subj /CN=device-1 -out csr");
    device.write("v3", "basicConstraints=CA:FALSE\n");
    device.run("openssl", "x509 -req -in csr -signkey var/sota/import/pkey.pem -extfile v3 -days -1 -out var/sota/import/client.pem");
    let (text, code) = device.check();
    assert!(code == 1 && text.contains("client.pem: it expired at"), "{text}");
    // The key of another certificate, and none.
    let device = Device::new("other-key");
    device.database(json!({}));
    device.run("openssl", "ecparam -genkey -name prime256v1 -noout -out var/sota/import/pkey.pem");
    let (text, code) = device.check();
    assert!(
        code == 1 && text.contains("PROBLEM  certificate: ") && text.contains("its key does not work"),
        "{text}"
    );
    fs::remove_file(device.0.join("var/sota/import/pkey.pem")).unwrap();
    let (text, code) = device.check();
    assert!(code == 1 && text.contains("PROBLEM  certificate: this device has none"), "{text}");
}

#[test]
fn a_state_that_cannot_be_taken_over() {
    let device = Device::new("state");
    device.database(json!({"schema": 25}));
    let good = fs::read(device.0.join("var/sota/sql.db")).unwrap();
    device.write("var/sota/sql.db", &good[..good.len() / 2]);
    let (text, code) = device.check();
    assert!(
        code == 1
            && text.contains(
                "PROBLEM  state: DIR/var/sota/sql.db: the old client's state cannot be read: it is cut"
            ),
        "{text}"
    );
    fs::remove_file(device.0.join("var/sota/sql.db")).unwrap();
    fs::create_dir(device.0.join("var/sota/rust-ota")).unwrap();
    let (text, code) = device.check();
    assert!(code == 1 && text.contains("no root to begin from"), "{text}");
    device.write("etc/sota/conf.d/60-line.toml", "[uptane\n");
    let (text, code) = device.check();
    assert!(
        code == 1 && text.starts_with("PROBLEM  configuration: DIR/etc/sota/conf.d/60-line.toml:1: "),
        "{text}"
    );
}

#[test]
fn an_image_is_checked_without_what_only_devices_have() {
    let device = Device::new("image");
    fs::remove_dir_all(device.0.join("var/sota")).unwrap();
    device.expect("image", 0);
    device.write("etc/sota/conf.d/40-rollback.toml", "[bootloader]\nrollback_mode = uboot_masked\n");
    device.write("usr/bin/fw_printenv", "");
    let (text, code) = device.check();
    assert!(code == 1 && text.contains("PROBLEM  bootloader: fw_setenv is not in the image"), "{text}");
    std::os::unix::fs::symlink("/usr/bin/fw_printenv", device.0.join("usr/bin/fw_setenv")).unwrap();
    assert_eq!(device.check().1, 0);
    device.write("etc/sota/conf.d/60-token.toml", "[uptane]\nkey_source = pkcs11\n");
    let (text, code) = device.check();
    assert!(
        code == 1 && text.contains("PROBLEM  token: DIR/etc/sota/conf.d/60-token.toml:2: uptane.key_source"),
        "{text}"
    );
    let device = Device(device.0.join("missing"));
    let (text, code) = device.check();
    assert!(code == 1 && text.starts_with("PROBLEM  configuration: DIR: not a folder"), "{text}");
}

#[test]
fn a_fleets_credential_is_opened() {
    let device = Device::new("shared");
    fs::rename(device.0.join("var/sota/import"), device.0.join("made")).unwrap();
    device.database(json!({"device_id": null}));
    device.write("usr/lib/sota/conf.d/20-sota-device-cred.toml", "[tls]\nserver = \"https://ota.example\"\n[provision]\nprovision_path = \"/var/sota/fleet.zip\"\np12_password = secret\n");
    for (password, legacy) in
        [("secret", ""), ("secret", " -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES"), ("other", "")]
    {
        device.run("openssl", &format!("pkcs12 -export -inkey made/pkey.pem -in made/client.pem -certfile made/root.crt -passout pass:{password} -out autoprov_credentials.p12{legacy}"));
        let _ = fs::remove_file(device.0.join("var/sota/fleet.zip"));
        device.run("python3", "-m zipfile -c var/sota/fleet.zip autoprov_credentials.p12");
        let (text, code) = device.check();
        if password == "secret" {
            assert!(
                text.contains("ok       certificate: none yet; one is requested with the shared credential"),
                "{text}"
            );
        } else {
            assert!(
                code == 1
                    && text.contains("PROBLEM  certificate: ")
                    && text.contains("the password is wrong"),
                "{text}"
            );
        }
    }
}

#[test]
fn what_an_image_of_others_has_and_what_its_devices_bring() {
    let device = Device::new("others");
    fs::remove_dir_all(device.0.join("var/sota")).unwrap();
    // As the drop-ins of meta-updater for devices that are provisioned one by one.
    device.write("usr/lib/sota/conf.d/20-sota-device-cred.toml", "[tls]\nserver_url_path = \"/var/sota/import/gateway.url\"\n\n[import]\nbase_path = \"/var/sota/import\"\ntls_cacert_path = \"root.crt\"\ntls_clientcert_path = \"client.pem\"\ntls_pkey_path = \"pkey.pem\"\n");
    fs::remove_file(device.0.join("etc/sota/conf.d/30-director.toml")).unwrap();
    let (text, code) = device.check();
    let line = "warning  server: tls.server_url_path = /var/sota/import/gateway.url: not in the image";
    assert!(code == 0 && text.contains(line), "{text}");
    fs::create_dir_all(device.0.join("var/sota/rust-ota")).unwrap();
    let (text, code) = device.check();
    assert!(code == 1 && text.contains("PROBLEM  server: tls.server_url_path = "), "{text}");
    fs::remove_dir(device.0.join("var/sota/rust-ota")).unwrap();
    device.write("var/sota/import/gateway.url", "https://ota.example:8443\n");
    assert!(device.check().0.contains("ok       server: https://ota.example:8443\n"));
    // As Torizon's Secondaries and unit.
    device.write(
        "etc/systemd/system/aktualizr-torizon.service",
        "[Service]\nEnvironment=\"HTTPS_PROXY=http://10.0.0.1:3128\"\n",
    );
    assert!(device.check().0.contains("aktualizr-torizon.service: a proxy is set here"));
    device.write(
        "usr/lib/sota/secondaries.json",
        r#"{"docker-compose": [{"ecu_hardware_id": "docker-compose"}]}"#,
    );
    device.write(
        "etc/sota/conf.d/50-secondaries.toml",
        "[uptane]\nsecondary_config_file = \"/usr/lib/sota/secondaries.json\"\n",
    );
    let (text, code) = device.check();
    assert!(
        code == 1
            && text.contains("PROBLEM  secondaries: DIR/usr/lib/sota/secondaries.json: \"docker-compose\""),
        "{text}"
    );
}

/// A server of OpenSSL, which takes more than this client does.
struct Server(Child, String);

impl Server {
    /// `name.pem` and `name.key` are in `folder`.
    fn start(folder: &Path, name: &str, options: &str) -> Server {
        let args = format!("s_server -accept 127.0.0.1:0 -www -cert {name}.pem -key {name}.key {options}");
        let mut command = Command::new("openssl");
        command.args(args.split_whitespace()).current_dir(folder);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port =
            lines.into_iter().find_map(|line| Some(line.strip_prefix("ACCEPT 127.0.0.1:")?.to_string()));
        Server(child, port.unwrap())
    }

    /// What `config check` says of it, and the exit code.
    fn judged(&self, folder: &Path) -> (String, i32) {
        let config = format!(
            "[tls]\nserver = https://localhost:{}\n[storage]\npath = {}\ntls_cacert_path = ca.pem\n[rust_ota]\ntrust = latest\n",
            self.1,
            folder.display()
        );
        fs::write(folder.join("server.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-ota"));
        let output =
            command.arg("-c").arg(folder.join("server.toml")).args(["config", "check"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (text.lines().filter(|line| line.contains(" server: ")).collect(), output.status.code().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names of a certificate's files, what its key is, what is in it, for how many days.
const CERTIFICATES: [(&str, &str, &str, i32); 7] = [
    ("good", "rsa:2048", "subjectAltName=DNS:localhost", 9000),
    ("cn", "ec -pkeyopt ec_paramgen_curve:P-256", "basicConstraints=CA:FALSE", 9000),
    (
        "authority",
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:TRUE",
        9000,
    ),
    ("expired", "ec -pkeyopt ec_paramgen_curve:P-256", "subjectAltName=DNS:localhost", -1),
    ("p521", "ec -pkeyopt ec_paramgen_curve:P-521", "subjectAltName=DNS:localhost", 9000),
    ("short", "rsa:1024", "subjectAltName=DNS:localhost", 9000),
    ("v1", "ec -pkeyopt ec_paramgen_curve:P-256", "", 9000),
];

fn certificates(device: &Device) {
    device.run("openssl", "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -days 9000 -keyout ca.key -out ca.pem");
    for (name, key, extensions, days) in CERTIFICATES {
        device.run(
            "openssl",
            &format!("req -new -newkey {key} -nodes -subj /CN=localhost -keyout {name}.key -out {name}.csr"),
        );
        let mut sign = format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -out {name}.pem"
        );
        if !extensions.is_empty() {
            device.write("extensions", extensions);
            sign.push_str(" -extfile extensions");
        }
        device.run("openssl", &sign);
    }
}

#[test]
fn a_server_that_only_openssl_takes() {
    let device = Device::new("servers");
    certificates(&device);
    let anything = "-cipher ALL@SECLEVEL=0";
    let bare = Server::start(&device.0, "good", "");
    for name in ["v1", "good"] {
        fs::copy(device.0.join(format!("{name}.pem")), device.0.join("client.pem")).unwrap();
        fs::copy(device.0.join(format!("{name}.key")), device.0.join("pkey.pem")).unwrap();
        let (text, code) = bare.judged(&device.0);
        assert_eq!((text.contains("not asked: "), code), (name == "v1", i32::from(name == "v1")), "{text}");
    }
    fs::remove_file(device.0.join("client.pem")).unwrap();
    for (name, options, said) in [
        ("good", "", "a connection works"),
        ("cn", "", "subjectAltName (a common name alone does not count); have it issued anew"),
        ("authority", "", "is that of an authority; have one issued for the server"),
        ("expired", "", "the server's certificate has expired"),
        ("p521", "", "its key is on P-521"),
        ("short", anything, "its RSA key has less than 2048 bits"),
        ("v1", "", "the server's certificate is X.509 v1; have it issued anew as version 3"),
        ("good", "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", "offers no cipher that works here"),
        ("good", "-tls1_2 -cipher AES128-GCM-SHA256", "offers no cipher that works here"),
        ("good", "-tls1_1 -cipher ALL@SECLEVEL=0", "speaks neither TLS 1.2 nor TLS 1.3"),
        ("good", "-Verify 1 -CAfile ca.pem", "requires a certificate, and this device has none"),
        (
            "good",
            "-tls1_2 -Verify 1 -CAfile ca.pem",
            "or it requires a certificate, and this device has none",
        ),
    ] {
        let server = Server::start(&device.0, name, options);
        let (text, code) = server.judged(&device.0);
        let level = if said == "a connection works" { "ok       server: " } else { "PROBLEM  server: " };
        let expected = i32::from(level.starts_with("PROBLEM"));
        assert!(
            text.starts_with(level) && text.contains(said) && code == expected,
            "{name} {options}: {text}"
        );
    }
}
