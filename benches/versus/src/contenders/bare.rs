//! The floor for one record at a time: a ready-made request is handed to one I/O thread (or task), written, its answer read, and
//! the sender woken. No producer is in it: no batch is made, and no answer looked at.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::runtime;
use crate::measure::{Latencies, Meter};
use crate::task::{Shape, Task};

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// Versions of Produce and Metadata that every Kafka from 2.4 on has.
const PRODUCE: i16 = 8;
const METADATA: i16 = 8;

pub fn run(task: &Task) {
    let mut socket = TcpStream::connect(&task.bootstrap).expect("the server");
    socket.set_nodelay(true).expect("a socket");
    create(&mut socket, &task.topic);
    match task.shape {
        Shape::OneTask => runtime(task).block_on(tasks(task, socket)),
        _ => threads(task, socket),
    }
}

/// A frame of any request.
fn frame(key: ApiKey, version: i16, body: &impl Encodable) -> Bytes {
    let header = RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
    let mut request = BytesMut::new();
    request.put_i32(0);
    header.with_client_id(Some(StrBytes::from_static_str("bare"))).encode(&mut request, 1).expect("a header");
    body.encode(&mut request, version).expect("a request");
    let length = request.len() as i32 - 4;
    request[..4].copy_from_slice(&length.to_be_bytes());
    request.freeze()
}

/// Asks for the topic until it has a leader.
fn create(socket: &mut TcpStream, topic: &str) {
    let name = TopicName(StrBytes::from_string(topic.to_string()));
    let topic = MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    for _ in 0..100 {
        socket.write_all(&frame(ApiKey::Metadata, METADATA, &request)).expect("it is written");
        let mut length = [0; 4];
        socket.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        socket.read_exact(&mut answer).expect("an answer");
        let mut answer = Bytes::from(answer);
        answer.advance(4);
        let answer = MetadataResponse::decode(&mut answer, METADATA).expect("an answer that can be read");
        if answer
            .topics
            .iter()
            .all(|topic| topic.error_code == 0 && topic.partitions.iter().all(|it| it.error_code == 0))
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the topic is not there");
}

/// A record in a batch in a request.
fn produce(task: &Task) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(vec![b'v'; task.size].into()),
        headers: Default::default(),
        delete_horizon: false,
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, [&record], &options).expect("a batch");
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default().with_name(TopicName(StrBytes::from_string(task.topic.clone())));
    let topic = topic.with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    frame(ApiKey::Produce, PRODUCE, &request)
}

fn threads(task: &Task, socket: TcpStream) {
    socket.set_nonblocking(true).expect("a socket");
    let mut poll = Poll::new().expect("a poll instance");
    let waker = Waker::new(poll.registry(), WAKE).expect("a waker");
    let mut socket = mio::net::TcpStream::from_std(socket);
    poll.registry().register(&mut socket, SOCKET, Interest::READABLE).expect("it is registered");
    let handed: Arc<Mutex<Option<Bytes>>> = Arc::default();
    let answered = Arc::new(AtomicU64::new(0));
    let sender = std::thread::current();
    let (taken, counted) = (Arc::clone(&handed), Arc::clone(&answered));
    let _io = std::thread::spawn(move || {
        let mut events = Events::with_capacity(8);
        let mut frames = Frames::default();
        let mut buffer = vec![0; 65_536];
        loop {
            poll.poll(&mut events, None).expect("it polls");
            for event in &events {
                if event.token() == WAKE {
                    if let Some(request) = taken.lock().expect("no panic").take() {
                        socket.write_all(&request).expect("a small request is written at once");
                    }
                    continue;
                }
                loop {
                    match socket.read(&mut buffer) {
                        Ok(0) => return,
                        Ok(count) => {
                            counted.fetch_add(frames.read(&buffer[..count]), Ordering::Release);
                            sender.unpark();
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    });
    let request = produce(task);
    let mut sent = 0;
    let mut ping = || {
        *handed.lock().expect("no panic") = Some(request.clone());
        waker.wake().expect("the I/O thread is there");
        sent += 1;
        while answered.load(Ordering::Acquire) < sent {
            std::thread::park();
        }
    };
    (0..task.warmup).for_each(|_| ping());
    let latencies = Latencies::new(task.records);
    let meter = Meter::begin();
    for number in 0..task.records {
        let since = Instant::now();
        ping();
        latencies.note(number, since);
    }
    meter.end(task, answered.load(Ordering::Relaxed) - task.warmup, Some(&latencies));
}

async fn tasks(task: &Task, socket: TcpStream) {
    socket.set_nonblocking(true).expect("a socket");
    let mut socket = tokio::net::TcpStream::from_std(socket).expect("a socket");
    let (requests, mut handed) = tokio::sync::mpsc::channel::<(Bytes, tokio::sync::oneshot::Sender<()>)>(8);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        let mut frames = Frames::default();
        while let Some((request, done)) = handed.recv().await {
            socket.write_all(&request).await.expect("it is written");
            loop {
                let count = socket.read(&mut buffer).await.expect("an answer");
                assert!(count > 0, "the server has closed the connection");
                if frames.read(&buffer[..count]) > 0 {
                    break;
                }
            }
            let _ = done.send(());
        }
    });
    let request = produce(task);
    let ping = async || {
        let (done, answered) = tokio::sync::oneshot::channel();
        requests.send((request.clone(), done)).await.expect("the task is there");
        answered.await.expect("an answer");
    };
    for _ in 0..task.warmup {
        ping().await;
    }
    let latencies = Latencies::new(task.records);
    let meter = Meter::begin();
    for number in 0..task.records {
        let since = Instant::now();
        ping().await;
        latencies.note(number, since);
    }
    meter.end(task, task.records, Some(&latencies));
}

/// Counts whole answers in a stream.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn read(&mut self, bytes: &[u8]) -> u64 {
        self.0.extend_from_slice(bytes);
        let mut whole = 0;
        while let Some((length, rest)) = self.0.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length) as usize;
            if rest.len() < length {
                break;
            }
            self.0.drain(..4 + length);
            whole += 1;
        }
        whole
    }
}
