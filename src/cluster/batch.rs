//! A record batch as a broker takes it in: checked by hand where it matters which error is answered, read by the crate
//! kafka-protocol.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;

/// Bytes of a batch before its records.
const HEADER: usize = 61;

/// What a broker keeps of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// Its place in the log.
    pub offset: i64,
    /// Milliseconds since the Unix epoch: the producer's, or the broker's with log append time.
    pub timestamp: i64,
    /// The key; `None` for null.
    pub key: Option<Bytes>,
    /// The value; `None` for null.
    pub value: Option<Bytes>,
    /// Headers in order. (The codec used for reading keeps the last of several with one name.)
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// A batch that passed the checks.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) first_sequence: i32,
    pub(super) count: i32,
    pub(super) records: Vec<StoredRecord>,
}

impl Batch {
    /// The sequence of the last record: 2^31 − 1 is followed by 0.
    pub(super) fn last_sequence(&self) -> i32 {
        (self.first_sequence as u32).wrapping_add(self.count as u32 - 1) as i32 & i32::MAX
    }
}

/// Limits that a broker keeps to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_message_bytes: usize,
    /// Now, where timestamps are compared with it.
    pub(super) latest_timestamp: Option<i64>,
}

/// Reads a producer's batch, or says with which code Kafka refuses it, and why.
pub(super) fn read(bytes: &Bytes, limits: Limits) -> Result<Batch, (i16, &'static str)> {
    let header = Header::of(bytes)?;
    if bytes.len() > limits.max_message_bytes {
        return Err((10, "the batch is larger than max.message.bytes"));
    }
    let attributes = header.i16(21);
    match attributes & 7 {
        0 => {}
        1 if cfg!(any(feature = "gzip", feature = "gzip-core")) => {}
        2 if cfg!(feature = "snappy") => {}
        3 if cfg!(feature = "lz4") => {}
        4 if cfg!(feature = "zstd") => {}
        1..=4 => return Err((76, "the codec's feature is not compiled in")),
        _ => return Err((76, "no such codec")),
    }
    let count = header.i32(57);
    if attributes & 0x20 != 0 {
        return Err((87, "producers may not write control batches"));
    }
    let absurd = attributes & 7 == 0 && count as usize > bytes.len();
    if count < 1 || count != header.i32(23).wrapping_add(1) || absurd {
        return Err((87, "the record count is not the last offset delta plus 1"));
    }
    let decoded = RecordBatchDecoder::decode(&mut bytes.clone()).map_err(|_| (87, "the records can't be read"))?;
    let mut records = Vec::with_capacity(decoded.records.len());
    for (index, record) in decoded.records.into_iter().enumerate() {
        if record.offset != index as i64 {
            return Err((87, "offset deltas are not 0, 1, 2, …"));
        }
        if limits.latest_timestamp.is_some_and(|latest| record.timestamp > latest) {
            return Err((32, "a timestamp is too far in the future"));
        }
        let headers = record.headers.into_iter().map(|(key, value)| (String::from(key.as_str()), value)).collect();
        let (key, value) = (record.key, record.value);
        records.push(StoredRecord { offset: record.offset, timestamp: record.timestamp, key, value, headers });
    }
    Ok(Batch { producer_id: header.i64(43), epoch: header.i16(51), first_sequence: header.i32(53), count, records })
}

/// Producer id, epoch, first and last sequence that a batch claims.
pub(super) fn stamp(bytes: &Bytes) -> Option<(i64, i16, i32, i32)> {
    if bytes.len() < HEADER {
        return None;
    }
    let header = Header(bytes);
    let (first, count) = (header.i32(53), header.i32(57));
    let last = (first as u32).wrapping_add(count as u32).wrapping_sub(1) as i32 & i32::MAX;
    Some((header.i64(43), header.i16(51), first, last))
}

/// The number of records that a batch claims, for a cluster that only counts.
pub(super) fn count(bytes: &Bytes) -> Option<i32> {
    bytes.get(57..61).map(|field| i32::from_be_bytes([field[0], field[1], field[2], field[3]]))
}

struct Header<'a>(&'a [u8]);

impl<'a> Header<'a> {
    /// Everything that can be wrong with a batch as a whole.
    fn of(bytes: &'a Bytes) -> Result<Self, (i16, &'static str)> {
        if bytes.is_empty() {
            return Err((87, "no batch"));
        }
        if bytes.len() > 16 && bytes[16] != 2 {
            return Err((87, "not a batch of version 2"));
        }
        if bytes.len() < HEADER {
            return Err((2, "shorter than a batch's header"));
        }
        let header = Self(bytes);
        let length = header.i32(8);
        if length < (HEADER - 12) as i32 || length as usize > bytes.len() - 12 {
            return Err((2, "the batch's length is wrong"));
        }
        let end = 12 + length as usize;
        if crc32c::crc32c(&bytes[21..end]) != header.i32(17) as u32 {
            return Err((2, "the checksum does not fit"));
        }
        if end != bytes.len() {
            return Err((87, "more than one batch for a partition"));
        }
        Ok(header)
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn i64(&self, at: usize) -> i64 {
        (i64::from(self.i32(at)) << 32) | i64::from(self.i32(at + 4) as u32)
    }
}
