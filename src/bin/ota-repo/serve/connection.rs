//! One connection: requests in, answers out, until either side has enough.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::answer::{Answer, Body};
use super::http::{MAX_HEAD, Request, parse};
use super::log::Entry;
use super::{IDLE, Server, tls};

/// A body that nobody wants is read away up to this size, so that the connection can go on.
const MAX_DRAINED: u64 = 1024 * 1024;
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
        None => Connection::new(server, stream, number, peer).serve(),
        Some(config) => match tls::handshake(config, stream) {
            Ok(stream) => {
                let mut connection = Connection::new(server, stream, number, peer);
                connection.serve();
                connection.stream.conn.send_close_notify();
                let _ = connection.stream.flush();
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
    /// Bytes that were read and not used yet.
    pending: Vec<u8>,
    /// For files, kept from answer to answer.
    piece: Vec<u8>,
}

impl<'a, S: Read + Write> Connection<'a, S> {
    fn new(server: &'a Server, stream: S, number: u64, peer: Option<SocketAddr>) -> Self {
        Self { server, stream, number, peer, pending: Vec::new(), piece: Vec::new() }
    }

    fn serve(&mut self) {
        while let Some(request) = self.next_request() {
            let started = Instant::now();
            let answer = self.server.site.answer(&request);
            let keep_alive = request.keep_alive && self.drain(request.body);
            let sent = self.send(&answer, request.method == "HEAD", keep_alive);
            let entry = Entry {
                method: &request.method,
                path: &request.target,
                range: request.header("range"),
                user_agent: request.header("user-agent"),
                status: answer.status,
                bytes: *sent.as_ref().unwrap_or(&0),
                problem: sent.as_ref().err().map(ToString::to_string),
                ..Entry::new(self.number, self.peer)
            };
            self.server.log.note(&entry.took(started.elapsed()));
            if !keep_alive || sent.is_err() {
                return;
            }
        }
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
        let sent = self.send(&Answer::status(status), false, false);
        self.server.log.note(&Entry {
            status,
            bytes: sent.unwrap_or(0),
            problem: Some(reason.to_string()),
            ..Entry::new(self.number, self.peer)
        });
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

    /// Writes an answer; gives the bytes of its body.
    fn send(&mut self, answer: &Answer, head_only: bool, keep_alive: bool) -> io::Result<u64> {
        let mut first = answer.head(keep_alive);
        if head_only {
            self.stream.write_all(&first)?;
            self.stream.flush()?;
            return Ok(0);
        }
        match &answer.body {
            Body::Bytes(bytes) => {
                first.extend_from_slice(bytes);
                self.stream.write_all(&first)?;
            }
            Body::File { file, start, length } => self.send_file(first, file, *start, *length)?,
        }
        self.stream.flush()?;
        Ok(answer.body.length())
    }

    fn send_file(&mut self, head: Vec<u8>, file: &File, start: u64, length: u64) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        piece.extend_from_slice(&head);
        let mut sent = 0;
        // The head goes out even when nothing follows it.
        loop {
            let used = piece.len();
            let size = usize::try_from(length - sent).unwrap_or(PIECE).min(PIECE);
            piece.resize(used + size, 0);
            // A file that shrank breaks the answer off, which a client notices.
            file.read_exact_at(&mut piece[used..], start + sent)?;
            self.stream.write_all(&piece)?;
            sent += size as u64;
            piece.clear();
            if sent == length {
                break;
            }
        }
        self.piece = piece;
        Ok(())
    }
}
