//! Rules that a world on the dice hardly ever meets: what a pause means for requests that are under way, what the loss of a
//! connection says, and whom to ask when a server is of no help.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseBroker};
use kafka_protocol::messages::produce_response::NodeEndpoint;
use kafka_protocol::messages::{ApiKey, InitProducerIdResponse};
use milena::{Event, Instant, Record, SendError};

use crate::script::{Ask, Asked, Door, Facts, Reply, Script, Server, text};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn record() -> Record<'static> {
    Record::new("t").value("v").partition(0)
}

#[test]
fn a_request_under_way_is_not_late_while_its_broker_asks_for_a_pause() {
    let requests = Cell::new(0);
    let options = [("linger.ms", "0"), ("request.timeout.ms", "1000"), ("delivery.timeout.ms", "30000")];
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            requests.set(requests.get() + 1);
            let mut response = facts.produce(asked, request);
            match requests.get() {
                2 => {
                    response.throttle_time_ms = 8000;
                    Reply::Produce(response).after(MS(100))
                }
                3 => Reply::Produce(response).after(MS(6000)),
                _ => Reply::Produce(response),
            }
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    for _ in 0..3 {
        script.send(&record());
        script.run(MS(10));
    }
    let since = script.now;
    script.run(MS(20_000));
    assert_eq!((script.delivered(), script.failed()), (3, 0));
    assert_eq!(script.count(1, ApiKey::Produce, since), 0, "it was sent again");
}

#[test]
fn a_broken_connection_is_a_reason_to_look_who_leads() {
    let mut script = Script::new(2, &[("linger.ms", "0")], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(1000));
    assert_eq!(script.delivered(), 1);
    script.facts.lead("t", 0, 2);
    script.take_down(1);
    script.run(MS(1000));
    script.send(&record());
    script.run(MS(5000));
    assert_eq!(script.delivered(), 2);
    assert!(script.count(2, ApiKey::Produce, Instant::ZERO) > 0, "the new leader was asked");
}

/// The node that was asked first for something.
#[derive(Clone, Default)]
struct First(Rc<Cell<i32>>);

impl First {
    fn is(&self, asked: &Asked) -> bool {
        if self.0.get() == 0 {
            self.0.set(asked.node);
        }
        self.0.get() == asked.node
    }
}

#[test]
fn a_server_that_refuses_a_topic_is_not_the_only_one_that_is_asked() {
    let first = First::default();
    let mut script = Script::new(2, &[("metadata.max.age.ms", "300")], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if asked.at > Instant::from_millis(500) && first.is(asked) => {
            let mut response = facts.metadata(asked.version, request);
            for topic in &mut response.topics {
                topic.error_code = 29;
                topic.partitions.clear();
            }
            Reply::Metadata(response)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(2000));
    let mut taken = false;
    for _ in 0..10 {
        taken = script.try_send(&record()).is_ok();
        if taken {
            break;
        }
        script.run(MS(1000));
    }
    assert!(taken, "the other server would have told");
}

#[test]
fn a_bootstrap_server_that_no_answer_names_is_asked_when_the_others_are_no_help() {
    let mut script = Script::new(2, &[], |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) if asked.node == 1 => {
            Reply::InitProducerId(InitProducerIdResponse::default().with_error_code(14))
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.facts.brokers.truncate(1);
    script.send(&record());
    script.run(MS(10_000));
    assert_eq!(script.delivered(), 1);
}

#[test]
fn what_stands_behind_an_answer_with_a_pause_is_asked_elsewhere() {
    let paused = Rc::new(Cell::new(0));
    let node = Rc::clone(&paused);
    let mut script = Script::new(2, &[("metadata.max.age.ms", "1000")], move |facts, asked| match &asked.ask {
        Ask::Metadata(request)
            if asked.at > Instant::from_millis(500) && (node.get() == 0 || node.get() == asked.node) =>
        {
            node.set(asked.node);
            let mut response = facts.metadata(asked.version, request);
            response.throttle_time_ms = 150_000;
            Reply::Metadata(response).after(MS(500))
        }
        Ask::InitProducerId(_) if node.get() == asked.node => facts.usual(asked).after(MS(150_000)),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    while paused.get() == 0 {
        script.run(MS(10));
    }
    // Who owes nothing would be asked for an id: it is away just now.
    let other = 3 - paused.get();
    script.take_down(other);
    script.send(&record());
    let behind = |asked: &Asked| asked.api == ApiKey::InitProducerId && asked.node == paused.get();
    script.run(MS(100));
    script.server(other).door = Door::Open;
    script.run(MS(20_000));
    assert!(script.asks().any(behind), "the id was asked for behind metadata");
    assert_eq!(script.delivered(), 1);
}

#[test]
fn a_server_that_tells_another_leader_each_time_is_not_the_only_one_that_is_asked() {
    let (first, mut n) = (First::default(), 0);
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if first.is(asked) => {
            let mut told = facts.metadata(asked.version, request);
            for partition in told.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                n += 1;
                partition.leader_id = (1 + n % 2).into();
            }
            Reply::Metadata(told)
        }
        Ask::Produce(_) if asked.node != 3 => facts.refuse(asked, 6),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1).partitions[0].leader = 3;
    script.send(&record());
    script.run(MS(10_000));
    let asked = script.asks().filter(|asked| asked.api == ApiKey::Metadata).count();
    assert_eq!(script.delivered(), 1, "after {asked} questions");
}

#[test]
fn of_a_partition_that_is_told_twice_the_first_word_counts() {
    let mut script = Script::new(2, &[], |facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            for topic in &mut told.topics {
                let mut other = topic.partitions[0].clone();
                (other.leader_id, other.leader_epoch) = (2.into(), 7);
                topic.partitions.extend([other.clone(), other.with_partition_index(-1)]);
            }
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(1000));
    let told = script.producer.partitions("t").expect("known");
    let told: Vec<_> = told.iter().map(|told| (told.partition, told.leader)).collect();
    assert_eq!((told, script.delivered()), (vec![(0, Some(1))], 1));
}

#[test]
fn records_for_a_partition_that_an_answer_leaves_out_ask_on() {
    let leaves_out = Rc::new(Cell::new(true));
    let out = Rc::clone(&leaves_out);
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if out.get() => {
            let mut told = facts.metadata(asked.version, request);
            told.topics.iter_mut().for_each(|topic| topic.partitions[0].partition_index = 5);
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(10_000));
    leaves_out.set(false);
    script.run(MS(2000));
    assert_eq!(script.delivered(), 1);
}

/// Names brokers on ports from `first` that nobody answers on.
fn with_silent(mut told: MetadataResponse, first: i32) -> MetadataResponse {
    let silent = |port: i32| MetadataResponseBroker::default().with_node_id(port.into()).with_port(port);
    told.brokers.extend((first..first + 30).map(|port| silent(port).with_host(text("mute"))));
    told
}

fn silent_servers(script: &mut Script) {
    for port in 1000..5000 {
        let mut server = Server::new(port.into(), "mute", port);
        server.door = Door::Mute;
        script.servers.push(server);
    }
}

#[test]
fn silent_addresses_that_a_server_names_come_after_those_that_were_configured() {
    for anew in [false, true] {
        let (first, mut n) = (First::default(), 0);
        let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(request) if first.is(asked) => {
                n += 1;
                let mut told =
                    with_silent(facts.metadata(asked.version, request), 1000 + if anew { 30 * n } else { 0 });
                told.topics.clear();
                Reply::Metadata(told)
            }
            _ => facts.usual(asked),
        });
        silent_servers(&mut script);
        script.facts.topic("t", 1, 1);
        let since = script.now;
        script.send(&record());
        let took = script.now.saturating_since(since);
        assert!(took < MS(2500), "other addresses each time: {anew}; it took {took:?}");
    }
}

#[test]
fn a_server_that_was_of_no_help_once_comes_before_addresses_that_were_named_later() {
    let mut n = 0;
    let mut script = Script::new(2, &[("metadata.max.age.ms", "1000")], move |facts, asked| match &asked.ask {
        Ask::Metadata(request) if asked.node == 2 && asked.at > Instant::from_millis(1500) => {
            n += 1;
            let mut told = with_silent(facts.metadata(asked.version, request), 1000 + 30 * (n % 100));
            told.topics.clear();
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    silent_servers(&mut script);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    let _ = script.try_send(&Record::new("missing").value("v")); // both lose their turn
    script.run(MS(1500));
    let mut longest = MS(0);
    for n in 0..20 {
        script.run(MS(1000));
        let name = format!("u{n}");
        script.facts.topic(&name, 100 + n, 1);
        let since = script.now;
        script.send(&Record::new(&name).value("v"));
        longest = longest.max(script.now.saturating_since(since));
    }
    assert!(longest < MS(2500), "it took {longest:?}");
}

#[test]
fn an_address_in_an_answer_that_names_no_other_leader_is_not_taken() {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            let mut told = facts.produce(asked, request);
            let endpoint = NodeEndpoint::default().with_node_id(7.into()).with_host(text("nowhere")).with_port(1);
            told.node_endpoints.push(endpoint);
            Reply::Produce(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(50));
    assert_eq!((script.delivered(), script.producer.brokers().len()), (1, 1));
}

#[test]
fn a_producer_id_that_nobody_answers_for_is_not_asked_for_faster_the_more_servers_there_are() {
    let mut script = Script::new(30, &[], |facts, asked| match &asked.ask {
        Ask::InitProducerId(_) => Reply::Drop,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    let since = script.now;
    script.run(MS(60_000));
    let asked: usize = (1..=30).map(|node| script.count(node, ApiKey::InitProducerId, since)).sum();
    assert!((30..100).contains(&asked), "{asked} times in a minute");
}

#[test]
fn a_hint_is_followed_at_once_and_without_metadata() {
    let mut script = Script::new(2, &[("retry.backoff.ms", "2000"), ("retry.backoff.max.ms", "2000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(1000));
    script.facts.lead("t", 0, 2);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Metadata(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.send(&record());
    script.run(MS(100));
    assert_eq!(script.delivered(), 2);
    assert_eq!(script.asks().filter(|asked| asked.api == ApiKey::Produce && asked.node == 2).count(), 1);
}

#[test]
fn a_connection_that_is_not_needed_is_closed_without_a_question() {
    let mut script = Script::new(1, &[("connections.max.idle.ms", "5000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(1000));
    assert!(script.connections() > 0);
    let since = script.now;
    script.run(MS(60_000));
    assert_eq!((script.connections(), script.count(1, ApiKey::Metadata, since)), (0, 0));
}

#[test]
fn a_pause_that_a_server_asks_for_which_is_asked_for_metadata_is_nobodys() {
    let mut script = Script::new(1, &[], |facts, asked| match facts.usual(asked) {
        Reply::Metadata(told) => Reply::Metadata(told.with_throttle_time_ms(300)),
        reply => reply,
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(1000));
    let pauses = script.events.iter().filter_map(|event| match event {
        Event::Throttled { node, pause } => Some((*node, pause.as_millis())),
        _ => None,
    });
    assert!(pauses.collect::<Vec<_>>().contains(&(-1, 300)));
    assert_eq!(script.delivered(), 1);
}

#[test]
fn a_name_that_a_broker_found_illegal_is_asked_about_again() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.topic("t", 1, 1).error = 17;
    script.try_send(&record()).expect_err("it is not known");
    script.run(MS(1000));
    assert!(matches!(script.try_send(&record()), Err(SendError::TopicFailed(code)) if code.code() == 17));
    script.facts.topics.get_mut("t").expect("it is there").error = 0;
    script.send(&record());
    script.run(MS(1000));
    assert_eq!(script.delivered(), 1);
}
