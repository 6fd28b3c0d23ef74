//! Requests, and what nodes answer. Produce has a file of its own.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

use super::mischief::{Request, Treatment};
use super::{Cluster, ConnectionState, NodeState, Peer};
use crate::time::Instant;

/// The versions of SASL's requests, the same for all brokers from 2.4 on.
const SASL_HANDSHAKE: (i16, i16) = (0, 1);
const SASL_AUTHENTICATE: (i16, i16) = (0, 2);

/// What is wrong with a request: its connection is closed.
pub(super) struct Unreadable;

impl Cluster {
    /// Looks at what came in on a connection, request by request, until one has to wait.
    pub(super) fn work(&mut self, now: Instant, peer: Peer) {
        loop {
            let Some(connection) = self.peers.get_mut(&peer) else {
                return;
            };
            let node = connection.node;
            let idle = connection.state == ConnectionState::Open && connection.parked.is_none();
            if !idle || self.nodes[&node].state != NodeState::Up {
                return;
            }
            let Some(prefix) = connection.input.first_chunk::<4>() else {
                return;
            };
            let length = i32::from_be_bytes(*prefix);
            if !(8..=104_857_600).contains(&length) {
                connection.state = ConnectionState::Closing;
                return;
            }
            let end = 4 + length as usize;
            if connection.input.len() < end {
                return;
            }
            let rest = connection.input.split_off(end);
            let frame = Bytes::from(core::mem::replace(&mut connection.input, rest)).slice(4..);
            if self.serve(now, peer, node, frame).is_err() {
                if let Some(connection) = self.peers.get_mut(&peer) {
                    connection.state = ConnectionState::Closing;
                }
            }
        }
    }

    fn serve(&mut self, now: Instant, peer: Peer, node: i32, mut frame: Bytes) -> Result<(), Unreadable> {
        let (key, version) = (frame.get_i16_at(0), frame.get_i16_at(2));
        let (request, api) = match key {
            0 => (Request::Produce, ApiKey::Produce),
            3 => (Request::Metadata, ApiKey::Metadata),
            17 => (Request::SaslHandshake, ApiKey::SaslHandshake),
            18 => (Request::ApiVersions, ApiKey::ApiVersions),
            22 => (Request::InitProducerId, ApiKey::InitProducerId),
            36 => (Request::SaslAuthenticate, ApiKey::SaslAuthenticate),
            _ => return Err(Unreadable),
        };
        *self.counters.requests.entry(request).or_default() += 1;
        let open = matches!(request, Request::ApiVersions | Request::SaslHandshake | Request::SaslAuthenticate);
        if !open && !self.is_known(now, peer) {
            return Err(Unreadable); // as Kafka does with whoever has not said who it is, or too long ago
        }
        let offered = self.nodes[&node].versions;
        let (min, max) = match request {
            // What 4.x offers below 3 it refuses.
            Request::Produce => (offered.produce.0.max(3), offered.produce.1),
            Request::Metadata => offered.metadata,
            Request::ApiVersions => offered.api_versions,
            Request::InitProducerId => offered.init_producer_id.ok_or(Unreadable)?,
            Request::SaslHandshake => SASL_HANDSHAKE,
            Request::SaslAuthenticate => SASL_AUTHENTICATE,
        };
        let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        if !(min..=max).contains(&version) {
            if request != Request::ApiVersions {
                return Err(Unreadable);
            }
            // Answered in the oldest form, with the one thing that the client has to know.
            let versions = ApiVersion::default().with_api_key(18).with_min_version(min).with_max_version(max);
            let response = ApiVersionsResponse::default().with_error_code(35);
            self.answer(peer, api, 0, correlation, &response.with_api_keys(Vec::from([versions])));
            return Ok(());
        }
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).map_err(|_| Unreadable)?;
        let treatment = self.mischief.request(node, request);
        match treatment {
            Treatment::Serve
            | Treatment::HangUpAfter
            | Treatment::WrongCorrelation
            | Treatment::Odd
            | Treatment::Error(_) => {}
            Treatment::Hang => {
                if let Some(connection) = self.peers.get_mut(&peer) {
                    connection.state = ConnectionState::Hung;
                }
                return Ok(());
            }
            Treatment::HangUp => return Err(Unreadable),
            Treatment::Garbage => {
                if let Some(connection) = self.peers.get_mut(&peer) {
                    connection.output.extend_from_slice(&[0, 0, 0, 9]);
                    connection.output.extend_from_slice(&header.correlation_id.to_be_bytes());
                    connection.output.extend_from_slice(&[0xff; 5]);
                }
                return Ok(());
            }
        }
        let before = self.output_len(peer);
        match request {
            Request::ApiVersions => self.api_versions(peer, node, version, &header, frame, treatment)?,
            Request::Metadata => self.metadata(peer, version, &header, frame, treatment)?,
            Request::InitProducerId => self.init_producer_id(peer, version, &header, frame, treatment)?,
            Request::SaslHandshake => self.sasl_handshake(now, peer, version, &header, frame)?,
            Request::SaslAuthenticate => self.sasl_authenticate(now, peer, version, &header, frame)?,
            Request::Produce => return self.produce(now, peer, node, version, &header, frame, treatment),
        }
        self.finish(peer, before, treatment);
        Ok(())
    }

    pub(super) fn output_len(&self, peer: Peer) -> usize {
        self.peers.get(&peer).map_or(0, |connection| connection.output.len())
    }

    /// Spoils the answer that was written behind `before`, if that was decided.
    pub(super) fn finish(&mut self, peer: Peer, before: usize, treatment: Treatment) {
        let Some(connection) = self.peers.get_mut(&peer) else {
            return;
        };
        match treatment {
            Treatment::HangUpAfter => {
                connection.output.truncate(before);
                connection.state = ConnectionState::Closing;
            }
            Treatment::WrongCorrelation if connection.output.len() >= before + 8 => {
                connection.output[before + 4] ^= 0x40;
            }
            Treatment::WrongCorrelation
            | Treatment::Serve
            | Treatment::Hang
            | Treatment::HangUp
            | Treatment::Garbage
            | Treatment::Odd
            | Treatment::Error(_) => {}
        }
    }

    fn api_versions(
        &mut self,
        peer: Peer,
        node: i32,
        version: i16,
        header: &RequestHeader,
        mut body: Bytes,
        treatment: Treatment,
    ) -> Result<(), Unreadable> {
        let request = ApiVersionsRequest::decode(&mut body, version).map_err(|_| Unreadable)?;
        let named = |name: &StrBytes| {
            let edge = |c: char| c.is_ascii_alphanumeric();
            let name = name.as_str();
            name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || c == '-' || c == '.')
        };
        let valid = version < 3 || (named(&request.client_software_name) && named(&request.client_software_version));
        if treatment == Treatment::Odd && version > 0 {
            if let Some(connection) = self.peers.get_mut(&peer) {
                connection.output.extend_from_slice(&7i32.to_be_bytes());
                connection.output.extend_from_slice(&header.correlation_id.to_be_bytes());
                connection.output.extend_from_slice(&[0, 35, 0]);
            }
            return Ok(());
        }
        let code = if let Treatment::Error(code) = treatment {
            code
        } else if valid {
            self.demanded(Request::ApiVersions).unwrap_or(0)
        } else {
            42
        };
        let offered = self.nodes[&node].versions;
        let range = |key: i16, (min, max): (i16, i16)| {
            ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
        };
        let mut versions = Vec::new();
        if code == 0 {
            versions.extend([range(0, offered.produce), range(3, offered.metadata), range(18, offered.api_versions)]);
            versions.extend(offered.init_producer_id.map(|offered| range(22, offered)));
            if self.settings.sasl.is_some() {
                versions.extend([range(17, SASL_HANDSHAKE), range(36, SASL_AUTHENTICATE)]);
            }
        }
        let throttle = self.mischief.throttle(Request::ApiVersions);
        let response = ApiVersionsResponse::default().with_error_code(code).with_api_keys(versions);
        let response = response.with_throttle_time_ms(throttle);
        self.answer(peer, ApiKey::ApiVersions, version, header.correlation_id, &response);
        Ok(())
    }

    fn init_producer_id(
        &mut self,
        peer: Peer,
        version: i16,
        header: &RequestHeader,
        mut body: Bytes,
        treatment: Treatment,
    ) -> Result<(), Unreadable> {
        let request = InitProducerIdRequest::decode(&mut body, version).map_err(|_| Unreadable)?;
        let code = if let Treatment::Error(code) = treatment {
            Some(code)
        } else if request.transactional_id.is_some() {
            Some(16) // transactions are not served: no coordinator has this id
        } else {
            self.demanded(Request::InitProducerId)
        };
        let throttle = self.mischief.throttle(Request::InitProducerId);
        let mut response = InitProducerIdResponse::default().with_throttle_time_ms(throttle);
        match code {
            Some(code) => {
                response = response.with_error_code(code).with_producer_id((-1).into()).with_producer_epoch(-1)
            }
            None => {
                response = response
                    .with_producer_id(self.next_producer_id.into())
                    .with_producer_epoch(self.settings.producer_epoch);
                self.next_producer_id += 1;
            }
        }
        self.answer(peer, ApiKey::InitProducerId, version, header.correlation_id, &response);
        Ok(())
    }

    fn metadata(
        &mut self,
        peer: Peer,
        version: i16,
        header: &RequestHeader,
        mut body: Bytes,
        treatment: Treatment,
    ) -> Result<(), Unreadable> {
        let request = MetadataRequest::decode(&mut body, version).map_err(|_| Unreadable)?;
        let stale = treatment == Treatment::Odd;
        let mut response = MetadataResponse::default().with_controller_id(1.into());
        response.throttle_time_ms = self.mischief.throttle(Request::Metadata);
        response.cluster_id = Some(StrBytes::from_static_str("milena-in-memory"));
        if let Treatment::Error(code) = treatment {
            response.error_code = code;
        } else {
            for (id, node) in self.nodes.iter().filter(|(_, node)| node.state != NodeState::Down) {
                let host = StrBytes::from_string(node.host.clone());
                let broker = MetadataResponseBroker::default().with_node_id((*id).into()).with_host(host);
                response.brokers.push(broker.with_port(i32::from(node.port)));
            }
            let all = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
            if all {
                for name in self.topics() {
                    response.topics.push(self.topic_answer(&name, false, stale));
                }
            } else {
                for asked in request.topics.into_iter().flatten() {
                    let create = version < 4 || request.allow_auto_topic_creation;
                    let by_id = || self.topics.iter().find(|(_, topic)| topic.id == *asked.topic_id.as_bytes());
                    match asked.name {
                        Some(name) => response.topics.push(self.topic_answer(&name, create, stale)),
                        None => match by_id().map(|(name, _)| name.clone()) {
                            Some(name) => response.topics.push(self.topic_answer(&name, false, stale)),
                            None => response.topics.push(
                                MetadataResponseTopic::default().with_error_code(100).with_topic_id(asked.topic_id),
                            ),
                        },
                    }
                }
            }
        }
        for topic in &response.topics {
            if topic.error_code != 0 {
                *self.counters.errors.entry(topic.error_code).or_default() += 1;
            }
        }
        self.answer(peer, ApiKey::Metadata, version, header.correlation_id, &response);
        Ok(())
    }

    fn topic_answer(&mut self, name: &str, create: bool, stale: bool) -> MetadataResponseTopic {
        let named = TopicName(StrBytes::from_string(name.to_string()));
        let answer = MetadataResponseTopic::default().with_name(Some(named));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name == "." || name == ".." || name.len() > 249 || !name.chars().all(legal) {
            return answer.with_error_code(17);
        }
        if self.forbidden.contains(name) {
            return answer.with_error_code(29);
        }
        if let Some(code) = self.demanded(Request::Metadata).or_else(|| self.mischief.topic(name)) {
            return answer.with_error_code(code);
        }
        if !self.topics.contains_key(name) {
            if !(create && self.settings.auto_create_topics) {
                return answer.with_error_code(3);
            }
            self.create_topic(name, self.settings.default_partitions);
            if let Some(topic) = self.topics.get_mut(name) {
                topic.fresh = !self.settings.instant_elections;
            }
        }
        let Some(topic) = self.topics.get_mut(name) else {
            return answer.with_error_code(3);
        };
        if core::mem::take(&mut topic.fresh) {
            return answer.with_error_code(5); // elections take a moment
        }
        let partitions = topic.partitions.iter().enumerate().map(|(number, partition)| {
            let (leader, epoch) = if stale { partition.before } else { (partition.leader, partition.epoch) };
            MetadataResponsePartition::default()
                .with_error_code(if leader.is_some() { 0 } else { 5 })
                .with_partition_index(number as i32)
                .with_leader_id(leader.unwrap_or(-1).into())
                .with_leader_epoch(epoch)
                .with_replica_nodes(partition.replicas.keys().map(|node| BrokerId(*node)).collect())
                .with_isr_nodes(partition.in_sync.iter().map(|node| BrokerId(*node)).collect())
        });
        let partitions = partitions.collect();
        answer.with_topic_id(Uuid::from_bytes(topic.id)).with_partitions(partitions)
    }

    pub(super) fn answer(
        &mut self,
        peer: Peer,
        api: ApiKey,
        version: i16,
        correlation: i32,
        response: &impl Encodable,
    ) {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        let written = header.encode(&mut frame, api.response_header_version(version));
        let written = written.and_then(|()| response.encode(&mut frame, version));
        written.expect("answers only set what their version has");
        if let Some(connection) = self.peers.get_mut(&peer) {
            connection.output.extend_from_slice(&(frame.len() as i32).to_be_bytes());
            connection.output.extend_from_slice(&frame);
        }
    }

    pub(super) fn demanded(&mut self, request: Request) -> Option<i16> {
        self.demanded.get_mut(&request)?.pop_front()
    }
}

trait At {
    fn get_i16_at(&self, at: usize) -> i16;
}

impl At for Bytes {
    fn get_i16_at(&self, at: usize) -> i16 {
        (&self[at..at + 2]).get_i16()
    }
}
