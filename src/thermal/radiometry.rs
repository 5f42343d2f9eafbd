//! From a radiometric camera's counts to temperatures.
//!
//! A camera does not see a target's temperature. It sees radiation: the target's own, weakened by the
//! air; what the target mirrors; the air's own. With every signal measured as that of a black body
//! (FLIR's measurement formula; Minkina and Dudzik, *Infrared Thermography*, 2009, section 2.4):
//!
//! ```text
//! S = τ ε S(target) + τ (1 − ε) S(mirrored) + (1 − τ) S(air)
//! ```
//!
//! The signal of a black body at `T` kelvin is, with a camera's constants, `R1 / (R2 (exp(B / T) − F)) − O`.
//! A camera whose counts are already temperatures gets the same correction, with `B` = 1428 K and `F` = 1 as the
//! common constants of a long-wave microbolometer: the camera has applied Planck's law without knowing what the
//! target mirrors.
//!
//! The air's transmission over `d` metres, with water `h` in it (the same source, section 2.4; its constants
//! are those in FLIR's files):
//!
//! ```text
//! h = RH exp(1.5587 + 0.06939 t − 2.7816e-4 t² + 6.8455e-7 t³)        t in °C
//! τ = X exp(−√d (α₁ + β₁ √h)) + (1 − X) exp(−√d (α₂ + β₂ √h))
//! ```

use crate::config::{DistanceMode, PlanckConfig, RadiometryMode, ThermalConfig};

/// 0 °C in kelvin.
pub const ZERO_CELSIUS: f64 = 273.15;
const X: f64 = 1.9;
const ALPHA: [f64; 2] = [0.006_569, 0.012_62];
const BETA: [f64; 2] = [-0.002_276, -0.006_67];
/// `B` of a camera whose counts are temperatures.
const LINEAR_B: f64 = 1428.0;

/// What lies between a camera and what it looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surroundings {
    /// How well the target radiates, above 0 to 1.
    pub emissivity: f64,
    /// What it mirrors, kelvin.
    pub reflected_k: f64,
    /// The air, kelvin.
    pub air_k: f64,
    /// Relative humidity of the air, 0 to 1.
    pub humidity: f64,
    /// Metres of air.
    pub distance_m: f64,
}

impl Surroundings {
    /// A black body right before the camera: what the camera itself would say.
    pub const NONE: Self =
        Self { emissivity: 1.0, reflected_k: 293.15, air_k: 293.15, humidity: 0.0, distance_m: 0.0 };

    /// The share of the target's radiation that comes through the air, above 0 to 1.
    pub fn transmission(&self) -> f64 {
        let t = self.air_k - ZERO_CELSIUS;
        let h = self.humidity * (1.5587 + 0.069_39 * t - 2.7816e-4 * t * t + 6.8455e-7 * t * t * t).exp();
        let (d, h) = (self.distance_m.max(0.0).sqrt(), h.max(0.0).sqrt());
        let part = |n: usize| (-d * (ALPHA[n] + BETA[n] * h)).exp();
        (X * part(0) + (1.0 - X) * part(1)).clamp(0.05, 1.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Response {
    /// Kelvin a count, kelvin at count 0.
    Linear(f64, f64),
    Planck(PlanckConfig),
}

impl Response {
    /// The signal of a black body; `None` where there is none.
    fn signal(&self, kelvin: f64) -> Option<f64> {
        let signal = match self {
            Self::Linear(..) => 1.0 / ((LINEAR_B / kelvin).exp() - 1.0),
            Self::Planck(p) => p.r1 / (p.r2 * ((p.b / kelvin).exp() - p.f)) - p.o,
        };
        (kelvin > 0.0 && signal.is_finite()).then_some(signal)
    }

    /// The black body of a signal.
    fn body(&self, signal: f64) -> Option<f64> {
        let kelvin = match self {
            Self::Linear(..) => LINEAR_B / (1.0 / signal + 1.0).ln(),
            Self::Planck(p) => p.b / (p.r1 / (p.r2 * (signal + p.o)) + p.f).ln(),
        };
        (kelvin.is_finite() && kelvin > 0.0).then_some(kelvin)
    }

    fn signal_of_count(&self, count: f64) -> Option<f64> {
        match self {
            Self::Linear(scale, offset) => self.signal(count * scale + offset),
            Self::Planck(_) => Some(count),
        }
    }

    fn count_of_signal(&self, signal: f64) -> Option<f64> {
        match self {
            Self::Linear(scale, offset) => Some((self.body(signal)? - offset) / scale),
            Self::Planck(_) => Some(signal),
        }
    }
}

/// Makes temperatures of a camera's counts.
///
/// ```
/// use vigil::thermal::{Radiometry, Surroundings};
///
/// // A camera that counts hundredths of a kelvin.
/// let camera = Radiometry::linear(0.01, 0.0);
/// assert!((camera.kelvin(30_000.0).unwrap() - 300.0).abs() < 0.01);
/// // The same, of wet cloth under a cold sky: it must be warmer than it looks.
/// let sky = Surroundings { emissivity: 0.95, reflected_k: 250.0, ..Surroundings::NONE };
/// assert!(camera.through(sky).kelvin(30_000.0).unwrap() > 301.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Radiometry {
    response: Response,
    surroundings: Surroundings,
    /// The target's signal is the camera's times the first plus the second.
    correction: (f64, f64),
}

impl Radiometry {
    /// Counts that are temperatures: kelvin = `count * scale + offset`.
    pub fn linear(scale: f64, offset: f64) -> Self {
        Self::new(Response::Linear(scale, offset))
    }

    /// Counts that are signals of Planck's law.
    pub fn planck(constants: PlanckConfig) -> Self {
        Self::new(Response::Planck(constants))
    }

    fn new(response: Response) -> Self {
        Self { response, surroundings: Surroundings::NONE, correction: (1.0, 0.0) }
    }

    /// What the configuration says; `None`: the camera is not radiometric.
    pub fn from_config(config: &ThermalConfig) -> Option<Self> {
        let bare = match config.radiometry {
            RadiometryMode::None => return None,
            RadiometryMode::Linear => Self::linear(config.kelvin_per_count?, config.kelvin_at_zero),
            RadiometryMode::Planck => Self::planck(config.planck?),
        };
        let air_k = config.air_c + ZERO_CELSIUS;
        let reckoned = config.distance != DistanceMode::None;
        Some(bare.through(Surroundings {
            emissivity: config.emissivity,
            reflected_k: config.reflected_c.map_or(air_k, |c| c + ZERO_CELSIUS),
            air_k,
            humidity: config.humidity,
            distance_m: config.distance_m.filter(|_| reckoned).unwrap_or(0.0),
        }))
    }

    /// The same camera, looking through these surroundings.
    #[must_use]
    pub fn through(mut self, surroundings: Surroundings) -> Self {
        let (emissivity, passed) = (surroundings.emissivity.clamp(0.01, 1.0), surroundings.transmission());
        let of = |kelvin: f64| self.response.signal(kelvin).unwrap_or(0.0);
        let foreign = passed * (1.0 - emissivity) * of(surroundings.reflected_k)
            + (1.0 - passed) * of(surroundings.air_k);
        let own = emissivity * passed;
        self.correction = (1.0 / own, -foreign / own);
        self.surroundings = surroundings;
        self
    }

    /// The same camera and surroundings at another distance, metres: when telemetry tells it.
    #[must_use]
    pub fn at_distance(self, distance_m: f64) -> Self {
        let surroundings = Surroundings { distance_m, ..self.surroundings };
        self.through(surroundings)
    }

    /// What is reckoned with.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The temperature of the target behind a count, kelvin; `None` where the count can mean none.
    pub fn kelvin(&self, count: f32) -> Option<f32> {
        let signal = self.response.signal_of_count(f64::from(count))?;
        self.response.body(signal * self.correction.0 + self.correction.1).map(|k| k as f32)
    }

    /// The count that a target of this temperature makes: the inverse of [`Radiometry::kelvin`].
    pub fn count(&self, kelvin: f32) -> Option<f32> {
        let signal = (self.response.signal(f64::from(kelvin))? - self.correction.1) / self.correction.0;
        self.response.count_of_signal(signal).filter(|c| c.is_finite()).map(|c| c as f32)
    }

    /// How much warmer one count is than another, kelvin.
    pub fn contrast(&self, target: f32, background: f32) -> Option<f32> {
        Some(self.kelvin(target)? - self.kelvin(background)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The constants that the R package Thermimage 4.1 documents as its author's camera.
    const SC660: PlanckConfig =
        PlanckConfig { r1: 21_106.77, r2: 0.012_545_258, b: 1501.0, f: 1.0, o: -7340.0 };

    #[track_caller]
    fn near(found: Option<f32>, celsius: f64) {
        let found = f64::from(found.unwrap()) - ZERO_CELSIUS;
        assert!((found - celsius).abs() < 0.01, "{found} is not {celsius}");
    }

    /// Values of the formulas at the head of this file, worked out apart from this code.
    #[test]
    fn planck_with_the_constants_of_a_published_camera() {
        let bare = Radiometry::planck(SC660);
        near(bare.kelvin(18_109.0), 23.624);
        near(bare.kelvin(13_000.0), -9.722);
        let room = Surroundings { emissivity: 0.95, ..Surroundings::NONE };
        near(bare.clone().through(room).kelvin(18_109.0), 23.811);
        near(bare.clone().through(room).kelvin(13_000.0), -11.656);
        let night = Surroundings {
            emissivity: 0.97,
            reflected_k: 283.15,
            air_k: 283.15,
            humidity: 0.95,
            distance_m: 100.0,
        };
        near(bare.through(night).kelvin(13_000.0), 261.1196 - ZERO_CELSIUS);
        let vue = PlanckConfig { r1: 17_096.453, r2: 0.046_642_166, b: 1428.0, f: 1.0, o: -342.0 };
        near(Radiometry::planck(vue).kelvin(4_000.0), 36.133);
    }

    #[test]
    fn air_takes_more_with_distance_and_water() {
        let of = |distance_m, air_c: f64, humidity| {
            Surroundings { distance_m, air_k: air_c + ZERO_CELSIUS, humidity, ..Surroundings::NONE }
                .transmission()
        };
        assert!((of(0.0, 20.0, 0.5) - 1.0).abs() < 1e-12);
        assert!((of(10.0, 20.0, 0.5) - 0.980_699).abs() < 1e-5);
        assert!((of(100.0, 10.0, 0.95) - 0.936_628).abs() < 1e-5);
        assert!(of(100.0, 30.0, 0.9) < of(100.0, 30.0, 0.3));
    }

    #[test]
    fn a_linear_camera_with_nothing_between_says_what_it_counts() {
        for (scale, offset, count) in [(0.01, 0.0, 29_315.0), (0.04, 0.0, 7_328.75), (0.01, 273.15, 2_000.0)]
        {
            near(Radiometry::linear(scale, offset).kelvin(count), 20.0);
        }
        assert_eq!(Radiometry::linear(0.01, 0.0).kelvin(0.0), None, "absolute zero is no measurement");
        let contrast = Radiometry::linear(0.04, 0.0).contrast(7_100.0, 7_000.0).unwrap();
        assert!((contrast - 4.0).abs() < 0.001, "{contrast}");
    }

    #[test]
    fn a_configured_camera() {
        let config = ThermalConfig {
            radiometry: RadiometryMode::Linear,
            kelvin_per_count: Some(0.04),
            distance: DistanceMode::Telemetry,
            ..ThermalConfig::default()
        };
        let near_by = Radiometry::from_config(&config).unwrap();
        let (a, b) =
            (near_by.kelvin(7_500.0).unwrap(), near_by.clone().at_distance(150.0).kelvin(7_500.0).unwrap());
        assert!(b > a + 1.0, "behind 150 m of wet air a body of {a} K is {b} K warm");
        assert!(Radiometry::from_config(&ThermalConfig::default()).is_none());
    }

    proptest! {
        #[test]
        fn there_and_back(
            kelvin in 230.0f32..420.0, emissivity in 0.5f64..1.0, reflected_k in 200.0f64..310.0,
            distance_m in 0.0f64..500.0, humidity in 0.0f64..1.0, planck in any::<bool>(),
        ) {
            let camera = if planck { Radiometry::planck(SC660) } else { Radiometry::linear(0.01, 0.0) };
            let surroundings = Surroundings { emissivity, reflected_k, air_k: 283.0, humidity, distance_m };
            let camera = camera.through(surroundings);
            let back = camera.kelvin(camera.count(kelvin).unwrap()).unwrap();
            prop_assert!((back - kelvin).abs() < 0.05, "{} {}", kelvin, back);
        }

        #[test]
        fn any_count_is_a_temperature_or_none(count in any::<f32>(), o in -1e6f64..1e6, b in 1.0f64..1e5) {
            let camera = Radiometry::planck(PlanckConfig { o, b, ..SC660 });
            if let Some(kelvin) = camera.kelvin(count) {
                prop_assert!(kelvin > 0.0 && kelvin.is_finite());
            }
        }
    }
}
