//! The machine: looks in, outcomes out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::area::Area;
use super::candidate::{Candidate, seconds};
use super::coverage::{Coverage, PodModel, StoredCoverage, Viewpoint};
use super::evidence::DetectorModel;
use super::ids::Ids;
use super::mission::MissionOrder;
use super::outline::{ALIKES, alike_per_km2};
use super::store::{Snapshot, StoredMission};
use super::turn::{Turn, is_due};
use super::word::{end, say};
use crate::base::{Culprit, Error, Kind, Name, Result};
use crate::config::SearchConfig;
use crate::event::{
    EndReason, MissionView, ModelRef, SearchCoverage, SearchDetection, SearchTarget, ThermalPolarity,
    Vegetation,
};
use crate::geo::{Angle, Geodetic, GroundFix, Input, LatLon, Pose, TangentPlane};
use crate::thermal::Hotspot;

/// Candidates at once, told or not.
pub(super) const MAX_CANDIDATES: usize = 512;
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
    pub(super) mission: Uuid,
    pub(super) target: SearchTarget,
    pub(super) until: Timestamp,
    pub(super) last: bool,
    pub(super) grid: Coverage,
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
    pub(super) plane: TangentPlane,
    pub(super) grid: Coverage,
    pub(super) candidates: Vec<Candidate>,
    pub(super) newest: Timestamp,
    pub(super) next_map: Timestamp,
    /// Detections a frame that became nothing, a slow mean.
    pub(super) idle_finds: f64,
    /// How many things that are none look like a person to the network, by sort, as far as their outlines tell.
    alike: [u32; ALIKES],
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

    /// With which probability what the mission looks for would have been detected at `place`, had it been there;
    /// `None` where nobody looked.
    pub fn pod_at(&self, place: LatLon) -> Option<f64> {
        let ground = self.mission.as_ref()?.ground.as_ref()?;
        ground.grid.pod_at(ground.plane.metres(place))
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

    /// Ends the mission: a `new` for what waited because it may have been told already, an `end` for each candidate
    /// that was told, and the last map. The snapshot is what is kept of it.
    pub fn stop(&mut self, time: Timestamp) -> (Option<Snapshot>, Vec<Outcome>) {
        let Some(mut mission) = self.mission.take() else { return (None, Vec::new()) };
        mission.stopped = Some(time);
        let mut out = Vec::new();
        if let Some(mut ground) = mission.ground.take() {
            let threshold = ground.threshold(&self.setup, mission.begun);
            for n in 0..ground.candidates.len() {
                if is_due(&ground.candidates[n], threshold) {
                    say(&self.setup, &mut mission, &mut ground, n, (time, threshold), &mut out);
                }
            }
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
        let [e, n] = TangentPlane::at(at).metres(here);
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
            Ground::new(setup, TangentPlane::at(origin), area.as_ref(), *target, *vegetation, look.time)
        })
    }
}

impl Ground {
    fn new(
        setup: &SearchSetup,
        plane: TangentPlane,
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
            alike: [0; ALIKES],
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

    pub(super) fn stored(&self) -> (TangentPlane, StoredCoverage) {
        (self.plane, self.grid.stored())
    }

    /// Counts what looks like the target to the network and is none.
    pub(super) fn count_alike(&mut self, target: SearchTarget, threshold: f64) {
        self.alike = [0; ALIKES];
        for sort in self.candidates.iter().filter_map(|c| alike(c, target, threshold)) {
            self.alike[sort] += 1;
        }
    }

    /// The evidence that a candidate is the target. What looks like one to the network without being it is as
    /// frequent as the others show.
    pub(super) fn target(
        &self,
        setup: &SearchSetup,
        target: SearchTarget,
        threshold: f64,
        of: &Candidate,
    ) -> f64 {
        let mut others = self.alike;
        if let Some(own) = alike(of, target, threshold) {
            others[own] = others[own].saturating_sub(1);
        }
        let km2 = self.grid.looked_m2() / 1e6;
        // How many candidates there are on a square kilometre: the threshold is what it is for that reason.
        let candidates = threshold + setup.false_alarms_per_km2.ln();
        of.beliefs.target(target, alike_per_km2(others, km2), candidates, of.movement().is_some())
    }

    /// The evidence that the set rate asks for now: `ln(begun per km² / allowed per km²)`.
    pub(super) fn threshold(&self, setup: &SearchSetup, begun: u64) -> f64 {
        let km2 = self.grid.looked_m2() / 1e6 + FIRST_KM2;
        let per_km2 = (begun as f64 + FIRST_PER_KM2 * FIRST_KM2) / km2;
        (per_km2 / setup.false_alarms_per_km2).ln().clamp(LEAST_THRESHOLD, MOST_THRESHOLD)
    }
}

/// Which sort of thing a candidate is that looks like the target to the network and is none.
fn alike(candidate: &Candidate, target: SearchTarget, threshold: f64) -> Option<usize> {
    (candidate.beliefs.looks_like(target) >= threshold).then(|| candidate.beliefs.alike()).flatten()
}

pub(super) fn after(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
