//! The command line tool, as a user runs it.

#![cfg(feature = "cli")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_milena"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit status, standard output, standard error.
fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut process = start(arguments);
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn perf_delivers_everything_into_the_cluster_in_memory() {
    let (status, out, errors) = run(&["perf", "--records", "20000", "--json"], "");
    assert_eq!(status, 0, "{errors}");
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((result["delivered"].as_u64(), result["failed"].as_u64()), (Some(20_000), Some(0)));
    assert!(errors.contains("cluster in memory"));
}

#[test]
fn perf_tells_how_long_the_lock_was_held_and_which_threads_worked() {
    let codec = ["-X", "compression.type=zstd", "-X", "compression.zstd.level=19", "-X", "compression.jobs=2"];
    let arguments = [&["perf", "--records", "20000", "--details"][..], &codec].concat();
    let (status, out, errors) = run(&[&arguments[..], &["--json"]].concat(), "");
    assert_eq!(status, 0, "{errors}");
    let details = &serde_json::from_str::<serde_json::Value>(&out).unwrap()["details"];
    assert!(details["lock_holds"].as_u64() >= Some(20_000), "each send holds it once: {details}");
    let at = |quantile| details["lock_hold_us"][quantile].as_f64().unwrap();
    assert!(0.0 < at("p50") && at("p50") <= at("p99.9") && at("p99.9") <= at("max"), "{details}");
    let threads: Vec<_> = details["threads"].as_array().unwrap().iter().map(|thread| &thread["name"]).collect();
    assert!(threads.iter().any(|name| **name == "milena-compress"), "{details}");
    let (_, out, _) = run(&arguments, "");
    assert!(out.contains("\nlock, held ") && out.contains("  below "), "{out}");
}

#[test]
fn produce_prints_one_outcome_a_line() {
    let input: String = (0..5000).map(|n| format!("{n}\n")).collect();
    let (status, out, errors) = run(&["produce", "--topic", "t", "--json"], &input);
    assert_eq!(status, 0, "{errors}");
    let mut seen = BTreeSet::new();
    for line in out.lines() {
        let outcome: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(outcome["offset"].is_i64() && outcome["topic"] == "t");
        assert!(seen.insert(outcome["n"].as_u64().unwrap()));
    }
    assert_eq!(seen, (0..5000).collect());
}

#[test]
fn produce_shows_what_the_cluster_in_memory_holds() {
    let (status, out, _) = run(&["produce", "--topic", "t", "--key-separator", ":"], "k:v\nplain\n");
    assert_eq!(status, 0);
    assert!(out.contains("key k value v"), "{out}");
    assert!(out.contains("key null value plain"), "{out}");
}

#[test]
fn outcomes_come_while_the_input_goes_on() {
    let mut process = start(&["produce", "--topic", "t", "--json"]);
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    for n in 0..3 {
        writeln!(input, "line").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"n\":{n},\"topic\":\"t\",\"partition\":")), "{line}");
    }
    drop(input);
    assert!(process.wait().unwrap().success());
}

#[test]
fn wrong_usage_ends_with_status_2_and_says_what_is_right() {
    for (arguments, words) in [
        (vec!["produce"], "--topic"),
        (vec!["produce", "--topic", "t", "-X", "lingr.ms=5"], "linger.ms"),
        (vec!["produce", "--topic", "t", "-X", "acks=1", "-X", "enable.idempotence=true"], "acks=all"),
        (vec!["produce", "--topic", "t", "-X", "transactional.id=t"], "not built in"),
        (vec!["produce", "--topic", "t", "-X", "security.protocol=SSL"], "cluster in memory"),
        (
            vec![
                "produce",
                "--topic",
                "t",
                "--bootstrap-server",
                "h:1",
                "-X",
                "security.protocol=SSL",
                "-X",
                "ssl.truststore.location=/no/such/file",
            ],
            "/no/such/file",
        ),
        (vec!["produce", "--topic", "t", "-X", "nonsense"], "name=value"),
        (vec!["produce", "--topic", "t", "--config", "no-such-file"], "no-such-file"),
        (vec!["produce", "--topic", "t", "--bootstrap-server", "nowhere"], "host:port"),
    ] {
        let (status, _, errors) = run(&arguments, "v\n");
        assert_eq!(status, 2, "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_record_that_is_too_large_fails_and_the_others_go_on() {
    let input = format!("small\n{}\nsmall\n", "x".repeat(2_000_000));
    let (status, out, _) = run(&["produce", "--topic", "t", "--json"], &input);
    assert_eq!(status, 1);
    assert_eq!(out.lines().count(), 3);
    assert!(out.contains("RECORD_TOO_LARGE") && out.contains("\"possibly_written\":false"), "{out}");
}

#[test]
fn a_topic_name_that_kafka_forbids_fails() {
    let (status, out, _) = run(&["produce", "--topic", "a/b", "--json"], "v\n");
    assert_eq!(status, 1);
    assert!(out.contains("INVALID_TOPIC_EXCEPTION"), "{out}");
}

#[test]
fn a_closed_output_ends_it_without_a_panic() {
    let mut process = start(&["produce", "--topic", "t", "--json"]);
    drop(process.stdout.take());
    let mut input = process.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..200_000 {
            if writeln!(input, "{n}").is_err() {
                return;
            }
        }
    });
    let mut errors = String::new();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = process.wait().unwrap();
    assert!(!status.success());
    assert!(!errors.contains("panicked"), "{errors}");
    writer.join().unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupt_flushes_what_was_read_and_ends_with_status_1() {
    let mut process = start(&["produce", "--topic", "t", "--json"]);
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    writeln!(input, "line").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let status = process.wait().unwrap(); // the input is still open
    assert_eq!(status.code(), Some(1));
    drop(input);
}

#[test]
fn a_cluster_on_real_ports_serves_the_other_commands() {
    let mut cluster = start(&["cluster", "--listen", "127.0.0.1:0", "--nodes", "1", "--partitions", "3"]);
    let mut line = String::new();
    BufReader::new(cluster.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let server = line.trim();
    let (status, _, errors) = run(&["produce", "--topic", "t", "--bootstrap-server", server], "a\nb\n");
    assert_eq!(status, 0, "{errors}");
    let (status, out, _) = run(&["metadata", "--topic", "t", "--bootstrap-server", server], "");
    assert_eq!(status, 0);
    assert!(out.contains("broker 1") && out.contains("topic t partition 2 leader 1"), "{out}");
    let (status, out, _) = run(&["metadata", "--bootstrap-server", server], "");
    assert_eq!((status, out.lines().count()), (0, 4), "a broker, and all topics: {out}");
    let (status, _, errors) =
        run(&["metadata", "--topic", "none", "--bootstrap-server", server, "-X", "max.block.ms=300"], "");
    assert_eq!(status, 1);
    assert!(errors.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{errors}");
    let _ = cluster.kill();
    let _ = cluster.wait();
}
