//! What is wrong and was said to be: so that the log says it once, then once a minute with a count, and says when it is over.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::memory;
use crate::planted::planted;
use crate::time::Instant;
use crate::why::Span;

/// How often the same is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// What comes back sooner after it was over is the same trouble: it comes and goes. So long it has to last to be said again.
const QUIET: Duration = Duration::from_secs(10);

/// How many troubles with topics are kept apart, and as many others. One that is over, or was quiet for a minute, makes room; if
/// there is none, only the number of further ones is said.
const MOST: usize = 64;

/// What a trouble is with. Numbers are indices of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Connections to a server, by its serial number: places in tables are used again.
    Server(u32),
    /// A pause that a server asked for, by the same.
    Pause(u32),
    /// A topic, of which metadata tell this error.
    Topic(u32, i16),
    /// Records of a topic, which are answered so and sent again.
    Answers(u32, i16),
    /// Records of a topic that failed.
    Failures(u32),
    /// Records of a topic that were refused for what they are: others get through meanwhile, so that is never over.
    Refused(u32),
    /// Records of a topic that are sent again without an answer, and so old that a broker may not know that it has them.
    Aged(u32),
    /// No broker gives a producer id.
    ProducerId,
    /// Nobody lets this client in.
    Access,
}

impl Subject {
    const fn is_of_topic(self) -> bool {
        matches!(self, Self::Topic(..) | Self::Answers(..) | Self::Failures(_) | Self::Refused(_) | Self::Aged(_))
    }
}

#[derive(Debug)]
struct Alarm {
    subject: Subject,
    /// Where it happened last, such as a partition: what goes well elsewhere does not end it.
    place: u32,
    since: Instant,
    last: Instant,
    /// When it was last said, if it was.
    said: Option<Instant>,
    /// It was said since it was last said to be over.
    open: bool,
    /// Since when it is over.
    over: Option<Instant>,
    /// When it came back, after it was over.
    back: Instant,
    count: u64,
}

/// What is wrong now, as far as the log knows.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    raised: Vec<Alarm>,
    /// How many of them are not over.
    active: usize,
    /// How often something happened for which there was no room, since that was last said, and when it was.
    others: (u64, Option<Instant>),
}

/// What is to be added to a line: nothing the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    count: u64,
    lasts: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, " ({count} times in {})", Span(self.lasts)),
        }
    }
}

impl Alarms {
    /// It happened. What to say, if it is time to say something.
    pub(crate) fn raise(&mut self, now: Instant, subject: Subject) -> Option<Tally> {
        self.raise_after(Duration::ZERO, now, subject, 0)
    }

    /// The same, at a place.
    pub(crate) fn raise_at(&mut self, now: Instant, subject: Subject, place: u32) -> Option<Tally> {
        self.raise_after(Duration::ZERO, now, subject, place)
    }

    /// It happened, which is no trouble before it has lasted for so long.
    pub(crate) fn raise_after(
        &mut self,
        patience: Duration,
        now: Instant,
        subject: Subject,
        place: u32,
    ) -> Option<Tally> {
        self.raised.retain(|alarm| alarm.over.is_none_or(|over| now.saturating_since(over) < QUIET));
        let tally = match self.raised.iter().position(|alarm| alarm.subject == subject) {
            Some(known) => self.raised[known].again(patience, now, place),
            None if self.has_room(now, subject) => {
                let open = patience.is_zero();
                let said = open.then_some(now);
                let alarm =
                    Alarm { subject, place, since: now, last: now, said, open, over: None, back: now, count: 1 };
                memory::push(&mut self.raised, alarm);
                said.map(|_| Tally { count: 1, lasts: Duration::ZERO })
            }
            None => {
                self.count_other(now);
                None
            }
        };
        self.count_active();
        tally
    }

    /// Whether there is room for another one; what can be forgotten makes it.
    fn has_room(&mut self, now: Instant, subject: Subject) -> bool {
        let same = |alarm: &Alarm| alarm.subject.is_of_topic() == subject.is_of_topic();
        if self.raised.iter().filter(|alarm| same(alarm)).count() < MOST {
            return true;
        }
        let of_kind = (0..self.raised.len()).filter(|at| same(&self.raised[*at]));
        let quietest = of_kind.min_by_key(|at| (self.raised[*at].over.is_none(), self.raised[*at].last));
        let is_quiet = |alarm: &Alarm| alarm.over.is_some() || now.saturating_since(alarm.last) >= AGAIN;
        match quietest.filter(|at| is_quiet(&self.raised[*at])) {
            Some(at) => drop(self.raised.swap_remove(at)),
            None => return planted("alarms-without-bound"),
        }
        true
    }

    fn count_other(&mut self, now: Instant) {
        let (count, said) = &mut self.others;
        *count += 1;
        if said.is_none_or(|said| now.saturating_since(said) >= AGAIN) {
            *said = Some(now);
            log::warn!("more is wrong than is told one by one: {} times besides", core::mem::take(count));
        }
    }

    /// It went well at this place. What is over of that, if that is to be said: for how long it has lasted.
    pub(crate) fn lower(&mut self, now: Instant, is_over: impl Fn(Subject, u32) -> bool) -> Option<Span> {
        let mut since: Option<Instant> = None;
        self.raised.retain_mut(|alarm| {
            if alarm.over.is_some() || !is_over(alarm.subject, alarm.place) {
                return true;
            }
            alarm.over = Some(now);
            if core::mem::take(&mut alarm.open) {
                since = Some(since.map_or(alarm.since, |before| before.min(alarm.since)));
            }
            alarm.said.is_some() && !planted("flapping-is-news")
        });
        self.count_active();
        Some(Span(now.saturating_since(since?)))
    }

    fn count_active(&mut self) {
        self.active = self.raised.iter().filter(|alarm| alarm.over.is_none()).count();
    }

    /// Nothing is wrong.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.active == 0
    }
}

impl Alarm {
    /// It happened again.
    fn again(&mut self, patience: Duration, now: Instant, place: u32) -> Option<Tally> {
        (self.last, self.place) = (now, place);
        self.count += 1;
        if self.over.take().is_some() {
            self.back = now;
        }
        let lasts = now.saturating_since(self.since);
        let due = match self.said {
            None => lasts >= patience,
            Some(said) => now.saturating_since(said) >= AGAIN || !self.open && now.saturating_since(self.back) >= QUIET,
        };
        if !due {
            return None;
        }
        (self.said, self.open) = (Some(now), true);
        Some(Tally { count: self.count, lasts })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_is_said_once_and_then_once_a_minute_with_a_count() {
        let mut alarms = Alarms::default();
        let mut said = Vec::new();
        for second in 0..150 {
            let now = Instant::ZERO + SECOND * second;
            said.extend(alarms.raise(now, Subject::Server(3)).map(|tally| (second, tally.to_string())));
        }
        let expected = [(0, ""), (60, " (61 times in 60 s)"), (120, " (121 times in 2 min)")];
        assert_eq!(said, expected.map(|(second, words)| (second, words.to_string())));
        let over = alarms.lower(Instant::ZERO + SECOND * 150, |subject, _| subject == Subject::Server(3));
        assert_eq!(over.map(|span| span.to_string()).as_deref(), Some("2 min"));
        assert!(alarms.is_empty());
    }

    #[test]
    fn what_is_over_before_it_was_a_trouble_is_never_said() {
        let mut alarms = Alarms::default();
        let topic = Subject::Topic(1, 5);
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO, topic, 0), None);
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO + SECOND, topic, 0), None);
        assert!(alarms.lower(Instant::ZERO + SECOND, |subject, _| subject == topic).is_none() && alarms.is_empty());
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO, topic, 0), None);
        let tally = alarms.raise_after(SECOND * 2, Instant::ZERO + SECOND * 3, topic, 0);
        assert_eq!(tally.map(|tally| tally.to_string()).as_deref(), Some(" (2 times in 3 s)"));
        assert!(alarms.lower(Instant::ZERO + SECOND * 4, |subject, _| subject == topic).is_some());
    }

    #[test]
    fn what_comes_and_goes_is_said_once_a_minute_and_what_stays_after_a_while() {
        let (mut alarms, subject) = (Alarms::default(), Subject::Server(3));
        let at = |second| Instant::ZERO + SECOND * second;
        let mut said = Vec::new();
        for second in 0..65 {
            said.extend(alarms.raise(at(second), subject).map(|_| (second, true)));
            let over = alarms.lower(at(second), |_, place| place == 0);
            said.extend(over.map(|_| (second, false)));
        }
        assert_eq!(said, [(0, true), (0, false), (60, true), (60, false)]);
        // It was over, and is back to stay.
        let first = (65..100).find(|second| alarms.raise(at(*second), subject).is_some());
        assert_eq!(first, Some(75));
        assert!(alarms.lower(at(100), |_, _| true).is_some());
        assert!(alarms.is_empty());
        // After a while it is another one.
        let tally = alarms.raise(at(111), subject);
        assert_eq!(tally, Some(Tally { count: 1, lasts: Duration::ZERO }));
        assert!(alarms.lower(at(112), |_, place| place == 1).is_none(), "that was elsewhere");
        assert!(!alarms.is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let mut alarms = Alarms::default();
        let at = |topic: u32| Instant::from_millis(u64::from(topic));
        let said = (0..1000).filter(|topic| alarms.raise(at(*topic), Subject::Failures(*topic)).is_some()).count();
        assert_eq!((said, alarms.raised.len()), (MOST, MOST));
        assert!(alarms.raise(at(1000), Subject::Server(0)).is_some(), "that is of another kind");
        assert!(alarms.raise(at(100_000), Subject::Failures(5000)).is_some(), "those before are quiet by now");
        assert_eq!(alarms.raised.len(), MOST + 1);
    }
}
