//! A device's certificate, which a provisioning service wrote.

use rust_ota::gateway::identity::{common_name_of, not_after};

/// Any bytes as a certificate: its end is a moment that can be written, and its name is a part of the bytes.
pub fn certificate(data: &[u8]) {
    if let Some(end) = not_after(data) {
        assert!((1950..=9999).contains(&end.to_string()[..4].parse::<u32>().unwrap()), "{end}");
    }
    if let Some(name) = common_name_of(data) {
        assert!(data.windows(name.len().max(1)).any(|part| part == name.as_bytes()) || name.is_empty());
    }
}
