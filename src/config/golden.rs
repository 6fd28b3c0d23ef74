//! Our configuration against what Kafka's Java classes take, refuse, and make of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::Value;

use super::{Acks, Config, options};
#[cfg(feature = "scram")]
use crate::golden::names;
use crate::golden::{Difference, Differences, objects};

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

/// The deliberate differences in what is taken, by their names in docs/differences.md.
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
            let kafkas = |class: &str| class.starts_with("org.apache.kafka.");
            (class || reporters) && value.as_str().is_some_and(|value| !value.is_empty() && !kafkas(value))
        })
    }),
    ("canonical-names", |vector| any_given(vector, |name, _| name == "client.dns.lookup")),
    ("setup-timeout-range", |vector| any_given(vector, |name, _| name.starts_with("socket.connection.setup.timeout"))),
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
    ("client-id", |option| option["name"] == "client.id"),
    ("token-options", |option| option["name"].as_str().is_some_and(|name| name.starts_with("sasl.oauthbearer."))),
];

/// Differences in single values.
const VALUES: &[Difference<Value>] = &[
    ("blanks-of-secrets", |vector| {
        let entry = vector["option"].as_str().and_then(options::find);
        entry.is_some_and(|entry| entry.kind == options::Kind::Secret)
    }),
    ("ascii-digits", |vector| vector["given"].as_str().is_some_and(|given| !given.is_ascii())),
];

/// The names of all that the tests of this part take for an exception.
#[cfg(feature = "scram")]
pub(crate) fn differences() -> Vec<&'static str> {
    let [servers, properties] = [super::servers::tests::DIFFERENCES, super::properties::tests::DIFFERENCES];
    [DIFFERENCES, DEFAULTS, VALUES, servers, properties].map(names).concat()
}

#[test]
fn golden_options_have_javas_names_and_defaults() {
    let differences = Differences::new(DEFAULTS);
    let options: Vec<Value> = objects("config.jsonl").into_iter().filter(|line| line["kind"] == "option").collect();
    let mut wrong = Vec::new();
    for option in &options {
        let name = option["name"].as_str().expect("a name");
        let default = text(&option["default"]).unwrap_or_default();
        let ours = options::find(name).map(|entry| entry.default);
        if ours != Some(&*default) && !differences.explain(option) {
            wrong.push(std::format!("{name}: {ours:?}, but Java has {default:?}"));
        }
    }
    assert!(!options.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
    differences.are_all_used();
}

#[test]
fn golden_configurations_are_taken_and_refused_as_by_java() {
    let differences = Differences::new(DIFFERENCES);
    let (mut same, mut wrong) = (0, Vec::new());
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
            if !differences.explain(&vector) {
                wrong.push(std::format!("{name}: {ours:?}, but Java: {}", vector["producer"]));
            }
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
                if Some(ours) != java {
                    wrong.push(std::format!("{field} of {name}: {ours}, but Java: {java:?}"));
                }
            }
        }
        same += 1;
    }
    assert!(same > 0);
    assert!(wrong.is_empty(), "{wrong:#?}");
    differences.are_all_used();
}

/// What Java cuts off, and what it reads as a number or a truth.
#[test]
fn golden_values_are_read_as_by_java() {
    let differences = Differences::new(VALUES);
    let vectors = objects("values.jsonl");
    let mut wrong = Vec::new();
    for vector in &vectors {
        let field = |name: &str| vector[name].as_str().unwrap_or_default();
        let pairs = [("bootstrap.servers", "h:1"), (field("option"), field("given"))];
        let ours = super::build::tests::texts(&pairs).ok().map(|texts| {
            let entry = options::find(field("option")).expect("an option");
            let ours = texts.get(entry.name).cloned().unwrap_or_default();
            match entry.kind {
                options::Kind::Number(..) | options::Kind::Level(..) => {
                    ours.parse::<i64>().expect("a number").to_string()
                }
                options::Kind::Boolean => ours.to_ascii_lowercase(),
                options::Kind::Choice(_) if entry.name == "acks" && ours == "all" => "-1".to_string(),
                options::Kind::Choice(_) | options::Kind::Text | options::Kind::Secret | options::Kind::Servers => ours,
            }
        });
        if ours.as_deref() != vector["value"].as_str() && !differences.explain(vector) {
            wrong.push(std::format!("{vector}: {ours:?}"));
        }
    }
    assert!(!vectors.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
    differences.are_all_used();
}
