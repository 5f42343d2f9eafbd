//! A closer look at what the learned detector proposes: cut out of the frame near and wide, enlarged,
//! and judged by a network that spends three times as much on each value (a cascade, after Cai and
//! Vasconcelos, "Cascade R-CNN", 2018).

use super::plane::Plane;
use crate::base::Result;
use crate::event::ModelRef;
use crate::infer::look::{BATCH, LookNet, NEAR, SIDE, Seen, WIDE, near_side};
use crate::infer::thermal::{Detection, Tone};
use crate::infer::{Manifest, Runtime};

/// Proposals that are looked at in a frame, the best first. Over a town 22 are usual, over a field 4.
const MOST: usize = 100;
/// Each value of a crop is the mean of so many samples each way.
const SAMPLES: usize = 2;

/// The second look. One at a time.
pub(super) struct Closer {
    net: LookNet,
    cut: Cutter,
    seen: Vec<Seen>,
}

impl Closer {
    pub(super) fn open(runtime: &Runtime, manifest: &Manifest, threads: u16) -> Result<Self> {
        let net = LookNet::open(runtime, manifest, threads)?;
        Ok(Self { net, cut: Cutter::default(), seen: Vec::new() })
    }

    pub(super) fn model(&self) -> &ModelRef {
        self.net.model()
    }

    /// Gives each proposal (pixels of the plane, best first) the score and the box that it has after
    /// both looks. Those that score less than `keep` are gone, and those beyond the best hundred.
    pub(super) fn look(
        &mut self,
        plane: &Plane,
        tone: Tone,
        keep: f32,
        proposals: &mut Vec<Detection>,
    ) -> Result<()> {
        proposals.truncate(MOST);
        if proposals.is_empty() {
            return Ok(());
        }
        self.seen.clear();
        for some in proposals.chunks(BATCH) {
            for (slot, proposal) in some.iter().enumerate() {
                let [x, y, w, h] = proposal.bbox;
                let (middle, side) = ([x + w / 2.0, y + h / 2.0], near_side(proposal.bbox));
                for (crop, reach) in self.net.crops(slot).into_iter().zip([1.0, WIDE / NEAR]) {
                    self.cut.crop(plane, tone, middle, reach * side, crop);
                }
            }
            let known: [([f32; 4], f32); BATCH] =
                std::array::from_fn(|i| some.get(i).map_or(([0.0; 4], 0.0), |p| (p.bbox, p.score)));
            self.net.run(&known[..some.len()], &mut self.seen)?;
        }
        for (proposal, seen) in proposals.iter_mut().zip(&self.seen) {
            proposal.score = seen.score(proposal.label);
            proposal.bbox = seen.moved(proposal.bbox);
        }
        // What is not a number is not kept.
        proposals.retain(|p| p.score >= keep && p.bbox.iter().all(|v| v.is_finite()));
        Ok(())
    }
}

/// The values that one value of a crop is made of, along one axis: where they begin, and by how much
/// two pairs of neighbours count.
#[derive(Clone, Copy, Default)]
struct Taps {
    from: [usize; SAMPLES],
    share: [[f32; 2]; SAMPLES],
}

/// Cuts square crops out of frames: each value is the mean of 2x2 bilinear samples (RoiAlign, He et
/// al., "Mask R-CNN", 2017). What lies beyond the edge is the frame's mean.
#[derive(Default)]
struct Cutter {
    row: Vec<f32>,
}

impl Cutter {
    fn crop(&mut self, plane: &Plane, tone: Tone, [cx, cy]: [f32; 2], side: f32, crop: &mut [f32]) {
        let (width, height) = plane.size();
        let columns = taps(cx, side, width as usize);
        let rows = taps(cy, side, height as usize);
        let width = width as usize;
        let first = columns.iter().flat_map(|t| t.from).min().unwrap_or(0);
        let end = columns.iter().flat_map(|t| t.from).max().map_or(width, |c| (c + 2).min(width));
        let values = plane.values();
        self.row.resize(end - first, 0.0);
        for (line, taps) in crop.chunks_exact_mut(SIDE).zip(&rows) {
            // Rows first: along them the values lie one beside the other.
            self.row.fill(0.0);
            for (from, share) in taps.from.iter().zip(taps.share) {
                for (row, share) in (*from..).zip(share) {
                    let Some(source) = values.get(row * width + first..row * width + end) else { continue };
                    self.row.iter_mut().zip(source).for_each(|(sum, v)| *sum += share * (v - tone.mean));
                }
            }
            for (value, taps) in line.iter_mut().zip(&columns) {
                let one = |from: usize, [a, b]: [f32; 2]| {
                    let at = |i: usize| self.row.get(i - first).copied().unwrap_or(0.0);
                    a * at(from) + b * at(from + 1)
                };
                let sum = one(taps.from[0], taps.share[0]) + one(taps.from[1], taps.share[1]);
                *value = sum / tone.deviation;
            }
        }
    }
}

/// Along an axis of `length` values: what each of a crop's values is made of.
fn taps(middle: f32, side: f32, length: usize) -> [Taps; SIDE] {
    let samples = (SIDE * SAMPLES) as f32;
    let last = length.saturating_sub(2);
    std::array::from_fn(|i| {
        let mut taps = Taps::default();
        for (s, (from, share)) in taps.from.iter_mut().zip(&mut taps.share).enumerate() {
            let at = middle + (((i * SAMPLES + s) as f32 + 0.5) / samples - 0.5) * side - 0.5;
            // Also where it is no number.
            if !(at > -1.0 && at < length as f32) {
                continue;
            }
            let at = at.clamp(0.0, length.saturating_sub(1) as f32);
            *from = (at as usize).min(last);
            let part = at - *from as f32;
            *share = [1.0 - part, part].map(|v| v / SAMPLES as f32);
        }
        taps
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SampleData, SampleRange, Samples};
    use crate::thermal::ThermalImage;

    fn plane(value: impl Fn(u32, u32) -> u16) -> Plane {
        let data = (0..64 * 96).map(|i| value(i % 96, i / 96)).collect();
        let samples = Samples::new(96, 64, SampleData::Sixteen(data), SampleRange::Full).unwrap();
        let mut plane = Plane::new(96, 64).unwrap();
        plane.fill(&ThermalImage::white_hot(samples)).unwrap();
        plane
    }

    #[test]
    fn a_crop_of_a_slope_is_the_slope() {
        let plane = plane(|x, y| (20 * x + 30 * y) as u16);
        let tone = Tone::of(plane.values(), 96);
        let mean = 20.0 * 47.5 + 30.0 * 31.5;
        let deviation = ((400.0 * (96.0 * 96.0 - 1.0) + 900.0 * (64.0 * 64.0 - 1.0)) / 12f32).sqrt();
        assert!((tone.mean - mean).abs() < 0.01 && (tone.deviation - deviation).abs() < 0.01);
        let mut crop = vec![f32::NAN; SIDE * SIDE];
        let (cx, cy, side) = (40.3, 30.8, 25.0);
        Cutter::default().crop(&plane, tone, [cx, cy], side, &mut crop);
        for (i, got) in crop.iter().enumerate() {
            let along = |k: usize| ((k as f32 + 0.5) / SIDE as f32 - 0.5) * side - 0.5;
            let (x, y) = (cx + along(i % SIDE), cy + along(i / SIDE));
            let wanted = (20.0 * x + 30.0 * y - mean) / deviation;
            assert!((got - wanted).abs() < 1e-4, "{i}: {got} {wanted}");
        }
    }

    #[test]
    fn beyond_the_edge_lies_the_mean() {
        let plane = plane(|x, _| if x < 48 { 100 } else { 300 });
        let tone = Tone::of(plane.values(), 96);
        let mut crop = vec![f32::NAN; SIDE * SIDE];
        Cutter::default().crop(&plane, tone, [0.0, 0.0], 80.0, &mut crop);
        assert_eq!((crop[0], crop[SIDE * SIDE - 1]), (0.0, -1.0), "outside, and in the dark half");
        for bad in [f32::NAN, f32::INFINITY, -1e9, 1e9] {
            Cutter::default().crop(&plane, tone, [bad, 20.0], 80.0, &mut crop);
            assert!(crop.iter().all(|v| *v == 0.0), "{bad}");
            Cutter::default().crop(&plane, tone, [20.0, 20.0], bad, &mut crop);
            assert!(crop.iter().all(|v| v.is_finite()), "{bad}");
        }
    }
}
