//! What a run is made of, for whoever checks the order of batches.

use alloc::string::String;
use core::ops::Range;

use crate::ids::ConnId;
use crate::time::Instant;

/// A step of one partition's batches: what the producer does, or what it learns.
///
/// Records are named by their places among those that the producer took for the partition: 0, 1, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A batch was put into a request, for the first time or again. (It may leave later, or never, if its connection breaks.)
    Sent(Attempt),
    /// An attempt was answered. Each is answered once at most.
    Answered {
        /// Its number.
        attempt: u64,
        /// The error code; 0 for success.
        code: i16,
        /// The offset of the first record, where the answer says it.
        base_offset: Option<i64>,
    },
    /// An attempt will not be answered: its connection is gone, or the answer leaves it out.
    Unanswered {
        /// Its number.
        attempt: u64,
    },
    /// The producer has learnt something new of a partition.
    Known {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: i32,
        /// The topic's id; zeros where brokers tell none.
        topic_id: [u8; 16],
        /// The node id of the leader, if there is one.
        leader: Option<i32>,
        /// The leader's epoch; −1 where brokers don't tell.
        leader_epoch: i32,
    },
    /// It is decided what became of records that lie side by side. It is told in the same order.
    Decided {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: i32,
        /// Which records.
        records: Range<u64>,
        /// The offset of the first, where it is known; or whether they may have been written.
        outcome: Result<Option<i64>, bool>,
        /// When.
        now: Instant,
    },
}

/// A batch in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Counts the attempts of a run, from 0.
    pub number: u64,
    /// When.
    pub now: Instant,
    /// The connection,
    pub conn: ConnId,
    /// and the id of the node that the producer takes to be at its other end: an address may have become another node's.
    pub node: i32,
    /// The topic's name.
    pub topic: String,
    /// The topic's id, where that is what the request says.
    pub topic_id: Option<[u8; 16]>,
    /// The partition.
    pub partition: i32,
    /// Which records.
    pub records: Range<u64>,
    /// When the first of them was sent.
    pub created: Instant,
    /// The producer id; −1 without idempotence.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the first record.
    pub sequence: i32,
}
