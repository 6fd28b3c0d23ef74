//! Rules that a world on the dice hardly ever meets: what a pause means for requests that are under way, what the loss of a
//! connection says, and whom to ask when a server is of no help.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, InitProducerIdResponse};
use milena::{Instant, Record};

use crate::script::{Ask, Asked, Reply, Script};

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
    script.send(&record());
    script.run(MS(20_000));
    assert_eq!(script.delivered(), 1);
}
