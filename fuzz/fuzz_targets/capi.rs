//! Any calls of the machine for C in any order: `RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none capi -- -max_total_time=60 -max_len=8192`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../capi/tests/any_calls/mod.rs"]
mod any_calls;

fuzz_target!(|input: &[u8]| {
    any_calls::run(input);
});
