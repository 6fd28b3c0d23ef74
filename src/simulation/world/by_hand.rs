//! The world without an application of its own: somebody else's code sends.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::application::Pending;
use super::{MOST_STEPS, Report, Who, World};
use crate::error::SendError;
use crate::event::{Event, Sent};
use crate::ids::FlushId;
use crate::record::{Header, Record};
use crate::simulation::books::Accepted;
use crate::simulation::hand::Simulation;
use crate::simulation::plan::Plan;
use crate::simulation::violation::Violation;
use crate::time::Instant;

/// So long after the end it may take until nothing is open, beyond the time that records have.
const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    pub(in crate::simulation) fn by_hand(mut plan: Plan) -> Self {
        // Topics that can't be had are not for others to meet.
        plan.odd_topics = 0;
        plan.cluster = plan.cluster.auto_create_topics(plan.young.is_none());
        Self::new(plan, true)
    }

    pub(in crate::simulation) fn now(&self) -> Instant {
        self.now
    }

    pub(in crate::simulation) fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.told)
    }

    pub(in crate::simulation) fn create_topic_by_hand(&mut self, name: &str, partitions: i32) {
        self.topics.push(name.to_string());
        self.create_topic(name, partitions);
    }

    pub(in crate::simulation) fn send_by_hand(&mut self, record: &Record<'_>) -> Result<Sent, SendError> {
        let number = (self.books.records.len() as u64).to_be_bytes();
        let mut headers = record.headers.to_vec();
        headers.push(Header::new(Simulation::HEADER, &number));
        let topic = record.topic.to_string();
        self.used.insert(topic.clone(), self.now);
        if !self.topics.contains(&topic) {
            self.topics.push(topic.clone());
        }
        let told = self.producer.send(self.now, &Record { headers: &headers, ..*record });
        match &told {
            Ok(sent) => {
                let number = self.books.records.len();
                self.aside(Who::Application, || alloc::format!("sends number {number} to {topic}-{}", sent.partition));
                let headers =
                    headers.iter().map(|header| (header.key.into(), header.value.map(Bytes::copy_from_slice)));
                let accepted = Accepted {
                    topic,
                    partition: sent.partition,
                    sent: self.now,
                    timestamp: sent.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: headers.collect(),
                    soon: false,
                    outcome: None,
                };
                if let Err(words) = self.books.accepted(sent, accepted) {
                    self.broken.get_or_insert(words);
                }
            }
            Err(error) => self.note(Who::Application, || alloc::format!("sends to {topic}, in vain: {error}")),
        }
        told
    }

    pub(in crate::simulation) fn flush_by_hand(&mut self) -> FlushId {
        let id = self.producer.flush(self.now);
        let covers = self.books.records.len() as u64;
        self.flushes.push(Pending { id, covers, failed: 0 });
        id
    }

    pub(in crate::simulation) fn run_until(&mut self, until: Instant) -> Result<(), Violation> {
        self.lawful(|world| {
            loop {
                world.step_by_hand()?;
                if world.now >= until {
                    return Ok(());
                }
                if !world.step_time_until(until) {
                    world.now = until;
                }
            }
        })
    }

    fn step_by_hand(&mut self) -> Result<(), String> {
        if let Some(words) = self.broken.take() {
            return Err(words);
        }
        // What was sent meanwhile.
        if self.producer.take_wake() {
            self.drain()?;
        }
        self.step()
    }

    pub(in crate::simulation) fn calm_by_hand(&mut self) {
        if self.calm.is_none() {
            self.calm_down();
        }
    }

    pub(in crate::simulation) fn finish_by_hand(&mut self) -> Result<Report, Violation> {
        self.lawful(|world| {
            world.calm_by_hand();
            world.ending = true;
            world.producer.close(world.now);
            let end = world.now.max(world.trouble_until) + world.plan.delivery_timeout() + PATIENCE;
            for _ in 0..MOST_STEPS {
                world.step_by_hand()?;
                if world.closed {
                    return world.finish();
                }
                if world.now > end {
                    return Err(world.stall());
                }
                if !world.step_time() {
                    return Err("STUCK: nothing will ever happen again".into());
                }
            }
            Err("too many steps".into())
        })?;
        Ok(self.report())
    }
}
