//! Counters.

/// What a producer did so far. All counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records accepted by `send`.
    pub records_accepted: u64,
    /// Records delivered.
    pub records_delivered: u64,
    /// Records that failed.
    pub records_failed: u64,
    /// Batches sent, each attempt counted.
    pub batches_sent: u64,
    /// Bytes of those batches, headers included.
    pub batch_bytes_sent: u64,
    /// Batches that were sent smaller than they were.
    pub batches_compressed: u64,
    /// Compression jobs handed out.
    pub jobs: u64,
    /// Produce requests sent.
    pub produce_requests: u64,
    /// Metadata requests sent.
    pub metadata_requests: u64,
    /// Batches put back to be sent again.
    pub retries: u64,
    /// Batches split because a broker found them too large.
    pub splits: u64,
    /// Bumps of the producer epoch.
    pub epoch_bumps: u64,
    /// Connections asked for.
    pub connections: u64,
    /// Connections that could not be made or broke.
    pub connection_failures: u64,
    /// Sessions renewed before they ended (KIP-368).
    pub reauthentications: u64,
    /// Sends refused because `buffer.memory` was used up.
    pub buffer_full: u64,
    /// Answers that came for an attempt which was given up before.
    pub late_answers: u64,
}
