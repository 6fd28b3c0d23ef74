//! Records into batches by the machine, and out of them by others.

use alloc::string::String;
use alloc::vec::Vec;

use arbitrary::Unstructured;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ProduceRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::records::{Compression, Record as Theirs, RecordBatchDecoder};

use super::{bytes, stretched, transmit, up_to};
use crate::batch::decode::for_each_of_batch;
use crate::batch::header;
use crate::cluster::codec::unpack_within;
use crate::cluster::{Cluster, Peer, Settings, TopicSettings};
use crate::{Compressor, Config, ConnId, Event, Header, Input, Instant, Output, Producer, Record, UnixTime};

/// More than one of these batches is.
const LARGEST: usize = 8 << 20;

/// What was sent, or was read back.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl core::fmt::Debug for Content {
    /// Short, whatever is in it.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let cut = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map(|bytes| (bytes.len(), bytes.iter().take(8).copied().collect::<Vec<_>>()))
        };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name, cut(value))).collect();
        f.debug_tuple("Content")
            .field(&self.timestamp)
            .field(&cut(&self.key))
            .field(&cut(&self.value))
            .field(&headers)
            .finish()
    }
}

/// Records of all kinds, sent to a cluster: what kafka-protocol, this crate's own decoder and the cluster read out of the batches is what
/// was sent, in its order, and the batches' headers are right.
pub fn batch(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let config = Config::from_properties([
        ("bootstrap.servers", "h:1"),
        ("linger.ms", ["0", "5"][up_to(&mut input, 1)]),
        ("batch.size", ["1", "200", "16384", "900000"][up_to(&mut input, 3)]),
        ("compression.type", codecs[up_to(&mut input, 4)]),
        ("max.request.size", "1000000"),
        ("partitioner.ignore.keys", "true"),
    ]);
    let (instant_elections, unix_time) = (true, 1_700_000_000_000);
    let mut cluster = Cluster::new(Settings { instant_elections, unix_time, ..Settings::default() });
    // Some batches are too large, and have to be split.
    let max_message_bytes = [1_048_588, 3000][up_to(&mut input, 1)];
    cluster.create_topic_with("t", 1, TopicSettings::default().max_message_bytes(max_message_bytes));
    let now = Instant::ZERO;
    let config = config.expect("valid options");
    let producer = Producer::new(now, Some(UnixTime::from_millis(unix_time)), config, [9; 32]);
    let mut world =
        World { producer, cluster, now, peers: Vec::new(), sent: Vec::new(), batches: Vec::new(), failed: 0 };
    drop(world.producer.want_topic(now, "t"));
    world.run();
    let mut sent: Vec<Content> = Vec::new();
    while !input.is_empty() && sent.len() < 200 {
        let content = content(&mut input);
        if world.send(&content, up_to(&mut input, 1) == 1) {
            sent.push(content);
        }
        if up_to(&mut input, 7) == 0 {
            world.run();
        }
    }
    world.producer.close(now);
    world.run();
    assert!(world.producer.is_closed());
    assert_eq!(world.producer.buffered(), 0, "memory comes back");
    let batches = world.requested();
    let topic = world.cluster.topic_id("t").expect("it was made");
    let log: Vec<Content> = world
        .cluster
        .whole_log(topic, 0)
        .into_iter()
        .map(|stored| Content {
            timestamp: stored.timestamp,
            key: stored.key.map(|key| key.to_vec()),
            value: stored.value.map(|value| value.to_vec()),
            headers: stored
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.map(|value| value.to_vec())))
                .collect(),
        })
        .collect();
    let read: Vec<Content> = batches.iter().flat_map(check).collect();
    // What is too large for the broker even by itself failed, and batches that were split were sent twice.
    if world.failed == 0 {
        assert_eq!(log, sent, "in the cluster's log");
    } else {
        assert!(max_message_bytes == 3000 && log.len() + world.failed == sent.len());
    }
    if max_message_bytes > 3000 {
        assert_eq!(read, sent, "in the batches");
    } else {
        assert!(sent.iter().all(|content| read.contains(content)), "everything was tried");
    }
}

/// One record's content. Large values and strange times are as near as small ones.
fn content(input: &mut Unstructured<'_>) -> Content {
    let timestamp = match up_to(input, 3) {
        0 => 1_700_000_000_000,
        1 => 1_700_000_000_000 - up_to(input, 100_000) as i64,
        2 => up_to(input, 1000) as i64,
        _ => 1_700_000_000_000 + up_to(input, 3_000_000) as i64,
    };
    let key = (up_to(input, 3) > 0).then(|| bytes(input, 20).to_vec());
    let value = match up_to(input, 5) {
        0 => None,
        1..=3 => Some(bytes(input, 100).to_vec()),
        _ => Some(stretched(input, 60_000)),
    };
    let headers = (0..up_to(input, 12).saturating_sub(8)).map(|_| {
        let name = String::from_utf8_lossy(bytes(input, 9)).into_owned();
        (name, (up_to(input, 3) > 0).then(|| bytes(input, 30).to_vec()))
    });
    let headers = headers.collect();
    Content { timestamp, key, value, headers }
}

struct World {
    producer: Producer,
    cluster: Cluster,
    now: Instant,
    peers: Vec<(ConnId, Peer)>,
    /// Everything that was written, by connection.
    sent: Vec<(ConnId, Vec<u8>)>,
    batches: Vec<Bytes>,
    failed: usize,
}

impl World {
    fn send(&mut self, content: &Content, shared: bool) -> bool {
        let headers: Vec<Header<'_>> =
            content.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let value = content.value.as_ref().map(|value| Bytes::copy_from_slice(value));
        let mut record = Record::new("t").headers(&headers).timestamp(content.timestamp).partition(0);
        if let Some(key) = &content.key {
            record = record.key(key);
        }
        if let Some(value) = &value {
            record = if shared { record.value_bytes(value) } else { record.value(value) };
        }
        self.producer.send(self.now, &record).is_ok()
    }

    /// Until nobody has anything to say or to wait for.
    fn run(&mut self) {
        let mut compressor = Compressor::default();
        for _ in 0..100_000 {
            match self.producer.poll_output() {
                Output::Connect { conn, .. } => {
                    self.peers.push((conn, self.cluster.connect(1).expect("it is up")));
                    self.producer.handle_input(self.now, Input::Connected(conn));
                }
                Output::Disconnect(conn) => self.peers.retain(|(known, _)| *known != conn),
                Output::Transmit(conn) => self.transmit(conn),
                Output::Event(Event::Delivered(delivery)) if delivery.outcome.is_err() => {
                    self.failed += delivery.records.len();
                }
                Output::Event(_) => {}
                Output::Job(job) => {
                    let done = job.run(&mut compressor);
                    self.producer.handle_input(self.now, Input::Done(done));
                }
                Output::Token { .. } => panic!("nobody asked for tokens"),
                Output::Wait(until) => {
                    let mut heard = false;
                    for (conn, peer) in self.peers.clone() {
                        let said = self.cluster.take_output(peer);
                        heard |= !said.is_empty();
                        self.producer.handle_input(self.now, Input::Data(conn, &said));
                    }
                    if heard {
                        continue;
                    }
                    // Only what lingers or is tried again is waited for.
                    let busy = self.producer.buffered() > 0 || self.producer.in_flight() > 0;
                    match until.filter(|_| busy) {
                        Some(until) => self.now = self.now.max(until),
                        None => return,
                    }
                    self.producer.handle_input(self.now, Input::Timeout);
                }
            }
        }
        panic!("it comes to no end");
    }

    fn transmit(&mut self, conn: ConnId) {
        let Self { producer, cluster, peers, sent, now, .. } = self;
        let peer = peers.iter().find(|(known, _)| *known == conn).map(|(_, peer)| *peer);
        transmit(producer, *now, conn, |segment| {
            match sent.iter_mut().find(|(known, _)| *known == conn) {
                Some((_, bytes)) => bytes.extend_from_slice(segment),
                None => sent.push((conn, segment.to_vec())),
            }
            if let Some(peer) = peer {
                cluster.receive(*now, peer, segment);
            }
        });
    }

    /// The batches of all Produce requests, as kafka-protocol finds them there.
    fn requested(&mut self) -> Vec<Bytes> {
        const PRODUCE: i16 = 0;
        for (_, bytes) in core::mem::take(&mut self.sent) {
            let mut rest = Bytes::from(bytes);
            while rest.has_remaining() {
                let length = rest.get_i32() as usize;
                let mut frame = rest.split_to(length);
                let (key, version) = ((&frame[..]).get_i16(), (&frame[2..]).get_i16());
                if key != PRODUCE {
                    continue;
                }
                RequestHeader::decode(&mut frame, if version >= 9 { 2 } else { 1 }).expect("a request's header");
                let request = ProduceRequest::decode(&mut frame, version).expect("a request");
                assert!(!frame.has_remaining(), "{} bytes behind a request", frame.len());
                let partitions = request.topic_data.into_iter().flat_map(|topic| topic.partition_data);
                self.batches.extend(partitions.filter_map(|partition| partition.records));
            }
        }
        core::mem::take(&mut self.batches)
    }
}

/// The records of a batch, read twice, and its header's fields.
fn check(batch: &Bytes) -> Vec<Content> {
    let codec = i16::from(batch[22] & 7);
    let unpacked = match codec {
        0 => batch.slice(header::SIZE..),
        _ => Bytes::from(unpack_within(codec, &batch[header::SIZE..], LARGEST).expect("it was packed")),
    };
    // The checksum is kafka-protocol's business.
    let decompress = |_: &mut Bytes, _: Compression| Ok(unpacked.clone());
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut batch.clone(), Some(decompress));
    let set = set.unwrap_or_else(|error| panic!("kafka-protocol can't read it: {error}"));
    let mut ours = Vec::new();
    for_each_of_batch(&[&batch[..header::SIZE], &unpacked].concat(), |content| {
        let header = |header: &Header<'_>| (String::from(header.key), header.value.map(<[u8]>::to_vec));
        ours.push(Content {
            timestamp: content.timestamp,
            key: content.key.map(<[u8]>::to_vec),
            value: content.value.map(<[u8]>::to_vec),
            headers: content.headers.iter().map(header).collect(),
        });
    });
    assert_eq!(set.records.len(), ours.len());
    for (index, (theirs, ours)) in set.records.iter().zip(&ours).enumerate() {
        same(theirs, ours, index);
    }
    let field = |at: usize| (&batch[at..]).get_i64();
    let (first, last) = (ours.first().expect("a record"), ours.iter().map(|content| content.timestamp).max());
    assert_eq!(
        (field(0), field(27), Some(field(35))),
        (0, first.timestamp, last),
        "base offset, first and last timestamp"
    );
    let count = ours.len() as i32;
    assert_eq!(((&batch[23..]).get_i32(), (&batch[57..]).get_i32()), (count - 1, count), "offsets and count");
    ours
}

/// kafka-protocol keeps headers by their names, and of two with one name the last.
fn same(theirs: &Theirs, ours: &Content, index: usize) {
    let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| bytes.to_vec());
    let mut headers: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    for (name, value) in &ours.headers {
        match headers.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => headers.push((name.clone(), value.clone())),
        }
    }
    let read = Content {
        timestamp: theirs.timestamp,
        key: bytes(&theirs.key),
        value: bytes(&theirs.value),
        headers: theirs.headers.iter().map(|(name, value)| (String::from(&**name), bytes(value))).collect(),
    };
    assert_eq!(read, Content { headers, ..ours.clone() });
    assert_eq!(theirs.offset, index as i64, "offsets count from the batch's");
}
