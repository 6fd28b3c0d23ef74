//! No peer makes a call loop, work is in proportion to its input, memory is bounded and found again.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use milena::{ConnId, Event, Output, Record, RoundRobinPartitioner, SendError};

use crate::logged::lines;
use crate::script::{Ask, Facts, Reply, Script, id, text};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn identity(producer_id: i64, epoch: i16) -> Reply {
    let response = InitProducerIdResponse::default().with_producer_id(producer_id.into());
    Reply::InitProducerId(response.with_producer_epoch(epoch))
}

#[test]
fn a_producer_id_that_was_used_up_is_refused_and_asked_for_again_with_a_backoff() {
    for partitions in [1, 3] {
        let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) if facts.next_producer_id == 1000 => identity(7, i16::MAX),
            Ask::Produce(_) if facts.next_producer_id == 1000 => facts.refuse(asked, 45),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, partitions);
        for partition in 0..partitions {
            script.send(&Record::new("t").value("v").partition(partition as i32));
        }
        script.run(seconds(20));
        let asked = script.asks().filter(|asked| asked.api == ApiKey::InitProducerId).count();
        assert!((3..60).contains(&asked), "{asked} times in 20 s");
        assert_eq!((script.delivered(), script.failed()), (0, 0));
        script.facts.next_producer_id = 500;
        script.run(seconds(20));
        assert_eq!(script.delivered(), partitions);
    }
}

/// Takes what a connection has to write, as a host with writer threads does: clones, written later.
fn clones(script: &mut Script, conn: ConnId) -> Vec<Bytes> {
    script.producer.transmit(script.now, conn).segments().cloned().collect()
}

/// A producer whose memory is full; all but a little of it is held by a writer whose connection is gone.
fn lent() -> (Script, ConnId, Vec<Bytes>) {
    let options = [
        ("buffer.memory", "131072"),
        ("linger.ms", "100"),
        ("enable.idempotence", "false"),
        ("acks", "1"),
        ("delivery.timeout.ms", "5000"),
        ("request.timeout.ms", "4000"),
        ("connections.max.idle.ms", "-1"),
        ("metadata.max.age.ms", "3000000"),
    ];
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first").partition(0));
    script.run(seconds(1));
    let conn = script.asks().rev().find(|asked| asked.api == ApiKey::Produce).expect("a request").conn;
    script.room(1, Some(0));
    script.send(&Record::new("t").value(&"x".repeat(50_000)).partition(0));
    script.run(millis(200));
    let held = clones(&mut script, conn);
    assert!(held.iter().map(Bytes::len).sum::<usize>() > 40_000);
    script.take_down(1);
    script.run(seconds(7));
    assert!(script.failed() > 0 && script.producer.buffered() > 40_000, "a writer holds it");
    while script.try_send(&Record::new("t").value(&"x".repeat(10_000)).partition(0)).is_ok() {}
    script.events.clear();
    (script, conn, held)
}

fn writable(script: &Script) -> bool {
    script.events.iter().any(|event| matches!(event, Event::Writable { .. }))
}

#[test]
fn memory_that_a_writer_let_go_of_is_found_when_it_says_what_was_written() {
    let (mut script, conn, held) = lent();
    drop(held);
    script.tell(|producer, now| producer.written(now, conn, 10));
    assert!(writable(&script), "{} bytes buffered", script.producer.buffered());
}

#[test]
fn memory_that_a_writer_let_go_of_is_found_by_the_next_send() {
    let (mut script, _, held) = lent();
    drop(held);
    script.try_send(&Record::new("t").value(&"x".repeat(10_000)).partition(0)).expect("there is room again");
}

#[test]
fn memory_that_a_writer_let_go_of_is_found_in_a_moment_without_any_call() {
    let (mut script, _, held) = lent();
    drop(held);
    script.run(millis(100));
    assert!(writable(&script), "{} bytes buffered", script.producer.buffered());
    // And nobody looks for it any more.
    let held = script.wait.map(|at| at.saturating_since(script.now));
    assert!(held.is_none_or(|wait| wait > millis(20)), "{held:?}");
}

#[test]
fn one_record_batches_count_with_all_that_they_take() {
    let options =
        [("batch.size", "0"), ("batch.size.max", "1"), ("buffer.memory", "1048576"), ("delivery.timeout.ms", "600000")];
    let mut script = Script::new(1, &options, |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("").partition(0));
    let mut taken = 1;
    let needed = loop {
        match script.try_send(&Record::new("t").value("").partition(0)) {
            Ok(_) => taken += 1,
            Err(SendError::BufferFull { needed }) => break needed,
            Err(error) => panic!("{error}"),
        }
    };
    // Its chunk, its entry, what the entry points to.
    assert!((1000..1700).contains(&taken), "{taken} batches in a MiB");
    assert!(needed <= 1024 && script.producer.buffered() <= 1 << 20);
    script.run(seconds(1));
    script.answer(Facts::usual);
    let held = script.held()[0].clone();
    let reply = script.facts.usual(&held);
    script.reply(held.number, reply);
    script.run(seconds(60));
    assert_eq!((script.delivered(), script.producer.buffered()), (taken, 0));
    assert!(writable(&script));
}

#[test]
fn what_an_answer_says_of_a_topic_a_second_time_does_not_count() {
    let mut script = Script::new(1, &[("metadata.max.age.ms", "1000")], |facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let mut response = facts.metadata(asked.version, request);
            let mut again = response.topics.clone();
            for (n, topic) in again.iter_mut().enumerate() {
                topic.topic_id = id(1000 + n as u128);
                topic.partitions.truncate(1);
            }
            response.topics.extend(again);
            Reply::Metadata(response)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 3);
    for _ in 0..5 {
        script.send(&Record::new("t").value("v").partition(2));
        script.run(seconds(1));
    }
    assert_eq!((script.delivered(), script.facts.records("t", 2)), (5, 5));
    assert_eq!(script.producer.partitions("t").map(|partitions| partitions.len()), Some(3));
}

/// How long it takes to send so many records, at best.
fn quickest(mut send: impl FnMut() -> Duration) -> Duration {
    (0..7).map(|_| send()).min().expect("several")
}

#[allow(clippy::disallowed_methods, reason = "it is about time that passes")]
fn time(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}

#[test]
fn round_robin_takes_as_long_with_ten_thousand_partitions_as_with_ten() {
    let of = |partitions: usize| {
        let mut script = Script::new(1, &[("linger.ms", "100"), ("batch.size", "1000000")], Facts::usual);
        script.producer.set_partitioner(Box::new(RoundRobinPartitioner::default()));
        script.facts.topic("t", 1, partitions);
        script.send(&Record::new("t").value("v"));
        let now = script.now;
        let mut round = || {
            time(|| (0..1000).for_each(|_| assert!(script.producer.send(now, &Record::new("t").value("v")).is_ok())))
        };
        quickest(&mut round)
    };
    let (few, many) = (of(10), of(10_000));
    assert!(many < few * 30, "{few:?} and {many:?}");
}

#[test]
fn round_robin_goes_on_in_order_over_those_with_a_leader() {
    let mut script = Script::new(1, &[("linger.ms", "0")], Facts::usual);
    script.producer.set_partitioner(Box::new(RoundRobinPartitioner::default()));
    let topic = script.facts.topic("t", 1, 5);
    topic.partitions[1].leader = -1;
    topic.partitions[3].leader = -1;
    let first = script.send(&Record::new("t").value("v")).partition;
    let mut seen = vec![first];
    seen.extend((0..5).map(|_| script.send(&Record::new("t").value("v")).partition));
    assert_eq!(seen[..3].iter().copied().collect::<std::collections::BTreeSet<_>>(), [0, 2, 4].into());
    assert_eq!(seen[..3], seen[3..]);
    script.facts.lead("t", 1, 1);
    script.facts.lead("t", 3, 1);
    script.run(seconds(400));
    let seen: std::collections::BTreeSet<_> =
        (0..5).map(|_| script.send(&Record::new("t").value("v")).partition).collect();
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn the_one_partition_with_a_leader_is_found_as_quickly_among_ten_thousand() {
    let of = |partitions: usize| {
        let options = [("linger.ms", "100"), ("batch.size", "1"), ("buffer.memory", "200000000")];
        let mut script = Script::new(1, &options, Facts::usual);
        let topic = script.facts.topic("t", 1, partitions);
        topic.partitions.iter_mut().skip(1).for_each(|partition| partition.leader = -1);
        script.send(&Record::new("t").value("v"));
        let now = script.now;
        let mut round = || {
            time(|| {
                for _ in 0..300 {
                    assert_eq!(script.producer.send(now, &Record::new("t").value("v")).expect("room").partition, 0);
                }
            })
        };
        quickest(&mut round)
    };
    let (few, many) = (of(10), of(10_000));
    assert!(many < few * 10, "{few:?} and {many:?}");
}

fn count_warnings() -> usize {
    lines().iter().filter(|line| line.starts_with("WARN ")).count()
}

/// How long an answer takes that names so many partitions which were not asked about, after a request with so many batches.
/// And how often that was warned of.
fn unasked(by_id: bool, batches: usize, strangers: usize) -> (Duration, usize) {
    let options = [("linger.ms", "50"), ("max.in.flight.requests.per.connection", "1")];
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    if !by_id {
        script.facts.limit(12, 12, 4);
    }
    for n in 0..batches {
        script.facts.topic(&format!("topic-with-quite-a-long-name-{n}"), n as u128 + 1, 1);
    }
    for n in 0..batches {
        script
            .tell(|producer, now| producer.want_topic(now, &format!("topic-with-quite-a-long-name-{n}")))
            .expect("taken");
    }
    script.run(seconds(2));
    for n in 0..batches {
        script
            .try_send(&Record::new(&format!("topic-with-quite-a-long-name-{n}")).value("v").partition(0))
            .expect("taken");
    }
    script.run(seconds(2));
    let held = script.held().into_iter().find(|asked| asked.api == ApiKey::Produce).expect("a request");
    let answer = |n: usize| {
        let partition = PartitionProduceResponse::default().with_index(1).with_error_code(6);
        let topic = TopicProduceResponse::default().with_partition_responses(vec![partition]);
        if by_id {
            topic.with_topic_id(id(u128::MAX - n as u128))
        } else {
            topic.with_name(text(&format!("topic-with-quite-a-long-name-{}", n % 5000)).into())
        }
    };
    let mut response = ProduceResponse::default().with_responses((0..strangers).map(answer).collect());
    if let Reply::Produce(good) = script.facts.usual(&held) {
        response.responses.extend(good.responses);
    }
    script.answer(Facts::usual);
    script.reply(held.number, Reply::Produce(response));
    count_warnings();
    let took = time(|| script.run(millis(1)));
    let warnings = count_warnings();
    script.run(seconds(5));
    assert_eq!(script.delivered(), batches);
    (took, warnings)
}

#[test]
fn an_answer_about_strangers_costs_what_it_is_long() {
    for by_id in [true, false] {
        let (few, _) = unasked(by_id, 1, 30_000);
        let (many, warnings) = unasked(by_id, 400, 30_000);
        assert!(many < few * 10, "by id: {by_id}: {few:?} and {many:?}");
        assert!(warnings <= 1, "{warnings} warnings");
    }
}

#[test]
fn an_index_of_another_producer_is_no_reason_to_panic() {
    let mut script = Script::new(1, &[], Facts::usual);
    let mut other = Script::new(1, &[], Facts::usual);
    script.facts.topic("t", 1, 1);
    let sent = script.send(&Record::new("t").value("v"));
    assert_eq!(script.producer.topic_name(sent.topic), "t");
    assert_eq!((other.producer.topic_name(sent.topic), other.producer.topic_error(sent.topic)), ("", None));
    assert!(!matches!(other.producer.poll_output(), Output::Event(_)));
}

/// Where a record takes more than half of the memory, the next has to wait for it, and is told when there is room.
#[test]
fn a_record_that_needs_most_of_the_memory_is_told_when_there_is_room() {
    for size in [4200, 5000, 7000] {
        let options = [("batch.size", "1"), ("linger.ms", "0"), ("buffer.memory", "8192")];
        let mut script = Script::new(1, &options, Facts::usual);
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("first").partition(0));
        script.run(seconds(1));
        script.room(1, Some(0));
        script.send(&Record::new("t").value(&"x".repeat(5000)).partition(0));
        let value = "x".repeat(size);
        let error = script.try_send(&Record::new("t").value(&value).partition(0)).expect_err("there is no room");
        assert!(matches!(error, SendError::BufferFull { needed } if needed <= 8192), "{error}");
        script.events.clear();
        script.room(1, None);
        script.run(seconds(1));
        assert!(writable(&script), "{size}");
        script.try_send(&Record::new("t").value(&value).partition(0)).expect("there is room");
        script.run(seconds(1));
        assert_eq!((script.delivered(), script.producer.buffered()), (2, 0));
    }
}
