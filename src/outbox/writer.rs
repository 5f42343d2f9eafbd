//! The one thread that touches the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::ballast::{Ballast, free_bytes};
use super::store::{Opened, Sealed, Store};
use super::{MAX_EVENT_BYTES, Request, Shared, lock};
use crate::base::backoff::Backoff;
use crate::base::supervise::{End, supervise};
use crate::base::{Clock, Culprit, Error, Kind, Result, Shutdown};
use crate::config::OutboxConfig;
use crate::event::{AlarmCode, AlarmState, BoxAlarm, Draft, Envelope, SPEC_VERSION};

/// Events written in one transaction.
const GROUP: usize = 256;
/// Acknowledgements wait this long for company before they cost an fsync of their own.
const ACK_LINGER: Duration = Duration::from_millis(20);
/// The longest sleep of the thread.
const TICK: Duration = Duration::from_secs(1);
/// Time between looks at the free space.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same while the disk is full.
const LOOK_EVERY_FULL: Duration = Duration::from_millis(500);
/// Waiting longer than this is worth an alarm.
const BACKLOG_AGE: Duration = Duration::from_secs(600);
/// Waits between attempts to open a failed database.
const REOPEN_MIN: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    dir: PathBuf,
    max_bytes: u64,
    warn_free: u64,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    requests: Receiver<Request>,
    ballast: Ballast,
    store: Option<Store>,
    /// The last confirmed sequence number of this boot.
    seq: u64,
    /// Alarms of our own, written with the next transaction.
    alarms: Vec<Draft>,
    last_look: Option<Instant>,
    low: bool,
    late: bool,
    /// A turn has begun and not ended: found set by the next run, it means a panic.
    turning: bool,
}

/// A draft with whoever waits for it; alarms of our own have nobody.
type Waiting = (Draft, Option<oneshot::Sender<Result<Envelope>>>);

impl Writer {
    pub(super) fn open(
        dir: &Path,
        config: &OutboxConfig,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        requests: Receiver<Request>,
    ) -> Result<Self> {
        let mut writer = Self {
            dir: dir.to_owned(),
            max_bytes: u64::from(config.max_mib) << 20,
            warn_free: u64::from(config.warn_free_mib) << 20,
            shared,
            clock,
            requests,
            ballast: Ballast::new(dir, u64::from(config.reserve_mib) << 20),
            store: None,
            seq: 0,
            alarms: Vec::new(),
            last_look: None,
            low: false,
            late: false,
            turning: false,
        };
        writer.open_store()?;
        // The directory exists now.
        writer.ballast = Ballast::new(dir, u64::from(config.reserve_mib) << 20);
        writer.look_at_disk();
        Ok(writer)
    }

    fn open_store(&mut self) -> Result<()> {
        let opened = match Store::open(&self.dir, self.max_bytes) {
            Err(e) if e.kind() == Kind::NoSpace && self.ballast.release() => {
                Store::open(&self.dir, self.max_bytes)
            }
            other => other,
        };
        let Opened { mut store, moved_aside } = opened?;
        if let Some(line) = moved_aside {
            tracing::error!(alarm = "outbox", "{line}");
            self.alarm(AlarmCode::ComponentRestarted, AlarmState::Happened, line);
        }
        let removed = store.forget_unconfirmed(self.shared.boot, self.seq)?;
        if removed > 0 {
            tracing::warn!(removed, "outbox: events whose recording had failed were removed");
        }
        let census = store.census()?;
        self.shared.depth.store(census.depth, Ordering::Relaxed);
        self.shared.damaged.store(census.damaged, Ordering::Relaxed);
        self.store = Some(store);
        self.measure()?;
        self.shared.last_row.send_replace(census.last_row);
        lock(&self.shared.condition).down = None;
        Ok(())
    }

    /// The thread's body: turns until the last handle is gone, opening the database again after
    /// every failure.
    pub(super) fn run(&mut self, stop: &Shutdown) {
        let Ok(backoff) = Backoff::try_new(REOPEN_MIN, REOPEN_MAX) else { return };
        let shared = self.shared.clone();
        supervise(
            "outbox",
            backoff,
            stop,
            || {
                let end = self.run_once();
                if let Err(e) = &end {
                    self.fail(e);
                }
                end
            },
            |e, wait| {
                shared.reopened.fetch_add(1, Ordering::Relaxed);
                tracing::error!(alarm = "outbox", wait_ms = wait.as_millis() as u64, "{}", e.chain());
            },
        );
        // The stop is requested after the sender was dropped: what is queued is still written.
        if self.store.is_some() {
            while let Ok(true) = self.turn(Duration::ZERO) {}
        }
        self.store = None;
    }

    /// Closes the handle and tells everybody who waits.
    fn fail(&mut self, e: &Error) {
        self.store = None;
        let why = failed(e);
        lock(&self.shared.condition).down = Some(why.clone());
        while let Ok(request) = self.requests.try_recv() {
            let error = || Error::new(Kind::Unavailable, Culprit::Disk, why.clone());
            match request {
                Request::Record(_, tx) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    let _ = tx.send(Err(error()));
                }
                Request::Pending { reply, .. } | Request::Fetch { reply, .. } => {
                    let _ = reply.send(Err(error()));
                }
                Request::Wake => {}
            }
        }
    }

    fn run_once(&mut self) -> Result<End> {
        if std::mem::take(&mut self.turning) {
            // What a panic left behind is not trusted.
            self.store = None;
        }
        if self.store.is_none() {
            self.open_store()?;
            let line = "the event store failed and was opened again".to_owned();
            self.alarm(AlarmCode::ComponentRestarted, AlarmState::Happened, line);
        }
        loop {
            self.turning = true;
            let more = self.turn(TICK);
            self.turning = false;
            if !more? {
                return Ok(End::Finished);
            }
        }
    }

    /// One turn: wait for work, write it, answer. False when the last handle is gone.
    fn turn(&mut self, wait: Duration) -> Result<bool> {
        let mut drafts: Vec<Waiting> = self.alarms.drain(..).map(|d| (d, None)).collect();
        let mut questions = Vec::new();
        let mut open = true;
        let deadline = Instant::now() + if drafts.is_empty() { wait } else { Duration::ZERO };
        let mut deadline = deadline;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(left) {
                Ok(Request::Wake) => deadline = deadline.min(Instant::now() + ACK_LINGER),
                Ok(Request::Record(draft, tx)) => {
                    drafts.push((*draft, Some(tx)));
                    deadline = Instant::now();
                }
                Ok(question) => {
                    questions.push(question);
                    deadline = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
            if drafts.len() >= GROUP || questions.len() >= GROUP {
                break;
            }
        }
        let mut acks = std::mem::take(&mut *lock(&self.shared.acks));
        acks.sort_unstable();
        acks.dedup();
        let outcome = if drafts.is_empty() && acks.is_empty() { Ok(()) } else { self.write(drafts, acks) };
        // Whoever asked waits for an answer even when the writing failed.
        for question in questions {
            match &outcome {
                Ok(()) => self.answer(question)?,
                Err(_) => drop(question),
            }
        }
        outcome?;
        let every = if self.ballast.standing() { LOOK_EVERY } else { LOOK_EVERY_FULL };
        if self.last_look.is_none_or(|at| at.elapsed() >= every) {
            self.look_at_disk();
            self.look_at_backlog();
            if self.shared.depth.load(Ordering::Relaxed) == 0
                && let Some(store) = &self.store
            {
                store.tidy()?;
            }
        }
        *lock(&self.shared.last_turn) = Instant::now();
        Ok(open)
    }

    fn answer(&mut self, question: Request) -> Result<()> {
        let Some(store) = &mut self.store else { return Err(Error::internal("outbox: no store")) };
        let (found, reply) = match question {
            Request::Pending { after, limit, reply } => (store.pending(after, limit), reply),
            Request::Fetch { rows, reply } => (store.fetch(&rows), reply),
            Request::Record(..) | Request::Wake => return Ok(()),
        };
        match found {
            Ok((rows, damaged)) => {
                let _ = reply.send(Ok(rows));
                if damaged > 0 {
                    self.shared.damaged.fetch_add(damaged, Ordering::Relaxed);
                    let depth = self.shared.depth.load(Ordering::Relaxed).saturating_sub(damaged);
                    self.shared.depth.store(depth, Ordering::Relaxed);
                    let line = format!("{damaged} waiting events had decayed on the disk and were set aside");
                    tracing::error!(alarm = "outbox", "{line}");
                    self.alarm(AlarmCode::ComponentRestarted, AlarmState::Happened, line);
                }
                Ok(())
            }
            Err(e) => {
                let told = Error::new(e.kind(), e.culprit(), e.to_string());
                let _ = reply.send(Err(told));
                Err(e)
            }
        }
    }

    fn write(&mut self, drafts: Vec<Waiting>, acks: Vec<u64>) -> Result<()> {
        let mut sealed = Vec::with_capacity(drafts.len());
        let mut waiting = Vec::with_capacity(drafts.len());
        for (draft, tx) in drafts {
            let kind = draft.kind;
            let envelope = self.seal(draft, self.seq + 1 + sealed.len() as u64);
            match Sealed::new(kind, &envelope).and_then(fits) {
                Ok(s) => {
                    sealed.push(s);
                    waiting.push((envelope, tx));
                }
                Err(e) => self.refuse(tx, e),
            }
        }
        if sealed.is_empty() && acks.is_empty() {
            return Ok(());
        }
        let mut result = self.commit(&sealed, &acks);
        if matches!(&result, Err(e) if e.kind() == Kind::NoSpace) {
            self.mark_full();
            if self.ballast.release() {
                result = self.commit(&sealed, &acks);
            }
            // The journal itself may hold the room that is missing.
            if matches!(&result, Err(e) if e.kind() == Kind::NoSpace)
                && self.store.as_ref().is_some_and(|s| s.fold_journal().is_ok())
            {
                result = self.commit(&sealed, &acks);
            }
        }
        match result {
            Ok((rows, deleted)) => {
                self.seq += rows.len() as u64;
                let s = &self.shared;
                s.commits.fetch_add(1, Ordering::Relaxed);
                s.recorded.fetch_add(rows.len() as u64, Ordering::Relaxed);
                s.acked.fetch_add(deleted as u64, Ordering::Relaxed);
                let depth = s.depth.load(Ordering::Relaxed) + rows.len() as u64;
                s.depth.store(depth.saturating_sub(deleted as u64), Ordering::Relaxed);
                if let Some(last) = rows.last() {
                    s.last_row.send_replace(*last);
                }
                for (envelope, tx) in waiting {
                    if let Some(tx) = tx {
                        let _ = tx.send(Ok(envelope));
                    }
                }
                self.measure()
            }
            Err(e) => {
                lock(&self.shared.acks).extend(acks);
                let full = e.kind() == Kind::NoSpace;
                if !full {
                    // Nobody may find the outbox ready after having been told that it failed.
                    lock(&self.shared.condition).down = Some(failed(&e));
                }
                for (_, tx) in waiting {
                    let told = Error::new(e.kind(), e.culprit(), e.to_string());
                    self.refuse(tx, told);
                }
                // No space is a condition to wait out; everything else ends this handle.
                if full { Ok(()) } else { Err(e) }
            }
        }
    }

    fn commit(&mut self, sealed: &[Sealed], acks: &[u64]) -> Result<(Vec<u64>, usize)> {
        #[cfg(test)]
        assert!(!self.shared.panic_next.swap(false, Ordering::Relaxed), "injected");
        #[cfg(test)]
        if self.shared.fail_next.swap(false, Ordering::Relaxed) {
            return Err(Error::new(Kind::Unavailable, Culprit::Disk, "outbox: the disk failed (injected)"));
        }
        let Some(store) = &mut self.store else { return Err(Error::internal("outbox: no store")) };
        #[cfg(test)]
        match self.shared.squeeze.swap(0, Ordering::Relaxed) {
            0 => {}
            pages => store.limit_pages(pages as i64),
        }
        store.commit(sealed, acks)
    }

    fn refuse(&self, tx: Option<oneshot::Sender<Result<Envelope>>>, e: Error) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        match tx {
            Some(tx) => {
                let _ = tx.send(Err(e));
            }
            None => tracing::error!("an alarm could not be recorded: {}", e.chain()),
        }
    }

    fn seal(&self, draft: Draft, seq: u64) -> Envelope {
        Envelope {
            specversion: SPEC_VERSION.to_owned(),
            id: Uuid::now_v7(),
            source: self.shared.source.clone(),
            ty: draft.kind.cloud_event_type(),
            subject: draft.subject,
            time: draft.time,
            datacontenttype: "application/json".to_owned(),
            seq,
            bootid: self.shared.boot,
            timequality: self.clock.quality(),
            replayed: false,
            notafter: draft.not_after,
            data: draft.data,
        }
    }

    fn alarm(&mut self, code: AlarmCode, state: AlarmState, message: String) {
        let alarm = BoxAlarm { code, state, about: Some("outbox".to_owned()), message };
        match Draft::box_alarm(&alarm, self.clock.now()) {
            Ok(draft) if self.alarms.len() < 16 => self.alarms.push(draft),
            Ok(_) => {}
            Err(e) => tracing::error!("{}", e.chain()),
        }
    }

    fn measure(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let bytes = store.bytes()?;
        *lock(&self.shared.oldest) = store.oldest()?;
        self.shared.bytes.store(bytes, Ordering::Relaxed);
        let was = lock(&self.shared.condition).over;
        let over = bytes >= if was { self.max_bytes / 20 * 19 } else { self.max_bytes };
        lock(&self.shared.condition).over = over;
        if over != was {
            let state = if over { AlarmState::Raised } else { AlarmState::Cleared };
            let line = if over {
                format!("{} MiB of events wait for the broker: no more decisions are taken", bytes >> 20)
            } else {
                "the outbox has room again".to_owned()
            };
            tracing::error!(alarm = "outbox", "{line}");
            self.alarm(AlarmCode::OutboxBacklog, state, line);
        }
        Ok(())
    }

    fn mark_full(&mut self) {
        let was = std::mem::replace(&mut lock(&self.shared.condition).full, true);
        if !was {
            let line =
                "the disk is full: what was decided is written to the reserve, no more decisions are taken";
            tracing::error!(alarm = "disk_full", dir = %self.dir.display(), "{line}; free space there");
            self.low = true;
            self.alarm(AlarmCode::DiskFull, AlarmState::Raised, line.to_owned());
        }
    }

    /// Measures the free space, takes the ballast back when there is room, raises and clears the
    /// alarm.
    fn look_at_disk(&mut self) {
        self.last_look = Some(Instant::now());
        let free = match free_bytes(&self.dir) {
            Ok(free) => free,
            Err(e) => return tracing::warn!("{}", e.chain()),
        };
        self.shared.free_bytes.store(free, Ordering::Relaxed);
        if !self.ballast.standing() {
            let room = self.ballast.bytes() + self.ballast.bytes() / 8;
            match if free >= room { self.ballast.restore() } else { Err(no_room(free)) } {
                Ok(()) => {}
                Err(e) if e.kind() == Kind::NoSpace => self.mark_full(),
                Err(e) => {
                    tracing::error!("{}", e.chain());
                    self.mark_full();
                }
            }
        }
        // With the ballast standing the promise holds again. Without a ballast (reserve_mib = 0)
        // there must at least be room for the largest event.
        if self.ballast.standing() && free > 4 * MAX_EVENT_BYTES as u64 {
            let was = std::mem::replace(&mut lock(&self.shared.condition).full, false);
            if was {
                tracing::info!("the disk has room again: decisions are taken again");
            }
        }
        let full = lock(&self.shared.condition).full;
        if !self.low && (free < self.warn_free) {
            self.low = true;
            let line = format!("{} MiB are free on the disk of the state directory", free >> 20);
            tracing::warn!(alarm = "disk_full", "{line}");
            self.alarm(AlarmCode::DiskFull, AlarmState::Raised, line);
        } else if self.low && !full && free >= self.warn_free + self.warn_free / 10 {
            self.low = false;
            let line = format!("{} MiB are free on the disk of the state directory again", free >> 20);
            self.alarm(AlarmCode::DiskFull, AlarmState::Cleared, line);
        }
    }

    fn look_at_backlog(&mut self) {
        let oldest = *lock(&self.shared.oldest);
        let age = oldest.map(|t| Duration::try_from(self.clock.now().duration_since(t)).unwrap_or_default());
        let late = age.is_some_and(|age| age > BACKLOG_AGE);
        if late && !self.late {
            let depth = self.shared.depth.load(Ordering::Relaxed);
            let line = format!("{depth} events wait for the broker, the oldest for more than 10 minutes");
            tracing::warn!(alarm = "outbox_backlog", "{line}");
            self.alarm(AlarmCode::OutboxBacklog, AlarmState::Raised, line);
        } else if self.late && age.is_none() {
            self.alarm(AlarmCode::OutboxBacklog, AlarmState::Cleared, "no event waits any more".to_owned());
        }
        self.late = late || (self.late && age.is_some());
    }
}

fn failed(e: &Error) -> String {
    format!("outbox: the store failed and is being opened again: {e}")
}

fn no_room(free: u64) -> Error {
    Error::new(Kind::NoSpace, Culprit::Disk, format!("{free} bytes are free"))
}

fn fits(s: Sealed) -> Result<Sealed> {
    if s.body.len() <= MAX_EVENT_BYTES {
        return Ok(s);
    }
    Err(Error::new(
        Kind::TooLarge,
        Culprit::Vigil,
        format!("an event of {} bytes is over the limit of {MAX_EVENT_BYTES}", s.body.len()),
    ))
}
