//! What a producer of futures needs from a runtime: sockets and time. Everything else is the same for all.

use alloc::string::String;
use core::future::Future;
use core::task::{Context, Poll};
use std::io;

use super::super::channel::Socket;
use super::super::sockets::SocketOptions;

/// A runtime. `milena::tokio` and `milena::smol` implement it; so may others, in some forty lines.
///
/// Streams and futures are `Send`, so that handles and drivers may be used on any thread. A runtime that keeps its futures to one
/// thread (monoio, glommio, embassy) drives the machine by hand instead.
pub trait Runtime: core::fmt::Debug + Send + 'static {
    /// A stream of this runtime.
    type Stream: Stream;

    /// Resolves the name and tries its addresses, another one first at each attempt.
    fn open(
        host: String,
        port: u16,
        attempt: u32,
        options: SocketOptions,
    ) -> impl Future<Output = Result<Self::Stream, Failure>> + Send + 'static;

    /// Waits until this time.
    fn sleep_until(at: std::time::Instant) -> impl Future<Output = ()> + Send + 'static;
}

/// A stream that wakes a task when it is ready.
pub trait Stream: Socket + Send + Unpin + 'static {
    /// Whether there is something to read.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether something can be written.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Why no connection could be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The name does not resolve.
    Resolve(String),
    /// No address of it takes connections.
    Connect(String),
}

/// Tries addresses one after the other, beginning with another one at each attempt.
///
/// # Errors
/// [`Failure`], with the words of the last attempt.
pub(in super::super) async fn first_of<A, S, F>(
    addresses: io::Result<alloc::vec::Vec<A>>,
    attempt: u32,
    connect: impl Fn(A) -> F,
) -> Result<S, Failure>
where
    F: Future<Output = io::Result<S>>,
{
    use alloc::string::ToString;
    let mut addresses = addresses.map_err(|error| Failure::Resolve(error.to_string()))?;
    if addresses.is_empty() {
        return Err(Failure::Resolve("no addresses".to_string()));
    }
    let first = attempt as usize % addresses.len();
    addresses.rotate_left(first);
    let mut last = String::new();
    for address in addresses {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(Failure::Connect(last))
}
