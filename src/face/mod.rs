//! A picture becomes faces: detection, tracking, quality, alignment, templates, and what a
//! comparison is worth.

pub mod align;
mod calibration;
mod detect;
mod engine;
pub mod quality;
mod template;
mod track;

pub use calibration::{Calibration, MIN_FALSE_MATCHES, Threshold};
pub use engine::Engine;
pub use quality::{Pose, Quality, Shortfall};
pub use template::Template;
pub use track::{TrackId, Tracker};

/// A place in a picture, pixels; the origin is the top left corner, y points down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Right of the left edge.
    pub x: f32,
    /// Below the top edge.
    pub y: f32,
}

impl Point {
    /// Distance to another point.
    pub fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// An upright rectangle in a picture, pixels. It may reach beyond the picture's edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl BBox {
    /// Its middle.
    pub fn centre(self) -> Point {
        Point { x: self.x + self.width / 2.0, y: self.y + self.height / 2.0 }
    }

    /// Its area, square pixels.
    pub fn area(self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// The area that two rectangles share, square pixels.
    pub fn intersection(self, other: Self) -> f32 {
        let w = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let h = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        w.max(0.0) * h.max(0.0)
    }

    /// Intersection over union, 0 to 1.
    pub fn iou(self, other: Self) -> f32 {
        let shared = self.intersection(other);
        let all = self.area() + other.area() - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

/// A face in a picture, in pixels of that picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Around forehead, chin and cheeks.
    pub bbox: BBox,
    /// The person's right eye, left eye, nose tip, right corner of the mouth, left corner of the
    /// mouth.
    pub landmarks: [Point; 5],
    /// The detector's score, 0 to 1.
    pub score: f32,
}

impl Face {
    /// Pixels between the eyes.
    pub fn inter_ocular_px(&self) -> f32 {
        self.landmarks[0].distance(self.landmarks[1])
    }
}
