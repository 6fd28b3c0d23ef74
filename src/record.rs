//! What an application sends.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::batch::SHARED_FROM;

/// Bytes as they may stand in a text: only how many they are. Records may hold anything, and texts end up in logs.
pub(crate) struct Hidden(pub(crate) usize);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// The same, for what may be null.
pub(crate) fn hidden(bytes: Option<&[u8]>) -> Option<Hidden> {
    bytes.map(|bytes| Hidden(bytes.len()))
}

/// One record to send, borrowed from the caller. [`Producer::send`](crate::Producer::send) copies it, so the caller's
/// buffers are free again as soon as that call returns; large values need not be copied, see [`value_bytes`](Self::value_bytes).
///
/// ```
/// use milena::Record;
/// let record = Record::new("orders").key(b"customer-7").value(b"3 apples");
/// let tombstone = Record::new("orders").key(b"customer-7");
/// # let _ = (record, tombstone);
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition, or `None` to let the partitioner choose.
    pub partition: Option<i32>,
    /// The key. It decides the partition where none is given, and what log compaction keeps.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone: compaction removes the key.
    pub value: Option<&'a [u8]>,
    /// Headers, in the order given; names may repeat.
    pub headers: &'a [Header<'a>],
    /// Creation time in milliseconds since the Unix epoch, not negative; `None` for the time of the send.
    pub timestamp: Option<i64>,
    /// What `value` was made of, if that can be shared. Whoever puts another value into the record may leave it: it counts only
    /// where `value` is all of it.
    pub(crate) owner: Option<&'a Bytes>,
}

impl PartialEq for Record<'_> {
    /// Whether they say the same, however they hold it.
    fn eq(&self, other: &Self) -> bool {
        let Self { topic, partition, key, value, headers, timestamp, owner: _ } = *self;
        (topic, partition, key) == (other.topic, other.partition, other.key)
            && (value, headers, timestamp) == (other.value, other.headers, other.timestamp)
    }
}

impl Eq for Record<'_> {}

impl fmt::Debug for Record<'_> {
    /// With the lengths of key, value and headers in place of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("key", &hidden(self.key))
            .field("value", &hidden(self.value))
            .field("headers", &self.headers)
            .field("timestamp", &self.timestamp)
            .finish()
    }
}

impl<'a> Record<'a> {
    /// A record for `topic` without key, value, headers, partition or timestamp.
    pub const fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: &[], timestamp: None, owner: None }
    }

    /// Sets the partition.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        (self.value, self.owner) = (Some(value.as_ref()), None);
        self
    }

    /// Sets the value, which need not be copied: from 4 KiB on the batch holds a clone of `value` until the record is delivered or
    /// has failed. It counts against `buffer.memory` by its length meanwhile; if it is a part of a larger buffer, all of that is
    /// held. Smaller ones are copied, as those of [`value`](Self::value), and so are all where records are compressed, once they
    /// are.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use milena::Record;
    /// let image = Bytes::from(vec![0; 200_000]);
    /// let record = Record::new("images").key("front-door").value_bytes(&image);
    /// assert_eq!(record.value, Some(&image[..]));
    /// ```
    #[must_use]
    pub fn value_bytes(mut self, value: &'a Bytes) -> Self {
        (self.value, self.owner) = (Some(&value[..]), (value.len() >= SHARED_FROM).then_some(value));
        self
    }

    /// Sets the headers.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the creation time, in milliseconds since the Unix epoch.
    ///
    /// Brokers forget a producer whose records are more than a day old (`producer.id.expiration.ms`) when they start again, and
    /// every ten minutes: what is sent again then may be stored twice, whatever the client, unless the topic has
    /// `message.timestamp.type=LogAppendTime`.
    #[must_use]
    pub const fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }
}

/// A record that owns what it has: for whoever keeps or changes one.
///
/// ```
/// use milena::{Record, RecordBuf};
/// let kept = RecordBuf::new("orders").key("customer-7").value(vec![1, 2]).header("source", "shop").null_header("trace");
/// let headers = kept.headers();
/// let record: Record<'_> = kept.record(&headers); // as it is sent
/// assert_eq!((record.key, record.value), (Some(&b"customer-7"[..]), Some(&[1, 2][..])));
/// assert_eq!(RecordBuf::from(&record), kept);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordBuf {
    /// The topic's name.
    pub topic: String,
    /// The partition, or `None` to let the partitioner choose.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Creation time in milliseconds since the Unix epoch; `None` for the time of the send.
    pub timestamp: Option<i64>,
}

impl fmt::Debug for RecordBuf {
    /// As that of [`Record`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.record(&self.headers()), f)
    }
}

impl From<&Record<'_>> for RecordBuf {
    fn from(record: &Record<'_>) -> Self {
        let header = |header: &Header<'_>| (header.key.to_string(), header.value.map(<[u8]>::to_vec));
        Self {
            topic: record.topic.to_string(),
            partition: record.partition,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(header).collect(),
            timestamp: record.timestamp,
        }
    }
}

impl RecordBuf {
    /// A record for `topic` without key, value, headers, partition or timestamp.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Adds a header whose value is null.
    #[must_use]
    pub fn null_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// Sets the creation time, in milliseconds since the Unix epoch. Mind what [`Record::timestamp`] says of old records.
    #[must_use]
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// The headers, as [`record`](Self::record) wants them.
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect()
    }

    /// The record, borrowed, with [`headers`](Self::headers).
    pub fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> Record<'a> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
            timestamp: self.timestamp,
            owner: None,
        }
    }
}

/// A record header: a name and a value that may be null.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header<'a> {
    /// The name.
    pub key: &'a str,
    /// The value; `None` is a null value, which Kafka keeps apart from an empty one.
    pub value: Option<&'a [u8]>,
}

impl fmt::Debug for Header<'_> {
    /// With the value's length in place of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("key", &self.key).field("value", &hidden(self.value)).finish()
    }
}

impl<'a> Header<'a> {
    /// A header with a value.
    pub const fn new(key: &'a str, value: &'a [u8]) -> Self {
        Self { key, value: Some(value) }
    }

    /// A header whose value is null.
    pub const fn null(key: &'a str) -> Self {
        Self { key, value: None }
    }
}
