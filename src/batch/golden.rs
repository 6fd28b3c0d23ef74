//! Our batches against those that Kafka's Java classes built.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::header::{self, Stamp};
use super::{Class, Content, Pool, Records, Reserve};
#[cfg(feature = "cluster")]
use super::{Compression, Compressor};
use crate::golden::{hex, objects};
use crate::record::Header;

/// Bytes that a vector gives as digits, or as a rule for a long string.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(digits) => Some(hex(digits)),
        rule @ (Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_)) => {
            match rule["repeat"].as_str() {
                Some(digits) => Some(hex(digits).repeat(number(&rule["times"]) as usize)),
                None => {
                    let mut x = number(&rule["xorshift32"]) as u32;
                    let mut next = || {
                        x ^= x << 13;
                        x ^= x >> 17;
                        x ^= x << 5;
                        x as u8
                    };
                    Some((0..number(&rule["len"])).map(|_| next()).collect())
                }
            }
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn owned(record: &Value) -> Owned {
    let header =
        |header: &Value| (String::from(header["key"].as_str().expect("a header has a name")), bytes(&header["value"]));
    Owned {
        timestamp: number(&record["timestamp"]),
        key: bytes(&record["key"]),
        value: bytes(&record["value"]),
        headers: record["headers"].as_array().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
    }
}

/// A vector's records as this crate writes them, closed; `None` for what is never sent: no records, or a transaction.
fn built(vector: &Value, pool: &mut Pool) -> Option<Records> {
    let records: Vec<Owned> = vector["records"].as_array().expect("records").iter().map(owned).collect();
    if records.is_empty() || vector["transactional"] == true {
        return None;
    }
    let mut batch = Records::default();
    for record in &records {
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let content = Content::new(record.timestamp, key, value, &headers);
        batch.append(&content, pool, Class::FIRST, Reserve::Kept).expect("room");
    }
    batch.close();
    Some(batch)
}

/// The batch as it goes over the wire.
fn encoded(batch: &Records, vector: &Value) -> Vec<u8> {
    let stamp = Stamp {
        producer_id: number(&vector["producerId"]),
        epoch: number(&vector["epoch"]) as i16,
        sequence: number(&vector["baseSequence"]) as i32,
    };
    let mut bytes = header::encode(batch, stamp).to_vec();
    bytes.extend(batch.chunks().flatten());
    bytes
}

#[test]
fn golden_batches_without_codec_are_byte_for_byte_the_same() {
    let mut tried = 0;
    for vector in objects("batches.jsonl").into_iter().filter(|vector| vector["codec"] == "none") {
        let mut pool = Pool::new(64 << 20);
        let Some(mut batch) = built(&vector, &mut pool) else { continue };
        let ours = encoded(&batch, &vector);
        let wanted = hex(vector["bytes"].as_str().expect("bytes"));
        assert!(ours == wanted, "{}: {} bytes, Java has {}", vector["name"], ours.len(), wanted.len());
        assert_eq!(batch.len() as i64, number(&vector["recordsLen"]));
        batch.release(&mut pool);
        assert_eq!(pool.used(), 0);
        tried += 1;
    }
    std::println!("tried {tried} batches");
    assert!(tried > 0);
}

#[cfg(feature = "cluster")]
fn codec(vector: &Value) -> Compression {
    let level = |default: i32| vector["level"].as_i64().map_or(default, |level| level as i32);
    match vector["codec"].as_str().expect("a codec") {
        "none" => Compression::None,
        "gzip" => Compression::Gzip { level: level(-1) },
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd { level: level(3) },
        other => panic!("no such codec: {other}"),
    }
}

/// Compressed bytes depend on the library. So: Java's, read by our codec, are our records; ours and Java's, read by the cluster,
/// which has a reader of its own, are the same; and the fields of the headers are.
#[test]
#[cfg(feature = "cluster")]
fn golden_batches_of_every_codec_are_read_alike() {
    use alloc::collections::BTreeMap;

    let mut tried: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut compressor = Compressor::default();
    for vector in objects("batches.jsonl") {
        let codec = codec(&vector);
        if codec == Compression::None || !codec.is_built_in() {
            continue;
        }
        let mut pool = Pool::new(64 << 20);
        let Some(mut batch) = built(&vector, &mut pool) else { continue };
        let (name, java) = (&vector["name"], hex(vector["bytes"].as_str().expect("bytes")));
        assert_eq!(batch.raw_len() as i64, number(&vector["recordsLen"]), "{name}");
        let raw = batch.raw();
        let theirs = super::codec::decompress(codec, &java[header::SIZE..], raw.len());
        assert!(theirs.is_some_and(|theirs| theirs == raw), "{name}: Java's records");
        let counts = tried.entry(codec.name()).or_default();
        counts.0 += 1;
        let Some(compressed) = compressor.compress(codec, batch.chunks()) else {
            continue; // it does not shrink, and would go out as it is
        };
        counts.1 += 1;
        batch.replace(codec, &compressed, &mut pool);
        let ours = encoded(&batch, &vector);
        // Everything but the length and the checksum, which depend on the compressed bytes.
        for field in [0..8, 12..17, 21..header::SIZE] {
            assert_eq!(ours[field.clone()], java[field.clone()], "{name}: header bytes {field:?}");
        }
        let read = |bytes: Vec<u8>| crate::cluster::records_of(&bytes.into()).expect("a whole batch");
        assert!(read(ours) == read(java), "{name}");
        batch.release(&mut pool);
        assert_eq!(pool.used(), 0);
    }
    for (codec, (read, written)) in &tried {
        std::println!("{codec}: {read} of Java's read, {written} of ours");
        assert!(*written > 0);
    }
    let built_in = ["gzip", "snappy", "lz4", "zstd"].into_iter().zip([
        cfg!(any(feature = "gzip", feature = "gzip-core")),
        cfg!(feature = "snappy"),
        cfg!(feature = "lz4"),
        cfg!(feature = "zstd"),
    ]);
    for (codec, built_in) in built_in {
        assert_eq!(tried.contains_key(codec), built_in, "{codec}");
    }
}
