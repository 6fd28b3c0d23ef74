//! Concrete ways to lose, double or reorder records, found by a model before the producer was written. Each is played here
//! step by step; the names say what went wrong.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use milena::cluster::{Mischief, ProduceAttempt, Settings, Verdict, Versions};
use milena::{Input, Instant, Record};

use crate::desk::Desk;

/// Verdicts for batches, in the order in which they arrive; then all are served.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<VecDeque<Verdict>>>);

impl Script {
    fn then(&self, verdicts: &[Verdict]) {
        self.0.lock().expect("nobody panics with it").extend(verdicts);
    }
}

impl Mischief for Script {
    fn produce(&mut self, _: &ProduceAttempt<'_>) -> Verdict {
        self.0.lock().expect("nobody panics with it").pop_front().unwrap_or(Serve)
    }
}

use Verdict::{ApplyThen, Refuse, Serve};

/// A desk on which every record is a batch of its own, in one partition.
struct Stage {
    desk: Desk,
    script: Script,
    sent: u32,
}

impl Stage {
    fn new() -> Self {
        Self::with(&[], Settings::default())
    }

    fn with(more: &[(&str, &str)], settings: Settings) -> Self {
        let each_alone = [("linger.ms", "0"), ("batch.size", "1"), ("batch.size.max", "1")];
        let times = [("request.timeout.ms", "1000"), ("delivery.timeout.ms", "20000"), ("retry.backoff.ms", "50")];
        let options: Vec<_> = each_alone.iter().chain(&times).chain(more).copied().collect();
        let mut desk = Desk::with(&options, settings);
        desk.cluster.create_topic("t", 1);
        let script = Script::default();
        desk.cluster.set_mischief(Box::new(script.clone()));
        Self { desk, script, sent: 0 }
    }

    /// With a record delivered: more than one batch may be in flight (rule 3).
    fn proven() -> Self {
        let mut stage = Self::new();
        stage.put(1);
        stage.run(100);
        stage
    }

    /// Sends so many records at once.
    fn put(&mut self, count: u32) {
        for _ in 0..count {
            let value = format!("{:0>30}", self.sent);
            self.desk.send(&Record::new("t").value(&value).partition(0)).expect("it is taken");
            self.sent += 1;
        }
        self.desk.settle();
    }

    fn run(&mut self, millis: u64) {
        self.desk.run(Duration::from_millis(millis));
    }

    /// The numbers of the records in the log of the topic that has the name now.
    fn log(&self) -> Vec<u32> {
        let id = self.desk.cluster.topic_id("t").expect("the topic");
        let number = |value: &[u8]| String::from_utf8_lossy(value).parse().expect("a number");
        self.desk
            .cluster
            .whole_log(id, 0)
            .iter()
            .map(|record| number(record.value.as_deref().expect("a value")))
            .collect()
    }

    /// For each record delivered, in the order of deliveries: whether it was, or else whether it may be in the log.
    fn outcomes(&self) -> Vec<Result<(), bool>> {
        let deliveries = self.desk.deliveries();
        let outcome = |delivery: &&milena::Delivery| match &delivery.outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(error.possibly_written),
        };
        deliveries.iter().map(outcome).collect()
    }

    /// All that was sent is in the log, once, in order, and was said to be.
    fn all_is_well(&self) {
        assert_eq!(self.log(), (0..self.sent).collect::<Vec<_>>());
        assert_eq!(self.outcomes(), vec![Ok(()); self.sent as usize]);
    }
}

#[test]
fn r1_retries_leave_one_at_a_time_and_in_order() {
    let mut stage = Stage::proven();
    stage.script.then(&[Refuse(87)]);
    stage.put(5);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 2, 3, 4, 5]);
    assert_eq!(stage.outcomes(), [Ok(()), Err(false), Ok(()), Ok(()), Ok(()), Ok(())]);
}

#[test]
fn r3_a_second_batch_does_not_overtake_a_refused_first() {
    let mut stage = Stage::new();
    stage.script.then(&[Refuse(19)]);
    stage.put(2);
    stage.run(2000);
    stage.all_is_well();
}

#[test]
fn r4wait_the_bump_waits_until_nothing_is_on_the_wire() {
    let mut stage = Stage::proven();
    for _ in 0..4 {
        stage.put(1);
        stage.run(10);
    }
    stage.script.then(&[Refuse(87)]);
    stage.put(3);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 1, 2, 3, 4, 6, 7]);
}

#[test]
fn r5_a_batch_in_doubt_keeps_its_number() {
    let mut stage = Stage::proven();
    stage.script.then(&[ApplyThen(20), Refuse(87)]);
    stage.put(2);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 1]);
    assert_eq!(stage.outcomes(), [Ok(()), Ok(()), Err(false)]);
}

#[test]
fn java_dup_a_failure_before_it_does_not_renumber_a_batch_in_doubt() {
    let mut stage = Stage::proven();
    stage.script.then(&[Refuse(87), ApplyThen(20)]);
    stage.put(2);
    stage.run(25_000);
    let log = stage.log();
    assert!(log.iter().filter(|number| **number == 2).count() <= 1, "{log:?}");
}

#[test]
fn at45_dup_an_answer_of_45_does_not_renumber_what_is_in_doubt() {
    let mut stage = Stage::proven();
    stage.script.then(&[ApplyThen(7), Refuse(45), Refuse(45), Refuse(45)]);
    stage.put(2);
    stage.run(25_000);
    let log = stage.log();
    assert_eq!(log.iter().filter(|number| **number == 1).count(), 1, "{log:?}");
    assert!(log.is_sorted(), "{log:?}");
}

#[test]
fn seven_an_error_after_the_append_leaves_doubt() {
    let mut stage = Stage::proven();
    stage.script.then(&[ApplyThen(20), Refuse(87)]);
    stage.put(1);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 1]);
    assert_eq!(stage.outcomes(), [Ok(()), Err(true)]);
}

#[test]
fn neg1_an_unknown_error_leaves_doubt() {
    let mut stage = Stage::proven();
    stage.script.then(&[ApplyThen(-1)]);
    stage.put(1);
    stage.run(2000);
    assert_eq!(stage.outcomes(), [Ok(()), Err(true)]);
    stage.put(1);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 1, 2]);
}

#[test]
fn split_a_batch_in_doubt_is_split_too() {
    let mut stage =
        Stage::with(&[("batch.size", "500"), ("batch.size.max", "500"), ("linger.ms", "5")], Settings::default());
    stage.put(1);
    stage.run(100);
    stage.desk.swallow = true;
    stage.put(6);
    stage.run(20);
    stage.desk.break_connections();
    stage.script.then(&[Refuse(10)]);
    stage.run(3000);
    assert_eq!(stage.desk.producer.stats().splits, 1);
    assert_eq!(stage.log(), (0..7).collect::<Vec<_>>());
}

#[test]
fn deduce_a_batch_behind_a_refused_one_is_not_written_either() {
    let mut stage = Stage::proven();
    // B2 is refused; B3 goes out with it, and its answer is lost.
    stage.script.then(&[Refuse(87)]);
    stage.put(1);
    stage.desk.swallow = true;
    stage.put(1);
    stage.desk.break_connections();
    stage.run(5000);
    assert_eq!(stage.log(), [0, 2]);
    assert_eq!(stage.outcomes(), [Ok(()), Err(false), Ok(())]);
}

#[test]
fn doubt_behind_a_batch_that_failed_in_doubt_ends_at_its_own_deadline() {
    let mut stage = Stage::proven();
    stage.desk.swallow = true;
    stage.put(2);
    stage.desk.break_connections();
    stage.script.then(&[Refuse(87)]);
    stage.run(10_000);
    assert_eq!(stage.outcomes(), [Ok(()), Err(true)]);
    stage.run(15_000);
    assert_eq!(stage.outcomes(), [Ok(()), Err(true), Err(true)]);
    stage.put(1);
    stage.run(1000);
    assert_eq!(stage.log(), [0, 3]);
}

fn three_nodes() -> Settings {
    Settings::default().nodes(3).min_insync_replicas(2)
}

#[test]
fn win_a_new_leader_gets_first_what_the_old_one_did_not_answer() {
    let mut stage = Stage::with(&[("metadata.max.age.ms", "300")], three_nodes());
    stage.put(1);
    stage.run(100);
    let old = stage.desk.cluster.leader("t", 0).expect("a leader");
    stage.desk.cluster.pause(old);
    stage.put(1);
    let new = if old == 2 { 3 } else { 2 };
    assert!(stage.desk.cluster.move_leader("t", 0, new, true));
    stage.put(8);
    stage.run(15_000);
    stage.all_is_well();
}

#[test]
fn r7bump_a_topic_that_is_created_again_begins_a_new_epoch() {
    let mut stage = Stage::with(&[("metadata.max.age.ms", "300")], Settings::default());
    stage.put(1);
    stage.run(100);
    stage.desk.cluster.create_topic("t", 1);
    stage.put(3);
    stage.run(5000);
    stage.put(1);
    stage.run(1000);
    assert_eq!(stage.log(), [1, 2, 3, 4]);
    assert_eq!(stage.outcomes(), vec![Ok(()); 5]);
    assert!(stage.desk.producer.stats().epoch_bumps >= 1);
}

#[test]
fn topicname_order_by_name_nothing_is_doubled_through_a_re_creation() {
    // The order can't be kept here: by name alone a client can't know that the topic is another one.
    let settings = Settings::default().versions(Versions::KAFKA_3_0);
    let mut stage = Stage::with(&[("metadata.max.age.ms", "300")], settings);
    stage.put(1);
    stage.run(100);
    stage.script.then(&[Refuse(19)]);
    stage.put(1);
    stage.desk.cluster.create_topic("t", 1);
    stage.put(2);
    stage.run(25_000);
    let mut log = stage.log();
    log.sort_unstable();
    let all = log.len();
    log.dedup();
    assert_eq!(log.len(), all, "doubled");
}

#[test]
fn lost_46_a_duplicate_is_a_success_without_an_offset() {
    let mut stage = Stage::proven();
    stage.script.then(&[ApplyThen(7), Refuse(46)]);
    stage.put(1);
    stage.run(1000);
    stage.all_is_well();
    assert_eq!(stage.desk.offsets(), [Some(0), None]);
}

#[test]
fn epoch_order_a_used_up_epoch_brings_a_new_producer_id() {
    let mut stage = Stage::with(&[], Settings::default().producer_epoch(i16::MAX));
    stage.put(1);
    stage.run(100);
    stage.script.then(&[Refuse(87)]);
    stage.put(2);
    stage.run(2000);
    assert_eq!(stage.log(), [0, 2]);
    let id = stage.desk.cluster.topic_id("t").expect("the topic");
    let stamps = stage.desk.cluster.stamps(id, 0);
    assert_ne!(stamps[0].1, stamps[1].1, "another producer id");
    assert_eq!(stamps[1].3, 0, "from the first sequence on");
}

#[test]
fn fresh_order_after_a_change_of_leader_in_idleness_one_batch_goes_first() {
    let mut stage = Stage::with(&[("metadata.max.age.ms", "300")], three_nodes());
    stage.put(1);
    stage.run(1000);
    let old = stage.desk.cluster.leader("t", 0).expect("a leader");
    stage.desk.cluster.forget_producers("t", 0); // retention took everything, and with it the producer's state
    assert!(stage.desk.cluster.move_leader("t", 0, if old == 2 { 3 } else { 2 }, true));
    stage.run(1000);
    stage.script.then(&[Refuse(19)]);
    stage.put(2);
    stage.run(3000);
    stage.all_is_well();
}

#[test]
fn after_long_idleness_one_batch_goes_first() {
    let mut stage = Stage::proven();
    stage.run(120_000);
    stage.desk.cluster.forget_producers("t", 0);
    stage.script.then(&[Refuse(19), Serve]);
    stage.put(2);
    stage.run(3000);
    stage.all_is_well();
}

#[test]
fn an_old_leaders_late_answer_only_informs() {
    let mut stage = Stage::with(&[("metadata.max.age.ms", "300"), ("request.timeout.ms", "5000")], three_nodes());
    stage.put(1);
    stage.run(100);
    let old = stage.desk.cluster.leader("t", 0).expect("a leader");
    stage.desk.cluster.pause(old);
    stage.put(2);
    assert!(stage.desk.cluster.move_leader("t", 0, if old == 2 { 3 } else { 2 }, true));
    stage.run(2000);
    let now: Instant = stage.desk.now;
    stage.desk.cluster.resume(now, old);
    stage.desk.producer.handle_input(now, Input::Timeout);
    stage.run(2000);
    stage.all_is_well();
}
