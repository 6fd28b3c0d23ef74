//! A producer that is given more than the network takes, and one with many partitions: `cargo bench --features cluster,threads --bench
//! saturation`.
//!
//! Against a cluster that only counts, in another process, with 10 ms of delay each way: how large batches grow, how many requests
//! are in flight, how often the I/O thread wakes, and how much memory the whole process has taken at most (`VmHWM`). And what
//! 10,000 partitions take that were used once. Each row's producer has a process of its own.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use milena::cluster::{Server, ServerSettings, Settings};
use milena::threads::Producer;
use milena::{Config, Record};

/// Records of 100 bytes that are sent in a run.
const RECORDS: u64 = 2_000_000;

/// Partitions that get a record each, and how many of them at about the same time.
const QUIET: i32 = 10_000;
const AT_A_TIME: i32 = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--run") {
        let partitions = arguments[place + 2].parse().expect("a number");
        return match arguments[place + 1].as_str() {
            "quiet" => quiet(partitions, &arguments[place + 3]),
            how => saturated(how, partitions, &arguments[place + 3]),
        };
    }
    row("what", "measured", "budget");
    for partitions in [4, 1000, 10_000] {
        for how in ["acks", "callbacks"] {
            on_its_own(how, partitions, 10);
        }
    }
    on_its_own("quiet", QUIET, 0);
}

fn row(what: &str, value: &str, budget: &str) {
    println!("{what:<64} {value:>14}   {budget}");
}

/// A run in a process without the cluster, which prints its rows itself.
fn on_its_own(how: &str, partitions: i32, delay: u64) {
    let cluster = Settings::default().discard(true).default_partitions(partitions);
    let settings = ServerSettings::default().cluster(cluster).delay(Duration::from_millis(delay));
    let server = Server::start_with(settings).expect("loopback sockets");
    let mut program = Command::new(std::env::current_exe().expect("this program"));
    program.args(["--run", how, &partitions.to_string(), &server.bootstrap()]);
    let status = program.stdin(Stdio::null()).status().expect("it runs");
    assert!(status.success(), "{how}, {partitions} partitions: {status}");
}

/// A line of what the system knows of this process, in bytes.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line of it");
    line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).expect("a number") << 10
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn producer(config: Config) -> Producer {
    let producer = Producer::new(config).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    producer
}

fn saturated(how: &str, partitions: i32, servers: &str) {
    let before = memory("VmRSS");
    let config = Config::new(servers).expect("an address");
    let buffer = config.buffer_memory() as u64;
    let producer = producer(config);
    let value = [b'v'; 100];
    let start = Instant::now();
    let (mut in_flight, mut samples) = (0, 0);
    for n in 0..RECORDS {
        // Without a key, records stay with a partition until its batch is full.
        let key = n.to_le_bytes();
        let record = Record::new("t").value(&value);
        let record = if partitions > 4 { record.key(&key) } else { record };
        if how == "callbacks" {
            producer
                .send_with(&record, |outcome| drop(outcome.expect("it is delivered")))
                .expect("the record is taken");
        } else {
            producer.enqueue(&record).expect("the record is taken");
        }
        if n % 1000 == 0 && n > RECORDS / 10 {
            in_flight += producer.in_flight();
            samples += 1;
        }
    }
    producer.flush().expect("it is flushed");
    let seconds = start.elapsed().as_secs_f64();
    let (stats, wakeups) = (producer.stats(), producer.wakeups());
    producer.close(Duration::from_secs(10)).expect("it closes");
    let row = |what: &str, value: String, budget: &str| {
        row(&format!("{partitions} partitions, {how}: {what}"), &value, budget)
    };
    row("records a second, 10 ms each way", format!("{:.0}", RECORDS as f64 / seconds), "");
    if partitions == 4 {
        let batch = stats.batch_bytes_sent / stats.batches_sent;
        let in_flight = f64::from(in_flight as u32) / f64::from(samples);
        row("bytes of a batch, on average", batch.to_string(), "above 65,536");
        row("requests in flight, on average (limit 5)", format!("{in_flight:.1}"), "5");
        row(
            "wake-ups of the I/O thread for 1,000 sends",
            format!("{:.2}", wakeups as f64 * 1e3 / RECORDS as f64),
            "below 20",
        );
    }
    let budget = format!("{}, of which {} are the program's alone", mib(buffer + (4 << 20)), mib(before));
    row("memory of the process at most", mib(memory("VmHWM")), &budget);
}

fn quiet(partitions: i32, servers: &str) {
    let before = memory("VmRSS");
    let producer = producer(Config::new(servers).expect("an address"));
    for partition in 0..partitions {
        producer.enqueue(&Record::new("t").partition(partition).value("used")).expect("the record is taken");
        if partition % AT_A_TIME == 0 {
            producer.flush().expect("it is flushed");
        }
    }
    producer.flush().expect("it is flushed");
    let each = memory("VmRSS").saturating_sub(before) / partitions as u64;
    producer.close(Duration::from_secs(10)).expect("it closes");
    row("bytes that a partition takes which was used once", &each.to_string(), "1,024");
}
