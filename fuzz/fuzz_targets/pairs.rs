//! Any bytes are a list of pairs that names its own files only, or an error that names a line.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vigil::commands::eval::Pairs;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() as u64 + 1;
    match Pairs::parse(bytes, Path::new("/base")) {
        Ok(list) => {
            assert!(!list.pairs.is_empty());
            assert_eq!(list.files.len(), list.lines.len());
            assert!(list.pairs.iter().all(|p| p.a < list.files.len() && p.b < list.files.len()));
            assert!(list.lines.iter().all(|l| (1..=lines).contains(l)), "{:?}", list.lines);
        }
        Err(e) => {
            let text = e.to_string();
            assert!(text.contains("line ") || text.contains("no pairs"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
});
