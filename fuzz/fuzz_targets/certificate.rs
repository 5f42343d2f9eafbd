//! Any bytes are a certificate or an error that names a byte; its key is looked at too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::document::chip::{CertificateFacts, TrustStore};

fuzz_target!(|bytes: &[u8]| {
    match CertificateFacts::read(bytes) {
        Ok(facts) => {
            assert!(facts.subject.len() < 2_000 && facts.sha256.len() == 64, "{facts:?}");
            assert!(facts.subject.chars().chain(facts.issuer.chars()).all(|c| !c.is_control()), "{facts:?}");
            let now = facts.not_before;
            let store = TrustStore::from_files([("x.cer", bytes)], now);
            let summary = store.summary();
            // A certificate can have the shape of something else, but is never lost.
            let held = summary.anchors + summary.links + summary.signers + summary.revocation_lists;
            assert_eq!(held + summary.skipped_total, 1, "{summary:?}");
        }
        Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
    }
});
