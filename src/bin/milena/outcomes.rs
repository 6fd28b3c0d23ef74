//! What becomes of records: counted as it is known, and printed by a thread of its own, for the I/O thread must not wait for
//! a slow reader.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use indicatif::ProgressBar;
use milena::cluster::Server;
use milena::{Delivered, Error, SendError};
use serde_json::json;

use crate::layout::LineError;
use crate::stop::{LOOK, Stop};
use crate::{Failure, progress, say};

/// Outcomes that are awaited or not printed yet, at most: then no more records are sent. Enough for any speed, and some ten
/// megabytes.
const MOST_OPEN: u64 = 1 << 17;

/// How long outcomes may take to be printed once stopping is over.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where outcomes go.
pub(crate) struct Outcomes {
    hub: Arc<Hub>,
    counts: Arc<Counts>,
    printed: Receiver<io::Result<()>>,
}

/// One for all callbacks. The printer ends when the last of them is gone.
struct Hub {
    outcomes: Sender<Outcome>,
    counts: Arc<Counts>,
}

/// Records by what became of them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    possibly_written: AtomicU64,
    /// Those whose outcome is awaited or not printed yet.
    open: AtomicU64,
}

/// What became of a line.
struct Outcome {
    /// Counted from 0.
    n: u64,
    result: Result<Delivered, Fault>,
}

/// Why a line is not in the log, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Producer(#[from] Error),
}

impl Outcomes {
    /// Begins to print: a JSON object each, or failures on the standard error and what the cluster in memory holds. If
    /// nobody takes what is printed, `stop` is asked to.
    pub(crate) fn print(as_json: bool, server: Option<Arc<Server>>, stop: Stop) -> Result<Self, Failure> {
        let (outcomes, known) = channel();
        let (over, printed) = channel();
        let counts = Arc::<Counts>::default();
        let printer = Printer { as_json, server, stop, bar: counter(!as_json), said: None };
        let open = Arc::clone(&counts);
        let thread = move || {
            let result = printer.run(&known, &open);
            let _ = over.send(result); // nobody waits any more
        };
        std::thread::Builder::new().name("outcomes".into()).spawn(thread).map_err(Failure::run)?;
        Ok(Self { hub: Arc::new(Hub { outcomes, counts: Arc::clone(&counts) }), counts, printed })
    }

    /// Waits until another outcome may be awaited. False if stopping is over.
    pub(crate) fn wait_for_room(&self, stop: &Stop) -> bool {
        while self.counts.open.load(Ordering::Relaxed) >= MOST_OPEN {
            if stop.is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        !stop.is_over()
    }

    /// What is to be called with the outcome of line `n`.
    pub(crate) fn callback(&self, n: u64) -> impl FnOnce(Result<Delivered, Error>) + Send + 'static {
        let open = Open::new(&self.hub);
        move |result| open.tell(n, result.map_err(Fault::Producer))
    }

    /// Line `n` was not taken.
    pub(crate) fn refused(&self, n: u64, fault: Fault) {
        Open::new(&self.hub).tell(n, Err(fault));
    }

    /// Waits until all is printed, once all callbacks were called or dropped. If stopping is over it does not wait long:
    /// whoever reads may have stopped to.
    ///
    /// # Errors
    /// Why what was said could not be written.
    pub(crate) fn finish(self, stop: &Stop) -> (Arc<Counts>, io::Result<()>) {
        let Self { hub, counts, printed } = self;
        drop(hub);
        let mut patience = LAST_WORDS;
        let result = loop {
            match printed.recv_timeout(LOOK) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Disconnected) => break Err(io::Error::other("the printing thread has ended")),
                Err(RecvTimeoutError::Timeout) if patience.is_zero() => {
                    break Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads them"));
                }
                Err(RecvTimeoutError::Timeout) if stop.is_over() => patience = patience.saturating_sub(LOOK),
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        (counts, result)
    }
}

impl Counts {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Of those that failed.
    pub(crate) fn possibly_written(&self) -> u64 {
        self.possibly_written.load(Ordering::Relaxed)
    }
}

/// An outcome that is awaited. One that never comes (the record was not taken) is no longer.
struct Open {
    hub: Arc<Hub>,
    told: bool,
}

impl Open {
    fn new(hub: &Arc<Hub>) -> Self {
        hub.counts.open.fetch_add(1, Ordering::Relaxed);
        Self { hub: Arc::clone(hub), told: false }
    }

    fn tell(mut self, n: u64, result: Result<Delivered, Fault>) {
        let Counts { delivered, failed, possibly_written, .. } = &*self.hub.counts;
        match &result {
            Ok(_) => delivered.fetch_add(1, Ordering::Relaxed),
            Err(fault) => {
                possibly_written.fetch_add(u64::from(fault.possibly_written()), Ordering::Relaxed);
                failed.fetch_add(1, Ordering::Relaxed)
            }
        };
        self.told = self.hub.outcomes.send(Outcome { n, result }).is_ok();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.told {
            self.hub.counts.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Printer {
    as_json: bool,
    server: Option<Arc<Server>>,
    stop: Stop,
    bar: ProgressBar,
    /// What was last said of a record that failed: many fail for one reason.
    said: Option<String>,
}

impl Printer {
    fn run(mut self, outcomes: &Receiver<Outcome>, counts: &Counts) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut result = Ok(());
        loop {
            let outcome = match outcomes.try_recv() {
                Ok(outcome) => outcome,
                Err(_) => {
                    // Nothing more for now: what is printed is to be seen.
                    self.unless_failed(&mut result, |_| out.flush());
                    match outcomes.recv() {
                        Ok(outcome) => outcome,
                        Err(_) => break,
                    }
                }
            };
            self.say_failure(&outcome);
            self.unless_failed(&mut result, |printer| printer.write(&mut out, &outcome));
            self.bar.inc(1);
            counts.open.fetch_sub(1, Ordering::Relaxed);
        }
        self.bar.finish_and_clear();
        result
    }

    /// Writes, if writing was possible so far. Where it is not, no more records are to be sent.
    fn unless_failed(&self, result: &mut io::Result<()>, write: impl FnOnce(&Self) -> io::Result<()>) {
        if result.is_ok() {
            *result = write(self);
            if result.is_err() {
                self.stop.ask();
            }
        }
    }

    fn say_failure(&mut self, outcome: &Outcome) {
        let Err(fault) = &outcome.result else { return };
        let words = fault.to_string();
        let of_line = matches!(fault, Fault::Line(_) | Fault::Producer(Error::Send(SendError::TooLarge { .. })));
        if !self.as_json && (of_line || self.said.as_ref() != Some(&words)) {
            self.bar.suspend(|| say(format_args!("line {}: {words}", outcome.n + 1)));
            self.said = Some(words);
        }
    }

    fn write(&self, out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
        if self.as_json {
            writeln!(out, "{}", describe(outcome))
        } else if let (Ok(delivered), Some(server)) = (&outcome.result, &self.server) {
            writeln!(out, "{}", stored(server, delivered))
        } else {
            Ok(())
        }
    }
}

/// A bar that counts, where no outcomes are printed among it.
fn counter(wanted: bool) -> ProgressBar {
    if !wanted || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress::bar(None, "{spinner} {pos} records, {per_sec}")
}

impl Fault {
    /// Kafka's name for what went wrong, or one in the same style.
    #[expect(clippy::wildcard_enum_match_arm, reason = "errors to come are failures too")]
    fn name(&self) -> &'static str {
        match self {
            Self::Line(LineError::TooLong { .. }) => "RECORD_TOO_LARGE",
            Self::Line(_) => "INVALID_LINE",
            Self::Producer(error) => match error {
                Error::NotDelivered(error) => error.name(),
                Error::Send(SendError::TopicFailed(code)) => code.name(),
                Error::Send(SendError::TooLarge { .. }) => "RECORD_TOO_LARGE",
                Error::Send(SendError::Fatal(fatal)) => fatal.name(),
                Error::Send(_) => "REFUSED",
                Error::TopicUnknown { .. } => "TOPIC_UNKNOWN",
                Error::BufferFull { .. } => "BUFFER_FULL",
                _ => "FAILED",
            },
        }
    }

    /// Whether the record may be in the log nevertheless.
    fn possibly_written(&self) -> bool {
        matches!(self, Self::Producer(Error::NotDelivered(error)) if error.possibly_written)
    }
}

fn describe(Outcome { n, result }: &Outcome) -> serde_json::Value {
    match result {
        Ok(Delivered { topic, partition, offset, timestamp, .. }) => {
            json!({"n": n, "topic": &**topic, "partition": partition, "offset": offset, "timestamp": timestamp})
        }
        Err(fault) => json!({
            "n": n,
            "error": fault.name(),
            "message": fault.to_string(),
            "possibly_written": fault.possibly_written(),
        }),
    }
}

/// What the cluster in memory holds for a record.
fn stored(server: &Server, delivered: &Delivered) -> String {
    let Delivered { topic, partition, offset, .. } = delivered;
    let offset = offset.unwrap_or(-1);
    let record = server.with(|cluster, _| cluster.record(topic, *partition, offset));
    let Some(record) = record else { return format!("{topic}-{partition}@{offset}: not there") };
    let text = |bytes: Option<&[u8]>| bytes.map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
    let mut headers = String::new();
    for (name, value) in &record.headers {
        headers += &format!(" header {name} {}", text(value.as_deref()));
    }
    format!("{topic}-{partition}@{offset} timestamp {}{headers} key {key} value {value}", record.timestamp)
}
