//! Any bytes in a trust store are taken in or named, a master list's certificates one by one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::document::chip::{MasterListSigner, TrustStore};

fuzz_target!(|bytes: &[u8]| {
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let store = TrustStore::from_files([("list.ml", bytes)], now);
    let summary = store.summary();
    assert!(summary.skipped.len() <= summary.skipped_total);
    for list in &summary.master_lists {
        // Nothing vouches for it: there is nothing else in the store.
        assert_ne!(list.signer, MasterListSigner::Trusted);
    }
    for skipped in &summary.skipped {
        assert!(!skipped.why.contains('\n') && skipped.why.len() < 1_000, "{skipped:?}");
    }
});
