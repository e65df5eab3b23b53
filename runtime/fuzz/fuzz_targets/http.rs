//! The target `http`: see `tests/src/fuzz/http.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::http::run(bytes));
