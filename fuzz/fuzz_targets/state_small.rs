#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rust_ota_fuzz::state::small(data));

#[cfg(not(fuzzing))]
fn main() {}
