//! `custom` of a Target, as each of the two repositories writes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::fault::{Fault, Repository};
use crate::decide::{SignedDelta, read_deltas};
use crate::tuf::TargetInfo;

/// What the Director writes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DirectorCustom {
    /// By serial.
    #[serde(default)]
    pub ecu_identifiers: BTreeMap<String, EcuCustom>,
    #[serde(flatten)]
    pub both: Both,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EcuCustom {
    pub hardware_id: String,
}

/// What the Image repository writes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageCustom {
    #[serde(default)]
    hardware_ids: Vec<String>,
    /// Some repositories copy the Director's form.
    #[serde(default)]
    ecu_identifiers: BTreeMap<String, EcuCustom>,
    #[serde(flatten)]
    pub both: Both,
}

/// What either may write.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Both {
    target_format: Option<String>,
    /// A number, or one in quotes.
    version: Option<serde_json::Value>,
    uri: Option<String>,
    #[serde(rename = "static-deltas")]
    static_deltas: Option<serde_json::Value>,
    pub release_counter: Option<u64>,
}

/// `custom` of the Director's targets role.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleCustom {
    pub correlation_id: Option<String>,
}

/// What servers write where a Target has no URL of its own.
const PLACEHOLDER: &str = "https://example.com/";

impl ImageCustom {
    /// The hardware ids that the Target is made for, as far as this ECU can tell.
    pub(super) fn hardware_ids(&self, serial: &str) -> Vec<String> {
        let own = self.ecu_identifiers.get(serial).map(|ecu| ecu.hardware_id.clone());
        self.hardware_ids.iter().cloned().chain(own).collect()
    }
}

impl Both {
    /// Where the content is, if not in the Image repository.
    pub(super) fn uri(&self) -> Option<String> {
        self.uri.clone().filter(|uri| !uri.is_empty() && uri != PLACEHOLDER)
    }

    /// The static deltas to it, by the commit that each starts from.
    pub(super) fn deltas(&self) -> BTreeMap<String, SignedDelta> {
        read_deltas(self.static_deltas.clone())
    }

    /// The version as a number; -1 where there is none.
    pub(super) fn version(&self) -> i64 {
        let version = self.version.as_ref();
        let number = version.and_then(|v| v.as_i64().or_else(|| v.as_str()?.parse().ok()));
        number.unwrap_or(-1)
    }

    /// Whether it is an OSTree commit: one of both says so, or none says anything and there is nothing to download.
    pub(super) fn is_ostree(&self, other: &Both, length: u64) -> bool {
        match self.target_format.as_deref().or(other.target_format.as_deref()) {
            Some(format) => format.eq_ignore_ascii_case("OSTREE"),
            None => length == 0,
        }
    }
}

pub(super) fn read<T: DeserializeOwned + Default>(
    repository: Repository,
    target: &str,
    info: &TargetInfo,
) -> Result<T, Fault> {
    let custom = read_raw(info.custom.as_deref());
    custom.map_err(|detail| Fault::Custom { repository, target: target.to_owned(), detail })
}

pub(super) fn read_raw<T: DeserializeOwned + Default>(raw: Option<&RawValue>) -> Result<T, String> {
    let read = |raw: &RawValue| serde_json::from_str::<Option<T>>(raw.get()).map_err(|e| e.to_string());
    Ok(raw.map(read).transpose()?.flatten().unwrap_or_default())
}
