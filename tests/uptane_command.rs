//! `rust-ota uptane` against a static server: signed here, by a signer that shares no code with the client.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[test]
fn verifies_and_downloads() {
    let world = World::new("uptane-good");
    world.serve_image(json!({"a file.bin": target(b"content", json!({"hardwareIds": ["H"]}))}), 1);
    world.serve_director(json!({"a file.bin": assigned(b"content", "S", "H")}), 1);
    world.put("/image/targets/a%20file.bin", b"content");
    let run = world.update(&[]);
    run.ended(0, None);
    assert!(run.stdout.contains("a file.bin: for S, downloaded to"), "{}", run.stdout);
    assert_eq!(world.downloaded(), [("a%20file.bin".to_owned(), b"content".to_vec())]);
    // Once more: the image is verified where it is.
    let asked = world.asked("/image/targets/a%20file.bin");
    let run = world.update(&[]);
    run.ended(0, None);
    assert!(run.stdout.contains("verified again"), "{}", run.stdout);
    assert_eq!(world.asked("/image/targets/a%20file.bin"), asked);
    // An image that was changed on the disk is fetched again.
    fs::write(world.dir.join("images/a%20file.bin"), "CONTENT").unwrap();
    world.update(&[]).ended(0, None);
    assert_eq!(world.downloaded()[0].1, b"content");
}

#[test]
fn options_in_any_order_and_form() {
    let world = World::new("uptane-options");
    world.serve_image(json!({"f": target(b"x", json!({"hardwareIds": ["H"]}))}), 1);
    world.serve_director(json!({"f": assigned(b"x", "S", "H")}), 1);
    world.put("/image/targets/f", b"x");
    let o = |name: &str| format!("--{name}");
    let (state, images) = (world.path("state"), world.path("images"));
    let (director, image) = (format!("{}/director", world.url), format!("{}/image/", world.url));
    let words = [
        "uptane".to_owned(),
        format!("--hardware-id={}", "H"),
        o("download-dir"),
        images,
        format!("--image-url={image}"),
        o("state-dir"),
        state,
        format!("--ecu-serial={}", "S"),
        o("director-url"),
        director,
        "update".to_owned(),
    ];
    run_words(&words).ended(0, None);
    assert_eq!(world.downloaded().len(), 1);
    run_words(&["uptane".into(), "--help".into()]).ended(0, None);
    let run = run_words(&["uptane".into(), "--frobnicate".into(), "1".into(), "update".into()]);
    run.ended(1, Some("LocalFailure"));
    assert!(run.stderr.contains("frobnicate"), "{}", run.stderr);
}

#[test]
fn a_wrong_image_leaves_no_file() {
    let world = World::new("uptane-image");
    world.serve_image(json!({"f": target(b"content", json!({"hardwareIds": ["H"]}))}), 1);
    world.serve_director(json!({"f": assigned(b"content", "S", "H")}), 1);
    let path = "/image/targets/f";
    world.update(&[]).ended(1, Some("TargetFetchFailure"));
    for (served, class) in [
        (&b"CONTENT"[..], "TargetHashMismatch"),
        (b"conten", "TargetHashMismatch"),
        (b"content!", "OversizedTarget"),
    ] {
        world.put(path, served);
        world.update(&[]).ended(1, Some(class));
        assert_eq!(world.downloaded(), []);
    }
    // One byte more is read than was signed, and not what comes after it.
    world.put_cut(path, &[b'x'; 1 << 20], 1 << 40);
    world.update(&[]).ended(1, Some("OversizedTarget"));
    world.put_cut(path, b"cont", 7);
    world.update(&[]).ended(1, Some("TargetFetchFailure"));
    assert_eq!(world.downloaded(), []);
    world.put(path, b"content");
    world.update(&[]).ended(0, None);
    assert_eq!(world.downloaded().len(), 1);
}

/// A bundle is whole or not: the release counter moves on only when all of it is here.
#[test]
fn one_of_two_images_is_kept_away() {
    let world = World::new("uptane-bundle");
    let counted = |hardware: &str| json!({"hardwareIds": [hardware], "releaseCounter": 2});
    world.serve_image(json!({"a": target(b"a", counted("H")), "b": target(b"b", counted("H2"))}), 1);
    world.serve_director(json!({"a": assigned(b"a", "S", "H"), "b": assigned(b"b", "S2", "H2")}), 1);
    world.put("/image/targets/a", b"a");
    let more = ["--ecu-serial", "S2", "--hardware-id", "H2"];
    world.update(&more).ended(1, Some("TargetFetchFailure"));
    assert!(!world.dir.join("state/release-counters.json").exists());
    world.put("/image/targets/b", b"b");
    world.update(&more).ended(0, None);
    // Now neither goes back.
    world.serve_image(json!({"a": target(b"a", json!({"hardwareIds": ["H"], "releaseCounter": 1}))}), 2);
    world.serve_director(json!({"a": assigned(b"a", "S", "H")}), 2);
    world.update(&more).ended(1, Some("SecurityException"));
}

#[test]
fn the_state_is_kept_from_run_to_run() {
    let world = World::new("uptane-state");
    world.serve_director(json!({}), 5);
    world.update(&[]).ended(0, None);
    assert_eq!(world.asked("/image/1.root.json"), 0);
    world.serve_director(json!({}), 4);
    world.update(&[]).ended(1, Some("SecurityException"));
    world.serve_director(json!({}), 6);
    world.update(&[]).ended(0, None);
}

#[test]
fn failures_have_their_class_as_the_last_line() {
    let world = World::new("uptane-classes");
    let run = world.update(&[]);
    run.ended(1, Some("MetadataFetchFailure"));
    assert!(run.stderr.contains("1.root.json"), "{}", run.stderr);

    world.serve_image(json!({"f": target(b"x", json!({"hardwareIds": ["H"]}))}), 1);
    world.serve_director(json!({"f": assigned(b"x", "S3", "H")}), 1);
    world.update(&[]).ended(1, Some("BadEcuId"));
    world.serve_director(json!({"f": assigned(b"x", "S", "H9")}), 2);
    world.update(&[]).ended(1, Some("BadHardwareId"));
    world.serve_director(json!({"f": assigned(b"y", "S", "H")}), 3);
    world.update(&[]).ended(1, Some("TargetMismatch"));
    world.put_endless("/director/targets.json");
    world.update(&[]).ended(1, Some("MetadataFetchFailure"));
    assert_eq!(world.downloaded(), []);

    let words = ["uptane", "--state-dir", "/proc/no", "--director-url", "http://127.0.0.1:1", "--image-url"];
    let more =
        ["http://127.0.0.1:1", "--ecu-serial", "S", "--hardware-id", "H", "--download-dir", "/tmp", "update"];
    let words: Vec<String> = words.iter().chain(&more).map(|word| (*word).to_owned()).collect();
    run_words(&words).ended(1, Some("LocalFailure"));
}

/// Only 403 and 404 say that there is no next root, and what is asked for is what counts: nothing is followed.
#[test]
fn an_error_is_no_answer_and_a_redirect_is_not_followed() {
    let world = World::new("uptane-status");
    world.serve_director(json!({}), 1);
    world.update(&[]).ended(0, None);
    let elsewhere = "302 Found\r\nLocation: /director/1.root.json";
    for status in ["500 Internal Server Error", "503 Service Unavailable", "410 Gone", elsewhere] {
        world.reply("/director/2.root.json", Reply::Status(status));
        world.update(&[]).ended(1, Some("MetadataFetchFailure"));
    }
    world.reply("/director/2.root.json", Reply::Status("403 Forbidden"));
    world.update(&[]).ended(0, None);
    assert_eq!(world.asked("/director/1.root.json"), 1);
}

#[test]
fn an_ostree_target_is_verified_and_named() {
    let world = World::new("uptane-ostree");
    world.serve_image(json!({"os": target(b"", json!({"hardwareIds": ["H"]}))}), 1);
    world.serve_director(json!({"os": assigned(b"", "S", "H")}), 1);
    let run = world.update(&[]);
    run.ended(0, None);
    assert!(run.stdout.contains(&format!("OSTree commit {}", sha256(b""))), "{}", run.stdout);
}

struct World {
    dir: PathBuf,
    url: String,
    served: Arc<Mutex<Served>>,
}

#[derive(Default)]
struct Served {
    files: BTreeMap<String, Reply>,
    asked: BTreeMap<String, u32>,
}

#[derive(Clone)]
enum Reply {
    Whole(Vec<u8>),
    /// Fewer bytes than announced.
    Cut(Vec<u8>, usize),
    Endless,
    /// No body, and perhaps more headers.
    Status(&'static str),
}

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn ended(&self, code: i32, class: Option<&str>) {
        let last = self.stdout.lines().last().unwrap_or_default();
        let said = last.strip_prefix("error: ");
        assert_eq!((self.code, said), (code, class), "\n{}\n{}", self.stdout, self.stderr);
    }
}

fn run_words(words: &[String]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_rust-ota")).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl World {
    fn new(name: &str) -> World {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new(Served::default()));
        let shared = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream.unwrap(), &shared));
            }
        });
        World { dir, url, served }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn update(&self, more: &[&str]) -> Run {
        let (director, image) = (format!("{}/director", self.url), format!("{}/image", self.url));
        let (state, images) = (self.path("state"), self.path("images"));
        let mut words =
            vec!["uptane", "--state-dir", &state, "--director-url", &director, "--image-url", &image];
        words.extend(["--ecu-serial", "S", "--hardware-id", "H", "--download-dir", &images]);
        words.extend(more);
        words.push("update");
        run_words(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        self.reply(path, Reply::Whole(bytes.to_vec()));
    }

    fn put_cut(&self, path: &str, bytes: &[u8], announced: usize) {
        self.reply(path, Reply::Cut(bytes.to_vec(), announced));
    }

    fn put_endless(&self, path: &str) {
        self.reply(path, Reply::Endless);
    }

    fn reply(&self, path: &str, reply: Reply) {
        self.served.lock().unwrap().files.insert(path.to_owned(), reply);
    }

    fn asked(&self, path: &str) -> u32 {
        self.served.lock().unwrap().asked.get(path).copied().unwrap_or_default()
    }

    fn downloaded(&self) -> Vec<(String, Vec<u8>)> {
        let Ok(entries) = fs::read_dir(self.dir.join("images")) else { return Vec::new() };
        let file =
            |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        entries.map(|entry| file(entry.unwrap())).collect()
    }

    /// A Director as they are in the field: no timestamp, no snapshot.
    fn serve_director(&self, targets: Value, version: u64) {
        let root = role("Root", 1, root_fields(&[("root", 1), ("targets", 2)]));
        self.put("/director/1.root.json", &sign(&root, 1));
        let targets = role("Targets", version, json!({"targets": targets}));
        self.put("/director/targets.json", &sign(&targets, 2));
    }

    fn serve_image(&self, targets: Value, version: u64) {
        let signers = [("root", 3), ("targets", 4), ("snapshot", 5), ("timestamp", 6)];
        self.put("/image/1.root.json", &sign(&role("Root", 1, root_fields(&signers)), 3));
        let targets = role("Targets", version, json!({"targets": targets}));
        self.put("/image/targets.json", &sign(&targets, 4));
        let listed = json!({"targets.json": {"version": version}});
        let snapshot = sign(&role("Snapshot", version, json!({"meta": listed})), 5);
        self.put("/image/snapshot.json", &snapshot);
        let hashes = json!({"sha256": sha256(&snapshot)});
        let listed = json!({"version": version, "length": snapshot.len(), "hashes": hashes});
        let timestamp = role("Timestamp", version, json!({"meta": {"snapshot.json": listed}}));
        self.put("/image/timestamp.json", &sign(&timestamp, 6));
    }
}

fn answer(stream: &TcpStream, served: &Mutex<Served>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
    let reply = {
        let mut served = served.lock().unwrap();
        *served.asked.entry(path.clone()).or_default() += 1;
        served.files.get(&path).cloned()
    };
    let mut stream = stream;
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    // A client that hangs up early is what some tests are about.
    let _ = match reply {
        None => stream.write_all(&head("404 Not Found", 0)),
        Some(Reply::Whole(bytes)) => stream.write_all(&[head("200 OK", bytes.len()), bytes].concat()),
        Some(Reply::Cut(bytes, announced)) => stream.write_all(&[head("200 OK", announced), bytes].concat()),
        Some(Reply::Status(status)) => stream.write_all(&head(status, 0)),
        Some(Reply::Endless) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 4096]).is_ok() {}
            Ok(())
        }
    };
}

fn target(content: &[u8], custom: Value) -> Value {
    json!({"length": content.len(), "hashes": {"sha256": sha256(content)}, "custom": custom})
}

fn assigned(content: &[u8], serial: &str, hardware: &str) -> Value {
    target(content, json!({"ecuIdentifiers": {serial: {"hardwareId": hardware}}}))
}

fn root_fields(signers: &[(&str, u8)]) -> Value {
    let (mut keys, mut roles) = (json!({}), json!({}));
    for (role, number) in signers {
        let public = hex(key(*number).verifying_key().as_bytes());
        keys[format!("key-{number}")] = json!({"keytype": "ed25519", "keyval": {"public": public}});
        roles[role] = json!({"keyids": [format!("key-{number}")], "threshold": 1});
    }
    json!({"keys": keys, "roles": roles, "consistent_snapshot": false})
}

fn role(kind: &str, version: u64, mut fields: Value) -> Value {
    fields["_type"] = json!(kind);
    fields["version"] = json!(version);
    fields["expires"] = json!("2038-01-19T03:14:06Z");
    fields
}

/// What serde_json writes of plain ASCII is canonical: keys in order, no spaces.
fn sign(signed: &Value, number: u8) -> Vec<u8> {
    let signature = key(number).sign(signed.to_string().as_bytes()).to_bytes();
    let sig = base64::engine::general_purpose::STANDARD.encode(signature);
    let signature = json!({"keyid": format!("key-{number}"), "method": "ed25519", "sig": sig});
    json!({"signed": signed, "signatures": [signature]}).to_string().into_bytes()
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
