//! How many requests may be unanswered on a connection: as many as pay, and never more than
//! `max.in.flight.requests.per.connection`.
//!
//! Kafka serves the requests of a connection one at a time, and each until its replicas have it. What is beyond the way there
//! and back only waits at the broker behind what was sent before, and the records in it wait with it; held back, it grows
//! into larger batches. So two times are compared, as they are seen here: from one answer to the next where the next request was at
//! the broker already (the service), and where it was not (a cycle: the service, the way, and what is done here in between). If a
//! cycle is `service + rest`, a broker is kept busy by `1 + rest / service` requests. As in BBR and Vegas, each is looked for now
//! and then on purpose, for traffic shows only one of them.

use core::time::Duration;

use crate::planted::planted;
use crate::time::Instant;

/// How many of the last samples are kept.
const SERVICES: usize = 8;
const CYCLES: usize = 4;

/// How many are looked at each time when they are looked for: so many that what was known before counts no more.
const LOOKS_AT_CYCLES: usize = CYCLES / 4 + 1;
const LOOKS_AT_SERVICES: usize = SERVICES / 4 + 1;

/// What stands for no time at all, in microseconds: it is divided by.
const NO_TIME: u64 = 1;

/// Answers between changes, at least.
const ROUND: usize = 4;

/// A broker may be idle for this part of the time, in hundredths, before another request pays.
const IDLE: u64 = 10;

/// How often what traffic does not show is looked for: soon at first, then ever less often.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(16);

/// The window of one connection.
#[derive(Debug)]
pub(crate) struct Window {
    most: usize,
    /// Whether it follows what the broker does, or is always as large as it may be.
    follows: bool,
    size: usize,
    /// What is looked for now.
    look: Look,
    next_look: Option<Instant>,
    patience: Duration,
    /// In microseconds, the newest last.
    services: Samples<SERVICES>,
    cycles: Samples<CYCLES>,
    /// Round trips of requests that nothing was in front of.
    alone: Samples<CYCLES>,
    /// The service on average, in microseconds.
    service: u64,
    /// Something waited for the window when the last answer came.
    waited: bool,
    answers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    No,
    /// So many cycles: the next requests go alone.
    Cycles(usize),
    /// So many services: two requests go together.
    Services(usize),
}

/// An answer to a Produce request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) now: Instant,
    /// When the request was written.
    pub(crate) written: Instant,
    /// When the answer before came.
    pub(crate) previous: Instant,
    /// How many requests were unanswered, this one among them.
    pub(crate) unanswered: usize,
}

#[derive(Debug)]
struct Samples<const N: usize> {
    last: [u32; N],
    count: usize,
}

impl<const N: usize> Samples<N> {
    const NONE: Self = Self { last: [0; N], count: 0 };

    fn note(&mut self, micros: u64) {
        self.last[self.count % N] = u32::try_from(micros).unwrap_or(u32::MAX);
        self.count += 1;
    }

    /// The smallest but so many, if there are any.
    fn low(&self, but: usize) -> Option<u64> {
        let mut sorted = self.last;
        let known = &mut sorted[..self.count.min(N)];
        for place in 1..known.len() {
            let mut at = place;
            while at > 0 && known[at - 1] > known[at] {
                known.swap(at - 1, at);
                at -= 1;
            }
        }
        known.get(but.min(known.len().saturating_sub(1))).map(|micros| u64::from(*micros))
    }
}

impl Window {
    pub(crate) const fn new(most: usize, follows: bool) -> Self {
        Self {
            most,
            follows: follows && most > 1,
            size: most,
            look: Look::No,
            next_look: None,
            patience: FIRST_LOOK,
            services: Samples::NONE,
            cycles: Samples::NONE,
            alone: Samples::NONE,
            service: 0,
            waited: false,
            answers: 0,
        }
    }

    /// How many requests may be unanswered now.
    pub(crate) fn limit(&self) -> usize {
        match self.look {
            Look::Cycles(_) => 1,
            Look::Services(_) => self.size.max(2),
            Look::No => self.size,
        }
    }

    /// A Produce request was answered. `waiting`: whether something waits to be sent.
    pub(crate) fn answered(&mut self, answer: Answer, waiting: bool) {
        if !self.follows {
            return;
        }
        let Answer { now, written, previous, unanswered } = answer;
        let together = written < previous;
        let since_previous = (now.saturating_since(previous).as_micros() as u64).max(NO_TIME);
        // It was there for twice as long as it would have taken alone, and something before it was still not answered. (Once as long
        // it seems to be where answers are read late, because much is done here.)
        let micros = |span: Duration| span.as_micros() as u64;
        let in_vain = micros(previous.saturating_since(written));
        let queued = together && self.alone.low(0).is_some_and(|alone| in_vain >= 2 * alone);
        if together {
            self.services.note(since_previous);
            if let Look::Services(more) = self.look {
                self.look = if more > 1 { Look::Services(more - 1) } else { Look::No };
            }
        } else {
            self.alone.note(micros(now.saturating_since(written)).max(NO_TIME));
            if self.waited {
                self.cycles.note(since_previous);
            }
            if let Look::Cycles(more) = self.look {
                self.look = if more > 1 { Look::Cycles(more - 1) } else { Look::No };
            }
        }
        let sample = if together {
            Some(since_previous)
        } else {
            self.rest().map(|rest| since_previous.saturating_sub(rest).max(NO_TIME))
        };
        // Only where something waits, here for the window or at the broker for its turn, a change makes a difference.
        let held_back = waiting && unanswered >= self.limit();
        if let Some(sample) = sample.filter(|_| held_back && self.waited || queued) {
            self.service = if self.service == 0 { sample } else { (7 * self.service + sample) / 8 };
            self.adjust();
        } else {
            self.answers = 0; // a queue that comes and goes is none to be rid of
        }
        self.waited = held_back;
        if held_back || queued {
            self.look_again(now);
        } else if self.look == Look::No && (self.size > 1 || planted("bursts-are-never-looked-at")) {
            self.next_look = None; // a burst does not begin with few requests to look at cycles
        }
    }

    /// What is not the broker's service in a cycle, in microseconds.
    fn rest(&self) -> Option<u64> {
        // A quarter of the services: where the way is long, one in each round is not the service but the rest of the way.
        Some(self.cycle()?.saturating_sub(self.low_service()?))
    }

    /// What is done here in between is seen only where something waited.
    fn cycle(&self) -> Option<u64> {
        self.cycles.low(CYCLES / 4).or(self.alone.low(CYCLES / 4))
    }

    fn low_service(&self) -> Option<u64> {
        self.services.low(SERVICES / 4)
    }

    fn adjust(&mut self) {
        self.answers += 1;
        if self.look != Look::No || self.answers < self.size.max(ROUND) {
            return;
        }
        self.answers = 0;
        let (Some(rest), Some(low)) = (self.rest(), self.low_service()) else { return };
        // On average a broker that waits for requests seems slower than it is; so the average alone would keep a small window small.
        let service = (self.service + low) / 2;
        let pays = 1 + rest.saturating_sub(service * IDLE / 100).div_ceil(service.max(1));
        let mut pays = usize::try_from(pays).unwrap_or(usize::MAX).min(self.most);
        // A cycle takes time. Where none is seen, the clock is too coarse for it, or stands still, and tells nothing of a service.
        if self.cycle() == Some(NO_TIME) && !planted("coarse-clock-shrinks") {
            pays = self.most;
        }
        if pays > self.size {
            self.size += 1;
        } else if pays < self.size && !planted("window-never-shrinks") {
            self.size -= 1;
        }
    }

    /// Looks for what traffic does not show, if it is time for that.
    fn look_again(&mut self, now: Instant) {
        if self.services_are_over() && !planted("services-of-old-count") {
            self.patience = FIRST_LOOK;
            self.next_look = self.next_look.map(|at| at.min(now + FIRST_LOOK));
        }
        let at = *self.next_look.get_or_insert(now + self.patience);
        if self.look == Look::No && at <= now {
            let services = Look::Services(LOOKS_AT_SERVICES);
            self.look = if self.size > 1 { Look::Cycles(LOOKS_AT_CYCLES) } else { services };
            self.patience = (self.patience * 2).min(LAST_LOOK);
            self.next_look = Some(now + self.patience);
        }
    }

    /// With one in flight no service is seen; but each is part of a cycle, so they are shorter by now if cycles are.
    fn services_are_over(&self) -> bool {
        self.size == 1 && matches!((self.cycle(), self.low_service()), (Some(cycle), Some(service)) if cycle < service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;

    /// A broker and the way to it, in microseconds, with something to send all the time.
    #[derive(Clone, Copy)]
    struct World {
        way: u64,
        /// The service of the n-th request.
        service: fn(u64) -> u64,
        /// What is done here before a request leaves.
        work: u64,
        /// How coarse the clock is here.
        tick: u64,
    }

    struct Seen {
        /// Requests on the way at the end, on average over the last half.
        size: f64,
        /// Requests a second, over the last half.
        rate: f64,
    }

    impl World {
        fn run(&self, mut window: Window, requests: u64) -> Seen {
            let mut unanswered: VecDeque<(u64, u64)> = VecDeque::new(); // written, answered
            let (mut now, mut previous, mut broker_free, mut sent) = (0, 0, 0, 0);
            let (mut sizes, mut half_at) = (Vec::new(), 0);
            for n in 0..requests {
                while unanswered.len() < window.limit() {
                    now += self.work;
                    let begins = broker_free.max(now + self.way / 2);
                    broker_free = begins + (self.service)(sent);
                    unanswered.push_back((now, broker_free + self.way / 2));
                    sent += 1;
                    // What comes meanwhile is answered first.
                    if unanswered[0].1 <= now {
                        break;
                    }
                }
                let count = unanswered.len();
                let (written, answered) = unanswered.pop_front().expect("at least one");
                now = now.max(answered);
                let at = |micros: u64| Instant::from_nanos(micros / self.tick * self.tick * 1000);
                let (written, last) = (at(written), at(previous));
                window.answered(Answer { now: at(now), written, previous: last, unanswered: count }, true);
                previous = now;
                if n == requests / 2 {
                    half_at = now;
                }
                if n > requests / 2 {
                    sizes.push(window.size as f64);
                }
            }
            let rate = sizes.len() as f64 * 1e6 / (now - half_at) as f64;
            Seen { size: sizes.iter().sum::<f64>() / sizes.len() as f64, rate }
        }
    }

    const STEADY: [fn(u64) -> u64; 3] = [|_| 500, |_| 5_000, |_| 20_000];
    /// The same on average, but now and then much longer.
    const ROUGH: [fn(u64) -> u64; 3] = [
        |n| [200, 300, 100, 1_900, 400, 100][n as usize % 6],
        |n| [2_000, 3_000, 1_000, 19_000, 4_000, 1_000][n as usize % 6],
        |n| [8_000, 12_000, 4_000, 76_000, 16_000, 4_000][n as usize % 6],
    ];

    #[test]
    fn as_many_as_pay() {
        std::println!("{:>8} {:>8} {:>6} {:>6} {:>9} {:>9}", "service", "way", "work", "size", "requests", "with 5");
        for (place, service, rough) in [
            (0, 500, false),
            (1, 5_000, false),
            (2, 20_000, false),
            (0, 500, true),
            (1, 5_000, true),
            (2, 20_000, true),
        ] {
            for way in [50, 1_000, 10_000, 100_000] {
                for work in [0, 2_000] {
                    let world = World { way, service: if rough { ROUGH[place] } else { STEADY[place] }, work, tick: 1 };
                    let (follows, fixed) =
                        (world.run(Window::new(5, true), 20_000), world.run(Window::new(5, false), 20_000));
                    let (size, all) = (follows.size, follows.rate / fixed.rate);
                    std::println!("{service:>8} {way:>8} {work:>6} {size:>6.2} {:>9.1} {all:>9.3}", follows.rate);
                    let needed = 1.0 + (way + work) as f64 / service as f64;
                    assert!(all > 0.8, "{service}, {way}, {work}, {rough}: {all} of what five do");
                    let slack = if rough { 2.1 } else { 1.05 };
                    assert!(size <= needed.ceil() * slack, "{service}, {way}, {work}, {rough}: {size}");
                }
            }
        }
    }

    #[test]
    fn it_follows_a_broker_that_changes() {
        // Slow as long as it is new, then fast; far away.
        let world = World { way: 20_000, service: |n| if n < 2_000 { 100_000 } else { 1_000 }, work: 0, tick: 1 };
        let mut window = Window::new(5, true);
        let early = World { ..world }.run(core::mem::replace(&mut window, Window::new(5, true)), 2_000);
        assert!(early.size < 2.1, "{}", early.size);
        let late = world.run(window, 40_000);
        assert!(late.size > 4.5, "{}", late.size);
    }

    /// So many requests at once, and nothing else on the way. Returns when the last is answered.
    fn burst(window: &mut Window, begins: u64, requests: usize, (way, service): (u64, u64)) -> u64 {
        let at = |micros: u64| Instant::from_nanos(micros * 1000);
        let (mut now, mut previous, mut broker_free, mut left) = (begins, 0, 0, requests);
        let mut unanswered: VecDeque<(u64, u64)> = VecDeque::new(); // written, answered
        loop {
            while unanswered.len() < window.limit() && left > 0 {
                broker_free = broker_free.max(now + way / 2) + service;
                unanswered.push_back((now, broker_free + way / 2));
                left -= 1;
            }
            let count = unanswered.len();
            let Some((written, answered)) = unanswered.pop_front() else { return now };
            now = answered;
            let (written, last) = (at(written), at(previous));
            window.answered(Answer { now: at(now), written, previous: last, unanswered: count }, left > 0);
            previous = now;
        }
    }

    #[test]
    fn bursts_are_as_quick_as_ever_after_a_slow_time() {
        let mut window = Window::new(5, true);
        let mut begins = burst(&mut window, 0, 200, (2_000, 100_000));
        assert_eq!(window.size, 1);
        let mut takes = 0;
        for _ in 0..60 {
            begins += 500_000;
            takes = burst(&mut window, begins, 20, (2_000, 2_000)) - begins;
        }
        let best = burst(&mut Window::new(5, false), 0, 20, (2_000, 2_000));
        assert!(takes <= best * 11 / 10, "{takes} in place of {best}");
    }

    #[test]
    fn one_in_flight_is_soon_more_where_the_broker_is_fast_again() {
        for slow in (100..220).step_by(10) {
            let mut window = Window::new(5, true);
            let begins = burst(&mut window, 0, slow, (20_000, 400_000));
            assert_eq!(window.size, 1);
            let takes = burst(&mut window, begins, 1500, (20_000, 2_000)) - begins;
            let best = burst(&mut Window::new(5, false), 0, 1500, (20_000, 2_000));
            assert!(takes <= best * 3 / 2, "{slow}: {takes} in place of {best}");
        }
    }

    #[test]
    fn a_clock_that_is_too_coarse_takes_nothing_away() {
        std::println!("{:>10} {:>8} {:>8} {:>6} {:>9}", "tick", "service", "way", "size", "with 5");
        for tick in [10_000, 1_000_000_000] {
            for service in [|_| 100, |_| 1_000] as [fn(u64) -> u64; 2] {
                for way in [200, 1_000, 3_000] {
                    let world = World { way, service, work: 0, tick };
                    let (follows, fixed) =
                        (world.run(Window::new(5, true), 20_000), world.run(Window::new(5, false), 20_000));
                    let all = follows.rate / fixed.rate;
                    std::println!("{tick:>10} {:>8} {way:>8} {:>6.2} {all:>9.3}", service(0), follows.size);
                    assert!(all > 0.9, "{tick}, {}, {way}: {all} of what five do", service(0));
                }
            }
        }
    }

    #[test]
    fn one_stays_one_and_fixed_stays_fixed() {
        let world = World { way: 50, service: |_| 20_000, work: 0, tick: 1 };
        assert!((world.run(Window::new(1, true), 1000).size - 1.0).abs() < 0.01);
        assert!((world.run(Window::new(5, false), 1000).size - 5.0).abs() < 0.01);
    }

    #[test]
    fn who_is_never_held_back_keeps_all_of_it() {
        let mut window = Window::new(5, true);
        for n in 0..1000_u64 {
            let at = |micros: u64| Instant::from_nanos(micros * 1000);
            let now = n * 50_000 + 30_000;
            let previous = at((now).saturating_sub(50_000));
            window.answered(Answer { now: at(now), written: at(n * 50_000), previous, unanswered: 1 }, false);
            assert_eq!(window.limit(), 5);
        }
    }
}
