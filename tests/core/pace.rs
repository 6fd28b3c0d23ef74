//! How soon a request follows another one where records come as a stream: not at once, so that it has more in it.

use std::time::Duration;

use milena::{Event, Input, Output, Record};

use crate::script::{Facts, Script};

/// A record comes that often, of 100 bytes: 16 KiB in 0.7 ms.
const EVERY: Duration = Duration::from_micros(5);

/// A broker that is close and quick, and topic `t` with two partitions.
fn script(options: &[(&str, &str)]) -> Script {
    let mut script = Script::new(1, options, Facts::usual);
    script.facts.topic("t", 1, 2);
    (script.latency, script.way) = (Duration::from_micros(20), Duration::from_micros(40));
    script.send(&Record::new("t").value("first").partition(0));
    script.run(Duration::from_millis(20));
    script
}

/// Requests that such a stream of so many records leaves in.
fn requests(records: u64, options: &[(&str, &str)]) -> u64 {
    let mut script = script(options);
    let (value, before) = ([b'v'; 100], script.producer.stats().produce_requests);
    for _ in 0..records {
        script.send(&Record::new("t").value(&value).partition(0));
        script.run(EVERY);
    }
    script.producer.stats().produce_requests - before
}

#[test]
fn a_stream_leaves_in_few_requests() {
    const RECORDS: u64 = 40_000; // 0.2 s
    println!("linger.ms, requests a second:");
    for (linger, most) in [("1", 200_000 / 250), ("5", 200_000 / 1250), ("100", 200_000 / 2000)] {
        let seen = requests(RECORDS, &[("linger.ms", linger), ("batch.size", "1000")]);
        println!("{linger:>9} {}", seen * 5);
        // Some requests more, until it is seen to be a stream, and at its ends.
        assert!(seen <= most + 10 && seen >= most / 2, "linger.ms={linger}: {seen} requests, not {most}");
    }
    let (eager, full) = (
        requests(RECORDS, &[("linger.ms", "0")]),
        requests(RECORDS, &[("linger.ms", "5"), ("batch.size.max", "16384")]),
    );
    println!("        0 {}\nwith full batches {}", eager * 5, full * 5);
    assert!(eager > 1000, "{eager}: who does not linger waits for nothing");
    let batches = RECORDS * 108 / 16_384;
    assert!(full > batches * 9 / 10, "{full}: what can't grow waits for nothing");
}

#[test]
fn nothing_waits_for_longer_than_it_lingers() {
    let mut script = script(&[("linger.ms", "5")]);
    let (value, slow) = ([b'v'; 100], [b'v'; 1000]);
    let mut longest = Duration::ZERO;
    for n in 0..40_000u32 {
        script.send(&Record::new("t").value(&value).partition(0));
        // Due by its size shortly before its time is over.
        if n % 61 == 0 {
            script.send(&Record::new("t").value(&slow).partition(1));
        }
        script.run(EVERY);
        longest = longest.max(script.producer.status(script.now).oldest_record.unwrap_or_default());
    }
    assert!(longest > Duration::from_millis(2), "{longest:?}: something lingers");
    assert!(longest < Duration::from_micros(5200), "{longest:?}");
}

/// How many records a second are delivered if there are always so many without an outcome.
fn in_a_circle(open: u64, options: &[(&str, &str)]) -> u64 {
    let mut script = script(options);
    let value = [b'v'; 100];
    let (mut sent, mut delivered) = (0, 0);
    for _ in 0..10_000 {
        script.events.clear();
        while sent - delivered < open {
            script.send(&Record::new("t").value(&value).partition(0));
            sent += 1;
        }
        script.run(Duration::from_micros(20));
        delivered += script.delivered() as u64;
    }
    delivered
}

#[test]
fn who_waits_for_answers_is_not_held_up() {
    for open in [160, 1000] {
        let (paced, eager) = (in_a_circle(open, &[("linger.ms", "5")]), in_a_circle(open, &[("linger.ms", "0")]));
        println!("{open} open: {paced} in 0.2 s, {eager} without linger");
        assert!(paced * 10 >= eager * 8, "{open} open: {paced} in 0.2 s, {eager} without linger");
    }
}

#[test]
fn what_somebody_waits_for_leaves_at_once() {
    let mut script = script(&[("linger.ms", "100")]);
    let value = [b'v'; 100];
    for _ in 0..20_000 {
        script.send(&Record::new("t").value(&value).partition(0));
        script.run(EVERY);
    }
    // Whenever it is, a flush takes as long as a request.
    for round in 0..40 {
        for _ in 0..150 + 7 * round {
            script.send(&Record::new("t").value(&value).partition(0));
            script.run(EVERY);
        }
        let id = script.tell(|producer, now| producer.flush(now));
        let mut waited = Duration::ZERO;
        while !script.events.iter().any(|event| matches!(event, Event::Flushed { id: it, .. } if *it == id)) {
            script.run(Duration::from_micros(10));
            waited += Duration::from_micros(10);
            assert!(waited < Duration::from_millis(1), "round {round}");
        }
    }
}

/// What the producer says next that is no event.
fn beyond_events(script: &mut Script) -> Output {
    loop {
        match script.producer.poll_output() {
            Output::Event(_) => {}
            other => return other,
        }
    }
}

/// While a socket takes a request piece by piece, what comes for the next one is not forgotten: nothing else may happen for long. With
/// `acks=0` no answer comes, either.
#[test]
fn what_becomes_due_while_a_request_is_written_leaves_after_its_time() {
    for (acks, idempotence) in [("0", "false"), ("all", "true")] {
        let options = [("linger.ms", "5"), ("batch.size", "1000"), ("acks", acks), ("enable.idempotence", idempotence)];
        let mut script = script(&options);
        let value = [b'v'; 1000];
        let now = script.now;
        script.producer.send(now, &Record::new("t").value(&value).partition(0)).expect("it is taken");
        let Output::Transmit(conn) = beyond_events(&mut script) else { panic!("it is due by its size") };
        let length = script.producer.transmit(now, conn).segments().map(|segment| segment.len()).sum::<usize>();
        script.producer.written(now, conn, 100);
        script.producer.send(now, &Record::new("t").value(&value).partition(1)).expect("it is taken");
        // The socket takes the rest, and the host looks for more at once. The server says nothing for long.
        script.producer.written(now, conn, length - 100);
        assert_eq!(script.producer.transmit(now, conn).segments().count(), 0, "it waits for more");
        let Output::Wait(Some(until)) = beyond_events(&mut script) else { panic!("there is something to do") };
        assert!(until <= now + Duration::from_millis(2), "acks={acks}: {until:?}");
        script.producer.handle_input(until, Input::Timeout);
        let next = core::iter::from_fn(|| match script.producer.poll_output() {
            Output::Wait(_) => None,
            other => Some(other),
        });
        assert!(next.into_iter().any(|output| matches!(output, Output::Transmit(it) if it == conn)), "acks={acks}");
    }
}
