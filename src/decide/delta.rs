//! Static deltas as the signed metadata name them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A static delta to a Target's commit: `custom.static-deltas`, by the commit that it starts from.
///
/// Only what is named here is interpreted: the files of a delta carry no signature of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDelta {
    /// The file that describes the delta.
    pub superblock: SignedFile,
    /// Its parts, in order.
    pub parts: Vec<SignedPart>,
}

/// A file that is signed by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFile {
    /// In lower-case hex.
    pub sha256: String,
    /// Length.
    pub size: u64,
}

/// A part of a static delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPart {
    /// In lower-case hex.
    pub sha256: String,
    /// Length.
    pub size: u64,
    /// Bytes of the objects that are in it.
    #[serde(rename = "u_size")]
    pub unpacked: u64,
}

/// Deltas only help: one of another shape is none, and the Target stays what it is.
pub(crate) fn read(value: Option<serde_json::Value>) -> BTreeMap<String, SignedDelta> {
    let Some(serde_json::Value::Object(members)) = value else { return BTreeMap::new() };
    let read = |(from, delta)| Some((from, serde_json::from_value(delta).ok()?));
    members.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_delta_of_another_shape_is_none() {
        let part = json!({"sha256": "b", "size": 2, "u_size": 3});
        let good = json!({"superblock": {"sha256": "a", "size": 1}, "parts": [part]});
        let value = json!({"x": good, "y": {"parts": []}, "z": 1, "w": {"superblock": {"sha256": "a", "size": -1}, "parts": []}});
        let read_back = read(Some(value));
        assert_eq!(read_back.keys().collect::<Vec<_>>(), ["x"]);
        assert_eq!(serde_json::to_value(&read_back["x"]).unwrap(), good);
        for none in [None, Some(json!([])), Some(json!(null)), Some(json!("x"))] {
            assert!(read(none).is_empty());
        }
    }
}
