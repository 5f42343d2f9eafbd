//! Any bytes beside a good chain: it stays what it is, unless a list with the right signature says
//! otherwise.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vigil::document::chip::{ChipFiles, FileId, TrustStore, passive_authentication};
use vigil::event::{ChipChainStatus, ChipRevocation};

const CSCA: &[u8] = include_bytes!("../seeds/certificate/csca-p256");
const SOD: &[u8] = include_bytes!("../seeds/sod/p256");

fuzz_target!(|bytes: &[u8]| {
    static FILES: OnceLock<ChipFiles<'static>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let mut files = ChipFiles::new();
        files.add(FileId::Sod, SOD).unwrap();
        files
    });
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let trust = TrustStore::from_files([("csca.cer", CSCA), ("list.crl", bytes)], now);
    let chain = passive_authentication(files, &trust, now).report.chain;
    match chain.revocation {
        ChipRevocation::Revoked => assert_eq!(chain.status, ChipChainStatus::Revoked),
        _ => assert_eq!(chain.status, ChipChainStatus::Trusted, "{chain:?}"),
    }
});
