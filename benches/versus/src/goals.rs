//! What milena is to reach beside others, and whether it does.

use crate::results::Results;

/// A goal, with what was measured.
pub struct Goal {
    pub words: String,
    /// The bound; at least this if `least`, else at most.
    pub bound: f64,
    pub least: bool,
    /// `None` if something of it was not measured.
    pub measured: Option<f64>,
}

impl Goal {
    pub fn is_met(&self) -> Option<bool> {
        self.measured.map(|measured| if self.least { measured >= self.bound } else { measured <= self.bound })
    }
}

const MILENA: &str = "milena";
const THREADED: &str = "rdkafka-threaded";
const FRANZ: &str = "franz-go";

pub fn all(results: &Results) -> Vec<Goal> {
    // milena's figure as a part of another's.
    let part = |workload: &str, variant: &str, figure: &str, of: &str| {
        let ours = results.median(workload, MILENA, variant, figure)?;
        Some(ours / results.median(workload, of, variant, figure)?)
    };
    let mut goals = Vec::new();
    let mut most = |words: &str, bound: f64, measured: Option<f64>| {
        goals.push(Goal { words: words.into(), bound, least: false, measured });
    };
    most("100 B, callback: CPU as a part of `ThreadedProducer`'s", 0.2, part("callback", "", "cpu", THREADED));
    most("100 B, callback: CPU as a part of franz-go's", 0.25, part("callback", "", "cpu", FRANZ));
    most("1,024 B, callback: CPU as a part of `ThreadedProducer`'s", 0.15, part("callback-1k", "", "cpu", THREADED));
    most("1,024 B, callback: CPU as a part of franz-go's", 0.5, part("callback-1k", "", "cpu", FRANZ));
    most(
        "1,000 tasks, runtime of the current thread: CPU seconds a million",
        0.5,
        results.median("tasks", MILENA, "current thread", "cpu"),
    );
    most("1,000 tasks, two workers: CPU seconds a million", 0.5, results.median("tasks", MILENA, "2 workers", "cpu"));
    most("TLS 1.3, 1,024 B: CPU as a part of `ThreadedProducer`'s", 0.5, part("tls", "", "cpu", THREADED));
    for codec in ["lz4", "zstd"] {
        // For the same bytes out: who packs less well has it easier.
        let size = part(codec, "", "ratio", THREADED);
        let cpu = part(codec, "", "cpu-a-gb", THREADED);
        let words = match size {
            Some(size) => format!("{codec}: CPU as a part of librdkafka's (it packs {:.3} times as well)", size),
            None => format!("{codec}: CPU as a part of librdkafka's"),
        };
        most(&words, 0.9, cpu);
    }
    for (workload, rate) in [("pace-5k", "5,000"), ("pace-50k", "50,000")] {
        for linger in ["linger 5", "linger 0"] {
            for (of, name) in [(FRANZ, "franz-go"), (THREADED, "`ThreadedProducer`")] {
                let words = format!("{rate} records/s, {linger}: p99 as a part of {name}'s");
                most(&words, 1.0, part(workload, linger, "p99", of));
            }
        }
    }
    for (workload, words) in [("one", "threads"), ("one-task", "tokio")] {
        let words = format!("One record at a time, {words}: median time as a multiple of the bare round trip's");
        let ours = results.median(workload, MILENA, "", "p50");
        most(&words, 1.2, ours.zip(results.median(workload, "bare", "", "p50")).map(|(ours, bare)| ours / bare));
    }
    // Of many threads to one.
    let many = |workload: &str, senders: &str, figure: &str| {
        let one = results.median(workload, MILENA, "1", figure)?;
        Some(results.median(workload, MILENA, senders, figure)? / one)
    };
    let mut least = Vec::new();
    for (workload, memory) in [("threads", "memory to spare"), ("full", "memory full")] {
        for senders in ["16", "64"] {
            let words = format!("{senders} threads, {memory}: CPU a record as a multiple of one thread's");
            most(&words, 1.3, many(workload, senders, "cpu"));
            let words = format!("{senders} threads, {memory}: records/s as a multiple of one thread's");
            least.push((words, 1.0, many(workload, senders, "rate")));
        }
    }
    for (of, name, bound) in [(THREADED, "`ThreadedProducer`", 3.0), (FRANZ, "franz-go", 1.5)] {
        let words = format!("Round trip of 10 ms: records/s as a multiple of {name}'s");
        least.push((words, bound, part("round-trip", "", "rate", of)));
    }
    goals.extend(least.into_iter().map(|(words, bound, measured)| Goal { words, bound, least: true, measured }));
    goals
}
