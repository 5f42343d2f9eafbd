//! The physical hotspot detector: a frame becomes peaks of local contrast, by an ONNX graph of
//! standard operators with nothing learned in it (`models/train/hotspot.py` writes it).
//!
//! Input `frame` `[1, 1, height, width]`, f32, the camera's values as they are, 8 or 16 bit, warm is
//! high; height and width multiples of 32. Outputs `contrast_2`, `contrast_4` and `contrast_8`,
//! `[1, 1, height / n, width / n]`: how far the mean of 3x3 cells of n pixels lies above the ring around
//! them, in robust deviations of the background nearby; 0 where it lies below.

use ort::memory::Allocator;
use ort::value::Tensor;

use super::runtime::Network;
use super::thermal::{failed, open};
use super::{Manifest, Runtime, Slot};
use crate::base::{Error, Result};
use crate::event::ModelRef;

/// The outputs and the width of their cells in pixels.
const LEVELS: [(&str, u8); 3] = [("contrast_2", 2), ("contrast_4", 4), ("contrast_8", 8)];

/// A peak is the highest of the cells so far around it.
const AROUND: usize = 2;

/// A peak of contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Its place, pixels of the input.
    pub x: f32,
    /// Its place, pixels of the input.
    pub y: f32,
    /// Side of the square that stands out, pixels: three cells.
    pub side: f32,
    /// How far, in deviations of the background.
    pub contrast: f32,
}

/// The detector, for one size of frame. One run at a time.
#[derive(Debug)]
pub struct HotspotNet {
    network: Network,
    input: Tensor<f32>,
    model: ModelRef,
    size: (u32, u32),
}

impl HotspotNet {
    /// Opens the model in the slot for inputs of `width` x `height`, multiples of
    /// [`MULTIPLE`](super::thermal::MULTIPLE).
    pub fn open(
        runtime: &Runtime,
        manifest: &Manifest,
        threads: u16,
        width: u32,
        height: u32,
    ) -> Result<Self> {
        let dimensions = [("width", width), ("height", height)];
        let (network, model) =
            open(runtime, manifest, Slot::ThermalHotspot, threads, (width, height), dimensions)?;
        let mut input = Tensor::<f32>::new(&Allocator::default(), [1, 1, height as usize, width as usize])
            .map_err(failed)?;
        input.extract_tensor_mut().1.fill(0.0);
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

    /// Looks at the input; every peak of at least `keep` goes into `found`.
    pub fn run(&mut self, keep: f32, found: &mut Vec<Peak>) -> Result<()> {
        let outputs = self.network.run(ort::inputs!["frame" => &self.input]).map_err(failed)?;
        for (name, cell) in LEVELS {
            let map =
                outputs.get(name).ok_or_else(|| Error::internal(format!("the detector gave no {name}")))?;
            let (_, values) = map.try_extract_tensor::<f32>().map_err(failed)?;
            peaks(values, self.size.0 as usize / usize::from(cell), f32::from(cell), keep, found);
        }
        Ok(())
    }
}

fn peaks(values: &[f32], columns: usize, cell: f32, keep: f32, found: &mut Vec<Peak>) {
    // A flat frame is one plateau of zeros.
    let keep = keep.max(1e-3);
    for (y, row) in values.chunks_exact(columns).enumerate() {
        for (x, contrast) in row.iter().enumerate() {
            // Not so for what is no number either.
            if *contrast >= keep && contrast.is_finite() && is_peak(values, columns, x, y, *contrast) {
                found.push(Peak {
                    x: (x as f32 + 0.5) * cell,
                    y: (y as f32 + 0.5) * cell,
                    side: 3.0 * cell,
                    contrast: *contrast,
                });
            }
        }
    }
}

/// Whether nothing near a cell is higher.
fn is_peak(values: &[f32], columns: usize, x: usize, y: usize, contrast: f32) -> bool {
    let (from, to) = (x.saturating_sub(AROUND), (x + AROUND + 1).min(columns));
    let rows = values.chunks_exact(columns).take(y + AROUND + 1).skip(y.saturating_sub(AROUND));
    !rows.flat_map(|row| row.get(from..to).unwrap_or_default()).any(|v| *v > contrast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_in_pixels_and_numbers() {
        let mut found = Vec::new();
        peaks(&[0.0, 5.0, f32::NAN, f32::NAN, 2.0, 0.0], 3, 4.0, 3.0, &mut found);
        assert_eq!(found, [Peak { x: 6.0, y: 2.0, side: 12.0, contrast: 5.0 }]);
        found.clear();
        peaks(&[f32::INFINITY], 1, 4.0, 3.0, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_peak_is_the_highest_of_its_neighbours() {
        let mut map = vec![0.0; 12 * 9];
        let places =
            [(0, 0, 6.0), (2, 0, 7.0), (5, 4, 9.0), (7, 6, 8.0), (8, 4, 8.5), (11, 8, 4.0), (11, 7, 4.0)];
        for (x, y, contrast) in places {
            map[y * 12 + x] = contrast;
        }
        let mut found = Vec::new();
        peaks(&map, 12, 2.0, 3.5, &mut found);
        let mut at: Vec<_> = found.iter().map(|p| ((p.x - 1.0) / 2.0, (p.y - 1.0) / 2.0)).collect();
        at.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        // (0, 0) has a higher neighbour, (7, 6) two; of two that are as high both are peaks.
        assert_eq!(at, [(2.0, 0.0), (5.0, 4.0), (8.0, 4.0), (11.0, 7.0), (11.0, 8.0)]);
    }
}
