//! What a device gateway sees of a device: headers, events, reports; and what the callback program is told.

#![allow(missing_docs, clippy::unwrap_used)]

mod lite_common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lite_common::{World, device, lite, release_with_app, run};
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
        let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream));
        while let Some(seen) = request(&mut stream, number) {
            let (status, body) = self.answer(&seen);
            self.seen.lock().unwrap().push(seen);
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.get_mut().write_all(&[head.as_bytes(), &body].concat()).is_err() {
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
            ("PUT", "/system_info/network") => (200, Vec::new()),
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
    lite(&world, &["check"]).expect(0);
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
    assert_eq!((gateway.take().len(), queued(&world)), (0, 1), "finalize needs no network");
    world.reboot_into(0);
    lite(&world, &["check"]).expect(0);
    let batches = gateway.batches();
    assert_eq!(kinds(&batches), ["EcuInstallationCompleted"]);
    assert_eq!(batches[0][0]["event"]["correlationId"], correlation, "over the reboot");
    assert_eq!(batches[0][0]["event"]["success"], false);
    assert_eq!(queued(&world), 0);
}

#[test]
fn events_wait_for_a_server_that_takes_them() {
    let world = device("gateway-later");
    let gateway = Gateway::start(&world);
    *gateway.events.lock().unwrap() = 503;
    world.release(2);
    lite(&world, &["update"]).expect(100);
    assert_eq!(queued(&world), 5);
    world.reboot_into(0);
    lite(&world, &["finalize"]).expect(0);
    gateway.take();
    let before = world.snapshot("sota");
    lite(&world, &["check"]).expect(0);
    assert_eq!(gateway.batches().len(), 1, "asked once, oldest first");
    assert_eq!(world.snapshot("sota"), before, "and kept as they were");

    *gateway.events.lock().unwrap() = 413;
    lite(&world, &["check"]).expect(0);
    let sizes: Vec<usize> = gateway.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes[..4], [6, 3, 1, 5], "halved, and the one that never fits is given up");
    assert_eq!(queued(&world), 0);

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
    let before = world.snapshot("sota");
    assert_eq!(queued(&world), 1);
    lite(&world, &["check"]).expect(0);
    assert_eq!(world.snapshot("sota"), before);
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
