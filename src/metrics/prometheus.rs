//! Metrics as text, in the format that Prometheus reads (0.0.4).

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt::{self, Write};

use super::{Group, Histogram, Kind, Metrics, Sample, labels};

/// Bounds of the buckets of times, in seconds.
const SECONDS: [(&str, u64); 14] = [
    ("0.001", 1_000_000),
    ("0.002", 2_000_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.02", 20_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.2", 200_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2", 2_000_000_000),
    ("5", 5_000_000_000),
    ("30", 30_000_000_000),
    ("120", 120_000_000_000),
];

impl Metrics {
    /// Writes everything as text for Prometheus, content type `text/plain; version=0.0.4`: `kafka_producer_` and Java's name with `_` for
    /// `-` (`kafka_producer_record_send_total`), of servers `kafka_producer_node_`, of topics `kafka_producer_topic_`. Distributions
    /// of times are histograms in seconds: `kafka_producer_record_latency_seconds`, `..request_latency_seconds`,
    /// `..record_queue_time_seconds`. Each line has `labels` of the application's own besides `client_id`.
    ///
    /// Whatever `labels` are, the text can be read. A name gets `_` for each character but ASCII letters and digits, and in front
    /// of a digit. `client_id`, `node_id`, `server`, `topic`, `le`, `quantile`, what begins with `__`, and what was given before
    /// are taken: such a name gets `exported_` in front, as often as it takes, as Prometheus renames labels that clash.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_prometheus(&self, out: &mut impl Write, labels: &[(&str, &str)]) -> fmt::Result {
        let mut own = String::new();
        for (name, value) in labels::of_all(&self.client_id, labels) {
            label(&mut own, &name, &value)?;
        }
        // Lines of one name have to stand together.
        let mut families: BTreeMap<String, (Sample<'_>, String)> = BTreeMap::new();
        let mut result = Ok(());
        self.samples(|sample| {
            let name = family(&sample);
            let (_, lines) = families.entry(name.clone()).or_insert_with(|| (sample, String::new()));
            result = result.and_then(|()| line(lines, &name, &own, &sample));
        });
        result?;
        for (name, (sample, lines)) in &families {
            let kind = if sample.kind == Kind::Counter { "counter" } else { "gauge" };
            write!(out, "# HELP {name} {}\n# TYPE {name} {kind}\n{lines}", sample.help)?;
        }
        let mut times = self.distributions.times().into_iter();
        times.try_for_each(|(name, help, of)| histogram(out, name, help, &own, of))
    }
}

/// The name that Prometheus knows it by.
pub(super) fn family(sample: &Sample<'_>) -> String {
    let prefix = match sample.group {
        Group::Producer => "kafka_producer_",
        Group::Node { .. } => "kafka_producer_node_",
        Group::Topic(_) => "kafka_producer_topic_",
    };
    let mut name = String::from(prefix);
    name.extend(sample.name.chars().map(|letter| if letter == '-' { '_' } else { letter }));
    name
}

fn line(out: &mut String, name: &str, own: &str, sample: &Sample<'_>) -> fmt::Result {
    let mut labels = String::from(own);
    for (name, value) in sample.group.labels() {
        label(&mut labels, name, &value)?;
    }
    writeln!(out, "{name}{{{labels}}} {}", sample.value)
}

fn histogram(out: &mut impl Write, name: &str, help: &str, own: &str, of: &Histogram) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram")?;
    for (bound, nanos) in SECONDS {
        writeln!(out, "{name}_bucket{{{own},le=\"{bound}\"}} {}", of.count_up_to(nanos))?;
    }
    writeln!(out, "{name}_bucket{{{own},le=\"+Inf\"}} {}", of.count())?;
    writeln!(out, "{name}_sum{{{own}}} {}", of.sum() as f64 / 1e9)?;
    writeln!(out, "{name}_count{{{own}}} {}", of.count())
}

/// Adds a label, with what has to be escaped.
fn label(out: &mut String, name: &str, value: &str) -> fmt::Result {
    if !out.is_empty() {
        out.push(',');
    }
    write!(out, "{name}=\"")?;
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(())
}
