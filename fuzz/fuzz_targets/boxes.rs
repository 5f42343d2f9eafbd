//! Any bytes are a list of boxes, or an error that names a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::commands::eval::Boxes;

fuzz_target!(|bytes: &[u8]| {
    match Boxes::parse(bytes) {
        Ok(list) => {
            let truths = list.truths();
            let sound = |v: f32| v.is_finite();
            assert!(truths.clone().count() > 0);
            for truth in truths {
                let b = truth.bbox;
                assert!(sound(b.x) && sound(b.y) && b.width > 0.0 && b.height > 0.0, "{truth:?}");
            }
        }
        Err(e) => {
            let text = e.to_string();
            assert!(text.contains("line ") || text.contains("no boxes"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
});
