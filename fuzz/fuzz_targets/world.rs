//! See `src/fuzzing/world.rs`, and `fuzz/run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| milena::fuzzing::world(input));
