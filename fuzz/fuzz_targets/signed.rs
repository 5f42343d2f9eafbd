//! A command's payload: whether it claims to be signed, and what is in the envelope. Nothing that is not
//! signed with the key is taken to be, and what is taken apart is within what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::auth::hub::{correlation_of, public_key};
use vigil::auth::jws::{Sealed, claims_to_be_signed};
use vigil::config::{CommandName, HubKeyConfig, PublicKeyText};
use vigil::event::topic::valid_correlation;

fuzz_target!(|bytes: &[u8]| {
    if let Some(correlation) = correlation_of(bytes) {
        assert!(valid_correlation(&correlation));
    }
    let _ = claims_to_be_signed(bytes);
    let Ok(sealed) = Sealed::parse(bytes) else { return };
    // Nobody has the key of RFC 8037's example, but everybody its public half.
    let key = HubKeyConfig {
        id: "fuzz".to_owned().try_into().unwrap(),
        public_key: PublicKeyText::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap(),
        commands: vec![CommandName::Verify],
        valid_until: "2099-01-01T00:00:00Z".parse().unwrap(),
    };
    let _ = sealed.verified_by(&public_key(&key).unwrap());
    if let Ok(claims) = sealed.claims() {
        assert!(claims.body.len() <= bytes.len() && claims.body.starts_with(b"{"));
        assert!(claims.correlation.is_none_or(|c| valid_correlation(&c)));
        assert!(serde_json::from_slice::<serde_json::Value>(&claims.body).is_ok());
    }
});
