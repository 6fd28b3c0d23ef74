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
use crate::producer::control::requests::Question;
use crate::producer::control::servers::{Server, Task};
use crate::producer::delivery::idempotence::Standing as Identity;
use crate::producer::records::batches::State;
use crate::producer::records::topics::{IdTold, Standing};
use crate::producer::timers::Timer;
use crate::sort;
use crate::time::Instant;
use crate::wire::metadata::{self, Response, Topic};

/// Brokers that are learnt from one answer.
const MOST_BROKERS: usize = 10_000;

/// `REBOOTSTRAP_REQUIRED`: forget the cluster, and ask the bootstrap servers (KIP-1102).
const REBOOTSTRAP: i16 = 129;

/// How often in a row an older leader epoch, or fewer partitions, are taken for old metadata, where brokers tell no topic ids.
const OLDER: u32 = 3;

/// What was told, compared with what is known. Of several, the last in this order is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// The same, or nothing of use.
    Nothing,
    /// Something new that nobody waits for.
    Beside,
    New,
    /// Something new once more, although nothing was delivered since another server told something new.
    Again,
    /// As [`Told::Again`], by the same server: what it told before was of no help.
    InVain,
    /// What was known before something newer: whoever tells it is behind the times.
    Old,
    /// That the topic is not for this client: another server may say otherwise.
    Refused,
}

/// So often where only a hint told the newer one.
const OLDER_THAN_A_HINT: u32 = 2;

/// So often where metadata told the newer one, and no batch was taken since.
const OLDER_THAN_A_WORD: u32 = 9;

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
            self.control.servers.lose_turn(server, Some(Task::Metadata));
            if response.error == REBOOTSTRAP && self.config.rebootstrap {
                self.control.brokers.begin_update();
                self.control.era += 1;
                self.drop_connection(now, conn);
            }
            return;
        }
        self.sessions.no_memory = None;
        self.learn_brokers(now, response);
        let (mut news, mut beside, mut again, mut doubtful) = (false, false, false, false);
        for topic in &response.topics {
            let Some(index) = topic.name.and_then(|name| self.records.topics.look(name)) else {
                continue;
            };
            if !self.records.topics.answered(index) {
                continue; // nobody asked, or it was told already: an answer's work is bounded by its length
            }
            match self.topic_known(now, index, server, topic) {
                Told::Nothing => {}
                Told::Beside => beside = true,
                Told::New => news = true,
                Told::Again => again = true,
                Told::InVain => (again, doubtful) = (true, true),
                Told::Old => doubtful = true,
                Told::Refused => doubtful |= !planted("refusing-server-stays"),
            }
        }
        self.left_out(now);
        news |= beside && !self.records.topics.refresh.is_wanted();
        let useful = self.records.topics.refresh.succeeded(now, news && !again, &mut self.random) || again;
        if !useful || doubtful {
            self.control.servers.lose_turn(server, Some(Task::Metadata));
        } else if news && !again {
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
            self.control.servers.lose_turn(server, Some(Task::Metadata));
            return;
        }
        let is_wanted = core::mem::take(&mut self.control.listing) != Question::Idle;
        self.learn_brokers(now, response);
        if !is_wanted {
            return;
        }
        let partition = |told: &metadata::Partition| PartitionInfo {
            partition: told.index,
            leader: (told.leader >= 0).then_some(told.leader),
            leader_epoch: told.leader_epoch,
        };
        let listing = |topic: &Topic<'_>| {
            let mut partitions: Vec<PartitionInfo> = topic.partitions.iter().map(partition).collect();
            sort::by_key(&mut partitions, |info| info.partition);
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
        let brokers = told_brokers(response).filter(|broker| self.control.brokers.find(broker.id).is_none());
        let brokers =
            brokers.map(|broker| size_of::<Broker>() + size_of::<Server>() + 2 * broker.host.len()).sum::<usize>();
        self.records.partitions.to_grow(partitions) + partitions * 4 * size_of::<u32>() + 2 * brokers
    }

    fn learn_brokers(&mut self, now: Instant, response: &Response<'_>) {
        self.control.brokers.begin_update();
        for broker in told_brokers(response) {
            // The first entry of an id counts: no answer moves a broker twice.
            let told = self.control.brokers.find_current(broker.id).is_some() && !planted("broker-told-twice-moves");
            if let (Ok(port), false) = (u16::try_from(broker.port), told) {
                self.learn_broker(now, broker.id, broker.host, port);
                let in_rack = self.config.rack.as_deref().is_some_and(|rack| broker.rack == Some(rack));
                if let Some(index) = self.control.brokers.find(broker.id) {
                    self.control.brokers[index].in_rack = in_rack;
                }
            }
        }
        self.forget_brokers(now);
        self.look_again();
    }

    /// A broker's address. A connection to an old address of it is given up.
    fn learn_broker(&mut self, now: Instant, id: i32, host: &str, port: u16) {
        if !may_be_host(host) {
            return;
        }
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
        // It may have waited for how another connection to the old address goes.
        if !planted("moved-and-forgotten") {
            self.attend(index);
        }
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
                self.records.topics.refresh.want(); // if no server names it, it is forgotten again
                self.learn_broker(now, id, host, port);
                self.look_again();
            }
        }
    }

    /// What a response of this server says of one topic.
    fn topic_known(&mut self, now: Instant, index: u32, server: u32, told: &Topic<'_>) -> Told {
        let topic = &mut self.records.topics[index];
        topic.last_error = (told.error != 0).then_some(ErrorCode(told.error));
        self.say_topic(index);
        let topic = &mut self.records.topics[index];
        let told_partitions = in_order(&told.partitions);
        match told.error {
            0 if !told_partitions.is_empty() => {}
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
        let mut news = if topic.standing == Standing::Known { Told::Nothing } else { Told::New };
        topic.standing = Standing::Known;
        // Of a cluster that had to be found anew, or a topic that nobody used for long, nothing is older than what was known
        // before.
        let found_anew = core::mem::replace(&mut topic.era, self.control.era) != self.control.era;
        let partitions = &self.records.partitions;
        let open = self.records.topics.holds_open(index, |at| !partitions[at].is_idle());
        let nothing_is_older = found_anew && !open;
        let topic = &mut self.records.topics[index];
        let recreated = match topic.id_told(told.id, nothing_is_older) {
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
        let count = told_partitions.len();
        if recreated || count > self.records.topics[index].count || self.is_smaller(index, count, nothing_is_older) {
            news = news.max(Told::Beside);
            self.resize(index, count, recreated);
        }
        let mut named = 0;
        for partition in told_partitions {
            if partition.error != 0 && partition.leader < 0 {
                self.records.topics.want(index);
            }
            let number = partition.index as usize;
            if number < self.records.topics[index].count {
                named += 1;
                let at = self.records.topics[index].partitions[number];
                let leader = match planted("unnamed-leader-believed") {
                    true => self.control.brokers.find(partition.leader),
                    false => self.control.brokers.find_current(partition.leader),
                };
                let mut told = self.leader_known(at, leader, partition.leader_epoch, recreated || found_anew);
                if told == Told::New {
                    told = self.weigh(at, server);
                }
                news = news.max(told);
            }
        }
        if named < self.records.topics[index].count {
            self.want_if_leaderless(index);
        }
        news
    }

    /// The answer has not named all partitions: where records wait for a leader, the topic is asked about again.
    fn want_if_leaderless(&mut self, index: u32) {
        let partitions = &self.records.partitions;
        let waits = |at: &u32| partitions[*at].leader.is_none() && !partitions[*at].is_idle();
        if self.records.topics[index].partitions.iter().any(waits) {
            self.records.topics.want(index);
        }
    }

    /// What it is worth that this server told something new of a partition. A leader that no record gets through to is no help,
    /// however new; otherwise a server that tells another one each time would be asked for ever.
    fn weigh(&mut self, at: u32, server: u32) -> Told {
        let partition = &mut self.records.partitions[at];
        if planted("all-news-help") {
            return Told::New;
        }
        if partition.is_idle() {
            partition.told_by = None;
            return Told::Beside;
        }
        match partition.told_by.replace(server) {
            None => Told::New,
            Some(before) if before == server => Told::InVain,
            Some(_) => Told::Again,
        }
    }

    /// Whether a topic has fewer partitions than are known. Where brokers tell no topic ids, one that was created anew looks like
    /// one whose metadata is old, but stays so. Under one id a topic loses partitions only by a backup; that it is told so often says it.
    fn is_smaller(&mut self, index: u32, count: usize, nothing_is_older: bool) -> bool {
        let topic = &mut self.records.topics[index];
        let older = match topic.id == [0; 16] {
            true => OLDER,
            false if planted("ids-keep-their-partitions") => u32::MAX,
            false => OLDER_THAN_A_WORD,
        };
        if count >= topic.count {
            topic.as_many_told(count);
            return false;
        }
        if nothing_is_older {
            topic.fewer = 0;
            return true;
        }
        topic.fewer += 1;
        if topic.fewer <= older {
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
            let at = self.records.partitions.add(self.now, index, number as i32);
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
        partition.led_since = self.now;
        if self.observed && before.is_some() {
            let (topic, partition) = (TopicIndex(partition.topic), partition.number);
            let leader = leader.map(|leader| self.control.brokers[leader].id);
            self.outbox.event(Event::LeaderMoved { topic, partition, leader });
        }
        let spread = &mut self.records.topics[partition.topic].spread;
        if leader.is_some() != before.is_some() {
            spread.leaders_changed();
        }
        spread.leader_moved();
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
    /// about the topic that has the name now. Returns whether it leads elsewhere and may be followed at once: not where the last
    /// one led nowhere either.
    pub(in crate::producer) fn leader_hint(&mut self, entry: &Entry, leader: i32, epoch: i32) -> bool {
        let at = entry.partition;
        let of_now = entry.topic_id == self.records.topics[entry.topic].id || planted("hint-of-old-topic-believed");
        let newer = epoch > self.records.partitions[at].leader_epoch || planted("older-hint-believed");
        let leader = self.control.brokers.find(leader);
        if !of_now || !newer || leader.is_none() {
            return false;
        }
        let (before, hinted) = (self.records.partitions[at].leader, self.records.partitions[at].hinted);
        self.leader_known(at, leader, epoch, planted("older-hint-believed"));
        self.records.partitions[at].hinted = true;
        before != leader && !hinted
    }

    /// A partition's leader and its epoch. What is older than what is known is not believed, unless it is about another topic or
    /// cluster.
    fn leader_known(&mut self, at: u32, leader: Option<u32>, epoch: i32, another: bool) -> Told {
        let partition = &mut self.records.partitions[at];
        if !another && epoch >= 0 && epoch < partition.leader_epoch {
            // Where brokers tell no topic ids, a re-created topic looks like one whose metadata is old, but stays so.
            partition.older_epochs += 1;
            partition.older_in_all += 1;
            let no_ids = self.records.topics[partition.topic].id == [0; 16];
            let stays_so = no_ids && partition.older_epochs > OLDER;
            // A hint comes from one broker, which may have been wrong.
            let wrong_hint = partition.hinted && partition.older_epochs > OLDER_THAN_A_HINT;
            // So may servers be, and go on: nobody has taken a batch since.
            let wrong_word = partition.older_in_all > OLDER_THAN_A_WORD && !planted("one-word-for-ever");
            if !stays_so && !wrong_hint && !wrong_word && !planted("older-epoch-believed") {
                // Of a leader that is known there is nothing more to be heard.
                let is_known = (leader.is_some() || planted("nobody-is-known")) && partition.leader == leader;
                if (!is_known || planted("old-news-of-the-same-leader")) && !partition.is_idle() {
                    self.records.topics.want(partition.topic);
                }
                return Told::Old;
            }
        }
        partition.older_epochs = 0;
        if another || partition.is_idle() {
            partition.older_in_all = 0;
        }
        // Metadata that say what a hint has said are of use.
        let confirmed = core::mem::take(&mut partition.hinted);
        let newer = epoch != partition.leader_epoch;
        partition.leader_epoch = epoch;
        let idle = partition.sent.is_empty();
        let moved = self.lead(at, leader);
        if (newer || moved) && idle {
            self.records.partitions[at].sequencing.distrust();
        }
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
        if newer || moved || confirmed { Told::New } else { Told::Nothing }
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

/// Brokers that an answer names: more than any cluster has are not looked at, for each takes some hundred bytes.
fn told_brokers<'a>(response: &'a Response<'a>) -> impl Iterator<Item = &'a metadata::Broker<'a>> {
    let most = if planted("any-number-of-brokers") { usize::MAX } else { MOST_BROKERS };
    response.brokers.iter().take(most)
}

/// Whether this may be a host's name or address: not so long that no resolver takes it, and fit to be shown.
fn may_be_host(host: &str) -> bool {
    const LONGEST: usize = 255;
    (host.len() <= LONGEST && !host.contains(char::is_control)) || planted("words-as-they-are")
}

/// The partitions that an answer names, by number. Of what is told twice the first counts.
fn in_order(told: &[metadata::Partition]) -> Vec<&metadata::Partition> {
    let mut partitions: Vec<_> = told.iter().filter(|partition| partition.index >= 0).collect();
    // By place where they are equal.
    sort::by_key(&mut partitions, |partition| (partition.index, core::ptr::from_ref(*partition).addr()));
    if !planted("partition-told-twice-counts") {
        partitions.dedup_by_key(|partition| partition.index);
    }
    partitions
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
            let brokers = (0..3).map(|k| ToldBroker { id: 3 * n + k, host: &host, port: 1 + k, rack: None }).collect();
            let response = Response { throttle_ms: 0, brokers, topics: Vec::new(), error: 0 };
            producer.metadata_known(Instant::from_millis(n as u64), ConnId(0), 0, &response);
        }
        assert_eq!(producer.brokers().len(), 3);
        assert_eq!(producer.control.brokers.all().count(), 3);
        assert_eq!(producer.control.servers.in_use().count(), 1 + 3);
    }

    #[test]
    fn of_an_answer_with_very_many_brokers_a_bounded_number_is_learnt() {
        let mut producer = producer();
        let hosts: Vec<_> = (0..200_000).map(|n| alloc::format!("h{n}")).collect();
        for _ in 0..2 {
            let told = |(id, host)| ToldBroker { id, host, port: 1, rack: None };
            let brokers = (0..).zip(hosts.iter().map(|host| &**host)).map(told).collect();
            let response = Response { throttle_ms: 0, brokers, topics: Vec::new(), error: 0 };
            producer.metadata_known(Instant::ZERO, ConnId(0), 0, &response);
        }
        assert_eq!(producer.brokers().len(), MOST_BROKERS);
    }
}
