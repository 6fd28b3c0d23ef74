//! Sockets and clocks for the machine, each behind a feature. What they share: [`engine`] (the machine behind a lock, with
//! its waiters), [`reports`] (who is told of a batch: [`callbacks`], and [`completion`] for who waits), [`line`] (who waits for
//! memory), [`effects`] (what follows, in which order), [`tokens`] (a provider's), [`observer`], [`channel`] (one connection, with
//! TLS or without), [`workers`] (threads for jobs), [`setup`], [`interceptor`], [`traces`] (spans and events), [`caught`] (panics),
//! [`typed`] (serializers), [`sync`] (what threads meet at), [`holds`] (how long the lock is held), `mock` (no sockets at all),
//! `oidc` (tokens from an authorization server), [`clock`], [`error`]; and, for those that give futures, [`task`].

mod callbacks;
mod caught;
mod channel;
#[cfg(milena_shuttle)]
mod checks;
mod clock;
mod completion;
mod effects;
mod engine;
mod error;
#[cfg(feature = "fuzzing")]
#[path = "../fuzzing/tls.rs"]
pub(crate) mod fuzzing;
mod holds;
mod interceptor;
mod line;
#[cfg(feature = "cluster")]
mod mock;
mod observer;
#[cfg(feature = "oidc")]
mod oidc;
mod reports;
mod setup;
#[cfg(feature = "smol")]
pub mod smol;
mod sockets;
mod sync;
#[cfg(any(feature = "tokio", feature = "smol"))]
pub mod task;
#[cfg(feature = "threads")]
pub mod threads;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tracing")]
mod traces;
#[cfg(not(feature = "tracing"))]
#[path = "traces/none.rs"]
mod traces;
mod typed;
mod waiter;
mod workers;

pub use completion::Delivered;
pub use error::{Error, SendAllError, TrySendError};
pub use holds::LockHolds;
pub use interceptor::Interceptor;
#[cfg(feature = "cluster")]
pub use mock::Mock;
pub use observer::{Observation, Observer};
pub use setup::{Setup, SetupError, TokenProvider};
pub use typed::{Typed, TypedError, TypedRecord};
