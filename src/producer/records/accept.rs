//! A record comes in: its topic, its partition, its place in a batch.

use crate::batch::{Content, ENTRY, NoRoom, Reserve, header};
use crate::error::{ErrorCode, SendError};
use crate::event::Sent;
use crate::ids::{RecordId, TopicIndex};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::lifecycle::Phase;
use crate::producer::records::batches::State;
use crate::producer::records::partitioner::{Choice, HasLeader, TopicView};
use crate::producer::records::partitions::Partitions;
use crate::producer::records::spread::Found;
use crate::producer::records::topics::{self, Standing, Topic};
use crate::record::Record;
use crate::time::Instant;

/// How many partitions are compared where something waits to leave in each.
const DRAWS: usize = 8;

/// How many of the chunks that writers hold are looked at when there is no memory.
const RECLAIMED: usize = 8;

impl Producer {
    #[inline]
    pub(in crate::producer) fn accept(&mut self, now: Instant, record: &Record<'_>) -> Result<Sent, SendError> {
        // What may be shared is large: there the longer way does not matter.
        match if record.owner.is_none() { self.accept_here(now, record) } else { None } {
            Some(sent) => Ok(sent),
            None => self.accept_anywhere(now, record),
        }
    }

    /// What nearly all records meet: their topic and their partition are known, and a batch is open that has room. Else nothing
    /// changes, and the other way knows why.
    #[inline(always)]
    fn accept_here(&mut self, now: Instant, record: &Record<'_>) -> Option<Sent> {
        let timestamp = record.timestamp.unwrap_or_else(|| self.time_of_day(now));
        let records = &mut self.records;
        let index = records.topics.find(record.topic)?;
        let topic = &mut records.topics[index];
        if self.life.phase != Phase::Running
            || topic.standing != Standing::Known
            || record.timestamp.is_some_and(|timestamp| timestamp < 0)
        {
            return None;
        }
        let (number, sticky) = match record.partition {
            Some(partition) => (partition as usize, false),
            None if records.partitioner.is_some() => return None,
            None => match self.config.partitioner.partition(record.key, topic.count as u32) {
                Some(number) => (number as usize, false),
                None => (topic.sticky()? as usize, true),
            },
        };
        let partition = &records.partitions[*topic.partitions.get(number).filter(|_| number < topic.count)?];
        let slot = partition.queued.last()?;
        let batch = &mut records.batches[slot];
        if !batch.may_grow(now, records.growth, records.flushed_below) {
            return None;
        }
        // A batch that takes no more records has no open chunk.
        let size = batch.records.append_here(record, timestamp, topic.raw_limit, records.largest_record)?.get();
        debug_assert!(matches!(batch.state, State::Open | State::Due));
        topic.touch(now);
        batch.note_record(now);
        let id = RecordId { batch: batch.id(), index: batch.records.count() - 1 };
        let full = batch.size() >= topic.due_at;
        if sticky {
            topic.stuck(size, full);
        }
        if full && batch.state == State::Open {
            self.make_due(slot);
        }
        self.stats.records_accepted += 1;
        Some(Sent { id, topic: TopicIndex(index), partition: number as i32, timestamp })
    }

    /// Whatever the record meets.
    #[inline(never)]
    fn accept_anywhere(&mut self, now: Instant, record: &Record<'_>) -> Result<Sent, SendError> {
        self.check_running()?;
        let Some(topic) = self.records.topics.find(record.topic) else {
            return Err(self.not_ready(now, record.topic));
        };
        let known = &mut self.records.topics[topic];
        if known.standing != Standing::Known {
            return Err(self.unknown(now, topic));
        }
        known.touch(now);
        let timestamp = match record.timestamp {
            Some(timestamp) if timestamp < 0 => return Err(SendError::InvalidTimestamp(timestamp)),
            Some(timestamp) => timestamp,
            None => self.time_of_day(now),
        };
        let mut content = Content::new(timestamp, record.key, record.value, record.headers);
        content.owner = record.owner;
        self.check_size(&content)?;
        let (number, sticky) = self.choose_partition(now, topic, record)?;
        let index = self.records.topics[topic].partitions[number as usize];
        let id = self.append(now, topic, index, &content, sticky)?;
        self.stats.records_accepted += 1;
        Ok(Sent { id, topic: TopicIndex(topic), partition: number as i32, timestamp })
    }

    /// Puts the record into the open batch of its partition, or into a new one.
    fn append(
        &mut self,
        now: Instant,
        topic: u32,
        index: u32,
        content: &Content<'_>,
        sticky: bool,
    ) -> Result<RecordId, SendError> {
        let limit = self.records.topics[topic].raw_limit;
        if let Some(slot) = self.records.partitions[index].open_batch(&self.records.batches) {
            let batch = &self.records.batches[slot];
            let size = batch.records.size_of(content);
            if batch.size() + size <= limit && batch.may_grow(now, self.records.growth, self.records.flushed_below) {
                self.append_to(slot, content)?;
                return Ok(self.appended(topic, slot, size, sticky));
            }
            self.seal(slot);
        }
        self.append_to_new(now, topic, index, content, sticky)
    }

    #[inline(never)]
    fn append_to_new(
        &mut self,
        now: Instant,
        topic: u32,
        index: u32,
        content: &Content<'_>,
        sticky: bool,
    ) -> Result<RecordId, SendError> {
        let entry = self.records.batches.to_open();
        let more = entry + if entry > 0 { self.outbox.to_grow(self.records.batches.in_use()) } else { 0 };
        if more > 0 && !self.records.pool.make_room_for_records(more) {
            let error = self.starve(NoRoom { needed: content.alone_at_most() + ENTRY });
            return Err(self.unless_unused(index, error));
        }
        if entry > 0 {
            self.outbox.make_room(self.records.batches.in_use());
        }
        let slot = self.records.batches.open(now, index);
        self.count_entries();
        let size = self.records.batches[slot].records.size_of(content);
        if let Err(error) = self.append_to(slot, content) {
            self.records.batches.undo_open(slot);
            self.count_entries();
            return Err(self.unless_unused(index, error));
        }
        let partition = &mut self.records.partitions[index];
        if partition.is_idle() {
            partition.sequencing.awake(now);
        }
        partition.enqueue(&mut self.records.batches, slot);
        let id = self.appended(topic, slot, size + header::SIZE, sticky);
        if self.config.linger.is_zero() && self.records.batches[slot].state == State::Open {
            self.make_due(slot);
        }
        Ok(id)
    }

    /// Appends the record to the batch. If there is no memory, perhaps writers have let go of some.
    fn append_to(&mut self, slot: u32, content: &Content<'_>) -> Result<(), SendError> {
        let batch = &self.records.batches[slot];
        let first_chunk = self.records.partitions[batch.partition].first_chunk;
        let entry = if batch.records.count() == 0 { ENTRY } else { 0 };
        loop {
            let records = &mut self.records.batches[slot].records;
            match records.append(content, &mut self.records.pool, first_chunk, Reserve::Kept) {
                Ok(()) => return Ok(()),
                Err(_) if self.records.pool.reclaim(RECLAIMED) => {}
                Err(NoRoom { needed }) => return Err(self.starve(NoRoom { needed: needed + entry })),
            }
        }
    }

    /// A record stands in the batch: is it due by its size, and is it time for another partition?
    fn appended(&mut self, topic: u32, slot: u32, size: usize, sticky: bool) -> RecordId {
        let batch = &mut self.records.batches[slot];
        batch.note_record(self.now);
        let id = RecordId { batch: batch.id(), index: batch.records.count() - 1 };
        let full = batch.size() >= self.records.topics[topic].due_at;
        if full && batch.state == State::Open {
            self.make_due(slot);
        }
        if sticky {
            self.records.topics[topic].stuck(size, full);
        }
        id
    }

    /// The batch takes no more records.
    fn seal(&mut self, slot: u32) {
        if self.records.batches[slot].state == State::Open {
            self.make_due(slot);
        }
        self.close_batch(slot);
        self.list_if_ready(self.records.batches[slot].partition);
    }

    /// No memory: whoever lingers is due, so that some comes back.
    #[cold]
    fn starve(&mut self, NoRoom { needed }: NoRoom) -> SendError {
        self.stats.buffer_full += 1;
        self.records.starved = Some(self.records.starved.map_or(needed, |before| before.min(needed)));
        self.all_is_due();
        self.look_again_for_memory();
        SendError::BufferFull { needed }
    }

    /// If nothing is in use, nothing comes back that could be waited for.
    #[cold]
    fn unless_unused(&mut self, index: u32, error: SendError) -> SendError {
        if let (SendError::BufferFull { needed }, true) = (&error, self.records.pool.is_unused()) {
            self.records.starved = None;
            // What a connection will need is set aside; once it stands, that is less.
            if let Some(leader) = self.records.partitions[index].leader {
                self.connect_early(leader);
            }
            return SendError::NoMemory { needed: needed + self.records.pool.spare };
        }
        error
    }

    /// Batches came or went: what they take besides their chunks.
    pub(in crate::producer) fn count_entries(&mut self) {
        let entries = if planted("entries-are-free") { 0 } else { self.records.batches.in_use() };
        self.records.pool.count_entries(entries);
    }

    /// The partition's number, and whether it is the one that records without key stick to.
    fn choose_partition(&mut self, now: Instant, index: u32, record: &Record<'_>) -> Result<(u32, bool), SendError> {
        let topic = &self.records.topics[index];
        let count = topic.count;
        if let Some(partition) = record.partition {
            return match u32::try_from(partition) {
                Err(_) => Err(SendError::UnknownPartition { partition, count }),
                Ok(number) if (number as usize) < count => Ok((number, false)),
                Ok(_) => {
                    self.records.topics.ask(now, index);
                    Err(SendError::NotReady { topic: TopicIndex(index) })
                }
            };
        }
        if self.records.partitioner.is_some() {
            return self.ask_partitioner(now, index, record);
        }
        Ok(self.usual_partition(now, index, record))
    }

    /// By the option `partitioner`.
    fn usual_partition(&mut self, now: Instant, index: u32, record: &Record<'_>) -> (u32, bool) {
        let topic = &self.records.topics[index];
        if let Some(number) = self.config.partitioner.partition(record.key, topic.count as u32) {
            return (number as u32, false);
        }
        if let Some(number) = topic.sticky() {
            return (number, true);
        }
        let number = self.draw_partition(now, index);
        self.records.topics[index].stick_to(number);
        (number, true)
    }

    /// The application chooses.
    #[inline(never)]
    fn ask_partitioner(&mut self, now: Instant, index: u32, record: &Record<'_>) -> Result<(u32, bool), SendError> {
        self.look_for_leaders(index);
        let topic = &self.records.topics[index];
        let leaders = Leaders { topic, partitions: &self.records.partitions };
        let view = TopicView { partitions: topic.count, available: topic.spread.led(), has_leader: &leaders };
        let count = topic.count;
        let choice = match &mut self.records.partitioner {
            Some(partitioner) => partitioner.partition(record, &view),
            None => Choice::Usual,
        };
        let known = |partition: i32| match u32::try_from(partition) {
            Ok(number) if (number as usize) < count => Ok(number),
            _ => Err(SendError::UnknownPartition { partition, count }),
        };
        let among = match choice {
            Choice::To(partition) => return Ok((known(partition)?, false)),
            Choice::Usual => return Ok(self.usual_partition(now, index, record)),
            Choice::UsualAmong(among) => among,
        };
        if among.is_empty() {
            return Err(SendError::UnknownPartition { partition: -1, count });
        }
        if let Some(place) = self.config.partitioner.partition(record.key, among.len() as u32) {
            return Ok((known(among[place as usize])?, false));
        }
        among.iter().try_for_each(|partition| known(*partition).map(|_| ()))?;
        let (partitions, batches) = (&self.records.partitions, &self.records.batches);
        let of = |number: i32| &partitions[topic.partitions[number as usize]];
        let start = self.random.below(among.len() as u32) as usize;
        let from_start = || among[start..].iter().chain(&among[..start]).copied();
        let is_open = |number: &i32| of(*number).leader.is_some() && of(*number).open_batch(batches).is_some();
        let load = |number: &i32| (of(*number).leader.is_none(), of(*number).queued_count, of(*number).sent_count);
        let number = from_start().find(is_open).or_else(|| from_start().min_by_key(load));
        Ok((number.unwrap_or(among[0]) as u32, false))
    }

    /// A partition for records without key: any of those from which nothing waits to leave, so that brokers which hang or are
    /// slow are left alone. If something waits everywhere, the one with the least of several that are drawn. Java weighs all
    /// partitions by the lengths of their queues (KIP-794), which takes a walk over all of them.
    #[inline(never)]
    fn draw_partition(&mut self, now: Instant, index: u32) -> u32 {
        self.look_for_leaders(index);
        if let Some(number) = self.draw_in_rack(now, index) {
            return number;
        }
        let records = &mut self.records;
        let recovered = records.recovered_brokers;
        let (topic, partitions, random) = (&mut records.topics[index], &mut records.partitions, &mut self.random);
        let led = topic.spread.led();
        if led.is_empty() {
            return random.below(topic.count as u32);
        }
        if !self.config.adaptive_partitioning {
            return led[random.below(led.len() as u32) as usize] as u32;
        }
        let (brokers, batches, count) = (&self.control.brokers, &records.batches, topic.count);
        let patience = self.config.partitioner_availability_timeout;
        let is_stuck = |leader: u32| {
            let silent = brokers[leader].stuck_since.map(|since| now.saturating_since(since));
            !patience.is_zero() && silent.is_some_and(|silent| silent > patience)
        };
        let find = |partitions: &Partitions, at: u32| {
            let partition = &partitions[at];
            match partition.leader {
                Some(leader) if is_stuck(leader) => Found::Stuck,
                Some(_) if (partition.number as usize) < count && !partition.is_burdened(batches) => Found::Light,
                Some(_) | None => Found::Burdened,
            }
        };
        if let Some(at) = topic.spread.draw(partitions, recovered, |count| random.below(count), find) {
            return partitions[at].number as u32;
        }
        let led = topic.spread.led();
        let start = random.below(led.len() as u32) as usize;
        let drawn = (0..led.len().min(DRAWS)).map(|step| {
            let few = led.len() <= DRAWS;
            led[if few { (start + step) % led.len() } else { random.below(led.len() as u32) as usize }]
        });
        let load = |number: &i32| {
            let partition = &partitions[topic.partitions[*number as usize]];
            (partition.leader.is_none_or(is_stuck), partition.queued_count, partition.sent_count)
        };
        drawn.min_by_key(load).unwrap_or(0) as u32
    }

    /// The same among those whose leader is in `client.rack` (KIP-1123); `None` if there are none, or nobody asked for that.
    /// A walk over all, once for every `batch.size` bytes.
    fn draw_in_rack(&mut self, now: Instant, index: u32) -> Option<u32> {
        self.config.rack.as_ref()?;
        let (topic, partitions) = (&self.records.topics[index], &self.records.partitions);
        let led = topic.spread.led();
        if led.is_empty() {
            return None;
        }
        let of = |number: i32| &partitions[topic.partitions[number as usize]];
        let patience = self.config.partitioner_availability_timeout;
        let is_there = |number: &i32| {
            let leader = of(*number).leader.map(|leader| &self.control.brokers[leader]);
            leader.is_some_and(|leader| {
                let silent = leader.stuck_since.map(|since| now.saturating_since(since));
                leader.in_rack && (patience.is_zero() || silent.is_none_or(|silent| silent <= patience))
            })
        };
        let start = self.random.below(led.len() as u32) as usize;
        let mut there = led[start..].iter().chain(&led[..start]).copied().filter(is_there);
        let load = |number: &i32| (of(*number).queued_count, of(*number).sent_count);
        let drawn = match self.config.adaptive_partitioning {
            true => there.min_by_key(load),
            false => there.next(),
        };
        drawn.map(|number| number as u32)
    }

    /// Which partitions of the topic have a leader.
    fn look_for_leaders(&mut self, index: u32) {
        let (topics, partitions) = (&mut self.records.topics, &self.records.partitions);
        let topic = &mut topics[index];
        topic.spread.look(topic.count, |number| partitions[topic.partitions[number]].leader.is_some());
    }

    /// Something about the partition has changed: perhaps it may take records without key again.
    pub(in crate::producer) fn offer(&mut self, index: u32) {
        let partition = &self.records.partitions[index];
        if !partition.offered && partition.leader.is_some() && !partition.is_burdened(&self.records.batches) {
            let topic = partition.topic;
            self.records.topics[topic].spread.offer(&mut self.records.partitions, index);
        }
    }

    /// The time of day in milliseconds; −1 if the host never told it.
    #[inline]
    pub(in crate::producer) fn time_of_day(&self, now: Instant) -> i64 {
        match self.wall {
            None => -1,
            Some((at, time)) => {
                let since = now.as_nanos().saturating_sub(at.as_nanos()) / 1_000_000;
                time.as_millis().saturating_add_unsigned(since).max(0)
            }
        }
    }

    pub(in crate::producer) fn check_size(&self, content: &Content<'_>) -> Result<(), SendError> {
        let size = content.alone_at_most();
        if size <= self.records.largest_record {
            return Ok(());
        }
        if size > self.config.max_request_size {
            return Err(SendError::TooLarge { size, limit: self.config.max_request_size, option: "max.request.size" });
        }
        Err(SendError::TooLarge { size, limit: self.records.pool.largest(), option: "buffer.memory" })
    }

    #[cold]
    fn not_ready(&mut self, now: Instant, name: &str) -> SendError {
        if !topics::is_legal(name) {
            return SendError::TopicFailed(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if let Err(error) = self.check_memory() {
            return error;
        }
        let topic = self.records.topics.add(now, name);
        self.records.topics.ask(now, topic);
        self.check_access().err().unwrap_or(SendError::NotReady { topic: TopicIndex(topic) })
    }

    /// The topic is refused, or not found yet. A refusal is told once, and the next send asks anew, as in Java: rights are given,
    /// and a name that is too like another one's may be free later.
    #[cold]
    fn unknown(&mut self, now: Instant, topic: u32) -> SendError {
        match self.records.topics[topic].standing {
            Standing::Refused(code) => {
                if code != ErrorCode::INVALID_TOPIC_EXCEPTION || !planted("refused-for-ever") {
                    self.records.topics[topic].standing = Standing::Unknown;
                }
                SendError::TopicFailed(code)
            }
            Standing::Unknown | Standing::Known => {
                self.records.topics.ask(now, topic);
                if let Err(error) = self.check_memory() {
                    return error; // and yet it is asked for: memory may come back
                }
                self.check_access().err().unwrap_or(SendError::NotReady { topic: TopicIndex(topic) })
            }
        }
    }
}

struct Leaders<'a> {
    topic: &'a Topic,
    partitions: &'a Partitions,
}

impl core::fmt::Debug for Leaders<'_> {
    /// Nothing of what they are looked up in: a table of functions has this one, so a derived one stands in every firmware.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Leaders")
    }
}

impl HasLeader for Leaders<'_> {
    fn has_leader(&self, partition: usize) -> bool {
        self.topic.partitions.get(partition).is_some_and(|index| self.partitions[*index].leader.is_some())
    }
}
