//! A producer of typed keys and values, over any adapter.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::completion::Delivered;
use super::error::Error;
use crate::batch::SHARED_FROM;
use crate::record::{Header, Record};
use crate::serializer::{SerializeError, Serialized, Serializer};

/// An adapter's producer with serializers for keys and values.
///
/// ```
/// # #[cfg(all(feature = "threads", feature = "cluster"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use milena::serializer::{LongSerializer, StringSerializer};
/// use milena::{Config, Typed, cluster::TestCluster, threads::Producer};
///
/// let cluster = TestCluster::start()?;
/// let producer = Producer::new(Config::from_properties(cluster.properties())?)?;
/// let counts = Typed::new(producer, StringSerializer, LongSerializer);
/// counts.send("counts", "apples", &3)?;
/// assert_eq!(cluster.records("counts")[0].1.value.as_deref(), Some(&[0, 0, 0, 0, 0, 0, 0, 3][..]));
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "threads", feature = "cluster")))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Typed<P, K, V> {
    producer: P,
    key: K,
    value: V,
}

/// A record of a key and a value that serializers write, with all else that a [`Record`] may have.
///
/// ```
/// # #[cfg(all(feature = "threads", feature = "cluster"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use milena::serializer::{LongSerializer, StringSerializer};
/// use milena::{Config, Header, Typed, TypedRecord, threads::Producer};
///
/// let (producer, mock) = Producer::mock(Config::new("not-used:9092")?)?;
/// let counts = Typed::new(producer, StringSerializer, LongSerializer);
/// let headers = [Header::new("source", b"shop")];
/// counts.send_record(&TypedRecord::new("counts", "apples", &3).headers(&headers).timestamp(1_700_000_000_000))?;
/// assert_eq!(mock.history()[0].headers[0].0, "source");
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "threads", feature = "cluster")))]
/// # fn main() {}
/// ```
#[non_exhaustive]
pub struct TypedRecord<'a, KT: ?Sized, VT: ?Sized> {
    /// The topic's name.
    pub topic: &'a str,
    /// The key.
    pub key: &'a KT,
    /// The value.
    pub value: &'a VT,
    /// The partition, or `None` to let the partitioner choose.
    pub partition: Option<i32>,
    /// Headers, in the order given; names may repeat.
    pub headers: &'a [Header<'a>],
    /// Creation time in milliseconds since the Unix epoch, not negative; `None` for the time of the send.
    pub timestamp: Option<i64>,
}

impl<KT: ?Sized, VT: ?Sized> core::fmt::Debug for TypedRecord<'_, KT, VT> {
    /// Neither key nor value.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TypedRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("headers", &self.headers)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

impl<'a, KT: ?Sized, VT: ?Sized> TypedRecord<'a, KT, VT> {
    /// A record without headers, partition or timestamp.
    pub const fn new(topic: &'a str, key: &'a KT, value: &'a VT) -> Self {
        Self { topic, key, value, partition: None, headers: &[], timestamp: None }
    }

    /// Sets the partition.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the headers.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the creation time, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }
}

/// Why a typed record was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TypedError {
    /// Its key or value can't be written.
    #[error(transparent)]
    Serialize(#[from] SerializeError),
    /// It was not taken, or not delivered.
    #[error(transparent)]
    Producer(#[from] Error),
}

impl<P, K, V> Typed<P, K, V> {
    /// Writes keys by `key` and values by `value`.
    pub const fn new(producer: P, key: K, value: V) -> Self {
        Self { producer, key, value }
    }

    /// The producer of bytes.
    pub const fn producer(&self) -> &P {
        &self.producer
    }

    fn bytes<'r, KT: ?Sized, VT: ?Sized>(&self, record: &TypedRecord<'r, KT, VT>) -> Result<Pair<'r>, SerializeError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let TypedRecord { topic, key, value, partition, headers, timestamp } = *record;
        let (mut written_key, mut written_value) = (Vec::new(), Vec::new());
        let key = self.key.serialize(topic, key, &mut written_key)?;
        let value = self.value.serialize(topic, value, &mut written_value)?;
        Ok(Pair {
            rest: Record { partition, headers, timestamp, ..Record::new(topic) },
            key: (key == Serialized::Bytes).then_some(written_key),
            value: (value == Serialized::Bytes).then(|| Written::new(written_value)),
        })
    }
}

/// A key and a value as bytes, and the rest of their record.
struct Pair<'a> {
    rest: Record<'a>,
    key: Option<Vec<u8>>,
    value: Option<Written>,
}

/// A value that a serializer has written: a large one goes into its batch without being copied.
enum Written {
    Small(Vec<u8>),
    Large(Bytes),
}

impl Written {
    fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.len() < SHARED_FROM {
            return Self::Small(bytes);
        }
        bytes.shrink_to_fit(); // what `buffer.memory` counts is its length
        Self::Large(bytes.into())
    }
}

impl Pair<'_> {
    fn record(&self) -> Record<'_> {
        let rest = Record { key: self.key.as_deref(), ..self.rest };
        match &self.value {
            None => rest,
            Some(Written::Small(value)) => rest.value(value),
            Some(Written::Large(value)) => rest.value_bytes(value),
        }
    }
}

#[cfg(feature = "threads")]
impl<K, V> Typed<super::threads::Producer, K, V> {
    /// Sends a record and waits until it is delivered.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn send<KT: ?Sized, VT: ?Sized>(&self, topic: &str, key: &KT, value: &VT) -> Result<Delivered, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        self.send_record(&TypedRecord::new(topic, key, value))
    }

    /// Takes a record, as the producer's `enqueue`.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn enqueue<KT: ?Sized, VT: ?Sized>(
        &self,
        topic: &str,
        key: &KT,
        value: &VT,
    ) -> Result<super::threads::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        self.enqueue_record(&TypedRecord::new(topic, key, value))
    }

    /// As [`send`](Self::send), of a record that may have headers, a partition and a timestamp.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn send_record<KT: ?Sized, VT: ?Sized>(&self, record: &TypedRecord<'_, KT, VT>) -> Result<Delivered, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        Ok(self.enqueue_record(record)?.wait()?)
    }

    /// As [`enqueue`](Self::enqueue), of such a record.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn enqueue_record<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
    ) -> Result<super::threads::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.enqueue(&pair.record())?)
    }

    /// As [`enqueue_record`](Self::enqueue_record), if that is possible at once: as the producer's `try_enqueue`.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn try_enqueue_record<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
    ) -> Result<super::threads::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.try_enqueue(&pair.record())?)
    }

    /// Takes a record, and calls `callback` with what became of it: as the producer's `send_with`.
    ///
    /// # Errors
    /// See [`TypedError`]; then the callback is not called.
    pub fn send_record_with<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.send_with(&pair.record(), callback)?)
    }

    /// As the producer's `flush`.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<u64, Error> {
        self.producer.flush()
    }

    /// As the producer's `close`.
    ///
    /// # Errors
    /// As there.
    pub fn close(&self, timeout: Duration) -> Result<u64, Error> {
        self.producer.close(timeout)
    }
}

#[cfg(any(feature = "tokio", feature = "smol"))]
impl<R: super::task::Runtime, K, V> Typed<super::task::Producer<R>, K, V> {
    /// Sends a record and waits until it is delivered.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub async fn send<KT: ?Sized, VT: ?Sized>(&self, topic: &str, key: &KT, value: &VT) -> Result<Delivered, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        self.send_record(&TypedRecord::new(topic, key, value)).await
    }

    /// Takes a record, as the producer's `enqueue`.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub async fn enqueue<KT: ?Sized, VT: ?Sized>(
        &self,
        topic: &str,
        key: &KT,
        value: &VT,
    ) -> Result<super::task::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        self.enqueue_record(&TypedRecord::new(topic, key, value)).await
    }

    /// As [`send`](Self::send), of a record that may have headers, a partition and a timestamp.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub async fn send_record<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
    ) -> Result<Delivered, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        Ok(self.enqueue_record(record).await?.await?)
    }

    /// As [`enqueue`](Self::enqueue), of such a record.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub async fn enqueue_record<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
    ) -> Result<super::task::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.enqueue(&pair.record()).await?)
    }

    /// As [`enqueue_record`](Self::enqueue_record), if that is possible at once: as the producer's `try_enqueue`.
    ///
    /// # Errors
    /// See [`TypedError`].
    pub fn try_enqueue_record<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
    ) -> Result<super::task::Ack, TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.try_enqueue(&pair.record())?)
    }

    /// Takes a record, and calls `callback` with what became of it: as the producer's `send_with`.
    ///
    /// # Errors
    /// See [`TypedError`]; then the callback is not called.
    pub async fn send_record_with<KT: ?Sized, VT: ?Sized>(
        &self,
        record: &TypedRecord<'_, KT, VT>,
        callback: impl FnOnce(Result<Delivered, Error>) + Send + 'static,
    ) -> Result<(), TypedError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let pair = self.bytes(record)?;
        Ok(self.producer.send_with(&pair.record(), callback).await?)
    }

    /// As the producer's `flush`.
    ///
    /// # Errors
    /// As there.
    pub async fn flush(&self) -> Result<u64, Error> {
        self.producer.flush().await
    }

    /// As the producer's `close`.
    ///
    /// # Errors
    /// As there.
    pub async fn close(&self, timeout: Duration) -> Result<u64, Error> {
        self.producer.close(timeout).await
    }
}
