//! The world for code of one's own.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::plan::Plan;
use super::runs::Report;
use super::violation::Violation;
use super::world::World;
use crate::cluster::{Cluster, StoredRecord};
use crate::error::SendError;
use crate::event::{Event, Sent};
use crate::ids::FlushId;
use crate::producer::Producer;
use crate::record::Record;
use crate::time::Instant;

/// A producer in a virtual world, for code that sends records and acts on what becomes of them.
///
/// Time stands still but in [`run`](Self::run) and [`finish`](Self::finish). Faults come as the [`Plan`] says, for as long as it says,
/// and end with [`finish`](Self::finish) at the latest. Records get a header, named [`HEADER`](Self::HEADER), by which the laws find them
/// in the log; [`log`](Self::log) leaves it out.
pub struct Simulation {
    world: World,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Simulation {
    /// The name of the header that each record gets, with its number.
    pub const HEADER: &'static str = "simulation";

    /// The world at its beginning. Of the plan everything counts but what its own application would do.
    ///
    /// # Panics
    ///
    /// If the producer refuses an option of the plan.
    pub fn new(plan: Plan) -> Self {
        Self { world: World::by_hand(plan) }
    }

    /// The time that it is.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// The producer, to look at.
    pub fn producer(&self) -> &Producer {
        &self.world.producer
    }

    /// The cluster, to look at. What is stored may still be lost, as the replicas are.
    pub fn cluster(&self) -> &Cluster {
        &self.world.cluster
    }

    /// Creates a topic. One that is not there is created when it is sent to.
    pub fn create_topic(&mut self, name: &str, partitions: i32) {
        self.world.create_topic_by_hand(name, partitions);
    }

    /// Sends a record, as [`Producer::send`] does. With [`SendError::NotReady`] or [`SendError::BufferFull`], time has to go on before it
    /// is tried again.
    ///
    /// # Errors
    ///
    /// Those of [`Producer::send`].
    pub fn send(&mut self, record: &Record<'_>) -> Result<Sent, SendError> {
        self.world.send_by_hand(record)
    }

    /// Asks for [`Event::Flushed`] when all records sent so far have their outcome.
    pub fn flush(&mut self) -> FlushId {
        self.world.flush()
    }

    /// Lets this time go by. Returns what the producer said meanwhile, among others what became of records.
    ///
    /// # Errors
    ///
    /// A law was broken. The world is of no use then.
    pub fn run(&mut self, time: Duration) -> Result<Vec<Event>, Violation> {
        let until = self.world.now() + time;
        self.world.run_until(until)?;
        Ok(self.world.take_events())
    }

    /// A law of your own is broken, in these words: with the seed, what the world was like, and what happened last. What stands before a
    /// colon is the law's name, by which [`shrink_with`](super::shrink_with) knows it again.
    pub fn violation(&self, words: impl Into<String>) -> Violation {
        self.world.violation(words.into())
    }

    /// From now on every moment is told, in words: the time in milliseconds, who, and what.
    pub fn watch(&mut self, watch: impl FnMut(&str) + 'static) {
        self.world.watch(watch);
    }

    /// The faults end now, if they have not yet.
    pub fn calm(&mut self) {
        self.world.calm_by_hand();
    }

    /// The faults end, the producer is closed, and time goes on until that is done. Then the books are held against the logs.
    ///
    /// # Errors
    ///
    /// A law was broken.
    pub fn finish(mut self) -> Result<Report, Violation> {
        self.world.finish_by_hand()
    }

    /// The records of a partition as consumers see them, of the topic that has the name now; without [`HEADER`](Self::HEADER).
    pub fn log(&self, topic: &str, partition: i32) -> Vec<StoredRecord> {
        let id = self.world.cluster.topic_id(topic);
        let mut log = id.map(|id| self.world.cluster.log(id, partition)).unwrap_or_default();
        for record in &mut log {
            record.headers.retain(|(name, _)| name != Self::HEADER);
        }
        log
    }
}
