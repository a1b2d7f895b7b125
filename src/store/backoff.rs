//! How long a daemon leaves its server alone after trouble, over a restart of the daemon or the device.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, atomic};

const FILE: &str = "backoff.json";

/// Failures in a row, and until when nothing is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Failed turns in a row.
    pub failures: u32,
    /// Unix seconds.
    pub until: i64,
}

impl Backoff {
    /// None is stored where the last turn went well. A file that cannot be read is no reason to wait.
    pub fn load(folder: &Path) -> Option<Backoff> {
        let bytes = atomic::read(&folder.join(FILE)).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Seconds left, at most `most`: a clock that was ahead must not silence a device.
    pub fn left(&self, now: i64, most: u64) -> u64 {
        u64::try_from(self.until.saturating_sub(now)).unwrap_or(0).min(most)
    }

    /// Remembers it.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        atomic::write_json(&folder.join(FILE), self)
    }

    /// The trouble is over.
    pub fn clear(folder: &Path) -> Result<(), StoreError> {
        atomic::remove(&folder.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_bounded() {
        let backoff = Backoff { failures: 2, until: 1000 };
        assert_eq!(
            (backoff.left(400, 9999), backoff.left(1000, 9999), backoff.left(2000, 9999)),
            (600, 0, 0)
        );
        assert_eq!(backoff.left(i64::MIN, 60), 60);
    }
}
