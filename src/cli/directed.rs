//! The native commands on a device that has a Director.

use super::exit;
use super::lines::Listener;
use crate::agent::director::{Answer, Depth, Director};
use crate::agent::{Agent, AgentError};

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
    let answer = match command {
        Directed::Daemon => return director.daemon(),
        Directed::Check { .. } => director.online(Depth::Check, &mut |_| {})?,
        Directed::Online { depth, .. } => director.online(depth, &mut |transfer| listener.show(&transfer))?,
        Directed::Install { .. } => director.install()?,
    };
    if json {
        println!("{}", as_json(&answer));
    } else {
        println!("{answer}");
    }
    Ok(code(&answer))
}

/// The exit code of an answer.
pub fn code(answer: &Answer) -> u8 {
    match answer {
        Answer::NoUpdate
        | Answer::Downloaded(_)
        | Answer::Updated(_)
        | Answer::Adopted(_)
        | Answer::Failed(_) => exit::OK,
        Answer::Available(_) => exit::NEW_TARGET,
        Answer::Installed(_) => exit::REBOOT_NEEDED,
        Answer::Awaiting(_) => exit::PENDING,
        Answer::FirmwareUnconfirmed(_) => exit::FIRMWARE_UNCONFIRMED,
    }
}

/// As the last line of the other steps (lines.rs).
fn as_json(answer: &Answer) -> serde_json::Value {
    let (word, target) = match answer {
        Answer::NoUpdate => ("no-update", None),
        Answer::Failed(target) => ("failed", Some(target)),
        Answer::Available(target) => ("available", Some(target)),
        Answer::Downloaded(target) => ("downloaded", Some(target)),
        Answer::Installed(target) => ("installed", Some(target)),
        Answer::Awaiting(target) => ("reboot-needed", Some(target)),
        Answer::Updated(target) => ("updated", Some(target)),
        Answer::Adopted(target) => ("adopted", Some(target)),
        Answer::FirmwareUnconfirmed(target) => ("firmware-unconfirmed", Some(target)),
    };
    serde_json::json!({"outcome": word, "code": code(answer), "message": answer.to_string(), "target": target})
}
