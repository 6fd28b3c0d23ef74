//! Runs the contenders of a workload, one after the other and all of them again, each in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::data;
use crate::measure::Cost;
use crate::peers::Peers;
use crate::results::{Row, Spread};
use crate::server::{Arrived, Served};
use crate::task::Task;
use crate::workloads::{Case, Kind, Workload};

/// What a run may take at most.
const LIMIT: Duration = Duration::from_secs(120);

/// The shorter and the longer run whose instructions are counted.
const COUNTED: [u64; 2] = [50_000, 150_000];

pub struct Driver {
    pub peers: Peers,
    pub runs: usize,
    /// In place of each case's own number.
    pub records: Option<u64>,
    /// A broker in place of the cluster in memory.
    pub bootstrap: Option<String>,
    pub instructions: bool,
    /// For files that are made.
    pub folder: PathBuf,
}

/// A workload's rows, and what failed.
pub struct Measured {
    pub rows: Vec<Row>,
    pub failed: Vec<String>,
}

impl Driver {
    /// `None` if there is no such server.
    pub fn measure(&self, workload: &Workload) -> Option<Measured> {
        if self.bootstrap.is_some() && (workload.tls || !workload.delay.is_zero()) {
            eprintln!("{}: only with the cluster in memory, which delays and encrypts as it is told", workload.name);
            return None;
        }
        let cases: Vec<Case> = workload.cases.iter().filter_map(|case| self.adapted(case, workload)).collect();
        let mut figures: Vec<BTreeMap<String, Vec<f64>>> = vec![BTreeMap::new(); cases.len()];
        let mut failed: Vec<Option<String>> = vec![None; cases.len()];
        for run in 1..=self.runs {
            for (case, (figures, failed)) in cases.iter().zip(figures.iter_mut().zip(&mut failed)) {
                if failed.is_some() {
                    continue;
                }
                eprintln!("{}: run {run} of {}: {} {}", workload.name, self.runs, case.who, case.variant);
                match self.run(workload, case) {
                    Ok((cost, arrived)) => note(figures, case, workload, &cost, arrived),
                    Err(why) => {
                        eprintln!("{why}");
                        *failed = Some(why);
                    }
                }
            }
        }
        for (case, figures) in cases.iter().zip(&mut figures) {
            if self.instructions && case.counted {
                eprintln!("{}: instructions of {}", workload.name, case.who);
                match self.count(workload, case) {
                    Ok(count) => figures.entry("instructions".into()).or_default().push(count),
                    Err(why) => eprintln!("{why}"),
                }
            }
        }
        let rows = cases.iter().zip(figures).zip(&failed).filter(|(_, failed)| failed.is_none()).map(
            |((case, figures), _)| {
                let (workload, who, variant) = (workload.name.into(), case.who.into(), case.variant.clone());
                let figures = figures.into_iter().map(|(name, values)| (name, Spread::of(values))).collect();
                Row { workload, who, variant, records: case.task.records, runs: self.runs, figures }
            },
        );
        let rows = rows.collect();
        let failed =
            cases.iter().zip(failed).filter_map(|(case, why)| Some(format!("{} {}: {}", case.who, case.variant, why?)));
        Some(Measured { rows, failed: failed.collect() })
    }

    /// The case as it is to be run, if its contender can be.
    fn adapted(&self, case: &Case, workload: &Workload) -> Option<Case> {
        self.peers.start(case.who).ok()?;
        let mut case = case.clone();
        if let Some(records) = self.records {
            let each = case.task.senders as u64;
            (case.task.records, case.task.warmup) = (records.div_ceil(each) * each, records.div_ceil(10 * each) * each);
        }
        if workload.json {
            let path = self.folder.join("events.jsonl");
            data::write(&path).expect("a file for events");
            case.task.data = path.display().to_string();
        }
        Some(case)
    }

    fn run(&self, workload: &Workload, case: &Case) -> Result<(Cost, Option<Arrived>), String> {
        let (mut task, served) = self.serve(workload, case);
        task.topic = if served.is_some() { task.topic } else { fresh_topic() };
        let said = said_by(&self.peers.start(case.who)?, &task)?;
        let line =
            said.lines().find(|line| line.starts_with('{')).ok_or_else(|| format!("{} said {said}", case.who))?;
        let cost: Cost = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let arrived = served.map(Served::stop);
        // Of a record that is sent again the copy is counted too, so there may be more.
        let sent = task.records + task.warmup;
        if let Some(arrived) = arrived.filter(|arrived| arrived.records < sent) {
            return Err(format!("{}: {} records arrived of {sent}", case.who, arrived.records));
        }
        Ok((cost, arrived))
    }

    /// A server of its own for each run, unless there is a broker.
    fn serve(&self, workload: &Workload, case: &Case) -> (Task, Option<Served>) {
        let mut task = case.task.clone();
        let tls = workload.tls.then(|| self.folder.join("tls"));
        let served = match &self.bootstrap {
            Some(bootstrap) => {
                task.bootstrap = bootstrap.clone();
                None
            }
            None => {
                let served = Served::start(workload.delay, tls.as_deref());
                task.bootstrap = served.bootstrap.clone();
                Some(served)
            }
        };
        task.ca = tls.map_or(String::new(), |folder| folder.join("ca.pem").display().to_string());
        (task, served)
    }

    /// Instructions a record, all threads together.
    fn count(&self, workload: &Workload, case: &Case) -> Result<f64, String> {
        let mut program: Vec<String> =
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--fair-sched=yes"]
                .map(String::from)
                .into();
        program.extend(self.peers.start(case.who)?);
        let counts = COUNTED.map(|records| {
            let (mut task, _served) = self.serve(workload, case);
            (task.records, task.warmup) = (records, 1000);
            let said = said_by(&program, &task)?;
            let line = said.lines().find(|line| line.contains("Collected :")).ok_or("callgrind collected nothing")?;
            line.rsplit(' ').next().and_then(|number| number.trim().parse::<f64>().ok()).ok_or_else(|| line.to_string())
        });
        let [short, long] = counts;
        Ok((long? - short?) / (COUNTED[1] - COUNTED[0]) as f64)
    }
}

/// A topic that no run before has filled.
fn fresh_topic() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("versus-{}", now.as_micros())
}

/// Runs a contender to its end. What it prints to both outputs, or why it failed.
fn said_by(program: &[String], task: &Task) -> Result<String, String> {
    let (first, rest) = program.split_first().ok_or("no program")?;
    let mut command = Command::new(first);
    command.args(rest).args(task.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("{first}: {error}"))?;
    let (id, (ended, end)) = (child.id(), channel());
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output();
        let _ = ended.send(());
        output
    });
    if let Err(RecvTimeoutError::Timeout) = end.recv_timeout(LIMIT) {
        // SAFETY: no memory is involved, and the child is not waited for yet, so the number is still its.
        unsafe { libc::kill(id.cast_signed(), libc::SIGKILL) };
    }
    let output = waiting.join().expect("no panic").map_err(|error| error.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("{}: {}", output.status, said.trim())) }
}

/// The figures of a run, by their names.
fn note(
    figures: &mut BTreeMap<String, Vec<f64>>,
    case: &Case,
    workload: &Workload,
    cost: &Cost,
    arrived: Option<Arrived>,
) {
    let mut put = |name: &str, value: f64| figures.entry(name.into()).or_default().push(value);
    let records = cost.acknowledged as f64;
    put("cpu", cost.cpu * 1e6 / records);
    put("rate", records / cost.wall);
    put("mean", cost.wall * 1e6 / records);
    put("rss", cost.rss_kib as f64 / 1024.0);
    if let Some(latency) = cost.latency {
        for (name, value) in ["p50", "p99", "p99.9", "most"].into_iter().zip(latency) {
            put(name, value);
        }
    }
    if let Some(arrived) = arrived {
        put("records-a-batch", arrived.records as f64 / arrived.batches as f64);
        put("records-a-request", arrived.records as f64 / arrived.produce_requests as f64);
    }
    if workload.kind == Kind::Compression {
        let size = value_size(Path::new(&case.task.data));
        put("mb", records * size / cost.wall / 1e6);
        put("cpu-a-gb", cost.cpu * 1e9 / (records * size));
        if let Some(arrived) = arrived {
            put("ratio", arrived.records as f64 * size / arrived.batch_bytes as f64);
        }
    }
}

/// Bytes of a value, on average.
fn value_size(data: &Path) -> f64 {
    let text = std::fs::read(data).unwrap_or_default();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    (text.len() - lines) as f64 / lines as f64
}
