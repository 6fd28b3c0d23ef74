//! Sockets and clocks for the machine, each behind a feature. What they share: [`engine`] (the machine behind a lock, with
//! its waiters), [`completion`] (who waits for a batch), [`clock`], [`error`].

mod clock;
mod completion;
mod engine;
mod error;
mod sockets;
#[cfg(feature = "threads")]
pub mod threads;
#[cfg(feature = "tokio")]
pub mod tokio;
mod waiter;
mod workers;

pub use completion::Delivered;
pub use error::Error;
