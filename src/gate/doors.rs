//! The doors' thread: credentials in, decisions out.
//!
//! It runs the pure machine of [`door`](super::door) and does what that asks for: the holder is
//! looked up where blocking is allowed, the face is compared by the camera's station exactly as a
//! guest's is, changes are made durable, then the decision, and only then is anybody told.
//!
//! Nothing here can hold a door open for longer than its deadline: a gallery that does not answer
//! within [`LOOKUP_WITHIN`] is unavailable, a station that does not decide is answered for, and a
//! grant that could not be made durable is no grant.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::door::{
    Arrival, Arrived, DoorRules, Doorman, GATE_CHECKS, Lease, Lookup, Memory, Next, Passage, Ruling, Watched,
};
use super::ledger::Ledger;
use super::looks::Looks;
use super::register::{Found, Register};
use super::request::read_object;
use super::session::Verdict;
use super::verifier::{LookAsk, Verifier};
use crate::base::backoff::Backoff;
use crate::base::supervise::End;
use crate::base::{Clock, Culprit, Error, Kind, Name, Result, Shutdown, supervise};
use crate::event::topic::valid_correlation;
use crate::event::{
    CaptureFacts, Check, CheckName, CheckStatus, Comparison, ConfirmCommand, CredentialCommand,
    CredentialKind, CredentialText, Draft, Envelope, GateDecision, GateOutcome, GatePassage, Means, Outcome,
    ReadKind, ReadText, ReaderVerdict, Reason, Recorder, Timing,
};

/// The gallery answers within this time or counts as unavailable.
const LOOKUP_WITHIN: Duration = Duration::from_secs(2);
/// The disk takes a change or a decision within this time.
const RECORD_WITHIN: Duration = Duration::from_secs(2);
/// Beyond a session's window, for a station that hangs.
const GRACE: Duration = Duration::from_millis(250);
/// Reads waiting for the doors' thread.
const READS: usize = 64;
/// What happened, kept for a slow listener.
const HAPPENED: usize = 64;
/// Readers that wait for one session's decision.
const MAX_WAITERS: usize = 8;
/// How often those are forgotten who are in the gallery no more.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Between two starts after a panic.
const RESTART_MIN: Duration = Duration::from_millis(20);
const RESTART_MAX: Duration = Duration::from_millis(500);
/// Longest credential.
const MAX_VALUE: usize = 128;
/// Largest command.
const MAX_COMMAND: usize = 4096;

/// Something was read at a door.
#[derive(Debug)]
pub struct CredentialRead {
    /// What the reader calls this read.
    pub correlation: Option<String>,
    /// At which door.
    pub door: Name,
    /// What was read.
    pub kind: ReadKind,
    /// The number, PIN or reference.
    pub value: Option<ReadText>,
    /// What a fingerprint reader says.
    pub verdict: Option<ReaderVerdict>,
    /// The person declines the camera.
    pub declines_camera: bool,
    /// When it reached the box; none: when it reaches the doors' thread.
    pub received: Option<Instant>,
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, message)
}

fn checked_correlation(correlation: Option<&str>) -> Result<()> {
    if correlation.is_some_and(|c| !valid_correlation(c)) {
        return Err(refused("`correlation` is not usable in a topic")
            .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, _ and -"));
    }
    Ok(())
}

/// Reads a command to a door: one JSON object. No message repeats what was sent.
pub fn read_command<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T> {
    read_object(json, MAX_COMMAND, false)
}

impl CredentialRead {
    /// Reads the payload of `cmd/credential`. No message repeats what was presented.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Self::checked(read_command::<CredentialCommand>(json)?)
    }

    /// Checks what no single field can be blamed for.
    pub fn checked(command: CredentialCommand) -> Result<Self> {
        checked_correlation(command.correlation.as_deref())?;
        let CredentialCommand { correlation, door, kind, value, verdict, declines_camera } = command;
        if let Some(value) = &value {
            let sound = (1..=MAX_VALUE).contains(&value.expose().len())
                && value.expose().bytes().all(|b| b.is_ascii_graphic());
            if !sound {
                return Err(refused("`value` is not a credential")
                    .remedy(format!("use 1 to {MAX_VALUE} printable characters without spaces")));
            }
        }
        match (kind, verdict) {
            (ReadKind::Fingerprint, None) => {
                return Err(refused("a fingerprint without `verdict`").remedy("send match or no_match"));
            }
            (ReadKind::Fingerprint, Some(ReaderVerdict::NoMatch)) => {}
            (_, Some(_)) if kind != ReadKind::Fingerprint => {
                return Err(refused("`verdict` is a fingerprint reader's").remedy("leave it out"));
            }
            _ if value.is_none() => return Err(refused("there is no `value`").remedy("send what was read")),
            _ => {}
        }
        if declines_camera && kind != ReadKind::Pin {
            return Err(refused("without a face only a PIN opens a session")
                .remedy("send kind = pin with declines_camera = true"));
        }
        Ok(Self { correlation, door, kind, value, verdict, declines_camera, received: None })
    }
}

/// Staff decide about a person who declined the camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaffWord {
    /// What the requester calls it.
    pub correlation: Option<String>,
    /// The session that waits.
    pub session: Uuid,
    /// Whether the person may pass.
    pub admit: bool,
    /// Who decides.
    pub staff: String,
}

impl StaffWord {
    /// Reads the payload of `cmd/confirm`.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Self::checked(read_command::<ConfirmCommand>(json)?)
    }

    /// Checks the pseudonym.
    pub fn checked(command: ConfirmCommand) -> Result<Self> {
        checked_correlation(command.correlation.as_deref())?;
        let ConfirmCommand { correlation, session, admit, staff } = command;
        let sound = (1..=64).contains(&staff.len())
            && staff.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !sound {
            return Err(refused("`staff` is not a pseudonym")
                .remedy("use 1 to 64 characters out of A-Z, a-z, 0-9, ., _ and -"));
        }
        Ok(Self { correlation, session, admit, staff })
    }
}

/// One door as it is built.
#[derive(Clone, Debug)]
pub struct DoorSetup {
    /// What it goes by.
    pub rules: DoorRules,
    /// The camera that sees who stands at it.
    pub camera: Name,
    /// Where its comparison's lines are.
    pub looks: Looks,
    /// Whether people are asked to move; none: as configured for verifications.
    pub presentation: Option<bool>,
    /// How long a grant may actuate.
    pub valid_for: Duration,
}

/// What the doors are made of.
pub struct DoorParts<T> {
    /// The doors.
    pub doors: Vec<DoorSetup>,
    /// Equipment by its tag.
    pub equipment: HashMap<String, Name>,
    /// Who holds what.
    pub register: Arc<dyn Register<Template = T>>,
    /// Compares faces.
    pub verifier: Verifier<T>,
    /// What is remembered over a restart.
    pub ledger: Ledger,
    /// And what was.
    pub memory: Memory,
    /// Where decisions are made durable.
    pub recorder: Arc<dyn Recorder>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The stop.
    pub stop: Shutdown,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq)]
pub struct DoorAnswer {
    /// The decision; absent for equipment, about which nothing is decided.
    pub decision: Option<GateDecision>,
    /// The durable event.
    pub envelope: Option<Envelope>,
}

/// What happened at a door, for whoever unlocks it and whoever speaks.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A face is looked for.
    Looking {
        /// Which door.
        door: Name,
    },
    /// Somebody waits for staff, or does not any more.
    Staff {
        /// Which door.
        door: Name,
        /// Who waits until when.
        waiting: Vec<(Uuid, Timestamp)>,
        /// Somebody came to wait.
        asked: bool,
    },
    /// A decision is durable.
    Decided {
        /// The event.
        envelope: Arc<Envelope>,
        /// Its data.
        decision: Arc<GateDecision>,
    },
    /// A passage is over.
    Passed {
        /// What happened.
        passage: Arc<GatePassage>,
    },
}

/// Counts since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorStats {
    /// Durable decisions by door, outcome and reason.
    pub decisions: HashMap<(Name, GateOutcome, Option<Reason>), u64>,
    /// Decisions that could not be made durable.
    pub unrecorded: u64,
    /// Reads that were refused because too many waited.
    pub refused: u64,
}

type Reply = oneshot::Sender<Result<DoorAnswer>>;

enum Input {
    Read(CredentialRead, Reply),
    Staff(StaffWord, Reply),
}

struct Shared {
    stats: Mutex<DoorStats>,
    /// Why the last attempt to remember something failed.
    forgetful: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is one value, replaced whole: recovering from poison is sound.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The handle. Cheap to clone; the thread ends with the stop.
pub struct Doors {
    inputs: mpsc::Sender<Input>,
    happened: broadcast::Sender<Happened>,
    shared: Arc<Shared>,
    ready: Arc<dyn Fn() -> Result<()> + Send + Sync>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Clone for Doors {
    fn clone(&self) -> Self {
        Self {
            inputs: self.inputs.clone(),
            happened: self.happened.clone(),
            shared: self.shared.clone(),
            ready: self.ready.clone(),
            thread: self.thread.clone(),
        }
    }
}

impl Doors {
    /// Starts the thread.
    pub fn start<T: Send + 'static>(parts: DoorParts<T>) -> Result<Self> {
        let (inputs, queue) = mpsc::channel(READS);
        let happened = broadcast::Sender::new(HAPPENED);
        let shared = Arc::new(Shared { stats: Mutex::default(), forgetful: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            // The gallery and the ledger; one that hangs must not hold up the others.
            .max_blocking_threads(4)
            .thread_name("doors-disk")
            .build()
            .map_err(|e| Error::io(Culprit::Host, "cannot start the doors' timer", e))?;
        let register = parts.register.clone();
        let ready = Arc::new(move || register.ready());
        let rules = parts.doors.iter().map(|d| d.rules.clone()).collect();
        let (stop, clock) = (parts.stop.clone(), parts.clock.clone());
        let mut run = Run {
            doorman: Doorman::new(rules, parts.memory),
            doors: parts.doors,
            equipment: parts.equipment,
            register: parts.register,
            verifier: parts.verifier,
            ledger: Arc::new(parts.ledger),
            recorder: parts.recorder,
            clock,
            shared: shared.clone(),
            happened: happened.clone(),
            hasher: RandomState::new(),
            sessions: HashMap::new(),
            answered: HashMap::new(),
        };
        let backoff = Backoff::try_new(RESTART_MIN, RESTART_MAX)?;
        let thread = supervise::spawn("doors", move || {
            let mut queue = queue;
            supervise::supervise(
                "doors",
                backoff,
                &stop,
                || {
                    runtime.block_on(run.serve(&mut queue, &stop));
                    Ok(End::Finished)
                },
                |e, _| tracing::error!(error = %e.chain(), "the doors failed and begin again"),
            );
            // A gallery that hangs is left behind.
            runtime.shutdown_background();
        })?;
        Ok(Self { inputs, happened, shared, ready, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    fn put(&self, make: impl FnOnce(Reply) -> Input) -> oneshot::Receiver<Result<DoorAnswer>> {
        let (reply, answer) = oneshot::channel();
        let (input, full) = match self.inputs.try_send(make(reply)) {
            Ok(()) => return answer,
            Err(mpsc::error::TrySendError::Full(input)) => (input, true),
            Err(mpsc::error::TrySendError::Closed(input)) => (input, false),
        };
        let (Input::Read(_, reply) | Input::Staff(_, reply)) = input;
        let error = if full {
            lock(&self.shared.stats).refused += 1;
            Error::new(
                Kind::Unavailable,
                Culprit::Request,
                format!("{READS} reads wait at the doors already"),
            )
        } else {
            Error::new(Kind::Cancelled, Culprit::Vigil, "the box is stopping")
        };
        let _ = reply.send(Err(error));
        answer
    }

    /// Something was read. The decision comes within the door's window, or after staff have had
    /// their time.
    pub fn read(&self, mut read: CredentialRead) -> oneshot::Receiver<Result<DoorAnswer>> {
        read.received.get_or_insert_with(Instant::now);
        self.put(|reply| Input::Read(read, reply))
    }

    /// Staff decide.
    pub fn confirm(&self, word: StaffWord) -> oneshot::Receiver<Result<DoorAnswer>> {
        self.put(|reply| Input::Staff(word, reply))
    }

    /// What happens from now on.
    pub fn happened(&self) -> broadcast::Receiver<Happened> {
        self.happened.subscribe()
    }

    /// Counts since the daemon started.
    pub fn stats(&self) -> DoorStats {
        lock(&self.shared.stats).clone()
    }

    /// Whether the gallery and the memory can be asked.
    pub fn ready(&self) -> Result<()> {
        (self.ready)()?;
        match lock(&self.shared.forgetful).clone() {
            Some(why) => Err(Error::new(Kind::Unavailable, Culprit::Disk, why)),
            None => Ok(()),
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

/// What is kept of a session while it lasts.
struct Case<T> {
    correlation: Option<String>,
    received: Instant,
    reference: Option<T>,
    staff: Option<String>,
    waiters: Vec<Reply>,
}

/// What work that was handed out came to.
enum Done<T> {
    LookedUp(Uuid, Found<T>),
    Seen(Uuid, Box<(Verdict, Option<Comparison>, CaptureFacts)>),
    Watched(Uuid, Watched),
    Finished(Box<Finished>),
    Told,
}

struct Finished {
    ruling: Ruling,
    decision: GateDecision,
    recorded: Result<Envelope>,
}

struct Run<T> {
    doorman: Doorman,
    doors: Vec<DoorSetup>,
    equipment: HashMap<String, Name>,
    register: Arc<dyn Register<Template = T>>,
    verifier: Verifier<T>,
    ledger: Arc<Ledger>,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    happened: broadcast::Sender<Happened>,
    hasher: RandomState,
    sessions: HashMap<Uuid, Case<T>>,
    /// The last answer at each door, for a reader that repeats itself.
    answered: HashMap<usize, (Uuid, DoorAnswer)>,
}

type Work<T> = JoinSet<Done<T>>;

impl<T: Send + 'static> Run<T> {
    async fn serve(&mut self, inputs: &mut mpsc::Receiver<Input>, stop: &Shutdown) {
        // After a panic: whoever waited has heard that nothing comes.
        self.sessions.clear();
        let mut work: Work<T> = JoinSet::new();
        let mut stopping = false;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            let now = self.clock.instant();
            let wake = self.doorman.wake().map(|at| at.saturating_duration_since(now));
            let sleep = wake.unwrap_or(Duration::from_secs(3600));
            tokio::select! {
                input = inputs.recv(), if !stopping => match input {
                    Some(Input::Read(read, reply)) => self.read(read, reply, &mut work),
                    Some(Input::Staff(word, reply)) => self.staff(word, reply, &mut work),
                    None => stopping = true,
                },
                Some(done) = work.join_next() => match done {
                    Ok(done) => self.done(done, &mut work),
                    Err(e) => tracing::error!("work at a door failed: {e}"),
                },
                () = tokio::time::sleep(sleep) => {}
                _ = sweep.tick(), if !stopping => self.sweep(&mut work),
                () = stop.wait(), if !stopping => {
                    stopping = true;
                    inputs.close();
                }
            }
            // At the stop staff are not waited for, and passages end as they are.
            let far = Duration::from_secs(if stopping { 86_400 } else { 0 });
            let (rulings, passages) = self.doorman.expire(self.clock.instant() + far);
            for ruling in rulings {
                self.say_waiting(ruling.door, false);
                self.finish(ruling, None, None, &mut work);
            }
            for passage in passages {
                self.passed(passage, &mut work);
            }
            if stopping && work.is_empty() {
                return;
            }
        }
    }

    fn read(&mut self, read: CredentialRead, reply: Reply, work: &mut Work<T>) {
        let Some(door) = self.doors.iter().position(|d| d.rules.name == read.door) else {
            let known: Vec<_> = self.doors.iter().map(|d| d.rules.name.as_str()).collect();
            let what = format!("there is no door \"{}\" here", read.door);
            let error = Error::new(Kind::NotFound, Culprit::Request, what)
                .remedy(format!("the doors are: {}", known.join(", ")));
            let _ = reply.send(Err(error));
            return;
        };
        let now = self.clock.instant();
        let CredentialRead { correlation, kind, value, verdict, declines_camera, received, .. } = read;
        if kind == ReadKind::Equipment {
            let tag = value.as_ref().and_then(|v| self.equipment.get(v.expose()).cloned());
            self.doorman.tag(now, door, tag);
            let _ = reply.send(Ok(DoorAnswer { decision: None, envelope: None }));
            return;
        }
        if let Err(e) = self.recorder.ready() {
            tracing::error!(door = %self.doors[door].rules.name, error = %e.chain(), "no decision can be recorded, so the door takes none");
            let _ = reply.send(Err(e.context("no decision can be recorded")));
            return;
        }
        let digest = self.hasher.hash_one((
            kind as u8,
            value.as_ref().map(ReadText::expose),
            verdict == Some(ReaderVerdict::Match),
            declines_camera,
        ));
        let session = Uuid::now_v7();
        match self.doorman.arrive(now, door, session, Arrival { kind, digest, declines: declines_camera }) {
            Arrived::Begun => {}
            Arrived::Again(session) => return self.again(door, session, reply),
            Arrived::Full => {
                lock(&self.shared.stats).refused += 1;
                let what = "too many people wait at this door already";
                let _ = reply.send(Err(Error::new(Kind::Unavailable, Culprit::Request, what)));
                return;
            }
        }
        let received = received.map_or(now, |at| at.min(now));
        let case = Case { correlation, received, reference: None, staff: None, waiters: vec![reply] };
        self.sessions.insert(session, case);
        let register = self.register.clone();
        work.spawn(async move {
            let ask = tokio::task::spawn_blocking(move || look_up(&*register, kind, value, verdict));
            let found = match tokio::time::timeout(LOOKUP_WITHIN, ask).await {
                Ok(Ok(Ok(found))) => found,
                Ok(Ok(Err(e))) => {
                    tracing::error!(error = %e.chain(), "the gallery cannot be read");
                    unavailable()
                }
                Ok(Err(e)) => {
                    tracing::error!("looking into the gallery failed: {e}");
                    unavailable()
                }
                Err(_) => {
                    tracing::error!("the gallery did not answer within {LOOKUP_WITHIN:?}");
                    unavailable()
                }
            };
            Done::LookedUp(session, found)
        });
    }

    /// The same credential again: the answer is that of the session that it began.
    fn again(&mut self, door: usize, session: Uuid, reply: Reply) {
        if let Some(case) = self.sessions.get_mut(&session) {
            if case.waiters.len() < MAX_WAITERS {
                case.waiters.push(reply);
                return;
            }
        } else if let Some((id, answer)) = self.answered.get(&door)
            && *id == session
        {
            let _ = reply.send(Ok(answer.clone()));
            return;
        }
        let what = "this credential was read a moment ago, and its decision is not to be had";
        let _ = reply.send(Err(Error::new(Kind::Unavailable, Culprit::Request, what)));
    }

    fn staff(&mut self, word: StaffWord, reply: Reply, work: &mut Work<T>) {
        let (now, at) = (self.clock.instant(), self.clock.now());
        let lease = self.lease(word.session);
        let Some(ruling) = self.doorman.confirm(now, at, word.session, word.admit, lease) else {
            let error =
                Error::new(Kind::NotFound, Culprit::Request, "nobody waits for staff in this session")
                    .remedy("the sessions that wait are on the door's topic and on the status page");
            let _ = reply.send(Err(error));
            return;
        };
        if let Some(case) = self.sessions.get_mut(&word.session) {
            case.staff = Some(word.staff);
            case.waiters.push(reply);
        }
        self.say_waiting(ruling.door, false);
        self.finish(ruling, None, None, work);
    }

    fn done(&mut self, done: Done<T>, work: &mut Work<T>) {
        let (now, at) = (self.clock.instant(), self.clock.now());
        match done {
            Done::LookedUp(session, Found { lookup, template }) => {
                if let Some(case) = self.sessions.get_mut(&session) {
                    case.reference = template;
                }
                match self.doorman.admit(now, at, session, lookup) {
                    Some(Next::Decided(ruling)) => self.finish(*ruling, None, None, work),
                    Some(Next::Look) => self.look(session, work),
                    Some(Next::AskStaff) => {
                        let door = (0..self.doors.len())
                            .find(|&d| self.doorman.waiting(d).iter().any(|(id, _)| *id == session));
                        door.into_iter().for_each(|door| self.say_waiting(door, true));
                    }
                    None => {}
                }
            }
            Done::Seen(session, seen) => {
                let (verdict, comparison, capture) = *seen;
                let verdict = self.noted(session, verdict);
                let lease = self.lease(session);
                if let Some(ruling) = self.doorman.seen(now, at, session, &verdict, lease) {
                    self.finish(ruling, comparison, Some(capture), work);
                }
            }
            Done::Watched(session, watched) => {
                if let Some(passage) = self.doorman.watched(session, watched) {
                    self.passed(passage, work);
                }
            }
            Done::Finished(finished) => self.tell(*finished),
            Done::Told => {}
        }
    }

    /// How the credential of a session stands now.
    fn lease(&self, session: Uuid) -> Lease {
        self.doorman.person(session).map_or(Lease::Runs, |person| self.register.lease(person))
    }

    /// A match is noted in the gallery's audit log; what cannot be noted is none.
    fn noted(&self, session: Uuid, verdict: Verdict) -> Verdict {
        if verdict.outcome != Outcome::Match {
            return verdict;
        }
        let door = self.doorman.door_of(session).and_then(|d| self.doors.get(d));
        let (Some(person), Some(door)) = (self.doorman.person(session), door) else { return verdict };
        match self.register.recognised(person, &door.rules.name) {
            Ok(()) => verdict,
            Err(e) => {
                tracing::error!(error = %e.chain(), "a match cannot be noted, so it is none");
                let check = Check::not_checked(CheckName::FaceComparison, Reason::StorageUnavailable);
                Verdict { outcome: Outcome::Error, checks: vec![check], compared: None }
            }
        }
    }

    /// Forgets whom the gallery does not know any more.
    fn sweep(&mut self, work: &mut Work<T>) {
        let gone: Vec<_> =
            self.doorman.remembered().into_iter().filter(|p| !self.register.knows(p)).collect();
        gone.iter().for_each(|p| self.doorman.forget(p));
        if gone.is_empty() {
            return;
        }
        let ledger = self.ledger.clone();
        work.spawn(async move {
            let forget = tokio::task::spawn_blocking(move || gone.iter().try_for_each(|p| ledger.forget(p)));
            if let Ok(Err(e)) = forget.await {
                tracing::error!(error = %e.chain(), "people who were erased are still in the doors' memory");
            }
            Done::Told
        });
    }

    fn look(&mut self, session: Uuid, work: &mut Work<T>) {
        let Some(case) = self.sessions.get_mut(&session) else { return };
        let Some(setup) = self.doorman.door_of(session).and_then(|d| self.doors.get(d)) else { return };
        let decide_by = case.received + setup.rules.window;
        let nothing = |check: Check| Verdict { outcome: Outcome::Error, checks: vec![check], compared: None };
        let asked = match case.reference.take() {
            Some(reference) => self.verifier.look(LookAsk {
                session,
                correlation: case.correlation.clone(),
                camera: setup.camera.clone(),
                received: case.received,
                decide_by,
                reference,
                looks: setup.looks.clone(),
                presentation: setup.presentation,
                follow: setup.rules.passage,
            }),
            None => Err(Check::not_checked(CheckName::ReferenceTemplate, Reason::InternalFault)),
        };
        match asked {
            Ok(looking) => {
                let _ = self.happened.send(Happened::Looking { door: setup.rules.name.clone() });
                // The watch goes on after the verdict, in work of its own.
                let (tx, rx) = oneshot::channel();
                work.spawn(async move {
                    let (verdict, comparison, capture, watched) = looking.verdict(decide_by + GRACE).await;
                    let _ = tx.send(watched);
                    Done::Seen(session, Box::new((verdict, comparison, capture)))
                });
                work.spawn(async move {
                    let watched = match rx.await {
                        Ok(watched) => watched.await.ok(),
                        Err(_) => None,
                    };
                    // A session that did not end in a match has no passage: this then says nothing.
                    Done::Watched(session, watched.unwrap_or(Watched::Cut(Reason::CameraUnavailable)))
                });
            }
            Err(check) => {
                let (now, at) = (self.clock.instant(), self.clock.now());
                if let Some(ruling) = self.doorman.seen(now, at, session, &nothing(check), Lease::Runs) {
                    self.finish(ruling, None, None, work);
                }
            }
        }
    }

    /// Makes a decision durable.
    fn finish(
        &mut self,
        ruling: Ruling,
        comparison: Option<Comparison>,
        capture: Option<CaptureFacts>,
        work: &mut Work<T>,
    ) {
        let setup = self.doors[ruling.door].clone();
        let Some(case) = self.sessions.get(&ruling.session) else { return };
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let mut decision = GateDecision {
            session: ruling.session,
            correlation: case.correlation.clone(),
            door: setup.rules.name.clone(),
            direction: setup.rules.way,
            credential: ruling.kind,
            means: ruling.means,
            person_ref: ruling.person.clone(),
            outcome: ruling.outcome,
            reason: ruling.reason,
            checks: ruling.checks.clone(),
            staff: case.staff.clone(),
            comparison,
            capture,
            equipment: ruling.equipment.clone(),
            unknown_tags: ruling.unknown_tags,
            timing: Timing {
                elapsed_ms: ms(self.clock.instant().saturating_duration_since(case.received)),
                deadline_ms: ms(match ruling.means {
                    Means::CredentialAndFace => setup.rules.window,
                    Means::PinAndStaff => setup.rules.staff_within,
                }),
            },
        };
        let (ledger, recorder, clock) = (self.ledger.clone(), self.recorder.clone(), self.clock.clone());
        let shared = self.shared.clone();
        work.spawn(async move {
            if let Err(e) = remember(ledger, ruling.changes.clone()).await {
                tracing::error!(error = %e.chain(), "what a door has to remember is not durable");
                *lock(&shared.forgetful) = Some(e.to_string());
                if decision.outcome == GateOutcome::Granted {
                    withdraw(&mut decision);
                }
            } else if !ruling.changes.is_empty() {
                *lock(&shared.forgetful) = None;
            }
            let recorded = record(&*recorder, &*clock, &decision, setup.valid_for).await;
            Done::Finished(Box::new(Finished { ruling, decision, recorded }))
        });
    }

    /// A decision is durable, or will not be: whoever asked is told.
    fn tell(&mut self, finished: Finished) {
        let Finished { ruling, decision, recorded } = finished;
        let waiters = self.sessions.remove(&ruling.session).map(|c| c.waiters).unwrap_or_default();
        let granted = ruling.outcome == GateOutcome::Granted;
        if granted && (recorded.is_err() || decision.outcome == GateOutcome::Denied) {
            self.doorman.withdraw(self.clock.now(), &ruling);
        }
        match recorded {
            Ok(envelope) => {
                tracing::info!(door = %decision.door, session = %decision.session, outcome = ?decision.outcome,
                    reason = ?decision.reason, elapsed_ms = decision.timing.elapsed_ms, "a door has decided");
                let key = (decision.door.clone(), decision.outcome, decision.reason);
                *lock(&self.shared.stats).decisions.entry(key).or_default() += 1;
                let answer =
                    DoorAnswer { decision: Some(decision.clone()), envelope: Some(envelope.clone()) };
                self.answered.insert(ruling.door, (ruling.session, answer.clone()));
                let _ = self
                    .happened
                    .send(Happened::Decided { envelope: Arc::new(envelope), decision: Arc::new(decision) });
                for waiter in waiters {
                    let _ = waiter.send(Ok(answer.clone()));
                }
            }
            Err(e) => {
                tracing::error!(door = %decision.door, session = %ruling.session, error = %e.chain(),
                    "a door's decision is not durable; it is withdrawn");
                lock(&self.shared.stats).unrecorded += 1;
                for waiter in waiters {
                    let what = "the decision could not be recorded, so there is none";
                    let _ = waiter.send(Err(Error::new(Kind::Unavailable, Culprit::Disk, what)));
                }
            }
        }
    }

    fn passed(&mut self, passage: Passage, work: &mut Work<T>) {
        let rules = &self.doors[passage.door].rules;
        let passage = Arc::new(GatePassage {
            session: passage.session,
            door: rules.name.clone(),
            direction: rules.way,
            person_ref: passage.person,
            checks: passage.checks,
            equipment: passage.equipment,
            unknown_tags: passage.unknown_tags,
        });
        if passage.checks.iter().any(|c| c.reason == Some(Reason::FollowedClosely)) {
            tracing::warn!(door = %passage.door, "a second face came close behind");
        }
        let draft = Draft::gate_passage(&passage, self.clock.now());
        let (recorder, happened) = (self.recorder.clone(), self.happened.clone());
        work.spawn(async move {
            match draft {
                Ok(draft) => match recorder.record(draft).await {
                    Ok(Ok(_)) => drop(happened.send(Happened::Passed { passage })),
                    Ok(Err(e)) => tracing::error!(error = %e.chain(), "a passage could not be recorded"),
                    Err(_) => tracing::error!("the recorder dropped a passage"),
                },
                Err(e) => tracing::error!("a passage cannot be written: {e}"),
            }
            Done::Told
        });
    }

    fn say_waiting(&self, door: usize, asked: bool) {
        let (now, at) = (self.clock.instant(), self.clock.now());
        let waiting = self.doorman.waiting(door).into_iter().filter_map(|(session, until)| {
            Some((session, at.checked_add(until.saturating_duration_since(now)).ok()?))
        });
        let door = self.doors[door].rules.name.clone();
        let _ = self.happened.send(Happened::Staff { door, waiting: waiting.collect(), asked });
    }
}

fn unavailable<T>() -> Found<T> {
    Found { lookup: Lookup::Unavailable, template: None }
}

fn look_up<T: Send + 'static>(
    register: &dyn Register<Template = T>,
    kind: ReadKind,
    value: Option<ReadText>,
    verdict: Option<ReaderVerdict>,
) -> Result<Found<T>> {
    let value = match (kind, value) {
        (ReadKind::Fingerprint, None) => {
            return Ok(Found { lookup: Lookup::ReaderSaidNo(None), template: None });
        }
        (_, None) => return Err(Error::internal("a credential without a value")),
        (_, Some(value)) => value,
    };
    let kind = match kind {
        ReadKind::Card => CredentialKind::Card,
        ReadKind::Tag => CredentialKind::Tag,
        ReadKind::Pin => CredentialKind::Pin,
        ReadKind::Fingerprint => CredentialKind::Fingerprint,
        ReadKind::Equipment => return Err(Error::internal("equipment holds nothing")),
    };
    // A keypad of numbers has a star where the gallery's spelling has a number sign.
    let value = match kind {
        CredentialKind::Pin => value.expose().replace('*', "#"),
        _ => value.expose().to_owned(),
    };
    let found = register.holder(&CredentialText { kind, value })?;
    Ok(match verdict {
        Some(ReaderVerdict::NoMatch) => Found {
            lookup: match found.lookup {
                Lookup::Holder(person) => Lookup::ReaderSaidNo(Some(person)),
                Lookup::Unavailable => Lookup::Unavailable,
                _ => Lookup::ReaderSaidNo(None),
            },
            template: None,
        },
        _ => found,
    })
}

async fn remember(ledger: Arc<Ledger>, changes: Vec<super::door::Change>) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let write = tokio::task::spawn_blocking(move || ledger.write(&changes));
    match tokio::time::timeout(RECORD_WITHIN, write).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) => Err(Error::internal("writing the doors' memory panicked")),
        Err(_) => {
            Err(Error::new(Kind::Timeout, Culprit::Disk, "the disk did not take what a door has to remember"))
        }
    }
}

/// What is not remembered was not decided.
fn withdraw(decision: &mut GateDecision) {
    decision.outcome = GateOutcome::Denied;
    decision.reason = Some(Reason::StorageUnavailable);
    decision.comparison = None;
    for check in &mut decision.checks {
        let counts = matches!(check.name, CheckName::FaceComparison | CheckName::StaffConfirmation);
        if counts && check.status == CheckStatus::Pass {
            *check = Check::not_checked(check.name, Reason::StorageUnavailable);
        }
    }
}

async fn record(
    recorder: &dyn Recorder,
    clock: &dyn Clock,
    decision: &GateDecision,
    valid_for: Duration,
) -> Result<Envelope> {
    debug_assert_eq!(decision.checks.len(), GATE_CHECKS.len());
    let now = clock.now();
    let not_after = match decision.outcome {
        GateOutcome::Granted => now
            .checked_add(valid_for)
            .map_err(|e| Error::internal("the wall clock is at the end of time").with_source(e))?,
        GateOutcome::Denied => now,
    };
    let durable = recorder.record(Draft::gate_decision(decision, now, not_after)?);
    match tokio::time::timeout(RECORD_WITHIN, durable).await {
        Ok(Ok(recorded)) => recorded,
        Ok(Err(_)) => Err(Error::internal("the recorder dropped a decision")),
        Err(_) => {
            // It may yet become durable: what follows it in the queue withdraws it.
            let mut withdrawn = decision.clone();
            withdraw(&mut withdrawn);
            drop(recorder.record(Draft::gate_decision(&withdrawn, now, now)?));
            Err(Error::new(Kind::Timeout, Culprit::Disk, "the disk did not take a decision in time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_read_is_read_and_what_is_wrong_is_refused_without_repeating_it() {
        let read = CredentialRead::from_json(
            br#"{"correlation":"r-1","door":"north","kind":"pin","value":"1024*4711","declines_camera":true}"#,
        )
        .unwrap();
        assert_eq!((read.kind, read.declines_camera), (ReadKind::Pin, true));
        for (json, word) in [
            (r#"{"door":"n","kind":"card"}"#, "value"),
            (r#"{"door":"n","kind":"card","value":""}"#, "value"),
            (r#"{"door":"n","kind":"card","value":"a b"}"#, "value"),
            (r#"{"door":"n","kind":"card","value":987654321}"#, "value"),
            (r#"{"door":"n","kind":"card","vlaue":"987654321"}"#, "vlaue"),
            (r#"{"door":"n","kind":"card","value":"987654321","verdict":"match"}"#, "verdict"),
            (r#"{"door":"n","kind":"fingerprint","value":"987654321"}"#, "verdict"),
            (r#"{"door":"n","kind":"fingerprint","verdict":"match"}"#, "value"),
            (r#"{"door":"n","kind":"card","value":"987654321","declines_camera":true}"#, "PIN"),
            (r#"{"door":"N","kind":"card","value":"987654321"}"#, "door"),
            (r#"{"door":"n","kind":"key","value":"987654321"}"#, "kind"),
            (r#"{"door":"n","kind":"card","value":"987654321","correlation":"a/b"}"#, "correlation"),
            (r#"["n","card"]"#, "object"),
        ] {
            let e = CredentialRead::from_json(json.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(word), "{json}: {e}");
            assert!(!e.chain().contains("987654321"), "the credential is repeated: {}", e.chain());
            assert_eq!(e.exit_code(), 64);
        }
        let word = StaffWord::from_json(
            br#"{"session":"01920000-0000-7000-8000-000000000000","admit":true,"staff":"desk.7"}"#,
        )
        .unwrap();
        assert!(word.admit);
        for json in [
            r#"{"session":"x","admit":true,"staff":"a"}"#,
            r#"{"session":"01920000-0000-7000-8000-000000000000","admit":true,"staff":"a b"}"#,
            r#"{"session":"01920000-0000-7000-8000-000000000000","staff":"a"}"#,
        ] {
            assert_eq!(StaffWord::from_json(json.as_bytes()).unwrap_err().exit_code(), 64, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_readers(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CredentialRead::from_json(&json);
            let _ = StaffWord::from_json(&json);
        }
    }
}
