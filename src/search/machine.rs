//! The machine: looks in, outcomes out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::area::Area;
use super::assign::{self, Pair};
use super::candidate::{Candidate, Facts, Observation, Told, seconds};
use super::coverage::{Coverage, PodModel, StoredCoverage, Viewpoint};
use super::evidence::{Beliefs, DetectorModel, Sight};
use super::fuse::{self, M2, Placed};
use super::ids::Ids;
use super::mission::MissionOrder;
use super::plane::Plane;
use super::store::{Snapshot, StoredMission};
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::config::SearchConfig;
use crate::event::{
    Chip, DetectionState, Ellipse90, EndReason, Evidence, MissionView, ModelRef, Movement2d, PoseInput,
    PoseInputs, Position, PositionMethod, Radiometry, SearchCoverage, SearchDetection, SearchTarget,
    ThermalPolarity, Vegetation,
};
use crate::geo::{Angle, EllipsoidHeight, Geodetic, GroundFix, GroundMethod, Input, LatLon, Pose, ce90};
use crate::thermal::{Hotspot, ThermalDetector};

/// Candidates at once, told or not.
const MAX_CANDIDATES: usize = 512;
/// Shapes of one frame; the others are those of least score.
const MAX_FINDS: usize = 200;
/// Largest chip.
const MAX_CHIP_BYTES: usize = 16 * 1024;
/// Candidates that ended, kept for the export.
const MAX_ENDED: usize = 1000;
/// Below this there is no evidence left: a candidate that was not told is forgotten, one that was ends.
const FORGET_BELOW: f64 = -2.0;
const END_BELOW: f64 = -0.5;
/// So many views without it, one after the other, and it is not there any more, whatever was seen before:
/// what half of all views show is missed by eight in one of 256.
const EMPTY_VIEWS: u32 = 8;
/// Something that moves is lost after this many seconds out of sight.
const LOST_S: f64 = 120.0;
/// Square of the Mahalanobis distance within which two may be one: 99.5 % of those that are.
const GATE: f64 = 10.6;
/// What leaving both alone costs, with the terms for size.
const GATE_COST: f64 = 14.0;
/// In the picture a candidate is looked for this long after it was seen, seconds.
const TRACK_S: f64 = 1.5;
/// How well a shape's middle is known in the picture, pixels, and how fast people cross it, m/s.
const TRACK_PX: f64 = 3.0;
const TRACK_SPEED: f64 = 1.5;
/// Nothing that carries a camera is faster, m/s; and what a position may jump besides, metres.
const FASTEST_CAMERA: f64 = 60.0;
const JUMP_M: f64 = 30.0;
/// A camera that stays where it jumped to for this long is there, seconds.
const SETTLE_S: f64 = 3.0;
/// One standard deviation of the camera's place with which any picture is worth its ground, metres: six times
/// what a receiver in the open has.
const VAGUE_M: f64 = 10.0;
/// Candidates a square kilometre that were begun before any were, and the ground that this counts for.
const FIRST_PER_KM2: f64 = 500.0;
const FIRST_KM2: f64 = 0.01;
/// Thresholds that are kept whatever the rates.
const LEAST_THRESHOLD: f64 = 4.0;
const MOST_THRESHOLD: f64 = 20.0;
/// Two words about one candidate are this far apart at least, seconds.
const WORD_S: f64 = 1.0;
/// An ellipse that shrank to this is news.
const SHRANK: f64 = 0.8;
/// A likelihood that changed by this much is, too.
const CHANGED: f64 = 0.15;
/// 90 % of a two-dimensional normal distribution lie within so many deviations.
const SIGMA90: f64 = 2.145_966;

/// What a search goes by.
#[derive(Clone, Debug)]
pub struct SearchSetup {
    /// The camera.
    pub camera: Name,
    /// What is looked for, unless an order says otherwise.
    pub target: SearchTarget,
    /// Allowed false candidates per square kilometre.
    pub false_alarms_per_km2: f64,
    /// Search without an order.
    pub auto_start: bool,
    /// What grows there, unless an order says otherwise.
    pub vegetation: Vegetation,
    /// By so many degrees the line of sight turns until a look counts as one of its own.
    pub view_deg: f64,
    /// A candidate that is seen on and on is told again after this time at most.
    pub update: Duration,
    /// Between two maps.
    pub coverage: Duration,
    /// Smallest side of the map's cells, metres.
    pub cell_m: f64,
    /// Tell small pictures.
    pub chips: bool,
    /// What is known of the detectors.
    pub detectors: DetectorModel,
    /// The models they run, as events name them.
    pub models: Vec<ModelRef>,
}

impl SearchSetup {
    /// As configured.
    pub fn new(config: &SearchConfig, detectors: DetectorModel, models: Vec<ModelRef>) -> Self {
        Self {
            camera: config.camera.clone(),
            target: config.target,
            false_alarms_per_km2: config.false_alarms_per_km2,
            auto_start: config.auto_start,
            vegetation: config.vegetation,
            view_deg: config.view_deg,
            update: Duration::from_secs(config.update_s.into()),
            coverage: Duration::from_secs(config.coverage_s.into()),
            cell_m: config.cell_m,
            chips: config.chips,
            detectors,
            models,
        }
    }
}

/// One warm shape, and where it lies.
#[derive(Clone, Debug)]
pub struct Find {
    /// What a detector saw.
    pub hotspot: Hotspot,
    /// Where on the ground; none if its line of sight meets none. Such a find is counted and not used.
    pub ground: Option<GroundFix>,
    /// A small PNG of it, 16 KiB at most; told with `search.chips` alone.
    pub chip: Option<Arc<[u8]>>,
}

/// One frame: what was found in it, and from where it was taken.
pub struct Look<'a> {
    /// When it was taken, by the drone's clock.
    pub time: Timestamp,
    /// From where and how.
    pub pose: &'a Pose,
    /// Width and height of the picture, pixels.
    pub picture: [u32; 2],
    /// Metres of the camera above the ground below it.
    pub height_above_ground_m: f64,
    /// What one pixel spans, in the middle of the picture.
    pub pixel_angle: Angle,
    /// The ground that the picture shows: a polygon in either direction.
    pub footprint: &'a [LatLon],
    /// What was found.
    pub finds: Vec<Find>,
    /// Where in the picture a place on the ground is: pixels, the centre of the top left one (0.5, 0.5); none
    /// if it is not in the picture.
    pub pixel_of: &'a dyn Fn(&Geodetic) -> Option<[f64; 2]>,
    /// Whether the camera measures temperatures.
    pub radiometric: bool,
    /// How warmth looks in it, where that is known.
    pub polarity: Option<ThermalPolarity>,
    /// What weather and camera leave of the chance to detect something, 0 to 1; 1 if nobody knows.
    pub contrast: f64,
}

/// What a look led to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A candidate is new, changed or over.
    Detection(Box<SearchDetection>),
    /// A map is due: [`CoverageView::event`] makes it, away from the frame path.
    Coverage(CoverageView),
}

/// The coverage at one moment. Cheap to take; [`CoverageView::event`] may take a tenth of a second.
#[derive(Clone, Debug)]
pub struct CoverageView {
    mission: Uuid,
    target: SearchTarget,
    until: Timestamp,
    last: bool,
    grid: Coverage,
}

impl CoverageView {
    /// The event's data.
    pub fn event(&self) -> SearchCoverage {
        let map = self.grid.render();
        SearchCoverage {
            mission: self.mission,
            looked_for: self.target,
            until: self.until,
            last: self.last,
            area_m2: self.grid.area_m2().map(f64::round),
            seen_m2: map.seen_m2,
            searched_share: map.searched_share,
            mean_pod: map.mean_pod,
            cell_m: map.cell_m,
            unmapped_m2: self.grid.unmapped_m2().round(),
            map: map.map,
        }
    }
}

/// Counts since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Frames looked at.
    pub looks: u64,
    /// Frames that came while no mission was under way.
    pub idle: u64,
    /// Frames whose time lay before that of the last one.
    pub out_of_order: u64,
    /// Frames whose place could not be believed: the camera had jumped, or its telemetry was stale. Nothing
    /// that they do not show is counted as missing.
    pub doubted: u64,
    /// Frames of which it is only known whereabouts they were taken, as after a jump: what they show counts, and
    /// no ground is searched by them.
    pub vague: u64,
    /// Warm shapes without a place on the ground.
    pub unplaced: u64,
    /// Warm shapes left out because a frame had too many.
    pub overflowed: u64,
    /// Candidates left out because there were too many.
    pub crowded: u64,
    /// Candidates begun.
    pub begun: u64,
}

/// What a mission is made of. Cloning it is a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Mission {
    pub(super) id: Uuid,
    pub(super) name: Option<String>,
    pub(super) target: SearchTarget,
    pub(super) vegetation: Vegetation,
    pub(super) area: Option<Area>,
    pub(super) start_point: Option<LatLon>,
    pub(super) started: Timestamp,
    pub(super) stopped: Option<Timestamp>,
    pub(super) ground: Option<Ground>,
    pub(super) ended: Vec<SearchDetection>,
    pub(super) begun: u64,
    pub(super) told: [u32; 2],
}

/// What a mission knows once it has a place.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) plane: Plane,
    pub(super) grid: Coverage,
    pub(super) candidates: Vec<Candidate>,
    pub(super) newest: Timestamp,
    next_map: Timestamp,
    /// Detections a frame that became nothing, a slow mean.
    idle_finds: f64,
}

/// Why nothing was made of a frame: what the drone says of where it was taken is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// These inputs were said too long ago, or jumped and did not settle.
    Stale(Vec<Input>),
    /// The camera leapt, and has not stayed where it is now for long enough.
    Leapt,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(inputs) => {
                let names: Vec<_> = inputs.iter().map(|i| i.as_str()).collect();
                write!(f, "nothing that the drone said lately of its {} can be believed", names.join(", "))
            }
            Self::Leapt => f.write_str("the drone's position leapt: not believed until it stays"),
        }
    }
}

/// Where the camera was, and whether that can be believed.
#[derive(Clone, Copy, Debug)]
struct Whereabouts {
    at: LatLon,
    time: Timestamp,
    /// Where it has leapt to.
    elsewhere: Option<Elsewhere>,
}

/// A place that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Elsewhere {
    at: LatLon,
    time: Timestamp,
    since: Timestamp,
}

/// The machine.
#[derive(Debug)]
pub struct Search {
    setup: SearchSetup,
    ids: Ids,
    mission: Option<Mission>,
    whereabouts: Option<Whereabouts>,
    doubt: Option<Doubt>,
    stats: SearchStats,
}

impl Search {
    /// A search without a mission.
    pub fn new(setup: SearchSetup, ids: Ids) -> Self {
        Self { setup, ids, mission: None, whereabouts: None, doubt: None, stats: SearchStats::default() }
    }

    /// Goes on with a mission that was under way when the box stopped.
    pub fn resume(&mut self, snapshot: Snapshot) -> Result<()> {
        self.mission = Some(snapshot.into_mission(&self.setup)?);
        Ok(())
    }

    /// The mission that is under way.
    pub fn mission(&self) -> Option<MissionView> {
        self.mission.as_ref().map(Mission::view)
    }

    /// Why nothing was made of the newest frame; none if something was.
    pub fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Counts since the machine was made.
    pub fn stats(&self) -> SearchStats {
        self.stats
    }

    /// What has to survive a restart: cheap to take, written by [`Keeper`](super::Keeper).
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.mission.as_ref().map(|m| Snapshot::of(m.clone()))
    }

    /// Begins a mission at `time`. One that began by itself ends for it; one that was ordered does not.
    pub fn start(&mut self, order: MissionOrder, time: Timestamp) -> Result<(MissionView, Vec<Outcome>)> {
        let mut out = Vec::new();
        if let Some(mission) = &self.mission {
            if mission.was_ordered() {
                return Err(Error::new(Kind::Refused, Culprit::Request, "a mission is under way")
                    .remedy("stop it with mission/stop first")
                    .context(format!("mission {}", mission.id)));
            }
            out = self.stop(time).1;
        }
        let mission = Mission {
            id: self.ids.next(time),
            name: order.name,
            target: order.target.unwrap_or(self.setup.target),
            vegetation: order.vegetation.unwrap_or(self.setup.vegetation),
            area: order.area,
            start_point: order.start_point,
            started: time,
            stopped: None,
            ground: None,
            ended: Vec::new(),
            begun: 0,
            told: [0; 2],
        };
        let view = mission.view();
        self.mission = Some(mission);
        Ok((view, out))
    }

    /// Begins a mission without an order.
    fn start_by_itself(&mut self, time: Timestamp) {
        // Without a mission it is never refused.
        let _ = self.start(MissionOrder::default(), time);
    }

    /// Ends the mission: an `end` for each candidate that was told, and the last map. The snapshot is what is
    /// kept of it.
    pub fn stop(&mut self, time: Timestamp) -> (Option<Snapshot>, Vec<Outcome>) {
        let Some(mut mission) = self.mission.take() else { return (None, Vec::new()) };
        mission.stopped = Some(time);
        let mut out = Vec::new();
        if let Some(mut ground) = mission.ground.take() {
            let told: Vec<Candidate> = ground.candidates.extract_if(.., |c| c.told.is_some()).collect();
            ground.candidates.clear();
            for candidate in told {
                end(
                    &self.setup,
                    &mut mission,
                    &ground,
                    candidate,
                    (EndReason::MissionStopped, None),
                    &mut out,
                );
            }
            let until = ground.newest;
            let grid = ground.grid.clone();
            out.push(Outcome::Coverage(CoverageView {
                mission: mission.id,
                target: mission.target,
                until,
                last: true,
                grid,
            }));
            mission.ground = Some(ground);
        }
        (Some(Snapshot::of(mission)), out)
    }

    /// One frame.
    pub fn frame(&mut self, look: Look<'_>) -> Vec<Outcome> {
        if self.mission.is_none() {
            if !self.setup.auto_start {
                self.stats.idle += 1;
                self.doubt = None;
                return Vec::new();
            }
            self.start_by_itself(look.time);
        }
        let Some(mission) = &mut self.mission else { return Vec::new() };
        self.stats.looks += 1;
        let ground = mission.ground(&self.setup, &look);
        let dt = seconds(look.time, ground.newest);
        // A clock that was set back by much is another clock; a frame that is late by little is none of use.
        if (-5.0..0.0).contains(&dt) {
            self.stats.out_of_order += 1;
            return Vec::new();
        }
        ground.newest = look.time;
        self.doubt = believe(&mut self.whereabouts, &look).err();
        let believed = self.doubt.is_none();
        self.stats.doubted += u64::from(!believed);
        let counts = believed && is_known_well(&look);
        self.stats.vague += u64::from(believed && !counts);
        let mut ground = match mission.ground.take() {
            Some(ground) => ground,
            None => return Vec::new(),
        };
        let from = viewpoint(&ground, &look, mission_seconds(mission.started, look.time));
        let mut turn = Turn {
            setup: &self.setup,
            ids: &mut self.ids,
            stats: &mut self.stats,
            mission,
            from,
            look: &look,
            believed,
            counts,
            out: Vec::new(),
        };
        turn.take(&mut ground, dt.max(0.0));
        let out = std::mem::take(&mut turn.out);
        mission.ground = Some(ground);
        out
    }
}

fn mission_seconds(started: Timestamp, now: Timestamp) -> f64 {
    seconds(now, started).max(0.0)
}

fn viewpoint(ground: &Ground, look: &Look<'_>, seconds: f64) -> Viewpoint {
    Viewpoint {
        camera: ground.plane.metres(look.pose.position),
        height_m: look.height_above_ground_m,
        pixel: look.pixel_angle.radians(),
        seconds,
        contrast: look.contrast,
    }
}

/// Whether the camera can be where the look says. A position that leaps is not believed until it stays; one
/// whose telemetry is stale is not either.
fn believe(whereabouts: &mut Option<Whereabouts>, look: &Look<'_>) -> Result<(), Doubt> {
    let (here, now) = (look.pose.position, look.time);
    let stays = Whereabouts { at: here, time: now, elsewhere: None };
    let needed = |i: &Input| matches!(i, Input::Position | Input::Height | Input::Gimbal | Input::Platform);
    let stale: Vec<Input> = look.pose.stale.iter().copied().filter(needed).collect();
    let fresh = if stale.is_empty() { Ok(()) } else { Err(Doubt::Stale(stale)) };
    let Some(before) = whereabouts else {
        *whereabouts = Some(stays);
        return fresh;
    };
    let from = |at: LatLon| {
        let [e, n] = Plane::at(at).metres(here);
        e.hypot(n)
    };
    let reach = |time: Timestamp| JUMP_M + FASTEST_CAMERA * seconds(now, time).abs();
    // Where it leapt to is looked at first: given time, a camera could have flown there.
    let since = match before.elsewhere {
        Some(there) if from(there.at) <= from(before.at).min(reach(there.time)) => there.since,
        _ if from(before.at) <= reach(before.time) => {
            *before = stays;
            return fresh;
        }
        _ => now,
    };
    if seconds(now, since).abs() >= SETTLE_S {
        *before = stays;
        return fresh;
    }
    before.elsewhere = Some(Elsewhere { at: here, time: now, since });
    Err(Doubt::Leapt)
}

/// Whether it is known which ground the picture shows, and not only whereabouts it lies: to half the
/// picture's width. What such a frame shows counts; what it does not show is not missing, and nothing is searched.
fn is_known_well(look: &Look<'_>) -> bool {
    let wide = look.height_above_ground_m * look.pixel_angle.radians() * f64::from(look.picture[0]);
    look.pose.sigma.horizontal_m <= VAGUE_M.max(wide / 2.0)
}

impl Mission {
    fn was_ordered(&self) -> bool {
        self.name.is_some() || self.area.is_some() || self.start_point.is_some()
    }

    pub(super) fn view(&self) -> MissionView {
        MissionView {
            mission: self.id,
            name: self.name.clone(),
            target: self.target,
            started: self.started,
            stopped: self.stopped,
            area_m2: self.area.as_ref().map(|a| a.square_metres().round()),
            targets: self.told[0],
            others: self.told[1],
        }
    }

    /// The ground, laid out at the first look, or where the area is.
    fn ground(&mut self, setup: &SearchSetup, look: &Look<'_>) -> &mut Ground {
        let Self { ground, area, target, vegetation, .. } = self;
        ground.get_or_insert_with(|| {
            let origin = area.as_ref().map_or(look.pose.position, |a| a.corners()[0]);
            Ground::new(setup, Plane::at(origin), area.as_ref(), *target, *vegetation, look.time)
        })
    }
}

impl Ground {
    fn new(
        setup: &SearchSetup,
        plane: Plane,
        area: Option<&Area>,
        target: SearchTarget,
        vegetation: Vegetation,
        now: Timestamp,
    ) -> Self {
        let model = PodModel::of(target, vegetation);
        Self {
            plane,
            grid: Coverage::new(plane, area, setup.cell_m, setup.view_deg, model),
            candidates: Vec::new(),
            newest: now,
            next_map: after(now, setup.coverage),
            idle_finds: 0.0,
        }
    }

    /// As it was stored.
    pub(super) fn restored(
        setup: &SearchSetup,
        mission: &Mission,
        stored: StoredMission,
    ) -> Result<Option<Self>> {
        let StoredMission { plane, coverage, candidates, newest, .. } = stored;
        let (Some(plane), Some(coverage), Some(newest)) = (plane, coverage, newest) else { return Ok(None) };
        let mut new =
            Self::new(setup, plane, mission.area.as_ref(), mission.target, mission.vegetation, newest);
        new.grid.restore(&coverage)?;
        new.candidates = candidates.into_iter().filter(Candidate::is_sound).take(MAX_CANDIDATES).collect();
        Ok(Some(new))
    }

    pub(super) fn stored(&self) -> (Plane, StoredCoverage) {
        (self.plane, self.grid.stored())
    }

    /// The evidence that the set rate asks for now: `ln(begun per km² / allowed per km²)`.
    fn threshold(&self, setup: &SearchSetup, begun: u64) -> f64 {
        let km2 = self.grid.looked_m2() / 1e6 + FIRST_KM2;
        let per_km2 = (begun as f64 + FIRST_PER_KM2 * FIRST_KM2) / km2;
        (per_km2 / setup.false_alarms_per_km2).ln().clamp(LEAST_THRESHOLD, MOST_THRESHOLD)
    }
}

fn after(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// One frame being looked at.
struct Turn<'a, 'b> {
    setup: &'a SearchSetup,
    ids: &'a mut Ids,
    stats: &'a mut SearchStats,
    mission: &'a mut Mission,
    look: &'a Look<'b>,
    from: Viewpoint,
    /// Whether the camera's place is believed.
    believed: bool,
    /// Whether it is known well enough to say what the picture does not show.
    counts: bool,
    out: Vec<Outcome>,
}

/// Where a candidate is in this picture.
#[derive(Clone, Copy)]
struct Glimpse {
    /// None: outside of it. It may be seen all the same, at the edge, because its place is not exact.
    pixel: Option<[f64; 2]>,
    line: [f64; 3],
    gsd_m: f64,
    /// Whether it is surely within the picture.
    within: bool,
}

impl Turn<'_, '_> {
    fn take(&mut self, ground: &mut Ground, dt: f64) {
        let now = self.look.time;
        if self.counts {
            let footprint: Vec<[f64; 2]> =
                self.look.footprint.iter().map(|p| ground.plane.metres(*p)).collect();
            ground.grid.look(&footprint, &self.from);
        }
        let observations = if self.believed { self.observations(ground) } else { Vec::new() };
        let mut glimpses: Vec<Option<Glimpse>> = Vec::with_capacity(ground.candidates.len());
        for candidate in &mut ground.candidates {
            candidate.predict(now, dt);
            glimpses.push(self.glimpse(&ground.plane, candidate));
        }
        let matched = self.matched(ground, &observations, &glimpses);
        let mut used = vec![false; observations.len()];
        let mut seen: Vec<usize> = Vec::with_capacity(matched.len());
        let cos_view = self.setup.view_deg.to_radians().cos();
        let false_finds = self.setup.detectors.false_per_frame.max(ground.idle_finds).clamp(0.01, 100.0);
        let pixels = f64::from(self.look.picture[0]) * f64::from(self.look.picture[1]);
        let mut pairs = matched.iter().peekable();
        for (n, candidate) in ground.candidates.iter_mut().enumerate() {
            let pair = pairs.next_if(|(c, _)| *c == n);
            let Some(glimpse) = glimpses[n] else { continue };
            // Noise would have been found within the gate with this probability.
            let noise =
                |spread: f64| (false_finds * std::f64::consts::PI * GATE * spread / pixels.max(1.0)).min(0.5);
            if let Some((_, o)) = pair {
                let observation = &observations[*o];
                used[*o] = true;
                seen.push(n);
                candidate.in_view(now, glimpse.line, cos_view);
                let spread = match candidate.track.filter(|t| seconds(now, t.time) <= TRACK_S) {
                    Some(track) => track_variance(track.size_px, seconds(now, track.time), glimpse.gsd_m),
                    None => {
                        let both = fuse::add(&candidate.spread(now), &observation.placed.total());
                        fuse::determinant(&both).max(0.0).sqrt() / (glimpse.gsd_m * glimpse.gsd_m).max(1e-9)
                    }
                };
                candidate.beliefs.hit(&self.setup.detectors, &observation.sight, noise(spread));
                candidate.saw(now, observation, glimpse.line, glimpse.pixel);
                candidate.facts = self.facts(observation.method);
            } else if glimpse.within && self.counts {
                candidate.in_view(now, glimpse.line, cos_view);
                let spread = track_variance(candidate.track.map_or(8.0, |t| t.size_px), 0.0, glimpse.gsd_m);
                candidate.beliefs.miss(glimpse.gsd_m, noise(spread));
                candidate.misses += 1;
            }
        }
        let begun = self.begin(ground, &observations, &used);
        ground.idle_finds += (begun as f64 - ground.idle_finds) * 0.02;
        for (k, a) in seen.iter().enumerate() {
            for b in &seen[k + 1..] {
                let (ia, ib) = (ground.candidates[*a].id, ground.candidates[*b].id);
                ground.candidates[*a].seen_with(ib);
                ground.candidates[*b].seen_with(ia);
            }
        }
        self.merge(ground, &glimpses, &seen);
        self.tell(ground);
        if now >= ground.next_map {
            ground.next_map = after(now, self.setup.coverage);
            let grid = ground.grid.clone();
            let (mission, target) = (self.mission.id, self.mission.target);
            self.out.push(Outcome::Coverage(CoverageView { mission, target, until: now, last: false, grid }));
        }
    }

    /// The frame's shapes on the ground. What both detectors saw is one shape.
    fn observations(&mut self, ground: &Ground) -> Vec<Observation> {
        let mut finds: Vec<&Find> = self.look.finds.iter().filter(|f| f.hotspot.score.is_finite()).collect();
        // The network's first, each by falling score.
        finds.sort_by(|a, b| {
            let network = |f: &Find| f.hotspot.detector == ThermalDetector::Learned;
            network(b).cmp(&network(a)).then(b.hotspot.score.total_cmp(&a.hotspot.score))
        });
        let mut out: Vec<(Observation, crate::thermal::PixelBox)> = Vec::new();
        for find in finds {
            let Some(fix) = &find.ground else {
                self.stats.unplaced += 1;
                continue;
            };
            let spot = &find.hotspot;
            let centre = spot.bbox.centre();
            if spot.detector == ThermalDetector::Hotspot {
                let same = |o: &&mut (Observation, crate::thermal::PixelBox)| {
                    o.0.detectors[0]
                        && !o.0.detectors[1]
                        && (o.1.iou(&spot.bbox) > 0.3 || holds(&o.1, centre))
                };
                if let Some((known, _)) = out.iter_mut().find(same) {
                    known.detectors[1] = true;
                    known.sight.kelvin = known.sight.kelvin.or(spot.kelvin.filter(|_| self.look.radiometric));
                    continue;
                }
            }
            if out.len() == MAX_FINDS {
                self.stats.overflowed += 1;
                continue;
            }
            let Some(placed) = placed(&ground.plane, fix) else {
                self.stats.unplaced += 1;
                continue;
            };
            let size_px = f64::from(spot.bbox.area().max(0.25)).sqrt();
            let gsd_m = if fix.gsd_m > 0.0 { fix.gsd_m } else { self.from.pixel * fix.slant_range_m };
            let learned = spot.detector == ThermalDetector::Learned;
            let sight = Sight {
                class: spot.class,
                score: spot.score,
                learned,
                size_m: size_px * gsd_m,
                gsd_m,
                kelvin: spot.kelvin.filter(|k| self.look.radiometric && k.is_finite()),
            };
            let method = match fix.method {
                GroundMethod::Terrain => PositionMethod::Terrain,
                GroundMethod::Flat => PositionMethod::Flat,
                GroundMethod::RangeFinder => PositionMethod::RangeFinder,
                GroundMethod::Fused => PositionMethod::Fused,
            };
            let chip = find.chip.clone().filter(|c| self.setup.chips && c.len() <= MAX_CHIP_BYTES);
            let pixel = centre.map(f64::from);
            out.push((
                Observation { pixel, size_px, sight, detectors: [learned, !learned], placed, method, chip },
                spot.bbox,
            ));
        }
        out.into_iter().map(|(o, _)| o).collect()
    }

    fn glimpse(&self, plane: &Plane, candidate: &Candidate) -> Option<Glimpse> {
        let at = candidate.at();
        let line = self.line_to(at)?;
        let slant =
            (at[0] - self.from.camera[0]).hypot(at[1] - self.from.camera[1]).hypot(self.from.height_m);
        let gsd_m = self.from.pixel * slant;
        let place = Geodetic { at: plane.place(at), height: EllipsoidHeight(candidate.hae_m()) };
        let pixel = (self.look.pixel_of)(&place);
        let recent = candidate.track.is_some_and(|t| seconds(self.look.time, t.time).abs() <= TRACK_S);
        // A place that is not well known may be outside although its middle is not.
        let own = candidate.covariance();
        let margin = if recent {
            8.0
        } else {
            2.0 * ((own[0][0] + own[1][1]) / 2.0).max(0.0).sqrt() / gsd_m.max(1e-6)
        };
        let within = pixel.is_some_and(|pixel| {
            (0..2).all(|k| {
                let side = f64::from(self.look.picture[k]);
                let margin = margin.min(side / 4.0);
                (margin..=side - margin).contains(&pixel[k])
            })
        });
        Some(Glimpse { pixel, line, gsd_m, within })
    }

    /// The direction from the camera to a place on the ground.
    fn line_to(&self, at: [f64; 2]) -> Option<[f64; 3]> {
        let (e, n, u) = (at[0] - self.from.camera[0], at[1] - self.from.camera[1], -self.from.height_m);
        let slant = (e * e + n * n + u * u).sqrt();
        (slant.is_finite() && slant > 0.0).then(|| [e / slant, n / slant, u / slant])
    }

    fn matched(
        &self,
        ground: &Ground,
        observations: &[Observation],
        glimpses: &[Option<Glimpse>],
    ) -> Vec<(usize, usize)> {
        let now = self.look.time;
        let mut pairs = Vec::new();
        for (c, (candidate, glimpse)) in ground.candidates.iter().zip(glimpses).enumerate() {
            let Some(glimpse) = glimpse else { continue };
            let at = candidate.at();
            let track = candidate
                .track
                .filter(|t| (0.0..=TRACK_S).contains(&seconds(now, t.time)))
                .zip(glimpse.pixel);
            let spread = candidate.spread(now);
            for (o, seen) in observations.iter().enumerate() {
                let (e, n) = (seen.placed.at[0] - at[0], seen.placed.at[1] - at[1]);
                let both = fuse::add(&spread, &seen.placed.total());
                let on_ground = fuse::mahalanobis2([e, n], &both);
                let distance = match track {
                    // In the picture what all looks err by is gone; on the ground it only must not be absurd.
                    Some((track, pixel)) if on_ground < 5.0 * GATE => {
                        let (x, y) = (
                            seen.pixel[0] - pixel[0] - track.offset[0],
                            seen.pixel[1] - pixel[1] - track.offset[1],
                        );
                        (x * x + y * y)
                            / track_variance(track.size_px, seconds(now, track.time), glimpse.gsd_m)
                    }
                    Some(_) => continue,
                    None => on_ground,
                };
                let size = (seen.sight.size_m.max(0.05) / candidate.size_m().max(0.05)).ln() / 0.8;
                let cost = distance + size * size + if track.is_some() { 0.0 } else { 1.0 };
                if distance < GATE && cost < GATE_COST {
                    pairs.push(Pair { candidate: c, observation: o, cost });
                }
            }
        }
        assign::assign(&pairs, ground.candidates.len(), observations.len(), GATE_COST)
    }

    fn facts(&self, method: PositionMethod) -> Facts {
        let pose = self.look.pose;
        let name = |i: &Input| match i {
            Input::Position => PoseInput::Position,
            Input::Height => PoseInput::Height,
            Input::Platform => PoseInput::Platform,
            Input::Gimbal => PoseInput::Gimbal,
            Input::FieldOfView => PoseInput::FieldOfView,
        };
        let oldest = pose.ages.iter().map(|(_, age)| *age).max().unwrap_or_default();
        Facts {
            inputs: PoseInputs {
                assumed: pose.assumed.iter().map(name).collect(),
                stale: pose.stale.iter().map(name).collect(),
            },
            inputs_age_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            method,
            radiometry: if self.look.radiometric {
                Radiometry::Radiometric
            } else {
                Radiometry::ContrastOnly
            },
            polarity: self.look.polarity,
        }
    }

    /// What is none of the known ones is a new one. How many that were.
    fn begin(&mut self, ground: &mut Ground, observations: &[Observation], used: &[bool]) -> usize {
        let mut begun = 0;
        for (seen, _) in observations.iter().zip(used).filter(|(_, used)| !**used) {
            let Some(line) = self.line_to(seen.placed.at) else { continue };
            begun += 1;
            self.stats.begun += 1;
            self.mission.begun += 1;
            if ground.candidates.len() >= MAX_CANDIDATES {
                self.stats.crowded += 1;
                let least = (0..ground.candidates.len())
                    .min_by(|a, b| {
                        let key = |n: &usize| {
                            let c = &ground.candidates[*n];
                            (c.told.is_some(), c.beliefs.something())
                        };
                        key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1))
                    })
                    .unwrap_or(0);
                if ground.candidates[least].told.is_some() {
                    // All that there is room for was told: nothing of it is given up for what is new.
                    continue;
                }
                ground.candidates.remove(least);
            }
            let beliefs = Beliefs::started(&self.setup.detectors, &seen.sight);
            let id = self.ids.next(self.look.time);
            let facts = self.facts(seen.method);
            let mut new = Candidate::new(id, self.look.time, seen, line, beliefs, facts);
            // Seen beside all that were seen now: none of them is it.
            for other in ground.candidates.iter_mut().filter(|c| c.last_seen == self.look.time) {
                new.seen_with(other.id);
                other.seen_with(id);
            }
            ground.candidates.push(new);
        }
        begun
    }

    /// A candidate that was seen where an older one should have been and was not, and never beside it, is that
    /// one, found again after an error in its place.
    fn merge(&mut self, ground: &mut Ground, glimpses: &[Option<Glimpse>], seen: &[usize]) {
        let mut over: Vec<(Uuid, Uuid)> = Vec::new();
        for &young in seen {
            let b = &ground.candidates[young];
            if b.looks < 3 {
                continue;
            }
            let same = ground.candidates.iter().enumerate().find(|(n, a)| {
                // Two things in view are soon seen in one frame.
                let free = a.first_seen < b.first_seen
                    && (a.last_seen < b.first_seen || b.looks >= 8)
                    && !a.is_in_a_crowd()
                    && !a.was_seen_with(b.id)
                    && glimpses.get(*n).is_some_and(|g| g.is_some_and(|g| g.within));
                let (pa, pb) = (a.at(), b.at());
                let both: M2 = fuse::add(&a.covariance(), &b.covariance());
                free && fuse::mahalanobis2([pa[0] - pb[0], pa[1] - pb[1]], &both) < 6.0
                    && !over.iter().any(|(old, _)| *old == a.id)
            });
            if let Some((_, a)) = same {
                over.push((a.id, b.id));
            }
        }
        for (old, young) in over {
            let place = |id: Uuid, ground: &Ground| ground.candidates.iter().position(|c| c.id == id);
            let (Some(a), Some(b)) = (place(old, ground), place(young, ground)) else { continue };
            // Whatever was told keeps its name; of two that were told, the elder.
            let keep_old = ground.candidates[a].told.is_some() || ground.candidates[b].told.is_none();
            let (keep, drop) = if keep_old { (a, b) } else { (b, a) };
            let dropped = ground.candidates[drop].clone();
            let kept = ground.candidates[keep].id;
            if keep_old {
                // What was seen lately stands for it from now on.
                ground.candidates[a] = dropped.clone().in_the_name_of(&ground.candidates[a]);
            } else {
                let first_seen = ground.candidates[a].first_seen;
                ground.candidates[b].first_seen = first_seen;
            }
            ground.candidates.remove(drop);
            if dropped.told.is_some() {
                end(
                    self.setup,
                    self.mission,
                    ground,
                    dropped,
                    (EndReason::Merged, Some(kept)),
                    &mut self.out,
                );
            }
        }
    }

    fn tell(&mut self, ground: &mut Ground) {
        let now = self.look.time;
        let threshold = ground.threshold(self.setup, self.mission.begun);
        let mut n = 0;
        while n < ground.candidates.len() {
            let candidate = &ground.candidates[n];
            let something = candidate.beliefs.something();
            let over = match &candidate.told {
                None if something < FORGET_BELOW => {
                    ground.candidates.remove(n);
                    continue;
                }
                Some(_) if something < END_BELOW || candidate.beliefs.empty_views() >= EMPTY_VIEWS => {
                    Some(EndReason::OutOfEvidence)
                }
                Some(_) if candidate.movement().is_some() && seconds(now, candidate.last_seen) > LOST_S => {
                    Some(EndReason::Lost)
                }
                _ => None,
            };
            if let Some(reason) = over {
                let gone = ground.candidates.remove(n);
                end(self.setup, self.mission, ground, gone, (reason, None), &mut self.out);
                continue;
            }
            let due = match &candidate.told {
                None => candidate.looks >= 2 && something >= threshold,
                Some(told) => is_news(self.setup, self.mission.target, threshold, candidate, told, now),
            };
            if due {
                let word = word(self.setup, self.mission, ground, &ground.candidates[n], threshold, None);
                let candidate = &mut ground.candidates[n];
                if candidate.told.is_none() {
                    self.mission.told[usize::from(!word.is_target)] += 1;
                } else if candidate.told.as_ref().is_some_and(|t| t.is_target != word.is_target) {
                    let (from, to) = if word.is_target { (1, 0) } else { (0, 1) };
                    self.mission.told[from] = self.mission.told[from].saturating_sub(1);
                    self.mission.told[to] += 1;
                }
                candidate.told = Some(Told {
                    time: now,
                    ce90_m: word.position.ce90_m,
                    class: word.class,
                    likelihood: word.likelihoods.of(word.class),
                    is_target: word.is_target,
                    at: candidate.at(),
                    seen_since: false,
                });
                let mut kept = word.clone();
                // A picture is not kept on the disk.
                kept.chip = None;
                candidate.last_word = Some(Box::new(kept));
                self.out.push(Outcome::Detection(Box::new(word)));
            }
            n += 1;
        }
    }
}

fn track_variance(size_px: f64, age_s: f64, gsd_m: f64) -> f64 {
    let walked = TRACK_SPEED * age_s.max(0.0) / gsd_m.max(1e-3);
    let middle = TRACK_PX + 0.25 * size_px;
    middle * middle + walked * walked
}

fn holds(outer: &crate::thermal::PixelBox, at: [f32; 2]) -> bool {
    let (x, y) = (at[0] - outer.x, at[1] - outer.y);
    (0.0..=outer.width).contains(&x) && (0.0..=outer.height).contains(&y)
}

/// A fix on the plane; none if its numbers are none.
fn placed(plane: &Plane, fix: &GroundFix) -> Option<Placed> {
    let (c, s) = (&fix.covariance, &fix.shared);
    let at = plane.metres(fix.position.at);
    // What is not shared is at least a tenth of a metre, and never less than nothing.
    let own = |i: usize| (c[i][i] - s[i][i]).max(0.01);
    let cross = c[0][1] - s[0][1];
    let most = 0.99 * (own(0) * own(1)).sqrt();
    let placed = Placed {
        at,
        own: [[own(0), cross.clamp(-most, most)], [cross.clamp(-most, most), own(1)]],
        shared: [[s[0][0].max(0.0), s[0][1]], [s[1][0], s[1][1].max(0.0)]],
        hae_m: fix.position.height.0,
        own_up: own(2),
        shared_up: s[2][2].max(0.0),
    };
    let sound = placed
        .at
        .iter()
        .chain(placed.own.iter().flatten())
        .chain(placed.shared.iter().flatten())
        .all(|x| x.is_finite())
        && placed.hae_m.is_finite()
        && fix.slant_range_m.is_finite()
        && fix.gsd_m.is_finite();
    sound.then_some(placed)
}

fn is_news(
    setup: &SearchSetup,
    target: SearchTarget,
    threshold: f64,
    candidate: &Candidate,
    told: &Told,
    now: Timestamp,
) -> bool {
    let since = seconds(now, told.time);
    if since.abs() < WORD_S || !told.seen_since {
        return false;
    }
    let classes = candidate.beliefs.classes();
    let class = classes.likeliest();
    let radius = radius90(&candidate.covariance());
    let at = candidate.at();
    let moved = (at[0] - told.at[0]).hypot(at[1] - told.at[1]);
    class != told.class
        || (classes.of(class) - told.likelihood).abs() > CHANGED
        || (candidate.beliefs.target(target) >= threshold) != told.is_target
        || radius < told.ce90_m * SHRANK
        || moved > told.ce90_m / 2.0
        || since >= setup.update.as_secs_f64()
}

fn radius90(covariance: &M2) -> f64 {
    ce90(&[[covariance[0][0], covariance[0][1], 0.0], [covariance[1][0], covariance[1][1], 0.0], [0.0; 3]])
}

fn ellipse90(covariance: &M2) -> Ellipse90 {
    let (a, b, c) = (covariance[0][0], covariance[0][1], covariance[1][1]);
    let (mean, spread) = ((a + c) / 2.0, ((a - c) / 2.0).hypot(b));
    // Of the long axis, from north: atan2 of its east over its north part.
    let azimuth = (0.5 * (2.0 * b).atan2(c - a)).to_degrees().rem_euclid(180.0);
    let axis = |v: f64| tenth(SIGMA90 * v.max(0.0).sqrt());
    Ellipse90 { major_m: axis(mean + spread), minor_m: axis(mean - spread), azimuth_deg: azimuth.round() }
}

fn tenth(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn thousandth(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

/// What is told of a candidate.
fn word(
    setup: &SearchSetup,
    mission: &Mission,
    ground: &Ground,
    candidate: &Candidate,
    threshold: f64,
    over: Option<(EndReason, Option<Uuid>)>,
) -> SearchDetection {
    let covariance = candidate.covariance();
    let place = ground.plane.place(candidate.at());
    let exact = candidate.beliefs.classes();
    let likelihoods = rounded(exact);
    let target = candidate.beliefs.target(mission.target);
    let movement = candidate.movement().map(|([e, n], sigma)| Movement2d {
        speed_mps: tenth(e.hypot(n)),
        speed_sigma_mps: tenth(sigma),
        course_deg: e.atan2(n).to_degrees().rem_euclid(360.0).round() % 360.0,
    });
    let chip = candidate.chip.as_ref().filter(|_| over.is_none() && setup.chips).map(|(_, png)| Chip {
        media_type: "image/png".into(),
        data: base64::engine::general_purpose::STANDARD.encode(png),
    });
    SearchDetection {
        candidate: candidate.id,
        state: if over.is_some() { DetectionState::End } else { candidate.state() },
        mission: mission.id,
        camera: setup.camera.clone(),
        looked_for: mission.target,
        is_target: target >= threshold,
        class: exact.likeliest(),
        likelihoods,
        position: Position {
            // A centimetre.
            lat: (place.lat().degrees() * 1e7).round() / 1e7,
            lon: (place.lon().degrees() * 1e7).round() / 1e7,
            hae_m: tenth(candidate.hae_m()),
            ce90_m: tenth(radius90(&covariance)),
            le90_m: tenth(1.644_853_6 * candidate.up_variance().max(0.0).sqrt()),
            ellipse90: ellipse90(&covariance),
            method: candidate.facts.method,
            inputs_age_ms: candidate.facts.inputs_age_ms,
        },
        inputs: candidate.facts.inputs.clone(),
        evidence: Evidence {
            something: thousandth(candidate.beliefs.something()),
            target: thousandth(target),
            threshold: thousandth(threshold),
            false_alarms_per_km2: setup.false_alarms_per_km2,
        },
        first_seen: candidate.first_seen,
        last_seen: candidate.last_seen,
        views: candidate.beliefs.views(),
        looks: candidate.looks,
        misses: candidate.misses,
        movement,
        size_m: tenth(candidate.size_m()),
        radiometry: candidate.facts.radiometry,
        warmest_k: candidate.warmest_k.map(tenth),
        polarity: candidate.facts.polarity,
        detectors: candidate.detectors(),
        models: setup.models.clone(),
        end: over.map(|(reason, _)| reason),
        merged_into: over.and_then(|(_, other)| other),
        chip,
    }
}

/// To a thousandth each, the sum still 1.
fn rounded(exact: crate::event::ClassLikelihoods) -> crate::event::ClassLikelihoods {
    let [vehicle, animal, warm_object] = [exact.vehicle, exact.animal, exact.warm_object].map(thousandth);
    let person = thousandth((1.0 - vehicle - animal - warm_object).max(0.0));
    crate::event::ClassLikelihoods { person, vehicle, animal, warm_object }
}

/// Ends a candidate that was told.
fn end(
    setup: &SearchSetup,
    mission: &mut Mission,
    ground: &Ground,
    candidate: Candidate,
    over: (EndReason, Option<Uuid>),
    out: &mut Vec<Outcome>,
) {
    let threshold = ground.threshold(setup, mission.begun);
    let mut last = word(setup, mission, ground, &candidate, threshold, Some(over));
    // What was told as the target stays it: a threshold that has risen since takes nothing back.
    if let Some(told) = &candidate.told {
        last.is_target |= told.is_target && over.0 == EndReason::MissionStopped;
    }
    if mission.ended.len() < MAX_ENDED {
        mission.ended.push(last.clone());
    }
    out.push(Outcome::Detection(Box::new(last)));
}
