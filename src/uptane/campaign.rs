//! Campaigns: updates that a person has to agree to before the Director assigns them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Campaign {
    /// What an answer names.
    pub id: String,
    /// For a person.
    pub name: String,
    /// Bytes; 0 where the server does not say.
    pub size: i64,
    /// Needs no answer.
    pub auto_accept: bool,
    /// For a person.
    pub description: String,
    /// As the server writes it, in a unit of its own.
    pub estimated_installation_duration: String,
    /// Likewise.
    pub estimated_preparation_duration: String,
}

/// An answer of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Wanted.
    Accept,
    /// Not wanted.
    Decline,
    /// Not now.
    Postpone,
}

impl Consent {
    /// The type of the event.
    pub fn event(self) -> &'static str {
        match self {
            Consent::Accept => "campaign_accepted",
            Consent::Decline => "campaign_declined",
            Consent::Postpone => "campaign_postponed",
        }
    }
}

#[derive(Deserialize)]
struct List {
    campaigns: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    id: String,
    name: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    auto_accept: bool,
    #[serde(default)]
    metadata: Vec<Note>,
}

#[derive(Deserialize)]
struct Note {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// The campaigns of a server's answer. An entry that cannot be read is passed over: it must not hide the others.
pub fn campaigns(body: &[u8]) -> Result<Vec<Campaign>, String> {
    let list: List = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(list
        .campaigns
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok().and_then(read))
        .collect())
}

fn read(wire: Wire) -> Option<Campaign> {
    let mut seen = BTreeSet::new();
    // Of two descriptions nobody knows which is meant.
    let once = wire.metadata.iter().all(|note| seen.insert(note.kind.as_str()));
    if !once || wire.id.is_empty() || wire.name.is_empty() {
        return None;
    }
    let note = |kind: &str| {
        let found = wire.metadata.iter().find(|note| note.kind == kind);
        found.map(|note| note.value.clone()).unwrap_or_default()
    };
    Some(Campaign {
        size: wire.size,
        auto_accept: wire.auto_accept,
        description: note("DESCRIPTION"),
        estimated_installation_duration: note("ESTIMATED_INSTALLATION_DURATION"),
        estimated_preparation_duration: note("ESTIMATED_PREPARATION_DURATION"),
        id: wire.id,
        name: wire.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_servers_write_them() {
        let body = br#"{"deviceId":"d","campaigns":[
            {"id":"1","name":"first","size":62470,"autoAccept":true,"metadata":[
                {"type":"DESCRIPTION","value":"text"},{"type":"ESTIMATED_INSTALLATION_DURATION","value":"10"},
                {"type":"ESTIMATED_PREPARATION_DURATION","value":"20"},{"type":"OTHER","value":"x"}]},
            {"id":"2","name":"second"},
            {"name":"no id"}, {"id":"4"}, 7, {"id":"","name":"empty"},
            {"id":"5","name":"two","metadata":[{"type":"DESCRIPTION","value":"a"},{"type":"DESCRIPTION","value":"b"}]}
        ]}"#;
        let list = campaigns(body).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].name.as_str(), list[0].size, list[0].auto_accept), ("first", 62470, true));
        assert_eq!(list[0].description, "text");
        assert_eq!(list[0].estimated_preparation_duration, "20");
        assert_eq!((list[1].id.as_str(), list[1].size, list[1].auto_accept), ("2", 0, false));
        assert!(campaigns(b"[]").is_err() && campaigns(b"").is_err());
    }
}
