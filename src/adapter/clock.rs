//! The host's clocks, and its randomness: the only place where they are read.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Instant, UnixTime};

/// A monotonic clock that starts with the adapter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(now())
    }

    pub(super) fn now(&self) -> Instant {
        let since = now().saturating_duration_since(self.0);
        Instant::from_nanos(since.as_secs().saturating_mul(1_000_000_000) + u64::from(since.subsec_nanos()))
    }

    /// A point of this clock as one of the standard library's.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(super) fn to_std(self, at: Instant) -> std::time::Instant {
        self.0 + Duration::from_nanos(at.as_nanos())
    }
}

/// The present: the checker's where one decides who goes on.
#[cfg(milena_shuttle)]
pub(super) use super::checks::primitives::present as now;

/// The present.
#[cfg(not(milena_shuttle))]
#[expect(clippy::disallowed_methods, reason = "the adapter is where the clock is read")]
pub(super) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "the adapter is where the clock is read")]
pub(super) fn time_of_day() -> UnixTime {
    if cfg!(milena_shuttle) {
        return UnixTime::from_millis(1_700_000_000_000); // the same in each execution
    }
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A seed from the operating system.
///
/// # Errors
/// If it has no randomness to give.
pub(super) fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    if cfg!(milena_shuttle) {
        return Ok(seed); // the same in each execution
    }
    getrandom::fill(&mut seed).map_err(|error| std::io::Error::other(std::format!("no randomness: {error}")))?;
    Ok(seed)
}
