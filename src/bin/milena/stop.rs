//! SIGINT and SIGTERM: the first asks to stop, a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use milena::threads::Producer;

use crate::{Failure, say};

/// How often those who wait look whether they were asked to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// How long stopping may take before the user is told what it waits for.
const UNSAID: Duration = Duration::from_secs(1);

/// How a producer stops.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct GraceArguments {
    // Less than the ten seconds after which `docker stop` kills, let alone the thirty of Kubernetes: what became of the
    // records is to be told before.
    /// Seconds that records have to be delivered after SIGINT or SIGTERM; what is left then fails. A second signal ends at
    /// once
    #[arg(long, default_value = "8", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) grace: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    signalled: Arc<AtomicBool>,
    /// The program asked itself: nobody reads its results.
    given_up: Arc<AtomicBool>,
    /// The time for delivery after that is over.
    over: Arc<AtomicBool>,
}

impl Stop {
    /// Listens for signals from now on. A second one ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let twice = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&signalled));
            twice.map_err(Failure::run)?;
            signal_hook::flag::register(signal, Arc::clone(&signalled)).map_err(Failure::run)?;
        }
        Ok(Self { signalled, given_up: Arc::default(), over: Arc::default() })
    }

    /// Asks to stop, as a signal does.
    pub(crate) fn ask(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Aborts what `producer` has not delivered when `grace` has passed since the request to stop. Whoever waits in one of
    /// its calls goes on then, with an error.
    pub(crate) fn abort_after(&self, grace: Duration, producer: &Producer) -> Result<(), Failure> {
        let (stop, producer) = (self.clone(), producer.clone());
        let watch = move || {
            while !stop.is_asked() {
                std::thread::sleep(LOOK);
            }
            let since = now();
            let mut said = stop.given_up.load(Ordering::Relaxed);
            loop {
                let past = now().saturating_duration_since(since);
                let Some(left) = grace.checked_sub(past).filter(|left| !left.is_zero()) else { break };
                if past >= UNSAID && !said {
                    say(format_args!("stopping: {grace:?} to deliver what was taken; a second signal ends at once"));
                    said = true;
                }
                std::thread::sleep(left.min(LOOK));
            }
            stop.over.store(true, Ordering::Relaxed);
            let _ = producer.close(Duration::ZERO); // what that fails is told where each record's outcome is
        };
        std::thread::Builder::new().name("stop".into()).spawn(watch).map_err(Failure::run)?;
        Ok(())
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.signalled.load(Ordering::Relaxed) || self.given_up.load(Ordering::Relaxed)
    }

    /// Whether the time for delivery after the request is over too.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

#[expect(clippy::disallowed_methods, reason = "the tool lives in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
