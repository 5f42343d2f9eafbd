//! Any bytes are a zone out of DG1, or an error of one line that says at which byte.
#![no_main]

use jiff::civil::date;
use libfuzzer_sys::fuzz_target;
use vigil::document::{lds, mrz::Mrz};

fuzz_target!(|bytes: &[u8]| {
    match lds::dg1_mrz(bytes) {
        Ok(zone) => drop(Mrz::read(zone, date(2026, 11, 24))),
        Err(e) => assert!(!e.to_string().contains('\n') && e.exit_code() == 65, "{e}"),
    }
});
