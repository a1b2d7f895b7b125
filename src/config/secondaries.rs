//! The file that `uptane.secondary_config_file` names: ECUs behind this one.
//!
//! `{"virtual": [{"ecu_serial": ..., "ecu_hardware_id": ..., ...}]}`. Other kinds stand beside `virtual` under their own
//! keys; a device that has some must not be half updated in silence, so they are refused.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::KeyType;
use super::director::KEY_TYPES;
use crate::store::atomic;

/// An ECU that is a file on this device: what is assigned to it is put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualSecondary {
    /// `ecu_serial`; the id of its key where it is not set.
    pub serial: Option<String>,
    /// `ecu_hardware_id`.
    pub hardware_id: String,
    /// `ecu_private_key`, in `full_client_dir`: signs what it reports.
    pub private_key: PathBuf,
    /// `ecu_public_key`, in `full_client_dir`: the other half, for who wants to read it.
    pub public_key: Option<PathBuf>,
    /// `key_type`: of a key that is made.
    pub key_type: KeyType,
    /// `firmware_path`: the file.
    pub firmware: PathBuf,
    /// `target_name_path`: the name of the Target that it is.
    pub target_name: PathBuf,
}

/// Reads the file; the error says which of its keys is wrong.
pub fn secondaries(path: &Path) -> Result<Vec<VirtualSecondary>, String> {
    let bytes = atomic::read(path).map_err(|e| e.to_string())?.ok_or("it is not there")?;
    let named: Value = serde_json::from_slice(&bytes).map_err(|e| format!("not JSON: {e}"))?;
    let kinds = named.as_object().ok_or("not an object")?;
    let other = kinds.iter().find(|(kind, list)| *kind != "virtual" && !is_empty(list));
    if let Some((kind, _)) = other {
        return Err(format!(
            "{kind:?} names {kind} Secondaries, which are not supported; \"virtual\" ones are"
        ));
    }
    let list = kinds.get("virtual").map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice));
    let list = list.ok_or("\"virtual\" is not an array")?;
    let read = |(index, one)| read(one).map_err(|reason| format!("virtual[{index}]: {reason}"));
    let all = list.iter().enumerate().map(read).collect::<Result<Vec<_>, String>>()?;
    distinct(&all)?;
    Ok(all)
}

/// As it stands in the file. Members of other meaning, such as `metadata_path`, are not needed here.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    partial_verifying: bool,
    #[serde(default)]
    ecu_serial: String,
    ecu_hardware_id: String,
    full_client_dir: PathBuf,
    ecu_private_key: PathBuf,
    ecu_public_key: Option<PathBuf>,
    key_type: Option<String>,
    firmware_path: PathBuf,
    target_name_path: PathBuf,
}

fn read(one: &Value) -> Result<VirtualSecondary, String> {
    let written = Written::deserialize(one).map_err(|e| e.to_string())?;
    if written.partial_verifying {
        return Err("partial_verifying is not supported: both repositories are verified in full".into());
    }
    for (key, path) in [
        ("full_client_dir", &written.full_client_dir),
        ("firmware_path", &written.firmware_path),
        ("target_name_path", &written.target_name_path),
    ] {
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(format!("{key}: {:?} is no absolute path", path.display()));
        }
    }
    if written.ecu_private_key.file_name().is_none() {
        return Err("ecu_private_key is empty".into());
    }
    let folder = &written.full_client_dir;
    Ok(VirtualSecondary {
        serial: Some(written.ecu_serial).filter(|serial| !serial.is_empty()),
        hardware_id: written.ecu_hardware_id,
        private_key: folder.join(written.ecu_private_key),
        public_key: written.ecu_public_key.filter(|p| p.file_name().is_some()).map(|p| folder.join(p)),
        key_type: key_type(written.key_type.as_deref())?,
        firmware: written.firmware_path,
        target_name: written.target_name_path,
    })
}

fn key_type(written: Option<&str>) -> Result<KeyType, String> {
    let Some(written) = written else { return Ok(KeyType::Ed25519) };
    let known = KEY_TYPES.iter().find(|(name, _)| *name == written);
    known
        .map(|(_, kind)| *kind)
        .ok_or_else(|| format!("key_type: {written:?} is none of ED25519, RSA2048, RSA3072, RSA4096"))
}

/// Two ECUs in one file would undo each other's updates for ever.
fn distinct(all: &[VirtualSecondary]) -> Result<(), String> {
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().skip(index + 1) {
            for (key, same) in [
                ("firmware_path", one.firmware == other.firmware),
                ("target_name_path", one.target_name == other.target_name),
                ("ecu_private_key", one.private_key == other.private_key),
                ("ecu_serial", one.serial.is_some() && one.serial == other.serial),
            ] {
                if same {
                    return Err(format!("two virtual Secondaries have the same {key}"));
                }
            }
        }
        if one.firmware == one.target_name {
            return Err("firmware_path and target_name_path are the same file".into());
        }
    }
    Ok(())
}

/// `"docker-compose": []`, or `"IP": {"secondaries_wait_port": 9040, "secondaries": []}`.
fn is_empty(list: &Value) -> bool {
    let list = list.get("secondaries").unwrap_or(list);
    list.as_array().is_some_and(Vec::is_empty) || list.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn from(name: &str, value: &Value) -> Result<Vec<VirtualSecondary>, String> {
        let path = std::env::temp_dir().join(format!("rust-ota-secondaries-{name}-{}", std::process::id()));
        std::fs::write(&path, value.to_string()).unwrap();
        let read = secondaries(&path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    fn one() -> Value {
        json!({
            "partial_verifying": false,
            "ecu_hardware_id": "sensor",
            "ecu_serial": "",
            "full_client_dir": "/var/sota/sensor",
            "ecu_private_key": "sec.private",
            "ecu_public_key": "sec.public",
            "firmware_path": "/var/sota/sensor/firmware.bin",
            "target_name_path": "/var/sota/sensor/target_name",
            "metadata_path": "/var/sota/sensor/metadata",
        })
    }

    #[test]
    fn as_the_other_client_reads_it() {
        let read = from("good", &json!({"virtual": [one()], "IP": {"secondaries": []}, "x": []})).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].serial.as_deref(), read[0].hardware_id.as_str()), (None, "sensor"));
        assert_eq!(read[0].private_key, Path::new("/var/sota/sensor/sec.private"));
        assert_eq!(read[0].key_type, KeyType::Ed25519);
        assert_eq!(from("none", &json!({})).unwrap(), []);
        assert_eq!(secondaries(Path::new("/nonexistent")).unwrap_err(), "it is not there");
    }

    #[test]
    fn what_cannot_be_driven_is_refused_by_its_key() {
        let ip = json!({"secondaries_wait_port": 9040, "secondaries": [{"addr": "10.0.3.2:9050"}]});
        let with = |key: &str, value: Value| {
            let mut secondary = one();
            secondary[key] = value;
            json!({"virtual": [secondary]})
        };
        let without = |key: &str| {
            let mut secondary = one();
            secondary.as_object_mut().unwrap().remove(key);
            json!({"virtual": [secondary]})
        };
        let mut second = one();
        second["firmware_path"] = json!("/var/sota/other");
        for (value, key) in [
            (json!({"IP": ip, "virtual": [one()]}), "\"IP\""),
            (json!({"docker-compose": [one()]}), "\"docker-compose\""),
            (json!({"virtual": 7}), "\"virtual\""),
            (json!([]), "not an object"),
            (with("partial_verifying", json!(true)), "virtual[0]: partial_verifying"),
            (with("firmware_path", json!("firmware")), "virtual[0]: firmware_path"),
            (with("key_type", json!("ECDSA")), "virtual[0]: key_type"),
            (with("ecu_private_key", json!("")), "virtual[0]: ecu_private_key"),
            (without("ecu_hardware_id"), "ecu_hardware_id"),
            (without("target_name_path"), "target_name_path"),
            (json!({"virtual": [one(), one()]}), "the same firmware_path"),
            (json!({"virtual": [one(), second]}), "the same target_name_path"),
        ] {
            let error = from("bad", &value).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
