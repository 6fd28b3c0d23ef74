//! The producer against a real Apache Kafka, and other clients against the cluster in memory. Started by `tests/kafka/run`,
//! which fetches Kafka; without that it says so and does nothing.

#![allow(clippy::needless_pass_by_ref_mut, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod admin;
mod broker;
mod chaos;
mod check;
mod clients;
mod dump;
mod gate;
mod gated;
mod hosts;
mod javas;
mod oidc;
#[path = "../proxy/mod.rs"]
mod proxy;
mod scenarios;
mod secured;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use broker::{Jars, Kafka};

/// Starts a cluster with Kafka's jars.
type Start = fn(&Jars) -> Kafka;

/// Scenarios, by parts of their names, and the Kafka that they need.
const SINCE: &[(&str, (u32, u32))] = &[
    // An operator moves leaders at will.
    ("move_leader", (2, 4)),
    ("old_metadata", (2, 4)),
    ("idle_with", (2, 4)),
    // Certificates and keys in PEM, without a password.
    ("every_mechanism", (3, 0)),
    ("client_keys", (3, 0)),
    ("java_properties", (3, 0)),
    ("refusals", (3, 0)),
    ("reauthentication", (3, 0)),
    // Brokers that say which URLs they may ask.
    ("oidc", (4, 1)),
    // Topic ids in Produce: without them order ends where a topic is created anew.
    ("chaos", (4, 0)),
];

fn main() {
    let Some(jars) = Jars::fetched() else {
        println!("skipped: run tests/kafka/run, which fetches Kafka");
        return;
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let is_possible = |name: &str| {
        let newer = SINCE.iter().find(|(part, since)| name.contains(part) && jars.version < *since);
        if let Some((_, (major, minor))) = newer {
            println!("not for this Kafka: {name}, which needs {major}.{minor}");
        }
        newer.is_none()
    };
    let mut report = Report::default();
    let clients = std::env::var("MILENA_CLIENTS").unwrap_or_default();
    let clients = clients::Clients { jars: jars.tools.clone(), folder: clients };
    for (name, scenario) in clients::CLIENTS.iter().filter(|(name, _)| is_wanted(name)) {
        report.run(name, || scenario(&clients));
    }
    let clusters: [(Start, &[(&str, scenarios::Scenario)]); 7] = [
        (|jars| Kafka::start(jars, 0), javas::JAVA),
        (|jars| Kafka::start(jars, 1), scenarios::ONE_NODE),
        (secured::start, secured::SECURED),
        (oidc::start, oidc::OIDC),
        (|jars| Kafka::start(jars, 3), scenarios::THREE_NODES),
        (|jars| gated::start(jars, 1), gated::ONE_NODE),
        (|jars| gated::start(jars, 3), gated::THREE_NODES),
    ];
    for (start, scenarios) in clusters {
        let scenarios = scenarios.iter().filter(|(name, _)| is_wanted(name) && is_possible(name));
        let scenarios: Vec<_> = scenarios.collect();
        if scenarios.is_empty() {
            continue;
        }
        let mut kafka = start(&jars);
        let failed_before = report.failed;
        for (name, scenario) in scenarios {
            report.run(name, || scenario(&mut kafka));
            kafka.open_gates();
        }
        if report.failed > failed_before {
            println!("logs of the brokers: {}", kafka.keep());
        }
    }
    let programs: Vec<_> =
        hosts::programs().into_iter().filter(|(name, _)| is_wanted(&format!("host_{name}"))).collect();
    if !programs.is_empty() {
        let mut kafka = Kafka::start(&jars, 1);
        let failed_before = report.failed;
        for (name, command) in &programs {
            report.run(&format!("host_{name}"), || hosts::is_sent_through_a_kill(&mut kafka, name, command));
        }
        if report.failed > failed_before {
            println!("logs of the brokers: {}", kafka.keep());
        }
    }
    if is_wanted("chaos") && is_possible("chaos") {
        report.run("chaos", || chaos::run(&jars));
    }
    let Report { failed, rows } = report;
    println!("\n{}", rows.join("\n"));
    if failed > 0 || rows.is_empty() {
        println!("{failed} failed of {}", rows.len());
        std::process::exit(1);
    }
}

/// What came of the scenarios.
#[derive(Default)]
struct Report {
    failed: usize,
    rows: Vec<String>,
}

impl Report {
    fn run(&mut self, name: &str, scenario: impl FnOnce() -> Result<String, String>) {
        println!("{name} …");
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let seconds = start.elapsed_seconds();
        let row = match result {
            Ok(Ok(words)) => format!("ok      {name:<28} {seconds:>6.1} s  {words}"),
            Ok(Err(words)) => format!("FAILED  {name:<28} {seconds:>6.1} s  {words}"),
            Err(_) => format!("FAILED  {name:<28} {seconds:>6.1} s  panicked, see above"),
        };
        self.failed += usize::from(row.starts_with("FAILED"));
        println!("{row}");
        self.rows.push(row);
    }
}

trait ElapsedSeconds {
    fn elapsed_seconds(&self) -> f64;
}

impl ElapsedSeconds for Instant {
    #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
    fn elapsed_seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
