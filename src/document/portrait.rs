//! The portrait in the chip: DG2 (ICAO Doc 9303 part 10, 4.7.2), in both encodings there are.
//!
//! ```text
//! 75 ─ 7F61 ─┬ 02    how many
//!            └ 7F60 ─┬ A1    header (ISO/IEC 19785-3, CBEFF)
//!                    ├ 5F2E  ISO/IEC 19794-5: FAC record, or
//!                    └ 7F2E ─ A1 or 65 ─ A1 ─ 30 ─ A1 ─ A0 ─ A0 ─ 80   ISO/IEC 39794-5
//! ```
//!
//! The sizes in a FAC record are often wrong (the German specimen says 337 × 449 over a picture of
//! 413 × 531), and so are its lengths; only where the picture begins is taken from it, and the
//! picture must begin there as a JPEG or a JPEG 2000 does. What it costs to decode is bounded by
//! [`crate::capture::still`].

use super::chip::FileId;
use super::lds::{self, MAX_FILE_BYTES};
use super::tlv::{Tag, Tlv};
use crate::base::error::Context as _;
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::RgbImage;
use crate::capture::still::{self, Format, Limits};

/// Largest portrait of a chip, pixels. The standard's own upper size is below 2 megapixels.
const MAX_PIXELS: u64 = 8_000_000;
/// Most portraits of a DG2 that are looked through for one that can be read.
const MAX_PORTRAITS: usize = 8;
/// Most landmarks that a FAC record may have before its picture.
const MAX_FEATURE_POINTS: usize = 1_000;

const TEMPLATES: Tag = Tag(0x7F61);
const TEMPLATE: Tag = Tag(0x7F60);
const BLOCK: Tag = Tag(0x5F2E);
const BLOCK_TAGGED: Tag = Tag(0x7F2E);

/// How the portrait is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// ISO/IEC 19794-5:2005.
    Iso19794,
    /// ISO/IEC 39794-5:2019.
    Iso39794,
}

/// A portrait within the bytes of DG2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChipPortrait<'a> {
    /// The picture's file: JPEG or JPEG 2000. Something may follow it.
    pub image: &'a [u8],
    /// How it was written around.
    pub encoding: Encoding,
}

impl std::fmt::Debug for ChipPortrait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChipPortrait({:?}, {} bytes)", self.encoding, self.image.len())
    }
}

impl ChipPortrait<'_> {
    /// The picture. The buffers of it are the caller's to overwrite.
    pub fn decode(&self) -> Result<RgbImage> {
        let limits = Limits { max_bytes: MAX_FILE_BYTES, max_pixels: MAX_PIXELS };
        still::decode(self.image, &limits).context(|| "the portrait of DG2")
    }
}

/// Finds the first portrait of DG2 that begins as a picture does.
pub fn find(dg2: &[u8]) -> Result<ChipPortrait<'_>> {
    let file = lds::open(dg2, FileId::DataGroup(2))?;
    let templates = file.child(TEMPLATES, "the group of biometric templates")?;
    let mut first_error = None;
    let found = templates.children()?.filter(|t| t.as_ref().map_or(true, |t| t.tag() == TEMPLATE));
    for template in found.take(MAX_PORTRAITS) {
        match template.and_then(|t| of_template(&t)) {
            Ok(portrait) => return Ok(portrait),
            Err(e) => first_error = first_error.or(Some(e)),
        }
    }
    Err(first_error.unwrap_or_else(|| templates.malformed("there is no biometric template")))
}

fn of_template<'a>(template: &Tlv<'a>) -> Result<ChipPortrait<'a>> {
    for block in template.children()? {
        let block = block?;
        match block.tag() {
            BLOCK => return fac(&block),
            // Some early passports put a FAC record under the constructed tag.
            BLOCK_TAGGED if block.body().starts_with(b"FAC\0") => return fac(&block),
            BLOCK_TAGGED => return tagged(&block),
            _ => {}
        }
    }
    Err(template.malformed("there is no biometric data block"))
}

/// ISO/IEC 19794-5:2005, 5: header (14), then for each picture: facial information (20), feature
/// points (8 each), image information (12), picture.
fn fac<'a>(block: &Tlv<'a>) -> Result<ChipPortrait<'a>> {
    let record = block.body();
    if !record.starts_with(b"FAC\0") {
        return Err(block.malformed("the facial record does not begin with FAC"));
    }
    if record.get(4..8) != Some(b"010\0".as_slice()) {
        let what = "the facial record is of a version that no passport uses";
        return Err(Error::new(Kind::Unsupported, Culprit::Request, what));
    }
    let points = match record.get(18..20) {
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(block.malformed("the facial record ends in its header")),
    };
    if points > MAX_FEATURE_POINTS {
        return Err(block.malformed(format_args!("the facial record claims {points} feature points")));
    }
    let start = 14 + 20 + 8 * points + 12;
    let image = record.get(start..).unwrap_or_default();
    picture(block, image, Encoding::Iso19794)
}

/// ISO/IEC 39794-5:2019, annex A, by its implicit tags: representation blocks [1], the first one's
/// image representation [1], its base [0], the two-dimensional one [0], and its data [0].
fn tagged<'a>(block: &Tlv<'a>) -> Result<ChipPortrait<'a>> {
    let one = Tag::context_constructed(1);
    let zero = Tag::context_constructed(0);
    // Part 10 has the data block as [APPLICATION 5] inside 7F2E, some issuers as [1].
    let data = match block.find(Tag(0x65))? {
        Some(data) => data,
        None => block.child(one, "the face image data block")?,
    };
    let representations = data.child(one, "the list of representations")?;
    let image = representations
        .inner("a representation")?
        .child(one, "the image representation")?
        .child(zero, "the base of the image representation")?
        .child(zero, "the two-dimensional representation")?
        .child(Tag::context(0), "the picture's data")?;
    picture(&image, image.body(), Encoding::Iso39794)
}

fn picture<'a>(at: &Tlv<'a>, image: &'a [u8], encoding: Encoding) -> Result<ChipPortrait<'a>> {
    match Format::of(image) {
        Some(Format::Jpeg | Format::Jpeg2000) => Ok(ChipPortrait { image, encoding }),
        _ => Err(at.malformed("no JPEG or JPEG 2000 begins where the picture should")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One element with a short or a four-byte length.
    pub(in super::super) fn tlv(tag: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = tag.to_vec();
        match u8::try_from(body.len()) {
            Ok(n @ ..0x80) => out.push(n),
            _ => {
                out.push(0x84);
                out.extend((body.len() as u32).to_be_bytes());
            }
        }
        out.extend(body);
        out
    }

    fn dg2(block: Vec<u8>) -> Vec<u8> {
        let template = tlv(&[0x7F, 0x60], &[tlv(&[0xA1], &[0x87, 2, 1, 1]), block].concat());
        tlv(&[0x75], &tlv(&[0x7F, 0x61], &[tlv(&[2], &[1]), template].concat()))
    }

    /// DG2 with `image` in the older encoding, with feature points.
    pub(in super::super) fn dg2_19794(image: &[u8], points: u16) -> Vec<u8> {
        let mut record = b"FAC\x00010\0".to_vec();
        // Lengths that lie: nobody relies on them.
        record.extend([0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        record.extend(points.to_be_bytes());
        record.extend([0; 14]);
        record.extend(vec![0; 8 * usize::from(points)]);
        record.extend([1, 0, 0x01, 0x51, 0x01, 0xC1, 0, 0, 0, 0, 0, 0]);
        record.extend(image);
        dg2(tlv(&[0x5F, 0x2E], &record))
    }

    fn dg2_39794(image: &[u8], outer: u8) -> Vec<u8> {
        let data = [tlv(&[0x80], image), tlv(&[0xA1], &[0x80, 1, 0])].concat();
        let image = tlv(&[0xA1], &tlv(&[0xA0], &tlv(&[0xA0], &data)));
        let representation = tlv(&[0x30], &[tlv(&[0x80], &[1]), image].concat());
        let version = tlv(&[0xA0], &[0x80, 1, 3, 0x81, 2, 7, 0xE3]);
        let block = [version, tlv(&[0xA1], &representation)].concat();
        dg2(tlv(&[0x7F, 0x2E], &tlv(&[outer], &block)))
    }

    const JPEG2000: &[u8] = include_bytes!("../capture/testdata/pattern_24x16.jp2");

    #[test]
    fn both_encodings_give_the_same_picture() {
        for (bytes, encoding) in [
            (dg2_19794(JPEG2000, 0), Encoding::Iso19794),
            (dg2_19794(JPEG2000, 17), Encoding::Iso19794),
            (dg2_39794(JPEG2000, 0xA1), Encoding::Iso39794),
            (dg2_39794(JPEG2000, 0x65), Encoding::Iso39794),
        ] {
            let portrait = find(&bytes).unwrap();
            assert_eq!((portrait.encoding, portrait.image), (encoding, JPEG2000));
            let picture = portrait.decode().unwrap();
            assert_eq!((picture.width(), picture.height()), (24, 16));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bytes, words) in [
            (vec![], "missing"),
            (tlv(&[0x75], &[]), "group of biometric templates"),
            (dg2(vec![]), "no biometric data block"),
            (dg2(tlv(&[0x5F, 0x2E], b"FAX")), "does not begin with FAC"),
            (dg2(tlv(&[0x5F, 0x2E], b"FAC\x00030\0")), "version"),
            (dg2_19794(b"GIF89a", 0), "no JPEG"),
            (dg2_19794(JPEG2000, 60_000), "feature points"),
            (dg2_39794(b"", 0xA1), "no JPEG"),
        ] {
            let e = find(&bytes).unwrap_err();
            assert!(e.to_string().contains(words), "{e}");
            assert_eq!(e.exit_code(), 65);
        }
    }

    proptest! {
        #[test]
        fn flipped_bytes_never_panic(
            tagged: bool,
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = if tagged { dg2_39794(JPEG2000, 0xA1) } else { dg2_19794(JPEG2000, 3) };
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(portrait) = find(&bytes) {
                let _ = portrait.decode();
            }
        }
    }
}
