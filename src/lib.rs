//! An Apache Kafka producer as a pure state machine.
//!
//! [`Producer`] opens no socket, reads no clock, starts no thread and draws no randomness: it is told what happens and says
//! what to do. Most programs use it through an adapter that gives it those: `milena::threads` (feature `threads`) or
//! `milena::tokio` (feature `tokio`). The README below shows both, and the loop of a host that drives the machine itself;
//! [`Producer`] states the contract.
//!
//! Where things are:
//!
//! | to | look at |
//! | --- | --- |
//! | configure | [`Config`], with Java's option names |
//! | send | [`Record`], [`Producer::send`], [`Sent`], [`SendError`] |
//! | drive | [`Input`], [`Output`], [`Producer::transmit`] |
//! | learn what became of it | [`Event`], [`Delivery`], [`DeliveryError`] |
//! | know whether all is well, and why not | [`Producer::status`], [`Why`] |
//! | test against a cluster | `milena::cluster` (feature `cluster`) |
//! | test without one | `milena::Mock` (feature `cluster`) |
//! | test against time and faults | `milena::simulation` (feature `simulation`) |
//!
//! Import by name: `use milena::*` would hide the crates `tokio` and `smol` behind this crate's modules of those names.
//!
//! [docs/configuration.md]: crate::docs::configuration
//! [docs/differences.md]: crate::docs::differences
//! [docs/writing-an-adapter.md]: crate::docs::writing_an_adapter
//! [docs/design.md]: crate::docs::design
//! [docs/tool.md]: crate::docs::tool
//! [docs/hosts.md]: crate::docs::hosts
//! [docs/errors.md]: crate::docs::errors
//! [docs/from-rdkafka.md]: crate::docs::from_rdkafka
//! [docs/from-java.md]: crate::docs::from_java
//! [docs/services.md]: crate::docs::services
//! [docs/observing.md]: crate::docs::observing
//! [docs/security.md]: crate::docs::security
//! [docs/performance.md]: crate::docs::performance
//! [docs/embedded.md]: crate::docs::embedded
//! [CONTRIBUTING.md]: crate::docs::contributing
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
mod adapter;
mod batch;
#[cfg(feature = "cluster")]
pub mod cluster;
mod completions;
mod config;
mod connection;
#[cfg(doc)]
pub mod docs;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
mod ids;
mod job;
mod memory;
pub mod metrics;
mod planted;
mod producer;
mod record;
pub mod serializer;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sort;
mod status;
mod time;
mod why;
mod wire;

/// The rustls that [`Setup::tls`] takes a configuration of.
#[cfg(all(feature = "tls", any(feature = "threads", feature = "tokio", feature = "smol")))]
pub use ::rustls;
#[cfg(all(feature = "cluster", any(feature = "threads", feature = "tokio", feature = "smol")))]
pub use adapter::Mock;
#[cfg(feature = "smol")]
pub use adapter::smol;
#[cfg(any(feature = "tokio", feature = "smol"))]
pub use adapter::task;
#[cfg(feature = "threads")]
pub use adapter::threads;
#[cfg(feature = "tokio")]
pub use adapter::tokio;
#[cfg(any(feature = "threads", feature = "tokio", feature = "smol"))]
pub use adapter::{
    Delivered, Error, Interceptor, LockHolds, Observation, Observer, SendAllError, Setup, SetupError, TokenProvider,
    TrySendError, Typed, TypedError, TypedRecord,
};
pub use batch::{Compression, Compressor};
pub use completions::Completions;
pub use config::{
    Acks, Config, ConfigBuilder, ConfigError, LeftOut, Part, PropertiesError, Property, Sasl, ScramHash, Secret,
    SecurityProtocol, StoreType, TlsOptions, UnsecuredToken, parse_properties,
};
pub use connection::sasl::oauth::Token;
pub use connection::sasl::{SaslExchange, SaslMechanism};
pub use error::{ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode, FatalError, SendError};
pub use event::{Cause, Delivery, Event, Input, Output, PartitionInfo, Sent, TopicListing, Written};
pub use ids::{BatchId, ConnId, FlushId, RecordId, TopicIndex};
pub use job::{Job, JobDone};
pub use metrics::{Metrics, Stats};
#[cfg(feature = "std")]
pub use producer::Progress;
pub use producer::{
    Choice, KeyPartitioner, Partitioner, Producer, RoundRobinPartitioner, TopicView, Transmit, partition_for_key,
};
pub use record::{Header, Record, RecordBuf};
pub use status::{ServerState, ServerStatus, Status};
pub use time::{Instant, UnixTime};
pub use why::{ServerName, Why};
