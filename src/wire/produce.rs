//! Produce (key 0, versions 3 to 13): batches to a broker, and what became of each.
//!
//! The request is laid out in pieces around the batches, which are not copied: [`begin`], then for each topic [`topic`],
//! for each of its partitions [`partition`], the batch, [`partition_end`], then [`topic_end`], and at last [`end`].

use bytes::{BufMut, BytesMut};

use crate::planted::planted;
use crate::wire::Uuid;
use crate::wire::header::put_request_header;
use crate::wire::primitives::{Malformed, Reader, put_count, put_nullable_string, put_string, put_tags, put_uvarint};
use crate::wire::versions::Api;

/// Bytes before the first topic, at most, without a transactional id.
pub(crate) fn head_size(client_id: usize) -> usize {
    4 + 8 + 2 + client_id + 1 + 3 + 2 + 4 + 5 + 1
}

/// Bytes that a batch adds to a request, at most, if its topic is named for it alone.
pub(crate) fn entry_size(topic_name: usize) -> usize {
    (3 + topic_name).max(16) + 5 + 1 + 4 + 5 + 1
}

/// The frame's length (see [`patch_length`]), the header, and the request up to its topics.
#[expect(clippy::too_many_arguments, reason = "the request's own fields")]
pub(crate) fn begin(
    out: &mut BytesMut,
    version: i16,
    correlation: i32,
    client_id: Option<&str>,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    topics: usize,
) {
    let flexible = Api::Produce.is_flexible(version);
    out.put_i32(0);
    put_request_header(out, Api::Produce, version, correlation, client_id);
    put_nullable_string(out, flexible, transactional_id);
    out.put_i16(acks);
    out.put_i32(timeout_ms);
    put_count(out, flexible, topics);
}

/// A topic: by its name, or from version 13 on by its id.
pub(crate) fn topic(out: &mut BytesMut, version: i16, name: &str, id: &Uuid, partitions: usize) {
    let flexible = Api::Produce.is_flexible(version);
    if version >= 13 {
        out.put_slice(id);
    } else {
        put_string(out, flexible, name);
    }
    put_count(out, flexible, partitions);
}

/// A partition, up to its batch of `records` bytes.
pub(crate) fn partition(out: &mut BytesMut, version: i16, index: i32, records: usize) {
    out.put_i32(index);
    if Api::Produce.is_flexible(version) {
        put_uvarint(out, records as u32 + 1);
    } else {
        out.put_i32(records as i32);
    }
}

/// What follows the batch.
pub(crate) fn partition_end(out: &mut BytesMut, version: i16) {
    put_tags(out, Api::Produce.is_flexible(version));
}

/// What follows a topic's last partition.
pub(crate) fn topic_end(out: &mut BytesMut, version: i16) {
    put_tags(out, Api::Produce.is_flexible(version));
}

/// What follows the last topic.
pub(crate) fn end(out: &mut BytesMut, version: i16) {
    put_tags(out, Api::Produce.is_flexible(version));
}

/// Writes the frame's length (its own four bytes not counted) into the first bytes of the request.
pub(crate) fn patch_length(first: &mut [u8], length: usize) {
    first[..4].copy_from_slice(&(length as i32).to_be_bytes());
}

/// A response: checked as a whole, then walked without allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'a> {
    version: i16,
    topics: Reader<'a>,
    endpoints: Option<Reader<'a>>,
    pub(crate) throttle_ms: i32,
}

/// How a response names a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicRef<'a> {
    /// Up to version 12.
    Name(&'a str),
    /// From version 13 on.
    Id(Uuid),
}

/// What became of one partition's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition<'a> {
    pub(crate) topic: TopicRef<'a>,
    pub(crate) index: i32,
    pub(crate) error: i16,
    pub(crate) base_offset: i64,
    /// −1 unless the topic has log append time.
    pub(crate) log_append_time: i64,
    /// −1 before version 5.
    pub(crate) log_start_offset: i64,
    /// The first record that a broker named, by its place in the batch, with its words (from version 8 on).
    pub(crate) first_record_error: Option<(i32, Option<&'a str>)>,
    pub(crate) error_message: Option<&'a str>,
    /// The present leader and its epoch, if the broker told (KIP-951, from version 10 on).
    pub(crate) leader: Option<(i32, i32)>,
}

/// Checks the whole response.
pub(crate) fn decode(version: i16, body: &[u8]) -> Result<Response<'_>, Malformed> {
    let topics = Reader::new(body, Api::Produce.is_flexible(version));
    let mut reader = topics;
    walk(&mut reader, version, |_| {})?;
    let throttle_ms = reader.i32()?;
    let mut endpoints = None;
    reader.tags(|tag, content| {
        if tag == 0 && version >= 10 {
            walk_endpoints(content, |_, _, _| {})?;
            endpoints = Some(content);
        }
        Ok(())
    })?;
    Ok(Response { version, topics, endpoints, throttle_ms })
}

impl<'a> Response<'a> {
    /// Calls `each` with every partition, in the order of the response.
    pub(crate) fn for_each(&self, each: impl FnMut(Partition<'a>)) {
        let mut reader = self.topics;
        let walked = walk(&mut reader, self.version, each);
        debug_assert!(walked.is_ok(), "it was checked when it was decoded");
    }

    /// Whether brokers' addresses are told.
    pub(crate) fn tells_endpoints(&self) -> bool {
        self.endpoints.is_some()
    }

    /// Calls `each` with the node id, host and port of every broker that the response tells of.
    pub(crate) fn for_each_endpoint(&self, each: impl FnMut(i32, &'a str, i32)) {
        if let Some(content) = self.endpoints {
            let walked = walk_endpoints(content, each);
            debug_assert!(walked.is_ok(), "it was checked when it was decoded");
        }
    }
}

fn walk<'a>(reader: &mut Reader<'a>, version: i16, mut each: impl FnMut(Partition<'a>)) -> Result<(), Malformed> {
    for _ in 0..reader.count(3)? {
        let topic = if version >= 13 { TopicRef::Id(reader.uuid()?) } else { TopicRef::Name(reader.string()?) };
        for _ in 0..reader.count(22)? {
            each(partition_of(reader, version, topic)?);
        }
        reader.skip_tags()?;
    }
    Ok(())
}

#[inline]
fn partition_of<'a>(reader: &mut Reader<'a>, version: i16, topic: TopicRef<'a>) -> Result<Partition<'a>, Malformed> {
    let mut partition = Partition {
        topic,
        index: reader.i32()?,
        error: reader.i16()?,
        base_offset: reader.i64()?,
        log_append_time: reader.i64()?,
        log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
        first_record_error: None,
        error_message: None,
        leader: None,
    };
    if version >= 8 {
        for _ in 0..reader.count(5)? {
            let record = (reader.i32()?, reader.nullable_string()?);
            if partition.first_record_error.is_none() || planted("last-record-error-counts") {
                partition.first_record_error = Some(record);
            }
            reader.skip_tags()?;
        }
        partition.error_message = reader.nullable_string()?;
    }
    reader.tags(|tag, mut content| {
        if tag == 0 && version >= 10 {
            let leader = (content.i32()?, content.i32()?);
            content.skip_tags()?;
            if content.left() > 0 {
                return content.bad("leader without anything behind it");
            }
            partition.leader = (leader.0 >= 0 && leader.1 >= 0).then_some(leader);
        }
        Ok(())
    })?;
    Ok(partition)
}

fn walk_endpoints<'a>(mut reader: Reader<'a>, mut each: impl FnMut(i32, &'a str, i32)) -> Result<(), Malformed> {
    for _ in 0..reader.count(11)? {
        let (id, host, port) = (reader.i32()?, reader.string()?, reader.i32()?);
        reader.nullable_string()?; // rack
        reader.skip_tags()?;
        each(id, host, port);
    }
    if reader.left() > 0 {
        return reader.bad("list of brokers without anything behind it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_brokers_is_all_of_its_field() {
        // No topics, no pause, and a field of a list without brokers.
        for (field, good) in [(&[0, 1, 1][..], true), (&[0, 2, 1, 7], false), (&[0, 1, 2], false)] {
            let body = [&[1, 0, 0, 0, 0, 1], field].concat();
            assert_eq!(decode(10, &body).is_ok(), good, "{field:?}");
        }
    }

    /// With counts and lengths that take as many bytes as they can.
    #[test]
    fn no_version_takes_more_than_is_reckoned_with_nor_does_the_largest_take_less() {
        const MANY: usize = 1 << 30;
        let (client, long) = ("c".repeat(100), "t".repeat(20_000));
        let (mut head, mut by_name, mut by_id) = (0, 0, 0);
        for version in Api::Produce.supported() {
            let mut out = BytesMut::new();
            begin(&mut out, version, 1, Some(&client), None, -1, 30_000, MANY);
            end(&mut out, version);
            head = head.max(out.len());
            out.clear();
            topic(&mut out, version, &long, &[7; 16], MANY);
            partition(&mut out, version, 0, MANY);
            partition_end(&mut out, version);
            topic_end(&mut out, version);
            let most = if version < 13 { &mut by_name } else { &mut by_id };
            *most = out.len().max(*most);
        }
        // Two bytes are for an id of a transaction, should there be one.
        assert!((head..=head + 2).contains(&head_size(client.len())), "{head}");
        assert_eq!((by_name, by_id), (entry_size(long.len()), entry_size(13)));
    }
}
