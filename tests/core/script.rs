//! A scripted cluster: a producer driven by hand in virtual time, each of its requests decoded with kafka-protocol and handed to a
//! closure of the test, whose reply is encoded at the request's version.
//!
//! The driver is as lazy as the contract allows: it drains after inputs, when `take_wake` says so, and when the time of the
//! last `Output::Wait` has come. A machine that forgets to name a deadline is seen to sleep.

#![allow(dead_code, reason = "a kit: tests use parts of it")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use milena::cluster::{Request, Versions};
use milena::{
    Cause, Compressor, Config, ConnId, Delivery, Event, Input, Instant, Job, Output, Producer, Record, SendError, Sent,
    Token, UnixTime,
};
use uuid::Uuid;

/// The time of day when a script begins.
pub const UNIX: i64 = 1_700_000_000_000;

/// What was asked, as kafka-protocol read it.
#[derive(Clone, Debug)]
pub enum Ask {
    ApiVersions(ApiVersionsRequest),
    Metadata(MetadataRequest),
    InitProducerId(InitProducerIdRequest),
    Produce(ProduceRequest),
    SaslHandshake(SaslHandshakeRequest),
    SaslAuthenticate(SaslAuthenticateRequest),
}

/// A request, and where and when it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its place in [`Script::asks`].
    pub number: usize,
    pub at: Instant,
    /// The server's node id.
    pub node: i32,
    pub conn: ConnId,
    pub api: ApiKey,
    pub version: i16,
    pub correlation: i32,
    /// Bytes of the whole frame.
    pub size: usize,
    pub ask: Ask,
}

/// What the test says to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    ApiVersions(ApiVersionsResponse),
    Metadata(MetadataResponse),
    InitProducerId(InitProducerIdResponse),
    Produce(ProduceResponse),
    SaslHandshake(SaslHandshakeResponse),
    SaslAuthenticate(SaslAuthenticateResponse),
    /// In the form of another version.
    As(i16, Box<Reply>),
    /// What follows the correlation id, as it is.
    Raw(Vec<u8>),
    /// Nothing, and on to the next request: right for `acks=0`.
    Nothing,
    /// Nothing until the test says [`Script::reply`]. What follows on the connection waits.
    Hold,
    /// Answered after that time. What follows on the connection waits.
    After(Duration, Box<Reply>),
    /// The connection is closed.
    Drop,
}

impl Reply {
    pub fn after(self, delay: Duration) -> Self {
        Self::After(delay, Box::new(self))
    }
}

/// How a server takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Open,
    /// «Connection refused».
    Refuses,
    /// No answer at all.
    Mute,
    /// Connected, then closed at once.
    Slams,
    /// TLS fails.
    Untrusted,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub node: i32,
    pub host: String,
    pub port: u16,
    pub door: Door,
    /// How many bytes its sockets still take; `None` for any number.
    room: Option<usize>,
}

/// An attempt to connect.
#[derive(Clone, Debug)]
pub struct Dialled {
    pub at: Instant,
    pub conn: ConnId,
    pub host: String,
    pub port: u16,
    pub attempt: u32,
}

#[derive(Debug)]
struct Link {
    node: i32,
    input: BytesMut,
    /// Requests that are not answered yet, by their numbers, and what is said to the first, once.
    queue: VecDeque<usize>,
    first: Option<(Instant, Reply)>,
    held: bool,
    blocked: bool,
}

/// What is true of the cluster, for [`Facts::usual`].
#[derive(Debug)]
pub struct Facts {
    /// What Metadata names: node id, host, port.
    pub brokers: Vec<(i32, String, u16)>,
    /// Versions offered, for all nodes but those in `node_versions`.
    pub versions: Versions,
    pub node_versions: BTreeMap<i32, Versions>,
    pub topics: BTreeMap<String, Topic>,
    pub next_producer_id: i64,
    /// Batches that were appended, by topic id and partition.
    pub logs: BTreeMap<(Uuid, i32), Vec<Stored>>,
    /// As brokers before 2.5: whoever is not known has to begin with sequence 0.
    pub unknown_begin_with_0: bool,
    /// How long each log was when its broker was last restarted: of what is before, it knows each producer's newest batch only.
    restarted: BTreeMap<(Uuid, i32), usize>,
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub id: Uuid,
    pub error: i16,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug)]
pub struct Partition {
    pub error: i16,
    pub leader: i32,
    pub epoch: i32,
}

/// A batch in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub stamp: Stamp,
    /// The value of its last record, where that is a number of six digits.
    pub number: Option<u32>,
}

/// What a batch's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub records: i32,
}

impl Stamp {
    pub fn of(batch: &[u8]) -> Self {
        let mut fields = &batch[43..61];
        Self {
            producer_id: fields.get_i64(),
            epoch: fields.get_i16(),
            sequence: fields.get_i32(),
            records: fields.get_i32(),
        }
    }
}

/// The value of the last record of a batch that is not compressed, where that is a number of six digits.
pub fn number_of(batch: &[u8]) -> Option<u32> {
    let value = batch.get(batch.len().checked_sub(7)?..batch.len() - 1)?;
    core::str::from_utf8(value).ok()?.parse().ok()
}

/// An id for a topic.
pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

impl Facts {
    fn new(nodes: i32) -> Self {
        Self {
            brokers: (1..=nodes).map(|node| (node, host(node), port(node))).collect(),
            versions: Versions::KAFKA_4_3,
            node_versions: BTreeMap::new(),
            topics: BTreeMap::new(),
            next_producer_id: 1000,
            logs: BTreeMap::new(),
            restarted: BTreeMap::new(),
            unknown_begin_with_0: false,
        }
    }

    /// The newest versions offered. (By name: Produce below 13. No ids: Metadata below 10.)
    pub fn limit(&mut self, produce: i16, metadata: i16, init_producer_id: i16) {
        let versions = self.versions.with(Request::Produce, 0, produce).with(Request::Metadata, 0, metadata);
        self.versions = versions.with(Request::InitProducerId, 0, init_producer_id);
    }

    /// Creates a topic, or creates it anew: all led by node 1, epoch 0.
    pub fn topic(&mut self, name: &str, topic_id: u128, partitions: usize) -> &mut Topic {
        let partitions = vec![Partition { error: 0, leader: 1, epoch: 0 }; partitions];
        let topic = Topic { id: id(topic_id), error: 0, partitions };
        self.topics.insert(name.into(), topic);
        self.topics.get_mut(name).expect("it is there")
    }

    /// Another leader, a newer epoch.
    pub fn lead(&mut self, name: &str, partition: usize, leader: i32) {
        let partition = &mut self.topics.get_mut(name).expect("a topic").partitions[partition];
        (partition.leader, partition.epoch) = (leader, partition.epoch + 1);
    }

    /// What a log has of a topic's present incarnation.
    pub fn log(&self, name: &str, partition: i32) -> &[Stored] {
        self.logs.get(&(self.topics[name].id, partition)).map_or(&[], Vec::as_slice)
    }

    /// The numbers of the records in a log, where each is a batch of its own.
    pub fn numbers(&self, name: &str, partition: i32) -> Vec<u32> {
        self.log(name, partition).iter().filter_map(|stored| stored.number).collect()
    }

    /// Every broker was restarted: of what a producer has written it knows the newest batch only, as Kafka does from 2.8 to 4.4.
    pub fn restart(&mut self) {
        self.restarted = self.logs.iter().map(|(place, log)| (*place, log.len())).collect();
    }

    /// A replica leads that was never restarted: it knows five.
    pub fn remember(&mut self) {
        self.restarted.clear();
    }

    pub fn records(&self, name: &str, partition: i32) -> usize {
        end(self.log(name, partition)) as usize
    }

    /// What a good broker says.
    pub fn usual(&mut self, asked: &Asked) -> Reply {
        match &asked.ask {
            Ask::ApiVersions(_) => self.api_versions(asked),
            Ask::Metadata(request) => Reply::Metadata(self.metadata(asked.version, request)),
            Ask::InitProducerId(_) => self.init_producer_id(),
            Ask::Produce(request) if request.acks == 0 => {
                self.produce(asked, request);
                Reply::Nothing
            }
            Ask::Produce(request) => Reply::Produce(self.produce(asked, request)),
            Ask::SaslHandshake(request) => {
                Reply::SaslHandshake(SaslHandshakeResponse::default().with_mechanisms(vec![request.mechanism.clone()]))
            }
            Ask::SaslAuthenticate(_) => Reply::SaslAuthenticate(SaslAuthenticateResponse::default()),
        }
    }

    /// The same, but what metadata tell is changed.
    pub fn usual_but(&mut self, asked: &Asked, change: impl FnOnce(&mut MetadataResponse)) -> Reply {
        let mut reply = self.usual(asked);
        if let Reply::Metadata(told) = &mut reply {
            change(told);
        }
        reply
    }

    /// The same, but what is produced waits for the test's reply.
    pub fn hold_produce(&mut self, asked: &Asked) -> Reply {
        if asked.api == ApiKey::Produce { Reply::Hold } else { self.usual(asked) }
    }

    fn api_versions(&self, asked: &Asked) -> Reply {
        let versions = self.node_versions.get(&asked.node).unwrap_or(&self.versions);
        let range = |request: &Request| {
            let (min, max) = versions.range(*request)?;
            Some(ApiVersion::default().with_api_key(request.key()).with_min_version(min).with_max_version(max))
        };
        let response = ApiVersionsResponse::default().with_api_keys(Request::ALL.iter().filter_map(range).collect());
        match versions.range(Request::ApiVersions) {
            Some((min, max)) if (min..=max).contains(&asked.version) => Reply::ApiVersions(response),
            Some(_) => Reply::As(0, Box::new(Reply::ApiVersions(response.with_error_code(35)))),
            None => Reply::Drop,
        }
    }

    pub fn metadata(&self, version: i16, request: &MetadataRequest) -> MetadataResponse {
        let names: Vec<String> = match &request.topics {
            None => self.topics.keys().cloned().collect(),
            Some(topics) => topics.iter().flat_map(|topic| &topic.name).map(|name| name.to_string()).collect(),
        };
        let topics = names.iter().map(|name| self.metadata_topic(version, name)).collect();
        self.metadata_of(topics)
    }

    /// An answer with these topics, and the brokers.
    pub fn metadata_of(&self, topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
        let broker = |(id, host, port): &(i32, String, u16)| {
            let broker = MetadataResponseBroker::default().with_node_id((*id).into()).with_host(text(host));
            broker.with_port(i32::from(*port))
        };
        MetadataResponse::default()
            .with_cluster_id(Some(text("scripted")))
            .with_brokers(self.brokers.iter().map(broker).collect())
            .with_topics(topics)
    }

    /// A topic's part of a metadata answer: error 3 if there is none.
    pub fn metadata_topic(&self, version: i16, name: &str) -> MetadataResponseTopic {
        let answer = MetadataResponseTopic::default().with_name(Some(TopicName(text(name))));
        let Some(topic) = self.topics.get(name) else {
            return answer.with_error_code(3);
        };
        if topic.error != 0 {
            return answer.with_error_code(topic.error);
        }
        let partition = |(number, partition): (usize, &Partition)| {
            MetadataResponsePartition::default()
                .with_error_code(partition.error)
                .with_partition_index(number as i32)
                .with_leader_id(partition.leader.into())
                .with_leader_epoch(if version >= 7 { partition.epoch } else { -1 })
        };
        let id = if version >= 10 { topic.id } else { Uuid::nil() };
        answer.with_topic_id(id).with_partitions(topic.partitions.iter().enumerate().map(partition).collect())
    }

    fn init_producer_id(&mut self) -> Reply {
        self.next_producer_id += 1;
        let response = InitProducerIdResponse::default().with_producer_id(self.next_producer_id.into());
        Reply::InitProducerId(response.with_producer_epoch(0))
    }

    /// Appends, or refuses: 6 with a hint, 100 or 3, 45, 46; duplicates of the last five are successes.
    pub fn produce(&mut self, asked: &Asked, request: &ProduceRequest) -> ProduceResponse {
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            let by_id = asked.version >= 13;
            let found = self
                .topics
                .iter()
                .find(|(name, known)| if by_id { known.id == topic.topic_id } else { ***name == **topic.name });
            let found = found.map(|(name, topic)| (name.clone(), topic.clone()));
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let partition = found.as_ref().and_then(|(_, topic)| topic.partitions.get(data.index as usize));
                let answer = PartitionProduceResponse::default().with_index(data.index).with_base_offset(-1);
                let answer = match (&found, partition) {
                    (None, _) => answer.with_error_code(if by_id { 100 } else { 3 }),
                    (_, None) => answer.with_error_code(3),
                    (_, Some(partition)) if partition.leader != asked.node => {
                        let mut answer = answer.with_error_code(6);
                        if asked.version >= 10 {
                            let leader = LeaderIdAndEpoch::default().with_leader_id(partition.leader.into());
                            answer.current_leader = leader.with_leader_epoch(partition.epoch);
                            let broker = self.brokers.iter().find(|(id, ..)| *id == partition.leader);
                            if let Some((id, host, port)) = broker {
                                let endpoint = NodeEndpoint::default().with_node_id((*id).into());
                                let endpoint = endpoint.with_host(text(host)).with_port(i32::from(*port));
                                response.node_endpoints.push(endpoint);
                            }
                        }
                        answer
                    }
                    (Some((_, topic)), Some(_)) => {
                        let place = (topic.id, data.index);
                        let forgotten = self.restarted.get(&place).copied().unwrap_or(0);
                        let log = self.logs.entry(place).or_default();
                        let stamp = Stamp::of(data.records.as_ref().expect("a batch"));
                        let known = log.iter().any(|stored| stored.stamp.producer_id == stamp.producer_id);
                        if self.unknown_begin_with_0 && !known && stamp.sequence > 0 {
                            answers.push(answer.with_error_code(59));
                            continue;
                        }
                        match append(log, forgotten, data.records.as_ref().expect("a batch")) {
                            Ok(offset) => answer.with_base_offset(offset),
                            Err(code) => answer.with_error_code(code),
                        }
                    }
                };
                answers.push(answer);
            }
            let answer = TopicProduceResponse::default().with_partition_responses(answers);
            response.responses.push(match by_id {
                true => answer.with_topic_id(topic.topic_id),
                false => answer.with_name(topic.name.clone()),
            });
        }
        response
    }

    /// The same error for every batch of a request; nothing is appended.
    pub fn refuse(&self, asked: &Asked, code: i16) -> Reply {
        let Ask::Produce(request) = &asked.ask else { panic!("not Produce: {:?}", asked.ask) };
        let topic = |topic: &kafka_protocol::messages::produce_request::TopicProduceData| {
            let partition = |data: &kafka_protocol::messages::produce_request::PartitionProduceData| {
                PartitionProduceResponse::default().with_index(data.index).with_error_code(code).with_base_offset(-1)
            };
            let answers = topic.partition_data.iter().map(partition).collect();
            let answer = TopicProduceResponse::default().with_partition_responses(answers);
            if asked.version >= 13 {
                answer.with_topic_id(topic.topic_id)
            } else {
                answer.with_name(topic.name.clone())
            }
        };
        Reply::Produce(ProduceResponse::default().with_responses(request.topic_data.iter().map(topic).collect()))
    }
}

/// The offset behind the last record.
fn end(log: &[Stored]) -> i64 {
    log.last().map_or(0, |last| last.offset + i64::from(last.stamp.records))
}

/// As Kafka: what comes from a producer follows its last batch, one of the last five is a duplicate. Of those before `forgotten`
/// only the newest is known. Whoever is not known may begin anywhere.
fn append(log: &mut Vec<Stored>, forgotten: usize, batch: &[u8]) -> Result<i64, i16> {
    let stamp = Stamp::of(batch);
    let end = end(log);
    if stamp.producer_id >= 0 {
        let of_producer = |(_, stored): &(usize, &Stored)| stored.stamp.producer_id == stamp.producer_id;
        let mut of_producer = log.iter().enumerate().rev().filter(of_producer).take(5).peekable();
        if let Some((newest, last)) = of_producer.peek().copied() {
            let mut known = of_producer.filter(|(place, _)| *place == newest || *place >= forgotten);
            if let Some((_, same)) = known.find(|(_, stored)| stored.stamp == stamp) {
                return Ok(same.offset);
            }
            let next = (i64::from(last.stamp.sequence) + i64::from(last.stamp.records)) % (1 << 31);
            let fits = match stamp.epoch.cmp(&last.stamp.epoch) {
                core::cmp::Ordering::Less => return Err(47),
                core::cmp::Ordering::Equal => i64::from(stamp.sequence) == next,
                core::cmp::Ordering::Greater => stamp.sequence == 0,
            };
            if !fits {
                return Err(45);
            }
        }
    }
    log.push(Stored { offset: end, stamp, number: number_of(batch) });
    Ok(end)
}

fn host(node: i32) -> String {
    format!("server{node}")
}

fn port(node: i32) -> u16 {
    9090 + node as u16
}

/// Without idempotence: nothing is sent anew because a leader moved.
pub const PLAIN: [(&str, &str); 2] = [("enable.idempotence", "false"), ("acks", "1")];

/// Answers a request.
pub type Answers = dyn FnMut(&mut Facts, &Asked) -> Reply;

pub struct Script {
    pub producer: Producer,
    pub now: Instant,
    pub facts: Facts,
    pub servers: Vec<Server>,
    pub events: Vec<Event>,
    pub dialled: Vec<Dialled>,
    /// What the last drain waits for.
    pub wait: Option<Instant>,
    /// How often the driver woke up because that time had come.
    pub wakes: usize,
    /// How long a connection takes to be made, and a server for a request. Meanwhile no other of the connection is looked at.
    pub latency: Duration,
    /// How long an answer is on its way after that. Others may be, too.
    pub way: Duration,
    /// Jobs are kept here; without it they are run at once.
    pub jobs: Option<Vec<Job>>,
    /// What the host says when it is asked for a token.
    pub token: Option<Result<Token, &'static str>>,
    pub tokens_asked: Vec<Instant>,
    answers: Box<Answers>,
    asked: Vec<Asked>,
    links: BTreeMap<ConnId, Link>,
    /// Connections that are being made.
    /// Answers on their way.
    underway: Vec<(Instant, ConnId, Vec<u8>)>,
    coming: Vec<(Instant, ConnId, Option<usize>, Door)>,
    compressor: Compressor,
}

impl Script {
    /// Nodes 1 to `nodes` on `server1:9091` and so on, all of them bootstrap servers. `linger.ms` is 0 unless the options say
    /// something else.
    pub fn new(
        nodes: i32,
        options: &[(&str, &str)],
        answers: impl FnMut(&mut Facts, &Asked) -> Reply + 'static,
    ) -> Self {
        Self::new_boxed(nodes, options, Box::new(answers))
    }

    /// Compiled once, and not for each script.
    fn new_boxed(nodes: i32, options: &[(&str, &str)], answers: Box<Answers>) -> Self {
        let servers: Vec<Server> = (1..=nodes).map(|node| Server::new(node, &host(node), port(node))).collect();
        let names: Vec<String> = servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
        let names = names.join(",");
        let all = [("bootstrap.servers", names.as_str()), ("linger.ms", "0")];
        let config = Config::from_properties(all.iter().chain(options).copied()).expect("valid options");
        Self {
            producer: Producer::new(Instant::ZERO, Some(UnixTime::from_millis(UNIX)), config, [7; 32]),
            now: Instant::ZERO,
            facts: Facts::new(nodes),
            servers,
            events: Vec::new(),
            dialled: Vec::new(),
            wait: None,
            wakes: 0,
            latency: Duration::from_millis(1),
            way: Duration::ZERO,
            underway: Vec::new(),
            jobs: None,
            token: None,
            tokens_asked: Vec::new(),
            answers,
            asked: Vec::new(),
            links: BTreeMap::new(),
            coming: Vec::new(),
            compressor: Compressor::default(),
        }
    }

    /// From now on requests are answered by this.
    pub fn answer(&mut self, answers: impl FnMut(&mut Facts, &Asked) -> Reply + 'static) {
        self.answers = Box::new(answers);
    }

    pub fn server(&mut self, node: i32) -> &mut Server {
        self.servers.iter_mut().find(|server| server.node == node).expect("a server")
    }

    /// The server takes no more connections, and those that there are break.
    pub fn take_down(&mut self, node: i32) {
        self.server(node).door = Door::Refuses;
        self.break_connections(node);
    }

    pub fn break_connections(&mut self, node: i32) {
        let conns: Vec<ConnId> =
            self.links.iter().filter(|(_, link)| link.node == node).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.links.remove(&conn);
            self.input(Input::Disconnected(conn, Cause::Io("reset")));
        }
    }

    /// How many more bytes the server's sockets take; `None` for any number.
    pub fn room(&mut self, node: i32, room: Option<usize>) {
        self.server(node).room = room;
        let blocked: Vec<ConnId> =
            self.links.iter().filter(|(_, link)| link.node == node && link.blocked).map(|(conn, _)| *conn).collect();
        for conn in blocked {
            self.write(conn);
        }
        self.wake();
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// Everything that was asked so far.
    pub fn asks(&self) -> impl DoubleEndedIterator<Item = &Asked> {
        self.asked.iter()
    }

    /// How often a node was asked something since a moment.
    pub fn count(&self, node: i32, api: ApiKey, since: Instant) -> usize {
        self.asked.iter().filter(|asked| asked.node == node && asked.api == api && asked.at >= since).count()
    }

    /// The names in each metadata request since a moment; `None` for all topics.
    pub fn topics_asked(&self, since: Instant) -> Vec<Option<Vec<String>>> {
        let names = |asked: &Asked| match &asked.ask {
            Ask::Metadata(request) => Some(request.topics.as_ref().map(|topics| {
                topics.iter().flat_map(|topic| &topic.name).map(|name| name.to_string()).collect::<Vec<_>>()
            })),
            _ => None,
        };
        self.asked.iter().filter(|asked| asked.at >= since).filter_map(names).collect()
    }

    /// The stamps of every batch of every Produce request since a moment, with partition.
    pub fn stamps(&self, since: Instant) -> Vec<(i32, Stamp)> {
        let mut stamps = Vec::new();
        for asked in self.asked.iter().filter(|asked| asked.at >= since) {
            if let Ask::Produce(request) = &asked.ask {
                for data in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
                    stamps.push((data.index, Stamp::of(data.records.as_ref().expect("a batch"))));
                }
            }
        }
        stamps
    }

    /// Sends a record, and gives back the request in which it left. From now on what is produced waits for the test's reply.
    pub fn send_and_hold(&mut self, record: &Record<'_>) -> Asked {
        self.answer(Facts::hold_produce);
        self.send(record);
        self.run(Duration::from_millis(10));
        self.held()[0].clone()
    }

    /// Requests that wait for the test's reply.
    pub fn held(&self) -> Vec<Asked> {
        let held = self.links.values().filter(|link| link.held).filter_map(|link| link.queue.front());
        held.map(|number| self.asked[*number].clone()).collect()
    }

    /// Says it to a held request. Does nothing if its connection is gone.
    pub fn reply(&mut self, number: usize, reply: Reply) {
        let at = self.now + self.latency;
        if let Some(link) = self.links.get_mut(&self.asked[number].conn) {
            assert!(link.held && link.queue.front() == Some(&number), "not held: {number}");
            link.held = false;
            link.first = Some((at, reply));
        }
    }

    /// Sends once.
    pub fn try_send(&mut self, record: &Record<'_>) -> Result<Sent, SendError> {
        let sent = self.producer.send(self.now, record);
        self.wake();
        sent
    }

    /// Sends, waiting for metadata for a minute if need be.
    pub fn send(&mut self, record: &Record<'_>) -> Sent {
        for _ in 0..6000 {
            match self.try_send(record) {
                Err(SendError::NotReady { .. }) => self.run(Duration::from_millis(10)),
                sent => return sent.expect("a record that is taken"),
            }
        }
        panic!("the topic never gets ready");
    }

    /// A command of the application: the driver is woken if the machine says so.
    pub fn tell<T>(&mut self, command: impl FnOnce(&mut Producer, Instant) -> T) -> T {
        let result = command(&mut self.producer, self.now);
        self.wake();
        result
    }

    pub fn deliveries(&self) -> Vec<&Delivery> {
        fn delivery(event: &Event) -> Option<&Delivery> {
            if let Event::Delivered(delivery) = event { Some(delivery) } else { None }
        }
        self.events.iter().filter_map(delivery).collect()
    }

    /// How many records were delivered.
    pub fn delivered(&self) -> usize {
        let good = self.deliveries().into_iter().filter(|delivery| delivery.outcome.is_ok());
        good.map(|delivery| delivery.records.len()).sum()
    }

    /// How many records failed.
    pub fn failed(&self) -> usize {
        let bad = self.deliveries().into_iter().filter(|delivery| delivery.outcome.is_err());
        bad.map(|delivery| delivery.records.len()).sum()
    }

    /// Time goes on, with everything that happens on the way.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut at_once = 0;
        self.wake();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 100_000, "no end at {:?}", self.now);
            self.now = self.now.max(next);
            self.connect();
            self.arrive();
            self.serve();
            if self.wait.is_some_and(|at| at <= self.now) {
                self.wakes += 1;
                self.input(Input::Timeout);
            }
        }
        self.now = end;
    }

    fn next(&self) -> Option<Instant> {
        let coming = self.coming.iter().map(|(at, ..)| *at);
        let answers = self.links.values().filter_map(|link| link.first.as_ref().map(|(at, _)| *at));
        let underway = self.underway.iter().map(|(at, ..)| *at);
        coming.chain(answers).chain(underway).chain(self.wait).min()
    }

    /// Connections that have been made, or not.
    fn connect(&mut self) {
        let (ready, later) = core::mem::take(&mut self.coming).into_iter().partition(|(at, ..)| *at <= self.now);
        self.coming = later;
        for (_, conn, server, door) in ready {
            let Some(server) = server else {
                self.input(Input::Disconnected(conn, Cause::Resolve("no such host")));
                continue;
            };
            match door {
                Door::Open | Door::Slams => {
                    let node = self.servers[server].node;
                    let (input, queue) = (BytesMut::new(), VecDeque::new());
                    let link = Link { node, input, queue, first: None, held: false, blocked: false };
                    self.links.insert(conn, link);
                    self.input(Input::Connected(conn));
                    if door == Door::Slams && self.links.remove(&conn).is_some() {
                        self.input(Input::Disconnected(conn, Cause::Closed));
                    }
                }
                Door::Refuses => self.input(Input::Disconnected(conn, Cause::Connect("refused"))),
                Door::Untrusted => self.input(Input::Disconnected(conn, Cause::Tls("not trusted"))),
                Door::Mute => {}
            }
        }
    }

    /// Answers that are due.
    fn serve(&mut self) {
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            while let Some(link) = self.links.get_mut(&conn) {
                if link.first.as_ref().is_none_or(|(at, _)| *at > self.now) {
                    break;
                }
                let (_, reply) = link.first.take().expect("it is there");
                match reply {
                    Reply::After(delay, reply) => link.first = Some((self.now + delay, *reply)),
                    Reply::Hold => {
                        link.held = true;
                        break;
                    }
                    Reply::Drop => {
                        self.links.remove(&conn);
                        self.input(Input::Disconnected(conn, Cause::Closed));
                    }
                    reply => {
                        let number = link.queue.pop_front().expect("it was asked");
                        let frame = frame(&self.asked[number], &reply);
                        if !frame.is_empty() {
                            self.underway.push((self.now + self.way, conn, frame));
                        }
                        self.look_at_next(conn);
                        self.arrive();
                    }
                }
            }
        }
    }

    /// Answers come in that have been on their way for long enough.
    fn arrive(&mut self) {
        while let Some(place) = self.underway.iter().position(|(at, ..)| *at <= self.now) {
            let (_, conn, frame) = self.underway.remove(place);
            if self.links.contains_key(&conn) {
                self.input(Input::Data(conn, &frame));
            }
        }
    }

    /// Asks the test about the first request of a connection.
    fn look_at_next(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if link.first.is_some() || link.held {
            return;
        }
        if let Some(number) = link.queue.front() {
            let reply = (self.answers)(&mut self.facts, &self.asked[*number]);
            link.first = Some((self.now + self.latency, reply));
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.producer.handle_input(self.now, input);
        self.drain();
    }

    /// The driver drains, if it is told to.
    pub fn wake(&mut self) {
        if self.producer.take_wake() {
            self.drain();
        }
    }

    fn drain(&mut self) {
        for _ in 0..1_000_000 {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, attempt } => {
                    let server = self.servers.iter().position(|server| server.host == host && server.port == port);
                    let door = server.map_or(Door::Refuses, |server| self.servers[server].door);
                    self.coming.push((self.now + self.latency, conn, server, door));
                    self.dialled.push(Dialled { at: self.now, conn, host, port, attempt });
                }
                Output::Disconnect(conn) => {
                    self.links.remove(&conn);
                    self.coming.retain(|(_, coming, ..)| *coming != conn);
                }
                Output::Transmit(conn) => self.write(conn),
                Output::Event(event) => self.events.push(event),
                Output::Job(job) => match &mut self.jobs {
                    Some(jobs) => jobs.push(job),
                    None => {
                        let done = job.run(&mut self.compressor);
                        self.producer.handle_input(self.now, Input::Done(done));
                    }
                },
                Output::Token { .. } => {
                    self.tokens_asked.push(self.now);
                    if let Some(token) = self.token.clone() {
                        self.producer.handle_input(self.now, Input::Token(token));
                    }
                }
                Output::Wait(wait) => {
                    self.wait = wait;
                    return;
                }
            }
        }
        panic!("a drain without end at {:?}", self.now);
    }

    fn write(&mut self, conn: ConnId) {
        loop {
            let Some(link) = self.links.get_mut(&conn) else { return };
            let node = link.node;
            let server = self.servers.iter_mut().find(|server| server.node == node).expect("a server");
            let mut transmit = self.producer.transmit(self.now, conn);
            let much = transmit.remaining().min(server.room.unwrap_or(usize::MAX));
            link.blocked = much < transmit.remaining();
            let bytes = transmit.copy_to_bytes(much);
            if let Some(room) = &mut server.room {
                *room -= much;
            }
            if bytes.is_empty() {
                return;
            }
            link.input.extend_from_slice(&bytes);
            self.read_requests(conn);
        }
    }

    fn read_requests(&mut self, conn: ConnId) {
        while let Some(link) = self.links.get_mut(&conn) {
            let Some(size) = link.input.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize) else {
                return;
            };
            if link.input.len() < 4 + size {
                return;
            }
            let frame = link.input.split_to(4 + size).freeze();
            let number = self.asked.len();
            let asked = read(number, self.now, link.node, conn, frame);
            self.asked.push(asked);
            link.queue.push_back(number);
            self.look_at_next(conn);
        }
    }
}

impl Server {
    pub fn new(node: i32, host: &str, port: u16) -> Self {
        Self { node, host: host.into(), port, door: Door::Open, room: None }
    }
}

fn read(number: usize, at: Instant, node: i32, conn: ConnId, frame: Bytes) -> Asked {
    let size = frame.len();
    let mut frame = frame.slice(4..);
    let mut start = &frame[..8];
    let (key, version, correlation) = (start.get_i16(), start.get_i16(), start.get_i32());
    let api = ApiKey::try_from(key).expect("an api key of Kafka's");
    RequestHeader::decode(&mut frame, api.request_header_version(version)).expect("a header");
    fn decode<T: Decodable>(mut body: Bytes, version: i16) -> T {
        let request = T::decode(&mut body, version).expect("a request that kafka-protocol can read");
        assert!(body.is_empty(), "bytes left over");
        request
    }
    let ask = match api {
        ApiKey::ApiVersions => Ask::ApiVersions(decode(frame, version)),
        ApiKey::Metadata => Ask::Metadata(decode(frame, version)),
        ApiKey::InitProducerId => Ask::InitProducerId(decode(frame, version)),
        ApiKey::Produce => Ask::Produce(decode(frame, version)),
        ApiKey::SaslHandshake => Ask::SaslHandshake(decode(frame, version)),
        ApiKey::SaslAuthenticate => Ask::SaslAuthenticate(decode(frame, version)),
        other => panic!("never asked by a producer: {other:?}"),
    };
    Asked { number, at, node, conn, api, version, correlation, size, ask }
}

/// The bytes of an answer; none for `Nothing`.
fn frame(asked: &Asked, reply: &Reply) -> Vec<u8> {
    let (version, reply) = match reply {
        Reply::As(version, reply) => (*version, &**reply),
        reply => (asked.version, reply),
    };
    let mut body = BytesMut::new();
    let header = asked.api.response_header_version(version);
    let correlation = ResponseHeader::default().with_correlation_id(asked.correlation);
    let mut put = |response: &dyn Fn(&mut BytesMut) -> bool| {
        correlation.encode(&mut body, header).expect("a header");
        assert!(response(&mut body), "not to be said at version {version}: {reply:?}");
    };
    match reply {
        Reply::ApiVersions(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::Metadata(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::InitProducerId(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::Produce(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::SaslHandshake(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::SaslAuthenticate(response) => put(&|out| response.encode(out, version).is_ok()),
        Reply::Raw(bytes) => {
            body.extend_from_slice(&asked.correlation.to_be_bytes());
            body.extend_from_slice(bytes);
        }
        Reply::Nothing => return Vec::new(),
        Reply::Hold | Reply::After(..) | Reply::Drop | Reply::As(..) => panic!("no answer: {reply:?}"),
    }
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}
