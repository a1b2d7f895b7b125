//! Remembers where a server is.
//!
//! ureq looks a name up for each request, also where it then takes a connection that is open already: a query to
//! a name server and a thread for its time limit, thousands of times in one download.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is used. Short, so that a server that moved is found by the retries of a request.
const FRESH: Duration = Duration::from_secs(30);
/// Before the next address is tried too.
const HEAD_START: Duration = Duration::from_millis(250);
/// After which no address answers any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// The system's resolver, asked at most twice a minute for each server.
#[derive(Debug, Default)]
pub(super) struct RememberingResolver {
    system: DefaultResolver,
    /// Plain HTTP is for addresses of this machine and of private networks.
    private_http: bool,
    known: Mutex<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
    asking: Mutex<()>,
}

impl RememberingResolver {
    pub(super) fn new(private_http: bool) -> RememberingResolver {
        RememberingResolver { private_http, ..RememberingResolver::default() }
    }

    fn fresh(&self, server: &str) -> Option<ResolvedSocketAddrs> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned();
        known.filter(|(since, _)| since.elapsed() < FRESH).map(|(_, addresses)| addresses)
    }

    fn check(&self, uri: &Uri, addresses: &ResolvedSocketAddrs) -> Result<(), Error> {
        let plain = uri.scheme_str() == Some("http");
        match addresses.iter().find(|a| plain && self.private_http && !is_private(a.ip())) {
            Some(address) => Err(Error::Io(io::Error::other(format!(
                "network.allow_http is for loopback and private addresses, and the server's is {}; use https://",
                address.ip()
            )))),
            None => Ok(()),
        }
    }
}

/// Puts the first address that answers in front. They are tried a little after each other, and both families by turns, as
/// RFC 8305 asks: of a server with a dead address a device would wait for that one else, at each connection.
fn prefer_who_answers(addresses: &mut ResolvedSocketAddrs) {
    if addresses.len() < 2 {
        return;
    }
    let (answer, answers) = mpsc::channel();
    let ordered = by_turns(addresses);
    let mut answered = 0;
    for (tried, address) in ordered.iter().copied().enumerate() {
        let answer = answer.clone();
        std::thread::spawn(move || {
            let _ = answer.send(TcpStream::connect_timeout(&address, PATIENCE).ok().map(|_| address));
        });
        let last = tried + 1 == ordered.len();
        while answered <= tried {
            match answers.recv_timeout(if last { PATIENCE } else { HEAD_START }) {
                Ok(Some(first)) => {
                    if let Some(at) = addresses.iter().position(|a| *a == first) {
                        addresses.swap(0, at);
                    }
                    return;
                }
                Ok(None) => answered += 1,
                Err(_) => break,
            }
        }
    }
}

fn by_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.iter().partition(|a| a.is_ipv6() == first);
    let mut ordered = Vec::new();
    for at in 0..one.len().max(other.len()) {
        ordered.extend([one.get(at), other.get(at)].into_iter().flatten());
    }
    ordered
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => a.is_loopback() || a.is_private() || a.is_link_local(),
        IpAddr::V6(a) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
    }
}

impl Resolver for RememberingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        // The port is part of an address, and its default a part of the scheme.
        let server = format!("{:?} {:?}", uri.scheme(), uri.authority());
        if let Some(addresses) = self.fresh(&server) {
            return Ok(addresses);
        }
        // One asks for all: many threads begin together.
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = self.fresh(&server) {
            return Ok(addresses);
        }
        let mut addresses = self.system.resolve(uri, config, timeout)?;
        self.check(uri, &addresses)?;
        prefer_who_answers(&mut addresses);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(server, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_dead_first_address_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = listener.local_addr().unwrap();
        // 192.0.2.0/24 and 2001:db8::/32 are documentation's: nobody answers there.
        let dead: [SocketAddr; 2] = ["192.0.2.1:9".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()];
        let mut addresses = ResolvedSocketAddrs::from_fn(|_| alive);
        for address in [dead[0], dead[1], alive] {
            addresses.push(address);
        }
        let begun = Instant::now();
        prefer_who_answers(&mut addresses);
        assert_eq!(addresses[0], alive);
        // Two head starts; ten times that where the machine is busy, and less than the patience with one dead address.
        assert!(begun.elapsed() < HEAD_START * 20);
    }

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]);
        assert_eq!(by_turns(&given), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert!(by_turns(&[]).is_empty());
    }
}
