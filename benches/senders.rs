//! Many threads that share a producer: `cargo bench --features cluster,threads --bench senders [RECORDS]`.
//!
//! Records of 100 bytes to a cluster that only counts, with a callback each or with an acknowledgement each; with memory to
//! spare and with so little that it is full all the time. CPU is the producer's and the senders', without the cluster's thread.
//! Only the ratios to one sender of the same run mean something.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod measure;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use milena::cluster::{Server, ServerSettings, Settings};
use milena::threads::{Ack, Producer};
use milena::{Config, Record};

const SENDERS: [usize; 4] = [1, 4, 16, 64];

/// Acknowledgements that are out, of all senders; then each waits for its oldest.
const WINDOW: usize = 64_000;

#[derive(Clone, Copy)]
enum Report {
    Callback,
    Ack,
}

fn main() {
    let records: usize = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(2_000_000);
    println!(
        "memory   report    senders   full (1,000s)   records/s   CPU s a million   times one's: throughput   CPU"
    );
    for (memory, bytes) in [("32 MiB", 32 << 20), ("2 MiB", 2 << 20), ("256 KiB", 256 << 10)] {
        for (report, name) in [(Report::Callback, "callback"), (Report::Ack, "ack")] {
            let mut one = None;
            for senders in SENDERS {
                let (full, rate, cpu) = measure(records, senders, bytes, report);
                let (rate_of_one, cpu_of_one) = *one.get_or_insert((rate, cpu));
                println!(
                    "{memory:<8} {name:<9} {senders:>7} {full:>15.2} {rate:>11.0} {cpu:>17.2} {:>25.2} {:>5.2}",
                    rate / rate_of_one,
                    cpu / cpu_of_one
                );
            }
        }
    }
}

/// How often memory was full in a thousand sends, records a second, and CPU seconds a million records.
fn measure(records: usize, senders: usize, memory: usize, report: Report) -> (f64, f64, f64) {
    let cluster = Settings::default().discard(true);
    let server = Server::start_with(ServerSettings::default().cluster(cluster)).expect("loopback sockets");
    let config = Config::builder(&server.bootstrap()).buffer_memory(memory).build().expect("valid options");
    let producer = Producer::new(config).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    let delivered = Arc::new(AtomicU64::new(0));
    let (began, used) = (Instant::now(), cpu());
    std::thread::scope(|scope| {
        for _ in 0..senders {
            let (producer, delivered) = (producer.clone(), Arc::clone(&delivered));
            scope.spawn(move || send(&producer, records / senders, report, WINDOW / senders, &delivered));
        }
    });
    producer.flush().expect("it is flushed");
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu() - used);
    assert_eq!(delivered.load(Ordering::Relaxed), (records / senders * senders) as u64);
    let full = producer.stats().buffer_full as f64 * 1000.0 / records as f64;
    producer.close(Duration::from_secs(10)).expect("it closes");
    (full, records as f64 / seconds, used * 1e6 / records as f64)
}

fn send(producer: &Producer, records: usize, report: Report, window: usize, delivered: &Arc<AtomicU64>) {
    let value = [b'v'; 100];
    let record = Record::new("t").value(&value);
    match report {
        Report::Callback => {
            for _ in 0..records {
                let delivered = Arc::clone(delivered);
                let note = move |outcome: Result<_, _>| {
                    delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
                };
                producer.send_with(&record, note).expect("the record is taken");
            }
        }
        Report::Ack => {
            let mut acks = VecDeque::with_capacity(window);
            let mut ok = 0;
            for _ in 0..records {
                if acks.len() == window {
                    ok += acks.pop_front().map_or(0, |ack: Ack| u64::from(ack.wait().is_ok()));
                }
                acks.push_back(producer.enqueue(&record).expect("the record is taken"));
            }
            ok += acks.iter().filter(|ack| ack.wait().is_ok()).count() as u64;
            delivered.fetch_add(ok, Ordering::Relaxed);
        }
    }
}

/// CPU seconds of this process without the cluster's thread.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_cluster = tasks.filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.starts_with("milena-cluster")
    });
    let of_cluster: f64 = of_cluster.map(|task| measure::cpu_of(&task.path().join("stat"))).sum();
    measure::cpu() - of_cluster
}
