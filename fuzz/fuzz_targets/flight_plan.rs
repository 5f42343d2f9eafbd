//! Any text is a plan that a flight can be made of, or an error of one line. A plan survives being
//! written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::sim::{FaultPlan, FlightPlan};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match FlightPlan::parse(&text) {
        Ok(plan) => {
            let again = FlightPlan::parse(&plan.to_toml().unwrap()).unwrap();
            assert_eq!(again, plan);
            assert!(plan.frames() <= 86_400 * 60);
        }
        Err(e) => assert!(!e.to_string().contains('\n'), "{e}"),
    }
    if let Ok(fault) = text.parse::<FaultPlan>() {
        assert_eq!(fault.to_string().parse::<FaultPlan>().unwrap(), fault);
    }
});
