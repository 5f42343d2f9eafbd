//! The ground: its height, and how warm each patch of it looks.

use crate::base::Result;

use super::plan::{ScenePlan, Weather, wrong};
use super::random::{Dice, rough, smooth};

/// Metres between two heights, and the most heights along a side.
const HEIGHT_STEP: f32 = 1.0;
const MOST_HEIGHTS: f32 = 1500.0;
/// Metres between two temperatures, and the most of them along a side.
const WARMTH_STEP: f32 = 0.25;
const MOST_WARMTHS: f32 = 4000.0;
/// How far the ground is made beyond the scene, as a part of its side.
const MARGIN: f32 = 0.25;
/// The tile of fine texture: so many cells of so many metres along a side.
const TILE: usize = 256;
const TILE_STEP: f32 = 0.11;
/// Radius of the Earth in metres, for how far level ground falls below the plane that touches it.
const EARTH_M: f64 = 6_371_000.0;
/// Streams of the seed.
const LAYOUT: u64 = 10;
const HOLLOWS: u64 = 11;

/// Numbers on a square lattice around the middle.
#[derive(Debug)]
struct Lattice {
    n: usize,
    half: f32,
    per_metre: f32,
    cells: Vec<f32>,
}

impl Lattice {
    fn new(side: f32, step: f32, most: f32, mut value: impl FnMut(f32, f32) -> Result<f32>) -> Result<Self> {
        let step = step.max(side / most);
        let n = (side / step).ceil() as usize + 1;
        let half = side / 2.0;
        let step = side / (n - 1) as f32;
        let mut cells = Vec::with_capacity(n * n);
        for j in 0..n {
            for i in 0..n {
                cells.push(value(i as f32 * step - half, j as f32 * step - half)?);
            }
        }
        Ok(Self { n, half, per_metre: 1.0 / step, cells })
    }

    /// Takes the steps from edges.
    fn soften(&mut self) {
        let n = self.n;
        for along in [1, n] {
            let was = self.cells.clone();
            for (i, cell) in self.cells.iter_mut().enumerate() {
                let place = i / along % n;
                if place > 0 && place + 1 < n {
                    *cell = (was[i - along] + 2.0 * was[i] + was[i + along]) / 4.0;
                }
            }
        }
    }

    /// Between the four nearest; beyond the edge as in a mirror.
    fn at(&self, east: f32, north: f32) -> f32 {
        let side = 2.0 * self.half;
        let fold = |x: f32| {
            let x = x + self.half;
            let x = if (0.0..=side).contains(&x) {
                x
            } else {
                let x = x.rem_euclid(2.0 * side);
                if x > side { 2.0 * side - x } else { x }
            };
            let x = x * self.per_metre;
            let i = (x as usize).min(self.n - 2);
            (i, x - i as f32)
        };
        let ((i, u), (j, v)) = (fold(east), fold(north));
        let at = j * self.n + i;
        let c = &self.cells;
        let (low, high) =
            (c[at] + (c[at + 1] - c[at]) * u, c[at + self.n] + (c[at + self.n + 1] - c[at + self.n]) * u);
        low + (high - low) * v
    }
}

/// What grows or lies on a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Soil {
    Meadow,
    Mown,
    Ploughed,
    Stubble,
    Road,
    Water,
    Verge,
}

impl Soil {
    /// Kelvin over the air on a clear evening without sun, what a kelvin of stored sun adds,
    /// emissivity (FLIR's table for 8 to 14 µm), and how uneven it is at some metres and at some
    /// decimetres.
    fn look(self) -> (f32, f32, f32, f32, f32) {
        match self {
            Self::Meadow => (-1.4, 0.02, 0.98, 0.55, 0.32),
            Self::Mown => (-1.9, 0.02, 0.98, 0.40, 0.12),
            Self::Ploughed => (0.2, 0.16, 0.95, 0.45, 0.22),
            Self::Stubble => (-0.7, 0.06, 0.96, 0.50, 0.28),
            Self::Road => (0.9, 0.36, 0.94, 0.25, 0.06),
            Self::Water => (3.2, 0.12, 0.96, 0.20, 0.03),
            Self::Verge => (-0.9, 0.03, 0.97, 0.60, 0.40),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    low: [f32; 2],
    high: [f32; 2],
    soil: Soil,
}

/// Where fields, road and pond lie.
#[derive(Debug)]
pub(super) struct Layout {
    seed: u32,
    turn: (f32, f32),
    fields: Vec<Field>,
    road: Option<f32>,
    pond: Option<([f32; 2], f32)>,
}

impl Layout {
    pub(super) fn new(plan: &ScenePlan, seed: u64) -> Self {
        let mut dice = Dice::new(seed, LAYOUT);
        let side = plan.side_m as f32;
        let turn = dice.between(0.0, std::f64::consts::PI).sin_cos();
        let reach = side * (0.5 + MARGIN) * 1.45;
        let mut open = vec![([-reach; 2], [reach; 2])];
        let mut fields = Vec::new();
        while let Some((low, high)) = open.pop() {
            let size = [high[0] - low[0], high[1] - low[1]];
            let along = usize::from(size[1] > size[0]);
            if size[along] < 45.0 || (size[along] < 110.0 && dice.chance(0.35)) {
                let soil =
                    [Soil::Meadow, Soil::Mown, Soil::Ploughed, Soil::Stubble, Soil::Meadow][dice.below(5)];
                fields.push(Field { low, high, soil });
                continue;
            }
            let cut = low[along] + size[along] * dice.between32(0.35, 0.65);
            let (mut near, mut far) = (high, low);
            near[along] = cut;
            far[along] = cut;
            open.push((low, near));
            open.push((far, high));
        }
        let road = plan.road.then(|| dice.between32(-0.25, 0.25) * side);
        let pond = plan.water.then(|| {
            (
                [dice.between32(-0.35, 0.35) * side, dice.between32(-0.35, 0.35) * side],
                dice.between32(6.0, 14.0),
            )
        });
        Self { seed: dice.draw() as u32, turn: (turn.0 as f32, turn.1 as f32), fields, road, pond }
    }

    /// The patch at a place, and metres across the field's rows.
    pub(super) fn at(&self, east: f32, north: f32) -> (Soil, f32) {
        if let Some((at, radius)) = self.pond {
            let d = (east - at[0]).hypot(north - at[1]);
            if d < radius * 1.6
                && d < radius * (1.0 + 0.35 * smooth(self.seed ^ 3, east * 0.12, north * 0.12))
            {
                return (Soil::Water, 0.0);
            }
        }
        // Nothing that grows has a straight edge.
        let wobble = smooth(self.seed ^ 1, east * 0.15, north * 0.15);
        let (sin, cos) = self.turn;
        let (along, across) = (east * cos + north * sin, north * cos - east * sin);
        if let Some(road) = self.road {
            let from = (across - road - 6.0 * smooth(self.seed ^ 2, along * 0.008, 0.5)).abs();
            if from < 2.6 {
                return (Soil::Road, from);
            }
            if from < 4.2 + wobble {
                return (Soil::Verge, from);
            }
        }
        let bent = [along + wobble, across - wobble];
        for f in &self.fields {
            let inside = |i: usize| (f.low[i]..f.high[i]).contains(&bent[i]);
            if inside(0) && inside(1) {
                let edge = (0..2).fold(f32::MAX, |e, i| e.min(bent[i] - f.low[i]).min(f.high[i] - bent[i]));
                return (if edge < 1.2 { Soil::Verge } else { f.soil }, across);
            }
        }
        (Soil::Meadow, across)
    }
}

/// Height and warmth of every place.
#[derive(Debug)]
pub(super) struct Ground {
    heights: Lattice,
    warmth: Lattice,
    tile: Vec<f32>,
    /// Lowest and highest ground in metres.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) layout: Layout,
}

/// Kelvin, as a camera that believes in emissivity 1 sees a surface below this sky.
pub(super) fn apparent(kelvin: f32, emissivity: f32, sky: f32) -> f32 {
    emissivity * kelvin + (1.0 - emissivity) * sky
}

/// What the sky looks like from below, in kelvin.
pub(super) fn sky(weather: &Weather) -> f32 {
    air(weather) - if weather.rain_mm_h > 0.0 { 3.0 } else { 25.0 }
}

/// The air in kelvin.
pub(super) fn air(weather: &Weather) -> f32 {
    weather.air_c as f32 + 273.15
}

impl Ground {
    /// `surveyed` gives metres above the tangent plane at metres east and north, where the plan
    /// asks for a real landscape. `hollows` are dug besides.
    pub(super) fn new(
        plan: &ScenePlan,
        weather: &Weather,
        seed: u64,
        hollows: &[[f32; 2]],
        surveyed: Option<&dyn Fn(f64, f64) -> Result<f64>>,
    ) -> Result<Self> {
        // What is in view from the edge is ground, too.
        let whole = plan.side_m as f32 * (1.0 + 2.0 * MARGIN);
        let side = plan.side_m as f32;
        let mut dice = Dice::new(seed, HOLLOWS);
        let hills_seed = dice.draw() as u32;
        let mut dents: Vec<([f32; 2], f32, f32)> =
            hollows.iter().map(|at| (*at, dice.between32(1.3, 2.0), dice.between32(0.5, 0.9))).collect();
        for _ in 0..dice.about(plan.hollows_per_ha * plan.side_m * plan.side_m / 10_000.0) {
            let at = [dice.between32(-0.5, 0.5) * side, dice.between32(-0.5, 0.5) * side];
            dents.push((at, dice.between32(1.2, 3.5), dice.between32(0.3, 1.0)));
        }
        // Which dents reach a cell is asked a million times: they are kept by the squares of a raster.
        const SQUARE: f32 = 16.0;
        let square = |at: [f32; 2]| at.map(|x| (x / SQUARE).floor() as i32);
        let mut near: std::collections::HashMap<[i32; 2], Vec<usize>> = Default::default();
        for (i, (at, ..)) in dents.iter().enumerate() {
            let [x, y] = square(*at);
            for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx, dy))) {
                near.entry([x + dx, y + dy]).or_default().push(i);
            }
        }
        let dent = |east: f32, north: f32| -> f32 {
            near.get(&square([east, north])).into_iter().flatten().map(|i| &dents[*i]).fold(0.0, |sum, d| {
                let (at, radius, depth) = *d;
                let r = ((east - at[0]).powi(2) + (north - at[1]).powi(2)) / (radius * radius);
                sum + if r < 9.0 { depth * (-r).exp() } else { 0.0 }
            })
        };
        let hill = |east: f32, north: f32| {
            plan.hills_m as f32 * 0.4 * rough(hills_seed, east / 170.0 + 0.3, north / 170.0 + 0.7, 3)
        };
        let middle = hill(0.0, 0.0);
        let heights = Lattice::new(whole, HEIGHT_STEP, MOST_HEIGHTS, |east, north| {
            let (e, n) = (f64::from(east), f64::from(north));
            let base = match surveyed {
                Some(height) => height(e, n)? as f32,
                None => hill(east, north) - middle - ((e * e + n * n) / (2.0 * EARTH_M)) as f32,
            };
            Ok(base - dent(east, north))
        })?;
        let (low, high) = heights
            .cells
            .iter()
            .fold((f64::MAX, f64::MIN), |(l, h), c| (l.min(f64::from(*c)), h.max(f64::from(*c))));
        if !(high - low).is_finite() || high - low > 4000.0 {
            return Err(wrong("scene.terrain", "ground that a drone can follow"));
        }
        let layout = Layout::new(plan, seed);
        let (air, sky) = (air(weather), sky(weather));
        // Rain levels everything towards the temperature of the water that falls.
        let dry = 1.0 / (1.0 + weather.rain_mm_h as f32 / 5.0);
        let texture = layout.seed;
        let mut warmth = Lattice::new(whole, WARMTH_STEP, MOST_WARMTHS, |east, north| {
            let (soil, across) = layout.at(east, north);
            let (over, sun, emissivity, coarse, fine) = soil.look();
            let mut k = over + sun * weather.sun_k as f32;
            k += coarse * rough(texture ^ 11, east / 9.0, north / 9.0, 3);
            k += fine * rough(texture ^ 12, east / 0.9, north / 0.9, 2);
            k += match soil {
                Soil::Ploughed => 0.3 * (across * 6.5).sin(),
                Soil::Stubble => 0.22 * (across * 3.6).sin(),
                // Where wheels run.
                Soil::Road => 0.5 * (-((across - 1.1) * 2.0).powi(2)).exp(),
                _ => 0.0,
            };
            // Water runs warm over the year; rain does not change a pond soon.
            let dry = if soil == Soil::Water { 1.0 } else { dry };
            // The bottom of a hollow collects cold air.
            k -= 0.5 * dent(east, north);
            Ok(apparent(air + k * dry, emissivity, sky))
        })?;
        warmth.soften();
        let tile = (0..TILE * TILE)
            .map(|i| {
                let (x, y) = ((i % TILE) as f32, (i / TILE) as f32);
                // Four copies with sliding weights: the tile has no seam.
                let (u, v) = (x / TILE as f32, y / TILE as f32);
                let at = |dx: f32, dy: f32| rough(texture ^ 13, (x + dx) * 0.31, (y + dy) * 0.31, 2);
                let t = TILE as f32;
                let even = (u * u + (1.0 - u).powi(2)).sqrt() * (v * v + (1.0 - v).powi(2)).sqrt();
                dry * 0.22
                    * ((at(0.0, 0.0) * (1.0 - u) + at(-t, 0.0) * u) * (1.0 - v)
                        + (at(0.0, -t) * (1.0 - u) + at(-t, -t) * u) * v)
                    / even
            })
            .collect();
        Ok(Self { heights, warmth, tile, low, high, layout })
    }

    /// Metres above the tangent plane.
    pub(super) fn height(&self, east: f64, north: f64) -> f64 {
        f64::from(self.heights.at(east as f32, north as f32))
    }

    /// How warm it looks from close by, in kelvin.
    pub(super) fn kelvin(&self, east: f32, north: f32) -> f32 {
        let cell = |x: f32| (x * (1.0 / TILE_STEP)).rem_euclid(TILE as f32);
        let (x, y) = (cell(east), cell(north));
        let (i, j) = (x as usize & (TILE - 1), y as usize & (TILE - 1));
        let (u, v) = (x - x.floor(), y - y.floor());
        let (i1, j1) = ((i + 1) & (TILE - 1), (j + 1) & (TILE - 1));
        let t = |i: usize, j: usize| self.tile[j * TILE + i];
        let (low, high) = (t(i, j) + (t(i1, j) - t(i, j)) * u, t(i, j1) + (t(i1, j1) - t(i, j1)) * u);
        self.warmth.at(east, north) + low + (high - low) * v
    }

    /// Where a line of sight from `eye` in `direction` (unit, east, north, up) meets the ground: metres
    /// along it. `None` for one that does not look down, and beyond `range`.
    pub(super) fn meet(&self, eye: [f64; 3], direction: [f64; 3], range: f64) -> Option<f64> {
        let down = -direction[2];
        if down < 0.02 {
            return None;
        }
        let above = |t: f64| {
            eye[2] + direction[2] * t - self.height(eye[0] + direction[0] * t, eye[1] + direction[1] * t)
        };
        let (mut near, far) = (((eye[2] - self.high) / down).max(0.0), (eye[2] - self.low) / down + 0.01);
        if near > range {
            return None;
        }
        if above(near) < 0.0 {
            return Some(near);
        }
        // A step is short against what can hide behind a crest.
        let step = ((far - near) / 400.0).max(1.5);
        let mut t = near;
        while t < far {
            t = (t + step).min(far);
            if above(t) < 0.0 {
                break;
            }
            near = t;
        }
        let (mut a, mut b) = (near, t);
        let (mut fa, mut fb) = (above(a), above(b));
        if fb > 0.0 {
            return Some(b);
        }
        // False position, with the kept end's weight halved (Illinois).
        for _ in 0..12 {
            let m = a + (b - a) * fa / (fa - fb);
            let fm = above(m);
            if fm.abs() < 1e-4 {
                return Some(m);
            }
            if fm > 0.0 {
                (a, fa, fb) = (m, fm, fb / 2.0);
            } else {
                (b, fb, fa) = (m, fm, fa / 2.0);
            }
        }
        Some((a + b) / 2.0).filter(|t| *t <= range)
    }
}
