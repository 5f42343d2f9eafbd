//! Any bytes are an order about the gallery, a key file or a rule of hours, or are refused; what is
//! read says the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::event::{GalleryList, GalleryPut, GalleryRevoke, WeeklyHours};
use vigil::gallery::MasterKey;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(put) = serde_json::from_slice::<GalleryPut>(bytes) {
        let again = serde_json::to_vec(&put).unwrap();
        assert!(serde_json::from_slice::<GalleryPut>(&again).unwrap() == put);
    }
    let _ = serde_json::from_slice::<GalleryRevoke>(bytes);
    let _ = serde_json::from_slice::<GalleryList>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = MasterKey::parse(text);
        if let Ok(hours) = text.parse::<WeeklyHours>() {
            assert_eq!(WeeklyHours::parse(&Vec::from(hours.clone())).unwrap(), hours);
        }
    }
});
