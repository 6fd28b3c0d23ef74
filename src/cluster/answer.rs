//! What nodes answer: who answers what, which versions there are, and new producer ids.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::api::Request;
use super::connection::{Call, ConnectionState, header};
use super::mischief::Treatment;
use super::{Cluster, Peer};
use crate::time::Instant;

/// What is wrong with a request: its connection is closed.
#[derive(Debug)]
pub(crate) struct Unreadable;

impl Cluster {
    /// Answers one request, or parks it.
    pub(super) fn serve(&mut self, now: Instant, peer: Peer, node: i32, mut frame: Bytes) -> Result<(), Unreadable> {
        let mut start = &frame[..8]; // frames are at least as long
        let (key, version, correlation) = (start.get_i16(), start.get_i16(), start.get_i32());
        let request = Request::of(key).ok_or(Unreadable)?;
        *self.counters.requests.entry(request).or_default() += 1;
        let open = matches!(request, Request::ApiVersions | Request::SaslHandshake | Request::SaslAuthenticate);
        if !open && !self.is_known(now, peer) {
            return Err(Unreadable); // as Kafka does with whoever has not said who it is, or too long ago
        }
        let (min, max) = self.nodes[&node].versions.range(request).ok_or(Unreadable)?;
        // What 4.x offers below 3 it refuses.
        let min = if request == Request::Produce { min.max(3) } else { min };
        let treatment = Treatment::Serve;
        let (client, body) = (Default::default(), Bytes::new());
        let mut call = Call { now, peer, node, request, version, correlation, client, body, treatment };
        if !(min..=max).contains(&version) {
            if request != Request::ApiVersions {
                return Err(Unreadable);
            }
            // Answered in the oldest form, with the one thing that the client has to know.
            let versions = Vec::from([range(request, (min, max))]);
            let response = ApiVersionsResponse::default().with_error_code(35).with_api_keys(versions);
            self.answer_as(&call, 0, &response);
            return Ok(());
        }
        let header = header(&mut frame, request.api().request_header_version(version))?;
        call.client = header.client_id.map(|id| id.as_str().into()).unwrap_or_default();
        call.body = frame;
        call.treatment = self.mischief.request(node, request);
        match call.treatment {
            Treatment::Serve
            | Treatment::HangUpAfter
            | Treatment::WrongCorrelation
            | Treatment::Odd
            | Treatment::Nobody
            | Treatment::Nothing
            | Treatment::Error(_) => {}
            Treatment::Hang => {
                if let Some(connection) = self.peers.get_mut(&peer) {
                    connection.state = ConnectionState::Hung;
                }
                return Ok(());
            }
            Treatment::HangUp => return Err(Unreadable),
            Treatment::Garbage => {
                self.say(peer, &[&9i32.to_be_bytes()[..], &correlation.to_be_bytes(), &[0xff; 5]]);
                return Ok(());
            }
        }
        let (before, treatment) = (self.output_len(peer), call.treatment);
        match request {
            // Those that may have to wait are finished when they are answered.
            Request::Produce => return self.produce(call),
            Request::Fetch => return self.fetch(call),
            Request::JoinGroup => return self.join_group(call),
            Request::SyncGroup => return self.sync_group(call),
            Request::Metadata => self.metadata(call)?,
            Request::ListOffsets => self.list_offsets(call)?,
            Request::OffsetForLeaderEpoch => self.offset_for_leader_epoch(call)?,
            Request::FindCoordinator => self.find_coordinator(call)?,
            Request::Heartbeat => self.heartbeat(call)?,
            Request::LeaveGroup => self.leave_group(call)?,
            Request::OffsetCommit => self.offset_commit(call)?,
            Request::OffsetFetch => self.offset_fetch(call)?,
            Request::DescribeConfigs => self.describe_configs(call)?,
            Request::ListGroups => self.list_groups(call)?,
            Request::DescribeGroups => self.describe_groups(call)?,
            Request::CreateTopics => self.create_topics(call)?,
            Request::DeleteTopics => self.delete_topics(call)?,
            Request::CreatePartitions => self.create_partitions(call)?,
            Request::SaslHandshake => self.sasl_handshake(call)?,
            Request::SaslAuthenticate => self.sasl_authenticate(call)?,
            Request::ApiVersions => self.api_versions(call)?,
            Request::InitProducerId => self.init_producer_id(call)?,
        }
        self.finish(peer, before, treatment);
        Ok(())
    }

    fn api_versions(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: ApiVersionsRequest = call.read()?;
        let named = |name: &StrBytes| {
            let edge = |c: char| c.is_ascii_alphanumeric();
            let name = name.as_str();
            name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || c == '-' || c == '.')
        };
        let valid =
            call.version < 3 || (named(&request.client_software_name) && named(&request.client_software_version));
        if call.treatment == Treatment::Odd && call.version > 0 {
            self.say(call.peer, &[&7i32.to_be_bytes()[..], &call.correlation.to_be_bytes(), &[0, 35, 0]]);
            return Ok(());
        }
        let code = if let Treatment::Error(code) = call.treatment {
            code
        } else if valid {
            self.demanded(Request::ApiVersions).unwrap_or(0)
        } else {
            42
        };
        let mut versions = Vec::new();
        if code == 0 {
            let offered = self.nodes[&call.node].versions;
            let with_sasl = self.settings.sasl.is_some();
            let sasl = |request| matches!(request, Request::SaslHandshake | Request::SaslAuthenticate);
            let served = Request::ALL.iter().filter(|request| with_sasl || !sasl(**request));
            versions.extend(served.filter_map(|request| Some(range(*request, offered.range(*request)?))));
        }
        let throttle = self.mischief.throttle(Request::ApiVersions);
        let response = ApiVersionsResponse::default().with_error_code(code).with_api_keys(versions);
        self.answer(&call, &response.with_throttle_time_ms(throttle));
        Ok(())
    }

    fn init_producer_id(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: InitProducerIdRequest = call.read()?;
        let code = if let Treatment::Error(code) = call.treatment {
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
        self.answer(&call, &response);
        Ok(())
    }

    /// Bytes that are no answer of Kafka's.
    fn say(&mut self, peer: Peer, parts: &[&[u8]]) {
        if let Some(connection) = self.peers.get_mut(&peer) {
            connection.output.extend(parts.iter().copied().flatten());
        }
    }
}

fn range(request: Request, (min, max): (i16, i16)) -> ApiVersion {
    ApiVersion::default().with_api_key(request.key()).with_min_version(min).with_max_version(max)
}
