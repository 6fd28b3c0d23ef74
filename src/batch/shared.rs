//! Values that a batch shares with the application: large ones that came as [`Bytes`] are not copied, but stand between the bytes of
//! the batch's own chunks.
//!
//! What is shared counts against `buffer.memory` as what is copied does. The application may keep clones of it for ever, so that
//! nobody holds it can't be what gives the memory back: that is when the batch is done and no writer holds its last own chunk.
//! After each value there is at least a byte of its record, in one of these chunks; and segments are written in order.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::fields::each_of_headers;
use super::{Across, Class, Content, Fresh, Pool, Records, Reserve};
use crate::memory;
use crate::planted::planted;

/// Values from that size on are shared, in bytes: to copy a much smaller one costs no more than the two segments that it is written
/// as else (`cargo bench --bench values`).
pub(crate) const SHARED_FROM: usize = 4 << 10;

/// What a shared value takes besides its bytes: its place in the batch, and two segments of a request.
pub(crate) const BESIDE: usize = 128;

/// Where memory is small, what requests take besides records has to be little: a batch shares so many values, at most.
const FEW: usize = 4;

/// Values between the bytes of a batch's own chunks, in order.
#[derive(Debug, Default)]
pub(super) struct SharedValues {
    pieces: Vec<Piece>,
    /// Bytes of all of them.
    len: usize,
}

/// One of them.
struct Piece {
    /// How many of the batch's own bytes are before it.
    at: usize,
    bytes: Bytes,
}

impl core::fmt::Debug for Piece {
    /// Without what is in it.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes at {}", self.bytes.len(), self.at)
    }
}

impl SharedValues {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of all of them.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets them. Returns what was charged for them, which is to be credited.
    pub(super) fn clear(&mut self) -> usize {
        let charged = self.len + self.pieces.len() * BESIDE;
        *self = Self::default();
        charged
    }
}

/// A piece of a batch.
enum Place<'a> {
    /// Bytes of one of its own chunks; the open one is after the last.
    Own {
        chunk: usize,
        range: Range<usize>,
    },
    Shared(&'a Bytes),
}

impl Records {
    /// Bytes in its own chunks.
    pub(crate) fn own_len(&self) -> usize {
        self.len - self.shared.len()
    }

    /// The batch's bytes, in order. No piece of them is empty.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.places().map(|place| match place {
            Place::Own { chunk, range } => &self.own(chunk, usize::MAX)[range],
            Place::Shared(bytes) => &bytes[..],
        })
    }

    /// Calls `each` with these, of a closed batch, as quickly as can be where nothing is shared.
    #[inline]
    pub(crate) fn for_each_chunk(&self, mut each: impl FnMut(&[u8])) {
        debug_assert!(self.open.is_empty(), "only a closed batch is sent");
        if !self.shared.is_empty() {
            return self.chunks().for_each(each);
        }
        let mut left = self.len;
        for chunk in &self.chunks {
            let written = &chunk[..chunk.len().min(left)];
            left -= written.len();
            each(written);
        }
    }

    /// Calls `each` with the [segments](Self::segments), likewise.
    #[inline]
    pub(crate) fn for_each_segment(&self, mut each: impl FnMut(Bytes)) {
        if self.shared.is_empty() {
            let mut left = self.len;
            for chunk in &self.chunks {
                let written = chunk.len().min(left);
                left -= written;
                each(chunk.slice(..written));
            }
        } else {
            self.segments().for_each(each);
        }
    }

    /// The bytes of a closed batch, to be shared with writers.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Bytes> + '_ {
        debug_assert!(self.open.is_empty(), "only a closed batch is shared");
        self.places().map(|place| match place {
            Place::Own { chunk, range } => self.chunks[chunk].slice(range),
            Place::Shared(bytes) => bytes.clone(),
        })
    }

    /// The chunk's bytes, of which no more than `most` are written.
    fn own(&self, chunk: usize, most: usize) -> &[u8] {
        let bytes = match self.chunks.get(chunk) {
            Some(chunk) => chunk,
            None if chunk == self.chunks.len() => &self.open[..],
            None => &[],
        };
        &bytes[..bytes.len().min(most)]
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let all = self.own_len();
        // The chunk, where in it, how many own bytes came before, and how many shared values.
        let (mut chunk, mut from, mut passed, mut values) = (0, 0, 0, 0);
        core::iter::from_fn(move || {
            if let Some(piece) = self.shared.pieces.get(values).filter(|piece| piece.at == passed) {
                values += 1;
                return Some(Place::Shared(&piece.bytes));
            }
            let whole = self.own(chunk, from + all - passed).len();
            let until = self.shared.pieces.get(values).map_or(whole, |piece| whole.min(from + piece.at - passed));
            if from == until {
                return None; // there are no more own bytes, and each value has some behind it
            }
            let place = Place::Own { chunk, range: from..until };
            passed += until - from;
            (chunk, from) = if until == whole { (chunk + 1, 0) } else { (chunk, until) };
            Some(place)
        })
    }

    /// Appends a record whose value is shared; false if it has to be copied, and then nothing has changed: it is no value to be
    /// shared, or there is no memory for one.
    pub(super) fn append_shared(
        &mut self,
        content: &Content<'_>,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> bool {
        let Some(bytes) = content.owner.filter(|bytes| is_shared(bytes, content.value)) else { return false };
        if pool.is_small() {
            let room = memory::to_grow(&self.shared.pieces, 1);
            if self.shared.pieces.len() >= FEW || !pool.make_room_for_records(room) {
                return false;
            }
        }
        let charge = bytes.len() + BESIDE;
        if !pool.charge(charge) {
            return false;
        }
        let (fields, mut at) = (self.fields(content), self.own_len());
        let mut out = Across { fresh: Fresh::new(), records: self };
        if out.take_chunks(fields.size - bytes.len(), pool, first, reserve).is_err() {
            pool.credit(charge);
            return false;
        }
        fields.each_before_value(content, &mut |bytes| {
            at += bytes.len();
            out.put(bytes);
        });
        let shared = &mut out.records.shared;
        if pool.is_small() {
            memory::make_room(&mut shared.pieces, 1); // by no more than was looked for
        }
        shared.pieces.push(Piece { at, bytes: bytes.clone() });
        shared.len += bytes.len();
        each_of_headers(content.headers, &mut |bytes| out.put(bytes));
        self.begin(content);
        self.finish(content.timestamp, fields.size);
        true
    }

    /// Gives all chunks back, and the memory of shared values with the last of them.
    pub(super) fn give_all_back(&mut self, pool: &mut Pool) {
        let mut beside = 0;
        if !self.shared.is_empty() {
            beside = self.shared.clear();
        }
        if planted("shared-is-kept") {
            beside = 0;
        }
        let count = self.chunks.len();
        for (place, chunk) in self.chunks.drain(..).enumerate() {
            let last = place + 1 == count || planted("shared-is-credited-early");
            pool.give_back(chunk, if last { core::mem::take(&mut beside) } else { 0 });
        }
        if beside > 0 {
            pool.credit(beside); // there is only an open chunk, which nobody else holds
        }
    }
}

/// Whether that is the value, and large enough. (What a value was made of may be of another, if that was put in its place.)
fn is_shared(bytes: &Bytes, value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.len() >= SHARED_FROM && core::ptr::eq(&bytes[..], value))
        && !planted("nothing-is-shared")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec::Compression;
    use crate::batch::decode::Section;
    use crate::batch::header::{self, Stamp};
    use crate::record::Header;

    const MEMORY: usize = 8 << 20;

    fn bytes(length: usize, seed: u32) -> Bytes {
        (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 11) as u8).collect()
    }

    fn keyed(value: &[u8]) -> Content<'_> {
        Content::new(5, Some(b"key"), Some(value), &[])
    }

    fn offered<'a>(mut content: Content<'a>, owner: &'a Bytes) -> Content<'a> {
        content.owner = Some(owner);
        content
    }

    fn append(records: &mut Records, pool: &mut Pool, content: &Content<'_>) {
        records.append(content, pool, Class::FIRST, Reserve::Kept).expect("room");
    }

    fn share(records: &mut Records, pool: &mut Pool, value: &Bytes) {
        append(records, pool, &offered(keyed(value), value));
    }

    fn concatenated(records: &Records) -> Vec<u8> {
        records.chunks().flatten().copied().collect()
    }

    /// Whether that memory is among what would be written.
    fn holds(records: &Records, value: &Bytes) -> bool {
        records.segments().any(|segment| core::ptr::eq(&segment[..], &value[..]))
    }

    #[test]
    fn values_from_4_kib_on_are_shared_and_others_are_copied() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let (large, small) = (bytes(SHARED_FROM, 1), bytes(SHARED_FROM - 1, 2));
        share(&mut records, &mut pool, &large);
        share(&mut records, &mut pool, &small);
        let replaced = bytes(3 * SHARED_FROM, 3);
        append(&mut records, &mut pool, &offered(keyed(&replaced[1..]), &replaced));
        records.close();
        assert!(holds(&records, &large) && !holds(&records, &small) && !holds(&records, &replaced));
        assert_eq!(records.own_len() + large.len(), records.len(), "what was replaced is not shared");
    }

    /// Whatever records come, shared or not: the batch is byte for byte what copying makes of them, and kafka-protocol reads them.
    #[test]
    fn a_batch_with_shared_values_is_the_one_that_copying_makes() {
        let mut state = 7u32;
        let mut draw = |below: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % below
        };
        let mut with_both = 0;
        for round in 0..200 {
            let small = round % 4 == 0;
            let (mut pool, mut other) = (Pool::new(if small { 900 << 10 } else { MEMORY }), Pool::new(MEMORY));
            let (mut sharing, mut copying) = (Records::default(), Records::default());
            let mut sent: Vec<(i64, Option<Bytes>, Option<Bytes>)> = Vec::new();
            let headers = [Header::new("h", b"x"), Header::null("n")];
            for _ in 0..1 + draw(30) {
                let length = match draw(4) {
                    0 => draw(50),
                    1 => SHARED_FROM as u32 - 2 + draw(4),
                    2 => draw(20_000),
                    _ => 16_384 + draw(3),
                };
                let value = (draw(12) > 0).then(|| bytes(length as usize, draw(1000)));
                let key = (draw(2) > 0).then(|| bytes(draw(300) as usize, 3));
                let headers = &headers[..draw(3) as usize];
                let mut content = Content::new(i64::from(draw(1000)), key.as_deref(), value.as_deref(), headers);
                append(&mut copying, &mut other, &content);
                content.owner = value.as_ref().filter(|_| draw(4) > 0);
                append(&mut sharing, &mut pool, &content);
                sent.push((content.timestamp, key, value));
            }
            sharing.close();
            copying.close();
            let (ours, theirs) = (concatenated(&sharing), concatenated(&copying));
            assert!(ours == theirs, "round {round}");
            assert_eq!(sharing.segments().flatten().collect::<Vec<u8>>(), ours);
            assert!(sharing.chunks().all(|chunk| !chunk.is_empty()));
            assert_eq!((sharing.len(), sharing.raw_len(), sharing.count()), (ours.len(), ours.len(), copying.count()));
            let stamp = Stamp { producer_id: 1, epoch: 2, sequence: 3 };
            let head = header::encode(&sharing, stamp);
            assert_eq!(head, header::encode(&copying, stamp));
            with_both += u32::from(!sharing.shared.is_empty() && sharing.shared.len() * 2 < ours.len());
            read_by_another([&head[..], &ours].concat().into(), &sent);
            let mut place = 0;
            Section::of(&sharing).for_each(|content| {
                let (timestamp, key, value) = &sent[place];
                let read = (content.timestamp, content.key, content.value);
                assert_eq!(read, (*timestamp, key.as_deref(), value.as_deref()));
                place += 1;
            });
            assert_eq!(place, sent.len());
            sharing.release(&mut pool);
            copying.release(&mut other);
            assert_eq!((pool.used(), other.used()), (0, 0));
        }
        assert!(with_both > 20, "{with_both}");
    }

    fn read_by_another(batch: Bytes, sent: &[(i64, Option<Bytes>, Option<Bytes>)]) {
        let mut batch = batch;
        let read = kafka_protocol::records::RecordBatchDecoder::decode(&mut batch).expect("a batch").records;
        let read: Vec<_> = read.into_iter().map(|record| (record.timestamp, record.key, record.value)).collect();
        assert!(read == sent);
    }

    #[test]
    fn shared_bytes_are_charged_and_credited_while_the_application_holds_them() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let (kept, fixed) = (bytes(100_000, 1), Bytes::from_static(&[7; 50_000]));
        share(&mut records, &mut pool, &kept);
        share(&mut records, &mut pool, &fixed);
        assert_eq!(pool.used(), 150_000 + 2 * BESIDE + Class::FIRST.size());
        records.close();
        assert!(!records.is_lent(), "the application's clones are not writers'");
        records.release(&mut pool);
        assert_eq!((pool.used(), pool.has_lent()), (0, false));
        drop(kept);
        // None of it came to the pool.
        let chunk = pool.take(Class::LARGEST).expect("room");
        assert_eq!((chunk.capacity(), pool.used()), (Class::LARGEST.size(), Class::LARGEST.size()));
    }

    /// Also if the writer has written all before the last value, and the first chunk is back.
    #[test]
    fn shared_bytes_stay_charged_while_a_writer_has_to_write_them() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let value = bytes(100_000, 1);
        append(&mut records, &mut pool, &Content::new(5, None, Some(&value[..30_000]), &[]));
        share(&mut records, &mut pool, &value);
        records.close();
        let mut writer: Vec<Bytes> = records.segments().collect();
        let place = writer.iter().position(|segment| segment.len() == value.len()).expect("it is shared");
        let written = writer.drain(..place).count();
        assert!(written > 1, "there are chunks before it");
        assert!(records.is_lent());
        records.release(&mut pool);
        assert!(pool.used() >= 100_000, "{}", pool.used());
        assert!(!pool.reclaim(10));
        drop(value);
        drop(writer);
        assert!(pool.reclaim(10));
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn what_is_released_before_it_was_closed_is_credited_too() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let value = bytes(10_000, 1);
        share(&mut records, &mut pool, &value);
        records.release(&mut pool);
        assert_eq!(pool.used(), 0);
        records.restart();
        share(&mut records, &mut pool, &value);
        records.close();
        assert_eq!((records.count(), records.segments().count()), (1, 3));
    }

    #[test]
    fn shared_bytes_are_never_more_than_buffer_memory() {
        let mut pool = Pool::new(2 << 20);
        let mut records = Records::default();
        let value = bytes(300_000, 1);
        let mut taken = 0;
        loop {
            let content = offered(keyed(&value), &value);
            match records.append(&content, &mut pool, Class::FIRST, Reserve::Kept) {
                Ok(()) => taken += 1,
                Err(no_room) => {
                    assert!(no_room.needed > 299_000, "{no_room:?}");
                    break;
                }
            }
        }
        assert_eq!(taken, 6);
        assert!(pool.used() <= 2 << 20);
        let before = (records.len(), records.count(), pool.used());
        // What is shared costs a little more: where only that is too much, the value is copied.
        let last = bytes(pool.available() - 100, 2);
        share(&mut records, &mut pool, &last);
        records.close();
        assert!(!holds(&records, &last) && records.len() > before.0 && pool.used() <= 2 << 20);
        records.release(&mut pool);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn chunks_after_shared_values_are_as_large_as_what_goes_into_them() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let value = bytes(900_000, 1);
        share(&mut records, &mut pool, &value);
        share(&mut records, &mut pool, &value);
        assert_eq!(pool.used(), 2 * (value.len() + BESIDE) + Class::FIRST.size());
        for _ in 0..20 {
            append(&mut records, &mut pool, &Content::new(5, None, Some(&value[..100]), &[]));
        }
        let own = Class::FIRST.size() + Class::FIRST.up().size();
        assert_eq!(pool.used(), 2 * (value.len() + BESIDE) + own, "the next is four times the first");
    }

    #[test]
    fn where_memory_is_small_a_batch_shares_few_values() {
        let mut pool = Pool::new(900 << 10);
        let mut records = Records::default();
        let value = bytes(10_000, 1);
        for _ in 0..10 {
            share(&mut records, &mut pool, &value);
        }
        records.close();
        assert_eq!(records.segments().filter(|segment| segment.len() == value.len()).count(), FEW);
        assert_eq!(records.count(), 10);
    }

    #[test]
    fn compressed_and_uncompressed_again_it_is_what_it_was() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let value = bytes(10_000, 1);
        share(&mut records, &mut pool, &value);
        share(&mut records, &mut pool, &value);
        records.close();
        let raw = records.raw();
        assert!(raw == concatenated(&records));
        // As a codec would.
        records.replace(Compression::Snappy, &[1, 2, 3], &mut pool);
        assert_eq!((records.len(), records.raw_len(), records.own_len()), (3, raw.len(), 3));
        assert_eq!(pool.used(), 256, "what was shared is credited");
        records.release(&mut pool);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn no_text_has_what_is_in_it() {
        let mut pool = Pool::new(MEMORY);
        let mut records = Records::default();
        let value = Bytes::from("confidential".repeat(1000));
        share(&mut records, &mut pool, &value);
        let text = alloc::format!("{:?}", records.shared);
        assert!(text.contains("12000 bytes") && !text.contains("confidential"), "{text}");
    }
}
