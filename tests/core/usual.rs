//! The script itself: without any mischief records arrive, each once.

use std::time::Duration;

use milena::Record;

use crate::script::{Ask, Reply, Script};

#[test]
fn records_arrive_in_order_at_every_version() {
    for (produce, metadata, init) in [(13, 13, 5), (12, 12, 4), (9, 9, 4), (7, 7, 1), (3, 4, 0)] {
        let mut script = Script::new(3, &[], |facts, asked| facts.usual(asked));
        script.facts.limit(produce, metadata, init);
        script.facts.topic("t", 7, 2).partitions[1].leader = 3;
        for n in 0..50 {
            let value = n.to_string();
            script.send(&Record::new("t").value(&value).partition(n % 2));
            script.run(Duration::from_millis(3));
        }
        script.run(Duration::from_secs(1));
        assert_eq!(script.delivered(), 50);
        assert_eq!((script.facts.records("t", 0), script.facts.records("t", 1)), (25, 25));
        assert!(script.asks().any(|asked| asked.node == 3 && matches!(asked.ask, Ask::Produce(_))));
    }
}

#[test]
fn a_held_request_is_answered_by_hand() {
    let mut script = Script::new(1, &[], |facts, asked| match asked.ask {
        Ask::Produce(_) => Reply::Hold,
        _ => facts.usual(asked),
    });
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(Duration::from_secs(5));
    assert_eq!(script.delivered(), 0);
    let held = script.held();
    assert_eq!(held.len(), 1);
    let reply = script.facts.usual(&held[0]);
    script.reply(held[0].number, reply);
    script.run(Duration::from_secs(1));
    assert_eq!(script.delivered(), 1);
}

#[test]
fn a_full_socket_takes_the_rest_when_there_is_room() {
    let mut script = Script::new(1, &[], |facts, asked| facts.usual(asked));
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("first"));
    script.run(Duration::from_secs(1));
    script.room(1, Some(20));
    script.send(&Record::new("t").value("second"));
    script.run(Duration::from_secs(1));
    assert_eq!(script.delivered(), 1);
    script.room(1, None);
    script.run(Duration::from_secs(1));
    assert_eq!(script.delivered(), 2);
}
