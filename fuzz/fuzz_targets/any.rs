//! Bytes for the reader whose name this program has.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshctl::fuzz::run(env!("CARGO_BIN_NAME"), bytes));
