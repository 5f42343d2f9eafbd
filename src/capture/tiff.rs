//! A folder of TIFF pictures, as radiometric cameras and their tools record: 16 bits a pixel, one
//! channel, one picture a file or many.

use std::cmp::Ordering;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::{ColorType, TiffError};

use super::frame::{MAX_PIXELS, check_size};
use super::samples::{SampleData, SampleRange, Samples};
use super::source::{Picture, Pull, Source, SourceDrops};
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::FrameRate;

/// Largest file that is read. A hundred pictures of the largest thermal sensors.
const MAX_FILE: u64 = 256 << 20;
/// Most pictures that one file may hold.
const MAX_PAGES: usize = 100_000;
/// Most files of one folder: an hour and a half at 30 a second.
const MAX_FILES: usize = 200_000;
/// Largest value of a tag that is not the picture.
const MAX_TAG: usize = 1 << 20;

fn malformed(e: &TiffError) -> Error {
    let kind = match e {
        TiffError::LimitsExceeded => Kind::TooLarge,
        TiffError::UnsupportedError(_) => Kind::Unsupported,
        _ => Kind::Malformed,
    };
    // The decoder's words quote no content.
    let text: String = e.to_string().chars().filter(|c| !c.is_control()).take(120).collect();
    Error::new(kind, Culprit::Camera, format!("not a TIFF picture that can be read: {text}"))
}

/// The pictures of one TIFF file, in order.
pub struct TiffPages {
    decoder: Decoder<Cursor<Vec<u8>>>,
    pages: usize,
    ended: bool,
}

impl std::fmt::Debug for TiffPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TiffPages").field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl TiffPages {
    /// Opens the bytes of a file. What is decoded is bounded before it is.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = MAX_PIXELS as usize * 2;
        limits.intermediate_buffer_size = MAX_PIXELS as usize * 2;
        limits.ifd_value_size = MAX_TAG;
        let decoder = Decoder::new(Cursor::new(bytes)).map_err(|e| malformed(&e))?.with_limits(limits);
        Ok(Self { decoder, pages: 0, ended: false })
    }

    fn page(&mut self) -> Result<Option<Samples>> {
        if self.pages > 0 {
            if !self.decoder.more_images() {
                return Ok(None);
            }
            if self.pages == MAX_PAGES {
                let text = format!("more than {MAX_PAGES} pictures in one file");
                return Err(Error::new(Kind::TooLarge, Culprit::Camera, text));
            }
            self.decoder.next_image().map_err(|e| malformed(&e))?;
        }
        self.pages += 1;
        let (width, height) = self.decoder.dimensions().map_err(|e| malformed(&e))?;
        check_size(width, height)?;
        let colour = self.decoder.colortype().map_err(|e| malformed(&e))?;
        if !matches!(colour, ColorType::Gray(8 | 16)) {
            let text = format!("a picture in {colour:?}, not one channel of 8 or 16 bits");
            return Err(Error::new(Kind::Unsupported, Culprit::Camera, text)
                .remedy("export the camera's raw counts as 16-bit grey"));
        }
        let data = match self.decoder.read_image().map_err(|e| malformed(&e))? {
            DecodingResult::U8(v) => SampleData::Eight(v),
            DecodingResult::U16(v) => SampleData::Sixteen(v),
            _ => {
                let text = "a picture whose samples are signed or not whole numbers";
                return Err(Error::new(Kind::Unsupported, Culprit::Camera, text));
            }
        };
        Samples::new(width, height, data, SampleRange::Full)
            .map(Some)
            .map_err(|e| Error::new(Kind::Malformed, Culprit::Camera, e.what()))
    }
}

impl Iterator for TiffPages {
    type Item = Result<Samples>;

    fn next(&mut self) -> Option<Result<Samples>> {
        if self.ended {
            return None;
        }
        let page = self.page().transpose();
        self.ended = !matches!(page, Some(Ok(_)));
        page
    }
}

/// Plays a folder, or one file, of TIFF pictures.
pub(crate) struct TiffSource {
    files: Vec<PathBuf>,
    at: usize,
    pages: Option<TiffPages>,
    /// `None`: every picture, as fast as they are taken.
    interval: Option<Duration>,
    started: Instant,
    shown: u32,
    repeat: bool,
    any: bool,
    corrupt: u64,
}

impl TiffSource {
    /// Looks what is there, once: files that come later are not seen.
    pub(crate) fn open(path: &Path, fps: Option<FrameRate>, repeat: bool) -> Result<Self> {
        let io = |e| {
            Error::io(Culprit::Camera, format!("cannot open {}", path.display()), e).remedy("check the path")
        };
        let mut files = Vec::new();
        if std::fs::metadata(path).map_err(io)?.is_file() {
            files.push(path.to_owned());
        } else {
            for entry in std::fs::read_dir(path).map_err(io)? {
                let entry = entry.map_err(io)?.path();
                let tiff = entry
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case("tif") || e.eq_ignore_ascii_case("tiff"));
                if tiff {
                    files.push(entry);
                }
                if files.len() > MAX_FILES {
                    let text = format!("more than {MAX_FILES} pictures in {}", path.display());
                    return Err(Error::new(Kind::TooLarge, Culprit::Camera, text));
                }
            }
            files.sort_by(|a, b| by_name(a.as_os_str().as_encoded_bytes(), b.as_os_str().as_encoded_bytes()));
        }
        if files.is_empty() {
            let text = format!("no .tif or .tiff in {}", path.display());
            return Err(Error::config(text).remedy("check the path"));
        }
        let interval = fps.map(|fps| Duration::from_secs_f64(1.0 / fps.get()));
        let started = Instant::now();
        Ok(Self { files, at: 0, pages: None, interval, started, shown: 0, repeat, any: false, corrupt: 0 })
    }

    /// The next picture of all files; `None` at the end.
    fn page(&mut self) -> Result<Option<Samples>> {
        loop {
            if let Some(pages) = &mut self.pages {
                match pages.next() {
                    Some(page) => {
                        let name = &self.files[self.at - 1];
                        return page.map(Some).map_err(|e| e.context(name.display().to_string()));
                    }
                    None => self.pages = None,
                }
            }
            let Some(file) = self.files.get(self.at) else { return Ok(None) };
            self.at += 1;
            self.pages =
                Some(read(file).and_then(TiffPages::new).map_err(|e| e.context(file.display().to_string()))?);
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let io = |e| Error::io(Culprit::Camera, "it cannot be read", e);
    let mut bytes = Vec::new();
    std::fs::File::open(file).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        let text = format!("larger than {} MiB", MAX_FILE >> 20);
        return Err(Error::new(Kind::TooLarge, Culprit::Camera, text));
    }
    Ok(bytes)
}

impl Source for TiffSource {
    fn next(&mut self, timeout: Duration) -> Result<Pull> {
        let until = Instant::now() + timeout;
        if let Some(interval) = self.interval {
            let due = self.started + interval * self.shown;
            let now = Instant::now();
            if due > until {
                std::thread::sleep(until.saturating_duration_since(now));
                return Ok(Pull::Nothing);
            }
            std::thread::sleep(due.saturating_duration_since(now));
        }
        loop {
            match self.page() {
                Ok(Some(samples)) => {
                    self.any = true;
                    let position = self
                        .interval
                        .unwrap_or(Duration::from_secs_f64(1.0 / FrameRate::DEFAULT.get()))
                        .checked_mul(self.shown);
                    self.shown = self.shown.saturating_add(1);
                    return Ok(Pull::Picture(Picture {
                        pixels: samples.into(),
                        camera_time: None,
                        position,
                    }));
                }
                Ok(None) if self.repeat && self.any => self.at = 0,
                Ok(None) => return Ok(Pull::Ended),
                // Whoever reads every picture wants to know; a camera goes on with the next.
                Err(e) if self.interval.is_none() => return Err(e),
                Err(e) => {
                    if self.corrupt == 0 {
                        tracing::warn!("a picture is left out: {}", e.chain());
                    }
                    self.corrupt += 1;
                }
            }
            if Instant::now() >= until {
                return Ok(Pull::Nothing);
            }
        }
    }

    fn drops(&self) -> SourceDrops {
        SourceDrops { corrupt: self.corrupt, ..SourceDrops::default() }
    }
}

/// Names in order, with the numbers in them by their value: 9 before 10.
fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(p), Some(q)) = (x.first(), y.first()) else {
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        };
        if p.is_ascii_digit() && q.is_ascii_digit() {
            let (n, m) = (number(x), number(y));
            // Without leading zeros, the longer number is the larger one.
            let order = n.len().cmp(&m.len()).then_with(|| n.cmp(m));
            if order.is_ne() {
                return order;
            }
            x = &x[digits(x)..];
            y = &y[digits(y)..];
        } else {
            let order = p.cmp(q);
            if order.is_ne() {
                return order;
            }
            x = &x[1..];
            y = &y[1..];
        }
    }
}

/// How many digits stand at the start.
fn digits(text: &[u8]) -> usize {
    text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// The digits at the start, without zeros before them.
fn number(text: &[u8]) -> &[u8] {
    let end = digits(text);
    let start = text[..end].iter().position(|c| *c != b'0').unwrap_or(end);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tiff::encoder::{TiffEncoder, colortype};

    fn picture(pages: u16) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut out).unwrap();
        for n in 0..pages {
            let counts: Vec<u16> = (0..12).map(|i| 30_000 + n * 100 + i).collect();
            encoder.write_image::<colortype::Gray16>(4, 3, &counts).unwrap();
        }
        out.into_inner()
    }

    #[test]
    fn every_picture_of_every_file_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for (name, pages) in [("f10.tiff", 1), ("f9.TIF", 2), ("notes.txt", 1)] {
            std::fs::write(dir.path().join(name), picture(pages)).unwrap();
        }
        let mut source = TiffSource::open(dir.path(), None, false).unwrap();
        let mut firsts = Vec::new();
        while let Some(samples) = source.page().unwrap() {
            let SampleData::Sixteen(v) = samples.data() else { panic!("not 16 bit") };
            firsts.push(v[0]);
        }
        assert_eq!(firsts, [30_000, 30_100, 30_000]);
    }

    #[test]
    fn names_in_order() {
        let mut names = ["b1", "a10", "a9", "a09", "a", "a9b", "a9-"];
        names.sort_by(|a, b| by_name(a.as_bytes(), b.as_bytes()));
        assert_eq!(names, ["a", "a09", "a9", "a9-", "a9b", "a10", "b1"]);
    }

    #[test]
    fn a_colour_picture_and_a_torn_one_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Cursor::new(Vec::new());
        TiffEncoder::new(&mut out).unwrap().write_image::<colortype::RGB8>(2, 2, &[0; 12]).unwrap();
        std::fs::write(dir.path().join("colour.tiff"), out.into_inner()).unwrap();
        let mut source = TiffSource::open(dir.path(), None, false).unwrap();
        let e = source.next(Duration::ZERO).unwrap_err();
        assert!(e.to_string().contains("colour.tiff") && e.kind() == Kind::Unsupported, "{e}");
        std::fs::write(dir.path().join("colour.tiff"), &picture(1)[..40]).unwrap();
        let e = TiffSource::open(dir.path(), None, false).unwrap().next(Duration::ZERO).unwrap_err();
        assert_eq!(e.kind(), Kind::Malformed, "{e}");
        // As a camera it goes on, and comes to its end without one picture.
        let fps = Some(FrameRate::try_new(100.0).unwrap());
        let mut source = TiffSource::open(dir.path(), fps, true).unwrap();
        assert!(matches!(source.next(Duration::from_secs(9)).unwrap(), Pull::Ended));
        assert_eq!(source.drops().corrupt, 1);
        let e = TiffSource::open(tempfile::tempdir().unwrap().path(), None, false).err().unwrap();
        assert!(e.to_string().contains("no .tif or .tiff"), "{e}");
    }

    proptest! {
        #[test]
        fn a_damaged_file_costs_an_error(flips in proptest::collection::vec((0usize..400, any::<u8>()), 1..8)) {
            let mut bytes = picture(2);
            for (at, byte) in flips {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(pages) = TiffPages::new(bytes) {
                prop_assert!(pages.take(10).filter_map(std::result::Result::ok).all(|s| s.width() > 0));
            }
        }

        #[test]
        fn noise_is_no_picture(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(pages) = TiffPages::new(bytes) {
                pages.take(3).for_each(drop);
            }
        }
    }
}
