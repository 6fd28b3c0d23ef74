//! A host that costs as little as can be: the machine on one side, a cluster that only counts on the other. Every call of the
//! machine goes through a function of its own here, so that a profiler can count these and nothing else.

#![allow(clippy::disallowed_methods, reason = "benches measure real time")]
#![allow(dead_code, unreachable_pub, reason = "shared by several programs, each of which uses a part")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use milena::cluster::{Cluster, Peer, Settings};
use milena::{Config, ConnId, Event, Input, Instant, Output, Producer, Record, SendError, Sent};

/// How often the machine is drained: once so many sends.
pub const DRAIN_EVERY: usize = 64;

/// How much time goes by between two drains: a million records a second.
const BETWEEN_DRAINS: Duration = Duration::from_micros(DRAIN_EVERY as u64);

#[inline(never)]
pub fn core_send(producer: &mut Producer, now: Instant, record: &Record<'_>) -> Result<Sent, SendError> {
    producer.send(now, record)
}

#[inline(never)]
pub fn core_input(producer: &mut Producer, now: Instant, input: Input<'_>) {
    producer.handle_input(now, input);
}

#[inline(never)]
pub fn core_poll(producer: &mut Producer) -> Output {
    producer.poll_output()
}

#[inline(never)]
pub fn core_transmit(producer: &mut Producer, now: Instant, conn: ConnId, segments: &mut Vec<Bytes>) {
    segments.extend(producer.transmit(now, conn).segments().cloned());
}

#[inline(never)]
pub fn core_written(producer: &mut Producer, now: Instant, conn: ConnId, bytes: usize) {
    producer.written(now, conn, bytes);
}

/// Runs a load through the machine.
pub struct Host {
    pub producer: Producer,
    pub cluster: Cluster,
    pub now: Instant,
    peers: BTreeMap<ConnId, Peer>,
    segments: Vec<Bytes>,
    pub delivered: u64,
    pub requests: u64,
    /// How long the machine took to read answers.
    pub answering: Duration,
}

impl Host {
    /// A topic `t` with so many partitions, known to the producer.
    pub fn new(partitions: i32, options: &[(&str, &str)]) -> Self {
        Self::with(Settings::default().discard(true), partitions, options)
    }

    /// The same, with settings for the cluster.
    pub fn with(settings: Settings, partitions: i32, options: &[(&str, &str)]) -> Self {
        let options = [("bootstrap.servers", "127.0.0.1:9092")].iter().chain(options).copied();
        let config = Config::from_properties(options).expect("valid options");
        let mut cluster = Cluster::new(settings);
        cluster.create_topic("t", partitions);
        let mut host = Self {
            producer: Producer::new(Instant::ZERO, None, config, [3; 32]),
            cluster,
            now: Instant::ZERO,
            peers: BTreeMap::new(),
            segments: Vec::new(),
            delivered: 0,
            requests: 0,
            answering: Duration::ZERO,
        };
        while core_send(&mut host.producer, host.now, &Record::new("t").value("first")).is_err() {
            host.work();
        }
        host
    }

    /// Sends so many records; every so often all that is due goes out and is answered.
    pub fn load(&mut self, records: usize, size: usize, keyed: bool) {
        let value = vec![b'v'; size];
        let mut key = [b'k'; 12];
        for n in 0..records {
            let mut record = Record::new("t").value(&value);
            if keyed {
                key[..8].copy_from_slice(&(n as u64).to_le_bytes());
                record = record.key(&key);
            }
            self.send(&record);
            if n % DRAIN_EVERY == 0 {
                self.drain();
            }
        }
    }

    /// Sends one, and waits for memory if it has to.
    pub fn send(&mut self, record: &Record<'_>) {
        let mut sent = core_send(&mut self.producer, self.now, record);
        while let Err(SendError::BufferFull { .. }) = sent {
            self.now = self.now + Duration::from_millis(1);
            self.work();
            sent = core_send(&mut self.producer, self.now, record);
        }
        sent.expect("the record is taken");
    }

    /// Time has gone on.
    pub fn drain(&mut self) {
        self.now = self.now + BETWEEN_DRAINS;
        self.work();
    }

    /// Everything that is due.
    pub fn work(&mut self) {
        loop {
            match core_poll(&mut self.producer) {
                Output::Connect { conn, host, port, .. } => {
                    let node = self.cluster.node_at(&host, port).expect("a node");
                    self.peers.insert(conn, self.cluster.connect(node).expect("it is up"));
                    core_input(&mut self.producer, self.now, Input::Connected(conn));
                }
                Output::Disconnect(conn) => drop(self.peers.remove(&conn)),
                Output::Transmit(conn) => self.write(conn),
                Output::Event(Event::Delivered(delivery)) => self.delivered += delivery.records.len() as u64,
                Output::Event(_) => {}
                Output::Job(_) | Output::Token { .. } => unreachable!("neither jobs nor OAUTHBEARER were asked for"),
                Output::Wait(until) => {
                    if !self.answer() {
                        if until.is_some_and(|until| until <= self.now) {
                            core_input(&mut self.producer, self.now, Input::Timeout);
                            continue;
                        }
                        return;
                    }
                }
            }
        }
    }

    fn write(&mut self, conn: ConnId) {
        loop {
            core_transmit(&mut self.producer, self.now, conn, &mut self.segments);
            if self.segments.is_empty() {
                return;
            }
            self.requests += 1;
            let mut bytes = 0;
            for segment in self.segments.drain(..) {
                bytes += segment.len();
                self.cluster.receive(self.now, self.peers[&conn], &segment);
            }
            core_written(&mut self.producer, self.now, conn, bytes);
        }
    }

    /// Hands in what the cluster answers; false if it has nothing to say.
    fn answer(&mut self) -> bool {
        let mut any = false;
        for (conn, peer) in &self.peers {
            let bytes = self.cluster.take_output(*peer);
            if !bytes.is_empty() {
                any = true;
                let began = Clock::now();
                core_input(&mut self.producer, self.now, Input::Data(*conn, &bytes));
                self.answering += began.elapsed();
            }
        }
        any
    }

    /// What the cluster answers to bytes of a connection.
    pub fn serve(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<u8> {
        self.cluster.receive(self.now, self.peers[&conn], bytes);
        self.cluster.take_output(self.peers[&conn])
    }

    /// Until everything is delivered.
    pub fn finish(&mut self) {
        self.producer.flush(self.now);
        self.work();
    }
}
