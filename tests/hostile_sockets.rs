//! Servers of the worst kind on real sockets.

#![cfg(all(feature = "threads", feature = "cluster"))]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdResponse, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use milena::{Config, Record};
use uuid::Uuid;

/// Answers well, but for the offset; a byte at a time if wanted.
fn serve(mut socket: TcpStream, port: u16, offset: i64, slowly: bool) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut frame)?;
        let mut frame = Bytes::from(frame);
        let mut start = &frame[..8];
        let (key, version, correlation) = (start.get_i16(), start.get_i16(), start.get_i32());
        let api = ApiKey::try_from(key).unwrap();
        RequestHeader::decode(&mut frame, api.request_header_version(version)).unwrap();
        let mut out = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut out, api.response_header_version(version)).unwrap();
        match api {
            ApiKey::ApiVersions => {
                let range = |(key, max): (i16, i16)| {
                    ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(max)
                };
                let keys = [(0, 12), (3, 12), (18, 4), (22, 4)].into_iter().map(range).collect();
                ApiVersionsResponse::default().with_api_keys(keys).encode(&mut out, version).unwrap();
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut frame, version).unwrap();
                let broker = MetadataResponseBroker::default().with_node_id(1.into());
                let broker = broker.with_host(StrBytes::from_static_str("127.0.0.1")).with_port(port.into());
                let topic = |name: TopicName| {
                    let partition = MetadataResponsePartition::default().with_leader_id(1.into());
                    let topic = MetadataResponseTopic::default().with_name(Some(name));
                    topic.with_topic_id(Uuid::from_u128(1)).with_partitions(vec![partition])
                };
                let names = request.topics.unwrap_or_default().into_iter().filter_map(|topic| topic.name);
                let told = MetadataResponse::default().with_brokers(vec![broker]);
                told.with_topics(names.map(topic).collect()).encode(&mut out, version).unwrap();
            }
            ApiKey::InitProducerId => {
                InitProducerIdResponse::default().with_producer_id(5.into()).encode(&mut out, version).unwrap();
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut frame, version).unwrap();
                let topic = |topic: kafka_protocol::messages::produce_request::TopicProduceData| {
                    let answer = PartitionProduceResponse::default().with_base_offset(offset);
                    TopicProduceResponse::default().with_name(topic.name).with_partition_responses(vec![answer])
                };
                let told = request.topic_data.into_iter().map(topic).collect();
                ProduceResponse::default().with_responses(told).encode(&mut out, version).unwrap();
            }
            other => panic!("{other:?}"),
        }
        let mut all = (out.len() as u32).to_be_bytes().to_vec();
        all.extend_from_slice(&out);
        if slowly {
            for byte in all {
                socket.write_all(&[byte])?;
                std::thread::sleep(Duration::from_micros(200));
            }
        } else {
            socket.write_all(&all)?;
        }
    }
}

fn server(offset: i64, slowly: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let _ = socket.set_nodelay(true);
            std::thread::spawn(move || serve(socket, port, offset, slowly));
        }
    });
    port
}

fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = tell.send(work());
    });
    told.recv_timeout(Duration::from_secs(20)).expect("done in time, and without a panic")
}

fn producer(port: u16) -> milena::threads::Producer {
    let config = Config::from_properties([
        ("bootstrap.servers", &*format!("127.0.0.1:{port}")),
        ("linger.ms", "200"),
        ("delivery.timeout.ms", "10000"),
        ("request.timeout.ms", "5000"),
    ]);
    milena::threads::Producer::new(config.unwrap()).unwrap()
}

#[test]
fn the_largest_offset_there_is_is_no_reason_to_panic() {
    let port = server(i64::MAX, false);
    let offsets = in_time(move || {
        let producer = producer(port);
        let acks: Vec<_> = (0..3).map(|_| producer.enqueue(&Record::new("t").value("v")).unwrap()).collect();
        acks.into_iter().map(|ack| ack.wait().unwrap().offset).collect::<Vec<_>>()
    });
    assert!(offsets.iter().all(|offset| offset.is_none_or(|offset| offset >= 0)), "{offsets:?}");
}

#[test]
fn the_largest_offset_there_is_stops_no_driver() {
    let port = server(i64::MAX, false);
    let outcomes = in_time(move || {
        let producer = producer(port);
        let (tell, told) = mpsc::channel();
        for _ in 0..3 {
            let tell = tell.clone();
            let said = move |outcome: Result<milena::Delivered, _>| {
                let _ = tell.send(outcome.map(|delivered| delivered.offset).ok());
            };
            producer.send_with(&Record::new("t").value("v"), said).unwrap();
        }
        drop(tell);
        let outcomes: Vec<_> = told.iter().take(3).collect();
        (outcomes, format!("{:?}", producer.close(Duration::from_secs(10))))
    });
    assert_eq!(outcomes.0.len(), 3, "{outcomes:?}");
    assert!(outcomes.1.starts_with("Ok"), "{outcomes:?}");
}

#[test]
fn answers_a_byte_at_a_time_are_answers() {
    let port = server(7, true);
    let delivered = in_time(move || {
        let config = Config::from_properties([("bootstrap.servers", &*format!("127.0.0.1:{port}"))]);
        let producer = milena::threads::Producer::new(config.unwrap()).unwrap();
        producer.send(&Record::new("t").value("v")).unwrap()
    });
    assert_eq!(delivered.offset, Some(7));
}
