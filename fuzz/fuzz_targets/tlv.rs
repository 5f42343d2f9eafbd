//! Any bytes are elements or an error that names a byte, and every element lies within its parent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vigil::document::tlv::{Reader, Tlv};

fn open(element: Tlv<'_>, left: &mut usize) {
    let _ = (element.unsigned(), element.small(), element.boolean(), element.octets());
    let _ = (element.bits(), element.time(), element.text(64), element.oid().map(|o| o.to_string()));
    let Ok(children) = element.children() else { return };
    for child in children {
        *left = left.saturating_sub(1);
        let (Ok(child), true) = (child, *left > 0) else { return };
        let end = child.at() + child.raw().len();
        assert!(child.at() >= element.body_at() && end <= element.body_at() + element.body().len());
        open(child, left);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut left = 50_000;
    for element in Reader::new(bytes) {
        match element {
            Ok(element) => open(element, &mut left),
            Err(e) => assert!(e.to_string().contains("at byte ") && !e.to_string().contains('\n'), "{e}"),
        }
    }
});
