//! Which threads go on, and when: many executions of one check, each in another order.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId,
};
use shuttle::{Config, Runner};

use super::primitives::in_time;

/// Of the two kinds of orders, executions each, unless `MILENA_SCHEDULES` says how many times as many.
pub(super) const USUAL: usize = 200;

/// Points at which PCT takes the turn from whoever goes on, and one.
const DEPTH: usize = 4;

/// The first thread that an execution starts.
const CLOCK: usize = 1;

/// Runs `body` in many orders: first such that each step is drawn, then such that threads have ranks and seldom change them (PCT).
/// Nobody may wait for ever, and no thread may panic. `MILENA_REPLAY` has the one order that a failure printed.
pub(super) fn check(executions: usize, body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let run = |scheduler: Alone| {
        let body = Arc::clone(&body);
        Runner::new(scheduler, config()).run(move || in_time(|| body()))
    };
    if let Ok(order) = std::env::var("MILENA_REPLAY") {
        let body = Arc::clone(&body);
        Runner::new(ReplayScheduler::new_from_encoded(&order), config()).run(move || in_time(|| body()));
        return;
    }
    let times = std::env::var("MILENA_SCHEDULES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let (executions, seed) = (executions * times, times as u64);
    assert_eq!(run(Alone(Box::new(RandomScheduler::new_from_seed(seed, executions)))), executions);
    assert_eq!(run(Alone(Box::new(PctScheduler::new_from_seed(seed, DEPTH, executions)))), executions);
}

/// Runs `body` in every order that there is, at most so many. It waits for no time.
pub(super) fn check_all(most: usize, body: impl Fn() + Send + Sync + 'static) {
    let executions = Runner::new(DfsScheduler::new(Some(most), false), config()).run(body);
    assert!(executions < most, "these are not all");
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    config
}

/// Lets the clock go on when it is alone.
struct Alone(Box<dyn Scheduler + Send>);

impl Scheduler for Alone {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        let others: Vec<&Task> = runnable.iter().copied().filter(|task| usize::from(task.id()) != CLOCK).collect();
        self.0.next_task(if others.is_empty() { runnable } else { &others }, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
