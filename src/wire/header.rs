//! Frames and headers: what stands before every message.

use bytes::{BufMut, BytesMut};

use crate::wire::primitives::{Malformed, Reader, put_nullable_string, put_tags};
use crate::wire::versions::Api;

/// Appends a whole frame: its length, the request header (v1, or v2 with tagged fields), and what `body` writes.
pub(crate) fn frame(
    out: &mut BytesMut,
    api: Api,
    version: i16,
    correlation: i32,
    client_id: Option<&str>,
    body: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    out.put_i32(0);
    put_request_header(out, api, version, correlation, client_id);
    body(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// The client id keeps its old form in every version, so that a broker can read it before it knows the version.
pub(crate) fn put_request_header(
    out: &mut BytesMut,
    api: Api,
    version: i16,
    correlation: i32,
    client_id: Option<&str>,
) {
    out.put_i16(api.key());
    out.put_i16(version);
    out.put_i32(correlation);
    put_nullable_string(out, false, client_id);
    put_tags(out, api.is_flexible(version));
}

/// The correlation id of a response.
pub(crate) fn correlation(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// The correlation id of a response, and the length of its header.
pub(crate) fn response_header(api: Api, version: i16, frame: &[u8]) -> Result<(i32, usize), Malformed> {
    let mut reader = Reader::new(frame, api.has_tagged_response_header(version));
    let correlation = reader.i32()?;
    reader.skip_tags()?;
    Ok((correlation, frame.len() - reader.left()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_behind_another_one_has_its_own_length() {
        let put = |out: &mut BytesMut| frame(out, Api::Metadata, 12, 7, Some("me"), |out| out.put_u32(9));
        let mut one = BytesMut::new();
        put(&mut one);
        let mut two = one.clone();
        put(&mut two);
        assert_eq!((&two[..one.len()], &two[one.len()..]), (&one[..], &one[..]));
        assert_eq!(one[..4], (one.len() as u32 - 4).to_be_bytes());
    }
}
