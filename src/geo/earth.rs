//! The Earth as WGS 84 has it: geodetic, Earth-centred and local frames, exact to rounding.
//!
//! Frames: Earth-centred, Earth-fixed (ECEF) with x through 0° N 0° E, y through 0° N 90° E and z
//! through the north pole; local east, north, up (ENU) tangent to the ellipsoid at a place. Local
//! north, east, down (NED) is the same frame with its axes renamed: [`enu_of_ned`].
//! Source: NGA.STND.0036 (WGS 84), 2014, sections 3 and 4.

use super::units::{Angle, EllipsoidHeight, Geodetic, LatLon};

/// Semi-major axis of WGS 84 in metres.
pub const SEMI_MAJOR_M: f64 = 6_378_137.0;
/// Flattening of WGS 84.
pub const FLATTENING: f64 = 1.0 / 298.257_223_563;
/// First eccentricity squared.
const E2: f64 = FLATTENING * (2.0 - FLATTENING);
/// Semi-minor axis in metres.
const SEMI_MINOR_M: f64 = SEMI_MAJOR_M * (1.0 - FLATTENING);

/// Radius of curvature in metres along the meridian at a latitude.
pub fn meridian_radius_m(lat: Angle) -> f64 {
    let w2 = 1.0 - E2 * lat.radians().sin().powi(2);
    SEMI_MAJOR_M * (1.0 - E2) / (w2 * w2.sqrt())
}

/// Radius of curvature in metres across the meridian (prime vertical) at a latitude.
pub fn normal_radius_m(lat: Angle) -> f64 {
    SEMI_MAJOR_M / (1.0 - E2 * lat.radians().sin().powi(2)).sqrt()
}

/// A point, or the difference of two, in Earth-centred, Earth-fixed metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ecef(pub [f64; 3]);

impl Ecef {
    /// The geodetic point, to better than a micrometre between -10 km and 1,000 km of height.
    /// `None` near the Earth's centre, where latitude has no meaning, and for what is no number.
    pub fn geodetic(self) -> Option<Geodetic> {
        let [x, y, z] = self.0;
        let across = x.hypot(y);
        if !(across.hypot(z) > SEMI_MINOR_M / 2.0 && across.is_finite() && z.is_finite()) {
            return None;
        }
        // Bowring 1976. One turn is exact to 1e-9 degrees near the surface, the second to rounding,
        // the third is for heights of orbit. Sines and cosines go from turn to turn without the angle.
        let unit = |y: f64, x: f64| {
            let length = (y * y + x * x).sqrt();
            (y / length, x / length)
        };
        let ep2 = E2 / (1.0 - E2);
        let mut reduced = unit(z, across * (1.0 - FLATTENING));
        let (mut sin, mut cos) = (0.0, 1.0);
        for _ in 0..3 {
            let (s, c) = reduced;
            (sin, cos) = unit(z + ep2 * SEMI_MINOR_M * (s * s * s), across - E2 * SEMI_MAJOR_M * (c * c * c));
            reduced = unit((1.0 - FLATTENING) * sin, cos);
        }
        let lat = sin.atan2(cos);
        // Good at the poles too, where `across / cos` is not.
        let height = across * cos + z * sin - SEMI_MAJOR_M * (1.0 - E2 * sin * sin).sqrt();
        let at = LatLon::from_degrees(lat.to_degrees().clamp(-90.0, 90.0), y.atan2(x).to_degrees())?;
        Some(Geodetic { at, height: EllipsoidHeight(height) })
    }
}

impl Geodetic {
    /// The same point in Earth-centred, Earth-fixed metres.
    pub fn ecef(&self) -> Ecef {
        let (sin, cos) = self.at.lat().radians().sin_cos();
        let (sin_lon, cos_lon) = self.at.lon().radians().sin_cos();
        let n = normal_radius_m(self.at.lat());
        let across = (n + self.height.0) * cos;
        Ecef([across * cos_lon, across * sin_lon, (n * (1.0 - E2) + self.height.0) * sin])
    }

    /// The distance to another point in metres, straight through space.
    pub fn distance_m(&self, other: &Self) -> f64 {
        let (a, b) = (self.ecef().0, other.ecef().0);
        ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2)).sqrt()
    }
}

/// Local east, north, up in metres around a place.
#[derive(Clone, Copy, Debug)]
pub struct LocalFrame {
    origin: Geodetic,
    centre: [f64; 3],
    /// East, north and up in Earth-centred axes.
    axes: [[f64; 3]; 3],
}

impl LocalFrame {
    /// The frame whose origin is this point.
    pub fn new(origin: Geodetic) -> Self {
        let (sin, cos) = origin.at.lat().radians().sin_cos();
        let (sin_lon, cos_lon) = origin.at.lon().radians().sin_cos();
        Self {
            origin,
            centre: origin.ecef().0,
            axes: [
                [-sin_lon, cos_lon, 0.0],
                [-sin * cos_lon, -sin * sin_lon, cos],
                [cos * cos_lon, cos * sin_lon, sin],
            ],
        }
    }

    /// Its origin.
    pub fn origin(&self) -> Geodetic {
        self.origin
    }

    /// A geodetic point in east, north, up metres.
    pub fn enu(&self, point: &Geodetic) -> [f64; 3] {
        let p = point.ecef().0;
        let d = [p[0] - self.centre[0], p[1] - self.centre[1], p[2] - self.centre[2]];
        self.axes.map(|a| a[0] * d[0] + a[1] * d[1] + a[2] * d[2])
    }

    /// The point at east, north, up metres, in Earth-centred metres.
    pub fn ecef(&self, enu: [f64; 3]) -> Ecef {
        let d = self.direction(enu);
        Ecef([self.centre[0] + d[0], self.centre[1] + d[1], self.centre[2] + d[2]])
    }

    /// The geodetic point at east, north, up metres; `None` as in [`Ecef::geodetic`].
    pub fn geodetic(&self, enu: [f64; 3]) -> Option<Geodetic> {
        self.ecef(enu).geodetic()
    }

    /// A direction given in east, north, up, in Earth-centred axes.
    pub fn direction(&self, enu: [f64; 3]) -> [f64; 3] {
        let a = &self.axes;
        std::array::from_fn(|i| a[0][i] * enu[0] + a[1][i] * enu[1] + a[2][i] * enu[2])
    }
}

/// North, east, down as east, north, up; and the other way round.
pub fn enu_of_ned(v: [f64; 3]) -> [f64; 3] {
    [v[1], v[0], -v[2]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(lat: f64, lon: f64, h: f64) -> Geodetic {
        Geodetic { at: LatLon::from_degrees(lat, lon).unwrap(), height: EllipsoidHeight(h) }
    }

    /// NIMA TR 8350.2 (WGS 84), third edition, table 3.3 and appendix: derived constants; and
    /// points computed by the EUREF permanent network's own converter.
    #[test]
    fn radii_and_points_are_the_published_ones() {
        assert!((SEMI_MINOR_M - 6_356_752.314_2).abs() < 1e-4);
        assert!((E2 - 6.694_379_990_14e-3).abs() < 1e-14);
        // Polar radius of curvature.
        let pole = Angle::from_degrees(90.0);
        assert!((meridian_radius_m(pole) - 6_399_593.625_8).abs() < 1e-4);
        assert!((normal_radius_m(pole) - 6_399_593.625_8).abs() < 1e-4);
        assert!((meridian_radius_m(Angle::ZERO) - 6_335_439.327).abs() < 1e-3);
        for (point, ecef) in [
            (at(0.0, 0.0, 0.0), [6_378_137.0, 0.0, 0.0]),
            (at(0.0, 90.0, 100.0), [0.0, 6_378_237.0, 0.0]),
            (at(-90.0, 0.0, 0.0), [0.0, 0.0, -6_356_752.314_245]),
        ] {
            let got = point.ecef().0;
            assert!(got.iter().zip(ecef).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        }
    }

    #[test]
    fn the_centre_has_no_latitude_and_the_poles_have_one() {
        assert!(Ecef([0.0; 3]).geodetic().is_none());
        assert!(Ecef([f64::NAN, 0.0, 6.4e6]).geodetic().is_none());
        assert!(Ecef([f64::INFINITY, 0.0, 6.4e6]).geodetic().is_none());
        let pole = Ecef([0.0, 0.0, SEMI_MINOR_M + 50.0]).geodetic().unwrap();
        assert!((pole.height.0 - 50.0).abs() < 1e-8 && (pole.at.lat().degrees() - 90.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn geodetic_and_ecef_agree(lat in -90.0..90.0f64, lon in -180.0..180.0f64, h in -10e3..1e6f64) {
            let back = at(lat, lon, h).ecef().geodetic().unwrap();
            prop_assert!((back.at.lat().degrees() - lat).abs() < 1e-11, "{lat}");
            // A longitude near the pole is worth as much as its circle is long.
            let east = (back.at.lon().degrees() - lon).to_radians() * lat.to_radians().cos() * SEMI_MAJOR_M;
            prop_assert!(east.abs() < 1e-6 && (back.height.0 - h).abs() < 1e-6, "{east}");
        }

        #[test]
        fn local_and_geodetic_agree(
            lat in -89.9..89.9f64, lon in -180.0..180.0f64, h in -400.0..9e3f64,
            east in -2e4..2e4f64, north in -2e4..2e4f64, up in -5e3..5e3f64,
        ) {
            let frame = LocalFrame::new(at(lat, lon, h));
            let there = frame.geodetic([east, north, up]).unwrap();
            let back = frame.enu(&there);
            for (a, b) in back.iter().zip([east, north, up]) {
                prop_assert!((a - b).abs() < 1e-6, "{back:?}");
            }
            prop_assert!((frame.origin().distance_m(&there) - east.hypot(north).hypot(up)).abs() < 1e-6);
        }
    }
}
