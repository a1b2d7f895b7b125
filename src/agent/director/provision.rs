//! The servers learn of this device's ECUs: once, and again when they change.

use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::super::AgentError;
use super::session::Session;
use crate::config::ConfigError;
use crate::device::Identity;
use crate::tuf::to_hex;
use crate::uptane::{Registrant, canonical, registration};

const REPLY_LIMIT: u64 = 64 * 1024;

/// What servers of this protocol say of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub code: String,
    pub description: String,
}

impl Problem {
    /// Of a reply's body; a server may send anything else.
    pub fn read(body: &[u8]) -> Problem {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

impl Session<'_> {
    /// Registers the ECUs unless the server has this very registration.
    ///
    /// A cut between the request and its answer leaves a server that knows us and a device that does not know it. So
    /// what is sent is noted before, and only then "already registered" means us.
    pub fn register(&mut self) -> Result<(), AgentError> {
        let body = canonical(&registration(&self.registrants()));
        let sum = to_hex(digest(&SHA256, &body).as_ref());
        if self.identity.record.registered.as_ref() == Some(&sum) {
            return Ok(());
        }
        if self.is_known() {
            log::info!("the server knows the ECUs of this device from the client that was here before");
            self.identity.record.known_ecus.clear();
            self.identity.record.registered = Some(sum);
            return Ok(self.identity.record.save(&self.agent.settings.state)?);
        }
        let settings = &self.agent.settings;
        let url = settings.director.registration.clone().ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where this device registers itself",
        }))?;
        let http = self.http()?;
        let sent_before = self.identity.record.sent.as_ref() == Some(&sum);
        if !sent_before {
            self.identity.record.sent = Some(sum.clone());
            self.identity.record.save(&settings.state)?;
        }
        let reply = http.send("POST", &url, "application/json", &body, REPLY_LIMIT)?;
        let problem = Problem::read(&reply.body);
        let known = ["ecu_already_registered", "device_already_registered"].contains(&problem.code.as_str());
        match reply.status {
            200..=299 => log::info!("registered the ECU {} at the server", self.identity.record.serial),
            _ if known && sent_before => log::info!("the server has this registration already"),
            status => {
                // Nothing of ours can have arrived: a later "already registered" is not about us.
                if known {
                    self.identity.record.sent = None;
                    self.identity.record.save(&settings.state)?;
                }
                return Err(AgentError::Server { url, status, reason: explain(&problem) });
            }
        }
        self.identity.record.sent = None;
        self.identity.record.registered = Some(sum);
        Ok(self.identity.record.save(&settings.state)?)
    }

    /// Whether the client that was here before registered these very ECUs. Their keys are where it had them.
    fn is_known(&self) -> bool {
        let Identity { record, .. } = &self.identity;
        let mut known = record.known_ecus.clone();
        let own = self.registrants();
        let mut own: Vec<_> = own.iter().map(|r| (r.serial.to_string(), r.hardware_id.to_string())).collect();
        known.sort();
        own.sort();
        record.registered.is_none() && known == own
    }

    /// The Primary is the first.
    fn registrants(&self) -> Vec<Registrant<'_>> {
        let Identity { record, key } = &self.identity;
        let primary = (record.serial.as_str(), record.hardware_id.as_str(), key);
        let secondaries = self.secondaries().map(|s| (s.serial.as_str(), s.hardware_id.as_str(), &s.key));
        let all = std::iter::once(primary).chain(secondaries);
        all.map(|(serial, hardware_id, key)| Registrant {
            serial,
            hardware_id,
            key_type: key.kind(),
            public: key.public(),
        })
        .collect()
    }
}

fn explain(problem: &Problem) -> String {
    match problem.code.as_str() {
        "ecu_already_registered" | "device_already_registered" => format!(
            "{}: it knows the device or the ECU with another key or serial; remove it there, or bring back the state of this device",
            problem.code
        ),
        "" => "it did not take the registration; look into its log".to_string(),
        code => format!("{code}: {}", problem.description),
    }
}
