//! The native commands on a device that has a Director.

use super::lines::Listener;
use crate::agent::director::{Answer, Depth, Director};
use crate::agent::{Agent, AgentError};
use crate::gateway::redact::{harmless_json, redacted};

/// The native words for what a Director's device can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directed {
    /// `check`.
    Check {
        /// For a program.
        json: bool,
    },
    /// `download`, `update`.
    Online {
        /// How far.
        depth: Depth,
        /// For a program.
        json: bool,
    },
    /// `install`.
    Install {
        /// For a program.
        json: bool,
    },
    /// `daemon`.
    Daemon,
}

/// Runs one of them. The Director chooses the Target, so none can be named.
pub fn run(agent: &Agent, command: Directed, target: Option<&str>) -> Result<u8, AgentError> {
    if let Some(target) = target {
        return Err(AgentError::Directed { target: target.to_string() });
    }
    let mut director = Director::new(agent);
    let json = match command {
        Directed::Check { json } | Directed::Online { json, .. } | Directed::Install { json } => json,
        Directed::Daemon => false,
    };
    let mut listener = Listener::new(json);
    if command != Directed::Daemon {
        agent.stop_on_signals()?;
    }
    let answer = match command {
        Directed::Daemon => return director.daemon(),
        Directed::Check { .. } => director.online(Depth::Check, &mut |_| {})?,
        Directed::Online { depth, .. } => director.online(depth, &mut |transfer| listener.show(&transfer))?,
        Directed::Install { .. } => director.install()?,
    };
    if json {
        println!("{}", harmless_json(&as_json(&answer).to_string()));
    } else {
        println!("{}", redacted(&answer.to_string()));
    }
    Ok(answer.exit_code())
}

/// As the last line of the other steps (lines.rs).
fn as_json(answer: &Answer) -> serde_json::Value {
    let (word, target) = answer.word();
    serde_json::json!({"outcome": word, "code": answer.exit_code(), "message": answer.to_string(), "target": target})
}
