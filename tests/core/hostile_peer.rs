//! Servers that answer in the worst ways: what it costs, how often they are asked, and whether a good one is found beside them.

use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::sasl_authenticate_response::SaslAuthenticateResponse;
use kafka_protocol::protocol::Encodable;
use milena::{Input, Record};

use crate::logged::lines;
use crate::script::{Ask, Asked, Door, Facts, Reply, Script, Server, id, text};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[allow(clippy::disallowed_methods, reason = "it is about time that passes")]
fn time(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}

fn broker(node: i32, host: &str, port: i32) -> MetadataResponseBroker {
    MetadataResponseBroker::default().with_node_id(node.into()).with_host(text(host)).with_port(port)
}

fn partition(index: i32, leader: i32, epoch: i32) -> MetadataResponsePartition {
    MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(leader.into())
        .with_leader_epoch(epoch)
}

fn topic(name: &str, topic_id: u128, partitions: Vec<MetadataResponsePartition>) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_topic_id(id(topic_id))
        .with_partitions(partitions)
}

/// Every partition of a Produce request answered by `each`.
fn produced(
    asked: &Asked,
    mut each: impl FnMut(PartitionProduceResponse) -> PartitionProduceResponse,
) -> ProduceResponse {
    let Ask::Produce(request) = &asked.ask else { panic!("not Produce") };
    let mut response = ProduceResponse::default();
    for data in &request.topic_data {
        let answers = data.partition_data.iter();
        let answers = answers.map(|data| each(PartitionProduceResponse::default().with_index(data.index))).collect();
        let answer = TopicProduceResponse::default().with_partition_responses(answers);
        response.responses.push(match asked.version >= 13 {
            true => answer.with_topic_id(data.topic_id),
            false => answer.with_name(data.name.clone()),
        });
    }
    response
}

/// Sends for so long at most; how long it took.
fn send_within(script: &mut Script, name: &str, limit: Duration) -> Option<Duration> {
    let begin = script.now;
    while script.now.saturating_since(begin) < limit {
        if script.try_send(&Record::new(name).value("v")).is_ok() {
            while script.now.saturating_since(begin) < limit {
                if script.delivered() > 0 {
                    return Some(script.now.saturating_since(begin));
                }
                script.run(millis(50));
            }
            return None;
        }
        script.run(millis(50));
    }
    None
}

/// Ways to be hostile, and the list of them all.
macro_rules! ways {
    ($($way:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Way {
            $($way,)*
        }

        const WAYS: &[Way] = &[$(Way::$way,)*];
    };
}

ways! {
    Refuses,
    Mute,
    Slams,
    Untrusted,
    DropsAll,
    HoldsAll,
    DropsAfterVersions,
    HoldsAfterVersions,
    Garbage,
    GarbageAfterVersions,
    VersionsEmpty,
    VersionsUpsideDown,
    VersionsNegative,
    Versions35,
    NoBrokers,
    ServerError,
    NoTopics,
    TopicUnknown,
    TopicDenied,
    NoLeader,
    LeaderUnknown,
    Alone,
    AloneWithIt,
    ThrottleLong,
    IdError,
    IdNegative,
    IdDrops,
    IdHolds,
    ProduceDrops,
    ProduceHolds,
    ProduceGarbage,
    ProduceEmpty,
    Produce6,
    Produce100,
    Produce45,
    FakeBrokersMute,
    FakeBrokersRefuse,
    NewFakesEachTime,
    NewFakesMute,
    AddressElsewhere,
    IdsChange,
    IdOther,
    LeadersRise,
    EpochMax,
    EpochNegative,
    Unasked,
}

use Way::*;

const FAKES: i32 = 30;

impl Way {
    fn door(self) -> Door {
        match self {
            Refuses => Door::Refuses,
            Mute => Door::Mute,
            Slams => Door::Slams,
            Untrusted => Door::Untrusted,
            _ => Door::Open,
        }
    }

    fn reply(self, facts: &mut Facts, asked: &Asked, n: u32) -> Reply {
        let usual = facts.usual(asked);
        let versions = |min: i16, max: i16| {
            let keys = [0, 3, 18, 22, 17, 36];
            let range = |key: i16| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
            Reply::ApiVersions(ApiVersionsResponse::default().with_api_keys(keys.into_iter().map(range).collect()))
        };
        match (self, asked.api) {
            (DropsAll, _) => Reply::Drop,
            (HoldsAll, _) => Reply::Hold,
            (Garbage, _) => Reply::Raw(vec![0xff; 40]),
            (VersionsEmpty, ApiKey::ApiVersions) => Reply::ApiVersions(ApiVersionsResponse::default()),
            (VersionsUpsideDown, ApiKey::ApiVersions) => versions(9, 3),
            (VersionsNegative, ApiKey::ApiVersions) => versions(-32768, -1),
            (Versions35, ApiKey::ApiVersions) => Reply::ApiVersions(ApiVersionsResponse::default().with_error_code(35)),
            (_, ApiKey::ApiVersions) => usual,
            (DropsAfterVersions, _) => Reply::Drop,
            (HoldsAfterVersions, _) => Reply::Hold,
            (GarbageAfterVersions, _) => Reply::Raw(vec![0xff; 40]),
            (_, ApiKey::Metadata) => {
                let Reply::Metadata(mut told) = usual else { panic!("metadata") };
                match self {
                    NoBrokers => told.brokers.clear(),
                    ServerError if asked.version >= 13 => told.error_code = -1,
                    ServerError => told.topics.iter_mut().for_each(|topic| topic.error_code = -1),
                    NoTopics => told.topics.clear(),
                    TopicUnknown => told.topics.iter_mut().for_each(|topic| {
                        topic.error_code = 3;
                        topic.partitions.clear();
                    }),
                    TopicDenied => told.topics.iter_mut().for_each(|topic| {
                        topic.error_code = 29;
                        topic.partitions.clear();
                    }),
                    NoLeader => told.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| {
                        (partition.leader_id, partition.error_code) = ((-1).into(), 5);
                    }),
                    LeaderUnknown => {
                        told.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| {
                            partition.leader_id = 77.into();
                        })
                    }
                    Alone => {
                        told.brokers.retain(|broker| broker.node_id.0 == asked.node);
                        told.topics.clear();
                    }
                    AloneWithIt => {
                        told.brokers.retain(|broker| broker.node_id.0 == asked.node);
                        told.topics.iter_mut().for_each(|topic| topic.error_code = 3);
                    }
                    ThrottleLong => told.throttle_time_ms = i32::MAX,
                    FakeBrokersMute | FakeBrokersRefuse | NewFakesEachTime | NewFakesMute => {
                        told.topics.clear();
                        let host = if matches!(self, FakeBrokersMute | NewFakesMute) { "mute" } else { "nowhere" };
                        let anew = matches!(self, NewFakesEachTime | NewFakesMute);
                        let first = if anew { 1000 + (n as i32 % 1900) * FAKES } else { 1000 };
                        told.brokers.extend((first..first + FAKES).map(|node| broker(node, host, 1 + node % 60_000)));
                    }
                    AddressElsewhere => {
                        told.topics.clear();
                        told.brokers.iter_mut().for_each(|broker| broker.host = text("nowhere"));
                    }
                    IdOther => told.topics.iter_mut().for_each(|topic| topic.topic_id = id(9999)),
                    LeadersRise | EpochMax | EpochNegative => {
                        told.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| {
                            partition.leader_id = asked.node.into();
                            partition.leader_epoch = match self {
                                LeadersRise => 10 + n as i32,
                                EpochMax => i32::MAX,
                                _ => -5,
                            };
                        });
                    }
                    Unasked => {
                        let partitions =
                            vec![partition(-1, 1, 0), partition(0, -7, -7), partition(0, 1, 0), partition(0, 2, 0)];
                        told.topics = vec![topic("u", 2, partitions.clone()), topic("t", 0, partitions)];
                        if asked.version >= 12 {
                            told.topics.push(MetadataResponseTopic::default().with_name(None));
                        }
                    }
                    IdsChange => told.topics.iter_mut().for_each(|topic| topic.topic_id = id(10_000 + u128::from(n))),
                    _ => {}
                }
                Reply::Metadata(told)
            }
            (IdError, ApiKey::InitProducerId) => Reply::InitProducerId(
                InitProducerIdResponse::default().with_error_code(15).with_producer_id((-1).into()),
            ),
            (IdNegative, ApiKey::InitProducerId) => Reply::InitProducerId(
                InitProducerIdResponse::default().with_producer_id(i64::MIN.into()).with_producer_epoch(-5),
            ),
            (IdDrops, ApiKey::InitProducerId) => Reply::Drop,
            (IdHolds, ApiKey::InitProducerId) => Reply::Hold,
            (ProduceDrops, ApiKey::Produce) => Reply::Drop,
            (ProduceHolds, ApiKey::Produce) => Reply::Hold,
            (ProduceGarbage, ApiKey::Produce) => Reply::Raw(vec![0xff; 40]),
            (ProduceEmpty, ApiKey::Produce) => Reply::Produce(ProduceResponse::default()),
            (Produce6, ApiKey::Produce) => facts.refuse(asked, 6),
            (Produce100, ApiKey::Produce) => facts.refuse(asked, 100),
            (Produce45, ApiKey::Produce) => facts.refuse(asked, 45),
            _ => usual,
        }
    }
}

fn with_doors(script: &mut Script) {
    for node in 1000..58_000 {
        let mut server = Server::new(node, "mute", 1 + node as u16);
        server.door = Door::Mute;
        script.servers.push(server);
    }
}

#[test]
fn the_good_one_among_hostile_ones_is_found_within_seconds() {
    let mut slow = Vec::new();
    for way in WAYS {
        for good in 1..=3 {
            let mut n = 0;
            let mut script = Script::new(3, &[("delivery.timeout.ms", "600000")], move |facts, asked| {
                n += 1;
                if asked.node == good { facts.usual(asked) } else { way.reply(facts, asked, n) }
            });
            with_doors(&mut script);
            for node in 1..=3 {
                if node != good {
                    script.server(node).door = way.door();
                }
            }
            script.facts.topic("t", 1, 1).partitions[0].leader = good;
            let took = send_within(&mut script, "t", seconds(300));
            let most = (1..=3).map(|node| script.asks().filter(|asked| asked.node == node).count()).max().unwrap_or(0);
            let minutes = script.now.saturating_since(milena::Instant::ZERO).as_secs() / 60 + 1;
            println!("{way:?} good={good}: {took:?}, asked {most}, dialled {} in {minutes} min", script.dialled.len());
            // Two liars whose epochs grow are told from the truth by what comes of it, which takes a while.
            let bound = if matches!(way, LeadersRise | EpochMax) { 60 } else { 20 };
            if took.is_none_or(|took| took > seconds(bound)) {
                slow.push(format!("{way:?} (node {good} is good): {took:?}"));
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn after_ten_hostile_minutes_records_are_delivered_soon() {
    let mut bad = Vec::new();
    for way in WAYS {
        for nodes in [1, 3] {
            let mut n = 0;
            let options = [("delivery.timeout.ms", "3600000")];
            let mut script = Script::new(nodes, &options, Facts::usual);
            with_doors(&mut script);
            script.facts.topic("t", 1, 4).partitions[0].leader = 1;
            script.send(&Record::new("t").value("first").partition(0));
            script.run(seconds(1));
            assert_eq!(script.delivered(), 1);
            script.events.clear();
            script.answer(move |facts, asked| {
                n += 1;
                way.reply(facts, asked, n)
            });
            for node in 1..=nodes {
                script.server(node).door = way.door();
                script.break_connections(node);
            }
            let since = script.now;
            let dialled = script.dialled.len();
            for _ in 0..600 {
                let _ = script.try_send(&Record::new("t").value("v").partition(0));
                script.run(seconds(1));
            }
            let asks = script.asks().filter(|asked| asked.at >= since).count();
            let dials = script.dialled.len() - dialled;
            script.answer(Facts::usual);
            for node in 1..=nodes {
                script.server(node).door = Door::Open;
            }
            for asked in script.held() {
                script.reply(asked.number, Reply::Drop);
            }
            let begin = script.now;
            let before = script.delivered();
            let mut took = None;
            for _ in 0..1200 {
                let _ = script.try_send(&Record::new("t").value("v").partition(0));
                script.run(millis(500));
                if script.delivered() > before {
                    took = Some(script.now.saturating_since(begin));
                    break;
                }
            }
            let line = format!(
                "{way:?} nodes={nodes}: {took:?} {} asks/min {} dials/min, {} failed",
                asks / 10,
                dials / 10,
                script.failed()
            );
            println!("{line}");
            if took.is_none_or(|took| took > seconds(60))
                || asks / 10 > 600 * nodes as usize
                || dials / 10 > 300 * nodes as usize
            {
                bad.push(line);
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn an_answer_that_names_a_broker_at_many_addresses_makes_few_connections() {
    let mut script = Script::new(2, &[("metadata.max.age.ms", "2000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first").partition(0));
    script.run(seconds(1));
    script.server(1).door = Door::Mute;
    script.break_connections(1);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            told.brokers.extend((0..2000).map(|n| broker(1, &format!("h{n}"), 1000 + n)));
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.try_send(&Record::new("t").value("v").partition(0)).expect("taken");
    let (since, dialled) = (script.now, script.dialled.len());
    script.run(seconds(10));
    let answers = script.asks().filter(|asked| asked.at >= since && asked.api == ApiKey::Metadata).count();
    let dials = script.dialled.len() - dialled;
    assert!(dials < 200, "{dials} connections, after {answers} answers");
}

#[test]
fn two_that_name_each_other_the_leader_are_not_hammered() {
    let mut epoch = 10;
    let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
        Ask::Produce(_) => {
            epoch += 1;
            let other = 3 - asked.node;
            let mut told = produced(asked, |answer| {
                let leader = LeaderIdAndEpoch::default().with_leader_id(other.into()).with_leader_epoch(epoch);
                answer.with_error_code(6).with_base_offset(-1).with_current_leader(leader)
            });
            let endpoint =
                NodeEndpoint::default().with_node_id(other.into()).with_host(text(&format!("server{other}")));
            told.node_endpoints.push(endpoint.with_port(9090 + other));
            Reply::Produce(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v").partition(0));
    let since = script.now;
    script.run(seconds(60));
    let asked = script.asks().filter(|asked| asked.at >= since && asked.api == ApiKey::Produce).count();
    let metadata = script.asks().filter(|asked| asked.at >= since && asked.api == ApiKey::Metadata).count();
    assert!(asked < 1200, "{asked} Produce requests in a minute for one record, {metadata} Metadata");
}

#[test]
fn an_epoch_beyond_all_in_one_answer_is_not_believed_for_ever() {
    let mut told_once = false;
    let mut script = Script::new(2, &[("metadata.max.age.ms", "5000")], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if !told_once && !request.topics.as_ref().is_none_or(Vec::is_empty) => {
            told_once = true;
            let mut told = facts.metadata(asked.version, request);
            for partition in told.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                (partition.leader_id, partition.leader_epoch) = (2.into(), i32::MAX);
            }
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1).partitions[0].epoch = 5;
    script.send(&Record::new("t").value("v").partition(0));
    script.run(seconds(110));
    assert_eq!((script.delivered(), script.failed()), (1, 0));
}

#[test]
fn sessions_of_any_length_are_not_renewed_all_the_time() {
    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";",
        ),
    ];
    for lifetime in [0, 1, 2, 10, 100, 1000, -1, i64::MIN, i64::MAX, i64::MAX / 90] {
        let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
            Ask::SaslAuthenticate(_) => {
                Reply::SaslAuthenticate(SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime))
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        let took = send_within(&mut script, "t", seconds(60));
        script.run(seconds(60));
        let asked = script.count(1, ApiKey::SaslAuthenticate, milena::Instant::ZERO);
        println!("lifetime {lifetime}: {took:?}, {asked} renewals, {} dials", script.dialled.len());
        assert!(asked < 400, "{asked} times in a minute or two");
        assert!(script.dialled.len() < 300);
        assert!(took.is_some() || (1..10).contains(&lifetime), "lifetime {lifetime}");
    }
}

/// Nobody's terminal, log or memory is a server's to fill.
#[test]
fn a_servers_words_are_one_line_that_is_not_long() {
    let words = || text(&format!("first\nERROR second\u{1b}[2J\r{}", "x".repeat(100_000)));
    let is_tame = |text: &str| text.len() < 4000 && !text.contains(char::is_control);
    lines();
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Produce(produced(asked, |answer| {
            answer.with_error_code(87).with_error_message(Some(words())).with_base_offset(-1)
        })),
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            told.brokers.push(broker(7, &words(), 9091));
            told.brokers.push(broker(8, "server8\nERROR second", 9091));
            let known = told.topics[0].partitions[0].clone();
            told.topics[0].partitions.push(known.with_partition_index(1).with_leader_id(8.into()));
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v").partition(0));
    script.send(&Record::new("t").value("v").partition(1));
    script.run(seconds(200));
    let errors = script.deliveries();
    let errors: Vec<String> = errors.iter().filter_map(|told| Some(told.outcome.as_ref().err()?.to_string())).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| is_tame(error)), "{errors:.200?}");
    assert!(errors.iter().any(|error| error.contains("first ERROR second")), "{errors:?}");
    assert!(script.dialled.iter().all(|dialled| is_tame(&dialled.host)), "{:.300?}", script.dialled);

    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";",
        ),
    ];
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::SaslAuthenticate(_) => {
            let answer = SaslAuthenticateResponse::default().with_error_code(58);
            Reply::SaslAuthenticate(answer.with_error_message(Some(words())))
        }
        _ => facts.usual(asked),
    });
    let _ = script.try_send(&Record::new("t").value("v"));
    script.run(seconds(20));
    let denied = script.try_send(&Record::new("t").value("v")).expect_err("it is not let in").to_string();
    assert!(denied.contains("first ERROR second") && is_tame(&denied), "{denied:.300}");
    let logged = lines();
    assert!(!logged.is_empty() && logged.iter().all(|line| is_tame(line)), "{logged:.300?}");
}

/// A server may ask for a million rounds of a hash, with another salt each time: not many times.
#[test]
#[cfg(feature = "scram")]
fn a_server_that_wants_much_work_is_not_tried_often() {
    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"p\";",
        ),
    ];
    // A wrong signature, an error, a closed connection, silence.
    for way in 0..4 {
        let mut salts = 0_u64;
        let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
            Ask::SaslAuthenticate(request) => {
                let said = String::from_utf8_lossy(&request.auth_bytes).into_owned();
                let answer = SaslAuthenticateResponse::default();
                match said.strip_prefix("n,,").and_then(|first| first.split_once(",r=")) {
                    Some((_, nonce)) => {
                        salts += 1;
                        // Four digits a salt, in base64; a round more than Kafka allows, for the sake of the test.
                        let first = format!("r={nonce}more,s={:0>4},i=16385", salts % 10_000);
                        Reply::SaslAuthenticate(answer.with_auth_bytes(first.into_bytes().into()))
                    }
                    None => match way {
                        0 => Reply::SaslAuthenticate(answer.with_auth_bytes(b"v=AAAA".to_vec().into())),
                        1 => Reply::SaslAuthenticate(answer.with_error_code(58)),
                        2 => Reply::Drop,
                        _ => Reply::Hold,
                    },
                }
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        let _ = script.try_send(&Record::new("t").value("v"));
        script.run(seconds(300));
        let derived = script.asks().filter(|asked| match &asked.ask {
            Ask::SaslAuthenticate(request) => request.auth_bytes.starts_with(b"c="),
            _ => false,
        });
        let derived = derived.count();
        println!("way {way}: {derived} derivations in five minutes");
        assert!((1..60).contains(&derived), "way {way}: {derived} derivations in five minutes");
    }
}

#[test]
fn producer_ids_that_break_are_asked_for_seldom() {
    for (name, reply) in [
        ("drop", Reply::Drop),
        ("garbage", Reply::Raw(vec![0xff; 3])),
        ("empty", Reply::Raw(vec![])),
        ("negative", Reply::InitProducerId(InitProducerIdResponse::default().with_producer_id((-7).into()))),
        ("error", Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(14))),
    ] {
        for nodes in [1, 3, 30] {
            let reply = reply.clone();
            let mut script = Script::new(nodes, &[], move |facts, asked| match &asked.ask {
                Ask::InitProducerId(_) => reply.clone(),
                _ => facts.usual(asked),
            });
            script.facts.topic("t", 1, 1);
            script.send(&Record::new("t").value("v").partition(0));
            let since = script.now;
            script.run(seconds(60));
            let of = |api| script.asks().filter(|asked| asked.at >= since && asked.api == api).count();
            let (ids, metadata, dials) = (of(ApiKey::InitProducerId), of(ApiKey::Metadata), script.dialled.len());
            println!("{name} nodes={nodes}: ids {ids}, metadata {metadata}, dials {dials}");
            assert!(ids < 200 * nodes as usize && metadata < 300 && dials < 200 * nodes as usize + 50);
        }
    }
}

#[test]
fn two_producer_ids_in_turn_are_no_way_to_loop() {
    let mut n = 0;
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => {
            n += 1;
            let told = InitProducerIdResponse::default().with_producer_id((7 + n % 2).into());
            Reply::InitProducerId(told.with_producer_epoch(i16::MAX))
        }
        Ask::Produce(_) => facts.refuse(asked, 45),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 10);
    for partition in 0..10 {
        script.send(&Record::new("t").value("v").partition(partition));
    }
    let since = script.now;
    script.run(seconds(60));
    let of = |api| script.asks().filter(|asked| asked.at >= since && asked.api == api).count();
    let (ids, produce) = (of(ApiKey::InitProducerId), of(ApiKey::Produce));
    println!("ids {ids}, produce {produce}");
    assert!(ids < 700 && produce < 1500, "{ids} ids, {produce} produce");
}

#[test]
fn ids_and_leaders_that_change_with_every_answer_hammer_nobody() {
    for change_ids in [true, false] {
        let mut n = 0;
        let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(request) => {
                n += 1;
                let mut told = facts.metadata(asked.version, request);
                for topic in &mut told.topics {
                    if change_ids {
                        topic.topic_id = id(10_000 + n);
                    }
                    for partition in &mut topic.partitions {
                        partition.leader_id = (1 + (n % 2) as i32).into();
                        partition.leader_epoch = n as i32;
                    }
                }
                Reply::Metadata(told)
            }
            Ask::Produce(_) => facts.refuse(asked, if change_ids { 100 } else { 6 }),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 20);
        for partition in 0..20 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        let since = script.now;
        script.run(seconds(60));
        let of = |api| script.asks().filter(|asked| asked.at >= since && asked.api == api).count();
        let (metadata, produce) = (of(ApiKey::Metadata), of(ApiKey::Produce));
        println!("ids change: {change_ids}: metadata {metadata}, produce {produce}, dials {}", script.dialled.len());
        assert!(metadata < 700 && produce < 3000, "ids change: {change_ids}: metadata {metadata}, produce {produce}");
        script.run(seconds(120));
        assert_eq!(script.failed(), 20);
    }
}

#[test]
fn many_fake_brokers_are_not_dialled_without_end() {
    for fakes in [30, 1000] {
        let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(request) => {
                let mut told = facts.metadata(asked.version, request);
                told.brokers.extend((0..fakes).map(|n| broker(1000 + n, "nowhere", 1 + n)));
                Reply::Metadata(told)
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v").partition(0));
        script.run(seconds(1));
        // Somebody waits for a topic that is missing.
        let dialled = script.dialled.len();
        for _ in 0..60 {
            let _ = script.try_send(&Record::new("missing").value("v"));
            script.run(seconds(1));
        }
        let dials = script.dialled.len() - dialled;
        println!("{fakes} fakes: {dials} dials a minute");
        assert!(dials < 1500, "{fakes} fakes: {dials} dials a minute");
    }
}

#[test]
fn hints_of_new_addresses_in_every_answer_are_forgotten_again() {
    let mut n = 0;
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            let mut told = facts.produce(asked, request);
            for _ in 0..100 {
                n += 1;
                let endpoint = NodeEndpoint::default().with_node_id((100 + n).into()).with_host(text("nowhere"));
                told.node_endpoints.push(endpoint.with_port(1 + n % 60_000));
            }
            Reply::Produce(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    for _ in 0..500 {
        script.send(&Record::new("t").value("v").partition(0));
        script.run(millis(10));
    }
    let known = script.producer.brokers().len();
    assert_eq!(script.delivered(), 500);
    assert!(known < 5000, "{known} brokers are known");
}

/// How long an answer takes.
fn answer_time(script: &mut Script, reply: Reply) -> Duration {
    let asked = script.held()[0].clone();
    script.reply(asked.number, reply);
    time(|| script.run(millis(1)))
}

#[test]
fn metadata_answers_cost_what_they_are_long() {
    let of = |kind: usize, n: i32| {
        let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
            Ask::Metadata(_) => Reply::Hold,
            _ => facts.usual(asked),
        });
        let _ = script.try_send(&Record::new("t").value("v"));
        script.run(millis(20));
        let mut told = MetadataResponse::default();
        told.brokers.push(broker(1, "server1", 9091));
        match kind {
            0 => told.topics = (0..n).map(|n| topic(&format!("s{n}"), n as u128, vec![partition(0, 1, 0)])).collect(),
            1 => told.topics.push(topic("t", 1, (0..n).map(|n| partition(n, 1, 0)).collect())),
            2 => told.topics.push(topic("t", 1, (0..n).map(|_| partition(0, 1, i32::MAX)).collect())),
            3 => told.topics.push(topic("t", 1, (0..n).map(|n| partition(-n, n, -n)).collect())),
            4 => told.brokers.extend((0..n).map(|n| broker(5 + n, "x", n))),
            5 => told.brokers.extend((0..n).map(|n| broker(5, "x", n))),
            6 => told.topics = (0..n).map(|n| topic("t", n as u128, vec![partition(0, 1, n)])).collect(),
            7 => told.topics.push(topic("t", 1, (0..n).map(|n| partition(n, -1, -1).with_error_code(5)).collect())),
            _ => told.topics.push(topic("t", 1, (0..n).map(|n| partition(0, n % 2, n)).collect())),
        }
        answer_time(&mut script, Reply::Metadata(told))
    };
    for kind in 0..9 {
        let best = |n: i32| (0..3).map(|_| of(kind, n)).min().expect("three");
        let (few, many) = (best(20_000), best(200_000));
        println!("kind {kind}: {few:?} {many:?}");
        assert!(many < few * 40 || many < seconds(1), "kind {kind}: {few:?} and {many:?}");
    }
}

#[test]
fn produce_answers_cost_what_they_are_long() {
    let of = |kind: usize, n: i32| {
        let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
            Ask::Produce(_) => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v").partition(0));
        script.run(millis(20));
        let asked = script.held()[0].clone();
        let endpoint = |node: i32, port: i32| {
            NodeEndpoint::default().with_node_id(node.into()).with_host(text("x")).with_port(port)
        };
        let leader = |n: i32| LeaderIdAndEpoch::default().with_leader_id(n.into()).with_leader_epoch(n);
        let mut told = produced(&asked, |answer| answer.with_error_code(6).with_current_leader(leader(50)));
        match kind {
            0 => told.node_endpoints = (0..n).map(|n| endpoint(50 + n, n)).collect(),
            1 => told.node_endpoints = (0..n).map(|n| endpoint(50, n)).collect(),
            2 => {
                let answers = &mut told.responses[0].partition_responses;
                *answers = (0..n).map(|n| answers[0].clone().with_current_leader(leader(n))).collect();
            }
            3 => told.responses = (0..n).map(|n| told.responses[0].clone().with_topic_id(id(n as u128))).collect(),
            _ => {
                let answers = &mut told.responses[0].partition_responses;
                *answers = (0..n).map(|n| answers[0].clone().with_index(n - 5)).collect();
            }
        }
        let took = answer_time(&mut script, Reply::Produce(told));
        assert!(script.dialled.len() < 20, "kind {kind}: {} connections", script.dialled.len());
        took
    };
    for kind in 0..5 {
        let best = |n: i32| (0..3).map(|_| of(kind, n)).min().expect("three");
        let (few, many) = (best(20_000), best(200_000));
        println!("kind {kind}: {few:?} {many:?}");
        assert!(many < few * 40 || many < seconds(1), "kind {kind}: {few:?} and {many:?}");
    }
}

#[test]
fn an_answer_a_byte_at_a_time_costs_what_it_is_long() {
    let of = |n: i32| {
        let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
            Ask::Metadata(_) => Reply::Hold,
            _ => facts.usual(asked),
        });
        let _ = script.try_send(&Record::new("t").value("v"));
        script.run(millis(20));
        let asked = script.held()[0].clone();
        let mut told = MetadataResponse::default();
        told.brokers.push(broker(1, "server1", 9091));
        told.topics.push(topic("t", 1, (0..n).map(|n| partition(n, 1, 0)).collect()));
        let mut body = BytesMut::new();
        told.encode(&mut body, asked.version).expect("an answer");
        let mut frame = (body.len() as u32 + 5).to_be_bytes().to_vec();
        frame.extend_from_slice(&asked.correlation.to_be_bytes());
        frame.push(0);
        frame.extend_from_slice(&body);
        let took = time(|| frame.iter().for_each(|byte| script.input(Input::Data(asked.conn, &[*byte]))));
        assert_eq!(script.producer.partitions("t").map(|partitions| partitions.len()), Some(n as usize));
        took
    };
    let (few, many) = (of(2000), of(20_000));
    println!("{few:?} {many:?}");
    assert!(many < few * 40, "{few:?} and {many:?}");
}

#[test]
fn success_for_something_else_is_no_success() {
    for kind in 0..6 {
        let mut script = Script::new(1, &[("delivery.timeout.ms", "31000")], move |facts, asked| match &asked.ask {
            Ask::Produce(_) => {
                let mut told = produced(asked, |answer| answer.with_base_offset(5));
                let answers = &mut told.responses[0];
                match kind {
                    0 => answers.topic_id = id(2),
                    1 => answers.partition_responses[0].index = 1,
                    2 => answers.partition_responses[0].index = -1,
                    3 => answers.topic_id = id(0),
                    4 => answers.partition_responses.clear(),
                    _ => told.responses.clear(),
                }
                Reply::Produce(told)
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 2);
        script.facts.topic("u", 2, 2);
        script.send(&Record::new("t").value("v").partition(0));
        let since = script.now;
        script.run(seconds(60));
        let asked = script.count(1, ApiKey::Produce, since);
        println!("kind {kind}: {asked} times");
        assert_eq!((script.delivered(), script.failed()), (0, 1), "kind {kind}");
        assert!(asked < 100, "kind {kind}: {asked} times");
    }
}

#[test]
fn odd_correlation_ids_deliver_nothing() {
    for correlation in [-1, i32::MIN, i32::MAX, 0, 1, 2, 3, 4, 5] {
        let mut script =
            Script::new(1, &[("delivery.timeout.ms", "31000"), ("request.timeout.ms", "5000")], |facts, asked| {
                match &asked.ask {
                    Ask::Produce(_) => Reply::Hold,
                    _ => facts.usual(asked),
                }
            });
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v").partition(0));
        script.run(millis(20));
        let asked = script.held()[0].clone();
        if asked.correlation == correlation {
            continue;
        }
        let mut body = BytesMut::new();
        produced(&asked, |answer| answer.with_base_offset(5)).encode(&mut body, asked.version).expect("an answer");
        let mut frame = (body.len() as u32 + 5).to_be_bytes().to_vec();
        frame.extend_from_slice(&correlation.to_be_bytes());
        frame.push(0);
        frame.extend_from_slice(&body);
        script.input(Input::Data(asked.conn, &frame));
        script.run(seconds(60));
        assert_eq!((script.delivered(), script.failed()), (0, 1), "correlation {correlation}");
    }
}

#[test]
fn whatever_the_way_everything_ends_in_time() {
    for way in WAYS {
        let mut n = 0;
        let options = [("delivery.timeout.ms", "20000"), ("request.timeout.ms", "10000")];
        let mut script = Script::new(2, &options, Facts::usual);
        with_doors(&mut script);
        script.facts.topic("t", 1, 4).partitions[1].leader = 2;
        for partition in 0..4 {
            script.send(&Record::new("t").value("first").partition(partition));
        }
        script.run(seconds(1));
        assert_eq!(script.delivered(), 4);
        script.events.clear();
        script.answer(move |facts, asked| {
            n += 1;
            way.reply(facts, asked, n)
        });
        for node in 1..=2 {
            script.server(node).door = way.door();
            script.break_connections(node);
        }
        let mut taken = 0;
        for n in 0..200 {
            taken += usize::from(script.try_send(&Record::new("t").value("v").partition(n % 4)).is_ok());
            script.run(millis(200));
        }
        script.run(millis(21_000));
        assert_eq!(script.delivered() + script.failed(), taken, "{way:?}: records that are open");
        script.tell(|producer, now| producer.close(now));
        script.run(millis(100));
        assert!(script.producer.is_closed(), "{way:?}");
        assert_eq!(script.producer.buffered(), 0, "{way:?}");
    }
}

#[test]
fn a_pause_of_24_days_is_not_the_end_of_a_broker() {
    let mut n = 0;
    let options =
        [("delivery.timeout.ms", "60000"), ("request.timeout.ms", "10000"), ("connections.max.idle.ms", "60000")];
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            n += 1;
            match n {
                2 => Reply::Produce(facts.produce(asked, request).with_throttle_time_ms(i32::MAX)).after(millis(500)),
                3 => Reply::Hold,
                _ => Reply::Produce(facts.produce(asked, request)),
            }
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first").partition(0));
    script.run(seconds(1));
    script.send(&Record::new("t").value("v").partition(0));
    script.run(millis(100));
    script.send(&Record::new("t").value("v").partition(0));
    for _ in 0..1200 {
        let _ = script.try_send(&Record::new("t").value("v").partition(0));
        script.run(seconds(1));
    }
    assert!(script.delivered() > 3, "{} delivered, {} failed in 20 minutes", script.delivered(), script.failed());
}

#[test]
fn a_pause_of_24_days_without_anything_in_flight_is_not_the_end_either() {
    let mut n = 0;
    let options =
        [("delivery.timeout.ms", "60000"), ("request.timeout.ms", "10000"), ("connections.max.idle.ms", "60000")];
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            n += 1;
            let told = facts.produce(asked, request);
            Reply::Produce(if n == 1 { told.with_throttle_time_ms(i32::MAX) } else { told })
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first").partition(0));
    for _ in 0..1200 {
        let _ = script.try_send(&Record::new("t").value("v").partition(0));
        script.run(seconds(1));
    }
    assert!(script.delivered() > 3, "{} delivered, {} failed in 20 minutes", script.delivered(), script.failed());
}

#[test]
fn a_new_topic_is_known_soon_though_most_brokers_are_silent() {
    for silent in [3, 9, 27] {
        let mut script = Script::new(silent + 1, &[], Facts::usual);
        script.facts.topic("t", 1, 1);
        script.facts.topic("u", 2, 1);
        script.send(&Record::new("t").value("v").partition(0));
        script.run(seconds(1));
        for node in 2..=silent + 1 {
            script.server(node).door = Door::Mute;
            script.break_connections(node);
        }
        // It loses its turn once.
        let _ = script.try_send(&Record::new("missing").value("v"));
        script.run(seconds(120));
        let begin = script.now;
        script.send(&Record::new("u").value("v").partition(0));
        let took = script.now.saturating_since(begin);
        println!("{silent} silent: {took:?}");
        assert!(took < seconds(10), "{silent} silent: {took:?}");
    }
}

#[test]
fn hints_of_silent_addresses_keep_nobody_from_new_topics() {
    let mut n = 0;
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            let mut told = facts.produce(asked, request);
            n += 1;
            let endpoint = NodeEndpoint::default().with_node_id((1000 + n).into()).with_host(text("mute"));
            told.node_endpoints.push(endpoint.with_port(1001 + n));
            Reply::Produce(told)
        }
        _ => facts.usual(asked),
    });
    with_doors(&mut script);
    script.facts.topic("t", 1, 1);
    script.facts.topic("u", 2, 1);
    script.send(&Record::new("t").value("v").partition(0));
    let _ = script.try_send(&Record::new("missing").value("v"));
    for _ in 0..600 {
        let _ = script.try_send(&Record::new("t").value("v").partition(0));
        script.run(millis(50));
    }
    let begin = script.now;
    script.send(&Record::new("u").value("v").partition(0));
    let took = script.now.saturating_since(begin);
    assert!(took < seconds(10), "{took:?}");
}

/// Two servers tell two addresses of a third; both lead to it. Its connection breaks three times, then never.
fn told_differently(differently: bool) -> (usize, usize, usize) {
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            if asked.node == 2 && differently {
                told.brokers[2].host = text("third");
            }
            Reply::Metadata(told)
        }
        Ask::Produce(_) => facts.usual(asked).after(millis(200)),
        _ => facts.usual(asked),
    });
    script.servers.push(Server::new(3, "third", 9093));
    script.facts.topic("t", 1, 1).partitions[0].leader = 3;
    script.send(&Record::new("t").value("v").partition(0));
    script.run(seconds(2));
    let (since, dialled) = (script.now, script.dialled.len());
    for n in 0..600 {
        let _ = script.try_send(&Record::new("t").value("v").partition(0));
        script.run(millis(100));
        if matches!(n, 20 | 40 | 60) {
            script.break_connections(3);
        }
    }
    let metadata = (1..=3).map(|node| script.count(node, ApiKey::Metadata, since)).sum();
    (script.producer.stats().retries as usize, metadata, script.dialled.len() - dialled)
}

#[test]
fn a_broker_of_which_two_servers_tell_two_addresses_is_not_connected_to_all_the_time() {
    let alike = told_differently(false);
    let (retries, metadata, dials) = told_differently(true);
    println!("alike: {alike:?}; differently: {retries} retries, {metadata} metadata, {dials} dials");
    assert!(
        dials < 15 && metadata < 15,
        "{retries} retries, {metadata} metadata, {dials} connections in a minute; alike: {alike:?}"
    );
}

#[test]
fn refusals_of_one_record_at_a_time_are_not_a_storm() {
    use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
    for kind in 0..3 {
        let mut script =
            Script::new(1, &[("linger.ms", "50"), ("batch.size", "1000000")], move |facts, asked| match &asked.ask {
                Ask::Produce(_) => Reply::Produce(produced(asked, |answer| match kind {
                    0 => answer
                        .with_error_code(87)
                        .with_record_errors(vec![BatchIndexAndErrorMessage::default().with_batch_index(0)]),
                    1 => answer.with_error_code(87).with_record_errors(vec![
                        BatchIndexAndErrorMessage::default().with_batch_index(-1),
                        BatchIndexAndErrorMessage::default().with_batch_index(i32::MAX),
                    ]),
                    _ => answer.with_error_code(10),
                })),
                _ => facts.usual(asked),
            });
        script.facts.topic("t", 1, 1);
        script.send(&Record::new("t").value("v").partition(0));
        script.run(seconds(1));
        let since = script.now;
        for _ in 0..1000 {
            script.try_send(&Record::new("t").value("v").partition(0)).expect("taken");
        }
        script.run(seconds(60));
        let asked = script.count(1, ApiKey::Produce, since);
        println!("kind {kind}: {asked} requests, {} failed", script.failed());
        assert!(asked < 2100);
    }
}
