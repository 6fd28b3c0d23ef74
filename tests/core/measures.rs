//! What a producer measures is what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use milena::Record;
use milena::metrics::{Group, Kind, Metrics};

use crate::script::{Ask, Facts, Script};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn metrics(script: &Script) -> Metrics {
    script.producer.metrics(script.now)
}

/// Java's names and values of the whole producer.
fn of_producer(metrics: &Metrics) -> BTreeMap<&'static str, f64> {
    let mut all = BTreeMap::new();
    metrics.samples(|sample| {
        if sample.group == Group::Producer {
            assert!(all.insert(sample.name, sample.value).is_none(), "{} is told twice", sample.name);
            assert!(sample.value.is_finite() && sample.value >= 0.0, "{sample:?}");
            assert_eq!(sample.name.ends_with("-total"), sample.kind == Kind::Counter, "{sample:?}");
        }
    });
    all
}

/// Two topics on two nodes; ten records to one, refused twice, and one to the other, refused for good.
fn load() -> Script {
    let mut script = Script::new(2, &[("linger.ms", "20"), ("client.id", "a \"b\"\\c")], Facts::usual);
    script.producer.measure(true);
    script.latency = millis(5);
    script.facts.topic("good", 1, 1);
    script.facts.topic("bad", 2, 1).partitions[0].leader = 2;
    let mut refusals = 2;
    script.answer(move |facts, asked| match (&asked.ask, asked.node) {
        (Ask::Produce(_), 2) => facts.refuse(asked, 87),
        (Ask::Produce(_), _) if refusals > 0 => {
            refusals -= 1;
            facts.refuse(asked, 19)
        }
        _ => facts.usual(asked),
    });
    for _ in 0..10 {
        script.send(&Record::new("good").value(&[b'v'; 100]));
    }
    script.send(&Record::new("bad").value("v"));
    script.run(Duration::from_secs(5));
    assert_eq!((script.delivered(), script.failed()), (10, 1));
    script
}

#[test]
fn counters_and_distributions_are_what_happened() {
    let script = load();
    let metrics = metrics(&script);
    let topic = |name: &str| metrics.topics.iter().find(|topic| topic.topic == name).expect("the topic").counts;
    let (good, bad) = (topic("good"), topic("bad"));
    assert_eq!((good.records_sent, good.records_retried, good.records_delivered, good.records_failed), (30, 20, 10, 0));
    assert_eq!((bad.records_sent, bad.records_retried, bad.records_delivered, bad.records_failed), (1, 0, 0, 1));
    assert!(good.bytes_sent > 3_000 && good.bytes_sent == good.bytes_uncompressed);

    let measured = &metrics.distributions;
    assert_eq!((measured.record_latency.count(), measured.batch_records.count()), (11, 4));
    assert_eq!((measured.batch_records.sum(), measured.batch_records.max()), (31, 10));
    assert_eq!((measured.queue_time.count(), measured.request_latency.count()), (2, 4));
    // Until the answer is there, twice the latency: there and back.
    let latency = measured.request_latency.max();
    assert!((5_000_000..20_000_000).contains(&latency), "{latency}");
    let queued = measured.queue_time.quantile(0.5);
    assert!((18_000_000..60_000_000).contains(&queued), "{queued}");
    // Two refusals with a backoff of 80 ms at least each.
    assert!(measured.record_latency.quantile(0.5) > 160_000_000, "{measured:?}");

    let traffic = metrics.traffic();
    assert_eq!(traffic.requests, script.asks().count() as u64);
    assert_eq!(traffic.responses, traffic.requests);
    assert_eq!(traffic.bytes_sent, script.asks().map(|asked| asked.size as u64).sum::<u64>());
    assert!(traffic.bytes_received > 0 && traffic.latency_sum > 0);
    let of_node =
        |node| metrics.servers.iter().find(|server| server.server.node == Some(node)).expect("a node").traffic;
    assert_eq!(
        of_node(1).requests + of_node(2).requests,
        traffic.requests,
        "an address that is a broker's counts once"
    );
}

#[test]
fn under_the_names_that_java_has() {
    let script = load();
    let metrics = metrics(&script);
    let java = of_producer(&metrics);
    let expected = [
        ("record-send-total", 31.0),
        ("record-retry-total", 20.0),
        ("record-error-total", 1.0),
        ("records-per-request-avg", 31.0 / 4.0),
        ("compression-rate-avg", 1.0),
        ("requests-in-flight", 0.0),
        ("batch-split-total", 0.0),
        ("buffer-exhausted-total", 0.0),
        ("buffer-total-bytes", 33_554_432.0),
        ("buffer-available-bytes", 33_554_432.0),
        ("waiting-threads", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(java.get(name), Some(&value), "{name}");
    }
    for name in [
        "batch-size-avg",
        "batch-size-max",
        "record-queue-time-avg",
        "record-queue-time-max",
        "request-latency-avg",
        "request-latency-max",
        "request-size-avg",
        "request-size-max",
        "metadata-age",
        "connection-count",
        "request-total",
        "response-total",
        "outgoing-byte-total",
        "incoming-byte-total",
    ] {
        assert!(java.get(name).is_some_and(|value| *value > 0.0), "{name}: {:?}", java.get(name));
    }
    assert!(java["request-latency-avg"] >= 5.0 && java["request-latency-avg"] < 20.0, "milliseconds");
}

/// As in Java each end counts: those that are closed because nobody uses them, too.
#[test]
fn connections_that_end_are_counted_whoever_ends_them() {
    let mut script = Script::new(1, &[("connections.max.idle.ms", "1000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    let counts = |script: &Script| {
        let java = of_producer(&metrics(script));
        ["connection-creation-total", "connection-count", "connection-close-total", "connection-failure-total"]
            .map(|name| java[name])
    };
    script.send(&Record::new("t").value("v"));
    assert_eq!(counts(&script), [1.0, 1.0, 0.0, 0.0], "the one that asked about the topic");
    script.run(Duration::from_secs(5));
    assert_eq!(counts(&script), [2.0, 0.0, 2.0, 0.0], "both were idle");
    script.send(&Record::new("t").value("v"));
    script.run(millis(100));
    script.break_connections(1);
    script.run(Duration::from_secs(10));
    let [made, open, closed, failed] = counts(&script);
    assert_eq!((made - open, made > 2.0, failed > 0.0), (closed, true, true), "{made}, {open}, {closed}, {failed}");
}

/// The text of an exposition, by family: type, and lines of samples.
fn families(text: &str) -> BTreeMap<&str, (&str, Vec<&str>)> {
    let mut families: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
    let mut last = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(families.insert(name, (kind, Vec::new())).is_none(), "{name} comes twice");
            last = name;
        } else if !line.starts_with("# HELP ") {
            assert!(line.starts_with(last), "{line} stands under {last}");
            families.get_mut(last).expect("a family").1.push(line);
        }
    }
    families
}

#[test]
fn as_text_for_prometheus() {
    let script = load();
    let metrics = metrics(&script);
    let mut text = String::new();
    metrics.write_prometheus(&mut text, &[("service", "shop\n1")]).expect("a string takes all");
    let families = families(&text);
    let labels = r#"client_id="a \"b\"\\c",service="shop\n1""#;
    let one = |name: &str| {
        let (kind, lines) = &families[name];
        assert_eq!(lines.len(), 1, "{lines:?}");
        (*kind, lines[0])
    };
    let sent = format!("kafka_producer_record_send_total{{{labels}}} 31");
    assert_eq!(one("kafka_producer_record_send_total"), ("counter", &*sent));
    assert_eq!(families["kafka_producer_waiting_threads"].0, "gauge");
    let (kind, topics) = &families["kafka_producer_topic_record_send_total"];
    assert_eq!(*kind, "counter");
    assert!(
        topics.contains(&&*format!("kafka_producer_topic_record_send_total{{{labels},topic=\"good\"}} 30")),
        "{topics:?}"
    );
    let (_, nodes) = &families["kafka_producer_node_request_total"];
    assert!(nodes.iter().any(|line| line.contains(r#"node_id="1",server="server1:9091""#)), "{nodes:?}");
    let (kind, latency) = &families["kafka_producer_record_latency_seconds"];
    assert_eq!(*kind, "histogram");
    let counts: Vec<u64> = latency
        .iter()
        .filter(|line| line.contains("_bucket"))
        .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
        .collect();
    assert!(counts.is_sorted() && counts.last() == Some(&11), "{counts:?}");
    assert!(
        latency
            .iter()
            .any(|line| line.starts_with("kafka_producer_record_latency_seconds_count{") && line.ends_with(" 11"))
    );
}

#[test]
fn labels_of_ones_own_never_spoil_the_text() {
    let metrics = metrics(&load());
    let own = [
        ("topic", "mine"),
        ("server", "mine"),
        ("node_id", "mine"),
        ("le", "mine"),
        ("client_id", "mine"),
        ("quantile", "mine"),
        ("exported_topic", "mine too"),
        ("zone", "a"),
        ("zone", "b"),
        ("service.name", "shop"),
        ("2nd", "c"),
        ("", "no name"),
        ("__name__", "x"),
        ("a\"} 1\n# x", "\\\"}\n\r\u{2028}\0"),
    ];
    let mut text = String::new();
    metrics.write_prometheus(&mut text, &own).expect("a string takes all");
    // For tests/prometheus, which has others read it.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/labels.txt"), &text).expect("a file");
    let families = families(&text);
    let (_, topics) = &families["kafka_producer_topic_record_delivered_total"];
    assert_eq!(topics.len(), metrics.topics.len());
    for (line, topic) in topics.iter().zip(&metrics.topics) {
        assert!(line.contains(&format!(",topic=\"{}\"}}", topic.topic)), "{line}");
        for theirs in [
            r#",exported_topic="mine","#,
            r#",exported_exported_topic="mine too","#,
            r#",exported_client_id="mine","#,
            r#",exported_le="mine","#,
            r#",zone="a",exported_zone="b","#,
            r#",service_name="shop",_2nd="c",_="no name",exported___name__="x","#,
        ] {
            assert!(line.contains(theirs), "{line} has {theirs}");
        }
        assert_eq!(line.matches("client_id=").count(), 2, "{line}");
    }
    let (_, latency) = &families["kafka_producer_record_latency_seconds"];
    assert!(latency[0].contains("_bucket{client_id=") && latency[0].contains(",le=\"0.001\"}"), "{}", latency[0]);
}

#[test]
fn who_does_not_measure_has_counters_all_the_same() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.topic("t", 1, 1);
    script.send(&Record::new("t").value("v"));
    script.run(Duration::from_secs(1));
    let metrics = metrics(&script);
    assert_eq!(metrics.topics[0].counts.records_delivered, 1);
    assert_eq!(metrics.distributions.record_latency.count(), 0);
}

#[test]
fn counters_never_shrink_where_brokers_come_and_go() {
    let mut script = Script::new(1, &[("metadata.max.age.ms", "5000")], Facts::usual);
    script.facts.topic("t", 1, 1);
    let mut before = BTreeMap::new();
    let mut moved = 0;
    for round in 0..6 {
        // The leader is at another address each time, as a pod that is scheduled anew.
        let (name, port) = (format!("pod{round}"), 9100 + round);
        script.servers.retain(|server| server.node == 1);
        script.servers.push(crate::script::Server::new(2, &name, port));
        script.facts.brokers.retain(|(node, ..)| *node == 1);
        script.facts.brokers.push((2, name, port));
        script.facts.lead("t", 0, 2);
        script.break_connections(2);
        script.run(Duration::from_secs(10));
        script.send(&Record::new("t").value("v"));
        script.run(Duration::from_secs(5));
        let metrics = metrics(&script);
        let counters = ["request-total", "response-total", "outgoing-byte-total", "incoming-byte-total"];
        let now = of_producer(&metrics);
        for name in counters {
            let was = before.insert(name, now[name]).unwrap_or(0.0);
            assert!(now[name] > was, "{name}: {was}, then {}", now[name]);
        }
        assert_eq!(now["request-total"], script.asks().count() as f64, "round {round}");
        moved += usize::from(metrics.servers.iter().any(|server| server.server.port == port));
        assert!(metrics.servers.len() <= 4, "those that are gone are told together: {:?}", metrics.servers);
    }
    assert_eq!((moved, script.delivered()), (6, 6));
}

#[test]
fn an_address_that_two_brokers_have_counts_once() {
    let mut script = Script::new(1, &[], Facts::usual);
    script.facts.brokers.push((2, script.facts.brokers[0].1.clone(), script.facts.brokers[0].2));
    script.facts.topic("t", 1, 2).partitions[1].leader = 2;
    script.send(&Record::new("t").value("v").partition(0));
    script.run(Duration::from_secs(5));
    let metrics = metrics(&script);
    assert_eq!(metrics.traffic().requests, script.asks().count() as u64);
}
