//! One record's bytes (record batch v2): its fields' varints, and what stands between them.

use bytes::Bytes;

use crate::batch::header;
use crate::record::Header;

/// What goes into a batch of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    /// What the application holds the value in, if that may be shared.
    pub(crate) owner: Option<&'a Bytes>,
    /// Bytes of key, value and headers, without the lengths of the first two.
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
        let tail = if headers.is_empty() { 1 } else { headers_size(headers) };
        let payload = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + tail;
        Self { timestamp, key, value, headers, owner: None, payload }
    }

    /// The size of a batch with this record alone, at most (Java's upper bound: 61 for the batch, 21 for the record's own
    /// fields), in bytes.
    pub(crate) fn alone_at_most(&self) -> usize {
        header::SIZE + 21 + length_of(self.key).size + length_of(self.value).size + self.payload
    }

    /// The same, some bytes too many but quickly: most records are far smaller than any limit.
    #[inline]
    pub(crate) fn alone_surely(&self) -> usize {
        header::SIZE + 21 + 2 * LONGEST + self.payload
    }
}

/// The longest varint of 32 bits.
const LONGEST: usize = 5;

/// Room for all fields before the value, and for the whole words in which they are written.
const ROOM: usize = 64;

/// In which varints are written.
const WORD: usize = 8;

/// The lengths and the small fields of a record at a certain place of a certain batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    body: Varint,
    stamp: Varint,
    /// What of `stamp` is longer than a word.
    rest: u32,
    index: Varint,
    key: Varint,
    value: Varint,
    /// All of the record's bytes.
    pub(crate) size: usize,
}

impl Fields {
    /// `delta`: the record's timestamp, counted from the batch's first; `index`: its place.
    #[inline(always)]
    pub(crate) fn of(content: &Content<'_>, delta: i64, index: u32) -> Self {
        let ((stamp, rest), index) = (stamp(delta), length(index as usize));
        let (key, value) = (length_of(content.key), length_of(content.value));
        let length_of_body = stamp.size + index.size + key.size + value.size + content.payload;
        let body = length(length_of_body);
        Self { body, stamp, rest, index, key, value, size: body.size + length_of_body }
    }

    /// Writes the record to the beginning of `out`, if that has room for it and for some bytes more, which are written, too.
    #[inline(always)]
    pub(crate) fn write(&self, content: &Content<'_>, out: &mut [u8]) -> bool {
        if out.len() < self.size + ROOM {
            return false;
        }
        let Some(head) = out.first_chunk_mut() else { return false };
        let mut at = self.write_head(head);
        if let Some(key) = content.key {
            out[at..at + key.len()].copy_from_slice(key);
            at += key.len();
        }
        out[at..at + WORD].copy_from_slice(&self.value.word.to_le_bytes());
        at += self.value.size;
        if let Some(value) = content.value {
            out[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        }
        if content.headers.is_empty() {
            out[at] = 0;
        } else {
            write_headers(content.headers, &mut out[at..]);
        }
        true
    }

    /// The record's bytes, piece by piece.
    pub(crate) fn each(&self, content: &Content<'_>, put: &mut dyn FnMut(&[u8])) {
        self.each_before_value(content, put);
        put(content.value.unwrap_or_default());
        each_of_headers(content.headers, put);
    }

    /// Those before the value's.
    pub(crate) fn each_before_value(&self, content: &Content<'_>, put: &mut dyn FnMut(&[u8])) {
        let mut head = [0; ROOM];
        let size = self.write_head(&mut head);
        put(&head[..size]);
        put(content.key.unwrap_or_default());
        put(&self.value.word.to_le_bytes()[..self.value.size]);
    }

    /// What goes before the key; how many bytes that is. Whole words are written, each over the end of the one before. The masks
    /// change nothing, and spare checks.
    #[inline(always)]
    fn write_head(&self, out: &mut [u8; ROOM]) -> usize {
        out[..WORD].copy_from_slice(&self.body.word.to_le_bytes());
        let mut at = self.body.size;
        out[at & 31..][..WORD].copy_from_slice(&self.stamp.word.to_le_bytes());
        if self.stamp.size > WORD {
            out[(at + WORD) & 31..][..4].copy_from_slice(&self.rest.to_le_bytes());
        }
        at += self.stamp.size;
        out[at & 31..][..WORD].copy_from_slice(&self.index.word.to_le_bytes());
        at += self.index.size;
        out[at & 31..][..WORD].copy_from_slice(&self.key.word.to_le_bytes());
        at + self.key.size
    }
}

/// A varint's bytes in a little-endian word, and how many they are.
#[derive(Clone, Copy, Debug)]
struct Varint {
    word: u64,
    size: usize,
}

/// A number that is not negative, as a varint. Most are of one byte or two.
#[inline(always)]
fn length(value: usize) -> Varint {
    let value = (value as u64) << 1;
    if value < 0x80 {
        Varint { word: value, size: 1 }
    } else if value < 0x4000 {
        Varint { word: value & 0x7f | 0x80 | value >> 7 << 8, size: 2 }
    } else {
        long(value)
    }
}

/// A byte of attributes, of which none are defined, and a timestamp; and what of them is longer than a word.
#[inline(always)]
fn stamp(delta: i64) -> (Varint, u32) {
    let value = (delta << 1 ^ delta >> 63) as u64;
    if value < 0x80 {
        return (Varint { word: value << 8, size: 2 }, 0);
    }
    let Varint { word, size } = long(value);
    (Varint { word: word << 8, size: 1 + size }, long_rest(value))
}

/// As a varint; of one that is longer than a word its beginning.
#[inline(never)]
fn long(value: u64) -> Varint {
    let (bytes, size) = longest(value);
    let [word @ .., _, _] = bytes;
    Varint { word: u64::from_le_bytes(word), size }
}

/// A varint's bytes from the eighth on.
#[inline(never)]
fn long_rest(value: u64) -> u32 {
    let ([.., eighth, ninth, tenth], _) = longest(value);
    u32::from_le_bytes([eighth, ninth, tenth, 0])
}

fn longest(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut size) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[size] = value as u8 | 0x80;
        size += 1;
        value >>= 7;
    }
    bytes[size] = value as u8;
    (bytes, size + 1)
}

/// The length of what may be null.
#[inline(always)]
fn length_of(bytes: Option<&[u8]>) -> Varint {
    match bytes {
        None => Varint { word: 1, size: 1 }, // −1
        Some(bytes) => length(bytes.len()),
    }
}

#[inline(never)]
fn write_headers(headers: &[Header<'_>], mut out: &mut [u8]) {
    each_of_headers(headers, &mut |bytes| {
        let (now, later) = core::mem::take(&mut out).split_at_mut(bytes.len());
        now.copy_from_slice(bytes);
        out = later;
    });
}

/// The headers' bytes, piece by piece.
pub(crate) fn each_of_headers(headers: &[Header<'_>], put: &mut dyn FnMut(&[u8])) {
    let mut put_with_length = |length: Varint, bytes: &[u8]| {
        put(&length.word.to_le_bytes()[..length.size]);
        put(bytes);
    };
    put_with_length(length(headers.len()), &[]);
    for header in headers {
        for bytes in [Some(header.key.as_bytes()), header.value] {
            put_with_length(length_of(bytes), bytes.unwrap_or_default());
        }
    }
}

#[inline(never)]
fn headers_size(headers: &[Header<'_>]) -> usize {
    let size = |bytes: Option<&[u8]>| length_of(bytes).size + bytes.map_or(0, <[u8]>::len);
    let sizes = headers.iter().map(|header| size(Some(header.key.as_bytes())) + size(header.value));
    length(headers.len()).size + sizes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// A record as the format's documentation has it, byte by byte.
    fn plain(content: &Content<'_>, delta: i64, index: u32) -> Vec<u8> {
        fn varint(value: i64, out: &mut Vec<u8>) {
            let mut value = (value << 1 ^ value >> 63) as u64;
            while value >= 0x80 {
                out.push(value as u8 | 0x80);
                value >>= 7;
            }
            out.push(value as u8);
        }
        fn nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
            varint(bytes.map_or(-1, |bytes| bytes.len() as i64), out);
            out.extend(bytes.unwrap_or_default());
        }
        let mut body = vec![0];
        varint(delta, &mut body);
        varint(i64::from(index), &mut body);
        nullable(content.key, &mut body);
        nullable(content.value, &mut body);
        varint(content.headers.len() as i64, &mut body);
        for header in content.headers {
            nullable(Some(header.key.as_bytes()), &mut body);
            nullable(header.value, &mut body);
        }
        let mut record = Vec::new();
        varint(body.len() as i64, &mut record);
        record.extend(body);
        record
    }

    #[test]
    fn fields_are_as_documented_at_every_length_of_each() {
        let bytes = vec![b'b'; 1 << 21];
        // Where one of them needs another byte.
        let lengths = [0, 1, 63, 64, 8191, 8192, (1 << 20) - 1, 1 << 20];
        let mut deltas = vec![0, -1, i64::MIN, i64::MAX];
        deltas.extend((1..63).flat_map(|bit| [(1i64 << bit) - 1, 1 << bit, -(1 << bit), -(1 << bit) - 1]));
        let header = Header { key: "trace", value: Some(&bytes[..70]) };
        let none = Header { key: "", value: None };
        let lists: [&[Header<'_>]; 3] = [&[], &[header], &[none, header, none]];
        let options = || lengths.map(|length| Some(&bytes[..length])).into_iter().chain([None]);
        let check = |key, value, headers, delta, index| {
            let content = Content::new(0, key, value, headers);
            let (wanted, fields) = (plain(&content, delta, index), Fields::of(&content, delta, index));
            let mut pieces = Vec::new();
            fields.each(&content, &mut |piece| pieces.extend_from_slice(piece));
            let mut written = vec![0xaa; wanted.len() + ROOM];
            assert!(fields.write(&content, &mut written), "it has room");
            assert!(!fields.write(&content, &mut written[1..]), "it has none");
            assert!(pieces == wanted && written[..wanted.len()] == wanted, "{content:?} {delta} {index}");
            assert_eq!(fields.size, wanted.len());
            assert!(content.alone_at_most() <= content.alone_surely());
        };
        for (key, value) in options().flat_map(|key| options().map(move |value| (key, value))) {
            for headers in lists {
                check(key, value, headers, 5, 700);
            }
        }
        for index in [0, 1, 63, 64, 8191, 8192, (1 << 20) - 1, 1 << 20, i32::MAX as u32] {
            for delta in &deltas {
                check(Some(&bytes[..3]), Some(&bytes[..20]), lists[1], *delta, index);
                check(None, None, lists[0], *delta, index);
            }
        }
    }
}
