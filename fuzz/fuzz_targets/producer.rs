//! The machine against a server that says what the fuzzer likes, mixed with a cluster that behaves:
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none producer -- -max_total_time=60 -max_len=4096`.
//!
//! Operations are read from the input by position, whole frames among them, so that small inputs get far. The first bytes
//! choose a codec, where it is run, and a SASL mechanism.

#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use milena::cluster::{Cluster, Peer, SaslSettings, Settings};
use milena::{Cause, Compressor, Config, ConnId, Event, Input, Instant, Job, Output, Producer, Record, Token};

/// Java's class names of login modules, and what they are told.
const MECHANISMS: [(&str, &str); 4] = [
    ("PLAIN", "plain.PlainLoginModule required username=\"a\" password=\"b\";"),
    ("SCRAM-SHA-256", "scram.ScramLoginModule required username=\"a\" password=\"b\";"),
    ("SCRAM-SHA-512", "scram.ScramLoginModule required username=\"a\" password=\"b\";"),
    ("OAUTHBEARER", "oauthbearer.OAuthBearerLoginModule required;"),
];

struct World {
    producer: Producer,
    cluster: Cluster,
    now: Instant,
    peers: BTreeMap<ConnId, Peer>,
    named: u64,
    /// Not done yet.
    jobs: Vec<Job>,
}

impl World {
    fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.producer.poll_output() {
                Output::Connect { conn, .. } => {
                    if let Some(peer) = self.cluster.connect(1) {
                        self.peers.insert(conn, peer);
                        self.producer.handle_input(self.now, Input::Connected(conn));
                    }
                }
                Output::Disconnect(conn) => drop(self.peers.remove(&conn)),
                Output::Transmit(conn) => {
                    while let Some(segment) = { self.producer.transmit(self.now, conn).segments().next().cloned() } {
                        if let Some(peer) = self.peers.get(&conn) {
                            self.cluster.receive(self.now, *peer, &segment);
                        }
                        self.producer.written(self.now, conn, segment.len());
                    }
                }
                Output::Event(Event::Delivered(delivery)) => self.named += delivery.records.len() as u64,
                Output::Event(_) => {}
                Output::Job(job) => self.jobs.push(job),
                Output::Token { .. } => {} // it may come, or not
                Output::Wait(_) => return,
            }
        }
        panic!("a drain without end");
    }

    fn answer(&mut self) {
        for (conn, peer) in self.peers.clone() {
            let bytes = self.cluster.take_output(peer);
            self.producer.handle_input(self.now, Input::Data(conn, &bytes));
            if self.cluster.is_closed(peer) {
                self.peers.remove(&conn);
                self.producer.handle_input(self.now, Input::Disconnected(conn, Cause::Closed));
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let mut options = Vec::from([("bootstrap.servers", "h:1"), ("buffer.memory", "100000"), ("linger.ms", "1")]);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    options.push(("compression.type", codecs[input.int_in_range(0..=4).unwrap_or(0)]));
    options.push(("compression.jobs", ["0", "2"][input.int_in_range(0..=1).unwrap_or(0)]));
    let mechanism = MECHANISMS.get(input.int_in_range(0..=7).unwrap_or(7));
    let jaas = mechanism.map(|(_, module)| format!("org.apache.kafka.common.security.{module}"));
    if let (Some((name, _)), Some(jaas)) = (mechanism, &jaas) {
        options.extend([("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", name), ("sasl.jaas.config", jaas)]);
    }
    let config = Config::from_properties(options).expect("valid options");
    let users = SaslSettings::default().user("a", "b").session_lifetime(Duration::from_secs(3));
    let settings = Settings::default().sasl(mechanism.map(|_| users));
    let mut compressor = Compressor::default();
    let mut world = World {
        producer: Producer::new(Instant::ZERO, None, config, [9; 32]),
        cluster: Cluster::new(settings),
        now: Instant::ZERO,
        peers: BTreeMap::new(),
        named: 0,
        jobs: Vec::new(),
    };
    let mut accepted = 0;
    while !input.is_empty() {
        let operation = input.int_in_range(0..=11).unwrap_or(0);
        let conn = world.peers.keys().nth(input.int_in_range(0..=3).unwrap_or(0)).copied();
        match (operation, conn) {
            (0..=2, _) => {
                let size = input.int_in_range(0..=2000).unwrap_or(0);
                let record = Record::new("t").value(&[7; 2000][..size]).partition(i32::from(size % 2 == 1));
                accepted += u64::from(world.producer.send(world.now, &record).is_ok());
            }
            (3, Some(conn)) => {
                let size = input.int_in_range(0..=200).unwrap_or(0);
                let bytes = input.bytes(size.min(input.len())).unwrap_or_default();
                world.producer.handle_input(world.now, Input::Data(conn, bytes));
            }
            (4, Some(conn)) => {
                let size = input.int_in_range(0..=200).unwrap_or(0);
                let body = input.bytes(size.min(input.len())).unwrap_or_default();
                let correlation = input.int_in_range(0..=20).unwrap_or(0);
                let frame = [&(body.len() as i32 + 4).to_be_bytes()[..], &i32::to_be_bytes(correlation), body].concat();
                world.producer.handle_input(world.now, Input::Data(conn, &frame));
            }
            (5, Some(conn)) => {
                world.peers.remove(&conn);
                world.producer.handle_input(world.now, Input::Disconnected(conn, Cause::Closed));
            }
            (6, _) => {
                world.now = world.now + Duration::from_millis(input.int_in_range(0..=5000).unwrap_or(0));
                world.producer.handle_input(world.now, Input::Timeout);
            }
            (7, _) => {
                if let Some(job) = world.jobs.pop() {
                    let given_up = input.ratio(1, 4).unwrap_or(false);
                    let done = if given_up { job.give_up() } else { job.run(&mut compressor) };
                    world.producer.handle_input(world.now, Input::Done(done));
                }
            }
            (8, _) => drop(world.jobs.pop()),
            (9, _) => {
                let token = match input.int_in_range(0..=2) {
                    Ok(0) => Err("none today"),
                    Ok(1) => Ok(Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", Some(Duration::from_secs(5)))),
                    _ => Ok(Token::new("no token", None)),
                };
                world.producer.handle_input(world.now, Input::Token(token));
            }
            _ => world.answer(),
        }
        world.settle();
    }
    world.producer.abort(world.now);
    world.settle();
    assert!(world.producer.is_closed());
    assert_eq!(world.named, accepted, "every record accepted is named once");
});
