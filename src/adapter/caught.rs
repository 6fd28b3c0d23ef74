//! Code of the application's that may panic, which is its own affair.

use core::panic::AssertUnwindSafe;

/// What the application's code returns, if it does not panic. What it panics with is not dropped, for that may panic again.
pub(super) fn caught<T>(who: &str, call: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(payload) => {
            core::mem::forget(payload);
            log::error!("{who} panicked");
            None
        }
    }
}
