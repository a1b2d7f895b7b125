//! Statistics of static deltas: how large the deltas to a commit are, by a file that the signed Target names with its
//! hash. So the choice between a delta and objects needs no superblock, and no sizes in the commit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::delta::{Place, Step};
use crate::payload::ostree::error::OstreeError;
use crate::tuf::sha256_hex;

/// Longer ones are not read, whatever was signed.
const LONGEST: u64 = 1 << 20;

/// The file, as the Target's `custom` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsFile {
    /// Of its bytes, in lower-case hex; also its name.
    pub sha256: String,
    /// Its length.
    pub size: u64,
}

/// What one delta costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct DeltaSize {
    /// Bytes to fetch.
    pub size: u64,
    /// Bytes on the disk.
    #[serde(rename = "u_size")]
    pub unpacked: u64,
}

/// What the statistics say of a delta: nothing where they do not name it.
pub(super) fn of(
    place: &Place<'_>,
    file: &StatsFile,
    step: Step<'_>,
) -> Result<Option<DeltaSize>, OstreeError> {
    let path = format!("delta-stats/{}", file.sha256);
    let broken = |reason: String| OstreeError::Fetch { url: place.source.name(&path), reason };
    if file.size > LONGEST {
        return Err(broken(format!("at most {LONGEST} bytes expected, {} are signed", file.size)));
    }
    let mut bytes = Vec::new();
    let take = &mut |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    let came = place.stream(&path, file.size, take).map_err(|refusal| broken(refusal.to_string()))?;
    came.ok_or_else(|| broken("the server has no such file".into()))?;
    read(&bytes, file, step).map_err(broken)
}

fn read(bytes: &[u8], file: &StatsFile, step: Step<'_>) -> Result<Option<DeltaSize>, String> {
    if bytes.len() as u64 != file.size {
        return Err(format!("{} bytes expected as the Target says, got {}", file.size, bytes.len()));
    }
    let got = sha256_hex(bytes);
    if got != file.sha256 {
        return Err(format!("sha256 {} expected as the Target says, got {got}", file.sha256));
    }
    let stats: BTreeMap<String, BTreeMap<String, DeltaSize>> =
        serde_json::from_slice(bytes).map_err(|e| format!("no statistics of static deltas: {e}"))?;
    Ok(stats.get(step.to).and_then(|by_from| by_from.get(step.from)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_read() {
        let step = Step { from: "a", to: "b" };
        let good = br#"{"b":{"a":{"size":5,"u_size":9,"more":1}},"c":{}}"#;
        let file = |bytes: &[u8]| StatsFile { sha256: sha256_hex(bytes), size: bytes.len() as u64 };
        assert_eq!(read(good, &file(good), step), Ok(Some(DeltaSize { size: 5, unpacked: 9 })));
        for (from, to) in [("b", "a"), ("a", "c"), ("x", "b")] {
            assert_eq!(read(good, &file(good), Step { from, to }), Ok(None), "{from} {to}");
        }
        let other = StatsFile { sha256: sha256_hex(b""), ..file(good) };
        assert!(read(good, &other, step).unwrap_err().starts_with("sha256 "));
        let longer = StatsFile { size: 7, ..file(good) };
        assert!(read(good, &longer, step).unwrap_err().starts_with("7 bytes expected"));
        for bad in [
            &b""[..],
            b"[]",
            b"{\"b\":[]}",
            b"{\"b\":{\"a\":{\"size\":-1,\"u_size\":1}}}",
            b"{\"b\":{\"a\":{\"size\":1}}}",
        ] {
            assert!(read(bad, &file(bad), step).unwrap_err().starts_with("no statistics"), "{bad:?}");
        }
    }
}
