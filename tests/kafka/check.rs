//! What was sent and said against what Kafka's log holds.

use std::collections::BTreeMap;

use crate::broker::Kafka;
use crate::dump;

/// A record that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub partition: i32,
    pub offset: Option<i64>,
    pub value: String,
}

/// Every acknowledged record stands in the log once, where it was said to stand, and in each partition in the order of its
/// sends. `sent` is in that order; nothing else is in the topic.
pub fn nothing_lost_doubled_or_reordered(
    kafka: &Kafka,
    topic: &str,
    partitions: u32,
    sent: &[Acknowledged],
) -> Result<String, String> {
    let mut expected: BTreeMap<i32, Vec<&Acknowledged>> = BTreeMap::new();
    for record in sent {
        expected.entry(record.partition).or_default().push(record);
    }
    let mut batches = 0;
    for partition in 0..partitions {
        let dumped = dump::batches(kafka, topic, partition);
        batches += dumped.len();
        let log: Vec<dump::Record> = dumped.into_iter().flat_map(|batch| batch.records).collect();
        let none = Vec::new();
        let expected = expected.get(&(partition as i32)).unwrap_or(&none);
        for (place, record) in log.iter().enumerate() {
            let value = record.value.as_deref().unwrap_or("null");
            let Some(wanted) = expected.get(place) else {
                return Err(format!("{topic}-{partition}: {value} at {} was not sent, or stands twice", record.offset));
            };
            if wanted.value != value {
                let words = format!("{topic}-{partition}@{}: {value} in place of {}", record.offset, wanted.value);
                return Err(format!("lost, doubled or reordered: {words}"));
            }
            if wanted.offset.is_some_and(|offset| offset != record.offset) {
                return Err(format!(
                    "{topic}-{partition}: {value} is at {}, not at {:?}",
                    record.offset, wanted.offset
                ));
            }
        }
        if log.len() < expected.len() {
            return Err(format!("{topic}-{partition}: lost from {} on", expected[log.len()].value));
        }
    }
    Ok(format!("{} records in {batches} batches", sent.len()))
}
