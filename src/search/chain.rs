//! One frame's walk over the search box: pixels and telemetry in, outcomes out.
//!
//! [`Chain`] joins what the rooms above offer: polarity and detectors, the telemetry's timeline, the camera
//! in the world, and [`Search`]. It has neither thread nor clock, so a flight that is flown, one that is played
//! again and one that is simulated walk the same way, and the same input gives the same outcomes.
//!
//! Telemetry comes later than the picture it belongs to. So a frame is looked at when it comes, and what was
//! found in it waits, without its pixels, until the telemetry around it is there or has had its time.

use std::collections::VecDeque;
use std::fmt;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{GrayImage, ImageFormat};
use jiff::Timestamp;

use super::machine::{Doubt, Find, Look, Outcome, Search};
use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::{Frame, SampleData, Samples};
use crate::config::{TelemetryConfig, TelemetryKind, ThermalConfig};
use crate::event::ThermalPolarity;
use crate::geo::{
    Camera, FieldOfView, Geodetic, LatLon, Locator, NoGround, NoPose, Notice, Pose, Telemetry, Timeline, klv,
};
use crate::infer::{Manifest, Runtime};
use crate::thermal::{
    DetectorSettings, Detectors, GroundSample, Hotspot, Intake, Polarity, ThermalImage, ThermalIntake,
    distinct, gate,
};

/// Frames whose telemetry is waited for: eight seconds of a fast camera. The oldest then goes without.
const MAX_WAITING: usize = 256;
/// A shape's middle is known to this many pixels, and to this part of its size.
const PIXEL_SIGMA: f64 = 1.0;
const SIZE_SIGMA: f64 = 0.1;
/// Side of a chip, pixels.
const CHIP: u32 = 48;
/// Chips of one frame; they are made before it is known which shapes will be told.
const MAX_CHIPS: usize = 8;

/// When a frame was taken, by the clocks that there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameTime {
    /// Place in the video's stream: what KLV and subtitles are aligned by.
    pub stream: Option<Duration>,
    /// When it came, monotonic: what MAVLink is aligned by, whose messages come beside the video.
    pub arrived: Instant,
}

/// Makes the camera's model for frames of a size.
pub type CameraOf = Box<dyn Fn([u32; 2]) -> Result<Camera> + Send>;

/// What a [`Chain`] is made of.
pub struct ChainParts {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// The models.
    pub manifest: Arc<Manifest>,
    /// Which detectors look.
    pub detectors: DetectorSettings,
    /// Polarity, radiometry, masks.
    pub thermal: ThermalConfig,
    /// How the drone speaks.
    pub telemetry: TelemetryConfig,
    /// What the picture spans, where the drone does not say it.
    pub field_of_view: Option<FieldOfView>,
    /// Turns pixels into places; its camera is replaced by that of the frames that come.
    pub locator: Locator,
    /// The camera for frames of a size: width and height.
    pub camera: CameraOf,
    /// What decides.
    pub search: Search,
    /// Whether small pictures are made of what is found.
    pub chips: bool,
}

/// Why a frame led to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blind {
    /// Nothing can be looked for in the picture: what is wrong with it.
    Picture(&'static str),
    /// It is not known yet whether warm is bright or dark.
    Polarity,
    /// It is not known from where it was taken.
    Pose(NoPose),
    /// Its lines of sight meet no ground.
    Ground(NoGround),
    /// From where it was taken is said, and not believed.
    Doubt(Doubt),
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Picture(why) => f.write_str(why),
            Self::Polarity => f.write_str("whether warm is bright or dark is being found out"),
            Self::Pose(why) => why.fmt(f),
            Self::Ground(why) => write!(f, "the picture shows no ground: {why}"),
            Self::Doubt(why) => why.fmt(f),
        }
    }
}

/// Counts since the chain was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainStats {
    /// Frames that came.
    pub frames: u64,
    /// Frames that showed the one before once more.
    pub repeated: u64,
    /// Frames in which nothing could be looked for.
    pub unseeing: u64,
    /// Frames that were looked at and whose place was not found out, or is not believed.
    pub unplaced: u64,
    /// Frames that became looks.
    pub looks: u64,
    /// Warm shapes that were found in them.
    pub finds: u64,
    /// KLV packets that could not be used.
    pub broken_packets: u64,
}

/// What was found in one frame, waiting for its place.
struct Seen {
    time: FrameTime,
    spots: Vec<(Hotspot, Option<Arc<[u8]>>)>,
    radiometric: bool,
    polarity: Option<ThermalPolarity>,
}

/// Detectors and places for frames of one size.
struct Sized {
    size: [u32; 2],
    detectors: Detectors,
    locator: Locator,
}

/// The chain of one thermal camera.
pub struct Chain {
    runtime: Runtime,
    manifest: Arc<Manifest>,
    settings: DetectorSettings,
    locator: Locator,
    camera: CameraOf,
    chips: bool,
    slant_m: Option<f64>,
    /// Where the axis of arrivals begins, for telemetry that is no part of the video's stream.
    arrivals: Option<Instant>,
    wait: Duration,
    intake: ThermalIntake,
    sized: Option<Sized>,
    klv: klv::Reader,
    timeline: Timeline,
    waiting: VecDeque<Seen>,
    newest: Option<FrameTime>,
    search: Search,
    blind: Option<Blind>,
    stats: ChainStats,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Chain {
    /// A chain that has seen nothing. The detectors are opened with the first frame, whose size they need.
    pub fn new(parts: ChainParts) -> Self {
        let ChainParts {
            runtime,
            manifest,
            detectors,
            thermal,
            telemetry,
            field_of_view,
            locator,
            camera,
            search,
            chips,
        } = parts;
        Self {
            runtime,
            manifest,
            settings: detectors,
            locator,
            camera,
            chips,
            slant_m: None,
            arrivals: (telemetry.kind == TelemetryKind::Mavlink).then(Instant::now),
            wait: telemetry.wait_ms.duration(),
            intake: ThermalIntake::new(&thermal),
            sized: None,
            klv: klv::Reader::new(),
            timeline: Timeline::new(&telemetry).assuming(field_of_view),
            waiting: VecDeque::new(),
            newest: None,
            search,
            blind: None,
            stats: ChainStats::default(),
        }
    }

    /// What decides.
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// What decides, to give it orders.
    pub fn search_mut(&mut self) -> &mut Search {
        &mut self.search
    }

    /// What is known of the drone.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Counts since the chain was made.
    pub fn stats(&self) -> ChainStats {
        self.stats
    }

    /// Why the newest frame led to nothing; none if it did.
    pub fn blind(&self) -> Option<&Blind> {
        self.blind.as_ref()
    }

    /// The newest time that is known of the drone's clock: what an order that comes now is dated by.
    pub fn now(&self) -> Option<Timestamp> {
        self.timeline.newest()
    }

    /// The camera was opened anew: nothing of its stream's times before holds any more.
    pub fn new_stream(&mut self) -> Vec<Outcome> {
        let out = self.flush();
        self.timeline.new_stream();
        self.newest = None;
        out
    }

    /// A KLV packet of the video's stream.
    pub fn klv(&mut self, bytes: &[u8], stream: Option<Duration>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for found in self.klv.read(bytes) {
            match (found.set(), stream) {
                (Ok(decoded), Some(at)) => notices.extend(self.timeline.push_at(decoded.set.telemetry(), at)),
                (Ok(decoded), None) => notices.extend(self.timeline.push(decoded.set.telemetry())),
                (Err(_), _) => self.stats.broken_packets += 1,
            }
        }
        notices
    }

    /// A message of the drone's; `stream` is its place in the video, where it has one.
    pub fn tell(&mut self, telemetry: Telemetry, stream: Option<Duration>) -> Vec<Notice> {
        match stream {
            Some(at) => self.timeline.push_at(telemetry, at),
            None => self.timeline.push(telemetry),
        }
    }

    /// A message that came beside the video: a frame that came at the same moment belongs to it, but for
    /// `offset_ms`. So a box whose clock was never set does no harm.
    pub fn tell_arrived(&mut self, telemetry: Telemetry, arrival: Instant) -> Vec<Notice> {
        let at = self.arrivals.map(|zero| arrival.saturating_duration_since(zero));
        self.tell(telemetry, at)
    }

    /// How far off the drone's receiver says its positions are, one standard deviation each in metres.
    pub fn accuracy(&mut self, horizontal_m: f64, vertical_m: f64) {
        self.timeline.set_accuracy(horizontal_m, vertical_m);
    }

    /// The next frame of the camera.
    ///
    /// # Errors
    /// For a frame without a channel that could be warmth, and for what opening a model can say.
    pub fn frame(&mut self, frame: &Frame) -> Result<Vec<Outcome>> {
        let info = frame.info();
        let time = FrameTime { stream: frame.stream_time().map(|t| t.position), arrived: info.arrived };
        let taken = self.intake.take(frame, self.slant_m)?;
        self.take(taken, time)
    }

    /// The next picture, from whatever made it.
    ///
    /// # Errors
    /// As [`Chain::frame`].
    pub fn samples(&mut self, samples: Samples, time: FrameTime) -> Result<Vec<Outcome>> {
        let taken = self.intake.take_samples(samples, None, time.arrived, self.slant_m)?;
        self.take(taken, time)
    }

    fn take(&mut self, taken: Intake, time: FrameTime) -> Result<Vec<Outcome>> {
        self.stats.frames += 1;
        self.newest = Some(time);
        let reason = match (taken.fault, taken.repeated, taken.polarity.polarity) {
            (Some(fault), ..) => Some(Blind::Picture(fault.reason())),
            (None, false, None) => Some(Blind::Polarity),
            _ => None,
        };
        if reason.is_some() {
            self.stats.unseeing += 1;
            self.blind = reason;
        } else if taken.repeated {
            self.stats.repeated += 1;
        } else {
            let seen = self.look(&taken, time)?;
            if self.waiting.len() == MAX_WAITING {
                self.waiting.pop_front();
                self.stats.unplaced += 1;
            }
            self.waiting.push_back(seen);
        }
        self.intake.give_back(taken.image);
        Ok(self.settle(false))
    }

    /// Finds warm shapes. Their size on the ground is not known yet.
    fn look(&mut self, taken: &Intake, time: FrameTime) -> Result<Seen> {
        let size = [taken.image.width(), taken.image.height()];
        let sized = match &mut self.sized {
            Some(sized) if sized.size == size => sized,
            other => {
                let detectors =
                    Detectors::open(&self.runtime, &self.manifest, &self.settings, size[0], size[1])?;
                let locator = self.locator.clone().with_camera((self.camera)(size)?);
                other.insert(Sized { size, detectors, locator })
            }
        };
        let masks = self.intake.masks();
        let found = distinct(sized.detectors.sightings(&taken.image)?).into_iter().map(|s| s.hotspot);
        let mut spots: Vec<_> = found.filter(|h| !masks.hides(&h.bbox)).map(|h| (h, None)).collect();
        self.stats.finds += spots.len() as u64;
        if self.chips {
            spots.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
            for (hotspot, made) in spots.iter_mut().take(MAX_CHIPS) {
                *made = chip(&taken.image, hotspot).map(Arc::from);
            }
        }
        let polarity = taken.polarity.polarity.map(|p| match p {
            Polarity::WhiteHot => ThermalPolarity::WhiteHot,
            Polarity::BlackHot => ThermalPolarity::BlackHot,
        });
        Ok(Seen { time, spots, radiometric: taken.image.radiometry().is_some(), polarity })
    }

    /// Everything that waits is decided now, with the telemetry that there is: the flight is over, or the
    /// camera is gone.
    pub fn flush(&mut self) -> Vec<Outcome> {
        self.settle(true)
    }

    /// Decides about what waited, as far as its telemetry is there or is not waited for any longer.
    fn settle(&mut self, all: bool) -> Vec<Outcome> {
        let mut out = Vec::new();
        while let Some(seen) = self.waiting.front() {
            let waited = self.newest.map_or(Duration::ZERO, |newest| since(seen.time, newest));
            let may_wait = !all && waited < self.wait;
            let at = match self.arrivals {
                Some(zero) => Some(seen.time.arrived.saturating_duration_since(zero)),
                None => seen.time.stream,
            };
            let pose = at.ok_or(NoPose::NoTime).and_then(|at| self.timeline.pose_at(at, may_wait));
            match pose {
                // What is not known at all yet may become known, as what is late may come.
                Err(NoPose::NotYet(_) | NoPose::NoTime | NoPose::Missing(_)) if may_wait => break,
                _ => {}
            }
            let Some(seen) = self.waiting.pop_front() else { break };
            let looked = pose.map_err(Blind::Pose).and_then(|pose| self.place(seen, &pose));
            match looked {
                Ok(outcomes) => {
                    self.blind = self.search.doubt().cloned().map(Blind::Doubt);
                    match self.blind {
                        None => self.stats.looks += 1,
                        Some(_) => self.stats.unplaced += 1,
                    }
                    out.extend(outcomes);
                }
                Err(why) => {
                    self.stats.unplaced += 1;
                    self.blind = Some(why);
                }
            }
        }
        out
    }

    /// What was found gets its place on the ground, and is decided about.
    fn place(&mut self, seen: Seen, pose: &Pose) -> Result<Vec<Outcome>, Blind> {
        let Some(sized) = &self.sized else { return Ok(Vec::new()) };
        let view = sized.locator.view(pose).map_err(Blind::Ground)?;
        let footprint = view.footprint().map_err(Blind::Ground)?;
        let camera = view.camera();
        let finds = seen.spots.into_iter().filter_map(|(hotspot, chip)| {
            let [x, y] = hotspot.bbox.centre().map(f64::from);
            let side = f64::from(hotspot.bbox.area()).sqrt();
            let ground = view.locate([x, y], PIXEL_SIGMA.hypot(SIZE_SIGMA * side)).ok();
            let pixel = ground.as_ref().and_then(|fix| GroundSample::try_new(fix.gsd_m as f32).ok());
            Some(Find { hotspot: gate(hotspot, pixel)?, ground, chip })
        });
        let finds = finds.collect();
        let outline: Vec<LatLon> = footprint.outline.iter().map(|p| p.at).collect();
        let below = sized.locator.ground_height(camera.at).map_or_else(
            // No ground is known right below; that in the picture is.
            |_| {
                footprint.outline.iter().map(|p| p.height.0).sum::<f64>()
                    / footprint.outline.len().max(1) as f64
            },
            |h| h.0,
        );
        let pixel_of = |place: &Geodetic| {
            view.seen(place).filter(|p| p.inside && p.hidden != Some(true)).map(|p| p.pixel)
        };
        // For the air between: the next frame is not far from this one.
        let middle = sized.size.map(|s| f64::from(s) / 2.0);
        self.slant_m =
            pose.slant_range_m.or_else(|| view.locate(middle, PIXEL_SIGMA).ok().map(|f| f.slant_range_m));
        let wide = view.intrinsics().field_of_view().horizontal;
        Ok(self.search.frame(Look {
            time: pose.time,
            pose,
            picture: sized.size,
            height_above_ground_m: (camera.height.0 - below).max(1.0),
            pixel_angle: crate::geo::Angle::from_radians(wide.radians() / f64::from(sized.size[0].max(1))),
            footprint: &outline,
            finds,
            pixel_of: &pixel_of,
            radiometric: seen.radiometric,
            polarity: seen.polarity,
            contrast: 1.0,
        }))
    }
}

/// How much later one frame is than another: by the stream, else by arrival.
fn since(earlier: FrameTime, later: FrameTime) -> Duration {
    match (earlier.stream, later.stream) {
        (Some(a), Some(b)) => b.saturating_sub(a),
        _ => later.arrived.saturating_duration_since(earlier.arrived),
    }
}

/// A small PNG around a shape, stretched to its own darkest and brightest.
fn chip(image: &ThermalImage, hotspot: &Hotspot) -> Option<Vec<u8>> {
    let (w, h) = (image.width(), image.height());
    let (side_x, side_y) = (CHIP.min(w), CHIP.min(h));
    let [x, y] = hotspot.bbox.centre();
    let corner =
        |centre: f32, side: u32, size: u32| ((centre as u32).saturating_sub(side / 2)).min(size - side);
    let (x0, y0) = (corner(x, side_x, w), corner(y, side_y, h));
    let rows = (y0..y0 + side_y).flat_map(|y| (x0..x0 + side_x).map(move |x| (x, y)));
    let values: Vec<u16> = match image.data() {
        SampleData::Eight(v) => {
            rows.filter_map(|(x, y)| v.get((y * w + x) as usize).map(|s| u16::from(*s))).collect()
        }
        SampleData::Sixteen(v) => rows.filter_map(|(x, y)| v.get((y * w + x) as usize).copied()).collect(),
    };
    let (low, high) = (values.iter().min()?, values.iter().max()?);
    let span = u32::from(high - low).max(1);
    let pixels = values.iter().map(|v| (u32::from(v - low) * 255 / span) as u8).collect();
    let mut png = Cursor::new(Vec::new());
    GrayImage::from_raw(side_x, side_y, pixels)?.write_to(&mut png, ImageFormat::Png).ok()?;
    Some(png.into_inner())
}

impl From<Blind> for Error {
    fn from(blind: Blind) -> Self {
        match blind {
            Blind::Pose(why) => why.into(),
            other => Self::new(Kind::Unavailable, Culprit::Camera, other.to_string()),
        }
    }
}
