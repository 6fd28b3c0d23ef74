//! Rules that a world on the dice hardly ever meets: what a pause means for requests that are under way, and what the loss of a
//! connection says.

use std::cell::Cell;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use milena::Record;

use crate::script::{Ask, Reply, Script};

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
    assert!(script.count(2, ApiKey::Produce, milena::Instant::ZERO) > 0, "the new leader was asked");
}
