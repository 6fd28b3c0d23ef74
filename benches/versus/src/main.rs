//! milena beside other producers, at the same work: `cargo run --release --manifest-path benches/versus/Cargo.toml -- --help`.

#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod chart;
mod contenders;
mod data;
mod driver;
mod goals;
mod measure;
mod peers;
mod report;
mod results;
mod server;
mod task;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use driver::Driver;
use measure::Others;
use peers::Peers;
use results::Results;
use task::Task;
use workloads::Workload;

const HELP: &str = "\
Measures milena beside other Kafka producers, each in a process of its own, against a cluster in memory that only counts.

  --only NAME,..     these workloads alone; a part of a name stands for all that have it
  --contenders ..    these contenders alone: --contenders milena,franz-go
  --runs N           runs of each contender; 5
  --records N        records of a run, in place of each contender's own number
  --bootstrap ADDR   a real broker in place of the cluster in memory; it has to create topics on first use
  --instructions     instructions too, by valgrind's callgrind
  --write            renews these workloads in docs/performance.md, its charts and performance/results.json; instructions too
  --render           writes these files anew from results.json, and measures nothing
  --check            says which of them are not what results.json makes of them, and changes nothing
  --list             the workloads' names
";

/// What other programs may take of a processor; with more, figures are provisional.
const BUSY: f64 = 0.1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--contend") => contenders::run(&arguments[1], &Task::parse(&arguments[2..])),
        Some("--serve") => server::run(&arguments[1..]),
        _ => match Asked::parse(arguments.into_iter()) {
            Ok(asked) => return drive(&asked),
            Err(words) => {
                eprint!("{words}");
                return ExitCode::from(2);
            }
        },
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Asked {
    only: Vec<String>,
    contenders: Vec<String>,
    runs: Option<usize>,
    records: Option<u64>,
    bootstrap: Option<String>,
    instructions: bool,
    write: bool,
    render: bool,
    check: bool,
    list: bool,
}

impl Asked {
    /// Options, or what to say instead.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n"));
            let number = |text: String| match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{argument} needs a number above 0, and not {text}\n")),
            };
            match &*argument {
                "--only" => asked.only.extend(value()?.split(',').map(str::to_string)),
                "--contenders" => asked.contenders.extend(value()?.split(',').map(str::to_string)),
                "--runs" => asked.runs = Some(number(value()?)? as usize),
                "--records" => asked.records = Some(number(value()?)?),
                "--bootstrap" => asked.bootstrap = Some(value()?),
                "--instructions" => asked.instructions = true,
                "--write" => asked.write = true,
                "--render" => asked.render = true,
                "--check" => asked.check = true,
                "--list" => asked.list = true,
                "--help" => return Err(HELP.into()),
                _ => return Err(format!("{argument} is unknown\n\n{HELP}")),
            }
        }
        if asked.write && (asked.bootstrap.is_some() || asked.records.is_some() || !asked.contenders.is_empty()) {
            return Err(
                "--write is for all contenders, the cluster in memory and the usual numbers of records\n".into()
            );
        }
        Ok(asked)
    }

    fn wants(&self, name: &str, names: &[&str]) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|part| part == name || (name.contains(&**part) && !names.contains(&&**part)))
    }
}

/// Makes the documents of what is stored, or looks whether they are that.
fn render(docs: &Path, workloads: &[Workload], check: bool) -> ExitCode {
    let text = std::fs::read_to_string(docs.join("performance/results.json")).expect("results.json is there");
    let results: Results = serde_json::from_str(&text).expect("results.json can be read");
    if !check {
        report::write(docs, workloads, &results).expect("docs can be written");
        return ExitCode::SUCCESS;
    }
    let files = report::files(workloads, &results);
    let old = files.iter().filter(|(path, text)| std::fs::read_to_string(docs.join(path)).ok().as_ref() != Some(text));
    let old: Vec<_> = old.map(|(path, _)| path.display().to_string()).collect();
    if old.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not what results.json makes of them, so run --render: {}", old.join(", "));
    ExitCode::FAILURE
}

fn drive(asked: &Asked) -> ExitCode {
    let mut all = workloads::all();
    for workload in &mut all {
        workload.cases.retain(|case| asked.contenders.is_empty() || asked.contenders.iter().any(|who| who == case.who));
    }
    let names: Vec<_> = all.iter().map(|workload| workload.name).collect();
    let wanted: Vec<_> =
        all.iter().filter(|workload| asked.wants(workload.name, &names) && !workload.cases.is_empty()).collect();
    if asked.list || wanted.is_empty() {
        println!("{}", all.iter().map(|workload| workload.name).collect::<Vec<_>>().join("\n"));
        return if asked.list { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let docs = peers::home().join("../../docs");
    let stored = docs.join("performance/results.json");
    let machine = peers::machine();
    if asked.render || asked.check {
        return render(&docs, &all, asked.check);
    }
    let folder: PathBuf = peers::home().join("../../target/versus-files");
    std::fs::create_dir_all(&folder).expect("a folder in target");
    let mut who: Vec<&str> = wanted.iter().flat_map(|workload| &workload.cases).map(|case| case.who).collect();
    who.sort_unstable();
    who.dedup();
    let peers = Peers::prepare(&who, &folder);
    let mut results = if asked.write { Results::load(&stored, &machine) } else { Results::default() };
    results.machine = machine;
    results.versions.extend(peers.versions.clone());
    for who in &who {
        results.skipped.remove(*who);
    }
    results.skipped.extend(peers.missing().map(|(who, why)| (who.into(), why.into())));
    let driver = Driver {
        peers,
        runs: asked.runs.unwrap_or(5),
        records: asked.records,
        bootstrap: asked.bootstrap.clone(),
        instructions: asked.instructions || asked.write,
        folder,
    };
    let mut failed = false;
    for workload in wanted {
        let others = Others::begin();
        let Some(measured) = driver.measure(workload) else { continue };
        results.replace(workload.name, measured.rows);
        results.skipped.retain(|what, _| !what.starts_with(&format!("{}: ", workload.name)));
        for why in measured.failed {
            let (what, why) = why.split_once(": ").unwrap_or((&why, ""));
            failed = true;
            results.skipped.insert(format!("{}: {}", workload.name, what.trim()), why.into());
        }
        results.busy.remove(workload.name);
        let others = others.end();
        // A real broker is one of the others, and no stranger.
        if others > BUSY && asked.bootstrap.is_none() {
            eprintln!("{}: other programs took {others:.2} processors, so its figures are provisional", workload.name);
            results.busy.insert(workload.name.into(), others);
        }
        println!("\n{}\n\n{}", workload.title, report::table(workload, &results));
        if asked.write {
            // At once: what comes later may fail.
            report::write(&docs, &all, &results).expect("docs can be written");
        }
    }
    println!("\n{}", report::goals_table(&results));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
