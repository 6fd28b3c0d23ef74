//! What the producer warns of, on the standard error: each thing once, for a server that is away is tried again and again.

use std::collections::BTreeSet;
use std::io::{Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

/// Distinct warnings that are remembered; more than a run has.
const REMEMBERED: usize = 1000;

#[derive(Debug, Default)]
struct Warnings {
    said: Mutex<BTreeSet<String>>,
}

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let words = record.args().to_string();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < REMEMBERED && said.insert(words.clone()) {
            crate::say(words);
        }
    }

    fn flush(&self) {}
}

/// Everything.
#[derive(Debug)]
struct All {
    /// On the standard error, in place of the standard output.
    on_errors: bool,
}

impl Log for All {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Whether anybody reads it is seen where the rest is written.
        let words = record.args();
        let _ = match self.on_errors {
            true => writeln!(stderr(), "          . {words}"),
            false => writeln!(stdout(), "          . {words}"),
        };
    }

    fn flush(&self) {}
}

/// Shows all that is logged from now on, indented, on the standard output or the standard error.
pub(crate) fn show_all(on_errors: bool) {
    if log::set_boxed_logger(Box::new(All { on_errors })).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// Shows warnings from now on.
pub(crate) fn show() {
    if log::set_boxed_logger(Box::new(Warnings::default())).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
