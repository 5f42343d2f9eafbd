//! `flights`: what a search finds in twenty simulated nights, and what it takes for a person and is none.
//!
//! Each night is another landscape with 1 to 5 people in clutter (see `vigil sim`), flown once in strips.
//! A [`Chain`] gets every frame and every message as they come and says what it would publish. Counted
//! are, over all nights:
//!
//! * people found, of those that were in view at all: the nearest candidate within [`NEAR_M`] is theirs;
//! * people that some candidate is near, whatever it was told as, and candidates a person beyond the first;
//! * candidates that are nobody, in a square kilometre of ground looked at;
//! * seconds from the first frame that shows a person to the candidate that finds them;
//! * metres between candidate and person at the end;
//! * the probability of detection that the coverage map claims where people were, beside how many of them
//!   something was told at: the searchers must be able to trust the map.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `VIGIL_BENCH_NIGHTS` | flights | 20 |
//! | `VIGIL_BENCH_SECONDS` | of each flight | 90 |
//! | `VIGIL_BENCH_FPS` | frames a second | 5 |
//! | `VIGIL_BENCH_SEED` | of the first night | 100 |
//! | `VIGIL_BENCH_ONLY` | the chain whose name has these words | all |
//! | `VIGIL_BENCH_RATE` | false candidates a square kilometre that the box may tell | as configured |
//! | `VIGIL_BENCH_KINDS` | instead: what each kind of thing looks like to the detectors, from which `search/outline.rs` has its table | |
//! | `VIGIL_BENCH_VERBOSE` | counts of each night, and of each person what was told near them | |

#![allow(clippy::unwrap_used)] // A harness that cannot go on should stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigil::base::Name;
use vigil::base::progress::Progress;
use vigil::capture::SampleData;
use vigil::config::{ModelsConfig, SearchConfig, TelemetryConfig, TelemetryKind, ThermalConfig};
use vigil::geo::{
    Angle, Attitude, Boresight, EllipsoidHeight, Geodetic, Geoid, Gimbal, Ground, Height, LatLon, LocalFrame,
    Locator, Pose, Sigmas, Telemetry, Terrain, Timeline, enu_of_ned,
};
use vigil::infer::{Manifest, Runtime, Slot};
use vigil::search::{self, ChainParts, DetectorModel, FrameTime, Ids, Outcome, Search, SearchSetup};
use vigil::sim::{Flight, FlightPlan, ObjectClass, SimFrame};

/// A candidate within so many metres of a person is that person.
const NEAR_M: f64 = 12.0;
/// Two within so many metres of a person are that person twice: nobody else is drawn so near.
const SAME_M: f64 = 4.0;

/// What a chain would tell the searchers.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where, at the end.
    pub position: Geodetic,
    /// It says that this is a person, and not another warm thing.
    pub person: bool,
    /// When it was first published, from the flight's start.
    pub since: Duration,
    /// What it rests on, where the chain says so.
    pub rests_on: String,
}

/// A search, from frames and messages to candidates.
pub trait Chain {
    /// A flight begins. What a site knows before may be taken from it: the camera, the ground, the
    /// deviations of the telemetry. Not the objects.
    fn start(&mut self, flight: &Flight);
    /// The next frame. Its `truth` is not for the chain.
    fn frame(&mut self, frame: &SimFrame);
    /// With which probability somebody at this place would have been detected, if the chain says so.
    fn pod_at(&self, _place: &Geodetic) -> Option<f64> {
        None
    }
    /// The flight is over: everything that was published, as it stands.
    fn finish(&mut self) -> Vec<Candidate>;
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

fn night(i: u64) -> FlightPlan {
    let mut plan = FlightPlan { seed: number("VIGIL_BENCH_SEED", 100) + i, ..FlightPlan::default() };
    plan.seconds = number("VIGIL_BENCH_SECONDS", 90.0);
    plan.camera.fps = number("VIGIL_BENCH_FPS", 5.0);
    plan.scene.people = 1 + (i % 5) as u32;
    plan.scene.side_m = 160.0;
    plan.scene.hills_m = [0.0, 3.0, 6.0][i as usize % 3];
    plan.scene.animals = 2 + (i % 3) as u32;
    plan.weather.rain_mm_h = [0.0, 0.0, 2.0, 10.0][i as usize % 4];
    plan.weather.sun_k = [3.0, 6.0, 10.0][i as usize % 3];
    plan.weather.air_c = [2.0, 7.0, 12.0, 16.0][(i / 2) as usize % 4];
    plan.path.height_m = [50.0, 60.0, 80.0][i as usize % 3];
    plan.path.pitch_deg = [-60.0, -75.0, -90.0][(i / 3) as usize % 3];
    plan.path.speed_m_s = 7.0;
    plan
}

#[derive(Default)]
struct Tally {
    people: usize,
    found: usize,
    /// Near which something was told, whatever as; and how often once more.
    told: usize,
    again: usize,
    nobody: usize,
    km2: f64,
    waits: Vec<f64>,
    errors: Vec<f64>,
    /// What the map claims where people were.
    pods: Vec<f64>,
    frames: u64,
    chain: Duration,
    drawn: Duration,
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn fly(plan: &FlightPlan, chain: &mut dyn Chain, tally: &mut Tally) {
    let mut flight = Flight::new(plan).unwrap();
    chain.start(&flight);
    // When each person first showed, and where they were last.
    let people: Vec<_> = flight.objects().into_iter().filter(|o| o.class() == ObjectClass::Person).collect();
    let mut first: Vec<Option<Duration>> = vec![None; people.len()];
    let mut looked = Looked::new(plan);
    loop {
        let started = Instant::now();
        let Some(frame) = flight.next() else { break };
        let frame = frame.unwrap();
        tally.drawn += started.elapsed();
        for (person, first) in people.iter().zip(&mut first) {
            // A tenth of a body, wholly inside the picture, is what somebody could find.
            let shows = frame
                .truth
                .objects
                .iter()
                .any(|o| o.id == person.id && o.visible > 0.1 && !o.cut && !frame.held);
            if shows {
                first.get_or_insert(frame.at);
            }
        }
        looked.add(&flight, &frame);
        let started = Instant::now();
        chain.frame(&frame);
        tally.chain += started.elapsed();
        tally.frames += 1;
    }
    let end = Duration::from_secs_f64(plan.seconds);
    for (person, first) in people.iter().zip(&first) {
        if let Some(first) = first {
            tally.pods.extend(chain.pod_at(&flight.position(person.id, *first).unwrap()));
        }
    }
    let all = chain.finish();
    let found: Vec<Candidate> = all.iter().filter(|c| c.person).cloned().collect();
    let mut somebody = vec![false; found.len()];
    for (person, first) in people.iter().zip(first) {
        let Some(first) = first else { continue };
        let place = flight.position(person.id, end).unwrap();
        let begin = flight.position(person.id, first).unwrap();
        tally.people += 1;
        let near = |c: &&Candidate| level_m(&c.position, &place).min(level_m(&c.position, &begin)) < SAME_M;
        tally.told += usize::from(all.iter().any(|c| near(&c)));
        if std::env::var_os("VIGIL_BENCH_VERBOSE").is_some() {
            let told: Vec<_> = all.iter().filter(near).map(|c| c.rests_on.as_str()).collect();
            eprintln!(
                "  {:?} {:?}, first seen at {:.1} s: {}",
                person.kind,
                person.cover,
                first.as_secs_f64(),
                told.join(" | ")
            );
        }
        tally.again += found.iter().filter(near).count().saturating_sub(1);
        let mut best: Option<(f64, &Candidate)> = None;
        for (i, c) in found.iter().enumerate() {
            // Somebody who walks may have been told where they were.
            let off = level_m(&c.position, &place).min(level_m(&c.position, &begin));
            if off < NEAR_M {
                somebody[i] = true;
                if best.is_none_or(|(o, _)| off < o) {
                    best = Some((off, c));
                }
            }
        }
        if let Some((off, candidate)) = best {
            tally.found += 1;
            tally.errors.push(off);
            tally.waits.push(candidate.since.as_secs_f64() - first.as_secs_f64());
        }
    }
    tally.nobody += somebody.iter().filter(|s| !**s).count();
    tally.km2 += looked.km2();
}

fn level_m(a: &Geodetic, b: &Geodetic) -> f64 {
    let [east, north, _] = LocalFrame::new(*a).enu(b);
    east.hypot(north)
}

/// Ground that was in view, in squares of 5 m.
struct Looked {
    frame: LocalFrame,
    seen: std::collections::HashSet<(i32, i32)>,
}

impl Looked {
    const SIDE: f64 = 5.0;

    fn new(plan: &FlightPlan) -> Self {
        let [lat, lon, hae] = plan.scene.origin;
        let at = vigil::geo::LatLon::from_degrees(lat, lon).unwrap();
        let origin = Geodetic { at, height: EllipsoidHeight(hae) };
        Self { frame: LocalFrame::new(origin), seen: Default::default() }
    }

    fn add(&mut self, flight: &Flight, frame: &SimFrame) {
        let [w, h] = flight.camera().size.map(f64::from);
        for (i, j) in (0..=8).flat_map(|i| (0..=8).map(move |j| (f64::from(i), f64::from(j)))) {
            if let Some(place) =
                meet(flight, &frame.truth.pose, [w * i / 8.0, h * j / 8.0], self.frame.origin().height)
            {
                let [east, north, _] = self.frame.enu(&place);
                self.seen.insert(((east / Self::SIDE).floor() as i32, (north / Self::SIDE).floor() as i32));
            }
        }
    }

    fn km2(&self) -> f64 {
        self.seen.len() as f64 * Self::SIDE * Self::SIDE / 1e6
    }
}

/// Where a pixel meets level ground.
fn meet(flight: &Flight, pose: &Pose, pixel: [f64; 2], ground: EllipsoidHeight) -> Option<Geodetic> {
    let Height::Ellipsoid(height) = pose.height else { return None };
    let frame = LocalFrame::new(Geodetic { at: pose.position, height });
    let ray = flight.camera().intrinsics(pose).ok()?.ray(pixel)?;
    let d = enu_of_ned(pose.camera_to_ned(&Boresight::default()).apply(ray));
    let t = (height.0 - ground.0) / -d[2];
    (t > 0.0 && t < 1000.0).then(|| frame.geodetic(d.map(|c| c * t))).flatten()
}

/// The plainest search: warm blobs of a person's size, each frame for itself, everything told at once.
/// What accumulation over frames is measured against.
struct HotPixels {
    last: Option<Telemetry>,
    flight: Option<(Pose, EllipsoidHeight)>,
    camera: Option<vigil::geo::Camera>,
    told: Vec<Candidate>,
}

impl HotPixels {
    /// Deviations over the frame's middle from which on a pixel is warm.
    const OVER: f32 = 6.0;

    fn new() -> Self {
        Self { last: None, flight: None, camera: None, told: Vec::new() }
    }

    fn blobs(grey: &[u8], size: [usize; 2]) -> Vec<([f64; 2], usize)> {
        let [w, h] = size;
        let mut counts = [0u32; 256];
        grey.iter().for_each(|g| counts[*g as usize] += 1);
        let rank = |share: f32| -> f32 {
            let wanted = (grey.len() as f32 * share) as u32;
            let mut sum = 0;
            (0..256)
                .find(|i| {
                    sum += counts[*i];
                    sum > wanted
                })
                .unwrap_or(255) as f32
        };
        let middle = rank(0.5);
        let spread = ((rank(0.84) - rank(0.16)) / 2.0).max(2.0);
        let over = (middle + Self::OVER * spread).min(235.0) as u8;
        let mut open: Vec<bool> = grey.iter().map(|g| *g > over).collect();
        let mut out = Vec::new();
        for start in 0..open.len() {
            if !open[start] {
                continue;
            }
            let (mut stack, mut n, mut x, mut y) = (vec![start], 0usize, 0.0, 0.0);
            open[start] = false;
            while let Some(cell) = stack.pop() {
                n += 1;
                let (cx, cy) = (cell % w, cell / w);
                (x, y) = (x + cx as f64 + 0.5, y + cy as f64 + 0.5);
                let mut add = |c: usize| {
                    if std::mem::take(&mut open[c]) {
                        stack.push(c)
                    }
                };
                if cx > 0 {
                    add(cell - 1)
                }
                if cx + 1 < w {
                    add(cell + 1)
                }
                if cy > 0 {
                    add(cell - w)
                }
                if cy + 1 < h {
                    add(cell + w)
                }
            }
            out.push(([x / n as f64, y / n as f64], n));
        }
        out
    }
}

impl Chain for HotPixels {
    fn start(&mut self, flight: &Flight) {
        let [lat, lon, _] = flight.plan().scene.origin;
        let at = vigil::geo::LatLon::from_degrees(lat, lon).unwrap();
        let ground = flight.ground_height(at);
        let level = Attitude { yaw: Angle::ZERO, pitch: Angle::ZERO, roll: Angle::ZERO };
        let pose = Pose {
            time: flight.plan().start,
            position: at,
            height: Height::Ellipsoid(ground),
            platform: level,
            gimbal: Gimbal::World(level),
            field_of_view: vigil::geo::FieldOfView {
                horizontal: Angle::from_degrees(flight.plan().camera.fov_deg),
                vertical: None,
            },
            slant_range_m: None,
            ages: Vec::new(),
            assumed: Vec::new(),
            stale: Vec::new(),
            sigma: flight.sigma(),
        };
        *self = Self { flight: Some((pose, ground)), camera: Some(flight.camera()), ..Self::new() };
    }

    fn frame(&mut self, frame: &SimFrame) {
        self.last = frame.packets.last().map(|p| p.telemetry.clone()).or(self.last.take());
        let (Some((pose, ground)), Some(camera), Some(said)) = (&self.flight, self.camera, &self.last) else {
            return;
        };
        let (Some(picture), false) = (&frame.picture, frame.held) else { return };
        let SampleData::Eight(grey) = picture.data() else { return };
        let pose = Pose {
            position: said.position.unwrap(),
            height: said.height.unwrap(),
            platform: said.platform.unwrap(),
            gimbal: said.gimbal.unwrap(),
            ..pose.clone()
        };
        let Height::Ellipsoid(height) = pose.height else { return };
        let intrinsics = camera.intrinsics(&pose).unwrap();
        let local = LocalFrame::new(Geodetic { at: pose.position, height });
        for (pixel, n) in Self::blobs(grey, [picture.width() as usize, picture.height() as usize]) {
            let Some(ray) = intrinsics.ray(pixel) else { continue };
            let d = enu_of_ned(pose.camera_to_ned(&Boresight::default()).apply(ray));
            let t = (height.0 - ground.0) / -d[2];
            if !(t > 0.0 && t < 1000.0) {
                continue;
            }
            let gsd = t / intrinsics.focal()[0];
            // A head to a body that lies with its arms out.
            if !(0.06..=1.4).contains(&(n as f64 * gsd * gsd)) {
                continue;
            }
            let Some(position) = local.geodetic(d.map(|c| c * t)) else { continue };
            if self.told.iter().all(|c| level_m(&c.position, &position) > NEAR_M) {
                self.told.push(Candidate {
                    position,
                    person: true,
                    since: frame.at,
                    rests_on: String::new(),
                });
            }
        }
    }

    fn finish(&mut self) -> Vec<Candidate> {
        std::mem::take(&mut self.told)
    }
}

/// The box's models, loaded once.
struct Models {
    runtime: Runtime,
    manifest: Arc<Manifest>,
}

impl Models {
    fn load() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let config = ModelsConfig { dir: dir.clone(), ..ModelsConfig::default() };
        Self { runtime: Runtime::load(&config).unwrap(), manifest: Arc::new(Manifest::load(&dir).unwrap()) }
    }
}

/// Telemetry as the site configured it: with the deviations that the flight is drawn with.
fn telemetry(plan: &FlightPlan) -> TelemetryConfig {
    let mut config = TelemetryConfig::new(TelemetryKind::Klv);
    let t = &plan.telemetry;
    config.sigma.horizontal_m = t.position_m as f32;
    config.sigma.vertical_m = t.height_m as f32;
    config.sigma.yaw_deg = t.yaw_deg as f32;
    config.sigma.pitch_deg = t.pitch_deg as f32;
    config.sigma.roll_deg = t.roll_deg as f32;
    config
}

fn locator(flight: &Flight) -> Locator {
    let ground =
        Ground { terrain: Some(Arc::new(Terrain::of(vec![flight.elevation().unwrap()]))), flat: None };
    let sigmas = Sigmas { terrain_m: 1.0, ..Sigmas::default() };
    Locator::new(flight.camera(), ground, Arc::new(Geoid::egm96()), sigmas)
}

fn place(lat: f64, lon: f64, hae_m: f64) -> Geodetic {
    Geodetic { at: LatLon::from_degrees(lat, lon).unwrap(), height: EllipsoidHeight(hae_m) }
}

/// The box itself: `search::Chain` with everything on.
struct Whole {
    models: Models,
    began: Instant,
    chain: Option<search::Chain>,
    start: jiff::Timestamp,
    /// Candidates of which was never said that they are what is looked for count as others.
    told: BTreeMap<uuid::Uuid, Candidate>,
    ce90: Vec<f64>,
}

impl Whole {
    fn hear(&mut self, outcomes: Vec<Outcome>, at: Duration) {
        for outcome in outcomes {
            let Outcome::Detection(d) = outcome else { continue };
            let p = &d.position;
            let position = place(p.lat, p.lon, p.hae_m);
            let new = || Candidate { position, person: false, since: at, rests_on: String::new() };
            let known = self.told.entry(d.candidate).or_insert_with(new);
            // Told as a person from the first time that it was.
            if d.is_target && !known.person {
                (known.person, known.since) = (true, at);
            }
            known.position = position;
            let e = &d.evidence;
            known.rests_on = format!(
                "{}{:?} {:.2}, something {:.1}, target {:.1} of {:.1}, {} views, {} looks, {:.1} m",
                if d.is_target { "target, " } else { "" },
                d.class,
                d.likelihoods.of(d.class),
                e.something,
                e.target,
                e.threshold,
                d.views,
                d.looks,
                d.size_m
            );
        }
    }
}

impl Chain for Whole {
    fn start(&mut self, flight: &Flight) {
        let mut config = SearchConfig::new(Name::new("drone").unwrap());
        config.false_alarms_per_km2 = number("VIGIL_BENCH_RATE", config.false_alarms_per_km2);
        let setup = SearchSetup::new(&config, DetectorModel::of(&self.models.manifest).unwrap(), Vec::new());
        let camera = flight.camera();
        self.chain = Some(search::Chain::new(ChainParts {
            runtime: self.models.runtime.clone(),
            manifest: self.models.manifest.clone(),
            detectors: Default::default(),
            thermal: ThermalConfig::default(),
            telemetry: telemetry(flight.plan()),
            field_of_view: None,
            locator: locator(flight),
            camera: Box::new(move |_| Ok(camera)),
            search: Search::new(setup, Ids::seeded([1; 32])),
            chips: false,
        }));
        (self.start, self.began) = (flight.plan().start, Instant::now());
        self.told.clear();
    }

    fn frame(&mut self, frame: &SimFrame) {
        let Some(chain) = &mut self.chain else { return };
        for packet in &frame.packets {
            let stream =
                Duration::try_from(packet.telemetry.time.duration_since(self.start)).unwrap_or_default();
            chain.klv(&packet.klv, Some(stream));
        }
        let Some(picture) = &frame.picture else { return };
        let time = FrameTime { stream: Some(frame.at), arrived: self.began + frame.at };
        let outcomes = chain.samples(picture.clone(), time).unwrap();
        self.hear(outcomes, frame.at);
    }

    fn pod_at(&self, place: &Geodetic) -> Option<f64> {
        self.chain.as_ref()?.search().pod_at(place.at)
    }

    fn finish(&mut self) -> Vec<Candidate> {
        let Some(mut chain) = self.chain.take() else { return Vec::new() };
        let end = chain.stats().frames;
        let outcomes = chain.flush();
        let at = self.told.values().map(|c| c.since).max().unwrap_or_default();
        self.hear(outcomes, at);
        let time = chain.now().unwrap_or(self.start);
        for outcome in chain.search_mut().stop(time).1 {
            if let Outcome::Detection(d) = &outcome
                && d.is_target
            {
                self.ce90.push(d.position.ce90_m);
            }
            self.hear(vec![outcome], at);
        }
        if std::env::var_os("VIGIL_BENCH_VERBOSE").is_some() {
            eprintln!("{end} frames: {:?}; {:?}", chain.stats(), chain.search().stats());
        }
        std::mem::take(&mut self.told).into_values().collect()
    }
}

/// The same learned detector, each frame for itself: whatever it takes for a person at its working point is
/// told at once.
struct EachFrame {
    models: Models,
    detectors: Option<vigil::thermal::Detectors>,
    parts: Option<(Timeline, Locator, jiff::Timestamp)>,
    told: Vec<Candidate>,
}

impl Chain for EachFrame {
    fn start(&mut self, flight: &Flight) {
        self.parts = Some((Timeline::new(&telemetry(flight.plan())), locator(flight), flight.plan().start));
        let row = self.models.manifest.model(Slot::ThermalDetection).unwrap();
        let at = row.detections.iter().find(|d| d.class == "Person").map_or(0.5, |d| d.working_score);
        let settings = vigil::thermal::DetectorSettings { threads: 1, learned: Some(at), hotspot: None };
        let [w, h] = flight.camera().size;
        let (runtime, manifest) = (&self.models.runtime, &self.models.manifest);
        self.detectors = Some(vigil::thermal::Detectors::open(runtime, manifest, &settings, w, h).unwrap());
    }

    fn frame(&mut self, frame: &SimFrame) {
        let (Some((timeline, locator, start)), Some(detectors)) = (&mut self.parts, &mut self.detectors)
        else {
            return;
        };
        for packet in &frame.packets {
            let stream = Duration::try_from(packet.telemetry.time.duration_since(*start)).unwrap_or_default();
            timeline.push_at(packet.telemetry.clone(), stream);
        }
        let (Some(picture), false) = (&frame.picture, frame.held) else { return };
        let Ok(pose) = timeline.pose_at(frame.at, false) else { return };
        let image = vigil::thermal::ThermalImage::white_hot(picture.clone());
        for find in detectors.detect(&image, None).unwrap() {
            if find.class != vigil::thermal::ThermalClass::Person {
                continue;
            }
            let Ok(fix) = locator.locate(&pose, find.bbox.centre().map(f64::from), 1.0) else { continue };
            if self.told.iter().all(|c| level_m(&c.position, &fix.position) > NEAR_M) {
                self.told.push(Candidate {
                    position: fix.position,
                    person: true,
                    since: frame.at,
                    rests_on: String::new(),
                });
            }
        }
    }

    fn finish(&mut self) -> Vec<Candidate> {
        std::mem::take(&mut self.told)
    }
}

/// What one kind of thing looked like.
#[derive(Default)]
struct Looks {
    /// Sights of each thing, how many of them were labelled as a person, and the sum of the scores of these.
    things: BTreeMap<(u64, usize), (u32, u32, f32)>,
    sights: usize,
    /// Of these, as person, vehicle, cycle, warm.
    labels: [usize; 4],
    /// Frames in which it was wholly in the picture, and mostly to be seen.
    shown: usize,
    /// Natural logarithms of what an outline measures: length in metres, length over width, and how the warmest
    /// tenth stands out; with the width in pixels.
    outlines: Vec<[f64; 4]>,
}

/// Prints how each kind of thing is labelled and outlined. Ground that is nothing counts by night.
fn kinds(nights: u64) {
    let models = Models::load();
    let mut looks: BTreeMap<String, Looks> = BTreeMap::new();
    let mut km2 = 0.0;
    let mut progress = Progress::new("what things look like", nights);
    for i in 0..nights {
        let plan = night(i);
        let mut flight = Flight::new(&plan).unwrap();
        let kind: BTreeMap<usize, String> =
            flight.objects().into_iter().map(|o| (o.id, format!("{:?}", o.kind))).collect();
        let locator = locator(&flight);
        let [w, h] = flight.camera().size;
        let mut detectors =
            vigil::thermal::Detectors::open(&models.runtime, &models.manifest, &Default::default(), w, h)
                .unwrap();
        let mut looked = Looked::new(&plan);
        while let Some(frame) = flight.next() {
            let frame = frame.unwrap();
            looked.add(&flight, &frame);
            let (Some(picture), false) = (&frame.picture, frame.held) else { continue };
            for object in frame.truth.objects.iter().filter(|o| !o.cut && o.visible > 0.5) {
                looks.entry(kind[&object.id].clone()).or_default().shown += 1;
            }
            let image = vigil::thermal::ThermalImage::white_hot(picture.clone());
            for find in detectors.detect(&image, None).unwrap() {
                let [x, y] = find.bbox.centre();
                let shown = frame.truth.objects.iter().find(|o| {
                    let b = &o.bbox;
                    (b.x - 4.0..=b.x + b.width + 4.0).contains(&x)
                        && (b.y - 4.0..=b.y + b.height + 4.0).contains(&y)
                });
                if shown.is_some_and(|o| o.cut) {
                    continue;
                }
                // Things that the scene does not name are the ground: one a night.
                let (name, thing) = match shown {
                    Some(o) => (kind[&o.id].clone(), o.id),
                    None => ("nothing".to_owned(), 0),
                };
                let all = looks.entry(name).or_default();
                let one = all.things.entry((i, thing)).or_default();
                one.0 += 1;
                if find.class == vigil::thermal::ThermalClass::Person {
                    one.1 += 1;
                    one.2 += find.score;
                }
                all.sights += 1;
                all.labels[match find.class {
                    vigil::thermal::ThermalClass::Person => 0,
                    vigil::thermal::ThermalClass::Vehicle => 1,
                    vigil::thermal::ThermalClass::Cycle => 2,
                    vigil::thermal::ThermalClass::Warm => 3,
                }] += 1;
                let Ok(fix) = locator.locate(&frame.truth.pose, [x, y].map(f64::from), 1.0) else { continue };
                if let Some(e) = find.extent {
                    let [length, width, peak] = [e.length, e.width, e.peak].map(f64::from);
                    all.outlines.push([(length * fix.gsd_m).ln(), (length / width).ln(), peak.ln(), width]);
                }
            }
        }
        km2 += looked.km2();
        progress.add(1);
    }
    drop(progress);
    println!(
        "| kind | things seen five times | of them labelled a person nine times in ten; a km² | sights of 100 frames that show it; of 1000 sights as person, vehicle, cycle, warm | mean score as a person: p5 p50 p95 | with an outline | ln length, m: p5 p50 p95 | ln slender | ln peak | width, px: p50 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, mut all) in looks {
        let known: Vec<_> = all.things.into_values().filter(|t| t.0 >= 5).collect();
        let alike = known.iter().filter(|t| 10 * t.1 >= 9 * t.0).count();
        let mut scores: Vec<f32> = known.iter().map(|t| t.2 / t.0 as f32).collect();
        scores.sort_by(f32::total_cmp);
        let score = [0.05, 0.5, 0.95].map(|share| {
            let at = (scores.len() as f64 * share) as usize;
            format!("{:.2}", scores.get(at).copied().unwrap_or(f32::NAN))
        });
        let labels = all.labels.map(|n| 1000 * n / all.sights.max(1));
        let outlined = 100 * all.outlines.len() / all.sights.max(1);
        let mut rank = |n: usize, share: f64| {
            all.outlines.sort_by(|a, b| a[n].total_cmp(&b[n]));
            let at = (all.outlines.len() as f64 * share) as usize;
            all.outlines.get(at).map_or(f64::NAN, |o| o[n])
        };
        let spread: Vec<String> = (0..3)
            .map(|n| format!("{:.2} {:.2} {:.2}", rank(n, 0.05), rank(n, 0.5), rank(n, 0.95)))
            .collect();
        println!(
            "| {name} | {} | {alike}; {:.0} | {}; {labels:?} | {} | {outlined} % | {} | {:.0} |",
            known.len(),
            alike as f64 / km2,
            100 * all.sights / all.shown.max(1),
            score.join(" "),
            spread.join(" | "),
            rank(3, 0.5),
        );
    }
}

fn main() {
    // `cargo test` runs benches too, to see that they work.
    let short = !std::env::args().any(|a| a == "--bench") && std::env::var_os("VIGIL_BENCH").is_none();
    if short {
        println!("flights: only with `cargo bench` or VIGIL_BENCH=1");
        return;
    }
    let nights: u64 = number("VIGIL_BENCH_NIGHTS", 20);
    if std::env::var_os("VIGIL_BENCH_KINDS").is_some() {
        return kinds(nights);
    }
    let whole = Whole {
        models: Models::load(),
        began: Instant::now(),
        chain: None,
        start: jiff::Timestamp::UNIX_EPOCH,
        told: BTreeMap::new(),
        ce90: Vec::new(),
    };
    let each = EachFrame { models: Models::load(), detectors: None, parts: None, told: Vec::new() };
    let mut chains: Vec<(&str, Box<dyn Chain>)> = vec![
        ("the box: evidence over time and ground", Box::new(whole)),
        ("the same network, each frame for itself", Box::new(each)),
        ("hot pixels, each frame for itself", Box::new(HotPixels::new())),
    ];
    if let Ok(only) = std::env::var("VIGIL_BENCH_ONLY") {
        chains.retain(|(name, _)| name.contains(&only));
    }
    println!(
        "| chain | people found | something told there | told again | false candidates / km² | first view → told, s: p50 | error at the end, m: p50 | POD claimed where people were: mean | chain, ms a frame | drawing, ms a frame |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, chain) in &mut chains {
        let mut tally = Tally::default();
        let mut progress = Progress::new(*name, nights);
        for i in 0..nights {
            fly(&night(i), chain.as_mut(), &mut tally);
            progress.add(1);
        }
        drop(progress);
        let per_frame = |d: Duration| d.as_secs_f64() * 1000.0 / tally.frames.max(1) as f64;
        println!(
            "| {name} | {} of {} | {} | {} | {:.0} ({} in {:.2} km²) | {:.1} | {:.1} | {} | {:.1} | {:.1} |",
            tally.found,
            tally.people,
            tally.told,
            tally.again,
            tally.nobody as f64 / tally.km2,
            tally.nobody,
            tally.km2,
            middle(&mut tally.waits),
            middle(&mut tally.errors),
            match tally.pods.len() {
                0 => "-".to_owned(),
                n => format!("{:.2} ({n} people)", tally.pods.iter().sum::<f64>() / n as f64),
            },
            per_frame(tally.chain),
            per_frame(tally.drawn),
        );
    }
}
