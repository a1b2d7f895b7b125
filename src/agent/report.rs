//! Who is told what happens: the callback program at once, the server by events that wait on disk.
//!
//! Telling never fails an update: what cannot be told is logged.

use std::collections::BTreeMap;

use super::callback::Facts;
use super::link::{INITIAL_TARGET, Link};
use super::{Agent, AgentError, Outcome, atomic, random_id};
use crate::config::Trust;
use crate::gateway::device::{self, Fact};
use crate::gateway::events::{Event, Kind, deliver};
use crate::store::{EventQueue, Pending, StoreError, TargetRecord};
use crate::tuf::sha256_hex;

/// The story of one Target on this device.
#[derive(Debug)]
pub struct Report<'a> {
    agent: &'a Agent,
    target: TargetRecord,
    current: Option<String>,
    /// Joins its events.
    pub correlation_id: String,
}

impl<'a> Report<'a> {
    /// A new one.
    pub fn new(agent: &'a Agent, target: TargetRecord, current: Option<&TargetRecord>) -> Report<'a> {
        let correlation_id = format!("{}-{}", target.version, random_id());
        Report { agent, target, current: current.map(|t| t.name.clone()), correlation_id }
    }

    /// Of a Target that was deployed before the reboot.
    pub fn of_pending(agent: &'a Agent, pending: &Pending, current: Option<&TargetRecord>) -> Report<'a> {
        Report {
            correlation_id: pending.correlation_id.clone(),
            ..Report::new(agent, pending.target.clone(), current)
        }
    }

    /// Of a Target that a Director assigned; its events carry what the Director gave.
    pub fn directed(
        agent: &'a Agent,
        target: TargetRecord,
        current: Option<&TargetRecord>,
        id: Option<&str>,
    ) -> Report<'a> {
        let correlation_id = id.unwrap_or_default().to_string();
        Report { correlation_id, ..Report::new(agent, target, current) }
    }

    pub fn download_starts(&self, reason: &str) {
        self.tell("download-pre", None);
        self.event(Kind::EcuDownloadStarted, None, reason);
    }

    pub fn download_ended(&self, result: &Result<(), AgentError>) {
        self.tell("download-post", Some(if result.is_ok() { "OK" } else { "FAILED" }));
        // A server's delta that ended its process is news although the objects came after it.
        let trouble = self.agent.memory.delta_trouble.take().unwrap_or_default();
        let details = result.as_ref().err().map_or(trouble, ToString::to_string);
        self.event(Kind::EcuDownloadCompleted, Some(result.is_ok()), &details);
    }

    pub fn install_starts(&self) {
        self.tell("install-pre", None);
        self.event(Kind::EcuInstallationStarted, None, "");
    }

    /// Deployed and waiting, running at once (no reboot was needed), or failed.
    pub fn install_ended(&self, result: &Result<Outcome, AgentError>) {
        match result {
            Ok(Outcome::Confirmed(_)) => self.completed(true, ""),
            Ok(outcome @ Outcome::AppsFailed { .. }) => self.completed(false, &outcome.to_string()),
            Ok(outcome) => {
                self.tell("install-post", Some("NEEDS_COMPLETION"));
                self.event(Kind::EcuInstallationApplied, None, &outcome.to_string());
            }
            Err(error) => self.completed(false, &error.to_string()),
        }
    }

    pub fn finalize_starts(&self) {
        self.tell("install-final-pre", None);
    }

    /// It runs, or it never will.
    pub fn completed(&self, success: bool, details: &str) {
        self.tell("install-post", Some(if success { "OK" } else { "FAILED" }));
        self.event(Kind::EcuInstallationCompleted, Some(success), details);
        if success {
            self.agent.write_current(&self.target);
        }
    }

    fn tell(&self, message: &str, result: Option<&str>) {
        let current = self.current.as_deref();
        self.agent.callback.tell(message, Facts { current, target: Some(&self.target.name), result });
    }

    fn event(&self, kind: Kind, success: Option<bool>, details: &str) {
        self.agent.queue(kind, &self.target, &self.correlation_id, success, details);
    }
}

impl Agent {
    /// Queues that the metadata changed, or could not be refreshed. A failure that was the last thing to be said
    /// is not said again: a device without a network would write at each poll.
    pub(super) fn metadata_event(
        &self,
        current: Option<&TargetRecord>,
        error: Option<&AgentError>,
        details: &str,
    ) {
        let failure = error.map(|e| format!("err: {e}"));
        if error.is_some_and(|error| self.check_failed_so_before(&error.to_string())) {
            return;
        }
        let details = failure.as_deref().unwrap_or(details);
        let unknown = TargetRecord {
            name: INITIAL_TARGET.to_string(),
            version: -1,
            commit: String::new(),
            apps: Default::default(),
        };
        let id = format!("tuf-meta-{}", random_id());
        self.queue(
            Kind::MetadataUpdateCompleted,
            current.unwrap_or(&unknown),
            &id,
            Some(error.is_none()),
            details,
        );
    }

    fn queue(
        &self,
        kind: Kind,
        target: &TargetRecord,
        correlation: &str,
        success: Option<bool>,
        details: &str,
    ) {
        self.queue_of(None, kind, target, correlation, success, details);
    }

    /// Of another ECU than the Primary, by its serial.
    pub(super) fn queue_of(
        &self,
        ecu: Option<&str>,
        kind: Kind,
        target: &TargetRecord,
        correlation: &str,
        success: Option<bool>,
        details: &str,
    ) {
        if self.settings.server.is_none() {
            return;
        }
        let queued = self.try_queue(ecu, kind, target, correlation, success, details);
        if let Err(error) = queued {
            log::warn!("an event was lost: {error}");
        }
    }

    fn try_queue(
        &self,
        ecu: Option<&str>,
        kind: Kind,
        target: &TargetRecord,
        correlation_id: &str,
        success: Option<bool>,
        details: &str,
    ) -> Result<(), AgentError> {
        let time = self.now()?;
        let event = Event {
            id: &random_id(),
            time,
            kind,
            ecu: &ecu.map_or_else(|| self.serial(), |ecu| Ok(ecu.to_string()))?,
            correlation_id,
            target: &target.name,
            version: target.version,
            success,
            details,
        };
        let json = event.to_json().map_err(|e| {
            let path = self.settings.state.join("events.jsonl");
            StoreError::Io { operation: "write", path, source: std::io::Error::other(e) }
        })?;
        Ok(EventQueue::of(&self.settings.state).push(json, time)?)
    }

    /// As it is configured, or made up once and kept.
    fn serial(&self) -> Result<String, StoreError> {
        if let Some(serial) = crate::device::stored_serial(&self.settings) {
            return Ok(serial);
        }
        if let Some(serial) = &self.settings.ecu_serial {
            return Ok(serial.clone());
        }
        let path = self.settings.state.join("ecu-serial");
        if let Some(bytes) = atomic::read(&path)? {
            return Ok(String::from_utf8_lossy(&bytes).trim().to_string());
        }
        let serial = random_id();
        atomic::write(&path, format!("{serial}\n").as_bytes())?;
        Ok(serial)
    }

    /// Hands over what waits, and what is new of the network. Without news there is no request and no write.
    pub(super) fn send_reports(&self, link: &Link<'_>) {
        let sent =
            self.send_events(link).and_then(|()| self.send_facts(link)).and_then(|()| self.send_apps(link));
        if let Err(error) = sent {
            log::debug!("reports wait for the next check: {error}");
        }
    }

    pub(super) fn send_events(&self, link: &Link<'_>) -> Result<(), AgentError> {
        let Some((http, server)) = link.gateway() else { return Ok(()) };
        let queue = EventQueue::of(&self.settings.state);
        deliver(&http, server, queue.events()?, &mut |count| Ok::<_, AgentError>(queue.drop_oldest(count)?))
    }

    /// What the server is told of this device, each when it is not what it was told last.
    fn send_facts(&self, link: &Link<'_>) -> Result<(), AgentError> {
        let Some((http, server)) = link.gateway() else { return Ok(()) };
        let path = self.settings.state.join("reported.json");
        let mut reported: BTreeMap<String, String> = atomic::read_json(&path)?.unwrap_or_default();
        for (fact, body) in self.facts_to_tell() {
            let hash = sha256_hex(body.as_bytes());
            if reported.get(fact.name()) != Some(&hash)
                && device::tell(&http, server, self.verb(fact), fact, &body)?
            {
                reported.insert(fact.name().to_string(), hash);
                atomic::write_json(&path, &reported)?;
            }
        }
        Ok(())
    }

    /// A server of the Director's kind takes the configuration by another verb.
    fn verb(&self, fact: Fact) -> &'static str {
        if fact == Fact::Config && self.settings.director.trust == Trust::Director { "POST" } else { "PUT" }
    }

    fn facts_to_tell(&self) -> Vec<(Fact, String)> {
        let network = if self.settings.director.report_network { device::network() } else { None };
        let find = || self.hardware.clone().or_else(device::hardware);
        let hardware = self.report_hardware.take().then(find).flatten();
        let config = self.settings.config_report.clone();
        let all = [(Fact::Config, config), (Fact::Network, network), (Fact::Hardware, hardware)];
        all.into_iter().filter_map(|(fact, body)| Some((fact, body?))).collect()
    }

    pub(super) fn write_current(&self, target: &TargetRecord) {
        let names = self.names();
        let known = names.iter().find(|t| t.name == target.name);
        let (tags, sources) =
            known.map_or((&self.settings.tags, &[][..]), |t| (&t.tags, t.sources.as_slice()));
        if let Err(error) = self.callback.write_current(target, tags, sources) {
            log::warn!("{error}");
        }
    }
}
