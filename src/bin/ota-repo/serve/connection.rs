//! One connection: requests in, answers out, until either side has enough.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::answer::{Answer, Body};
use super::http::{MAX_HEAD, Request, parse};
use super::log::Entry;
use super::{IDLE, Server, tls};

/// A body that nobody wants is read away up to this size, so that the connection can go on.
const MAX_DRAINED: u64 = 1024 * 1024;
/// The largest body that a device may send.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How long the end of a connection is waited for.
const LINGER: Duration = Duration::from_secs(2);
/// Files are sent in pieces of this size. A smaller one goes out with its head in one write.
const PIECE: usize = 64 * 1024;

/// Serves a connection to its end.
pub fn run(server: &Server, stream: TcpStream, number: u64) {
    let peer = stream.peer_addr().ok();
    let _ = stream.set_nodelay(true);
    let timeouts = stream.set_read_timeout(Some(IDLE)).and_then(|()| stream.set_write_timeout(Some(IDLE)));
    if timeouts.is_err() {
        return;
    }
    match &server.tls {
        None => {
            let mut connection = Connection::new(server, stream, number, peer, None);
            connection.serve();
            part(&connection.stream);
        }
        Some(config) => match tls::handshake(config, stream) {
            Ok(stream) => {
                let device = tls::device(&stream);
                let mut connection = Connection::new(server, stream, number, peer, device);
                connection.serve();
                connection.stream.conn.send_close_notify();
                let _ = connection.stream.flush();
                part(&connection.stream.sock);
            }
            Err(error) => server.log.note(&Entry {
                problem: Some(format!("TLS handshake failed: {error}")),
                ..Entry::new(number, peer)
            }),
        },
    }
}

struct Connection<'a, S> {
    server: &'a Server,
    stream: S,
    number: u64,
    peer: Option<SocketAddr>,
    /// The common name of the client's certificate.
    device: Option<String>,
    /// Bytes that were read and not used yet.
    pending: Vec<u8>,
    /// For files, kept from answer to answer.
    piece: Vec<u8>,
}

impl<'a, S: Read + Write> Connection<'a, S> {
    fn new(
        server: &'a Server,
        stream: S,
        number: u64,
        peer: Option<SocketAddr>,
        device: Option<String>,
    ) -> Self {
        Self { server, stream, number, peer, device, pending: Vec::new(), piece: Vec::new() }
    }

    fn serve(&mut self) {
        while let Some(request) = self.next_request() {
            let started = Instant::now();
            let (answer, read) = self.answer(&request);
            let keep_alive = request.keep_alive && (read || self.drain(request.body));
            let head_only = request.method == "HEAD";
            let entry = || Entry {
                method: &request.method,
                path: &request.target,
                range: request.header("range"),
                user_agent: request.header("user-agent"),
                status: answer.status,
                ..Entry::new(self.number, self.peer).took(started.elapsed())
            };
            let log = &self.server.log;
            let note =
                || log.note(&Entry { bytes: if head_only { 0 } else { answer.body.length() }, ..entry() });
            let sent = send(&mut self.stream, &mut self.piece, &answer, head_only, keep_alive, note);
            if let Err(error) = &sent {
                log.note(&Entry { problem: Some(format!("broke off: {error}")), ..entry() });
            }
            if !keep_alive || sent.is_err() {
                return;
            }
        }
    }

    /// The answer, and whether the body was read for it.
    fn answer(&mut self, request: &Request) -> (Answer, bool) {
        let site = &self.server.site;
        if !site.wants_body(request) {
            return (site.answer(request, &[], self.device.as_deref()), false);
        }
        match usize::try_from(request.body).ok().filter(|length| *length <= MAX_BODY) {
            None => (Answer::status(413), false),
            Some(length) => match self.read(length) {
                Some(body) => (site.answer(request, &body, self.device.as_deref()), true),
                None => (Answer::status(400), false),
            },
        }
    }

    fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.pending.len() < length {
            if self.fill().ok()? == 0 {
                return None;
            }
        }
        Some(self.pending.drain(..length).collect())
    }

    /// The next request, or nothing when the connection is over. A refused request is answered here.
    fn next_request(&mut self) -> Option<Request> {
        let mut started = None;
        loop {
            match parse(&self.pending) {
                Ok(Some((request, length))) => {
                    self.pending.drain(..length);
                    return Some(request);
                }
                Ok(None) => {}
                Err(refusal) => {
                    self.refuse(refusal.status, refusal.reason);
                    return None;
                }
            }
            // A head that comes byte by byte must not hold the thread for ever.
            if started.is_some_and(|started: Instant| started.elapsed() > IDLE) {
                self.refuse(408, "the head took too long");
                return None;
            }
            if self.fill().ok()? == 0 {
                return None;
            }
            started = started.or_else(|| Some(Instant::now()));
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; MAX_HEAD / 4];
        let count = self.stream.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn refuse(&mut self, status: u16, reason: &str) {
        let entry = Entry { status, problem: Some(reason.to_string()), ..Entry::new(self.number, self.peer) };
        let note = || self.server.log.note(&entry);
        let answer = Answer::status(status);
        // The peer may be gone: there is nobody else to tell.
        let _ = send(&mut self.stream, &mut self.piece, &answer, false, false, note);
    }

    /// Reads a body away; false when it is too large or broke off, and the connection must end.
    fn drain(&mut self, mut left: u64) -> bool {
        if left > MAX_DRAINED {
            return false;
        }
        loop {
            let ready = usize::try_from(left).map_or(self.pending.len(), |left| left.min(self.pending.len()));
            self.pending.drain(..ready);
            left -= ready as u64;
            if left == 0 {
                return true;
            }
            if !matches!(self.fill(), Ok(count) if count > 0) {
                return false;
            }
        }
    }
}

/// Writes an answer. The request is noted before the last byte goes out, so that whoever has the answer finds it in the
/// log.
fn send(
    stream: &mut impl Write,
    piece: &mut Vec<u8>,
    answer: &Answer,
    head_only: bool,
    keep_alive: bool,
    note: impl FnOnce(),
) -> io::Result<()> {
    piece.clear();
    piece.extend_from_slice(&answer.head(keep_alive));
    match &answer.body {
        Body::Bytes(bytes) if !head_only => piece.extend_from_slice(bytes),
        Body::File { file, start, length } if !head_only => {
            send_file(stream, piece, file, *start, *length)?;
        }
        _ => {}
    }
    note();
    stream.write_all(piece)?;
    stream.flush()
}

/// Writes a part of a file but for its last piece, which stays in `piece`.
fn send_file(
    stream: &mut impl Write,
    piece: &mut Vec<u8>,
    file: &File,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let mut read = 0;
    loop {
        let used = piece.len();
        let size = usize::try_from(length - read).unwrap_or(PIECE).min(PIECE);
        piece.resize(used + size, 0);
        // A file that shrank breaks the answer off, which a client notices.
        file.read_exact_at(&mut piece[used..], start + read)?;
        read += size as u64;
        if read == length {
            return Ok(());
        }
        stream.write_all(piece)?;
        piece.clear();
    }
}

/// Closes in a way that lets the peer read the last answer: with bytes of it unread, the system would cut it short.
fn part(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(LINGER));
    let _ = io::copy(&mut stream.take(MAX_DRAINED), &mut io::sink());
}
