//! Any bytes are a bundle for this box, or an error of one line; nothing is taken for genuine that is
//! not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::gallery::bundle::read_for_fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Err(e) = read_for_fuzzing(bytes) {
        assert!(!e.to_string().contains('\n'), "{e}");
    }
});
