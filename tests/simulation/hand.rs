//! The world for code of one's own.

use core::time::Duration;

use milena::simulation::{Plan, Simulation};
use milena::{Completions, Event, Header, Record};

/// Sends numbered records until each is delivered or was given up by the producer; returns how many were.
fn send_all(world: &mut Simulation, records: u32) -> usize {
    let (mut open, mut next, mut delivered) = (Completions::new(), 0, 0);
    while next < records || !open.is_empty() {
        while next < records {
            let value = next.to_string();
            let headers = [Header::new("kind", b"number")];
            let Ok(sent) = world.send(&Record::new("mine").key(&value).value(&value).headers(&headers)) else { break };
            open.insert(sent.id, next);
            next += 1;
        }
        for event in world.run(Duration::from_millis(5)).expect("the laws hold") {
            if let Event::Delivered(delivery) = event {
                delivered += open.take(&delivery).filter(|(_, outcome)| outcome.is_ok()).count();
            }
        }
    }
    delivered
}

#[test]
fn without_faults_all_is_stored_as_it_was_sent() {
    let mut world = Simulation::new(Plan::draw(1).only(&[]).set("acks", "all"));
    world.create_topic("mine", 3);
    assert_eq!(send_all(&mut world, 200), 200);
    let logs: Vec<_> = (0..3).map(|partition| world.log("mine", partition)).collect();
    assert_eq!(logs.iter().map(Vec::len).sum::<usize>(), 200);
    let mut numbers: Vec<u32> = Vec::new();
    for stored in logs.iter().flatten() {
        let value = stored.value.as_deref().expect("a value");
        assert_eq!(stored.key.as_deref(), Some(value));
        assert_eq!(stored.headers, [("kind".to_string(), Some("number".into()))], "and not the world's own");
        numbers.push(String::from_utf8_lossy(value).parse().expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let report = world.finish().expect("the laws hold");
    assert_eq!((report.accepted, report.delivered, report.failed), (200, 200, 0));
}

#[test]
fn laws_hold_with_any_faults() {
    let mut faults = 0;
    for seed in 0..150 {
        let plan = Plan::draw(seed);
        faults += plan.fault_names().count();
        let mut world = Simulation::new(plan);
        send_all(&mut world, 60);
        let report = world.finish().expect("the laws hold");
        assert_eq!(report.accepted, 60, "seed {seed}");
    }
    assert!(faults > 1000, "{faults}");
}

#[test]
fn the_same_code_on_the_same_seed_is_the_same_run() {
    let fingerprint = |seed| {
        let mut world = Simulation::new(Plan::draw(seed));
        send_all(&mut world, 60);
        world.finish().expect("the laws hold").fingerprint
    };
    assert_eq!(fingerprint(5), fingerprint(5));
    assert_ne!(fingerprint(5), fingerprint(6));
}

#[test]
fn time_stands_still_but_when_it_is_let_go_on() {
    let mut world = Simulation::new(Plan::draw(1).only(&[]));
    let before = world.now();
    let _ = world.send(&Record::new("mine").value("1"));
    assert_eq!(world.now(), before);
    world.run(Duration::from_secs(3600)).expect("the laws hold");
    assert_eq!(world.now(), before + Duration::from_secs(3600));
}

#[test]
fn a_flush_is_told_after_all_that_was_sent_before() {
    let mut world = Simulation::new(Plan::draw(2).only(&[]).set("linger.ms", 3000));
    world.create_topic("mine", 1);
    while world.send(&Record::new("mine").value("1")).is_err() {
        world.run(Duration::from_millis(10)).expect("the laws hold");
    }
    let flush = world.flush();
    let events = world.run(Duration::from_secs(1)).expect("the laws hold");
    let delivered = events.iter().position(|event| matches!(event, Event::Delivered(_)));
    let flushed = events.iter().position(|event| matches!(event, Event::Flushed { id, failed: 0 } if *id == flush));
    assert!(delivered.is_some() && delivered < flushed, "{events:?}");
    world.finish().expect("the laws hold");
}
