//! What an operator does to a cluster, in versions of the requests that Kafka 2.1 to 4.4 know, without the seconds that a tool
//! of Kafka's takes to start.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, ApiKey, BrokerId, CreateAclsRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteTopicsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, ElectLeadersRequest, MetadataRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

/// How long a cluster may take for what it is asked to do.
const PATIENCE_MS: i32 = 20_000;

/// Creates a topic, and waits until each partition has a leader.
pub fn create_topic(servers: &[String], topic: &str, partitions: u32, replicas: u32, config: &[&str]) {
    let config = config.iter().map(|option| {
        let (name, value) = option.split_once('=').expect("a name and a value");
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    let new = CreatableTopic::default().with_name(name(topic)).with_num_partitions(partitions as i32);
    let new = new.with_replication_factor(replicas as i16).with_configs(config.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(PATIENCE_MS);
    // While one of that name is being deleted, it is said to be there.
    ask_controller(servers, 2, &request, |answer| Some(answer.topics.first()?.error_code), |code| code == 0);
    until(|| leaders(servers, topic).filter(|leaders| leaders.len() == partitions as usize && !leaders.contains(&-1)));
}

/// Deletes a topic. It may take a moment until all nodes know.
pub fn delete_topic(servers: &[String], topic: &str) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(PATIENCE_MS);
    let code = |answer: &kafka_protocol::messages::DeleteTopicsResponse| Some(answer.responses.first()?.error_code);
    ask_controller(servers, 1, &request, code, |code| matches!(code, 0 | 3));
}

/// The ids of the partitions' leaders, as the server has them that knows the newest.
pub fn leaders(servers: &[String], topic: &str) -> Option<Vec<i32>> {
    let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let mut newest: BTreeMap<i32, (i32, i32)> = BTreeMap::new();
    for metadata in servers.iter().filter_map(|server| call(server, 7, &request)) {
        for partition in metadata.topics.into_iter().flat_map(|topic| topic.partitions) {
            let told = (partition.leader_epoch, partition.leader_id.0);
            let known = newest.entry(partition.partition_index).or_insert(told);
            *known = told.max(*known);
        }
    }
    (!newest.is_empty()).then(|| newest.into_values().map(|(_, leader)| leader).collect())
}

/// Gives a partition these replicas, and makes the first of them its leader.
pub fn move_leader(servers: &[String], topic: &str, partition: u32, replicas: &[i32]) {
    let ids = replicas.iter().map(|id| BrokerId(*id)).collect();
    let placed = ReassignablePartition::default().with_partition_index(partition as i32).with_replicas(Some(ids));
    let placed = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![placed]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![placed]).with_timeout_ms(PATIENCE_MS);
    ask_controller(servers, 0, &request, |answer| Some(answer.error_code), |code| code == 0);
    let which = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![partition as i32]);
    let elect = ElectLeadersRequest::default().with_topic_partitions(Some(vec![which])).with_timeout_ms(PATIENCE_MS);
    until(|| {
        ask_controller(servers, 1, &elect, |answer| Some(answer.error_code), |code| code == 0);
        let leader = *leaders(servers, topic)?.get(partition as usize)?;
        (replicas.first() == Some(&leader)).then_some(())
    });
}

/// Gives a topic so many partitions, and waits until each has a leader.
pub fn add_partitions(servers: &[String], topic: &str, partitions: u32) {
    let more = CreatePartitionsTopic::default().with_name(name(topic)).with_count(partitions as i32);
    let request = CreatePartitionsRequest::default().with_topics(vec![more.with_assignments(None)]);
    let request = request.with_timeout_ms(PATIENCE_MS);
    // Refused as invalid where it has them already, by an attempt whose answer was lost.
    ask_controller(
        servers,
        1,
        &request,
        |answer| Some(answer.results.first()?.error_code),
        |code| matches!(code, 0 | INVALID_PARTITIONS),
    );
    until(|| leaders(servers, topic).filter(|leaders| leaders.len() == partitions as usize && !leaders.contains(&-1)));
}

/// How many bytes a second a client may produce at each node; `None` ends that.
pub fn limit_rate(servers: &[String], client: &str, rate: Option<f64>) {
    let who = EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text(client)));
    let what = OpData::default().with_key(text("producer_byte_rate")).with_value(rate.unwrap_or(0.0));
    let entry = EntryData::default().with_entity(vec![who]).with_ops(vec![what.with_remove(rate.is_none())]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    ask_controller(servers, 0, &request, |answer| Some(answer.entries.first()?.error_code), |code| code == 0);
}

/// The id of the active controller.
pub fn quorum_leader(servers: &[String]) -> Option<i32> {
    let topic = TopicData::default().with_topic_name(name("__cluster_metadata"));
    let request =
        DescribeQuorumRequest::default().with_topics(vec![topic.with_partitions(vec![PartitionData::default()])]);
    let answer = servers.iter().find_map(|server| call(server, 0, &request))?;
    let partition = answer.topics.first()?.partitions.first()?;
    (partition.error_code == 0).then_some(partition.leader_id.0)
}

/// How many producers a server knows that leads this partition.
pub fn known_producers(server: &str, topic: &str, partition: u32) -> Option<usize> {
    let topic = TopicRequest::default().with_name(name(topic)).with_partition_indexes(vec![partition as i32]);
    let answer = call(server, 0, &DescribeProducersRequest::default().with_topics(vec![topic]))?;
    let partition = answer.topics.first()?.partitions.first()?;
    (partition.error_code == 0).then_some(partition.active_producers.len())
}

/// Lets a user write to a topic.
pub fn allow_write(servers: &[String], user: &str, topic: &str) {
    allow(servers, user, (TOPIC, topic), WRITE);
}

/// Lets a user have a producer id, which is a right of its own before Kafka 2.8.
pub fn allow_idempotence(servers: &[String], user: &str) {
    allow(servers, user, (CLUSTER, "kafka-cluster"), IDEMPOTENT_WRITE);
}

fn allow(servers: &[String], user: &str, (kind, name): (i8, &str), what: i8) {
    let right = AclCreation::default().with_resource_type(kind).with_resource_name(text(name)).with_host(text("*"));
    let right = right.with_resource_pattern_type(LITERAL).with_principal(text(&format!("User:{user}")));
    let right = right.with_operation(what).with_permission_type(ALLOW);
    let request = CreateAclsRequest::default().with_creations(vec![right]);
    ask_controller(servers, 1, &request, |answer| Some(answer.results.first()?.error_code), |code| code == 0);
}

/// Takes that away again.
pub fn forbid_write(servers: &[String], user: &str, topic: &str) {
    let right = DeleteAclsFilter::default().with_resource_type_filter(TOPIC).with_host_filter(Some(text("*")));
    let right = right.with_resource_name_filter(Some(text(topic))).with_pattern_type_filter(LITERAL);
    let right = right.with_principal_filter(Some(text(&format!("User:{user}"))));
    let right = right.with_operation(WRITE).with_permission_type(ALLOW);
    let request = DeleteAclsRequest::default().with_filters(vec![right]);
    ask_controller(servers, 1, &request, |answer| Some(answer.filter_results.first()?.error_code), |code| code == 0);
}

const INVALID_PARTITIONS: i16 = 37;

// Kafka's numbers for them.
const TOPIC: i8 = 2;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const WRITE: i8 = 4;
const IDEMPOTENT_WRITE: i8 = 12;
const ALLOW: i8 = 3;

/// Asks until it is answered well: controllers change, and a new cluster knows little.
fn ask_controller<Q: Request>(
    servers: &[String],
    version: i16,
    request: &Q,
    code: impl Fn(&Q::Response) -> Option<i16>,
    is_good: impl Fn(i16) -> bool,
) {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        if let Some(answer) = controller(servers).and_then(|server| call(&server, version, request)) {
            last = code(&answer);
            if last.is_some_and(&is_good) {
                return;
            }
        }
        std::thread::sleep(PAUSE);
    }
    panic!("the controller does not do it: {last:?}");
}

/// The address of the node that takes such requests.
fn controller(servers: &[String]) -> Option<String> {
    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let metadata = servers.iter().find_map(|server| call(server, 4, &request))?;
    let node = metadata.brokers.iter().find(|broker| broker.node_id == metadata.controller_id)?;
    Some(format!("{}:{}", node.host, node.port))
}

/// One request on a connection of its own; `None` if it is not answered.
fn call<Q: Request>(server: &str, version: i16, request: &Q) -> Option<Q::Response> {
    let api = ApiKey::try_from(Q::KEY).expect("a kind of request");
    let mut bytes = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(Q::KEY).with_request_api_version(version);
    header.encode(&mut bytes, api.request_header_version(version)).expect("a header");
    request.encode(&mut bytes, version).expect("a request of this version");
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(PATIENCE_MS as u64))).ok()?;
    stream.write_all(&[&(bytes.len() as i32).to_be_bytes()[..], &bytes].concat()).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).ok()?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, api.response_header_version(version)).expect("a header");
    Some(Q::Response::decode(&mut answer, version).expect("a response of this version"))
}

/// Looks until it is so.
pub fn until<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("it does not come to be");
}

const ATTEMPTS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
