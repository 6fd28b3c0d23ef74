//! What can be heard on the wires: which requests go to whom, how often, how many at a time, and under which numbers batches
//! go out. Laws that need no more than that are checked here.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_response::TopicProduceResponse;
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::Decodable;

use crate::cluster::{Cluster, TopicId};
use crate::error::ErrorCode;
use crate::ids::ConnId;
use crate::simulation::hand::Simulation;
use crate::simulation::world::Who;
use crate::time::Instant;

/// Answers after which a batch is certainly not written.
pub(crate) const NOT_WRITTEN: &[i16] = &[2, 10, 17, 18, 19, 21, 29, 31, 32, 35, 43, 45, 47, 59, 76, 87, 100];

/// Batches of a partition, from the oldest that is not delivered to the newest, that brokers know when they come again.
const WINDOW: usize = 5;

/// Producer id, epoch, first sequence and number of records of a batch.
pub(super) type Stamp = (i64, i16, i32, i32);

/// A partition, as requests name it.
pub(super) type Place = (TopicId, i32);

/// A batch on its way.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) place: Place,
    /// The topic's name, where that is what the request says, or where words are wanted.
    pub(super) name: String,
    /// Over its records, as they were sent.
    fingerprint: u64,
    /// The number of its first record, where that can be read.
    pub(super) first: Option<u64>,
    pub(super) stamp: Stamp,
}

/// A request that was written whole and is not answered.
#[derive(Debug)]
struct Unanswered {
    correlation: i32,
    api: i16,
    version: i16,
    batches: Vec<Batch>,
}

/// One connection.
#[derive(Debug, Default)]
struct Line {
    node: i32,
    said: Vec<u8>,
    heard: Vec<u8>,
    unanswered: VecDeque<Unanswered>,
}

/// What is known of a batch that went out.
#[derive(Clone, Debug, Default)]
struct Sent {
    stamp: Stamp,
    /// Attempts that are not answered on a connection that stands.
    on_wire: u32,
    /// An attempt may have been written, for all that the client can know.
    in_doubt: bool,
}

/// What the laws are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) in_flight: usize,
    pub(super) idempotent: bool,
    pub(super) acks: i16,
    /// The least time between two metadata requests.
    pub(super) backoff: Duration,
}

#[derive(Debug)]
pub(super) struct Wiretap {
    limits: Limits,
    lines: BTreeMap<ConnId, Line>,
    batches: BTreeMap<(Place, u64), Sent>,
    /// For each partition and identity, the sequences that were used, with their numbers of records.
    sequences: BTreeMap<(Place, i64, i16), BTreeMap<i32, i32>>,
    /// First records of batches that were sent, may be written, and are not delivered.
    open: BTreeMap<Place, BTreeSet<u64>>,
    /// Records that were delivered: a request may be written to its end when its batches have expired.
    done: BTreeSet<u64>,
    /// First records of batches in whole requests that want no answer.
    unconfirmed: BTreeSet<u64>,
    /// When control requests were sent, and to whom.
    control: VecDeque<(Instant, i32)>,
    /// When metadata of each topic were asked for last.
    pub(super) asked: BTreeMap<String, Instant>,
    /// Requests to each node, by their kind.
    pub(super) counts: BTreeMap<(i32, i16), u64>,
    /// Requests and answers in words, if somebody wants to know: by whom, and what.
    overheard: Option<Vec<(Who, String)>>,
}

impl Wiretap {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: BTreeMap::new(),
            batches: BTreeMap::new(),
            sequences: BTreeMap::new(),
            open: BTreeMap::new(),
            done: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            control: VecDeque::new(),
            asked: BTreeMap::new(),
            counts: BTreeMap::new(),
            overheard: None,
        }
    }

    /// From now on requests and answers are put into words.
    pub(super) fn listen(&mut self) {
        self.overheard = Some(Vec::new());
    }

    /// What was said since this was called last.
    pub(super) fn take_overheard(&mut self) -> Vec<(Who, String)> {
        self.overheard.as_mut().map(core::mem::take).unwrap_or_default()
    }

    pub(super) fn connected(&mut self, conn: ConnId, node: i32) {
        self.lines.insert(conn, Line { node, ..Line::default() });
    }

    /// The connection is gone: what is unanswered on it may have been written.
    pub(super) fn gone(&mut self, conn: ConnId) {
        let Some(line) = self.lines.remove(&conn) else { return };
        for batch in line.unanswered.iter().flat_map(|request| &request.batches) {
            if let Some(sent) = self.batches.get_mut(&(batch.place, batch.fingerprint)) {
                sent.on_wire = sent.on_wire.saturating_sub(1);
                sent.in_doubt |= sent.stamp == batch.stamp;
            }
        }
    }

    /// The client has written.
    pub(super) fn said(&mut self, now: Instant, conn: ConnId, bytes: &[u8], cluster: &Cluster) -> Result<(), String> {
        let Some(line) = self.lines.get_mut(&conn) else { return Ok(()) };
        line.said.extend_from_slice(bytes);
        loop {
            let Some(line) = self.lines.get_mut(&conn) else { return Ok(()) };
            let Some(frame) = take_frame(&mut line.said) else { return Ok(()) };
            self.request(now, conn, frame, cluster)?;
        }
    }

    fn request(&mut self, now: Instant, conn: ConnId, mut frame: Bytes, cluster: &Cluster) -> Result<(), String> {
        let (key, version, header) = head_of(&mut frame)?;
        let node = self.lines.get(&conn).map_or(-1, |line| line.node);
        *self.counts.entry((node, key as i16)).or_default() += 1;
        let mut batches = Vec::new();
        match key {
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut frame, version).map_err(|_| UNREADABLE)?;
                for topic in request.topic_data {
                    let id = if version >= 13 {
                        *topic.topic_id.as_bytes()
                    } else {
                        cluster.topic_id(&topic.name).unwrap_or_else(|| absent(&topic.name))
                    };
                    let known = || cluster.name_of(topic.topic_id);
                    let by_name = version < 13 || self.overheard.is_none();
                    let name = if by_name { topic.name.to_string() } else { known().unwrap_or_default() };
                    for data in topic.partition_data {
                        let section = data.records.unwrap_or_default();
                        let batch = batch_of((id, data.index), &name, &section);
                        batches.push(batch.ok_or("a batch that can't be read")?);
                    }
                }
                for batch in &batches {
                    self.batch(batch, version >= 13, cluster)?;
                }
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut frame, version).map_err(|_| UNREADABLE)?;
                for name in request.topics.into_iter().flatten().filter_map(|topic| topic.name) {
                    self.asked.insert(name.to_string(), now);
                }
                self.control(now, node)?;
            }
            ApiKey::InitProducerId => self.control(now, node)?,
            _ => {}
        }
        if let Some(overheard) = &mut self.overheard {
            let mut words = format!("{key:?} v{version} to node {node} on {conn}");
            for Batch { place: (_, partition), name, stamp: (producer_id, epoch, sequence, count), first, .. } in
                &batches
            {
                let _ = write!(words, "; {name}-{partition}: {count} records");
                if let Some(first) = first {
                    let _ = write!(words, " from number {first}");
                }
                if *producer_id >= 0 {
                    let _ = write!(words, ", sequence {sequence} (id {producer_id}, epoch {epoch})");
                }
            }
            overheard.push((Who::Producer, words));
        }
        if key == ApiKey::Produce && self.limits.acks == 0 {
            return Ok(()); // no answer will come
        }
        let correlation = header.correlation_id;
        let Some(line) = self.lines.get_mut(&conn) else { return Ok(()) };
        line.unanswered.push_back(Unanswered { correlation, api: key as i16, version, batches });
        let in_flight = line.unanswered.iter().filter(|request| request.api == 0).count();
        if in_flight > self.limits.in_flight {
            return Err(format!("{in_flight} requests in flight on {conn}, of {}", self.limits.in_flight));
        }
        Ok(())
    }

    /// A batch went out.
    fn batch(&mut self, batch: &Batch, by_id: bool, cluster: &Cluster) -> Result<(), String> {
        let (id, partition) = batch.place;
        if self.limits.acks == 0 {
            if let Some(first) = batch.first {
                if !self.unconfirmed.insert(first) {
                    return Err(format!("TWICE: the batch of record {first} was written whole in two requests"));
                }
            }
        }
        if !self.limits.idempotent {
            return Ok(());
        }
        let (producer_id, epoch, sequence, count) = batch.stamp;
        let sent = self.batches.entry((batch.place, batch.fingerprint)).or_default();
        let before = core::mem::replace(&mut sent.stamp, batch.stamp);
        let first_time = before == Stamp::default();
        // A request to an earlier leader may be written to its end when the batch has gone elsewhere.
        let late = before.0 == producer_id && before.1 > epoch;
        if late {
            sent.stamp = before;
        }
        if !first_time && before != batch.stamp && !late {
            let stands = |stamp: &(i64, i64, i16, i32, i32)| (stamp.1, stamp.2, stamp.3, stamp.4) == before;
            if cluster.stamps(id, partition).iter().any(stands) {
                return Err(format!("RENUMBERED: {before:?} stands in the log, and goes out as {:?}", batch.stamp));
            }
            // What stands behind a batch that is not written is not written either, where topics have ids.
            let earlier = self.sequences.get(&(batch.place, before.0, before.1));
            let stamps = cluster.stamps(id, partition);
            let written = |sequence: &i32, count: &i32| {
                stamps.iter().any(|it| (it.1, it.2, it.3, it.4) == (before.0, before.1, *sequence, *count))
            };
            // Up to where the log may go; parts of one that was split may never have been sent.
            let reached = earlier.into_iter().flat_map(|earlier| earlier.range(..before.2));
            let reached = reached.filter(|(sequence, count)| written(sequence, count));
            let reached = reached.map(|(sequence, count)| sequence.wrapping_add(*count)).next_back();
            let behind = before.2 != 0 && reached != Some(before.2);
            if (sent.in_doubt || sent.on_wire > 0) && !(behind && by_id) {
                return Err(format!("RENUMBERED: {before:?} is in doubt, and goes out as {:?}", batch.stamp));
            }
            sent.in_doubt = false;
        }
        sent.on_wire += 1;
        self.sequences.entry((batch.place, producer_id, epoch)).or_default().insert(sequence, count);
        if let Some(first) = batch.first.filter(|first| !self.done.contains(first)) {
            self.open.entry(batch.place).or_default().insert(first);
        }
        Ok(())
    }

    /// What holds whenever the driver has drained.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.open.iter().find(|(_, open)| open.len() > WINDOW) {
            Some(((_, partition), open)) => Err(format!(
                "WINDOW: {} batches of partition {partition} are under way, more than brokers remember",
                open.len()
            )),
            None => Ok(()),
        }
    }

    /// A request for metadata or a producer id.
    fn control(&mut self, now: Instant, node: i32) -> Result<(), String> {
        self.control.push_back((now, node));
        while self.control.front().is_some_and(|(at, _)| *at + Duration::from_secs(1) < now) {
            self.control.pop_front();
        }
        // Twice as often as one that never learns anything new, and a few for what is new.
        let bound = 2 * (1000 / self.limits.backoff.as_millis().max(1)) as usize + 20;
        if self.control.len() > bound {
            return Err(format!("HAMMERING: {} control requests in a second", self.control.len()));
        }
        Ok(())
    }

    /// The client was handed bytes.
    pub(super) fn heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.heard.extend_from_slice(bytes);
        while let Some(line) = self.lines.get_mut(&conn) {
            let Some(frame) = take_frame(&mut line.heard) else { return };
            let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
            if line.unanswered.front().is_none_or(|request| request.correlation != correlation) {
                return; // nonsense; the client breaks the connection off
            }
            let (node, request) = (line.node, line.unanswered.pop_front().expect("it was looked at"));
            if let Some(overheard) = &mut self.overheard {
                overheard.push((Who::Node(node), answer_in_words(&request, frame.clone())));
            }
            if request.api == 0 && self.limits.idempotent {
                self.answered(&request, frame);
            }
        }
    }

    fn answered(&mut self, request: &Unanswered, mut frame: Bytes) {
        let answers = answers_of(request.version, &mut frame);
        for batch in &request.batches {
            let Some(sent) = self.batches.get_mut(&(batch.place, batch.fingerprint)) else { continue };
            sent.on_wire = sent.on_wire.saturating_sub(1);
            let for_it = answers.iter().filter(|answer| answer.is_for(batch, request.version));
            let mut codes = for_it.map(|answer| answer.code).peekable();
            let refused = codes.peek().is_some() && codes.all(|code| NOT_WRITTEN.contains(&code));
            sent.in_doubt |= sent.stamp == batch.stamp && !refused;
            // Nor is anything behind it: brokers take sequences in order.
            if let (true, Some(first), Some(open)) = (refused, batch.first, self.open.get_mut(&batch.place)) {
                open.retain(|other| *other < first);
            }
        }
    }

    /// Records of a partition were delivered.
    pub(super) fn delivered(&mut self, numbers: &[u64]) {
        self.done.extend(numbers);
        for open in self.open.values_mut().filter(|open| !open.is_empty()) {
            for number in numbers {
                open.remove(number);
            }
        }
    }

    /// Whether the batch that begins with this record left in a whole request that wants no answer.
    pub(super) fn left_whole(&self, first: u64) -> bool {
        self.unconfirmed.contains(&first)
    }
}

/// A frame without its length, if it is whole.
pub(super) fn take_frame(bytes: &mut Vec<u8>) -> Option<Bytes> {
    let length = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    let end = 4 + usize::try_from(length).ok()?;
    if bytes.len() < end || length < 4 {
        return None;
    }
    let rest = bytes.split_off(end);
    Some(Bytes::from(core::mem::replace(bytes, rest)).slice(4..))
}

const UNREADABLE: &str = "a request that can't be read";

/// What a request is, its version, and its header, which is taken off; or why that can't be read.
pub(super) fn head_of(frame: &mut Bytes) -> Result<(ApiKey, i16, RequestHeader), &'static str> {
    let (api, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
    let key = ApiKey::try_from(api).map_err(|()| "a request that there is not")?;
    let header = RequestHeader::decode(frame, key.request_header_version(version)).map_err(|_| UNREADABLE)?;
    Ok((key, version, header))
}

/// What a broker says of one batch.
pub(super) struct Answer {
    id: TopicId,
    name: String,
    partition: i32,
    pub(super) code: i16,
    pub(super) offset: i64,
}

impl Answer {
    pub(super) fn is_for(&self, batch: &Batch, version: i16) -> bool {
        let topic = if version < 13 { self.name == batch.name } else { self.id == batch.place.0 };
        topic && self.partition == batch.place.1
    }
}

/// None, if it can't be read.
pub(super) fn answers_of(version: i16, frame: &mut Bytes) -> Vec<Answer> {
    let header = ApiKey::Produce.response_header_version(version);
    let response = ResponseHeader::decode(frame, header).and_then(|_| ProduceResponse::decode(frame, version));
    let topic = |topic: TopicProduceResponse| {
        let (id, name) = (*topic.topic_id.as_bytes(), topic.name.to_string());
        topic.partition_responses.into_iter().map(move |it| Answer {
            id,
            name: name.clone(),
            partition: it.index,
            code: it.error_code,
            offset: it.base_offset,
        })
    };
    response.map_or(Vec::new(), |response| response.responses.into_iter().flat_map(topic).collect())
}

fn answer_in_words(request: &Unanswered, mut frame: Bytes) -> String {
    let mut words = match ApiKey::try_from(request.api) {
        Ok(api) => format!("answers {api:?}"),
        Err(()) => format!("answers request {}", request.api),
    };
    let answers = if request.api == 0 { answers_of(request.version, &mut frame) } else { Vec::new() };
    for batch in &request.batches {
        let _ = write!(words, "; {}-{}: ", batch.name, batch.place.1);
        let for_it: Vec<&Answer> = answers.iter().filter(|answer| answer.is_for(batch, request.version)).collect();
        let _ = match for_it[..] {
            [] => write!(words, "nothing"),
            [Answer { code: 0, offset, .. }] => write!(words, "at offset {offset}"),
            [Answer { code, .. }, ..] => write!(words, "{}", ErrorCode::new(*code)),
        };
    }
    words
}

/// What stands for the id of a topic that is not there: no other topic's.
fn absent(name: &str) -> TopicId {
    let mut id = [0xff; 16];
    id[1..].iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    id
}

/// Reads the head of a batch, and of its first record if nothing is compressed.
pub(super) fn batch_of(place: Place, name: &str, section: &[u8]) -> Option<Batch> {
    let number = |at: usize| Some(u64::from_be_bytes(*section.get(at..)?.first_chunk::<8>()?));
    let producer_id = number(43)? as i64;
    let epoch = i16::from_be_bytes(*section.get(51..)?.first_chunk()?);
    let sequence = i32::from_be_bytes(*section.get(53..)?.first_chunk()?);
    let count = i32::from_be_bytes(*section.get(57..)?.first_chunk()?);
    let records = section.get(61..)?;
    let mut fingerprint = 0xcbf2_9ce4_8422_2325_u64;
    for byte in records {
        fingerprint = (fingerprint ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let compressed = section.get(22)? & 7 != 0;
    let first = if compressed { None } else { first_number(records) };
    Some(Batch { place, name: name.into(), fingerprint, first, stamp: (producer_id, epoch, sequence, count) })
}

/// The number of the first record: in a header, or else at the beginning of its value.
fn first_number(records: &[u8]) -> Option<u64> {
    let rest = &mut { records };
    varint(rest)?; // length
    *rest = rest.get(1..)?; // attributes
    varint(rest)?; // timestamp
    varint(rest)?; // offset
    let (_key, value) = (section(rest)?, section(rest)?);
    for _ in 0..varint(rest)? {
        let (name, number) = (section(rest)?, section(rest)?);
        if name == Some(Simulation::HEADER.as_bytes()) {
            return Some(u64::from_be_bytes(*number?.first_chunk()?));
        }
    }
    Some(u64::from_be_bytes(*value?.first_chunk()?))
}

fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for place in 0..10 {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(((value >> 1) as i64) ^ -((value & 1) as i64))
}

/// Bytes behind their length; a length of -1 is null.
fn section<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint(rest)?) else { return Some(None) };
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Some(bytes))
}
