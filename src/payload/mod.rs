//! What a Target brings to the device.

pub mod ostree;
