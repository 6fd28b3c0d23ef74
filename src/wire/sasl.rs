//! SaslHandshake (key 17, version 1) and SaslAuthenticate (key 36, versions 0 to 2; KIP-152, KIP-368).

use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use crate::wire::primitives::{Malformed, Reader, put_count, put_string, put_tags};
use crate::wire::versions::Api;

/// Asks for a mechanism.
pub(crate) fn encode_handshake(out: &mut BytesMut, mechanism: &str) {
    put_string(out, false, mechanism);
}

/// A broker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake<'a> {
    pub(crate) error: i16,
    /// The mechanisms that the broker has.
    pub(crate) mechanisms: Vec<&'a str>,
}

pub(crate) fn decode_handshake(body: &[u8]) -> Result<Handshake<'_>, Malformed> {
    let mut reader = Reader::new(body, false);
    let error = reader.i16()?;
    let count = reader.count(2)?;
    let mut mechanisms = reader.list(count)?;
    for _ in 0..count {
        mechanisms.push(reader.string()?);
    }
    Ok(Handshake { error, mechanisms })
}

/// Says something in the mechanism's own language.
pub(crate) fn encode_authenticate(out: &mut BytesMut, version: i16, bytes: &[u8]) {
    let flexible = Api::SaslAuthenticate.is_flexible(version);
    put_count(out, flexible, bytes.len());
    out.put_slice(bytes);
    put_tags(out, flexible);
}

/// A broker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authenticate<'a> {
    pub(crate) error: i16,
    pub(crate) message: Option<&'a str>,
    /// In the mechanism's own language.
    pub(crate) bytes: &'a [u8],
    /// After how long the broker wants to be convinced again; 0 for never, and before version 1.
    pub(crate) lifetime_ms: i64,
}

pub(crate) fn decode_authenticate(version: i16, body: &[u8]) -> Result<Authenticate<'_>, Malformed> {
    let mut reader = Reader::new(body, Api::SaslAuthenticate.is_flexible(version));
    let (error, message, bytes) = (reader.i16()?, reader.nullable_string()?, reader.bytes()?);
    let lifetime_ms = if version >= 1 { reader.i64()? } else { 0 };
    reader.skip_tags()?;
    Ok(Authenticate { error, message, bytes, lifetime_ms })
}
