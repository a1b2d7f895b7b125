//! `ota-repo serve` over plain sockets and over TLS, as a client sees it.

mod ota_repo_support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ota_repo_support::{Server, Workshop};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> usize {
        self.header("content-length").unwrap_or("0").parse().unwrap()
    }
}

/// A connection that is kept from request to request.
struct Client<S>(BufReader<S>);

impl Client<TcpStream> {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self(BufReader::new(stream))
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a request with more header lines and reads the answer.
    fn ask(&mut self, line: &str, headers: &[&str]) -> Answer {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{line} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        self.0.get_mut().flush().unwrap();
        let mut answer = self.head();
        if !line.starts_with("HEAD") {
            answer.body = vec![0; answer.length()];
            self.0.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    fn head(&mut self) -> Answer {
        let mut line = || {
            let mut text = String::new();
            self.0.read_line(&mut text).unwrap();
            text.trim_end().to_string()
        };
        let status = line();
        let mut headers = Vec::new();
        loop {
            let text = line();
            let Some((name, value)) = text.split_once(": ") else { break };
            headers.push((name.to_string(), value.to_string()));
        }
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("{status:?}")).parse().unwrap();
        Answer { status, headers, body: Vec::new() }
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

fn log_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn files_over_one_connection() {
    let workshop = Workshop::new("files");
    workshop.published("");
    let file = fs::read(workshop.path("ota/repo/timestamp.json")).unwrap();
    let server = workshop.serve("--log log.jsonl");
    let mut client = Client::connect(&server);

    let whole = client.ask("GET /repo/timestamp.json", &[]);
    assert_eq!((whole.status, &whole.body), (200, &file));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let head = client.ask("HEAD /repo/timestamp.json", &[]);
    assert_eq!((head.status, head.length()), (200, file.len()));
    let query = client.ask("GET /repo/%74imestamp.json?tag=a/../b", &[]);
    assert_eq!((query.status, &query.body), (200, &file));
    assert_eq!(client.ask("GET /treehub/config", &[]).status, 200);

    let tag = whole.header("etag").unwrap();
    let unchanged = client.ask("GET /repo/timestamp.json", &[&format!("If-None-Match: \"x\", W/{tag}")]);
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(tag));
    assert_eq!(client.ask("GET /repo/timestamp.json", &["If-None-Match: \"x\""]).status, 200);
    workshop.ok("refresh ota");
    let changed = client.ask("GET /repo/timestamp.json", &[&format!("If-None-Match: {tag}")]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag));

    let log = log_lines(&workshop.path("log.jsonl"));
    assert_eq!(log.len(), 7);
    assert!(log.iter().all(|entry| entry["connection"] == 1), "{log:?}");
    assert_eq!((&log[0]["status"], &log[0]["bytes"]), (&200.into(), &file.len().into()));
}

#[test]
fn ranges() {
    let workshop = Workshop::new("ranges");
    workshop.published("");
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(workshop.path("ota/treehub/big"), &content).unwrap();
    let server = workshop.serve("");
    let mut client = Client::connect(&server);
    let length = content.len();
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=70000-", 70_000, length),
        ("bytes=-5", length - 5, length),
        ("bytes=100-99999999", 100, length),
    ] {
        let part = client.ask("GET /treehub/big", &[&format!("Range: {range}")]);
        assert_eq!((part.status, &part.body[..]), (206, &content[start..end]), "{range}");
        let expected = format!("bytes {start}-{}/{length}", end - 1);
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
    }
    let outside = client.ask("GET /treehub/big", &["Range: bytes=9999999-"]);
    assert_eq!(outside.status, 416);
    assert_eq!(outside.header("content-range"), Some(format!("bytes */{length}").as_str()));
    // Not one simple range, or a range of something else: the whole.
    for headers in [["Range: bytes=0-1,5-6", "A: b"], ["Range: bytes=0-1", "If-Range: \"old\""]] {
        assert_eq!(client.ask("GET /treehub/big", &headers).body, content);
    }
}

#[test]
fn nothing_outside_the_two_folders() {
    let workshop = Workshop::new("outside");
    workshop.published("");
    fs::write(workshop.path("ota/secret"), "secret").unwrap();
    fs::write(workshop.path("ota/repo/.hidden"), "secret").unwrap();
    symlink(workshop.path("ota/secret"), workshop.path("ota/repo/link")).unwrap();
    symlink("/", workshop.path("ota/treehub/rootdir")).unwrap();
    let server = workshop.serve("");
    for (path, status) in [
        ("/", 404),
        ("/repo", 404),
        ("/repo/", 404),
        ("/treehub/objects/", 404),
        ("/treehub/objects", 404),
        ("/repo/timestamp.json/", 404),
        ("/repo/none.json", 404),
        ("/secret", 404),
        ("/repo/.hidden", 404),
        ("/repo/link", 404),
        ("/treehub/rootdir/etc/passwd", 404),
        ("/repo/../secret", 400),
        ("/repo/%2e%2e/secret", 400),
        ("/repo/..%2fsecret", 400),
        ("/repo/x%00", 400),
        ("//repo/timestamp.json", 400),
        ("*", 400),
    ] {
        assert_eq!(Client::connect(&server).ask(&format!("GET {path}"), &[]).status, status, "{path}");
    }
}

#[test]
fn other_methods_bodies_and_bad_requests() {
    let workshop = Workshop::new("methods");
    workshop.published("");
    let server = workshop.serve("");
    let mut client = Client::connect(&server);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = client.ask(&format!("{method} /repo/timestamp.json"), &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    // A gateway's endpoint that is not there: the body is read away, the connection goes on.
    client
        .0
        .get_mut()
        .write_all(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n[1234]")
        .unwrap();
    let mut answer = client.head();
    answer.body = vec![0; answer.length()];
    client.0.read_exact(&mut answer.body).unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(client.ask("GET /repo/timestamp.json", &[]).status, 200);

    let last = client.ask("GET /repo/timestamp.json", &["Connection: close"]);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    for (line, header) in [("GET", "A: b"), ("GET / x", "A: b"), ("GET /", "no colon"), ("GET /", "A : b")] {
        let mut client = Client::connect(&server);
        assert_eq!(client.ask(line, &[header]).status, 400, "{line} {header}");
        assert!(client.is_closed());
    }
    // Refused after its first 16 KiB; what comes later is still taken, so that the client gets to read why.
    let mut client = Client::connect(&server);
    client.0.get_mut().write_all(b"GET / HTTP/1.1\r\nA: ").unwrap();
    for _ in 0..4 {
        client.0.get_mut().write_all(&[b'x'; 20_000]).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.head().status, 431);
}

#[test]
fn a_request_in_pieces_and_two_in_one() {
    let workshop = Workshop::new("pieces");
    workshop.published("");
    let server = workshop.serve("");
    let mut client = Client::connect(&server);
    for byte in b"GET /repo/timestamp.json HTTP/1.1\r\nHost: a\r\n\r" {
        client.0.get_mut().write_all(&[*byte]).unwrap();
    }
    // The last byte of the first request brings the whole second one.
    let second = client.ask("\nGET /repo/none", &[]);
    assert_eq!(second.status, 200);
    assert_eq!(client.head().status, 404);
}

#[test]
fn thirty_two_connections_at_once() {
    let workshop = Workshop::new("many");
    workshop.published("");
    let server = workshop.serve("--quiet --log log.jsonl");
    let names: Vec<String> = (0..100).map(|number| format!("file-{number}")).collect();
    for name in &names {
        fs::write(workshop.path("ota/treehub").join(name), name.repeat(50)).unwrap();
    }
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut client = Client::connect(&server);
                for name in &names {
                    let answer = client.ask(&format!("GET /treehub/{name}"), &[]);
                    assert_eq!(answer.body, name.repeat(50).as_bytes());
                }
            });
        }
    });
    let log = log_lines(&workshop.path("log.jsonl"));
    let mut connections: Vec<_> = log.iter().map(|entry| entry["connection"].as_u64().unwrap()).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!((log.len(), connections.len()), (3200, 32));
}

#[test]
fn tls_lets_in_only_devices_of_its_authority() {
    let workshop = Workshop::new("tls");
    workshop.published("");
    workshop.ok("tls ota --host localhost --host 127.0.0.1 --device dev-1");
    workshop.ok("tls ota --host other --device stranger --keys other.keys");
    let server = workshop.serve("--tls --log log.jsonl");
    let own = workshop.path("ota.keys/tls/devices/dev-1");
    let stranger = workshop.path("other.keys/tls/devices/stranger");

    let mut client = tls_client(&server, "localhost", &own, Some(&own)).unwrap();
    assert_eq!(client.ask("GET /repo/1.root.json", &[]).status, 200);
    assert_eq!(client.ask("GET /treehub/config", &[]).status, 200);
    assert!(tls_client(&server, "127.0.0.1", &own, Some(&own)).is_ok());
    let error = |result: Result<_, String>| result.err().unwrap();
    assert!(error(tls_client(&server, "localhost", &own, None)).contains("CertificateRequired"));
    let unknown = error(tls_client(&server, "localhost", &own, Some(&stranger)));
    assert!(unknown.contains("UnknownCA") || unknown.contains("DecryptError"), "{unknown}");
    assert!(error(tls_client(&server, "wrong.example", &own, Some(&own))).contains("not valid for name"));
    assert!(
        error(tls_client(&server, "localhost", &stranger, Some(&own))).contains("invalid peer certificate")
    );
    let log = fs::read_to_string(workshop.path("log.jsonl")).unwrap();
    assert!(log.contains("TLS handshake failed: "), "{log}");

    // Without --client-ca anyone who trusts the authority may read.
    drop(server);
    let server = workshop.serve("--tls-cert ota.keys/tls/server.crt --tls-key ota.keys/tls/server.key");
    assert!(tls_client(&server, "localhost", &own, None).is_ok());
}

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

/// Connects, and reads one file, since with TLS 1.3 a server's refusal comes after the client's handshake.
fn tls_client(
    server: &Server,
    name: &str,
    trust: &Path,
    identity: Option<&Path>,
) -> Result<TlsClient, String> {
    let certificates = |path: &Path| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificates(&trust.join("root.crt")).remove(0)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let key = PrivateKeyDer::from_pem_file(folder.join("pkey.pem")).unwrap();
            builder.with_client_auth_cert(certificates(&folder.join("client.pem")), key).unwrap()
        }
    };
    let name = ServerName::try_from(name.to_string()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(server.address()).unwrap());
    stream
        .write_all(b"GET /repo/timestamp.json HTTP/1.1\r\nHost: a\r\n\r\n")
        .and_then(|()| stream.flush())
        .map_err(|e| e.to_string())?;
    // The first byte of an answer, or the refusal.
    let mut first = [0; 1];
    stream.read_exact(&mut first).map_err(|e| e.to_string())?;
    let mut client = Client(BufReader::new(stream));
    let head = client.head();
    std::io::copy(&mut (&mut client.0).take(head.length() as u64), &mut std::io::sink()).unwrap();
    Ok(client)
}
