//! Time.

use milena::Instant;

/// A monotonic clock, and timers.
#[expect(async_fn_in_trait, reason = "for executors of one thread: nothing has to be Send")]
pub trait Clock {
    /// Now, since any start.
    fn now(&self) -> Instant;

    /// Waits until then; not at all if that is past. Several waits may go on at the same time.
    async fn wait_until(&self, at: Instant);
}

/// The clock of embassy-time, whose driver the firmware chooses.
#[cfg(feature = "embassy-time")]
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyTime;

#[cfg(feature = "embassy-time")]
impl Clock for EmbassyTime {
    fn now(&self) -> Instant {
        Instant::from_nanos(embassy_time::Instant::now().as_micros().saturating_mul(1000))
    }

    async fn wait_until(&self, at: Instant) {
        // A tick may be longer than a microsecond: never too early, or the runner would look again and again.
        let micros = at.as_nanos().div_ceil(1000);
        match embassy_time::Instant::try_from_micros(micros) {
            Some(at) => embassy_time::Timer::at(at.saturating_add(embassy_time::Duration::from_ticks(1))).await,
            None => core::future::pending().await, // that is after the end of time
        }
    }
}
