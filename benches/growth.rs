//! What many partitions and many brokers cost: `cargo bench --features cluster --bench growth`.
//!
//! For each number of partitions, with keyed records of 100 bytes spread over all of them: instructions and last-level misses a record
//! of the machine's own calls (callgrind; its model of a cache of 8 MiB, so that every machine counts the same), bytes that a
//! partition takes when it is known and when it was used once, and what a refresh of the metadata costs. Misses are of a run in
//! which each partition gets the same number of records, whether its batches are full or not.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod heap;
mod host;
mod measure;

use std::time::Duration;

use host::Host;
use milena::Record;
use milena::cluster::{Cluster, Settings};

/// Brokers and partitions.
const CASES: [(i32, i32); 6] = [(1, 10), (1, 1000), (1, 10_000), (1, 100_000), (100, 10_000), (1000, 10_000)];

/// The shorter and the longer run that are counted, in records.
const COUNTED: [usize; 2] = [200_000, 400_000];

/// Refreshes of which the quickest counts.
const REFRESHES: usize = 5;

/// By then one is due.
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// Partitions that get a record at about the same time: others are quiet then.
const AT_A_TIME: i32 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--count") {
        let number = |n: usize| arguments[place + n].parse::<usize>().expect("a number");
        let mut host = host(number(1) as i32, number(2) as i32);
        host.load(number(3), 100, true);
        host.finish();
        return;
    }
    let heads = ["brokers", "partitions", "instructions", "misses", "B known", "B used", "ms a refresh"];
    println!(
        "{:>8} {:>10} {:>13} {:>8} {:>8} {:>8} {:>13}",
        heads[0], heads[1], heads[2], heads[3], heads[4], heads[5], heads[6]
    );
    for (brokers, partitions) in CASES {
        let [short, long] = COUNTED.map(|records| count(brokers, partitions, records));
        // With few partitions all of it stays in the cache: either run may miss it more often, and this be a little below zero.
        let each = |at: usize| (long[at] as f64 - short[at] as f64) / (COUNTED[1] - COUNTED[0]) as f64;
        let [known, used] = [false, true].map(|used| bytes(brokers, partitions, used));
        let millis = refresh(brokers, partitions).as_secs_f64() * 1e3;
        let (instructions, misses) = (each(0), each(1));
        println!(
            "{brokers:>8} {partitions:>10} {instructions:>13.0} {misses:>8.2} {known:>8} {used:>8} {millis:>13.2}"
        );
    }
}

fn host(brokers: i32, partitions: i32) -> Host {
    let options = [("buffer.memory", "268435456"), ("linger.ms", "10000")];
    Host::with(Settings::default().discard(true).nodes(brokers), partitions, &options)
}

/// Instructions, and misses of the last level, of the machine's calls in one run.
fn count(brokers: i32, partitions: i32, records: usize) -> [u64; 2] {
    let cache = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"];
    let arguments = [brokers, partitions, records as i32].map(|number| number.to_string());
    // Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw
    let numbers = measure::collected_of_machine(&cache, &arguments);
    let [instructions, .., instruction_misses, read_misses, write_misses] = numbers[..] else { panic!("{numbers:?}") };
    [instructions, instruction_misses + read_misses + write_misses]
}

fn quick_host(brokers: i32, partitions: i32) -> Host {
    let options = [("linger.ms", "0"), ("metadata.max.age.ms", "1000")];
    Host::with(Settings::default().discard(true).nodes(brokers), partitions, &options)
}

/// Bytes that a partition takes when it is known; or (`used`) when a record was delivered to it, too, and nothing is open.
fn bytes(brokers: i32, partitions: i32, used: bool) -> usize {
    let before = heap::live();
    let mut host = quick_host(brokers, partitions);
    for partition in (0..partitions).filter(|_| used) {
        host.send(&Record::new("t").partition(partition).value("used"));
        if partition % AT_A_TIME == 0 {
            host.finish();
        }
    }
    host.finish();
    // What the cluster in memory takes is not the machine's.
    host.cluster = Cluster::new(Settings::default());
    (heap::live() - before) / partitions as usize
}

/// How long the machine takes to read a whole answer about the topic.
fn refresh(brokers: i32, partitions: i32) -> Duration {
    let mut host = quick_host(brokers, partitions);
    let times = (0..REFRESHES).map(|_| {
        host.producer.want_topic(host.now, "t").expect("it runs");
        (host.answering, host.now) = (Duration::ZERO, host.now + REFRESH_EVERY);
        host.work();
        assert!(host.answering > Duration::ZERO, "metadata came");
        host.answering
    });
    times.min().expect("some")
}
