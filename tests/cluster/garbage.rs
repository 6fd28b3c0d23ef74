//! Whatever a client says, the cluster neither panics nor takes more memory than the request is worth, and goes on serving others.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use milena::Instant;
use milena::cluster::{Cluster, Request, Settings, Versions};

use crate::bench::{Bench, batch, frame, name, text};
use crate::fetch::fetch;

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// A request of each kind and version, with something in most of its fields.
fn frames(cluster: &Cluster) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for request in Request::ALL {
        let Some((oldest, newest)) = Versions::KAFKA_4_3.range(*request) else { continue };
        for version in oldest.max(if *request == Request::Produce { 3 } else { 0 })..=newest {
            all.push(of(cluster, *request, version));
        }
    }
    all
}

fn of(cluster: &Cluster, request: Request, version: i16) -> Vec<u8> {
    let group = || GroupId(text("g"));
    match request {
        Request::Produce => {
            let data = produce_request::PartitionProduceData::default().with_records(Some(batch(5, 0, 0, &["a", "b"])));
            let mut topic = produce_request::TopicProduceData::default().with_partition_data(vec![data]);
            if version >= 13 {
                topic.topic_id = uuid::Uuid::from_bytes(cluster.topic_id("t").expect("the topic"));
            } else {
                topic.name = name("t");
            }
            let request = ProduceRequest::default().with_acks(1).with_timeout_ms(100).with_topic_data(vec![topic]);
            frame(ApiKey::Produce, version, &request)
        }
        Request::Fetch => frame(ApiKey::Fetch, version, &fetch(cluster, version, 0).with_max_wait_ms(100)),
        Request::ListOffsets => {
            let part = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
            let topic = list_offsets_request::ListOffsetsTopic::default().with_name(name("t"));
            let topics = vec![topic.with_partitions(vec![part])];
            frame(ApiKey::ListOffsets, version, &ListOffsetsRequest::default().with_topics(topics))
        }
        Request::Metadata => {
            let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name("t")));
            frame(ApiKey::Metadata, version, &MetadataRequest::default().with_topics(Some(vec![topic])))
        }
        Request::OffsetCommit => {
            let part = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(1);
            let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(name("t"));
            let request = OffsetCommitRequest::default().with_group_id(group());
            frame(ApiKey::OffsetCommit, version, &request.with_topics(vec![topic.with_partitions(vec![part])]))
        }
        Request::OffsetFetch if version >= 8 => {
            let asked =
                offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
            frame(ApiKey::OffsetFetch, version, &OffsetFetchRequest::default().with_groups(vec![asked]))
        }
        Request::OffsetFetch => {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default().with_name(name("t"));
            let topic = topic.with_partition_indexes(vec![0, 1]);
            let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
            frame(ApiKey::OffsetFetch, version, &request)
        }
        Request::FindCoordinator => {
            let mut request = FindCoordinatorRequest::default();
            if version >= 4 {
                request.coordinator_keys = vec![text("g"), text("h")];
            } else {
                request.key = text("g");
            }
            frame(ApiKey::FindCoordinator, version, &request)
        }
        Request::JoinGroup => {
            let known = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
            let known = vec![known.with_metadata(Bytes::from_static(b"said"))];
            let request = JoinGroupRequest::default().with_group_id(group()).with_protocol_type(text("consumer"));
            let request = request.with_session_timeout_ms(10_000).with_protocols(known);
            frame(ApiKey::JoinGroup, version, &request)
        }
        Request::SyncGroup => {
            let assignment = sync_group_request::SyncGroupRequestAssignment::default().with_member_id(text("m"));
            let request = SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![assignment]);
            frame(ApiKey::SyncGroup, version, &request)
        }
        Request::Heartbeat => frame(ApiKey::Heartbeat, version, &HeartbeatRequest::default().with_group_id(group())),
        Request::LeaveGroup => {
            let mut request = LeaveGroupRequest::default().with_group_id(group());
            if version >= 3 {
                request.members = vec![leave_group_request::MemberIdentity::default().with_member_id(text("m"))];
            }
            frame(ApiKey::LeaveGroup, version, &request)
        }
        Request::CreateTopics => {
            let config = create_topics_request::CreatableTopicConfig::default().with_name(text("retention.ms"));
            let topic = create_topics_request::CreatableTopic::default().with_name(name("new")).with_num_partitions(2);
            let topic = topic.with_replication_factor(1).with_configs(vec![config]);
            frame(ApiKey::CreateTopics, version, &CreateTopicsRequest::default().with_topics(vec![topic]))
        }
        Request::DeleteTopics => {
            let mut request = DeleteTopicsRequest::default();
            if version >= 6 {
                request.topics = vec![delete_topics_request::DeleteTopicState::default().with_name(Some(name("new")))];
            } else {
                request.topic_names = vec![name("new")];
            }
            frame(ApiKey::DeleteTopics, version, &request)
        }
        Request::CreatePartitions => {
            let topic = create_partitions_request::CreatePartitionsTopic::default().with_name(name("t")).with_count(3);
            frame(ApiKey::CreatePartitions, version, &CreatePartitionsRequest::default().with_topics(vec![topic]))
        }
        Request::OffsetForLeaderEpoch => {
            let part = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
            let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_topic(name("t"));
            let topics = vec![topic.with_partitions(vec![part])];
            frame(ApiKey::OffsetForLeaderEpoch, version, &OffsetForLeaderEpochRequest::default().with_topics(topics))
        }
        Request::DescribeConfigs => {
            let resource = describe_configs_request::DescribeConfigsResource::default().with_resource_type(2);
            let resource = resource.with_resource_name(text("t")).with_configuration_keys(None);
            frame(ApiKey::DescribeConfigs, version, &DescribeConfigsRequest::default().with_resources(vec![resource]))
        }
        Request::ListGroups => {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request.states_filter = vec![text("Stable")];
            }
            frame(ApiKey::ListGroups, version, &request)
        }
        Request::DescribeGroups => {
            frame(ApiKey::DescribeGroups, version, &DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        Request::ApiVersions => {
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request = request.with_client_software_name(text("x")).with_client_software_version(text("1"));
            }
            frame(ApiKey::ApiVersions, version, &request)
        }
        Request::InitProducerId => {
            let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1);
            frame(ApiKey::InitProducerId, version, &request)
        }
        Request::SaslHandshake => {
            frame(ApiKey::SaslHandshake, version, &SaslHandshakeRequest::default().with_mechanism(text("PLAIN")))
        }
        Request::SaslAuthenticate => {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(b"\0u\0p"));
            frame(ApiKey::SaslAuthenticate, version, &request)
        }
        other => panic!("no example of {other:?}"),
    }
}

#[test]
fn requests_of_every_kind_and_version_are_answered() {
    for request in Request::ALL {
        let Some((oldest, newest)) = Versions::KAFKA_4_3.range(*request) else { continue };
        for version in oldest.max(if *request == Request::Produce { 3 } else { 0 })..=newest {
            let mut bench = Bench::new();
            let bytes = of(&bench.cluster, *request, version);
            bench.cluster.receive(Instant::ZERO, bench.peer, &bytes);
            bench.cluster.advance(Instant::from_millis(100));
            let answered = !bench.cluster.take_output(bench.peer).is_empty();
            // Without SASL nobody may authenticate.
            assert_eq!(answered, *request != Request::SaslAuthenticate, "{request:?} {version}");
        }
    }
}

#[test]
fn requests_with_bytes_changed_do_no_harm() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let settings = Settings::default().nodes(2).replication_lag(Duration::from_millis(3));
    let mut bench = Bench::with(settings);
    let all = frames(&bench.cluster);
    let mut now = Instant::ZERO;
    for round in 0..10_000 {
        let mut bytes = all[dice.below(all.len())].clone();
        for _ in 0..dice.below(4) {
            // Behind the length and the kind of request; often a byte of an array's count.
            let at = 8 + dice.below(bytes.len() - 8);
            match dice.below(5) {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = 0x7f,
                2 => bytes[at] = 0,
                3 => bytes[at] ^= 1 << dice.below(8),
                _ => bytes.truncate(at),
            }
            if bytes.len() < 13 {
                break;
            }
        }
        let length = bytes.len() as i32 - 4;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        let peer = bench.cluster.connect(1 + dice.below(2) as i32).expect("it is up");
        bench.cluster.receive(now, peer, &bytes);
        bench.cluster.take_output(peer);
        if dice.below(40) > 0 {
            bench.cluster.disconnect(peer);
        }
        if round % 7 == 0 {
            now = now + Duration::from_millis(dice.below(50) as u64);
            bench.cluster.advance(now);
        }
        if round % 1000 == 0 {
            bench.cluster.create_topic("t", 1); // somebody may have deleted it
            bench.peer = bench.cluster.connect(1).expect("node 1 is up");
            let request = of(&bench.cluster, Request::Metadata, 12);
            bench.cluster.receive(now, bench.peer, &request);
            assert!(!bench.cluster.take_output(bench.peer).is_empty(), "round {round}");
        }
    }
}

#[test]
fn bytes_without_meaning_do_no_harm() {
    let mut dice = Dice(77);
    let mut bench = Bench::new();
    for _ in 0..20_000 {
        let peer = bench.cluster.connect(1).expect("node 1 is up");
        let mut bytes: Vec<u8> = (0..dice.below(80)).map(|_| dice.below(256) as u8).collect();
        let request = Request::ALL[dice.below(Request::ALL.len())];
        let (_, newest) = Versions::KAFKA_4_3.range(request).expect("all are offered");
        let head = [request.key().to_be_bytes(), (dice.below(newest as usize + 1) as i16).to_be_bytes()].concat();
        bytes.splice(0..0, [&(bytes.len() as i32 + 4).to_be_bytes()[..], &head].concat());
        bench.cluster.receive(Instant::ZERO, peer, &bytes);
        bench.cluster.disconnect(peer);
    }
}
