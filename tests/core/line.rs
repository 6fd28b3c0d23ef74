//! One topic with every record a batch of its own: for what is about order and identity.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use milena::{Instant, Record};

use crate::script::{Ask, Asked, Facts, Reply, Script, Stamp, number_of};

/// What brokers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Produce by topic id.
    Ids,
    /// Produce by name, although Metadata tells ids (Kafka 2.8 to 4.0).
    Names,
    /// Names only (Kafka before 2.8).
    NoIds,
}

pub const ALL: [Speaks; 3] = [Speaks::Ids, Speaks::Names, Speaks::NoIds];

/// A script, and how many records were sent. Their values are the numbers from 0 on, in six digits.
pub struct Line {
    pub script: Script,
    pub sent: u32,
}

impl Line {
    /// The topic `t`, with id 1 and two partitions, on so many nodes.
    pub fn new(nodes: i32, speaks: Speaks, more: &[(&str, &str)]) -> Self {
        let each_alone = [("batch.size", "1"), ("batch.size.max", "1")];
        let times = [("request.timeout.ms", "5000"), ("delivery.timeout.ms", "20000"), ("retry.backoff.ms", "50")];
        let options: Vec<_> = each_alone.iter().chain(&times).chain(more).copied().collect();
        let mut script = Script::new(nodes, &options, |facts, asked| facts.usual(asked));
        match speaks {
            Speaks::Ids => {}
            Speaks::Names => script.facts.limit(9, 12, 4),
            Speaks::NoIds => script.facts.limit(9, 9, 4),
        }
        script.facts.topic("t", 1, 2);
        Self { script, sent: 0 }
    }

    /// With a record delivered in partition 0: more than one batch may be in flight (rule 3).
    pub fn proven(speaks: Speaks) -> Self {
        Self::new(1, speaks, &[]).begun()
    }

    pub fn begun(mut self) -> Self {
        self.put(1);
        self.run(200);
        assert_eq!(self.outcomes(), [Ok(())]);
        self
    }

    /// Sends so many records to partition 0.
    pub fn put(&mut self, count: u32) {
        self.put_to(0, count);
    }

    pub fn put_to(&mut self, partition: i32, count: u32) {
        for _ in 0..count {
            let value = format!("{:06}", self.sent);
            self.script.send(&Record::new("t").value(&value).partition(partition));
            self.sent += 1;
        }
    }

    pub fn run(&mut self, millis: u64) {
        self.script.run(Duration::from_millis(millis));
    }

    pub fn now(&self) -> Instant {
        self.script.now
    }

    /// Sends so many, of which the first `written` are appended. No answer comes: the connection breaks. From then on all are
    /// answered as usual.
    pub fn leave_in_doubt(&mut self, count: u32, written: usize) {
        self.leave_in_doubt_with(count, |place, _| place < written);
    }

    /// Those are appended that `is_written` says, by their place and before each of them.
    pub fn leave_in_doubt_with(&mut self, count: u32, mut is_written: impl FnMut(usize, &mut Facts) -> bool) {
        let since = self.script.asks().count();
        self.script.answer(|facts, asked| if asked.api == ApiKey::Produce { Reply::Hold } else { facts.usual(asked) });
        self.put(count);
        self.run(20);
        let asked: Vec<Asked> =
            self.script.asks().skip(since).filter(|asked| asked.api == ApiKey::Produce).cloned().collect();
        assert_eq!(asked.len(), count as usize, "all are on the wire");
        for (place, asked) in asked.iter().enumerate() {
            if is_written(place, &mut self.script.facts) {
                self.script.facts.usual(asked);
            }
        }
        self.script.answer(|facts, asked| facts.usual(asked));
        for node in 1..=self.script.servers.len() as i32 {
            self.script.break_connections(node);
        }
    }

    /// The numbers in the log of partition 0 of the topic that there is now.
    pub fn log(&self) -> Vec<u32> {
        self.script.facts.numbers("t", 0)
    }

    /// For each record, in the order of deliveries: whether it was delivered, or else whether it may be in the log.
    pub fn outcomes(&self) -> Vec<Result<(), bool>> {
        let deliveries = self.script.deliveries();
        let outcome = |delivery: &&milena::Delivery| match &delivery.outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(error.possibly_written),
        };
        deliveries.iter().map(outcome).collect()
    }

    /// Where records were said to be.
    pub fn offsets(&self) -> Vec<Option<i64>> {
        let written = |delivery: &milena::Delivery| Some(delivery.outcome.as_ref().ok()?.base_offset);
        self.script.deliveries().into_iter().filter_map(written).collect()
    }

    /// Every record is in the log, once, in order, and was said to be.
    #[track_caller]
    pub fn all_is_well(&self) {
        assert_eq!(self.log(), (0..self.sent).collect::<Vec<_>>());
        assert_eq!(self.outcomes(), vec![Ok(()); self.sent as usize]);
    }

    /// No record stands twice in any log.
    #[track_caller]
    pub fn nothing_is_doubled(&self) {
        for (place, log) in &self.script.facts.logs {
            let mut seen = BTreeSet::new();
            for stored in log {
                assert!(seen.insert(stored.number), "{:?} is doubled in {place:?}: {log:?}", stored.number);
            }
        }
    }

    /// What was sent of one record, oldest attempt first.
    pub fn stamps_of(&self, number: u32) -> Vec<Stamp> {
        self.script
            .asks()
            .filter_map(batch)
            .filter(|(_, number_sent, _)| *number_sent == Some(number))
            .map(|it| it.2)
            .collect()
    }

    /// The numbers of the records sent since a moment, in the order in which they came.
    pub fn sent_since(&self, since: Instant) -> Vec<u32> {
        self.script.asks().filter(|asked| asked.at >= since).filter_map(batch).filter_map(|it| it.1).collect()
    }
}

/// The first batch of a Produce request: its partition, its record's number, its stamp.
pub fn batch(asked: &Asked) -> Option<(i32, Option<u32>, Stamp)> {
    let Ask::Produce(request) = &asked.ask else { return None };
    let data = &request.topic_data[0].partition_data[0];
    let records = data.records.as_ref().expect("a batch");
    Some((data.index, number_of(records), Stamp::of(records)))
}

/// The record's number, if that is what the request carries.
pub fn number(asked: &Asked) -> Option<u32> {
    batch(asked)?.1
}

/// It is done, and the connection is closed in place of an answer.
pub fn done_and_lost(facts: &mut Facts, asked: &Asked) -> Reply {
    facts.usual(asked);
    Reply::Drop
}

/// It is done, and answered with this code.
pub fn done_but(facts: &mut Facts, asked: &Asked, code: i16) -> Reply {
    facts.usual(asked);
    facts.refuse(asked, code)
}
