//! `milena simulate`: the producer in a virtual world, on many seeds or on one.

use std::collections::BTreeMap;
use std::io::{Write, stderr, stdout};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use milena::simulation::{Plan, Totals, Violation, run, run_watched, shrink};
use serde_json::json;

use crate::stop::{Stop, now};
use crate::{Failure, progress, say};

/// Runs the producer in a virtual world, with faults, and checks the laws.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many worlds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The seed of the first
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// The world of this seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Tell everything that happens in that world: time in milliseconds, who, what. With --json, on the standard error
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Of what may go wrong, these things alone, with commas between; "none" for nothing. A wrong name shows all
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    faults: Option<Vec<String>>,
    /// Threads; as many as there are cores, if it is not said
    #[arg(long, conflicts_with = "seed")]
    threads: Option<NonZero<usize>>,
    /// Worlds that are tried at most to find a smaller one in which the same law is broken
    #[arg(long, default_value_t = 2000, value_name = "WORLDS")]
    shrink: usize,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Where no bar is shown and there are so many worlds, each tenth of them is told.
const MANY: u64 = 50;

pub(crate) fn run_worlds(arguments: &Arguments) -> Result<(), Failure> {
    let plan = chosen(arguments.faults.as_deref())?;
    if let Some(seed) = arguments.seed {
        return one(arguments, &plan(seed));
    }
    let stop = Stop::listen()?;
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    // A panic is told as what it is here: a broken law.
    std::panic::set_hook(Box::new(|_| ()));
    let worlds = arguments.seeds;
    let bar = progress::bar(Some(arguments.seeds), "{bar:40} {pos}/{len} worlds, {per_sec}, {eta} left");
    let (next, done, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (sum, broken) = (Mutex::new(Totals::default()), Mutex::new(None::<Violation>));
    let began = now();
    let work = || {
        while !over.load(Ordering::Relaxed) && !stop.is_asked() {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(seed) = arguments.from.checked_add(place).filter(|_| place < arguments.seeds) else { return };
            match run(&plan(seed)) {
                Ok(report) => sum.lock().unwrap_or_else(PoisonError::into_inner).add(&report),
                Err(violation) => {
                    over.store(true, Ordering::Relaxed);
                    broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(violation);
                }
            }
            bar.inc(1);
            let all = done.fetch_add(1, Ordering::Relaxed) + 1;
            if bar.is_hidden() && worlds >= MANY && all % (worlds / 10) == 0 {
                say(format_args!("{all} of {worlds} worlds"));
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    bar.finish_and_clear();
    let seconds = now().saturating_duration_since(began).as_secs_f64();
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    conclude(arguments, &sum, seconds, threads, broken)?;
    if stop.is_asked() { Err(Failure::run(format_args!("stopped after {} worlds", sum.worlds))) } else { Ok(()) }
}

/// The world of a seed, with the faults that were asked for.
fn chosen(faults: Option<&[String]>) -> Result<impl Fn(u64) -> Plan + Sync, Failure> {
    let all: Vec<&str> = Plan::all_fault_names().collect();
    let wanted = faults.map(|faults| if faults == ["none"] { Vec::new() } else { faults.to_vec() });
    if let Some(wrong) = wanted.iter().flatten().find(|name| !all.contains(&name.as_str())) {
        return Err(Failure::Usage(format!("there is no fault {wrong:?}; there are {}", all.join(", "))));
    }
    Ok(move |seed| match &wanted {
        None => Plan::draw(seed),
        Some(wanted) => Plan::draw(seed).only(&wanted.iter().map(String::as_str).collect::<Vec<_>>()),
    })
}

/// One world, told as it goes on if that is wanted.
fn one(arguments: &Arguments, plan: &Plan) -> Result<(), Failure> {
    if !arguments.json {
        writeln!(stdout(), "{plan}").map_err(|error| Failure::output(&error))?;
    }
    let began = now();
    let outcome = if arguments.trace {
        let json = arguments.json;
        crate::warnings::show_all(json);
        // Whoever has read enough of it has had enough.
        run_watched(plan, move |moment| {
            let told = if json { writeln!(stderr(), "{moment}") } else { writeln!(stdout(), "{moment}") };
            if told.is_err() {
                std::process::exit(1)
            }
        })
    } else {
        std::panic::set_hook(Box::new(|_| ()));
        run(plan)
    };
    let seconds = now().saturating_duration_since(began).as_secs_f64();
    let mut sum = Totals::default();
    outcome.iter().for_each(|report| sum.add(report));
    conclude(arguments, &sum, seconds, 1, outcome.err())
}

/// Tells what came of it, and ends with what is broken.
fn conclude(
    arguments: &Arguments,
    sum: &Totals,
    seconds: f64,
    threads: usize,
    broken: Option<Violation>,
) -> Result<(), Failure> {
    let told = if arguments.json { tell_json(sum, seconds, broken.as_ref()) } else { tell(sum, seconds, threads) };
    told.map_err(|error| Failure::output(&error))?;
    broken.map_or(Ok(()), |violation| Err(show(arguments, violation)))
}

/// A violation, as small as it gets.
fn show(arguments: &Arguments, violation: Violation) -> Failure {
    say(format_args!("{violation}"));
    let again = again(violation.seed(), arguments.faults.as_deref());
    say(format_args!("this world again, with all that happens: {again}"));
    say("looking for a smaller one ..");
    let smaller = shrink(violation, arguments.shrink);
    Failure::run(format_args!("as small as it gets: {smaller:?}"))
}

/// The command that runs a world again.
fn again(seed: u64, faults: Option<&[String]>) -> String {
    let faults = faults.map(|faults| format!(" --faults {}", faults.join(","))).unwrap_or_default();
    format!("milena simulate --seed {seed}{faults} --trace")
}

fn tell(sum: &Totals, seconds: f64, threads: usize) -> std::io::Result<()> {
    let mut out = stdout().lock();
    let (days, rate) = (sum.time.as_secs_f64() / 86_400.0, sum.worlds as f64 / seconds);
    writeln!(
        out,
        "{} worlds in {seconds:.1} s ({rate:.0} a second, {threads} threads), {days:.1} days in them",
        sum.worlds
    )?;
    write!(out, "{sum}")
}

fn tell_json(sum: &Totals, seconds: f64, broken: Option<&Violation>) -> std::io::Result<()> {
    let violation = broken
        .map(|violation| json!({"seed": violation.seed(), "law": violation.law(), "words": violation.to_string()}));
    let result = json!({
        "worlds": sum.worlds,
        "seconds": seconds,
        "virtual_seconds": sum.time.as_secs_f64(),
        "records": {"accepted": sum.accepted, "delivered": sum.delivered, "failed": sum.failed},
        "reached": sum.reached,
        "error_codes": sum.errors.iter().map(|(code, times)| (code.to_string(), *times)).collect::<BTreeMap<_, _>>(),
        "violation": violation,
    });
    writeln!(stdout(), "{result}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_with_few_faults_is_run_again_with_those() {
        let faults = ["reset".to_string(), "crash".to_string()];
        assert_eq!(again(7, None), "milena simulate --seed 7 --trace");
        assert_eq!(again(7, Some(&faults)), "milena simulate --seed 7 --faults reset,crash --trace");
    }
}
