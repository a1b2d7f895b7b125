//! `explain`: why this device does, or does not, update, and the evidence.

mod answer;

use serde_json::json;

use super::render;
use crate::agent::{Agent, Evidence, bytes};
use crate::config::Trust;
use crate::decide::Request;
use crate::gateway::redact::{harmless_json, redacted};
use crate::store::{Last, TargetRecord};
use crate::tuf::Time;
pub use answer::times_in_a_row;

/// Prints the answer; the exit code is 0, or that of the trouble that is the answer.
pub fn run(agent: &Agent, request: Request<'_>, json: bool) -> u8 {
    let evidence = agent.evidence(request);
    let (answer, code) = if agent.settings().director.trust == Trust::Director {
        answer::directed(evidence.assigned.as_deref(), &evidence, request)
    } else {
        let found = agent.stored(request);
        answer::latest(found.as_ref().map(|f| (&f.plan, f.reason.as_str())), &evidence, request)
    };
    if json {
        let value = json!({"answer": answer, "code": code, "last": evidence.last});
        println!("{}", harmless_json(&format!("{value:#}")));
    } else {
        print!("{}", text(&answer, &evidence));
    }
    code
}

/// The answer first, then what it rests on.
fn text(answer: &str, evidence: &Evidence) -> String {
    let mut lines = vec![redacted(answer), String::new()];
    let mut line =
        |title: &str, value: String| lines.push(format!("{:<13}{}", format!("{title}:"), redacted(&value)));
    device(evidence, &mut line);
    if let Some(last) = &evidence.last {
        line("Last run", last_run(last));
    }
    if evidence.roles.is_empty() {
        line("Metadata", "none is stored".into());
    }
    for (role, version, expires) in &evidence.roles {
        let over = if *expires <= evidence.now { "expired" } else { "good until" };
        line("Metadata", format!("{role} {version}, {over} {expires}"));
    }
    line("Clock", clock(evidence));
    if let Some((usable, reserved)) = evidence.space {
        line("Free space", format!("{} can be used, {} are kept free", bytes(usable), bytes(reserved)));
    }
    lines.iter().map(|l| format!("{}\n", l.trim_end())).collect()
}

fn device(evidence: &Evidence, line: &mut dyn FnMut(&str, String)) {
    let facts = match &evidence.facts {
        Ok(facts) => facts,
        Err(problem) => return line("This device", problem.clone()),
    };
    line("Hardware id", facts.hardware_id.clone());
    line("Tags", render::list_or_all(&facts.tags));
    line("Running", facts.current.as_ref().map_or("an unknown Target".into(), name));
    line("Commit", facts.booted.clone().unwrap_or_else(|| "none: not an OSTree system".into()));
    match &evidence.assigned {
        Ok(ecus) if !ecus.is_empty() => {
            for (serial, assignment) in ecus {
                let target = assignment.name().unwrap_or("nothing");
                line("Assigned", format!("{target} to {serial}"));
            }
        }
        Ok(_) => {
            line("Newest", evidence.visible.last().map_or("none is visible".into(), |t| name(&t.record())))
        }
        Err(_) => {}
    }
    for (target, why) in &evidence.hidden {
        line("Not visible", format!("{target}: {why}"));
    }
    if let Some(pending) = &facts.installed.pending {
        line("Pending", format!("{} since {}", name(&pending.target), Time(pending.since)));
    }
    for bad in &facts.installed.known_bad {
        let times = if bad.count == 1 { "once".into() } else { format!("{} times", bad.count) };
        line(
            "Known bad",
            format!("{}: {} ({times}, last {})", name(&bad.target), bad.reason, Time(bad.since)),
        );
    }
}

/// The record of the last run, for a person.
pub fn last_run(last: &Last) -> String {
    let about = last.target.as_ref().map(|t| format!(" of {t}")).unwrap_or_default();
    let head = format!("{}{about}: {}", last.stage.name(), last.outcome);
    match &last.error {
        None => format!("{head} (since {})", Time(last.when)),
        Some(error) => {
            let failed = times_in_a_row(last.failures);
            format!("{head}, exit code {}, failed {failed}, last {}: {error}", last.code, Time(last.when))
        }
    }
}

fn name(target: &TargetRecord) -> String {
    format!("{} (version {})", target.name, target.version)
}

fn clock(evidence: &Evidence) -> String {
    if evidence.now == evidence.clock {
        return evidence.clock.to_string();
    }
    format!(
        "{}, which is too early; expiry is judged by {}, a time that this device has seen",
        evidence.clock, evidence.now
    )
}

#[cfg(test)]
mod tests;
