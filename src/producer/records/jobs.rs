//! Which jobs of compression are out.

use alloc::vec::Vec;

use crate::job::JobId;

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
