//! Any bytes are a security object of a report, and prove nothing to a store that trusts somebody
//! else.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vigil::document::chip::{ChipFiles, FileId, TrustStore, passive_authentication};

const CSCA: &[u8] = include_bytes!("../seeds/certificate/csca-explicit");
const COM: &[u8] = include_bytes!("../seeds/tlv/com");

fuzz_target!(|bytes: &[u8]| {
    static TRUST: OnceLock<TrustStore> = OnceLock::new();
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let trust = TRUST.get_or_init(|| TrustStore::from_files([("csca.cer", CSCA)], now));
    let mut files = ChipFiles::new();
    if files.add(FileId::Sod, bytes).is_err() {
        return;
    }
    files.add(FileId::Com, COM).unwrap();
    files.add(FileId::DataGroup(1), b"\x61\x02\x5f\x00").unwrap();
    let found = passive_authentication(&files, trust, now);
    assert!(!found.report.authentic());
    let report = serde_json::to_string(&found.report).unwrap();
    assert!(report.len() < 4_000, "{report}");
});
