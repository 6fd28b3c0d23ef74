#!/usr/bin/env bash
# The checkers of interleavings for Rust, shuttle 0.9.10 and loom 0.7.2: their Condvar::wait_timeout takes the duration and never times out, though
# its documentation says "timing out after a specified duration"; nor does recv_timeout of shuttle's channels. So what a program does after a
# timeout is run in none of the orders that are tried: a fault there, be it a plain panic, passes all of them, and the check is green.
#
# What helps: a wait of one's own for checks, which ends by a draw (shuttle's rand), or a thread that notifies with no other purpose.
#
# Here: a thread that panics if it timed out, beside one that notifies; 1,000 random orders, or all that loom finds.
# Seen: "no timeout in any order" of each. Fails if that changes.
set -euo pipefail
command -v cargo >/dev/null || { echo "cargo is missing" >&2; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
mkdir src
cat > Cargo.toml <<'T'
[package]
name = "timeouts"
version = "0.0.0"
edition = "2021"
[dependencies]
loom = "=0.7.2"
shuttle = "=0.9.10"
[workspace]
T
cat > src/main.rs <<'R'
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

static ORDERS: AtomicUsize = AtomicUsize::new(0);
const SHORT: Duration = Duration::from_nanos(1);

/// A thread that waits on a condition variable of either checker, with another that notifies.
macro_rules! waits {
    ($name:ident, $checker:ident) => {
        fn $name() {
            use $checker::sync::{Arc, Condvar, Mutex};
            ORDERS.fetch_add(1, Relaxed);
            let pair = Arc::new((Mutex::new(false), Condvar::new()));
            let notifying = pair.clone();
            let other = $checker::thread::spawn(move || {
                *notifying.0.lock().unwrap() = true;
                notifying.1.notify_one();
            });
            let mut ready = pair.0.lock().unwrap();
            while !*ready {
                let timeout;
                (ready, timeout) = pair.1.wait_timeout(ready, SHORT).unwrap();
                assert!(!timeout.timed_out(), "it timed out");
            }
            drop(ready);
            other.join().unwrap();
        }
    };
}
waits!(shuttle_waits, shuttle);
waits!(loom_waits, loom);

fn shuttle_receives() {
    ORDERS.fetch_add(1, Relaxed);
    let (sender, receiver) = shuttle::sync::mpsc::channel();
    let other = shuttle::thread::spawn(move || sender.send(()).unwrap());
    assert!(receiver.recv_timeout(SHORT).is_ok(), "it timed out");
    other.join().unwrap();
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let rows: [(&str, fn()); 3] = [
        ("shuttle, wait_timeout", || shuttle::check_random(shuttle_waits, 1000)),
        ("shuttle, recv_timeout", || shuttle::check_random(shuttle_receives, 1000)),
        ("loom, wait_timeout", || loom::model(loom_waits)),
    ];
    for (name, check) in rows {
        ORDERS.store(0, Relaxed);
        let passed = catch_unwind(check).is_ok();
        // One order would say nothing.
        println!("{name}: {}", if passed && ORDERS.load(Relaxed) > 1 { "no timeout in any order" } else { "it is otherwise" });
    }
}
R
cargo run --quiet > seen
cat seen
diff seen - <<'S'
shuttle, wait_timeout: no timeout in any order
shuttle, recv_timeout: no timeout in any order
loom, wait_timeout: no timeout in any order
S
