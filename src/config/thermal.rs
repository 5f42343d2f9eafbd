//! `[thermal]`: what the numbers of a thermal camera mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Millis;
use crate::base::{Error, Result};

/// Skin; wet clothes and most of what grows come near it (Usamentiaga et al., Sensors 14, 2014).
const DEFAULT_EMISSIVITY: f64 = 0.97;
/// Air and surroundings of a cool night.
const DEFAULT_AIR_C: f64 = 10.0;
/// Rain.
const DEFAULT_HUMIDITY: f64 = 0.9;
/// A shutter calibration (FFC) holds the picture for half a second; a frozen encoder for ever.
const DEFAULT_FROZEN_AFTER: Millis = Millis(2_000);
/// Rectangles of text on a picture.
const MAX_MASKS: usize = 32;

/// How a thermal camera shows warmth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolarityMode {
    /// Found out from the picture, and followed when the pilot switches.
    #[default]
    Auto,
    /// Warm is bright.
    WhiteHot,
    /// Warm is dark.
    BlackHot,
}

/// Whether a camera's numbers are temperatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RadiometryMode {
    /// They are brightness: contrast only.
    #[default]
    None,
    /// `kelvin_per_count` times the count, and `kelvin_at_zero`.
    Linear,
    /// Planck's law with the constants of `[thermal.planck]`.
    Planck,
}

/// How far the air between camera and ground is reckoned with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DistanceMode {
    /// Not at all.
    #[default]
    None,
    /// As far as `distance_m` says.
    Fixed,
    /// As far as the telemetry says; while it says nothing, `distance_m` or not at all.
    Telemetry,
}

/// Constants of a camera's calibration, as FLIR writes them into its files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanckConfig {
    /// `PlanckR1`.
    #[schemars(range(min = 0.000001, max = 1000000000.0))]
    pub r1: f64,
    /// `PlanckR2`.
    #[schemars(range(min = 0.000000001, max = 1000000.0))]
    pub r2: f64,
    /// `PlanckB`, kelvin.
    #[schemars(range(min = 1, max = 100000))]
    pub b: f64,
    /// `PlanckF`.
    #[schemars(range(min = 0, max = 100))]
    pub f: f64,
    /// `PlanckO`, counts.
    #[schemars(range(min = -1000000.0, max = 1000000.0))]
    pub o: f64,
}

/// A rectangle of the picture, in parts of its width and height: `{ x = 0, y = 0, width = 0.2, height = 0.1 }`
/// is the left fifth of the upper tenth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "MaskFields", into = "MaskFields")]
#[schemars(with = "MaskFields")]
pub struct MaskConfig {
    /// Left edge, 0 to 1.
    pub x: f64,
    /// Upper edge, 0 to 1.
    pub y: f64,
    /// Width, 0 to 1.
    pub width: f64,
    /// Height, 0 to 1.
    pub height: f64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Mask")]
struct MaskFields {
    /// Left edge.
    #[schemars(range(min = 0, max = 1))]
    x: f64,
    /// Upper edge.
    #[schemars(range(min = 0, max = 1))]
    y: f64,
    /// Width.
    #[schemars(range(min = 0, max = 1))]
    width: f64,
    /// Height.
    #[schemars(range(min = 0, max = 1))]
    height: f64,
}

impl MaskConfig {
    /// Checks and wraps a rectangle.
    pub fn try_new(x: f64, y: f64, width: f64, height: f64) -> Result<Self> {
        let inside =
            |from: f64, size: f64| (0.0..=1.0).contains(&from) && size > 0.0 && from + size <= 1.0 + 1e-9;
        if inside(x, width) && inside(y, height) {
            Ok(Self { x, y, width, height })
        } else {
            Err(Error::config("a mask reaches beyond the picture, or covers nothing")
                .remedy("give x, y, width and height in parts of the picture, 0 to 1"))
        }
    }
}

impl TryFrom<MaskFields> for MaskConfig {
    type Error = Error;
    fn try_from(m: MaskFields) -> Result<Self> {
        Self::try_new(m.x, m.y, m.width, m.height)
    }
}

impl From<MaskConfig> for MaskFields {
    fn from(m: MaskConfig) -> Self {
        Self { x: m.x, y: m.y, width: m.width, height: m.height }
    }
}

/// What the numbers of the thermal camera mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThermalConfig {
    /// How the camera shows warmth.
    pub polarity: PolarityMode,
    /// Whether its numbers are temperatures.
    pub radiometry: RadiometryMode,
    /// Of `linear`: 0.01 for a Lepton or a Boson in high gain, 0.04 for a Tau or Vue Pro R in low gain.
    #[schemars(range(min = 0.0001, max = 10))]
    pub kelvin_per_count: Option<f64>,
    /// Of `linear`: the temperature of count 0, kelvin; 273.15 where the counts are hundredths of a
    /// degree Celsius.
    #[schemars(range(min = -1000, max = 1000))]
    pub kelvin_at_zero: f64,
    /// Of `planck`: the constants.
    pub planck: Option<PlanckConfig>,
    /// How well the target radiates, 0.1 to 1.
    #[schemars(range(min = 0.1, max = 1))]
    pub emissivity: f64,
    /// What the target mirrors, degrees Celsius: overcast sky is near the air's temperature, a clear
    /// one far below. Without it, the air's.
    #[schemars(range(min = -100, max = 100))]
    pub reflected_c: Option<f64>,
    /// The air, degrees Celsius.
    #[schemars(range(min = -60, max = 60))]
    pub air_c: f64,
    /// Relative humidity of the air, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub humidity: f64,
    /// How far the air between is reckoned with.
    pub distance: DistanceMode,
    /// Metres of air.
    #[schemars(range(min = 0, max = 20000))]
    pub distance_m: Option<f64>,
    /// Parts of the picture that are text and not the ground: a displayed temperature is brighter
    /// than any person.
    #[schemars(length(max = 32))]
    pub masks: Vec<MaskConfig>,
    /// A picture that does not change for this long is frozen.
    #[schemars(range(min = 200, max = 60000))]
    pub frozen_after_ms: Millis,
}

impl Default for ThermalConfig {
    fn default() -> Self {
        Self {
            polarity: PolarityMode::default(),
            radiometry: RadiometryMode::default(),
            kelvin_per_count: None,
            kelvin_at_zero: 0.0,
            planck: None,
            emissivity: DEFAULT_EMISSIVITY,
            reflected_c: None,
            air_c: DEFAULT_AIR_C,
            humidity: DEFAULT_HUMIDITY,
            distance: DistanceMode::default(),
            distance_m: None,
            masks: Vec::new(),
            frozen_after_ms: DEFAULT_FROZEN_AFTER,
        }
    }
}

impl ThermalConfig {
    /// What does not fit together: the key below `[thermal]`, what is wrong, the remedy.
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut out = Vec::new();
        let mut found = |key, what: &str, remedy| out.push((key, what.to_owned(), remedy));
        let (linear, planck) =
            (self.radiometry == RadiometryMode::Linear, self.radiometry == RadiometryMode::Planck);
        if linear && self.kelvin_per_count.is_none() {
            found(
                "kelvin_per_count",
                "linear radiometry without a scale",
                "add kelvin_per_count, for instance 0.04",
            );
        }
        if !linear && self.kelvin_per_count.is_some() {
            found(
                "kelvin_per_count",
                "this key is for radiometry = \"linear\"",
                "set radiometry, or take it out",
            );
        }
        if planck && self.planck.is_none() {
            found(
                "planck",
                "Planck radiometry without constants",
                "add [thermal.planck] with r1, r2, b, f and o",
            );
        }
        if !planck && self.planck.is_some() {
            found(
                "planck",
                "these constants are for radiometry = \"planck\"",
                "set radiometry, or take them out",
            );
        }
        if self.radiometry != RadiometryMode::None && self.polarity == PolarityMode::BlackHot {
            found("polarity", "counts that are temperatures cannot be black-hot", "take polarity out");
        }
        if self.distance == DistanceMode::Fixed && self.distance_m.is_none() {
            found("distance_m", "a fixed distance without metres", "add distance_m");
        }
        if self.masks.len() > MAX_MASKS {
            found("masks", "more than 32 masks", "cover neighbouring texts with one");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_each_other() {
        let of = |text: &str| toml::from_str::<ThermalConfig>(text).unwrap().problems();
        assert_eq!(of(""), []);
        assert_eq!(of("radiometry = \"linear\"\nkelvin_per_count = 0.04"), []);
        assert_eq!(of("radiometry = \"linear\"")[0].0, "kelvin_per_count");
        assert_eq!(of("radiometry = \"planck\"")[0].0, "planck");
        assert_eq!(
            of("[planck]\nr1 = 17096.453\nr2 = 0.046642166\nb = 1428\nf = 1\no = -342")[0].0,
            "planck"
        );
        assert_eq!(
            of("radiometry = \"linear\"\nkelvin_per_count = 0.04\npolarity = \"black_hot\"")[0].0,
            "polarity"
        );
        assert_eq!(of("distance = \"fixed\"")[0].0, "distance_m");
    }

    #[test]
    fn a_mask_lies_inside_the_picture() {
        let of = |text: &str| toml::from_str::<ThermalConfig>(text);
        assert_eq!(of("masks = [{ x = 0, y = 0.9, width = 1, height = 0.1 }]").unwrap().masks.len(), 1);
        for wrong in ["x = 0.5, y = 0, width = 0.6, height = 0.1", "x = 0, y = 0, width = 0, height = 1"] {
            let e = of(&format!("masks = [{{ {wrong} }}]")).unwrap_err();
            assert!(e.to_string().contains("mask reaches beyond"), "{e}");
        }
    }
}
