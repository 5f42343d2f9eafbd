//! Refusals counted by where and why, and which of them is an alarm.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::event::Refusal;

/// Between two alarms about refusals of the same kind. Whoever floods the box does not flood the hub.
const ALARM_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Entry {
    count: u64,
    /// When an alarm was raised last, and how many refusals were silent since.
    alarmed: Option<Instant>,
    silent: u64,
}

/// The refusals since the start. As many entries as there are reasons.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<(&'static str, Refusal), Entry>>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Refusal), Entry>> {
        // No panic can leave what this guards half-written.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Counts one. `Some` if it is an alarm: how many of this kind were silent since the last one.
    pub fn note(&self, at: &'static str, reason: Refusal, now: Instant) -> Option<u64> {
        let mut all = self.lock();
        let entry = all.entry((at, reason)).or_default();
        entry.count += 1;
        if entry.alarmed.is_some_and(|last| now.saturating_duration_since(last) < ALARM_EVERY) {
            entry.silent += 1;
            return None;
        }
        entry.alarmed = Some(now);
        Some(std::mem::take(&mut entry.silent))
    }

    /// Every kind that happened, and how often.
    pub fn counts(&self) -> Vec<(&'static str, Refusal, u64)> {
        self.lock().iter().map(|((at, reason), entry)| (*at, *reason, entry.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_alarm_a_minute_that_says_how_many() {
        let (tally, t0) = (Tally::default(), Instant::now());
        let at = |s| t0 + Duration::from_secs(s);
        assert_eq!(tally.note("bus", Refusal::Replayed, t0), Some(0));
        for s in 1..60 {
            assert_eq!(tally.note("bus", Refusal::Replayed, at(s)), None);
        }
        assert_eq!(tally.note("bus", Refusal::Stale, at(30)), Some(0), "another kind");
        assert_eq!(tally.note("bus", Refusal::Replayed, at(60)), Some(59));
        assert_eq!(tally.counts(), [("bus", Refusal::Stale, 1), ("bus", Refusal::Replayed, 61)]);
    }
}
