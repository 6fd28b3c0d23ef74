//! Our configuration against what Kafka's Java classes take, refuse, and make of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use super::{Acks, Config, options};
use crate::golden::{Difference, differs_deliberately, objects};

/// A value as it stands in a properties file; `None` for null.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}

fn given<'a>(vector: &'a Value, option: &str) -> Option<&'a Value> {
    vector["props"].get(option)
}

fn any_given(vector: &Value, applies: impl Fn(&str, &Value) -> bool) -> bool {
    vector["props"].as_object().is_some_and(|props| props.iter().any(|(name, value)| applies(name, value)))
}

/// The deliberate differences, by their names in docs/differences.md.
const DIFFERENCES: &[Difference<Value>] = &[
    ("unknown-options", |vector| any_given(vector, |name, _| options::find(name).is_none())),
    ("transactions", |vector| any_given(vector, |name, value| name.starts_with("transaction") && !value.is_null())),
    ("text-only", |vector| any_given(vector, |name, value| name == "acks" && value.is_number())),
    ("no-serializers", |vector| {
        given(vector, "key.serializer").is_none_or(Value::is_null)
            || given(vector, "value.serializer").is_none_or(Value::is_null)
    }),
    ("foreign-classes", |vector| {
        any_given(vector, |name, value| {
            let class = name.ends_with(".class") || name.ends_with(".classes") || name.ends_with("serializer");
            let reporters = name.ends_with("reporters") || name.ends_with("providers");
            (class || reporters) && value.as_str().is_some_and(|value| !value.is_empty())
        })
    }),
    ("canonical-names", |vector| any_given(vector, |name, _| name == "client.dns.lookup")),
    ("racks", |vector| any_given(vector, |name, _| matches!(name, "client.rack" | "partitioner.rack.aware"))),
    ("metrics-push", |vector| any_given(vector, |name, _| name == "enable.metrics.push")),
    ("memory-strategy", |vector| any_given(vector, |name, _| name == "buffer.memory.allocation.strategy")),
    ("setup-timeout-range", |vector| any_given(vector, |name, _| name.starts_with("socket.connection.setup.timeout"))),
    ("stores", |vector| any_given(vector, |name, _| name.starts_with("ssl."))),
    ("host-required", |vector| {
        given(vector, "bootstrap.servers")
            .and_then(text)
            .is_some_and(|servers| servers.contains(",:") || servers.starts_with(':'))
    }),
    ("ignored-ranges", |vector| {
        any_given(vector, |name, _| {
            options::find(name).is_some_and(|entry| matches!(entry.support, options::Support::Ignored(_)))
        })
    }),
];

/// Differences in defaults, by option.
const DEFAULTS: &[Difference<Value>] = &[
    ("store-types", |option| option["name"].as_str().is_some_and(|name| name.ends_with("store.type"))),
    ("not-listed", |option| {
        option["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("sasl.oauthbearer.") || options::find(name).is_none())
    }),
];

#[test]
fn golden_options_have_javas_names_and_defaults() {
    let (mut tried, mut not_listed) = (0, Vec::new());
    for option in objects("config.jsonl").iter().filter(|line| line["kind"] == "option") {
        let name = option["name"].as_str().expect("a name");
        let default = text(&option["default"]).unwrap_or_default();
        match options::find(name) {
            Some(entry) if !entry.name.is_empty() => {
                let same = entry.default == default || differs_deliberately(DEFAULTS, option);
                assert!(same, "{name}: {:?}, but Java has {default:?}", entry.default);
            }
            Some(_) | None => {
                assert!(differs_deliberately(DEFAULTS, option), "{name} is not known");
                not_listed.push(name.to_string());
            }
        }
        tried += 1;
    }
    std::println!("{tried} options; not listed: {not_listed:?}");
    assert!(tried > 0);
}

#[test]
fn golden_configurations_are_taken_and_refused_as_by_java() {
    let (mut same, mut different) = (0, 0);
    for vector in objects("config.jsonl").into_iter().filter(|line| line["kind"] == "case") {
        let name = &vector["name"];
        let props = vector["props"].as_object().expect("properties");
        let pairs: Vec<(String, String)> =
            props.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        let ours = Config::from_properties(pairs);
        // A codec that was not compiled in is refused, whatever Java does.
        if !cfg!(all(
            any(feature = "gzip", feature = "gzip-core"),
            feature = "snappy",
            feature = "lz4",
            feature = "zstd"
        )) && props.contains_key("compression.type")
        {
            continue;
        }
        let java = vector["producer"]["outcome"] == "ok";
        if ours.is_ok() != java {
            assert!(differs_deliberately(DIFFERENCES, &vector), "{name}: {ours:?}, but Java: {}", vector["producer"]);
            different += 1;
            continue;
        }
        if let Ok(config) = ours {
            let effective = &vector["producer"]["effective"];
            let millis = |span: core::time::Duration| span.as_millis() as i64;
            let acks = match config.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            };
            let ours = [
                ("deliveryTimeoutMs", millis(config.delivery_timeout)),
                ("lingerMs", millis(config.linger)),
                ("batchSize", config.batch_size as i64),
                ("acks", acks),
                ("retries", i64::from(config.retries)),
                ("idempotent", i64::from(config.idempotence)),
            ];
            for (field, ours) in ours {
                let java = effective[field].as_i64().or(effective[field].as_bool().map(i64::from));
                assert_eq!(Some(ours), java, "{field} of {name}");
            }
        }
        same += 1;
    }
    std::println!("{same} as Java, {different} deliberately not");
    assert!(same > 0);
}
