//! Any bytes are an order for a mission, or an error of one line; an area that is taken is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::search::{MAX_AREA_M2, MAX_CORNERS, MissionOrder, StopOrder};

fuzz_target!(|bytes: &[u8]| {
    match MissionOrder::from_json(bytes) {
        Ok(order) => {
            if let Some(area) = order.area {
                assert!((3..=MAX_CORNERS).contains(&area.corners().len()));
                assert!(area.square_metres() > 0.0 && area.square_metres() <= MAX_AREA_M2);
            }
        }
        Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
    }
    if let Err(e) = StopOrder::from_json(bytes) {
        assert!(!e.to_string().contains('\n'), "{e}");
    }
});
