//! Following one line of sight until it meets the ground.

use std::sync::Arc;

use super::earth::{LocalFrame, SEMI_MAJOR_M};
use super::geoid::Patch;
use super::locate::NoGround;
use super::terrain::{ElevationGrid, NoHeight, Terrain, VerticalDatum};

/// A stretch of a ray over which its course in a grid is a parabola to a centimetre.
const PIECE_M: f64 = 2_000.0;
/// The same where models of several finenesses lie over each other: how late a finer one is noticed.
const PIECE_OF_MANY_M: f64 = 150.0;
/// The ground between two steps is taken to be no steeper than this (56 degrees). A cliff that is,
/// is found by the shortest step, a quarter of a post.
const SLOPE: f64 = 1.5;
/// The shortest step as a share of the way so far: half of what a pixel of a usual camera spans.
const SHORTEST: f64 = 1.0 / 2_000.0;

/// What the rays of one frame may meet.
pub(super) struct Scene<'a> {
    /// Around the camera.
    pub frame: LocalFrame,
    /// The elevation models, if there are any.
    pub terrain: Option<&'a Terrain>,
    /// The grid below the camera, which most rays end in.
    pub below: Option<Arc<ElevationGrid>>,
    /// Flat ground in metres above the ellipsoid: without terrain, and where terrain has a hole.
    pub flat: Option<f64>,
    /// The geoid around the camera.
    pub geoid: Patch,
    /// No ray is followed further.
    pub max_range_m: f64,
}

/// Where a ray met the ground.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// East, north, up of the frame.
    pub enu: [f64; 3],
    /// Metres along the ray.
    pub range_m: f64,
    /// On flat ground.
    pub flat: bool,
}

pub(super) fn along(start: [f64; 3], dir: [f64; 3], t: f64) -> [f64; 3] {
    std::array::from_fn(|i| start[i] + dir[i] * t)
}

impl Scene<'_> {
    /// Follows a ray from `start` (east, north, up of the frame) along the unit vector `dir`. The
    /// ground lies `lift_m` higher than it is known to.
    pub(super) fn cast(&self, start: [f64; 3], dir: [f64; 3], lift_m: f64) -> Result<Hit, NoGround> {
        let met = match self.terrain {
            Some(terrain) => self.march(terrain, start, dir, lift_m, self.max_range_m),
            None => Err(NoGround::NoHeight(NoHeight::NoTile)),
        };
        match (met, self.flat) {
            (Err(NoGround::NoHeight(NoHeight::NoTile | NoHeight::Void)), Some(flat)) => {
                self.level(start, dir, flat + lift_m)
            }
            (met, _) => met,
        }
    }

    /// Whether the ground stands between two points; `None` where it is not known.
    pub(super) fn hidden(&self, start: [f64; 3], target: [f64; 3]) -> Option<bool> {
        let way: [f64; 3] = std::array::from_fn(|i| target[i] - start[i]);
        let range = way.iter().map(|c| c * c).sum::<f64>().sqrt();
        let Some(terrain) = self.terrain else { return Some(false) };
        // The target stands on ground that is known to a few metres only.
        let enough = range - (0.01 * range).max(5.0);
        if enough <= 0.0 {
            return Some(false);
        }
        match self.march(terrain, start, way.map(|c| c / range), 0.0, enough) {
            Ok(_) => Some(true),
            Err(NoGround::BeyondRange) => Some(false),
            Err(NoGround::NoHeight(_)) if self.flat.is_some() => Some(false),
            Err(_) => None,
        }
    }

    /// A surface of one height above the ellipsoid.
    fn level(&self, start: [f64; 3], dir: [f64; 3], height: f64) -> Result<Hit, NoGround> {
        let above = |t: f64| -> Result<f64, NoGround> {
            let place = self.frame.geodetic(along(start, dir, t)).ok_or(NoGround::BeyondRange)?;
            Ok(place.height.0 - height)
        };
        let clearance = above(0.0)?;
        if clearance <= 0.0 {
            return Err(NoGround::CameraBelowGround);
        }
        // Up along the ray: clearance + t dir_up + t² (1 - dir_up²) / 2R, R to half a percent; Newton
        // puts that right.
        let (b, bend) = (dir[2], (1.0 - dir[2] * dir[2]) / (2.0 * SEMI_MAJOR_M));
        let root = b * b - 4.0 * bend * clearance;
        if b >= 0.0 || root <= 0.0 {
            return Err(NoGround::AboveHorizon);
        }
        let mut t = 2.0 * clearance / (-b + root.sqrt());
        for _ in 0..3 {
            let miss = above(t)?;
            t -= miss / (b + 2.0 * bend * t);
            if miss.abs() < 1e-4 {
                break;
            }
        }
        if t.is_nan() || t > self.max_range_m {
            return Err(NoGround::BeyondRange);
        }
        Ok(Hit { enu: along(start, dir, t), range_m: t, flat: true })
    }

    /// The grid that covers a place, without a search where it can only be the one below the camera.
    fn grid_at(&self, terrain: &Terrain, lat: f64, lon: f64) -> Result<Arc<ElevationGrid>, NoHeight> {
        match &self.below {
            Some(below) if !terrain.is_mixed() && below.contains(below.placement.locate(lat, lon)) => {
                Ok(below.clone())
            }
            _ => terrain.grid_at(lat, lon),
        }
    }

    fn march(
        &self,
        terrain: &Terrain,
        start: [f64; 3],
        dir: [f64; 3],
        lift_m: f64,
        max_range_m: f64,
    ) -> Result<Hit, NoGround> {
        let closing = (-dir[2]).max(0.0) + SLOPE * dir[0].hypot(dir[1]) + 1e-9;
        let piece_m = if terrain.is_mixed() { PIECE_OF_MANY_M } else { PIECE_M };
        let mut t = 0.0;
        // The last place above ground, with its clearance.
        let mut above: Option<(f64, f64)> = None;
        while t < max_range_m {
            let here = self.frame.geodetic(along(start, dir, t)).ok_or(NoGround::BeyondRange)?;
            let grid = self.grid_at(terrain, here.at.lat().degrees(), here.at.lon().degrees())?;
            let end = (t + piece_m).min(max_range_m);
            let piece = Piece::new(self, start, dir, [t, end], &grid)?;
            let shortest = grid.spacing_m() / 4.0;
            let begin = t;
            loop {
                let (cell, height) = piece.at(t);
                // Another grid takes over. The one asked at the piece's beginning covers that.
                if t > begin && !grid.covers(cell) {
                    break;
                }
                let clearance = height - grid.height_m(cell) - lift_m;
                if clearance.is_nan() {
                    return Err(NoGround::NoHeight(NoHeight::Void));
                }
                if clearance <= 0.0 {
                    let Some((before, so_far)) = above else { return Err(NoGround::CameraBelowGround) };
                    // A piece that begins below ground ends a step of the one before.
                    let piece = if before < begin {
                        Piece::new(self, start, dir, [before, end], &grid)?
                    } else {
                        piece
                    };
                    let of = |t: f64| {
                        let (cell, height) = piece.at(t);
                        height - grid.height_m(cell) - lift_m
                    };
                    let t = crossing(of, (before, so_far), (t, clearance));
                    return Ok(Hit { enu: along(start, dir, t), range_m: t, flat: false });
                }
                above = Some((t, clearance));
                if t >= end {
                    break;
                }
                let step = (clearance / closing).max(shortest).max(t * SHORTEST);
                t = (t + step).min(end);
            }
        }
        Err(NoGround::BeyondRange)
    }
}

/// Where a function that is positive at `a` and not at `b` crosses zero, to a millimetre: false
/// position that halves the side that stays (Illinois), which bilinear ground cannot trap.
fn crossing(of: impl Fn(f64) -> f64, mut a: (f64, f64), mut b: (f64, f64)) -> f64 {
    for _ in 0..60 {
        if b.0 - a.0 < 1e-3 {
            break;
        }
        let t = (a.0 * b.1 - b.0 * a.1) / (b.1 - a.1);
        let value = of(t);
        if value.abs() < 1e-4 {
            return t;
        }
        // Not a number over a void: nearer to the side that is known.
        if value > 0.0 || value.is_nan() {
            a = (t, if value.is_nan() { a.1 } else { value });
            b.1 /= 2.0;
        } else {
            b = (t, value);
            a.1 /= 2.0;
        }
    }
    (a.0 + b.0) / 2.0
}

/// A stretch of a ray in the columns and rows of a grid, with its height over the grid's datum: three
/// exact points and the parabola through them.
struct Piece {
    begin: f64,
    half: f64,
    /// Per coordinate: at the middle, half the difference of the ends, half the second difference.
    terms: [[f64; 3]; 3],
}

impl Piece {
    fn new(
        scene: &Scene<'_>,
        start: [f64; 3],
        dir: [f64; 3],
        [begin, end]: [f64; 2],
        grid: &ElevationGrid,
    ) -> Result<Self, NoGround> {
        let exact = |t: f64| -> Result<[f64; 3], NoGround> {
            let place = scene.frame.geodetic(along(start, dir, t)).ok_or(NoGround::BeyondRange)?;
            let (lat, lon) = (place.at.lat().degrees(), place.at.lon().degrees());
            let [col, row] = grid.placement.locate(lat, lon);
            let height = match grid.vertical {
                VerticalDatum::Ellipsoid => place.height.0,
                VerticalDatum::SeaLevel => place.height.0 - scene.geoid.undulation_m(lat, lon),
            };
            Ok([col, row, height])
        };
        let half = (end - begin) / 2.0;
        let (a, m, b) = (exact(begin)?, exact(begin + half)?, exact(end)?);
        let terms = std::array::from_fn(|i| [m[i], (b[i] - a[i]) / 2.0, (b[i] + a[i]) / 2.0 - m[i]]);
        Ok(Self { begin, half, terms })
    }

    /// Column and row, and the height.
    fn at(&self, t: f64) -> ([f64; 2], f64) {
        let s = (t - self.begin) / self.half - 1.0;
        let [col, row, height] = self.terms.map(|[c, b, a]| c + s * (b + s * a));
        ([col, row], height)
    }
}
