//! What the producer warns of, on the standard error: each thing once, for a server that is away is tried again and again.

use std::collections::BTreeSet;
use std::io::{Write, stdout};
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

/// Everything, on the standard output.
#[derive(Debug)]
struct All;

impl Log for All {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Whether anybody reads it is seen where the rest is written.
        let _ = writeln!(stdout(), "          . {}", record.args());
    }

    fn flush(&self) {}
}

/// Shows all that is logged from now on, indented, on the standard output.
pub(crate) fn show_all() {
    if log::set_logger(&All).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// Shows warnings from now on.
pub(crate) fn show() {
    if log::set_boxed_logger(Box::new(Warnings::default())).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
