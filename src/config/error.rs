//! What is wrong with a configuration, in words that say what to do.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

/// What is wrong with a configuration. Nothing was made. No text shows a secret: values are shown only of options that hold none.
///
/// `Debug` says the same as `Display`, so that a `main` that returns it says something.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such option.
    #[error("unknown option {option}{}", Nearest(.nearest))]
    Unknown {
        /// As it was given.
        option: String,
        /// The known name that is least different.
        nearest: Option<&'static str>,
    },
    /// An option of another client (librdkafka), which has another name here, or another way.
    #[error("unknown option {option}: {instead}")]
    Foreign {
        /// As it was given.
        option: String,
        /// What to do here.
        instead: String,
    },
    /// Not a value that the option takes.
    #[error("{option}={value} is not possible: {allowed}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// As it was given.
        value: String,
        /// What would be.
        allowed: String,
    },
    /// It is needed.
    #[error("{option} is missing: {why}")]
    Missing {
        /// The option.
        option: &'static str,
        /// What for.
        why: String,
    },
    /// Two options contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// Java's producer has it, this version has not, or only with a part of the application's own.
    #[error("{option} is not built in: {instead}")]
    NotBuiltIn {
        /// The option.
        option: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A file or text (certificates, a key) that an option names can't be used.
    #[error("{option}: {why}")]
    Unusable {
        /// The option.
        option: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// The allocator has not so much memory.
    #[error("no memory for a producer: {needed} bytes are needed to begin with; give it a larger heap")]
    NoMemory {
        /// Bytes that it lacks, in one piece.
        needed: usize,
    },
    /// One of these, about what stood in these lines of a text that [`parse_properties`](crate::parse_properties) read.
    #[error("{}{error}", Places(.lines))]
    At {
        /// Counted from 1, at least one.
        lines: Vec<usize>,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
    /// More than one of these.
    #[error("{}", Lines(.0))]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// All that is wrong, one by one.
    pub fn each(&self) -> &[Self] {
        if let Self::Several(errors) = self { errors } else { core::slice::from_ref(self) }
    }

    /// One error for one or more, by their lines.
    pub(super) fn of(mut errors: Vec<Self>) -> Self {
        let line = |error: &Self| if let Self::At { lines, .. } = error { lines.first().copied() } else { None };
        let mut sorted: Vec<Self> = Vec::with_capacity(errors.len());
        if errors.len() == 1 {
            return errors.remove(0);
        }
        // They are few: no sort is worth its code in firmware.
        for error in errors {
            let place = sorted.partition_point(|before| line(before) <= line(&error));
            sorted.insert(place, error);
        }
        Self::Several(sorted)
    }

    /// The error with its lines, if there are any.
    pub(super) fn at(self, lines: Vec<usize>) -> Self {
        if lines.is_empty() { self } else { Self::At { lines, error: Box::new(self) } }
    }

    /// Whether the words name this option.
    pub(super) fn names(&self, option: &str) -> bool {
        let words = self.to_string();
        let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        words.match_indices(option).any(|(start, _)| {
            let (before, after) = (&words[..start], &words[start + option.len()..]);
            let mut next = after.chars();
            let goes_on = match next.next() {
                Some('.') => next.next().is_some_and(is_of_names),
                Some(c) => is_of_names(c),
                None => false,
            };
            !goes_on && !before.ends_with(|c| is_of_names(c) || c == '.')
        })
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) struct Nearest<'a>(pub(super) &'a Option<&'static str>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => {
                f.write_str("; docs/configuration.md (in the API documentation milena::docs::configuration) lists all")
            }
        }
    }
}

struct Places<'a>(&'a [usize]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, before)) = self.0.split_last() else { return Ok(()) };
        let Some((first, between)) = before.split_first() else { return write!(f, "line {last}: ") };
        write!(f, "lines {first}")?;
        between.iter().try_for_each(|line| write!(f, ", {line}"))?;
        write!(f, " and {last}: ")
    }
}

struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} things are wrong with the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
