//! A producer tells why nothing is sent: status, errors, events, the log.

use std::time::Duration;

use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use milena::{ConnectionError, DeliveryError, ErrorCode, Event, Record, ServerState, ServerStatus, Status, Why};

use crate::logged::lines;
use crate::script::{Ask, Asked, Door, Facts, Reply, Script};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The status; and whether the producer is well, asked without one, is the same.
fn status(script: &Script) -> Status {
    let status = script.producer.status(script.now);
    for age in [millis(1), seconds(1), seconds(10), seconds(100)] {
        assert_eq!(script.producer.is_healthy(script.now, age), status.is_healthy(age), "{age:?}: {status:?}");
    }
    status
}

fn server(status: &Status, node: i32) -> &ServerStatus {
    let of_node = |server: &&ServerStatus| server.server.node == Some(node);
    status.servers.iter().find(of_node).expect("a broker of this node id")
}

fn send(script: &mut Script, partition: i32) {
    script.send(&Record::new("t").value("v").partition(partition));
}

fn last_error(script: &Script) -> DeliveryError {
    let mut errors = script.deliveries().into_iter().filter_map(|delivery| delivery.outcome.clone().err());
    errors.next_back().expect("a failure")
}

/// A producer that has delivered a record of each of two partitions, led by nodes 1 and 2.
fn warm(options: &[(&str, &str)]) -> Script {
    let mut script = Script::new(2, options, Facts::usual);
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    send(&mut script, 0);
    send(&mut script, 1);
    script.run(seconds(1));
    assert_eq!(script.delivered(), 2);
    script
}

const SHORT: [(&str, &str); 2] = [("delivery.timeout.ms", "20000"), ("request.timeout.ms", "15000")];

#[test]
fn status_of_a_producer_that_is_well() {
    let mut script = Script::new(2, &[], Facts::usual);
    let before = status(&script);
    assert!(before.is_healthy(seconds(1)), "nothing is known to be wrong: {before:?}");
    assert!(before.servers.iter().all(|server| server.server.node.is_none() && server.state == ServerState::Idle));
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    script.latency = millis(20);
    send(&mut script, 0);
    script.run(seconds(3));
    let status = status(&script);
    assert_eq!((status.open_records, status.oldest_record, status.buffered), (0, None, 0));
    assert!(status.last_delivery.is_some_and(|ago| ago > seconds(2) && ago < seconds(3)), "{status:?}");
    assert!(status.producer_id.is_some() && status.why.is_none() && !status.closing);
    assert_eq!(status.servers.len(), 2, "an address that is a broker's is told once");
    let leader = server(&status, 1);
    assert!(matches!(leader.state, ServerState::Up { lasts } if lasts > seconds(2)), "{leader:?}");
    assert_eq!((leader.in_flight, leader.silent_for), (0, None));
    assert_eq!(leader.last_round_trip, Some(millis(20)));
    assert!(status.is_healthy(seconds(1)));
}

#[test]
fn a_broker_that_is_gone_is_down_since_then_and_named_by_the_error() {
    let mut script = warm(&SHORT);
    script.take_down(2);
    script.run(seconds(2));
    send(&mut script, 1);
    script.run(seconds(10));
    let now = status(&script);
    assert!(
        matches!(&server(&now, 2).state, ServerState::Down { lasts, error: ConnectionError::Connect(_) }
            if *lasts >= seconds(9) && *lasts <= seconds(12)),
        "{now:?}"
    );
    assert!(matches!(server(&now, 1).state, ServerState::Up { .. }), "{now:?}");
    assert!(!now.is_healthy(seconds(9)) && now.is_healthy(seconds(11)), "{:?}", now.oldest_record);
    assert!(matches!(&now.why, Some(Why::Unreachable { server, .. }) if server.node == Some(2)), "{:?}", now.why);
    script.run(seconds(12));
    let error = last_error(&script);
    assert_eq!((&*error.topic, error.partition), ("t", 1));
    assert!(error.is_retriable() && !error.is_callers_fault());
    let words = error.to_string();
    assert!(words.starts_with("topic t, partition 1: not delivered within delivery.timeout.ms"), "{words}");
    assert!(words.ends_with("server2:9092: can't connect: refused, for 19 s"), "{words}");
    script.server(2).door = Door::Open;
    script.run(seconds(20));
    send(&mut script, 1);
    script.run(seconds(2));
    let after = status(&script);
    assert!(matches!(server(&after, 2).state, ServerState::Up { .. }), "{after:?}");
    assert!(after.is_healthy(seconds(1)) && after.why.is_none(), "{after:?}");
}

#[test]
fn a_broker_that_is_silent_is_named_too() {
    let mut script = warm(&SHORT);
    script.answer(|facts, asked| match (&asked.ask, asked.node) {
        (Ask::Produce(_), 2) => Reply::Hold,
        _ => facts.usual(asked),
    });
    send(&mut script, 1);
    script.run(millis(500));
    assert_eq!(status(&script).why, None, "that is no silence yet");
    script.run(seconds(4));
    let now = status(&script);
    let Some(Why::Silent { server: silent, lasts }) = &now.why else { panic!("{now:?}") };
    assert_eq!((silent.node, silent.to_string()), (Some(2), "server2:9092".to_string()));
    assert!(*lasts > seconds(4) && *lasts < seconds(5), "{lasts:?}");
    assert!(server(&now, 2).silent_for.is_some_and(|lasts| lasts > seconds(4)), "{now:?}");
    assert_eq!(server(&now, 2).in_flight, 1);
    // A broker that is busy and answers one request after the other is not silent.
    assert!(server(&now, 1).silent_for.is_none());
}

#[test]
fn a_leader_that_refuses_and_none_at_all_are_named() {
    let mut script = warm(&SHORT);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 19),
        _ => facts.usual(asked),
    });
    send(&mut script, 1);
    script.run(seconds(3));
    let why = status(&script).why;
    assert!(matches!(&why, Some(Why::Refusing { server, code }) if server.node == Some(2) && code.code() == 19));
    assert_eq!(why.unwrap().to_string(), "its leader server2:9092 answers NOT_ENOUGH_REPLICAS (19)");
    script.facts.lead("t", 1, -1);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 6),
        _ => facts.usual(asked),
    });
    script.run(seconds(5));
    let why = status(&script).why;
    assert!(matches!(&why, Some(Why::NoLeader { lasts }) if *lasts > seconds(3)), "{why:?}");
    script.run(seconds(20));
    let error = last_error(&script).to_string();
    assert!(error.contains("the cluster names no leader for it, for "), "{error}");
}

#[test]
fn who_gives_no_producer_id_is_named() {
    let mut script = Script::new(1, &SHORT, |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => {
            Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(15).with_producer_id((-1).into()))
        }
        _ => facts.usual(asked),
    });
    lines();
    script.facts.topic("t", 1, 1);
    send(&mut script, 0);
    script.run(seconds(3));
    assert_eq!(status(&script).why, Some(Why::NoProducerId { code: ErrorCode::new(15) }));
    let told = lines();
    assert!(told.iter().any(|line| line.starts_with("WARN server1:9091 gives no producer id: ")), "{told:#?}");
}

#[test]
fn a_producer_is_well_while_a_broker_may_be_there() {
    let mut script = Script::new(2, &SHORT, Facts::usual);
    script.facts.topic("t", 1, 1);
    send(&mut script, 0);
    script.run(seconds(1));
    (1..=2).for_each(|node| script.take_down(node));
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(millis(500));
    let now = status(&script);
    assert!(!now.is_healthy(seconds(1)) && now.open_records == 0, "{now:?}");
    script.server(1).door = Door::Open;
    script.run(seconds(2));
    let now = status(&script);
    let is_down = |node: i32| matches!(server(&now, node).state, ServerState::Down { .. });
    assert!(!is_down(1) && is_down(2) && now.is_healthy(seconds(1)), "{now:?}");
}

#[test]
fn a_trouble_of_yesterday_is_not_told() {
    let mut script = warm(&[("delivery.timeout.ms", "5000"), ("request.timeout.ms", "4000")]);
    script.break_connections(2);
    script.run(seconds(3600));
    script.facts.lead("t", 1, -1);
    script.run(seconds(1));
    let now = status(&script);
    assert_eq!(now.why, None, "an hour ago a connection broke");
    assert!(now.servers.iter().all(|server| !matches!(server.state, ServerState::Down { .. })), "{now:?}");
}

#[test]
fn a_broker_that_is_down_keeps_nobody_from_asking_another_one() {
    let mut script = warm(&[("delivery.timeout.ms", "5000"), ("request.timeout.ms", "4000")]);
    script.take_down(2);
    send(&mut script, 1);
    script.run(seconds(6));
    assert_eq!(script.failed(), 1);
    let now = status(&script);
    assert!(matches!(server(&now, 2).state, ServerState::Down { .. }) && now.open_records == 0, "{now:?}");
    assert_eq!(now.why, None, "the cluster can be asked");
}

#[test]
fn a_ping_is_answered_by_whoever_is_there() {
    let mut script = Script::new(2, &[], Facts::usual);
    script.latency = millis(30);
    script.take_down(1);
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(seconds(2));
    let pong = |event: &Event| matches!(event, Event::Pong { round_trip } if *round_trip == millis(30));
    assert_eq!(script.events.iter().filter(|event| pong(event)).count(), 1, "{:?}", script.events);
    // Known servers that went away: one that comes back later answers.
    script.take_down(2);
    script.events.clear();
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(seconds(10));
    assert!(!script.events.iter().any(|event| matches!(event, Event::Pong { .. })));
    let why = status(&script).why;
    assert!(matches!(why, Some(Why::Unreachable { .. })), "{why:?}");
    script.server(1).door = Door::Open;
    script.run(seconds(10));
    assert_eq!(script.events.iter().filter(|event| pong(event)).count(), 1, "{:?}", script.events);
}

/// Pings among what was asked: their version is the oldest, that of a new connection is not.
fn pings(script: &Script) -> Vec<&Asked> {
    script.asks().filter(|asked| matches!(asked.ask, Ask::ApiVersions(_)) && asked.version == 0).collect()
}

fn pongs(script: &Script) -> usize {
    script.events.iter().filter(|event| matches!(event, Event::Pong { .. })).count()
}

#[test]
fn a_ping_that_was_given_up_is_not_asked_again() {
    let mut script = Script::new(2, &[], Facts::usual);
    script.take_down(1);
    script.take_down(2);
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(seconds(3));
    let tried = script.producer.stats().connections;
    assert!(tried > 2, "{tried}");
    script.tell(|producer, now| producer.cancel_ping(now));
    script.run(seconds(20));
    assert_eq!(script.producer.stats().connections, tried, "nobody wants to know");
    (1..=2).for_each(|node| script.server(node).door = Door::Open);
    script.run(seconds(20));
    assert_eq!((pings(&script).len(), pongs(&script)), (0, 0));
    // Whoever asks then does not wait for a backoff of before.
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(millis(10));
    assert_eq!((pings(&script).len(), pongs(&script)), (1, 1));
}

/// A producer that knows both servers and has pinged one, which keeps its answer.
fn pinged_in_vain() -> (Script, i32) {
    let mut script = warm(&[]);
    let mut silent = None;
    script.answer(move |facts, asked| match &asked.ask {
        Ask::ApiVersions(_) if asked.version == 0 && *silent.get_or_insert(asked.node) == asked.node => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(millis(500));
    let silent = pings(&script)[0].node;
    assert_eq!(pongs(&script), 0);
    (script, silent)
}

#[test]
fn after_a_ping_that_was_given_up_another_server_is_asked() {
    let (mut script, silent) = pinged_in_vain();
    script.tell(|producer, now| producer.cancel_ping(now));
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(millis(500));
    let asked: Vec<i32> = pings(&script).iter().map(|asked| asked.node).collect();
    assert_eq!((asked, pongs(&script)), (vec![silent, 3 - silent], 1));
    // The answer that comes late is nobody's.
    let first = pings(&script)[0].number;
    reply_late(&mut script, first);
    script.run(millis(500));
    assert_eq!(pongs(&script), 1);
    assert_eq!(script.producer.stats().connection_failures, 0);
}

#[test]
fn a_server_that_failed_before_is_asked_rather_than_one_that_owes_an_answer() {
    for owed in [100, 500] {
        let mut script = Script::new(2, &[], Facts::usual);
        (1..=2).for_each(|node| script.take_down(node));
        script.tell(|producer, now| producer.ping(now)).expect("it runs");
        script.run(seconds(2));
        (1..=2).for_each(|node| script.server(node).door = Door::Open);
        script.run(seconds(5));
        assert_eq!(pongs(&script), 1);
        let silent = pings(&script)[0].node;
        script.answer(move |facts, asked| match &asked.ask {
            Ask::ApiVersions(_) if asked.node == silent => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.tell(|producer, now| producer.ping(now)).expect("it runs");
        script.run(millis(owed));
        assert_eq!((pings(&script).last().map(|asked| asked.node), pongs(&script)), (Some(silent), 1));
        script.tell(|producer, now| producer.cancel_ping(now));
        script.tell(|producer, now| producer.ping(now)).expect("it runs");
        script.run(millis(500));
        assert_eq!((pings(&script).last().map(|asked| asked.node), pongs(&script)), (Some(3 - silent), 2));
    }
}

/// The answer that a request should have had, by now.
fn reply_late(script: &mut Script, number: usize) {
    let asked = script.asks().nth(number).expect("it was asked").clone();
    let reply = script.facts.usual(&asked);
    script.reply(number, reply);
}

#[test]
fn an_answer_that_comes_late_is_the_pong_of_whoever_asks_then() {
    let (mut script, silent) = pinged_in_vain();
    script.take_down(3 - silent);
    script.tell(|producer, now| producer.cancel_ping(now));
    // However often it is asked and given up: a server that owes an answer is asked no second time.
    for _ in 0..50 {
        script.tell(|producer, now| producer.ping(now)).expect("it runs");
        script.run(millis(10));
        script.tell(|producer, now| producer.cancel_ping(now));
    }
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(millis(100));
    assert_eq!((pings(&script).len(), pongs(&script)), (1, 0));
    let first = pings(&script)[0].number;
    reply_late(&mut script, first);
    script.run(millis(100));
    assert_eq!(pongs(&script), 1);
}

#[test]
fn a_ping_that_was_given_up_stays_so_when_its_connection_breaks() {
    let (mut script, silent) = pinged_in_vain();
    script.tell(|producer, now| producer.cancel_ping(now));
    script.break_connections(silent);
    script.run(seconds(20));
    assert_eq!((pings(&script).len(), pongs(&script)), (1, 0));
}

#[test]
fn a_list_of_topics_that_was_given_up_is_nobodys() {
    let mut script = warm(&[]);
    let mut silent = None;
    let all = |asked: &Asked| matches!(&asked.ask, Ask::Metadata(request) if request.topics.is_none());
    script.answer(move |facts, asked| match silent {
        _ if !all(asked) => facts.usual(asked),
        Some(node) if node != asked.node => facts.usual(asked),
        _ => {
            silent = Some(asked.node);
            Reply::Hold
        }
    });
    let listed = |script: &Script| script.events.iter().filter(|event| matches!(event, Event::TopicsListed(_))).count();
    script.tell(|producer, now| producer.list_topics(now)).expect("it runs");
    script.run(millis(500));
    script.tell(|producer, now| producer.cancel_list_topics(now));
    let first = script.asks().find(|asked| all(asked)).expect("it was asked").number;
    reply_late(&mut script, first);
    script.run(seconds(20));
    assert_eq!((listed(&script), script.asks().filter(|asked| all(asked)).count()), (0, 1));
    script.tell(|producer, now| producer.list_topics(now)).expect("it runs");
    script.run(millis(500));
    assert_eq!((listed(&script), script.asks().filter(|asked| all(asked)).count()), (1, 2));
}

#[test]
fn whoever_observes_hears_of_retries_leaders_connections_and_epochs() {
    for observed in [false, true] {
        let mut script = warm(&[]);
        script.producer.observe(observed);
        let mut left = 3;
        script.answer(move |facts, asked| match &asked.ask {
            Ask::Produce(_) if left > 0 => {
                left -= 1;
                facts.refuse(asked, 19)
            }
            _ => facts.usual(asked),
        });
        send(&mut script, 1);
        script.run(seconds(5));
        script.facts.lead("t", 1, 1);
        script.break_connections(2);
        send(&mut script, 1);
        script.run(seconds(5));
        let of = |wanted: fn(&Event) -> bool| script.events.iter().filter(|event| wanted(event)).count();
        let retried = of(
            |event| matches!(event, Event::Retried { partition: 1, code: Some(code), records: 1, .. } if code.code() == 19),
        );
        let moved = of(|event| matches!(event, Event::LeaderMoved { partition: 1, leader: Some(1), .. }));
        assert_eq!((retried, moved), if observed { (3, 1) } else { (0, 0) }, "{:?}", script.events);
        let attempt = |event: &Event| match event {
            Event::Retried { attempt, .. } => Some(*attempt),
            _ => None,
        };
        let attempts: Vec<u32> = script.events.iter().filter_map(attempt).collect();
        assert_eq!(attempts, if observed { vec![1, 2, 3] } else { vec![] });
    }
}

#[test]
fn an_outage_is_told_in_few_lines() {
    lines();
    let mut script = Script::new(3, &[], Facts::usual);
    script.facts.topic("orders", 1, 30);
    for partition in 0..30 {
        script.facts.lead("orders", partition, 1 + partition as i32 % 3);
    }
    let send = |script: &mut Script, rounds: u32| {
        for _ in 0..rounds {
            for partition in 0..30 {
                script.send(&Record::new("orders").value("secret").partition(partition));
            }
            script.run(seconds(1));
        }
    };
    send(&mut script, 5);
    assert_eq!(lines(), [""; 0], "all is well");
    for node in 1..=3 {
        script.take_down(node);
    }
    send(&mut script, 60);
    for node in 1..=3 {
        script.server(node).door = Door::Open;
    }
    script.run(seconds(30));
    send(&mut script, 5);
    let told = lines();
    assert!(told.len() <= 12, "{told:#?}");
    for node in 1..=3 {
        let server = format!("server{node}:909{node}");
        let begin = told.iter().position(|line| line.starts_with(&format!("WARN {server}: "))).expect("a beginning");
        let end = told.iter().position(|line| line.starts_with(&format!("INFO {server} answers again, after 6")));
        assert!(end.is_some_and(|end| end > begin), "{told:#?}");
    }
    assert!(!told.iter().any(|line| line.contains("secret")), "{told:#?}");
    assert_eq!(script.failed(), 0);
}

#[test]
fn a_refusal_that_is_sent_again_is_told_once_and_when_it_is_over() {
    lines();
    let mut script = warm(&[]);
    lines();
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 19),
        _ => facts.usual(asked),
    });
    for _ in 0..50 {
        send(&mut script, 0);
        send(&mut script, 1);
        script.run(seconds(1));
    }
    let told = lines();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("WARN topic t, partition ") && told[0].contains("NOT_ENOUGH_REPLICAS"), "{told:#?}");
    script.run(seconds(30));
    let told = lines();
    assert_eq!(told.len(), 1, "once a minute: {told:#?}");
    assert!(told[0].contains(" times in 6"), "{told:#?}");
    script.answer(Facts::usual);
    script.run(seconds(5));
    let told = lines();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("INFO topic t: records are delivered again, after "), "{told:#?}");
}

#[test]
fn a_connection_that_was_not_used_is_no_trouble() {
    lines();
    let mut script = warm(&[]);
    lines();
    script.break_connections(2);
    script.break_connections(1);
    script.run(seconds(1));
    assert_eq!(lines(), [""; 0]);
}

#[test]
fn records_that_fail_are_told_once_a_minute_by_topic() {
    lines();
    let mut script = warm(&[]);
    lines();
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 87),
        _ => facts.usual(asked),
    });
    for _ in 0..30 {
        send(&mut script, 0);
        script.run(seconds(1));
    }
    assert_eq!(script.failed(), 30);
    assert!(last_error(&script).is_callers_fault());
    let told = lines();
    assert_eq!(told, ["WARN 1 records failed: topic t, partition 0: refused by the broker: INVALID_RECORD (87)"]);
}

#[test]
fn a_partition_that_refuses_among_others_that_do_not_is_one_trouble() {
    lines();
    let mut script = warm(&[]);
    lines();
    script.answer(|facts, asked| match (&asked.ask, asked.node) {
        (Ask::Produce(_), 1) => facts.refuse(asked, 19),
        _ => facts.usual(asked),
    });
    send(&mut script, 0);
    for _ in 0..500 {
        send(&mut script, 1);
        script.run(millis(100));
    }
    let told = lines();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("WARN topic t, partition 0: NOT_ENOUGH_REPLICAS"), "{told:#?}");
    script.answer(Facts::usual);
    script.run(seconds(5));
    let told = lines();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("INFO topic t: records are delivered again, after 5"), "{told:#?}");
}

#[test]
fn records_that_fail_among_others_that_do_not_are_told_once_a_minute() {
    lines();
    let mut script = warm(&[]);
    lines();
    let mut number = 0;
    script.answer(move |facts, asked| match &asked.ask {
        Ask::Produce(_) => {
            number += 1;
            if number % 2 == 0 { facts.refuse(asked, 87) } else { facts.usual(asked) }
        }
        _ => facts.usual(asked),
    });
    for _ in 0..300 {
        send(&mut script, 0);
        script.run(millis(100));
    }
    assert_eq!(script.failed(), 150);
    let told = lines();
    // The others were delivered all the time, so nothing is said to be over.
    assert_eq!(told, ["WARN 1 records failed: topic t, partition 0: refused by the broker: INVALID_RECORD (87)"]);
    script.answer(Facts::usual);
    script.run(seconds(100));
    send(&mut script, 0);
    script.run(seconds(1));
    assert_eq!(lines(), [""; 0]);
}

#[test]
fn a_trouble_with_each_of_many_topics_is_told_in_a_bounded_number_of_lines() {
    lines();
    let mut script = Script::new(1, &[], Facts::usual);
    let names: Vec<String> = (0..200).map(|number| format!("topic{number}")).collect();
    for (id, name) in (1..).zip(&names) {
        script.facts.topic(name, id, 1);
        script.send(&Record::new(name).value("v"));
    }
    script.run(seconds(5));
    lines();
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 19),
        _ => facts.usual(asked),
    });
    for name in &names {
        script.send(&Record::new(name).value("v"));
    }
    script.run(seconds(50));
    let told = lines();
    assert!(told.len() > 1 && told.len() <= 65, "{} lines", told.len());
    assert!(told.last().is_some_and(|line| line.starts_with("WARN more is wrong than is told")), "{told:#?}");
    // Another kind of trouble is not drowned.
    script.take_down(1);
    script.run(seconds(5));
    let told = lines();
    assert!(told.iter().any(|line| line.starts_with("WARN server1:9091: ")), "{told:#?}");
}

#[test]
fn a_pause_is_in_the_status_while_it_lasts() {
    let mut script = warm(&[]);
    script.answer(|facts, asked| match (&asked.ask, facts.usual(asked)) {
        (Ask::Produce(_), Reply::Produce(response)) if asked.node == 1 => {
            Reply::Produce(response.with_throttle_time_ms(500))
        }
        (_, reply) => reply,
    });
    send(&mut script, 0);
    send(&mut script, 1);
    script.run(millis(100));
    let now = status(&script);
    let left = server(&now, 1).throttled_for.expect("a pause");
    assert!(left > millis(350) && left < millis(450), "{left:?}");
    assert_eq!(server(&now, 2).throttled_for, None);
    script.run(millis(500));
    assert_eq!(server(&status(&script), 1).throttled_for, None, "it is over");
}

#[test]
fn where_nobody_is_left_the_trouble_of_records_is_told_without_any() {
    let options = [("retries", "0"), ("enable.idempotence", "false")];
    let mut script = Script::new(1, &options, |facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    send(&mut script, 0);
    script.run(millis(50));
    script.break_connections(1);
    let now = status(&script);
    assert_eq!((script.failed(), now.open_records), (1, 0));
    let Some(Why::Unreachable { server, error, .. }) = &now.why else { panic!("{now:?}") };
    assert_eq!((server.node, error), (Some(1), &ConnectionError::Io("reset".to_string())));
}

#[test]
fn a_pause_is_told_once_and_when_it_is_over() {
    lines();
    let mut script = warm(&[]);
    lines();
    script.answer(|facts, asked| match (&asked.ask, facts.usual(asked)) {
        (Ask::Produce(_), Reply::Produce(response)) if asked.node == 1 => {
            Reply::Produce(response.with_throttle_time_ms(500))
        }
        (_, reply) => reply,
    });
    for _ in 0..30 {
        send(&mut script, 0);
        send(&mut script, 1);
        script.run(seconds(1));
    }
    assert_eq!(lines(), ["WARN server1:9091 asks for a pause of 500 ms (a quota)"]);
    script.answer(Facts::usual);
    send(&mut script, 1);
    script.run(seconds(1));
    assert_eq!(lines(), [""; 0], "another server says nothing of it");
    send(&mut script, 0);
    script.run(seconds(1));
    let told = lines();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("INFO server1:9091 asks for no more pauses, after 3"), "{told:#?}");
}

#[test]
fn a_server_in_the_place_of_one_that_is_gone_inherits_no_trouble() {
    lines();
    let mut script = warm(&[]);
    // A broker that no bootstrap address names is gone for good, with a request on the wire.
    script.servers.push(crate::script::Server::new(3, "third", 9093));
    script.facts.brokers.push((3, "third".to_string(), 9093));
    script.facts.lead("t", 1, 3);
    script.run(seconds(400));
    send(&mut script, 1);
    script.run(seconds(2));
    assert_eq!(script.delivered(), 3);
    script.answer(|facts, asked| match (&asked.ask, asked.node) {
        (Ask::Produce(_), 3) => Reply::Hold,
        _ => facts.usual(asked),
    });
    send(&mut script, 1);
    script.run(millis(500));
    lines();
    script.take_down(3);
    script.facts.brokers.pop();
    script.facts.lead("t", 1, 2);
    script.answer(Facts::usual);
    script.run(seconds(10));
    let told = lines();
    assert!(told.len() == 1 && told[0].starts_with("WARN third:9093: "), "{told:#?}");
    // It is forgotten, and the next one comes into its place.
    script.run(seconds(700));
    assert_eq!(lines(), [""; 0]);
    script.servers.push(crate::script::Server::new(4, "fourth", 9094));
    script.facts.brokers.push((4, "fourth".to_string(), 9094));
    script.facts.lead("t", 1, 4);
    script.run(seconds(400));
    send(&mut script, 1);
    script.run(seconds(2));
    assert_eq!((script.delivered(), script.failed()), (5, 0));
    assert_eq!(lines(), [""; 0], "all is well with it, and was");
}

#[test]
fn a_connection_that_was_not_used_says_nothing_of_its_server() {
    let mut script =
        Script::new(1, &[("reconnect.backoff.ms", "5000"), ("reconnect.backoff.max.ms", "5000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    send(&mut script, 0);
    script.run(seconds(30));
    assert_eq!(script.delivered(), 1);
    script.break_connections(1);
    let now = status(&script);
    assert!(now.is_healthy(seconds(1)) && now.why.is_none(), "{now:?}");
    // Whether it is there turns out at the next attempt.
    script.take_down(1);
    script.run(seconds(10));
    let now = status(&script);
    assert!(!now.is_healthy(seconds(1)), "{now:?}");
}

#[test]
fn who_is_let_in_again_is_told_so() {
    lines();
    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";",
        ),
    ];
    let refused = |facts: &mut Facts, asked: &Asked| match facts.usual(asked) {
        Reply::SaslAuthenticate(answer) => Reply::SaslAuthenticate(answer.with_error_code(58)),
        reply => reply,
    };
    let mut script = Script::new(1, &options, refused);
    script.facts.topic("t", 1, 1);
    let _denied = script.try_send(&Record::new("t").value("v"));
    script.run(seconds(30));
    let told = lines();
    assert!(
        told.iter().filter(|line| line.starts_with("ERROR no server lets this client in")).count() == 1,
        "{told:#?}"
    );
    script.answer(Facts::usual);
    script.run(seconds(30));
    let told = lines();
    assert!(told.iter().any(|line| line.starts_with("INFO this client is let in again, after ")), "{told:#?}");
}

#[test]
fn old_records_that_are_sent_again_without_an_answer_may_be_there_twice_which_is_told() {
    let day = 24 * 3600 * 1000;
    // The age of the records; whether the topic has the brokers' time; how often it is told.
    for (age, brokers_time, times) in [(day + 1000, false, 1), (day + 1000, true, 0), (day - 60_000, false, 0)] {
        for options in [&[][..], &[("enable.idempotence", "false")]] {
            let mut script = warm(options);
            let today = milena::UnixTime::from_millis(1_800_000_000_000);
            script.input(milena::Input::WallClock(today));
            let old = |n: i64| Record::new("t").value("v").partition(0).timestamp(today.as_millis() - age + n);
            let answered = move |facts: &mut Facts, asked: &Asked| match facts.usual(asked) {
                Reply::Produce(mut answer) if brokers_time => {
                    for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                        partition.log_append_time_ms = today.as_millis();
                    }
                    Reply::Produce(answer)
                }
                reply => reply,
            };
            script.answer(answered);
            script.send(&old(0));
            script.run(seconds(1));
            lines();
            for n in 1..4 {
                script.answer(|facts, asked| match &asked.ask {
                    Ask::Produce(_) => Reply::Drop,
                    _ => facts.usual(asked),
                });
                script.send(&old(n));
                script.run(millis(20));
                script.answer(answered);
                script.run(seconds(5));
            }
            assert_eq!(script.delivered(), 6);
            let told: Vec<String> = lines().into_iter().filter(|line| line.contains("LogAppendTime")).collect();
            let times = if options.is_empty() { times } else { 0 };
            assert_eq!(told.len(), times, "{age}, {brokers_time}, {options:?}: {told:#?}");
            assert!(
                told.iter().all(|line| line.starts_with("WARN topic t, partition 0: records whose timestamps")),
                "{told:#?}"
            );
        }
    }
}

#[test]
fn records_of_a_clock_that_began_in_1970_are_old_for_brokers() {
    for (time_of_day, times) in [(5_000, 1), (1_800_000_000_000, 0)] {
        let mut script = warm(&[]);
        script.input(milena::Input::WallClock(milena::UnixTime::from_millis(time_of_day)));
        lines();
        script.answer(|facts, asked| match &asked.ask {
            Ask::Produce(_) => Reply::Drop,
            _ => facts.usual(asked),
        });
        script.send(&Record::new("t").value("v").partition(0));
        script.run(millis(20));
        script.answer(Facts::usual);
        script.run(seconds(5));
        assert_eq!(script.delivered(), 3);
        let told: Vec<String> = lines().into_iter().filter(|line| line.contains("LogAppendTime")).collect();
        assert_eq!(told.len(), times, "{time_of_day}: {told:#?}");
    }
}
