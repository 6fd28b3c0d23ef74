//! Who sends what, and what becomes of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use milena::{Config, Delivered, Error, Record};

use super::now;
use crate::broker::Kafka;

/// Which adapter produces.
#[derive(Clone, Copy, Debug)]
pub enum Adapter {
    Threads,
    Tokio,
    Smol,
}

/// What is promised of a record that is said to be delivered. One that is said to be nowhere is never in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It is there once, and in order.
    Once,
    /// It is there.
    Somewhere,
    /// It was.
    Nothing,
}

/// A producer and its records.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub name: &'static str,
    adapter: Adapter,
    listener: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// In turn.
    topics: &'static [&'static str],
    /// Records a second, until there were so many; then it pauses for so long.
    rate: u32,
    burst: (u64, Duration),
    pub promise: Promise,
}

const NO_PAUSE: (u64, Duration) = (u64::MAX, Duration::ZERO);
/// Longer than nodes remember producers, and than the time after which the producer itself begins with one batch.
const SELDOM: (u64, Duration) = (40, Duration::from_secs(62));
const MANY: &[&str] = &["steady", "grown", "anew"];

/// All with another way to lose or to double something.
pub const STREAMS: &[Plan] = &[
    Plan {
        name: "threads",
        adapter: Adapter::Threads,
        listener: "PLAIN",
        options: &[("delivery.timeout.ms", "20000")],
        topics: MANY,
        rate: 80,
        burst: NO_PAUSE,
        promise: Promise::Once,
    },
    // So short that records fail in a calamity, in doubt and without.
    Plan {
        name: "tokio",
        adapter: Adapter::Tokio,
        listener: "TLS",
        options: &[("delivery.timeout.ms", "5000"), ("request.timeout.ms", "2000")],
        topics: MANY,
        rate: 80,
        burst: NO_PAUSE,
        promise: Promise::Once,
    },
    Plan {
        name: "smol",
        adapter: Adapter::Smol,
        listener: "PLAIN",
        options: &[("delivery.timeout.ms", "20000"), ("compression.type", "lz4"), ("linger.ms", "50")],
        topics: MANY,
        rate: 60,
        burst: NO_PAUSE,
        promise: Promise::Once,
    },
    Plan {
        name: "rights",
        adapter: Adapter::Threads,
        listener: "USERS",
        options: &[("delivery.timeout.ms", "20000")],
        topics: &["rights"],
        rate: 30,
        burst: NO_PAUSE,
        promise: Promise::Once,
    },
    Plan {
        name: "seldom",
        adapter: Adapter::Tokio,
        listener: "PLAIN",
        options: &[("delivery.timeout.ms", "20000"), ("linger.ms", "0")],
        topics: &["seldom"],
        rate: 300,
        burst: SELDOM,
        promise: Promise::Once,
    },
    Plan {
        name: "plain",
        adapter: Adapter::Tokio,
        listener: "TLS",
        options: &[("delivery.timeout.ms", "20000"), ("enable.idempotence", "false")],
        topics: &["plain"],
        rate: 30,
        burst: NO_PAUSE,
        promise: Promise::Somewhere,
    },
    Plan {
        name: "leader",
        adapter: Adapter::Threads,
        listener: "PLAIN",
        options: &[("delivery.timeout.ms", "20000"), ("enable.idempotence", "false"), ("acks", "1")],
        topics: &["acks-1"],
        rate: 30,
        burst: NO_PAUSE,
        promise: Promise::Nothing,
    },
];

/// The name by which nodes know all of them.
pub const CLIENT: &str = "chaos";

impl Plan {
    pub fn config(&self, kafka: &Kafka) -> Config {
        let (servers, authority) = (kafka.address_of(self.listener), kafka.file("ca.pem"));
        let jaas =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
        let mut options = vec![
            ("bootstrap.servers", &*servers),
            ("client.id", CLIENT),
            ("request.timeout.ms", "3000"),
            ("linger.ms", "3"),
        ];
        match self.listener {
            "TLS" => options.extend([
                ("security.protocol", "SSL"),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", &authority),
            ]),
            "USERS" => options.extend([
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.jaas.config", jaas),
            ]),
            _ => {}
        }
        options.retain(|(name, _)| self.options.iter().all(|(own, _)| own != name));
        options.extend(self.options);
        Config::from_properties(options).expect("valid options")
    }
}

/// What became of a record.
#[derive(Clone, Debug)]
pub enum Outcome {
    Delivered { partition: i32, offset: Option<i64> },
    Failed { possibly_written: bool, words: String },
    NotTaken,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Sent {
    pub topic: &'static str,
    /// What happened to the nodes then.
    pub window: usize,
    pub taken: Instant,
    /// What was said of it, and when. One is right.
    pub outcomes: Vec<(Outcome, Instant)>,
}

/// All that a producer was given, by their numbers.
pub struct Stream {
    pub plan: &'static Plan,
    pub sent: Vec<Sent>,
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<Sent>>>);

impl Book {
    fn records(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, n: usize, outcome: Outcome) {
        self.records()[n].outcomes.push((outcome, now()));
    }

    fn hear(&self, n: usize, outcome: Result<Delivered, Error>) {
        self.note(
            n,
            match outcome {
                Ok(delivered) => Outcome::Delivered { partition: delivered.partition, offset: delivered.offset },
                Err(error) => Outcome::Failed { possibly_written: error.possibly_written(), words: error.to_string() },
            },
        );
    }
}

/// A producer with what drives it.
enum Handle {
    Threads(milena::threads::Producer),
    Tokio(milena::tokio::Producer, tokio::runtime::Runtime),
    Smol(milena::smol::Producer),
}

impl Handle {
    fn new(plan: &Plan, config: Config) -> Result<Self, String> {
        let words = |error: milena::SetupError| error.to_string();
        Ok(match plan.adapter {
            Adapter::Threads => Self::Threads(milena::threads::Producer::new(config).map_err(words)?),
            Adapter::Tokio => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let builder = builder.worker_threads(1).thread_name("client-tokio").enable_all();
                let runtime = builder.build().map_err(|error| error.to_string())?;
                let entered = runtime.enter();
                let producer = milena::tokio::Producer::spawn(config).map_err(words)?;
                drop(entered);
                Self::Tokio(producer, runtime)
            }
            Adapter::Smol => {
                let (producer, driver) = milena::smol::Producer::new(config).map_err(words)?;
                smol::spawn(driver).detach();
                Self::Smol(producer)
            }
        })
    }

    /// Without waiting: what is not taken is never sent.
    fn send(&self, record: &Record<'_>, book: &Book, n: usize) -> Result<(), Error> {
        let book = book.clone();
        match self {
            Self::Threads(producer) => {
                producer.try_send_with(record, move |outcome| book.hear(n, outcome)).map_err(|refused| refused.error)
            }
            Self::Tokio(producer, runtime) => {
                let ack = producer.try_enqueue(record)?;
                runtime.spawn(async move { book.hear(n, ack.await) });
                Ok(())
            }
            Self::Smol(producer) => {
                let ack = producer.try_enqueue(record)?;
                smol::spawn(async move { book.hear(n, ack.await) }).detach();
                Ok(())
            }
        }
    }

    fn close(&self) -> Result<u64, Error> {
        let patience = Duration::from_secs(60);
        match self {
            Self::Threads(producer) => producer.close(patience),
            Self::Tokio(producer, runtime) => runtime.block_on(producer.close(patience)),
            Self::Smol(producer) => smol::block_on(producer.close(patience)),
        }
    }
}

/// Sends until it is over. `rested` is called after each pause.
pub fn run(
    plan: &'static Plan,
    config: Config,
    window: &AtomicUsize,
    over: &AtomicBool,
    rested: &dyn Fn(),
) -> Result<Stream, String> {
    let (handle, book) = (Handle::new(plan, config)?, Book::default());
    let (mut n, mut start, mut since_start) = (0_usize, now(), 0_u64);
    while !over.load(Ordering::SeqCst) {
        if since_start >= plan.burst.0 {
            if now() - start > plan.burst.1 {
                rested();
                (start, since_start) = (now(), 0);
            }
        } else if (since_start as f64) < (now() - start).as_secs_f64() * f64::from(plan.rate) {
            send(plan, &handle, &book, n, window.load(Ordering::SeqCst));
            (n, since_start) = (n + 1, since_start + 1);
            continue;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let closed = handle.close();
    for _ in 0..500 {
        if book.records().iter().all(|sent| !sent.outcomes.is_empty()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    closed.map_err(|error| format!("{} does not close: {error}", plan.name))?;
    let sent = std::mem::take(&mut *book.records());
    Ok(Stream { plan, sent })
}

fn send(plan: &Plan, handle: &Handle, book: &Book, n: usize, window: usize) {
    let topic = plan.topics[n % plan.topics.len()];
    let value = format!("{}:{n}:{}", plan.name, "x".repeat(n * 37 % 200));
    let key = format!("{}", n % 50);
    let record = Record::new(topic).value(&value);
    let record = if n / plan.topics.len() % 2 == 0 { record.key(&key) } else { record };
    book.records().push(Sent { topic, window, taken: now(), outcomes: Vec::new() });
    if handle.send(&record, book, n).is_err() {
        book.note(n, Outcome::NotTaken);
    }
}

/// Whose record a value is, and its number.
pub fn of_value(value: &str) -> Option<(&str, usize)> {
    let (name, rest) = value.split_once(':')?;
    Some((name, rest.split_once(':')?.0.parse().ok()?))
}
