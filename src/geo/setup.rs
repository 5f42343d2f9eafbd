//! From what a site configured to what the geometry works with.

use std::sync::Arc;

use super::attitude::Boresight;
use super::camera::{Camera, Distortion, Intrinsics, Lens};
use super::geoid::Geoid;
use super::locate::{Ground, Limits, Locator, Sigmas};
use super::pose::FieldOfView;
use super::terrain::{Loading, Terrain};
use super::units::{Angle, EllipsoidHeight, Height, SeaLevelHeight, TakeoffHeight};
use crate::base::error::Context;
use crate::base::{Error, Result};
use crate::config::{HeightAbove, LensConfig, OpticsConfig, TerrainConfig};

impl Camera {
    /// The configured camera, for frames of `size` [width, height].
    ///
    /// # Errors
    /// For a calibration that is none, or of pictures of another shape.
    pub fn from_config(optics: &OpticsConfig, size: [u32; 2]) -> Result<Self> {
        let boresight = Boresight {
            yaw: Angle::from_degrees(optics.boresight_yaw_deg),
            pitch: Angle::from_degrees(optics.boresight_pitch_deg),
            roll: Angle::from_degrees(optics.boresight_roll_deg),
        };
        let lens = match &optics.lens {
            None => Lens::FieldOfView,
            Some(lens) => Lens::Calibrated {
                intrinsics: intrinsics(lens, size).context(|| "search.optics.lens")?,
                nominal: optics.fov_deg.map(Angle::from_degrees),
            },
        };
        Ok(Self { size, lens, boresight, lever_arm_m: optics.lever_arm_m })
    }
}

fn intrinsics(lens: &LensConfig, size: [u32; 2]) -> Result<Intrinsics> {
    let LensConfig { width, height, fx, fy, cx, cy, k1, k2, p1, p2, k3 } = *lens;
    let of = Intrinsics::new([width, height], [fx, fy], [cx, cy], Distortion { k1, k2, p1, p2, k3 })?;
    // Scaled is the same picture; cut or squeezed is not, and nobody can tell how.
    let ratio = f64::from(width) * f64::from(size[1]) / (f64::from(height) * f64::from(size[0]));
    if !(0.98..=1.02).contains(&ratio) {
        let says = format!("it is of {width} × {height} and the frames are {} × {}", size[0], size[1]);
        return Err(Error::config(says).remedy("calibrate with frames as they are captured"));
    }
    Ok(of)
}

impl FieldOfView {
    /// The configured one: for frames whose telemetry states none. That of the calibration, if there is one.
    pub fn from_config(optics: &OpticsConfig) -> Option<Self> {
        let horizontal = match (&optics.lens, optics.fov_deg) {
            (_, Some(degrees)) => Angle::from_degrees(degrees),
            (Some(lens), None) => Angle::from_radians(2.0 * (f64::from(lens.width) / 2.0 / lens.fx).atan()),
            (None, None) => return None,
        };
        Some(Self { horizontal, vertical: optics.fov_vertical_deg.map(Angle::from_degrees) })
    }
}

impl Sigmas {
    /// The configured errors that no pose answers for.
    pub fn from_config(optics: &OpticsConfig, terrain: &TerrainConfig) -> Self {
        Self {
            terrain_m: terrain.sigma_m,
            flat_m: terrain.flat_sigma_m,
            boresight: Angle::from_degrees(optics.boresight_sigma_deg),
            range_m: optics.range_sigma_m,
            takeoff_m: terrain.takeoff_sigma_m,
            ..Self::default()
        }
    }
}

impl Ground {
    /// The configured ground. Looks at the folders, reads headers, no heights.
    ///
    /// # Errors
    /// As [`Terrain::open`].
    pub fn from_config(terrain: &TerrainConfig, loading: Loading) -> Result<Self> {
        let flat = terrain.flat_m.map(|m| match terrain.flat_above {
            HeightAbove::SeaLevel => Height::SeaLevel(SeaLevelHeight(m)),
            HeightAbove::Ellipsoid => Height::Ellipsoid(EllipsoidHeight(m)),
            HeightAbove::Takeoff => Height::Takeoff(TakeoffHeight(m)),
        });
        let models = match terrain.folders.as_slice() {
            [] => None,
            folders => Some(Arc::new(Terrain::open(folders, loading, (terrain.cache_mib as usize) << 20)?)),
        };
        Ok(Self { terrain: models, flat })
    }
}

impl Locator {
    /// The configured locator, for frames of `size` [width, height].
    ///
    /// # Errors
    /// For a calibration that is none and elevation models that cannot be read.
    pub fn from_config(
        optics: &OpticsConfig,
        terrain: &TerrainConfig,
        size: [u32; 2],
        loading: Loading,
    ) -> Result<Self> {
        let camera = Camera::from_config(optics, size)?;
        let ground = Ground::from_config(terrain, loading)?;
        let limits = Limits {
            max_range_m: terrain.max_range_m,
            min_depression: Angle::from_degrees(terrain.min_depression_deg),
        };
        let sigmas = Sigmas::from_config(optics, terrain);
        Ok(Self::new(camera, ground, Arc::new(Geoid::egm96()), sigmas).with_limits(limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_what_works() {
        let terrain = TerrainConfig { flat_m: Some(12.0), ..TerrainConfig::default() };
        let optics = OpticsConfig { fov_deg: Some(40.0), ..OpticsConfig::default() };
        let locator = Locator::from_config(&optics, &terrain, [640, 512], Loading::Now).unwrap();
        assert_eq!(*locator.limits(), Limits::default());
        assert_eq!(Sigmas::from_config(&optics, &terrain), Sigmas::default(), "one set of defaults");
        assert!((FieldOfView::from_config(&optics).unwrap().horizontal.degrees() - 40.0).abs() < 1e-9);
    }

    #[test]
    fn a_calibration_of_another_picture_is_refused() {
        let lens = LensConfig {
            width: 640,
            height: 512,
            fx: 560.0,
            fy: 560.0,
            cx: 320.0,
            cy: 256.0,
            k1: -0.3,
            k2: 0.1,
            p1: 0.0,
            p2: 0.0,
            k3: 0.0,
        };
        let optics = OpticsConfig { lens: Some(lens), ..OpticsConfig::default() };
        assert!(Camera::from_config(&optics, [640, 512]).is_ok());
        assert!(Camera::from_config(&optics, [320, 256]).is_ok(), "the same, scaled");
        let says = Camera::from_config(&optics, [640, 480]).unwrap_err().to_string();
        assert!(says.contains("search.optics.lens") && says.contains("640 × 480"), "{says}");
        let fov = FieldOfView::from_config(&optics).unwrap().horizontal.degrees();
        assert!((fov - 59.49).abs() < 0.01, "{fov}");
    }
}
