//! The UAS Datalink Local Set, MISB ST 0601.19: what a drone says about itself, its camera and the
//! picture, in one set with a checksum.
//!
//! One table ([`ITEMS`]) says how each item is written; decoder and encoder are driven by it. A value
//! is accepted only from a set whose checksum is right. What cannot be read is named, never guessed:
//! an item of a wrong length, a pattern that stands for "not known", an item that comes twice with
//! different values.
//!
//! The checksum is a sum of 16 bits (section 6.3). It notices every single changed byte, and not two
//! that compensate each other: that is all the standard gives, and one damaged set in 65,536 that
//! was damaged throughout passes it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::ber::{self, Ber};
use super::st1201::Imapb;
use super::{Fault, KEY, MAX_SET_BYTES};
use crate::base::{Culprit, Error, Kind, Result};
use crate::geo::pose::{Attitude, FieldOfView, Gimbal, Telemetry, TelemetrySource};
use crate::geo::units::{Angle, EllipsoidHeight, Height, LatLon, SeaLevelHeight};

/// The version of the standard that the encoder writes (item 65).
pub const VERSION: u8 = 19;
/// Longest text: what the standard allows of most.
const MAX_TEXT: usize = 127;
/// Items of one set that are looked at. The standard has fewer than 150, and few may come twice.
const MAX_ITEMS: usize = 512;

/// The number of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

/// How an item's value is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// An unsigned number of so many bytes, linear from the first value to the second.
    Unsigned(usize, f64, f64),
    /// A signed number of so many bytes, linear from minus the value to plus. The smallest number
    /// stands for "out of range" or "not known" and is no value.
    Signed(usize, f64),
    /// IMAPB between two values, in any number of bytes; written in so many.
    Imapb(f64, f64, usize),
    /// A whole number of exactly so many bytes.
    Whole(usize),
    /// A signed whole number of one to so many bytes.
    SignedWhole(usize),
    /// UTF-8 text.
    Text,
    /// A set or pack of its own that is passed over.
    Nested,
}

struct Item {
    tag: Tag,
    name: &'static str,
    unit: &'static str,
    form: Form,
}

/// A value of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// In the unit of the item.
    Number(f64),
    /// A count, a code or flags.
    Whole(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Whole(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

macro_rules! items {
    ($($number:literal $constant:ident $name:literal, $unit:literal, $form:expr;)*) => {
        impl Tag {
            $(#[doc = concat!("Item ", stringify!($number), ", ", $name, ", ", $unit, ".")]
            pub const $constant: Self = Self($number);)*
        }

        /// Every item that is understood, in the order of their tags.
        static ITEMS: &[Item] = &[
            $(Item { tag: Tag::$constant, name: $name, unit: $unit, form: $form }),*
        ];
    };
}

use Form::{Nested, Signed, SignedWhole, Text, Unsigned, Whole};
// Lengths and ranges: ST 0601.19 section 8, the section of each item's number.
items! {
    1 CHECKSUM "checksum", "16 bits", Whole(2);
    2 TIME "precision time stamp", "microseconds since 1970", Whole(8);
    3 MISSION "mission", "text", Text;
    4 TAIL_NUMBER "platform tail number", "text", Text;
    5 PLATFORM_HEADING "platform heading", "degrees", Unsigned(2, 0.0, 360.0);
    6 PLATFORM_PITCH "platform pitch", "degrees", Signed(2, 20.0);
    7 PLATFORM_ROLL "platform roll", "degrees", Signed(2, 50.0);
    10 PLATFORM "platform designation", "text", Text;
    11 SENSOR "image source sensor", "text", Text;
    12 COORDINATES "image coordinate system", "text", Text;
    13 SENSOR_LATITUDE "sensor latitude", "degrees", Signed(4, 90.0);
    14 SENSOR_LONGITUDE "sensor longitude", "degrees", Signed(4, 180.0);
    15 SENSOR_ALTITUDE "sensor altitude above sea level", "metres", Unsigned(2, -900.0, 19_000.0);
    16 HORIZONTAL_FOV "horizontal field of view", "degrees", Unsigned(2, 0.0, 180.0);
    17 VERTICAL_FOV "vertical field of view", "degrees", Unsigned(2, 0.0, 180.0);
    18 RELATIVE_AZIMUTH "sensor azimuth against the platform", "degrees", Unsigned(4, 0.0, 360.0);
    19 RELATIVE_ELEVATION "sensor elevation against the platform", "degrees", Signed(4, 180.0);
    20 RELATIVE_ROLL "sensor roll against the platform", "degrees", Unsigned(4, 0.0, 360.0);
    21 SLANT_RANGE "slant range", "metres", Unsigned(4, 0.0, 5_000_000.0);
    22 TARGET_WIDTH "target width", "metres", Unsigned(2, 0.0, 10_000.0);
    23 FRAME_CENTRE_LATITUDE "frame centre latitude", "degrees", Signed(4, 90.0);
    24 FRAME_CENTRE_LONGITUDE "frame centre longitude", "degrees", Signed(4, 180.0);
    25 FRAME_CENTRE_ELEVATION "frame centre above sea level", "metres", Unsigned(2, -900.0, 19_000.0);
    26 CORNER_1_LATITUDE_OFFSET "corner 1 latitude from the frame centre", "degrees", Signed(2, 0.075);
    27 CORNER_1_LONGITUDE_OFFSET "corner 1 longitude from the frame centre", "degrees", Signed(2, 0.075);
    28 CORNER_2_LATITUDE_OFFSET "corner 2 latitude from the frame centre", "degrees", Signed(2, 0.075);
    29 CORNER_2_LONGITUDE_OFFSET "corner 2 longitude from the frame centre", "degrees", Signed(2, 0.075);
    30 CORNER_3_LATITUDE_OFFSET "corner 3 latitude from the frame centre", "degrees", Signed(2, 0.075);
    31 CORNER_3_LONGITUDE_OFFSET "corner 3 longitude from the frame centre", "degrees", Signed(2, 0.075);
    32 CORNER_4_LATITUDE_OFFSET "corner 4 latitude from the frame centre", "degrees", Signed(2, 0.075);
    33 CORNER_4_LONGITUDE_OFFSET "corner 4 longitude from the frame centre", "degrees", Signed(2, 0.075);
    40 TARGET_LATITUDE "target latitude", "degrees", Signed(4, 90.0);
    41 TARGET_LONGITUDE "target longitude", "degrees", Signed(4, 180.0);
    42 TARGET_ELEVATION "target above sea level", "metres", Unsigned(2, -900.0, 19_000.0);
    45 TARGET_CE90 "target circular error 90 %", "metres", Unsigned(2, 0.0, 4095.0);
    46 TARGET_LE90 "target linear error 90 %", "metres", Unsigned(2, 0.0, 4095.0);
    47 FLAGS "generic flags", "bits", Whole(1);
    48 SECURITY "security local set", "set", Nested;
    56 GROUND_SPEED "platform ground speed", "metres per second", Whole(1);
    59 CALL_SIGN "platform call sign", "text", Text;
    65 LS_VERSION "version of ST 0601", "number", Whole(1);
    75 SENSOR_ELLIPSOID_HEIGHT "sensor height above the ellipsoid", "metres", Unsigned(2, -900.0, 19_000.0);
    78 FRAME_CENTRE_ELLIPSOID_HEIGHT "frame centre above the ellipsoid", "metres",
        Unsigned(2, -900.0, 19_000.0);
    79 SENSOR_NORTH_VELOCITY "sensor velocity north", "metres per second", Signed(2, 327.0);
    80 SENSOR_EAST_VELOCITY "sensor velocity east", "metres per second", Signed(2, 327.0);
    82 CORNER_1_LATITUDE "corner 1 latitude", "degrees", Signed(4, 90.0);
    83 CORNER_1_LONGITUDE "corner 1 longitude", "degrees", Signed(4, 180.0);
    84 CORNER_2_LATITUDE "corner 2 latitude", "degrees", Signed(4, 90.0);
    85 CORNER_2_LONGITUDE "corner 2 longitude", "degrees", Signed(4, 180.0);
    86 CORNER_3_LATITUDE "corner 3 latitude", "degrees", Signed(4, 90.0);
    87 CORNER_3_LONGITUDE "corner 3 longitude", "degrees", Signed(4, 180.0);
    88 CORNER_4_LATITUDE "corner 4 latitude", "degrees", Signed(4, 90.0);
    89 CORNER_4_LONGITUDE "corner 4 longitude", "degrees", Signed(4, 180.0);
    90 PLATFORM_PITCH_FULL "platform pitch, full", "degrees", Signed(4, 90.0);
    91 PLATFORM_ROLL_FULL "platform roll, full", "degrees", Signed(4, 90.0);
    96 TARGET_WIDTH_EXTENDED "target width, extended", "metres", Form::Imapb(0.0, 1_500_000.0, 3);
    104 SENSOR_ELLIPSOID_HEIGHT_EXTENDED "sensor height above the ellipsoid, extended", "metres",
        Form::Imapb(-900.0, 40_000.0, 3);
    112 PLATFORM_COURSE "platform course", "degrees", Form::Imapb(0.0, 360.0, 2);
    113 HEIGHT_ABOVE_GROUND "height above ground", "metres", Form::Imapb(-900.0, 40_000.0, 3);
    114 RADAR_HEIGHT "radar altimeter", "metres", Form::Imapb(-900.0, 40_000.0, 3);
    134 ZOOM "zoom", "percent", Form::Imapb(0.0, 100.0, 2);
    136 LEAP_SECONDS "leap seconds", "seconds", SignedWhole(4);
    137 TIME_CORRECTION "correction of the time stamp", "microseconds", SignedWhole(8);
}

impl Tag {
    fn item(self) -> Option<&'static Item> {
        ITEMS.binary_search_by_key(&self, |item| item.tag).ok().map(|at| &ITEMS[at])
    }

    /// What it is, if it is understood.
    pub fn name(self) -> Option<&'static str> {
        self.item().map(|item| item.name)
    }

    /// The unit of its value, if it is understood.
    pub fn unit(self) -> Option<&'static str> {
        self.item().map(|item| item.unit)
    }
}

/// `13 (sensor latitude)`.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Why a known item of a sound set is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has so many bytes, which no value of it has.
    Length(usize),
    /// It comes twice with different values: neither is taken.
    Contradicts,
    /// Not UTF-8, or with characters that are no text.
    NotText,
    /// A bit pattern without a meaning.
    Reserved,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(n) => write!(f, "has {n} bytes, which no value of it has"),
            Self::Contradicts => f.write_str("comes twice with different values"),
            Self::NotText => f.write_str("is no text"),
            Self::Reserved => f.write_str("holds a reserved bit pattern"),
        }
    }
}

/// The flags of item 47.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    const BLACK_HOT: u8 = 1 << 2;
    const RANGE_MEASURED: u8 = 1 << 4;
    const IMAGE_INVALID: u8 = 1 << 5;

    /// The thermal picture shows what is warm dark.
    pub fn black_hot(self) -> bool {
        self.0 & Self::BLACK_HOT != 0
    }

    /// The slant range was measured, not calculated from a model of the ground.
    pub fn range_measured(self) -> bool {
        self.0 & Self::RANGE_MEASURED != 0
    }

    /// The picture is of no use, says the camera.
    pub fn image_invalid(self) -> bool {
        self.0 & Self::IMAGE_INVALID != 0
    }
}

/// The items of one set, with its time.
///
/// ```
/// use vigil::geo::klv::{Reader, Set, Tag};
///
/// let set = Set::new("2026-11-24T22:00:00Z".parse()?)?
///     .with(Tag::SENSOR_LATITUDE, 30.2)?
///     .with(Tag::SENSOR_LONGITUDE, 120.1)?
///     .with(Tag::SENSOR_ELLIPSOID_HEIGHT, 140.0)?;
/// let bytes = set.encode()?;
/// let found = Reader::new().read(&bytes);
/// let telemetry = found[0].set()?.set.telemetry();
/// assert!((telemetry.position.unwrap().lat().degrees() - 30.2).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Microseconds since 1970, item 2.
    time_us: u64,
    /// Known items but for checksum and time.
    items: BTreeMap<Tag, Value>,
}

/// A decoded set and what was not taken from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What it says.
    pub set: Set,
    /// Items that are not understood, passed over.
    pub unknown: u32,
    /// Whether a security set (item 48) was there. It is not looked into.
    pub security: bool,
    /// Items that say of themselves that the value is not known or out of range.
    pub unstated: Vec<Tag>,
    /// Items that could not be taken, and why; of each the first reason.
    pub refused: Vec<(Tag, Refusal)>,
    /// Items that came more than once.
    pub repeated: Vec<Tag>,
    /// The time stamp was not the first item, as the standard wants it.
    pub time_not_first: bool,
}

fn sum(packet: &[u8]) -> u16 {
    packet.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u16::from(*low));
        sum.wrapping_add(word)
    })
}

/// The last item's tag and length.
const CHECKSUM_HEAD: [u8; 2] = [1, 2];

impl Decoded {
    /// Decodes exactly one set, from its key to its checksum.
    pub fn read(packet: &[u8]) -> Result<Self, Fault> {
        let body = packet.strip_prefix(&KEY).ok_or(Fault::Torn)?;
        let items = match ber::length(body) {
            Ber::Read(length, used) if body.len() == used + length && length <= MAX_SET_BYTES => {
                &body[used..]
            }
            Ber::Bad => return Err(Fault::Length),
            _ => return Err(Fault::Torn),
        };
        let (covered, stated) = packet.split_at(packet.len() - 2);
        if items.len() < 4 || !covered.ends_with(&CHECKSUM_HEAD) {
            return Err(Fault::NoChecksum);
        }
        if sum(covered).to_be_bytes() != stated {
            return Err(Fault::Checksum);
        }
        Self::read_items(&items[..items.len() - 4])
    }

    fn read_items(mut rest: &[u8]) -> Result<Self, Fault> {
        let mut out = Self {
            set: Set { time_us: 0, items: BTreeMap::new() },
            unknown: 0,
            security: false,
            unstated: Vec::new(),
            refused: Vec::new(),
            repeated: Vec::new(),
            time_not_first: false,
        };
        let mut time: Option<u64> = None;
        let mut seen: BTreeMap<Tag, &[u8]> = BTreeMap::new();
        for count in 0.. {
            if rest.is_empty() {
                break;
            }
            let Ber::Read(number, tag_bytes) = ber::tag(rest) else { return Err(Fault::Items) };
            let Ber::Read(length, length_bytes) = ber::length(&rest[tag_bytes..]) else {
                return Err(Fault::Items);
            };
            let from = tag_bytes + length_bytes;
            let Some(value) = from.checked_add(length).and_then(|end| rest.get(from..end)) else {
                return Err(Fault::Items);
            };
            rest = &rest[from + length..];
            if count >= MAX_ITEMS {
                return Err(Fault::Items);
            }
            let tag = Tag(number);
            let Some(item) = tag.item() else {
                out.unknown += 1;
                continue;
            };
            if let Some(first) = seen.insert(tag, value) {
                if !out.repeated.contains(&tag) {
                    out.repeated.push(tag);
                }
                if first != value && tag != Tag::SECURITY {
                    out.refuse(tag, Refusal::Contradicts);
                    if tag == Tag::TIME {
                        return Err(Fault::Time);
                    }
                }
                continue;
            }
            match tag {
                // There is one, at the end, and it was looked at.
                Tag::CHECKSUM => return Err(Fault::Items),
                Tag::SECURITY => out.security = true,
                Tag::TIME => {
                    out.time_not_first = count != 0;
                    let bytes = value.try_into().map_err(|_| Fault::Time)?;
                    time = Some(u64::from_be_bytes(bytes));
                }
                // Items of no length say that the value is not known (ST 0107.5 section 6.4).
                _ if value.is_empty() => out.unstated.push(tag),
                _ => match item.form.read(value) {
                    Ok(Some(value)) => {
                        out.set.items.insert(tag, value);
                    }
                    Ok(None) => out.unstated.push(tag),
                    Err(why) => out.refuse(tag, why),
                },
            }
        }
        out.set.time_us = time.ok_or(Fault::NoTime)?;
        out.set.checked_time().ok_or(Fault::Time)?;
        Ok(out)
    }

    fn refuse(&mut self, tag: Tag, why: Refusal) {
        self.set.items.remove(&tag);
        self.unstated.retain(|t| *t != tag);
        if !self.refused.iter().any(|(t, _)| *t == tag) {
            self.refused.push((tag, why));
        }
    }
}

/// A big-endian number, its sign spread.
fn signed(bytes: &[u8]) -> i64 {
    let start = if bytes[0] & 0x80 != 0 { -1 } else { 0 };
    bytes.iter().fold(start, |value, byte| value << 8 | i64::from(*byte))
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The largest unsigned number of so many bytes, up to four.
fn most(bytes: usize) -> f64 {
    (2f64).powi(8 * bytes as i32) - 1.0
}

/// The largest signed number of so many bytes, up to four.
fn most_signed(bytes: usize) -> f64 {
    (2f64).powi(8 * bytes as i32 - 1) - 1.0
}

impl Form {
    /// The value in bytes of which there is at least one; `None` where they say that it is not known.
    fn read(self, bytes: &[u8]) -> Result<Option<Value>, Refusal> {
        let n = bytes.len();
        Ok(Some(match self {
            Self::Unsigned(length, ..) | Self::Signed(length, _) | Self::Whole(length) if n != length => {
                return Err(Refusal::Length(n));
            }
            Self::Unsigned(_, min, max) => {
                Value::Number(min + unsigned(bytes) as f64 * ((max - min) / most(n)))
            }
            Self::Signed(_, max) => match signed(bytes) as f64 {
                raw if raw < -most_signed(n) => return Ok(None),
                raw => Value::Number(raw * (max / most_signed(n))),
            },
            Self::Imapb(min, max, _) => {
                let map = Imapb::try_new(min, max, n).map_err(|_| Refusal::Length(n))?;
                match map.read(bytes).map_err(|_| Refusal::Length(n))? {
                    super::st1201::Mapped::Value(value) => Value::Number(value.clamp(min, max)),
                    super::st1201::Mapped::Reserved => return Err(Refusal::Reserved),
                    _ => return Ok(None),
                }
            }
            // One or two bytes: the eight of the time are read before this.
            Self::Whole(_) => Value::Whole(unsigned(bytes) as i64),
            Self::SignedWhole(most) if n > most => return Err(Refusal::Length(n)),
            Self::SignedWhole(_) => Value::Whole(signed(bytes)),
            Self::Text if n > MAX_TEXT => return Err(Refusal::Length(n)),
            Self::Text => match std::str::from_utf8(bytes) {
                Ok(text) if !text.chars().any(char::is_control) => Value::Text(text.to_owned()),
                _ => return Err(Refusal::NotText),
            },
            Self::Nested => return Ok(None),
        }))
    }

    /// The value's bytes. `None`: the form has no such value.
    fn write(self, value: &Value) -> Option<Vec<u8>> {
        let tail = |raw: i64, n: usize| raw.to_be_bytes()[8 - n..].to_vec();
        match (self, value) {
            (Self::Unsigned(n, min, max), Value::Number(v)) if (min..=max).contains(v) => {
                Some(tail(((v - min) / (max - min) * most(n)).round() as i64, n))
            }
            (Self::Signed(n, max), Value::Number(v)) if v.abs() <= max => {
                Some(tail((v / max * most_signed(n)).round() as i64, n))
            }
            (Self::Imapb(min, max, n), Value::Number(v)) if (min..=max).contains(v) => {
                let mut out = Vec::with_capacity(n);
                Imapb::try_new(min, max, n).ok()?.put(&mut out, *v);
                Some(out)
            }
            (Self::Whole(n), Value::Whole(v)) if (0..1i64 << (8 * n)).contains(v) => Some(tail(*v, n)),
            (Self::SignedWhole(most), Value::Whole(v)) => {
                // As short as it goes.
                let n = (1..8).find(|n| (-1i64 << (8 * n - 1)..1i64 << (8 * n - 1)).contains(v)).unwrap_or(8);
                (n <= most).then(|| tail(*v, n))
            }
            (Self::Text, Value::Text(text)) => {
                let fine = (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
                fine.then(|| text.as_bytes().to_vec())
            }
            _ => None,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Set {
    /// An empty set of this time. Times before 1970 are refused.
    pub fn new(time: Timestamp) -> Result<Self> {
        let time_us = u64::try_from(time.as_microsecond()).map_err(|_| {
            Error::new(Kind::Unsupported, Culprit::Request, "ST 0601 has no times before 1970")
        })?;
        Ok(Self { time_us, items: BTreeMap::new() })
    }

    /// Adds or replaces an item. Refused: items that are not understood, time, checksum and nested
    /// sets, and values that the item cannot hold.
    pub fn put(&mut self, tag: Tag, value: impl Into<Value>) -> Result<()> {
        let mut value = value.into();
        let item = tag.item().filter(|item| {
            !matches!(item.form, Nested) && item.tag != Tag::TIME && item.tag != Tag::CHECKSUM
        });
        if let (Some(Item { form: Whole(_) | SignedWhole(_), .. }), Value::Number(number)) = (item, &value)
            && number.fract() == 0.0
        {
            value = Value::Whole(*number as i64);
        }
        if item.and_then(|item| item.form.write(&value)).is_none() {
            let says = format!("item {tag} of ST 0601 cannot say {value}");
            return Err(Error::new(Kind::Unsupported, Culprit::Request, says)
                .remedy("leave it out, or say it in the item made for it"));
        }
        self.items.insert(tag, value);
        Ok(())
    }

    /// [`Set::put`] in a chain.
    pub fn with(mut self, tag: Tag, value: impl Into<Value>) -> Result<Self> {
        self.put(tag, value)?;
        Ok(self)
    }

    /// An item's number, in its unit.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        match self.items.get(&tag)? {
            Value::Number(number) => Some(*number),
            Value::Whole(number) => Some(*number as f64),
            Value::Text(_) => None,
        }
    }

    /// An item's text.
    pub fn text(&self, tag: Tag) -> Option<&str> {
        match self.items.get(&tag)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Every item but time and checksum, in the order of their tags.
    pub fn items(&self) -> impl Iterator<Item = (Tag, &Value)> {
        self.items.iter().map(|(tag, value)| (*tag, value))
    }

    /// The flags of item 47.
    pub fn flags(&self) -> Option<Flags> {
        match self.items.get(&Tag::FLAGS)? {
            Value::Whole(bits) => u8::try_from(*bits).ok().map(Flags),
            _ => None,
        }
    }

    fn checked_time(&self) -> Option<Timestamp> {
        let whole = |tag| match self.items.get(&tag) {
            Some(Value::Whole(number)) => *number,
            _ => 0,
        };
        let us = i64::try_from(self.time_us)
            .ok()?
            .checked_add(whole(Tag::LEAP_SECONDS).checked_mul(1_000_000)?)?
            .checked_add(whole(Tag::TIME_CORRECTION))?;
        Timestamp::from_microsecond(us).ok()
    }

    /// Its time: item 2, with leap seconds (136) and correction (137) where they are said (ST 0601.19
    /// section 6.4).
    pub fn time(&self) -> Timestamp {
        // Looked at when the set was read; an encoder's correction that leads out of all time is
        // as good as none.
        self.checked_time().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Writes the set: key, length, time first, the other items by their tags, checksum last. The
    /// version is added if it was not said.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut body = vec![2, 8];
        body.extend_from_slice(&self.time_us.to_be_bytes());
        let version = Value::Whole(i64::from(VERSION));
        let mut items: BTreeMap<Tag, &Value> = self.items.iter().map(|(tag, v)| (*tag, v)).collect();
        items.entry(Tag::LS_VERSION).or_insert(&version);
        for (tag, value) in items {
            let bytes = tag
                .item()
                .and_then(|item| item.form.write(value))
                .ok_or_else(|| Error::internal(format!("item {tag} cannot be written")))?;
            ber::put_tag(&mut body, tag.0);
            ber::put_length(&mut body, bytes.len() as u32);
            body.extend_from_slice(&bytes);
        }
        body.extend_from_slice(&CHECKSUM_HEAD);
        let mut out = KEY.to_vec();
        ber::put_length(&mut out, body.len() as u32 + 2);
        out.extend_from_slice(&body);
        let checksum = sum(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        Ok(out)
    }

    /// What the set says of platform and camera.
    ///
    /// - Height: above the ellipsoid (75, or 104) where it is said, otherwise above sea level (15).
    /// - The platform's attitude needs heading, pitch and roll; the full pitch and roll (90, 91) come
    ///   before the short ones (6, 7), which cannot say more than 20 and 50 degrees.
    /// - The camera needs azimuth and elevation; a roll that is not said is none, since most gimbals
    ///   hold it.
    /// - The slant range is taken only where the flags say that it was measured: a calculated one knows
    ///   no more than the ground model it came from.
    pub fn telemetry(&self) -> Telemetry {
        let n = |tag| self.number(tag);
        let angle = |tag| n(tag).map(Angle::from_degrees);
        let position = n(Tag::SENSOR_LATITUDE)
            .zip(n(Tag::SENSOR_LONGITUDE))
            .and_then(|(a, o)| LatLon::from_degrees(a, o));
        let height = n(Tag::SENSOR_ELLIPSOID_HEIGHT)
            .or(n(Tag::SENSOR_ELLIPSOID_HEIGHT_EXTENDED))
            .map(|h| Height::Ellipsoid(EllipsoidHeight(h)))
            .or(n(Tag::SENSOR_ALTITUDE).map(|h| Height::SeaLevel(SeaLevelHeight(h))));
        let pitch = angle(Tag::PLATFORM_PITCH_FULL).or(angle(Tag::PLATFORM_PITCH));
        let roll = angle(Tag::PLATFORM_ROLL_FULL).or(angle(Tag::PLATFORM_ROLL));
        let platform = match (angle(Tag::PLATFORM_HEADING), pitch, roll) {
            (Some(yaw), Some(pitch), Some(roll)) => Some(Attitude { yaw, pitch, roll }),
            _ => None,
        };
        let gimbal =
            angle(Tag::RELATIVE_AZIMUTH).zip(angle(Tag::RELATIVE_ELEVATION)).map(|(azimuth, elevation)| {
                Gimbal::Platform {
                    azimuth,
                    elevation,
                    roll: angle(Tag::RELATIVE_ROLL).map_or(Angle::ZERO, Angle::signed),
                }
            });
        let wide = |tag| angle(tag).filter(|a| *a > Angle::ZERO && a.degrees() < 180.0);
        Telemetry {
            time: self.time(),
            source: TelemetrySource::Klv,
            position,
            height,
            platform,
            gimbal,
            field_of_view: wide(Tag::HORIZONTAL_FOV)
                .map(|horizontal| FieldOfView { horizontal, vertical: wide(Tag::VERTICAL_FOV) }),
            slant_range_m: n(Tag::SLANT_RANGE)
                .filter(|range| *range > 0.0 && self.flags().is_some_and(Flags::range_measured)),
        }
    }

    /// The set that says what `telemetry` says, in the same items that [`Set::telemetry`] reads.
    ///
    /// Refused: a height above the place of take-off, for which ST 0601 has no item, and values
    /// beyond an item's range. A camera turned against the world is written against a level platform
    /// that heads north, which is how ST 0601 says it without a platform.
    pub fn from_telemetry(telemetry: &Telemetry) -> Result<Self> {
        let mut set = Self::new(telemetry.time)?;
        if let Some(at) = telemetry.position {
            set.put(Tag::SENSOR_LATITUDE, at.lat().degrees())?;
            set.put(Tag::SENSOR_LONGITUDE, at.lon().degrees())?;
        }
        match telemetry.height {
            None => {}
            Some(Height::Ellipsoid(EllipsoidHeight(height))) => {
                if height <= 19_000.0 {
                    set.put(Tag::SENSOR_ELLIPSOID_HEIGHT, height)?;
                } else {
                    set.put(Tag::SENSOR_ELLIPSOID_HEIGHT_EXTENDED, height)?;
                }
            }
            Some(Height::SeaLevel(SeaLevelHeight(height))) => set.put(Tag::SENSOR_ALTITUDE, height)?,
            Some(Height::Takeoff(_)) => {
                let says = "ST 0601 has no item for a height above the place of take-off";
                return Err(Error::new(Kind::Unsupported, Culprit::Request, says)
                    .remedy("turn it into a height above the ellipsoid or above sea level"));
            }
        }
        let (platform, camera) = match (telemetry.platform, telemetry.gimbal) {
            (Some(_), Some(Gimbal::World(_))) => {
                let says = "a camera turned against the world needs no platform in ST 0601";
                return Err(Error::new(Kind::Unsupported, Culprit::Request, says)
                    .remedy("say how it is turned against the platform, or leave the platform out"));
            }
            (None, Some(Gimbal::World(a))) => {
                let level = Attitude { yaw: Angle::ZERO, pitch: Angle::ZERO, roll: Angle::ZERO };
                (Some(level), Some((a.yaw, a.pitch, a.roll)))
            }
            (platform, Some(Gimbal::Platform { azimuth, elevation, roll })) => {
                (platform, Some((azimuth, elevation, roll)))
            }
            (platform, None) => (platform, None),
        };
        if let Some(attitude) = platform {
            let (pitch, roll) = (attitude.pitch.signed().degrees(), attitude.roll.signed().degrees());
            set.put(Tag::PLATFORM_HEADING, attitude.yaw.compass().degrees())?;
            set.put(Tag::PLATFORM_PITCH_FULL, pitch)?;
            set.put(Tag::PLATFORM_ROLL_FULL, roll)?;
            // For readers that know no full angles; where these cannot say it, nothing is better.
            if pitch.abs() <= 20.0 {
                set.put(Tag::PLATFORM_PITCH, pitch)?;
            }
            if roll.abs() <= 50.0 {
                set.put(Tag::PLATFORM_ROLL, roll)?;
            }
        }
        if let Some((azimuth, elevation, roll)) = camera {
            set.put(Tag::RELATIVE_AZIMUTH, azimuth.compass().degrees())?;
            set.put(Tag::RELATIVE_ELEVATION, elevation.signed().degrees())?;
            set.put(Tag::RELATIVE_ROLL, roll.compass().degrees())?;
        }
        if let Some(view) = telemetry.field_of_view {
            set.put(Tag::HORIZONTAL_FOV, view.horizontal.degrees())?;
            if let Some(vertical) = view.vertical {
                set.put(Tag::VERTICAL_FOV, vertical.degrees())?;
            }
        }
        if let Some(range) = telemetry.slant_range_m {
            set.put(Tag::SLANT_RANGE, range)?;
            set.put(Tag::FLAGS, i64::from(Flags::RANGE_MEASURED))?;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-11-24T22:00:00.123456Z".parse().unwrap()
    }

    fn full() -> Telemetry {
        let a = Angle::from_degrees;
        Telemetry {
            time: now(),
            source: TelemetrySource::Klv,
            position: LatLon::from_degrees(30.123_456_7, -120.765_432_1),
            height: Some(Height::Ellipsoid(EllipsoidHeight(143.2))),
            platform: Some(Attitude { yaw: a(359.0), pitch: a(-31.5), roll: a(12.25) }),
            gimbal: Some(Gimbal::Platform { azimuth: a(271.0), elevation: a(-89.5), roll: a(-3.0) }),
            field_of_view: Some(FieldOfView { horizontal: a(41.5), vertical: Some(a(33.0)) }),
            slant_range_m: Some(150.0),
        }
    }

    fn close(a: &Telemetry, b: &Telemetry) -> std::result::Result<(), String> {
        let angle = |a: Angle, b: Angle, within: f64| (a - b).signed().degrees().abs() <= within;
        let at = |t: &Telemetry| t.position.map(|p| (p.lat().degrees(), p.lon().degrees()));
        let ok = a.time == b.time
            && at(a).zip(at(b)).is_none_or(|(a, b)| (a.0 - b.0).abs() < 1e-7 && (a.1 - b.1).abs() < 1e-7)
            && a.position.is_some() == b.position.is_some()
            && match (a.height, b.height) {
                (Some(Height::Ellipsoid(a)), Some(Height::Ellipsoid(b))) => (a.0 - b.0).abs() < 0.16,
                (Some(Height::SeaLevel(a)), Some(Height::SeaLevel(b))) => (a.0 - b.0).abs() < 0.16,
                (a, b) => a == b,
            }
            && match (a.platform, b.platform) {
                (Some(a), Some(b)) => {
                    angle(a.yaw, b.yaw, 0.003) && angle(a.pitch, b.pitch, 1e-6) && angle(a.roll, b.roll, 1e-6)
                }
                (a, b) => a == b,
            }
            && match (a.gimbal, b.gimbal) {
                (
                    Some(Gimbal::Platform { azimuth, elevation, roll }),
                    Some(Gimbal::Platform { azimuth: z, elevation: e, roll: r }),
                ) => angle(azimuth, z, 1e-6) && angle(elevation, e, 1e-6) && angle(roll, r, 1e-6),
                (a, b) => a == b,
            }
            && match (a.field_of_view, b.field_of_view) {
                (Some(a), Some(b)) => {
                    angle(a.horizontal, b.horizontal, 0.0015) && a.vertical.is_some() == b.vertical.is_some()
                }
                (a, b) => a == b,
            }
            && a.slant_range_m.zip(b.slant_range_m).is_none_or(|(a, b)| (a - b).abs() < 0.001)
            && a.slant_range_m.is_some() == b.slant_range_m.is_some();
        if ok { Ok(()) } else { Err(format!("{a:?}\n{b:?}")) }
    }

    fn back(set: &Set) -> Decoded {
        Decoded::read(&set.encode().unwrap()).unwrap()
    }

    /// A set of raw items behind a sound time, with a right checksum.
    fn raw(items: &[(u32, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 8, 0, 5, 0, 0, 0, 0, 0, 0];
        for (tag, value) in items {
            ber::put_tag(&mut body, *tag);
            ber::put_length(&mut body, value.len() as u32);
            body.extend_from_slice(value);
        }
        sealed(&body)
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut out = KEY.to_vec();
        ber::put_length(&mut out, body.len() as u32 + 4);
        out.extend_from_slice(body);
        out.extend_from_slice(&CHECKSUM_HEAD);
        let checksum = sum(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(ITEMS.windows(2).all(|w| w[0].tag < w[1].tag));
        assert_eq!(Tag::SENSOR_LATITUDE.to_string(), "13 (sensor latitude)");
        assert_eq!(Tag(999).to_string(), "999");
    }

    /// Examples that the standard prints beside the items (section 8).
    #[test]
    fn the_standards_own_examples() {
        for (tag, bytes, value, within) in [
            (5, &[0x71, 0xc2][..], 159.974_365, 0.003),
            (6, &[0xfd, 0x3d], -0.431_531_724, 0.0005),
            (7, &[0x08, 0xb8], 3.405_865_65, 0.0005),
            (13, &[0x55, 0x95, 0xb6, 0x6d], 60.176_822_966_978_335, 1e-7),
            (14, &[0x5b, 0x53, 0x60, 0xc4], 128.426_759_042_044_52, 1e-7),
            (15, &[0xc2, 0x21], 14_190.719_5, 0.2),
            (16, &[0xcd, 0x9c], 144.571_298, 0.002),
            (18, &[0x72, 0x4a, 0x0a, 0x20], 160.719_211_474_396_8, 1e-7),
            (19, &[0x87, 0xf8, 0x4b, 0x86], -168.792_324_833_941_24, 1e-7),
            (21, &[0x03, 0x83, 0x09, 0x26], 68_590.983_298_744_77, 0.001),
            (104, &[0x2f, 0x92, 0x1e], 23_456.234_375, 0.1),
        ] {
            let set = Decoded::read(&raw(&[(tag, bytes)])).unwrap().set;
            let got = set.number(Tag(tag)).unwrap();
            assert!((got - value).abs() <= within, "{tag}: {got}");
        }
    }

    #[test]
    fn a_drone_says_the_same_after_a_round_trip() {
        let told = full();
        let found = back(&Set::from_telemetry(&told).unwrap());
        close(&told, &found.set.telemetry()).unwrap();
        assert_eq!(found.set.number(Tag::LS_VERSION), Some(f64::from(VERSION)));
        // A pitch that the short item cannot say stands in the full one alone.
        assert_eq!(found.set.number(Tag::PLATFORM_PITCH), None);
        assert!(found.set.number(Tag::PLATFORM_ROLL).is_some());
        assert!(found.refused.is_empty() && found.unstated.is_empty() && !found.time_not_first);

        let world = Attitude { yaw: told.platform.unwrap().yaw, pitch: Angle::ZERO, roll: Angle::ZERO };
        let no_platform = Telemetry { platform: None, gimbal: Some(Gimbal::World(world)), ..full() };
        let found = back(&Set::from_telemetry(&no_platform).unwrap()).set.telemetry();
        assert_eq!(found.platform.unwrap().yaw, Angle::ZERO);
        let Some(Gimbal::Platform { azimuth, .. }) = found.gimbal else { panic!() };
        assert!((azimuth.degrees() - 359.0).abs() < 1e-6);
        assert!(Set::from_telemetry(&Telemetry { platform: full().platform, ..no_platform }).is_err());
        let takeoff =
            Telemetry { height: Some(Height::Takeoff(crate::geo::units::TakeoffHeight(10.0))), ..full() };
        assert!(Set::from_telemetry(&takeoff).unwrap_err().to_string().contains("place of take-off"));
    }

    #[test]
    fn heights_are_kept_apart() {
        let n = |set: &Set| back(set).set.telemetry().height.unwrap();
        let mut set = Set::new(now()).unwrap().with(Tag::SENSOR_ALTITUDE, 100.0).unwrap();
        assert!(matches!(n(&set), Height::SeaLevel(h) if (h.0 - 100.0).abs() < 0.2));
        set.put(Tag::SENSOR_ELLIPSOID_HEIGHT_EXTENDED, 110.0).unwrap();
        assert!(matches!(n(&set), Height::Ellipsoid(h) if (h.0 - 110.0).abs() < 0.01));
        set.put(Tag::SENSOR_ELLIPSOID_HEIGHT, 111.0).unwrap();
        assert!(matches!(n(&set), Height::Ellipsoid(h) if (h.0 - 111.0).abs() < 0.2));
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        let minimum = [0x80, 0, 0, 0];
        let found = Decoded::read(&raw(&[
            (6, &[0x80, 0]),
            (13, &minimum),
            (14, &[]),
            (19, &minimum),
            (104, &[0xe1, 0, 0]),
            (96, &[0xc8, 0, 0]),
        ]))
        .unwrap();
        assert_eq!(found.unstated.iter().map(|t| t.0).collect::<Vec<_>>(), [6, 13, 14, 19, 104, 96]);
        assert_eq!(found.set.items().count(), 0);
        assert_eq!(found.set.telemetry().position, None);
    }

    #[test]
    fn a_wrong_length_is_named_and_costs_that_item_alone() {
        for (tag, bytes, why) in [
            (13, &[0u8; 3][..], Refusal::Length(3)),
            (5, &[0; 3], Refusal::Length(3)),
            (104, &[0; 9], Refusal::Length(9)),
            (136, &[0; 5], Refusal::Length(5)),
            (3, b"a\x1b[31m", Refusal::NotText),
            (3, b"\xff\xfe", Refusal::NotText),
            (104, &[0xc0, 0, 0], Refusal::Reserved),
        ] {
            let found = Decoded::read(&raw(&[(tag, bytes), (15, &[0xc2, 0x21])])).unwrap();
            assert_eq!(found.refused, [(Tag(tag), why)]);
            assert_eq!(found.set.items().count(), 1);
        }
        let found = Decoded::read(&raw(&[(13, &[0; 3])])).unwrap();
        let (tag, why) = found.refused[0];
        assert_eq!(format!("{tag} {why}"), "13 (sensor latitude) has 3 bytes, which no value of it has");
    }

    #[test]
    fn repeated_items_are_named_and_contradictions_are_not_taken() {
        let (a, b) = ([0u8, 1, 2, 3], [0u8, 1, 2, 4]);
        let same = Decoded::read(&raw(&[(13, &a), (13, &a)])).unwrap();
        assert_eq!((same.repeated.len(), same.refused.len(), same.set.items().count()), (1, 0, 1));
        let other = Decoded::read(&raw(&[(13, &a), (13, &b), (13, &a)])).unwrap();
        assert_eq!(other.refused, [(Tag::SENSOR_LATITUDE, Refusal::Contradicts)]);
        assert_eq!((other.repeated.len(), other.set.items().count()), (1, 0));
    }

    #[test]
    fn unknown_and_nested_items_are_passed_over() {
        let found =
            Decoded::read(&raw(&[(48, &[1, 1, 1]), (74, &[9; 300]), (2000, &[]), (66, &[1])])).unwrap();
        assert!(found.security);
        assert_eq!((found.unknown, found.set.items().count()), (3, 0));
    }

    #[test]
    fn a_set_without_its_frame_is_refused_whole() {
        let time = [2, 8, 0, 5, 0, 0, 0, 0, 0, 0];
        let with = |items: &[u8]| Decoded::read(&sealed(&[&time[..], items].concat())).unwrap_err();
        assert_eq!(Decoded::read(&sealed(&[5, 2, 0, 0])).unwrap_err(), Fault::NoTime);
        assert_eq!(Decoded::read(&sealed(&[2, 4, 0, 0, 0, 0])).unwrap_err(), Fault::Time);
        assert_eq!(Decoded::read(&sealed(&[2, 8, 0xff, 0, 0, 0, 0, 0, 0, 0])).unwrap_err(), Fault::Time);
        assert_eq!(with(&[2, 8, 0, 0, 0, 0, 0, 0, 0, 1]), Fault::Time);
        assert_eq!(with(&[13, 5, 0, 0, 0, 0]), Fault::Items);
        assert_eq!(with(&[0x80]), Fault::Items);
        assert_eq!(with(&[1, 2, 0, 0]), Fault::Items);
        let mut unsealed = sealed(&time);
        let end = unsealed.len();
        unsealed[end - 4] = 3;
        assert_eq!(Decoded::read(&unsealed).unwrap_err(), Fault::NoChecksum);
        let late = Decoded::read(&sealed(&[&[5, 2, 0, 0][..], &time].concat())).unwrap();
        assert!(late.time_not_first);
    }

    #[test]
    fn leap_seconds_and_corrections_move_the_time() {
        let set = Set::new(now()).unwrap();
        let moved =
            set.clone().with(Tag::LEAP_SECONDS, -27).unwrap().with(Tag::TIME_CORRECTION, 500_000).unwrap();
        let by = back(&moved).set.time().as_microsecond() - set.time().as_microsecond();
        assert_eq!(by, -26_500_000);
    }

    #[test]
    fn a_calculated_range_is_no_measurement() {
        let set = Set::new(now()).unwrap().with(Tag::SLANT_RANGE, 200.0).unwrap();
        assert_eq!(back(&set).set.telemetry().slant_range_m, None);
        let set = set.with(Tag::FLAGS, 0b1_0100).unwrap();
        let found = back(&set).set;
        assert!(found.telemetry().slant_range_m.is_some());
        let flags = found.flags().unwrap();
        assert!(flags.black_hot() && !flags.image_invalid());
    }

    #[test]
    fn the_encoder_refuses_what_an_item_cannot_say() {
        let mut set = Set::new(now()).unwrap();
        assert!(Set::new("1969-12-31T23:59:59Z".parse().unwrap()).is_err());
        for (tag, value) in [
            (Tag::SENSOR_LATITUDE, Value::Number(90.1)),
            (Tag::SENSOR_LATITUDE, Value::Number(f64::NAN)),
            (Tag::PLATFORM_PITCH, Value::Number(-20.5)),
            (Tag::MISSION, Value::Text("x".repeat(128))),
            (Tag::MISSION, Value::Text(String::new())),
            (Tag::MISSION, Value::Number(1.0)),
            (Tag::FLAGS, Value::Whole(256)),
            (Tag::LEAP_SECONDS, Value::Whole(1 << 40)),
            (Tag::CHECKSUM, Value::Whole(1)),
            (Tag::TIME, Value::Whole(1)),
            (Tag::SECURITY, Value::Whole(1)),
            (Tag(999), Value::Whole(1)),
        ] {
            assert!(set.put(tag, value.clone()).is_err(), "{tag}: {value}");
        }
        assert_eq!(set.items().count(), 0);
    }

    prop_compose! {
        fn angles()(list in prop::collection::vec(0.0..1.0f64, 8)) -> Vec<f64> { list }
    }

    proptest! {
        #[test]
        fn telemetry_comes_back(
            us in 0i64..4_000_000_000_000_000, lat in -90.0..=90.0f64, lon in -180.0..=180.0f64,
            height in -900.0..19_000.0f64, sea in any::<bool>(), turns in angles(), drop in any::<u8>(),
        ) {
            let a = |n: usize, from: f64, to: f64| Angle::from_degrees(from + turns[n] * (to - from));
            let kept = |bit: u8| drop & 1 << bit == 0;
            let height = if sea {
                Height::SeaLevel(SeaLevelHeight(height))
            } else {
                Height::Ellipsoid(EllipsoidHeight(height))
            };
            let told = Telemetry {
                time: Timestamp::from_microsecond(us).unwrap(),
                source: TelemetrySource::Klv,
                position: kept(0).then(|| LatLon::from_degrees(lat, lon).unwrap()),
                height: kept(1).then_some(height),
                platform: kept(2).then(|| Attitude {
                    yaw: a(0, 0.0, 360.0), pitch: a(1, -90.0, 90.0), roll: a(2, -90.0, 90.0),
                }),
                gimbal: kept(3).then(|| Gimbal::Platform {
                    azimuth: a(3, 0.0, 360.0), elevation: a(4, -180.0, 180.0), roll: a(5, -180.0, 180.0),
                }),
                field_of_view: kept(4).then(|| FieldOfView {
                    horizontal: a(6, 0.1, 179.9), vertical: kept(5).then(|| a(7, 0.1, 179.9)),
                }),
                slant_range_m: kept(6).then_some(1.0 + turns[0] * 10_000.0),
            };
            let found = back(&Set::from_telemetry(&told).unwrap());
            if let Err(e) = close(&told, &found.set.telemetry()) {
                return Err(TestCaseError::fail(e));
            }
            // What was read is written as it was read.
            prop_assert_eq!(&back(&found.set), &found);
        }

        #[test]
        fn any_items_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let time = [2u8, 8, 0, 5, 0, 0, 0, 0, 0, 0];
            if let Ok(found) = Decoded::read(&sealed(&[&time[..], &body].concat())) {
                let _ = found.set.telemetry();
                for (tag, value) in found.set.items() {
                    if let Value::Number(number) = value {
                        prop_assert!(number.is_finite(), "{} {}", tag, number);
                    }
                }
                let again = found.set.encode();
                prop_assert!(again.is_ok(), "{:?}", again);
            }
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..200, by in 1u8..) {
            let good = Set::from_telemetry(&full()).unwrap().encode().unwrap();
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] = bad[at].wrapping_add(by);
            prop_assert!(Decoded::read(&bad).is_err());
        }
    }
}
