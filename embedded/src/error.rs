//! What a call may fail with.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use milena::{ConnectionError, DeliveryError, ErrorCode, SendError};

/// Why a record was not taken or not delivered, or another call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record was not taken; nothing was kept of it.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The topic's partitions were not known within `max.block.ms`. The record was not taken.
    #[error("the topic is not known after {after:?}{}{}", Because(.code), Because(.trouble))]
    NoMetadata {
        /// How long was waited.
        after: Duration,
        /// What the cluster last said of the topic.
        code: Option<ErrorCode>,
        /// What last happened to a connection, if no server was of use since.
        trouble: Option<Trouble>,
    },
    /// `buffer.memory` was used up for all of `max.block.ms`. The record was not taken.
    #[error("buffer.memory is still used up after {after:?}{}", Because(.trouble))]
    BufferFull {
        /// How long was waited.
        after: Duration,
        /// What last happened to a connection, if no server was of use since.
        trouble: Option<Trouble>,
    },
    /// The record was taken, and failed.
    #[error(transparent)]
    NotDelivered(#[from] DeliveryError),
    /// The producer was closed before all records were delivered: what was left when the time of a `close` was over has failed.
    #[error("closed after {after:?}; records that were not delivered: {failed}")]
    Unfinished {
        /// How long this call waited.
        after: Duration,
        /// How many records failed since it was made.
        failed: u64,
    },
    /// The runner was dropped, or is not polled any more, though the producer was not closed.
    #[error("the producer's runner does not run")]
    Gone,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trouble {
    /// Where it went.
    pub host: String,
    /// Where it went.
    pub port: u16,
    /// What happened.
    pub error: ConnectionError,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.host, self.port, self.error)
    }
}

struct Because<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Because<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}
