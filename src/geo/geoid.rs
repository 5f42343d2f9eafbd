//! Height above the ellipsoid and height above the sea: EGM96.
//!
//! The model is the full one, degree and order 360, with its correction to the WGS 84 ellipsoid
//! (NASA/TP-1998-206861). A place costs 65,000 terms, so undulations are kept at the nodes of a
//! lattice of 3 arc minutes and interpolated between them; that differs from the series by less than
//! 5 cm, and the series from the real sea by [`Geoid::SIGMA_M`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::units::{EllipsoidHeight, LatLon, SeaLevelHeight};

/// Nodes of the lattice in one degree.
const PER_DEGREE: f64 = 20.0;
/// Nodes kept: some 200 km around, or several places of work. Then all are forgotten.
const MAX_NODES: usize = 4096;

/// The EGM96 geoid.
#[derive(Debug, Default)]
pub struct Geoid {
    nodes: Mutex<HashMap<(i32, i32), f64>>,
}

impl Geoid {
    /// How far the model is from the real geoid, one standard deviation, in metres: half a metre
    /// where gravity was well surveyed, a metre elsewhere (NASA/TP-1998-206861, section 10).
    pub const SIGMA_M: f64 = 0.7;

    /// The geoid of EGM96.
    pub fn egm96() -> Self {
        Self::default()
    }

    /// Metres from the ellipsoid up to the geoid. Nowhere more than 86 up or 107 down.
    pub fn undulation_m(&self, at: LatLon) -> f64 {
        self.patch(at).undulation_m(at.lat().degrees(), at.lon().degrees())
    }

    /// A height above the sea, above the ellipsoid.
    pub fn to_ellipsoid(&self, at: LatLon, height: SeaLevelHeight) -> EllipsoidHeight {
        EllipsoidHeight(height.0 + self.undulation_m(at))
    }

    /// A height above the ellipsoid, above the sea.
    pub fn to_sea_level(&self, at: LatLon, height: EllipsoidHeight) -> SeaLevelHeight {
        SeaLevelHeight(height.0 - self.undulation_m(at))
    }

    /// The geoid around a place: good to 5 cm within its 5 km cell, and carried on from there.
    pub(super) fn patch(&self, at: LatLon) -> Patch {
        let (lat, lon) = (at.lat().degrees(), at.lon().degrees());
        let (row, col) = ((lat * PER_DEGREE).floor(), (lon * PER_DEGREE).floor());
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() + 4 > MAX_NODES {
            nodes.clear();
        }
        let mut node = |dr: f64, dc: f64| {
            let (lat, lon) = ((row + dr) / PER_DEGREE, (col + dc) / PER_DEGREE);
            let key = ((row + dr) as i32, (col + dc) as i32);
            *nodes.entry(key).or_insert_with(|| egm96::egm96_compute_altitude_offset(lat, lon))
        };
        let corners = [node(0.0, 0.0), node(0.0, 1.0), node(1.0, 0.0), node(1.0, 1.0)];
        Patch { row, col, corners }
    }
}

/// One cell of the lattice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    row: f64,
    col: f64,
    /// South-west, south-east, north-west, north-east.
    corners: [f64; 4],
}

impl Patch {
    /// Metres from the ellipsoid up to the geoid at degrees of latitude and longitude.
    pub(super) fn undulation_m(&self, lat: f64, lon: f64) -> f64 {
        let (y, x) = (lat * PER_DEGREE - self.row, lon * PER_DEGREE - self.col);
        let [sw, se, nw, ne] = self.corners;
        let (south, north) = (sw + x * (se - sw), nw + x * (ne - nw));
        south + y * (north - south)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon::from_degrees(lat, lon).unwrap()
    }

    /// The check values that NIMA published with the model: its own interpolation between the nodes
    /// of the 15 minute grid (`OUTINTPT.DAT`), which differs from the series by millimetres.
    #[test]
    fn undulations_are_the_published_ones() {
        let geoid = Geoid::egm96();
        for (lat, lon, undulation) in [
            (38.628_155_0, 269.779_155_0, -31.628),
            (-14.621_217_0, 305.021_114_0, -2.969),
            (46.874_319_0, 102.448_729_0, -43.575),
            (-23.617_446_0, 133.874_712_0, 15.871),
            (38.625_473_0, 359.999_500_0, 50.066),
            (-0.466_744_0, 0.002_300_0, 17.329),
        ] {
            let lon = if lon > 180.0 { lon - 360.0 } else { lon };
            let exact = egm96::egm96_compute_altitude_offset(lat, lon);
            assert!((exact - undulation).abs() < 5e-3, "{lat} {lon}: {exact}");
            let got = geoid.undulation_m(at(lat, lon));
            assert!((got - undulation).abs() < 0.05, "{lat} {lon}: {got}");
        }
    }

    #[test]
    fn heights_turn_into_each_other() {
        let (geoid, here) = (Geoid::egm96(), at(44.5, -71.5));
        let hae = geoid.to_ellipsoid(here, SeaLevelHeight(500.0));
        assert!((465.0..480.0).contains(&hae.0), "{hae:?}: New Hampshire lies below the ellipsoid");
        assert!((geoid.to_sea_level(here, hae).0 - 500.0).abs() < 1e-9);
    }

    #[test]
    fn the_ends_of_the_earth_have_a_geoid_and_the_cache_an_end() {
        let geoid = Geoid::egm96();
        for (lat, lon) in [(90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (0.0, -180.0), (89.999, -180.0)] {
            assert!((-107.0..86.0).contains(&geoid.undulation_m(at(lat, lon))), "{lat} {lon}");
        }
        let (east, west) = (geoid.undulation_m(at(10.0, 180.0)), geoid.undulation_m(at(10.0, -180.0)));
        assert!((east - west).abs() < 1e-9);
        for key in 0..MAX_NODES as i32 {
            geoid.nodes.lock().unwrap().insert((9999, key), 0.0);
        }
        geoid.undulation_m(at(1.0, 1.0));
        assert!(geoid.nodes.lock().unwrap().len() <= MAX_NODES);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_lattice_is_close_to_the_series(lat in -90.0..90.0f64, lon in -180.0..180.0f64) {
            let exact = egm96::egm96_compute_altitude_offset(lat, lon);
            let got = Geoid::egm96().undulation_m(at(lat, lon));
            prop_assert!((got - exact).abs() < 0.05, "{got} {exact}");
        }
    }
}
