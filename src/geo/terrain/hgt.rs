//! SRTM tiles: `N44W072.hgt`, one degree square, named for its south-west corner.
//!
//! Big-endian signed 16-bit metres above EGM96, row by row from the north, 1201 (3 arc seconds) or
//! 3601 (1 arc second) on a side, the edges shared with the neighbours; -32768 is a void. Source:
//! USGS, "SRTM Topography" (SRTM_Topo.txt), sections 2.1 and 3.

use super::grid::{ElevationGrid, Placement, Posts, Projection, VerticalDatum};
use crate::base::{Culprit, Error, Kind, Result};

/// Posts on a side, finest first.
pub(super) const SIDES: [usize; 2] = [3601, 1201];

/// The degrees of latitude and longitude of the south-west corner that a tile's name states.
pub(super) fn corner(name: &str) -> Option<[i32; 2]> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_suffix(".HGT")?;
    if !name.is_ascii() || name.len() != 7 {
        return None;
    }
    let part = |sign: &str, digits: &str, plus: &str, minus: &str, limit: i32| {
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value: i32 = digits.parse().ok()?;
        let value = match sign {
            s if s == plus => value,
            s if s == minus => -value,
            _ => return None,
        };
        (-limit..limit).contains(&value).then_some(value)
    };
    let lat = part(&name[..1], &name[1..3], "N", "S", 90)?;
    let lon = part(&name[3..4], &name[4..], "E", "W", 180)?;
    Some([lat, lon])
}

/// How many posts a side a file of so many bytes has.
pub(super) fn side(bytes: u64) -> Option<usize> {
    SIDES.into_iter().find(|s| (s * s * 2) as u64 == bytes)
}

/// Where the posts of a tile lie.
pub(super) fn placement([lat, lon]: [i32; 2], side: usize) -> Placement {
    let step = 1.0 / (side - 1) as f64;
    Placement {
        projection: Projection::Geographic,
        origin: [f64::from(lon), f64::from(lat + 1)],
        step: [step, step],
    }
}

impl ElevationGrid {
    /// Reads an SRTM tile: its file's name, which says where it is, and its bytes.
    ///
    /// # Errors
    /// For a name or a size that no tile has, and heights that are not on Earth.
    pub fn from_hgt(name: &str, bytes: &[u8]) -> Result<Self> {
        let malformed = |says: String| Error::new(Kind::Malformed, Culprit::Config, says);
        let corner = corner(name).ok_or_else(|| {
            malformed(format!("\"{}\" does not name an SRTM tile", name.escape_default()))
                .remedy("a tile is named for its south-west corner: N44W072.hgt")
        })?;
        let side = side(bytes.len() as u64).ok_or_else(|| wrong_size(bytes.len() as u64))?;
        let posts = bytes.chunks_exact(2).map(|b| i16::from_be_bytes([b[0], b[1]])).collect();
        Self::new(placement(corner, side), [side, side], Posts::Whole(posts), VerticalDatum::SeaLevel)
    }
}

pub(super) fn wrong_size(bytes: u64) -> Error {
    Error::new(Kind::Malformed, Culprit::Config, format!("no SRTM tile has {bytes} bytes"))
        .remedy("a tile has 2884802 bytes (3 arc seconds) or 25934402 (1 arc second); fetch it again")
}

#[cfg(test)]
mod tests {
    use super::super::grid::VOID;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_say_the_south_west_corner() {
        assert_eq!(corner("N44W072.hgt"), Some([44, -72]));
        assert_eq!(corner("s01e179.HGT"), Some([-1, 179]));
        for bad in [
            "N44W072",
            "N44W72.hgt",
            "X44W072.hgt",
            "N91E000.hgt",
            "N44E180.hgt",
            "N+4W072.hgt",
            "",
            "é44W072.hgt",
        ] {
            assert_eq!(corner(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_name_and_bytes_are_answered(name in ".{0,12}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let says = ElevationGrid::from_hgt(&name, &bytes).unwrap_err();
            prop_assert!(!says.to_string().contains('\n'), "{says}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn a_tile_holds_the_heights_of_its_bytes(
            unit in prop::collection::vec(prop_oneof![7 => -12_050i16..9_050, 1 => Just(VOID)], 1..9),
            at in 0usize..1201 * 1201,
        ) {
            let posts: Vec<i16> = unit.iter().copied().cycle().take(1201 * 1201).collect();
            let bytes: Vec<u8> = posts.iter().flat_map(|h| h.to_be_bytes()).collect();
            let on_earth = unit.iter().all(|h| *h == VOID || (-12_000..=9_000).contains(h));
            match ElevationGrid::from_hgt("N00E000.hgt", &bytes) {
                Ok(tile) => {
                    prop_assert!(on_earth);
                    let height = tile.height_m([(at % 1201) as f64, (at / 1201) as f64]);
                    let void = posts[at] == VOID;
                    let right = if void { height.is_nan() } else { height == f64::from(posts[at]) };
                    prop_assert!(right, "{height}");
                }
                Err(_) => prop_assert!(!on_earth),
            }
        }
    }

    #[test]
    fn a_tile_begins_in_the_north_west() {
        let mut bytes = vec![0u8; 1201 * 1201 * 2];
        bytes[..2].copy_from_slice(&1000i16.to_be_bytes());
        bytes[2..4].copy_from_slice(&i16::MIN.to_be_bytes());
        let tile = ElevationGrid::from_hgt("N44W072.hgt", &bytes).unwrap();
        let height = |lat, lon| tile.height_m(tile.placement.locate(lat, lon));
        assert_eq!(height(45.0, -72.0), 1000.0);
        assert!(height(45.0, -72.0 + 0.5 / 1200.0).is_nan());
        assert_eq!(height(44.0, -71.0), 0.0);
        for bad in [&bytes[1..], &[][..]] {
            assert_eq!(ElevationGrid::from_hgt("N44W072.hgt", bad).unwrap_err().kind(), Kind::Malformed);
        }
        // 30,000 m.
        bytes[4] = 0x75;
        assert!(ElevationGrid::from_hgt("N44W072.hgt", &bytes).unwrap_err().to_string().contains("column 2"));
    }
}
