//! Our batches against those that Kafka's Java classes built.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::header::{self, Stamp};
use super::{Class, Content, Pool, Records, Reserve};
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

#[test]
fn golden_batches_without_codec_are_byte_for_byte_the_same() {
    let mut tried = 0;
    for vector in objects("batches.jsonl") {
        // Codecs are not built in; a batch without records is never sent; transactions are not built in.
        let records: Vec<Owned> = vector["records"].as_array().expect("records").iter().map(owned).collect();
        if vector["codec"] != "none" || records.is_empty() || vector["transactional"] == true {
            continue;
        }
        let mut pool = Pool::new(64 << 20);
        let mut batch = Records::default();
        for record in &records {
            let headers: Vec<Header<'_>> =
                record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let content = Content::new(record.timestamp, key, value, &headers);
            let fit = batch.fit(&content);
            batch.append(&content, fit, &mut pool, Class::FIRST, Reserve::Kept).expect("room");
        }
        batch.close();
        let stamp = Stamp {
            producer_id: number(&vector["producerId"]),
            epoch: number(&vector["epoch"]) as i16,
            sequence: number(&vector["baseSequence"]) as i32,
        };
        let mut ours = header::encode(&batch, stamp).to_vec();
        ours.extend(batch.chunks().flatten());
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
