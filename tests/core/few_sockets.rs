//! Hosts with fewer sockets than there are brokers: connections are given up so that others can be made.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use milena::{ConnId, Record};

use crate::script::{Ask, Reply, Script};

const S: fn(u64) -> Duration = Duration::from_secs;

/// The connection of the last Produce request.
fn produced_on(script: &Script) -> ConnId {
    script.asks().rfind(|asked| asked.api == ApiKey::Produce).expect("some were produced").conn
}

fn failures(script: &Script) -> u64 {
    script.producer.stats().connection_failures
}

#[test]
fn a_connection_that_is_released_answers_what_was_asked_and_takes_no_more() {
    let mut script =
        Script::new(1, &[("max.in.flight.requests.per.connection", "2")], |facts, asked| match asked.ask {
            Ask::Produce(_) if asked.number < 5 => Reply::Hold,
            _ => facts.usual(asked),
        });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(S(1));
    let conn = produced_on(&script);
    let held = script.held();
    assert_eq!(held.len(), 1);
    assert!(script.tell(|producer, now| producer.release(now, conn)));
    script.send(&Record::new("t").value("second"));
    script.run(S(1));
    let asked = script.asks().filter(|asked| asked.api == ApiKey::Produce).count();
    assert_eq!((asked, script.delivered()), (1, 0), "the second waits");
    let reply = script.facts.usual(&held[0]);
    script.reply(held[0].number, reply);
    script.run(S(1));
    assert_eq!(script.delivered(), 2);
    assert_ne!(produced_on(&script), conn);
    assert_eq!(script.facts.records("t", 0), 2, "each once");
    assert_eq!(failures(&script), 0);
    assert!(!script.tell(|producer, now| producer.release(now, conn)), "it is gone");
}

#[test]
fn a_connection_with_nothing_on_its_way_ends_at_once_without_a_pause_for_the_next() {
    let mut script = Script::new(1, &[], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(S(1));
    let (conn, before) = (produced_on(&script), script.connections());
    assert!(script.tell(|producer, now| producer.release(now, conn)));
    script.run(Duration::from_millis(1));
    assert_eq!(script.connections(), before - 1);
    let since = script.now;
    script.send(&Record::new("t").value("second"));
    script.run(S(1));
    let again = script.asks().rfind(|asked| asked.api == ApiKey::Produce).expect("it was produced");
    assert!(
        again.at < since + Duration::from_millis(40),
        "there was a pause of {:?}",
        again.at.saturating_since(since)
    );
    assert_eq!((script.delivered(), failures(&script)), (2, 0));
}

#[test]
fn a_connection_that_is_being_made_is_not_released() {
    let mut script = Script::new(1, &[], |facts, asked| match asked.ask {
        Ask::ApiVersions(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    let _ = script.try_send(&Record::new("t").value("first"));
    script.run(Duration::from_millis(500));
    let conn = script.asks().next().expect("it was asked for its versions").conn;
    assert!(!script.tell(|producer, now| producer.release(now, conn)));
    assert!(!script.tell(|producer, now| producer.release(now, ConnId::new(u32::MAX))));
}

#[test]
fn a_pause_that_a_broker_asked_for_is_not_evaded_by_a_new_connection() {
    let mut script = Script::new(1, &[], |facts, asked| {
        let mut reply = facts.usual(asked);
        if let Reply::Produce(response) = &mut reply {
            response.throttle_time_ms = 3000;
        }
        reply
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(S(1));
    assert_eq!(script.delivered(), 1);
    let paused = script.asks().rfind(|asked| asked.api == ApiKey::Produce).expect("it was produced").at;
    let conn = produced_on(&script);
    assert!(script.tell(|producer, now| producer.release(now, conn)));
    script.send(&Record::new("t").value("second"));
    script.run(S(8));
    let again = script.asks().rfind(|asked| asked.api == ApiKey::Produce).expect("it was produced");
    assert_eq!(script.delivered(), 2);
    assert_ne!(again.conn, conn);
    assert!(again.at >= paused + S(3), "after {:?}", again.at.saturating_since(paused));
}

#[test]
fn a_server_of_metadata_is_released_too_and_asked_again_when_needed() {
    let mut script = Script::new(1, &[], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.facts.topic("u", 2, 1);
    script.send(&Record::new("t").value("first"));
    script.run(S(1));
    let control = script.asks().rfind(|asked| asked.api == ApiKey::Metadata).expect("it was asked").conn;
    assert!(script.tell(|producer, now| producer.release(now, control)));
    script.run(S(1));
    script.send(&Record::new("u").value("second"));
    script.run(S(1));
    let again = script.asks().rfind(|asked| asked.api == ApiKey::Metadata).expect("it was asked").conn;
    assert_ne!(again, control);
    assert_eq!((script.delivered(), failures(&script)), (2, 0));
}
