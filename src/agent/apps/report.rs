//! `/apps-states`: what the server is told of the apps, when something of it changed.

use serde_json::{Value, json};

use super::super::link::Link;
use super::super::{Agent, AgentError, atomic};
use super::{AppState, apps_now};
use crate::tuf::Time;

const REPLY_LIMIT: u64 = 64 * 1024;

impl Agent {
    pub(in crate::agent) fn send_apps(&self, link: &Link<'_>) -> Result<(), AgentError> {
        let Some((http, server)) = link.gateway().filter(|_| self.settings.compose) else { return Ok(()) };
        let facts = self.facts(&self.names())?;
        let states = self.app_states(&apps_now(&facts));
        let path = self.settings.state.join("reported-apps");
        let gist = gist(&states);
        let sent = atomic::read(&path)?;
        if sent.as_deref() == Some(gist.as_bytes()) || (sent.is_none() && states.is_empty()) {
            return Ok(());
        }
        let body = body(&states, facts.booted.as_deref().unwrap_or_default(), Time(self.now()?));
        let url = format!("{server}/apps-states");
        let reply = http.send("POST", &url, "application/json", body.to_string().as_bytes(), REPLY_LIMIT)?;
        if matches!(reply.status, 200..=299 | 404 | 405 | 501) {
            atomic::write(&path, gist.as_bytes())?;
        }
        Ok(())
    }
}

/// What makes a report worth sending: another app, another state, another number of services.
fn gist(states: &[AppState]) -> String {
    states.iter().map(|s| format!("{} {} {} {}\n", s.name, s.uri, s.state, s.services.len())).collect()
}

fn body(states: &[AppState], commit: &str, now: Time) -> Value {
    let apps: serde_json::Map<String, Value> = states.iter().map(|s| (s.name.clone(), app(s))).collect();
    json!({"deviceTime": now.to_string(), "ostree": commit, "apps": apps})
}

fn app(state: &AppState) -> Value {
    let service = |c: &crate::payload::apps::Container| {
        let mut value = json!({
            "name": c.service, "hash": "", "image": c.image, "state": c.status,
            "status": format!("{} ({})", c.status, c.exit_code),
        });
        if let Some(health) = &c.health {
            value["health"] = json!(health);
        }
        value
    };
    json!({"uri": state.uri, "state": state.state, "services": state.services.iter().map(service).collect::<Vec<_>>()})
}
