//! What feeds systemd's watchdog: proof that frames and the outbox really move.
//!
//! A camera that is gone is no reason to restart the daemon, a camera thread that no longer tries
//! is. So each camera counts as moving while its supervisor turns over: a frame came, or an
//! attempt to open it began or ended. The outbox counts as moving when its writer answers.

use std::time::{Duration, Instant};

use tracing::{error, info};

/// Something whose counter rises while it is alive.
pub(super) struct Pulse {
    pub(super) name: String,
    pub(super) read: Box<dyn Fn() -> u64 + Send>,
    /// It may stay still for this long.
    pub(super) patience: Duration,
}

struct Watched {
    pulse: Pulse,
    last: u64,
    moved: Instant,
    /// Logged once per standstill.
    said: bool,
}

/// Decides whether the watchdog is fed.
pub(super) struct Watchdog(Vec<Watched>);

impl Watchdog {
    pub(super) fn new(pulses: Vec<Pulse>, now: Instant) -> Self {
        Self(
            pulses
                .into_iter()
                .map(|pulse| Watched { last: (pulse.read)(), moved: now, said: false, pulse })
                .collect(),
        )
    }

    /// Reads every pulse; true while all of them move.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        let mut all = true;
        for w in &mut self.0 {
            let value = (w.pulse.read)();
            if value != w.last {
                if w.said {
                    info!(part = w.pulse.name, "moves again");
                }
                (w.last, w.moved, w.said) = (value, now, false);
            } else if now.duration_since(w.moved) > w.pulse.patience {
                all = false;
                if !w.said {
                    w.said = true;
                    error!(part = w.pulse.name, still_for = ?now.duration_since(w.moved), "stands still: the watchdog is not fed");
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn one_part_that_stands_still_starves_the_watchdog() {
        let counter = Arc::new(AtomicU64::new(0));
        let read = counter.clone();
        let start = Instant::now();
        let pulse = Pulse {
            name: "outbox".into(),
            read: Box::new(move || read.load(Ordering::Relaxed)),
            patience: Duration::from_secs(10),
        };
        let mut dog = Watchdog::new(vec![pulse], start);
        assert!(dog.check(start + Duration::from_secs(9)));
        assert!(!dog.check(start + Duration::from_secs(11)));
        counter.fetch_add(1, Ordering::Relaxed);
        assert!(dog.check(start + Duration::from_secs(12)));
    }
}
