//! A record batch as a broker takes it in and hands it out: read by hand, apart from the producer's code, because it matters
//! which error is answered.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Buf, Bytes, BytesMut};

use super::codec;
use crate::record::hidden;

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Bytes of a record that is empty.
const SMALLEST: usize = 7;
/// In a batch's attributes: the timestamps are the broker's.
const LOG_APPEND_TIME: i16 = 8;

/// What a broker keeps of one record.
#[derive(Clone, PartialEq, Eq)]
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
    /// Headers in order, several of one name included.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl core::fmt::Debug for StoredRecord {
    /// With lengths in place of what it holds: its fields show that, where a test wants to.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let hidden = |bytes: &Option<Bytes>| hidden(bytes.as_deref());
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name, hidden(value))).collect();
        f.debug_struct("StoredRecord")
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key", &hidden(&self.key))
            .field("value", &hidden(&self.value))
            .field("headers", &headers)
            .finish()
    }
}

/// A batch that passed the checks.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) first_sequence: i32,
    pub(super) count: i32,
    pub(super) records: Vec<StoredRecord>,
    /// As it came.
    bytes: Bytes,
}

impl Batch {
    /// The sequence of the last record: 2^31 − 1 is followed by 0.
    pub(super) fn last_sequence(&self) -> i32 {
        (self.first_sequence as u32).wrapping_add(self.count as u32 - 1) as i32 & i32::MAX
    }

    /// How many bytes it takes, in the log as on the wire.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as consumers get it: as it came, with its place in the log, and with the time of its append if timestamps are
    /// the broker's. Only the latter is covered by the checksum.
    pub(super) fn write(&self, base_offset: i64, leader_epoch: i32, append_time: Option<i64>, out: &mut BytesMut) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        let out = &mut out[at..];
        out[..8].copy_from_slice(&base_offset.to_be_bytes());
        out[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
        if let Some(time) = append_time {
            let attributes = Header(&self.bytes).i16(21) | LOG_APPEND_TIME;
            out[21..23].copy_from_slice(&attributes.to_be_bytes());
            out[35..43].copy_from_slice(&time.to_be_bytes());
            let checksum = crc32c::crc32c(&out[21..]);
            out[17..21].copy_from_slice(&checksum.to_be_bytes());
        }
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
    let codec = attributes & 7;
    if !codec::is_built_in(codec) {
        return Err((76, "there is no such codec, or its feature is not compiled in"));
    }
    let count = header.i32(57);
    if attributes & 0x20 != 0 {
        return Err((87, "producers may not write control batches"));
    }
    if count < 1 || count != header.i32(23).wrapping_add(1) {
        return Err((87, "the record count is not the last offset delta plus 1"));
    }
    let unreadable = (87, "the records can't be read");
    let raw = match codec {
        0 => bytes.slice(HEADER..),
        _ => codec::unpack(codec, &bytes[HEADER..]).map(Bytes::from).ok_or(unreadable)?,
    };
    let records = records(raw, count, header.i64(27)).ok_or(unreadable)?;
    for (index, record) in records.iter().enumerate() {
        if record.offset != index as i64 {
            return Err((87, "offset deltas are not 0, 1, 2, …"));
        }
        if limits.latest_timestamp.is_some_and(|latest| record.timestamp > latest) {
            return Err((32, "a timestamp is too far in the future"));
        }
    }
    let (producer_id, epoch, first_sequence) = (header.i64(43), header.i16(51), header.i32(53));
    Ok(Batch { producer_id, epoch, first_sequence, count, records, bytes: bytes.clone() })
}

/// So many records and nothing else; their offsets are relative to the batch.
fn records(mut raw: Bytes, count: i32, base_timestamp: i64) -> Option<Vec<StoredRecord>> {
    // A count that is too large makes no room for itself.
    let mut records = Vec::with_capacity(usize::try_from(count).ok()?.min(raw.len() / SMALLEST));
    for _ in 0..count {
        let mut record = field(&mut raw)??;
        record.try_get_i8().ok()?; // attributes, unused
        let (delta, offset) = (number(&mut record)?, number(&mut record)?);
        let (key, value) = (field(&mut record)?, field(&mut record)?);
        let mut headers = Vec::new();
        for _ in 0..u32::try_from(number(&mut record)?).ok()? {
            let name = String::from_utf8(field(&mut record)??.to_vec()).ok()?;
            headers.push((name, field(&mut record)?));
        }
        if !record.is_empty() {
            return None;
        }
        let timestamp = base_timestamp.checked_add(delta)?;
        records.push(StoredRecord { offset, timestamp, key, value, headers });
    }
    raw.is_empty().then_some(records)
}

/// Bytes after their length, or null; `None` if that can't be.
#[expect(clippy::option_option, reason = "not readable is not null")]
fn field(from: &mut Bytes) -> Option<Option<Bytes>> {
    match number(from)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= from.len())?;
            Some(Some(from.split_to(length)))
        }
    }
}

/// A number of variable length: seven bits a byte, the lowest first, signs by zigzag.
fn number(from: &mut Bytes) -> Option<i64> {
    let mut bits = 0u64;
    for place in 0..10 {
        let byte = from.try_get_u8().ok()?;
        bits |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    None
}

/// The records of a batch as a consumer reads them.
#[cfg(test)]
pub(crate) fn records_of(bytes: &Bytes) -> Result<Vec<StoredRecord>, (i16, &'static str)> {
    read(bytes, Limits { max_message_bytes: usize::MAX, latest_timestamp: None }).map(|batch| batch.records)
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
