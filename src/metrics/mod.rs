//! What a producer measures, as a snapshot: counters, distributions, gauges; by topic and by server. [`Metrics::samples`] gives them
//! under Java's names, [`Metrics::write_prometheus`] as text that Prometheus reads, `Metrics::record` to the crate `metrics`.

#[cfg(feature = "metrics")]
mod facade;
mod histogram;
mod labels;
mod names;
mod prometheus;
mod stats;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub use histogram::Histogram;
pub use names::{Group, Kind, Sample};
pub use stats::Stats;

use crate::status::Status;
use crate::why::ServerName;

/// All that a producer has measured so far. Counters and distributions grow from its beginning on: who wants rates or the last
/// minute takes the difference of two snapshots.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// `client.id`.
    pub client_id: String,
    /// Counters of the machine.
    pub stats: Stats,
    /// Gauges: servers, open records, memory.
    pub status: Status,
    /// Distributions.
    pub distributions: Distributions,
    /// Since all topics in use were last asked about and answered; `None` before that.
    pub metadata_age: Option<Duration>,
    /// Connections that are open, or being opened.
    pub connections: usize,
    /// By server: the brokers of the newest metadata, and addresses of `bootstrap.servers` that were used.
    /// An address that several brokers have is told once.
    pub servers: Vec<ServerMetrics>,
    /// Servers that are not used any more, all together: brokers that went away or moved to another address.
    pub forgotten: Traffic,
    /// By topic, in the order in which they were first used.
    pub topics: Vec<TopicMetrics>,
    /// How long calls waited. Only adapters have that.
    pub waits: Waits,
}

/// How much of what there was: durations in nanoseconds, sizes in bytes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Distributions {
    /// From the send to the outcome, for each record that had one: as of the oldest record of its batch, so it is an upper bound.
    /// Nanoseconds.
    pub record_latency: Histogram,
    /// From the first record of a batch to its first request. Nanoseconds.
    pub queue_time: Histogram,
    /// From the last byte of a Produce request to its answer. Nanoseconds.
    pub request_latency: Histogram,
    /// Pauses that brokers asked for (KIP-219). Nanoseconds.
    pub throttle_time: Histogram,
    /// Sizes of batches as they were sent, headers included. Bytes.
    pub batch_size: Histogram,
    /// Records of a batch.
    pub batch_records: Histogram,
    /// Sizes of Produce requests. Bytes.
    pub request_size: Histogram,
}

/// What was exchanged with one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMetrics {
    /// Which server.
    pub server: ServerName,
    /// Counters.
    pub traffic: Traffic,
}

/// Requests and bytes, of one server or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Requests of all kinds.
    pub requests: u64,
    /// Responses.
    pub responses: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Round trips of all requests that were answered, together. Nanoseconds.
    pub latency_sum: u64,
    /// The longest of them. Nanoseconds.
    pub latency_max: u64,
}

/// What was sent to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// Its name.
    pub topic: String,
    /// Counters.
    pub counts: TopicCounts,
}

/// Counters of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicCounts {
    /// Records sent, each attempt counted (as Java's).
    pub records_sent: u64,
    /// Records sent again.
    pub records_retried: u64,
    /// Records delivered.
    pub records_delivered: u64,
    /// Records that failed.
    pub records_failed: u64,
    /// Bytes of batches as they were sent, headers included.
    pub bytes_sent: u64,
    /// Bytes of the same batches before compression.
    pub bytes_uncompressed: u64,
}

/// How long calls of an adapter waited, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// Who waits now, for memory or for a topic.
    pub waiting: usize,
    /// For topics to be known.
    pub metadata: Duration,
    /// For memory.
    pub memory: Duration,
}

impl Distributions {
    /// Those of times that systems for metrics are given: name, what it says, values in nanoseconds.
    fn times(&self) -> [(&'static str, &'static str, &Histogram); 3] {
        [
            ("kafka_producer_record_latency_seconds", "From a send to its outcome, at most.", &self.record_latency),
            ("kafka_producer_request_latency_seconds", "From a Produce request to its answer.", &self.request_latency),
            (
                "kafka_producer_record_queue_time_seconds",
                "From the first record of a batch to its first request.",
                &self.queue_time,
            ),
        ]
    }
}

impl Metrics {
    /// The traffic of all servers together, also of those that are not used any more.
    pub fn traffic(&self) -> Traffic {
        self.servers.iter().fold(self.forgotten, |sum, server| sum.and(&server.traffic))
    }
}

impl Traffic {
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            responses: self.responses + other.responses,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
            latency_sum: self.latency_sum.saturating_add(other.latency_sum),
            latency_max: self.latency_max.max(other.latency_max),
        }
    }

    /// A request was answered after that time.
    #[inline]
    pub(crate) fn answered(&mut self, after: Duration) {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.responses += 1;
        self.latency_sum = self.latency_sum.saturating_add(nanos);
        self.latency_max = self.latency_max.max(nanos);
    }
}
