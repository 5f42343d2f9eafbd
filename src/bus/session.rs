//! One connection after another: what is sent, in which order, and what an answer means.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use zeroize::{Zeroize, Zeroizing};

use super::link::{CAPACITY, Cause, Delivery, Down, Happening, Link, Publication};
use super::{Command, DRAIN, LinkState, Reply, ReplyTo, Shared, lock, to_json};
use crate::base::supervise::End;
use crate::base::{Culprit, Error, Kind, Result, Shutdown};
use crate::event::{AlarmCode, AlarmState, EventKind, State};
use crate::outbox::Row;

/// A connection that ended by the peer's hand sooner than this was a short one.
const SHORT_LIFE: Duration = Duration::from_secs(30);
/// So many short ones in a row look like another box with our name.
const FLAPS: u32 = 3;
/// A refused event waits this long, doubling, before it is tried again.
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_secs(300);
/// Refused events whose turn is remembered; those beyond it wait for the next connection.
const MAX_PARKED: usize = 100_000;
/// Rows read from the outbox at once.
const FETCH: usize = 64;
/// Longest sleep of the loop.
const TURN: Duration = Duration::from_millis(500);
/// Patience with the outbox's thread.
const OUTBOX_PATIENCE: Duration = Duration::from_secs(5);
/// Without commands for so long after an oversize one broke the connection repeatedly.
const DEAF_FOR: Duration = Duration::from_secs(60);
/// Acknowledgement of the goodbye, and the goodbye itself.
const GOODBYE: Duration = Duration::from_secs(2);
/// Bytes of a packet besides topic and payload, generously.
const PACKET_OVERHEAD: usize = 128;

/// What outlives a connection.
pub(super) struct Run {
    shared: Arc<Shared>,
    stop: Shutdown,
    short_lives: u32,
    oversize: u32,
}

/// Says why the link is down, once per reason in the topics, each time in the log.
pub(super) fn report(shared: &Shared, e: &Error, wait: Duration) {
    let wait_ms = wait.as_millis() as u64;
    if e.kind() == Kind::Refused || e.culprit() == Culprit::Config {
        tracing::error!(alarm = "broker_refused", wait_ms, "{}", e.chain());
        shared.status(LinkState::Refused, Some(e.to_string()));
        if shared.first("broker") {
            shared.alarm(AlarmCode::BrokerRefused, AlarmState::Raised, "broker", e.to_string());
        }
    } else {
        tracing::warn!(wait_ms, "{}", e.chain());
        shared.status(LinkState::Offline, Some(e.to_string()));
    }
}

/// What a submitted publication was.
#[derive(Debug)]
enum What {
    Event(Box<Row>),
    Retained(String),
    Reply(Box<Reply>),
    Goodbye,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    retry_at: Instant,
    wait: Duration,
}

struct Session<'a> {
    shared: &'a Shared,
    link: Link,
    up_since: Instant,
    window: usize,
    max_packet: usize,
    /// Rows up to this one were decided before this connection came up.
    backlog_end: u64,
    /// The newest row read.
    cursor: u64,
    ready: VecDeque<Row>,
    parked: BTreeMap<u64, Parked>,
    announce: VecDeque<String>,
    subscribe_at: Option<Instant>,
    submitted: VecDeque<What>,
    in_flight: HashMap<u16, (What, Instant)>,
    events_out: usize,
    said_goodbye: bool,
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, stop: Shutdown) -> Self {
        Self { shared, stop, short_lives: 0, oversize: 0 }
    }

    /// One connection, from connecting to its end.
    pub(super) async fn once(&mut self) -> Result<End> {
        let shared = self.shared.clone();
        let (boot, now) = (shared.outbox.boot_id(), shared.clock.now());
        let will = (shared.topics.state(), to_json(&State::last_will(boot, now))?);
        let mut link = Link::open(&shared.config, &shared.client_id, Some(will))?;
        let up = tokio::select! {
            up = link.up() => up,
            () = self.stop.wait() => return Ok(End::Finished),
        };
        let (receive_max, max_packet) = match up {
            Ok(limits) => limits,
            Err(down) => {
                // A broker that is not there at all explains why it dropped us before.
                if down.cause == Cause::Lost {
                    self.short_lives = 0;
                }
                return Err(down.error);
            }
        };
        let c = &shared.counters;
        c.connects.fetch_add(1, Ordering::Relaxed);
        tracing::info!(broker = %shared.config.url, client_id = shared.client_id, "connected");
        shared.status(LinkState::Online, None);
        if shared.all_clear("broker") {
            shared.alarm(
                AlarmCode::BrokerRefused,
                AlarmState::Cleared,
                "broker",
                "the broker accepts this box".to_owned(),
            );
        }
        let deaf = self.oversize >= 2;
        let mut session = Session {
            shared: &shared,
            link,
            up_since: Instant::now(),
            window: usize::from(shared.config.window)
                .min(usize::from(receive_max.saturating_sub(4)).max(1))
                .min(CAPACITY / 2),
            max_packet,
            backlog_end: shared.outbox.last_row(),
            cursor: 0,
            ready: VecDeque::new(),
            parked: BTreeMap::new(),
            announce: VecDeque::new(),
            subscribe_at: Some(Instant::now() + if deaf { DEAF_FOR } else { Duration::ZERO }),
            submitted: VecDeque::new(),
            in_flight: HashMap::new(),
            events_out: 0,
            said_goodbye: false,
        };
        {
            let mut retained = lock(&shared.retained);
            retained.insert(
                shared.topics.state(),
                super::Kept { payload: to_json(&State::online(boot, shared.clock.now()))?, announced: false },
            );
            retained.insert(
                shared.topics.birth(),
                super::Kept { payload: shared.birth.clone(), announced: false },
            );
            for kept in retained.values_mut() {
                kept.announced = false;
            }
        }
        session.announce.extend([shared.topics.state(), shared.topics.birth()]);
        if deaf {
            tracing::error!(
                "commands larger than mqtt.max_command_bytes broke the connection {} times: no commands are heard for {} s",
                self.oversize,
                DEAF_FOR.as_secs()
            );
        }
        let ended = session.run(&self.stop).await;
        session.take_back();
        let lived = session.up_since.elapsed();
        drop(session);
        c.in_flight.store(0, Ordering::Relaxed);
        c.parked.store(0, Ordering::Relaxed);
        let down = match ended {
            Ok(()) => return Ok(End::Finished),
            Err(down) => down,
        };
        self.oversize = match down.cause {
            Cause::Oversize => {
                c.commands_oversize.fetch_add(1, Ordering::Relaxed);
                self.oversize + 1
            }
            _ if lived >= DEAF_FOR => 0,
            _ => self.oversize,
        };
        self.short_lives = match down.cause {
            Cause::ByPeer if lived < SHORT_LIFE => self.short_lives + 1,
            _ => 0,
        };
        if self.short_lives >= FLAPS {
            let error = Error::new(
                Kind::Refused,
                Culprit::Broker,
                format!(
                    "broker {}: dropped this box {} times within {} s of connecting; another client may be using the client identifier {:?}",
                    shared.config.url,
                    self.short_lives,
                    SHORT_LIFE.as_secs(),
                    shared.client_id
                ),
            )
            .remedy("give every box its own [box] site and name, or its own mqtt.client_id; the broker's log says which");
            return Err(error);
        }
        Err(down.error)
    }
}

impl Session<'_> {
    async fn run(&mut self, stop: &Shutdown) -> std::result::Result<(), Down> {
        let mut rows = self.shared.outbox.subscribe();
        let mut draining: Option<Instant> = None;
        let ack_patience = Duration::from_secs(u64::from(self.shared.config.keep_alive_s)) * 2;
        loop {
            *lock(&self.shared.last_turn) = Instant::now();
            self.read_outbox().await;
            self.fill();
            self.shared.counters.in_flight.store(self.events_out as u64, Ordering::Relaxed);
            self.shared.counters.parked.store(self.parked.len() as u64, Ordering::Relaxed);
            if let Some(deadline) = draining {
                let idle = self.submitted.is_empty() && self.in_flight.is_empty();
                let empty = self.ready.is_empty() && self.cursor >= self.shared.outbox.last_row();
                if (idle && empty) || Instant::now() >= deadline {
                    self.goodbye().await;
                    return Ok(());
                }
            }
            if let Some(oldest) = self.in_flight.values().map(|(_, at)| *at).min()
                && oldest.elapsed() > ack_patience
            {
                let error = Error::new(
                    Kind::Timeout,
                    Culprit::Broker,
                    format!(
                        "broker {}: no acknowledgement for {} s",
                        self.shared.config.url,
                        ack_patience.as_secs()
                    ),
                );
                return Err(Down { cause: Cause::Lost, error });
            }
            let sleep = match draining {
                Some(_) => Duration::from_millis(20),
                None => TURN,
            };
            tokio::select! {
                happening = self.link.next() => self.handle(happening)?,
                _ = rows.changed() => {}
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
                () = stop.wait(), if draining.is_none() => draining = Some(Instant::now() + DRAIN),
            }
        }
    }

    /// Keeps a small stock of rows to send: refused ones whose time has come, then new ones.
    async fn read_outbox(&mut self) {
        if self.ready.len() >= self.window {
            return;
        }
        let now = Instant::now();
        let due: Vec<u64> =
            self.parked.iter().filter(|(_, p)| p.retry_at <= now).map(|(row, _)| *row).take(FETCH).collect();
        if !due.is_empty() {
            for row in &due {
                // Until its answer comes it is not due; the wait is kept for the next refusal.
                if let Some(p) = self.parked.get_mut(row) {
                    p.retry_at = now + PARK_MAX * 2;
                }
            }
            match tokio::time::timeout(OUTBOX_PATIENCE, self.shared.outbox.fetch(due)).await {
                Ok(Ok(rows)) => self.ready.extend(rows),
                Ok(Err(e)) => tracing::warn!("{}", e.chain()),
                Err(_) => tracing::warn!("the outbox did not answer within {OUTBOX_PATIENCE:?}"),
            }
        }
        // Asked before the rows are: a row that comes in between must not be stepped over.
        let newest = self.shared.outbox.last_row();
        if self.cursor < newest {
            match tokio::time::timeout(OUTBOX_PATIENCE, self.shared.outbox.pending(self.cursor, FETCH)).await
            {
                Ok(Ok(rows)) => match rows.last() {
                    Some(last) => {
                        self.cursor = last.row;
                        self.ready.extend(rows);
                    }
                    // Everything up to here is acknowledged or set aside.
                    None => self.cursor = newest,
                },
                Ok(Err(e)) => tracing::warn!("{}", e.chain()),
                Err(_) => tracing::warn!("the outbox did not answer within {OUTBOX_PATIENCE:?}"),
            }
        }
    }

    fn room(&self) -> bool {
        self.submitted.len() + self.in_flight.len() < CAPACITY - 8
    }

    /// Submits what may go out now, in the order that the contract names.
    fn fill(&mut self) {
        let changed: Vec<String> = {
            let retained = lock(&self.shared.retained);
            retained.iter().filter(|(_, k)| !k.announced).map(|(t, _)| t.clone()).collect()
        };
        for topic in changed {
            if !self.announce.contains(&topic) {
                self.announce.push_back(topic);
            }
        }
        // Before anything says that the box is online: a command that comes earlier reaches nobody.
        if self.subscribe_at.is_some_and(|at| at <= Instant::now()) {
            if !self.link.subscribe(&self.shared.topics.commands(), true) {
                return;
            }
            self.subscribe_at = None;
        }
        while self.room() {
            let Some(topic) = self.announce.pop_front() else { break };
            if !self.send_retained(topic) {
                return;
            }
        }
        self.send_replies();
        while self.room() && self.events_out < self.window {
            let Some(row) = self.ready.pop_front() else { break };
            if let Some(row) = self.send_event(row) {
                self.ready.push_front(row);
                return;
            }
        }
    }

    fn submit(&mut self, what: What, p: Publication) -> bool {
        if p.topic.len() + p.payload.len() + PACKET_OVERHEAD > self.max_packet {
            // Sending it would cost the connection, again and again.
            self.refused(
                what,
                format!("{} bytes are more than the broker accepts in a packet", p.payload.len()),
            );
            return true;
        }
        if !self.link.publish(p) {
            return false;
        }
        if matches!(what, What::Event(_)) {
            self.events_out += 1;
        }
        self.submitted.push_back(what);
        true
    }

    fn send_retained(&mut self, topic: String) -> bool {
        let payload = {
            let mut retained = lock(&self.shared.retained);
            let Some(kept) = retained.get_mut(&topic) else { return true };
            kept.announced = true;
            kept.payload.clone()
        };
        let acknowledged = topic != self.shared.topics.health();
        let p = Publication {
            topic: topic.clone(),
            payload,
            acknowledged,
            retain: true,
            ..Publication::default()
        };
        if self.submit(What::Retained(topic.clone()), p) {
            return true;
        }
        if let Some(kept) = lock(&self.shared.retained).get_mut(&topic) {
            kept.announced = false;
        }
        self.announce.push_front(topic);
        false
    }

    fn send_replies(&mut self) {
        while self.room() {
            let Some(reply) = lock(&self.shared.replies).pop_front() else { return };
            let left = reply.expires.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.shared.counters.replies_expired.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let p = Publication {
                topic: reply.to.topic.clone(),
                payload: reply.payload.clone(),
                acknowledged: true,
                expiry_s: reply
                    .to
                    .properties
                    .then(|| u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX)),
                correlation_data: reply.to.correlation_data.clone(),
                ..Publication::default()
            };
            if !self.submit(What::Reply(Box::new(reply.clone())), p) {
                lock(&self.shared.replies).push_front(reply);
                return;
            }
        }
    }

    /// Submits an event; gives it back if there is no room.
    fn send_event(&mut self, row: Row) -> Option<Row> {
        let earlier = row.attempted || row.boot != self.shared.outbox.boot_id();
        let replayed = earlier || row.row <= self.backlog_end || self.parked.contains_key(&row.row);
        let p = Publication {
            topic: self.shared.topics.event(row.kind),
            payload: row.payload(replayed),
            acknowledged: true,
            // Rule 3: a decision is never retained.
            retain: false,
            ..Publication::default()
        };
        // Marked first: a mark without an attempt is harmless, the reverse is not.
        self.shared.outbox.mark_attempted(row.row);
        let back = row.clone();
        if !self.submit(What::Event(Box::new(row)), p) {
            return Some(back);
        }
        let c = &self.shared.counters;
        if earlier { &c.resent } else { &c.published }.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn handle(&mut self, happening: Happening) -> std::result::Result<(), Down> {
        match happening {
            Happening::Up { .. } | Happening::Closed => {}
            Happening::Sent(pkid) => match self.submitted.pop_front() {
                Some(what) if pkid != 0 => drop(self.in_flight.insert(pkid, (what, Instant::now()))),
                Some(_) => {}
                None => tracing::error!("a packet went out that nobody submitted"),
            },
            Happening::Acked { pkid, refusal } => {
                if let Some((what, _)) = self.in_flight.remove(&pkid) {
                    if matches!(what, What::Event(_)) {
                        self.events_out = self.events_out.saturating_sub(1);
                    }
                    match refusal {
                        None => self.accepted(what),
                        Some(why) => self.refused(what, why),
                    }
                }
            }
            Happening::Subscribed { granted: true } => {
                tracing::debug!("commands are heard");
                if self.shared.all_clear("subscription") {
                    let line = "commands are heard again".to_owned();
                    self.shared.alarm(AlarmCode::BrokerRefused, AlarmState::Cleared, "commands", line);
                }
            }
            Happening::Subscribed { granted: false } => {
                let line =
                    format!("the broker refuses the subscription to {}", self.shared.topics.commands());
                tracing::error!(alarm = "broker_refused", "{line}; let this box read its cmd topics");
                if self.shared.first("subscription") {
                    self.shared.alarm(AlarmCode::BrokerRefused, AlarmState::Raised, "commands", line);
                }
                self.subscribe_at = Some(Instant::now() + DEAF_FOR);
            }
            Happening::Message(delivery) => self.command(delivery),
            Happening::Down(down) => return Err(down),
        }
        Ok(())
    }

    fn accepted(&mut self, what: What) {
        match what {
            What::Event(row) => {
                self.parked.remove(&row.row);
                self.shared.outbox.ack(row.row);
                self.shared.counters.acked.fetch_add(1, Ordering::Relaxed);
                let about = topic_alarm(row.kind);
                // One that passes says little about those that still wait for another try.
                if self.parked.is_empty() && self.shared.all_clear(&about) {
                    let line = "the broker takes these events again".to_owned();
                    self.shared.alarm(AlarmCode::BrokerRefused, AlarmState::Cleared, &about, line);
                }
            }
            What::Reply(_) => drop(self.shared.counters.replies.fetch_add(1, Ordering::Relaxed)),
            What::Retained(_) => {}
            What::Goodbye => self.said_goodbye = true,
        }
    }

    fn refused(&mut self, what: What, why: String) {
        match what {
            What::Event(row) => {
                self.shared.counters.rejected.fetch_add(1, Ordering::Relaxed);
                let last = self.parked.get(&row.row).map(|p| p.wait);
                let wait = last.map_or(PARK_MIN, |w| (w * 2).min(PARK_MAX));
                if last.is_some() || self.parked.len() < MAX_PARKED {
                    self.parked.insert(row.row, Parked { retry_at: Instant::now() + wait, wait });
                }
                let about = topic_alarm(row.kind);
                let line =
                    format!("the broker refuses {} events: {why}; they are kept and tried again", row.kind);
                tracing::error!(alarm = "broker_refused", row = row.row, wait_s = wait.as_secs(), "{line}");
                // Alarms travel the same way: one about alarms would only breed more of them.
                if self.shared.first(&about) && row.kind != EventKind::BoxAlarm {
                    self.shared.alarm(AlarmCode::BrokerRefused, AlarmState::Raised, &about, line);
                }
            }
            What::Reply(reply) => {
                self.shared.counters.replies_dropped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(topic = reply.to.topic, "the broker refuses a reply: {why}");
            }
            What::Retained(topic) => {
                tracing::error!(
                    alarm = "broker_refused",
                    topic,
                    "the broker refuses a retained topic: {why}"
                );
                if self.shared.first(&topic) {
                    let line = format!("the broker refuses {topic}: {why}");
                    self.shared.alarm(AlarmCode::BrokerRefused, AlarmState::Raised, &topic, line);
                }
            }
            What::Goodbye => self.said_goodbye = true,
        }
    }

    fn command(&mut self, delivery: Delivery) {
        let c = &self.shared.counters;
        let received = Instant::now();
        let Delivery { topic, payload, retain, response_topic, correlation_data, expiry_s } = delivery;
        let Some(name) = self.shared.topics.command_name(&topic) else {
            c.commands_unknown.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if retain {
            c.commands_retained.fetch_add(1, Ordering::Relaxed);
            if self.shared.first(&topic) {
                let line =
                    "a retained command is old and is not executed; delete it from the broker".to_owned();
                tracing::warn!(topic, "{line}");
                self.shared.alarm(AlarmCode::CommandRefused, AlarmState::Happened, shorten(name), line);
            }
            return;
        }
        if payload.len() > self.shared.config.max_command_bytes as usize {
            c.commands_oversize.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                name = shorten(name),
                bytes = payload.len(),
                "a command is too large and was dropped"
            );
            return;
        }
        if name == "rebirth" {
            self.announce.extend([self.shared.topics.state(), self.shared.topics.birth()]);
            for kept in lock(&self.shared.retained).values_mut() {
                kept.announced = false;
            }
            return;
        }
        if !self.shared.known_commands.iter().any(|k| k == name) {
            c.commands_unknown.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(name = shorten(name), "nobody listens to this command");
            return;
        }
        let command = Command {
            name: name.to_owned(),
            payload: wipe(payload),
            reply_to: response_topic.and_then(|t| ReplyTo::checked(&self.shared.topics, t, correlation_data)),
            expires: expiry_s.map(|s| received + Duration::from_secs(u64::from(s))),
            received,
        };
        match self.shared.commands.try_send(command) {
            Ok(()) => c.commands.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                tracing::warn!(name, "a command was dropped: earlier ones still wait");
                c.commands_dropped.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// The connection is gone: replies that are still wanted go back into their queue. Events are
    /// in the outbox anyway.
    fn take_back(&mut self) {
        let unanswered = self.submitted.drain(..).chain(self.in_flight.drain().map(|(_, (what, _))| what));
        for what in unanswered {
            if let What::Reply(reply) = what {
                self.shared.push_reply(*reply);
            }
        }
    }

    /// `offline` on purpose, then the disconnect packet, so that the will is not needed.
    async fn goodbye(&mut self) {
        let state = State::stopped(self.shared.outbox.boot_id(), self.shared.clock.now());
        let Ok(payload) = to_json(&state) else { return };
        let topic = self.shared.topics.state();
        let p = Publication { topic, payload, acknowledged: true, retain: true, ..Publication::default() };
        if !self.submit(What::Goodbye, p) {
            return;
        }
        let deadline = tokio::time::Instant::now() + GOODBYE;
        while !self.said_goodbye {
            match tokio::time::timeout_at(deadline, self.link.next()).await {
                Ok(happening) => {
                    if self.handle(happening).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
        if self.link.disconnect() {
            let deadline = tokio::time::Instant::now() + GOODBYE;
            while let Ok(happening) = tokio::time::timeout_at(deadline, self.link.next()).await {
                match happening {
                    // The packet is written right after this is reported; the broker then closes.
                    Happening::Down(_) => return,
                    Happening::Closed => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        return;
                    }
                    _ => {}
                }
            }
        }
    }
}

fn topic_alarm(kind: EventKind) -> String {
    format!("event/{kind}")
}

/// A hostile name must not fill the log.
fn shorten(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(at, _)| &name[..at])
}

/// Moves a payload into memory that is overwritten when dropped. The receive buffer it came in is
/// overwritten too where nothing else shares it.
fn wipe(payload: bytes::Bytes) -> Zeroizing<Vec<u8>> {
    let kept = Zeroizing::new(payload.to_vec());
    if let Ok(mut buffer) = payload.try_into_mut() {
        buffer.as_mut().zeroize();
    }
    kept
}
