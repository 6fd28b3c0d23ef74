//! The view of bytes that a host writes.

use bytes::{Buf, Bytes};

use crate::ids::ConnId;
use crate::producer::Producer;
use crate::time::Instant;

/// What a connection has to write now: a sequence of segments, shared with the batches that they come from.
///
/// Write from it as from any [`Buf`] (vectored, where the host can), and `advance` by what was written. A host that must
/// not hold the borrow while it writes clones the [`segments`](Transmit::segments) out and calls
/// [`Producer::written`] afterwards. The same bytes are shown until they are consumed.
#[derive(Debug)]
pub struct Transmit<'a> {
    pub(crate) producer: &'a mut Producer,
    pub(crate) conn: ConnId,
    pub(crate) now: Instant,
}

impl Transmit<'_> {
    /// Whether there is nothing to write. The next [`Output::Transmit`](crate::Output::Transmit) says when there is again.
    pub fn is_empty(&self) -> bool {
        self.segments().next().is_none()
    }

    /// The segments, in order; none is empty. Cloning one is cheap.
    pub fn segments(&self) -> impl Iterator<Item = &Bytes> {
        self.producer.segments(self.conn)
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
