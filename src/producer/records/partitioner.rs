//! Which partition a record goes to.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Debug};

use crate::planted::planted;
use crate::record::Record;

/// What a [`Partitioner`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice<'a> {
    /// This partition.
    To(i32),
    /// As without a partitioner of the host's: by the option `partitioner`, and records without key where little is queued.
    Usual,
    /// The same among these partitions. A key's hash is taken modulo their number, so for a key they have to be the same ones in
    /// the same order each time. A record without key joins a batch that is open in one of them, or else goes where the least
    /// is queued; that takes a walk over the list.
    UsualAmong(&'a [i32]),
}

/// A host's own choice of partitions, for records that don't name one.
///
/// Called by [`send`](crate::Producer::send); in adapters with the producer's lock held, the only code of the application's that
/// is: so it must be quick, wait for nothing, and not touch the same producer, which would wait for itself. Partitions are
/// numbered from 0; a number that does not exist makes the send fail.
pub trait Partitioner: Debug + Send {
    /// The partition for `record`, or how to find it.
    fn partition(&mut self, record: &Record<'_>, topic: &TopicView<'_>) -> Choice<'_>;
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
#[derive(Clone, Default)]
pub struct RoundRobinPartitioner {
    /// By topic, in order.
    counters: Vec<(String, u32)>,
}

impl Debug for RoundRobinPartitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundRobinPartitioner")
    }
}

impl Partitioner for RoundRobinPartitioner {
    fn partition(&mut self, record: &Record<'_>, topic: &TopicView<'_>) -> Choice<'_> {
        let found = self.counters.binary_search_by(|(topic, _)| topic.as_str().cmp(record.topic));
        let at = found.unwrap_or_else(|at| {
            self.counters.insert(at, (record.topic.to_string(), 0));
            at
        });
        let counter = &mut self.counters[at].1;
        let turn = *counter & 0x7fff_ffff;
        *counter = counter.wrapping_add(1);
        Choice::To(match topic.available() {
            [] => (turn % topic.partitions().max(1) as u32) as i32,
            available => available[turn as usize % available.len()],
        })
    }
}

/// How the partition of a key is found (`partitioner`): by librdkafka's names and rules. Java's is `Murmur2Random`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPartitioner {
    /// Keys are not looked at: all records go where little is queued.
    Random,
    /// CRC-32; records without key, and with an empty one, go to partition 0.
    Consistent,
    /// CRC-32; records without key, and with an empty one, go where little is queued. librdkafka's default.
    ConsistentRandom,
    /// murmur2; records without key as those with an empty one.
    Murmur2,
    /// murmur2; records without key go where little is queued. Java's default, and here.
    #[default]
    Murmur2Random,
    /// FNV-1a; records without key as those with an empty one.
    Fnv1a,
    /// FNV-1a; records without key go where little is queued. The default of sarama (its `NewHashPartitioner`).
    Fnv1aRandom,
}

impl KeyPartitioner {
    const ALL: [Self; 7] = [
        Self::Random,
        Self::Consistent,
        Self::ConsistentRandom,
        Self::Murmur2,
        Self::Murmur2Random,
        Self::Fnv1a,
        Self::Fnv1aRandom,
    ];

    /// Its name in librdkafka.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Consistent => "consistent",
            Self::ConsistentRandom => "consistent_random",
            Self::Murmur2 => "murmur2",
            Self::Murmur2Random => "murmur2_random",
            Self::Fnv1a => "fnv1a",
            Self::Fnv1aRandom => "fnv1a_random",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The partition of a key among `partitions`; `None` if it goes where little is queued.
    #[inline]
    pub fn partition(self, key: Option<&[u8]>, partitions: u32) -> Option<i32> {
        // The default, apart from the others: those are code that would stand in the way.
        if self == Self::Murmur2Random {
            key.map(|key| partition_for_key(key, partitions))
        } else {
            self.partition_by_others(key, partitions)
        }
    }

    #[inline(never)]
    fn partition_by_others(self, key: Option<&[u8]>, partitions: u32) -> Option<i32> {
        let hash = match (self, key) {
            (Self::Random, _) | (Self::Murmur2Random | Self::Fnv1aRandom | Self::ConsistentRandom, None) => {
                return None;
            }
            (Self::ConsistentRandom, Some([])) => return None,
            (Self::Consistent | Self::ConsistentRandom, key) => crc32(key.unwrap_or_default()),
            (Self::Murmur2 | Self::Murmur2Random, key) => {
                return Some(partition_for_key(key.unwrap_or_default(), partitions));
            }
            // Its absolute value as a signed number, as sarama has it.
            (Self::Fnv1a | Self::Fnv1aRandom, key) => (fnv1a(key.unwrap_or_default()) as i32).unsigned_abs(),
        };
        Some((hash % partitions.max(1)) as i32)
    }
}

/// CRC-32 as in zlib, half a byte at a time: keys are short, and a table of some kilobytes is too much for small machines.
fn crc32(key: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut place = 0;
        while place < 16 {
            let (mut value, mut bits) = (place as u32, 0);
            while bits < 4 {
                value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
                bits += 1;
            }
            table[place] = value;
            place += 1;
        }
        table
    };
    let crc = key.iter().fold(u32::MAX, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        crc >> 4 ^ TABLE[(crc & 15) as usize]
    });
    !crc
}

/// FNV-1a in 32 bits.
fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The partition of a key among `partitions`, as Java's default partitioner: murmur2, its sign bit masked, modulo.
#[inline]
pub fn partition_for_key(key: &[u8], partitions: u32) -> i32 {
    let hash = murmur2(key);
    let hash = if planted("hash-without-its-sign") { (hash as i32).unsigned_abs() } else { hash & 0x7fff_ffff };
    (hash % partitions.max(1)) as i32
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

    /// What librdkafka and sarama answered (tests/golden/partitioners/make).
    #[test]
    fn golden_partitioners_of_other_clients_are_followed() {
        let mut tried = 0;
        for vector in crate::golden::objects("partitioners.jsonl") {
            let key = vector["key"].as_str().map(crate::golden::hex);
            let count = u32::try_from(vector["count"].as_u64().expect("a number")).expect("a small one");
            for partitioner in KeyPartitioner::ALL.into_iter().filter(|known| *known != KeyPartitioner::Random) {
                let partition = partitioner.partition(key.as_deref(), count).map(i64::from);
                assert_eq!(partition, vector[partitioner.name()].as_i64(), "{}: {vector}", partitioner.name());
            }
            let sarama = KeyPartitioner::Fnv1aRandom.partition(key.as_deref(), count).map(i64::from);
            assert_eq!(sarama, vector["sarama"].as_i64(), "sarama: {vector}");
            tried += 1;
        }
        assert!(tried > 100);
    }

    #[test]
    fn hashes_are_what_their_names_say() {
        assert_eq!((crc32(b"123456789"), fnv1a(b"kafka") as i32), (0xcbf4_3926, 0x0d33_c4e1));
        // The one hash whose absolute value is no signed number does not overflow.
        assert_eq!(i32::MIN.unsigned_abs() % 7, 2);
        assert_eq!(KeyPartitioner::Consistent.partition(Some(b"k"), 0), Some(0));
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
