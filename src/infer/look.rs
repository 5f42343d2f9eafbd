//! The second look: a crop around each proposal of [`super::thermal`] becomes a better score and a
//! better box.
//!
//! Inputs `near` and `wide` `[4, 1, 40, 40]`, f32: two crops around the middle of a proposal, values
//! about the frame's mean in its deviations; `size` `[4, 1]`: the logarithm of the near crop's side over
//! [`UNIT`]; `first` `[4, 1]`: the logit of the proposal's score. Output `seen` `[4, 8]`: the logits of
//! the four labels after both looks; how far the middle moves, in sides of the near crop; the
//! logarithms of what width and height grow by.

use ort::memory::Allocator;
use ort::value::Tensor;

use super::runtime::{Network, Shapes};
use super::thermal::{Label, failed};
use super::{Manifest, Runtime, Slot};
use crate::base::{Error, Result};
use crate::event::ModelRef;

/// Proposals that are looked at together.
pub const BATCH: usize = 4;
/// Values along a crop's side.
pub const SIDE: usize = 40;
/// Side of the near crop, in lengths of the proposal's longer side.
pub const NEAR: f32 = 2.5;
/// Side of the wide crop, the same way.
pub const WIDE: f32 = 7.5;
/// A shorter proposal gets the crops of one this long, pixels.
pub const LEAST: f32 = 20.0;
/// Side of the near crop whose logarithm is 0, pixels.
pub const UNIT: f32 = 64.0;
/// Logarithms of growth beyond this are none; the training cuts there too.
const MAX_GROWTH: f32 = 1.5;
const SEEN: usize = 8;

/// What was seen of one proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    logits: [f32; 4],
    shift: [f32; 2],
    growth: [f32; 2],
}

impl Seen {
    /// The score of a label after both looks, 0 to 1; not a number where the network gave none.
    pub fn score(&self, label: Label) -> f32 {
        let logit = match label {
            Label::Person => self.logits[0],
            Label::Car => self.logits[1],
            Label::Bicycle => self.logits[2],
            Label::OtherVehicle => self.logits[3],
        };
        1.0 / (1.0 + (-logit).exp())
    }

    /// Where a proposal (left, top, width, height) really lies.
    pub fn moved(&self, bbox: [f32; 4]) -> [f32; 4] {
        let [x, y, w, h] = bbox;
        let side = near_side(bbox);
        let grown = |length: f32, by: f32| length * by.clamp(-MAX_GROWTH, MAX_GROWTH).exp();
        let (wide, high) = (grown(w, self.growth[0]), grown(h, self.growth[1]));
        let (cx, cy) = (x + w / 2.0 + self.shift[0] * side, y + h / 2.0 + self.shift[1] * side);
        [cx - wide / 2.0, cy - high / 2.0, wide, high]
    }
}

/// Side of the near crop around a proposal (left, top, width, height), pixels.
pub fn near_side([_, _, w, h]: [f32; 4]) -> f32 {
    NEAR * w.max(h).max(LEAST)
}

/// The network. One run at a time.
#[derive(Debug)]
pub struct LookNet {
    network: Network,
    near: Tensor<f32>,
    wide: Tensor<f32>,
    size: Tensor<f32>,
    first: Tensor<f32>,
    model: ModelRef,
}

impl LookNet {
    /// Opens the model in the slot.
    pub fn open(runtime: &Runtime, manifest: &Manifest, threads: u16) -> Result<Self> {
        let (entry, bytes) = manifest.read(Slot::ThermalLook)?;
        let network = runtime
            .session(&bytes, threads, &[("n", BATCH as i64)], Shapes::Fixed)
            .map_err(|e| e.context(format!("model {}", entry.name)))?;
        entry.check_contract(network.session())?;
        let crops = || tensor([BATCH, 1, SIDE, SIDE].as_slice());
        let column = || tensor([BATCH, 1].as_slice());
        let model = entry.model_ref();
        Ok(Self { network, near: crops()?, wide: crops()?, size: column()?, first: column()?, model })
    }

    /// Which model this is.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// The near and the wide crop of one of [`BATCH`] proposals, rows from the top.
    pub fn crops(&mut self, slot: usize) -> [&mut [f32]; 2] {
        let one = SIDE * SIDE;
        [&mut self.near, &mut self.wide]
            .map(|t| t.extract_tensor_mut().1.chunks_exact_mut(one).nth(slot).unwrap_or_default())
    }

    /// Looks at the crops of as many proposals as there are boxes (left, top, width, height) and first
    /// scores, at most [`BATCH`].
    pub fn run(&mut self, proposals: &[([f32; 4], f32)], found: &mut Vec<Seen>) -> Result<()> {
        let sizes = self.size.extract_tensor_mut().1.iter_mut();
        let firsts = self.first.extract_tensor_mut().1.iter_mut();
        for ((size, first), (bbox, score)) in sizes.zip(firsts).zip(proposals) {
            *size = (near_side(*bbox) / UNIT).ln();
            let score = score.clamp(1e-6, 1.0 - 1e-6);
            *first = (score / (1.0 - score)).ln();
        }
        let outputs = self
            .network
            .run(ort::inputs![
                "near" => &self.near, "wide" => &self.wide, "size" => &self.size, "first" => &self.first
            ])
            .map_err(failed)?;
        let seen = outputs.get("seen").ok_or_else(|| Error::internal("the second look saw nothing"))?;
        let (_, values) = seen.try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != BATCH * SEEN {
            return Err(Error::internal("the second look's output has another size"));
        }
        found.extend(values.chunks_exact(SEEN).take(proposals.len()).map(row));
        Ok(())
    }
}

fn row(values: &[f32]) -> Seen {
    let at = |i: usize| values.get(i).copied().unwrap_or(f32::NAN);
    Seen { logits: [at(0), at(1), at(2), at(3)], shift: [at(4), at(5)], growth: [at(6), at(7)] }
}

fn tensor(shape: &[usize]) -> Result<Tensor<f32>> {
    let mut tensor = Tensor::<f32>::new(&Allocator::default(), shape.to_vec()).map_err(failed)?;
    tensor.extract_tensor_mut().1.fill(0.0);
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_moves_by_the_crop_and_grows_by_itself() {
        let seen = Seen { logits: [0.0, 1.0, 2.0, 3.0], shift: [0.1, -0.2], growth: [2f32.ln(), 9.0] };
        // The near crop of a 10x40 proposal is 100 px wide: its middle goes from (25, 50) to (35, 30).
        let [x, y, w, h] = seen.moved([20.0, 30.0, 10.0, 40.0]);
        let high = 40.0 * MAX_GROWTH.exp();
        for (got, wanted) in [(x, 25.0), (y, 30.0 - high / 2.0), (w, 20.0), (h, high)] {
            assert!((got - wanted).abs() < 1e-3, "{got} {wanted}");
        }
        assert_eq!(near_side([0.0, 0.0, 4.0, 5.0]), 50.0);
        assert_eq!(seen.score(Label::Person), 0.5);
        assert!(seen.score(Label::OtherVehicle) > seen.score(Label::Bicycle));
        assert!(row(&[f32::NAN; SEEN]).score(Label::Car).is_nan());
    }
}
