//! Any text is a number with four answered checks, and a period or none.
#![no_main]

use jiff::civil::date;
use libfuzzer_sys::fuzz_target;
use vigil::document::resident::{Number, Period};
use vigil::event::CheckStatus;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let today = date(2026, 11, 24);
    let number = Number::read(&text, today);
    assert_eq!(number.checks().len(), 4);
    assert!(number.checks().iter().all(|c| (c.status == CheckStatus::Pass) == c.reason.is_none()));
    assert!(number.birth_date().is_none_or(|b| b <= today));
    assert_eq!(number.birth_date().is_some(), number.age(today).is_some());
    let _ = (number.sex(), number.region());
    // A number of the old form becomes one of the new form that passes as far as it did.
    let long = number.to_18();
    if long.len() != number.as_str().len() {
        let again = Number::read(&long, today);
        assert_eq!(again.checks()[3].status, CheckStatus::Pass);
        assert_eq!(again.birth_date(), number.birth_date());
    }
    if let Some(period) = Period::read_line(&text) {
        assert!(!period.checks(number.kind(), number.birth_date(), today).is_empty());
    }
});
