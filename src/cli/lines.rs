//! What a step says while it works and at its end: sentences for a person, JSON Lines for a program.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::render::outcome_code;
use crate::agent::{AgentError, Outcome, Progress, Transfer};
use crate::decide::Stay;
use crate::store::TargetRecord;

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
        let code = outcome_code(outcome);
        if self.json {
            println!("{}", end(outcome, code));
        } else {
            println!("{outcome}");
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
    let (word, target) = describe(outcome);
    json!({"outcome": word, "code": code, "message": outcome.to_string(), "target": target})
}

fn describe(outcome: &Outcome) -> (&'static str, Option<&TargetRecord>) {
    match outcome {
        Outcome::Stayed { plan, .. } => (stay(plan), None),
        Outcome::Downloaded(target) => ("downloaded", Some(target)),
        Outcome::Installed(target) => ("installed", Some(target)),
        Outcome::RebootNeeded(target) => ("reboot-needed", Some(target)),
        Outcome::Confirmed(target) => ("confirmed", target.as_ref()),
        Outcome::FirmwareOnTrial(target) => ("firmware-on-trial", Some(target)),
        Outcome::FirmwareUnconfirmed(target) => ("firmware-unconfirmed", Some(target)),
        Outcome::AppsStaged(target) => ("apps-staged", Some(target)),
        Outcome::AppsFailed { target, .. } => ("apps-failed", Some(target)),
        Outcome::RolledBack(bad) => ("rolled-back", Some(&bad.target)),
        Outcome::Cut(target) => ("cut", Some(target)),
        Outcome::NothingPending => ("nothing-pending", None),
    }
}

fn stay(plan: &Stay) -> &'static str {
    match plan {
        Stay::UpToDate(_) => "up-to-date",
        Stay::KnownBad { .. } => "known-bad",
        Stay::Older { .. } => "older",
        Stay::Pending(_) => "pending",
        Stay::NoneVisible { .. } => "none-visible",
        Stay::NotFound(_) => "not-found",
        Stay::NoRollbackTarget(_) => "no-rollback-target",
    }
}
