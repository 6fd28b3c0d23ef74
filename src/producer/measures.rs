//! What is measured on the way of records: hooks for the rooms, and the snapshot that is made of it.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::batch::header;
use crate::connection::{Request, RequestKind};
use crate::metrics::{Metrics, ServerMetrics, TopicMetrics, Waits};
use crate::producer::Producer;
use crate::time::Instant;
use crate::why::ServerName;

impl Producer {
    /// From now on (or no longer) distributions are measured, for [`metrics`](Self::metrics): they take 28 KiB, and nothing else that
    /// is worth a word. Counters are always kept. Adapters measure.
    pub fn measure(&mut self, wanted: bool) {
        self.distributions = wanted.then(Box::default);
    }

    /// All that was measured so far. Takes time in proportion to topics and servers: for once a second or so.
    pub fn metrics(&self, now: Instant) -> Metrics {
        let now = self.now.max(now);
        let name = |index: u32, node| {
            let server = &self.control.servers[index];
            ServerName { node, host: server.host.clone(), port: server.port }
        };
        let mut servers: Vec<(u32, ServerMetrics)> = Vec::new();
        for (_, broker) in self.control.brokers.current() {
            if servers.iter().all(|(known, _)| *known != broker.server) {
                let server = name(broker.server, Some(broker.id));
                let traffic = self.control.servers[broker.server].traffic;
                servers.push((broker.server, ServerMetrics { server, traffic }));
            }
        }
        for (index, server) in self.control.servers.in_use() {
            if server.traffic.requests > 0 && !servers.iter().any(|(known, _)| *known == index) {
                servers.push((index, ServerMetrics { server: name(index, None), traffic: server.traffic }));
            }
        }
        let topics =
            self.records.topics.all().map(|topic| TopicMetrics { topic: topic.name.to_string(), counts: topic.counts });
        let age = self.records.topics.refresh.last_success();
        Metrics {
            client_id: self.config.client_id.to_string(),
            stats: self.stats,
            status: self.status(now),
            distributions: self.distributions.as_deref().cloned().unwrap_or_default(),
            metadata_age: age.map(|at| now.saturating_since(at)),
            connections: self.sessions.connections.len(),
            servers: servers.into_iter().map(|(_, server)| server).collect(),
            forgotten: self.control.servers.forgotten(),
            topics: topics.collect(),
            waits: Waits::default(),
        }
    }

    /// A batch leaves in a request.
    #[inline]
    pub(super) fn measure_leaving(&mut self, now: Instant, slot: u32) {
        let batch = &self.records.batches[slot];
        let (size, records) = (batch.size() as u64, u64::from(batch.records.count()));
        let topic = self.records.partitions[batch.partition].topic;
        let counts = &mut self.records.topics[topic].counts;
        counts.records_sent += records;
        counts.bytes_sent += size;
        counts.bytes_uncompressed += (header::SIZE + batch.records.raw_len()) as u64;
        if batch.attempt > 1 {
            counts.records_retried += records;
        }
        if let Some(measured) = &mut self.distributions {
            measured.batch_size.record(size);
            measured.batch_records.record(records);
            if batch.attempt == 1 {
                measured.queue_time.record_span(now.saturating_since(batch.created), 1);
            }
        }
    }

    /// Records have an outcome.
    #[inline]
    pub(super) fn measure_outcome(&mut self, slot: u32, delivered: bool) {
        let batch = &self.records.batches[slot];
        let records = u64::from(batch.records.count());
        let topic = self.records.partitions[batch.partition].topic;
        let counts = &mut self.records.topics[topic].counts;
        match delivered {
            true => counts.records_delivered += records,
            false => counts.records_failed += records,
        }
        if let Some(measured) = &mut self.distributions {
            measured.record_latency.record_span(self.now.saturating_since(batch.created), records);
        }
    }

    /// A request was answered.
    #[inline]
    pub(super) fn measure_answer(&mut self, now: Instant, server: u32, request: &Request) {
        let round_trip = request.written.map(|written| now.saturating_since(written));
        let server = &mut self.control.servers[server];
        server.round_trip = round_trip;
        server.traffic.answered(round_trip.unwrap_or_default());
        if let (Some(measured), RequestKind::Produce) = (&mut self.distributions, request.kind) {
            measured.request_latency.record_span(round_trip.unwrap_or_default(), 1);
            measured.request_size.record(request.size as u64);
        }
    }

    /// Bytes were written, and requests with them.
    #[inline]
    pub(super) fn measure_written(&mut self, server: u32, bytes: usize, requests: u64) {
        let traffic = &mut self.control.servers[server].traffic;
        traffic.bytes_sent += bytes as u64;
        traffic.requests += requests;
    }
}
