//! embassy-net.

use alloc::format;
use alloc::string::ToString;
use core::fmt;

use embassy_net::tcp::{Error, TcpReader, TcpSocket, TcpWriter};
use embassy_net::{IpAddress, Stack};
use embedded_io_async::{ErrorType, Write};

use super::{Connector, Failure, Socket};

/// A socket of embassy-net, for [`Runner::run`](crate::Runner::run).
///
/// It takes one of the sockets of the stack's `StackResources` when it is made, and keeps it. Size those for all that the firmware has, the
/// stack's own for DHCP and DNS included: where there is none left, embassy-net panics, at the start of the firmware. The name of a broker is
/// resolved with the feature `dns`; else it has to be an address.
pub struct EmbassySocket<'d> {
    #[cfg_attr(not(feature = "dns"), expect(dead_code, reason = "the resolver is the stack's"))]
    stack: Stack<'d>,
    socket: TcpSocket<'d>,
}

impl fmt::Debug for EmbassySocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassySocket").finish_non_exhaustive()
    }
}

impl<'d> EmbassySocket<'d> {
    /// A socket with these buffers. A kilobyte each is enough; `transmit` bounds how much is on its way at a time.
    pub fn new(stack: Stack<'d>, receive: &'d mut [u8], transmit: &'d mut [u8]) -> Self {
        let mut socket = TcpSocket::new(stack, receive, transmit);
        socket.set_nagle_enabled(false); // requests are whole, and the next one waits for an answer
        Self { stack, socket }
    }
}

impl<'d> Connector for EmbassySocket<'d> {
    type Socket<'s>
        = &'s mut EmbassySocket<'d>
    where
        Self: 's;

    async fn connect(&mut self, host: &str, port: u16, attempt: u32) -> Result<Self::Socket<'_>, Failure> {
        self.socket.abort(); // whatever is left of the connection before
        let address = match host.parse::<IpAddress>() {
            Ok(address) => address,
            Err(()) => self.resolve(host, attempt).await?,
        };
        match self.socket.connect((address, port)).await {
            Ok(()) => Ok(self),
            Err(error) => Err(Failure::Connect(error.to_string())),
        }
    }
}

impl EmbassySocket<'_> {
    #[cfg(feature = "dns")]
    async fn resolve(&self, host: &str, attempt: u32) -> Result<IpAddress, Failure> {
        use embassy_net::dns::DnsQueryType;
        let mut why = "no addresses".to_string();
        for query in [DnsQueryType::A, DnsQueryType::Aaaa] {
            match self.stack.dns_query(host, query).await {
                Ok(addresses) if addresses.is_empty() => {}
                Ok(addresses) => return Ok(addresses[attempt as usize % addresses.len()]),
                Err(error) => why = format!("{error:?}"),
            }
        }
        Err(Failure::Resolve(why))
    }

    #[cfg(not(feature = "dns"))]
    async fn resolve(&self, host: &str, _attempt: u32) -> Result<IpAddress, Failure> {
        Err(Failure::Resolve(format!("{host} is no address, and the feature dns is not there")))
    }
}

impl Socket for &mut EmbassySocket<'_> {
    type Reader<'h>
        = TcpReader<'h>
    where
        Self: 'h;

    type Writer<'h>
        = EmbassyWriter<'h>
    where
        Self: 'h;

    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        let (reader, writer) = self.socket.split();
        (reader, EmbassyWriter(writer))
    }

    /// Without it the broker would not hear that the connection is over: a socket of embassy-net that is dropped says nothing.
    async fn close(&mut self) {
        self.socket.close();
        // That it was reset meanwhile is as good.
        let _ = self.socket.flush().await;
    }
}

/// The writing half of an [`EmbassySocket`]. Flushing it does nothing: the stack sends what it took by itself, and embassy-net's own flush
/// waits until the broker has acknowledged it.
pub struct EmbassyWriter<'h>(TcpWriter<'h>);

impl fmt::Debug for EmbassyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyWriter").finish_non_exhaustive()
    }
}

impl ErrorType for EmbassyWriter<'_> {
    type Error = Error;
}

impl Write for EmbassyWriter<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
