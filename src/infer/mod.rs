//! ONNX Runtime, the model manifest, and one file per model: what it takes, what it gives.
//!
//! No policy lives here. A model is opened only if its file's SHA-256 and its tensors are the ones
//! that the manifest names; everything that can go wrong at that point is one line that names the
//! remedy.

pub mod hotspot;
pub mod look;
mod manifest;
mod runtime;
pub mod sface;
pub mod thermal;
pub mod yunet;

pub use manifest::{
    CalibrationPoint, CalibrationRow, DetectionPoint, DetectionRow, Dimension, FileStatus, Manifest,
    ModelEntry, PackageSource, RuntimeEntry, Slot, TensorEntry, sha256_file,
};
pub use runtime::Runtime;
