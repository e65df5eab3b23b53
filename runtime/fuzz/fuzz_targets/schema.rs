//! The target `schema`: see `tests/src/fuzz/schema.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| jidoka_tests::fuzz::schema::run(bytes));
