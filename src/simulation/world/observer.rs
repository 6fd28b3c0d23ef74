//! What happens to batches, step by step, for who checks it against a model. It is seen when the producer does it or learns it, which may be
//! before the network or the application see anything of it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use kafka_protocol::protocol::Decodable;

use super::World;
use super::wiretap::{Batch, answers_of, batch_of, head_of, take_frame};
use crate::error::DeliveryError;
use crate::event::{Event, Input, Output, Written};
use crate::ids::{BatchId, ConnId};
use crate::producer::Decided;
use crate::simulation::steps::{Attempt, Step};

/// A request that was formed and is not answered.
#[derive(Debug)]
struct Request {
    correlation: i32,
    version: i16,
    /// The batches that it carries, with the numbers of the attempts.
    batches: Vec<(u64, Batch)>,
}

#[derive(Debug, Default)]
struct Line {
    /// So much of what is to be written was seen.
    seen: usize,
    said: Vec<u8>,
    heard: Vec<u8>,
    unanswered: VecDeque<Request>,
    /// Nonsense was answered: the producer breaks the connection off, and reads no more.
    is_over: bool,
}

type Told = dyn FnMut(&Step);

/// What the producer knows of a partition: topic id, leader, and its epoch.
type Known = ([u8; 16], Option<i32>, i32);

/// Sees the steps, and tells them.
pub(super) struct Observer {
    told: Box<Told>,
    lines: BTreeMap<ConnId, Line>,
    attempts: u64,
    /// Of what is decided and was not polled, so much is known.
    known: usize,
    partitions: BTreeMap<(String, i32), Known>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl World {
    /// From now on every step is told.
    pub(in crate::simulation) fn observe(&mut self, told: impl FnMut(&Step) + 'static) {
        let (lines, partitions) = (BTreeMap::new(), BTreeMap::new());
        self.observer = Some(Observer { told: Box::new(told), lines, attempts: 0, known: 0, partitions });
    }

    /// Polls the producer.
    pub(super) fn poll(&mut self) -> Output {
        self.look();
        let output = self.producer.poll_output();
        self.with_observer(|observer, world| observer.polled(world, &output));
        output
    }

    /// Sees what the producer has decided by itself.
    pub(super) fn look(&mut self) {
        self.with_observer(Observer::look);
    }

    /// The producer is asked what to write, and forms it.
    pub(super) fn look_at_what_leaves(&mut self, conn: ConnId) {
        if self.observer.is_none() || !self.wires.contains_key(&conn) {
            return;
        }
        self.look();
        let mut shown = Vec::new();
        let transmit = self.producer.transmit(self.now, conn);
        transmit.segments().for_each(|segment| shown.extend_from_slice(segment));
        self.with_observer(|observer, world| observer.shown(world, conn, &shown));
    }

    /// The producer is told what happened; of several answers that come at once, one after the other.
    pub(super) fn hand_in(&mut self, input: Input<'_>) {
        let Some(observer) = &mut self.observer else {
            return self.producer.handle_input(self.now, input);
        };
        let Input::Data(conn, mut bytes) = input else {
            if let Input::Disconnected(conn, _) = &input {
                observer.gone(*conn);
            }
            self.producer.handle_input(self.now, input);
            return self.look(); // also because an order to close what is gone may have been withdrawn
        };
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.observer.as_ref().map_or(bytes.len(), |it| it.frame(conn, bytes)));
            self.with_observer(|observer, _| observer.heard(conn, piece));
            self.producer.handle_input(self.now, Input::Data(conn, piece));
            self.look();
            bytes = rest;
        }
    }

    fn with_observer(&mut self, what: impl FnOnce(&mut Observer, &Self)) {
        if let Some(mut observer) = self.observer.take() {
            what(&mut observer, self);
            self.observer = Some(observer);
        }
    }
}

impl Observer {
    pub(super) fn connected(&mut self, conn: ConnId) {
        self.lines.insert(conn, Line::default());
    }

    /// So many bytes were written.
    pub(super) fn left(&mut self, conn: ConnId, bytes: usize) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.seen = line.seen.saturating_sub(bytes);
        }
    }

    fn gone(&mut self, conn: ConnId) {
        let Some(line) = self.lines.remove(&conn) else { return };
        for (attempt, _) in line.unanswered.into_iter().flat_map(|request| request.batches) {
            (self.told)(&Step::Unanswered { attempt });
        }
    }

    fn look(&mut self, world: &World) {
        let mut all = 0;
        for decided in world.producer.decided() {
            all += 1;
            match decided {
                _ if all <= self.known => {}
                Decided::Outcome(batch, records, outcome) => self.outcome(world, batch, &records, outcome),
                Decided::Disconnect(conn) => self.gone(conn),
                Decided::Other => {}
            }
        }
        self.known = all;
        for topic in &world.topics {
            let Some(topic_id) = world.producer.topic_id(topic) else { continue };
            for known in world.producer.partitions(topic).into_iter().flatten() {
                let now = (topic_id, known.leader, known.leader_epoch);
                if self.partitions.insert((topic.clone(), known.partition), now) != Some(now) {
                    (self.told)(&Step::Known {
                        topic: topic.clone(),
                        partition: known.partition,
                        topic_id,
                        leader: known.leader,
                        leader_epoch: known.leader_epoch,
                    });
                }
            }
        }
    }

    /// This was polled. If nothing was left of what was known, it is news.
    fn polled(&mut self, world: &World, output: &Output) {
        if self.known > 0 {
            self.known -= 1;
            return;
        }
        match output {
            Output::Event(Event::Delivered(it)) => self.outcome(world, it.batch, &it.records, &it.outcome),
            Output::Disconnect(conn) => self.gone(*conn),
            _ => {}
        }
    }

    fn outcome(
        &mut self,
        world: &World,
        batch: BatchId,
        records: &Range<u32>,
        outcome: &Result<Written, DeliveryError>,
    ) {
        let Some(first) = world.books.first_of(batch, records) else { return };
        (self.told)(&Step::Decided {
            topic: first.topic.clone(),
            partition: first.partition,
            records: first.place..first.place + records.len() as u64,
            outcome: match outcome {
                Ok(written) => Ok(written.base_offset),
                Err(error) => Err(error.possibly_written),
            },
            now: world.now,
        });
    }

    /// This is to be written on the connection.
    fn shown(&mut self, world: &World, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.said.extend_from_slice(bytes.get(line.seen..).unwrap_or_default());
        line.seen = bytes.len();
        while let Some(frame) = self.lines.get_mut(&conn).and_then(|line| take_frame(&mut line.said)) {
            self.request(world, conn, frame);
        }
    }

    fn request(&mut self, world: &World, conn: ConnId, mut frame: Bytes) -> Option<()> {
        let (key, version, header) = head_of(&mut frame).ok()?;
        let mut batches = Vec::new();
        if key == ApiKey::Produce {
            for topic in ProduceRequest::decode(&mut frame, version).ok()?.topic_data {
                let id = *topic.topic_id.as_bytes();
                let noted = || world.ids.iter().find(|(_, ids)| ids.contains(&id)).map(|(name, _)| name.clone());
                // A topic that was away may have been created by who asked for it.
                let of_id = || noted().or_else(|| world.cluster.name_of(topic.topic_id));
                let name = if version >= 13 { of_id()? } else { topic.name.to_string() };
                for data in topic.partition_data {
                    let batch = batch_of((id, data.index), &name, &data.records.unwrap_or_default())?;
                    batches.push((self.attempts + batches.len() as u64, batch));
                }
            }
        }
        self.attempts += batches.len() as u64;
        for (number, batch) in &batches {
            let (producer_id, epoch, sequence, count) = batch.stamp;
            let Some(first) = batch.first.and_then(|first| world.books.records.get(first as usize)) else { continue };
            (self.told)(&Step::Sent(Attempt {
                number: *number,
                now: world.now,
                conn,
                node: world.producer.node_of(conn)?,
                topic: batch.name.clone(),
                topic_id: (version >= 13).then_some(batch.place.0),
                partition: batch.place.1,
                records: first.place..first.place + count as u64,
                created: first.sent,
                producer_id,
                epoch,
                sequence,
            }));
        }
        let line = self.lines.get_mut(&conn)?;
        line.unanswered.push_back(Request { correlation: header.correlation_id, version, batches });
        Some(())
    }

    /// How many of these bytes belong to the answer that is on its way, if it ends in them.
    fn frame(&self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(line) = self.lines.get(&conn) else { return bytes.len() };
        let mut head = line.heard.iter().chain(bytes).copied();
        let mut head = || head.next();
        let (Some(a), Some(b), Some(c), Some(d)) = (head(), head(), head(), head()) else { return bytes.len() };
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        (4 + length).saturating_sub(line.heard.len()).clamp(1, bytes.len())
    }

    fn heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.is_over) else { return };
        line.heard.extend_from_slice(bytes);
        let Some(mut frame) = take_frame(&mut line.heard) else { return };
        let correlation = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        line.is_over = line.unanswered.front().is_none_or(|request| request.correlation != correlation);
        if line.is_over {
            return;
        }
        let Some(request) = line.unanswered.pop_front() else { return };
        if request.batches.is_empty() {
            return;
        }
        let answers = answers_of(request.version, &mut frame);
        for (attempt, batch) in request.batches {
            let answer = answers.iter().find(|answer| answer.is_for(&batch, request.version));
            (self.told)(&answer.map_or(Step::Unanswered { attempt }, |answer| Step::Answered {
                attempt,
                code: answer.code,
                base_offset: (answer.offset >= 0).then_some(answer.offset),
            }));
        }
    }
}
