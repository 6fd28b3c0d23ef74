//! How batches leave, and what answers make of them.

pub(crate) mod answer;
pub(crate) mod drain;
pub(crate) mod idempotence;
pub(crate) mod transmit;
