//! Work that may be done on another thread, and which of it is out.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::batch::{Compression, Compressor};
#[cfg(feature = "scram")]
use crate::connection::sasl::scram::{Derivation, Keys};
#[cfg(feature = "scram")]
use crate::event::ConnId;

/// Work that the machine hands out (if [`ConfigBuilder::jobs`](crate::ConfigBuilder::jobs) allows any): the compression of
/// a batch, or the keys of SCRAM. Run it on any thread and hand the result in with [`Input::Done`](crate::Input::Done).
///
/// Nothing is lost with a job: where one fails or is dropped, the batch leaves uncompressed; where it comes back late, after
/// the batch expired, the result is not used.
#[derive(Debug)]
#[must_use = "something waits for it"]
pub struct Job {
    task: Task,
}

#[derive(Debug)]
enum Task {
    Compress {
        id: JobId,
        compression: Compression,
        chunks: Vec<Bytes>,
    },
    #[cfg(feature = "scram")]
    Derive {
        conn: ConnId,
        derivation: Derivation,
    },
}

impl Job {
    pub(crate) fn compress(id: JobId, compression: Compression, chunks: &[Bytes]) -> Self {
        Self { task: Task::Compress { id, compression, chunks: chunks.to_vec() } }
    }

    #[cfg(feature = "scram")]
    pub(crate) fn derive(conn: ConnId, derivation: Derivation) -> Self {
        Self { task: Task::Derive { conn, derivation } }
    }

    /// Hands the job back undone.
    pub fn give_up(self) -> JobDone {
        let result = match self.task {
            Task::Compress { id, chunks, .. } => Outcome::Compressed { id, compressed: None, chunks },
            #[cfg(feature = "scram")]
            Task::Derive { .. } => Outcome::Nothing,
        };
        JobDone { result }
    }

    /// Does the work, which may take milliseconds. `compressor` is the thread's working memory.
    pub fn run(self, compressor: &mut Compressor) -> JobDone {
        let result = match self.task {
            Task::Compress { id, compression, chunks } => {
                let compressed = compressor.compress(compression, chunks.iter().map(|chunk| &chunk[..]));
                Outcome::Compressed { id, compressed, chunks }
            }
            #[cfg(feature = "scram")]
            Task::Derive { conn, derivation } => {
                let keys = derivation.run();
                Outcome::Derived { conn, derivation, keys }
            }
        };
        JobDone { result }
    }
}

/// What came out of a [`Job`].
#[derive(Debug)]
pub struct JobDone {
    pub(crate) result: Outcome,
}

/// The results of jobs.
#[derive(Debug)]
pub(crate) enum Outcome {
    Compressed {
        id: JobId,
        /// `None` if it did not get smaller, or was not possible.
        compressed: Option<Vec<u8>>,
        /// Kept until the result is handed in: that nobody holds them is how a dropped job is told from a slow one.
        chunks: Vec<Bytes>,
    },
    #[cfg(feature = "scram")]
    Derived { conn: ConnId, derivation: Derivation, keys: Keys },
    /// It was given up, and nobody has to know: what waits has a deadline.
    #[cfg(feature = "scram")]
    Nothing,
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
