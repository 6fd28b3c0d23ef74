//! Brokers that come, move or leave, and connections to where nobody is any more.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::produce_response::{LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse};
use milena::Record;

use crate::script::{Ask, Facts, PLAIN, Reply, Script, Server, text};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn record() -> Record<'static> {
    Record::new("t").value("v").partition(0)
}

#[test]
fn a_broker_that_leaves_the_cluster_may_still_answer_what_it_was_sent() {
    let mut script = Script::new(2, &[&PLAIN[..], &[("metadata.max.age.ms", "1000")]].concat(), Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    let held = script.send_and_hold(&record());
    script.facts.lead("t", 0, 2);
    script.facts.brokers.remove(0);
    script.run(MS(3000));
    // It was written there before it left.
    script.facts.brokers.insert(0, (1, "server1".into(), 9091));
    script.facts.lead("t", 0, 1);
    let reply = script.facts.usual(&held);
    script.facts.brokers.remove(0);
    script.facts.lead("t", 0, 2);
    script.answer(Facts::usual);
    let connections = script.connections();
    script.reply(held.number, reply);
    script.run(MS(3000));
    assert_eq!((script.delivered(), script.failed()), (2, 0));
    assert_eq!(script.facts.records("t", 0), 2, "it was sent twice");
    assert_eq!(script.connections(), connections - 1, "nothing is left to be said there");
}

#[test]
fn a_broker_that_leaves_an_address_which_another_has_takes_no_connection_along() {
    let mut script = Script::new(2, &[("metadata.max.age.ms", "1000")], Facts::usual);
    // One bootstrap server, where two brokers are.
    script.facts.brokers = vec![(1, "server1".into(), 9091), (2, "server1".into(), 9091)];
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(5000));
    let before = script.dialled.clone();
    let asked = script.asks().last().expect("metadata").node;
    for _ in 0..5 {
        script.facts.brokers[1] = (2, format!("server{asked}"), 9090 + asked as u16);
        script.run(MS(2000));
        let other = 3 - asked;
        script.facts.brokers[1] = (2, format!("server{other}"), 9090 + other as u16);
        script.run(MS(2000));
    }
    assert_eq!(script.dialled.len(), before.len(), "{:?}", script.dialled);
}

#[test]
fn an_address_where_no_broker_is_any_more_keeps_no_connection() {
    let mut script = Script::new(1, &[("metadata.max.age.ms", "1000")], Facts::usual);
    for node in 3..=6 {
        script.servers.push(Server::new(node, "moving", 9090 + node as u16));
    }
    script.facts.topic("t", 1, 1);
    for node in 3..=6 {
        script.facts.brokers = vec![(1, "moving".into(), 9090 + node as u16)];
        script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
        script.run(MS(5000));
        assert!(script.asks().any(|asked| asked.node == node && asked.api == ApiKey::Metadata), "it was asked");
        // The bootstrap server, and where the broker is now.
        assert_eq!(script.connections(), 2, "{node}");
    }
}

#[test]
fn a_leader_whom_nobody_knew_is_reached_by_the_hint_alone() {
    let known = Rc::new(Cell::new(2));
    let is_known = Rc::clone(&known);
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) if is_known.get() == 0 => Reply::Hold,
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            told.brokers.truncate(is_known.get());
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    script.facts.lead("t", 0, 3);
    known.set(0);
    script.send(&record());
    script.run(MS(1000));
    assert_eq!(script.delivered(), 2, "without metadata");
}

#[test]
fn no_more_leaders_are_learnt_from_an_answer_than_partitions_were_asked_about() {
    let metadata = Rc::new(Cell::new(true));
    let told = Rc::clone(&metadata);
    let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) if !told.get() => Reply::Hold,
        Ask::Produce(_) => {
            let mut reply = facts.refuse(asked, 6);
            if let Reply::Produce(told) = &mut reply {
                let answers = &mut told.responses[0].partition_responses;
                answers.clear();
                for id in 10..15 {
                    let hint = LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(7);
                    let answer = PartitionProduceResponse::default().with_index(id - 10).with_error_code(6);
                    answers.push(answer.with_base_offset(-1).with_current_leader(hint));
                    let endpoint = NodeEndpoint::default().with_node_id(id.into()).with_host(text("new"));
                    told.node_endpoints.push(endpoint.with_port(id));
                }
            }
            reply
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(500));
    metadata.set(false);
    script.send(&record());
    script.run(MS(50));
    let brokers: Vec<_> = script.producer.brokers().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(brokers, [1, 10]);
}
