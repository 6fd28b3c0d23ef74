//! krafka: `enqueue` with a handle for each record, and `send` in tasks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use krafka::producer::{Acks, DeliveryHandle, Producer};
use krafka::{Kafka, Record};

use super::{WINDOW, delivered_by, measured, runtime};
use crate::measure::{Latencies, Meter};
use crate::task::{Shape, Task};

pub fn run(task: &Task) {
    runtime(task).block_on(async {
        let kafka = Kafka::builder(&*task.bootstrap).allow_auto_create_topics(true).connect().await.expect("a client");
        let builder = kafka
            .producer()
            .acks(Acks::All)
            .idempotent(true)
            .linger(Duration::from_millis(task.linger))
            .batch_size(262_144)
            .buffer_memory(task.memory);
        let producer = Arc::new(builder.build().await.expect("a producer"));
        producer.partitions_for(&task.topic).await.expect("the topic");
        match task.shape {
            Shape::Tasks => tasks(task, &producer).await,
            Shape::OneTask => one_task(task, &producer).await,
            _ => acks(task, &producer).await,
        }
        producer.close().await.expect("it closes");
    });
}

async fn acks(task: &Task, producer: &Producer) {
    let value = Bytes::from(vec![b'v'; task.size]);
    let run = async |records: u64| {
        let mut acks: VecDeque<DeliveryHandle> = VecDeque::with_capacity(WINDOW);
        let mut delivered = 0;
        for _ in 0..records {
            if acks.len() == WINDOW
                && let Some(ack) = acks.pop_front()
            {
                delivered += u64::from(ack.await.is_ok());
            }
            let record = Record::new(task.topic.clone(), value.clone());
            acks.push_back(producer.enqueue(record).await.expect("the record is taken"));
        }
        for ack in acks {
            delivered += u64::from(ack.await.is_ok());
        }
        delivered
    };
    measured(task, run).await;
}

async fn tasks(task: &Task, producer: &Arc<Producer>) {
    let run = async |records: u64| {
        let senders: Vec<_> = (0..task.senders)
            .map(|_| {
                let (producer, topic, records) = (Arc::clone(producer), task.topic.clone(), task.share(records));
                let value = Bytes::from(vec![b'v'; task.size]);
                tokio::spawn(async move {
                    let mut delivered = 0;
                    for _ in 0..records {
                        let record = Record::new(topic.clone(), value.clone());
                        delivered += u64::from(producer.send(record).await.is_ok());
                    }
                    delivered
                })
            })
            .collect();
        delivered_by(senders).await
    };
    measured(task, run).await;
}

async fn one_task(task: &Task, producer: &Producer) {
    let value = Bytes::from(vec![b'v'; task.size]);
    let send = || producer.send(Record::new(task.topic.clone(), value.clone()));
    for _ in 0..task.warmup {
        let _ = send().await.expect("it is delivered");
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
