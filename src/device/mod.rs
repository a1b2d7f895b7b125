//! Who this device is: its ECU's serial, hardware id and key, and the device id of its certificate.
//!
//! All of it is made once and kept: a serial or a key that changes is another device to a server.

mod keys;
pub mod old;
pub mod zip;

use std::fmt;
use std::path::PathBuf;

pub use keys::EcuKey;
pub(crate) use keys::pem;

use zeroize::Zeroizing;

use crate::config::Settings;
use crate::gateway::identity::common_name;
use crate::store::{EcuRecord, StoreError};

/// Longest serial that servers take.
const MOST_SERIAL: usize = 64;
/// Longest hardware id that servers take.
const MOST_HARDWARE_ID: usize = 200;

/// The Primary as it signs and speaks.
#[derive(Debug)]
pub struct Identity {
    /// Serial and hardware id, and what the server knows of them.
    pub record: EcuRecord,
    /// Signs reports.
    pub key: EcuKey,
}

/// Gives the identity of this device; makes what there is not yet. Only for who holds the lock.
pub fn identity(settings: &Settings) -> Result<Identity, DeviceError> {
    let key = keys::load_or_make(settings)?;
    if let Some(record) = EcuRecord::load(&settings.state)? {
        return Ok(Identity { record, key });
    }
    let serial = settings.ecu_serial.clone().unwrap_or_else(|| key.id());
    check_names(
        ("provision.primary_ecu_serial", &serial),
        ("provision.primary_ecu_hardware_id", &settings.hardware_id),
    )?;
    let mut record = EcuRecord::new(serial, settings.hardware_id.clone());
    record.save(&settings.state)?;
    Ok(Identity { record, key })
}

/// The serial that the servers know, if one was given out.
pub fn stored_serial(settings: &Settings) -> Option<String> {
    EcuRecord::load(&settings.state).ok().flatten().map(|record| record.serial)
}

/// The key of this device and the text of its file, if there is one. Makes none.
pub fn stored_key(settings: &Settings) -> Result<Option<(EcuKey, Zeroizing<String>)>, DeviceError> {
    keys::load(settings)
}

/// The id of this device: as configured, or the common name of its certificate.
pub fn device_id(settings: &Settings) -> Option<String> {
    let named = || settings.identity().and_then(|(certificate, _)| common_name(&certificate));
    settings.director.device_id.clone().or_else(named)
}

/// Whether servers take a serial and a hardware id, each with the setting that it comes from.
pub fn check_names(
    serial: (&'static str, &str),
    hardware_id: (&'static str, &str),
) -> Result<(), DeviceError> {
    check(serial.0, serial.1, MOST_SERIAL)?;
    check(hardware_id.0, hardware_id.1, MOST_HARDWARE_ID)
}

fn check(key: &'static str, value: &str, most: usize) -> Result<(), DeviceError> {
    match value.chars().count() {
        0 => Err(DeviceError::Name { key, reason: "it is empty".to_string() }),
        count if count > most => {
            Err(DeviceError::Name { key, reason: format!("it has {count} characters, {most} are allowed") })
        }
        _ if value.chars().any(char::is_control) => {
            Err(DeviceError::Name { key, reason: "it has a control character".to_string() })
        }
        _ => Ok(()),
    }
}

/// Why this device cannot say who it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeviceError {
    /// State could not be read or written.
    Store(StoreError),
    /// A serial or hardware id cannot be used.
    Name {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key cannot be used.
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An RSA key is wanted and none was brought.
    NoRsaKey,
    /// The kernel gave no random bytes.
    Random,
    /// The key did not sign.
    Sign,
}

impl From<StoreError> for DeviceError {
    fn from(e: StoreError) -> DeviceError {
        DeviceError::Store(e)
    }
}

impl std::error::Error for DeviceError {}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Store(e) => e.fmt(f),
            DeviceError::Name { key, reason } => write!(f, "{key} cannot be used: {reason}; correct it"),
            DeviceError::Key { path, reason } => write!(
                f,
                "{}: not a key that can sign reports: {reason}; put back the key that was registered",
                path.display()
            ),
            DeviceError::NoRsaKey => f.write_str(
                "uptane.key_type asks for an RSA key, which is not made on the device: name one with import.uptane_private_key_path (PEM), or set key_type = ED25519",
            ),
            DeviceError::Random => f.write_str("the kernel gave no random bytes for the ECU key; try again"),
            DeviceError::Sign => f.write_str("the ECU key did not sign the report"),
        }
    }
}

#[cfg(test)]
mod tests;
