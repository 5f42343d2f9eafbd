//! The landscape with everything in it, made from a plan and a seed.

use crate::base::Result;
use crate::geo::{DEFAULT_CACHE_BYTES, Geodetic, Geoid, LatLon, Loading, LocalFrame, Terrain};

use super::ground::{Ground, Layout, Soil, air, sky};
use super::plan::{Cover, FlightPlan, ObjectClass, ObjectKind, ObjectPlan, Weather, wrong};
use super::random::{Dice, smooth};
use super::shape::{Part, Warmth, body, placed};

/// Streams of the seed, one per sort of thing.
const PEOPLE: u64 = 20;
const ANIMALS: u64 = 21;
const VEHICLES: u64 = 22;
const SIGNS: u64 = 23;
const STONES: u64 = 24;
const TREES: u64 = 25;
const WEEDS: u64 = 26;
/// Leaves of everything together: what memory they may take.
const MOST_LEAVES: usize = 4_000_000;

/// Something that a search may find.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    pub(super) cover: Cover,
    at: [f64; 2],
    heading: f64,
    size: f32,
    over: f32,
    motion: Motion,
}

#[derive(Clone, Copy, Debug)]
enum Motion {
    Still,
    /// To and fro along a line: metres, metres a second.
    Line {
        length: f64,
        speed: f64,
        begin: f64,
    },
    /// Round a circle.
    Round {
        radius: f64,
        speed: f64,
        begin: f64,
    },
}

/// Where an object is at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// East, north, up of the ground below its middle.
    pub(super) at: [f64; 3],
    /// Radians on the compass.
    pub(super) heading: f64,
    /// In its stride.
    phase: f64,
}

/// Leaves around a place: a crown, or weeds.
#[derive(Debug)]
pub(super) struct Foliage {
    pub(super) centre: [f64; 3],
    /// Of a ball that holds all leaves.
    pub(super) radius: f32,
    /// From the centre: east, north, up, radius, all in metres; how warm, in kelvin.
    pub(super) leaves: Vec<([f32; 4], f32)>,
    pub(super) trunk: Option<Part>,
}

/// A landscape at night.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) ground: Ground,
    pub(super) objects: Vec<Object>,
    pub(super) foliage: Vec<Foliage>,
    pub(super) frame: LocalFrame,
    pub(super) air: f32,
    pub(super) sky: f32,
}

impl Object {
    fn new(kind: ObjectKind, at: [f64; 2], heading: f64, weather: &Weather, dice: &mut Dice) -> Self {
        // Wet cloth and fur are little warmer than the rain that wets them.
        let wet = 1.0 / (1.0 + weather.rain_mm_h / 15.0);
        let (over, size) = match kind {
            ObjectKind::PersonStanding | ObjectKind::PersonWalking => {
                (dice.between(6.0, 10.0) * wet, dice.between(0.9, 1.08))
            }
            // Who lies there lies there for long.
            ObjectKind::PersonSitting | ObjectKind::PersonLying => {
                (dice.between(4.5, 8.0) * wet, dice.between(0.9, 1.06))
            }
            ObjectKind::CarWarm => (dice.between(12.0, 30.0), dice.between(0.92, 1.08)),
            ObjectKind::CarCold => (0.0, dice.between(0.92, 1.08)),
            ObjectKind::CowStanding | ObjectKind::CowLying => {
                (dice.between(6.0, 10.0) * wet, dice.between(0.9, 1.1))
            }
            ObjectKind::Deer | ObjectKind::Dog => (dice.between(6.0, 11.0) * wet, dice.between(0.85, 1.15)),
            ObjectKind::Stone => {
                let size = dice.between(0.2, 1.2);
                // Large ones cool slowly.
                let held = weather.sun_k * wet * dice.between(0.4, 1.0) * (0.4 + 0.6 * size);
                (held, size)
            }
            ObjectKind::Sign => (weather.sun_k * 0.3 - 4.0 + dice.between(-2.0, 4.0), dice.between(0.8, 1.3)),
            ObjectKind::Tree => (0.0, dice.between(0.75, 1.25)),
        };
        let begin = dice.between(0.0, 60.0);
        let motion = match kind {
            ObjectKind::PersonWalking => {
                Motion::Line { length: dice.between(8.0, 30.0), speed: dice.between(0.6, 1.4), begin }
            }
            ObjectKind::Deer => Motion::Line { length: dice.between(4.0, 15.0), speed: 0.4, begin },
            ObjectKind::Dog => Motion::Round { radius: dice.between(3.0, 8.0), speed: 1.6, begin },
            _ => Motion::Still,
        };
        Self { kind, cover: Cover::Open, at, heading, size: size as f32, over: over as f32, motion }
    }

    /// Where it is at `second` of the flight.
    pub(super) fn place(&self, ground: &Ground, second: f64) -> Place {
        let (sin, cos) = self.heading.sin_cos();
        let (at, heading, walked) = match self.motion {
            Motion::Still => (self.at, self.heading, 0.0),
            Motion::Line { length, speed, begin } => {
                let walked = speed * (second + begin);
                let on = walked.rem_euclid(2.0 * length);
                let (along, heading) = if on < length {
                    (on, self.heading)
                } else {
                    (2.0 * length - on, self.heading + std::f64::consts::PI)
                };
                let along = along - length / 2.0;
                ([self.at[0] + along * sin, self.at[1] + along * cos], heading, walked)
            }
            Motion::Round { radius, speed, begin } => {
                let walked = speed * (second + begin);
                let turned = self.heading + walked / radius;
                let (s, c) = turned.sin_cos();
                // Clockwise, facing along the circle.
                let at = [self.at[0] + radius * s, self.at[1] + radius * c];
                (at, turned + std::f64::consts::FRAC_PI_2, walked)
            }
        };
        // A stride of 1.4 m turns the legs once.
        let phase = walked / 1.4 * std::f64::consts::TAU;
        Place { at: [at[0], at[1], ground.height(at[0], at[1])], heading, phase }
    }

    /// Its parts, east, north, up from `origin`.
    pub(super) fn parts(&self, place: &Place, origin: [f64; 3], air: f32, sky: f32) -> Vec<Part> {
        let warmth = Warmth { air, sky, over: self.over };
        let mut parts = body(self.kind, warmth, self.size, place.phase as f32);
        let at = std::array::from_fn(|i| (place.at[i] - origin[i]) as f32);
        placed(&mut parts, at, place.heading as f32);
        parts
    }

    /// Metres from its middle that hold all of it.
    pub(super) fn radius(&self) -> f32 {
        3.0 * self.size.max(1.0)
    }
}

struct Builder<'a> {
    plan: &'a FlightPlan,
    ground: &'a Ground,
    taken: Vec<([f64; 2], f64)>,
    objects: Vec<Object>,
    /// Middle of the crown above the ground, size.
    trees: Vec<([f64; 2], f64)>,
    weeds: Vec<([f64; 2], f64)>,
}

impl Builder<'_> {
    /// A place that nothing else has, on ground that fits.
    fn free(&self, dice: &mut Dice, reach: f64, fits: impl Fn(Soil) -> bool) -> Option<[f64; 2]> {
        let half = self.plan.scene.side_m * 0.47;
        (0..60).find_map(|_| {
            let at = [dice.between(-half, half), dice.between(-half, half)];
            let clear = self.taken.iter().all(|(o, r)| (o[0] - at[0]).hypot(o[1] - at[1]) > r + reach);
            (clear && fits(self.ground.layout.at(at[0] as f32, at[1] as f32).0)).then_some(at)
        })
    }

    fn put(&mut self, kind: ObjectKind, at: [f64; 2], dice: &mut Dice) -> &mut Object {
        let heading = dice.between(0.0, std::f64::consts::TAU);
        let object = Object::new(kind, at, heading, &self.plan.weather, dice);
        let room = match kind.class() {
            ObjectClass::Vehicle => 3.5,
            ObjectClass::Animal => 2.5,
            ObjectClass::Person => 2.0,
            _ => 1.0,
        };
        self.taken.push((at, room));
        self.objects.push(object);
        let last = self.objects.len() - 1;
        &mut self.objects[last]
    }

    fn cover(&mut self, at: [f64; 2], cover: Cover, dice: &mut Dice) {
        match cover {
            Cover::Open | Cover::Hollow => {}
            Cover::Weeds => {
                for _ in 0..3 {
                    let off = |d: &mut Dice| d.between(-0.5, 0.5);
                    self.weeds.push(([at[0] + off(dice), at[1] + off(dice)], dice.between(0.6, 0.9)));
                }
            }
            Cover::Crown => {
                let (r, a) = (dice.between(0.3, 1.4), dice.between(0.0, std::f64::consts::TAU));
                let (sin, cos) = a.sin_cos();
                // Beside the trunk, below the crown.
                let tree = [at[0] + r * sin, at[1] + r * cos];
                self.trees.push((tree, dice.between(0.95, 1.2)));
                self.taken.push((tree, 1.0));
            }
        }
    }

    fn named(&mut self, named: &ObjectPlan, dice: &mut Dice) {
        if named.kind == ObjectKind::Tree {
            self.trees.push((named.at, 1.0));
            self.taken.push((named.at, 1.5));
            return;
        }
        let object = self.put(named.kind, named.at, dice);
        object.heading = named.heading_deg.to_radians();
        object.cover = named.cover;
        if named.kind == ObjectKind::Stone {
            object.size = named.size_m.unwrap_or(0.6) as f32;
        } else {
            object.size = 1.0;
        }
        if let Some(over) = named.warmer_k {
            object.over = over as f32;
        }
        self.cover(named.at, named.cover, dice);
    }

    fn people(&mut self, seed: u64, chosen: &[([f64; 2], ObjectKind, Cover)]) {
        let mut dice = Dice::new(seed, PEOPLE + 100);
        for (at, kind, cover) in chosen {
            self.put(*kind, *at, &mut dice).cover = *cover;
            self.cover(*at, *cover, &mut dice);
        }
    }

    fn rest(&mut self, seed: u64) {
        let scene = &self.plan.scene;
        let hectares = scene.side_m * scene.side_m / 10_000.0;
        let dry = |s: Soil| s != Soil::Water;
        let field = |s: Soil| !matches!(s, Soil::Water | Soil::Road);
        let mut dice = Dice::new(seed, VEHICLES);
        for i in 0..scene.vehicles {
            let road = |s: Soil| if scene.road { s == Soil::Road } else { field(s) };
            let Some(at) = self.free(&mut dice, 3.0, road).or_else(|| self.free(&mut dice, 3.0, field))
            else {
                continue;
            };
            let kind = if i % 2 == 0 { ObjectKind::CarWarm } else { ObjectKind::CarCold };
            self.put(kind, at, &mut dice);
        }
        let mut dice = Dice::new(seed, ANIMALS);
        let mut herd: Option<[f64; 2]> = None;
        for _ in 0..scene.animals {
            let kind = [ObjectKind::CowStanding, ObjectKind::CowLying, ObjectKind::Deer, ObjectKind::Dog]
                [dice.below(4)];
            let cow = matches!(kind, ObjectKind::CowStanding | ObjectKind::CowLying);
            let at = match herd {
                Some([e, n]) if cow => Some([e + dice.between(-12.0, 12.0), n + dice.between(-12.0, 12.0)])
                    .filter(|at: &[f64; 2]| at.iter().all(|c| c.abs() < scene.side_m * 0.47)),
                _ => None,
            };
            let Some(at) = at.or_else(|| self.free(&mut dice, 2.5, field)) else { continue };
            if cow {
                herd = Some(at);
            }
            self.put(kind, at, &mut dice);
        }
        let mut dice = Dice::new(seed, SIGNS);
        for _ in 0..scene.signs {
            let beside = |s: Soil| s == Soil::Verge;
            let at = self.free(&mut dice, 1.5, beside).or_else(|| self.free(&mut dice, 1.5, dry));
            let Some(at) = at else { continue };
            self.put(ObjectKind::Sign, at, &mut dice);
        }
        let mut dice = Dice::new(seed, STONES);
        for _ in 0..dice.about(scene.stones_per_ha * hectares) {
            let Some(at) = self.free(&mut dice, 0.6, dry) else { continue };
            self.put(ObjectKind::Stone, at, &mut dice);
        }
        let mut dice = Dice::new(seed, TREES);
        let mut left = dice.about(scene.trees_per_ha * hectares);
        while left > 0 {
            let Some(middle) = self.free(&mut dice, 1.0, field) else { break };
            let (row, turn) = (dice.chance(0.3), dice.between(0.0, std::f64::consts::PI).sin_cos());
            let some = 1 + dice.below(7);
            for i in 0..some.min(left) {
                let along = (i as f64 - some as f64 / 2.0) * 4.5;
                let off = if row {
                    [along * turn.0 + dice.between(-0.6, 0.6), along * turn.1 + dice.between(-0.6, 0.6)]
                } else {
                    [dice.normal() * 6.0, dice.normal() * 6.0]
                };
                let at = [middle[0] + off[0], middle[1] + off[1]];
                // Nobody is hidden by chance whom the plan put into the open.
                let hides = self.objects.iter().any(|o| {
                    o.kind.class() == ObjectClass::Person && (o.at[0] - at[0]).hypot(o.at[1] - at[1]) < 4.5
                });
                if !hides && field(self.ground.layout.at(at[0] as f32, at[1] as f32).0) {
                    self.trees.push((at, dice.between(0.6, 1.25)));
                }
            }
            left -= some.min(left);
        }
        let mut dice = Dice::new(seed, WEEDS);
        for _ in 0..dice.about(12.0 * hectares) {
            let wild = |s: Soil| matches!(s, Soil::Verge | Soil::Meadow);
            let Some(at) = self.free(&mut dice, 1.2, wild) else { continue };
            self.weeds.push((at, dice.between(0.4, 1.0)));
        }
    }

    fn foliage(&self, seed: u64, air: f32) -> Vec<Foliage> {
        let mut dice = Dice::new(seed, TREES + 100);
        let layers = self.plan.scene.leaf_layers;
        let texture = dice.draw() as u32;
        let mut leaves = 0;
        let mut out = Vec::new();
        let all = self.trees.iter().map(|t| (t, true)).chain(self.weeds.iter().map(|w| (w, false)));
        for ((at, size), tree) in all {
            let base = self.ground.height(at[0], at[1]);
            let (crown, up, leaf) = if tree {
                ([3.0 * size, 3.0 * size, 2.3 * size], 2.0 + 2.5 * size, [0.12, 0.25])
            } else {
                ([0.8 * size, 0.8 * size, 0.38 * size], 0.3 * size, [0.05, 0.1])
            };
            let mean = (leaf[0] + leaf[1]) / 2.0;
            // So many that they would lie `layers` deep, if they lay side by side.
            let n =
                ((if tree { layers } else { layers * 0.6 }) * crown[0] * crown[1] / (mean * mean)) as usize;
            leaves += n;
            if leaves > MOST_LEAVES {
                break;
            }
            let list = (0..n).map(|_| {
                // Even in the ball, thinner in the middle as crowns are.
                let v: [f64; 3] = std::array::from_fn(|_| dice.normal());
                let length = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt().max(1e-9);
                let r = dice.unit().powf(0.25);
                let p: [f64; 3] = std::array::from_fn(|i| v[i] / length * r * crown[i]);
                // What looks at the sky is colder.
                let twigs = smooth(texture, (at[0] + p[0]) as f32 / 0.8, (at[1] + p[1]) as f32 / 0.8);
                let k =
                    air - 0.5 - 0.5 * (p[2] / crown[2]) as f32 + 0.45 * twigs + 0.12 * dice.normal() as f32;
                ([p[0] as f32, p[1] as f32, p[2] as f32, dice.between(leaf[0], leaf[1]) as f32], k)
            });
            let leaves = list.collect();
            let centre = [at[0], at[1], base + up];
            let trunk = tree.then(|| Part {
                form: super::shape::Form::Ball,
                at: [0.0, 0.0, -(up as f32) / 2.0],
                axes: [[0.16, 0.0, 0.0], [0.0, 0.16, 0.0], [0.0, 0.0, up as f32 / 2.0 + 0.3]],
                kelvin: air + 0.8,
            });
            let radius = (crown[0] + 0.4).hypot(crown[2]) as f32;
            out.push(Foliage { centre, radius: radius.max(up as f32 + 0.5), leaves, trunk });
        }
        out
    }
}

/// Whom the dice put where: before there is ground, since some lie in hollows.
fn choose_people(plan: &FlightPlan) -> Vec<([f64; 2], ObjectKind, Cover)> {
    let mut dice = Dice::new(plan.seed, PEOPLE);
    let layout = Layout::new(&plan.scene, plan.seed);
    let half = plan.path.side_m.unwrap_or(plan.scene.side_m).min(plan.scene.side_m) * 0.42;
    let mut chosen: Vec<([f64; 2], ObjectKind, Cover)> = Vec::new();
    for _ in 0..plan.scene.people {
        let kind = match dice.unit() {
            u if u < 0.45 => ObjectKind::PersonLying,
            u if u < 0.6 => ObjectKind::PersonSitting,
            u if u < 0.8 => ObjectKind::PersonStanding,
            _ => ObjectKind::PersonWalking,
        };
        let low = matches!(kind, ObjectKind::PersonLying | ObjectKind::PersonSitting);
        let cover = match dice.unit() {
            _ if !low => Cover::Open,
            u if u < 0.35 => Cover::Open,
            u if u < 0.6 => Cover::Weeds,
            u if u < 0.8 => Cover::Hollow,
            _ => Cover::Crown,
        };
        let place = (0..60).find_map(|_| {
            let at = [dice.between(-half, half), dice.between(-half, half)];
            let alone = chosen.iter().all(|(o, ..)| (o[0] - at[0]).hypot(o[1] - at[1]) > 4.0);
            (alone && layout.at(at[0] as f32, at[1] as f32).0 != Soil::Water).then_some(at)
        });
        chosen.extend(place.map(|at| (at, kind, cover)));
    }
    chosen
}

/// Ground with the heights of elevation tiles.
fn surveyed(
    plan: &FlightPlan,
    folder: &std::path::Path,
    middle: Geodetic,
    hollows: &[[f32; 2]],
) -> Result<(Geodetic, Ground)> {
    let terrain = Terrain::open(&[folder.to_owned()], Loading::Now, DEFAULT_CACHE_BYTES)?;
    let geoid = Geoid::egm96();
    let height = |at: LatLon| {
        terrain.height(&geoid, at).map_err(|why| {
            wrong(
                "scene.origin",
                &format!("where the tiles have heights, not at {}, {} ({why:?})", at.lat(), at.lon()),
            )
        })
    };
    let middle = Geodetic { at: middle.at, height: height(middle.at)? };
    let frame = LocalFrame::new(middle);
    let up = |east: f64, north: f64| -> Result<f64> {
        let off = || crate::base::Error::internal("the scene reaches off the Earth");
        let at = frame.geodetic([east, north, 0.0]).ok_or_else(off)?.at;
        Ok(frame.enu(&Geodetic { at, height: height(at)? })[2])
    };
    let ground = Ground::new(&plan.scene, &plan.weather, plan.seed, hollows, Some(&up))?;
    Ok((middle, ground))
}

impl Scene {
    pub(super) fn new(plan: &FlightPlan) -> Result<Self> {
        plan.check()?;
        let middle = plan.scene.middle()?;
        let people = choose_people(plan);
        let named = plan.scene.objects.iter().filter(|o| o.cover == Cover::Hollow).map(|o| o.at);
        let hollows: Vec<_> = people
            .iter()
            .filter(|p| p.2 == Cover::Hollow)
            .map(|p| p.0)
            .chain(named)
            .map(|at| at.map(|c| c as f32))
            .collect();
        let (middle, ground) = match &plan.scene.terrain {
            None => (middle, Ground::new(&plan.scene, &plan.weather, plan.seed, &hollows, None)?),
            Some(folder) => surveyed(plan, folder, middle, &hollows)?,
        };
        let (air, sky) = (air(&plan.weather), sky(&plan.weather));
        let mut builder = Builder {
            plan,
            ground: &ground,
            taken: Vec::new(),
            objects: Vec::new(),
            trees: Vec::new(),
            weeds: Vec::new(),
        };
        let mut dice = Dice::new(plan.seed, PEOPLE + 50);
        for object in &plan.scene.objects {
            builder.named(object, &mut dice);
        }
        builder.people(plan.seed, &people);
        builder.rest(plan.seed);
        let foliage = builder.foliage(plan.seed, air);
        let objects = builder.objects;
        Ok(Self { ground, objects, foliage, frame: LocalFrame::new(middle), air, sky })
    }

    /// A point given in metres east, north, up of the middle.
    pub(super) fn geodetic(&self, enu: [f64; 3]) -> Result<Geodetic> {
        self.frame
            .geodetic(enu)
            .ok_or_else(|| crate::base::Error::internal(format!("no place on Earth is at {enu:?}")))
    }
}
