//! What comes after the faults: idleness for hours, outages longer than every timeout, leaders that move while nobody looks. Then
//! a few records are sent, which have to be delivered soon.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::{Who, World};
use crate::simulation::plan::Act;
use crate::time::Instant;

/// How soon records are delivered that are sent while one server at least is well and knows the truth.
const SOON: Duration = Duration::from_secs(15);

/// How soon after the last fault nothing of it is on its way any more.
const SETTLED: Duration = Duration::from_secs(5);

/// Records that are sent to each topic at the end of an act.
const RECORDS: u32 = 3;

/// How far the acts are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// The next act begins when nothing is open any more.
    Between,
    /// Until then nothing is sent.
    Rest(Instant),
    /// All nodes are away until then.
    Outage(Instant),
    /// Records are sent since then, and so many have to be.
    Sends(Instant, u64),
}

#[derive(Debug)]
pub(super) struct Acts {
    next: usize,
    stage: Stage,
}

impl Acts {
    pub(super) fn new() -> Self {
        Self { next: 0, stage: Stage::Between }
    }
}

impl World {
    /// When something is to happen without any input.
    pub(super) fn act_deadline(&self) -> Option<Instant> {
        match self.acts.stage {
            Stage::Rest(until) | Stage::Outage(until) => Some(until),
            Stage::Sends(_, until) if (self.books.records.len() as u64) < until => {
                Some(self.now + Duration::from_millis(100))
            }
            Stage::Sends(since, _) => Some(since + SOON),
            Stage::Between if self.books.is_open() || !self.is_over() => None,
            Stage::Between => Some(self.trouble_until + SETTLED),
        }
    }

    /// Goes on with the acts. Returns whether they are over.
    pub(super) fn act(&mut self) -> Result<bool, String> {
        if self.plan.acts.is_empty() {
            return Ok(true); // closes with what is open
        }
        match self.acts.stage {
            // Late copies of what is in doubt have to be gone, too.
            Stage::Between if self.books.is_open() || self.now < self.trouble_until + SETTLED => Ok(false),
            Stage::Between => {
                let Some(act) = self.plan.acts.get(self.acts.next).copied() else {
                    return Ok(true);
                };
                self.acts.next += 1;
                self.begin(act);
                Ok(false)
            }
            Stage::Rest(until) => {
                if until <= self.now {
                    let number = self.books.records.len() as u64;
                    self.acts.stage = Stage::Sends(self.now, number + u64::from(RECORDS) * self.plan.topics);
                    return self.act();
                }
                Ok(false)
            }
            Stage::Outage(until) => {
                if until <= self.now {
                    for node in self.cluster.nodes() {
                        self.back(node);
                    }
                    self.trouble_until = self.now;
                    // Whoever is still open may be in doubt, and wait for its deadline.
                    self.acts.stage = Stage::Rest(self.now + self.plan.delivery_timeout() + SOON);
                }
                Ok(false)
            }
            Stage::Sends(since, until) => {
                while (self.books.records.len() as u64) < until {
                    let topic = format!("topic-{}", self.books.records.len() as u64 % self.plan.topics);
                    if !self.send_to(&topic, None, None, true)? {
                        break;
                    }
                }
                if (self.books.records.len() as u64) == until && !self.books.is_open() {
                    self.acts.stage = Stage::Between;
                    self.sometimes("all was well after an act");
                } else if self.now > since + SOON {
                    let open = self.books.records.len() as u64 - self.books.delivered - self.books.failed;
                    return Err(format!(
                        "LATE: {open} records are not delivered {SOON:?} after they were sent, in calm"
                    ));
                }
                Ok(false)
            }
        }
    }

    fn begin(&mut self, act: Act) {
        self.note(Who::World, || format!("{act:?}"));
        let calm = self.trouble_until + SOON;
        match act {
            Act::Idle(millis) => {
                self.sometimes("the producer was idle for long");
                self.acts.stage = Stage::Rest(calm.max(self.now + Duration::from_millis(millis)));
            }
            Act::Outage(millis) => {
                self.sometimes("all nodes were away");
                for node in self.cluster.nodes() {
                    self.crash(node);
                }
                let until = self.now + Duration::from_millis(millis);
                self.trouble_until = until;
                self.acts.stage = Stage::Outage(until);
                for topic in 0..self.plan.topics {
                    // Whether it is taken or not: metadata may be known or not.
                    let _ = self.send_to(&format!("topic-{topic}"), None, None, false);
                }
            }
            Act::Move => {
                self.sometimes("leaders moved in idleness");
                self.trouble_until = self.now; // what one replica has taken may be lost
                let nodes = self.cluster.nodes();
                for topic in 0..self.plan.topics {
                    for partition in 0..self.cluster.partitions(&format!("topic-{topic}")) {
                        let node = self.odd.pick(&nodes);
                        self.cluster.move_leader(&format!("topic-{topic}"), partition, node, true);
                    }
                }
                self.acts.stage = Stage::Rest(calm);
            }
            Act::Suspend(millis) => {
                self.sometimes("the host was suspended");
                for topic in 0..self.plan.topics {
                    let _ = self.send_to(&format!("topic-{topic}"), None, None, false);
                }
                let until = self.now + Duration::from_millis(millis);
                (self.stalled_until, self.trouble_until) = (until, until);
                self.acts.stage = Stage::Rest(until + self.plan.delivery_timeout() + SOON);
            }
            Act::Forget => {
                self.sometimes("brokers forgot the producer");
                for topic in 0..self.plan.topics {
                    for partition in 0..self.cluster.partitions(&format!("topic-{topic}")) {
                        self.cluster.forget_producers(&format!("topic-{topic}"), partition);
                    }
                }
                self.acts.stage = Stage::Rest(calm.max(self.now + Duration::from_secs(70)));
            }
        }
    }
}
