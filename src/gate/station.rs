//! One camera's thread: it owns the camera's pictures and the eyes, and drives one session at a
//! time. While no session runs, no picture is looked at: the freshest one is thrown away now and
//! then, so that none lies about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot, watch};
use uuid::Uuid;

use super::door::Watched;
use super::eyes::Eyes;
use super::follow::Follow;
use super::post::Post;
use super::session::{Instruction, Rules, Session, Verdict};
use super::watch::Watch;
use crate::base::backoff::Backoff;
use crate::base::mailbox::{self, Received};
use crate::base::supervise::{End, supervise};
use crate::base::{Clock, Name, Result, Shutdown, TimeSource};
use crate::capture::{CameraStatus, Converter, Frame};
use crate::event::{CaptureFacts, Check, Outcome, Reason};

/// How long the thread sleeps between two looks at the stop signal; no picture that nobody asked
/// for gets older than this in the mailbox of a camera that stopped.
const IDLE: Duration = Duration::from_millis(200);
/// While the portrait is awaited, it is asked for this often between pictures.
const PORTRAIT_POLL: Duration = Duration::from_millis(4);
/// The camera's state is looked at this often between pictures.
const CAMERA_POLL: Duration = Duration::from_millis(50);

/// An instruction to the guest of one session, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Prompt {
    /// The session.
    pub session: Uuid,
    /// What the requester called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The camera that the guest stands in front of.
    pub camera: Name,
    /// What the guest has to do.
    pub instruction: Instruction,
}

/// One session to be run.
pub(super) struct Job<T> {
    pub session: Uuid,
    pub correlation: Option<String>,
    pub rules: Rules,
    pub received: Instant,
    pub decide_by: Instant,
    pub portrait: Receiver<Result<T, Reason>>,
    pub facts: Arc<Mutex<CaptureFacts>>,
    pub verdict: oneshot::Sender<(Verdict, Instant)>,
    /// After a match, whether somebody follows.
    pub follow: Option<Behind>,
    /// Nothing is compared: the pictures are gathered. The verdict is that of a session that failed.
    pub gather: Option<oneshot::Sender<Gathered<T>>>,
}

/// What a gathering session gathered.
pub(super) struct Gathered<T> {
    pub template: T,
    pub checks: Vec<Check>,
}

/// A watch over what comes behind the guest.
pub(super) struct Behind {
    /// For this long.
    pub during: Duration,
    /// The next session ends it.
    pub cut: Arc<AtomicBool>,
    pub told: oneshot::Sender<Watched>,
}

/// What a station is made of.
pub(super) struct Station<E: Eyes> {
    pub camera: Name,
    pub frames: mailbox::Receiver<Frame>,
    pub status: watch::Receiver<CameraStatus>,
    pub eyes: E,
    pub clock: Arc<dyn Clock>,
    pub prompts: broadcast::Sender<Prompt>,
    pub stop: Shutdown,
    /// What is looked for between sessions.
    pub post: Option<Post<E::Template>>,
}

impl<E: Eyes> Station<E> {
    /// The thread's body: runs sessions until the stop.
    pub(super) fn serve(mut self, jobs: Receiver<Job<E::Template>>, backoff: Backoff) {
        let (stop, camera) = (self.stop.clone(), self.camera.clone());
        supervise(
            &format!("station {camera}"),
            backoff,
            &stop,
            || {
                // After a panic the buffers may hold the pictures that caused it.
                self.eyes.scrub();
                if let Some(post) = &mut self.post {
                    post.reset();
                }
                loop {
                    let wait = match &self.post {
                        Some(post) => post.wait(self.clock.instant(), IDLE),
                        None => IDLE,
                    };
                    match jobs.recv_timeout(wait) {
                        Ok(job) => {
                            self.leave_post();
                            self.run(job);
                            self.eyes.scrub();
                        }
                        Err(RecvTimeoutError::Timeout) => self.between(),
                        Err(RecvTimeoutError::Disconnected) => {
                            self.leave_post();
                            return Ok(End::Finished);
                        }
                    }
                    if self.stop.requested() {
                        self.leave_post();
                        self.eyes.scrub();
                        return Ok(End::Finished);
                    }
                }
            },
            |e, wait| {
                tracing::error!(camera = %camera, error = %e.chain(), ?wait, "a station failed; it starts again");
            },
        );
    }

    /// Nobody has asked for the camera: its picture is thrown away, or looked at for the missing.
    fn between(&mut self) {
        let Self { camera, frames, eyes, clock, post, .. } = self;
        let clock = clock.clone();
        if let Some(post) = post {
            post.turn(camera, eyes, &*clock, &mut || frames.try_recv());
            if post.watching() {
                return;
            }
        }
        if let Some(frame) = frames.try_recv() {
            eyes.prepare(frame.width(), frame.height());
        }
    }

    fn leave_post(&mut self) {
        if let Some(post) = &mut self.post {
            post.yield_to_session(&self.camera, &*self.clock);
        }
    }

    fn live(&self) -> bool {
        self.status.borrow().state == crate::event::CameraCondition::Live
    }

    fn run(&mut self, job: Job<E::Template>) {
        if job.verdict.is_closed() {
            return;
        }
        self.eyes.begin();
        let new = if job.gather.is_some() { Session::gathering } else { Session::new };
        let session = new(job.rules.clone(), self.clock.instant(), job.decide_by, self.live());
        let mut run = Run::<E> {
            watch: Watch::new(session, self.camera.clone()),
            converter: Converter::new(),
            last_seq: None,
            took: Duration::ZERO,
        };
        let verdict = loop {
            let now = self.clock.instant();
            let session = &mut run.watch.session;
            session.camera(now, self.live());
            if session.awaits_portrait() {
                match job.portrait.try_recv() {
                    Ok(portrait) => session.portrait(now, portrait),
                    Err(TryRecvError::Disconnected) => session.portrait(now, Err(Reason::InternalFault)),
                    Err(TryRecvError::Empty) => {}
                }
            }
            if self.stop.requested() {
                session.fault(now);
            }
            let clock = self.clock.clone();
            run.watch.tick(&mut self.eyes, &|| clock.instant());
            let session = &mut run.watch.session;
            if let Some(instruction) = session.take_instruction() {
                let _ = self.prompts.send(Prompt {
                    session: job.session,
                    correlation: job.correlation.clone(),
                    camera: self.camera.clone(),
                    instruction,
                });
            }
            if let Some(verdict) = session.verdict() {
                break verdict.clone();
            }
            if let Some(checks) = session.gathered() {
                let checks = checks.to_vec();
                // The verdict's other end hears that there is none, after this.
                if let (Some(tell), Some((template, _))) = (job.gather, run.watch.session.into_gathered()) {
                    let _ = tell.send(Gathered { template, checks });
                }
                return;
            }
            let poll = if session.awaits_portrait() { PORTRAIT_POLL } else { CAMERA_POLL };
            let wait = session.wake().saturating_duration_since(now).clamp(Duration::from_millis(1), poll);
            match self.frames.recv(wait) {
                // A picture from before the request may show the guest before.
                Received::Value(frame) if frame.info().arrived < job.received => {}
                // Nor may one that is looked at too late make the answer late.
                Received::Value(_) if run.too_late(self.clock.instant(), job.decide_by) => {}
                Received::Value(frame) => {
                    let begun = self.clock.instant();
                    run.look(&frame, &job, self);
                    run.took = self.clock.instant().saturating_duration_since(begun);
                }
                Received::Empty => {}
                Received::Closed => drop(self.stop.sleep(wait)),
            }
        };
        let matched = verdict.outcome == Outcome::Match;
        let Job { verdict: tell, follow, rules, .. } = job;
        let _ = tell.send((verdict, self.clock.instant()));
        if let Some(behind) = follow.filter(|_| matched) {
            let Run { watch, converter, .. } = run;
            let watched = self.behind(watch.follow(rules.same_person), converter, &behind);
            let _ = behind.told.send(watched);
        }
    }

    /// Watches whether somebody follows the guest.
    fn behind(
        &mut self,
        mut follow: Follow<E::Template>,
        mut converter: Converter,
        behind: &Behind,
    ) -> Watched {
        let until = self.clock.instant() + behind.during;
        loop {
            let left = until.saturating_duration_since(self.clock.instant());
            if behind.cut.load(Ordering::Acquire) {
                return Watched::Cut(Reason::CameraBusy);
            }
            if self.stop.requested() {
                return Watched::Cut(Reason::InternalFault);
            }
            if left.is_zero() {
                let saw = follow.pictures() > 0;
                return if saw { Watched::Alone } else { Watched::Cut(Reason::CameraUnavailable) };
            }
            let wait = left.min(CAMERA_POLL);
            let frame = match self.frames.recv(wait) {
                Received::Value(frame) => frame,
                Received::Empty => continue,
                Received::Closed => {
                    self.stop.sleep(wait);
                    continue;
                }
            };
            match self.stranger(&mut follow, &mut converter, &frame) {
                Ok(true) => return Watched::Followed,
                Ok(false) => {}
                Err(e) => {
                    tracing::error!(camera = %self.camera, error = %e.chain(), "a picture could not be looked at");
                    return Watched::Cut(Reason::InternalFault);
                }
            }
        }
    }

    fn stranger(
        &mut self,
        follow: &mut Follow<E::Template>,
        converter: &mut Converter,
        frame: &Frame,
    ) -> Result<bool> {
        let picture = frame.to_rgb(converter)?;
        let found = self.eyes.live(&picture, frame.info().arrived)?;
        let (seen, faces): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let Some(wanted) = follow.picture(&seen) else { return Ok(false) };
        if self.eyes.grade(&picture, &faces[wanted]).shortfall.is_some() {
            return Ok(false);
        }
        let template = self.eyes.embed(&picture, &faces[wanted])?;
        Ok(follow.template(seen[wanted].track, &template))
    }
}

/// One session on its station.
struct Run<E: Eyes> {
    watch: Watch<E>,
    converter: Converter,
    last_seq: Option<u64>,
    /// How long the last picture was looked at.
    took: Duration,
}

impl<E: Eyes> Run<E> {
    /// Whether a look that takes up to twice as long as the last one would end after `decide_by`.
    fn too_late(&self, now: Instant, decide_by: Instant) -> bool {
        now + 2 * self.took > decide_by
    }

    fn look(&mut self, frame: &Frame, job: &Job<E::Template>, station: &mut Station<E>) {
        let info = frame.info();
        {
            let mut facts = job.facts.lock().unwrap_or_else(|e| e.into_inner());
            facts.pictures += 1;
            facts.time_source = info.time_source;
            facts.last_picture = Some(info.time);
            let before = self.last_seq.replace(info.seq);
            let skipped = before.map_or(0, |b| info.seq.saturating_sub(b + 1));
            facts.skipped = facts.skipped.saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX));
        }
        let picture = match frame.to_rgb(&mut self.converter) {
            Ok(picture) => picture,
            Err(e) => {
                tracing::warn!(camera = %station.camera, error = %e.chain(), "a picture cannot be converted");
                return;
            }
        };
        let Station { eyes, clock, camera, .. } = station;
        let arrived = info.arrived.max(job.received);
        if let Err(e) = self.watch.look(eyes, picture, arrived, &|| clock.instant(), &mut |_| {}) {
            tracing::error!(camera = %camera, error = %e.chain(), "a picture could not be looked at");
            self.watch.session.fault(clock.instant());
        }
    }
}

impl CaptureFacts {
    /// Of a camera of which nothing was seen yet.
    pub(super) fn none_yet(camera: Name) -> Self {
        Self { camera, time_source: TimeSource::Arrival, last_picture: None, pictures: 0, skipped: 0 }
    }
}
