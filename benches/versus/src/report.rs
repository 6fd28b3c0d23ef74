//! Tables in Markdown and charts of what was measured.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::chart::{Bar, Chart, number};
use crate::goals;
use crate::peers::label;
use crate::results::{Results, Row, Spread};
use crate::workloads::{Kind, Workload};

/// How it was measured, and what each contender was given: the text around the tables.
const HEAD: &str = include_str!("performance.md");

/// A column: its head, the figure, and whether it shows the spread of the runs.
type Column = (&'static str, &'static str, bool);

fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Throughput => &[
            ("CPU s a million", "cpu", true),
            ("records/s", "rate", true),
            ("instructions a record", "instructions", false),
            ("peak memory, MiB", "rss", false),
            ("records a batch", "records-a-batch", false),
            ("records a request", "records-a-request", false),
        ],
        Kind::Senders => {
            &[("CPU s a million", "cpu", true), ("records/s", "rate", true), ("peak memory, MiB", "rss", false)]
        }
        Kind::Compression => &[
            ("CPU s a GB", "cpu-a-gb", true),
            ("MB/s", "mb", true),
            ("bytes in / bytes out", "ratio", true),
            ("records a batch", "records-a-batch", false),
        ],
        Kind::Latency => &[
            ("p50, µs", "p50", true),
            ("p99, µs", "p99", true),
            ("p99.9, µs", "p99.9", false),
            ("CPU s a million", "cpu", true),
        ],
        Kind::OneByOne => &[
            ("µs a record, mean", "mean", false),
            ("p50, µs", "p50", true),
            ("p99, µs", "p99", false),
            ("CPU µs a record", "cpu", true),
        ],
    }
}

fn cell(row: &Row, (_, figure, spread): Column) -> String {
    match row.figures.get(figure) {
        None => "–".into(),
        Some(Spread(median, least, most)) if spread && row.runs > 1 => {
            format!("{} ({}–{})", number(*median), number(*least), number(*most))
        }
        Some(Spread(median, ..)) => number(*median),
    }
}

/// A row's figure beside that of the one that it is compared with.
fn times(row: &Row, other: Option<&Row>, figure: &str) -> String {
    let both = other.and_then(|other| Some((row.figures.get(figure)?, other.figures.get(figure)?)));
    both.map_or("–".into(), |(this, other)| number(this.median() / other.median()))
}

/// Whether a row is the one that another is compared with.
fn is_reference(kind: Kind, it: &Row, row: &Row) -> bool {
    match kind {
        Kind::Throughput | Kind::Compression | Kind::Latency => it.who == "milena" && it.variant == row.variant,
        Kind::Senders => it.who == row.who && it.variant == "1",
        Kind::OneByOne => it.who == "bare",
    }
}

/// A workload's table.
pub fn table(workload: &Workload, results: &Results) -> String {
    let rows: Vec<&Row> = results.rows_of(workload.name).collect();
    let columns: Vec<Column> = columns(workload.kind)
        .iter()
        .filter(|(_, figure, _)| rows.iter().any(|row| row.figures.contains_key(*figure)))
        .copied()
        .collect();
    let with_variants = rows.iter().any(|row| !row.variant.is_empty());
    let compared: &[(&str, &str)] = match workload.kind {
        Kind::Throughput => &[("cpu", "CPU, milena's = 1")],
        Kind::Senders => &[("cpu", "CPU, one thread's = 1"), ("rate", "records/s, one thread's = 1")],
        Kind::Compression => &[("cpu-a-gb", "CPU, milena's = 1")],
        Kind::Latency => &[("p99", "p99, milena's = 1")],
        Kind::OneByOne => &[("p50", "p50, bare = 1")],
    };
    let mut text = String::from("| |");
    let mut line = String::from("| --- |");
    let variant = match workload.kind {
        Kind::Senders => "threads",
        _ => "way",
    };
    let heads = with_variants.then_some(variant).into_iter();
    let heads = heads.chain(columns.iter().map(|column| column.0)).chain(compared.iter().map(|(_, head)| *head));
    for head in heads {
        let _ = write!(text, " {head} |");
        line.push_str(" --- |");
    }
    let _ = write!(text, "\n{line}\n");
    for row in &rows {
        let _ = write!(text, "| {} |", label(&row.who));
        if with_variants {
            let _ = write!(text, " {} |", row.variant);
        }
        for column in &columns {
            let _ = write!(text, " {} |", cell(row, *column));
        }
        let other = rows.iter().find(|it| is_reference(workload.kind, it, row)).copied();
        for (figure, _) in compared {
            let _ = write!(text, " {} |", times(row, other, figure));
        }
        text.push('\n');
    }
    text
}

/// The page.
pub fn page(workloads: &[Workload], results: &Results) -> String {
    let versions: Vec<String> = results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut about = format!("Machine: {}.\n\nVersions: {}.", results.machine, versions.join("; "));
    for (what, why) in &results.skipped {
        let _ = write!(about, " **Not measured: {what}** ({}).", why.lines().next().unwrap_or_default());
    }
    if !results.busy.is_empty() {
        let names: Vec<String> = results.busy.keys().map(|name| format!("`{name}`")).collect();
        let _ =
            write!(about, "\n\n**Provisional**: other programs ran while these were measured: {}.", names.join(", "));
    }
    let runs = results.rows.iter().map(|row| row.runs).min().unwrap_or(0);
    let mut text = HEAD.replace("{about}", &about).replace("{goals}", goals_table(results).trim_end());
    text = text.replace("{runs}", &runs.to_string());
    for workload in workloads.iter().filter(|workload| results.rows_of(workload.name).next().is_some()) {
        let _ = write!(text, "\n### {} (`{}`)\n\n{}\n\n", workload.title, workload.name, workload.words);
        text.push_str(&table(workload, results));
        for (file, _) in charts(results).iter().filter(|(file, _)| file.starts_with(&format!("{}-", workload.name))) {
            let _ = write!(text, "\n![{}](performance/{file})\n", workload.title);
        }
    }
    text
}

pub fn goals_table(results: &Results) -> String {
    let mut text = String::from("| goal | bound | measured | |\n| --- | --- | --- | --- |\n");
    for goal in goals::all(results) {
        let verdict = match goal.is_met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let bound = format!("at {} {}", if goal.least { "least" } else { "most" }, number(goal.bound));
        let measured = goal.measured.map_or("–".into(), number);
        let _ = writeln!(text, "| {} | {bound} | {measured} | {verdict} |", goal.words);
    }
    text
}

/// File names, which begin with their workload's, and charts.
fn charts(results: &Results) -> Vec<(String, String)> {
    let wanted: &[(&str, &str, &str, &str, f64, &str)] = &[
        (
            "callback",
            "cpu",
            "100-byte records, a callback each",
            "CPU seconds a million records, less is better",
            1.0,
            "",
        ),
        (
            "callback-1k",
            "cpu",
            "1,024-byte records, a callback each",
            "CPU seconds a million records, less is better",
            1.0,
            "",
        ),
        (
            "round-trip",
            "rate",
            "100-byte records, 10 ms round trip",
            "thousand records a second, more is better",
            1e-3,
            "",
        ),
        (
            "tasks",
            "cpu",
            "1,000 tasks that wait, tokio's current-thread runtime",
            "CPU seconds a million records, less is better",
            1.0,
            "current thread",
        ),
        ("tls", "cpu", "TLS 1.3, 1,024-byte records", "CPU seconds a million records, less is better", 1.0, ""),
        ("lz4", "cpu-a-gb", "lz4, events in JSON", "CPU seconds a GB, less is better", 1.0, ""),
        ("zstd", "cpu-a-gb", "zstd, level 3, events in JSON", "CPU seconds a GB, less is better", 1.0, ""),
        ("one", "p50", "One record at a time, threads", "median, microseconds a record, less is better", 1.0, ""),
        (
            "pace-50k",
            "p99",
            "50,000 records a second, linger 5 ms",
            "p99 latency, milliseconds, less is better",
            1e-3,
            "linger 5",
        ),
    ];
    let mut charts = Vec::new();
    for (workload, figure, title, unit, factor, variant) in wanted {
        let rows = results.rows_of(workload).filter(|row| row.variant == *variant);
        let bars: Vec<Bar> = rows
            .filter_map(|row| {
                let Spread(median, least, most) = *row.figures.get(*figure)?;
                let label = label(&row.who).replace('`', "").replace("Kafka's Java producer", "Java");
                Some(Bar { label, value: (median * factor, least * factor, most * factor), ours: row.who == "milena" })
            })
            .collect();
        if !bars.is_empty() {
            let mut note = results.machine.clone();
            if results.busy.contains_key(*workload) {
                note.push_str(" (provisional: other programs ran)");
            }
            charts.push((format!("{workload}-{figure}.svg"), Chart { title, unit, bars, note: &note }.svg()));
        }
    }
    charts
}

/// The page and its charts: paths within `docs`, and what is to stand there.
pub fn files(workloads: &[Workload], results: &Results) -> Vec<(PathBuf, String)> {
    let charts = charts(results).into_iter().map(|(file, svg)| (Path::new("performance").join(file), svg));
    charts.chain([(PathBuf::from("performance.md"), page(workloads, results))]).collect()
}

/// Writes them, and the results that they are of.
pub fn write(folder: &Path, workloads: &[Workload], results: &Results) -> std::io::Result<()> {
    std::fs::create_dir_all(folder.join("performance"))?;
    results.save(&folder.join("performance/results.json"))?;
    files(workloads, results).iter().try_for_each(|(path, text)| std::fs::write(folder.join(path), text))
}
