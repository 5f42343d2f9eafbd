//! `[verify]` and `[privacy]`: what a match takes, and what may leave the box.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::door::LockoutConfig;
use super::units::{FalseMatchRate, Millis};
use crate::base::Name;

/// One in a thousand strangers, in the worst population the calibration lists.
const DEFAULT_FMR: f64 = 1e-3;
/// How long a guest waits at most when the request does not say.
const DEFAULT_DEADLINE: Millis = Millis(3_000);
/// The longest deadline a request may ask for.
const DEFAULT_MAX_DEADLINE: Millis = Millis(30_000);
/// How long a match may actuate anything.
const DEFAULT_VALID_FOR: Millis = Millis(10_000);
/// Pictures fused into the live template before the first comparison.
const DEFAULT_FIRST_LOOK: u32 = 2;
/// Pictures fused into it before the answer is no.
const DEFAULT_LAST_LOOK: u32 = 6;
/// The second-largest face may have at most this share of the largest one's width.
const DEFAULT_DOMINANCE: f32 = 0.7;

/// Fewer pixels between the eyes and the embedding rests on the upscaler more than on the guest.
const DEFAULT_MIN_INTER_OCULAR_PX: f32 = 24.0;
/// A portrait's face about 40 px wide: below it the false non-match rate rises steeply.
const DEFAULT_MIN_PORTRAIT_INTER_OCULAR_PX: f32 = 18.0;
/// Above the detector's own cut of 0.6: a face that is barely one is not compared.
const DEFAULT_MIN_SCORE: f32 = 0.7;
/// The far half of the face starts to disappear beyond this.
const DEFAULT_MAX_YAW_DEG: f32 = 30.0;
/// A camera mounted above the desk looks down at about this.
const DEFAULT_MAX_PITCH_DEG: f32 = 25.0;
/// Motion blur of a guest who is walking falls below it.
const DEFAULT_MIN_SHARPNESS: f32 = 0.15;
/// Darker, and the sensor's noise is as strong as the features.
const DEFAULT_MIN_BRIGHTNESS: f32 = 40.0;
/// Brighter, and the skin is clipped.
const DEFAULT_MAX_BRIGHTNESS: f32 = 225.0;
/// Far enough to tell a turned head from a tilted picture, near enough for a stiff neck.
const DEFAULT_TURN_DEG: f32 = 18.0;

/// Verification of a guest against a document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyConfig {
    /// The camera that sees the guest, when a request names none. Default: the only camera.
    pub camera: Option<Name>,
    /// The false match rate of a whole verification.
    #[schemars(range(min = 1e-7, max = 0.1))]
    pub fmr: FalseMatchRate,
    /// Calibration file written by `vigil eval face`, instead of the model's own table.
    pub calibration: Option<PathBuf>,
    /// Deadline when the request names none.
    #[schemars(range(min = 100, max = 120000))]
    pub deadline_ms: Millis,
    /// The longest deadline a request may ask for.
    #[schemars(range(min = 100, max = 120000))]
    pub max_deadline_ms: Millis,
    /// After its decision a match may actuate something for this long (`notafter`).
    #[schemars(range(min = 100, max = 600000))]
    pub valid_for_ms: Millis,
    /// Pictures fused into the live template before the first comparison.
    #[schemars(range(min = 1, max = 64))]
    pub first_look: u32,
    /// Pictures fused into the live template before the answer may be no.
    #[schemars(range(min = 1, max = 64))]
    pub last_look: u32,
    /// Two people stand equally close when the smaller face has at least this share of the larger
    /// one's width.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dominance: f32,
    /// What a face must be to be compared.
    pub quality: QualityConfig,
    /// The presentation check.
    pub presentation: PresentationConfig,
    /// When one document was tried too often with other faces. Counted in memory by a keyed hash of
    /// its portrait, whose key dies with the daemon.
    pub lockout: LockoutConfig,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            camera: None,
            fmr: FalseMatchRate::try_new(DEFAULT_FMR).unwrap_or_else(|_| unreachable!("a constant in range")),
            calibration: None,
            deadline_ms: DEFAULT_DEADLINE,
            max_deadline_ms: DEFAULT_MAX_DEADLINE,
            valid_for_ms: DEFAULT_VALID_FOR,
            first_look: DEFAULT_FIRST_LOOK,
            last_look: DEFAULT_LAST_LOOK,
            dominance: DEFAULT_DOMINANCE,
            quality: QualityConfig::default(),
            presentation: PresentationConfig::default(),
            lockout: LockoutConfig::default(),
        }
    }
}

/// What a face must be to be compared. Measured on the picture as the camera gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualityConfig {
    /// Fewest pixels between the eyes of a live face.
    #[schemars(range(min = 8.0, max = 1000.0))]
    pub min_inter_ocular_px: f32,
    /// Fewest pixels between the eyes of a portrait: a face about 40 px wide. Below it the false
    /// non-match rate rises steeply.
    #[schemars(range(min = 8.0, max = 1000.0))]
    pub min_portrait_inter_ocular_px: f32,
    /// Least detector score.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: f32,
    /// Most degrees the head may be turned aside.
    #[schemars(range(min = 0.0, max = 90.0))]
    pub max_yaw_deg: f32,
    /// Most degrees the head may be raised or lowered.
    #[schemars(range(min = 0.0, max = 90.0))]
    pub max_pitch_deg: f32,
    /// Least sharpness, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_sharpness: f32,
    /// Darkest mean of the face, 0 to 255.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub min_brightness: f32,
    /// Brightest mean of the face, 0 to 255.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub max_brightness: f32,
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self {
            min_inter_ocular_px: DEFAULT_MIN_INTER_OCULAR_PX,
            min_portrait_inter_ocular_px: DEFAULT_MIN_PORTRAIT_INTER_OCULAR_PX,
            min_score: DEFAULT_MIN_SCORE,
            max_yaw_deg: DEFAULT_MAX_YAW_DEG,
            max_pitch_deg: DEFAULT_MAX_PITCH_DEG,
            min_sharpness: DEFAULT_MIN_SHARPNESS,
            min_brightness: DEFAULT_MIN_BRIGHTNESS,
            max_brightness: DEFAULT_MAX_BRIGHTNESS,
        }
    }
}

/// Whether the guest is asked to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresentationMode {
    /// No check: reported as not checked.
    #[default]
    Off,
    /// The guest turns the head to the side that is asked for.
    TurnHead,
}

/// The presentation check (ISO/IEC 30107).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PresentationConfig {
    /// Whether the guest is asked to move, when the request does not say.
    pub mode: PresentationMode,
    /// How far the head has to turn, degrees.
    #[schemars(range(min = 5.0, max = 60.0))]
    pub turn_deg: f32,
}

impl Default for PresentationConfig {
    fn default() -> Self {
        Self { mode: PresentationMode::Off, turn_deg: DEFAULT_TURN_DEG }
    }
}

/// What may leave the box.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Put the raw score and threshold into results. For commissioning only: whoever sees scores
    /// can climb them.
    pub diagnostics: bool,
}
