//! Any bytes are a picture within the limits, or an error of one line. The process survives a
//! decoder's panic; memory is held by run.sh's limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::base::Kind;
use vigil::capture::still::{Limits, decode};

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_pixels: 250_000 };

fuzz_target!(
    init: {
        // libFuzzer aborts in the hook; the decoder's panics are caught behind it. One that is not
        // caught still ends the run, with its message.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or("", |l| l.file());
            if place.contains("fuzz_targets") || place.contains("capture/still.rs") {
                eprintln!("{panic}");
            }
        }));
    },
    |bytes: &[u8]| {
        match decode(bytes, &LIMITS) {
            Ok(image) => {
                assert!(u64::from(image.width()) * u64::from(image.height()) <= LIMITS.max_pixels);
                assert_eq!(image.data().len(), image.width() as usize * image.height() as usize * 3);
            }
            Err(e) => {
                assert!(matches!(e.kind(), Kind::Malformed | Kind::TooLarge | Kind::Unsupported), "{e}");
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
    }
);
