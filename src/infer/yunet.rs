//! YuNet: a picture becomes faces with five landmarks each.
//!
//! Input `[1, 3, height, width]`, f32, planes B G R, 0 to 255; height and width multiples of 32.
//! The picture lies in the top left corner, the rest is black. Good for faces 10 to 300 pixels
//! wide in that input.

use ort::memory::Allocator;
use ort::session::SessionOutputs;
use ort::value::Tensor;

use super::runtime::{Network, Shapes};
use super::{Manifest, Runtime, Slot};
use crate::base::{Culprit, Error, Kind, Result};

/// Width and height of the input are multiples of this.
pub const MULTIPLE: u32 = 32;
/// Cells of the output grids are this many pixels wide.
const STRIDES: [usize; 3] = [8, 16, 32];
const OUTPUTS: [[&str; 4]; 3] = [
    ["cls_8", "obj_8", "bbox_8", "kps_8"],
    ["cls_16", "obj_16", "bbox_16", "kps_16"],
    ["cls_32", "obj_32", "bbox_32", "kps_32"],
];

/// One face as the network sees it: several of these overlap on one person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left, top, width, height, in pixels of the input.
    pub bbox: [f32; 4],
    /// `[x, y]` in pixels of the input: the person's right eye, left eye, nose tip, right and left
    /// corner of the mouth.
    pub landmarks: [[f32; 2]; 5],
    /// 0 to 1.
    pub score: f32,
}

/// The detector. One run at a time.
#[derive(Debug)]
pub struct Yunet {
    network: Network,
    input: Tensor<f32>,
    size: (u32, u32),
    shapes: Shapes,
}

impl Yunet {
    /// For one size of input, `width` x `height`: the fastest.
    pub fn open_fixed(
        runtime: &Runtime,
        manifest: &Manifest,
        threads: u16,
        width: u32,
        height: u32,
    ) -> Result<Self> {
        let dimensions = [("width", i64::from(width)), ("height", i64::from(height))];
        Self::open(runtime, manifest, threads, &dimensions, (width, height), Shapes::Fixed)
    }

    /// For inputs of any size.
    pub fn open_free(runtime: &Runtime, manifest: &Manifest, threads: u16) -> Result<Self> {
        Self::open(runtime, manifest, threads, &[], (MULTIPLE, MULTIPLE), Shapes::Free)
    }

    fn open(
        runtime: &Runtime,
        manifest: &Manifest,
        threads: u16,
        dimensions: &[(&str, i64)],
        size: (u32, u32),
        shapes: Shapes,
    ) -> Result<Self> {
        let (entry, bytes) = manifest.read(Slot::FaceDetection)?;
        let network = runtime
            .session(&bytes, threads, dimensions, shapes)
            .map_err(|e| e.context(format!("model {}", entry.name)))?;
        entry.check_contract(network.session())?;
        Ok(Self { network, input: tensor(size)?, size, shapes })
    }

    /// Width and height of the input.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The input's three planes, blue first, each `height` rows of `width` values 0 to 255. What
    /// they hold from before must be overwritten.
    pub fn input(&mut self, width: u32, height: u32) -> Result<&mut [f32]> {
        if self.size != (width, height) {
            let fits = |side: u32| side > 0 && side.is_multiple_of(MULTIPLE);
            if self.shapes == Shapes::Fixed || !fits(width) || !fits(height) {
                return Err(Error::internal(format!("the detector cannot take {width}x{height}")));
            }
            self.wipe();
            self.input = tensor((width, height))?;
            self.size = (width, height);
        }
        Ok(self.input.extract_tensor_mut().1)
    }

    /// Looks at the input; every detection with a score of at least `keep` goes into `found`.
    pub fn run(&mut self, keep: f32, found: &mut Vec<Detection>) -> Result<()> {
        let outputs = self.network.run(ort::inputs!["input" => &self.input]).map_err(failed)?;
        let columns = self.size.0 as usize;
        for (names, stride) in OUTPUTS.iter().zip(STRIDES) {
            decode(&outputs, names, stride, columns / stride, keep, found)?;
        }
        Ok(())
    }

    /// Overwrites what the runtime keeps of the last picture by looking at a black one, or gives it
    /// back: after a black picture of the smallest size, where any size may come next.
    pub fn scrub(&mut self) -> Result<()> {
        match self.shapes {
            Shapes::Fixed => {
                self.wipe();
                self.network.run(ort::inputs!["input" => &self.input]).map_err(failed)?;
            }
            Shapes::Free => {
                self.input(MULTIPLE, MULTIPLE)?.fill(0.0);
                self.network.run_and_give_back(ort::inputs!["input" => &self.input]).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn wipe(&mut self) {
        self.input.extract_tensor_mut().1.fill(0.0);
    }
}

impl Drop for Yunet {
    fn drop(&mut self) {
        self.wipe();
    }
}

fn tensor((width, height): (u32, u32)) -> Result<Tensor<f32>> {
    let mut tensor =
        Tensor::<f32>::new(&Allocator::default(), [1, 3, height as usize, width as usize]).map_err(failed)?;
    tensor.extract_tensor_mut().1.fill(0.0);
    Ok(tensor)
}

fn failed(e: ort::Error) -> Error {
    Error::new(Kind::Internal, Culprit::Vigil, "the detector failed").with_source(e)
}

fn decode(
    outputs: &SessionOutputs<'_>,
    names: &[&str; 4],
    stride: usize,
    columns: usize,
    keep: f32,
    found: &mut Vec<Detection>,
) -> Result<()> {
    let get = |name: &str| -> Result<&[f32]> {
        let value =
            outputs.get(name).ok_or_else(|| Error::internal(format!("the detector gave no {name}")))?;
        Ok(value.try_extract_tensor::<f32>().map_err(failed)?.1)
    };
    let (class, object, boxes, points) = (get(names[0])?, get(names[1])?, get(names[2])?, get(names[3])?);
    let least = keep * keep;
    let s = stride as f32;
    let cells = class.iter().zip(object).zip(boxes.as_chunks::<4>().0).zip(points.as_chunks::<10>().0);
    for (cell, (((class, object), b), p)) in cells.enumerate() {
        let product = class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0);
        // What is not a number is not kept.
        if product.is_nan() || product < least {
            continue;
        }
        let (column, row) = ((cell % columns) as f32, (cell / columns) as f32);
        let (w, h) = (b[2].exp() * s, b[3].exp() * s);
        let landmarks = std::array::from_fn(|k| [(column + p[2 * k]) * s, (row + p[2 * k + 1]) * s]);
        let detection = Detection {
            bbox: [(column + b[0]) * s - w / 2.0, (row + b[1]) * s - h / 2.0, w, h],
            landmarks,
            score: product.sqrt(),
        };
        if detection.bbox.iter().chain(detection.landmarks.iter().flatten()).all(|v| v.is_finite()) {
            found.push(detection);
        }
    }
    Ok(())
}
