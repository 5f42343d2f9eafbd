//! From temperatures to the picture that leaves the camera: air, lens, detector, gain.
//!
//! What is modelled is what a detector of people stumbles over: the veil of air and rain, drops that fall
//! past the lens and drops that stay on it, the lens's spread, noise of pixels, columns and rows, the creep
//! between two flat-field corrections and the picture that is held during one, and an automatic gain that
//! follows what is in view.

use std::sync::Arc;

use crate::base::Result;
use crate::capture::{SampleData, SampleRange, Samples};

use super::plan::{CameraPlan, Weather};
use super::random::{Dice, smooth};
use super::render::Canvas;

/// Streams of the seed.
const PIXELS: u64 = 60;
const PATTERN: u64 = 61;
const RAIN: u64 = 62;
/// Normal numbers to draw noise from.
const DRAWN: usize = 1 << 14;
/// What a flat-field correction holds the picture for, in seconds.
const FFC_S: f64 = 0.7;
/// Most the gain makes of a kelvin, and the grey of what is in the middle.
const MOST_GAIN: f32 = 11.0;
const MIDDLE: f32 = 122.0;
/// Part of the way that the gain goes to what it wants, in one second.
const GAIN_A_SECOND: f32 = 0.8;
/// How much edges are raised (digital detail enhancement).
const DETAIL: f32 = 0.45;
/// What a wet kilometre takes away: dB/km in the far infrared at 1 mm/h, times rain to the 0.63
/// (ITU-R P.1817, after Carbonneau), as a natural logarithm's factor per metre.
const RAIN_PER_M: f32 = 1.076 * 0.2303 / 1000.0;
/// Streaks in a picture of 640x512 for each millimetre an hour, and the share of them that are close to the
/// lens: broad and out of focus.
const STREAKS_A_MM: f64 = 6.0;
const CLOSE_STREAKS: f64 = 0.2;
/// Drops that hit the lens in a second for each millimetre an hour, and for how long they stay, in seconds.
const LENS_DROPS_A_MM: f64 = 0.03;
const LENS_DROP_S: (f64, f64) = (2.0, 12.0);
/// Most drops on the lens.
const MOST_LENS_DROPS: usize = 40;
/// How much of the picture a drop in its middle hides.
const LENS_DROP_HIDES: f32 = 0.6;
/// Clear humid air between 8 and 14 µm, per metre.
const AIR_PER_M: f32 = 0.25 / 1000.0;

/// A drop on the lens, far out of focus: a soft disc in which the picture fades to the drop's warmth.
#[derive(Clone, Copy, Debug)]
struct LensDrop {
    at: [f32; 2],
    radius: f32,
    until_s: f64,
}

/// A camera with its state.
#[derive(Debug)]
pub(super) struct Sensor {
    plan: CameraPlan,
    size: [usize; 2],
    air: f32,
    rain: f32,
    dice: Dice,
    drops: Dice,
    wetted: Vec<LensDrop>,
    drawn: Arc<[f32]>,
    columns: Vec<f32>,
    pixels: Vec<f32>,
    creep: Vec<f32>,
    gain: Option<(f32, f32)>,
    last_s: f64,
    held: Option<Samples>,
    work: Vec<f32>,
    other: Vec<f32>,
}

/// What a fault does to a picture.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upset {
    pub(super) freeze: bool,
    pub(super) flip: bool,
    pub(super) gain: Option<f64>,
}

impl Sensor {
    pub(super) fn new(plan: &CameraPlan, weather: &Weather, seed: u64) -> Self {
        let size = plan.size.map(|s| s as usize);
        let mut dice = Dice::new(seed, PIXELS);
        let drawn = (0..DRAWN).map(|_| dice.normal() as f32).collect();
        let mut pattern = Dice::new(seed, PATTERN);
        let netd = plan.netd_mk as f32 / 1000.0;
        let columns = (0..size[0]).map(|_| 0.5 * netd * pattern.normal() as f32).collect();
        let pixels = (0..size[0] * size[1]).map(|_| 0.4 * netd * pattern.normal() as f32).collect();
        let turn = pattern.draw() as u32;
        // Between two corrections the corners drift, by some tenths of a kelvin a minute.
        let creep = (0..size[0] * size[1])
            .map(|i| {
                let (x, y) = ((i % size[0]) as f32 / size[0] as f32, (i / size[0]) as f32 / size[1] as f32);
                0.4 * smooth(turn, x * 1.7, y * 1.7) + 0.5 * ((x - 0.5).powi(2) + (y - 0.5).powi(2))
            })
            .collect();
        Self {
            plan: plan.clone(),
            size,
            air: weather.air_c as f32 + 273.15,
            rain: weather.rain_mm_h as f32,
            dice,
            drops: Dice::new(seed, RAIN),
            wetted: Vec::new(),
            drawn,
            columns,
            pixels,
            creep,
            gain: None,
            last_s: 0.0,
            held: None,
            work: Vec::new(),
            other: Vec::new(),
        }
    }

    /// Whether a flat-field correction holds the picture.
    pub(super) fn corrects(&self, second: f64) -> bool {
        let every = self.plan.ffc_every_s;
        every > 0.0 && second >= every && second.rem_euclid(every) < FFC_S
    }

    /// The picture of a canvas; the one before while it is held. Whether it is held.
    pub(super) fn expose(&mut self, canvas: &Canvas, second: f64, upset: Upset) -> Result<(Samples, bool)> {
        if (upset.freeze || self.corrects(second))
            && let Some(held) = &self.held
        {
            return Ok((held.clone(), true));
        }
        self.air(canvas);
        self.streaks();
        self.lens_drops(second);
        self.lens();
        self.noise(second);
        let samples = match self.plan.kelvin_per_count {
            Some(k) => {
                let per = 1.0 / k as f32;
                SampleData::Sixteen(
                    self.work.iter().map(|t| (t * per).round().clamp(0.0, 65535.0) as u16).collect(),
                )
            }
            None => SampleData::Eight(self.video(second, upset)),
        };
        let samples = Samples::new(self.size[0] as u32, self.size[1] as u32, samples, SampleRange::Full)?;
        self.last_s = second;
        self.held = Some(samples.clone());
        Ok((samples, false))
    }

    /// The veil between camera and ground, itself as warm as the air.
    fn air(&mut self, canvas: &Canvas) {
        let per_m = AIR_PER_M + RAIN_PER_M * self.rain.powf(0.63);
        let air = self.air;
        self.work.clear();
        self.work.extend(canvas.kelvin.iter().zip(&canvas.depth).map(|(k, depth)| {
            let x = per_m * depth.min(5000.0);
            // exp(-x) to a hundredth.
            let through = 1.0 / (1.0 + x + x * x * (0.5 + x * 0.2));
            air + (k - air) * through
        }));
    }

    /// Falling drops: short streaks along the way they fall across the picture, broad where they are close.
    fn streaks(&mut self) {
        if self.rain <= 0.0 {
            return;
        }
        let [w, h] = self.size;
        let area = (w * h) as f64 / (640.0 * 512.0);
        let n = self.drops.about(f64::from(self.rain) * STREAKS_A_MM * area).min(2000);
        for _ in 0..n {
            let d = &mut self.drops;
            let close = d.chance(CLOSE_STREAKS);
            let (mut x, mut y) = (d.between32(0.0, w as f32), d.between32(0.0, h as f32));
            let (length, turn) = (d.between32(6.0, 28.0), 1.35 + 0.12 * d.normal() as f32);
            let strength = d.between32(-0.45, 0.25);
            let (length, half) = if close { (length * 2.5, 1) } else { (length, 0) };
            let (dy, dx) = turn.sin_cos();
            for _ in 0..length as usize {
                (x, y) = (x + dx, y + dy);
                if x < 0.0 || y < 0.0 || y as usize >= h {
                    continue;
                }
                let (x, row) = (x as usize, y as usize * w);
                for x in x.saturating_sub(half)..(x + half + 1).min(w) {
                    self.work[row + x] += strength;
                }
            }
        }
    }

    /// Drops come onto the lens and run off it.
    fn lens_drops(&mut self, second: f64) {
        let [w, h] = self.size;
        self.wetted.retain(|d| d.until_s > second);
        let since = (second - self.last_s).clamp(0.0, 10.0);
        let n = self.drops.about(f64::from(self.rain) * LENS_DROPS_A_MM * since);
        for _ in 0..n.min(MOST_LENS_DROPS.saturating_sub(self.wetted.len())) {
            let d = &mut self.drops;
            let at = [d.between32(0.0, w as f32), d.between32(0.0, h as f32)];
            let radius = d.between32(0.012, 0.05) * w as f32;
            self.wetted.push(LensDrop {
                at,
                radius,
                until_s: second + d.between(LENS_DROP_S.0, LENS_DROP_S.1),
            });
        }
        for drop in &self.wetted {
            let reach = |at: f32, side: usize| {
                (at - drop.radius).max(0.0) as usize..((at + drop.radius) as usize + 1).min(side)
            };
            for y in reach(drop.at[1], h) {
                for x in reach(drop.at[0], w) {
                    let off = (x as f32 - drop.at[0]).hypot(y as f32 - drop.at[1]) / drop.radius;
                    let hides = LENS_DROP_HIDES * (1.0 - off * off).max(0.0);
                    let t = &mut self.work[y * w + x];
                    *t += (self.air - *t) * hides;
                }
            }
        }
    }

    /// The lens's spread: five taps along each axis.
    fn lens(&mut self) {
        let sigma = self.plan.blur_px as f32;
        if sigma <= 0.0 {
            return;
        }
        let weight = |d: f32| (-d * d / (2.0 * sigma * sigma)).exp();
        let sum = 1.0 + 2.0 * weight(1.0) + 2.0 * weight(2.0);
        let (a, b, c) = (1.0 / sum, weight(1.0) / sum, weight(2.0) / sum);
        let [w, h] = self.size;
        self.other.resize(w * h, 0.0);
        for (row, out) in self.work.chunks_exact(w).zip(self.other.chunks_exact_mut(w)) {
            for (x, out) in out.iter_mut().enumerate() {
                let at = |d: isize| row[(x as isize + d).clamp(0, w as isize - 1) as usize];
                *out = if x >= 2 && x + 2 < w {
                    a * row[x] + b * (row[x - 1] + row[x + 1]) + c * (row[x - 2] + row[x + 2])
                } else {
                    a * at(0) + b * (at(-1) + at(1)) + c * (at(-2) + at(2))
                };
            }
        }
        for y in 0..h {
            let row = |d: isize| {
                let y = (y as isize + d).clamp(0, h as isize - 1) as usize;
                &self.other[y * w..(y + 1) * w]
            };
            let (m2, m1, z, p1, p2) = (row(-2), row(-1), row(0), row(1), row(2));
            let out = &mut self.work[y * w..(y + 1) * w];
            for (x, out) in out.iter_mut().enumerate() {
                *out = a * z[x] + b * (m1[x] + p1[x]) + c * (m2[x] + p2[x]);
            }
        }
    }

    fn noise(&mut self, second: f64) {
        let netd = self.plan.netd_mk as f32 / 1000.0;
        if netd <= 0.0 {
            return;
        }
        let every = self.plan.ffc_every_s;
        let since = if every > 0.0 { second.rem_euclid(every) } else { second.min(300.0) };
        let crept = (since / 120.0) as f32;
        let w = self.size[0];
        for (y, row) in self.work.chunks_exact_mut(w).enumerate() {
            let from = self.dice.draw() as usize;
            let wave = 0.3 * netd * self.drawn[(from >> 20) % DRAWN];
            let pixels = &self.pixels[y * w..(y + 1) * w];
            let creep = &self.creep[y * w..(y + 1) * w];
            for (x, t) in row.iter_mut().enumerate() {
                *t += netd * self.drawn[(from + x) % DRAWN]
                    + wave
                    + self.columns[x]
                    + pixels[x]
                    + crept * creep[x];
            }
        }
    }

    /// 8 bits: gain and level follow what is in view, edges are raised, ends are bent.
    fn video(&mut self, second: f64, upset: Upset) -> Vec<u8> {
        let mut some: Vec<f32> = self.work.iter().step_by(7).copied().collect();
        let mut at = |share: f64| {
            let i = ((some.len() - 1) as f64 * share) as usize;
            *some.select_nth_unstable_by(i, f32::total_cmp).1
        };
        let (low, middle, high) = (at(0.03), at(0.5), at(0.97));
        let spread = (high - middle).max(middle - low).max(0.05);
        let wanted = (MOST_GAIN.min(75.0 / spread), middle);
        let (gain, level) = match self.gain {
            None => wanted,
            Some((gain, level)) => {
                let part = 1.0 - (1.0 - GAIN_A_SECOND).powf((second - self.last_s).clamp(0.0, 10.0) as f32);
                (gain + (wanted.0 - gain) * part, level + (wanted.1 - level) * part)
            }
        };
        self.gain = Some((gain, level));
        let gain = gain * upset.gain.map_or(1.0, |g| g as f32);
        self.soften();
        let dark = self.plan.black_hot != upset.flip;
        self.work
            .iter()
            .zip(&self.other)
            .map(|(t, soft)| {
                let g = MIDDLE + gain * (t - level + DETAIL * (t - soft));
                // Both ends are bent, so that a bonnet does not drown its surroundings.
                let g = if g > 185.0 {
                    185.0 + 52.0 * (1.0 - (-(g - 185.0) / 52.0).exp())
                } else if g < 55.0 {
                    55.0 - 45.0 * (1.0 - (-(55.0 - g) / 45.0).exp())
                } else {
                    g
                };
                let g = g.round() as u8;
                if dark { 255 - g } else { g }
            })
            .collect()
    }

    /// Means of seven by seven into `other`.
    fn soften(&mut self) {
        const REACH: usize = 3;
        let [w, h] = self.size;
        self.other.resize(w * h, 0.0);
        let mut sums = vec![0.0f64; w];
        let row = |work: &[f32], y: isize, into: &mut [f64], sign: f64| {
            let y = y.clamp(0, h as isize - 1) as usize;
            for (s, t) in into.iter_mut().zip(&work[y * w..(y + 1) * w]) {
                *s += sign * f64::from(*t);
            }
        };
        for y in -(REACH as isize)..=REACH as isize {
            row(&self.work, y, &mut sums, 1.0);
        }
        let n = ((2 * REACH + 1) * (2 * REACH + 1)) as f64;
        for y in 0..h as isize {
            let at = |x: isize| sums[x.clamp(0, w as isize - 1) as usize];
            let mut sum: f64 = (-(REACH as isize)..=REACH as isize).map(at).sum();
            let out = &mut self.other[y as usize * w..(y as usize + 1) * w];
            for (x, o) in out.iter_mut().enumerate() {
                *o = (sum / n) as f32;
                let x = x as isize;
                sum += at(x + REACH as isize + 1) - at(x - REACH as isize);
            }
            row(&self.work, y + REACH as isize + 1, &mut sums, 1.0);
            row(&self.work, y - REACH as isize, &mut sums, -1.0);
        }
    }
}
