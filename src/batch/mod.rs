//! Records become a record batch (v2): encoded in place, once, when they are sent.
//!
//! [`Records`] is the record section of one batch, a chain of chunks from the [`Pool`]; `header` makes the 61 bytes that
//! go before it; `decode` reads a section back where a batch has to be split.

pub(crate) mod codec;
pub(crate) mod crc;
pub(crate) mod decode;
#[cfg(test)]
mod golden;
pub(crate) mod header;
mod pool;
mod shared;

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

pub use codec::{Compression, Compressor};
pub(crate) use pool::{Class, ENTRY, Pool};
pub(crate) use shared::SHARED_FROM;
use shared::SharedValues;

use crate::record::Header;

/// What goes into a batch of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    /// Bytes of everything whose length does not depend on the place in the batch.
    payload: usize,
}

impl<'a> Content<'a> {
    #[inline]
    pub(crate) fn new(
        timestamp: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    ) -> Self {
        let mut payload = nullable_size(key) + nullable_size(value) + varint_size(headers.len() as i32);
        for header in headers {
            payload += nullable_size(Some(header.key.as_bytes())) + nullable_size(header.value);
        }
        Self { timestamp, key, value, headers, payload }
    }

    /// The size of a batch with this record alone, at most (Java's upper bound: 61 for the batch, 21 for the record's own
    /// fields), in bytes.
    #[inline]
    pub(crate) fn alone_at_most(&self) -> usize {
        header::SIZE + 21 + self.payload
    }
}

/// How a record fits at the end of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    /// All of its bytes.
    pub(crate) size: usize,
    /// Those after its length.
    body: usize,
    /// Its timestamp, counted from the batch's first.
    delta: i64,
}

/// The record section of a batch: chunks of encoded records. Bytes that were written never change.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Full chunks, and after [`Records::close`] the last one too.
    chunks: Vec<Bytes>,
    /// The chunk being written.
    open: BytesMut,
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

    /// How `content` would fit as the next record here.
    #[inline]
    pub(crate) fn fit(&self, content: &Content<'_>) -> Fit {
        let delta = if self.count == 0 { 0 } else { content.timestamp.wrapping_sub(self.base_timestamp) };
        let body = 1 + varlong_size(delta) + varint_size(self.count as i32) + content.payload;
        Fit { size: varint_size(body as i32) + body, body, delta }
    }

    /// Appends a record. `fit` is what [`Records::fit`] said of it; `first` is the class of the first chunk. Nothing changes
    /// if the pool has no room, unless `reserve` allows to exceed it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        content: &Content<'_>,
        fit: Fit,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        if self.room() < fit.size || fit.size >= SHARED_FROM {
            return self.append_across(content, fit, pool, first, reserve);
        }
        encode(&mut self.open, content, fit, self.count);
        self.finish(content, fit);
        Ok(())
    }

    /// Counts a record without writing it, to see how large a batch would be.
    fn count_only(&mut self, content: &Content<'_>) {
        let fit = self.fit(content);
        self.finish(content, fit);
    }

    /// Ends the batch: no more records; its chunks may be shared.
    pub(crate) fn close(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(core::mem::take(&mut self.open).freeze());
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
            let (now, later) = left.split_at(left.len().min(chunk.capacity()));
            chunk.put_slice(now);
            self.chunks.push(chunk.freeze());
            left = later;
        }
        self.len = bytes.len();
    }

    /// Gives all chunks back. How many records and bytes there were is still told.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.open.capacity() > 0 {
            pool.recycle(core::mem::take(&mut self.open));
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
        self.open.capacity() - self.open.len()
    }

    #[inline]
    fn finish(&mut self, content: &Content<'_>, fit: Fit) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (content.timestamp, content.timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(content.timestamp);
        self.count += 1;
        self.len += fit.size;
    }

    /// The record does not fit into the open chunk: take what it needs, then write across the border. Or its value is shared.
    #[cold]
    fn append_across(
        &mut self,
        content: &Content<'_>,
        fit: Fit,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        if pool.offered.is_some() && self.append_shared(content, fit, pool, first, reserve) {
            return Ok(());
        }
        let mut fresh = Fresh::new();
        self.take_chunks(&mut fresh, fit.size, pool, first, reserve)?;
        let count = self.count;
        encode(&mut Across { records: self, fresh }, content, fit, count);
        self.finish(content, fit);
        Ok(())
    }

    /// What `size` bytes need besides the room in the open chunk; the first to be written is last.
    fn take_chunks(
        &self,
        fresh: &mut Fresh,
        size: usize,
        pool: &mut Pool,
        first: Class,
        reserve: Reserve,
    ) -> Result<(), NoRoom> {
        let mut missing = size.saturating_sub(self.room());
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

trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn put_byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    /// The value's bytes.
    fn put_value(&mut self, value: &[u8]) {
        self.put(value);
    }
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
fn encode(out: &mut impl Write, content: &Content<'_>, fit: Fit, index: u32) {
    let mut head = Head::default();
    head.varint(fit.body as i32);
    head.uvarint(0); // the record's attributes: none defined
    head.varlong(fit.delta);
    head.varint(index as i32);
    match content.key {
        None => head.varint(-1),
        Some(key) => {
            head.varint(key.len() as i32);
            out.put(head.bytes());
            out.put(key);
            head = Head::default();
        }
    }
    head.varint(content.value.map_or(-1, |value| value.len() as i32));
    out.put(head.bytes());
    if let Some(value) = content.value {
        out.put_value(value);
    }
    if content.headers.is_empty() {
        out.put_byte(0);
    } else {
        encode_headers(out, content.headers);
    }
}

#[inline(never)]
fn encode_headers(out: &mut impl Write, headers: &[Header<'_>]) {
    let mut count = Head::default();
    count.varint(headers.len() as i32);
    out.put(count.bytes());
    for header in headers {
        for bytes in [Some(header.key.as_bytes()), header.value] {
            let mut length = Head::default();
            length.varint(bytes.map_or(-1, |bytes| bytes.len() as i32));
            out.put(length.bytes());
            out.put(bytes.unwrap_or_default());
        }
    }
}

/// Some varints in a row: at most 5 + 1 + 10 + 5 + 5 + 5 bytes.
#[derive(Default)]
struct Head {
    bytes: [u8; 32],
    length: usize,
}

impl Head {
    #[inline]
    fn varint(&mut self, value: i32) {
        self.uvarint(u64::from((value << 1 ^ value >> 31) as u32));
    }

    #[inline]
    fn varlong(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63) as u64);
    }

    #[inline]
    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    /// There is always room; the mask spares a check of that.
    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.length & 31] = byte;
        self.length += 1;
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.min(32)]
    }
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
    // Bits divided by seven and rounded up, without a division.
    ((63 - (value | 1).leading_zeros() as usize) * 9 + 73) / 64
}
