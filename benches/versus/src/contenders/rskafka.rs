//! rskafka, which has no callbacks and no idempotence: batches made ready by the application, one outcome a batch; and its
//! `BatchProducer` for tasks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::producer::BatchProducerBuilder;
use rskafka::client::producer::aggregator::RecordAggregator;
use rskafka::record::Record;

use super::{delivered_by, measured, runtime};
use crate::task::{Shape, Task};

/// Bytes of values in a batch.
const BATCH: usize = 262_144;

/// Batches on their way.
const IN_FLIGHT: usize = 5;

pub fn run(task: &Task) {
    runtime(task).block_on(async {
        let client = ClientBuilder::new(vec![task.bootstrap.clone()]).build().await.expect("a client");
        // It creates no topic by asking for it, so ask in its stead.
        let _ = client.controller_client().expect("a controller").create_topic(&*task.topic, 4, 1, 10_000).await;
        let mut partitions = Vec::new();
        for partition in 0..4 {
            let client = client.partition_client(&*task.topic, partition, UnknownTopicHandling::Retry).await;
            partitions.push(Arc::new(client.expect("the partition")));
        }
        match task.shape {
            Shape::Tasks => tasks(task, &partitions).await,
            _ => batches(task, &partitions).await,
        }
    });
}

fn record(value: Vec<u8>) -> Record {
    Record { key: None, value: Some(value), headers: BTreeMap::new(), timestamp: DateTime::<Utc>::UNIX_EPOCH }
}

fn compression(task: &Task) -> Compression {
    match &*task.codec {
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::NoCompression,
    }
}

async fn batches(task: &Task, partitions: &[Arc<PartitionClient>]) {
    let value = vec![b'v'; task.size];
    let many = (BATCH / task.size) as u64;
    let run = async |records: u64| {
        let mut open: VecDeque<tokio::task::JoinHandle<u64>> = VecDeque::new();
        let (mut delivered, mut sent) = (0, 0);
        for partition in partitions.iter().cycle() {
            if open.len() == IN_FLIGHT || sent == records {
                let Some(oldest) = open.pop_front() else { break };
                delivered += oldest.await.expect("a batch is sent");
            }
            if sent < records {
                let count = many.min(records - sent);
                let batch = (0..count).map(|_| record(value.clone())).collect();
                sent += count;
                let (partition, compression) = (Arc::clone(partition), compression(task));
                let send = async move {
                    partition.produce(batch, compression).await.map_or(0, |offsets| offsets.len() as u64)
                };
                open.push_back(tokio::spawn(send));
            }
        }
        delivered
    };
    measured(task, run).await;
}

async fn tasks(task: &Task, partitions: &[Arc<PartitionClient>]) {
    let producers: Vec<_> = partitions
        .iter()
        .map(|partition| {
            BatchProducerBuilder::new(Arc::clone(partition))
                .with_linger(Duration::from_millis(task.linger))
                .with_compression(compression(task))
                .build(RecordAggregator::new(BATCH))
        })
        .map(Arc::new)
        .collect();
    let run = async |records: u64| {
        let senders: Vec<_> = producers
            .iter()
            .cycle()
            .take(task.senders)
            .map(|producer| {
                let (producer, value, records) = (Arc::clone(producer), vec![b'v'; task.size], task.share(records));
                tokio::spawn(async move {
                    let mut delivered = 0;
                    for _ in 0..records {
                        delivered += u64::from(producer.produce(record(value.clone())).await.is_ok());
                    }
                    delivered
                })
            })
            .collect();
        delivered_by(senders).await
    };
    measured(task, run).await;
}
