//! The driver: as lazy as the contract allows. It drains when it is told to, writes when it is told to, wakes at the deadline.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Who, World};
use crate::metrics::TopicCounts;
use crate::{ConnId, Delivery, Event, Input, Job, Output, Written};

/// So many drains in a row may have nothing to do but to wait for less than a millisecond.
const MOST_IN_VAIN: u32 = 100;

impl World {
    /// The driver: hands in what came, says when time is over, drains when it is told to, writes when it is told to.
    pub(super) fn drive(&mut self) -> Result<(), String> {
        self.read();
        self.finish_jobs();
        if self.wait.is_some_and(|at| at <= self.now) {
            self.producer.handle_input(self.now, Input::Timeout);
        }
        let told = self.producer.take_wake();
        let due = self.wait.is_some_and(|at| at <= self.now);
        if told || due {
            self.drain()?;
        } else {
            self.look_again()?;
        }
        let unblocked: Vec<ConnId> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.blocked_until.is_some_and(|until| until <= self.now))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in unblocked {
            self.write(conn)?;
            if self.producer.take_wake() {
                self.drain()?;
            }
        }
        Ok(())
    }

    /// Who was not told to drain has nothing to gain by it.
    fn look_again(&mut self) -> Result<(), String> {
        match self.poll() {
            Output::Wait(wait) => {
                let before = self.wait;
                self.wait = wait;
                if wait.is_some_and(|wait| before.is_none_or(|before| wait < before)) {
                    return Err(format!(
                        "ASLEEP: the driver was not told that it is to wake at {wait:?}, not {before:?}"
                    ));
                }
                Ok(())
            }
            output => Err(format!("ASLEEP: the driver was not told of {output:?}")),
        }
    }

    pub(super) fn drain(&mut self) -> Result<(), String> {
        for outputs in 0..100_000 {
            match self.poll() {
                Output::Connect { conn, host, port, .. } => self.connect(conn, &host, port)?,
                Output::Disconnect(conn) => {
                    self.note(Who::Producer, || format!("disconnects {conn}"));
                    let Some(wire) = self.wires.get_mut(&conn) else {
                        return Err(format!("a disconnect for {conn}, which is gone"));
                    };
                    wire.client_gone = true;
                    wire.to_client.clear();
                    wire.blocked_until = None;
                    self.wiretap.gone(conn);
                }
                Output::Transmit(conn) => {
                    if self.wires.get(&conn).is_some_and(|wire| wire.blocked_until.is_none()) {
                        self.write(conn)?;
                    }
                }
                Output::Job(job) => self.start_job(job),
                Output::Token { .. } => return Err("a token is wanted, without OAUTHBEARER".into()),
                Output::Event(event) => self.event(event)?,
                Output::Wait(wait) => {
                    self.wait = wait;
                    if wait.is_some_and(|at| at <= self.now) {
                        self.idle_drains += 1;
                        if self.idle_drains > 3 {
                            return Err(format!(
                                "BUSY: {} drains in a row end in a wait that is over",
                                self.idle_drains
                            ));
                        }
                    } else {
                        self.idle_drains = 0;
                    }
                    let soon = wait.is_some_and(|at| at < self.now + Duration::from_millis(1));
                    self.in_vain = if outputs == 0 && soon { self.in_vain + 1 } else { 0 };
                    if self.in_vain > MOST_IN_VAIN {
                        return Err(format!(
                            "BUSY: {} drains in a row had nothing to do but to wait for less than 1 ms",
                            self.in_vain
                        ));
                    }
                    return Ok(());
                }
            }
        }
        Err("a drain without end".into())
    }

    /// A job goes to its thread, where it may meet with an accident.
    pub(super) fn start_job(&mut self, job: Job) {
        let faults = &self.plan.faults;
        let on = self.calm.is_none();
        let (dropped, failed, late) = (faults.job_dropped, faults.job_failed, faults.job_late);
        if on && self.dice.once_in(dropped) {
            self.note(Who::Application, || "drops a compression job".into());
            self.sometimes("a compression job was dropped");
            drop(job);
        } else if on && self.dice.once_in(failed) {
            self.note(Who::Application, || "hands a compression job back undone".into());
            self.producer.handle_input(self.now, Input::Done(job.give_up()));
        } else {
            let most = if on && self.dice.once_in(late) { 30_000 } else { 20 };
            let at = self.now + Duration::from_millis(self.dice.range(0, most));
            self.note(Who::Application, || format!("runs a compression job until {at:?}"));
            self.jobs.push((at, job));
        }
    }

    pub(super) fn finish_jobs(&mut self) {
        while let Some(place) = self.jobs.iter().position(|(at, _)| *at <= self.now) {
            let (_, job) = self.jobs.swap_remove(place);
            self.note(Who::Application, || "has done a compression job".into());
            self.producer.handle_input(self.now, Input::Done(job.run(&mut self.compressor)));
        }
    }

    pub(super) fn event(&mut self, event: Event) -> Result<(), String> {
        self.tell_of(&event);
        if self.by_hand {
            self.told.push(event.clone());
        }
        match event {
            Event::Delivered(delivery) => {
                let aborted = self.plan.abort && self.ending;
                match &delivery.outcome {
                    Ok(written) if written.base_offset.is_none() && self.plan.acks() == "all" => {
                        self.sometimes("a success without an offset");
                    }
                    Err(error) if error.possibly_written => self.sometimes("a record failed, possibly written"),
                    _ => {}
                }
                if let (true, Err(error)) = (self.calm.is_some(), &delivery.outcome) {
                    self.check_late_failure(&delivery, error)?;
                }
                let topic = self.producer.topic_name(delivery.topic).to_string();
                self.check_what_is_told(&delivery, &topic)?;
                let numbers = self.books.delivery(self.now, &self.plan, &delivery, &topic, aborted)?;
                if delivery.outcome.is_err() {
                    for flush in &mut self.flushes {
                        flush.failed += numbers.iter().filter(|number| **number < flush.covers).count() as u64;
                    }
                }
                self.wiretap.delivered(&numbers);
                let unconfirmed = self.plan.acks() == "0" && self.plan.get("compression.type").is_none();
                if unconfirmed && delivery.outcome.is_ok() {
                    if let Some(number) = numbers.first().filter(|first| !self.wiretap.left_whole(**first)) {
                        return Err(format!("EARLY: record {number} is delivered before its request is written"));
                    }
                }
            }
            Event::Flushed { id, failed } => {
                let place = self.flushes.iter().position(|pending| pending.id == id);
                let pending = self.flushes.remove(place.ok_or("a flush that nobody asked for")?);
                if !self.books.all_delivered_before(pending.covers) {
                    return Err("FLUSH: ended before everything accepted before it was delivered".into());
                }
                if failed != pending.failed {
                    return Err(format!("FLUSH: {failed} failures, and there were {}", pending.failed));
                }
                self.sometimes("a flush ended");
            }
            Event::TopicReady { topic } | Event::TopicFailed { topic, .. } => {
                let name = self.producer.topic_name(topic).to_string();
                self.names.insert(topic.get(), name.clone());
                self.waits_for_topic.remove(&name);
            }
            Event::Writable { .. } => self.waits_for_room = false,
            Event::Throttled { .. } => self.sometimes("a broker throttled"),
            Event::Retried { .. } => self.sometimes("a retry was told"),
            Event::LeaderMoved { .. } => self.sometimes("a leader's move was told"),
            Event::ProducerIdChanged { .. } => self.sometimes("a producer id was told"),
            Event::Closed => {
                self.check_measures()?;
                self.closed = true;
            }
            Event::Fatal(error) => return Err(format!("fatal: {error}")),
            _ => {}
        }
        Ok(())
    }

    /// An event in words.
    fn tell_of(&mut self, event: &Event) {
        let name = |topic| self.producer.topic_name(topic).to_string();
        let words = match event {
            Event::Delivered(Delivery { records, topic, partition, outcome, .. }) => {
                let what = format!("{} records of {}-{partition}", records.len(), name(*topic));
                match outcome {
                    Ok(Written { base_offset: Some(offset), .. }) => {
                        format!("{what} are delivered, from offset {offset} on")
                    }
                    Ok(_) => format!("{what} are delivered"),
                    Err(error) => format!("{what} are not delivered: {error}"),
                }
            }
            Event::TopicReady { topic } => format!("{} is ready", name(*topic)),
            Event::TopicFailed { topic, error, .. } => format!("{} is not to be had: {error}", name(*topic)),
            Event::Flushed { failed, .. } => format!("a flush has ended, {failed} records failed"),
            other => format!("{other:?}"),
        };
        self.note(Who::Producer, || words);
    }

    /// What an error and the status say is so.
    fn check_what_is_told(&self, delivery: &Delivery, topic: &str) -> Result<(), String> {
        if let Err(error) = &delivery.outcome {
            if (&*error.topic, error.partition) != (topic, delivery.partition) {
                return Err(format!("TOLD: {error}, and it is topic {topic}, partition {}", delivery.partition));
            }
        }
        let (status, stats) = (self.producer.status(self.now), self.producer.stats());
        let open = stats.records_accepted - stats.records_delivered - stats.records_failed;
        if status.open_records != open || status.oldest_record.is_some() && open == 0 {
            return Err(format!("TOLD: {open} records are open: {status:?}"));
        }
        Ok(())
    }

    /// What was measured adds up, once nothing is open.
    fn check_measures(&self) -> Result<(), String> {
        let metrics = self.producer.metrics(self.now);
        let stats = metrics.stats;
        let sum = |of: fn(&TopicCounts) -> u64| metrics.topics.iter().map(|topic| of(&topic.counts)).sum::<u64>();
        let (delivered, failed) = (sum(|counts| counts.records_delivered), sum(|counts| counts.records_failed));
        let (sent, retried) = (sum(|counts| counts.records_sent), sum(|counts| counts.records_retried));
        let told = self.plan.seed % 3 == 0;
        let latencies = metrics.distributions.record_latency.count();
        if (delivered, failed) != (stats.records_delivered, stats.records_failed)
            || sent < retried
            || told && latencies != delivered + failed
        {
            return Err(format!(
                "MEASURED: {delivered} and {failed}, {sent} sent, {retried} again, {latencies}: {stats:?}"
            ));
        }
        Ok(())
    }
}
