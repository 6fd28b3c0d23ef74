//! The state machine, in rooms. [`machine`] has the type with all that it owns, [`calls`] what its users call, [`steps`] what
//! happens by itself: time that passes, one piece of work after the other.
//!
//! | room | what happens there |
//! | --- | --- |
//! | `records` | a record comes in, and into a batch of its partition; compression |
//! | `delivery` | batches leave in requests; what an answer makes of them; sequence numbers |
//! | `control` | who the brokers are, who leads what, under which producer id |
//! | `sessions` | connections are made, negotiated, authenticated and lost |
//!
//! The files beside them know nothing of the rooms: timers, lists, the outbox, backoff, random numbers, the phases of
//! a producer's life. [`health`] looks at all of it, and changes nothing. What joins the parts of a room, or two rooms, is an `impl Producer` block, a file for each way that things
//! flow.

mod alarms;
mod backoff;
mod calls;
mod control;
mod delivery;
mod health;
mod lifecycle;
mod list;
mod machine;
mod measures;
mod notices;
mod outbox;
mod random;
mod records;
mod sessions;
mod steps;
mod timers;
#[cfg(feature = "simulation")]
mod witness;

#[cfg(feature = "std")]
pub use delivery::transmit::Progress;
pub use delivery::transmit::Transmit;
pub use machine::Producer;
pub use records::partitioner::{
    Choice, KeyPartitioner, Partitioner, RoundRobinPartitioner, TopicView, partition_for_key,
};
#[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
pub(crate) use sessions::mechanism::Over;
#[cfg(feature = "simulation")]
pub(crate) use witness::Decided;
