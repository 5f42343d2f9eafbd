//! Metres east and north of one point: what evidence and coverage are reckoned in.

use serde::{Deserialize, Serialize};

use crate::geo::LatLon;

/// Semi-major axis of WGS 84, metres.
const A: f64 = 6_378_137.0;
/// Its first eccentricity, squared.
const E2: f64 = 6.694_379_990_141_316_5e-3;

/// A plane that touches the ellipsoid: degrees times the metres that one has at the origin. There and
/// back is exact; distances are off by one in a thousand 10 km north of the origin at 60 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plane {
    lat: f64,
    lon: f64,
    /// Metres a radian, north and east.
    north: f64,
    east: f64,
}

impl Plane {
    /// The plane at `origin`.
    pub(super) fn at(origin: LatLon) -> Self {
        let lat = origin.lat().radians();
        let w = (1.0 - E2 * lat.sin().powi(2)).sqrt();
        // At a pole no direction is east: a millimetre a radian keeps the way back finite.
        let east = (A / w * lat.cos()).max(1e-3);
        Self { lat, lon: origin.lon().radians(), north: A * (1.0 - E2) / w.powi(3), east }
    }

    /// East and north of the origin, metres; the short way round.
    pub(super) fn metres(&self, at: LatLon) -> [f64; 2] {
        let turn = std::f64::consts::TAU;
        let lon = (at.lon().radians() - self.lon + turn / 2.0).rem_euclid(turn) - turn / 2.0;
        [lon * self.east, (at.lat().radians() - self.lat) * self.north]
    }

    /// The place so many metres east and north of the origin; one beyond a pole is the pole.
    pub(super) fn place(&self, [east, north]: [f64; 2]) -> LatLon {
        let lat = (self.lat + north / self.north).to_degrees().clamp(-90.0, 90.0);
        let lon = ((self.lon + east / self.east).to_degrees() + 180.0).rem_euclid(360.0) - 180.0;
        // Both are in range unless they are not numbers.
        LatLon::from_degrees(lat, lon)
            .or_else(|| LatLon::from_degrees(self.lat.to_degrees(), self.lon.to_degrees()))
            .unwrap_or_else(|| unreachable!("a plane's origin is a place"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_exact_and_metres_are_metres() {
        let origin = LatLon::from_degrees(30.25, 120.15).unwrap();
        let plane = Plane::at(origin);
        for (e, n) in [(0.0, 0.0), (1234.5, -987.6), (-9_000.0, 9_000.0)] {
            let [e2, n2] = plane.metres(plane.place([e, n]));
            assert!((e - e2).abs() < 1e-6 && (n - n2).abs() < 1e-6, "{e} {n} {e2} {n2}");
        }
        // A minute of latitude at 30 degrees has 1847.5 m, one of longitude 1608.1 m (WGS 84).
        let near = LatLon::from_degrees(30.0, 120.0).unwrap();
        let [e, n] =
            Plane::at(near).metres(LatLon::from_degrees(30.0 + 1.0 / 60.0, 120.0 + 1.0 / 60.0).unwrap());
        assert!((n - 1847.5).abs() < 0.5 && (e - 1608.1).abs() < 0.5, "{e} {n}");
    }

    #[test]
    fn the_date_line_is_crossed_the_short_way() {
        let plane = Plane::at(LatLon::from_degrees(0.0, 179.999).unwrap());
        let [e, _] = plane.metres(LatLon::from_degrees(0.0, -179.999).unwrap());
        assert!((e - 222.64).abs() < 0.1, "{e}");
        assert!((plane.place([e, 0.0]).lon().degrees() + 179.999).abs() < 1e-9);
    }
}
