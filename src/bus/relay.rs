//! What locks are told: a connection of its own, beside that of the events.
//!
//! Nothing said here is ever said again. A message whose time is over when its turn comes is
//! dropped, one that was in flight when the connection broke is forgotten, and nothing is
//! retained: a lock that hears late hears nothing. That is the reverse of how events travel, which
//! is why it does not travel with them, nor wait behind them.
//!
//! With MQTT 5 a message carries its remaining time, so that the broker forgets it as well. A
//! broker that was frozen with the message in its socket counts that time from when it wakes, so
//! whoever turns the key compares `notafter` with a clock of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::link::{self, Happening, Link, Publication};
use super::{lock, to_json};
use crate::base::backoff::Backoff;
use crate::base::supervise::{End, spawn, supervise};
use crate::base::{Clock, Culprit, Error, Result, Shutdown};
use crate::config::MqttConfig;
use crate::event::Actuation;
use crate::event::topic::Topics;

/// Messages waiting for the connection.
const QUEUE: usize = 32;
/// What is in flight at the stop has this long to be acknowledged.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest sleep of the loop.
const TURN: Duration = Duration::from_millis(500);

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Messages that the broker acknowledged.
    pub said: u64,
    /// Messages dropped because their time was over.
    pub late: u64,
    /// Messages dropped because too many waited, or refused by the broker.
    pub dropped: u64,
    /// Messages in flight when the connection broke; whether they were heard is not known.
    pub unknown: u64,
}

#[derive(Debug, Default)]
struct Counters {
    said: AtomicU64,
    late: AtomicU64,
    dropped: AtomicU64,
    unknown: AtomicU64,
}

struct Shared {
    counters: Counters,
    /// Why nothing can be said now.
    down: Mutex<Option<String>>,
}

struct Said {
    topic: String,
    actuation: Actuation,
    /// Its end on the monotonic clock: a wall clock that is set back revives nothing.
    due: Instant,
}

/// The locks' connection. Cheap to clone; its thread ends with the stop.
#[derive(Clone)]
pub struct Relay {
    queue: mpsc::Sender<Said>,
    shared: Arc<Shared>,
    topics: Topics,
    clock: Arc<dyn Clock>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relay(..)")
    }
}

impl Relay {
    /// Starts the connection.
    pub fn start(
        config: &MqttConfig,
        topics: &Topics,
        clock: Arc<dyn Clock>,
        stop: &Shutdown,
    ) -> Result<Self> {
        super::check(config)?;
        let backoff = Backoff::try_new(config.retry_min_ms.duration(), config.retry_max_ms.duration())?;
        let (queue, rx) = mpsc::channel(QUEUE);
        let down = Mutex::new(Some("not connected yet".to_owned()));
        let shared = Arc::new(Shared { counters: Counters::default(), down });
        let client_id = format!("{}-locks", link::client_id(config, topics));
        let mut run = Run {
            config: config.clone(),
            client_id,
            queue: rx,
            shared: shared.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let (inner, stop) = (shared.clone(), stop.clone());
        let thread = spawn("locks", move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(e) => {
                    tracing::error!("cannot start the locks' network runtime: {e}");
                    return;
                }
            };
            supervise(
                "locks",
                backoff,
                &stop,
                || runtime.block_on(run.once()),
                |e, wait| {
                    tracing::warn!(
                        wait_ms = wait.as_millis() as u64,
                        "no lock can be told anything: {}",
                        e.chain()
                    );
                    *lock(&inner.down) = Some(e.to_string());
                },
            );
        })?;
        Ok(Self { queue, shared, topics: topics.clone(), clock, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Says it, now or not at all.
    pub fn say(&self, actuation: Actuation) {
        let left =
            Duration::try_from(actuation.notafter.duration_since(self.clock.now())).unwrap_or_default();
        let said =
            Said { topic: self.topics.actuate(&actuation.door), actuation, due: self.clock.instant() + left };
        if left.is_zero() {
            self.shared.counters.late.fetch_add(1, Ordering::Relaxed);
        } else if self.queue.try_send(said).is_err() {
            tracing::error!("what a lock is to be told was dropped: too much waits already");
            self.shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why nothing can be said now; `None` while connected.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.shared.down).clone()
    }

    /// What was counted.
    pub fn stats(&self) -> RelayStats {
        let c = &self.shared.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        RelayStats {
            said: get(&c.said),
            late: get(&c.late),
            dropped: get(&c.dropped),
            unknown: get(&c.unknown),
        }
    }

    /// After the stop: waits for the thread until `within` is over.
    pub fn join(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while lock(&self.thread).as_ref().is_some_and(|t| !t.is_finished()) {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

struct Run {
    config: MqttConfig,
    client_id: String,
    queue: mpsc::Receiver<Said>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    stop: Shutdown,
}

impl Run {
    /// One connection, from connecting to its end.
    async fn once(&mut self) -> Result<End> {
        let mut link = Link::open(&self.config, &self.client_id, None)?;
        tokio::select! {
            up = link.up() => drop(up.map_err(|down| down.error)?),
            () = self.stop.wait() => return Ok(End::Finished),
        }
        tracing::info!(broker = %self.config.url, "locks can be told what to do");
        *lock(&self.shared.down) = None;
        let patience = Duration::from_secs(u64::from(self.config.keep_alive_s)) * 2;
        let mut in_flight: VecDeque<Instant> = VecDeque::new();
        let c = &self.shared.counters;
        let mut stopping: Option<Instant> = None;
        let ended = loop {
            tokio::select! {
                // What is to be said goes first.
                biased;
                said = self.queue.recv() => match said {
                    Some(said) => {
                        if let Some(publication) = fresh(&said, self.clock.now(), self.clock.instant())? {
                            if link.publish(publication) {
                                in_flight.push_back(Instant::now());
                            } else {
                                c.dropped.fetch_add(1, Ordering::Relaxed);
                            }
                        } else {
                            tracing::warn!(door = %said.actuation.door, act = ?said.actuation.act, "too late for a lock to be told; it is not told");
                            c.late.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    None => break Ok(End::Finished),
                },
                happening = link.next() => match happening {
                    Happening::Acked { refusal, .. } => {
                        in_flight.pop_front();
                        match refusal {
                            None => drop(c.said.fetch_add(1, Ordering::Relaxed)),
                            Some(why) => {
                                tracing::error!("the broker refuses what a lock is to be told: {why}");
                                c.dropped.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    Happening::Down(down) => break Err(down.error),
                    _ => {}
                },
                () = self.stop.wait(), if stopping.is_none() => stopping = Some(Instant::now()),
                () = tokio::time::sleep(if stopping.is_some() { DRAIN / 50 } else { TURN }) => {}
            }
            if let Some(since) = stopping
                && (in_flight.is_empty() && self.queue.is_empty() || since.elapsed() > DRAIN)
            {
                link.disconnect();
                // The packet is written right after this.
                let _ = tokio::time::timeout(TURN, link.next()).await;
                break Ok(End::Finished);
            }
            if in_flight.front().is_some_and(|at| at.elapsed() > patience) {
                let what =
                    format!("broker {}: no acknowledgement for {} s", self.config.url, patience.as_secs());
                break Err(Error::new(crate::base::Kind::Timeout, Culprit::Broker, what));
            }
        };
        c.unknown.fetch_add(in_flight.len() as u64, Ordering::Relaxed);
        ended
    }
}

/// The publication of what is still to be said at this moment; nothing if its time is over on
/// either clock.
fn fresh(said: &Said, now: Timestamp, instant: Instant) -> Result<Option<Publication>> {
    let wall = Duration::try_from(said.actuation.notafter.duration_since(now)).unwrap_or_default();
    let left = wall.min(said.due.saturating_duration_since(instant));
    if left.is_zero() {
        return Ok(None);
    }
    Ok(Some(Publication {
        topic: said.topic.clone(),
        payload: to_json(&said.actuation)?,
        acknowledged: true,
        retain: false,
        // Whole seconds are all that MQTT knows; `notafter` has the rest.
        expiry_s: Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)),
        ..Publication::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Name;
    use crate::event::Act;

    #[test]
    fn what_is_late_on_either_clock_is_not_said() {
        let (now, instant) = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        let s = Duration::from_secs;
        let said = Said {
            topic: "t".into(),
            actuation: Actuation {
                door: Name::new("north").unwrap(),
                act: Act::Unlock,
                notafter: now.checked_add(s(3)).unwrap(),
                event: None,
                session: None,
            },
            due: instant + s(3),
        };
        let publication = fresh(&said, now, instant).unwrap().unwrap();
        assert!(publication.acknowledged && !publication.retain);
        assert_eq!(publication.expiry_s, Some(3));
        assert_eq!(fresh(&said, now, instant + s(2)).unwrap().unwrap().expiry_s, Some(1));
        assert!(fresh(&said, now, instant + s(3)).unwrap().is_none(), "the wall clock was set back");
        assert!(fresh(&said, now.checked_add(s(3)).unwrap(), instant).unwrap().is_none());
    }
}
