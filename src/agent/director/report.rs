//! What the Director and the device gateway are told: the signed manifest, events, the network, the packages.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::AgentError;
use super::provision::Problem;
use super::secondaries::Firmware;
use super::session::Session;
use crate::config::{ConfigError, DirectorSettings};
use crate::store::{DeviceResult, ReportCounter, atomic};
use crate::uptane::{EcuOutcome, EcuReport, InstallationReport, canonical, ecu_manifest, vehicle_manifest};

const REPLY_LIMIT: u64 = 64 * 1024;
/// A list of packages that is longer is not sent.
const MOST_PACKAGES: usize = 4 * 1024 * 1024;

impl Session<'_> {
    /// Sends what runs, signed, with a number that is higher than any before; and the result that waits, if any.
    pub fn send_manifest(&mut self, counter: &mut ReportCounter) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let server = settings.director.server.as_ref().ok_or(AgentError::Config(ConfigError::Missing {
            key: "tls.server",
            purpose: "where the Director is",
        }))?;
        let url = format!("{server}/manifest");
        let http = self.http()?;
        let Some(image) = self.image()? else {
            log::warn!("no OSTree deployment runs here, so there is nothing to report");
            return Ok(());
        };
        let body = self.manifest(&image, counter.take()?)?;
        let reply = http.send("PUT", &url, "application/json", &body, REPLY_LIMIT)?;
        if !(200..=299).contains(&reply.status) {
            let problem = Problem::read(&reply.body);
            let reason = format!("it did not take the report: {} {}", problem.code, problem.description);
            return Err(AgentError::Server {
                url,
                status: reply.status,
                reason: reason.trim_end().to_string(),
            });
        }
        if self.state.result.take().is_some() {
            self.save()?;
        }
        Ok(())
    }

    fn manifest(&self, image: &Firmware, counter: u64) -> Result<Vec<u8>, AgentError> {
        let serial = self.identity.record.serial.clone();
        let sign = |message: &[u8]| self.identity.key.sign(message);
        let own = EcuReport {
            serial: &serial,
            filepath: &image.name,
            length: image.length,
            sha256: &image.sha256,
            counter,
            attacks: self.state.attack.as_deref().unwrap_or_default(),
        };
        let own = ecu_manifest(&own, &sign)?;
        let mut ecus = vec![(serial.clone(), own)];
        for secondary in self.secondaries() {
            ecus.push((secondary.serial.clone(), secondary.manifest(counter)?));
        }
        let result = self.state.result.as_ref().map(installation);
        let whole = vehicle_manifest(&serial, ecus, result.as_ref(), &sign)?;
        Ok(canonical(&whole))
    }

    /// Events that wait, and what is new of the device. Nothing of it is worth an update, so nothing of it can fail one.
    pub fn send_device_data(&self) {
        match self.agent.link() {
            Ok(link) => self.agent.send_reports(&link),
            Err(error) => log::debug!("{error}"),
        }
        if let Err(error) = self.send_packages() {
            log::debug!("the list of packages waits for the next check: {error}");
        }
    }

    fn send_packages(&self) -> Result<(), AgentError> {
        let settings = &self.agent.settings;
        let Some(server) = &settings.server else { return Ok(()) };
        let Some(list) = atomic::read(&settings.director.packages_file)? else { return Ok(()) };
        if list.len() > MOST_PACKAGES {
            return Ok(());
        }
        let sent = settings.state.join("reported-packages.sha256");
        let sum = crate::tuf::to_hex(ring::digest::digest(&ring::digest::SHA256, &list).as_ref());
        if atomic::read(&sent)?.is_some_and(|before| before == sum.as_bytes()) {
            return Ok(());
        }
        let body = packages(&String::from_utf8_lossy(&list)).to_string();
        let url = format!("{server}/core/installed");
        let reply = self.http()?.send("PUT", &url, "application/json", body.as_bytes(), REPLY_LIMIT)?;
        // A server without this endpoint is not asked again either.
        if matches!(reply.status, 200..=299 | 404 | 405 | 501) {
            atomic::write(&sent, sum.as_bytes())?;
        }
        Ok(())
    }
}

fn installation(result: &DeviceResult) -> InstallationReport<'_> {
    let DeviceResult { correlation_id, success, code, description, ecus, items } = result;
    let (success, code, description) = (*success, code.as_str(), description.as_str());
    let same = ecus.iter().map(|serial| EcuOutcome { serial, success, code, description });
    let own = items.iter().map(|ecu| EcuOutcome {
        serial: &ecu.serial,
        success: ecu.success,
        code: &ecu.code,
        description: &ecu.description,
    });
    InstallationReport { correlation_id, success, code, description, items: same.chain(own).collect() }
}

/// One package a line: its name, a blank, its version.
fn packages(list: &str) -> Value {
    let pairs = list.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs.map(|(name, version)| json!({"name": name, "version": version.trim()})).collect()
}

/// What the factory says that a commit is: `{"<commit>": "<name>"}`, or `{"<name>": {"hashes": {"sha256": "<commit>"}}}`.
pub fn shipped_name(settings: &DirectorSettings, commit: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shipped {
        Name(String),
        Image { hashes: BTreeMap<String, String> },
    }
    let bytes = atomic::read(&settings.installed_versions).ok()??;
    let list: BTreeMap<String, Shipped> = match serde_json::from_slice(&bytes) {
        Ok(list) => list,
        Err(error) => {
            log::warn!("{}: {error}", settings.installed_versions.display());
            return None;
        }
    };
    list.into_iter().find_map(|(key, value)| match value {
        Shipped::Name(name) => (key == commit).then_some(name),
        Shipped::Image { hashes } => {
            hashes.get("sha256").is_some_and(|hash| hash.eq_ignore_ascii_case(commit)).then_some(key)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_as_the_image_lists_them() {
        let list = packages("busybox 1.36.1-r0\n\nbad\nglibc   2.39+git\n");
        assert_eq!(
            list,
            json!([{"name": "busybox", "version": "1.36.1-r0"}, {"name": "glibc", "version": "2.39+git"}])
        );
    }
}
