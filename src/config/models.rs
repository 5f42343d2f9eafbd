//! `[models]` and `[inference]`: where the models are and how they run.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a package installs models.
const DEFAULT_DIR: &str = "/usr/share/vigil/models";
/// One thread per model run: on two cores a second one makes both streams slower.
const DEFAULT_THREADS: u16 = 1;
/// Long side of the picture the detector sees: 720p faces from 20 to 600 px become 10 to 300.
const DEFAULT_DETECT_SIZE: u32 = 640;

/// Where the model files are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Directory of `manifest.toml` and the model files.
    pub dir: PathBuf,
    /// The ONNX Runtime library. Default: `libonnxruntime.so` beside the models, then the
    /// system's library path.
    pub runtime: Option<PathBuf>,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from(DEFAULT_DIR), runtime: None }
    }
}

/// How models are run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Threads within one model run.
    #[schemars(range(min = 1, max = 64))]
    pub threads: u16,
    /// Long side of the picture the live detector sees, a multiple of 32.
    #[schemars(range(min = 160, max = 1280), extend("multipleOf" = 32))]
    pub detect_size: u32,
}

impl Default for InferenceConfig {
    fn default() -> Self {
        Self { threads: DEFAULT_THREADS, detect_size: DEFAULT_DETECT_SIZE }
    }
}
