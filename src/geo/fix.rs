//! A place on the ground, with its error.

use super::units::Geodetic;

/// How a line of sight met the ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroundMethod {
    /// On an elevation model.
    Terrain,
    /// On a plane at a height that was set, or at that of the place of take-off.
    Flat,
    /// At the distance that a range finder measured.
    RangeFinder,
    /// From several looks at the same thing.
    Fused,
}

/// Where a line of sight met the ground.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundFix {
    /// The place.
    pub position: Geodetic,
    /// Covariance in square metres, rows and columns east, north, up at the place.
    pub covariance: [[f64; 3]; 3],
    /// The part of [`GroundFix::covariance`] that the next frames share: gimbal and compass bias,
    /// position bias, terrain. Fusing many looks does not average it away.
    pub shared: [[f64; 3]; 3],
    /// How it was found.
    pub method: GroundMethod,
    /// Metres from the camera.
    pub slant_range_m: f64,
    /// Metres on the ground that one pixel spans there, across the line of sight.
    pub gsd_m: f64,
    /// The ray's angle below the horizon, in degrees: the flatter, the longer the ellipse.
    pub depression_deg: f64,
}

/// Circular error, 90 %: the radius in metres around the estimate that holds the truth nine times in
/// ten, for an error whose east-north covariance this is. Root of `P(r) = 0.9` for the bivariate
/// normal distribution (not the common approximation, which is off by up to 10 % for long ellipses).
pub fn ce90(covariance: &[[f64; 3]; 3]) -> f64 {
    // The squared radii of the axes.
    let (a, b, c) = (covariance[0][0], covariance[0][1], covariance[1][1]);
    let (mean, spread) = ((a + c) / 2.0, ((a - c) / 2.0).hypot(b));
    let (long, short) = ((mean + spread).max(0.0).sqrt(), (mean - spread).max(0.0).sqrt());
    if long == 0.0 || !long.is_finite() {
        return long;
    }
    let ratio = short / long;
    // Inside radius r, in units of the long axis: the mass of strips across the long axis, at
    // r sin(t) along it.
    let inside = |r: f64| -> f64 {
        const STEPS: u32 = 64;
        (0..STEPS)
            .map(|i| {
                let t = (f64::from(i) + 0.5) / f64::from(STEPS) * std::f64::consts::FRAC_PI_2;
                let (along, half) = (r * t.sin(), r * t.cos());
                let strip = if ratio > 0.0 { erf(half / (ratio * std::f64::consts::SQRT_2)) } else { 1.0 };
                (-along * along / 2.0).exp() * strip * half
            })
            .sum::<f64>()
            * std::f64::consts::FRAC_PI_2
            / f64::from(STEPS)
            * 2.0
            / std::f64::consts::TAU.sqrt()
    };
    // 1.6449 for a line, 2.1460 for a circle.
    let (mut low, mut high) = (1.6, 2.2);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if inside(middle) < 0.9 { low = middle } else { high = middle }
    }
    long * (low + high) / 2.0
}

/// Linear error, 90 %: metres up or down that hold the truth nine times in ten.
pub fn le90(covariance: &[[f64; 3]; 3]) -> f64 {
    1.644_853_626_951_472_2 * covariance[2][2].max(0.0).sqrt()
}

/// Abramowitz and Stegun 7.1.26; its error is below 1.5e-7.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - poly * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circular_error_is_that_of_the_tables() {
        let at =
            |east: f64, north: f64| ce90(&[[east * east, 0.0, 0.0], [0.0, north * north, 0.0], [0.0; 3]]);
        assert!((at(1.0, 1.0) - 2.145_966).abs() < 1e-3, "{}", at(1.0, 1.0));
        assert!((at(3.0, 0.0) / 3.0 - 1.644_854).abs() < 1e-3);
        assert!((at(1.0, 0.5) - 1.7371).abs() < 1e-3, "{}", at(1.0, 0.5));
        assert!((at(0.5, 1.0) - at(1.0, 0.5)).abs() < 1e-9);
        assert!((at(1.0, 0.02) - 1.6453).abs() < 2e-3, "{}", at(1.0, 0.02));
    }
}
