//! A thermal frame becomes hotspots: radiometry, polarity, detection.

mod closer;
mod detect;
mod health;
mod hotspot;
mod image;
mod intake;
mod mask;
mod measure;
mod picture;
mod plane;
mod polarity;
mod radiometry;

pub use detect::{DetectorSettings, Detectors, GroundSample, Sighting, distinct, gate};
pub use health::{HealthWatch, PictureFault, PictureHealth};
pub use hotspot::{Extent, Hotspot, PixelBox, ThermalClass, ThermalDetector};
pub use image::ThermalImage;
pub use intake::{Intake, ThermalIntake};
pub use mask::Masks;
pub use picture::PictureFigures;
pub use polarity::{Polarity, PolarityFinder, PolarityState};
pub use radiometry::{Radiometry, Surroundings, ZERO_CELSIUS};
