//! The target `loader`: see `tests/src/fuzz/loader.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::loader::run(bytes));
