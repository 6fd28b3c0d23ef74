//! Who leads what: metadata responses, and the hints in Produce responses (KIP-951).

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::connection::{Entry, Role};
use crate::error::{DeliveryErrorKind, ErrorCode};
use crate::event::{Event, PartitionInfo, TopicListing};
use crate::ids::{ConnId, TopicIndex};
use crate::planted::planted;
use crate::producer::Producer;
use crate::producer::control::brokers::Broker;
use crate::producer::control::requests::Listing;
use crate::producer::control::servers::Server;
use crate::producer::delivery::idempotence::Standing as Identity;
use crate::producer::records::batches::State;
use crate::producer::records::topics::{IdTold, Standing};
use crate::producer::timers::Timer;
use crate::time::Instant;
use crate::wire::metadata::{self, Response, Topic};

/// `REBOOTSTRAP_REQUIRED`: forget the cluster, and ask the bootstrap servers (KIP-1102).
const REBOOTSTRAP: i16 = 129;

/// How often in a row an older leader epoch, or fewer partitions, are taken for old metadata, where brokers tell no topic ids.
const OLDER: u32 = 3;

/// What was told, compared with what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    New,
    /// The same, or nothing of use.
    Nothing,
    /// What was known before something newer: whoever tells it is behind the times.
    Old,
    /// That the topic is not for this client: another server may say otherwise.
    Refused,
}

/// So often where only a hint told the newer one.
const OLDER_THAN_A_HINT: u32 = 2;

impl Producer {
    /// A metadata response, of this server.
    pub(in crate::producer) fn metadata_known(
        &mut self,
        now: Instant,
        conn: ConnId,
        server: u32,
        response: &Response<'_>,
    ) {
        if response.error != 0 || response.brokers.is_empty() {
            self.metadata_failed(now);
            self.control.servers.lose_turn(server);
            if response.error == REBOOTSTRAP && self.config.rebootstrap {
                self.control.brokers.begin_update();
                self.control.era += 1;
                self.drop_connection(now, conn);
            }
            return;
        }
        self.sessions.no_memory = None;
        self.learn_brokers(now, response);
        let (mut news, mut doubtful) = (false, false);
        for topic in &response.topics {
            let Some(index) = topic.name.and_then(|name| self.records.topics.look(name)) else {
                continue;
            };
            if !self.records.topics.answered(index) {
                continue; // nobody asked, or it was told already: an answer's work is bounded by its length
            }
            let told = self.topic_known(now, index, topic);
            news |= told == Told::New;
            doubtful |= told == Told::Old || (told == Told::Refused && !planted("refusing-server-stays"));
        }
        self.left_out(now);
        let useful = self.records.topics.refresh.succeeded(now, news, &mut self.random);
        if !useful || doubtful {
            self.control.servers.lose_turn(server);
        } else if news {
            self.control.servers.helped(server);
        }
        for topic in &response.topics {
            let Some(index) = topic.name.and_then(|name| self.records.topics.look(name)) else {
                continue;
            };
            self.tell_topic(now, index);
        }
    }

    /// A metadata request was not answered, or with an error: what it was about is asked again.
    pub(in crate::producer) fn metadata_failed(&mut self, now: Instant) {
        self.left_out(now);
        self.records.topics.refresh.failed(now, &mut self.random);
    }

    /// Topics that were asked about, and no answer came: where somebody waits for one, it is asked about again.
    fn left_out(&mut self, now: Instant) {
        for index in self.records.topics.take_unanswered() {
            self.want_if_waited_for(now, index);
        }
    }

    fn want_if_waited_for(&mut self, now: Instant, index: u32) {
        let partitions = &self.records.partitions;
        if self.records.topics.is_waited_for(index, now, |at| !partitions[at].is_idle()) {
            self.records.topics.want(index);
        }
    }

    /// A server's answer to the question for all topics.
    pub(in crate::producer) fn topics_listed(&mut self, now: Instant, server: u32, response: &Response<'_>) {
        if response.error != 0 || response.brokers.is_empty() {
            self.listing_failed(now, None);
            self.control.servers.lose_turn(server);
            return;
        }
        self.control.listing = Listing::Idle;
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
    }

    /// Bytes that it takes to know what an answer says, beyond what is known.
    pub(in crate::producer) fn memory_for(&self, response: &Response<'_>) -> usize {
        let more = |topic: &Topic<'_>| {
            let known = topic.name.and_then(|name| self.records.topics.look(name));
            known.map_or(0, |index| topic.partitions.len().saturating_sub(self.records.topics[index].partitions.len()))
        };
        let partitions = response.topics.iter().map(more).sum();
        let brokers = response.brokers.iter().filter(|broker| self.control.brokers.find(broker.id).is_none());
        let brokers =
            brokers.map(|broker| size_of::<Broker>() + size_of::<Server>() + 2 * broker.host.len()).sum::<usize>();
        self.records.partitions.to_grow(partitions) + partitions * 4 * size_of::<u32>() + 2 * brokers
    }

    fn learn_brokers(&mut self, now: Instant, response: &Response<'_>) {
        self.control.brokers.begin_update();
        for broker in &response.brokers {
            if let Ok(port) = u16::try_from(broker.port) {
                self.learn_broker(now, broker.id, broker.host, port);
            }
        }
        self.forget_brokers(now);
        self.look_again();
    }

    /// A broker's address. A connection to an old address of it is given up.
    fn learn_broker(&mut self, now: Instant, id: i32, host: &str, port: u16) {
        let Some(index) = self.control.brokers.find(id) else {
            let server = self.control.servers.join(host, port);
            self.control.brokers.add(id, server);
            return;
        };
        self.control.brokers[index].current = true;
        let before = self.control.brokers[index].server;
        let server = &self.control.servers[before];
        if server.host == host && server.port == port {
            return;
        }
        self.control.brokers[index].server = self.control.servers.join(host, port);
        if let Some(stale) = self.control.brokers[index].conn {
            self.drop_connection(now, stale);
        }
        self.leave_server(now, before);
    }

    /// Brokers that the newest metadata does not name leave the table, once no partition is led by them.
    fn forget_brokers(&mut self, now: Instant) {
        let gone = |(_, broker): &(u32, &Broker)| !broker.current && broker.leads == 0 && broker.ready.is_empty();
        let gone: Vec<u32> = self.control.brokers.all().filter(gone).map(|(index, _)| index).collect();
        for index in gone {
            let conn = self.control.brokers[index].conn;
            match conn.and_then(|conn| Some((conn, self.sessions.connections.get(&conn)?))) {
                Some((_, connection)) if connection.in_flight() > 0 => continue, // another time
                Some((conn, _)) => self.drop_connection(now, conn),
                None => {}
            }
            self.timers.clear(Timer::Broker(index));
            self.control.brokers.remove(index);
            self.leave_server(now, self.control.brokers[index].server);
        }
    }

    /// A broker is not at this address any more. If nobody else is, there is nothing to be asked.
    fn leave_server(&mut self, now: Instant, index: u32) {
        self.control.servers.leave(index);
        let idle = |conn: &ConnId| {
            let connection = self.sessions.connections.get(conn);
            connection.is_some_and(|connection| connection.in_flight() == 0) && self.control.servers.is_alone(index)
        };
        if let Some(conn) = self.control.servers[index].control.filter(idle) {
            self.drop_connection(now, conn);
        }
    }

    /// The endpoint of a broker that a leader hint names (KIP-951). What contradicts the metadata is not believed before they
    /// were asked again: it may come from behind a proxy, and lead nowhere.
    pub(in crate::producer) fn endpoint_hinted(&mut self, now: Instant, id: i32, host: &str, port: u16) {
        let known = self.control.brokers.find_current(id).map(|index| self.control.brokers[index].server);
        match known.map(|server| &self.control.servers[server]) {
            Some(server) if (&*server.host, server.port) == (host, port) => {}
            Some(_) if !planted("leaked-endpoint-dialled") => self.records.topics.refresh.want(),
            Some(_) | None => {
                self.learn_broker(now, id, host, port);
                self.look_again();
            }
        }
    }

    /// What a response says of one topic.
    fn topic_known(&mut self, now: Instant, index: u32, told: &Topic<'_>) -> Told {
        let topic = &mut self.records.topics[index];
        topic.last_error = (told.error != 0).then_some(ErrorCode(told.error));
        match told.error {
            0 if !told.partitions.is_empty() => {}
            17 | 29 => {
                // The records that are open wait for better times.
                topic.standing = Standing::Refused(ErrorCode(told.error));
                let partitions = &self.records.partitions;
                if self.records.topics.holds_open(index, |at| !partitions[at].is_idle()) {
                    self.records.topics.want(index);
                }
                return Told::Refused;
            }
            _ => {
                // It may be on its way, or gone for a while: what is known of it stays (rule 7).
                self.want_if_waited_for(now, index);
                return Told::Nothing;
            }
        }
        let mut news = topic.standing != Standing::Known;
        topic.standing = Standing::Known;
        let recreated = match topic.id_told(told.id) {
            IdTold::Same => false,
            IdTold::Another { .. } if planted("re-creation-unseen") => false,
            IdTold::Another { back } => {
                if back {
                    self.came_back(index);
                }
                true
            }
            IdTold::Left => {
                log::debug!("old metadata of topic {index}: an id that it has left");
                self.records.topics.want(index);
                return Told::Old;
            }
        };
        // Of a cluster that had to be found anew, or a topic that nobody used for long, nothing is older than what was known
        // before.
        let era = &mut self.records.topics[index].era;
        let found_anew = core::mem::replace(era, self.control.era) != self.control.era;
        let count = told.partitions.len();
        if recreated || count > self.records.topics[index].count || self.is_smaller(index, count, found_anew) {
            news = true;
            self.resize(index, count, recreated);
        }
        let mut old = false;
        for partition in &told.partitions {
            if partition.error != 0 && partition.leader < 0 {
                self.records.topics.want(index);
            }
            let Ok(number) = usize::try_from(partition.index) else {
                continue;
            };
            if number < self.records.topics[index].count {
                let at = self.records.topics[index].partitions[number];
                let leader = match planted("unnamed-leader-believed") {
                    true => self.control.brokers.find(partition.leader),
                    false => self.control.brokers.find_current(partition.leader),
                };
                match self.leader_known(at, leader, partition.leader_epoch, recreated || found_anew) {
                    Told::New => news = true,
                    Told::Old => old = true,
                    Told::Nothing | Told::Refused => {}
                }
            }
        }
        match (old, news) {
            (true, _) => Told::Old,
            (false, true) => Told::New,
            (false, false) => Told::Nothing,
        }
    }

    /// Whether a topic has fewer partitions than are known. Where brokers tell no topic ids, one that was created anew looks like
    /// one whose metadata is old, but stays so.
    fn is_smaller(&mut self, index: u32, count: usize, found_anew: bool) -> bool {
        let partitions = &self.records.partitions;
        let open = self.records.topics.holds_open(index, |at| !partitions[at].is_idle());
        let topic = &mut self.records.topics[index];
        if count >= topic.count || topic.id != [0; 16] {
            topic.fewer = 0;
            return false;
        }
        if found_anew && !open {
            topic.fewer = 0;
            return true;
        }
        topic.fewer += 1;
        if topic.fewer <= OLDER {
            self.records.topics.want(index);
            return false;
        }
        topic.fewer = 0;
        !planted("partitions-never-fewer")
    }

    /// The topic has another number of partitions, or is another one of the same name.
    fn resize(&mut self, index: u32, count: usize, recreated: bool) {
        let more = count.saturating_sub(self.records.topics[index].partitions.len());
        self.records.partitions.make_room(more);
        self.records.topics[index].partitions.reserve_exact(more);
        while self.records.topics[index].partitions.len() < count {
            let number = self.records.topics[index].partitions.len();
            let at = self.records.partitions.add(index, number as i32);
            self.records.topics[index].partitions.push(at);
        }
        self.records.topics[index].spread.leaders_changed();
        let before = core::mem::replace(&mut self.records.topics[index].count, count);
        let first = if recreated { 0 } else { count };
        for number in first..before.max(count) {
            let at = self.records.topics[index].partitions[number];
            self.lead(at, None);
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

    /// The partition has another leader, or none. Returns whether that is so.
    fn lead(&mut self, at: u32, leader: Option<u32>) -> bool {
        let partition = &mut self.records.partitions[at];
        let before = core::mem::replace(&mut partition.leader, leader);
        if before == leader {
            return false;
        }
        if leader.is_some() != before.is_some() {
            self.records.topics[partition.topic].spread.leaders_changed();
        }
        if let Some(before) = before {
            self.control.brokers[before].leads -= 1;
        }
        if let Some(leader) = leader {
            self.control.brokers[leader].leads += 1;
        }
        true
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
                self.fail(slot, DeliveryErrorKind::Refused(ErrorCode::UNKNOWN_TOPIC_ID), None);
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
        let leader = self.control.brokers.find(leader);
        if of_now && newer && leader.is_some() {
            self.leader_known(at, leader, epoch, planted("older-hint-believed"));
            self.records.partitions[at].hinted = true;
        }
    }

    /// A partition's leader and its epoch. What is older than what is known is not believed, unless it is about another topic or
    /// cluster.
    fn leader_known(&mut self, at: u32, leader: Option<u32>, epoch: i32, another: bool) -> Told {
        let partition = &mut self.records.partitions[at];
        if !another && epoch >= 0 && epoch < partition.leader_epoch {
            // Where brokers tell no topic ids, a re-created topic looks like one whose metadata is old, but stays so.
            partition.older_epochs += 1;
            let no_ids = self.records.topics[partition.topic].id == [0; 16];
            let stays_so = no_ids && partition.older_epochs > OLDER;
            // A hint comes from one broker, which may have been wrong.
            let wrong_hint = partition.hinted && partition.older_epochs > OLDER_THAN_A_HINT;
            if !stays_so && !wrong_hint && !planted("older-epoch-believed") {
                if !partition.is_idle() {
                    self.records.topics.want(partition.topic);
                }
                return Told::Old;
            }
        }
        partition.older_epochs = 0;
        partition.hinted = false;
        let newer = epoch != partition.leader_epoch;
        partition.leader_epoch = epoch;
        if newer && partition.is_idle() {
            partition.sequencing.distrust();
        }
        let moved = self.lead(at, leader);
        if moved {
            let partition = &mut self.records.partitions[at];
            partition.sequencing.ask_no_more();
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
            self.records.topics.want(self.records.partitions[at].topic);
        }
        self.bump_if_needed(at);
        self.list_if_ready(at);
        if newer || moved { Told::New } else { Told::Nothing }
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
    fn tell_topic(&mut self, now: Instant, index: u32) {
        let topic = &self.records.topics[index];
        if !topic.awaited {
            return;
        }
        let event = match topic.standing {
            Standing::Unknown => return,
            Standing::Known if topic.last_error.is_some() => return,
            Standing::Known => Event::TopicReady { topic: TopicIndex(index) },
            Standing::Refused(error) => Event::TopicFailed { topic: TopicIndex(index), error },
        };
        self.records.topics.told(now, index);
        self.outbox.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::wire::metadata::Broker as ToldBroker;

    fn producer() -> Producer {
        let config = Config::from_properties([("bootstrap.servers", "h:1")]).expect("valid options");
        Producer::new(Instant::ZERO, None, config, [7; 32])
    }

    #[test]
    fn brokers_that_come_and_go_leave_nothing_behind() {
        let mut producer = producer();
        for n in 0..5000 {
            let host = alloc::format!("host{n}");
            let brokers = (0..3).map(|k| ToldBroker { id: 3 * n + k, host: &host, port: 1 + k }).collect();
            let response = Response { throttle_ms: 0, brokers, topics: Vec::new(), error: 0 };
            producer.metadata_known(Instant::from_millis(n as u64), ConnId(0), 0, &response);
        }
        assert_eq!(producer.brokers().len(), 3);
        assert_eq!(producer.control.brokers.all().count(), 3);
        assert_eq!(producer.control.servers.in_use().count(), 1 + 3);
    }

    #[test]
    fn an_answer_with_very_many_brokers_is_learnt_in_time_linear_in_it() {
        let mut producer = producer();
        let hosts: Vec<_> = (0..200_000).map(|n| alloc::format!("h{n}")).collect();
        for _ in 0..2 {
            let told = |(id, host)| ToldBroker { id, host, port: 1 };
            let brokers = (0..).zip(hosts.iter().map(|host| &**host)).map(told).collect();
            let response = Response { throttle_ms: 0, brokers, topics: Vec::new(), error: 0 };
            producer.metadata_known(Instant::ZERO, ConnId(0), 0, &response);
        }
        assert_eq!(producer.brokers().len(), 200_000);
    }
}
