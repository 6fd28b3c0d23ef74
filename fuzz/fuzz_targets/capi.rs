//! Any calls of the machine for C in any order: see `capi/tests/any_calls`, and `fuzz/run`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../capi/tests/any_calls/mod.rs"]
mod any_calls;

fuzz_target!(|input: &[u8]| {
    any_calls::run(input);
});
