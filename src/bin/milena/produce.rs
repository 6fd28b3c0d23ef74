//! `milena produce`: a record a line.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use milena::cluster::{Server, Settings};
use milena::threads::Producer;
use milena::{Delivered, Error, Record, SendError};
use serde_json::json;

use crate::Failure;
use crate::settings::{ProducerArguments, Target};
use crate::stop::Stop;

/// Sends each line of the standard input as a record.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The topic
    #[arg(long)]
    topic: String,
    /// What stands between key and value in a line; without it lines are values
    #[arg(long, value_name = "S")]
    key_separator: Option<String>,
    /// Read this file instead of the standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print one JSON object a record, as soon as its outcome is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    producer: ProducerArguments,
}

/// What became of a line.
struct Outcome {
    n: u64,
    result: Result<Delivered, Error>,
}

/// Counts of outcomes.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    delivered: u64,
    failed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Target { config, server } = arguments.producer.resolve(Settings::default(), &[])?;
    let input: Box<dyn BufRead + Send> = match &arguments.input {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => {
            let file = std::fs::File::open(path);
            Box::new(BufReader::new(
                file.map_err(|error| Failure::Usage(format!("can't read {}: {error}", path.display())))?,
            ))
        }
    };
    let stop = Stop::listen()?;
    let producer = Producer::new(config).map_err(Failure::start)?;
    let (report, outcomes) = channel();
    let server = server.map(Arc::new); // it has to outlive the producer, whatever becomes of the printer
    let printer = print_outcomes(outcomes, arguments.json, server.clone());
    let lines = read_lines(input);
    let mut interrupted = false;
    let mut n = 0;
    loop {
        let line = match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => {
                eprintln!("milena: can't read on: {error}");
                interrupted = true;
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if stop.is_asked() => {
                interrupted = true;
                break;
            }
            Err(RecvTimeoutError::Timeout) => continue,
        };
        if stop.is_asked() {
            interrupted = true;
            break;
        }
        let goes_on = send(&producer, arguments, n, &line, &report);
        n += 1;
        if !goes_on || printer.is_finished() {
            break;
        }
    }
    drop(report);
    let closed = producer.close(Duration::MAX);
    let tally = printer.join().map_err(|_| Failure::run("the printing thread panicked"))?;
    let tally = tally.map_err(|error| Failure::output(&error))?;
    closed.map_err(Failure::run)?;
    if interrupted {
        return Err(Failure::Run(Some(format!("stopped: {} delivered, {} failed", tally.delivered, tally.failed))));
    }
    match tally.failed {
        0 => Ok(()),
        failed => Err(Failure::Run(Some(format!("{failed} of {n} records were not delivered")))),
    }
}

/// Lines come from a thread of their own, so that an interrupt is seen while none comes.
fn read_lines(mut input: Box<dyn BufRead + Send>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = std::sync::mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let (line, last) = match read {
                Ok(0) => return,
                Ok(_) => (Ok(line), false),
                Err(error) => (Err(error), true),
            };
            if sender.send(line).is_err() || last {
                return;
            }
        }
    });
    lines
}

/// Sends one line. False if no other line can be sent either.
fn send(producer: &Producer, arguments: &Arguments, n: u64, line: &[u8], report: &Sender<Outcome>) -> bool {
    let (key, value) = match &arguments.key_separator {
        None => (None, line),
        Some(separator) => match find(line, separator.as_bytes()) {
            None => (None, line),
            Some(place) => (Some(&line[..place]), &line[place + separator.len()..]),
        },
    };
    let mut record = Record::new(&arguments.topic).value(value);
    record.key = key;
    let reported = report.clone();
    let sent = producer.send_with(&record, move |result| {
        let _ = reported.send(Outcome { n, result }); // the printer may have ended
    });
    let Err(error) = sent else { return true };
    // What concerns the topic or the producer concerns all lines that follow.
    let for_all = !matches!(error, Error::Send(SendError::TooLarge { .. }));
    let _ = report.send(Outcome { n, result: Err(error) });
    !for_all
}

fn find(line: &[u8], separator: &[u8]) -> Option<usize> {
    line.windows(separator.len().max(1)).position(|window| window == separator)
}

/// Prints outcomes as they come, on a thread of its own: the I/O thread must not wait for a slow reader.
fn print_outcomes(
    outcomes: Receiver<Outcome>,
    as_json: bool,
    server: Option<Arc<Server>>,
) -> std::thread::JoinHandle<io::Result<Tally>> {
    let bar = progress(!as_json);
    std::thread::spawn(move || {
        let out = Arc::new(Mutex::new(io::stdout()));
        let mut tally = Tally::default();
        let mut said = None;
        let result = (|| -> io::Result<()> {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let outcome = match outcomes.try_recv() {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        out.flush()?; // nothing more for now: what is printed is to be seen
                        match outcomes.recv() {
                            Ok(outcome) => outcome,
                            Err(_) => return Ok(()),
                        }
                    }
                };
                match &outcome.result {
                    Ok(_) => tally.delivered += 1,
                    Err(error) => {
                        tally.failed += 1;
                        let words = error.to_string();
                        if !as_json && said.as_ref() != Some(&words) {
                            bar.suspend(|| eprintln!("milena: line {}: {words}", outcome.n));
                            said = Some(words);
                        }
                    }
                }
                bar.inc(1);
                if as_json {
                    writeln!(out, "{}", describe(&outcome))?;
                } else if let (Ok(delivered), Some(server)) = (&outcome.result, &server) {
                    writeln!(out, "{}", stored(server, delivered))?;
                }
            }
        })();
        bar.finish_and_clear();
        if !as_json && result.is_ok() {
            eprintln!("milena: {} delivered, {} failed", tally.delivered, tally.failed);
        }
        result.map(|()| tally)
    })
}

/// A bar that counts, if someone looks.
fn progress(wanted: bool) -> ProgressBar {
    if !wanted || !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "errors to come are failures too")]
fn describe(outcome: &Outcome) -> serde_json::Value {
    match &outcome.result {
        Ok(Delivered { topic, partition, offset, timestamp, .. }) => {
            json!({"n": outcome.n, "topic": &**topic, "partition": partition, "offset": offset, "timestamp": timestamp})
        }
        Err(error) => {
            let (name, possibly_written) = match error {
                Error::NotDelivered(error) => (error.name(), error.possibly_written),
                Error::Send(SendError::TopicFailed(code)) => (code.name(), false),
                Error::Send(SendError::TooLarge { .. }) => ("RECORD_TOO_LARGE", false),
                Error::Send(SendError::Fatal(fatal)) => (fatal.name(), false),
                Error::Send(_) => ("REFUSED", false),
                Error::TopicUnknown { .. } => ("TOPIC_UNKNOWN", false),
                Error::BufferFull { .. } => ("BUFFER_FULL", false),
                _ => ("FAILED", false),
            };
            json!({
                "n": outcome.n,
                "error": name,
                "message": error.to_string(),
                "possibly_written": possibly_written,
            })
        }
    }
}

/// What the cluster in memory holds for a record.
fn stored(server: &Server, delivered: &Delivered) -> String {
    let Delivered { topic, partition, offset, .. } = delivered;
    let offset = offset.unwrap_or(-1);
    let record = server.with(|cluster, _| cluster.record(topic, *partition, offset));
    match record {
        None => format!("{topic}-{partition}@{offset}: not there"),
        Some(record) => {
            let text =
                |bytes: Option<&[u8]>| bytes.map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
            let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
            format!("{topic}-{partition}@{offset} timestamp {} key {key} value {value}", record.timestamp)
        }
    }
}
