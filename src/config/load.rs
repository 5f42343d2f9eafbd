//! Reading a configuration: every problem is found in one pass, and each names its line.
//!
//! 1. The text becomes a document whose every value knows where it stands.
//! 2. A walk along the JSON Schema of [`Config`] finds unknown and missing keys, wrong types and
//!    numbers out of range. What is wrong is noted and taken out, or replaced by a stand-in where
//!    the key must be there, so that the rest can still be read.
//! 3. serde reads the document; a value that its type refuses (a URL, a name) is noted and taken
//!    out in the same way, and the reading starts over, a bounded number of times.
//! 4. The rules between keys look at the result. A rule that fails on a key with a problem of its
//!    own is not reported: it may only be the stand-in's fault.
//!
//! A syntax error ends it after step 1: what follows one is guesswork.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::{Config, SourceUrl, reference, rules};
use crate::base::{Error, Result};

/// The largest file that is read. A real one has a few kilobytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// No more problems than this are listed; whoever has that many starts with these.
pub const MAX_PROBLEMS: usize = 100;
/// Directory of systemd credentials, expanded in paths.
const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}";

impl Config {
    /// Reads and checks the file at `path`. Relative paths in it are taken from its directory.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(load_str(&read_text(path)?, &path.display().to_string())?)
    }
}

/// Reads the text of a configuration file: at most [`MAX_FILE_BYTES`] of UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    let cannot = |e| {
        Error::config(format!("cannot read the configuration {}", path.display()))
            .with_source(e)
            .remedy("name another file with --config, or start from an example in config/")
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Error::config(format!("{}:{line}: the file is not UTF-8 text from here on", path.display()))
    })
}

/// Reads and checks the text of a configuration. `name` is the file's name in the messages, and
/// relative paths are taken from its directory.
pub fn load_str(text: &str, name: &str) -> Result<Config, Problems> {
    load_with_lines(text, name).map(|(config, _)| config)
}

/// Where the keys of a configuration stand, for problems that show only later: a camera that does
/// not answer is a line of the file, too.
#[derive(Clone, Debug)]
pub struct Lines {
    file: String,
    lines: BTreeMap<String, usize>,
}

impl Lines {
    /// The line of `key`, or of the nearest table around it that the file has; 1 if there is none.
    pub fn line(&self, key: &str) -> usize {
        nearest(&self.lines, key).copied().unwrap_or(1)
    }

    /// A problem with the value of `key`.
    pub fn problem(&self, key: &str, message: impl Into<String>, remedy: Option<&str>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line(key),
            key: key.to_owned(),
            message: one_line(&message.into()),
            remedy: remedy.map(one_line),
        }
    }
}

/// The entry of `key`, or of the nearest table around it that there is.
fn nearest<'m, T>(map: &'m BTreeMap<String, T>, key: &str) -> Option<&'m T> {
    let mut place = key;
    loop {
        match map.get(place) {
            Some(found) => return Some(found),
            None => place = &place[..place.rfind(['.', '['])?],
        }
    }
}

/// As [`load_str`], with the lines of the keys.
pub fn load_with_lines(text: &str, name: &str) -> Result<(Config, Lines), Problems> {
    let mut found = Findings::new(text, name);
    match found.read(text) {
        Some(mut config) if found.list.is_empty() => {
            resolve_paths(&mut config, Path::new(name).parent().unwrap_or(Path::new("")));
            let lines = found.keys.iter().map(|(key, span)| (key.clone(), found.line(span))).collect();
            Ok((config, Lines { file: name.to_owned(), lines }))
        }
        _ => {
            if found.list.is_empty() {
                found.add(0..0, "", "the file cannot be read as a configuration", None);
            }
            match Problems::from_list(found.list) {
                Some(problems) => Err(problems),
                None => unreachable!("a problem was added when there was none"),
            }
        }
    }
}

/// Resolves a path of the configuration: `${CREDENTIALS_DIRECTORY}` at its start becomes the
/// directory of systemd's credentials where there is one, a relative path starts at `dir`.
pub fn resolve_path(path: &Path, dir: &Path) -> PathBuf {
    if let Ok(rest) = path.strip_prefix(CREDENTIALS) {
        return match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(credentials) => Path::new(&credentials).join(rest),
            // `check` may run outside the unit: the name stays as it is written.
            None => path.to_owned(),
        };
    }
    dir.join(path)
}

fn resolve_paths(config: &mut Config, dir: &Path) {
    let resolve = |path: &mut PathBuf| *path = resolve_path(path, dir);
    resolve(&mut config.identity.state_dir);
    resolve(&mut config.models.dir);
    resolve(&mut config.prompts.dir);
    for path in
        [
            &mut config.models.runtime,
            &mut config.verify.calibration,
            &mut config.document.trust,
            &mut config.document.link_key_file,
            &mut config.mqtt.password_file,
            &mut config.mqtt.tls.ca_file,
            &mut config.mqtt.tls.cert_file,
            &mut config.mqtt.tls.key_file,
        ]
        .into_iter()
        .chain(config.broker.as_mut().map(|b| &mut b.password_file))
        .chain(config.cameras.iter_mut().map(|c| &mut c.password_file))
        .chain(config.doors.iter_mut().filter_map(|d| d.actuator.as_mut()).map(|a| &mut a.token_file))
        .chain(config.locks.iter_mut().flat_map(|l| {
            [&mut l.password_file, &mut l.tls.ca_file, &mut l.tls.cert_file, &mut l.tls.key_file]
        }))
        .flatten()
    {
        resolve(path);
    }
    if let Some(tls) = &mut config.desk.tls {
        resolve(&mut tls.cert_file);
        resolve(&mut tls.key_file);
    }
    if let Some(gallery) = &mut config.gallery {
        resolve(&mut gallery.key_file);
    }
    if let Some(search) = &mut config.search {
        search.export_dir.iter_mut().chain(&mut search.telemetry.file).for_each(&resolve);
        search.terrain.folders.iter_mut().for_each(&resolve);
    }
    for camera in &mut config.cameras {
        if let SourceUrl::File(path) | SourceUrl::Tiff(path) = &mut camera.url {
            // A path that is not UTF-8 cannot come out of a UTF-8 file and directory name; if the
            // directory's name is not, the path stays relative.
            if let Some(resolved) = resolve_path(Path::new(path.as_str()), dir).to_str() {
                *path = resolved.to_owned();
            }
        }
    }
}

/// The problems found so far, and where every key stands.
pub(super) struct Findings<'a> {
    name: &'a str,
    line_starts: Vec<usize>,
    keys: BTreeMap<String, Range<usize>>,
    list: Vec<Problem>,
    /// Keys that have a problem, or stand in for one that has.
    tainted: BTreeSet<String>,
}

impl<'a> Findings<'a> {
    fn new(text: &str, name: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, line_starts, keys: BTreeMap::new(), list: Vec::new(), tainted: BTreeSet::new() }
    }

    /// Whether the file itself has this key.
    pub(super) fn given(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Notes that a rule does not hold for `key`. It stands at the key's line, or at the line of
    /// the nearest table around it that the file has. Ignored if the key has a problem already.
    pub(super) fn rule(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if self.tainted.contains(key) {
            return;
        }
        let span = nearest(&self.keys, key).cloned().unwrap_or(0..0);
        self.add(span, key, message, Some(remedy.into()));
    }

    /// Whether nothing was wrong so far with any of these keys: a rule about several keys only
    /// speaks when each of them could be read.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|k| self.tainted.contains(*k))
    }

    fn add(&mut self, at: Range<usize>, key: &str, message: impl Into<String>, remedy: Option<String>) {
        self.tainted.insert(key.to_owned());
        if self.list.len() >= MAX_PROBLEMS {
            return;
        }
        let line = self.line(&at);
        let message = one_line(&message.into());
        let remedy = remedy.map(|r| one_line(&r));
        self.list.push(Problem { file: self.name.to_owned(), line, key: key.to_owned(), message, remedy });
    }

    fn line(&self, at: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= at.start).max(1)
    }

    fn read(&mut self, text: &str) -> Option<Config> {
        if text.len() > MAX_FILE_BYTES {
            self.add(0..0, "", format!("the file is larger than {MAX_FILE_BYTES} bytes"), None);
            return None;
        }
        let (mut document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let end = text.trim_end().len();
            for e in errors {
                let at = e.span().unwrap_or(end..end);
                self.add(at, "", e.message().to_owned(), Some("see https://toml.io for the syntax".into()));
            }
            return None;
        }
        index(document.get_ref(), "", &mut self.keys);
        let span = document.span();
        self.walk_table(document.get_mut(), &span, reference::schema(), "");
        while self.list.len() < MAX_PROBLEMS {
            match Config::deserialize(toml::de::Deserializer::from(document.clone())) {
                Ok(config) => {
                    rules::check(&config, self);
                    return Some(config);
                }
                Err(e) => {
                    let at = e.span().unwrap_or(0..0);
                    let key = self.key_at(&at);
                    self.add(at, &key, e.message().to_owned(), None);
                    if !take_out(document.get_mut(), &key) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// The innermost key whose value covers `at`.
    fn key_at(&self, at: &Range<usize>) -> String {
        self.keys
            .iter()
            .filter(|(key, span)| {
                span.start <= at.start && at.end <= span.end && !self.tainted.contains(*key)
            })
            .min_by_key(|(key, span)| (span.len(), usize::MAX - key.len()))
            .map(|(key, _)| key.clone())
            .unwrap_or_default()
    }

    /// Checks a table against its schema. Afterwards it holds only keys that the schema knows,
    /// with values of the right type, and every key that must be there.
    fn walk_table(&mut self, table: &mut DeTable<'_>, at: &Range<usize>, schema: &Json, path: &str) {
        let empty = serde_json::Map::new();
        let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let mut meant = BTreeSet::new();
        let unknown: Vec<_> =
            table.keys().filter(|k| !known.contains_key(k.get_ref().as_ref())).cloned().collect();
        for key in &unknown {
            let (name, place) = (key.get_ref().as_ref(), join(path, key.get_ref()));
            let remedy = match closest(name, known.keys()) {
                Some(near) => {
                    meant.insert(near.to_owned());
                    format!("did you mean `{near}`?")
                }
                None => match section_of(name) {
                    Some(section) => format!("`{name}` belongs in [{section}]"),
                    None => format!("known here: {}", list(known.keys())),
                },
            };
            self.add(key.span(), &place, "unknown key", Some(remedy));
            table.remove(key);
        }
        let mut wrong = Vec::new();
        for (key, value) in table.iter_mut() {
            let place = join(path, key.get_ref());
            if let Some(schema) = known.get(key.get_ref().as_ref())
                && !self.walk_value(value, schema, &place)
            {
                wrong.push(key.clone());
            }
        }
        for key in &wrong {
            table.remove(key);
        }
        for name in
            schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
        {
            if table.contains_key(name) {
                continue;
            }
            let place = join(path, name);
            if !wrong.iter().any(|k| k.get_ref() == name) && !meant.contains(name) {
                let what = known.get(name).and_then(|s| s.get("description")).and_then(Json::as_str);
                let remedy = format!("add `{name}`: {}", first_sentence(what.unwrap_or("it has no default")));
                self.add(at.clone(), &place, "missing", Some(remedy));
            }
            self.taint_missing(&place, known.get(name));
            if let Some(value) = stand_in(&place) {
                table.insert(Spanned::new(0..0, Cow::Owned(name.to_owned())), value);
            }
        }
    }

    /// A missing table's keys are not to blame for what its stand-in does to a rule.
    fn taint_missing(&mut self, place: &str, schema: Option<&Json>) {
        self.tainted.insert(place.to_owned());
        for name in schema.and_then(|s| s["properties"].as_object()).into_iter().flat_map(|p| p.keys()) {
            self.tainted.insert(join(place, name));
        }
    }

    /// Checks a value against its schema; false if it cannot stay.
    fn walk_value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &Json, path: &str) -> bool {
        let span = value.span();
        let schema = not_null(schema);
        let wanted = wanted_type(schema);
        let is = value.get_ref().type_str();
        let fits = match wanted {
            "number" => matches!(is, "float" | "integer"),
            "object" => is == "table",
            other => is == other,
        };
        if !fits {
            let remedy = match (wanted, is) {
                ("object", _) => format!("write it as a table, [{path}]"),
                ("array", "table") => format!("write [[{path}]], with two brackets"),
                ("array", _) if schema.get("items").is_some_and(|i| wanted_type(i) == "object") => {
                    format!("write it as tables, [[{path}]]")
                }
                ("array", _) => "write it in brackets, [ ]".to_owned(),
                ("string", _) => "put it in quotation marks".to_owned(),
                ("boolean", _) => "write true or false, without quotation marks".to_owned(),
                ("integer", _) => format!("write a whole number{}", range_text(schema)),
                _ => format!("write a number{}", range_text(schema)),
            };
            let (wanted, is) = (article(readable(wanted)), article(readable(is)));
            self.add(span, path, format!("{is} stands here, but this key takes {wanted}"), Some(remedy));
            return false;
        }
        match value.get_mut() {
            DeValue::Table(table) => {
                self.walk_table(table, &span, schema, path);
                true
            }
            DeValue::Array(items) => {
                let most = schema.get("maxItems").and_then(Json::as_u64).unwrap_or(u64::MAX) as usize;
                if items.len() > most {
                    self.add(span, path, format!("{} of them, but {most} is the most", items.len()), None);
                }
                let item_schema = schema.get("items").unwrap_or(&Json::Null);
                let mut sound = true;
                for (n, item) in items.iter_mut().enumerate().take(most) {
                    sound &= self.walk_value(item, item_schema, &format!("{path}[{n}]"));
                }
                sound
            }
            DeValue::String(text) => match choices(schema) {
                Some(choices) if !choices.iter().any(|c| c == text.as_ref()) => {
                    let remedy = match closest(text, choices.iter()) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!(
                            "choose one of {}",
                            choices.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(", ")
                        ),
                    };
                    self.add(span, path, format!("{:?} is not a choice here", shorten(text)), Some(remedy));
                    false
                }
                _ => true,
            },
            DeValue::Integer(n) => {
                let number = i128::from_str_radix(n.as_str(), n.radix()).unwrap_or(i128::MAX) as f64;
                self.in_range(span, path, number, schema)
            }
            DeValue::Float(n) => match n.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => self.in_range(span, path, number, schema),
                _ => {
                    let remedy = format!("write a number{}", range_text(schema));
                    self.add(span, path, "this is not a finite number", Some(remedy));
                    false
                }
            },
            _ => true,
        }
    }

    fn in_range(&mut self, at: Range<usize>, path: &str, number: f64, schema: &Json) -> bool {
        let limit = |name: &str| schema.get(name).and_then(Json::as_f64);
        let inside = limit("minimum").is_none_or(|min| number >= min)
            && limit("maximum").is_none_or(|max| number <= max)
            && limit("multipleOf").is_none_or(|step| number % step == 0.0);
        if !inside {
            let remedy = format!("write a number{}", range_text(schema));
            self.add(at, path, format!("{number} is out of range"), Some(remedy));
        }
        inside
    }
}

/// A value for a key that must be there and is missing or wrong: with it the rest of the file can
/// be read. It never leaves this module, because a file with a problem yields no configuration.
fn stand_in(place: &str) -> Option<Spanned<DeValue<'static>>> {
    let text = |s: &'static str| Spanned::new(0..0, DeValue::String(Cow::Borrowed(s)));
    let table = |of: &[(&'static str, &'static str)]| {
        let entries = of.iter().map(|(k, v)| (Spanned::new(0..0, Cow::Borrowed(*k)), text(v)));
        Spanned::new(0..0, DeValue::Table(entries.collect()))
    };
    let (section, key) = place.rsplit_once('.').unwrap_or(("", place));
    Some(match (section.split('[').next().unwrap_or(""), key) {
        ("", "box") => table(&[("site", "stand-in"), ("name", "stand-in")]),
        ("", "mqtt") => table(&[("url", "mqtt://stand-in")]),
        ("door", "kind") => text("card"),
        ("door", "device") => text("/dev/null"),
        ("box" | "camera" | "door" | "equipment", "site" | "name" | "camera" | "tag") => text("stand-in"),
        ("camera", "url") => text("test:"),
        ("mqtt" | "locks", "url") => text("mqtt://stand-in"),
        ("hub_key", "id") | ("desk.token", "name") => text("stand-in"),
        ("hub_key", "public_key") => text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("hub_key", "valid_until") => text("2000-01-01T00:00:00Z"),
        ("hub_key", "commands") => Spanned::new(0..0, DeValue::Array(DeArray::new())),
        ("desk.token", "role") => text("reader"),
        ("desk.token", "sha256") => text("0000000000000000000000000000000000000000000000000000000000000000"),
        ("desk.tls", "cert_file" | "key_file") => text("stand-in"),
        ("broker", "listen") => text("127.0.0.1:0"),
        _ => return None,
    })
}

/// Takes the value at `key` out of the document, or puts its stand-in there; false if it is not
/// there.
fn take_out(document: &mut DeTable<'_>, key: &str) -> bool {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table = document;
    for step in path.split('.').filter(|s| !s.is_empty()) {
        let (name, index) = match step.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some(value) = table.get_mut(name) else { return false };
        let value = match (value.get_mut(), index) {
            (DeValue::Array(items), Some(n)) => match items.get_mut(n) {
                Some(item) => item.get_mut(),
                None => return false,
            },
            (other, _) => other,
        };
        table = match value {
            DeValue::Table(table) => table,
            _ => return false,
        };
    }
    if table.remove(last).is_none() {
        return false;
    }
    if let Some(value) = stand_in(key) {
        table.insert(Spanned::new(0..0, Cow::Owned(last.to_owned())), value);
    }
    true
}

/// Where every key's line is: keys of values by their value, tables by their header.
fn index(table: &DeTable<'_>, path: &str, keys: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        let place = join(path, key.get_ref());
        // A dotted or repeated header gives a table no span of its own that covers its keys.
        keys.insert(place.clone(), value.span());
        index_value(value.get_ref(), &place, keys);
    }
}

fn index_value(value: &DeValue<'_>, place: &str, keys: &mut BTreeMap<String, Range<usize>>) {
    match value {
        DeValue::Table(table) => index(table, place, keys),
        DeValue::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                let place = format!("{place}[{n}]");
                keys.insert(place.clone(), item.span());
                index_value(item.get_ref(), &place, keys);
            }
        }
        _ => {}
    }
}

fn join(path: &str, key: &str) -> String {
    // A key with odd characters is quoted as TOML would, and cut: it ends up in one line.
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if plain { shorten(key).into_owned() } else { format!("{:?}", shorten(key)) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The alternative that is not null: a key that may be left out has no null in TOML.
pub(super) fn not_null(schema: &Json) -> &Json {
    let alternatives = schema.get("anyOf").and_then(Json::as_array);
    alternatives.and_then(|a| a.iter().find(|s| s["type"] != "null")).unwrap_or(schema)
}

/// The JSON type that the schema asks for; choices are strings.
pub(super) fn wanted_type(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(one)) => one,
        Some(Json::Array(several)) => {
            several.iter().filter_map(Json::as_str).find(|t| *t != "null").unwrap_or("string")
        }
        _ => "string",
    }
}

/// The strings that may stand here, if they are few.
pub(super) fn choices(schema: &Json) -> Option<Vec<String>> {
    let text = |v: &Json| v.as_str().map(str::to_owned);
    if let Some(several) = schema.get("oneOf").and_then(Json::as_array) {
        return several
            .iter()
            .map(|one| match one.get("enum").and_then(Json::as_array) {
                Some(values) => values.iter().map(text).collect::<Option<Vec<_>>>(),
                None => one.get("const").and_then(text).map(|t| vec![t]),
            })
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
    }
    schema.get("enum").and_then(Json::as_array)?.iter().map(text).collect()
}

/// ` from 1 to 5` as far as the schema has limits.
pub(super) fn range_text(schema: &Json) -> String {
    let number = |name: &str| schema.get(name).filter(|v| v.is_number()).map(plain_number);
    let mut out = match (number("minimum"), number("maximum")) {
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
        (Some(min), None) => format!(" of at least {min}"),
        (None, Some(max)) => format!(" of at most {max}"),
        (None, None) => String::new(),
    };
    if let Some(step) = number("multipleOf") {
        out.push_str(&format!(", a multiple of {step}"));
    }
    out
}

fn plain_number(value: &Json) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |n| n.to_string())
}

fn readable(kind: &str) -> &str {
    match kind {
        "object" => "table",
        "number" => "number",
        other => other,
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// The section that has a key of this name, if it is exactly one; a section that stands once goes
/// before lists of tables.
fn section_of(key: &str) -> Option<String> {
    let schema = reference::schema();
    let (mut once, mut lists) = (Vec::new(), Vec::new());
    for (section, content) in schema.get("properties").and_then(Json::as_object)? {
        let content = not_null(content);
        let items = content.get("items");
        if items.unwrap_or(content).get("properties").and_then(|p| p.get(key)).is_some() {
            if items.is_some() { &mut lists } else { &mut once }.push(section.clone());
        }
    }
    let mut found = if once.is_empty() { lists } else { once };
    (found.len() == 1).then(|| found.remove(0))
}

fn closest<'k>(word: &str, known: impl Iterator<Item = &'k String>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    known
        .map(|k| (strsim::jaro_winkler(word, k), k.as_str()))
        .filter(|(likeness, _)| *likeness > 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

fn list<'k>(keys: impl Iterator<Item = &'k String>) -> String {
    keys.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").or_else(|| text.find(".\n")).unwrap_or(text.len());
    one_line(text[..end].trim_end_matches('.'))
}

fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// A message is one line whatever the file contains.
fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
