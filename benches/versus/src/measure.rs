//! What a run costs, measured in the contender's own process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::task::Task;

/// What a contender prints, in one line of JSON, whatever language it is written in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Records that were acknowledged while it was measured.
    pub acknowledged: u64,
    /// Seconds of CPU, user's and system's, of all threads.
    pub cpu: f64,
    /// Seconds that went by.
    pub wall: f64,
    /// The most memory that the process ever had, in KiB.
    pub rss_kib: u64,
    /// Microseconds: median, p99, p99.9 and longest; `None` where no latency was measured.
    pub latency: Option<[f64; 4]>,
}

/// Begins when the producer is connected and warm, ends when every outcome is there.
pub struct Meter {
    began: Instant,
    cpu: f64,
}

impl Meter {
    pub fn begin() -> Self {
        Self { began: Instant::now(), cpu: cpu_seconds(libc::RUSAGE_SELF) }
    }

    /// Prints what it has cost.
    ///
    /// # Panics
    /// If not every record was acknowledged.
    pub fn end(self, task: &Task, acknowledged: u64, latencies: Option<&Latencies>) {
        let (wall, cpu) = (self.began.elapsed().as_secs_f64(), cpu_seconds(libc::RUSAGE_SELF) - self.cpu);
        assert_eq!(acknowledged, task.records, "records acknowledged, records sent");
        let latency = latencies.map(Latencies::percentiles);
        let cost = Cost { acknowledged, cpu, wall, rss_kib: peak_rss_kib(), latency };
        println!("{}", serde_json::to_string(&cost).expect("numbers are JSON"));
    }
}

/// How much of the processors other programs take: what the system has worked, without this program and those that it started.
pub struct Others {
    began: Instant,
    system: f64,
    ours: f64,
}

impl Others {
    pub fn begin() -> Self {
        Self { began: Instant::now(), system: system_seconds(), ours: Self::ours() }
    }

    /// In processors.
    pub fn end(&self) -> f64 {
        let others = system_seconds() - self.system - (Self::ours() - self.ours);
        others.max(0.0) / self.began.elapsed().as_secs_f64()
    }

    fn ours() -> f64 {
        cpu_seconds(libc::RUSAGE_SELF) + cpu_seconds(libc::RUSAGE_CHILDREN)
    }
}

/// CPU seconds of all programs, user's, nice and system's.
fn system_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(3);
    // SAFETY: it only reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / ticks
}

fn cpu_seconds(of: libc::c_int) -> f64 {
    // SAFETY: `usage` is plain numbers, of which zeroes are valid, and outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        assert_eq!(libc::getrusage(of, &raw mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// `VmHWM`; `ru_maxrss` would begin with that of the process that started this one.
fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A slot for each record, so that noting is one store, on any thread.
pub struct Latencies(Vec<AtomicU32>);

impl Latencies {
    pub fn new(records: u64) -> Self {
        Self((0..records).map(|_| AtomicU32::new(0)).collect())
    }

    pub fn note(&self, record: u64, since: Instant) {
        let microseconds = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
        if let Some(slot) = self.0.get(record as usize) {
            slot.store(microseconds, Ordering::Relaxed);
        }
    }

    fn percentiles(&self) -> [f64; 4] {
        let mut sorted: Vec<u32> = self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        [0.5, 0.99, 0.999, 1.0].map(|share| f64::from(sorted[(last as f64 * share).round() as usize]))
    }
}

/// When each record is to be sent.
pub struct Pace {
    began: Instant,
    every: Duration,
}

impl Pace {
    /// # Panics
    /// If the rate is 0.
    pub fn new(rate: u64) -> Self {
        Self { began: Instant::now(), every: Duration::from_secs(1) / u32::try_from(rate).expect("a rate") }
    }

    /// Sleeps until a record's time has come, and returns that time: what a late sender adds is part of the latency.
    pub fn wait_for(&self, record: u64) -> Instant {
        let at = self.began + self.every * record as u32;
        let early = at.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
        at
    }
}
