//! Who is asked for metadata and producer ids, how often, and whose pause is kept: where brokers are slow, ask for pauses, close
//! connections, share addresses or go back in time.

use std::sync::mpsc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, InitProducerIdResponse};
use milena::{Event, Instant, Record};

use crate::script::{Ask, Asked, Door, Facts, Reply, Script};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn record(topic: &str) -> Record<'_> {
    Record::new(topic).value("v").partition(0)
}

/// Asks for a pause in each answer of one kind.
fn pausing(api: ApiKey, millis: i32) -> impl FnMut(&mut Facts, &Asked) -> Reply + 'static {
    move |facts, asked| {
        let mut reply = facts.usual(asked);
        match &mut reply {
            Reply::Produce(it) if api == ApiKey::Produce => it.throttle_time_ms = millis,
            Reply::Metadata(it) if api == ApiKey::Metadata => it.throttle_time_ms = millis,
            Reply::ApiVersions(it) if api == ApiKey::ApiVersions => it.throttle_time_ms = millis,
            _ => {}
        }
        reply
    }
}

/// How often each node was asked since a moment.
fn asked(script: &Script, nodes: i32, api: ApiKey, since: Instant) -> Vec<usize> {
    (1..=nodes).map(|node| script.count(node, api, since)).collect()
}

/// What an application's health check does each second, for half a second.
fn check_health(script: &mut Script) {
    script.tell(|producer, now| producer.ping(now)).expect("it runs");
    script.run(MS(500));
    script.tell(|producer, now| producer.cancel_ping(now));
    script.run(MS(500));
}

/// How long after the first a second Produce request comes, of a broker that asked for a pause of 10 s.
fn second_request(options: &[(&str, &str)], between: impl FnOnce(&mut Script)) -> Duration {
    let mut script = Script::new(1, options, pausing(ApiKey::Produce, 10_000));
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(MS(100));
    between(&mut script);
    script.send(&record("t"));
    script.run(S(30));
    assert_eq!(script.delivered(), 2);
    let times: Vec<Instant> =
        script.asks().filter(|asked| asked.api == ApiKey::Produce).map(|asked| asked.at).collect();
    times[1].saturating_since(times[0])
}

// What never ends.

/// The machine is left in a thread of its own: it does not come back. What is asked later is a producer id; the connection was made for a ping
/// that nobody waits for any more.
fn unused_while_an_id_waits(idle: &'static str) -> Result<(usize, usize), mpsc::RecvTimeoutError> {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let options =
            [("connections.max.idle.ms", idle), ("retry.backoff.ms", "5000"), ("retry.backoff.max.ms", "5000")];
        let mut script = Script::new(1, &options, |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) if facts.next_producer_id == 1000 => {
                facts.next_producer_id += 1;
                Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(14))
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(MS(100));
        script.tell(|producer, now| producer.ping(now)).expect("it runs");
        script.tell(|producer, now| producer.cancel_ping(now));
        let before = script.wakes;
        script.run(S(8));
        let _ = done.send((script.wakes - before, script.delivered()));
    });
    wait.recv_timeout(S(5))
}

#[test]
fn where_unused_connections_have_no_time_at_all_the_machine_still_comes_back() {
    let seen = unused_while_an_id_waits("0");
    assert!(matches!(seen, Ok((_, 1))), "(wakes, delivered) or no answer in 5 s: {seen:?}");
}

#[test]
fn a_connection_that_waits_for_its_turn_wakes_nobody_each_time_it_would_be_idle() {
    let (wakes, delivered) = unused_while_an_id_waits("5").expect("it comes back");
    assert_eq!(delivered, 1);
    assert!(wakes < 50, "{wakes} wakes in 5 s, and there is nothing to do before those are over");
}

// Pauses that brokers ask for.

#[test]
fn a_pause_is_not_evaded_where_an_unused_connection_ends_before_it() {
    let waited = second_request(&[("connections.max.idle.ms", "1000")], |_| {});
    assert!(waited >= S(10), "a pause of 10 s was asked for: {waited:?}");
}

#[test]
fn a_pause_is_not_evaded_by_the_connection_after_one_that_broke() {
    let waited = second_request(&[], |script| script.break_connections(1));
    assert!(waited >= S(10), "a pause of 10 s was asked for: {waited:?}");
}

#[test]
fn pauses_are_not_evaded_by_keeping_few_control_connections() {
    let mut seen = Vec::new();
    for nodes in [3, 6, 12] {
        let mut script = Script::new(nodes, &[], pausing(ApiKey::Metadata, 30_000));
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.tell(|producer, now| producer.want_topic(now, "missing")).expect("it runs");
        script.run(S(59));
        let most = asked(&script, nodes, ApiKey::Metadata, Instant::ZERO).into_iter().max();
        seen.push((nodes, most.unwrap_or(0), script.dialled.len()));
    }
    let kept = seen.iter().all(|(_, most, _)| *most <= 2);
    assert!(kept, "each asks for a pause of 30 s: nodes, most requests of one in a minute, connections: {seen:?}");
}

#[test]
fn a_pause_at_the_beginning_that_is_longer_than_idleness_is_waited_out() {
    let mut script = Script::new(1, &[("connections.max.idle.ms", "1000")], pausing(ApiKey::ApiVersions, 2000));
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(S(60));
    let metadata = script.count(1, ApiKey::Metadata, Instant::ZERO);
    assert!(metadata > 0, "{} connections, and nothing was asked on any", script.dialled.len());
}

// Patience.

#[test]
fn a_slow_producer_id_is_waited_for_longer_although_others_are_answered_at_once() {
    for (health, age) in [(true, "300000"), (false, "2000")] {
        let mut script = Script::new(1, &[("metadata.max.age.ms", age)], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => facts.usual(asked).after(S(4)),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        for _ in 0..130 {
            match health {
                true => check_health(&mut script),
                false => script.run(S(1)),
            }
        }
        let ids = script.count(1, ApiKey::InitProducerId, Instant::ZERO);
        assert_eq!(script.delivered(), 1, "health checks: {health}, {ids} times asked, {} failed", script.failed());
    }
}

#[test]
fn a_slow_producer_id_is_waited_for_longer_although_other_servers_answer_about_topics() {
    let mut seen = Vec::new();
    for lists in [false, true] {
        let mut script = Script::new(3, &[], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => facts.usual(asked).after(S(4)),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        for _ in 0..130 {
            let _ = script.try_send(&record("missing"));
            if lists {
                script.tell(|producer, now| producer.list_topics(now)).expect("it runs");
            }
            check_health(&mut script);
        }
        let ids: usize = asked(&script, 3, ApiKey::InitProducerId, Instant::ZERO).iter().sum();
        seen.push((lists, script.delivered(), ids));
    }
    let delivered = seen.iter().all(|(_, delivered, _)| *delivered == 1);
    assert!(delivered, "lists of topics, records delivered, times asked in 130 s: {seen:?}");
}

#[test]
fn a_slow_list_of_topics_is_waited_for_longer_although_others_are_answered_at_once() {
    let mut script = Script::new(3, &[], |facts, asked| match &asked.ask {
        Ask::Metadata(request) if request.topics.is_none() => facts.usual(asked).after(S(4)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    let since = script.now;
    script.tell(|producer, now| producer.list_topics(now)).expect("it runs");
    for _ in 0..60 {
        let _ = script.try_send(&record("missing"));
        script.run(S(1));
    }
    let lists = script.topics_asked(since).iter().filter(|topics| topics.is_none()).count();
    let listed = script.events.iter().any(|event| matches!(event, Event::TopicsListed(_)));
    assert!(listed, "{lists} lists were asked for in a minute, and each was given up before it came");
}

#[test]
fn metadata_is_asked_of_another_server_than_the_one_that_owes_a_producer_id() {
    let mut seen = Vec::new();
    for start in [1, 10, 25, 50] {
        let mut script = Script::new(3, &[], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.facts.topic("u", 2, 1);
        script.send(&record("t"));
        script.run(S(start));
        let since = script.now;
        script.send(&record("u"));
        seen.push((start, script.now.saturating_since(since)));
    }
    let prompt = seen.iter().all(|(_, took)| *took < S(1));
    assert!(prompt, "two servers of three have nothing to do: from second, until a topic is known: {seen:?}");
}

#[test]
fn one_silent_address_of_several_nodes_is_one_connection_that_is_silent() {
    let mut seen = Vec::new();
    for others in [vec![], vec![3, 4]] {
        let mut script = Script::new(2, &[("metadata.recovery.strategy", "none")], Facts::usual);
        script.facts.brokers.extend(others.iter().map(|id| (*id, "server1".into(), 9091)));
        script.facts.topic("t", 1, 1).partitions[0].leader = 2;
        script.send(&record("t"));
        let mut longest = Duration::ZERO;
        for n in 0..4 {
            script.server(1).door = Door::Open;
            script.run(S(660)); // it is forgiven what was before
            script.server(1).door = Door::Mute;
            (1..=2).for_each(|node| script.break_connections(node));
            script.run(S(60));
            let topic = format!("topic-{n}");
            script.facts.topic(&topic, 10 + n, 1).partitions[0].leader = 2;
            let since = script.now;
            script.send(&record(&topic));
            longest = longest.max(script.now.saturating_since(since));
        }
        seen.push((1 + others.len(), longest));
    }
    assert!(seen.iter().all(|(_, longest)| *longest < S(4)), "nodes at the silent address, longest wait: {seen:?}");
}

// How often.

#[test]
fn leader_epochs_that_went_back_for_good_are_not_asked_about_without_end_while_records_are_taken() {
    let mut seen = Vec::new();
    for nodes in [3, 10] {
        let mut script = Script::new(nodes, &[], |facts, asked| match facts.usual(asked) {
            reply @ Reply::Produce(_) => reply.after(MS(100)),
            reply => reply,
        });
        script.facts.topic("t", 1, 1).partitions[0].epoch = 50;
        script.send(&record("t"));
        script.run(S(2));
        script.facts.topics.get_mut("t").expect("t").partitions[0].epoch = 3;
        script.break_connections(1);
        let (since, dialled) = (script.now, script.dialled.len());
        for _ in 0..6000 {
            script.send(&record("t"));
            script.run(MS(20));
        }
        let requests: usize = asked(&script, nodes, ApiKey::Metadata, since).iter().sum();
        seen.push((nodes, requests, script.dialled.len() - dialled));
    }
    assert!(seen.iter().all(|(_, requests, _)| *requests < 40), "nodes, requests, connections in 120 s: {seen:?}");
}

#[test]
fn what_is_asked_again_and_again_is_asked_on_connections_that_are_kept() {
    let mut seen = Vec::new();
    for nodes in [3, 10, 50] {
        let mut script = Script::new(nodes, &[], Facts::usual);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(5));
        let (since, dialled) = (script.now, script.dialled.len());
        for _ in 0..60 {
            let _ = script.try_send(&record("missing"));
            script.run(S(1));
        }
        let requests: usize = asked(&script, nodes, ApiKey::Metadata, since).iter().sum();
        seen.push((nodes, requests, script.dialled.len() - dialled));
    }
    let kept = seen.iter().all(|(_, requests, dialled)| *dialled < requests / 2);
    assert!(kept, "a topic is missing: nodes, requests, connections in a minute: {seen:?}");
}

// Producer ids.

/// docs/design.md: a producer id that was given before is refused.
#[test]
fn a_producer_id_that_was_given_before_the_last_is_refused_too() {
    let mut given = [7, 8, 7, 9].into_iter();
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => {
            let response = InitProducerIdResponse::default().with_producer_epoch(i16::MAX);
            Reply::InitProducerId(response.with_producer_id(given.next().unwrap_or(10).into()))
        }
        // So that the next record needs another epoch, and there is none.
        Ask::Produce(_) if core::mem::take(&mut facts.topics.get_mut("t").expect("t").error) != 0 => {
            facts.refuse(asked, 87)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    for n in 0..3 {
        script.send(&Record::new("t").value(&format!("{n:06}")));
        script.run(S(3));
        script.facts.topics.get_mut("t").expect("t").error = 1;
        script.send(&record("t"));
        script.run(S(3));
    }
    assert_eq!(
        (script.delivered(), script.facts.numbers("t", 0)),
        (3, vec![0, 1, 2]),
        "what is delivered is in the log"
    );
}

// A cluster whose metadata are those of a backup.

#[test]
fn partitions_that_are_gone_for_long_under_one_topic_id_take_no_records() {
    let mut script = Script::new(3, &[], Facts::usual);
    script.facts.topic("t", 1, 4);
    for n in 0..4 {
        script.send(&Record::new("t").value("v").partition(n));
    }
    script.run(S(2));
    script.facts.topics.get_mut("t").expect("t").partitions.truncate(2);
    script.break_connections(1);
    for _ in 0..600 {
        let _ = script.try_send(&record("t"));
        script.run(S(1));
    }
    let (since, delivered, failed) = (script.now, script.delivered(), script.failed());
    for n in 0..40 {
        script.send(&Record::new("t").value("v").key(&format!("key-{n}")));
        script.run(MS(100));
    }
    script.run(S(130));
    let requests: usize = asked(&script, 3, ApiKey::Metadata, since).iter().sum();
    let (delivered, failed) = (script.delivered() - delivered, script.failed() - failed);
    assert_eq!((delivered, failed), (40, 0), "delivered and failed of 40, {requests} metadata requests in 134 s");
}

/// A server that is behind names no leader either: that is no reason to ask no more.
#[test]
fn while_there_is_no_leader_an_older_epoch_without_one_is_asked_about_again() {
    let mut script = Script::new(1, &[], Facts::usual);
    let partition = &mut script.facts.topic("t", 1, 1).partitions[0];
    (partition.leader, partition.epoch) = (9, 7); // a node that is not in the list of brokers
    script.send(&record("t"));
    script.run(S(2));
    script.facts.topics.get_mut("t").expect("t").partitions[0].epoch = 3;
    script.run(S(2));
    let partition = &mut script.facts.topics.get_mut("t").expect("t").partitions[0];
    (partition.leader, partition.epoch) = (1, 8);
    script.run(S(3));
    assert_eq!(script.delivered(), 1);
}

// Who is not let in.

#[test]
fn who_is_not_let_in_hammers_nobody_where_reconnections_have_no_backoff() {
    let mut script = Script::new(1, &[("reconnect.backoff.ms", "0")], Facts::usual);
    script.server(1).door = Door::Untrusted;
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(S(10));
    let dialled = script.dialled.len();
    assert!(dialled < 100, "{dialled} TLS handshakes in 10 s");
}
