//! The command line tool, as a user runs it.

#![cfg(feature = "cli")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use milena::cluster::TestCluster;
#[cfg(unix)]
use milena::cluster::{Mischief, ProduceAttempt, Verdict};

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
fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> (i32, String, String) {
    let mut tool = Tool::start(arguments);
    let _ = tool.input.take().unwrap().write_all(input.as_ref());
    tool.end()
}

/// A tool that runs, and is killed where a test fails.
struct Tool {
    process: Child,
    input: Option<ChildStdin>,
    output: Option<JoinHandle<String>>,
    errors: JoinHandle<String>,
}

impl Tool {
    fn start(arguments: &[&str]) -> Self {
        let mut tool = Self::start_without_reader(arguments);
        let output = tool.process.stdout.take().unwrap();
        tool.output = Some(std::thread::spawn(move || text(output)));
        tool
    }

    /// Nobody reads the output.
    fn start_without_reader(arguments: &[&str]) -> Self {
        let mut process = start(arguments);
        let (input, errors) = (process.stdin.take(), process.stderr.take().unwrap());
        Self { process, input, output: None, errors: std::thread::spawn(move || text(errors)) }
    }

    fn write(&mut self, lines: &str) {
        self.input.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Exit status, standard output (where it was read), standard error. It is long over if nothing hangs.
    fn end(mut self) -> (i32, String, String) {
        for _ in 0..1000 {
            if let Some(status) = self.process.try_wait().unwrap() {
                let output = self.output.map(|output| output.join().unwrap());
                let errors = self.errors.join().unwrap();
                return (status.code().unwrap_or(-1), output.unwrap_or_default(), errors);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        panic!("it did not end: {}", self.errors.join().unwrap());
    }
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Accepts connections and says nothing.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Waits until someone has connected.
#[cfg(unix)]
fn asked(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    wait_until(|| listener.accept().is_ok());
}

/// Waits until it is so; a test that waits in vain fails.
fn wait_until(mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("that never came");
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
fn simulate_says_what_happened_on_many_seeds() {
    let (status, out, errors) = run(&["simulate", "--seeds", "40", "--json"], "");
    assert_eq!((status, &*errors), (0, ""));
    let result: serde_json::Value = serde_json::from_str(&out).expect("one object");
    let records = &result["records"];
    assert_eq!((&result["worlds"], &result["violation"]), (&40.into(), &serde_json::Value::Null));
    let sum = records["delivered"].as_u64().expect("a number") + records["failed"].as_u64().expect("a number");
    assert_eq!(records["accepted"], sum);
    assert!(result["reached"]["a batch was retried"].as_u64() > Some(0), "{out}");
    // One thread or two, it is the same.
    let (_, alone, _) = run(&["simulate", "--seeds", "40", "--json", "--threads", "1"], "");
    let alone: serde_json::Value = serde_json::from_str(&alone).expect("one object");
    assert_eq!((&alone["records"], &alone["reached"]), (records, &result["reached"]));
    let (status, out, errors) = run(&["simulate", "--seeds", "3"], "");
    assert_eq!((status, &*errors), (0, ""));
    assert!(out.contains("3 worlds") && out.contains("a record was delivered"), "{out}");
}

/// Nobody sees a bar in a file.
#[test]
fn simulate_says_how_far_it_is() {
    let (status, _, errors) = run(&["simulate", "--seeds", "50", "--faults", "none"], "");
    let told: Vec<&str> = errors.lines().collect();
    assert_eq!((status, told.len()), (0, 10), "{errors}");
    for words in ["5 of 50 worlds", "50 of 50 worlds"] {
        assert!(told.iter().any(|line| line.ends_with(words)), "{errors}");
    }
}

#[test]
fn simulate_keeps_what_it_tells_apart_from_its_result() {
    let (status, out, errors) = run(&["simulate", "--seed", "7", "--trace", "--json"], "");
    let result: serde_json::Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((status, &result["worlds"]), (0, &1.into()));
    assert!(errors.contains("application sends number 0"), "{errors}");
}

#[test]
fn simulate_refuses_what_means_nothing() {
    let none = run(&["simulate", "--seeds", "0"], "");
    let one = run(&["simulate", "--seed", "1", "--threads", "2"], "");
    for ((status, out, errors), told) in [(none, "--seeds"), (one, "--threads")] {
        assert_eq!((status, &*out), (2, ""));
        assert!(errors.contains(told), "{errors}");
    }
}

#[test]
fn simulate_tells_one_seed() {
    let (status, out, errors) = run(&["simulate", "--seed", "7", "--trace"], "");
    assert_eq!((status, &*errors), (0, ""));
    for what in [
        "application sends number 0",
        "producer    connects #1 to node1:9092",
        "network     #1 is up",
        "producer    Produce v",
        "node 2      answers Produce",
        "world       the faults end",
        "are delivered, from offset 0 on",
        "application closes the producer",
        "          . producer id",
    ] {
        assert!(out.contains(what), "{what} is not in {out}");
    }
    let again = run(&["simulate", "--seed", "7", "--trace"], "").1;
    let without_seconds =
        |out: &str| out.lines().filter(|line| !line.contains("1 worlds in")).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(without_seconds(&out), without_seconds(&again));
}

#[test]
fn simulate_leaves_out_what_is_not_wanted() {
    let (status, out, _) = run(&["simulate", "--seeds", "30", "--faults", "none", "--json"], "");
    let result: serde_json::Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((status, &result["reached"]["a broker throttled"]), (0, &serde_json::Value::Null));
    let (status, _, errors) = run(&["simulate", "--faults", "reset,earthquake"], "");
    assert_eq!(status, 2);
    assert!(errors.contains("\"earthquake\"") && errors.contains("half_open"), "{errors}");
    let (status, _, errors) = run(&["simulate", "--trace"], "");
    assert_eq!(status, 2);
    assert!(errors.contains("--seed"), "{errors}");
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
    let (status, out, _) = run(&["produce", "--topic", "t", "--key-separator", ":", "--ignore-error"], "k:v\nplain\n");
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
        (vec!["produce", "--topic", "t", "--key-separator", ""], "--key-separator can't be empty"),
        (vec!["produce", "--topic", "t", "--headers", "--headers-separator", ":"], "can't be equal"),
        (vec!["produce", "--topic", "t", "--headers-separator", ":"], "--headers"),
        (vec!["produce", "--topic", "t", "--header", "h"], "name=value"),
        (vec!["produce", "--topic", "t", "--partition=-1"], "--partition"),
        (vec!["produce", "--topic", "t", "--timestamp=-1"], "--timestamp"),
        (vec!["produce", "--topic", "t", "--grace=-1"], "--grace"),
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

/// One line a record, in the order of the input.
fn in_order(out: &str) -> Vec<serde_json::Value> {
    let mut all: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    all.sort_by_key(|outcome| outcome["n"].as_u64());
    all
}

/// What the only partition of topic `t` holds: keys, values, headers.
fn held(cluster: &TestCluster) -> Vec<String> {
    let text =
        |bytes: Option<&[u8]>| bytes.map_or("null".into(), |bytes| format!("{:?}", String::from_utf8_lossy(bytes)));
    let records = cluster.records("t").into_iter().map(|(_, record)| {
        let headers = record.headers.iter().map(|(name, value)| format!(" {name}={}", text(value.as_deref())));
        let headers: String = headers.collect();
        format!("{} {}{headers}", text(record.key.as_deref()), text(record.value.as_deref()))
    });
    records.collect()
}

/// A cluster whose topic `t` has one partition, and arguments to produce to it.
fn produce_to_one_partition<'a>(server: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["produce", "--topic", "t", "--bootstrap-server", server, "--partition", "0"], more].concat()
}

#[test]
fn a_line_may_end_as_on_windows() {
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let (status, _, errors) = run(&produce_to_one_partition(&server, &[]), "a\r\n\r\nb\r\r\n\nc\r");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(held(&cluster), [r#"null "a""#, r#"null """#, r#"null "b\r""#, r#"null """#, r#"null "c""#]);
}

#[test]
fn values_are_bytes() {
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let (status, _, errors) = run(&produce_to_one_partition(&server, &["--key-separator", ":"]), b"\xff:\0\xfe\n");
    assert_eq!(status, 0, "{errors}");
    let records = cluster.records("t");
    assert_eq!(records[0].1.key.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(records[0].1.value.as_deref(), Some(&b"\0\xfe"[..]));
}

#[test]
fn nulls_headers_partition_and_timestamp_are_sent() {
    let cluster = TestCluster::start().unwrap();
    cluster.with(|cluster, _| cluster.create_topic("t", 3));
    let server = cluster.bootstrap();
    let of_lines = ["--headers", "--key-separator", "\t", "--null", "NULL"];
    let of_all = ["--header", "source=test", "--partition", "2", "--timestamp", "1234567890123"];
    let arguments = [&["produce", "--topic", "t", "--bootstrap-server", &server][..], &of_lines, &of_all].concat();
    let (status, _, errors) = run(&arguments, "h1:v1,h2:NULL\tkey\tvalue\n\tNULL\t\nNULL\tk\tNULL\n");
    assert_eq!(status, 0, "{errors}");
    assert_eq!(
        held(&cluster),
        [r#""key" "value" source="test" h1="v1" h2=null"#, r#"null "" source="test""#, r#""k" null source="test""#]
    );
    for (partition, record) in cluster.records("t") {
        assert_eq!((partition, record.timestamp), (2, 1_234_567_890_123));
    }
}

#[test]
fn a_partition_that_does_not_exist_is_told() {
    let cluster = TestCluster::start().unwrap();
    cluster.with(|cluster, _| cluster.create_topic("t", 3));
    let server = cluster.bootstrap();
    let topic = ["produce", "--topic", "t", "--bootstrap-server", &server];
    let (status, _, errors) = run(&[&topic[..], &["--partition", "3", "-X", "max.block.ms=300"]].concat(), "a\nb\n");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("gave up at line 1: 2 lines read: 0 delivered, 1 failed, 1 not sent"), "{errors}");
}

#[test]
fn lines_are_counted_from_1_and_their_content_is_not_told() {
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let input = format!("k:v\nsecret1\nk:w\n{}\nsecret2\nk:{}\n:\n", "s".repeat(3000), "s".repeat(1990));
    let arguments = produce_to_one_partition(&server, &["--key-separator", ":", "-X", "max.request.size=2000"]);
    let (status, _, errors) = run(&arguments, &input);
    assert_eq!(status, 1, "{errors}");
    let said: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix("milena: line ")).collect();
    let words = [
        "2: no key separator in it",
        "4: 3000 bytes, more than the 2000 that max.request.size allows",
        "5: no key separator in it",
        "6: the record takes ",
    ];
    assert_eq!(said.len(), words.len(), "{errors}");
    assert!(said.iter().zip(words).all(|(said, words)| said.starts_with(words)), "{errors}");
    assert!(errors.contains("7 lines read: 3 delivered, 4 failed"), "{errors}");
    assert!(!errors.contains("secret") && !errors.contains("sss"), "{errors}");
    assert_eq!(held(&cluster), [r#""k" "v""#, r#""k" "w""#, r#""" """#]);

    let (status, out, errors) = run(&[&arguments[..], &["--json"]].concat(), &input);
    assert_eq!(status, 1);
    let names: Vec<_> =
        in_order(&out).iter().map(|outcome| outcome["error"].as_str().unwrap_or("").to_string()).collect();
    assert_eq!(names, ["", "INVALID_LINE", "", "RECORD_TOO_LARGE", "INVALID_LINE", "RECORD_TOO_LARGE", ""]);
    for said in [out, errors] {
        assert!(!said.contains("secret") && !said.contains("sss"), "{said}");
    }
}

/// The most memory that a process ever used, in bytes.
#[cfg(target_os = "linux")]
fn most_memory(process: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_without_end_is_not_kept() {
    const LENGTH: usize = 400 << 20;
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let mut tool = Tool::start_without_reader(&produce_to_one_partition(&server, &["--json"]));
    let mut output = BufReader::new(tool.process.stdout.take().unwrap());
    let mut outcome = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    for _ in 0..LENGTH >> 20 {
        tool.write(&"x".repeat(1 << 20));
    }
    tool.write("\r\n");
    let said = outcome();
    assert_eq!((said["n"].as_u64(), said["error"].as_str()), (Some(0), Some("RECORD_TOO_LARGE")), "{said}");
    let words = format!("{LENGTH} bytes, more than the 1048576 that max.request.size allows");
    assert_eq!(said["message"].as_str(), Some(&*words));
    tool.write("after it\n");
    assert_eq!(outcome()["offset"].as_u64(), Some(0));
    let most = most_memory(&tool.process);
    assert!(most < LENGTH / 2, "{most} bytes of memory");
    drop(tool.input.take());
    assert_eq!(tool.end().0, 1);
}

/// Without a bound the input would be read to its end.
#[test]
fn nothing_is_read_on_while_nobody_reads_the_outcomes() {
    const LINES: usize = 3_000_000;
    let mut tool = Tool::start_without_reader(&["produce", "--topic", "t", "--json"]);
    let mut input = tool.input.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        let lines = "x\n".repeat(1000);
        for _ in 0..LINES / 1000 {
            input.write_all(lines.as_bytes()).unwrap();
            count.fetch_add(1000, Ordering::Relaxed);
        }
    });
    let mut before = usize::MAX;
    wait_until(|| {
        let now = written.load(Ordering::Relaxed);
        let stands = now == before || now == LINES;
        before = now;
        std::thread::sleep(Duration::from_secs(1));
        stands
    });
    assert!(before < LINES, "all was read");
    let output = BufReader::new(tool.process.stdout.take().unwrap());
    assert_eq!(output.lines().filter(|line| line.as_ref().unwrap().contains("\"offset\"")).count(), LINES);
    writer.join().unwrap();
    assert_eq!(tool.end().0, 0);
}

#[test]
fn when_no_line_can_be_sent_it_gives_up_and_says_how_many_were_not() {
    let (_listener, silent) = silent_server();
    let patience = ["-X", "max.block.ms=300"];
    let topic = ["produce", "--topic", "t", "--bootstrap-server", &silent];
    let (status, _, errors) = run(&[&topic[..], &patience].concat(), "a\nb\nc\n");
    assert_eq!(status, 1);
    assert!(errors.contains("line 1: topic t is not known after 300ms"), "{errors}");
    assert!(errors.ends_with("gave up at line 1: 3 lines read: 0 delivered, 1 failed, 2 not sent\n"), "{errors}");

    // The same where the input does not end.
    let mut tool = Tool::start(&[&topic[..], &patience, &["--json"]].concat());
    tool.write("a\nb\n");
    let input = tool.input.take();
    let (status, out, errors) = tool.end();
    drop(input);
    assert_eq!(status, 1);
    assert!(errors.ends_with("2 lines read: 0 delivered, 1 failed, 1 not sent; the input goes on\n"), "{errors}");
    assert!(out.starts_with("{\"n\":0,\"error\":\"TOPIC_UNKNOWN\"") && out.lines().count() == 1, "{out}");
}

#[cfg(unix)]
#[test]
fn an_input_that_can_t_be_read_is_told() {
    let (status, _, errors) = run(&["produce", "--topic", "t", "--input", "/"], "");
    assert_eq!(status, 1);
    assert!(errors.contains("can't read on: ") && errors.contains("0 lines read"), "{errors}");
}

/// If signals were not seen, it would wait for all of `max.block.ms`: a minute.
#[cfg(unix)]
#[test]
fn a_signal_ends_it_while_metadata_can_t_be_had() {
    for (signal, more) in [("-INT", &["--json"][..]), ("-TERM", &["--grace", "0.3"])] {
        let (listener, silent) = silent_server();
        let mut tool = Tool::start(&[&["produce", "--topic", "t", "--bootstrap-server", &silent], more].concat());
        tool.write("a\nb\n");
        asked(&listener); // and it waits
        tool.signal(signal);
        let input = tool.input.take();
        let (status, out, errors) = tool.end();
        drop(input);
        assert_eq!(status, 1, "{errors}");
        assert!(errors.ends_with("stopped: 2 lines read: 0 delivered, 0 failed, 2 not sent\n"), "{errors}");
        assert_eq!(out, "");
    }
}

/// A cluster that refuses what comes after the first record, and a tool that is told to try again.
#[cfg(unix)]
fn refused_after_a_record(more: &[&str]) -> (TestCluster, Tool) {
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let mut tool = Tool::start(&produce_to_one_partition(&server, more));
    tool.write("first\n");
    wait_until(|| cluster.records("t").len() == 1);
    cluster.with(|cluster, _| cluster.set_mischief(Box::new(Refuses(true))));
    (cluster, tool)
}

#[cfg(unix)]
const NOT_ENOUGH_REPLICAS: i16 = 19;

#[cfg(unix)]
#[derive(Debug)]
struct Refuses(bool);

#[cfg(unix)]
impl Mischief for Refuses {
    fn produce(&mut self, _: &ProduceAttempt<'_>) -> Verdict {
        if self.0 { Verdict::Refuse(NOT_ENOUGH_REPLICAS) } else { Verdict::Serve }
    }
}

/// Writes lines and waits until one of their records was refused: then all were read.
#[cfg(unix)]
fn write_in_vain(cluster: &TestCluster, tool: &mut Tool, lines: &str) {
    tool.write(lines);
    wait_until(|| cluster.with(|cluster, _| cluster.counters().errors.contains_key(&NOT_ENOUGH_REPLICAS)));
}

#[cfg(unix)]
#[test]
fn what_is_not_delivered_in_time_after_a_signal_is_told() {
    let (cluster, mut tool) = refused_after_a_record(&["--json", "--grace", "0.5"]);
    write_in_vain(&cluster, &mut tool, "second\nthird\n");
    tool.signal("-TERM");
    let input = tool.input.take();
    let (status, out, errors) = tool.end();
    drop(input);
    assert_eq!(status, 1);
    assert!(errors.contains("stopped: 3 lines read: 1 delivered, 2 failed"), "{errors}");
    let outcomes = in_order(&out);
    assert_eq!(outcomes.len(), 3, "{out}");
    assert_eq!((outcomes[1]["error"].as_str(), outcomes[2]["error"].as_str()), (Some("ABORTED"), Some("ABORTED")));
}

#[cfg(unix)]
#[test]
fn what_is_delivered_in_time_after_a_signal_is_told_too() {
    let (cluster, mut tool) = refused_after_a_record(&["--json", "--grace", "100"]);
    write_in_vain(&cluster, &mut tool, "second\nthird\n");
    tool.signal("-INT");
    std::thread::sleep(Duration::from_millis(300)); // it is no less right if it has not seen the signal yet
    cluster.with(|cluster, _| cluster.set_mischief(Box::new(Refuses(false))));
    let input = tool.input.take();
    let (status, _, errors) = tool.end();
    drop(input);
    assert_eq!(status, 1);
    assert!(errors.ends_with("stopped: 3 lines read: 3 delivered, 0 failed\n"), "{errors}");
    assert_eq!(cluster.records("t").len(), 3);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_while_it_waits_for_memory_or_for_the_last_outcomes() {
    // Waits for memory.
    let (cluster, mut tool) = refused_after_a_record(&["--grace", "0.3", "-X", "buffer.memory=40000"]);
    let line = format!("{}\n", "x".repeat(10_000));
    write_in_vain(&cluster, &mut tool, &line.repeat(12));
    std::thread::sleep(Duration::from_millis(300)); // it is no less right if it has memory yet
    tool.signal("-TERM");
    let input = tool.input.take();
    let (status, _, errors) = tool.end();
    drop(input);
    assert_eq!(status, 1);
    let report = errors.lines().find_map(|line| line.strip_prefix("milena: stopped: ")).expect(&errors);
    let numbers: Vec<u64> = report.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(
        (numbers[0], numbers[1]),
        (numbers[1..4].iter().sum(), 1),
        "read, delivered, failed, not sent: {errors}"
    );

    // The input has ended.
    let (cluster, mut tool) = refused_after_a_record(&["--grace", "0.3"]);
    write_in_vain(&cluster, &mut tool, "second\n");
    drop(tool.input.take());
    tool.signal("-TERM");
    let (status, _, errors) = tool.end();
    assert_eq!(status, 1);
    assert!(errors.contains("2 lines read: 1 delivered, 1 failed"), "{errors}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_it_at_once() {
    let (cluster, mut tool) = refused_after_a_record(&["--grace", "1000"]);
    write_in_vain(&cluster, &mut tool, "second\n");
    tool.signal("-TERM");
    tool.signal("-INT");
    assert_eq!(tool.end().0, 130);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_while_lines_come_without_end_and_nobody_reads_the_outcomes() {
    let mut tool = Tool::start_without_reader(&["produce", "--topic", "t", "--json", "--grace", "0.3"]);
    let mut input = tool.input.take().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        let lines = "x\n".repeat(1000);
        while input.write_all(lines.as_bytes()).is_ok() {
            count.fetch_add(1000, Ordering::Relaxed);
        }
    });
    wait_until(|| written.load(Ordering::Relaxed) > 140_000); // many more than outcomes for which a pipe has room
    tool.signal("-TERM");
    let output = tool.process.stdout.take();
    let (status, _, errors) = tool.end();
    drop(output);
    assert_eq!(status, 1);
    assert!(errors.contains("can't write results: nobody reads them; "), "{errors}");
    writer.join().unwrap();
}

#[cfg(unix)]
#[test]
fn a_signal_ends_perf_whatever_it_waits_for() {
    // For metadata.
    let (listener, silent) = silent_server();
    let tool = Tool::start(&["perf", "--bootstrap-server", &silent, "--grace", "0.3"]);
    asked(&listener);
    tool.signal("-TERM");
    let (status, _, errors) = tool.end();
    assert_eq!(status, 1);
    assert!(errors.contains("stopped: 0 records sent"), "{errors}");

    // For memory.
    let cluster = TestCluster::start().unwrap();
    let server = cluster.bootstrap();
    let tool = Tool::start(&["perf", "--bootstrap-server", &server, "--grace", "0.3", "--records", "100000000"]);
    wait_until(|| !cluster.with(|cluster, _| cluster.end_offsets("perf")).is_empty());
    cluster.with(|cluster, _| cluster.pause(1));
    std::thread::sleep(Duration::from_millis(300));
    tool.signal("-INT");
    let (status, _, errors) = tool.end();
    assert_eq!(status, 1);
    assert!(errors.contains("stopped: ") && errors.contains(" failed"), "{errors}");
}

/// As before `| head -1`.
#[test]
fn a_closed_output_is_no_news() {
    let mut tool = Tool::start_without_reader(&["produce", "--topic", "t", "--json"]);
    tool.write("one\n");
    let mut output = BufReader::new(tool.process.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(output);
    tool.write("two\n"); // and no third
    let input = tool.input.take();
    let (status, _, errors) = tool.end();
    drop(input);
    assert_eq!(status, 1);
    assert!(errors.lines().all(|line| line.contains("cluster in memory")), "{errors}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_can_t_be_written_is_told() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_milena"));
    let process = process.args(["produce", "--topic", "t", "--json"]).stdin(Stdio::piped()).stdout(full);
    let mut process = process.stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("can't write results: ") && errors.contains("2 lines read: 2 delivered"), "{errors}");
}

/// As before `2>&1 | head -1`.
#[test]
fn closed_errors_are_no_panic() {
    for arguments in [
        &["produce", "--topic", "t", "--key-separator", ":"][..],
        &["produce", "--topic", "t", "-X", "nonsense"],
        &["metadata", "--topic", "none", "-X", "max.block.ms=100"],
    ] {
        let mut process = start(arguments);
        drop(process.stderr.take());
        let _ = process.stdin.take().unwrap().write_all(b"no separator\n");
        let status = process.wait().unwrap();
        assert!(matches!(status.code(), Some(1 | 2)), "{arguments:?}: {status}");
    }
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

#[test]
fn a_cluster_tells_clients_the_host_it_is_told_to() {
    for (arguments, host) in [
        (&["--advertise", "localhost"][..], "localhost:"),
        (&["--listen", "0.0.0.0:0"], "127.0.0.1:"),
        (&["--listen", "0.0.0.0:0", "--advertise", "localhost"], "localhost:"),
        (&["--listen", "127.0.0.1:0"], "127.0.0.1:"),
    ] {
        let listen = if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let mut cluster = start(&[&["cluster", "--nodes", "2"][..], listen, arguments].concat());
        let mut line = String::new();
        BufReader::new(cluster.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let nodes: Vec<_> = line.trim().split(',').collect();
        assert!(nodes.len() == 2 && nodes.iter().all(|node| node.starts_with(host)), "{arguments:?}: {line}");
        let port = nodes[0].rsplit_once(':').unwrap().1;
        let bootstrap = format!("127.0.0.1:{port}");
        let (status, out, errors) = run(&["metadata", "--bootstrap-server", &bootstrap], "");
        assert_eq!(status, 0, "{errors}");
        for (id, node) in nodes.iter().enumerate() {
            assert!(out.contains(&format!("broker {} {node}\n", id + 1)), "{arguments:?}: {out}");
        }
        let (status, _, errors) = run(&["produce", "--topic", "t", "--bootstrap-server", &bootstrap], "v\n");
        assert_eq!(status, 0, "{errors}");
        let _ = cluster.kill();
        let _ = cluster.wait();
    }
    for host in ["", "host:9092", "a b"] {
        let (status, _, errors) = run(&["cluster", "--advertise", host], "");
        assert_eq!(status, 2, "{errors}");
        assert!(errors.contains("--advertise"), "{errors}");
    }
}

/// A cluster of the tool's that is killed where a test fails, its address, and what it prints after that.
fn cluster(more: &[&str]) -> (Tool, String, BufReader<std::process::ChildStdout>) {
    let mut tool = Tool::start_without_reader(&[&["cluster", "--listen", "127.0.0.1:0"], more].concat());
    let mut output = BufReader::new(tool.process.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    (tool, line.trim().to_string(), output)
}

/// Ends a cluster of the tool's; what it said.
#[cfg(unix)]
fn ended(tool: Tool) -> String {
    tool.signal("-TERM");
    let (status, _, errors) = tool.end();
    assert_eq!(status, 0, "{errors}");
    errors
}

#[test]
#[cfg(unix)]
fn a_cluster_prints_what_arrives() {
    let (tool, server, mut output) = cluster(&["--nodes", "1", "--print"]);
    let line = r#"{"key":"k","value":null,"headers":{"h":"1"},"partition":2,"timestamp":1600000000000}"#;
    let arguments = ["produce", "--topic", "t", "--bootstrap-server", &server, "--input-format", "json"];
    let (status, _, errors) = run(&arguments, format!("{line}\n"));
    assert_eq!(status, 0, "{errors}");
    let mut printed = String::new();
    output.read_line(&mut printed).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let whole = serde_json::json!({
        "topic": "t", "partition": 2, "offset": 0, "timestamp": 1_600_000_000_000_i64,
        "key": "k", "value": null, "headers": [["h", "1"]],
    });
    assert_eq!(printed, whole);
    let (status, _, errors) = run(&arguments, "{}\nsecret\n{\"secret\":1}\n");
    assert_eq!(status, 1);
    assert!(errors.contains("line 2") && errors.contains("line 3") && !errors.contains("secret"), "{errors}");
    assert!(errors.contains("3 lines read: 1 delivered, 2 failed"), "{errors}");
    assert!(ended(tool).contains("2 records in 2 batches"));
}

#[test]
#[cfg(unix)]
fn a_cluster_lets_in_whom_it_is_told_to_and_writes_what_clients_need() {
    let file = std::env::temp_dir().join(format!("milena-tool-{}.properties", std::process::id()));
    let file = file.to_str().unwrap();
    let (tool, server, _output) =
        cluster(&["--nodes", "1", "--tls", "--user", "alice=se\"cret=1", "--properties", file]);
    let produce = ["produce", "--topic", "t", "--config", file];
    let (status, _, errors) = run(&produce, "a\n");
    let (other, _, words) =
        run(&[&produce[..], &["--bootstrap-server", &server, "-X", "security.protocol=SSL"]].concat(), "b\n");
    std::fs::remove_file(file).unwrap();
    assert_eq!(status, 0, "{errors}");
    assert_eq!(other, 1, "{words}");
    assert!(ended(tool).contains("1 records in 1 batches"));
    let (status, _, errors) = run(&["cluster", "--user", "secret"], "");
    assert_eq!(status, 2);
    assert!(errors.contains("name=password is wanted"), "{errors}");
}

#[test]
#[cfg(unix)]
fn nodes_of_a_cluster_go_and_come_by_command_and_the_status_says_so() {
    let (mut tool, server, _output) = cluster(&["--nodes", "2", "--partitions", "2"]);
    let status = || run(&["status", "--bootstrap-server", &server, "--timeout", "5000"], "");
    let (code, out, errors) = run(&["produce", "--topic", "t", "--bootstrap-server", &server], "a\n");
    assert_eq!(code, 0, "{out} {errors}");
    let (code, out, errors) = status();
    assert_eq!(code, 0, "{errors}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("broker 1 127.0.0.1:"), "{out}");
    assert!(lines[..2].iter().all(|line| line.contains(" answers in ")), "{out}");
    assert_eq!(lines[2], "topics 1, partitions 2, without leader 0");
    tool.write("pause 2\n");
    wait_until(|| status().0 == 1);
    let (_, out, errors) = status();
    assert!(out.contains("broker 2 ") && out.contains(" does not answer: ") && out.contains(" answers in "), "{out}");
    assert!(errors.contains("1 of 2 brokers don't answer"), "{errors}");
    tool.write("resume 2\ncrash 9\nstop\n");
    wait_until(|| std::net::TcpStream::connect(server.split(',').next().unwrap()).is_err());
    let (code, _, errors) = status();
    assert_eq!(code, 1);
    assert!(errors.contains("refused"), "{errors}");
    tool.write("start\ncrash 1\nrestart 1\nsing\n");
    wait_until(|| status().0 == 0);
    let said = ended(tool);
    for words in [
        "node 2 is paused",
        "node 2 goes on",
        "there is no node 9",
        "all nodes are stopped",
        "all nodes are started",
        "node 1 has crashed",
        "node 1 is up again",
        "unknown command; there are crash N",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
