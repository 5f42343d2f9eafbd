//! Any payload of `cmd/verify` is a request or a refusal for which the requester is to blame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::base::Kind;
use vigil::event::topic::valid_correlation;
use vigil::gate::VerifyRequest;

fuzz_target!(|bytes: &[u8]| {
    match VerifyRequest::from_json(bytes) {
        Ok(request) => {
            assert!(request.correlation.as_deref().is_none_or(valid_correlation));
            assert!(request.portrait.is_none_or(|p| p.bytes().len() <= bytes.len()));
        }
        Err(e) => {
            assert!(matches!(e.kind(), Kind::Usage | Kind::TooLarge), "{e}");
            assert_eq!(e.exit_code(), 64);
            let text = e.chain().to_string();
            assert!(text.len() < 1_000 && !text.contains('\n'), "{text}");
        }
    }
});
