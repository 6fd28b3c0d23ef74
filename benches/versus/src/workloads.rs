//! What is measured, and who takes part in it.

use std::time::Duration;

use crate::task::{Shape, Task};

/// Which columns say what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Throughput,
    Senders,
    Compression,
    Latency,
    OneByOne,
}

/// One contender in one workload.
#[derive(Clone, Debug)]
pub struct Case {
    pub who: &'static str,
    /// What sets it apart from others of the same contender; empty if nothing does.
    pub variant: String,
    pub task: Task,
    /// Whether callgrind counts its instructions.
    pub counted: bool,
}

#[derive(Clone, Debug)]
pub struct Workload {
    /// As `--only` has it.
    pub name: &'static str,
    pub title: &'static str,
    /// What is sent, and what to know of it.
    pub words: &'static str,
    pub kind: Kind,
    pub cases: Vec<Case>,
    /// Each way.
    pub delay: Duration,
    pub tls: bool,
    /// Values that look like real ones.
    pub json: bool,
}

const MILENA: &str = "milena";
const THREADED: &str = "rdkafka-threaded";
const BASE: &str = "rdkafka-base";
const FUTURE: &str = "rdkafka-future";
const RSKAFKA: &str = "rskafka";
const KRAFKA: &str = "krafka";
const FRANZ: &str = "franz-go";
const JAVA: &str = "java";
const BARE: &str = "bare";

fn case(who: &'static str, mut task: Task) -> Case {
    if who == JAVA {
        // Its compiler works while it runs, so it runs longer before it is measured.
        task.warmup = task.records;
    }
    Case { who, variant: String::new(), task, counted: false }
}

impl Case {
    fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    fn variant(mut self, words: impl Into<String>, change: impl FnOnce(&mut Task)) -> Self {
        self.variant = words.into();
        change(&mut self.task);
        self
    }
}

fn workload(name: &'static str, title: &'static str, kind: Kind, words: &'static str, cases: Vec<Case>) -> Workload {
    Workload { name, title, words, kind, cases, delay: Duration::ZERO, tls: false, json: false }
}

/// All, each with as many records as take a second or two.
pub fn all() -> Vec<Workload> {
    vec![callback(), acks(), send_all(), kibibyte(), threads(), full(), tasks(), round_trip(), tls()]
        .into_iter()
        .chain([compressed("lz4", "lz4"), compressed("zstd", "zstd, level 3")])
        .chain([one(), one_task(), paced("pace-5k", 5000), paced("pace-50k", 50_000)])
        .collect()
}

fn callback() -> Workload {
    let task = |records| Task::new(Shape::Callback, 100, records);
    let cases = vec![
        case(MILENA, task(5_000_000)).counted(),
        case(THREADED, task(1_500_000)).counted(),
        case(BASE, task(1_500_000)).counted(),
        case(FRANZ, task(2_000_000)),
        case(JAVA, task(1_500_000)),
        case(RSKAFKA, task(3_000_000)),
    ];
    let words = "One sender, a callback for each record (`send_with`, `ProducerContext::delivery`, a promise, a \
                 `Callback`). rskafka has no callbacks: it is given ready-made batches, tells one outcome a batch, \
                 and is not idempotent.";
    workload("callback", "100 bytes, a callback each", Kind::Throughput, words, cases)
}

fn acks() -> Workload {
    let task = |records| Task::new(Shape::Acks, 100, records);
    let cases = vec![
        case(MILENA, task(3_000_000)).counted(),
        case(FUTURE, task(500_000)).counted(),
        case(KRAFKA, task(600_000)),
        case(JAVA, task(1_500_000)),
    ];
    let words = "One sender, a handle or future for each record (`enqueue`, `send_result`, `Future`); with 20,000 \
                 out, the oldest is waited for.";
    workload("acks", "100 bytes, an acknowledgement each", Kind::Throughput, words, cases)
}

fn send_all() -> Workload {
    let task = |shape, records| Task::new(shape, 100, records);
    let cases =
        vec![case(MILENA, task(Shape::SendAll, 5_000_000)).counted(), case(RSKAFKA, task(Shape::Callback, 3_000_000))];
    let words = "One sender, 1,000 records in a call, an outcome for each. Of the others only rskafka takes many at \
                 a time, and it takes no fewer: a batch for one partition, which is not idempotent.";
    workload("send-all", "100 bytes, many in a call", Kind::Throughput, words, cases)
}

fn kibibyte() -> Workload {
    let task = |records| Task::new(Shape::Callback, 1024, records);
    let cases = vec![
        case(MILENA, task(1_500_000)).counted(),
        case(THREADED, task(600_000)).counted(),
        case(BASE, task(600_000)),
        case(FRANZ, task(800_000)),
        case(JAVA, task(800_000)),
        case(RSKAFKA, task(600_000)),
    ];
    workload(
        "callback-1k",
        "1,024 bytes, a callback each",
        Kind::Throughput,
        "As the first, with larger values.",
        cases,
    )
}

const SENDERS: [usize; 3] = [1, 16, 64];

fn by_senders(records: [u64; 3], memory: usize) -> Vec<Case> {
    let contenders = [MILENA, THREADED, FRANZ].into_iter().zip(records);
    let cases = contenders.flat_map(|(who, records)| {
        SENDERS.map(|senders| {
            let records = records / 64 * 64; // each sender has as many
            case(who, Task::new(Shape::Callback, 100, records)).variant(senders.to_string(), |task| {
                task.senders = senders;
                task.memory = memory;
                task.warmup = records / 640 * 64;
            })
        })
    });
    cases.collect()
}

fn threads() -> Workload {
    let words = "Threads (goroutines of franz-go) that share a producer with 32 MiB, 100 bytes, a callback each. The \
                 ratios are to one thread of the same contender.";
    let cases = by_senders([3_000_000, 1_000_000, 1_500_000], 32 << 20);
    workload("threads", "Many threads, memory to spare", Kind::Senders, words, cases)
}

fn full() -> Workload {
    let words = "The same with 256 KiB for records, so that senders wait for room all the time: `buffer.memory`, \
                 `queue.buffering.max.kbytes`, `MaxBufferedBytes`. What counts as memory differs: milena counts what \
                 its batches take, the others count values. librdkafka says that the queue is full instead of \
                 waiting; its senders then sleep a millisecond, and try again.";
    let cases = by_senders([1_500_000, 300_000, 600_000], 256 << 10);
    workload("full", "Many threads, memory full", Kind::Senders, words, cases)
}

fn tasks() -> Workload {
    let cases = [(0, "current thread"), (2, "2 workers")].into_iter().flat_map(|(workers, words)| {
        let task = |records| {
            let mut task = Task::new(Shape::Tasks, 100, records);
            (task.senders, task.workers, task.linger) = (1000, workers, 5);
            task
        };
        [
            case(MILENA, task(1_000_000)).variant(words, |_| {}),
            case(FUTURE, task(200_000)).variant(words, |_| {}),
            case(KRAFKA, task(300_000)).variant(words, |_| {}),
            case(RSKAFKA, task(300_000)).variant(words, |_| {}),
        ]
    });
    let mut goroutines = Task::new(Shape::Tasks, 100, 300_000);
    goroutines.senders = 1000;
    let cases = cases.chain([case(FRANZ, goroutines).variant("goroutines", |_| {})]).collect();
    let words = "1,000 tasks of tokio, each of which awaits a record's outcome before it sends the next; 100 bytes. \
                 rskafka by its `BatchProducer`, which is not idempotent. A thousand records are out at most, so \
                 linger is a part of the time; of CPU it is none.";
    workload("tasks", "1,000 tasks that wait", Kind::Throughput, words, cases)
}

fn round_trip() -> Workload {
    let task = |records| Task::new(Shape::Callback, 100, records);
    let cases = vec![
        case(MILENA, task(3_000_000)),
        case(THREADED, task(1_000_000)),
        case(FRANZ, task(1_500_000)),
        case(JAVA, task(1_500_000)),
        case(RSKAFKA, task(1_500_000)),
    ];
    let words = "The server takes 5 ms each way. One sender, 100 bytes, a callback each, 4 partitions of one broker: \
                 how much is on its way at a time decides. Peak memory is that of a producer that has more to send \
                 than the network takes.";
    let workload = workload("round-trip", "A round trip of 10 ms", Kind::Throughput, words, cases);
    Workload { delay: Duration::from_millis(5), ..workload }
}

fn tls() -> Workload {
    let task = |records| Task::new(Shape::Callback, 1024, records);
    let cases = vec![
        case(MILENA, task(500_000)),
        case(THREADED, task(300_000)),
        case(FRANZ, task(400_000)),
        case(JAVA, task(400_000)),
    ];
    let words = "1,024 bytes, a callback each, TLS 1.3 with TLS_AES_256_GCM_SHA384: rustls with ring, OpenSSL, Go's, \
                 Java's. The server decrypts on the same machine, which bounds records a second.";
    let workload = workload("tls", "TLS 1.3", Kind::Throughput, words, cases);
    Workload { tls: true, ..workload }
}

fn compressed(name: &'static str, codec: &'static str) -> Workload {
    let task = |records| {
        let mut task = Task::new(Shape::Callback, 400, records);
        task.codec = name.into();
        task
    };
    let cases = vec![
        case(MILENA, task(600_000)),
        case(THREADED, task(400_000)),
        case(FRANZ, task(400_000)),
        case(JAVA, task(400_000)),
    ];
    let title = if name == "lz4" { "Compressed: lz4" } else { "Compressed: zstd, level 3" };
    let words = match codec {
        "lz4" => {
            "Events in JSON of some 400 bytes, 20,000 different ones, a callback each. lz4_flex (safe Rust), LZ4 in C, pierrec/lz4, lz4-java."
        }
        _ => "The same events. libzstd for all but franz-go, which has klauspost's.",
    };
    Workload { json: true, ..workload(name, title, Kind::Compression, words, cases) }
}

fn one() -> Workload {
    let task = |records| {
        let mut task = Task::new(Shape::One, 100, records);
        task.linger = 0;
        task
    };
    let cases = vec![
        case(BARE, task(30_000)),
        case(MILENA, task(30_000)),
        case(THREADED, task(20_000)),
        case(FRANZ, task(20_000)),
        case(JAVA, task(20_000)),
    ];
    let words = "A thread sends a record of 100 bytes, waits until it is acknowledged, and sends the next; linger 0. \
                 \"Bare\" is the floor: a ready-made request through one I/O thread to the same server and back, no \
                 producer at all. `BaseProducer` is not there: its `poll` waits for the whole of its timeout, even \
                 if an outcome comes sooner.";
    workload("one", "One record at a time, threads", Kind::OneByOne, words, cases)
}

fn one_task() -> Workload {
    let task = |records| {
        let mut task = Task::new(Shape::OneTask, 100, records);
        task.linger = 0;
        task
    };
    let cases = vec![
        case(BARE, task(30_000)),
        case(MILENA, task(30_000)),
        case(FUTURE, task(20_000)),
        case(KRAFKA, task(20_000)),
    ];
    let words = "The same from a task of tokio, on a runtime of the current thread. \"Bare\" is two tasks, a channel \
                 between, and the socket.";
    workload("one-task", "One record at a time, tokio", Kind::OneByOne, words, cases)
}

fn paced(name: &'static str, rate: u64) -> Workload {
    let cases = [5, 0].into_iter().flat_map(|linger| {
        [MILENA, THREADED, FRANZ, JAVA].map(|who| {
            let mut task = Task::new(Shape::Paced, 100, rate * 2);
            (task.rate, task.linger) = (rate, linger);
            case(who, task).variant(format!("linger {linger}"), |_| {})
        })
    });
    let cases = cases.collect();
    let (title, words) = match rate {
        5000 => (
            "5,000 records a second",
            "100 bytes, a callback each, one every 200 µs; latency from the time when a record was to be sent until \
                         its outcome is told. With linger 5 ms most of it is that wait.",
        ),
        _ => ("50,000 records a second", "The same, one every 20 µs."),
    };
    workload(name, title, Kind::Latency, words, cases)
}
