//! How many requests are unanswered at a time: as many as a broker needs to be busy, which serves them one by one.

use std::time::Duration;

use milena::Record;

use crate::script::{Ask, Facts, Script};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What is seen of a broker that takes so long for each request, at such a distance, while a record comes each millisecond.
struct Seen {
    /// Produce requests without an answer, on average over the last half.
    in_flight: f64,
    /// How long records wait for their outcome then, on average, in milliseconds.
    latency: f64,
}

fn load(service: u64, way: u64, options: &[(&str, &str)]) -> Seen {
    const SPAN: u64 = 30_000;
    let mut script = Script::new(1, options, Facts::usual);
    script.facts.topic("t", 1, 1);
    (script.latency, script.way) = (millis(service), millis(way));
    let value = [b'v'; 20];
    let (mut in_flight, mut open) = (0, 0);
    for n in 0..SPAN {
        script.send(&Record::new("t").value(&value).partition(0));
        script.run(millis(1));
        if n > SPAN / 2 {
            in_flight += script.producer.in_flight();
            open += script.producer.status(script.now).open_records;
        }
    }
    let samples = (SPAN / 2) as f64;
    // By Little's law: a record comes each millisecond.
    Seen { in_flight: in_flight as f64 / samples, latency: open as f64 / samples }
}

#[test]
fn a_slow_broker_is_given_one_request_after_the_other_and_a_distant_one_all_that_may_be() {
    println!("{:>8} {:>8} {:>10} {:>8} {:>13}", "service", "way", "in flight", "waits", "waits with 5");
    for (service, way, most, gain) in [
        (100, 0, 1.3, 3.0),
        (20, 0, 1.3, 3.0),
        (20, 5, 2.3, 1.8),
        (20, 50, 4.5, 0.9),
        (2, 20, 5.1, 0.9),
        (2, 100, 5.1, 0.9),
    ] {
        let (seen, fixed) = (load(service, way, &[]), load(service, way, &[("max.in.flight.adaptive", "false")]));
        println!("{service:>8} {way:>8} {:>10.2} {:>8.1} {:>13.1}", seen.in_flight, seen.latency, fixed.latency);
        assert!(seen.in_flight <= most, "{service} ms, {way} ms: {} in flight", seen.in_flight);
        assert!(fixed.latency >= seen.latency * gain, "{service} ms, {way} ms: {} and {}", seen.latency, fixed.latency);
    }
}

#[test]
fn never_more_than_allowed() {
    for allowed in ["1", "2", "5"] {
        let most: usize = allowed.parse().expect("a number");
        let mut script =
            Script::new(1, &[("max.in.flight.requests.per.connection", allowed), ("linger.ms", "0")], Facts::usual);
        script.facts.topic("t", 1, 1);
        script.way = millis(50);
        let mut seen = 0;
        for _ in 0..2000 {
            script.send(&Record::new("t").value("v").partition(0));
            script.run(millis(2));
            seen = seen.max(script.producer.in_flight());
        }
        assert_eq!(seen, most);
    }
}

/// How many records are delivered in 10 s by a broker that was slow for 20 s and is fast then, if there is always something to send.
fn after_a_slow_time(adaptive: &str) -> usize {
    let options = [("max.in.flight.adaptive", adaptive), ("buffer.memory", "1000000")];
    let slow_until = milena::Instant::ZERO + millis(20_000);
    let mut script = Script::new(1, &options, move |facts, asked| match (&asked.ask, facts.usual(asked)) {
        (Ask::Produce(_), reply) => reply.after(millis(if asked.at < slow_until { 400 } else { 2 })),
        (_, reply) => reply,
    });
    script.facts.topic("t", 1, 1);
    (script.latency, script.way) = (Duration::from_micros(10), millis(20));
    let value = [b'v'; 1000];
    let record = Record::new("t").value(&value).partition(0);
    script.send(&record);
    let mut at_first = 0;
    for n in 0..30_000 {
        while script.try_send(&record).is_ok() {}
        script.run(millis(1));
        script.events.retain(|event| !matches!(event, milena::Event::Writable { .. }));
        if n == 20_000 {
            at_first = script.delivered();
        }
    }
    script.delivered() - at_first
}

#[test]
fn a_broker_that_was_slow_is_kept_busy_soon_after() {
    let (seen, fixed) = (after_a_slow_time("true"), after_a_slow_time("false"));
    println!("{seen} of {fixed}");
    assert!(seen * 100 >= fixed * 85, "{seen} of {fixed}");
}
