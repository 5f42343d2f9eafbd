//! What the camera sees: temperatures, distances, and which object each pixel shows.
//!
//! The ground is met by a ray at every eighth pixel and by interpolation between; bodies and leaves
//! are put before it by their distance, so that what hides whom depends on where the camera is.

use crate::thermal::PixelBox;

use super::ground::Ground;
use super::scene::{Place, Scene};
use super::shape::{Form, Part};

/// Pixels between two rays to the ground.
const BLOCK: usize = 8;
/// Further than this nothing is drawn, in metres.
const RANGE_M: f64 = 4000.0;
/// What pixels show besides objects.
const NOTHING: u16 = 0;
const LEAF: u16 = u16::MAX;

/// Where the camera is and how it looks: a pinhole with square pixels and the middle in the middle.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// East, north, up of the scene's middle.
    pub(super) eye: [f64; 3],
    /// The camera's right, down and forward in east, north, up.
    pub(super) axes: [[f64; 3]; 3],
    /// In pixels.
    pub(super) focal: f64,
    pub(super) size: [usize; 2],
}

impl View {
    fn centre(&self) -> [f64; 2] {
        self.size.map(|s| s as f64 / 2.0)
    }

    /// Right, down, forward of a direction.
    fn turned(&self, v: [f64; 3]) -> [f64; 3] {
        self.axes.map(|a| a[0] * v[0] + a[1] * v[1] + a[2] * v[2])
    }

    fn to_camera(&self, p: [f64; 3]) -> [f64; 3] {
        self.turned(std::array::from_fn(|i| p[i] - self.eye[i]))
    }

    /// Whether a ball may be in the picture.
    fn sees(&self, p: [f64; 3], radius: f64) -> bool {
        let c = self.to_camera(p);
        if c[2] < 0.5 {
            return false;
        }
        let reach = radius * self.focal / c[2];
        (0..2).all(|i| {
            let at = c[i] * self.focal / c[2];
            at.abs() < self.size[i] as f64 / 2.0 + reach * 1.5
        })
    }

    /// The direction of a pixel whose part along the line of sight is 1, in east, north, up.
    fn ray(&self, x: f64, y: f64) -> [f64; 3] {
        let c = self.centre();
        let (u, v) = ((x - c[0]) / self.focal, (y - c[1]) / self.focal);
        std::array::from_fn(|i| self.axes[0][i] * u + self.axes[1][i] * v + self.axes[2][i])
    }
}

/// How an object shows in one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// Index of the object in the scene.
    pub(super) object: usize,
    /// All of it that is within the picture, hidden or not.
    pub(super) bbox: PixelBox,
    /// The share of its pixels that nothing hides.
    pub(super) visible: f32,
    /// Part of it is outside the picture.
    pub(super) cut: bool,
    /// Metres to its middle.
    pub(super) range: f64,
}

/// A picture in the making. Kept from frame to frame for its memory.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) size: [usize; 2],
    /// Kelvin, as from close by.
    pub(super) kelvin: Vec<f32>,
    /// Metres along the line of sight; infinite for the sky.
    pub(super) depth: Vec<f32>,
    shows: Vec<u16>,
    local: Vec<(f32, f32)>,
}

/// A part as the camera sees it. A ray is met in the part's own axes, in which it is the unit ball or
/// the cube from -1 to 1.
struct Seen {
    form: Form,
    /// Rows give a pixel's direction in the part's axes: times (u, v, 1).
    turn: [[f32; 3]; 3],
    /// The eye moved ahead to the distance of the part's middle, so that nothing large is subtracted.
    eye: [f32; 3],
    near: f32,
    kelvin: f32,
    /// Left, top, right, bottom in pixels, exact.
    bounds: [f64; 4],
}

impl Seen {
    fn new(part: &Part, view: &View) -> Option<Self> {
        // Parts come relative to the eye.
        let at = view.turned(part.at.map(f64::from));
        let axes = part.axes.map(|a| view.turned(a.map(f64::from)));
        let squares = axes.map(|a| a[0] * a[0] + a[1] * a[1] + a[2] * a[2]);
        if at[2] < 0.5 {
            return None;
        }
        let rows: [[f64; 3]; 3] = std::array::from_fn(|i| axes[i].map(|c| c / squares[i]));
        let eye = rows.map(|r| -(r[0] * at[0] + r[1] * at[1] + r[2] * at[2]));
        let c = view.centre();
        let pixel = |u: f64, v: f64| [u * view.focal + c[0], v * view.focal + c[1]];
        let bounds = match part.form {
            Form::Ball => {
                // The outline of an ellipsoid is the conic whose dual is A Aᵀ - c cᵀ (Hartley and
                // Zisserman, Multiple View Geometry, result 8.9).
                let dual = |i: usize, j: usize| axes.iter().map(|a| a[i] * a[j]).sum::<f64>() - at[i] * at[j];
                let behind = dual(2, 2);
                if behind >= -1e-6 {
                    return None;
                }
                let span = |i: usize| {
                    let root = (dual(i, 2).powi(2) - dual(i, i) * behind).max(0.0).sqrt();
                    [(dual(i, 2) + root) / behind, (dual(i, 2) - root) / behind]
                };
                let ([l, r], [t, b]) = (span(0), span(1));
                let ([l, t], [r, b]) = (pixel(l, t), pixel(r, b));
                [l, t, r, b]
            }
            Form::Block => {
                let mut out = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
                for corner in 0..8u8 {
                    let sign = |bit: u8| if corner & (1 << bit) == 0 { -1.0 } else { 1.0 };
                    let p: [f64; 3] = std::array::from_fn(|i| {
                        at[i] + (0..3u8).map(|b| sign(b) * axes[usize::from(b)][i]).sum::<f64>()
                    });
                    if p[2] < 0.3 {
                        return None;
                    }
                    let [x, y] = pixel(p[0] / p[2], p[1] / p[2]);
                    out = [out[0].min(x), out[1].min(y), out[2].max(x), out[3].max(y)];
                }
                out
            }
        };
        Some(Self {
            form: part.form,
            turn: rows.map(|r| r.map(|c| c as f32)),
            eye: std::array::from_fn(|i| (eye[i] + at[2] * rows[i][2]) as f32),
            near: at[2] as f32,
            kelvin: part.kelvin,
            bounds,
        })
    }

    /// The distance at which a pixel's ray enters, along the line of sight.
    fn meet(&self, u: f32, v: f32) -> Option<f32> {
        let d = self.turn.map(|r| r[0] * u + r[1] * v + r[2]);
        // From the plane of the middle: the part of the ray's way there that is not straight ahead.
        let o: [f32; 3] =
            std::array::from_fn(|i| self.eye[i] + self.near * (self.turn[i][0] * u + self.turn[i][1] * v));
        let t = match self.form {
            Form::Ball => {
                let a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                let b = d[0] * o[0] + d[1] * o[1] + d[2] * o[2];
                let c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0;
                let inside = b * b - a * c;
                if inside < 0.0 {
                    return None;
                }
                (-b - inside.sqrt()) / a
            }
            Form::Block => {
                let (mut enter, mut leave) = (f32::MIN, f32::MAX);
                for (o, d) in o.into_iter().zip(d) {
                    let (a, b) = ((-1.0 - o) / d, (1.0 - o) / d);
                    enter = enter.max(a.min(b));
                    leave = leave.min(a.max(b));
                }
                if enter > leave {
                    return None;
                }
                enter
            }
        };
        Some(self.near + t)
    }
}

impl Canvas {
    pub(super) fn new(size: [usize; 2]) -> Self {
        let n = size[0] * size[1];
        Self {
            size,
            kelvin: vec![0.0; n],
            depth: vec![f32::INFINITY; n],
            shows: vec![NOTHING; n],
            local: Vec::new(),
        }
    }

    /// Draws everything as it is at `second`, and says where the objects are.
    pub(super) fn draw(&mut self, scene: &Scene, view: &View, second: f64) -> Vec<Shown> {
        self.size = view.size;
        self.shows.fill(NOTHING);
        self.ground(&scene.ground, view, scene.sky);
        let mut drawn = Vec::new();
        for (i, object) in scene.objects.iter().enumerate() {
            let place = object.place(&scene.ground, second);
            let radius = f64::from(object.radius());
            if !view.sees(place.at, radius) {
                continue;
            }
            let parts = object.parts(&place, view.eye, scene.air, scene.sky);
            // Marks are above NOTHING and below LEAF: the plan's bounds allow 60,000 objects.
            if let Some((bounds, all)) = self.body(&parts, view, (i + 1) as u16) {
                drawn.push((i, place, bounds, all));
            }
        }
        for foliage in &scene.foliage {
            if view.sees(foliage.centre, f64::from(foliage.radius)) {
                self.leaves(foliage, view);
            }
        }
        drawn
            .into_iter()
            .filter_map(|(i, place, bounds, all)| self.shown(view, i, &place, bounds, all))
            .collect()
    }

    fn shown(&self, view: &View, object: usize, place: &Place, bounds: [f64; 4], all: u32) -> Option<Shown> {
        let [w, h] = self.size.map(|s| s as f64);
        let [l, t, r, b] = bounds;
        let (cl, ct, cr, cb) = (l.clamp(0.0, w), t.clamp(0.0, h), r.clamp(0.0, w), b.clamp(0.0, h));
        if cr - cl < 0.5 || cb - ct < 0.5 || all == 0 {
            return None;
        }
        let mut visible = 0u32;
        for y in ct as usize..(cb.ceil() as usize).min(self.size[1]) {
            let row = &self.shows[y * self.size[0]..(y + 1) * self.size[0]];
            let cells = &row[cl as usize..(cr.ceil() as usize).min(self.size[0])];
            visible += cells.iter().filter(|s| usize::from(**s) == object + 1).count() as u32;
        }
        let c = view.to_camera(place.at);
        Some(Shown {
            object,
            bbox: PixelBox { x: cl as f32, y: ct as f32, width: (cr - cl) as f32, height: (cb - ct) as f32 },
            visible: visible as f32 / all as f32,
            cut: (cl, ct, cr, cb) != (l, t, r, b),
            range: (c[0] * c[0] + c[1] * c[1] + c[2] * c[2]).sqrt(),
        })
    }

    fn ground(&mut self, ground: &Ground, view: &View, sky: f32) {
        let [w, h] = self.size;
        let (across, down) = (w.div_ceil(BLOCK) + 1, h.div_ceil(BLOCK) + 1);
        let meet = |x: f64, y: f64| -> Option<[f32; 3]> {
            let ray = view.ray(x, y);
            let length = (ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]).sqrt();
            let t = ground.meet(view.eye, ray.map(|c| c / length), RANGE_M)? / length;
            Some([(view.eye[0] + ray[0] * t) as f32, (view.eye[1] + ray[1] * t) as f32, t as f32])
        };
        let mut above: Vec<Option<[f32; 3]>> = Vec::new();
        for j in 0..down {
            let y = (j * BLOCK) as f64;
            let below: Vec<_> = (0..across).map(|i| meet((i * BLOCK) as f64, y)).collect();
            if j > 0 {
                for (i, (a, b)) in above.windows(2).zip(below.windows(2)).enumerate() {
                    let corners = [a[0], a[1], b[0], b[1]];
                    self.block(ground, [i * BLOCK, (j - 1) * BLOCK], corners, &meet, sky);
                }
            }
            above = below;
        }
    }

    fn block(
        &mut self,
        ground: &Ground,
        [x0, y0]: [usize; 2],
        corners: [Option<[f32; 3]>; 4],
        meet: &impl Fn(f64, f64) -> Option<[f32; 3]>,
        sky: f32,
    ) {
        let [w, h] = self.size;
        let smooth = match corners {
            [Some(a), Some(b), Some(c), Some(d)] => {
                let depths = [a[2], b[2], c[2], d[2]];
                let (near, far) = depths.iter().fold((f32::MAX, 0f32), |(n, f), z| (n.min(*z), f.max(*z)));
                // A crest hides ground behind it: there the corners say nothing of what is between.
                (far < near * 1.15).then_some([a, b, c, d])
            }
            _ => None,
        };
        for y in y0..(y0 + BLOCK).min(h) {
            let v = (y - y0) as f32 / BLOCK as f32 + 0.5 / BLOCK as f32;
            for x in x0..(x0 + BLOCK).min(w) {
                let at = match &smooth {
                    Some([a, b, c, d]) => {
                        let u = (x - x0) as f32 / BLOCK as f32 + 0.5 / BLOCK as f32;
                        let mix = |i: usize| {
                            let (low, high) = (a[i] + (b[i] - a[i]) * u, c[i] + (d[i] - c[i]) * u);
                            low + (high - low) * v
                        };
                        Some([mix(0), mix(1), mix(2)])
                    }
                    None => meet(x as f64 + 0.5, y as f64 + 0.5),
                };
                let cell = y * w + x;
                match at {
                    Some([e, n, depth]) => {
                        self.kelvin[cell] = ground.kelvin(e, n);
                        self.depth[cell] = depth;
                    }
                    None => {
                        self.kelvin[cell] = sky;
                        self.depth[cell] = f32::INFINITY;
                    }
                }
            }
        }
    }

    /// Draws a body whose parts are relative to the eye. Its exact bounds, and how many pixels it
    /// would have if nothing hid it.
    fn body(&mut self, parts: &[Part], view: &View, mark: u16) -> Option<([f64; 4], u32)> {
        let seen: Vec<Seen> = parts.iter().filter_map(|p| Seen::new(p, view)).collect();
        let bounds = seen
            .iter()
            .map(|s| s.bounds)
            .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])])?;
        let [w, h] = self.size;
        let clip = |b: [f64; 4]| {
            let x = |v: f64| v.clamp(0.0, w as f64);
            let y = |v: f64| v.clamp(0.0, h as f64);
            [
                x(b[0].floor()) as usize,
                y(b[1].floor()) as usize,
                x(b[2].ceil()) as usize,
                y(b[3].ceil()) as usize,
            ]
        };
        let [left, top, right, bottom] = clip(bounds);
        if left >= right || top >= bottom {
            return None;
        }
        let wide = right - left;
        self.local.clear();
        self.local.resize(wide * (bottom - top), (f32::INFINITY, 0.0));
        let focal = view.focal as f32;
        let centre = view.centre().map(|c| c as f32);
        for s in &seen {
            let [l, t, r, b] = clip(s.bounds);
            for y in t..b {
                let v = (y as f32 + 0.5 - centre[1]) / focal;
                for x in l..r {
                    let u = (x as f32 + 0.5 - centre[0]) / focal;
                    if let Some(depth) = s.meet(u, v) {
                        let cell = &mut self.local[(y - top) * wide + x - left];
                        if depth < cell.0 {
                            *cell = (depth, s.kelvin);
                        }
                    }
                }
            }
        }
        let mut all = 0;
        for y in top..bottom {
            for x in left..right {
                let (depth, kelvin) = self.local[(y - top) * wide + x - left];
                if depth.is_finite() {
                    all += 1;
                    // What touches the ground is not hidden by it: the ground is coarser than a foot.
                    let cell = y * w + x;
                    let slack = if mark == LEAF || self.shows[cell] != NOTHING { 0.0 } else { 0.25 };
                    if depth < self.depth[cell] + slack {
                        self.depth[cell] = depth;
                        self.kelvin[cell] = kelvin;
                        self.shows[cell] = mark;
                    }
                }
            }
        }
        Some((bounds, all))
    }

    fn leaves(&mut self, foliage: &super::scene::Foliage, view: &View) {
        if let Some(trunk) = &foliage.trunk {
            let mut trunk = *trunk;
            trunk.at = std::array::from_fn(|i| trunk.at[i] + (foliage.centre[i] - view.eye[i]) as f32);
            self.body(&[trunk], view, LEAF);
        }
        let middle = view.to_camera(foliage.centre).map(|c| c as f32);
        let axes = view.axes.map(|a| a.map(|c| c as f32));
        let (focal, centre) = (view.focal as f32, view.centre().map(|c| c as f32));
        let [w, h] = self.size;
        for ([e, n, up, radius], kelvin) in &foliage.leaves {
            let c: [f32; 3] =
                std::array::from_fn(|i| middle[i] + axes[i][0] * e + axes[i][1] * n + axes[i][2] * up);
            if c[2] < 0.5 {
                continue;
            }
            let (x, y, r) =
                (c[0] / c[2] * focal + centre[0], c[1] / c[2] * focal + centre[1], radius * focal / c[2]);
            let (top, bottom) = ((y - r + 0.5).max(0.0) as usize, ((y + r + 0.5).max(0.0) as usize).min(h));
            for row in top..bottom {
                let off = row as f32 + 0.5 - y;
                let half = (r * r - off * off).max(0.0).sqrt();
                let (left, right) =
                    ((x - half + 0.5).max(0.0) as usize, ((x + half + 0.5).max(0.0) as usize).min(w));
                for cell in row * w + left..row * w + right.max(left) {
                    if c[2] < self.depth[cell] {
                        self.depth[cell] = c[2];
                        self.kelvin[cell] = *kelvin;
                        self.shows[cell] = LEAF;
                    }
                }
            }
        }
    }
}
