//! Consumers read what producers wrote, in every version, and wait for what is not there yet.

use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse};
use milena::Instant;
use milena::cluster::{Cluster, Peer, Request, Settings, TopicSettings, Versions};
use uuid::Uuid;

use crate::bench::{Bench, NOW, batch, batch_at, crc32c, name};

/// A request for partition 0 of `t` from an offset on.
pub fn fetch(cluster: &Cluster, version: i16, offset: i64) -> FetchRequest {
    let part = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let mut topic = FetchTopic::default().with_partitions(vec![part]);
    if version >= 13 {
        topic.topic_id = Uuid::from_bytes(cluster.topic_id("t").unwrap_or_default());
    } else {
        topic.topic = name("t");
    }
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_min_bytes(1).with_topics(vec![topic]);
    request.with_replica_id((-1).into())
}

fn ask(bench: &mut Bench, version: i16, request: &FetchRequest) -> Option<FetchResponse> {
    bench.call(ApiKey::Fetch, version, request)
}

fn only(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

/// Code, high watermark, and the base offset of each batch.
fn read(bench: &mut Bench, version: i16, offset: i64) -> (i16, i64, Vec<i64>) {
    let request = fetch(&bench.cluster, version, offset);
    let response = ask(bench, version, &request).expect("an answer");
    let data = only(&response);
    (data.error_code, data.high_watermark, batches(data).into_iter().map(|batch| batch.0).collect())
}

/// Base offset, leader epoch and bytes behind the checksum of each batch, whose checksum is right.
fn batches(data: &PartitionData) -> Vec<(i64, i32, Bytes)> {
    let mut rest = data.records.clone().unwrap_or_default();
    let mut all = Vec::new();
    while !rest.is_empty() {
        let mut whole = rest.split_to(12 + (&rest[8..12]).get_i32() as usize);
        let (base, _, epoch, magic, checksum) =
            (whole.get_i64(), whole.get_i32(), whole.get_i32(), whole.get_u8(), whole.get_u32());
        assert_eq!((magic, checksum), (2, crc32c(&whole)));
        all.push((base, epoch, whole));
    }
    all
}

#[test]
fn what_was_produced_is_read_in_every_version_as_it_was_sent() {
    for (versions, newest) in [(Versions::KAFKA_2_1, 10), (Versions::KAFKA_3_0, 12), (Versions::KAFKA_4_3, 18)] {
        for version in 4..=newest {
            let mut bench = Bench::with(Settings::default().versions(versions));
            bench.version = 7;
            let sent = [batch(5, 0, 0, &["a", "b"]), batch(5, 0, 2, &["c"])];
            for batch in &sent {
                assert_eq!(bench.produce(batch.clone()).0, 0);
            }
            let request = fetch(&bench.cluster, version, 0);
            let response = ask(&mut bench, version, &request).expect("an answer");
            let data = only(&response);
            assert_eq!((response.error_code, response.session_id, data.error_code), (0, 0, 0));
            assert_eq!((data.high_watermark, data.last_stable_offset), (3, 3));
            assert_eq!(data.aborted_transactions, None);
            let wanted: Vec<_> = [0, 2].into_iter().zip(&sent).map(|(at, sent)| (at, 0, sent.slice(21..))).collect();
            assert_eq!(batches(data), wanted, "version {version}");
        }
    }
}

#[test]
fn versions_that_are_not_offered_close_the_connection() {
    for (versions, version) in [(Versions::KAFKA_2_1, 11), (Versions::KAFKA_3_0, 13)] {
        let mut bench = Bench::with(Settings::default().versions(versions));
        let request = fetch(&bench.cluster, version, 0);
        assert!(ask(&mut bench, version, &request).is_none());
        assert!(bench.cluster.is_closed(bench.peer));
    }
}

#[test]
fn a_batch_is_handed_out_whole_that_holds_the_offset() {
    let mut bench = Bench::new();
    for values in [&["a", "b"][..], &["c", "d"], &["e"]] {
        bench.produce(batch(-1, -1, -1, values));
    }
    assert_eq!(read(&mut bench, 12, 1), (0, 5, vec![0, 2, 4]));
    assert_eq!(read(&mut bench, 12, 2), (0, 5, vec![2, 4]));
    assert_eq!(read(&mut bench, 12, 4), (0, 5, vec![4]));
}

#[test]
fn offsets_out_of_range_are_error_1() {
    let mut bench = Bench::new();
    bench.produce(batch(-1, -1, -1, &["a"]));
    assert_eq!(read(&mut bench, 12, 2), (1, -1, vec![]));
    assert_eq!(read(&mut bench, 12, -1), (1, -1, vec![]));
    bench.cluster.forget_producers("t", 0); // retention took everything
    assert_eq!(read(&mut bench, 12, 0), (1, -1, vec![]));
}

#[test]
fn unknown_topics_and_partitions_are_error_3_and_100() {
    for (version, code) in [(12, 3), (13, 100)] {
        let mut bench = Bench::new();
        let request = fetch(&bench.cluster, version, 0);
        bench.cluster.delete_topic("t");
        let response = ask(&mut bench, version, &request).expect("an answer");
        assert_eq!(only(&response).error_code, code);
        bench.cluster.create_topic("t", 1);
        let mut request = fetch(&bench.cluster, version, 0);
        request.topics[0].partitions[0].partition = 1;
        let response = ask(&mut bench, version, &request).expect("an answer");
        assert_eq!(only(&response).error_code, 3);
    }
}

#[test]
fn a_forbidden_topic_is_error_29_and_demanded_codes_come() {
    let mut bench = Bench::new();
    bench.cluster.set_forbidden("t", true);
    assert_eq!(read(&mut bench, 12, 0).0, 29);
    bench.cluster.set_forbidden("t", false);
    for (version, top) in [(6, false), (7, true), (18, true)] {
        bench.cluster.fail_next(Request::Fetch, 56, 1);
        let request = fetch(&bench.cluster, version, 0);
        let response = ask(&mut bench, version, &request).expect("an answer");
        let code = if top { response.error_code } else { only(&response).error_code };
        assert_eq!(code, 56, "version {version}");
    }
}

#[test]
fn limits_are_kept_but_for_the_first_batch() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.produce(batch(-1, -1, -1, &[&"x".repeat(1000)]));
    }
    let mut of = |most: i32, most_of_partition: i32| {
        let mut request = fetch(&bench.cluster, 12, 0);
        request.max_bytes = most;
        request.topics[0].partitions[0].partition_max_bytes = most_of_partition;
        let response = ask(&mut bench, 12, &request).expect("an answer");
        batches(only(&response)).len()
    };
    assert_eq!((of(100, 100), of(1 << 20, 100), of(100, 1 << 20)), (1, 1, 1));
    assert_eq!((of(2200, 1 << 20), of(1 << 20, 2200), of(1 << 20, 1 << 20)), (2, 2, 3));
}

#[test]
fn the_exception_for_the_first_batch_is_made_once_a_request() {
    let mut bench = Bench::new();
    bench.cluster.create_topic("t", 2);
    for number in [0, 1] {
        let data = kafka_protocol::messages::produce_request::PartitionProduceData::default().with_index(number);
        bench.produce_data(vec![data.with_records(Some(batch(-1, -1, -1, &[&"x".repeat(1000)])))], 1);
    }
    let mut request = fetch(&bench.cluster, 12, 0);
    request.max_bytes = 10;
    let second = request.topics[0].partitions[0].clone().with_partition(1);
    request.topics[0].partitions.push(second);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    let counts: Vec<usize> = response.responses[0].partitions.iter().map(|data| batches(data).len()).collect();
    assert_eq!(counts, [1, 0]);
}

/// Another connection to node 1.
fn another(bench: &mut Bench) -> Peer {
    bench.cluster.connect(1).expect("node 1 is up")
}

#[test]
fn a_fetch_waits_until_something_is_written() {
    let mut bench = Bench::new();
    let consumer = another(&mut bench);
    let request = fetch(&bench.cluster, 12, 0).with_max_wait_ms(500);
    let early: Option<FetchResponse> = bench.call_as(NOW, consumer, ApiKey::Fetch, 12, &request);
    assert!(early.is_none());
    assert_eq!(bench.cluster.next_deadline(), Some(NOW + Duration::from_millis(500)));
    bench.produce(batch(-1, -1, -1, &["a"]));
    let response: FetchResponse = bench.answer(consumer, ApiKey::Fetch, 12).expect("there is something now");
    assert_eq!(batches(only(&response)).len(), 1);
    assert_eq!(bench.cluster.next_deadline(), None);
}

#[test]
fn a_fetch_waits_for_as_many_bytes_as_it_wants_and_no_longer_than_it_says() {
    let mut bench = Bench::new();
    let consumer = another(&mut bench);
    let request = fetch(&bench.cluster, 12, 0).with_max_wait_ms(500).with_min_bytes(1000);
    let early: Option<FetchResponse> = bench.call_as(NOW, consumer, ApiKey::Fetch, 12, &request);
    assert!(early.is_none());
    bench.produce(batch(-1, -1, -1, &["a"]));
    let early: Option<FetchResponse> = bench.answer(consumer, ApiKey::Fetch, 12);
    assert!(early.is_none(), "one record is too little");
    let deadline = bench.cluster.next_deadline().expect("it waits");
    bench.cluster.advance(deadline - Duration::from_nanos(1));
    let early: Option<FetchResponse> = bench.answer(consumer, ApiKey::Fetch, 12);
    assert!(early.is_none(), "it is not late yet");
    bench.cluster.advance(deadline);
    let response: FetchResponse = bench.answer(consumer, ApiKey::Fetch, 12).expect("what there is");
    assert_eq!(batches(only(&response)).len(), 1);
}

#[test]
fn nothing_is_read_that_is_not_replicated() {
    let lag = Duration::from_millis(10);
    let mut bench = Bench::with(Settings::default().nodes(3).replication_lag(lag));
    let consumer = another(&mut bench);
    let request = fetch(&bench.cluster, 12, 0).with_max_wait_ms(500);
    assert_eq!(bench.produce_acks(Some(batch(-1, -1, -1, &["a"])), 1), Some((0, 0)));
    let early: Option<FetchResponse> = bench.call_as(NOW, consumer, ApiKey::Fetch, 12, &request);
    assert!(early.is_none());
    bench.cluster.advance(NOW + lag);
    let response: FetchResponse = bench.answer(consumer, ApiKey::Fetch, 12).expect("it is replicated now");
    assert_eq!((only(&response).high_watermark, batches(only(&response)).len()), (1, 1));
}

#[test]
fn a_fetch_that_waits_hears_of_another_leader() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    let request = fetch(&bench.cluster, 16, 0).with_max_wait_ms(500);
    assert!(ask(&mut bench, 16, &request).is_none());
    assert!(bench.cluster.move_leader("t", 0, 2, true));
    bench.cluster.advance(NOW);
    let response: FetchResponse = bench.answer(bench.peer, ApiKey::Fetch, 16).expect("an answer");
    let data = only(&response);
    assert_eq!((data.error_code, data.current_leader.leader_id.0, data.current_leader.leader_epoch), (6, 2, 1));
    assert_eq!(response.node_endpoints[0].node_id.0, 2);
}

#[test]
fn a_leader_that_lost_its_place_hands_out_nothing_new() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    bench.produce(batch(-1, -1, -1, &["a"]));
    assert!(bench.cluster.move_leader("t", 0, 2, false));
    assert_eq!(bench.produce_acks(Some(batch(-1, -1, -1, &["lost"])), 1), Some((0, 1)), "it believes that it leads");
    let old = bench.peer;
    bench.peer = bench.cluster.connect(2).expect("node 2 is up");
    assert_eq!(bench.produce(batch(-1, -1, -1, &["b"])), (0, 1));
    bench.peer = old;
    assert_eq!(read(&mut bench, 12, 0), (0, 1, vec![0]));
}

#[test]
fn epochs_are_compared() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    assert!(bench.cluster.move_leader("t", 0, 2, true));
    bench.peer = bench.cluster.connect(2).expect("node 2 is up");
    for (epoch, code) in [(-1, 0), (0, 74), (1, 0), (2, 75)] {
        let mut request = fetch(&bench.cluster, 12, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = ask(&mut bench, 12, &request).expect("an answer");
        assert_eq!(only(&response).error_code, code, "epoch {epoch}");
    }
}

#[test]
fn sessions_are_not_kept() {
    let mut bench = Bench::new();
    let request = fetch(&bench.cluster, 12, 0).with_session_id(7).with_session_epoch(3);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    assert_eq!((response.error_code, response.session_id, response.responses.len()), (70, 0, 0));
    let request = fetch(&bench.cluster, 12, 0).with_session_epoch(0);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    assert_eq!((response.error_code, response.session_id, response.responses.len()), (0, 0, 1));
}

#[test]
fn those_who_read_committed_records_are_told_that_nothing_was_aborted() {
    let mut bench = Bench::new();
    bench.produce(batch(-1, -1, -1, &["a"]));
    let request = fetch(&bench.cluster, 12, 0).with_isolation_level(1);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    assert_eq!(only(&response).aborted_transactions, Some(vec![]));
    assert_eq!((only(&response).last_stable_offset, batches(only(&response)).len()), (1, 1));
}

#[test]
fn log_append_time_is_in_the_batch() {
    let mut bench = Bench::new();
    bench.cluster.create_topic_with("t", 1, TopicSettings::default().log_append_time(true));
    bench.produce(batch_at(1_600_000_000_000, "a"));
    let request = fetch(&bench.cluster, 12, 0);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    let (_, _, mut behind) = batches(only(&response)).remove(0); // its checksum is right
    assert_eq!(behind.get_i16(), 8, "the timestamps are the broker's");
    behind.advance(4 + 8);
    assert_eq!(behind.get_i64(), 1_700_000_001_000);
}

#[test]
fn what_a_restart_lost_is_read_no_more_and_epochs_are_those_of_the_writers() {
    let mut bench = Bench::with(Settings::default().nodes(2).replication_lag(Duration::from_millis(10)));
    bench.produce_acks(Some(batch(-1, -1, -1, &["lost"])), 1);
    bench.cluster.crash(1);
    bench.cluster.restart(1, true);
    bench.peer = bench.cluster.connect(2).expect("node 2 is up");
    bench.produce_acks(Some(batch(-1, -1, -1, &["kept"])), 1);
    bench.cluster.advance(NOW + Duration::from_millis(10));
    let request = fetch(&bench.cluster, 12, 0);
    let response = ask(&mut bench, 12, &request).expect("an answer");
    let all = batches(only(&response));
    assert_eq!((all.len(), all[0].1), (1, 1), "epoch 1");
}

#[test]
fn who_only_counts_has_nothing_to_read() {
    let mut bench = Bench::with(Settings::default().discard(true));
    bench.produce(batch(-1, -1, -1, &["a", "b"]));
    assert_eq!(read(&mut bench, 12, 0), (1, -1, vec![]));
    assert_eq!(read(&mut bench, 12, 2), (0, 2, vec![]));
}

#[test]
fn a_consumer_follows_a_producer() {
    let mut bench = Bench::with(Settings::default().nodes(3).replication_lag(Duration::from_millis(3)));
    let consumer = another(&mut bench);
    let (mut now, mut next, mut seen) = (Instant::from_millis(2000), 0, Vec::new());
    let mut waits = false;
    for round in 0..200 {
        now = now + Duration::from_millis(1);
        if round % 3 == 0 {
            let values = [format!("{round}-a"), format!("{round}-b")];
            bench.produce_acks(Some(batch(-1, -1, -1, &[&values[0], &values[1]])), 1);
        }
        bench.cluster.advance(now);
        let response: Option<FetchResponse> = if waits {
            bench.answer(consumer, ApiKey::Fetch, 12)
        } else {
            let request = fetch(&bench.cluster, 12, next).with_max_wait_ms(5);
            bench.call_as(now, consumer, ApiKey::Fetch, 12, &request)
        };
        waits = response.is_none();
        for (base, _, behind) in response.iter().flat_map(|response| batches(only(response))) {
            assert_eq!(base, next);
            next += i64::from((&behind[2..6]).get_i32()) + 1;
            seen.push(base);
        }
    }
    assert!(seen.len() > 60, "{} batches", seen.len());
}
