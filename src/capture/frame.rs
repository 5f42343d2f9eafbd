//! One picture from one camera, with the time it was taken and the time it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gstreamer as gst;
use gstreamer_video as gst_video;
use jiff::Timestamp;
use zeroize::Zeroize;

use super::metadata::StreamTime;
use super::samples::{SampleData, SampleRange, Samples};
use crate::base::{Culprit, Error, Kind, Name, Result, TimeSource};

/// Longest side of a picture, in pixels. Beyond it nothing is decoded.
pub const MAX_SIDE: u32 = 8192;
/// Most pixels of a picture: 8K. As RGB that is 106 MB; a decoder holds a handful of these.
pub const MAX_PIXELS: u64 = 8192 * 4320;

/// Whether a picture of this size is one this box takes in.
pub(crate) fn check_size(width: u32, height: u32) -> Result<()> {
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::new(
            Kind::TooLarge,
            Culprit::Camera,
            format!("pictures of {width}x{height} are larger than this box takes in"),
        )
        .remedy(format!("set the camera to at most {MAX_SIDE} a side and {MAX_PIXELS} pixels")));
    }
    Ok(())
}

/// What is known of a frame besides its pixels.
#[derive(Clone, Debug)]
pub struct FrameInfo {
    /// Which camera.
    pub camera: Name,
    /// Counts up by one per frame of this camera since the daemon started; never reused.
    pub seq: u64,
    /// When the picture was taken, as well as is known.
    pub time: Timestamp,
    /// Where [`FrameInfo::time`] comes from.
    pub time_source: TimeSource,
    /// When this box got the frame, monotonic.
    pub arrived: Instant,
}

/// One picture of one camera.
///
/// It holds the decoder's own buffer, untouched: a frame that nobody looks at costs its decoding
/// and nothing else. [`Frame::to_rgb`] converts. Cloning shares the buffer.
#[derive(Clone)]
pub struct Frame {
    info: FrameInfo,
    pixels: Pixels,
    at: Option<StreamTime>,
    unconvertible: Option<Arc<AtomicU64>>,
}

/// The pixels of a [`Frame`], as they came.
#[derive(Clone)]
pub struct Pixels(Repr);

#[derive(Clone)]
enum Repr {
    Rgb(Arc<RgbImage>),
    Samples(Arc<Samples>),
    Native { buffer: gst::Buffer, info: Arc<gst_video::VideoInfo> },
}

impl Pixels {
    /// A decoder's buffer in the decoder's format.
    pub(crate) fn native(buffer: gst::Buffer, info: Arc<gst_video::VideoInfo>) -> Self {
        Self(Repr::Native { buffer, info })
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        match &self.0 {
            Repr::Rgb(image) => image.width(),
            Repr::Samples(samples) => samples.width(),
            Repr::Native { info, .. } => info.width(),
        }
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        match &self.0 {
            Repr::Rgb(image) => image.height(),
            Repr::Samples(samples) => samples.height(),
            Repr::Native { info, .. } => info.height(),
        }
    }

    /// The layout in memory, in GStreamer's words: `I420`, `NV12`, `YUY2`, `RGB`, `GRAY8` …
    pub fn format(&self) -> &'static str {
        match &self.0 {
            Repr::Rgb(_) => "RGB",
            Repr::Samples(samples) => match samples.data() {
                SampleData::Eight(_) => "GRAY8",
                SampleData::Sixteen(_) => "GRAY16_LE",
            },
            Repr::Native { info, .. } => info.format().to_str().as_str(),
        }
    }
}

impl From<RgbImage> for Pixels {
    fn from(image: RgbImage) -> Self {
        Self(Repr::Rgb(Arc::new(image)))
    }
}

impl From<Samples> for Pixels {
    fn from(samples: Samples) -> Self {
        Self(Repr::Samples(Arc::new(samples)))
    }
}

impl std::fmt::Debug for Pixels {
    /// Size and format only: a picture never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}x{})", self.format(), self.width(), self.height())
    }
}

impl Frame {
    /// A frame as a camera delivers it.
    pub fn new(info: FrameInfo, pixels: Pixels) -> Self {
        Self { info, pixels, at: None, unconvertible: None }
    }

    /// A frame from a picture that is RGB already: stills and tests.
    pub fn from_rgb(info: FrameInfo, image: RgbImage) -> Self {
        Self::new(info, image.into())
    }

    /// Says where in its camera's stream the frame stands.
    #[must_use]
    pub fn at_stream_time(mut self, at: Option<StreamTime>) -> Self {
        self.at = at;
        self
    }

    /// Where in its camera's stream the frame stands: the axis that its KLV packets are on.
    pub fn stream_time(&self) -> Option<StreamTime> {
        self.at
    }

    /// Counts a failed conversion where the camera counts its drops.
    pub(crate) fn counting_unconvertible(mut self, counter: Arc<AtomicU64>) -> Self {
        self.unconvertible = Some(counter);
        self
    }

    /// What is known of it besides its pixels.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    /// The pixels as they came.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// The picture as 8-bit RGB. `converter` keeps tables between frames of one camera; it follows
    /// a change of size or format by itself.
    pub fn to_rgb(&self, converter: &mut Converter) -> Result<RgbImage> {
        let rgb = match &self.pixels.0 {
            Repr::Rgb(image) => return Ok(RgbImage::clone(image)),
            Repr::Samples(samples) => {
                let grey: Vec<u8> = match samples.data() {
                    SampleData::Eight(v) => v.iter().flat_map(|s| [*s; 3]).collect(),
                    SampleData::Sixteen(v) => v.iter().flat_map(|s| [(*s >> 8) as u8; 3]).collect(),
                };
                RgbImage::new(samples.width(), samples.height(), grey)
                    .ok_or_else(|| Error::internal("samples without a size"))
            }
            Repr::Native { buffer, info } => converter.convert(buffer, info),
        };
        rgb.map_err(|e| self.did_not_convert(e))
    }

    /// The picture as the numbers of one channel, for a thermal camera: the brightness of video as it
    /// was sent, without any conversion (plane Y of I420, NV12 and their like), or the counts of 16 bits.
    /// `reuse` is memory of an earlier frame, from [`Samples::into_data`].
    ///
    /// An error where the layout has no such channel: RGB, for instance.
    pub fn to_samples(&self, reuse: Option<SampleData>) -> Result<Samples> {
        match &self.pixels.0 {
            Repr::Samples(samples) => Ok(samples.copy_into(reuse)),
            Repr::Native { buffer, info } => native_samples(buffer, info, reuse),
            Repr::Rgb(_) => Err(no_samples("RGB")),
        }
        .map_err(|e| self.did_not_convert(e))
    }

    /// How much colour the picture carries: the mean distance of its colour channels from grey, in steps of 8
    /// bits. A thermal camera that shows a palette has much, one that shows grey next to none. `None` where
    /// the layout has no colour.
    pub fn colourfulness(&self) -> Option<f32> {
        match &self.pixels.0 {
            Repr::Samples(_) => None,
            Repr::Native { buffer, info } => native_colour(buffer, info),
            Repr::Rgb(image) => {
                let spread = |p: &[u8]| p.iter().max().zip(p.iter().min()).map_or(0, |(a, b)| a - b);
                let every = image.data().chunks_exact(3).step_by(COLOUR_STEP);
                let n = every.len().max(1);
                Some(every.map(|p| f32::from(spread(p))).sum::<f32>() / n as f32)
            }
        }
    }

    fn did_not_convert(&self, e: Error) -> Error {
        if let Some(counter) = &self.unconvertible {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        e.context(format!("camera {}", self.info.camera))
    }
}

/// One sample of colour in so many is looked at.
const COLOUR_STEP: usize = 7;

fn no_samples(format: &str) -> Error {
    let text = format!("pictures in {format} have no single channel that could be warmth");
    Error::new(Kind::Unsupported, Culprit::Camera, text)
        .remedy("set the camera to a grey palette and to H.264, H.265 or 8- or 16-bit grey")
}

/// Copies the rows of one plane, whatever stands between them.
fn native_samples(
    buffer: &gst::Buffer,
    info: &gst_video::VideoInfo,
    reuse: Option<SampleData>,
) -> Result<Samples> {
    use gst_video::VideoFormat as F;
    let (width, height) = (info.width(), info.height());
    check_size(width, height)?;
    let short = || {
        Error::new(Kind::Malformed, Culprit::Camera, format!("a picture of {width}x{height} is cut short"))
    };
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).map_err(|_| short())?;
    let plane = frame.plane_data(0).map_err(|_| short())?;
    let stride = usize::try_from(info.stride()[0]).map_err(|_| short())?;
    let (columns, rows) = (width as usize, height as usize);
    // Each sample is the first of `step` bytes.
    let step = match info.format() {
        F::I420
        | F::Yv12
        | F::Nv12
        | F::Nv21
        | F::Nv16
        | F::Nv61
        | F::Y41b
        | F::Y42b
        | F::Y444
        | F::Gray8 => 1,
        F::Yuy2 | F::Yvyu => 2,
        F::Gray16Le | F::Gray16Be => 2,
        other => return Err(no_samples(other.to_str().as_str())),
    };
    let wide = matches!(info.format(), F::Gray16Le | F::Gray16Be);
    // The last row needs no padding behind it.
    if stride < columns * step || plane.len() < stride * (rows - 1) + columns * step {
        return Err(short());
    }
    let lines = plane.chunks(stride).take(rows).map(|line| &line[..columns * step]);
    let data = if wide {
        let mut v = match reuse {
            Some(SampleData::Sixteen(v)) => v,
            _ => Vec::new(),
        };
        v.clear();
        v.reserve(columns * rows);
        let read = if info.format() == F::Gray16Le { u16::from_le_bytes } else { u16::from_be_bytes };
        v.extend(lines.flat_map(|line| line.chunks_exact(2).map(|b| read([b[0], b[1]]))));
        SampleData::Sixteen(v)
    } else {
        let mut v = match reuse {
            Some(SampleData::Eight(v)) => v,
            _ => Vec::new(),
        };
        v.clear();
        v.reserve(columns * rows);
        for line in lines {
            if step == 1 {
                v.extend_from_slice(line);
            } else {
                v.extend(line.iter().step_by(step));
            }
        }
        SampleData::Eight(v)
    };
    let full = wide || info.colorimetry().range() == gst_video::VideoColorRange::Range0_255;
    let grey_without_a_word =
        info.format() == F::Gray8 && info.colorimetry().range() == gst_video::VideoColorRange::Unknown;
    let range = if full || grey_without_a_word { SampleRange::Full } else { SampleRange::Studio };
    Samples::new(width, height, data, range)
}

/// Mean distance of the colour planes from grey. Sampled: a palette colours the whole picture.
fn native_colour(buffer: &gst::Buffer, info: &gst_video::VideoInfo) -> Option<f32> {
    use gst_video::VideoFormat as F;
    let planes: &[u32] = match info.format() {
        F::I420 | F::Yv12 | F::Y41b | F::Y42b | F::Y444 => &[1, 2],
        F::Nv12 | F::Nv21 | F::Nv16 | F::Nv61 => &[1],
        F::Yuy2 | F::Yvyu => &[0],
        _ => return None,
    };
    let packed = planes == [0];
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).ok()?;
    let (mut sum, mut n) = (0u64, 0u64);
    for plane in planes {
        let data = frame.plane_data(*plane).ok()?;
        let stride = usize::try_from(info.stride()[*plane as usize]).ok().filter(|s| *s > 0)?;
        // What stands behind a row is not picture.
        let used = match info.format() {
            F::Yuy2 | F::Yvyu => info.width() as usize * 2,
            F::Nv12 | F::Nv21 | F::Nv16 | F::Nv61 => info.width() as usize & !1,
            _ => info.comp_width(*plane as u8) as usize,
        };
        for line in data.chunks(stride).step_by(3) {
            let line = &line[..used.min(line.len())];
            let odd = usize::from(packed);
            for v in line.iter().skip(odd).step_by(if packed { 2 } else { 1 }).step_by(COLOUR_STEP) {
                sum += u64::from(v.abs_diff(128));
                n += 1;
            }
        }
    }
    (n > 0).then(|| sum as f32 / n as f32)
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("info", &self.info)
            .field("pixels", &self.pixels)
            .finish_non_exhaustive()
    }
}

/// Converts frames to RGB. Belongs to whoever looks at frames; holds tables, never pixels.
#[derive(Default)]
pub struct Converter {
    cached: Option<(Arc<gst_video::VideoInfo>, gst_video::VideoInfo, gst_video::VideoConverter)>,
}

impl std::fmt::Debug for Converter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converter").finish_non_exhaustive()
    }
}

impl Converter {
    /// Without tables yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn convert(&mut self, buffer: &gst::Buffer, info: &Arc<gst_video::VideoInfo>) -> Result<RgbImage> {
        let unconvertible = |what: &str| {
            Error::new(
                Kind::Unsupported,
                Culprit::Camera,
                format!("cannot turn {}x{} {} into RGB: {what}", info.width(), info.height(), info.format()),
            )
        };
        let (width, height) = (info.width(), info.height());
        check_size(width, height)?;
        let fits = self.cached.as_ref().is_some_and(|(from, ..)| Arc::ptr_eq(from, info) || **from == **info);
        if !fits {
            self.cached = None;
            let out = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
                .fps(info.fps())
                .interlace_mode(info.interlace_mode())
                .build()
                .map_err(|e| unconvertible(&e.message))?;
            let mut config = gst_video::VideoConverterConfig::new();
            config.set_dither_method(gst_video::VideoDitherMethod::None);
            let converter = gst_video::VideoConverter::new(info, &out, Some(config))
                .map_err(|e| unconvertible(&e.message))?;
            self.cached = Some((info.clone(), out, converter));
        }
        let Some((_, out, converter)) = &self.cached else {
            return Err(Error::internal("the converter lost its tables"));
        };
        let source = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
            .map_err(|_| unconvertible("its buffer is too short"))?;
        let buffer = gst::Buffer::from_mut_slice(vec![0u8; out.size()]);
        let mut target = gst_video::VideoFrame::from_buffer_writable(buffer, out)
            .map_err(|_| unconvertible("the target does not fit"))?;
        converter.frame_ref(&source, &mut target.as_mut_video_frame_ref());
        let mut data: Vec<u8> = target
            .into_buffer()
            .try_into_inner()
            .map_err(|(_, e)| Error::internal(format!("the converter kept its target: {e}")))?;
        // GStreamer pads rows to four bytes; an `RgbImage` has none.
        let (row, padded) = (width as usize * 3, usize::try_from(out.stride()[0]).unwrap_or(0));
        if padded > row {
            for y in 1..height as usize {
                data.copy_within(y * padded..y * padded + row, y * row);
            }
        }
        data.truncate(row * height as usize);
        RgbImage::new(width, height, data).ok_or_else(|| unconvertible("it is empty"))
    }
}

/// An 8-bit RGB picture: `width * height * 3` bytes, rows from the top, no padding.
///
/// It may show a face, so its bytes are overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl RgbImage {
    /// Wraps pixels; `None` if their number does not fit the size.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (data.len() == expected && expected > 0).then_some(Self { width, height, data })
    }

    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Self {
        let data = rgb.repeat(width as usize * height as usize);
        Self { width, height, data }
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes, R G B R G B …
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, to draw on.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl std::fmt::Debug for RgbImage {
    /// Size only: a picture never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}

impl Drop for RgbImage {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(format: gst_video::VideoFormat, width: u32, height: u32, fill: &[u8]) -> Frame {
        gst::init().unwrap();
        let info = gst_video::VideoInfo::builder(format, width, height).build().unwrap();
        let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
        {
            let mut target =
                gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.get_mut().unwrap(), &info).unwrap();
            for (plane, value) in fill.iter().enumerate() {
                target.plane_data_mut(plane as u32).unwrap().fill(*value);
            }
        }
        let info_of_frame = FrameInfo {
            camera: Name::new("test").unwrap(),
            seq: 1,
            time: Timestamp::UNIX_EPOCH,
            time_source: TimeSource::Arrival,
            arrived: Instant::now() - Duration::from_millis(1),
        };
        Frame::new(info_of_frame, Pixels::native(buffer, Arc::new(info)))
    }

    #[test]
    fn every_layout_of_a_camera_becomes_rgb_without_padding() {
        use gst_video::VideoFormat as F;
        let mut converter = Converter::new();
        // 30 columns: a row of RGB is 90 bytes, which GStreamer pads to 92.
        for (format, fill) in [
            (F::I420, &[235u8, 128, 128][..]),
            (F::Nv12, &[235, 128]),
            (F::Rgb, &[255]),
            (F::Gray8, &[255]),
            (F::Bgrx, &[255]),
        ] {
            let rgb = frame(format, 30, 16, fill).to_rgb(&mut converter).unwrap();
            assert_eq!((rgb.width(), rgb.height()), (30, 16), "{format}");
            assert!(rgb.data().iter().all(|v| *v >= 253), "{format} is not white");
        }
        // A change of size in mid-stream, with the same converter, and back.
        for (w, h) in [(64, 48), (30, 16), (640, 360)] {
            let rgb = frame(F::I420, w, h, &[16, 128, 128]).to_rgb(&mut converter).unwrap();
            assert_eq!(rgb.data().len() as u32, w * h * 3);
            assert!(rgb.data().iter().all(|v| *v <= 2), "{w}x{h} is not black");
        }
    }

    #[test]
    fn samples_are_the_first_plane_as_it_is() {
        use gst_video::VideoFormat as F;
        // 30 columns: rows are padded to 32.
        let mut memory = None;
        for (format, fill, range) in [
            (F::I420, &[77u8, 128, 128][..], SampleRange::Studio),
            (F::Nv12, &[77, 128], SampleRange::Studio),
            (F::Yuy2, &[77], SampleRange::Studio),
            (F::Gray8, &[77], SampleRange::Full),
        ] {
            let samples = frame(format, 30, 16, fill).to_samples(memory.take()).unwrap();
            assert_eq!((samples.width(), samples.height(), samples.range()), (30, 16, range), "{format}");
            assert_eq!(*samples.data(), SampleData::Eight(vec![77; 480]), "{format}");
            memory = Some(samples.into_data());
        }
        for (format, value) in [(F::Gray16Le, 0x0101), (F::Gray16Be, 0x0101)] {
            let samples = frame(format, 30, 16, &[1]).to_samples(memory.take()).unwrap();
            assert_eq!(*samples.data(), SampleData::Sixteen(vec![value; 480]), "{format}");
        }
        let e = frame(F::Rgb, 30, 16, &[77]).to_samples(None).unwrap_err();
        assert!(e.to_string().contains("no single channel"), "{e}");
    }

    #[test]
    fn full_range_video_says_so() {
        gst::init().unwrap();
        for (colorimetry, range) in [("1:4:7:1", SampleRange::Full), ("bt709", SampleRange::Studio)] {
            let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 32, 16)
                .colorimetry(&colorimetry.parse().unwrap())
                .build()
                .unwrap();
            let buffer = gst::Buffer::with_size(info.size()).unwrap();
            let samples = native_samples(&buffer, &info, None).unwrap();
            assert_eq!(samples.range(), range, "{colorimetry}");
        }
    }

    #[test]
    fn colour_is_told_from_grey() {
        use gst_video::VideoFormat as F;
        let of = |format, fill: &[u8]| frame(format, 64, 48, fill).colourfulness();
        assert_eq!(of(F::I420, &[90, 128, 128]), Some(0.0));
        assert_eq!(of(F::I420, &[90, 100, 168]), Some(34.0));
        assert_eq!(of(F::Nv12, &[90, 158]), Some(30.0));
        assert_eq!(of(F::Gray8, &[90]), None);
    }

    #[test]
    fn a_gigantic_picture_is_refused_in_words() {
        let e = check_size(16384, 16384).unwrap_err();
        assert_eq!(e.kind(), Kind::TooLarge);
        assert!(e.to_string().contains("16384x16384"), "{e}");
        assert!(check_size(8192, 8192).is_err(), "the pixels count, not only the sides");
        assert!(check_size(7680, 4320).is_ok());
    }

    #[test]
    fn a_failed_conversion_is_counted() {
        let counter = Arc::new(AtomicU64::new(0));
        let good = frame(gst_video::VideoFormat::I420, 64, 64, &[16, 128, 128]);
        let Repr::Native { info, .. } = &good.pixels.0 else { panic!("not native") };
        let torn = Pixels::native(gst::Buffer::with_size(10).unwrap(), info.clone());
        let torn = Frame::new(good.info.clone(), torn).counting_unconvertible(counter.clone());
        assert_eq!(torn.to_rgb(&mut Converter::new()).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(counter.load(Ordering::Relaxed), 1);
    }
}
