//! Metrics for the crate `metrics`, whatever its recorder is.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Kind, Metrics, Sample};

impl Metrics {
    /// Gives everything to the recorder of the crate `metrics` (0.24), under the names that [`write_prometheus`](Self::write_prometheus) has:
    /// counters by their absolute value, gauges as they are, of distributions of times the quantiles 0.5, 0.9 and 0.99 as gauges in
    /// seconds (`kafka_producer_record_latency_seconds`, label `quantile`). To be called every few seconds. Each has `labels` of the
    /// application's own besides `client_id`, renamed as there where they clash. Feature `metrics`.
    pub fn record(&self, labels: &[(&str, &str)]) {
        let own = super::labels::of_all(&self.client_id, labels);
        self.samples(|sample| {
            let mut labels = own.clone();
            labels.extend(sample.group.labels().into_iter().map(|(name, value)| (name.to_string(), value)));
            let name = super::prometheus::family(&sample);
            tell(name, &labels, &sample);
        });
        for (name, _, of) in self.distributions.times() {
            for quantile in [0.5, 0.9, 0.99] {
                let mut labels = own.clone();
                labels.push(("quantile".to_string(), quantile.to_string()));
                ::metrics::gauge!(name, &labels).set(of.quantile(quantile) as f64 / 1e9);
            }
        }
    }
}

fn tell(name: String, labels: &Vec<(String, String)>, sample: &Sample<'_>) {
    match sample.kind {
        Kind::Counter => ::metrics::counter!(name, labels).absolute(sample.value as u64),
        Kind::Gauge => ::metrics::gauge!(name, labels).set(sample.value),
    }
}
