#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::nlm_args(data));
