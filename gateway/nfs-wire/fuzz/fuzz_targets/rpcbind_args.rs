#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::rpcbind_args(data));
