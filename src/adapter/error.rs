//! What a call of an adapter may fail with.

use alloc::string::String;
use core::time::Duration;

use thiserror::Error as ThisError;

use crate::error::{DeliveryError, SendError};

/// Why a record was not enqueued or not delivered, or another call failed.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The record was not taken; nothing was kept of it.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The topic's partitions were not known within `max.block.ms`. The record was not taken.
    #[error("topic {topic} is not known after {after:?}{}", Because(.why))]
    TopicUnknown {
        /// The topic.
        topic: String,
        /// How long was waited.
        after: Duration,
        /// What the cluster last said of it, or why the cluster could not be asked.
        why: Option<String>,
    },
    /// No server answered within `max.block.ms`.
    #[error("no metadata after {after:?}{}", Because(.why))]
    NoMetadata {
        /// How long was waited.
        after: Duration,
        /// Why the cluster could not be asked.
        why: Option<String>,
    },
    /// `buffer.memory` was used up for all of `max.block.ms`. The record was not taken.
    #[error("buffer.memory is still used up after {after:?}{}", Because(.why))]
    BufferFull {
        /// How long was waited.
        after: Duration,
        /// Why records don't leave, if that is known.
        why: Option<String>,
    },
    /// The record was taken, and failed.
    #[error(transparent)]
    NotDelivered(#[from] DeliveryError),
    /// A call that waits was made from a callback, where it would wait for itself.
    #[error("a call that waits was made from a callback, which would wait for itself")]
    InCallback,
    /// The time given was over first.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
    /// The driver was dropped, or its thread has ended.
    #[error("the producer is not running any more")]
    Gone,
}

struct Because<'a>(&'a Option<String>);

impl core::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}
