//! A frame as both detectors take it: values as captured, shrunk by a whole factor where the frame
//! is large, and continued by its mirror image up to a multiple of 32.

use super::{PixelBox, ThermalImage};
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::SampleData;
use crate::infer::thermal::MULTIPLE;

/// The detectors were made for frames about this wide; a stream that was blown up is shrunk back.
const USUAL_WIDTH: u32 = 640;
/// A smaller frame holds nothing to look at.
const MIN_SIDE: u32 = 32;
/// A larger one is no thermal camera's; the detectors' memory grows with it.
const MAX_SIDE: u32 = 8192;

/// The values of a frame, rows from the top.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    /// Columns and rows of the frame.
    frame: (u32, u32),
    /// The frame's pixels that make one value are a square of this side.
    factor: u32,
    /// Columns and rows that show the frame.
    picture: (usize, usize),
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Plane {
    /// For frames of one size.
    pub(super) fn new(width: u32, height: u32) -> Result<Self> {
        if width.min(height) < MIN_SIDE || width.max(height) > MAX_SIDE {
            return Err(Error::new(
                Kind::Unsupported,
                Culprit::Camera,
                format!("thermal frames of {width}x{height} are not looked at"),
            )
            .remedy(format!("sides from {MIN_SIDE} to {MAX_SIDE} pixels are")));
        }
        let factor = ((width + USUAL_WIDTH / 2) / USUAL_WIDTH).max(1);
        let picture = (width / factor, height / factor);
        let (w, h) = (picture.0.next_multiple_of(MULTIPLE), picture.1.next_multiple_of(MULTIPLE));
        Ok(Self {
            frame: (width, height),
            factor,
            picture: (picture.0 as usize, picture.1 as usize),
            width: w as usize,
            height: h as usize,
            values: vec![0.0; w as usize * h as usize],
        })
    }

    /// Columns and rows of the values.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// The values.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The frame's pixels along a value's side.
    pub(super) fn factor(&self) -> u32 {
        self.factor
    }

    /// Takes a frame's values.
    pub(super) fn fill(&mut self, image: &ThermalImage) -> Result<()> {
        let frame = (image.width(), image.height());
        if frame != self.frame {
            return Err(Error::new(
                Kind::Mismatch,
                Culprit::Camera,
                format!(
                    "the frame is {}x{}, the detectors were opened for {}x{}",
                    frame.0, frame.1, self.frame.0, self.frame.1
                ),
            )
            .remedy("open the detectors again when the camera changes its picture's size"));
        }
        match image.data() {
            SampleData::Eight(v) => self.copy(v),
            SampleData::Sixteen(v) => self.copy(v),
        }
        self.mirror();
        Ok(())
    }

    fn copy<T: Copy + Into<f32>>(&mut self, samples: &[T]) {
        let (columns, factor) = (self.frame.0 as usize, self.factor as usize);
        let (wide, high) = self.picture;
        let share = 1.0 / (factor * factor) as f32;
        let blocks = samples.chunks_exact(columns * factor).take(high);
        for (row, block) in self.values.chunks_exact_mut(self.width).zip(blocks) {
            let row = &mut row[..wide];
            if factor == 1 {
                row.iter_mut().zip(block).for_each(|(v, s)| *v = (*s).into());
                continue;
            }
            row.fill(0.0);
            for line in block.chunks_exact(columns) {
                for (v, cell) in row.iter_mut().zip(line.chunks_exact(factor)) {
                    *v += cell.iter().map(|s| (*s).into()).sum::<f32>() * share;
                }
            }
        }
    }

    /// Black beyond the edge would be a hard edge to both detectors, and would shift the mean.
    fn mirror(&mut self) {
        let (wide, high) = self.picture;
        for row in self.values.chunks_exact_mut(self.width).take(high) {
            let (shown, beyond) = row.split_at_mut(wide);
            beyond.iter_mut().zip(shown.iter().rev()).for_each(|(v, s)| *v = *s);
        }
        let (shown, beyond) = self.values.split_at_mut(self.width * high);
        let rows = shown.chunks_exact(self.width).rev();
        beyond.chunks_exact_mut(self.width).zip(rows).for_each(|(v, s)| v.copy_from_slice(s));
    }

    /// The value at a column and row; `None` outside of the frame.
    pub(super) fn at(&self, x: i32, y: i32) -> Option<f32> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        (x < self.picture.0 && y < self.picture.1).then(|| self.values[y * self.width + x])
    }

    /// A box in the values' pixels becomes one in the frame's, cut at its edges. `None` where its
    /// middle is not in the frame.
    pub(super) fn to_frame(&self, [x, y, w, h]: [f32; 4]) -> Option<PixelBox> {
        let (wide, high) = (self.picture.0 as f32, self.picture.1 as f32);
        let inside = |v: f32, end: f32| (0.0..=end).contains(&v);
        if !inside(x + w / 2.0, wide) || !inside(y + h / 2.0, high) {
            return None;
        }
        let (x0, y0) = (x.max(0.0), y.max(0.0));
        let (x1, y1) = ((x + w).min(wide), (y + h).min(high));
        let f = self.factor as f32;
        Some(PixelBox { x: x0 * f, y: y0 * f, width: (x1 - x0) * f, height: (y1 - y0) * f })
    }

    /// A box in the frame's pixels, in the values'.
    pub(super) fn of_frame(&self, b: &PixelBox) -> [f32; 4] {
        let f = self.factor as f32;
        [b.x / f, b.y / f, b.width / f, b.height / f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{SampleRange, Samples};

    fn image(width: u32, height: u32) -> ThermalImage {
        let data = (0..width * height).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16).collect();
        ThermalImage::white_hot(
            Samples::new(width, height, SampleData::Sixteen(data), SampleRange::Full).unwrap(),
        )
    }

    #[test]
    fn a_frame_is_continued_by_its_mirror_image() {
        let frame = image(40, 36);
        let mut plane = Plane::new(40, 36).unwrap();
        plane.values.fill(f32::NAN);
        plane.fill(&frame).unwrap();
        assert_eq!(plane.size(), (64, 64));
        assert!(plane.values().iter().all(|v| v.is_finite()));
        let at = |x: usize, y: usize| plane.values()[y * 64 + x];
        assert_eq!(at(39, 35), f32::from(frame.at(39, 35).unwrap()));
        assert_eq!((at(40, 3), at(45, 3)), (at(39, 3), at(34, 3)));
        assert_eq!((at(3, 36), at(50, 41)), (at(3, 35), at(50, 30)));
        assert_eq!(plane.at(40, 0), None);
    }

    #[test]
    fn a_large_frame_is_shrunk_by_its_mean_and_boxes_come_back_to_it() {
        let frame = image(1280, 1024);
        let mut plane = Plane::new(1280, 1024).unwrap();
        plane.fill(&frame).unwrap();
        assert_eq!(plane.size(), (640, 512));
        let mean = [(6, 8), (7, 8), (6, 9), (7, 9)].iter().map(|(x, y)| f32::from(frame.at(*x, *y).unwrap()));
        assert!((plane.at(3, 4).unwrap() - mean.sum::<f32>() / 4.0).abs() < 0.02);
        let back = plane.to_frame([630.0, -4.0, 20.0, 10.0]).unwrap();
        assert_eq!(back, PixelBox { x: 1260.0, y: 0.0, width: 20.0, height: 12.0 });
        assert_eq!(plane.of_frame(&back), [630.0, 0.0, 10.0, 6.0]);
        assert_eq!(plane.to_frame([650.0, 0.0, 10.0, 10.0]), None);
    }

    #[test]
    fn another_size_is_an_error_that_names_both() {
        let mut plane = Plane::new(640, 512).unwrap();
        let e = plane.fill(&image(640, 480)).unwrap_err();
        assert!(e.to_string().contains("640x480") && e.to_string().contains("640x512"), "{e}");
        assert_eq!(Plane::new(640, 16).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(Plane::new(9000, 512).unwrap_err().kind(), Kind::Unsupported);
    }
}
