//! ApiVersions (key 18, versions 0 to 4; KIP-35, KIP-511): which versions of which requests a broker takes.

use bytes::BytesMut;

use crate::planted::planted;
use crate::wire::primitives::{Malformed, Reader, put_string, put_tags};
use crate::wire::versions::Api;

/// `UNSUPPORTED_VERSION`: the one answer that may come in another version's form.
const UNSUPPORTED_VERSION: i16 = 35;

pub(crate) fn encode(out: &mut BytesMut, version: i16, software_name: &str, software_version: &str) {
    let flexible = Api::ApiVersions.is_flexible(version);
    if version >= 3 {
        put_string(out, flexible, software_name);
        put_string(out, flexible, software_version);
    }
    put_tags(out, flexible);
}

/// A broker's answer, as far as it concerns the requests that this crate sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) error: i16,
    pub(crate) throttle_ms: i32,
    produce: Option<(i16, i16)>,
    metadata: Option<(i16, i16)>,
    api_versions: Option<(i16, i16)>,
    init_producer_id: Option<(i16, i16)>,
    sasl_handshake: Option<(i16, i16)>,
    sasl_authenticate: Option<(i16, i16)>,
}

impl Response {
    /// The oldest and the newest version that the broker takes; `None` if it does not know the request.
    pub(crate) fn range(&self, api: Api) -> Option<(i16, i16)> {
        match api {
            Api::Produce => self.produce,
            Api::Metadata => self.metadata,
            Api::ApiVersions => self.api_versions,
            Api::InitProducerId => self.init_producer_id,
            Api::SaslHandshake => self.sasl_handshake,
            Api::SaslAuthenticate => self.sasl_authenticate,
        }
    }

    /// Of two ranges for one request the last counts.
    fn put(&mut self, key: i16, range: (i16, i16)) {
        if planted("first-range-counts") && Api::from_key(key).is_some_and(|api| self.range(api).is_some()) {
            return;
        }
        match Api::from_key(key) {
            Some(Api::Produce) => self.produce = Some(range),
            Some(Api::Metadata) => self.metadata = Some(range),
            Some(Api::ApiVersions) => self.api_versions = Some(range),
            Some(Api::InitProducerId) => self.init_producer_id = Some(range),
            Some(Api::SaslHandshake) => self.sasl_handshake = Some(range),
            Some(Api::SaslAuthenticate) => self.sasl_authenticate = Some(range),
            None => {}
        }
    }
}

/// After error 35 whatever follows it is ignored: it may have version 0's form, and some servers send less.
pub(crate) fn decode(version: i16, body: &[u8]) -> Result<Response, Malformed> {
    let mut reader = Reader::new(body, Api::ApiVersions.is_flexible(version));
    let mut response = Response { error: reader.i16()?, ..Response::default() };
    if response.error == UNSUPPORTED_VERSION {
        return Ok(response);
    }
    for _ in 0..reader.count(6)? {
        let key = reader.i16()?;
        let range = (reader.i16()?, reader.i16()?);
        reader.skip_tags()?;
        response.put(key, range);
    }
    if version >= 1 {
        response.throttle_ms = reader.i32()?;
    }
    reader.skip_tags()?;
    Ok(response)
}
