//! Metres east and north of one point, where reckoning on a plane is enough: what evidence and coverage of a
//! search are kept in. What has to be exact is a [`LocalFrame`](super::LocalFrame).

use serde::{Deserialize, Serialize};

use super::earth::{meridian_radius_m, normal_radius_m};
use super::units::LatLon;

/// A plane that touches the ellipsoid: degrees times the metres that one has at the origin. There and
/// back is exact. Distances east are off by the tangent of the latitude times the way north over the Earth's
/// radius: 10 km north of the origin, by one in a thousand at 30 degrees and by three at 60.
///
/// It is stored with a mission: a field that is renamed makes stored missions unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TangentPlane {
    /// Of the origin, radians.
    lat: f64,
    lon: f64,
    /// Metres a radian, north and east.
    north: f64,
    east: f64,
}

impl TangentPlane {
    /// The plane at `origin`.
    pub fn at(origin: LatLon) -> Self {
        let (lat, lon) = (origin.lat(), origin.lon().radians());
        // At a pole no direction is east: a millimetre a radian keeps the way back finite.
        let east = (normal_radius_m(lat) * lat.radians().cos()).max(1e-3);
        Self { lat: lat.radians(), lon, north: meridian_radius_m(lat), east }
    }

    /// East and north of the origin, metres; the short way round.
    pub fn metres(&self, at: LatLon) -> [f64; 2] {
        let turn = std::f64::consts::TAU;
        let lon = (at.lon().radians() - self.lon + turn / 2.0).rem_euclid(turn) - turn / 2.0;
        [lon * self.east, (at.lat().radians() - self.lat) * self.north]
    }

    /// The place so many metres east and north of the origin; one beyond a pole is the pole.
    pub fn place(&self, [east, north]: [f64; 2]) -> LatLon {
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
    use super::super::units::{EllipsoidHeight, Geodetic};
    use super::*;

    #[test]
    fn there_and_back_is_exact_and_metres_are_metres() {
        let origin = LatLon::from_degrees(30.25, 120.15).unwrap();
        let plane = TangentPlane::at(origin);
        for (e, n) in [(0.0, 0.0), (1234.5, -987.6), (-9_000.0, 9_000.0)] {
            let [e2, n2] = plane.metres(plane.place([e, n]));
            assert!((e - e2).abs() < 1e-6 && (n - n2).abs() < 1e-6, "{e} {n} {e2} {n2}");
        }
        // A minute of latitude at 30 degrees has 1847.5 m, one of longitude 1608.1 m (WGS 84).
        let near = LatLon::from_degrees(30.0, 120.0).unwrap();
        let [e, n] = TangentPlane::at(near)
            .metres(LatLon::from_degrees(30.0 + 1.0 / 60.0, 120.0 + 1.0 / 60.0).unwrap());
        assert!((n - 1847.5).abs() < 0.5 && (e - 1608.1).abs() < 0.5, "{e} {n}");
    }

    #[test]
    fn the_date_line_is_crossed_the_short_way() {
        let plane = TangentPlane::at(LatLon::from_degrees(0.0, 179.999).unwrap());
        let [e, _] = plane.metres(LatLon::from_degrees(0.0, -179.999).unwrap());
        assert!((e - 222.64).abs() < 0.1, "{e}");
        assert!((plane.place([e, 0.0]).lon().degrees() + 179.999).abs() < 1e-9);
    }

    #[test]
    fn the_error_is_the_stated_one() {
        for (lat, error) in [(30.0, 0.9e-3), (60.0, 2.7e-3)] {
            let plane = TangentPlane::at(LatLon::from_degrees(lat, 10.0).unwrap());
            let ends = [0.0, 1000.0]
                .map(|east| Geodetic { at: plane.place([east, 10_000.0]), height: EllipsoidHeight(0.0) });
            let off = 1.0 - ends[0].distance_m(&ends[1]) / 1000.0;
            assert!((off - error).abs() < 0.05e-3, "{lat} {off}");
        }
    }

    #[test]
    fn what_earlier_missions_stored_is_read() {
        let stored = r#"{"lat":0.5,"lon":2.1,"north":6350000.0,"east":5600000.0}"#;
        let plane: TangentPlane = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&plane).unwrap(), stored);
        let [east, north] =
            plane.metres(LatLon::from_degrees(0.501_f64.to_degrees(), 2.1_f64.to_degrees()).unwrap());
        assert!(east.abs() < 1e-6 && (north - 6350.0).abs() < 1e-6, "{east} {north}");
    }
}
