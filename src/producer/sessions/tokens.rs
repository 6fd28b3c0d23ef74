//! The token of OAUTHBEARER: which one is at hand, when another is asked for, and how often.

use alloc::string::{String, ToString};
use core::time::Duration;

use crate::connection::sasl::oauth::Token;
use crate::planted::planted;
use crate::producer::random::Random;
use crate::time::Instant;

/// The part of a token's life, in hundredths, after which another is asked for: from 80 to 85, as Java
/// (`sasl.login.refresh.window.factor` and `.jitter`).
const PART: (u64, u32) = (80, 6);

/// Java's `sasl.login.refresh.min.period.seconds` and `.buffer.seconds`: a token is not refreshed sooner than that after it
/// came, nor later than that before its end; unless its life is too short for both.
const MIN_PERIOD: Duration = Duration::from_secs(60);
const BUFFER: Duration = Duration::from_secs(300);

/// From one call of the provider to the next, at least; doubled after each failure, up to the second of these.
const FLOOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What is known of tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    current: Option<Token>,
    /// When it may no longer be used.
    ends: Option<Instant>,
    /// When another is to be asked for.
    refresh_at: Option<Instant>,
    /// The host was asked for one, and has until then.
    asked_until: Option<Instant>,
    /// Not to be asked again before.
    not_before: Option<Instant>,
    failures: u32,
    /// A connection can't go on without one.
    pub(crate) wanted: bool,
    /// Why there is none; `None` after a success.
    pub(crate) trouble: Option<String>,
}

impl Tokens {
    /// The token at hand, while it is good.
    pub(crate) fn usable(&self, now: Instant) -> Option<&Token> {
        self.current.as_ref().filter(|_| self.ends.is_none_or(|ends| ends > now))
    }

    /// A server did not take the token.
    pub(crate) fn refused(&mut self) {
        self.current = None;
    }

    /// Another provider gives tokens: nothing that is known counts.
    pub(crate) fn renewed(&mut self) {
        *self = Self { wanted: self.wanted, ..Self::default() };
    }

    /// When to ask next; `None` if there is no need. `in_use`: there are connections.
    pub(crate) fn next(&self, in_use: bool) -> Option<Instant> {
        let due = if self.wanted { Some(Instant::ZERO) } else { self.refresh_at.filter(|_| in_use) };
        let earliest = [self.not_before, self.asked_until].into_iter().flatten().max();
        Some(due?.max(earliest.unwrap_or(Instant::ZERO)))
    }

    /// Whether it is time to ask: then it counts as asked, and has `patience`.
    pub(crate) fn begin(&mut self, now: Instant, in_use: bool, patience: Duration) -> bool {
        if self.next(in_use).is_none_or(|at| at > now) {
            return false;
        }
        self.asked_until = Some(now + patience);
        (self.wanted, self.refresh_at) = (false, None);
        true
    }

    /// The host has answered.
    ///
    /// # Errors
    /// Why there is no token: another attempt is due after a while, if anybody still needs one.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        token: Result<Token, String>,
        random: &mut Random,
    ) -> Result<(), String> {
        (self.asked_until, self.wanted) = (None, false); // whoever waits is told now
        let token = token.and_then(|token| match token.lifetime {
            Some(lifetime) if lifetime.is_zero() && !planted("token-without-backoff") => {
                Err("the TokenProvider gave one that is over already".to_string())
            }
            _ => Ok(token),
        });
        match token {
            Ok(token) => {
                (self.failures, self.trouble) = (0, None);
                self.not_before = (!planted("token-without-backoff")).then_some(now + FLOOR.0);
                self.ends = token.lifetime.map(|lifetime| now + lifetime);
                self.refresh_at = token.lifetime.map(|lifetime| now + refresh_after(lifetime, random));
                self.current = Some(token);
                Ok(())
            }
            Err(words) => {
                let words = alloc::format!("no token: {words}");
                let pause = (FLOOR.0 * (1 << self.failures.min(8))).min(FLOOR.1);
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(now + pause);
                self.refresh_at = self.usable(now).is_some().then_some(now + pause);
                self.trouble = Some(words.clone());
                Err(words)
            }
        }
    }
}

/// After which part of a token's life another is asked for, as Java's `ExpiringCredentialRefreshingLogin`.
fn refresh_after(lifetime: Duration, random: &mut Random) -> Duration {
    let part = PART.0 + u64::from(random.below(PART.1));
    let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
    let proposed = Duration::from_millis(millis.saturating_mul(part) / 100).max(FLOOR.0.min(lifetime));
    if lifetime < MIN_PERIOD + BUFFER {
        return proposed;
    }
    proposed.min(lifetime - BUFFER).max(MIN_PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn token(seconds: u64) -> Result<Token, String> {
        Ok(Token::new("a.b.c", Some(Duration::from_secs(seconds))))
    }

    fn random() -> Random {
        Random::new([7; 32])
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_token_is_refreshed_in_its_last_fifth_and_never_twice_at_once() {
        let (mut tokens, mut random) = (Tokens::default(), random());
        tokens.wanted = true;
        assert!(tokens.begin(at(0), true, PATIENCE));
        tokens.wanted = true;
        assert!(!tokens.begin(at(1), true, PATIENCE), "a call is out");
        tokens.answered(at(1), token(100), &mut random).expect("a token");
        tokens.wanted = false;
        let next = tokens.next(true).expect("a refresh");
        assert!((at(81)..=at(87)).contains(&next), "{next:?}");
        assert_eq!(tokens.next(false), None, "nobody needs it");
    }

    #[test]
    fn a_provider_is_not_asked_faster_than_the_floor_however_short_tokens_live() {
        let (mut tokens, mut random) = (Tokens::default(), random());
        let mut asked = 0;
        for millis in 0..60_000 {
            let now = Instant::from_millis(millis);
            tokens.wanted |= tokens.usable(now).is_none();
            if tokens.begin(now, true, PATIENCE) {
                asked += 1;
                tokens.answered(now, Ok(Token::new("t", Some(Duration::from_millis(1)))), &mut random).ok();
            }
        }
        assert!((55..=61).contains(&asked), "{asked} times in a minute");
    }

    #[test]
    fn a_token_that_is_over_is_an_error_and_attempts_get_rarer() {
        let (mut tokens, mut random) = (Tokens::default(), random());
        let mut asked = 0;
        for millis in 0..60_000 {
            tokens.wanted = true;
            if tokens.begin(Instant::from_millis(millis), true, PATIENCE) {
                asked += 1;
                let error = tokens.answered(Instant::from_millis(millis), token(0), &mut random).expect_err("over");
                assert!(error.contains("over already"), "{error}");
            }
        }
        assert!((8..=10).contains(&asked), "{asked} times in a minute");
    }

    #[test]
    fn a_refresh_that_failed_is_tried_again_before_the_token_ends() {
        let (mut tokens, mut random) = (Tokens::default(), random());
        tokens.wanted = true;
        tokens.begin(at(0), true, PATIENCE);
        tokens.answered(at(0), token(100), &mut random).expect("a token");
        let refresh = tokens.next(true).expect("a refresh");
        assert!(tokens.begin(refresh, true, PATIENCE));
        tokens.answered(refresh, Err("no".into()), &mut random).expect_err("none");
        assert!(tokens.usable(refresh).is_some(), "the old one is still good");
        assert_eq!(tokens.next(true), Some(refresh + FLOOR.0));
    }

    #[test]
    fn long_lives_keep_javas_distances_from_both_ends() {
        let mut random = random();
        for _ in 0..100 {
            let after = refresh_after(Duration::from_secs(400), &mut random);
            assert_eq!(after, Duration::from_secs(100), "five minutes before its end");
            let after = refresh_after(Duration::from_secs(361), &mut random);
            assert_eq!(after, Duration::from_secs(61));
            let after = refresh_after(Duration::from_secs(3600), &mut random);
            assert!((2880..=3060).contains(&after.as_secs()), "{after:?}");
        }
    }
}
