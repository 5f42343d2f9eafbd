//! Any bytes in any pieces are messages or are counted, and no angle is anything but a number.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use vigil::geo::mavlink::{Decoder, Said};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new(Some(1));
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    for piece in bytes.chunks(size) {
        for said in decoder.push(piece, Timestamp::UNIX_EPOCH) {
            let Said::Telemetry(telemetry) = said else { continue };
            if let Some(a) = telemetry.platform {
                assert!([a.yaw, a.pitch, a.roll].iter().all(|angle| angle.degrees().is_finite()));
            }
        }
    }
    let counts = decoder.counts();
    assert!(counts.strange_bytes <= bytes.len() as u64);
});
