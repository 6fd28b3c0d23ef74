//! Instructions a record, counted by callgrind: `cargo bench --features cluster --bench instructions`.
//!
//! Only the machine's own calls are counted (send, drain, transmit, written, answers read), as the difference between a
//! longer and a shorter run, so that what happens once is left out. "measured" is the same with [`Producer::measure`], as adapters have
//! it. With `--figures` a line for each with a name and a number, for `benches/check`.
//!
//! [`Producer::measure`]: milena::Producer::measure

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod host;
mod measure;

use host::Host;

/// Size of the value, keyed, partitions.
const CASES: &[(usize, bool, i32)] = &[
    (10, false, 10),
    (100, false, 1),
    (100, false, 10),
    (100, false, 10_000),
    (100, true, 1),
    (100, true, 10),
    (100, true, 10_000),
    (1000, false, 10),
    (1000, true, 10),
];

/// The shorter and the longer run.
const RUNS: [usize; 2] = [40_000, 120_000];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--count") {
        let number = |n: usize| arguments[place + n].parse::<usize>().expect("a number");
        let (size, keyed, partitions, records) = (number(1), number(2) == 1, number(3) as i32, number(4));
        let mut host = Host::new(partitions, &[("buffer.memory", "268435456"), ("linger.ms", "10000")]);
        host.producer.measure(number(5) == 1);
        if partitions > 1000 {
            // Batches as full as elsewhere: each partition gets as many bytes before the count begins.
            host.load(partitions as usize * 100, size, keyed);
        }
        host.load(records, size, keyed);
        host.finish();
        assert!(host.delivered >= records as u64);
        return;
    }
    let each = |size, keyed, partitions, measured| {
        let [short, long] = RUNS.map(|records| count(size, keyed, partitions, records, measured));
        (long - short) as f64 / (RUNS[1] - RUNS[0]) as f64
    };
    if arguments.iter().any(|argument| argument == "--figures") {
        for (size, keyed, partitions) in CASES.iter().copied() {
            let key = if keyed { " keyed" } else { "" };
            let instructions = each(size, keyed, partitions, false);
            println!("machine {size} B{key} {partitions} partitions {instructions:.0}");
        }
        return;
    }
    let heads = ["bytes", "keyed", "partitions", "instructions", "measured"];
    println!("{:>6} {:>6} {:>10} {:>14} {:>16}", heads[0], heads[1], heads[2], heads[3], heads[4]);
    for (size, keyed, partitions) in CASES.iter().copied() {
        let [bare, measured] = [false, true].map(|measured| each(size, keyed, partitions, measured));
        let more = 100.0 * (measured / bare - 1.0);
        println!("{size:>6} {keyed:>6} {partitions:>10} {bare:>14.0} {measured:>8.0} {more:>+5.1} %");
    }
}

/// Instructions of the machine's calls in one run.
fn count(size: usize, keyed: bool, partitions: i32, records: usize, measured: bool) -> u64 {
    let arguments = [size, usize::from(keyed), partitions as usize, records, usize::from(measured)];
    measure::collected_of_machine(&[], &arguments.map(|number| number.to_string()))[0]
}
