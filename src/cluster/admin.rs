//! Topics created, deleted and grown by clients.

use alloc::format;
use alloc::string::{String, ToString};

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::answer::Unreadable;
use super::connection::Call;
use super::topics::is_legal;
use super::{Cluster, Request, TopicSettings};

/// More would be a mistake, and take all memory.
const MOST_PARTITIONS: i32 = 100_000;

/// A code of Kafka's, and why.
type Refusal = (i16, String);

impl Cluster {
    pub(super) fn create_topics(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: CreateTopicsRequest = call.read()?;
        let mut response = CreateTopicsResponse::default();
        for asked in request.topics {
            let created = match self.demanded(Request::CreateTopics) {
                Some(code) => Err((code, "on demand".to_string())),
                None => self.creatable(&asked),
            };
            let mut answer = CreatableTopicResult::default().with_name(asked.name.clone());
            match created {
                Ok((partitions, settings)) => {
                    if !request.validate_only {
                        let id = self.create_topic_with(asked.name.as_str(), partitions, settings);
                        if call.version >= 7 {
                            answer.topic_id = Uuid::from_bytes(id);
                        }
                    }
                    if call.version >= 5 {
                        answer.num_partitions = partitions;
                        let usual = self.settings.replication_factor;
                        let replicas = settings.replication_factor.unwrap_or(usual).min(self.settings.nodes);
                        answer.replication_factor = replicas as i16;
                    }
                }
                Err((code, words)) => {
                    self.count_error(code);
                    answer = answer.with_error_code(code).with_error_message(Some(StrBytes::from_string(words)));
                }
            }
            response.topics.push(answer);
        }
        response.throttle_time_ms = self.mischief.throttle(Request::CreateTopics);
        self.answer(&call, &response);
        Ok(())
    }

    /// Partitions and settings of a topic that a client wants.
    fn creatable(&self, asked: &CreatableTopic) -> Result<(i32, TopicSettings), Refusal> {
        let name = asked.name.as_str();
        if !is_legal(name) {
            return Err((17, format!("{name:?} is no name for a topic")));
        }
        if self.forbidden.contains(name) {
            return Err((29, format!("topic {name} is forbidden")));
        }
        if self.topics.contains_key(name) {
            return Err((36, format!("Topic '{name}' already exists.")));
        }
        let mut settings = TopicSettings::default();
        let partitions = if asked.assignments.is_empty() {
            let (partitions, replicas) = (asked.num_partitions, i32::from(asked.replication_factor));
            if replicas != -1 {
                if !(1..=self.settings.nodes).contains(&replicas) {
                    let nodes = self.settings.nodes;
                    return Err((38, format!("{replicas} replicas, but {nodes} nodes")));
                }
                settings.replication_factor = Some(replicas);
            }
            if partitions == -1 { self.settings.default_partitions } else { partitions }
        } else {
            // Which nodes get them is the cluster's choice.
            asked.assignments.len() as i32
        };
        if !(1..=MOST_PARTITIONS).contains(&partitions) {
            return Err((37, format!("{partitions} partitions; from 1 to {MOST_PARTITIONS} are possible")));
        }
        for config in &asked.configs {
            let value = config.value.as_ref().map(|value| value.as_str()).unwrap_or_default();
            let number = || value.parse::<usize>().map_err(|_| (40, format!("{}: not a number", config.name.as_str())));
            match config.name.as_str() {
                "max.message.bytes" => settings.max_message_bytes = Some(number()?),
                "min.insync.replicas" => settings.min_insync_replicas = Some(number()?),
                "message.timestamp.type" => settings.log_append_time = value == "LogAppendTime",
                _ => {} // retention and the like: nothing is ever deleted
            }
        }
        Ok((partitions, settings))
    }

    pub(super) fn delete_topics(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: DeleteTopicsRequest = call.read()?;
        let by_name = request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
        let mut response = DeleteTopicsResponse::default();
        for asked in by_name.chain(request.topics) {
            let name = match &asked.name {
                Some(name) => Some(name.to_string()),
                None => self.name_of(asked.topic_id),
            };
            let id = name.as_ref().and_then(|name| self.topic_id(name));
            let code = match (self.demanded(Request::DeleteTopics), &name, id) {
                (Some(code), _, _) => code,
                (None, Some(name), Some(_)) if self.forbidden.contains(name) => 29,
                (None, _, Some(_)) => 0,
                (None, Some(_), None) => 3,
                (None, None, None) => 100,
            };
            if let Some(name) = name.as_ref().filter(|_| code == 0) {
                self.delete_topic(name);
            }
            self.count_error(code);
            let mut answer = DeletableTopicResult::default().with_error_code(code);
            answer.name = name.map(|name| TopicName(StrBytes::from_string(name)));
            if call.version >= 6 {
                answer.topic_id = id.map(Uuid::from_bytes).unwrap_or(asked.topic_id);
            }
            response.responses.push(answer);
        }
        response.throttle_time_ms = self.mischief.throttle(Request::DeleteTopics);
        self.answer(&call, &response);
        Ok(())
    }

    pub(super) fn create_partitions(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: CreatePartitionsRequest = call.read()?;
        let mut response = CreatePartitionsResponse::default();
        for asked in request.topics {
            let name = asked.name.as_str();
            let has = self.partitions(name);
            let refusal = match self.demanded(Request::CreatePartitions) {
                Some(code) => Some((code, "on demand".to_string())),
                None if !self.topics.contains_key(name) => Some((3, format!("there is no topic {name}"))),
                None if !(has + 1..=MOST_PARTITIONS).contains(&asked.count) => {
                    Some((37, format!("topic {name} has {has} partitions, and cannot have {} then", asked.count)))
                }
                None => None,
            };
            if refusal.is_none() && !request.validate_only {
                self.add_partitions(name, asked.count);
            }
            let mut answer = CreatePartitionsTopicResult::default();
            if let Some((code, words)) = refusal {
                self.count_error(code);
                (answer.error_code, answer.error_message) = (code, Some(StrBytes::from_string(words)));
            }
            response.results.push(answer.with_name(asked.name));
        }
        response.throttle_time_ms = self.mischief.throttle(Request::CreatePartitions);
        self.answer(&call, &response);
        Ok(())
    }
}
