//! `models/manifest.toml`: which model, from where, under which licence, what it takes and gives,
//! and what its scores are worth.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::{TensorElementType, ValueType};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::{Culprit, Error, Kind, Result, hex};
use crate::event::ModelRef;

/// The version of the manifest's layout that this build reads.
const SCHEMA: u32 = 1;
/// What mends a missing or changed file.
pub(super) const REMEDY: &str = "run models/setup.sh, or point `models.dir` at a directory it has filled";
/// No model is larger.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// What a model is for. A box has one model per slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// A picture becomes faces with five landmarks each.
    FaceDetection,
    /// An aligned face becomes a vector.
    FaceEmbedding,
    /// A thermal frame becomes people and vehicles: the trained network.
    ThermalDetection,
    /// A thermal frame's proposals, looked at once more: the trained network's second half.
    ThermalLook,
    /// A thermal frame becomes warm spots: local contrast, nothing learned.
    ThermalHotspot,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FaceDetection => "face_detection",
            Self::FaceEmbedding => "face_embedding",
            Self::ThermalDetection => "thermal_detection",
            Self::ThermalLook => "thermal_look",
            Self::ThermalHotspot => "thermal_hotspot",
        })
    }
}

/// The models of a box.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: u32,
    /// ONNX Runtime itself.
    pub runtime: RuntimeEntry,
    /// The models, one per slot.
    #[serde(rename = "model")]
    pub models: Vec<ModelEntry>,
    #[serde(skip)]
    dir: PathBuf,
}

/// The packaged ONNX Runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEntry {
    /// Path below the manifest's directory.
    pub file: PathBuf,
    /// Its version.
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    /// Where it comes from.
    pub source: PackageSource,
    /// SHA-256 by machine (`x86_64`, `aarch64`), lower-case hex.
    pub sha256: BTreeMap<String, String>,
}

/// A file within a package.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The file's path within it.
    pub member: String,
    /// SHA-256 of that file as packaged, before any preparation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// What it is for.
    pub slot: Slot,
    /// Its name, as in the events.
    pub name: String,
    /// Path below the manifest's directory.
    pub file: PathBuf,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// SPDX expression.
    pub licence: String,
    /// The script beside the manifest that made the file, from its source where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_by: Option<String>,
    /// The package it comes from; `None`: it lies beside the manifest in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PackageSource>,
    /// What it takes.
    #[serde(rename = "input")]
    pub inputs: Vec<TensorEntry>,
    /// What it gives.
    #[serde(rename = "output")]
    pub outputs: Vec<TensorEntry>,
    /// What its scores are worth, one row per population.
    #[serde(default, rename = "calibration", skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationRow>,
    /// What a detector's scores are worth, one row per class and population.
    #[serde(default, rename = "detection", skip_serializing_if = "Vec::is_empty")]
    pub detections: Vec<DetectionRow>,
}

/// One tensor, or a family of them: `cls_{8,16,32}` stands for three.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Its name in the graph.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<Dimension>,
    /// Element type; `f32` is the only one in use.
    pub dtype: String,
    /// Order of the colours, of a tensor that holds a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Smallest and largest value, of a tensor that holds a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
}

/// A dimension: a number, or a name where it is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dimension {
    /// Always this many.
    Fixed(i64),
    /// Any number.
    Free(String),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => n.fmt(f),
            Self::Free(name) => f.write_str(name),
        }
    }
}

/// What a score is worth in one population (ISO/IEC 19795-1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRow {
    /// Who was compared.
    pub population: String,
    /// How many comparisons of two different people were made.
    pub impostor_pairs: u64,
    /// Thresholds by false match rate.
    pub points: Vec<CalibrationPoint>,
    /// Median score of two different people, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impostor_median: Option<f32>,
}

/// The share `fmr` of the comparisons of two different people scored `score` or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPoint {
    /// False match rate, a share.
    pub fmr: f64,
    /// Cosine similarity, -1 to 1.
    pub score: f32,
}

/// What a detector's score is worth for one class in one population, as `vigil eval thermal`
/// measures it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionRow {
    /// What was looked for, in the detector's words: `Person`.
    pub class: String,
    /// Which frames.
    pub population: String,
    /// How many.
    pub frames: u64,
    /// Pixels of one frame, in millions.
    pub megapixels: f64,
    /// The score from which a find is shown and counted.
    pub working_score: f32,
    /// From the lowest score to the highest.
    pub points: Vec<DetectionPoint>,
}

/// What comes of keeping every find of `score` or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionPoint {
    /// The score.
    pub score: f32,
    /// False alarms in a frame, on average.
    pub per_frame: f64,
    /// Share of the finds that are right.
    pub precision: f64,
    /// Share of what is there that is found.
    pub recall: f64,
}

impl DetectionRow {
    /// False alarms per million pixels among the finds of `score` or more: between two points of
    /// the row its logarithm follows the score. Below the first point the first one's; above the
    /// last the last one's, because nothing was measured there.
    pub fn alarms_per_megapixel(&self, score: f32) -> Option<f64> {
        let per_frame = self.at(score, |p| p.per_frame.max(1e-9).ln())?.exp();
        (self.megapixels > 0.0).then(|| per_frame / self.megapixels)
    }

    /// Share of what is there that scores `score` or more.
    pub fn recall(&self, score: f32) -> Option<f64> {
        self.at(score, |p| p.recall)
    }

    fn at(&self, score: f32, value: impl Fn(&DetectionPoint) -> f64) -> Option<f64> {
        let above = self.points.partition_point(|p| p.score <= score);
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return None };
        Some(match (above.checked_sub(1).and_then(|i| self.points.get(i)), self.points.get(above)) {
            (Some(a), Some(b)) => {
                let share = f64::from((score - a.score) / (b.score - a.score).max(1e-6));
                value(a) + share * (value(b) - value(a))
            }
            (None, _) => value(first),
            (_, None) => value(last),
        })
    }
}

/// How a file stands against the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum FileStatus {
    /// There, with the right SHA-256.
    Ok,
    /// Not there.
    Missing,
    /// There, with another SHA-256.
    Differs {
        /// The SHA-256 it has, lower-case hex.
        found: String,
    },
    /// There, but it cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// The manifest names no SHA-256 for this kind of machine.
    NotListed,
}

impl Manifest {
    /// Reads `manifest.toml` in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("manifest.toml");
        let at = || path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::io(Culprit::Model, "cannot read the model manifest", e).remedy(REMEDY).context(at())
        })?;
        Self::parse(&text, dir)
    }

    /// The text of the manifest that lies in `dir`.
    pub fn parse(text: &str, dir: &Path) -> Result<Self> {
        let at = || dir.join("manifest.toml").display().to_string();
        let mut manifest: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            Error::new(Kind::Malformed, Culprit::Model, e.message().replace('\n', " "))
                .remedy("restore the manifest that belongs to this version")
                .context(format!("{}:{line}", at()))
        })?;
        if manifest.schema != SCHEMA {
            return Err(Error::new(
                Kind::Unsupported,
                Culprit::Model,
                format!("the manifest has schema {}, this version reads {SCHEMA}", manifest.schema),
            )
            .remedy("install the models and the program from one version")
            .context(at()));
        }
        manifest.dir = dir.to_owned();
        Ok(manifest)
    }

    /// The directory it was read from.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model in a slot.
    pub fn model(&self, slot: Slot) -> Result<&ModelEntry> {
        self.models.iter().find(|m| m.slot == slot).ok_or_else(|| {
            Error::new(Kind::NotFound, Culprit::Model, format!("the model manifest has no model for {slot}"))
                .remedy("restore the manifest that belongs to this version")
        })
    }

    /// Reads a model's file and checks its SHA-256.
    pub fn read(&self, slot: Slot) -> Result<(&ModelEntry, Vec<u8>)> {
        let entry = self.model(slot)?;
        let path = self.dir.join(&entry.file);
        let context = || format!("model {} ({})", entry.name, path.display());
        let bytes = read_bounded(&path).map_err(|e| {
            Error::io(Culprit::Model, "cannot read the model", e).remedy(REMEDY).context(context())
        })?;
        let found = hex(&Sha256::digest(&bytes));
        if found != entry.sha256 {
            return Err(Error::new(
                Kind::Mismatch,
                Culprit::Model,
                format!("the file's SHA-256 is {found}, the manifest says {}", entry.sha256),
            )
            .remedy(REMEDY)
            .context(context()));
        }
        Ok((entry, bytes))
    }

    /// How a model's file stands.
    pub fn status(&self, entry: &ModelEntry) -> FileStatus {
        status(&self.dir.join(&entry.file), Some(&entry.sha256))
    }

    /// How the packaged ONNX Runtime stands.
    pub fn runtime_status(&self) -> FileStatus {
        let expected = self.runtime.sha256.get(std::env::consts::ARCH);
        status(&self.dir.join(&self.runtime.file), expected.map(String::as_str))
    }
}

impl ModelEntry {
    /// How events name this model.
    pub fn model_ref(&self) -> ModelRef {
        ModelRef { name: self.name.clone(), sha256: self.sha256.clone() }
    }

    /// Checks that a session's tensors are the ones the manifest names.
    pub(super) fn check_contract(&self, session: &Session) -> Result<()> {
        let sides = [("input", &self.inputs, session.inputs()), ("output", &self.outputs, session.outputs())];
        for (side, wanted, found) in sides {
            let wanted: Vec<_> =
                wanted.iter().flat_map(|t| expand(&t.name).map(move |name| (name, t))).collect();
            if wanted.len() != found.len() {
                return Err(self.mismatch(format!(
                    "it has {} {side}s, {} are expected",
                    found.len(),
                    wanted.len()
                )));
            }
            for (name, tensor) in wanted {
                let Some(outlet) = found.iter().find(|o| o.name() == name) else {
                    return Err(self.mismatch(format!("it has no {side} {name}")));
                };
                let fits = match outlet.dtype() {
                    ValueType::Tensor { ty, shape, .. } => {
                        tensor.dtype == dtype(*ty)
                            && shape.len() == tensor.shape.len()
                            && shape.iter().zip(&tensor.shape).all(|(found, wanted)| match wanted {
                                Dimension::Fixed(n) => found == n,
                                Dimension::Free(_) => true,
                            })
                    }
                    _ => false,
                };
                if !fits {
                    let shape: Vec<_> = tensor.shape.iter().map(Dimension::to_string).collect();
                    return Err(self.mismatch(format!(
                        "{side} {name} is {}, {} [{}] is expected",
                        outlet.dtype(),
                        tensor.dtype,
                        shape.join(", ")
                    )));
                }
            }
        }
        Ok(())
    }

    pub(super) fn mismatch(&self, what: String) -> Error {
        Error::new(Kind::Mismatch, Culprit::Model, what)
            .remedy("the file and the manifest do not belong together: restore both from one version")
            .context(format!("model {}", self.name))
    }
}

/// `a_{8,16}` stands for `a_8` and `a_16`.
fn expand(name: &str) -> impl Iterator<Item = String> {
    let parts = name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    let names: Vec<_> = match parts {
        Some((head, (list, tail))) => list.split(',').map(|x| format!("{head}{}{tail}", x.trim())).collect(),
        None => vec![name.to_owned()],
    };
    names.into_iter()
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_MODEL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn status(path: &Path, expected: Option<&str>) -> FileStatus {
    let Some(expected) = expected else { return FileStatus::NotListed };
    match sha256_file(path) {
        Ok(found) if found == expected => FileStatus::Ok,
        Ok(found) => FileStatus::Differs { found },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => FileStatus::Missing,
        Err(e) => FileStatus::Unreadable { why: e.to_string() },
    }
}

/// SHA-256 of a file, lower-case hex, without holding the file in memory.
pub fn sha256_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The manifest's word for a tensor's type; those that no model here has are none.
fn dtype(of: TensorElementType) -> &'static str {
    match of {
        TensorElementType::Float32 => "f32",
        TensorElementType::Uint8 => "u8",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_tensors_is_spelled_out() {
        assert_eq!(expand("cls_{8,16,32}").collect::<Vec<_>>(), ["cls_8", "cls_16", "cls_32"]);
        assert_eq!(expand("fc1").collect::<Vec<_>>(), ["fc1"]);
    }

    #[test]
    fn alarms_are_read_between_the_points() {
        let point = |score, per_frame, recall| DetectionPoint { score, per_frame, precision: 0.5, recall };
        let row = DetectionRow {
            class: "Person".into(),
            population: "made up".into(),
            frames: 100,
            megapixels: 0.5,
            working_score: 0.4,
            points: vec![point(0.2, 1.0, 0.9), point(0.6, 0.01, 0.5)],
        };
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-5, "{a:?} {b}");
        near(row.alarms_per_megapixel(0.2), 2.0);
        near(row.alarms_per_megapixel(0.4), 0.2);
        near(row.alarms_per_megapixel(0.1), 2.0);
        near(row.alarms_per_megapixel(0.9), 0.02);
        near(row.recall(0.3), 0.8);
        assert_eq!(DetectionRow { points: vec![], ..row }.recall(0.3), None);
    }

    #[test]
    fn a_broken_manifest_names_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("manifest.toml"), "schema = 1\nsurprise = 2\n").unwrap();
        let e = Manifest::load(dir.path()).unwrap_err().to_string();
        assert!(e.contains("manifest.toml:2: unknown field `surprise`"), "{e}");
        let e = Manifest::load(&dir.path().join("absent")).unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        assert!(e.to_string().contains("models/setup.sh"), "{e}");
    }
}
