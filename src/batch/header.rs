//! The 61 bytes before the records of a batch (record batch v2, KIP-98). Made anew for each attempt: the producer's
//! identity and the sequence may change between two, the records never do.

use crate::batch::{Records, crc};
use crate::planted::planted;

/// The header's size in bytes.
pub(crate) const SIZE: usize = 61;

/// Where the checksum's range begins.
const CHECKED_FROM: usize = 21;

/// Who sent a batch, and where it stands in that producer's order (KIP-98). Without idempotence all −1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The producer id.
    pub(crate) producer_id: i64,
    /// Its epoch.
    pub(crate) epoch: i16,
    /// The sequence of the batch's first record.
    pub(crate) sequence: i32,
}

impl Stamp {
    /// The stamp of a batch without idempotence.
    pub(crate) const NONE: Self = Self { producer_id: -1, epoch: -1, sequence: -1 };
}

/// The header of `records`, with the checksum over itself and them.
pub(crate) fn encode(records: &Records, stamp: Stamp) -> [u8; SIZE] {
    let mut header = [0; SIZE];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&0i64.to_be_bytes()); // base offset: the broker's business
    put(&((SIZE - 12 + records.len()) as i32).to_be_bytes());
    put(&(-1i32).to_be_bytes()); // partition leader epoch: likewise
    put(&[2]); // magic
    put(&[0; 4]); // checksum, below
    put(&records.codec().id().to_be_bytes()); // attributes: the codec, create time
    put(&(records.count().wrapping_sub(1) as i32).to_be_bytes());
    put(&records.base_timestamp().to_be_bytes());
    let newest = if planted("newest-is-the-first") { records.base_timestamp() } else { records.max_timestamp() };
    put(&newest.to_be_bytes());
    put(&stamp.producer_id.to_be_bytes());
    put(&stamp.epoch.to_be_bytes());
    put(&stamp.sequence.to_be_bytes());
    put(&(records.count() as i32).to_be_bytes());
    let mut checked = crc::append(0, &header[CHECKED_FROM..]);
    records.for_each_chunk(|chunk| checked = crc::append(checked, chunk));
    header[17..CHECKED_FROM].copy_from_slice(&checked.to_be_bytes());
    header
}

/// The base timestamp and the number of records of a batch.
#[cfg(all(feature = "cluster", any(feature = "threads", feature = "tokio", feature = "smol")))]
pub(crate) fn read(batch: &[u8]) -> (i64, u32) {
    use bytes::Buf;
    ((&batch[27..]).get_i64(), (&batch[57..]).get_u32())
}
