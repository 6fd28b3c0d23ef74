//! What a process costs: CPU seconds, and what callgrind counts.

#![allow(dead_code, unreachable_pub, reason = "shared by several programs, each of which uses a part")]

use std::path::Path;
use std::process::Command;

/// CPU seconds of this process, in steps of 10 ms.
pub fn cpu() -> f64 {
    cpu_of(Path::new("/proc/self/stat"))
}

/// CPU seconds of a process or of a thread, by its `stat`.
pub fn cpu_of(stat: &Path) -> f64 {
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    // The name, in brackets, may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A command that runs this program under callgrind, with a profile in `file`.
pub fn callgrind(file: &str, more: &[&str]) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", &format!("--callgrind-out-file={file}")]).args(more);
    valgrind.arg(std::env::current_exe().expect("this program"));
    valgrind
}

/// What callgrind has counted, by what it said: instructions first.
pub fn collected(said: &str) -> Vec<u64> {
    let line = said.lines().find(|line| line.contains("Collected :")).expect("callgrind says what it collected");
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The same of the machine's own calls (`host::core_*`) in a run of this program with `--count` and these arguments.
pub fn collected_of_machine(more: &[&str], arguments: &[String]) -> Vec<u64> {
    let calls = ["send", "input", "poll", "transmit", "written"];
    let toggles = calls.map(|call| format!("--toggle-collect=*host::core_{call}"));
    let mut options = vec!["--collect-atstart=no"];
    options.extend(more.iter().copied().chain(toggles.iter().map(String::as_str)));
    let output = callgrind("/dev/null", &options).arg("--count").args(arguments).output();
    let output = output.expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    collected(&said)
}
