//! A cluster on the bench: asked by hand, through kafka-protocol.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use milena::Instant;
use milena::cluster::{Cluster, Peer, Settings};

pub const NOW: Instant = Instant::from_millis(1000);

/// A cluster with topic `t`, and a connection to the node that leads its only partition.
pub struct Bench {
    pub cluster: Cluster,
    pub peer: Peer,
    pub version: i16,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let mut cluster = Cluster::new(settings);
        cluster.create_topic("t", 1);
        let peer = cluster.connect(1).expect("node 1 is up");
        Self { cluster, peer, version: 9 }
    }

    pub fn call<Q: Encodable, A: Decodable>(&mut self, api: ApiKey, version: i16, request: &Q) -> Option<A> {
        self.call_as(NOW, self.peer, api, version, request)
    }

    /// At another time, or on another connection. `None` if there is no answer yet.
    pub fn call_as<Q: Encodable, A: Decodable>(
        &mut self,
        now: Instant,
        peer: Peer,
        api: ApiKey,
        version: i16,
        request: &Q,
    ) -> Option<A> {
        self.cluster.receive(now, peer, &frame(api, version, request));
        self.answer(peer, api, version)
    }

    /// What has been said on a connection since it was asked last.
    pub fn answer<A: Decodable>(&mut self, peer: Peer, api: ApiKey, version: i16) -> Option<A> {
        answer(&self.cluster.take_output(peer), api, version)
    }

    pub fn produce_acks(&mut self, records: Option<Bytes>, acks: i16) -> Option<(i16, i64)> {
        let data = PartitionProduceData::default().with_index(0).with_records(records);
        self.produce_data(vec![data], acks)
    }

    pub fn produce_data(&mut self, data: Vec<PartitionProduceData>, acks: i16) -> Option<(i16, i64)> {
        let mut topic = TopicProduceData::default().with_partition_data(data);
        if self.version >= 13 {
            topic.topic_id = TopicProduceData::default().topic_id;
        } else {
            topic.name = name("t");
        }
        let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic]);
        let response: ProduceResponse = self.call(ApiKey::Produce, self.version, &request)?;
        let partition = &response.responses[0].partition_responses[0];
        Some((partition.error_code, partition.base_offset))
    }

    /// Error code and base offset.
    pub fn produce(&mut self, records: Bytes) -> (i16, i64) {
        self.produce_acks(Some(records), -1).expect("an answer")
    }

    pub fn log(&self) -> Vec<(i64, String)> {
        let id = self.cluster.topic_id("t").expect("the topic");
        let text = |value: Option<Bytes>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        self.cluster.log(id, 0).into_iter().map(|record| (record.offset, text(record.value))).collect()
    }
}

pub fn frame<Q: Encodable>(api: ApiKey, version: i16, request: &Q) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(api as i16).with_request_api_version(version);
    header.with_correlation_id(7).encode(&mut bytes, api.request_header_version(version)).expect("a header");
    request.encode(&mut bytes, version).expect("a request of this version");
    [&(bytes.len() as i32).to_be_bytes()[..], &bytes].concat()
}

pub fn answer<A: Decodable>(bytes: &[u8], api: ApiKey, version: i16) -> Option<A> {
    let mut bytes = Bytes::copy_from_slice(bytes.get(4..)?);
    let header = ResponseHeader::decode(&mut bytes, api.response_header_version(version)).expect("a header");
    assert_eq!(header.correlation_id, 7);
    Some(A::decode(&mut bytes, version).expect("a response of this version"))
}

/// A batch of records with these values.
pub fn batch(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let record = |(index, value): (usize, &&str)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id,
        producer_epoch: epoch,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: sequence.wrapping_add(index as i32),
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: IndexMap::new(),
    };
    let records: Vec<Record> = values.iter().enumerate().map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch");
    bytes[53..57].copy_from_slice(&(if producer_id < 0 { -1 } else { sequence }).to_be_bytes());
    sealed(bytes)
}

/// One record with such headers, several of one name included, which kafka-protocol cannot write.
pub fn batch_with_headers(headers: &[(&str, &str)]) -> Bytes {
    fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
        out.push(2 * u8::try_from(bytes.len()).expect("a short text")); // zigzag
        out.extend_from_slice(bytes);
    }
    let mut record = vec![0, 0, 0, 1, 1]; // attributes, deltas, no key, no value
    record.push(2 * headers.len() as u8);
    for (name, value) in headers {
        sized(&mut record, name.as_bytes());
        sized(&mut record, value.as_bytes());
    }
    let mut bytes = BytesMut::from(&batch(-1, -1, -1, &["v"])[..61]);
    let mut whole = Vec::new();
    sized(&mut whole, &record);
    bytes.extend_from_slice(&whole);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    sealed(bytes)
}

/// One record at this time.
pub fn batch_at(timestamp: i64, value: &str) -> Bytes {
    let whole = batch(-1, -1, -1, &[value]);
    let timestamp = timestamp.to_be_bytes();
    changed(&changed(&whole, 27, &timestamp), 35, &timestamp)
}

/// With the right checksum.
pub fn sealed(mut bytes: BytesMut) -> Bytes {
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// The batch with some bytes changed, and the checksum made right again.
pub fn changed(batch: &Bytes, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[at..at + with.len()].copy_from_slice(with);
    sealed(bytes)
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
