//! embedded-nal-async.

use alloc::format;
use alloc::string::ToString;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::pin;

use embedded_io_async::{ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

use super::{Connector, Failure, Socket};

/// A socket of any [`TcpConnect`], for [`Runner::run`](crate::Runner::run), which takes as many as may be open at a time: they may all
/// borrow the same client.
///
/// Connections of [`TcpConnect`] can't be split, and a producer has to read while it writes. So both sides are polled in turn, each by a
/// future that is dropped again when it has to wait. That is right for clients whose reads and writes do nothing until they are done, and
/// whose wakers stay where they are: embassy-net's `TcpClient` is one. It is wrong for those that read into the caller's memory by DMA, and
/// for TLS sessions; implement [`Connector`] for these.
///
/// `TcpConnect` has no way to end a connection in good order: what was written is flushed, then it is dropped, and what the other side
/// hears of that is up to the client.
pub struct NalConnector<'c, T, D = NoDns> {
    client: &'c T,
    dns: D,
}

impl<T, D> fmt::Debug for NalConnector<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NalConnector").finish_non_exhaustive()
    }
}

impl<'c, T: TcpConnect, D: Dns> NalConnector<'c, T, D> {
    /// A socket of this client. `dns` finds the addresses of brokers; [`NoDns`] where all have addresses for names.
    pub fn new(client: &'c T, dns: D) -> Self {
        Self { client, dns }
    }
}

/// No resolver: the names of brokers have to be addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDns;

impl Dns for NoDns {
    type Error = &'static str;

    async fn get_host_by_name(&self, _host: &str, _addr_type: AddrType) -> Result<IpAddr, Self::Error> {
        Err("it is no address, and there is no resolver")
    }

    async fn get_host_by_address(&self, _addr: IpAddr, _result: &mut [u8]) -> Result<usize, Self::Error> {
        Err("there is no resolver")
    }
}

impl<'c, T: TcpConnect, D: Dns> Connector for NalConnector<'c, T, D> {
    type Socket<'s>
        = NalSocket<T::Connection<'c>>
    where
        Self: 's;

    async fn connect(&mut self, host: &str, port: u16, _attempt: u32) -> Result<Self::Socket<'_>, Failure> {
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => match self.dns.get_host_by_name(host, AddrType::Either).await {
                Ok(address) => address,
                Err(error) => return Err(Failure::Resolve(format!("{error:?}"))),
            },
        };
        match self.client.connect(SocketAddr::new(address, port)).await {
            Ok(connection) => Ok(NalSocket { connection: RefCell::new(connection) }),
            Err(error) => Err(Failure::Connect(error.to_string())),
        }
    }
}

/// A connection of a [`NalConnector`].
pub struct NalSocket<S> {
    connection: RefCell<S>,
}

impl<S> fmt::Debug for NalSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NalSocket").finish_non_exhaustive()
    }
}

impl<S: Read + Write> Socket for NalSocket<S> {
    type Reader<'h>
        = Half<'h, S>
    where
        Self: 'h;

    type Writer<'h>
        = Half<'h, S>
    where
        Self: 'h;

    fn split(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        (Half { connection: &self.connection }, Half { connection: &self.connection })
    }

    async fn close(&mut self) {
        // That it was reset meanwhile is as good.
        let _ = self.connection.get_mut().flush().await;
    }
}

/// One side of a [`NalSocket`].
pub struct Half<'h, S> {
    connection: &'h RefCell<S>,
}

impl<S> fmt::Debug for Half<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Half").finish_non_exhaustive()
    }
}

impl<S: ErrorType> ErrorType for Half<'_, S> {
    type Error = S::Error;
}

impl<S: Read> Read for Half<'_, S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, S::Error> {
        poll_fn(|context| pin!(self.connection.borrow_mut().read(buf)).poll(context)).await
    }
}

impl<S: Write> Write for Half<'_, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, S::Error> {
        poll_fn(|context| pin!(self.connection.borrow_mut().write(buf)).poll(context)).await
    }

    /// Does nothing: a client of plain TCP sends what it took by itself, and some wait here until the other side has acknowledged it.
    async fn flush(&mut self) -> Result<(), S::Error> {
        Ok(())
    }
}
