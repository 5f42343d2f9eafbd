//! The gallery's words: who is in it, under which conditions, what the hub may order, and what is
//! told. No type here can carry a template, a score, or a card's number on its way out.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroize;

use super::{Band, CaptureFacts, Check, PortraitText, Timing};
use crate::base::{Culprit, Error, Kind, Name, Result};
pub use crate::config::{Language, Purpose};

/// Longest life of a `missing_person` entry: after it the authority has to ask again.
pub const MISSING_PERSON_DAYS: i64 = 90;
/// Longest life of any entry: ten years, after which any consent is asked for again.
pub const MAX_LIFE_DAYS: i64 = 3660;
/// Most credentials of one person.
pub const MAX_CREDENTIALS: usize = 16;
/// Most photographs in one enrolment.
pub const MAX_PHOTOS: usize = 8;
/// Most rules in one person's weekly hours.
pub(super) const MAX_HOURS: usize = 32;
/// Most persons that a command may name.
pub const MAX_NAMED: usize = 100;

fn usage(what: impl Into<String>) -> Error {
    Error::new(Kind::Usage, Culprit::Request, what)
}

/// A text of `[A-Za-z0-9._:/-]`, at most `max` bytes: safe in a log, a CSV and a topic's payload.
fn plain(text: &str, max: usize, slashes: bool) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'.' | b'_' | b'-')
                || slashes && matches!(b, b'/' | b':')
        })
}

/// What the site calls a person: a pseudonym such as a contract's number, `[A-Za-z0-9._-]{1,64}`.
/// Never a name or a document's number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^[A-Za-z0-9._-]{1,64}$"))]
pub struct PersonRef(String);

impl PersonRef {
    /// Checks and wraps a reference. What is not one is not repeated: it may be a name.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if plain(&text, 64, false) {
            Ok(Self(text))
        } else {
            Err(usage("this is not a person_ref")
                .remedy("use a pseudonym of 1 to 64 letters, digits, ., _ and -"))
        }
    }

    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PersonRef {
    /// Logs are read by people who need not know who is enrolled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonRef(..)")
    }
}

impl FromStr for PersonRef {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Self::new(s)
    }
}

impl TryFrom<String> for PersonRef {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        Self::new(s)
    }
}

impl From<PersonRef> for String {
    fn from(p: PersonRef) -> String {
        p.0
    }
}

/// Where a consent or an order is filed, `[A-Za-z0-9._:/-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^[A-Za-z0-9._:/-]{1,128}$"))]
pub struct Reference(String);

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        if plain(&text, 128, true) {
            Ok(Self(text))
        } else {
            Err(usage("the basis is not a reference").remedy(
                "name where the consent or the order is filed: 1 to 128 letters, digits, . _ - : and /",
            ))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Reference> for String {
    fn from(r: Reference) -> String {
        r.0
    }
}

/// What allows the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The person's own, separate consent.
    Consent(Reference),
    /// An authority's order.
    Authority(Reference),
}

impl Basis {
    /// Checks and wraps a consent's reference.
    pub fn consent(reference: impl Into<String>) -> Result<Self> {
        reference.into().try_into().map(Self::Consent)
    }

    /// Checks and wraps an authority's reference.
    pub fn authority(reference: impl Into<String>) -> Result<Self> {
        reference.into().try_into().map(Self::Authority)
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consent(r) => write!(f, "consent:{}", r.0),
            Self::Authority(r) => write!(f, "authority:{}", r.0),
        }
    }
}

impl FromStr for Basis {
    type Err = Error;
    /// `consent:REFERENCE` or `authority:REFERENCE`.
    fn from_str(s: &str) -> Result<Self> {
        match s.split_once(':') {
            Some(("consent", r)) => Self::consent(r),
            Some(("authority", r)) => Self::authority(r),
            _ => Err(usage("this is not a basis").remedy("write consent:REFERENCE or authority:REFERENCE")),
        }
    }
}

/// One rule of weekly hours: on these days from one minute to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Span {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes of the day, 0 to 1439.
    from: u16,
    /// 1 to 1440. Not above `from`: until that minute of the next day.
    until: u16,
}

/// When in the week an entry holds: rules such as `mon-fri 07:00-19:00` or `sat,sun 22:00-06:00`.
/// Hours that end no later than they begin run over midnight and belong to the day on which they
/// begin; `00:00-24:00` is a whole day. By the clock on the site's wall, whatever its zone does in
/// spring and autumn.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct WeeklyHours(#[schemars(with = "Vec<String>", length(min = 1, max = 32))] Vec<Span>);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl WeeklyHours {
    /// Reads rules, each as `DAYS HH:MM-HH:MM`, DAYS as `mon`, `mon-fri`, `sat,sun` or `daily`.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self> {
        if rules.is_empty() || rules.len() > MAX_HOURS {
            return Err(usage(format!("weekly hours are 1 to {MAX_HOURS} rules"))
                .remedy("leave them out where the entry holds at any time"));
        }
        rules.iter().map(|r| Span::parse(r.as_ref())).collect::<Result<_>>().map(Self)
    }

    /// Whether `at`, in the site's zone, is within the hours.
    pub fn contain(&self, at: Timestamp, zone: &TimeZone) -> bool {
        self.contain_minute(Minute::of(at, zone))
    }

    /// As [`Self::contain`], for a minute of the week computed once for many entries.
    pub fn contain_minute(&self, now: Minute) -> bool {
        let yesterday = (now.day + 6) % 7;
        self.0.iter().any(|s| {
            let on = |day: u8| s.days & (1 << day) != 0;
            if s.from < s.until {
                on(now.day) && (s.from..s.until).contains(&now.minute)
            } else {
                on(now.day) && now.minute >= s.from || on(yesterday) && now.minute < s.until
            }
        })
    }
}

/// A minute of the week on the site's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    day: u8,
    minute: u16,
}

impl Minute {
    /// The minute that `at` lies in.
    pub fn of(at: Timestamp, zone: &TimeZone) -> Self {
        let local = zone.to_datetime(at);
        let day = Weekday::to_monday_zero_offset(local.weekday());
        let time: Time = local.time();
        Self {
            day: u8::try_from(day).unwrap_or(0),
            minute: u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0),
        }
    }
}

impl Span {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
            usage(format!("{shown:?} is not a rule of weekly hours"))
                .remedy("write days and hours such as \"mon-fri 07:00-19:00\" or \"daily 22:00-06:00\"")
        };
        let (days, hours) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (from, until) = hours.trim().split_once('-').ok_or_else(wrong)?;
        let minutes = |text: &str| -> Option<u16> {
            let (h, m) = text.trim().split_once(':')?;
            if h.len() != 2 || m.len() != 2 || !h.bytes().chain(m.bytes()).all(|b| b.is_ascii_digit()) {
                return None;
            }
            let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
            (m < 60 && h * 60 + m <= 1440).then_some(h * 60 + m)
        };
        let (from, until) = (minutes(from).ok_or_else(wrong)?, minutes(until).ok_or_else(wrong)?);
        if from == until || from == 1440 || until == 0 {
            return Err(wrong());
        }
        Ok(Self { days: Self::days(&days.to_ascii_lowercase()).ok_or_else(wrong)?, from, until })
    }

    fn days(text: &str) -> Option<u8> {
        if text == "daily" {
            return Some(0x7f);
        }
        let number = |name: &str| DAYS.iter().position(|d| *d == name);
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            // `fri-mon` goes through the weekend.
            let count = (last + 7 - first) % 7;
            for step in 0..=count {
                days |= 1 << ((first + step) % 7);
            }
        }
        Some(days)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == 0x7f {
            f.write_str("daily")?;
        } else {
            let names: Vec<_> = (0..7).filter(|d| self.days & (1 << d) != 0).map(|d| DAYS[d]).collect();
            f.write_str(&names.join(","))?;
        }
        let (a, b) = (self.from, self.until);
        write!(f, " {:02}:{:02}-{:02}:{:02}", a / 60, a % 60, b / 60, b % 60)
    }
}

impl TryFrom<Vec<String>> for WeeklyHours {
    type Error = Error;
    fn try_from(rules: Vec<String>) -> Result<Self> {
        Self::parse(&rules)
    }
}

impl From<WeeklyHours> for Vec<String> {
    fn from(hours: WeeklyHours) -> Self {
        hours.0.iter().map(ToString::to_string).collect()
    }
}

impl FromStr for WeeklyHours {
    type Err = Error;
    /// Rules separated by semicolons.
    fn from_str(s: &str) -> Result<Self> {
        Self::parse(&s.split(';').map(str::trim).filter(|r| !r.is_empty()).collect::<Vec<_>>())
    }
}

/// What opens a session at a door.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A door card, by its number.
    Card,
    /// A tag on a person's key ring.
    Tag,
    /// A keypad: the person's number, `#`, the PIN.
    Pin,
    /// A fingerprint reader that matches by itself: the number it knows the person by.
    Fingerprint,
}

impl CredentialKind {
    /// The kind as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Tag => "tag",
            Self::Pin => "pin",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// A credential on its way in. Its value is never printed and is overwritten when dropped; only
/// keyed hashes of it are stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialText {
    /// What it is.
    pub kind: CredentialKind,
    /// Its number as the reader gives it, 1 to 128 characters; spaces, `:` and `-` in it, and
    /// whether letters are large, make no difference. A PIN is `NUMBER#PIN`.
    #[schemars(length(min = 1, max = 128))]
    pub value: String,
}

impl fmt::Debug for CredentialText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialText({})", self.kind.as_str())
    }
}

impl Drop for CredentialText {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// What is known of a person besides the face: the terms of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryTerms {
    /// The pseudonym.
    pub person_ref: PersonRef,
    /// Why the person is in the gallery.
    pub purpose: Purpose,
    /// What allows it.
    pub basis: Basis,
    /// From when on it holds; from now on if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Until when. After that the entry matches nothing and is erased.
    pub valid_until: Timestamp,
    /// When in the week; at any time if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<WeeklyHours>,
    /// The language of prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Cards, tags and PINs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub credentials: Vec<CredentialText>,
}

impl EntryTerms {
    /// What is wrong with the terms at `now`, if anything.
    pub fn check(&self, now: Timestamp) -> std::result::Result<(), GalleryReason> {
        let from = self.valid_from.unwrap_or(now);
        if self.purpose == Purpose::MissingPerson && !matches!(self.basis, Basis::Authority(_)) {
            return Err(GalleryReason::BasisInsufficient);
        }
        if self.valid_until <= now {
            return Err(GalleryReason::AlreadyExpired);
        }
        if self.valid_until <= from {
            return Err(GalleryReason::ValidityReversed);
        }
        let longest =
            if self.purpose == Purpose::MissingPerson { MISSING_PERSON_DAYS } else { MAX_LIFE_DAYS };
        if self.valid_until.duration_since(now) > SignedDuration::from_hours(24 * longest) {
            return Err(GalleryReason::ValidTooLong);
        }
        if self.credentials.len() > MAX_CREDENTIALS {
            return Err(GalleryReason::TooManyCredentials);
        }
        Ok(())
    }
}

/// Why an enrolment or an order was refused, in words that a program can branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GalleryReason {
    /// The file is not a picture that can be read, or is larger than accepted.
    PhotoUnreadable,
    /// No photograph was given.
    NoPhoto,
    /// More photographs than accepted.
    TooManyPhotos,
    /// No face was found.
    NoFace,
    /// More than one face was found: the box does not choose.
    SeveralFaces,
    /// Too few pixels between the eyes.
    TooSmall,
    /// The face touches the picture's edge.
    CutOff,
    /// The face is turned away or half hidden.
    TurnedAway,
    /// The face is too dark.
    TooDark,
    /// The face is too bright.
    TooBright,
    /// The face is blurred.
    Blurred,
    /// The photographs do not show one person.
    PhotosDisagree,
    /// Somebody this alike is enrolled under another reference.
    AlreadyEnrolled,
    /// The credential belongs to somebody else.
    CredentialTaken,
    /// The credential's value is not one.
    CredentialMalformed,
    /// More credentials than a person may have.
    TooManyCredentials,
    /// This box has no entries of that purpose.
    PurposeNotAllowed,
    /// The purpose needs an authority's reference.
    BasisInsufficient,
    /// `valid_until` has passed.
    AlreadyExpired,
    /// `valid_until` is not after `valid_from`.
    ValidityReversed,
    /// It would hold for longer than the purpose allows.
    ValidTooLong,
    /// The gallery is full.
    GalleryFull,
    /// The template was made with another model.
    OtherModel,
    /// Nobody of that reference is enrolled.
    UnknownPerson,
    /// An order that came after this one was already carried out.
    Stale,
    /// An order of this number was already carried out, and said something else.
    NumberReused,
}

impl GalleryReason {
    /// One line for a person.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::PhotoUnreadable => "the photograph cannot be read",
            Self::NoPhoto => "there is no photograph",
            Self::TooManyPhotos => "there are too many photographs",
            Self::NoFace => "no face was found in the photograph",
            Self::SeveralFaces => "more than one face is in the photograph",
            Self::TooSmall => "the face is too small",
            Self::CutOff => "the face is cut off at the picture's edge",
            Self::TurnedAway => "the face is turned away or half hidden",
            Self::TooDark => "the face is too dark",
            Self::TooBright => "the face is too bright",
            Self::Blurred => "the face is blurred",
            Self::PhotosDisagree => "the photographs do not show one person",
            Self::AlreadyEnrolled => "somebody this alike is enrolled under another reference",
            Self::CredentialTaken => "the credential belongs to somebody else",
            Self::CredentialMalformed => "the credential is not one of its kind",
            Self::TooManyCredentials => "there are too many credentials",
            Self::PurposeNotAllowed => "this box has no entries of that purpose",
            Self::BasisInsufficient => "a missing person needs an authority's reference",
            Self::AlreadyExpired => "the end of its validity has passed",
            Self::ValidityReversed => "its validity ends before it begins",
            Self::ValidTooLong => "it would hold for longer than its purpose allows",
            Self::GalleryFull => "the gallery is full",
            Self::OtherModel => "the template was made with another model",
            Self::UnknownPerson => "nobody of that reference is enrolled",
            Self::Stale => "a later order was already carried out",
            Self::NumberReused => "an order of this number said something else",
        }
    }
}

/// `gallery/put`: enrol a person, or replace the person's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GalleryPut {
    /// The terms.
    pub terms: EntryTerms,
    /// Photographs of the person, fused into one template and not kept.
    #[schemars(length(min = 1, max = 8))]
    pub photos: Vec<PortraitText>,
    /// People whom somebody has looked at and found to be different ones, however alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub distinct_from: Vec<PersonRef>,
}

/// `gallery/revoke`: end a person's entry, or one credential of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GalleryRevoke {
    /// Whom.
    pub person_ref: PersonRef,
    /// Only this credential; the entry and the person's face stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialText>,
    /// Keep the entry without its template until it expires, so that a door can say that it was
    /// revoked. Otherwise everything is erased.
    #[serde(default)]
    pub keep_record: bool,
}

/// `gallery/list`: what is stored. Never a template, and of credentials only how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GalleryList {
    /// Only entries of this purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Only references after this one, in their order: the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PersonRef>,
    /// At most so many, 1,000 at most and if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// How an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Can be matched while it is valid.
    Active,
    /// Was revoked: no template any more.
    Revoked,
    /// Waits for a photograph: its template was made with another model and is gone.
    Awaiting,
}

/// One entry as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryView {
    /// The entry; a person enrolled again has another one.
    pub entry: Uuid,
    /// The pseudonym.
    pub person_ref: PersonRef,
    /// Why the person is in the gallery.
    pub purpose: Purpose,
    /// What allows it.
    pub basis: Basis,
    /// How it stands.
    pub state: EntryState,
    /// From when on it holds.
    pub valid_from: Timestamp,
    /// Until when.
    pub valid_until: Timestamp,
    /// When in the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<WeeklyHours>,
    /// The language of prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// SHA-256 of the model that made the template.
    pub model: String,
    /// How many credentials of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialKind>,
}

/// A page of entries, in the order of their references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GalleryPage {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// Entries in the whole gallery.
    pub total: u32,
    /// Whether more follow.
    pub more: bool,
}

/// What happened to the gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GalleryChange {
    /// A person was enrolled.
    Enrolled,
    /// A person's entry was replaced by a newer one.
    Replaced,
    /// A person's entry was revoked; a record without template stays until it expires.
    Revoked,
    /// One credential was revoked.
    CredentialRevoked,
    /// A person was erased.
    Erased,
    /// An entry reached the end of its validity and was erased.
    Expired,
    /// The master key was changed.
    KeyRotated,
    /// The gallery was made ready for another model; its people wait for new photographs.
    Migrated,
}

/// How an order about the gallery ended. Carried out again, the same order says the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GalleryDone {
    /// What changed; absent if it was so already, or if the order was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<GalleryChange>,
    /// The entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Uuid>,
    /// Why the order was refused. Under which reference somebody is enrolled already is told to the
    /// box's operator alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<GalleryReason>,
    /// The order had been carried out before.
    #[serde(default)]
    pub repeated: bool,
}

/// A place in the audit log: whoever keeps it can tell later that nothing before it was edited or
/// cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditMark {
    /// The record's number.
    pub seq: u64,
    /// Its hash, SHA-256, lower-case hex: it covers every record before it.
    pub sha256: String,
}

/// The data of a `gallery.changed` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GalleryChanged {
    /// What happened.
    pub change: GalleryChange,
    /// To whom; absent where it concerns the whole gallery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_ref: Option<PersonRef>,
    /// The entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Uuid>,
    /// The entry's purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Who asked.
    pub by: String,
    /// Entries in the gallery afterwards.
    pub entries: u32,
    /// The newest record of the audit log.
    pub audit: AuditMark,
}

/// How an identification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentifyOutcome {
    /// Somebody is like enough: a clerk has to look.
    Candidates,
    /// Two people are too nearly equally like: a clerk has to look, and the box prefers neither.
    Ambiguous,
    /// Nobody is like enough.
    NoMatch,
    /// A clerk confirmed a candidate.
    Confirmed,
    /// A clerk rejected every candidate.
    Rejected,
    /// No clerk decided in time, or the box stopped: the candidates are forgotten.
    Expired,
    /// Nobody was seen until the deadline.
    NoFace,
    /// Several people stood equally close.
    MultipleFaces,
    /// A face was seen, but never well enough to compare.
    PoorQuality,
    /// The presentation check failed.
    PresentationAttackSuspected,
    /// The deadline came before an answer.
    Timeout,
    /// Something else prevented the search; the reason of a check says what.
    Error,
}

/// What a search promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchTerms {
    /// Entries that were compared.
    pub searched: u32,
    /// Of people who are not among them, the share of searches that may name somebody.
    pub fpir: f64,
    /// The false match rate of one comparison that keeps this.
    pub fmr: f64,
    /// The population of the calibration that asked for the threshold.
    pub population: String,
}

/// Somebody who is like the person at the desk. For the desk only: an event carries it only after
/// a clerk has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The pseudonym.
    pub person_ref: PersonRef,
    /// The entry.
    pub entry: Uuid,
    /// Why the person is in the gallery.
    pub purpose: Purpose,
    /// Where the comparison lies relative to the threshold.
    pub band: Band,
}

/// The data of an `identify.result` event: that a guest without papers was looked up, and what a
/// clerk made of it. It never decides alone, and names nobody whom no clerk has confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdentifyResult {
    /// The search; the clerk's decision has the same one.
    pub session: Uuid,
    /// What the requester called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// How it stands.
    pub outcome: IdentifyOutcome,
    /// Every check, made or not. `staff_confirmation` passes with `confirmed` and never before.
    pub checks: Vec<Check>,
    /// The purposes whose entries were searched.
    pub purposes: Vec<Purpose>,
    /// What the search promises; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<SearchTerms>,
    /// How many candidates the desk was shown.
    pub candidates: u32,
    /// The candidate whom a clerk confirmed; only with `confirmed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Candidate>,
    /// Which clerk decided; only with `confirmed` and `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// A clerk may decide until then; only with `candidates` and `ambiguous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_by: Option<Timestamp>,
    /// Present once the camera was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureFacts>,
    /// How long the search took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
}

/// What the desk is told of a search, over its own interface and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdentifyAnswer {
    /// The result as it is published.
    pub result: IdentifyResult,
    /// The candidates, the likest first; of an `ambiguous` search their order says nothing.
    pub candidates: Vec<Candidate>,
}

/// A search whose candidates wait for a clerk. For the desk only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdentifyWaiting {
    /// The search.
    pub session: Uuid,
    /// Where the guest stands.
    pub camera: Name,
    /// `candidates` or `ambiguous`.
    pub outcome: IdentifyOutcome,
    /// A clerk may decide until then.
    pub decide_by: Timestamp,
    /// The candidates, the likest first.
    pub candidates: Vec<Candidate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_run_over_midnight_and_belong_to_the_day_they_begin_on() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        // 2026-03-02 is a Monday.
        let at = |text: &str| -> Timestamp { format!("{text}+08:00").parse().unwrap() };
        let night: WeeklyHours = "fri 22:00-06:00".parse().unwrap();
        for (time, inside) in [
            ("2026-03-06T21:59:59", false),
            ("2026-03-06T22:00:00", true),
            ("2026-03-07T05:59:59", true),
            ("2026-03-07T06:00:00", false),
            ("2026-03-06T05:00:00", false),
            ("2026-03-07T22:30:00", false),
        ] {
            assert_eq!(night.contain(at(time), &zone), inside, "{time}");
        }
        let sunday: WeeklyHours = "sun 23:00-01:00".parse().unwrap();
        assert!(sunday.contain(at("2026-03-02T00:30:00"), &zone), "Monday belongs to Sunday's night");
        let week: WeeklyHours = "mon-fri 07:00-19:00; sat,sun 00:00-24:00".parse().unwrap();
        assert!(week.contain(at("2026-03-07T23:59:59"), &zone));
        assert!(!week.contain(at("2026-03-06T19:00:00"), &zone));
        let round: WeeklyHours = "fri-mon 09:00-10:00".parse().unwrap();
        assert_eq!(Vec::from(round), ["mon,fri,sat,sun 09:00-10:00"]);
        for wrong in ["", "mon", "mon 7:00-19:00", "mon 07:00-07:00", "mon 24:00-01:00", "mo 07:00-19:00"] {
            assert!(wrong.parse::<WeeklyHours>().is_err(), "{wrong}");
        }
        assert!("mon 25:00-26:00".parse::<WeeklyHours>().is_err());
    }

    #[test]
    fn no_terms_without_purpose_basis_and_end() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let whole = serde_json::json!({
            "person_ref": "a-1", "purpose": "tenant", "basis": { "consent": "c/7" },
            "valid_until": "2026-04-01T00:00:00Z",
        });
        let terms: EntryTerms = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(terms.check(now), Ok(()));
        for key in ["person_ref", "purpose", "basis", "valid_until"] {
            let mut lacking = whole.clone();
            lacking.as_object_mut().unwrap().remove(key);
            assert!(serde_json::from_value::<EntryTerms>(lacking).is_err(), "{key}");
        }
        let with = |key: &str, value: serde_json::Value| {
            let mut other = whole.clone();
            other[key] = value;
            serde_json::from_value::<EntryTerms>(other).map(|t| t.check(now))
        };
        assert!(with("basis", serde_json::json!({ "consent": "" })).is_err());
        assert!(with("person_ref", "Mr Bean".into()).is_err());
        let reason = |key, value| with(key, value).unwrap().unwrap_err();
        assert_eq!(reason("purpose", "missing_person".into()), GalleryReason::BasisInsufficient);
        assert_eq!(reason("valid_until", "2026-02-01T00:00:00Z".into()), GalleryReason::AlreadyExpired);
        assert_eq!(reason("valid_from", "2026-05-01T00:00:00Z".into()), GalleryReason::ValidityReversed);
        assert_eq!(reason("valid_until", "2099-01-01T00:00:00Z".into()), GalleryReason::ValidTooLong);
        let mut missing = terms;
        missing.purpose = Purpose::MissingPerson;
        missing.basis = "authority:police/2026-7".parse().unwrap();
        missing.valid_until = now + SignedDuration::from_hours(24 * 90);
        assert_eq!(missing.check(now), Ok(()));
        missing.valid_until += SignedDuration::from_secs(1);
        assert_eq!(missing.check(now), Err(GalleryReason::ValidTooLong));
    }

    #[test]
    fn what_is_secret_is_not_printed() {
        let card = CredentialText { kind: CredentialKind::Card, value: "04A1B2C3".into() };
        let person = PersonRef::new("tenant-17").unwrap();
        assert!(!format!("{card:?}{person:?}").contains("04A1"));
        assert!(!format!("{card:?}{person:?}").contains("17"));
        assert!(!PersonRef::new("Zhang San").unwrap_err().to_string().contains("Zhang"));
    }
}
