//! What was measured, kept in a file, so that each workload can be measured anew by itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The median, the least and the most of all runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread(pub f64, pub f64, pub f64);

impl Spread {
    /// # Panics
    /// Of nothing.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Self(short(median), short(values[0]), short(values[values.len() - 1]))
    }

    pub fn median(self) -> f64 {
        self.0
    }
}

/// Five digits: more would only be noise in the file.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub workload: String,
    pub who: String,
    pub variant: String,
    pub records: u64,
    pub runs: usize,
    /// By name: see the driver.
    pub figures: BTreeMap<String, Spread>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: String,
    /// Of contenders, of what they stand on, and of the server.
    pub versions: BTreeMap<String, String>,
    /// Contenders that could not take part, and why.
    pub skipped: BTreeMap<String, String>,
    /// Workloads that were measured while other programs ran, with how many processors those took.
    pub busy: BTreeMap<String, f64>,
    pub rows: Vec<Row>,
}

impl Results {
    /// What is known of this machine; nothing if the file is of another, or isn't there.
    pub fn load(path: &Path, machine: &str) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let known = serde_json::from_str::<Self>(&text).ok().filter(|known| known.machine == machine);
        if known.is_none() && !text.is_empty() {
            eprintln!("{} is of another machine or version, and is left out", path.display());
        }
        known.unwrap_or_else(|| Self { machine: machine.into(), ..Self::default() })
    }

    /// A row a line, so that changes can be read.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let head = serde_json::to_string_pretty(&Self { rows: Vec::new(), ..self.clone() })?;
        let head = head.trim_end_matches(|character: char| "[]{}\n ".contains(character));
        let rows = self.rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        std::fs::write(path, format!("{head} [\n    {}\n  ]\n}}\n", rows.join(",\n    ")))
    }

    /// Puts a workload's rows in the place of the old ones.
    pub fn replace(&mut self, workload: &str, rows: Vec<Row>) {
        self.rows.retain(|row| row.workload != workload);
        self.rows.extend(rows);
    }

    pub fn rows_of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }

    /// A median.
    pub fn median(&self, workload: &str, who: &str, variant: &str, figure: &str) -> Option<f64> {
        let row = self.rows_of(workload).find(|row| row.who == who && row.variant == variant)?;
        row.figures.get(figure).map(|spread| spread.median())
    }
}
