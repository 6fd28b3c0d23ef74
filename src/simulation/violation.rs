//! A law that is broken.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::plan::Plan;

/// A law that was broken, and how it came to that.
#[derive(Clone)]
pub struct Violation {
    pub(super) plan: Box<Plan>,
    pub(super) words: String,
    pub(super) last: Vec<String>,
}

impl Violation {
    /// The seed of the world.
    pub fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// What the world was like.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What happened last, oldest first.
    pub fn last_moments(&self) -> &[String] {
        &self.last
    }

    /// The law's name, or for those without one, its words without their numbers.
    pub fn law(&self) -> String {
        let head = self.words.split(':').next().unwrap_or_default();
        head.chars().filter(|c| !c.is_ascii_digit()).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.plan.seed, self.words)
    }
}

impl fmt::Debug for Violation {
    /// All that there is to say, for whoever unwraps it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}\nworld: {}\nwhat happened last:", self.plan)?;
        self.last.iter().try_for_each(|moment| write!(f, "\n  {moment}"))
    }
}

impl core::error::Error for Violation {}

/// What a panic said.
pub(super) fn words_of(panic: &(dyn core::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_the_same_whatever_the_numbers() {
        let law =
            |words: &str| Violation { plan: Box::new(Plan::draw(1)), words: words.into(), last: Vec::new() }.law();
        assert_eq!(law("LOST: record 17 was acknowledged"), "LOST");
        assert_eq!(law("record 123 is delivered after 9"), law("record 7 is delivered after 4567"));
        assert_ne!(law("record 1 is delivered twice"), law("record 1 is delivered after 2"));
    }
}
