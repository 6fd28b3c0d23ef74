//! What the pages in `docs` say about the machine's core, asked once more.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::produce_response::{BatchIndexAndErrorMessage, LeaderIdAndEpoch};
use milena::{Event, Record, SendError};

use crate::line::{Line, Speaks, number};
use crate::script::{Ask, Asked, Facts, Reply, Script, Stamp, number_of};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

/// Without idempotence nothing may overtake where one request is in flight at a time, as in Java.
#[test]
fn one_in_flight_parts_of_a_split_batch_stay_in_order() {
    let appended: Rc<std::cell::RefCell<Vec<u32>>> = Rc::default();
    let log = Rc::clone(&appended);
    let failed = Rc::new(Cell::new(false));
    let has_failed = Rc::clone(&failed);
    let options = [
        ("enable.idempotence", "false"),
        ("max.in.flight.requests.per.connection", "1"),
        ("acks", "1"),
        ("linger.ms", "100"),
    ];
    let mut script = Script::new(1, &options, move |facts, asked| {
        let Ask::Produce(request) = &asked.ask else { return facts.usual(asked) };
        let batch = request.topic_data[0].partition_data[0].records.clone().expect("a batch");
        if Stamp::of(&batch).records > 4 {
            return facts.refuse(asked, 10);
        }
        if !has_failed.replace(true) {
            return facts.refuse(asked, 6); // the first part: not here
        }
        log.borrow_mut().push(number_of(&batch).expect("a number"));
        facts.usual(asked)
    });
    script.facts.topic("t", 1, 1);
    for n in 0..8 {
        script.send(&Record::new("t").value(&format!("{n:06}")).partition(0));
    }
    script.run(S(20));
    assert_eq!(script.delivered(), 8);
    let log = appended.borrow().clone();
    assert!(log.len() > 1, "it was split: {log:?}");
    assert!(log.is_sorted(), "the last records of the batches, in the order of the log: {log:?}");
}

/// Rule 3: after a change of leader in idleness one batch goes first, also where metadata tell no epochs.
fn one_goes_first_to_another_leader(metadata: i16) {
    let mut line = Line::new(2, Speaks::NoIds, &[]);
    line.script.facts.limit(9, metadata, 4);
    let mut line = line.begun();
    line.put(1);
    line.run(200);
    line.script.facts.lead("t", 0, 2);
    // The new leader knows nothing of the producer.
    line.script.facts.logs.clear();
    let now = line.script.now;
    line.script.producer.want_topic(now, "t").expect("it runs");
    line.script.wake();
    line.run(500);
    assert_eq!(line.script.producer.partitions("t").expect("known")[0].leader, Some(2));
    let refused = Cell::new(false);
    line.script.answer(move |facts, asked| {
        if number(asked) == Some(2) && !refused.replace(true) { facts.refuse(asked, 19) } else { facts.usual(asked) }
    });
    line.put(3);
    line.run(5000);
    assert_eq!(line.log(), [2, 3, 4]);
}

#[test]
fn rule_3_with_epochs() {
    one_goes_first_to_another_leader(9);
}

#[test]
fn rule_3_without_epochs() {
    one_goes_first_to_another_leader(6);
}

/// The same, but records were queued for the leader that is gone, and none of them was ever sent.
#[test]
fn rule_3_with_records_that_were_never_sent() {
    let mut line = Line::new(2, Speaks::Ids, &[("metadata.max.age.ms", "1000")]).begun();
    line.script.take_down(1);
    line.put(3);
    line.run(1000);
    assert_eq!(line.sent_since(milena::Instant::ZERO), [0], "nothing has left");
    line.script.facts.lead("t", 0, 2);
    line.script.facts.logs.clear();
    let refused = Cell::new(false);
    line.script.answer(move |facts, asked| {
        if number(asked) == Some(1) && !refused.replace(true) { facts.refuse(asked, 19) } else { facts.usual(asked) }
    });
    line.run(8000);
    assert_eq!(line.log(), [1, 2, 3]);
}

/// docs/differences.md: a topic that has no leader yet is asked about alone.
#[test]
fn a_topic_without_leader_is_asked_about_alone() {
    let mut script = Script::new(1, &[], |facts, asked| facts.usual(asked));
    for n in 0..5 {
        script.facts.topic(&format!("other{n}"), 10 + n, 1);
    }
    for n in 0..5 {
        script.send(&Record::new(&format!("other{n}")).value("v"));
    }
    let topic = script.facts.topic("t", 1, 2);
    (topic.partitions[1].leader, topic.partitions[1].error) = (-1, 5);
    script.send(&Record::new("t").value("v").partition(0));
    script.run(S(5));
    let since = script.now;
    script.send(&Record::new("t").value("v").partition(1));
    script.run(S(10));
    let asked = script.topics_asked(since);
    let all = asked.iter().filter(|names| names.as_ref().is_none_or(|names| names.len() > 1)).count();
    assert_eq!(all, 0, "asked about others too: {asked:?}");
}

/// Of a batch that is answered 87 all records fail, as in Java.
#[test]
fn records_beside_a_bad_one_fail_too() {
    let mut script = Script::new(1, &[("linger.ms", "50")], |facts, asked| {
        let Ask::Produce(request) = &asked.ask else { return facts.usual(asked) };
        let batch = request.topic_data[0].partition_data[0].records.clone().expect("a batch");
        if Stamp::of(&batch).records < 3 {
            return facts.usual(asked);
        }
        let Reply::Produce(mut response) = facts.refuse(asked, 87) else { panic!("not Produce") };
        let bad = BatchIndexAndErrorMessage::default().with_batch_index(1);
        response.responses[0].partition_responses[0].record_errors.push(bad);
        Reply::Produce(response)
    });
    script.facts.topic("t", 1, 1);
    for n in 0..3 {
        script.send(&Record::new("t").value(&format!("{n:06}")));
    }
    script.run(S(5));
    assert_eq!((script.delivered(), script.failed()), (0, 3));
}

/// A refusal of long ago is not told to who sends now: the cluster may have changed its mind.
#[test]
fn a_refusal_of_an_hour_ago_is_not_told_now() {
    let options = [("metadata.max.age.ms", "60000"), ("metadata.max.idle.ms", "120000")];
    let mut script = Script::new(1, &options, |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(30));
    script.facts.topics.get_mut("t").expect("t").error = 29;
    script.run(S(100)); // it is in use: a refresh brings it
    script.facts.topics.get_mut("t").expect("t").error = 0;
    script.run(S(3600));
    match script.try_send(&Record::new("t").value("v")) {
        Ok(_) | Err(SendError::NotReady { .. }) => {}
        Err(error) => panic!("the cluster has taken this topic for an hour: {error}"),
    }
}

/// A partition that has left a broker that cannot be reached takes records without key again.
#[test]
fn a_partition_that_has_left_a_hung_broker_is_drawn_again() {
    let options = [
        ("partitioner.availability.timeout.ms", "1000"),
        ("metadata.max.age.ms", "1000"),
        ("batch.size", "1"),
        ("delivery.timeout.ms", "600000"),
    ];
    let mut script = Script::new(2, &options, |facts, asked| facts.usual(asked));
    // 0 and 1 on the one that goes away; 1 stays with it.
    script.facts.topic("t", 1, 3).partitions[2].leader = 2;
    script.send(&Record::new("t").value("v").partition(0));
    script.run(S(1));
    script.take_down(1);
    // The application is quiet until the broker counts as hung.
    script.send(&Record::new("t").value("v").partition(1));
    script.run(S(2));
    for _ in 0..200 {
        script.send(&Record::new("t").value("v"));
        script.run(MS(50));
    }
    script.facts.lead("t", 0, 2);
    script.run(S(3));
    assert_eq!(script.producer.partitions("t").expect("known")[0].leader, Some(2));
    let mut to: BTreeMap<i32, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let sent = script.send(&Record::new("t").value("v"));
        *to.entry(sent.partition).or_default() += 1;
        script.run(MS(100));
    }
    assert!(to.get(&0).is_some_and(|count| *count > 300), "where 1,000 records went: {to:?}");
}

/// docs/design.md: at most three connections are kept, so that a topic that is missing costs no handshake a second.
#[test]
fn a_missing_topic_costs_no_handshake_a_second() {
    let mut seen = Vec::new();
    for nodes in [3, 5, 10] {
        let mut script = Script::new(nodes, &[], |facts, asked| facts.usual(asked));
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v"));
        let _ = script.try_send(&Record::new("missing").value("v"));
        script.run(S(60));
        let (dialled, since) = (script.dialled.len(), script.now);
        script.run(S(60));
        let asked: usize = (1..=nodes).map(|node| script.count(node, ApiKey::Metadata, since)).sum();
        let dialled = script.dialled.len() - dialled;
        seen.push((nodes, dialled, asked));
    }
    assert!(seen.iter().all(|(_, dialled, _)| *dialled < 60), "nodes, handshakes, requests in a minute: {seen:?}");
}

fn with_hint(facts: &Facts, asked: &Asked, leader: i32, epoch: i32) -> Reply {
    let Reply::Produce(mut response) = facts.refuse(asked, 6) else { panic!("not Produce") };
    response.responses[0].partition_responses[0].current_leader =
        LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
    Reply::Produce(response)
}

/// As in Java (KIP-951): what goes to another leader than the last attempt does not wait for the backoff.
#[test]
fn a_hint_is_followed_at_once() {
    for idempotence in ["true", "false"] {
        let options = [("enable.idempotence", idempotence), ("retry.backoff.ms", "900")];
        let mut script = Script::new(2, &options, |facts, asked| facts.usual(asked));
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v"));
        script.run(S(10));
        script.facts.lead("t", 0, 2);
        script.send(&Record::new("t").value("v"));
        script.run(MS(100));
        assert_eq!(script.delivered(), 2, "idempotence: {idempotence}");
    }
}

/// A hint of a node that has left, without an endpoint: its old address is not dialled.
#[test]
fn a_hint_that_names_a_node_that_has_left_is_not_followed() {
    let mut script = Script::new(3, &[("metadata.max.age.ms", "2000")], |facts, asked| facts.usual(asked));
    let topic = script.facts.topic("t", 1, 2);
    topic.partitions[1].leader = 3;
    script.send(&Record::new("t").value("v").partition(0));
    script.send(&Record::new("t").value("v").partition(1));
    script.run(S(5));
    script.facts.brokers.retain(|(id, ..)| *id != 3);
    script.take_down(3);
    script.facts.topics.get_mut("t").expect("t").partitions[1].leader = 3; // its leader is nobody
    script.run(S(10));
    let dialled = script.dialled.iter().filter(|dialled| dialled.port == 9093).count();
    let wrong = Cell::new(0);
    script.answer(move |facts, asked| match &asked.ask {
        Ask::Produce(_) if wrong.get() < 2 => {
            wrong.set(wrong.get() + 1);
            with_hint(facts, asked, 3, 7)
        }
        _ => facts.usual(asked),
    });
    script.send(&Record::new("t").value("v").partition(0));
    script.run(S(20));
    assert_eq!(script.delivered(), 3);
    let again = script.dialled.iter().filter(|dialled| dialled.port == 9093).count();
    assert!(again - dialled <= 3, "dialled {} times", again - dialled);
}

/// docs/design.md: of a topic that was forgotten nothing that is told is older than what was known.
#[test]
fn of_a_forgotten_topic_an_id_that_it_left_is_believed() {
    let options = [("metadata.max.age.ms", "10000"), ("metadata.max.idle.ms", "20000")];
    let mut script = Script::new(1, &options, |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(15));
    script.facts.topic("t", 2, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(5));
    assert_eq!(script.delivered(), 2);
    script.run(S(600));
    script.facts.topic("t", 1, 2);
    assert!(matches!(script.try_send(&Record::new("t").value("v")), Err(SendError::NotReady { .. })), "forgotten");
    script.run(S(1));
    let since = script.now;
    script.send(&Record::new("t").value("v").partition(1));
    while script.delivered() < 3 && script.now.saturating_since(since) < S(60) {
        script.run(MS(10));
    }
    let took = script.now.saturating_since(since);
    assert!(took < S(1), "it took {took:?}: {} metadata requests", script.topics_asked(since).len());
}

/// What is asked after error 45 goes on while the producer closes, and its abort ends it.
#[test]
fn asking_while_closing() {
    for abort in [false, true] {
        let mut line = Line::proven(Speaks::Ids);
        line.leave_in_doubt(4, 4);
        line.script.facts.restart();
        line.run(2);
        line.script.tell(|producer, now| {
            producer.flush(now);
            producer.close(now);
        });
        if abort {
            line.run(70);
            line.script.tell(|producer, now| producer.abort(now));
        }
        line.run(30_000);
        assert!(line.script.producer.is_closed());
        assert_eq!(line.outcomes().len(), 5);
        line.nothing_is_doubled();
        if !abort {
            line.all_is_well();
        }
        assert!(line.script.events.iter().any(|event| matches!(event, Event::Flushed { .. })));
    }
}

/// `retries` counts attempts, whatever their answers said besides. As in Java.
#[test]
fn attempts_that_were_answered_with_hints_count_too() {
    let epoch = Cell::new(10);
    let mut script = Script::new(2, &[("retries", "3")], move |facts, asked| match &asked.ask {
        Ask::Produce(_) => {
            epoch.set(epoch.get() + 1);
            with_hint(facts, asked, 3 - asked.node, epoch.get())
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(10));
    let asked = script.asks().filter(|asked| asked.api == ApiKey::Produce).count();
    assert!(asked <= 4, "{asked} requests in 10 s; failed: {}", script.failed());
}

/// Fewer partitions, and more again, without topic ids.
#[test]
fn partitions_that_go_and_come_again() {
    for idempotence in ["true", "false"] {
        let mut line =
            Line::new(1, Speaks::NoIds, &[("enable.idempotence", idempotence), ("metadata.max.age.ms", "500")]);
        for _ in 0..3 {
            let sent = line.script.delivered();
            line.put_to(1, 3);
            line.run(2000);
            assert_eq!(line.script.delivered(), sent + 3);
            line.script.facts.topic("t", 1, 1);
            line.script.facts.logs.clear();
            line.put_to(0, 1);
            line.run(8000);
            assert_eq!(line.script.producer.partitions("t").expect("known").len(), 1);
            line.script.facts.topic("t", 1, 2);
            line.run(3000);
        }
        assert_eq!(line.script.failed(), 0);
    }
}

/// Without idempotence: created anew while records are on the wire.
#[test]
fn created_anew_without_idempotence() {
    for (acks, in_flight) in [("1", "1"), ("1", "5"), ("all", "1"), ("0", "5")] {
        for speaks in crate::line::ALL {
            let options =
                [("enable.idempotence", "false"), ("acks", acks), ("max.in.flight.requests.per.connection", in_flight)];
            let mut line = Line::new(2, speaks, &options).begun();
            line.script.answer(Facts::hold_produce);
            line.put(3);
            line.run(20);
            line.script.facts.topic("t", 2, 1).partitions[0].leader = 2;
            line.script.facts.logs.clear();
            line.script.answer(|facts, asked| facts.usual(asked));
            for held in line.script.held() {
                let reply = line.script.facts.usual(&held);
                line.script.reply(held.number, reply);
            }
            line.run(10_000);
            line.put(3);
            line.run(10_000);
            assert_eq!(line.script.failed(), 0, "{acks} {in_flight} {speaks:?}");
            assert_eq!(line.script.delivered(), 7, "{acks} {in_flight} {speaks:?}");
            if acks != "0" && in_flight == "1" {
                assert!(line.log().is_sorted(), "{acks} {in_flight} {speaks:?}: {:?}", line.log());
            }
        }
    }
}

/// Whoever was told that the topic is ready has `max.block.ms` to send.
#[test]
fn who_was_told_has_time_to_send() {
    let options = [("metadata.max.idle.ms", "5000"), ("metadata.max.age.ms", "1000"), ("max.block.ms", "60000")];
    let mut script = Script::new(1, &options, |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(S(1));
    assert!(script.events.iter().any(|event| matches!(event, Event::TopicReady { .. })));
    script.run(S(55));
    script.try_send(&Record::new("t").value("v")).expect("there was time");
}

/// A flush, a partitioner, an explicit partition use a topic that is to be forgotten.
#[test]
fn what_is_in_use_is_not_forgotten() {
    let options = [("metadata.max.idle.ms", "5000"), ("metadata.max.age.ms", "1000"), ("linger.ms", "20000")];
    for explicit in [false, true] {
        let mut script = Script::new(1, &options, |facts, asked| facts.usual(asked));
        script.facts.topic("t", 1, 2);
        let record = Record::new("t").value("v");
        let record = if explicit { record.partition(1) } else { record };
        script.send(&record);
        script.run(S(15));
        script.try_send(&record).expect("a record lingers: it is in use");
        script.tell(|producer, now| producer.flush(now));
        script.run(S(1));
        assert_eq!(script.delivered(), 2);
        script.run(S(10));
        assert!(matches!(script.try_send(&record), Err(SendError::NotReady { .. })));
        let since = script.now;
        script.run(MS(50));
        assert_eq!(script.count(1, ApiKey::Metadata, since), 1, "asked at once");
        script.try_send(&record).expect("looked at anew");
    }
}

/// Epochs are used up while batches are in doubt.
#[test]
fn a_producer_id_is_renewed_while_batches_are_in_doubt() {
    for speaks in crate::line::ALL {
        let given = Cell::new(0);
        let mut line = Line::new(2, speaks, &[]);
        line.script.facts.topics.get_mut("t").expect("t").partitions[1].leader = 2;
        line.script.answer(move |facts, asked| match facts.usual(asked) {
            Reply::InitProducerId(response) => {
                given.set(given.get() + 1);
                Reply::InitProducerId(response.with_producer_epoch(if given.get() == 1 { i16::MAX } else { 0 }))
            }
            reply => reply,
        });
        let mut line = line.begun();
        // One is refused for good in the other partition: the epochs are over.
        line.leave_in_doubt(3, 2);
        line.script.answer(|facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => Reply::After(MS(3000), Box::new(facts.usual(asked))),
            Ask::Produce(_) if asked.node == 2 => facts.refuse(asked, 87),
            _ => facts.usual(asked),
        });
        line.put_to(1, 1);
        line.put(4);
        line.run(15_000);
        assert_eq!(line.log(), [0, 1, 2, 3, 5, 6, 7, 8], "{speaks:?}");
        line.nothing_is_doubled();
        assert_eq!((line.script.delivered(), line.script.failed()), (8, 1), "{speaks:?}");
    }
}

/// The clock jumps by an hour while an answer is in the socket, and goes back.
#[test]
fn the_clock_jumps() {
    let mut script = Script::new(1, &[], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(1));
    script.run(S(3600));
    script.send(&Record::new("t").value("v"));
    let back = script.now;
    script.run(MS(20));
    script.now = milena::Instant::ZERO;
    script.try_send(&Record::new("t").value("v")).expect("it is known");
    script.now = back + MS(30);
    script.run(S(1));
    assert_eq!(script.delivered(), 3);
    let asked = script.asks().count();
    assert!(asked < 60, "{asked} requests");
}

/// An explicit partition that does not exist, by an application that sends again whenever it is told to.
#[test]
fn a_partition_that_does_not_exist_is_asked_for_with_a_backoff() {
    let mut script = Script::new(3, &[], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(5));
    let since = script.now;
    let mut seen = script.events.len();
    let _ = script.try_send(&Record::new("t").value("v").partition(7));
    for _ in 0..6000 {
        script.run(MS(10));
        let news = script.events[seen..].iter().any(|event| matches!(event, Event::TopicReady { .. }));
        seen = script.events.len();
        if news {
            assert!(matches!(
                script.try_send(&Record::new("t").value("v").partition(7)),
                Err(SendError::NotReady { .. })
            ));
        }
    }
    let asked: usize = (1..=3).map(|node| script.count(node, ApiKey::Metadata, since)).sum();
    assert!((20..100).contains(&asked), "{asked} in a minute");
}

/// A topic is created anew, and brokers hear of it one after the other: the leader refuses each id for a while, and so many of three
/// servers still tell the old one. Nothing is ever written meanwhile, so nothing is in doubt.
fn created_anew_and_heard_of_late(behind: &'static [i32], millis: u64) {
    let mut line = Line::new(3, Speaks::Ids, &[("delivery.timeout.ms", "60000")]).begun();
    line.script.facts.topic("t", 2, 2);
    let until = line.now() + MS(millis);
    line.script.answer(move |facts, asked| match &asked.ask {
        Ask::Produce(_) if asked.at < until => facts.refuse(asked, 100),
        Ask::Metadata(_) if asked.at < until && behind.contains(&asked.node) => {
            let Reply::Metadata(mut response) = facts.usual(asked) else { panic!("not metadata") };
            for topic in &mut response.topics {
                topic.topic_id = crate::script::id(1);
            }
            Reply::Metadata(response)
        }
        _ => facts.usual(asked),
    });
    line.put(3);
    line.run(40_000);
    assert_eq!(line.log(), [1, 2, 3], "{behind:?} for {millis} ms: {:?}", line.outcomes());
    assert_eq!(line.outcomes(), [Ok(()); 4], "{behind:?} for {millis} ms");
}

#[test]
fn created_anew_and_two_of_three_are_behind_for_2_s() {
    created_anew_and_heard_of_late(&[1, 3], 2000);
}

#[test]
fn created_anew_and_two_of_three_are_behind_for_3_s() {
    created_anew_and_heard_of_late(&[1, 3], 3000);
}

#[test]
fn created_anew_and_two_of_three_are_behind_for_5_s() {
    created_anew_and_heard_of_late(&[1, 3], 5000);
}

#[test]
fn created_anew_and_one_of_three_is_behind_for_5_s() {
    created_anew_and_heard_of_late(&[1], 5000);
}

#[test]
fn created_anew_and_one_of_three_is_behind_for_10_s() {
    created_anew_and_heard_of_late(&[1], 10_000);
}

/// Where one request is in flight at a time, what is behind a batch in doubt is asked for, too.
#[test]
fn asking_with_one_request_in_flight() {
    for speaks in crate::line::ALL {
        let mut line = Line::new(1, speaks, &[("max.in.flight.requests.per.connection", "1")]).begun();
        for _ in 0..3 {
            line.leave_in_doubt(1, 1);
            line.script.facts.restart();
            line.put(4);
            line.run(3000);
        }
        line.all_is_well();
    }
}

/// An idle producer: connections are closed, the topic is forgotten; it wakes, again and again.
#[test]
fn an_idle_producer_wakes() {
    for (idempotence, acks) in [("true", "all"), ("false", "1"), ("false", "0")] {
        let options = [
            ("enable.idempotence", idempotence),
            ("acks", acks),
            ("connections.max.idle.ms", "3000"),
            ("metadata.max.idle.ms", "5000"),
            ("metadata.max.age.ms", "20000"),
        ];
        let mut script = Script::new(3, &options, |facts, asked| facts.usual(asked));
        script.facts.topic("t", 1, 3);
        for n in 1..=50 {
            script.send(&Record::new("t").value("v"));
            script.run(S(2) + MS(700 * n));
            assert_eq!(script.delivered() as u64, n, "{acks}");
        }
        let span = script.now.saturating_since(milena::Instant::ZERO).as_secs() as usize;
        let failures = script.events.iter().filter(|event| matches!(event, Event::ConnectionFailed { .. })).count();
        assert_eq!(failures, 0);
        assert!(script.asks().count() < span, "{} requests in {span} s", script.asks().count());
    }
}

/// Epochs that go back after the cluster had to be found anew, while records wait; then a server that is ahead.
#[test]
fn epochs_that_go_back_while_records_wait() {
    for speaks in crate::line::ALL {
        let mut line = Line::new(2, speaks, &[]);
        line.script.facts.topics.get_mut("t").expect("t").partitions[0].epoch = 50;
        let mut line = line.begun();
        line.script.take_down(1);
        line.script.take_down(2);
        line.put(3);
        line.run(3000);
        line.script.facts.topics.get_mut("t").expect("t").partitions[0].epoch = 3;
        line.script.facts.topics.get_mut("t").expect("t").partitions[0].leader = 2;
        line.script.server(1).door = crate::script::Door::Open;
        line.script.server(2).door = crate::script::Door::Open;
        let since = line.now();
        line.run(4000);
        line.all_is_well();
        assert!(line.script.count(2, ApiKey::Produce, since) >= 1);
    }
}

/// A cluster whose leaders move, told by hints, is well: `bootstrap.servers` that are no brokers need not be asked.
#[test]
fn hints_that_metadata_confirm_make_no_server_useless() {
    let mut script = Script::new(3, &[], |facts, asked| facts.usual(asked));
    // The third is a door to the others only.
    script.facts.brokers.retain(|(id, ..)| *id != 3);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(S(5));
    let since = script.now;
    for n in 0..40 {
        script.facts.lead("t", 0, 1 + n % 2);
        script.send(&Record::new("t").value("v"));
        script.run(S(5));
    }
    assert_eq!(script.delivered(), 41);
    let dialled = script.dialled.iter().filter(|dialled| dialled.at >= since && dialled.port == 9093).count();
    let asked = script.count(3, ApiKey::Metadata, since);
    assert!(asked <= 2, "asked {asked} times, dialled {dialled} times");
}

/// A server that says again and again that the cluster is to be found anew is not hammered, and records arrive.
#[test]
fn a_server_that_wants_to_be_found_anew_again_and_again() {
    for strategy in ["rebootstrap", "none"] {
        let options = [("metadata.recovery.strategy", strategy), ("metadata.max.age.ms", "1000")];
        let mut script = Script::new(3, &options, |facts, asked| match &asked.ask {
            Ask::Metadata(_) if asked.node != 2 => {
                Reply::Metadata(kafka_protocol::messages::MetadataResponse::default().with_error_code(129))
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        for n in 1..=60 {
            script.send(&Record::new("t").value("v"));
            script.run(S(1));
            assert_eq!(script.delivered(), n);
        }
        let asked: usize = (1..=3).map(|node| script.count(node, ApiKey::Metadata, milena::Instant::ZERO)).sum();
        let dialled = script.dialled.len();
        assert!(asked < 200 && dialled < 150, "{strategy}: {asked} requests, {dialled} connections");
    }
}
