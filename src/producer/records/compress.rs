//! Batches are compressed: by jobs, one ahead of each partition's window, or when they are sent.

use alloc::vec::Vec;
use core::time::Duration;

use crate::batch::Compressor;
use crate::event::Output;
use crate::job::{Job, JobId};
use crate::memory;
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::records::batches::{Stage, State};
use crate::producer::records::partitions::Waiting;
use crate::producer::timers::Timer;
use crate::time::Instant;

/// How often it is looked whether a job was dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Producer {
    /// If the partition's next batch is due and is to be compressed by a job, it gets in line for that.
    pub(in crate::producer) fn list_for_job(&mut self, index: u32) {
        let partition = &self.records.partitions[index];
        if partition.waits_for_job {
            return;
        }
        let Some(slot) = partition.queued.first() else { return };
        let batch = &self.records.batches[slot];
        if batch.stage == Stage::Wanted && matches!(batch.state, State::Due | State::Closed) {
            self.records.partitions[index].waits_for_job = true;
            self.records.without_job.push_back(&mut self.records.partitions, Waiting, index);
        }
    }

    /// Hands out the next job. False if there is none to be, or enough are out.
    pub(in crate::producer) fn start_job(&mut self) -> bool {
        if self.records.without_job.is_empty() || !self.records.jobs.has_room() {
            return false;
        }
        let Some(index) = self.records.without_job.first() else { return false };
        self.records.without_job.remove(&mut self.records.partitions, Waiting, index);
        self.records.partitions[index].waits_for_job = false;
        let Some(slot) = self.records.partitions[index].queued.first() else { return true };
        if self.records.batches[slot].stage != Stage::Wanted {
            return true; // the batch that waited is gone
        }
        match self.records.batches[slot].state {
            State::Due => self.close_batch(slot),
            State::Closed => {}
            State::Open
            | State::InFlight(_)
            | State::Waiting
            | State::Resolved(_)
            | State::Delivering
            | State::Split
            | State::Free => return true,
        }
        let id = JobId { slot, generation: self.records.batches.generation(slot) };
        let batch = &mut self.records.batches[slot];
        batch.stage = Stage::Out;
        let job = Job::compress(id, self.config.compression, batch.records.segments());
        self.records.jobs.begin(id);
        self.stats.jobs += 1;
        self.outbox.output(Output::Job(job));
        self.timers.set_if_sooner(Timer::Jobs, self.now + LOOK_EVERY);
        true
    }

    /// A compression job has come back.
    pub(in crate::producer) fn compression_done(&mut self, id: JobId, compressed: Option<Vec<u8>>) {
        let was_out = self.records.jobs.end(id); // else it was given up before
        if (was_out && self.is_out(id)) || planted("late-job-used") {
            self.compressed(id.slot, compressed);
        }
    }

    /// Whether the batch that a job was for is alive and still waits for it.
    fn is_out(&self, id: JobId) -> bool {
        self.records.batches.generation(id.slot) == id.generation
            && self.records.batches[id.slot].stage == Stage::Out
            && self.records.batches[id.slot].state == State::Closed
    }

    /// The batch is as small as it gets, and may leave.
    fn compressed(&mut self, slot: u32, compressed: Option<Vec<u8>>) {
        self.shrink(slot, compressed);
        let index = self.records.batches[slot].partition;
        self.list_if_ready(index);
    }

    /// Jobs of which nobody holds the bytes any more were dropped: their batches leave uncompressed.
    pub(in crate::producer) fn look_after_jobs(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(id) = self.records.jobs.out().get(at).copied() {
            let alive = self.is_out(id);
            if alive && !self.records.batches[id.slot].records.is_lent() {
                self.records.jobs.end(id);
                log::warn!("a compression job was dropped: the batch leaves uncompressed");
                self.compressed(id.slot, None);
            } else if !alive {
                self.records.jobs.end(id);
            } else {
                at += 1;
            }
        }
        if !self.records.jobs.out().is_empty() {
            self.timers.set(Timer::Jobs, now + LOOK_EVERY);
        }
    }

    /// Compresses a closed batch here and now.
    pub(in crate::producer) fn compress_inline(&mut self, slot: u32) {
        let batch = &self.records.batches[slot];
        // It leaves as it is where there is no memory to make it smaller. (Looking at each batch costs too much where there is plenty.)
        let compressed = match self.records.pool.is_small()
            && !self
                .records
                .pool
                .make_room(Compressor::needs(self.config.compression, batch.records.len()) + memory::LEFT)
        {
            true => None,
            false => self.records.compressor.compress(self.config.compression, batch.records.chunks()),
        };
        self.shrink(slot, compressed);
    }

    /// The broker does not know the codec: the batch goes out as it was.
    pub(in crate::producer) fn decompress(&mut self, slot: u32) {
        self.records.batches[slot].records.decompress(&mut self.records.pool);
    }

    fn shrink(&mut self, slot: u32, compressed: Option<Vec<u8>>) {
        let batch = &mut self.records.batches[slot];
        batch.stage = Stage::Ready;
        let topic = self.records.partitions[batch.partition].topic;
        let raw = batch.records.len();
        let small = compressed.as_ref().map_or(raw, Vec::len);
        self.records.topics[topic].ratio.observe(small, raw);
        self.records.topics.estimate(topic);
        if let Some(compressed) = compressed {
            self.stats.batches_compressed += 1;
            batch.records.replace(self.config.compression, &compressed, &mut self.records.pool);
            self.tell_writable();
        }
    }
}
