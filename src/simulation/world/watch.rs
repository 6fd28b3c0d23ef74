//! What is told of a world: moments, in words.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::time::Instant;

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Who {
    Application,
    Producer,
    Network,
    Node(i32),
    World,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => f.pad("application"),
            Self::Producer => f.pad("producer"),
            Self::Network => f.pad("network"),
            Self::Node(node) => f.pad(&format!("node {node}")),
            Self::World => f.pad("world"),
        }
    }
}

/// Who wants to know of every moment.
#[derive(Default)]
pub(super) struct Watch(pub(super) Option<Box<Watcher>>);

pub(super) type Watcher = dyn FnMut(&str);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

/// A line of what happens: the time in milliseconds, who, and what.
pub(super) fn moment(now: Instant, who: Who, what: &str) -> String {
    format!("{:>9.3} {who:<11} {what}", now.as_nanos() as f64 / 1e6)
}
