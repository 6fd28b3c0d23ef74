//! Metadata and producer ids: which server is asked, when, and about which topics.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, InitProducerIdResponse, MetadataResponse};
use milena::{Event, Instant, Record, SendError};

use crate::script::{Ask, Asked, Door, Facts, Reply, Script};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

/// The node that was asked first for something, and is bad at it from then on.
#[derive(Clone, Default)]
struct First(Rc<Cell<i32>>);

impl First {
    fn is(&self, asked: &Asked) -> bool {
        if self.0.get() == 0 {
            self.0.set(asked.node);
        }
        self.0.get() == asked.node
    }

    fn node(&self) -> i32 {
        self.0.get()
    }
}

fn is_metadata(asked: &Asked) -> bool {
    matches!(asked.ask, Ask::Metadata(_))
}

fn usual(facts: &mut Facts, asked: &Asked) -> Reply {
    facts.usual(asked)
}

fn record(topic: &str) -> Record<'_> {
    Record::new(topic).value("v").partition(0)
}

fn minutes(script: &Script, since: Instant) -> f64 {
    script.now.saturating_since(since).as_secs_f64() / 60.0
}

/// The most requests a minute that a server got since a moment.
fn rate(script: &Script, nodes: i32, api: ApiKey, since: Instant) -> f64 {
    let most = (1..=nodes).map(|node| script.count(node, api, since)).max().unwrap_or(0);
    most as f64 / minutes(script, since)
}

// Which server.

#[test]
fn a_server_whose_metadata_is_old_is_not_believed_for_ever() {
    for (produce, metadata) in [(9, 9), (12, 12), (13, 13)] {
        let stale = First::default();
        let moved = Rc::new(Cell::new(false));
        let (first, has_moved) = (stale.clone(), Rc::clone(&moved));
        let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(_) if first.is(asked) && has_moved.get() => {
                let new = facts.topics.clone();
                facts.topics.get_mut("t").expect("it is there").partitions[0].leader = 1;
                facts.topics.get_mut("t").expect("it is there").partitions[0].epoch = 0;
                let reply = facts.usual(asked);
                facts.topics = new;
                reply
            }
            // Without a hint: it does not know the new leader either.
            Ask::Produce(_) if has_moved.get() && asked.node == 1 => facts.refuse(asked, 6),
            _ => facts.usual(asked),
        });
        script.facts.limit(produce, metadata, 4);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(10));
        assert_eq!(script.delivered(), 1);
        let since = script.now;
        script.facts.lead("t", 0, 2);
        moved.set(true);
        script.send(&record("t"));
        script.run(S(3));
        assert_eq!(script.delivered(), 2, "{:?}", script.topics_asked(since));
        let asked = script.count(stale.node(), ApiKey::Metadata, since);
        assert!(asked <= 4, "the stale one was asked {asked} times");
    }
}

#[test]
fn a_producer_id_is_asked_of_another_server_after_any_error() {
    for code in [14, 15, 16, 7, -1, 8, 41, 56, 51, 3, 6, 48, 1] {
        let bad = First::default();
        let first = bad.clone();
        let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) if first.is(asked) => {
                Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(code))
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(2));
        assert_eq!(script.delivered(), 1, "code {code}");
        assert!(script.count(bad.node(), ApiKey::InitProducerId, Instant::ZERO) <= 2, "code {code}");
    }
}

#[test]
fn who_gives_no_producer_ids_loses_no_turn_to_one_who_does_not_know_a_topic() {
    for (refusing, after) in (1..=2).flat_map(|node| (0..20).map(move |n| (node, 60 * n))) {
        let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
            // Both refuse until either is asked for ids as seldom as for the topic.
            Ask::InitProducerId(_) if asked.node == refusing || asked.at < Instant::from_millis(8000) => {
                Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(15))
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(Duration::from_millis(after));
        // Nobody knows it, and each answer that says so is of no use.
        script.tell(|producer, now| producer.want_topic(now, "missing")).expect("it runs");
        script.run(S(16));
        assert_eq!(script.delivered(), 1, "{refusing} refuses, {after} ms");
    }
}

#[test]
fn who_is_asked_in_place_of_another_keeps_it_from_nothing() {
    for (refusing, age) in [(1, "500"), (2, "500"), (1, "300000"), (2, "300000")] {
        let other = 3 - refusing;
        // Shorter than the longest pause before a producer id is asked for again.
        let options = [("connections.max.idle.ms", "700"), ("metadata.max.age.ms", age), ("retry.backoff.ms", "1000")];
        let mut script = Script::new(2, &options, move |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) if asked.node == refusing => {
                Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(14))
            }
            _ => facts.usual(asked),
        });
        script.way = MS(50);
        script.facts.topic("t", 1, 1);
        script.facts.lead("t", 0, refusing);
        script.take_down(other);
        script.send(&record("t"));
        script.run(S(5));
        script.server(other).door = Door::Open;
        script.run(S(15));
        assert_eq!(script.delivered(), 1, "{refusing} refuses, metadata after {age} ms");
    }
}

#[test]
fn a_server_that_knows_no_brokers_loses_its_turn() {
    let bad = First::default();
    let first = bad.clone();
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) if first.is(asked) => Reply::Metadata(MetadataResponse::default()),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(2));
    assert_eq!(script.delivered(), 1);
    assert!(script.count(bad.node(), ApiKey::Metadata, Instant::ZERO) <= 2);
}

#[test]
fn an_error_for_the_whole_answer_costs_a_server_its_turn() {
    for code in [-1, 7, 41, 129] {
        let bad = First::default();
        let first = bad.clone();
        let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(_) if first.is(asked) => Reply::Metadata(facts.metadata_of(Vec::new()).with_error_code(code)),
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(2));
        assert_eq!(script.delivered(), 1, "code {code}");
    }
}

#[test]
fn a_server_that_throttles_metadata_does_not_hold_up_what_others_know() {
    let slow = First::default();
    let first = slow.clone();
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if first.is(asked) => {
            Reply::Metadata(facts.metadata(asked.version, request).with_throttle_time_ms(60_000))
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.facts.topic("u", 2, 1);
    script.send(&record("t"));
    script.run(S(1));
    assert_eq!(script.delivered(), 1);
    let since = script.now;
    script.send(&record("u"));
    script.run(S(1));
    assert_eq!(script.delivered(), 2);
    assert_eq!(script.count(slow.node(), ApiKey::Metadata, since), 0, "it asked for a pause");
}

#[test]
fn a_topic_that_one_server_does_not_know_is_asked_of_another() {
    for code in [3, 5, 17, 29] {
        let bad = First::default();
        let first = bad.clone();
        let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(_) if first.is(asked) => {
                facts.topics.get_mut("t").expect("it is there").error = code;
                let reply = facts.usual(asked);
                facts.topics.get_mut("t").expect("it is there").error = 0;
                reply
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        let mut sent = script.try_send(&record("t"));
        for _ in 0..30 {
            script.run(MS(100));
            if sent.is_err() && code != 17 {
                sent = script.try_send(&record("t"));
            }
        }
        assert_eq!(script.delivered(), usize::from(code != 17), "code {code}");
    }
}

#[test]
fn dead_servers_do_not_make_the_next_ones_wait_longer() {
    let servers: Vec<String> = (1..=6).map(|node| format!("server{node}:{}", 9090 + node)).collect();
    for dead in [[1, 2, 3], [4, 5, 6], [1, 3, 5], [2, 3, 4], [6, 1, 2]] {
        let servers = servers.join(",");
        let mut script = Script::new(6, &[("bootstrap.servers", &servers)], usual);
        script.facts.topic("t", 1, 1).partitions[0].leader = (1..=6).find(|node| !dead.contains(node)).expect("one");
        for node in dead {
            script.server(node).door = Door::Mute;
        }
        script.send(&record("t"));
        assert!(script.now < Instant::from_millis(15_000), "{dead:?}: {:?}", script.now);
    }
}

#[test]
fn one_dead_address_is_tried_with_one_backoff() {
    let mut script = Script::new(1, &[], usual);
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    script.take_down(1);
    script.send(&record("t"));
    let (since, before) = (script.now, script.dialled.len());
    script.run(MS(300));
    assert!(script.dialled.len() - before <= 4, "{:?}", &script.dialled[before..]);
    script.run(S(600));
    let rate = (script.dialled.len() - before) as f64 / minutes(&script, since);
    assert!(rate <= 80.0, "{rate} attempts a minute at a dead address");
    script.server(1).door = Door::Open;
    let delivered = script.delivered();
    script.send(&record("t"));
    script.run(S(3));
    assert_eq!(script.delivered(), delivered + 1, "and it is found again");
}

#[test]
fn names_in_plenty_do_not_make_attempts_at_a_broker_more() {
    let names: Vec<String> = (1..=20).map(|name| format!("boot{name}:1")).collect();
    let names = format!("server1:9091,{}", names.join(","));
    let options = [("bootstrap.servers", &*names), ("metadata.recovery.strategy", "none")];
    let mut script = Script::new(1, &options, usual);
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    script.take_down(1);
    let before = script.dialled.len();
    script.send(&record("t"));
    script.run(S(10));
    let tries = script.dialled[before..].iter().filter(|dialled| dialled.host == "server1").count();
    assert!((5..=20).contains(&tries), "{tries} attempts in 10 s");
}

#[test]
fn one_server_that_is_not_trusted_is_no_access_denied_while_others_are_fine() {
    let mut script = Script::new(3, &[], usual);
    script.server(3).door = Door::Untrusted;
    script.facts.topic("t0", 1, 1);
    script.send(&record("t0"));
    for n in 1..40 {
        let name = format!("t{n}");
        let node = 1 + n % 2;
        script.facts.topic(&name, 100 + n as u128, 1);
        script.run(S(60));
        script.break_connections(node); // it is restarted
        let sent = script.try_send(&record(&name));
        assert!(matches!(sent, Err(SendError::NotReady { .. })), "{sent:?}");
        script.run(S(2));
        assert!(!script.events.iter().any(|event| matches!(event, Event::AccessDenied(_))), "restart {n}");
        assert!(script.try_send(&record(&name)).is_ok(), "restart {n}");
    }
}

#[test]
fn access_is_denied_when_all_were_tried_and_one_refused() {
    let mut script = Script::new(3, &[], usual);
    script.server(1).door = Door::Refuses;
    script.server(2).door = Door::Untrusted;
    script.server(3).door = Door::Refuses;
    assert!(script.try_send(&record("t")).is_err());
    script.run(S(1));
    assert!(script.events.iter().any(|event| matches!(event, Event::AccessDenied(_))));
    assert!(matches!(script.try_send(&record("t")), Err(SendError::AccessDenied(_))));
    script.facts.topic("t", 1, 1);
    for node in 1..=3 {
        script.server(node).door = Door::Open;
    }
    script.run(S(30));
    assert!(script.try_send(&record("t")).is_ok(), "and forgotten when one lets it in");
}

#[test]
fn a_cluster_that_is_started_anew_with_younger_leaders_is_believed() {
    for (produce, metadata) in [(9, 9), (13, 13)] {
        let mut script = Script::new(2, &[], usual);
        script.facts.limit(produce, metadata, 5);
        script.facts.topic("t", 7, 2).partitions[1].leader = 2;
        script.facts.lead("t", 0, 2);
        script.facts.lead("t", 0, 1);
        script.facts.lead("t", 1, 1);
        for partition in 0..2 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        script.run(S(2));
        assert_eq!(script.delivered(), 2);
        script.take_down(1);
        script.take_down(2);
        script.run(S(3));
        // The same topic id, but nothing of what there was.
        script.facts.logs.clear();
        script.facts.topic("t", 7, 2).partitions[0].leader = 2;
        for node in 1..=2 {
            script.server(node).door = Door::Open;
        }
        for partition in 0..2 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        script.run(S(4));
        assert_eq!(script.delivered(), 4, "Metadata {metadata}");
    }
}

#[test]
fn a_server_may_say_that_the_cluster_is_to_be_found_anew() {
    let once = Rc::new(Cell::new(false));
    let say = Rc::clone(&once);
    let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) if say.take() => Reply::Metadata(facts.metadata_of(Vec::new()).with_error_code(129)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 7, 1);
    script.facts.lead("t", 0, 2);
    script.send(&record("t"));
    script.run(S(2));
    // The same id, but an earlier epoch.
    script.facts.topic("t", 7, 1);
    once.set(true);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
    script.run(S(2));
    script.send(&record("t"));
    script.run(S(2));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn brokers_that_cannot_be_reached_do_not_hide_the_bootstrap_server() {
    for (door, patience) in [(Door::Refuses, 2), (Door::Mute, 15)] {
        let mut script = Script::new(1, &[], usual);
        for node in 2..=6 {
            let mut server = crate::script::Server::new(node, "inside", 9000 + node as u16);
            server.door = door;
            script.servers.push(server);
        }
        script.facts.brokers = (2..=6).map(|node| (node, "inside".into(), 9000 + node as u16)).collect();
        for n in 0..5 {
            let (name, since) = (format!("t{n}"), script.now);
            script.facts.topic(&name, n as u128 + 1, 1).partitions[0].leader = 2;
            script.send(&record(&name));
            let took = script.now.saturating_since(since);
            assert!(took < S(patience), "{door:?}, {name}: {took:?}");
            script.run(S(if n == 1 { 600 } else { 60 })); // so that connections are closed for want of use
        }
    }
}

#[test]
fn control_connections_are_few_however_many_brokers_there_are() {
    let mut script = Script::new(30, &[], usual);
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    for _ in 0..120 {
        let _ = script.try_send(&record("missing"));
        script.run(S(1));
    }
    // One for records, three for other requests, and one that is being made.
    assert!(script.connections() <= 5, "{}", script.connections());
    let asked = (1..=30).filter(|node| script.count(*node, ApiKey::Metadata, Instant::ZERO) > 0).count();
    assert_eq!(asked, 30, "all have their turn");
}

#[test]
fn what_a_hint_says_against_metadata_is_not_dialled() {
    let mut script = Script::new(3, &[], |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            // Behind the proxy, brokers tell their own addresses.
            let mut response = facts.produce(asked, request);
            for endpoint in &mut response.node_endpoints {
                endpoint.host = crate::script::text("behind");
            }
            Reply::Produce(response)
        }
        _ => facts.usual(asked),
    });
    let mut behind = crate::script::Server::new(99, "behind", 9092);
    behind.door = Door::Mute;
    script.servers.push(behind);
    for node in 1..=3 {
        let mut behind = script.servers[3].clone();
        behind.port = 9090 + node;
        script.servers.push(behind);
    }
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    for (n, leader) in [2, 3, 1, 3, 2].into_iter().enumerate() {
        script.facts.lead("t", 0, leader);
        script.send(&record("t"));
        script.run(S(1));
        assert_eq!(script.delivered(), n + 2, "move {n}");
    }
    assert!(script.dialled.iter().all(|dialled| dialled.host != "behind"));
}

#[test]
fn a_broker_that_moves_while_another_is_dialled_where_it_was_is_dialled_where_it_is() {
    let mut script = Script::new(3, &[], usual);
    let mut shared = crate::script::Server::new(99, "shared", 1);
    shared.door = Door::Refuses;
    script.servers.push(shared);
    for node in [2, 3] {
        script.facts.brokers[node - 1] = (node as i32, "shared".into(), 1);
    }
    script.facts.topic("t", 1, 3);
    for (partition, leader) in [1, 2, 3].into_iter().enumerate() {
        script.facts.lead("t", partition, leader);
    }
    script.send(&record("t").partition(1));
    script.send(&record("t").partition(2));
    script.run(S(1));
    // After failures one connection goes first, and the other waits for how that goes.
    script.servers.iter_mut().filter(|server| server.host == "shared").for_each(|server| server.door = Door::Mute);
    let dialled = |script: &Script| script.dialled.iter().filter(|dialled| dialled.host == "shared").count();
    let before = dialled(&script);
    script.run(S(3));
    assert_eq!(dialled(&script), before + 1);
    // The second is somewhere else now, which comes with metadata for another topic.
    script.facts.brokers[2] = (3, "server3".into(), 9093);
    script.facts.topic("u", 2, 1);
    script.facts.lead("u", 0, 1);
    script.send(&record("u"));
    script.run(S(2));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn a_broker_that_has_really_moved_is_found_by_metadata() {
    let mut script = Script::new(2, &[], usual);
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    // Node 2 comes back at another address, and leads.
    let mut moved = crate::script::Server::new(2, "elsewhere", 1234);
    moved.door = Door::Open;
    script.take_down(2);
    script.servers.retain(|server| server.node != 2);
    script.servers.push(moved);
    script.facts.brokers[1] = (2, "elsewhere".into(), 1234);
    script.facts.lead("t", 0, 2);
    script.send(&record("t"));
    script.run(S(2));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn a_leader_whom_the_answer_does_not_name_is_not_connected_to() {
    let mut script = Script::new(3, &[], usual);
    script.facts.topic("t", 1, 1).partitions[0].leader = 2;
    script.send(&record("t"));
    script.run(S(1));
    script.take_down(2);
    script.facts.brokers.remove(1);
    script.send(&record("t"));
    script.run(S(5));
    let before = script.dialled.len();
    script.run(S(20));
    let tries = script.dialled[before..].iter().filter(|dialled| dialled.host == "server2").count();
    // As a broker it is nobody; as one of bootstrap.servers it has its turn when the others are no help.
    assert!(tries <= 10, "{tries} attempts at a broker that is gone");
    script.facts.lead("t", 0, 3);
    script.run(S(3));
    assert_eq!(script.delivered(), 2);
}

// When.

#[test]
fn a_send_to_a_new_topic_wakes_the_driver_while_servers_are_paused() {
    let mut script = Script::new(2, &[], usual);
    script.facts.topic("a", 1, 1);
    script.facts.topic("b", 2, 1);
    script.send(&record("a"));
    script.run(S(30));
    for node in 1..=2 {
        script.take_down(node);
    }
    let b = script.try_send(&record("b"));
    assert!(matches!(b, Err(SendError::NotReady { .. })));
    script.run(MS(10));
    for node in 1..=2 {
        script.server(node).door = Door::Open;
    }
    script.run(S(2));
    assert!(script.try_send(&record("b")).is_ok());
    script.run(S(1));
    assert_eq!(script.delivered(), 2);
}

/// One call, then nothing but the driver's own sleep.
fn is_answered_within_backoff(call: impl Fn(&mut Script), answered: impl Fn(&Event) -> bool) {
    for idle in ["-1", "540000"] {
        let mut script = Script::new(1, &[("connections.max.idle.ms", idle)], usual);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(MS(2));
        // What was asked last has just been answered: the next may not be asked at once.
        for _ in 0..4 {
            script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
            script.run(MS(1500));
        }
        script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
        script.run(MS(5));
        script.events.clear();
        call(&mut script);
        script.run(S(2));
        assert!(script.events.iter().any(&answered), "connections.max.idle.ms={idle}: {:?}", script.wait);
    }
}

#[test]
fn an_unknown_partition_wakes_the_driver_within_the_backoff() {
    let ready = |event: &Event| matches!(event, Event::TopicReady { .. });
    is_answered_within_backoff(
        |script| {
            let count = script.facts.topics["t"].partitions.len();
            script.facts.topic("t", 1, count + 1);
            assert!(script.try_send(&Record::new("t").partition(count as i32)).is_err());
        },
        ready,
    );
    is_answered_within_backoff(
        |script| {
            script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
        },
        ready,
    );
}

#[test]
fn the_list_of_topics_wakes_the_driver() {
    is_answered_within_backoff(
        |script| {
            script.take_down(1);
            script.server(1).door = Door::Open;
            script.tell(|producer, now| producer.list_topics(now)).expect("it is asked");
        },
        |event| matches!(event, Event::TopicsListed(_)),
    );
}

#[test]
fn a_list_of_topics_that_is_too_large_is_not_asked_for_ever() {
    let mut script = Script::new(3, &[("receive.message.max.bytes", "2000")], usual);
    for n in 0..100 {
        script.facts.topic(&format!("topic-{n}"), n, 3);
    }
    script.tell(|producer, now| producer.list_topics(now)).expect("it is asked");
    script.run(S(600));
    let asked: usize = (1..=3).map(|node| script.count(node, ApiKey::Metadata, Instant::ZERO)).sum();
    assert!((1..=5).contains(&asked), "{asked} times");
}

#[test]
fn metadata_of_no_age_are_asked_for_with_a_backoff() {
    let mut script = Script::new(1, &[("metadata.max.age.ms", "1")], usual);
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(60));
    let asked = script.count(1, ApiKey::Metadata, Instant::ZERO);
    assert!((40..=620).contains(&asked), "{asked} a minute");
}

// About which topics.

#[test]
fn names_that_no_broker_takes_fail_at_once_and_leave_no_trace() {
    let long = "x".repeat(40_000);
    let longer = "x".repeat(250);
    let mut script = Script::new(1, &[], usual);
    script.facts.topic("t", 1, 1);
    for name in ["", ".", "..", &longer, &long, "a b", "ä", "a/b", "a\0b", "a,b", "a:b"] {
        let sent = script.try_send(&record(name));
        let is_invalid = |sent: &SendError| matches!(sent, SendError::TopicFailed(code) if code.code() == 17);
        assert!(sent.as_ref().is_err_and(is_invalid), "{name:.20}: {sent:?}");
        let wanted = script.tell(|producer, now| producer.want_topic(now, name));
        assert!(wanted.as_ref().is_err_and(is_invalid), "{name:.20}: {wanted:?}");
    }
    script.run(S(1));
    assert_eq!(script.asks().count(), 0, "nothing is asked about them");
    let fits = "y".repeat(249);
    script.facts.topic(&fits, 2, 1);
    for name in ["t", &fits, "a._-Z9"] {
        script.facts.topic(name, name.len() as u128, 1);
        script.send(&record(name));
    }
    script.run(S(1));
    assert_eq!(script.delivered(), 3);
}

#[test]
fn a_topic_that_nobody_uses_any_more_is_not_asked_about() {
    for (names, sends) in [(1, 1), (1, 3), (3000, 1)] {
        let mut script = Script::new(1, &[], usual);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        for n in 0..names * sends {
            let name = format!("missing-{}", n % names);
            assert!(script.try_send(&record(&name)).is_err());
        }
        script.run(S(400));
        script.send(&record("t"));
        let since = script.now;
        for _ in 0..60 {
            script.run(S(60));
            script.try_send(&record("t")).expect("it is known");
        }
        let asked = script.topics_asked(since);
        assert!(asked.len() <= 15, "{} requests in an hour", asked.len());
        for names in asked.into_iter().flatten() {
            assert!(names.iter().all(|name| name == "t"), "{} names", names.len());
        }
        script.facts.topic("missing-0", 2, 1);
        script.send(&record("missing-0"));
    }
}

#[test]
fn a_topic_that_nobody_used_for_long_is_looked_at_anew() {
    for ids in [true, false] {
        let options = [("metadata.max.idle.ms", "5000"), ("metadata.max.age.ms", "20000"), ("max.block.ms", "8000")];
        let mut script = Script::new(1, &options, usual);
        if !ids {
            script.facts.limit(9, 9, 4);
        }
        script.facts.topic("t", 1, 3);
        script.send(&record("t"));
        script.run(S(2));
        script.facts.topic("t", 2, 1);
        script.run(S(60));
        assert!(script.try_send(&record("t")).is_err(), "it may be another one");
        script.run(Duration::from_millis(100));
        for _ in 0..20 {
            script.send(&record("t").key(format!("{}", script.delivered()).as_bytes()));
            script.run(S(1));
        }
        assert_eq!((script.delivered(), script.failed()), (21, 0), "with ids: {ids}");
    }
}

#[test]
fn a_topic_with_open_records_is_asked_about_however_long_it_takes() {
    let options =
        [("metadata.max.idle.ms", "5000"), ("delivery.timeout.ms", "3600000"), ("metadata.max.age.ms", "60000")];
    for away in [20, 400, 1500] {
        let mut script = Script::new(2, &options, usual);
        script.facts.topic("t", 1, 1).partitions[0].leader = 2;
        script.send(&record("t"));
        script.run(S(2));
        script.take_down(2);
        script.facts.topics.get_mut("t").expect("it is there").partitions[0].leader = -1;
        script.send(&record("t"));
        script.run(S(away));
        script.facts.lead("t", 0, 1);
        script.run(S(3));
        assert_eq!(script.delivered(), 2, "away for {away} s");
    }
}

#[test]
fn a_topic_that_was_forbidden_once_is_asked_about_while_records_wait() {
    for code in [29, 17, 3, 5] {
        let mut script = Script::new(2, &[], usual);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(2));
        script.take_down(1);
        script.facts.topics.get_mut("t").expect("it is there").error = code;
        script.send(&record("t"));
        script.run(S(5));
        script.facts.topics.get_mut("t").expect("it is there").error = 0;
        script.facts.lead("t", 0, 2);
        script.run(S(3));
        assert_eq!(script.delivered(), 2, "code {code}");
    }
}

#[test]
fn fewer_partitions_are_believed_without_topic_ids() {
    for metadata in [5, 7, 9] {
        let mut script = Script::new(2, &[], usual);
        script.facts.limit(7, metadata, 1);
        script.facts.topic("t", 1, 4);
        for partition in 0..4 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        script.run(S(2));
        assert_eq!(script.delivered(), 4);
        // Created anew: no partitions 1 to 3.
        script.facts.topic("t", 2, 1).partitions[0].epoch = 9;
        let mut lost = 0;
        for n in 0..100 {
            let key = n.to_string();
            lost +=
                u32::from(script.try_send(&Record::new("t").key(&key).value("v")).is_ok_and(|sent| sent.partition > 0));
            script.run(MS(200));
        }
        assert!(lost < 60, "Metadata {metadata}: {lost} of 100 sent to partitions that are gone");
        let late = script.now;
        for n in 0..100 {
            let key = n.to_string();
            let sent = script.send(&Record::new("t").key(&key).value("v"));
            assert_eq!(sent.partition, 0, "Metadata {metadata}, {:?}", late);
        }
        script.run(S(3));
        assert_eq!(script.delivered() + script.failed(), 204, "Metadata {metadata}");
    }
}

#[test]
fn fewer_partitions_are_believed_beside_a_server_that_lags_without_topic_ids() {
    let before = Rc::new(std::cell::RefCell::new(None));
    let lagging = Rc::clone(&before);
    let mut script = Script::new(2, &[("metadata.max.age.ms", "1000")], move |facts, asked| {
        let old = lagging.borrow().clone().filter(|_| is_metadata(asked) && asked.node == 2);
        let now = old.and_then(|old| facts.topics.insert("t".into(), old));
        let reply = facts.usual(asked);
        now.into_iter().for_each(|now| drop(facts.topics.insert("t".into(), now)));
        reply
    });
    script.facts.limit(7, 9, 1);
    script.facts.topic("t", 1, 4);
    script.send(&record("t"));
    script.run(S(2));
    *before.borrow_mut() = script.facts.topics.get("t").cloned();
    script.facts.topic("t", 2, 1).partitions[0].epoch = 9;
    for _ in 0..10 {
        script.send(&Record::new("t").value("v").partition(3));
    }
    script.run(S(40));
    assert_eq!((script.delivered(), script.failed()), (1, 10), "there is no such partition any more");
}

#[test]
fn one_answer_with_fewer_partitions_is_not_believed_without_topic_ids() {
    let mut script = Script::new(2, &[], usual);
    script.facts.limit(7, 7, 1);
    script.facts.topic("t", 1, 4);
    script.send(&Record::new("t").value("v").partition(3));
    script.run(S(2));
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
    script.run(MS(20));
    script.facts.topic("t", 1, 4);
    script.run(S(2));
    script.send(&Record::new("t").value("v").partition(3));
    script.run(S(2));
    assert_eq!((script.delivered(), script.failed()), (2, 0));
}

#[test]
fn answers_with_fewer_partitions_are_believed_only_in_a_row_without_topic_ids() {
    let mut script = Script::new(2, &[], usual);
    script.facts.limit(7, 7, 1);
    script.facts.topic("t", 1, 4);
    script.send(&Record::new("t").value("v").partition(3));
    script.run(S(2));
    let partitions = |script: &Script| script.producer.partitions("t").map_or(0, |partitions| partitions.len());
    for round in 0..8 {
        script.facts.topic("t", 1, 1);
        script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
        script.run(MS(20));
        assert_eq!(partitions(&script), 4, "round {round}: it was one answer, and others came between");
        script.facts.topic("t", 1, 4);
        script.run(S(2));
    }
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
    script.run(S(20));
    assert_eq!(partitions(&script), 1, "nothing else is told any more");
}

#[test]
fn new_topics_are_asked_about_alone() {
    let mut script = Script::new(1, &[], usual);
    for n in 0..100 {
        let name = format!("t{n}");
        script.facts.topic(&name, n, 1);
        let _ = script.try_send(&record(&name));
    }
    script.run(S(5));
    script.facts.topic("new", 200, 1);
    let since = script.now;
    for _ in 0..3 {
        assert!(script.try_send(&record("new")).is_err());
    }
    script.run(S(2));
    let asked = script.topics_asked(since);
    assert_eq!(asked, [Some(vec!["new".to_string()])]);
    // One that is missing, too, however often it is asked about.
    let since = script.now;
    for _ in 0..5 {
        assert!(script.try_send(&record("missing")).is_err());
        script.run(S(2));
    }
    for names in script.topics_asked(since) {
        assert_eq!(names, Some(vec!["missing".to_string()]));
    }
}

#[test]
fn a_topic_that_an_answer_leaves_out_is_asked_about_again() {
    let times = Rc::new(Cell::new(0));
    let counted = Rc::clone(&times);
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) => {
            counted.set(counted.get() + 1);
            if counted.get() <= 2 { Reply::Metadata(facts.metadata_of(Vec::new())) } else { facts.usual(asked) }
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    assert!(script.try_send(&record("t")).is_err());
    script.run(S(3));
    assert!(script.try_send(&record("t")).is_ok(), "asked {} times", times.get());
    // Also one that is known and has records open.
    script.run(S(1));
    times.set(0);
    script.facts.lead("t", 0, -1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("a name");
    script.run(S(2));
    script.send(&record("t"));
    times.set(0);
    script.run(S(1));
    script.facts.lead("t", 0, 1);
    script.run(S(3));
    assert_eq!(script.delivered(), 2);
}

// How often.

#[test]
fn a_missing_topic_costs_each_server_little() {
    for names in [1, 1000] {
        let mut script = Script::new(3, &[], usual);
        script.facts.topic("t", 1, 1);
        script.send(&record("t"));
        script.run(S(5));
        let since = script.now;
        for _ in 0..300 {
            for n in 0..names {
                assert!(script.try_send(&record(&format!("missing-{n}"))).is_err());
            }
            script.run(S(1));
        }
        let rate = rate(&script, 3, ApiKey::Metadata, since);
        println!("{names} missing topics: {rate:.1} metadata requests a minute to each of three servers");
        assert!((1.0..=40.0).contains(&rate), "{names} names: {rate} a minute");
        let connections = script.dialled.len();
        assert!(connections <= 6, "{connections} connections");
    }
}

#[test]
fn one_stale_server_of_three_is_asked_little() {
    let stale = First::default();
    let first = stale.clone();
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        // It has never heard of leaders that move.
        Ask::Metadata(_) if first.is(asked) => {
            let new = facts.topics.clone();
            facts.topic("t", 1, 1);
            let reply = facts.usual(asked);
            facts.topics = new;
            reply
        }
        Ask::Produce(_) => match facts.usual(asked) {
            Reply::Produce(mut response) => {
                for topic in &mut response.responses {
                    topic.partition_responses[0].current_leader = Default::default();
                }
                response.node_endpoints.clear();
                Reply::Produce(response)
            }
            other => other,
        },
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    script.run(S(1));
    let since = script.now;
    for n in 0..600 {
        if n % 10 == 0 {
            script.facts.lead("t", 0, 1 + (n / 10) % 3);
        }
        script.send(&record("t"));
        script.run(S(1));
    }
    assert_eq!(script.delivered(), 601);
    let stale = script.count(stale.node(), ApiKey::Metadata, since) as f64 / minutes(&script, since);
    let most = rate(&script, 3, ApiKey::Metadata, since);
    println!("one stale server of three, six moves a minute: {stale:.1} requests a minute to it, {most:.1} to another");
    assert!(stale <= 6.0 && most <= 20.0, "{stale} to the stale one, {most} to another");
}

#[test]
fn an_outage_of_ten_minutes_costs_each_server_little() {
    for door in [Door::Refuses, Door::Slams, Door::Mute] {
        let options = [("delivery.timeout.ms", "3600000")];
        let mut script = Script::new(3, &options, usual);
        script.facts.topic("t", 1, 3);
        script.facts.topics.get_mut("t").expect("it is there").partitions[1].leader = 2;
        script.facts.topics.get_mut("t").expect("it is there").partitions[2].leader = 3;
        for partition in 0..3 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        script.run(S(2));
        for node in 1..=3 {
            script.take_down(node);
            script.server(node).door = door;
        }
        let (since, before) = (script.now, script.dialled.len());
        for partition in 0..3 {
            script.send(&Record::new("t").value("v").partition(partition));
        }
        script.run(S(600));
        let to = |host| script.dialled[before..].iter().filter(|dialled| dialled.host == host).count();
        let most = ["server1", "server2", "server3"].map(to).into_iter().max().expect("three");
        let rate = most as f64 / minutes(&script, since);
        println!("an outage of ten minutes ({door:?}): {rate:.1} connections a minute to each of three servers");
        assert!((1.0..=80.0).contains(&rate), "{door:?}: {rate} attempts a minute");
        for node in 1..=3 {
            script.server(node).door = Door::Open;
        }
        script.run(if door == Door::Mute { S(35) } else { S(3) });
        assert_eq!(script.delivered(), 6, "{door:?}");
    }
}

#[test]
fn a_server_that_hangs_up_at_the_first_request_is_not_hammered() {
    for api in [ApiKey::Metadata, ApiKey::Produce, ApiKey::InitProducerId, ApiKey::ApiVersions] {
        let bad = Rc::new(Cell::new(false));
        let is_bad = Rc::clone(&bad);
        let mut script =
            Script::new(
                1,
                &[],
                move |facts, asked| {
                    if asked.api == api && is_bad.get() { Reply::Drop } else { facts.usual(asked) }
                },
            );
        script.facts.topic("t", 1, 1);
        bad.set(true);
        for _ in 0..60 {
            let _ = script.try_send(&record("t"));
            script.run(S(1));
        }
        let connections = script.dialled.len();
        assert!((10..=160).contains(&connections), "{api:?}: {connections} connections a minute");
        bad.set(false);
        script.run(S(20));
        script.send(&record("t"));
        script.run(S(3));
        assert!(script.delivered() > 0, "{api:?}");
        assert!(is_metadata(script.asks().find(|asked| is_metadata(asked)).expect("one")));
    }
}

#[test]
fn slow_servers_are_waited_for_longer_however_many_they_are() {
    let mut script = Script::new(30, &[], |facts, asked| match &asked.ask {
        Ask::Metadata(_) => facts.usual(asked).after(S(5)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record("t"));
    assert!(script.now < Instant::from_millis(15_000), "{:?}", script.now);
}

#[test]
fn servers_that_hang_while_they_are_told_who_asks_do_not_hold_up_the_others() {
    let sasl = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";";
    let options = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", sasl)];
    for good in 1..=4 {
        let mut script = Script::new(4, &options, move |facts, asked| match &asked.ask {
            Ask::SaslHandshake(_) if asked.node != good => Reply::Hold,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1).partitions[0].leader = good;
        script.send(&record("t"));
        assert!(script.now < Instant::from_millis(15_000), "{:?}", script.now);
        script.run(S(1));
        assert_eq!(script.delivered(), 1);
    }
}
