//! Values that are not copied: `buffer.memory`, whoever holds them, and all that may become of a batch.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use milena::{Event, Record, SendError};

use crate::script::{Ask, Facts, Reply, Script, Stamp};

const MEMORY: usize = 4 << 20;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn value(length: usize, seed: u32) -> Bytes {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 11) as u8).collect()
}

/// A producer that knows a topic of one partition, on a broker that answers nothing.
fn silent(options: &[(&str, &str)]) -> Script {
    let memory = MEMORY.to_string();
    let all =
        [&[("buffer.memory", &*memory), ("delivery.timeout.ms", "600000"), ("request.timeout.ms", "30000")], options];
    let mut script = Script::new(1, &all.concat(), |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(seconds(1));
    script.answer(Facts::usual);
    let held = script.held()[0].clone();
    let reply = script.facts.usual(&held);
    script.reply(held.number, reply);
    script.run(seconds(1));
    assert_eq!((script.delivered(), script.producer.buffered()), (1, 0));
    script
}

/// The records of the batches that were asked to be written, one batch an entry.
fn written(script: &Script) -> Vec<Bytes> {
    let produces = script.asks().filter_map(|asked| match &asked.ask {
        Ask::Produce(request) => Some(request.topic_data[0].partition_data[0].records.clone().expect("a batch")),
        _ => None,
    });
    produces.collect()
}

fn values(batch: &Bytes) -> Vec<Bytes> {
    let read = kafka_protocol::records::RecordBatchDecoder::decode(&mut batch.clone()).expect("a batch");
    read.records.into_iter().filter_map(|record| record.value).collect()
}

#[test]
fn what_is_shared_counts_until_it_is_delivered_and_not_longer() {
    let mut script = silent(&[]);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    let kept: Vec<Bytes> = (0..5).map(|n| value(500_000, n)).collect();
    for value in &kept {
        script.send(&Record::new("t").value_bytes(value));
    }
    let buffered = script.producer.buffered();
    assert!((2_500_000..2_520_000).contains(&buffered), "{buffered}");
    let mut taken = 5;
    let needed = loop {
        match script.try_send(&Record::new("t").value_bytes(&kept[0])) {
            Ok(_) => taken += 1,
            Err(SendError::BufferFull { needed }) => break needed,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(taken == 8 && needed >= 400_000 && script.producer.buffered() <= MEMORY, "{taken}, {needed}");
    script.answer(Facts::usual);
    script.run(seconds(1));
    while let Some(held) = script.held().first().cloned() {
        let reply = script.facts.usual(&held);
        script.reply(held.number, reply);
        script.run(seconds(1));
    }
    // Though all of it is still held here.
    assert_eq!((script.delivered(), script.producer.buffered()), (1 + taken, 0));
    assert!(script.events.iter().any(|event| matches!(event, Event::Writable { .. })));
    let sent: Vec<Bytes> = written(&script).iter().flat_map(values).skip(1).collect();
    assert!(sent[..5] == kept[..] && sent.len() == taken);
}

#[test]
fn what_is_written_is_the_memory_that_was_handed_over() {
    let mut script = silent(&[]);
    script.room(1, Some(0));
    let large = value(100_000, 1);
    script.send(&Record::new("t").value_bytes(&large));
    script.run(millis(100));
    let conn = script.asks().rev().find(|asked| asked.api == ApiKey::Produce).expect("a request").conn;
    let segments: Vec<Bytes> = script.producer.transmit(script.now, conn).segments().cloned().collect();
    assert!(segments.iter().any(|segment| segment.as_ptr() == large.as_ptr() && segment.len() == large.len()));
    drop(segments);
    script.room(1, None);
    script.run(seconds(1));
    assert_eq!(script.delivered(), 2);
    assert_eq!(values(&written(&script)[1]), [large]);
}

#[test]
fn a_batch_that_is_sent_again_is_the_same() {
    let mut script = silent(&[("linger.ms", "50"), ("batch.size", "400000"), ("batch.size.max", "400000")]);
    let mut refused = false;
    script.answer(move |facts, asked| match &asked.ask {
        Ask::Produce(_) if !std::mem::replace(&mut refused, true) => facts.refuse(asked, 7),
        _ => facts.usual(asked),
    });
    let large = value(100_000, 1);
    script.send(&Record::new("t").value_bytes(&large));
    script.send(&Record::new("t").value("small"));
    script.run(seconds(5));
    assert_eq!((script.delivered(), script.producer.buffered()), (3, 0));
    let batches = written(&script);
    assert_eq!(batches.len(), 3);
    assert!(batches[1] == batches[2] && values(&batches[1]) == [large, Bytes::from("small")]);
}

#[test]
fn a_batch_that_is_split_keeps_order_and_gives_all_back() {
    let mut script = silent(&[("linger.ms", "50"), ("batch.size", "400000"), ("batch.size.max", "400000")]);
    script.answer(|facts, asked| match &asked.ask {
        // MESSAGE_TOO_LARGE for whatever has more than one record.
        Ask::Produce(request) => {
            let batch = request.topic_data[0].partition_data[0].records.clone().expect("a batch");
            if Stamp::of(&batch).records > 1 { facts.refuse(asked, 10) } else { facts.usual(asked) }
        }
        _ => facts.usual(asked),
    });
    let sent: Vec<Bytes> = (0..6).map(|n| value(if n % 2 == 0 { 90_000 } else { 50 }, n)).collect();
    for value in &sent {
        script.send(&Record::new("t").value_bytes(value));
    }
    script.run(seconds(20));
    assert_eq!((script.delivered(), script.failed(), script.producer.buffered()), (7, 0, 0));
    assert!(script.producer.stats().splits > 0);
    let alone: Vec<Bytes> = written(&script).iter().map(values).filter(|all| all.len() == 1).flatten().collect();
    assert_eq!(alone[1..], sent);
}

#[test]
fn records_that_expire_or_are_aborted_give_all_back() {
    for abort in [false, true] {
        let mut script = silent(&[("delivery.timeout.ms", "40000")]);
        script.answer(|facts, asked| match &asked.ask {
            Ask::Produce(_) => Reply::Hold,
            _ => facts.usual(asked),
        });
        let large = value(100_000, 1);
        for _ in 0..30 {
            script.send(&Record::new("t").value_bytes(&large));
        }
        script.run(seconds(1));
        assert!(script.producer.buffered() > 3_000_000);
        if abort {
            script.tell(|producer, now| producer.abort(now));
            script.run(seconds(1));
        } else {
            script.run(seconds(60));
        }
        assert_eq!((script.failed(), script.producer.buffered()), (30, 0), "abort: {abort}");
    }
}

#[test]
fn a_writer_that_still_holds_it_keeps_it_charged_until_it_lets_go() {
    let options = [
        ("delivery.timeout.ms", "5000"),
        ("request.timeout.ms", "4000"),
        ("enable.idempotence", "false"),
        ("acks", "1"),
    ];
    let mut script = silent(&options);
    let conn = script.asks().rev().find(|asked| asked.api == ApiKey::Produce).expect("a request").conn;
    script.room(1, Some(0));
    let large = value(3_000_000, 1);
    let options = Record::new("t").value_bytes(&large);
    let error = script.try_send(&options).expect_err("a request of a MiB at most");
    assert!(matches!(error, SendError::TooLarge { .. }), "{error}");
    let large = value(900_000, 1);
    for _ in 0..3 {
        script.send(&Record::new("t").value_bytes(&large));
    }
    script.run(millis(200));
    let held: Vec<Bytes> = script.producer.transmit(script.now, conn).segments().cloned().collect();
    let of_values = held.iter().filter(|segment| segment.as_ptr() == large.as_ptr()).count();
    assert!(of_values > 0);
    script.take_down(1);
    script.run(seconds(8));
    assert_eq!(script.failed(), 3);
    let buffered = script.producer.buffered();
    assert!(buffered >= 900_000 * of_values && buffered < 900_000 * of_values + 5000, "{buffered}, {of_values}");
    drop(held);
    script.tell(|producer, now| producer.written(now, conn, 1));
    assert_eq!(script.producer.buffered(), 0);
}
