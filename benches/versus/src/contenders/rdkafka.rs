//! librdkafka, by the crate rdkafka: `ThreadedProducer`, `BaseProducer` polled by the thread that sends, `FutureProducer`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, FutureProducer, FutureRecord, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::util::Timeout;

use super::{WINDOW, delivered_by, measured, runtime};
use crate::measure::{Latencies, Meter, Pace};
use crate::task::{Shape, Task};

/// How long a sender whose record found the queue full waits before it tries again. `BaseProducer::poll` waits that long,
/// too, even if outcomes come sooner.
const FULL: Duration = Duration::from_millis(1);

fn config(task: &Task) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &task.bootstrap)
        .set("broker.address.family", "v4")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight", "5")
        .set("linger.ms", task.linger.to_string())
        .set("batch.size", "262144")
        .set("queue.buffering.max.kbytes", (task.memory >> 10).to_string())
        // The memory is to be the bound, whatever the size of a record; the most that it takes is ten million.
        .set("queue.buffering.max.messages", (task.memory / task.size.max(1) + 1).to_string())
        .set("compression.type", &task.codec);
    if task.codec == "zstd" {
        config.set("compression.level", "3");
    }
    if !task.ca.is_empty() {
        config.set("security.protocol", "ssl").set("ssl.ca.location", &task.ca);
    }
    config
}

/// A record, and when it was to be sent.
struct Sent {
    number: u64,
    since: Instant,
}

/// Notes when outcomes come, and tells whoever waits for one.
struct Noting {
    delivered: Arc<AtomicU64>,
    latencies: Arc<Latencies>,
    told: SyncSender<()>,
}

impl ClientContext for Noting {}

impl ProducerContext for Noting {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, outcome: &DeliveryResult<'_>, sent: Box<Sent>) {
        self.latencies.note(sent.number, sent.since);
        self.delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
        let _ = self.told.try_send(()); // nobody waits for those at a pace
    }
}

/// Counts outcomes, with nothing allocated for a record: the cheapest honest way.
struct Counting(Arc<AtomicU64>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, outcome: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
    }
}

fn is_full(error: &KafkaError) -> bool {
    *error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
}

/// Waits for the topic, which is created when it is first asked for.
fn prepare<C: ClientContext>(client: &rdkafka::client::Client<C>, topic: &str) {
    for _ in 0..100 {
        let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata");
        if metadata.topics().iter().any(|found| !found.partitions().is_empty() && found.error().is_none()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the topic is not there");
}

/// The thread that polls may still be about to call for the last outcomes when a flush is over.
fn settle(delivered: &AtomicU64, all: u64) {
    let began = Instant::now();
    while delivered.load(Ordering::Relaxed) < all && began.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
}

/// A callback for each record: `ProducerContext::delivery`, which counts.
pub fn threaded(task: &Task) {
    if matches!(task.shape, Shape::One | Shape::Paced) {
        return with_latencies(task);
    }
    let delivered = Arc::new(AtomicU64::new(0));
    let producer: ThreadedProducer<Counting> =
        config(task).create_with_context(Counting(Arc::clone(&delivered))).expect("a producer");
    prepare(producer.client(), &task.topic);
    let values = task.values();
    let send_all = |records: u64| {
        std::thread::scope(|scope| {
            for _ in 0..task.senders {
                scope.spawn(|| {
                    for value in values.iter().cycle().take(task.share(records) as usize) {
                        let mut record = BaseRecord::<(), _>::to(&task.topic).payload(value);
                        while let Err((error, back)) = producer.send(record) {
                            assert!(is_full(&error), "{error}");
                            std::thread::sleep(FULL);
                            record = back;
                        }
                    }
                });
            }
        });
        producer.flush(Timeout::Never).expect("it is flushed");
    };
    send_all(task.warmup);
    settle(&delivered, task.warmup);
    let warm = delivered.load(Ordering::Relaxed);
    let meter = Meter::begin();
    send_all(task.records);
    settle(&delivered, warm + task.records);
    meter.end(task, delivered.load(Ordering::Relaxed) - warm, None);
}

/// One record at a time, or at a pace.
fn with_latencies(task: &Task) {
    let (delivered, latencies) = (Arc::new(AtomicU64::new(0)), Arc::new(Latencies::new(task.records)));
    let (told, outcomes) = sync_channel(1);
    let context = Noting { delivered: Arc::clone(&delivered), latencies: Arc::clone(&latencies), told };
    let producer: ThreadedProducer<Noting> = config(task).create_with_context(context).expect("a producer");
    prepare(producer.client(), &task.topic);
    let values = task.values();
    let send = |value: &Vec<u8>, number: u64, since: Instant| {
        let sent = Box::new(Sent { number, since });
        let mut record = BaseRecord::<(), _, _>::with_opaque_to(&task.topic, sent).payload(value);
        while let Err((error, back)) = producer.send(record) {
            assert!(is_full(&error), "{error}");
            std::thread::sleep(FULL);
            record = back;
        }
    };
    for value in values.iter().cycle().take(task.warmup as usize) {
        send(value, u64::MAX, Instant::now()); // a number that no slot has
    }
    producer.flush(Timeout::Never).expect("it is flushed");
    settle(&delivered, task.warmup);
    let warm = delivered.load(Ordering::Relaxed);
    let _ = outcomes.try_recv();
    let numbered = values.iter().cycle().zip(0..task.records);
    let meter = Meter::begin();
    if task.shape == Shape::Paced {
        let pace = Pace::new(task.rate);
        numbered.for_each(|(value, number)| send(value, number, pace.wait_for(number)));
        producer.flush(Timeout::Never).expect("it is flushed");
        settle(&delivered, warm + task.records);
    } else {
        numbered.for_each(|(value, number)| {
            send(value, number, Instant::now());
            outcomes.recv().expect("an outcome");
        });
    }
    meter.end(task, delivered.load(Ordering::Relaxed) - warm, Some(&latencies));
}

/// The thread that sends takes outcomes too, now and then: no other thread is woken for them.
pub fn base(task: &Task) {
    let delivered = Arc::new(AtomicU64::new(0));
    let producer: BaseProducer<Counting> =
        config(task).create_with_context(Counting(Arc::clone(&delivered))).expect("a producer");
    prepare(producer.client(), &task.topic);
    let values = task.values();
    let send_all = |records: u64| {
        for (number, value) in values.iter().cycle().take(records as usize).enumerate() {
            let mut record = BaseRecord::<(), _>::to(&task.topic).payload(value);
            while let Err((error, back)) = producer.send(record) {
                assert!(is_full(&error), "{error}");
                producer.poll(FULL);
                record = back;
            }
            if number % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Timeout::Never).expect("it is flushed");
    };
    send_all(task.warmup);
    let warm = delivered.load(Ordering::Relaxed);
    let meter = Meter::begin();
    send_all(task.records);
    meter.end(task, delivered.load(Ordering::Relaxed) - warm, None);
}

pub fn future(task: &Task) {
    let producer: FutureProducer = config(task).create().expect("a producer");
    prepare(producer.client(), &task.topic);
    runtime(task).block_on(async {
        match task.shape {
            Shape::Tasks => tasks(task, producer).await,
            Shape::OneTask => one_task(task, &producer).await,
            _ => acks(task, &producer).await,
        }
    });
}

async fn acks(task: &Task, producer: &FutureProducer) {
    let values = task.values();
    let run = async |records: u64| {
        let mut acks: VecDeque<DeliveryFuture> = VecDeque::with_capacity(WINDOW);
        let mut delivered = 0;
        for value in values.iter().cycle().take(records as usize) {
            if acks.len() == WINDOW
                && let Some(ack) = acks.pop_front()
            {
                delivered += u64::from(ack.await.is_ok_and(|outcome| outcome.is_ok()));
            }
            let record = FutureRecord::<(), _>::to(&task.topic).payload(value);
            acks.push_back(producer.send_result(record).map_err(|(error, _)| error).expect("the record is taken"));
        }
        for ack in acks {
            delivered += u64::from(ack.await.is_ok_and(|outcome| outcome.is_ok()));
        }
        delivered
    };
    measured(task, run).await;
}

async fn tasks(task: &Task, producer: FutureProducer) {
    let run = async |records: u64| {
        let send = |producer: FutureProducer, topic: String, value: Vec<u8>, records: u64| async move {
            let mut delivered = 0;
            for _ in 0..records {
                let record = FutureRecord::<(), _>::to(&topic).payload(&value);
                delivered += u64::from(producer.send(record, Timeout::Never).await.is_ok());
            }
            delivered
        };
        let one = || send(producer.clone(), task.topic.clone(), vec![b'v'; task.size], task.share(records));
        let senders: Vec<_> = (0..task.senders).map(|_| tokio::spawn(one())).collect();
        delivered_by(senders).await
    };
    measured(task, run).await;
}

async fn one_task(task: &Task, producer: &FutureProducer) {
    let value = vec![b'v'; task.size];
    let send = || producer.send(FutureRecord::<(), _>::to(&task.topic).payload(&value), Timeout::Never);
    for _ in 0..task.warmup {
        send().await.expect("it is delivered");
    }
    let latencies = Latencies::new(task.records);
    let meter = Meter::begin();
    let mut delivered = 0;
    for number in 0..task.records {
        let since = Instant::now();
        delivered += u64::from(send().await.is_ok());
        latencies.note(number, since);
    }
    meter.end(task, delivered, Some(&latencies));
}
