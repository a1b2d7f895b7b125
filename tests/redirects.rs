//! Where a server sends a device: content is fetched from anywhere, and only the device's own server learns who asks.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rust_ota::config::NetworkSettings;
use rust_ota::gateway::{ClientIdentity, Http, HttpError, HttpSettings};
use rustls::server::WebPkiClientVerifier;

/// A request as it came.
#[derive(Debug, Clone)]
struct Seen {
    head: String,
    certificate: bool,
}

/// A server that wants no certificate, and sees whether one is shown.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(keys: &Keys, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, config, answer) = (seen.clone(), keys.server.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, config, answer) = (log.clone(), config.clone(), answer.clone());
                std::thread::spawn(move || {
                    let session = rustls::ServerConnection::new(config).unwrap();
                    let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream));
                    loop {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let path = head.split(' ').nth(1).unwrap().to_string();
                        let certificate = stream.get_ref().conn.peer_certificates().is_some();
                        let reply = answer(&path);
                        log.lock().unwrap().push(Seen { head: head.to_ascii_lowercase(), certificate });
                        if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Server { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn ok(more: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// Those of the servers and of the device, all by one authority.
struct Keys {
    folder: PathBuf,
    server: Arc<rustls::ServerConfig>,
}

impl Keys {
    fn new(name: &str) -> Keys {
        let folder = std::env::temp_dir().join(format!("rust-ota-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Keys { folder, server: Arc::new(config) }
    }

    /// The client of a device, which says who it is with each request.
    fn device(&self, network: NetworkSettings) -> Http {
        let certificate = self.folder.join("certificate.pem");
        let settings = HttpSettings {
            ca: Some(certificate.clone()),
            client: Some(ClientIdentity { certificate, key: self.folder.join("key.pem") }),
            headers: vec![("X-Device".to_string(), "seven".to_string())],
            ..HttpSettings::of(&network)
        };
        Http::new(&settings).unwrap()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn read(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn who_asks_is_for_the_own_server_only() {
    let keys = Keys::new("redirect-who");
    let other = Server::start(&keys, |_| ok("", "content"));
    let elsewhere = other.url("/elsewhere");
    let own = Server::start(&keys, move |path| match path {
        "/away" => to(&elsewhere),
        "/here" => to("/there"),
        _ => ok("", "content"),
    });
    let device = keys.device(NetworkSettings::default());
    let known = |seen: &[Seen]| {
        let named = |seen: &Seen| (seen.certificate, seen.head.contains("x-device"));
        seen.iter().map(named).collect::<Vec<_>>()
    };

    assert_eq!(read(device.open_content(&own.url("/here"), 0).unwrap()), "content");
    assert_eq!(known(&own.take()), [(true, true); 2], "the same server knows its device");
    assert_eq!(read(device.open_content(&own.url("/away"), 0).unwrap()), "content");
    assert_eq!((known(&own.take()), known(&other.take())), (vec![(true, true)], vec![(false, false)]));

    // An address that metadata names.
    for (server, who) in [(&own, (true, true)), (&other, (false, false))] {
        let http = device.for_address(&server.url("/x"), &[&own.address]).unwrap();
        assert_eq!(http.get(&server.url("/x"), 100).unwrap().body, b"content");
        assert_eq!(known(&server.take()), [who]);
    }
}

#[test]
fn redirects_have_an_end_and_stay_with_https() {
    let keys = Keys::new("redirect-end");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let address = format!("http://localhost:{}/x", plain.local_addr().unwrap().port());
    let own = Server::start(&keys, move |path| match path {
        "/plain" => to(&address),
        path => to(path),
    });
    let device = keys.device(NetworkSettings { allow_http: true, ..NetworkSettings::default() });
    let error = device.open_content(&own.url("/round"), 0).unwrap_err();
    assert!(error.to_string().contains("more than 10 redirects"), "{error}");
    assert_eq!(own.take().len(), 11);
    let error = device.open_content(&own.url("/plain"), 0).unwrap_err();
    assert!(error.to_string().contains("only https:// is followed"), "{error}");
    assert!(plain.accept().is_err(), "nobody was asked without TLS");
}

#[test]
fn metadata_is_redirected_only_where_that_is_configured() {
    let keys = Keys::new("redirect-metadata");
    let other = Server::start(&keys, |path| match path {
        "/page" => ok("Content-Type: text/html\r\n", "<title>log in"),
        _ => ok("", "0123456789"),
    });
    let (whole, page) = (other.url("/whole"), other.url("/page"));
    let own = Server::start(&keys, move |path| to(if path == "/page" { &page } else { &whole }));
    let device = keys.device(NetworkSettings::default());
    assert_eq!(device.get(&own.url("/whole"), 100).unwrap().status, 302);
    assert!(other.take().is_empty());

    let device = keys.device(NetworkSettings { redirect_metadata: true, ..NetworkSettings::default() });
    assert_eq!(device.get(&own.url("/whole"), 10).unwrap().body, b"0123456789");
    let error = device.get(&own.url("/whole"), 9).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 9, .. }), "{error}");
    let error = device.get(&own.url("/page"), 100).unwrap_err();
    assert!(matches!(error, HttpError::Page { .. }), "{error}");
    assert!(other.take().iter().all(|seen| !seen.certificate));
}
