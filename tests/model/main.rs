//! The real machine against the model: on many seeds of the virtual world, each step that it makes is one that the rules allow, those
//! rules that `check/` looks through in small worlds.
//!
//! `MILENA_SEED=n` prints the steps of one seed; `MILENA_SEEDS=a..b` runs a range.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod rules;
mod trace;

use std::cell::RefCell;
use std::rc::Rc;

use milena::simulation::{Plan, Step, Violation, run, run_observed};

use trace::Trace;

/// The seeds of an ordinary test run.
const CI_SEEDS: core::ops::Range<u64> = 0..2000;

/// What has to have been seen in so many seeds, so that it is clear that there was something to check.
const SEEN: &[&str] = &[
    "a batch left for the first time",
    "a batch left again",
    "a batch took a newer epoch",
    "a batch took another number",
    "a batch was split",
    "an attempt was not answered",
    "a leader was another one",
    "a topic was another one",
    "what was behind the lowest was asked for",
    "it was clear whether a batch was given up",
    "records failed, possibly written",
    "records failed, not written",
];

/// Seeds on which who looks on was wrong once: a node took another's address, and a batch was on its way to who had it before.
const FOUND: [u64; 1] = [15542];

fn seeds() -> core::ops::Range<u64> {
    let Ok(range) = std::env::var("MILENA_SEEDS") else { return CI_SEEDS };
    let (from, to) = range.split_once("..").expect("MILENA_SEEDS=from..to");
    from.parse().expect("a number before ..")..to.parse().expect("a number after ..")
}

/// The world of a seed in which there are sequences, and batches can be read.
fn plan(seed: u64) -> Plan {
    Plan::draw(seed).set("acks", "all").set("enable.idempotence", "true").set("compression.type", "none")
}

/// Runs a seed, and looks at each step. The trace is told up to where it ends.
fn check(seed: u64, is_loud: bool) -> (Rc<RefCell<Trace>>, Result<(), String>) {
    let trace = Rc::new(RefCell::new(Trace::default()));
    let of_run = Rc::clone(&trace);
    let observe = move |step: &Step| {
        if is_loud {
            println!("{step:?}");
        }
        of_run.borrow_mut().step(step);
    };
    let told = run_observed(&plan(seed), observe).map_err(|violation| format!("{violation:?}"));
    let broken = trace.borrow_mut().end();
    let settled = || if trace.borrow().is_settled() { Ok(()) } else { Err("something has no outcome".into()) };
    let result = broken.and(told.map(|_| ())).and_then(|()| settled());
    (trace, result)
}

#[test]
fn each_step_of_the_machine_is_one_of_the_model() {
    if let Ok(seed) = std::env::var("MILENA_SEED") {
        let (_, result) = check(seed.parse().expect("MILENA_SEED is a number"), true);
        return result.unwrap_or_else(|broken| panic!("{broken}"));
    }
    let enough = std::env::var("MILENA_VIOLATIONS").map_or(10, |count| count.parse().expect("a number"));
    let (mut broken, mut seen) = (Vec::new(), std::collections::BTreeMap::new());
    for seed in seeds().chain(FOUND) {
        let (trace, result) = check(seed, false);
        for (what, times) in &trace.borrow().seen {
            *seen.entry(*what).or_insert(0) += times;
        }
        if let Err(words) = result {
            broken.push(format!("seed {seed}: {words}"));
            if broken.len() == enough {
                break;
            }
        }
    }
    println!("{seen:#?}");
    assert!(broken.is_empty(), "{} seeds:\n{}", broken.len(), broken.join("\n\n"));
    for what in SEEN {
        assert!(seen.contains_key(what) || seeds() != CI_SEEDS, "never on any seed: {what}");
    }
}

#[test]
fn who_looks_on_changes_nothing() {
    for seed in 0..40 {
        let fingerprint =
            |result: Result<milena::simulation::Report, Violation>| result.expect("the laws hold").fingerprint;
        assert_eq!(fingerprint(run(&plan(seed))), fingerprint(run_observed(&plan(seed), |_| ())), "seed {seed}");
    }
}
