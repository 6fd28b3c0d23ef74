//! Records become a record batch (v2): encoded in place, once, when they are sent.
//!
//! [`Records`] is the record section of one batch, a chain of chunks from the [`Pool`]; `header` makes the 61 bytes that
//! go before it; `decode` reads a section back where a batch has to be split.

pub(crate) mod codec;
pub(crate) mod crc;
pub(crate) mod decode;
mod fields;
#[cfg(test)]
mod golden;
pub(crate) mod header;
mod pool;
mod shared;

use alloc::vec::Vec;

use core::num::NonZeroUsize;

use bytes::{Bytes, BytesMut};

pub use codec::{Compression, Compressor};
pub(crate) use fields::Content;
use fields::Fields;
pub(crate) use pool::{Class, ENTRY, Pool};
pub(crate) use shared::SHARED_FROM;
use shared::SharedValues;

use crate::planted::planted;
use crate::record::Record;

/// The record section of a batch: chunks of encoded records. Bytes that were written never change.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Full chunks, and after [`Records::close`] the last one too: it alone may be written only in part. They are whole, so that
    /// they come back whole.
    chunks: Vec<Bytes>,
    /// The chunk being written.
    open: BytesMut,
    /// How many of its bytes are.
    filled: usize,
    /// Values between the bytes of these.
    shared: SharedValues,
    /// Bytes of all of this.
    len: usize,
    /// The codec of those bytes, and how many there were before.
    codec: Compression,
    raw_len: usize,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// The pool had not enough memory for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// Bytes that would have to be taken from the pool.
    pub(crate) needed: usize,
}

impl Records {
    /// Bytes of all records, as they are now: compressed or not.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of records.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How the records are compressed.
    pub(crate) fn codec(&self) -> Compression {
        self.codec
    }

    /// Bytes of all records, before compression.
    pub(crate) fn raw_len(&self) -> usize {
        if self.codec == Compression::None { self.len } else { self.raw_len }
    }

    pub(crate) fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Bytes that `content` takes as the next record here.
    pub(crate) fn size_of(&self, content: &Content<'_>) -> usize {
        self.fields(content).size
    }

    #[inline(never)]
    fn fields(&self, content: &Content<'_>) -> Fields {
        let delta = if self.count == 0 { 0 } else { content.timestamp.wrapping_sub(self.base_timestamp) };
        Fields::of(content, delta, self.count)
    }

    /// Appends a record to others, if the open chunk has room and to spare, the batch is of at most `limit` bytes then, and the
    /// record would not be of more than `largest` alone: that is nearly always so. How many bytes it takes.
    ///
    /// A function of its own, with few arguments: then all that it works with is in registers.
    #[inline(never)]
    pub(crate) fn append_here(
        &mut self,
        record: &Record<'_>,
        timestamp: i64,
        limit: usize,
        largest: usize,
    ) -> Option<NonZeroUsize> {
        let content = Content::new(timestamp, record.key, record.value, record.headers);
        let fields = Fields::of(&content, timestamp.wrapping_sub(self.base_timestamp), self.count);
        if header::SIZE + self.len + fields.size > limit
            || (content.alone_surely() > largest && !planted("short-way-takes-any-size"))
            || !fields.write(&content, self.open.get_mut(self.filled..)?)
        {
            return None;
        }
        debug_assert!(self.count > 0, "a chunk is opened with a record");
        self.filled += fields.size;
        self.finish(timestamp, fields.size);
        NonZeroUsize::new(fields.size)
    }

    /// Counts a record without writing it, to see how large a batch would be.
    fn count_only(&mut self, content: &Content<'_>) {
        let size = self.size_of(content);
        self.begin(content);
        self.finish(content.timestamp, size);
    }

    /// Ends the batch: no more records; its chunks may be shared.
    pub(crate) fn close(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(core::mem::take(&mut self.open).freeze());
            self.filled = 0;
        }
    }

    /// Replaces the records of a closed batch by their compressed form, which is smaller.
    pub(crate) fn replace(&mut self, codec: Compression, compressed: &[u8], pool: &mut Pool) {
        (self.codec, self.raw_len) = (codec, self.raw_len());
        self.rewrite(compressed, pool);
    }

    /// Undoes the compression.
    pub(crate) fn decompress(&mut self, pool: &mut Pool) {
        if self.codec != Compression::None {
            let raw = self.raw();
            self.codec = Compression::None;
            self.rewrite(&raw, pool);
        }
    }

    /// The records of a closed batch before compression, in one piece.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        self.chunks().for_each(|chunk| bytes.extend_from_slice(chunk));
        if self.codec == Compression::None {
            return bytes;
        }
        codec::decompress(self.codec, &bytes, self.raw_len).expect("this crate compressed these bytes")
    }

    /// Whether someone holds clones of the batch's own chunks: who holds shared values, is not known.
    pub(crate) fn is_lent(&self) -> bool {
        self.chunks.iter().any(|chunk| !chunk.is_unique())
    }

    fn rewrite(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.give_all_back(pool);
        let mut left = bytes;
        while !left.is_empty() {
            let mut chunk = pool.take_reserve(Class::filled_by(left.len()));
            let (now, later) = left.split_at(left.len().min(chunk.len()));
            chunk[..now.len()].copy_from_slice(now);
            self.chunks.push(chunk.freeze());
            left = later;
        }
        self.len = bytes.len();
    }

    /// Gives all chunks back. How many records and bytes there were is still told.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if !self.open.is_empty() {
            pool.recycle(core::mem::take(&mut self.open));
            self.filled = 0;
        }
        self.give_all_back(pool);
    }

    /// Begins a new batch, after the chunks of the last one were released. Keeps the table for chunks.
    pub(crate) fn restart(&mut self) {
        let empty = self.chunks.is_empty() && self.open.is_empty() && self.shared.is_empty();
        debug_assert!(empty, "the last batch's chunks are given back");
        (self.len, self.count, self.codec) = (0, 0, Compression::None);
    }

    #[inline]
    fn room(&self) -> usize {
        self.open.len() - self.filled
    }

    /// The first record's timestamp is the batch's.
    fn begin(&mut self, content: &Content<'_>) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (content.timestamp, content.timestamp);
        }
    }

    #[inline]
    fn finish(&mut self, timestamp: i64, size: usize) {
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        self.len += size;
    }

    /// Appends a record, across the end of the open chunk if it has to be. `first` is the class of the first chunk. Nothing changes
    /// if the pool has no room, unless `reserve` allows to exceed it.
    pub(crate) fn append(
        &mut self,
        content: &Content<'_>,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        if content.owner.is_some() && self.append_shared(content, pool, first, reserve) {
            return Ok(());
        }
        let fields = self.fields(content);
        let mut out = Across { fresh: Fresh::new(), records: self };
        out.take_chunks(fields.size, pool, first, reserve)?;
        fields.each(content, &mut |bytes| out.put(bytes));
        self.begin(content);
        self.finish(content.timestamp, fields.size);
        Ok(())
    }
}

/// Whether an append may exceed the pool's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// It may not.
    Kept,
    /// It may: the part of a split, which will have so many bytes.
    Used { all: usize },
}

/// Chunks for a record.
type Fresh = smallvec::SmallVec<[BytesMut; 2]>;

/// Writes over the end of the open chunk into fresh ones, the next of which is last in the list.
struct Across<'a> {
    records: &'a mut Records,
    fresh: Fresh,
}

impl Across<'_> {
    /// Takes what `size` bytes need besides the room in the open chunk.
    fn take_chunks(&mut self, size: usize, pool: &mut Pool, first: Class, reserve: Reserve) -> Result<(), NoRoom> {
        let Self { records, fresh } = self;
        let mut missing = size.saturating_sub(records.room());
        let mut class = match records.len {
            0 => first.max(Class::holding(missing)),
            _ => Class::holding(records.open.len()).up().max(Class::holding(missing)),
        };
        while missing > 0 {
            let chunk = match reserve {
                Reserve::Kept => pool.take(class).or_else(|| {
                    // Almost full: smaller chunks may still do.
                    class = Class::holding(missing).min(Class::filled_by(pool.available()));
                    pool.take(class)
                }),
                Reserve::Used { all } => {
                    let expected = all.saturating_sub(records.len + records.room()).max(missing);
                    let taken: usize = fresh.iter().map(BytesMut::capacity).sum();
                    class = Class::filled_by(expected.saturating_sub(taken)).max(Class::holding(missing.min(256)));
                    Some(pool.take_reserve(class))
                }
            };
            let Some(chunk) = chunk else {
                let needed = missing + fresh.iter().map(|chunk| chunk.capacity()).sum::<usize>();
                for chunk in fresh.drain(..) {
                    pool.recycle(chunk);
                }
                // No more than there can be: whoever waits for that would wait for ever.
                let whole = Class::holding(needed).size().min(pool.largest());
                return Err(NoRoom { needed: whole.max(needed) });
            };
            missing = missing.saturating_sub(class.size());
            class = class.up().max(Class::holding(missing));
            fresh.push(chunk);
        }
        fresh.reverse();
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.records.room() == 0 {
                let next = self.fresh.pop().expect("chunks for the whole record were taken before");
                let full = core::mem::replace(&mut self.records.open, next);
                if !full.is_empty() {
                    self.records.chunks.push(full.freeze());
                }
                self.records.filled = 0;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.records.room()));
            let filled = self.records.filled;
            self.records.open[filled..filled + now.len()].copy_from_slice(now);
            self.records.filled += now.len();
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Content<'_> {
        Content::new(5, None, Some(bytes), &[])
    }

    /// A busy partition begins with the chunk that it needed before, a small `batch.size` with a small one.
    #[test]
    fn the_first_chunk_is_of_the_class_that_is_asked_for() {
        for class in [256, 1 << 10, 16 << 10].map(Class::holding) {
            let mut pool = Pool::new(1 << 20);
            let mut records = Records::default();
            records.append(&value(b"small"), &mut pool, class, Reserve::Kept).expect("room");
            assert_eq!(pool.used(), class.size());
        }
    }

    /// They are made while the batch that is split is still there, whatever `buffer.memory` is.
    #[test]
    fn parts_of_a_split_take_less_than_a_smallest_chunk_more_than_they_need() {
        for length in [10, 100, 700, 3000, 20_000] {
            let bytes = alloc::vec![7; length];
            let mut measure = Records::default();
            (0..40).for_each(|_| measure.count_only(&value(&bytes)));
            let all = measure.len();
            let mut pool = Pool::new(1 << 10);
            let mut records = Records::default();
            for _ in 0..40 {
                records.append(&value(&bytes), &mut pool, Class::FIRST, Reserve::Used { all }).expect("it may");
            }
            assert_eq!((records.len(), records.count()), (all, 40));
            let taken = pool.used();
            assert!(
                (all..all + 256.max(Class::FIRST.size())).contains(&taken),
                "{taken} for {all}, records of {length}"
            );
            records.release(&mut pool);
            assert_eq!(pool.used(), 0);
        }
    }
}
