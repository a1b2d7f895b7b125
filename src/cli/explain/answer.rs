//! The answer of `explain`: one sentence, and the exit code of the trouble that it is about. Pure.

use crate::agent::director::Assignment;
use crate::agent::{AgentError, Evidence};
use crate::cli::exit;
use crate::decide::{Facts, Plan, Request, Stay, Target};
use crate::store::{Last, Stage, TargetRecord};
use crate::tuf::Time;

/// A sentence and an exit code.
pub type Answer = (String, u8);

/// For a device that takes the newest Target: `plan` is what the metadata of the last good check leads to, and why.
pub fn latest(plan: Result<(&Plan, &str), &AgentError>, evidence: &Evidence, request: Request<'_>) -> Answer {
    let last = evidence.last.as_ref();
    let (plan, reason) = match plan {
        Ok(plan) => plan,
        Err(error) => return (without_metadata(error, last), error.exit_code()),
    };
    if let Request::Named(wanted) = request
        && let Ok(facts) = &evidence.facts
        && let Some(sentence) = named(wanted, facts, evidence)
    {
        return (sentence, exit::OK);
    }
    let Some(failed) = last.filter(|last| last.error.is_some()) else {
        return (reason.to_string(), exit::OK);
    };
    let newest = match plan {
        Plan::Update(target) if failed.stage == Stage::Check => {
            format!("{} was found before that and is still to be installed", target.name)
        }
        Plan::Update(target) => {
            return of_target(&target.name, "is the newest Target", failed)
                .unwrap_or((reason.to_string(), exit::OK));
        }
        Plan::Stay(Stay::UpToDate(t)) => {
            format!("{} runs, the newest Target of the last check that went well", t.name)
        }
        Plan::Stay(_) => format!("by the last check that went well: {reason}"),
    };
    match failed.stage {
        Stage::Check => (format!("The check for updates fails: {}; {newest}", trouble(failed)), failed.code),
        _ => (reason.to_string(), exit::OK),
    }
}

/// Nothing that is stored can be used; the last attempt may say why.
fn without_metadata(error: &AgentError, last: Option<&Last>) -> String {
    let failed = last.filter(|last| last.stage == Stage::Check && last.error.is_some());
    match failed {
        Some(failed) if failed.error.as_deref() != Some(&error.to_string()) => {
            format!("{error}; the last check failed: {}", trouble(failed))
        }
        _ => error.to_string(),
    }
}

/// About a Target that was named. None: it is what would be done anyway, and the answer is the same.
fn named(wanted: &str, facts: &Facts, evidence: &Evidence) -> Option<String> {
    let is = |name: &str, version: i64| name == wanted || wanted.parse() == Ok(version);
    let Some(target) = evidence.visible.iter().find(|t| is(&t.name, t.version)) else {
        return Some(match evidence.hidden.first() {
            Some((name, why)) => format!("{name} is not for this device: {why}"),
            None => format!("No visible Target has the name or version {wanted}"),
        });
    };
    let name = &target.name;
    let newest = evidence.visible.last().is_some_and(|newest| newest.name == *name);
    let pending = facts.installed.pending.as_ref().map(|pending| &pending.target);
    if let Some(pending) = pending {
        return Some(match pending.commit == target.commit {
            true => format!("{name} is installed and waits for its reboot and boot confirmation"),
            false => format!("{name} is not installed while {} waits for its reboot", pending.name),
        });
    }
    if facts.booted.as_ref() == Some(&target.commit) {
        return (!newest).then(|| format!("{name} runs; it is not the newest Target"));
    }
    if let Some(bad) = facts.installed.bad(&target.commit) {
        let times = times(bad.count);
        return Some(format!(
            "{name} is known to be bad ({}, {times}) and is not tried again by itself; rust-ota update {name} tries it",
            bad.reason
        ));
    }
    if newest { None } else { Some(not_newest(target, facts, evidence)) }
}

fn not_newest(target: &Target, facts: &Facts, evidence: &Evidence) -> String {
    let name = &target.name;
    let than = match &facts.current {
        Some(current) if target.version < current.version => {
            format!("is older than {}, which runs", current.name)
        }
        _ => {
            let newest = evidence.visible.last().map_or("another one", |t| t.name.as_str());
            format!("is not the newest Target for this device, {newest} is")
        }
    };
    format!("{name} {than}; rust-ota update {name} installs it")
}

/// For a device that has a Director: what it assigns, each ECU's serial beside it, the Primary first.
pub fn directed(
    assigned: Result<&[(String, Assignment)], &AgentError>,
    evidence: &Evidence,
    request: Request<'_>,
) -> Answer {
    let last = evidence.last.as_ref();
    let assigned = match assigned {
        Ok(assigned) => assigned,
        Err(error @ AgentError::NotChecked) => {
            let failed = last.filter(|last| last.error.is_some()).map(trouble);
            let why = failed.map_or_else(
                || "run check first".to_string(),
                |text| format!("the last check failed: {text}"),
            );
            return (format!("The Director has not been asked yet: {why}"), error.exit_code());
        }
        Err(error) => return (without_metadata(error, last), error.exit_code()),
    };
    if let Request::Named(wanted) = request {
        // The version is the last part of the names that are in use.
        let is = |name: &str| {
            name == wanted || name.rsplit_once('-').is_some_and(|(_, version)| version == wanted)
        };
        let found = assigned.iter().find(|(_, assignment)| assignment.name().is_some_and(is));
        return match found {
            Some((serial, assignment)) => of_assignment(assigned, serial, assignment, evidence),
            None => (
                format!("{wanted} is not assigned to this device; {}", state_of(assigned, evidence).0),
                exit::OK,
            ),
        };
    }
    let (sentence, code) = state_of(assigned, evidence);
    match last.filter(|last| last.stage == Stage::Check && last.error.is_some()) {
        Some(failed) => {
            let failing = format!("The check for updates fails: {}", trouble(failed));
            (format!("{failing}; as of the last check that went well: {sentence}"), failed.code)
        }
        None => (sentence, code),
    }
}

/// The ECU that something is to be done with, or else the Primary.
fn state_of(assigned: &[(String, Assignment)], evidence: &Evidence) -> Answer {
    let settled = |a: &Assignment| matches!(a, Assignment::Nothing | Assignment::Runs(_));
    let open = assigned.iter().find(|(_, assignment)| !settled(assignment));
    match open.or(assigned.first()) {
        Some((serial, assignment)) => of_assignment(assigned, serial, assignment, evidence),
        None => ("The Director assigns nothing to this device".to_string(), exit::OK),
    }
}

fn of_assignment(
    assigned: &[(String, Assignment)],
    serial: &str,
    assignment: &Assignment,
    evidence: &Evidence,
) -> Answer {
    let primary = assigned.first().is_none_or(|(first, _)| first == serial);
    let ecu = if primary { String::new() } else { format!(" to the ECU {serial}") };
    let sentence = match assignment {
        Assignment::Nothing => {
            format!("The Director assigns nothing to this device; {} stays", runs(evidence))
        }
        Assignment::Runs(name) => format!("The Director assigns {name}{ecu}, and it runs"),
        Assignment::Pending(t) => format!(
            "{} is assigned{ecu}, is installed, and waits for its reboot and boot confirmation",
            t.name
        ),
        Assignment::Failed(t) => format!(
            "{} is assigned{ecu}, but failed here{}; it is tried again when the Director assigns it again",
            t.name,
            why_failed(t, evidence)
        ),
        Assignment::Unfit(t) => {
            format!("{} is assigned{ecu}, which cannot be a Target of this kind; assign another one", t.name)
        }
        Assignment::Due(t) => {
            let failed = evidence.last.as_ref().filter(|last| last.error.is_some());
            if let Some(answer) = failed.and_then(|f| of_target(&t.name, &format!("is assigned{ecu}"), f)) {
                return answer;
            }
            format!("{} is assigned{ecu}, and the next update takes it", t.name)
        }
    };
    (sentence, exit::OK)
}

fn runs(evidence: &Evidence) -> String {
    let current = evidence.facts.as_ref().ok().and_then(|facts| facts.current.as_ref());
    current.map_or("what runs".to_string(), |t| t.name.clone())
}

fn why_failed(target: &TargetRecord, evidence: &Evidence) -> String {
    let bad = evidence.facts.as_ref().ok().and_then(|facts| facts.installed.bad(&target.commit));
    let last = evidence.last.as_ref().filter(|last| last.target.as_ref() == Some(&target.name));
    let reason = bad.map(|bad| bad.reason.clone()).or_else(|| last.and_then(|last| last.error.clone()));
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// A Target that is wanted, and that the last run could not fetch or install.
fn of_target(name: &str, is: &str, failed: &Last) -> Option<Answer> {
    if failed.target.as_deref() != Some(name) {
        return None;
    }
    let what = match (failed.stage, failed.code) {
        (Stage::Check, _) => return None,
        (_, exit::NO_SPACE) => "there is no room for it",
        (Stage::Download, _) => "its download fails",
        (Stage::Install, _) => "its installation fails",
        (Stage::Finalize, _) => "its boot was not confirmed",
    };
    Some((format!("{name} {is}, but {what}: {}", trouble(failed)), failed.code))
}

/// What went wrong, how often, and when it is tried again.
fn trouble(last: &Last) -> String {
    let error = last.error.as_deref().unwrap_or_default();
    let mut text = format!("{error} (failed {}, last {}", times_in_a_row(last.failures), Time(last.when));
    if let Some(next) = last.next_try.filter(|next| *next > last.when) {
        text.push_str(&format!(", next try {}", Time(next)));
    }
    text + ")"
}

/// For `status` too.
pub fn times_in_a_row(failures: u32) -> String {
    match failures {
        0 | 1 => "once".to_string(),
        // The file does not count each one after these.
        n if n > Last::EACH => format!("at least {n} times in a row"),
        n => format!("{n} times in a row"),
    }
}

fn times(count: u32) -> String {
    if count == 1 { "1 time".to_string() } else { format!("{count} times") }
}
