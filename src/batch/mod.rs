//! Records become a record batch (v2): encoded in place, once, when they are sent.
//!
//! [`Records`] is the record section of one batch, a chain of chunks from the [`Pool`]; `header` makes the 61 bytes that
//! go before it; `decode` reads a section back where a batch has to be split.

pub(crate) mod crc;
pub(crate) mod decode;
#[cfg(test)]
mod golden;
pub(crate) mod header;
mod pool;

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use pool::{Class, Pool};

use crate::record::Header;

/// What goes into a batch of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
}

impl Content<'_> {
    /// Bytes of everything whose length does not depend on the place in the batch.
    #[inline]
    fn payload_size(&self) -> usize {
        let mut size = nullable_size(self.key) + nullable_size(self.value) + varint_size(self.headers.len() as i32);
        for header in self.headers {
            size += nullable_size(Some(header.key.as_bytes())) + nullable_size(header.value);
        }
        size
    }

    /// The size of a batch with this record alone, at most (Java's upper bound: 61 for the batch, 21 for the record's own
    /// fields), in bytes.
    pub(crate) fn alone_at_most(&self) -> usize {
        header::SIZE + 21 + self.payload_size()
    }
}

/// The record section of a batch: chunks of encoded records. Bytes that were written never change.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Full chunks, and after [`Records::close`] the last one too.
    chunks: Vec<Bytes>,
    /// The chunk being written.
    open: BytesMut,
    /// Bytes written into all chunks.
    len: usize,
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
    /// Bytes of all records.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of records.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The written chunks, in order. None of them is empty.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &chunk[..]).chain((!self.open.is_empty()).then_some(&self.open[..]))
    }

    /// The chunks of a closed batch, to be shared with writers.
    pub(crate) fn shared(&self) -> &[Bytes] {
        debug_assert!(self.open.is_empty(), "only a closed batch is shared");
        &self.chunks
    }

    /// The size that `content` would have as the next record here, in bytes.
    #[inline]
    pub(crate) fn size_of_next(&self, content: &Content<'_>) -> usize {
        let body = self.body_size(content);
        varint_size(body as i32) + body
    }

    /// Appends a record. `size` is what [`Records::size_of_next`] said; `first` is the class of the first chunk. Nothing
    /// changes if the pool has no room, unless `reserve` allows to exceed it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        content: &Content<'_>,
        size: usize,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        if self.room() < size {
            return self.append_across(content, size, pool, first, reserve);
        }
        if self.count == 0 {
            self.start(content);
        }
        let (body, delta, index) = (self.body_size(content), self.delta(content), self.count);
        encode(&mut self.open, content, body, delta, index);
        self.finish(content, size);
        Ok(())
    }

    /// Counts a record without writing it, to see how large a batch would be.
    fn count_only(&mut self, content: &Content<'_>, size: usize) {
        if self.count == 0 {
            self.start(content);
        }
        self.finish(content, size);
    }

    /// Ends the batch: no more records; its chunks may be shared.
    pub(crate) fn close(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(core::mem::take(&mut self.open).freeze());
        }
    }

    /// Gives all chunks back. How many records and bytes there were is still told.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.open.capacity() > 0 {
            pool.recycle(core::mem::take(&mut self.open));
        }
        for chunk in self.chunks.drain(..) {
            pool.give_back(chunk);
        }
    }

    /// Begins a new batch, after the chunks of the last one were released. Keeps the table for chunks.
    pub(crate) fn restart(&mut self) {
        debug_assert!(self.chunks.is_empty() && self.open.is_empty(), "the last batch's chunks are given back");
        (self.len, self.count) = (0, 0);
    }

    #[inline]
    fn room(&self) -> usize {
        self.open.capacity() - self.open.len()
    }

    #[inline]
    fn delta(&self, content: &Content<'_>) -> i64 {
        content.timestamp.wrapping_sub(self.base_timestamp)
    }

    #[inline]
    fn body_size(&self, content: &Content<'_>) -> usize {
        let delta = if self.count == 0 { 0 } else { self.delta(content) };
        1 + varlong_size(delta) + varint_size(self.count as i32) + content.payload_size()
    }

    fn start(&mut self, content: &Content<'_>) {
        self.base_timestamp = content.timestamp;
        self.max_timestamp = content.timestamp;
    }

    #[inline]
    fn finish(&mut self, content: &Content<'_>, size: usize) {
        self.max_timestamp = self.max_timestamp.max(content.timestamp);
        self.count += 1;
        self.len += size;
    }

    /// The record does not fit into the open chunk: take what it needs, then write across the border.
    #[cold]
    fn append_across(
        &mut self,
        content: &Content<'_>,
        size: usize,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        let mut fresh: smallvec::SmallVec<[BytesMut; 2]> = smallvec::SmallVec::new();
        let mut missing = size - self.room();
        let mut class = match self.len {
            0 => first.max(Class::holding(missing)),
            _ => Class::holding(self.open.capacity()).up().max(Class::holding(missing)),
        };
        while missing > 0 {
            let chunk = match reserve {
                Reserve::Kept => pool.take(class).or_else(|| {
                    // Almost full: smaller chunks may still do.
                    class = Class::holding(missing).min(Class::filled_by(pool.available()));
                    pool.take(class)
                }),
                Reserve::Used { all } => {
                    let expected = all.saturating_sub(self.len + self.room()).max(missing);
                    let taken: usize = fresh.iter().map(BytesMut::capacity).sum();
                    class = Class::filled_by(expected.saturating_sub(taken)).max(Class::holding(missing.min(256)));
                    Some(pool.take_reserve(class))
                }
            };
            let Some(chunk) = chunk else {
                let needed = missing + fresh.iter().map(|chunk| chunk.capacity()).sum::<usize>();
                for chunk in fresh {
                    pool.recycle(chunk);
                }
                return Err(NoRoom { needed: Class::holding(needed).size().max(needed) });
            };
            missing = missing.saturating_sub(class.size());
            class = class.up().max(Class::holding(missing));
            fresh.push(chunk);
        }
        if self.count == 0 {
            self.start(content);
        }
        let (body, delta, count) = (self.body_size(content), self.delta(content), self.count);
        fresh.reverse();
        encode(&mut Across { records: self, fresh }, content, body, delta, count);
        self.finish(content, size);
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

/// Writes over the end of the open chunk into fresh ones, the next of which is last in the list.
struct Across<'a> {
    records: &'a mut Records,
    fresh: smallvec::SmallVec<[BytesMut; 2]>,
}

trait Write {
    fn put(&mut self, bytes: &[u8]);
}

impl Write for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

impl Write for Across<'_> {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.records.room() == 0 {
                let next = self.fresh.pop().expect("chunks for the whole record were taken before");
                let full = core::mem::replace(&mut self.records.open, next);
                if !full.is_empty() {
                    self.records.chunks.push(full.freeze());
                }
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.records.room()));
            self.records.open.put_slice(now);
            bytes = later;
        }
    }
}

#[inline]
fn encode(out: &mut impl Write, content: &Content<'_>, body: usize, delta: i64, index: u32) {
    // Everything before the key's bytes: at most 5 + 1 + 10 + 5 + 5.
    let mut head = [0; 26];
    let mut at = put_varint(&mut head, 0, body as i32);
    at += 1; // the record's attributes: none defined
    at = put_varlong(&mut head, at, delta);
    at = put_varint(&mut head, at, index as i32);
    at = put_varint(&mut head, at, content.key.map_or(-1, |key| key.len() as i32));
    out.put(&head[..at]);
    if let Some(key) = content.key {
        out.put(key);
    }
    put_nullable(out, content.value);
    let mut count = [0; 5];
    let at = put_varint(&mut count, 0, content.headers.len() as i32);
    out.put(&count[..at]);
    for header in content.headers {
        put_nullable(out, Some(header.key.as_bytes()));
        put_nullable(out, header.value);
    }
}

#[inline]
fn put_nullable(out: &mut impl Write, bytes: Option<&[u8]>) {
    let mut length = [0; 5];
    let at = put_varint(&mut length, 0, bytes.map_or(-1, |bytes| bytes.len() as i32));
    out.put(&length[..at]);
    if let Some(bytes) = bytes {
        out.put(bytes);
    }
}

#[inline]
fn put_varint(out: &mut [u8], at: usize, value: i32) -> usize {
    put_uvarint(out, at, u64::from((value << 1 ^ value >> 31) as u32))
}

#[inline]
fn put_varlong(out: &mut [u8], at: usize, value: i64) -> usize {
    put_uvarint(out, at, (value << 1 ^ value >> 63) as u64)
}

#[inline]
fn put_uvarint(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

#[inline]
fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(bytes.len() as i32) + bytes.len())
}

#[inline]
fn varint_size(value: i32) -> usize {
    uvarint_size(u64::from((value << 1 ^ value >> 31) as u32))
}

#[inline]
fn varlong_size(value: i64) -> usize {
    uvarint_size((value << 1 ^ value >> 63) as u64)
}

#[inline]
fn uvarint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}
