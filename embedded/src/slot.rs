//! One socket, as the runner sees it: what it is to do, and what it does.

use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use milena::{ConnId, Instant};

/// A connection that has its socket for so long may have to leave it to another, even if it is busy.
const SLICE: Duration = Duration::from_secs(1);

/// One that was not used for so long may have to leave at any time.
const QUIET: Duration = Duration::from_millis(100);

/// A connection that the machine asked for.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) attempt: u32,
}

/// A socket. Everything that waits here is polled again whenever the runner is woken.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    dial: RefCell<Option<Dial>>,
    /// It has something to do, if only to close what the machine has forgotten.
    busy: Cell<bool>,
    /// What it serves.
    conn: Cell<Option<ConnId>>,
    /// There is something to write.
    transmit: Cell<bool>,
    /// When it was connected, and when it was last used.
    times: Cell<Option<(Instant, Instant)>>,
    /// The machine was told that the socket is needed.
    leaving: Cell<bool>,
}

impl Slot {
    pub(crate) fn is_free(&self) -> bool {
        !self.busy.get()
    }

    /// Whether it will soon be free.
    pub(crate) fn will_be_free(&self) -> bool {
        self.busy.get() && (self.leaving.get() || self.conn.get().is_none())
    }

    pub(crate) fn serves(&self, conn: ConnId) -> bool {
        self.conn.get() == Some(conn)
    }

    /// Something to do, for one that is free.
    pub(crate) fn assign(&self, dial: Dial) {
        self.busy.set(true);
        self.conn.set(Some(dial.conn));
        *self.dial.borrow_mut() = Some(dial);
    }

    pub(crate) async fn assigned(&self) -> Dial {
        poll_fn(|_| self.dial.borrow_mut().take().map_or(Poll::Pending, Poll::Ready)).await
    }

    pub(crate) fn connected(&self, now: Instant) {
        self.times.set(Some((now, now)));
    }

    pub(crate) fn used(&self, now: Instant) {
        self.times.set(self.times.get().map(|(since, _)| (since, now)));
    }

    /// The machine has done with the connection.
    pub(crate) fn disconnect(&self) {
        self.conn.set(None);
    }

    /// Waits until the machine has done with it.
    pub(crate) async fn disconnected(&self) {
        poll_fn(|_| if self.conn.get().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    pub(crate) fn transmit(&self) {
        self.transmit.set(true);
    }

    /// Waits until there is something to write.
    pub(crate) async fn writable(&self) {
        poll_fn(|_| if self.transmit.take() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// It is closed, and may be assigned again.
    pub(crate) fn free(&self) {
        self.conn.set(None);
        self.transmit.set(false);
        self.times.set(None);
        self.leaving.set(false);
        self.busy.set(false);
    }

    /// From when on its connection may have to leave, which was not told so yet.
    pub(crate) fn leaves_from(&self) -> Option<(Instant, ConnId)> {
        let (since, used) = self.times.get().filter(|_| !self.leaving.get())?;
        Some(((since + SLICE).min(used + QUIET), self.conn.get()?))
    }

    pub(crate) fn leave(&self) {
        self.leaving.set(true);
    }
}
