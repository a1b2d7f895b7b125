//! What a device gateway sees of a device: headers, events, reports; and what the callback program is told.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod lite_common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lite_common::{World, client, device, lite, release_with_app, run};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// One request as it came.
#[derive(Debug, Clone)]
struct Seen {
    connection: usize,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A gateway over TLS that serves the published folders and takes reports. It ends with the test's process.
#[derive(Clone)]
struct Gateway {
    folder: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The answer to `POST /events`.
    events: Arc<Mutex<u16>>,
    /// The answer to `POST /treehub/download-urls`.
    remotes: Arc<Mutex<Option<String>>>,
    /// The answer to every request for metadata, with its `Retry-After`.
    refusal: Arc<Mutex<Option<(u16, String)>>>,
    /// Each connection ends with the timestamp.
    closing: Arc<Mutex<bool>>,
    /// Bytes of each connection, both ways, under TLS.
    bytes: Arc<Mutex<Vec<u64>>>,
}

impl Gateway {
    /// Starts it and makes the device its own.
    fn start(world: &World) -> Gateway {
        let tls = world.dir.join("ota.keys/tls");
        let chain =
            CertificateDer::pem_file_iter(tls.join("server.crt")).unwrap().map(|c| c.unwrap()).collect();
        let key = PrivateKeyDer::from_pem_file(tls.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        world.fragment("10-server", &format!("[tls]\nserver = \"https://{address}\"\n"));
        let gateway = Gateway {
            folder: world.dir.join("ota"),
            seen: Arc::default(),
            events: Arc::new(Mutex::new(200)),
            remotes: Arc::default(),
            refusal: Arc::default(),
            bytes: Arc::default(),
            closing: Arc::default(),
        };
        let (config, this) = (Arc::new(config), gateway.clone());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (config, this) = (config.clone(), this.clone());
                std::thread::spawn(move || this.connection(number, stream.unwrap(), config));
            }
        });
        gateway
    }

    fn connection(&self, number: usize, stream: TcpStream, config: Arc<rustls::ServerConfig>) {
        let session = rustls::ServerConnection::new(config).unwrap();
        let stream = Counted { stream, number, bytes: self.bytes.clone() };
        let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream));
        while let Some(seen) = request(&mut stream, number) {
            let (mut status, mut body) = self.answer(&seen);
            let mut more = String::new();
            let refusal = self.refusal.lock().unwrap().clone();
            if let Some((refused, wish)) = refusal.filter(|_| seen.path.starts_with("/repo/")) {
                (status, body) = (refused, Vec::new());
                more = format!("Retry-After: {wish}\r\n");
            } else if status == 200 && seen.path == "/repo/timestamp.json" {
                let etag = format!("\"{}\"", rust_ota::tuf::sha256_hex(&body));
                if seen.header("if-none-match") == Some(etag.as_str()) {
                    (status, body) = (304, Vec::new());
                }
                more = format!("ETag: {etag}\r\n");
            }
            let last = *self.closing.lock().unwrap() && seen.path == "/repo/timestamp.json";
            if last {
                more.push_str("Connection: close\r\n");
            }
            self.seen.lock().unwrap().push(seen);
            let length =
                if status == 304 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let head = format!("HTTP/1.1 {status} x\r\n{more}{length}\r\n");
            if stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).is_err() || last {
                return;
            }
        }
    }

    fn answer(&self, seen: &Seen) -> (u16, Vec<u8>) {
        match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/device") => {
                (200, br#"{"Name":"lab 7","factory":"f","owner":"o","repo_id":"r"}"#.to_vec())
            }
            ("POST", "/events") => (*self.events.lock().unwrap(), Vec::new()),
            ("PUT", "/system_info/network" | "/system_info/config" | "/system_info") => (200, Vec::new()),
            ("POST", "/treehub/download-urls") => match &*self.remotes.lock().unwrap() {
                Some(list) => (200, list.clone().into_bytes()),
                None => (204, Vec::new()),
            },
            ("GET", path) => {
                fs::read(self.folder.join(&path[1..])).map_or((404, Vec::new()), |bytes| (200, bytes))
            }
            _ => (404, Vec::new()),
        }
    }

    /// What came since the last call.
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The events that came since the last call, in batches.
    fn batches(&self) -> Vec<Vec<Value>> {
        let posts = self.take().into_iter().filter(|s| s.path == "/events");
        posts.map(|s| serde_json::from_str(&s.body).unwrap()).collect()
    }
}

/// A connection whose bytes are counted.
struct Counted {
    stream: TcpStream,
    number: usize,
    bytes: Arc<Mutex<Vec<u64>>>,
}

impl Counted {
    fn count(&self, moved: usize) {
        let mut bytes = self.bytes.lock().unwrap();
        if bytes.len() <= self.number {
            bytes.resize(self.number + 1, 0);
        }
        bytes[self.number] += moved as u64;
    }
}

impl std::io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let moved = self.stream.read(buffer)?;
        self.count(moved);
        Ok(moved)
    }
}

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let moved = self.stream.write(buffer)?;
        self.count(moved);
        Ok(moved)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// The daemon, until the test ends.
struct Daemon(Child);

impl Daemon {
    fn start(world: &World) -> Daemon {
        let mut command = client(world, &["daemon", "--interval", "1"]);
        Daemon(command.stderr(std::process::Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for what will come, or gives up after a time that no machine needs.
#[track_caller]
fn until(what: &str, mut true_now: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if true_now() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} has not come");
}

fn request(stream: &mut impl BufRead, connection: usize) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_string);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_string(), value.trim().to_string()));
    }
    let mut seen = Seen { connection, method, path, headers, body: String::new() };
    let length = seen.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

fn kinds(batches: &[Vec<Value>]) -> Vec<String> {
    let events = batches.iter().flatten();
    events.map(|e| e["eventType"]["id"].as_str().unwrap().to_string()).collect()
}

fn queued(world: &World) -> usize {
    fs::read_to_string(world.path("sota/rust-ota/events.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn each_request_says_who_the_device_is() {
    let world = device("gateway-headers");
    let gateway = Gateway::start(&world);
    world.fragment(
        "60-apps",
        "[pacman]\ntype = ostree+compose_apps\ncompose_apps = \"web,other\"\ntags = \"main,extra\"\n",
    );
    let first = world.deployments()[0].clone();
    lite(&world, &["check"]).expect(0);
    let seen = gateway.take();
    let timestamp = seen.iter().find(|s| s.path == "/repo/timestamp.json").unwrap();
    assert_eq!(timestamp.header("x-ats-target"), Some("Initial Target"), "nobody has said its name yet");
    assert_eq!(timestamp.header("x-ats-ostreehash"), Some(first.as_str()));
    assert_eq!(timestamp.header("x-ats-tags"), Some("main"), "of the tags the first");
    let network = seen.iter().find(|s| s.path == "/system_info/network");
    for general in network.into_iter().chain(seen.iter().find(|s| s.path == "/events")) {
        assert_eq!(general.header("x-ats-tags"), Some("main,extra"));
        assert_eq!(general.header("content-type"), Some("application/json"));
    }

    let second = release_with_app(&world, 2);
    // Its app is in no registry, so it is not installed.
    world.fragment("61-apps", "[pacman]\ntype = ostree\n");
    lite(&world, &["update"]).expect(100);
    let seen = gateway.take();
    let timestamp = seen.iter().find(|s| s.path == "/repo/timestamp.json").unwrap();
    assert_eq!(timestamp.header("x-ats-target"), Some("test-board-1"));
    assert_eq!(timestamp.header("x-ats-dockerapps"), Some(""));
    let objects: Vec<_> = seen.iter().filter(|s| s.path.starts_with("/treehub/")).collect();
    assert!(objects.len() > 3);
    for object in objects {
        assert_eq!(object.header("x-correlation-id"), Some("test-board-2"));
        assert_eq!(object.header("x-ats-target"), None, "not for content");
    }

    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    gateway.take();
    world.fragment("61-apps", "");
    lite(&world, &["check"]).expect(17);
    let seen = gateway.take();
    let timestamp = seen.iter().find(|s| s.path == "/repo/timestamp.json").unwrap();
    assert_eq!(timestamp.header("x-ats-ostreehash"), Some(second.as_str()));
    assert_eq!(timestamp.header("x-ats-dockerapps"), Some("web"), "enabled and of this Target");
}

#[test]
fn the_story_of_an_update_in_events() {
    let world = device("gateway-events");
    let gateway = Gateway::start(&world);
    world.fragment("60-serial", "[provision]\nprimary_ecu_serial = serial-1\n");
    lite(&world, &["check"]).expect(0);
    let batches = gateway.batches();
    assert_eq!(kinds(&batches), ["MetadataUpdateCompleted"]);
    let event = &batches[0][0];
    assert_eq!(event["event"]["success"], true);
    assert_eq!(event["event"]["details"], "root: 1; timestamp: 2; snapshot: 2; targets: 2");
    assert!(event["event"]["correlationId"].as_str().unwrap().starts_with("tuf-meta-"));

    world.release(2);
    lite(&world, &["update"]).expect(100);
    let batches = gateway.batches();
    let expected = [
        "MetadataUpdateCompleted",
        "EcuDownloadStarted",
        "EcuDownloadCompleted",
        "EcuInstallationStarted",
        "EcuInstallationApplied",
    ];
    assert_eq!(kinds(&batches), expected);
    let update: Vec<&Value> = batches.iter().flatten().skip(1).collect();
    let correlation = update[0]["event"]["correlationId"].as_str().unwrap();
    assert!(correlation.starts_with("2-") && correlation.len() <= 63);
    for event in &update {
        assert_eq!(event["event"]["correlationId"], correlation, "one story");
        assert_eq!(event["event"]["ecu"], "serial-1");
        assert_eq!(
            (&event["event"]["targetName"], &event["event"]["version"]),
            (&json!("test-board-2"), &json!("2"))
        );
    }
    assert_eq!(update[0]["event"]["details"], "Updating from test-board-1 to test-board-2");
    assert_eq!(update[1]["event"]["success"], true);

    world.roll_back();
    lite(&world, &["finalize"]).expect(110);
    let batches = gateway.batches();
    assert_eq!(kinds(&batches), ["EcuInstallationCompleted"], "at once where there is a network");
    assert_eq!(batches[0][0]["event"]["correlationId"], correlation, "over the reboot");
    assert_eq!(batches[0][0]["event"]["success"], false);
    assert_eq!(queued(&world), 0);
    world.reboot_into(0);
    lite(&world, &["check"]).expect(0);
    assert!(gateway.batches().is_empty(), "and only once");
}

#[test]
fn events_wait_for_a_server_that_takes_them() {
    let world = device("gateway-later");
    let gateway = Gateway::start(&world);
    // The tests' reboots are made by fragments, and they would be told.
    world.fragment("60-quiet", "[telemetry]\nreport_config = 0\n");
    *gateway.events.lock().unwrap() = 503;
    world.release(2);
    lite(&world, &["update"]).expect(100);
    assert_eq!(queued(&world), 5);
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    gateway.take();
    let before = but_the_last_run(&world);
    lite(&world, &["check"]).expect(0);
    assert_eq!(gateway.batches().len(), 1, "asked once, oldest first");
    assert_eq!(but_the_last_run(&world), before, "and kept as they were");

    *gateway.events.lock().unwrap() = 413;
    lite(&world, &["check"]).expect(0);
    let sizes: Vec<usize> = gateway.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes[..4], [6, 3, 1, 5], "halved, and the one that never fits is given up");
    assert_eq!(queued(&world), 0);

    *gateway.events.lock().unwrap() = 503;
    lite(&world, &["rollback"]).expect(100);
    assert!(queued(&world) > 0);
    *gateway.events.lock().unwrap() = 404;
    lite(&world, &["pull", "1"]).expect(30);
    lite(&world, &["check"]).expect(0);
    assert_eq!(queued(&world), 0, "a server without events");
}

#[test]
fn an_idle_poll_is_one_connection_and_no_write() {
    let world = device("gateway-idle");
    let gateway = Gateway::start(&world);
    lite(&world, &["check"]).expect(0);
    lite(&world, &["check"]).expect(0);
    gateway.take();
    let before = world.snapshot("sota");
    lite(&world, &["check"]).expect(0);
    let seen = gateway.take();
    let paths: Vec<&str> = seen.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["/repo/2.root.json", "/repo/timestamp.json"]);
    assert!(seen.iter().all(|s| s.connection == seen[0].connection), "{seen:?}");
    assert_eq!(world.snapshot("sota"), before);
}

#[test]
fn a_device_without_a_network_writes_its_trouble_once() {
    let mut world = device("gateway-offline");
    lite(&world, &["check"]).expect(0);
    world.stop_server();
    lite(&world, &["check"]).expect(0);
    let before = but_the_last_run(&world);
    assert_eq!(queued(&world), 1);
    lite(&world, &["check"]).expect(0);
    assert_eq!(but_the_last_run(&world), before);
}

/// All that lies on the device, but for the record of the last run, which counts failures.
fn but_the_last_run(world: &World) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = world.snapshot("sota");
    files.retain(|(path, _)| !path.ends_with("last.json"));
    files
}

#[test]
fn status_with_the_servers_record() {
    let world = device("gateway-status");
    let _gateway = Gateway::start(&world);
    lite(&world, &["status"]).expect(0).says("Device UUID: device-1\nDevice name: lab 7\n");
    let status = lite(&world, &["status", "--json", "1"]).expect(0).json();
    assert_eq!((&status["device_name"], &status["device_factory"]), (&json!("lab 7"), &json!("f")));
    assert_eq!(status["applied_target"]["name"], "Initial Target");
}

#[test]
fn the_callback_program_is_told_each_stage_and_no_shell_reads_it() {
    let world = device("callback");
    let told = world.path("told");
    let script = world.path("callback.sh");
    let text = format!(
        "#!/bin/sh\necho \"$MESSAGE|$CURRENT_TARGET_NAME|$INSTALL_TARGET_NAME|${{RESULT-unset}}\" >> {told}\necho noise\nexit 3\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    world.fragment("60-callback", &format!("[pacman]\ncallback_program = {script}\n"));
    let take = || {
        let text = fs::read_to_string(&told).unwrap_or_default();
        let _ = fs::remove_file(&told);
        text.lines().map(str::to_string).collect::<Vec<_>>()
    };
    lite(&world, &["check"]).expect(0);
    assert_eq!(take(), ["check-for-update-pre|||unset", "check-for-update-post|||OK"]);
    let current = world.path("sota/current-target");
    let expected = "TARGET_NAME=\"test-board-1\"\nCUSTOM_VERSION=\"1\"\nTAG=\"main\"\n";
    assert_eq!(fs::read_to_string(&current).unwrap(), expected);

    world.release(2);
    let json = lite(&world, &["check", "--json", "1"]).expect(16);
    assert!(json.json().is_array(), "what a callback prints is not on stdout");
    take();
    lite(&world, &["update"]).expect(100);
    assert_eq!(
        take(),
        [
            "check-for-update-pre|test-board-1||unset",
            "check-for-update-post|test-board-1|test-board-2|OK",
            "download-pre|test-board-1|test-board-2|unset",
            "download-post|test-board-1|test-board-2|OK",
            "install-pre|test-board-1|test-board-2|unset",
            "install-post|test-board-1|test-board-2|NEEDS_COMPLETION",
        ]
    );
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    assert_eq!(
        take(),
        ["install-final-pre|test-board-2|test-board-2|unset", "install-post|test-board-2|test-board-2|OK"]
    );
    assert!(fs::read_to_string(&current).unwrap().starts_with("TARGET_NAME=\"test-board-2\"\n"));

    // The server's words reach the program as a value.
    world.fragment(
        "70-server",
        &format!(
            "[uptane]\nrepo_server = https://127.0.0.1:1/$(touch {0})`touch {0}`\n",
            world.path("hacked")
        ),
    );
    let failed = lite(&world, &["check"]).expect(0);
    failed.says("going on with the metadata");
    let line = take().pop().unwrap();
    assert!(line.starts_with("check-for-update-post|test-board-2||FAILED: "), "{line}");
    assert!(!std::path::Path::new(&world.path("hacked")).exists());

    fs::remove_file(&script).unwrap();
    world.fragment("70-server", "");
    lite(&world, &["check"]).expect(0).says("pacman.callback_program does not exist");
    let mut native = world.client(&["check"]);
    native.stdin(std::process::Stdio::null());
    run(native).expect(0);
}

#[test]
fn an_idle_poll_of_the_daemon_asks_by_name_and_moves_little() {
    let world = device("gateway-daemon");
    let gateway = Gateway::start(&world);
    let _daemon = Daemon::start(&world);
    let polls = |gateway: &Gateway| {
        let seen = gateway.seen.lock().unwrap();
        seen.iter().filter(|s| s.path == "/repo/timestamp.json").count()
    };
    until("the fifth poll", || polls(&gateway) >= 5);
    let before = world.snapshot("sota");
    gateway.take();
    let moved = || gateway.bytes.lock().unwrap().iter().sum::<u64>();
    let (first, from) = (polls(&gateway), moved());
    until("three more polls", || polls(&gateway) >= first + 3);
    let (count, bytes) = (polls(&gateway) as u64, moved() - from);
    let seen = gateway.take();
    for request in seen.iter().filter(|s| s.path == "/repo/timestamp.json") {
        assert!(request.header("if-none-match").is_some(), "{request:?}");
    }
    assert!(
        seen.iter().all(|s| ["/repo/2.root.json", "/repo/timestamp.json"].contains(&s.path.as_str())),
        "{seen:?}"
    );
    assert!(bytes / count < 2000, "{bytes} bytes in {count} polls");
    println!("{} bytes an idle poll on one connection", bytes / count);
    assert_eq!(world.snapshot("sota"), before);
}

#[test]
fn a_new_connection_goes_on_with_the_session_before() {
    let world = device("gateway-resumed");
    let gateway = Gateway::start(&world);
    *gateway.closing.lock().unwrap() = true;
    let _daemon = Daemon::start(&world);
    until("the fifth connection", || gateway.bytes.lock().unwrap().len() >= 5);
    let bytes = gateway.bytes.lock().unwrap().clone();
    println!("bytes of each connection, the first with a whole handshake: {bytes:?}");
    // The last one may be under way still.
    assert!(bytes[bytes.len() - 2] < 3000, "{bytes:?}");
}

#[test]
fn what_the_server_is_told_of_the_device_and_what_not() {
    let world = device("gateway-facts");
    let gateway = Gateway::start(&world);
    world.fragment("60-secret", "[p11]\npass = hunter2\n");
    fs::create_dir_all(world.path("bin")).unwrap();
    fs::write(world.path("bin/lshw"), "#!/bin/sh\necho '[{\"id\": \"board\", \"options\": \"'$1'\"}]'\n")
        .unwrap();
    fs::set_permissions(world.path("bin/lshw"), fs::Permissions::from_mode(0o755)).unwrap();
    let check = |args: &[&str]| {
        let mut command = client(&world, args);
        command.env("PATH", format!("{}:{}", world.path("bin"), std::env::var("PATH").unwrap()));
        run(command).expect(0);
        let told = gateway.take().into_iter().filter(|s| s.path.starts_with("/system_info"));
        told.filter(|s| s.path != "/system_info/network").collect::<Vec<_>>()
    };
    let told = check(&["check", "--report-hw-info", "1"]);
    let paths: Vec<(&str, &str)> = told.iter().map(|s| (s.method.as_str(), s.path.as_str())).collect();
    assert_eq!(paths, [("PUT", "/system_info/config"), ("PUT", "/system_info")]);
    assert_eq!(told[0].header("content-type"), Some("application/toml"));
    assert!(
        told[0].body.contains("[pacman]\n") && told[0].body.contains("tags = \"main\"\n"),
        "{}",
        told[0].body
    );
    assert!(told[0].body.contains("pass = \"(withheld)\"") && !told[0].body.contains("hunter2"));
    assert_eq!(
        serde_json::from_str::<Value>(&told[1].body).unwrap(),
        json!({"id": "board", "options": "-json"})
    );

    assert!(check(&["check", "--report-hw-info", "1"]).is_empty(), "nothing has changed");
    world.fragment("61-polling", "[uptane]\npolling_sec = 77\n");
    let told = check(&["check"]);
    assert_eq!(told.len(), 1);
    assert!(told[0].body.contains("polling_sec = \"77\""));
    world.fragment("62-quiet", "[telemetry]\nreport_config = 0\nreport_network = 0\n");
    fs::remove_file(world.path("sota/rust-ota/reported.json")).unwrap();
    lite(&world, &["check"]).expect(0);
    assert!(!gateway.take().iter().any(|s| s.path.starts_with("/system_info")));
}

#[test]
fn content_comes_from_where_the_gateway_says_or_else_from_itself() {
    let world = device("gateway-remotes");
    let gateway = Gateway::start(&world);
    lite(&world, &["check"]).expect(0);
    std::os::unix::fs::symlink("treehub", world.path("ota/mirror")).unwrap();
    let config = fs::read_to_string(world.path("conf.d/10-server.toml")).unwrap();
    let address = config.split('"').nth(1).unwrap().to_string();
    let remote =
        |path: &str, token: &str| json!({"download_url": format!("{address}/{path}"), "access_token": token});
    let plain = json!({"download_url": "http://plain.example/", "access_token": "c"});
    *gateway.remotes.lock().unwrap() =
        Some(json!([remote("mirror", "a"), remote("nowhere", "b"), plain]).to_string());
    world.release(2);
    lite(&world, &["update"]).expect(100);
    let seen = gateway.take();
    let asked = seen.iter().find(|s| s.path == "/treehub/download-urls").unwrap();
    assert_eq!((asked.method.as_str(), asked.body.as_str()), ("POST", "null"));
    let of = |folder: &str| seen.iter().filter(|s| s.path.starts_with(folder)).cloned().collect::<Vec<_>>();
    assert!(!of("/nowhere/").is_empty() && of("/nowhere/").len() < 3, "the last one first, and given up");
    assert!(of("/nowhere/").iter().all(|s| s.header("authorization") == Some("Bearer b")));
    assert!(of("/mirror/").len() > 3 && of("/treehub/objects/").is_empty());
    for object in of("/mirror/") {
        assert_eq!(object.header("authorization"), Some("Bearer a"));
        assert_eq!((object.header("x-ats-target"), object.header("x-correlation-id")), (None, None));
    }

    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    let odd = [json!([remote("nowhere", "b")]).to_string(), "{".to_string(), "null".to_string()];
    for (version, odd) in (3..).zip(odd) {
        *gateway.remotes.lock().unwrap() = Some(odd);
        world.release(version);
        lite(&world, &["check"]).expect(16);
        lite(&world, &["pull"]).expect(0);
        let seen = gateway.take();
        let own = seen.iter().filter(|s| s.path.starts_with("/treehub/objects/"));
        assert!(own.clone().count() > 0 && own.clone().all(|s| s.header("authorization").is_none()));
    }

    // Of a list without end a few are asked.
    let many: Vec<_> = (0..30).map(|number| remote(&format!("nowhere-{number}"), "b")).collect();
    *gateway.remotes.lock().unwrap() = Some(json!(many).to_string());
    world.release(6);
    lite(&world, &["check"]).expect(16);
    lite(&world, &["pull"]).expect(0);
    let seen = gateway.take();
    let places = seen.iter().filter_map(|s| s.path.strip_prefix("/nowhere-")?.split('/').next());
    assert_eq!(places.collect::<std::collections::BTreeSet<_>>().len(), 8);
}

#[test]
fn a_server_that_wants_to_be_left_alone_is_over_a_restart_too() {
    let world = device("gateway-retry-after");
    let gateway = Gateway::start(&world);
    lite(&world, &["check"]).expect(0);
    *gateway.refusal.lock().unwrap() = Some((503, "100".into()));
    gateway.take();
    let file = world.path("sota/rust-ota/backoff.json");
    let stored = || -> Option<Value> { serde_json::from_slice(&fs::read(&file).ok()?).ok() };
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    {
        let _daemon = Daemon::start(&world);
        until("the record of the trouble", || stored().is_some());
    }
    let until_then = stored().unwrap()["until"].as_i64().unwrap() - now();
    assert!((50..=126).contains(&until_then), "{until_then} s, and a quarter at most");
    assert_eq!(stored().unwrap()["failures"], 1);
    gateway.take();
    *gateway.refusal.lock().unwrap() = None;
    {
        let _daemon = Daemon::start(&world);
        std::thread::sleep(Duration::from_secs(4));
        assert!(gateway.take().is_empty(), "with an interval of a second");
    }
    // A date, by the clock of the server.
    let wish = "Tue, 01 Jan 2030 00:05:00 GMT\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT";
    *gateway.refusal.lock().unwrap() = Some((503, wish.into()));
    lite(&world, &["check"]).says("left alone for 300 s");
    *gateway.refusal.lock().unwrap() = None;
    lite(&world, &["check"]).expect(0);
    fs::write(&file, format!("{{\"failures\": 1, \"until\": {}}}", now() - 1)).unwrap();
    let _daemon = Daemon::start(&world);
    until("the end of the record", || !fs::exists(&file).unwrap());
    assert!(!gateway.take().is_empty());
}
