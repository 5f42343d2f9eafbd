//! How the camera looked: platform and gimbal become one rotation, camera to local north, east, down.
//!
//! The camera's axes are x right, y down, z forward along the line of sight. A body's are x forward,
//! y right, z down. Euler angles are those of [`super::pose`]: yaw, pitch, roll about z, y, x.
//! Straight down they are not unique; the rotation is, and yaw there is where the top of the
//! picture points.

use std::ops::Mul;

use super::pose::{Attitude, Gimbal, Pose};
use super::units::Angle;

/// A turn in space: an orthonormal matrix that takes the coordinates of one frame to those of
/// another. `a * b` is b first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation([[f64; 3]; 3]);

impl Rotation {
    /// No turn.
    pub const NONE: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// The camera's axes (right, down, forward) named as a body's (forward, right, down).
    pub const CAMERA_TO_BODY: Self = Self([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);

    /// About x by the right hand: roll.
    pub fn about_x(angle: Angle) -> Self {
        let (s, c) = angle.radians().sin_cos();
        Self([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    }

    /// About y by the right hand: pitch.
    pub fn about_y(angle: Angle) -> Self {
        let (s, c) = angle.radians().sin_cos();
        Self([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    }

    /// About z by the right hand: yaw.
    pub fn about_z(angle: Angle) -> Self {
        let (s, c) = angle.radians().sin_cos();
        Self([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    }

    /// From a body with this attitude to north, east, down.
    pub fn of(attitude: &Attitude) -> Self {
        Self::about_z(attitude.yaw) * Self::about_y(attitude.pitch) * Self::about_x(attitude.roll)
    }

    /// The attitude whose rotation from body to north, east, down this is. Straight up and straight
    /// down roll is zero and yaw is all of the turn about the vertical.
    pub fn attitude(&self) -> Attitude {
        let m = &self.0;
        let level = m[0][0].hypot(m[1][0]);
        let pitch = Angle::from_radians((-m[2][0]).atan2(level));
        // Where both angles turn about the same axis, their quotient is noise below this.
        if level < 1e-9 {
            return Attitude {
                yaw: Angle::from_radians((-m[0][1]).atan2(m[1][1])),
                pitch,
                roll: Angle::ZERO,
            };
        }
        Attitude {
            yaw: Angle::from_radians(m[1][0].atan2(m[0][0])),
            pitch,
            roll: Angle::from_radians(m[2][1].atan2(m[2][2])),
        }
    }

    /// The opposite turn.
    pub fn inverse(&self) -> Self {
        Self(std::array::from_fn(|i| std::array::from_fn(|j| self.0[j][i])))
    }

    /// A vector in the other frame's coordinates.
    pub fn apply(&self, v: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }
}

impl Mul for Rotation {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..3).map(|k| self.0[i][k] * other.0[k][j]).sum())
        }))
    }
}

/// How the camera sits in its gimbal: three small turns that a site measures once (see
/// `docs/positions.md`), in the order yaw, pitch, roll: what has to be added to what the gimbal
/// says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Boresight {
    /// The camera looks further right than its gimbal says.
    pub yaw: Angle,
    /// The camera looks higher than its gimbal says.
    pub pitch: Angle,
    /// The camera is turned further clockwise, seen from behind, than its gimbal says.
    pub roll: Angle,
}

impl Gimbal {
    /// From a body fixed to the gimbal's head to north, east, down.
    pub fn to_ned(&self, platform: &Attitude) -> Rotation {
        match self {
            Self::World(attitude) => Rotation::of(attitude),
            Self::Platform { azimuth, elevation, roll } => {
                Rotation::of(platform)
                    * Rotation::of(&Attitude { yaw: *azimuth, pitch: *elevation, roll: *roll })
            }
        }
    }
}

impl Pose {
    /// From the camera's axes to north, east, down at the camera.
    pub fn camera_to_ned(&self, boresight: &Boresight) -> Rotation {
        let Boresight { yaw, pitch, roll } = *boresight;
        self.gimbal.to_ned(&self.platform)
            * Rotation::of(&Attitude { yaw, pitch, roll })
            * Rotation::CAMERA_TO_BODY
    }
}

/// A small error of the direction of view, about the three axes along which instruments err: the
/// vertical (the compass), and the two level axes ahead and to the right (the sense of what is down).
///
/// These are not errors of the Euler angles: straight down, an Euler roll turns about the same axis
/// as yaw, and no Euler angle tilts the camera sideways. An instrument does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tilt {
    /// About the vertical, clockwise seen from above.
    pub yaw: Angle,
    /// About the level axis to the right of the picture's top, or of the line of sight: up is positive.
    pub pitch: Angle,
    /// About the level axis ahead: right side down is positive.
    pub roll: Angle,
}

impl Tilt {
    /// A rotation from the camera's axes to north, east, down that errs by this much.
    pub fn applied_to(&self, camera_to_ned: &Rotation) -> Rotation {
        let heading = heading(camera_to_ned);
        let error = Rotation::of(&Attitude { yaw: self.yaw, pitch: self.pitch, roll: self.roll });
        Rotation::about_z(heading) * error * Rotation::about_z(-heading) * *camera_to_ned
    }
}

/// Where the camera looks on the compass. A level picture's top and line of sight point the same
/// way over the ground, and their sum never stands upright.
fn heading(camera_to_ned: &Rotation) -> Angle {
    let v = camera_to_ned.apply([0.0, -1.0, 1.0]);
    Angle::from_radians(v[1].atan2(v[0]))
}

impl Pose {
    /// The same pose with the camera turned by a small error: a gimbal that knows north, turned so.
    pub fn tilted(&self, tilt: &Tilt) -> Self {
        let turned = tilt.applied_to(&self.camera_to_ned(&Boresight::default()));
        let attitude = (turned * Rotation::CAMERA_TO_BODY.inverse()).attitude();
        Self { gimbal: Gimbal::World(attitude), ..self.clone() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attitude(yaw: f64, pitch: f64, roll: f64) -> Attitude {
        let a = Angle::from_degrees;
        Attitude { yaw: a(yaw), pitch: a(pitch), roll: a(roll) }
    }

    fn close(a: [f64; 3], b: [f64; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    const FORWARD: [f64; 3] = [0.0, 0.0, 1.0];
    const TOP: [f64; 3] = [0.0, -1.0, 0.0];

    fn ned(gimbal: Gimbal, platform: Attitude) -> Rotation {
        gimbal.to_ned(&platform) * Rotation::CAMERA_TO_BODY
    }

    #[test]
    fn the_camera_looks_where_its_gimbal_says() {
        let level = attitude(0.0, 0.0, 0.0);
        let east = ned(Gimbal::World(attitude(90.0, 0.0, 0.0)), level);
        assert!(close(east.apply(FORWARD), [0.0, 1.0, 0.0]) && close(east.apply(TOP), [0.0, 0.0, -1.0]));
        assert!(close(east.apply([1.0, 0.0, 0.0]), [-1.0, 0.0, 0.0]), "its right is south");
        // Straight down, the top of the picture towards yaw.
        let down = ned(Gimbal::World(attitude(90.0, -90.0, 0.0)), level);
        assert!(close(down.apply(FORWARD), [0.0, 0.0, 1.0]) && close(down.apply(TOP), [0.0, 1.0, 0.0]));
        // Right side down: the picture's top leans to the left... and the world in it to the right.
        let rolled = ned(Gimbal::World(attitude(0.0, 0.0, 90.0)), level);
        assert!(close(rolled.apply(TOP), [0.0, 1.0, 0.0]));
        // The gimbal's azimuth adds to the heading.
        let a = Angle::from_degrees;
        let gimbal = Gimbal::Platform { azimuth: a(60.0), elevation: a(-90.0), roll: a(0.0) };
        let down = ned(gimbal, attitude(30.0, 0.0, 0.0));
        assert!(close(down.apply(FORWARD), [0.0, 0.0, 1.0]) && close(down.apply(TOP), [0.0, 1.0, 0.0]));
        // A platform that pitches up carries the camera along.
        let gimbal = Gimbal::Platform { azimuth: a(0.0), elevation: a(-90.0), roll: a(0.0) };
        let ahead = ned(gimbal, attitude(0.0, 30.0, 0.0)).apply(FORWARD);
        assert!(close(ahead, [0.5, 0.0, 0.75f64.sqrt()]), "{ahead:?}");
    }

    #[test]
    fn straight_down_has_one_yaw() {
        for yaw in [-170.0, -90.0, 0.0, 45.0, 180.0] {
            for pitch in [-90.0, 90.0] {
                let back = Rotation::of(&attitude(yaw, pitch, 0.0)).attitude();
                assert!(
                    (back.yaw - Angle::from_degrees(yaw)).signed().degrees().abs() < 1e-9,
                    "{yaw}: {back:?}"
                );
                assert_eq!(back.roll, Angle::ZERO);
                assert!((back.pitch.degrees() - pitch).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn an_instrument_tilts_a_camera_that_looks_down_both_ways() {
        let a = Angle::from_degrees;
        let down = ned(Gimbal::World(attitude(0.0, -90.0, 0.0)), attitude(0.0, 0.0, 0.0));
        let of = |tilt: Tilt| tilt.applied_to(&down).apply(FORWARD);
        let ahead = of(Tilt { pitch: a(1.0), ..Tilt::default() });
        assert!(ahead[0] > 0.017 && ahead[1].abs() < 1e-12, "{ahead:?}");
        let aside = of(Tilt { roll: a(1.0), ..Tilt::default() });
        assert!(aside[0].abs() < 1e-12 && aside[1] < -0.017, "right side down looks left: {aside:?}");
        assert!(close(of(Tilt { yaw: a(5.0), ..Tilt::default() }), [0.0, 0.0, 1.0]));
    }

    proptest! {
        #[test]
        fn angles_of_a_rotation_make_the_same_rotation(
            yaw in -180.0..180.0f64, pitch in -90.0..90.0f64, roll in -180.0..180.0f64,
        ) {
            let turn = Rotation::of(&attitude(yaw, pitch, roll));
            let again = Rotation::of(&turn.attitude());
            for v in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] {
                let (a, b) = (turn.apply(v), again.apply(v));
                prop_assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8), "{a:?} {b:?}");
                let back = turn.inverse().apply(a);
                prop_assert!(back.iter().zip(v).all(|(a, b)| (a - b).abs() < 1e-12));
            }
        }
    }
}
