//! Who leads what: metadata responses, and the hints in Produce responses (KIP-951).

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::connection::{Entry, Role};
use crate::error::{ConnectionError, DeliveryErrorKind, ErrorCode};
use crate::event::{Event, PartitionInfo, TopicListing};
use crate::ids::{ConnId, TopicIndex};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::delivery::idempotence::Standing as Identity;
use crate::producer::records::batches::State;
use crate::producer::records::topics::{IdTold, Standing};
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::metadata::{self, Response, Topic};

/// `REBOOTSTRAP_REQUIRED`: forget the cluster, and ask the bootstrap servers (KIP-1102).
const REBOOTSTRAP: i16 = 129;

/// What a batch fails with that may stand under an id which its topic had left and has again.
const UNKNOWN_TOPIC_ID: ErrorCode = ErrorCode(100);

/// How often in a row an older leader epoch is taken for old metadata, where brokers tell no topic ids.
const OLDER_EPOCHS: u32 = 3;

/// So often where only a hint told the newer one.
const OLDER_THAN_A_HINT: u32 = 2;

impl Producer {
    /// A metadata response.
    pub(in crate::producer) fn metadata_known(&mut self, now: Instant, conn: ConnId, response: &Response<'_>) {
        if response.error == REBOOTSTRAP && self.config.rebootstrap {
            self.control.brokers.begin_update();
            self.records.topics.refresh.failed(now, &mut self.random);
            self.drop_connection(now, conn);
            return;
        }
        if response.error != 0 || response.brokers.is_empty() {
            self.records.topics.refresh.failed(now, &mut self.random);
            return;
        }
        self.learn_brokers(now, response);
        let mut news = false;
        for topic in &response.topics {
            let Some(index) = topic.name.and_then(|name| self.records.topics.look(name)) else {
                continue;
            };
            news |= self.topic_known(index, topic);
        }
        self.records.topics.refresh.succeeded(now, news, &mut self.random);
        for topic in &response.topics {
            let Some(index) = topic.name.and_then(|name| self.records.topics.look(name)) else {
                continue;
            };
            self.tell_topic(index);
        }
    }

    /// The answer to the question for all topics.
    pub(in crate::producer) fn topics_listed(
        &mut self,
        now: Instant,
        response: &Response<'_>,
    ) -> Result<(), ConnectionError> {
        if response.error != 0 || response.brokers.is_empty() {
            let code = ErrorCode(response.error);
            return Err(ConnectionError::Protocol(alloc::format!("the list of topics was answered {code}")));
        }
        self.learn_brokers(now, response);
        let partition = |told: &metadata::Partition| PartitionInfo {
            partition: told.index,
            leader: (told.leader >= 0).then_some(told.leader),
            leader_epoch: told.leader_epoch,
        };
        let listing = |topic: &Topic<'_>| {
            let mut partitions: Vec<PartitionInfo> = topic.partitions.iter().map(partition).collect();
            partitions.sort_unstable_by_key(|info| info.partition);
            topic.name.map(|name| TopicListing { name: name.to_string(), partitions })
        };
        let topics = response.topics.iter().filter_map(listing).collect();
        self.outbox.event(Event::TopicsListed(topics));
        Ok(())
    }

    fn learn_brokers(&mut self, now: Instant, response: &Response<'_>) {
        self.control.brokers.begin_update();
        for broker in &response.brokers {
            if let Ok(port) = u16::try_from(broker.port) {
                self.learn_broker(now, broker.id, broker.host, port);
            }
        }
    }

    /// A broker's address. A connection to an old address of it is given up.
    pub(in crate::producer) fn learn_broker(&mut self, now: Instant, id: i32, host: &str, port: u16) {
        if let (_, Some(stale)) = self.control.brokers.learn(id, host, port) {
            self.drop_connection(now, stale);
        }
    }

    /// What a response says of one topic. Returns whether it is news.
    fn topic_known(&mut self, index: u32, told: &Topic<'_>) -> bool {
        let topic = &mut self.records.topics[index];
        if told.error != 0 {
            topic.last_error = Some(ErrorCode(told.error));
        }
        match told.error {
            0 if told.partitions.is_empty() => {
                self.records.topics.refresh.want();
                return false;
            }
            0 => topic.last_error = None,
            17 | 29 => {
                topic.standing = Standing::Refused(ErrorCode(told.error));
                return false;
            }
            _ => {
                // It may be on its way, or gone for a while: what is known of it stays (rule 7).
                if topic.awaited || topic.count > 0 {
                    self.records.topics.refresh.want();
                }
                return false;
            }
        }
        let mut news = topic.standing != Standing::Known;
        topic.standing = Standing::Known;
        let recreated = match topic.id_told(told.id) {
            IdTold::Same => false,
            IdTold::Another { back } => {
                if back {
                    self.came_back(index);
                }
                true
            }
            IdTold::Left => {
                log::debug!("old metadata of topic {index}: an id that it has left");
                self.records.topics.refresh.want();
                return false;
            }
        };
        let count = told.partitions.len();
        if recreated || count > self.records.topics[index].count {
            news = true;
            self.resize(index, count, recreated);
        }
        for partition in &told.partitions {
            if partition.error != 0 && partition.leader < 0 {
                self.records.topics.refresh.want();
            }
            let Ok(number) = usize::try_from(partition.index) else {
                continue;
            };
            if number < self.records.topics[index].count {
                let at = self.records.topics[index].partitions[number];
                news |= self.leader_known(at, partition.leader, partition.leader_epoch, recreated);
            }
        }
        news
    }

    /// The topic has another number of partitions, or is another one of the same name.
    fn resize(&mut self, index: u32, count: usize, recreated: bool) {
        while self.records.topics[index].partitions.len() < count {
            let number = self.records.topics[index].partitions.len();
            let at = self.records.partitions.add(index, number as i32);
            self.records.topics[index].partitions.push(at);
        }
        self.records.topics[index].spread.leaders_changed();
        let before = core::mem::replace(&mut self.records.topics[index].count, count);
        if !recreated {
            return;
        }
        for number in 0..self.records.topics[index].partitions.len().min(before.max(count)) {
            let at = self.records.topics[index].partitions[number];
            self.records.partitions[at].leader = None;
            self.records.partitions[at].leader_epoch = -1;
            self.unlist(at);
            if self.identity.standing != Identity::Off {
                self.records.partitions[at].sequencing.new_topic();
            }
            if number >= count {
                self.partition_gone(at);
            } else {
                self.bump_if_needed(at);
            }
        }
    }

    /// The topic has an id again that it had left: what may stand under that one from then is not sent there again.
    fn came_back(&mut self, index: u32) {
        for number in 0..self.records.topics[index].partitions.len() {
            let at = self.records.topics[index].partitions[number];
            let partition = &self.records.partitions[at];
            let mut may_stand = Vec::new();
            let mut next = partition.sent.first();
            while let Some(slot) = next {
                if partition.sequencing.may_stand_elsewhere(&self.records.batches[slot]) {
                    may_stand.push(slot);
                }
                next = self.records.batches.next_in_partition(slot);
            }
            for slot in may_stand {
                self.fail(slot, DeliveryErrorKind::Refused(UNKNOWN_TOPIC_ID), None);
            }
        }
    }

    /// The partition no longer exists: its batches fail, oldest first.
    fn partition_gone(&mut self, at: u32) {
        loop {
            let mut sent = self.records.partitions[at].sent.first();
            while let Some(slot) = sent.filter(|slot| matches!(self.records.batches[*slot].state, State::Resolved(_))) {
                sent = self.records.batches.next_in_partition(slot);
            }
            let Some(slot) = sent.or(self.records.partitions[at].queued.first()) else {
                return;
            };
            self.fail(slot, DeliveryErrorKind::PartitionGone, None);
        }
    }

    /// A leader hint in a Produce response (KIP-951): taken if it is newer than what is known, names a known broker, and is
    /// about the topic that has the name now.
    pub(in crate::producer) fn leader_hint(&mut self, entry: &Entry, leader: i32, epoch: i32) {
        let at = entry.partition;
        let of_now = entry.topic_id == self.records.topics[entry.topic].id || planted("hint-of-old-topic-believed");
        let newer = epoch > self.records.partitions[at].leader_epoch || planted("older-hint-believed");
        if of_now && newer && self.control.brokers.find(leader).is_some() {
            self.leader_known(at, leader, epoch, false);
            self.records.partitions[at].hinted = true;
        }
    }

    /// A partition's leader and its epoch. Returns whether that is news. What is older than what is known is not believed.
    fn leader_known(&mut self, at: u32, leader: i32, epoch: i32, recreated: bool) -> bool {
        let partition = &mut self.records.partitions[at];
        if !recreated && epoch >= 0 && epoch < partition.leader_epoch {
            // Where brokers tell no topic ids, a re-created topic looks like one whose metadata is old, but stays so.
            partition.older_epochs += 1;
            let no_ids = self.records.topics[partition.topic].id == [0; 16];
            let stays_so = no_ids && partition.older_epochs > OLDER_EPOCHS;
            // A hint comes from one broker, which may have been wrong.
            let wrong_hint = partition.hinted && partition.older_epochs > OLDER_THAN_A_HINT;
            if !stays_so && !wrong_hint && !planted("older-epoch-believed") {
                self.records.topics.refresh.want_if(!partition.is_idle());
                return false;
            }
        }
        partition.older_epochs = 0;
        partition.hinted = false;
        let newer = epoch != partition.leader_epoch;
        partition.leader_epoch = epoch;
        let leader = self.control.brokers.find(leader);
        let moved = leader != partition.leader;
        if newer && partition.is_idle() {
            partition.sequencing.distrust();
        }
        if newer || moved {
            partition.sequencing.ask_no_more();
        }
        if moved {
            let before = core::mem::replace(&mut partition.leader, leader);
            let topic = &mut self.records.topics[partition.topic];
            if leader.is_some() != before.is_some() {
                topic.spread.leaders_changed();
            }
            partition.backoff = None;
            self.timers.clear(Timer::Partition(at));
            self.unlist(at);
            if let (Some(leader), true) =
                (leader, self.identity.standing != Identity::Off && !planted("no-supersession"))
            {
                self.supersede(at, leader);
            }
        }
        if leader.is_none() && !self.records.partitions[at].is_idle() {
            self.records.topics.refresh.want();
        }
        self.bump_if_needed(at);
        self.list_if_ready(at);
        newer || moved
    }

    /// There is a newer leader: what an old one has not answered counts as unanswered (rule 1).
    fn supersede(&mut self, at: u32, leader: u32) {
        let mut next = self.records.partitions[at].sent.first();
        while let Some(slot) = next {
            next = self.records.batches.next_in_partition(slot);
            let State::InFlight(conn) = self.records.batches[slot].state else {
                continue;
            };
            let role = self.sessions.connections.get(&conn).map(|connection| connection.role);
            if role != Some(Role::Broker(leader)) {
                self.records.batches[slot].tainted |= !planted("superseded-without-doubt");
                self.records.batches[slot].state = State::Waiting;
                self.records.partitions[at].on_wire -= 1;
            }
        }
    }

    /// Tells those who wait for the topic what is known now.
    fn tell_topic(&mut self, index: u32) {
        let topic = &mut self.records.topics[index];
        if !topic.awaited {
            return;
        }
        let event = match topic.standing {
            Standing::Unknown => return,
            Standing::Known if topic.last_error.is_some() => return,
            Standing::Known => Event::TopicReady { topic: TopicIndex(index) },
            Standing::Refused(error) => Event::TopicFailed { topic: TopicIndex(index), error },
        };
        topic.awaited = false;
        self.outbox.event(event);
    }
}
