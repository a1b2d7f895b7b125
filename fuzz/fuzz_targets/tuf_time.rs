#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rust_ota_fuzz::tuf::time(data));
