//! A flight as a drone sends it: H.264 and KLV in an MPEG transport stream, to a file or over UDP; or
//! 16-bit pictures in a folder; and the truth beside it.
//!
//! ```text
//! appsrc ─ videoconvert ─ x264enc ─ h264parse ─ queue ─┬─ mpegtsmux ─┬─ filesink
//! appsrc (meta/x-klv) ──────────────────────── queue ──┘             └─ udpsink, by the clock
//! ```
//!
//! Every frame's time in the stream counts from the flight's start, and a KLV packet's is when it
//! arrives. Where no packet comes, a gap event says so: the multiplexer would wait for one.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde::Serialize;

use crate::base::{Culprit, Error, Kind, Result};
use crate::capture::{SampleData, Samples};
use crate::geo::{Geodetic, Pose};

use super::flight::{Flight, SeenObject, SimFrame};
use super::plan::{CameraPlan, FlightPlan, ObjectClass};

/// Encoders of H.264, the better one first.
const ENCODERS: [&str; 2] = ["x264enc", "openh264enc"];
/// Frames and packets that may wait before the encoder.
const WAITING: u64 = 8;
/// A pipeline that takes nothing for so long has hung.
const STUCK: Duration = Duration::from_secs(30);

/// Where a transport stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, as fast as it can be made.
    File(PathBuf),
    /// Over UDP, frame by frame as time passes.
    Udp {
        /// A name, an address or a multicast group.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Writes a flight as a transport stream.
#[derive(Debug)]
pub struct StreamWriter {
    pipeline: gst::Pipeline,
    video: gst_app::AppSrc,
    klv: gst_app::AppSrc,
    bus: gst::Bus,
    frame_time: gst::ClockTime,
    failed: bool,
}

fn broken(what: &str) -> Error {
    Error::internal(format!("cannot put the pipeline together: {what}"))
}

fn make(name: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(name).build().map_err(|_| {
        Error::new(Kind::Unavailable, Culprit::Host, format!("GStreamer has no element {name}"))
            .remedy("apt install gstreamer1.0-plugins-{base,good,bad,ugly}")
    })
}

impl StreamWriter {
    /// Starts the pipeline.
    ///
    /// # Errors
    /// For a 16-bit camera, a machine without encoder, and a file that cannot be written.
    pub fn new(to: &Destination, camera: &CameraPlan) -> Result<Self> {
        if camera.kelvin_per_count.is_some() {
            let says = "a transport stream carries 8-bit video, and this camera has 16 bits";
            return Err(Error::new(Kind::Usage, Culprit::Request, says)
                .remedy("write a folder of pictures (--tiff), or leave camera.kelvin_per_count out"));
        }
        gst::init().map_err(|e| {
            Error::new(Kind::Unavailable, Culprit::Host, "GStreamer does not start").with_source(e)
        })?;
        let rate = gst::Fraction::new((camera.fps * 1000.0).round() as i32, 1000);
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "GRAY8")
            .field("width", camera.size[0] as i32)
            .field("height", camera.size[1] as i32)
            .field("framerate", rate)
            .build();
        let source = |caps: &gst::Caps| {
            gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).max_buffers(WAITING).build()
        };
        let video = source(&caps);
        let klv = source(&gst::Caps::builder("meta/x-klv").field("parsed", true).build());
        let encoder = ENCODERS
            .iter()
            .find(|e| gst::ElementFactory::find(e).is_some())
            .map_or_else(|| make(ENCODERS[0]), |e| make(e))?;
        if encoder.has_property("speed-preset") {
            encoder.set_property_from_str("speed-preset", "veryfast");
            // One reference and no reordering, as a drone's encoder works; one thread, so that the
            // same frames give the same bytes.
            encoder.set_property_from_str("tune", "zerolatency");
            encoder.set_property("threads", 1u32);
            encoder.set_property("bitrate", 4000u32);
            encoder.set_property("key-int-max", (camera.fps.round() as u32).max(1));
        }
        let (convert, parse, mux) = (make("videoconvert")?, make("h264parse")?, make("mpegtsmux")?);
        let (video_queue, klv_queue) = (make("queue")?, make("queue")?);
        let sink = match to {
            Destination::File(path) => {
                let sink = make("filesink")?;
                sink.set_property("location", path);
                sink
            }
            Destination::Udp { host, port } => {
                let sink = make("udpsink")?;
                sink.set_property("host", host);
                sink.set_property("port", i32::from(*port));
                // Seven packets of the stream fill a datagram.
                mux.set_property("alignment", 7i32);
                sink.set_property("sync", true);
                sink
            }
        };
        let pipeline = gst::Pipeline::new();
        let elements = [
            video.upcast_ref(),
            &convert,
            &encoder,
            &parse,
            &video_queue,
            &mux,
            klv.upcast_ref(),
            &klv_queue,
            &sink,
        ];
        pipeline.add_many(elements).map_err(|_| broken("add"))?;
        // Parsed into I420 before the encoder, or it would choose 4:0:0, which few decoders know.
        gst::Element::link_many([video.upcast_ref(), &convert]).map_err(|_| broken("video"))?;
        let i420 = gst::Caps::builder("video/x-raw").field("format", "I420").build();
        convert.link_filtered(&encoder, &i420).map_err(|_| broken("encoder"))?;
        gst::Element::link_many([&encoder, &parse, &video_queue, &mux, &sink]).map_err(|_| broken("mux"))?;
        gst::Element::link_many([klv.upcast_ref(), &klv_queue, &mux]).map_err(|_| broken("klv"))?;
        let (enters, leaves) = (encoder.static_pad("sink"), video_queue.static_pad("sink"));
        let (Some(enters), Some(leaves)) = (enters, leaves) else { return Err(broken("pads")) };
        pass_gaps(&enters, &leaves);
        let bus = pipeline.bus().ok_or_else(|| broken("bus"))?;
        let writer = Self {
            pipeline,
            video,
            klv,
            bus,
            frame_time: gst::ClockTime::from_nseconds((1e9 / camera.fps) as u64),
            failed: false,
        };
        if writer.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(writer.fault().unwrap_or_else(|| broken("it does not start")));
        }
        Ok(writer)
    }

    /// Sends one frame and the messages that arrived with it.
    ///
    /// # Errors
    /// When the encoder, the disk or the network fails.
    pub fn frame(&mut self, frame: &SimFrame) -> Result<()> {
        let at = clock_time(frame.at);
        for packet in &frame.packets {
            let mut buffer = gst::Buffer::from_slice(packet.klv.clone());
            if let Some(b) = buffer.get_mut() {
                b.set_pts(clock_time(packet.arrives));
            }
            self.room(&self.klv)?;
            self.klv.push_buffer(buffer).map_err(|_| self.fault_or("KLV"))?;
        }
        if frame.packets.is_empty() {
            self.klv.send_event(gst::event::Gap::builder(at).duration(self.frame_time).build());
        }
        match &frame.picture {
            Some(picture) => {
                let mut buffer = gst::Buffer::from_slice(eight(picture)?.to_vec());
                if let Some(b) = buffer.get_mut() {
                    b.set_pts(at);
                    b.set_duration(self.frame_time);
                }
                self.room(&self.video)?;
                self.video.push_buffer(buffer).map_err(|_| self.fault_or("video"))?;
            }
            None => {
                self.video.send_event(gst::event::Gap::builder(at).duration(self.frame_time).build());
            }
        }
        Ok(())
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// As [`StreamWriter::frame`].
    pub fn finish(mut self) -> Result<()> {
        for source in [&self.video, &self.klv] {
            source.end_of_stream().map_err(|_| self.fault_or("end"))?;
        }
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let within = clock_time(STUCK);
        let ended = self.bus.timed_pop_filtered(within, &wanted).map(|m| self.read(&m));
        self.failed = true;
        match ended {
            Some(None) => Ok(()),
            Some(Some(fault)) => Err(fault),
            None => Err(Error::new(Kind::Timeout, Culprit::Host, "the encoder does not end")),
        }
    }

    /// Waits until a source can take more.
    fn room(&self, source: &gst_app::AppSrc) -> Result<()> {
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while source.current_level_buffers() >= WAITING {
            if let Some(m) = self.bus.timed_pop_filtered(clock_time(step), &[gst::MessageType::Error])
                && let Some(fault) = self.read(&m)
            {
                return Err(fault);
            }
            waited += step;
            if waited > STUCK {
                return Err(Error::new(Kind::Timeout, Culprit::Host, "the encoder takes no more frames"));
            }
        }
        match self.fault() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn fault(&self) -> Option<Error> {
        self.bus.pop_filtered(&[gst::MessageType::Error]).and_then(|m| self.read(&m))
    }

    fn fault_or(&self, what: &str) -> Error {
        self.fault().unwrap_or_else(|| Error::internal(format!("the pipeline takes no {what}")))
    }

    fn read(&self, message: &gst::Message) -> Option<Error> {
        match message.view() {
            gst::MessageView::Error(e) => {
                let source = e.src().map(|s| s.name().to_string()).unwrap_or_default();
                let text = format!("cannot write the stream: {source}: {}", e.error());
                Some(Error::new(Kind::Unavailable, Culprit::Host, text))
            }
            _ => None,
        }
    }
}

/// Leads gaps past the encoder, which keeps them for itself until the next picture: the multiplexer would wait
/// as long. In order all the same, because it has handed on each picture before it takes the next.
fn pass_gaps(enters: &gst::Pad, leaves: &gst::Pad) {
    let leaves = leaves.downgrade();
    enters.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && let gst::EventView::Gap(gap) = event.view()
            && let Some(leaves) = leaves.upgrade()
            && let Some(segment) = leaves.sticky_event::<gst::event::Segment>(0)
            && let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>()
        {
            // Encoders begin their own times late, so that none before is negative.
            let (at, duration) = gap.get();
            if let Some(at) = segment.position_from_running_time(at) {
                leaves.send_event(gst::event::Gap::builder(at).duration(duration).build());
            }
        }
        gst::PadProbeReturn::Ok
    });
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn clock_time(at: Duration) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(at.as_nanos().min(u128::from(u64::MAX - 1)) as u64)
}

fn eight(picture: &Samples) -> Result<&[u8]> {
    match picture.data() {
        SampleData::Eight(v) => Ok(v),
        SampleData::Sixteen(_) => Err(Error::internal("a 16-bit picture in an 8-bit stream")),
    }
}

/// Writes 16-bit pictures into a folder: `frame-000000.tiff` and on, in the order of their names.
/// Counts times the camera's kelvin per count are kelvin.
#[derive(Debug)]
pub struct TiffWriter {
    folder: PathBuf,
    written: u64,
}

impl TiffWriter {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// For a folder that cannot be made.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| cannot("make", folder, e))?;
        Ok(Self { folder: folder.to_owned(), written: 0 })
    }

    /// Writes one frame's picture, if it has one.
    ///
    /// # Errors
    /// For a file that cannot be written.
    pub fn frame(&mut self, frame: &SimFrame) -> Result<()> {
        let Some(picture) = &frame.picture else { return Ok(()) };
        let path = self.folder.join(format!("frame-{:06}.tiff", self.written));
        self.written += 1;
        std::fs::write(&path, tiff(picture)).map_err(|e| cannot("write", &path, e))
    }
}

/// A baseline TIFF (revision 6.0, sections 2 and 4): one strip, not compressed, least byte first.
fn tiff(picture: &Samples) -> Vec<u8> {
    let (bits, bytes) = match picture.data() {
        SampleData::Eight(v) => (8u32, v.clone()),
        SampleData::Sixteen(v) => (16, v.iter().flat_map(|s| s.to_le_bytes()).collect()),
    };
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let entries: [(u16, u16, u32); 9] = [
        (256, LONG, picture.width()),
        (257, LONG, picture.height()),
        (258, SHORT, bits),
        (259, SHORT, 1),
        // Black is zero.
        (262, SHORT, 1),
        (273, LONG, 8 + 2 + 9 * 12 + 4),
        (277, SHORT, 1),
        (278, LONG, picture.height()),
        (279, LONG, bytes.len() as u32),
    ];
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    out.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend([0; 4]);
    out.extend(bytes);
    out
}

/// Writes what is true beside a flight: JSON, one object a line. The first line is the flight: its plan
/// and its objects. Every other is a frame.
#[derive(Debug)]
pub struct TruthWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Flight {
        version: u32,
        plan: &'a FlightPlan,
        objects: Vec<ObjectLine<'a>>,
    },
    Frame {
        seq: u64,
        at_s: f64,
        time: jiff::Timestamp,
        picture: PictureLine,
        camera: CameraLine,
        objects: Vec<SeenLine>,
    },
}

#[derive(Serialize)]
struct ObjectLine<'a> {
    id: usize,
    class: ObjectClass,
    kind: &'a super::plan::ObjectKind,
    cover: &'a super::plan::Cover,
    lat: f64,
    lon: f64,
    hae_m: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PictureLine {
    New,
    Held,
    None,
}

#[derive(Serialize)]
struct CameraLine {
    lat: f64,
    lon: f64,
    hae_m: f64,
    above_ground_m: f64,
    yaw_deg: f64,
    pitch_deg: f64,
    roll_deg: f64,
    black_hot: bool,
}

#[derive(Serialize)]
struct SeenLine {
    id: usize,
    class: ObjectClass,
    /// Left, top, width, height in pixels.
    r#box: [f32; 4],
    visible: f32,
    cut: bool,
    lat: f64,
    lon: f64,
    hae_m: f64,
    range_m: f64,
}

fn place(at: &Geodetic) -> [f64; 3] {
    let degrees = |v: f64| (v * 1e8).round() / 1e8;
    [degrees(at.at.lat().degrees()), degrees(at.at.lon().degrees()), (at.height.0 * 1e3).round() / 1e3]
}

impl TruthWriter {
    /// Writes the line of the flight.
    ///
    /// # Errors
    /// For a file that cannot be written.
    pub fn new(path: &Path, flight: &Flight) -> Result<Self> {
        let file = File::create(path).map_err(|e| cannot("write", path, e))?;
        let mut writer = Self { file: BufWriter::new(file), path: path.to_owned() };
        let objects = flight.objects();
        let objects = objects
            .iter()
            .map(|o| {
                let [lat, lon, hae_m] = place(&o.position);
                ObjectLine { id: o.id, class: o.class(), kind: &o.kind, cover: &o.cover, lat, lon, hae_m }
            })
            .collect();
        writer.line(&Line::Flight { version: 1, plan: flight.plan(), objects })?;
        Ok(writer)
    }

    /// Writes the line of a frame.
    ///
    /// # Errors
    /// As [`TruthWriter::new`].
    pub fn frame(&mut self, frame: &SimFrame) -> Result<()> {
        let pose: &Pose = &frame.truth.pose;
        let looks = Flight::looks(pose);
        let hae_m = match pose.height {
            crate::geo::Height::Ellipsoid(h) => h.0,
            _ => return Err(Error::internal("the truth's height is none above the ellipsoid")),
        };
        let at = Geodetic { at: pose.position, height: crate::geo::EllipsoidHeight(hae_m) };
        let [lat, lon, hae_m] = place(&at);
        let camera = CameraLine {
            lat,
            lon,
            hae_m,
            above_ground_m: frame.truth.above_ground_m,
            yaw_deg: looks.yaw.compass().degrees(),
            pitch_deg: looks.pitch.degrees(),
            roll_deg: looks.roll.signed().degrees(),
            black_hot: frame.black_hot,
        };
        let picture = match (&frame.picture, frame.held) {
            (None, _) => PictureLine::None,
            (Some(_), true) => PictureLine::Held,
            (Some(_), false) => PictureLine::New,
        };
        let seen = |o: &SeenObject| {
            let [lat, lon, hae_m] = place(&o.position);
            let b = o.bbox;
            SeenLine {
                id: o.id,
                class: o.class,
                r#box: [b.x, b.y, b.width, b.height],
                visible: o.visible,
                cut: o.cut,
                lat,
                lon,
                hae_m,
                range_m: o.range_m,
            }
        };
        let objects = frame.truth.objects.iter().map(seen).collect();
        self.line(&Line::Frame {
            seq: frame.sequence,
            at_s: frame.at.as_secs_f64(),
            time: frame.time,
            picture,
            camera,
            objects,
        })
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// As [`TruthWriter::new`].
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|e| cannot("write", &self.path, e))
    }

    fn line(&mut self, line: &Line<'_>) -> Result<()> {
        let text = serde_json::to_string(line)
            .map_err(|e| Error::internal("cannot write the truth as JSON").with_source(e))?;
        writeln!(self.file, "{text}").map_err(|e| cannot("write", &self.path, e))
    }
}

fn cannot(do_what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::io(Culprit::Request, format!("cannot {do_what} {}", path.display()), e)
}
