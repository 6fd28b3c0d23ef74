//! The laws on many seeds of the virtual world (`milena::simulation`), and the traces of a model, played step by step.
//!
//! `MILENA_SEED=n` replays one seed and prints everything that happened; `MILENA_SEEDS=a..b` runs a range, `MILENA_FINGERPRINTS=1`
//! prints a number over everything that happened on each seed of it (tests/determinism).

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../desk/mod.rs"]
mod desk;
mod hand;
mod traces;

use milena::simulation::{CODES, Plan, REACHED, Totals, run, run_watched, shrink};

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

#[test]
fn laws_hold_on_every_seed() {
    if let Ok(seed) = std::env::var("MILENA_SEED") {
        let seed = seed.parse().expect("MILENA_SEED is a number");
        log::set_logger(&Printer).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
        run_watched(&Plan::draw(seed), |moment| println!("{moment}"))
            .unwrap_or_else(|violation| panic!("{violation:?}"));
        return;
    }
    let mut totals = Totals::default();
    let (mut violations, mut first) = (Vec::new(), None);
    let count = seeds().end - seeds().start;
    for seed in seeds() {
        match run(&Plan::draw(seed)) {
            Err(violation) => {
                let replay = format!("MILENA_SEED={seed} cargo test --release --all-features --test simulation laws");
                violations.push(format!("{violation:?}\nreplay: {replay}"));
                first.get_or_insert(violation);
                if violations.len() == enough() {
                    break;
                }
            }
            Ok(report) => {
                if std::env::var_os("MILENA_FINGERPRINTS").is_some() {
                    println!("seed {seed}: fingerprint {:016x}", report.fingerprint);
                }
                totals.add(&report);
            }
        }
    }
    // Who watches a run for failures wants the first of them alone, and soon.
    if let (Some(violation), Err(_)) = (first, std::env::var("MILENA_VIOLATIONS")) {
        println!("the first in a world as small as it gets: {:?}", shrink(violation, 1000));
    }
    println!("{totals}");
    assert!(violations.is_empty(), "{} of {count} seeds:\n{}", violations.len(), violations.join("\n\n"));
    if count >= 6000 {
        for what in REACHED {
            assert!(totals.reached.get(what).is_some_and(|seeds| *seeds > 0), "never on any seed: {what}");
        }
        for code in CODES {
            assert!(totals.errors.contains_key(code), "no seed answered code {code}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..40 {
        let fingerprint = || run(&Plan::draw(seed)).map(|report| report.fingerprint).expect("the laws hold");
        assert_eq!(fingerprint(), fingerprint(), "seed {seed}");
    }
}
