//! Bodies: what stands on the ground, put together from balls, limbs and blocks.

use super::plan::ObjectKind;

/// Outline of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An ellipsoid.
    Ball,
    /// A box.
    Block,
}

/// One convex piece of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) form: Form,
    pub(super) at: [f32; 3],
    /// From the middle to the surface along three directions at right angles, in metres.
    pub(super) axes: [[f32; 3]; 3],
    /// How warm it looks, in kelvin.
    pub(super) kelvin: f32,
}

/// Parts in the body's own frame: x ahead, y to the left, z up from the ground, metres.
#[derive(Default)]
struct Body(Vec<Part>);

impl Body {
    fn ball(&mut self, at: [f32; 3], semi: [f32; 3], kelvin: f32) {
        self.push(Form::Ball, at, semi, kelvin);
    }

    fn block(&mut self, at: [f32; 3], semi: [f32; 3], kelvin: f32) {
        self.push(Form::Block, at, semi, kelvin);
    }

    fn push(&mut self, form: Form, at: [f32; 3], [x, y, z]: [f32; 3], kelvin: f32) {
        self.0.push(Part { form, at, axes: [[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, z]], kelvin });
    }

    /// A ball drawn out from one joint to the other.
    fn limb(&mut self, from: [f32; 3], to: [f32; 3], radius: f32, kelvin: f32) {
        let d: [f32; 3] = std::array::from_fn(|i| (to[i] - from[i]) / 2.0);
        let length = norm(d).max(1e-3);
        let along = d.map(|c| c / length);
        let other = if along[2].abs() < 0.9 { [0.0, 0.0, 1.0] } else { [1.0, 0.0, 0.0] };
        let side = cross(along, other);
        let side = side.map(|c| c / norm(side));
        let third = cross(along, side);
        self.0.push(Part {
            form: Form::Ball,
            at: std::array::from_fn(|i| (from[i] + to[i]) / 2.0),
            axes: [along.map(|c| c * (length + radius)), side.map(|c| c * radius), third.map(|c| c * radius)],
            kelvin,
        });
    }
}

fn norm(v: [f32; 3]) -> f32 {
    (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt()
}

fn cross(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// How warm the surfaces of a body look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Warmth {
    pub(super) air: f32,
    pub(super) sky: f32,
    /// Kelvin over the air of its bulk: clothes, fur, stone.
    pub(super) over: f32,
}

/// A body in its own frame. `phase` is where it is in its stride, in radians; `size` scales it, and is
/// the length in metres of a stone.
pub(super) fn body(kind: ObjectKind, warmth: Warmth, size: f32, phase: f32) -> Vec<Part> {
    let mut b = Body::default();
    let Warmth { air, sky, over } = warmth;
    let k = |share: f32| air + over * share;
    let swing = phase.sin();
    match kind {
        ObjectKind::PersonStanding | ObjectKind::PersonWalking => {
            let stride = if kind == ObjectKind::PersonWalking { 0.32 * swing } else { 0.04 };
            b.ball([0.02, 0.0, 1.62], [0.11, 0.09, 0.13], k(1.7));
            b.ball([0.0, 0.0, 1.23], [0.14, 0.21, 0.31], k(1.0));
            b.ball([0.0, 0.0, 0.92], [0.14, 0.18, 0.14], k(0.95));
            for side in [-1.0, 1.0] {
                let step = stride * side;
                b.limb([0.0, 0.09 * side, 0.86], [step, 0.1 * side, 0.07], 0.085, k(0.8));
                b.limb([0.0, 0.22 * side, 1.42], [-step * 0.8, 0.27 * side, 0.86], 0.06, k(0.85));
                b.ball([-step * 0.85, 0.27 * side, 0.8], [0.05, 0.04, 0.08], k(1.4));
            }
        }
        ObjectKind::PersonSitting => {
            b.ball([-0.05, 0.0, 0.82], [0.11, 0.09, 0.13], k(1.6));
            b.ball([-0.05, 0.0, 0.42], [0.16, 0.21, 0.33], k(1.0));
            for side in [-1.0, 1.0] {
                b.limb([0.0, 0.1 * side, 0.14], [0.42, 0.12 * side, 0.36], 0.09, k(0.85));
                b.limb([0.42, 0.12 * side, 0.34], [0.62, 0.12 * side, 0.05], 0.075, k(0.75));
                b.limb([-0.05, 0.24 * side, 0.6], [0.3, 0.18 * side, 0.36], 0.06, k(0.85));
            }
        }
        ObjectKind::PersonLying => {
            // On the side, knees a little drawn up; 1.75 m from head to feet along x, about the middle.
            b.ball([0.76, 0.0, 0.13], [0.13, 0.1, 0.11], k(1.6));
            b.ball([0.38, 0.0, 0.16], [0.31, 0.2, 0.15], k(1.0));
            b.ball([0.06, 0.0, 0.15], [0.15, 0.18, 0.14], k(0.9));
            b.limb([0.0, 0.08, 0.12], [-0.36, 0.2, 0.1], 0.09, k(0.8));
            b.limb([-0.36, 0.2, 0.1], [-0.78, 0.04, 0.08], 0.075, k(0.7));
            b.limb([0.0, -0.08, 0.12], [-0.4, 0.02, 0.1], 0.09, k(0.8));
            b.limb([-0.4, 0.02, 0.1], [-0.8, -0.08, 0.08], 0.075, k(0.7));
            b.limb([0.55, 0.22, 0.12], [0.25, 0.34, 0.07], 0.055, k(0.9));
            b.limb([0.55, -0.2, 0.12], [0.75, -0.42, 0.07], 0.055, k(0.9));
        }
        ObjectKind::CarWarm | ObjectKind::CarCold => {
            // Painted sheet under a clear sky is colder than anything around it.
            let sheet = air + 0.25 * (sky - air);
            let hot = if kind == ObjectKind::CarWarm { air + over } else { sheet };
            let warm = |share: f32| sheet + (hot - sheet) * share;
            b.block([0.0, 0.0, 0.62], [2.2, 0.88, 0.34], sheet);
            b.block([-0.35, 0.0, 1.16], [1.25, 0.78, 0.28], sheet - 0.8);
            b.block([-0.35, 0.0, 1.24], [1.5, 0.7, 0.12], sheet + 1.2);
            b.block([1.45, 0.0, 0.94], [0.6, 0.74, 0.045], warm(1.0));
            b.block([2.12, 0.0, 0.6], [0.12, 0.6, 0.2], warm(0.8));
            b.block([0.4, 0.0, 0.24], [1.5, 0.3, 0.06], warm(0.6));
            for (x, y) in [(1.35, 0.82), (1.35, -0.82), (-1.35, 0.82), (-1.35, -0.82)] {
                b.ball([x, y, 0.32], [0.32, 0.12, 0.32], warm(0.35) + 0.5);
            }
        }
        ObjectKind::CowStanding | ObjectKind::Deer | ObjectKind::Dog => {
            let step = if kind == ObjectKind::CowStanding { 0.05 } else { 0.3 * swing };
            b.ball([0.0, 0.0, 1.05], [0.85, 0.34, 0.38], k(1.0));
            b.ball([0.55, 0.0, 1.1], [0.4, 0.3, 0.36], k(1.05));
            b.limb([0.75, 0.0, 1.2], [1.15, 0.0, 1.3], 0.17, k(1.1));
            b.ball([1.35, 0.0, 1.2], [0.24, 0.12, 0.14], k(1.25));
            for (x, y, s) in [(0.6, 0.2, 1.0), (0.6, -0.2, -1.0), (-0.65, 0.2, -1.0), (-0.65, -0.2, 1.0)] {
                b.limb([x, y, 0.8], [x + step * s, y, 0.06], 0.09, k(0.7));
            }
            b.limb([-0.85, 0.0, 1.15], [-1.0, 0.0, 0.7], 0.05, k(0.5));
        }
        ObjectKind::CowLying => {
            b.ball([0.0, 0.0, 0.42], [0.95, 0.45, 0.4], k(1.0));
            b.limb([0.75, 0.0, 0.6], [1.15, 0.15, 0.75], 0.18, k(1.1));
            b.ball([1.32, 0.2, 0.68], [0.24, 0.13, 0.14], k(1.25));
            b.limb([0.5, 0.4, 0.12], [0.9, 0.5, 0.1], 0.1, k(0.7));
            b.limb([-0.6, 0.45, 0.14], [-0.2, 0.6, 0.1], 0.1, k(0.7));
        }
        ObjectKind::Stone => b.ball([0.0, 0.0, 0.1], [0.5, 0.38, 0.28], k(1.0)),
        ObjectKind::Sign => {
            b.block([0.0, 0.0, 1.1], [0.035, 0.035, 1.1], air + over * 0.6);
            b.block([0.0, 0.0, 2.0], [0.02, 0.34, 0.3], air + over);
        }
        ObjectKind::Tree => {}
    }
    let scale = match kind {
        ObjectKind::Deer => size * 0.62,
        ObjectKind::Dog => size * 0.42,
        _ => size,
    };
    for part in &mut b.0 {
        part.at = part.at.map(|c| c * scale);
        part.axes = part.axes.map(|a| a.map(|c| c * scale));
    }
    b.0
}

/// Turns a body to face a heading (radians on the compass) and puts it at a place, east, north, up.
pub(super) fn placed(parts: &mut [Part], at: [f32; 3], heading: f32) {
    let (sin, cos) = heading.sin_cos();
    let turn = |v: [f32; 3]| [v[0] * sin - v[1] * cos, v[0] * cos + v[1] * sin, v[2]];
    for part in parts {
        let turned = turn(part.at);
        part.at = std::array::from_fn(|i| turned[i] + at[i]);
        part.axes = part.axes.map(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_stands_on_the_ground_and_is_as_large_as_it_should_be() {
        let warmth = Warmth { air: 280.0, sky: 260.0, over: 8.0 };
        let reach = |kind, axis: usize| {
            body(kind, warmth, 1.0, 0.0).iter().fold((f32::MAX, f32::MIN), |(low, high), p| {
                let r = p.axes.iter().map(|a| a[axis] * a[axis]).sum::<f32>().sqrt();
                (low.min(p.at[axis] - r), high.max(p.at[axis] + r))
            })
        };
        for kind in ObjectKind::ALL {
            if kind != ObjectKind::Tree {
                assert!(reach(kind, 2).0 > -0.25 && reach(kind, 2).0 < 0.2, "{kind:?} {:?}", reach(kind, 2));
            }
        }
        let tall = reach(ObjectKind::PersonStanding, 2);
        assert!((1.7..1.8).contains(&tall.1), "{tall:?}");
        let long = reach(ObjectKind::PersonLying, 0);
        assert!((1.7..1.8).contains(&(long.1 - long.0)), "{long:?}");
        // Facing north is facing along the second axis.
        let mut parts = body(ObjectKind::PersonLying, warmth, 1.0, 0.0);
        placed(&mut parts, [10.0, 20.0, 5.0], 0.0);
        assert!((parts[0].at[1] - 20.76).abs() < 1e-3 && (parts[0].at[0] - 10.0).abs() < 1e-3);
    }
}
