//! Ctrl-C: the first one asks to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

/// Whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for interrupts from now on. A second one ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let twice = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked));
            twice.map_err(Failure::run)?;
            signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(Failure::run)?;
        }
        Ok(Self(asked))
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
