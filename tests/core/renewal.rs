//! Sessions that are renewed, tokens that end, and requests without an answer.

use std::time::Duration;

use kafka_protocol::messages::{ApiKey, SaslAuthenticateResponse};
use milena::{ConnectionError, Event, Instant, Output, Producer, Record, SendError, Token};

use crate::script::{Ask, Asked, Facts, Reply, Script};

/// How long servers believe a client.
const SESSION: i64 = 10_000;
/// When no renewal has begun yet, and when each has.
const BEFORE: Duration = Duration::from_millis(8000);
const AFTER: Duration = Duration::from_millis(9600);

const PLAIN: [(&str, &str); 3] = [
    ("security.protocol", "SASL_PLAINTEXT"),
    ("sasl.mechanism", "PLAIN"),
    (
        "sasl.jaas.config",
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";",
    ),
];

const TOKENS: [(&str, &str); 2] = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options<'a>(of: &[&[(&'a str, &'a str)]]) -> Vec<(&'a str, &'a str)> {
    of.concat()
}

/// A good broker, with sessions that end.
fn sessions(facts: &mut Facts, asked: &Asked) -> Reply {
    match &asked.ask {
        Ask::SaslAuthenticate(_) => {
            Reply::SaslAuthenticate(SaslAuthenticateResponse::default().with_session_lifetime_ms(SESSION))
        }
        _ => facts.usual(asked),
    }
}

fn failures(script: &Script) -> Vec<ConnectionError> {
    let failure = |event: &Event| match event {
        Event::ConnectionFailed { error, .. } => Some(error.clone()),
        _ => None,
    };
    script.events.iter().filter_map(failure).collect()
}

/// A producer of two nodes whose topic is led by the one that is not asked for metadata, a record delivered.
fn script(
    options: &[(&str, &str)],
    answers: impl FnMut(&mut Facts, &Asked) -> Reply + Clone + 'static,
) -> (Script, i32) {
    let mut script = Script::new(2, options, answers);
    script.facts.topic("other", 1, 1);
    script.tell(|producer, now| producer.want_topic(now, "other")).expect("taken");
    script.run(Duration::from_millis(500));
    let asked = script.asks().find(|asked| asked.api == ApiKey::Metadata).expect("someone was asked").node;
    let leader = 3 - asked;
    script.facts.topic("t", 2, 1).partitions[0].leader = leader;
    script.send(&Record::new("t").value("first"));
    script.run(Duration::from_millis(100));
    assert_eq!(script.delivered(), 1);
    (script, leader)
}

fn until(script: &mut Script, at: Duration) {
    let at = Instant::ZERO + at;
    script.run(at.saturating_since(script.now));
}

fn produced(script: &Script) -> usize {
    script.asks().filter(|asked| asked.api == ApiKey::Produce).count()
}

#[test]
fn an_unanswered_request_ends_where_its_bytes_end_whatever_is_behind_it() {
    for room in [1, 4, 20, 60, 90] {
        let (mut script, leader) =
            script(&options(&[&PLAIN, &[("acks", "0"), ("enable.idempotence", "false")]]), sessions);
        until(&mut script, BEFORE);
        script.room(leader, Some(room));
        script.send(&Record::new("t").value(&"x".repeat(100)));
        until(&mut script, AFTER);
        assert_eq!(script.delivered(), 1, "it is not written yet");
        // Byte by byte, until all of the record's request has left; what is behind it has not.
        let steps = (0..1000).take_while(|_| {
            script.room(leader, Some(1));
            script.delivered() == 1
        });
        assert!(steps.count() > 20);
        assert_eq!(
            (
                script.delivered(),
                produced(&script),
                script.count(leader, ApiKey::SaslHandshake, Instant::ZERO + BEFORE)
            ),
            (2, 2, 0),
            "{room}"
        );
        script.room(leader, None);
        script.run(seconds(5));
        assert_eq!(script.count(leader, ApiKey::SaslHandshake, Instant::ZERO + BEFORE), 1);
        script.send(&Record::new("t").value("last"));
        script.run(seconds(20));
        assert_eq!((script.delivered(), produced(&script)), (3, 3), "each leaves once");
        assert_eq!(failures(&script), []);
    }
}

#[test]
fn a_renewal_waits_until_what_was_asked_before_is_answered() {
    for acks in ["1", "all"] {
        let (mut script, _) = script(&options(&[&PLAIN, &[("acks", acks), ("enable.idempotence", "false")]]), sessions);
        until(&mut script, BEFORE);
        script.answer(|facts, asked| match &asked.ask {
            Ask::Produce(_) => facts.usual(asked).after(seconds(25)),
            _ => sessions(facts, asked),
        });
        script.send(&Record::new("t").value("slow"));
        script.run(seconds(40));
        assert_eq!((script.delivered(), produced(&script), failures(&script)), (2, 2, vec![]));
        assert!(script.producer.stats().reauthentications > 0);
    }
}

#[test]
fn then_its_patience_begins() {
    let (mut script, leader) = script(&options(&[&PLAIN, &[("acks", "1"), ("enable.idempotence", "false")]]), sessions);
    until(&mut script, BEFORE);
    script.answer(move |facts, asked| match &asked.ask {
        Ask::Produce(_) => facts.usual(asked).after(seconds(25)),
        Ask::SaslHandshake(_) if asked.node == leader => Reply::Hold,
        _ => sessions(facts, asked),
    });
    script.send(&Record::new("t").value("slow"));
    until(&mut script, seconds(33 + 9));
    assert_eq!(failures(&script), []);
    until(&mut script, seconds(33 + 12));
    assert_eq!(failures(&script), [ConnectionError::SetupTimeout]);
}

#[test]
fn what_is_not_answered_before_a_renewal_is_late_as_ever() {
    let (mut script, _) = script(&options(&[&PLAIN, &[("acks", "1"), ("enable.idempotence", "false")]]), sessions);
    until(&mut script, BEFORE);
    script.answer(|facts, asked| match &asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => sessions(facts, asked),
    });
    script.send(&Record::new("t").value("lost"));
    until(&mut script, BEFORE + seconds(29));
    assert_eq!(failures(&script), []);
    until(&mut script, BEFORE + seconds(34));
    assert_eq!(failures(&script), [ConnectionError::RequestTimeout]);
}

/// KIP-219: the broker reads nothing while the pause lasts.
#[test]
fn a_pause_that_the_broker_asked_for_is_no_want_of_an_answer_to_a_renewal() {
    let (mut script, leader) = script(&options(&[&PLAIN, &[("acks", "1"), ("enable.idempotence", "false")]]), sessions);
    until(&mut script, BEFORE);
    script.answer(move |facts, asked| match (&asked.ask, sessions(facts, asked)) {
        (Ask::Produce(_), Reply::Produce(response)) => Reply::Produce(response.with_throttle_time_ms(30_000)),
        (Ask::SaslHandshake(_), reply) if asked.node == leader => reply.after(seconds(29)),
        (_, reply) => reply,
    });
    script.send(&Record::new("t").value("much"));
    script.run(seconds(29));
    script.answer(sessions);
    script.run(seconds(20));
    assert_eq!(failures(&script), []);
    script.send(&Record::new("t").value("more"));
    script.run(seconds(1));
    assert_eq!((script.delivered(), produced(&script)), (3, 3));
}

#[test]
fn a_token_that_never_comes_at_a_renewal_has_a_deadline() {
    let mut script = Script::new(1, &TOKENS, sessions);
    script.facts.topic("t", 1, 1);
    script.token = Some(Ok(Token::new("a.b.c", Some(seconds(5)))));
    script.send(&Record::new("t").value("v"));
    script.run(seconds(1));
    assert_eq!(script.delivered(), 1);
    script.token = None;
    let before = script.tokens_asked.len();
    script.run(seconds(60));
    let told = |error: &ConnectionError| matches!(error, ConnectionError::Authentication(words) if words.contains("TokenProvider has not answered"));
    assert!(failures(&script).iter().any(told), "{:?}", failures(&script));
    assert!(script.tokens_asked.len() > before + 1, "it is asked for again");
    assert!(script.tokens_asked.len() < before + 20);
    script.token = Some(Ok(Token::new("d.e.f", None)));
    script.run(seconds(30));
    script.send(&Record::new("t").value("v"));
    script.run(seconds(30));
    assert_eq!(script.delivered(), 2);
}

#[test]
fn a_token_that_is_over_is_a_failure_with_a_backoff() {
    for life in [Some(Duration::ZERO), Some(Duration::from_nanos(1))] {
        let mut script = Script::new(3, &TOKENS, sessions);
        script.facts.topic("t", 1, 1);
        script.token = Some(Ok(Token::new("cached", life)));
        script.try_send(&Record::new("t").value("v")).unwrap_err();
        script.run(seconds(60));
        let dialled = (1..=3).map(|node| script.dialled.iter().filter(|dialled| dialled.port == 9091 + node).count());
        println!(
            "{} tokens asked for, {:?} connections to each server",
            script.tokens_asked.len(),
            dialled.collect::<Vec<_>>()
        );
        assert!(script.tokens_asked.len() <= 70, "{} times in a minute", script.tokens_asked.len());
        assert!(script.dialled.len() <= 70, "{} connections in a minute", script.dialled.len());
    }
}

#[test]
fn a_token_that_ended_between_two_connections_is_not_asked_for_without_pause() {
    for token in [Ok(Token::new("cached", Some(Duration::ZERO))), Err("no network")] {
        let mut script = Script::new(1, &TOKENS, sessions);
        script.facts.topic("t", 1, 1);
        script.token = Some(Ok(Token::new("good", Some(seconds(9)))));
        script.send(&Record::new("t").value("v"));
        script.run(seconds(1));
        script.token = Some(token);
        let before = script.tokens_asked.len();
        script.run(seconds(60));
        let asked = script.tokens_asked.len() - before;
        assert!((2..=20).contains(&asked), "{asked} times in a minute");
    }
}

/// Drains by hand, for the calls that a host with writer threads makes.
fn drain(producer: &mut Producer) -> Vec<Output> {
    let mut outputs = Vec::new();
    loop {
        match producer.poll_output() {
            Output::Wait(_) => return outputs,
            output => outputs.push(output),
        }
    }
}

#[test]
fn a_request_without_an_answer_that_was_written_whole_ends_the_backoff() {
    let mut script =
        Script::new(1, &[("acks", "0"), ("enable.idempotence", "false")], |facts, asked| match &asked.ask {
            Ask::Produce(_) => Reply::Drop,
            _ => facts.usual(asked),
        });
    script.facts.topic("t", 1, 1);
    for n in 0..15 {
        script.send(&Record::new("t").value("v"));
        let asked = script.now;
        script.run(Duration::from_millis(300));
        let last = script.asks().rev().find(|asked| asked.api == ApiKey::Produce).expect("it has left");
        let took = last.at.saturating_since(asked);
        assert!(last.at >= asked && took < Duration::from_millis(200), "{n}: after {took:?}");
    }
    assert_eq!(script.delivered(), 15);
}

#[test]
fn nothing_written_is_no_progress() {
    let mut script = Script::new(1, &[("acks", "1"), ("enable.idempotence", "false")], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(seconds(1));
    let conn = script.asks().rev().find(|asked| asked.api == ApiKey::Produce).expect("a request").conn;
    script.room(1, Some(20));
    script.send(&Record::new("t").value("second"));
    for _ in 0..50 {
        script.run(seconds(1));
        script.tell(|producer, now| producer.written(now, conn, 0));
    }
    assert!(failures(&script).contains(&ConnectionError::RequestTimeout), "{:?}", failures(&script));
    drain(&mut script.producer);
}

#[test]
fn without_a_token_whoever_waits_is_told_at_once_however_many_servers_there_are() {
    for nodes in [1, 3] {
        let mut script = Script::new(nodes, &TOKENS, Facts::usual);
        script.facts.topic("t", 1, 1);
        script.token = Some(Err("the identity provider says 401"));
        script.try_send(&Record::new("t").value("v")).expect_err("not known yet");
        script.run(Duration::from_secs(1));
        let denied = |event: &Event| match event {
            Event::AccessDenied(error) => Some(error.to_string()),
            _ => None,
        };
        let denied: Vec<String> = script.events.iter().filter_map(denied).collect();
        assert_eq!(denied.len(), 1, "{nodes}: {:?}", script.events);
        assert!(denied[0].contains("the identity provider says 401"), "{denied:?}");
        let error = script.try_send(&Record::new("t").value("v"));
        assert!(matches!(error, Err(SendError::AccessDenied(_))), "{error:?}");
    }
}
