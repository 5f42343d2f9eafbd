//! The first line is a name, the rest a zone: any text is answered, and a zone that was read is the
//! text that was given.
#![no_main]

use jiff::civil::date;
use libfuzzer_sys::fuzz_target;
use vigil::document::mrz::Mrz;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (name, zone) = text.split_once('\n').unwrap_or(("", &text));
    let today = date(2026, 11, 24);
    let mrz = Mrz::read(zone, today);
    assert!(!mrz.checks().is_empty() && mrz.readings().len() <= 8);
    if mrz.kind().is_some() {
        let joined: String = zone.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(mrz.lines().collect::<String>(), joined);
        assert_eq!(mrz.as_str(), joined);
        assert!(mrz.number().len() <= 9 + 15);
    }
    let _ = (mrz.name(), mrz.sex(), mrz.age(today), mrz.issuer(), mrz.nationality(), mrz.code());
    let _ = mrz.name_agrees(name);
});
