//! What is tried, by name.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use milena::{Config, Header, Record};

use crate::broker::Kafka;
use crate::check::{Acknowledged, nothing_lost_doubled_or_reordered};
use crate::dump;

pub type Scenario = fn(&mut Kafka) -> Result<String, String>;

/// Those that one node is enough for.
pub const ONE_NODE: &[(&str, Scenario)] = &[
    ("content_tool", content_tool),
    ("content_threads", |kafka| content(kafka, "content-threads", Adapter::Threads)),
    ("content_tokio", |kafka| content(kafka, "content-tokio", Adapter::Tokio)),
    ("keys_as_java", keys_as_java),
    ("hundred_thousand", hundred_thousand),
    ("too_large", |kafka| too_large(kafka, "none")),
    ("too_large_gzip", |kafka| too_large(kafka, "gzip")),
    ("too_large_snappy", |kafka| too_large(kafka, "snappy")),
    ("too_large_lz4", |kafka| too_large(kafka, "lz4")),
    ("too_large_zstd", |kafka| too_large(kafka, "zstd")),
    ("codecs", codecs),
    ("acks_0_and_1", acks_0_and_1),
    ("bad_input", bad_input),
    ("versions_of_the_cluster", versions_of_the_cluster),
];

/// Those about leaders.
pub const THREE_NODES: &[(&str, Scenario)] = &[
    ("kill_leader_threads", |kafka| under_fire(kafka, "kill-threads", Adapter::Threads, kill_leader)),
    ("kill_leader_tokio", |kafka| under_fire(kafka, "kill-tokio", Adapter::Tokio, kill_leader)),
    ("stop_leader_threads", |kafka| under_fire(kafka, "stop-threads", Adapter::Threads, stop_leader)),
    ("stop_leader_tokio", |kafka| under_fire(kafka, "stop-tokio", Adapter::Tokio, stop_leader)),
    ("move_leader_threads", |kafka| under_fire(kafka, "move-threads", Adapter::Threads, move_leader)),
    ("move_leader_tokio", |kafka| under_fire(kafka, "move-tokio", Adapter::Tokio, move_leader)),
];

/// Which adapter produces.
#[derive(Clone, Copy, Debug)]
enum Adapter {
    Threads,
    Tokio,
}

fn config(kafka: &Kafka, more: &[(&str, &str)]) -> Config {
    let servers = kafka.bootstrap();
    let options = [("bootstrap.servers", servers.as_str())].into_iter().chain(more.iter().copied());
    Config::from_properties(options).expect("valid options")
}

/// Sends records in order and waits for all of them.
fn send_all(adapter: Adapter, config: Config, records: &[Record<'_>]) -> Result<Vec<milena::Delivered>, milena::Error> {
    match adapter {
        Adapter::Threads => {
            let producer = milena::threads::Producer::new(config).expect("a producer");
            let acks: Result<Vec<_>, _> = records.iter().map(|record| producer.enqueue(record)).collect();
            acks?.iter().map(milena::threads::Ack::wait).collect()
        }
        Adapter::Tokio => tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let producer = milena::tokio::Producer::spawn(config).expect("a producer");
            let mut acks = Vec::new();
            for record in records {
                acks.push(producer.enqueue(record).await?);
            }
            let mut delivered = Vec::new();
            for ack in acks {
                delivered.push(ack.await?);
            }
            Ok(delivered)
        }),
    }
}

/// Runs the tool; exit status, standard output, standard error.
pub fn tool(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_milena"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut stdin = process.stdin.take().expect("a pipe");
    let input = input.to_string();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes()); // a tool that refuses its arguments reads nothing
    });
    let output = process.wait_with_output().expect("the tool ends");
    writer.join().expect("the writer ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{what}: {seen:?}, not {wanted:?}")) }
}

/// Sequences of a producer follow each other without a gap.
fn sequences_follow(batches: &[dump::Batch]) -> Result<(), String> {
    let mut next: BTreeMap<(i64, i16), i32> = BTreeMap::new();
    for batch in batches {
        if batch.producer_id < 0 {
            return Err(format!("a batch without producer id: {batch:?}"));
        }
        let expected = next.entry((batch.producer_id, batch.epoch)).or_insert(0);
        expect("first sequence", &batch.first_sequence, expected)?;
        *expected = batch.last_sequence + 1;
    }
    Ok(())
}

fn content_tool(kafka: &mut Kafka) -> Result<String, String> {
    let servers = kafka.bootstrap();
    let input = "k1=v1\nno key\n=empty key\nk2=\n";
    let arguments = [
        "produce",
        "--bootstrap-server",
        &servers,
        "--topic",
        "content-tool",
        "--key-separator",
        "=",
        "--ignore-error",
        "--json",
    ];
    let (status, out, errors) = tool(&arguments, input);
    expect("status", &status, &0).map_err(|words| format!("{words}: {errors}"))?;
    let mut seen = 0;
    for line in out.lines() {
        let outcome: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let (partition, offset) = (outcome["partition"].as_u64(), outcome["offset"].as_i64());
        let log = dump::records(kafka, "content-tool", partition.ok_or("no partition")? as u32);
        let record = log.iter().find(|record| Some(record.offset) == offset).ok_or(format!("{line}: not there"))?;
        let wanted = match outcome["n"].as_u64() {
            Some(0) => (Some("k1"), Some("v1")),
            Some(1) => (None, Some("no key")),
            Some(2) => (Some(""), Some("empty key")),
            Some(3) => (Some("k2"), Some("")),
            _ => return Err(format!("{line}: an outcome for a line that there was not")),
        };
        expect("record", &(record.key.as_deref(), record.value.as_deref()), &wanted)?;
        expect("timestamp", &Some(record.timestamp), &outcome["timestamp"].as_i64())?;
        seen += 1;
    }
    expect("outcomes", &seen, &4)?;
    Ok("4 outcomes".into())
}

/// Keys, values, headers and timestamps arrive as they were sent, and consumers see them.
fn content(kafka: &mut Kafka, topic: &str, adapter: Adapter) -> Result<String, String> {
    kafka.create_topic(topic, 4, &[]);
    let headers = [Header::new("h1", b"x"), Header::new("h2", b""), Header::null("h3")];
    let long = "x".repeat(100_000);
    let records = [
        Record::new(topic).key("a").value("1").headers(&headers).timestamp(1_600_000_000_000).partition(0),
        Record::new(topic).value("null key").timestamp(1_600_000_000_001).partition(0),
        Record::new(topic).key("").value("empty key").partition(0),
        Record::new(topic).key("tombstone").partition(0),
        Record::new(topic).key("empty value").value("").partition(0),
        Record::new(topic).value(&long).partition(0),
    ];
    let delivered = send_all(adapter, config(kafka, &[]), &records).map_err(|error| error.to_string())?;
    let batches = dump::batches(kafka, topic, 0);
    sequences_follow(&batches)?;
    let log: Vec<_> = batches.into_iter().flat_map(|batch| batch.records).collect();
    expect("records", &log.len(), &records.len())?;
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    for ((record, stored), said) in records.iter().zip(&log).zip(&delivered) {
        expect("key", &stored.key, &text(record.key))?;
        expect("value", &stored.value, &text(record.value))?;
        expect("offset", &Some(stored.offset), &said.offset)?;
        expect("timestamp", &stored.timestamp, &said.timestamp)?;
        if let Some(timestamp) = record.timestamp {
            expect("timestamp", &stored.timestamp, &timestamp)?;
        }
    }
    expect("headers", &log[0].headers, &"h1,h2,h3".to_string())?;
    let servers = kafka.bootstrap();
    let printed = kafka.java(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &[
            "--bootstrap-server",
            &servers,
            "--topic",
            topic,
            "--from-beginning",
            "--max-messages",
            "6",
            "--timeout-ms",
            "20000",
            "--formatter-property",
            "print.key=true",
            "--formatter-property",
            "print.headers=true",
            "--formatter-property",
            "key.separator=|",
            "--formatter-property",
            "headers.separator=;",
        ],
    );
    for wanted in ["h1:x;h2:;h3:null", "a|1", "null|null key", "|empty key", "tombstone|null", "empty value|"] {
        if !printed.contains(wanted) {
            return Err(format!("the consumer does not show {wanted:?}: {}", &printed[..printed.len().min(500)]));
        }
    }
    Ok("6 records, dumped and consumed".into())
}

/// Keys go where Java's producer sends them: the vectors come from its classes.
fn keys_as_java(kafka: &mut Kafka) -> Result<String, String> {
    kafka.create_topic("keys", 6, &[]);
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/partitions.jsonl"));
    let text = text.map_err(|error| error.to_string())?;
    let mut keys = Vec::new();
    for line in text.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let hex = vector["key"].as_str().ok_or("no key")?;
        let key: Vec<u8> =
            (0..hex.len() / 2).filter_map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()).collect();
        let partition = vector["partitions"]["6"].as_i64().ok_or("no partition")?;
        keys.push((key, partition as i32));
    }
    let records: Vec<Record<'_>> = keys.iter().map(|(key, _)| Record::new("keys").key(key).value("v")).collect();
    let delivered = send_all(Adapter::Threads, config(kafka, &[]), &records).map_err(|error| error.to_string())?;
    for ((key, partition), delivered) in keys.iter().zip(&delivered) {
        expect(&format!("partition of {key:?}"), &delivered.partition, partition)?;
    }
    let stored: usize = (0..6).map(|partition| dump::count(kafka, "keys", partition)).sum();
    expect("stored", &stored, &keys.len())?;
    Ok(format!("{} keys", keys.len()))
}

fn hundred_thousand(kafka: &mut Kafka) -> Result<String, String> {
    let servers = kafka.bootstrap();
    let input: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    let (status, out, errors) =
        tool(&["produce", "--bootstrap-server", &servers, "--topic", "numbers", "--json"], &input);
    expect("status", &status, &0).map_err(|words| format!("{words}: {errors}"))?;
    let mut sent: BTreeMap<u64, Acknowledged> = BTreeMap::new();
    for line in out.lines() {
        let outcome: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let n = outcome["n"].as_u64().ok_or(format!("{line}: no n"))?;
        let partition = outcome["partition"].as_i64().ok_or(format!("{line}: no partition"))? as i32;
        let record = Acknowledged { partition, offset: outcome["offset"].as_i64(), value: (n + 1).to_string() };
        if sent.insert(n, record).is_some() {
            return Err(format!("{n} has two outcomes"));
        }
    }
    expect("outcomes", &sent.len(), &100_000)?;
    let sent: Vec<Acknowledged> = sent.into_values().collect();
    nothing_lost_doubled_or_reordered(kafka, "numbers", 4, &sent)
}

fn too_large(kafka: &mut Kafka, codec: &str) -> Result<String, String> {
    let topic = &format!("small-{codec}");
    kafka.create_topic(topic, 2, &["max.message.bytes=2000"]);
    // Digits that compress to a half or so.
    let values: Vec<String> =
        (0..3000u64).map(|n| format!("{n}-{:0>90}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_pow(3))).collect();
    let records: Vec<Record<'_>> =
        values.iter().enumerate().map(|(n, value)| Record::new(topic).value(value).partition(n as i32 % 2)).collect();
    let options = [("batch.size", "65536"), ("linger.ms", "50"), ("compression.type", codec)];
    let delivered = send_all(Adapter::Threads, config(kafka, &options), &records).map_err(|error| error.to_string())?;
    let sent: Vec<Acknowledged> = values
        .iter()
        .zip(&delivered)
        .map(|(value, delivered)| Acknowledged {
            partition: delivered.partition,
            offset: delivered.offset,
            value: value.clone(),
        })
        .collect();
    let words = nothing_lost_doubled_or_reordered(kafka, topic, 2, &sent)?;
    let largest = (0..2).flat_map(|partition| dump::batches(kafka, topic, partition)).map(|batch| batch.count).max();
    if largest.is_none_or(|largest| !(2..=200).contains(&largest)) {
        return Err(format!("batches of up to {largest:?} records"));
    }
    Ok(words)
}

/// Every codec and level: keys, headers, null and empty values, from a byte to a megabyte, compressible or not, as Java reads
/// them back.
fn codecs(kafka: &mut Kafka) -> Result<String, String> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut noise = |length: usize| -> String {
        let letter = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'!' + (state % 90) as u8)
        };
        std::iter::repeat_with(letter).take(length).collect()
    };
    let values: Vec<Option<String>> = [1, 50, 5000, 70_000, 1 << 20]
        .into_iter()
        .flat_map(|length| [Some("ab".repeat(length).split_at(length).0.to_string()), Some(noise(length))])
        .chain([None, Some(String::new())])
        .collect();
    let ways = [
        ("gzip", "compression.gzip.level", vec!["-1", "1", "6", "9"]),
        ("snappy", "compression.gzip.level", vec!["-1"]),
        ("lz4", "compression.lz4.level", vec!["9", "1"]),
        ("zstd", "compression.zstd.level", vec!["3", "-7", "1", "22"]),
    ];
    let mut tried = 0;
    for (codec, option, levels) in ways {
        for level in levels {
            let topic = &format!("codec-{codec}-{}", level.replace('-', "minus"));
            kafka.create_topic(topic, 1, &["max.message.bytes=4000000"]);
            let options =
                [("compression.type", codec), (option, level), ("max.request.size", "4000000"), ("linger.ms", "30")];
            let headers = [Header::new("h1", b"x"), Header::null("h2")];
            let mut records = Vec::new();
            for value in &values {
                let record = Record::new(topic).key("key").headers(&headers);
                records.push(value.as_ref().map_or(record, |value| record.value(value)));
            }
            for adapter in [Adapter::Threads, Adapter::Tokio] {
                send_all(adapter, config(kafka, &options), &records)
                    .map_err(|error| format!("{codec} {level}: {error}"))?;
            }
            let log = dump::records(kafka, topic, 0);
            expect("records", &log.len(), &(2 * values.len()))?;
            for (stored, value) in log.iter().zip(values.iter().chain(&values)) {
                if stored.value != *value || stored.key.as_deref() != Some("key") || stored.headers != "h1,h2" {
                    return Err(format!("{codec} {level}: another record at {}", stored.offset));
                }
            }
            let servers = kafka.bootstrap();
            let count = (2 * values.len()).to_string();
            let consumed = kafka.java(
                "org.apache.kafka.tools.consumer.ConsoleConsumer",
                &[
                    "--bootstrap-server",
                    &servers,
                    "--topic",
                    topic,
                    "--from-beginning",
                    "--max-messages",
                    &count,
                    "--timeout-ms",
                    "20000",
                ],
            );
            let seen: Vec<&str> = consumed.lines().collect();
            for value in values.iter().flatten().filter(|value| !value.is_empty()) {
                if seen.iter().filter(|line| *line == value).count() != 2 {
                    return Err(format!("{codec} {level}: the consumer does not see a value of {} bytes", value.len()));
                }
            }
            tried += 1;
        }
    }
    Ok(format!("{tried} codecs and levels, {} records each, by two adapters", values.len()))
}

fn acks_0_and_1(kafka: &mut Kafka) -> Result<String, String> {
    for acks in ["0", "1"] {
        let topic = format!("acks-{acks}"); // created on first use
        let values: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
        let records: Vec<Record<'_>> = values.iter().map(|value| Record::new(&topic).value(value)).collect();
        let config = config(kafka, &[("acks", acks)]);
        let delivered = send_all(Adapter::Threads, config, &records).map_err(|error| error.to_string())?;
        if delivered.iter().any(|delivered| delivered.offset.is_some() == (acks == "0")) {
            return Err(format!("acks={acks}: offsets where there are none, or none where there are"));
        }
        let stored = || {
            let log = |partition| dump::records(kafka, &topic, partition);
            let mut stored: Vec<String> = (0..4).flat_map(log).filter_map(|record| record.value).collect();
            stored.sort();
            stored
        };
        let mut stored = (0..20).map(|_| stored()).skip_while(|stored| acks == "0" && stored.len() < values.len());
        let stored = stored.next().unwrap_or_default(); // acks=0 says nothing about when
        let mut wanted = values.clone();
        wanted.sort();
        if stored != wanted {
            return Err(format!("acks={acks}: {} records stored of {}", stored.len(), wanted.len()));
        }
    }
    Ok("2,000 each".into())
}

fn bad_input(kafka: &mut Kafka) -> Result<String, String> {
    let servers = kafka.bootstrap();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").to_string()
    };
    let large = format!("{}\n", "x".repeat(2_000_000));
    let cases: [(&str, Vec<&str>, &str, i32, &str); 6] = [
        ("unreachable", vec!["--bootstrap-server", &closed, "-X", "max.block.ms=1000"], "v\n", 1, "refused"),
        (
            "no such name",
            vec!["--bootstrap-server", "no-such-host.invalid:9092", "-X", "max.block.ms=1000"],
            "v\n",
            1,
            "resolve",
        ),
        ("too large", vec!["--bootstrap-server", &servers], &large, 1, "max.request.size"),
        ("unknown option", vec!["--bootstrap-server", &servers, "-X", "linger=5"], "v\n", 2, "linger.ms"),
        (
            "contradiction",
            vec!["--bootstrap-server", &servers, "-X", "acks=1", "-X", "enable.idempotence=true"],
            "v\n",
            2,
            "acks=all",
        ),
        ("not built in", vec!["--bootstrap-server", &servers, "-X", "transactional.id=t"], "v\n", 2, "not built in"),
    ];
    for (name, more, input, status, words) in &cases {
        let arguments: Vec<&str> = ["produce", "--topic", "bad"].into_iter().chain(more.iter().copied()).collect();
        let (code, _, errors) = tool(&arguments, input);
        if code != *status || !errors.contains(words) || errors.contains("panicked") {
            return Err(format!("{name}: status {code}, {errors}"));
        }
    }
    let (code, _, errors) = tool(&["produce", "--topic", "for/bidden", "--bootstrap-server", &servers], "v\n");
    if code != 1 || !errors.contains("INVALID_TOPIC") {
        return Err(format!("forbidden name: status {code}, {errors}"));
    }
    Ok(format!("{} cases", cases.len() + 1))
}

/// The cluster in memory offers exactly what the Kafka offers that it is like, and never more than a newer one does; but for
/// those requests that it says are missing.
fn versions_of_the_cluster(kafka: &mut Kafka) -> Result<String, String> {
    use milena::cluster::{Request, Versions};
    let servers = kafka.bootstrap();
    let printed = kafka.java("org.apache.kafka.tools.BrokerApiVersionsCommand", &["--bootstrap-server", &servers]);
    // Such as "Produce(0): 0 to 13 [usable: 13]," and "AddRaftVoter(80): 0 [usable: 0],".
    let range = |line: &str| {
        let (name, rest) = line.trim().split_once("): ")?;
        let key: i16 = name.rsplit_once('(')?.1.parse().ok()?;
        let (range, _) = rest.split_once(" [")?;
        let (oldest, newest) = range.split_once(" to ").unwrap_or((range, range));
        Some((key, (oldest.parse::<i16>().ok()?, newest.parse::<i16>().ok()?)))
    };
    let real: BTreeMap<i16, (i16, i16)> = printed.lines().filter_map(range).collect();
    let (like, same_age) = match kafka.version() {
        (4, minor) => (Versions::KAFKA_4_3, minor == 3),
        (3, _) => (Versions::KAFKA_3_0, false),
        (_, minor) => (Versions::KAFKA_2_1, minor == 1),
    };
    for request in Request::ALL {
        let ours = like.range(*request);
        let mut theirs = real.get(&request.key()).copied();
        if kafka.version() == (4, 3)
            && matches!(request, Request::ListOffsets | Request::OffsetCommit | Request::OffsetFetch)
        {
            theirs = theirs.map(|(oldest, newest)| (oldest, newest - 1));
        }
        match (ours, theirs) {
            // Offered to those with SASL alone.
            (_, None) if matches!(request, Request::SaslHandshake | Request::SaslAuthenticate) => {}
            // Kafka before 4 still takes what the cluster never took.
            (Some(ours), Some(theirs)) if kafka.version() < (4, 0) && theirs.0 < ours.0 && theirs.1 >= ours.1 => {
                if same_age {
                    expect(&format!("{request:?}"), &ours.1, &theirs.1)?;
                }
            }
            (Some(ours), Some(theirs)) if !same_age && theirs.0 == ours.0 && theirs.1 >= ours.1 => {}
            _ => expect(&format!("{request:?}"), &ours, &theirs)?,
        }
    }
    Ok(format!("{} kinds of requests", Request::ALL.len()))
}

/// Records in order of their sends, each with its partition, while something happens to the brokers.
fn under_fire(kafka: &mut Kafka, topic: &str, adapter: Adapter, fire: fn(&mut Kafka, &str)) -> Result<String, String> {
    const PARTITIONS: u32 = 3;
    kafka.create_topic(topic, PARTITIONS, &[]);
    let options = [("request.timeout.ms", "3000"), ("linger.ms", "2"), ("batch.size", "4000")];
    let config = config(kafka, &options);
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let stream = scope.spawn(|| match adapter {
            Adapter::Threads => stream_threads(config, topic, PARTITIONS, &over),
            Adapter::Tokio => stream_tokio(config, topic, PARTITIONS, &over),
        });
        std::thread::sleep(Duration::from_secs(1));
        fire(kafka, topic);
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        stream.join().map_err(|_| "the stream panicked".to_string())?
    })?;
    nothing_lost_doubled_or_reordered(kafka, topic, PARTITIONS, &sent)
}

/// The n-th record of a stream: its partition and value.
fn nth(n: u64, partitions: u32) -> (i32, String) {
    ((n % u64::from(partitions)) as i32, format!("{n:0>40}"))
}

/// How many records are sent before the stream pauses for a millisecond: many batches in flight, and not millions.
const BURST: u64 = 20;

fn stream_threads(
    config: Config,
    topic: &str,
    partitions: u32,
    over: &AtomicBool,
) -> Result<Vec<Acknowledged>, String> {
    let producer = milena::threads::Producer::new(config).map_err(|error| error.to_string())?;
    let mut open = Vec::new();
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        let (partition, value) = nth(n, partitions);
        let ack = producer.enqueue(&Record::new(topic).value(&value).partition(partition));
        open.push((value, ack.map_err(|error| error.to_string())?));
        n += 1;
        if n % BURST == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let acknowledged = |(value, ack): (String, milena::threads::Ack)| {
        let delivered = ack.wait().map_err(|error| format!("{value}: {error}"))?;
        Ok(Acknowledged { partition: delivered.partition, offset: delivered.offset, value })
    };
    open.into_iter().map(acknowledged).collect()
}

fn stream_tokio(config: Config, topic: &str, partitions: u32, over: &AtomicBool) -> Result<Vec<Acknowledged>, String> {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let producer = milena::tokio::Producer::spawn(config).map_err(|error| error.to_string())?;
        let mut open = Vec::new();
        let mut n = 0;
        while !over.load(Ordering::Relaxed) {
            let (partition, value) = nth(n, partitions);
            let ack = producer.enqueue(&Record::new(topic).value(&value).partition(partition)).await;
            open.push((value, ack.map_err(|error| error.to_string())?));
            n += 1;
            if n % BURST == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut acknowledged = Vec::new();
        for (value, ack) in open {
            let delivered = ack.await.map_err(|error| format!("{value}: {error}"))?;
            acknowledged.push(Acknowledged { partition: delivered.partition, offset: delivered.offset, value });
        }
        Ok(acknowledged)
    })
}

fn kill_leader(kafka: &mut Kafka, topic: &str) {
    let leader = kafka.leader(topic, 0);
    kafka.kill(leader);
    std::thread::sleep(Duration::from_secs(6));
    kafka.restart(leader);
}

fn stop_leader(kafka: &mut Kafka, topic: &str) {
    let leader = kafka.leader(topic, 0);
    kafka.signal(leader, "-STOP");
    std::thread::sleep(Duration::from_secs(8)); // longer than request.timeout.ms, and than the controller's patience
    kafka.signal(leader, "-CONT");
    std::thread::sleep(Duration::from_secs(2));
}

fn move_leader(kafka: &mut Kafka, topic: &str) {
    for partition in 0..3 {
        let leader = kafka.leader(topic, partition);
        kafka.move_leader(topic, partition, (leader + 1) % 3);
    }
}
