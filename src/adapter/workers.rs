//! Threads for the machine's jobs: as many as may be out at a time, started when there is work, kept until the driver ends.

use alloc::sync::Arc;
use core::panic::AssertUnwindSafe;

use super::engine::Engine;
use super::sync::mpsc::{Receiver, Sender, channel};
use super::sync::{Mutex, PoisonError, thread};
use crate::batch::Compressor;
use crate::event::Input;
use crate::job::Job;
use crate::planted::planted;

/// Belongs to a driver. Dropping it ends the threads, once they have done what they are at.
#[derive(Debug)]
pub(super) struct Workers {
    engine: Arc<Engine>,
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    started: usize,
}

impl Workers {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let (jobs, queue) = channel();
        Self { engine, jobs, queue: Arc::new(Mutex::new(queue)), started: 0 }
    }

    /// Runs the job on another thread. Where the system gives none, it is handed back undone.
    pub(super) fn run(&mut self, job: Job) {
        if job.is_authentication() {
            self.authenticate(job);
            return;
        }
        if self.started < self.engine.jobs() {
            let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
            let kept = planted("workers-keep-their-queue").then(|| self.jobs.clone());
            let worker = thread::Builder::new().name("milena-compress".into());
            match worker.spawn(move || (work(&engine, &queue), kept).0) {
                Ok(_) => self.started += 1,
                Err(error) => log::warn!("no thread for compression: {error}"),
            }
        }
        if self.started == 0 {
            self.engine.input_from_outside(Input::Done(job.give_up()));
            return;
        }
        self.jobs.send(job).expect("the queue's other end is kept here");
    }

    /// On a thread of its own: it may be the application's, and hang. The machine hands out few at a time.
    fn authenticate(&self, job: Job) {
        let job = Arc::new(Mutex::new(Some(job)));
        let take = |job: &Mutex<Option<Job>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (engine, theirs) = (Arc::clone(&self.engine), Arc::clone(&job));
        let step = move || {
            let done = take(&theirs).map(|job| job.run(&mut Compressor::default()));
            if let Some(done) = done {
                engine.input_from_outside(Input::Done(done));
            }
        };
        if let Err(error) = thread::Builder::new().name("milena-sasl".into()).spawn(step) {
            log::warn!("no thread for authentication: {error}");
            if let Some(job) = take(&job) {
                self.engine.input_from_outside(Input::Done(job.give_up()));
            }
        }
    }
}

fn work(engine: &Engine, queue: &Mutex<Receiver<Job>>) {
    let mut compressor = Compressor::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A job that panics is missed by the machine after a while, and its batch leaves uncompressed.
        match std::panic::catch_unwind(AssertUnwindSafe(|| job.run(&mut compressor))) {
            Ok(done) => engine.input_from_outside(Input::Done(done)),
            Err(_) => {
                log::error!("a codec has panicked");
                compressor = Compressor::default();
            }
        }
    }
}
