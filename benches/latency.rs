//! One record at a time, `linger.ms=0`: `cargo bench --features cluster,threads,tokio --bench latency [RECORDS]`.
//!
//! A record of 100 bytes is sent and its outcome awaited before the next, on threads and on tokio; beside each the least that the same
//! shape can cost: the bytes of the same request sent by one I/O thread (or task) to the same cluster, which is told by a channel and
//! tells by a condition variable (or by channels). Both take turns, so that what else the machine does hits both; only the ratios mean
//! something. Switches are the voluntary context switches of a record, in all threads but the cluster's: how often one of them waited.
//!
//! A line has the way, half of the records' time and that of 99 of 100 (µs, the bare way's beside it), the ratio of both, and switches.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_protocol::records as kafka;
use milena::cluster::{Server, ServerSettings, Settings};
use milena::{Config, Record};
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

const VALUE: [u8; 100] = [b'v'; 100];

/// Records of one way before it is the other's turn.
const TURN: usize = 200;

fn main() {
    let records = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(20_000_usize);
    let cluster = Settings::default().discard(true).default_partitions(1);
    let server = Server::start_with(ServerSettings::default().cluster(cluster)).expect("loopback sockets");
    let servers = server.bootstrap();
    let options =
        [("bootstrap.servers", &*servers), ("linger.ms", "0"), ("acks", "1"), ("enable.idempotence", "false")];
    let config = Config::from_properties(options).expect("valid options");
    println!(
        "{:<8} {:>8} {:>8} {:>6} {:>8} {:>8} {:>6} {:>9} {:>9}",
        "way", "p50", "bare", "ratio", "p99", "bare", "ratio", "switches", "bare"
    );
    threads(&config, address(&server.bootstrap()), records);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(tasks(config, address(&server.bootstrap()), records));
}

fn address(bootstrap: &str) -> SocketAddr {
    bootstrap.split(',').next().and_then(|server| server.parse().ok()).expect("an address")
}

/// Times and context switches of one way.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    switches: u64,
}

impl Measured {
    fn quantile(&mut self, share: f64) -> f64 {
        self.times.sort_unstable();
        self.times[((self.times.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0
    }
}

fn tell(way: &str, mut ours: Measured, mut bare: Measured) {
    let [p50, p99] = [0.5, 0.99].map(|share| (ours.quantile(share), bare.quantile(share)));
    let each = |measured: &Measured| measured.switches as f64 / measured.times.len() as f64;
    println!(
        "{way:<8} {:>8.1} {:>8.1} {:>6.2} {:>8.1} {:>8.1} {:>6.2} {:>9.2} {:>9.2}",
        p50.0,
        p50.1,
        p50.0 / p50.1,
        p99.0,
        p99.1,
        p99.0 / p99.1,
        each(&ours),
        each(&bare)
    );
}

fn threads(config: &Config, server: SocketAddr, records: usize) {
    let producer = milena::threads::Producer::new(config.clone()).expect("a producer");
    let record = Record::new("t").value(&VALUE).partition(0);
    let bare = Bare::start(server);
    let mut send = || drop(producer.send(&record).expect("it is delivered"));
    let mut ping = || bare.ping();
    let (mut ours, mut theirs) = (Measured::default(), Measured::default());
    send();
    ping();
    while ours.times.len() < records {
        turn(&mut ours, &mut send);
        turn(&mut theirs, &mut ping);
    }
    producer.close(Duration::from_secs(10)).expect("it closes");
    tell("threads", ours, theirs);
}

fn turn(measured: &mut Measured, once: &mut dyn FnMut()) {
    let before = switches();
    for _ in 0..TURN {
        let began = Instant::now();
        once();
        measured.times.push(began.elapsed());
    }
    measured.switches += switches() - before;
}

/// The least: a thread that writes the same bytes when it is told to, and tells when the answer is there.
struct Bare {
    asks: Sender<()>,
    waker: Waker,
    answered: Arc<(Mutex<bool>, Condvar)>,
}

impl Bare {
    fn start(server: SocketAddr) -> Self {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        let (asks, asked) = channel();
        let answered = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&answered);
        std::thread::spawn(move || serve(poll, server, &asked, &theirs));
        Self { asks, waker, answered }
    }

    fn ping(&self) {
        self.asks.send(()).expect("the thread");
        self.waker.wake().expect("the thread");
        let (answered, came) = &*self.answered;
        let came = came.wait_while(answered.lock().expect("no panic"), |answered| !*answered);
        *came.expect("no panic") = false;
    }
}

fn serve(mut poll: Poll, server: SocketAddr, asked: &Receiver<()>, (answered, came): &(Mutex<bool>, Condvar)) {
    let stream = std::net::TcpStream::connect(server).expect("the cluster");
    stream.set_nodelay(true).expect("a socket");
    stream.set_nonblocking(true).expect("a socket");
    let mut stream = mio::net::TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(1), Interest::READABLE).expect("a socket");
    let (request, mut events) = (request(), Events::with_capacity(8));
    let (mut input, mut filled) = (vec![0; 64 << 10], 0);
    loop {
        poll.poll(&mut events, None).expect("a poll");
        match asked.try_recv() {
            Ok(()) => stream.write_all(&request).expect("room in the socket"),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        }
        if events.iter().any(|event| event.token() == Token(1)) {
            loop {
                match stream.read(&mut input[filled..]) {
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if let Some(length) = input[..filled].first_chunk::<4>() {
                if filled == 4 + u32::from_be_bytes(*length) as usize {
                    filled = 0;
                    *answered.lock().expect("no panic") = true;
                    came.notify_one();
                }
            }
        }
    }
}

async fn tasks(config: Config, server: SocketAddr, records: usize) {
    let producer = milena::tokio::Producer::spawn(config).expect("a producer");
    let record = Record::new("t").value(&VALUE).partition(0);
    let (asks, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    tokio::spawn(async move {
        let mut stream = tokio::net::TcpStream::connect(server).await.expect("the cluster");
        stream.set_nodelay(true).expect("a socket");
        let (request, mut answer) = (request(), Vec::new());
        while let Some(answered) = asked.recv().await {
            stream.write_all(&request).await.expect("room in the socket");
            let mut length = [0; 4];
            stream.read_exact(&mut length).await.expect("an answer");
            answer.resize(u32::from_be_bytes(length) as usize, 0);
            stream.read_exact(&mut answer).await.expect("an answer");
            let _ = answered.send(());
        }
    });
    let (mut ours, mut bare) = (Measured::default(), Measured::default());
    producer.send(&record).await.expect("it is delivered");
    while ours.times.len() < records {
        let before = switches();
        for _ in 0..TURN {
            let began = Instant::now();
            producer.send(&record).await.expect("it is delivered");
            ours.times.push(began.elapsed());
        }
        let between = switches();
        for _ in 0..TURN {
            let began = Instant::now();
            let (answered, came) = oneshot::channel();
            asks.send(answered).expect("the task");
            came.await.expect("the task");
            bare.times.push(began.elapsed());
        }
        ours.switches += between - before;
        bare.switches += switches() - between;
    }
    producer.close(Duration::from_secs(10)).await.expect("it closes");
    tell("tokio", ours, bare);
}

/// A Produce request with one record of [`VALUE`].
fn request() -> Vec<u8> {
    let record = kafka::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: kafka::TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from_static(&VALUE)),
        headers: Default::default(),
    };
    let mut batch = BytesMut::new();
    let options = kafka::RecordEncodeOptions { version: 2, compression: kafka::Compression::None };
    kafka::RecordBatchEncoder::encode(&mut batch, &[record], &options).expect("a batch");
    let data = PartitionProduceData::default().with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default().with_name(TopicName(StrBytes::from_static_str("t")));
    let topics = vec![topic.with_partition_data(vec![data])];
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(topics);
    let (key, version) = (ApiKey::Produce, 9);
    let header = RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, key.request_header_version(version)).expect("a header");
    request.encode(&mut bytes, version).expect("a request");
    [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
}

/// Voluntary context switches of all threads but the cluster's.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").starts_with("milena-cluster") {
            return 0;
        }
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    tasks.map(of).sum()
}
