//! What a record costs with an adapter around the machine: `cargo bench --features cluster,threads,tokio --bench adapters [RECORDS]`.
//!
//! Records of 100 bytes from one sender to a cluster that only counts, in another process. Instructions are counted by callgrind,
//! all threads together, as the difference between a longer and a shorter run; it lets one thread run at a time, so how often they
//! wait for each other is not that of real runs. Allocations, of a thousand records, are counted in the same two runs. CPU and records
//! a second are of a run without it, and mean something as ratios.
//!
//! A line has the way, instructions a record, allocations a thousand records, CPU seconds a million records, and records a second, with
//! spaces between. `-- --figures` writes a line for each with a name and a number, for `benches/check`; `-- --profile WAY FILE`
//! callgrind's profile of the longer run.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod heap;
mod measure;

use std::collections::VecDeque;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use milena::cluster::{Server, ServerSettings, Settings};
use milena::{Config, Record};

use measure::{callgrind, collected, cpu};

/// How an outcome comes back.
const WAYS: [&str; 4] = ["callback", "ack", "send_all", "task"];

/// Acknowledgements that are out; then the oldest is waited for.
const WINDOW: usize = 20_000;

/// And of records with callbacks, by `buffer.memory`.
const MEMORY: usize = 4 << 20;

/// Tasks that each await a record before they send the next.
const TASKS: usize = 1000;

/// The shorter and the longer run that are counted.
const COUNTED: [usize; 2] = [100_000, 300_000];

/// What records cost.
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--run") {
        let records = arguments[place + 2].parse().expect("a number");
        return run(&arguments[place + 1], records, &arguments[place + 3]);
    }
    if let Some(place) = arguments.iter().position(|argument| argument == "--profile") {
        under_callgrind(&arguments[place + 1], COUNTED[1], &arguments[place + 2]);
        return;
    }
    if arguments.iter().any(|argument| argument == "--figures") {
        for way in WAYS {
            let Cost { instructions, allocations } = cost(way);
            println!("adapters {way} instructions {instructions:.0}");
            println!("adapters {way} allocations of 1000 {allocations:.0}");
        }
        return;
    }
    let records = arguments.iter().filter_map(|argument| argument.parse().ok()).next().unwrap_or(2_000_000);
    println!(
        "{:<10} {:>12} {:>16} {:>12} {:>10}",
        "way", "instructions", "allocations/1000", "CPUs/million", "records/s"
    );
    for way in WAYS {
        let Cost { instructions, allocations } = cost(way);
        let said = on_its_own(std::env::current_exe().map(Command::new).expect("this program"), way, records);
        let ([cpu, seconds, _], records) = (numbers(&said), records as f64);
        let (cpu, rate) = (cpu * 1e6 / records, records / seconds);
        println!("{way:<10} {instructions:>12.0} {allocations:>16.1} {cpu:>12.3} {rate:>10.0}");
    }
}

/// What a record costs, and a thousand allocate.
fn cost(way: &str) -> Cost {
    let [short, long] = COUNTED.map(|records| under_callgrind(way, records, "/dev/null"));
    let more = (COUNTED[1] - COUNTED[0]) as f64;
    Cost {
        instructions: (long.instructions - short.instructions) / more,
        allocations: (long.allocations - short.allocations) * 1000.0 / more,
    }
}

/// The cost of a whole run, with a profile of it in `file`.
fn under_callgrind(way: &str, records: usize, file: &str) -> Cost {
    let said = on_its_own(callgrind(file, &["--fair-sched=yes"]), way, records);
    let instructions = collected(&said)[0] as f64;
    let [_, _, allocations] = numbers(&said);
    Cost { instructions, allocations }
}

/// CPU seconds, seconds and allocations, as a run says them in its first line.
fn numbers(said: &str) -> [f64; 3] {
    let mut numbers = said.split_whitespace().map(|number| number.parse().expect("a number"));
    [(); 3].map(|()| numbers.next().expect("three of them"))
}

/// What a run says, in a process without the cluster.
fn on_its_own(mut program: Command, way: &str, records: usize) -> String {
    let cluster = Settings::default().discard(true);
    let server = Server::start_with(ServerSettings::default().cluster(cluster)).expect("loopback sockets");
    program.args(["--run", way, &records.to_string(), &server.bootstrap()]);
    let output = program.output().expect("valgrind is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn run(way: &str, records: usize, servers: &str) {
    let mut config = Config::builder(servers);
    if way == "callback" {
        config = config.buffer_memory(MEMORY);
    }
    let config = config.build().expect("an address");
    let (began, used) = (Instant::now(), cpu());
    let delivered = match way {
        "task" => tasks(config, records),
        way => threads(config, way, records),
    };
    let allocations = heap::allocations();
    println!("{} {} {allocations}", cpu() - used, began.elapsed().as_secs_f64());
    assert_eq!(delivered, records as u64);
}

fn threads(config: Config, way: &str, records: usize) -> u64 {
    let producer = milena::threads::Producer::new(config).expect("a producer");
    producer.partitions_for("t").expect("the topic");
    let value = [b'v'; 100];
    let record = Record::new("t").value(&value);
    let delivered = Arc::new(AtomicU64::new(0));
    let mut ok = 0;
    match way {
        "callback" => {
            for _ in 0..records {
                let delivered = Arc::clone(&delivered);
                let note = move |outcome: Result<_, _>| {
                    delivered.fetch_add(u64::from(outcome.is_ok()), Ordering::Relaxed);
                };
                producer.send_with(&record, note).expect("the record is taken");
            }
        }
        "ack" => {
            let mut acks: VecDeque<milena::threads::Ack> = VecDeque::with_capacity(WINDOW);
            for _ in 0..records {
                if acks.len() == WINDOW {
                    ok += acks.pop_front().map_or(0, |ack| u64::from(ack.wait().is_ok()));
                }
                acks.push_back(producer.enqueue(&record).expect("the record is taken"));
            }
            ok += acks.into_iter().filter(|ack| ack.wait().is_ok()).count() as u64;
        }
        _ => {
            let many = vec![record; 1000];
            let mut open = VecDeque::new();
            let mut wait = |acks: Option<Vec<milena::threads::Ack>>| {
                ok += acks.into_iter().flatten().filter(|ack| ack.wait().is_ok()).count() as u64;
            };
            for _ in 0..records / many.len() {
                open.push_back(producer.send_all(many.iter().cloned()).expect("all are taken"));
                if open.len() > WINDOW / many.len() {
                    wait(open.pop_front());
                }
            }
            open.into_iter().map(Some).for_each(wait);
        }
    }
    producer.flush().expect("it is flushed");
    producer.close(Duration::from_secs(10)).expect("it closes");
    ok + delivered.load(Ordering::Relaxed)
}

fn tasks(config: Config, records: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (producer, driver) = milena::tokio::Producer::new(config).expect("a producer");
        let driver = tokio::spawn(driver);
        producer.partitions_for("t").await.expect("the topic");
        let send = |producer: milena::tokio::Producer| async move {
            let value = [b'v'; 100];
            let mut ok = 0;
            for _ in 0..records / TASKS {
                ok += u64::from(producer.send(&Record::new("t").value(&value)).await.is_ok());
            }
            ok
        };
        let senders: Vec<_> = (0..TASKS).map(|_| tokio::spawn(send(producer.clone()))).collect();
        let mut delivered = 0;
        for sender in senders {
            delivered += sender.await.expect("a task ends");
        }
        producer.close(Duration::from_secs(10)).await.expect("it closes");
        let _ = driver.await;
        delivered
    })
}
