//! Mutation testing with one build: `tests/mutants/run`, which see. cargo-mutants says which mutants there are; here they are put
//! into one copy of the source, each behind a switch, and each is run against the tests that look at its switch.

mod list;
mod runs;
mod tree;
mod weave;

use list::Mutant;
use runs::{Bench, Budget, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

/// Test binaries; `lib` is the library's own.
const TESTS: &[&str] = &[
    "lib",
    "core",
    "driven",
    "simulation",
    "hostile",
    "compression",
    "allocations",
    "small",
    "adapters",
    "order",
    "waits",
    "endings",
    "runtimes",
    "mock",
    "links",
    "security",
    "credentials",
    "together",
    "corners",
    "tracing",
    "health",
];

/// One of so many mutants is in the sample.
const DRAWN: u64 = 44;

struct Options {
    sample: bool,
    missed: bool,
    named: bool,
    jobs: usize,
    seeds: String,
    shard: (usize, usize),
    only: Option<String>,
    tests: Vec<String>,
    budget: Budget,
    folders: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        sample: false,
        missed: false,
        named: false,
        jobs: 1,
        seeds: "14000..14040".into(),
        shard: (0, 1),
        only: None,
        budget: Budget { after: Duration::ZERO, most: Duration::from_secs(60) },
        tests: TESTS.iter().map(|test| (*test).to_owned()).collect(),
        folders: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match &*argument {
            "--sample" => options.sample = true,
            "--missed" => options.missed = true,
            "--named" => options.named = true,
            "--jobs" => options.jobs = value()?.parse().map_err(|_| "--jobs: not a number")?,
            "--budget" => options.budget.most = seconds(value()?)?,
            "--after" => options.budget.after = seconds(value()?)?,
            "--seeds" => options.seeds = value()?,
            "--only" => options.only = Some(value()?),
            "--tests" => options.tests = value()?.split(',').map(str::to_owned).collect(),
            "--shard" => {
                let text = value()?;
                let shard = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
                options.shard = shard.filter(|(k, n)| k < n).ok_or("--shard: K/N, K from 0")?;
            }
            _ if argument.starts_with('-') => return Err(format!("no such option: {argument}")),
            _ => options.folders.push(argument),
        }
    }
    Ok(options)
}

fn seconds(text: String) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("not a number of seconds: {text}"))
}

fn main() -> ExitCode {
    match options().and_then(|options| go(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether no mutant survived but those that docs/mutants.md explains.
fn go(options: &Options) -> Result<bool, String> {
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let folder = root.join("target/mutants");
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let mutants = list::read(&read(&folder.join("list.json"))?)?;
    let explained = explained(&read(&root.join("docs/mutants.md"))?);
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| &*mutant.name).collect();
    let gone: Vec<&String> = explained.iter().filter(|name| !names.contains(&***name)).collect();
    for name in &gone {
        println!("docs/mutants.md explains what is no mutant: {name}");
    }

    let results = folder.join("results.tsv");
    let before = if options.missed { earlier(&read(&results)?) } else { HashMap::new() };
    let is_asked_for = |index: &usize| {
        let mutant = &mutants[*index];
        (options.folders.is_empty() || options.folders.iter().any(|folder| folder == mutant.folder()))
            && (!options.sample || mutant.is_drawn(DRAWN))
            && index % options.shard.1 == options.shard.0
    };
    // These alone are put into the source: a run for some of them finds it built.
    let is_named = |index: &usize| explained.contains(&mutants[*index].name);
    let woven: BTreeSet<usize> = (0..mutants.len()).filter(|index| is_asked_for(index) || is_named(index)).collect();
    let mut chosen: Vec<usize> = woven
        .iter()
        .copied()
        .filter(|index| if options.named { is_named(index) } else { is_asked_for(index) })
        .filter(|index| {
            let mutant = &mutants[*index];
            options.only.as_ref().is_none_or(|part| mutant.name.contains(part))
                && (!options.missed || before.get(&mutant.name).is_some_and(|verdict| verdict == "missed"))
        })
        .collect();
    if chosen.is_empty() {
        return Err("no such mutants".into());
    }
    // In the order in which the folders were named.
    chosen.sort_by_key(|index| options.folders.iter().position(|folder| folder == mutants[*index].folder()));

    let tree = folder.join("tree");
    let built = tree::build(&root, &tree, &mutants, &woven, &options.tests)?;
    let bench = Bench { tree: &tree, binaries: &built.binaries, seeds: &options.seeds, jobs: options.jobs };
    let (tests, bad) = runs::reach(&bench);
    for name in &bad {
        println!("fails without a mutant, and finds none: {name}");
    }
    eprintln!(
        "{} tests, {} s one after the other",
        tests.len(),
        tests.iter().map(|test| test.time.as_secs_f64()).sum::<f64>().round()
    );

    let file =
        Mutex::new(fs::OpenOptions::new().create(true).append(true).open(&results).map_err(|error| error.to_string())?);
    let note = |mutant: &Mutant, verdict: &str, why: &str| {
        let line = format!("{}\t{verdict}\t{}\n", mutant.name, why.replace(['\n', '\t'], " "));
        file.lock().unwrap().write_all(line.as_bytes()).expect("a file of results");
    };
    let mut table: BTreeMap<&str, Row> = BTreeMap::new();
    for mutant in &mutants {
        table.entry(mutant.folder()).or_default().all += 1;
    }
    let mut switched = Vec::new();
    for &index in &chosen {
        let mutant = &mutants[index];
        let row = table.entry(mutant.folder()).or_default();
        row.chosen += 1;
        if let Some(why) = built.unviable.get(&index) {
            row.unviable += 1;
            note(mutant, "unviable", why);
        } else if let Some(why) = built.apart.get(&index) {
            row.apart += 1;
            note(mutant, "apart", why);
        } else {
            switched.push(index + 1);
        }
    }
    let verdicts = runs::verdicts(&bench, &tests, &switched, options.budget, |number, verdict| {
        let mutant = &mutants[number - 1];
        match verdict {
            Verdict::Caught(by) => note(mutant, "caught", by),
            Verdict::Timeout(by) => note(mutant, "timeout", by),
            Verdict::Missed(tests) => {
                println!("missed ({tests} tests reach it): {}", mutant.name);
                note(mutant, "missed", &format!("{tests} tests"));
            }
        }
    });
    let mut unexplained = 0;
    for (number, verdict) in switched.iter().zip(&verdicts) {
        let mutant = &mutants[number - 1];
        let row = table.entry(mutant.folder()).or_default();
        match verdict {
            Verdict::Caught(_) => row.caught += 1,
            Verdict::Timeout(_) => row.timeout += 1,
            Verdict::Missed(_) => {
                row.missed += 1;
                if explained.contains(&mutant.name) {
                    row.explained += 1;
                } else {
                    unexplained += 1;
                }
            }
        }
    }
    show(&table);
    println!("{unexplained} survivors that docs/mutants.md does not explain");
    Ok(unexplained == 0 && gone.is_empty() && bad.is_empty())
}

#[derive(Default)]
struct Row {
    all: usize,
    chosen: usize,
    unviable: usize,
    apart: usize,
    caught: usize,
    timeout: usize,
    missed: usize,
    explained: usize,
}

fn show(table: &BTreeMap<&str, Row>) {
    println!(
        "| folder | mutants | run | do not compile | have no switch | caught | timeouts | missed | of these explained | caught or late, of those that ran |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (folder, row) in table {
        let ran = row.caught + row.timeout + row.missed;
        let percent = if ran == 0 {
            "-".to_owned()
        } else {
            format!("{:.1} %", 100.0 * (row.caught + row.timeout) as f64 / ran as f64)
        };
        println!(
            "| {folder} | {} | {} | {} | {} | {} | {} | {} | {} | {percent} |",
            row.all, row.chosen, row.unviable, row.apart, row.caught, row.timeout, row.missed, row.explained
        );
    }
}

/// The mutants that the document explains: what stands in backticks at the beginning of an item.
fn explained(document: &str) -> BTreeSet<String> {
    let items = document.lines().filter_map(|line| line.strip_prefix("- `"));
    items.filter_map(|item| item.split('`').next()).map(str::to_owned).collect()
}

/// The last verdict of each mutant.
fn earlier(results: &str) -> HashMap<String, String> {
    let fields = results.lines().map(|line| line.split('\t'));
    fields.filter_map(|mut fields| Some((fields.next()?.to_owned(), fields.next()?.to_owned()))).collect()
}
