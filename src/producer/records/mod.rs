//! What the records are in: topics, partitions, batches; how a record comes in, and compression.

pub(crate) mod accept;
pub(crate) mod batches;
pub(crate) mod compress;
pub(crate) mod jobs;
pub(crate) mod partitioner;
pub(crate) mod partitions;
pub(crate) mod spread;
pub(crate) mod topics;
