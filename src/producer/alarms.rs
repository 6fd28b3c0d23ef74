//! What is wrong and was said to be: so that the log says it once, then once a minute with a count, and says when it is over.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::memory;
use crate::time::Instant;
use crate::why::Span;

/// How often the same is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// How many troubles are kept apart; the one that was quiet for the longest makes room.
const MOST: usize = 64;

/// What a trouble is with. Numbers are indices of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Connections to a server.
    Server(u32),
    /// A pause that a server asked for.
    Pause(u32),
    /// A topic, of which metadata tell this error.
    Topic(u32, i16),
    /// Records of a topic, which are answered so and sent again.
    Answers(u32, i16),
    /// Records of a topic that failed.
    Failures(u32),
    /// No broker gives a producer id.
    ProducerId,
    /// Nobody lets this client in.
    Access,
}

#[derive(Debug)]
struct Alarm {
    subject: Subject,
    since: Instant,
    last: Instant,
    /// When it was last said, if it was.
    said: Option<Instant>,
    count: u64,
}

/// What is wrong now, as far as the log knows.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    raised: Vec<Alarm>,
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
        self.raise_after(Duration::ZERO, now, subject)
    }

    /// It happened, which is no trouble before it has lasted for so long.
    pub(crate) fn raise_after(&mut self, patience: Duration, now: Instant, subject: Subject) -> Option<Tally> {
        if let Some(alarm) = self.raised.iter_mut().find(|alarm| alarm.subject == subject) {
            alarm.count += 1;
            alarm.last = now;
            let lasts = now.saturating_since(alarm.since);
            let due = match alarm.said {
                Some(said) => now.saturating_since(said) >= AGAIN,
                None => lasts >= patience,
            };
            if !due {
                return None;
            }
            alarm.said = Some(now);
            return Some(Tally { count: alarm.count, lasts });
        }
        if self.raised.len() >= MOST {
            let quiet = (0..self.raised.len()).min_by_key(|place| self.raised[*place].last);
            quiet.map(|place| self.raised.swap_remove(place));
        }
        let said = patience.is_zero().then_some(now);
        memory::push(&mut self.raised, Alarm { subject, since: now, last: now, said, count: 1 });
        said.map(|_| Tally { count: 1, lasts: Duration::ZERO })
    }

    /// What is over of that, if it was said: for how long it has lasted.
    pub(crate) fn lower(&mut self, now: Instant, is_over: impl Fn(Subject) -> bool) -> Option<Span> {
        let said = self.raised.iter().filter(|alarm| is_over(alarm.subject) && alarm.said.is_some());
        let since = said.map(|alarm| alarm.since).min();
        self.raised.retain(|alarm| !is_over(alarm.subject));
        Some(Span(now.saturating_since(since?)))
    }

    /// Nothing is wrong.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.raised.is_empty()
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
        let over = alarms.lower(Instant::ZERO + SECOND * 150, |subject| subject == Subject::Server(3));
        assert_eq!(over.map(|span| span.to_string()).as_deref(), Some("2 min"));
        assert!(alarms.is_empty());
    }

    #[test]
    fn what_is_over_before_it_was_a_trouble_is_never_said() {
        let mut alarms = Alarms::default();
        let topic = Subject::Topic(1, 5);
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO, topic), None);
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO + SECOND, topic), None);
        assert!(alarms.lower(Instant::ZERO + SECOND, |subject| subject == topic).is_none() && alarms.is_empty());
        assert_eq!(alarms.raise_after(SECOND * 2, Instant::ZERO, topic), None);
        let tally = alarms.raise_after(SECOND * 2, Instant::ZERO + SECOND * 3, topic);
        assert_eq!(tally.map(|tally| tally.to_string()).as_deref(), Some(" (2 times in 3 s)"));
        assert!(alarms.lower(Instant::ZERO + SECOND * 4, |subject| subject == topic).is_some());
    }

    #[test]
    fn there_is_a_bound() {
        let mut alarms = Alarms::default();
        for topic in 0..1000 {
            assert!(alarms.raise(Instant::from_millis(u64::from(topic)), Subject::Failures(topic)).is_some());
        }
        assert_eq!(alarms.raised.len(), MOST);
    }
}
