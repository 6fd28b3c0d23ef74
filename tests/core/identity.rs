//! What a batch knows of its topic, and the rules of order and idempotence that hold whatever happens to topics and leaders.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::produce_response::LeaderIdAndEpoch;
use milena::{DeliveryErrorKind, ErrorCode, Instant, Record};

use crate::line::{Line, Speaks, done_and_lost, done_but, number};
use crate::script::{Ask, Asked, Facts, Reply, id};

/// Metadata as usual, but with this id for `t`, and this many partitions.
fn metadata_with(facts: &mut Facts, asked: &Asked, topic_id: u128, partitions: usize) -> Reply {
    let Reply::Metadata(mut response) = facts.usual(asked) else { panic!("not metadata") };
    for topic in &mut response.topics {
        topic.topic_id = id(topic_id);
        topic.partitions.truncate(partitions);
    }
    Reply::Metadata(response)
}

/// `t` is created anew with another id, and the producer has learnt it.
fn recreate(line: &mut Line, topic_id: u128) {
    line.script.facts.topic("t", topic_id, 2);
    let now = line.script.now;
    line.script.producer.want_topic(now, "t").expect("it runs");
    line.script.wake();
    line.run(300);
}

/// Answers with the topic's previous id so often. Until then nothing is acknowledged.
fn with_the_previous_id(line: &mut Line, times: u32, partitions: usize) {
    let left = Cell::new(times);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Metadata && left.get() > 0 {
            left.set(left.get() - 1);
            return metadata_with(facts, asked, 1, partitions);
        }
        if asked.api == ApiKey::Produce && left.get() > 0 { facts.refuse(asked, 7) } else { facts.usual(asked) }
    });
    let now = line.script.now;
    line.script.producer.want_topic(now, "t").expect("it runs");
    line.script.wake();
}

#[test]
fn the_id_that_a_topic_has_left_doubles_nothing() {
    for (times, speaks) in [(1, Speaks::Ids), (3, Speaks::Ids), (1, Speaks::Names), (3, Speaks::Names)] {
        let mut line = Line::proven(speaks);
        recreate(&mut line, 2);
        line.put(1);
        line.run(200);
        // Two under the new id are appended, and in doubt, while old metadata come.
        line.leave_in_doubt(2, 2);
        with_the_previous_id(&mut line, times, 2);
        line.put(1);
        line.run(4000);
        assert_eq!(line.log(), [1, 2, 3, 4], "{times} times, {speaks:?}");
        assert_eq!(line.outcomes(), [Ok(()); 5]);
        line.nothing_is_doubled();
        let stamps = line.stamps_of(2);
        assert!(stamps.iter().all(|stamp| *stamp == stamps[0]), "one in doubt keeps its stamp: {stamps:?}");
    }
}

#[test]
fn the_id_that_a_topic_has_left_takes_no_partitions_away() {
    let mut line = Line::proven(Speaks::Ids);
    recreate(&mut line, 2);
    line.script.answer(Facts::hold_produce);
    line.put_to(1, 2);
    line.run(20);
    with_the_previous_id(&mut line, 1, 1);
    line.run(300);
    for held in line.script.held() {
        let reply = line.script.facts.usual(&held);
        line.script.reply(held.number, reply);
    }
    line.run(2000);
    assert_eq!(line.outcomes(), [Ok(()); 3]);
    assert_eq!(line.script.facts.numbers("t", 1), [1, 2]);
}

#[test]
fn a_topic_that_went_back_to_an_earlier_id_for_good_is_followed() {
    // As when clients are moved to another cluster, and back.
    let mut line = Line::proven(Speaks::Ids);
    recreate(&mut line, 2);
    line.leave_in_doubt(1, 0);
    line.script.facts.topic("t", 1, 2);
    line.script.facts.logs.clear();
    line.put(1);
    line.run(15_000);
    assert_eq!(line.outcomes().last(), Some(&Ok(())));
    line.nothing_is_doubled();
}

#[test]
fn an_older_id_that_is_learnt_later_is_given_up() {
    for speaks in [Speaks::Ids, Speaks::Names] {
        let mut line = Line::new(2, speaks, &[("metadata.max.age.ms", "1000")]).begun();
        // The topic is known as it is. Then a server that is behind tells an id that it had long ago.
        line.script.answer(|facts, asked| match asked.api {
            ApiKey::Metadata if asked.node == 2 => metadata_with(facts, asked, 77, 2),
            _ => facts.usual(asked),
        });
        for _ in 0..10 {
            line.put(1);
            line.run(2000);
        }
        line.run(3000);
        line.all_is_well();
    }
}

#[test]
fn what_may_stand_under_an_earlier_id_is_not_sent_there_again() {
    let mut line = Line::proven(Speaks::Ids);
    // In doubt under the first id, and written there.
    line.leave_in_doubt(1, 1);
    line.script
        .answer(|facts, asked| if asked.api == ApiKey::Produce { facts.refuse(asked, 7) } else { facts.usual(asked) });
    recreate(&mut line, 2);
    line.script.facts.topics.get_mut("t").expect("it is there").id = id(1);
    line.script.answer(|facts, asked| facts.usual(asked));
    line.put(1);
    line.run(19_000);
    line.nothing_is_doubled();
    assert_eq!(line.outcomes(), [Ok(()), Err(true), Ok(())]);
}

fn with_hint(facts: &Facts, asked: &Asked, leader: i32, epoch: i32) -> Reply {
    let Reply::Produce(mut response) = facts.refuse(asked, 6) else { panic!("a refusal") };
    for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
        partition.current_leader = LeaderIdAndEpoch::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
    }
    Reply::Produce(response)
}

#[test]
fn a_hint_for_the_topic_that_was_says_nothing_of_the_one_that_is() {
    let mut line = Line::new(2, Speaks::Ids, &[]).begun();
    line.script.answer(Facts::hold_produce);
    line.put(1);
    line.run(20);
    recreate(&mut line, 2);
    let held = line.script.held();
    let reply = with_hint(&line.script.facts, &held[0], 2, 58);
    line.script.answer(|facts, asked| facts.usual(asked));
    line.script.reply(held[0].number, reply);
    line.put(1);
    line.run(1000);
    assert_eq!(line.log(), [1, 2]);
    assert_eq!(line.outcomes(), [Ok(()); 3]);
    assert_eq!(line.script.count(2, ApiKey::Produce, Instant::ZERO), 0);
}

#[test]
fn a_hint_that_metadata_contradict_again_and_again_is_given_up() {
    let mut line = Line::new(2, Speaks::Ids, &[]).begun();
    // A broken server: it names a leader in an epoch that there never was.
    let first = Cell::new(true);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && first.replace(false) {
            return with_hint(facts, asked, 2, 58);
        }
        facts.usual(asked)
    });
    // The node that was named says nothing of epochs.
    line.put(1);
    line.run(100);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && asked.node == 2 { facts.refuse(asked, 6) } else { facts.usual(asked) }
    });
    line.run(15_000);
    line.all_is_well();
}

#[test]
fn an_older_hint_and_older_metadata_are_not_believed() {
    let mut line = Line::new(3, Speaks::Ids, &[("metadata.max.age.ms", "500")]).begun();
    for _ in 0..5 {
        line.script.facts.lead("t", 0, 2);
    }
    line.run(1000);
    line.put(1);
    line.run(500);
    let since = line.now();
    // Old metadata say that node 1 leads, and a hint of that time too.
    let hinted = Cell::new(false);
    line.script.answer(move |facts, asked| match asked.api {
        ApiKey::Metadata => {
            let Reply::Metadata(mut response) = facts.usual(asked) else { panic!("not metadata") };
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                (partition.leader_id, partition.leader_epoch) = (1.into(), 3);
            }
            Reply::Metadata(response)
        }
        ApiKey::Produce if !hinted.replace(true) => with_hint(facts, asked, 3, 4),
        _ => facts.usual(asked),
    });
    line.put(3);
    line.run(1500);
    line.all_is_well();
    assert_eq!(line.script.count(1, ApiKey::Produce, since) + line.script.count(3, ApiKey::Produce, since), 0);
}

#[test]
fn after_a_re_creation_one_batch_goes_first() {
    let mut line = Line::proven(Speaks::Ids);
    line.script.answer(Facts::hold_produce);
    line.put(1);
    line.run(20);
    recreate(&mut line, 2);
    // The old topic's answer comes after the new id is known.
    let held = line.script.held();
    let written = {
        let Reply::Produce(mut response) = line.script.facts.refuse(&held[0], 0) else { panic!("an answer") };
        response.responses[0].partition_responses[0].base_offset = 1;
        Reply::Produce(response)
    };
    line.script.reply(held[0].number, written);
    line.run(20);
    let since = line.now();
    line.put(5);
    line.run(200);
    assert_eq!(line.sent_since(since), [2], "one until the new topic has acknowledged something");
    line.script.answer(|facts, asked| facts.usual(asked));
    let held = line.script.held();
    let reply = line.script.facts.usual(&held[0]);
    line.script.reply(held[0].number, reply);
    line.run(1000);
    assert_eq!(line.log(), [2, 3, 4, 5, 6]);
    assert_eq!(line.outcomes(), [Ok(()); 7]);
}

#[test]
fn after_a_re_creation_a_second_batch_does_not_overtake_a_refused_first() {
    let mut line = Line::proven(Speaks::Ids);
    recreate(&mut line, 2);
    let first = Cell::new(true);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && first.replace(false) { facts.refuse(asked, 19) } else { facts.usual(asked) }
    });
    line.put(4);
    line.run(1000);
    assert_eq!(line.log(), [1, 2, 3, 4]);
}

#[test]
fn partitions_that_were_gone_begin_anew_too() {
    let mut line = Line::new(1, Speaks::Ids, &[]);
    line.put_to(1, 1);
    line.run(200);
    line.script.facts.topic("t", 2, 1);
    let now = line.script.now;
    line.script.producer.want_topic(now, "t").expect("it runs");
    line.script.wake();
    line.run(300);
    line.script.facts.topics.get_mut("t").expect("it is there").partitions =
        vec![crate::script::Partition { error: 0, leader: 1, epoch: 0 }; 2];
    line.script.producer.want_topic(line.script.now, "t").expect("it runs");
    line.script.wake();
    line.run(300);
    let first = Cell::new(true);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && first.replace(false) { facts.refuse(asked, 19) } else { facts.usual(asked) }
    });
    line.put_to(1, 3);
    line.run(1000);
    assert_eq!(line.script.facts.numbers("t", 1), [1, 2, 3]);
}

#[test]
fn an_error_of_the_topic_that_was_is_none_of_the_one_that_is() {
    for code in [10, 17, 29, 32, 45, 87, -1] {
        let mut line = Line::proven(Speaks::Ids);
        line.script.answer(Facts::hold_produce);
        line.put(1);
        line.run(20);
        recreate(&mut line, 2);
        line.script.answer(|facts, asked| facts.usual(asked));
        let held = line.script.held();
        let reply = line.script.facts.refuse(&held[0], code);
        line.script.reply(held[0].number, reply);
        line.run(1000);
        assert_eq!(line.outcomes(), [Ok(()); 2], "{code}");
        assert_eq!(line.log(), [1]);
    }
}

#[test]
fn a_proof_of_the_topic_that_was_is_none_of_the_one_that_is() {
    let mut line = Line::proven(Speaks::Ids);
    // 1 is in doubt, 2 is acknowledged: so 1 is written, under the old id.
    line.script.answer(|facts, asked| match number(asked) {
        Some(1) => done_but(facts, asked, 7),
        _ => facts.usual(asked),
    });
    line.put(2);
    line.run(20);
    line.script.facts.topic("t", 2, 2);
    // Under the new id the first attempt is refused, in a way that says nothing.
    let left = Cell::new(2);
    line.script.answer(move |facts, asked| {
        let Ask::Produce(request) = &asked.ask else { return facts.usual(asked) };
        if request.topic_data[0].topic_id == id(2) && left.get() > 0 {
            left.set(left.get() - 1);
            return facts.refuse(asked, 45);
        }
        facts.usual(asked)
    });
    line.run(3000);
    assert_eq!(line.outcomes(), [Ok(()); 3]);
    assert_eq!(line.log(), [1], "where it was said to be");
}

#[test]
fn a_request_goes_by_ids_or_by_names() {
    let mut line = Line::proven(Speaks::Ids);
    // Of the other topic no server tells an id.
    line.script.answer(|facts, asked| {
        let mut reply = facts.usual(asked);
        if let Reply::Metadata(response) = &mut reply {
            for topic in &mut response.topics {
                if topic.name.as_ref().is_some_and(|name| &***name == "u") {
                    topic.topic_id = id(0);
                }
            }
        }
        reply
    });
    line.script.facts.topic("u", 9, 1);
    line.script.send(&Record::new("u").value("000100"));
    line.run(300);
    // Both wait for the same connection: it breaks, and all come together.
    line.script.take_down(1);
    for round in 0..4 {
        line.put(1);
        line.script.send(&Record::new("u").value(&format!("{:06}", 101 + round)));
    }
    line.run(500);
    line.script.server(1).door = crate::script::Door::Open;
    line.run(3000);
    for asked in line.script.asks() {
        let Ask::Produce(request) = &asked.ask else { continue };
        for topic in &request.topic_data {
            assert_eq!(asked.version >= 13, topic.topic_id == id(1), "{topic:?} in version {}", asked.version);
        }
    }
    assert_eq!(line.log(), [0, 1, 2, 3, 4]);
    assert_eq!(line.script.facts.numbers("u", 0), [100, 101, 102, 103, 104]);
}

#[test]
fn by_name_and_by_id_are_told_apart_batch_by_batch() {
    // No id is told yet: the first attempt goes by name, and lands in the topic that there is.
    let mut line = Line::new(1, Speaks::Ids, &[]);
    let told = Rc::new(Cell::new(0));
    let tells = Rc::clone(&told);
    let answers = move |facts: &mut Facts, asked: &Asked| match asked.api {
        ApiKey::Metadata => metadata_with(facts, asked, tells.get(), 2),
        _ => facts.usual(asked),
    };
    line.script.answer(answers.clone());
    line.script.facts.topic("t", 2, 2);
    line.put(1);
    line.run(200);
    let lost = Cell::new(false);
    let (then, name_it) = (answers.clone(), Rc::clone(&told));
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && !lost.replace(true) {
            name_it.set(1); // a server that lags tells the id of the topic before
            return done_and_lost(facts, asked);
        }
        then(facts, asked)
    });
    line.put(1);
    line.run(1000);
    told.set(2);
    line.run(3000);
    line.put(1);
    line.run(3000);
    line.all_is_well();
    line.nothing_is_doubled();
}

// The rules of docs/design.md, one by one.

#[test]
fn rule_1_what_an_old_leader_has_not_answered_goes_to_the_new_one_and_is_in_doubt() {
    let mut line =
        Line::new(2, Speaks::Ids, &[("metadata.max.age.ms", "300"), ("request.timeout.ms", "15000")]).begun();
    // The old leader appends and says nothing; the new one has it not, and refuses it for good.
    line.script.answer(|facts, asked| match (asked.api, asked.node) {
        (ApiKey::Produce, 1) => {
            facts.usual(asked);
            Reply::Hold
        }
        (ApiKey::Produce, _) => facts.refuse(asked, 87),
        _ => facts.usual(asked),
    });
    line.put(1);
    line.run(20);
    line.script.facts.lead("t", 0, 2);
    line.run(2000);
    assert_eq!(line.script.count(2, ApiKey::Produce, Instant::ZERO), 1, "it does not wait for the old leader");
    assert_eq!(line.outcomes(), [Ok(()), Err(true)]);
}

#[test]
fn rule_3_one_batch_goes_first() {
    let mut line = Line::new(1, Speaks::Ids, &[]);
    line.script.answer(Facts::hold_produce);
    line.put(4);
    line.run(200);
    assert_eq!(line.sent_since(Instant::ZERO), [0]);
}

#[test]
fn rule_4_out_of_order_in_doubt_asks_for_no_bump() {
    for speaks in crate::line::ALL {
        let mut line = Line::proven(speaks);
        line.leave_in_doubt(2, 0);
        line.script.answer(
            |facts, asked| if asked.api == ApiKey::Produce { facts.refuse(asked, 45) } else { facts.usual(asked) },
        );
        line.run(10_000);
        assert_eq!(line.script.producer.stats().epoch_bumps, 0);
        line.run(15_000);
        assert!(line.script.producer.stats().epoch_bumps <= 2);
        assert_eq!(line.outcomes(), [Ok(()), Err(true), Err(true)]);
    }
}

#[test]
fn rule_4_out_of_order_behind_a_refused_one_asks_for_no_bump() {
    let mut line = Line::proven(Speaks::Ids);
    let first = Cell::new(true);
    line.script.answer(move |facts, asked| {
        if asked.api == ApiKey::Produce && first.replace(false) { facts.refuse(asked, 19) } else { facts.usual(asked) }
    });
    line.put(4);
    line.run(1000);
    line.all_is_well();
    assert_eq!(line.script.producer.stats().epoch_bumps, 0);
}

#[test]
fn rule_5_parts_of_a_batch_in_doubt_are_in_doubt() {
    let options = [("batch.size", "160"), ("batch.size.max", "160"), ("linger.ms", "5")];
    let mut line = Line::new(1, Speaks::Ids, &options).begun();
    let place = Cell::new(0);
    line.script.answer(move |facts, asked| {
        if asked.api != ApiKey::Produce {
            return facts.usual(asked);
        }
        place.set(place.get() + 1);
        match place.get() {
            1 => done_and_lost(facts, asked),
            2 => facts.refuse(asked, 10),
            _ => facts.refuse(asked, 87),
        }
    });
    line.put(2);
    line.run(3000);
    assert!(line.script.producer.stats().splits > 0);
    let outcomes = line.outcomes();
    assert!(outcomes.len() >= 3 && outcomes[1..].iter().all(|outcome| *outcome == Err(true)), "{outcomes:?}");
}

#[test]
fn rule_5_behind_a_refused_one_is_not_written_by_id_only() {
    for speaks in crate::line::ALL {
        let mut line = Line::proven(speaks);
        // The first is refused for good, what comes behind it is lost.
        line.script.answer(|facts, asked| match number(asked) {
            Some(1) => facts.refuse(asked, 87),
            Some(2) => Reply::Drop,
            _ => facts.usual(asked),
        });
        line.put(2);
        line.run(5);
        line.script.answer(|facts, asked| facts.usual(asked));
        line.run(2000);
        let stamps = line.stamps_of(2);
        let renumbered = stamps.iter().any(|stamp| *stamp != stamps[0]);
        assert_eq!(renumbered, speaks == Speaks::Ids, "{speaks:?}: {stamps:?}");
        if speaks == Speaks::Ids {
            assert_eq!(line.log(), [0, 2]);
            assert_eq!(line.outcomes(), [Ok(()), Err(false), Ok(())]);
        }
    }
}

#[test]
fn rule_6_a_partition_takes_a_new_epoch_when_nothing_of_it_is_open() {
    let mut line = Line::new(1, Speaks::Ids, &[]).begun();
    line.put_to(1, 1);
    line.run(200);
    // One of partition 1 is on the wire while the epoch is bumped for partition 0.
    line.script.answer(|facts, asked| match (number(asked), crate::line::batch(asked)) {
        (Some(3), _) => facts.refuse(asked, 87),
        (_, Some((1, ..))) => Reply::Hold,
        _ => facts.usual(asked),
    });
    line.put_to(0, 1);
    line.run(20);
    line.put_to(0, 1); // 3: refused
    line.put_to(1, 1); // 4: held
    line.run(200);
    assert_eq!(line.script.producer.stats().epoch_bumps, 1);
    line.put_to(1, 2);
    line.run(500);
    assert_eq!(line.stamps_of(4).len(), 1);
    assert!(line.stamps_of(5).is_empty(), "it waits for what is on the wire");
    let held = line.script.held();
    let reply = line.script.facts.usual(&held[0]);
    line.script.answer(|facts, asked| facts.usual(asked));
    line.script.reply(held[0].number, reply);
    line.run(1000);
    assert_eq!(line.script.facts.numbers("t", 1), [1, 4, 5, 6]);
    assert_eq!((line.stamps_of(5)[0].epoch, line.stamps_of(5)[0].sequence), (1, 0));
}

#[test]
fn rule_6_out_of_order_does_not_count_against_retries() {
    let mut line = Line::new(1, Speaks::Ids, &[("retries", "1")]).begun();
    let (first, second) = (Cell::new(true), Cell::new(0));
    line.script.answer(move |facts, asked| match number(asked) {
        Some(1) if first.replace(false) => facts.refuse(asked, 19),
        Some(2) => {
            second.set(second.get() + 1);
            // Out of order at first, as 1 is missing; then once without enough replicas.
            if second.get() == 2 { facts.refuse(asked, 19) } else { facts.usual(asked) }
        }
        _ => facts.usual(asked),
    });
    line.put(2);
    line.run(2000);
    line.all_is_well();
}

#[test]
fn rule_7_what_was_in_doubt_under_an_earlier_id_stays_possibly_written() {
    let mut line = Line::proven(Speaks::Ids);
    line.leave_in_doubt(1, 1);
    line.script.facts.topic("t", 2, 2);
    line.script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(request) if request.topic_data[0].topic_id == id(2) => facts.refuse(asked, 87),
        _ => facts.usual(asked),
    });
    line.run(3000);
    assert_eq!(line.outcomes(), [Ok(()), Err(true)]);
}

#[test]
fn rule_7_what_is_in_doubt_in_a_partition_that_is_gone_is_possibly_written() {
    let mut line = Line::new(1, Speaks::Ids, &[]);
    line.put_to(1, 1);
    line.run(200);
    line.script.answer(|facts, asked| match asked.api {
        ApiKey::Produce if facts.topics["t"].id == id(1) => {
            let reply = done_and_lost(facts, asked);
            facts.topic("t", 2, 1);
            reply
        }
        _ => facts.usual(asked),
    });
    line.put_to(1, 1);
    line.run(3000);
    assert_eq!(line.outcomes(), [Ok(()), Err(true)]);
    let kind = line.script.deliveries()[1].outcome.clone().expect_err("it failed").kind;
    assert_eq!(kind, DeliveryErrorKind::PartitionGone);
}

#[test]
fn rule_7_by_name_one_in_doubt_keeps_its_number() {
    let mut line = Line::proven(Speaks::Names);
    // By name it lands in the new topic, before that is known; its answer is lost.
    line.leave_in_doubt_with(1, |_, facts| {
        facts.topic("t", 2, 2);
        true
    });
    // It is not sent again with success before the new id is known.
    line.script.answer(|facts, asked| match asked.api {
        ApiKey::Produce => facts.refuse(asked, 7),
        _ => facts.usual(asked),
    });
    recreate(&mut line, 2);
    line.script.answer(|facts, asked| facts.usual(asked));
    line.run(2000);
    assert_eq!(line.log(), [1]);
    assert_eq!(line.outcomes(), [Ok(()), Ok(())]);
    let stamps = line.stamps_of(1);
    assert!(stamps.iter().all(|stamp| *stamp == stamps[0]), "{stamps:?}");
}

#[test]
fn rule_7_a_broker_that_does_not_know_the_producer_has_nothing_of_what_is_in_doubt() {
    // Kafka before 2.5, and a topic that is created anew: no ids tell that, but its log takes only a first sequence.
    for refused in [false, true] {
        let mut line = Line::proven(Speaks::NoIds);
        line.script.facts.unknown_begin_with_0 = true;
        line.leave_in_doubt(4, 2);
        line.script.facts.topic("t", 2, 2);
        line.script.answer(move |facts, asked| match crate::line::batch(asked) {
            Some((_, Some(1 | 3), stamp)) if refused && stamp.epoch > 0 => facts.refuse(asked, 87),
            _ => facts.usual(asked),
        });
        line.put(1);
        line.run(4000);
        line.nothing_is_doubled();
        if refused {
            assert_eq!(line.outcomes(), [Ok(()), Err(true), Ok(()), Err(true), Ok(()), Ok(())]);
            assert_eq!(line.log(), [2, 4, 5]);
        } else {
            assert_eq!(line.outcomes(), [Ok(()); 6]);
            assert_eq!(line.log(), [1, 2, 3, 4, 5]);
        }
    }
}

#[test]
fn rule_8_an_old_epoch_fails_what_is_in_doubt_at_once() {
    let mut line = Line::proven(Speaks::Ids);
    line.leave_in_doubt(1, 1);
    line.script
        .answer(|facts, asked| if asked.api == ApiKey::Produce { facts.refuse(asked, 47) } else { facts.usual(asked) });
    line.script.run(Duration::from_millis(500));
    assert_eq!(line.outcomes(), [Ok(()), Err(true)]);
    let kind = line.script.deliveries()[1].outcome.clone().expect_err("it failed").kind;
    assert_eq!(kind, DeliveryErrorKind::Refused(ErrorCode::new(47)));
}
