//! InitProducerId (key 22, versions 0 to 5; KIP-98, KIP-360): an identity for an idempotent producer.

use bytes::{BufMut, BytesMut};

use crate::wire::primitives::{Malformed, Reader, put_nullable_string, put_tags};
use crate::wire::versions::Api;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    pub(crate) transaction_timeout_ms: i32,
    /// The identity held so far; −1 for none (from version 3 on).
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

impl Request<'_> {
    /// A new identity, for a producer without transactions.
    pub(crate) const NEW: Self =
        Self { transactional_id: None, transaction_timeout_ms: i32::MAX, producer_id: -1, producer_epoch: -1 };
}

pub(crate) fn encode(out: &mut BytesMut, version: i16, request: &Request<'_>) {
    let flexible = Api::InitProducerId.is_flexible(version);
    put_nullable_string(out, flexible, request.transactional_id);
    out.put_i32(request.transaction_timeout_ms);
    if version >= 3 {
        out.put_i64(request.producer_id);
        out.put_i16(request.producer_epoch);
    }
    put_tags(out, flexible);
}

/// A broker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) throttle_ms: i32,
    pub(crate) error: i16,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

pub(crate) fn decode(version: i16, body: &[u8]) -> Result<Response, Malformed> {
    let mut reader = Reader::new(body, Api::InitProducerId.is_flexible(version));
    let response =
        Response { throttle_ms: reader.i32()?, error: reader.i16()?, producer_id: reader.i64()?, epoch: reader.i16()? };
    reader.skip_tags()?;
    Ok(response)
}
