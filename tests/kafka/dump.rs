//! What DumpLogSegments says is in a partition's log: the strictest witness there is.

use std::collections::BTreeMap;

use crate::broker::Kafka;

/// A batch in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    pub count: i32,
    pub producer_id: i64,
    pub epoch: i16,
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub records: Vec<Record>,
}

/// A record in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    /// As they are printed.
    pub headers: String,
}

/// All batches of a partition.
pub fn batches(kafka: &Kafka, topic: &str, partition: u32) -> Vec<Batch> {
    let segments = kafka.segments(topic, partition);
    let files: Vec<String> = segments.iter().map(|path| path.display().to_string()).collect();
    let files = files.join(",");
    let arguments = ["--deep-iteration", "--print-data-log", "--files", &files];
    parse(&kafka.java("org.apache.kafka.tools.DumpLogSegments", &arguments))
}

/// All records of many partitions, in their order, by one process: each takes a second to start.
pub fn records_of_each(kafka: &Kafka, partitions: &[(&str, u32)]) -> Vec<Vec<Record>> {
    let segments: Vec<Vec<String>> = partitions
        .iter()
        .map(|(topic, partition)| {
            let segments = kafka.segments(topic, *partition);
            segments.iter().map(|path| path.display().to_string()).collect()
        })
        .collect();
    let arguments = ["--deep-iteration", "--print-data-log", "--files", &segments.concat().join(",")];
    let printed = kafka.java("org.apache.kafka.tools.DumpLogSegments", &arguments);
    let by_file: BTreeMap<&str, &str> =
        printed.split("Dumping ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    let of_file = |file: &String| {
        let text = by_file.get(file.as_str()).unwrap_or_else(|| panic!("{file} was not dumped"));
        parse(text).into_iter().flat_map(|batch| batch.records)
    };
    segments.iter().map(|files| files.iter().flat_map(of_file).collect()).collect()
}

/// How many records a partition has, whatever is in them.
pub fn count(kafka: &Kafka, topic: &str, partition: u32) -> usize {
    let segments = kafka.segments(topic, partition);
    let files: Vec<String> = segments.iter().map(|path| path.display().to_string()).collect();
    let text = kafka.java("org.apache.kafka.tools.DumpLogSegments", &["--files", &files.join(",")]);
    let batches = text.lines().filter(|line| line.starts_with("baseOffset: "));
    batches.map(|line| number(line, "count") as usize).sum()
}

/// All records of a partition.
pub fn records(kafka: &Kafka, topic: &str, partition: u32) -> Vec<Record> {
    batches(kafka, topic, partition).into_iter().flat_map(|batch| batch.records).collect()
}

fn parse(text: &str) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for line in text.lines() {
        if line.starts_with("baseOffset: ") {
            assert!(line.contains("isvalid: true"), "a batch that Kafka finds broken: {line}");
            batches.push(Batch {
                base_offset: number(line, "baseOffset"),
                count: number(line, "count") as i32,
                producer_id: number(line, "producerId"),
                epoch: number(line, "producerEpoch") as i16,
                first_sequence: number(line, "baseSequence") as i32,
                last_sequence: number(line, "lastSequence") as i32,
                records: Vec::new(),
            });
        } else if let Some(line) = line.strip_prefix("| ") {
            let batch = batches.last_mut().expect("records stand below their batch");
            batch.records.push(record(line));
        }
    }
    for batch in &batches {
        assert_eq!(batch.records.len() as i32, batch.count, "as many records as the batch says");
    }
    batches
}

/// Keys and values may hold anything but a line's end, so they are cut out by their sizes.
fn record(line: &str) -> Record {
    let (key_size, value_size) = (number(line, "keySize"), number(line, "valueSize"));
    let headers = line.split("headerKeys: [").nth(1).expect("headers are printed");
    let (headers, mut rest) = headers.split_once(']').expect("the list of headers ends");
    let mut cut = |name: &str, size: i64| {
        let size = usize::try_from(size).ok()?;
        rest = rest.strip_prefix(name).unwrap_or_else(|| panic!("{name:?} before {rest:?} in {line}"));
        let (text, left) = rest.split_at(size);
        rest = left;
        Some(text.to_string())
    };
    let key = cut(" key: ", key_size);
    let value = cut(" payload: ", value_size);
    let time =
        ["CreateTime", "LogAppendTime"].into_iter().find(|name| line.contains(name)).expect("a timestamp's name");
    Record { offset: number(line, "offset"), timestamp: number(line, time), key, value, headers: headers.to_string() }
}

fn number(line: &str, name: &str) -> i64 {
    let wanted = format!("{name}: ");
    let place = line.match_indices(&wanted).find(|(place, _)| *place == 0 || line[..*place].ends_with(' '));
    let (place, _) = place.unwrap_or_else(|| panic!("no {name} in {line}"));
    let text = line[place + wanted.len()..].split_whitespace().next().expect("a value");
    text.parse().unwrap_or_else(|_| panic!("{name} in {line}"))
}
