//! Java's names for what is measured.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Histogram, Metrics};

/// What a sample is of: Java's group of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group<'a> {
    /// `producer-metrics`: the whole producer.
    Producer,
    /// `producer-node-metrics`: one server. Java's `node-id`; `None` for an address of `bootstrap.servers` that is no broker as far
    /// as is known.
    Node {
        /// The node id.
        id: Option<i32>,
        /// Host and port are told besides: host.
        host: &'a str,
        /// Port.
        port: u16,
    },
    /// `producer-topic-metrics`: one topic.
    Topic(&'a str),
}

impl Group<'_> {
    /// Java's name for the group.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer-metrics",
            Self::Node { .. } => "producer-node-metrics",
            Self::Topic(_) => "producer-topic-metrics",
        }
    }

    /// The labels that tell one of a group from another, for systems that have labels.
    pub(super) fn labels(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Producer => Vec::new(),
            Self::Node { id, host, port } => {
                let id = id.map_or_else(|| "bootstrap".to_string(), |id| id.to_string());
                alloc::vec![("node_id", id), ("server", alloc::format!("{host}:{port}"))]
            }
            Self::Topic(topic) => alloc::vec![("topic", topic.to_string())],
        }
    }
}

/// Whether a sample only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the producer's beginning on. (Java's `-total`; its `-rate` is what such a counter grows by in a second.)
    Counter,
    /// It is of this moment, or an average or a maximum since the producer's beginning. (Java's are of the last minute.)
    Gauge,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample<'a> {
    /// Of what.
    pub group: Group<'a>,
    /// Java's name, such as `record-send-total`; for what Java does not measure one of ours in the same style.
    pub name: &'static str,
    /// What it says, and its unit.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The number; in the unit that Java has: milliseconds, seconds for ages, nanoseconds where the name says so, bytes.
    pub value: f64,
}

fn millis(nanos: f64) -> f64 {
    nanos / 1e6
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}

impl Metrics {
    /// Every number, one after the other: those of the producer, then by server, then by topic.
    pub fn samples<'a>(&'a self, mut each: impl FnMut(Sample<'a>)) {
        self.of_producer(&mut each);
        for server in &self.servers {
            let (name, traffic) = (&server.server, &server.traffic);
            let group = Group::Node { id: name.node, host: &name.host, port: name.port };
            let mut tell = |name, help, kind, value| each(Sample { group, name, help, kind, value });
            tell("request-total", "Requests sent.", Kind::Counter, traffic.requests as f64);
            tell("response-total", "Responses received.", Kind::Counter, traffic.responses as f64);
            tell("outgoing-byte-total", "Bytes written.", Kind::Counter, traffic.bytes_sent as f64);
            tell("incoming-byte-total", "Bytes read.", Kind::Counter, traffic.bytes_received as f64);
            let mean = if traffic.responses == 0 { 0.0 } else { traffic.latency_sum as f64 / traffic.responses as f64 };
            tell("request-latency-avg", "Milliseconds from a request to its answer.", Kind::Gauge, millis(mean));
            let max = millis(traffic.latency_max as f64);
            tell("request-latency-max", "The longest of them, milliseconds.", Kind::Gauge, max);
        }
        for topic in &self.topics {
            let (group, counts) = (Group::Topic(&topic.topic), &topic.counts);
            let mut tell = |name, help, kind, value| each(Sample { group, name, help, kind, value });
            let sent = counts.records_sent as f64;
            tell("record-send-total", "Records sent, each attempt counted.", Kind::Counter, sent);
            tell("byte-total", "Bytes of batches sent.", Kind::Counter, counts.bytes_sent as f64);
            let rate = ratio(counts.bytes_sent, counts.bytes_uncompressed);
            tell("compression-rate", "Size after compression, of 1 before it.", Kind::Gauge, rate);
            tell("record-retry-total", "Records sent again.", Kind::Counter, counts.records_retried as f64);
            tell("record-error-total", "Records that failed.", Kind::Counter, counts.records_failed as f64);
            tell("record-delivered-total", "Records delivered.", Kind::Counter, counts.records_delivered as f64);
        }
    }

    fn of_producer<'a>(&'a self, each: &mut impl FnMut(Sample<'a>)) {
        let Self { stats, status, distributions: measured, waits, .. } = self;
        let group = Group::Producer;
        let mut counter = |name, help, value: u64| {
            each(Sample { group, name, help, kind: Kind::Counter, value: value as f64 });
        };
        let (mut sent, mut retried, mut size, mut uncompressed) = (0, 0, 0, 0);
        for topic in &self.topics {
            sent += topic.counts.records_sent;
            retried += topic.counts.records_retried;
            size += topic.counts.bytes_sent;
            uncompressed += topic.counts.bytes_uncompressed;
        }
        let traffic = self.traffic();
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        counter("record-send-total", "Records sent, each attempt counted.", sent);
        counter("record-retry-total", "Records sent again.", retried);
        counter("record-error-total", "Records that failed.", stats.records_failed);
        counter("record-accepted-total", "Records that send has taken.", stats.records_accepted);
        counter("record-delivered-total", "Records delivered.", stats.records_delivered);
        counter("batch-split-total", "Batches split because a broker found them too large.", stats.splits);
        counter("buffer-exhausted-total", "Sends that found buffer.memory used up.", stats.buffer_full);
        counter("bufferpool-wait-time-ns-total", "Nanoseconds that calls waited for memory.", nanos(waits.memory));
        counter("metadata-wait-time-ns-total", "Nanoseconds that calls waited for topics.", nanos(waits.metadata));
        counter("connection-creation-total", "Connections asked for.", stats.connections);
        let ended = stats.connections.saturating_sub(self.connections as u64);
        counter("connection-close-total", "Connections that ended, whoever ended them, or were not made.", ended);
        counter("connection-failure-total", "Those that could not be made, or broke.", stats.connection_failures);
        let again = "Sessions renewed (KIP-368).";
        counter("successful-reauthentication-total", again, stats.reauthentications);
        counter("request-total", "Requests sent.", traffic.requests);
        counter("response-total", "Responses received.", traffic.responses);
        counter("outgoing-byte-total", "Bytes written.", traffic.bytes_sent);
        counter("incoming-byte-total", "Bytes read.", traffic.bytes_received);
        counter("epoch-bump-total", "Bumps of the producer epoch: records were lost.", stats.epoch_bumps);
        counter("metadata-request-total", "Metadata requests.", stats.metadata_requests);

        let mut gauge = |name, help, value| each(Sample { group, name, help, kind: Kind::Gauge, value });
        let rate = ratio(size, uncompressed);
        gauge("compression-rate-avg", "Size after compression, of 1 before it.", rate);
        let requests = stats.produce_requests.max(1);
        gauge("records-per-request-avg", "Records of a Produce request.", sent as f64 / requests as f64);
        let (of_batch, of_request) = (&measured.batch_size, &measured.request_size);
        gauge("batch-size-avg", "Bytes of a batch as it was sent.", of_batch.mean());
        gauge("batch-size-max", "The largest, bytes.", of_batch.max() as f64);
        gauge("request-size-avg", "Bytes of a Produce request.", of_request.mean());
        gauge("request-size-max", "The largest, bytes.", of_request.max() as f64);
        let mut times = |avg, max, help, of: &Histogram| {
            gauge(avg, help, millis(of.mean()));
            gauge(max, help, millis(of.max() as f64));
        };
        let queue = "Milliseconds from the first record of a batch to its first request.";
        times("record-queue-time-avg", "record-queue-time-max", queue, &measured.queue_time);
        let latency = "Milliseconds from a Produce request to its answer.";
        times("request-latency-avg", "request-latency-max", latency, &measured.request_latency);
        let pause = "Milliseconds of pauses that brokers asked for.";
        times("produce-throttle-time-avg", "produce-throttle-time-max", pause, &measured.throttle_time);
        let outcome = "Milliseconds from a send to its outcome, at most.";
        times("record-latency-avg", "record-latency-max", outcome, &measured.record_latency);
        gauge("requests-in-flight", "Produce requests without an answer.", status.in_flight as f64);
        if let Some(age) = self.metadata_age {
            gauge("metadata-age", "Seconds since all topics were asked about.", seconds(age));
        }
        gauge("waiting-threads", "Calls that wait for memory or for a topic.", waits.waiting as f64);
        gauge("buffer-total-bytes", "buffer.memory.", status.buffer_memory as f64);
        let free = status.buffer_memory.saturating_sub(status.buffered);
        gauge("buffer-available-bytes", "What of it is free.", free as f64);
        gauge("connection-count", "Connections that there are.", self.connections as f64);
        gauge("records-open", "Records whose outcome is not known.", status.open_records as f64);
        let oldest = status.oldest_record.map_or(0.0, seconds);
        gauge("oldest-record-age", "Seconds that the oldest of them has waited.", oldest);
    }
}
