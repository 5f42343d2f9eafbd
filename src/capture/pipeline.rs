//! GStreamer pipelines, one per kind of source, all ending in the same sink.
//!
//! ```text
//! rtsp   rtspsrc ─ leaky queue ─ decodebin ─┐
//! http   souphttpsrc ─ multipartdemux ─ leaky queue ─ jpegparse ─ jpegdec ─┤
//! v4l2   v4l2src ─ leaky queue ─ decodebin ─┤
//! file   filesrc ─ decodebin ─┤
//! test   videotestsrc ─┴─ appsink, the decoder's own format, one picture, newest wins
//! ```
//!
//! Transport streams, over UDP, SRT and out of files, are in `transport.rs`.
//!
//! The leaky queue stands before the decoder, the only slow thing here. When it overflows, H.264
//! and H.265 skip to the next key picture instead of smearing.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use jiff::Timestamp;

use super::fault::{self, Redactor};
use super::frame::{Pixels, check_size};
use super::klv::{KlvAssembler, MAX_KLV_BYTES};
use super::mpegts::TransportFilter;
use super::source::{Opener, Picture, Pull, Source, SourceDrops, SourceMetadata};
use super::tiff::TiffSource;
use super::transport;
use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{CameraConfig, PixelFormat, Secret, SourceUrl, Transport};

/// A network camera that does not answer a request of the handshake for this long is tried again:
/// a camera that rebooted behind our back must not cost the whole `connect_within_ms`. Each time in a
/// row it gets twice as long, up to that: a server that starts its source when asked takes seconds.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// Compressed backlog before a slow decoder: time, bytes, packets.
const BACKLOG: Duration = Duration::from_secs(1);
const BACKLOG_BYTES: u32 = 8 << 20;
pub(super) const BACKLOG_PACKETS: u32 = 8192;
/// Most bytes of one picture over HTTP. A stream without boundaries would be collected for ever.
const MAX_MJPEG_PART: u64 = 32 << 20;
/// How often a waiting reader looks for faults.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Size and rate of the test pattern.
const TEST_CAPS: (i32, i32, i32) = (1280, 720, 25);
/// KLV packets that wait inside a source until they are taken, some ten times a second.
const MAX_PACKETS: usize = 256;
/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// Opens every kind of camera with GStreamer.
#[derive(Clone, Copy, Debug)]
pub struct GstOpener(());

impl GstOpener {
    /// Starts GStreamer in this process, once.
    pub fn new() -> Result<Self> {
        gst::init().map_err(|e| {
            Error::new(Kind::Unavailable, Culprit::Host, "GStreamer does not start")
                .remedy("install it: apt install libgstreamer1.0-0 gstreamer1.0-plugins-base")
                .with_source(e)
        })?;
        Ok(Self(()))
    }
}

impl Opener for GstOpener {
    fn open(&self, camera: &CameraConfig) -> Result<Box<dyn Source>> {
        self.open_slow(camera, 0)
    }

    fn open_slow(&self, camera: &CameraConfig, times: u32) -> Result<Box<dyn Source>> {
        if let SourceUrl::Tiff(folder) = &camera.url {
            let fps = camera.fps.unwrap_or(crate::config::FrameRate::DEFAULT);
            return Ok(Box::new(TiffSource::open(Path::new(folder), Some(fps), camera.repeat)?));
        }
        // Read at each opening: a rotated password needs no restart.
        let password = Secret::resolve(camera.password.as_ref(), camera.password_file.as_deref())?;
        let redactor =
            Redactor::new(&camera.url, camera.username.as_deref(), password.as_ref().map(Secret::expose));
        let build = Build::new(camera.url.clone(), redactor, Pace::Freshest)?;
        match &camera.url {
            SourceUrl::Rtsp(url) => build.rtsp(url, camera, password.as_ref(), times)?,
            SourceUrl::Http(url) => build.http(url, camera, password.as_ref())?,
            SourceUrl::V4l2(device) => build.v4l2(device, camera.pixel_format)?,
            SourceUrl::File(path) => build.file(Path::new(path))?,
            SourceUrl::Udp(_, address) => transport::udp(&build, address)?,
            SourceUrl::Srt(_, address) => transport::srt(&build, address, camera, password.as_ref())?,
            SourceUrl::Test => build.test()?,
            SourceUrl::Tiff(_) => return Err(wiring("a folder of pictures")),
        }
        Ok(Box::new(build.play(camera.repeat)?))
    }
}

/// Opens a file to be read whole: every picture, in order, as fast as it is taken.
pub(crate) fn open_every_frame(path: &Path) -> Result<GstSource> {
    GstOpener::new()?;
    let url = SourceUrl::File(path.display().to_string());
    let build = Build::new(url, Redactor::default(), Pace::EveryFrame)?;
    build.file(path)?;
    build.play(false)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// In real time; what nobody takes is replaced.
    Freshest,
    /// At the reader's pace, nothing left out.
    EveryFrame,
}

/// What the pipeline's own threads report.
#[derive(Default)]
pub(super) struct Reports {
    fault: Mutex<Option<Error>>,
    refused: AtomicBool,
    /// RTP over TCP: nothing is lost but what the leaky queue throws away.
    lossless: AtomicBool,
    reached_sink: AtomicU64,
    backlog: AtomicU64,
    part_bytes: AtomicU64,
    packets: Mutex<Packets>,
    /// Where the newest video is, nanoseconds of stream time, one more; 0: nowhere yet.
    video_at: AtomicU64,
    /// What stands before the demultiplexer of a transport stream.
    pub(super) transport: Mutex<Option<TransportFilter>>,
}

/// KLV packets on their way.
#[derive(Default)]
struct Packets {
    waiting: VecDeque<SourceMetadata>,
    /// One too many.
    dropped: u64,
    /// Torn, too long.
    damaged: u64,
}

impl Reports {
    /// The first fault is the cause, the rest follow from it.
    pub(super) fn fail(&self, e: Error) {
        self.refused.store(true, Ordering::Relaxed);
        self.fault.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(e);
    }

    fn fault(&self) -> Option<Error> {
        self.fault.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    // Held for a move, never across I/O.
    fn packets(&self) -> MutexGuard<'_, Packets> {
        self.packets.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn metadata(&self, packet: SourceMetadata) {
        let mut packets = self.packets();
        packets.waiting.push_back(packet);
        if packets.waiting.len() > MAX_PACKETS {
            packets.waiting.pop_front();
            packets.dropped += 1;
        }
    }

    /// Remembers where the video is, for metadata that do not say where they are.
    pub(super) fn watch_video(self: &Arc<Self>, pad: &gst::Pad) {
        let reports = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data
                && let Some(at) = stream_position(pad, buffer)
            {
                reports.video_at.store(1 + at.as_nanos() as u64, Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Where a buffer on a pad stands in the stream.
pub(super) fn stream_position(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Duration> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_stream_time(buffer.pts().or(buffer.dts())?).map(Duration::from)
}

/// A pipeline in the making.
pub(super) struct Build {
    url: SourceUrl,
    redactor: Redactor,
    pub(super) pace: Pace,
    pub(super) pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    pub(super) reports: Arc<Reports>,
}

pub(super) fn make(element: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(element).build().map_err(|_| fault::missing_element(element))
}

pub(super) fn wiring(what: &str) -> Error {
    Error::internal(format!("cannot put the pipeline together: {what}"))
}

impl Build {
    pub(super) fn new(url: SourceUrl, redactor: Redactor, pace: Pace) -> Result<Self> {
        if gst::ElementFactory::find("appsink").is_none() {
            return Err(fault::missing_element("appsink"));
        }
        let freshest = pace == Pace::Freshest;
        let sink = gst_app::AppSink::builder()
            .name("sink")
            .caps(&gst::Caps::new_empty_simple("video/x-raw"))
            .max_buffers(if freshest { 1 } else { 2 })
            .drop(freshest)
            .sync(freshest && matches!(url, SourceUrl::File(_)))
            .enable_last_sample(false)
            .build();
        let reports = Arc::new(Reports::default());
        if let Some(pad) = sink.static_pad("sink") {
            let reports = reports.clone();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                reports.reached_sink.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        let pipeline = gst::Pipeline::new();
        pipeline.add(&sink).map_err(|_| wiring("appsink"))?;
        let watched = reports.clone();
        pipeline.connect_deep_element_added(move |_, _, element| look_after(element, &watched));
        Ok(Self { url, redactor, pace, pipeline, sink, reports })
    }

    pub(super) fn add(&self, element: &str) -> Result<gst::Element> {
        let e = make(element)?;
        self.pipeline.add(&e).map_err(|_| wiring(element))?;
        Ok(e)
    }

    /// A queue that throws its oldest away rather than make its source wait.
    pub(super) fn leaky_queue(&self, packets: u32) -> Result<gst::Element> {
        let queue = self.add("queue")?;
        queue.set_property_from_str("leaky", "downstream");
        queue.set_property("max-size-buffers", packets);
        queue.set_property("max-size-bytes", BACKLOG_BYTES);
        queue.set_property("max-size-time", BACKLOG.as_nanos() as u64);
        let reports = self.reports.clone();
        queue.connect("overrun", false, move |_| {
            reports.backlog.fetch_add(1, Ordering::Relaxed);
            None
        });
        Ok(queue)
    }

    /// A decoder for whatever comes, its pictures going to the sink.
    pub(super) fn decoder(&self) -> Result<gst::Element> {
        let decoder = self.add("decodebin")?;
        // Only video is decoded: what else the stream carries is nobody's business here.
        decoder.connect("autoplug-continue", false, |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok())?;
            let wanted = caps.structure(0).is_none_or(|s| {
                let name = s.name();
                let media = s.get::<&str>("media").ok();
                !name.starts_with("audio/") && !name.starts_with("text/") && !matches!(media, Some("audio"))
            });
            Some(wanted.to_value())
        });
        let (sink, reports) = (self.sink.downgrade(), self.reports.clone());
        decoder.connect_pad_added(move |_, pad| {
            let Some(sink) = sink.upgrade().and_then(|s| s.static_pad("sink")) else { return };
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let raw = caps.structure(0).is_some_and(|s| s.name() == "video/x-raw");
            if raw && !sink.is_linked() && pad.link(&sink).is_err() {
                reports.fail(Error::new(
                    Kind::Unsupported,
                    Culprit::Host,
                    "the decoder keeps its pictures where this box cannot read them",
                ));
            }
        });
        let (reports, redactor) = (self.reports.clone(), self.redactor.clone());
        decoder.connect("unknown-type", false, move |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok())?;
            let name = caps.structure(0)?.name().to_string();
            let encoding = caps.structure(0)?.get::<String>("encoding-name").unwrap_or_default();
            if name.starts_with("video/") || name.starts_with("image/") || name == "application/x-rtp" {
                reports.fail(fault::no_decoder(&redactor.clean(&format!("{name} {encoding}"))));
            }
            None
        });
        Ok(decoder)
    }

    fn rtsp(&self, url: &str, camera: &CameraConfig, password: Option<&Secret>, slow: u32) -> Result<()> {
        let src = self.add("rtspsrc")?;
        let within = (HANDSHAKE_WITHIN * (1 << slow.min(8))).min(camera.connect_within_ms.duration());
        self.reports.lossless.store(camera.transport == Transport::Tcp, Ordering::Relaxed);
        src.set_property("location", url);
        src.set_property("latency", camera.latency_ms.0);
        src.set_property_from_str(
            "protocols",
            match camera.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
        );
        src.set_property("tcp-timeout", within.as_micros() as u64);
        // No silent change from UDP to TCP: the site chose, and the watchdog is ours.
        src.set_property("timeout", 0u64);
        src.set_property("add-reference-timestamp-meta", true);
        src.set_property("user-agent", concat!("vigil/", env!("CARGO_PKG_VERSION")));
        if let Some(username) = &camera.username {
            src.set_property("user-id", username);
        }
        if let Some(password) = password {
            src.set_property("user-pw", password.expose());
        }
        // One video stream is set up, and one of KLV; sound and the rest are not even asked for.
        let chosen = [AtomicBool::new(false), AtomicBool::new(false)];
        src.connect("select-stream", false, move |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok())?;
            let wanted = match rtp_kind(&caps) {
                Some(RtpKind::Video) => !chosen[0].swap(true, Ordering::Relaxed),
                Some(RtpKind::Klv) => !chosen[1].swap(true, Ordering::Relaxed),
                None => false,
            };
            Some(wanted.to_value())
        });
        let reports = self.reports.clone();
        src.connect("accept-certificate", false, move |_| {
            // Asked only about a certificate that failed its validation.
            reports.fail(fault::untrusted_certificate());
            Some(false.to_value())
        });
        let queue = self.leaky_queue(BACKLOG_PACKETS)?;
        let (reports, video) = (self.reports.clone(), queue.downgrade());
        src.connect("no-more-pads", false, move |_| {
            let queue = video.upgrade()?;
            if !queue.static_pad("sink")?.is_linked() {
                let e = Error::new(Kind::Unsupported, Culprit::Camera, "the camera offers no video stream");
                reports.fail(e.remedy("check the path in `url`"));
            }
            None
        });
        let decoder = self.decoder()?;
        queue.link(&decoder).map_err(|_| wiring("queue to decodebin"))?;
        let (video, reports, pipeline) = (queue.downgrade(), self.reports.clone(), self.pipeline.downgrade());
        src.connect_pad_added(move |_, pad| {
            let Some((queue, pipeline)) = video.upgrade().zip(pipeline.upgrade()) else { return };
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            if matches!(rtp_kind(&caps), Some(RtpKind::Klv)) {
                // A camera without telemetry is still a camera.
                if let Err(e) = rtp_klv(&pipeline, pad, &reports) {
                    tracing::warn!("the camera's KLV stream cannot be read: {}", e.chain());
                }
                return;
            }
            reports.watch_video(pad);
            link_video(pad, &queue, &reports);
        });
        Ok(())
    }

    fn http(&self, url: &str, camera: &CameraConfig, password: Option<&Secret>) -> Result<()> {
        let src = self.add("souphttpsrc")?;
        let demux = self.add("multipartdemux")?;
        // Behind our own watchdog, which tells a frozen camera from a lost one.
        let within = HANDSHAKE_WITHIN.max(camera.stall_after_ms.duration()) + HANDSHAKE_WITHIN;
        src.set_property("location", url);
        src.set_property("is-live", true);
        src.set_property("retries", 0i32);
        src.set_property("timeout", within.as_secs().clamp(1, 3600) as u32);
        src.set_property("keep-alive", false);
        src.set_property("user-agent", concat!("vigil/", env!("CARGO_PKG_VERSION")));
        if let Some(username) = &camera.username {
            src.set_property("user-id", username);
        }
        if let Some(password) = password {
            src.set_property("user-pw", password.expose());
        }
        // Credentials go to the host that the site named, to no other.
        src.set_property("automatic-redirect", camera.username.is_none());
        let queue = self.leaky_queue(2)?;
        let (parse, decode) = (self.add("jpegparse")?, self.add("jpegdec")?);
        src.link(&demux).map_err(|_| wiring("souphttpsrc to multipartdemux"))?;
        gst::Element::link_many([&queue, &parse, &decode, self.sink.upcast_ref()])
            .map_err(|_| wiring("the JPEG branch"))?;
        link_first_pad(&demux, &queue, &self.reports);
        if let (Some(before), Some(after)) = (demux.static_pad("sink"), queue.static_pad("sink")) {
            let reports = self.reports.clone();
            before.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else {
                    return gst::PadProbeReturn::Ok;
                };
                let size = buffer.size() as u64;
                if reports.part_bytes.fetch_add(size, Ordering::Relaxed) + size <= MAX_MJPEG_PART {
                    return gst::PadProbeReturn::Ok;
                }
                reports.fail(
                    Error::new(
                        Kind::Malformed,
                        Culprit::Camera,
                        format!("no picture in {} MiB: this is not an MJPEG stream", MAX_MJPEG_PART >> 20),
                    )
                    .remedy("check the path in `url`"),
                );
                refuse(info)
            });
            let reports = self.reports.clone();
            after.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                reports.part_bytes.store(0, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        Ok(())
    }

    fn v4l2(&self, device: &str, format: Option<PixelFormat>) -> Result<()> {
        let src = self.add("v4l2src")?;
        src.set_property("device", device);
        let queue = self.leaky_queue(2)?;
        let Some(format) = format else {
            let decoder = self.decoder()?;
            return gst::Element::link_many([&src, &queue, &decoder]).map_err(|_| wiring("the device"));
        };
        let filter = self.add("capsfilter")?;
        let format = match format {
            PixelFormat::Gray8 => gst_video::VideoFormat::Gray8,
            PixelFormat::Gray16 => gst_video::VideoFormat::Gray16Le,
        };
        filter.set_property("caps", gst_video::VideoCapsBuilder::new().format(format).build());
        gst::Element::link_many([&src, &filter, &queue, self.sink.upcast_ref()])
            .map_err(|_| wiring("the device"))
    }

    fn file(&self, path: &Path) -> Result<()> {
        let meta = std::fs::metadata(path).map_err(|e| {
            Error::io(Culprit::Camera, format!("cannot open {}", path.display()), e).remedy("check the path")
        })?;
        if !meta.is_file() {
            return Err(Error::config(format!("{} is not a file", path.display())));
        }
        if transport::is_one(path)? {
            return transport::file(self, path);
        }
        let (src, decoder) = (self.add("filesrc")?, self.decoder()?);
        src.set_property("location", path);
        src.link(&decoder).map_err(|_| wiring("the file"))
    }

    fn test(&self) -> Result<()> {
        let src = self.add("videotestsrc")?;
        src.set_property("is-live", true);
        src.set_property_from_str("pattern", "smpte");
        src.set_property("horizontal-speed", 2i32);
        let filter = self.add("capsfilter")?;
        let (width, height, fps) = TEST_CAPS;
        let caps = gst_video::VideoCapsBuilder::new()
            .format(gst_video::VideoFormat::I420)
            .width(width)
            .height(height)
            .framerate(gst::Fraction::new(fps, 1))
            .build();
        filter.set_property("caps", caps);
        gst::Element::link_many([&src, &filter, self.sink.upcast_ref()])
            .map_err(|_| wiring("the test pattern"))
    }

    fn play(self, repeat: bool) -> Result<GstSource> {
        let bus = self.pipeline.bus().ok_or_else(|| wiring("no bus"))?;
        let mut source = GstSource {
            url: self.url,
            redactor: self.redactor,
            pipeline: self.pipeline,
            bus,
            sink: self.sink,
            reports: self.reports,
            layout: None,
            pulled: 0,
            corrupt: 0,
            // A stream read for its every picture ends where it ends.
            repeat: repeat && self.pace == Pace::Freshest,
            since_start: 0,
        };
        if source.pipeline.set_state(gst::State::Playing).is_err() {
            // The bus knows why; without a word from it, say at least what did not start.
            let e = source.drain_bus().err();
            return Err(e.unwrap_or_else(|| {
                Error::new(Kind::Unavailable, Culprit::Camera, "the camera does not start")
            }));
        }
        Ok(source)
    }
}

/// Links the first pad that appears on `from`; its owner announces pads as it learns of them.
fn link_first_pad(from: &gst::Element, to: &gst::Element, reports: &Arc<Reports>) {
    let (to, reports) = (to.downgrade(), reports.clone());
    from.connect_pad_added(move |_, pad| {
        if let Some(queue) = to.upgrade() {
            link_video(pad, &queue, &reports);
        }
    });
}

/// Links a pad of pictures to the queue that waits for one, unless it has one.
pub(super) fn link_video(pad: &gst::Pad, queue: &gst::Element, reports: &Reports) {
    let Some(target) = queue.static_pad("sink") else { return };
    if !target.is_linked() && pad.link(&target).is_err() {
        let e = Error::new(Kind::Unsupported, Culprit::Camera, "the camera's stream is not one of pictures");
        reports.fail(e);
    }
}

enum RtpKind {
    Video,
    Klv,
}

/// What an RTP stream carries, as far as it is wanted.
fn rtp_kind(caps: &gst::Caps) -> Option<RtpKind> {
    let s = caps.structure(0)?;
    match s.get::<&str>("media").ok()? {
        "video" => Some(RtpKind::Video),
        // RFC 6597.
        "application" if s.get::<&str>("encoding-name").ok() == Some("SMPTE336M") => Some(RtpKind::Klv),
        _ => None,
    }
}

/// Reads KLV out of RTP.
fn rtp_klv(pipeline: &gst::Pipeline, pad: &gst::Pad, reports: &Arc<Reports>) -> Result<()> {
    let depay = make("rtpklvdepay")?;
    pipeline.add(&depay).map_err(|_| wiring("rtpklvdepay"))?;
    let (Some(sink), Some(src)) = (depay.static_pad("sink"), depay.static_pad("src")) else {
        return Err(wiring("rtpklvdepay has no pads"));
    };
    // It collects until the end of a packet comes, which may be never.
    let collected = Arc::new(AtomicU64::new(0));
    let (so_far, reports_) = (collected.clone(), reports.clone());
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else { return gst::PadProbeReturn::Ok };
        let size = buffer.size() as u64;
        if so_far.fetch_add(size, Ordering::Relaxed) + size <= 2 * MAX_KLV_BYTES as u64 {
            return gst::PadProbeReturn::Ok;
        }
        let text = format!("a KLV packet longer than {} KiB comes from the camera", MAX_KLV_BYTES >> 10);
        reports_.fail(Error::new(Kind::TooLarge, Culprit::Camera, text));
        refuse(info)
    });
    src.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        collected.store(0, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    klv_branch(pipeline, &src, reports, false)?;
    depay.sync_state_with_parent().map_err(|_| wiring("rtpklvdepay"))?;
    pad.link(&sink).map(drop).map_err(|_| wiring("KLV over RTP"))
}

/// Hands what leaves a pad to the KLV reader; `paced`: at the time that stands on it.
pub(super) fn klv_branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    reports: &Arc<Reports>,
    paced: bool,
) -> Result<()> {
    let mut assembler = KlvAssembler::new();
    let reports = reports.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            read_klv(&mut assembler, &sample, &reports, |packet| reports.metadata(packet));
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    let sink = klv_sink(callbacks, paced);
    let wrong = |_| wiring("the KLV branch");
    pipeline.add(&sink).map_err(wrong)?;
    let target = if paced {
        // So that waiting for a packet's time does not hold up the video.
        let queue = make("queue")?;
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        queue.set_property("max-size-buffers", MAX_PACKETS as u32);
        pipeline.add(&queue).map_err(wrong)?;
        queue.link(&sink).map_err(wrong)?;
        queue.sync_state_with_parent().map_err(wrong)?;
        queue.static_pad("sink")
    } else {
        sink.static_pad("sink")
    };
    sink.sync_state_with_parent().map_err(wrong)?;
    let target = target.ok_or_else(|| wiring("the KLV branch"))?;
    pad.link(&target).map(drop).map_err(|_| wiring("the KLV branch"))
}

/// A sink for metadata: never waited for, because packets are few and may never come.
pub(super) fn klv_sink(callbacks: gst_app::AppSinkCallbacks, sync: bool) -> gst_app::AppSink {
    gst_app::AppSink::builder()
        .callbacks(callbacks)
        .async_(false)
        .sync(sync)
        .enable_last_sample(false)
        .max_buffers(64)
        .build()
}

/// Puts the pieces of a sample to those before; `each` gets every packet that is now whole.
pub(super) fn read_klv(
    assembler: &mut KlvAssembler<(Option<Duration>, bool)>,
    sample: &gst::Sample,
    reports: &Reports,
    mut each: impl FnMut(SourceMetadata),
) {
    let Some(buffer) = sample.buffer() else { return };
    if buffer.flags().contains(gst::BufferFlags::DISCONT) {
        assembler.gap();
    }
    let own = buffer.pts().and_then(|pts| {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        segment.to_stream_time(pts).map(Duration::from)
    });
    let beside = reports.video_at.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_nanos);
    let Ok(bytes) = buffer.map_readable() else { return };
    let before = assembler.figures();
    let arrived = Instant::now();
    assembler.push(&bytes, (own.or(beside), own.is_some()), |bytes, (position, stamped)| {
        each(SourceMetadata { bytes, position, stamped, arrived });
    });
    let now = assembler.figures();
    let damaged = now.torn + now.oversized - before.torn - before.oversized;
    if damaged > 0 {
        reports.packets().damaged += damaged;
    }
}

/// Called for every element that finds its way into a pipeline, also inside bins.
fn look_after(element: &gst::Element, reports: &Arc<Reports>) {
    // After the queue leaked, wait for a whole picture. Not over UDP: with a packet lost every few
    // seconds and a key picture every ten, nothing would be left.
    if reports.lossless.load(Ordering::Relaxed) && element.has_property("wait-for-keyframe") {
        element.set_property("wait-for-keyframe", true);
    }
    let decodes = element.factory().and_then(|f| {
        f.metadata("klass").map(|k| k.contains("Decoder") && (k.contains("Video") || k.contains("Image")))
    });
    if decodes != Some(true) {
        return;
    }
    // The parser before a decoder has read the size out of the stream. A size out of bounds stops
    // here, before the decoder has seen a byte of it, at the start as well as in mid-stream; where
    // no parser told the size, the decoder's own word stops it before it has made room.
    for pad in ["sink", "src"].into_iter().filter_map(|name| element.static_pad(name)) {
        let reports = reports.clone();
        let mask = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
        pad.add_probe(mask, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data {
                return match oversized(event) {
                    Some(e) => {
                        reports.fail(e);
                        refuse(info)
                    }
                    None => gst::PadProbeReturn::Ok,
                };
            }
            if reports.refused.load(Ordering::Relaxed) { refuse(info) } else { gst::PadProbeReturn::Ok }
        });
    }
}

/// Whether an event announces pictures larger than this box takes in.
fn oversized(event: &gst::Event) -> Option<Error> {
    let gst::EventView::Caps(caps) = event.view() else { return None };
    let s = caps.caps().structure(0)?;
    let (width, height) = (s.get::<i32>("width").ok()?, s.get::<i32>("height").ok()?);
    check_size(width.unsigned_abs(), height.unsigned_abs()).err()
}

/// Consumes a buffer or event and fails the stream, which ends it upstream too. (`Drop` would let it run on,
/// and makes the bindings release the buffer twice.)
pub(super) fn refuse(info: &mut gst::PadProbeInfo<'_>) -> gst::PadProbeReturn {
    info.flow_res = Err(gst::FlowError::Error);
    gst::PadProbeReturn::Handled
}

/// A playing pipeline.
pub(crate) struct GstSource {
    url: SourceUrl,
    redactor: Redactor,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    sink: gst_app::AppSink,
    reports: Arc<Reports>,
    layout: Option<(gst::Caps, Arc<gst_video::VideoInfo>)>,
    pulled: u64,
    corrupt: u64,
    repeat: bool,
    /// Pictures since the start or the last time round.
    since_start: u64,
}

impl GstSource {
    /// Reads everything on the bus, so that it never fills up; an error ends the source.
    fn drain_bus(&mut self) -> Result<()> {
        if let Some(e) = self.reports.fault() {
            return Err(e);
        }
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Error(e) => {
                    // A fault seen by a probe is the cause of what the elements complain about.
                    let e =
                        self.reports.fault().unwrap_or_else(|| fault::from_bus(e, &self.url, &self.redactor));
                    return Err(e);
                }
                gst::MessageView::Warning(w) => {
                    if let SourceUrl::Srt(_, address) = &self.url
                        && let Some(e) = fault::from_srt_warning(w, address.mode)
                    {
                        return Err(e);
                    }
                }
                gst::MessageView::Latency(_) => {
                    let _ = self.pipeline.recalculate_latency();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn picture(&mut self, sample: gst::Sample) -> Result<Option<Picture>> {
        self.pulled += 1;
        self.since_start += 1;
        let (Some(caps), Some(buffer)) = (sample.caps(), sample.buffer_owned()) else {
            self.corrupt += 1;
            return Ok(None);
        };
        let info = match &self.layout {
            Some((known, info)) if known.as_ptr() == caps.as_ptr() || known.as_ref() == caps => info.clone(),
            _ => {
                let Ok(info) = gst_video::VideoInfo::from_caps(caps) else {
                    self.corrupt += 1;
                    return Ok(None);
                };
                check_size(info.width(), info.height())?;
                let info = Arc::new(info);
                self.layout = Some((caps.to_owned(), info.clone()));
                info
            }
        };
        if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
            self.corrupt += 1;
            return Ok(None);
        }
        let position = buffer.pts().and_then(|pts| {
            let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
            segment.to_stream_time(pts).map(Duration::from)
        });
        let camera_time = camera_time(&buffer);
        Ok(Some(Picture { pixels: Pixels::native(buffer, info), camera_time, position }))
    }
}

/// The sender's wall clock, which `rtspsrc` attaches from the first RTCP report on.
fn camera_time(buffer: &gst::BufferRef) -> Option<Timestamp> {
    buffer.iter_meta::<gst::ReferenceTimestampMeta>().find_map(|meta| {
        let reference = meta.reference().structure(0)?.name().as_str();
        let unix = match reference {
            "timestamp/x-ntp" => meta.timestamp().nseconds().checked_sub(NTP_TO_UNIX * 1_000_000_000)?,
            "timestamp/x-unix" => meta.timestamp().nseconds(),
            _ => return None,
        };
        Timestamp::from_nanosecond(i128::from(unix)).ok()
    })
}

impl Source for GstSource {
    fn next(&mut self, timeout: Duration) -> Result<Pull> {
        let until = Instant::now() + timeout;
        loop {
            self.drain_bus()?;
            let left = until.saturating_duration_since(Instant::now());
            // In slices: a fault found by a probe does not wake the sink.
            let wait = gst::ClockTime::try_from(left.min(LOOK_EVERY)).unwrap_or(gst::ClockTime::ZERO);
            if let Some(sample) = self.sink.try_pull_sample(wait) {
                if let Some(picture) = self.picture(sample)? {
                    return Ok(Pull::Picture(picture));
                }
                // A damaged picture is not a picture: the caller's watchdog must not take it for one.
                continue;
            }
            self.drain_bus()?;
            if !self.sink.is_eos() {
                if left <= LOOK_EVERY {
                    return Ok(Pull::Nothing);
                }
                continue;
            }
            // A file of one picture would go round as fast as the disk reads.
            let round = self.repeat && std::mem::take(&mut self.since_start) >= 2;
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
            if !round || self.pipeline.seek_simple(flags, gst::ClockTime::ZERO).is_err() {
                return Ok(Pull::Ended);
            }
        }
    }

    fn drops(&self) -> SourceDrops {
        let reached = self.reports.reached_sink.load(Ordering::Relaxed);
        let transport = {
            let filter = self.reports.transport.lock().unwrap_or_else(|e| e.into_inner());
            filter.as_ref().map(TransportFilter::figures)
        };
        SourceDrops {
            backlog: self.reports.backlog.load(Ordering::Relaxed),
            // One may be waiting in the sink.
            late: reached.saturating_sub(self.pulled + 1),
            corrupt: self.corrupt,
            metadata: {
                let packets = self.reports.packets();
                packets.dropped + packets.damaged + transport.map_or(0, |t| t.oversized)
            },
            lost: transport.map_or(0, |t| t.lost),
        }
    }

    fn take_metadata(&mut self) -> Vec<SourceMetadata> {
        self.reports.packets().waiting.drain(..).collect()
    }

    fn silence(&self) -> Option<String> {
        let filter = self.reports.transport.lock().unwrap_or_else(|e| e.into_inner());
        filter.as_ref().map(|filter| transport::silence(filter, &self.url).to_owned())
    }
}

impl Drop for GstSource {
    fn drop(&mut self) {
        // May hang on a dead camera: whoever owns a source drops it where that does no harm.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_decoder_costs_pictures_and_not_time() {
        GstOpener::new().unwrap();
        let build = Build::new(SourceUrl::Test, Redactor::default(), Pace::Freshest).unwrap();
        let (src, queue) = (build.add("videotestsrc").unwrap(), build.leaky_queue(2).unwrap());
        src.set_property("is-live", true);
        // Stands for a decoder that takes five times as long as a picture lasts.
        let slow = build.add("identity").unwrap();
        slow.set_property("sleep-time", 167_000u32);
        gst::Element::link_many([&src, &queue, &slow, build.sink.upcast_ref()]).unwrap();
        let mut source = build.play(false).unwrap();
        let mut positions = Vec::new();
        while positions.len() < 8 {
            match source.next(Duration::from_secs(20)).unwrap() {
                Pull::Picture(p) => positions.push(p.position.unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert!(source.drops().backlog > 0, "{:?}", source.drops());
        // Had the queue kept everything, the eighth picture would be the eighth of the stream.
        assert!(positions[7] > Duration::from_millis(33 * 10), "{positions:?}");
    }

    #[test]
    fn a_camera_time_is_read_from_ntp_and_unix_references() {
        GstOpener::new().unwrap();
        let of = |reference: &str, seconds: u64| {
            let mut buffer = gst::Buffer::new();
            let caps = gst::Caps::new_empty_simple(reference);
            let at = gst::ClockTime::from_seconds(seconds);
            gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &caps, at, gst::ClockTime::NONE);
            camera_time(&buffer)
        };
        let wanted: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let unix = wanted.as_second() as u64;
        assert_eq!(of("timestamp/x-unix", unix), Some(wanted));
        assert_eq!(of("timestamp/x-ntp", unix + NTP_TO_UNIX), Some(wanted));
        assert_eq!(of("timestamp/x-ntp", 5), None, "before 1970");
        assert_eq!(of("timestamp/x-drone-boot", 5), None);
    }
}
