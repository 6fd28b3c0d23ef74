//! The topics that were asked for: names, ids, partitions, and when to ask the cluster again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashTable;

use crate::batch::codec::Ratio;
use crate::batch::header;
use crate::error::ErrorCode;
use crate::planted::planted;
use crate::producer::backoff::Backoff;
use crate::producer::random::Random;
use crate::producer::records::spread::Spread;
use crate::time::Instant;
use crate::wire::Uuid;

/// How many ids that it has left a topic remembers.
const MOST_LEFT: usize = 16;

/// How often in a row an id that the topic has left is taken for old metadata.
const TOLD_LEFT: u32 = 10;

/// What an id in a metadata answer says of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdTold {
    /// It is the topic that is known.
    Same,
    /// It is another one of the same name. `back`: one that was left before, so that batches may stand there from that time.
    Another { back: bool },
    /// It is one that was left: the answer is older than what is known.
    Left,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not found yet.
    Unknown,
    /// Its partitions are known, perhaps from long ago.
    Known,
    /// The cluster refuses it.
    Refused(ErrorCode),
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Zero while unknown (or if no broker tells).
    pub(crate) id: Uuid,
    /// Ids that it had before, the newest last.
    left: Vec<Uuid>,
    /// How often in a row metadata told one of those, while nothing succeeded under its id.
    left_told: u32,
    pub(crate) standing: Standing,
    /// Indices of its partitions; the place is the partition's number. Those at and beyond `count` are gone: the topic
    /// was re-created with fewer.
    pub(crate) partitions: Vec<u32>,
    /// How many partitions it has.
    pub(crate) count: usize,
    /// Which of them may take records without key.
    pub(crate) spread: Spread,
    /// Someone was told `NotReady`, and waits for `TopicReady` or `TopicFailed`.
    pub(crate) awaited: bool,
    /// The last error that the cluster answered for it.
    pub(crate) last_error: Option<ErrorCode>,
    last_used: Instant,
    /// The partition (its number) that records without key go to, and how many bytes went there.
    sticky: Option<(u32, usize)>,
    /// The largest size of a batch as it is sent, in bytes.
    batch_limit: usize,
    /// How well its records compress.
    pub(crate) ratio: Ratio,
    /// The size, before compression, from which on a batch is due.
    pub(crate) due_at: usize,
    /// The largest size of a batch before compression.
    pub(crate) raw_limit: usize,
    /// Whether it is in the list of those to be asked for although nothing else is to be refreshed.
    fresh: bool,
}

/// How large batches are to be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// `batch.size`.
    pub(crate) due: usize,
    /// The largest as it is sent.
    pub(crate) limit: usize,
    /// The largest before compression.
    pub(crate) raw_limit: usize,
    /// Whether batches are compressed.
    pub(crate) compressed: bool,
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    entries: Vec<Topic>,
    by_name: HashTable<u32>,
    /// The topic of the last look-up: most sends are to the same one again.
    last: u32,
    sizes: Sizes,
    /// Topics to be asked for at once.
    fresh: Vec<u32>,
    pub(crate) refresh: Refresh,
}

impl core::ops::Index<u32> for Topics {
    type Output = Topic;

    #[inline]
    fn index(&self, index: u32) -> &Topic {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Topics {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Topic {
        &mut self.entries[index as usize]
    }
}

impl Topics {
    pub(crate) fn new(sizes: Sizes, max_age: Duration, backoff: Backoff) -> Self {
        let refresh = Refresh {
            state: RefreshState::Idle,
            all: false,
            fresh: false,
            failures: 0,
            equivalent: 0,
            not_before: Instant::ZERO,
            last_success: None,
            max_age,
            backoff,
        };
        Self { entries: Vec::new(), by_name: HashTable::new(), last: 0, sizes, fresh: Vec::new(), refresh }
    }

    /// The topic of this name, if it was ever asked for.
    #[inline]
    pub(crate) fn find(&mut self, name: &str) -> Option<u32> {
        if self.entries.get(self.last as usize).is_some_and(|topic| topic.name == name) {
            return Some(self.last);
        }
        let found = self.by_name.find(hash(name), |index| self.entries[*index as usize].name == name).copied()?;
        self.last = found;
        Some(found)
    }

    /// The topic with this index, if it is one of this producer's.
    pub(crate) fn get(&self, index: u32) -> Option<&Topic> {
        self.entries.get(index as usize)
    }

    /// As [`Topics::find`], for those who only look.
    pub(crate) fn look(&self, name: &str) -> Option<u32> {
        self.by_name.find(hash(name), |index| self.entries[*index as usize].name == name).copied()
    }

    /// The topic of this name; a new one is asked for with the next metadata request.
    pub(crate) fn add(&mut self, now: Instant, name: &str) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = self.entries.len() as u32;
        self.entries.push(Topic {
            name: name.to_string(),
            id: Uuid::default(),
            left: Vec::new(),
            left_told: 0,
            standing: Standing::Unknown,
            partitions: Vec::new(),
            count: 0,
            spread: Spread::default(),
            awaited: false,
            last_error: None,
            last_used: now,
            sticky: None,
            batch_limit: self.sizes.limit,
            ratio: Ratio::ONE,
            due_at: 0,
            raw_limit: 0,
            fresh: false,
        });
        self.estimate(index);
        let entries = &self.entries;
        self.by_name.insert_unique(hash(name), index, |index| hash(&entries[*index as usize].name));
        self.make_fresh(index);
        index
    }

    /// Someone waits for the topic: it is asked for at once, even if it failed before.
    pub(crate) fn ask(&mut self, now: Instant, index: u32) {
        let topic = &mut self.entries[index as usize];
        topic.last_used = now;
        topic.awaited = true;
        match topic.standing {
            Standing::Refused(_) => {
                topic.standing = Standing::Unknown;
                self.make_fresh(index);
            }
            Standing::Unknown if topic.fresh => {}
            Standing::Unknown | Standing::Known => self.refresh.all = true,
        }
    }

    /// A broker found a batch of the topic too large: `limit` is what is tried next.
    pub(crate) fn found_too_large(&mut self, index: u32, limit: usize) {
        let topic = &mut self.entries[index as usize];
        topic.batch_limit = topic.batch_limit.min(limit.max(1));
        topic.ratio.reset();
        self.estimate(index);
    }

    /// Whether the largest batch of the topic has room to grow again after a broker refused one.
    pub(crate) fn recover_batch_limit(&mut self, index: u32) {
        let limit = self.sizes.limit;
        let topic = &mut self.entries[index as usize];
        if topic.batch_limit < limit {
            topic.batch_limit = (topic.batch_limit + topic.batch_limit / 64 + 1).min(limit);
            self.estimate(index);
        }
    }

    /// From sizes as they are sent to sizes before compression, by the topic's ratio.
    pub(crate) fn estimate(&mut self, index: u32) {
        let sizes = self.sizes;
        let topic = &mut self.entries[index as usize];
        (topic.due_at, topic.raw_limit) = (sizes.due, topic.batch_limit);
        if sizes.compressed {
            let raw = |sent: usize| header::SIZE + topic.ratio.raw(sent.saturating_sub(header::SIZE));
            topic.due_at = raw(sizes.due).min(sizes.raw_limit);
            topic.raw_limit = raw(topic.batch_limit).min(sizes.raw_limit);
        }
    }

    /// The topics for the next request: all that are in use, if that is due, or those that were not asked for yet.
    pub(crate) fn take_wanted(&mut self, now: Instant, max_idle: Duration) -> Vec<u32> {
        let mut wanted = core::mem::take(&mut self.fresh);
        for index in &wanted {
            self.entries[*index as usize].fresh = false;
        }
        if self.refresh.wants_all(now) {
            let used = |topic: &Topic| topic.awaited || now.saturating_since(topic.last_used) < max_idle;
            let used = |topic: &Topic| used(topic) && !matches!(topic.standing, Standing::Refused(_));
            wanted = (0..self.len()).filter(|index| used(&self[*index])).collect();
        }
        self.refresh.fresh = false;
        wanted
    }

    fn make_fresh(&mut self, index: u32) {
        let topic = &mut self.entries[index as usize];
        if !topic.fresh {
            topic.fresh = true;
            self.fresh.push(index);
            self.refresh.fresh = true;
        }
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> u32 {
        self.entries.len() as u32
    }
}

impl Topic {
    /// Something was sent to it: it is refreshed for `metadata.max.idle.ms` from now on.
    #[inline]
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_used = now;
    }

    /// Metadata tell the topic's id. One that it has left is old news, unless nothing else is heard any more: then clients were
    /// moved to another cluster, and back.
    pub(crate) fn id_told(&mut self, id: Uuid) -> IdTold {
        if id == Uuid::default() {
            return IdTold::Same; // brokers before 2.8 tell none
        }
        if id == self.id {
            self.left_told = 0;
            return IdTold::Same;
        }
        if self.id == Uuid::default() {
            self.id = id;
            return IdTold::Same;
        }
        let back = self.left.contains(&id) && !planted("old-topic-id-believed");
        if back {
            self.left_told += 1;
            if self.left_told <= TOLD_LEFT {
                return IdTold::Left;
            }
            self.left.retain(|left| *left != id);
        }
        if self.left.len() == MOST_LEFT {
            self.left.remove(0);
        }
        self.left.push(core::mem::replace(&mut self.id, id));
        self.left_told = 0;
        IdTold::Another { back }
    }

    /// A batch was acknowledged under the id that is known.
    #[inline]
    pub(crate) fn acknowledged(&mut self) {
        self.left_told = 0;
    }

    /// The partition that records without key stick to.
    #[inline]
    pub(crate) fn sticky(&self) -> Option<u32> {
        self.sticky.map(|(number, _)| number).filter(|number| (*number as usize) < self.count)
    }

    pub(crate) fn stick_to(&mut self, number: u32) {
        self.sticky = Some((number, 0));
    }

    /// Bytes went to the sticky partition. KIP-794: it changes after `batch_size` bytes, where a batch is full, and after
    /// twice that anyway.
    #[inline]
    pub(crate) fn stuck(&mut self, bytes: usize, batch_full: bool, batch_size: usize) {
        if let Some((_, sent)) = &mut self.sticky {
            *sent += bytes;
            if (batch_full && *sent >= batch_size) || *sent >= 2 * batch_size {
                self.sticky = None;
            }
        }
    }
}

/// When metadata is asked for.
#[derive(Debug)]
pub(crate) struct Refresh {
    state: RefreshState,
    /// Everything is to be asked for again, not only what was never asked for.
    all: bool,
    /// There are topics that were never asked for.
    fresh: bool,
    /// Requests that failed, in a row.
    failures: u32,
    /// Answers in a row that brought nothing new although something was wanted.
    equivalent: u32,
    not_before: Instant,
    last_success: Option<Instant>,
    max_age: Duration,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefreshState {
    Idle,
    InFlight,
}

impl Refresh {
    /// Something known turned out to be wrong.
    pub(crate) fn want(&mut self) {
        self.all = true;
    }

    /// As [`Refresh::want`], under a condition.
    pub(crate) fn want_if(&mut self, needed: bool) {
        self.all |= needed;
    }

    /// When the next request is due; `None` while one is in flight.
    pub(crate) fn due(&self) -> Option<Instant> {
        let by_age = self.last_success.map(|at| at + self.max_age);
        let wanted = match (self.fresh, self.all, self.failures) {
            (false, false, _) => by_age?,
            (false, true, _) => self.not_before,
            (true, _, 0) => Instant::ZERO, // new topics don't wait for the backoff of old ones
            (true, _, _) => self.not_before,
        };
        (self.state == RefreshState::Idle).then_some(wanted)
    }

    fn wants_all(&self, now: Instant) -> bool {
        let old = self.last_success.is_some_and(|at| at + self.max_age <= now);
        old || (self.all && self.not_before <= now)
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        if self.wants_all(now) {
            self.all = false;
        }
        self.state = RefreshState::InFlight;
    }

    /// No usable answer.
    pub(crate) fn failed(&mut self, now: Instant, random: &mut Random) {
        self.state = RefreshState::Idle;
        self.all = true;
        self.not_before = now + self.backoff.after(self.failures, random);
        self.failures = self.failures.saturating_add(1);
    }

    /// An answer. `news`: it brought a leader, an epoch or a topic that was not known.
    pub(crate) fn succeeded(&mut self, now: Instant, news: bool, random: &mut Random) {
        self.state = RefreshState::Idle;
        self.failures = 0;
        self.last_success = Some(now);
        self.equivalent = if news { 0 } else { self.equivalent.saturating_add(1) };
        self.not_before = now + self.backoff.after(self.equivalent.saturating_sub(1), random);
    }
}

/// FNV-1a: short names, and the same on every machine.
#[inline]
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
