//! `serve`: a small HTTP/1.1 server for development, one thread a connection, with or without TLS.

mod answer;
mod connection;
mod files;
mod gateway;
mod http;
mod log;
mod router;
mod tls;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use crate::error::Error;
use crate::tls::Authority;
use log::Log;
use router::Site;

pub use tls::Files as TlsFiles;

/// Connections beyond this are closed at once. A device uses some dozens.
const MAX_CONNECTIONS: usize = 512;
/// A peer that sends or takes nothing for so long is left.
const IDLE: Duration = Duration::from_secs(60);

/// What to serve, and how.
#[derive(Debug)]
pub struct Options {
    pub dir: PathBuf,
    pub listen: String,
    pub tls: Option<TlsFiles>,
    /// What devices send is kept here; without it there is no device gateway.
    pub received: Option<PathBuf>,
    /// Gives certificates to devices that have the shared credential.
    pub authority: Option<Authority>,
    /// One JSON object a line goes here.
    pub log: Option<PathBuf>,
    /// No line a request on stderr.
    pub quiet: bool,
}

/// What every connection needs.
#[derive(Debug)]
struct Server {
    site: Site,
    tls: Option<Arc<ServerConfig>>,
    log: Log,
    connections: AtomicUsize,
}

/// Serves until the process is ended.
pub fn serve(mut options: Options) -> Result<(), Error> {
    let tls = options.tls.as_ref().map(TlsFiles::load).transpose()?;
    let server = Arc::new(Server {
        site: Site::open(&options.dir, options.received.as_deref(), options.authority.take())?,
        tls,
        log: Log::open(options.log.as_deref(), options.quiet)?,
        connections: AtomicUsize::new(0),
    });
    let cannot_listen = |source| Error::Listen { address: options.listen.clone(), source };
    let listener = TcpListener::bind(&options.listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    announce(&options, &address.to_string());
    accept(&server, &listener)
}

/// The first line of stdout is the address: port 0 lets the system choose, and a script reads what it chose.
fn announce(options: &Options, address: &str) {
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        eprintln!(
            "ota-repo: warning: plain http, for trying things on one machine only; --tls uses the certificates of `ota-repo tls`"
        );
        "http"
    };
    println!("serving {} on {scheme}://{address}", options.dir.display());
}

fn accept(server: &Arc<Server>, listener: &TcpListener) -> Result<(), Error> {
    let numbers = AtomicU64::new(0);
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the peer is gone again: the next may work.
                eprintln!("ota-repo: cannot accept a connection: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        if server.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            server.connections.fetch_sub(1, Ordering::Relaxed);
            eprintln!("ota-repo: {MAX_CONNECTIONS} connections are open: connection #{number} refused");
            continue;
        }
        start(server, stream, number);
    }
}

fn start(server: &Arc<Server>, stream: TcpStream, number: u64) {
    let own = Arc::clone(server);
    let work = move || {
        connection::run(&own, stream, number);
        own.connections.fetch_sub(1, Ordering::Relaxed);
    };
    if let Err(error) = thread::Builder::new().stack_size(256 * 1024).spawn(work) {
        server.connections.fetch_sub(1, Ordering::Relaxed);
        eprintln!("ota-repo: no thread for connection #{number}: {error}");
    }
}
