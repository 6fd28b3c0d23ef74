//! How soon a request follows another: nothing that is held back is forgotten, waits in vain, or waits where it can't grow.

use std::time::Duration;

use milena::{Event, Record};

use crate::script::{Ask, Asked, Facts, Reply, Script};

const VALUE: [u8; 100] = [b'v'; 100];

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Brokers that are close and quick; topic `t` has its partitions on one after the other.
fn script(nodes: i32, partitions: usize, options: &[(&str, &str)]) -> Script {
    let mut script = Script::new(nodes, options, Facts::usual);
    script.facts.topic("t", 1, partitions);
    for partition in 0..partitions {
        script.facts.lead("t", partition, 1 + partition as i32 % nodes);
    }
    (script.latency, script.way) = (micros(20), micros(40));
    for partition in 0..partitions as i32 {
        script.send(&Record::new("t").value("first").partition(partition));
    }
    script.run(millis(500));
    assert_eq!(script.delivered(), partitions);
    script.events.clear();
    script
}

/// As many records as make a batch of 1,000 bytes due, at once.
fn burst(script: &mut Script, partition: i32) {
    records(script, partition, 9);
}

fn records(script: &mut Script, partition: i32, count: usize) {
    for _ in 0..count {
        script.send(&Record::new("t").value(&VALUE).partition(partition));
    }
}

/// Whatever is open is delivered within that time; nothing else happens meanwhile.
fn settles(script: &mut Script, within: Duration, why: &str) {
    script.run(within);
    let open = script.producer.status(script.now).open_records;
    assert_eq!(open, 0, "{why}: {open} records are still open");
}

/// The broker's answers to Produce ask for pauses.
fn pauses(pause: i32) -> impl FnMut(&mut Facts, &Asked) -> Reply {
    move |facts, asked| match facts.usual(asked) {
        Reply::Produce(response) => Reply::Produce(response.with_throttle_time_ms(pause)),
        reply => reply,
    }
}

#[test]
fn a_pause_that_ends_sooner_does_not_end_the_waiting() {
    let mut script = script(1, 2, &[("linger.ms", "100"), ("batch.size", "1000")]);
    script.answer(pauses(1));
    burst(&mut script, 0);
    script.run(micros(20));
    burst(&mut script, 0);
    settles(&mut script, millis(90), "a pause of 1 ms, held for 2");
}

#[test]
fn the_waiting_does_not_end_a_pause_that_ends_later() {
    let mut script = script(1, 2, &[("linger.ms", "100"), ("batch.size", "1000")]);
    // A batch that has waited for nearly as long as it lingers when it is due.
    script.send(&Record::new("t").value(&VALUE).partition(1));
    script.run(micros(99_000));
    script.answer(pauses(30));
    burst(&mut script, 0);
    script.run(micros(100));
    script.answer(Facts::usual);
    records(&mut script, 1, 8);
    settles(&mut script, millis(35), "a pause of 30 ms");
}

#[test]
fn what_was_let_go_is_not_held_again() {
    let mut script = script(2, 2, &[("linger.ms", "100"), ("batch.size", "1000")]);
    burst(&mut script, 0);
    script.tell(|producer, now| producer.flush(now));
    script.run(millis(1));
    burst(&mut script, 0);
    script.tell(|producer, now| producer.flush(now));
    script.run(micros(300));
    assert!(script.events.iter().any(|event| matches!(event, Event::Flushed { .. })));
    burst(&mut script, 1); // the other broker's request leaves, and the next one to it would wait
    script.run(micros(10));
    burst(&mut script, 0);
    settles(&mut script, millis(90), "a flush, then another broker");
}

#[test]
fn what_found_no_room_in_a_request_does_not_wait() {
    let options = [("linger.ms", "8"), ("batch.size", "1000"), ("max.request.size", "3000")];
    let mut script = script(1, 8, &options);
    for partition in 0..8 {
        script.send(&Record::new("t").value(&VALUE).partition(partition));
    }
    script.run(micros(7900));
    for partition in 0..8 {
        records(&mut script, partition, 8);
    }
    settles(&mut script, millis(1), "due shortly before their time was over, in four requests");
}

#[test]
fn what_cannot_grow_does_not_wait() {
    let mut script = script(1, 2, &[("linger.ms", "100"), ("batch.size", "1000"), ("retry.backoff.ms", "1")]);
    // One is refused, and may be sent again while the next request would wait.
    script.answer({
        let mut refused = false;
        move |facts, asked| match &asked.ask {
            Ask::Produce(_) if !core::mem::replace(&mut refused, true) => facts.refuse(asked, 7),
            _ => facts.usual(asked),
        }
    });
    burst(&mut script, 0);
    script.run(micros(700));
    burst(&mut script, 1);
    settles(
        &mut script,
        micros(1100),
        "refused, and sent again after at most 1.3 ms, while the next request waits for 2",
    );
}

#[test]
fn a_stream_to_another_broker_hides_no_circle() {
    let size = ("batch.size", "1000");
    let delivered = |linger: &str| {
        let mut script = script(2, 2, &[("linger.ms", linger), size]);
        let (mut sent, before) = (0, script.facts.records("t", 0));
        for _ in 0..10_000 {
            while sent + before < script.facts.records("t", 0) + 100 {
                script.send(&Record::new("t").value(&VALUE).partition(0));
                sent += 1;
            }
            script.send(&Record::new("t").value(&VALUE).partition(1));
            script.run(micros(20));
        }
        script.facts.records("t", 0) - before
    };
    let (paced, eager) = (delivered("5"), delivered("0"));
    assert!(paced * 10 >= eager * 8, "{paced} in 0.2 s, {eager} without linger");
}

#[test]
fn what_is_held_back_is_not_stuck() {
    let patience = ("partitioner.availability.timeout.ms", "1");
    let mut script = script(2, 2, &[("linger.ms", "100"), ("batch.size", "1000"), patience]);
    for partition in [0, 1] {
        burst(&mut script, partition);
    }
    script.run(micros(100));
    burst(&mut script, 0); // held back, for 1.9 ms
    script.run(micros(1600));
    let seen: Vec<i32> = (0..400).map(|_| script.send(&Record::new("t").value(&VALUE)).partition).collect();
    assert!(seen.contains(&0) && seen.contains(&1), "both brokers take what they are given");
}

/// Requests and records a second of a stream that is compressed, by so many jobs; of partitions in turn.
#[cfg(feature = "gzip")]
fn compressed(jobs: &str, partitions: usize, linger: &str) -> (u64, u64) {
    let options = [("linger.ms", linger), ("compression.type", "gzip"), ("compression.jobs", jobs)];
    let mut script = script(1, partitions, &options);
    let before = script.producer.stats();
    let mut seed = 1u64;
    for n in 0..4000 {
        // Hardly any smaller when it is compressed.
        let mut value = [0; 1000];
        for byte in &mut value {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 33) as u8;
        }
        script.send(&Record::new("t").value(&value).partition(n % partitions as i32));
        script.run(micros(10));
    }
    let after = script.producer.stats();
    let delivered = after.records_delivered - before.records_delivered;
    (after.produce_requests - before.produce_requests, delivered)
}

#[test]
#[cfg(feature = "gzip")]
fn what_is_compressed_is_a_stream_too_and_jobs_slow_nothing_down() {
    for partitions in [1, 4] {
        for jobs in ["0", "2"] {
            let (paced, eager) = (compressed(jobs, partitions, "5"), compressed(jobs, partitions, "0"));
            println!("{partitions} partitions, {jobs} jobs: {paced:?}, without linger {eager:?} (requests, records)");
            assert!(paced.1 >= 3500, "{partitions} partitions, {jobs} jobs: {} of 4,000 in time", paced.1);
            if jobs == "0" {
                assert!(paced.0 <= 4000 * 10 / 1250 + 10, "{partitions} partitions: {} requests", paced.0);
            }
        }
    }
}

/// Anything may happen; then nothing more is sent, and all that is open is delivered as soon as it may be.
#[test]
fn whatever_happens_nothing_stays() {
    for seed in 1..400u64 {
        let mut state = seed;
        let mut below = move |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let linger = ["1", "5", "8", "20", "100"][below(5) as usize];
        let idempotent = if below(3) > 0 { "true" } else { "false" };
        let (small, full) = (["1000", "1200", "4000", "262144"], ["1500", "3000", "100000"]);
        let options = [
            ("linger.ms", linger),
            ("enable.idempotence", idempotent),
            ("batch.size", ["0", "1", "500", "1000"][below(4) as usize]),
            ("batch.size.max", small[below(4) as usize]),
            ("max.request.size", full[below(3) as usize]),
            ("retry.backoff.ms", "1"),
            ("retry.backoff.max.ms", "2"),
            ("reconnect.backoff.ms", "1"),
            ("reconnect.backoff.max.ms", "2"),
        ];
        let nodes = 1 + below(3) as i32;
        let partitions = 1 + below(6) as usize;
        let mut script = script(nodes, partitions, &options);
        let trouble = below(4);
        let mut chance = seed;
        script.answer(move |facts, asked| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (&asked.ask, trouble, (chance >> 33) % 8) {
                (Ask::Produce(_), 1, 0) => facts.refuse(asked, 7),
                (Ask::Produce(_), 2, pause @ 0..3) => pauses(1 + pause as i32)(facts, asked),
                (Ask::Produce(_), 3, 0) => facts.usual(asked).after(millis(1)),
                _ => facts.usual(asked),
            }
        });
        for _ in 0..below(300) {
            let partition = below(partitions as u64) as i32;
            match below(12) {
                0 => {
                    script.tell(|producer, now| producer.flush(now));
                }
                1 => script.run(micros(below(3000))),
                2 if below(10) == 0 => script.break_connections(1 + below(nodes as u64) as i32),
                3 => script.facts.lead("t", partition as usize, 1 + below(nodes as u64) as i32),
                4..8 => burst(&mut script, partition),
                _ => {
                    script.send(&Record::new("t").value(&VALUE).partition(partition));
                }
            }
            script.run(micros(below(150)));
        }
        let linger: u64 = linger.parse().expect("a number");
        let more = if trouble == 0 { 10 } else { 150 };
        settles(&mut script, millis(linger + more), &format!("seed {seed}, {options:?}, trouble {trouble}"));
    }
}

/// So many tasks that each send a record when their last one was delivered, to partitions in turn: records in 0.1 s of virtual time.
fn in_a_circle(tasks: usize, round_trip: u64, (nodes, partitions): (i32, usize), options: &[(&str, &str)]) -> u64 {
    let mut script = script(nodes, partitions, options);
    (script.latency, script.way) = (micros(20), micros(round_trip));
    let step = micros(20);
    let (mut sent, mut delivered) = (0u64, 0u64);
    for n in 0..10_000 {
        script.events.clear();
        while sent - delivered < tasks as u64 {
            let partition = (sent % partitions as u64) as i32;
            script.send(&Record::new("t").value(&VALUE).partition(partition));
            sent += 1;
        }
        script.run(step);
        if n == 5000 {
            (sent, delivered) = (sent - delivered, 0);
        }
        delivered += script.delivered() as u64;
    }
    delivered
}

#[test]
fn circles_of_all_ways_are_not_held_up() {
    let (mut slow, size) = (Vec::new(), ("batch.size", "1000"));
    println!("round trip, (nodes, partitions), linger: records, without linger");
    for round_trip in [40, 700, 1100, 1500, 1900, 5000] {
        for (place, linger) in [((1, 1), "5"), ((1, 1), "100"), ((3, 3), "5"), ((3, 3), "100")] {
            let paced = in_a_circle(200, round_trip, place, &[("linger.ms", linger), size]);
            let eager = in_a_circle(200, round_trip, place, &[("linger.ms", "0"), size]);
            let line = format!("{round_trip:>5} {place:?} {linger:>4}: {paced:>8} {eager:>8}");
            println!("{line}");
            if paced * 100 < eager * 80 {
                slow.push(line);
            }
        }
    }
    assert!(slow.is_empty(), "slower than without linger: {slow:#?}");
}
