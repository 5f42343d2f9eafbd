//! The search box at work: one thread that takes the thermal camera's frames and the drone's telemetry, and
//! hands on what the chain makes of them.
//!
//! Nothing here waits: events go to the outbox's queue, maps are drawn elsewhere, missions are written by a
//! thread of their own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::Announcing;
use crate::base::backoff::Backoff;
use crate::base::mailbox::{self, Received};
use crate::base::supervise::{self, End, supervise};
use crate::base::{Clock, Culprit, Error, Kind, Name, Result, Shutdown};
use crate::capture::{Frame, MetadataReader};
use crate::commands::flight;
use crate::config::{Config, SearchConfig, TelemetryKind};
use crate::event::{
    AlarmCode, CotHealth, DetectionState, Draft, MissionView, Recorder, SearchDetection, SearchHealth,
    SearchState,
};
use crate::fittings::Cot;
use crate::geo::mavlink::{Listener, Said};
use crate::geo::{Loading, Notice};
use crate::infer::{Manifest, Runtime};
use crate::search::{Chain, Keeper, MissionOrder, Missions, Outcome, StopOrder};

/// How long the thread waits for a frame before it looks at everything else.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Orders that wait for the thread.
const MAX_ORDERS: usize = 8;
/// A camera that sends nothing for this long has no frame left whose telemetry may come.
const QUIET: Duration = Duration::from_secs(3);
/// An order is answered within this, or the thread hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two lines of one kind in the log.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// After a fault of the thread.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What somebody orders, and where the answer goes.
enum Order {
    Start(Box<MissionOrder>, oneshot::Sender<Result<MissionView>>),
    Stop(StopOrder, oneshot::Sender<Result<MissionView>>),
}

/// What is told of the search, refreshed by its thread.
#[derive(Default)]
struct Told {
    state: Option<SearchState>,
    reason: Option<String>,
    mission: Option<MissionView>,
    frames: u64,
    looks: u64,
    unplaced: u64,
    repeated: u64,
    telemetry_at: Option<Instant>,
}

/// What is built before anything is started.
pub(super) struct SearchPieces {
    config: SearchConfig,
    chain: Chain,
    missions: Missions,
}

impl SearchPieces {
    /// Opens models and elevation, and the mission that was under way.
    pub(super) fn build(config: &Config, runtime: &Runtime, manifest: &Manifest) -> Result<Option<Self>> {
        let Some(search) = &config.search else { return Ok(None) };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|e| Error::new(Kind::Unavailable, Culprit::Host, format!("no random numbers: {e}")))?;
        let manifest = Arc::new(manifest.clone());
        let mut chain = flight::chain(runtime, &manifest, search, Loading::Behind, seed)?;
        let missions = Missions::of(&config.identity.state_dir);
        match missions.under_way() {
            Ok(Some(snapshot)) => {
                let mission = snapshot.mission();
                chain.search_mut().resume(snapshot)?;
                info!(%mission, "a mission that was under way goes on");
            }
            Ok(None) => {}
            // A mission that cannot be read must not keep the next one from being flown.
            Err(e) => error!("the mission that was under way cannot be read: {}", e.chain()),
        }
        Ok(Some(Self { config: search.clone(), chain, missions }))
    }

    /// Which camera looks for it.
    pub(super) fn camera(&self) -> &Name {
        &self.config.camera
    }
}

/// What the thread is given.
pub(super) struct SearchParts<'a> {
    pub(super) pieces: SearchPieces,
    pub(super) frames: mailbox::Receiver<Frame>,
    pub(super) metadata: MetadataReader,
    pub(super) recorder: Arc<Announcing>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runtime: &'a tokio::runtime::Handle,
    pub(super) stop: Shutdown,
}

/// The search, as the rest of the house sees it.
pub(super) struct Searcher {
    orders: SyncSender<Order>,
    told: Arc<Mutex<Told>>,
    beat: Arc<AtomicU64>,
    cot: Arc<Cot>,
    keeper: Arc<Keeper>,
    finished: Shutdown,
}

impl Searcher {
    /// Starts the thread.
    pub(super) fn start(parts: SearchParts<'_>) -> Result<Self> {
        let SearchParts { pieces, frames, metadata, recorder, clock, runtime, stop } = parts;
        let SearchPieces { config, chain, missions } = pieces;
        let keep = config.keep_missions as usize;
        let keeper = Arc::new(Keeper::start(missions, keep, config.export_dir.clone())?);
        let cot = Arc::new(Cot::start(&config.cot, false, &clock, runtime, &stop));
        let (orders, theirs) = sync_channel(MAX_ORDERS);
        let told = Arc::<Mutex<Told>>::default();
        let beat = Arc::<AtomicU64>::default();
        let finished = Shutdown::new();
        let drone = Drone::open(&config)?;
        let backoff = Backoff::try_new(RETRY_MIN, RETRY_MAX)?;
        let mut station = Station {
            name: config.camera.clone(),
            auto_start: config.auto_start,
            chain,
            frames,
            metadata,
            drone,
            orders: theirs,
            speaker: Speaker { recorder, clock, cot: cot.clone(), runtime: runtime.clone() },
            keeper: keeper.clone(),
            told: told.clone(),
            beat: beat.clone(),
            opening: None,
            last_frame: None,
            said: HashMap::new(),
            stop: stop.clone(),
        };
        let done = finished.clone();
        supervise::spawn(format!("search-{}", config.camera), move || {
            supervise(
                "the search",
                backoff,
                &stop,
                || station.run(),
                |e, wait| {
                    error!(retry_in = ?wait, "the search stumbled: {}", e.chain());
                },
            );
            station.end();
            done.request();
        })?;
        Ok(Self { orders, told, beat, cot, keeper, finished })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Held for a few assignments, never across I/O.
        self.told.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins a mission.
    pub(super) async fn begin(&self, order: MissionOrder) -> Result<MissionView> {
        let (tx, rx) = oneshot::channel();
        self.order(Order::Start(Box::new(order), tx), rx).await
    }

    /// Ends one.
    pub(super) async fn finish(&self, order: StopOrder) -> Result<MissionView> {
        let (tx, rx) = oneshot::channel();
        self.order(Order::Stop(order, tx), rx).await
    }

    async fn order(&self, order: Order, rx: oneshot::Receiver<Result<MissionView>>) -> Result<MissionView> {
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Error::new(
                    Kind::Unavailable,
                    Culprit::Request,
                    "too many orders wait for the search",
                ));
            }
            Err(TrySendError::Disconnected(_)) => return Err(stopping()),
        }
        match tokio::time::timeout(ANSWER_WITHIN, rx).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Error::new(Kind::Timeout, Culprit::Vigil, "the search does not answer")),
        }
    }

    /// Counts up while the thread moves.
    pub(super) fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    /// How the search is, for the hub and the page.
    pub(super) fn health(&self, now: Instant) -> SearchHealth {
        let told = self.told();
        SearchHealth {
            state: told.state.unwrap_or(SearchState::Idle),
            reason: told.reason.clone(),
            mission: told.mission.clone(),
            telemetry_age_ms: told
                .telemetry_at
                .map(|at| now.saturating_duration_since(at).as_millis() as u64),
            frames: told.frames,
            looks: told.looks,
            repeated: told.repeated,
            unplaced: told.unplaced,
            not_kept: self.keeper.trouble(),
            cot: self
                .cot
                .states()
                .into_iter()
                .map(|s| CotHealth {
                    url: s.url.to_string(),
                    sent: s.sent,
                    dropped: s.dropped,
                    trouble: s.trouble,
                })
                .collect(),
        }
    }

    /// What is wrong with it now, as an alarm.
    pub(super) fn alarm(&self) -> (AlarmCode, Option<String>) {
        let told = self.told();
        let blind = told.reason.clone().filter(|_| told.state == Some(SearchState::Blind));
        (
            AlarmCode::SearchBlind,
            blind.or_else(|| self.keeper.trouble().map(|t| format!("missions are not kept: {t}"))),
        )
    }

    /// Waits until the thread has ended.
    pub(super) fn join(&self, deadline: Duration) -> bool {
        self.finished.sleep(deadline)
    }
}

fn stopping() -> Error {
    Error::new(Kind::Cancelled, Culprit::Vigil, "the box is stopping")
}

/// Where telemetry comes from that is not in the video.
enum Drone {
    /// It is.
    InVideo,
    /// On a link of its own.
    Mavlink(Listener),
}

impl Drone {
    fn open(config: &SearchConfig) -> Result<Self> {
        let telemetry = &config.telemetry;
        match (telemetry.kind, &telemetry.link) {
            (TelemetryKind::Klv, _) => Ok(Self::InVideo),
            (TelemetryKind::Mavlink, Some(link)) => {
                Ok(Self::Mavlink(Listener::start(link, telemetry.system_id)?))
            }
            (TelemetryKind::Mavlink, None) => Err(Error::config("search.telemetry.link is missing")
                .remedy("name where MAVLink comes from: link = \"udp:0.0.0.0:14550\"")),
            (TelemetryKind::DjiSrt, _) => {
                Err(Error::config("search.telemetry.kind is dji_srt: subtitles are written after a flight")
                    .remedy("play the recording with vigil replay; a drone in flight says klv or mavlink"))
            }
        }
    }
}

/// Hands outcomes on: to the disk first, and from there to whoever is to know.
struct Speaker {
    recorder: Arc<Announcing>,
    clock: Arc<dyn Clock>,
    cot: Arc<Cot>,
    runtime: tokio::runtime::Handle,
}

impl Speaker {
    fn say(&self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Detection(detection) => self.detection(*detection),
                Outcome::Coverage(view) => {
                    let (recorder, clock) = (self.recorder.clone(), self.clock.clone());
                    // Drawing takes a tenth of a second: not here.
                    self.runtime.spawn_blocking(move || {
                        match Draft::search_coverage(&view.event(), clock.now()) {
                            // A map that is lost is followed by the next.
                            Ok(draft) => drop(recorder.record(draft)),
                            Err(e) => error!("a map cannot be written: {e}"),
                        }
                    });
                }
            }
        }
    }

    fn detection(&self, detection: SearchDetection) {
        if detection.state != DetectionState::Update {
            info!(
                candidate = %detection.candidate, state = ?detection.state, class = ?detection.class,
                is_target = detection.is_target, "a candidate"
            );
        }
        let draft = match Draft::search_detection(&detection, self.clock.now()) {
            Ok(draft) => draft,
            Err(e) => return error!("a detection cannot be written: {e}"),
        };
        let durable = self.recorder.record(draft);
        let cot = self.cot.clone();
        self.runtime.spawn(async move {
            match durable.await {
                Ok(Ok(_)) => cot.tell(&detection),
                // People have to go and look all the same.
                Ok(Err(e)) => {
                    error!(candidate = %detection.candidate, "a detection is not on record: {}", e.chain());
                    cot.tell(&detection);
                }
                Err(_) => {}
            }
        });
    }
}

/// The thread.
struct Station {
    name: Name,
    auto_start: bool,
    chain: Chain,
    frames: mailbox::Receiver<Frame>,
    metadata: MetadataReader,
    drone: Drone,
    orders: Receiver<Order>,
    speaker: Speaker,
    keeper: Arc<Keeper>,
    told: Arc<Mutex<Told>>,
    beat: Arc<AtomicU64>,
    /// Which opening of the camera the frames are of.
    opening: Option<u64>,
    last_frame: Option<Instant>,
    /// When each kind of warning was last logged, and how many were not.
    said: HashMap<&'static str, (Instant, u64)>,
    stop: Shutdown,
}

impl Station {
    fn run(&mut self) -> Result<End> {
        while !self.stop.requested() {
            self.beat.fetch_add(1, Ordering::Relaxed);
            let received = self.frames.recv(LOOK_EVERY);
            self.listen();
            self.obey();
            let outcomes = match received {
                Received::Value(frame) => {
                    self.last_frame = Some(Instant::now());
                    self.see(&frame)?
                }
                Received::Empty if self.last_frame.is_some_and(|at| at.elapsed() >= QUIET) => {
                    self.last_frame = None;
                    self.chain.flush()
                }
                Received::Empty => Vec::new(),
                Received::Closed => return Ok(End::Finished),
            };
            self.speaker.say(outcomes);
            if self.keeper.wants() {
                self.keep();
            }
            self.tell();
        }
        Ok(End::Finished)
    }

    /// What still waits is decided, and the mission goes to the disk as it stands.
    fn end(&mut self) {
        let outcomes = self.chain.flush();
        self.speaker.say(outcomes);
        self.keep();
    }

    fn see(&mut self, frame: &Frame) -> Result<Vec<Outcome>> {
        let mut out = Vec::new();
        let opening = frame.stream_time().map(|t| t.opening);
        if opening != self.opening {
            if self.opening.is_some() {
                out = self.chain.new_stream();
            }
            self.opening = opening;
        }
        match self.chain.frame(frame) {
            Ok(more) => out.extend(more),
            // A torn frame is counted by the camera; a model that does not open is a fault.
            Err(e) if e.kind() == Kind::Unsupported => self.log("frame", &e.chain()),
            Err(e) => return Err(e),
        }
        Ok(out)
    }

    /// Telemetry that has come.
    fn listen(&mut self) {
        let mut notices = Vec::new();
        let known = self.chain.timeline().counts().messages;
        while let Some(packet) = self.metadata.try_recv() {
            // What belongs to a stream that is over has no place in this one; and before its first picture
            // brings a stream's clock, the times of its packets are guessed.
            if packet.at.is_some_and(|at| self.opening != Some(at.opening)) {
                continue;
            }
            notices.extend(self.chain.klv(&packet.bytes, packet.at.map(|t| t.position)));
        }
        if let Drone::Mavlink(link) = &self.drone {
            // Its thread has ended only when the box stops.
            while let Ok(Some(received)) = link.recv(Duration::ZERO) {
                match received.said {
                    Said::Telemetry(telemetry) => {
                        notices.extend(self.chain.tell_arrived(telemetry, received.arrival))
                    }
                    Said::Accuracy { horizontal_m, vertical_m } => {
                        self.chain.accuracy(horizontal_m, vertical_m)
                    }
                    Said::Home(..) => {}
                }
            }
        }
        // What is damaged says nothing.
        if self.chain.timeline().counts().messages > known {
            self.told().telemetry_at = Some(Instant::now());
        }
        for notice in notices {
            let kind = match notice {
                Notice::Jumped(..) => "jumped",
                Notice::Settled(_) => "settled",
                Notice::ClockStepped(..) => "clock",
                Notice::StreamStepped => "stream",
            };
            self.log(kind, &notice);
        }
    }

    /// At most one line of a kind in [`SAY_AGAIN`]: a receiver that jumps does so often, and a camera of the
    /// wrong format with every frame.
    fn log(&mut self, kind: &'static str, what: &dyn std::fmt::Display) {
        let now = Instant::now();
        let silent = match self.said.get_mut(kind) {
            Some((last, silent)) if now.duration_since(*last) < SAY_AGAIN => {
                *silent += 1;
                return;
            }
            other => other.map_or(0, |(_, silent)| *silent),
        };
        self.said.insert(kind, (now, 0));
        warn!(camera = %self.name, not_logged = silent, "{what}");
    }

    fn obey(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            let time = self.chain.now().unwrap_or_else(|| self.speaker.clock.now());
            match order {
                Order::Start(order, answer) => {
                    let begun = self.chain.search_mut().start(*order, time);
                    let view = begun.map(|(view, outcomes)| {
                        self.speaker.say(outcomes);
                        info!(mission = %view.mission, "a mission begins");
                        view
                    });
                    self.keep();
                    let _ = answer.send(view);
                }
                Order::Stop(order, answer) => {
                    let _ = answer.send(self.finish(&order, time));
                }
            }
        }
    }

    fn finish(&mut self, order: &StopOrder, time: jiff::Timestamp) -> Result<MissionView> {
        let under_way = self.chain.search().mission();
        let none = || Error::new(Kind::NotFound, Culprit::Request, "no mission is under way");
        let view = under_way.ok_or_else(none)?;
        if order.mission.is_some_and(|asked: Uuid| asked != view.mission) {
            return Err(Error::new(Kind::NotFound, Culprit::Request, "another mission is under way")
                .remedy(format!("stop {}, or leave `mission` out", view.mission)));
        }
        let outcomes = self.chain.flush();
        self.speaker.say(outcomes);
        let (snapshot, outcomes) = self.chain.search_mut().stop(time);
        self.speaker.say(outcomes);
        if let Some(snapshot) = snapshot {
            self.keeper.keep(snapshot);
        }
        info!(mission = %view.mission, "a mission ends");
        Ok(MissionView { stopped: Some(time), ..view })
    }

    fn keep(&self) {
        if let Some(snapshot) = self.chain.search().snapshot() {
            self.keeper.keep(snapshot);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn tell(&self) {
        let stats = self.chain.stats();
        let mission = self.chain.search().mission();
        let blind = self.chain.blind().map(ToString::to_string);
        let state = match (self.last_frame, &blind, &mission) {
            (None, ..) => SearchState::Idle,
            (_, Some(_), _) => SearchState::Blind,
            (_, None, None) if !self.auto_start => SearchState::Waiting,
            _ => SearchState::Searching,
        };
        let mut told = self.told();
        told.state = Some(state);
        told.reason = blind.filter(|_| state == SearchState::Blind);
        told.mission = mission;
        (told.frames, told.looks, told.unplaced, told.repeated) =
            (stats.frames, stats.looks, stats.unplaced + stats.unseeing, stats.repeated);
    }
}
