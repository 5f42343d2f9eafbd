//! Any payload of `cmd/credential` or `cmd/confirm` is a read, a word, or a refusal for which the
//! requester is to blame; any keys of a reader are reads of a bounded length.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use vigil::base::{Error, Kind};
use vigil::event::topic::valid_correlation;
use vigil::fittings::reader::{Framer, Key, MAX_CHARS};
use vigil::gate::{CredentialRead, StaffWord};

fn refused(e: Error) {
    assert!(matches!(e.kind(), Kind::Usage | Kind::TooLarge), "{e}");
    assert_eq!(e.exit_code(), 64);
    let text = e.chain().to_string();
    assert!(text.len() < 1_000 && !text.contains('\n'), "{text}");
}

fuzz_target!(|bytes: &[u8]| {
    match CredentialRead::from_json(bytes) {
        Ok(read) => {
            assert!(read.correlation.as_deref().is_none_or(valid_correlation));
            assert!(read.value.is_none_or(|v| v.expose().len() <= 128));
        }
        Err(e) => refused(e),
    }
    if let Err(e) = StaffWord::from_json(bytes) {
        refused(e);
    }
    let mut framer = Framer::new(Duration::from_millis(100));
    let mut now = Instant::now();
    for byte in bytes {
        now += Duration::from_millis(u64::from(*byte));
        let key = match byte {
            b'\n' => Key::Enter,
            0 => Key::Clear,
            b => Key::Char(*b as char),
        };
        if let Some(read) = framer.key(now, key) {
            assert!((1..=MAX_CHARS).contains(&read.expose().len()));
        }
    }
});
