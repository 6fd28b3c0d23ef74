//! A Kafka producer as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod config;
mod error;
mod event;
mod record;
mod time;

#[cfg(feature = "cluster")]
pub mod cluster;

pub use config::{Acks, Config};
pub use error::{ConnectionError, DeliveryError, DeliveryErrorKind, ErrorCode, FatalError, SendError};
pub use event::{
    BatchId, Cause, ConnId, Delivery, Event, FlushId, Input, Output, RecordId, Sent, TopicIndex, Written,
};
pub use record::{Header, Record};
pub use time::{Instant, UnixTime};
