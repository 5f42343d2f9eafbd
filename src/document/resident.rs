//! Resident identity numbers of China (GB 11643) and the numbers that are shaped like them.
//!
//! | number | form | since |
//! |---|---|---|
//! | resident identity card | region(6) birth(8) sequence(3) check(1) | GB 11643-1999 |
//! | the same, first generation | region(6) birth(6) sequence(3) | GB 11643-1989, void since 2013 |
//! | residence permit for Hong Kong, Macao, Taiwan | 810000, 820000, 830000 as region | 2018 |
//! | foreigner's permanent residence card | 9 province(2) country(3) birth(8) sequence(3) check(1) | December 2023 |
//! | the same, before | country(3 letters) region(4) birth(6) 2 more | 2004 |
//!
//! # The region
//!
//! A number keeps the code of the division where it was first issued, for life: half of them name
//! counties that are gone. So the table has every code with its years as far as they are known, and
//! a code passes if its division existed at some time of the holder's life. A year of grace stands
//! before the birth: registers changed over later than the law. A code that nobody knows fails,
//! unless the holder was born after the table's last change.
//!
//! # The period of validity
//!
//! Law of the resident identity card, article 5: 5 years below 16, 10 years from 16 to 25, 20 years
//! from 26 to 45, long term (长期) from 46 on. The age at application counts, which is not on the card:
//! a year to either side is allowed for. A temporary card is valid for three months.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::{Span, ToSpan};
use zeroize::Zeroizing;

use crate::event::{DocumentCheck, DocumentCheckName as Name, DocumentKind, DocumentReason as Why, Sex};

/// The divisions, with where they come from in their head.
static TABLE: &str = include_str!("divisions.tsv");
/// The newest codes in the table are of this year.
const TABLE_YEAR: i16 = 2025;
/// Registers change over later than the law: a code is in use for this long after its division.
const GRACE_YEARS: i16 = 1;
/// Nobody alive is older.
const OLDEST: i16 = 150;
/// Levels of the table that are called by what they are.
const NAMELESS: [&str; 4] = ["市辖区", "县", "省直辖", "自治区直辖"];
/// Longest text that is looked at.
const MAX_CHARS: usize = 64;

/// One division during one period.
struct Division {
    code: u32,
    from: Option<i16>,
    until: Option<i16>,
    name: &'static str,
}

static DIVISIONS: LazyLock<Vec<Division>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let mut parts = line.split('\t');
        Some(Division {
            code: parts.next()?.parse().ok()?,
            from: parts.next()?.parse().ok(),
            until: parts.next()?.parse().ok(),
            name: parts.next()?,
        })
    };
    let mut rows: Vec<_> = TABLE.lines().filter(|l| !l.starts_with('#')).filter_map(row).collect();
    rows.sort_by_key(|d| (d.code, d.from));
    rows
});

fn periods(code: u32) -> &'static [Division] {
    let rows: &'static [Division] = &DIVISIONS;
    let start = rows.partition_point(|d| d.code < code);
    let end = rows.partition_point(|d| d.code <= code);
    &rows[start..end]
}

/// The names of a division and of those around it, the largest first, as they were in `year`.
pub fn division_names(code: u32, year: i16) -> Vec<&'static str> {
    let mut out = Vec::new();
    for code in [code / 10_000 * 10_000, code / 100 * 100, code] {
        let all = periods(code);
        let then = all
            .iter()
            .find(|d| d.from.is_none_or(|from| from <= year) && d.until.is_none_or(|until| year <= until));
        // Some levels have no name of their own, only what they are.
        if let Some(division) = then.or(all.last())
            && !NAMELESS.iter().any(|n| division.name.starts_with(n))
            && out.last() != Some(&division.name)
        {
            out.push(division.name);
        }
    }
    out
}

/// ISO 7064 MOD 11-2 of the digits before it. `None` if one of them is no digit.
pub fn check_character(digits: &[u8]) -> Option<u8> {
    let mut rest = 0u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        rest = (rest + u32::from(digit - b'0')) * 2 % 11;
    }
    Some(match (12 - rest) % 11 {
        10 => b'X',
        n => b'0' + n as u8,
    })
}

/// A number, and what its checks found. Sex and age are computed when they are asked for, not
/// before.
pub struct Number {
    text: Zeroizing<String>,
    kind: Option<DocumentKind>,
    birth: Option<Date>,
    checks: Vec<DocumentCheck>,
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({:?}, {:?})", self.kind, self.checks)
    }
}

impl Number {
    /// Reads and checks a number as of `today`. Spaces and hyphens between groups are passed over,
    /// lower-case letters and full-width digits are read as what they stand for.
    pub fn read(text: &str, today: Date) -> Self {
        let mut clean = Zeroizing::new(String::with_capacity(MAX_CHARS * 4));
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(MAX_CHARS) {
            let c = match c {
                '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
                c => c,
            };
            clean.push(c.to_ascii_uppercase());
        }
        let mut number = Self { text: clean, kind: None, birth: None, checks: Vec::new() };
        number.examine(today);
        number
    }

    fn examine(&mut self, today: Date) {
        let text = self.text.clone();
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| {
            bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
        };
        let (kind, wrong) = match bytes.len() {
            18 if !digits(0..17) || !matches!(bytes[17], b'0'..=b'9' | b'X') => (None, Why::WrongCharacter),
            18 => match bytes[0] {
                b'9' => (Some(DocumentKind::ForeignerCard), Why::WrongCharacter),
                b'8' if matches!(&bytes[..2], b"81" | b"82" | b"83") => {
                    (Some(DocumentKind::ResidencePermit), Why::WrongCharacter)
                }
                _ => (Some(DocumentKind::ResidentCard), Why::WrongCharacter),
            },
            15 if digits(0..15) => (Some(DocumentKind::ResidentCardOld), Why::WrongCharacter),
            15 if bytes[..3].iter().all(u8::is_ascii_uppercase) && digits(3..15) => {
                (Some(DocumentKind::ForeignerCard), Why::WrongCharacter)
            }
            15 => (None, Why::WrongCharacter),
            _ => (None, Why::WrongLength),
        };
        self.kind = kind;
        let Some(kind) = kind else {
            self.checks.push(DocumentCheck::fail(Name::NumberFormat, wrong));
            for name in [Name::NumberRegion, Name::NumberBirthDate, Name::NumberCheckCharacter] {
                self.checks.push(DocumentCheck::not_checked(name, Why::EarlierCheckFailed));
            }
            return;
        };
        self.checks.push(DocumentCheck::pass(Name::NumberFormat));
        let value = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u32, |n, d| n * 10 + u32::from(d.wrapping_sub(b'0')))
        };
        let (year, month_day) = match (kind, bytes.len()) {
            (DocumentKind::ForeignerCard, 15) => (century(value(7..9) as i16, today), value(9..13)),
            // 996 to 999 in the sequence were set aside for people who were over a hundred then.
            (_, 15) => (if value(12..15) >= 996 { 1800 } else { 1900 } + value(6..8) as i16, value(8..12)),
            _ => (value(6..10) as i16, value(10..14)),
        };
        let birth = Date::new(year, (month_day / 100) as i8, (month_day % 100) as i8).ok();
        let region = match (kind, bytes.len()) {
            (DocumentKind::ForeignerCard, 15) => province(value(3..5)),
            (DocumentKind::ForeignerCard, _) => province(value(1..3)),
            _ => region(value(0..6), birth, today),
        };
        self.checks.push(match region {
            Ok(()) => DocumentCheck::pass(Name::NumberRegion),
            Err(why @ Why::RegionTableOld) => DocumentCheck::not_checked(Name::NumberRegion, why),
            Err(why) => DocumentCheck::fail(Name::NumberRegion, why),
        });
        self.checks.push(match birth {
            None => DocumentCheck::fail(Name::NumberBirthDate, Why::NotADate),
            Some(birth) if birth > today => DocumentCheck::fail(Name::NumberBirthDate, Why::InTheFuture),
            Some(birth) if today.year() - birth.year() > OLDEST => {
                DocumentCheck::fail(Name::NumberBirthDate, Why::TooLongAgo)
            }
            Some(_) => DocumentCheck::pass(Name::NumberBirthDate),
        });
        self.birth = birth.filter(|b| *b <= today);
        self.checks.push(match (kind, bytes.len()) {
            (_, 18) if check_character(&bytes[..17]) == Some(bytes[17]) => {
                DocumentCheck::pass(Name::NumberCheckCharacter)
            }
            (_, 18) => DocumentCheck::fail(Name::NumberCheckCharacter, Why::WrongCheckDigit),
            (DocumentKind::ForeignerCard, _) => {
                DocumentCheck::not_checked(Name::NumberCheckCharacter, Why::NotPublished)
            }
            _ => DocumentCheck::not_checked(Name::NumberCheckCharacter, Why::HasNone),
        });
    }

    /// The number without spaces, in upper case.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it was taken for; none if it has the form of nothing.
    pub fn kind(&self) -> Option<DocumentKind> {
        self.kind
    }

    /// What was found, one entry for each check.
    pub fn checks(&self) -> &[DocumentCheck] {
        &self.checks
    }

    /// The holder's birth date, if the number has one that is over.
    pub fn birth_date(&self) -> Option<Date> {
        self.birth
    }

    /// Full years on `today`.
    pub fn age(&self, today: Date) -> Option<u16> {
        full_years(self.birth?, today)
    }

    /// From the sequence: odd for men. The older foreigner's number does not say.
    pub fn sex(&self) -> Option<Sex> {
        let at = match (self.kind?, self.text.len()) {
            (DocumentKind::ForeignerCard, 15) => return None,
            (_, 18) => 16,
            _ => 14,
        };
        let odd = self.text.as_bytes().get(at)? % 2 == 1;
        Some(if odd { Sex::Male } else { Sex::Female })
    }

    /// The names of the division that issued the number, the largest first.
    pub fn region(&self) -> Vec<&'static str> {
        let year = self.birth.map_or(TABLE_YEAR, |b| b.year());
        let code = |range| self.text.get(range).and_then(|c: &str| c.parse::<u32>().ok());
        match (self.kind, self.text.len()) {
            (None, _) => Vec::new(),
            (Some(DocumentKind::ForeignerCard), 15) => {
                code(3..5).map_or(Vec::new(), |c| division_names(c * 10_000, year))
            }
            (Some(DocumentKind::ForeignerCard), _) => {
                code(1..3).map_or(Vec::new(), |c| division_names(c * 10_000, year))
            }
            _ => code(0..6).map_or(Vec::new(), |c| division_names(c, year)),
        }
    }

    /// The 18-digit form of a 15-digit number; any other number as it is.
    pub fn to_18(&self) -> Zeroizing<String> {
        if self.kind != Some(DocumentKind::ResidentCardOld) {
            return self.text.clone();
        }
        let century = if self.text[12..15].parse::<u16>().unwrap_or(0) >= 996 { "18" } else { "19" };
        let mut out = Zeroizing::new(String::with_capacity(18));
        out.push_str(&self.text[..6]);
        out.push_str(century);
        out.push_str(&self.text[6..]);
        if let Some(check) = check_character(out.as_bytes()) {
            out.push(char::from(check));
        }
        out
    }
}

/// Full years from `birth` to `today`.
pub(super) fn full_years(birth: Date, today: Date) -> Option<u16> {
    let had_birthday = (today.month(), today.day()) >= (birth.month(), birth.day());
    u16::try_from(today.year() - birth.year() - i16::from(!had_birthday)).ok()
}

/// Two digits of a year that is over: this century's if it can be.
fn century(two: i16, today: Date) -> i16 {
    let this = today.year() / 100 * 100 + two;
    if this > today.year() { this - 100 } else { this }
}

fn province(code: u32) -> Result<(), Why> {
    if periods(code * 10_000).is_empty() { Err(Why::UnknownRegion) } else { Ok(()) }
}

fn region(code: u32, birth: Option<Date>, today: Date) -> Result<(), Why> {
    // Cities and provinces have codes too, and numbers with them exist: collective registers.
    let all = periods(code);
    if all.is_empty() {
        let young = birth.is_some_and(|b| b.year() >= TABLE_YEAR && b <= today);
        return Err(if young && province(code / 10_000).is_ok() {
            Why::RegionTableOld
        } else {
            Why::UnknownRegion
        });
    }
    let Some(birth) = birth else { return Ok(()) };
    let lived = |d: &Division| d.until.is_none_or(|until| until + GRACE_YEARS >= birth.year());
    if all.iter().any(lived) { Ok(()) } else { Err(Why::RegionAbolished) }
}

/// The last day of a document's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Valid through this day.
    Day(Date),
    /// Long term, 长期.
    LongTerm,
}

/// The period printed on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first day; some readers do not hand it over.
    pub from: Option<Date>,
    /// The last day.
    pub until: Until,
}

impl Period {
    /// Reads a first and a last day: `2015.03.01`, `20150301`, `2015-03-01`, `2015年3月1日`; the last
    /// one may be `长期`, `長期` or `long_term`. `None` if one is no day, or they are in the wrong order.
    pub fn read(from: Option<&str>, until: &str) -> Option<Self> {
        let from = match from.map(str::trim).filter(|t| !t.is_empty()) {
            Some(text) => Some(day(text)?),
            None => None,
        };
        let until = match until.trim() {
            "长期" | "長期" | "long_term" => Until::LongTerm,
            text => Until::Day(day(text)?),
        };
        match (from, until) {
            (Some(from), Until::Day(until)) if until < from => None,
            _ => Some(Self { from, until }),
        }
    }

    /// Reads both in one text, as a card prints them: `2015.03.01-2035.03.01`, `2015.03.01-长期`.
    pub fn read_line(text: &str) -> Option<Self> {
        if let Some(period) = Self::read(None, text) {
            return Some(period);
        }
        let text = text.trim();
        // A hyphen may stand within the dates as well: the middle one parts them.
        let hyphens: Vec<_> = text.match_indices(['-', '–', '—', '至', '/']).collect();
        let (at, mark) = *hyphens.get(hyphens.len() / 2)?;
        Self::read(Some(&text[..at]), &text[at + mark.len()..]).filter(|p| p.from.is_some())
    }

    /// Whether the document is valid on `today`, and whether such a period is issued to somebody
    /// who was born on `birth`. The second one is about resident cards only.
    pub fn checks(&self, kind: Option<DocumentKind>, birth: Option<Date>, today: Date) -> Vec<DocumentCheck> {
        let mut out = vec![match (self.from, self.until) {
            (Some(from), _) if from > today => DocumentCheck::fail(Name::Validity, Why::NotYetValid),
            (_, Until::Day(until)) if until < today => DocumentCheck::fail(Name::Validity, Why::Expired),
            _ => DocumentCheck::pass(Name::Validity),
        }];
        if kind == Some(DocumentKind::ResidentCard) {
            out.push(match (self.from, birth) {
                (Some(from), Some(birth)) if self.issued(from, birth) => {
                    DocumentCheck::pass(Name::ValidityPeriod)
                }
                (Some(_), Some(_)) => DocumentCheck::fail(Name::ValidityPeriod, Why::PeriodNotIssued),
                _ => DocumentCheck::not_checked(Name::ValidityPeriod, Why::NotPresented),
            });
        }
        out
    }

    fn issued(&self, from: Date, birth: Date) -> bool {
        let Some(age) = full_years(birth, from) else { return false };
        let (youngest, oldest) = (age.saturating_sub(1), age + 1);
        let lasts = |span: Span| {
            let end = from.checked_add(span).ok();
            // 29 February has no fellow in most years.
            let day_after = end.and_then(|e| e.tomorrow().ok());
            matches!(self.until, Until::Day(until) if Some(until) == end || Some(until) == day_after)
        };
        match self.until {
            Until::LongTerm => oldest >= 46,
            Until::Day(_) if lasts(3.months()) => true,
            Until::Day(_) if lasts(5.years()) => youngest < 16,
            Until::Day(_) if lasts(10.years()) => oldest >= 16 && youngest <= 25,
            Until::Day(_) if lasts(20.years()) => oldest >= 26 && youngest <= 45,
            Until::Day(_) => false,
        }
    }
}

/// A day in one of the ways in which cards and readers write it.
fn day(text: &str) -> Option<Date> {
    if text.chars().count() > MAX_CHARS {
        return None;
    }
    let text = text.trim().trim_end_matches('日');
    let parts: Vec<&str> = text.split(['.', '-', '/', '年', '月']).map(str::trim).collect();
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<i16>().ok()).flatten();
    let (y, m, d) = match parts[..] {
        [all] if all.len() == 8 && all.is_ascii() => {
            (number(&all[..4])?, number(&all[4..6])?, number(&all[6..])?)
        }
        [y, m, d] if y.len() == 4 && (1..=2).contains(&m.len()) && (1..=2).contains(&d.len()) => {
            (number(y)?, number(m)?, number(d)?)
        }
        _ => return None,
    };
    Date::new(y, i8::try_from(m).ok()?, i8::try_from(d).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CheckStatus;
    use jiff::civil::date;
    use proptest::prelude::*;

    const TODAY: Date = date(2026, 11, 24);

    fn statuses(text: &str) -> Vec<(CheckStatus, Option<Why>)> {
        Number::read(text, TODAY).checks().iter().map(|c| (c.status, c.reason)).collect()
    }

    fn reasons(text: &str) -> Vec<Why> {
        statuses(text).into_iter().filter_map(|(_, why)| why).collect()
    }

    /// GB 11643-1999, annex A: the two examples of the standard.
    #[test]
    fn the_standards_own_examples_pass() {
        for (text, birth, sex, region) in [
            ("11010519491231002X", date(1949, 12, 31), Sex::Female, "朝阳区"),
            ("440524188001010014", date(1880, 1, 1), Sex::Male, "潮阳县"),
        ] {
            let number = Number::read(text, TODAY);
            assert!(number.checks().iter().all(|c| c.status == CheckStatus::Pass), "{text}: {number:?}");
            assert_eq!(number.kind(), Some(DocumentKind::ResidentCard));
            assert_eq!((number.birth_date(), number.sex()), (Some(birth), Some(sex)));
            assert_eq!(number.region().last(), Some(&region));
        }
        let number = Number::read(" 110105 19491231 002x", TODAY);
        assert_eq!((number.as_str(), number.age(TODAY)), ("11010519491231002X", Some(76)));
        assert_eq!(
            Number::read("１１０１０５１９４９１２３１００２Ｘ", TODAY).as_str(),
            "11010519491231002X"
        );
    }

    #[test]
    fn each_part_that_is_wrong_is_named() {
        for (text, why) in [
            ("", Why::WrongLength),
            ("1101051949123100", Why::WrongLength),
            ("1101051949123100X2", Why::WrongCharacter),
            ("110105194912310021", Why::WrongCheckDigit),
            ("11010519490231002", Why::WrongLength),
            ("110105194902310027", Why::NotADate),
            ("110105203001010025", Why::InTheFuture),
            ("110199194912310020", Why::UnknownRegion),
            ("010105194912310020", Why::UnknownRegion),
        ] {
            assert!(reasons(text).contains(&why), "{text}: {:?}", statuses(text));
        }
        let number = Number::read("110199194912310020", TODAY);
        assert!(!format!("{number:?}").contains("1101"), "a number is printed");
    }

    #[test]
    fn a_county_that_is_gone_still_counts_for_whoever_was_born_in_it() {
        // 110103 was dissolved in 2010; the table has 2009 as its last year.
        let with = |birth: &str| {
            let mut text = format!("110103{birth}001").into_bytes();
            let check = check_character(&text).unwrap();
            text.push(check);
            String::from_utf8(text).unwrap()
        };
        assert!(reasons(&with("19800101")).is_empty());
        assert_eq!(reasons(&with("20200101")), [Why::RegionAbolished]);
    }

    #[test]
    fn permits_and_foreigners_have_numbers_of_their_own() {
        // Printed on the specimen of the 2023 card: Canadian, first issued in Beijing.
        let number = Number::read("911124198108030024", TODAY);
        assert!(number.checks().iter().all(|c| c.status == CheckStatus::Pass), "{number:?}");
        assert_eq!(number.kind(), Some(DocumentKind::ForeignerCard));
        assert_eq!((number.birth_date(), number.region()), (Some(date(1981, 8, 3)), vec!["北京市"]));
        let number = Number::read("CAN110081080310", TODAY);
        assert_eq!((number.kind(), number.sex()), (Some(DocumentKind::ForeignerCard), None));
        assert_eq!(number.birth_date(), Some(date(1981, 8, 3)));
        assert_eq!(reasons("CAN110081080310"), [Why::NotPublished]);
        for text in ["810000199408230021", "830000199201300022"] {
            let number = Number::read(text, TODAY);
            assert_eq!(number.kind(), Some(DocumentKind::ResidencePermit));
            assert!(number.checks().iter().all(|c| c.status == CheckStatus::Pass), "{number:?}");
        }
        assert!(reasons("810001199408230029").contains(&Why::UnknownRegion));
    }

    #[test]
    fn fifteen_digits_have_no_check_and_become_eighteen() {
        let number = Number::read("110105491231002", TODAY);
        assert_eq!(number.kind(), Some(DocumentKind::ResidentCardOld));
        assert_eq!(reasons("110105491231002"), [Why::HasNone]);
        assert_eq!(number.to_18().as_str(), "11010519491231002X");
        assert_eq!(Number::read("110105010101998", TODAY).birth_date(), Some(date(1801, 1, 1)));
    }

    #[test]
    fn periods_are_read_as_cards_print_them() {
        let period = Period::read_line("2015.03.01-2035.03.01").unwrap();
        assert_eq!(period.from, Some(date(2015, 3, 1)));
        assert_eq!(period.until, Until::Day(date(2035, 3, 1)));
        assert_eq!(Period::read_line("2015-03-01-2035-03-01"), Some(period));
        assert_eq!(Period::read_line("20150301-20350301"), Some(period));
        assert_eq!(Period::read_line("2015年3月1日至2035年3月1日"), Some(period));
        assert_eq!(Period::read_line("2015.03.01-长期").unwrap().until, Until::LongTerm);
        assert_eq!(Period::read_line("2035.03.01").unwrap().from, None);
        for wrong in ["", "-", "2015.02.30-2035.03.01", "2035.03.01-2015.03.01", "soon", "2015.3"] {
            assert_eq!(Period::read_line(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_period_must_be_one_that_is_issued_at_that_age() {
        let check = |line: &str, birth: Date| {
            let kind = Some(DocumentKind::ResidentCard);
            let checks = Period::read_line(line).unwrap().checks(kind, Some(birth), TODAY);
            checks.iter().filter_map(|c| c.reason).collect::<Vec<_>>()
        };
        assert!(check("2015.03.01-2035.03.01", date(1985, 5, 5)).is_empty());
        assert!(check("2024.02.29-2034.03.01", date(2005, 5, 5)).is_empty());
        assert!(check("2015.03.01-长期", date(1949, 12, 31)).is_empty());
        assert_eq!(check("2015.03.01-长期", date(1985, 5, 5)), [Why::PeriodNotIssued]);
        assert_eq!(check("2015.03.01-2030.03.01", date(1985, 5, 5)), [Why::PeriodNotIssued]);
        assert_eq!(check("2005.03.01-2015.03.01", date(1985, 5, 5)), [Why::Expired]);
        assert_eq!(check("2026.12.01-2036.12.01", date(2005, 5, 5)), [Why::NotYetValid]);
        // The last day counts.
        assert!(check("2016.11.24-2026.11.24", date(1995, 5, 5)).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}") {
            let number = Number::read(&text, TODAY);
            prop_assert_eq!(number.checks().len(), 4);
            let _ = (number.sex(), number.age(TODAY), number.region(), number.to_18(), Period::read_line(&text));
        }

        #[test]
        fn one_wrong_digit_or_a_swap_is_always_seen(seed in 0u64..1_000_000_000, at in 0usize..17, by in 1u8..10) {
            let mut digits: Vec<u8> = format!("{:017}", seed * 99_991 % 100_000_000_000_000_000).into_bytes();
            let check = check_character(&digits);
            let old = digits[at];
            digits[at] = b'0' + (old - b'0' + by) % 10;
            prop_assert_ne!(check_character(&digits), check);
            digits[at] = old;
            if at > 0 && digits[at] != digits[at - 1] {
                digits.swap(at, at - 1);
                prop_assert_ne!(check_character(&digits), check);
            }
        }
    }
}
