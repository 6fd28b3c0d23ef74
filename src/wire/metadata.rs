//! Metadata (key 3, versions 4 to 13): brokers, topics, partitions and their leaders.

use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use crate::wire::Uuid;
use crate::wire::primitives::{Malformed, Reader, put_count, put_null, put_string, put_tags};
use crate::wire::versions::Api;

/// Asks for the topics of these names, for the brokers alone if there are none, for all topics with `None`.
pub(crate) fn encode<'a>(
    out: &mut BytesMut,
    version: i16,
    topics: Option<impl ExactSizeIterator<Item = &'a str>>,
    allow_auto_create: bool,
) {
    let flexible = Api::Metadata.is_flexible(version);
    match &topics {
        Some(topics) => put_count(out, flexible, topics.len()),
        None => put_null(out, flexible),
    }
    for name in topics.into_iter().flatten() {
        if version >= 10 {
            out.put_slice(&Uuid::default());
        }
        put_string(out, flexible, name);
        put_tags(out, flexible);
    }
    out.put_u8(u8::from(allow_auto_create));
    if (8..=10).contains(&version) {
        out.put_u8(0); // no authorized operations of the cluster
    }
    if version >= 8 {
        out.put_u8(0); // nor of topics
    }
    put_tags(out, flexible);
}

/// A broker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) throttle_ms: i32,
    pub(crate) brokers: Vec<Broker<'a>>,
    pub(crate) topics: Vec<Topic<'a>>,
    /// Of the whole answer (from version 13 on).
    pub(crate) error: i16,
}

/// A broker's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broker<'a> {
    pub(crate) id: i32,
    pub(crate) host: &'a str,
    pub(crate) port: i32,
    pub(crate) rack: Option<&'a str>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic<'a> {
    pub(crate) error: i16,
    /// Null only for topics asked for by id (from version 12 on).
    pub(crate) name: Option<&'a str>,
    /// Zero before version 10.
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) error: i16,
    pub(crate) index: i32,
    /// −1 for none.
    pub(crate) leader: i32,
    /// −1 before version 7.
    pub(crate) leader_epoch: i32,
}

pub(crate) fn decode(version: i16, body: &[u8]) -> Result<Response<'_>, Malformed> {
    let flexible = Api::Metadata.is_flexible(version);
    let mut reader = Reader::new(body, flexible);
    let throttle_ms = reader.i32()?;
    let count = reader.count(if flexible { 11 } else { 12 })?;
    let mut brokers = reader.list(count)?;
    for _ in 0..count {
        let (id, host, port) = (reader.i32()?, reader.string()?, reader.i32()?);
        brokers.push(Broker { id, host, port, rack: reader.nullable_string()? });
        reader.skip_tags()?;
    }
    reader.nullable_string()?; // cluster id
    reader.i32()?; // controller
    let count = reader.count(6)?;
    let mut topics = reader.list(count)?;
    for _ in 0..count {
        topics.push(topic(&mut reader, version)?);
    }
    if (8..=10).contains(&version) {
        reader.i32()?; // authorized operations of the cluster
    }
    let error = if version >= 13 { reader.i16()? } else { 0 };
    reader.skip_tags()?;
    Ok(Response { throttle_ms, brokers, topics, error })
}

fn topic<'a>(reader: &mut Reader<'a>, version: i16) -> Result<Topic<'a>, Malformed> {
    let error = reader.i16()?;
    let name = if version >= 12 { reader.nullable_string()? } else { Some(reader.string()?) };
    let id = if version >= 10 { reader.uuid()? } else { Uuid::default() };
    reader.boolean()?; // internal
    let count = reader.count(13)?;
    let mut partitions = reader.list(count)?;
    for _ in 0..count {
        partitions.push(Partition {
            error: reader.i16()?,
            index: reader.i32()?,
            leader: reader.i32()?,
            leader_epoch: if version >= 7 { reader.i32()? } else { -1 },
        });
        reader.skip_i32_array()?; // replicas
        reader.skip_i32_array()?; // those in sync
        if version >= 5 {
            reader.skip_i32_array()?; // those offline
        }
        reader.skip_tags()?;
    }
    if version >= 8 {
        reader.i32()?; // authorized operations
    }
    reader.skip_tags()?;
    Ok(Topic { error, name, id, partitions })
}
