//! `explain`: why this device does, or does not, update, and the evidence.

use super::exit;
use crate::agent::{Agent, Evidence, bytes};
use crate::decide::Request;
use crate::store::TargetRecord;

/// Prints the answer; the exit code is 0, or that of the trouble which is the answer.
pub fn run(agent: &Agent, request: Request<'_>) -> u8 {
    let evidence = agent.evidence(request);
    let (answer, code) = match agent.stored(request) {
        Ok(found) => (found.reason, exit::OK),
        Err(error) => (error.to_string(), error.exit_code()),
    };
    print!("{}", text(&answer, &evidence));
    code
}

/// The answer first, then what it rests on.
fn text(answer: &str, evidence: &Evidence) -> String {
    let mut lines = vec![answer.to_string(), String::new()];
    let mut line = |title: &str, value: String| lines.push(format!("{:<13}{value}", format!("{title}:")));
    match &evidence.facts {
        Err(problem) => line("This device", problem.clone()),
        Ok(facts) => {
            line("Hardware id", facts.hardware_id.clone());
            line("Tags", if facts.tags.is_empty() { "(all)".into() } else { facts.tags.join(",") });
            line("Running", facts.current.as_ref().map_or("an unknown Target".into(), name));
            line("Commit", facts.booted.clone().unwrap_or_else(|| "none: not an OSTree system".into()));
            line("Newest", evidence.visible.last().map_or("none is visible".into(), |t| name(&t.record())));
            for (target, why) in &evidence.hidden {
                line("Not visible", format!("{target}: {why}"));
            }
            if let Some(pending) = &facts.installed.pending {
                line(
                    "Pending",
                    format!("{} since {}", name(&pending.target), crate::tuf::Time(pending.since)),
                );
            }
            for bad in &facts.installed.known_bad {
                let since = crate::tuf::Time(bad.since);
                let times = if bad.count == 1 { "once".into() } else { format!("{} times", bad.count) };
                line("Known bad", format!("{}: {} ({times}, last {since})", name(&bad.target), bad.reason));
            }
        }
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
