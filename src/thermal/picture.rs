//! What a thermal picture's numbers look like as a whole: the ground for judging polarity and health.

use super::mask::Masks;
use crate::capture::{SampleData, SampleRange, Samples};

/// One pixel of so many in each direction is looked at: a person is several pixels, and one frame in
/// a second would do.
const STEP: u32 = 2;
/// Size of the thumbnail.
const THUMB: (usize, usize) = (32, 24);
/// Steps of the histogram, whatever the bits.
const BINS: usize = 4096;
/// Most pixels kept to tell whether the next picture is another one.
const MAX_TRACE: usize = 8_192;

/// Figures of one picture, of what no mask covers.
#[derive(Clone)]
pub struct PictureFigures {
    /// Pixels looked at.
    pub pixels: u32,
    /// Smallest and largest number.
    pub extremes: (u16, u16),
    /// 0.05 %, 2 %, 98 % and 99.95 % of the pixels are below these.
    pub quantiles: [f32; 4],
    /// Share of pixels at or beyond the white end of an 8-bit picture, 0 to 1.
    pub white: f32,
    /// Share of pixels at or beyond its black end.
    pub black: f32,
    size: (u32, u32),
    /// Means of its parts, of mean 0 and length 1; `None` where all are alike.
    thumb: Option<Vec<f32>>,
    trace: Vec<u16>,
}

impl std::fmt::Debug for PictureFigures {
    /// Without what could be a picture.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PictureFigures")
            .field("size", &self.size)
            .field("extremes", &self.extremes)
            .field("quantiles", &self.quantiles)
            .finish_non_exhaustive()
    }
}

impl PictureFigures {
    /// Looks at a picture; `None` where the masks leave nothing. `masks` are fitted to its size.
    pub fn of(samples: &Samples, masks: &mut Masks) -> Option<Self> {
        masks.fit(samples.width(), samples.height());
        match samples.data() {
            SampleData::Eight(v) => figures(samples, v, masks),
            SampleData::Sixteen(v) => figures(samples, v, masks),
        }
    }

    /// How alike two pictures are as a whole, whatever gain and level: 1 the same, -1 one the negative
    /// of the other. `None` where one is empty or they differ in size.
    pub fn likeness(&self, other: &Self) -> Option<f32> {
        let (a, b) = self.thumb.as_ref().zip(other.thumb.as_ref())?;
        (self.size == other.size).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum())
    }

    /// Share of the pixels that differ between two pictures by more than `by`.
    pub fn changed(&self, other: &Self, by: u16) -> f32 {
        if self.size != other.size || self.trace.len() != other.trace.len() {
            return 1.0;
        }
        let n = self.trace.iter().zip(&other.trace).filter(|(a, b)| a.abs_diff(**b) > by).count();
        n as f32 / self.trace.len().max(1) as f32
    }
}

fn figures<T: Copy + Into<u16>>(samples: &Samples, data: &[T], masks: &Masks) -> Option<PictureFigures> {
    let (width, height) = (samples.width(), samples.height());
    let mut seen: Vec<u16> = Vec::with_capacity((width / STEP + 1) as usize * (height / STEP + 1) as usize);
    let (mut sums, mut counts) = (vec![0f32; THUMB.0 * THUMB.1], vec![0f32; THUMB.0 * THUMB.1]);
    let masked = !masks.is_empty();
    for y in (0..height).step_by(STEP as usize) {
        let row = data.get(y as usize * width as usize..)?.get(..width as usize)?;
        let part_y = y as usize * THUMB.1 / height as usize * THUMB.0;
        for x in (0..width).step_by(STEP as usize) {
            if masked && masks.covers(x, y) {
                continue;
            }
            let value: u16 = row[x as usize].into();
            seen.push(value);
            let part = part_y + x as usize * THUMB.0 / width as usize;
            sums[part] += f32::from(value);
            counts[part] += 1.0;
        }
    }
    let (low, high) = (*seen.iter().min()?, *seen.iter().max()?);
    let every = seen.len().div_ceil(MAX_TRACE);
    let trace = seen.iter().step_by(every).copied().collect();
    let eight = matches!(samples.data(), SampleData::Eight(_));
    let (black, white) = match samples.range() {
        _ if !eight => (0, u16::MAX),
        SampleRange::Studio => (16, 235),
        SampleRange::Full => (0, 255),
    };
    let share = |n: usize| n as f32 / seen.len() as f32;
    Some(PictureFigures {
        pixels: seen.len() as u32,
        extremes: (low, high),
        quantiles: quantiles(&seen, low, high),
        white: share(seen.iter().filter(|v| **v >= white).count()),
        black: share(seen.iter().filter(|v| **v <= black).count()),
        size: (width, height),
        thumb: thumb(sums, &counts),
        trace,
    })
}

/// The quantiles of [`PictureFigures::quantiles`], to a 4096th of the numbers' span.
fn quantiles(seen: &[u16], low: u16, high: u16) -> [f32; 4] {
    let span = usize::from(high - low) + 1;
    let mut bins = vec![0u32; BINS.min(span)];
    let n = bins.len();
    for value in seen {
        bins[usize::from(value - low) * n / span] += 1;
    }
    let mut out = [0f32; 4];
    let (mut below, mut bin) = (0u32, 0);
    for (q, share) in out.iter_mut().zip([0.0005, 0.02, 0.98, 0.9995]) {
        let wanted = (seen.len() as f64 * share) as u32;
        while bin + 1 < n && below + bins[bin] <= wanted {
            below += bins[bin];
            bin += 1;
        }
        *q = f32::from(low) + (bin * span) as f32 / n as f32;
    }
    out
}

fn thumb(mut parts: Vec<f32>, counts: &[f32]) -> Option<Vec<f32>> {
    let n = counts.iter().filter(|c| **c > 0.0).count().max(1) as f32;
    for (part, count) in parts.iter_mut().zip(counts) {
        *part /= count.max(1.0);
    }
    let mean = parts.iter().zip(counts).filter(|(_, c)| **c > 0.0).map(|(p, _)| p).sum::<f32>() / n;
    for (part, count) in parts.iter_mut().zip(counts) {
        // What is covered says nothing.
        *part = if *count > 0.0 { *part - mean } else { 0.0 };
    }
    let length = parts.iter().map(|p| p * p).sum::<f32>().sqrt();
    // Less than a tenth of a step is noise.
    (length > 0.1 * n.sqrt()).then(|| {
        parts.iter_mut().for_each(|p| *p /= length);
        parts
    })
}
