//! Kafka's primitive types, read with every length checked, written without allocation of their own.

use alloc::vec::Vec;
use core::fmt;

use bytes::{BufMut, BytesMut};

use crate::memory;
use crate::planted::planted;
use crate::wire::Uuid;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What was expected.
    pub(crate) what: &'static str,
    /// How many bytes from the end it should have begun.
    pub(crate) left: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed response: no valid {} {} bytes before its end", self.what, self.left)
    }
}

/// Reads a message from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, flexible }
    }

    pub(crate) fn bad<T>(&self, what: &'static str) -> Read<T> {
        Err(Malformed { what, left: self.bytes.len() })
    }

    /// Bytes that were not read.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Read<&'a [u8]> {
        match self.bytes.split_at_checked(length) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => self.bad(what),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Read<[u8; N]> {
        match self.bytes.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(*taken)
            }
            None => self.bad(what),
        }
    }

    pub(crate) fn boolean(&mut self) -> Read<bool> {
        Ok(self.array::<1>("boolean")?[0] != 0)
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Read<i16> {
        Ok(i16::from_be_bytes(self.array("int16")?))
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array("int32")?))
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array("int64")?))
    }

    #[inline]
    pub(crate) fn uuid(&mut self) -> Read<Uuid> {
        self.array("uuid")
    }

    #[inline]
    pub(crate) fn uvarint(&mut self) -> Read<u32> {
        let mut value = 0;
        for shift in if planted("lengths-end-at-four-bytes") { [0, 7, 14, 21, 21] } else { [0, 7, 14, 21, 28] } {
            let byte = self.array::<1>("varint")?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.bad("varint of at most five bytes")
    }

    pub(crate) fn string(&mut self) -> Read<&'a str> {
        match self.nullable_string()? {
            Some(string) => Ok(string),
            None => self.bad("string that is not null"),
        }
    }

    pub(crate) fn nullable_string(&mut self) -> Read<Option<&'a str>> {
        let length = if self.flexible {
            match self.uvarint()? {
                0 => return Ok(None),
                length => length as usize - 1,
            }
        } else {
            match usize::try_from(self.i16()?) {
                Ok(length) => length,
                Err(_) => return Ok(None),
            }
        };
        let bytes = self.take(length, "string")?;
        match core::str::from_utf8(bytes) {
            Ok(string) => Ok(Some(string)),
            Err(_) => self.bad("string in UTF-8"),
        }
    }

    /// The number of elements of an array of which each takes `at_least` bytes.
    pub(crate) fn count(&mut self, at_least: usize) -> Read<usize> {
        let count = if self.flexible {
            match self.uvarint()? {
                0 => return self.bad("array that is not null"),
                count => count as usize - 1,
            }
        } else {
            match usize::try_from(self.i32()?) {
                Ok(count) => count,
                Err(_) => return self.bad("array that is not null"),
            }
        };
        if count > self.bytes.len() / at_least.max(1) {
            return self.bad("array as long as it says");
        }
        Ok(count)
    }

    /// A list with room for so many elements, if there is memory for it.
    pub(crate) fn list<T>(&self, count: usize) -> Read<Vec<T>> {
        let bytes = count.saturating_mul(size_of::<T>()).saturating_add(memory::LEFT);
        if count > 0 && !memory::has(bytes) {
            return self.bad("array for which there is memory");
        }
        Ok(Vec::with_capacity(count))
    }

    /// Bytes after their length.
    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length, "bytes")
    }

    pub(crate) fn skip_i32_array(&mut self) -> Read<()> {
        let count = self.count(4)?;
        self.take(count * 4, "array of int32").map(|_| ())
    }

    /// Tagged fields: calls `known` for each tag with its content; nothing in versions without them.
    pub(crate) fn tags(&mut self, mut known: impl FnMut(u32, Reader<'a>) -> Read<()>) -> Read<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let content = self.take(size, "tagged field")?;
            known(tag, Reader { bytes: content, flexible: true })?;
        }
        Ok(())
    }

    pub(crate) fn skip_tags(&mut self) -> Read<()> {
        self.tags(|_, _| Ok(()))
    }
}

#[inline]
pub(crate) fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A string; too long ones can't be written in the old form, so their length is cut. Kafka's names are at most 249 bytes
/// long, and client ids are checked when configured.
pub(crate) fn put_nullable_string(out: &mut BytesMut, flexible: bool, string: Option<&str>) {
    match (flexible, string) {
        (true, None) => out.put_u8(0),
        (true, Some(string)) => {
            put_uvarint(out, string.len() as u32 + 1);
            out.put_slice(string.as_bytes());
        }
        (false, None) => out.put_i16(-1),
        (false, Some(string)) => {
            let string = &string.as_bytes()[..string.len().min(i16::MAX as usize)];
            out.put_i16(string.len() as i16);
            out.put_slice(string);
        }
    }
}

#[inline]
pub(crate) fn put_string(out: &mut BytesMut, flexible: bool, string: &str) {
    put_nullable_string(out, flexible, Some(string));
}

#[inline]
pub(crate) fn put_count(out: &mut BytesMut, flexible: bool, count: usize) {
    if flexible {
        put_uvarint(out, count as u32 + 1);
    } else {
        out.put_i32(count as i32);
    }
}

/// No array, where one may be missing.
pub(crate) fn put_null(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    } else {
        out.put_i32(-1);
    }
}

/// No tagged fields.
#[inline]
pub(crate) fn put_tags(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_their_borders() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
            let mut out = BytesMut::new();
            put_uvarint(&mut out, value);
            assert_eq!(Reader::new(&out, true).uvarint(), Ok(value));
        }
    }

    #[test]
    fn a_varint_of_six_bytes_is_refused() {
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0], true).uvarint().is_err());
    }

    #[test]
    fn a_count_beyond_the_bytes_left_is_refused() {
        assert!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3], false).count(1).is_err());
        assert!(Reader::new(&[0, 0, 0, 2, 1, 2, 3], false).count(2).is_err());
        assert_eq!(Reader::new(&[0, 0, 0, 1, 1, 2, 3], false).count(2), Ok(1));
    }

    #[test]
    fn null_is_refused_where_the_schema_has_none() {
        assert!(Reader::new(&[0xff, 0xff], false).string().is_err());
        assert_eq!(Reader::new(&[0xff, 0xff], false).nullable_string(), Ok(None));
        assert!(Reader::new(&[0], true).count(1).is_err());
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        assert!(Reader::new(&[0, 1, 0xff], false).string().is_err());
    }

    #[test]
    fn unknown_tags_are_skipped() {
        let mut reader = Reader::new(&[2, 5, 1, 9, 77, 2, 8, 8, 42], true);
        reader.skip_tags().unwrap();
        assert_eq!(reader.left(), 1);
    }
}
