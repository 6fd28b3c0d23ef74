//! A producer and a cluster on one desk, driven by hand: no network between them, time given as numbers.

#![allow(dead_code, unreachable_pub, reason = "shared by several test programs, each of which uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use milena::cluster::{Cluster, Peer, Settings};
use milena::{
    Cause, Compressor, Config, ConnId, Delivery, Event, Input, Instant, Job, Output, Producer, Record, SendError,
    Token, UnixTime,
};

/// A producer and a cluster that hand each other bytes without delay.
pub struct Desk {
    pub producer: Producer,
    pub cluster: Cluster,
    pub now: Instant,
    pub peers: BTreeMap<ConnId, Peer>,
    /// Everything that the producer wrote.
    pub written: Vec<u8>,
    pub events: Vec<Event>,
    pub wait: Option<Instant>,
    /// What is written is lost on its way.
    pub swallow: bool,
    /// Jobs are kept here; without it they are run at once.
    pub jobs: Option<Vec<Job>>,
    compressor: Compressor,
    /// What the host says when it is asked for a token.
    pub token: Option<Result<Token, &'static str>>,
    pub tokens_asked: u32,
}

/// For tests/determinism/run: all that was written, and all that was said.
impl Drop for Desk {
    fn drop(&mut self) {
        if std::env::var_os("MILENA_FINGERPRINTS").is_some() {
            let said = format!("{:?} {:?} {:?}", self.events, self.wait, self.now);
            let bytes = self.written.iter().chain(said.as_bytes());
            let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            println!("fingerprint {:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, step));
        }
    }
}

impl Desk {
    pub fn new(options: &[(&str, &str)]) -> Self {
        Self::with(options, Settings::default())
    }

    pub fn with(options: &[(&str, &str)], settings: Settings) -> Self {
        let options = [("bootstrap.servers", "127.0.0.1:9092")].iter().chain(options).copied();
        let config = Config::from_properties(options).expect("valid options");
        Self {
            producer: Producer::new(Instant::ZERO, Some(UnixTime::from_millis(1_700_000_000_000)), config, [7; 32]),
            cluster: Cluster::new(settings),
            now: Instant::ZERO,
            peers: BTreeMap::new(),
            written: Vec::new(),
            events: Vec::new(),
            wait: None,
            swallow: false,
            jobs: None,
            compressor: Compressor::default(),
            token: None,
            tokens_asked: 0,
        }
    }

    /// Works until neither side has anything to say.
    pub fn settle(&mut self) {
        loop {
            let mut busy = false;
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => {
                    busy = true;
                    let peer = self.cluster.node_at(&host, port).and_then(|node| self.cluster.connect(node));
                    match peer {
                        Some(peer) => {
                            self.peers.insert(conn, peer);
                            self.producer.handle_input(self.now, Input::Connected(conn));
                        }
                        None => {
                            let cause = Cause::Connect("refused");
                            self.producer.handle_input(self.now, Input::Disconnected(conn, cause));
                        }
                    }
                }
                Output::Disconnect(conn) => {
                    busy = true;
                    if let Some(peer) = self.peers.remove(&conn) {
                        self.cluster.disconnect(peer);
                    }
                }
                Output::Transmit(conn) => {
                    busy = true;
                    self.write(conn);
                }
                Output::Event(event) => {
                    busy = true;
                    self.events.push(event);
                }
                Output::Job(job) => {
                    busy = true;
                    match &mut self.jobs {
                        Some(jobs) => jobs.push(job),
                        None => {
                            let done = job.run(&mut self.compressor);
                            self.producer.handle_input(self.now, Input::Done(done));
                        }
                    }
                }
                Output::Token { .. } => {
                    busy = true;
                    self.tokens_asked += 1;
                    if let Some(token) = self.token.clone() {
                        self.producer.handle_input(self.now, Input::Token(token));
                    }
                }
                Output::Wait(wait) => self.wait = wait,
            }
            self.cluster.advance(self.now);
            for (conn, peer) in self.peers.clone() {
                let bytes = self.cluster.take_output(peer);
                if !bytes.is_empty() {
                    busy = true;
                    self.producer.handle_input(self.now, Input::Data(conn, &bytes));
                }
                if self.cluster.is_closed(peer) {
                    busy = true;
                    self.peers.remove(&conn);
                    self.producer.handle_input(self.now, Input::Disconnected(conn, Cause::Closed));
                }
            }
            if !busy {
                return;
            }
        }
    }

    pub fn write(&mut self, conn: ConnId) {
        loop {
            let mut transmit = self.producer.transmit(self.now, conn);
            let bytes = transmit.copy_to_bytes(transmit.remaining());
            if bytes.is_empty() {
                return;
            }
            self.written.extend_from_slice(&bytes);
            if let Some(peer) = self.peers.get(&conn).filter(|_| !self.swallow) {
                self.cluster.receive(self.now, *peer, &bytes);
            }
        }
    }

    /// Time goes on, with everything that is due on the way.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            let next = [self.wait, self.cluster.next_deadline()].into_iter().flatten().min();
            match next.filter(|next| *next <= end) {
                Some(next) => {
                    self.now = self.now.max(next);
                    self.producer.handle_input(self.now, Input::Timeout);
                    self.cluster.advance(self.now);
                }
                None => break,
            }
        }
        self.now = end;
    }

    /// Sends, waiting for metadata if need be.
    pub fn send(&mut self, record: &Record<'_>) -> Result<milena::Sent, SendError> {
        for _ in 0..20 {
            match self.producer.send(self.now, record) {
                Err(SendError::NotReady { .. }) => self.run(Duration::from_millis(100)),
                other => return other,
            }
        }
        panic!("the topic never gets ready");
    }

    pub fn deliveries(&self) -> Vec<&Delivery> {
        fn delivery(event: &Event) -> Option<&Delivery> {
            if let Event::Delivered(delivery) = event { Some(delivery) } else { None }
        }
        self.events.iter().filter_map(delivery).collect()
    }

    pub fn offsets(&self) -> Vec<Option<i64>> {
        self.deliveries()
            .iter()
            .filter_map(|delivery| delivery.outcome.as_ref().ok())
            .map(|written| written.base_offset)
            .collect()
    }

    /// All connections break; what was swallowed is gone.
    pub fn break_connections(&mut self) {
        for (conn, peer) in core::mem::take(&mut self.peers) {
            self.cluster.disconnect(peer);
            self.producer.handle_input(self.now, Input::Disconnected(conn, Cause::Io("reset")));
        }
        self.swallow = false;
    }
}
