//! The producer in a virtual world: a network, a cluster, a driver as lazy as the contract allows, a workload, and faults,
//! all from one seed. The laws of docs/design.md are checked at every step and at the end.
//!
//! `MILENA_SEED=n` replays one seed and prints everything that happened; `MILENA_SEEDS=a..b` runs a range, `MILENA_FINGERPRINTS=1`
//! prints a number over everything that happened on each seed of it (tests/determinism).

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_ref_mut,
    clippy::while_let_loop,
    reason = "tests look at what they are about"
)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../desk/mod.rs"]
mod desk;
mod laws;
mod plan;
mod servers;
mod traces;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use plan::Plan;
use world::World;

/// The seeds of an ordinary test run.
const CI_SEEDS: core::ops::Range<u64> = 0..1500;

fn seeds() -> core::ops::Range<u64> {
    match std::env::var("MILENA_SEEDS") {
        Err(_) => CI_SEEDS,
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("MILENA_SEEDS=from..to");
            from.parse().expect("a number before ..")..to.parse().expect("a number after ..")
        }
    }
}

/// After so many seeds that failed no more are run: `MILENA_VIOLATIONS`.
fn enough() -> usize {
    std::env::var("MILENA_VIOLATIONS").map_or(60, |count| count.parse().expect("MILENA_VIOLATIONS is a number"))
}

/// What one seed led to: error codes that were answered, and a fingerprint of everything that happened.
struct Outcome {
    errors: BTreeMap<i16, u64>,
    sometimes: BTreeMap<&'static str, u64>,
    fingerprint: u64,
}

/// Prints what the producer logs, when one seed is replayed.
struct Printer;

impl log::Log for Printer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("            . {}", record.args());
    }

    fn flush(&self) {}
}

fn run(seed: u64, verbose: bool) -> Result<Outcome, String> {
    let plan = Plan::draw(seed);
    let mut world = World::new(plan.clone(), verbose);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(Ok(())) => {
            let (errors, sometimes, fingerprint) = world.outcome();
            return Ok(Outcome { errors, sometimes, fingerprint });
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or(panic.downcast_ref::<&str>().map(|words| words.to_string()));
            format!("panic: {}", words.unwrap_or_default())
        }
    };
    let last = world.last_events().join("\n  ");
    Err(format!(
        "seed {seed}: {violation}\nreplay: MILENA_SEED={seed} cargo test --release --all-features --test simulation laws\n{plan:?}\nlast events:\n  {last}"
    ))
}

#[test]
fn laws_hold_on_every_seed() {
    if let Ok(seed) = std::env::var("MILENA_SEED") {
        let seed = seed.parse().expect("MILENA_SEED is a number");
        log::set_logger(&Printer).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
        if let Err(violation) = run(seed, true) {
            panic!("{violation}");
        }
        return;
    }
    let mut errors: BTreeMap<i16, u64> = BTreeMap::new();
    let mut sometimes: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    let count = seeds().end - seeds().start;
    for seed in seeds() {
        match run(seed, false) {
            Err(violation) => {
                violations.push(violation);
                if violations.len() == enough() {
                    break;
                }
            }
            Ok(outcome) => {
                if std::env::var_os("MILENA_FINGERPRINTS").is_some() {
                    println!("seed {seed}: fingerprint {:016x}", outcome.fingerprint);
                }
                for (code, times) in outcome.errors {
                    *errors.entry(code).or_default() += times;
                }
                for (what, times) in outcome.sometimes {
                    *sometimes.entry(what).or_default() += u64::from(times > 0);
                }
            }
        }
    }
    println!("error codes answered over {count} seeds:");
    for (code, times) in &errors {
        println!("  {:>4} {:<40} {times}", code, milena::ErrorCode::new(*code).name());
    }
    println!("seeds on which something happened at least once:");
    for (what, seeds) in &sometimes {
        println!("  {what:<60} {seeds}");
    }
    assert!(violations.is_empty(), "{} of {count} seeds:\n{}", violations.len(), violations.join("\n\n"));
    if count >= 6000 {
        for what in world::SOMETIMES {
            assert!(sometimes.get(what).is_some_and(|seeds| *seeds > 0), "never on any seed: {what}");
        }
        for code in servers::CODES {
            assert!(errors.contains_key(code), "no seed answered code {code}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..40 {
        let (first, second) = (run(seed, false), run(seed, false));
        let fingerprint = |outcome: Result<Outcome, String>| outcome.map(|outcome| outcome.fingerprint);
        assert_eq!(fingerprint(first), fingerprint(second), "seed {seed}");
    }
}
