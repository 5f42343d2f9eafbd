//! MQTT: publish, acknowledge, commands in, birth and death, the embedded broker.
//!
//! [`Bus`] owns one thread. A supervised loop makes a new client for every connection (clean
//! start: the broker's memory of us is never relied on) and feeds it from the outbox. On every
//! connection, in this order: the subscription to `cmd/#`, `state` online, `birth`, every other
//! retained topic, then the events. Whoever hears that a box is online may command it at once.
//!
//! An event is deleted from the outbox when its PUBACK says success, and at no other time. What
//! was in flight when a connection broke is sent again on the next, with `replayed` set. An event
//! that the broker refuses (MQTT 5 reason codes from 0x80 on) is kept, waits with a backoff of
//! its own while the others go on, and raises an alarm.

pub mod client;
pub mod embedded;
mod link;
mod relay;
mod session;
mod tls;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use zeroize::Zeroizing;

pub use client::probe;
pub use relay::{Relay, RelayStats};

use crate::base::backoff::Backoff;
use crate::base::supervise::{spawn, supervise};
use crate::base::{Clock, Culprit, Error, Kind, Result, Shutdown};
use crate::config::MqttConfig;
use crate::event::topic::{ROOT, Topics, valid_correlation};
use crate::event::{AlarmCode, AlarmState, BoxAlarm, Draft, Recorder};
use crate::outbox::Outbox;

/// Retained topics one box may have.
const MAX_RETAINED: usize = 256;
/// Replies waiting for the broker.
const MAX_REPLIES: usize = 256;
/// How long a clean shutdown waits for the outbox to drain.
const DRAIN: Duration = Duration::from_secs(5);

/// What [`Bus::start`] needs.
pub struct BusParts {
    /// `[mqtt]`.
    pub config: MqttConfig,
    /// This box's topics.
    pub topics: Topics,
    /// Where the events come from.
    pub outbox: Outbox,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The `birth` topic's value.
    pub birth: Value,
    /// Where commands go; bounded, and a full one drops the command and counts it.
    pub commands: mpsc::Sender<Command>,
    /// Names of the commands somebody listens to, as in `cmd/{name}`. Others are counted and
    /// dropped. `rebirth` is answered by the bus itself.
    pub known_commands: Vec<String>,
    /// Ends the bus: it drains, says `offline` and disconnects.
    pub stop: Shutdown,
}

impl std::fmt::Debug for BusParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusParts")
            .field("config", &self.config)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// A command that came on `cmd/{name}`.
#[derive(Debug)]
pub struct Command {
    /// `verify`, `gallery/put`.
    pub name: String,
    /// Its payload, at most `mqtt.max_command_bytes`, overwritten when dropped: it may hold a
    /// portrait.
    pub payload: Zeroizing<Vec<u8>>,
    /// MQTT 5: where the requester wants the reply, if it said so and may have it there.
    pub reply_to: Option<ReplyTo>,
    /// MQTT 5: after this moment the requester has given up.
    pub expires: Option<Instant>,
    /// When it came.
    pub received: Instant,
}

/// Where a requester wants its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    topic: String,
    correlation_data: Option<Bytes>,
    /// The requester speaks MQTT 5. Only then does the reply carry properties: brokers exist that
    /// drop a 3.1.1 listener when a message with properties comes along.
    properties: bool,
}

impl ReplyTo {
    /// Refuses topics on which this box must not be made to speak: wildcards, `$` topics, and
    /// everything under Vigil's root but this box's own replies. Without this rule a requester
    /// could have a box publish events or another box's commands.
    pub fn checked(topics: &Topics, topic: String, correlation_data: Option<Bytes>) -> Option<Self> {
        let ours = topic.starts_with(&format!("{}/reply/", topics.base()));
        let reserved = topic == ROOT || topic.starts_with(&format!("{ROOT}/"));
        let sound =
            (1..=256).contains(&topic.len()) && !topic.contains(['+', '#', '\0']) && !topic.starts_with('$');
        (sound && (ours || !reserved)).then_some(Self { topic, correlation_data, properties: true })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

/// How the link to the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Not tried yet, or trying.
    Connecting,
    /// Connected.
    Online,
    /// Not there; it is tried again.
    Offline,
    /// The broker says no: a person must act. It is tried again at the longest wait.
    Refused,
}

/// How the link to the broker is, since when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// How it is.
    pub state: LinkState,
    /// Since when.
    pub since: Timestamp,
    /// Why, with the remedy; absent while online.
    pub reason: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    connects: AtomicU64,
    published: AtomicU64,
    resent: AtomicU64,
    acked: AtomicU64,
    rejected: AtomicU64,
    in_flight: AtomicU64,
    parked: AtomicU64,
    commands: AtomicU64,
    commands_unknown: AtomicU64,
    commands_retained: AtomicU64,
    commands_oversize: AtomicU64,
    commands_dropped: AtomicU64,
    replies: AtomicU64,
    replies_expired: AtomicU64,
    replies_dropped: AtomicU64,
}

/// What the bus counted since the start, for health, metrics and the watchdog.
#[derive(Clone, Copy, Debug)]
pub struct BusStats {
    /// Connections the broker accepted.
    pub connects: u64,
    /// Events published for the first time.
    pub published: u64,
    /// Further attempts to publish an event.
    pub resent: u64,
    /// Events the broker acknowledged.
    pub acked: u64,
    /// Attempts the broker acknowledged with a refusal; the events are kept.
    pub rejected: u64,
    /// Events sent and not acknowledged now.
    pub in_flight: u64,
    /// Events waiting for their own backoff after a refusal now.
    pub parked: u64,
    /// Events waiting in the outbox now, those in flight and parked included.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest: Option<Duration>,
    /// Commands handed over.
    pub commands: u64,
    /// Messages on topics or with command names nobody listens to.
    pub commands_unknown: u64,
    /// Retained commands, which are never executed.
    pub commands_retained: u64,
    /// Commands larger than `mqtt.max_command_bytes`.
    pub commands_oversize: u64,
    /// Commands dropped because earlier ones were still waiting.
    pub commands_dropped: u64,
    /// Replies acknowledged by the broker.
    pub replies: u64,
    /// Replies dropped because they had expired.
    pub replies_expired: u64,
    /// Replies dropped because too many waited, or because the broker refused them.
    pub replies_dropped: u64,
    /// When the loop last turned. While connected it turns at least every second; between
    /// connections it sleeps for up to `mqtt.retry_max_ms`.
    pub last_turn: Instant,
}

#[derive(Clone, Debug)]
struct Reply {
    to: ReplyTo,
    payload: Vec<u8>,
    expires: Instant,
}

/// The latest value of a retained topic.
#[derive(Debug)]
struct Kept {
    payload: Vec<u8>,
    announced: bool,
}

struct Shared {
    config: MqttConfig,
    client_id: String,
    topics: Topics,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    commands: mpsc::Sender<Command>,
    known_commands: Vec<String>,
    birth: Vec<u8>,
    retained: Mutex<BTreeMap<String, Kept>>,
    replies: Mutex<VecDeque<Reply>>,
    wake: Notify,
    link: watch::Sender<LinkStatus>,
    counters: Counters,
    last_turn: Mutex<Instant>,
    /// What an alarm was raised about, so that it is raised once.
    alarmed: Mutex<HashSet<String>>,
}

// No lock here is held across I/O, and no panic can leave the values half-written.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

impl Shared {
    fn status(&self, state: LinkState, reason: Option<String>) {
        let since = self.clock.now();
        self.link.send_if_modified(|s| {
            if s.state == state && s.reason == reason {
                return false;
            }
            if s.state != state {
                s.since = since;
            }
            s.state = state;
            s.reason = reason;
            true
        });
    }

    /// Records an alarm about the broker; nobody waits for it to be durable.
    fn alarm(&self, code: AlarmCode, state: AlarmState, about: &str, message: String) {
        let alarm = BoxAlarm { code, state, about: Some(about.to_owned()), message };
        match Draft::box_alarm(&alarm, self.clock.now()) {
            Ok(draft) => drop(self.outbox.record(draft)),
            Err(e) => tracing::error!("{}", e.chain()),
        }
    }

    /// True the first time it is asked about `what`, until [`Shared::all_clear`].
    fn first(&self, what: &str) -> bool {
        let mut alarmed = lock(&self.alarmed);
        // Bounded: what hostile topics put in here must not grow without end.
        alarmed.len() < 1024 && alarmed.insert(what.to_owned())
    }

    fn all_clear(&self, what: &str) -> bool {
        lock(&self.alarmed).remove(what)
    }

    fn push_reply(&self, reply: Reply) {
        let mut replies = lock(&self.replies);
        if replies.len() >= MAX_REPLIES {
            replies.pop_front();
            self.counters.replies_dropped.fetch_add(1, Ordering::Relaxed);
        }
        replies.push_back(reply);
    }
}

/// Everything about `[mqtt]` that can be wrong without the network: certificates, passwords.
pub fn check(config: &MqttConfig) -> Result<()> {
    link::check(config)
}

/// The box's voice and ear. Dropping it does not stop it; its `stop` signal does.
pub struct Bus {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("link", &*self.shared.link.borrow()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Checks what can be checked without the network, then starts the thread.
    pub fn start(parts: BusParts) -> Result<Self> {
        check(&parts.config)?;
        let backoff =
            Backoff::try_new(parts.config.retry_min_ms.duration(), parts.config.retry_max_ms.duration())
                .map_err(|e| e.context("mqtt.retry_min_ms, mqtt.retry_max_ms"))?;
        let status = LinkStatus { state: LinkState::Connecting, since: parts.clock.now(), reason: None };
        let shared = Arc::new(Shared {
            client_id: link::client_id(&parts.config, &parts.topics),
            config: parts.config,
            topics: parts.topics,
            outbox: parts.outbox,
            clock: parts.clock,
            commands: parts.commands,
            known_commands: parts.known_commands,
            birth: to_json(&parts.birth)?,
            retained: Mutex::default(),
            replies: Mutex::default(),
            wake: Notify::new(),
            link: watch::Sender::new(status),
            counters: Counters::default(),
            last_turn: Mutex::new(Instant::now()),
            alarmed: Mutex::default(),
        });
        let stop = parts.stop;
        let inner = shared.clone();
        let thread = spawn("bus", move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(e) => {
                    tracing::error!(alarm = "bus", "cannot start the network's runtime: {e}");
                    return;
                }
            };
            let mut run = session::Run::new(inner.clone(), stop.clone());
            supervise(
                "bus",
                backoff,
                &stop,
                || runtime.block_on(run.once()),
                |e, wait| session::report(&inner, e, wait),
            );
        })?;
        Ok(Self { shared, thread })
    }

    /// Publishes `value` on a retained topic, now and on every later connection, until another
    /// value takes its place. `health` goes out with QoS 0, everything else with QoS 1.
    pub fn publish_retained(&self, topic: impl Into<String>, value: &impl Serialize) -> Result<()> {
        let payload = to_json(value)?;
        let topic = topic.into();
        let mut retained = lock(&self.shared.retained);
        if retained.len() >= MAX_RETAINED && !retained.contains_key(&topic) {
            return Err(Error::internal(format!("more than {MAX_RETAINED} retained topics")));
        }
        retained.insert(topic, Kept { payload, announced: false });
        drop(retained);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Answers on `reply/{correlation}`. A reply that could not be delivered until `expires` is
    /// dropped: whoever asked has gone.
    pub fn reply(&self, correlation: &str, value: &impl Serialize, expires: Instant) -> Result<()> {
        if !valid_correlation(correlation) {
            return Err(Error::new(Kind::Usage, Culprit::Request, "the correlation is not fit for a topic")
                .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, - and _"));
        }
        let to = ReplyTo {
            topic: self.shared.topics.reply(correlation),
            correlation_data: None,
            properties: false,
        };
        self.reply_to(to, value, expires)
    }

    /// Answers where the requester asked for it (MQTT 5 response topic).
    pub fn reply_to(&self, to: ReplyTo, value: &impl Serialize, expires: Instant) -> Result<()> {
        self.shared.push_reply(Reply { to, payload: to_json(value)?, expires });
        self.shared.wake.notify_one();
        Ok(())
    }

    /// How the link to the broker is.
    pub fn link(&self) -> watch::Receiver<LinkStatus> {
        self.shared.link.subscribe()
    }

    /// What the bus counted.
    pub fn stats(&self) -> BusStats {
        let c = &self.shared.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let outbox = self.shared.outbox.stats();
        BusStats {
            connects: get(&c.connects),
            published: get(&c.published),
            resent: get(&c.resent),
            acked: get(&c.acked),
            rejected: get(&c.rejected),
            in_flight: get(&c.in_flight),
            parked: get(&c.parked),
            backlog: outbox.depth,
            oldest: outbox.oldest,
            commands: get(&c.commands),
            commands_unknown: get(&c.commands_unknown),
            commands_retained: get(&c.commands_retained),
            commands_oversize: get(&c.commands_oversize),
            commands_dropped: get(&c.commands_dropped),
            replies: get(&c.replies),
            replies_expired: get(&c.replies_expired),
            replies_dropped: get(&c.replies_dropped),
            last_turn: *lock(&self.shared.last_turn),
        }
    }

    /// Waits for the thread after `stop` was requested; false if it is still running at the
    /// deadline. The drain takes up to 5 s of it.
    pub fn join(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while !self.thread.is_finished() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal("a value is not JSON").with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Name;

    #[test]
    fn a_requester_cannot_make_the_box_speak_as_itself_or_to_other_boxes() {
        let topics = Topics::new(&Name::new("s").unwrap(), &Name::new("b").unwrap());
        let may = |t: &str| ReplyTo::checked(&topics, t.to_owned(), None).is_some();
        assert!(may("vigil/v1/s/b/reply/abc"));
        assert!(may("desk/7/answers"));
        for bad in [
            "",
            "vigil/v1",
            "vigil/v1/s/b/event/verify.result",
            "vigil/v1/s/b/state",
            "vigil/v1/s/other/cmd/verify",
            "a/#",
            "a/+/b",
            "$SYS/x",
            &"x".repeat(257),
        ] {
            assert!(!may(bad), "{bad:?} was accepted");
        }
    }
}
