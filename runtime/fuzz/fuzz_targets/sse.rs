//! The target `sse`: see `tests/src/fuzz/sse.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::sse::run(bytes));
