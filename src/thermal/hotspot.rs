//! What a detector sees in one thermal frame.

/// What a warm shape is, as far as one look tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThermalClass {
    /// A person.
    Person,
    /// A car, a truck, anything with an engine.
    Vehicle,
    /// A bicycle or a motorcycle.
    Cycle,
    /// Warm, and the detector does not know what.
    Warm,
}

/// Which detector saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThermalDetector {
    /// The trained network.
    Learned,
    /// Local contrast against the background.
    Hotspot,
}

/// A rectangle in pixels of the frame as it was captured: left, top, width, height; the centre of
/// the top left pixel is (0.5, 0.5).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PixelBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl PixelBox {
    /// Its middle.
    pub fn centre(&self) -> [f32; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Its area.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    fn shared(&self, other: &Self) -> f32 {
        let overlap = |a: f32, la: f32, b: f32, lb: f32| ((a + la).min(b + lb) - a.max(b)).max(0.0);
        overlap(self.x, self.width, other.x, other.width)
            * overlap(self.y, self.height, other.y, other.height)
    }

    /// Intersection over union.
    pub fn iou(&self, other: &Self) -> f32 {
        let shared = self.shared(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The share of the smaller of both that they have in common.
    pub fn covers(&self, other: &Self) -> f32 {
        let least = self.area().min(other.area());
        if least > 0.0 { self.shared(other) / least } else { 0.0 }
    }
}

/// The outline of a warm shape: the ellipse that has its second moments, whatever way it lies. In pixels of the
/// frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Its middle.
    pub centre: [f32; 2],
    /// How long it is.
    pub length: f32,
    /// How wide.
    pub width: f32,
    /// How much warmer than its surroundings its warmest tenth is, over how much all of it is. A stone is evenly
    /// warm; a person's head and hands are warmer than the clothes.
    pub peak: f32,
}

impl Extent {
    /// Whether both are the outline of one shape.
    pub fn is(&self, other: &Self) -> bool {
        let (a, b) = (self.centre, other.centre);
        let near = (a[0] - b[0]).hypot(a[1] - b[1]) < 1.0 + SAME_OUTLINE * self.length;
        let alike = |a: f32, b: f32| (a - b).abs() < 1.0 + SAME_OUTLINE * a.max(b);
        near && alike(self.length, other.length) && alike(self.width, other.width)
    }
}

/// Outlines of one shape that were found from different boxes are apart by less than this part of it.
const SAME_OUTLINE: f32 = 0.1;

/// One warm shape in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Hotspot {
    /// Where.
    pub bbox: PixelBox,
    /// What.
    pub class: ThermalClass,
    /// How sure the detector is, 0 to 1. Not a probability; its calibration makes one of it.
    pub score: f32,
    /// Which detector.
    pub detector: ThermalDetector,
    /// How much warmer than its surroundings, in robust deviations of the background.
    pub contrast: f32,
    /// Its outline; none where it cannot be told from the ground.
    pub extent: Option<Extent>,
    /// Its warmest part in kelvin, where the camera is radiometric.
    pub kelvin: Option<f32>,
}
