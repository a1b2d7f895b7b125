//! A Target as this device reads it from the targets role.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::store::TargetRecord;

/// A named, versioned OSTree commit that a device can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Key in the targets role.
    pub name: String,
    /// `custom.version`, -1 where it is no integer.
    pub version: i64,
    /// 64 lower-case hex digits.
    pub commit: String,
    /// `custom.hardwareIds`.
    pub hardware_ids: Vec<String>,
    /// `custom.tags`.
    pub tags: Vec<String>,
    /// `custom.docker_compose_apps`: name to URI.
    pub apps: BTreeMap<String, String>,
    /// `custom.delta-stats`: SHA-256 and length of the statistics of static deltas to the commit.
    pub delta_stats: Option<(String, u64)>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Custom {
    version: Option<VersionText>,
    #[serde(rename = "hardwareIds")]
    hardware_ids: Vec<String>,
    tags: Vec<String>,
    #[serde(rename = "targetFormat")]
    target_format: String,
    docker_compose_apps: Option<BTreeMap<String, App>>,
    #[serde(rename = "delta-stats")]
    delta_stats: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct App {
    uri: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VersionText {
    Number(i64),
    Text(String),
}

impl Target {
    /// Reads an entry of the targets role; none where it is not an OSTree Target of a shape that we know.
    pub fn from_entry(name: &str, sha256: Option<&str>, custom: Option<&RawValue>) -> Option<Target> {
        let custom: Custom = serde_json::from_str(custom?.get()).ok()?;
        if custom.target_format != "OSTREE" {
            return None;
        }
        Some(Target {
            name: name.to_string(),
            version: custom.version.as_ref().map_or(-1, VersionText::number),
            commit: sha256.filter(|s| is_commit(s))?.to_string(),
            hardware_ids: custom.hardware_ids,
            tags: custom.tags,
            apps: custom
                .docker_compose_apps
                .unwrap_or_default()
                .into_iter()
                .map(|(n, a)| (n, a.uri))
                .collect(),
            delta_stats: custom.delta_stats.as_ref().and_then(delta_stats),
        })
    }

    /// Whether a device with this hardware id and these tags may see it. Exactly one hardware id is what servers
    /// write; a Target for several boards would be ambiguous about which one was tested.
    pub fn fits(&self, hardware_id: &str, tags: &[String]) -> bool {
        let hardware = self.hardware_ids.len() == 1 && self.hardware_ids[0] == hardware_id;
        hardware && (tags.is_empty() || self.tags.iter().any(|t| tags.contains(t)))
    }

    /// A Target that the metadata does not name any more, as it is remembered.
    pub fn from_record(record: &TargetRecord) -> Target {
        Target {
            name: record.name.clone(),
            version: record.version,
            commit: record.commit.clone(),
            hardware_ids: Vec::new(),
            tags: Vec::new(),
            apps: record.apps.clone(),
            delta_stats: None,
        }
    }

    /// What is remembered of it.
    pub fn record(&self) -> TargetRecord {
        TargetRecord {
            name: self.name.clone(),
            version: self.version,
            commit: self.commit.clone(),
            apps: self.apps.clone(),
        }
    }
}

/// Statistics only help to choose: of another shape they are none, and the Target stays what it is.
fn delta_stats(value: &serde_json::Value) -> Option<(String, u64)> {
    let sha256 = value["sha256"].as_str().filter(|s| is_commit(s))?;
    Some((sha256.to_string(), value["size"].as_u64()?))
}

impl VersionText {
    /// As servers mean it: decimal, or hexadecimal with `0x`, or octal with a leading zero.
    fn number(&self) -> i64 {
        let text = match self {
            VersionText::Number(n) => return *n,
            VersionText::Text(text) => text.trim(),
        };
        let parsed = if let Some(hex) = text.strip_prefix("0x") {
            i64::from_str_radix(hex, 16)
        } else if text.len() > 1 && text.starts_with('0') {
            i64::from_str_radix(text, 8)
        } else {
            text.parse()
        };
        parsed.unwrap_or(-1)
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(custom: &str) -> Option<Target> {
        let raw: Box<RawValue> = serde_json::from_str(custom).unwrap();
        Target::from_entry("board-7", Some(&"a".repeat(64)), Some(&raw))
    }

    #[test]
    fn versions_as_servers_write_them() {
        let version =
            |v: &str| entry(&format!(r#"{{"targetFormat":"OSTREE","version":{v}}}"#)).unwrap().version;
        let cases =
            [("\"93\"", 93), ("93", 93), ("\"0x1f\"", 31), ("\"010\"", 8), ("\"0\"", 0), ("\"1.2\"", -1)];
        for (text, number) in cases {
            assert_eq!(version(text), number, "{text}");
        }
    }

    #[test]
    fn only_ostree_targets_with_a_whole_commit_count() {
        assert!(entry(r#"{"targetFormat":"BINARY"}"#).is_none());
        assert!(entry(r#"{"hardwareIds":[]}"#).is_none());
        let raw: Box<RawValue> = serde_json::from_str(r#"{"targetFormat":"OSTREE"}"#).unwrap();
        for sha in [None, Some("abc"), Some("A".repeat(64).as_str()), Some("../../../../etc/passwd")] {
            assert!(Target::from_entry("x", sha, Some(&raw)).is_none(), "{sha:?}");
        }
    }

    #[test]
    fn apps_are_read() {
        let target =
            entry(r#"{"targetFormat":"OSTREE","docker_compose_apps":{"web":{"uri":"hub/f/web@sha256:1"}}}"#)
                .unwrap();
        assert_eq!(target.apps["web"], "hub/f/web@sha256:1");
    }
}
