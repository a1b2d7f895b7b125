//! Remembers where a server is.
//!
//! ureq looks a name up for each request, also where it then takes a connection that is open already: a query to
//! a name server and a thread for its time limit, thousands of times in one download.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is used. Short, so that a server that moved is found by the retries of a request.
const FRESH: Duration = Duration::from_secs(30);

/// The system's resolver, asked at most twice a minute for each server.
#[derive(Debug, Default)]
pub(super) struct RememberingResolver {
    system: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
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
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&server).cloned();
        if let Some((since, addresses)) = known
            && since.elapsed() < FRESH
        {
            return Ok(addresses);
        }
        let addresses = self.system.resolve(uri, config, timeout)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(server, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}
