//! Any JSON is a document that can be looked at, chip and all, or a refusal; a report never has a
//! check that says nothing, and passes only by its rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::config::DocumentConfig;
use vigil::document::chip::TrustStore;
use vigil::document::{DocumentRequest, Inspector, Portraits};
use vigil::event::{CheckStatus, DocumentCommand};

fuzz_target!(|bytes: &[u8]| {
    let Ok(command) = serde_json::from_slice::<DocumentCommand>(bytes) else { return };
    let request = match DocumentRequest::from_command(command) {
        Ok(request) => request,
        Err(e) => {
            assert!(!e.to_string().contains('\n') && e.exit_code() != 70, "{e}");
            return;
        }
    };
    let config = DocumentConfig { accept_reader: true, ..DocumentConfig::default() };
    let inspector = Inspector::new(config, TrustStore::empty());
    let found = inspector.inspect(&request, Portraits::LeaveClosed, "2026-06-01T12:00:00Z".parse().unwrap());
    let report = &found.report;
    assert!(report.checks.iter().all(|c| (c.status == CheckStatus::Pass) == c.reason.is_none()));
    assert!(report.disclosed.is_none() && report.link.is_none());
    let failed = report.checks.iter().any(|c| c.status == CheckStatus::Fail);
    assert_eq!(failed, report.status == CheckStatus::Fail);
    assert_eq!(found.reason.is_none(), report.status == CheckStatus::Pass);
});
