//! The picture every detector sees: warmer is a larger number, whatever the camera shows.

use super::radiometry::Radiometry;
use crate::capture::{SampleData, SampleRange, Samples};

/// A thermal picture, white-hot: a larger number is warmer. 8 or 16 bits, rows from the top.
///
/// ```
/// use vigil::capture::{SampleData, SampleRange, Samples};
/// use vigil::thermal::ThermalImage;
///
/// let samples = Samples::new(2, 1, SampleData::Eight(vec![10, 250]), SampleRange::Full)?;
/// let shown_black_hot = ThermalImage::black_hot(samples);
/// assert_eq!((shown_black_hot.at(0, 0), shown_black_hot.at(1, 0)), (Some(245), Some(5)));
/// # Ok::<(), vigil::base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ThermalImage {
    samples: Samples,
    radiometry: Option<Radiometry>,
}

impl ThermalImage {
    /// From a camera that shows warm as bright.
    pub fn white_hot(samples: Samples) -> Self {
        Self { samples, radiometry: None }
    }

    /// From a camera that shows warm as dark: turned over, in place.
    pub fn black_hot(samples: Samples) -> Self {
        let (width, height, range) = (samples.width(), samples.height(), samples.range());
        let mut data = samples.into_data();
        match &mut data {
            SampleData::Eight(v) => {
                let sum = match range {
                    SampleRange::Full => 255,
                    SampleRange::Studio => 16 + 235,
                };
                v.iter_mut().for_each(|s| *s = u8::saturating_sub(sum, *s));
            }
            SampleData::Sixteen(v) => v.iter_mut().for_each(|s| *s = u16::MAX - *s),
        }
        // The count is the one that fitted before.
        Self { samples: Samples::refitted(width, height, data, range), radiometry: None }
    }

    /// From a camera whose counts are temperatures. They rise with warmth by definition.
    pub fn radiometric(samples: Samples, radiometry: Radiometry) -> Self {
        Self { samples, radiometry: Some(radiometry) }
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.samples.width()
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.samples.height()
    }

    /// The numbers, `width * height` of them, rows from the top.
    pub fn data(&self) -> &SampleData {
        self.samples.data()
    }

    /// Which numbers stand for black and white.
    pub fn range(&self) -> SampleRange {
        self.samples.range()
    }

    /// The number at a column and row; `None` outside.
    pub fn at(&self, x: u32, y: u32) -> Option<u16> {
        if x >= self.width() || y >= self.height() {
            return None;
        }
        let i = y as usize * self.width() as usize + x as usize;
        match self.data() {
            SampleData::Eight(v) => v.get(i).map(|s| u16::from(*s)),
            SampleData::Sixteen(v) => v.get(i).copied(),
        }
    }

    /// What makes temperatures of the numbers; `None`: they are contrast only.
    pub fn radiometry(&self) -> Option<&Radiometry> {
        self.radiometry.as_ref()
    }

    /// The temperature at a column and row, in kelvin. `None` outside, and where the camera is not
    /// radiometric.
    pub fn kelvin(&self, x: u32, y: u32) -> Option<f32> {
        self.radiometry.as_ref()?.kelvin(f32::from(self.at(x, y)?))
    }

    /// Gives the numbers back, so that their memory can serve the next frame.
    pub fn into_samples(self) -> Samples {
        self.samples
    }
}
