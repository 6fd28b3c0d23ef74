//! What a call of an adapter may fail with.

use alloc::string::String;
use alloc::vec::Vec;
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
    /// The producer was closed before all records were delivered: what was left at the timeout of a `close` has failed.
    #[error("closed after {after:?}; records that were not delivered: {failed}")]
    Unfinished {
        /// How long this call waited.
        after: Duration,
        /// How many records failed since it was made.
        failed: u64,
    },
    /// What does the producer's input and output is gone, though nobody closed the producer.
    #[error("the producer is not running any more: {why}")]
    Gone {
        /// What became of it.
        why: String,
    },
    /// The future of a send was dropped before the record was taken. Only interceptors hear of this.
    #[error("the send was given up before the record was taken")]
    Cancelled,
}

impl Error {
    /// Whether the same call may succeed later: what failed is time, memory, or a cluster that could not be reached. Records of
    /// [`NotDelivered`](Self::NotDelivered) may be in the log already: see [`possibly_written`](Self::possibly_written).
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Send(error) => error.is_retriable(),
            Self::NotDelivered(error) => error.is_retriable(),
            Self::TopicUnknown { .. } | Self::NoMetadata { .. } | Self::BufferFull { .. } | Self::TimedOut(_) => true,
            Self::InCallback | Self::Unfinished { .. } | Self::Gone { .. } | Self::Cancelled => false,
        }
    }

    /// Whether the record may be in the log nevertheless. `false` is a promise: it is in no log, and sending it again can't double
    /// it. Only of calls that send a record; where others waited for it in vain ([`TimedOut`](Self::TimedOut)), nobody knows yet.
    pub const fn possibly_written(&self) -> bool {
        match self {
            Self::NotDelivered(error) => error.possibly_written,
            Self::TimedOut(_) | Self::Unfinished { .. } | Self::Gone { .. } => true,
            Self::Send(_)
            | Self::TopicUnknown { .. }
            | Self::NoMetadata { .. }
            | Self::BufferFull { .. }
            | Self::InCallback
            | Self::Cancelled => false,
        }
    }

    /// Whether the record, or the call, is what is wrong: the same will never succeed. (An HTTP service answers 4xx.)
    pub const fn is_callers_fault(&self) -> bool {
        match self {
            Self::Send(error) => error.is_callers_fault(),
            Self::NotDelivered(error) => error.is_callers_fault(),
            Self::InCallback => true,
            Self::TopicUnknown { .. }
            | Self::NoMetadata { .. }
            | Self::BufferFull { .. }
            | Self::TimedOut(_)
            | Self::Unfinished { .. }
            | Self::Gone { .. }
            | Self::Cancelled => false,
        }
    }

    /// The same, of a call that waits as long as its caller says, not for `max.block.ms`.
    pub(super) fn of_a_wait_of(self, after: Duration) -> Self {
        if let Self::BufferFull { why, .. } = self { Self::BufferFull { after, why } } else { self }
    }

    /// The topic that it is about, where that is known.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::TopicUnknown { topic, .. } => Some(topic),
            Self::NotDelivered(error) => Some(&*error.topic).filter(|topic| !topic.is_empty()),
            Self::Send(_)
            | Self::NoMetadata { .. }
            | Self::BufferFull { .. }
            | Self::InCallback
            | Self::TimedOut(_)
            | Self::Unfinished { .. }
            | Self::Gone { .. }
            | Self::Cancelled => None,
        }
    }
}

/// Why sending many records ended early, and what was taken before that: those records are sent nevertheless.
#[derive(Debug, ThisError)]
#[error("{error} (after {} records were taken)", .accepted.len())]
#[non_exhaustive]
pub struct SendAllError<A> {
    /// The acknowledgements of the records before the one that could not be taken, in their order.
    pub accepted: Vec<A>,
    /// Why that one could not be taken.
    pub error: Error,
}

impl<A> From<SendAllError<A>> for Error {
    fn from(error: SendAllError<A>) -> Self {
        error.error
    }
}

/// Why a record could not be taken at once, and its callback, which was not called: for another attempt.
#[derive(ThisError)]
#[error("{error}")]
#[non_exhaustive]
pub struct TrySendError<F> {
    /// Why it could not be taken.
    pub error: Error,
    /// The callback.
    pub callback: F,
}

impl<F> core::fmt::Debug for TrySendError<F> {
    /// Callbacks have no text.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TrySendError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<F> From<TrySendError<F>> for Error {
    fn from(error: TrySendError<F>) -> Self {
        error.error
    }
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
