//! Who this device is to its servers, and what they know of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const VERSION: u32 = 1;

/// The content of `ecu.json`. What was said to a server once is kept, whatever the configuration says later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuRecord {
    version: u32,
    /// Serial of the Primary.
    pub serial: String,
    /// Its hardware id.
    pub hardware_id: String,
    /// The device id that a certificate was asked for, where the device chose it: a cut must not make it another device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Digest of a registration that was sent and may have arrived: a cut must not turn our own ECU into a stranger's.
    #[serde(default)]
    pub sent: Option<String>,
    /// Digest of the registration that the server took.
    #[serde(default)]
    pub registered: Option<String>,
    /// Serial and hardware id of each ECU that the client that was here before had registered, with the keys that are here now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_ecus: Vec<(String, String)>,
}

impl EcuRecord {
    /// A device that no server knows.
    pub fn new(serial: String, hardware_id: String) -> EcuRecord {
        EcuRecord { serial, hardware_id, ..EcuRecord::default() }
    }

    /// Reads `FOLDER/ecu.json`.
    pub fn load(folder: &Path) -> Result<Option<EcuRecord>, StoreError> {
        let path = folder.join("ecu.json");
        let Some(record) = atomic::read_json::<EcuRecord>(&path)? else { return Ok(None) };
        if record.version > VERSION {
            return Err(StoreError::Newer { path, version: record.version });
        }
        Ok(Some(record))
    }

    /// Writes `FOLDER/ecu.json`.
    pub fn save(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.version = VERSION;
        atomic::write_json(&folder.join("ecu.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_of_the_file_reads() {
        let folder = std::env::temp_dir().join(format!("rust-ota-ecu-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(EcuRecord::load(&folder).unwrap(), None);
        std::fs::copy("tests/fixtures/store/ecu.v1.json", folder.join("ecu.json")).unwrap();
        let mut record = EcuRecord::load(&folder).unwrap().unwrap();
        assert_eq!((record.serial.as_str(), record.hardware_id.as_str()), ("serial-1", "board"));
        assert!(record.registered.is_some() && record.sent.is_none());
        record.save(&folder).unwrap();
        assert_eq!(EcuRecord::load(&folder).unwrap(), Some(record));
        std::fs::write(folder.join("ecu.json"), "{\"version\": 2, \"serial\": \"\", \"hardware_id\": \"\"}")
            .unwrap();
        assert!(matches!(EcuRecord::load(&folder), Err(StoreError::Newer { version: 2, .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
