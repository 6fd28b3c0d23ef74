//! Topics as admin clients create, delete and grow them.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
};
use milena::cluster::{Request, Settings};
use uuid::Uuid;

use crate::bench::{Bench, batch, name, text};

fn topic(called: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    let topic = CreatableTopic::default().with_name(name(called)).with_num_partitions(partitions);
    topic.with_replication_factor(replicas)
}

fn create(bench: &mut Bench, version: i16, topic: CreatableTopic) -> CreateTopicsResponse {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    bench.call(ApiKey::CreateTopics, version, &request).expect("an answer")
}

#[test]
fn topics_are_created_and_deleted_in_every_version() {
    for version in 2..=7 {
        let mut bench = Bench::with(Settings::default().nodes(3));
        let response = create(&mut bench, version, topic("new", 5, 2));
        let created = &response.topics[0];
        assert_eq!((created.error_code, created.name.as_str()), (0, "new"));
        assert_eq!((bench.cluster.partitions("new"), bench.cluster.in_sync("new", 0).len()), (5, 2));
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (5, 2));
        }
        let id = Uuid::from_bytes(bench.cluster.topic_id("new").expect("it is there"));
        assert_eq!(created.topic_id, if version >= 7 { id } else { Uuid::nil() });
        let deleting = version.min(6);
        let request = match deleting {
            6 => DeleteTopicsRequest::default().with_topics(vec![DeleteTopicState::default().with_topic_id(id)]),
            _ => DeleteTopicsRequest::default().with_topic_names(vec![name("new")]),
        };
        let response: DeleteTopicsResponse = bench.call(ApiKey::DeleteTopics, deleting, &request).expect("an answer");
        assert_eq!(response.responses[0].error_code, 0);
        assert_eq!(bench.cluster.topic_id("new"), None);
        let response: DeleteTopicsResponse = bench.call(ApiKey::DeleteTopics, deleting, &request).expect("an answer");
        assert_eq!(response.responses[0].error_code, if deleting == 6 { 100 } else { 3 });
    }
}

#[test]
fn the_clusters_usual_numbers_are_taken_where_none_are_given() {
    let mut bench = Bench::with(Settings::default().nodes(3).default_partitions(7));
    assert_eq!(create(&mut bench, 7, topic("usual", -1, -1)).topics[0].error_code, 0);
    assert_eq!((bench.cluster.partitions("usual"), bench.cluster.in_sync("usual", 0).len()), (7, 3));
    let assignments = vec![CreatableReplicaAssignment::default(), CreatableReplicaAssignment::default()];
    assert_eq!(create(&mut bench, 7, topic("placed", -1, -1).with_assignments(assignments)).topics[0].error_code, 0);
    assert_eq!(bench.cluster.partitions("placed"), 2);
}

#[test]
fn what_cannot_be_created_is_refused_and_why() {
    let mut bench = Bench::new();
    bench.cluster.set_forbidden("secret", true);
    let cases = [
        (topic("t", 1, 1), 36),
        (topic("a/b", 1, 1), 17),
        (topic("secret", 1, 1), 29),
        (topic("none", 0, 1), 37),
        (topic("many", i32::MAX, 1), 37),
        (topic("wide", 1, 2), 38),
        (topic("narrow", 1, 0), 38),
    ];
    for (asked, code) in cases {
        let response = create(&mut bench, 7, asked);
        assert_eq!(response.topics[0].error_code, code, "{:?}", response.topics[0].name);
        assert!(response.topics[0].error_message.is_some());
    }
    bench.cluster.fail_next(Request::CreateTopics, 44, 1);
    assert_eq!(create(&mut bench, 7, topic("late", 1, 1)).topics[0].error_code, 44);
    assert_eq!(bench.cluster.topics(), ["t"]);
}

#[test]
fn who_only_asks_whether_it_would_do_creates_nothing() {
    let mut bench = Bench::new();
    let request = CreateTopicsRequest::default().with_topics(vec![topic("new", 1, 1)]).with_validate_only(true);
    let response: CreateTopicsResponse = bench.call(ApiKey::CreateTopics, 7, &request).expect("an answer");
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(bench.cluster.topics(), ["t"]);
}

#[test]
fn a_topics_configuration_counts() {
    let config =
        |name: &str, value: &str| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let mut bench = Bench::with(Settings::default().nodes(2));
    bench.cluster.delete_topic("t");
    let configs = vec![
        config("max.message.bytes", "100"),
        config("min.insync.replicas", "2"),
        config("message.timestamp.type", "LogAppendTime"),
        config("retention.ms", "1000"),
    ];
    assert_eq!(create(&mut bench, 7, topic("t", 1, 2).with_configs(configs)).topics[0].error_code, 0);
    assert_eq!(bench.produce(batch(-1, -1, -1, &[&"x".repeat(200)])).0, 10);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["x"])).0, 0);
    assert_eq!(bench.cluster.record("t", 0, 0).map(|record| record.timestamp), Some(1_700_000_001_000));
    bench.cluster.crash(2);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["x"])).0, 19);
    let bad = topic("bad", 1, 1).with_configs(vec![config("max.message.bytes", "large")]);
    assert_eq!(create(&mut bench, 7, bad).topics[0].error_code, 40);
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    for version in 0..=3 {
        let mut bench = Bench::new();
        let mut grow = |called: &str, count: i32, validate: bool| {
            let topic = CreatePartitionsTopic::default().with_name(name(called)).with_count(count);
            let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_validate_only(validate);
            let response: CreatePartitionsResponse =
                bench.call(ApiKey::CreatePartitions, version, &request).expect("an answer");
            (response.results[0].error_code, bench.cluster.partitions("t"))
        };
        assert_eq!(grow("t", 3, true), (0, 1));
        assert_eq!(grow("t", 3, false), (0, 3));
        assert_eq!(grow("t", 3, false), (37, 3));
        assert_eq!(grow("t", i32::MAX, false), (37, 3));
        assert_eq!(grow("other", 3, false), (3, 3));
    }
}

/// Code, and names with values and sources.
fn configs(
    bench: &mut Bench,
    version: i16,
    kind: i8,
    called: &str,
    keys: Option<&[&str]>,
) -> (i16, Vec<(String, String, i8)>) {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(called));
    let resource = resource.with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response: DescribeConfigsResponse = bench.call(ApiKey::DescribeConfigs, version, &request).expect("an answer");
    let result = &response.results[0];
    let configs = result.configs.iter().map(|config| {
        (config.name.to_string(), config.value.as_ref().expect("a value").to_string(), config.config_source)
    });
    (result.error_code, configs.collect())
}

#[test]
fn what_counts_of_a_configuration_is_told() {
    for version in 1..=4 {
        let mut bench = Bench::new();
        let settings = milena::cluster::TopicSettings::default().max_message_bytes(77);
        bench.cluster.create_topic_with("own", 1, settings);
        let told = |name: &str, value: &str, source| (name.to_string(), value.to_string(), source);
        let rest = [told("message.timestamp.type", "CreateTime", 5), told("min.insync.replicas", "1", 5)];
        let all = |first| [&[first][..], &rest].concat();
        let own = all(told("max.message.bytes", "77", 1));
        assert_eq!(configs(&mut bench, version, 2, "own", None), (0, own.clone()));
        assert_eq!(configs(&mut bench, version, 2, "own", Some(&["max.message.bytes"])), (0, own[..1].to_vec()));
        assert_eq!(configs(&mut bench, version, 2, "t", None), (0, all(told("max.message.bytes", "1048588", 5))));
        assert_eq!(configs(&mut bench, version, 4, "1", None), (0, vec![]));
        assert_eq!(configs(&mut bench, version, 2, "none", None), (3, vec![]));
        assert_eq!(configs(&mut bench, version, 16, "x", None), (42, vec![]));
    }
}
