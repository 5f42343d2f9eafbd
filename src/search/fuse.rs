//! Many looks at one thing become one place: what errs anew with each look averages out, what errs alike in
//! all of them does not.

use serde::{Deserialize, Serialize};

/// Looks closer together than this, in seconds, err partly alike, whatever the geometry says: a gust moves
/// the gimbal in several frames.
const GUST_S: f64 = 0.3;
/// Least share of a look that counts in spite of it.
const LEAST_SHARE: f64 = 0.05;
/// Accelerations of what walks or drives, one standard deviation, m/s² over a second.
const ACCELERATION: f64 = 0.2;
/// Speeds that are believed of anything on the ground before it was measured, one deviation, m/s.
const FIRST_SPEED: f64 = 3.0;

/// How fast people walk off, one deviation, m/s, and how far that is followed, metres.
const WALK: f64 = 0.7;
const FARTHEST_M: f64 = 60.0;

pub(super) type M2 = [[f64; 2]; 2];

pub(super) fn add(a: &M2, b: &M2) -> M2 {
    [[a[0][0] + b[0][0], a[0][1] + b[0][1]], [a[1][0] + b[1][0], a[1][1] + b[1][1]]]
}

pub(super) fn scaled(a: &M2, by: f64) -> M2 {
    a.map(|row| row.map(|x| x * by))
}

fn times(a: &M2, b: &M2) -> M2 {
    let at = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[at(0, 0), at(0, 1)], [at(1, 0), at(1, 1)]]
}

fn apply(a: &M2, v: [f64; 2]) -> [f64; 2] {
    [a[0][0] * v[0] + a[0][1] * v[1], a[1][0] * v[0] + a[1][1] * v[1]]
}

pub(super) fn determinant(a: &M2) -> f64 {
    a[0][0] * a[1][1] - a[0][1] * a[1][0]
}

/// The inverse of a covariance; of one that is none a small circle's.
pub(super) fn inverse(a: &M2) -> M2 {
    let d = determinant(a);
    if d.is_finite() && d > 1e-12 {
        [[a[1][1] / d, -a[0][1] / d], [-a[1][0] / d, a[0][0] / d]]
    } else {
        [[1.0, 0.0], [0.0, 1.0]]
    }
}

pub(super) fn mahalanobis2(v: [f64; 2], covariance: &M2) -> f64 {
    let w = apply(&inverse(covariance), v);
    v[0] * w[0] + v[1] * w[1]
}

/// One look's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    /// East and north.
    pub(super) at: [f64; 2],
    /// Covariance of what errs anew.
    pub(super) own: M2,
    /// Of what errs alike in the next looks.
    pub(super) shared: M2,
    /// Height above the ellipsoid, and its two variances.
    pub(super) hae_m: f64,
    pub(super) own_up: f64,
    pub(super) shared_up: f64,
}

impl Placed {
    pub(super) fn total(&self) -> M2 {
        add(&self.own, &self.shared)
    }
}

/// The place of something that stays where it is: the mean of all looks, each weighed by the inverse of its
/// whole covariance. The mean's own part is that of independent errors so weighed; its shared part is the
/// weighted mean of theirs, which is right for one error that all looks have and too much for several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Still {
    weights: M2,
    weighted: [f64; 2],
    own: M2,
    shared: M2,
    trace: f64,
    up_weight: f64,
    up: f64,
    up_own: f64,
    up_shared: f64,
}

impl Still {
    pub(super) fn new(look: &Placed) -> Self {
        let zero = [[0.0; 2]; 2];
        let mut new = Self {
            weights: zero,
            weighted: [0.0; 2],
            own: zero,
            shared: zero,
            trace: 0.0,
            up_weight: 0.0,
            up: 0.0,
            up_own: 0.0,
            up_shared: 0.0,
        };
        new.add(look, f64::INFINITY);
        new
    }

    /// Another look, `since` seconds after the last one.
    pub(super) fn add(&mut self, look: &Placed, since: f64) {
        let share = (since / GUST_S).clamp(LEAST_SHARE, 1.0);
        let weight = scaled(&inverse(&look.total()), share);
        let pull = apply(&weight, look.at);
        self.weighted = [self.weighted[0] + pull[0], self.weighted[1] + pull[1]];
        self.weights = add(&self.weights, &weight);
        // A look that counts for a part only errs by as much more.
        let own = scaled(&look.own, 1.0 / share);
        self.own = add(&self.own, &times(&times(&weight, &own), &weight));
        let trace = weight[0][0] + weight[1][1];
        self.shared = add(&self.shared, &scaled(&look.shared, trace));
        self.trace += trace;
        let up = share / (look.own_up + look.shared_up).max(1e-6);
        self.up_weight += up;
        self.up += up * look.hae_m;
        self.up_own += up * up * look.own_up / share;
        self.up_shared += up * look.shared_up;
    }

    /// The place of what two records are of: as if the looks of both were one's.
    pub(super) fn joined(&self, other: &Self) -> Self {
        Self {
            weights: add(&self.weights, &other.weights),
            weighted: [self.weighted[0] + other.weighted[0], self.weighted[1] + other.weighted[1]],
            own: add(&self.own, &other.own),
            shared: add(&self.shared, &other.shared),
            trace: self.trace + other.trace,
            up_weight: self.up_weight + other.up_weight,
            up: self.up + other.up,
            up_own: self.up_own + other.up_own,
            up_shared: self.up_shared + other.up_shared,
        }
    }

    pub(super) fn at(&self) -> [f64; 2] {
        apply(&inverse(&self.weights), self.weighted)
    }

    /// Covariance of the errors that the next looks do not have.
    pub(super) fn own(&self) -> M2 {
        let scale = inverse(&self.weights);
        times(&times(&scale, &self.own), &scale)
    }

    /// And of those that they have.
    pub(super) fn shared(&self) -> M2 {
        scaled(&self.shared, 1.0 / self.trace.max(1e-12))
    }

    pub(super) fn hae_m(&self) -> f64 {
        self.up / self.up_weight
    }

    pub(super) fn up_variance(&self) -> f64 {
        self.up_own / (self.up_weight * self.up_weight) + self.up_shared / self.up_weight
    }

    pub(super) fn is_sound(&self) -> bool {
        let [e, n] = self.at();
        e.is_finite() && n.is_finite() && self.hae_m().is_finite() && determinant(&self.weights) > 0.0
    }
}

/// The place and speed of something that moves: a Kalman filter for constant velocity with white
/// accelerations (Bar-Shalom, Li, Kirubarajan, *Estimation with Applications to Tracking and Navigation*,
/// section 6.2.2). Shared errors are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Moving {
    /// Each axis for itself: place, speed, and their variances. An error that couples the axes is taken for
    /// larger in both.
    axes: [Axis; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Axis {
    at: f64,
    speed: f64,
    p: [f64; 3],
}

impl Axis {
    fn predict(&mut self, dt: f64) {
        let q = ACCELERATION * ACCELERATION;
        let [pp, pv, vv] = self.p;
        self.at += self.speed * dt;
        self.p = [
            pp + 2.0 * dt * pv + dt * dt * vv + q * dt.powi(3) / 3.0,
            pv + dt * vv + q * dt * dt / 2.0,
            vv + q * dt,
        ];
    }

    fn update(&mut self, at: f64, variance: f64) {
        let [pp, pv, vv] = self.p;
        let s = pp + variance;
        let (kp, kv) = (pp / s, pv / s);
        let off = at - self.at;
        self.at += kp * off;
        self.speed += kv * off;
        self.p = [(1.0 - kp) * pp, (1.0 - kp) * pv, vv - kv * pv];
    }
}

impl Moving {
    pub(super) fn new(look: &Placed) -> Self {
        let axis = |k: usize| Axis {
            at: look.at[k],
            speed: 0.0,
            p: [look.own[k][k].max(1e-4), 0.0, FIRST_SPEED * FIRST_SPEED],
        };
        Self { axes: [axis(0), axis(1)] }
    }

    pub(super) fn predict(&mut self, dt: f64) {
        for axis in &mut self.axes {
            axis.predict(dt.clamp(0.0, 600.0));
        }
    }

    /// Out of sight for `dt` seconds more: it may have gone as fast as people walk, in any direction.
    pub(super) fn wander(&mut self, dt: f64) {
        for axis in &mut self.axes {
            let deviation = axis.p[0].max(0.0).sqrt() + WALK * dt.clamp(0.0, 600.0);
            axis.p[0] = deviation.min(FARTHEST_M).powi(2);
        }
    }

    pub(super) fn update(&mut self, look: &Placed, since: f64) {
        let share = (since / GUST_S).clamp(LEAST_SHARE, 1.0);
        for (k, axis) in self.axes.iter_mut().enumerate() {
            axis.update(look.at[k], look.own[k][k].max(1e-4) / share);
        }
    }

    pub(super) fn at(&self) -> [f64; 2] {
        [self.axes[0].at, self.axes[1].at]
    }

    pub(super) fn speed(&self) -> [f64; 2] {
        [self.axes[0].speed, self.axes[1].speed]
    }

    pub(super) fn own(&self) -> M2 {
        [[self.axes[0].p[0], 0.0], [0.0, self.axes[1].p[0]]]
    }

    /// Variance of the speed, the mean of both axes.
    pub(super) fn speed_variance(&self) -> f64 {
        (self.axes[0].p[2] + self.axes[1].p[2]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: [f64; 2], own: f64, shared: f64) -> Placed {
        let circle = |v: f64| [[v, 0.0], [0.0, v]];
        Placed { at, own: circle(own), shared: circle(shared), hae_m: 10.0, own_up: own, shared_up: shared }
    }

    #[test]
    fn own_errors_average_out_and_shared_ones_do_not() {
        let mut still = Still::new(&look([1.0, 0.0], 4.0, 9.0));
        for n in 1..100 {
            still.add(&look([if n % 2 == 0 { 1.0 } else { -1.0 }, 0.0], 4.0, 9.0), 1.0);
        }
        assert!(still.at()[0].abs() < 1e-9);
        assert!((still.own()[0][0] - 0.04).abs() < 1e-9, "{:?}", still.own());
        assert!((still.shared()[0][0] - 9.0).abs() < 1e-9);
        assert!((still.up_variance() - 9.04).abs() < 1e-9);
        // Frames of the same gust count for little.
        let mut burst = Still::new(&look([0.0, 0.0], 4.0, 0.0));
        (0..10).for_each(|_| burst.add(&look([0.0, 0.0], 4.0, 0.0), 0.03));
        assert!(burst.own()[0][0] > 1.5, "{:?}", burst.own());
    }

    #[test]
    fn a_good_look_outweighs_a_bad_one() {
        let mut still = Still::new(&look([10.0, 0.0], 1.0, 99.0));
        still.add(&look([0.0, 0.0], 1.0, 0.0), 5.0);
        assert!(still.at()[0] < 0.2, "{:?}", still.at());
        assert!(still.shared()[0][0] < 2.0);
    }

    #[test]
    fn what_walks_has_its_speed() {
        let mut moving = Moving::new(&look([0.0, 0.0], 0.25, 0.0));
        for n in 1..=50 {
            moving.predict(0.4);
            moving.update(&look([f64::from(n) * 0.4 * 1.2, 0.0], 0.25, 0.0), 0.4);
        }
        assert!((moving.speed()[0] - 1.2).abs() < 0.2, "{:?}", moving.speed());
        assert!(moving.speed()[1].abs() < 0.2);
        assert!((moving.at()[0] - 24.0).abs() < 0.5);
    }
}
