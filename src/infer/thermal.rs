//! The trained thermal detector: a frame becomes people and vehicles.
//!
//! Input `frame` `[1, 1, height, width]`, f32, the camera's values as they are, 8 or 16 bit, warm is
//! high; height and width multiples of 32. The graph normalises by the frame's mean and deviation.
//! Output `map` `[1, 8, height / 4, width / 4]`: for each cell four class logits and the logarithms
//! of the distances from the cell's centre to the left, top, right and bottom edge of its object, in
//! units of 8 pixels. One object has several cells that overlap.

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
    input: Tensor<f32>,
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
        let (network, input, model) =
            open(runtime, manifest, Slot::ThermalDetection, threads, width, height)?;
        Ok(Self { network, input, model, size: (width, height) })
    }

    /// Which model this is.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Width and height of the input.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The input: `height` rows of `width` values. All must be overwritten before a run.
    pub fn input(&mut self) -> &mut [f32] {
        self.input.extract_tensor_mut().1
    }

    /// Looks at the input; every cell and class with a score of at least `keep` goes into `found`.
    pub fn run(&mut self, keep: f32, found: &mut Vec<Detection>) -> Result<()> {
        let outputs = self.network.run(ort::inputs!["frame" => &self.input]).map_err(failed)?;
        let map = outputs.get("map").ok_or_else(|| Error::internal("the thermal detector gave no map"))?;
        let (_, values) = map.try_extract_tensor::<f32>().map_err(failed)?;
        let (columns, rows) = (self.size.0 as usize / STRIDE, self.size.1 as usize / STRIDE);
        if values.len() != 8 * columns * rows {
            return Err(Error::internal("the thermal detector's map has another size"));
        }
        decode(values, columns, keep, found);
        Ok(())
    }
}

/// A session over a slot's model whose one input is a frame, and that input.
pub(super) fn open(
    runtime: &Runtime,
    manifest: &Manifest,
    slot: Slot,
    threads: u16,
    width: u32,
    height: u32,
) -> Result<(Network, Tensor<f32>, ModelRef)> {
    let fits = |side: u32| side > 0 && side.is_multiple_of(MULTIPLE);
    if !fits(width) || !fits(height) {
        return Err(Error::internal(format!("a thermal detector cannot take {width}x{height}")));
    }
    let (entry, bytes) = manifest.read(slot)?;
    let dimensions = [("width", i64::from(width)), ("height", i64::from(height))];
    let network = runtime
        .session(&bytes, threads, &dimensions, Shapes::Fixed)
        .map_err(|e| e.context(format!("model {}", entry.name)))?;
    entry.check_contract(network.session())?;
    let mut input =
        Tensor::<f32>::new(&Allocator::default(), [1, 1, height as usize, width as usize]).map_err(failed)?;
    input.extract_tensor_mut().1.fill(0.0);
    Ok((network, input, entry.model_ref()))
}

pub(super) fn failed(e: ort::Error) -> Error {
    Error::new(Kind::Internal, Culprit::Vigil, "the thermal detector failed").with_source(e)
}

/// `values` holds eight planes of `columns` cells a row.
fn decode(values: &[f32], columns: usize, keep: f32, found: &mut Vec<Detection>) {
    let cells = values.len() / 8;
    let (logits, distances) = values.split_at(4 * cells);
    let keep = keep.clamp(1e-6, 1.0 - 1e-6);
    let least = (keep / (1.0 - keep)).ln();
    for (label, plane) in Label::ALL.into_iter().zip(logits.chunks_exact(cells.max(1))) {
        for (cell, logit) in plane.iter().enumerate() {
            // What is not a number is not kept.
            if logit.is_nan() || *logit < least {
                continue;
            }
            let distance = |side: usize| {
                distances
                    .get(side * cells + cell)
                    .map_or(f32::NAN, |d| d.clamp(-MAX_LOG, MAX_LOG).exp() * BOX_UNIT)
            };
            let [left, top, right, bottom] = [0, 1, 2, 3].map(distance);
            let x = ((cell % columns) as f32 + 0.5) * STRIDE as f32;
            let y = ((cell / columns) as f32 + 0.5) * STRIDE as f32;
            let bbox = [x - left, y - top, left + right, top + bottom];
            if bbox.iter().all(|v| v.is_finite()) {
                found.push(Detection { bbox, label, score: 1.0 / (1.0 + (-logit).exp()) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_becomes_a_box_in_pixels() {
        // Two rows of three cells; the fifth says "car", 8 px to the left and top, 16 to the others.
        let mut map = vec![-9.0; 8 * 6];
        map[6 + 4] = 0.0;
        for (side, log) in [0.0, 0.0, 2f32.ln(), 2f32.ln()].into_iter().enumerate() {
            map[(4 + side) * 6 + 4] = log;
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
        decode(&[f32::NAN; 8], 1, 0.3, &mut found);
        let mut map = [9.0; 8];
        map[5] = f32::NAN;
        decode(&map, 1, 0.3, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
