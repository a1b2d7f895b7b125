//! The clock of this machine, and the time stamps of metadata.

use std::time::{SystemTime, UNIX_EPOCH};

use rust_ota::tuf::Time;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time stamp of a moment: UTC, whole seconds, the only form that every client reads.
pub fn format(seconds: u64) -> String {
    Time(i64::try_from(seconds).unwrap_or(i64::MAX)).to_string()
}

/// The moment of a time stamp.
pub fn parse(text: &str) -> Option<u64> {
    u64::try_from(Time::parse(text)?.0).ok()
}
