//! The topics that were asked for: names, ids, partitions, and when to ask the cluster again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashTable;

use crate::batch::codec::Ratio;
use crate::batch::header;
use crate::error::ErrorCode;
use crate::memory;
use crate::metrics::TopicCounts;
use crate::planted::planted;
use crate::producer::control::refresh::Refresh;
use crate::producer::records::spread::Spread;
use crate::time::Instant;
use crate::wire::Uuid;

/// The longest name of a topic, in bytes.
const LONGEST_NAME: usize = 249;

/// How many ids that it has left a topic remembers.
const MOST_LEFT: usize = 16;

/// How often in a row an id that the topic has left is taken for old metadata.
const TOLD_LEFT: u32 = 10;

/// So often, whatever is told between, where nobody takes anything under the id that is taken for the newer one.
const TOLD_LEFT_OF_A_DOUBTED: u32 = 3;

/// The era of a topic about which nobody has asked for long.
const FORGOTTEN: u32 = u32::MAX;

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
    /// Who should lead it does not, or knows nothing of it, and none has taken a batch under its id.
    id_doubted: bool,
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
    /// Its records have the time of their broker (`message.timestamp.type=LogAppendTime`), as far as is known.
    pub(crate) has_brokers_time: bool,
    /// When something was last sent to it, or it was last asked for. Later than now where somebody has time to send.
    last_used: Instant,
    /// Answers in a row that named fewer partitions than are known.
    pub(crate) fewer: u32,
    /// A partition (its number) that a broker does not know, where topics have no ids: then answers count that are not in a row.
    missing: Option<i32>,
    /// Under which era of the cluster it was last answered (see `Control::era`), or [`FORGOTTEN`].
    pub(crate) era: u32,
    /// The partition (its number) that records without key go to, and how many bytes went there.
    sticky: Option<(u32, usize)>,
    /// The largest size of a batch as it is sent, in bytes.
    batch_limit: usize,
    /// What was sent to it.
    pub(crate) counts: TopicCounts,
    /// How well its records compress.
    pub(crate) ratio: Ratio,
    /// The size, before compression, from which on a batch is due.
    pub(crate) due_at: usize,
    /// The largest size of a batch before compression.
    pub(crate) raw_limit: usize,
    /// Whether it is in the list of those to be asked about.
    listed: bool,
    /// Whether the request on its way names it.
    asked: bool,
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
    /// Topics to be asked about with the next request, whatever else it is about.
    to_ask: Vec<u32>,
    /// Those that the request on its way names.
    asked: Vec<u32>,
    /// `metadata.max.idle.ms`.
    max_idle: Duration,
    /// `max.block.ms`: so long somebody may wait for a topic.
    max_wait: Duration,
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
    /// `max_idle`: `metadata.max.idle.ms`; `max_wait`: `max.block.ms`.
    pub(crate) fn new(sizes: Sizes, max_idle: Duration, max_wait: Duration, refresh: Refresh) -> Self {
        let (to_ask, asked) = (Vec::new(), Vec::new());
        Self {
            entries: Vec::new(),
            by_name: HashTable::new(),
            last: 0,
            sizes,
            to_ask,
            asked,
            max_idle,
            max_wait,
            refresh,
        }
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
        let topic = Topic {
            name: name.to_string(),
            id: Uuid::default(),
            left: Vec::new(),
            left_told: 0,
            id_doubted: false,
            standing: Standing::Unknown,
            partitions: Vec::new(),
            count: 0,
            spread: Spread::default(),
            awaited: false,
            last_error: None,
            has_brokers_time: false,
            counts: TopicCounts::default(),
            last_used: now,
            sticky: None,
            batch_limit: self.sizes.limit,
            ratio: Ratio::ONE,
            due_at: 0,
            raw_limit: 0,
            fewer: 0,
            missing: None,
            era: 0,
            listed: false,
            asked: false,
        };
        memory::push(&mut self.entries, topic);
        self.estimate(index);
        let entries = &self.entries;
        self.by_name.insert_unique(hash(name), index, |index| hash(&entries[*index as usize].name));
        self.list(index);
        self.refresh.want_fresh();
        index
    }

    /// Someone waits for the topic: it is asked about, even if it failed before.
    pub(crate) fn ask(&mut self, now: Instant, index: u32) {
        let topic = &mut self.entries[index as usize];
        topic.last_used = now;
        topic.awaited = true;
        if let Standing::Refused(_) = topic.standing {
            topic.standing = Standing::Unknown;
        }
        if !topic.asked {
            self.want(index);
        }
    }

    /// Who waited for the topic is told about it, and has `max.block.ms` to send something.
    pub(crate) fn told(&mut self, now: Instant, index: u32) {
        let more = self.max_wait.saturating_sub(self.max_idle);
        let topic = &mut self.entries[index as usize];
        topic.awaited = false;
        topic.last_used = topic.last_used.max(now + more);
    }

    /// Something about the topic is to be known: it is asked about once more.
    pub(crate) fn want(&mut self, index: u32) {
        self.list(index);
        self.refresh.want_again();
    }

    fn list(&mut self, index: u32) {
        let topic = &mut self.entries[index as usize];
        if !core::mem::replace(&mut topic.listed, true) {
            self.to_ask.push(index);
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

    /// The rule which topics are asked about: those that were used within `metadata.max.idle.ms`, that somebody may still wait
    /// for, or that hold open records, however long ago.
    fn is_in_use(&self, index: u32, now: Instant, holds_open: &impl Fn(u32) -> bool) -> bool {
        let idle = now.saturating_since(self[index].last_used);
        idle < self.max_idle || self.is_waited_for(index, now, holds_open)
    }

    /// Whether somebody waits for an answer about the topic: one who wants to send, or open records.
    pub(crate) fn is_waited_for(&self, index: u32, now: Instant, holds_open: impl Fn(u32) -> bool) -> bool {
        let topic = &self[index];
        let patience = self.max_idle.max(self.max_wait);
        let idle = now.saturating_since(topic.last_used);
        let awaited = topic.awaited && (idle < patience || planted("missing-topic-for-ever"));
        awaited || (self.holds_open(index, holds_open) && !planted("open-records-do-not-count"))
    }

    /// Whether the topic has open records. `holds_open`: whether a partition has, by its index.
    pub(crate) fn holds_open(&self, index: u32, holds_open: impl Fn(u32) -> bool) -> bool {
        self[index].partitions.iter().any(|at| holds_open(*at))
    }

    /// A request is about to leave: about all topics that are in use, if that is due, or those of them that are listed.
    /// `holds_open`: whether a partition, by its index, has records that are not delivered.
    pub(crate) fn take_wanted(&mut self, now: Instant, holds_open: impl Fn(u32) -> bool) {
        let listed = core::mem::take(&mut self.to_ask);
        for index in &listed {
            self.entries[*index as usize].listed = false;
        }
        let all = self.refresh.wants_all(now);
        let in_use = |index: &u32| {
            let refused = matches!(self[*index].standing, Standing::Refused(_)) && planted("refused-topic-not-asked");
            self.is_in_use(*index, now, &holds_open) && !refused
        };
        let (asked, idle): (Vec<u32>, Vec<u32>) = match all {
            true => (0..self.len()).partition(in_use),
            false => listed.into_iter().partition(in_use),
        };
        for index in idle.into_iter().filter(|_| !planted("refused-topic-not-asked")) {
            self.forget(index);
        }
        for index in &asked {
            self.entries[*index as usize].asked = true;
        }
        self.asked = asked;
        self.refresh.sent(now);
    }

    /// The topic is not asked about any more: before something is sent to it again it is looked at anew, as in Java. It may be
    /// another one by then.
    fn forget(&mut self, index: u32) {
        let topic = &mut self.entries[index as usize];
        if !planted("idle-topic-remembered") {
            topic.standing = Standing::Unknown;
            topic.era = FORGOTTEN;
        }
    }

    /// The names in the request on its way.
    pub(crate) fn asked_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.asked.iter().map(|index| &*self[*index].name)
    }

    /// The request on its way is over. Returns what it asked about and no answer was [noted](Self::answered) for.
    pub(crate) fn take_unanswered(&mut self) -> Vec<u32> {
        let mut asked = core::mem::take(&mut self.asked);
        asked.retain(|index| self.answered(*index));
        asked
    }

    /// The topic was answered. Whether it was asked about, and not answered before.
    pub(crate) fn answered(&mut self, index: u32) -> bool {
        core::mem::take(&mut self.entries[index as usize].asked)
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Topic> {
        self.entries.iter()
    }
}

impl Topic {
    /// Something was sent to it: it is refreshed for `metadata.max.idle.ms` from now on.
    #[inline]
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_used = now;
    }

    /// Metadata tell the topic's id. One that it has left is old news, unless nothing else is heard any more: then clients were
    /// moved to another cluster, and back. Or the id that is taken for the newer one is the older: it was learnt later, from a
    /// server that is behind. Then brokers do not know it. `nothing_is_older`: what is known counts for nothing, and nothing is open.
    pub(crate) fn id_told(&mut self, id: Uuid, nothing_is_older: bool) -> IdTold {
        if id == Uuid::default() {
            return IdTold::Same; // brokers before 2.8 tell none
        }
        let doubted = self.id_doubted && !planted("unknown-id-not-doubted");
        if id == self.id {
            if !doubted {
                self.left_told = 0;
            }
            return IdTold::Same;
        }
        if self.id == Uuid::default() {
            self.id = id;
            return IdTold::Same;
        }
        let back = self.left.contains(&id) && !planted("old-topic-id-believed");
        if back {
            self.left_told += 1;
            let most = if doubted { TOLD_LEFT_OF_A_DOUBTED } else { TOLD_LEFT };
            if self.left_told <= most && !nothing_is_older {
                return IdTold::Left;
            }
            self.left.retain(|left| *left != id);
        }
        if self.left.len() == MOST_LEFT {
            self.left.remove(0);
        }
        self.left.push(core::mem::replace(&mut self.id, id));
        self.trust_id();
        IdTold::Another { back }
    }

    /// A batch was acknowledged under the id that is known, or it is another one.
    #[inline]
    pub(crate) fn trust_id(&mut self) {
        self.left_told = 0;
        self.id_doubted = false;
    }

    /// A broker does not know a partition.
    pub(crate) fn doubt_partition(&mut self, number: i32) {
        if self.id == Uuid::default() && !planted("missing-partition-not-doubted") {
            self.missing = Some(number);
        }
    }

    /// A batch was acknowledged in a partition.
    #[inline]
    pub(crate) fn trust_partition(&mut self, number: i32) {
        if self.missing == Some(number) {
            self.missing = None;
        }
    }

    /// Metadata name so many partitions, at least as many as are known.
    pub(crate) fn as_many_told(&mut self, count: usize) {
        if self.missing.is_none() || count > self.count {
            self.fewer = 0;
            self.missing = None;
        }
    }

    /// Who should lead a partition of it does not, or knows nothing of it.
    pub(crate) fn doubt_id(&mut self) {
        self.id_doubted = true;
    }

    /// The partition that records without key stick to.
    #[inline]
    pub(crate) fn sticky(&self) -> Option<u32> {
        self.sticky.map(|(number, _)| number).filter(|number| (*number as usize) < self.count)
    }

    pub(crate) fn stick_to(&mut self, number: u32) {
        self.sticky = Some((number, 0));
    }

    /// Bytes went to the sticky partition. KIP-794: it changes after as many as make a batch due, where a batch is full, and after
    /// twice that anyway.
    #[inline]
    pub(crate) fn stuck(&mut self, bytes: usize, batch_full: bool) {
        if let Some((_, sent)) = &mut self.sticky {
            *sent += bytes;
            if *sent >= self.due_at && (batch_full || *sent >= 2 * self.due_at) {
                self.sticky = None;
            }
        }
    }
}

/// FNV-1a: short names, and the same on every machine.
#[inline]
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a broker would take the name: Kafka's rule (`Topic.validate`).
pub(crate) fn is_legal(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}
