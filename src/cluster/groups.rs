//! A consumer group of the classic protocol, as its coordinator keeps it: who is in, who gets what, and what was committed.
//! Knows neither connections nor the encoding of requests.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::time::Instant;

/// Kafka's codes that groups answer.
pub(super) mod code {
    pub(in super::super) const ILLEGAL_GENERATION: i16 = 22;
    pub(in super::super) const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
    pub(in super::super) const UNKNOWN_MEMBER_ID: i16 = 25;
    pub(in super::super) const INVALID_SESSION_TIMEOUT: i16 = 26;
    pub(in super::super) const REBALANCE_IN_PROGRESS: i16 = 27;
    pub(in super::super) const MEMBER_ID_REQUIRED: i16 = 79;
    pub(in super::super) const FENCED_INSTANCE_ID: i16 = 82;
}

/// `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
const SESSION_TIMEOUTS: core::ops::RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(1800);

#[derive(Debug, Default)]
pub(super) struct Group {
    state: State,
    generation: i32,
    /// What kind of group it is; `consumer` for consumers.
    protocol_type: String,
    /// The way of dividing that all members know.
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were handed out and not used yet (KIP-394), until then.
    promised: BTreeMap<String, Instant>,
    /// By topic and partition.
    committed: BTreeMap<(String, i32), Committed>,
}

/// How far a group is with dividing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Without members.
    #[default]
    Empty,
    /// Members come, until all that are known are there, or until then.
    Joining(Instant),
    /// The leader divides, and all ask what they get, until then.
    Syncing(Instant),
    /// All know what they have.
    Stable,
}

#[derive(Debug)]
pub(super) struct Member {
    /// `client.id`.
    pub(super) client: String,
    /// `group.instance.id` (KIP-345).
    pub(super) instance: Option<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    /// Ways of dividing, with what the member has to say for each.
    protocols: Vec<(String, Bytes)>,
    /// When it counts as gone, unless it is waiting for an answer.
    expires: Instant,
    /// It has asked what this state is there for asking.
    asked: bool,
    pub(super) assignment: Bytes,
}

/// Who wants to be a member.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Empty if it has no id yet.
    pub(super) member: String,
    /// The id that a member without one gets.
    pub(super) new_id: String,
    pub(super) client: String,
    pub(super) instance: Option<String>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocol_type: String,
    pub(super) protocols: Vec<(String, Bytes)>,
    /// It has to come again with its new id (KIP-394).
    pub(super) twice: bool,
}

/// What a member is told when all have joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    /// For the leader: all members, their instance ids, and what they said.
    pub(super) members: Vec<(String, Option<String>, Bytes)>,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
}

impl Group {
    /// Takes a member in, or back. Its id, under which [`Group::joined`] tells it more; or a code, and the id that it has to come
    /// again with.
    pub(super) fn join(&mut self, now: Instant, candidate: Candidate) -> Result<String, (i16, String)> {
        let refused = |code: i16| Err((code, candidate.member.clone()));
        if !SESSION_TIMEOUTS.contains(&candidate.session_timeout) {
            return refused(code::INVALID_SESSION_TIMEOUT);
        }
        if !self.can_divide_with(&candidate) {
            return refused(code::INCONSISTENT_GROUP_PROTOCOL);
        }
        let same_instance = |member: &Member| member.instance.is_some() && member.instance == candidate.instance;
        let predecessor = self.members.iter().find(|(_, member)| same_instance(member)).map(|(id, _)| id.clone());
        let id = if candidate.member.is_empty() {
            if let Some(predecessor) = predecessor {
                self.members.remove(&predecessor); // started again under the same name
            } else if candidate.twice && candidate.instance.is_none() {
                self.promised.insert(candidate.new_id.clone(), now + candidate.session_timeout);
                return Err((code::MEMBER_ID_REQUIRED, candidate.new_id));
            }
            candidate.new_id
        } else {
            if predecessor.as_ref().is_some_and(|id| *id != candidate.member) {
                return refused(code::FENCED_INSTANCE_ID);
            }
            let known = self.members.contains_key(&candidate.member);
            if !known && self.promised.remove(&candidate.member).is_none() {
                return refused(code::UNKNOWN_MEMBER_ID);
            }
            candidate.member
        };
        let before = self.members.get(&id).map(|member| &member.protocols);
        let unchanged = before.is_some_and(|before| *before == candidate.protocols);
        let member = Member {
            client: candidate.client,
            instance: candidate.instance,
            session_timeout: candidate.session_timeout,
            rebalance_timeout: candidate.rebalance_timeout,
            protocols: candidate.protocols,
            expires: now + candidate.session_timeout,
            asked: false,
            assignment: Bytes::new(),
        };
        self.protocol_type = candidate.protocol_type;
        match self.state {
            State::Empty | State::Joining(_) => {}
            // Its answer was lost: it is told again.
            State::Syncing(_) if unchanged => return Ok(id),
            State::Stable if unchanged && id != self.leader => return Ok(id),
            State::Syncing(_) | State::Stable => {}
        }
        self.members.insert(id.clone(), member);
        if !matches!(self.state, State::Joining(_)) {
            self.gather(now);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.asked = true;
        }
        self.close_if_all_are_there(now);
        Ok(id)
    }

    /// What a member that has joined is told; `None` as long as others are awaited.
    pub(super) fn joined(&self, id: &str) -> Option<Result<Joined, i16>> {
        let Some(member) = self.members.get(id) else {
            return Some(Err(code::UNKNOWN_MEMBER_ID));
        };
        if matches!(self.state, State::Joining(_)) && member.asked {
            return None;
        }
        let all = self.members.iter();
        let all = all.map(|(id, member)| (id.clone(), member.instance.clone(), member.said(&self.protocol)));
        Some(Ok(Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: if id == self.leader { all.collect() } else { Vec::new() },
        }))
    }

    /// A member asks what it gets; the leader says what all get.
    pub(super) fn sync(
        &mut self,
        now: Instant,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
    ) -> Result<(), i16> {
        self.check(id, instance, generation)?;
        match self.state {
            State::Empty => return Err(code::UNKNOWN_MEMBER_ID),
            State::Joining(_) => return Err(code::REBALANCE_IN_PROGRESS),
            State::Syncing(_) | State::Stable => {}
        }
        if let Some(member) = self.members.get_mut(id) {
            member.asked = true;
            member.expires = now + member.session_timeout;
        }
        if id == self.leader && matches!(self.state, State::Syncing(_)) {
            for (id, assignment) in assignments {
                if let Some(member) = self.members.get_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.state = State::Stable;
            self.renew_all(now);
        }
        Ok(())
    }

    /// What a member gets, with the kind of group and the way of dividing; `None` as long as the leader has not said it.
    pub(super) fn assigned(&self, id: &str) -> Option<Result<(String, String, Bytes), i16>> {
        let Some(member) = self.members.get(id) else {
            return Some(Err(code::UNKNOWN_MEMBER_ID));
        };
        match self.state {
            State::Stable => Some(Ok((self.protocol_type.clone(), self.protocol.clone(), member.assignment.clone()))),
            State::Syncing(_) => None,
            State::Empty | State::Joining(_) => Some(Err(code::REBALANCE_IN_PROGRESS)),
        }
    }

    /// A member is alive; the error tells it that it has to join again.
    pub(super) fn heartbeat(
        &mut self,
        now: Instant,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), i16> {
        self.check(id, instance, generation)?;
        if let Some(member) = self.members.get_mut(id) {
            member.expires = now + member.session_timeout;
        }
        if matches!(self.state, State::Joining(_)) { Err(code::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }

    /// A member goes, named by its id or by its instance id alone.
    pub(super) fn leave(&mut self, now: Instant, id: &str, instance: Option<&str>) -> Result<(), i16> {
        if self.promised.remove(id).is_some() {
            return Ok(());
        }
        let named = |(known, member): &(&String, &Member)| match instance {
            Some(_) => member.instance.as_deref() == instance,
            None => *known == id,
        };
        let found = self.members.iter().find(named).map(|(known, _)| known.clone());
        let found = found.ok_or(code::UNKNOWN_MEMBER_ID)?;
        if !id.is_empty() && found != id {
            return Err(code::FENCED_INSTANCE_ID);
        }
        self.remove(now, &[found]);
        Ok(())
    }

    /// Whether this member, or somebody who is none (KIP-98's name for it: generation -1), may commit.
    pub(super) fn may_commit(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), i16> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check(id, instance, generation)?;
        if matches!(self.state, State::Syncing(_)) { Err(code::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }

    pub(super) fn commit(&mut self, topic: &str, partition: i32, committed: Committed) {
        self.committed.insert((topic.to_string(), partition), committed);
    }

    pub(super) fn committed(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(&(topic.to_string(), partition))
    }

    /// Everything that was committed, by topic and partition.
    pub(super) fn all_committed(&self) -> impl Iterator<Item = (&str, i32, &Committed)> {
        self.committed.iter().map(|((topic, partition), committed)| (&**topic, *partition, committed))
    }

    /// Whether anybody has joined it or committed something.
    pub(super) fn is_in_use(&self) -> bool {
        self.generation > 0 || !self.members.is_empty() || !self.committed.is_empty()
    }

    /// Kafka's name for what it is doing.
    pub(super) fn state(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Joining(_) => "PreparingRebalance",
            State::Syncing(_) => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(super) fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Members by their ids.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(id, member)| (&**id, member))
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.committed.retain(|(known, _), _| known != topic);
    }

    /// When something happens by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Joining(until) | State::Syncing(until) => Some(until),
            State::Empty | State::Stable => None,
        };
        let silent = self.members.values().filter(|member| !self.awaits(member)).map(|member| member.expires);
        silent.chain(self.promised.values().copied()).chain(state).min()
    }

    /// Time has passed: whoever is silent is gone, and whoever did not come in time.
    pub(super) fn advance(&mut self, now: Instant) {
        self.promised.retain(|_, until| *until > now);
        let gone = |member: &Member| !self.awaits(member) && member.expires <= now;
        let late = |member: &Member| match self.state {
            State::Joining(until) | State::Syncing(until) => until <= now && !member.asked,
            State::Empty | State::Stable => false,
        };
        let over: Vec<String> =
            self.members.iter().filter(|(_, member)| gone(member) || late(member)).map(|(id, _)| id.clone()).collect();
        if !over.is_empty() {
            self.remove(now, &over);
        }
    }

    /// Whether a member waits for an answer, and so can't show that it is alive.
    fn awaits(&self, member: &Member) -> bool {
        member.asked && matches!(self.state, State::Joining(_) | State::Syncing(_))
    }

    fn can_divide_with(&self, candidate: &Candidate) -> bool {
        let others = || self.members.iter().filter(|(id, _)| **id != candidate.member).map(|(_, member)| member);
        let knows = |member: &Member, name: &str| member.protocols.iter().any(|(known, _)| known == name);
        let same_type = others().next().is_none() || candidate.protocol_type == self.protocol_type;
        let common = candidate.protocols.iter().any(|(name, _)| others().all(|member| knows(member, name)));
        same_type && common && !candidate.protocol_type.is_empty()
    }

    fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), i16> {
        let of_instance =
            self.members.iter().find(|(_, member)| instance.is_some() && member.instance.as_deref() == instance);
        if of_instance.is_some_and(|(known, _)| known != id) {
            return Err(code::FENCED_INSTANCE_ID);
        }
        if !self.members.contains_key(id) {
            return Err(code::UNKNOWN_MEMBER_ID);
        }
        if generation == self.generation { Ok(()) } else { Err(code::ILLEGAL_GENERATION) }
    }

    /// All members have to come again.
    fn gather(&mut self, now: Instant) {
        let longest = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.state = State::Joining(now + longest);
        for member in self.members.values_mut() {
            member.asked = false;
        }
    }

    fn remove(&mut self, now: Instant, ids: &[String]) {
        self.members.retain(|id, _| !ids.contains(id));
        if !matches!(self.state, State::Joining(_)) {
            self.gather(now);
        }
        self.close_if_all_are_there(now);
    }

    /// The next generation begins as soon as all members are there.
    fn close_if_all_are_there(&mut self, now: Instant) {
        if self.members.values().any(|member| !member.asked) {
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            (self.state, self.leader, self.protocol) = (State::Empty, String::new(), String::new());
            return;
        }
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        // The first that all know, in the leader's order.
        let leader = self.members.get(&self.leader);
        let mut names = leader.into_iter().flat_map(|leader| &leader.protocols).map(|(name, _)| name);
        let knows = |member: &Member, name: &str| member.protocols.iter().any(|(known, _)| known == name);
        let common = names.find(|name| self.members.values().all(|member| knows(member, name)));
        self.protocol = common.cloned().unwrap_or_default();
        let longest = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.state = State::Syncing(now + longest);
        self.renew_all(now);
        for member in self.members.values_mut() {
            (member.asked, member.assignment) = (false, Bytes::new());
        }
    }

    /// Members that were answered just now are alive.
    fn renew_all(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.expires = now + member.session_timeout;
        }
    }
}

impl Member {
    /// What it has to say for a way of dividing.
    pub(super) fn said(&self, protocol: &str) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| name == protocol);
        said.map(|(_, said)| said.clone()).unwrap_or_default()
    }
}
