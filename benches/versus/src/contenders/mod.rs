//! The producers that are compared, a file each. Those in other languages are in `go/` and `java/`.

mod bare;
#[cfg(feature = "krafka")]
mod krafka;
mod milena;
#[cfg(feature = "rdkafka")]
mod rdkafka;
#[cfg(feature = "rskafka")]
mod rskafka;

use tokio::task::JoinHandle;

use crate::measure::Meter;
use crate::task::Task;

/// Outcomes that are out while they come back as handles; then the oldest is waited for.
const WINDOW: usize = 20_000;

/// A contender's process.
///
/// # Panics
/// If the contender isn't built in, or can't do it.
pub fn run(who: &str, task: &Task) {
    match who {
        "milena" => milena::run(task),
        "bare" => bare::run(task),
        #[cfg(feature = "rdkafka")]
        "rdkafka-threaded" => rdkafka::threaded(task),
        #[cfg(feature = "rdkafka")]
        "rdkafka-base" => rdkafka::base(task),
        #[cfg(feature = "rdkafka")]
        "rdkafka-future" => rdkafka::future(task),
        #[cfg(feature = "rskafka")]
        "rskafka" => rskafka::run(task),
        #[cfg(feature = "krafka")]
        "krafka" => krafka::run(task),
        _ => panic!("{who} is not built in"),
    }
}

/// A runtime as applications have it: of the current thread, or with as many workers as the task says.
fn runtime(task: &Task) -> tokio::runtime::Runtime {
    let mut builder = match task.workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(task.workers.max(1)).enable_all().build().expect("a runtime")
}

/// Warms up, and measures. `run` sends so many records, and says how many were delivered.
async fn measured(task: &Task, run: impl AsyncFn(u64) -> u64) {
    run(task.warmup).await;
    let meter = Meter::begin();
    let delivered = run(task.records).await;
    meter.end(task, delivered, None);
}

/// What all of these saw delivered.
async fn delivered_by(senders: Vec<JoinHandle<u64>>) -> u64 {
    let mut delivered = 0;
    for sender in senders {
        delivered += sender.await.expect("a task ends");
    }
    delivered
}
