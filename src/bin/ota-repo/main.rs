//! The device's binary.
fn main() {}
