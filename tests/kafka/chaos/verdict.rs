//! What was said against what is there.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Window;
use super::streams::{Outcome, Promise, STREAMS, Sent, Stream, of_value};
use crate::broker::Kafka;
use crate::dump;

/// Numbers of records.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sent: u64,
    delivered: u64,
    /// Failed, and surely nowhere.
    failed: u64,
    possibly_written: u64,
    not_taken: u64,
    /// Delivered, and not there.
    lost: u64,
    doubled: u64,
    reordered: u64,
    /// Elsewhere than was said, or there although it was said to be nowhere.
    wrong: u64,
}

pub struct Verdict {
    /// By what happened when they were sent; of what is wrong only what was promised otherwise.
    by_window: Vec<Tally>,
    /// By stream; all that is there, promised or not.
    by_stream: BTreeMap<&'static str, Tally>,
    /// What no producer may do.
    violations: Vec<String>,
}

/// Where a record stands.
type Places = BTreeMap<(&'static str, usize), Vec<(i32, i64)>>;

/// Reads all logs. `anew` is when the topic that is created anew was so for the last time.
pub fn reached(
    kafka: &Kafka,
    topics: &[(&'static str, u32)],
    streams: &[Stream],
    windows: usize,
    anew: Option<Instant>,
) -> Verdict {
    let mut verdict =
        Verdict { by_window: vec![Tally::default(); windows], by_stream: BTreeMap::new(), violations: Vec::new() };
    let mut places = Places::new();
    let each = |(topic, partitions): &(&'static str, u32)| {
        let topic = *topic;
        (0..*partitions).map(move |partition| (topic, partition))
    };
    let all: Vec<(&str, u32)> = topics.iter().flat_map(each).collect();
    for ((topic, partition), log) in all.iter().zip(dump::records_of_each(kafka, &all)) {
        verdict.read(topic, *partition as i32, &log, streams, &mut places);
    }
    for stream in streams {
        for (n, sent) in stream.sent.iter().enumerate() {
            let places = places.get(&(stream.plan.name, n)).map_or(&[][..], Vec::as_slice);
            let stays = sent.topic != "anew" || anew.is_none_or(|anew| sent.taken > anew);
            verdict.judge(stream, n, sent, places, stays);
        }
    }
    verdict
}

impl Verdict {
    /// Notes where each record stands, and looks whether those of each stream are in order and were sent there.
    fn read(&mut self, topic: &str, partition: i32, log: &[dump::Record], streams: &[Stream], places: &mut Places) {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for record in log {
            let value = record.value.as_deref().unwrap_or_default();
            let known = of_value(value).and_then(|(name, n)| {
                let stream = streams.iter().find(|stream| stream.plan.name == name)?;
                Some((stream, n, stream.sent.get(n).filter(|sent| sent.topic == topic)?))
            });
            let Some((stream, n, sent)) = known else {
                self.violations.push(format!("{topic}-{partition}@{}: {value} was never sent", record.offset));
                continue;
            };
            let plan = stream.plan;
            let before = last.insert(plan.name, n);
            let places = places.entry((plan.name, n)).or_default();
            // A double is told as that.
            if let (Some(before), true) = (before.filter(|before| *before > n), places.is_empty()) {
                self.by_stream.entry(plan.name).or_default().reordered += 1;
                if plan.promise == Promise::Once {
                    self.by_window[sent.window].reordered += 1;
                    let words = format!("{topic}-{partition}@{}: {} {n} behind {before}", record.offset, plan.name);
                    self.violations.push(format!("out of order: {words}"));
                }
            }
            places.push((partition, record.offset));
        }
    }

    /// `stays` is whether what was delivered is still there.
    fn judge(&mut self, stream: &Stream, n: usize, sent: &Sent, places: &[(i32, i64)], stays: bool) {
        let plan = stream.plan;
        let who = format!("{} {n} of {}", plan.name, sent.topic);
        let mut found = Tally { sent: 1, ..Tally::default() };
        let mut violations = Vec::new();
        let outcome = match &sent.outcomes[..] {
            [(outcome, _)] => outcome,
            several => {
                self.violations.push(format!("{who}: {} outcomes", several.len()));
                return;
            }
        };
        found.doubled = u64::from(places.len() > 1);
        if places.len() > 1 && plan.promise == Promise::Once {
            violations.push(format!("doubled: {who} stands at {places:?}"));
        }
        match outcome {
            Outcome::Delivered { partition, offset } => {
                found.delivered = 1;
                let said = |place: &(i32, i64)| place.0 == *partition && offset.is_none_or(|offset| offset == place.1);
                if places.is_empty() && stays {
                    found.lost = 1;
                    if plan.promise != Promise::Nothing {
                        violations.push(format!("lost: {who}, delivered to {partition} at {offset:?}"));
                    }
                } else if !places.is_empty() && !places.iter().any(said) {
                    found.wrong = 1;
                    if plan.promise != Promise::Nothing {
                        violations.push(format!("elsewhere: {who}, {places:?}, not {partition} at {offset:?}"));
                    }
                }
            }
            Outcome::Failed { possibly_written: true, .. } => found.possibly_written = 1,
            Outcome::Failed { possibly_written: false, words } => {
                found.failed = 1;
                if !places.is_empty() {
                    found.wrong = 1;
                    violations.push(format!("false: {who} is at {places:?}, but: {words}"));
                }
            }
            Outcome::NotTaken => {
                found.not_taken = 1;
                if !places.is_empty() {
                    found.wrong = 1;
                    violations.push(format!("false: {who} is at {places:?}, but was not taken"));
                }
            }
        }
        self.by_stream.entry(plan.name).or_default().add(found);
        if violations.is_empty() {
            (found.lost, found.doubled, found.wrong) = (0, 0, 0);
        }
        self.by_window[sent.window].add(found);
        self.violations.extend(violations);
    }

    pub fn is_good(&self) -> bool {
        // Nothing is right of a producer that delivers nothing.
        let works = |tally: &Tally| tally.delivered > tally.sent / 2;
        self.violations.is_empty() && self.by_stream.len() == STREAMS.len() && self.by_stream.values().all(works)
    }

    pub fn words(&self) -> String {
        let mut all = Tally::default();
        self.by_stream.values().for_each(|tally| all.add(*tally));
        let mut words = format!("{} of {} records delivered", all.delivered, all.sent);
        if !self.violations.is_empty() {
            let first: Vec<&str> = self.violations.iter().take(20).map(String::as_str).collect();
            words += &format!("; {} violations:\n    {}", self.violations.len(), first.join("\n    "));
        }
        words
    }

    /// What happened, by fault and by stream.
    pub fn table(&self, streams: &[Stream], windows: &[Window]) -> String {
        let stalls = stalls(streams, windows);
        let mut faults: BTreeMap<&str, (Tally, u32, f64, f64)> = BTreeMap::new();
        for (at, window) in windows.iter().enumerate() {
            let (tally, times, stall, cpu) = faults.entry(window.name).or_default();
            tally.add(self.by_window[at]);
            *times += 1;
            *stall = stalls[at].max(*stall);
            *cpu += window.cpu;
        }
        let mut lines = vec![format!("  {:<24} times{} stall s  CPU s", "fault", Tally::HEAD)];
        for (name, (tally, times, stall, cpu)) in &faults {
            lines.push(format!("  {name:<24} {times:>5}{} {stall:>7.1} {cpu:>6.2}", tally.row()));
        }
        lines.push(format!("  {:<24}      {} promised", "stream, all that is there", Tally::HEAD));
        for (name, tally) in &self.by_stream {
            let promise = streams.iter().find(|stream| stream.plan.name == *name).map(|stream| stream.plan.promise);
            let promise = match promise {
                Some(Promise::Once) => "once and in order",
                Some(Promise::Somewhere) => "there",
                _ => "nothing",
            };
            lines.push(format!("  {name:<24}      {} {promise}", tally.row()));
        }
        lines.join("\n")
    }
}

impl Tally {
    const HEAD: &'static str = "    sent delivered  failed possibly not taken  lost doubled reordered wrong";

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.possibly_written += other.possibly_written;
        self.not_taken += other.not_taken;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
    }

    fn row(&self) -> String {
        format!(
            "{:>8} {:>9} {:>7} {:>8} {:>9} {:>5} {:>7} {:>9} {:>5}",
            self.sent,
            self.delivered,
            self.failed,
            self.possibly_written,
            self.not_taken,
            self.lost,
            self.doubled,
            self.reordered,
            self.wrong,
        )
    }
}

/// For each window the longest span in which a stream that never pauses heard of no delivery, most of which was in it; in seconds.
fn stalls(streams: &[Stream], windows: &[Window]) -> Vec<f64> {
    let mut stalls = vec![0.0_f64; windows.len()];
    for stream in streams.iter().filter(|stream| stream.plan.name != "seldom") {
        let delivered = |sent: &Sent| match sent.outcomes[..] {
            [(Outcome::Delivered { .. }, heard)] => Some(heard),
            _ => None,
        };
        let mut heard: Vec<Instant> = stream.sent.iter().filter_map(delivered).collect();
        heard.sort();
        for pair in heard.windows(2) {
            let first = windows.partition_point(|window| window.began <= pair[0]).saturating_sub(1);
            let last = windows.partition_point(|window| window.began <= pair[1]).saturating_sub(1);
            let within = |at: &usize| {
                let end = windows.get(at + 1).map_or(pair[1], |next| next.began.min(pair[1]));
                end - windows[*at].began.max(pair[0])
            };
            let at = (first..=last).max_by_key(within).unwrap_or(first);
            stalls[at] = stalls[at].max((pair[1] - pair[0]).as_secs_f64());
        }
    }
    stalls
}
