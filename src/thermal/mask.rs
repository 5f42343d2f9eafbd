//! Parts of a picture that are not the ground: text, crosshairs.

use super::hotspot::PixelBox;
use crate::config::MaskConfig;

/// Rectangles of a picture that are left out, for pictures of any size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masks {
    rectangles: Vec<MaskConfig>,
    /// For the size that was asked for last: the rows and columns of each rectangle.
    size: (u32, u32),
    pixels: Vec<[u32; 4]>,
}

impl Masks {
    /// From the configuration.
    pub fn new(rectangles: &[MaskConfig]) -> Self {
        Self { rectangles: rectangles.to_vec(), ..Self::default() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rectangles.is_empty()
    }

    /// Fits the rectangles to pictures of this size; a pixel they touch is covered.
    pub fn fit(&mut self, width: u32, height: u32) {
        if self.size == (width, height) {
            return;
        }
        self.size = (width, height);
        let (w, h) = (f64::from(width), f64::from(height));
        self.pixels = self
            .rectangles
            .iter()
            .map(|m| {
                let end = |from: f64, size: f64, all: f64| ((from + size) * all).ceil().min(all) as u32;
                [(m.x * w) as u32, (m.y * h) as u32, end(m.x, m.width, w), end(m.y, m.height, h)]
            })
            .collect();
    }

    /// Whether a pixel of the fitted picture is covered.
    pub fn covers(&self, x: u32, y: u32) -> bool {
        self.pixels.iter().any(|[x0, y0, x1, y1]| (*x0..*x1).contains(&x) && (*y0..*y1).contains(&y))
    }

    /// Whether the middle of a box lies in a covered part: such a hotspot is text.
    pub fn hides(&self, bbox: &PixelBox) -> bool {
        let [x, y] = bbox.centre();
        x >= 0.0 && y >= 0.0 && self.covers(x as u32, y as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_follow_the_size_of_the_picture() {
        let mut masks = Masks::new(&[MaskConfig::try_new(0.0, 0.9, 1.0, 0.1).unwrap()]);
        masks.fit(640, 512);
        assert!(masks.covers(639, 511) && masks.covers(0, 460) && !masks.covers(0, 459));
        masks.fit(320, 256);
        assert!(masks.covers(319, 231) && !masks.covers(0, 229));
        assert!(masks.hides(&PixelBox { x: 10.0, y: 240.0, width: 4.0, height: 8.0 }));
        assert!(!masks.hides(&PixelBox { x: 10.0, y: 100.0, width: 4.0, height: 8.0 }));
    }
}
