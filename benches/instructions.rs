//! Instructions a record, counted by callgrind: `cargo bench --features cluster --bench instructions`.
//!
//! Only the machine's own calls are counted (send, drain, transmit, written, answers read), as the difference between a
//! longer and a shorter run, so that what happens once is left out. The budgets are those of docs/design.md.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod host;

use std::process::Command;

use host::Host;

/// Size of the value, keyed, partitions, budget.
const CASES: &[(usize, bool, i32, Option<f64>)] = &[
    (10, false, 10, Some(500.0)),
    (100, false, 1, None),
    (100, false, 10, Some(600.0)),
    (100, false, 10_000, None),
    (100, true, 1, None),
    (100, true, 10, Some(800.0)),
    (100, true, 10_000, None),
    (1000, false, 10, Some(1250.0)),
    (1000, true, 10, None),
];

/// The shorter and the longer run.
const RUNS: [usize; 2] = [40_000, 120_000];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--count") {
        let number = |n: usize| arguments[place + n].parse::<usize>().expect("a number");
        let (size, keyed, partitions, records) = (number(1), number(2) == 1, number(3) as i32, number(4));
        let mut host = Host::new(partitions, &[("buffer.memory", "268435456"), ("linger.ms", "10000")]);
        if partitions > 1000 {
            // Batches as full as elsewhere: each partition gets as many bytes before the count begins.
            host.load(partitions as usize * 100, size, keyed);
        }
        host.load(records, size, keyed);
        host.finish();
        assert!(host.delivered >= records as u64);
        return;
    }
    println!("{:>6} {:>6} {:>10} {:>14} {:>8}", "bytes", "keyed", "partitions", "instructions", "budget");
    for (size, keyed, partitions, budget) in CASES {
        let [short, long] = RUNS.map(|records| count(*size, *keyed, *partitions, records));
        let each = (long - short) as f64 / (RUNS[1] - RUNS[0]) as f64;
        let budget =
            budget.map_or(String::new(), |budget| format!("{budget:.0}{}", if each > budget { " OVER" } else { "" }));
        println!("{size:>6} {keyed:>6} {partitions:>10} {each:>14.0} {budget:>8}");
    }
}

/// Instructions of the machine's calls in one run.
fn count(size: usize, keyed: bool, partitions: i32, records: usize) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    for call in ["send", "input", "poll", "transmit", "written"] {
        valgrind.arg(format!("--toggle-collect=*host::core_{call}"));
    }
    let arguments = [size, usize::from(keyed), partitions as usize, records].map(|number| number.to_string());
    let output = valgrind.arg(program).arg("--count").args(arguments).output().expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.contains("Collected :")).expect("callgrind says what it collected");
    let number = line.rsplit(' ').next().expect("a number").trim();
    number.parse().unwrap_or_else(|_| panic!("{line}"))
}
