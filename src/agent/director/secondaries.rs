//! Virtual Secondaries: ECUs that are a file on this device. Each has a serial, a hardware id and a key of its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::AgentError;
use super::super::uptane::UptaneError;
use crate::config::{KeyType, Settings, VirtualSecondary, secondaries};
use crate::device::{EcuKey, check_names};
use crate::payload::file;
use crate::store::{DirectorState, Seen, StoreError, atomic};
use crate::tuf::{Hashes, TargetInfo, from_hex, to_hex};
use crate::uptane::{Ecu, EcuReport, Installed, ecu_manifest};

/// What servers are told of an ECU without a file.
const NO_IMAGE: &str = "noimage";
/// SHA-256 of nothing.
pub const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Longest name of a Target that is read from a file.
const MOST_NAME: usize = 4096;

/// One of them.
#[derive(Debug)]
pub struct Secondary {
    pub serial: String,
    pub hardware_id: String,
    pub key: EcuKey,
    /// What is there, as it was looked at last.
    pub firmware: Option<Firmware>,
    config: VirtualSecondary,
}

/// The file of an ECU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    pub name: String,
    pub length: u64,
    pub sha256: String,
}

/// Those that the configuration names.
pub fn configured(settings: &Settings) -> Result<Vec<VirtualSecondary>, AgentError> {
    let Some(path) = &settings.director.secondaries else { return Ok(Vec::new()) };
    secondaries(path).map_err(|reason| AgentError::Secondaries { path: path.clone(), reason })
}

/// Gives each its identity; keys are made where there are none.
pub fn open(configured: Vec<VirtualSecondary>) -> Result<Vec<Secondary>, AgentError> {
    configured.into_iter().map(Secondary::open).collect()
}

/// No two ECUs of a vehicle have the same serial.
pub fn check_serials(settings: &Settings, primary: &str, all: &[Secondary]) -> Result<(), AgentError> {
    let mut serials = BTreeSet::from([primary]);
    let Some(twice) = all.iter().map(|s| s.serial.as_str()).find(|serial| !serials.insert(serial)) else {
        return Ok(());
    };
    let path = settings.director.secondaries.clone().unwrap_or_default();
    Err(AgentError::Secondaries {
        path,
        reason: format!("ecu_serial: {twice:?} is another ECU's serial too"),
    })
}

/// What a look tells of one that has an identity already. Makes none.
#[derive(Debug)]
pub struct Known {
    /// Its serial.
    pub serial: String,
    /// Its hardware id.
    pub hardware_id: String,
    /// The id and the text of its public key.
    pub key: (String, String),
    /// Its file: SHA-256 and name.
    pub firmware: Option<(String, String)>,
}

/// Looks at all of them; those without a key are not known to anybody yet.
pub fn known(settings: &Settings) -> Result<Vec<Known>, AgentError> {
    let mut all = Vec::new();
    for config in configured(settings)? {
        let Some(key) = EcuKey::at(&config.private_key)? else { continue };
        let mut secondary = Secondary::of(config, key)?;
        secondary.look(&mut None)?;
        all.push(Known {
            key: (secondary.key.id(), secondary.key.public().to_string()),
            serial: secondary.serial,
            hardware_id: secondary.hardware_id,
            firmware: secondary.firmware.map(|f| (f.sha256, f.name)),
        });
    }
    Ok(all)
}

impl Secondary {
    fn open(config: VirtualSecondary) -> Result<Secondary, AgentError> {
        let key = match EcuKey::at(&config.private_key)? {
            Some(key) => key,
            None if config.key_type == KeyType::Rsa => {
                return Err(AgentError::Secondaries {
                    path: config.private_key,
                    reason: "key_type asks for an RSA key, which is not made on the device: put one there (PEM), or use ED25519"
                        .to_string(),
                });
            }
            None => EcuKey::make_at(&config.private_key)?,
        };
        if let Some(path) = &config.public_key
            && atomic::read(path)?.as_deref() != Some(key.public().as_bytes())
        {
            atomic::write(path, key.public().as_bytes())?;
        }
        Secondary::of(config, key)
    }

    pub fn of(config: VirtualSecondary, key: EcuKey) -> Result<Secondary, AgentError> {
        let serial = config.serial.clone().unwrap_or_else(|| key.id());
        check_names(("ecu_serial", &serial), ("ecu_hardware_id", &config.hardware_id))?;
        let hardware_id = config.hardware_id.clone();
        Ok(Secondary { serial, hardware_id, key, firmware: None, config })
    }

    /// Looks at what is there. A file that did not change since it was `seen` is not read again.
    pub fn look(&mut self, seen: &mut Option<Seen>) -> Result<(), AgentError> {
        self.firmware = None;
        let path = &self.config.firmware;
        let (Some(stamp), Some(name)) = (stamp(path)?, self.name()?) else {
            *seen = None;
            return Ok(());
        };
        if seen.as_ref().is_none_or(|seen| seen.stamp != stamp) {
            let Some((_, sha256)) = file::describe(path)? else { return Ok(()) };
            *seen = Some(Seen { stamp, sha256: to_hex(&sha256) });
        }
        let Some(seen) = seen else { return Ok(()) };
        self.firmware = Some(Firmware { name, length: seen.stamp.1, sha256: seen.sha256.clone() });
        Ok(())
    }

    /// What is there, for the checks of an assignment.
    pub fn installed(&self) -> Option<Installed> {
        let firmware = self.firmware.as_ref()?;
        let sha256 = from_hex(&firmware.sha256).and_then(|bytes| bytes.try_into().ok());
        let hashes = Hashes { sha256, sha512: None, other: Vec::new() };
        Some(Installed { name: firmware.name.clone(), length: firmware.length, hashes })
    }

    /// The same with its serial, hardware id, and the highest release counter that it ever had.
    pub fn ecu(&self, state: &DirectorState) -> Ecu {
        let release_counter = state.release_counters.get(&self.serial).copied().unwrap_or_default();
        let (serial, hardware_id) = (self.serial.clone(), self.hardware_id.clone());
        Ecu { serial, hardware_id, installed: self.installed(), release_counter }
    }

    /// Its own word, signed by its own key.
    pub fn manifest(&self, counter: u64) -> Result<serde_json::Value, AgentError> {
        let firmware = self.firmware.as_ref();
        let report = EcuReport {
            serial: &self.serial,
            filepath: firmware.map_or(NO_IMAGE, |f| &f.name),
            length: firmware.map_or(0, |f| f.length),
            sha256: firmware.map_or(NOTHING, |f| &f.sha256),
            counter,
            attacks: "",
        };
        Ok(ecu_manifest(&report, &|message: &[u8]| self.key.sign(message))?)
    }

    /// The content first: with the new name on the old content, a cut between would say what is not true.
    pub fn put(&self, from: &Path, info: &TargetInfo, target: &str) -> Result<(), AgentError> {
        file::place(from, info, &self.config.firmware)
            .map_err(|error| UptaneError::Download { target: target.to_string(), error })?;
        self.put_name(target)
    }

    pub fn put_name(&self, target: &str) -> Result<(), AgentError> {
        Ok(atomic::write(&self.config.target_name, target.as_bytes())?)
    }

    /// Whether the content is this one, whatever its name.
    pub fn has_content(&self, sha256: &str) -> Result<bool, AgentError> {
        Ok(file::describe(&self.config.firmware)?.is_some_and(|(_, found)| to_hex(&found) == sha256))
    }

    fn name(&self) -> Result<Option<String>, AgentError> {
        let bytes = atomic::read(&self.config.target_name)?;
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_string());
        Ok(text.filter(|name| !name.is_empty() && name.len() <= MOST_NAME))
    }
}

/// By what to tell that a file is the same; none where there is no file.
fn stamp(path: &Path) -> Result<Option<(u64, u64, i64, i64)>, StoreError> {
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    match fs::metadata(path) {
        Ok(m) if m.is_file() => Ok(Some((
            m.ino(),
            m.len(),
            nanoseconds(m.mtime(), m.mtime_nsec()),
            nanoseconds(m.ctime(), m.ctime_nsec()),
        ))),
        Ok(_) => Err(StoreError::io("read", path, std::io::Error::other("not a file"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path, e)),
    }
}
