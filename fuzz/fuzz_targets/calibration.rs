//! Any text is a calibration whose thresholds are sound, or an error of one line. A stricter rate
//! never has a lower threshold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::config::FalseMatchRate;
use vigil::event::ModelRef;
use vigil::face::Calibration;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let model = ModelRef { name: "m".into(), sha256: "ab".into() };
    let calibration = match Calibration::parse(&text, &model) {
        Ok(calibration) => calibration,
        Err(e) => {
            assert!(!e.to_string().contains('\n'), "{e}");
            return;
        }
    };
    let again = Calibration::parse(&calibration.to_toml().unwrap(), &model).unwrap();
    assert_eq!(again, calibration);
    let mut before = f32::MIN;
    for fmr in [1e-1, 3e-2, 1e-2, 1e-3, 4.7e-4, 1e-4, 1e-5, 1e-6, 1e-7] {
        let Ok(threshold) = calibration.threshold(FalseMatchRate::try_new(fmr).unwrap()) else { continue };
        assert!((-1.0..=1.0).contains(&threshold.score), "{fmr}: {}", threshold.score);
        assert!(threshold.score >= before, "{fmr}: {} after {before}", threshold.score);
        before = threshold.score;
        for score in [-1.0, 0.0, threshold.score, 1.0, f32::NAN] {
            threshold.band(score);
            assert!(!score.is_nan() || !threshold.accepts(score));
        }
    }
});
