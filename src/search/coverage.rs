//! Which ground was looked at, and with which probability something that lay there was detected.
//!
//! A grid of square cells on the mission's plane, kept in tiles that exist where something was seen. Each
//! cell knows the probability of the views that are over, and the best look of the view that is under way:
//! frames of one view are no independent chances. A look is one of a new view once the line of sight has
//! turned by the configured angle, or after half a minute. A tile is copied only when it changes after a
//! snapshot was taken, so a snapshot costs the frame path next to nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::area::Area;
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::{
    CoverageFeature, CoverageGeometry, CoverageMap, CoverageProperties, FeatureCollectionType, FeatureType,
    MultiPolygonType, PodClass, SearchTarget, Vegetation,
};
use crate::geo::{LatLon, TangentPlane};

/// Cells along a tile.
const SIDE: usize = 64;
/// Most tiles: 64 MiB.
const MAX_TILES: usize = 1024;
/// Cells that a mission's area is cut into at most; they are made larger for it.
const AREA_CELLS: f64 = 2.5e6;
/// Cells that one footprint may touch; the rest of a frame that sees to the horizon is too far to see
/// anybody.
const MAX_CELLS_A_LOOK: usize = 200_000;
/// Ground is not mapped beyond this distance from the camera, metres.
const MAX_REACH_M: f64 = 2_000.0;
/// Looks this far apart, in seconds, are two views.
const PASS_S: f64 = 30.0;
/// Corners of a footprint that are looked at.
const MAX_FOOTPRINT: usize = 64;
/// Corners of a map.
const MAX_VERTICES: usize = 6_000;
/// Cells that are traced.
const MAX_TRACED: usize = 65_536;
/// The unit of a cell's time, seconds.
const TICK_S: f64 = 4.0;
/// What is stored of a cell: thousandths of `-ln(1 - p)`.
const STORED: f32 = 1000.0;

/// How likely one view detects what is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PodModel {
    /// Metres of the target that a view has to resolve.
    pub(super) critical_m: f64,
    /// In the best of views.
    pub(super) best: f64,
    /// The share of targets that no view from above shows, whatever is done.
    pub(super) hidden: f64,
}

impl PodModel {
    /// Of a target in this vegetation.
    pub(super) fn of(target: SearchTarget, vegetation: Vegetation) -> Self {
        // Johnson's critical dimension: of a man 0.75 m, of a vehicle 2.3 m (STANAG 4347).
        let critical_m = if target == SearchTarget::Vehicle { 2.3 } else { 0.75 };
        // In the open as simulated nights have it: over forty of them, what this claims where people were is the
        // share of people that something was told at (`benches/flights.rs`). The others are assumed.
        let (best, hidden) = match vegetation {
            Vegetation::Open => (0.6, 0.02),
            Vegetation::Scrub => (0.4, 0.12),
            Vegetation::Forest => (0.17, 0.4),
        };
        Self { critical_m, best, hidden }
    }

    /// The probability of one view in which a pixel spans `gsd_m` on the ground; `contrast` is the share
    /// of it that weather and camera leave, 0 to 1.
    pub(super) fn view(&self, gsd_m: f64, contrast: f64) -> f64 {
        self.best * contrast.clamp(0.0, 1.0) * resolved(self.critical_m, gsd_m)
    }
}

/// The share of targets of this dimension that are detected where a pixel spans `gsd_m`: Johnson's criterion
/// with the target transfer probability function, `N50` = 1 cycle for detection (Ratches, "Static performance
/// model for thermal imaging systems", 1976; STANAG 4347).
pub(super) fn resolved(critical_m: f64, gsd_m: f64) -> f64 {
    if gsd_m.is_nan() || gsd_m <= 0.0 {
        return 0.0;
    }
    let cycles = (critical_m / (2.0 * gsd_m)).min(50.0);
    let power = cycles.powf(2.7 + 0.7 * cycles);
    if power.is_finite() { power / (1.0 + power) } else { 1.0 }
}

/// From where the ground is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewpoint {
    /// East and north of the camera on the plane.
    pub(super) camera: [f64; 2],
    /// Metres above the ground.
    pub(super) height_m: f64,
    /// Radians that one pixel spans.
    pub(super) pixel: f64,
    /// Seconds since the mission began.
    pub(super) seconds: f64,
    /// What weather and camera leave of the contrast.
    pub(super) contrast: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    /// `-ln(1 - p)` of all views that are over.
    done: f32,
    /// The same of the best look of this view.
    view: f32,
    /// The line of sight of this view, in 127ths.
    line: [i8; 3],
    seen: bool,
    /// Its last look.
    tick: u16,
}

#[derive(Clone, Debug)]
struct Tile {
    cells: Vec<Cell>,
    /// Bit i of row j: the cell's middle is in the area.
    inside: [u64; SIDE],
}

/// The grid of one mission. Cloning it is a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Coverage {
    plane: TangentPlane,
    cell_m: f64,
    model: PodModel,
    cos_view: f64,
    /// The area's corners on the plane, in cells.
    area: Option<Arc<Vec<[f64; 2]>>>,
    area_m2: Option<f64>,
    tiles: BTreeMap<(i32, i32), Arc<Tile>>,
    seen: u64,
    unmapped: u64,
}

impl Coverage {
    pub(super) fn new(
        plane: TangentPlane,
        area: Option<&Area>,
        cell_m: f64,
        view_deg: f64,
        model: PodModel,
    ) -> Self {
        let area_m2 = area.map(Area::square_metres);
        let cell_m = cell_m.max(area_m2.map_or(0.0, |m2| (m2 / AREA_CELLS).sqrt()));
        let corners = area.map(|area| {
            let cells = |c: &LatLon| plane.metres(*c).map(|m| m / cell_m);
            Arc::new(area.corners().iter().map(cells).collect::<Vec<_>>())
        });
        Self {
            plane,
            cell_m,
            model,
            cos_view: view_deg.to_radians().cos(),
            area: corners,
            area_m2,
            tiles: BTreeMap::new(),
            seen: 0,
            unmapped: 0,
        }
    }

    pub(super) fn area_m2(&self) -> Option<f64> {
        self.area_m2
    }

    /// All ground that was looked at, in the area or not, square metres.
    pub(super) fn looked_m2(&self) -> f64 {
        (self.seen + self.unmapped) as f64 * self.cell_m * self.cell_m
    }

    /// Ground that was seen and has no place in the map, square metres.
    pub(super) fn unmapped_m2(&self) -> f64 {
        self.unmapped as f64 * self.cell_m * self.cell_m
    }

    /// A frame looked at the ground within `footprint`, east and north of the plane's origin.
    pub(super) fn look(&mut self, footprint: &[[f64; 2]], from: &Viewpoint) {
        if !(from.height_m > 0.0 && from.height_m.is_finite() && from.pixel > 0.0 && from.pixel.is_finite()) {
            return;
        }
        let [ce, cn] = from.camera;
        // What sees to the horizon is cut off in the distance, corner by corner, towards the camera.
        let corners: Vec<[f64; 2]> = footprint
            .iter()
            .take(MAX_FOOTPRINT)
            .filter(|p| p[0].is_finite() && p[1].is_finite())
            .map(|p| {
                let (e, n) = (p[0] - ce, p[1] - cn);
                let part = (MAX_REACH_M / e.hypot(n)).min(1.0);
                [(ce + e * part) / self.cell_m, (cn + n * part) / self.cell_m]
            })
            .collect();
        if corners.len() < 3 {
            return;
        }
        let tick = (from.seconds / TICK_S).clamp(0.0, f64::from(u16::MAX)) as u16;
        let table = PodTable::new(&self.model, from);
        let rows = corners.iter().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p[1]), b.max(p[1])));
        let mut left = MAX_CELLS_A_LOOK;
        let mut cuts = Vec::with_capacity(8);
        for j in (rows.0 - 0.5).ceil() as i32..=(rows.1 - 0.5).floor() as i32 {
            row_cuts(&corners, f64::from(j) + 0.5, &mut cuts);
            for pair in cuts.chunks_exact(2) {
                let (from_i, to_i) = ((pair[0] - 0.5).ceil() as i32, (pair[1] - 0.5).floor() as i32);
                let n = usize::try_from(to_i - from_i + 1).unwrap_or(0);
                if n > left {
                    return;
                }
                left -= n;
                self.look_along(j, from_i, to_i, from, tick, &table);
            }
        }
    }

    /// Cells `from_i` to `to_i` of row `j`.
    fn look_along(&mut self, j: i32, from_i: i32, to_i: i32, from: &Viewpoint, tick: u16, table: &PodTable) {
        let side = SIDE as i32;
        let north = (f64::from(j) + 0.5) * self.cell_m - from.camera[1];
        let (cell_m, cos_view) = (self.cell_m, self.cos_view as f32 * 127.0 * 127.0);
        let mut i = from_i;
        while i <= to_i {
            let key = (j.div_euclid(side), i.div_euclid(side));
            let end = ((key.1 + 1) * side - 1).min(to_i);
            let Some(tile) = self.tile(key) else {
                self.unmapped += (end - i + 1) as u64;
                i = end + 1;
                continue;
            };
            let row = j.rem_euclid(side) as usize * SIDE;
            let mut new = 0;
            for i in i..=end {
                let east = (f64::from(i) + 0.5) * cell_m - from.camera[0];
                let slant2 = east * east + north * north + from.height_m * from.height_m;
                let (slant, chance) = table.at(slant2);
                if chance <= 0.0 {
                    continue;
                }
                let scale = 127.0 / slant;
                let line = [(east * scale) as i8, (north * scale) as i8, (-from.height_m * scale) as i8];
                let cell = &mut tile.cells[row + i.rem_euclid(side) as usize];
                let turned = || {
                    let dot: i32 = (0..3).map(|k| i32::from(line[k]) * i32::from(cell.line[k])).sum();
                    (dot as f32) < cos_view
                };
                if !cell.seen {
                    *cell = Cell { seen: true, line, view: chance, done: 0.0, tick };
                    new += 1;
                    continue;
                }
                if f64::from(tick.saturating_sub(cell.tick)) * TICK_S > PASS_S || turned() {
                    cell.done += cell.view;
                    (cell.view, cell.line) = (chance, line);
                }
                cell.view = cell.view.max(chance);
                cell.tick = tick;
            }
            self.seen += new;
            i = end + 1;
        }
    }

    fn tile(&mut self, key: (i32, i32)) -> Option<&mut Tile> {
        if !self.tiles.contains_key(&key) {
            if self.tiles.len() >= MAX_TILES {
                return None;
            }
            let tile = Tile { cells: vec![Cell::default(); SIDE * SIDE], inside: self.inside(key) };
            self.tiles.insert(key, Arc::new(tile));
        }
        self.tiles.get_mut(&key).map(Arc::make_mut)
    }

    fn inside(&self, key: (i32, i32)) -> [u64; SIDE] {
        let Some(area) = &self.area else { return [u64::MAX; SIDE] };
        let mut out = [0; SIDE];
        let mut cuts = Vec::new();
        let (first_j, first_i) = (key.0 * SIDE as i32, key.1 * SIDE as i32);
        for (row, bits) in out.iter_mut().enumerate() {
            row_cuts(area, f64::from(first_j) + row as f64 + 0.5, &mut cuts);
            for pair in cuts.chunks_exact(2) {
                for bit in 0..SIDE {
                    let middle = f64::from(first_i) + bit as f64 + 0.5;
                    if (pair[0]..pair[1]).contains(&middle) {
                        *bits |= 1 << bit;
                    }
                }
            }
        }
        out
    }

    fn pod(&self, cell: &Cell) -> f64 {
        (1.0 - self.model.hidden) * (1.0 - f64::from(-(cell.done + cell.view)).exp())
    }

    /// The cells of the area that were seen, by row and column, with their probability.
    fn inner_cells(&self) -> impl Iterator<Item = ((i32, i32), f64)> + '_ {
        self.tiles.iter().flat_map(move |(key, tile)| {
            tile.cells.iter().enumerate().filter(|(_, cell)| cell.seen).filter_map(move |(n, cell)| {
                let (row, column) = (n / SIDE, n % SIDE);
                let inside = tile.inside[row] >> column & 1 == 1;
                let at = (key.0 * SIDE as i32 + row as i32, key.1 * SIDE as i32 + column as i32);
                inside.then(|| (at, self.pod(cell)))
            })
        })
    }

    /// The probability at a place, east and north; `None` where nobody looked, or outside the area.
    pub(super) fn pod_at(&self, at: [f64; 2]) -> Option<f64> {
        let [i, j] = at.map(|m| (m / self.cell_m).floor() as i32);
        let side = SIDE as i32;
        let tile = self.tiles.get(&(j.div_euclid(side), i.div_euclid(side)))?;
        let [column, row] = [i, j].map(|n| n.rem_euclid(side) as usize);
        let cell = tile.cells[row * SIDE + column];
        (cell.seen && tile.inside[row] >> column & 1 == 1).then(|| self.pod(&cell))
    }

    /// The map and its sums. It may take a tenth of a second: not for the frame path.
    pub(super) fn render(&self) -> Rendered {
        let mut sums = [(0u64, 0.0); 4];
        let (mut seen, mut searched, mut total) = (0u64, 0u64, 0.0);
        for (_, pod) in self.inner_cells() {
            seen += 1;
            searched += u64::from(pod >= 0.5);
            total += pod;
            let sum = &mut sums[class_of(pod)];
            *sum = (sum.0 + 1, sum.1 + pod);
        }
        let mut coarse = 1;
        while seen as f64 / f64::from(coarse * coarse) > MAX_TRACED as f64 {
            coarse *= 2;
        }
        let cell_m2 = self.cell_m * self.cell_m;
        // Each doubling at least halves the number of corners in the end: one cell has four.
        let (coarse, rings) = loop {
            let rings = self.outlines(coarse);
            let vertices: usize = rings.iter().flatten().flatten().map(Vec::len).sum();
            if vertices <= MAX_VERTICES || coarse >= 1 << 20 {
                break (coarse, rings);
            }
            coarse *= 2;
        };
        let step = self.cell_m * f64::from(coarse);
        let place = |[i, j]: [i32; 2]| {
            let at = self.plane.place([f64::from(i) * step, f64::from(j) * step]);
            [round6(at.lon().degrees()), round6(at.lat().degrees())]
        };
        let features = rings
            .into_iter()
            .enumerate()
            .filter(|(_, polygons)| !polygons.is_empty())
            .map(|(class, polygons)| {
                let coordinates = polygons
                    .into_iter()
                    .map(|polygon| {
                        let ring = |ring: Vec<[i32; 2]>| {
                            let mut out: Vec<_> = ring.into_iter().map(place).collect();
                            out.extend(out.first().copied());
                            out
                        };
                        polygon.into_iter().map(ring).collect()
                    })
                    .collect();
                let (count, sum) = sums[class];
                CoverageFeature {
                    ty: FeatureType::Feature,
                    geometry: CoverageGeometry { ty: MultiPolygonType::MultiPolygon, coordinates },
                    properties: CoverageProperties {
                        class: CLASSES[class],
                        area_m2: (count as f64 * cell_m2).round(),
                        mean_pod: round3(if count > 0 { sum / count as f64 } else { 0.0 }),
                    },
                }
            })
            .collect();
        let whole = self.area_m2.map_or(seen as f64 * cell_m2, |m2| m2.max(seen as f64 * cell_m2));
        let share = |m2: f64| if whole > 0.0 { round3(m2 / whole) } else { 0.0 };
        Rendered {
            seen_m2: (seen as f64 * cell_m2).round(),
            searched_share: self.area_m2.map(|_| share(searched as f64 * cell_m2)),
            mean_pod: share(total * cell_m2),
            cell_m: step,
            map: CoverageMap { ty: FeatureCollectionType::FeatureCollection, features },
        }
    }

    /// For each class its polygons, of cells `coarse` times as wide; of each the outer ring and the holes.
    fn outlines(&self, coarse: i32) -> [Vec<Vec<Vec<[i32; 2]>>>; 4] {
        let mut groups: BTreeMap<(i32, i32), (f64, u32)> = BTreeMap::new();
        for ((j, i), pod) in self.inner_cells() {
            let group = groups.entry((j.div_euclid(coarse), i.div_euclid(coarse))).or_default();
            *group = (group.0 + pod, group.1 + 1);
        }
        // A group that was seen by less than half was not seen.
        let least = (coarse * coarse) as u32 / 2;
        let classes: BTreeMap<(i32, i32), usize> = groups
            .into_iter()
            .filter(|(_, (_, n))| *n > 0 && *n >= least)
            .map(|(key, (sum, n))| (key, class_of(sum / f64::from(n))))
            .collect();
        std::array::from_fn(|class| outline(&classes, class))
    }

    /// What has to survive a restart.
    pub(super) fn stored(&self) -> StoredCoverage {
        let tiles = self
            .tiles
            .iter()
            .map(|(key, tile)| {
                let mut bytes = Vec::new();
                // 0 is a cell that nobody looked at.
                let values = tile.cells.iter().map(|c| match c.seen {
                    true => ((c.done + c.view) * STORED).clamp(0.0, 65_534.0) as u16 + 1,
                    false => 0,
                });
                let mut run: Option<(u16, u16)> = None;
                for value in values {
                    run = match run {
                        Some((v, n)) if v == value => Some((v, n + 1)),
                        before => {
                            push_run(&mut bytes, before);
                            Some((value, 1))
                        }
                    };
                }
                push_run(&mut bytes, run);
                StoredTile { row: key.0, column: key.1, cells: STANDARD.encode(bytes) }
            })
            .collect();
        StoredCoverage { cell_m: self.cell_m, unmapped: self.unmapped, tiles }
    }

    /// Takes up what was stored, into a grid that is still empty. A view that was under way counts as over.
    pub(super) fn restore(&mut self, stored: &StoredCoverage) -> Result<()> {
        let corrupt = |what: &str| Error::new(Kind::Corrupt, Culprit::Disk, format!("the coverage {what}"));
        if !(1.0..=1000.0).contains(&stored.cell_m) || stored.tiles.len() > MAX_TILES {
            return Err(corrupt("is not one that this program wrote"));
        }
        let scale = self.cell_m / stored.cell_m;
        self.cell_m = stored.cell_m;
        if let Some(area) = &mut self.area {
            *area = Arc::new(area.iter().map(|p| p.map(|x| x * scale)).collect());
        }
        self.unmapped = stored.unmapped;
        for tile in &stored.tiles {
            let bytes = STANDARD.decode(&tile.cells).map_err(|_| corrupt("is not base64"))?;
            let key = (tile.row, tile.column);
            if !bytes.len().is_multiple_of(4) || key.0.abs() > 1 << 20 || key.1.abs() > 1 << 20 {
                return Err(corrupt("has a torn tile"));
            }
            let mut cells = Vec::with_capacity(SIDE * SIDE);
            for run in bytes.chunks_exact(4) {
                let (value, n) = (u16::from_le_bytes([run[0], run[1]]), u16::from_le_bytes([run[2], run[3]]));
                if cells.len() + usize::from(n) > SIDE * SIDE {
                    return Err(corrupt("has too long a tile"));
                }
                let cell = match value {
                    0 => Cell::default(),
                    v => Cell { done: f32::from(v - 1) / STORED, seen: true, ..Cell::default() },
                };
                cells.extend(std::iter::repeat_n(cell, usize::from(n)));
            }
            if cells.len() != SIDE * SIDE {
                return Err(corrupt("has too short a tile"));
            }
            self.seen += cells.iter().filter(|c| c.seen).count() as u64;
            let inside = self.inside(key);
            self.tiles.insert(key, Arc::new(Tile { cells, inside }));
        }
        Ok(())
    }
}

fn push_run(bytes: &mut Vec<u8>, run: Option<(u16, u16)>) {
    if let Some((value, n)) = run {
        bytes.extend(value.to_le_bytes());
        bytes.extend(n.to_le_bytes());
    }
}

/// A map with its sums.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rendered {
    pub(super) seen_m2: f64,
    pub(super) searched_share: Option<f64>,
    pub(super) mean_pod: f64,
    pub(super) cell_m: f64,
    pub(super) map: CoverageMap,
}

/// What is stored of a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredCoverage {
    cell_m: f64,
    unmapped: u64,
    tiles: Vec<StoredTile>,
}

/// Runs of cells, row by row: value and length, 16 bits each, little-endian, in base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredTile {
    row: i32,
    column: i32,
    cells: String,
}

const CLASSES: [PodClass; 4] = [PodClass::Low, PodClass::Medium, PodClass::High, PodClass::VeryHigh];

fn class_of(pod: f64) -> usize {
    [0.5, 0.8, 0.95].iter().filter(|line| pod >= **line).count()
}

fn round3(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

/// Degrees to a tenth of a metre.
fn round6(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

/// `-ln(1 - p)` of a view by its squared distance; the roots and powers of one frame are taken once.
struct PodTable {
    chances: [f32; 64],
    least2: f64,
    step: f64,
}

impl PodTable {
    fn new(model: &PodModel, from: &Viewpoint) -> Self {
        let most = (from.height_m * from.height_m + MAX_REACH_M * MAX_REACH_M).sqrt();
        let step = (most - from.height_m) / 63.0;
        let chances = std::array::from_fn(|n| {
            let p = model.view(from.pixel * (from.height_m + n as f64 * step), from.contrast);
            // Below a hundredth it is no look at all.
            if p < 0.01 { 0.0 } else { -(1.0 - p).ln() as f32 }
        });
        Self { chances, least2: from.height_m, step }
    }

    /// The distance, and the chance there.
    fn at(&self, slant2: f64) -> (f64, f32) {
        let slant = slant2.sqrt();
        let place = ((slant - self.least2) / self.step).clamp(0.0, 62.999);
        let (n, part) = (place as usize, place.fract() as f32);
        (slant, self.chances[n] * (1.0 - part) + self.chances[n + 1] * part)
    }
}

/// Where the polygon's sides cross the row's middle, from left to right.
fn row_cuts(corners: &[[f64; 2]], y: f64, cuts: &mut Vec<f64>) {
    cuts.clear();
    for (k, a) in corners.iter().enumerate() {
        let b = corners[(k + 1) % corners.len()];
        if (a[1] <= y) != (b[1] <= y) {
            cuts.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
        }
    }
    cuts.sort_by(f64::total_cmp);
}

/// The polygons of the cells of one class: outer rings counter-clockwise, then their holes.
fn outline(classes: &BTreeMap<(i32, i32), usize>, class: usize) -> Vec<Vec<Vec<[i32; 2]>>> {
    let ours = |j: i32, i: i32| classes.get(&(j, i)) == Some(&class);
    // Sides of cells towards others, the cell on the left hand, by where they begin.
    let mut sides: BTreeMap<[i32; 2], Vec<[i32; 2]>> = BTreeMap::new();
    for (&(j, i), _) in classes.iter().filter(|(_, c)| **c == class) {
        let corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        let beyond = [(j - 1, i), (j, i + 1), (j + 1, i), (j, i - 1)];
        for k in 0..4 {
            if !ours(beyond[k].0, beyond[k].1) {
                sides.entry(corners[k]).or_default().push(corners[(k + 1) % 4]);
            }
        }
    }
    let (mut outer, mut holes) = (Vec::new(), Vec::new());
    while let Some((&start, _)) = sides.first_key_value() {
        let mut ring: Vec<[i32; 2]> = vec![start];
        let mut way: Option<[i32; 2]> = None;
        loop {
            let at = ring[ring.len() - 1];
            let Some(next) = take_side(&mut sides, at, way) else { break };
            let step = [next[0] - at[0], next[1] - at[1]];
            if way == Some(step) {
                // Straight on: the corner between is none.
                ring.pop();
            }
            ring.push(next);
            way = Some(step);
            if next == start {
                break;
            }
        }
        ring.pop();
        // The beginning may lie on a straight side.
        if ring.len() > 2 {
            let (a, b, c) = (ring[ring.len() - 1], ring[0], ring[1]);
            if (b[0] - a[0]) * (c[1] - b[1]) == (b[1] - a[1]) * (c[0] - b[0]) {
                ring.remove(0);
            }
        }
        let twice: i64 = (0..ring.len())
            .map(|k| (ring[k], ring[(k + 1) % ring.len()]))
            .map(|(p, q)| i64::from(p[0]) * i64::from(q[1]) - i64::from(q[0]) * i64::from(p[1]))
            .sum();
        if twice > 0 { outer.push(ring) } else { holes.push(ring) }
    }
    let mut polygons: Vec<Vec<Vec<[i32; 2]>>> = outer.into_iter().map(|ring| vec![ring]).collect();
    for hole in holes {
        // A hole's first side runs with our cell on its left; half a cell to that side is inside its polygon.
        let (a, b) = (hole[0], hole[1]);
        let step = [(b[0] - a[0]).signum(), (b[1] - a[1]).signum()];
        let probe = [
            f64::from(a[0]) + (f64::from(step[0]) - f64::from(step[1])) / 2.0,
            f64::from(a[1]) + (f64::from(step[1]) + f64::from(step[0])) / 2.0,
        ];
        if let Some(polygon) = polygons.iter_mut().find(|p| within(&p[0], probe)) {
            polygon.push(hole);
        }
    }
    polygons
}

/// The side that goes on from `at`; where two do, the one that turns left, so that cells which meet at a
/// corner alone stay apart.
fn take_side(
    sides: &mut BTreeMap<[i32; 2], Vec<[i32; 2]>>,
    at: [i32; 2],
    way: Option<[i32; 2]>,
) -> Option<[i32; 2]> {
    let out = sides.get_mut(&at)?;
    let left = |to: &[i32; 2]| way.is_some_and(|w| w[0] * (to[1] - at[1]) - w[1] * (to[0] - at[0]) > 0);
    let n = out.iter().position(left).unwrap_or(0);
    let to = out.swap_remove(n);
    if out.is_empty() {
        sides.remove(&at);
    }
    Some(to)
}

fn within(ring: &[[i32; 2]], at: [f64; 2]) -> bool {
    let corners: Vec<[f64; 2]> = ring.iter().map(|p| p.map(f64::from)).collect();
    let mut cuts = Vec::new();
    row_cuts(&corners, at[1], &mut cuts);
    cuts.iter().filter(|x| **x < at[0]).count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plane() -> TangentPlane {
        TangentPlane::at(LatLon::from_degrees(30.0, 120.0).unwrap())
    }

    fn grid(area: Option<&Area>) -> Coverage {
        Coverage::new(plane(), area, 2.0, 15.0, PodModel::of(SearchTarget::Person, Vegetation::Open))
    }

    fn from(camera: [f64; 2], seconds: f64) -> Viewpoint {
        Viewpoint { camera, height_m: 60.0, pixel: 1e-3, seconds, contrast: 1.0 }
    }

    fn square(half: f64) -> [[f64; 2]; 4] {
        [[-half, -half], [half, -half], [half, half], [-half, half]]
    }

    #[test]
    fn a_person_is_resolved_at_the_usual_height_and_not_from_far_away() {
        assert!(resolved(0.75, 0.1) > 0.95);
        assert!((resolved(0.75, 0.375) - 0.5).abs() < 1e-9, "N50 is where half are detected");
        assert!(resolved(0.75, 1.0) < 0.1);
        assert_eq!(resolved(0.75, f64::NAN), 0.0);
        assert_eq!(resolved(0.75, 1e-9), 1.0);
    }

    #[test]
    fn frames_of_one_view_are_one_chance_and_views_multiply() {
        let mut grid = grid(None);
        let look = |grid: &mut Coverage, e, s| grid.look(&square(20.0), &from([e, 0.0], s));
        look(&mut grid, 0.0, 0.0);
        let once = grid.pod_at([0.0, 0.0]).unwrap();
        assert!((once - 0.98 * 0.6).abs() < 0.02, "{once}");
        for n in 0..20 {
            look(&mut grid, f64::from(n) * 0.2, f64::from(n) * 0.1);
        }
        let again = grid.pod_at([0.0, 0.0]).unwrap();
        assert!((again - once).abs() < 1e-3, "{once} {again}");
        // 45 degrees to the side: another view.
        look(&mut grid, 60.0, 5.0);
        let twice = grid.pod_at([0.0, 0.0]).unwrap();
        assert!(twice > again + 0.05, "{again} {twice}");
        // The same view after a minute: another pass.
        look(&mut grid, 60.0, 65.0);
        assert!(grid.pod_at([0.0, 0.0]).unwrap() > twice);
        // What no view shows stays hidden.
        for n in 0..100 {
            look(&mut grid, 0.0, 200.0 + 40.0 * f64::from(n));
        }
        assert!(grid.pod_at([0.0, 0.0]).unwrap() <= 0.98 + 1e-9);
        assert_eq!(grid.pod_at([30.0, 0.0]), None);
    }

    #[test]
    fn the_map_is_clipped_to_the_area_and_says_how_much_of_it_was_searched() {
        let p = plane();
        let corner = |e: f64, n: f64| p.place([e, n]);
        let area = Area::from_corners(vec![
            corner(0.0, 0.0),
            corner(100.0, 0.0),
            corner(100.0, 100.0),
            corner(0.0, 100.0),
        ])
        .unwrap();
        let mut grid = grid(Some(&area));
        // Half of it, and as much outside.
        grid.look(&[[-50.0, 0.0], [50.0, 0.0], [50.0, 100.0], [-50.0, 100.0]], &from([25.0, 50.0], 0.0));
        let map = grid.render();
        assert!((map.seen_m2 - 5_000.0).abs() < 200.0, "{}", map.seen_m2);
        assert!((map.searched_share.unwrap() - 0.5).abs() < 0.02, "{:?}", map.searched_share);
        assert!((grid.looked_m2() - 10_000.0).abs() < 300.0);
        let feature = &map.map.features[0];
        assert_eq!(map.map.features.len(), 1);
        assert_eq!(feature.properties.class, PodClass::Medium, "one view");
        // A rectangle is a rectangle.
        assert_eq!(feature.geometry.coordinates.len(), 1);
        assert_eq!(feature.geometry.coordinates[0][0].len(), 5);
    }

    #[test]
    fn a_hole_is_a_hole_and_corners_do_not_join() {
        let mut classes = BTreeMap::new();
        for j in 0..5 {
            for i in 0..5 {
                if (i, j) != (2, 2) {
                    classes.insert((j, i), 1);
                }
            }
        }
        classes.insert((5, 5), 1);
        let polygons = outline(&classes, 1);
        assert_eq!(polygons.len(), 2, "{polygons:?}");
        let with_hole = polygons.iter().find(|p| p.len() == 2).unwrap();
        assert_eq!((with_hole[0].len(), with_hole[1].len()), (4, 4));
        assert!(outline(&classes, 0).is_empty());
    }

    #[test]
    fn it_survives_being_stored() {
        let mut grid = grid(None);
        grid.look(&square(40.0), &from([0.0, 0.0], 0.0));
        grid.look(&square(20.0), &from([60.0, 0.0], 1.0));
        let json = serde_json::to_string(&grid.stored()).unwrap();
        let mut back = Coverage::new(plane(), None, 5.0, 15.0, grid.model);
        back.restore(&serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(back.looked_m2(), grid.looked_m2());
        let (a, b) = (grid.render(), back.render());
        assert_eq!(a.seen_m2, b.seen_m2);
        assert!((a.mean_pod - b.mean_pod).abs() < 2e-3);
        for cells in ["", "AAA=", "AAABAAAA", "////////", "!"] {
            let tile = StoredTile { row: 0, column: 0, cells: cells.into() };
            let torn = StoredCoverage { cell_m: 2.0, unmapped: 0, tiles: vec![tile] };
            let mut empty = Coverage::new(plane(), None, 2.0, 15.0, grid.model);
            assert_eq!(empty.restore(&torn).unwrap_err().kind(), Kind::Corrupt, "{cells}");
        }
    }

    #[test]
    fn a_chequered_map_stays_small() {
        let mut grid = grid(None);
        for n in 0..60 {
            for m in 0..60 {
                let (e, s) = (f64::from(n) * 8.0, f64::from(m) * 8.0);
                let small: Vec<_> = square(2.0).iter().map(|p| [p[0] + e, p[1] + s]).collect();
                grid.look(&small, &from([e, s], 0.0));
            }
        }
        let map = grid.render();
        let text = serde_json::to_string(&map.map).unwrap();
        assert!(text.len() < 250_000, "{}", text.len());
        assert!(map.cell_m > 2.0);
    }

    #[test]
    fn a_camera_that_sees_the_horizon_costs_a_bounded_look() {
        let mut grid = grid(None);
        let far = [[-1e7, 10.0], [1e7, 10.0], [1e7, 1e7], [-1e7, 1e7]];
        grid.look(&far, &from([0.0, 0.0], 0.0));
        assert!(grid.seen <= MAX_CELLS_A_LOOK as u64);
        grid.look(&[[f64::NAN, 0.0], [1.0, 0.0], [0.0, 1.0]], &from([0.0, 0.0], 0.0));
        grid.look(&square(1.0), &Viewpoint { height_m: -1.0, ..from([0.0, 0.0], 0.0) });
    }

    proptest! {
        /// What is traced has the area of the cells, with holes taken off.
        #[test]
        fn outlines_have_the_area_of_their_cells(cells in proptest::collection::vec(0usize..3, 64)) {
            let classes: BTreeMap<_, _> =
                cells.iter().enumerate().map(|(n, c)| (((n / 8) as i32, (n % 8) as i32), *c)).collect();
            for class in 0..3 {
                let twice: i64 = outline(&classes, class)
                    .iter()
                    .flatten()
                    .map(|ring| -> i64 {
                        (0..ring.len())
                            .map(|k| (ring[k], ring[(k + 1) % ring.len()]))
                            .map(|(p, q)| i64::from(p[0]) * i64::from(q[1]) - i64::from(q[0]) * i64::from(p[1]))
                            .sum()
                    })
                    .sum();
                prop_assert_eq!(twice, 2 * cells.iter().filter(|c| **c == class).count() as i64);
            }
        }
    }
}
