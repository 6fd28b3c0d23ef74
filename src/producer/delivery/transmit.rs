//! The view of bytes that a host writes.

use bytes::{Buf, Bytes};

use crate::ids::ConnId;
use crate::producer::Producer;
use crate::time::Instant;

/// What a connection has to write now: a sequence of segments, shared with the batches that they come from.
///
/// `write_to` (with `std`) writes it; or write from it as from any [`Buf`] (vectored, where the host can), and `advance` by what
/// was written. A host that must
/// not hold the borrow while it writes clones the [`segments`](Transmit::segments) out and calls
/// [`Producer::written`] afterwards. The same bytes are shown until they are consumed.
#[derive(Debug)]
pub struct Transmit<'a> {
    pub(crate) producer: &'a mut Producer,
    pub(crate) conn: ConnId,
    pub(crate) now: Instant,
}

/// Why [`Transmit::write_to`] has ended.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing more to write: the next [`Output::Transmit`](crate::Output::Transmit) says when there is again.
    Empty,
    /// The writer would block: go on when it is writable. There is no output that says so.
    Blocked,
}

/// Segments that are written by one call. Systems take 1024, but most requests have few.
#[cfg(feature = "std")]
const VECTORED: usize = 64;

impl Transmit<'_> {
    /// Whether there is nothing to write. The next [`Output::Transmit`](crate::Output::Transmit) says when there is again.
    pub fn is_empty(&self) -> bool {
        self.segments().next().is_none()
    }

    /// The segments, in order; none is empty. Cloning one is cheap.
    pub fn segments(&self) -> impl Iterator<Item = &Bytes> {
        self.producer.segments(self.conn)
    }

    /// Writes until there is nothing more, also of what is formed meanwhile, or until the writer would block. Does not flush it.
    ///
    /// # Errors
    /// The writer's, or [`WriteZero`](std::io::ErrorKind::WriteZero) if it takes nothing: then the connection is
    /// [`Disconnected`](crate::Input::Disconnected). A call that was interrupted is made again.
    #[cfg(feature = "std")]
    pub fn write_to(self, writer: &mut (impl std::io::Write + ?Sized)) -> std::io::Result<Progress> {
        use std::io::{ErrorKind, IoSlice};
        let Self { producer, conn, now } = self;
        loop {
            let mut transmit = producer.transmit(now, conn);
            let mut slices = [IoSlice::new(&[]); VECTORED];
            let filled = transmit.chunks_vectored(&mut slices);
            let slices = &slices[..filled];
            if filled == 0 {
                return Ok(Progress::Empty);
            }
            let shown = slices.iter().map(|slice| slice.len()).sum();
            match writer.write_vectored(slices) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => transmit.advance(n.min(shown)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Buf for Transmit<'_> {
    fn remaining(&self) -> usize {
        self.segments().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.segments().next().map_or(&[], |segment| &segment[..])
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'b>(&'b self, slices: &mut [std::io::IoSlice<'b>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(self.segments()) {
            *slice = std::io::IoSlice::new(segment);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, n: usize) {
        self.producer.written(self.now, self.conn, n);
    }
}
