//! The flown path: strips to and fro over a square, then strips across them; and the attitude on it.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use crate::geo::{Angle, Attitude, Gimbal, Rotation};

use super::ground::Ground;
use super::plan::FlightPlan;
use super::random::Dice;

/// Streams of the seed.
const SWAY: u64 = 40;

/// One straight or one turn.
#[derive(Clone, Copy, Debug)]
enum Leg {
    /// From a point, towards a heading.
    Straight { from: [f64; 2], heading: f64, length: f64 },
    /// Around a centre: heading at its begin, 1 to the right and -1 to the left.
    Turn { centre: [f64; 2], radius: f64, heading: f64, side: f64, length: f64 },
}

impl Leg {
    fn length(&self) -> f64 {
        match self {
            Self::Straight { length, .. } | Self::Turn { length, .. } => *length,
        }
    }

    /// Place and heading after some metres.
    fn at(&self, metres: f64) -> ([f64; 2], f64) {
        match *self {
            Self::Straight { from, heading, .. } => {
                let (sin, cos) = heading.sin_cos();
                ([from[0] + metres * sin, from[1] + metres * cos], heading)
            }
            Self::Turn { centre, radius, heading, side, .. } => {
                let heading = heading + side * metres / radius;
                // The centre is abeam.
                let (sin, cos) = (heading + side * FRAC_PI_2).sin_cos();
                ([centre[0] - radius * sin, centre[1] - radius * cos], heading)
            }
        }
    }
}

/// Where the camera really was and how it looked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// East, north, up of the scene's middle.
    pub(super) eye: [f64; 3],
    pub(super) platform: Attitude,
    /// Against the platform.
    pub(super) gimbal: Gimbal,
    /// Camera to north, east, down.
    pub(super) looks: Rotation,
}

/// A sum of slow waves: how a hovering thing sways.
#[derive(Debug)]
struct Sway([(f64, f64, f64); 3]);

impl Sway {
    fn new(amplitude: f64, dice: &mut Dice) -> Self {
        Self(std::array::from_fn(|i| {
            (
                amplitude / (1.0 + i as f64),
                dice.between(0.15, 0.5) * (1.0 + 1.7 * i as f64),
                dice.between(0.0, TAU),
            )
        }))
    }

    fn at(&self, second: f64) -> f64 {
        self.0.iter().map(|(a, hz, phase)| a * (TAU * hz * second + phase).sin()).sum::<f64>() / 1.4
    }
}

/// The path as a function of time.
#[derive(Debug)]
pub(super) struct FlownPath {
    legs: Vec<Leg>,
    length: f64,
    speed: f64,
    height: f64,
    pitch: f64,
    sway: [Sway; 7],
}

impl FlownPath {
    pub(super) fn new(plan: &FlightPlan) -> Self {
        let path = &plan.path;
        let side = path.side_m.unwrap_or(plan.scene.side_m);
        // Across the line of sight the picture spans the same whatever the pitch, along the slant.
        let slant = path.height_m / path.pitch_deg.to_radians().sin().abs().max(0.25);
        let width = 2.0 * slant * (plan.camera.fov_deg.to_radians() / 2.0).tan();
        let spacing = path.spacing_m.unwrap_or(width * 0.75).clamp(4.0, 500.0);
        let strips = ((side / spacing).ceil() as usize).clamp(1, 500);
        let spacing = path.spacing_m.unwrap_or(side / strips as f64);
        let first = path.heading_deg.to_radians();
        let mut legs = Vec::new();
        let mut at = None;
        for heading in [first, first + FRAC_PI_2] {
            let (sin, cos) = heading.sin_cos();
            // Along the strip and to its right.
            let place = |along: f64, across: f64| [along * sin + across * cos, along * cos - across * sin];
            // The camera looks ahead: a strip begins and ends that much earlier.
            let ahead = path.height_m / path.pitch_deg.to_radians().tan().abs().max(0.25);
            let ahead = if path.pitch_deg <= -89.9 { 0.0 } else { ahead };
            for strip in 0..strips {
                let across = (strip as f64 - (strips as f64 - 1.0) / 2.0) * spacing;
                let (way, towards) = if strip % 2 == 0 { (1.0, heading) } else { (-1.0, heading + PI) };
                let from = place(way * (-side / 2.0 - ahead), across);
                if let Some((was, turned)) = at {
                    join(&mut legs, was, turned, from, towards);
                }
                legs.push(Leg::Straight { from, heading: towards, length: side });
                at = Some(legs[legs.len() - 1].at(side));
            }
        }
        if let (Some((was, turned)), Some(first)) = (at, legs.first().copied()) {
            let (from, heading) = first.at(0.0);
            join(&mut legs, was, turned, from, heading);
        }
        let mut dice = Dice::new(plan.seed, SWAY);
        // Degrees of the platform's yaw, pitch and roll; degrees that the gimbal does not hold; metres.
        let sway = [1.2, 1.6, 2.2, 0.05, 0.06, 0.06, 0.3].map(|a| Sway::new(a, &mut dice));
        Self {
            length: legs.iter().map(Leg::length).sum(),
            legs,
            speed: path.speed_m_s,
            height: path.height_m,
            pitch: path.pitch_deg,
            sway,
        }
    }

    /// Seconds until everything was flown once, both ways.
    pub(super) fn lap_s(&self) -> f64 {
        if self.speed > 0.0 { self.length / self.speed } else { f64::INFINITY }
    }

    pub(super) fn at(&self, ground: &Ground, second: f64) -> Truth {
        let mut metres = (self.speed * second).rem_euclid(self.length.max(1e-6));
        let mut leg = &self.legs[0];
        for l in &self.legs {
            leg = l;
            if metres <= l.length() {
                break;
            }
            metres -= l.length();
        }
        let ([east, north], heading) = leg.at(metres.min(leg.length()));
        // The ground is followed loosely: what lies around counts, not the hollow below.
        let mut below = 0.0;
        for (dx, dy) in (-1..=1).flat_map(|x| (-1..=1).map(move |y| (x, y))) {
            below += ground.height(east + 30.0 * f64::from(dx), north + 30.0 * f64::from(dy)) / 9.0;
        }
        let s: [f64; 7] = std::array::from_fn(|i| self.sway[i].at(second));
        let a = Angle::from_degrees;
        let ahead = Angle::from_radians(heading);
        let platform = Attitude {
            yaw: (ahead + a(s[0])).compass(),
            // A drone leans into its way.
            pitch: a(-0.6 * self.speed + s[1]),
            roll: a(s[2]),
        };
        let wanted = Attitude { yaw: ahead, pitch: a(self.pitch), roll: Angle::ZERO };
        let held =
            Rotation::of(&wanted) * Rotation::of(&Attitude { yaw: a(s[3]), pitch: a(s[4]), roll: a(s[5]) });
        let (platform_turn, to_camera) = (Rotation::of(&platform), Rotation::CAMERA_TO_BODY);
        Truth {
            eye: [east, north, below + self.height + s[6]],
            gimbal: against(&platform_turn, &held),
            platform,
            looks: held * to_camera,
        }
    }
}

/// How a body that is turned by `held` against the world is turned against `platform`.
pub(super) fn against(platform: &Rotation, held: &Rotation) -> Gimbal {
    let Attitude { yaw, pitch, roll } = (platform.inverse() * *held).attitude();
    Gimbal::Platform { azimuth: yaw.compass(), elevation: pitch, roll: roll.signed() }
}

/// From the end of one strip to the begin of the next: turned round beside it where they lie back to
/// back, and otherwise flown straight, with the nose ahead, turning on the spot at no cost of time.
fn join(legs: &mut Vec<Leg>, was: [f64; 2], turned: f64, from: [f64; 2], heading: f64) {
    let between = [from[0] - was[0], from[1] - was[1]];
    let distance = between[0].hypot(between[1]);
    if distance < 1e-6 {
        return;
    }
    let (sin, cos) = turned.sin_cos();
    // Metres along the old heading, and to its right.
    let (along, right) = (between[0] * sin + between[1] * cos, between[0] * cos - between[1] * sin);
    let back = (Angle::from_radians(heading - turned).signed().radians().abs() - PI).abs() < 1e-6;
    if back && right.abs() > 1.0 {
        // First level with the other end.
        let mut was = was;
        if along > 0.0 {
            legs.push(Leg::Straight { from: was, heading: turned, length: along });
            was = [was[0] + along * sin, was[1] + along * cos];
        }
        let (side, radius) = (right.signum(), right.abs() / 2.0);
        let (s, c) = (turned + side * FRAC_PI_2).sin_cos();
        let centre = [was[0] + radius * s, was[1] + radius * c];
        legs.push(Leg::Turn { centre, radius, heading: turned, side, length: PI * radius });
        if along < 0.0 {
            let end = [was[0] + 2.0 * radius * s, was[1] + 2.0 * radius * c];
            legs.push(Leg::Straight { from: end, heading, length: -along });
        }
        return;
    }
    let towards = between[0].atan2(between[1]);
    legs.push(Leg::Straight { from: was, heading: towards, length: distance });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::ScenePlan;

    fn plan(pitch_deg: f64) -> FlightPlan {
        let mut plan = FlightPlan {
            scene: ScenePlan { side_m: 100.0, people: 0, trees_per_ha: 0.0, ..ScenePlan::default() },
            ..FlightPlan::default()
        };
        plan.path.pitch_deg = pitch_deg;
        plan
    }

    #[test]
    fn the_path_has_no_jumps_and_covers_the_square() {
        for pitch in [-90.0, -60.0, -40.0] {
            let plan = plan(pitch);
            let ground = Ground::new(&plan.scene, &plan.weather, 1, &[], None).unwrap();
            let path = FlownPath::new(&plan);
            let (mut last, mut seen): (Option<[f64; 3]>, [f64; 4]) = (None, [0.0; 4]);
            let step = 0.25;
            let mut second = 0.0;
            while second < path.lap_s() {
                let truth = path.at(&ground, second);
                if let Some(last) = last {
                    let moved = (truth.eye[0] - last[0]).hypot(truth.eye[1] - last[1]);
                    assert!(moved < plan.path.speed_m_s * step * 1.01, "{second}: {moved}");
                }
                last = Some(truth.eye);
                // Where the middle of the picture meets level ground.
                let d = truth.looks.apply([0.0, 0.0, 1.0]);
                let t = truth.eye[2] / d[2];
                let at = [truth.eye[0] + d[1] * t, truth.eye[1] + d[0] * t];
                seen = [seen[0].min(at[0]), seen[1].min(at[1]), seen[2].max(at[0]), seen[3].max(at[1])];
                // What platform and gimbal say together is how the camera looks.
                let composed = truth.gimbal.to_ned(&truth.platform) * Rotation::CAMERA_TO_BODY;
                let (a, b) = (composed.apply([0.3, 0.2, 1.0]), truth.looks.apply([0.3, 0.2, 1.0]));
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{second}");
                second += step;
            }
            assert!(seen[0] < -40.0 && seen[1] < -40.0 && seen[2] > 40.0 && seen[3] > 40.0, "{seen:?}");
        }
    }
}
