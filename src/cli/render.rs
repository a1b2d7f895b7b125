//! What people and programs read: text, JSON, progress, and the exit code of each outcome.

use serde_json::{Value, json};

use super::exit;
use crate::agent::{AgentError, AppState, Found, Status};
use crate::decide::{Plan, Target};
use crate::gateway::redact::{harmless_json, one_line, redacted};
use crate::payload::apps::Container;
use crate::store::TargetRecord;

/// `check` and `list` for a person.
pub fn targets_text(found: &Found) -> String {
    if found.visible.is_empty() {
        return format!("\nNo Targets found\n\n{}\n", redacted(&found.reason));
    }
    let mut text = String::from("\nFound Targets: \n");
    for target in &found.visible {
        let marks = marks(found, target).join(", ");
        let marks = if marks.is_empty() { String::new() } else { format!(" ({marks})") };
        text.push_str(&format!(
            "{}{marks}\n\tostree: {}\n",
            one_line(&target.name),
            one_line(&target.commit)
        ));
        if !target.apps.is_empty() {
            text.push_str("\tapps:\n");
            for (name, uri) in &target.apps {
                text.push_str(&format!("\t\t{} -> {}\n", one_line(name), one_line(uri)));
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("{}\n", redacted(&found.reason)));
    text
}

fn marks(found: &Found, target: &Target) -> Vec<&'static str> {
    let facts = &found.facts;
    let mut marks = Vec::new();
    if facts.booted.as_deref() == Some(target.commit.as_str()) {
        marks.push("current");
    }
    if selected(found, target) {
        marks.push("selected");
    }
    if facts.installed.bad(&target.commit).is_some() {
        marks.push("known-bad");
    }
    marks
}

fn selected(found: &Found, target: &Target) -> bool {
    matches!(&found.plan, Plan::Update(chosen) if chosen.name == target.name)
}

/// `check` and `list` for a program: an array; members that are false are left out.
pub fn targets_json(found: &Found) -> String {
    let list: Vec<Value> = found.visible.iter().map(|t| target_json(found, t)).collect();
    format!("{}\n", harmless_json(&Value::Array(list).to_string()))
}

fn target_json(found: &Found, target: &Target) -> Value {
    let facts = &found.facts;
    let mut value = json!({
        "name": target.name,
        "version": target.version,
        "ostree_hash": target.commit,
        "apps": if target.apps.is_empty() { Value::Null } else { apps_json(target) },
    });
    let current = facts.booted.as_deref() == Some(target.commit.as_str());
    let newer = facts.current.as_ref().is_some_and(|c| target.version > c.version);
    let failed = facts.installed.bad(&target.commit).is_some();
    for (name, is) in
        [("current", current), ("newer", newer), ("failed", failed), ("selected", selected(found, target))]
    {
        if is {
            value[name] = Value::Bool(true);
        }
    }
    if selected(found, target) {
        value["reason"] = Value::String(found.reason.clone());
    }
    value
}

fn apps_json(target: &Target) -> Value {
    target.apps.iter().map(|(name, uri)| json!({"name": name, "uri": uri, "on": true})).collect()
}

/// `status` for a person.
pub fn status_text(status: &Status) -> String {
    let installed = &status.facts.installed;
    let name = |t: Option<&TargetRecord>| {
        t.map_or("unknown".to_string(), |t| format!("{} (version {})", one_line(&t.name), t.version))
    };
    let mut text = format!("Hardware id:  {}\n", one_line(&status.facts.hardware_id));
    text.push_str(&format!("Tags:         {}\n", one_line(&list_or_all(&status.facts.tags))));
    text.push_str(&format!("Running:      {}\n", name(status.facts.current.as_ref())));
    text.push_str(&format!(
        "Commit:       {}\n",
        status.facts.booted.as_deref().unwrap_or("none: not an OSTree system")
    ));
    if let Some(pending) = &installed.pending {
        text.push_str(&format!("Pending:      {}: reboot, then finalize\n", name(Some(&pending.target))));
    }
    for lack in &status.lacks {
        text.push_str(&format!("Not confirmed: {}\n", redacted(lack)));
    }
    if let Some(previous) = &installed.previous {
        text.push_str(&format!("Before:       {}\n", name(Some(previous))));
    }
    for app in &status.app_states {
        text.push_str(&format!(
            "App:          {}: {} ({})\n",
            one_line(&app.name),
            one_line(app.state),
            one_line(&app.uri)
        ));
    }
    for bad in installed.known_bad.iter().chain(&installed.bad_apps) {
        let times = if bad.count == 1 { "once".to_string() } else { format!("{} times", bad.count) };
        text.push_str(&format!(
            "Known bad:    {}: {} ({times})\n",
            name(Some(&bad.target)),
            redacted(&bad.reason)
        ));
    }
    if let Some(last) = &status.last {
        text.push_str(&format!("Last run:     {}\n", redacted(&super::explain::last_run(last))));
    }
    let variables: Vec<String> = status.boot.variables.iter().map(|(n, v)| format!("{n}={v}")).collect();
    text.push_str(&format!("Bootloader:   {} {}\n", status.bootloader, one_line(&variables.join(" "))));
    if let Some(problem) = &status.boot_problem {
        text.push_str(&format!("              {}\n", redacted(problem)));
    }
    if let Some(warning) = &status.certificate_warning {
        text.push_str(&format!("Certificate:  {}\n", redacted(warning)));
    }
    for warning in &status.warnings {
        text.push_str(&format!("Warning:      {}\n", redacted(warning)));
    }
    text
}

/// Tags, for a person.
pub fn list_or_all(list: &[String]) -> String {
    if list.is_empty() { "(all)".to_string() } else { list.join(",") }
}

/// `status` for a program.
pub fn status_json(status: &Status) -> String {
    let facts = &status.facts;
    let installed = &facts.installed;
    let variables: serde_json::Map<String, Value> =
        status.boot.variables.iter().map(|(n, v)| (n.clone(), Value::String(v.clone()))).collect();
    let value = json!({
        "hardware_id": facts.hardware_id,
        "tags": facts.tags,
        "ostree_hash": facts.booted,
        "current": facts.current,
        "apps": app_states_json(&status.app_states),
        "bad_apps": installed.bad_apps,
        "pending": installed.pending,
        "previous": installed.previous,
        "known_bad": installed.known_bad,
        "warnings": status.warnings,
        "last": status.last,
        "certificate_expires": status.certificate_end.map(|end| end.to_string()),
        "bootloader": {
            "mode": status.bootloader,
            "trial": status.boot.trial,
            "rolled_back": status.boot.rolled_back,
            "variables": variables,
            "problem": status.boot_problem,
        },
    });
    format!("{}\n", harmless_json(&format!("{value:#}")))
}

fn app_states_json(states: &[AppState]) -> Value {
    let service = |c: &Container| json!({"service": c.service, "status": c.status, "exit_code": c.exit_code, "health": c.health, "restarts": c.restarts});
    let app = |s: &AppState| {
        let services: Vec<Value> = s.services.iter().map(service).collect();
        json!({"name": s.name, "uri": s.uri, "state": s.state, "services": services})
    };
    states.iter().map(app).collect()
}

/// The exit code of `check`.
pub fn check_code(found: &Found) -> u8 {
    match &found.plan {
        Plan::Update(_) if !found.sync.is_empty() => exit::SYNC_APPS,
        Plan::Update(_) => exit::NEW_TARGET,
        Plan::Stay(stay) => stay.exit_code(),
    }
}

/// The exit code of an error.
pub fn error_code(error: &AgentError) -> u8 {
    error.exit_code()
}
