//! What a thermal camera measured, out of a frame: one number a pixel, as the stream carries it.

use crate::base::{Culprit, Error, Kind, Result};

/// The numbers of a one-channel picture, rows from the top, no padding. Nothing in them is
/// stretched, clipped or converted.
#[derive(Clone, PartialEq, Eq)]
pub struct Samples {
    width: u32,
    height: u32,
    data: SampleData,
    range: SampleRange,
}

/// The numbers themselves.
#[derive(Clone, PartialEq, Eq)]
pub enum SampleData {
    /// 8 bits: the brightness of ordinary video.
    Eight(Vec<u8>),
    /// 16 bits: the counts of a sensor.
    Sixteen(Vec<u16>),
}

/// Which numbers stand for black and for white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleRange {
    /// 0 to the largest number.
    Full,
    /// 16 to 235 (ITU-R BT.601 and BT.709), what video is unless it says otherwise. Numbers beyond
    /// are kept: an encoder that forgot to say "full range" puts the hottest pixels there.
    Studio,
}

impl Samples {
    /// Wraps numbers; an error if there are none or their count does not fit the size.
    pub fn new(width: u32, height: u32, data: SampleData, range: SampleRange) -> Result<Self> {
        let wanted = (width as usize).checked_mul(height as usize);
        if data.len() == 0 || wanted != Some(data.len()) {
            let text = format!("{} samples are no picture of {width}x{height}", data.len());
            return Err(Error::new(Kind::Mismatch, Culprit::Vigil, text));
        }
        Ok(Self::refitted(width, height, data, range))
    }

    /// Numbers whose count is known to fit.
    pub(crate) fn refitted(width: u32, height: u32, data: SampleData, range: SampleRange) -> Self {
        Self { width, height, data, range }
    }

    /// A copy, in `reuse` where that has the same bits.
    pub(crate) fn copy_into(&self, reuse: Option<SampleData>) -> Self {
        let data = match (&self.data, reuse) {
            (SampleData::Eight(from), Some(SampleData::Eight(mut into))) => {
                into.clone_from(from);
                SampleData::Eight(into)
            }
            (SampleData::Sixteen(from), Some(SampleData::Sixteen(mut into))) => {
                into.clone_from(from);
                SampleData::Sixteen(into)
            }
            (from, _) => from.clone(),
        };
        Self::refitted(self.width, self.height, data, self.range)
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The numbers.
    pub fn data(&self) -> &SampleData {
        &self.data
    }

    /// Which of them stand for black and white.
    pub fn range(&self) -> SampleRange {
        self.range
    }

    /// Gives the numbers back, so that their memory can serve the next frame.
    pub fn into_data(self) -> SampleData {
        self.data
    }
}

impl SampleData {
    /// How many.
    #[allow(clippy::len_without_is_empty)] // `Samples` holds at least one.
    pub fn len(&self) -> usize {
        match self {
            Self::Eight(v) => v.len(),
            Self::Sixteen(v) => v.len(),
        }
    }
}

impl std::fmt::Debug for SampleData {
    /// Size only: a picture never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if matches!(self, Self::Eight(_)) { 8 } else { 16 };
        write!(f, "{} of {bits} bit", self.len())
    }
}

impl std::fmt::Debug for Samples {
    /// Size only: a picture never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Samples({}x{}, {:?}, {:?})", self.width, self.height, self.data, self.range)
    }
}
