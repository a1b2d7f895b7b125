//! What a step says while it works and at its end: sentences for a person, JSON Lines for a program.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::{AgentError, Outcome, Progress, Transfer};
use crate::gateway::redact::{harmless_json, redacted};

/// A program is told this often, and when a transfer is whole.
const PERIOD: Duration = Duration::from_millis(500);

/// Whom a step talks to.
#[derive(Debug)]
pub struct Listener {
    json: bool,
    told: Option<Instant>,
    progress: Progress,
}

impl Listener {
    /// A program with `json`, else a person.
    pub fn new(json: bool) -> Listener {
        Listener { json, told: None, progress: Progress::new() }
    }

    /// How far a transfer is.
    pub fn show(&mut self, transfer: &Transfer) {
        if !self.json {
            return self.progress.show(transfer);
        }
        let whole = transfer.objects_done == transfer.objects_total;
        if whole || self.told.is_none_or(|told| told.elapsed() >= PERIOD) {
            self.told = Some(Instant::now());
            println!("{}", progress(transfer));
        }
    }

    /// What it came to; gives the exit code.
    pub fn finish(&self, outcome: &Outcome) -> u8 {
        let code = outcome.exit_code();
        if self.json {
            println!("{}", harmless_json(&end(outcome, code).to_string()));
        } else {
            println!("{}", redacted(&outcome.to_string()));
        }
        code
    }
}

/// The last line of a step that failed.
pub fn failure(error: &AgentError) -> Value {
    json!({"outcome": "error", "code": error.exit_code(), "message": error.to_string()})
}

fn progress(transfer: &Transfer) -> Value {
    json!({"progress": {
        "objects_done": transfer.objects_done,
        "objects_total": transfer.objects_total,
        "bytes_done": transfer.bytes_done,
        "bytes_total": transfer.bytes_total,
    }})
}

fn end(outcome: &Outcome, code: u8) -> Value {
    let (word, target) = outcome.word();
    json!({"outcome": word, "code": code, "message": outcome.to_string(), "target": target})
}
