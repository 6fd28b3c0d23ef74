//! Other clients against the cluster in memory: they produce to it in every way that they have, and read from it, in groups
//! and without.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use milena::cluster::{Settings, StoredRecord, TestCluster, Versions};

pub type Scenario = fn(&Clients) -> Result<String, String>;

pub const CLIENTS: &[(&str, Scenario)] = &[
    ("cluster_librdkafka", |clients| clients.python("confluent", &cluster())),
    ("cluster_kafka_python", |clients| clients.python("kafka-python", &cluster())),
    ("cluster_franz_go", |clients| clients.franz_go(&quick_cluster(Versions::KAFKA_4_3))),
    ("cluster_as_kafka_2_1", |clients| old(clients, Versions::KAFKA_2_1)),
    ("cluster_as_kafka_3_0", |clients| old(clients, Versions::KAFKA_3_0)),
    ("cluster_kcat", kcat),
    ("cluster_java", java),
    ("cluster_java_admin", java_admin),
];

/// Records of each way: a record's key is its number modulo [`KEYS`], its value the topic and the number.
const RECORDS: usize = 2000;
const KEYS: usize = 20;

/// A way to produce: its name, acks, idempotence and codec.
type Way = (&'static str, &'static str, bool, &'static str);

const WAYS: &[Way] = &[
    ("usual", "all", true, "none"),
    ("acks-all", "all", false, "none"),
    ("acks-1", "1", false, "none"),
    ("acks-0", "0", false, "none"),
    ("gzip", "all", true, "gzip"),
    ("snappy", "1", false, "snappy"),
    ("lz4", "0", false, "lz4"),
    ("zstd", "all", false, "zstd"),
];

/// Where the clients are.
pub struct Clients {
    pub jars: String,
    /// A folder with Python's and Go's, made by `tests/kafka/run`.
    pub folder: String,
}

impl Clients {
    /// One of the libraries for Python, which does all by itself.
    fn python(&self, library: &str, cluster: &TestCluster) -> Result<String, String> {
        let mut command = Command::new(format!("{}/bin/python", self.folder));
        command.args(["tests/kafka/clients.py", library, &cluster.bootstrap(), &RECORDS.to_string()]);
        let read = run(command.args(arguments(WAYS)), "")?;
        all_is_there(cluster, WAYS, &read)
    }

    fn franz_go(&self, cluster: &TestCluster) -> Result<String, String> {
        let mut command = Command::new(format!("{}/franz-go", self.folder));
        command.args([&cluster.bootstrap(), &RECORDS.to_string()]);
        let read = run(command.args(arguments(WAYS)), "")?;
        all_is_there(cluster, WAYS, &read)
    }

    fn java(&self, class: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("java");
        let jars = format!("{}/*", self.jars);
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &jars, class]).args(arguments);
        run(&mut command, input)
    }
}

/// A cluster as of an older Kafka, for the clients that take those of any age.
fn old(clients: &Clients, versions: Versions) -> Result<String, String> {
    clients.franz_go(&quick_cluster(versions))?;
    clients.python("confluent", &quick_cluster(versions))
}

/// kcat produces in each way, reads one topic without a group, and all in one.
fn kcat(_: &Clients) -> Result<String, String> {
    let cluster = quick_cluster(Versions::KAFKA_4_3);
    let servers = cluster.bootstrap();
    for (topic, acks, idempotent, codec) in WAYS {
        let (acks, codec) = (format!("acks={acks}"), format!("compression.codec={codec}"));
        let idempotence = format!("enable.idempotence={idempotent}");
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &servers, "-t", topic, "-K", "\t"]);
        run(command.args(["-X", &acks, "-X", &codec, "-X", &idempotence]), &lines(topic))?;
    }
    let mut alone = Command::new("kcat");
    alone.args(["-C", "-b", &servers, "-t", "usual", "-o", "beginning", "-e", "-q", "-f", "%k\\t%s\\n"]);
    all_is_read(&WAYS[..1], &run(&mut alone, "")?)?;
    let mut together = Command::new("kcat");
    together.args(["-b", &servers, "-e", "-q", "-X", "auto.offset.reset=earliest", "-f", "%k\\t%s\\n", "-G", "kcat"]);
    let read = run(together.args(WAYS.iter().map(|way| way.0)), "")?;
    all_is_there(&cluster, WAYS, &read)
}

/// Java's console producer and consumer, with as few options as possible.
fn java(clients: &Clients) -> Result<String, String> {
    let cluster = cluster();
    let servers = cluster.bootstrap();
    std::thread::scope(|scope| {
        let producers: Vec<_> = WAYS
            .iter()
            .map(|(topic, acks, idempotent, codec)| {
                let servers = &servers;
                scope.spawn(move || {
                    let (acks, codec) = (format!("acks={acks}"), format!("compression.type={codec}"));
                    let idempotence = format!("enable.idempotence={idempotent}");
                    let mut arguments = vec!["--bootstrap-server", servers, "--topic", topic];
                    arguments.extend(["--reader-property", "parse.key=true"]);
                    for property in [&acks, &codec, &idempotence] {
                        arguments.extend(["--command-property", property]);
                    }
                    clients.java("org.apache.kafka.tools.ConsoleProducer", &arguments, &lines(topic)).map(drop)
                })
            })
            .collect();
        producers.into_iter().try_for_each(|producer| producer.join().map_err(|_| "it panicked".to_string())?)
    })?;
    let count = (WAYS.len() * RECORDS).to_string();
    let read = clients.java(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &[
            "--bootstrap-server",
            &servers,
            "--include",
            ".*",
            "--from-beginning",
            "--max-messages",
            &count,
            "--timeout-ms",
            "20000",
            "--formatter-property",
            "print.key=true",
        ],
        "",
    )?;
    all_is_there(&cluster, WAYS, &read)
}

/// Topics as Java's admin client creates, describes and deletes them.
fn java_admin(clients: &Clients) -> Result<String, String> {
    let cluster = cluster();
    let servers = cluster.bootstrap();
    let topics = |arguments: &[&str]| {
        let arguments = [&["--bootstrap-server", &servers][..], arguments].concat();
        clients.java("org.apache.kafka.tools.TopicCommand", &arguments, "")
    };
    topics(&["--create", "--topic", "made", "--partitions", "5", "--replication-factor", "2"])?;
    let (partitions, replicas) =
        cluster.with(|cluster, _| (cluster.partitions("made"), cluster.in_sync("made", 0).len()));
    if (partitions, replicas) != (5, 2) {
        return Err(format!("{partitions} partitions and {replicas} replicas"));
    }
    topics(&["--alter", "--topic", "made", "--partitions", "7"])?;
    let listed = topics(&["--list"])?;
    if listed.trim() != "made" || cluster.with(|cluster, _| cluster.partitions("made")) != 7 {
        return Err(format!("listed: {listed}"));
    }
    let refused = topics(&["--create", "--topic", "made"]);
    if !refused.as_ref().is_err_and(|words| words.contains("already exists")) {
        return Err(format!("created twice: {refused:?}"));
    }
    let described = topics(&["--describe", "--topic", "made"])?;
    if !described.contains("PartitionCount: 7") || !described.contains("Partition: 6") {
        return Err(format!("described: {described}"));
    }
    topics(&["--delete", "--topic", "made"])?;
    let left = cluster.with(|cluster, _| cluster.topics());
    if left.is_empty() { Ok("created, grown, listed, deleted".into()) } else { Err(format!("left: {left:?}")) }
}

/// Three nodes, where a topic that is created on first use takes a moment, as in Kafka.
fn cluster() -> TestCluster {
    TestCluster::builder().nodes(3).start().expect("loopback sockets")
}

/// The same without that moment, after which librdkafka's plain producer asks again in a second, and franz-go in five.
fn quick_cluster(versions: Versions) -> TestCluster {
    let settings = Settings::default().nodes(3).instant_elections(true).versions(versions);
    TestCluster::builder().settings(settings).start().expect("loopback sockets")
}

/// What the programs in other languages are told: topics, and how to produce to them.
fn arguments(ways: &[Way]) -> Vec<String> {
    ways.iter().map(|(topic, acks, idempotent, codec)| format!("{topic}={acks},{idempotent},{codec}")).collect()
}

/// The records of a topic, a line each.
fn lines(topic: &str) -> String {
    (0..RECORDS).map(|n| format!("{}\t{topic}:{n}\n", n % KEYS)).collect()
}

/// Runs a program to its end: what it printed, or what went wrong.
fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = spawned.map_err(|error| format!("{name}: {error}; see tests/kafka/run"))?;
    let mut stdin = process.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input.as_bytes()); // a program that fails reads nothing
        });
        process.wait_with_output()
    });
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Some say in words alone that something failed.
    let failed = !output.status.success() || errors.contains("ERROR") || errors.contains("% Delivery failed");
    if failed { Err(format!("{name}: {}: {printed:.500} {errors:.3000}", output.status)) } else { Ok(printed) }
}

/// The cluster has all records, once, in order in each key, each key in one partition; and so has the client that read them.
fn all_is_there(cluster: &TestCluster, ways: &[Way], read: &str) -> Result<String, String> {
    for (topic, ..) in ways {
        let text =
            |bytes: &Option<bytes::Bytes>| String::from_utf8_lossy(bytes.as_deref().unwrap_or(b"null")).into_owned();
        // Without an answer nobody knows when they are all there.
        let stored = wait_for(|| cluster.records(topic), |stored| stored.len() >= RECORDS);
        let line = |record: &StoredRecord| (text(&record.key), text(&record.value));
        in_order(topic, stored.iter().map(|(_, record)| line(record)))?;
        let mut places: BTreeMap<String, i32> = BTreeMap::new();
        for (partition, record) in &stored {
            let place = *places.entry(text(&record.key)).or_insert(*partition);
            if place != *partition {
                return Err(format!("{topic}: a key is in partitions {place} and {partition}"));
            }
        }
    }
    all_is_read(ways, read)?;
    let asked = cluster.with(|cluster, _| format!("{:?}", cluster.counters().requests.keys()));
    Ok(format!("{} ways, {RECORDS} records each, produced and consumed by {asked}", ways.len()))
}

fn all_is_read(ways: &[Way], read: &str) -> Result<(), String> {
    let mut topics: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for line in read.lines() {
        let (key, value) = line.split_once('\t').ok_or_else(|| format!("read: {line:?}"))?;
        let topic = value.split(':').next().unwrap_or_default();
        topics.entry(topic).or_default().push((key.to_string(), value.to_string()));
    }
    for (topic, ..) in ways {
        in_order(topic, topics.remove(topic).unwrap_or_default().into_iter())
            .map_err(|words| format!("as consumed: {words}"))?;
    }
    if topics.is_empty() { Ok(()) } else { Err(format!("more was consumed: {:?}", topics.keys())) }
}

/// These are all records of a topic, in order in each key.
fn in_order(topic: &str, records: impl Iterator<Item = (String, String)>) -> Result<(), String> {
    let mut next: BTreeMap<usize, usize> = (0..KEYS).map(|key| (key, key)).collect();
    let mut count = 0;
    for (key, value) in records {
        let number: Option<usize> = value.strip_prefix(topic).and_then(|rest| rest.strip_prefix(':')?.parse().ok());
        let number = number.ok_or_else(|| format!("{topic}: {value:?} was not sent"))?;
        let expected = next.get_mut(&(number % KEYS)).ok_or("no such key")?;
        if *expected != number || key != (number % KEYS).to_string() {
            return Err(format!("{topic}: {value} with key {key}, where {expected} comes next"));
        }
        *expected += KEYS;
        count += 1;
    }
    if count == RECORDS { Ok(()) } else { Err(format!("{topic}: {count} records of {RECORDS}")) }
}

fn wait_for<T>(look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    for _ in 0..500 {
        let seen = look();
        if is_so(&seen) {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    look()
}
