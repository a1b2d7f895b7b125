//! What a Target brings to the device.

pub mod apps;
pub mod file;
pub mod ostree;
mod pace;
