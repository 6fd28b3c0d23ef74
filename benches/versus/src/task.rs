//! What a contender is told to do: arguments `name=value`, the same for programs in all languages.

use std::collections::BTreeMap;

/// How records are given to a producer, and how their outcomes come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A callback for each record, on whatever thread the client calls it.
    Callback,
    /// A future or handle for each record; when many are out, the oldest is waited for.
    Acks,
    /// Many records in a call.
    SendAll,
    /// Tasks (or goroutines) that each wait for a record before they send the next.
    Tasks,
    /// One record at a time from a thread that blocks.
    One,
    /// One record at a time from a task of tokio.
    OneTask,
    /// A callback each, at a fixed rate; latency from when the record was to be sent.
    Paced,
}

const SHAPES: [(Shape, &str); 7] = [
    (Shape::Callback, "callback"),
    (Shape::Acks, "acks"),
    (Shape::SendAll, "send-all"),
    (Shape::Tasks, "tasks"),
    (Shape::One, "one"),
    (Shape::OneTask, "one-task"),
    (Shape::Paced, "paced"),
];

/// Everything but the contender.
#[derive(Clone, Debug)]
pub struct Task {
    pub shape: Shape,
    /// Records that are measured.
    pub records: u64,
    /// Records that are sent before.
    pub warmup: u64,
    /// Bytes of a value; those of `data` have their own.
    pub size: usize,
    /// Threads or, for [`Shape::Tasks`], tasks that share the producer.
    pub senders: usize,
    /// Worker threads of tokio; 0 for a runtime of the current thread.
    pub workers: usize,
    /// Bytes for records that are not delivered yet.
    pub memory: usize,
    /// Milliseconds.
    pub linger: u64,
    /// `none`, `lz4` or `zstd`.
    pub codec: String,
    /// Records a second; 0 for as many as can be.
    pub rate: u64,
    /// The certificate authority to trust, in PEM; empty without TLS.
    pub ca: String,
    /// A file of values, a line each; empty for values of one letter.
    pub data: String,
    pub bootstrap: String,
    pub topic: String,
}

impl Task {
    pub fn new(shape: Shape, size: usize, records: u64) -> Self {
        Self {
            shape,
            records,
            warmup: records / 10,
            size,
            senders: 1,
            workers: 0,
            memory: 32 << 20,
            linger: 5,
            codec: "none".into(),
            rate: 0,
            ca: String::new(),
            data: String::new(),
            bootstrap: String::new(),
            topic: "t".into(),
        }
    }

    pub fn arguments(&self) -> Vec<String> {
        let shape = SHAPES.iter().find(|(shape, _)| *shape == self.shape).map_or("", |(_, name)| name);
        vec![
            format!("shape={shape}"),
            format!("records={}", self.records),
            format!("warmup={}", self.warmup),
            format!("size={}", self.size),
            format!("senders={}", self.senders),
            format!("workers={}", self.workers),
            format!("memory={}", self.memory),
            format!("linger={}", self.linger),
            format!("codec={}", self.codec),
            format!("rate={}", self.rate),
            format!("ca={}", self.ca),
            format!("data={}", self.data),
            format!("bootstrap={}", self.bootstrap),
            format!("topic={}", self.topic),
        ]
    }

    /// # Panics
    /// If an argument is missing or no number: the driver is wrong then.
    pub fn parse(arguments: &[String]) -> Self {
        let named: BTreeMap<&str, &str> = arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
        let text = |name: &str| (*named.get(name).unwrap_or_else(|| panic!("{name}= is missing"))).to_string();
        let number = |name: &str| text(name).parse::<u64>().unwrap_or_else(|_| panic!("{name}= is no number"));
        let shape = SHAPES.iter().find(|(_, name)| *name == text("shape")).expect("a known shape").0;
        Self {
            shape,
            records: number("records"),
            warmup: number("warmup"),
            size: number("size") as usize,
            senders: number("senders") as usize,
            workers: number("workers") as usize,
            memory: number("memory") as usize,
            linger: number("linger"),
            codec: text("codec"),
            rate: number("rate"),
            ca: text("ca"),
            data: text("data"),
            bootstrap: text("bootstrap"),
            topic: text("topic"),
        }
    }

    /// The values to send, one after the other and then again from the first.
    pub fn values(&self) -> Vec<Vec<u8>> {
        if self.data.is_empty() {
            return vec![vec![b'v'; self.size]];
        }
        let text = std::fs::read(&self.data).unwrap_or_else(|error| panic!("{}: {error}", self.data));
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    }

    /// What each sender has to send, of as many records in all.
    pub fn share(&self, records: u64) -> u64 {
        records / self.senders as u64
    }
}
