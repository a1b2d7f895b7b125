//! What a Target brings to the device.

pub mod file;
pub mod ostree;
