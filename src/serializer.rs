//! From values to the bytes of keys and values, as Java's serializers write them.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use thiserror::Error;

/// Whether a value has bytes, or is null (a tombstone, as a record's value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serialized {
    /// What was written.
    Bytes,
    /// Null; nothing was written.
    Null,
}

/// Why a value can't be written, in words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not serialized: {0}")]
pub struct SerializeError(pub String);

/// Writes values of a type. Byte order and text forms of those below are Java's.
pub trait Serializer<T: ?Sized> {
    /// Appends the bytes of `value`, which goes to `topic`, to `out`.
    ///
    /// # Errors
    /// If it can't be written; the record is not sent then.
    fn serialize(&self, topic: &str, value: &T, out: &mut Vec<u8>) -> Result<Serialized, SerializeError>;
}

macro_rules! big_endian {
    ($($(#[$doc:meta])* $name:ident($type:ty);)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name;

            impl Serializer<$type> for $name {
                fn serialize(&self, _: &str, value: &$type, out: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
                    out.extend_from_slice(&value.to_be_bytes());
                    Ok(Serialized::Bytes)
                }
            }
        )*
    };
}

big_endian! {
    /// 2 bytes, big-endian.
    ShortSerializer(i16);
    /// 4 bytes, big-endian.
    IntegerSerializer(i32);
    /// 8 bytes, big-endian.
    LongSerializer(i64);
    /// 4 bytes, IEEE 754, big-endian.
    FloatSerializer(f32);
    /// 8 bytes, IEEE 754, big-endian.
    DoubleSerializer(f64);
}

macro_rules! as_bytes {
    ($($(#[$doc:meta])* $name:ident { $($type:ty),+ })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name;

            $(
                impl Serializer<$type> for $name {
                    fn serialize(&self, _: &str, value: &$type, out: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
                        out.extend_from_slice(value.as_ref());
                        Ok(Serialized::Bytes)
                    }
                }
            )+
        )*
    };
}

as_bytes! {
    /// UTF-8.
    StringSerializer { str, String }
    /// The bytes as they are.
    ByteArraySerializer { [u8], Vec<u8>, Bytes }
}

/// The text form of a UUID, in lower case with hyphens, as Java's `UUIDSerializer`. The UUID is its 128 bits as a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidSerializer;

impl Serializer<u128> for UuidSerializer {
    fn serialize(&self, _: &str, value: &u128, out: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
        let digits = alloc::format!("{value:032x}");
        let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        out.extend_from_slice(groups.join("-").as_bytes());
        Ok(Serialized::Bytes)
    }
}

/// Always null, as Java's `VoidSerializer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidSerializer;

impl Serializer<()> for VoidSerializer {
    fn serialize(&self, _: &str, (): &(), _: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
        Ok(Serialized::Null)
    }
}

/// `None` is null, `Some` what the serializer within says.
impl<T, S: Serializer<T>> Serializer<Option<T>> for S {
    fn serialize(&self, topic: &str, value: &Option<T>, out: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
        match value {
            None => Ok(Serialized::Null),
            Some(value) => self.serialize(topic, value, out),
        }
    }
}

/// JSON, by serde.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonSerializer;

/// A value that is to be written as JSON. (By a type of its own, for `Option<T>` is null or what `T` is.)
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

#[cfg(feature = "json")]
impl<T: serde::Serialize> Serializer<Json<T>> for JsonSerializer {
    fn serialize(&self, _: &str, value: &Json<T>, out: &mut Vec<u8>) -> Result<Serialized, SerializeError> {
        use alloc::string::ToString;
        serde_json::to_writer(out, &value.0).map_err(|error| SerializeError(error.to_string()))?;
        Ok(Serialized::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: ?Sized>(serializer: impl Serializer<T>, value: &T) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let serialized = serializer.serialize("t", value, &mut out).unwrap();
        (serialized == Serialized::Bytes).then_some(out)
    }

    #[test]
    fn numbers_are_big_endian_as_javas() {
        assert_eq!(bytes(ShortSerializer, &-2), Some([0xff, 0xfe].into()));
        assert_eq!(bytes(IntegerSerializer, &1_000_000), Some([0, 0x0f, 0x42, 0x40].into()));
        assert_eq!(bytes(LongSerializer, &1), Some([0, 0, 0, 0, 0, 0, 0, 1].into()));
        assert_eq!(bytes(FloatSerializer, &1.0), Some([0x3f, 0x80, 0, 0].into()));
        assert_eq!(bytes(DoubleSerializer, &-2.0), Some([0xc0, 0, 0, 0, 0, 0, 0, 0].into()));
    }

    #[test]
    fn texts_bytes_uuids_and_nulls_are_javas() {
        assert_eq!(bytes(StringSerializer, "zürich"), Some("zürich".into()));
        assert_eq!(bytes(ByteArraySerializer, &[1, 2][..]), Some([1, 2].into()));
        let uuid = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
        assert_eq!(bytes(UuidSerializer, &uuid), Some("01234567-89ab-cdef-0123-456789abcdef".into()));
        assert_eq!(bytes(VoidSerializer, &()), None);
        assert_eq!(bytes(LongSerializer, &None::<i64>), None);
        assert_eq!(bytes(StringSerializer, &Some(String::from("v"))), Some("v".into()));
    }

    #[test]
    #[cfg(feature = "json")]
    fn json_is_written_by_serde() {
        let value = Json([("a", 1)].into_iter().collect::<alloc::collections::BTreeMap<_, _>>());
        assert_eq!(bytes(JsonSerializer, &value), Some("{\"a\":1}".into()));
    }
}
