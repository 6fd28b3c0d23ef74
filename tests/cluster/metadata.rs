//! Versions, metadata, producer ids.

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use milena::cluster::{Settings, Versions};

use crate::bench::{Bench, NOW, answer, batch, frame};

#[test]
fn a_version_that_is_not_offered_closes_the_connection() {
    let mut bench = Bench::with(Settings::default().versions(Versions::KAFKA_2_1));
    let response: Option<ProduceResponse> = bench.call(ApiKey::Produce, 9, &ProduceRequest::default());
    assert!(response.is_none());
    assert!(bench.cluster.is_closed(bench.peer));
}

#[test]
fn an_api_versions_version_that_is_not_offered_is_error_35_in_the_oldest_form() {
    let mut bench = Bench::with(Settings::default().versions(Versions::KAFKA_2_1));
    let named = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("x"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    bench.cluster.receive(NOW, bench.peer, &frame(ApiKey::ApiVersions, 3, &named));
    let response: ApiVersionsResponse =
        answer(&bench.cluster.take_output(bench.peer), ApiKey::ApiVersions, 0).expect("an answer");
    assert_eq!(response.error_code, 35);
    let range = &response.api_keys[0];
    assert_eq!((range.api_key, range.min_version, range.max_version), (18, 0, 2));
}

#[test]
fn a_software_name_that_kafka_forbids_is_error_42() {
    let request = ApiVersionsRequest::default().with_client_software_name(StrBytes::from_static_str("-x"));
    let response: ApiVersionsResponse = Bench::new().call(ApiKey::ApiVersions, 3, &request).expect("an answer");
    assert_eq!(response.error_code, 42);
}

fn metadata(bench: &mut Bench, topics: &[&str], create: bool) -> MetadataResponse {
    let topic = |name: &&str| {
        let name = TopicName(StrBytes::from_string(name.to_string()));
        kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(name))
    };
    let topics = topics.iter().map(topic).collect();
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(create);
    bench.call(ApiKey::Metadata, 12, &request).expect("an answer")
}

#[test]
fn a_topic_is_created_on_first_use_and_has_leaders_a_moment_later() {
    let mut bench = Bench::new();
    assert_eq!(metadata(&mut bench, &["new"], true).topics[0].error_code, 5);
    let response = metadata(&mut bench, &["new"], true);
    assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 4));
}

#[test]
fn a_topic_is_not_created_if_nobody_wants_it() {
    let mut bench = Bench::new();
    assert_eq!(metadata(&mut bench, &["new"], false).topics[0].error_code, 3);
    assert_eq!(metadata(&mut bench, &["new"], false).topics[0].error_code, 3);
}

#[test]
fn forbidden_names_are_error_17() {
    for name in ["", ".", "..", "a/b", "ä", &"x".repeat(250)] {
        assert_eq!(metadata(&mut Bench::new(), &[name], true).topics[0].error_code, 17, "{name:?}");
    }
}

#[test]
fn forbidden_topics_are_error_29() {
    let mut bench = Bench::new();
    bench.cluster.set_forbidden("t", true);
    assert_eq!(metadata(&mut bench, &["t"], true).topics[0].error_code, 29);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 29);
}

#[test]
fn no_topics_asked_for_are_none_told() {
    let response = metadata(&mut Bench::new(), &[], true);
    assert_eq!((response.brokers.len(), response.topics.len()), (1, 0));
}

#[test]
fn producer_ids_are_new_each_time() {
    let mut bench = Bench::new();
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_producer_id((-1).into());
    let first: InitProducerIdResponse = bench.call(ApiKey::InitProducerId, 4, &request).expect("an answer");
    let second: InitProducerIdResponse = bench.call(ApiKey::InitProducerId, 4, &request).expect("an answer");
    assert_ne!(first.producer_id, second.producer_id);
}
