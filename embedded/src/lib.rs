//! An Apache Kafka producer for async firmware: [`milena`]'s state machine on embassy, or on any executor whose network stack
//! gives streams of `embedded-io-async`. No standard library, no threads, no unsafe code; an allocator is needed.
//!
//! [`new`] gives a [`Producer`], the handle with which tasks send, and a [`Runner`], which a task of its own runs. A [`Connector`]
//! is one socket of the stack: the runner gets as many as the device has to spare.
//!
//! ```no_run
//! # #[cfg(all(feature = "embassy-net", feature = "embassy-time"))]
//! # mod firmware {
//! use embassy_net::Stack;
//! use milena_embedded::milena::{Config, ConfigError, Record};
//! use milena_embedded::{EmbassySocket, EmbassyTime, Error, Producer, Runner};
//!
//! fn configure(seed: [u8; 32]) -> Result<(Producer, Runner), ConfigError> {
//!     let config = Config::builder("192.168.1.20:9092")
//!         .buffer_memory(8 << 10)
//!         .batch_size(512)
//!         .batch_size_max(512)
//!         .max_request_size(2048)
//!         .build()?;
//!     Ok(milena_embedded::new(EmbassyTime, None, config, seed)) // the time of day is not known
//! }
//!
//! // #[embassy_executor::task]
//! async fn kafka(runner: Runner, stack: Stack<'static>, buffers: &'static mut [([u8; 1024], [u8; 1024]); 2]) {
//!     let sockets = buffers.each_mut().map(|(receive, transmit)| EmbassySocket::new(stack, receive, transmit));
//!     runner.run(sockets).await; // until the producer is closed
//! }
//!
//! // #[embassy_executor::task]
//! async fn readings(producer: Producer) -> Result<(), Error> {
//!     let delivered = producer.send(&Record::new("readings").value("21.5")).await?;
//!     assert!(delivered.offset.is_some());
//!     Ok(())
//! }
//! # }
//! ```
//!
//! # How many sockets
//!
//! A producer wants a connection for each broker that leads partitions it sends to, and one for metadata. With fewer sockets they
//! take turns: who waits for a socket gets that of the connection which was not used for the longest time, as soon as nothing is on
//! its way there; a connection that is busy keeps its socket for a second at least. One socket is enough, and slow with several
//! brokers.
//!
//! # Memory
//!
//! What a record takes counts against `buffer.memory`; see `docs/embedded.md` of [`milena`] for what else the machine needs. Each
//! [`Connector`] adds 512 B of the runner's future, and what its own buffers take.
//!
//! # TLS
//!
//! None is built in: a TLS stack for devices keeps a record of 16 KiB for each connection, and which certificates to trust, with which
//! verifier and which clock, is the firmware's choice. Whoever has one implements [`Connector`] with a socket that is its session over
//! the stack's (say [`Connector::ENCRYPTED`]). Where `security.protocol` and the connector disagree, no connection is made.
//!
//! # Executors
//!
//! Handles and runner are for one executor ([`Rc`](alloc::rc::Rc), no locks). From another executor or an interrupt hand records over by
//! a channel.

#![no_std]

extern crate alloc;

mod clock;
mod completion;
mod error;
mod line;
mod net;
mod producer;
mod runner;
mod shared;
mod slot;

pub use clock::Clock;
#[cfg(feature = "embassy-time")]
pub use clock::EmbassyTime;
pub use completion::{Ack, Delivered};
pub use error::{Error, Trouble};
/// The machine, with configuration and records.
pub use milena;
#[cfg(feature = "embassy-net")]
pub use net::embassy::{EmbassySocket, EmbassyWriter};
#[cfg(feature = "nal")]
pub use net::nal::{Half, NalConnector, NalSocket, NoDns};
pub use net::{Connector, Failure, Socket};
pub use producer::Producer;
pub use runner::Runner;

use milena::{Config, UnixTime};

/// A producer, and the runner that does its work. It connects when a topic is first asked for.
///
/// `unix_time` is the time of day, if it is known, for the stamps of records that bring none ([`Producer::set_time`] tells it later);
/// without it they are stamped −1, "no timestamp". `seed` has to be fresh for each start: it drives all choices (partitions, jitter,
/// nonces of SCRAM).
///
/// Compression is done by the runner, in its task. Options that call for a part of the application's own
/// ([`Config::parts`]) are for [`with_machine`].
pub fn new<C: Clock>(
    clock: C,
    unix_time: Option<UnixTime>,
    config: Config,
    seed: [u8; 32],
) -> (Producer<C>, Runner<C>) {
    let machine = milena::Producer::new(clock.now(), unix_time, config, seed);
    with_machine(clock, machine)
}

/// As [`new`], for a machine that was made by hand: with a partitioner or a SASL mechanism of the application's. Its times have to
/// be those of this clock.
pub fn with_machine<C: Clock>(clock: C, machine: milena::Producer) -> (Producer<C>, Runner<C>) {
    let shared = alloc::rc::Rc::new(shared::Shared::new(clock, machine));
    (Producer::new(alloc::rc::Rc::clone(&shared)), Runner::new(shared))
}
