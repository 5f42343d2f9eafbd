//! Time from outside: the one place that asks the operating system what time it is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far the wall clock can be trusted (design rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    /// Disciplined by a time source now.
    Synced,
    /// Was disciplined since boot, is running free now.
    Holdover,
    /// Never disciplined since boot: dates may be wrong by years.
    Unsynced,
}

/// Where a frame's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The camera's own wall clock, carried by RTCP sender reports.
    Camera,
    /// This box's wall clock when the frame arrived.
    Arrival,
}

/// The clock, given in from the top so that tests can turn it.
pub trait Clock: Send + Sync {
    /// Wall-clock time, UTC.
    fn now(&self) -> Timestamp;
    /// Monotonic time.
    fn instant(&self) -> Instant;
    /// Quality of [`Clock::now`].
    fn quality(&self) -> TimeQuality;
}

/// The machine's clock.
///
/// Quality is read, at most once a second, from the marker that systemd-timesyncd touches on every
/// successful synchronisation (systemd-timesyncd.service(8), Files). Reading it needs neither
/// privileges nor a bus. A box disciplined by another daemon reads `unsynced`: too little trust
/// is the safe side.
#[derive(Debug, Default)]
pub struct SystemClock {
    quality: Mutex<Option<(Instant, TimeQuality)>>,
}

impl SystemClock {
    /// Its existence says "synchronised since boot", its age says "lately".
    const MARKER: &str = "/run/systemd/timesync/synchronized";
    /// Longest time between polls of systemd-timesyncd (`PollIntervalMaxSec` = 34 min 8 s), twice.
    const FRESH: Duration = Duration::from_secs(2 * 2048);

    fn read_quality() -> TimeQuality {
        match std::fs::metadata(Self::MARKER).and_then(|m| m.modified()) {
            Err(_) => TimeQuality::Unsynced,
            Ok(at) if at.elapsed().is_ok_and(|age| age <= Self::FRESH) => TimeQuality::Synced,
            Ok(_) => TimeQuality::Holdover,
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn quality(&self) -> TimeQuality {
        let mut cached = self.quality.lock().unwrap_or_else(|e| e.into_inner());
        match *cached {
            Some((at, quality)) if at.elapsed() < Duration::from_secs(1) => quality,
            _ => {
                let quality = Self::read_quality();
                *cached = Some((Instant::now(), quality));
                quality
            }
        }
    }
}

/// A clock that only moves when told to.
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    state: Mutex<(Timestamp, Duration, TimeQuality)>,
}

impl ManualClock {
    /// Starts at `now`, synchronised.
    pub fn at(now: Timestamp) -> Self {
        Self { origin: Instant::now(), state: Mutex::new((now, Duration::ZERO, TimeQuality::Synced)) }
    }

    /// Moves wall clock and monotonic clock forward together.
    pub fn advance(&self, by: Duration) {
        let mut s = self.state.lock().unwrap_or_else(|e| e.into_inner());
        s.0 += by;
        s.1 += by;
    }

    /// Steps the wall clock alone, as a bad time source or a technician does.
    pub fn set_wall(&self, now: Timestamp, quality: TimeQuality) {
        let mut s = self.state.lock().unwrap_or_else(|e| e.into_inner());
        (s.0, s.2) = (now, quality);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).0
    }

    fn instant(&self) -> Instant {
        self.origin + self.state.lock().unwrap_or_else(|e| e.into_inner()).1
    }

    fn quality(&self) -> TimeQuality {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).2
    }
}
