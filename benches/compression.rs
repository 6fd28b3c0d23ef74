//! What each codec makes of records, and how fast: `cargo bench --features cluster,gzip,snappy,lz4,zstd --bench compression [FOLDER]`.
//!
//! Records are lines of JSON as services log them. The CPU time of a batch's compression is taken alone, as of the job that hosts run on
//! other threads (Linux's count of it); "allocations" are those of one job, once the codec has its working memory. Ratio: compressed bytes to raw ones, the
//! smaller the better. With a folder, the records of a batch of each size are written there, for other programs to compress.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod heap;

use std::collections::BTreeMap;
use std::time::Duration;

use milena::cluster::{Cluster, Peer, Settings};
use milena::{Compressor, Config, ConnId, Input, Output, Producer, Record};

/// Bytes of a batch before compression, about.
const BATCHES: [usize; 3] = [16 << 10, 128 << 10, 1 << 20];

/// How much CPU time is given to each.
const TIME: Duration = Duration::from_millis(400);

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:<22} {:>10} {:>8} {:>8} {:>12}", "codec", "batch", "MB/s", "ratio", "allocations");
    let level =
        |codec: &'static str, levels: &[i32]| levels.iter().map(|level| (codec, Some(*level))).collect::<Vec<_>>();
    let mut codecs = vec![("lz4", None), ("snappy", None)];
    codecs.extend(level("zstd", &[-5, 1, 3, 6, 9, 15]));
    codecs.extend(level("gzip", &[1, 3, 6, 9]));
    for (codec, level) in codecs {
        for batch in BATCHES {
            measure(codec, level, batch, folder.as_deref());
        }
    }
}

/// A line of a log, of some 300 bytes.
fn line(n: u64, random: &mut impl FnMut(u64) -> u64) -> String {
    let methods = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
    let paths = ["/api/v1/orders", "/api/v1/customers", "/health", "/api/v2/basket/items", "/login", "/static/app.js"];
    let agents =
        ["Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "okhttp/4.12.0"];
    format!(
        r#"{{"timestamp":"2026-03-{:02}T{:02}:{:02}:{:02}.{:03}Z","level":"INFO","service":"shop-{}","trace_id":"{:016x}{:016x}","method":"{}","path":"{}/{}","status":{},"duration_ms":{}.{:02},"client":"10.{}.{}.{}","agent":"{}","sequence":{n}}}"#,
        1 + n / 100_000 % 28,
        random(24),
        random(60),
        random(60),
        random(1000),
        random(8),
        random(u64::MAX),
        random(u64::MAX),
        methods[random(6) as usize],
        paths[random(6) as usize],
        random(100_000),
        [200, 200, 200, 201, 204, 404, 500][random(7) as usize],
        random(400),
        random(100),
        random(4),
        random(256),
        random(256),
        agents[random(3) as usize],
    )
}

fn measure(codec: &str, level: Option<i32>, batch: usize, folder: Option<&str>) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut host = Host::new(codec, level);
    let mut number = 0;
    let mut before = None;
    while host.took < TIME || host.jobs < 8 {
        let mut raw = Vec::new();
        while raw.len() + 400 < batch {
            let value = line(number, &mut random);
            number += 1;
            raw.extend_from_slice(value.as_bytes());
            host.send(&value);
        }
        if let (Some(folder), None) = (folder, before) {
            std::fs::write(format!("{folder}/records-{batch}"), &raw).expect("a folder to write to");
        }
        host.producer.flush(milena::Instant::ZERO);
        host.work();
        if before.is_none() {
            // From now on the codec has its working memory.
            (host.took, host.allocations, host.jobs) = (Duration::ZERO, 0, 0);
            let counts = host.producer.stats();
            before = Some((counts.batch_bytes_sent, host.raw));
        }
    }
    let (compressed, raw) = before.expect("it has begun");
    let (compressed, raw) = (host.producer.stats().batch_bytes_sent - compressed, host.raw - raw);
    let name = level.map_or(codec.to_string(), |level| format!("{codec}, level {level}"));
    let rate = raw as f64 / 1e6 / host.took.as_secs_f64();
    let ratio = compressed as f64 / raw as f64;
    println!("{name:<22} {batch:>10} {rate:>8.0} {ratio:>8.3} {:>12.1}", host.allocations as f64 / host.jobs as f64);
}

/// A producer and a cluster that only counts.
struct Host {
    producer: Producer,
    cluster: Cluster,
    peers: BTreeMap<ConnId, Peer>,
    compressor: Compressor,
    /// What jobs took, how often they allocated, and how many they were.
    took: Duration,
    allocations: u64,
    jobs: u64,
    /// Bytes of values.
    raw: u64,
}

impl Host {
    fn new(codec: &str, level: Option<i32>) -> Self {
        let large = (4 << 20).to_string();
        let fixed = [
            ("bootstrap.servers", "127.0.0.1:9092"),
            ("compression.type", codec),
            ("compression.jobs", "1"),
            ("linger.ms", "1000000"),
            ("delivery.timeout.ms", "2000000"),
            ("batch.size", &large),
            ("batch.size.max", &large),
            ("max.request.size", &large),
        ];
        let mut options: BTreeMap<String, String> =
            fixed.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        options.extend(level.map(|level| (format!("compression.{codec}.level"), level.to_string())));
        let config = Config::from_properties(options).expect("valid options");
        let mut cluster = Cluster::new(Settings::default().discard(true));
        cluster.create_topic("t", 1);
        let mut host = Self {
            producer: Producer::new(milena::Instant::ZERO, None, config, [3; 32]),
            cluster,
            peers: BTreeMap::new(),
            compressor: Compressor::default(),
            took: Duration::ZERO,
            allocations: 0,
            jobs: 0,
            raw: 0,
        };
        while host.producer.send(milena::Instant::ZERO, &Record::new("t").value("first")).is_err() {
            host.work();
        }
        host
    }

    fn send(&mut self, value: &str) {
        self.raw += value.len() as u64;
        self.producer.send(milena::Instant::ZERO, &Record::new("t").value(value)).expect("there is room");
    }

    /// Everything that is due.
    fn work(&mut self) {
        let now = milena::Instant::ZERO;
        loop {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => {
                    let node = self.cluster.node_at(&host, port).expect("a node");
                    self.peers.insert(conn, self.cluster.connect(node).expect("it is up"));
                    self.producer.handle_input(now, Input::Connected(conn));
                }
                Output::Disconnect(conn) => drop(self.peers.remove(&conn)),
                Output::Transmit(conn) => loop {
                    let segment = self.producer.transmit(now, conn).segments().next().cloned();
                    let Some(segment) = segment else { break };
                    self.cluster.receive(now, self.peers[&conn], &segment);
                    self.producer.written(now, conn, segment.len());
                },
                Output::Job(job) => {
                    let (began, before) = (on_cpu(), heap::allocations());
                    let done = job.run(&mut self.compressor);
                    self.allocations += heap::allocations() - before;
                    self.took += on_cpu() - began;
                    self.jobs += 1;
                    self.producer.handle_input(now, Input::Done(done));
                }
                Output::Event(_) => {}
                Output::Token { .. } => unreachable!("OAUTHBEARER was not asked for"),
                Output::Wait(_) => {
                    let mut any = false;
                    for (conn, peer) in &self.peers {
                        let bytes = self.cluster.take_output(*peer);
                        any |= !bytes.is_empty();
                        self.producer.handle_input(now, Input::Data(*conn, &bytes));
                    }
                    if !any {
                        return;
                    }
                }
            }
        }
    }
}

/// CPU time of this thread.
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says what a thread took");
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}
