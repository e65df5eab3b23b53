//! The target `journal`: see `tests/src/fuzz/journal.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::journal::run(bytes));
