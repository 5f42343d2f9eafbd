//! `[search.optics]`: the drone's camera, its lens and how it is mounted. How far off what the drone says may be
//! stands in `[search.telemetry.sigma]`.
//!
//! The errors are one standard deviation. Where the defaults come from is in `docs/positions.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Two camera mounts in three are this true before anybody measured.
const DEFAULT_BORESIGHT_SIGMA_DEG: f64 = 0.3;
/// Laser range finders of drones: ±(0.2 m + 0.15 %), on a field that is not a wall.
const DEFAULT_RANGE_SIGMA_M: f64 = 1.0;

/// What a calibration measured, in pixels of a picture of this size; the centre of the top left pixel
/// is (0.5, 0.5). Distortion is Brown's, in the order k1, k2, p1, p2, k3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LensConfig {
    /// Width of the pictures it was measured on.
    #[schemars(range(min = 8, max = 65536))]
    pub width: u32,
    /// Height of the pictures it was measured on.
    #[schemars(range(min = 8, max = 65536))]
    pub height: u32,
    /// Focal length in pixels, horizontally.
    #[schemars(range(min = 1.0, max = 10000000.0))]
    pub fx: f64,
    /// Focal length in pixels, vertically.
    #[schemars(range(min = 1.0, max = 10000000.0))]
    pub fy: f64,
    /// Principal point, from the left edge.
    #[schemars(range(min = 0.0, max = 65536.0))]
    pub cx: f64,
    /// Principal point, from the top edge.
    #[schemars(range(min = 0.0, max = 65536.0))]
    pub cy: f64,
    /// Radial distortion of the second power.
    #[serde(default)]
    #[schemars(range(min = -10.0, max = 10.0))]
    pub k1: f64,
    /// Radial distortion of the fourth power.
    #[serde(default)]
    #[schemars(range(min = -100.0, max = 100.0))]
    pub k2: f64,
    /// Tangential distortion, vertical.
    #[serde(default)]
    #[schemars(range(min = -0.1, max = 0.1))]
    pub p1: f64,
    /// Tangential distortion, horizontal.
    #[serde(default)]
    #[schemars(range(min = -0.1, max = 0.1))]
    pub p2: f64,
    /// Radial distortion of the sixth power.
    #[serde(default)]
    #[schemars(range(min = -1000.0, max = 1000.0))]
    pub k3: f64,
}

/// The drone's camera: its lens, and how it is mounted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpticsConfig {
    /// What the picture spans from left to right, unzoomed: where telemetry does not say it.
    #[schemars(range(min = 1.0, max = 160.0))]
    pub fov_deg: Option<f64>,
    /// What it spans from top to bottom. Without it pixels are square.
    #[schemars(range(min = 1.0, max = 160.0))]
    pub fov_vertical_deg: Option<f64>,
    /// A calibration, instead of the field of view. With `fov_deg` beside it, a frame whose telemetry
    /// says another one is zoomed by the quotient.
    pub lens: Option<LensConfig>,
    /// The camera looks further right than the gimbal says.
    #[schemars(range(min = -20.0, max = 20.0))]
    pub boresight_yaw_deg: f64,
    /// The camera looks higher than the gimbal says.
    #[schemars(range(min = -20.0, max = 20.0))]
    pub boresight_pitch_deg: f64,
    /// The camera is turned clockwise against what the gimbal says, seen from behind.
    #[schemars(range(min = -20.0, max = 20.0))]
    pub boresight_roll_deg: f64,
    /// From the antenna to the camera: metres forward, right, down.
    #[schemars(inner(range(min = -20.0, max = 20.0)))]
    pub lever_arm_m: [f64; 3],
    /// One standard deviation of each boresight angle.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub boresight_sigma_deg: f64,
    /// One standard deviation of a range finder's distance.
    #[schemars(range(min = 0.05, max = 1000.0))]
    pub range_sigma_m: f64,
}

impl Default for OpticsConfig {
    fn default() -> Self {
        Self {
            fov_deg: None,
            fov_vertical_deg: None,
            lens: None,
            boresight_yaw_deg: 0.0,
            boresight_pitch_deg: 0.0,
            boresight_roll_deg: 0.0,
            lever_arm_m: [0.0; 3],
            boresight_sigma_deg: DEFAULT_BORESIGHT_SIGMA_DEG,
            range_sigma_m: DEFAULT_RANGE_SIGMA_M,
        }
    }
}

impl OpticsConfig {
    /// The rules between its keys that are broken: the key, what is wrong, what to do.
    pub fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut out = Vec::new();
        if self.fov_vertical_deg.is_some() && self.fov_deg.is_none() {
            out.push((
                "fov_vertical_deg",
                "the horizontal field of view is missing".to_owned(),
                "set fov_deg too",
            ));
        }
        if !self.lever_arm_m.iter().all(|m| m.abs() <= 20.0) {
            out.push((
                "lever_arm_m",
                format!("{:?} is longer than a drone", self.lever_arm_m),
                "give metres forward, right, down",
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_said() {
        let faults = |text: &str| {
            let optics: OpticsConfig = toml::from_str(text).unwrap();
            optics.faults().into_iter().map(|f| f.0).collect::<Vec<_>>()
        };
        assert!(faults("").is_empty());
        assert!(faults("fov_deg = 40\nfov_vertical_deg = 32").is_empty());
        assert_eq!(faults("fov_vertical_deg = 32"), ["fov_vertical_deg"]);
        assert_eq!(faults("lever_arm_m = [0.0, 0.0, 150.0]"), ["lever_arm_m"]);
        assert!(toml::from_str::<OpticsConfig>("[lens]\nwidth = 640").is_err(), "fx is missing");
    }
}
