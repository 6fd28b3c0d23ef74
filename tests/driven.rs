//! The machine driven by hand: no socket, no clock, time given as numbers.

#![cfg(feature = "cluster")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests look at what they are about")]

mod desk;

use std::time::Duration;

use bytes::Buf;
use desk::Desk;
use milena::cluster::{Request, Settings};
use milena::{
    Cause, Choice, DeliveryErrorKind, Event, Header, Input, Instant, Partitioner, Record, SendError, TopicView,
    UnixTime,
};

fn sends(count: usize, value: &str) -> impl Iterator<Item = Record<'_>> {
    core::iter::repeat_n(Record::new("t").value(value).partition(0), count)
}

#[test]
fn two_runs_write_the_same_bytes() {
    let run = || {
        let mut desk = Desk::with(&[("linger.ms", "3")], Settings::default().nodes(3));
        for n in 0..500u32 {
            let key = (n % 7).to_string();
            let mut record = Record::new(if n % 3 == 0 { "a" } else { "b" }).value("value");
            if n % 2 == 0 {
                record = record.key(&key);
            }
            desk.send(&record).unwrap();
            desk.run(Duration::from_millis(u64::from(n % 5)));
        }
        desk.run(Duration::from_secs(1));
        assert_eq!(desk.deliveries().iter().map(|delivery| delivery.records.len()).sum::<usize>(), 500);
        core::mem::take(&mut desk.written)
    };
    let first = run();
    assert!(first.len() > 10_000);
    assert!(first == run());
}

#[test]
fn a_record_arrives_as_it_was_sent() {
    let mut desk = Desk::new(&[]);
    let headers = [Header::new("h", b"x"), Header::null("n")];
    let sent = desk.send(&Record::new("t").key("k").value("v").headers(&headers).timestamp(1_650_000_000_000)).unwrap();
    desk.run(Duration::from_secs(1));
    let stored = desk.cluster.record("t", sent.partition, 0).unwrap();
    assert_eq!((stored.key.as_deref(), stored.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(stored.timestamp, 1_650_000_000_000);
    assert_eq!(stored.headers.len(), 2);
    assert_eq!(desk.offsets(), [Some(0)]);
}

#[test]
fn a_record_without_timestamp_gets_the_time_of_its_send() {
    let mut desk = Desk::new(&[]);
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    desk.now = Instant::from_millis(5000);
    let sent = desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    assert_eq!(sent.timestamp, 1_700_000_005_000);
    desk.producer.handle_input(desk.now, Input::WallClock(UnixTime::from_millis(1_800_000_000_000)));
    let sent = desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    assert_eq!(sent.timestamp, 1_800_000_000_000);
}

#[test]
fn a_batch_lingers_and_is_full_at_batch_size() {
    let mut desk = Desk::new(&[("linger.ms", "1000"), ("batch.size", "500")]);
    desk.send(&Record::new("t").value("first").partition(0)).unwrap();
    desk.run(Duration::from_millis(900));
    assert_eq!(desk.offsets(), []);
    desk.run(Duration::from_millis(200));
    assert_eq!(desk.offsets().len(), 1);
    for record in sends(20, &"x".repeat(50)) {
        desk.send(&record).unwrap();
    }
    desk.settle();
    assert!(desk.offsets().len() > 1, "full batches don't linger");
}

#[test]
fn a_flush_ends_lingering_and_comes_when_all_is_delivered() {
    let mut desk = Desk::new(&[("linger.ms", "100000"), ("delivery.timeout.ms", "2000000")]);
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    let id = desk.producer.flush(desk.now);
    desk.settle();
    assert_eq!(desk.offsets(), [Some(0)]);
    assert!(matches!(desk.events.last(), Some(Event::Flushed { id: ended, failed: 0 }) if *ended == id));
}

#[test]
fn a_flush_of_nothing_ends_at_once() {
    let mut desk = Desk::new(&[]);
    let id = desk.producer.flush(desk.now);
    desk.settle();
    assert!(matches!(desk.events[..], [Event::Flushed { id: ended, failed: 0 }] if ended == id));
}

#[test]
fn close_delivers_what_is_open_and_takes_nothing_more() {
    let mut desk = Desk::new(&[("linger.ms", "100000"), ("delivery.timeout.ms", "2000000")]);
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    assert!(!desk.producer.is_closed());
    desk.producer.close(desk.now);
    assert!(!desk.producer.is_closed(), "a record is open");
    assert_eq!(desk.producer.send(desk.now, &Record::new("t").value("v")), Err(SendError::Closed));
    desk.settle();
    assert_eq!(desk.offsets(), [Some(0)]);
    assert!(matches!(desk.events.last(), Some(Event::Closed)));
    assert!(desk.peers.is_empty() && desk.producer.is_closed());
    assert_eq!(desk.wait, None);
}

#[test]
fn abort_fails_what_is_open() {
    let mut desk = Desk::new(&[("linger.ms", "100000"), ("delivery.timeout.ms", "2000000")]);
    desk.send(&Record::new("t").value("v").partition(0)).unwrap();
    desk.producer.abort(desk.now);
    desk.settle();
    let deliveries = desk.deliveries();
    let error = deliveries[0].outcome.as_ref().unwrap_err();
    assert_eq!((&error.kind, error.possibly_written), (&DeliveryErrorKind::Aborted, false));
    assert!(matches!(desk.events.last(), Some(Event::Closed)));
    assert_eq!(desk.producer.buffered(), 0);
}

#[test]
fn a_record_that_is_too_large_is_refused_with_the_option_to_change() {
    let mut desk = Desk::new(&[("max.request.size", "1000")]);
    let error = desk.send(&Record::new("t").value(&"x".repeat(1000))).unwrap_err();
    assert!(matches!(error, SendError::TooLarge { option: "max.request.size", limit: 1000, .. }));
    let mut desk = Desk::new(&[("buffer.memory", "2048")]);
    let error = desk.send(&Record::new("t").value(&"x".repeat(3000))).unwrap_err();
    assert!(matches!(error, SendError::TooLarge { option: "buffer.memory", .. }));
}

#[test]
fn negative_partitions_and_timestamps_are_refused() {
    let mut desk = Desk::new(&[]);
    desk.send(&Record::new("t").value("v")).unwrap();
    let error = desk.send(&Record::new("t").partition(-1)).unwrap_err();
    assert!(matches!(error, SendError::UnknownPartition { partition: -1, .. }));
    assert_eq!(desk.send(&Record::new("t").timestamp(-5)), Err(SendError::InvalidTimestamp(-5)));
}

#[test]
fn a_partition_that_does_not_exist_is_waited_for() {
    let mut desk = Desk::new(&[]);
    desk.send(&Record::new("t").value("v")).unwrap();
    let record = Record::new("t").value("v").partition(5);
    assert!(matches!(desk.producer.send(desk.now, &record), Err(SendError::NotReady { .. })));
    desk.cluster.add_partitions("t", 6);
    assert_eq!(desk.send(&record).unwrap().partition, 5);
}

#[test]
fn full_memory_is_told_and_freed_memory_too() {
    let options = [("buffer.memory", "20000"), ("linger.ms", "100000"), ("delivery.timeout.ms", "2000000")];
    let mut desk = Desk::new(&options);
    let value = "x".repeat(1000);
    let record = Record::new("t").value(&value).partition(0);
    let mut taken = 0;
    let error = loop {
        match desk.send(&record) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::BufferFull { .. }), "{error}");
    assert!((12..20).contains(&taken), "{taken}");
    assert!(desk.producer.buffered() <= 20_000);
    desk.settle(); // whoever lingers is due now
    assert!(desk.events.iter().any(|event| matches!(event, Event::Writable { .. })));
    assert!(desk.send(&record).is_ok());
}

#[test]
fn the_same_key_always_goes_to_the_same_partition() {
    let mut desk = Desk::new(&[]);
    let first = desk.send(&Record::new("t").key("key-1").value("v")).unwrap().partition;
    for _ in 0..50 {
        assert_eq!(desk.send(&Record::new("t").key("key-1").value("v")).unwrap().partition, first);
    }
    assert_eq!(first, milena::partition_for_key(b"key-1", 4));
}

#[test]
fn records_without_key_stick_to_a_partition_until_a_batch_is_full() {
    let mut desk = Desk::new(&[("batch.size", "1000"), ("linger.ms", "1000")]);
    let value = "x".repeat(90);
    let partitions: Vec<i32> =
        (0..200).map(|_| desk.send(&Record::new("t").value(&value)).unwrap().partition).collect();
    let changes = partitions.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((5..=25).contains(&changes), "{changes} changes in 200 records of 100 bytes");
}

/// KIP-794: where batches leave before they are full, the partition changes after twice as many bytes as make one due.
#[test]
fn records_without_key_that_leave_one_by_one_stick_for_two_batches() {
    let mut desk = Desk::new(&[("batch.size", "1000"), ("linger.ms", "0")]);
    let value = "x".repeat(90);
    let mut stays = Vec::new();
    let mut last = None;
    for _ in 0..200 {
        let partition = desk.send(&Record::new("t").value(&value)).unwrap().partition;
        desk.settle();
        match stays.last_mut() {
            Some(count) if last == Some(partition) => *count += 1,
            _ => stays.push(1),
        }
        last = Some(partition);
    }
    stays.pop();
    // Of 160 bytes each, thirteen are the first that have 2000. The next partition may be the same again.
    assert!(stays.len() > 5 && stays.iter().all(|count| count % 13 == 0), "{stays:?}");
}

#[derive(Debug)]
struct Last;

impl Partitioner for Last {
    fn partition(&mut self, _: &Record<'_>, topic: &TopicView<'_>) -> Choice<'_> {
        assert!(topic.is_available(0) && !topic.is_available(-1) && !topic.is_available(topic.partitions() as i32));
        Choice::To(topic.partitions() as i32 - 1)
    }
}

#[test]
fn a_hosts_own_partitioner_chooses() {
    let mut desk = Desk::new(&[]);
    desk.producer.set_partitioner(Box::new(Last));
    assert_eq!(desk.send(&Record::new("t").key("key-1").value("v")).unwrap().partition, 3);
    assert_eq!(desk.send(&Record::new("t").value("v").partition(1)).unwrap().partition, 1, "an explicit one counts");
}

/// Whatever partitions it is made with, but for records with header `usual`.
#[derive(Debug)]
struct Among(Vec<i32>);

impl Partitioner for Among {
    fn partition(&mut self, record: &Record<'_>, _: &TopicView<'_>) -> Choice<'_> {
        if record.headers.is_empty() { Choice::UsualAmong(&self.0) } else { Choice::Usual }
    }
}

#[test]
fn a_hosts_own_partitioner_may_leave_it_to_the_producer() {
    let mut desk = Desk::new(&[("linger.ms", "5"), ("batch.size", "1000")]);
    desk.producer.set_partitioner(Box::new(Among(vec![3, 1])));
    // A key by its hash, in the list's order.
    for key in ["a", "b", "key-1", "key-2", "key-3"] {
        let place = milena::partition_for_key(key.as_bytes(), 2) as usize;
        assert_eq!(desk.send(&Record::new("t").key(key).value("v")).unwrap().partition, [3, 1][place], "{key}");
        let usual = [Header::null("usual")];
        let partition = desk.send(&Record::new("t").key(key).value("v").headers(&usual)).unwrap().partition;
        assert_eq!(partition, milena::partition_for_key(key.as_bytes(), 4), "{key}");
    }
    desk.run(Duration::from_secs(1));
    // Without a key: both of them, and no new one while a batch is open.
    let mut partitions = Vec::new();
    for n in 0..200 {
        partitions.push(desk.send(&Record::new("t").value(&"0123456789".repeat(10))).unwrap().partition);
        if n % 20 == 19 {
            desk.run(Duration::from_secs(1));
        }
    }
    assert!(partitions.iter().all(|partition| [1, 3].contains(partition)), "{partitions:?}");
    assert!([1, 3].iter().all(|one| partitions.contains(one)), "{partitions:?}");
    let changes = partitions.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes < 60, "{changes} changes in 200 records, of which a batch holds some seven");
    for wrong in [vec![], vec![4], vec![0, -1]] {
        desk.producer.set_partitioner(Box::new(Among(wrong)));
        let error = desk.send(&Record::new("t").value("v")).unwrap_err();
        assert!(matches!(error, SendError::UnknownPartition { count: 4, .. }), "{error}");
    }
}

/// KIP-1123: records without key go to leaders in the producer's rack, while there are any.
#[test]
fn records_without_key_stay_in_the_rack() {
    let racks = ["a", "b", "a"].map(ToString::to_string).to_vec();
    let settings = || Settings::default().nodes(3).racks(racks.clone()).default_partitions(9);
    let led = |desk: &Desk, wanted: &[i32]| -> Vec<i32> {
        (0..9).filter(|partition| wanted.contains(&desk.cluster.leader("t", *partition).unwrap())).collect()
    };
    let partitions = |desk: &mut Desk| {
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..60 {
            found.insert(desk.send(&Record::new("t").value(&"x".repeat(300))).unwrap().partition);
            desk.run(Duration::from_millis(20));
        }
        found.into_iter().collect::<Vec<i32>>()
    };
    let all: Vec<i32> = (0..9).collect();
    for (options, nodes) in [
        (&[("client.rack", "a"), ("partitioner.rack.aware", "true")][..], &[1, 3][..]),
        (&[("client.rack", "b"), ("partitioner.rack.aware", "true")], &[2]),
        (&[("client.rack", "c"), ("partitioner.rack.aware", "true")], &[1, 2, 3]),
        (&[("partitioner.rack.aware", "true")], &[1, 2, 3]),
        (&[("client.rack", "a")], &[1, 2, 3]),
    ] {
        for adaptive in ["true", "false"] {
            let more = [("batch.size", "300"), ("partitioner.adaptive.partitioning.enable", adaptive)];
            let mut desk = Desk::with(&[options, &more].concat(), settings());
            let found = partitions(&mut desk);
            assert_eq!(found, led(&desk, nodes), "{options:?}");
            // Keys are not looked at for that.
            let keys: std::collections::BTreeSet<i32> = (0..100)
                .map(|n| desk.send(&Record::new("t").key(&n.to_string()).value("v")).unwrap().partition)
                .collect();
            assert!(keys.into_iter().eq(all.iter().copied()), "{options:?}");
        }
    }
}

#[test]
fn partitions_are_those_of_the_family_that_the_option_names() {
    for name in ["consistent", "consistent_random", "murmur2", "murmur2_random", "fnv1a", "fnv1a_random", "random"] {
        let mut desk = Desk::new(&[("partitioner", name)]);
        let mut found = Vec::new();
        for key in [Some("key-1"), Some(""), None] {
            let record = Record::new("t").value("v");
            found.push(desk.send(&key.map_or(record, |key| record.key(key))).unwrap().partition);
        }
        // CRC-32, murmur2 and FNV-1a of "key-1" and of "", modulo 4; what is spread is not looked at.
        let (key, empty, none) = match name {
            "consistent" => (Some(2), Some(0), Some(0)),
            "consistent_random" => (Some(2), None, None),
            "murmur2" => (Some(0), Some(1), Some(1)),
            "murmur2_random" => (Some(0), Some(1), None),
            "fnv1a" => (Some(2), Some(3), Some(3)),
            "fnv1a_random" => (Some(2), Some(3), None),
            _ => (None, None, None),
        };
        for (found, wanted) in found.into_iter().zip([key, empty, none]) {
            assert!(wanted.is_none_or(|wanted| wanted == found), "{name}: {found} for {wanted:?}");
        }
    }
}

#[test]
fn a_batch_that_a_broker_finds_too_large_is_split() {
    let mut desk = Desk::new(&[("linger.ms", "5"), ("batch.size", "4000")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    desk.cluster.fail_next(Request::Produce, 10, 3);
    let first = desk.events.len();
    let value = "x".repeat(90);
    let sent: Vec<_> = sends(30, &value).map(|record| desk.send(&record).unwrap()).collect();
    desk.run(Duration::from_secs(5));
    let mut named: Vec<u32> = Vec::new();
    for event in &desk.events[first..] {
        let Event::Delivered(delivery) = event else { continue };
        assert!(delivery.outcome.is_ok());
        assert_eq!(delivery.batch, sent[0].id.batch, "parts keep the name of the whole");
        named.extend(delivery.records.clone());
    }
    assert_eq!(named, (0..30).collect::<Vec<u32>>());
    assert_eq!(desk.cluster.end_offsets("t")[0], 31);
    assert_eq!(desk.producer.stats().splits, 3);
    assert_eq!(desk.producer.buffered(), 0);
}

#[test]
fn a_single_record_that_is_too_large_fails() {
    let mut desk = Desk::new(&[]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.cluster.fail_next(Request::Produce, 10, 1);
    desk.run(Duration::from_secs(1));
    let deliveries = desk.deliveries();
    let error = deliveries[0].outcome.as_ref().unwrap_err();
    assert_eq!((error.name(), error.possibly_written), ("MESSAGE_TOO_LARGE", false));
}

#[test]
fn a_refused_batch_does_not_stop_those_behind_it() {
    let mut desk = Desk::new(&[("linger.ms", "0")]);
    for n in 0..3 {
        desk.send(&Record::new("t").value(&n.to_string()).partition(0)).unwrap();
        desk.run(Duration::from_millis(50));
    }
    desk.cluster.fail_next(Request::Produce, 87, 1);
    for n in 3..9 {
        desk.send(&Record::new("t").value(&n.to_string()).partition(0)).unwrap();
    }
    desk.run(Duration::from_secs(5));
    let failed = desk.deliveries().iter().filter(|delivery| delivery.outcome.is_err()).count();
    assert_eq!(failed, 1);
    assert_eq!(desk.producer.stats().epoch_bumps, 1);
    let left: u64 = desk.producer.stats().records_delivered;
    assert_eq!(desk.cluster.end_offsets("t")[0] as u64, left);
}

#[test]
fn a_retriable_error_is_tried_again_after_the_backoff() {
    let mut desk = Desk::new(&[("retry.backoff.ms", "100"), ("linger.ms", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_millis(50));
    desk.cluster.fail_next(Request::Produce, 19, 1);
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_millis(70));
    assert_eq!(desk.offsets().len(), 1);
    desk.run(Duration::from_millis(70));
    assert_eq!(desk.offsets().len(), 2);
}

#[test]
fn retries_are_limited() {
    let mut desk = Desk::new(&[("retries", "2"), ("linger.ms", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.cluster.fail_next(Request::Produce, 19, 10);
    desk.run(Duration::from_secs(5));
    let deliveries = desk.deliveries();
    let error = deliveries[0].outcome.as_ref().unwrap_err();
    assert_eq!((error.name(), error.attempts, error.possibly_written), ("NOT_ENOUGH_REPLICAS", 3, false));
}

#[test]
fn without_any_broker_records_expire_after_delivery_timeout_and_not_before() {
    let mut desk = Desk::new(&[("delivery.timeout.ms", "31000"), ("linger.ms", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    desk.cluster.crash(1);
    for peer in core::mem::take(&mut desk.peers).into_keys() {
        desk.producer.handle_input(desk.now, Input::Disconnected(peer, Cause::Closed));
    }
    let start = desk.now;
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_millis(30_900));
    assert_eq!(desk.deliveries().len(), 1);
    desk.run(Duration::from_millis(200));
    let deliveries = desk.deliveries();
    let error = deliveries[1].outcome.as_ref().unwrap_err();
    assert_eq!((error.name(), error.possibly_written), ("DELIVERY_TIMEOUT", false));
    let attempts = desk.producer.stats().connections;
    assert!(attempts < 150, "{attempts} attempts to connect in {:?}", desk.now.saturating_since(start));
}

#[test]
fn a_broker_that_comes_back_gets_what_was_kept_for_it() {
    let mut desk = Desk::new(&[("linger.ms", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    desk.cluster.crash(1);
    for peer in core::mem::take(&mut desk.peers).into_keys() {
        desk.producer.handle_input(desk.now, Input::Disconnected(peer, Cause::Closed));
    }
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_secs(20));
    desk.cluster.restart(1, false);
    desk.run(Duration::from_secs(3));
    assert_eq!(desk.offsets(), [Some(0), Some(1)]);
}

#[test]
fn acks_0_delivers_without_an_offset_when_the_last_byte_is_written() {
    let mut desk = Desk::new(&[("acks", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [None]);
    assert_eq!(desk.cluster.end_offsets("t")[0], 1);
}

#[test]
fn an_answer_to_acks_0_is_ignored() {
    let mut desk = Desk::new(&[("acks", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    let conn = *desk.peers.keys().last().unwrap();
    // What some brokers answer nevertheless: correlation id 1, and anything.
    desk.producer.handle_input(desk.now, Input::Data(conn, &[0, 0, 0, 6, 0, 0, 0, 1, 9, 9]));
    desk.settle();
    assert!(!desk.events.iter().any(|event| matches!(event, Event::ConnectionFailed { .. })));
}

#[test]
fn old_brokers_are_spoken_to_in_their_versions() {
    use milena::cluster::Versions;
    for versions in [Versions::KAFKA_2_1, Versions::KAFKA_3_0, Versions::KAFKA_4_3.with(Request::Produce, 0, 12)] {
        let mut desk = Desk::with(&[], Settings::default().versions(versions));
        desk.send(&Record::new("t").value("0").partition(0)).unwrap();
        desk.run(Duration::from_secs(1));
        assert_eq!(desk.offsets(), [Some(0)], "{versions:?}");
    }
}

#[test]
fn without_topic_ids_produce_stays_below_13() {
    use milena::cluster::Versions;
    let versions = Versions::KAFKA_4_3.with(Request::Metadata, 0, 9);
    let mut desk = Desk::with(&[], Settings::default().versions(versions));
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [Some(0)]);
}

#[test]
fn a_broker_without_a_common_version_is_named() {
    use milena::cluster::Versions;
    let versions = Versions::KAFKA_4_3.with(Request::Produce, 14, 20);
    let mut desk = Desk::with(&[], Settings::default().versions(versions));
    let _ = desk.producer.send(desk.now, &Record::new("t").value("0"));
    desk.run(Duration::from_secs(1));
    let words = desk.events.iter().find_map(|event| match event {
        Event::ConnectionFailed { error, .. } => Some(error.to_string()),
        _ => None,
    });
    assert!(words.is_some_and(|words| words.contains("no version of Produce in common")));
}

#[test]
fn topics_that_are_refused_say_so_and_forbidden_ones_are_asked_for_again() {
    let mut desk = Desk::new(&[]);
    assert!(desk.send(&Record::new("for/bidden").value("0")).unwrap_err().to_string().contains("INVALID_TOPIC"));
    desk.cluster.create_topic("secret", 1);
    desk.cluster.set_forbidden("secret", true);
    let error = desk.send(&Record::new("secret").value("0")).unwrap_err();
    assert!(error.to_string().contains("TOPIC_AUTHORIZATION_FAILED"), "{error}");
    desk.cluster.set_forbidden("secret", false);
    assert!(desk.send(&Record::new("secret").value("0")).is_ok());
}

#[test]
fn all_topics_are_listed_even_if_the_first_server_asked_dies() {
    let mut desk = Desk::with(&[("bootstrap.servers", "127.0.0.1:9092,127.0.0.1:9093")], Settings::default());
    desk.cluster.create_topic("b", 2);
    desk.cluster.create_topic("a", 1);
    desk.swallow = true;
    desk.producer.list_topics(desk.now).unwrap();
    desk.settle();
    for conn in desk.peers.keys().copied().collect::<Vec<_>>() {
        desk.producer.handle_input(desk.now, Input::Disconnected(conn, Cause::Closed));
    }
    desk.peers.clear();
    desk.swallow = false;
    desk.run(Duration::from_secs(5));
    let lists = desk.events.iter().filter_map(|event| match event {
        Event::TopicsListed(topics) => Some(topics.clone()),
        _ => None,
    });
    let lists: Vec<_> = lists.collect();
    assert_eq!(lists.len(), 1, "answered once");
    let found: Vec<_> = lists[0].iter().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
    assert!(lists[0][0].partitions[0].leader.is_some());
    assert_eq!(desk.producer.partitions("a"), None, "looking is not wanting");
}

#[test]
fn a_topic_that_must_not_be_created_stays_unknown() {
    let mut desk = Desk::new(&[("allow.auto.create.topics", "false")]);
    let error = desk.producer.send(desk.now, &Record::new("t").value("0")).unwrap_err();
    let SendError::NotReady { topic } = error else { panic!("{error}") };
    desk.run(Duration::from_secs(10));
    assert_eq!(desk.producer.topic_error(topic).map(|code| code.name()), Some("UNKNOWN_TOPIC_OR_PARTITION"));
    assert!(desk.producer.stats().metadata_requests < 25, "asking again backs off");
}

#[test]
fn only_topics_asked_for_are_asked_about() {
    let mut desk = Desk::new(&[]);
    desk.cluster.create_topic("other", 100);
    desk.send(&Record::new("t").value("0")).unwrap();
    assert!(desk.producer.partitions("other").is_none());
    assert_eq!(desk.producer.partitions("t").map(|partitions| partitions.len()), Some(4));
}

#[test]
fn input_for_a_connection_that_is_gone_is_ignored() {
    let mut desk = Desk::new(&[]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    let conn = *desk.peers.keys().last().unwrap();
    desk.producer.handle_input(desk.now, Input::Disconnected(conn, Cause::Closed));
    desk.producer.handle_input(desk.now, Input::Disconnected(conn, Cause::Closed));
    desk.producer.handle_input(desk.now, Input::Connected(conn));
    desk.producer.handle_input(desk.now, Input::Data(conn, &[1, 2, 3]));
    desk.producer.written(desk.now, conn, 1_000_000);
    assert!(!desk.producer.transmit(desk.now, conn).has_remaining());
}

#[test]
fn time_that_goes_back_counts_as_the_last_one() {
    let mut desk = Desk::new(&[]);
    desk.now = Instant::from_millis(10_000);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.producer.handle_input(Instant::ZERO, Input::Timeout);
    let sent = desk.producer.send(Instant::ZERO, &Record::new("t").value("0").partition(0)).unwrap();
    assert!(sent.timestamp >= 1_700_000_010_000);
}

#[test]
fn a_wake_is_told_once_and_only_if_there_is_something_new() {
    let mut desk = Desk::new(&[("linger.ms", "10")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.settle();
    let _ = desk.producer.take_wake();
    desk.settle();
    // The batch that is open already has set the time.
    desk.producer.send(desk.now, &Record::new("t").value("1").partition(0)).unwrap();
    assert!(!desk.producer.take_wake());
    // Whatever was called: as long as there is nothing to do.
    for conn in desk.peers.keys() {
        assert!(!desk.producer.transmit(desk.now, *conn).has_remaining());
        assert!(!desk.producer.take_wake());
    }
    desk.producer.flush(desk.now);
    assert!(desk.producer.take_wake());
    assert!(!desk.producer.take_wake());
}

#[test]
fn a_record_that_fills_a_batch_wakes_and_those_before_it_do_not() {
    let mut desk = Desk::new(&[("linger.ms", "1000"), ("batch.size", "1000")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.settle();
    let value = [b'v'; 100];
    let record = Record::new("t").value(&value).partition(0);
    let mut wakes = Vec::new();
    for _ in 0..12 {
        desk.producer.send(desk.now, &record).unwrap();
        wakes.push(desk.producer.take_wake());
    }
    assert_eq!(wakes.iter().filter(|wake| **wake).count(), 1, "{wakes:?}");
    assert!(wakes[..5].iter().all(|wake| !wake), "{wakes:?}");
}

#[test]
fn garbage_ends_the_connection_with_words_and_the_record_still_arrives() {
    let mut desk = Desk::new(&[("linger.ms", "0")]);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_millis(100));
    let conn = *desk.peers.keys().last().unwrap();
    desk.producer.handle_input(desk.now, Input::Data(conn, &[0, 0, 0, 8, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4]));
    desk.settle();
    assert!(desk.events.iter().any(|event| matches!(event, Event::ConnectionFailed { .. })));
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_secs(2));
    assert_eq!(desk.offsets(), [Some(0), Some(1)]);
}

#[test]
fn throttling_pauses_the_broker_and_nothing_times_out() {
    #[derive(Debug)]
    struct Slow;
    impl milena::cluster::Mischief for Slow {
        fn throttle(&mut self, request: Request) -> i32 {
            if request == Request::Produce { 2000 } else { 0 }
        }
    }
    let mut desk = Desk::new(&[("linger.ms", "0"), ("request.timeout.ms", "1000")]);
    desk.cluster.set_mischief(Box::new(Slow));
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_millis(500));
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_millis(1000));
    assert_eq!(desk.offsets(), [Some(0)]);
    desk.run(Duration::from_millis(1000));
    assert_eq!(desk.offsets(), [Some(0), Some(1)]);
    assert_eq!(desk.producer.stats().connection_failures, 0);
}

#[test]
fn idempotence_that_is_forbidden_fails_the_records_and_says_what_to_do() {
    let mut desk = Desk::new(&[]);
    desk.cluster.fail_next(Request::InitProducerId, 31, 1);
    desk.send(&Record::new("t").value("0").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    let deliveries = desk.deliveries();
    assert!(deliveries[0].outcome.as_ref().unwrap_err().to_string().contains("IdempotentWrite"));
    // Since then it is allowed.
    desk.send(&Record::new("t").value("1").partition(0)).unwrap();
    desk.run(Duration::from_secs(1));
    assert_eq!(desk.offsets(), [Some(0)]);
    desk.producer.close(desk.now);
    desk.settle();
    assert!(desk.producer.is_closed());
}

/// Takes a few bytes a call, and then would block.
struct Narrow {
    taken: Vec<u8>,
    calls: usize,
    room: usize,
}

impl std::io::Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.calls += 1;
        match self.calls % 3 {
            0 => Err(std::io::ErrorKind::Interrupted.into()),
            _ if self.room == 0 => Err(std::io::ErrorKind::WouldBlock.into()),
            _ => {
                let n = bytes.len().min(self.room).min(700);
                self.taken.extend_from_slice(&bytes[..n]);
                self.room -= n;
                Ok(n)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn write_to_writes_all_goes_on_where_it_was_blocked_and_says_which() {
    let mut desk = Desk::new(&[("linger.ms", "0")]);
    desk.send(&Record::new("t").value("first").partition(0)).unwrap();
    desk.settle();
    let value = "x".repeat(5000);
    desk.producer.send(desk.now, &Record::new("t").value(&value).partition(0)).unwrap();
    let conn = loop {
        match desk.producer.poll_output() {
            milena::Output::Transmit(conn) => break conn,
            milena::Output::Wait(_) => panic!("there is something to write"),
            _ => {}
        }
    };
    let shown: Vec<u8> = desk.producer.transmit(desk.now, conn).segments().flatten().copied().collect();
    assert!(shown.len() > 5000);
    let mut narrow = Narrow { taken: Vec::new(), calls: 0, room: 1000 };
    let mut blocked = 0;
    while desk.producer.transmit(desk.now, conn).write_to(&mut narrow).unwrap() == milena::Progress::Blocked {
        blocked += 1;
        narrow.room = 1000;
    }
    assert_eq!(blocked, shown.len() / 1000);
    assert!(narrow.taken == shown);
    assert_eq!(desk.producer.transmit(desk.now, conn).write_to(&mut narrow).unwrap(), milena::Progress::Empty);
    let mut full: &mut [u8] = &mut [];
    desk.producer.send(desk.now, &Record::new("t").value("v").partition(1)).unwrap();
    while !matches!(desk.producer.poll_output(), milena::Output::Wait(_)) {}
    let error = desk.producer.transmit(desk.now, conn).write_to(&mut full).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
}
