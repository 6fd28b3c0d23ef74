//! A Kafka cluster in memory for the tests of hosts in other languages. Words on the standard input tell it what to do, and what it
//! answers is one line of JSON:
//!
//! - `stop`, `start`: ends all nodes, and starts them again with all that was stored
//! - `create TOPIC PARTITIONS`, `grow TOPIC PARTITIONS`, `refuse TOPIC` (nobody may write to it), `fail CODE TIMES` (produce requests)
//! - `records TOPIC`: all that it holds, with keys, values and values of headers in base64
//!
//! The first line says with which options a client gets in. Arguments: `nodes=N`, `partitions=N`, `user=NAME:PASSWORD`, `tls`. It
//! ends with its standard input.

use core::error::Error;
use std::io::{Write, stdin, stdout};

use base64ct::{Base64, Encoding};
use milena::cluster::{Request, Settings, StoredRecord, TestCluster};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::default().nodes(1);
    let (mut user, mut tls) = (None, false);
    for argument in std::env::args().skip(1) {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("nodes", count) => settings = settings.nodes(count.parse()?),
            ("partitions", count) => settings = settings.default_partitions(count.parse()?),
            ("user", who) => {
                user = who.split_once(':').map(|(name, password)| (name.to_string(), password.to_string()))
            }
            ("tls", "") => tls = true,
            _ => return Err(format!("no such argument: {argument}").into()),
        }
    }
    let mut builder = TestCluster::builder().settings(settings);
    if let Some((name, password)) = &user {
        builder = builder.user(name, password);
    }
    if tls {
        builder = builder.tls();
    }
    let cluster = builder.start()?;
    answer(&cluster.properties().into_iter().map(|(name, value)| (name, Value::from(value))).collect())?;
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["stop"] => cluster.stop(),
            ["start"] => cluster.start_again()?,
            ["create", topic, count] => {
                let count = count.parse()?;
                cluster.with(|cluster, _| cluster.create_topic(topic, count));
            }
            ["grow", topic, count] => {
                let count = count.parse()?;
                cluster.with(|cluster, _| cluster.add_partitions(topic, count));
            }
            ["refuse", topic] => cluster.with(|cluster, _| cluster.set_forbidden(topic, true)),
            ["fail", code, times] => {
                let (code, times) = (code.parse()?, times.parse()?);
                cluster.with(|cluster, _| cluster.fail_next(Request::Produce, code, times));
            }
            ["records", topic] => {
                answer(&cluster.records(topic).iter().map(|(partition, record)| told(*partition, record)).collect())?;
                continue;
            }
            _ => return Err(format!("no such command: {line}").into()),
        }
        answer(&Value::Null)?;
    }
    Ok(())
}

fn answer(value: &Value) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn told(partition: i32, record: &StoredRecord) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(Base64::encode_string);
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| json!([name, text(value.as_deref())])).collect();
    json!({
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key.as_deref()),
        "value": text(record.value.as_deref()),
        "headers": headers,
    })
}
