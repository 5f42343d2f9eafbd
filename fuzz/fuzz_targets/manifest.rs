//! Any text is a manifest or an error of one line, and what a manifest names can be asked for.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vigil::face::Calibration;
use vigil::infer::{Manifest, Slot};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match Manifest::parse(&text, Path::new("/nowhere")) {
        Ok(manifest) => {
            for slot in [Slot::FaceDetection, Slot::FaceEmbedding] {
                if let Ok(entry) = manifest.model(slot) {
                    let _ = (entry.model_ref(), Calibration::of_model(entry));
                }
            }
        }
        Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
    }
});
