//! Whether a thermal picture can be believed at all, and whether it is a new one.

use std::time::{Duration, Instant};

use super::picture::PictureFigures;
use crate::capture::Samples;

/// Colour of a palette, mean distance from grey in 8-bit steps. Grey video has less than 1, with
/// the rounding of a poor encoder 2; ironbow and rainbow have 30 and more.
const COLOURED: f32 = 6.0;
/// Numbers between the 0.05 % and the 99.95 % quantile of a picture that shows nothing: the shutter, a lens cap.
const BLANK: f32 = 3.0;
/// The same of a sensor's counts, whose noise alone spans some.
const BLANK_COUNTS: f32 = 12.0;
/// Share of white pixels from which on warm things cannot be told from each other.
const SATURATED: f32 = 0.25;
/// Share of the pixels that may differ between two pictures that are the same one: what an encoder
/// still mends.
const SAME: f32 = 0.002;

/// Why nothing should be looked for in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PictureFault {
    /// It is drawn in the colours of a palette: brightness is not warmth.
    Coloured,
    /// It shows nothing: the shutter is closed, or a cap is on.
    Blank,
    /// A quarter of it is white: what is warm cannot be told from what is warmer.
    Saturated,
    /// It has been the same for too long: the camera or its encoder hangs.
    Frozen,
}

impl PictureFault {
    /// One line for an operator, with the remedy.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Coloured => {
                "the thermal picture is in colour, so its brightness is not warmth; set the camera to white-hot or \
                 black-hot"
            }
            Self::Blank => "the thermal picture shows nothing; is the lens covered, or the shutter stuck?",
            Self::Saturated => {
                "a quarter of the thermal picture is white; lower the camera's gain or widen its range"
            }
            Self::Frozen => "the thermal picture does not change; the camera or its encoder hangs",
        }
    }
}

/// What is made of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHealth {
    /// What is wrong with it.
    pub fault: Option<PictureFault>,
    /// It is the picture before once more (a shutter calibration, a slow camera behind a fast
    /// encoder): it is no new evidence of anything.
    pub repeated: bool,
}

/// Watches the pictures of one camera.
#[derive(Debug)]
pub struct HealthWatch {
    frozen_after: Duration,
    last: Option<PictureFigures>,
    /// When the picture was last a new one.
    changed: Option<Instant>,
}

impl HealthWatch {
    /// A picture that is the same for `frozen_after` is frozen.
    pub fn new(frozen_after: Duration) -> Self {
        Self { frozen_after, last: None, changed: None }
    }

    /// Looks at the next picture, which arrived at `arrived`. `colour` is
    /// [`Frame::colourfulness`](crate::capture::Frame::colourfulness).
    pub fn look(
        &mut self,
        samples: &Samples,
        figures: &PictureFigures,
        colour: Option<f32>,
        arrived: Instant,
    ) -> PictureHealth {
        let eight = matches!(samples.data(), crate::capture::SampleData::Eight(_));
        // Decoded video trembles by one step.
        let by = u16::from(eight);
        let repeated = self.last.as_ref().is_some_and(|last| last.changed(figures, by) < SAME);
        let changed = match self.changed.filter(|_| repeated) {
            Some(at) => at,
            None => {
                // Against the first of a row of equal ones, so that a slow drift is a change.
                self.last = Some(figures.clone());
                self.changed = Some(arrived);
                arrived
            }
        };
        let [lowest, .., highest] = figures.quantiles;
        let fault = if colour.is_some_and(|c| c > COLOURED) {
            Some(PictureFault::Coloured)
        } else if highest - lowest <= if eight { BLANK } else { BLANK_COUNTS } {
            Some(PictureFault::Blank)
        } else if repeated && arrived.saturating_duration_since(changed) >= self.frozen_after {
            Some(PictureFault::Frozen)
        } else if eight && figures.white > SATURATED {
            Some(PictureFault::Saturated)
        } else {
            None
        };
        PictureHealth { fault, repeated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SampleData, SampleRange};
    use crate::thermal::mask::Masks;

    fn samples(f: impl Fn(u32) -> u8) -> Samples {
        let v = (0..64 * 48).map(f).collect();
        Samples::new(64, 48, SampleData::Eight(v), SampleRange::Studio).unwrap()
    }

    fn look(watch: &mut HealthWatch, s: &Samples, colour: Option<f32>, at: Instant) -> PictureHealth {
        watch.look(s, &PictureFigures::of(s, &mut Masks::default()).unwrap(), colour, at)
    }

    #[test]
    fn a_repeated_picture_is_no_news_and_after_a_while_a_fault() {
        let (mut watch, start) = (HealthWatch::new(Duration::from_secs(2)), Instant::now());
        let ground = |n: u32| samples(move |i| 60 + ((i * 7 + n * 5) % 90) as u8);
        let at = |ms: u64| start + Duration::from_millis(ms);
        let fresh = PictureHealth { fault: None, repeated: false };
        assert_eq!(look(&mut watch, &ground(0), Some(0.4), at(0)), fresh);
        assert_eq!(look(&mut watch, &ground(1), Some(0.4), at(40)), fresh);
        let trembling = samples(|i| 61 + ((i * 7 + 5) % 90) as u8);
        assert_eq!(look(&mut watch, &trembling, None, at(80)), PictureHealth { repeated: true, ..fresh });
        let frozen = look(&mut watch, &ground(1), None, at(2_050));
        assert_eq!(frozen, PictureHealth { fault: Some(PictureFault::Frozen), repeated: true });
        assert_eq!(look(&mut watch, &ground(2), None, at(2_100)), fresh);
    }

    #[test]
    fn pictures_that_cannot_be_believed() {
        let mut watch = HealthWatch::new(Duration::from_secs(2));
        let now = Instant::now();
        let mut fault = |s: Samples, colour| look(&mut watch, &s, colour, now).fault;
        assert_eq!(fault(samples(|_| 128), None), Some(PictureFault::Blank));
        assert_eq!(
            fault(samples(|i| if i % 3 == 0 { 240 } else { 90 }), None),
            Some(PictureFault::Saturated)
        );
        assert_eq!(fault(samples(|i| (i % 200) as u8), Some(38.0)), Some(PictureFault::Coloured));
        assert_eq!(fault(samples(|i| (i % 200) as u8), Some(1.5)), None);
    }
}
