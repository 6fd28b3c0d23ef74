//! The rules of order and idempotence (docs/design.md), in small worlds, with everything that can happen there.
//!
//! A client that may do whatever `rules` allow, a broker that is as Kafka's are and at its worst, a network that loses and delays. The
//! number of faults is bounded, and all else that is possible is tried, in every order. `cargo test` looks whether what was promised holds
//! in each state; and for each rule, what breaks without it. `cargo run` prints how many states there are.

#[path = "../../rules.rs"]
pub mod rules;
pub mod world;
pub mod worlds;
