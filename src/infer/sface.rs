//! SFace: an aligned face becomes a vector of 128 numbers.
//!
//! Input `[1, 3, 112, 112]`, f32, planes R G B, 0 to 255, normalised inside the model. Output
//! `[1, 128]`, not normalised; two faces are compared by the cosine.

use ort::memory::Allocator;
use ort::value::Tensor;
use zeroize::Zeroize;

use super::runtime::{Network, Shapes};
use super::{Manifest, Runtime, Slot};
use crate::base::{Culprit, Error, Kind, Result};
use crate::event::ModelRef;

/// Width and height of the aligned face, pixels.
pub const SIDE: usize = 112;
/// Length of the vector.
pub const DIMENSIONS: usize = 128;

/// The embedder. One run at a time.
#[derive(Debug)]
pub struct Sface {
    network: Network,
    input: Tensor<f32>,
    model: ModelRef,
}

impl Sface {
    /// Opens the model in the embedding slot.
    pub fn open(runtime: &Runtime, manifest: &Manifest, threads: u16) -> Result<Self> {
        let (entry, bytes) = manifest.read(Slot::FaceEmbedding)?;
        let network = runtime
            .session(&bytes, threads, &[], Shapes::Fixed)
            .map_err(|e| e.context(format!("model {}", entry.name)))?;
        entry.check_contract(network.session())?;
        let mut input = Tensor::<f32>::new(&Allocator::default(), [1, 3, SIDE, SIDE]).map_err(failed)?;
        input.extract_tensor_mut().1.fill(0.0);
        Ok(Self { network, input, model: entry.model_ref() })
    }

    /// Which model this is.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// The input's three planes, red first, each 112 rows of 112 values 0 to 255.
    pub fn input(&mut self) -> &mut [f32] {
        self.input.extract_tensor_mut().1
    }

    /// Embeds the input. Input and the runtime's copy of the output are overwritten afterwards.
    pub fn run(&mut self, vector: &mut [f32; DIMENSIONS]) -> Result<()> {
        let result = self.embed(vector);
        self.wipe();
        result
    }

    /// Overwrites the runtime's own buffers by embedding a black picture.
    pub fn scrub(&mut self) -> Result<()> {
        self.wipe();
        self.embed(&mut [0.0; DIMENSIONS])
    }

    fn embed(&mut self, vector: &mut [f32; DIMENSIONS]) -> Result<()> {
        let mut outputs = self.network.run(ort::inputs!["data" => &self.input]).map_err(failed)?;
        let output = outputs.get_mut("fc1").ok_or_else(|| Error::internal("the embedder gave no fc1"))?;
        let (_, values) = output.try_extract_tensor_mut::<f32>().map_err(failed)?;
        let fits = values.len() == DIMENSIONS;
        if fits {
            vector.copy_from_slice(values);
        }
        values.zeroize();
        if fits { Ok(()) } else { Err(Error::internal("the embedder's vector has another length")) }
    }

    fn wipe(&mut self) {
        self.input.extract_tensor_mut().1.zeroize();
    }
}

impl Drop for Sface {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn failed(e: ort::Error) -> Error {
    Error::new(Kind::Internal, Culprit::Vigil, "the embedder failed").with_source(e)
}
