//! Still pictures from outside: portraits of documents, photographs for an evaluation.
//!
//! The bytes are hostile until proven otherwise. The format is recognised by content, never by a
//! name; the size is read from the header and checked before anything of that size is allocated;
//! everything a decoder may allocate is bounded by [`Limits`]; a decoder's panic is an error like
//! any other; and whatever held pixels is overwritten before it is freed, the JPEG 2000 decoder's
//! own buffers excepted, which it does not give access to.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::{bmp::BmpDecoder, png::PngDecoder};
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError};
use zeroize::Zeroize;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::RgbImage;
use crate::base::{Culprit, Error, Kind, Result};

/// JPEG 2000 needs several floating-point planes per picture, so it gets fewer pixels.
const MAX_JPEG2000_PIXELS: u64 = 8_000_000;
/// More tiles than any portrait has; each one costs the decoder memory before its data is seen.
const MAX_JPEG2000_TILES: u64 = 1_024;
/// Grey, colour, and one channel of transparency.
const MAX_JPEG2000_COMPONENTS: u16 = 4;
/// Precincts of at least 32 pixels: with smaller ones a few bytes of header cost gigabytes.
const MIN_JPEG2000_PRECINCT_EXPONENT: u8 = 5;

/// How much a picture may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Pixels of the picture.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 32 MiB and 24 megapixels: any camera's photograph, and at most some 300 MB while decoding.
    fn default() -> Self {
        Self { max_bytes: 32 * 1024 * 1024, max_pixels: 24_000_000 }
    }
}

/// The formats a document reader or a camera writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG (ITU-T T.81).
    Jpeg,
    /// PNG.
    Png,
    /// Windows bitmap.
    Bmp,
    /// JPEG 2000 (ITU-T T.800), in its container or as a bare codestream: the portrait of an
    /// electronic passport.
    Jpeg2000,
}

impl Format {
    /// Recognises a format by its first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\xFF\xD8\xFF") {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"BM") {
            Some(Self::Bmp)
        } else if bytes.starts_with(b"\0\0\0\x0CjP  ") || bytes.starts_with(b"\xFF\x4F\xFF\x51") {
            Some(Self::Jpeg2000)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Jpeg2000 => "JPEG 2000",
        }
    }
}

/// Decodes a picture of unknown origin. The orientation that a camera wrote into a JPEG is applied.
///
/// Errors: [`Kind::Malformed`] for bytes that are not a whole picture, [`Kind::TooLarge`] beyond
/// `limits`, [`Kind::Unsupported`] for other formats.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let refuse = |kind, message: String| Err(Error::new(kind, Culprit::Request, message));
    if bytes.is_empty() {
        return refuse(Kind::Malformed, "the picture has 0 bytes".into());
    }
    if bytes.len() > limits.max_bytes {
        return refuse(
            Kind::TooLarge,
            format!("the picture has {} bytes, {} are allowed", bytes.len(), limits.max_bytes),
        );
    }
    let Some(format) = Format::of(bytes) else {
        return Err(Error::new(
            Kind::Unsupported,
            Culprit::Request,
            "the bytes are no picture this box reads",
        )
        .remedy("send JPEG, PNG, BMP or JPEG 2000"));
    };
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        // A decoder fills what is missing with grey: half a portrait must not pass for a whole one.
        Format::Jpeg if !bytes.windows(2).rev().any(|w| w == [0xFF, 0xD9]) => {
            Err(malformed("it ends before its end marker"))
        }
        Format::Jpeg => jpeg(bytes, limits),
        Format::Png => {
            let mut bound = image::Limits::default();
            bound.max_alloc = Some(limits.max_pixels.saturating_mul(8));
            raster(PngDecoder::with_limits(Cursor::new(bytes), bound).map_err(explain)?, limits)
        }
        Format::Bmp => raster(BmpDecoder::new(Cursor::new(bytes)).map_err(explain)?, limits),
        Format::Jpeg2000 => jpeg2000(bytes, limits),
    }))
    .unwrap_or_else(|_| Err(malformed("its contents contradict each other")));
    decoded.map_err(|e| e.context(format.name()))
}

fn malformed(what: impl Into<String>) -> Error {
    Error::new(Kind::Malformed, Culprit::Request, what)
}

fn explain(e: ImageError) -> Error {
    let kind = match &e {
        ImageError::Limits(_) => Kind::TooLarge,
        ImageError::Unsupported(_) => Kind::Unsupported,
        _ => Kind::Malformed,
    };
    // One line: decoders' messages are several now and then.
    let text = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(kind, Culprit::Request, format!("cannot be decoded: {text}"))
}

fn check_size(width: u32, height: u32, max_pixels: u64) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(malformed(format!("its header says {width}x{height} pixels")));
    }
    if pixels > max_pixels {
        return Err(Error::new(
            Kind::TooLarge,
            Culprit::Request,
            format!("its header says {width}x{height} pixels, {max_pixels} are allowed"),
        ));
    }
    Ok(())
}

/// `image`'s own JPEG decoder copies the file into a buffer that it does not overwrite; the decoder
/// below it reads the bytes where they are.
fn jpeg(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let cannot = |e: zune_jpeg::errors::DecodeErrors| {
        let text = format!("{e:?}").split_whitespace().collect::<Vec<_>>().join(" ");
        malformed(format!("cannot be decoded: {text}"))
    };
    // The sizes are checked here, against this box's limits.
    let options =
        DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(cannot)?;
    let torn = || malformed("its header says nothing of a picture");
    let (width, height) = decoder.dimensions().ok_or_else(torn)?;
    let (width, height) = (u32::try_from(width), u32::try_from(height));
    let (Ok(width), Ok(height)) = (width, height) else { return Err(torn()) };
    check_size(width, height, limits.max_pixels)?;
    let grey = decoder.input_colorspace().ok_or_else(torn)? == ColorSpace::Luma;
    let (out, channels) = if grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(out));
    let orientation = decoder.exif().and_then(|e| Orientation::from_exif_chunk(e));
    let mut raw = vec![0; width as usize * height as usize * channels];
    if let Err(e) = decoder.decode_into(&mut raw) {
        raw.zeroize();
        return Err(cannot(e));
    }
    let data = match to_rgb(&raw, channels, 1)? {
        None => raw,
        Some(rgb) => {
            raw.zeroize();
            rgb
        }
    };
    let image = RgbImage::new(width, height, data);
    orient(
        image.ok_or_else(|| malformed("its size contradicts its contents"))?,
        orientation.unwrap_or(Orientation::NoTransforms),
    )
}

fn raster(mut decoder: impl ImageDecoder, limits: &Limits) -> Result<RgbImage> {
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits.max_pixels)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let color = decoder.color_type();
    let (channels, bytes_per_sample) =
        (usize::from(color.channel_count()), usize::from(color.bytes_per_pixel() / color.channel_count()));
    // At most 8 bytes a pixel, and the number of pixels is checked.
    let mut raw = vec![0; decoder.total_bytes() as usize];
    let result = decoder.read_image(&mut raw).map_err(explain);
    let data = result.and_then(|()| to_rgb(&raw, channels, bytes_per_sample));
    if !matches!((channels, bytes_per_sample), (3, 1)) || data.is_err() {
        raw.zeroize();
        let image = RgbImage::new(width, height, data?.unwrap_or_default());
        return orient(image.ok_or_else(|| malformed("its size contradicts its contents"))?, orientation);
    }
    let image =
        RgbImage::new(width, height, raw).ok_or_else(|| malformed("its size contradicts its contents"))?;
    orient(image, orientation)
}

/// Three bytes a pixel out of 1 to 4 channels of 1 or 2 bytes (native order); transparency is
/// dropped. `None` where the bytes already are that.
fn to_rgb(raw: &[u8], channels: usize, bytes_per_sample: usize) -> Result<Option<Vec<u8>>> {
    if (channels, bytes_per_sample) == (3, 1) {
        return Ok(None);
    }
    if !(1..=4).contains(&channels) || !(1..=2).contains(&bytes_per_sample) {
        return Err(Error::new(Kind::Unsupported, Culprit::Request, "its samples are neither 8 nor 16 bits"));
    }
    let high = if bytes_per_sample == 2 && cfg!(target_endian = "little") { 1 } else { 0 };
    let (pixel, colour) = (channels * bytes_per_sample, if channels >= 3 { bytes_per_sample } else { 0 });
    let mut rgb = Vec::with_capacity(raw.len() / pixel * 3);
    for p in raw.chunks_exact(pixel) {
        rgb.extend_from_slice(&[p[high], p[high + colour], p[high + 2 * colour]]);
    }
    Ok(Some(rgb))
}

/// Turns the picture the way its camera was held.
fn orient(image: RgbImage, orientation: Orientation) -> Result<RgbImage> {
    let (w, h) = (image.width() as usize, image.height() as usize);
    // For each pixel of the result, its place in the source.
    type Place = fn(usize, usize, usize, usize) -> (usize, usize);
    let (swapped, place): (bool, Place) = match orientation {
        Orientation::NoTransforms => return Ok(image),
        Orientation::FlipHorizontal => (false, |x, y, w, _| (w - 1 - x, y)),
        Orientation::Rotate180 => (false, |x, y, w, h| (w - 1 - x, h - 1 - y)),
        Orientation::FlipVertical => (false, |x, y, _, h| (x, h - 1 - y)),
        Orientation::Rotate90FlipH => (true, |x, y, _, _| (y, x)),
        Orientation::Rotate90 => (true, |x, y, _, h| (y, h - 1 - x)),
        Orientation::Rotate270FlipH => (true, |x, y, w, h| (w - 1 - y, h - 1 - x)),
        Orientation::Rotate270 => (true, |x, y, w, _| (w - 1 - y, x)),
    };
    let (nw, nh) = if swapped { (h, w) } else { (w, h) };
    let mut data = Vec::with_capacity(w * h * 3);
    for y in 0..nh {
        for x in 0..nw {
            let (sx, sy) = place(x, y, w, h);
            let at = (sy * w + sx) * 3;
            data.extend_from_slice(&image.data()[at..at + 3]);
        }
    }
    RgbImage::new(nw as u32, nh as u32, data)
        .ok_or_else(|| Error::internal("a turned picture changed its size"))
}

fn jpeg2000(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};
    check_jpeg2000_structure(bytes)?;
    let cannot = |e: &dyn std::fmt::Display| malformed(format!("cannot be decoded: {e}"));
    let image = Image::new(bytes, &DecodeSettings { strict: false, ..DecodeSettings::default() })
        .map_err(|e| cannot(&e))?;
    let (width, height) = (image.width(), image.height());
    check_size(width, height, limits.max_pixels.min(MAX_JPEG2000_PIXELS))?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| cannot(&e))?;
    let channels = decoded.components().len();
    let pixels = width as usize * height as usize;
    if !(1..=4).contains(&channels) || decoded.components().iter().any(|c| c.samples().len() != pixels) {
        return Err(Error::new(Kind::Unsupported, Culprit::Request, "its channels differ in size or number"));
    }
    let mut raw = vec![0; pixels * channels];
    decoded.store_u8_into(&mut raw);
    let image = match to_rgb(&raw, channels, 1)? {
        None => RgbImage::new(width, height, raw),
        Some(rgb) => {
            raw.zeroize();
            RgbImage::new(width, height, rgb)
        }
    };
    image.ok_or_else(|| malformed("its size contradicts its contents"))
}

/// Refuses headers that make a decoder allocate far more than the picture's own size: very many
/// tiles or components, very small precincts.
///
/// Looks at every place where such a header could stand rather than following the structure: what
/// is not followed cannot lie. That a picture's compressed data looks like such a header by chance
/// is less likely than one in a hundred million.
fn check_jpeg2000_structure(bytes: &[u8]) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::TooLarge, Culprit::Request, what));
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let u32_at = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0xFF)) {
        at += found + 1;
        // `body` is behind the marker's two bytes and its two bytes of length.
        let body = at + 3;
        match bytes.get(at) {
            // SIZ behind SOC: Rsiz(2) Xsiz Ysiz XOsiz YOsiz XTsiz YTsiz XTOsiz YTOsiz (4 each) Csiz(2)
            Some(0x51) if at >= 3 && bytes[at - 3..at] == [0xFF, 0x4F, 0xFF] => {
                let field = |i: usize| u32_at(body + 2 + 4 * i).map(u64::from);
                let Some(components) = u16_at(body + 34) else {
                    return Err(malformed("it ends within its header"));
                };
                let tiles =
                    |size: usize, tile: usize, offset: usize| match (field(size), field(tile), field(offset))
                    {
                        (Some(size), Some(tile), Some(offset)) if tile > 0 && offset <= size => {
                            Some((size - offset).div_ceil(tile))
                        }
                        _ => None,
                    };
                let (Some(across), Some(down)) = (tiles(0, 4, 6), tiles(1, 5, 7)) else {
                    return Err(malformed("its header names tiles of no size"));
                };
                if across.saturating_mul(down) > MAX_JPEG2000_TILES {
                    return refuse(format!(
                        "its header says {across}x{down} tiles, {MAX_JPEG2000_TILES} are allowed"
                    ));
                }
                if components == 0 || components > MAX_JPEG2000_COMPONENTS {
                    return refuse(format!(
                        "its header says {components} components, {MAX_JPEG2000_COMPONENTS} are allowed"
                    ));
                }
            }
            // COD: Scod(1) progression(1) layers(2) transform(1), then the style.
            // COC: Ccoc(1) Scoc(1), then the style.
            Some(marker @ (0x52 | 0x53)) => {
                let (flags, style) = if *marker == 0x52 { (body, body + 5) } else { (body + 1, body + 2) };
                // Style: levels(1) block width(1) block height(1) block style(1) wavelet(1) precincts(levels + 1)
                let (Some(flags), Some(style)) = (bytes.get(flags), bytes.get(style..)) else { continue };
                let [levels, width, height, _, wavelet, precincts @ ..] = style else { continue };
                if flags & 1 == 0 || *levels > 32 || *width > 8 || *height > 8 || *wavelet > 1 {
                    continue;
                }
                let small = precincts
                    .iter()
                    .take(usize::from(*levels) + 1)
                    .any(|p| (p & 0xF).min(p >> 4) < MIN_JPEG2000_PRECINCT_EXPONENT);
                if small {
                    return refuse("its header says precincts of less than 32 pixels".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    /// A picture with a little of everything, 24x16.
    fn pattern() -> Vec<u8> {
        (0..16u32)
            .flat_map(|y| (0..24u32).flat_map(move |x| [(x * 10) as u8, (y * 15) as u8, ((x ^ y) * 8) as u8]))
            .collect()
    }

    fn encoded(format: Format) -> Vec<u8> {
        let (mut out, data) = (Vec::new(), pattern());
        match format {
            Format::Jpeg => image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 95).write_image(
                &data,
                24,
                16,
                ExtendedColorType::Rgb8,
            ),
            Format::Png => image::codecs::png::PngEncoder::new(&mut out).write_image(
                &data,
                24,
                16,
                ExtendedColorType::Rgb8,
            ),
            Format::Bmp => image::codecs::bmp::BmpEncoder::new(&mut out).write_image(
                &data,
                24,
                16,
                ExtendedColorType::Rgb8,
            ),
            Format::Jpeg2000 => {
                out.extend_from_slice(include_bytes!("testdata/pattern_24x16.jp2"));
                Ok(())
            }
        }
        .unwrap();
        out
    }

    const ALL: [Format; 4] = [Format::Jpeg, Format::Png, Format::Bmp, Format::Jpeg2000];

    #[test]
    fn every_format_gives_the_same_picture() {
        let want = pattern();
        for format in ALL {
            let image = decode(&encoded(format), &Limits::default()).unwrap();
            assert_eq!((image.width(), image.height()), (24, 16), "{format:?}");
            let worst = image.data().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            let allowed = if format == Format::Jpeg { 40 } else { 0 };
            assert!(worst <= allowed, "{format:?} differs by {worst}");
        }
    }

    #[test]
    fn grey_and_deep_and_transparent_pictures_become_rgb() {
        for (color, sample) in [
            (ExtendedColorType::L8, vec![200u8]),
            (ExtendedColorType::La8, vec![200, 7]),
            (ExtendedColorType::Rgba8, vec![200, 200, 200, 7]),
            (ExtendedColorType::L16, 0xC8FFu16.to_ne_bytes().to_vec()),
            (ExtendedColorType::Rgb16, 0xC8FFu16.to_ne_bytes().repeat(3)),
        ] {
            let mut out = Vec::new();
            image::codecs::png::PngEncoder::new(&mut out)
                .write_image(&sample.repeat(6), 3, 2, color)
                .unwrap();
            let image = decode(&out, &Limits::default()).unwrap();
            assert_eq!(image.data(), [200u8; 18], "{color:?}");
        }
    }

    #[test]
    fn a_camera_held_sideways_is_turned_upright() {
        // Exif with orientation 6 (turn right by 90 degrees), right behind the JPEG's first marker.
        let mut jpeg = encoded(Format::Jpeg);
        let exif = b"\xFF\xE1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        jpeg.splice(2..2, exif.iter().copied());
        let upright = decode(&jpeg, &Limits::default()).unwrap();
        assert_eq!((upright.width(), upright.height()), (16, 24));
        let flat = decode(&encoded(Format::Jpeg), &Limits::default()).unwrap();
        // The first row of the upright picture is the first column of the flat one, from below.
        let below = &flat.data()[15 * 24 * 3..15 * 24 * 3 + 3];
        assert_eq!(&upright.data()[..3], below);
    }

    #[test]
    fn every_orientation_keeps_every_pixel() {
        let image = RgbImage::new(24, 16, pattern()).unwrap();
        for exif in 1..=8 {
            let turned = orient(image.clone(), Orientation::from_exif(exif).unwrap()).unwrap();
            let sum = |i: &RgbImage| i.data().iter().map(|b| u64::from(*b)).sum::<u64>();
            assert_eq!(sum(&turned), sum(&image), "orientation {exif}");
        }
    }

    #[test]
    fn hostile_files_are_refused_in_one_line() {
        let limits = Limits { max_bytes: 1_000_000, max_pixels: 1_000_000 };
        let kind = |bytes: &[u8]| decode(bytes, &limits).unwrap_err().kind();
        assert_eq!(kind(b""), Kind::Malformed);
        assert_eq!(kind(b"GIF89a..........."), Kind::Unsupported);
        assert_eq!(kind(&vec![0xFF; 1_000_001]), Kind::TooLarge);

        // A header that lies: 10,000 x 10,000 pixels in a file of some bytes.
        let mut png = encoded(Format::Png);
        png[16..24].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10]);
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(kind(&png), Kind::TooLarge);

        let mut bmp = encoded(Format::Bmp);
        bmp[18..26].copy_from_slice(&[0x10, 0x27, 0, 0, 0x10, 0x27, 0, 0]);
        assert_eq!(kind(&bmp), Kind::TooLarge);

        let mut jpeg = encoded(Format::Jpeg);
        let sof = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 9].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
        assert_eq!(kind(&jpeg), Kind::TooLarge);
        let e = decode(&jpeg, &limits).unwrap_err().to_string();
        assert_eq!(e, "JPEG: its header says 10000x10000 pixels, 1000000 are allowed");

        let jp2 = encoded(Format::Jpeg2000);
        let siz = jp2.windows(4).position(|w| w == [0xFF, 0x4F, 0xFF, 0x51]).unwrap() + 8;
        let with = |at: usize, bytes: &[u8]| {
            let mut jp2 = jp2.clone();
            jp2[at..at + bytes.len()].copy_from_slice(bytes);
            jp2
        };
        let big = [0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10];
        // As large tiles as the picture, then the picture's own small tiles, then tiny ones.
        let mut huge = with(siz, &big);
        huge[siz + 16..siz + 24].copy_from_slice(&big);
        assert_eq!(kind(&huge), Kind::TooLarge);
        assert_eq!(kind(&with(siz, &big)), Kind::TooLarge);
        assert_eq!(kind(&with(siz + 16, &[0, 0, 0, 0])), Kind::Malformed);
        assert_eq!(kind(&with(siz + 32, &[0x3F, 0xFF])), Kind::TooLarge);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
        })
    }

    #[test]
    fn every_truncation_is_an_error_or_a_picture_of_the_right_size() {
        for format in ALL {
            let whole = encoded(format);
            for cut in 0..whole.len() {
                if let Ok(image) = decode(&whole[..cut], &Limits::default()) {
                    assert_eq!((image.width(), image.height()), (24, 16), "{format:?} cut at {cut}");
                    assert_ne!(format, Format::Jpeg, "half a JPEG passed, cut at {cut}");
                    assert_ne!(format, Format::Bmp, "half a BMP passed, cut at {cut}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn random_bytes_never_panic(format in 0..4usize, mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let limits = Limits { max_bytes: 1_000_000, max_pixels: 250_000 };
            let start = &encoded(ALL[format])[..12];
            let _ = decode(&bytes, &limits);
            let n = bytes.len().min(12);
            bytes[..n].copy_from_slice(&start[..n]);
            let _ = decode(&bytes, &limits);
        }

        #[test]
        fn flipped_bytes_never_panic_and_stay_within_the_limits(
            format in 0..4usize,
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let limits = Limits { max_bytes: 1_000_000, max_pixels: 250_000 };
            let mut bytes = encoded(ALL[format]);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(image) = decode(&bytes, &limits) {
                prop_assert!(u64::from(image.width()) * u64::from(image.height()) <= limits.max_pixels);
            }
        }
    }
}
