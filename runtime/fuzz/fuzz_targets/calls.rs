//! The target `calls`: see `tests/src/fuzz/calls.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::calls::run(bytes));
