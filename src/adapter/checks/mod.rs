//! Many orders in which threads may go on: the adapters as they are, with a checker's primitives (the crate shuttle) in place of the
//! system's, before a cluster in memory. A wake-up that is lost is a thread that waits for ever, which the checker says, or time that
//! goes by (see [`primitives`]), which these look at. `tests/interleavings/run` builds and runs them.

mod handles;
mod parts;
pub(super) mod primitives;
mod scenes;
mod schedules;
#[cfg(feature = "threads")]
pub(super) mod sockets;
mod world;
