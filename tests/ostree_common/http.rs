//! A small static file server for tests and the bench: keep-alive, byte ranges, TLS, and faults on demand.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the server does with one request.
#[derive(Clone)]
pub enum Answer {
    /// The file.
    File,
    /// The file without its length, in chunks.
    Chunked,
    /// Only a status.
    Status(u16),
    /// The file, but the connection ends after so many bytes of the body.
    Cut(u64),
    /// The file from its beginning, whatever range was asked.
    Whole,
    /// These bytes, honestly declared.
    Bytes(Vec<u8>),
    /// Bytes without end.
    Endless,
    /// The head of the reply, one byte, and then silence.
    Silence,
}

/// A request as faults see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    pub from: u64,
}

type Behaviour = dyn Fn(&Request) -> Answer + Send + Sync;

/// Serves a folder on a port of its own until the process ends.
pub struct HttpServer {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    scheme: &'static str,
}

impl HttpServer {
    pub fn new(folder: PathBuf) -> HttpServer {
        HttpServer::start(folder, None, Arc::new(|_| Answer::File))
    }

    pub fn with_faults(
        folder: PathBuf,
        behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> HttpServer {
        HttpServer::start(folder, None, Arc::new(behaviour))
    }

    pub fn with_tls(folder: PathBuf, tls: Arc<rustls::ServerConfig>) -> HttpServer {
        HttpServer::start(folder, Some(tls), Arc::new(|_| Answer::File))
    }

    fn start(
        folder: PathBuf,
        tls: Option<Arc<rustls::ServerConfig>>,
        behaviour: Arc<Behaviour>,
    ) -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, behaviour, log, tls) =
                    (folder.clone(), Arc::clone(&behaviour), Arc::clone(&log), tls.clone());
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let _ = match tls {
                        None => serve(stream, &folder, &*behaviour, &log),
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).unwrap();
                            serve(rustls::StreamOwned::new(connection, stream), &folder, &*behaviour, &log)
                        }
                    };
                });
            }
        });
        HttpServer { address, requests, scheme }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.requests.lock().unwrap().clear();
    }
}

/// Both directions of a connection, with or without TLS.
struct Wire<S>(S);

impl<S: Read> Read for Wire<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fn serve<S: Read + Write>(
    stream: S,
    folder: &std::path::Path,
    behaviour: &Behaviour,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(16 * 1024, Wire(stream));
    while let Some(request) = read_request(&mut stream)? {
        log.lock().unwrap().push(request.clone());
        let answer = behaviour(&request);
        if !reply(&mut stream.get_mut().0, folder, &request, answer)? {
            break;
        }
    }
    Ok(())
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_string();
    let mut from = 0;
    loop {
        let mut header = String::new();
        if stream.read_line(&mut header)? <= 2 {
            return Ok(Some(Request { path, from }));
        }
        let header = header.to_ascii_lowercase();
        if let Some(range) = header.strip_prefix("range: bytes=") {
            from = range.trim().trim_end_matches('-').parse().unwrap_or(0);
        }
    }
}

/// Returns whether the connection can be used again.
fn reply(
    out: &mut impl Write,
    folder: &std::path::Path,
    request: &Request,
    answer: Answer,
) -> io::Result<bool> {
    let from = if matches!(answer, Answer::Whole) { 0 } else { request.from };
    match answer {
        Answer::Status(status) => {
            send(out, format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
            return Ok(true);
        }
        Answer::Bytes(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            send(out, &[head.as_bytes(), &bytes].concat())?;
            return Ok(true);
        }
        Answer::Endless => {
            send(out, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                send(out, &[0; 65536])?;
            }
        }
        _ => {}
    }
    let Ok(mut file) = File::open(folder.join(&request.path)) else {
        send(out, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    };
    let whole = file.metadata()?.len();
    if from > 0 && from >= whole {
        send(out, b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    }
    file.seek(SeekFrom::Start(from))?;
    let length = whole - from;
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let range = if from > 0 {
        format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1)
    } else {
        String::new()
    };
    match answer {
        Answer::Chunked => {
            let mut body = Vec::new();
            file.read_to_end(&mut body)?;
            send(out, format!("HTTP/1.1 {status}\r\n{range}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
            for chunk in body.chunks(10_000) {
                send(out, &[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
            }
            send(out, b"0\r\n\r\n")?;
            return Ok(true);
        }
        Answer::Silence => {
            send(out, format!("HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\n\r\nx").as_bytes())?;
            thread::sleep(Duration::from_secs(3600));
            return Ok(false);
        }
        _ => {}
    }
    let sent = if let Answer::Cut(after) = answer { after.min(length) } else { length };
    let mut message = format!("HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\n\r\n").into_bytes();
    let mut body = file.take(sent);
    // One write for a small object: a second one would be a second packet.
    let first = (&mut body).take(128 * 1024).read_to_end(&mut message)?;
    send(out, &message)?;
    if (first as u64) < sent {
        io::copy(&mut body, out)?;
        out.flush()?;
    }
    Ok(sent == length)
}

fn send(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// A certificate for `localhost`: what a client must trust, and what a server uses.
pub fn certificate() -> (String, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let pem = made.cert.pem();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (pem, Arc::new(config))
}

/// Stands between a client and a server and lets each byte arrive `delay` later, in each direction. A new
/// connection costs a round trip, as TCP's handshake does. Bandwidth is not limited.
pub fn delaying_proxy(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(server) else { continue };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (client_out, upstream_in) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            carry(client, upstream, delay, delay * 2);
            carry(upstream_in, client_out, delay, Duration::ZERO);
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration, first: Duration) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let opened = Instant::now() + first;
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let due = Instant::now().max(opened) + delay;
            if sender.send((due, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}
