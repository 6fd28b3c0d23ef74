//! Our messages against those of Kafka's Java classes, byte for byte and field for field.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::produce::TopicRef;
use super::versions::Api;
use super::{api_versions, header, init_producer_id, metadata, produce, response_header, sasl};
use crate::golden::{base64, hex, lines, objects};

/// Whether a line is one of those that are not tried for a reason.
type Applies = fn(&Value) -> bool;

/// Why a line is not tried. Everything else is.
const SKIPPED: &[(&str, Applies)] = &[
    ("an API that is not used", |line| api(line).is_none()),
    ("a version that is not sent", |line| {
        let version = version(line);
        api(line).is_some_and(|api| !api.supported().contains(&version))
    }),
    ("a request with tagged fields, which are never written", |line| {
        is_request(line) && (line.get("unknownTags").is_some() || line.get("headerUnknownTags").is_some())
    }),
    ("metadata of a topic by its id, or without its name", |line| {
        let by_id = |topic: &Value| {
            topic["name"].is_null() || topic.get("topicId").is_some_and(|id| base64(text(id)) != [0; 16])
        };
        is_request(line)
            && api(line) == Some(Api::Metadata)
            && line["json"]["topics"].as_array().is_some_and(|topics| topics.iter().any(by_id))
    }),
    ("metadata with authorized operations, which are never asked for", |line| {
        let json = &line["json"];
        is_request(line)
            && (json["includeTopicAuthorizedOperations"] == true || json["includeClusterAuthorizedOperations"] == true)
    }),
    ("a produce request with a null in place of a batch", |line| {
        let topics = || array(&line["json"]["topicData"]).iter();
        let null = |topic: &Value| array(&topic["partitionData"]).iter().any(|data| data["records"].is_null());
        is_request(line) && api(line) == Some(Api::Produce) && topics().any(null)
    }),
];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |array| &array[..])
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn api(line: &Value) -> Option<Api> {
    Api::from_key(number(&line["key"]) as i16)
}

fn version(line: &Value) -> i16 {
    number(&line["version"]) as i16
}

fn is_request(line: &Value) -> bool {
    line["kind"] == "request"
}

fn skip(line: &Value) -> Option<&'static str> {
    SKIPPED.iter().find(|(_, applies)| applies(line)).map(|(reason, _)| *reason)
}

/// Prints how many lines were tried and why others were not, and fails if none was.
fn summary(tried: &BTreeMap<String, usize>, skipped: &BTreeMap<&str, usize>) {
    for (what, count) in tried {
        std::println!("tried   {count:>5} {what}");
    }
    for (why, count) in skipped {
        std::println!("skipped {count:>5} {why}");
    }
    assert!(!tried.is_empty(), "not one line was tried");
}

#[test]
fn golden_requests_are_byte_for_byte_the_same() {
    let (mut tried, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for line in objects("messages.jsonl").iter().filter(|line| is_request(line)) {
        if let Some(reason) = skip(line) {
            *skipped.entry(reason).or_default() += 1;
            continue;
        }
        let (api, version) = (api(line).expect("not skipped"), version(line));
        let (correlation, client) = (number(&line["correlationId"]) as i32, line["clientId"].as_str());
        let mut out = BytesMut::new();
        if api == Api::Produce {
            encode_produce(&mut out, version, correlation, client, &line["json"]);
        } else {
            header::frame(&mut out, api, version, correlation, client, |out| encode(out, api, version, &line["json"]));
        }
        let wanted = [hex(text(&line["header"])), hex(text(&line["body"]))].concat();
        let (length, frame) = out.split_at(4);
        assert_eq!(length, (wanted.len() as i32).to_be_bytes(), "length of {line}");
        assert!(
            frame == wanted,
            "{} {version} {}\n ours {frame:02x?}\nJava's {wanted:02x?}",
            api.name(),
            line["profile"]
        );
        *tried.entry(std::format!("requests of {}", api.name())).or_default() += 1;
    }
    summary(&tried, &skipped);
    assert_eq!(tried.len(), 6, "each of the six requests");
}

fn encode(out: &mut BytesMut, api: Api, version: i16, json: &Value) {
    match api {
        Api::ApiVersions => {
            let (name, software) = (text(&json["clientSoftwareName"]), text(&json["clientSoftwareVersion"]));
            api_versions::encode(out, version, name, software);
        }
        Api::Metadata => {
            let names = json["topics"].as_array().map(|topics| topics.iter().map(|topic| text(&topic["name"])));
            metadata::encode(out, version, names, json["allowAutoTopicCreation"] == true);
        }
        Api::InitProducerId => {
            let request = init_producer_id::Request {
                transactional_id: json["transactionalId"].as_str(),
                transaction_timeout_ms: number(&json["transactionTimeoutMs"]) as i32,
                producer_id: json["producerId"].as_i64().unwrap_or(-1),
                producer_epoch: json["producerEpoch"].as_i64().unwrap_or(-1) as i16,
            };
            init_producer_id::encode(out, version, &request);
        }
        Api::SaslHandshake => sasl::encode_handshake(out, text(&json["mechanism"])),
        Api::SaslAuthenticate => sasl::encode_authenticate(out, version, &base64(text(&json["authBytes"]))),
        Api::Produce => unreachable!("laid out in pieces"),
    }
}

fn encode_produce(out: &mut BytesMut, version: i16, correlation: i32, client: Option<&str>, json: &Value) {
    let topics = array(&json["topicData"]);
    let (transactional, acks) = (json["transactionalId"].as_str(), number(&json["acks"]) as i16);
    let timeout = number(&json["timeoutMs"]) as i32;
    produce::begin(out, version, correlation, client, transactional, acks, timeout, topics.len());
    for topic in topics {
        let id = base64(text(&topic["topicId"])).try_into().unwrap_or_default();
        let partitions = array(&topic["partitionData"]);
        produce::topic(out, version, text(&topic["name"]), &id, partitions.len());
        for data in partitions {
            let records = base64(text(&data["records"]));
            produce::partition(out, version, number(&data["index"]) as i32, records.len());
            out.put_slice(&records);
            produce::partition_end(out, version);
        }
        produce::topic_end(out, version);
    }
    produce::end(out, version);
    let length = out.len() - 4;
    produce::patch_length(out, length);
}

#[test]
fn golden_responses_have_the_same_fields() {
    let (mut tried, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for line in objects("messages.jsonl").iter().filter(|line| !is_request(line)) {
        if let Some(reason) = skip(line) {
            *skipped.entry(reason).or_default() += 1;
            continue;
        }
        let (api, version) = (api(line).expect("not skipped"), version(line));
        let (header, body) = (hex(text(&line["header"])), hex(text(&line["body"])));
        let frame = [&header[..], &body].concat();
        let (correlation, length) = response_header(api, version, &frame).expect("a header");
        assert_eq!((i64::from(correlation), length), (number(&line["correlationId"]), header.len()), "{line}");
        compare(api, version, &body, &line["json"]).unwrap_or_else(|words| panic!("{words} in {line}"));
        *tried.entry(std::format!("responses of {}", api.name())).or_default() += 1;
    }
    summary(&tried, &skipped);
    assert_eq!(tried.len(), 6, "each of the six responses");
}

#[test]
fn golden_broken_responses_never_panic_and_agree_where_java_reads_them() {
    let (mut tried, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for line in objects("decode.jsonl") {
        if let Some(reason) = skip(&line) {
            *skipped.entry(reason).or_default() += 1;
            continue;
        }
        let (api, version) = (api(&line).expect("not skipped"), version(&line));
        let body = hex(text(&line["body"]));
        let read = compare(api, version, &body, &line["json"]);
        let what = if line["outcome"] == "ok" && line["canonical"] == true {
            read.unwrap_or_else(|words| panic!("{words} in {line}"));
            "broken and mended, read alike"
        } else {
            "broken, no panic" // stricter or milder: see the table in this module's parent
        };
        *tried.entry(what.to_string()).or_default() += 1;
    }
    summary(&tried, &skipped);
}

#[test]
fn golden_bodies_cut_and_changed_anywhere_never_panic() {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut tried = 0;
    for line in objects("messages.jsonl").iter().filter(|line| !is_request(line) && skip(line).is_none()) {
        let (api, version) = (api(line).expect("not skipped"), version(line));
        let body = hex(text(&line["body"]));
        for cut in 0..body.len().min(400) {
            let _ = decode(api, version, &body[..cut]);
            let mut changed = body.clone();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            changed[cut] = random as u8;
            let _ = decode(api, version, &changed);
            tried += 2;
        }
    }
    assert!(tried > 0);
}

fn decode(api: Api, version: i16, body: &[u8]) -> Result<(), String> {
    compare(api, version, body, &Value::Null)
}

/// Reads a response and compares it with the JSON, if that is not null.
fn compare(api: Api, version: i16, body: &[u8], json: &Value) -> Result<(), String> {
    let differs = |what: &str| Err(std::format!("{what} differs"));
    let field = |value: &Value, name: &str, default: i64| value[name].as_i64().unwrap_or(default);
    match api {
        Api::ApiVersions => {
            let response = api_versions::decode(version, body).map_err(|error| error.to_string())?;
            if json.is_null() {
                return Ok(());
            }
            if i64::from(response.error) != number(&json["errorCode"]) {
                return differs("error");
            }
            if response.error == 35 {
                return Ok(()); // the rest is ignored
            }
            if i64::from(response.throttle_ms) != field(json, "throttleTimeMs", 0) {
                return differs("throttle time");
            }
            for api in [
                Api::Produce,
                Api::Metadata,
                Api::ApiVersions,
                Api::InitProducerId,
                Api::SaslHandshake,
                Api::SaslAuthenticate,
            ] {
                let of = |entry: &&Value| number(&entry["apiKey"]) == i64::from(api.key());
                let wanted = array(&json["apiKeys"])
                    .iter()
                    .rfind(of)
                    .map(|entry| (number(&entry["minVersion"]) as i16, number(&entry["maxVersion"]) as i16));
                if response.range(api) != wanted {
                    return differs(api.name());
                }
            }
        }
        Api::InitProducerId => {
            let response = init_producer_id::decode(version, body).map_err(|error| error.to_string())?;
            if json.is_null() {
                return Ok(());
            }
            let ours = [
                i64::from(response.throttle_ms),
                i64::from(response.error),
                response.producer_id,
                i64::from(response.epoch),
            ];
            if ours != ["throttleTimeMs", "errorCode", "producerId", "producerEpoch"].map(|name| number(&json[name])) {
                return differs("a field");
            }
        }
        Api::SaslHandshake => {
            let response = sasl::decode_handshake(body).map_err(|error| error.to_string())?;
            if !json.is_null() {
                let theirs: Vec<&str> = array(&json["mechanisms"]).iter().map(text).collect();
                if (i64::from(response.error), response.mechanisms) != (number(&json["errorCode"]), theirs) {
                    return differs("a field");
                }
            }
        }
        Api::SaslAuthenticate => {
            let response = sasl::decode_authenticate(version, body).map_err(|error| error.to_string())?;
            if !json.is_null() {
                let theirs =
                    (number(&json["errorCode"]), json["errorMessage"].as_str(), base64(text(&json["authBytes"])));
                let ours = (i64::from(response.error), response.message, response.bytes.to_vec());
                if ours != theirs || response.lifetime_ms != field(json, "sessionLifetimeMs", 0) {
                    return differs("a field");
                }
            }
        }
        Api::Metadata => {
            let response = metadata::decode(version, body).map_err(|error| error.to_string())?;
            if !json.is_null() {
                return compare_metadata(&response, json);
            }
        }
        Api::Produce => {
            let response = produce::decode(version, body).map_err(|error| error.to_string())?;
            if !json.is_null() {
                return compare_produce(version, &response, json);
            }
        }
    }
    Ok(())
}

fn compare_metadata(response: &metadata::Response<'_>, json: &Value) -> Result<(), String> {
    let ours = serde_json::json!({
        "throttle": response.throttle_ms,
        "error": response.error,
        "brokers": response.brokers.iter().map(|broker| {
            serde_json::json!([broker.id, broker.host, broker.port])
        }).collect::<Vec<_>>(),
        "topics": response.topics.iter().map(|topic| serde_json::json!([
            topic.error,
            topic.name,
            topic.id,
            topic.partitions.iter().map(|partition| {
                serde_json::json!([partition.error, partition.index, partition.leader, partition.leader_epoch])
            }).collect::<Vec<_>>(),
        ])).collect::<Vec<_>>(),
    });
    let id = |topic: &Value| -> Vec<u8> {
        let id = base64(text(&topic["topicId"]));
        if id.is_empty() { std::vec![0; 16] } else { id }
    };
    let theirs = serde_json::json!({
        "throttle": json["throttleTimeMs"].as_i64().unwrap_or(0),
        "error": json["errorCode"].as_i64().unwrap_or(0),
        "brokers": array(&json["brokers"]).iter().map(|broker| {
            serde_json::json!([broker["nodeId"], broker["host"], broker["port"]])
        }).collect::<Vec<_>>(),
        "topics": array(&json["topics"]).iter().map(|topic| serde_json::json!([
            topic["errorCode"],
            topic["name"],
            id(topic),
            array(&topic["partitions"]).iter().map(|partition| serde_json::json!([
                partition["errorCode"],
                partition["partitionIndex"],
                partition["leaderId"],
                partition["leaderEpoch"].as_i64().unwrap_or(-1),
            ])).collect::<Vec<_>>(),
        ])).collect::<Vec<_>>(),
    });
    if ours == theirs { Ok(()) } else { Err(std::format!("{ours} differs from {theirs}")) }
}

fn compare_produce(version: i16, response: &produce::Response<'_>, json: &Value) -> Result<(), String> {
    let mut ours = Vec::new();
    response.for_each(|partition| {
        let topic = match partition.topic {
            TopicRef::Name(name) => serde_json::json!(name),
            TopicRef::Id(id) => serde_json::json!(id),
        };
        ours.push(serde_json::json!([
            topic,
            partition.index,
            partition.error,
            partition.base_offset,
            partition.log_append_time,
            partition.log_start_offset,
            partition.error_message,
            partition.first_record_error,
            partition.leader,
        ]));
    });
    let mut theirs = Vec::new();
    for topic in array(&json["responses"]) {
        let name = match version {
            13.. => serde_json::json!(base64(text(&topic["topicId"]))),
            _ => topic["name"].clone(),
        };
        for partition in array(&topic["partitionResponses"]) {
            let first = array(&partition["recordErrors"]).first();
            let hint = &partition["currentLeader"];
            // A leader of which only one half is known is none.
            let leader = (hint["leaderId"].as_i64().unwrap_or(-1), hint["leaderEpoch"].as_i64().unwrap_or(-1));
            theirs.push(serde_json::json!([
                name,
                partition["index"],
                partition["errorCode"],
                partition["baseOffset"],
                partition["logAppendTimeMs"],
                partition["logStartOffset"].as_i64().unwrap_or(-1),
                partition["errorMessage"],
                first.map(|error| (&error["batchIndex"], &error["batchIndexErrorMessage"])),
                (leader.0 >= 0 && leader.1 >= 0).then_some(leader),
            ]));
        }
    }
    if ours != theirs {
        return Err(std::format!("{ours:?} differs from {theirs:?}"));
    }
    if i64::from(response.throttle_ms) != json["throttleTimeMs"].as_i64().unwrap_or(0) {
        return Err("throttle time differs".to_string());
    }
    let mut endpoints = Vec::new();
    response.for_each_endpoint(|id, host, port| endpoints.push(serde_json::json!([id, host, port])));
    let theirs: Vec<Value> = array(&json["nodeEndpoints"])
        .iter()
        .map(|node| serde_json::json!([node["nodeId"], node["host"], node["port"]]))
        .collect();
    if endpoints == theirs { Ok(()) } else { Err("endpoints differ".to_string()) }
}

#[test]
fn golden_error_codes_have_the_same_names() {
    let mut tried = 0;
    for line in lines("errors.tsv") {
        let mut fields = line.split('\t');
        let (Some(code), Some(name)) = (fields.next(), fields.next()) else { continue };
        let Ok(code) = code.parse() else { continue };
        assert_eq!(crate::ErrorCode::new(code).name(), name);
        tried += 1;
    }
    assert!(tried > 0);
}
