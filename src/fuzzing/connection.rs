//! The machine against a server that says what the fuzzer likes, mixed with a cluster that behaves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use arbitrary::Unstructured;

use super::{ENDLESS, bytes, transmit, up_to};
use crate::cluster::{Cluster, Peer, SaslSettings, Settings};
use crate::{
    Cause, Compressor, Config, ConnId, Delivery, Event, Input, Instant, Job, Output, Producer, Record, RecordId, Token,
};

/// Java's class names of login modules, and what they are told.
const MECHANISMS: [(&str, &str); 4] = [
    ("PLAIN", "plain.PlainLoginModule required username=\"a\" password=\"b\";"),
    ("SCRAM-SHA-256", "scram.ScramLoginModule required username=\"a\" password=\"b\";"),
    ("SCRAM-SHA-512", "scram.ScramLoginModule required username=\"a\" password=\"b\";"),
    ("OAUTHBEARER", "oauthbearer.OAuthBearerLoginModule required;"),
];

/// `buffer.memory`.
const MEMORY: usize = 100_000;

struct World {
    producer: Producer,
    cluster: Cluster,
    compressor: Compressor,
    now: Instant,
    /// Connections that the machine asked for and has not given up.
    live: BTreeSet<ConnId>,
    peers: BTreeMap<ConnId, Peer>,
    /// Accepted and not named yet.
    open: BTreeSet<RecordId>,
    /// Not done yet.
    jobs: Vec<Job>,
}

/// The first bytes choose a codec, where it is run, a SASL mechanism and what is sent; operations follow, whole frames among them. Each
/// record is named once, memory comes back, drains end, and after the end nothing is said.
pub fn connection(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mut options = Vec::from([("bootstrap.servers", "h:1"), ("buffer.memory", "100000"), ("linger.ms", "1")]);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    options.push(("compression.type", codecs[up_to(&mut input, 4)]));
    options.push(("compression.jobs", ["0", "2"][up_to(&mut input, 1)]));
    let mechanism = MECHANISMS.get(input.int_in_range(0..=7).unwrap_or(7));
    let jaas = mechanism.map(|(_, module)| alloc::format!("org.apache.kafka.common.security.{module}"));
    if let (Some((name, _)), Some(jaas)) = (mechanism, &jaas) {
        options.extend([("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", name), ("sasl.jaas.config", jaas)]);
    }
    if up_to(&mut input, 3) == 3 {
        options.extend([("acks", "0"), ("enable.idempotence", "false")]);
    }
    let config = Config::from_properties(options).expect("valid options");
    let users = SaslSettings::default().user("a", "b").session_lifetime(Duration::from_secs(3));
    let settings = Settings::default().sasl(mechanism.map(|_| users));
    let mut world = World {
        producer: Producer::new(Instant::ZERO, None, config, [9; 32]),
        cluster: Cluster::new(settings),
        compressor: Compressor::default(),
        now: Instant::ZERO,
        live: BTreeSet::new(),
        peers: BTreeMap::new(),
        open: BTreeSet::new(),
        jobs: Vec::new(),
    };
    while !input.is_empty() {
        world.step(&mut input);
        world.settle();
    }
    world.end();
}

impl World {
    fn step(&mut self, input: &mut Unstructured<'_>) {
        let operation = up_to(input, 15);
        let conn = self.peers.keys().nth(up_to(input, 3)).copied();
        match (operation, conn) {
            (0..=2, _) => {
                let size = up_to(input, 2000);
                let record = Record::new("t").value(&[7; 2000][..size]).partition(i32::from(size % 2 == 1));
                if let Ok(sent) = self.producer.send(self.now, &record) {
                    assert!(self.open.insert(sent.id), "a record's name is used again");
                }
            }
            (3, Some(conn)) => {
                let said = bytes(input, 200);
                self.producer.handle_input(self.now, Input::Data(conn, said));
            }
            (4 | 5, Some(conn)) => {
                let body = bytes(input, 200);
                let correlation = up_to(input, 20) as i32;
                let frame = [&(body.len() as i32 + 4).to_be_bytes()[..], &correlation.to_be_bytes(), body].concat();
                self.producer.handle_input(self.now, Input::Data(conn, &frame));
            }
            (6, Some(conn)) => {
                self.gone(conn);
                self.producer.handle_input(self.now, Input::Disconnected(conn, Cause::Closed));
            }
            (7, _) => {
                self.now = self.now + Duration::from_millis(up_to(input, 5000) as u64);
                self.producer.handle_input(self.now, Input::Timeout);
            }
            (8, _) => {
                if let Some(job) = self.jobs.pop() {
                    let given_up = input.ratio(1, 4).unwrap_or(false);
                    let done = if given_up { job.give_up() } else { job.run(&mut self.compressor) };
                    self.producer.handle_input(self.now, Input::Done(done));
                }
            }
            (9, _) => drop(self.jobs.pop()),
            (10, _) => {
                let token = match input.int_in_range(0..=2) {
                    Ok(0) => Err("none today"),
                    Ok(1) => Ok(Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", Some(Duration::from_secs(5)))),
                    _ => Ok(Token::new("no token", None)),
                };
                self.producer.handle_input(self.now, Input::Token(token));
            }
            (11, Some(conn)) => self.answer_in_pieces(conn, 1 + up_to(input, 40)),
            (12, _) => self.ask(up_to(input, 5)),
            (13, Some(conn)) => drop(self.producer.release(self.now, conn)),
            _ => self.answer(),
        }
    }

    /// Questions, none of which may be in the way of anything.
    fn ask(&mut self, what: usize) {
        match what {
            0 => drop(self.producer.ping(self.now)),
            1 => drop(self.producer.list_topics(self.now)),
            2 => drop(self.producer.flush(self.now)),
            3 => self.producer.cancel_list_topics(self.now),
            4 => drop(self.producer.want_topic(self.now, "other")),
            _ => {
                let status = self.producer.status(self.now);
                assert_eq!((status.buffered, status.buffer_memory), (self.producer.buffered(), MEMORY));
                assert_eq!(status.closing, self.producer.is_closed());
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..ENDLESS {
            match self.producer.poll_output() {
                Output::Connect { conn, .. } => {
                    assert!(self.live.insert(conn), "a connection's name is used again");
                    if let Some(peer) = self.cluster.connect(1) {
                        self.peers.insert(conn, peer);
                        self.producer.handle_input(self.now, Input::Connected(conn));
                    }
                }
                Output::Disconnect(conn) => {
                    assert!(self.live.contains(&conn), "given up twice");
                    self.gone(conn);
                }
                Output::Transmit(conn) => {
                    assert!(self.live.contains(&conn), "something to write on a connection that is gone");
                    self.transmit(conn);
                }
                Output::Event(Event::Delivered(delivery)) => self.delivered(&delivery),
                Output::Event(_) => {}
                Output::Job(job) => self.jobs.push(job),
                Output::Token { .. } => {} // it may come, or not
                Output::Wait(_) => {
                    assert!(self.producer.buffered() <= MEMORY);
                    return;
                }
            }
        }
        panic!("a drain without end");
    }

    fn delivered(&mut self, delivery: &Delivery) {
        for index in delivery.records.clone() {
            let id = RecordId { batch: delivery.batch, index };
            assert!(self.open.remove(&id), "named twice, or never accepted: {id:?}");
        }
    }

    fn transmit(&mut self, conn: ConnId) {
        let Self { producer, cluster, peers, now, .. } = self;
        let peer = peers.get(&conn).copied();
        transmit(producer, *now, conn, |segment| {
            if let Some(peer) = peer {
                cluster.receive(*now, peer, segment);
            }
        });
    }

    fn answer(&mut self) {
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.answer_in_pieces(conn, usize::MAX);
        }
    }

    fn answer_in_pieces(&mut self, conn: ConnId, size: usize) {
        let Some(peer) = self.peers.get(&conn).copied() else { return };
        for piece in self.cluster.take_output(peer).chunks(size) {
            self.producer.handle_input(self.now, Input::Data(conn, piece));
        }
        if self.cluster.is_closed(peer) {
            self.gone(conn);
            self.producer.handle_input(self.now, Input::Disconnected(conn, Cause::Closed));
        }
    }

    fn gone(&mut self, conn: ConnId) {
        self.live.remove(&conn);
        if let Some(peer) = self.peers.remove(&conn) {
            self.cluster.disconnect(peer);
        }
    }

    fn end(mut self) {
        self.producer.abort(self.now);
        self.settle();
        assert!(self.producer.is_closed());
        assert!(self.open.is_empty(), "every record that was accepted is named");
        // Jobs hold batches until they are done.
        for job in core::mem::take(&mut self.jobs) {
            self.producer.handle_input(self.now, Input::Done(job.give_up()));
        }
        self.settle();
        assert_eq!(self.producer.buffered(), 0, "memory comes back");
        assert!(self.live.is_empty(), "no connection is left");
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.producer.handle_input(self.now, Input::Data(conn, b"\0\0\0\x04\0\0\0\0"));
        }
        assert!(self.producer.send(self.now, &Record::new("t")).is_err());
        self.now = self.now + Duration::from_secs(1000);
        self.producer.handle_input(self.now, Input::Timeout);
        assert!(matches!(self.producer.poll_output(), Output::Wait(None)), "nothing is said after the end");
    }
}
