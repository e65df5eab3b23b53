//! The target `paths`: see `tests/src/fuzz/paths.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::paths::run(bytes));
