//! A Kafka producer as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(any(feature = "threads", feature = "tokio"))]
mod adapter;
mod batch;
mod config;
mod connection;
mod error;
mod event;
#[cfg(test)]
mod golden;
mod producer;
mod record;
mod time;
mod wire;

#[cfg(feature = "cluster")]
pub mod cluster;

#[cfg(feature = "threads")]
pub use adapter::threads;
#[cfg(feature = "tokio")]
pub use adapter::tokio;
#[cfg(any(feature = "threads", feature = "tokio"))]
pub use adapter::{Delivered, Error};
pub use config::{Acks, Config, ConfigBuilder, ConfigError, parse_properties};
pub use error::{ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode, FatalError, SendError};
pub use event::{BatchId, Cause, ConnId, Delivery, Event, FlushId, Input, Output, RecordId, Sent, TopicIndex, Written};
pub use producer::{PartitionInfo, Partitioner, Producer, Stats, TopicView, Transmit, partition_for_key};
pub use record::{Header, Record};
pub use time::{Instant, UnixTime};
