//! Any bytes are subtitles or an error that names a line, and a subtitle's place is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::config::{TelemetryConfig, TelemetryKind};
use vigil::geo::dji::SrtReader;

fuzz_target!(|bytes: &[u8]| {
    let config = TelemetryConfig::new(TelemetryKind::DjiSrt);
    let mut last = None;
    let mut cues = 0usize;
    for cue in SrtReader::new(bytes, &config) {
        cues += 1;
        match cue {
            Ok(cue) => {
                assert!(last.is_none_or(|last| cue.start >= last));
                last = Some(cue.start);
                if let Some(at) = cue.telemetry.position {
                    assert!(at.lat().degrees().abs() <= 90.0 && at.lon().degrees().abs() <= 180.0);
                }
            }
            Err(e) => assert!(!e.to_string().contains('\n')),
        }
    }
    assert!(cues <= bytes.len() + 1);
});
