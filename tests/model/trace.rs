//! From the steps of a run to the steps of the rules.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use milena::Instant;
use milena::simulation::{Attempt, Step};

use crate::rules::{self, Batch, Identity, Leaving, Partition, Rule, Rules, Settled, Stamp};

const RULES: Rules = Rules { without: None, window: 5 };

/// A partition without anything open for so long is taken for forgotten by its brokers (rule 3).
const LONG: Duration = Duration::from_secs(60);

/// A run, as far as it was seen.
#[derive(Debug, Default)]
pub struct Trace {
    places: BTreeMap<(String, i32), Place>,
    /// The partition of each attempt.
    attempts: BTreeMap<u64, (String, i32)>,
    broken: Option<String>,
    /// What happened, and how often.
    pub seen: BTreeMap<&'static str, u64>,
}

/// A partition, and what the rules need to be told of.
#[derive(Debug)]
struct Place {
    /// What the client may know, for all that was seen: a batch that it gives up while it waits for others says so later.
    possible: Vec<Partition>,
    topic_id: [u8; 16],
    leader_epoch: i32,
    last_acknowledged: Instant,
    last_decided: Instant,
    /// The last steps, in words.
    last: VecDeque<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            possible: vec![Partition::default()],
            topic_id: [0; 16],
            leader_epoch: -1,
            last_acknowledged: Instant::ZERO,
            last_decided: Instant::ZERO,
            last: VecDeque::new(),
        }
    }
}

impl Trace {
    /// The next step. What comes after the first that is not allowed is not looked at.
    pub fn step(&mut self, step: &Step) {
        if self.broken.is_some() {
            return;
        }
        let key = match step {
            Step::Sent(attempt) => {
                let key = (attempt.topic.clone(), attempt.partition);
                self.attempts.insert(attempt.number, key.clone());
                key
            }
            Step::Answered { attempt, .. } | Step::Unanswered { attempt } => match self.attempts.get(attempt) {
                Some(key) => key.clone(),
                None => return,
            },
            Step::Known { topic, partition, .. } | Step::Decided { topic, partition, .. } => {
                (topic.clone(), *partition)
            }
            _ => return,
        };
        let place = self.places.entry(key).or_default();
        place.last.push_back(format!("{step:?}"));
        if place.last.len() > 40 {
            place.last.pop_front();
        }
        if let Err(rule) = place.step(step, &mut self.seen) {
            let mut words = format!("{rule:?} is broken by the last of these steps:");
            place.last.iter().for_each(|step| write!(words, "\n  {step}").expect("a string takes all"));
            self.broken = Some(format!("{words}\nwhen it was one of {:#?}", place.possible));
        }
    }

    /// The run is over.
    pub fn end(&mut self) -> Result<(), String> {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Everything has its outcome, and that was told.
    pub fn is_settled(&self) -> bool {
        self.places.values().all(|place| place.possible.iter().all(|it| it.sent.is_empty() && it.settled.is_empty()))
    }
}

impl Place {
    fn step(&mut self, step: &Step, seen: &mut BTreeMap<&'static str, u64>) -> Result<(), Rule> {
        let mut note = |what| *seen.entry(what).or_default() += 1;
        let before = self.possible.clone();
        match step {
            Step::Sent(attempt) => {
                let leaving = leaving(attempt);
                what_leaves(&before[0], &leaving, &mut note);
                // Nothing was open when its first record came.
                let was_idle = attempt.created > self.last_decided
                    && attempt.created.saturating_since(self.last_acknowledged) >= LONG;
                self.each(|client| {
                    if was_idle {
                        client.idle(RULES);
                    }
                    let attempt = rules::Attempt { topic: client.topic(), ..leaving.attempt };
                    client.send(RULES, &Leaving { attempt, ..leaving })
                })
            }
            Step::Answered { attempt, code, base_offset } => {
                self.each(|client| {
                    client.answered(RULES, *attempt, *code, *base_offset);
                    Ok(())
                })?;
                if before[0].asks_on.is_none() && self.possible[0].asks_on.is_some() {
                    note("what was behind the lowest was asked for");
                }
                self.may_be_given_up(&before, *attempt);
                Ok(())
            }
            Step::Unanswered { attempt } => {
                note("an attempt was not answered");
                self.each(|client| {
                    client.lost(RULES, *attempt);
                    Ok(())
                })?;
                self.may_be_given_up(&before, *attempt);
                Ok(())
            }
            Step::Known { topic_id, leader, leader_epoch, .. } => {
                let id_before = std::mem::replace(&mut self.topic_id, *topic_id);
                let is_another = id_before != *topic_id && id_before != [0; 16];
                let is_news = std::mem::replace(&mut self.leader_epoch, *leader_epoch) != *leader_epoch;
                if is_another {
                    note("a topic was another one");
                }
                if before[0].leader.is_some() && before[0].leader != *leader {
                    note("a leader was another one");
                }
                self.each(|client| {
                    if is_another {
                        client.new_topic(RULES);
                    }
                    client.led(RULES, *leader, is_news);
                    Ok(())
                })
            }
            Step::Decided { records, outcome, now, .. } => {
                match outcome {
                    Ok(_) => self.last_acknowledged = *now,
                    Err(true) => note("records failed, possibly written"),
                    Err(false) => note("records failed, not written"),
                }
                self.last_decided = *now;
                let (first, count) = (records.start, (records.end - records.start) as u32);
                self.each(|client| client.tell(RULES, &Settled { first, count, outcome: *outcome }))?;
                if before.len() > 1 && self.possible.len() == 1 {
                    note("it was clear whether a batch was given up");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a step from each state that is possible. Those from which it is not allowed were not it. If none is left, says which rule
    /// is broken.
    fn each(&mut self, mut step: impl FnMut(&mut Partition) -> Result<(), Rule>) -> Result<(), Rule> {
        let mut next = Vec::new();
        let mut broken = Ok(());
        for client in &self.possible {
            let mut client = client.clone();
            match step(&mut client) {
                Ok(()) if next.contains(&client) => {}
                Ok(()) => next.push(client),
                Err(rule) => broken = broken.and(Err(rule)),
            }
        }
        if next.is_empty() {
            return broken;
        }
        self.possible = next;
        Ok(())
    }

    /// A batch that was answered an error, or not at all, may be given up. As the first of the partition it would say so at once.
    fn may_be_given_up(&mut self, before: &[Partition], attempt: u64) {
        let current = |batch: &&Batch| batch.on_wire.is_some_and(|on_wire| on_wire.number == attempt);
        let Some(first) = before.iter().find_map(|client| Some(client.sent.iter().find(current)?.first)) else {
            return;
        };
        let given_up = self.possible.iter().filter_map(|client| {
            let place = client.sent.iter().position(|batch| batch.first == first && batch.waits())?;
            let mut client = client.clone();
            (place > 0).then(|| client.give_up(RULES, place))?;
            Some(client)
        });
        let given_up: Vec<Partition> = given_up.collect();
        self.possible.extend(given_up);
    }
}

fn leaving(attempt: &Attempt) -> Leaving {
    let identity = Identity { producer_id: attempt.producer_id, epoch: attempt.epoch };
    Leaving {
        first: attempt.records.start,
        count: (attempt.records.end - attempt.records.start) as u32,
        stamp: Stamp { identity, sequence: attempt.sequence },
        by_name: attempt.topic_id.is_none(),
        attempt: rules::Attempt { number: attempt.number, conn: attempt.conn.get(), node: attempt.node, topic: 0 },
    }
}

/// For the table of what happened.
fn what_leaves(client: &Partition, leaving: &Leaving, note: &mut impl FnMut(&'static str)) {
    let batch = client.sent.iter().find(|batch| batch.first == leaving.first);
    note(if batch.is_some() { "a batch left again" } else { "a batch left for the first time" });
    if batch.is_some_and(|batch| batch.stamp != Some(leaving.stamp)) {
        note("a batch took another number");
    }
    if batch.is_some_and(|batch| batch.count > leaving.count) {
        note("a batch was split");
    }
    if client.identity.is_some_and(|before| before != leaving.stamp.identity) {
        note("a batch took a newer epoch");
    }
}
