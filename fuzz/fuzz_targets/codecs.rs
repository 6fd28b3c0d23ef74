//! See `src/fuzzing/codecs.rs`, and `fuzz/run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| milena::fuzzing::codecs(input));
