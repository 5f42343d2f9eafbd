//! So many faces for one document: nobody tries a stolen one until somebody is like enough.
//!
//! Failures are counted under a keyed hash of the portrait as the reader gave it. The key is made at
//! the start and kept nowhere else, so what is in memory tells nobody whose document it was, and nothing
//! of it is ever on the disk; a restart forgets it, which is the price. A chip's portrait is the same bytes
//! each time. A scanner's picture is not: there the limit counts only what is sent again unchanged, and the
//! rate that the site set for one comparison is what holds.
//!
//! Each attempt counts as failed from its beginning, so that several at once do not slip through.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::{Clock, Culprit, Error, Kind, Result};
use crate::config::LockoutConfig;
use crate::event::Outcome;

/// People who are remembered; above it the one whose last failure is oldest is forgotten, those locked
/// out last of all.
const MAX_PEOPLE: usize = 4096;

type Key = [u8; 32];

#[derive(Debug, Default)]
struct Tried {
    /// Failures and attempts under way, oldest first, each with its number.
    failures: VecDeque<(u64, Instant)>,
    locked_until: Option<Instant>,
}

impl Tried {
    fn last(&self) -> Option<Instant> {
        self.failures.back().map(|(_, at)| *at)
    }
}

#[derive(Debug, Default)]
struct Inner {
    people: HashMap<Key, Tried>,
    next: u64,
}

/// Counts attempts per document.
pub struct Attempts {
    key: Zeroizing<Key>,
    failures: usize,
    within: Duration,
    locked: Duration,
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempts(..)")
    }
}

/// An attempt under way. Dropped without [`Attempt::ended`], it stays a failure.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    key: Key,
    number: u64,
}

impl Attempts {
    /// Makes the key.
    pub fn new(config: &LockoutConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)
            .map_err(|e| Error::new(Kind::Unavailable, Culprit::Host, format!("no random numbers: {e}")))?;
        let minutes = |n: u32| Duration::from_secs(u64::from(n) * 60);
        Ok(Self {
            key,
            failures: config.failures as usize,
            within: minutes(config.within_min),
            locked: minutes(config.locked_min),
            inner: Mutex::default(),
            clock,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave what this guards half-written.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn hash(&self, document: &[u8]) -> Key {
        // HMAC takes a key of any length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&*self.key) {
            Ok(mac) => mac,
            Err(_) => unreachable!("a key of 32 bytes"),
        };
        mac.update(document);
        mac.finalize().into_bytes().into()
    }

    /// Begins an attempt with these bytes of a document, or refuses it for so long. Several megabytes
    /// take milliseconds.
    pub fn begin(&self, document: &[u8]) -> std::result::Result<Attempt, Duration> {
        let (key, now) = (self.hash(document), self.clock.instant());
        let mut inner = self.inner();
        inner.next += 1;
        let number = inner.next;
        if inner.people.len() >= MAX_PEOPLE && !inner.people.contains_key(&key) {
            let within = self.within;
            inner.people.retain(|_, t| {
                t.locked_until.is_some_and(|until| until > now)
                    || t.last().is_some_and(|at| now.saturating_duration_since(at) < within)
            });
            let oldest = inner.people.iter().min_by_key(|(_, t)| (t.locked_until.is_some(), t.last()));
            if inner.people.len() >= MAX_PEOPLE
                && let Some(oldest) = oldest.map(|(k, _)| *k)
            {
                inner.people.remove(&oldest);
            }
        }
        let tried = inner.people.entry(key).or_default();
        match tried.locked_until {
            Some(until) if until > now => return Err(until - now),
            Some(_) => *tried = Tried::default(),
            None => {}
        }
        while tried.failures.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= self.within)
        {
            tried.failures.pop_front();
        }
        if tried.failures.len() >= self.failures {
            tried.locked_until = Some(now + self.locked);
            return Err(self.locked);
        }
        tried.failures.push_back((number, now));
        Ok(Attempt { key, number })
    }

    /// How the attempt ended. Another face, and one that was suspected to be none, is a failure; a match
    /// forgives those before; what compared nothing counts nothing.
    pub fn ended(&self, attempt: Attempt, outcome: Outcome) {
        let mut inner = self.inner();
        match outcome {
            Outcome::NoMatch | Outcome::PresentationAttackSuspected => {}
            Outcome::Match => {
                inner.people.remove(&attempt.key);
            }
            _ => {
                if let Some(tried) = inner.people.get_mut(&attempt.key) {
                    tried.failures.retain(|(n, _)| *n != attempt.number);
                    if tried.failures.is_empty() && tried.locked_until.is_none() {
                        inner.people.remove(&attempt.key);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    fn bench() -> (Arc<ManualClock>, Attempts) {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let config = LockoutConfig { failures: 3, within_min: 10, locked_min: 20 };
        (clock.clone(), Attempts::new(&config, clock).unwrap())
    }

    #[test]
    fn the_fourth_face_for_one_document_is_not_looked_at() {
        let (clock, attempts) = bench();
        let fail = |doc: &[u8]| attempts.begin(doc).map(|a| attempts.ended(a, Outcome::NoMatch));
        for _ in 0..3 {
            fail(b"a").unwrap();
            clock.advance(Duration::from_secs(60));
        }
        assert_eq!(fail(b"a"), Err(Duration::from_secs(1200)));
        fail(b"b").unwrap();
        clock.advance(Duration::from_secs(1199));
        assert_eq!(fail(b"a"), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        fail(b"a").unwrap();
    }

    #[test]
    fn what_compared_nothing_counts_nothing_and_a_match_forgives() {
        let (_, attempts) = bench();
        for outcome in
            [Outcome::NoFace, Outcome::Timeout, Outcome::Error, Outcome::PoorQuality, Outcome::MultipleFaces]
        {
            for _ in 0..4 {
                attempts.ended(attempts.begin(b"a").unwrap(), outcome);
            }
        }
        assert!(attempts.inner().people.is_empty());
        for _ in 0..5 {
            attempts.ended(attempts.begin(b"a").unwrap(), Outcome::NoMatch);
            attempts.ended(attempts.begin(b"a").unwrap(), Outcome::Match);
        }
    }

    #[test]
    fn several_at_once_do_not_slip_through_and_who_goes_away_has_tried() {
        let (_, attempts) = bench();
        let held: Vec<_> = (0..3).map(|_| attempts.begin(b"a").unwrap()).collect();
        assert!(attempts.begin(b"a").is_err());
        drop(held);
        assert!(attempts.begin(b"a").is_err());
    }

    #[test]
    fn old_failures_are_forgotten_and_memory_is_bounded() {
        let (clock, attempts) = bench();
        let fail = |doc: &[u8]| attempts.begin(doc).map(|a| attempts.ended(a, Outcome::NoMatch));
        fail(b"a").unwrap();
        fail(b"a").unwrap();
        clock.advance(Duration::from_secs(600));
        fail(b"a").unwrap();
        fail(b"a").unwrap();
        fail(b"a").unwrap();
        assert!(fail(b"a").is_err());
        for n in 0..2 * MAX_PEOPLE as u32 {
            let _ = fail(&n.to_le_bytes());
        }
        assert!(attempts.inner().people.len() <= MAX_PEOPLE);
        assert!(fail(b"a").is_err(), "who is locked out is not forgotten for those who are not");
    }
}
