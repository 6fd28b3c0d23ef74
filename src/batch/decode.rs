//! Reads a record section back, record by record: for splitting a batch that a broker found too large, and for mocks.

use alloc::vec::Vec;

use crate::batch::{Content, Records, header};
use crate::planted::planted;
use crate::record::Header;

/// The records of a closed batch, uncompressed.
pub(crate) struct Section {
    bytes: Vec<u8>,
    base_timestamp: i64,
    count: u32,
}

/// One of the batches that a batch is split into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) records: u32,
    /// Of its record section, at most.
    pub(crate) bytes: usize,
}

impl Section {
    /// Reads the records of a batch back.
    pub(crate) fn of(records: &Records) -> Self {
        Self { bytes: records.raw(), base_timestamp: records.base_timestamp(), count: records.count() }
    }

    /// Calls `each` with every record, in order.
    pub(crate) fn for_each(&self, each: impl FnMut(&Content<'_>)) {
        for_each(&self.bytes, self.base_timestamp, self.count, each);
    }

    /// How to split them into batches of at most `target` bytes, or of one record where that is larger.
    pub(crate) fn parts(&self, target: usize) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut measure = Records::default();
        self.for_each(|content| {
            let next = measure.size_of(content);
            match parts.last_mut() {
                Some(part) if header::SIZE + part.bytes + next <= target => {
                    measure.count_only(content);
                    *part = Part { records: part.records + 1, bytes: part.bytes + next };
                }
                _ => {
                    measure = Records::default();
                    let bytes = measure.size_of(content);
                    measure.count_only(content);
                    parts.push(Part { records: 1, bytes });
                }
            }
        });
        parts
    }
}

/// Calls `each` with every record of a batch of this crate's own, header and all, that is not compressed.
#[cfg(all(feature = "cluster", any(feature = "threads", feature = "tokio", feature = "smol")))]
pub(crate) fn for_each_of_batch(batch: &[u8], each: impl FnMut(&Content<'_>)) {
    let (base_timestamp, count) = header::read(batch);
    for_each(&batch[header::SIZE..], base_timestamp, count, each);
}

fn for_each(section: &[u8], base_timestamp: i64, count: u32, mut each: impl FnMut(&Content<'_>)) {
    let mut reader = Reader { bytes: section };
    let mut headers = Vec::new();
    for _ in 0..count {
        headers.clear();
        let record = reader.record(base_timestamp, &mut headers).expect("this crate wrote these bytes");
        let (timestamp, key, value) = record;
        each(&Content::new(timestamp, key, value, &headers));
    }
}

/// A record's timestamp, key and value.
type Bare<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn record(&mut self, base: i64, headers: &mut Vec<Header<'a>>) -> Option<Bare<'a>> {
        let _body = self.varint()?;
        let _attributes = self.take(1)?;
        let base = if planted("parts-count-time-from-zero") { 0 } else { base };
        let timestamp = base.wrapping_add(self.varint()?);
        let _index = self.varint()?;
        let (key, value) = (self.nullable()?, self.nullable()?);
        for _ in 0..self.varint()? {
            let key = core::str::from_utf8(self.nullable()??).ok()?;
            headers.push(Header { key, value: self.nullable()? });
        }
        Some((timestamp, key, value))
    }

    fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Class, Pool, Reserve};
    use alloc::vec;

    #[test]
    fn records_across_chunks_come_back_as_they_were() {
        let mut pool = Pool::new(1 << 20);
        let mut records = Records::default();
        let large = vec![7; 40_000];
        let headers = [Header::new("h", b"x"), Header::null("n"), Header::new("", b"")];
        let contents = [
            Content::new(1000, Some(b"k"), Some(b"v"), &[]),
            Content::new(900, None, Some(&large), &headers),
            Content::new(-1, Some(b""), None, &headers[1..]),
        ];
        for content in &contents {
            records.append(content, &mut pool, Class::FIRST, Reserve::Kept).unwrap();
        }
        records.close();
        assert!(records.segments().count() > 2);
        let mut seen = 0;
        Section::of(&records).for_each(|content| {
            assert_eq!(content, &contents[seen]);
            seen += 1;
        });
        assert_eq!(seen, 3);
        assert_eq!(records.len(), records.chunks().map(<[u8]>::len).sum::<usize>());
    }

    /// A record takes another byte where its place or its time is further from the part's first.
    #[test]
    fn parts_are_as_large_as_they_say_and_as_large_as_they_may_be() {
        let mut pool = Pool::new(1 << 20);
        let mut records = Records::default();
        for n in 0..400 {
            let content = Content::new(1000 + n * 9, None, Some(&[7; 20][..n as usize % 20]), &[]);
            records.append(&content, &mut pool, Class::FIRST, Reserve::Kept).unwrap();
        }
        records.close();
        let section = Section::of(&records);
        for target in [1, 500, 3000, 5000, 100_000] {
            let parts = section.parts(target);
            assert_eq!(parts.iter().map(|part| part.records).sum::<u32>(), 400);
            let (mut place, mut written) = (0, Records::default());
            section.for_each(|content| {
                if written.count() == parts[place].records {
                    let more = written.len() + written.size_of(content);
                    assert!(header::SIZE + more > target, "{target}: part {place} could be larger");
                    (place, written) = (place + 1, Records::default());
                }
                written.append(content, &mut pool, Class::FIRST, Reserve::Kept).unwrap();
                let (part, whole) = (parts[place], header::SIZE + written.len());
                assert!(written.len() <= part.bytes && (whole <= target || part.records == 1), "{target}: {part:?}");
                assert!(written.count() < part.records || written.len() == part.bytes, "{target}: {part:?}");
            });
            assert_eq!(place + 1, parts.len());
        }
    }
}
