//! Any text is answered: a configuration, or problems that each name a line of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Err(problems) = vigil::config::load_str(&text, "fuzz.toml") {
        let lines = text.matches('\n').count() + 1;
        assert!(!problems.list().is_empty());
        for problem in problems.list() {
            assert!((1..=lines).contains(&problem.line), "{problem}");
            assert!(!problem.to_string().contains(char::is_control), "{problem}");
        }
    }
});
