//! The world for code of one's own.

use core::time::Duration;

use milena::simulation::{Plan, Simulation, Violation, shrink_with};
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

/// Sends numbers, and takes for stored what was in doubt: a bug.
fn doubt_is_taken_for_success(plan: Plan) -> Result<(), Violation> {
    let mut world = Simulation::new(plan);
    world.create_topic("mine", 1);
    let (mut open, mut next, mut done) = (Completions::new(), 0_u32, Vec::new());
    while next < 60 || !open.is_empty() {
        while next < 60 {
            let Ok(sent) = world.send(&Record::new("mine").value(&next.to_be_bytes())) else { break };
            open.insert(sent.id, next);
            next += 1;
        }
        for event in world.run(Duration::from_millis(5))? {
            if let Event::Delivered(delivery) = event {
                let outcomes = open.take(&delivery);
                done.extend(
                    outcomes
                        .filter(|(_, it)| it.as_ref().map_or_else(|e| e.possibly_written, |_| true))
                        .map(|(n, _)| n),
                );
            }
        }
    }
    world.calm();
    world.run(Duration::from_secs(30))?;
    let log = world.log("mine", 0);
    let is_stored = |n: &u32| log.iter().any(|stored| stored.value.as_deref() == Some(&n.to_be_bytes()));
    match done.iter().find(|n| !is_stored(n)) {
        Some(n) => Err(world.violation(format!("MINE: number {n} is not stored"))),
        None => world.finish().map(drop),
    }
}

#[test]
fn a_law_of_ones_own_is_told_as_those_of_the_world_and_shrunk() {
    let faults = ["reset", "half_open", "hang", "hang_up", "blackhole", "delay", "crash"];
    let plan = |seed| Plan::draw(seed).set("acks", "all").only(&faults);
    let found = (0..2000).find_map(|seed| doubt_is_taken_for_success(plan(seed)).err());
    let found = found.expect("a bug that shows on some seed");
    let (seed, world) = (found.seed(), found.plan().to_string());
    assert_eq!(found.law(), "MINE");
    assert!(!found.last_moments().is_empty());
    let mut tried = 0;
    let smaller = shrink_with(found, 12, |plan| {
        tried += 1;
        doubt_is_taken_for_success(plan)
    });
    assert_eq!((smaller.law(), smaller.seed(), tried), ("MINE".to_string(), seed, 12));
    assert_ne!(smaller.plan().to_string(), world);
}

#[test]
fn every_moment_is_told_to_who_watches() {
    let told = std::rc::Rc::new(core::cell::RefCell::new(Vec::new()));
    let mut world = Simulation::new(Plan::draw(1).only(&[]));
    let moments = std::rc::Rc::clone(&told);
    world.watch(move |moment| moments.borrow_mut().push(moment.to_string()));
    send_all(&mut world, 3);
    world.finish().expect("the laws hold");
    let told = told.borrow();
    for what in ["application sends number 2 to mine", "answers Produce", "are delivered"] {
        assert!(told.iter().any(|moment| moment.contains(what)), "{what}: {told:?}");
    }
}
