//! Metrics reach the recorder of the crate `metrics`.

#![cfg(all(feature = "metrics", feature = "cluster"))]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod desk;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use desk::Desk;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use milena::Record;

/// The last value by name and labels.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Values, String);

impl Cell {
    fn set_to(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, _: u64) {
        panic!("counters are absolute");
    }

    fn absolute(&self, value: u64) {
        self.set_to(value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.set_to(value);
    }
}

impl Values {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("there are none");
    }
}

#[test]
fn counters_are_absolute_and_quantiles_are_gauges() {
    let mut desk = Desk::new(&[("client.id", "shop")]);
    desk.producer.measure(true);
    for _ in 0..7 {
        while desk.send(&Record::new("t").value("v")).is_err() {
            desk.run(Duration::from_millis(10));
        }
    }
    desk.run(Duration::from_secs(1));
    let values = Values::default();
    for _ in 0..2 {
        let measured = desk.producer.metrics(desk.now);
        metrics::with_local_recorder(&values, || measured.record(&[("zone", "a"), ("topic", "b"), ("zone", "c")]));
    }
    let values = values.0.lock().unwrap();
    let more = "exported_topic=b exported_zone=c"; // as in the text for Prometheus
    assert_eq!(values[&format!("kafka_producer_record_send_total client_id=shop zone=a {more}")], 7.0);
    assert_eq!(
        values[&format!("kafka_producer_topic_record_delivered_total client_id=shop zone=a {more} topic=t")],
        7.0
    );
    assert_eq!(values[&format!("kafka_producer_buffer_total_bytes client_id=shop zone=a {more}")], 33_554_432.0);
    let median = values[&format!("kafka_producer_record_latency_seconds client_id=shop zone=a {more} quantile=0.5")];
    assert!(median > 0.0 && median < 1.0, "{median}");
    assert!(values.keys().any(|name| name.starts_with("kafka_producer_node_request_total ")), "{values:?}");
}
