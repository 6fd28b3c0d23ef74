//! What is in a request: which batches, how many, of which size, and what stays out.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use milena::Record;
use milena::cluster::Request;

use crate::script::{Ask, Asked, Facts, Script};

/// The sizes of the batches in a request.
fn sizes(asked: &Asked) -> Vec<usize> {
    let Ask::Produce(request) = &asked.ask else { return Vec::new() };
    let data = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    data.map(|data| data.records.as_ref().map_or(0, |batch| batch.len())).collect()
}

/// After a batch that a broker found too large they are smaller, and each one that is taken lets the next be larger by a 64th.
#[test]
fn batches_grow_again_after_one_was_too_large() {
    let strict = Rc::new(Cell::new(true));
    let is_strict = Rc::clone(&strict);
    let mut script = Script::new(1, &[("linger.ms", "1000"), ("batch.size", "10000")], move |facts, asked| {
        if is_strict.get() && sizes(asked).iter().any(|size| *size > 6000) {
            return facts.refuse(asked, 10);
        }
        facts.usual(asked)
    });
    script.facts.topic("t", 1, 1);
    let value = [b'v'; 100];
    let send = |script: &mut Script, records: usize| {
        for _ in 0..records {
            script.send(&Record::new("t").value(&value).partition(0));
        }
    };
    send(&mut script, 150);
    script.tell(|producer, now| producer.flush(now));
    script.run(Duration::from_secs(2));
    assert_eq!(script.delivered(), 150);
    strict.set(false);
    let since = script.now;
    for _ in 0..100 {
        send(&mut script, 40);
        script.run(Duration::from_millis(20));
    }
    let sent: Vec<usize> = script.asks().filter(|asked| asked.at > since).flat_map(sizes).collect();
    assert!((3000..6000).contains(&sent[0]), "{sent:?}");
    let full = sent.iter().position(|size| *size > 9800).expect("they get as large as they were");
    let expected = (9800.0 / sent[0] as f64).ln() * 64.0;
    assert!((full as f64 - expected).abs() < 8.0, "{full} and not {expected} of {sent:?}");
}

/// A batch that is no larger than `batch.size` is halved.
#[test]
fn a_batch_of_just_batch_size_that_is_too_large_is_split() {
    let send = |size: usize| {
        let batch_size = size.to_string();
        let options = [("linger.ms", "1000"), ("batch.size", &*batch_size), ("max.request.size", "100000")];
        let mut script = Script::new(1, &options, move |facts, asked| {
            let is_large = sizes(asked).iter().any(|it| *it >= size);
            if is_large { facts.refuse(asked, 10) } else { facts.usual(asked) }
        });
        script.facts.topic("t", 1, 1);
        let value = [b'v'; 100];
        for _ in 0..4 {
            script.send(&Record::new("t").value(&value).partition(0));
        }
        script.run(Duration::from_secs(3));
        script
    };
    let sent = send(50_000).asks().flat_map(sizes).collect::<Vec<_>>();
    let script = send(sent[0]);
    assert_eq!(script.delivered(), 4);
    assert_eq!((sent.len(), script.asks().flat_map(sizes).next()), (1, Some(sent[0])));
    assert_eq!(script.producer.stats().splits, 1);
}

#[test]
fn batches_of_many_partitions_leave_together() {
    let options = [("linger.ms", "1000"), ("max.in.flight.requests.per.connection", "1")];
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 8);
    script.facts.topic("u", 2, 8);
    script.send(&Record::new("t").value("v").partition(0));
    script.send(&Record::new("u").value("v").partition(0));
    script.run(Duration::from_secs(2));
    let since = script.now;
    for partition in 0..8 {
        script.send(&Record::new("t").value("v").partition(partition));
        script.send(&Record::new("u").value("v").partition(partition));
    }
    script.run(Duration::from_millis(1900));
    let sent: Vec<usize> = script.asks().filter(|asked| asked.at > since).map(|asked| sizes(asked).len()).collect();
    assert_eq!((script.delivered(), sent), (18, vec![1, 15]), "all that became due while one was on its way");
}

#[test]
fn a_broker_that_takes_ids_alone_gets_nothing_by_name() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.versions = script.facts.versions.with(Request::Produce, 13, 13).with(Request::Metadata, 0, 9);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(Duration::from_secs(5));
    assert_eq!((script.count(1, ApiKey::Produce, milena::Instant::ZERO), script.delivered()), (0, 0));
}

#[test]
fn a_broker_for_which_nothing_is_left_is_not_dialled_on() {
    let options = [("delivery.timeout.ms", "5000"), ("request.timeout.ms", "4000")];
    let mut script = Script::new(2, &options, Facts::usual);
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    for partition in 0..2 {
        script.send(&Record::new("t").value("v").partition(partition));
    }
    script.run(Duration::from_secs(1));
    script.take_down(2);
    script.send(&Record::new("t").value("v").partition(1));
    script.run(Duration::from_secs(6));
    assert_eq!(script.failed(), 1);
    let before = script.dialled.len();
    script.run(Duration::from_secs(60));
    assert!(script.dialled.len() <= before + 1, "{:?}", &script.dialled[before..]);
}

#[test]
fn zstd_is_sent_from_the_version_on_in_which_brokers_take_it() {
    for (version, codec) in [(6, 0), (7, 4), (8, 4)] {
        let mut script = Script::new(1, &[("compression.type", "zstd")], Facts::usual);
        script.facts.limit(version, 9, 4);
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value(&[b'v'; 1000]));
        script.run(Duration::from_secs(1));
        assert_eq!(script.delivered(), 1);
        let batches = script.asks().filter_map(|asked| match &asked.ask {
            Ask::Produce(request) => request.topic_data[0].partition_data[0].records.clone(),
            _ => None,
        });
        // The lowest bits of the attributes say what the records are compressed by.
        assert_eq!(batches.map(|batch| batch[22] & 7).collect::<Vec<_>>(), [codec], "version {version}");
    }
}
