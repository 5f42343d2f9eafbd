//! Any bytes are an elevation model whose heights are on Earth, or an error of one line. Memory is held by
//! run.sh's limits.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use vigil::base::Kind;
use vigil::geo::{ElevationGrid, Geoid, LatLon, Terrain};

fuzz_target!(|bytes: &[u8]| {
    match ElevationGrid::from_geotiff(Cursor::new(bytes)) {
        Ok(grid) => {
            let (terrain, geoid) = (Terrain::of(vec![grid]), Geoid::egm96());
            for (lat, lon) in [(30.95, 120.05), (0.0, 0.0), (90.0, 180.0)] {
                if let Some(at) = LatLon::from_degrees(lat, lon)
                    && let Ok(height) = terrain.height(&geoid, at)
                {
                    assert!((-12_200.0..=9_200.0).contains(&height.0));
                }
            }
        }
        Err(e) => {
            assert!(matches!(e.kind(), Kind::Malformed | Kind::TooLarge | Kind::Unsupported), "{e}");
            assert!(!e.to_string().contains('\n'), "{e}");
        }
    }
});
