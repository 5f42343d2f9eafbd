//! The trained thermal detector: a frame becomes people and vehicles.
//!
//! Input `blocks` `[1, height / 2 + 1, width / 2 + 1, 4]`, u8: a frame's values as levels about its
//! [`Tone`], warm is high, 2x2 pixels together (rows from the top), one pixel of the mean around the
//! frame; height and width multiples of 32. Output `map` `[1, height / 4, width / 4, 8]`, f32: for each
//! cell four class logits and the logarithms of the distances from the cell's centre to the left, top,
//! right and bottom edge of its object, in units of 8 pixels. One object has several cells that overlap.

use ort::memory::Allocator;
use ort::value::Tensor;

use super::runtime::{Network, Shapes};
use super::{Manifest, Runtime, Slot};
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::ModelRef;

/// Width and height of the input are multiples of this.
pub const MULTIPLE: u32 = 32;
/// Pixels a cell of the output is wide.
const STRIDE: usize = 4;
/// What a distance of `exp(0)` stands for, pixels.
const BOX_UNIT: f32 = 8.0;
/// Logarithms of distances beyond this (1,187 pixels) are no object; the training cuts there too.
const MAX_LOG: f32 = 5.0;

/// Values of one cell.
const CELL: usize = 8;
/// The mean of a frame, as a level.
const ZERO: u8 = 80;
/// Levels in one deviation of a frame: from 4.4 below the mean to 9.7 above it.
const LEVELS: f32 = 18.0;

/// Mean and deviation of a frame's values, which both of the learned detector's networks see it by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Mean.
    pub mean: f32,
    /// Standard deviation, at least a thousandth.
    pub deviation: f32,
}

impl Tone {
    /// Of rows of `columns` values.
    pub fn of(values: &[f32], columns: usize) -> Self {
        let count = values.len().max(1) as f64;
        let mean = (sum(values, columns, |v| v) / count) as f32;
        let square = sum(values, columns, |v| (v - mean) * (v - mean)) / count;
        Self { mean, deviation: (square.sqrt() as f32).max(1e-3) }
    }

    fn levels(self, values: &[f32], levels: &mut [u8]) {
        /// Added to a small number it leaves the nearest whole one in the lowest bits: a cast would take each value
        /// by itself.
        const WHOLE: f32 = 8_388_608.0;
        let scale = LEVELS / self.deviation;
        for (level, v) in levels.iter_mut().zip(values) {
            let exact = ((v - self.mean) * scale + f32::from(ZERO)).clamp(0.0, 255.0);
            *level = (exact + WHOLE).to_bits() as u8;
        }
    }
}

/// The sum over rows, in lanes that a processor adds at the same time.
fn sum(values: &[f32], columns: usize, of: impl Fn(f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let row = |row: &[f32]| {
        let (many, rest) = row.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for some in many {
            for (sum, v) in sums.iter_mut().zip(some) {
                *sum += of(*v);
            }
        }
        f64::from(sums.iter().sum::<f32>() + rest.iter().map(|v| of(*v)).sum::<f32>())
    };
    values.chunks(columns.max(1)).map(row).sum()
}

/// What the network tells apart, in the order of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// A person on foot.
    Person,
    /// A car.
    Car,
    /// A bicycle or a motorcycle, with its rider or without.
    Bicycle,
    /// A bus, a truck, anything else with an engine.
    OtherVehicle,
}

impl Label {
    /// All of them, in the order of the network's output.
    pub const ALL: [Self; 4] = [Self::Person, Self::Car, Self::Bicycle, Self::OtherVehicle];

    /// The data set's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "Person",
            Self::Car => "Car",
            Self::Bicycle => "Bicycle",
            Self::OtherVehicle => "OtherVehicle",
        }
    }
}

/// One cell's opinion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left, top, width, height, in pixels of the input.
    pub bbox: [f32; 4],
    /// What.
    pub label: Label,
    /// 0 to 1.
    pub score: f32,
}

/// The detector, for one size of frame. One run at a time.
#[derive(Debug)]
pub struct ThermalNet {
    network: Network,
    blocks: Tensor<u8>,
    rows: [Vec<u8>; 2],
    model: ModelRef,
    size: (u32, u32),
}

impl ThermalNet {
    /// Opens the model in the slot for inputs of `width` x `height`.
    pub fn open(
        runtime: &Runtime,
        manifest: &Manifest,
        threads: u16,
        width: u32,
        height: u32,
    ) -> Result<Self> {
        let (wide, high) = (width / 2 + 1, height / 2 + 1);
        let dimensions = [("wide", wide), ("high", high)];
        let (network, model) =
            open(runtime, manifest, Slot::ThermalDetection, threads, (width, height), dimensions)?;
        let blocks =
            Tensor::<u8>::new(&Allocator::default(), [1, high as usize, wide as usize, 4]).map_err(failed)?;
        let row = || vec![ZERO; width as usize + 2];
        Ok(Self { network, blocks, rows: [row(), row()], model, size: (width, height) })
    }

    /// Which model this is.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Width and height of the input.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Sets what is looked at: `height` rows of `width` values, by their tone.
    pub fn show(&mut self, values: &[f32], tone: Tone) {
        let width = self.size.0 as usize;
        let mut rows = values.chunks_exact(width);
        let [above, below] = &mut self.rows;
        above.fill(ZERO);
        let blocks = self.blocks.extract_tensor_mut().1;
        for line in blocks.chunks_exact_mut(4 * (width / 2 + 1)) {
            // A pixel of the mean is left at both ends, and a row of it beyond the last.
            match rows.next() {
                Some(row) => tone.levels(row, &mut below[1..=width]),
                None => below.fill(ZERO),
            }
            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
            for (block, (above, below)) in line.as_chunks_mut().0.iter_mut().zip(pairs) {
                let (above, below) = (u16::from_le_bytes(*above), u16::from_le_bytes(*below));
                *block = (u32::from(above) | u32::from(below) << 16).to_le_bytes();
            }
            if let Some(row) = rows.next() {
                tone.levels(row, &mut above[1..=width]);
            }
        }
    }

    /// Looks at what was shown; every cell and class with a score of at least `keep` goes into `found`.
    pub fn run(&mut self, keep: f32, found: &mut Vec<Detection>) -> Result<()> {
        let outputs = self.network.run(ort::inputs!["blocks" => &self.blocks]).map_err(failed)?;
        let map = outputs.get("map").ok_or_else(|| Error::internal("the thermal detector gave no map"))?;
        let (_, values) = map.try_extract_tensor::<f32>().map_err(failed)?;
        let (columns, rows) = (self.size.0 as usize / STRIDE, self.size.1 as usize / STRIDE);
        if values.len() != CELL * columns * rows {
            return Err(Error::internal("the thermal detector's map has another size"));
        }
        decode(values, columns, keep, found);
        Ok(())
    }
}

/// A session over a slot's model for frames of one size, whose input has these dimensions.
pub(super) fn open(
    runtime: &Runtime,
    manifest: &Manifest,
    slot: Slot,
    threads: u16,
    (width, height): (u32, u32),
    dimensions: [(&str, u32); 2],
) -> Result<(Network, ModelRef)> {
    let fits = |side: u32| side > 0 && side.is_multiple_of(MULTIPLE);
    if !fits(width) || !fits(height) {
        return Err(Error::internal(format!("a thermal detector cannot take {width}x{height}")));
    }
    let (entry, bytes) = manifest.read(slot)?;
    let dimensions = dimensions.map(|(name, n)| (name, i64::from(n)));
    let network = runtime
        .session(&bytes, threads, &dimensions, Shapes::Fixed)
        .map_err(|e| e.context(format!("model {}", entry.name)))?;
    entry.check_contract(network.session())?;
    Ok((network, entry.model_ref()))
}

pub(super) fn failed(e: ort::Error) -> Error {
    Error::new(Kind::Internal, Culprit::Vigil, "the thermal detector failed").with_source(e)
}

/// `values` holds rows of `columns` cells.
fn decode(values: &[f32], columns: usize, keep: f32, found: &mut Vec<Detection>) {
    let keep = keep.clamp(1e-6, 1.0 - 1e-6);
    let least = (keep / (1.0 - keep)).ln();
    for (i, cell) in values.as_chunks::<CELL>().0.iter().enumerate() {
        let [logits @ .., _, _, _, _] = cell;
        // What is not a number is not kept.
        if !logits.iter().any(|l| *l >= least) {
            continue;
        }
        let [.., left, top, right, bottom] = cell.map(|d| d.clamp(-MAX_LOG, MAX_LOG).exp() * BOX_UNIT);
        let x = ((i % columns) as f32 + 0.5) * STRIDE as f32;
        let y = ((i / columns) as f32 + 0.5) * STRIDE as f32;
        let bbox = [x - left, y - top, left + right, top + bottom];
        if !bbox.iter().all(|v| v.is_finite()) {
            continue;
        }
        for (label, logit) in Label::ALL.into_iter().zip(logits).filter(|(_, l)| **l >= least) {
            found.push(Detection { bbox, label, score: 1.0 / (1.0 + (-logit).exp()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_becomes_a_box_in_pixels() {
        // Two rows of three cells; the fifth says "car", 8 px to the left and top, 16 to the others.
        let mut map = vec![-9.0; CELL * 6];
        map[4 * CELL + 1] = 0.0;
        for (side, log) in [0.0, 0.0, 2f32.ln(), 2f32.ln()].into_iter().enumerate() {
            map[4 * CELL + 4 + side] = log;
        }
        let mut found = Vec::new();
        decode(&map, 3, 0.3, &mut found);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].label, found[0].score), (Label::Car, 0.5));
        let wanted = [6.0 - 8.0, 6.0 - 8.0, 24.0, 24.0];
        assert!(found[0].bbox.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
        found.clear();
        decode(&map, 3, 0.6, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn what_is_no_number_is_no_detection() {
        let mut found = Vec::new();
        decode(&[f32::NAN; CELL], 1, 0.3, &mut found);
        let mut map = [9.0; CELL];
        map[5] = f32::NAN;
        decode(&map, 1, 0.3, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_tone_is_mean_and_deviation_and_cuts_at_both_ends() {
        // Rows that are no whole number of lanes.
        let values: Vec<f32> = (0..37 * 3).map(|i| (i % 37) as f32).collect();
        let tone = Tone::of(&values, 37);
        let deviation = ((37f32 * 37.0 - 1.0) / 12.0).sqrt();
        assert!((tone.mean - 18.0).abs() < 1e-5 && (tone.deviation - deviation).abs() < 1e-4, "{tone:?}");
        assert_eq!(Tone::of(&[7.0; 9], 3).deviation, 1e-3, "a frame without any");
        let tone = Tone { mean: 100.0, deviation: 18.0 };
        let mut levels = [1; 6];
        tone.levels(&[100.0, 101.0, 99.4, 20.0, -1e9, f32::INFINITY], &mut levels);
        assert_eq!(levels, [80, 81, 79, 0, 0, 255]);
    }
}
