//! What the machine and its host call connections, topics, batches, records and flushes.

use core::fmt;

/// One connection that the machine asked for. Never reused: input for a connection that is gone is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u32);

impl ConnId {
    /// The id of this number: for hosts that know their connections by numbers alone. One that no connection has is as good as
    /// that of a connection which is gone.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The id as a number, unique for the life of its producer.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A topic that this producer has met: an index, dense from 0, valid for the life of the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIndex(pub(crate) u32);

impl TopicIndex {
    /// The topic of this number, as [`get`](Self::get) gave it.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The index as a number, for a host's own tables.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A batch of records that travels together, as the host sees it: a slot in a dense table, and a generation that tells
/// apart the batches which use that slot one after the other.
///
/// A slot is used again only after the last [`Delivery`](crate::Delivery) of its batch was taken from
/// [`poll_output`](crate::Producer::poll_output), so a host may keep one completion a slot in a `Vec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl BatchId {
    /// The slot: an index for a host's table of completions.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Tells apart the batches that use a slot one after the other.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// One accepted record: its batch, and its place in it. Index 0 means that this record opened the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The batch.
    pub batch: BatchId,
    /// The record's place in the batch, counted from 0.
    pub index: u32,
}

/// A flush that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub(crate) u64);

impl FlushId {
    /// The id as a number, unique for the life of its producer.
    pub const fn get(self) -> u64 {
        self.0
    }
}
