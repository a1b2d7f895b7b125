//! Hands over what waits, after a command that needs no network: within seconds, or at the next check.

use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, socket};

use super::director::Director;
use super::{Agent, AgentError};
use crate::config::{Settings, Trust};

/// A device without a network is not kept waiting.
const LONGEST: Duration = Duration::from_secs(4);

impl Agent {
    /// Sends waiting reports and events, if there are any. Never fails, and ends soon: resolving a name may take longer
    /// than any limit of a connection, so the work is left behind if it is late. Nothing is lost then, because the queue
    /// on disk is shortened only after the server took it. Call it without the lock.
    pub fn deliver_soon(&self) {
        if self.settings.server.is_none() || self.has_nothing_to_tell() {
            return;
        }
        if !may_use_a_network() {
            log::debug!("reports wait: this process may not use a network");
            return;
        }
        let settings = self.settings.clone();
        let (done, ended) = channel();
        let work = move || {
            let delivered = deliver(settings);
            // Nobody listens any more if it was late.
            let _ = done.send(delivered.map_err(|e| e.to_string()));
        };
        if let Err(error) = std::thread::Builder::new().name("deliver".to_string()).spawn(work) {
            log::debug!("reports wait for the next check: {error}");
            return;
        }
        match ended.recv_timeout(LONGEST) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::info!("reports wait for the next check: {error}"),
            Err(_) => log::info!("reports wait for the next check: the server did not answer in time"),
        }
    }
}

/// The unit that confirms a boot forbids it; another one reports then.
fn may_use_a_network() -> bool {
    [AddressFamily::INET, AddressFamily::INET6]
        .iter()
        .any(|family| socket(*family, SocketType::STREAM, None).is_ok())
}

fn deliver(settings: Settings) -> Result<(), AgentError> {
    let agent = Agent::new(settings);
    if agent.settings.director.trust == Trust::Director {
        return Director::new(&agent).report();
    }
    let _working = agent.locked("report")?;
    agent.send_events(&agent.link()?)
}
