//! A Target as this device reads it from the targets role.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::delta::{self, SignedDelta};
use crate::store::TargetRecord;

/// A named, versioned OSTree commit that a device can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Key in the targets role.
    pub name: String,
    /// `custom.version`, -1 where it does not begin with a number.
    pub version: i64,
    /// 64 lower-case hex digits.
    pub commit: String,
    /// `custom.hardwareIds`.
    pub hardware_ids: Vec<String>,
    /// `custom.tags`.
    pub tags: Vec<String>,
    /// `custom.docker_compose_apps`: name to URI.
    pub apps: BTreeMap<String, String>,
    /// What it was built from: variables of `current-target`, in their order there.
    pub sources: Vec<(&'static str, String)>,
    /// `custom.delta-stats`: SHA-256 and length of the statistics of static deltas to the commit.
    pub delta_stats: Option<(String, u64)>,
    /// `custom.static-deltas`: the deltas to the commit, by the commit that each starts from.
    pub deltas: BTreeMap<String, SignedDelta>,
}

/// Each member by itself, as aktualizr-lite reads it: what is of another shape is missing, and stops nothing else.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Custom {
    version: Option<Value>,
    #[serde(rename = "hardwareIds")]
    hardware_ids: Option<Value>,
    tags: Option<Value>,
    #[serde(rename = "targetFormat")]
    target_format: Option<Value>,
    docker_compose_apps: Option<Value>,
    #[serde(rename = "lmp-manifest-sha")]
    lmp_manifest: Option<Value>,
    #[serde(rename = "meta-subscriber-overrides-sha")]
    overrides: Option<Value>,
    #[serde(rename = "containers-sha")]
    containers: Option<Value>,
    #[serde(rename = "delta-stats")]
    delta_stats: Option<Value>,
    #[serde(rename = "static-deltas")]
    static_deltas: Option<Value>,
}

impl Target {
    /// Reads an entry of the targets role; why this client cannot use it, otherwise.
    pub fn from_entry(name: &str, sha256: Option<&str>, custom: Option<&RawValue>) -> Result<Target, String> {
        let custom = custom.ok_or("it has no custom")?;
        let custom: Custom = serde_json::from_str(custom.get()).map_err(|e| format!("its custom: {e}"))?;
        let format = text(custom.target_format.as_ref());
        if format != "OSTREE" {
            return Err(format!("its targetFormat is {format:?}, and OSTREE is what this device takes"));
        }
        let commit = sha256.filter(|s| is_commit(s)).ok_or("its sha256 is no OSTree commit")?;
        Ok(Target {
            name: name.to_string(),
            version: number(&text(custom.version.as_ref())).unwrap_or(-1),
            commit: commit.to_string(),
            hardware_ids: list(custom.hardware_ids.as_ref()),
            tags: list(custom.tags.as_ref()),
            apps: custom.docker_compose_apps.as_ref().map(|apps| read_apps(name, apps)).unwrap_or_default(),
            sources: sources(&custom),
            delta_stats: custom.delta_stats.as_ref().and_then(delta_stats),
            deltas: delta::read(custom.static_deltas),
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
            sources: Vec::new(),
            delta_stats: None,
            deltas: BTreeMap::new(),
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

fn sources(custom: &Custom) -> Vec<(&'static str, String)> {
    let all = [
        ("LMP_MANIFEST_SHA", &custom.lmp_manifest),
        ("META_SUBSCRIBER_OVERRIDES_SHA", &custom.overrides),
        ("CONTAINERS_SHA", &custom.containers),
    ];
    all.into_iter()
        .map(|(name, value)| (name, text(value.as_ref())))
        .filter(|(_, sha)| !sha.is_empty())
        .collect()
}

/// Statistics only help to choose: of another shape they are none, and the Target stays what it is.
fn delta_stats(value: &Value) -> Option<(String, u64)> {
    let sha256 = value["sha256"].as_str().filter(|s| is_commit(s))?;
    Some((sha256.to_string(), value["size"].as_u64()?))
}

/// A list of texts; anything else has none, as in aktualizr-lite.
fn list(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| text(Some(item))).collect()
}

/// A scalar as text: numbers are written with and without quotes.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => String::new(),
    }
}

/// The apps that have a URI.
fn read_apps(target: &str, apps: &Value) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for (name, app) in apps.as_object().into_iter().flatten() {
        match app["uri"].as_str() {
            Some(uri) => drop(read.insert(name.clone(), uri.to_string())),
            None => log::warn!("{target:?}: the app {name:?} has no uri and is left out"),
        }
    }
    read
}

/// As C's `strtol` with base 0: the leading digits count ("2.0.0" is 2), hexadecimal after `0x`, octal after `0`.
fn number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let hex = hex.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (radix, digits) = match hex {
        Some(rest) => (16, rest),
        None => (if digits.starts_with('0') { 8 } else { 10 }, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let number = i64::from_str_radix(digits.get(..end)?, radix).ok()?;
    Some(if negative { -number } else { number })
}

fn is_commit(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(custom: &str) -> Result<Target, String> {
        let raw: Box<RawValue> = serde_json::from_str(custom).unwrap();
        Target::from_entry("board-7", Some(&"a".repeat(64)), Some(&raw))
    }

    #[test]
    fn versions_as_servers_write_them() {
        let version =
            |v: &str| entry(&format!(r#"{{"targetFormat":"OSTREE","version":{v}}}"#)).unwrap().version;
        let cases = [
            ("\"93\"", 93),
            ("93", 93),
            ("93.5", 93),
            ("\"0x1f\"", 31),
            ("\"010\"", 8),
            ("\"09\"", 0),
            ("\"0\"", 0),
            ("\"1.2\"", 1),
            ("\"2.0.0\"", 2),
            ("\" 7-rc1\"", 7),
            ("\"-3\"", -3),
            ("\"v2\"", -1),
            ("\"99999999999999999999\"", -1),
            ("\"\"", -1),
            ("null", -1),
            ("[1]", -1),
            ("{}", -1),
        ];
        for (text, number) in cases {
            assert_eq!(version(text), number, "{text}");
        }
    }

    #[test]
    fn what_it_was_built_from_in_the_order_of_current_target() {
        let sources =
            |members: &str| entry(&format!(r#"{{"targetFormat":"OSTREE"{members}}}"#)).unwrap().sources;
        assert_eq!(sources(""), []);
        assert_eq!(
            sources(r#","containers-sha":"","lmp-manifest-sha":["a"],"meta-subscriber-overrides-sha":null"#),
            []
        );
        let all = r#","containers-sha":"c","lmp-manifest-sha":"a","meta-subscriber-overrides-sha":"b""#;
        assert_eq!(
            sources(all),
            [
                ("LMP_MANIFEST_SHA", "a".to_string()),
                ("META_SUBSCRIBER_OVERRIDES_SHA", "b".to_string()),
                ("CONTAINERS_SHA", "c".to_string())
            ]
        );
    }

    #[test]
    fn only_ostree_targets_with_a_whole_commit_count() {
        assert!(entry(r#"{"targetFormat":"BINARY"}"#).is_err());
        assert!(entry(r#"{"hardwareIds":[]}"#).is_err());
        let raw: Box<RawValue> = serde_json::from_str(r#"{"targetFormat":"OSTREE"}"#).unwrap();
        for sha in [None, Some("abc"), Some("A".repeat(64).as_str()), Some("../../../../etc/passwd")] {
            assert!(Target::from_entry("x", sha, Some(&raw)).is_err(), "{sha:?}");
        }
    }

    #[test]
    fn what_is_of_another_shape_is_missing_and_no_more() {
        let read = |more: &str| entry(&format!(r#"{{"targetFormat":"OSTREE",{more}}}"#)).unwrap();
        for more in [r#""hardwareIds":"b""#, r#""hardwareIds":null"#, r#""hardwareIds":{"a":1}"#] {
            assert!(read(more).hardware_ids.is_empty(), "{more}");
        }
        assert_eq!(read(r#""hardwareIds":["a","b"]"#).hardware_ids, ["a", "b"]);
        assert_eq!(read(r#""tags":["a",5,null]"#).tags, ["a", "5", ""]);
        assert!(read(r#""tags":"main""#).tags.is_empty());
        let apps = read(r#""docker_compose_apps":{"a":{"uri":"u"},"b":{},"c":null,"d":{"uri":7}}"#).apps;
        assert_eq!(apps.into_iter().collect::<Vec<_>>(), [("a".to_string(), "u".to_string())]);
        for more in [r#""docker_compose_apps":[]"#, r#""docker_compose_apps":"x""#, r#""other":1.5"#] {
            assert!(read(more).apps.is_empty(), "{more}");
        }
        assert!(entry("7").is_err() && entry("null").is_err() && entry(r#"{"targetFormat":null}"#).is_err());
    }

    #[test]
    fn apps_are_read() {
        let target =
            entry(r#"{"targetFormat":"OSTREE","docker_compose_apps":{"web":{"uri":"hub/f/web@sha256:1"}}}"#)
                .unwrap();
        assert_eq!(target.apps["web"], "hub/f/web@sha256:1");
    }
}
