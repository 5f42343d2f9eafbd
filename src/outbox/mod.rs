//! The durable queue of events: what was decided stays here until the broker has it.
//!
//! [`Outbox`] implements [`Recorder`]: a draft handed to [`Recorder::record`] becomes an
//! [`Envelope`] on disk, and the receiver yields it only after the disk confirmed. The bus reads
//! [`Outbox::pending`] rows in order and calls [`Outbox::ack`] on the broker's PUBACK; only then
//! is a row deleted.
//!
//! # On disk
//!
//! Everything lies in the state directory, readable by its owner alone:
//!
//! | file | what |
//! |---|---|
//! | `outbox.db`, `outbox.db-wal` | SQLite 3, `application_id` 0x56474f42 (`VGOB`), `user_version` 1, WAL, `synchronous=FULL`, exclusive lock |
//! | `outbox.reserve` | ballast: `reserve_mib` of allocated blocks, there only to be deleted |
//! | `outbox.db.corrupt-{ms}` | a database that failed its check, moved aside; the newest four are kept |
//!
//! One table:
//!
//! | column of `event` | what |
//! |---|---|
//! | `row` | order of decision over all boots, from 1, never used twice |
//! | `boot` | the 16 bytes of the envelope's `bootid` |
//! | `seq` | the envelope's `seq`: per boot from 1, without gaps; unique with `boot` |
//! | `kind` | the last part of the topic |
//! | `decided_us` | the envelope's `time`, microseconds since 1970 |
//! | `sum` | first 8 bytes, big-endian, of the SHA-256 of `body` |
//! | `damaged` | 1: the body did not match its sum when it was read. It is kept for a person and never sent |
//! | `body` | the envelope as JSON with `"replayed":false`; at most [`MAX_EVENT_BYTES`] |
//!
//! `replayed` is decided when a row is sent ([`Row::payload`]); every other byte is the same in
//! every resend. That a row was attempted is remembered in memory only: after a restart its
//! `boot` is another one, and that alone makes it a replay.
//!
//! **A torn tail.** A transaction is in the WAL with checksums over every frame, and is fsynced
//! before anybody is told. A tail that ends in the middle of a transaction was confirmed to
//! nobody; SQLite drops it at the next opening.
//!
//! **Opening** checks the whole database. A corrupt one is moved aside with an error in the log
//! and a `box.alarm`, the rows that can still be read and match their sum are carried over, and a
//! new one is begun: a box that does not start helps nobody. A database of a newer layout is
//! refused instead, because nothing is wrong with it.
//!
//! **Limits.** One event: [`MAX_EVENT_BYTES`]. The database: `outbox.max_mib` of waiting events,
//! then the box takes no more decisions; 16 MiB above that for decisions already taken.
//!
//! **A full disk.** The first write that finds no space deletes the ballast and is made again, so
//! what was decided is written. From then on [`Recorder::ready`] refuses new decisions, until
//! there is room to allocate the ballast again.
//!
//! **A failing disk.** Any other error of the database, a failed fsync above all, ends that
//! handle: everybody waiting is told, the file is closed and opened again by the supervisor, and
//! rows whose writers were told of a failure are removed, so that `seq` stays without gaps.

mod ballast;
mod store;
mod writer;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::base::{Clock, Culprit, Error, Kind, Result, Shutdown};
use crate::config::OutboxConfig;
use crate::event::{Draft, Envelope, EventKind, Recorder};

/// The largest event, in bytes of its envelope.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// Requests that may wait for the writer thread.
pub const QUEUE: usize = 1024;

/// How a stored body says that it was not replayed. Inside a JSON string every quote is escaped,
/// so the first occurrence is the envelope's own attribute.
const NOT_REPLAYED: &str = "\"replayed\":false";

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number: order of decision over all boots.
    pub row: u64,
    /// The run of the daemon that decided it.
    pub boot: Uuid,
    /// Its sequence number in that run.
    pub seq: u64,
    /// Its kind, as in the topic.
    pub kind: EventKind,
    /// When it was decided.
    pub decided: Timestamp,
    /// Whether this process has tried to publish it before.
    pub attempted: bool,
    body: String,
}

impl Row {
    /// The envelope's JSON with `replayed` set.
    pub fn payload(&self, replayed: bool) -> Vec<u8> {
        if replayed {
            self.body.replacen(NOT_REPLAYED, "\"replayed\":true", 1).into_bytes()
        } else {
            self.body.clone().into_bytes()
        }
    }
}

/// What the outbox knows of itself, for health, metrics and the watchdog.
#[derive(Clone, Debug)]
pub struct OutboxStats {
    /// Events waiting for the broker.
    pub depth: u64,
    /// Age of the oldest of them by the wall clock.
    pub oldest: Option<Duration>,
    /// Bytes of the database in use.
    pub bytes: u64,
    /// Free bytes on the disk under the state directory.
    pub free_bytes: u64,
    /// Events made durable since the start.
    pub recorded: u64,
    /// Events deleted after the broker's acknowledgement since the start.
    pub acked: u64,
    /// Drafts that could not be made durable since the start.
    pub refused: u64,
    /// Rows set aside because their body did not match its sum.
    pub damaged: u64,
    /// Times the database had to be opened again after a failure.
    pub reopened: u64,
    /// Durable transactions since the start; events divided by this is the group size.
    pub commits: u64,
    /// Why no decision can be recorded now; `None` when one can.
    pub not_ready: Option<String>,
    /// When the writer thread last finished a turn. It turns at least every second: older than a
    /// few seconds means that the disk hangs.
    pub last_turn: Instant,
}

/// The condition of the store, in the order of precedence.
#[derive(Debug, Default)]
struct Condition {
    /// The database is not open.
    down: Option<String>,
    /// The ballast is gone.
    full: bool,
    /// `max_mib` is reached.
    over: bool,
}

#[derive(Debug)]
struct Shared {
    boot: Uuid,
    source: String,
    max_mib: u32,
    last_row: watch::Sender<u64>,
    acks: Mutex<Vec<u64>>,
    attempted: Mutex<HashSet<u64>>,
    condition: Mutex<Condition>,
    depth: AtomicU64,
    oldest: Mutex<Option<Timestamp>>,
    bytes: AtomicU64,
    free_bytes: AtomicU64,
    recorded: AtomicU64,
    acked: AtomicU64,
    refused: AtomicU64,
    damaged: AtomicU64,
    reopened: AtomicU64,
    commits: AtomicU64,
    last_turn: Mutex<Instant>,
    /// Makes the next commit fail as a dying disk does.
    #[cfg(test)]
    fail_next: std::sync::atomic::AtomicBool,
    /// Makes the next commit panic.
    #[cfg(test)]
    panic_next: std::sync::atomic::AtomicBool,
    /// Lowers the hard size limit to so many pages.
    #[cfg(test)]
    squeeze: AtomicU64,
}

// No lock here is held across I/O, and no panic can leave the values half-written.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

enum Request {
    Record(Box<Draft>, oneshot::Sender<Result<Envelope>>),
    Pending { after: u64, limit: usize, reply: oneshot::Sender<Result<Vec<Row>>> },
    Fetch { rows: Vec<u64>, reply: oneshot::Sender<Result<Vec<Row>>> },
    Wake,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    requests: Mutex<Option<SyncSender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stop: Shutdown,
    clock_now: ClockHandle,
}

#[derive(Clone)]
struct ClockHandle(Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping the sender is the signal; the thread writes what is queued and closes the file.
        lock(&self.requests).take();
        self.stop.request();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

/// A handle to the outbox; clones share it. When the last one goes, what is queued is written
/// and the file is closed.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

impl Outbox {
    /// Opens the outbox in `state_dir`, creating it if need be, and starts its writer thread.
    /// `source` is the envelopes' `source`, `/vigil/v1/{site}/{box}`. Each opening is a new boot.
    pub fn open(
        state_dir: &Path,
        config: &OutboxConfig,
        source: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            boot: Uuid::now_v7(),
            source,
            max_mib: config.max_mib,
            last_row: watch::Sender::new(0),
            acks: Mutex::default(),
            attempted: Mutex::default(),
            condition: Mutex::default(),
            depth: AtomicU64::new(0),
            oldest: Mutex::default(),
            bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            last_turn: Mutex::new(Instant::now()),
            #[cfg(test)]
            fail_next: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            panic_next: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            squeeze: AtomicU64::new(0),
        });
        let (tx, rx) = std::sync::mpsc::sync_channel(QUEUE);
        let stop = Shutdown::new();
        let mut writer = writer::Writer::open(state_dir, config, shared.clone(), clock.clone(), rx)?;
        let stop_in = stop.clone();
        let thread = crate::base::supervise::spawn("outbox", move || writer.run(&stop_in))?;
        Ok(Self(Arc::new(Inner {
            shared,
            requests: Mutex::new(Some(tx)),
            thread: Mutex::new(Some(thread)),
            stop,
            clock_now: ClockHandle(clock),
        })))
    }

    /// This run of the daemon: the envelopes' `bootid`.
    pub fn boot_id(&self) -> Uuid {
        self.0.shared.boot
    }

    /// The number of the newest durable row.
    pub fn last_row(&self) -> u64 {
        *self.0.shared.last_row.borrow()
    }

    /// Wakes whenever rows were made durable; the value is the newest row's number.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.shared.last_row.subscribe()
    }

    /// Up to `limit` waiting rows after row `after`, in order.
    pub async fn pending(&self, after: u64, limit: usize) -> Result<Vec<Row>> {
        let (reply, rx) = oneshot::channel();
        self.ask(Request::Pending { after, limit, reply })?;
        self.answer(rx).await
    }

    /// These rows, as far as they are still waiting.
    pub async fn fetch(&self, rows: Vec<u64>) -> Result<Vec<Row>> {
        let (reply, rx) = oneshot::channel();
        self.ask(Request::Fetch { rows, reply })?;
        self.answer(rx).await
    }

    async fn answer(&self, rx: oneshot::Receiver<Result<Vec<Row>>>) -> Result<Vec<Row>> {
        let mut rows = rx.await.map_err(|_| closed())??;
        let attempted = lock(&self.0.shared.attempted);
        for row in &mut rows {
            row.attempted = attempted.contains(&row.row);
        }
        Ok(rows)
    }

    /// Remembers that `row` is being published now: from here on it is a replay.
    pub fn mark_attempted(&self, row: u64) {
        lock(&self.0.shared.attempted).insert(row);
    }

    /// The broker has `row`: it will be deleted. Losing this in a crash means one more resend.
    pub fn ack(&self, row: u64) {
        lock(&self.0.shared.acks).push(row);
        lock(&self.0.shared.attempted).remove(&row);
        // A full queue means that the writer is awake.
        let _ = self.ask(Request::Wake);
    }

    /// What the outbox knows of itself.
    pub fn stats(&self) -> OutboxStats {
        let s = &self.0.shared;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let now = self.0.clock_now.0.now();
        OutboxStats {
            depth: get(&s.depth),
            oldest: lock(&s.oldest).map(|t| Duration::try_from(now.duration_since(t)).unwrap_or_default()),
            bytes: get(&s.bytes),
            free_bytes: get(&s.free_bytes),
            recorded: get(&s.recorded),
            acked: get(&s.acked),
            refused: get(&s.refused),
            damaged: get(&s.damaged),
            reopened: get(&s.reopened),
            commits: get(&s.commits),
            not_ready: self.ready().err().map(|e| e.to_string()),
            last_turn: *lock(&s.last_turn),
        }
    }

    fn ask(&self, request: Request) -> Result<()> {
        let requests = lock(&self.0.requests);
        let Some(tx) = requests.as_ref() else { return Err(closed()) };
        tx.try_send(request).map_err(|e| match e {
            TrySendError::Full(_) => Error::new(
                Kind::Unavailable,
                Culprit::Disk,
                format!("outbox: {QUEUE} requests wait for the disk already"),
            )
            .remedy("the disk under box.state_dir is too slow or hangs"),
            TrySendError::Disconnected(_) => closed(),
        })
    }
}

fn closed() -> Error {
    Error::new(Kind::Cancelled, Culprit::Vigil, "the outbox is closed")
}

impl Recorder for Outbox {
    fn record(&self, draft: Draft) -> oneshot::Receiver<Result<Envelope>> {
        let (tx, rx) = oneshot::channel();
        let down = lock(&self.0.shared.condition).down.clone();
        if let Some(why) = down {
            self.0.shared.refused.fetch_add(1, Ordering::Relaxed);
            let _ = tx.send(Err(Error::new(Kind::Unavailable, Culprit::Disk, why)));
            return rx;
        }
        // The sender moves into the queue; if the queue refuses it, a new pair carries the reason.
        match self.ask(Request::Record(Box::new(draft), tx)) {
            Ok(()) => rx,
            Err(e) => {
                self.0.shared.refused.fetch_add(1, Ordering::Relaxed);
                let (tx, rx) = oneshot::channel();
                let _ = tx.send(Err(e));
                rx
            }
        }
    }

    fn ready(&self) -> Result<()> {
        let c = lock(&self.0.shared.condition);
        if let Some(why) = &c.down {
            return Err(Error::new(Kind::Unavailable, Culprit::Disk, why.clone()));
        }
        if c.full {
            return Err(Error::new(Kind::NoSpace, Culprit::Disk, "outbox: the disk is full")
                .remedy("free space under box.state_dir"));
        }
        if c.over {
            return Err(Error::new(
                Kind::NoSpace,
                Culprit::Broker,
                format!("outbox: {} MiB of events wait for the broker", self.0.shared.max_mib),
            )
            .remedy("bring the broker back, or raise outbox.max_mib"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
