//! Whole runs, and what they led to.

use alloc::collections::BTreeMap;
use core::fmt;
use core::time::Duration;

use super::plan::Plan;
use super::servers::CODES;
use super::steps::Step;
use super::violation::Violation;
use super::world::World;
use crate::error::ErrorCode;

/// A whole run, with the application of the plan.
///
/// # Errors
///
/// A law was broken.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    World::new(plan.clone(), false).run_whole()
}

/// As [`run`]; every moment is told to `watch` in words: the time in milliseconds, who, and what. What the producer says of its own is
/// in the logs (crate `log`).
///
/// # Errors
///
/// A law was broken.
pub fn run_watched(plan: &Plan, watch: impl FnMut(&str) + 'static) -> Result<Report, Violation> {
    let mut world = World::new(plan.clone(), false);
    world.watch(watch);
    world.run_whole()
}

/// As [`run`]; each step that concerns the order of batches is told to `observe`, when the producer makes it or learns of it. For checks
/// against a model. Batches that are compressed are left out: set `compression.type` to `none`.
///
/// # Errors
///
/// A law was broken. A panic of `observe` counts as one.
pub fn run_observed(plan: &Plan, observe: impl FnMut(&Step) + 'static) -> Result<Report, Violation> {
    let mut world = World::new(plan.clone(), false);
    world.observe(observe);
    world.run_whole()
}

/// As [`run`]; what happens, and when, is decided by `choices`, as far as they go: two bytes for each. For fuzzers.
///
/// # Errors
///
/// A law was broken.
pub fn run_with_choices(plan: &Plan, choices: &[u8]) -> Result<Report, Violation> {
    let mut world = World::new(plan.clone(), false);
    world.choose(choices);
    world.run_whole()
}

/// What a run led to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Records that the producer took.
    pub accepted: u64,
    /// Records that were delivered.
    pub delivered: u64,
    /// Records that failed.
    pub failed: u64,
    /// How much time went by in the world.
    pub time: Duration,
    /// Error codes that were answered, and how often.
    pub errors: BTreeMap<i16, u64>,
    /// What of [`REACHED`] happened, and how often.
    pub reached: BTreeMap<&'static str, u64>,
    /// A number over everything that happened: the same for the same seed, on every machine.
    pub fingerprint: u64,
}

/// What many runs led to, all together.
///
/// Its `Display` is a table of what happened, and of the error codes that servers answered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// How many runs.
    pub worlds: u64,
    /// Records that producers took.
    pub accepted: u64,
    /// Records that were delivered.
    pub delivered: u64,
    /// Records that failed.
    pub failed: u64,
    /// How much time went by in all worlds.
    pub time: Duration,
    /// Error codes that were answered, and how often.
    pub errors: BTreeMap<i16, u64>,
    /// What of [`REACHED`] happened, and in how many of the worlds.
    pub reached: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// One run more.
    pub fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.accepted += report.accepted;
        self.delivered += report.delivered;
        self.failed += report.failed;
        self.time += report.time;
        for (code, times) in &report.errors {
            *self.errors.entry(*code).or_default() += times;
        }
        for what in report.reached.keys() {
            *self.reached.entry(what).or_default() += 1;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, delivered, failed, .. } = self;
        writeln!(f, "{accepted} records: {delivered} delivered, {failed} failed")?;
        writeln!(f, "what happened, and in how many of the worlds:")?;
        for what in REACHED {
            writeln!(f, "  {what:<60} {}", self.reached.get(what).unwrap_or(&0))?;
        }
        writeln!(f, "error codes that servers answered, and how often:")?;
        for code in CODES {
            let name = ErrorCode::new(*code);
            writeln!(f, "  {code:>4} {:<55} {}", name.name(), self.errors.get(code).unwrap_or(&0))?;
        }
        Ok(())
    }
}

/// What may happen, and does on some seed of a large set.
pub const REACHED: &[&str] = &[
    "a record was delivered",
    "a record failed",
    "a record failed, possibly written",
    "a batch was retried",
    "a batch was split",
    "a batch was compressed",
    "a compression job went out",
    "a value was written as it was handed over",
    "a compression job was dropped",
    "an epoch was bumped",
    "a send found the buffer full",
    "an answer came too late",
    "a success without an offset",
    "several batches of a partition were in flight",
    "a flush ended",
    "a connection failed",
    "a broker throttled",
    "all was well after an act",
    "the producer was idle for long",
    "all nodes were away",
    "leaders moved in idleness",
    "brokers forgot the producer",
    "a leader refused at first",
    "a topic had no leaders yet",
    "a user was let in",
    "a session was renewed",
    "a topic could not be had",
    "a server lagged",
    "a server named no brokers",
    "a server left topics out",
    "a server refused topics",
    "a server did not know topics",
    "a server had no metadata",
    "a server throttled for minutes",
    "a server knew no leaders",
    "a server left partitions out",
    "a leader asked for a long pause",
    "two nodes had each other's address",
    "a topic was not there for a while",
    "the host was suspended",
    "a server had no producer ids",
    "a server said nothing of producer ids",
    "a server hung up when asked for a producer id",
];
