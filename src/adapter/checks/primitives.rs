//! The checker's primitives, and its time: that stands still while anybody can go on, and jumps to the next time that somebody
//! waits for when nobody can. So a wait that takes time is one that nobody ended.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{LockResult, PoisonError};

use shuttle::sync::atomic::AtomicUsize;

pub(in super::super) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(in super::super) use shuttle::sync::{Mutex, MutexGuard, mpsc};
pub(in super::super) use shuttle::{thread, thread_local};

/// shuttle's, with waits that end when their time has come.
#[derive(Debug, Default)]
pub(in super::super) struct Condvar(Arc<shuttle::sync::Condvar>);

/// What a wait gives back: whether its time was over.
type Waited<'a, T> = LockResult<(MutexGuard<'a, T>, bool)>;

impl Condvar {
    pub(in super::super) fn new() -> Self {
        Self::default()
    }

    pub(in super::super) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(in super::super) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait_while(guard, condition)
    }

    pub(in super::super) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        patience: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Waited<'a, T> {
        let until = elapsed().saturating_add(patience);
        loop {
            if !condition(&mut guard) {
                return Ok((guard, false));
            }
            if until <= elapsed() {
                return Ok((guard, true));
            }
            let alarm = Alarm::set(until, Bell::Threads(Arc::clone(&self.0)));
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
            drop(alarm);
        }
    }
}

/// The standard library's, with a point before each look at which another thread may go on.
#[derive(Debug)]
pub(in super::super) struct OnceLock<T> {
    point: AtomicUsize,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(in super::super) fn new() -> Self {
        Self { point: AtomicUsize::new(0), value: std::sync::OnceLock::new() }
    }

    pub(in super::super) fn get(&self) -> Option<&T> {
        self.point.load(core::sync::atomic::Ordering::SeqCst);
        self.value.get()
    }

    pub(in super::super) fn set(&self, value: T) -> Result<(), T> {
        self.point.store(1, core::sync::atomic::Ordering::SeqCst);
        self.value.set(value)
    }
}

std::thread_local! {
    /// shuttle runs all threads of an execution on one thread of the system.
    static TIME: RefCell<Time> = const { RefCell::new(Time::START) };
}

struct Time {
    elapsed: Duration,
    alarms: BTreeMap<(Duration, u64), Bell>,
    last: u64,
    jumps: u32,
    over: bool,
}

/// Who waits for a time.
enum Bell {
    Threads(Arc<shuttle::sync::Condvar>),
    Task(Waker),
}

impl Time {
    const START: Self = Self { elapsed: Duration::ZERO, alarms: BTreeMap::new(), last: 0, jumps: 0, over: false };
}

/// How often time jumps in one execution, at most: then nothing else goes on any more.
const JUMPS: u32 = 5000;

/// How long this execution has taken.
pub(super) fn elapsed() -> Duration {
    TIME.with_borrow(|time| time.elapsed)
}

/// The present, for [`clock`](super::super::clock).
#[expect(clippy::disallowed_methods, reason = "any point will do")]
pub(in super::super) fn present() -> std::time::Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *START.get_or_init(std::time::Instant::now) + elapsed()
}

/// Waits until a point of [`present`].
pub(super) async fn sleep_until(at: std::time::Instant) {
    let until = elapsed() + at.saturating_duration_since(present());
    let mut alarm = None;
    core::future::poll_fn(|context: &mut Context<'_>| {
        alarm = None;
        if until <= elapsed() {
            return Poll::Ready(());
        }
        alarm = Some(Alarm::set(until, Bell::Task(context.waker().clone())));
        Poll::Pending
    })
    .await
}

/// Somebody waits for a time; no longer once it is dropped.
struct Alarm((Duration, u64));

impl Alarm {
    fn set(at: Duration, bell: Bell) -> Self {
        TIME.with_borrow_mut(|time| {
            time.last += 1;
            time.alarms.insert((at, time.last), bell);
            Self((at, time.last))
        })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let bell = TIME.with_borrow_mut(|time| time.alarms.remove(&self.0));
        drop(bell);
    }
}

/// Runs `body` in a time of its own.
pub(super) fn in_time(body: impl FnOnce()) {
    TIME.replace(Time::START);
    // The scheduler lets this thread go on when no other can.
    let clock = thread::spawn(|| {
        loop {
            thread::yield_now();
            let jump = TIME.with_borrow_mut(Time::jump);
            let Some(bells) = jump else { return };
            for bell in bells {
                match bell {
                    Bell::Threads(condvar) => condvar.notify_all(),
                    Bell::Task(waker) => waker.wake(),
                }
            }
        }
    });
    body();
    TIME.with_borrow_mut(|time| time.over = true);
    clock.join().expect("the clock does not panic");
}

impl Time {
    /// Whose time has come; `None` if nobody waits for any.
    fn jump(&mut self) -> Option<Vec<Bell>> {
        if self.over {
            return None;
        }
        let &(at, _) = self.alarms.keys().find(|(at, _)| *at < Duration::MAX)?;
        self.elapsed = at.max(self.elapsed);
        self.jumps += 1;
        assert!(self.jumps < JUMPS, "nothing but time goes on, for {:?}", self.elapsed);
        let later = self.alarms.split_off(&(self.elapsed, u64::MAX));
        Some(core::mem::replace(&mut self.alarms, later).into_values().collect())
    }
}
