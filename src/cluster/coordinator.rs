//! Requests of consumer groups, and which node takes them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::answer::Unreadable;
use super::connection::{Call, Changed, Waits};
use super::groups::{Candidate, Group, code};
use super::{Cluster, NodeState, Request};

/// What FindCoordinator may be asked for.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Cluster {
    /// The node that takes a group's requests: always the same as long as it is there.
    pub fn coordinator(&self, group: &str) -> Option<i32> {
        let hash = group.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let first = hash as usize % self.nodes.len().max(1);
        let from_there = self.nodes.iter().cycle().skip(first).take(self.nodes.len());
        from_there.filter(|(_, node)| node.state != NodeState::Down).map(|(id, _)| *id).next()
    }

    pub(super) fn find_coordinator(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: FindCoordinatorRequest = call.read()?;
        let demanded = self.demanded(Request::FindCoordinator);
        let several = call.version >= 4;
        let keys = if several { request.coordinator_keys } else { Vec::from([request.key]) };
        let mut found = Vec::new();
        for key in keys {
            let node = self.coordinator(key.as_str()).and_then(|id| Some((id, self.nodes.get(&id)?)));
            let (code, words) = match (demanded, request.key_type, node) {
                (Some(code), _, _) => (code, "on demand"),
                (None, GROUP, _) if key.is_empty() => (24, "a group has a name"),
                (None, GROUP, Some(_)) => (0, ""),
                (None, GROUP, None) => (15, "no node is up"),
                // Of the codes that end a client's attempts, the one that is meant for transactions.
                (None, TRANSACTION, _) => (53, "the cluster in memory has no transactions"),
                (None, _, _) => (42, "the cluster in memory has consumer groups only"),
            };
            let words = (code != 0).then(|| StrBytes::from_static_str(words));
            let mut answer = Coordinator::default().with_key(key).with_error_code(code).with_error_message(words);
            (answer.node_id, answer.port) = ((-1).into(), -1);
            if let Some((id, node)) = node.filter(|_| code == 0) {
                (answer.node_id, answer.port) = (id.into(), i32::from(node.port));
                answer.host = StrBytes::from_string(node.host.clone());
            }
            self.count_error(code);
            found.push(answer);
        }
        let mut response = FindCoordinatorResponse::default();
        response.throttle_time_ms = self.mischief.throttle(Request::FindCoordinator);
        if several {
            response.coordinators = found;
        } else if let Some(only) = found.pop() {
            (response.error_code, response.node_id) = (only.error_code, only.node_id);
            (response.host, response.port) = (only.host, only.port);
            response.error_message = only.error_message.filter(|_| call.version >= 1);
        }
        self.answer(&call, &response);
        Ok(())
    }

    pub(super) fn join_group(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: JoinGroupRequest = call.read()?;
        let group = request.group_id.to_string();
        let millis = |number: i32| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        // Version 0 has one timeout for both.
        let rebalance_timeout =
            if call.version >= 1 { request.rebalance_timeout_ms } else { request.session_timeout_ms };
        self.next_member += 1;
        let new_id = format!("{}-{:016x}-{}", call.client, self.seed(), self.next_member);
        let candidate = Candidate {
            member: request.member_id.to_string(),
            new_id,
            client: call.client.clone(),
            instance: request.group_instance_id.map(|instance| instance.to_string()),
            session_timeout: millis(request.session_timeout_ms),
            rebalance_timeout: millis(rebalance_timeout),
            protocol_type: request.protocol_type.to_string(),
            protocols: request.protocols.into_iter().map(|known| (known.name.to_string(), known.metadata)).collect(),
            twice: call.version >= 4,
        };
        let joined = match self.group_at(&call, &group) {
            Err(code) => Err((code, candidate.member)),
            Ok(()) => self.groups.entry(group.clone()).or_default().join(call.now, candidate),
        };
        let now = call.now;
        match joined {
            Ok(member) => self.park(call, None, Waits::Join { group, member }),
            Err((code, member)) => {
                let before = self.output_len(call.peer);
                self.refuse_join(&call, code, &member);
                self.finish(call.peer, before, call.treatment);
            }
        }
        self.unpark(now, Changed::Groups);
        Ok(())
    }

    /// Answers if all have joined. Says whether it did.
    pub(super) fn answer_join(&mut self, call: &Call, group: &str, member: &str) -> bool {
        let unknown = Some(Err(code::UNKNOWN_MEMBER_ID));
        let joined = match self.groups.get(group).map_or(unknown, |group| group.joined(member)) {
            None => return false,
            Some(Err(code)) => {
                self.refuse_join(call, code, member);
                return true;
            }
            Some(Ok(joined)) => joined,
        };
        let mut response = JoinGroupResponse::default().with_generation_id(joined.generation);
        response.protocol_name = Some(StrBytes::from_string(joined.protocol));
        response.leader = StrBytes::from_string(joined.leader);
        response.member_id = StrBytes::from_string(member.to_string());
        if call.version >= 7 {
            response.protocol_type = Some(StrBytes::from_string(joined.protocol_type));
        }
        for (id, instance, said) in joined.members {
            let mut member = JoinGroupResponseMember::default().with_metadata(said);
            member.member_id = StrBytes::from_string(id);
            member.group_instance_id = instance.map(StrBytes::from_string).filter(|_| call.version >= 5);
            response.members.push(member);
        }
        if call.version >= 2 {
            response.throttle_time_ms = self.mischief.throttle(Request::JoinGroup);
        }
        self.answer(call, &response);
        true
    }

    fn refuse_join(&mut self, call: &Call, code: i16, member: &str) {
        self.count_error(code);
        let mut response = JoinGroupResponse::default().with_error_code(code).with_generation_id(-1);
        response.member_id = StrBytes::from_string(member.to_string());
        // Null is possible from version 7 on.
        response.protocol_name = (call.version < 7).then(StrBytes::default);
        self.answer(call, &response);
    }

    pub(super) fn sync_group(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: SyncGroupRequest = call.read()?;
        let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
        let instance = request.group_instance_id.as_ref().map(|instance| instance.as_str());
        let assignments = request.assignments.into_iter();
        let assignments = assignments.map(|one| (one.member_id.to_string(), one.assignment)).collect();
        let now = call.now;
        let code = self
            .in_group(&call, &group, |group| group.sync(now, &member, instance, request.generation_id, assignments));
        match code {
            0 => self.park(call, None, Waits::Sync { group, member }),
            code => {
                let before = self.output_len(call.peer);
                self.say_assigned(&call, Err(code));
                self.finish(call.peer, before, call.treatment);
            }
        }
        self.unpark(now, Changed::Groups);
        Ok(())
    }

    /// Answers if the leader has said who gets what. Says whether it did.
    pub(super) fn answer_sync(&mut self, call: &Call, group: &str, member: &str) -> bool {
        let unknown = Some(Err(code::UNKNOWN_MEMBER_ID));
        let Some(assigned) = self.groups.get(group).map_or(unknown, |group| group.assigned(member)) else {
            return false;
        };
        self.say_assigned(call, assigned);
        true
    }

    fn say_assigned(&mut self, call: &Call, assigned: Result<(String, String, bytes::Bytes), i16>) {
        let mut response = SyncGroupResponse::default();
        match assigned {
            Ok((kind, protocol, assignment)) => {
                response.assignment = assignment;
                if call.version >= 5 {
                    response.protocol_type = Some(StrBytes::from_string(kind));
                    response.protocol_name = Some(StrBytes::from_string(protocol));
                }
            }
            Err(code) => {
                self.count_error(code);
                response.error_code = code;
            }
        }
        if call.version >= 1 {
            response.throttle_time_ms = self.mischief.throttle(Request::SyncGroup);
        }
        self.answer(call, &response);
    }

    pub(super) fn heartbeat(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: HeartbeatRequest = call.read()?;
        let (member, instance) = (request.member_id, request.group_instance_id);
        let (member, instance) = (member.as_str(), instance.as_ref().map(|instance| instance.as_str()));
        let code = self.in_group(&call, request.group_id.as_str(), |group| {
            group.heartbeat(call.now, member, instance, request.generation_id)
        });
        let mut response = HeartbeatResponse::default().with_error_code(code);
        if call.version >= 1 {
            response.throttle_time_ms = self.mischief.throttle(Request::Heartbeat);
        }
        self.answer(&call, &response);
        Ok(())
    }

    pub(super) fn leave_group(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: LeaveGroupRequest = call.read()?;
        let several = call.version >= 3;
        let mut members = request.members;
        if !several {
            members.push(MemberIdentity::default().with_member_id(request.member_id));
        }
        let mut response = LeaveGroupResponse::default();
        response.error_code = self.in_group(&call, request.group_id.as_str(), |_| Ok(()));
        if response.error_code == 0 {
            for member in members {
                let instance = member.group_instance_id.as_ref().map(|instance| instance.as_str());
                let code = self.in_group(&call, request.group_id.as_str(), |group| {
                    group.leave(call.now, member.member_id.as_str(), instance)
                });
                if several {
                    let left = MemberResponse::default().with_member_id(member.member_id).with_error_code(code);
                    response.members.push(left.with_group_instance_id(member.group_instance_id));
                } else {
                    response.error_code = code;
                }
            }
        }
        if call.version >= 1 {
            response.throttle_time_ms = self.mischief.throttle(Request::LeaveGroup);
        }
        self.answer(&call, &response);
        self.unpark(call.now, Changed::Groups);
        Ok(())
    }

    /// Whether a group's request came to the right node, and nothing else was demanded.
    pub(super) fn group_at(&mut self, call: &Call, group: &str) -> Result<(), i16> {
        if let Some(code) = self.demanded(call.request) {
            return Err(code);
        }
        if group.is_empty() {
            return Err(24);
        }
        if self.coordinator(group) == Some(call.node) { Ok(()) } else { Err(16) }
    }

    /// Asks a group that may not exist, and counts its refusal.
    pub(super) fn in_group(
        &mut self,
        call: &Call,
        group: &str,
        ask: impl FnOnce(&mut Group) -> Result<(), i16>,
    ) -> i16 {
        let asked = self.group_at(call, group).and_then(|()| match self.groups.get_mut(group) {
            Some(group) => ask(group),
            None => ask(&mut Group::default()),
        });
        let code = asked.err().unwrap_or(0);
        self.count_error(code);
        code
    }

    /// Groups whose time has come.
    pub(super) fn advance_groups(&mut self, now: crate::time::Instant) {
        for group in self.groups.values_mut() {
            group.advance(now);
        }
    }

    /// What a group has committed: topic, partition and offset.
    pub fn committed(&self, group: &str) -> BTreeMap<(String, i32), i64> {
        let all = self.groups.get(group).into_iter().flat_map(Group::all_committed);
        all.map(|(topic, partition, committed)| ((topic.to_string(), partition), committed.offset)).collect()
    }
}
