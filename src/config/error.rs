//! What is wrong with a configuration, in words that say what to do.

use alloc::string::String;
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
    /// More than one of these.
    #[error("{}", Lines(.0))]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// One error for one or more.
    pub(super) fn of(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 => None,
            1 => errors.pop(),
            _ => Some(Self::Several(errors)),
        }
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

struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} things are wrong with the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
