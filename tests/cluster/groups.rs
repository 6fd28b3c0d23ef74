//! Consumer groups: one member, two, members that go, and what they commit.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use milena::Instant;
use milena::cluster::{Peer, Request, Settings};

use crate::bench::{Bench, NOW, text};

const SESSION: Duration = Duration::from_secs(10);

/// A member, as its client knows it.
#[derive(Clone, Debug)]
pub struct Member {
    peer: Peer,
    pub id: String,
    pub generation: i32,
    instance: Option<String>,
    protocols: Vec<&'static str>,
}

impl Member {
    pub fn new(bench: &mut Bench) -> Self {
        let peer = bench.cluster.connect(1).expect("node 1 is up");
        Self { peer, id: String::new(), generation: -1, instance: None, protocols: vec!["range"] }
    }

    /// The answer, if there is one yet.
    fn join(&mut self, bench: &mut Bench, now: Instant, version: i16) -> Option<JoinGroupResponse> {
        let protocols = self.protocols.iter().map(|name| {
            let said = Bytes::from(format!("{name} of {}", self.id));
            JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(said)
        });
        let mut request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(SESSION.as_millis() as i32)
            .with_member_id(text(&self.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols.collect());
        if version >= 1 {
            request.rebalance_timeout_ms = 60_000;
        }
        if version >= 5 {
            request.group_instance_id = self.instance.as_deref().map(text);
        }
        let response = bench.call_as(now, self.peer, ApiKey::JoinGroup, version, &request)?;
        Some(self.hear(response))
    }

    /// The answer that came late.
    fn joined(&mut self, bench: &mut Bench, version: i16) -> Option<JoinGroupResponse> {
        let response = bench.answer(self.peer, ApiKey::JoinGroup, version)?;
        Some(self.hear(response))
    }

    fn hear(&mut self, response: JoinGroupResponse) -> JoinGroupResponse {
        self.id = response.member_id.to_string();
        self.generation = response.generation_id;
        response
    }

    /// Joins with an id asked for first, as today's clients do.
    fn join_twice(&mut self, bench: &mut Bench, now: Instant) -> Option<JoinGroupResponse> {
        let first = self.join(bench, now, 9).expect("an id");
        assert_eq!(first.error_code, 79);
        assert!(!self.id.is_empty());
        self.join(bench, now, 9)
    }

    fn sync(&self, bench: &mut Bench, now: Instant, version: i16, all: &[(&str, &str)]) -> Option<(i16, String)> {
        let assignment = |(id, what): &(&str, &str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(Bytes::from(what.to_string()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_assignments(all.iter().map(assignment).collect());
        let response = bench.call_as(now, self.peer, ApiKey::SyncGroup, version, &request);
        response.map(assigned)
    }

    fn synced(&self, bench: &mut Bench, version: i16) -> Option<(i16, String)> {
        bench.answer(self.peer, ApiKey::SyncGroup, version).map(assigned)
    }

    fn beat(&self, bench: &mut Bench, now: Instant) -> i16 {
        let mut request = HeartbeatRequest::default().with_group_id(group()).with_generation_id(self.generation);
        request.member_id = text(&self.id);
        request.group_instance_id = self.instance.as_deref().map(text);
        let response: Option<HeartbeatResponse> = bench.call_as(now, self.peer, ApiKey::Heartbeat, 4, &request);
        response.expect("an answer").error_code
    }

    fn leave(&self, bench: &mut Bench, version: i16) -> i16 {
        let mut request = LeaveGroupRequest::default().with_group_id(group());
        if version >= 3 {
            request.members.push(MemberIdentity::default().with_member_id(text(&self.id)));
        } else {
            request.member_id = text(&self.id);
        }
        let response: Option<LeaveGroupResponse> = bench.call_as(NOW, self.peer, ApiKey::LeaveGroup, version, &request);
        let response = response.expect("an answer");
        if version >= 3 { response.members[0].error_code } else { response.error_code }
    }
}

pub fn group() -> GroupId {
    GroupId(text("g"))
}

fn assigned(response: SyncGroupResponse) -> (i16, String) {
    (response.error_code, String::from_utf8_lossy(&response.assignment).into_owned())
}

/// A group of one that has its assignment.
pub fn alone(bench: &mut Bench) -> Member {
    let mut member = Member::new(bench);
    let joined = member.join_twice(bench, NOW).expect("nobody else is awaited");
    assert_eq!((joined.error_code, joined.leader.as_str()), (0, member.id.as_str()));
    let id = member.id.clone();
    assert_eq!(member.sync(bench, NOW, 5, &[(&id, "all")]), Some((0, "all".into())));
    member
}

/// A group of two; the first leads.
fn pair(bench: &mut Bench) -> (Member, Member) {
    let (mut first, mut second) = (alone(bench), Member::new(bench));
    assert!(second.join_twice(bench, NOW).is_none(), "the first has to come again");
    assert_eq!(first.beat(bench, NOW), 27);
    let told = first.join(bench, NOW, 9).expect("all are there");
    let members: Vec<&str> = told.members.iter().map(|member| member.member_id.as_str()).collect();
    let joined = second.joined(bench, 9).expect("all are there");
    assert_eq!((joined.members.len(), joined.leader.as_str()), (0, first.id.as_str()));
    assert_eq!(members.len(), 2);
    assert!(members.contains(&first.id.as_str()) && members.contains(&second.id.as_str()));
    assert_eq!(second.sync(bench, NOW, 5, &[]), None, "the leader has not divided yet");
    let ids = (first.id.clone(), second.id.clone());
    assert_eq!(first.sync(bench, NOW, 5, &[(&ids.0, "this"), (&ids.1, "that")]), Some((0, "this".into())));
    assert_eq!(second.synced(bench, 5), Some((0, "that".into())));
    assert_eq!((first.beat(bench, NOW), second.beat(bench, NOW)), (0, 0));
    (first, second)
}

#[test]
fn one_member_gets_all_in_every_version() {
    for version in 0..=9 {
        let mut bench = Bench::new();
        let mut member = Member::new(&mut bench);
        let joined = if version >= 4 {
            let first = member.join(&mut bench, NOW, version).expect("an id");
            assert_eq!(first.error_code, 79);
            member.join(&mut bench, NOW, version).expect("nobody else is awaited")
        } else {
            member.join(&mut bench, NOW, version).expect("nobody else is awaited")
        };
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "version {version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        let said = if version >= 4 { format!("range of {}", member.id) } else { "range of ".into() };
        assert_eq!(joined.members[0].metadata, Bytes::from(said));
        let id = member.id.clone();
        assert_eq!(member.sync(&mut bench, NOW, version.min(5), &[(&id, "all")]), Some((0, "all".into())));
        assert_eq!(member.beat(&mut bench, NOW), 0);
        assert_eq!(member.leave(&mut bench, version.min(5)), 0);
        assert_eq!(member.beat(&mut bench, NOW), 25);
    }
}

#[test]
fn two_members_share_and_the_one_that_is_left_gets_all_again() {
    for leader_goes in [true, false] {
        let mut bench = Bench::new();
        let (first, second) = pair(&mut bench);
        let (goes, mut stays) = if leader_goes { (first, second) } else { (second, first) };
        assert_eq!(goes.leave(&mut bench, 5), 0);
        assert_eq!(stays.beat(&mut bench, NOW), 27);
        let generation = stays.generation;
        let joined = stays.join(&mut bench, NOW, 9).expect("nobody else is awaited");
        assert_eq!((joined.leader.as_str(), joined.members.len()), (stays.id.as_str(), 1));
        assert_eq!(joined.generation_id, generation + 1);
        let id = stays.id.clone();
        assert_eq!(stays.sync(&mut bench, NOW, 5, &[(&id, "all")]), Some((0, "all".into())));
    }
}

#[test]
fn a_member_that_is_silent_is_gone_after_its_session() {
    let mut bench = Bench::new();
    let (mut first, second) = pair(&mut bench);
    let later = NOW + SESSION - Duration::from_millis(1);
    bench.cluster.advance(later);
    assert_eq!(first.beat(&mut bench, later), 0);
    assert_eq!(bench.cluster.next_deadline(), Some(NOW + SESSION));
    bench.cluster.advance(NOW + SESSION);
    assert_eq!(second.beat(&mut bench, NOW + SESSION), 25);
    assert_eq!(first.beat(&mut bench, NOW + SESSION), 27);
    let joined = first.join(&mut bench, NOW + SESSION, 9).expect("nobody else is awaited");
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn a_member_that_does_not_come_again_is_not_awaited_for_ever() {
    let mut bench = Bench::new();
    let (first, mut second) = (alone(&mut bench), Member::new(&mut bench));
    assert!(second.join_twice(&mut bench, NOW).is_none());
    // The first beats on, and does not listen.
    for second in (0..60).step_by(5) {
        let now = NOW + Duration::from_secs(second);
        bench.cluster.advance(now);
        assert_eq!(first.beat(&mut bench, now), 27);
    }
    bench.cluster.advance(NOW + Duration::from_secs(60));
    let joined = second.joined(&mut bench, 9).expect("the first had its time");
    assert_eq!((joined.error_code, joined.leader.as_str()), (0, second.id.as_str()));
}

#[test]
fn a_leader_that_does_not_divide_is_not_awaited_for_ever() {
    let mut bench = Bench::new();
    let (mut first, mut second) = (alone(&mut bench), Member::new(&mut bench));
    second.join_twice(&mut bench, NOW);
    first.join(&mut bench, NOW, 9).expect("all are there");
    second.joined(&mut bench, 9).expect("all are there");
    assert_eq!(second.sync(&mut bench, NOW, 5, &[]), None);
    for second in (0..60).step_by(5) {
        let now = NOW + Duration::from_secs(second);
        bench.cluster.advance(now);
        assert_eq!(first.beat(&mut bench, now), 0);
    }
    bench.cluster.advance(NOW + Duration::from_secs(60));
    assert_eq!(second.synced(&mut bench, 5).map(|told| told.0), Some(27));
    let joined = second.join(&mut bench, NOW + Duration::from_secs(60), 9).expect("nobody else is awaited");
    assert_eq!(joined.leader.as_str(), second.id);
}

#[test]
fn a_clusters_time_does_not_stand_still_for_groups() {
    let mut bench = Bench::new();
    let (_, mut third) = (pair(&mut bench), Member::new(&mut bench));
    third.join_twice(&mut bench, NOW);
    let mut steps = 0;
    while let Some(deadline) = bench.cluster.next_deadline() {
        bench.cluster.advance(deadline);
        assert!(bench.cluster.next_deadline() > Some(deadline) || bench.cluster.next_deadline().is_none());
        steps += 1;
        assert!(steps < 10);
    }
}

#[test]
fn answers_that_were_lost_are_given_again() {
    let mut bench = Bench::new();
    let (first, mut second) = pair(&mut bench);
    let generation = second.generation;
    let joined = second.join(&mut bench, NOW, 9).expect("nothing has changed");
    assert_eq!((joined.error_code, joined.generation_id), (0, generation));
    assert_eq!(second.sync(&mut bench, NOW, 5, &[]), Some((0, "that".into())));
    assert_eq!(first.beat(&mut bench, NOW), 0);
}

#[test]
fn a_leader_that_comes_again_divides_again() {
    let mut bench = Bench::new();
    let (mut first, second) = pair(&mut bench);
    assert!(first.join(&mut bench, NOW, 9).is_none());
    assert_eq!(second.beat(&mut bench, NOW), 27);
}

#[test]
fn the_way_of_dividing_is_one_that_all_know() {
    let mut bench = Bench::new();
    let (mut first, mut second) = (Member::new(&mut bench), Member::new(&mut bench));
    first.protocols = vec!["sticky", "range"];
    second.protocols = vec!["roundrobin", "range"];
    first.join_twice(&mut bench, NOW).expect("nobody else is awaited");
    assert!(second.join_twice(&mut bench, NOW).is_none());
    let joined = first.join(&mut bench, NOW, 9).expect("all are there");
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let mut third = Member::new(&mut bench);
    third.protocols = vec!["sticky"];
    assert_eq!(third.join(&mut bench, NOW, 9).expect("a refusal").error_code, 23);
    third.protocols = vec![];
    assert_eq!(third.join(&mut bench, NOW, 9).expect("a refusal").error_code, 23);
}

#[test]
fn a_member_with_a_name_of_its_own_replaces_itself() {
    let mut bench = Bench::new();
    let mut before = Member::new(&mut bench);
    before.instance = Some("me".into());
    before.join(&mut bench, NOW, 9).expect("no second round");
    let mut after = Member::new(&mut bench);
    after.instance = before.instance.clone();
    let joined = after.join(&mut bench, NOW, 9).expect("nobody else is awaited");
    assert_eq!((joined.error_code, joined.members.len()), (0, 1));
    assert_eq!(joined.members[0].group_instance_id.as_deref(), Some("me"));
    assert_ne!(before.id, after.id);
    assert_eq!(before.beat(&mut bench, NOW), 82);
    assert_eq!(before.join(&mut bench, NOW, 9).expect("a refusal").error_code, 82);
    let mut request = LeaveGroupRequest::default().with_group_id(group());
    request.members.push(MemberIdentity::default().with_group_instance_id(Some(text("me"))));
    let left: LeaveGroupResponse = bench.call(ApiKey::LeaveGroup, 5, &request).expect("an answer");
    assert_eq!(left.members[0].error_code, 0);
    assert_eq!(after.beat(&mut bench, NOW), 25);
}

#[test]
fn unknown_members_old_generations_and_short_sessions_are_refused() {
    let mut bench = Bench::new();
    let member = alone(&mut bench);
    let stranger = Member { id: "nobody".into(), ..member.clone() };
    assert_eq!(stranger.beat(&mut bench, NOW), 25);
    assert_eq!(stranger.clone().join(&mut bench, NOW, 9).expect("a refusal").error_code, 25);
    assert_eq!(stranger.sync(&mut bench, NOW, 5, &[]), Some((25, String::new())));
    assert_eq!(stranger.leave(&mut bench, 5), 25);
    let late = Member { generation: member.generation - 1, ..member.clone() };
    assert_eq!(late.beat(&mut bench, NOW), 22);
    assert_eq!(late.sync(&mut bench, NOW, 5, &[]), Some((22, String::new())));
    let request = JoinGroupRequest::default().with_group_id(group()).with_session_timeout_ms(100);
    let joined: JoinGroupResponse = bench.call(ApiKey::JoinGroup, 9, &request).expect("an answer");
    assert_eq!(joined.error_code, 26);
    let request = request.with_group_id(GroupId(text("")));
    let joined: JoinGroupResponse = bench.call(ApiKey::JoinGroup, 9, &request).expect("an answer");
    assert_eq!(joined.error_code, 24);
}

#[test]
fn demanded_codes_come() {
    let mut bench = Bench::new();
    let mut member = alone(&mut bench);
    bench.cluster.fail_next(Request::Heartbeat, 14, 1);
    bench.cluster.fail_next(Request::JoinGroup, 15, 1);
    assert_eq!((member.beat(&mut bench, NOW), member.beat(&mut bench, NOW)), (14, 0));
    let (id, generation) = (member.id.clone(), member.generation);
    assert_eq!(member.join(&mut bench, NOW, 9).expect("a refusal").error_code, 15);
    (member.id, member.generation) = (id, generation);
    assert_eq!(member.beat(&mut bench, NOW), 0);
}

/// Code, node and port of each.
fn coordinators(bench: &mut Bench, version: i16, kind: i8, keys: &[&str]) -> Vec<(i16, i32, i32)> {
    let mut request = FindCoordinatorRequest::default();
    if version >= 1 {
        request.key_type = kind;
    }
    if version >= 4 {
        request.coordinator_keys = keys.iter().map(|key| text(key)).collect();
    } else {
        request.key = text(keys[0]);
    }
    let response: FindCoordinatorResponse = bench.call(ApiKey::FindCoordinator, version, &request).expect("an answer");
    if version >= 4 {
        response.coordinators.iter().map(|found| (found.error_code, found.node_id.0, found.port)).collect()
    } else {
        vec![(response.error_code, response.node_id.0, response.port)]
    }
}

#[test]
fn groups_are_spread_over_nodes_and_have_another_when_theirs_is_down() {
    let mut bench = Bench::with(Settings::default().nodes(3));
    let names: Vec<String> = (0..30).map(|n| format!("group-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = coordinators(&mut bench, 6, 0, &names);
    let mut counts: BTreeMap<i32, u32> = BTreeMap::new();
    for (name, (code, node, port)) in names.iter().zip(&all) {
        assert_eq!((*code, Some(*node), *port), (0, bench.cluster.coordinator(name), 9091 + node));
        *counts.entry(*node).or_default() += 1;
    }
    assert_eq!(counts.len(), 3);
    for version in 0..4 {
        assert_eq!(coordinators(&mut bench, version, 0, &names[..1]), all[..1]);
    }
    let node = bench.cluster.coordinator("group-0").expect("some node is up");
    bench.cluster.crash(node);
    let other = bench.cluster.coordinator("group-0").expect("some node is up");
    assert_ne!(node, other);
    bench.cluster.restart(node, false);
    assert_eq!(bench.cluster.coordinator("group-0"), Some(node));
}

#[test]
fn another_node_sends_away() {
    let mut bench = Bench::with(Settings::default().nodes(2));
    let node = bench.cluster.coordinator("g").expect("some node is up");
    let mut member = Member::new(&mut bench);
    member.peer = bench.cluster.connect(3 - node).expect("it is up");
    assert_eq!(member.join(&mut bench, NOW, 9).expect("a refusal").error_code, 16);
    assert_eq!(member.beat(&mut bench, NOW), 16);
}

#[test]
fn only_groups_have_coordinators() {
    let mut bench = Bench::new();
    assert_eq!(coordinators(&mut bench, 6, 0, &[""])[0].0, 24);
    assert_eq!(coordinators(&mut bench, 6, 1, &["transaction"])[0].0, 53);
    assert_eq!(coordinators(&mut bench, 6, 2, &["share"])[0].0, 42);
    assert_eq!(coordinators(&mut bench, 3, 1, &["transaction"])[0].0, 53);
    bench.cluster.fail_next(Request::FindCoordinator, 15, 1);
    assert_eq!(coordinators(&mut bench, 6, 0, &["g"])[0].0, 15);
}

#[test]
fn groups_are_listed_and_described() {
    for version in 0..=6 {
        let mut bench = Bench::new();
        let describe = |bench: &mut Bench| -> DescribeGroupsResponse {
            let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
            bench.call(ApiKey::DescribeGroups, version, &request).expect("an answer")
        };
        let unknown = describe(&mut bench);
        let code = if version >= 6 { 69 } else { 0 };
        assert_eq!((unknown.groups[0].error_code, unknown.groups[0].group_state.as_str()), (code, "Dead"));
        let member = alone(&mut bench);
        let described = describe(&mut bench).groups.remove(0);
        assert_eq!((described.error_code, described.group_state.as_str()), (0, "Stable"));
        assert_eq!((described.protocol_type.as_str(), described.protocol_data.as_str()), ("consumer", "range"));
        assert_eq!(described.members[0].member_id.as_str(), member.id);
        assert_eq!(described.members[0].member_assignment, Bytes::from("all"));
        assert_eq!(described.members[0].member_metadata, Bytes::from(format!("range of {}", member.id)));
        let mut list = |states: &[&str]| {
            let version = version.min(5);
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request.states_filter = states.iter().map(|state| text(state)).collect();
            }
            let listed: ListGroupsResponse = bench.call(ApiKey::ListGroups, version, &request).expect("an answer");
            listed.groups.iter().map(|listed| listed.group_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(list(&[]), ["g"]);
        assert_eq!(list(&["empty"]).len(), if version >= 4 { 0 } else { 1 });
        assert_eq!(list(&["stable"]), ["g"]);
    }
}
