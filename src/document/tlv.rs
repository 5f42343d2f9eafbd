//! BER-TLV as chips and certificates really write it (ISO/IEC 8825-1; ISO/IEC 7816-4 for the tags
//! of data groups).
//!
//! A strict DER parser refuses part of the world's passports: lengths with leading zeros, lengths
//! of indefinite form, octet strings in pieces. This reader takes them all. It copies nothing,
//! looks at one level at a time and only where somebody asks, so what it costs is bounded by the
//! bytes given times [`MAX_DEPTH`]. Every error says at which byte, counted from the start of the
//! file.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::base::{Culprit, Error, Kind, Result};

/// No element lies deeper. A certificate inside a security object needs 14.
pub const MAX_DEPTH: u8 = 32;
/// No element has more children. The largest known is a revocation list.
pub const MAX_CHILDREN: usize = 100_000;

/// An element's tag: its identifier octets as one big-endian number, the way standards print them:
/// `0x30`, `0x5F1F`, `0x7F61`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Self = Self(0x01);
    /// INTEGER.
    pub const INTEGER: Self = Self(0x02);
    /// BIT STRING.
    pub const BIT_STRING: Self = Self(0x03);
    /// OCTET STRING in one piece.
    pub const OCTET_STRING: Self = Self(0x04);
    /// OCTET STRING in several pieces.
    pub const OCTET_STRING_IN_PIECES: Self = Self(0x24);
    /// NULL.
    pub const NULL: Self = Self(0x05);
    /// OBJECT IDENTIFIER.
    pub const OID: Self = Self(0x06);
    /// UTCTime.
    pub const UTC_TIME: Self = Self(0x17);
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: Self = Self(0x18);
    /// SEQUENCE.
    pub const SEQUENCE: Self = Self(0x30);
    /// SET.
    pub const SET: Self = Self(0x31);

    /// `[n]` of a primitive value, implicit. `n` up to 30.
    pub const fn context(n: u8) -> Self {
        Self(0x80 | (n & 0x1f) as u32)
    }

    /// `[n]` of a constructed value, or explicit. `n` up to 30.
    pub const fn context_constructed(n: u8) -> Self {
        Self(0xa0 | (n & 0x1f) as u32)
    }

    /// Whether the body is a sequence of elements, as the tag says.
    pub fn is_constructed(self) -> bool {
        self.0.to_be_bytes().iter().find(|b| **b != 0).is_some_and(|first| first & 0x20 != 0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 > 0xff_ffff {
            8
        } else if self.0 > 0xffff {
            6
        } else if self.0 > 0xff {
            4
        } else {
            2
        };
        write!(f, "{:0digits$X}", self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

fn malformed(at: usize, message: impl fmt::Display) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, format!("at byte {at}: {message}"))
}

/// Reads elements that stand one after the other.
///
/// An iterator that ends after its first error.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` starts in the file.
    at: usize,
    depth: u8,
    left: usize,
}

impl<'a> Reader<'a> {
    /// Reads the elements of a whole file.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::within(bytes, 0)
    }

    /// Reads the elements of `bytes`, which start at byte `at` of the file.
    pub fn within(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at, depth: 0, left: MAX_CHILDREN }
    }

    /// Where the next element starts, in bytes of the file.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The tag of the next element without reading it.
    pub fn peek(&self) -> Option<Tag> {
        tag(self.rest, self.at).ok().map(|(tag, _)| tag)
    }

    /// The next element. At the end this is an error that names `what`.
    pub fn next_as(&mut self, what: &str) -> Result<Tlv<'a>> {
        self.next().unwrap_or_else(|| Err(malformed(self.at, format_args!("{what} is missing"))))
    }

    /// The next element, which must have `tag`; `what` names it in the error.
    pub fn expect(&mut self, tag: Tag, what: &str) -> Result<Tlv<'a>> {
        self.next_as(what)?.expect(tag, what)
    }

    /// The next element if it has `tag`; one with another tag is left where it is.
    pub fn optional(&mut self, tag: Tag) -> Result<Option<Tlv<'a>>> {
        if self.peek() == Some(tag) { self.next().transpose() } else { Ok(None) }
    }

    fn read(&mut self) -> Result<Tlv<'a>> {
        if self.left == 0 {
            return Err(malformed(self.at, format_args!("more than {MAX_CHILDREN} elements side by side")));
        }
        self.left -= 1;
        let element = element(self.rest, self.at, self.depth)?;
        self.at += element.raw.len();
        self.rest = &self.rest[element.raw.len()..];
        Ok(element)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Tlv<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.read();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

/// One element: tag, length, value.
#[derive(Clone, Copy)]
pub struct Tlv<'a> {
    tag: Tag,
    raw: &'a [u8],
    body: &'a [u8],
    at: usize,
    body_at: usize,
    depth: u8,
}

/// Neither bytes nor values: they may show a person.
impl fmt::Debug for Tlv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tlv({} at byte {}, {} bytes)", self.tag, self.at, self.body.len())
    }
}

impl<'a> Tlv<'a> {
    /// The first element of `bytes`; what follows it is not looked at.
    pub fn first(bytes: &'a [u8]) -> Result<Self> {
        Reader::new(bytes).next_as("an element")
    }

    /// The first element of `bytes`, which start at byte `at` of the file.
    pub fn first_within(bytes: &'a [u8], at: usize) -> Result<Self> {
        Reader::within(bytes, at).next_as("an element")
    }

    /// The tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Where the tag stands, in bytes of the file.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where the body starts, in bytes of the file.
    pub fn body_at(&self) -> usize {
        self.body_at
    }

    /// Everything: tag, length, body, and the end mark of an indefinite length.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The value, without the end mark of an indefinite length.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// This element if it has `tag`, or else an error that names `what` was looked for.
    pub fn expect(self, tag: Tag, what: &str) -> Result<Self> {
        if self.tag == tag {
            return Ok(self);
        }
        Err(self.malformed(format_args!("{what} has tag {tag}, not {}", self.tag)))
    }

    /// An error about this element: `at byte 12: …`.
    pub fn malformed(&self, message: impl fmt::Display) -> Error {
        malformed(self.at, message)
    }

    /// The elements inside. An element whose tag is primitive is opened too: an OCTET STRING often
    /// holds DER, and the caller knows.
    pub fn children(&self) -> Result<Reader<'a>> {
        if self.depth >= MAX_DEPTH {
            return Err(self.malformed(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Reader { rest: self.body, at: self.body_at, depth: self.depth + 1, left: MAX_CHILDREN })
    }

    /// The first child with `tag`. Children behind it are not looked at.
    pub fn find(&self, tag: Tag) -> Result<Option<Self>> {
        for child in self.children()? {
            let child = child?;
            if child.tag == tag {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// The first child with `tag`, or an error that says `what` is missing here.
    pub fn child(&self, tag: Tag, what: &str) -> Result<Self> {
        self.find(tag)?
            .ok_or_else(|| self.malformed(format_args!("{what} (tag {tag}) is missing inside {}", self.tag)))
    }

    /// The only element inside, as an explicit `[n]` has it.
    pub fn inner(&self, what: &str) -> Result<Self> {
        self.children()?.next_as(what)
    }

    /// The value of an INTEGER or ENUMERATED without leading zeros, most significant byte first.
    /// A negative one is an error: none stands anywhere in a passport.
    pub fn unsigned(&self) -> Result<&'a [u8]> {
        match self.body {
            [] => Err(self.malformed("an integer without a value")),
            [first, ..] if first & 0x80 != 0 => Err(self.malformed("a negative integer")),
            body => {
                let zeros = body.iter().take_while(|b| **b == 0).count();
                Ok(&body[zeros..])
            }
        }
    }

    /// The value of a small INTEGER or ENUMERATED.
    pub fn small(&self) -> Result<u64> {
        let bytes = self.unsigned()?;
        if bytes.len() > 8 {
            return Err(
                self.malformed(format_args!("an integer of {} bytes where a small one belongs", bytes.len()))
            );
        }
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// The value of a BOOLEAN; whatever is not zero is true.
    pub fn boolean(&self) -> Result<bool> {
        match self.body {
            [b] => Ok(*b != 0),
            _ => Err(self.malformed("a boolean that is not one byte")),
        }
    }

    /// The value of an OBJECT IDENTIFIER.
    pub fn oid(&self) -> Result<Oid<'a>> {
        if self.tag != Tag::OID {
            return Err(self.malformed(format_args!(
                "an object identifier has tag {}, not {}",
                Tag::OID,
                self.tag
            )));
        }
        // The last octet of an arc has its high bit clear.
        match self.body.last() {
            Some(last) if last & 0x80 == 0 && self.body.len() <= Oid::MAX => Ok(Oid(self.body)),
            _ => Err(self.malformed("an object identifier that is empty, cut off or too long")),
        }
    }

    /// The value of an OCTET STRING, whose tag may be another one when it is implicit. One in
    /// pieces is put together, which copies it.
    pub fn octets(&self) -> Result<Cow<'a, [u8]>> {
        if !self.tag.is_constructed() {
            return Ok(Cow::Borrowed(self.body));
        }
        let mut out = Vec::new();
        // Pieces may themselves be in pieces. Readers still open, innermost last.
        let mut open = vec![self.children()?];
        while let Some(reader) = open.last_mut() {
            match reader.next().transpose()? {
                None => {
                    open.pop();
                }
                Some(piece) if piece.tag == Tag::OCTET_STRING => out.extend_from_slice(piece.body),
                Some(piece) if piece.tag == Tag::OCTET_STRING_IN_PIECES => open.push(piece.children()?),
                Some(piece) => {
                    return Err(
                        piece.malformed(format_args!("{} among the pieces of an octet string", piece.tag))
                    );
                }
            }
        }
        Ok(Cow::Owned(out))
    }

    /// The value of a BIT STRING in one piece: the bytes, and how many bits at the end do not count.
    pub fn bits(&self) -> Result<(&'a [u8], u8)> {
        if self.tag.is_constructed() {
            return Err(self.malformed("a bit string in pieces"));
        }
        match self.body {
            [unused @ 0..=7, bytes @ ..] if *unused == 0 || !bytes.is_empty() => Ok((bytes, *unused)),
            _ => Err(self.malformed("a bit string that counts its bits wrongly")),
        }
    }

    /// The value of a UTCTime (RFC 5280 4.1.2.5: 50 is 1950, 49 is 2049) or GeneralizedTime.
    /// Seconds and minutes may be absent, a fraction is dropped, and a time without a zone is UTC.
    pub fn time(&self) -> Result<Timestamp> {
        let year_digits = match self.tag {
            Tag::UTC_TIME => 2,
            Tag::GENERALIZED_TIME => 4,
            other => return Err(self.malformed(format_args!("a time has tag {other}"))),
        };
        time(self.body, year_digits).ok_or_else(|| self.malformed("a time that is none"))
    }

    /// The value of a character string, at most `max` characters of it, with signs that would
    /// confuse a terminal replaced; `None` for a tag that is no character string.
    pub fn text(&self, max: usize) -> Option<String> {
        let tame = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        match self.tag.0 {
            // UTF8String, NumericString, PrintableString, IA5String, VisibleString
            0x0c | 0x12 | 0x13 | 0x16 | 0x1a => {
                let part = &self.body[..self.body.len().min(max.saturating_mul(4))];
                Some(String::from_utf8_lossy(part).chars().take(max).map(tame).collect())
            }
            // TeletexString, in practice Latin-1.
            0x14 => Some(self.body.iter().take(max).map(|b| tame(char::from(*b))).collect()),
            // BMPString
            0x1e => {
                let units = self.body.as_chunks::<2>().0.iter().map(|c| u16::from_be_bytes(*c));
                let chars = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
                Some(chars.take(max).map(tame).collect())
            }
            _ => None,
        }
    }
}

/// An object identifier, as its content octets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid<'a>(pub &'a [u8]);

impl Oid<'_> {
    /// No object identifier in use is longer, in content octets.
    const MAX: usize = 64;
}

/// Dotted: `1.2.840.113549.1.1.10`. An arc beyond 64 bits is printed as `?`.
impl fmt::Display for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut arc = Some(0_u64);
        for byte in self.0 {
            arc = arc.filter(|a| *a <= u64::MAX >> 7).map(|a| a << 7 | u64::from(byte & 0x7f));
            if byte & 0x80 != 0 {
                continue;
            }
            match (arc, first) {
                (Some(arc), true) => {
                    let root = (arc / 40).min(2);
                    write!(f, "{root}.{}", arc - root * 40)?;
                }
                (Some(arc), false) => write!(f, ".{arc}")?,
                (None, true) => f.write_str("?")?,
                (None, false) => f.write_str(".?")?,
            }
            first = false;
            arc = Some(0);
        }
        Ok(())
    }
}

impl fmt::Debug for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// Tag and the number of its octets.
fn tag(bytes: &[u8], at: usize) -> Result<(Tag, usize)> {
    let Some(&first) = bytes.first() else { return Err(malformed(at, "a tag is missing")) };
    let mut tag = u32::from(first);
    if first & 0x1f != 0x1f {
        return Ok((Tag(tag), 1));
    }
    for n in 1..4 {
        let Some(&byte) = bytes.get(n) else { return Err(malformed(at, "a tag is cut off")) };
        tag = tag << 8 | u32::from(byte);
        if byte & 0x80 == 0 {
            return Ok((Tag(tag), n + 1));
        }
    }
    Err(malformed(at, "a tag longer than four bytes"))
}

/// Tag, number of octets of tag and length, and the length unless it is indefinite.
fn header(bytes: &[u8], at: usize) -> Result<(Tag, usize, Option<usize>)> {
    let (tag, tag_len) = tag(bytes, at)?;
    let cut = || malformed(at, format_args!("the length of {tag} is cut off"));
    let first = *bytes.get(tag_len).ok_or_else(cut)?;
    let after_first = tag_len + 1;
    match first {
        0x00..=0x7f => Ok((tag, after_first, Some(usize::from(first)))),
        0x80 if tag.is_constructed() => Ok((tag, after_first, None)),
        0x80 => Err(malformed(at, format_args!("{tag} is primitive and has no definite length"))),
        0xff => Err(malformed(at, format_args!("{tag} has the reserved length FF"))),
        _ => {
            let end = after_first + usize::from(first & 0x7f);
            let octets = bytes.get(after_first..end).ok_or_else(cut)?;
            let zeros = octets.iter().take_while(|b| **b == 0).count();
            let octets = &octets[zeros..];
            if octets.len() > 4 {
                return Err(malformed(
                    at,
                    format_args!("{tag} claims to be {} bytes of length long", octets.len()),
                ));
            }
            let len = octets.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            Ok((tag, end, Some(usize::try_from(len).unwrap_or(usize::MAX))))
        }
    }
}

/// The element at the start of `bytes`.
fn element(bytes: &[u8], at: usize, depth: u8) -> Result<Tlv<'_>> {
    let (tag, header_len, len) = header(bytes, at)?;
    if tag == Tag(0) {
        return Err(malformed(at, "an end mark where nothing is open"));
    }
    let body_and_more = &bytes[header_len..];
    let (body_len, raw_len) = match len {
        Some(len) if len > body_and_more.len() => {
            return Err(malformed(
                at,
                format_args!("{tag} claims {len} bytes where {} are left", body_and_more.len()),
            ));
        }
        Some(len) => (len, header_len + len),
        None => {
            let len = indefinite(body_and_more, at + header_len, depth)?;
            (len, header_len + len + 2)
        }
    };
    Ok(Tlv {
        tag,
        raw: &bytes[..raw_len],
        body: &body_and_more[..body_len],
        at,
        body_at: at + header_len,
        depth,
    })
}

/// The length of a body of indefinite length, without its end mark.
///
/// Elements of definite length are stepped over; only the indefinite ones among them count as open.
fn indefinite(bytes: &[u8], at: usize, depth: u8) -> Result<usize> {
    let mut open = 1_u8;
    let mut pos = 0;
    let mut seen = 0;
    loop {
        let (tag, header_len, len) = header(&bytes[pos..], at + pos)
            .map_err(|e| e.context(format!("the end of an indefinite length at byte {at} is missing")))?;
        seen += 1;
        if seen > MAX_CHILDREN {
            return Err(malformed(
                at,
                format_args!("more than {MAX_CHILDREN} elements in an indefinite length"),
            ));
        }
        match len {
            Some(0) if tag == Tag(0) => {
                open -= 1;
                if open == 0 {
                    return Ok(pos);
                }
                pos += header_len;
            }
            Some(len) => {
                let left = bytes.len() - pos - header_len;
                if len > left {
                    return Err(malformed(
                        at + pos,
                        format_args!("{tag} claims {len} bytes where {left} are left"),
                    ));
                }
                pos += header_len + len;
            }
            None => {
                open += 1;
                if open.saturating_add(depth) > MAX_DEPTH {
                    return Err(malformed(at + pos, format_args!("nested deeper than {MAX_DEPTH}")));
                }
                pos += header_len;
            }
        }
    }
}

fn time(text: &[u8], year_digits: usize) -> Option<Timestamp> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (stamp, mut zone) = text.split_at(digits);
    let mut fields = stamp.get(year_digits..)?.chunks(2).map(number);
    let year = number(&stamp[..year_digits])?;
    let year = match (year_digits, year) {
        (2, 50..) => 1900 + year,
        (2, _) => 2000 + year,
        _ => year,
    };
    let mut field = |optional: bool| match fields.next() {
        Some(value) => value.and_then(|v| i8::try_from(v).ok()),
        None => optional.then_some(0),
    };
    let (month, day, hour) = (field(false)?, field(false)?, field(false)?);
    let (minute, second) = (field(year_digits == 4)?, field(true)?);
    if digits % 2 != 0 || digits > year_digits + 10 {
        return None;
    }
    if let [b'.' | b',', fraction @ ..] = zone {
        let n = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if year_digits != 4 || n == 0 {
            return None;
        }
        zone = &fraction[n..];
    }
    let east_minutes = match zone {
        [] if year_digits == 4 => 0,
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, m @ ..] if matches!(m.len(), 0 | 2) => {
            let minutes = if m.is_empty() { 0 } else { number(m)? };
            let minutes = number(&[*h1, *h2])? * 60 + minutes;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // A leap second is taken as the second before it.
    let local = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
    if second > 60 {
        return None;
    }
    if year == 9999 {
        // RFC 5280 4.1.2.5: no end. The last day of that year is later than what can be counted.
        return Some(Timestamp::MAX);
    }
    let utc = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
    utc.checked_sub(i64::from(east_minutes).minutes()).ok()
}

/// A number of up to four decimal digits.
fn number(digits: &[u8]) -> Option<i16> {
    digits.iter().try_fold(0_i16, |n, b| {
        b.is_ascii_digit().then(|| n.checked_mul(10)?.checked_add(i16::from(b - b'0'))).flatten()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(bytes: &[u8]) -> String {
        Tlv::first(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_form_of_tag_and_length() {
        for (bytes, tag, body) in [
            (&[0x04, 2, 7, 8][..], 0x04, &[7, 8][..]),
            (&[0x04, 0x81, 2, 7, 8], 0x04, &[7, 8]),
            (&[0x04, 0x84, 0, 0, 0, 2, 7, 8, 9], 0x04, &[7, 8]),
            (&[0x04, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8], 0x04, &[7, 8]),
            (&[0x04, 0], 0x04, &[]),
            (&[0x5f, 0x1f, 1, 9], 0x5f1f, &[9]),
            (&[0x7f, 0x61, 0], 0x7f61, &[]),
            (&[0x7f, 0x81, 0x82, 0x03, 0], 0x7f81_8203, &[]),
            (&[0x30, 0x80, 0, 0], 0x30, &[]),
            (&[0x30, 0x80, 4, 1, 7, 0, 0, 5], 0x30, &[4, 1, 7]),
            (&[0x30, 0x80, 0x30, 0x80, 4, 2, 0, 0, 0, 0, 0, 0], 0x30, &[0x30, 0x80, 4, 2, 0, 0, 0, 0]),
        ] {
            let element = Tlv::first(bytes).unwrap();
            assert_eq!((element.tag(), element.body()), (Tag(tag), body), "{bytes:02x?}");
            assert!(bytes.starts_with(element.raw()));
        }
    }

    #[test]
    fn an_error_names_the_byte() {
        for (bytes, says) in [
            (&[][..], "at byte 0: an element is missing"),
            (&[0x30], "at byte 0: the length of 30 is cut off"),
            (&[0x30, 0x82, 1], "at byte 0: the length of 30 is cut off"),
            (&[0x30, 3, 1], "at byte 0: 30 claims 3 bytes where 1 are left"),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], "at byte 0: 30 claims 4294967295 bytes where 0 are left"),
            (&[0x30, 0x85, 1, 0, 0, 0, 0], "at byte 0: 30 claims to be 5 bytes of length long"),
            (&[0x04, 0x80, 0, 0], "at byte 0: 04 is primitive and has no definite length"),
            (&[0x30, 0xff], "at byte 0: 30 has the reserved length FF"),
            (&[0x1f, 0x81], "at byte 0: a tag is cut off"),
            (&[0x1f, 0x81, 0x81, 0x81, 1], "at byte 0: a tag longer than four bytes"),
            (&[0, 0], "at byte 0: an end mark where nothing is open"),
            (&[0x30, 0x80, 4, 9, 1], "at byte 2: 04 claims 9 bytes where 1 are left"),
        ] {
            assert_eq!(error(bytes), says, "{bytes:02x?}");
        }
        assert!(
            error(&[0x30, 0x80, 4, 1, 1]).contains("the end of an indefinite length at byte 2 is missing")
        );
        let inner = Tlv::first(&[0x30, 4, 5, 0, 4, 9]).unwrap();
        let second = inner.children().unwrap().nth(1).unwrap().unwrap_err();
        assert_eq!(second.to_string(), "at byte 4: 04 claims 9 bytes where 0 are left");
        assert_eq!(
            inner.child(Tag::OID, "the kind").unwrap_err().to_string(),
            "at byte 4: 04 claims 9 bytes where 0 are left"
        );
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert!(error(&[0x30, 0x80].repeat(50_000)).contains("nested deeper than 32"));
        let mut deep = vec![5, 0];
        for _ in 0..40 {
            deep = [&[0x30, deep.len() as u8][..], &deep].concat();
        }
        let mut element = Tlv::first(&deep).unwrap();
        let error = loop {
            match element.children() {
                Ok(mut children) => element = children.next().unwrap().unwrap(),
                Err(e) => break e,
            }
        };
        assert_eq!(error.to_string(), "at byte 64: nested deeper than 32");
        let many = [5, 0].repeat(MAX_CHILDREN + 1);
        let last = Reader::new(&many).last().unwrap().unwrap_err();
        assert!(last.to_string().contains("more than 100000 elements"), "{last}");
        let pieces = [&[0x24, 0x80][..], &[0x24, 0x80].repeat(100), &[0, 0].repeat(101)].concat();
        assert!(Tlv::first(&pieces).unwrap_err().to_string().contains("nested deeper"));
    }

    #[test]
    fn values() {
        let of = |bytes: &'static [u8]| Tlv::first(bytes).unwrap();
        assert_eq!(of(&[2, 2, 0, 0x80]).unsigned().unwrap(), [0x80]);
        assert_eq!(of(&[2, 1, 0]).unsigned().unwrap(), [0; 0]);
        assert_eq!(of(&[2, 3, 1, 2, 3]).small().unwrap(), 0x1_0203);
        assert!(of(&[2, 1, 0x80]).unsigned().is_err());
        assert!(of(&[2, 0]).unsigned().is_err());
        assert!(of(&[2, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1]).small().is_err());
        assert!(of(&[1, 1, 0xff]).boolean().unwrap());
        assert!(of(&[1, 0]).boolean().is_err());
        assert_eq!(of(&[4, 2, 1, 2]).octets().unwrap()[..], [1, 2]);
        assert_eq!(of(&[0x24, 0x80, 4, 1, 1, 0x24, 3, 4, 1, 2, 0, 0]).octets().unwrap()[..], [1, 2]);
        assert!(of(&[0x24, 2, 5, 0]).octets().is_err());
        assert_eq!(of(&[3, 2, 4, 0xf0]).bits().unwrap(), (&[0xf0][..], 4));
        assert!(of(&[3, 0]).bits().is_err());
        assert!(of(&[3, 1, 1]).bits().is_err());
        assert!(of(&[3, 2, 8, 0]).bits().is_err());
        assert_eq!(of(&[0x13, 3, b'a', 0x1b, b'c']).text(9).unwrap(), "a\u{fffd}c");
        assert_eq!(of(&[0x1e, 4, 0x4e, 0x2d, 0x56, 0xfd]).text(9).unwrap(), "中国");
        assert_eq!(of(&[0x0c, 4, b'a', b'b', b'c', b'd']).text(2).unwrap(), "ab");
        assert_eq!(of(&[0x04, 1, 1]).text(2), None);
    }

    #[test]
    fn object_identifiers() {
        for (body, dotted) in [
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d][..], "1.2.840.113549"),
            (&[0x88, 0x37], "2.999"),
            (&[0x78], "2.40"),
            (&[0x27], "0.39"),
            (&[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "1.2.?"),
        ] {
            let bytes = [&[6, body.len() as u8][..], body].concat();
            assert_eq!(Tlv::first(&bytes).unwrap().oid().unwrap().to_string(), dotted);
        }
        for bytes in [&[6, 0][..], &[6, 1, 0x80], &[4, 1, 1]] {
            assert!(Tlv::first(bytes).unwrap().oid().is_err());
        }
    }

    #[test]
    fn times() {
        for (tag, text, utc) in [
            (0x17, "080128230000Z", "2008-01-28T23:00:00Z"),
            (0x17, "491231235959Z", "2049-12-31T23:59:59Z"),
            (0x17, "500101000000Z", "1950-01-01T00:00:00Z"),
            (0x17, "0801282300Z", "2008-01-28T23:00:00Z"),
            (0x17, "080128230000+0130", "2008-01-28T21:30:00Z"),
            (0x17, "161231235960Z", "2016-12-31T23:59:59Z"),
            (0x18, "20080128230000Z", "2008-01-28T23:00:00Z"),
            (0x18, "20080128230000.25Z", "2008-01-28T23:00:00Z"),
            (0x18, "2008012823", "2008-01-28T23:00:00Z"),
            (0x18, "20080128230000-05", "2008-01-29T04:00:00Z"),
        ] {
            let bytes = [&[tag, text.len() as u8][..], text.as_bytes()].concat();
            assert_eq!(Tlv::first(&bytes).unwrap().time().unwrap(), utc.parse().unwrap(), "{text}");
        }
        let never = [&[0x18, 15][..], b"99991231235959Z"].concat();
        assert_eq!(Tlv::first(&never).unwrap().time().unwrap(), Timestamp::MAX);
        for (tag, text) in [
            (0x17, ""),
            (0x17, "0"),
            (0x17, "080128230000"),
            (0x17, "081328230000Z"),
            (0x17, "080230230000Z"),
            (0x17, "080128240000Z"),
            (0x17, "080128230061Z"),
            (0x17, "0801282300001Z"),
            (0x17, "080128230000.5Z"),
            (0x17, "080128230000+01300"),
            (0x17, "08012823000\u{e9}Z"),
            (0x18, "200801282300000000Z"),
            (0x18, "20080128230000.Z"),
            (0x04, "080128230000Z"),
        ] {
            let bytes = [&[tag, text.len() as u8][..], text.as_bytes()].concat();
            assert!(Tlv::first(&bytes).unwrap().time().is_err(), "{text}");
        }
    }

    /// Opens whatever can be opened, and asks every question.
    fn open_all(element: Tlv<'_>, left: &mut usize) {
        let _ =
            (element.unsigned().ok(), element.small().ok(), element.boolean().ok(), element.octets().ok());
        let _ =
            (element.bits().ok(), element.time().ok(), element.text(8), element.oid().map(|o| o.to_string()));
        let Ok(children) = element.children() else { return };
        for child in children {
            *left = left.saturating_sub(1);
            let (Ok(child), true) = (child, *left > 0) else { return };
            let end = child.at() + child.raw().len();
            assert!(child.at() >= element.body_at() && end <= element.body_at() + element.body().len());
            open_all(child, left);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_elements_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for element in Reader::new(&bytes) {
                match element {
                    Ok(element) => open_all(element, &mut 10_000),
                    Err(e) => prop_assert!(e.to_string().contains("at byte ")),
                }
            }
        }

        /// What one reads is what was written, whatever form the length has.
        #[test]
        fn a_length_is_read_in_every_form(body in prop::collection::vec(any::<u8>(), 0..600), zeros in 0..6_usize) {
            let n = body.len() as u16;
            let mut bytes = vec![0x04, 0x80 | (zeros + 2) as u8];
            bytes.extend(std::iter::repeat_n(0, zeros));
            bytes.extend(n.to_be_bytes());
            bytes.extend(&body);
            bytes.push(0xee);
            let element = Tlv::first(&bytes).unwrap();
            prop_assert_eq!(element.body(), &body);
            prop_assert_eq!(element.raw().len(), bytes.len() - 1);
        }
    }
}
