//! Text and JSON as programs around aktualizr-lite read them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::agent::{AppState, Found, INITIAL_TARGET, Status};
use crate::config::Settings;
use crate::decide::{Plan, Target};
use crate::gateway::device::Device;
use crate::gateway::redact::{harmless_json, one_line, redacted};
use crate::store::TargetRecord;

/// `check` and `list` for a person.
pub fn targets_text(found: &Found, settings: &Settings) -> String {
    if found.visible.is_empty() {
        return "\nNo Targets found\n".to_string();
    }
    let mut text = String::from("\nFound Targets: \n");
    for target in &found.visible {
        text.push_str(&format!(
            "{}\n\tostree: {}\n\tapps:\n",
            one_line(&target.name),
            one_line(&target.commit)
        ));
        for (app, uri) in &target.apps {
            let on = if settings.enables(app) { "on" } else { "off" };
            text.push_str(&format!("\t\t({on}) {} -> {}\n", one_line(app), one_line(uri)));
        }
        text.push('\n');
    }
    text
}

/// `check` and `list` for a program: what is not so is left out.
pub fn targets_json(found: &Found, settings: &Settings) -> String {
    let list: Vec<Value> = found.visible.iter().map(|t| target_json(found, settings, t)).collect();
    let value = if list.is_empty() { Value::Null } else { Value::Array(list) };
    format!("{}\n", harmless_json(&format!("{value:#}")))
}

fn target_json(found: &Found, settings: &Settings, target: &Target) -> Value {
    let facts = &found.facts;
    let apps = apps_json(&target.apps, settings, None);
    let mut value = json!({"name": target.name, "version": target.version, "apps": apps});
    let current = facts.current.as_ref();
    let selected = matches!(&found.plan, Plan::Update(chosen) if chosen.name == target.name);
    for (name, is) in [
        ("selected", selected),
        ("failed", facts.installed.bad(&target.commit).is_some()),
        ("current", current.is_some_and(|c| c.name == target.name)),
        ("newer", current.is_some_and(|c| target.version > c.version)),
    ] {
        if is {
            value[name] = json!(true);
        }
    }
    if selected {
        value["reason"] = json!(found.reason);
    }
    value
}

/// `states`: of the apps that were started here; of others nobody knows whether they run.
fn apps_json(apps: &BTreeMap<String, String>, settings: &Settings, states: Option<&[AppState]>) -> Value {
    // `check` and `list` have null here, and `status` an empty list, as programs know them.
    if apps.is_empty() && states.is_none() {
        return Value::Null;
    }
    let app = |(name, uri): (&String, &String)| {
        let mut value = json!({"name": name, "uri": uri, "on": settings.enables(name)});
        if let Some(states) = states {
            value["running"] = json!(states.iter().find(|s| s.name == *name).map(AppState::running));
        }
        value
    };
    apps.iter().map(app).collect()
}

/// What `status` tells beside the agent's own facts.
#[derive(Debug)]
pub struct Identity {
    /// Common name of the device's certificate.
    pub uuid: Option<String>,
    /// The server's record.
    pub device: Result<Device, String>,
}

/// `status` for a person.
pub fn status_text(status: &Status, identity: &Identity, settings: &Settings) -> String {
    let mut text = match &identity.uuid {
        Some(uuid) => format!("Device UUID: {}\n", one_line(uuid)),
        None => "Failed to get a device UUID: there is no device certificate\n".to_string(),
    };
    text.push_str(&match &identity.device {
        Ok(device) => format!("Device name: {}\n", one_line(&device.name)),
        Err(reason) => format!("Failed to get a device info: {}\n", redacted(reason)),
    });
    let Some(current) = running(status) else {
        text.push_str("No active deployment found\n");
        return text;
    };
    let pending = status.facts.installed.pending.as_ref();
    let pending = pending.is_some_and(|p| p.target.name == current.name);
    let title = if pending { "Pending Target: " } else { "Active image is: " };
    let version = if current.version < 0 { one_line(&current.name) } else { current.version.to_string() };
    text.push_str(&format!("{title}{version}\tsha256:{}\n", one_line(&current.commit)));
    if settings.compose && !status.apps.is_empty() {
        text.push_str("\tDocker Compose Apps:\n");
        for (app, uri) in &status.apps {
            text.push_str(&format!(
                "\t{} {} -> {}\n",
                if settings.enables(app) { "on :" } else { "off:" },
                one_line(app),
                one_line(uri)
            ));
        }
    }
    text
}

/// `status` for a program.
pub fn status_json(status: &Status, identity: &Identity, settings: &Settings) -> String {
    let empty = Device::default();
    let device = identity.device.as_ref().unwrap_or(&empty);
    let mut value = json!({
        "device_name": device.name,
        "device_factory": device.factory,
        "ostree_hash": status.facts.booted.clone().unwrap_or_default(),
        "tag": settings.tags.join(","),
    });
    if let Some(uuid) = &identity.uuid {
        value["device_uuid"] = json!(uuid);
    }
    let target = |t: &TargetRecord, apps: &BTreeMap<String, String>| json!({"name": t.name, "version": t.version, "ostree_hash": t.commit, "apps": apps_json(apps, settings, Some(&status.app_states))});
    if let Some(current) = running(status) {
        value["applied_target"] = target(&current, &status.apps);
    }
    if let Some(pending) = &status.facts.installed.pending {
        value["pending_target"] = target(&pending.target, &pending.target.apps);
    }
    format!("{}\n", harmless_json(&format!("{value:#}")))
}

/// What runs; by the name of a device that nobody has updated yet where nobody knows the commit.
fn running(status: &Status) -> Option<TargetRecord> {
    let initial = |commit: &String| TargetRecord {
        name: INITIAL_TARGET.to_string(),
        version: -1,
        commit: commit.clone(),
        apps: BTreeMap::new(),
    };
    status.facts.current.clone().or_else(|| status.facts.booted.as_ref().map(initial))
}
