//! The pages under `docs/` say what the program says: every quoted log line occurs in the source,
//! every metric and subcommand has its entry, and links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn files(dir: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, into);
        } else if path.to_string_lossy().ends_with(ending) {
            into.push(path);
        }
    }
}

/// The code span that a line begins with, after `prefix`.
fn quoted<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix)?.strip_prefix('`')?.split_once('`').map(|(inside, _)| inside)
}

#[test]
fn every_line_quoted_in_troubleshooting_is_in_the_source() {
    let mut sources = Vec::new();
    files(&root().join("src"), ".rs", &mut sources);
    let source: String = sources.iter().map(read).collect();
    let page = read("docs/troubleshooting.md");
    let fragments: Vec<_> = page.lines().filter_map(|l| quoted(l, "### ")).collect();
    assert!(fragments.len() > 60, "{} quoted lines: is the page still keyed by them?", fragments.len());
    let gone: Vec<_> = fragments.iter().filter(|f| !source.contains(**f)).collect();
    assert!(gone.is_empty(), "docs/troubleshooting.md quotes what the program no longer says: {gone:#?}");
    let once: BTreeSet<_> = fragments.iter().collect();
    assert_eq!(once.len(), fragments.len(), "a line is quoted twice");
}

/// The metrics that `src/desk/metrics.rs` registers, as a scrape names them.
fn metrics_in_source() -> BTreeSet<String> {
    let source = read("src/desk/metrics.rs");
    let mut names = BTreeSet::new();
    // Each call, up to where the next one begins; its first text is the name.
    for (call, counter) in
        [("gauge(", false), ("counter(", true), ("register(", true), ("_with_unit(", false)]
    {
        for (at, _) in source.match_indices(call) {
            let rest = &source[at + call.len()..];
            let end = rest.find(";\n").unwrap_or(rest.len());
            let call = &rest[..end];
            // The helpers' own definitions have parameters, not a name.
            let Some(name) = call.split('"').nth(1).filter(|_| !call.trim_start().starts_with("out: "))
            else {
                continue;
            };
            let unit = ["Seconds", "Bytes"].into_iter().find(|u| call.contains(&format!("Unit::{u}")));
            let unit = unit.map(|u| format!("_{}", u.to_lowercase())).unwrap_or_default();
            names.insert(format!("vigil_{name}{unit}{}", if counter { "_total" } else { "" }));
        }
    }
    names
}

#[test]
fn the_metrics_page_lists_the_metrics_that_exist() {
    let page = read("docs/reference/metrics.md");
    let rows = page.lines().filter_map(|l| Some((name_only(quoted(l, "| ")?), l)));
    let (listed, used): (Vec<_>, Vec<_>) =
        rows.filter(|(name, _)| name.starts_with("vigil_")).partition(|(_, line)| {
            matches!(line.split('|').nth(2).map(str::trim), Some("gauge" | "counter" | "histogram"))
        });
    let listed: BTreeSet<_> = listed.into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, metrics_in_source(), "left: docs/reference/metrics.md, right: src/desk/metrics.rs");
    for (name, line) in used {
        assert!(listed.contains(&name), "{line}");
    }
}

/// An expression of the alert table begins with a name too.
fn name_only(text: &str) -> String {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or(text).to_owned()
}

#[test]
fn every_subcommand_has_its_section_and_its_exit_codes() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_vigil")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let list = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: BTreeSet<_> = list
        .lines()
        .filter_map(|l| l.strip_prefix("  ").filter(|l| !l.starts_with(' ')))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|n| *n != "help")
        .collect();
    assert!(names.contains("run"), "{help}");
    let page = read("docs/reference/cli.md");
    let sections: BTreeSet<_> = page.lines().filter_map(|l| l.strip_prefix("## vigil ")).collect();
    assert_eq!(sections, names, "left: docs/reference/cli.md, right: vigil --help");

    let codes = read("src/base/error.rs");
    let codes = codes.split("pub fn exit_code").nth(1).unwrap().split("}\n    }").next().unwrap();
    for code in codes.split("=> ").skip(1).filter_map(|c| c.split(',').next()) {
        assert!(
            page.contains(&format!("| {code} |")),
            "exit code {code} has no row in docs/reference/cli.md"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    let mut pages = vec![root().join("README.md")];
    files(&root().join("docs"), ".md", &mut pages);
    for page in pages {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(l, _)| l)) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let found =
                    read(&target).lines().filter(|l| l.starts_with('#')).any(|l| anchor_of(l) == anchor);
                assert!(found, "{}: no heading for {link}", page.display());
            }
        }
    }
}

/// The anchor that forges make of a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
