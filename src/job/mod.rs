//! Work that may be done on another thread: compression, the keys of SCRAM, steps of a SASL mechanism.

mod step;

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::batch::{Compression, Compressor};
#[cfg(feature = "scram")]
use crate::connection::sasl::scram::{Derivation, Keys};
use crate::ids::ConnId;

pub(crate) use step::{Call, Said, Step, Stepped};

/// Work that the machine hands out (if [`ConfigBuilder::jobs`](crate::ConfigBuilder::jobs) allows any): the compression of
/// a batch, the keys of SCRAM, or a step of a [`SaslMechanism`](crate::SaslMechanism), which may take as long as it likes. Run it
/// on any thread and hand the result in with [`Input::Done`](crate::Input::Done).
///
/// No record is lost with a job: where compression fails or is dropped, the batch leaves uncompressed; where it comes back late,
/// after the batch expired, the result is not used. A step of a mechanism has to be handed in, run or
/// [given up](Self::give_up): the mechanism is in it.
#[must_use = "something waits for it"]
pub struct Job {
    task: Task,
}

impl fmt::Debug for Job {
    /// What kind it is: neither records nor secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.task {
            Task::Compress { .. } => "compression",
            #[cfg(feature = "scram")]
            Task::Derive { .. } => "SCRAM keys",
            Task::Sasl { .. } => "SASL mechanism",
        };
        f.debug_tuple("Job").field(&kind).finish()
    }
}

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
    Sasl {
        conn: ConnId,
        step: Step,
    },
}

impl Job {
    pub(crate) fn compress(id: JobId, compression: Compression, chunks: impl Iterator<Item = Bytes>) -> Self {
        Self { task: Task::Compress { id, compression, chunks: chunks.collect() } }
    }

    #[cfg(feature = "scram")]
    pub(crate) fn derive(conn: ConnId, derivation: Derivation) -> Self {
        Self { task: Task::Derive { conn, derivation } }
    }

    pub(crate) fn sasl(conn: ConnId, step: Step) -> Self {
        Self { task: Task::Sasl { conn, step } }
    }

    /// Whether it is about who the producer is, and may wait for someone else; otherwise it computes.
    pub fn is_authentication(&self) -> bool {
        match self.task {
            Task::Compress { .. } => false,
            #[cfg(feature = "scram")]
            Task::Derive { .. } => true,
            Task::Sasl { .. } => true,
        }
    }

    /// Hands the job back undone.
    pub fn give_up(self) -> JobDone {
        let result = match self.task {
            Task::Compress { id, chunks, .. } => Outcome::Compressed { id, compressed: None, chunks },
            #[cfg(feature = "scram")]
            Task::Derive { .. } => Outcome::Nothing,
            Task::Sasl { conn, step } => Outcome::Stepped { conn, stepped: step.give_up() },
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
            Task::Sasl { conn, step } => Outcome::Stepped { conn, stepped: step.run() },
        };
        JobDone { result }
    }
}

/// What came out of a [`Job`].
pub struct JobDone {
    pub(crate) result: Outcome,
}

impl fmt::Debug for JobDone {
    /// Nothing of it: it holds records or secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobDone").finish_non_exhaustive()
    }
}

/// The results of jobs.
pub(crate) enum Outcome {
    Compressed {
        id: JobId,
        /// `None` if it did not get smaller, or was not possible.
        compressed: Option<Vec<u8>>,
        /// Kept until the result is handed in: that nobody holds them is how a dropped job is told from a slow one.
        chunks: Vec<Bytes>,
    },
    #[cfg(feature = "scram")]
    Derived {
        conn: ConnId,
        derivation: Derivation,
        keys: Keys,
    },
    Stepped {
        conn: ConnId,
        stepped: Stepped,
    },
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
