//! Any bytes are a portrait out of DG2 that lies within them, or an error of one line. The process
//! survives a decoder's panic; memory is held by run.sh's limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::document::portrait;

fuzz_target!(
    init: {
        // libFuzzer aborts in the hook; the decoder's panics are caught behind it. One that is not
        // caught still ends the run, with its message.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or("", |l| l.file());
            if place.contains("fuzz_targets") || place.contains("document/") {
                eprintln!("{panic}");
            }
        }));
    },
    |bytes: &[u8]| {
        match portrait::find(bytes) {
            Ok(portrait) => {
                assert!(portrait.image.len() < bytes.len());
                let _ = portrait.decode();
            }
            Err(e) => assert!(!e.to_string().contains('\n') && e.exit_code() == 65, "{e}"),
        }
    }
);
