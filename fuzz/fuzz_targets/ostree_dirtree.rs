#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rust_ota_fuzz::ostree::dirtree(data));

#[cfg(not(fuzzing))]
fn main() {}
