//! The application: what is sent, flushed and closed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::{Who, World};
use crate::simulation::books::Accepted;
use crate::{FlushId, Record, SendError, Sent};

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: FlushId,
    /// Records accepted before it.
    pub(super) covers: u64,
    /// Those of them that failed since.
    pub(super) failed: u64,
}

/// What `send` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Taken,
    Later,
    Never,
}

impl World {
    /// The application: sends records as they come, tries again what was refused, flushes now and then.
    pub(super) fn work(&mut self) -> Result<(), String> {
        if self.ending || self.by_hand {
            return Ok(());
        }
        let over = self.is_over();
        if over && self.calm.is_some() {
            if !self.plan.close_early && !self.act()? {
                if self.producer.take_wake() {
                    self.drain()?;
                }
                return Ok(());
            }
            self.ending = true;
            let how = if self.plan.abort { "aborts" } else { "closes the producer" };
            self.note(Who::Application, || how.into());
            if self.plan.abort {
                self.producer.abort(self.now)
            } else {
                self.producer.close(self.now)
            }
            return Ok(());
        }
        if over || self.now < self.next_send {
            return Ok(());
        }
        let span = self.plan.fault_phase / self.plan.records.max(1) * self.plan.burst;
        self.next_send = self.now + Duration::from_millis(self.dice.range(0, span * 2 + 1));
        for _ in 0..self.plan.burst {
            if self.sent >= self.plan.records || !self.send_one()? {
                break;
            }
        }
        if self.dice.once_in(30) {
            self.flush();
        }
        if self.producer.take_wake() {
            self.drain()?;
        }
        Ok(())
    }

    pub(super) fn send_one(&mut self) -> Result<bool, String> {
        let topic = format!("topic-{}", self.dice.range(0, self.plan.topics - 1));
        if self.must_wait(&topic) {
            return Ok(false);
        }
        if self.odd.once_in(self.plan.odd_topics) {
            self.send_to_odd_topic()?;
        }
        let mut size = self.dice.range(8, 8 + self.plan.value) as usize;
        if self.plan.large && self.large.once_in(4) {
            size += 5000;
        }
        let key = self.dice.once_in(2).then(|| self.dice.range(0, 20).to_be_bytes().to_vec());
        let partition =
            self.dice.once_in(4).then(|| self.dice.range(0, self.plan.cluster.default_partitions as u64 - 1) as i32);
        let sent = self.send_sized(&topic, size, key, partition, false)?;
        self.sent += u64::from(sent == Told::Taken);
        Ok(sent != Told::Later)
    }

    /// To one that there is not, that nobody may write to, or that can't exist.
    fn send_to_odd_topic(&mut self) -> Result<(), String> {
        let (long, longest) = ("t".repeat(250), "t".repeat(40_000));
        let names = ["missing", "forbidden", "", ".", "..", "a/b", &long, &longest];
        let name = self.odd.pick(&names);
        self.note(Who::Application, || format!("sends to {name:.20}"));
        self.used.insert(name.to_string(), self.now);
        match self.producer.send(self.now, &Record::new(name).value(b"nobody gets this")) {
            Err(
                SendError::NotReady { .. }
                | SendError::TopicFailed(_)
                | SendError::BufferFull { .. }
                | SendError::AccessDenied(_),
            ) => {
                self.sometimes("a topic could not be had");
                Ok(())
            }
            other => Err(format!("{other:?} of a send to {name:.20}")),
        }
    }

    /// Whether it sends nothing any more by itself.
    pub(super) fn is_over(&self) -> bool {
        self.by_hand || self.sent >= self.plan.records || (self.plan.close_early && self.calm.is_some())
    }

    fn must_wait(&self, topic: &str) -> bool {
        self.waits_for_room || self.waits_for_topic.get(topic).is_some_and(|until| *until > self.now)
    }

    /// Sends a small record, if nobody has said that there is something to wait for. Returns whether it was taken.
    pub(super) fn send_to(
        &mut self,
        topic: &str,
        key: Option<Vec<u8>>,
        partition: Option<i32>,
        soon: bool,
    ) -> Result<bool, String> {
        Ok(!self.must_wait(topic) && self.send_sized(topic, 8, key, partition, soon)? == Told::Taken)
    }

    pub(in crate::simulation) fn flush(&mut self) -> FlushId {
        let id = self.producer.flush(self.now);
        let covers = self.books.records.len() as u64;
        self.flushes.push(Pending { id, covers, failed: 0 });
        id
    }

    /// Enters a record that was taken into the books.
    pub(super) fn enter(&mut self, sent: &Sent, record: &Record<'_>, soon: bool) -> Result<(), String> {
        let headers = record.headers.iter();
        let accepted = Accepted {
            topic: record.topic.into(),
            partition: sent.partition,
            place: 0,
            sent: self.now,
            timestamp: sent.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.into(), header.value.map(Bytes::copy_from_slice))).collect(),
            soon,
            outcome: None,
        };
        self.books.accepted(sent, accepted)
    }

    fn send_sized(
        &mut self,
        topic: &str,
        size: usize,
        key: Option<Vec<u8>>,
        partition: Option<i32>,
        soon: bool,
    ) -> Result<Told, String> {
        let topic = topic.to_string();
        self.used.insert(topic.clone(), self.now);
        let number = self.books.records.len() as u64;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(size, number as u8);
        // Handed over, to be shared if it is large. Every other is kept here, too.
        let handed_over = Bytes::from(value);
        let mut record = Record::new(&topic).value_bytes(&handed_over);
        record.key = key.as_deref();
        record.partition = partition;
        let told = self.producer.send(self.now, &record);
        if let Err(error) = &told {
            self.note(Who::Application, || format!("sends to {topic}, in vain: {error}"));
        }
        match told {
            Ok(sent) => {
                self.aside(Who::Application, || {
                    format!("sends number {number}, {size} bytes, to {topic}-{}", sent.partition)
                });
                if size >= 5000 && number % 2 == 0 {
                    self.handed_over.push(handed_over.clone());
                }
                self.enter(&sent, &record, soon)?;
                if self.producer.in_flight() > 1 {
                    self.sometimes("several batches of a partition were in flight");
                }
                Ok(Told::Taken)
            }
            Err(SendError::NotReady { .. }) => {
                // `max.block.ms`: after that the machine asks no more.
                self.waits_for_topic.insert(topic, self.now + Duration::from_secs(60));
                Ok(Told::Later)
            }
            Err(SendError::BufferFull { .. }) => {
                self.waits_for_room = true;
                Ok(Told::Later)
            }
            // A server that breaks off at the first request may be one that wants to know who it is.
            Err(SendError::TopicFailed(_) | SendError::AccessDenied(_)) => {
                self.waits_for_topic.insert(topic, self.now + Duration::from_millis(100));
                Ok(Told::Later)
            }
            Err(SendError::UnknownPartition { .. }) => Ok(Told::Never),
            Err(SendError::TooLarge { .. }) => Ok(Told::Never),
            Err(other) => Err(format!("send: {other}")),
        }
    }
}
