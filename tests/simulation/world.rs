//! The world: time, network, driver, workload.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use core::time::Duration;

use bytes::Buf;
use milena::cluster::{Cluster, Peer, Request, TopicId, TopicSettings};
use milena::{
    Cause, Compressor, Config, ConnId, Event, FlushId, Input, Instant, Job, Output, Producer, Record, SendError,
    UnixTime,
};

use crate::faults::{Gremlin, Switch};
use crate::laws::{Accepted, Books};
use crate::plan::{Dice, Plan};

/// What must happen on some seed of a large set.
pub const SOMETIMES: &[&str] = &[
    "a record was delivered",
    "a record failed",
    "a record failed, possibly written",
    "a batch was retried",
    "a batch was split",
    "a batch was compressed",
    "a compression job went out",
    "a compression job was dropped",
    "an epoch was bumped",
    "a send found the buffer full",
    "an answer came too late",
    "a success without an offset",
    "several batches of a partition were in flight",
    "a flush ended",
    "a connection failed",
    "a broker throttled",
];

/// Whether a broker may work off bytes of a connection that the client has given up.
pub fn has_late_copies(plan: &Plan) -> bool {
    let f = &plan.faults;
    f.half_open
        + f.reset
        + f.pause
        + f.crash
        + f.move_leader
        + f.blackhole
        + f.apply_then
        + f.hang_up_after
        + f.leave_out
        > 0
        || f.delay > 0
}

/// One connection's two directions.
#[derive(Debug)]
struct Wire {
    node: i32,
    peer: Option<Peer>,
    /// When it is up; until then nothing may be sent.
    up_at: Instant,
    announced: bool,
    refused: bool,
    to_broker: VecDeque<(Instant, Vec<u8>)>,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    blackhole: bool,
    /// The client's end is closed; the broker's may not be.
    client_gone: bool,
    /// The host wants to write and the socket was blocked until then.
    blocked_until: Option<Instant>,
}

#[derive(Debug)]
struct Pending {
    id: FlushId,
    /// Records accepted before it.
    covers: u64,
    /// Failures before it.
    failed: u64,
}

#[derive(Debug)]
pub struct World {
    plan: Plan,
    verbose: bool,
    now: Instant,
    dice: Dice,
    pub producer: Producer,
    pub cluster: Cluster,
    on: Switch,
    wires: BTreeMap<ConnId, Wire>,
    pub books: Books,
    /// Compression jobs that are out, with the time of their end.
    jobs: Vec<(Instant, Job)>,
    compressor: Compressor,
    wait: Option<Instant>,
    /// How many drains in a row ended in a wait that was over already.
    idle_drains: u32,
    flushes: Vec<Pending>,
    names: BTreeMap<usize, String>,
    /// Every id that each topic had.
    pub ids: BTreeMap<String, Vec<TopicId>>,
    sent: u64,
    next_send: Instant,
    stalled_until: Instant,
    back_at: BTreeMap<i32, Instant>,
    tell_at: Option<Instant>,
    calm: Option<Instant>,
    ending: bool,
    closed: bool,
    connects: VecDeque<Instant>,
    sometimes: BTreeMap<&'static str, u64>,
    fingerprint: u64,
    events: VecDeque<String>,
    waits_for_room: bool,
    waits_for_topic: BTreeMap<String, Instant>,
}

impl World {
    pub fn new(plan: Plan, verbose: bool) -> Self {
        let nodes = (0..plan.cluster.nodes).map(|node| format!("node{}:{}", node + 1, 9092 + node)).collect::<Vec<_>>();
        let servers = ("bootstrap.servers", nodes.join(","));
        let options = plan.options.iter().cloned().chain([servers]);
        let config = Config::from_properties(options).expect("the plan draws valid options");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let mut cluster = Cluster::new(plan.cluster.clone());
        for node in cluster.nodes() {
            cluster.set_address(node, &format!("node{node}"), 9092 + node as u16 - 1);
        }
        let on: Switch = Arc::new(Mutex::new(true));
        let gremlin = Gremlin { faults: plan.faults.clone(), dice: Dice::new(plan.seed ^ 77), on: Arc::clone(&on) };
        cluster.set_mischief(Box::new(gremlin));
        let mut ids = BTreeMap::new();
        for topic in 0..plan.topics {
            let name = format!("topic-{topic}");
            let settings = TopicSettings::default().max_message_bytes(plan.max_message_bytes);
            let id = cluster.create_topic_with(&name, plan.cluster.default_partitions, settings);
            ids.insert(name, vec![id]);
        }
        let unix = UnixTime::from_millis(plan.cluster.unix_time);
        Self {
            producer: Producer::new(Instant::ZERO, Some(unix), config, seed),
            dice: Dice::new(plan.seed ^ 0xabcd),
            plan,
            verbose,
            now: Instant::ZERO,
            cluster,
            on,
            wires: BTreeMap::new(),
            books: Books::default(),
            jobs: Vec::new(),
            compressor: Compressor::default(),
            wait: Some(Instant::ZERO),
            idle_drains: 0,
            flushes: Vec::new(),
            names: BTreeMap::new(),
            ids,
            sent: 0,
            next_send: Instant::ZERO,
            stalled_until: Instant::ZERO,
            back_at: BTreeMap::new(),
            tell_at: None,
            calm: None,
            ending: false,
            closed: false,
            connects: VecDeque::new(),
            sometimes: BTreeMap::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
            events: VecDeque::new(),
            waits_for_room: false,
            waits_for_topic: BTreeMap::new(),
        }
    }

    pub fn outcome(&mut self) -> (BTreeMap<i16, u64>, BTreeMap<&'static str, u64>, u64) {
        (self.cluster.counters().errors.clone(), self.sometimes.clone(), self.fingerprint)
    }

    pub fn last_events(&self) -> Vec<String> {
        self.events.iter().cloned().collect()
    }

    fn note(&mut self, event: impl FnOnce() -> String) {
        let event = format!("{:>9.3} {}", self.now.as_nanos() as f64 / 1e6, event());
        for byte in event.bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.verbose {
            println!("{event}");
        }
        self.events.push_back(event);
        if self.events.len() > 60 {
            self.events.pop_front();
        }
    }

    fn sometimes(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_default() += 1;
    }

    /// From the first send to the audit.
    pub fn run(&mut self) -> Result<(), String> {
        let fault_phase = Instant::from_millis(self.plan.fault_phase);
        let patience = self.plan.delivery_timeout() + Duration::from_secs(60);
        let mut end = None;
        for step in 0..400_000u64 {
            self.deliver()?;
            if self.now >= fault_phase && self.calm.is_none() {
                self.calm_down();
                end = Some(self.now + patience);
            }
            if self.calm.is_none() {
                self.misbehave();
            }
            if self.now >= self.stalled_until {
                self.work()?;
                self.drive()?;
            }
            self.cluster.advance(self.now);
            self.deliver()?; // what it answers now is on its way before time goes on
            self.check_steps()?;
            if self.closed {
                return self.finish();
            }
            if let (Some(end), Some(last)) = (&mut end, self.books.records.last()) {
                *end = (*end).max(last.sent + patience);
            }
            if end.is_some_and(|end| self.now > end) {
                return Err(format!(
                    "STALL: still open long after the faults ended: {} of {} delivered, {} failed",
                    self.books.delivered,
                    self.books.records.len(),
                    self.books.failed
                ));
            }
            if !self.step_time() {
                return Err(format!("STUCK: nothing will ever happen again (step {step})"));
            }
        }
        Err("too many steps".into())
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.books.is_open() {
            return Err("closed with open records".into());
        }
        if !self.flushes.is_empty() {
            return Err(format!("flushes never ended: {:?}", self.flushes));
        }
        self.jobs.clear(); // the latest of all; they held memory
        self.producer.poll_output();
        if self.producer.buffered() > 0 {
            return Err(format!("{} bytes of memory never came back", self.producer.buffered()));
        }
        let stats = self.producer.stats();
        let counted = (stats.records_accepted, stats.records_delivered, stats.records_failed);
        if counted != (self.books.records.len() as u64, self.books.delivered, self.books.failed) {
            return Err(format!("the counters {counted:?} are wrong"));
        }
        for (count, what) in [
            (stats.records_delivered, "a record was delivered"),
            (stats.records_failed, "a record failed"),
            (stats.retries, "a batch was retried"),
            (stats.splits, "a batch was split"),
            (stats.batches_compressed, "a batch was compressed"),
            (stats.jobs, "a compression job went out"),
            (stats.epoch_bumps, "an epoch was bumped"),
            (stats.buffer_full, "a send found the buffer full"),
            (stats.late_answers, "an answer came too late"),
            (stats.connection_failures, "a connection failed"),
        ] {
            if count > 0 {
                self.sometimes(what);
            }
        }
        self.books.audit(&self.plan, &self.cluster, &self.ids, self.calm.unwrap_or(self.now))
    }

    /// Time goes on to the next moment at which something may happen.
    fn step_time(&mut self) -> bool {
        let tick = self.now + Duration::from_millis(1);
        if self.calm.is_none() {
            self.now = tick;
            return true;
        }
        let wires = self.wires.values().flat_map(|wire| {
            let queues = [wire.to_broker.front(), wire.to_client.front()].into_iter().flatten().map(|(at, _)| *at);
            queues.chain((!wire.announced).then_some(wire.up_at)).chain(wire.blocked_until)
        });
        let waits = [self.wait, self.cluster.next_deadline()].into_iter().flatten();
        let sends = (!self.ending).then_some(self.next_send);
        let jobs = self.jobs.iter().map(|(at, _)| *at);
        let next = wires.chain(waits).chain(sends).chain(jobs).min();
        match next {
            Some(at) => {
                self.now = at.max(tick);
                true
            }
            None => false,
        }
    }

    /// What the laws say of every moment.
    fn check_steps(&mut self) -> Result<(), String> {
        let limit = self.plan.millis("max.in.flight.requests.per.connection", 5) as usize;
        if self.producer.in_flight() > limit * self.wires.len().max(1) {
            return Err("more in flight than allowed".into());
        }
        let memory = self.plan.millis("buffer.memory", 33_554_432) as usize;
        // The parts of split batches may take a little more than their parents, and so may batches that hardly shrink; and each
        // part has an entry of its own in the table of batches.
        let stats = self.producer.stats();
        let chunks = if stats.splits + stats.batches_compressed > 0 { 256 * self.books.records.len() } else { 0 };
        let entries = if stats.splits > 0 { 512 * self.books.records.len() } else { 0 };
        let reserve = chunks + entries;
        if self.producer.buffered() > memory + reserve {
            return Err(format!("{} bytes buffered, of {memory}", self.producer.buffered()));
        }
        Ok(())
    }

    /// Bytes arrive.
    fn deliver(&mut self) -> Result<(), String> {
        let now = self.now;
        let conns: Vec<ConnId> = self.wires.keys().copied().collect();
        for conn in conns {
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            while wire.to_broker.front().is_some_and(|(at, _)| *at <= now) {
                let (_, bytes) = wire.to_broker.pop_front().expect("it is there");
                if let (Some(peer), false) = (wire.peer, wire.blackhole) {
                    self.cluster.receive(now, peer, &bytes);
                }
            }
            if let Some(peer) = wire.peer {
                let bytes = self.cluster.take_output(peer);
                let closed = self.cluster.is_closed(peer);
                if !bytes.is_empty() && !wire.blackhole && !wire.client_gone {
                    let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
                    let last = wire.to_client.back().map_or(now, |(at, _)| *at);
                    wire.to_client.push_back(((now + delay).max(last), bytes));
                }
                if closed && wire.to_client.is_empty() && !wire.blackhole {
                    wire.peer = None;
                    if !wire.client_gone {
                        self.input(conn, Input::Disconnected(conn, Cause::Closed));
                        self.wires.remove(&conn);
                        continue;
                    }
                }
            }
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            if wire.client_gone && wire.to_broker.is_empty() {
                if let Some(peer) = wire.peer.take() {
                    self.cluster.disconnect(peer);
                }
                self.wires.remove(&conn);
            }
        }
        Ok(())
    }

    /// The host hands in what the network has for it. Reads may be cut anywhere.
    fn read(&mut self) {
        let now = self.now;
        let conns: Vec<ConnId> = self.wires.keys().copied().collect();
        for conn in conns {
            let Some(wire) = self.wires.get_mut(&conn) else {
                continue;
            };
            if wire.client_gone {
                continue;
            }
            if !wire.announced && wire.up_at <= now {
                wire.announced = true;
                if wire.refused {
                    self.input(conn, Input::Disconnected(conn, Cause::Connect("refused")));
                    self.wires.remove(&conn);
                    continue;
                }
                self.input(conn, Input::Connected(conn));
            }
            loop {
                let Some(wire) = self.wires.get_mut(&conn) else { break };
                if wire.to_client.front().is_none_or(|(at, _)| *at > now) {
                    break;
                }
                let (_, bytes) = wire.to_client.pop_front().expect("it is there");
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let most = rest.len() as u64;
                    let cut = if self.plan.faults.cut_reads { self.dice.range(1, most.min(50)) } else { most };
                    let (read, later) = rest.split_at(cut as usize);
                    self.input(conn, Input::Data(conn, read));
                    rest = later;
                }
            }
        }
    }

    fn input(&mut self, conn: ConnId, input: Input<'_>) {
        match input {
            Input::Data(_, bytes) => self.note(|| format!("{conn} read {} bytes", bytes.len())),
            _ => self.note(|| format!("{input:?}")),
        }
        self.producer.handle_input(self.now, input);
    }

    /// The driver: hands in what came, says when time is over, drains when it is told to, writes when it is told to.
    fn drive(&mut self) -> Result<(), String> {
        self.read();
        self.finish_jobs();
        if self.wait.is_some_and(|at| at <= self.now) {
            self.producer.handle_input(self.now, Input::Timeout);
        }
        let told = self.producer.take_wake();
        let due = self.wait.is_some_and(|at| at <= self.now);
        if told || due {
            self.drain()?;
        }
        let unblocked: Vec<ConnId> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.blocked_until.is_some_and(|until| until <= self.now))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in unblocked {
            self.write(conn);
            if self.producer.take_wake() {
                self.drain()?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..100_000 {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => self.connect(conn, &host, port)?,
                Output::Disconnect(conn) => {
                    self.note(|| format!("disconnect {conn}"));
                    let Some(wire) = self.wires.get_mut(&conn) else {
                        return Err(format!("a disconnect for {conn}, which is gone"));
                    };
                    wire.client_gone = true;
                    wire.to_client.clear();
                    wire.blocked_until = None;
                }
                Output::Transmit(conn) => {
                    if self.wires.get(&conn).is_some_and(|wire| wire.blocked_until.is_none()) {
                        self.write(conn);
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
                    return Ok(());
                }
            }
        }
        Err("a drain without end".into())
    }

    /// A job goes to its thread, where it may meet with an accident.
    fn start_job(&mut self, job: Job) {
        let faults = &self.plan.faults;
        let on = self.calm.is_none();
        let (dropped, failed, late) = (faults.job_dropped, faults.job_failed, faults.job_late);
        if on && self.dice.once_in(dropped) {
            self.note(|| "a job is dropped".into());
            self.sometimes("a compression job was dropped");
            drop(job);
        } else if on && self.dice.once_in(failed) {
            self.note(|| "a job fails".into());
            self.producer.handle_input(self.now, Input::Done(job.give_up()));
        } else {
            let most = if on && self.dice.once_in(late) { 30_000 } else { 20 };
            let at = self.now + Duration::from_millis(self.dice.range(0, most));
            self.note(|| format!("a job takes until {at:?}"));
            self.jobs.push((at, job));
        }
    }

    fn finish_jobs(&mut self) {
        while let Some(place) = self.jobs.iter().position(|(at, _)| *at <= self.now) {
            let (_, job) = self.jobs.swap_remove(place);
            self.note(|| "a job is done".into());
            self.producer.handle_input(self.now, Input::Done(job.run(&mut self.compressor)));
        }
    }

    fn connect(&mut self, conn: ConnId, host: &str, port: u16) -> Result<(), String> {
        self.note(|| format!("connect {conn} to {host}:{port}"));
        let now = self.now;
        self.connects.push_back(now);
        while self.connects.front().is_some_and(|at| *at + Duration::from_secs(1) < now) {
            self.connects.pop_front();
        }
        let bound = 110 * (self.plan.cluster.nodes as usize + 1);
        if self.connects.len() > bound {
            return Err(format!("STORM: {} connection attempts in a second", self.connects.len()));
        }
        let node = self.cluster.node_at(host, port).unwrap_or(1);
        let calm = self.calm.is_some();
        let refused = !calm && self.dice.once_in(self.plan.faults.refuse_connect);
        let peer = if refused { None } else { self.cluster.connect(node) };
        let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
        let wire = Wire {
            node,
            refused: peer.is_none(),
            peer,
            up_at: now + delay,
            announced: false,
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            blackhole: !calm && self.dice.once_in(self.plan.faults.blackhole / 20),
            client_gone: false,
            blocked_until: None,
        };
        self.wires.insert(conn, wire);
        Ok(())
    }

    /// Writes until it is empty or the socket blocks.
    fn write(&mut self, conn: ConnId) {
        let now = self.now;
        loop {
            let Some(wire) = self.wires.get_mut(&conn) else { return };
            let mut transmit = self.producer.transmit(now, conn);
            let length = transmit.remaining();
            if length == 0 {
                wire.blocked_until = None;
                return;
            }
            let takes = if self.plan.faults.short_writes { self.dice.range(1, length as u64) as usize } else { length };
            let mut bytes = Vec::with_capacity(takes);
            while bytes.len() < takes {
                let chunk = transmit.chunk();
                let n = chunk.len().min(takes - bytes.len());
                bytes.extend_from_slice(&chunk[..n]);
                transmit.advance(n);
            }
            let delay = Duration::from_millis(self.dice.range(0, self.plan.faults.delay));
            let last = wire.to_broker.back().map_or(now, |(at, _)| *at);
            wire.to_broker.push_back(((now + delay).max(last), bytes));
            let blocks = takes < length && self.dice.once_in(2);
            if blocks {
                wire.blocked_until = Some(now + Duration::from_millis(self.dice.range(1, 30)));
            }
            self.note(|| format!("{conn} wrote {takes} of {length} bytes"));
            if blocks {
                return;
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        self.note(|| format!("{event:?}"));
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
                if let (Some(calm), Err(error)) = (self.calm, &delivery.outcome) {
                    self.check_late_failure(calm, &delivery, error)?;
                }
                self.books.delivery(self.now, &self.plan, &delivery, aborted)?;
            }
            Event::Flushed { id, failed } => {
                let place = self.flushes.iter().position(|pending| pending.id == id);
                let pending = self.flushes.remove(place.ok_or("a flush that nobody asked for")?);
                if !self.books.all_delivered_before(pending.covers) {
                    return Err("FLUSH: ended before everything accepted before it was delivered".into());
                }
                if failed > self.books.failed - pending.failed {
                    return Err(format!("FLUSH: {failed} failures, more than there were"));
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
            Event::Closed => self.closed = true,
            Event::Fatal(error) => return Err(format!("fatal: {error}")),
            _ => {}
        }
        Ok(())
    }

    /// After the faults have ended, what is open succeeds, unless its time was up soon after or an earlier batch of the
    /// partition failed in doubt.
    fn check_late_failure(
        &mut self,
        calm: Instant,
        delivery: &milena::Delivery,
        error: &milena::DeliveryError,
    ) -> Result<(), String> {
        use milena::DeliveryErrorKind as Kind;
        // A broker that tells no topic ids can't make the client see that a topic is another one, with fewer partitions.
        let blind = self.plan.faults.recreate > 0 && self.plan.newest(Request::Metadata) < 10;
        // Decided while there were faults, told when the batches before it were resolved.
        // Old versions have no words with an error.
        let wordless = self.plan.newest(Request::Produce) < 8 && matches!(error.kind, Kind::Refused(_));
        let decided = error.message.as_deref() == Some("on demand") || wordless;
        // By name, what stands behind a refused batch can't be known not to be written.
        let by_name = !self.plan.by_id() && matches!(&error.kind, Kind::TimedOut(Some(code)) if code.code() == 45);
        // A broker that was restarted remembers one batch of each producer: earlier ones in doubt can't be acknowledged.
        let forgotten =
            self.plan.faults.crash > 0 && matches!(&error.kind, Kind::TimedOut(Some(code)) if code.code() == 45);
        let excused = blind
            || forgotten
            || decided
            || by_name
            || match &error.kind {
                Kind::TimedOut(_) => {
                    let soon = self.now < calm + Duration::from_secs(15);
                    let place = (self.producer.topic_name(delivery.topic).to_string(), delivery.partition);
                    soon || self.books.doubtful.contains(&place)
                }
                // The topic was created again with fewer; that may be seen late.
                Kind::PartitionGone => self.plan.faults.recreate > 0,
                Kind::Aborted => self.ending,
                // Too large for the topic, each record by itself.
                Kind::Refused(code) => {
                    matches!(code.code(), 10 | 47 | 17 | 29) || self.now < calm + Duration::from_secs(15)
                }
                _ => self.now < calm + Duration::from_secs(15),
            };
        if excused { Ok(()) } else { Err(format!("AVOIDABLE: {delivery:?} long after the faults ended")) }
    }

    /// The application: sends records as they come, tries again what was refused, flushes now and then.
    fn work(&mut self) -> Result<(), String> {
        if self.ending {
            return Ok(());
        }
        let over = self.sent >= self.plan.records || (self.plan.close_early && self.calm.is_some());
        if over && self.calm.is_some() {
            self.ending = true;
            self.note(|| "the application ends".into());
            if self.plan.abort {
                self.producer.abort(self.now)
            } else {
                self.producer.close(self.now)
            }
            return Ok(());
        }
        if over || self.now < self.next_send {
            return Ok(());
        }
        let span = self.plan.fault_phase / self.plan.records.max(1) * self.plan.burst;
        self.next_send = self.now + Duration::from_millis(self.dice.range(0, span * 2 + 1));
        for _ in 0..self.plan.burst {
            if self.sent >= self.plan.records || !self.send_one()? {
                break;
            }
        }
        if self.dice.once_in(30) {
            let id = self.producer.flush(self.now);
            let (covers, failed) = (self.books.records.len() as u64, self.books.failed);
            self.flushes.push(Pending { id, covers, failed });
        }
        if self.producer.take_wake() {
            self.drain()?;
        }
        Ok(())
    }

    fn send_one(&mut self) -> Result<bool, String> {
        let topic = format!("topic-{}", self.dice.range(0, self.plan.topics - 1));
        if self.waits_for_room || self.waits_for_topic.get(&topic).is_some_and(|until| *until > self.now) {
            return Ok(false);
        }
        let number = self.books.records.len() as u64;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(self.dice.range(8, 8 + self.plan.value) as usize, number as u8);
        let key = self.dice.once_in(2).then(|| self.dice.range(0, 20).to_be_bytes().to_vec());
        let partition =
            self.dice.once_in(4).then(|| self.dice.range(0, self.plan.cluster.default_partitions as u64 - 1) as i32);
        let mut record = Record::new(&topic).value(&value);
        record.key = key.as_deref();
        record.partition = partition;
        match self.producer.send(self.now, &record) {
            Ok(sent) => {
                self.sent += 1;
                let accepted = Accepted {
                    topic: topic.clone(),
                    partition: sent.partition,
                    sent: self.now,
                    timestamp: sent.timestamp,
                    key,
                    value,
                    outcome: None,
                };
                self.books.accepted(&sent, accepted)?;
                if self.producer.in_flight() > 1 {
                    self.sometimes("several batches of a partition were in flight");
                }
                Ok(true)
            }
            Err(SendError::NotReady { .. }) => {
                self.waits_for_topic.insert(topic, self.now + Duration::from_secs(3600));
                Ok(false)
            }
            Err(SendError::BufferFull { .. }) => {
                self.waits_for_room = true;
                Ok(false)
            }
            Err(SendError::TopicFailed(_)) => {
                self.waits_for_topic.insert(topic, self.now + Duration::from_millis(100));
                Ok(false)
            }
            Err(SendError::UnknownPartition { .. }) => Ok(true),
            Err(SendError::TooLarge { .. }) => Ok(true),
            Err(other) => Err(format!("send: {other}")),
        }
    }

    /// Faults of the network and of nodes.
    fn misbehave(&mut self) {
        let f = self.plan.faults.clone();
        let now = self.now;
        let conns: Vec<ConnId> =
            self.wires.iter().filter(|(_, w)| !w.client_gone && w.announced).map(|(c, _)| *c).collect();
        for conn in conns {
            let (reset, half_open) = (self.dice.once_in(f.reset), self.dice.once_in(f.half_open));
            if reset || half_open {
                let Some(wire) = self.wires.get_mut(&conn) else {
                    continue;
                };
                if reset {
                    if let Some(peer) = wire.peer.take() {
                        self.cluster.disconnect(peer);
                    }
                    self.wires.remove(&conn);
                } else {
                    wire.client_gone = true;
                    wire.to_client.clear();
                    wire.blocked_until = None;
                    // What is on its way may take long.
                    let late = Duration::from_millis(self.dice.range(0, 2000));
                    for (at, _) in &mut wire.to_broker {
                        *at = *at + late;
                    }
                }
                self.input(conn, Input::Disconnected(conn, Cause::Io("reset")));
            } else if self.dice.once_in(f.blackhole) {
                if let Some(wire) = self.wires.get_mut(&conn) {
                    wire.blackhole = true;
                }
            }
        }
        let nodes = self.cluster.nodes();
        let node = self.dice.pick(&nodes);
        let alone = nodes.iter().filter(|node| self.cluster.is_up(**node)).count() <= 1;
        if self.dice.once_in(f.crash) && self.cluster.is_up(node) && !(alone && f.lose_tail) {
            self.note(|| format!("node {node} crashes"));
            self.cluster.crash(node);
            for (_, wire) in self.wires.iter_mut().filter(|(_, wire)| wire.node == node) {
                if wire.peer.take().is_some() {
                    wire.to_broker.clear();
                }
            }
            let gone: Vec<ConnId> =
                self.wires.iter().filter(|(_, w)| w.node == node && w.announced).map(|(c, _)| *c).collect();
            for conn in gone {
                let wire = self.wires.remove(&conn).expect("it was listed");
                if !wire.client_gone {
                    self.input(conn, Input::Disconnected(conn, Cause::Io("reset")));
                }
            }
            for wire in self.wires.values_mut().filter(|wire| wire.node == node) {
                wire.refused = true;
            }
            self.back_at.insert(node, now + Duration::from_millis(self.dice.range(10, 3000)));
        }
        if self.dice.once_in(f.pause) && self.cluster.is_up(node) {
            self.note(|| format!("node {node} pauses"));
            self.cluster.pause(node);
            self.back_at.insert(node, now + Duration::from_millis(self.dice.range(10, 3000)));
        }
        let back: Vec<i32> = self.back_at.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in back {
            self.back(node);
        }
        let topic = format!("topic-{}", self.dice.range(0, self.plan.topics - 1));
        let partition = self.dice.range(0, 4) as i32;
        if self.dice.once_in(f.move_leader) {
            let told = !(f.untold && self.dice.once_in(2));
            if self.cluster.move_leader(&topic, partition, node, told) {
                self.note(|| format!("{topic}-{partition} is led by {node}, told {told}"));
                self.tell_at.get_or_insert(now + Duration::from_millis(self.dice.range(10, 1500)));
            }
        }
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = None;
            self.cluster.tell_zombies(now);
        }
        if self.dice.once_in(f.recreate) {
            let partitions = self.cluster.partitions(&topic).max(1);
            let fewer = if self.dice.once_in(4) { (partitions - 1).max(1) } else { partitions };
            self.note(|| format!("{topic} is re-created with {fewer} partitions"));
            let settings = TopicSettings::default().max_message_bytes(self.plan.max_message_bytes);
            let id = self.cluster.create_topic_with(&topic, fewer, settings);
            self.ids.entry(topic.clone()).or_default().push(id);
        }
        if self.dice.once_in(f.grow) {
            let partitions = self.cluster.partitions(&topic);
            self.cluster.add_partitions(&topic, (partitions + 1).min(8));
        }
        if self.dice.once_in(f.stall) {
            self.stalled_until = now + Duration::from_millis(self.dice.range(1, 1000));
        }
        if self.dice.once_in(f.clock_step) {
            let step = self.dice.range(0, 3_000_000) as i64 - 1_500_000;
            let time = self.plan.cluster.unix_time + (now.as_nanos() / 1_000_000) as i64 + step;
            self.producer.handle_input(now, Input::WallClock(UnixTime::from_millis(time)));
        }
    }

    fn back(&mut self, node: i32) {
        self.back_at.remove(&node);
        self.note(|| format!("node {node} is back"));
        let lose_tail = self.plan.faults.lose_tail && self.dice.once_in(2);
        self.cluster.resume(self.now, node);
        if !self.cluster.is_up(node) {
            self.cluster.restart(node, lose_tail);
        }
    }

    /// The faults end.
    fn calm_down(&mut self) {
        self.note(|| "calm".into());
        self.calm = Some(self.now);
        *self.on.lock().expect("nobody panics with it") = false;
        let away: Vec<i32> = self.cluster.nodes().into_iter().filter(|node| !self.cluster.is_up(*node)).collect();
        for node in away {
            self.back(node);
        }
        self.cluster.tell_zombies(self.now);
        let time = self.plan.cluster.unix_time + (self.now.as_nanos() / 1_000_000) as i64;
        self.producer.handle_input(self.now, Input::WallClock(UnixTime::from_millis(time)));
        self.stalled_until = self.now;
        for (at, _) in &mut self.jobs {
            *at = (*at).min(self.now);
        }
        for wire in self.wires.values_mut() {
            if let Some(until) = &mut wire.blocked_until {
                *until = (*until).min(self.now);
            }
        }
    }
}
