//! What admin clients are told of topics and groups.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::answer::Unreadable;
use super::connection::Call;
use super::{Cluster, Request};

/// Kinds of what has a configuration.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const TOPICS_OWN: i8 = 1;
const DEFAULT: i8 = 5;

impl Cluster {
    pub(super) fn describe_configs(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: DescribeConfigsRequest = call.read()?;
        let mut response = DescribeConfigsResponse::default();
        for asked in request.resources {
            let mut answer = DescribeConfigsResult::default().with_resource_type(asked.resource_type);
            let code = match (self.demanded(Request::DescribeConfigs), asked.resource_type) {
                (Some(code), _) => code,
                (None, TOPIC) if !self.topics.contains_key(asked.resource_name.as_str()) => 3,
                (None, TOPIC | BROKER) => 0,
                (None, _) => 42,
            };
            if code == 0 && asked.resource_type == TOPIC {
                answer.configs = self.configs(asked.resource_name.as_str());
                if let Some(keys) = asked.configuration_keys {
                    answer.configs.retain(|config| keys.contains(&config.name));
                }
            }
            self.count_error(code);
            response.results.push(answer.with_error_code(code).with_resource_name(asked.resource_name));
        }
        response.throttle_time_ms = self.mischief.throttle(Request::DescribeConfigs);
        self.answer(&call, &response);
        Ok(())
    }

    /// What counts of a topic's configuration.
    fn configs(&self, topic: &str) -> Vec<DescribeConfigsResourceResult> {
        let own = self.topics.get(topic).map(|topic| topic.settings).unwrap_or_default();
        let config = |name: &'static str, own: Option<String>, usual: String| {
            let source = if own.is_some() { TOPICS_OWN } else { DEFAULT };
            let value = StrBytes::from_string(own.unwrap_or(usual));
            let config = DescribeConfigsResourceResult::default().with_name(StrBytes::from_static_str(name));
            config.with_value(Some(value)).with_config_source(source)
        };
        let (bytes, replicas) = (self.settings.max_message_bytes, self.settings.min_insync_replicas);
        let time = own.log_append_time.then(|| "LogAppendTime".to_string());
        Vec::from([
            config("max.message.bytes", own.max_message_bytes.map(|bytes| bytes.to_string()), bytes.to_string()),
            config("message.timestamp.type", time, "CreateTime".to_string()),
            config("min.insync.replicas", own.min_insync_replicas.map(|own| own.to_string()), replicas.to_string()),
        ])
    }

    pub(super) fn list_groups(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: ListGroupsRequest = call.read()?;
        let mut response = ListGroupsResponse::default();
        response.error_code = self.demanded(Request::ListGroups).unwrap_or(0);
        self.count_error(response.error_code);
        let named = |names: &[StrBytes], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.as_str().eq_ignore_ascii_case(name))
        };
        let here = self.groups.iter().filter(|(name, group)| {
            let wanted = named(&request.states_filter, group.state()) && named(&request.types_filter, "classic");
            wanted && group.is_in_use() && self.coordinator(name) == Some(call.node)
        });
        for (name, group) in here.filter(|_| response.error_code == 0) {
            let mut listed = ListedGroup::default().with_group_id(GroupId(StrBytes::from_string(name.clone())));
            listed.protocol_type = StrBytes::from_string(group.protocol_type().to_string());
            if call.version >= 4 {
                listed.group_state = StrBytes::from_static_str(group.state());
            }
            if call.version >= 5 {
                listed.group_type = StrBytes::from_static_str("classic");
            }
            response.groups.push(listed);
        }
        if call.version >= 1 {
            response.throttle_time_ms = self.mischief.throttle(Request::ListGroups);
        }
        self.answer(&call, &response);
        Ok(())
    }

    pub(super) fn describe_groups(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: DescribeGroupsRequest = call.read()?;
        let mut response = DescribeGroupsResponse::default();
        for name in request.groups {
            let mut answer = DescribedGroup::default();
            let code = self.group_at(&call, name.as_str()).err().unwrap_or(0);
            match self.groups.get(name.as_str()).filter(|group| code == 0 && group.is_in_use()) {
                Some(group) => {
                    answer.group_state = StrBytes::from_static_str(group.state());
                    answer.protocol_type = StrBytes::from_string(group.protocol_type().to_string());
                    answer.protocol_data = StrBytes::from_string(group.protocol().to_string());
                    for (id, member) in group.members() {
                        let mut told = DescribedGroupMember::default().with_member_id(StrBytes::from_string(id.into()));
                        told.client_id = StrBytes::from_string(member.client.clone());
                        told.client_host = StrBytes::from_static_str("/127.0.0.1");
                        told.member_metadata = member.said(group.protocol());
                        told.member_assignment = member.assignment.clone();
                        if call.version >= 4 {
                            told.group_instance_id = member.instance.clone().map(StrBytes::from_string);
                        }
                        answer.members.push(told);
                    }
                }
                // From version 6 on an unknown group is an error of its own (KIP-1043).
                None if code == 0 && call.version >= 6 => answer.error_code = 69,
                None => answer.error_code = code,
            }
            if answer.members.is_empty() && answer.group_state.is_empty() {
                answer.group_state = StrBytes::from_static_str("Dead");
            }
            self.count_error(answer.error_code);
            response.groups.push(answer.with_group_id(name));
        }
        if call.version >= 1 {
            response.throttle_time_ms = self.mischief.throttle(Request::DescribeGroups);
        }
        self.answer(&call, &response);
        Ok(())
    }
}
