//! Which partition a record goes to.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::fmt::Debug;

use crate::record::Record;

/// A host's own choice of partitions, for records that don't name one.
///
/// Called by [`send`](crate::Producer::send); in adapters with the producer's lock held, the only code of the application's that
/// is: so it must be quick, wait for nothing, and not touch the same producer, which would wait for itself. Partitions are
/// numbered from 0; a number that does not exist makes the send fail.
pub trait Partitioner: Debug + Send {
    /// The partition for `record`.
    fn partition(&mut self, record: &Record<'_>, topic: &TopicView<'_>) -> i32;
}

/// What a [`Partitioner`] may know of a topic.
#[derive(Debug)]
pub struct TopicView<'a> {
    pub(crate) partitions: usize,
    pub(crate) available: &'a [i32],
    pub(crate) has_leader: &'a dyn HasLeader,
}

impl TopicView<'_> {
    /// How many partitions the topic has.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The partitions that have a leader now, in order (Java's `availablePartitionsForTopic`).
    pub fn available(&self) -> &[i32] {
        self.available
    }

    /// Whether the partition has a leader now; without one its records wait.
    pub fn is_available(&self, partition: i32) -> bool {
        usize::try_from(partition)
            .is_ok_and(|partition| partition < self.partitions && self.has_leader.has_leader(partition))
    }
}

pub(crate) trait HasLeader: Debug {
    fn has_leader(&self, partition: usize) -> bool;
}

/// Java's `RoundRobinPartitioner`: the available partitions of a topic in turn, whatever the key.
#[derive(Clone, Debug, Default)]
pub struct RoundRobinPartitioner {
    counters: BTreeMap<String, u32>,
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(&mut self, record: &Record<'_>, topic: &TopicView<'_>) -> i32 {
        let counter = match self.counters.get_mut(record.topic) {
            Some(counter) => counter,
            None => self.counters.entry(record.topic.to_string()).or_default(),
        };
        let turn = *counter & 0x7fff_ffff;
        *counter = counter.wrapping_add(1);
        match topic.available() {
            [] => (turn % topic.partitions().max(1) as u32) as i32,
            available => available[turn as usize % available.len()],
        }
    }
}

/// The partition of a key among `partitions`, as Java's default partitioner: murmur2, its sign bit masked, modulo.
#[inline]
pub fn partition_for_key(key: &[u8], partitions: u32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % partitions.max(1)) as i32
}

/// Kafka's 32-bit murmur2: little-endian words, seed 0x9747b28c.
#[inline]
pub(crate) fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_does() {
        for (key, hash) in [
            ("", 275_646_681),
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key:?}");
        }
    }

    #[test]
    fn golden_keys_go_where_java_sends_them() {
        let mut tried = 0;
        for vector in crate::golden::objects("partitions.jsonl") {
            let key = crate::golden::hex(vector["key"].as_str().expect("a key"));
            assert_eq!(i64::from(murmur2(&key) as i32), vector["murmur2"].as_i64().expect("a hash"), "{vector}");
            for (count, partition) in vector["partitions"].as_object().expect("counts") {
                let count = count.parse().expect("a number");
                assert_eq!(
                    i64::from(partition_for_key(&key, count)),
                    partition.as_i64().expect("a number"),
                    "{vector}"
                );
                tried += 1;
            }
        }
        assert!(tried > 0);
    }
}
