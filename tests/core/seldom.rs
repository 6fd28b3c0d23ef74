//! What seldom happens: answers that come late or say half, servers that are silent one after the other, and what it costs to ask.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::produce_response::LeaderIdAndEpoch;
use kafka_protocol::messages::{ApiKey, InitProducerIdResponse, MetadataResponse};
use milena::{DeliveryErrorKind, Event, Input, Instant, Record};

use crate::line::{Line, Speaks};
use crate::script::{Ask, Asked, Door, Facts, PLAIN, Reply, Script, Server, text};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn record() -> Record<'static> {
    Record::new("t").value("v").partition(0)
}

/// The requests of a kind since a moment, at whatever node.
fn count(script: &Script, api: ApiKey, since: Instant) -> usize {
    script.asks().filter(|asked| asked.api == api && asked.at >= since).count()
}

/// A server that is behind: node 1 leads all, in the first epoch.
fn led_as_at_first(told: &mut MetadataResponse) {
    for partition in told.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        (partition.leader_id, partition.leader_epoch) = (1.into(), 0);
    }
}

/// The first broker that is told is in the rack `r`.
fn first_in_rack(facts: &mut Facts, asked: &Asked) -> Reply {
    facts.usual_but(asked, |told| told.brokers[0].rack = Some(text("r")))
}

#[test]
fn a_partition_without_leader_is_asked_about_before_anybody_sends_to_it() {
    let mut script = Script::new(1, &[], Facts::usual);
    let partition = &mut script.facts.topic("t", 1, 2).partitions[1];
    (partition.error, partition.leader) = (5, -1);
    script.send(&record());
    script.run(MS(2000));
    let partition = &mut script.facts.topics.get_mut("t").expect("a topic").partitions[1];
    (partition.error, partition.leader, partition.epoch) = (0, 1, 1);
    script.run(MS(3000));
    let since = script.now;
    script.send(&Record::new("t").value("v").partition(1));
    script.run(MS(100));
    assert_eq!((script.delivered(), count(&script, ApiKey::Metadata, since)), (2, 0), "its leader is known by then");
    script.run(MS(60_000));
    assert_eq!(count(&script, ApiKey::Metadata, since), 0, "nothing is left to be asked");
}

#[test]
fn who_knows_a_leader_of_before_is_not_believed_however_long_nobody_sends() {
    let late = Rc::new(Cell::new(false));
    let is_late = Rc::clone(&late);
    let mut script = Script::new(2, &[("metadata.max.age.ms", "1000")], move |facts, asked| {
        facts.usual_but(asked, |told| {
            if is_late.get() {
                led_as_at_first(told)
            }
        })
    });
    script.facts.topic("t", 1, 1);
    script.facts.lead("t", 0, 2);
    script.send(&record());
    script.run(MS(500));
    // Every other answer is old, for as long as that may add up. The last is.
    for _ in 0..31 {
        late.set(!late.get());
        script.run(MS(1300));
    }
    let since = script.now;
    script.send(&record());
    script.run(MS(100));
    assert_eq!((script.delivered(), script.count(1, ApiKey::Produce, since)), (2, 0), "not sent to who led before");
}

#[test]
fn a_leader_that_only_a_hint_has_told_is_given_up_when_metadata_say_otherwise_three_times() {
    let hints = Rc::new(Cell::new(0));
    let hinted = Rc::clone(&hints);
    let mut script = Script::new(2, &[], move |facts, asked| match &asked.ask {
        Ask::Produce(_) if asked.node == 1 && hinted.get() == 0 => {
            hinted.set(1);
            let mut reply = facts.refuse(asked, 6);
            if let Reply::Produce(told) = &mut reply {
                let hint = LeaderIdAndEpoch::default().with_leader_id(2.into()).with_leader_epoch(7);
                told.responses[0].partition_responses[0].current_leader = hint;
            }
            reply
        }
        // The node that was named by mistake knows nothing.
        Ask::Produce(_) if asked.node == 2 => facts.refuse(asked, 6),
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(10_000));
    assert_eq!(script.delivered(), 1);
    assert!(script.count(2, ApiKey::Produce, Instant::ZERO) > 0, "it was followed");
    let at: Vec<_> = script.asks().filter(|it| it.node == 1 && it.api == ApiKey::Produce).map(|it| it.at).collect();
    let told = script.asks().filter(|asked| asked.api == ApiKey::Metadata && asked.at > at[0] && asked.at < at[1]);
    assert_eq!(told.count(), 3);
}

#[test]
fn after_a_leader_has_moved_a_refused_batch_holds_nothing_up() {
    let mut script = Script::new(2, &[("metadata.max.age.ms", "500")], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    script.answer(Facts::hold_produce);
    script.send(&record());
    script.run(MS(10));
    // The old leader never answers: the new one gets it.
    script.facts.lead("t", 0, 2);
    script.answer(Facts::usual);
    script.run(MS(2000));
    assert_eq!(script.delivered(), 2);
    script
        .answer(|facts, asked| if asked.api == ApiKey::Produce { facts.refuse(asked, 87) } else { facts.usual(asked) });
    script.send(&record());
    script.run(MS(100));
    script.answer(Facts::usual);
    script.send(&record());
    script.run(MS(1000));
    assert_eq!((script.delivered(), script.failed()), (3, 1));
}

#[test]
fn of_addresses_that_only_servers_have_named_two_are_tried_at_a_time() {
    let mut script = Script::new(1, &[], |facts, asked| match &asked.ask {
        Ask::Metadata(request) => {
            let mut told = facts.metadata(asked.version, request);
            for port in 1000..1010 {
                let broker = MetadataResponseBroker::default().with_node_id(port.into()).with_port(port);
                told.brokers.push(broker.with_host(text("mute")));
            }
            Reply::Metadata(told)
        }
        _ => facts.usual(asked),
    });
    for port in 1000..1010 {
        let mut server = Server::new(port.into(), "mute", port);
        server.door = Door::Mute;
        script.servers.push(server);
    }
    script.facts.topic("t", 1, 1);
    script.send(&record());
    let _ = script.try_send(&Record::new("missing").value("v"));
    script.run(MS(9500));
    let tried = script.dialled.iter().filter(|dialled| dialled.host == "mute").count();
    assert_eq!(tried, 2, "{:?}", script.dialled);
}

#[test]
fn while_three_are_silent_no_fourth_is_dialled() {
    let mut script = Script::new(6, &[], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(1000));
    for node in 1..=6 {
        script.server(node).door = Door::Mute;
        script.break_connections(node);
    }
    let before = script.dialled.len();
    script.tell(|producer, now| producer.want_topic(now, "u")).expect("it runs");
    script.run(MS(9500));
    assert_eq!(script.dialled.len() - before, 3, "{:?}", script.dialled);
    // Whoever did not answer for so long is given up, and another may try.
    script.run(MS(3000));
    assert_eq!(script.dialled.len() - before, 4, "{:?}", script.dialled);
}

#[test]
fn who_has_answered_is_asked_again_before_anybody_is_dialled() {
    let mut script = Script::new(3, &[], Facts::usual);
    for number in 0..10 {
        let name = format!("t{number}");
        script.facts.topic(&name, 1 + number, 1);
        script.tell(|producer, now| producer.want_topic(now, &name)).expect("it runs");
        script.run(MS(1000));
    }
    assert_eq!((script.dialled.len(), count(&script, ApiKey::Metadata, Instant::ZERO)), (1, 10));
}

#[test]
fn a_list_of_topics_that_cannot_be_read_once_or_twice_is_asked_for_again() {
    for broken in [1, 2] {
        let mut times = 0;
        let mut script = Script::new(1, &[], move |facts, asked| match &asked.ask {
            Ask::Metadata(request) if request.topics.is_none() => {
                times += 1;
                if times <= broken { Reply::Raw(vec![0xff; 40]) } else { facts.usual(asked) }
            }
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1);
        script.tell(|producer, now| producer.list_topics(now)).expect("it runs");
        script.run(MS(60_000));
        let said = |event: &&Event| matches!(event, Event::TopicsListed(_) | Event::TopicsNotListed(_));
        let said: Vec<_> = script.events.iter().filter(said).collect();
        assert!(matches!(said[..], [Event::TopicsListed(_)]), "{broken} broken: {said:?}");
    }
}

#[test]
fn what_is_said_late_to_an_attempt_that_counts_no_longer_is_not_the_last_answer() {
    let mut script = Script::new(
        2,
        &[("metadata.max.age.ms", "500"), ("delivery.timeout.ms", "9000"), ("request.timeout.ms", "8000")],
        Facts::usual,
    );
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    let held = script.send_and_hold(&record());
    script.facts.lead("t", 0, 2);
    script.run(MS(2000));
    assert_eq!(script.count(2, ApiKey::Produce, Instant::ZERO), 1, "it has left for the new leader");
    let reply = script.facts.refuse(&held, 7);
    script.reply(held.number, reply);
    script.run(MS(10_000));
    let last = script.deliveries().last().and_then(|delivery| delivery.outcome.clone().err());
    assert_eq!(last.map(|error| error.kind), Some(DeliveryErrorKind::TimedOut(None)));
}

/// An answer for each partition, by its error.
fn each(facts: &Facts, asked: &Asked, errors: [i16; 2]) -> Reply {
    let mut reply = facts.refuse(asked, 0);
    if let Reply::Produce(told) = &mut reply {
        for answer in told.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
            answer.error_code = errors[answer.index as usize];
        }
    }
    reply
}

#[test]
fn a_renumbered_batch_leaves_when_another_producer_id_has_come_for_the_last_epoch_is_used_up() {
    let mut script =
        Script::new(1, &[("retry.backoff.ms", "500"), ("linger.ms", "5")], |facts, asked| match &asked.ask {
            Ask::InitProducerId(_) => {
                let told = InitProducerIdResponse::default().with_producer_id(7.into());
                Reply::InitProducerId(told.with_producer_epoch(i16::MAX - 1))
            }
            _ => facts.usual(asked),
        });
    script.facts.topic("t", 1, 2);
    let both = |script: &mut Script| {
        script.send(&Record::new("t").value("v").partition(0));
        script.send(&Record::new("t").value("v").partition(1));
    };
    both(&mut script);
    script.run(MS(100));
    // One is refused for good, the other as out of order: both take the last epoch.
    script.answer(|facts, asked| match asked.api {
        ApiKey::Produce => each(facts, asked, [87, 45]),
        ApiKey::InitProducerId => Reply::Hold,
        _ => facts.usual(asked),
    });
    both(&mut script);
    script.run(MS(50));
    // Another one is refused, before the other partition has gone on.
    script.send(&Record::new("t").value("v").partition(0));
    script.run(MS(1500));
    assert_eq!((script.delivered(), script.failed()), (2, 2));
    let held = script.held();
    assert_eq!(held.iter().map(|asked| asked.api).collect::<Vec<_>>(), [ApiKey::InitProducerId]);
    script.answer(Facts::usual);
    let reply = script.facts.usual(&held[0]);
    script.reply(held[0].number, reply);
    script.run(MS(1000));
    assert_eq!((script.delivered(), script.failed()), (3, 2));
}

#[test]
fn parts_of_a_first_batch_leave_one_after_the_other_until_one_is_taken() {
    let mut script = Script::new(1, &[("linger.ms", "50"), ("batch.size", "400")], |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            let size = request.topic_data[0].partition_data[0].records.as_ref().expect("a batch").len();
            if size > 250 { facts.refuse(asked, 10) } else { Reply::Hold }
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    for _ in 0..4 {
        script.send(&Record::new("t").value(&[b'v'; 60]).partition(0));
    }
    script.run(MS(3000));
    assert_eq!(script.producer.stats().splits, 1);
    assert_eq!(count(&script, ApiKey::Produce, Instant::ZERO), 2, "the whole, and its first part");
    let held = script.held()[0].clone();
    let reply = script.facts.usual(&held);
    script.reply(held.number, reply);
    script.answer(Facts::usual);
    script.run(MS(1000));
    assert_eq!(script.delivered(), 4);
}

#[test]
fn what_stands_behind_a_batch_that_was_not_written_is_renumbered_although_something_before_it_is_in_doubt() {
    let (mut line, mut place) = (Line::proven(Speaks::Ids), 0);
    line.script.answer(move |facts, asked| match asked.api {
        ApiKey::Produce => {
            place += 1;
            match place {
                1 => facts.refuse(asked, 7),  // in doubt, and not written
                2 => facts.refuse(asked, 87), // never
                3 => Reply::Drop,
                _ => facts.usual(asked),
            }
        }
        _ => facts.usual(asked),
    });
    line.put(3);
    line.run(3000);
    assert_eq!(line.outcomes(), [Ok(()), Ok(()), Err(false), Ok(())]);
    assert_eq!(line.log(), [0, 1, 3]);
}

#[test]
fn while_an_answer_that_may_prove_all_is_on_its_way_nothing_is_sent_again() {
    let mut line = Line::proven(Speaks::Ids);
    line.leave_in_doubt(3, 3);
    line.script.facts.restart();
    let since = line.now();
    // The newest is the one that the broker knows. It takes its time.
    line.script.answer(|facts, asked| match crate::line::number(asked) {
        Some(3) => facts.usual(asked).after(MS(2000)),
        _ => facts.usual(asked),
    });
    line.run(1500);
    assert_eq!(line.sent_since(since), [1, 2, 3]);
    line.run(1500);
    line.all_is_well();
}

#[test]
fn a_job_that_ends_after_its_batch_says_nothing_of_the_next_one() {
    let options = [
        ("compression.type", "gzip"),
        ("compression.jobs", "2"),
        ("delivery.timeout.ms", "700"),
        ("request.timeout.ms", "600"),
    ];
    let mut script = Script::new(1, &options, Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    assert_eq!(script.delivered(), 1);
    script.jobs = Some(Vec::new());
    let value = [b'a'; 500];
    script.send(&Record::new("t").value(&value).partition(0));
    script.run(MS(750));
    assert_eq!(script.failed(), 1, "its job took too long");
    let value = [b'b'; 500];
    script.send(&Record::new("t").value(&value).partition(0));
    script.run(MS(1));
    let mut jobs = script.jobs.replace(Vec::new()).expect("they are kept");
    assert_eq!(jobs.len(), 2);
    let done = |job: milena::Job| job.run(&mut milena::Compressor::default());
    let (first, second) = (done(jobs.remove(0)), done(jobs.remove(0)));
    let since = script.now;
    script.input(Input::Done(first));
    script.run(MS(50));
    assert_eq!(count(&script, ApiKey::Produce, since), 0, "its own job is not done");
    script.input(Input::Done(second));
    script.run(MS(50));
    assert_eq!((count(&script, ApiKey::Produce, since), script.delivered()), (1, 2));
}

#[test]
fn lengths_of_queues_are_those_of_now() {
    let options =
        [("batch.size", "1"), ("batch.size.max", "1"), ("client.rack", "r"), ("partitioner.rack.aware", "true")];
    let mut script = Script::new(1, &options, first_in_rack);
    script.facts.topic("t", 1, 2);
    for _ in 0..100 {
        script.send(&record());
        script.run(MS(2));
    }
    script.run(MS(1000));
    for _ in 0..100 {
        script.send(&Record::new("t").value("v"));
        script.run(MS(10));
    }
    script.run(MS(1000));
    assert_eq!(script.delivered(), 200);
    let anew = script.facts.records("t", 0) - 100;
    assert!((20..=80).contains(&anew), "{anew} of 100 to the partition that had more to do before");
}

#[test]
fn who_waits_for_how_another_connection_to_the_address_goes_goes_on_when_it_is_there() {
    let mut script = Script::new(1, &PLAIN, |facts, asked| match &asked.ask {
        Ask::Produce(request) => {
            // Two brokers at one address: each takes what it leads.
            let node = 1 + request.topic_data[0].partition_data[0].index;
            Reply::Produce(facts.produce(&Asked { node, ..asked.clone() }, request))
        }
        _ => facts.usual(asked),
    });
    script.facts.brokers = vec![(1, "server1".into(), 9091), (2, "server1".into(), 9091)];
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(1000));
    script.server(1).door = Door::Refuses;
    for partition in 0..2 {
        script.send(&Record::new("t").value("v").partition(partition));
    }
    script.run(MS(5));
    script.server(1).door = Door::Open;
    script.run(MS(1000));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn a_lost_connection_for_records_makes_nobody_wait_longer_for_metadata() {
    for leader in 1..=2 {
        let silent = Rc::new(Cell::new(0));
        let (is_silent, broken) = (Rc::clone(&silent), Cell::new(false));
        let mut script = Script::new(2, &PLAIN, move |facts, asked| match &asked.ask {
            Ask::Metadata(_) if is_silent.get() == asked.node => Reply::Hold,
            Ask::Produce(_) if is_silent.get() != 0 && !broken.replace(true) => Reply::Drop,
            _ => facts.usual(asked),
        });
        script.facts.topic("t", 1, 1).partitions[0].leader = leader;
        script.send(&record());
        script.run(MS(1000));
        let asked = script.asks().find(|asked| asked.api == ApiKey::Metadata).expect("one").node;
        silent.set(asked);
        let since = script.now;
        script.send(&record());
        script.run(MS(4000));
        let mut after = script.asks().filter(|it| it.at >= since && it.api == ApiKey::Metadata);
        assert!(after.any(|it| it.node != asked), "nobody but {asked} was asked");
    }
}

#[test]
fn patience_with_metadata_is_what_it_was_once_somebody_has_answered() {
    let silent = Rc::new(Cell::new(false));
    let is_silent = Rc::clone(&silent);
    let mut script = Script::new(3, &[], move |facts, asked| match &asked.ask {
        Ask::Metadata(_) if is_silent.replace(false) => Reply::Hold,
        _ => facts.usual(asked),
    });
    for round in 0..4 {
        let name = format!("t{round}");
        script.facts.topic(&name, 1 + round, 1);
        silent.set(true);
        let since = script.now;
        script.tell(|producer, now| producer.want_topic(now, &name)).expect("it runs");
        script.run(MS(20_000));
        let asked = script.asks().filter(|asked| asked.at >= since && asked.api == ApiKey::Metadata);
        let at: Vec<Instant> = asked.map(|asked| asked.at).collect();
        let waited = at[1].saturating_since(at[0]);
        assert!(waited < MS(3500), "round {round}: {waited:?}");
    }
}

#[test]
fn a_server_that_breaks_off_while_it_is_told_who_asks_is_dialled_again_as_soon_as_others() {
    let sasl = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";";
    let options = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", sasl)];
    let mut times = 0;
    let mut script = Script::new(1, &options, move |facts, asked| match &asked.ask {
        Ask::SaslAuthenticate(_) => {
            times += 1;
            if times <= 3 { Reply::Drop } else { facts.usual(asked) }
        }
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(1000));
    assert!(script.events.iter().any(|event| matches!(event, Event::TopicReady { .. })), "{:?}", script.dialled);
}

#[test]
fn a_bootstrap_server_that_is_no_broker_is_measured_and_one_that_was_not_used_is_not() {
    let mut script = Script::new(2, &[], Facts::usual);
    script.facts.brokers = vec![(7, "server3".into(), 9093)];
    script.servers.push(Server::new(3, "server3", 9093));
    script.facts.topic("t", 1, 1).partitions[0].leader = 7;
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(1000));
    let used = script.asks().next().expect("one was asked").node;
    let metrics = script.producer.metrics(script.now);
    let servers: Vec<_> = metrics.servers.iter().map(|it| (it.server.node, it.server.host.clone())).collect();
    assert_eq!(servers, [(Some(7), "server3".to_owned()), (None, format!("server{used}"))]);
    let status = script.producer.status(script.now);
    let told: Vec<_> = status.servers.iter().map(|it| (it.server.node, it.server.host.clone())).collect();
    assert_eq!(told, servers, "and it is told while it is connected");
}

#[test]
fn what_holds_for_any_topic_is_believed_of_one_that_was_created_anew_meanwhile() {
    for (code, counts) in [(46, true), (90, true), (6, false)] {
        let mut script = Script::new(1, &[("metadata.max.age.ms", "500")], Facts::usual);
        script.facts.topic("t", 1, 1);
        script.send(&record());
        script.run(MS(100));
        let held = script.send_and_hold(&record());
        script.facts.topic("t", 2, 1);
        script.run(MS(1500));
        script.answer(Facts::usual);
        let since = script.now;
        let reply = script.facts.refuse(&held, code);
        script.reply(held.number, reply);
        script.run(MS(3000));
        assert_eq!(count(&script, ApiKey::Produce, since) == 0, counts, "{code}: sent again or not");
        assert_eq!((script.delivered(), script.failed()), if code == 90 { (1, 1) } else { (2, 0) }, "{code}");
    }
}

#[test]
fn where_brokers_tell_no_ids_an_older_epoch_is_believed_the_fourth_time() {
    let mut script = Script::new(2, &[], Facts::usual);
    script.facts.limit(9, 9, 3);
    let partition = &mut script.facts.topic("t", 1, 1).partitions[0];
    partition.epoch = 7;
    script.send(&record());
    script.run(MS(500));
    assert_eq!(script.delivered(), 1);
    // Created anew, elsewhere.
    let partition = &mut script.facts.topic("t", 2, 1).partitions[0];
    (partition.leader, partition.epoch) = (2, 3);
    let since = script.now;
    script.send(&record());
    script.run(MS(10_000));
    let refused = script.asks().find(|it| it.at >= since && it.api == ApiKey::Produce).expect("one was sent").at;
    let taken = script.asks().find(|it| it.node == 2 && it.api == ApiKey::Produce).expect("it was sent there, too").at;
    let told = script.asks().filter(|it| it.api == ApiKey::Metadata && it.at >= refused && it.at < taken);
    assert_eq!((told.count(), script.delivered()), (4, 2));
}

#[test]
fn who_was_cut_off_for_a_while_believes_nothing_that_is_older() {
    let late = Rc::new(Cell::new(false));
    let is_late = Rc::clone(&late);
    let mut script = Script::new(2, &[], move |facts, asked| {
        facts.usual_but(asked, |told| {
            if is_late.get() {
                led_as_at_first(told)
            }
        })
    });
    script.facts.topic("t", 1, 1);
    script.facts.lead("t", 0, 2);
    script.send(&record());
    script.run(MS(500));
    late.set(true);
    script.break_connections(1);
    script.break_connections(2);
    let since = script.now;
    script.send(&record());
    script.tell(|producer, now| producer.want_topic(now, "u")).expect("it runs");
    script.run(MS(5000));
    assert!(count(&script, ApiKey::Metadata, since) > 0, "it was told");
    assert_eq!((script.delivered(), script.count(1, ApiKey::Produce, since)), (2, 0), "not sent to who led before");
}

#[test]
fn a_topic_that_was_refused_is_asked_about_while_records_are_open() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    // The rights are taken away, and given back.
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.refuse(asked, 6),
        _ => facts.usual(asked),
    });
    script.facts.topics.get_mut("t").expect("t").error = 29;
    script.send(&record());
    script.run(MS(5000));
    let since = script.now;
    script.run(MS(5000));
    assert!(count(&script, ApiKey::Metadata, since) > 2, "it is asked about");
    script.facts.topics.get_mut("t").expect("t").error = 0;
    script.answer(Facts::usual);
    script.run(MS(3000));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn a_connection_that_is_not_ready_in_time_is_given_more_the_next_time() {
    let options = [
        ("socket.connection.setup.timeout.ms", "1000"),
        ("socket.connection.setup.timeout.max.ms", "100000"),
        ("reconnect.backoff.ms", "1"),
        ("reconnect.backoff.max.ms", "1"),
    ];
    let mut script = Script::new(1, &options, Facts::usual);
    script.server(1).door = Door::Mute;
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(60_000));
    let at: Vec<Instant> = script.dialled.iter().map(|dialled| dialled.at).collect();
    let waited: Vec<Duration> = at.windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect();
    // Each is drawn from a fifth less to a fifth more of twice the one before.
    assert!(waited.len() >= 4 && waited.len() < 8, "{waited:?}");
    assert!(waited[..4].windows(2).all(|pair| pair[1] > pair[0].mul_f64(1.3)), "{waited:?}");
}

#[test]
fn an_acknowledgement_says_which_of_two_topics_is_the_newer() {
    let late = Rc::new(Cell::new(false));
    let is_late = Rc::clone(&late);
    let mut script = Script::new(1, &[("metadata.max.age.ms", "300")], move |facts, asked| {
        facts.usual_but(asked, |told| {
            if is_late.get() {
                told.topics[0].topic_id = crate::script::id(1);
            }
        })
    });
    script.facts.topic("t", 1, 1);
    script.send(&record());
    script.run(MS(100));
    script.facts.topic("t", 2, 1);
    script.run(MS(1000));
    script.send(&record());
    script.run(MS(1000));
    late.set(true);
    let since = script.now;
    for _ in 0..400 {
        script.send(&record());
        script.run(MS(20));
    }
    let told = count(&script, ApiKey::Metadata, since);
    assert!(told > 3, "{told}: it is told of the other one again and again");
    let old = script.asks().filter(|asked| asked.at >= since).filter(|asked| match &asked.ask {
        Ask::Produce(request) => request.topic_data[0].topic_id == crate::script::id(1),
        _ => false,
    });
    assert_eq!((old.count(), script.delivered()), (0, 402));
}

#[test]
fn metadata_are_asked_of_who_is_there_while_one_that_failed_is_dialled() {
    let mut script = Script::new(2, &[("metadata.max.age.ms", "600000")], Facts::usual);
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    script.send(&record());
    script.send(&Record::new("t").value("v").partition(1));
    script.run(MS(1000));
    assert_eq!(script.delivered(), 2);
    script.server(1).door = Door::Mute;
    script.break_connections(1);
    let since = script.now;
    script.tell(|producer, now| producer.want_topic(now, "is-not-there")).expect("it runs");
    script.run(MS(20_000));
    let at: Vec<Instant> =
        script.asks().filter(|it| it.at >= since && it.api == ApiKey::Metadata).map(|it| it.at).collect();
    let longest = at.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().expect("it is asked");
    assert!(script.dialled.iter().any(|it| it.at >= since && it.host == "server1"), "{:?}", script.dialled);
    assert!(longest < MS(2500), "{longest:?}");
}

#[test]
fn what_a_writer_says_ends_the_writing() {
    struct Writer(std::io::ErrorKind);
    impl std::io::Write for Writer {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut script = Script::new(1, &[], Facts::usual);
    script.room(1, Some(0));
    script.tell(|producer, now| producer.want_topic(now, "t")).expect("it runs");
    script.run(MS(100));
    let conn = script.dialled[0].conn;
    let mut written =
        |kind| script.producer.transmit(script.now, conn).write_to(&mut Writer(kind)).map_err(|it| it.kind());
    assert_eq!(written(std::io::ErrorKind::WouldBlock), Ok(milena::Progress::Blocked));
    assert_eq!(written(std::io::ErrorKind::BrokenPipe), Err(std::io::ErrorKind::BrokenPipe));
}

#[test]
fn records_stay_in_the_rack_while_its_broker_takes_them() {
    for patience in ["0", "1000"] {
        let options = [
            ("batch.size", "1"),
            ("client.rack", "r"),
            ("partitioner.rack.aware", "true"),
            ("partitioner.availability.timeout.ms", patience),
        ];
        let mut script = Script::new(2, &options, first_in_rack);
        script.facts.topic("t", 1, 2).partitions[1].leader = 2;
        for _ in 0..100 {
            script.send(&Record::new("t").value("v"));
            script.run(MS(10));
        }
        assert_eq!((script.delivered(), script.facts.records("t", 0)), (100, 100), "patience {patience}");
        // Silent for longer than that, it is none that takes them; without a patience it always is one.
        script.server(1).door = Door::Mute;
        script.break_connections(1);
        script.send(&Record::new("t").value("v"));
        script.run(MS(3000));
        for _ in 0..10 {
            script.send(&Record::new("t").value("v"));
            script.run(MS(10));
        }
        assert_eq!(script.facts.records("t", 1), if patience == "0" { 0 } else { 10 }, "patience {patience}");
    }
}
