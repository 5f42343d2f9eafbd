//! The first line is a file's name, the rest its bytes, repeated to the size of a tile when they begin
//! with `R`: any are a tile whose heights are on Earth, or an error of one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::base::Kind;
use vigil::geo::ElevationGrid;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]);
    let rest = bytes.get(end + 1..).unwrap_or_default();
    let tile: Vec<u8> = match rest.split_first() {
        Some((b'R', unit)) if !unit.is_empty() => {
            unit.iter().copied().cycle().take(1201 * 1201 * 2).collect()
        }
        _ => rest.to_vec(),
    };
    if let Err(e) = ElevationGrid::from_hgt(&name, &tile) {
        assert_eq!(e.kind(), Kind::Malformed, "{e}");
        assert!(!e.to_string().contains('\n'), "{e}");
    }
});
