//! Any bytes are grey pictures within the limits, or an error of one line; memory is held by run.sh's
//! limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::capture::TiffPages;

fuzz_target!(|bytes: &[u8]| {
    // A small file may claim a picture of the largest size that is allowed; not hundreds of them.
    let Ok(pages) = TiffPages::new(bytes.to_vec()) else { return };
    for page in pages.take(4) {
        match page {
            Ok(samples) => assert_eq!(samples.data().len(), (samples.width() * samples.height()) as usize),
            Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
        }
    }
});
