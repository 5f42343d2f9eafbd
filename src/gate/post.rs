//! A camera's post: what its station does for the missing while no session runs.
//!
//! At most `pictures_per_second` pictures are looked at, and after each look the station rests until the
//! time it took is no more than `cpu_share` of the time that passed. Whoever asks for the camera is served
//! first: between any two runs of a network the station looks whether somebody has. While nobody is missing,
//! and while the calibration has no threshold for so many, no picture is looked at.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::eyes::Eyes;
use super::lookout::{Lookout, LookoutRules, News, Step};
use super::people::Wanted;
use crate::base::{Clock, Name, Result, TimeSource};
use crate::capture::{Converter, Frame};
use crate::config::WatchConfig;
use crate::event::{Draft, Envelope, ModelRef, Recorder, WatchCamera, WatchSighting};

/// How often it is asked who is missing.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often a picture is asked for when none has come.
const POLL: Duration = Duration::from_millis(20);
/// Faces of one picture that are embedded.
const EMBEDDED_AT_ONCE: usize = 3;
/// Sightings on their way to the disk.
const MAX_PENDING: usize = 64;
/// A picture without a successor is forgotten after this long.
const STALE_AFTER: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What is looked for, where, and for whom.
pub struct Duty<T> {
    /// `[watch]`.
    pub config: WatchConfig,
    /// The missing.
    pub wanted: Arc<dyn Wanted<T>>,
}

impl<T> Clone for Duty<T> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), wanted: self.wanted.clone() }
    }
}

/// What a post counts.
#[derive(Debug, Default)]
pub(super) struct Count {
    watching: bool,
    reason: Option<String>,
    missing: u32,
    pictures: u64,
    passages: u64,
    sightings: u64,
    unrecorded: u64,
    /// Passages by the hour since the start, the newest last.
    hours: VecDeque<(u64, u64)>,
}

impl Count {
    /// What the health payload says, who is missing, and the passages of the last 24 hours.
    pub(super) fn read(&self, camera: &Name) -> (WatchCamera, u32, u64) {
        let health = WatchCamera {
            camera: camera.clone(),
            watching: self.watching,
            reason: self.reason.clone(),
            pictures: self.pictures,
            passages: self.passages,
            sightings: self.sightings,
            unrecorded: self.unrecorded,
        };
        (health, self.missing, self.hours.iter().map(|(_, n)| n).sum())
    }

    fn passed(&mut self, hour: u64) {
        self.passages += 1;
        match self.hours.back_mut().filter(|(h, _)| *h == hour) {
            Some((_, n)) => *n += 1,
            None => self.hours.push_back((hour, 1)),
        }
        self.expire(hour);
    }

    fn expire(&mut self, hour: u64) {
        self.hours.retain(|(h, _)| h + 24 > hour);
    }
}

pub(super) fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    // Numbers, replaced one by one: recovering from poison is sound.
    count.lock().unwrap_or_else(|e| e.into_inner())
}

/// What a post is made of.
pub(super) struct PostParts<T> {
    pub duty: Duty<T>,
    pub same_person: f32,
    pub model: ModelRef,
    pub recorder: Arc<dyn Recorder>,
    pub count: Arc<Mutex<Count>>,
    /// Somebody asks for the camera.
    pub asked: Arc<AtomicBool>,
}

/// One camera's post.
pub(super) struct Post<T> {
    parts: PostParts<T>,
    lookout: Lookout<T>,
    converter: Converter,
    started: Instant,
    ask_at: Instant,
    look_at: Instant,
    /// When the models last saw a picture that was not wiped since.
    dirty: Option<Instant>,
    last_time_source: TimeSource,
    pending: Vec<oneshot::Receiver<Result<Envelope>>>,
}

impl<T: super::session::Likeness + 'static> Post<T> {
    pub(super) fn new(parts: PostParts<T>, now: Instant) -> Self {
        let config = &parts.duty.config;
        let rules = LookoutRules {
            pictures: config.pictures as usize,
            same_person: parts.same_person,
            pass_gap: Duration::from_secs(config.pass_gap_s.into()),
        };
        Self {
            lookout: Lookout::new(rules),
            parts,
            converter: Converter::new(),
            started: now,
            ask_at: now,
            look_at: now,
            dirty: None,
            last_time_source: TimeSource::Arrival,
            pending: Vec::new(),
        }
    }

    /// How long the station may wait for a session before its next turn here.
    pub(super) fn wait(&self, now: Instant, idle: Duration) -> Duration {
        if !lock(&self.parts.count).watching && self.dirty.is_none() {
            return idle;
        }
        self.look_at.saturating_duration_since(now).clamp(POLL, idle)
    }

    /// Whether pictures are looked at now.
    pub(super) fn watching(&self) -> bool {
        lock(&self.parts.count).watching
    }

    /// After a panic: nothing that was in work is trusted.
    pub(super) fn reset(&mut self) {
        self.lookout.clear();
        self.dirty = None;
    }

    /// A session takes the camera, or the box stops: whoever is in view is looked up as far as they
    /// were seen, and forgotten. Only numbers are compared here, which takes microseconds.
    pub(super) fn yield_to_session(&mut self, camera: &Name, clock: &dyn Clock) {
        self.lookout.end();
        self.steps(camera, clock);
        self.lookout.clear();
        self.converter = Converter::new();
        // The session's own pictures overwrite the models' buffers, and its end wipes them.
        self.dirty = None;
    }

    /// One turn between two sessions.
    pub(super) fn turn<E: Eyes<Template = T>>(
        &mut self,
        camera: &Name,
        eyes: &mut E,
        clock: &dyn Clock,
        frame: &mut dyn FnMut() -> Option<Frame>,
    ) {
        let now = clock.instant();
        if now >= self.ask_at {
            self.ask_at = now + ASK_EVERY;
            self.ask(camera, now);
        }
        if !self.watching() {
            self.lookout.clear();
        } else if now >= self.look_at
            && let Some(frame) = frame()
        {
            let begun = clock.instant();
            if let Err(e) = self.look(camera, eyes, clock, &frame) {
                tracing::error!(camera = %camera, error = %e.chain(), "a picture could not be looked at");
            }
            drop(frame);
            self.steps(camera, clock);
            self.wipe(eyes, clock.instant());
            self.rest(begun, clock.instant());
            return;
        }
        self.lookout.tick(now);
        self.steps(camera, clock);
        self.wipe(eyes, now);
    }

    /// The next look is due when neither the rate nor the share of the core is exceeded.
    fn rest(&mut self, begun: Instant, now: Instant) {
        let config = &self.parts.duty.config;
        let every = Duration::from_secs_f32(1.0 / config.pictures_per_second.max(0.1));
        let took = now.saturating_duration_since(begun).as_secs_f32();
        let share = Duration::from_secs_f32((took / config.cpu_share.max(0.01)).min(60.0));
        self.look_at = begun + every.max(share);
    }

    fn ask(&mut self, camera: &Name, now: Instant) {
        let missing = self.parts.duty.wanted.missing();
        let hour = self.hour(now);
        let mut count = lock(&self.parts.count);
        count.expire(hour);
        let (watching, missing, reason) = match missing {
            Ok(0) => (false, 0, None),
            Ok(n) => (true, n, None),
            Err(e) => (false, 0, Some(e)),
        };
        let said = reason.as_ref().map(ToString::to_string);
        if count.watching != watching || count.reason != said {
            match &reason {
                None => tracing::info!(camera = %camera, watching, missing, "looking for missing persons"),
                Some(e) => {
                    tracing::error!(camera = %camera, error = %e.chain(), "nobody can be looked for, although somebody is missing");
                }
            }
        }
        (count.watching, count.missing, count.reason) = (watching, missing, said);
        drop(count);
        self.settle(camera);
    }

    fn hour(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / HOUR.as_secs()
    }

    fn asked(&self) -> bool {
        self.parts.asked.load(Ordering::Acquire)
    }

    fn look<E: Eyes<Template = T>>(
        &mut self,
        camera: &Name,
        eyes: &mut E,
        clock: &dyn Clock,
        frame: &Frame,
    ) -> Result<()> {
        let info = frame.info();
        if self.asked() || clock.instant().saturating_duration_since(info.arrived) > STALE_AFTER {
            return Ok(());
        }
        let picture = frame.to_rgb(&mut self.converter)?;
        lock(&self.parts.count).pictures += 1;
        self.last_time_source = info.time_source;
        self.dirty = Some(clock.instant());
        let found = eyes.live(&picture, info.arrived)?;
        let (seen, faces): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.lookout.picture(info.arrived, info.time, &seen);
        let mut graded: Vec<(f32, usize)> = Vec::new();
        for (at, face) in faces.iter().enumerate() {
            let grade = eyes.grade(&picture, face);
            if grade.shortfall.is_none() && self.lookout.wants(seen[at].track, grade.rank) {
                graded.push((grade.rank, at));
            }
        }
        graded.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (rank, at) in graded.into_iter().take(EMBEDDED_AT_ONCE) {
            if self.asked() {
                break;
            }
            let template = eyes.embed(&picture, &faces[at])?;
            self.lookout.template(clock.instant(), seen[at].track, rank, template);
        }
        tracing::debug!(camera = %camera, faces = faces.len(), "a picture was looked at for missing persons");
        Ok(())
    }

    fn steps(&mut self, camera: &Name, clock: &dyn Clock) {
        while let Some(step) = self.lookout.step(clock.instant()) {
            match step {
                Step::LookUp { key, probe, first } => {
                    let now = clock.instant();
                    if first {
                        let hour = self.hour(now);
                        lock(&self.parts.count).passed(hour);
                    }
                    let wanted = &self.parts.duty.wanted;
                    let found = wanted.look_up(&probe).and_then(|found| {
                        found.as_ref().map_or(Ok(()), |s| wanted.recognised(s, camera))?;
                        Ok(found)
                    });
                    drop(probe);
                    match found {
                        Ok(found) => self.lookout.answer(now, key, found),
                        Err(e) => {
                            tracing::error!(camera = %camera, error = %e.chain(), "a passer-by could not be looked up");
                        }
                    }
                }
                Step::Tell(news) => self.tell(camera, clock, news),
            }
        }
    }

    fn tell(&mut self, camera: &Name, clock: &dyn Clock, news: News) {
        let News { sighted, first_seen, last_seen, travel, pictures } = news;
        let config = &self.parts.duty.config;
        let sighting = WatchSighting {
            sighting: Uuid::now_v7(),
            camera: camera.clone(),
            first_seen,
            last_seen,
            time_source: self.last_time_source,
            travel,
            person_ref: sighted.person,
            entry: sighted.entry,
            authority_ref: sighted.authority,
            authority: config.authority.clone(),
            band: sighted.band,
            terms: sighted.terms,
            false_sightings_per_day: config.false_sightings_per_day,
            pictures,
            model: self.parts.model.clone(),
        };
        tracing::warn!(camera = %camera, sighting = %sighting.sighting, band = ?sighting.band, "a missing person was seen");
        match Draft::watch_sighting(&sighting, clock.now()) {
            Ok(draft) => {
                if self.pending.len() >= MAX_PENDING {
                    self.settle(camera);
                }
                let durable = self.parts.recorder.record(draft);
                if self.pending.len() < MAX_PENDING {
                    self.pending.push(durable);
                }
                lock(&self.parts.count).sightings += 1;
            }
            Err(e) => tracing::error!(camera = %camera, error = %e.chain(), "a sighting cannot be written"),
        }
    }

    /// Hears what became of the sightings.
    fn settle(&mut self, camera: &Name) {
        let mut lost = 0;
        self.pending.retain_mut(|durable| match durable.try_recv() {
            Ok(Ok(_)) => false,
            Ok(Err(e)) => {
                tracing::error!(camera = %camera, error = %e.chain(), "a sighting is not on record");
                lost += 1;
                false
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                lost += 1;
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
        lock(&self.parts.count).unrecorded += lost;
    }

    /// Whoever has left is wiped out of the models' buffers, and so is the last picture of a camera that
    /// shows no more. In between each picture overwrites the one before.
    fn wipe<E: Eyes>(&mut self, eyes: &mut E, now: Instant) {
        let left = self.lookout.take_left();
        let stale = self.dirty.is_some_and(|at| now.saturating_duration_since(at) > STALE_AFTER);
        if left || stale {
            eyes.wipe();
            self.dirty = None;
            if self.lookout.is_empty() {
                self.converter = Converter::new();
            }
        }
    }
}
