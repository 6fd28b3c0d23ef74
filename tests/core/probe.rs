//! A broker that was restarted knows the newest batch of a producer, not five: what came before it and is in doubt is answered
//! OUT_OF_ORDER_SEQUENCE_NUMBER although it is in the log. What is behind it is sent again, to learn.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use crate::line::{ALL, Line, Speaks, done_and_lost, done_but, number};
use crate::script::Reply;

#[test]
fn after_a_restart_nothing_fails_nothing_is_doubled_and_it_goes_on_at_once() {
    for speaks in ALL {
        for count in 1..=5 {
            for written in 0..=count {
                let mut line = Line::proven(speaks);
                line.leave_in_doubt(count, written as usize);
                line.script.facts.restart();
                line.put(3);
                line.run(800);
                assert_eq!(line.log(), (0..line.sent).collect::<Vec<_>>(), "{speaks:?}, {written} of {count} written");
                line.all_is_well();
                assert_eq!(line.script.producer.stats().epoch_bumps, 0);
            }
        }
    }
}

#[test]
fn news_of_the_leader_in_the_middle_of_it_disturb_nothing() {
    // One node: it leads again, in a newer epoch, which is told sooner or later.
    for speaks in ALL {
        for delay in 0..12 {
            for written in [2, 5] {
                let mut line = Line::proven(speaks);
                line.leave_in_doubt(5, written);
                line.script.facts.restart();
                line.script.facts.lead("t", 0, 1);
                line.script.answer(move |facts, asked| match asked.api {
                    ApiKey::Metadata => facts.usual(asked).after(Duration::from_millis(delay * 10)),
                    ApiKey::Produce => facts.usual(asked).after(Duration::from_millis(15)),
                    _ => facts.usual(asked),
                });
                line.put(2);
                line.run(900);
                assert_eq!(line.outcomes().len(), 8, "{speaks:?}, told after {delay}0 ms, {written} written");
                line.all_is_well();
            }
        }
    }
}

#[test]
fn what_is_proven_has_no_offset_and_what_proves_it_has() {
    let mut line = Line::proven(Speaks::Ids);
    line.leave_in_doubt(5, 4);
    line.script.facts.restart();
    line.run(800);
    line.all_is_well();
    assert_eq!(line.offsets(), [Some(0), None, None, None, Some(4), Some(5)]);
}

#[test]
fn a_broker_that_knows_five_tells_where_they_are() {
    for speaks in ALL {
        let mut line = Line::proven(speaks);
        line.leave_in_doubt(5, 5);
        line.run(1500);
        line.all_is_well();
        assert_eq!(line.offsets(), (0..6).map(Some).collect::<Vec<_>>());
    }
}

#[test]
fn a_restart_in_the_middle_of_it_begins_it_anew() {
    for speaks in ALL {
        for lost in 0..7 {
            for written in [2, 3, 5] {
                let mut line = Line::proven(speaks);
                line.leave_in_doubt(5, written);
                line.script.facts.restart();
                let place = Cell::new(0);
                line.script.answer(move |facts, asked| {
                    if asked.api != ApiKey::Produce {
                        return facts.usual(asked);
                    }
                    place.set(place.get() + 1);
                    if place.get() != lost + 1 {
                        return facts.usual(asked);
                    }
                    let reply = done_and_lost(facts, asked);
                    facts.restart();
                    reply
                });
                line.put(2);
                line.run(2000);
                assert_eq!(
                    line.outcomes().len(),
                    8,
                    "{speaks:?}, {lost} answers before the next restart, {written} written"
                );
                line.all_is_well();
            }
        }
    }
}

#[test]
fn a_batch_that_was_refused_among_written_ones_is_written_in_its_place() {
    refused_among_written_ones(19);
}

#[test]
fn a_batch_that_fails_among_written_ones_leaves_the_others_as_they_are() {
    refused_among_written_ones(87);
}

fn refused_among_written_ones(code: i16) {
    for speaks in ALL {
        for refused in 2..=5 {
            let mut line = Line::proven(speaks);
            // What is before it is written, and answered as if replicas had been too slow.
            line.script.answer(move |facts, asked| match number(asked) {
                Some(number) if number < refused => done_but(facts, asked, 7),
                Some(number) if number == refused => facts.refuse(asked, code),
                _ => facts.usual(asked),
            });
            line.put(5);
            line.run(20);
            line.script.facts.restart();
            line.script.break_connections(1);
            line.script.answer(|facts, asked| facts.usual(asked));
            line.run(2000);
            if code == 19 {
                line.all_is_well();
            } else {
                let fails = |number: u32| if number == refused { Err(false) } else { Ok(()) };
                assert_eq!(line.outcomes(), (0..6).map(fails).collect::<Vec<_>>());
                assert_eq!(line.log(), (0..6).filter(|number| *number != refused).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn another_leader_is_asked_from_the_lowest_on() {
    for knows_five in [false, true] {
        let mut line = Line::new(2, Speaks::Ids, &[("metadata.max.age.ms", "300")]).begun();
        line.leave_in_doubt(5, 5);
        line.script.facts.restart();
        let lowest = Rc::new(Cell::new(0));
        let seen = Rc::clone(&lowest);
        // The lowest is answered 45, and then another node leads.
        line.script.answer(move |facts, asked| {
            if number(asked) == Some(1) && asked.node == 1 {
                seen.set(seen.get() + 1);
                let reply = facts.usual(asked);
                facts.lead("t", 0, 2);
                if knows_five {
                    facts.remember();
                }
                return reply;
            }
            facts.usual(asked)
        });
        line.run(3000);
        assert_eq!(lowest.get(), 1);
        line.all_is_well();
        let at_the_new = line.script.asks().find(|asked| asked.node == 2 && asked.api == ApiKey::Produce);
        assert_eq!(number(at_the_new.expect("it is asked")), Some(1));
    }
}

#[test]
fn without_a_proof_nothing_is_believed() {
    for speaks in ALL {
        let mut line = Line::proven(speaks);
        line.put(1);
        line.run(100);
        // Acknowledged records are gone: what is in doubt behind them is answered 45, and was never written.
        for log in line.script.facts.logs.values_mut() {
            log.pop();
        }
        line.leave_in_doubt(3, 0);
        line.run(15_000);
        assert_eq!(line.outcomes(), [Ok(()), Ok(())]);
        line.run(10_000);
        assert_eq!(line.outcomes(), [Ok(()), Ok(()), Err(true), Err(true), Err(true)]);
        assert_eq!(line.log(), [0]);
        let asked = line.script.count(1, ApiKey::Produce, milena::Instant::ZERO);
        assert!(asked < 150, "{asked} requests");
        line.put(1);
        line.run(1000);
        assert_eq!(line.log(), [0, 5]);
    }
}

#[test]
fn a_broker_that_knows_nothing_any_more_gets_the_lowest_first() {
    for speaks in ALL {
        for refused in 0..5 {
            let mut line = Line::proven(speaks);
            line.leave_in_doubt(5, 5);
            line.script.facts.logs.clear(); // retention took everything, and with it what was known of producers
            let left = Cell::new(refused);
            line.script.answer(move |facts, asked| {
                if asked.api == ApiKey::Produce && left.get() > 0 {
                    left.set(left.get() - 1);
                    return facts.refuse(asked, 19);
                }
                facts.usual(asked)
            });
            line.run(3000);
            assert_eq!(line.log(), [1, 2, 3, 4, 5]);
            assert_eq!(line.outcomes(), [Ok(()); 6]);
        }
    }
}

#[test]
fn what_a_connection_has_said_counts_on_that_connection_only() {
    for speaks in ALL {
        let mut line = Line::proven(speaks);
        line.leave_in_doubt(5, 0);
        let first = Cell::new(true);
        // The lowest is refused as out of order, by a broker that wants a pause then.
        line.script.answer(move |facts, asked| {
            if asked.api == ApiKey::Produce && first.replace(false) {
                let Reply::Produce(response) = facts.refuse(asked, 45) else { panic!("a refusal") };
                return Reply::Produce(response.with_throttle_time_ms(1000));
            }
            facts.usual(asked)
        });
        line.run(500);
        // In the pause the broker loses everything.
        line.script.break_connections(1);
        line.script.facts.logs.clear();
        line.run(3000);
        assert_eq!(line.log(), [1, 2, 3, 4, 5], "{speaks:?}");
        assert_eq!(line.outcomes(), [Ok(()); 6]);
    }
}

#[test]
fn by_name_a_topic_that_is_another_one_proves_nothing() {
    let mut line = Line::proven(Speaks::NoIds);
    // Between the first and the second the topic is created anew; it takes what comes.
    line.leave_in_doubt_with(3, |place, facts| {
        if place == 1 {
            facts.topic("t", 2, 2);
        }
        place > 0
    });
    line.run(25_000);
    assert_eq!(line.log(), [2, 3]);
    assert_eq!(line.outcomes()[..2], [Ok(()), Err(true)]);
    line.nothing_is_doubled();
}

#[test]
fn a_proof_does_not_reach_beyond_what_was_certainly_refused() {
    let mut line = Line::proven(Speaks::Ids);
    // The first is not appended, although the answer leaves that open; the second is refused; then the broker loses all that it
    // knows, and takes the third.
    let (first, second, third) = (Cell::new(true), Cell::new(true), Cell::new(true));
    line.script.answer(move |facts, asked| match number(asked) {
        Some(1) if first.replace(false) => facts.refuse(asked, 7),
        Some(2) if second.replace(false) => facts.refuse(asked, 19),
        Some(3) if third.replace(false) => {
            facts.logs.clear();
            facts.usual(asked)
        }
        _ => facts.usual(asked),
    });
    line.put(3);
    line.run(25_000);
    assert_eq!(line.outcomes()[..2], [Ok(()), Err(true)]);
    assert!(!line.log().contains(&1));
    line.nothing_is_doubled();
}

#[test]
fn a_proof_does_not_reach_what_left_again_behind_what_proves_it() {
    let mut line = Line::proven(Speaks::Ids);
    // The first is refused. Then the broker loses all that it knows, and takes the second; that is answered when the first has left again.
    let (first, second) = (Cell::new(true), Cell::new(true));
    line.script.answer(move |facts, asked| match number(asked) {
        Some(1) if first.replace(false) => facts.refuse(asked, 19),
        Some(2) if second.replace(false) => {
            facts.logs.clear();
            facts.usual(asked).after(Duration::from_millis(300))
        }
        _ => facts.usual(asked),
    });
    line.put(2);
    line.run(25_000);
    assert_eq!(line.outcomes(), [Ok(()); 3]);
    // Out of order, as it must be where a broker forgets; but what is delivered is there.
    assert_eq!(line.log(), [2, 1]);
}

#[test]
fn other_producers_in_the_log_change_nothing() {
    for speaks in ALL {
        let mut line = Line::proven(speaks);
        let since = line.script.facts.logs.len();
        line.leave_in_doubt_with(5, |_, facts| {
            let log = facts.logs.values_mut().next().expect("a log");
            let mut of_another = log[0];
            (of_another.offset, of_another.stamp.producer_id, of_another.number) = (log.len() as i64, 77, None);
            log.push(of_another);
            true
        });
        assert_eq!(line.script.facts.logs.len(), since);
        line.script.facts.restart();
        line.run(800);
        line.all_is_well();
    }
}

#[test]
fn a_split_batch_in_doubt_does_not_stop_it() {
    // Two records a batch.
    let options = [("batch.size", "160"), ("batch.size.max", "160"), ("linger.ms", "5")];
    let mut line = Line::new(1, Speaks::Ids, &options).begun();
    let refused = Cell::new(false);
    line.script.answer(move |facts, asked| match asked.api {
        ApiKey::Produce if !refused.replace(true) => done_and_lost(facts, asked),
        ApiKey::Produce => facts.refuse(asked, 10),
        _ => facts.usual(asked),
    });
    line.put(2);
    line.run(70);
    line.script.answer(|facts, asked| facts.usual(asked));
    line.script.facts.restart();
    line.run(25_000);
    line.nothing_is_doubled();
    line.put(2);
    line.script.run(Duration::from_secs(2));
    assert_eq!(line.outcomes().last(), Some(&Ok(())));
}
