//! The supervisor of one camera: opens it, watches it, brings it back.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::disposable::Disposables;
use super::fault;
use super::frame::{Frame, FrameInfo};
use super::metadata::{Metadata, MetadataQueue, MetadataReader, StreamTime};
use super::source::{Opener, Picture, Pull, Source, SourceDrops, SourceMetadata};
use crate::base::backoff::Backoff;
use crate::base::mailbox::{self, Receiver, Sender};
use crate::base::supervise::{self, End, supervise};
use crate::base::{Clock, Culprit, Error, Kind, Name, Result, Shutdown, TimeQuality, TimeSource};
use crate::config::{CameraConfig, SourceUrl};
use crate::event::CameraCondition;

/// How often the thread looks up from a camera that sends nothing.
const POLL: Duration = Duration::from_millis(100);
/// Closing a camera is awaited for this long, then left to its thread: many cameras refuse a new
/// session while the old one is open, so it is worth a moment.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// A camera's clock further than this from ours is not set, as long as ours is.
const CAMERA_CLOCK_OFF: SignedDuration = SignedDuration::from_secs(60);
/// No camera's clock is right before this: firmware starts at 1970 or 2000.
const NO_CLOCK_BEFORE: Timestamp = Timestamp::constant(1_577_836_800, 0);
/// The reason that a camera starts with.
const NOT_OPENED: &str = "not opened yet";
/// Weight of the newest interval in the running frame rate.
const FPS_WEIGHT: f64 = 0.1;

/// What is told of a camera, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraStatus {
    /// Whether pictures come.
    pub state: CameraCondition,
    /// Since when the state has been this, wall clock.
    pub since: Timestamp,
    /// Why it is not live, in one line; of a live camera, why it was lost the last time.
    pub reason: Option<String>,
}

/// Frames thrown away since the daemon started, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Replaced in the mailbox by a fresher one before anybody took it: the consumer is slower.
    pub overwritten: u64,
    /// Replaced inside the pipeline before this room pulled it.
    pub late: u64,
    /// Times the compressed backlog before a slow decoder overflowed.
    pub backlog: u64,
    /// Marked as damaged by the decoder.
    pub corrupt: u64,
    /// Could not be turned into RGB when somebody looked.
    pub unconvertible: u64,
    /// KLV packets, not frames: torn, too long, or more than their reader took.
    pub metadata: u64,
    /// Packets of a transport stream, not frames, that the network lost.
    pub lost: u64,
}

/// Figures of one camera.
#[derive(Clone, Copy, Debug, Default)]
pub struct CameraStats {
    /// Frames handed on.
    pub frames: u64,
    /// Attempts to open it.
    pub attempts: u64,
    /// Times it came back after a loss or stall.
    pub reconnects: u64,
    /// Frames thrown away.
    pub drops: Drops,
    /// When the last frame arrived, monotonic.
    pub last_frame: Option<Instant>,
    /// Frames per second, a running mean that falls when none come.
    pub fps: f64,
    /// Where the last frame's time came from.
    pub time_source: Option<TimeSource>,
    /// Frames whose camera time was too far off to be used.
    pub bad_camera_times: u64,
    /// Connections that hang and could not be closed, now.
    pub hanging: usize,
    /// Openings and closings that ever outlasted their deadline.
    pub hung_total: u64,
}

#[derive(Default)]
struct Figures {
    frames: u64,
    attempts: u64,
    reconnects: u64,
    bad_camera_times: u64,
    last_frame: Option<Instant>,
    interval: Option<f64>,
    time_source: Option<TimeSource>,
    /// Of the sources that are gone.
    past: SourceDrops,
    /// Of the one that is open.
    present: SourceDrops,
    overwritten: u64,
}

struct Shared {
    figures: Mutex<Figures>,
    unconvertible: Arc<AtomicU64>,
    threads: Disposables,
    status: watch::Sender<CameraStatus>,
    clock: Arc<dyn Clock>,
    metadata: MetadataQueue,
}

impl Shared {
    // Held for a few additions, never across I/O.
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes the status; true if that is news.
    fn say(&self, state: CameraCondition, reason: Option<String>) -> bool {
        self.status.send_if_modified(|status| {
            let keep_reason = state == CameraCondition::Live && reason.is_none();
            if status.state == state && (keep_reason || status.reason == reason) {
                return false;
            }
            if status.state != state {
                status.since = self.clock.now();
                status.state = state;
            }
            if !keep_reason {
                status.reason = reason;
            } else if status.reason.as_deref() == Some(NOT_OPENED) {
                status.reason = None;
            }
            true
        })
    }
}

/// One camera, supervised on a thread of its own until the shutdown is requested. Dropping this
/// handle does not stop it.
pub struct Camera {
    name: Name,
    shared: Arc<Shared>,
    finished: Shutdown,
}

impl fmt::Debug for Camera {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Camera").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Camera {
    /// Starts the camera's thread. That the camera cannot be reached is not an error here: it is
    /// opened when it can be.
    pub fn start(
        config: &CameraConfig,
        opener: Arc<dyn Opener>,
        clock: Arc<dyn Clock>,
        stop: &Shutdown,
    ) -> Result<(Self, Receiver<Frame>)> {
        let backoff = Backoff::try_new(config.retry_min_ms.duration(), config.retry_max_ms.duration())
            .map_err(|e| e.context(format!("camera {}", config.name)))?;
        let status = CameraStatus {
            state: CameraCondition::Lost,
            since: clock.now(),
            reason: Some(NOT_OPENED.into()),
        };
        let shared = Arc::new(Shared {
            figures: Mutex::default(),
            unconvertible: Arc::default(),
            threads: Disposables::default(),
            status: watch::Sender::new(status),
            clock,
            metadata: MetadataQueue::default(),
        });
        let (frames, receiver) = mailbox::freshest();
        let finished = Shutdown::new();
        let mut keeper = Keeper {
            config: config.clone(),
            opener,
            shared: shared.clone(),
            frames,
            seq: 0,
            stop: stop.clone(),
            was_live: false,
            slow: 0,
        };
        let at_end = AtEnd(finished.clone(), shared.metadata.clone());
        supervise::spawn(format!("cam-{}", config.name), move || {
            let _at_end = at_end;
            keeper.keep(backoff);
        })?;
        Ok((Self { name: config.name.clone(), shared, finished }, receiver))
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<CameraStatus> {
        self.shared.status.subscribe()
    }

    /// Its KLV packets, from now on. Nothing is kept before the first call.
    pub fn metadata(&self) -> MetadataReader {
        self.shared.metadata.reader()
    }

    /// Its figures.
    pub fn stats(&self) -> CameraStats {
        let f = self.shared.figures();
        let age =
            f.last_frame.map(|at| self.shared.clock.instant().saturating_duration_since(at).as_secs_f64());
        let fps = match (f.interval, age) {
            (Some(interval), Some(age)) => 1.0 / interval.max(age).max(1e-6),
            _ => 0.0,
        };
        CameraStats {
            frames: f.frames,
            attempts: f.attempts,
            reconnects: f.reconnects,
            drops: Drops {
                overwritten: f.overwritten,
                late: f.past.late + f.present.late,
                backlog: f.past.backlog + f.present.backlog,
                corrupt: f.past.corrupt + f.present.corrupt,
                unconvertible: self.shared.unconvertible.load(Ordering::Relaxed),
                metadata: f.past.metadata + f.present.metadata + self.shared.metadata.dropped(),
                lost: f.past.lost + f.present.lost,
            },
            last_frame: f.last_frame,
            fps,
            time_source: f.time_source,
            bad_camera_times: f.bad_camera_times,
            hanging: self.shared.threads.hanging(),
            hung_total: self.shared.threads.hung_total(),
        }
    }

    /// Waits until its thread has ended, which it does when the shutdown is requested or a file is
    /// at its end; false if it has not by then.
    pub fn join(&self, deadline: Duration) -> bool {
        self.finished.sleep(deadline)
    }
}

struct AtEnd(Shutdown, MetadataQueue);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.1.close();
        self.0.request();
    }
}

/// An open source that is closed on a disposable thread, whatever way it is let go.
struct Held {
    source: Box<dyn Source>,
    shared: Arc<Shared>,
    name: Name,
}

impl Drop for Held {
    fn drop(&mut self) {
        let source = std::mem::replace(&mut self.source, Box::new(Gone));
        {
            let mut f = self.shared.figures();
            let last = source.drops();
            f.past.backlog += last.backlog;
            f.past.late += last.late;
            f.past.corrupt += last.corrupt;
            f.past.metadata += last.metadata;
            f.past.lost += last.lost;
            f.present = SourceDrops::default();
        }
        close(source, &self.name, &self.shared.threads);
    }
}

/// What stands where a source was.
struct Gone;

impl Source for Gone {
    fn next(&mut self, _: Duration) -> Result<Pull> {
        Ok(Pull::Ended)
    }
}

fn close(source: Box<dyn Source>, name: &Name, threads: &Disposables) {
    match threads.run(&format!("close-{name}"), CLOSE_WITHIN, None, move || drop(source)) {
        Ok(Some(())) => {}
        Ok(None) => tracing::warn!(
            camera = %name,
            hanging = threads.hanging(),
            "closing the camera hangs; going on without it"
        ),
        Err(e) => tracing::error!(camera = %name, "closing the camera: {}", e.chain()),
    }
}

struct Keeper {
    config: CameraConfig,
    opener: Arc<dyn Opener>,
    shared: Arc<Shared>,
    frames: Sender<Frame>,
    seq: u64,
    stop: Shutdown,
    was_live: bool,
    /// Openings in a row without an answer in time.
    slow: u32,
}

impl Keeper {
    fn keep(&mut self, backoff: Backoff) {
        let (stop, shared, name) = (self.stop.clone(), self.shared.clone(), self.config.name.clone());
        let mut logged = None;
        supervise(
            &format!("camera {name}"),
            backoff,
            &stop,
            || self.run_once(),
            |e, wait| {
                // After a panic nobody has said it yet.
                let text = e.to_string();
                if shared.status.borrow().reason.as_ref() != Some(&text) {
                    shared.say(CameraCondition::Lost, Some(text));
                }
                // A camera that is gone for a week fills no log: the same words once a loss.
                let news = Some((e.to_string(), shared.figures().reconnects));
                if news == logged {
                    tracing::debug!(camera = %name, retry_in = ?wait, "{}", e.chain());
                } else {
                    tracing::warn!(camera = %name, retry_in = ?wait, "{}", e.chain());
                    logged = news;
                }
            },
        );
    }

    /// Opens the camera and hands its frames on until it is lost.
    fn run_once(&mut self) -> Result<End> {
        // Outlives the watching, so that the loss is told before the closing, which may take long.
        let mut held = None;
        let (state, e) = match self.watch(&mut held) {
            Ok(end) => return Ok(end),
            Err(loss) => loss,
        };
        self.slow =
            if e.kind() == Kind::Timeout && state == CameraCondition::Lost { self.slow + 1 } else { 0 };
        let place = fault::place(&self.config.url);
        let e = e.context(format!("camera {} ({place})", self.config.name));
        self.shared.say(state, Some(e.to_string()));
        drop(held);
        Err(e)
    }

    /// Why it ended, and what the camera is now.
    fn watch(&mut self, held: &mut Option<Held>) -> Result<End, (CameraCondition, Error)> {
        let lost = |e: Error| (CameraCondition::Lost, e);
        self.shared.threads.check().map_err(lost)?;
        let opening = {
            let mut f = self.shared.figures();
            f.attempts += 1;
            f.attempts
        };
        let clock = self.shared.clock.clone();
        let opened = clock.instant();
        let connect_within = self.config.connect_within_ms.duration();
        let stall_after = self.config.stall_after_ms.duration();
        let Some(opened_source) = self.open(connect_within).map_err(lost)? else {
            if self.stop.requested() {
                return Ok(End::Finished);
            }
            return Err(lost(timeout(format!(
                "opening it took longer than {} ms",
                connect_within.as_millis()
            ))));
        };
        let held = held.insert(opened_source);
        let mut last: Option<Instant> = None;
        while !self.stop.requested() {
            let pulled = held.source.next(POLL);
            // Before the picture, so that whoever holds it finds what was said of it.
            for packet in held.source.take_metadata() {
                let at = packet.position.map(|position| StreamTime { opening, position });
                let SourceMetadata { bytes, stamped, arrived, .. } = packet;
                self.shared.metadata.push(Metadata { bytes, at, stamped, arrived });
            }
            match pulled.map_err(lost)? {
                Pull::Picture(picture) => {
                    last = Some(clock.instant());
                    let drops = held.source.drops();
                    self.hand_on(picture, opening, drops);
                    continue;
                }
                Pull::Ended => return self.ended(last.is_some()).map_err(lost),
                Pull::Nothing => {}
            }
            let now = clock.instant();
            match last {
                Some(at) if now.saturating_duration_since(at) >= stall_after => {
                    let why = held.source.silence().map(|w| format!(": {w}")).unwrap_or_default();
                    let e = timeout(format!("no new picture for {} ms{why}", stall_after.as_millis()));
                    return Err((CameraCondition::Stalled, e));
                }
                None if now.saturating_duration_since(opened) >= connect_within => {
                    let why = held.source.silence().map(|w| format!(": {w}")).unwrap_or_default();
                    let ms = connect_within.as_millis();
                    return Err(lost(timeout(format!("no picture within {ms} ms of opening it{why}"))));
                }
                _ => {}
            }
        }
        Ok(End::Finished)
    }

    fn open(&self, within: Duration) -> Result<Option<Held>> {
        let (opener, config, slow) = (self.opener.clone(), self.config.clone(), self.slow);
        let name = self.config.name.clone();
        let open = move || opener.open_slow(&config, slow);
        let opened = self.shared.threads.run(&format!("open-{name}"), within, Some(&self.stop), open)?;
        let Some(source) = opened.transpose()? else { return Ok(None) };
        Ok(Some(Held { source, shared: self.shared.clone(), name }))
    }

    fn ended(&self, had_pictures: bool) -> Result<End> {
        match (&self.config.url, self.config.repeat) {
            (SourceUrl::File(_) | SourceUrl::Tiff(_), true) if had_pictures => Ok(End::Again),
            (SourceUrl::File(_) | SourceUrl::Tiff(_), false) if had_pictures => {
                self.shared.say(CameraCondition::Lost, Some("the file is at its end".into()));
                Ok(End::Finished)
            }
            (SourceUrl::File(_) | SourceUrl::Tiff(_), _) => {
                Err(Error::new(Kind::Malformed, Culprit::Camera, "the file holds no picture"))
            }
            _ => Err(Error::new(Kind::Unavailable, Culprit::Camera, "the camera ended the stream")),
        }
    }

    fn hand_on(&mut self, picture: Picture, opening: u64, drops: SourceDrops) {
        let arrived = self.shared.clock.instant();
        let now = self.shared.clock.now();
        let believed = picture.camera_time.filter(|t| self.believable(*t, now));
        let bad = picture.camera_time.is_some() && believed.is_none();
        let (time, time_source) = match believed {
            Some(t) => (t, TimeSource::Camera),
            None => (now, TimeSource::Arrival),
        };
        self.seq += 1;
        let info = FrameInfo { camera: self.config.name.clone(), seq: self.seq, time, time_source, arrived };
        let at = picture.position.map(|position| StreamTime { opening, position });
        let frame = Frame::new(info, picture.pixels)
            .at_stream_time(at)
            .counting_unconvertible(self.shared.unconvertible.clone());
        // Figures and status first: whoever holds the frame finds them right.
        let was_live = self.shared.status.borrow().state == CameraCondition::Live;
        {
            let mut f = self.shared.figures();
            f.frames += 1;
            f.bad_camera_times += u64::from(bad);
            f.present = drops;
            f.time_source = Some(time_source);
            if was_live && let Some(before) = f.last_frame {
                let interval = arrived.saturating_duration_since(before).as_secs_f64();
                f.interval = Some(f.interval.map_or(interval, |i| i + FPS_WEIGHT * (interval - i)));
            }
            f.last_frame = Some(arrived);
            f.reconnects += u64::from(!was_live && self.was_live);
        }
        if !was_live {
            self.was_live = true;
            self.shared.say(CameraCondition::Live, None);
            tracing::info!(camera = %self.config.name, "live");
        }
        if self.frames.send(frame) {
            self.shared.figures().overwritten += 1;
        }
    }

    /// A camera whose clock was never set still says a time.
    fn believable(&self, camera: Timestamp, now: Timestamp) -> bool {
        camera >= NO_CLOCK_BEFORE
            && (self.shared.clock.quality() == TimeQuality::Unsynced
                || camera.duration_since(now).abs() <= CAMERA_CLOCK_OFF)
    }
}

fn timeout(text: String) -> Error {
    Error::new(Kind::Timeout, Culprit::Camera, text)
}

/// What a camera shows when it is opened once, for a check of the live world.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Columns of its pictures.
    pub width: u32,
    /// Rows of its pictures.
    pub height: u32,
    /// Layout of its pictures in memory, in GStreamer's words.
    pub format: String,
    /// From opening to the first picture.
    pub took: Duration,
}

/// Opens a camera, waits for its first picture within `connect_within_ms`, and closes it again.
pub fn probe(config: &CameraConfig, opener: &Arc<dyn Opener>) -> Result<Probe> {
    let threads = Disposables::default();
    let within = config.connect_within_ms.duration();
    let name = config.name.clone();
    let started = Instant::now();
    let (opener, wanted) = (opener.clone(), config.clone());
    let look = || -> Result<Probe> {
        let late = || timeout(format!("no picture within {} ms of opening it", within.as_millis()));
        let opened = threads.run(&format!("open-{name}"), within, None, move || opener.open(&wanted))?;
        let mut source = opened.transpose()?.ok_or_else(late)?;
        let first = loop {
            let Some(left) = within.checked_sub(started.elapsed()).filter(|d| !d.is_zero()) else {
                let e = late();
                break Err(match source.silence() {
                    Some(why) => timeout(format!("{}: {why}", e.what())),
                    None => e,
                });
            };
            match source.next(left.min(POLL)) {
                Ok(Pull::Picture(picture)) => break Ok(picture),
                Ok(Pull::Nothing) => drop(source.take_metadata()),
                Ok(Pull::Ended) => {
                    let text = "the camera ended the stream before its first picture";
                    break Err(Error::new(Kind::Unavailable, Culprit::Camera, text));
                }
                Err(e) => break Err(e),
            }
        };
        let took = started.elapsed();
        let probe = first.map(|picture| Probe {
            width: picture.pixels.width(),
            height: picture.pixels.height(),
            format: picture.pixels.format().to_owned(),
            took,
        });
        close(source, &name, &threads);
        probe
    };
    look().map_err(|e| e.context(format!("camera {} ({})", config.name, fault::place(&config.url))))
}
