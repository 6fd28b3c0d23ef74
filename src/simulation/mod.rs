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
//!
//! Where a law of your own is broken, [`Simulation::violation`] says so with the seed and with what happened last, [`shrink_with`] looks for
//! a smaller world in which it is, and [`Simulation::watch`] tells all that happens:
//!
//! ```
//! use milena::simulation::{Plan, Simulation, Violation, shrink_with};
//!
//! fn my_service(plan: Plan) -> Result<(), Violation> {
//!     let world = Simulation::new(plan);
//!     let is_so = true; // what came of it, beside `world.log(..)`
//!     if is_so { Ok(()) } else { Err(world.violation("LOST: row 7 is done, and not in the log")) }
//! }
//!
//! for seed in 0..20 {
//!     if let Err(violation) = my_service(Plan::draw(seed)) {
//!         panic!("{:?}", shrink_with(violation, 300, my_service));
//!     }
//! }
//! ```
//!
//! # Faults
//!
//! What is delivered with `acks=all` stays in the log of the topic that has the name, unless that is `recreate`d.
//!
//! | name | what happens |
//! | --- | --- |
//! | `delay` | bytes are on their way for some time |
//! | `cut_reads` | reads end at any byte |
//! | `short_writes` | writes take any number of bytes, and sockets block |
//! | `reset` | a connection breaks, at both ends |
//! | `half_open` | it breaks at the client's end; the broker still works off what is on its way |
//! | `blackhole` | a connection swallows everything |
//! | `refuse_connect` | a connection can't be made |
//! | `crash` | a node is gone, and comes back |
//! | `lose_tail` | it comes back without what was not replicated |
//! | `swap` | two nodes come back, each at the other's address |
//! | `pause` | a node does nothing for a while |
//! | `move_leader` | a partition has another leader |
//! | `untold` | the old one does not know that yet |
//! | `stale_metadata` | metadata are those before the last move |
//! | `refuse_code` | a batch is answered with an error, and not stored |
//! | `apply_then` | a batch is answered with an error, and stored |
//! | `leave_out` | a batch is stored, and left out of the answer |
//! | `twice` | a batch is answered twice |
//! | `hang` | a connection is not answered any more |
//! | `hang_up` | a request is answered by the end of the connection |
//! | `hang_up_after` | the same, and done |
//! | `garbage` | an answer can't be read, or is for another request |
//! | `control_error` | metadata and producer ids are answered with errors |
//! | `throttle` | a server asks for a pause |
//! | `long_pauses` | leaders ask for longer ones |
//! | `recreate` | a topic is deleted, and created again |
//! | `vanish` | it is not there for a while |
//! | `grow` | a topic has more partitions |
//! | `stall` | the host does nothing for up to a second |
//! | `clock_step` | the time of day jumps |
//! | `odd_versions` | ApiVersions is answered as some fakes do |
//! | `job_dropped` | a compression job is dropped |
//! | `job_failed` | it comes back undone |
//! | `job_late` | it takes very long |
//! | `moods` | a server answers in a way of its own for a while: old metadata, none, other errors |

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
pub use shrink::{shrink, shrink_with};
pub use steps::{Attempt, Step};
pub use violation::Violation;
