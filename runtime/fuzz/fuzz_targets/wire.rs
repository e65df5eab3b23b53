//! The target `wire`: see `tests/src/fuzz/wire.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::wire::run(bytes));
