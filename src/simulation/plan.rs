//! What a seed decides before anything happens: options, workload, and which faults there are (each drawn or switched off).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::dice::Dice;
use super::faults::{Faults, SWITCHES};
use super::servers::{MOODS, Mood, View};
use crate::Config;
use crate::cluster::{Request, SaslSettings, Settings, Versions};

/// What happens after the faults, before a few records are sent that have to be delivered soon. Times are milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Nothing is sent.
    Idle(u64),
    /// All nodes are away.
    Outage(u64),
    /// Leaders move.
    Move,
    /// Retention takes all records, and what brokers know of producers with them.
    Forget,
    /// The host does nothing, as one that is suspended, while records are open.
    Suspend(u64),
}

/// What a world is like: everything that is drawn from a seed before it begins.
///
/// Methods change it: `Plan::draw(seed).only(&["reset", "crash"]).set("acks", "1")`. What is drawn then depends on the seed alone, too.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) options: Vec<(&'static str, String)>,
    pub(crate) cluster: Settings,
    pub(crate) max_message_bytes: Option<usize>,
    pub(crate) faults: Faults,
    pub(crate) topics: u64,
    pub(crate) records: u64,
    /// Milliseconds over which records are sent and faults happen.
    pub(crate) fault_phase: u64,
    pub(crate) burst: u64,
    pub(crate) value: u64,
    /// Some values are large enough to be shared with the machine.
    pub(crate) large: bool,
    pub(crate) abort: bool,
    pub(crate) close_early: bool,
    pub(crate) acts: Vec<Act>,
    /// The moods that servers get into.
    pub(crate) moods: Vec<Mood>,
    /// Which milliseconds topics are created at, if not before anything else, and for how long leaders hesitate then.
    pub(crate) young: Option<(u64, u64)>,
    /// How long sessions of users last, in milliseconds, if there are users.
    pub(crate) session: Option<u64>,
    /// Once in how many sends the topic is one that can't be had.
    pub(crate) odd_topics: u64,
    /// One that stays, also when all other faults have ended: from when on, and whose.
    pub(crate) lasting: Option<(u64, i32, Mood)>,
}

impl fmt::Display for Plan {
    /// In a few lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, records, topics, fault_phase, burst, .. } = self;
        let (nodes, partitions) = (self.cluster.nodes, self.cluster.default_partitions);
        write!(
            f,
            "seed {seed}: {records} records, {burst} at a time, to {topics} topics with {partitions} partitions, on {nodes} nodes"
        )?;
        let extras = [
            (self.abort, "it is aborted"),
            (self.close_early, "it is closed early"),
            (self.large, "some values are large"),
            (self.odd_topics > 0, "some topics can't be had"),
            (self.young.is_some(), "topics are new"),
            (self.session.is_some(), "sessions end"),
        ];
        extras.iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, what)| write!(f, "; {what}"))?;
        write!(f, "\n  options:")?;
        self.options
            .iter()
            .filter(|(name, _)| *name != "sasl.jaas.config")
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
        write!(f, "\n  faults, for {fault_phase} ms:")?;
        self.fault_names().try_for_each(|name| write!(f, " {name}"))?;
        if self.faults.moods > 0 {
            write!(f, " {:?}", self.moods)?;
        }
        if let Some((at, node, mood)) = self.lasting {
            write!(f, "\n  for good, from {at} ms on: node {node}: {mood:?}")?;
        }
        if !self.acts.is_empty() {
            write!(f, "\n  after that: {:?}", self.acts)?;
        }
        Ok(())
    }
}

impl Plan {
    /// The names of all faults.
    pub fn all_fault_names() -> impl Iterator<Item = &'static str> {
        SWITCHES.iter().map(|(name, ..)| *name)
    }

    /// The names of the faults that there are.
    pub fn fault_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        SWITCHES.iter().filter(|(_, is_on, _)| is_on(&self.faults)).map(|(name, ..)| *name)
    }

    /// Without any other faults than these. Which of them there are is still the seed's choice.
    #[must_use]
    pub fn only(mut self, faults: &[&str]) -> Self {
        for (name, _, switch_off) in SWITCHES.iter().filter(|(name, ..)| !faults.contains(name)) {
            switch_off(&mut self.faults);
            if *name == "moods" {
                self.lasting = None;
            }
        }
        self
    }

    /// With this option of the producer, by Java's name.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.options.retain(|(known, _)| *known != name);
        self.options.push((name, value.to_string()));
        self
    }

    /// With faults for so long.
    #[must_use]
    pub fn faults_for(mut self, time: Duration) -> Self {
        self.fault_phase = time.as_millis() as u64;
        self
    }

    /// Whether its options go together.
    pub(crate) fn is_possible(&self) -> bool {
        let servers = ("bootstrap.servers", "node1:9092".to_string());
        Config::from_properties(self.options.iter().cloned().chain([servers])).is_ok()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn millis(&self, name: &str, default: u64) -> u64 {
        self.get(name).map_or(default, |value| value.parse().expect("a number"))
    }

    pub(crate) fn idempotent(&self) -> bool {
        self.get("enable.idempotence") != Some("false") && self.acks() == "all"
    }

    pub(crate) fn acks(&self) -> &str {
        self.get("acks").unwrap_or("all")
    }

    pub(crate) fn delivery_timeout(&self) -> Duration {
        Duration::from_millis(self.millis("delivery.timeout.ms", 120_000))
    }

    /// Whether topics are named by id, so that order can be kept through a re-creation.
    pub(crate) fn by_id(&self) -> bool {
        self.newest(Request::Produce) >= 13 && self.newest(Request::Metadata) >= 10
    }

    /// The newest version of a request that nodes offer.
    pub(crate) fn newest(&self, request: Request) -> i16 {
        self.cluster.versions.range(request).map_or(-1, |(_, newest)| newest)
    }

    /// The world of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let d = &mut dice;
        let mut options: Vec<(&'static str, String)> = Vec::new();
        match d.range(0, 9) {
            0 => options.push(("acks", "1".into())),
            1 => options.push(("acks", "0".into())),
            2 => options.push(("enable.idempotence", "false".into())),
            _ => {}
        }
        options.push(("linger.ms", d.pick(&[0, 1, 5, 20, 100]).to_string()));
        options.push(("batch.size", d.pick(&[1, 100, 500, 2000, 16_384]).to_string()));
        options.push(("request.timeout.ms", d.pick(&[100, 300, 1000, 3000]).to_string()));
        options.push(("delivery.timeout.ms", d.pick(&[4000, 8000, 20_000, 60_000]).to_string()));
        options.push(("retry.backoff.ms", d.pick(&[10, 50, 100]).to_string()));
        options.push(("reconnect.backoff.ms", d.pick(&[10, 50]).to_string()));
        options.push(("reconnect.backoff.max.ms", d.pick(&[200, 1000]).to_string()));
        options.push(("socket.connection.setup.timeout.ms", "500".into()));
        options.push(("socket.connection.setup.timeout.max.ms", "1000".into()));
        options.push(("max.in.flight.requests.per.connection", d.pick(&[1, 2, 5, 5]).to_string()));
        options.push(("metadata.max.age.ms", d.pick(&[500, 5000, 300_000]).to_string()));
        if d.once_in(3) {
            options.push(("buffer.memory", d.pick(&[8192, 32_768, 100_000]).to_string()));
        }
        if d.once_in(4) {
            options.push(("max.request.size", d.pick(&[2000, 5000, 20_000]).to_string()));
        }
        if d.once_in(4) {
            options.push(("connections.max.idle.ms", "700".into()));
        }
        if d.once_in(12) {
            options.push(("retries", "3".into()));
        }
        let nodes = d.pick(&[1, 2, 3, 3]);
        let versions = d.pick(&[
            Versions::KAFKA_4_3,
            Versions::KAFKA_4_3,
            Versions::KAFKA_4_3,
            Versions::KAFKA_3_0,
            Versions::KAFKA_2_1,
            Versions::KAFKA_4_3.with(Request::Produce, 0, 12),
            Versions::KAFKA_4_3.with(Request::Metadata, 0, 9),
        ]);
        let mut cluster = Settings::default()
            .nodes(nodes)
            .default_partitions(d.range(1, 5) as i32)
            .min_insync_replicas(if nodes == 3 { d.range(1, 2) as usize } else { 1 })
            .replication_lag(Duration::from_millis(d.pick(&[0, 0, 1, 10, 50])))
            .versions(versions)
            .seed(seed);
        let mut f = Faults::default();
        let chance = |d: &mut Dice, rates: &[u64]| if d.once_in(3) { d.pick(rates) } else { 0 };
        f.delay = d.pick(&[0, 1, 5, 20, 100]);
        f.cut_reads = d.once_in(2);
        f.short_writes = d.once_in(2);
        f.reset = chance(d, &[200, 500, 2000]);
        f.half_open = chance(d, &[200, 500, 2000]);
        f.blackhole = chance(d, &[500, 2000]);
        f.refuse_connect = chance(d, &[3, 10]);
        f.crash = chance(d, &[500, 2000]);
        f.lose_tail = nodes == 3 && d.once_in(2);
        f.pause = chance(d, &[500, 2000]);
        f.move_leader = chance(d, &[100, 500, 2000]);
        f.untold = d.once_in(2);
        f.stale_metadata = chance(d, &[2, 10]);
        f.refuse_code = chance(d, &[3, 10, 40]);
        f.apply_then = chance(d, &[5, 20, 60]);
        f.leave_out = chance(d, &[20, 100]);
        f.twice = chance(d, &[20, 100]);
        f.hang = chance(d, &[50, 200]);
        f.hang_up = chance(d, &[20, 100]);
        f.hang_up_after = chance(d, &[20, 100]);
        f.garbage = chance(d, &[100, 300]);
        f.control_error = chance(d, &[3, 10]);
        f.throttle = chance(d, &[5, 30]);
        f.recreate = if d.once_in(8) { d.pick(&[1000, 3000]) } else { 0 };
        f.grow = chance(d, &[1000]);
        f.stall = chance(d, &[300, 1000]);
        f.clock_step = chance(d, &[300]);
        f.odd_versions = d.once_in(10);
        // With dice of their own, so that seeds mean the same whatever codecs are compiled in.
        let own = &mut Dice::new(seed ^ 0x00c0_dec5);
        if own.once_in(2) {
            let codecs = [
                cfg!(feature = "gzip").then_some("gzip"),
                cfg!(feature = "snappy").then_some("snappy"),
                cfg!(feature = "lz4").then_some("lz4"),
                cfg!(feature = "zstd").then_some("zstd"),
            ];
            let codecs: Vec<&str> = codecs.into_iter().flatten().collect();
            if !codecs.is_empty() {
                options.push(("compression.type", own.pick(&codecs).into()));
                options.push(("compression.gzip.level", own.pick(&[1, 6]).to_string()));
                options.push(("compression.zstd.level", own.pick(&[1, 3]).to_string()));
                options.push(("compression.jobs", own.pick(&[0, 1, 3]).to_string()));
            }
        }
        f.job_dropped = chance(own, &[3, 20]);
        f.job_failed = chance(own, &[3, 20]);
        f.job_late = chance(own, &[3, 20]);
        let own = &mut Dice::new(seed ^ 0x7091c5);
        let young = own.once_in(6);
        let young = young.then(|| (own.pick(&[0, 100, 1500]), own.pick(&[100, 1000, 4000])));
        let odd_topics = if own.once_in(5) { 10 } else { 0 };
        if young.is_some() || odd_topics > 0 {
            cluster = cluster.auto_create_topics(false);
        }
        if odd_topics > 0 {
            options.push(("metadata.max.idle.ms", "5000".into()));
        }
        let own = &mut Dice::new(seed ^ 0x5e5510);
        let session = (own.once_in(6)).then(|| own.pick(&[2500, 6000]));
        if session.is_some() {
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
            options.push(("security.protocol", "SASL_PLAINTEXT".into()));
            options.push(("sasl.mechanism", "PLAIN".into()));
            options.push(("sasl.jaas.config", format!("{module} required username=\"u\" password=\"p\";")));
            let users = SaslSettings::default().user("u", "p");
            cluster = cluster.sasl(users.session_lifetime(session.map(Duration::from_millis)));
        }
        let own = &mut Dice::new(seed ^ 0xe90c);
        if own.once_in(8) {
            cluster = cluster.producer_epoch(i16::MAX - own.range(0, 3) as i16);
        }
        // Another topic of the same name says it of what it never had.
        if own.once_in(4) && f.recreate == 0 {
            cluster = cluster.old_duplicate(46);
        }
        if own.once_in(20) {
            let age = options.iter_mut().find(|(name, _)| *name == "metadata.max.age.ms");
            age.expect("it is always drawn").1 = "1".into();
        }
        if own.once_in(10) {
            for (name, value) in [("batch.size", "1"), ("linger.ms", "0"), ("buffer.memory", "8192")] {
                options.retain(|(known, _)| *known != name);
                options.push((name, value.into()));
            }
        }
        let own = &mut Dice::new(seed ^ 0x5e7e);
        // Two at most a seed, so that each is met by itself.
        let mut moods = Vec::from([own.pick(MOODS), own.pick(MOODS)]);
        f.moods = chance(own, &[200, 1000]);
        let lasting = nodes > 1 && own.once_in(4);
        let lasting = lasting.then(|| (own.range(0, 190), own.range(1, nodes as u64) as i32, own.pick(&moods)));
        let age = options.iter().find(|(name, _)| *name == "metadata.max.age.ms");
        let age: u64 = age.map_or(300_000, |(_, value)| value.parse().expect("a number"));
        let age = session.unwrap_or(age).min(age);
        let own = &mut Dice::new(seed ^ 0x00ac_7500);
        let mut acts = Vec::new();
        if own.once_in(3) {
            for _ in 0..own.range(1, 2) {
                acts.push(match own.range(0, 4) {
                    // Hours, but no more than a few hundred refreshes.
                    0 | 1 => {
                        Act::Idle(own.pick(&[3000, 70_000, 400_000, 2_000_000, 20_000_000]).min(100 * age.max(100)))
                    }
                    2 => Act::Outage(own.pick(&[1000, 5000, 30_000, 200_000])),
                    3 => Act::Move,
                    _ => Act::Forget,
                });
            }
        }
        let own = &mut Dice::new(seed ^ 0x1a7e);
        f.swap = if nodes > 1 && own.once_in(6) { own.pick(&[500, 2000]) } else { 0 };
        f.vanish = if f.recreate > 0 && own.once_in(2) { own.pick(&[300, 3000]) } else { 0 };
        f.long_pauses = if f.throttle > 0 && own.once_in(4) { own.pick(&[3000, 30_000]) } else { 0 };
        if own.once_in(10) {
            acts.insert(0, Act::Suspend(own.pick(&[1500, 20_000, 100_000, 4_000_000])));
        }
        let mut lasting = lasting;
        if own.once_in(6) {
            let views = [Mood::View(View::Leaderless), Mood::View(View::Half)];
            // Without ids a topic of which less is told may be another one.
            let by_id = cluster.versions.range(Request::Metadata).is_some_and(|(_, newest)| newest >= 10);
            let mood = own.pick(if by_id { &views } else { &views[..1] });
            moods[1] = mood;
            if let (Some((.., lasts)), true) = (&mut lasting, own.once_in(2)) {
                *lasts = mood;
            }
        }
        if lasting.is_some() {
            // Long enough to be sent elsewhere.
            let patience = options.iter_mut().find(|(name, _)| *name == "delivery.timeout.ms");
            let patience = &mut patience.expect("it is always drawn").1;
            *patience = patience.parse::<u64>().expect("a number").max(20_000).to_string();
        }
        // A broker can't answer within less than the network and its followers take.
        let slow = 20 * (f.delay + cluster.replication_lag.as_millis() as u64) + 50;
        for (name, value) in &mut options {
            if *name == "request.timeout.ms" {
                *value = value.parse::<u64>().expect("a number").max(slow).min(3000).to_string();
            }
            // Nor can a connection be usable.
            if *name == "socket.connection.setup.timeout.ms" {
                *value = value.parse::<u64>().expect("a number").max(slow / 2).min(1000).to_string();
            }
        }
        // And one that takes a record at a time can't take any number of them before they expire.
        let round_trip = 2 * f.delay + cluster.replication_lag.as_millis() as u64 + 4;
        let expires = options.iter().find(|(name, _)| *name == "delivery.timeout.ms");
        let expires: u64 = expires.map_or(120_000, |(_, value)| value.parse().expect("a number"));
        let most = (expires / (4 * round_trip)).clamp(20, 400);
        let max_message_bytes = if d.once_in(4) { Some(d.pick(&[700, 1500, 4000])) } else { None };
        Self {
            seed,
            options,
            cluster,
            max_message_bytes,
            faults: f,
            topics: d.range(1, 3),
            records: d.range(20, most),
            fault_phase: d.range(200, 8000),
            burst: d.pick(&[1, 5, 40]),
            value: d.pick(&[8, 40, 300]),
            large: seed % 5 == 3,
            abort: d.once_in(12),
            close_early: d.once_in(8),
            acts,
            moods,
            young,
            session,
            odd_topics,
            lasting,
        }
    }
}
