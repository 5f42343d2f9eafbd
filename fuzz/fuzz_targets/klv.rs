//! Any bytes are sets or faults, whole and in pieces alike; what was read is finite, and can be written
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::geo::klv::{Reader, Value};

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Reader::new();
    let found = whole.read(bytes);
    let mut reader = Reader::new();
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let mut pieces: Vec<_> = bytes.chunks(size).flat_map(|piece| reader.push(piece)).collect();
    pieces.extend(reader.finish());
    assert_eq!(pieces, found);
    assert_eq!(reader.strange_bytes(), whole.strange_bytes());
    for found in &found {
        assert!(found.at < bytes.len() as u64);
        let Ok(decoded) = found.set() else { continue };
        let _ = decoded.set.telemetry();
        for (tag, value) in decoded.set.items() {
            if let Value::Number(number) = value {
                assert!(number.is_finite(), "{tag}: {number}");
            }
        }
        decoded.set.encode().unwrap();
    }
});
