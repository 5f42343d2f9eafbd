//! Whom to enrol, as a folder or a table says it.
//!
//! A table is CSV with a header. Columns, in any order: `person_ref`, `photo` (several separated by
//! `;`, relative to the table), and as far as the command line does not say it for all: `purpose`,
//! `basis` (`consent:…`, `authority:…`), `valid_until`, `valid_from` (a date, or a time of RFC 3339),
//! `hours` (rules separated by `;`), `language`, `cards` and `distinct_from` (separated by `;`). Errors name
//! the line, counted as an editor counts, and repeat nothing of it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::Purpose;
use crate::event::{
    Basis, CredentialKind, CredentialText, EntryTerms, GalleryPut, Language, PersonRef, PortraitText,
    WeeklyHours,
};

/// Most people in one table.
pub const MAX_PEOPLE: usize = 1_000_000;
/// Largest table.
const MAX_TABLE_BYTES: u64 = 256 << 20;
/// Longest line.
const MAX_LINE: usize = 64 * 1024;
/// The endings of photographs.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "bmp", "jp2", "j2k"];

/// Where a person's photographs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Photos {
    /// In files.
    Files(Vec<PathBuf>),
    /// In the order itself.
    Text(Vec<PortraitText>),
}

/// Somebody to enrol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Where this stands: a file, a line.
    pub place: String,
    /// The terms.
    pub terms: EntryTerms,
    /// The photographs.
    pub photos: Photos,
    /// People who are known to be different ones.
    pub distinct_from: Vec<PersonRef>,
}

impl Person {
    /// Somebody out of a bundle.
    pub fn of_put(place: String, mut put: GalleryPut) -> Self {
        Self {
            place,
            terms: put.terms,
            photos: Photos::Text(std::mem::take(&mut put.photos)),
            distinct_from: put.distinct_from,
        }
    }
}

/// What the command line says for everybody who says nothing else.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The purpose.
    pub purpose: Option<Purpose>,
    /// What allows it.
    pub basis: Option<Basis>,
    /// Until when.
    pub valid_until: Option<Timestamp>,
    /// From when on.
    pub valid_from: Option<Timestamp>,
    /// When in the week.
    pub hours: Option<WeeklyHours>,
    /// The language.
    pub language: Option<Language>,
}

/// A time of RFC 3339, or a date in `zone`: its first moment, or with `end` its last second's end.
pub fn parse_time(text: &str, zone: &TimeZone, end: bool) -> Result<Timestamp> {
    let wrong = || {
        Error::new(Kind::Usage, Culprit::Request, "this is not a time")
            .remedy("write a date such as 2026-12-31, or 2026-12-31T18:00:00+08:00")
    };
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date: Date = text.parse().map_err(|_| wrong())?;
    let day = if end { date.tomorrow().map_err(|_| wrong())? } else { date };
    Ok(day.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp())
}

fn lacking(what: &str) -> Error {
    Error::new(Kind::Usage, Culprit::Request, format!("there is no {what}"))
        .remedy(format!("give --{}, or a column of that name", what.replace('_', "-")))
}

impl Defaults {
    fn terms(&self, person_ref: PersonRef) -> Result<EntryTerms> {
        Ok(EntryTerms {
            person_ref,
            purpose: self.purpose.ok_or_else(|| lacking("purpose"))?,
            basis: self.basis.clone().ok_or_else(|| lacking("basis"))?,
            valid_from: self.valid_from,
            valid_until: self.valid_until.ok_or_else(|| lacking("valid_until"))?,
            hours: self.hours.clone(),
            language: self.language,
            credentials: Vec::new(),
        })
    }
}

/// Everybody in a folder: `REF.jpg`, or a folder `REF/` of photographs.
pub fn read_folder(dir: &Path, defaults: &Defaults) -> Result<Vec<Person>> {
    let cannot = |e| Error::io(Culprit::Request, format!("cannot read {}", dir.display()), e);
    let mut people: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let photos = if path.is_dir() {
            let mut photos = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(cannot)? {
                photos.push(entry.map_err(cannot)?.path());
            }
            photos.retain(|p| is_photo(p));
            photos.sort();
            photos
        } else if is_photo(&path) {
            vec![path.clone()]
        } else {
            continue;
        };
        people.entry(path.with_extension("")).or_default().extend(photos);
        if people.len() > MAX_PEOPLE {
            return Err(Error::new(
                Kind::TooLarge,
                Culprit::Request,
                "there are too many people in one folder",
            ));
        }
    }
    if people.is_empty() {
        return Err(Error::new(Kind::Malformed, Culprit::Request, "has no photographs")
            .remedy("name each file after the person's reference, as in tenant-17.jpg")
            .context(dir.display().to_string()));
    }
    let person = |(path, files): (PathBuf, Vec<PathBuf>)| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let place = files.first().unwrap_or(&path).display().to_string();
        let terms =
            PersonRef::new(name).and_then(|r| defaults.terms(r)).map_err(|e| e.context(place.clone()))?;
        Ok(Person { place, terms, photos: Photos::Files(files), distinct_from: Vec::new() })
    };
    people.into_iter().map(person).collect()
}

fn is_photo(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_ascii_lowercase().to_string_lossy().into_owned());
    path.is_file() && ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// Reads the table at `path`.
pub fn read_table(path: &Path, defaults: &Defaults, zone: &TimeZone) -> Result<Vec<Person>> {
    let at = || path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|e| Error::io(Culprit::Request, "cannot be read", e).context(at()))?;
    parse_table(file, path.parent().unwrap_or(Path::new("")), defaults, zone).map_err(|e| e.context(at()))
}

const COLUMNS: [&str; 10] = [
    "person_ref",
    "photo",
    "purpose",
    "basis",
    "valid_until",
    "valid_from",
    "hours",
    "language",
    "cards",
    "distinct_from",
];

/// Reads a table whose relative paths start at `base`.
pub fn parse_table(
    text: impl Read,
    base: &Path,
    defaults: &Defaults,
    zone: &TimeZone,
) -> Result<Vec<Person>> {
    let malformed = |line: u64, what: &str| {
        Error::new(Kind::Malformed, Culprit::Request, what).context(format!("line {line}"))
    };
    let mut columns: Option<Vec<&str>> = None;
    let mut people = Vec::new();
    let mut bytes = 0;
    let mut record = csv::StringRecord::new();
    // Line by line, so that a line's number is the one that an editor shows.
    for (line, text) in (1..).zip(BufReader::new(text.take(MAX_TABLE_BYTES + 1)).split(b'\n')) {
        let text = text.map_err(|e| Error::io(Culprit::Request, "cannot be read", e))?;
        bytes += text.len() as u64 + 1;
        if bytes > MAX_TABLE_BYTES {
            return Err(Error::new(Kind::TooLarge, Culprit::Request, "the table is too large")
                .context(format!("line {line}"))
                .remedy("make several tables"));
        }
        if text.len() > MAX_LINE {
            return Err(malformed(line, "is too long"));
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .buffer_capacity(text.len().max(1))
            .from_reader(&*text);
        match reader.read_record(&mut record) {
            Ok(true) if record.iter().any(|field| !field.is_empty()) => {}
            Ok(_) => continue,
            Err(e) => return Err(malformed(line, "is not CSV in UTF-8").with_source(e)),
        }
        let Some(columns) = &columns else {
            let mut found = Vec::new();
            for name in record.iter() {
                let name = name.trim_start_matches('\u{feff}');
                let known = COLUMNS.iter().find(|c| **c == name).ok_or_else(|| {
                    malformed(line, "has a column of another name")
                        .remedy(format!("begin with a line of the columns: {}", COLUMNS.join(", ")))
                })?;
                found.push(*known);
            }
            columns = Some(found);
            continue;
        };
        if record.len() > columns.len() {
            return Err(malformed(line, "has more fields than columns"));
        }
        if people.len() >= MAX_PEOPLE {
            return Err(Error::new(
                Kind::TooLarge,
                Culprit::Request,
                "there are too many people in one table",
            ));
        }
        let fields: BTreeMap<&str, &str> =
            columns.iter().copied().zip(record.iter()).filter(|(_, v)| !v.is_empty()).collect();
        people.push(
            person(&fields, line, base, defaults, zone).map_err(|e| e.context(format!("line {line}")))?,
        );
    }
    if people.is_empty() {
        return Err(Error::new(Kind::Malformed, Culprit::Request, "has no people")
            .remedy(format!("write a line of columns ({}) and a line for each person", COLUMNS.join(", "))));
    }
    Ok(people)
}

fn person(
    fields: &BTreeMap<&str, &str>,
    line: u64,
    base: &Path,
    defaults: &Defaults,
    zone: &TimeZone,
) -> Result<Person> {
    let get = |name: &str| fields.get(name).copied();
    let list = |name: &str| {
        get(name).into_iter().flat_map(|v| v.split(';')).map(str::trim).filter(|v| !v.is_empty())
    };
    let field = |name: &'static str| move |e: Error| e.context(name);
    let mut own = defaults.clone();
    if let Some(text) = get("purpose") {
        own.purpose = Some(text.parse().map_err(field("purpose"))?);
    }
    if let Some(text) = get("basis") {
        own.basis = Some(text.parse().map_err(field("basis"))?);
    }
    if let Some(text) = get("valid_until") {
        own.valid_until = Some(parse_time(text, zone, true).map_err(field("valid_until"))?);
    }
    if let Some(text) = get("valid_from") {
        own.valid_from = Some(parse_time(text, zone, false).map_err(field("valid_from"))?);
    }
    if let Some(text) = get("hours") {
        own.hours = Some(text.parse().map_err(field("hours"))?);
    }
    if let Some(text) = get("language") {
        own.language = Some(match text {
            "zh" => Language::Zh,
            "en" => Language::En,
            _ => {
                return Err(Error::new(Kind::Usage, Culprit::Request, "this is not a language")
                    .remedy("write zh or en")
                    .context("language"));
            }
        });
    }
    let reference = get("person_ref").ok_or_else(|| lacking("person_ref"))?;
    let mut terms = own.terms(PersonRef::new(reference).map_err(field("person_ref"))?)?;
    terms.credentials =
        list("cards").map(|v| CredentialText { kind: CredentialKind::Card, value: v.to_owned() }).collect();
    let photos: Vec<_> = list("photo").map(|p| base.join(p)).collect();
    let distinct_from =
        list("distinct_from").map(PersonRef::new).collect::<Result<_>>().map_err(field("distinct_from"))?;
    Ok(Person { place: format!("line {line}"), terms, photos: Photos::Files(photos), distinct_from })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Person>> {
        let defaults = Defaults {
            purpose: Some(Purpose::Guest),
            basis: Some("consent:c/1".parse().unwrap()),
            valid_until: Some("2026-05-01T00:00:00Z".parse().unwrap()),
            ..Defaults::default()
        };
        parse_table(text.as_bytes(), Path::new("/base"), &defaults, &TimeZone::get("Asia/Shanghai").unwrap())
    }

    #[test]
    fn a_table_says_what_differs_and_the_command_line_the_rest() {
        let people = read(
            "\u{feff}person_ref,photo,purpose,valid_until,cards,hours\r\n\
             t-1,a.jpg;b.jpg,tenant,2026-04-30,04A1;04A2,mon-fri 07:00-19:00; sat 08:00-12:00\r\n\r\n\
             g-2,/abs/c.jpg\r\n",
        )
        .unwrap();
        assert_eq!(people.len(), 2);
        assert_eq!(people[0].photos, Photos::Files(vec!["/base/a.jpg".into(), "/base/b.jpg".into()]));
        assert_eq!(people[0].terms.purpose, Purpose::Tenant);
        assert_eq!(
            people[0].terms.valid_until.to_string(),
            "2026-04-30T16:00:00Z",
            "the day's end in the zone"
        );
        assert_eq!(people[0].terms.credentials.len(), 2);
        assert!(people[0].terms.hours.is_some());
        assert_eq!((people[1].terms.purpose, people[1].place.as_str()), (Purpose::Guest, "line 4"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_not_repeated() {
        for (text, says) in [
            ("", "no people"),
            ("person_ref,photo\n", "no people"),
            ("name,photo\nx,y\n", "line 1: has a column of another name"),
            ("person_ref,photo\nZhang San,a.jpg\n", "line 2: person_ref: this is not a person_ref"),
            ("person_ref,purpose\na,friend\n", "line 2: purpose"),
            ("person_ref,valid_until\na,soon\n", "line 2: valid_until: this is not a time"),
            ("photo\na.jpg\n", "line 2: there is no person_ref"),
            ("person_ref\na,b\n", "line 2: has more fields"),
        ] {
            let e = read(text).unwrap_err().to_string();
            assert!(e.contains(says) && !e.contains("Zhang"), "{text:?}: {e}");
        }
    }
}
