//! milena: `milena::threads`, and `milena::tokio` for tasks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milena::threads::{Ack, Producer};
use milena::{Config, Record, SecurityProtocol, TlsOptions};

use super::{WINDOW, delivered_by, measured, runtime};
use crate::measure::{Latencies, Meter, Pace};
use crate::task::{Shape, Task};

pub fn run(task: &Task) {
    match task.shape {
        Shape::Tasks => runtime(task).block_on(tasks(task)),
        Shape::OneTask => runtime(task).block_on(one_task(task)),
        _ => threads(task),
    }
}

fn config(task: &Task) -> Config {
    let mut builder = Config::builder(&task.bootstrap)
        .buffer_memory(task.memory)
        .option("linger.ms", &task.linger.to_string())
        .option("compression.type", &task.codec);
    if !task.ca.is_empty() {
        builder = builder.security_protocol(SecurityProtocol::Ssl).tls(TlsOptions::new().truststore_location(&task.ca));
    }
    builder.build().expect("valid options")
}

fn threads(task: &Task) {
    let producer = Producer::new(config(task)).expect("a producer");
    producer.partitions_for(&task.topic).expect("the topic");
    let values = task.values();
    let send: fn(&Producer, &Task, &[Vec<u8>], u64) -> u64 = match task.shape {
        Shape::Callback => by_callback,
        Shape::Acks => by_ack,
        Shape::SendAll => all_at_once,
        _ => return one_by_one(&producer, task, &values),
    };
    send(&producer, task, &values, task.warmup);
    let meter = Meter::begin();
    let delivered = send(&producer, task, &values, task.records);
    meter.end(task, delivered, None);
    producer.close(Duration::from_secs(10)).expect("it closes");
}

/// A count that callbacks refer to as they are, as those of the others do: no count of references for each record.
fn counter() -> &'static AtomicU64 {
    Box::leak(Box::default())
}

fn by_callback(producer: &Producer, task: &Task, values: &[Vec<u8>], records: u64) -> u64 {
    let delivered = counter();
    std::thread::scope(|scope| {
        for _ in 0..task.senders {
            scope.spawn(|| {
                for value in values.iter().cycle().take(task.share(records) as usize) {
                    let note = move |outcome: Result<_, _>| {
                        delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
                    };
                    producer.send_with(&Record::new(&task.topic).value(value), note).expect("the record is taken");
                }
            });
        }
    });
    producer.flush().expect("it is flushed");
    delivered.load(Ordering::Relaxed)
}

fn by_ack(producer: &Producer, task: &Task, values: &[Vec<u8>], records: u64) -> u64 {
    let mut acks: VecDeque<Ack> = VecDeque::with_capacity(WINDOW);
    let mut delivered = 0;
    for value in values.iter().cycle().take(records as usize) {
        if acks.len() == WINDOW {
            delivered += acks.pop_front().map_or(0, |ack| u64::from(ack.wait().is_ok()));
        }
        acks.push_back(producer.enqueue(&Record::new(&task.topic).value(value)).expect("the record is taken"));
    }
    delivered + acks.into_iter().filter(|ack| ack.wait().is_ok()).count() as u64
}

fn all_at_once(producer: &Producer, task: &Task, values: &[Vec<u8>], records: u64) -> u64 {
    const MANY: usize = 1000;
    let mut open: VecDeque<Vec<Ack>> = VecDeque::new();
    let mut delivered = 0;
    let mut wait = |acks: Vec<Ack>| delivered += acks.iter().filter(|ack| ack.wait().is_ok()).count() as u64;
    let mut records = values.iter().cycle().map(|value| Record::new(&task.topic).value(value)).take(records as usize);
    loop {
        let acks = producer.send_all(records.by_ref().take(MANY)).expect("all are taken");
        if acks.is_empty() {
            break;
        }
        open.push_back(acks);
        if open.len() > WINDOW / MANY {
            open.pop_front().into_iter().for_each(&mut wait);
        }
    }
    open.into_iter().for_each(&mut wait);
    delivered
}

/// With latencies: each waited for, or at a pace.
fn one_by_one(producer: &Producer, task: &Task, values: &[Vec<u8>]) {
    by_callback(producer, task, values, task.warmup);
    let latencies = Arc::new(Latencies::new(task.records));
    let mut numbered = values.iter().cycle().zip(0..task.records);
    let meter = Meter::begin();
    let delivered = match task.shape {
        Shape::Paced => {
            let delivered = counter();
            let pace = Pace::new(task.rate);
            numbered.by_ref().for_each(|(value, number)| {
                let latencies = Arc::clone(&latencies);
                let since = pace.wait_for(number);
                let note = move |outcome: Result<_, _>| {
                    latencies.note(number, since);
                    delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
                };
                producer.send_with(&Record::new(&task.topic).value(value), note).expect("the record is taken");
            });
            producer.flush().expect("it is flushed");
            delivered.load(Ordering::Relaxed)
        }
        _ => numbered.by_ref().fold(0, |delivered, (value, number)| {
            let since = std::time::Instant::now();
            let outcome = producer.send(&Record::new(&task.topic).value(value));
            latencies.note(number, since);
            delivered + u64::from(outcome.is_ok())
        }),
    };
    meter.end(task, delivered, Some(&latencies));
    producer.close(Duration::from_secs(10)).expect("it closes");
}

async fn tasks(task: &Task) {
    let producer = milena::tokio::Producer::spawn(config(task)).expect("a producer");
    producer.partitions_for(&task.topic).await.expect("the topic");
    let run = async |records: u64| {
        let send = |producer: milena::tokio::Producer, topic: String, value: Vec<u8>, records: u64| async move {
            let mut delivered = 0;
            for _ in 0..records {
                delivered += u64::from(producer.send(&Record::new(&topic).value(&value)).await.is_ok());
            }
            delivered
        };
        let one = || send(producer.clone(), task.topic.clone(), vec![b'v'; task.size], task.share(records));
        let senders: Vec<_> = (0..task.senders).map(|_| tokio::spawn(one())).collect();
        delivered_by(senders).await
    };
    measured(task, run).await;
    producer.close(Duration::from_secs(10)).await.expect("it closes");
}

async fn one_task(task: &Task) {
    let producer = milena::tokio::Producer::spawn(config(task)).expect("a producer");
    producer.partitions_for(&task.topic).await.expect("the topic");
    let value = vec![b'v'; task.size];
    let record = Record::new(&task.topic).value(&value);
    for _ in 0..task.warmup {
        producer.send(&record).await.expect("it is delivered");
    }
    let latencies = Latencies::new(task.records);
    let meter = Meter::begin();
    let mut delivered = 0;
    for number in 0..task.records {
        let since = std::time::Instant::now();
        delivered += u64::from(producer.send(&record).await.is_ok());
        latencies.note(number, since);
    }
    meter.end(task, delivered, Some(&latencies));
    producer.close(Duration::from_secs(10)).await.expect("it closes");
}
