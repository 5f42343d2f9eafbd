//! `[search.terrain]`: how high the ground is, and how far it is looked at.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SRTM's absolute error is 5 to 9 m in nine of ten places, by continent (Rodríguez et al. 2006): a
/// deviation of 3 to 5.5 m. Under trees it measures their crowns, which is worse.
const DEFAULT_SIGMA_M: f64 = 5.0;
/// Fields that look flat rise and fall by this much within a few hundred metres.
const DEFAULT_FLAT_SIGMA_M: f64 = 5.0;
/// A place of take-off that is read off the elevation model is as wrong as the model.
const DEFAULT_TAKEOFF_SIGMA_M: f64 = 5.0;
/// Further away a person is less than a pixel.
const DEFAULT_MAX_RANGE_M: f64 = 5_000.0;
/// At 5 degrees half a degree of pitch is a tenth of the distance.
const DEFAULT_MIN_DEPRESSION_DEG: f64 = 5.0;
/// Five SRTM tiles of 1 arc second.
const DEFAULT_CACHE_MIB: u32 = 128;

/// What a height counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeightAbove {
    /// The sea, as on maps.
    #[default]
    SeaLevel,
    /// The WGS 84 ellipsoid, as satellite receivers measure.
    Ellipsoid,
    /// The place of take-off.
    Takeoff,
}

/// How high the ground is, and how far it is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TerrainConfig {
    /// Folders with elevation models: SRTM tiles (`N44W072.hgt`) and GeoTIFFs (`.tif`). Where two
    /// cover a place the finer one counts.
    #[schemars(length(max = 16))]
    pub folders: Vec<PathBuf>,
    /// Flat ground at this height in metres: where there is no elevation model. Without it such
    /// places are refused.
    #[schemars(range(min = -12000.0, max = 9000.0))]
    pub flat_m: Option<f64>,
    /// What `flat_m` counts from.
    pub flat_above: HeightAbove,
    /// One standard deviation of the elevation models' heights.
    #[schemars(range(min = 0.05, max = 100.0))]
    pub sigma_m: f64,
    /// One standard deviation of the flat ground's height: the relief.
    #[schemars(range(min = 0.05, max = 1000.0))]
    pub flat_sigma_m: f64,
    /// One standard deviation of the height of the place of take-off.
    #[schemars(range(min = 0.05, max = 1000.0))]
    pub takeoff_sigma_m: f64,
    /// No place is further away.
    #[schemars(range(min = 50.0, max = 50000.0))]
    pub max_range_m: f64,
    /// Lines of sight that go down less have no place.
    #[schemars(range(min = 1.0, max = 60.0))]
    pub min_depression_deg: f64,
    /// Memory for elevation models.
    #[schemars(range(min = 4, max = 4096))]
    pub cache_mib: u32,
}

impl Default for TerrainConfig {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            flat_m: None,
            flat_above: HeightAbove::default(),
            sigma_m: DEFAULT_SIGMA_M,
            flat_sigma_m: DEFAULT_FLAT_SIGMA_M,
            takeoff_sigma_m: DEFAULT_TAKEOFF_SIGMA_M,
            max_range_m: DEFAULT_MAX_RANGE_M,
            min_depression_deg: DEFAULT_MIN_DEPRESSION_DEG,
            cache_mib: DEFAULT_CACHE_MIB,
        }
    }
}

impl TerrainConfig {
    /// The rules between its keys that are broken: the key, what is wrong, what to do.
    pub fn faults(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut out = Vec::new();
        if self.folders.is_empty() && self.flat_m.is_none() {
            out.push((
                "folders",
                "nothing says how high the ground is".to_owned(),
                "name a folder of elevation models, or set flat_m",
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_has_to_say_how_high_the_ground_is() {
        assert_eq!(TerrainConfig::default().faults()[0].0, "folders");
        let flat: TerrainConfig = toml::from_str("flat_m = 0\nflat_above = \"takeoff\"").unwrap();
        assert!(flat.faults().is_empty());
        assert_eq!(flat.flat_above, HeightAbove::Takeoff);
        assert!(toml::from_str::<TerrainConfig>("fodlers = []").is_err());
    }
}
