//! The search from the air: flights over people and clutter with geometry alone, no pictures.
//!
//! The truth of each flight is drawn from a seed: where people, stones and animals lie, how the detectors fail,
//! how far GPS, gimbal and compass are off. `--nocapture` prints the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use uuid::Uuid;
use vigil::config::{SearchConfig, SearchTarget};
use vigil::event::{
    DetectionState, EndReason, PoseInput, SearchCoverage, SearchDetection, TargetClass, ThermalPolarity,
};
use vigil::geo::{
    Angle, Attitude, EllipsoidHeight, FieldOfView, Geodetic, Gimbal, GroundFix, GroundMethod, Height, Input,
    LatLon, Pose, PoseSigma,
};
use vigil::search::{
    DetectorModel, Find, Ids, Look, MissionOrder, Missions, Outcome, Search, SearchSetup, geojson, kml,
};
use vigil::thermal::{Extent, Hotspot, PixelBox, ThermalClass, ThermalDetector};

const PICTURE: [u32; 2] = [640, 512];
/// Pixels: 40 degrees across.
const FOCAL: f64 = 879.2;
const GROUND_HAE: f64 = 20.0;
const LAT: f64 = 30.25;
const LON: f64 = 120.15;

/// East and north of the origin to degrees, by the radii of WGS 84 there.
fn place([e, n]: [f64; 2]) -> LatLon {
    let lat = LAT.to_radians();
    let w = (1.0 - 0.006_694_379_990_141_3 * lat.sin().powi(2)).sqrt();
    let (north, east) =
        (6_378_137.0 * (1.0 - 0.006_694_379_990_141_3) / w.powi(3), 6_378_137.0 / w * lat.cos());
    LatLon::from_degrees(LAT + (n / north).to_degrees(), LON + (e / east).to_degrees()).unwrap()
}

fn metres(at: LatLon) -> [f64; 2] {
    let origin = place([0.0, 0.0]);
    let (n1, e1) = (place([0.0, 1000.0]), place([1000.0, 0.0]));
    [
        (at.lon().degrees() - origin.lon().degrees()) / (e1.lon().degrees() - origin.lon().degrees())
            * 1000.0,
        (at.lat().degrees() - origin.lat().degrees()) / (n1.lat().degrees() - origin.lat().degrees())
            * 1000.0,
    ]
}

fn told_at(d: &SearchDetection) -> [f64; 2] {
    metres(LatLon::from_degrees(d.position.lat, d.position.lon).unwrap())
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + (seconds * 1000.0).round() as i64).unwrap()
}

fn normal(rng: &mut StdRng) -> f64 {
    let u: f64 = rng.random::<f64>().max(1e-300);
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn pick(rng: &mut StdRng, shares: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * shares.iter().sum::<f64>();
    shares.iter().position(|s| (left -= s, left < 0.0).1).unwrap_or(shares.len() - 1)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Thing {
    Person,
    /// Under leaves: seen from half of all sides, and then in some frames.
    Hidden,
    Stone,
    Animal,
    /// A stone that the network takes for a person from every side.
    Lookalike,
}

/// Something on the ground.
#[derive(Clone, Debug)]
struct Body {
    thing: Thing,
    at: [f64; 2],
    walks: [f64; 2],
    /// What it looks like in this view: its label, score, and whether it can be seen.
    view: (usize, f32, bool),
    view_from: Option<([f64; 2], f64)>,
}

impl Body {
    fn new(thing: Thing, at: [f64; 2]) -> Self {
        Self { thing, at, walks: [0.0; 2], view: (3, 0.0, true), view_from: None }
    }
}

/// How far off what the drone says is, all flight long.
#[derive(Clone, Copy, Debug, Default)]
struct Bias {
    gps: [f64; 2],
    /// Forward and to the right, radians.
    tilt: [f64; 2],
    yaw: f64,
}

const GPS_SIGMA: f64 = 1.5;
const TILT_SIGMA: f64 = 0.012;
const YAW_SIGMA: f64 = 0.035;
const JITTER: f64 = 0.004;

impl Bias {
    fn draw(rng: &mut StdRng) -> Self {
        Self {
            gps: [normal(rng) * GPS_SIGMA, normal(rng) * GPS_SIGMA],
            tilt: [normal(rng) * TILT_SIGMA, normal(rng) * TILT_SIGMA],
            yaw: normal(rng) * YAW_SIGMA,
        }
    }
}

/// Where the drone is: straight down looks its camera.
#[derive(Clone, Copy, Debug)]
struct Shot {
    seconds: f64,
    at: [f64; 2],
    height: f64,
    /// Clockwise from north, radians.
    heading: f64,
}

impl Shot {
    /// To the right and ahead of the middle, metres.
    fn across(&self, at: [f64; 2]) -> [f64; 2] {
        let (e, n) = (at[0] - self.at[0], at[1] - self.at[1]);
        let (s, c) = self.heading.sin_cos();
        [e * c - n * s, e * s + n * c]
    }

    fn pixel(&self, at: [f64; 2]) -> Option<[f64; 2]> {
        let [right, ahead] = self.across(at);
        let p = [320.0 + FOCAL * right / self.height, 256.0 - FOCAL * ahead / self.height];
        (0..2).all(|k| (0.0..f64::from(PICTURE[k])).contains(&p[k])).then_some(p)
    }

    fn ground(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (right, ahead) = ((x - 320.0) * self.height / FOCAL, (256.0 - y) * self.height / FOCAL);
        let (s, c) = self.heading.sin_cos();
        [self.at[0] + right * c + ahead * s, self.at[1] - right * s + ahead * c]
    }
}

/// A flight being flown.
struct World {
    rng: StdRng,
    /// For outlines alone.
    outlines: StdRng,
    bodies: Vec<Body>,
    bias: Bias,
    /// Detections a frame that are nothing.
    noise: f64,
    /// Frame by frame, for comparison: where a person was seen by the network with a score of 0.5 or more.
    single: Vec<[f64; 2]>,
}

/// Length and width of its warm outline in metres, and by how much its warmest tenth stands out.
fn body_outline(thing: Thing, size: f64) -> Option<[f64; 3]> {
    Some(match thing {
        Thing::Person => [1.75, 0.55, 1.5],
        Thing::Hidden => [0.7, 0.4, 1.5],
        Thing::Stone | Thing::Lookalike => [0.9 * size, 0.7 * size, 1.15],
        Thing::Animal => [1.1, 0.36, 1.28],
    })
}

const LABELS: [(Thing, [f64; 4], f64); 5] = [
    (Thing::Person, [0.75, 0.01, 0.02, 0.22], 0.85),
    (Thing::Hidden, [0.30, 0.01, 0.02, 0.67], 0.6),
    (Thing::Stone, [0.03, 0.02, 0.01, 0.94], 0.95),
    (Thing::Animal, [0.06, 0.02, 0.03, 0.89], 0.85),
    (Thing::Lookalike, [0.97, 0.01, 0.01, 0.01], 0.95),
];
const CLASSES: [ThermalClass; 4] =
    [ThermalClass::Person, ThermalClass::Vehicle, ThermalClass::Cycle, ThermalClass::Warm];

impl World {
    fn new(seed: u64, bodies: Vec<Body>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let bias = Bias::draw(&mut rng);
        let outlines = StdRng::seed_from_u64(seed ^ 0x0071);
        Self { rng, outlines, bodies, bias, noise: 0.5, single: Vec::new() }
    }

    fn score(&mut self, good: bool) -> f32 {
        // The larger of several draws, or the smaller.
        let draws = [0; 3].map(|_| self.rng.random::<f64>());
        let score =
            if good { draws[0].max(draws[1]).max(draws[2]) } else { draws[0].min(draws[1]).min(draws[2]) };
        score as f32
    }

    /// What the drone believes, minus the truth, at a place.
    fn off(&self, shot: &Shot, jitter: [f64; 2], at: [f64; 2]) -> [f64; 2] {
        let b = &self.bias;
        let (s, c) = shot.heading.sin_cos();
        let (right, ahead) = ((b.tilt[0] + jitter[0]) * shot.height, (b.tilt[1] + jitter[1]) * shot.height);
        let (e, n) = (at[0] - shot.at[0], at[1] - shot.at[1]);
        [b.gps[0] + right * c + ahead * s + b.yaw * n, b.gps[1] - right * s + ahead * c - b.yaw * e]
    }

    /// One frame through the machine.
    fn shoot(&mut self, search: &mut Search, shot: &Shot, change: impl FnOnce(&mut Pose)) -> Vec<Outcome> {
        let jitter = [normal(&mut self.rng) * JITTER, normal(&mut self.rng) * JITTER];
        let mut finds = Vec::new();
        for n in 0..self.bodies.len() {
            let body = &mut self.bodies[n];
            let at = [body.at[0] + body.walks[0] * shot.seconds, body.at[1] + body.walks[1] * shot.seconds];
            let Some(pixel) = shot.pixel(at) else { continue };
            let slant = shot.height.hypot(distance(at, shot.at));
            let turned = body.view_from.is_none_or(|(from, when)| {
                distance(from, shot.at) / slant > 0.27 || shot.seconds - when > 10.0
            });
            if turned {
                let (_, labels, _) = LABELS.iter().find(|l| l.0 == self.bodies[n].thing).unwrap();
                let label = pick(&mut self.rng, labels);
                let person = matches!(self.bodies[n].thing, Thing::Person | Thing::Hidden | Thing::Lookalike);
                let score = self.score(if label == 3 { true } else { person });
                let open = self.bodies[n].thing != Thing::Hidden || self.rng.random::<f64>() < 0.5;
                self.bodies[n].view = (label, score, open);
                self.bodies[n].view_from = Some((shot.at, shot.seconds));
            } else if let Some(view) = &mut self.bodies[n].view_from {
                view.1 = shot.seconds;
            }
            let body = &self.bodies[n];
            let (_, _, detected) = LABELS.iter().find(|l| l.0 == body.thing).unwrap();
            let (label, score, open) = body.view;
            if open && self.rng.random::<f64>() < *detected {
                let stone = matches!(body.thing, Thing::Stone | Thing::Lookalike);
                let size = if stone { 0.6 + 0.1 * (n % 9) as f64 } else { 0.9 };
                let outline = body_outline(body.thing, size);
                finds.push(self.find(shot, jitter, pixel, size, outline, (label, score)));
            }
        }
        if self.rng.random::<f64>() < self.noise {
            let pixel = [self.rng.random::<f64>() * 640.0, self.rng.random::<f64>() * 512.0];
            let label = pick(&mut self.rng, &[0.04, 0.02, 0.01, 0.93]);
            let score = self.score(false);
            // A patch of the ground, which seldom ends anywhere.
            let outline = (self.outlines.random::<f64>() < 0.3).then_some([0.75, 0.45, 1.4]);
            finds.push(self.find(shot, jitter, pixel, 0.5, outline, (label, score)));
        }
        for find in &finds {
            let spot = &find.hotspot;
            if spot.class == ThermalClass::Person && spot.score >= 0.5 {
                self.single.push(metres(find.ground.as_ref().unwrap().position.at));
            }
        }
        let gps = self.bias.gps;
        let mut pose = pose(shot, [shot.at[0] + gps[0], shot.at[1] + gps[1]]);
        change(&mut pose);
        let corners = [[0.0, 0.0], [640.0, 0.0], [640.0, 512.0], [0.0, 512.0]].map(|p| {
            let at = shot.ground(p);
            let off = self.off(shot, [0.0; 2], at);
            place([at[0] + off[0], at[1] + off[1]])
        });
        let pixel_of = |at: &Geodetic| {
            let at = metres(at.at);
            let off = self.off(shot, jitter, at);
            shot.pixel([at[0] - off[0], at[1] - off[1]])
        };
        search.frame(Look {
            time: pose.time,
            pose: &pose,
            picture: PICTURE,
            height_above_ground_m: shot.height,
            pixel_angle: Angle::from_radians(1.0 / FOCAL),
            footprint: &corners,
            finds,
            pixel_of: &pixel_of,
            radiometric: false,
            polarity: Some(ThermalPolarity::WhiteHot),
            contrast: 1.0,
        })
    }

    fn find(
        &mut self,
        shot: &Shot,
        jitter: [f64; 2],
        pixel: [f64; 2],
        size: f64,
        outline: Option<[f64; 3]>,
        (label, score): (usize, f32),
    ) -> Find {
        let pixel = [pixel[0] + normal(&mut self.rng), pixel[1] + normal(&mut self.rng)];
        let at = shot.ground(pixel);
        let off = self.off(shot, jitter, at);
        let gsd = shot.height / FOCAL;
        let side = (size * (0.2 * normal(&mut self.rng)).exp() / gsd) as f32;
        let reach = distance(at, shot.at);
        let shared =
            GPS_SIGMA.powi(2) + (TILT_SIGMA * shot.height).powi(2) + (YAW_SIGMA * reach).powi(2) / 2.0;
        let own = (JITTER * shot.height).powi(2) + gsd * gsd;
        let circle = |v: f64, up: f64| [[v, 0.0, 0.0], [0.0, v, 0.0], [0.0, 0.0, up]];
        let learned = label != 3;
        let extent = outline.map(|[length, width, peak]| {
            let off = [0.06, 0.08, 0.05].map(|sigma| (sigma * normal(&mut self.outlines)).exp());
            Extent {
                centre: pixel.map(|p| p as f32),
                length: (length * off[0] / gsd) as f32,
                width: (width * off[0] * off[1] / gsd) as f32,
                peak: (peak * off[2]) as f32,
            }
        });
        Find {
            hotspot: Hotspot {
                bbox: PixelBox {
                    x: pixel[0] as f32 - side / 2.0,
                    y: pixel[1] as f32 - side / 2.0,
                    width: side,
                    height: side,
                },
                class: CLASSES[label],
                score,
                detector: if learned { ThermalDetector::Learned } else { ThermalDetector::Hotspot },
                contrast: 5.0,
                extent,
                kelvin: None,
            },
            ground: Some(GroundFix {
                position: Geodetic {
                    at: place([at[0] + off[0], at[1] + off[1]]),
                    height: EllipsoidHeight(GROUND_HAE),
                },
                covariance: circle(shared + own, 4.0),
                shared: circle(shared, 4.0),
                method: GroundMethod::Flat,
                slant_range_m: shot.height,
                gsd_m: gsd,
                depression_deg: 90.0,
            }),
            chip: None,
        }
    }
}

fn pose(shot: &Shot, at: [f64; 2]) -> Pose {
    let level = Attitude { yaw: Angle::from_radians(shot.heading), pitch: Angle::ZERO, roll: Angle::ZERO };
    Pose {
        time: time(shot.seconds),
        position: place(at),
        height: Height::Ellipsoid(EllipsoidHeight(GROUND_HAE + shot.height)),
        platform: level,
        gimbal: Gimbal::World(Attitude { pitch: Angle::from_degrees(-90.0), ..level }),
        field_of_view: FieldOfView { horizontal: Angle::from_degrees(40.0), vertical: None },
        slant_range_m: None,
        ages: vec![(Input::Position, Duration::from_millis(40)), (Input::Gimbal, Duration::from_millis(15))],
        assumed: vec![Input::FieldOfView],
        stale: Vec::new(),
        sigma: PoseSigma {
            horizontal_m: GPS_SIGMA,
            vertical_m: 2.0,
            yaw: Angle::from_radians(YAW_SIGMA),
            pitch: Angle::from_radians(TILT_SIGMA),
            roll: Angle::from_radians(TILT_SIGMA),
            field_of_view: Angle::ZERO,
        },
    }
}

/// Lines to and fro over a square from the origin, `side` metres wide, five frames a second at 8 m/s.
fn lawn(side: f64, height: f64, apart: f64) -> Vec<Shot> {
    let mut shots = Vec::new();
    let mut seconds = 0.0;
    let lines = (side / apart).ceil() as usize + 1;
    for line in 0..lines {
        let north = line as f64 * apart;
        let steps = (side / 1.6) as usize;
        for step in 0..=steps {
            let along = step as f64 * 1.6;
            let (e, heading) = if line % 2 == 0 { (along, 90f64) } else { (side - along, 270.0) };
            shots.push(Shot { seconds, at: [e, north], height, heading: heading.to_radians() });
            seconds += 0.2;
        }
        seconds += 6.0;
    }
    shots
}

fn search_with(rate: f64) -> Search {
    let config = SearchConfig { false_alarms_per_km2: rate, ..SearchConfig::new("drone".parse().unwrap()) };
    Search::new(SearchSetup::new(&config, DetectorModel::default(), Vec::new()), Ids::seeded([3; 32]))
}

/// What became of each candidate that was told: its first and its last word before the end.
#[derive(Default)]
struct Log {
    told: BTreeMap<Uuid, (SearchDetection, SearchDetection)>,
    ends: Vec<SearchDetection>,
    maps: Vec<SearchCoverage>,
    all: Vec<SearchDetection>,
}

impl Log {
    fn add(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Coverage(view) => self.maps.push(view.event()),
                Outcome::Detection(d) => {
                    self.all.push((*d).clone());
                    match d.state {
                        DetectionState::New => {
                            let twice = self.told.insert(d.candidate, ((*d).clone(), *d));
                            assert!(twice.is_none(), "new twice");
                        }
                        DetectionState::Update => {
                            let last = &mut self.told.get_mut(&d.candidate).expect("new first").1;
                            *last = *d;
                        }
                        DetectionState::End => {
                            assert!(self.told.contains_key(&d.candidate), "an end without a beginning");
                            self.ends.push(*d);
                        }
                    }
                }
            }
        }
    }

    /// Those told that were not taken back.
    fn standing(&self) -> Vec<&SearchDetection> {
        let gone = |d: &SearchDetection| {
            self.ends.iter().any(|e| e.candidate == d.candidate && e.end != Some(EndReason::MissionStopped))
        };
        self.told.values().map(|(_, last)| last).filter(|d| !gone(d)).collect()
    }
}

fn fly(world: &mut World, search: &mut Search, shots: &[Shot]) -> Log {
    let mut log = Log::default();
    for shot in shots {
        log.add(world.shoot(search, shot, |_| {}));
    }
    log.add(search.stop(time(shots.last().unwrap().seconds)).1);
    log
}

fn scatter(rng: &mut StdRng, thing: Thing, n: usize, side: f64, out: &mut Vec<Body>) {
    for _ in 0..n {
        // Apart from each other, so that whose candidate it is can be told by distance.
        for _ in 0..50 {
            let at = [rng.random::<f64>() * side, rng.random::<f64>() * side];
            if out.iter().all(|b| distance(b.at, at) > 15.0) {
                out.push(Body::new(thing, at));
                break;
            }
        }
    }
}

/// Clutter alone: what is told stays below the set rate, of noise and of what is told as a person.
#[test]
fn clutter_is_told_no_more_often_than_was_set() {
    for rate in [30.0, 5.0] {
        let (mut km2, mut nothing, mut persons) = (0.0, 0, 0);
        for seed in 0..5 {
            let side = 220.0;
            let mut bodies = Vec::new();
            let mut rng = StdRng::seed_from_u64(1000 + seed);
            scatter(&mut rng, Thing::Stone, 15, side, &mut bodies);
            scatter(&mut rng, Thing::Animal, 4, side, &mut bodies);
            let mut world = World::new(seed, bodies);
            world.noise = 1.0;
            let log = fly(&mut world, &mut search_with(rate), &lawn(side, 90.0, 40.0));
            km2 += log.maps.last().unwrap().seen_m2 / 1e6;
            for d in log.told.values().map(|(_, last)| last) {
                let near = world.bodies.iter().any(|b| distance(b.at, told_at(d)) < 10.0);
                nothing += u32::from(!near);
            }
            // Each candidate counts that was ever told as a person, taken back or not.
            let mut ever: Vec<Uuid> = log.all.iter().filter(|d| d.is_target).map(|d| d.candidate).collect();
            ever.sort_unstable();
            ever.dedup();
            persons += ever.len();
        }
        println!(
            "clutter alone, {rate} per km² allowed, {km2:.2} km²: {:.1} per km² were nothing, {:.1} per km² were told as persons",
            f64::from(nothing) / km2,
            persons as f64 / km2,
        );
        assert!(f64::from(nothing) <= rate * km2, "{nothing} in {km2}");
        assert!(persons as f64 <= rate * km2, "{persons} in {km2}");
    }
}

/// A network that errs by the thing and not by the look: stones that it takes for people from every side are told
/// as what they are, and somebody who lies among them as a person.
#[test]
fn what_the_network_takes_for_a_person_from_every_side_is_told_by_its_outline() {
    let rate = 2.0;
    let (mut km2, mut wrong, mut stones, mut found) = (0.0, 0, (0, 0), 0);
    for seed in 0..6 {
        let side = 220.0;
        let mut bodies = Vec::new();
        let mut rng = StdRng::seed_from_u64(7000 + seed);
        scatter(&mut rng, Thing::Person, 1, side, &mut bodies);
        scatter(&mut rng, Thing::Lookalike, 15, side, &mut bodies);
        let mut world = World::new(seed, bodies);
        let log = fly(&mut world, &mut search_with(rate), &lawn(side, 90.0, 25.0));
        km2 += log.maps.last().unwrap().seen_m2 / 1e6;
        let ever: Vec<_> = log.all.iter().filter(|d| d.is_target).collect();
        for body in &world.bodies {
            let target = ever.iter().any(|d| distance(told_at(d), body.at) < 7.0);
            match body.thing {
                Thing::Lookalike => {
                    wrong += u32::from(target);
                    stones.1 += 1;
                    let told = log.standing().into_iter().find(|d| distance(told_at(d), body.at) < 7.0);
                    stones.0 += u32::from(told.is_some_and(|d| d.class == TargetClass::WarmObject));
                }
                _ => found += u32::from(target),
            }
        }
    }
    println!(
        "{} stones that look like people, {rate} per km² allowed: told as persons {:.1} per km², as warm objects {} of {}; people found {found} of 6",
        stones.1,
        f64::from(wrong) / km2,
        stones.0,
        stones.1
    );
    assert!(f64::from(wrong) <= rate * km2, "{wrong} in {km2}");
    assert!(f64::from(stones.0) >= 0.8 * f64::from(stones.1), "{stones:?}");
    assert!(found >= 5);
}

/// Flown over again, with other errors of compass and satellites and with noise all around: one person is one.
#[test]
fn a_second_pass_finds_the_same_again() {
    for seed in 0..8 {
        let mut world = World::new(40 + seed, vec![Body::new(Thing::Person, [110.0, 20.0])]);
        world.noise = 2.0;
        let mut search = search_with(1.0);
        let mut log = Log::default();
        let line = |north: f64, east_first: bool, from_s: f64| {
            (0..=100).map(move |step| {
                let along = f64::from(step) * 2.2;
                let (e, heading) = if east_first { (along, 90f64) } else { (220.0 - along, 270.0) };
                Shot {
                    seconds: from_s + f64::from(step) * 0.2,
                    at: [e, north],
                    height: 90.0,
                    heading: heading.to_radians(),
                }
            })
        };
        for (pass, north) in [(0, 10.0), (1, 30.0), (2, 22.0)] {
            world.bias = Bias::draw(&mut world.rng);
            for shot in line(north, pass % 2 == 0, f64::from(pass) * 60.0) {
                log.add(world.shoot(&mut search, &shot, |_| {}));
            }
        }
        log.add(search.stop(time(200.0)).1);
        let ends: Vec<_> = log.ends.iter().filter(|d| d.end == Some(EndReason::MissionStopped)).collect();
        assert_eq!(ends.len(), 1, "seed {seed}: {:?}", ends.iter().map(|d| told_at(d)).collect::<Vec<_>>());
        // All three passes are its.
        let (first, last) = (ends[0].first_seen, ends[0].last_seen);
        assert!(ends[0].class == TargetClass::Person && ends[0].views >= 4, "seed {seed}: {:?}", ends[0]);
        assert!(first < time(20.0) && last > time(120.0), "seed {seed}: {first} {last}");
        assert!(distance(told_at(ends[0]), [110.0, 20.0]) < ends[0].position.ce90_m.max(6.0));
    }
}

/// What lies where something was told waits until it is known whether it is that. A mission that ends meanwhile
/// tells it all the same.
#[test]
fn what_waits_is_told_when_the_mission_ends() {
    let mut world = World::new(5, vec![Body::new(Thing::Person, [110.0, 20.0])]);
    (world.noise, world.bias) = (0.0, Bias::default());
    let (mut search, mut log) = (search_with(2.0), Log::default());
    let shot = |seconds: f64, east: f64| Shot {
        seconds,
        at: [east, 20.0],
        height: 90.0,
        heading: 90f64.to_radians(),
    };
    for step in 0..=100 {
        log.add(world.shoot(&mut search, &shot(f64::from(step) * 0.2, f64::from(step) * 2.2), |_| {}));
    }
    assert_eq!(log.told.len(), 1);
    // A minute later the person has gone, and a stone that was covered lies beside.
    world.bodies = vec![Body::new(Thing::Stone, [111.0, 20.5])];
    for step in 0..=20 {
        log.add(world.shoot(
            &mut search,
            &shot(80.0 + f64::from(step) * 0.2, 100.0 + f64::from(step)),
            |_| {},
        ));
    }
    assert_eq!(log.told.len(), 1, "told before it could be known");
    log.add(search.stop(time(84.2)).1);
    assert_eq!((log.told.len(), log.ends.len()), (2, 2), "{:?}", log.ends);
    let stone = &log.ends[1];
    assert!(distance(told_at(stone), [111.0, 20.5]) < stone.position.ce90_m, "{stone:?}");
    assert_eq!((stone.end, stone.class), (Some(EndReason::MissionStopped), TargetClass::WarmObject));
}

/// Nights with one to five people each, two of five under leaves, in clutter.
#[test]
fn people_are_found_and_where_they_are() {
    let rate = 2.0;
    let (mut open, mut hidden) = ((0, 0), (0, 0));
    let (mut km2, mut wrong, mut nothing, mut doubles) = (0.0, 0, 0, 0);
    let (mut errors, mut inside, mut waits) = (Vec::new(), 0, Vec::new());
    let (mut single_found, mut single_false) = (0, 0);
    for seed in 0..20u64 {
        let side = 220.0;
        let mut bodies = Vec::new();
        let mut rng = StdRng::seed_from_u64(5000 + seed);
        for n in 0..1 + seed as usize % 5 {
            let thing = if (seed as usize + n) % 5 < 2 { Thing::Hidden } else { Thing::Person };
            scatter(&mut rng, thing, 1, side, &mut bodies);
        }
        scatter(&mut rng, Thing::Stone, 8, side, &mut bodies);
        scatter(&mut rng, Thing::Animal, 1, side, &mut bodies);
        let mut world = World::new(seed, bodies);
        let log = fly(&mut world, &mut search_with(rate), &lawn(side, 90.0, 25.0));
        km2 += log.maps.last().unwrap().seen_m2 / 1e6;
        let standing = log.standing();
        for body in &world.bodies {
            let near: Vec<_> = standing.iter().filter(|d| distance(told_at(d), body.at) < 10.0).collect();
            let person = match body.thing {
                Thing::Person => &mut open,
                Thing::Hidden => &mut hidden,
                _ => {
                    wrong += near.iter().filter(|d| d.is_target).count();
                    continue;
                }
            };
            person.1 += 1;
            doubles += near.len().saturating_sub(1);
            single_found += usize::from(world.single.iter().any(|at| distance(*at, body.at) < 10.0));
            if let Some(best) = near.first() {
                person.0 += 1;
                let error = distance(told_at(best), body.at);
                inside += u32::from(error <= best.position.ce90_m);
                errors.push(error);
                let first = &log.told[&best.candidate].0;
                waits.push(first.last_seen.duration_since(first.first_seen).as_secs_f64());
            }
        }
        for d in &standing {
            if world.bodies.iter().all(|b| distance(b.at, told_at(d)) >= 10.0) {
                nothing += 1;
                let at = told_at(d);
                let near = world.bodies.iter().map(|b| distance(b.at, at)).fold(f64::MAX, f64::min);
                println!(
                    "  nothing at {at:?}: {near:.0} m from anything, {:?}, {} views, {} looks",
                    d.movement, d.views, d.looks
                );
            }
        }
        // Frame by frame: places 5 m apart where a person was seen and none is.
        let mut places: Vec<[i64; 2]> = world
            .single
            .iter()
            .filter(|at| {
                !world
                    .bodies
                    .iter()
                    .any(|b| matches!(b.thing, Thing::Person | Thing::Hidden) && distance(b.at, **at) < 10.0)
            })
            .map(|at| at.map(|m| (m / 5.0).floor() as i64))
            .collect();
        places.sort_unstable();
        places.dedup();
        single_false += places.len();
    }
    errors.sort_by(f64::total_cmp);
    waits.sort_by(f64::total_cmp);
    let found = f64::from(open.0 + hidden.0);
    println!("20 flights, {km2:.2} km², {rate} false per km² allowed:");
    println!(
        "  found in the open {}/{}, under leaves {}/{}; told twice {doubles}",
        open.0, open.1, hidden.0, hidden.1
    );
    println!(
        "  told as a person wrongly {:.2} per km², nothing there {:.2} per km²",
        wrong as f64 / km2,
        f64::from(nothing) / km2
    );
    println!(
        "  error: median {:.1} m, 90 % {:.1} m; within CE90: {:.0} %",
        errors[errors.len() / 2],
        errors[errors.len() * 9 / 10],
        f64::from(inside) / found * 100.0
    );
    println!(
        "  first look to `new`: median {:.1} s, 90 % {:.1} s",
        waits[waits.len() / 2],
        waits[waits.len() * 9 / 10]
    );
    println!(
        "  frame by frame at 0.5: found {single_found}/{}, false places {:.0} per km²",
        open.1 + hidden.1,
        f64::from(single_false as u32) / km2
    );
    assert!(f64::from(open.0) >= 0.95 * f64::from(open.1));
    // Half of all sides show nothing of them, and a place is seen from some five.
    assert!(f64::from(hidden.0) >= 0.33 * f64::from(hidden.1));
    assert!((wrong as f64) <= rate * km2 + 1.0 && f64::from(nothing) <= rate * km2 + 1.0);
    assert!(f64::from(inside) >= 0.85 * found);
    assert!(single_false > 5 * (wrong + nothing as usize).max(1));
}

/// Circles around a place at walking pace.
fn orbit(turns: f64, radius: f64, from_s: f64) -> Vec<Shot> {
    (0..(turns * 200.0) as usize)
        .map(|n| {
            let t = n as f64 / 200.0 * std::f64::consts::TAU;
            Shot {
                seconds: from_s + n as f64 * 0.2,
                at: [radius * t.sin(), radius * t.cos()],
                height: 60.0,
                heading: t,
            }
        })
        .collect()
}

#[test]
fn a_tight_group_stays_as_many_as_it_is() {
    let group = [[0.0, 0.0], [1.5, 0.3], [-0.4, 1.6], [1.8, 2.0]];
    let bodies = group.map(|at| Body::new(Thing::Person, at)).to_vec();
    let mut world = World::new(11, bodies);
    world.noise = 0.05;
    let mut search = search_with(1.0);
    // Twice around, a minute between, and the second time with other errors.
    let mut log = Log::default();
    for shot in orbit(1.0, 14.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    world.bias = Bias { gps: [2.0, -1.5], ..world.bias };
    for shot in orbit(1.0, 14.0, 100.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    let standing = log.standing();
    assert_eq!(standing.len(), 4, "{:?}", standing.iter().map(|d| told_at(d)).collect::<Vec<_>>());
    assert!(standing.iter().all(|d| d.class == TargetClass::Person && d.is_target));
}

#[test]
fn who_walks_is_followed_and_who_lies_is_not_said_to() {
    let mut walker = Body::new(Thing::Person, [-10.0, -12.0]);
    walker.walks = [0.9, 0.5];
    let mut world = World::new(12, vec![walker, Body::new(Thing::Person, [3.0, 4.0])]);
    world.noise = 0.05;
    let mut search = search_with(1.0);
    let mut log = Log::default();
    for shot in orbit(0.6, 4.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    let walks: Vec<_> = log.standing().into_iter().filter(|d| d.movement.is_some()).collect();
    assert_eq!(walks.len(), 1, "{:?}", log.standing());
    let movement = walks[0].movement.unwrap();
    assert!((movement.speed_mps - 1.03).abs() < 0.4, "{movement:?}");
    assert!((movement.course_deg - 61.0).abs() < 25.0, "{movement:?}");
    assert_eq!(log.standing().len(), 2);
}

#[test]
fn a_stone_is_told_as_a_warm_object() {
    let mut world = World::new(13, vec![Body::new(Thing::Stone, [0.0, 0.0])]);
    world.noise = 0.0;
    let mut search = search_with(1.0);
    let mut log = Log::default();
    for shot in orbit(1.0, 15.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    let standing = log.standing();
    assert_eq!(standing.len(), 1);
    assert!(!standing[0].is_target && standing[0].class != TargetClass::Person, "{:?}", standing[0]);
    assert!(standing[0].likelihoods.person < 0.4);
}

#[test]
fn the_same_flight_says_the_same_and_every_word_is_what_its_schema_says() {
    let flight = || {
        let mut world =
            World::new(14, vec![Body::new(Thing::Person, [0.0, 0.0]), Body::new(Thing::Stone, [8.0, 0.0])]);
        let mut search = search_with(1.0);
        fly(&mut world, &mut search, &orbit(1.0, 10.0, 0.0))
    };
    let (a, b) = (flight(), flight());
    assert_eq!(a.all, b.all);
    assert_eq!(a.maps, b.maps);
    assert!(a.all.len() >= 4, "{}", a.all.len());
    let data = |name: &str| {
        let whole = vigil::event::schema::Payload::find(name).unwrap().json_schema();
        let mut schema = whole["properties"]["data"].clone();
        schema["$defs"] = whole["$defs"].clone();
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap()
    };
    let detection = data("search.detection");
    for word in &a.all {
        detection.validate(&serde_json::to_value(word).unwrap()).unwrap();
        assert_eq!(word.inputs.assumed, [PoseInput::FieldOfView]);
        assert_eq!(word.position.inputs_age_ms, 40);
        let l = word.likelihoods;
        assert!((l.person + l.vehicle + l.animal + l.warm_object - 1.0).abs() < 1e-6);
    }
    assert!(a.ends.iter().all(|e| e.end == Some(EndReason::MissionStopped)) && a.ends.len() == a.told.len());
    let coverage = data("search.coverage");
    for map in &a.maps {
        coverage.validate(&serde_json::to_value(map).unwrap()).unwrap();
    }
    assert!(a.maps.last().unwrap().last);
}

#[test]
fn a_camera_that_leaps_or_is_stale_takes_nothing_back() {
    let mut world = World::new(15, vec![Body::new(Thing::Person, [0.0, 0.0])]);
    world.noise = 0.0;
    let mut search = search_with(1.0);
    let mut log = Log::default();
    for shot in orbit(0.5, 8.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    assert_eq!(log.standing().len(), 1);
    // What was missed until then, as the same flight says that ends here.
    let misses = {
        let mut world = World::new(15, vec![Body::new(Thing::Person, [0.0, 0.0])]);
        world.noise = 0.0;
        fly(&mut world, &mut search_with(1.0), &orbit(0.5, 8.0, 0.0)).ends[0].misses
    };
    // The satellites say that it is 400 m off for two seconds; then telemetry is old for ten.
    for (n, shot) in orbit(0.3, 8.0, 21.0).iter().enumerate() {
        let outcomes = world.shoot(&mut search, shot, |pose| {
            if n < 10 {
                pose.position = place([400.0, 0.0]);
            } else {
                pose.stale = vec![Input::Position];
            }
        });
        log.add(outcomes);
    }
    assert!(search.stats().doubted >= 55, "{:?}", search.stats());
    log.add(world.shoot(&mut search, &orbit(0.1, 8.0, 40.0)[0], |_| {}));
    log.add(search.stop(time(41.0)).1);
    assert_eq!(log.told.len(), 1);
    let end = log.ends.last().unwrap();
    assert_eq!(end.end, Some(EndReason::MissionStopped));
    // None of the doubted ones, and at most the one frame since that was believed.
    assert!(end.misses <= misses + 1, "{} {misses}", end.misses);
}

#[test]
fn somebody_who_is_gone_is_taken_back() {
    let mut world = World::new(16, vec![Body::new(Thing::Person, [0.0, 0.0])]);
    world.noise = 0.0;
    let mut search = search_with(1.0);
    let mut log = Log::default();
    for shot in orbit(0.6, 15.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    assert_eq!(log.told.len(), 1);
    world.bodies.clear();
    for shot in orbit(6.0, 15.0, 30.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    assert_eq!(log.ends.iter().map(|e| e.end).collect::<Vec<_>>(), [Some(EndReason::OutOfEvidence)]);
}

#[test]
fn without_an_order_a_box_that_is_told_to_wait_waits() {
    let config = SearchConfig { auto_start: false, ..SearchConfig::new("drone".parse().unwrap()) };
    let setup = SearchSetup::new(&config, DetectorModel::default(), Vec::new());
    let mut search = Search::new(setup, Ids::seeded([3; 32]));
    let mut world = World::new(17, vec![Body::new(Thing::Person, [0.0, 0.0])]);
    let shot = orbit(0.1, 5.0, 0.0)[0];
    assert!(world.shoot(&mut search, &shot, |_| {}).is_empty());
    assert_eq!((search.stats().idle, search.mission()), (1, None));
    let order = br#"{"name":"North field","target":"any"}"#;
    let (view, _) = search.start(MissionOrder::from_json(order).unwrap(), time(1.0)).unwrap();
    assert_eq!((view.name.as_deref(), view.target), (Some("North field"), SearchTarget::Any));
    let again = search.start(MissionOrder::default(), time(2.0)).unwrap_err();
    assert!(again.to_string().contains("under way"), "{again}");
}

/// A restart in mid-flight: the same candidates under the same names, and the map of before.
#[test]
fn a_mission_goes_on_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let new_world = || {
        let bodies = vec![Body::new(Thing::Person, [0.0, 0.0]), Body::new(Thing::Stone, [9.0, 2.0])];
        World { noise: 0.1, ..World::new(18, bodies) }
    };
    let mut world = new_world();
    let ring: Vec<_> = [[-60.0, -60.0], [60.0, -60.0], [60.0, 60.0], [-60.0, 60.0], [-60.0, -60.0]]
        .map(place)
        .iter()
        .map(|p| json!([p.lon().degrees(), p.lat().degrees()]))
        .collect();
    let order = json!({ "name": "Hollow", "area": { "type": "Polygon", "coordinates": [ring] },
        "start_point": [LON, LAT] });
    let mut search = search_with(1.0);
    let (mission, _) =
        search.start(MissionOrder::from_json(order.to_string().as_bytes()).unwrap(), time(0.0)).unwrap();
    let mut log = Log::default();
    for shot in orbit(0.6, 10.0, 0.0) {
        log.add(world.shoot(&mut search, &shot, |_| {}));
    }
    let missions = Missions::of(dir.path());
    {
        let keeper = vigil::search::Keeper::start(missions.clone(), 10, None).unwrap();
        assert!(keeper.wants());
        keeper.keep(search.snapshot().unwrap());
        // Dropped: what waits is written.
    }
    drop(search);
    let mut again = search_with(1.0);
    again.resume(missions.under_way().unwrap().unwrap()).unwrap();
    assert_eq!(again.mission().unwrap().mission, mission.mission);
    for shot in orbit(0.6, 10.0, 60.0) {
        // `new` twice for one candidate fails in the log.
        log.add(world.shoot(&mut again, &shot, |_| {}));
    }
    // The same flight without the crash.
    let (mut steady, mut unbroken, mut all) = (new_world(), search_with(1.0), Log::default());
    unbroken.start(MissionOrder::from_json(order.to_string().as_bytes()).unwrap(), time(0.0)).unwrap();
    for shot in orbit(0.6, 10.0, 0.0).iter().chain(&orbit(0.6, 10.0, 60.0)) {
        all.add(steady.shoot(&mut unbroken, shot, |_| {}));
    }
    let facts = |log: &Log| {
        let mut facts: Vec<_> = log
            .standing()
            .iter()
            .map(|d| (told_at(d).map(|m| (m * 100.0).round() as i64), d.class, d.views, d.looks, d.misses))
            .collect();
        facts.sort_by_key(|f| f.0);
        facts
    };
    assert_eq!(facts(&log), facts(&all));
    let told = log.standing().len();
    assert!(told >= 2, "{:?}", facts(&log));
    let export = dir.path().join("out");
    let (last, outcomes) = again.stop(time(90.0));
    log.add(outcomes);
    {
        let keeper = vigil::search::Keeper::start(missions.clone(), 10, Some(export.clone())).unwrap();
        keeper.keep(last.unwrap());
    }
    assert!(missions.under_way().unwrap().is_none());
    let report = missions.read(mission.mission).unwrap().report().unwrap();
    assert_eq!(report.view.name.as_deref(), Some("Hollow"));
    assert_eq!(
        report.detections.len(),
        told + log.ends.iter().filter(|e| e.end != Some(EndReason::MissionStopped)).count()
    );
    assert_eq!(report.coverage.as_ref().unwrap().seen_m2, log.maps.last().unwrap().seen_m2);
    // Both files are what they say.
    let text = std::fs::read_to_string(export.join(format!("{}.geojson", mission.mission))).unwrap();
    assert_eq!(text, geojson(&report).unwrap());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<_> = value["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["properties"]["kind"].as_str().unwrap())
        .collect();
    for kind in ["area", "start_point", "coverage", "candidate", "ellipse90"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let text = std::fs::read_to_string(export.join(format!("{}.kml", mission.mission))).unwrap();
    assert_eq!(text, kml(&report).unwrap());
    let mut reader = quick_xml::Reader::from_str(&text);
    let mut places = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(e) if e.name().as_ref() == "Placemark" => places += 1,
            _ => {}
        }
    }
    assert!(places >= 5, "{places}");
    // The command reads them.
    let run = |args: &[&str]| {
        let out =
            assert_cmd::Command::cargo_bin("vigil").unwrap().arg("mission").args(args).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let state = dir.path().to_str().unwrap();
    let (code, out, _) = run(&["list", "--state-dir", state]);
    assert!(code == Some(0) && out.contains("Hollow") && out.contains(&mission.mission.to_string()), "{out}");
    let (code, out, _) = run(&["export", "last", "--format", "kml", "--state-dir", state]);
    assert!(code == Some(0) && out.trim_end() == text.trim_end());
    assert_eq!(run(&["export", "x", "--state-dir", state]).0, Some(64));
    // A file that somebody bit into is set aside and does not stop the box.
    let file = dir.path().join("missions").join(format!("{}.json", mission.mission));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(missions.read(mission.mission).is_err());
    assert!(missions.under_way().unwrap().is_none());
    assert!(file.with_extension("damaged").exists());
}

/// A message's attributes by element, and the text of its remarks.
fn read_cot(xml: &str) -> (BTreeMap<String, BTreeMap<String, String>>, String) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut out, mut remarks, mut inside) = (BTreeMap::new(), String::new(), false);
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => return (out, remarks),
            quick_xml::events::Event::Start(e) | quick_xml::events::Event::Empty(e) => {
                let name = e.name().as_ref().to_owned();
                inside = name == "remarks";
                let attributes = e
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| (a.key.as_ref().to_owned(), a.value.to_string()))
                    .collect();
                out.insert(name, attributes);
            }
            quick_xml::events::Event::Text(t) if inside => remarks += &t,
            quick_xml::events::Event::End(_) => inside = false,
            _ => {}
        }
    }
}

#[test]
fn a_marker_says_one_sigma_and_the_remarks_say_ninety_percent() {
    use vigil::search::cot;
    let now = time(0.0);
    let word = SearchDetection { end: None, ..crate::schema::found(now) };
    let (xml, remarks) = read_cot(&cot::event(&word, now, Duration::from_secs(300), false).unwrap());
    let event = &xml["event"];
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["uid"], format!("vigil.{}", word.candidate));
    assert_eq!((event["type"].as_str(), event["how"].as_str()), ("a-u-G", "m-f"));
    assert_eq!(
        (event["time"].as_str(), event["start"].as_str()),
        ("2026-09-21T14:13:20.000Z", "2026-09-21T14:13:20.000Z")
    );
    assert_eq!(event["stale"], "2026-09-21T14:18:20.000Z");
    let point = &xml["point"];
    assert_eq!(
        (point["lat"].as_str(), point["lon"].as_str(), point["hae"].as_str()),
        ("30.2500000", "120.1500000", "21.5")
    );
    // 6.2 / 2.1460 and 3.3 / 1.6449.
    assert_eq!((point["ce"].as_str(), point["le"].as_str()), ("2.9", "2.0"));
    assert_eq!(xml["contact"]["callsign"], "person 7f3a");
    assert_eq!((xml["track"]["course"].as_str(), xml["track"]["speed"].as_str()), ("45", "1.1"));
    for part in [
        "90 %",
        "within 6.2 m",
        "CE90",
        "assumed, not measured: field_of_view",
        "out of date: height",
        "27.9",
    ] {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }
    let one = SearchDetection { views: 1, class: TargetClass::WarmObject, ..word.clone() };
    let (xml, _) = read_cot(&cot::event(&one, now, Duration::from_secs(300), false).unwrap());
    assert_eq!((xml["event"]["type"].as_str(), xml["event"]["how"].as_str()), ("b-m-p-s-m", "m-i"));
    let (xml, _) = read_cot(&cot::event(&one, now, Duration::from_secs(300), true).unwrap());
    assert_eq!(xml["event"]["how"], "m-s");
    let (xml, _) = read_cot(&cot::deletion(&word, now).unwrap());
    assert_eq!((xml["event"]["type"].as_str(), &xml["link"]["uid"]), ("t-x-d-d", &cot::uid(&word)));
    assert!(xml.contains_key("__forcedelete") && xml["event"]["uid"] != xml["link"]["uid"]);
    assert_eq!(
        cot::marker(&SearchDetection { end: Some(EndReason::MissionStopped), ..word }),
        cot::Marker::Last
    );
}

/// Real sockets: a datagram for each word; a TCP client that was away gets every marker that lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_arrive_over_udp_and_again_over_a_new_connection() {
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;
    use vigil::base::clock::ManualClock;
    use vigil::base::{Clock, Shutdown};
    use vigil::config::{CotConfig, CotUrl};
    use vigil::fittings::Cot;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(time(0.0)));
    let ear = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = Shutdown::new();
    let configs = [
        CotConfig::new(CotUrl::Udp(ear.local_addr().unwrap())),
        CotConfig { others: true, ..CotConfig::new(CotUrl::Tcp(server.local_addr().unwrap())) },
    ];
    let cot = Cot::start(&configs, false, &clock, &tokio::runtime::Handle::current(), &stop);
    let person =
        SearchDetection { end: None, merged_into: None, chip: None, ..crate::schema::found(time(0.0)) };
    let stone = SearchDetection {
        candidate: Uuid::from_u128(5),
        is_target: false,
        class: TargetClass::WarmObject,
        ..person.clone()
    };
    cot.tell(&stone);
    cot.tell(&person);
    let mut bytes = [0; 4096];
    // The stone is not for this output.
    let n = in_time(ear.recv(&mut bytes)).await.unwrap();
    let uid = |xml: &str| read_cot(xml).0["event"]["uid"].clone();
    let uids = |person: &SearchDetection| format!("vigil.{}", person.candidate);
    assert_eq!(uid(std::str::from_utf8(&bytes[..n]).unwrap()), uids(&person));
    // A word that does not come is a failure, not a wait without end.
    async fn in_time<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(120), what).await.expect("it comes")
    }
    async fn both(server: &tokio::net::TcpListener, wanted: [String; 2]) -> tokio::net::TcpStream {
        let (mut stream, _) = in_time(server.accept()).await.unwrap();
        let mut text = String::new();
        let mut bytes = [0; 4096];
        while wanted.iter().any(|w| !text.contains(w.as_str())) || !text.ends_with("</event>") {
            let n = in_time(stream.read(&mut bytes)).await.unwrap();
            assert!(n > 0, "{text}");
            text += std::str::from_utf8(&bytes[..n]).unwrap();
        }
        stream
    }
    let wanted = [uids(&person), uids(&stone)];
    drop(both(&server, wanted.clone()).await);
    // It comes back, and says both again.
    let _line = both(&server, wanted).await;
    // What lost its evidence is deleted, once.
    let gone =
        SearchDetection { state: DetectionState::End, end: Some(EndReason::OutOfEvidence), ..person.clone() };
    cot.tell(&gone);
    let n = in_time(ear.recv(&mut bytes)).await.unwrap();
    let (xml, _) = read_cot(std::str::from_utf8(&bytes[..n]).unwrap());
    assert_eq!((xml["event"]["type"].as_str(), &xml["link"]["uid"]), ("t-x-d-d", &uids(&person)));
    cot.tell(&gone);
    cot.tell(&person);
    let n = in_time(ear.recv(&mut bytes)).await.unwrap();
    assert_eq!(uid(std::str::from_utf8(&bytes[..n]).unwrap()), uids(&person));
    // The datagram is here before its sender has counted it.
    in_time(async {
        while cot.states()[0].sent < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(cot.states()[0].trouble.is_none() && cot.states()[0].sent == 3 && cot.states()[0].dropped == 0);
    stop.request();
}
