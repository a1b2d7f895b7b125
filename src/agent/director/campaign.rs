//! What is offered to a person, and the person's answer. Neither touches the boot, the Targets or the metadata.

use serde_json::json;

use super::super::{AgentError, random_id};
use super::Director;
use super::session::Session;
use crate::config::ConfigError;
use crate::store::{EventQueue, StoreError};
use crate::tuf::Time;
use crate::uptane::{Campaign, Consent, campaigns};

const CAMPAIGNS_LIMIT: u64 = 1024 * 1024;

impl Director<'_> {
    /// Asks the server what is offered.
    pub fn campaigns(&self) -> Result<Vec<Campaign>, AgentError> {
        let settings = &self.agent.settings;
        let server = settings.server.as_ref().ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where campaigns are offered",
        }))?;
        if settings.director.shared.is_some() && settings.identity().is_none() {
            Session::open(self.agent, "campaign_check")?.provision()?;
        }
        let url = format!("{server}/campaigner/campaigns");
        let reply = self.agent.memory.http(settings)?.get(&url, CAMPAIGNS_LIMIT)?;
        // A server that has no campaigns offers none.
        if matches!(reply.status, 204 | 404) {
            return Ok(Vec::new());
        }
        if reply.status != 200 {
            let reason = "it offers no campaigns".to_string();
            return Err(AgentError::Server { url, status: reply.status, reason });
        }
        let bad = |reason| AgentError::Server { url, status: 200, reason };
        campaigns(&reply.body).map_err(|e| bad(format!("not a list of campaigns: {e}")))
    }

    /// Keeps an answer, and hands it over: now where there is a network, otherwise with the next run of any mode.
    pub fn answer(&self, campaign: &str, consent: Consent) -> Result<(), AgentError> {
        let agent = self.agent;
        let _working = agent.locked("campaign")?;
        let now = agent.now()?;
        let event = json!({
            "id": random_id(),
            "deviceTime": Time(now).to_string(),
            "eventType": {"id": consent.event(), "version": 0},
            "event": {"campaignId": campaign},
        });
        let queue = EventQueue::of(&agent.settings.state);
        let json = serde_json::value::to_raw_value(&event).map_err(|e| {
            let path = agent.settings.state.join("events.jsonl");
            StoreError::Io { operation: "write", path, source: std::io::Error::other(e) }
        })?;
        queue.push(json, now)?;
        agent.send_reports(&agent.link()?);
        Ok(())
    }
}
