#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agentpm_fuzz::json_patch(bytes));
