//! Transverse Mercator, the projection of UTM and Gauss-Krüger maps, from degrees to metres.
//!
//! Krüger's series to the fourth order of the third flattening (Karney, "Transverse Mercator with an
//! accuracy of a few nanometers", Journal of Geodesy 85 (2011), equations 7 to 12): better than a
//! millimetre within 20 degrees of the central meridian.

use crate::geo::earth::{FLATTENING, SEMI_MAJOR_M};

/// One zone of a transverse Mercator map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transverse {
    /// Degrees east.
    pub central_meridian: f64,
    /// 0.9996 for UTM, 1 for Gauss-Krüger.
    pub scale: f64,
    /// Metres added to the easting.
    pub false_easting: f64,
    /// Metres added to the northing.
    pub false_northing: f64,
}

impl Transverse {
    /// The zone of an EPSG code: UTM on WGS 84, ETRS89 and NAD83, Gauss-Krüger on CGCS2000. The
    /// datums differ by less than two metres, less than a post of any model used here is wide.
    pub(super) fn epsg(code: u16) -> Option<Self> {
        let utm = |zone: u16, south: bool| Self {
            central_meridian: f64::from(zone) * 6.0 - 183.0,
            scale: 0.9996,
            false_easting: 500_000.0,
            false_northing: if south { 10_000_000.0 } else { 0.0 },
        };
        let krueger = |central_meridian: u16, zone: u16| Self {
            central_meridian: f64::from(central_meridian),
            scale: 1.0,
            false_easting: 500_000.0 + 1_000_000.0 * f64::from(zone),
            false_northing: 0.0,
        };
        Some(match code {
            32_601..=32_660 => utm(code - 32_600, false),
            32_701..=32_760 => utm(code - 32_700, true),
            25_828..=25_838 => utm(code - 25_800, false),
            26_901..=26_923 => utm(code - 26_900, false),
            4491..=4501 => krueger((code - 4491 + 13) * 6 - 3, code - 4491 + 13),
            4502..=4512 => krueger(75 + 6 * (code - 4502), 0),
            4513..=4533 => krueger(3 * (code - 4513 + 25), code - 4513 + 25),
            4534..=4554 => krueger(75 + 3 * (code - 4534), 0),
            _ => return None,
        })
    }

    /// Easting and northing in metres of a place in degrees.
    pub(super) fn forward(&self, lat: f64, lon: f64) -> [f64; 2] {
        let n = FLATTENING / (2.0 - FLATTENING);
        let (n2, n3, n4) = (n * n, n * n * n, n * n * n * n);
        let rectifying = SEMI_MAJOR_M / (1.0 + n) * (1.0 + n2 / 4.0 + n4 / 64.0);
        let series = [
            n / 2.0 - 2.0 * n2 / 3.0 + 5.0 * n3 / 16.0 + 41.0 * n4 / 180.0,
            13.0 * n2 / 48.0 - 3.0 * n3 / 5.0 + 557.0 * n4 / 1440.0,
            61.0 * n3 / 240.0 - 103.0 * n4 / 140.0,
            49_561.0 * n4 / 161_280.0,
        ];
        let e = (FLATTENING * (2.0 - FLATTENING)).sqrt();
        let turns = ((lon - self.central_meridian + 180.0) / 360.0).floor();
        let (sin_l, cos_l) = (lon - self.central_meridian - 360.0 * turns).to_radians().sin_cos();
        // A hair from the pole, where the tangent ends.
        let tan = lat.clamp(-89.999_999, 89.999_999).to_radians().tan();
        let sin = tan / tan.hypot(1.0);
        let sigma = (e * (e * sin).atanh()).sinh();
        let conformal = tan * sigma.hypot(1.0) - sigma * tan.hypot(1.0);
        let xi = conformal.atan2(cos_l);
        let eta = (sin_l / conformal.hypot(cos_l)).asinh();
        let (mut north, mut east) = (xi, eta);
        for (j, a) in (1..).zip(series) {
            let k = 2.0 * f64::from(j);
            north += a * (k * xi).sin() * (k * eta).cosh();
            east += a * (k * xi).cos() * (k * eta).sinh();
        }
        [
            self.false_easting + self.scale * rectifying * east,
            self.false_northing + self.scale * rectifying * north,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eastings_and_northings_are_the_published_ones() {
        // Karney's own check of UTM at 0.9996: the equator at 3 degrees from the meridian, and the
        // meridian quadrant, 10,001,965.729 m.
        let utm31 = Transverse::epsg(32_631).unwrap();
        assert_eq!(utm31.central_meridian, 3.0);
        let [east, north] = utm31.forward(0.0, 0.0);
        assert!((east - 166_021.443).abs() < 1e-3 && north.abs() < 1e-6, "{east} {north}");
        let [east, north] = utm31.forward(90.0, 3.0);
        assert!((east - 500_000.0).abs() < 0.2 && (north / 0.9996 - 10_001_965.729).abs() < 0.2, "{north}");
        // The CN Tower, 43°38'33.24" N 79°23'13.7" W: 17T 630084 4833438.
        let [east, north] = Transverse::epsg(32_617).unwrap().forward(43.642_566_7, -79.387_139);
        assert!((east - 630_084.0).abs() < 1.0 && (north - 4_833_438.0).abs() < 1.0, "{east} {north}");
        // South of the equator.
        let [_, north] = Transverse::epsg(32_723).unwrap().forward(-10.0, -45.0);
        assert!((8_890_000.0..8_900_000.0).contains(&north), "{north}");
    }

    #[test]
    fn codes_name_their_zones() {
        let meridian = |code| Transverse::epsg(code).map(|t| (t.central_meridian, t.false_easting));
        assert_eq!(meridian(4547), Some((114.0, 500_000.0)));
        assert_eq!(meridian(4508), Some((111.0, 500_000.0)));
        assert_eq!(meridian(4526), Some((114.0, 38_500_000.0)));
        assert_eq!(meridian(4498), Some((117.0, 20_500_000.0)));
        assert_eq!(meridian(25_832), Some((9.0, 500_000.0)));
        assert_eq!(meridian(26_919), Some((-69.0, 500_000.0)));
        assert_eq!(meridian(3857), None);
    }
}
