//! The target `job`: see `tests/src/fuzz/job.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::job::run(bytes));
