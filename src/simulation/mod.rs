//! The producer in a virtual world: a network, a cluster, a driver as lazy as the contract allows, and faults, all from one seed. The
//! same seed gives the same run, and hours pass in milliseconds.
//!
//! After every step, and at the end, laws are checked: what was acknowledged is in the log, once, where it was said to be, and as
//! it was sent; partitions keep their order; what was said not to be written is not there; memory comes back; nothing is forgotten,
//! asked for too often, or waits for ever. A law that is broken is a [`Violation`], with the seed.
//!
//! Whole runs have an application of their own, which sends records as the seed says: [`run`], [`shrink`], and
//! `cargo milena simulate`. Your own code takes its place in a [`Simulation`]:
//!
//! ```
//! use std::time::Duration;
//! use milena::simulation::{Plan, Simulation, Violation};
//! use milena::{Completions, Event, Record};
//!
//! /// Each number is sent until it is stored, whatever happens.
//! fn all_are_stored(seed: u64) -> Result<(), Violation> {
//!     let mut world = Simulation::new(Plan::draw(seed).set("acks", "all"));
//!     let (mut open, mut left) = (Completions::new(), (0..50_u32).collect::<Vec<_>>());
//!     while !left.is_empty() || !open.is_empty() {
//!         while let Some(number) = left.last() {
//!             // No metadata yet, or no memory: later.
//!             let Ok(sent) = world.send(&Record::new("numbers").value(&number.to_be_bytes())) else { break };
//!             open.insert(sent.id, *number);
//!             left.pop();
//!         }
//!         for event in world.run(Duration::from_millis(20))? {
//!             if let Event::Delivered(delivery) = event {
//!                 left.extend(open.take(&delivery).filter(|(_, outcome)| outcome.is_err()).map(|(number, _)| number));
//!             }
//!         }
//!     }
//!     let report = world.finish()?; // the laws, for the whole of it
//!     assert!(report.delivered >= 50);
//!     Ok(())
//! }
//! # for seed in 0..20 { all_are_stored(seed).unwrap(); }
//! ```

#![allow(clippy::wildcard_enum_match_arm, reason = "the world looks at what its laws are about")]

mod books;
mod dice;
mod faults;
mod hand;
mod plan;
mod runs;
mod servers;
mod shrink;
mod steps;
mod violation;
mod world;

pub use hand::Simulation;
pub use plan::Plan;
pub use runs::{REACHED, Report, Totals, run, run_observed, run_watched, run_with_choices};
pub use servers::CODES;
pub use shrink::shrink;
pub use steps::{Attempt, Step};
pub use violation::Violation;
