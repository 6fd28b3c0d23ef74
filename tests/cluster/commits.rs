//! What groups commit is there when they ask for it.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use milena::cluster::Request;

use crate::bench::{Bench, name, text};
use crate::groups::{alone, group};

/// The code for partition 0 of `t`.
fn commit(bench: &mut Bench, version: i16, who: (&str, i32), offset: i64, metadata: &str) -> i16 {
    let mut part = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    part.committed_metadata = Some(text(metadata));
    if version >= 6 {
        part.committed_leader_epoch = 3;
    }
    let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![part]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_member_id(text(who.0))
        .with_generation_id_or_member_epoch(who.1)
        .with_topics(vec![topic]);
    let response: OffsetCommitResponse = bench.call(ApiKey::OffsetCommit, version, &request).expect("an answer");
    response.topics[0].partitions[0].error_code
}

/// Code, partition, offset, leader epoch and metadata of each partition of `t`.
type Fetched = Vec<(i16, i32, i64, i32, String)>;

fn fetch(bench: &mut Bench, version: i16, numbers: Option<&[i32]>) -> Fetched {
    let mut request = OffsetFetchRequest::default();
    if version >= 8 {
        let topics = numbers.map(|numbers| {
            vec![OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(numbers.to_vec())]
        });
        request.groups = vec![OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(topics)];
    } else {
        request.group_id = group();
        request.topics = numbers.map(|numbers| {
            vec![OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(numbers.to_vec())]
        });
    }
    let response: OffsetFetchResponse = bench.call(ApiKey::OffsetFetch, version, &request).expect("an answer");
    let words = |text: &Option<kafka_protocol::protocol::StrBytes>| text.as_ref().map(|text| text.to_string());
    if version >= 8 {
        let group = &response.groups[0];
        let parts = group.topics.iter().flat_map(|topic| &topic.partitions).map(|part| {
            let metadata = words(&part.metadata).unwrap_or_default();
            (part.error_code, part.partition_index, part.committed_offset, part.committed_leader_epoch, metadata)
        });
        return parts.collect();
    }
    let parts = response.topics.iter().flat_map(|topic| &topic.partitions).map(|part| {
        let metadata = words(&part.metadata).unwrap_or_default();
        (part.error_code, part.partition_index, part.committed_offset, part.committed_leader_epoch, metadata)
    });
    parts.collect()
}

#[test]
fn what_was_committed_is_fetched_in_every_version() {
    for version in 2..=9 {
        let mut bench = Bench::new();
        assert_eq!(commit(&mut bench, version, ("", -1), 42, "noted"), 0);
        assert_eq!(bench.cluster.committed("g").get(&("t".into(), 0)), Some(&42));
        let epoch = if version >= 6 { 3 } else { -1 };
        for asking in 1..=9 {
            let epoch = if asking >= 5 { epoch } else { -1 };
            let wanted = vec![(0, 0, 42, epoch, "noted".to_string()), (0, 7, -1, -1, String::new())];
            assert_eq!(fetch(&mut bench, asking, Some(&[0, 7])), wanted, "{version}, {asking}");
            if asking >= 2 {
                assert_eq!(fetch(&mut bench, asking, None), wanted[..1]);
            }
        }
    }
}

#[test]
fn nothing_was_committed_at_first() {
    let mut bench = Bench::new();
    assert_eq!(fetch(&mut bench, 9, Some(&[0])), [(0, 0, -1, -1, String::new())]);
    assert_eq!(fetch(&mut bench, 9, None), []);
}

#[test]
fn members_of_the_present_generation_commit_and_nobody_else() {
    let mut bench = Bench::new();
    let member = alone(&mut bench);
    assert_eq!(commit(&mut bench, 9, (&member.id, member.generation), 1, ""), 0);
    assert_eq!(commit(&mut bench, 9, (&member.id, member.generation - 1), 2, ""), 22);
    assert_eq!(commit(&mut bench, 9, ("nobody", member.generation), 2, ""), 25);
    assert_eq!(commit(&mut bench, 9, ("", -1), 2, ""), 25);
    assert_eq!(fetch(&mut bench, 9, Some(&[0]))[0].2, 1);
}

#[test]
fn unknown_topics_long_metadata_and_demanded_codes() {
    let mut bench = Bench::new();
    assert_eq!(commit(&mut bench, 9, ("", -1), 1, &"x".repeat(4097)), 12);
    bench.cluster.fail_next(Request::OffsetCommit, 14, 1);
    assert_eq!(commit(&mut bench, 9, ("", -1), 1, ""), 14);
    bench.cluster.delete_topic("t");
    assert_eq!(commit(&mut bench, 9, ("", -1), 1, ""), 3);
    assert!(bench.cluster.committed("g").is_empty());
    bench.cluster.fail_next(Request::OffsetFetch, 14, 1);
    assert_eq!(fetch(&mut bench, 1, Some(&[0])), [(14, 0, -1, -1, String::new())]);
}

#[test]
fn a_topic_that_is_created_anew_begins_at_its_beginning() {
    let mut bench = Bench::new();
    assert_eq!(commit(&mut bench, 9, ("", -1), 5, ""), 0);
    bench.cluster.create_topic("t", 1);
    assert_eq!(fetch(&mut bench, 9, Some(&[0]))[0].2, -1);
}
