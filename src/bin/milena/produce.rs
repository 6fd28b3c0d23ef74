//! `milena produce`: a record a line.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;
use milena::cluster::Settings;
use milena::threads::Producer;
use milena::{Error, SendError};

use crate::layout::{Layout, LayoutArguments, LineError};
use crate::lines::{self, Block};
use crate::outcomes::{Counts, Outcomes};
use crate::settings::{ProducerArguments, Target};
use crate::stop::{GraceArguments, LOOK, Stop, now};
use crate::{Failure, say};

/// For how long lines are counted that come after the last one that was sent.
const COUNTING: Duration = Duration::from_secs(1);

/// Sends each line of the standard input as a record.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    layout: LayoutArguments,
    /// Read this file instead of the standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print one JSON object a record, as soon as its outcome is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    grace: GraceArguments,
    #[command(flatten)]
    producer: ProducerArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layout = arguments.layout.layout()?;
    let Target { config, server } = arguments.producer.resolve(Settings::default(), &[])?;
    let input: Box<dyn Read + Send> = match &arguments.input {
        None => Box::new(io::stdin()),
        Some(path) => {
            let file = File::open(path);
            Box::new(file.map_err(|error| Failure::Usage(format!("can't read {}: {error}", path.display())))?)
        }
    };
    let most = config.max_request_size();
    let stop = Stop::listen()?;
    let producer = Producer::new(config).map_err(Failure::start)?;
    stop.abort_after(arguments.grace.grace, &producer)?;
    let server = server.map(Arc::new); // it has to outlive the producer, whatever becomes of the printer
    let outcomes = Outcomes::print(arguments.json, server.clone(), stop.clone())?;
    let lines = lines::read(input, most, stop.clone())?;
    let mut feed = Feed {
        producer: &producer,
        layout: &layout,
        outcomes: &outcomes,
        stop: &stop,
        most,
        read: 0,
        not_sent: 0,
        gave_up: None,
    };
    let end = feed.run(&lines);
    let Feed { read, not_sent, .. } = feed;
    let closed = producer.close(Duration::MAX); // or until the time for stopping is over
    let (counts, printed) = outcomes.finish(&stop);
    let report = Report { read, not_sent, counts: &counts };
    if let Err(error) = printed {
        // Whoever reads has had enough: that is no news, unless something is lost.
        let quiet = error.kind() == ErrorKind::BrokenPipe && report.is_clean();
        return Err(Failure::Run((!quiet).then(|| format!("can't write results: {error}; {report}"))));
    }
    match end {
        End::Stopped => return Err(Failure::Run(Some(format!("stopped: {report}")))),
        End::Unreadable(error) => return Err(Failure::Run(Some(format!("can't read on: {error}; {report}")))),
        End::GaveUp { line, more } => {
            let more = if more { "; the input goes on" } else { "" };
            return Err(Failure::Run(Some(format!("gave up at line {line}: {report}{more}"))));
        }
        End::Input => {}
    }
    if !report.is_clean() {
        return Err(Failure::Run(Some(report.to_string())));
    }
    closed.map_err(Failure::run)?;
    if !arguments.json {
        say(report);
    }
    Ok(())
}

/// Why no more lines are sent.
enum End {
    /// All are.
    Input,
    /// It was asked for.
    Stopped,
    /// What this line failed for would let all others fail too.
    GaveUp { line: u64, more: bool },
    /// The input can't be read on.
    Unreadable(io::Error),
}

/// Lines on their way to the producer.
struct Feed<'a> {
    producer: &'a Producer,
    layout: &'a Layout<'a>,
    outcomes: &'a Outcomes,
    stop: &'a Stop,
    most: usize,
    /// Lines that were read.
    read: u64,
    /// Those of them that were not even tried.
    not_sent: u64,
    /// The line that none is sent after, and when that was.
    gave_up: Option<(u64, Instant)>,
}

impl Feed<'_> {
    fn run(&mut self, blocks: &Receiver<Block>) -> End {
        loop {
            if let Some((line, since)) = self.gave_up {
                if now().saturating_duration_since(since) > COUNTING {
                    return End::GaveUp { line, more: true };
                }
            }
            match blocks.recv_timeout(LOOK) {
                Ok(Block::Lines(block)) => lines::lines(&block).for_each(|line| self.line(line)),
                Ok(Block::TooLong(length)) => self.too_long(length),
                Ok(Block::Broken(error)) => return End::Unreadable(error),
                Ok(Block::End) => {
                    return self.gave_up.map_or(End::Input, |(line, _)| End::GaveUp { line, more: false });
                }
                // What was read already is sent.
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
                Err(RecvTimeoutError::Timeout) if self.stop.is_asked() => return End::Stopped,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        if line.len() > self.most {
            return self.too_long(line.len() as u64);
        }
        let n = self.read;
        self.read += 1;
        if self.gave_up.is_some() || !self.outcomes.wait_for_room(self.stop) {
            self.not_sent += 1;
            return;
        }
        let parts = match self.layout.parts(line) {
            Ok(parts) => parts,
            Err(error) => return self.outcomes.refused(n, error.into()),
        };
        let callback = self.outcomes.callback(n);
        let Err(error) = parts.with(|record| self.producer.send_with(record, callback)) else { return };
        if self.stop.is_over() && error == Error::Send(SendError::Closed) {
            self.not_sent += 1;
            return;
        }
        // What concerns the topic or the producer concerns all lines that follow.
        if !matches!(error, Error::Send(SendError::TooLarge { .. })) {
            self.gave_up = Some((n + 1, now()));
        }
        self.outcomes.refused(n, error.into());
    }

    fn too_long(&mut self, length: u64) {
        let n = self.read;
        self.read += 1;
        if self.gave_up.is_some() || !self.outcomes.wait_for_room(self.stop) {
            self.not_sent += 1;
        } else {
            self.outcomes.refused(n, LineError::TooLong { length, most: self.most }.into());
        }
    }
}

/// What became of all lines.
struct Report<'a> {
    read: u64,
    not_sent: u64,
    counts: &'a Counts,
}

impl Report<'_> {
    /// Whether nothing was lost of what was read.
    fn is_clean(&self) -> bool {
        self.counts.delivered() == self.read
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, not_sent, counts } = self;
        let lines = if *read == 1 { "line" } else { "lines" };
        write!(f, "{read} {lines} read: {} delivered, {} failed", counts.delivered(), counts.failed())?;
        if *not_sent > 0 {
            write!(f, ", {not_sent} not sent")?;
        }
        if counts.possibly_written() > 0 {
            write!(f, " ({} of those that failed may be in the log)", counts.possibly_written())?;
        }
        Ok(())
    }
}
