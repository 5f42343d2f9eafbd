//! The machine-readable zone (ICAO Doc 9303, eighth edition, parts 3 to 7).
//!
//! | format | lines | part |
//! |---|---|---|
//! | TD1 | 3 × 30 | 5, 4.2 |
//! | TD2 | 2 × 36 | 6, 4.2 |
//! | TD3, passports | 2 × 44 | 4, 4.2 |
//! | MRV-A, visas | 2 × 44, begins with V | 7, 4.2 |
//! | MRV-B, visas | 2 × 36, begins with V | 7, 5.2 |
//!
//! Nothing that was read is changed. When a check digit is wrong and one confusion that machines
//! are known for would make it right, that is said, with the place and the sign: a clerk can look.
//!
//! # Centuries
//!
//! The zone has two digits for a year (part 3, 4.8). A birth date lies in this century if it is over
//! by then, and otherwise in the last one: whoever is older than a hundred reads as an infant. An
//! expiry date is the one of the two or three possible ones that is nearest to today, at most 50
//! years away.

use std::fmt;
use std::ops::Range;

use jiff::civil::Date;
use zeroize::Zeroizing;

use super::resident::full_years;
use super::states;
use crate::event::{
    CheckStatus, DocumentCheck, DocumentCheckName as Name, DocumentKind, DocumentReason as Why, Sex,
};

/// Longest text that is looked at: the longest zone has 90 characters and some line breaks.
pub const MAX_CHARS: usize = 128;
/// Most doubtful readings that are reported.
const MAX_READINGS: usize = 8;

/// Signs that machines take for one another.
const CONFUSED: [&str; 9] = ["0ODQ", "1IL", "2Z", "4A", "5S", "6G", "7T", "8B", "<KC"];

/// The check digit of part 3, 4.9: weights 7, 3, 1; letters count from A = 10, the filler is 0.
/// `None` if a character has no value.
pub fn check_digit(characters: impl IntoIterator<Item = u8>) -> Option<u8> {
    let mut sum = 0u32;
    for (n, c) in characters.into_iter().enumerate() {
        let value = match c {
            b'0'..=b'9' => c - b'0',
            b'A'..=b'Z' => c - b'A' + 10,
            b'<' => 0,
            _ => return None,
        };
        sum += u32::from(value) * [7, 3, 1][n % 3];
    }
    Some(b'0' + (sum % 10) as u8)
}

/// What may stand at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Letters and the filler.
    Letters,
    /// Digits and the filler.
    Digits,
    /// M, F and the filler.
    Sex,
    /// Everything the zone knows.
    Any,
}

impl Class {
    fn allows(self, c: u8) -> bool {
        match self {
            Self::Letters => c.is_ascii_uppercase() || c == b'<',
            Self::Digits => c.is_ascii_digit() || c == b'<',
            Self::Sex => matches!(c, b'M' | b'F' | b'<'),
            Self::Any => c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'<',
        }
    }
}

/// Where the fields stand, as places in all lines joined.
struct Layout {
    kind: DocumentKind,
    line: usize,
    issuer: Range<usize>,
    name: Range<usize>,
    number: Range<usize>,
    nationality: Range<usize>,
    birth: Range<usize>,
    sex: usize,
    expiry: Range<usize>,
    /// Optional data in which a long document number may go on.
    overflow: Option<Range<usize>>,
    /// Optional data with a check digit of its own (TD3).
    personal: Option<Range<usize>>,
    composite: Option<(&'static [Range<usize>], usize)>,
}

const TD1: Layout = Layout {
    kind: DocumentKind::CardTd1,
    line: 30,
    issuer: 2..5,
    name: 60..90,
    number: 5..14,
    nationality: 45..48,
    birth: 30..36,
    sex: 37,
    expiry: 38..44,
    overflow: Some(15..30),
    personal: None,
    composite: Some((&[5..30, 30..37, 38..45, 48..59], 59)),
};

const TD2: Layout = Layout {
    kind: DocumentKind::CardTd2,
    line: 36,
    issuer: 2..5,
    name: 5..36,
    number: 36..45,
    nationality: 46..49,
    birth: 49..55,
    sex: 56,
    expiry: 57..63,
    overflow: Some(64..71),
    personal: None,
    composite: Some((&[36..46, 49..56, 57..71], 71)),
};

const TD3: Layout = Layout {
    kind: DocumentKind::Passport,
    line: 44,
    issuer: 2..5,
    name: 5..44,
    number: 44..53,
    nationality: 54..57,
    birth: 57..63,
    sex: 64,
    expiry: 65..71,
    overflow: None,
    personal: Some(72..86),
    composite: Some((&[44..54, 57..64, 65..87], 87)),
};

const MRV_A: Layout = Layout { kind: DocumentKind::VisaA, personal: None, composite: None, ..TD3 };
const MRV_B: Layout = Layout { kind: DocumentKind::VisaB, overflow: None, composite: None, ..TD2 };

/// A date of the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MrzDate {
    /// A day.
    Day(Date),
    /// The issuer left it open, or a part of it (part 3, 4.8).
    Unspecified,
    /// No such day.
    Wrong,
}

/// A confusion that would explain a wrong check digit. Shows one character of the zone: for a
/// clerk's eyes, not for a log.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Reading {
    /// Line, from 1.
    pub line: usize,
    /// Position in the line, from 1.
    pub position: usize,
    /// What was read.
    pub read: char,
    /// What would be right.
    pub instead: char,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reading({})", self.place())
    }
}

impl Reading {
    /// Where it is, without what it is.
    pub fn place(&self) -> String {
        format!("line {}, position {}", self.line, self.position)
    }
}

/// A zone that was read, and what its checks found.
pub struct Mrz {
    /// All lines joined.
    text: Zeroizing<String>,
    layout: Option<&'static Layout>,
    birth: MrzDate,
    expiry: MrzDate,
    number: Zeroizing<String>,
    checks: Vec<DocumentCheck>,
    readings: Vec<Reading>,
}

impl fmt::Debug for Mrz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mrz({:?}, {:?})", self.kind(), self.checks)
    }
}

impl Mrz {
    /// Reads and checks a zone as of `today`: its lines with or without breaks between them.
    pub fn read(text: &str, today: Date) -> Self {
        let mut joined = Zeroizing::new(String::with_capacity(MAX_CHARS * 4));
        let mut chars = text.chars().filter(|c| !c.is_whitespace());
        joined.extend(chars.by_ref().take(MAX_CHARS));
        let mut mrz = Self {
            text: joined,
            layout: None,
            birth: MrzDate::Unspecified,
            expiry: MrzDate::Unspecified,
            number: Zeroizing::new(String::new()),
            checks: Vec::new(),
            readings: Vec::new(),
        };
        if chars.next().is_some() {
            mrz.refuse(Why::WrongLength, None);
        } else {
            mrz.examine(today);
        }
        mrz
    }

    fn refuse(&mut self, why: Why, place: Option<String>) {
        let failed = DocumentCheck::fail(Name::MrzFormat, why);
        self.checks.push(match place {
            Some(place) => failed.about(place),
            None => failed,
        });
        for name in [Name::MrzState, Name::MrzCheckDigit, Name::MrzBirthDate] {
            self.checks.push(DocumentCheck::not_checked(name, Why::EarlierCheckFailed));
        }
        self.checks.push(DocumentCheck::not_checked(Name::Validity, Why::EarlierCheckFailed).about("mrz"));
    }

    fn examine(&mut self, today: Date) {
        let text = self.text.clone();
        let layout = match (text.chars().count(), text.as_bytes().first()) {
            (90, _) => &TD1,
            (88, Some(b'V')) => &MRV_A,
            (88, _) => &TD3,
            (72, Some(b'V')) => &MRV_B,
            (72, _) => &TD2,
            _ => return self.refuse(Why::WrongLength, None),
        };
        if let Some(at) = text.chars().position(|c| !(c.is_ascii() && Class::Any.allows(c as u8))) {
            let place = format!("line {}, position {}", at / layout.line + 1, at % layout.line + 1);
            return self.refuse(Why::WrongCharacter, Some(place));
        }
        // From here on every character is one byte.
        let bytes = text.as_bytes();
        self.layout = Some(layout);
        self.format(layout, bytes);

        for (about, range) in [("issuing_state", &layout.issuer), ("nationality", &layout.nationality)] {
            let check = match states::known(text[range.clone()].trim_end_matches('<')) {
                true => DocumentCheck::pass(Name::MrzState),
                false => DocumentCheck::fail(Name::MrzState, Why::UnknownState),
            };
            self.checks.push(check.about(about));
        }

        let digit_of = |range: &Range<usize>| (vec![range.clone()], range.end);
        let (number, number_check) = long_number(layout, bytes);
        self.number.reserve(number.iter().map(Range::len).sum());
        for range in &number {
            self.number.push_str(text[range.clone()].trim_end_matches('<'));
        }
        let mut all = vec![("document_number", (number, number_check))];
        all.push(("birth_date", digit_of(&layout.birth)));
        all.push(("expiry", digit_of(&layout.expiry)));
        if let Some(personal) = &layout.personal {
            all.push(("optional_data", digit_of(personal)));
        }
        if let Some((ranges, at)) = layout.composite {
            all.push(("composite", (ranges.to_vec(), at)));
        }
        let composite = layout.composite.map(|(ranges, at)| (ranges.to_vec(), at));
        for (field, (ranges, at)) in all {
            let check = self.digit(layout, bytes, field, &ranges, at, composite.as_ref());
            self.checks.push(check);
        }

        self.birth = match two_digit_date(&bytes[layout.birth.clone()]) {
            Raw::Date(y, m, d) => over_by(y, m, d, today).map_or(MrzDate::Wrong, MrzDate::Day),
            Raw::Open => MrzDate::Unspecified,
            Raw::Wrong => MrzDate::Wrong,
        };
        self.checks.push(match self.birth {
            MrzDate::Day(_) => DocumentCheck::pass(Name::MrzBirthDate),
            MrzDate::Unspecified => DocumentCheck::not_checked(Name::MrzBirthDate, Why::Unspecified),
            MrzDate::Wrong => DocumentCheck::fail(Name::MrzBirthDate, Why::NotADate),
        });
        self.expiry = match two_digit_date(&bytes[layout.expiry.clone()]) {
            Raw::Date(y, m, d) => nearest(y, m, d, today).map_or(MrzDate::Wrong, MrzDate::Day),
            Raw::Open => MrzDate::Unspecified,
            Raw::Wrong => MrzDate::Wrong,
        };
        let validity = match self.expiry {
            MrzDate::Day(last) if last < today => DocumentCheck::fail(Name::Validity, Why::Expired),
            MrzDate::Day(_) => DocumentCheck::pass(Name::Validity),
            MrzDate::Unspecified => DocumentCheck::not_checked(Name::Validity, Why::Unspecified),
            MrzDate::Wrong => DocumentCheck::fail(Name::Validity, Why::NotADate),
        };
        self.checks.push(validity.about("mrz"));
    }

    /// Characters that cannot stand where they do.
    fn format(&mut self, layout: &Layout, bytes: &[u8]) {
        let mut wrong = None;
        for (at, c) in bytes.iter().enumerate() {
            let class = layout.class(at);
            if class.allows(*c) {
                continue;
            }
            wrong = wrong.or(Some(at));
            for instead in confused_with(*c).filter(|i| class.allows(*i)) {
                self.doubt(layout, at, *c, instead);
            }
        }
        self.checks.push(match wrong {
            None => DocumentCheck::pass(Name::MrzFormat),
            Some(at) => DocumentCheck::fail(Name::MrzFormat, Why::WrongCharacter).about(layout.place(at)),
        });
    }

    fn doubt(&mut self, layout: &Layout, at: usize, read: u8, instead: u8) {
        let reading = Reading {
            line: at / layout.line + 1,
            position: at % layout.line + 1,
            read: char::from(read),
            instead: char::from(instead),
        };
        if self.readings.len() < MAX_READINGS && !self.readings.contains(&reading) {
            self.readings.push(reading);
        }
    }

    fn digit(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        field: &str,
        ranges: &[Range<usize>],
        at: usize,
        composite: Option<&(Vec<Range<usize>>, usize)>,
    ) -> DocumentCheck {
        if right(bytes, ranges, at) {
            return DocumentCheck::pass(Name::MrzCheckDigit).about(field);
        }
        let failed = DocumentCheck::fail(Name::MrzCheckDigit, Why::WrongCheckDigit);
        let mut digits = self.checks.iter().filter(|c| c.name == Name::MrzCheckDigit);
        if field == "composite" && digits.any(|c| c.status == CheckStatus::Fail) {
            // What is wrong before it makes it wrong too.
            return failed.about(field);
        }
        let mut tried = Zeroizing::new(bytes.to_vec());
        let mut found = Vec::new();
        for place in ranges.iter().cloned().flatten().chain([at]) {
            let read = tried[place];
            for instead in confused_with(read).filter(|i| layout.class(place).allows(*i)) {
                tried[place] = instead;
                if right(&tried, ranges, at) {
                    let whole = composite.is_none_or(|(ranges, at)| right(&tried, ranges, *at));
                    found.push((place, read, instead, whole));
                }
            }
            tried[place] = read;
        }
        // What makes the composite digit right too is the better explanation.
        if found.iter().any(|f| f.3) {
            found.retain(|f| f.3);
        }
        for (place, read, instead, _) in &found {
            self.doubt(layout, *place, *read, *instead);
        }
        match found[..] {
            [] => failed.about(field),
            [(place, ..)] => DocumentCheck::fail(Name::MrzCheckDigit, Why::ReadingDoubtful)
                .about(format!("{field}, {}", layout.place(place))),
            _ => DocumentCheck::fail(Name::MrzCheckDigit, Why::ReadingDoubtful).about(field),
        }
    }

    fn field(&self, of: impl Fn(&Layout) -> Range<usize>) -> &str {
        self.layout.and_then(|l| self.text.get(of(l))).unwrap_or_default()
    }

    /// The format; none if it is no zone.
    pub fn kind(&self) -> Option<DocumentKind> {
        self.layout.map(|l| l.kind)
    }

    /// What was found, one entry for each check.
    pub fn checks(&self) -> &[DocumentCheck] {
        &self.checks
    }

    /// Confusions that would explain what is wrong.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// All lines, joined, as they were read.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The lines as they were read.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let length = self.layout.map_or(MAX_CHARS, |l| l.line);
        (0..self.layout.map_or(0, |_| self.text.len() / length))
            .map(move |n| &self.text[n * length..][..length])
    }

    /// The document number, a long one whole, without fillers at its end.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// The document's code: `P`, `ID`, `V` …
    pub fn code(&self) -> &str {
        self.field(|_| 0..2).trim_end_matches('<')
    }

    /// Issuing state or organisation, up to three letters: `D`, `UTO`.
    pub fn issuer(&self) -> &str {
        self.field(|l| l.issuer.clone()).trim_end_matches('<')
    }

    /// Nationality, up to three letters.
    pub fn nationality(&self) -> &str {
        self.field(|l| l.nationality.clone()).trim_end_matches('<')
    }

    /// Birth date, by the century rule above.
    pub fn birth_date(&self) -> MrzDate {
        self.birth
    }

    /// The last day of validity, by the century rule above.
    pub fn expiry(&self) -> MrzDate {
        self.expiry
    }

    /// Full years on `today`.
    pub fn age(&self, today: Date) -> Option<u16> {
        match self.birth {
            MrzDate::Day(birth) => full_years(birth, today),
            _ => None,
        }
    }

    /// Sex.
    pub fn sex(&self) -> Option<Sex> {
        Some(match self.text.as_bytes()[self.layout?.sex] {
            b'M' => Sex::Male,
            b'F' => Sex::Female,
            _ => Sex::Unspecified,
        })
    }

    /// The name's primary and secondary identifier (part 3, 4.6), fillers as spaces.
    pub fn name(&self) -> (Zeroizing<String>, Zeroizing<String>) {
        let field = self.field(|l| l.name.clone()).trim_end_matches('<');
        let (primary, secondary) = field.split_once("<<").unwrap_or((field, ""));
        let spaced = |part: &str| {
            let mut out = Zeroizing::new(String::with_capacity(part.len()));
            for word in part.split('<').filter(|w| !w.is_empty()) {
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(word);
            }
            out
        };
        (spaced(primary), spaced(secondary))
    }

    /// Whether the name may go on where the zone had no more room.
    pub fn name_may_be_truncated(&self) -> bool {
        self.field(|l| l.name.clone()).chars().last().is_some_and(|c| c != '<')
    }

    /// Whether `printed`, in Latin or Cyrillic letters and in either order, is the zone's name by
    /// the transliterations of part 3, section 6. `None` for other scripts: those are not
    /// transliterated but romanised, and there is no one way to do that.
    pub fn name_agrees(&self, printed: &str) -> Option<bool> {
        let (primary, secondary) = self.name();
        let squeeze = |parts: [&str; 2]| -> Zeroizing<Vec<u8>> {
            let mut out = Zeroizing::new(Vec::with_capacity(90));
            out.extend(parts.into_iter().flat_map(str::bytes).filter(|b| *b != b' '));
            out
        };
        let truncated = self.name_may_be_truncated();
        let one = spells(printed, &squeeze([&primary, &secondary]), truncated)?;
        // Cut off, the zone's end is not the printed name's when the given names come first.
        let other = spells(printed, &squeeze([&secondary, &primary]), false)?;
        Some(one || other)
    }
}

impl Layout {
    fn class(&self, at: usize) -> Class {
        let inside = |range: &Range<usize>| range.contains(&at);
        if inside(&self.issuer) || inside(&self.nationality) || inside(&self.name) || at == 0 {
            Class::Letters
        } else if inside(&self.birth)
            || inside(&self.expiry)
            || [self.number.end, self.birth.end, self.expiry.end].contains(&at)
            || self.personal.as_ref().is_some_and(|p| p.end == at)
            || self.composite.is_some_and(|(_, digit)| digit == at)
        {
            Class::Digits
        } else if at == self.sex {
            Class::Sex
        } else {
            Class::Any
        }
    }

    fn place(&self, at: usize) -> String {
        format!("line {}, position {}", at / self.line + 1, at % self.line + 1)
    }
}

/// Where the document number and its check digit stand. A number of more than nine characters goes
/// on in the optional data, with the check digit behind it and a filler in the digit's own place
/// (part 5, 4.2.2, note j).
fn long_number(layout: &Layout, bytes: &[u8]) -> (Vec<Range<usize>>, usize) {
    let own = (vec![layout.number.clone()], layout.number.end);
    let Some(overflow) = &layout.overflow else { return own };
    if bytes[layout.number.end] != b'<' {
        return own;
    }
    let more = bytes[overflow.clone()].iter().take_while(|c| **c != b'<').count();
    if more < 2 {
        return own;
    }
    let end = overflow.start + more - 1;
    (vec![layout.number.clone(), overflow.start..end], end)
}

/// Whether the digit at `at` is the one of these ranges. Over nothing but fillers it may be one
/// itself (part 4, 4.2.2.2, note to the optional data; part 3, 4.8 for dates).
fn right(bytes: &[u8], ranges: &[Range<usize>], at: usize) -> bool {
    let characters = || ranges.iter().flat_map(|r| &bytes[r.clone()]).copied();
    check_digit(characters()) == Some(bytes[at]) || bytes[at] == b'<' && characters().all(|c| c == b'<')
}

fn confused_with(c: u8) -> impl Iterator<Item = u8> {
    CONFUSED
        .iter()
        .filter(move |set| set.as_bytes().contains(&c))
        .flat_map(|s| s.bytes())
        .filter(move |i| *i != c)
}

enum Raw {
    Date(i16, i8, i8),
    Open,
    Wrong,
}

fn two_digit_date(bytes: &[u8]) -> Raw {
    let number = |at: usize| match bytes.get(at..at + 2) {
        Some([a @ b'0'..=b'9', b @ b'0'..=b'9']) => Ok(Some((a - b'0') * 10 + (b - b'0'))),
        Some(b"<<") => Ok(None),
        _ => Err(()),
    };
    match (number(0), number(2), number(4)) {
        (Ok(Some(y)), Ok(Some(m)), Ok(Some(d))) => Raw::Date(i16::from(y), m as i8, d as i8),
        (Ok(_), Ok(_), Ok(_)) => Raw::Open,
        _ => Raw::Wrong,
    }
}

fn over_by(year: i16, month: i8, day: i8, today: Date) -> Option<Date> {
    let century = today.year() / 100 * 100;
    let in_century = |c: i16| Date::new(c + year, month, day).ok();
    in_century(century).filter(|d| *d <= today).or_else(|| in_century(century - 100))
}

fn nearest(year: i16, month: i8, day: i8, today: Date) -> Option<Date> {
    let century = today.year() / 100 * 100;
    [century - 100, century, century + 100]
        .into_iter()
        .filter_map(|c| Date::new(c + year, month, day).ok())
        .min_by_key(|d| (i64::from(d.year()) - i64::from(today.year())).abs())
}

// Transliteration --------------------------------------------------------------------------------

/// Part 3, section 6, tables A and B: what may stand in a zone for a printed letter. The first is
/// the recommended one. `None` for a letter of another script.
pub fn transliterate(c: char) -> Option<&'static [&'static str]> {
    Some(match c.to_uppercase().next().unwrap_or(c) {
        'Á' | 'À' | 'Â' | 'Ã' | 'Ă' | 'Ā' | 'Ą' | 'Ǎ' => &["A"],
        'Ä' => &["AE", "A"],
        'Å' => &["AA", "A"],
        'Æ' => &["AE"],
        'Ć' | 'Ĉ' | 'Č' | 'Ċ' | 'Ç' => &["C"],
        'Đ' | 'Ď' | 'Ð' => &["D"],
        'É' | 'È' | 'Ê' | 'Ë' | 'Ě' | 'Ė' | 'Ē' | 'Ę' | 'Ĕ' => &["E"],
        'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => &["G"],
        'Ħ' | 'Ĥ' => &["H"],
        'Í' | 'Ì' | 'Î' | 'Ï' | 'Ĩ' | 'İ' | 'Ī' | 'Į' | 'Ĭ' | 'Ǐ' => &["I"],
        'Ĳ' => &["IJ"],
        'Ĵ' => &["J"],
        'Ķ' => &["K"],
        'Ł' | 'Ĺ' | 'Ľ' | 'Ļ' | 'Ŀ' => &["L"],
        'Ñ' => &["N", "NXX"],
        'Ń' | 'Ň' | 'Ņ' | 'Ŋ' => &["N"],
        'Ö' | 'Ø' => &["OE", "O"],
        'Œ' => &["OE"],
        'Ó' | 'Ò' | 'Ô' | 'Õ' | 'Ő' | 'Ō' | 'Ŏ' | 'Ǒ' => &["O"],
        'Ŕ' | 'Ř' | 'Ŗ' => &["R"],
        'Ś' | 'Ŝ' | 'Š' | 'Ş' | 'Ș' => &["S"],
        'ß' | 'ẞ' => &["SS"],
        'Ť' | 'Ţ' | 'Ŧ' | 'Ț' => &["T"],
        'Þ' => &["TH"],
        'Ü' => &["UE", "UXX", "U", "YU"],
        'Ú' | 'Ù' | 'Û' | 'Ũ' | 'Ŭ' | 'Ű' | 'Ů' | 'Ū' | 'Ų' | 'Ǔ' => &["U"],
        'Ŵ' => &["W"],
        'Ý' | 'Ŷ' | 'Ÿ' => &["Y"],
        'Ź' | 'Ž' | 'Ż' => &["Z"],
        // Table B.
        'А' => &["A"],
        'Б' => &["B"],
        'В' => &["V"],
        'Г' | 'Ґ' | 'Ѓ' => &["G", "H"],
        'Д' => &["D"],
        'Ђ' => &["D"],
        'Е' | 'Э' => &["E"],
        'Ё' => &["E", "IO"],
        'Є' => &["IE", "E"],
        'Ж' => &["ZH", "Z"],
        'З' => &["Z"],
        'Ѕ' => &["DZ"],
        'И' => &["I", "Y"],
        'І' => &["I"],
        'Ї' => &["I", "YI"],
        'Й' => &["I", "Y"],
        'Ј' => &["J"],
        'К' | 'Ќ' => &["K"],
        'Л' => &["L"],
        'Љ' => &["LJ"],
        'М' => &["M"],
        'Н' => &["N"],
        'Њ' => &["NJ"],
        'О' => &["O"],
        'П' => &["P"],
        'Р' => &["R"],
        'С' => &["S"],
        'Т' => &["T"],
        'Ћ' => &["C"],
        'У' | 'Ў' => &["U"],
        'Ф' => &["F"],
        'Х' => &["KH", "H"],
        'Ц' => &["TS", "C"],
        'Ч' => &["CH", "C"],
        'Џ' => &["DZ"],
        'Ш' => &["SH", "S"],
        'Щ' => &["SHCH", "SHT"],
        'Ъ' => &["IE", ""],
        'Ы' => &["Y"],
        'Ь' => &["", "I"],
        'Ю' => &["IU", "YU"],
        'Я' => &["IA", "YA"],
        _ => return None,
    })
}

/// Whether `printed` can become `zone`, both without separators; `truncated`: the zone may stop
/// before the name does.
fn spells(printed: &str, zone: &[u8], truncated: bool) -> Option<bool> {
    // Places in the zone that the letters so far can lead to.
    let mut places = vec![0usize];
    let mut letters = 0;
    for c in printed.chars().take(2 * MAX_CHARS) {
        let plain = c.to_ascii_uppercase();
        let mut buffer = [0; 4];
        let own;
        let options: &[&str] = if plain.is_ascii_uppercase() {
            own = [&*plain.encode_utf8(&mut buffer)];
            &own
        } else if c.is_alphabetic() {
            transliterate(c)?
        } else {
            // Spaces, hyphens, commas, apostrophes (part 3, 4.6).
            continue;
        };
        letters += 1;
        if truncated && places.contains(&zone.len()) {
            return Some(true);
        }
        let mut next: Vec<usize> = places
            .iter()
            .flat_map(|at| {
                options
                    .iter()
                    .filter(move |o| {
                        let rest = &zone[*at..];
                        rest.starts_with(o.as_bytes())
                            || truncated && !rest.is_empty() && o.as_bytes().starts_with(rest)
                    })
                    .map(move |o| (at + o.len()).min(zone.len()))
            })
            .collect();
        next.sort_unstable();
        next.dedup();
        places = next;
    }
    Some(letters > 0 && places.contains(&zone.len()))
}

/// Whether every check of a zone that says anything about its reading passed.
pub(super) fn reads_well(checks: &[DocumentCheck]) -> bool {
    let mut reading = checks.iter().filter(|c| {
        matches!(c.name, Name::MrzFormat | Name::MrzState | Name::MrzCheckDigit | Name::MrzBirthDate)
    });
    reading.all(|c| c.status == CheckStatus::Pass || c.reason == Some(Why::Unspecified))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    /// Before the worked examples expire.
    const THEN: Date = date(2010, 6, 1);

    const PASSPORT: &str =
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
    const CARD: &str =
        "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";

    fn failures(mrz: &Mrz) -> Vec<(Name, Option<String>, Why)> {
        let failed = mrz.checks().iter().filter(|c| c.status != CheckStatus::Pass);
        failed.map(|c| (c.name, c.about.clone(), c.reason.unwrap())).collect()
    }

    /// Doc 9303 part 3, 4.9: the examples of how check digits are computed.
    #[test]
    fn check_digits_are_computed_as_in_the_standards_examples() {
        for (text, digit) in
            [("520727", b'3'), ("AB2134<<<", b'5'), ("HA672242<658022549601086<<<<<<<<<<<<<<0", b'8')]
        {
            assert_eq!(check_digit(text.bytes()), Some(digit), "{text}");
        }
        assert_eq!(check_digit("a".bytes()), None);
    }

    /// The specimens of Doc 9303 parts 4, 5, 6 and 7, and the long number of part 11, appendix D.
    #[test]
    fn the_standards_own_specimens_pass() {
        for (text, kind, number, then) in [
            (PASSPORT, DocumentKind::Passport, "L898902C3", THEN),
            (CARD, DocumentKind::CardTd1, "D23145890", THEN),
            (
                "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6",
                DocumentKind::CardTd2,
                "D23145890",
                THEN,
            ),
            (
                "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL8988901C4XXX4009078F96121096ZE184226B<<<<<<",
                DocumentKind::VisaA,
                "L8988901C",
                date(1996, 1, 1),
            ),
            (
                "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nL8988901C4XXX4009078F9612109<<<<<<<<",
                DocumentKind::VisaB,
                "L8988901C",
                date(1996, 1, 1),
            ),
            (
                "I<UTOD23145890<7349<<<<<<<<<<<\n3407127M9507122UTO<<<<<<<<<<<2\nSTEVENSON<<PETER<JOHN<<<<<<<<<",
                DocumentKind::CardTd1,
                "D23145890734",
                date(1990, 1, 1),
            ),
        ] {
            let mrz = Mrz::read(text, then);
            assert_eq!(failures(&mrz), [], "{text}");
            assert_eq!((mrz.kind(), mrz.number()), (Some(kind), number), "{text}");
            assert_eq!(mrz.issuer(), "UTO");
            let lines: Vec<_> = mrz.lines().collect();
            assert_eq!(lines.join("\n"), text);
            // Without line breaks, and with those of another system.
            assert_eq!(failures(&Mrz::read(&text.replace('\n', ""), then)), []);
            assert_eq!(failures(&Mrz::read(&text.replace('\n', "\r\n"), then)), []);
        }
        let mrz = Mrz::read(PASSPORT, THEN);
        assert_eq!((mrz.name().0.as_str(), mrz.name().1.as_str()), ("ERIKSSON", "ANNA MARIA"));
        assert_eq!((mrz.code(), mrz.nationality(), mrz.sex()), ("P", "UTO", Some(Sex::Female)));
        assert_eq!(mrz.birth_date(), MrzDate::Day(date(1974, 8, 12)));
        assert_eq!(mrz.expiry(), MrzDate::Day(date(2012, 4, 15)));
        assert_eq!(mrz.age(THEN), Some(35));
        assert!(!format!("{mrz:?}").contains("ERIKSSON"), "the zone is printed");
    }

    #[test]
    fn every_character_that_counts_is_protected() {
        for (text, covered) in [(PASSPORT, 45usize..89), (CARD, 5..15)] {
            for at in covered {
                let mut bytes = text.as_bytes().to_vec();
                let skip = text == PASSPORT && matches!(at - 45, 10..13 | 20);
                if bytes[at] == b'\n' || skip {
                    // Nationality and sex have no check digit.
                    continue;
                }
                // A modulus of ten misses differences of ten: E for 4, U for 0.
                let value = check_digit([b'0', b'0', bytes[at]]).unwrap() - b'0';
                bytes[at] = b'0' + (value + 1) % 10;
                let mrz = Mrz::read(std::str::from_utf8(&bytes).unwrap(), THEN);
                assert!(!reads_well(mrz.checks()), "position {at} of {text}");
            }
        }
    }

    #[test]
    fn a_confusion_is_named_and_not_repaired() {
        let read = PASSPORT.replace("L898902C3", "L8989O2C3");
        let mrz = Mrz::read(&read, THEN);
        assert_eq!(mrz.number(), "L8989O2C3");
        assert!(failures(&mrz).contains(&(
            Name::MrzCheckDigit,
            Some("document_number, line 2, position 6".into()),
            Why::ReadingDoubtful
        )));
        let reading = Reading { line: 2, position: 6, read: 'O', instead: '0' };
        assert_eq!(mrz.readings(), [reading]);
        assert!(!format!("{reading:?}").contains('O'));

        let mrz = Mrz::read(&PASSPORT.replace("740812", "74O8I2"), THEN);
        assert_eq!(mrz.birth_date(), MrzDate::Wrong);
        assert!(failures(&mrz).contains(&(
            Name::MrzFormat,
            Some("line 2, position 16".into()),
            Why::WrongCharacter
        )));
        assert!(mrz.readings().contains(&Reading { line: 2, position: 16, read: 'O', instead: '0' }));
        let mrz = Mrz::read(&PASSPORT.replace("ERIKSSON", "ER1KSSON"), THEN);
        assert!(mrz.readings().contains(&Reading { line: 1, position: 8, read: '1', instead: 'I' }));
        // Nothing that machines confuse explains this one.
        let mrz = Mrz::read(&PASSPORT.replace("L898902C3", "L898902C9"), THEN);
        assert!(failures(&mrz).iter().any(|f| f.2 == Why::WrongCheckDigit), "{mrz:?}");
    }

    /// No check digit covers them, so a code that is none is all that can be found.
    #[test]
    fn a_state_that_does_not_exist_is_named() {
        let mrz = Mrz::read(&PASSPORT.replace("6UTO7", "6UTQ7"), THEN);
        assert_eq!(failures(&mrz), [(Name::MrzState, Some("nationality".into()), Why::UnknownState)]);
        assert!(!reads_well(mrz.checks()));
        let mrz = Mrz::read(&PASSPORT.replace("P<UTO", "P<U<O"), THEN);
        assert_eq!(failures(&mrz), [(Name::MrzState, Some("issuing_state".into()), Why::UnknownState)]);
    }

    #[test]
    fn open_dates_are_neither_right_nor_wrong() {
        let with = |birth: &str| {
            let digit = char::from(check_digit(birth.bytes()).unwrap());
            let mut line = format!("L898902C36UTO{birth}{digit}F1204159ZE184226B<<<<<1");
            let composite: String = [0..10, 13..20, 21..43].map(|r| &line[r]).concat();
            line.push(char::from(check_digit(composite.bytes()).unwrap()));
            Mrz::read(&format!("{}\n{line}", &PASSPORT[..44]), THEN)
        };
        for birth in ["74<<<<", "7408<<", "<<<<<<"] {
            let mrz = with(birth);
            assert_eq!(failures(&mrz), [(Name::MrzBirthDate, None, Why::Unspecified)], "{birth}");
            assert!(reads_well(mrz.checks()));
        }
        assert_eq!(failures(&with("740230")), [(Name::MrzBirthDate, None, Why::NotADate)]);
    }

    #[test]
    fn centuries_follow_the_rule() {
        let today = date(2026, 11, 24);
        assert_eq!(over_by(26, 11, 24, today), Some(date(2026, 11, 24)));
        assert_eq!(over_by(26, 11, 25, today), Some(date(1926, 11, 25)));
        assert_eq!(over_by(74, 8, 12, today), Some(date(1974, 8, 12)));
        // 1900 was no leap year, 2000 was one.
        assert_eq!(over_by(0, 2, 29, today), Some(date(2000, 2, 29)));
        assert_eq!(nearest(36, 1, 1, today), Some(date(2036, 1, 1)));
        assert_eq!(nearest(99, 1, 1, today), Some(date(1999, 1, 1)));
        assert_eq!(nearest(12, 4, 15, today), Some(date(2012, 4, 15)));
        let mrz = Mrz::read(PASSPORT, today);
        assert_eq!(failures(&mrz), [(Name::Validity, Some("mrz".into()), Why::Expired)]);
        assert_eq!(failures(&Mrz::read(PASSPORT, date(2012, 4, 15))), [], "the last day counts");
    }

    #[test]
    fn what_is_no_zone_is_said_to_be_none() {
        for (text, why) in [
            ("", Why::WrongLength),
            ("P<UTO", Why::WrongLength),
            (&PASSPORT[1..], Why::WrongLength),
            (&"<".repeat(100_000), Why::WrongLength),
            (&PASSPORT.replace('U', "ü"), Why::WrongCharacter),
            (&PASSPORT.replace('U', "u"), Why::WrongCharacter),
        ] {
            let mrz = Mrz::read(text, THEN);
            assert_eq!(mrz.checks()[0].reason, Some(why));
            assert_eq!((mrz.kind(), mrz.lines().count()), (None, 0));
            assert!(mrz.checks()[1..].iter().all(|c| c.status == CheckStatus::NotChecked));
        }
    }

    #[test]
    fn printed_names_are_compared_by_the_tables_of_the_standard() {
        let with = |name: &str| {
            let line = format!("{:<<44}", format!("P<D<<{name}"));
            Mrz::read(&format!("{line}\n{}", &PASSPORT[45..]), THEN)
        };
        for (zone, printed, agrees) in [
            ("MUELLER<<JUERGEN", "Müller, Jürgen", Some(true)),
            ("MULLER<<JURGEN", "Jürgen Müller", Some(true)),
            ("MUELLER<<JUERGEN", "Möller, Jürgen", Some(false)),
            ("DARTAGNAN<<CHARLES", "D’Artagnan Charles", Some(true)),
            ("OCONNOR<<ENYA<SIOBHAN", "O'Connor Enya-Siobhan", Some(true)),
            ("THORDARSON<<BJOERN", "Þórðarson Björn", Some(true)),
            ("SHEVCHENKO<<TARAS", "Шевченко Тарас", Some(true)),
            ("WANG<<XIAOMING", "王小明", None),
            ("ERIKSSON<<ANNA", "", Some(false)),
        ] {
            assert_eq!(with(zone).name_agrees(printed), agrees, "{zone} {printed}");
        }
        let long = with("NILAVADHANANANDA<<ARNPOL<PETCHCHARATSIW");
        assert!(long.name_may_be_truncated());
        assert_eq!(long.name_agrees("Nilavadhanananda Arnpol Petchcharatsiwong"), Some(true));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,100}") {
            let mrz = Mrz::read(&text, THEN);
            prop_assert!(!mrz.checks().is_empty());
        }

        #[test]
        fn any_zone_is_answered(text in "[A-Z0-9<]{90}|[A-Z0-9<]{88}|[A-Z0-9<]{72}", name in "\\PC{0,30}") {
            let mrz = Mrz::read(&text, THEN);
            prop_assert!(mrz.kind().is_some());
            prop_assert!(mrz.readings().len() <= MAX_READINGS);
            let _ = (mrz.name(), mrz.sex(), mrz.age(THEN), mrz.number(), mrz.name_agrees(&name));
        }
    }
}
