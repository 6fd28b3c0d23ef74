//! kafka-protocol makes room for as many elements as an array says that it has before it reads the first: four bytes of
//! nonsense would be answered by running out of memory. So a request is read twice, first with numbers that can't ask for
//! more than the request is long.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

use super::answer::Unreadable;

/// Reads a request's body; what stands behind it is ignored, as in Kafka.
pub(crate) fn decode<T: Decodable>(body: &Bytes, version: i16) -> Result<T, Unreadable> {
    T::decode(&mut Guard::new(body.clone()), version).map_err(|_| Unreadable)?;
    T::decode(&mut body.clone(), version).map_err(|_| Unreadable)
}

/// Bytes of the longest number of variable length, but for its last.
const LONGEST: usize = 4;

/// Bytes whose numbers are at most as large as what is left of them. Numbers that don't count anything are spoiled by that, so
/// what is read here is good for nothing but to see that all arrays and strings end within the bytes.
struct Guard {
    bytes: Bytes,
    /// Bytes just read that say that their number goes on, so many at most as one has. Where it began nobody tells: a byte may be a number
    /// by itself.
    begun: VecDeque<u8>,
}

impl Guard {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, begun: VecDeque::with_capacity(LONGEST) }
    }

    /// What no count exceeds: each element takes a byte at least. A compact array's count is one more.
    fn largest(&self) -> usize {
        self.bytes.len() + 1
    }
}

impl Buf for Guard {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.begun.clear();
        self.bytes.advance(count);
    }

    /// The count of an array, or any other number.
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.begun.clear();
        let number = self.bytes.try_get_i32()?;
        Ok(number.min(i32::try_from(self.largest()).unwrap_or(i32::MAX)))
    }

    /// A byte of a number of variable length, or a small number by itself: none of those is larger than 127.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        let bits = |byte: u8| u64::from(byte & 0x7f);
        // The largest that it may be the end of.
        let number = self.begun.iter().rev().fold(bits(byte), |number, before| number << 7 | bits(*before));
        // Small numbers may be tags, which count nothing.
        if number > self.largest().max(127) as u64 {
            return Err(TryGetError { requested: number as usize, available: self.bytes.len() });
        }
        if byte < 0x80 {
            self.begun.clear();
        } else {
            if self.begun.len() == LONGEST {
                self.begun.pop_front();
            }
            self.begun.push_back(byte);
        }
        Ok(byte)
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: core::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.begun.clear();
        self.bytes.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use bytes::BytesMut;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::{MetadataRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    #[test]
    fn counts_that_the_request_cannot_hold_are_refused_without_making_room_for_them() {
        for (version, count) in [(1, &i32::MAX.to_be_bytes()[..]), (12, &[0xff, 0xff, 0xff, 0xff, 0x0f])] {
            let body = Bytes::from([count, &[0, 0, 0, 0]].concat());
            assert!(decode::<MetadataRequest>(&body, version).is_err());
        }
    }

    /// What stands before a count may look like its beginning, and there may be more of that than a number has.
    #[test]
    fn a_count_is_seen_wherever_it_begins() {
        for before in 0..12 {
            let bytes = [&[0x80; 12][..before], &[0x80, 0x80, 0x80, 0x80, 0x05]].concat();
            let mut guard = Guard::new(bytes.into());
            let read = (0..before + 5).try_for_each(|_| guard.try_get_u8().map(drop));
            assert!(read.is_err(), "{before}");
        }
    }

    #[test]
    fn what_is_well_formed_is_read_as_without_the_guard() {
        let name = TopicName(StrBytes::from_string("t".repeat(200)));
        let topics = (0..300).map(|_| MetadataRequestTopic::default().with_name(Some(name.clone()))).collect();
        let request = MetadataRequest::default().with_topics(Some(topics));
        for version in 1..=12 {
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes, version).expect("a request");
            let read = decode::<MetadataRequest>(&bytes.freeze(), version).unwrap_or_else(|_| panic!("it is readable"));
            assert_eq!(read, request);
        }
        let empty = Vec::from([0xff; 4]);
        assert!(decode::<MetadataRequest>(&Bytes::from(empty), 1).is_ok(), "null, for all topics");
    }
}
