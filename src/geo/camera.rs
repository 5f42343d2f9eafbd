//! From a pixel to a ray and back: the pinhole camera with the distortion of a real lens.
//!
//! Pixels are those of the frame as it was captured, x right and y down, the centre of the top left
//! one at (0.5, 0.5), so that the picture spans 0 to width and 0 to height. Rays are in the
//! camera's axes: x right, y down, z forward. Source of the distortion model: D. C. Brown,
//! "Close-range camera calibration", Photogrammetric Engineering 37 (1971), in the order of
//! coefficients that OpenCV writes: k1, k2, p1, p2, k3.

use crate::base::{Culprit, Error, Kind, Result};

use super::attitude::Boresight;
use super::pose::{FieldOfView, Input, Pose};
use super::units::Angle;

/// Coefficients of radial (k) and tangential (p) distortion, without unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distortion {
    /// Radial, of the second power.
    pub k1: f64,
    /// Radial, of the fourth power.
    pub k2: f64,
    /// Tangential, vertical.
    pub p1: f64,
    /// Tangential, horizontal.
    pub p2: f64,
    /// Radial, of the sixth power.
    pub k3: f64,
}

impl Distortion {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Where an ideal point of the plane at distance 1 is seen.
    fn distort(&self, x: f64, y: f64) -> [f64; 2] {
        let r2 = x * x + y * y;
        let radial = 1.0 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3));
        [
            x * radial + 2.0 * self.p1 * x * y + self.p2 * (r2 + 2.0 * x * x),
            y * radial + self.p1 * (r2 + 2.0 * y * y) + 2.0 * self.p2 * x * y,
        ]
    }

    /// The derivatives of [`Distortion::distort`].
    fn jacobian(&self, x: f64, y: f64) -> [[f64; 2]; 2] {
        let r2 = x * x + y * y;
        let radial = 1.0 + r2 * (self.k1 + r2 * (self.k2 + r2 * self.k3));
        // Of `radial` by r2, times two.
        let slope = 2.0 * (self.k1 + r2 * (2.0 * self.k2 + r2 * 3.0 * self.k3));
        let mixed = x * y * slope + 2.0 * (self.p1 * x + self.p2 * y);
        [
            [radial + x * x * slope + 2.0 * self.p1 * y + 6.0 * self.p2 * x, mixed],
            [mixed, radial + y * y * slope + 6.0 * self.p1 * y + 2.0 * self.p2 * x],
        ]
    }

    /// The ideal radius up to which the radial part grows outwards. Beyond it the polynomial folds
    /// back, and a pixel would have two rays.
    fn fold(&self) -> f64 {
        // Zero of 1 + 3 k1 s + 5 k2 s² + 7 k3 s³ with s the radius squared: the first on the way
        // out. A lens that sees further than 80 degrees from its axis is no pinhole.
        let slope = |s: f64| 1.0 + s * (3.0 * self.k1 + s * (5.0 * self.k2 + s * 7.0 * self.k3));
        let limit = Angle::from_degrees(80.0).radians().tan();
        if self.is_none() {
            return limit;
        }
        const STEPS: u32 = 4096;
        for i in 1..=STEPS {
            let r = limit * f64::from(i) / f64::from(STEPS);
            if slope(r * r) <= 0.0 {
                return limit * f64::from(i - 1) / f64::from(STEPS);
            }
        }
        limit
    }
}

/// What a camera does with a ray: focal lengths, principal point and distortion, for a picture of
/// one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    size: [u32; 2],
    focal: [f64; 2],
    centre: [f64; 2],
    distortion: Distortion,
    fold: f64,
}

impl Intrinsics {
    /// From a calibration: `focal` [fx, fy] and `centre` [cx, cy] in pixels of a picture of `size`
    /// [width, height]. Calibrations that put the centre of the top left pixel at (0, 0), as
    /// OpenCV's do, need half a pixel added to `centre`.
    ///
    /// # Errors
    /// For what no camera has: no size, a focal length that is not positive, a principal point
    /// outside the middle half of the picture, a distortion that folds the picture.
    pub fn new(size: [u32; 2], focal: [f64; 2], centre: [f64; 2], distortion: Distortion) -> Result<Self> {
        let [w, h] = size.map(f64::from);
        if size.iter().any(|s| !(8..=65_536).contains(s)) {
            return Err(wrong(format!("no camera has {} × {} pixels", size[0], size[1])));
        }
        // From 1 to 170 degrees, roughly; also refuses what is no number.
        if !focal.iter().zip([w, h]).all(|(f, s)| (0.04 * s..=120.0 * s).contains(f)) {
            return Err(wrong(format!("focal lengths {:?} do not fit a picture of {w} × {h}", focal))
                .remedy("give fx and fy in pixels of the picture as it is captured"));
        }
        if !centre.iter().zip([w, h]).all(|(c, s)| (0.25 * s..=0.75 * s).contains(c)) {
            return Err(wrong(format!(
                "the principal point {:?} is not near the middle of {w} × {h}",
                centre
            ))
            .remedy("give cx and cy in pixels of the picture as it is captured"));
        }
        let Distortion { k1, k2, p1, p2, k3 } = distortion;
        if !(k1.abs() <= 10.0
            && k2.abs() <= 100.0
            && k3.abs() <= 1000.0
            && p1.abs() <= 0.1
            && p2.abs() <= 0.1)
        {
            return Err(wrong(format!("distortion {distortion:?} is beyond any lens's"))
                .remedy("check the order: k1, k2, p1, p2, k3"));
        }
        let intrinsics = Self { size, focal, centre, distortion, fold: distortion.fold() };
        for corner in [[0.0, 0.0], [w, 0.0], [0.0, h], [w, h]] {
            if intrinsics.ray(corner).is_none() {
                return Err(wrong(format!("the distortion folds the picture before its corner {corner:?}"))
                    .remedy("calibrate with views that reach into the corners"));
            }
        }
        Ok(intrinsics)
    }

    /// From what the whole picture spans: no distortion, the principal point in the middle, square
    /// pixels unless the vertical field of view is given too.
    ///
    /// # Errors
    /// For a field of view outside 1 to 160 degrees and a picture without size.
    pub fn from_field_of_view(size: [u32; 2], field_of_view: &FieldOfView) -> Result<Self> {
        let focal = |span: u32, angle: Angle| -> Result<f64> {
            if !(1.0..=160.0).contains(&angle.degrees()) {
                return Err(wrong(format!("no camera for this has a field of view of {angle}")));
            }
            Ok(f64::from(span) / 2.0 / (angle.radians() / 2.0).tan())
        };
        let fx = focal(size[0], field_of_view.horizontal)?;
        let fy = field_of_view.vertical.map_or(Ok(fx), |angle| focal(size[1], angle))?;
        Self::new(size, [fx, fy], size.map(|s| f64::from(s) / 2.0), Distortion::default())
    }

    /// The picture's width and height.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Focal lengths fx and fy in pixels.
    pub fn focal(&self) -> [f64; 2] {
        self.focal
    }

    /// What the whole picture spans, without distortion.
    pub fn field_of_view(&self) -> FieldOfView {
        let span = |i: usize| {
            let (low, high) = (self.centre[i], f64::from(self.size[i]) - self.centre[i]);
            Angle::from_radians((low / self.focal[i]).atan() + (high / self.focal[i]).atan())
        };
        FieldOfView { horizontal: span(0), vertical: Some(span(1)) }
    }

    /// The same lens behind a digital zoom about the picture's middle: 2 shows half the width.
    #[must_use]
    pub fn zoomed(&self, factor: f64) -> Self {
        let middle = self.size.map(|s| f64::from(s) / 2.0);
        Self {
            focal: self.focal.map(|f| f * factor),
            centre: std::array::from_fn(|i| middle[i] + (self.centre[i] - middle[i]) * factor),
            ..*self
        }
    }

    /// The same picture scaled to another size, as a decoder or an encoder does.
    #[must_use]
    pub fn resized(&self, size: [u32; 2]) -> Self {
        let scale: [f64; 2] = std::array::from_fn(|i| f64::from(size[i]) / f64::from(self.size[i]));
        Self {
            size,
            focal: std::array::from_fn(|i| self.focal[i] * scale[i]),
            centre: std::array::from_fn(|i| self.centre[i] * scale[i]),
            ..*self
        }
    }

    /// The part of the picture whose top left corner is at `corner`.
    #[must_use]
    pub fn cropped(&self, corner: [f64; 2], size: [u32; 2]) -> Self {
        Self { size, centre: std::array::from_fn(|i| self.centre[i] - corner[i]), ..*self }
    }

    /// Whether a pixel lies in the picture.
    pub fn contains(&self, pixel: [f64; 2]) -> bool {
        pixel.iter().zip(self.size).all(|(p, s)| (0.0..=f64::from(s)).contains(p))
    }

    /// The unit ray of a pixel, in the camera's axes. `None` where the distortion has none: where
    /// it folds, or its inversion does not converge to a thousandth of a pixel.
    pub fn ray(&self, pixel: [f64; 2]) -> Option<[f64; 3]> {
        let seen: [f64; 2] = std::array::from_fn(|i| (pixel[i] - self.centre[i]) / self.focal[i]);
        let [x, y] = self.undistort(seen)?;
        let length = (x * x + y * y + 1.0).sqrt();
        length.is_finite().then(|| [x / length, y / length, 1.0 / length])
    }

    /// Where a ray is seen, inside the picture or not. `None` for one from behind the camera, and
    /// beyond the radius to which the distortion is good.
    pub fn pixel(&self, ray: [f64; 3]) -> Option<[f64; 2]> {
        let (x, y) = (ray[0] / ray[2], ray[1] / ray[2]);
        if !(ray[2] > 0.0 && x.is_finite() && y.is_finite()) {
            return None;
        }
        let seen = if self.distortion.is_none() {
            [x, y]
        } else if x.hypot(y) <= self.fold {
            self.distortion.distort(x, y)
        } else {
            return None;
        };
        Some(std::array::from_fn(|i| seen[i] * self.focal[i] + self.centre[i]))
    }

    /// Newton's method, from the seen point. Real lenses need three or four turns.
    fn undistort(&self, seen: [f64; 2]) -> Option<[f64; 2]> {
        if self.distortion.is_none() {
            return Some(seen);
        }
        let enough = 1e-3 / self.focal[0].max(self.focal[1]);
        let inside = |p: [f64; 2]| {
            let r = p[0].hypot(p[1]);
            if r > self.fold { p.map(|c| c * self.fold / r) } else { p }
        };
        let mut p = inside(seen);
        for _ in 0..50 {
            let at = self.distortion.distort(p[0], p[1]);
            let miss = [at[0] - seen[0], at[1] - seen[1]];
            let [[a, b], [c, d]] = self.distortion.jacobian(p[0], p[1]);
            let det = a * d - b * c;
            if det.is_nan() || det <= 1e-9 {
                return None;
            }
            let step = [(d * miss[0] - b * miss[1]) / det, (a * miss[1] - c * miss[0]) / det];
            // At this point one more turn doubles the digits, so the answer is far better.
            if miss[0].hypot(miss[1]) < enough {
                let p = [p[0] - step[0], p[1] - step[1]];
                return (p[0].hypot(p[1]) <= self.fold).then_some(p);
            }
            p = inside([p[0] - step[0], p[1] - step[1]]);
        }
        None
    }
}

fn wrong(message: String) -> Error {
    Error::new(Kind::Config, Culprit::Config, message)
}

/// Where the camera's intrinsics come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lens {
    /// From the field of view of each frame's [`Pose`].
    FieldOfView,
    /// From a calibration.
    Calibrated {
        /// Measured at the picture's size and without zoom.
        intrinsics: Intrinsics,
        /// The horizontal field of view that telemetry states without zoom. Where it is known, a
        /// frame whose telemetry states another one is zoomed by the quotient.
        nominal: Option<Angle>,
    },
}

/// A drone's camera: its lens, and how it sits in the gimbal and on the platform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// Width and height of the frames in pixels.
    pub size: [u32; 2],
    /// The lens.
    pub lens: Lens,
    /// How the camera sits in the gimbal.
    pub boresight: Boresight,
    /// From the antenna (what [`Pose::position`] means) to the camera, in metres of the platform's
    /// axes: forward, right, down. Zero for a small drone, and for telemetry that states the
    /// camera's own place. With a gimbal that knows north it is turned by the camera's yaw alone.
    pub lever_arm_m: [f64; 3],
}

impl Camera {
    /// A camera without boresight offset or lever arm, whose field of view comes with each frame.
    pub fn new(size: [u32; 2]) -> Self {
        Self { size, lens: Lens::FieldOfView, boresight: Boresight::default(), lever_arm_m: [0.0; 3] }
    }

    /// The intrinsics for one frame.
    ///
    /// # Errors
    /// For a field of view that no camera has.
    pub fn intrinsics(&self, pose: &Pose) -> Result<Intrinsics> {
        self.intrinsics_at(&pose.field_of_view, pose.assumed.contains(&Input::FieldOfView))
    }

    /// The intrinsics for a field of view; `assumed` if no telemetry stated it.
    pub(super) fn intrinsics_at(&self, field_of_view: &FieldOfView, assumed: bool) -> Result<Intrinsics> {
        match self.lens {
            Lens::FieldOfView => Intrinsics::from_field_of_view(self.size, field_of_view),
            Lens::Calibrated { intrinsics, nominal } => {
                let intrinsics = intrinsics.resized(self.size);
                let Some(nominal) = nominal.filter(|_| !assumed) else { return Ok(intrinsics) };
                let stated = field_of_view.horizontal;
                if !(0.1..=160.0).contains(&stated.degrees()) {
                    return Err(wrong(format!("no camera for this has a field of view of {stated}")));
                }
                Ok(intrinsics.zoomed((nominal.radians() / 2.0).tan() / (stated.radians() / 2.0).tan()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A real thermal lens is of this kind: barrel, a little decentred.
    const BARREL: Distortion = Distortion { k1: -0.38, k2: 0.17, p1: 4e-4, p2: -7e-4, k3: -0.03 };

    fn wide() -> Intrinsics {
        Intrinsics::new([640, 512], [560.0, 558.0], [322.5, 253.5], BARREL).unwrap()
    }

    fn fov(horizontal: f64, vertical: Option<f64>) -> FieldOfView {
        FieldOfView {
            horizontal: Angle::from_degrees(horizontal),
            vertical: vertical.map(Angle::from_degrees),
        }
    }

    #[test]
    fn a_field_of_view_reaches_from_edge_to_edge() {
        let i = Intrinsics::from_field_of_view([640, 512], &fov(90.0, None)).unwrap();
        let half = 0.5f64.sqrt();
        let left = i.ray([0.0, 256.0]).unwrap();
        assert!((left[0] + half).abs() < 1e-12 && left[1].abs() < 1e-12 && (left[2] - half).abs() < 1e-12);
        assert_eq!(i.ray([320.0, 256.0]).unwrap(), [0.0, 0.0, 1.0]);
        assert!(i.focal().iter().all(|f| (f - 320.0).abs() < 1e-9), "square pixels: {:?}", i.focal());
        let i = Intrinsics::from_field_of_view([640, 512], &fov(40.0, Some(30.0))).unwrap();
        let top = i.ray([320.0, 0.0]).unwrap();
        assert!(((-top[1]).atan2(top[2]).to_degrees() - 15.0).abs() < 1e-9, "y is down");
        let back = i.field_of_view();
        assert!((back.horizontal.degrees() - 40.0).abs() < 1e-9);
        assert!((back.vertical.unwrap().degrees() - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_zoom_a_crop_and_a_scale_see_the_same_thing_elsewhere() {
        let full = wide();
        let ray = full.ray([250.0, 200.0]).unwrap();
        let near = |a: Option<[f64; 2]>, b: [f64; 2]| {
            let a = a.unwrap();
            assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 1e-6, "{a:?} {b:?}");
        };
        near(full.zoomed(2.0).pixel(ray), [180.0, 144.0]);
        near(full.resized([320, 256]).pixel(ray), [125.0, 100.0]);
        near(full.cropped([100.0, 50.0], [300, 300]).pixel(ray), [150.0, 150.0]);
    }

    #[test]
    fn what_no_camera_has_is_refused() {
        for bad in [
            Intrinsics::from_field_of_view([640, 512], &fov(0.0, None)),
            Intrinsics::from_field_of_view([640, 512], &fov(f64::NAN, None)),
            Intrinsics::from_field_of_view([640, 512], &fov(180.0, None)),
            Intrinsics::from_field_of_view([0, 512], &fov(50.0, None)),
            Intrinsics::new([640, 512], [0.0, 500.0], [320.0, 256.0], Distortion::default()),
            Intrinsics::new([640, 512], [500.0, 500.0], [0.0, 256.0], Distortion::default()),
            // 0.5 of the radius at the corner and falling: it folds.
            Intrinsics::new([640, 512], [400.0, 400.0], [320.0, 256.0], Distortion { k1: -0.6, ..BARREL }),
        ] {
            let says = bad.unwrap_err();
            assert_eq!(says.kind(), Kind::Config, "{says}");
        }
        assert!(wide().pixel([0.1, 0.1, -1.0]).is_none(), "behind");
        assert!(wide().pixel([0.1, 0.1, 0.0]).is_none());
        assert!(wide().pixel([f64::NAN, 0.1, 1.0]).is_none());
        assert!(wide().ray([f64::NAN, 0.1]).is_none());
        // Far outside no ray leads there, and none is made up.
        assert!(wide().ray([1e7, -1e7]).is_none());
    }

    #[test]
    fn a_calibrated_lens_zooms_with_the_telemetry() {
        let camera = Camera {
            lens: Lens::Calibrated { intrinsics: wide(), nominal: Some(Angle::from_degrees(60.0)) },
            ..Camera::new([640, 512])
        };
        let at = |degrees, assumed| camera.intrinsics_at(&fov(degrees, None), assumed).unwrap().focal()[0];
        assert!((at(60.0, false) - 560.0).abs() < 1e-9);
        assert!(
            (at(2.0 * (15f64.to_radians().tan()).atan().to_degrees(), false)
                - 560.0 * 30f64.to_radians().tan() / 15f64.to_radians().tan())
            .abs()
                < 1e-6
        );
        assert!((at(20.0, true) - 560.0).abs() < 1e-9, "nobody stated it");
    }

    proptest! {
        #[test]
        fn pixel_to_ray_to_pixel(x in 0.0..640.0f64, y in 0.0..512.0f64) {
            let ray = wide().ray([x, y]).unwrap();
            prop_assert!((ray.iter().map(|c| c * c).sum::<f64>() - 1.0).abs() < 1e-12);
            let back = wide().pixel(ray).unwrap();
            prop_assert!((back[0] - x).hypot(back[1] - y) < 1e-6, "{back:?}");
        }

        #[test]
        fn any_distortion_is_inverted_or_refused(
            k1 in -1.0..1.0f64, k2 in -1.0..1.0f64, k3 in -1.0..1.0f64, p1 in -0.02..0.02f64, p2 in -0.02..0.02f64,
            focal in 300.0..2000.0f64, x in 0.0..640.0f64, y in 0.0..512.0f64,
        ) {
            let d = Distortion { k1, k2, p1, p2, k3 };
            if let Ok(i) = Intrinsics::new([640, 512], [focal, focal], [320.0, 256.0], d)
                && let Some(ray) = i.ray([x, y])
            {
                let back = i.pixel(ray).unwrap();
                prop_assert!((back[0] - x).hypot(back[1] - y) < 1e-2, "{back:?}");
            }
        }
    }
}
