//! The producer against a real Apache Kafka, and other clients against the cluster in memory. Started by `tests/kafka/run`,
//! which fetches Kafka; without that it says so and does nothing.

#![allow(clippy::needless_pass_by_ref_mut, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod broker;
mod check;
mod clients;
mod dump;
mod javas;
mod scenarios;
mod secured;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use broker::Kafka;

/// Starts a cluster with Kafka's jars.
type Start = fn(&str) -> Kafka;

fn main() {
    let Ok(jars) = std::env::var("MILENA_KAFKA_JARS") else {
        println!("skipped: run tests/kafka/run, which fetches Kafka");
        return;
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let clients = std::env::var("MILENA_CLIENTS").unwrap_or_default();
    let clients = clients::Clients { jars: jars.clone(), folder: clients };
    let clusters: [(Start, &[(&str, scenarios::Scenario)]); 5] = [
        (|jars| Kafka::start(jars, "none", 0), javas::JAVA),
        (|jars| Kafka::start(jars, "one", 1), scenarios::ONE_NODE),
        (secured::start, secured::SECURED),
        (|jars| Kafka::start(jars, "leaders-threads", 3), scenarios::LEADERS_THREADS),
        (|jars| Kafka::start(jars, "leaders-tokio", 3), scenarios::LEADERS_TOKIO),
    ];
    // Each cluster has a thread of its own: mostly they wait.
    let rows: Vec<Row> = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let wanted = clients::CLIENTS.iter().filter(|(name, _)| is_wanted(name));
            wanted.map(|(name, scenario)| Row::of(name, || scenario(&clients))).collect()
        });
        let clusters = clusters.map(|(start, scenarios)| {
            let wanted: Vec<_> = scenarios.iter().filter(|(name, _)| is_wanted(name)).collect();
            let jars = &jars;
            scope.spawn(move || with_cluster(start, jars, wanted))
        });
        let threads = [clients].into_iter().chain(clusters);
        threads.flat_map(|thread| thread.join().expect("scenarios catch their panics")).collect()
    });
    let failed = rows.iter().filter(|row| row.failed).count();
    println!();
    for row in &rows {
        println!("{}", row.text);
    }
    println!("{} passed, {failed} failed", rows.len() - failed);
    if failed > 0 || rows.is_empty() {
        std::process::exit(1);
    }
}

/// Runs scenarios one after the other on a cluster of their own.
fn with_cluster(start: Start, jars: &str, scenarios: Vec<&(&'static str, scenarios::Scenario)>) -> Vec<Row> {
    let Some((first, _)) = scenarios.first() else { return Vec::new() };
    let mut kafka = match catch_unwind(|| start(jars)) {
        Ok(kafka) => kafka,
        Err(_) => return vec![Row::of(first, || Err("its cluster did not start, see above".into()))],
    };
    let rows: Vec<Row> = scenarios.into_iter().map(|(name, scenario)| Row::of(name, || scenario(&mut kafka))).collect();
    if rows.iter().any(|row| row.failed) {
        println!("logs of the brokers: {}", kafka.keep());
    }
    rows
}

/// What came of a scenario.
struct Row {
    failed: bool,
    text: String,
}

impl Row {
    fn of(name: &str, scenario: impl FnOnce() -> Result<String, String>) -> Self {
        println!("{name} …");
        #[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let seconds = start.elapsed_seconds();
        let text = match &result {
            Ok(Ok(words)) => format!("ok      {name:<28} {seconds:>6.1} s  {words}"),
            Ok(Err(words)) => format!("FAILED  {name:<28} {seconds:>6.1} s  {words}"),
            Err(_) => format!("FAILED  {name:<28} {seconds:>6.1} s  panicked, see above"),
        };
        println!("{text}");
        Self { failed: !matches!(result, Ok(Ok(_))), text }
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
