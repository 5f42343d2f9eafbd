//! Pictures as a desk camera would give them.

use std::f32::consts::TAU;
use std::path::Path;

use image::imageops::FilterType;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::RgbImage;

/// Pictures a second.
pub const FPS: u32 = 20;
/// Pictures in which a person steps before the camera, and away from it again.
const ENTER: u32 = 14;
/// Pictures of one round of the loop in which a person stays; every motion fits it in whole turns.
const STAY: u32 = 50;
/// Pictures of one round of the empty scene.
const EMPTY: u32 = 24;
/// Pixels between the eyes on a picture 720 rows high.
const EYES_APART: f32 = 90.0;
/// Where the eyes are, as a share of the height.
const EYES_AT: f32 = 0.42;
/// JPEG quality of an ordinary network camera.
const JPEG_QUALITY: u8 = 82;
/// Sensor noise, standard deviation of 8-bit values.
const NOISE: f32 = 2.2;
/// Pixels over which an outline fades.
const SOFT: f32 = 2.2;

/// Where a person is in a photograph.
#[derive(Clone, Copy, Debug)]
pub struct Likeness {
    /// The eyes, the left one in the picture first, pixels.
    pub eyes: [(f32, f32); 2],
    /// Polygon around the person, pixels. Empty: a head and shoulders are assumed about the eyes,
    /// and some of the photograph's background comes along.
    pub outline: &'static [(f32, f32)],
}

impl Likeness {
    /// A likeness of which only the eyes are known.
    pub fn from_eyes(left: (f32, f32), right: (f32, f32)) -> Self {
        Self { eyes: [left, right], outline: &[] }
    }
}

/// A person cut out of a photograph.
pub struct Person {
    /// R G B A, not premultiplied, scaled so that the eyes are [`EYES_APART`].
    cut: image::RgbaImage,
    /// The middle between the eyes in `cut`.
    eyes: (f32, f32),
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person({}x{})", self.cut.width(), self.cut.height())
    }
}

impl Person {
    /// Reads a photograph and cuts the person out.
    pub fn open(path: &Path, likeness: &Likeness) -> Result<Self> {
        let photo = image::open(path).map_err(|e| {
            let kind = match &e {
                image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Malformed,
            };
            Error::new(kind, Culprit::Request, format!("cannot read the photograph {}", path.display()))
                .with_source(e)
        })?;
        Ok(Self::cut(&photo.to_rgb8(), likeness))
    }

    /// Cuts a person out of a photograph.
    pub fn cut(photo: &image::RgbImage, likeness: &Likeness) -> Self {
        let [left, right] = likeness.eyes;
        let apart = (right.0 - left.0).hypot(right.1 - left.1).max(1.0);
        let scale = EYES_APART / apart;
        let size = |n: u32| ((n as f32 * scale).round() as u32).max(1);
        let (w, h) = (size(photo.width()), size(photo.height()));
        let small = image::imageops::resize(photo, w, h, FilterType::Triangle);
        let to_cut = |(x, y): (f32, f32)| (x * scale, y * scale);
        let middle = to_cut(((left.0 + right.0) / 2.0, (left.1 + right.1) / 2.0));

        let outline: Vec<(f32, f32)> = if likeness.outline.is_empty() {
            head_and_shoulders(middle)
        } else {
            likeness.outline.iter().map(|&p| to_cut(p)).collect()
        };
        let mask = soft_mask(w, h, &outline);
        let mut cut = image::RgbaImage::new(w, h);
        for ((to, from), alpha) in cut.pixels_mut().zip(small.pixels()).zip(mask) {
            to.0 = [from[0], from[1], from[2], alpha];
        }
        Self { cut, eyes: middle }
    }
}

/// An outline about eyes that are [`EYES_APART`] and whose middle is `m`.
fn head_and_shoulders(m: (f32, f32)) -> Vec<(f32, f32)> {
    let d = EYES_APART;
    let right = [
        (0.0, -1.55),
        (0.6, -1.42),
        (1.05, -1.0),
        (1.22, -0.35),
        (1.2, 0.4),
        (0.98, 1.25),
        (0.72, 1.75),
        (0.85, 2.2),
        (1.7, 2.6),
        (2.4, 3.0),
        (2.75, 3.8),
        (2.9, 12.0),
    ];
    let left = right.iter().rev().map(|&(x, y)| (-x, y));
    right.into_iter().chain(left).map(|(x, y)| (m.0 + x * d, m.1 + y * d)).collect()
}

/// A polygon as 8-bit coverage with faded edges.
fn soft_mask(w: u32, h: u32, outline: &[(f32, f32)]) -> Vec<u8> {
    let mut mask = vec![0.0f32; (w * h) as usize];
    let mut crossings = Vec::new();
    for y in 0..h {
        let at = y as f32 + 0.5;
        crossings.clear();
        for (i, &(x0, y0)) in outline.iter().enumerate() {
            let (x1, y1) = outline[(i + 1) % outline.len()];
            if (y0 <= at) != (y1 <= at) {
                crossings.push(x0 + (at - y0) / (y1 - y0) * (x1 - x0));
            }
        }
        crossings.sort_by(f32::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let (from, to) = (pair[0].max(0.0) as u32, pair[1].clamp(0.0, w as f32) as u32);
            mask[(y * w + from.min(to)) as usize..(y * w + to) as usize].fill(1.0);
        }
    }
    // Faded by a blur; what lies inside the blur's reach of the edge is cut back so that no rim of
    // the photograph's own background shows.
    blur(&mut mask, w as usize, h as usize, SOFT as usize);
    blur(&mut mask, w as usize, h as usize, SOFT as usize);
    mask.iter().map(|&m| (((m - 0.42) / 0.5).clamp(0.0, 1.0) * 255.0) as u8).collect()
}

/// Box blur of one plane; edges repeat.
fn blur(plane: &mut [f32], w: usize, h: usize, radius: usize) {
    let n = (2 * radius + 1) as f32;
    let pass = |line: &mut dyn FnMut(usize) -> f32, len: usize| -> Vec<f32> {
        let source: Vec<f32> = (0..len).map(&mut *line).collect();
        let at = |i: isize| source[i.clamp(0, len as isize - 1) as usize];
        let mut sum: f32 = (-(radius as isize)..=radius as isize).map(at).sum();
        (0..len as isize)
            .map(|i| {
                let out = sum / n;
                sum += at(i + radius as isize + 1) - at(i - radius as isize);
                out
            })
            .collect()
    };
    for y in 0..h {
        let line = pass(&mut |x| plane[y * w + x], w);
        plane[y * w..(y + 1) * w].copy_from_slice(&line);
    }
    for x in 0..w {
        let line = pass(&mut |y| plane[y * w + x], h);
        for (y, v) in line.into_iter().enumerate() {
            plane[y * w + x] = v;
        }
    }
}

/// How a person stands at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    /// Aside from the middle of the picture, pixels.
    pub x: f32,
    /// Below the usual height, pixels.
    pub y: f32,
    /// Size, 1 is usual.
    pub scale: f32,
    /// Leaning, radians.
    pub roll: f32,
    /// Movement during the exposure, pixels to the right.
    pub smear: f32,
}

impl Pose {
    /// Standing still.
    pub const STILL: Self = Self { x: 0.0, y: 0.0, scale: 1.0, roll: 0.0, smear: 0.0 };

    /// Swaying, breathing and shifting the weight; `turn` runs from 0 to 1 over one round.
    fn standing(turn: f32) -> Self {
        let a = turn * TAU;
        // Twice in a round the weight shifts fast enough to blur the picture.
        let shift = (a * 2.0).cos().max(0.0).powi(8);
        Self {
            x: 11.0 * a.sin() + 3.5 * (3.0 * a).sin(),
            y: 2.5 * (2.0 * a).sin(),
            scale: 1.0 + 0.012 * (2.0 * a).sin() + 0.02 * a.cos(),
            roll: 0.018 * (a + 0.7).sin() + 0.006 * (3.0 * a).cos(),
            smear: 2.6 * shift,
        }
    }

    /// On the way in; `done` runs from 0 (outside a picture `width` wide) to 1.
    fn entering(done: f32, width: f32) -> Self {
        let left = (1.0 - done).powi(2);
        let to = Self::standing(0.0);
        Self {
            x: to.x - left * (width * 0.5 + 6.0 * EYES_APART),
            y: to.y + 5.0 * (done * TAU * 1.5).sin() * left.sqrt(),
            scale: to.scale * (1.0 - 0.05 * left),
            roll: to.roll + 0.03 * left,
            smear: 26.0 * left.sqrt() + to.smear,
        }
    }
}

/// The lobby and the camera that looks at it.
pub struct Set {
    width: u32,
    height: u32,
    lobby: Vec<u8>,
    /// Noise to add, longer than a picture so that each one can start elsewhere.
    grain: Vec<i8>,
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Set({}x{})", self.width, self.height)
    }
}

impl Set {
    /// Builds the lobby and the sensor. The same seed gives the same pictures.
    pub fn new(width: u32, height: u32, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let lobby = lobby(width, height, &mut rng);
        let bytes = (width * height * 3) as usize;
        let grain = (0..bytes + 65_536)
            .map(|_| {
                // Four draws make it nearly Gaussian.
                let sum: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
                (sum * NOISE / 1.155).round() as i8
            })
            .collect();
        Self { width, height, lobby, grain }
    }

    /// Columns and rows of a picture.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// One picture: the lobby, a person if there is one, and what the camera adds. `n` chooses
    /// noise and exposure.
    pub fn picture(&self, n: u32, person: Option<(&Person, Pose)>) -> RgbImage {
        let mut data = self.lobby.clone();
        if let Some((person, pose)) = person {
            self.put(&mut data, person, pose);
        }
        // Lamps and automatic exposure: a percent or two, up and down.
        let gain = 1.0 + 0.012 * (n as f32 * 2.1).sin() + 0.008 * (n as f32 * 0.37).sin();
        let table: Vec<i16> = (0..256).map(|v| (v as f32 * gain).round() as i16).collect();
        let start = (n.wrapping_mul(40_503) % 65_536) as usize;
        for (v, g) in data.iter_mut().zip(&self.grain[start..]) {
            *v = (table[*v as usize] + i16::from(*g)).clamp(0, 255) as u8;
        }
        RgbImage::new(self.width, self.height, data).unwrap_or_else(|| RgbImage::filled(1, 1, [0; 3]))
    }

    /// Puts a person into the picture.
    fn put(&self, data: &mut [u8], person: &Person, pose: Pose) {
        let (w, h) = (self.width as f32, self.height as f32);
        let scale = pose.scale * h / 720.0;
        let at = (w / 2.0 + pose.x * h / 720.0, h * EYES_AT + pose.y * h / 720.0);
        let (sin, cos) = pose.roll.sin_cos();
        let (sin, cos) = (sin / scale, cos / scale);
        let (cw, ch) = (person.cut.width() as usize, person.cut.height() as usize);
        let source = person.cut.as_raw();
        let steps = (pose.smear.abs() / 2.5).round().max(1.0) as usize;
        // Columns the person can reach.
        let reach = (cw as f32).max(ch as f32 * 0.25) * scale + pose.smear.abs();
        let from = (at.0 - reach).clamp(0.0, w) as usize;
        let to = (at.0 + reach).clamp(0.0, w) as usize;
        for y in 0..self.height as usize {
            let dy = y as f32 - at.1;
            let row = &mut data[y * self.width as usize * 3..][..self.width as usize * 3];
            for x in from..to {
                let mut sum = [0.0f32; 4];
                for step in 0..steps {
                    let shift = pose.smear * ((step as f32 + 0.5) / steps as f32 - 0.5);
                    let dx = x as f32 - at.0 - shift;
                    let sx = person.eyes.0 + dx * cos + dy * sin;
                    let sy = person.eyes.1 - dx * sin + dy * cos;
                    if sx < 0.0 || sy < 0.0 {
                        continue;
                    }
                    let (ix, iy) = (sx as usize, sy as usize);
                    if ix + 1 >= cw || iy + 1 >= ch {
                        continue;
                    }
                    let (fx, fy) = (sx - ix as f32, sy - iy as f32);
                    let top = &source[(iy * cw + ix) * 4..][..8];
                    let bottom = &source[((iy + 1) * cw + ix) * 4..][..8];
                    if top[3] | top[7] | bottom[3] | bottom[7] == 0 {
                        continue;
                    }
                    let (a, b, c, d) = ((1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy);
                    let mix = |i: usize| {
                        a * f32::from(top[i])
                            + b * f32::from(top[i + 4])
                            + c * f32::from(bottom[i])
                            + d * f32::from(bottom[i + 4])
                    };
                    let alpha = mix(3) / 255.0;
                    for (s, i) in sum.iter_mut().zip(0..3) {
                        *s += mix(i) * alpha;
                    }
                    sum[3] += alpha;
                }
                if sum[3] > 0.0 {
                    let n = steps as f32;
                    let behind = 1.0 - sum[3] / n;
                    for (v, s) in row[x * 3..x * 3 + 3].iter_mut().zip(&sum) {
                        *v = (f32::from(*v) * behind + s / n) as u8;
                    }
                }
            }
        }
    }
}

/// A hotel lobby out of focus: a warm wall, daylight from a window, lamps, a shelf, a plant.
fn lobby(width: u32, height: u32, rng: &mut SmallRng) -> Vec<u8> {
    // Drawn small, since nothing in it is sharp, then enlarged.
    let (w, h) = (width.div_ceil(4) as usize, height.div_ceil(4) as usize);
    let mut planes = [vec![0.0f32; w * h], vec![0.0f32; w * h], vec![0.0f32; w * h]];
    let mut add = |x: usize, y: usize, k: f32, rgb: [f32; 3]| {
        for (plane, c) in planes.iter_mut().zip(rgb) {
            let v = &mut plane[y * w + x];
            *v += (c - *v) * k.clamp(0.0, 1.0);
        }
    };
    let lamps: Vec<(f32, f32)> =
        [0.56, 0.7, 0.86].map(|x| (x + rng.random_range(-0.02..0.02), 0.13)).to_vec();
    let leaves: Vec<(f32, f32, f32, f32)> = (0..26)
        .map(|_| {
            let angle = rng.random_range(-2.6f32..-0.5);
            let long = rng.random_range(0.10f32..0.26);
            (angle, long, rng.random_range(0.010f32..0.022), rng.random_range(0.6f32..1.0))
        })
        .collect();
    let books: Vec<f32> = (0..40).map(|_| rng.random_range(0.0f32..1.0)).collect();
    for y in 0..h {
        for x in 0..w {
            let (u, v) = (x as f32 / w as f32, y as f32 / h as f32);
            // The wall: warm, darker to the right and above.
            let wall = 1.0 - 0.30 * u - 0.18 * (v - 0.55).abs();
            add(x, y, 1.0, [186.0 * wall, 163.0 * wall, 138.0 * wall]);
            // Panelling.
            let panel = ((u * 9.0).fract() - 0.5).abs();
            add(x, y, if panel > 0.47 { 0.22 } else { 0.0 }, [92.0, 74.0, 58.0]);
            // A window on the left with a street behind it.
            if u < 0.27 && (0.06..0.80).contains(&v) {
                let street = 0.5 + 0.5 * ((u * 31.0).sin() * (v * 13.0 + 2.0).sin());
                let sky = (1.0 - v).powf(0.6);
                add(
                    x,
                    y,
                    1.0,
                    [
                        168.0 + 70.0 * sky - 30.0 * street,
                        190.0 + 55.0 * sky - 26.0 * street,
                        205.0 + 45.0 * sky - 22.0 * street,
                    ],
                );
                let bar = ((u / 0.09).fract() - 0.5).abs() > 0.46 || ((v - 0.06) / 0.37).fract() < 0.018;
                add(x, y, if bar { 0.85 } else { 0.0 }, [86.0, 78.0, 70.0]);
            }
            // A curtain beside it.
            if (0.27..0.335).contains(&u) {
                let fold = 0.72 + 0.28 * (u * 330.0).sin();
                add(x, y, 0.92, [132.0 * fold, 96.0 * fold, 74.0 * fold]);
            }
            // The key shelf behind the desk.
            if u > 0.60 && (0.36..0.64).contains(&v) {
                add(x, y, 0.9, [82.0, 58.0, 41.0]);
                let (cell_u, cell_v) = ((u - 0.60) / 0.05, (v - 0.36) / 0.093);
                let tall = books[(cell_u as usize * 3 + cell_v as usize * 7) % books.len()];
                let inside = (0.12..0.88).contains(&cell_u.fract()) && (0.14..0.9).contains(&cell_v.fract());
                if inside {
                    add(x, y, 0.8, [112.0 + 52.0 * tall, 80.0 + 34.0 * tall, 52.0 + 26.0 * (1.0 - tall)]);
                }
            }
            // The floor.
            if v > 0.80 {
                let shine = (1.0 - ((u - 0.16) / 0.2).powi(2)).max(0.0) * (1.0 - (v - 0.8) * 3.0).max(0.0);
                add(x, y, 1.0, [104.0 + 70.0 * shine, 90.0 + 72.0 * shine, 76.0 + 74.0 * shine]);
            }
            // A plant by the curtain.
            for &(angle, long, thick, tone) in &leaves {
                let (px, py) = ((u - 0.40) * 16.0 / 9.0, v - 0.74);
                let along = px * angle.cos() + py * angle.sin();
                let bend = 0.9 * along * along * angle.cos();
                let across = -px * angle.sin() + py * angle.cos() - bend;
                if along > 0.0 && along < long && across.abs() < thick * (1.0 - along / long).sqrt() {
                    add(x, y, 0.9, [50.0 * tone, 92.0 * tone, 52.0 * tone]);
                }
            }
            if (0.372..0.428).contains(&u) && (0.74..0.90).contains(&v) {
                let round = 1.0 - ((u - 0.40) / 0.035).powi(2) * 0.6;
                add(x, y, 1.0, [146.0 * round, 128.0 * round, 112.0 * round]);
            }
            // Lamps and their light on the wall.
            for &(lu, lv) in &lamps {
                let (dx, dy) = ((u - lu) * 16.0 / 9.0, v - lv);
                let far = dx.hypot(dy);
                add(x, y, (0.42 * (-far * 7.0).exp()).min(0.5), [255.0, 226.0, 176.0]);
                add(x, y, if far < 0.035 { 0.96 } else { 0.0 }, [255.0, 246.0, 222.0]);
                add(x, y, if dx.abs() < 0.003 && v < lv { 0.7 } else { 0.0 }, [60.0, 52.0, 46.0]);
            }
        }
    }
    // Out of focus.
    for plane in &mut planes {
        for _ in 0..3 {
            blur(plane, w, h, 2);
        }
    }
    let small = image::RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let at = y as usize * w + x as usize;
        image::Rgb([planes[0][at] as u8, planes[1][at] as u8, planes[2][at] as u8])
    });
    image::imageops::resize(&small, width, height, FilterType::CatmullRom).into_raw()
}

/// Pictures as JPEG, ready to be played: somebody comes, stays, goes.
#[derive(Debug)]
pub struct Reel {
    /// Played once forwards when the reel begins and once backwards when it ends.
    pub(super) enter: Vec<Vec<u8>>,
    /// Played over and over in between.
    pub(super) stay: Vec<Vec<u8>>,
}

impl Reel {
    /// Nobody is there.
    pub fn empty(set: &Set) -> Result<Self> {
        let stay = (0..EMPTY).map(|n| jpeg(&set.picture(n, None))).collect::<Result<_>>()?;
        Ok(Self { enter: Vec::new(), stay })
    }

    /// A person steps before the camera, stays for as long as the reel is shown, and steps away.
    pub fn visit(set: &Set, person: &Person) -> Result<Self> {
        let enter = (0..ENTER)
            .map(|n| {
                let pose =
                    Pose::entering(n as f32 / ENTER as f32, set.width as f32 * 720.0 / set.height as f32);
                jpeg(&set.picture(n, Some((person, pose))))
            })
            .collect::<Result<_>>()?;
        let stay = (0..STAY)
            .map(|n| jpeg(&set.picture(ENTER + n, Some((person, Pose::standing(n as f32 / STAY as f32))))))
            .collect::<Result<_>>()?;
        Ok(Self { enter, stay })
    }

    /// The pictures as JPEG, those of the way in first.
    pub fn frames(&self) -> Vec<&[u8]> {
        self.enter.iter().chain(&self.stay).map(Vec::as_slice).collect()
    }

    /// A person in a fixed sequence of poses, over and over.
    pub fn poses(set: &Set, person: &Person, poses: &[Pose]) -> Result<Self> {
        let stay = (0..)
            .zip(poses)
            .map(|(n, pose)| jpeg(&set.picture(n, Some((person, *pose)))))
            .collect::<Result<Vec<_>>>()?;
        if stay.is_empty() {
            return Err(Error::new(Kind::Usage, Culprit::Request, "a reel needs at least one picture"));
        }
        Ok(Self { enter: Vec::new(), stay })
    }
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(160 * 1024);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY)
        .encode(picture.data(), picture.width(), picture.height(), image::ExtendedColorType::Rgb8)
        .map_err(|e| Error::internal("a picture could not be written as JPEG").with_source(e))?;
    Ok(out)
}
