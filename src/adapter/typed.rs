//! A producer of typed keys and values, over any adapter.

use alloc::vec::Vec;

use thiserror::Error;

use super::completion::Delivered;
use super::error::Error;
use crate::record::Record;
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

    fn bytes<KT: ?Sized, VT: ?Sized>(&self, topic: &str, key: &KT, value: &VT) -> Result<Pair, SerializeError>
    where
        K: Serializer<KT>,
        V: Serializer<VT>,
    {
        let (mut written_key, mut written_value) = (Vec::new(), Vec::new());
        let key = self.key.serialize(topic, key, &mut written_key)?;
        let value = self.value.serialize(topic, value, &mut written_value)?;
        Ok(Pair {
            key: (key == Serialized::Bytes).then_some(written_key),
            value: (value == Serialized::Bytes).then_some(written_value),
        })
    }
}

/// A key and a value as bytes.
struct Pair {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Pair {
    fn record<'a>(&'a self, topic: &'a str) -> Record<'a> {
        let mut record = Record::new(topic);
        (record.key, record.value) = (self.key.as_deref(), self.value.as_deref());
        record
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
        Ok(self.enqueue(topic, key, value)?.wait()?)
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
        let pair = self.bytes(topic, key, value)?;
        Ok(self.producer.enqueue(&pair.record(topic))?)
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
        Ok(self.enqueue(topic, key, value).await?.await?)
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
        let pair = self.bytes(topic, key, value)?;
        Ok(self.producer.enqueue(&pair.record(topic)).await?)
    }
}
