//! Who may know whom: a room imports only from rooms above it in the order in which data walks,
//! and each foreign library has one home.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms, in order. `base` comes first: everybody may import it, and it imports nobody.
const ROOMS: [&str; 19] = [
    "base", "config", "event", "auth", "capture", "infer", "face", "thermal", "geo", "sim", "document",
    "gallery", "gate", "search", "outbox", "bus", "fittings", "desk", "commands",
];

/// A library and the rooms that may name it.
const HOMES: [(&str, &[&str]); 23] = [
    ("gstreamer", &["capture", "sim", "fittings"]),
    ("gstreamer_app", &["capture", "sim"]),
    ("gstreamer_video", &["capture"]),
    ("ort", &["infer"]),
    ("rumqttc", &["bus"]),
    ("rumqttd", &["bus"]),
    ("rusqlite", &["gallery", "gate", "outbox"]),
    ("argon2", &["gallery"]),
    ("chacha20poly1305", &["gallery"]),
    ("hkdf", &["gallery"]),
    ("hmac", &["auth", "document", "gallery"]),
    ("region", &["gallery"]),
    ("x25519_dalek", &["gallery"]),
    ("axum", &["desk"]),
    ("ed25519_dalek", &["auth"]),
    ("subtle", &["auth"]),
    ("tokio_rustls", &["desk"]),
    ("openssl", &["document"]),
    ("evdev", &["fittings"]),
    ("egm96", &["geo"]),
    ("tiff", &["capture", "geo"]),
    ("quick_xml", &["search"]),
    ("mavlink", &["geo"]),
];

/// What stands in the source besides comments and the content of strings, as words and single
/// signs.
fn words(source: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let bytes = source.as_bytes();
    let mut i = 0;
    let rest = |i: usize| &source[i..];
    while i < bytes.len() {
        let c = bytes[i];
        if c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80 {
            word.push(c as char);
            i += 1;
            continue;
        }
        let raw = matches!(word.as_str(), "r" | "br" | "cr") && matches!(c, b'"' | b'#');
        if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        match c {
            b'/' if rest(i).starts_with("//") => i += rest(i).find('\n').unwrap_or(rest(i).len()),
            b'/' if rest(i).starts_with("/*") => {
                let mut depth = 1;
                i += 2;
                while i < bytes.len() && depth > 0 {
                    match (bytes[i], bytes.get(i + 1)) {
                        (b'/', Some(b'*')) => (depth, i) = (depth + 1, i + 2),
                        (b'*', Some(b'/')) => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                }
            }
            _ if raw && bytes[i..].iter().find(|b| **b != b'#') == Some(&b'"') => {
                let hashes = bytes[i..].iter().take_while(|b| **b == b'#').count();
                let end = format!("\"{}", "#".repeat(hashes));
                i += hashes + 1;
                i += bytes[i..]
                    .windows(end.len())
                    .position(|w| w == end.as_bytes())
                    .unwrap_or(bytes.len() - i);
                i = (i + end.len()).min(bytes.len());
            }
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
            }
            // A character, as opposed to a lifetime.
            b'\'' if bytes.get(i + 1) == Some(&b'\\') => {
                i += 3;
                while i < bytes.len() && bytes[i] != b'\'' {
                    i += 1;
                }
                i += 1;
            }
            b'\'' if bytes.get(i + 2) == Some(&b'\'') => i += 3,
            _ => {
                if !c.is_ascii_whitespace() {
                    out.push((c as char).to_string());
                }
                i += 1;
            }
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// The names that follow `::` at `at`, a group in braces opened: `::{a, b::c}` gives a and b.
fn heads(words: &[String], at: usize) -> Vec<String> {
    let Some([a, b, next]) = words.get(at..at + 3) else { return Vec::new() };
    if a != ":" || b != ":" {
        return Vec::new();
    }
    if next != "{" {
        return vec![next.clone()];
    }
    let (mut out, mut depth, mut expected) = (Vec::new(), 0, false);
    for word in &words[at + 2..] {
        match word.as_str() {
            "{" => {
                depth += 1;
                expected = depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            "," => expected = depth == 1,
            name if expected => {
                out.push(name.to_owned());
                expected = false;
            }
            _ => {}
        }
    }
    out
}

/// What is wrong with the imports of one file. `path` is the file's below `src`.
fn faults(path: &str, source: &str) -> Vec<String> {
    let mut steps: Vec<_> = path.trim_end_matches(".rs").split('/').collect();
    if steps.last() == Some(&"mod") {
        steps.pop();
    }
    let room = steps[0];
    let Some(rank) = ROOMS.iter().position(|r| *r == room) else {
        return vec![format!("{path}: `{room}` is not a room: give it a place in the order")];
    };
    let words = words(source);
    let mut out = BTreeSet::new();
    // Modules written out within the file, with the depth of braces at which each ends.
    let (mut inner, mut depth) = (Vec::new(), 0);
    let mut i = 0;
    while i < words.len() {
        match words[i].as_str() {
            "{" => {
                if i >= 2 && words[i - 2] == "mod" {
                    inner.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                }
            }
            "crate" => {
                // `pub(crate)` is no import.
                for name in heads(&words, i + 1) {
                    if name == "self" || name == "*" {
                        out.insert(format!("{path}: imports the crate's root, so nobody sees which room"));
                    }
                    match ROOMS.iter().position(|r| *r == name) {
                        Some(other) if other > rank => {
                            out.insert(format!("{path}: `{room}` imports `{name}`, which comes after it"));
                        }
                        Some(0) | None => {}
                        Some(_) if room == "base" => {
                            out.insert(format!("{path}: `base` imports `{name}`"));
                        }
                        Some(_) => {}
                    }
                }
            }
            "super" if i == 0 || words[i - 1] != ":" => {
                let mut ups = 0;
                let mut at = i;
                while words.get(at).is_some_and(|w| w == "super") {
                    ups += 1;
                    at += 3;
                }
                if ups > steps.len() - 1 + inner.len() {
                    out.insert(format!(
                        "{path}: leaves the room by `super`; write `crate::` and the room's name"
                    ));
                }
            }
            name => {
                // `gstreamer::…`, `use gstreamer as gst`, `extern crate gstreamer`, but not
                // `config.gstreamer` nor `crate::x::ort`.
                let library = HOMES.iter().find(|(library, _)| *library == name);
                let before = |n: usize| i.checked_sub(n).map_or("", |at| words[at].as_str());
                let path_head =
                    !(before(1) == ":" && before(2) == ":" || matches!(before(1), "." | "fn" | "mod"));
                let used = words.get(i + 1).is_some_and(|w| w == ":")
                    && words.get(i + 2).is_some_and(|w| w == ":")
                    || i > 0 && matches!(words[i - 1].as_str(), "use" | "crate");
                if let Some((library, homes)) = library
                    && path_head
                    && used
                    && !homes.contains(&room)
                {
                    out.insert(format!(
                        "{path}: `{room}` uses {library}, whose home is {}",
                        homes.join(", ")
                    ));
                }
            }
        }
        i += 1;
    }
    out.into_iter().collect()
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn no_arrow_runs_the_wrong_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    assert!(all.len() > 30, "{} files found: the test looks past them", all.len());
    let mut found = Vec::new();
    for file in all {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        if path != "lib.rs" && path != "main.rs" {
            found.extend(faults(&path, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// `src/lib.rs` lists the rooms in the order that this test holds.
#[test]
fn the_house_lists_its_rooms_in_order() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed: Vec<_> = lib
        .lines()
        .filter_map(|l| l.trim().trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(listed, ROOMS);
}

#[test]
fn the_test_can_fail() {
    for (path, source, says) in [
        ("event/a.rs", "use crate::bus::Bus;", "`event` imports `bus`"),
        ("gate/mod.rs", "use crate::{base::Name, outbox::Outbox};", "`gate` imports `outbox`"),
        ("gate/mod.rs", "use crate::{\n    face::{Face, Quality},\n    desk,\n};", "`gate` imports `desk`"),
        ("infer/x.rs", "fn f() { crate::commands::run() }", "`infer` imports `commands`"),
        ("base/x.rs", "use crate::config::Config;", "`base` imports `config`"),
        ("config/camera.rs", "use super::super::bus::Bus;", "leaves the room by `super`"),
        ("config/mod.rs", "use super::event;", "leaves the room by `super`"),
        ("capture/a/b.rs", "use super::super::super::bus;", "leaves the room by `super`"),
        ("config/units.rs", "mod t { use super::super::super::bus; }", "leaves the room by `super`"),
        ("event/a.rs", "use crate::*;", "the crate's root"),
        ("gate/a.rs", "use crate::{self as house};", "the crate's root"),
        ("gate/a.rs", "use gstreamer as gst;", "`gate` uses gstreamer"),
        ("commands/check.rs", "use gstreamer as gst;", "`commands` uses gstreamer"),
        ("face/a.rs", "let s: ort::session::Session;", "`face` uses ort"),
        ("desk/a.rs", "let q = rumqttc::v5::Client::new();", "`desk` uses rumqttc"),
        ("bus/a.rs", "use rusqlite::Connection;", "`bus` uses rusqlite"),
        ("commands/a.rs", "use {rumqttd::Broker};", "`commands` uses rumqttd"),
        ("attic/mod.rs", "", "not a room"),
        ("event/a.rs", "let c = '\"'; use crate::bus::Bus; let d = '\"';", "`event` imports `bus`"),
        ("event/a.rs", "let c = r#\"\"\"#; use crate::bus::Bus;", "`event` imports `bus`"),
    ] {
        let found = faults(path, source);
        assert!(found.len() == 1 && found[0].contains(says), "{path}: {source}\n{found:?}");
    }
    for (path, source) in [
        ("gate/a.rs", "use crate::face::Face; use crate::base::Name; pub(crate) fn f() {}"),
        ("gate/a.rs", "// use crate::bus::Bus;\n/* crate::bus */ const A: &str = \"crate::bus\";"),
        (
            "gate/a.rs",
            "const A: &str = r#\"crate::bus \" crate::bus\"#; let l: &'static str = \"\\\"crate::bus\";",
        ),
        ("config/camera.rs", "use super::units::Millis; mod tests { use super::super::units; }"),
        ("config/units.rs", "mod tests { use super::*; }"),
        ("infer/a.rs", "use ort::session::Session;"),
        ("commands/demo.rs", "use crate::desk::Desk;"),
        ("capture/a.rs", "use gstreamer as gst;"),
        ("bus/a.rs", "let x = self.gstreamer; crate::event::Envelope::gstreamer();"),
    ] {
        assert!(faults(path, source).is_empty(), "{path}: {source}\n{:?}", faults(path, source));
    }
}
