//! A pixel becomes a place on the ground, with its error; and a place a pixel.
//!
//! The error is carried through by casting the ray again with each input moved, one at a time, by
//! plus and minus √3 of its standard deviation: Gauss–Hermite quadrature of third order for every
//! input, and the sum of what they do. Unlike derivatives at the ray itself this sees the next hill,
//! and that a flat ray's error is longer away from the camera than towards it. Where one of the moved
//! rays finds no ground, no ellipse would be true, and there is no fix.

use std::fmt;
use std::sync::Arc;

use super::attitude::{Rotation, Tilt};
use super::camera::{Camera, Intrinsics};
use super::cast::{Hit, Scene, along};
use super::earth::{LocalFrame, enu_of_ned};
use super::fix::{GroundFix, GroundMethod};
use super::geoid::Geoid;
use super::pose::{Attitude, Gimbal, Pose, PoseSigma};
use super::terrain::{NoHeight, Terrain};
use super::units::{Angle, EllipsoidHeight, Geodetic, Height, SeaLevelHeight};

/// Why a line of sight has no place on the ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoGround {
    /// It does not go down.
    AboveHorizon,
    /// It goes down, but so little that its error cannot be told: below the site's limit, or part of
    /// what it may be does not meet the ground at all.
    TooFlat,
    /// The ground is further away than the site's limit.
    BeyondRange,
    /// The elevation model has no height there.
    NoHeight(NoHeight),
    /// By telemetry and elevation model the camera is under the ground: one of the heights is wrong.
    CameraBelowGround,
    /// The lens shows nothing at this pixel.
    NoRay,
    /// The field of view is none that a camera has.
    NoCamera,
    /// A height counts from the place of take-off, whose own height is not known.
    TakeoffUnknown,
}

impl NoGround {
    /// As one word for events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AboveHorizon => "above_horizon",
            Self::TooFlat => "too_flat",
            Self::BeyondRange => "beyond_range",
            Self::NoHeight(NoHeight::NoTile) => "no_tile",
            Self::NoHeight(NoHeight::Void) => "void",
            Self::NoHeight(NoHeight::Loading) => "terrain_loading",
            Self::NoHeight(NoHeight::Broken) => "terrain_broken",
            Self::CameraBelowGround => "camera_below_ground",
            Self::NoRay => "no_ray",
            Self::NoCamera => "no_camera",
            Self::TakeoffUnknown => "takeoff_unknown",
        }
    }
}

impl fmt::Display for NoGround {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AboveHorizon => "the line of sight does not go down",
            Self::TooFlat => "the line of sight is too flat for a place with an error",
            Self::BeyondRange => "the ground is beyond the range",
            Self::NoHeight(NoHeight::NoTile) => "no elevation model covers the place",
            Self::NoHeight(NoHeight::Void) => "the elevation model has a hole there",
            Self::NoHeight(NoHeight::Loading) => "the elevation model is being read",
            Self::NoHeight(NoHeight::Broken) => "the elevation model could not be read",
            Self::CameraBelowGround => "the camera is under the ground, so one of the heights is wrong",
            Self::NoRay => "the lens shows nothing at this pixel",
            Self::NoCamera => "the field of view is none that a camera has",
            Self::TakeoffUnknown => "the height of the place of take-off is not known",
        })
    }
}

impl From<NoHeight> for NoGround {
    fn from(no: NoHeight) -> Self {
        Self::NoHeight(no)
    }
}

/// What the ground is known to be. At least one of the two has to be there for a fix.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Elevation models.
    pub terrain: Option<Arc<Terrain>>,
    /// Flat ground at this height: without elevation models, and where they have no height.
    pub flat: Option<Height>,
}

/// How far off everything may be that a [`Pose`] does not answer for: one standard deviation each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sigmas {
    /// Metres, of the elevation model's heights.
    pub terrain_m: f64,
    /// Metres, of the flat ground's height: the relief of the place.
    pub flat_m: f64,
    /// Of each axis of the boresight.
    pub boresight: Angle,
    /// Metres, of a range finder.
    pub range_m: f64,
    /// Metres, of the height of the place of take-off.
    pub takeoff_m: f64,
    /// The part of each [`PoseSigma`] that is another one in each frame and so averages out over many
    /// looks. The rest is the same for minutes: a compass's error, the receiver's, the gimbal's.
    pub jitter: PoseSigma,
}

impl Default for Sigmas {
    /// For a small drone over SRTM; `docs/positions.md` says where each number comes from.
    fn default() -> Self {
        Self {
            terrain_m: 5.0,
            flat_m: 5.0,
            boresight: Angle::from_degrees(0.3),
            range_m: 1.0,
            takeoff_m: 5.0,
            jitter: PoseSigma {
                horizontal_m: 0.2,
                vertical_m: 0.2,
                yaw: Angle::from_degrees(0.2),
                pitch: Angle::from_degrees(0.1),
                roll: Angle::from_degrees(0.1),
                field_of_view: Angle::ZERO,
            },
        }
    }
}

/// Bounds on what is called a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Metres along the line of sight.
    pub max_range_m: f64,
    /// Lines of sight that go down less are not followed.
    pub min_depression: Angle,
}

impl Default for Limits {
    /// 5 km and 5 degrees.
    fn default() -> Self {
        Self { max_range_m: 5_000.0, min_depression: Angle::from_degrees(5.0) }
    }
}

/// How far the pixels next to the picture's middle may lie from it, as a share of its width, for
/// which a range finder's distance is taken: it measures along the middle.
const RANGE_FINDER_REACH: f64 = 0.05;
/// A height that nobody knows, on Earth: one standard deviation in metres.
const ANY_HEIGHT_M: f64 = 1_500.0;

/// Turns pixels into places. One for each camera; made once, shared by threads.
///
/// ```
/// use std::sync::Arc;
/// use vigil::geo::{Camera, Geoid, Ground, Height, Locator, SeaLevelHeight, Sigmas, ce90};
/// # use vigil::geo::{Angle, Attitude, FieldOfView, Gimbal, LatLon, Pose, PoseSigma};
/// # let a = Angle::from_degrees;
/// # let level = Attitude { yaw: a(0.0), pitch: a(0.0), roll: a(0.0) };
/// # let pose = Pose {
/// #     time: jiff::Timestamp::UNIX_EPOCH,
/// #     position: LatLon::from_degrees(30.25, 120.15).unwrap(),
/// #     height: Height::SeaLevel(SeaLevelHeight(110.0)),
/// #     platform: level,
/// #     gimbal: Gimbal::World(Attitude { yaw: a(90.0), pitch: a(-45.0), roll: a(0.0) }),
/// #     field_of_view: FieldOfView { horizontal: a(40.0), vertical: None },
/// #     slant_range_m: None, ages: vec![], assumed: vec![], stale: vec![],
/// #     sigma: PoseSigma {
/// #         horizontal_m: 2.0, vertical_m: 3.0, yaw: a(3.0), pitch: a(0.5), roll: a(0.5),
/// #         field_of_view: a(0.5),
/// #     },
/// # };
/// // 100 m above flat ground, looking east and 45 degrees down.
/// let ground = Ground { terrain: None, flat: Some(Height::SeaLevel(SeaLevelHeight(10.0))) };
/// let locator =
///     Locator::new(Camera::new([640, 512]), ground, Arc::new(Geoid::egm96()), Sigmas::default());
/// let fix = locator.locate(&pose, [320.0, 256.0], 1.0)?;
/// assert!((fix.slant_range_m - 141.4).abs() < 0.1);
/// assert!((5.0..25.0).contains(&ce90(&fix.covariance)));
/// // And back.
/// let seen = locator.project(&pose, &fix.position)?.expect("it is before the camera");
/// assert!(seen.inside && (seen.pixel[0] - 320.0).abs() < 0.01);
/// # Ok::<(), vigil::geo::NoGround>(())
/// ```
#[derive(Clone, Debug)]
pub struct Locator {
    camera: Camera,
    ground: Ground,
    geoid: Arc<Geoid>,
    sigmas: Sigmas,
    limits: Limits,
    takeoff: Option<EllipsoidHeight>,
}

impl Locator {
    /// A locator with the usual [`Limits`].
    pub fn new(camera: Camera, ground: Ground, geoid: Arc<Geoid>, sigmas: Sigmas) -> Self {
        Self { camera, ground, geoid, sigmas, limits: Limits::default(), takeoff: None }
    }

    /// The same for another camera.
    #[must_use]
    pub fn with_camera(mut self, camera: Camera) -> Self {
        self.camera = camera;
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, knowing how high the place of take-off is: what [`Height::Takeoff`] counts from.
    #[must_use]
    pub fn with_takeoff(mut self, height: EllipsoidHeight) -> Self {
        self.takeoff = Some(height);
        self
    }

    /// The bounds on what is called a place.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The camera.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// The height of the ground at a place: of the elevation model, else of the flat ground.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ground_height(&self, at: super::LatLon) -> Result<EllipsoidHeight, NoGround> {
        let terrain = match &self.ground.terrain {
            Some(terrain) => terrain.height(&self.geoid, at),
            None => Err(NoHeight::NoTile),
        };
        match (terrain, self.ground.flat) {
            (Ok(height), _) => Ok(height),
            (Err(NoHeight::NoTile | NoHeight::Void), Some(flat)) => self.above_ellipsoid(at, flat),
            (Err(no), _) => Err(no.into()),
        }
    }

    fn above_ellipsoid(&self, at: super::LatLon, height: Height) -> Result<EllipsoidHeight, NoGround> {
        match height {
            Height::Ellipsoid(h) => Ok(h),
            Height::SeaLevel(h) => Ok(self.geoid.to_ellipsoid(at, h)),
            Height::Takeoff(h) => {
                let from = self.takeoff.ok_or(NoGround::TakeoffUnknown)?;
                Ok(EllipsoidHeight(from.0 + h.0))
            }
        }
    }

    /// One frame's view, ready for many pixels.
    ///
    /// # Errors
    /// For a pose without a height above ground, or with a field of view that no camera has.
    pub fn view<'a>(&'a self, pose: &'a Pose) -> Result<View<'a>, NoGround> {
        let intrinsics = self.camera.intrinsics(pose).map_err(|_| NoGround::NoCamera)?;
        let relative = matches!(
            (pose.height, self.ground.flat, &self.ground.terrain),
            (Height::Takeoff(_), Some(Height::Takeoff(_)), None)
        );
        // Above flat ground at a height from the same place nothing else has to be known.
        let unknown_takeoff = relative && self.takeoff.is_none();
        let at = pose.position;
        let zero = self.geoid.to_ellipsoid(at, SeaLevelHeight(0.0));
        let absolute = |height: Height| match height {
            Height::Takeoff(h) if unknown_takeoff => Ok(EllipsoidHeight(zero.0 + h.0)),
            height => self.above_ellipsoid(at, height),
        };
        let height = absolute(pose.height)?;
        let flat = match self.ground.flat {
            Some(flat) => Some(absolute(flat)?.0),
            None => None,
        };
        // From the antenna to the camera.
        let body = match pose.gimbal {
            Gimbal::Platform { .. } => Rotation::of(&pose.platform),
            Gimbal::World(Attitude { yaw, .. }) => Rotation::about_z(yaw),
        };
        let antenna = LocalFrame::new(Geodetic { at, height });
        let arm = enu_of_ned(body.apply(self.camera.lever_arm_m));
        let camera = antenna.geodetic(arm).ok_or(NoGround::NoCamera)?;
        let rotation = pose.camera_to_ned(&self.camera.boresight);
        Ok(View {
            locator: self,
            pose,
            intrinsics,
            rotation,
            scene: Scene {
                frame: LocalFrame::new(camera),
                terrain: self.ground.terrain.as_deref(),
                below: self
                    .ground
                    .terrain
                    .as_ref()
                    .and_then(|t| t.grid_at(camera.at.lat().degrees(), camera.at.lon().degrees()).ok()),
                flat,
                geoid: self.geoid.patch(camera.at),
                max_range_m: self.limits.max_range_m,
            },
            unknown_takeoff,
        })
    }

    /// Where on the ground a pixel of a frame is, with its error. `pixel_sigma` is how well the pixel
    /// is known, in pixels, along each axis.
    ///
    /// # Errors
    /// Why it has no place.
    pub fn locate(&self, pose: &Pose, pixel: [f64; 2], pixel_sigma: f64) -> Result<GroundFix, NoGround> {
        self.view(pose)?.locate(pixel, pixel_sigma)
    }

    /// Where in a frame a place is seen; `None` behind the camera.
    ///
    /// # Errors
    /// As [`Locator::view`].
    pub fn project(&self, pose: &Pose, place: &Geodetic) -> Result<Option<Projected>, NoGround> {
        Ok(self.view(pose)?.project(place))
    }
}

/// Where a place is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projected {
    /// The pixel, inside the picture or not.
    pub pixel: [f64; 2],
    /// Whether it is inside.
    pub inside: bool,
    /// Whether the ground stands between; `None` where the elevation model does not say.
    pub hidden: Option<bool>,
    /// Metres from the camera.
    pub slant_range_m: f64,
    /// Metres that one pixel spans there, across the line of sight.
    pub gsd_m: f64,
}

/// One frame's camera in the world.
pub struct View<'a> {
    pub(super) locator: &'a Locator,
    pose: &'a Pose,
    pub(super) intrinsics: Intrinsics,
    rotation: Rotation,
    pub(super) scene: Scene<'a>,
    /// Heights count from a place whose own is not known.
    unknown_takeoff: bool,
}

/// What a place rests on, each with an error of its own that is independent of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    PixelX,
    PixelY,
    East,
    North,
    Height,
    Yaw,
    Pitch,
    Roll,
    BoresightYaw,
    BoresightPitch,
    BoresightRoll,
    FieldOfView,
    Ground,
    Range,
}

impl Cause {
    const ALL: [Self; 14] = [
        Self::PixelX,
        Self::PixelY,
        Self::East,
        Self::North,
        Self::Height,
        Self::Yaw,
        Self::Pitch,
        Self::Roll,
        Self::BoresightYaw,
        Self::BoresightPitch,
        Self::BoresightRoll,
        Self::FieldOfView,
        Self::Ground,
        Self::Range,
    ];
}

impl View<'_> {
    /// Where the camera is.
    pub fn camera(&self) -> Geodetic {
        self.scene.frame.origin()
    }

    /// The camera's model in this frame.
    pub fn intrinsics(&self) -> &Intrinsics {
        &self.intrinsics
    }

    /// Metres from the ground straight below up to the camera.
    ///
    /// # Errors
    /// Why the ground there has no height.
    pub fn above_ground_m(&self) -> Result<f64, NoGround> {
        let camera = self.camera();
        let ground = match (self.scene.flat, self.locator.ground_height(camera.at)) {
            // Heights from a place whose own is not known are still heights from the same place.
            (Some(flat), Err(NoGround::TakeoffUnknown)) => flat,
            (_, ground) => ground?.0,
        };
        Ok(camera.height.0 - ground)
    }

    /// The unit ray of a pixel in east, north, up at the camera.
    pub(super) fn ray(&self, pixel: [f64; 2]) -> Result<[f64; 3], NoGround> {
        let ray = self.intrinsics.ray(pixel).ok_or(NoGround::NoRay)?;
        Ok(enu_of_ned(self.rotation.apply(ray)))
    }

    /// Where a pixel's ray meets the ground, without its error.
    pub(super) fn hit(&self, pixel: [f64; 2]) -> Result<Hit, NoGround> {
        let ray = self.ray(pixel)?;
        self.steep_enough(ray)?;
        self.scene.cast([0.0; 3], ray, 0.0)
    }

    fn steep_enough(&self, ray: [f64; 3]) -> Result<f64, NoGround> {
        let depression = Angle::from_radians((-ray[2]).clamp(-1.0, 1.0).asin());
        if depression <= Angle::ZERO {
            return Err(NoGround::AboveHorizon);
        }
        if depression < self.locator.limits.min_depression {
            return Err(NoGround::TooFlat);
        }
        Ok(depression.degrees())
    }

    /// Where on the ground a pixel is, without its error: a tenth of the cost of [`View::locate`].
    ///
    /// # Errors
    /// Why it has no place.
    pub fn place(&self, pixel: [f64; 2]) -> Result<Geodetic, NoGround> {
        self.scene.frame.geodetic(self.hit(pixel)?.enu).ok_or(NoGround::BeyondRange)
    }

    /// Where on the ground a pixel is, with its error. `pixel_sigma` is how well the pixel is known,
    /// in pixels, along each axis.
    ///
    /// # Errors
    /// Why it has no place.
    pub fn locate(&self, pixel: [f64; 2], pixel_sigma: f64) -> Result<GroundFix, NoGround> {
        let ray = self.ray(pixel)?;
        let depression_deg = self.steep_enough(ray)?;
        let range = self.pose.slant_range_m.filter(|r| self.near_middle(pixel) && (1.0..1e5).contains(r));
        let hit = match range {
            Some(range) => self.at_range(pixel, [0.0; 3], &self.rotation, &self.intrinsics, range)?,
            None => self.scene.cast([0.0; 3], ray, 0.0)?,
        };
        if hit.range_m > self.locator.limits.max_range_m {
            return Err(NoGround::BeyondRange);
        }
        let [covariance, shared] = self.spread(pixel, pixel_sigma, &hit, range)?;
        let position = self.scene.frame.geodetic(hit.enu).ok_or(NoGround::BeyondRange)?;
        let method = match (range, hit.flat) {
            (Some(_), _) => GroundMethod::RangeFinder,
            (None, true) => GroundMethod::Flat,
            (None, false) => GroundMethod::Terrain,
        };
        Ok(GroundFix {
            position,
            covariance,
            shared,
            method,
            slant_range_m: hit.range_m,
            gsd_m: hit.range_m * self.pixel_angle(pixel),
            depression_deg,
        })
    }

    /// What one pixel spans, in radians.
    pub(super) fn pixel_angle(&self, [x, y]: [f64; 2]) -> f64 {
        let ends = (self.intrinsics.ray([x - 0.5, y]), self.intrinsics.ray([x + 0.5, y]));
        let (Some(a), Some(b)) = ends else { return 1.0 / self.intrinsics.focal()[0] };
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn near_middle(&self, pixel: [f64; 2]) -> bool {
        let [w, h] = self.intrinsics.size().map(f64::from);
        (pixel[0] - w / 2.0).hypot(pixel[1] - h / 2.0) <= RANGE_FINDER_REACH * w
    }

    /// The range finder measures along the picture's middle. Around where it hits, the ground is level.
    fn at_range(
        &self,
        pixel: [f64; 2],
        start: [f64; 3],
        rotation: &Rotation,
        intrinsics: &Intrinsics,
        range_m: f64,
    ) -> Result<Hit, NoGround> {
        let ray = |p| intrinsics.ray(p).map(|r| enu_of_ned(rotation.apply(r))).ok_or(NoGround::NoRay);
        let middle = ray(intrinsics.size().map(|s| f64::from(s) / 2.0))?;
        let dir = ray(pixel)?;
        let t = range_m * middle[2] / dir[2];
        if !(middle[2] < 0.0 && dir[2] < 0.0 && t.is_finite()) {
            return Err(NoGround::AboveHorizon);
        }
        Ok(Hit { enu: along(start, dir, t), range_m: t, flat: false })
    }

    /// What the height of the ground counts from.
    fn ground_height_of(&self, hit: &Hit) -> Height {
        let map = Height::SeaLevel(SeaLevelHeight(0.0));
        if hit.flat { self.locator.ground.flat.unwrap_or(map) } else { map }
    }

    /// One standard deviation of a cause: all of it, and the part that is another one in each frame.
    fn sigma(&self, cause: Cause, pixel_sigma: f64, hit: &Hit, range: Option<f64>) -> [f64; 2] {
        let (pose, sigmas) = (&self.pose.sigma, &self.locator.sigmas);
        let jitter = &sigmas.jitter;
        let all_shared = |sigma: f64| [sigma, 0.0];
        match cause {
            Cause::PixelX | Cause::PixelY => [pixel_sigma, pixel_sigma],
            Cause::East | Cause::North => [pose.horizontal_m, jitter.horizontal_m],
            Cause::Height => {
                let joint = match (self.pose.height, self.ground_height_of(hit)) {
                    _ if range.is_some() => 0.0,
                    (Height::SeaLevel(_), Height::Ellipsoid(_)) => Geoid::SIGMA_M,
                    (Height::Takeoff(_), Height::Ellipsoid(_) | Height::SeaLevel(_)) => sigmas.takeoff_m,
                    _ => 0.0,
                };
                [pose.vertical_m.hypot(joint), jitter.vertical_m]
            }
            Cause::Yaw => [pose.yaw.radians(), jitter.yaw.radians()],
            Cause::Pitch => [pose.pitch.radians(), jitter.pitch.radians()],
            Cause::Roll => [pose.roll.radians(), jitter.roll.radians()],
            Cause::BoresightYaw | Cause::BoresightPitch | Cause::BoresightRoll => {
                all_shared(sigmas.boresight.radians())
            }
            Cause::FieldOfView => all_shared(pose.field_of_view.radians()),
            Cause::Ground if range.is_some() => [0.0; 2],
            // Heights from different zeros: what joins them errs too.
            Cause::Ground => {
                let known = if hit.flat { sigmas.flat_m } else { sigmas.terrain_m };
                all_shared(match (self.pose.height, self.ground_height_of(hit)) {
                    (Height::Ellipsoid(_), Height::SeaLevel(_)) => known.hypot(Geoid::SIGMA_M),
                    (Height::Ellipsoid(_) | Height::SeaLevel(_), Height::Takeoff(_)) => {
                        known.hypot(sigmas.takeoff_m)
                    }
                    _ => known,
                })
            }
            Cause::Range if range.is_some() => [sigmas.range_m, sigmas.range_m],
            Cause::Range => [0.0; 2],
        }
    }

    /// Where the pixel would be if one cause were off by `by`.
    fn moved(
        &self,
        cause: Cause,
        by: f64,
        pixel: [f64; 2],
        hit: &Hit,
        range: Option<f64>,
    ) -> Result<[f64; 3], NoGround> {
        let angle = Angle::from_radians(by);
        let (mut pixel, mut start, mut lift, mut range) = (pixel, [0.0; 3], 0.0, range);
        let (mut rotation, mut intrinsics) = (self.rotation, self.intrinsics);
        match cause {
            Cause::PixelX => pixel[0] += by,
            Cause::PixelY => pixel[1] += by,
            Cause::East => start[0] = by,
            Cause::North => start[1] = by,
            Cause::Height => start[2] = by,
            Cause::Yaw => rotation = Tilt { yaw: angle, ..Tilt::default() }.applied_to(&rotation),
            Cause::Pitch => rotation = Tilt { pitch: angle, ..Tilt::default() }.applied_to(&rotation),
            Cause::Roll => rotation = Tilt { roll: angle, ..Tilt::default() }.applied_to(&rotation),
            Cause::BoresightYaw => rotation = rotation * Rotation::about_y(angle),
            Cause::BoresightPitch => rotation = rotation * Rotation::about_x(angle),
            Cause::BoresightRoll => rotation = rotation * Rotation::about_z(angle),
            Cause::FieldOfView => {
                let half = self.pose.field_of_view.horizontal.radians() / 2.0;
                let other = half + by / 2.0;
                if !(other > half / 10.0 && other < 1.5) {
                    return Err(NoGround::NoCamera);
                }
                intrinsics = intrinsics.zoomed(half.tan() / other.tan());
            }
            Cause::Ground => lift = by,
            Cause::Range => range = range.map(|r| r + by),
        }
        if let Some(range) = range {
            return Ok(self.at_range(pixel, start, &rotation, &intrinsics, range)?.enu);
        }
        let ray = intrinsics.ray(pixel).ok_or(NoGround::NoRay)?;
        let dir = enu_of_ned(rotation.apply(ray));
        match self.scene.cast(start, dir, lift) {
            Ok(hit) => Ok(hit.enu),
            // Its neighbour has no height: the ground goes on level there.
            Err(NoGround::NoHeight(_)) => {
                let t = (hit.enu[2] + lift - start[2]) / dir[2];
                if t > 0.0 { Ok(along(start, dir, t)) } else { Err(NoGround::TooFlat) }
            }
            Err(NoGround::AboveHorizon | NoGround::BeyondRange) => Err(NoGround::TooFlat),
            Err(other) => Err(other),
        }
    }

    /// The covariance around a hit, and its shared part.
    fn spread(
        &self,
        pixel: [f64; 2],
        pixel_sigma: f64,
        hit: &Hit,
        range: Option<f64>,
    ) -> Result<[[[f64; 3]; 3]; 2], NoGround> {
        let (mut covariance, mut shared) = ([[0.0; 3]; 3], [[0.0; 3]; 3]);
        let mut means = [0.0; 3];
        for cause in Cause::ALL {
            let [sigma, jitter] = self.sigma(cause, pixel_sigma, hit, range);
            if sigma <= 0.0 {
                continue;
            }
            let part = 1.0 - (jitter / sigma).min(1.0).powi(2);
            let away = |by: f64| -> Result<[f64; 3], NoGround> {
                let moved = self.moved(cause, by, pixel, hit, range)?;
                Ok(std::array::from_fn(|i| moved[i] - hit.enu[i]))
            };
            let by = 3f64.sqrt() * sigma;
            let (plus, minus) = (away(by)?, away(-by)?);
            // Weights 1/6, 2/3 (where it is zero), 1/6. Taken about the fix itself and not about the
            // mean, which lies elsewhere for a flat ray; `means` joins what the causes have in common.
            let mean: [f64; 3] = std::array::from_fn(|i| (plus[i] + minus[i]) / 6.0);
            for i in 0..3 {
                for j in 0..3 {
                    let second = (plus[i] * plus[j] + minus[i] * minus[j]) / 6.0;
                    covariance[i][j] += second - mean[i] * mean[j];
                    shared[i][j] += part * (second - mean[i] * mean[j]);
                }
                means[i] += mean[i];
            }
        }
        for i in 0..3 {
            for j in 0..3 {
                covariance[i][j] += means[i] * means[j];
                shared[i][j] += means[i] * means[j];
            }
        }
        // What moves camera and ground alike makes the height above the ellipsoid wrong, and nothing else.
        let height = match (self.pose.height, self.ground_height_of(hit)) {
            (Height::SeaLevel(_) | Height::Takeoff(_), Height::SeaLevel(_)) => Geoid::SIGMA_M,
            (Height::Takeoff(_), Height::Takeoff(_)) if self.unknown_takeoff => ANY_HEIGHT_M,
            (Height::Takeoff(_), Height::Takeoff(_)) => self.locator.sigmas.takeoff_m,
            _ => 0.0,
        };
        covariance[2][2] += height * height;
        shared[2][2] += height * height;
        // East, north, up at the camera: over 5 km they turn by less than a thousandth.
        Ok([covariance, shared])
    }

    /// Where a place is seen; `None` behind the camera.
    pub fn project(&self, place: &Geodetic) -> Option<Projected> {
        let target = self.scene.frame.enu(place);
        let hidden = self.scene.hidden([0.0; 3], target);
        self.aim(target).map(|seen| Projected { hidden, ..seen })
    }

    /// Where a point of the scene is seen, without asking what stands between.
    pub(super) fn aim(&self, target: [f64; 3]) -> Option<Projected> {
        let slant_range_m = target.iter().map(|c| c * c).sum::<f64>().sqrt();
        let ned = [target[1], target[0], -target[2]];
        let pixel = self.intrinsics.pixel(self.rotation.inverse().apply(ned))?;
        Some(Projected {
            pixel,
            inside: self.intrinsics.contains(pixel),
            hidden: None,
            slant_range_m,
            gsd_m: slant_range_m * self.pixel_angle(pixel),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fix::{ce90, le90};
    use super::super::pose::FieldOfView;
    use super::super::terrain::{ElevationGrid, VerticalDatum};
    use super::super::units::{LatLon, TakeoffHeight};
    use super::*;
    use proptest::prelude::*;

    fn a(degrees: f64) -> Angle {
        Angle::from_degrees(degrees)
    }

    fn pose(height: Height, yaw: f64, pitch: f64) -> Pose {
        let attitude = |yaw, pitch| Attitude { yaw: a(yaw), pitch: a(pitch), roll: a(0.0) };
        Pose {
            time: jiff::Timestamp::UNIX_EPOCH,
            position: LatLon::from_degrees(30.25, 120.15).unwrap(),
            height,
            platform: attitude(0.0, 0.0),
            gimbal: Gimbal::World(attitude(yaw, pitch)),
            field_of_view: FieldOfView { horizontal: a(40.0), vertical: None },
            slant_range_m: None,
            ages: vec![],
            assumed: vec![],
            stale: vec![],
            sigma: PoseSigma {
                horizontal_m: 1.5,
                vertical_m: 3.0,
                yaw: a(3.0),
                pitch: a(0.5),
                roll: a(0.5),
                field_of_view: a(0.5),
            },
        }
    }

    fn ellipsoid(h: f64) -> Height {
        Height::Ellipsoid(EllipsoidHeight(h))
    }

    fn over(ground: Ground) -> Locator {
        Locator::new(Camera::new([640, 512]), ground, Arc::new(Geoid::egm96()), Sigmas::default())
    }

    fn flat(height: Height) -> Locator {
        over(Ground { terrain: None, flat: Some(height) })
    }

    /// Posts every 10 m or so, 401 × 401 around the camera, as high as `height(east, north)`.
    fn hills(height: impl Fn(f64, f64) -> f32) -> Locator {
        let step = [10.0 / 96_200.0, 10.0 / 110_860.0];
        let corner = LatLon::from_degrees(30.25 + 200.0 * step[1], 120.15 - 200.0 * step[0]).unwrap();
        let posts = (0..401 * 401)
            .map(|i| height(10.0 * (f64::from(i % 401) - 200.0), 10.0 * (200.0 - f64::from(i / 401))));
        let grid =
            ElevationGrid::geographic(corner, step, [401, 401], posts.collect(), VerticalDatum::Ellipsoid);
        over(Ground { terrain: Some(Arc::new(Terrain::of(vec![grid.unwrap()]))), flat: None })
    }

    const MIDDLE: [f64; 2] = [320.0, 256.0];

    fn enu(pose: &Pose, to: &Geodetic, up: f64) -> [f64; 3] {
        LocalFrame::new(Geodetic { at: pose.position, height: EllipsoidHeight(up) }).enu(to)
    }

    #[test]
    fn a_pixel_falls_where_trigonometry_says() {
        let locator = flat(ellipsoid(20.0));
        let north = pose(ellipsoid(120.0), 0.0, -45.0);
        let fix = locator.locate(&north, MIDDLE, 1.0).unwrap();
        let at = enu(&north, &fix.position, 20.0);
        assert!(at[0].abs() < 1e-6 && (at[1] - 100.0).abs() < 2e-3 && at[2].abs() < 2e-3, "{at:?}");
        assert_eq!((fix.method, fix.depression_deg.round()), (GroundMethod::Flat, 45.0));
        assert!((fix.gsd_m - 141.42 * 2.0 * 20f64.to_radians().tan() / 640.0).abs() < 1e-3, "{}", fix.gsd_m);
        // Right of the middle is east when looking north.
        let right = enu(&north, &locator.view(&north).unwrap().place([640.0, 256.0]).unwrap(), 20.0);
        assert!((right[0] - 141.42 * 20f64.to_radians().tan()).abs() < 0.01, "{right:?}");
        // Straight down, the upper edge lies towards yaw.
        let down = pose(ellipsoid(120.0), 90.0, -90.0);
        let top = enu(&down, &locator.view(&down).unwrap().place([320.0, 0.0]).unwrap(), 20.0);
        assert!(top[0] > 25.0 && top[1].abs() < 1e-6, "{top:?}");
        // 5 km away the Earth has bent away by 2 m, at 2.3 degrees that is 49 m more.
        let far = locator.clone().with_limits(Limits { max_range_m: 1e5, min_depression: a(1.0) });
        let flat = pose(ellipsoid(220.0), 0.0, -f64::atan2(200.0, 5000.0).to_degrees());
        let at = enu(&flat, &far.view(&flat).unwrap().place(MIDDLE).unwrap(), 20.0);
        assert!((at[1] - 5_050.0).abs() < 10.0, "{at:?}");
    }

    #[test]
    fn the_ellipse_is_that_of_its_causes() {
        let locator = flat(ellipsoid(20.0));
        // Straight down from 100 m the ground's height moves nothing, and a compass nothing.
        let down = locator.locate(&pose(ellipsoid(120.0), 0.0, -90.0), MIDDLE, 0.0).unwrap();
        let tilt = 100.0 * (0.5f64.hypot(0.3)).to_radians().tan();
        let expected = 1.5f64.hypot(tilt).powi(2);
        for i in 0..2 {
            assert!((down.covariance[i][i] / expected - 1.0).abs() < 0.02, "{:?}", down.covariance);
        }
        assert!((le90(&down.covariance) - 1.644_85 * 5.0).abs() < 0.05);
        // Looking east and flat, the ellipse is long east: height over tangent.
        let east = locator.locate(&pose(ellipsoid(120.0), 90.0, -30.0), MIDDLE, 1.0).unwrap();
        let [long, across] = [east.covariance[0][0].sqrt(), east.covariance[1][1].sqrt()];
        assert!((10.0..13.0).contains(&long) && (8.5..10.5).contains(&across), "{long} {across}");
        // Most of it stays however often one looks.
        assert!(east.shared[0][0] > 0.9 * east.covariance[0][0] && east.shared[0][0] < east.covariance[0][0]);
        assert!(ce90(&down.covariance) < ce90(&east.covariance));
    }

    #[test]
    fn what_has_no_place_says_why() {
        let locator = flat(ellipsoid(20.0));
        let why = |pose: &Pose| locator.locate(pose, MIDDLE, 1.0).unwrap_err();
        assert_eq!(why(&pose(ellipsoid(120.0), 0.0, 10.0)), NoGround::AboveHorizon);
        assert_eq!(why(&pose(ellipsoid(120.0), 0.0, -3.0)), NoGround::TooFlat);
        assert_eq!(why(&pose(ellipsoid(3_000.0), 0.0, -10.0)), NoGround::BeyondRange);
        assert_eq!(why(&pose(ellipsoid(19.0), 0.0, -45.0)), NoGround::CameraBelowGround);
        let mut blind = pose(ellipsoid(120.0), 0.0, -45.0);
        blind.field_of_view.horizontal = a(0.0);
        assert_eq!(why(&blind), NoGround::NoCamera);
        assert_eq!(why(&pose(Height::Takeoff(TakeoffHeight(50.0)), 0.0, -45.0)), NoGround::TakeoffUnknown);
        // Part of what it may be does not come down within the range.
        let mut vague = pose(ellipsoid(120.0), 0.0, -8.0);
        vague.sigma.pitch = a(5.0);
        assert_eq!(why(&vague), NoGround::TooFlat);
        let nothing = over(Ground::default());
        let no = nothing.locate(&pose(ellipsoid(120.0), 0.0, -45.0), MIDDLE, 1.0).unwrap_err();
        assert_eq!(no, NoGround::NoHeight(NoHeight::NoTile));
    }

    #[test]
    fn heights_from_the_place_of_takeoff_are_enough_over_flat_ground() {
        let takeoff = |h| Height::Takeoff(TakeoffHeight(h));
        let locator = flat(takeoff(0.0));
        let relative = pose(takeoff(100.0), 0.0, -45.0);
        let fix = locator.locate(&relative, MIDDLE, 1.0).unwrap();
        assert!((fix.slant_range_m - 141.42).abs() < 0.01);
        assert!(ce90(&fix.covariance) < 30.0, "on the level it is as good as any");
        assert!(le90(&fix.covariance) > 2_000.0, "how high it is nobody said");
        assert!((locator.view(&relative).unwrap().above_ground_m().unwrap() - 100.0).abs() < 1e-6);
        let known = locator.with_takeoff(EllipsoidHeight(7.0));
        let fix = known.locate(&relative, MIDDLE, 1.0).unwrap();
        assert!((fix.position.height.0 - 7.0).abs() < 0.01 && le90(&fix.covariance) < 20.0);
    }

    #[test]
    fn a_range_finder_is_believed_in_the_middle() {
        let locator = flat(ellipsoid(20.0));
        let mut pose = pose(ellipsoid(120.0), 0.0, -45.0);
        let without = locator.locate(&pose, MIDDLE, 1.0).unwrap();
        pose.slant_range_m = Some(120.0);
        let fix = locator.locate(&pose, MIDDLE, 1.0).unwrap();
        assert_eq!((fix.method, fix.slant_range_m.round()), (GroundMethod::RangeFinder, 120.0));
        assert!((fix.position.height.0 - (120.0 - 120.0 * 0.5f64.sqrt())).abs() < 0.01);
        assert!(fix.covariance[1][1] < 0.5 * without.covariance[1][1], "{:?}", fix.covariance);
        let aside = locator.locate(&pose, [100.0, 256.0], 1.0).unwrap();
        assert_eq!(aside.method, GroundMethod::Flat);
    }

    #[test]
    fn a_hill_is_met_before_the_ground_behind_it() {
        // A ridge 60 m high, 200 m to the north.
        let locator = hills(|_, north| if (190.0..=210.0).contains(&north) { 60.0 } else { 0.0 });
        let low = pose(ellipsoid(80.0), 0.0, -10.0);
        let fix = locator.locate(&low, MIDDLE, 1.0).unwrap();
        let at = enu(&low, &fix.position, 0.0);
        assert!((180.0..191.0).contains(&at[1]), "{at:?}");
        assert_eq!(fix.method, GroundMethod::Terrain);
        let view = locator.view(&low).unwrap();
        let frame = LocalFrame::new(Geodetic { at: low.position, height: EllipsoidHeight(0.0) });
        let seen = |north: f64| {
            let place = frame.geodetic([0.0, north, 0.0]).unwrap();
            let ground = locator.ground_height(place.at).unwrap();
            view.project(&Geodetic { at: place.at, height: ground }).unwrap().hidden
        };
        assert_eq!((seen(150.0), seen(200.0), seen(400.0)), (Some(false), Some(false), Some(true)));
        // A ray over the ridge lands behind it.
        let high = pose(ellipsoid(120.0), 0.0, -14.0);
        let at = enu(&high, &locator.view(&high).unwrap().place(MIDDLE).unwrap(), 0.0);
        assert!((at[1] - 120.0 / 14f64.to_radians().tan()).abs() < 0.5, "{at:?}");
        // And since it might have met the ridge, the ellipse reaches back to it.
        let fix = locator.locate(&high, MIDDLE, 1.0).unwrap();
        let plain = flat(ellipsoid(0.0)).locate(&high, MIDDLE, 1.0).unwrap();
        assert!(fix.covariance[1][1] > 1.5 * plain.covariance[1][1], "{:?}", fix.covariance);
    }

    #[test]
    fn a_hole_in_the_model_is_one_unless_flat_ground_fills_it() {
        let hole = |_, north: f64| if north > 50.0 { f32::NAN } else { 0.0 };
        let locator = hills(hole);
        let pose = pose(ellipsoid(100.0), 0.0, -45.0);
        let why = locator.locate(&pose, MIDDLE, 1.0).unwrap_err();
        assert_eq!((why, why.as_str()), (NoGround::NoHeight(NoHeight::Void), "void"));
        let filled = over(Ground { flat: Some(ellipsoid(10.0)), ..locator.ground.clone() });
        assert_eq!(filled.locate(&pose, MIDDLE, 1.0).unwrap().method, GroundMethod::Flat);
        let beyond = Pose { position: LatLon::from_degrees(31.0, 120.15).unwrap(), ..pose };
        assert_eq!(locator.locate(&beyond, MIDDLE, 1.0).unwrap_err(), NoGround::NoHeight(NoHeight::NoTile));
    }

    #[test]
    fn a_footprint_encloses_what_is_seen() {
        let locator = flat(ellipsoid(0.0));
        let down = pose(ellipsoid(100.0), 30.0, -90.0);
        let print = locator.footprint(&down).unwrap();
        let side = 200.0 * 20f64.to_radians().tan();
        assert!((print.area_m2 / (side * side * 512.0 / 640.0) - 1.0).abs() < 1e-3, "{}", print.area_m2);
        assert!(!print.clipped && print.outline.len() == 32);
        let view = locator.view(&down).unwrap();
        for (pixel, inside) in
            [([5.0, 5.0], true), (MIDDLE, true), ([-20.0, 5.0], false), ([320.0, 540.0], false)]
        {
            let place = view.place(pixel).unwrap();
            assert_eq!(print.contains(&place), inside, "{pixel:?}");
            assert_eq!(view.seen(&place).is_some(), inside, "{pixel:?}");
        }
        // Over the horizon the outline ends where places do.
        let far = pose(ellipsoid(100.0), 0.0, -10.0);
        let print = locator.footprint(&far).unwrap();
        assert!(print.clipped);
        let reach = 100.0 / 5f64.to_radians().tan();
        let most = print.outline.iter().map(|p| enu(&far, p, 0.0)[1]).fold(0.0, f64::max);
        assert!((most / reach - 1.0).abs() < 0.01, "{most} {reach}");
        assert!(locator.footprint(&pose(ellipsoid(100.0), 0.0, 45.0)).is_err());
    }

    static ROLLING: std::sync::LazyLock<Locator> = std::sync::LazyLock::new(|| {
        hills(|east, north| (20.0 * (east / 200.0).sin() + 15.0 * (north / 150.0).cos() - 40.0) as f32)
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_place_is_seen_at_the_pixel_it_came_from(
            yaw in -180.0..180.0f64, pitch in -90.0..-25.0f64,
            x in 0.0..640.0f64, y in 0.0..512.0f64, up in 20.0..400.0f64,
        ) {
            let locator = &*ROLLING;
            let pose = pose(ellipsoid(up), yaw, pitch);
            let view = locator.view(&pose).unwrap();
            if let Ok(place) = view.place([x, y]) {
                let seen = view.project(&place).unwrap();
                prop_assert!((seen.pixel[0] - x).hypot(seen.pixel[1] - y) < 1e-3, "{seen:?}");
                prop_assert!(seen.inside && seen.hidden == Some(false), "{seen:?}");
                let ground = locator.ground_height(place.at).unwrap();
                prop_assert!((ground.0 - place.height.0).abs() < 0.01, "{ground:?} {place:?}");
            }
        }
    }
}
