//! Answers of brokers, read here and by kafka-protocol.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataResponse, ProduceResponse, ResponseHeader,
    SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::cluster::guard;
use crate::wire::produce::TopicRef;
use crate::wire::{Api, Malformed, api_versions, init_producer_id, metadata, produce, response_header, sasl};

const APIS: [Api; 6] =
    [Api::Produce, Api::Metadata, Api::ApiVersions, Api::InitProducerId, Api::SaslHandshake, Api::SaslAuthenticate];

/// A field that both keep.
#[derive(Debug, PartialEq, Eq)]
enum Field {
    Number(i64),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

/// An answer's fields, in an order that both are brought into.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields(Vec<Field>);

impl Fields {
    fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        self.0.push(Field::Number(number.into()));
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.number(count as i64)
    }

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.0.push(Field::Text(text.map(ToString::to_string)));
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.push(Field::Bytes(bytes.to_vec()));
        self
    }
}

/// The first byte chooses a kind of answer, the second a version; then comes the answer, header and all.
pub fn responses(input: &[u8]) {
    let Some(([api, version], frame)) = input.split_first_chunk() else { return };
    let api = APIS[usize::from(*api) % APIS.len()];
    let spoken = api.supported();
    let version = spoken.start() + i16::from(*version) % (spoken.end() - spoken.start() + 1);
    let Some(body) = header(api, version, frame) else { return };
    match api {
        Api::Produce => compare(version, body, of_produce, produce_of, never),
        Api::Metadata => compare(version, body, of_metadata, metadata_of, has_early_null),
        Api::ApiVersions => {
            // What comes after that error is ignored, for it may be another version's.
            if body.starts_with(&35i16.to_be_bytes()) {
                assert!(of_api_versions(version, body).is_ok());
            } else {
                compare(version, body, of_api_versions, api_versions_of, never);
            }
        }
        Api::InitProducerId => compare(version, body, of_init_producer_id, init_producer_id_of, never),
        Api::SaslHandshake => compare(version, body, of_handshake, handshake_of, never),
        Api::SaslAuthenticate => compare(version, body, of_authenticate, authenticate_of, never),
    }
}

/// The body behind a header, if that can be read: by both the same, and what is refused here alone is not written as Kafka writes it (a count
/// of tags of more than five bytes).
fn header(api: Api, version: i16, frame: &[u8]) -> Option<&[u8]> {
    let ours = response_header(api, version, frame);
    let (mut rest, header_version) =
        (Bytes::copy_from_slice(frame), i16::from(api.has_tagged_response_header(version)));
    let theirs = ResponseHeader::decode(&mut rest, header_version);
    match (&ours, &theirs) {
        (Ok((correlation, length)), Ok(theirs)) => {
            assert_eq!(
                (*correlation, frame.len() - length),
                (theirs.correlation_id, rest.len()),
                "header of {api:?} {version}"
            );
        }
        (Ok(_), Err(_)) | (Err(_), Err(_)) => {}
        (Err(malformed), Ok(theirs)) => assert!(
            !is_as_written(theirs, header_version, &frame[..frame.len() - rest.len()]),
            "a header of {api:?} {version} that is refused: {malformed}"
        ),
    }
    ours.ok().map(|(_, length)| &frame[length..])
}

/// What is read by both is the same. What is refused here alone is not written as Kafka writes it: a tagged field's size that is not its
/// content's, tags twice, a number of more bytes than it needs (see the table of `crate::wire`).
fn compare<T: Decodable + Encodable + Debug>(
    version: i16,
    body: &[u8],
    ours: impl Fn(i16, &[u8]) -> Result<Fields, Malformed>,
    view: impl Fn(i16, &T) -> Fields,
    is_no_answer: impl Fn(i16, &T) -> bool,
) {
    let ours = ours(version, body);
    // Guarded, for kafka-protocol makes room for as many elements as are said to come.
    let mut rest = Bytes::copy_from_slice(body);
    if guard::decode::<T>(&rest, version).is_err() {
        return;
    }
    let theirs = T::decode(&mut rest, version).expect("it was decoded");
    match ours {
        Ok(ours) => assert_eq!(ours, view(version, &theirs), "version {version}"),
        Err(malformed) => {
            let usual =
                !is_no_answer(version, &theirs) && is_as_written(&theirs, version, &body[..body.len() - rest.len()]);
            assert!(!usual, "version {version}: {malformed}, but there is {theirs:?}");
        }
    }
}

/// Whether these bytes are what kafka-protocol writes for it: unknown tags that are no numbers of 31 bits, for one, it reads, and leaves out.
fn is_as_written<T: Encodable>(theirs: &T, version: i16, bytes: &[u8]) -> bool {
    let mut written = BytesMut::new();
    theirs.encode(&mut written, version).is_ok() && written == bytes
}

fn never<T>(_version: i16, _response: &T) -> bool {
    false
}

/// Kafka's schema has topics without a name from version 12 on, kafka-protocol (0.18) in all.
fn has_early_null(version: i16, response: &MetadataResponse) -> bool {
    version < 12 && response.topics.iter().any(|topic| topic.name.is_none())
}

fn of_produce(version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = produce::decode(version, body)?;
    let mut fields = Fields::default();
    fields.number(response.throttle_ms);
    response.for_each(|partition| {
        match partition.topic {
            TopicRef::Name(name) => fields.text(Some(name)),
            TopicRef::Id(id) => fields.bytes(&id),
        };
        fields.number(partition.index).number(partition.error).number(partition.base_offset);
        fields.number(partition.log_append_time).number(partition.log_start_offset).text(partition.error_message);
        if let Some((place, words)) = partition.first_record_error {
            fields.number(place).text(words);
        }
        if let Some((leader, epoch)) = partition.leader {
            fields.number(leader).number(epoch);
        }
    });
    response.for_each_endpoint(|id, host, port| {
        fields.number(id).text(Some(host)).number(port);
    });
    Ok(fields)
}

fn produce_of(version: i16, response: &ProduceResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.throttle_time_ms);
    for topic in &response.responses {
        for partition in &topic.partition_responses {
            if version >= 13 {
                fields.bytes(topic.topic_id.as_bytes())
            } else {
                fields.text(Some(&topic.name))
            };
            fields.number(partition.index).number(partition.error_code).number(partition.base_offset);
            fields.number(partition.log_append_time_ms).number(partition.log_start_offset);
            fields.text(partition.error_message.as_deref());
            if let Some(first) = partition.record_errors.first() {
                fields.number(first.batch_index).text(first.batch_index_error_message.as_deref());
            }
            let (leader, epoch) = (partition.current_leader.leader_id.0, partition.current_leader.leader_epoch);
            // Half a leader is none.
            if leader >= 0 && epoch >= 0 {
                fields.number(leader).number(epoch);
            }
        }
    }
    for node in &response.node_endpoints {
        fields.number(node.node_id.0).text(Some(&node.host)).number(node.port);
    }
    fields
}

fn of_metadata(version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = metadata::decode(version, body)?;
    let mut fields = Fields::default();
    fields.number(response.throttle_ms).number(response.error).count(response.brokers.len());
    for broker in &response.brokers {
        fields.number(broker.id).text(Some(broker.host)).number(broker.port).text(broker.rack);
    }
    fields.count(response.topics.len());
    for topic in &response.topics {
        fields.number(topic.error).text(topic.name).bytes(&topic.id).count(topic.partitions.len());
        for partition in &topic.partitions {
            fields.number(partition.error).number(partition.index);
            fields.number(partition.leader).number(partition.leader_epoch);
        }
    }
    Ok(fields)
}

fn metadata_of(_version: i16, response: &MetadataResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.throttle_time_ms).number(response.error_code).count(response.brokers.len());
    for broker in &response.brokers {
        fields.number(broker.node_id.0).text(Some(&broker.host)).number(broker.port).text(broker.rack.as_deref());
    }
    fields.count(response.topics.len());
    for topic in &response.topics {
        let name = topic.name.as_ref().map(|name| &***name);
        fields.number(topic.error_code).text(name).bytes(topic.topic_id.as_bytes()).count(topic.partitions.len());
        for partition in &topic.partitions {
            fields.number(partition.error_code).number(partition.partition_index);
            fields.number(partition.leader_id.0).number(partition.leader_epoch);
        }
    }
    fields
}

fn of_api_versions(version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = api_versions::decode(version, body)?;
    let mut fields = Fields::default();
    fields.number(response.error).number(response.throttle_ms);
    for api in APIS {
        if let Some((min, max)) = response.range(api) {
            fields.number(api.key()).number(min).number(max);
        }
    }
    Ok(fields)
}

fn api_versions_of(_version: i16, response: &ApiVersionsResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.error_code).number(response.throttle_time_ms);
    for api in APIS {
        // Of two the last counts.
        if let Some(range) = response.api_keys.iter().rfind(|range| range.api_key == api.key()) {
            fields.number(range.api_key).number(range.min_version).number(range.max_version);
        }
    }
    fields
}

fn of_init_producer_id(version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = init_producer_id::decode(version, body)?;
    let mut fields = Fields::default();
    fields.number(response.throttle_ms).number(response.error).number(response.producer_id).number(response.epoch);
    Ok(fields)
}

fn init_producer_id_of(_version: i16, response: &InitProducerIdResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.throttle_time_ms).number(response.error_code);
    fields.number(response.producer_id.0).number(response.producer_epoch);
    fields
}

fn of_handshake(_version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = sasl::decode_handshake(body)?;
    let mut fields = Fields::default();
    fields.number(response.error);
    for mechanism in &response.mechanisms {
        fields.text(Some(mechanism));
    }
    Ok(fields)
}

fn handshake_of(_version: i16, response: &SaslHandshakeResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.error_code);
    for mechanism in &response.mechanisms {
        fields.text(Some(mechanism));
    }
    fields
}

fn of_authenticate(version: i16, body: &[u8]) -> Result<Fields, Malformed> {
    let response = sasl::decode_authenticate(version, body)?;
    let mut fields = Fields::default();
    fields.number(response.error).text(response.message).bytes(response.bytes).number(response.lifetime_ms);
    Ok(fields)
}

fn authenticate_of(_version: i16, response: &SaslAuthenticateResponse) -> Fields {
    let mut fields = Fields::default();
    fields.number(response.error_code).text(response.error_message.as_deref());
    fields.bytes(&response.auth_bytes).number(response.session_lifetime_ms);
    fields
}
