//! The public handle: requests in, answers out, always and in time.
//!
//! # Who keeps the deadline
//!
//! Of the time that was asked for, a part is kept for the disk ([`RESERVE`], at most a quarter):
//! the station has to decide before it. The answers' own thread waits beside it: a station that
//! panicked is answered for at once (`error`), one that hangs when a third of the reserve is gone
//! (`timeout`), and a disk that is too slow at the very end (`error`, `storage_unavailable`). No
//! answer carries a decision that is not durable.
//!
//! # What is recorded
//!
//! Every session ends in one `verify.result`, document-only and errors included. What never became
//! a session is answered and not recorded: a busy camera, a camera that does not exist, a missing
//! portrait, storage that is not ready. When the disk was too slow for the answer, a second event
//! of the same session says so (`error`): the event with the higher `seq` counts.
//!
//! # `notafter`
//!
//! A match may actuate something until its decision plus `valid_for_ms`. Nothing else may actuate
//! anything: the `notafter` of every other outcome is the moment of its decision, over when it is
//! read.
//!
//! # The document
//!
//! It is looked at on the portrait's thread, and its report is there before any template is. A
//! failed document turns a match, and a document-only answer, into `document_rejected`
//! ([`Inspector::settle`]), whose `notafter` is over like that of every answer but a match.
//!
//! # One guest at a time
//!
//! A camera runs one session at a time. A second request for it is answered `error` with
//! `camera_busy` at once: two guests in front of one camera cannot both be the one who is meant,
//! and a clerk who waits in a queue does not know for whom.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use uuid::Uuid;

use super::door::Watched;
use super::eyes::Eyes;
use super::looks::Looks;
use super::portrait;
use super::post::{self, Count, Duty, Post, PostParts};
use super::presentation::Side;
use super::request::VerifyRequest;
use super::session::{Compared, Rules, Verdict};
use super::station::{Behind, Gathered, Job, Prompt, Station};
use crate::base::backoff::Backoff;
use crate::base::{Clock, Error, Name, Result, Shutdown, mailbox, supervise};
use crate::capture::{CameraStatus, Frame};
use crate::config::{PresentationMode, PrivacyConfig, VerifyConfig};
use crate::document::Inspector;
use crate::event::{
    CaptureFacts, Check, CheckName, Comparison, Diagnostics, Draft, Envelope, ModelRef, Outcome, Reason,
    Recorder, ReferenceFacts, Timing, VerifyMode, VerifyResult, WatchCamera,
};
use crate::face::Template;

/// Time kept from the deadline for making the decision durable; at most a quarter of it.
pub const RESERVE: Duration = Duration::from_millis(150);
/// The answer leaves this long before the deadline at the latest; at most a fiftieth of it.
const MARGIN: Duration = Duration::from_millis(10);
/// Answers that may be under way at once, beyond one per camera: document-only ones.
const DOCUMENT_ONLY_AT_ONCE: usize = 64;
/// Documents without a face that wait for the portrait's thread, beyond two portraits per camera.
const DOCUMENTS_WAITING: usize = 16;
/// Instructions kept for a slow reader.
const PROMPTS: usize = 64;
/// Between two starts of a station that panicked.
const RESTART_MIN: Duration = Duration::from_millis(20);
const RESTART_MAX: Duration = Duration::from_millis(500);

/// The checks in the order in which every result lists them.
pub const CHECKS: [CheckName; 7] = [
    CheckName::Document,
    CheckName::ReferencePortrait,
    CheckName::Camera,
    CheckName::LiveFace,
    CheckName::FaceQuality,
    CheckName::PresentationAttack,
    CheckName::FaceComparison,
];

/// One camera with the eyes that look through it.
pub struct Lane<E> {
    /// The camera.
    pub camera: Name,
    /// Its pictures.
    pub frames: mailbox::Receiver<Frame>,
    /// Its state.
    pub status: watch::Receiver<CameraStatus>,
    /// What looks at its pictures.
    pub eyes: E,
}

/// What a verifier is made of.
pub struct Parts<E: Eyes> {
    /// `[verify]`.
    pub config: VerifyConfig,
    /// `[privacy]`.
    pub privacy: PrivacyConfig,
    /// The cameras.
    pub cameras: Vec<Lane<E>>,
    /// What looks at portraits.
    pub portrait_eyes: E,
    /// What looks at documents.
    pub inspector: Arc<Inspector>,
    /// Where the lines are drawn.
    pub looks: Looks,
    /// The embedding model.
    pub model: ModelRef,
    /// Where decisions are made durable.
    pub recorder: Arc<dyn Recorder>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is looked for while nobody asks; `None`: no picture is looked at then.
    pub watch: Option<Duty<E::Template>>,
    /// The stop.
    pub stop: Shutdown,
}

/// What the requester gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How it ended.
    pub result: VerifyResult,
    /// The event, once it is durable.
    pub envelope: Option<Envelope>,
    /// Whether it is durable.
    pub recorded: bool,
}

/// Counts since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifierStats {
    /// Answers given, by outcome; [`Outcome`]s that never happened are absent.
    pub answers: HashMap<Outcome, u64>,
    /// Requests answered without a session because the camera was busy.
    pub busy: u64,
    /// Decisions that were not durable in time.
    pub unrecorded: u64,
}

struct Door<T> {
    camera: Name,
    jobs: SyncSender<Job<T>>,
    /// The session that holds the camera.
    holder: Mutex<Option<Uuid>>,
    /// Ends the watch over the last passage, if there is one.
    cut: Mutex<Arc<AtomicBool>>,
    /// A session holds the camera or waits for its thread.
    asked: Arc<AtomicBool>,
    /// What was seen between sessions; `None` where nobody is looked for.
    post: Option<Arc<Mutex<Count>>>,
}

impl<T> Door<T> {
    /// Takes the camera for a session; false if another one has it.
    fn take(&self, session: Uuid) -> bool {
        let mut holder = lock(&self.holder);
        if holder.is_some() {
            return false;
        }
        *holder = Some(session);
        self.asked.store(true, Ordering::Release);
        lock(&self.cut).store(true, Ordering::Release);
        true
    }

    fn release(&self, session: Uuid) {
        let mut holder = lock(&self.holder);
        if *holder == Some(session) {
            *holder = None;
            self.asked.store(false, Ordering::Release);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is one value, replaced whole: recovering from poison is sound.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

struct Shared {
    config: VerifyConfig,
    privacy: PrivacyConfig,
    inspector: Arc<Inspector>,
    looks: Looks,
    model: ModelRef,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    stats: Mutex<VerifierStats>,
}

/// What is known of a request before anything is found out.
struct Case {
    session: Uuid,
    correlation: Option<String>,
    mode: VerifyMode,
    received: Instant,
    deadline: Duration,
    reference: Arc<Mutex<Option<ReferenceFacts>>>,
    /// Whether a document came, and what was found out about it.
    document: bool,
    paper: portrait::Paper,
    capture: Option<Arc<Mutex<CaptureFacts>>>,
    reply: oneshot::Sender<Answer>,
}

impl Case {
    fn due(&self) -> Instant {
        self.received + self.deadline
    }

    /// The time kept for the disk.
    fn reserve(&self) -> Duration {
        RESERVE.min(self.deadline / 4)
    }

    fn result(&self, shared: &Shared, verdict: Verdict, decided: Instant) -> VerifyResult {
        let capture = self.capture.as_ref().map(|facts| lock(facts).clone());
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let (document, check) = match lock(&self.paper).clone() {
            Some((report, check)) => (Some(report), check),
            None => {
                let why = match (self.document, verdict.outcome) {
                    (false, _) => Reason::NotRequested,
                    (true, Outcome::Timeout) => Reason::DeadlineReached,
                    (true, _) => Reason::EarlierCheckFailed,
                };
                (None, Check::not_checked(CheckName::Document, why))
            }
        };
        let outcome = shared.inspector.settle(verdict.outcome, check.status);
        let mut checks = verdict.checks;
        for place in checks.iter_mut().filter(|c| c.name == CheckName::Document) {
            *place = check.clone();
        }
        VerifyResult {
            session: self.session,
            correlation: self.correlation.clone(),
            mode: self.mode,
            outcome,
            checks,
            comparison: verdict.compared.map(|c| shared.comparison(&shared.looks, c)),
            capture,
            reference: lock(&self.reference).clone(),
            document,
            timing: Timing {
                elapsed_ms: ms(decided.saturating_duration_since(self.received)),
                deadline_ms: ms(self.deadline),
            },
        }
    }
}

impl Shared {
    fn comparison(&self, looks: &Looks, compared: Compared) -> Comparison {
        let Compared { score, threshold, pictures } = compared;
        Comparison {
            band: looks.band(score),
            fmr: looks.fmr.get(),
            population: looks.population.clone(),
            model: self.model.clone(),
            pictures,
            diagnostics: self.privacy.diagnostics.then_some(Diagnostics { score, threshold }),
        }
    }

    fn count(&self, outcome: Outcome) {
        *lock(&self.stats).answers.entry(outcome).or_default() += 1;
    }

    /// Hands `result` to the recorder.
    fn record(&self, result: &VerifyResult) -> Result<oneshot::Receiver<Result<Envelope>>> {
        let now = self.clock.now();
        let valid_for = self.config.valid_for_ms.duration();
        let not_after = match result.outcome {
            Outcome::Match => now
                .checked_add(valid_for)
                .map_err(|e| Error::internal("the wall clock is at the end of time").with_source(e))?,
            _ => now,
        };
        Ok(self.recorder.record(Draft::verify_result(result, now, not_after)?))
    }

    /// Answers without a session, at once, unrecorded.
    fn refuse(&self, case: Case, at: CheckName, check: Check, rest: Reason) {
        let checks = CHECKS.map(|name| match name {
            _ if name == at => check.clone(),
            _ => Check::not_checked(name, rest),
        });
        let verdict = Verdict { outcome: Outcome::Error, checks: checks.to_vec(), compared: None };
        let result = case.result(self, verdict, self.clock.instant());
        tracing::info!(session = %case.session, at = ?check.name, reason = ?check.reason, "a verification is refused");
        self.count(Outcome::Error);
        let _ = case.reply.send(Answer { result, envelope: None, recorded: false });
    }
}

/// A comparison with a template that is known already.
pub(super) struct LookAsk<T> {
    pub session: Uuid,
    pub correlation: Option<String>,
    pub camera: Name,
    pub received: Instant,
    pub decide_by: Instant,
    pub reference: T,
    pub looks: Looks,
    pub presentation: Option<bool>,
    /// After a match, watch for this long whether somebody follows.
    pub follow: Duration,
}

/// A comparison under way.
pub(super) struct Looking {
    shared: Arc<Shared>,
    looks: Looks,
    facts: Arc<Mutex<CaptureFacts>>,
    verdict: oneshot::Receiver<(Verdict, Instant)>,
    pub watched: oneshot::Receiver<Watched>,
    release: Box<dyn FnOnce() + Send>,
}

impl Looking {
    /// The verdict, at `by` at the latest, and what goes with it. The camera is free again then.
    pub(super) async fn verdict(
        self,
        by: Instant,
    ) -> (Verdict, Option<Comparison>, CaptureFacts, oneshot::Receiver<Watched>) {
        let left = by.saturating_duration_since(self.shared.clock.instant());
        let verdict = match tokio::time::timeout(left, self.verdict).await {
            Ok(Ok((verdict, _))) => verdict,
            Ok(Err(_)) => {
                tracing::error!("the station failed during a session at a door");
                blind(Outcome::Error, Reason::InternalFault)
            }
            Err(_) => {
                tracing::error!("the station did not decide in time at a door");
                blind(Outcome::Timeout, Reason::DeadlineReached)
            }
        };
        (self.release)();
        let comparison = verdict.compared.map(|c| self.shared.comparison(&self.looks, c));
        (verdict, comparison, lock(&self.facts).clone(), self.watched)
    }
}

/// A search's pictures that are asked for.
pub(super) struct GatherAsk {
    pub session: Uuid,
    pub correlation: Option<String>,
    pub camera: Option<Name>,
    pub received: Instant,
    pub decide_by: Instant,
    pub presentation: Option<bool>,
}

/// The camera is free again when this goes.
struct Held<T> {
    door: Arc<Door<T>>,
    session: Uuid,
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.door.release(self.session);
    }
}

/// Pictures under way.
pub(super) struct Gathering<T> {
    facts: Arc<Mutex<CaptureFacts>>,
    verdict: oneshot::Receiver<(Verdict, Instant)>,
    gathered: oneshot::Receiver<Gathered<T>>,
    held: Held<T>,
}

impl<T> Gathering<T> {
    /// What was gathered, or how it failed, `within` this time. The camera is free again then.
    pub(super) async fn end(
        mut self,
        within: Duration,
    ) -> (std::result::Result<Gathered<T>, Verdict>, CaptureFacts) {
        let end = match tokio::time::timeout(within, &mut self.verdict).await {
            Ok(Ok((verdict, _))) => Err(verdict),
            // No verdict: it has what it wants, or the station failed.
            Ok(Err(_)) => self.gathered.try_recv().map_err(|_| {
                tracing::error!("the station failed while a guest was looked up");
                blind(Outcome::Error, Reason::InternalFault)
            }),
            Err(_) => {
                tracing::error!("the station did not end in time while a guest was looked up");
                Err(blind(Outcome::Timeout, Reason::DeadlineReached))
            }
        };
        drop(self.held);
        (end, lock(&self.facts).clone())
    }
}

/// Answers that are under way.
struct Pending {
    case: Case,
    verdict: oneshot::Receiver<(Verdict, Instant)>,
    release: Option<Box<dyn FnOnce() + Send>>,
}

/// A verdict of somebody who saw nothing: every check not made, for one reason.
fn blind(outcome: Outcome, reason: Reason) -> Verdict {
    let checks = CHECKS.map(|name| Check::not_checked(name, reason));
    Verdict { outcome, checks: checks.to_vec(), compared: None }
}

/// A decision that is not durable is none.
fn withdrawn(mut result: VerifyResult) -> VerifyResult {
    result.outcome = Outcome::Error;
    result.comparison = None;
    for check in &mut result.checks {
        if check.name == CheckName::FaceComparison {
            *check = Check::not_checked(check.name, Reason::StorageUnavailable);
        }
    }
    result
}

async fn answer(shared: Arc<Shared>, pending: Pending) {
    let Pending { case, verdict, release } = pending;
    // The tokio clock knows nothing of ours: every wait is a rest of the deadline.
    let left = |until: Instant| until.saturating_duration_since(shared.clock.instant());
    let guard = case.due() - case.reserve() * 2 / 3;
    let (verdict, decided) = match tokio::time::timeout(left(guard), verdict).await {
        Ok(Ok(decided)) => decided,
        Ok(Err(_)) => {
            tracing::error!(session = %case.session, "a session failed before its answer");
            (blind(Outcome::Error, Reason::InternalFault), shared.clock.instant())
        }
        Err(_) => {
            tracing::error!(session = %case.session, "the station did not decide in time");
            (blind(Outcome::Timeout, Reason::DeadlineReached), shared.clock.instant())
        }
    };
    let result = case.result(&shared, verdict, decided);
    let last = case.due() - MARGIN.min(case.deadline / 50);
    let recorded = match shared.record(&result) {
        Ok(receiver) => match tokio::time::timeout(left(last), receiver).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) => Err(Error::internal("the recorder dropped a decision")),
            Err(_) => Err(Error::internal("the disk did not take a decision in time")),
        },
        Err(e) => Err(e),
    };
    let answer = match recorded {
        Ok(envelope) => Answer { result, envelope: Some(envelope), recorded: true },
        Err(e) => {
            tracing::error!(session = %case.session, error = %e.chain(), "a decision is not durable; it is withdrawn");
            lock(&shared.stats).unrecorded += 1;
            let result = withdrawn(result);
            // The decision may yet become durable: what follows it in the queue withdraws it.
            drop(shared.record(&result));
            Answer { result, envelope: None, recorded: false }
        }
    };
    tracing::info!(session = %case.session, outcome = ?answer.result.outcome,
        elapsed_ms = answer.result.timing.elapsed_ms, "a verification is answered");
    shared.count(answer.result.outcome);
    if let Some(release) = release {
        release();
    }
    let _ = case.reply.send(answer);
}

/// The gate's front door. Cheap to clone; the threads end with the stop, or with the last clone.
pub struct Verifier<T = Template> {
    shared: Arc<Shared>,
    doors: Arc<Vec<Arc<Door<T>>>>,
    portraits: SyncSender<portrait::Job<T>>,
    answers: mpsc::Sender<Pending>,
    prompts: broadcast::Sender<Prompt>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl<T> Clone for Verifier<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            doors: self.doors.clone(),
            portraits: self.portraits.clone(),
            answers: self.answers.clone(),
            prompts: self.prompts.clone(),
            threads: self.threads.clone(),
        }
    }
}

impl<T: Send + 'static> Verifier<T> {
    /// Starts the threads: one per camera, one for portraits, one for answers.
    pub fn start<E: Eyes<Template = T>>(parts: Parts<E>) -> Result<Self>
    where
        T: super::session::Likeness,
    {
        let Parts {
            config,
            privacy,
            cameras,
            portrait_eyes,
            inspector,
            looks,
            model,
            recorder,
            clock,
            watch,
            stop,
        } = parts;
        if let Some(name) = &config.camera
            && !cameras.iter().any(|lane| lane.camera == *name)
        {
            return Err(Error::config(format!("verify.camera: there is no camera {name}")));
        }
        let backoff = Backoff::try_new(RESTART_MIN, RESTART_MAX)?;
        let (prompts, _) = broadcast::channel(PROMPTS);
        let mut threads = Vec::new();
        let mut doors = Vec::new();

        let (portraits, portrait_jobs) = sync_channel(cameras.len() * 2 + DOCUMENTS_WAITING);
        let (stopped, inspects, time) = (stop.clone(), inspector.clone(), clock.clone());
        threads.push(supervise::spawn("gate-portrait", move || {
            portrait::serve(portrait_eyes, portrait_jobs, &inspects, &*time, &stopped, backoff);
        })?);
        for Lane { camera, frames, status, eyes } in cameras {
            let (jobs, queue) = sync_channel(1);
            let (holder, cut) = (Mutex::new(None), Mutex::default());
            let asked = Arc::new(AtomicBool::new(false));
            let post = watch.as_ref().filter(|w| w.config.cameras.contains(&camera)).map(|duty| PostParts {
                duty: duty.clone(),
                same_person: looks.same_person,
                model: model.clone(),
                recorder: recorder.clone(),
                count: Arc::default(),
                asked: asked.clone(),
            });
            let count = post.as_ref().map(|p| p.count.clone());
            doors.push(Arc::new(Door { camera: camera.clone(), jobs, holder, cut, asked, post: count }));
            let name = format!("gate-{camera}");
            let station = Station {
                camera,
                frames,
                status,
                eyes,
                clock: clock.clone(),
                prompts: prompts.clone(),
                stop: stop.clone(),
                post: post.map(|parts| Post::new(parts, clock.instant())),
            };
            threads.push(supervise::spawn(name, move || station.serve(queue, backoff))?);
        }

        let shared = Arc::new(Shared {
            config,
            privacy,
            inspector,
            looks,
            model,
            recorder,
            clock,
            stats: Mutex::new(VerifierStats::default()),
        });
        let (answers, mut queue) = mpsc::channel::<Pending>(DOCUMENT_ONLY_AT_ONCE + doors.len());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| Error::io(crate::base::Culprit::Host, "cannot start the answers' timer", e))?;
        let for_answers = shared.clone();
        threads.push(supervise::spawn("gate-answers", move || {
            runtime.block_on(async move {
                // Ends when the last handle is gone and every answer is given.
                let mut open = tokio::task::JoinSet::new();
                loop {
                    tokio::select! {
                        pending = queue.recv(), if open.len() < DOCUMENT_ONLY_AT_ONCE + 64 => match pending {
                            Some(pending) => drop(open.spawn(answer(for_answers.clone(), pending))),
                            None => break,
                        },
                        Some(_) = open.join_next() => {}
                    }
                }
                while open.join_next().await.is_some() {}
            });
        })?);
        Ok(Self {
            shared,
            doors: Arc::new(doors),
            portraits,
            answers,
            prompts,
            threads: Arc::new(Mutex::new(threads)),
        })
    }

    /// Asks for a verification. The answer always comes, within the deadline; it does not need
    /// this handle, nor anything else of the caller's.
    pub fn verify(&self, request: VerifyRequest) -> oneshot::Receiver<Answer> {
        let shared = &self.shared;
        let now = shared.clock.instant();
        let (reply, receiver) = oneshot::channel();
        let limit = shared.config.max_deadline_ms.duration();
        let deadline = request.deadline.unwrap_or(shared.config.deadline_ms.duration()).min(limit);
        let document = request.document.filter(|d| !d.is_empty());
        let mut case = Case {
            session: Uuid::now_v7(),
            correlation: request.correlation,
            mode: request.mode,
            received: request.received.map_or(now, |at| at.min(now)),
            deadline,
            reference: Arc::new(Mutex::new(None)),
            document: document.is_some(),
            paper: Arc::new(Mutex::new(None)),
            capture: None,
            reply,
        };

        if let Err(e) = shared.recorder.ready() {
            tracing::error!(session = %case.session, error = %e.chain(), "no decision can be recorded, so none is taken");
            let check = Check::not_checked(CheckName::FaceComparison, Reason::StorageUnavailable);
            shared.refuse(case, CheckName::FaceComparison, check, Reason::StorageUnavailable);
            return receiver;
        }
        if request.locked_out {
            let check = Check::not_checked(CheckName::FaceComparison, Reason::LockedOut);
            shared.refuse(case, CheckName::FaceComparison, check, Reason::LockedOut);
            return receiver;
        }
        if request.mode == VerifyMode::DocumentOnly {
            // The portrait, if one came, is not looked at.
            let (tx, verdict) = oneshot::channel();
            let clock = shared.clock.clone();
            let answer = move || {
                let _ = tx.send((blind(Outcome::DocumentOnly, Reason::DeclinedByGuest), clock.instant()));
            };
            match document {
                None => answer(),
                // Dropped with a full queue, it reads as an internal fault.
                Some(document) => drop(self.portraits.try_send(portrait::Job {
                    portrait: None,
                    document: Some(document),
                    facts: case.reference.clone(),
                    paper: case.paper.clone(),
                    then: portrait::Then::Call(Box::new(answer)),
                })),
            }
            self.hand_over(Pending { case, verdict, release: None });
            return receiver;
        }
        if request.portrait.is_none() && !document.as_ref().is_some_and(|d| d.has_portrait()) {
            let check = Check::not_checked(CheckName::ReferencePortrait, Reason::NotRequested);
            shared.refuse(case, CheckName::ReferencePortrait, check, Reason::EarlierCheckFailed);
            return receiver;
        };
        let Some(door) = self.camera(request.camera.as_ref()) else {
            let check = Check::fail(CheckName::Camera, Reason::CameraUnavailable);
            shared.refuse(case, CheckName::Camera, check, Reason::EarlierCheckFailed);
            return receiver;
        };
        if !door.take(case.session) {
            self.busy(case);
            return receiver;
        }

        let facts = Arc::new(Mutex::new(CaptureFacts::none_yet(door.camera.clone())));
        case.capture = Some(facts.clone());
        let (tx, verdict) = oneshot::channel();
        // Dropped with a full or ended queue, its other end reads as an internal fault.
        let (portrait_tx, portrait) = std::sync::mpsc::channel();
        let job = Job {
            session: case.session,
            correlation: case.correlation.clone(),
            rules: self.rules(&shared.looks, request.presentation),
            received: case.received,
            decide_by: case.due() - case.reserve(),
            portrait,
            facts,
            verdict: tx,
            follow: None,
            gather: None,
        };
        if door.jobs.try_send(job).is_err() {
            // The station hangs in an earlier session whose answer was given for it.
            door.release(case.session);
            self.busy(case);
            return receiver;
        }
        let _ = self.portraits.try_send(portrait::Job {
            portrait: request.portrait,
            document,
            facts: case.reference.clone(),
            paper: case.paper.clone(),
            then: portrait::Then::Template(portrait_tx),
        });
        let session = case.session;
        let release = Box::new(move || door.release(session));
        self.hand_over(Pending { case, verdict, release: Some(release) });
        receiver
    }

    fn busy(&self, case: Case) {
        lock(&self.shared.stats).busy += 1;
        let check = Check::fail(CheckName::Camera, Reason::CameraBusy);
        self.shared.refuse(case, CheckName::Camera, check, Reason::EarlierCheckFailed);
    }

    fn hand_over(&self, pending: Pending) {
        let pending = match self.answers.try_send(pending) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(p) | mpsc::error::TrySendError::Closed(p)) => p,
        };
        if let Some(release) = pending.release {
            release();
        }
        let check = Check::not_checked(CheckName::FaceComparison, Reason::InternalFault);
        self.shared.refuse(pending.case, CheckName::FaceComparison, check, Reason::InternalFault);
    }

    fn rules(&self, looks: &Looks, presentation: Option<bool>) -> Rules {
        let config = &self.shared.config;
        let wanted = presentation.unwrap_or(config.presentation.mode == PresentationMode::TurnHead);
        Rules {
            first_look: config.first_look.max(1),
            last_look: config.last_look.max(config.first_look).max(1),
            dominance: config.dominance,
            early: looks.early,
            last: looks.last,
            same_person: looks.same_person,
            turn: wanted.then(|| (Side::random(), config.presentation.turn_deg)),
        }
    }

    /// Compares whoever stands before a camera with a template that is known already, as a
    /// verification does with a portrait's. Nothing is recorded here. `None` if the camera is busy
    /// or does not exist, with the check that says so.
    pub(super) fn look(&self, ask: LookAsk<T>) -> std::result::Result<Looking, Check> {
        let unavailable = Check::fail(CheckName::Camera, Reason::CameraUnavailable);
        let busy = Check::fail(CheckName::Camera, Reason::CameraBusy);
        let door = self.doors.iter().find(|d| d.camera == ask.camera).cloned().ok_or(unavailable)?;
        if !door.take(ask.session) {
            lock(&self.shared.stats).busy += 1;
            return Err(busy);
        }
        let facts = Arc::new(Mutex::new(CaptureFacts::none_yet(door.camera.clone())));
        let (tx, verdict) = oneshot::channel();
        let (reference_tx, portrait) = std::sync::mpsc::channel();
        let _ = reference_tx.send(Ok(ask.reference));
        let (told, watched) = oneshot::channel();
        let follow = (!ask.follow.is_zero()).then(|| {
            let cut = Arc::new(AtomicBool::new(false));
            *lock(&door.cut) = cut.clone();
            Behind { during: ask.follow, cut, told }
        });
        let job = Job {
            session: ask.session,
            correlation: ask.correlation,
            rules: self.rules(&ask.looks, ask.presentation),
            received: ask.received,
            decide_by: ask.decide_by,
            portrait,
            facts: facts.clone(),
            verdict: tx,
            follow,
            gather: None,
        };
        if door.jobs.try_send(job).is_err() {
            door.release(ask.session);
            return Err(busy);
        }
        let release = Box::new(move || door.release(ask.session));
        Ok(Looking { shared: self.shared.clone(), looks: ask.looks, facts, verdict, watched, release })
    }

    /// Gathers pictures of whoever stands before a camera, for a search. Nothing is compared or recorded
    /// here. `Err` if the camera is busy or does not exist, with the check that says so.
    pub(super) fn gather(&self, ask: GatherAsk) -> std::result::Result<Gathering<T>, Check> {
        let unavailable = Check::fail(CheckName::Camera, Reason::CameraUnavailable);
        let busy = Check::fail(CheckName::Camera, Reason::CameraBusy);
        let door = self.camera(ask.camera.as_ref()).ok_or(unavailable)?;
        if !door.take(ask.session) {
            lock(&self.shared.stats).busy += 1;
            return Err(busy);
        }
        let facts = Arc::new(Mutex::new(CaptureFacts::none_yet(door.camera.clone())));
        let (tx, verdict) = oneshot::channel();
        let (gather, gathered) = oneshot::channel();
        let (_, portrait) = std::sync::mpsc::channel();
        let job = Job {
            session: ask.session,
            correlation: ask.correlation,
            rules: self.rules(&self.shared.looks, ask.presentation),
            received: ask.received,
            decide_by: ask.decide_by,
            portrait,
            facts: facts.clone(),
            verdict: tx,
            follow: None,
            gather: Some(gather),
        };
        if door.jobs.try_send(job).is_err() {
            door.release(ask.session);
            return Err(busy);
        }
        let held = Held { door, session: ask.session };
        Ok(Gathering { facts, verdict, gathered, held })
    }

    /// The camera that a request means.
    fn camera(&self, named: Option<&Name>) -> Option<Arc<Door<T>>> {
        match (named.or(self.shared.config.camera.as_ref()), &self.doors[..]) {
            (Some(name), doors) => doors.iter().find(|d| d.camera == *name).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }

    /// The longest deadline a request may ask for.
    pub(super) fn max_deadline(&self) -> Duration {
        self.shared.config.max_deadline_ms.duration()
    }

    /// What was seen between sessions: of each watched camera, how many are missing, and how many
    /// people passed in the last 24 hours, all cameras together.
    pub fn watched(&self) -> (Vec<WatchCamera>, u32, u64) {
        let (mut cameras, mut missing, mut passages) = (Vec::new(), 0, 0);
        for door in self.doors.iter() {
            let Some(count) = &door.post else { continue };
            let (camera, of_these, passed) = post::lock(count).read(&door.camera);
            cameras.push(camera);
            missing = missing.max(of_these);
            passages += passed;
        }
        (cameras, missing, passages)
    }

    /// Instructions to guests, as they are given.
    pub fn prompts(&self) -> broadcast::Receiver<Prompt> {
        self.prompts.subscribe()
    }

    /// The session that holds each camera.
    pub fn holders(&self) -> Vec<(Name, Option<Uuid>)> {
        self.doors.iter().map(|d| (d.camera.clone(), *lock(&d.holder))).collect()
    }

    /// Counts since the daemon started.
    pub fn stats(&self) -> VerifierStats {
        lock(&self.shared.stats).clone()
    }

    /// After the stop: waits for the cameras' and the portrait's threads until `within` is over.
    /// True if all ended. The answers' thread ends with the last handle.
    pub fn join(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let threads = || {
            let mut threads = lock(&self.threads);
            threads.retain(|t| !t.is_finished());
            threads.iter().filter(|t| t.thread().name() != Some("gate-answers")).count()
        };
        while threads() > 0 {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}
