//! The world without an application of its own: somebody else's code sends.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Who, World};
use crate::error::SendError;
use crate::event::{Event, Sent};
use crate::record::{Header, Record};
use crate::simulation::hand::Simulation;
use crate::simulation::plan::Plan;
use crate::simulation::runs::Report;
use crate::simulation::violation::Violation;
use crate::time::Instant;

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
        let record = Record { headers: &headers, ..*record };
        let told = self.producer.send(self.now, &record);
        match &told {
            Ok(sent) => {
                let number = self.books.records.len();
                self.aside(Who::Application, || format!("sends number {number} to {topic}-{}", sent.partition));
                if let Err(words) = self.enter(sent, &record, false) {
                    self.broken.get_or_insert(words);
                }
            }
            Err(error) => self.note(Who::Application, || format!("sends to {topic}, in vain: {error}")),
        }
        told
    }

    pub(in crate::simulation) fn run_until(&mut self, until: Instant) -> Result<(), Violation> {
        self.lawful(|world| {
            loop {
                world.step()?;
                if world.now >= until {
                    return Ok(());
                }
                if !world.step_time_until(until) {
                    world.now = until;
                }
            }
        })
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
            world.run()
        })?;
        Ok(self.report())
    }
}
