//! `milena perf`: how fast.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use milena::cluster::Settings;
use milena::threads::Producer;
use milena::{LockHolds, Record, Setup, Stats};
use serde_json::json;

use crate::settings::{ProducerArguments, Target};
use crate::stop::{GraceArguments, Stop, now};
use crate::{Failure, progress};

/// Sends records as fast as possible, and measures.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The topic
    #[arg(long, default_value = "perf")]
    topic: String,
    /// How many records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of each record's value
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Records a second, at most
    #[arg(long)]
    rate: Option<u64>,
    /// Partitions of the topic, where it is created in the cluster in memory
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Also measure how long the producer's lock is held, and the CPU time of its threads; costs a little speed
    #[arg(long)]
    details: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    grace: GraceArguments,
    #[command(flatten)]
    producer: ProducerArguments,
}

/// What callbacks note.
#[derive(Debug)]
struct Notes {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Microseconds from send to delivery, of every 16th record.
    latencies: Mutex<Histogram<u64>>,
    first_error: Mutex<Option<String>>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cluster = Settings::default().default_partitions(arguments.partitions);
    let Target { config, server } = arguments.producer.resolve(cluster, &[])?;
    let stop = Stop::listen()?;
    let external = server.is_none();
    let setup = Setup::new(config);
    let setup = if arguments.details { setup.measure_lock() } else { setup };
    let producer = Producer::new(setup).map_err(Failure::start)?;
    let histogram = Histogram::new_with_bounds(1, 600_000_000, 3).map_err(Failure::run)?;
    let notes = Arc::new(Notes {
        delivered: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        latencies: Mutex::new(histogram),
        first_error: Mutex::new(None),
    });
    stop.abort_after(arguments.grace.grace, &producer)?;
    // What fails because of a request to stop is not told as if it were an error.
    let unless_stopped = |error| if stop.is_over() { stopped(0, &notes) } else { Failure::run(error) };
    producer.partitions_for(&arguments.topic).map_err(unless_stopped)?;
    let value: Vec<u8> = (0..arguments.size).map(|place| b'a' + (place % 26) as u8).collect();
    let bar = progress::bar(Some(arguments.records), "{bar:40} {pos}/{len} {per_sec} {eta}");
    let (start, cpu) = (now(), cpu_seconds());
    let mut sent = 0;
    while sent < arguments.records && !stop.is_asked() {
        if let Some(rate) = arguments.rate.filter(|rate| *rate > 0) {
            let due = start + Duration::from_secs_f64(sent as f64 / rate as f64);
            std::thread::sleep(due.saturating_duration_since(now()));
        }
        let record = Record::new(&arguments.topic).value(&value);
        let timed = sent % 16 == 0;
        let at = if timed { Some(now()) } else { None };
        let noted = Arc::clone(&notes);
        let taken = producer.send_with(&record, move |result| {
            match result {
                Ok(_) => noted.delivered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let mut first = noted.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert_with(|| error.to_string());
                    noted.failed.fetch_add(1, Ordering::Relaxed)
                }
            };
            if let Some(at) = at {
                let micros = now().saturating_duration_since(at).as_micros();
                let mut latencies = noted.latencies.lock().unwrap_or_else(PoisonError::into_inner);
                latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
        });
        if let Err(error) = taken {
            if stop.is_over() {
                break;
            }
            bar.finish_and_clear();
            return Err(Failure::run(error));
        }
        sent += 1;
        if sent % 4096 == 0 {
            bar.set_position(notes.delivered.load(Ordering::Relaxed));
        }
    }
    producer.flush().map_err(Failure::run)?;
    let seconds = now().saturating_duration_since(start).as_secs_f64();
    let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before).filter(|_| external);
    let stats = producer.stats();
    let details = producer.lock_holds().map(|holds| Details { holds, threads: thread_seconds() });
    let closed = producer.close(Duration::from_secs(10));
    bar.finish_and_clear();
    let result = Outcome { arguments, notes: &notes, seconds, cpu, stats, details };
    let printed = if arguments.json { writeln!(stdout(), "{}", result.json()) } else { result.print() };
    printed.map_err(|error| Failure::output(&error))?;
    let failed = notes.failed.load(Ordering::Relaxed);
    let first = notes.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
    if stop.is_asked() {
        return Err(stopped(sent, &notes));
    }
    if failed > 0 {
        return Err(Failure::Run(Some(format!("{failed} records failed; the first: {}", first.unwrap_or_default()))));
    }
    closed.map(drop).map_err(Failure::run)
}

fn stopped(sent: u64, notes: &Notes) -> Failure {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (delivered, failed) = (count(&notes.delivered), count(&notes.failed));
    Failure::Run(Some(format!("stopped: {sent} records sent: {delivered} delivered, {failed} failed")))
}

/// CPU seconds that this process has used, where the system tells.
fn cpu_seconds() -> Option<f64> {
    cpu_seconds_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn cpu_seconds_of(stat: &str) -> Option<f64> {
    // The name, in brackets, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// CPU seconds of each of the producer's threads, where the system tells.
fn thread_seconds() -> Vec<(String, f64)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let seconds = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_string();
        Some((name, cpu_seconds_of(&stat)?))
    });
    let mut seconds: Vec<_> =
        seconds.filter(|(name, _)| name.starts_with("milena-") && name != "milena-cluster").collect();
    seconds.sort_by(|a, b| a.0.cmp(&b.0));
    seconds
}

struct Outcome<'a> {
    arguments: &'a Arguments,
    notes: &'a Notes,
    seconds: f64,
    cpu: Option<f64>,
    stats: Stats,
    details: Option<Details>,
}

/// What `--details` is about.
struct Details {
    holds: LockHolds,
    /// CPU seconds of the producer's threads, by name.
    threads: Vec<(String, f64)>,
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Details {
    fn json(&self) -> serde_json::Value {
        let micros = |share| self.holds.quantile(share).as_secs_f64() * 1e6;
        let threads = self.threads.iter().map(|(name, seconds)| json!({ "name": name, "cpu_seconds": seconds }));
        json!({
            "lock_holds": self.holds.count(),
            "lock_hold_us": QUANTILES.map(|(name, share)| (name, micros(share))).into_iter().collect::<BTreeMap<_, _>>(),
            "threads": threads.collect::<Vec<_>>(),
        })
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let [p50, p99, p999, max] = QUANTILES.map(|(_, share)| self.holds.quantile(share));
        writeln!(
            out,
            "lock, held {} times: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {max:?}",
            self.holds.count()
        )?;
        // From the shortest on, a line for each doubling.
        let mut octaves = BTreeMap::new();
        for (until, count) in self.holds.steps() {
            let doubled = until.as_nanos().next_power_of_two();
            *octaves.entry(u64::try_from(doubled).unwrap_or(u64::MAX)).or_insert(0) += count;
        }
        for (until, count) in octaves {
            writeln!(out, "  below {:>12}: {count}", format!("{:?}", Duration::from_nanos(until)))?;
        }
        for (name, seconds) in &self.threads {
            writeln!(out, "thread {name}: {seconds:.2} s of CPU")?;
        }
        Ok(())
    }
}

impl Outcome<'_> {
    fn delivered(&self) -> u64 {
        self.notes.delivered.load(Ordering::Relaxed)
    }

    fn rates(&self) -> (f64, f64) {
        let records = self.delivered() as f64 / self.seconds;
        (records, records * self.arguments.size as f64 / 1e6)
    }

    /// Milliseconds at which this share of the records was delivered.
    fn latency(&self, quantile: f64) -> f64 {
        let latencies = self.notes.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn average_batch(&self) -> u64 {
        self.stats.batch_bytes_sent / self.stats.batches_sent.max(1)
    }

    /// CPU seconds for a million records: the producer's own, so only with a broker outside the process.
    fn cpu_a_million(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu * 1e6 / self.delivered().max(1) as f64)
    }

    fn json(&self) -> serde_json::Value {
        let (records, megabytes) = self.rates();
        json!({
            "delivered": self.delivered(),
            "failed": self.notes.failed.load(Ordering::Relaxed),
            "seconds": self.seconds,
            "records_per_second": records,
            "megabytes_per_second": megabytes,
            "latency_ms": {
                "p50": self.latency(0.5),
                "p95": self.latency(0.95),
                "p99": self.latency(0.99),
                "p99.9": self.latency(0.999),
            },
            "average_batch_bytes": self.average_batch(),
            "cpu_seconds_per_million": self.cpu_a_million(),
            "details": self.details.as_ref().map(Details::json),
        })
    }

    fn print(&self) -> std::io::Result<()> {
        let mut out = stdout().lock();
        let (records, megabytes) = self.rates();
        let failed = self.notes.failed.load(Ordering::Relaxed);
        writeln!(out, "{} records delivered, {failed} failed, in {:.2} s", self.delivered(), self.seconds)?;
        writeln!(out, "{records:.0} records/s, {megabytes:.1} MB/s")?;
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(|quantile| self.latency(quantile));
        writeln!(out, "latency: p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms")?;
        writeln!(out, "batches: {} bytes on average", self.average_batch())?;
        if let Some(cpu) = self.cpu_a_million() {
            writeln!(out, "CPU: {cpu:.2} s for a million records")?;
        }
        if let Some(details) = &self.details {
            details.print(&mut out)?;
        }
        Ok(())
    }
}
