//! The way into the room: a camera's frame becomes a white-hot picture that can be believed.

use std::time::Instant;

use super::health::{HealthWatch, PictureFault};
use super::image::ThermalImage;
use super::mask::Masks;
use super::picture::PictureFigures;
use super::polarity::{Polarity, PolarityFinder, PolarityState};
use super::radiometry::Radiometry;
use crate::base::Result;
use crate::capture::{Frame, SampleData, Samples};
use crate::config::{DistanceMode, ThermalConfig};

/// What became of one frame.
#[derive(Debug)]
pub struct Intake {
    /// The picture, white-hot. While the polarity is not known it is as it came, which is how most
    /// cameras start: see [`Intake::polarity`] before believing in it.
    pub image: ThermalImage,
    /// What is known of the polarity.
    pub polarity: PolarityState,
    /// Why nothing should be looked for in it.
    pub fault: Option<PictureFault>,
    /// It shows what the one before showed: no new evidence.
    pub repeated: bool,
}

impl Intake {
    /// Whether detections in this picture may count as evidence.
    pub fn counts(&self) -> bool {
        self.fault.is_none() && !self.repeated && self.polarity.polarity.is_some()
    }
}

/// Takes the frames of one thermal camera in.
///
/// ```no_run
/// # fn frames() -> Vec<vigil::capture::Frame> { Vec::new() }
/// use vigil::config::ThermalConfig;
/// use vigil::thermal::ThermalIntake;
///
/// let mut intake = ThermalIntake::new(&ThermalConfig::default());
/// for frame in frames() {
///     let taken = intake.take(&frame, None)?;
///     if let Some(fault) = taken.fault {
///         println!("{}", fault.reason());
///     }
///     // … detect in taken.image, drop what intake.masks() hides, then:
///     intake.give_back(taken.image);
/// }
/// # Ok::<(), vigil::base::Error>(())
/// ```
#[derive(Debug)]
pub struct ThermalIntake {
    polarity: PolarityFinder,
    health: HealthWatch,
    masks: Masks,
    radiometry: Option<Radiometry>,
    follows_distance: bool,
    spare: Option<SampleData>,
}

impl ThermalIntake {
    /// As the configuration says.
    pub fn new(config: &ThermalConfig) -> Self {
        Self {
            polarity: PolarityFinder::new(config.polarity),
            health: HealthWatch::new(config.frozen_after_ms.duration()),
            masks: Masks::new(&config.masks),
            radiometry: Radiometry::from_config(config),
            follows_distance: config.distance == DistanceMode::Telemetry,
            spare: None,
        }
    }

    /// Takes a frame in. `slant_range_m` is how far the ground is, where telemetry says it. An error
    /// where the frame has no channel that could be warmth.
    pub fn take(&mut self, frame: &Frame, slant_range_m: Option<f64>) -> Result<Intake> {
        let samples = frame.to_samples(self.spare.take())?;
        self.take_samples(samples, frame.colourfulness(), frame.info().arrived, slant_range_m)
    }

    /// The same for numbers that came another way. `colour` is how coloured the picture was
    /// ([`Frame::colourfulness`]), `arrived` when it came.
    pub fn take_samples(
        &mut self,
        samples: Samples,
        colour: Option<f32>,
        arrived: Instant,
        slant_range_m: Option<f64>,
    ) -> Result<Intake> {
        let Some(figures) = PictureFigures::of(&samples, &mut self.masks) else {
            // Everything is covered: nothing to look for.
            let polarity = PolarityState { polarity: None, switched: false, views: 0, score: 0.0 };
            let image = ThermalImage::white_hot(samples);
            return Ok(Intake { image, polarity, fault: Some(PictureFault::Blank), repeated: false });
        };
        let health = self.health.look(&samples, &figures, colour, arrived);
        let counts = matches!(samples.data(), SampleData::Sixteen(_)) && self.radiometry.is_some();
        let polarity = if counts {
            // Temperatures rise with warmth by definition.
            PolarityState { polarity: Some(Polarity::WhiteHot), switched: false, views: 0, score: 1.0 }
        } else if health.repeated || health.fault.is_some() {
            self.polarity.known()
        } else {
            self.polarity.look(&figures)
        };
        let image = self.image(samples, counts, polarity, slant_range_m);
        Ok(Intake { image, polarity, fault: health.fault, repeated: health.repeated })
    }

    fn image(
        &mut self,
        samples: Samples,
        counts: bool,
        polarity: PolarityState,
        slant_range_m: Option<f64>,
    ) -> ThermalImage {
        if counts && let Some(radiometry) = &self.radiometry {
            let radiometry = match slant_range_m.filter(|d| self.follows_distance && *d >= 0.0) {
                Some(metres) => radiometry.clone().at_distance(metres),
                None => radiometry.clone(),
            };
            return ThermalImage::radiometric(samples, radiometry);
        }
        match polarity.polarity {
            Some(Polarity::BlackHot) => ThermalImage::black_hot(samples),
            Some(Polarity::WhiteHot) | None => ThermalImage::white_hot(samples),
        }
    }

    /// The masks, fitted to the last frame.
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// Gives a picture's memory back for the next frame.
    pub fn give_back(&mut self, image: ThermalImage) {
        self.spare = Some(image.into_samples().into_data());
    }
}
