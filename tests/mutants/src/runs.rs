//! Runs tests: each one by itself first, to see which mutants it can notice; then, for each mutant, those that can.

#![allow(clippy::disallowed_methods, reason = "this is no machine that is told the time")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is run, and how.
pub struct Bench<'a> {
    pub tree: &'a Path,
    pub binaries: &'a [Binary],
    /// Of the simulation.
    pub seeds: &'a str,
    /// So many processes at a time.
    pub jobs: usize,
}

/// A test, and what it takes.
pub struct Test {
    pub binary: usize,
    pub name: String,
    pub time: Duration,
    /// The numbers of mutants whose switch it looks at, from 1.
    pub reached: HashSet<usize>,
}

/// What became of a mutant.
#[derive(Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed, or one of several that ran together.
    Caught(String),
    /// No test failed; so many had reached it.
    Missed(usize),
    /// Tests took so much longer that they were ended.
    Timeout(String),
}

/// For how long tests are run for one mutant, measured without it: the quickest come first.
#[derive(Clone, Copy)]
pub struct Budget {
    /// An earlier run had those that fit into this.
    pub after: Duration,
    pub most: Duration,
}

/// A test binary, by what it is called.
pub type Binary = (String, PathBuf);

/// How a process of tests ended.
enum End {
    Passed,
    Failed,
    Late,
}

/// Runs tests of one binary, one after the other.
fn run(tree: &Path, binary: &Binary, names: &[&str], limit: Duration, environment: (&str, &str), seeds: &str) -> End {
    // No mutant shall take all memory of the machine.
    let mut child = Command::new("bash")
        .args(["-c", "ulimit -v 6000000; exec \"$@\"", "tests"])
        .arg(&binary.1)
        .args(["--exact", "--test-threads", "1", "--quiet"])
        .args(names)
        .current_dir(tree)
        .env("CARGO_MANIFEST_DIR", tree)
        .env("RUST_BACKTRACE", "0")
        .env("MILENA_SEEDS", seeds)
        .env(environment.0, environment.1)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash");
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait().expect("a child") {
            Some(status) if status.success() => return End::Passed,
            Some(_) => return End::Failed,
            None if began.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return End::Late;
            }
            None => std::thread::sleep(pause),
        }
        pause = (pause * 5 / 4).min(Duration::from_millis(50));
    }
}

/// Lets so many threads take one item after the other.
fn each<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs each test by itself, without a mutant. Returns those that pass, and the names of the others.
pub fn reach(bench: &Bench<'_>) -> (Vec<Test>, Vec<String>) {
    let Bench { tree, binaries, seeds, .. } = *bench;
    let folder = tree.with_file_name("reached");
    let stamp: Vec<_> =
        binaries.iter().map(|(_, path)| (path, fs::metadata(path).and_then(|data| data.modified()).ok())).collect();
    let stamp = format!("{stamp:?} {seeds}");
    if fs::read_to_string(folder.join("stamp")).is_ok_and(|before| before == stamp) {
        return recall(&folder);
    }
    let mut names = Vec::new();
    for (index, (_, path)) in binaries.iter().enumerate() {
        let output =
            Command::new(path).args(["--list", "--format", "terse"]).current_dir(tree).output().expect("a test binary");
        let ignored = Command::new(path).args(["--list", "--format", "terse", "--ignored"]).current_dir(tree).output();
        let ignored = String::from_utf8_lossy(&ignored.expect("a test binary").stdout).into_owned();
        let ignored: HashSet<&str> = ignored.lines().collect();
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !ignored.contains(line)) {
            if let Some(name) = line.strip_suffix(": test") {
                names.push((index, name.to_owned()));
            }
        }
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let shown = AtomicUsize::new(0);
    let tests = each(&names, bench.jobs, |(binary, name)| {
        let number = shown.fetch_add(1, Relaxed);
        let file = folder.join(number.to_string());
        let began = Instant::now();
        let environment = ("MUTANTS_REACHED", file.to_str().expect("a path of text"));
        let end = run(tree, &binaries[*binary], &[name], Duration::from_secs(180), environment, seeds);
        let time = began.elapsed();
        let reached = numbers(&fs::read_to_string(&file).unwrap_or_default());
        (number, (matches!(end, End::Passed), Test { binary: *binary, name: name.clone(), time, reached }))
    });
    let mut bad = Vec::new();
    let mut good = Vec::new();
    let mut lines = String::new();
    for (number, (passed, test)) in tests {
        if passed {
            lines += &format!("{number}\t{}\t{}\t{}\n", test.binary, test.time.as_micros(), test.name);
            good.push(test);
        } else {
            bad.push(format!("{}: {}", binaries[test.binary].0, test.name));
        }
    }
    fs::write(folder.join("tests"), lines).expect("a file");
    fs::write(folder.join("bad"), bad.join("\n")).expect("a file");
    fs::write(folder.join("stamp"), stamp).expect("a file");
    good.sort_by_key(|test| test.time);
    (good, bad)
}

/// What was seen with the same binaries before.
fn recall(folder: &Path) -> (Vec<Test>, Vec<String>) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut good: Vec<Test> = read("tests")
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(4, '\t');
            let (number, binary) = (fields.next()?, fields.next()?.parse().ok()?);
            let time = Duration::from_micros(fields.next()?.parse().ok()?);
            Some(Test { binary, time, name: fields.next()?.to_owned(), reached: numbers(&read(number)) })
        })
        .collect();
    good.sort_by_key(|test| test.time);
    (good, read("bad").lines().map(str::to_owned).collect())
}

fn numbers(text: &str) -> HashSet<usize> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Runs the tests that reach it under each of these mutants (numbers from 1), the quickest first, until one fails.
pub fn verdicts(
    bench: &Bench<'_>,
    tests: &[Test],
    mutants: &[usize],
    budget: Budget,
    told: impl Fn(usize, &Verdict) + Sync,
) -> Vec<Verdict> {
    each(mutants, bench.jobs, |mutant| {
        let verdict = verdict(bench, tests, *mutant, budget);
        told(*mutant, &verdict);
        verdict
    })
}

fn verdict(bench: &Bench<'_>, tests: &[Test], mutant: usize, budget: Budget) -> Verdict {
    let Bench { tree, binaries, seeds, .. } = *bench;
    let mut spent = Duration::ZERO;
    let able = tests.iter().filter(|test| test.reached.contains(&mutant));
    let able = able.map(|test| {
        spent += test.time;
        (spent, test)
    });
    let able = able.skip_while(|(spent, _)| *spent <= budget.after).take_while(|(spent, _)| *spent <= budget.most);
    let able: Vec<&Test> = able.map(|(_, test)| test).collect();
    let number = mutant.to_string();
    let mut rest = &able[..];
    let mut share = Duration::from_millis(100);
    while !rest.is_empty() {
        // As many as fit into a share, and twice as much the next time.
        let mut time = Duration::ZERO;
        let count = rest
            .iter()
            .take_while(|test| {
                time += test.time;
                time <= share
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(count);
        for (index, binary) in binaries.iter().enumerate() {
            let here: Vec<&&Test> = now.iter().filter(|test| test.binary == index).collect();
            if here.is_empty() {
                continue;
            }
            let names: Vec<&str> = here.iter().map(|test| &*test.name).collect();
            let limit = here.iter().map(|test| test.time).sum::<Duration>() * 5 + Duration::from_secs(5);
            let go = || run(tree, binary, &names, limit, ("MUTANT", &number), seeds);
            let told = || {
                format!(
                    "{}: {}",
                    binary.0,
                    if names.len() == 1 {
                        names[0].to_owned()
                    } else {
                        format!("{} or {} others", names[0], names.len() - 1)
                    }
                )
            };
            // On a busy machine a test on real sockets may fail by itself: so it has to fail twice.
            match go() {
                End::Passed => {}
                End::Failed if is_steady(&binary.0) || !matches!(go(), End::Passed) => return Verdict::Caught(told()),
                End::Failed => {}
                End::Late => return Verdict::Timeout(told()),
            }
        }
        rest = later;
        share *= 2;
    }
    Verdict::Missed(able.len())
}

/// Whether the tests of a binary depend on nothing but themselves.
fn is_steady(binary: &str) -> bool {
    matches!(binary, "core" | "driven" | "simulation" | "hostile")
}
