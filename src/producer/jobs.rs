//! Work that may be done on another thread, and which of it is out.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::batch::{Compression, Compressor};

/// Work that the machine hands out (if [`ConfigBuilder::jobs`](crate::ConfigBuilder::jobs) allows any): the compression of
/// a batch. Run it on any thread and hand the result in with [`Input::Done`](crate::Input::Done).
///
/// Nothing is lost with a job: where one fails or is dropped, the batch leaves uncompressed; where it comes back late, after
/// the batch expired, the result is not used.
#[derive(Debug)]
#[must_use = "the batch waits for it"]
pub struct Job {
    id: JobId,
    compression: Compression,
    chunks: Vec<Bytes>,
}

impl Job {
    pub(crate) fn new(id: JobId, compression: Compression, chunks: &[Bytes]) -> Self {
        Self { id, compression, chunks: chunks.to_vec() }
    }

    /// Hands the job back undone: the batch leaves uncompressed.
    pub fn give_up(self) -> JobDone {
        JobDone { id: self.id, compressed: None, chunks: self.chunks }
    }

    /// Does the work, which may take milliseconds. `compressor` is the thread's working memory.
    pub fn run(self, compressor: &mut Compressor) -> JobDone {
        let compressed = compressor.compress(self.compression, self.chunks.iter().map(|chunk| &chunk[..]));
        JobDone { id: self.id, compressed, chunks: self.chunks }
    }
}

/// What came out of a [`Job`].
#[derive(Debug)]
pub struct JobDone {
    pub(crate) id: JobId,
    /// `None` if it did not get smaller, or was not possible.
    pub(crate) compressed: Option<Vec<u8>>,
    /// Kept until the result is handed in: that nobody holds them is how a dropped job is told from a slow one.
    pub(crate) chunks: Vec<Bytes>,
}

/// Which batch a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The jobs that are out.
#[derive(Debug)]
pub(crate) struct Jobs {
    out: Vec<JobId>,
    limit: usize,
}

impl Jobs {
    /// At most `limit` at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self { out: Vec::new(), limit }
    }

    /// Whether another may go out.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < self.limit
    }

    pub(crate) fn begin(&mut self, id: JobId) {
        self.out.push(id);
    }

    /// A job has come back; false if it was not out any more.
    pub(crate) fn end(&mut self, id: JobId) -> bool {
        let place = self.out.iter().position(|out| *out == id);
        place.map(|place| self.out.swap_remove(place)).is_some()
    }

    pub(crate) fn out(&self) -> &[JobId] {
        &self.out
    }
}
