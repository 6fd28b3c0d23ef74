//! Where logs begin and end.

use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    ApiKey, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use milena::cluster::{Request, Settings};

use crate::bench::{Bench, NOW, batch, batch_at, name};

/// Code, timestamp, offset and leader epoch.
fn list(bench: &mut Bench, version: i16, timestamp: i64) -> (i16, i64, i64, i32) {
    let part = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![part]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response: ListOffsetsResponse = bench.call(ApiKey::ListOffsets, version, &request).expect("an answer");
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.timestamp, found.offset, found.leader_epoch)
}

/// Records of the seconds 10, 30, 30 and 20, at offsets 0 to 3.
fn written() -> Bench {
    let mut bench = Bench::new();
    for second in [10, 30, 30, 20] {
        assert_eq!(bench.produce(batch_at(second * 1000, "v")).0, 0);
    }
    bench
}

#[test]
fn the_ends_of_a_log_are_told_in_every_version() {
    for version in 1..=10 {
        let epoch = if version >= 4 { 0 } else { -1 };
        assert_eq!(list(&mut written(), version, -1), (0, -1, 4, epoch), "version {version}");
        assert_eq!(list(&mut written(), version, -2), (0, -1, 0, epoch), "version {version}");
    }
    assert_eq!(list(&mut Bench::new(), 7, -1), (0, -1, 0, 0));
    assert_eq!(list(&mut Bench::new(), 7, -2), (0, -1, 0, -1));
}

#[test]
fn a_timestamp_finds_the_first_record_that_is_not_older() {
    let mut bench = written();
    assert_eq!(list(&mut bench, 7, 0), (0, 10_000, 0, 0));
    assert_eq!(list(&mut bench, 7, 10_001), (0, 30_000, 1, 0));
    assert_eq!(list(&mut bench, 7, 30_000), (0, 30_000, 1, 0));
    assert_eq!(list(&mut bench, 7, 30_001), (0, -1, -1, -1));
}

#[test]
fn the_newest_record_is_found_from_version_7_on() {
    assert_eq!(list(&mut written(), 7, -3), (0, 30_000, 1, 0));
    assert_eq!(list(&mut Bench::new(), 7, -3), (0, -1, -1, -1));
    assert_eq!(list(&mut written(), 6, -3).0, 35);
}

#[test]
fn nothing_is_in_tiered_storage() {
    assert_eq!(list(&mut written(), 8, -4), (0, -1, 0, 0));
    assert_eq!(list(&mut written(), 9, -5), (0, -1, -1, -1));
    assert_eq!(list(&mut written(), 8, -5).0, 35);
    assert_eq!(list(&mut written(), 10, -77).0, 35);
}

#[test]
fn what_retention_took_is_not_found() {
    let mut bench = written();
    bench.cluster.forget_producers("t", 0);
    assert_eq!(list(&mut bench, 7, -2), (0, -1, 4, -1));
    assert_eq!(list(&mut bench, 7, 0), (0, -1, -1, -1));
}

#[test]
fn what_is_not_replicated_is_not_counted() {
    let mut bench = Bench::with(Settings::default().nodes(3).replication_lag(Duration::from_millis(10)));
    bench.produce_acks(Some(batch_at(5000, "v")), 1);
    assert_eq!(list(&mut bench, 7, -1), (0, -1, 0, 0));
    assert_eq!(list(&mut bench, 7, 0), (0, -1, -1, -1));
    bench.cluster.advance(NOW + Duration::from_millis(10));
    assert_eq!(list(&mut bench, 7, -1), (0, -1, 1, 0));
}

#[test]
fn errors_of_leaders_topics_and_on_demand() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    assert!(bench.cluster.move_leader("t", 0, 2, true));
    assert_eq!(list(&mut bench, 7, -1).0, 6);
    bench.cluster.fail_next(Request::ListOffsets, 5, 1);
    assert_eq!(list(&mut bench, 7, -1).0, 5);
    bench.cluster.set_forbidden("t", true);
    assert_eq!(list(&mut bench, 7, -1).0, 29);
    bench.cluster.set_forbidden("t", false);
    bench.cluster.delete_topic("t");
    assert_eq!(list(&mut bench, 7, -1), (3, -1, -1, -1));
}

/// Code, epoch and end.
fn end_of(bench: &mut Bench, version: i16, epoch: i32) -> (i16, i32, i64) {
    let part = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![part]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let response: OffsetForLeaderEpochResponse =
        bench.call(ApiKey::OffsetForLeaderEpoch, version, &request).expect("an answer");
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

#[test]
fn where_an_epoch_ended_is_told() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    bench.produce(batch(-1, -1, -1, &["a", "b"]));
    assert!(bench.cluster.move_leader("t", 0, 2, true));
    assert!(bench.cluster.move_leader("t", 0, 3, true));
    bench.peer = bench.cluster.connect(3).expect("node 3 is up");
    bench.produce(batch(-1, -1, -1, &["c"]));
    assert!(bench.cluster.move_leader("t", 0, 1, true));
    bench.peer = bench.cluster.connect(1).expect("node 1 is up");
    for version in 2..=4 {
        assert_eq!(end_of(&mut bench, version, 0), (0, 0, 2));
        assert_eq!(end_of(&mut bench, version, 1), (0, 0, 2), "nothing was written in it");
        assert_eq!(end_of(&mut bench, version, 2), (0, 2, 3));
        assert_eq!(end_of(&mut bench, version, 3), (0, 3, 3), "the present one");
        assert_eq!(end_of(&mut bench, version, 4), (0, -1, -1));
    }
}
