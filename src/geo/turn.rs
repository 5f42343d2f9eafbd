//! How bodies are turned, as unit quaternions: without the place straight down, where yaw and roll
//! are one and every angle alone is a guess. Searching cameras look straight down most of the time.

use super::pose::Attitude;
use super::units::Angle;

/// A turn from a body's axes (forward, right, down) into those of its world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    w: f64,
    x: f64,
    y: f64,
    z: f64,
}

/// Nearer than this to straight up or down (0.003 degrees) yaw and roll are not told apart.
const LOCKED: f64 = 1.0 - 1e-9;

impl Turn {
    /// From a quaternion, scalar first. `None` if it is far from being one of length 1.
    pub(super) fn from_quaternion(q: [f64; 4]) -> Option<Self> {
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        (0.9..1.1).contains(&length).then(|| {
            let [w, x, y, z] = q.map(|v| v / length);
            Self { w, x, y, z }
        })
    }

    /// As three angles; straight up or down all of the turn is yaw.
    pub(super) fn attitude(self) -> Attitude {
        let Self { w, x, y, z } = self;
        let sine = 2.0 * (w * y - z * x);
        let (yaw, pitch, roll) = if sine.abs() >= LOCKED {
            (-2.0 * sine.signum() * x.atan2(w), std::f64::consts::FRAC_PI_2.copysign(sine), 0.0)
        } else {
            (
                (2.0 * (w * z + x * y)).atan2(1.0 - 2.0 * (y * y + z * z)),
                sine.asin(),
                (2.0 * (w * x + y * z)).atan2(1.0 - 2.0 * (x * x + y * y)),
            )
        };
        Attitude {
            yaw: Angle::from_radians(yaw).compass(),
            pitch: Angle::from_radians(pitch),
            roll: Angle::from_radians(roll).signed(),
        }
    }

    fn dot(self, other: Self) -> f64 {
        self.w * other.w + self.x * other.x + self.y * other.y + self.z * other.z
    }

    /// The angle between two, in radians.
    pub(super) fn apart(self, other: Self) -> f64 {
        2.0 * self.dot(other).abs().min(1.0).acos()
    }

    /// Part of the way to `other`, the short way; beyond 1 on along the same arc.
    pub(super) fn towards(self, other: Self, part: f64) -> Self {
        let dot = self.dot(other);
        let sign = if dot < 0.0 { -1.0 } else { 1.0 };
        let angle = (dot * sign).min(1.0).acos();
        let (here, there) = if angle < 1e-6 {
            (1.0 - part, part)
        } else {
            (((1.0 - part) * angle).sin() / angle.sin(), (part * angle).sin() / angle.sin())
        };
        let mix = |a: f64, b: f64| here * a + sign * there * b;
        let mixed = [mix(self.w, other.w), mix(self.x, other.x), mix(self.y, other.y), mix(self.z, other.z)];
        Self::from_quaternion(mixed).unwrap_or(other)
    }
}

impl From<Attitude> for Turn {
    fn from(attitude: Attitude) -> Self {
        let (sy, cy) = (attitude.yaw.radians() / 2.0).sin_cos();
        let (sp, cp) = (attitude.pitch.radians() / 2.0).sin_cos();
        let (sr, cr) = (attitude.roll.radians() / 2.0).sin_cos();
        Self {
            w: cr * cp * cy + sr * sp * sy,
            x: sr * cp * cy - cr * sp * sy,
            y: cr * sp * cy + sr * cp * sy,
            z: cr * cp * sy - sr * sp * cy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attitude(yaw: f64, pitch: f64, roll: f64) -> Attitude {
        let a = Angle::from_degrees;
        Attitude { yaw: a(yaw), pitch: a(pitch), roll: a(roll) }
    }

    #[test]
    fn straight_down_the_turn_is_yaw() {
        for (yaw, roll, total) in [(30.0, 0.0, 30.0), (30.0, 20.0, 50.0), (350.0, 20.0, 10.0)] {
            let back = Turn::from(attitude(yaw, -90.0, roll)).attitude();
            assert!((back.pitch.degrees() + 90.0).abs() < 1e-9 && back.roll == Angle::ZERO);
            assert!((back.yaw.degrees() - total).abs() < 1e-6, "{back:?}");
        }
        let up = Turn::from(attitude(40.0, 90.0, 10.0)).attitude();
        assert!((up.yaw.degrees() - 30.0).abs() < 1e-6);
    }

    #[test]
    fn a_camera_that_swings_through_the_nadir_does_not_spin() {
        let (a, b) = (Turn::from(attitude(0.0, -89.0, 0.0)), Turn::from(attitude(180.0, -89.0, 180.0)));
        assert!((a.apart(b).to_degrees() - 2.0).abs() < 1e-6);
        let middle = a.towards(b, 0.5).attitude();
        assert!((middle.pitch.degrees() + 90.0).abs() < 1e-6, "{middle:?}");
    }

    #[test]
    fn a_quaternion_that_is_none_is_refused() {
        for bad in [[0.0; 4], [f64::NAN; 4], [2.0, 0.0, 0.0, 0.0]] {
            assert!(Turn::from_quaternion(bad).is_none());
        }
    }

    proptest! {
        #[test]
        fn angles_come_back(yaw in 0.0..360.0f64, pitch in -89.9..89.9f64, roll in -179.9..179.9f64) {
            let back = Turn::from(attitude(yaw, pitch, roll)).attitude();
            prop_assert!((back.yaw - Angle::from_degrees(yaw)).signed().degrees().abs() < 1e-5);
            prop_assert!((back.pitch.degrees() - pitch).abs() < 1e-5);
            prop_assert!((back.roll.degrees() - roll).abs() < 1e-5);
        }

        #[test]
        fn the_way_is_walked_evenly(
            a in prop::array::uniform3(-180.0..180.0f64), b in prop::array::uniform3(-180.0..180.0f64),
            part in 0.0..1.0f64,
        ) {
            let (a, b) = (Turn::from(attitude(a[0], a[1], a[2])), Turn::from(attitude(b[0], b[1], b[2])));
            let (whole, walked) = (a.apart(b), a.apart(a.towards(b, part)));
            prop_assert!((walked - whole * part).abs() < 1e-4, "{} {} {}", whole, part, walked);
        }
    }
}
