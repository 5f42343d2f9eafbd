//! Any bytes are a table of people to enrol, or an error that names a line and repeats nothing.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vigil::commands::gallery::people::{Defaults, parse_table};
use vigil::config::{Purpose, Zone};

fuzz_target!(|bytes: &[u8]| {
    let defaults = Defaults {
        purpose: Some(Purpose::Guest),
        basis: "consent:c/1".parse().ok(),
        valid_until: "2026-05-01T00:00:00Z".parse().ok(),
        ..Defaults::default()
    };
    let Ok(zone) = Zone::try_new("UTC") else { return };
    match parse_table(bytes, Path::new("/base"), &defaults, zone.get()) {
        Ok(people) => assert!(!people.is_empty()),
        Err(e) => {
            let text = e.to_string();
            assert!(text.contains("line ") || text.contains("no people"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
});
