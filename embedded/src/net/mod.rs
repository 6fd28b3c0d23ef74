//! What the runner needs of a network stack.

#[cfg(feature = "embassy-net")]
pub(crate) mod embassy;
#[cfg(feature = "nal")]
pub(crate) mod nal;

use alloc::string::String;

use embedded_io_async::{Read, Write};

/// One socket of a network stack, which serves one connection after the other.
#[expect(async_fn_in_trait, reason = "for executors of one thread: nothing has to be Send")]
pub trait Connector {
    /// Its streams are encrypted: connections are made if `security.protocol` is `SSL` or `SASL_SSL`, and only then.
    const ENCRYPTED: bool = false;

    /// A stream.
    type Socket<'s>: Socket
    where
        Self: 's;

    /// Opens a stream to a host of this name or address. Where the name has several addresses, `attempt` (from 0) says which to try first.
    /// If this future is dropped, the attempt is given up.
    async fn connect(&mut self, host: &str, port: u16, attempt: u32) -> Result<Self::Socket<'_>, Failure>;
}

/// Why no connection could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The name does not resolve, with the resolver's words.
    Resolve(String),
    /// It could not be made, with the stack's words.
    Connect(String),
    /// The TLS handshake failed, with the reason: the producer does not try again soon.
    Tls(String),
}

/// A stream. Both halves are used at the same time, by one task; a half's future is not dropped before it is done, but with the
/// connection.
#[expect(async_fn_in_trait, reason = "for executors of one thread: nothing has to be Send")]
pub trait Socket {
    /// Reads.
    type Reader<'h>: Read
    where
        Self: 'h;

    /// Writes. It is flushed whenever there is nothing more to write; where the stack sends by itself what it took, that has nothing to do.
    type Writer<'h>: Write
    where
        Self: 'h;

    /// Both halves.
    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Closes it in good order: what was written is sent, then its end. Dropped when that takes longer than a second. What is still read
    /// is of no interest.
    async fn close(&mut self);
}
