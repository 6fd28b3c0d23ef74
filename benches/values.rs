//! What values cost by their size, copied or handed over, in plain text and over TLS 1.3:
//! `cargo bench --features cluster,threads,tls --bench values [MEGABYTES] [--no-instructions]`.
//!
//! From one sender to a cluster that only counts, in another process. The values are taken in turn from 32 MB of them, so that they
//! are in no cache. Instructions are counted by callgrind, all threads together, as the difference between a longer and a shorter
//! run. CPU is the process's own, user and system, and means something as a ratio to other rows of the same run.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod measure;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use milena::cluster::{Settings, TestCluster};
use milena::threads::Producer;
use milena::{Config, Record};

use measure::{callgrind, collected, cpu};

const SIZES: [usize; 6] = [1 << 10, 2 << 10, 4 << 10, 16 << 10, 100 << 10, 900 << 10];

/// The shorter and the longer run that are counted, in MB.
const COUNTED: [usize; 2] = [8, 24];

/// Bytes of all values that there are.
const VALUES: usize = 32 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--run") {
        let number = |n: usize| arguments[place + n].parse().expect("a number");
        return run(number(1), arguments[place + 2] == "shared", number(3), &arguments[place + 4..]);
    }
    let megabytes = arguments.iter().filter_map(|argument| argument.parse().ok()).next().unwrap_or(2000);
    let counts = !arguments.iter().any(|argument| argument == "--no-instructions");
    println!("{:<6} {:>8} {:<8} {:>14} {:>12} {:>8}", "", "bytes", "value", "instructions", "CPU s a GB", "MB/s");
    for tls in [false, true] {
        for size in SIZES {
            for way in ["copied", "shared"] {
                let each = if counts {
                    let [short, long] = COUNTED.map(|megabytes| instructions(tls, size, way, megabytes));
                    format!("{:.0}", (long - short) as f64 / ((COUNTED[1] - COUNTED[0]) * 1_000_000 / size) as f64)
                } else {
                    String::new()
                };
                let program = std::env::current_exe().map(Command::new).expect("this program");
                let said = on_its_own(program, tls, size, way, megabytes);
                let mut numbers = said.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
                let (cpu, seconds) = (numbers.next().expect("CPU seconds"), numbers.next().expect("seconds"));
                let transport = if tls { "TLS" } else { "plain" };
                let (a_gb, rate) = (cpu * 1000.0 / megabytes as f64, megabytes as f64 / seconds);
                println!("{transport:<6} {size:>8} {way:<8} {each:>14} {a_gb:>12.3} {rate:>8.0}");
            }
        }
    }
}

/// Instructions of a whole run.
fn instructions(tls: bool, size: usize, way: &str, megabytes: usize) -> u64 {
    collected(&on_its_own(callgrind("/dev/null", &["--fair-sched=yes"]), tls, size, way, megabytes))[0]
}

/// What a run says, in a process without the cluster.
fn on_its_own(mut program: Command, tls: bool, size: usize, way: &str, megabytes: usize) -> String {
    let cluster = TestCluster::builder().settings(Settings::default().discard(true));
    let cluster = if tls { cluster.tls() } else { cluster }.start().expect("loopback sockets");
    program.args(["--run", &size.to_string(), way, &megabytes.to_string()]);
    program.args(cluster.properties().into_iter().flat_map(|(name, value)| [name, value]));
    let output = program.output().expect("valgrind is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn run(size: usize, shared: bool, megabytes: usize, properties: &[String]) {
    let properties = properties.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    let producer = Producer::new(Config::from_properties(properties).expect("valid options")).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    let values: Vec<Bytes> = (0..VALUES / size).map(|n| vec![n as u8; size].into()).collect();
    let records = megabytes * 1_000_000 / size;
    let delivered = Arc::new(AtomicU64::new(0));
    let (began, used) = (Instant::now(), cpu());
    for value in values.iter().cycle().take(records) {
        let record = Record::new("t");
        let record = if shared { record.value_bytes(value) } else { record.value(value) };
        let delivered = Arc::clone(&delivered);
        let note = move |outcome: Result<_, _>| {
            delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
        };
        producer.send_with(&record, note).expect("the record is taken");
    }
    producer.flush().expect("it is flushed");
    println!("{} {}", cpu() - used, began.elapsed().as_secs_f64());
    assert_eq!(delivered.load(Ordering::Relaxed), records as u64);
    producer.close(Duration::from_secs(10)).expect("it closes");
}
